package security

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

// A consent form that is submitted twice leads to one code and to one place.
func TestV60_TheSameAnswerTwiceLeadsToTheSamePlace(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		app := r.App(management.ClientSpec{})
		b := r.Browser().SignIn(r.Alice.Email)
		t.Run("64 at once", func(t *testing.T) {
			for _, decision := range []string{"approve", "deny"} {
				before := len(r.Grants(r.Alice.ID))
				form := b.Form(b.Authorize(altered(app.Params("read"), url.Values{"prompt": {"consent"}})), "/oauth/consent")
				form.Set("decision", decision)
				cookies := cookieHeader(b)
				requests := make([]*http.Request, 64)
				for i := range requests {
					requests[i] = r.Request(http.MethodPost, "/oauth/consent", strings.NewReader(form.Encode()),
						"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin", "Cookie", cookies)
				}
				var places sync.Map
				rig.AtOnce(len(requests), func(i int) {
					a := r.Send(r.Program(), requests[i])
					if a.Status != http.StatusSeeOther {
						t.Errorf("%s: answered %d %s", decision, a.Status, rig.Plain(a.Body))
					}
					places.Store(a.Header.Get("Location"), true)
				})
				n := 0
				places.Range(func(any, any) bool { n++; return true })
				if n != 1 {
					places.Range(func(to, _ any) bool { t.Logf("place %v", to); return true })
					t.Errorf("%s: %d different places", decision, n)
				}
				want := map[string]int{"approve": 1}[decision]
				if got := len(r.Grants(r.Alice.ID)) - before; got != want {
					t.Errorf("%s: %d new grants, want %d", decision, got, want)
				}
			}
		})

		page := b.Authorize(altered(app.Params("read write"), url.Values{"prompt": {"consent"}}))
		first := b.Decide(page, "approve")
		to := first.Header.Get("Location")
		if first.Param("code") == "" {
			t.Fatalf("no code: %d %v %s", first.Status, first.Location, rig.Plain(first.Body))
		}
		if got := b.Decide(page, "approve").Header.Get("Location"); got != to {
			t.Errorf("after the flow's cookie was dropped, the same answer leads to %q", got)
		}
		// A different answer does not count as the same, nor does a form from another user's browser or without its token.
		wantAnswered(t, b.Decide(page, "deny"))
		wantAnswered(t, b.Decide(page, "approve", func(v url.Values) { v["scope"] = []string{"read"} }))
		wantAnswered(t, b.Decide(page, "approve", func(v url.Values) { v.Set("token", "x") }))
		bob := r.Browser().SignIn(r.User("bob@example.com", "Bob", false).Email)
		for name, other := range map[string]*rig.Browser{"another user": bob, "a visitor": r.Browser()} {
			for _, a := range []*rig.Answer{
				other.Decide(page, "approve"), other.Get("/oauth/consent?flow=" + b.Form(page, "/oauth/consent").Get("flow")),
			} {
				wantAnswered(t, a)
				if strings.Contains(a.Body, first.Param("code")) {
					t.Errorf("%s is shown the code", name)
				}
			}
		}
		// Another user who has allowed the same does not get the first user's result either.
		if a := r.Exchange(app, first.Param("code")); a.Status != http.StatusOK {
			t.Errorf("the code is worth nothing: %d %s", a.Status, a.Body)
		}
		r.Advance(time.Minute)
		a := b.Decide(page, "approve")
		wantAnswered(t, a)
		if strings.Contains(a.Body, "code=") {
			t.Errorf("after the lifetime of the code the page links to %q", wayOn(t, a))
		}
		// Also after the flow itself has expired, until its row is deleted.
		r.Advance(10 * time.Minute)
		wantAnswered(t, b.Decide(page, "approve"))
	})
}

// If the app was disabled between the two clicks, the second one does not lead to it.
func TestV60_AnAppThatWasDisabledBetweenTwoClicksGetsNothing(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	page := b.Authorize(app.Params("read"))
	code := b.Decide(page, "approve").Param("code")
	ok(t, r.Store.DisableClient(r.System(), app.ID, management.StoppedByAdministrator))
	a := b.Decide(page, "approve")
	wantAnswered(t, a)
	if strings.Contains(a.Body, code) || strings.Contains(wayOn(t, a), "app.example") {
		t.Errorf("the page leads to %q", wayOn(t, a))
	}
}

