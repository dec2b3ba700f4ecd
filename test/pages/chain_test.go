package pages

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"doorward/management"
	"doorward/test/rig"
)

// Chromium applies the policy of a form's page to every redirect that follows the form, including those that the app
// makes after its callback: most apps redirect from there, often to another host of theirs.
func TestAppsMayRedirectFurtherAfterTheirCallback(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	page := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<title>Arrived</title><h1>Arrived</h1>")) // the browser may have disconnected
	}
	last := httptest.NewServer(http.HandlerFunc(page))
	t.Cleanup(last.Close)
	elsewhere := strings.Replace(last.URL, "127.0.0.1", "localhost", 1)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		http.Redirect(w, q, elsewhere+"/welcome", http.StatusFound)
	}))
	t.Cleanup(app.Close)
	client := r.App(management.ClientSpec{Name: "Hopper", RedirectURIs: []string{app.URL + "/cb"}})

	p := newPerson(t, r)
	p.authorize(client, "read")
	p.signIn(r.Alice.Email)
	p.Click(`[name=decision][value=approve]`)
	if got := p.Title(); got != "Arrived" {
		t.Errorf("after consent the browser is at %s, %q", p.URL(), got)
	}

	// The same from the login page alone, when no consent is needed.
	p = newPerson(t, r)
	p.authorize(client, "read")
	p.signIn(r.Alice.Email)
	if got := p.Title(); got != "Arrived" {
		t.Errorf("after signing in the browser is at %s, %q", p.URL(), got)
	}
}
