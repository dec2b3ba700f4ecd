package security

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/storage"
	"doorward/test/browser"
	"doorward/test/rig"
)

// grantsOf returns what a user has allowed: active grants and remembered consents.
func grantsOf(t *testing.T, r *rig.Rig, userID string) (grants []storage.Grant, consents []storage.Consent) {
	t.Helper()
	consents, err := r.Store.ConsentsOf(storage.Tenant(t.Context(), userID, ""), userID)
	if err != nil {
		t.Fatal(err)
	}
	return r.Grants(userID), consents
}

func wantNothingGranted(t *testing.T, r *rig.Rig, userID string) {
	t.Helper()
	if grants, consents := grantsOf(t, r, userID); len(grants)+len(consents) > 0 {
		t.Errorf("%d grants and %d consents came of it", len(grants), len(consents))
	}
}

// cookie returns the value of a browser's cookie, or "".
func cookie(b *rig.Browser, name string) string {
	for _, c := range b.Cookies() {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// signedIn returns the email address of the session's user, or "".
func signedIn(r *rig.Rig, value string) string {
	r.T.Helper()
	a := r.Send(r.Program(), r.Request(http.MethodGet, "/settings/profile", nil, "Cookie", "doorward="+value))
	switch {
	case a.Status == http.StatusSeeOther && strings.HasPrefix(a.Header.Get("Location"), "/login?"):
		return ""
	case a.Status == http.StatusOK:
		return regexp.MustCompile(`[a-z]+@example\.com`).FindString(a.Body)
	}
	r.T.Errorf("the profile answered %d %s", a.Status, rig.Plain(a.Body))
	return ""
}

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

func TestB02_ConsentTakesItsOwnFormOnly(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app := r.App(management.ClientSpec{})
		r.User("bob@example.com", "Bob", false)
		b, other := r.Browser().SignIn(r.Alice.Email), r.Browser().SignIn("bob@example.com")
		page, foreign := b.Authorize(app.Params("read")), other.Authorize(app.Params("read"))
		again := b.Authorize(app.Params("read")) // the same user, another request
		token := func(p *rig.Answer) string { return b.Form(p, "/oauth/consent").Get("token") }
		for name, change := range map[string]func(url.Values){
			"no token":                 func(v url.Values) { v.Del("token") },
			"empty token":              func(v url.Values) { v.Set("token", "") },
			"token of another session": func(v url.Values) { v.Set("token", token(foreign)) },
			"token of another flow":    func(v url.Values) { v.Set("token", token(again)) },
			"cut token":                func(v url.Values) { v.Set("token", v.Get("token")[1:]) },
			"the session's cookie":     func(v url.Values) { v.Set("token", cookie(b, "doorward")) },
		} {
			for _, decision := range []string{"approve", "deny"} {
				t.Run(name+" "+decision, func(t *testing.T) { wantPage(t, b.Decide(page, decision, change), http.StatusForbidden) })
			}
		}
		for name, headers := range map[string][]string{
			"cross-site": {"Sec-Fetch-Site", "cross-site"}, "same-site": {"Sec-Fetch-Site", "same-site"},
		} {
			form := b.Form(page, "/oauth/consent")
			form.Set("decision", "approve")
			q := r.Request(http.MethodPost, "/oauth/consent", strings.NewReader(form.Encode()),
				append([]string{"Content-Type", "application/x-www-form-urlencoded"}, headers...)...)
			q.Header.Set("Cookie", cookieHeader(b))
			t.Run(name, func(t *testing.T) { wantPage(t, r.Send(r.Program(), q), http.StatusForbidden) })
		}
		t.Run("Origin of another site, from a browser that sends no Sec-Fetch-Site", func(t *testing.T) {
			form := b.Form(page, "/oauth/consent")
			form.Set("decision", "approve")
			for _, origin := range []string{"https://evil.example", "null", "http://127.0.0.1:1"} {
				q := r.Request(http.MethodPost, "/oauth/consent", strings.NewReader(form.Encode()),
					"Content-Type", "application/x-www-form-urlencoded", "Origin", origin, "Cookie", cookieHeader(b))
				wantPage(t, r.Send(r.Program(), q), http.StatusForbidden)
			}
		})
		wantNothingGranted(t, r, r.Alice.ID)
		if a := b.Decide(page, "approve"); a.Param("code") == "" {
			t.Errorf("what was refused spent the person's own answer: %d %s", a.Status, rig.Plain(a.Body))
		}
	})
}

