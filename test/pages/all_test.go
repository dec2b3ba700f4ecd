package pages

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/oauth/identity"
	"doorward/test/browser"
	"doorward/test/rig"
)

// person is a user at a browser.
type person struct {
	*browser.Tab
	t        *testing.T
	r        *rig.Rig
	noScript bool
}

func newPerson(t *testing.T, r *rig.Rig) *person {
	t.Helper()
	return &person{Tab: browser.New(t), t: t, r: r}
}

// JavaScript sets whether pages may run scripts.
func (p *person) JavaScript(on bool) {
	p.noScript = !on
	p.Tab.JavaScript(on)
}

func (p *person) open(path string) { p.Goto(p.r.URL + path) }

func (p *person) authorize(app *rig.App, scope string, more ...string) {
	v := app.Params(scope)
	for i := 0; i+1 < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	p.open("/oauth/authorize?" + v.Encode())
}

func (p *person) signIn(email string) {
	p.Fill(`[name=email]`, email)
	p.Fill(`[name=password]`, rig.Password)
	p.Click(`form[action="/login"] [type=submit]`)
}

// checkPage checks the current page, narrow and wide, light and dark. Without scripts, the page is the same document:
// it must only fit.
func (p *person) checkPage(name string) {
	p.t.Helper()
	p.checkFit(name, !p.noScript)
	if shooting() {
		for _, width := range []int{320, 1280} {
			p.Viewport(width, 900)
			for theme, dark := range map[string]bool{"light": false, "dark": true} {
				p.Dark(dark)
				shot(p.t, p.Tab, strings.ReplaceAll(fmt.Sprintf("%s-%d-%s", name, width, theme), " ", "-"))
			}
		}
	}
	p.Dark(false)
	p.Viewport(1280, 900)
}

// checkFit checks that the page and its buttons fit, at 320 and at 1280 pixels. With axe, all its rules hold on the
// wide page in the light; on the narrow page in the dark, those that depend on colours and sizes, since the rest of
// the document is the same.
func (p *person) checkFit(name string, axe bool) {
	p.t.Helper()
	for _, x := range []struct {
		width int
		dark  bool
		rules []string // nil: all
	}{
		{1280, false, nil},
		{320, true, []string{"color-contrast", "target-size", "link-in-text-block", "scrollable-region-focusable"}},
	} {
		p.Viewport(x.width, 900)
		p.Dark(x.dark)
		where := fmt.Sprintf("%s, %d px", name, x.width)
		if by := p.Overflow(); by > 0 {
			p.t.Errorf("%s: %d px too wide", where, by)
		}
		if texts := p.Squeezed(); len(texts) > 0 {
			p.t.Errorf("%s: buttons are narrower than their texts: %q", where, texts)
		}
		if axe {
			p.wantNoViolation(fmt.Sprintf("%s, dark %v", where, x.dark), p.Axe(x.rules...))
		}
	}
}

func (p *person) wantNoViolation(where string, found []browser.Violation) {
	p.t.Helper()
	for _, violation := range found {
		p.t.Errorf("%s: %s", where, violation)
	}
}

// Every page as a user meets it: with scripts, and without, when everything must work as well.
func TestEveryPage(t *testing.T) {
	for _, javaScript := range []bool{true, false} {
		t.Run(fmt.Sprintf("javascript %v", javaScript), func(t *testing.T) {
			everyPage(t, javaScript)
		})
	}
}

// signWithKeys changes the app on the page to one that authenticates with a key.
func (p *person) signWithKeys() {
	p.t.Helper()
	const form = `main form[action$="/authentication"] `
	p.Press(`[aria-labelledby="h-authentication"] summary`)
	p.Press(form + `[name=token_endpoint_auth_method][value=private_key_jwt]`)
	p.Fill(form+`[name=jwks]`, `{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`)
	p.Click(form + `[type=submit]`)
	p.checkPage("app with a wrong key")
	p.Fill(form+`[name=jwks]`, rig.JWKS(rig.NewKey(p.t, "key-1")))
	p.Press(form + `[name=fapi]`)
	p.Click(form + `[type=submit]`)
	p.checkPage("app with a key")
	text := p.Text(`[aria-labelledby="h-authentication"]`)
	for _, part := range []string{"key-1", "follows the FAPI 2.0 Security Profile"} {
		if !strings.Contains(text, part) {
			p.t.Errorf("the page does not say %q: %s", part, text)
		}
	}
}