// A sign-in form that is submitted twice continues as it did the first time, whether or not the first response arrived.
func TestV60_ASignInSentTwiceGoesOn(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{FirstParty: true})
	t.Run("to an app that asks nothing", func(t *testing.T) {
		b := r.Browser()
		page := b.Authorize(app.Params("read"))
		cookies := cookieHeader(b)
		first := b.LogIn(page, r.Alice.Email)
		to := first.Header.Get("Location")
		if first.Param("code") == "" {
			t.Fatalf("no code: %d %v %s", first.Status, first.Location, rig.Plain(first.Body))
		}
		if got := b.LogIn(page, r.Alice.Email).Header.Get("Location"); got != to {
			t.Errorf("with the session, the form leads to %q", got)
		}
		form := b.Form(page, "/login")
		form.Set("email", r.Alice.Email)
		form.Set("password", rig.Password)
		post := func() *rig.Answer {
			return r.Send(r.Program(), r.Request(http.MethodPost, "/login", strings.NewReader(form.Encode()),
				"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin", "Cookie", cookies))
		}
		if got := post().Header.Get("Location"); got != to {
			t.Errorf("with the cookies of the first click, the form leads to %q", got)
		}
		form.Set("password", "wrong")
		if a := post(); a.Status != http.StatusUnauthorized || strings.Contains(a.Body, first.Param("code")) {
			t.Errorf("with a wrong password: %d %s", a.Status, rig.Plain(a.Body))
		}
		r.User("bob@example.com", "Bob", false)
		form.Set("email", "bob@example.com")
		form.Set("password", rig.Password)
		wantAnswered(t, post()) // another user
		if n := len(r.Grants(r.Alice.ID)); n != 1 {
			t.Errorf("%d grants", n)
		}
	})
	t.Run("to a page of ours", func(t *testing.T) {
		b := r.Browser()
		page := b.Get("/login?return_to=/settings/security")
		for range 2 {
			if got := b.LogIn(page, r.Alice.Email).Header.Get("Location"); got != "/settings/security" {
				t.Errorf("the form leads to %q", got)
			}
		}
		a := b.LogIn(page, "bob@example.com")
		wantPage(t, a, http.StatusForbidden)
		if got := wayOn(t, a); got != "/login?return_to=%2Fsettings%2Fsecurity" {
			t.Errorf("the page leads to %q", got)
		}
	})
}

func TestV60_JoiningTwiceIsJoiningOnce(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		ws := r.Workspace("engines", "", r.Alice)
		bob := r.User("bob@example.com", "Bob", false)
		_, word, err := r.Management.Invite(r.System(), management.CLI(ws.ID), ws, bob.Email, catalog.RoleMember)
		ok(t, err)
		b := r.Browser().SignIn(bob.Email)
		const members = "/settings/workspaces/engines/members"
		rig.AtOnce(8, func(int) {
			if a := b.PostForm("/join/"+word, nil); a.Header.Get("Location") != members {
				t.Errorf("joining leads to %q: %d %s", a.Header.Get("Location"), a.Status, rig.Plain(a.Body))
			}
		})
		if got := b.Get("/join/" + word).Header.Get("Location"); got != members {
			t.Errorf("the link leads on to %q", got)
		}
		wantPage(t, r.Browser().SignIn(r.Alice.Email).Get("/join/"+word), http.StatusNotFound)
		// An invitation that was accepted once does not readmit a removed member.
		ok(t, r.Management.RemoveMember(r.System(), management.CLI(ws.ID), ws, bob.ID))
		wantPage(t, b.PostForm("/join/"+word, nil), http.StatusNotFound)
		wantPage(t, b.Get("/join/"+word), http.StatusNotFound)
	})
}