// cookieHeader returns the Cookie header that a browser would send.
func cookieHeader(b *rig.Browser) string {
	var parts []string
	for _, c := range b.Cookies() {
		parts = append(parts, c.Name+"="+c.Value)
	}
	return strings.Join(parts, "; ")
}

func TestB03_FlowBegunElsewhereIsRefusedAtEveryStep(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	mallory := r.User("mallory@example.com", "Mallory", false)
	attacker := r.Browser()
	login := attacker.Authorize(app.Params("read"))
	sealed := attacker.Form(login, "/login").Get("flow")

	victim := r.Browser()
	wantPage(t, victim.Get("/login?flow="+sealed), http.StatusForbidden)
	wantPage(t, victim.LogIn(login, r.Alice.Email), http.StatusForbidden)
	if cookie(victim, "doorward") != "" {
		t.Error("the foreign flow signed the victim in")
	}
	victim.SignIn(r.Alice.Email)
	wantPage(t, victim.Get("/login?flow="+sealed), http.StatusForbidden)
	wantPage(t, victim.Get("/oauth/consent?flow="+sealed), http.StatusForbidden)
	consent := attacker.Follow(attacker.LogIn(login, mallory.Email))
	for _, decision := range []string{"approve", "deny"} {
		wantPage(t, victim.Decide(consent, decision), http.StatusForbidden)
	}
	wantNothingGranted(t, r, r.Alice.ID)

	// What the victim answers in their own browser does not answer the attacker's.
	if a := victim.Decide(victim.Authorize(app.Params("read")), "approve"); a.Param("code") == "" {
		t.Fatalf("no code for the victim: %d", a.Status)
	}
	if a := attacker.Decide(consent, "approve"); a.Param("code") == "" {
		t.Fatalf("no code for the attacker's own account: %d", a.Status)
	} else if tok := r.Exchange(app, a.Param("code")); r.Introspect(app, tok.Text("access_token")).
		Text("sub") != mallory.ID {
		t.Errorf("the attacker's flow gave %s", tok.Body)
	}
}

func TestB04_DecisionCountsOnce(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		app := r.App(management.ClientSpec{})
		b := r.Browser().SignIn(r.Alice.Email)
		t.Run("twice", func(t *testing.T) {
			page := b.Authorize(app.Params("read"))
			first := b.Decide(page, "deny")
			if first.Param("error") != "access_denied" {
				t.Fatal("the denial was not told to the app")
			}
			if again := b.Decide(page, "deny"); again.Header.Get("Location") != first.Header.Get("Location") {
				t.Errorf("the same answer again: %d %v", again.Status, again.Location)
			}
			wantPage(t, b.Decide(page, "approve"), http.StatusConflict)
			wantNothingGranted(t, r, r.Alice.ID)
		})
		t.Run("64 at once", func(t *testing.T) {
			page := b.Authorize(app.Params("write"))
			form := b.Form(page, "/oauth/consent")
			cookies := cookieHeader(b)
			var answers, answered, other sync.Map
			count := func(m *sync.Map) (n int) { m.Range(func(any, any) bool { n++; return true }); return n }
			requests := make([]*http.Request, 64)
			for i := range requests {
				v := url.Values{
					"flow":     form["flow"],
					"token":    form["token"],
					"scope":    {"write"},
					"decision": {[]string{"approve", "deny"}[i%2]},
				}
				requests[i] = r.Request(http.MethodPost, "/oauth/consent", strings.NewReader(v.Encode()),
					"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin", "Cookie", cookies)
			}
			var same, different atomic.Int64
			rig.AtOnce(len(requests), func(i int) {
				a := r.Send(r.Program(), requests[i])
				switch {
				case a.Param("code") != "", a.Param("error") != "":
					answers.Store(a.Location.String(), true)
					same.Add(1)
				case a.Status == http.StatusConflict:
					answered.Store(i, true)
					different.Add(1)
				default:
					other.Store(i, a.Status)
				}
			})
			if count(&answers) != 1 || same.Load() != 32 || different.Load() != 32 {
				t.Errorf("%d answers, sent %d times; %d told that it was answered, %d others", count(&answers), same.Load(),
					different.Load(), count(&other))
			}
			grants, _ := grantsOf(t, r, r.Alice.ID)
			answers.Range(func(to, _ any) bool {
				if allowed := strings.Contains(to.(string), "code="); (len(grants) == 1) != allowed {
					t.Errorf("%d grants for the answer %v", len(grants), to)
				}
				return true
			})
		})
	})
}