func everyPage(t *testing.T, javaScript bool) {
	t.Helper()
	r := rig.Memory(t, rig.Options{NoUser: true})
	p := newPerson(t, r)
	p.JavaScript(javaScript)
	word, _, err := r.Identity.SetupToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	p.open("/login")
	p.checkPage("login of an empty server")
	p.open("/setup?word=" + word)
	p.checkPage("setup")
	p.Fill(`[name=name]`, "Ada Admin")
	p.Fill(`[name=email]`, "ada@example.com")
	p.Fill(`[name=password]`, "short")
	p.Click(`form[action="/setup"] [type=submit]`)
	p.checkPage("setup with a fault")
	p.Fill(`[name=password]`, rig.Password)
	p.Click(`form[action="/setup"] [type=submit]`)
	p.checkPage("profile")
	if got := p.URL().Path; got != "/settings/profile" {
		t.Fatalf("after set-up the page is %s", got)
	}

	for _, page := range []string{
		"/settings/security", "/settings/connected-apps", "/settings/developer/apps", "/settings/developer/apps/new",
		"/admin/users", "/admin/apps", "/logout", "/nothing/here",
	} {
		p.open(page)
		p.checkPage(strings.ReplaceAll(strings.TrimPrefix(page, "/"), "/", " "))
	}

	p.open("/settings/developer/apps/new")
	p.Fill(`[name=name]`, " ")
	p.Fill(`[name=redirect_uris]`, "http://elsewhere.example/cb")
	p.Click(`main form[action="/settings/developer/apps"] [type=submit]`)
	p.checkPage("app form with faults")
	p.Fill(`[name=name]`, "A rather long-winded name for an application")
	p.Fill(`[name=redirect_uris]`, "https://an-application-with-a-long-host-name.customers.example.com/oauth/callback")
	p.Press(`[name=scope][value=read]`)
	p.Click(`main form[action="/settings/developer/apps"] [type=submit]`)
	p.checkPage("secret")
	if !strings.Contains(p.Text("main"), bearer.PrefixClientSecret) {
		t.Fatalf("no secret on the page: %s", p.Text("main"))
	}
	p.open("/settings/developer/apps")
	p.checkPage("apps")
	p.Click(`main a[href^="/settings/developer/apps/app_"]`)
	p.checkPage("app")
	p.signWithKeys()
	p.open("/admin/apps")
	p.checkPage("admin apps with one")

	if _, err := r.Identity.CreateUser(t.Context(), identity.NewUser{
		Email: "bo@example.com", Name: "Bo", Password: rig.Password,
	}); err != nil {
		t.Fatal(err)
	}
	p.open("/admin/users")
	p.checkPage("admin users with two")

	app := r.App(management.ClientSpec{Site: "https://app.example"})
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "back at the app")
	}))
	t.Cleanup(back.Close)
	app.Redirect = back.URL + "/cb" // a loopback redirect URI may have any port
	native := r.App(management.ClientSpec{
		Name: "Command line", Public: true, RedirectURIs: []string{"http://127.0.0.1/cb"},
	})
	p.ClearCookies()
	p.authorize(app, "read write")
	p.checkPage("login to an app")
	p.signIn("unknown@example.com")
	p.checkPage("login that failed")
	p.signIn("bo@example.com")
	p.checkPage("consent")
	p.Press(`input[name=scope][value=write]`)
	p.Click(`[name=decision][value=approve]`)
	if got := p.Text("body"); got != "back at the app" {
		t.Fatalf("after allowing, the page says %q", got)
	}
	p.authorize(app, "read write delete")
	p.checkPage("consent to more")
	p.authorize(native, "read", "redirect_uri", "http://127.0.0.1:9/cb")
	p.checkPage("consent to a program on this computer")
	p.open("/settings/connected-apps")
	p.checkPage("connected apps with one")
	p.open("/oauth/authorize?" + url.Values{"client_id": {"app_unknown"}}.Encode())
	p.checkPage("wrong client")
	p.authorize(app, "read", "redirect_uri", "https://elsewhere.example/cb")
	p.checkPage("wrong redirect")
	foreign := p.Foreign(strings.TrimPrefix(r.URL, "http://"), strings.TrimPrefix(back.URL, "http://"))
	if len(foreign) > 0 {
		t.Errorf("loaded from elsewhere: %v", foreign)
	}
}
