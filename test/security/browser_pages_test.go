package security

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"doorward/management"
	"doorward/test/browser"
	"doorward/test/rig"
)

func wantPageHeaders(t *testing.T, name string, a *rig.Answer) {
	t.Helper()
	h := a.Header
	if !strings.HasPrefix(h.Get("Content-Type"), "text/html") {
		t.Errorf("%s: %d is not a page: %s", name, a.Status, h.Get("Content-Type"))
		return
	}
	policy := h.Get("Content-Security-Policy")
	for _, part := range []string{
		"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'", "script-src 'nonce-",
	} {
		if !strings.Contains(policy, part) {
			t.Errorf("%s: the policy %q lacks %s", name, policy, part)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
		t.Errorf("%s: the policy is open: %s", name, policy)
	}
	for header, want := range map[string]string{
		"X-Frame-Options":              "DENY",
		"X-Content-Type-Options":       "nosniff",
		"Referrer-Policy":              "no-referrer",
		"Cache-Control":                "no-store",
		"Cross-Origin-Resource-Policy": "same-origin", "Access-Control-Allow-Origin": "",
	} {
		if got := h.Get(header); got != want {
			t.Errorf("%s: %s is %q, want %q", name, header, got, want)
		}
	}
}

func TestB01_NoPageCanBeFramed(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	root := r.User("root@example.com", "Root", true)
	app := r.App(management.ClientSpec{})
	stranger := r.Browser()
	for _, path := range []string{
		"/login", "/setup", "/no-such-page", "/oauth/consent?flow=x", "/login?flow=x", "/oauth/authorize", "/assets/",
	} {
		wantPageHeaders(t, "stranger "+path, stranger.Get(path))
	}
	wantPageHeaders(t, "method", stranger.PostForm("/settings/profile/", nil))
	wantPageHeaders(t, "wrong method", stranger.Get("/settings/security/password"))
	wantPageHeaders(t, "signed out", stranger.PostForm("/settings/profile", url.Values{"name": {"x"}}))
	wantPageHeaders(t, "cross-site", r.Post("/logout", nil, "Sec-Fetch-Site", "cross-site"))
	login := stranger.Authorize(app.Params("read"))
	wantPageHeaders(t, "login on the way to an app", login)
	wantPageHeaders(t, "consent", stranger.Follow(stranger.LogIn(login, r.Alice.Email)))
	admin := r.Browser().SignIn("root@example.com")
	for _, path := range []string{
		"/settings/profile", "/settings/security", "/settings/connected-apps", "/settings/developer/apps",
		"/settings/developer/apps/new",
		"/admin/users", "/admin/apps", "/admin/apps/" + app.ID, "/logout", "/settings/developer/apps/unknown",
		keysPage(personalSlug(r, root.ID)), keysPage(personalSlug(r, root.ID)) + "/new", tokensPage,
		tokensPage + "/new", keysPage("unknown"),
	} {
		wantPageHeaders(t, "administrator "+path, admin.Get(path))
	}
}

func TestB01_FramedPageStaysBlank(t *testing.T) {
	tab := browser.New(t)
	r := rig.Memory(t, rig.Options{})
	trap := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><title>Trap</title><iframe src="` + r.URL + `/login"></iframe>`))
	}))
	defer trap.Close()
	// A page that is shown loads its style sheet; one that is blocked loads nothing.
	const styled = `"route":"GET /assets/"`
	tab.Goto(trap.URL)
	if !strings.Contains(r.Log.String(), `"route":"GET /login"`) || strings.Contains(r.Log.String(), styled) {
		t.Error("the sign-in page showed inside another site's page")
	}
	if tab.Goto(r.URL + "/login"); !strings.Contains(r.Log.String(), styled) {
		t.Error("a page that is shown loads no style sheet: this test sees nothing")
	}
}

// makeApp submits the form for a new confidential app, with further fields in pairs.
func makeApp(b *rig.Browser, fields ...string) *rig.Answer {
	b.T.Helper()
	v := url.Values{
		"name":          {"My App"},
		"kind":          {"web"},
		"redirect_uris": {"https://mine.example/cb"},
		"scope":         {"read"},
		"resource":      {b.Issuer},
		"refresh":       {"1"},
	}
	for i := 0; i+1 < len(fields); i += 2 {
		v.Set(fields[i], fields[i+1])
	}
	return b.Submit("/settings/developer/apps", v)
}

func TestB11_NoOriginMayReadPages(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	b.Code(app, "read")
	for _, origin := range []string{
		"https://app.example", "https://evil.example", "null", r.Issuer, "http://127.0.0.1:9",
	} {
		for _, path := range []string{
			"/oauth/authorize?" + app.Params("read").Encode(), "/oauth/authorize?client_id=unknown", "/login", "/oauth/consent",
			"/settings/profile", "/logout", "/nothing",
		} {
			a := b.Get(path, "Origin", origin)
			for _, h := range []string{
				"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers",
			} {
				if got := a.Header.Get(h); got != "" {
					t.Errorf("%s for %s: %s is %q", path, origin, h, got)
				}
			}
		}
		preflight := r.Send(r.Program(),
			r.Request(http.MethodOptions, "/oauth/authorize", nil, "Origin", origin, "Access-Control-Request-Method", "POST"))
		if got := preflight.Header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("a preflight of authorize for %s allows %q", origin, got)
		}
	}
}

func TestB12_NothingOfAFlowIsCachedOrPassedOn(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	check := func(what string, a *rig.Answer) *rig.Answer {
		t.Helper()
		if got := a.Header.Get("Referrer-Policy"); got != "no-referrer" {
			t.Errorf("%s (%d): Referrer-Policy is %q", what, a.Status, got)
		}
		if got := a.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s (%d): Cache-Control is %q", what, a.Status, got)
		}
		if a.Location != nil && a.Body != "" {
			t.Errorf("%s (%d): a redirect has a body, which repeats its address: %s", what, a.Status, a.Body)
		}
		return a
	}
	b := r.Browser()
	check("a page of settings to a stranger", b.Get("/settings/profile"))
	check("the start to a stranger", b.Get("/"))
	check("administration to a stranger", b.Get("/admin/"))
	check("the way out for a stranger", b.Get("/logout"))
	toLogin := check("authorize to login", b.Get("/oauth/authorize?"+app.Params("read").Encode()))
	login := check("login", b.Follow(toLogin))
	toConsent := check("login to consent", b.LogIn(login, r.Alice.Email))
	consent := check("consent", b.Follow(toConsent))
	code := check("consent to the app", b.Decide(consent, "approve"))
	if code.Param("code") == "" {
		t.Fatalf("no code: %d", code.Status)
	}
	check("authorize to the app", b.Get("/oauth/authorize?"+app.Params("read").Encode()))
	check("denied to the app", b.Decide(b.Authorize(app.Params("write")), "deny"))
	bad := app.Params("read")
	bad.Set("response_type", "token")
	check("error to the app", b.Get("/oauth/authorize?"+bad.Encode()))
	check("the start", b.Get("/"))
	check("the settings", b.Get("/settings/"))
	check("login while signed in", b.Get("/login"))
	check("after a form", b.PostForm("/settings/profile", url.Values{"name": {"Alice"}}))
	check("sign out", b.PostForm("/logout", nil))
	for _, secret := range []string{
		code.Param("code"), code.Param("state"), rig.Password, b.Form(login, "/login").Get("flow"),
	} {
		if strings.Contains(r.Log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func TestB12_BrowserTellsTheAppNoReferrer(t *testing.T) {
	tab := browser.New(t)
	r := rig.Memory(t, rig.Options{})
	var seen sync.Map
	canary := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		seen.Store(q.URL.Path, q.Referer())
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><title>App</title><h1 id="app">App</h1>`))
	}))
	defer canary.Close()
	app := r.App(management.ClientSpec{})
	app.Redirect = canary.URL + "/cb"
	tab.Goto(r.URL + "/oauth/authorize?" + app.Params("read").Encode())
	tab.Fill("#f-email", r.Alice.Email)
	tab.Fill("#f-password", rig.Password)
	tab.Click("button[type=submit]")
	tab.Click("button[value=approve]")
	if tab.URL().Query().Get("code") == "" {
		t.Fatalf("no code at %s", tab.URL())
	}
	if referer, ok := seen.Load("/cb"); !ok || referer != "" {
		t.Errorf("the app was told the referrer %q", referer)
	}
}