func TestB05_AnotherPersonSubmitsThePage(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	bob := r.User("bob@example.com", "Bob", false)
	b := r.Browser().SignIn(r.Alice.Email)
	page := b.Authorize(app.Params("read"))
	b.PostForm("/logout", nil)
	b.SignIn(bob.Email)
	wantPage(t, b.Decide(page, "approve"), http.StatusForbidden)
	wantNothingGranted(t, r, r.Alice.ID)
	wantNothingGranted(t, r, bob.ID)

	t.Run("by the page's own switch", func(t *testing.T) {
		page := b.Authorize(app.Params("read"))
		sealed := b.Form(page, "/oauth/consent").Get("flow")
		next := b.LogIn(b.Get("/login?switch=1&flow="+sealed), r.Alice.Email)
		wantPage(t, b.Decide(page, "approve"), http.StatusForbidden)
		wantNothingGranted(t, r, bob.ID)
		if a := b.Decide(b.Follow(next), "approve"); a.Param("code") == "" {
			t.Errorf("the page made for the other person gave %d %s", a.Status, rig.Plain(a.Body))
		}
		wantNothingGranted(t, r, bob.ID)
	})
	t.Run("signed out meanwhile", func(t *testing.T) {
		b := r.Browser().SignIn(bob.Email)
		page := b.Authorize(app.Params("read"))
		b.PostForm("/logout", nil)
		a := b.Decide(page, "approve")
		if a.Status != http.StatusSeeOther || !strings.HasPrefix(a.Location.String(), "/login?flow=") {
			t.Errorf("answer %d %v, want the sign-in page", a.Status, a.Location)
		}
		wantNothingGranted(t, r, bob.ID)
	})
}

func TestB06_FlowThatIsNotGood(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	page := b.Authorize(app.Params("read"))
	sealed := b.Form(page, "/oauth/consent").Get("flow")
	flip := func(i int) string {
		c := byte('A')
		if sealed[i] == c {
			c = 'B'
		}
		return sealed[:i] + string(c) + sealed[i+1:]
	}
	try := func(t *testing.T, flow string, status int) {
		t.Helper()
		wantPage(t, b.Get("/login?flow="+url.QueryEscape(flow)), status)
		wantPage(t, b.Get("/oauth/consent?flow="+url.QueryEscape(flow)), status)
		set := func(v url.Values) { v.Set("flow", flow) }
		for _, decision := range []string{"approve", "deny"} {
			wantPage(t, b.Decide(page, decision, set), status)
		}
	}
	stranger := rig.Memory(t, rig.Options{Secrets: []string{"another master secret, of 32 bytes or more"}})
	foreign := stranger.Browser()
	for name, flow := range map[string]string{
		"guessed":         strings.Repeat("A", len(sealed)),
		"truncated":       sealed[:len(sealed)-4],
		"first character": flip(0),
		"a middle one":    flip(len(sealed) / 2),
		"last but one":    flip(len(sealed) - 2),
		"longer":          sealed + "AAAA",
		"padded":          sealed + "=",
		"line break":      sealed[:20] + "\n" + sealed[20:],
		"twice":           sealed + sealed,
		"short":           "x",
		"long":            strings.Repeat("x", 60<<10),
		"an id":           oauth.NewFlowID(),
		"not ASCII":       "é\x00\xff",
		"of another server": foreign.Form(foreign.Authorize(stranger.App(management.ClientSpec{}).Params("read")), "/login").
			Get("flow"),
	} {
		t.Run(name, func(t *testing.T) {
			if len(flow) > 16<<10 { // not a URL of that length
				wantPage(t, b.Decide(page, "approve", func(v url.Values) { v.Set("flow", flow) }), http.StatusBadRequest)
				return
			}
			try(t, flow, http.StatusBadRequest)
		})
	}
	t.Run("of a sign-in without an app", func(t *testing.T) {
		x := r.Browser()
		own := x.Form(x.Get("/login"), "/login").Get("flow")
		for _, c := range x.Cookies() {
			b.SetCookie(&http.Cookie{Name: "flow-7", Value: c.Value, Path: "/"})
		}
		wantPage(t, b.Get("/oauth/consent?flow="+own), http.StatusBadRequest)
		wantPage(t, b.Decide(page, "approve", func(v url.Values) { v.Set("flow", own) }), http.StatusBadRequest)
	})
	t.Run("ten minutes and a second old", func(t *testing.T) {
		r.Advance(oauth.FlowLifetime + time.Second)
		try(t, sealed, http.StatusBadRequest)
		x := r.Browser()
		login := x.Authorize(app.Params("read"))
		r.Advance(oauth.FlowLifetime + time.Second)
		wantPage(t, x.LogIn(login, r.Alice.Email), http.StatusBadRequest)
		if cookie(x, "doorward") != "" {
			t.Error("an expired flow signed a user in")
		}
	})
	wantNothingGranted(t, r, r.Alice.ID)
}

