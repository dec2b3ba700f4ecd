package security

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/config"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/test/providers"
	"doorward/test/rig"
)

// Apple answers with a form of its own site, with which a browser sends none of our cookies. A page of ours sends it
// again; nothing is decided before.
func TestG25_ApplesFormIsSentAgainFromHere(t *testing.T) {
	s, gh := providers.Apple(t), providers.GitHub(t)
	r := rig.Memory(t, withProviders(outside(s, "apple", "apple"), outside(gh, "github", "github")))
	follow(r, s, gh)
	connected(r, r.Alice, "apple", s.Issuer(), providers.Ada().Subject)
	connected(r, r.Alice, "github", gh.Issuer(), providers.Ada().Subject)
	b := r.Browser()
	v := depart(b, b.Get("/login"), "apple")
	if !v.form {
		t.Fatal("Apple was not asked for a form")
	}
	before := tallyOf(t, r)

	relay := v.relay(r)
	if relay.Status != http.StatusOK || len(relay.Cookies) != 0 || s.Requests(providers.Token) != 0 {
		t.Errorf("without cookies the form is answered %d, cookies %v", relay.Status, relay.Cookies)
	}
	wantPageHeaders(t, "relay page", relay)
	form := b.Form(relay, v.path)
	for _, name := range []string{"code", "state", "user"} {
		if form.Get(name) != v.params.Get(name) {
			t.Errorf("the page sends %s %q", name, form.Get(name))
		}
	}
	// What is sent again without cookies, is not sent a third time.
	wantPage(t, r.Post(v.path, form, "Sec-Fetch-Site", "same-origin"), http.StatusBadRequest)
	// Another site's form is shown as text, and unknown fields are left out.
	odd := visited{path: v.path, form: true, params: url.Values{
		"state": {`"><script>alert(1)</script>`}, "code": {`</form>`}, "flow": {"x"}, "return_to": {"https://evil.example"},
	}}
	if page := odd.relay(r); strings.Contains(page.Body, "<script>alert") || strings.Contains(page.Body, "evil.example") ||
		strings.Count(page.Body, "</form>") != 1 {
		t.Errorf("the page repeats the form as markup: %s", page.Body)
	}
	// The callback is a form alone, and only Apple's.
	wantPage(t, r.Browser().Get(v.path+"?"+v.params.Encode()), http.StatusBadRequest)
	wantPage(t, r.Post("/login/github/callback", v.params), http.StatusNotFound)
	wantPage(t, r.Post("/login/none/callback", v.params), http.StatusNotFound)
	if s.Requests(providers.Token) != 0 || tallyOf(t, r) != before {
		t.Error("something was decided before the form was sent again")
	}
	// In the browser that began it, and with the cookie alone.
	wantSignedIn(t, b, b.PostForm(v.path, form), r.Alice)
	c := r.Browser()
	wantPage(t, c.PostForm(v.path, form), http.StatusBadRequest)
	direct := r.Browser()
	w := depart(direct, direct.Get("/login"), "apple")
	wantSignedIn(t, direct, direct.PostForm(w.path, w.params), r.Alice)
	// A GET in the browser that began it signs no one in either.
	got := r.Browser()
	w = depart(got, got.Get("/login"), "apple")
	w.form = false
	wantPage(t, w.back(got), http.StatusBadRequest)
	if signedInAs(got) != "" {
		t.Error("a GET signs in")
	}
	// An attacker's form, in the browser of a victim, signs in no one.
	victim, attacker := r.Browser(), r.Browser()
	depart(victim, victim.Get("/login"), "apple")
	theirs := depart(attacker, attacker.Get("/login"), "apple")
	before = tallyOf(t, r)
	wantPage(t, theirs.back(victim), http.StatusBadRequest)
	wantSame(t, victim, before)
	wantNoToken(t, r)
}