func TestB13_TextOfOthersIsEscaped(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>'`
	// The log may contain a redirect URI, but no password.
	const password = "not her password, but " + evil + " in another one"
	r := rig.Memory(t, rig.Options{})
	r.User("root@example.com", evil, true)
	app := r.App(management.ClientSpec{Name: evil})
	check := func(what string, a *rig.Answer) *rig.Answer {
		t.Helper()
		if strings.Contains(a.Body, "<script>alert") || strings.Contains(a.Body, "<img src=x") ||
			strings.Contains(a.Body, `value="">`) {
			t.Errorf("%s shows a stranger's markup as markup (%d)", what, a.Status)
		}
		return a
	}
	b := r.Browser()
	q := url.QueryEscape(evil)
	for _, path := range []string{
		"/oauth/authorize?error=" + q + "&error_description=" + q + "&error_hint=" + q,
		"/oauth/authorize?client_id=" + q + "&redirect_uri=" + q,
		"/oauth/authorize?client_id=" + app.ID + "&redirect_uri=" + q, "/login?return_to=" + q + "&error=" + q +
			"&error_description=" + q, "/login?flow=" + q,
		"/oauth/consent?flow=" + q + "&error_description=" + q, "/setup?word=" + q, "/" + url.PathEscape(evil),
		"/logout?error=" + q,
	} {
		check(path, b.Get(path))
	}
	login := check("login to an app", b.Authorize(app.Params("read")))
	form := b.Form(login, "/login")
	form.Set("email", evil)
	form.Set("password", password)
	check("a failed sign-in", b.PostForm("/login", form))
	check("consent", b.Follow(b.LogIn(login, "root@example.com")))
	for _, path := range []string{
		"/settings/profile", "/settings/security", "/settings/connected-apps", "/admin/users?q=" + q + "&after=" + q,
		"/admin/apps?q=" + q + "&after=" + q,
		"/admin/apps", "/admin/apps/" + app.ID, "/settings/developer/apps/" + url.PathEscape(evil),
	} {
		check(path, b.Get(path))
	}
	check("profile", b.PostForm("/settings/profile", url.Values{"name": {evil + "\x00"}}))
	check("a new user", b.PostForm("/admin/users", url.Values{"name": {evil}, "email": {evil}, "password": {password}}))
	check("a new app",
		makeApp(b, "name", evil+"\x01", "redirect_uris", "javascript:"+evil, "site", "javascript:alert(1)", "kind", evil,
			"scope", evil, "resource", evil))
	check("a deletion", b.PostForm("/admin/apps/"+app.ID+"/delete", url.Values{"confirm": {evil}}))
	if a := makeApp(b, "site", "javascript:alert(1)"); a.Status != http.StatusBadRequest {
		t.Errorf("a javascript: site was registered: %d", a.Status)
	}
}