func TestB08_DisabledBetweenPageAndAnswer(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		check := func(t *testing.T, off, on func() error) {
			t.Helper()
			app := r.App(management.ClientSpec{})
			if off == nil {
				off, on = func() error { return r.Store.DisableClient(r.System(), app.ID, "administrator") },
					func() error { return r.Store.EnableClient(r.System(), app.ID) }
			}
			b := r.Browser().SignIn(r.Alice.Email)
			page := b.Authorize(app.Params("read"))
			if err := off(); err != nil {
				t.Fatal(err)
			}
			a := b.Decide(page, "approve")
			if a.Param("code") != "" || (a.Location != nil && a.Location.Host == "app.example") {
				t.Errorf("answer %d %v", a.Status, a.Location)
			}
			if err := on(); err != nil {
				t.Fatal(err)
			}
			wantNothingGranted(t, r, r.Alice.ID)
		}
		t.Run("app", func(t *testing.T) { check(t, nil, nil) })
		t.Run("user", func(t *testing.T) {
			check(t, func() error { return r.Identity.DisableUser(r.System(), r.Alice.ID) },
				func() error { return r.Identity.EnableUser(r.System(), r.Alice.ID) })
		})
		t.Run("app deleted", func(t *testing.T) {
			app := r.App(management.ClientSpec{})
			b := r.Browser().SignIn(r.Alice.Email)
			page := b.Authorize(app.Params("read"))
			if err := r.Store.DeleteClient(r.System(), app.ID); err != nil {
				t.Fatal(err)
			}
			wantPage(t, b.Decide(page, "approve"), http.StatusBadRequest)
			wantNothingGranted(t, r, r.Alice.ID)
		})
		t.Run("redirect URI taken away", func(t *testing.T) {
			app := r.App(management.ClientSpec{})
			b := r.Browser().SignIn(r.Alice.Email)
			page := b.Authorize(app.Params("read"))
			spec := management.SpecOf(app.Client)
			spec.RedirectURIs, spec.Administrator = []string{"https://new.example/cb"}, true
			if _, err := r.Management.UpdateClient(r.System(), management.CommandLine(""), app.ID, spec); err != nil {
				t.Fatal(err)
			}
			for _, decision := range []string{"approve", "deny"} {
				wantPage(t, b.Decide(page, decision), http.StatusBadRequest)
			}
			wantNothingGranted(t, r, r.Alice.ID)
		})
	})
}

func TestB09_LoginNeedsItsOwnFlow(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	r.User("mallory@example.com", "Mallory", false)
	attacker := r.Browser()
	form := attacker.Form(attacker.Get("/login"), "/login")
	form.Set("email", "mallory@example.com")
	form.Set("password", rig.Password)
	none := url.Values{"email": form["email"], "password": form["password"]}
	victim := r.Browser()
	victim.Get("/login") // holds a flow cookie of its own
	wantPage(t, victim.PostForm("/login", none), http.StatusForbidden)
	wantPage(t, victim.PostForm("/login", form), http.StatusForbidden) // the attacker's flow
	own := victim.Form(victim.Get("/login"), "/login")
	own.Set("email", "mallory@example.com")
	own.Set("password", rig.Password)
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Origin", "https://evil.example"},
	} {
		q := r.Request(http.MethodPost, "/login", strings.NewReader(own.Encode()),
			append([]string{"Content-Type", "application/x-www-form-urlencoded", "Cookie", cookieHeader(victim)}, header...)...)
		a := r.Send(r.Program(), q)
		wantPage(t, a, http.StatusForbidden)
		if len(a.Cookies) > 0 {
			t.Errorf("%v: cookies %v", header, a.Cookies)
		}
	}
	if cookie(victim, "doorward") != "" {
		t.Error("the attacker's form signed the victim in")
	}
}