// A form that creates a workspace, a user or a public app creates one object even if it is submitted more than once,
// and always leads to the same page.
func TestV60_FormsThatCreateCountOnce(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		root := r.User("root@example.com", "Root", true)
		b := r.Browser().SignIn(root.Email)
		count := func() (workspaces, users int) {
			list, err := r.Store.WorkspacesOf(r.System(), root.ID)
			ok(t, err)
			all, err := r.Store.Users(r.System(), "", "", 100)
			ok(t, err)
			return len(list), len(all)
		}
		r.Workspace("engines", "", r.Alice) // the first slug from this name is in use
		for page, x := range map[string]struct {
			typed url.Values
			to    string
		}{
			"/settings/workspaces": {url.Values{"name": {"Engines"}}, "/settings/workspaces/engines-2/members"},
			"/admin/users": {
				url.Values{"name": {"Bob"}, "email": {"Bob@example.com"}, "password": {rig.Password}},
				"/admin/users",
			},
		} {
			shown := b.Get(page)
			shown.Body, _, _ = strings.Cut(shown.Body, `<form class="search`) // its action contains the same path
			form := b.Form(shown, page)
			for name, values := range x.typed {
				form[name] = values
			}
			workspaces, users := count()
			send := func(int) {
				if a := b.PostForm(page, form); a.Header.Get("Location") != x.to {
					t.Errorf("%s: leads to %q: %d %s", page, a.Header.Get("Location"), a.Status, rig.Plain(a.Body))
				}
			}
			rig.AtOnce(8, send)
			send(0)
			w, u := count()
			if w+u != workspaces+users+1 {
				t.Errorf("%s: %d workspaces and %d users more", page, w-workspaces, u-users)
			}
			if a := b.Get(x.to); a.Status != http.StatusOK {
				t.Errorf("%s leads to %d %s", page, a.Status, rig.Plain(a.Body))
			}
		}
		// Another form with the same values is another request.
		again := url.Values{"name": {"Bob"}, "email": {"bob@example.com"}, "password": {rig.Password}}
		if a := b.PostForm("/admin/users", again); a.Status != http.StatusBadRequest ||
			!strings.Contains(a.Body, "There is an account with this address already") {
			t.Errorf("another form with the same: %d %s", a.Status, rig.Plain(a.Body))
		}
		// For a public app, which has no secret to show, the second submission leads to the app as well.
		const apps = "/settings/developer/apps"
		form := b.Form(b.Get(apps+"/new"), apps)
		for name, value := range map[string]string{
			"name":          "Notes",
			"kind":          "public",
			"redirect_uris": "http://127.0.0.1/cb",
			"resource":      r.Issuer,
			"scope":         "read",
		} {
			form.Set(name, value)
		}
		first, second := b.PostForm(apps, form), b.PostForm(apps, form)
		if to := first.Header.Get("Location"); !strings.HasPrefix(to, apps+"/app_") || second.Header.Get("Location") != to {
			t.Errorf("the app's form leads to %q and %q: %s", to, second.Header.Get("Location"), rig.Plain(first.Body))
		}
	})
}

func TestV60_SettingUpTwiceSignsTheAdministratorIn(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true, NoUser: true}, func(t *testing.T, r *rig.Rig) {
		word, _, err := r.Identity.SetupToken(t.Context())
		ok(t, err)
		form := url.Values{"word": {word}, "name": {"Ada"}, "email": {"ada@example.com"}, "password": {rig.Password}}
		rig.AtOnce(4, func(int) {
			b := r.Browser()
			if a := b.PostForm("/setup", form); a.Header.Get("Location") != "/settings/profile" {
				t.Errorf("set-up leads to %q: %d %s", a.Header.Get("Location"), a.Status, rig.Plain(a.Body))
			} else if a := b.Get("/admin/users"); a.Status != http.StatusOK {
				t.Errorf("the new administrator is not signed in: %d", a.Status)
			}
		})
		var n int64
		ok(t, r.Store.InTx(r.System(), func(ctx context.Context) (err error) {
			n, err = r.Store.CountUsers(ctx)
			return err
		}))
		if n != 1 {
			t.Errorf("%d users", n)
		}
		form.Set("password", "another sentence of several words")
		wantPage(t, r.Browser().PostForm("/setup", form), http.StatusNotFound)
		form.Set("password", rig.Password)
		r.Advance(10*time.Minute + time.Second)
		wantPage(t, r.Browser().PostForm("/setup", form), http.StatusNotFound)
	})
}

// wantAnswered checks for the page about a request that was answered before.
func wantAnswered(t *testing.T, a *rig.Answer) {
	t.Helper()
	wantPage(t, a, http.StatusConflict)
	if !strings.Contains(a.Body, "You already answered this request") {
		t.Errorf("the page says %s", rig.Plain(a.Body))
	}
	wayOn(t, a)
}