// Apple sends the name of a user once, with an address that the browser could have changed. The name is filled in, the
// address is that of the ID token, and later sign-ins work without both.
func TestG28_ApplesNameIsFilledInAndItsAddressIsNotBelieved(t *testing.T) {
	s := providers.Apple(t)
	r := rig.Memory(t, withProviders(outside(s, "apple", "apple")))
	follow(r, s)
	ada := providers.Ada()
	b := r.Browser()
	v := depart(b, b.Get("/login"), "apple")
	if !strings.Contains(v.params.Get("user"), "Lovelace") {
		t.Fatalf("Apple sends the user %s", v.params.Get("user"))
	}
	v.params.Set("user", strings.ReplaceAll(v.params.Get("user"), ada.Email, r.Alice.Email))
	if a := v.back(b); a.Status != http.StatusSeeOther || a.Location.Path != "/signup/complete" {
		t.Fatalf("answered %d %v", a.Status, a.Location)
	}
	page := b.Get("/signup/complete")
	if form := b.Form(page, "/signup/complete"); form.Get("name") != ada.Name || form.Get("username") != ada.Email ||
		form.Has("password") {
		t.Errorf("the form has %v", form)
	}
	completed(b, "")
	user, err := r.Store.UserByEmail(r.System(), ada.Email)
	ok(t, err)
	if user.Name != ada.Name || signedInAs(b) != ada.Email {
		t.Errorf("the user is %q, and %q is signed in", user.Name, signedInAs(b))
	}
	for _, sent := range []string{"", "{", `{"name":null}`, `{"name":{"firstName":"Eve","lastName":"\u0000"}}`} {
		c := r.Browser()
		v := depart(c, c.Get("/login"), "apple")
		if v.params.Has("user") {
			t.Errorf("Apple sends the user %s again", v.params.Get("user"))
		}
		if sent != "" {
			v.params.Set("user", sent)
		}
		wantSignedIn(t, c, v.back(c), user)
	}
	// A sign-up that was not completed the first time has no name then, and asks for one.
	eve := providers.User{Subject: "eve", Email: "eve@lovelace.example", Name: "Eve"}
	s.SetUser(eve)
	signInAt(r.Browser(), "apple")
	c := r.Browser()
	signInAt(c, "apple")
	if name := c.Form(c.Get("/signup/complete"), "/signup/complete").Get("name"); name != "" {
		t.Errorf("the form has the name %q", name)
	}
	if a := completed(c, "Eve"); a.Status != http.StatusSeeOther || signedInAs(c) != eve.Email {
		t.Errorf("the account is answered %d %s", a.Status, rig.Plain(a.Body))
	}
}