func TestB14_RevokedAccessStopsAtOnce(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		for _, all := range []bool{false, true} {
			app, api := r.App(management.ClientSpec{}), r.ResourceServer()
			kept := r.App(management.ClientSpec{Name: "Kept"})
			keptAccess, _ := r.Tokens(kept, "read")
			access, refresh := r.Tokens(app, "read write")
			b := r.Browser().SignIn(r.Alice.Email)
			code := b.Code(app, "read")
			narrowed := r.PostAs(app, "/oauth/token", url.Values{
				"grant_type":    {"refresh_token"},
				"refresh_token": {refresh},
				"scope":         {"read"},
			})
			path := "/settings/connected-apps/" + app.ID + "/end"
			if all {
				path = "/settings/connected-apps/end-all"
			}
			// Without the confirmation that the page asks for, nothing is revoked.
			if a := b.PostForm(path, nil); a.Status != http.StatusOK || !r.Alive(api, access) {
				t.Fatalf("%s without a confirmation answered %d %s", path, a.Status, rig.Plain(a.Body))
			}
			if a := b.Confirm(path, nil); a.Status != http.StatusSeeOther {
				t.Fatalf("%s answered %d %s", path, a.Status, rig.Plain(a.Body))
			}
			for name, token := range map[string]string{
				"access token":              access,
				"access token of a refresh": narrowed.Text("access_token"),
			} {
				if r.Alive(api, token) || r.Alive(app, token) {
					t.Errorf("%s: the %s still works", path, name)
				}
			}
			if a := r.Exchange(app, code); a.Status != http.StatusBadRequest || a.Text("error") != "invalid_grant" {
				t.Errorf("%s: the code gave %d %s", path, a.Status, a.Body)
			}
			for _, token := range []string{refresh, narrowed.Text("refresh_token")} { // the first within its reuse window
				if a := r.Refresh(app, token); a.Status != http.StatusBadRequest || a.Text("error") != "invalid_grant" {
					t.Errorf("%s: a refresh token gave %d %s", path, a.Status, a.Body)
				}
				if r.Alive(app, token) {
					t.Errorf("%s: a refresh token is active", path)
				}
			}
			if r.Alive(api, keptAccess) == all {
				t.Errorf("%s: another app's token is active: %v", path, !all)
			}
			quiet := app.Params("read")
			quiet.Set("prompt", "none")
			if a := b.Authorize(quiet); a.Param("error") != "consent_required" {
				t.Errorf("%s: the app need not ask again: %d %v", path, a.Status, a.Location)
			}
			if page := b.Get("/settings/connected-apps"); strings.Contains(page.Body, app.ID) {
				t.Errorf("%s: the app is still listed", path)
			}
		}
	})
}

func TestB14_RevokedAccessStaysRevokedInRaces(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		_, refresh := r.Tokens(app, "read")
		b := r.Browser().SignIn(r.Alice.Email)
		code := b.Code(app, "read")
		var tokens sync.Map
		rig.AtOnce(17, func(i int) {
			switch {
			case i == 8:
				b.Confirm("/settings/connected-apps/"+app.ID+"/end", nil)
			case i == 9:
				a := r.Exchange(app, code)
				tokens.Store(a.Text("access_token"), a.Text("refresh_token"))
			default:
				a := r.Refresh(app, refresh)
				tokens.Store(a.Text("access_token"), a.Text("refresh_token"))
			}
		})
		tokens.Range(func(access, refresh any) bool {
			if access != "" && (r.Alive(api, access.(string)) || r.Refresh(app, refresh.(string)).Status == http.StatusOK) {
				t.Error("a token issued while the access was revoked still works")
			}
			return true
		})
	})
}
