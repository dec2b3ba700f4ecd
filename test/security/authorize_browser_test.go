package security

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"doorward/management"
	"doorward/test/browser"
	"doorward/test/rig"
)

// A browser applies the page's Content-Security-Policy to the redirect after the consent form: the policy must allow
// every redirect URI that can be registered. If the machine does not have an address, the test reads the policy
// instead.
func TestConsentLeadsToEveryKindOfLoopback(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]"} {
		t.Run(host, func(t *testing.T) {
			address := "127.0.0.1:0"
			if host == "[::1]" {
				address = "[::1]:0"
			}
			l, err := net.Listen("tcp", address)
			if err != nil {
				r := rig.Memory(t, rig.Options{})
				client := r.App(management.ClientSpec{RedirectURIs: []string{"http://" + host + "/cb"}})
				page := r.Browser().SignIn(r.Alice.Email).Authorize(client.Params("read"))
				if policy := page.Header.Get("Content-Security-Policy"); !strings.Contains(policy+";", " http:;") {
					t.Errorf("%s does not allow the redirect to %s (which this machine lacks: %v)", policy, host, err)
				}
				return
			}
			app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				_, _ = w.Write([]byte("<h1>Arrived</h1>"))
			}))
			_ = app.Listener.Close()
			app.Listener = l
			app.Start()
			t.Cleanup(app.Close)
			_, port, _ := net.SplitHostPort(l.Addr().String())
			r := rig.Memory(t, rig.Options{})
			client := r.App(management.ClientSpec{RedirectURIs: []string{"http://" + host + "/cb"}})
			client.Redirect = "http://" + host + ":" + port + "/cb"
			tab := browser.New(t)
			tab.Goto(r.URL + "/oauth/authorize?" + client.Params("read").Encode())
			tab.Fill("input[name=email]", r.Alice.Email)
			tab.Fill("input[name=password]", rig.Password)
			tab.Click("form[action='/login'] button[type=submit]")
			tab.Click("button[value=approve]")
			if got := tab.URL().String(); !strings.HasPrefix(got, client.Redirect+"?code=") {
				t.Errorf("the browser is at %s, not at the app", got)
			}
		})
	}
}