// What a new visitor from each kind of provider is asked for: nothing but the name if the provider has proven the
// address, otherwise the link or code of an email; and without an address there is no account.
func TestG28_WhichProvidersProveAnAddress(t *testing.T) {
	const proven, emailed = "/signup/complete", "/signup/code"
	for _, x := range []struct {
		kind   string
		change func(*config.Provider)
		want   map[providers.EmailState]string
	}{
		{kind: "google", want: map[providers.EmailState]string{
			providers.Verified: proven, providers.Unverified: emailed, providers.Unstated: emailed,
		}},
		{kind: "apple", want: map[providers.EmailState]string{
			providers.Verified: proven, providers.Unverified: emailed, providers.Unstated: emailed,
		}},
		{kind: "github", want: map[providers.EmailState]string{providers.Verified: proven, providers.Unverified: emailed}},
		{kind: "gitlab", want: map[providers.EmailState]string{
			providers.Verified: proven, providers.Unverified: emailed, providers.Unstated: emailed,
		}},
		{kind: "microsoft", want: map[providers.EmailState]string{
			providers.Verified: emailed, providers.Unverified: emailed, providers.Unstated: emailed,
		}},
		{kind: "microsoft", change: trusted, want: map[providers.EmailState]string{
			providers.Verified: emailed, providers.Unverified: emailed, providers.Unstated: emailed,
		}},
		{want: map[providers.EmailState]string{
			providers.Verified: emailed, providers.Unverified: emailed, providers.Unstated: emailed,
		}},
		{change: trusted, want: map[providers.EmailState]string{
			providers.Verified: proven, providers.Unverified: emailed, providers.Unstated: emailed,
		}},
	} {
		t.Run("kind "+x.kind, func(t *testing.T) {
			s, id := standIn(t, x.kind)
			change := x.change
			if change == nil {
				change = func(*config.Provider) {}
			}
			r := rig.Memory(t, withProviders(outside(s, id, x.kind, change)))
			follow(r, s)
			user := providers.Ada()
			user.Subject = "7"
			come := func(b *rig.Browser) *rig.Answer {
				user.Subject += "1"
				s.SetUser(user)
				return signInAt(b, id)
			}
			for state, want := range x.want {
				user.State, user.Email = state, "new"+user.Subject+"@lovelace.example"
				b := r.Browser()
				a := come(b)
				if a.Location == nil || a.Location.Path != want {
					t.Errorf("state %d: answered %d %v, want %s", state, a.Status, a.Location, want)
				}
				if want == emailed {
					redirects(t, useLink(b, r.Email("sign_up")), "/signup/complete")
				}
				page := b.Get("/signup/complete")
				form := b.Form(page, "/signup/complete")
				if form.Get("username") != user.Email || form.Get("name") != user.Name || form.Has("password") {
					t.Errorf("state %d: the form has %v", state, form)
				}
				completed(b, "")
				account, err := r.Store.UserByEmail(r.System(), user.Email)
				ok(t, err)
				issuer := s.Issuer()
				if x.kind == "microsoft" {
					issuer = s.TenantIssuer(providers.Tenant)
				}
				if _, u, err := r.Store.ProviderAccount(r.System(), issuer, user.Subject); err != nil || u.ID != account.ID {
					t.Errorf("state %d: the account is connected to %s, %v", state, u.ID, err)
				}
				again := r.Browser()
				wantSignedIn(t, again, signInAt(again, id), account)
			}
			r.Emails() // of the new browsers
			for _, email := range []string{"", "no address", "two@a.example,three@a.example", "a@b@c", "ä@lovelace.example"} {
				user.Email, user.State = email, providers.Verified
				if x.kind == "github" && email == "" {
					s.BreakAt(providers.Emails, providers.Null)
				}
				b, before := r.Browser(), tallyOf(t, r)
				wantPage(t, come(b), http.StatusForbidden)
				wantSame(t, b, before)
				s.Repair()
			}
			if list := r.Emails(); len(list) != 0 {
				t.Errorf("the emails are %q", kindsOf(list))
			}
			wantNoToken(t, r)
		})
	}
}

// GitHub's address is the primary one of its separate list, and neither the public one nor another one.
func TestG28_GitHubsAddressIsThePrimaryOne(t *testing.T) {
	s := providers.GitHub(t)
	r := rig.Memory(t, withProviders(outside(s, "github", "github")))
	follow(r, s)
	s.EditUserInfo(func(m map[string]any) { m["email"] = r.Alice.Email }) // the public one, which anyone may enter
	b := r.Browser()
	if a := signInAt(b, "github"); a.Status != http.StatusSeeOther || a.Location.Path != "/signup/complete" {
		t.Fatalf("answered %d %v", a.Status, a.Location)
	}
	if form := b.Form(b.Get("/signup/complete"), "/signup/complete"); form.Get("username") != providers.Ada().Email {
		t.Errorf("the form has %v", form)
	}
	if s.Requests(providers.Emails) != 1 {
		t.Errorf("the addresses were asked for %d times", s.Requests(providers.Emails))
	}
}

// sessionBy is how the newest session of a user was authenticated.
func sessionBy(t *testing.T, r *rig.Rig, u storage.User) string {
	t.Helper()
	list := sessionsOf(t, r, u.ID)
	newest := slices.MaxFunc(list, func(a, b storage.Session) int { return int(a.AuthTime - b.AuthTime) })
	return strings.Join(newest.AMR, " ") + " " + newest.ACR
}