var wayOnLink = regexp.MustCompile(`<a class="btn main wide" href="([^"]+)"`)

// wayOn returns where the link of an error page leads.
func wayOn(t *testing.T, a *rig.Answer) string {
	t.Helper()
	m := wayOnLink.FindStringSubmatch(a.Body)
	if m == nil {
		t.Errorf("the page is a dead end: %d %s", a.Status, rig.Plain(a.Body))
		return ""
	}
	return strings.ReplaceAll(m[1], "&amp;", "&")
}

// Going back after an answer shows a page with a link to continue, and never a different page.
func TestV61_GoingBackAfterAnAnswerLeadsOn(t *testing.T) {
	for name, c := range map[string]struct {
		spec   management.ClientSpec
		self   bool
		after  string // where the page leads after the app has the code
		begins string
	}{
		"https": {management.ClientSpec{}, false, "https://app.example/", "https://app.example/cb?"},
		"with a site": {
			management.ClientSpec{Site: "https://site.example"}, false, "https://site.example", "https://app.example/cb?",
		},
		"unverified": {
			management.ClientSpec{RedirectURIs: []string{"https://theirs.example/cb?x=1"}, Site: "https://site.example"},
			true,
			"https://theirs.example/",
			"https://theirs.example/cb?x=1&",
		},
		"on this computer": {
			management.ClientSpec{Public: true, RedirectURIs: []string{"http://127.0.0.1:1234/cb"}},
			false,
			"http://127.0.0.1:1234/",
			"http://127.0.0.1:1234/cb?",
		},
		"a program's own": {
			management.ClientSpec{Public: true, RedirectURIs: []string{"com.example.app:/cb"}},
			false,
			"/",
			"com.example.app:/cb?",
		},
		"an IPv6 interface": {
			management.ClientSpec{Public: true, RedirectURIs: []string{"http://[::1]/cb"}},
			false,
			"http://[::1]/",
			"http://[::1]/cb?",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := rig.Memory(t, rig.Options{})
			app := r.App(c.spec)
			if c.self {
				app = selfRegistered(t, r, c.spec)
			}
			b := r.Browser().SignIn(r.Alice.Email)
			for _, decision := range []string{"approve", "deny"} {
				page := b.Authorize(altered(app.Params("read"), url.Values{"prompt": {"consent"}}))
				sealed := b.Form(page, "/oauth/consent").Get("flow")
				first := b.Decide(page, decision)
				for _, path := range []string{"/oauth/consent?flow=", "/login?flow=", "/login?switch=1&flow="} {
					a := b.Get(path + sealed)
					wantAnswered(t, a)
					if to := wayOn(t, a); to != first.Header.Get("Location") || !strings.HasPrefix(to, c.begins) {
						t.Errorf("%s: going back to %s leads to %q, the answer to %q", decision, path, to, first.Header.Get("Location"))
					}
				}
				if decision == "approve" {
					r.Exchange(app, first.Param("code"))
				} else {
					r.Advance(time.Minute)
				}
				a := b.Get("/oauth/consent?flow=" + sealed)
				wantAnswered(t, a)
				if to := wayOn(t, a); to != c.after {
					t.Errorf("%s: later, going back leads to %q, want %q", decision, to, c.after)
				}
			}
		})
	}
}

