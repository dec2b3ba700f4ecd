package gateway

import (
	"net/http"
	"strings"

	"doorward/oauth/bearer"
)

// identityHeaders tell the API behind the gateway who the caller is. All are set on each request, empty where there is
// nothing to say, so that none of the caller's own gets through.
var identityHeaders = []struct {
	name  string
	value func(*bearer.Principal) string
}{
	{"X-Auth-Subject", func(p *bearer.Principal) string { return encoded(p.Subject) }},
	{"X-Auth-Client", func(p *bearer.Principal) string { return encoded(p.ClientID) }},
	// A list, whose entries hold neither spaces nor characters beyond printable ASCII (RFC 6749, section 3.3); never
	// escaped.
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

// setIdentity writes the headers that identify the caller; nil: empty ones.
func setIdentity(h http.Header, p *bearer.Principal) {
	for _, x := range identityHeaders {
		value := ""
		if p != nil {
			value = x.value(p)
		}
		h[x.name] = []string{value}
	}
}

// encoded writes a free text as a header takes it, so that two texts are never the same header: each byte of its UTF-8
// that is a space, a percent sign or no printable ASCII is an escape of RFC 3986, section 2.1 (%20, %25, %C3%A9), and
// no other byte is. A percent-decoder gives the text back; one for forms, which takes + for a space, does not.
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

// ownCookie reports whether a cookie is one of this server's pages: the session, the marks of a device, and those of
// authorizations under way.
func ownCookie(name string) bool {
	name = strings.TrimPrefix(strings.ToLower(name), "__host-")
	slot, isFlow := strings.CutPrefix(name, "flow-")
	return strings.HasPrefix(name, "doorward") || isFlow && slot != "" && strings.Trim(slot, "0123456789") == ""
}

// otherCookies are a request's cookies without those of this server's pages, as they came: browsers send these along
// where the pages and an API have one host name, since cookies know no ports. Servers take names apart in their own
// ways, so that what has a name of ours between spaces or quotes goes too.
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

// dropOwnCookies keeps the cookies of this server's pages from an API behind it.
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