// A sign-in at a provider is one factor, after which the second one is asked for; with two_factors it is two. The
// session, and what an app is granted, say so.
func TestG28_ASignInAtAProviderIsOneFactorUnlessItIsConfiguredAsTwo(t *testing.T) {
	one, two := providers.OIDC(t), providers.OIDC(t)
	o := withProviders(outside(one, "one", ""), outside(two, "two", "", trusted, func(p *config.Provider) {
		p.TwoFactors = true
	}))
	r := rig.Memory(t, o)
	follow(r, one, two)
	ada := providers.Ada()
	connected(r, r.Alice, "one", one.Issuer(), ada.Subject)
	connected(r, r.Alice, "two", two.Issuer(), ada.Subject)
	by := func(want string) {
		t.Helper()
		if got := sessionBy(t, r, r.Alice); got != want {
			t.Errorf("the session is by %q, want %q", got, want)
		}
		r.Advance(time.Second)
	}
	b := r.Browser()
	wantSignedIn(t, b, signInAt(b, "one"), r.Alice)
	by("fed urn:doorward:1")
	b = r.Browser()
	wantSignedIn(t, b, signInAt(b, "two"), r.Alice)
	by("fed mfa urn:doorward:2")

	code := withTOTP(t, r, r.Alice)
	app := r.App(appSpec)
	b = r.Browser()
	before := tallyOf(t, r)
	a := depart(b, b.Authorize(app.Params("read")), "one").back(b)
	if a.Status != http.StatusSeeOther || a.Location.Path != "/login/second" {
		t.Fatalf("answered %d %v", a.Status, a.Location)
	}
	wantSame(t, b, before)
	page := b.Follow(a)
	form := b.Form(page, "/login/second")
	form.Set("code", "000000")
	wantPage(t, b.PostForm("/login/second", form), http.StatusUnauthorized)
	wantSame(t, b, before)
	form.Set("code", code())
	consent := b.Follow(b.PostForm("/login/second", form))
	by("fed otp mfa urn:doorward:2")
	granted(t, r.Exchange(app, b.Decide(consent, "approve").Param("code")))
	if list := r.Grants(r.Alice.ID); len(list) != 1 || strings.Join(list[0].AMR, " ") != "fed otp mfa" ||
		list[0].ACR != identity.LevelTwo {
		t.Errorf("the grants are %+v", list)
	}
	b = r.Browser()
	wantSignedIn(t, b, signInAt(b, "two"), r.Alice)
	by("fed mfa urn:doorward:2")

	// A sign-up says the same.
	for id, want := range map[string]string{"one": "fed urn:doorward:1", "two": "fed mfa urn:doorward:2"} {
		s := map[string]*providers.Server{"one": one, "two": two}[id]
		s.SetUser(providers.User{Subject: "new", Email: id + "@new.example", Name: "New"})
		r.Emails()
		b := r.Browser()
		if signInAt(b, id); id == "one" {
			useLink(b, r.Email("sign_up"))
		}
		completed(b, "New")
		u, err := r.Store.UserByEmail(r.System(), id+"@new.example")
		ok(t, err)
		if got := sessionBy(t, r, u); got != want {
			t.Errorf("a sign-up at %s is by %q, want %q", id, got, want)
		}
	}

	// Where everyone has to have a second factor, it is set up after one factor, and before anything else.
	o.SecondFactor = identity.SecondFactorEveryone
	reconfigure(t, r, o, nil)
	bob := r.User("bob@example.com", "Bob", false)
	connected(r, bob, "one", one.Issuer(), "of Bob")
	connected(r, bob, "two", two.Issuer(), "of Bob")
	one.SetUser(providers.User{Subject: "of Bob", Email: "b@new.example"})
	two.SetUser(providers.User{Subject: "of Bob", Email: "b@new.example"})
	b, before = r.Browser(), tallyOf(t, r)
	if a := signInAt(b, "one"); a.Status != http.StatusSeeOther || a.Location.Path != "/login/enrol" {
		t.Errorf("answered %d %v", a.Status, a.Location)
	}
	wantSame(t, b, before)
	wantSignedIn(t, b, signInAt(b, "two"), bob)
	wantNoToken(t, r)
}