// Every error page of the flows has a link to continue, and none leads to an app that is neither verified nor known to
// the user.
func TestV61_NoPageOfAFlowIsADeadEnd(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, unverified := r.App(management.ClientSpec{}),
		selfRegistered(t, r, management.ClientSpec{
			RedirectURIs: []string{"https://evil.example/cb"}, Site: "https://evil.example",
		})
	b := r.Browser().SignIn(r.Alice.Email)
	flow := func(app *rig.App) string {
		return b.Form(b.Authorize(app.Params("read")), "/oauth/consent").Get("flow")
	}
	known, unknown := flow(app), flow(unverified)
	stranger := r.Browser()
	pages := map[string]*rig.Answer{}
	for name, sealed := range map[string]string{"known": known, "unknown": unknown} {
		pages[name+" elsewhere"] = stranger.Get("/oauth/consent?flow=" + sealed)
		pages[name+" elsewhere, login"] = stranger.Get("/login?flow=" + sealed)
		pages[name+" elsewhere, sent"] = stranger.PostForm("/oauth/consent", url.Values{
			"flow":     {sealed},
			"decision": {"approve"},
		})
		pages[name+" without its token"] = b.PostForm("/oauth/consent", url.Values{
			"flow":     {sealed},
			"decision": {"approve"},
			"scope":    {"read"},
		})
		pages[name+" without a decision"] = b.PostForm("/oauth/consent", url.Values{"flow": {sealed}})
	}
	pages["damaged"] = b.Get("/oauth/consent?flow=x")
	pages["without a flow"] = b.Get("/oauth/consent")
	pages["login without a flow"] = b.PostForm("/login", url.Values{"email": {"x"}})
	pages["wrong client"] = b.Get("/oauth/authorize?client_id=app_x")
	pages["nothing here"] = b.Get("/nothing")
	pages["an invitation that is gone"] = b.Get("/join/x")
	pages["set up already"] = b.Get("/setup")
	pages["another site's form"] = b.PostForm("/login", url.Values{}, "Origin", "https://evil.example",
		"Sec-Fetch-Site", "cross-site")
	pages["signed out"] = stranger.PostForm("/settings/profile", url.Values{"name": {"x"}})
	for _, ws := range workspacesOf(r, r.Alice) {
		ok(t, r.Store.DisableWorkspace(r.System(), ws.ID))
	}
	pages["no workspace"] = b.Get("/oauth/consent?flow=" + known)
	r.Advance(11 * time.Minute)
	pages["known, expired"], pages["unknown, expired"] = b.Get("/oauth/consent?flow="+known), b.Get("/login?flow="+unknown)
	for name, a := range pages {
		if a.Status < 400 {
			t.Errorf("%s: answered %d %v", name, a.Status, a.Location)
			continue
		}
		to := wayOn(t, a)
		if strings.Contains(to, "evil.example") {
			t.Errorf("%s: the page leads to %q", name, to)
		}
		if strings.HasPrefix(to, "/") {
			if next := b.Get(to); next.Status >= 500 || next.Status == http.StatusNotFound {
				t.Errorf("%s: the link %q answers %d", name, to, next.Status)
			}
		}
	}
	if to := wayOn(t, pages["known, expired"]); to != "https://app.example/" {
		t.Errorf("an expired request of an app that the operator registered leads to %q", to)
	}
	r.BreakStorage()
	if a := b.Get("/settings/profile?x=1"); wayOn(t, a) != "/settings/profile?x=1" {
		t.Errorf("while storage is unavailable the page leads to %q", wayOn(t, a))
	}
	if a := b.PostForm("/settings/profile", url.Values{"name": {"x"}}); wayOn(t, a) != "/" {
		t.Errorf("while storage is unavailable a form leads to %q", wayOn(t, a))
	}
}

func workspacesOf(r *rig.Rig, u storage.User) []storage.Workspace {
	r.T.Helper()
	list, err := r.Store.WorkspacesOf(r.System(), u.ID)
	ok(r.T, err)
	return list
}

// The form that asks for the password before a dangerous scope is granted, submitted twice with the cookies of the
// first time, gives one code and leaves the user signed in.
func TestV60_AConsentWithThePasswordSentTwiceGivesOneCode(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{Scopes: []string{"read", "admin"}})
	b := r.Browser().SignIn(r.Alice.Email)
	r.Advance(5*time.Minute + time.Second)
	form := b.Form(b.Authorize(app.Params("admin")), "/oauth/consent")
	form.Set("decision", "approve")
	form = b.Form(b.PostForm("/oauth/consent", form), "/oauth/consent")
	form.Set("current_password", rig.Password)
	var codes [2]string
	for i := range codes {
		twin := r.Browser()
		for _, c := range b.Cookies() {
			twin.SetCookie(c)
		}
		codes[i] = twin.PostForm("/oauth/consent", form).Param("code")
		if a := twin.Get("/settings/profile"); a.Status != http.StatusOK {
			t.Errorf("after form %d the browser is answered %d", i, a.Status)
		}
	}
	if codes[0] == "" || codes[1] != codes[0] || len(r.Grants(r.Alice.ID)) != 1 {
		t.Errorf("the codes are %q, of %d grants", codes, len(r.Grants(r.Alice.ID)))
	}
}
