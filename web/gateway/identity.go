package gateway

import (
	"net/http"
	"net/url"
	"strings"

	"doorward/oauth"
)

// identityHeaders say to the API behind the gateway who calls. All are set on each request, empty where there is nothing
// to say, so that none of a caller's own gets through.
var identityHeaders = []struct {
	name  string
	value func(*oauth.Principal) string
}{
	{"X-Auth-Subject", func(p *oauth.Principal) string { return p.Subject }},
	{"X-Auth-Client", func(p *oauth.Principal) string { return p.ClientID }},
	{"X-Auth-Scope", func(p *oauth.Principal) string { return strings.Join(p.Scopes, " ") }},
	{"X-Auth-Credential", func(p *oauth.Principal) string { return p.Kind }},
	{"X-Auth-Workspace-Id", func(p *oauth.Principal) string { return p.WorkspaceID }},
	{"X-Auth-Workspace", func(p *oauth.Principal) string { return p.Workspace }},
	{"X-Auth-Role", func(p *oauth.Principal) string { return p.Role }},
	{"X-Auth-Env", func(p *oauth.Principal) string { return p.Environment }},
	{"X-Auth-Plan", func(p *oauth.Principal) string { return p.Plan }},
	{"X-Auth-Key", func(p *oauth.Principal) string { return p.KeyID }},
	{"X-Auth-Foreign-Issuer", func(p *oauth.Principal) string { return p.ForeignIssuer }},
	{"X-Auth-Foreign-Subject", func(p *oauth.Principal) string { return p.ForeignSubject }},
}

// setIdentity writes the headers of who calls; nil: nobody is known.
func setIdentity(h http.Header, p *oauth.Principal) {
	for _, x := range identityHeaders {
		value := ""
		if p != nil {
			value = headerText(x.value(p))
		}
		h[x.name] = []string{value}
	}
}

// headerText makes a text fit for a header: what is no printable ASCII is written as an escape.
func headerText(text string) string {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return url.PathEscape(text)
		}
	}
	return text
}

// clearIdentity drops what a caller sent in place of identity headers. With them go the other names under which APIs
// expect to be told by their gateway who calls, and those by which some take a request for another than was judged: its
// address and its method. No name with an underscore stays: servers that turn headers into variables take X_Auth_Subject
// for X-Auth-Subject, and X_Workspace for the X-Workspace that was judged.
func clearIdentity(h http.Header) {
	for name := range h {
		plain := strings.ToLower(name)
		switch plain {
		case "remote-user", "x-remote-user", "x-forwarded-user",
			"x-forwarded-uri", "x-forwarded-prefix", "x-original-uri", "x-original-url", "x-rewrite-url",
			"x-forwarded-method", "x-original-method", "x-http-method", "x-http-method-override", "x-method-override":
			delete(h, name)
		default:
			if strings.HasPrefix(plain, "x-auth-") || strings.Contains(plain, "_") {
				delete(h, name)
			}
		}
	}
}

// dropOwnCookies keeps the cookies of this server's pages from an API behind it: browsers send them along where both have
// one host name, since cookies know no ports.
func dropOwnCookies(r *http.Request) {
	if len(r.Header["Cookie"]) == 0 {
		return
	}
	all := r.Cookies()
	r.Header.Del("Cookie")
	for _, c := range all {
		if !strings.HasPrefix(strings.TrimPrefix(c.Name, "__Host-"), "doorward") {
			r.AddCookie(c)
		}
	}
}
