package security

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/test/rig"
)

// An app may ask for a choice of accounts, alone or together with the password or consent.
func TestV65_SelectAccountShowsTheChoice(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	bob := r.User("bob@example.com", "Bob", false)
	subject := func(code string) string {
		return r.Introspect(app, r.Exchange(app, code).Text("access_token")).Text("sub")
	}
	r.Browser().SignIn(bob.Email).Code(app, "read")
	for _, prompt := range []string{
		"select_account", "consent select_account", "login select_account", "select_account login consent",
	} {
		b := r.Browser().SignIn(r.Alice.Email)
		b.Code(app, "read")
		r.Advance(time.Second)
		sent := altered(app.Params("read"), url.Values{"prompt": {prompt}})
		a := ask(b, sent)
		wantLogin(t, a)
		sealed := a.Location.Query().Get("flow")
		// Neither page can be bypassed.
		wantLogin(t, b.Get("/oauth/consent?flow="+sealed))
		page := b.Follow(a)
		if page.Status != http.StatusOK || !strings.Contains(rig.Plain(page.Body), "Continue as Alice") ||
			!strings.Contains(page.Body, `href="/login?switch=1`) {
			t.Fatalf("%s: the page says %s", prompt, rig.Plain(page.Body))
		}
		wantPage(t, b.PostForm("/login", url.Values{"flow": {sealed}, "select": {"x"}}), http.StatusForbidden)
		next := b.PostForm("/login", b.Form(page, "/login"))
		if strings.Contains(prompt, "login") {
			wantLogin(t, next)
			next = b.LogIn(b.Follow(next), r.Alice.Email)
		}
		if strings.Contains(prompt, "consent") {
			wantConsent(t, next)
			next = b.Decide(b.Follow(next), "approve")
		}
		if got := subject(wantCode(t, r, next, sent)); got != r.Alice.ID {
			t.Errorf("%s: continuing is for %q", prompt, got)
		}
		// Signing in with another account counts as the choice.
		page = b.Follow(ask(b, sent))
		flow := b.Form(page, "/login").Get("flow")
		next = b.LogIn(b.Get("/login?switch=1&flow="+flow), bob.Email)
		if strings.Contains(prompt, "consent") {
			wantConsent(t, next)
			next = b.Decide(b.Follow(next), "approve")
		}
		if got := subject(wantCode(t, r, next, sent)); got != bob.ID {
			t.Errorf("%s: the other account is %q", prompt, got)
		}
		// A form for the previous account is no longer valid.
		page = b.Follow(ask(b, sent))
		form := b.Form(page, "/login")
		b.PostForm("/logout", nil)
		b.SignIn(r.Alice.Email)
		wantPage(t, b.PostForm("/login", form), http.StatusForbidden)
	}
	sent := altered(app.Params("read"), url.Values{"prompt": {"select_account"}})
	visitor := r.Browser()
	page := visitor.Follow(ask(visitor, sent))
	if !strings.Contains(page.Body, `name="password"`) {
		t.Errorf("no user is signed in, and the page says %s", rig.Plain(page.Body))
	}
	next := visitor.LogIn(page, r.Alice.Email)
	wantCode(t, r, next, sent)
	for _, prompt := range []string{"none select_account", "select_account none"} {
		sent := altered(app.Params("read"), url.Values{"prompt": {prompt}})
		wantRefusal(t, r, ask(visitor, sent), sent, "account_selection_required")
	}
}

func TestV77_AddressesThatPeopleTypeLeadOn(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.User("ada@example.com", "Ada", true).Email)
	for path, want := range map[string]string{
		"/settings/developer":  "/api-keys",
		"/settings/developer/": "/api-keys",
		"/settings":            "/settings/profile",
		"/settings/":           "/settings/profile",
		"/admin":               "/admin/users", "/admin/": "/admin/users",
	} {
		a := b.Get(path)
		if a.Status != http.StatusSeeOther || !strings.HasSuffix(a.Header.Get("Location"), want) {
			t.Errorf("%s answers %d, and leads to %q", path, a.Status, a.Header.Get("Location"))
		} else if a = b.Get(a.Header.Get("Location")); a.Status != http.StatusOK {
			t.Errorf("%s leads to a page that answers %d", path, a.Status)
		}
	}
	got := r.Browser().Get("/settings/developer").Header.Get("Location")
	if got != "/login?return_to=%2Fsettings%2Fdeveloper" {
		t.Errorf("signed out, it leads to %q", got)
	}
}
