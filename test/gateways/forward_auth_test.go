package gateways

import (
	"net/http"
	"testing"
)

// A page that a browser opens on the host of an API is refused like any other request: no page and no cookie is of such
// a host, so there is no login to send anybody to.
func TestF01_WithoutACredentialItIs401AndNeverARedirect(t *testing.T) {
	w := memory(t)
	w.each(func(t *testing.T, f front) {
		for name, lines := range map[string][]string{
			"a program": nil,
			"a browser": {"Accept: text/html,application/xhtml+xml", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Upgrade-Insecure-Requests: 1"},
		} {
			a := f.send(t, "GET", "/x?return_to=https://evil.example", lines...)
			if a.Status != http.StatusUnauthorized || a.Header.Get("Location") != "" || a.Header.Get("Set-Cookie") != "" || a.JSON()["statusCode"] != 401.0 {
				t.Errorf("%s: answered %d %v %s", name, a.Status, a.Header, a.Body)
			}
		}
		w.nothing(t)
	})
}