// The flow of an app goes on after a sign-in at a provider, and after a sign-up that began there: in the same browser
// only.
func TestG10_AnAppsFlowGoesOnAfterAProvider(t *testing.T) {
	google, plain := providers.Google(t), providers.OIDC(t)
	r := rig.Memory(t, withProviders(outside(google, "google", "google"), outside(plain, "acme", "")))
	follow(r, google, plain)
	app := r.App(appSpec)
	params := app.Params("read")
	connected(r, r.Alice, "google", google.Issuer(), "of Alice")
	google.SetUser(providers.User{Subject: "of Alice", Email: "alice@elsewhere.example"})
	goesOn := func(t *testing.T, b *rig.Browser, a *rig.Answer) {
		t.Helper()
		page := b.Follow(a)
		code := wantCode(t, r, b.Decide(page, "approve"), params)
		granted(t, r.Exchange(app, code))
	}
	t.Run("sign-in", func(t *testing.T) {
		b := r.Browser()
		goesOn(t, b, depart(b, b.Authorize(params), "google").back(b))
	})
	t.Run("sign-in again", func(t *testing.T) {
		b := r.Browser().SignIn(r.Alice.Email)
		again := altered(params, url.Values{"prompt": {"login consent"}})
		goesOn(t, b, depart(b, b.Authorize(again), "google").back(b))
	})
	t.Run("sign-up, proven by the provider", func(t *testing.T) {
		google.SetUser(providers.User{Subject: "new", Email: "new@lovelace.example", Name: "New"})
		b := r.Browser()
		depart(b, b.Authorize(params), "google").back(b)
		goesOn(t, b, completed(b, ""))
	})
	t.Run("sign-up, proven by an email", func(t *testing.T) {
		plain.SetUser(providers.User{Subject: "new", Email: "second@lovelace.example", Name: "New"})
		r.Emails()
		b := r.Browser()
		depart(b, b.Authorize(params), "acme").back(b)
		useLink(b, r.Email("sign_up"))
		goesOn(t, b, completed(b, ""))
	})
	t.Run("sign-up, proven in another browser", func(t *testing.T) {
		plain.SetUser(providers.User{Subject: "third", Email: "third@lovelace.example", Name: "New"})
		b, other := r.Browser(), r.Browser()
		depart(b, b.Authorize(params), "acme").back(b)
		useLink(other, r.Email("sign_up"))
		if a := completed(other, "New"); a.Location == nil || a.Location.Path != "/settings/profile" {
			t.Errorf("answered %d %v", a.Status, a.Location)
		}
		if signedInAs(b) != "" {
			t.Error("the browser that asked is signed in")
		}
	})
	t.Run("another browser's flow", func(t *testing.T) {
		google.SetUser(providers.User{Subject: "of Alice", Email: "alice@elsewhere.example"})
		b, other := r.Browser(), r.Browser()
		v := depart(b, b.Authorize(params), "google")
		other.SetCookie(&http.Cookie{Name: "doorward-provider", Value: cookie(b, "doorward-provider"), Path: "/"})
		before := tallyOf(t, r)
		wantPage(t, v.back(other), http.StatusForbidden)
		wantSame(t, other, before)
	})
	t.Run("a flow that was answered meanwhile", func(t *testing.T) {
		b := r.Browser()
		page := b.Authorize(params)
		v := depart(b, page, "google")
		tab := r.Browser().WithCookiesOf(b)
		b.Follow(b.LogIn(page, r.Alice.Email)) // the other tab has signed in, and its consent is remembered
		a := v.back(tab)
		if a.Status >= 500 || a.Param("code") != "" && a.Location.Host == "app.example" {
			t.Errorf("answered %d %v", a.Status, a.Location)
		}
	})
}

// A provider has no id that would make its addresses those of another page of the sign-in (G-25).
func TestG25_NoProviderHasTheIDOfAPage(t *testing.T) {
	loaded := func(id string) error {
		file := filepath.Join(t.TempDir(), "doorward.yaml")
		ok(t, os.WriteFile(file, []byte("issuer: http://localhost:8080\nproviders:\n  - id: "+id+
			"\n    issuer: https://provider.example\n    client_id: a\n    client_secret: b\n"), 0o600))
		_, err := config.Load(file, nil, func(string) string { return "" })
		return err
	}
	ok(t, loaded("acme"))
	pages := 0
	for _, pattern := range patterns(t) {
		_, path, _ := strings.Cut(pattern, " ")
		rest, isSignIn := strings.CutPrefix(path, "/login/")
		id, _, _ := strings.Cut(rest, "/")
		if !isSignIn || strings.HasPrefix(id, "{") {
			continue
		}
		pages++
		if err := loaded(id); err == nil || !strings.Contains(err.Error(), "names a page") {
			t.Errorf("%s is also the page of a provider with the id %s: %v", pattern, id, err)
		}
	}
	if pages < 6 {
		t.Errorf("only %d routes were tried", pages)
	}
}
