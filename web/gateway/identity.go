package gateway

import (
	"net/http"
	"strings"

	"doorward/oauth/bearer"
)

// identityHeaders tell the API behind the gateway who the caller is. All are set on every request, empty if there is no
// value, so that the caller cannot set any.
var identityHeaders = []struct {
	name  string
	value func(*bearer.Principal) string
}{
	{"X-Auth-Subject", func(p *bearer.Principal) string { return encoded(p.Subject) }},
	{"X-Auth-Client", func(p *bearer.Principal) string { return encoded(p.ClientID) }},
	// Scopes are not escaped: they are printable ASCII without spaces (RFC 6749, section 3.3).
	{"X-Auth-Scope", func(p *bearer.Principal) string { return strings.Join(p.Scopes, " ") }},
	{"X-Auth-Credential", func(p *bearer.Principal) string { return encoded(p.Kind) }},
	{"X-Auth-Workspace-Id", func(p *bearer.Principal) string { return encoded(p.WorkspaceID) }},
	{"X-Auth-Workspace", func(p *bearer.Principal) string { return encoded(p.Workspace) }},
	{"X-Auth-Role", func(p *bearer.Principal) string { return encoded(p.Role) }},
	{"X-Auth-Env", func(p *bearer.Principal) string { return encoded(p.Environment) }},
	{"X-Auth-Plan", func(p *bearer.Principal) string { return encoded(p.Plan) }},
	{"X-Auth-Key", func(p *bearer.Principal) string { return encoded(p.KeyID) }},
	{"X-Auth-Foreign-Issuer", func(p *bearer.Principal) string { return encoded(p.ForeignIssuer) }},
	{"X-Auth-Foreign-Subject", func(p *bearer.Principal) string { return encoded(p.ForeignSubject) }},
}

// setIdentity sets the headers that identify the caller. If p is nil, they are empty.
func setIdentity(h http.Header, p *bearer.Principal) {
	values := make([]string, len(identityHeaders)) // one allocation for all
	for i, x := range identityHeaders {
		if p != nil {
			values[i] = x.value(p)
		}
		h[x.name] = values[i : i+1 : i+1]
	}
}

// encoded escapes free text for a header, reversibly: it percent-encodes (RFC 3986, section 2.1) each byte of the UTF-8
// text that is a space, a percent sign or not printable ASCII (%20, %25, %C3%A9), and no other. Decoders for forms,
// which turn + into a space, do not reverse it.
func encoded(text string) string {
	escape := func(c byte) bool { return c <= ' ' || c > '~' || c == '%' }
	n := 0
	for i := range len(text) {
		if escape(text[i]) {
			n++
		}
	}
	if n == 0 {
		return text
	}
	const digits = "0123456789ABCDEF"
	out := make([]byte, 0, len(text)+2*n)
	for i := range len(text) {
		if c := text[i]; escape(c) {
			out = append(out, '%', digits[c>>4], digits[c&15])
		} else {
			out = append(out, c)
		}
	}
	return string(out)
}

// ownCookie reports whether a cookie belongs to this server's pages: the session, the device, or a flow.
func ownCookie(name string) bool {
	name = strings.TrimPrefix(strings.ToLower(name), "__host-")
	slot, isFlow := strings.CutPrefix(name, "flow-")
	return strings.HasPrefix(name, "doorward") || isFlow && slot != "" && strings.Trim(slot, "0123456789") == ""
}

// otherCookies returns a request's cookies, as sent, without those of this server's pages. Browsers send this server's
// cookies to an API with the same host name, because cookies do not distinguish ports. Servers parse names differently,
// so names in spaces or quotes are dropped too.
func otherCookies(lines []string) []string {
	var kept []string
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			name, _, _ := strings.Cut(pair, "=")
			if pair = strings.TrimSpace(pair); pair != "" && !ownCookie(strings.Trim(name, " \t\"")) {
				kept = append(kept, pair)
			}
		}
	}
	if kept == nil {
		return nil
	}
	return []string{strings.Join(kept, "; ")}
}

// dropOwnCookies removes the cookies of this server's pages, so that an API does not get them.
func dropOwnCookies(h http.Header) {
	lines := h["Cookie"]
	if len(lines) == 0 {
		return
	}
	if kept := otherCookies(lines); kept != nil {
		h["Cookie"] = kept
	} else {
		delete(h, "Cookie")
	}
}
