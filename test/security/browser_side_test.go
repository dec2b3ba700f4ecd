package security

import (
	"net/http"
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

func TestB02_ConsentTakesItsOwnFormOnly(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
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
		t.Errorf("what was refused spent the user's own answer: %d %s", a.Status, rig.Plain(a.Body))
	}
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
			t.Errorf("the page created for the other user gave %d %s", a.Status, rig.Plain(a.Body))
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
	r := rig.Memory(t, rig.Options{})
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
		if _, err := r.Management.UpdateClient(r.System(), management.CLI(""), app.ID, spec); err != nil {
			t.Fatal(err)
		}
		for _, decision := range []string{"approve", "deny"} {
			wantPage(t, b.Decide(page, decision), http.StatusBadRequest)
		}
		wantNothingGranted(t, r, r.Alice.ID)
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
	r := rig.Memory(t, rig.Options{})
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
				t.Errorf("one of two cookies was accepted: %d", a.Status)
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
}