func TestB10_SessionCookieIsNewWheneverItsMeaningChanges(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		t.Run("planted text", func(t *testing.T) {
			b := r.Browser()
			planted := strings.Repeat("A", 43)
			b.SetCookie(&http.Cookie{Name: "doorward", Value: planted, Path: "/"})
			b.SignIn(r.Alice.Email)
			if got := cookie(b, "doorward"); got == planted || signedIn(r, got) != r.Alice.Email {
				t.Errorf("the cookie after signing in is %q", got)
			}
			if who := signedIn(r, planted); who != "" {
				t.Errorf("the planted text opens %s's session", who)
			}
		})
		t.Run("planted session of the attacker", func(t *testing.T) {
			r.User("mallory@example.com", "Mallory", false)
			attacker := r.Browser().SignIn("mallory@example.com")
			planted := cookie(attacker, "doorward")
			b := r.Browser()
			b.SetCookie(&http.Cookie{Name: "doorward", Value: planted, Path: "/"})
			sealed := b.Form(b.Authorize(r.App(management.ClientSpec{}).Params("read")), "/oauth/consent").Get("flow")
			b.LogIn(b.Get("/login?switch=1&flow="+sealed), r.Alice.Email)
			if got := cookie(b, "doorward"); got == planted || signedIn(r, got) != r.Alice.Email {
				t.Errorf("the cookie after signing in is %q", got)
			}
			if who := signedIn(r, planted); who != "" {
				t.Errorf("the planted session is %s's", who)
			}
		})
		t.Run("two cookies", func(t *testing.T) {
			value := cookie(r.Browser().SignIn(r.Alice.Email), "doorward")
			for _, pair := range []string{
				"doorward=" + value + "; doorward=" + strings.Repeat("A", 43),
				"doorward=" + strings.Repeat("A", 43) + "; doorward=" + value,
			} {
				a := r.Send(r.Program(), r.Request(http.MethodGet, "/settings/profile", nil, "Cookie", pair))
				if a.Status != http.StatusSeeOther {
					t.Errorf("of two cookies one was taken: %d", a.Status)
				}
			}
		})
		t.Run("signing in again, step-up, new password", func(t *testing.T) {
			carol := r.User("carol@example.com", "Carol", false)
			b := r.Browser().SignIn(carol.Email)
			seen := []string{cookie(b, "doorward")}
			renewed := func(what string) {
				t.Helper()
				now := cookie(b, "doorward")
				if slices.Contains(seen, now) || signedIn(r, now) != carol.Email {
					t.Errorf("after %s the cookie is not a new one", what)
				}
				for _, old := range seen {
					if signedIn(r, old) != "" {
						t.Errorf("after %s an older cookie still works", what)
					}
				}
				seen = append(seen, now)
			}
			app := r.App(management.ClientSpec{})
			params := app.Params("read")
			params.Set("prompt", "login")
			b.LogIn(b.Authorize(params), carol.Email)
			renewed("signing in again")
			r.Advance(6 * time.Minute)
			if a := makeApp(b, "password", rig.Password); a.Status != http.StatusOK {
				t.Fatalf("step-up answered %d %s", a.Status, rig.Plain(a.Body))
			}
			renewed("step-up")
			if a := b.PostForm("/settings/security/password", url.Values{
				"current_password": {rig.Password},
				"new_password":     {"an entirely other harbour"},
			}); a.Status != http.StatusSeeOther {
				t.Fatalf("change of password answered %d %s", a.Status, rig.Plain(a.Body))
			}
			renewed("a new password")
			b.PostForm("/logout", nil)
			if signedIn(r, seen[len(seen)-1]) != "" {
				t.Error("the cookie works after signing out")
			}
		})
	})
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
				t.Errorf("%s: another app's token is alive: %v", path, !all)
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
				t.Error("a token that was made while the access was ended outlives it")
			}
			return true
		})
	})
}
