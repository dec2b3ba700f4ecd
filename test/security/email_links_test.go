package security

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward/management"
	"doorward/storage"
	"doorward/test/rig"
)

// withEmail are the options of a server with email, behind a proxy, so that a request may say where it comes from.
func withEmail() rig.Options {
	o := rig.WithEmail()
	o.TrustedProxies = behindProxy.TrustedProxies
	return o
}

// askLink asks for a sign-in link in a browser.
func askLink(b *rig.Browser, email string, header ...string) *rig.Answer {
	b.T.Helper()
	page, action := b.Get("/login"), "/login"
	if strings.Contains(page.Body, `action="/login/email"`) { // there are no passwords
		action = "/login/email"
	}
	return b.PostForm("/login/email", url.Values{"flow": b.Form(page, action)["flow"], "email": {email}}, header...)
}

// askSignUp asks for a sign-up in a browser.
func askSignUp(b *rig.Browser, email string, header ...string) *rig.Answer {
	b.T.Helper()
	flow := b.Form(b.Get("/signup"), "/signup")["flow"]
	return b.PostForm("/signup", url.Values{"flow": flow, "email": {email}}, header...)
}

// askReset asks for a link to choose a new password.
func askReset(b *rig.Browser, email string, header ...string) *rig.Answer {
	b.T.Helper()
	return b.PostForm("/forgot", url.Values{"email": {email}}, header...)
}

// asks are the forms that send an email to an address.
var asks = map[string]func(b *rig.Browser, email string, header ...string) *rig.Answer{
	"sign-in link": askLink, "sign-up": askSignUp, "reset": askReset,
}

// useLink opens a link and presses the button of its page.
func useLink(b *rig.Browser, e rig.Email) *rig.Answer {
	b.T.Helper()
	path, _, _ := strings.Cut(e.Path(), "?")
	page := b.Get(e.Path())
	if page.Status != http.StatusOK {
		return page
	}
	return b.PostForm(path, b.Form(page, path))
}

// signedInAs is the address of the account in a browser; empty: it is not signed in.
func signedInAs(b *rig.Browser) string {
	b.T.Helper()
	a := b.Get("/settings/profile")
	if a.Status != http.StatusOK {
		return ""
	}
	_, rest, _ := strings.Cut(a.Body, "<dd>")
	email, _, _ := strings.Cut(rest, "</dd>")
	return strings.TrimSpace(email)
}

func TestG01_SameAnswerAndEmailsForEveryAddress(t *testing.T) {
	rig.Each(t, withEmail(), func(t *testing.T, r *rig.Rig) {
		off := r.User("off@example.com", "Off", false)
		ok(t, r.Identity.DisableUser(r.System(), off.ID))
		for name, ask := range asks {
			var want string
			for i, email := range []string{"absent@example.com", r.Alice.Email, off.Email} {
				b := r.Browser()
				a := ask(b, email)
				if a.Status != http.StatusSeeOther {
					t.Fatalf("%s: %s is answered %d %s", name, email, a.Status, rig.Plain(a.Body))
				}
				page := b.Follow(a)
				var names []string
				for _, c := range a.Cookies {
					names = append(names, c.Name)
				}
				location := a.Location.Path
				header := a.Header.Clone()
				for _, h := range []string{"Date", "Location", "Set-Cookie", "X-Request-Id"} {
					header.Del(h)
				}
				body := unvaried(page.Body)
				if f := page.Header.Get("Content-Length"); f != "" && len(page.Body) == 0 {
					t.Errorf("%s: no page", name)
				}
				got := fmt.Sprint(a.Status, header, location, names, page.Status, len(page.Body), len(body), "emails: ",
					len(r.Emails()))
				if i == 0 {
					want = got
				} else if got != want {
					t.Errorf("%s: %s is answered\n%s\nan address without an account\n%s", name, email, got, want)
				}
			}
			if !strings.HasSuffix(want, "emails: 1") {
				t.Errorf("%s: %s", name, want)
			}
		}
	})
}

func TestG03_CodesCountAsFailedSignIns(t *testing.T) {
	rig.Each(t, withEmail(), func(t *testing.T, r *rig.Rig) {
		b := r.Browser()
		for range 2 { // five wrong codes each end the code
			askLink(b, r.Alice.Email)
			for range 5 {
				wantPage(t, b.PostForm("/login/code", signInCode(b, "00000000")), http.StatusUnauthorized)
			}
		}
		wantThrottled(t, b.PostForm("/login/code", signInCode(b, "00000000")))
		wantThrottled(t, attempt(r.Browser(), r.Alice.Email, rig.Password)) // the password as well
		r.Advance(61 * time.Second)
		wantPage(t, attempt(r.Browser(), r.Alice.Email, "wrong again"), http.StatusUnauthorized)
		// After ten wrong codes, the account gets links only for a day.
		r.Emails()
		r.Advance(16 * time.Minute)
		askLink(b, r.Alice.Email)
		if e := r.Email("sign_in"); e.Code != "" || e.URL == "" {
			t.Errorf("after ten wrong codes the email has the code %q and the link %q", e.Code, e.URL)
		}
		r.Advance(24 * time.Hour)
		askLink(b, r.Alice.Email)
		if e := r.Email("sign_in"); e.Code == "" {
			t.Error("after a day the email has no code")
		}
	})
}

// signInCode is the form of the page that asks for the code of a sign-in.
func signInCode(b *rig.Browser, code string) url.Values {
	b.T.Helper()
	return url.Values{"flow": b.Form(b.Get("/login"), "/login")["flow"], "code": {code}}
}

func TestG05_TheLinkWorksWhileThePasswordIsThrottled(t *testing.T) {
	rig.Each(t, withEmail(), func(t *testing.T, r *rig.Rig) {
		attacker := r.Browser()
		for range 10 {
			attempt(attacker, r.Alice.Email, "a guess of theirs", "X-Forwarded-For", "192.0.2.66")
		}
		wantThrottled(t, attempt(attacker, r.Alice.Email, rig.Password, "X-Forwarded-For", "192.0.2.66"))
		b := r.Browser()
		askLink(b, r.Alice.Email, "X-Forwarded-For", "192.0.2.1")
		if a := useLink(b, r.Email("sign_in")); a.Status != http.StatusSeeOther || signedInAs(b) != r.Alice.Email {
			t.Errorf("the link is answered %d %s", a.Status, rig.Plain(a.Body))
		}
	})
}

// Of 64 uses of one link, code or form at the same moment, one has an effect.
func TestG06_EveryLinkAndCodeWorksOnce(t *testing.T) {
	o := withEmail()
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		const n = 64
		// once sends a form from n browsers with the cookies of b and returns how many were answered with success.
		once := func(name, path string, form url.Values, b *rig.Browser, success func(a *rig.Answer) bool) {
			t.Helper()
			var worked atomic.Int64
			var others sync.Map
			browsers := make([]*rig.Browser, n)
			for i := range browsers {
				browsers[i] = nodes[i%len(nodes)].Browser().WithCookiesOf(b)
			}
			rig.AtOnce(n, func(i int) {
				a := browsers[i].PostForm(path, form)
				if success(a) {
					worked.Add(1)
				} else {
					others.Store(a.Status, true)
				}
			})
			if worked.Load() != 1 {
				t.Errorf("%s: %d of %d uses had an effect", name, worked.Load(), n)
			}
			others.Range(func(status, _ any) bool {
				if s, _ := status.(int); s >= 500 || s < 400 {
					t.Errorf("%s: a use without effect is answered %d", name, s)
				}
				return true
			})
		}
		redirected := func(a *rig.Answer) bool { return a.Status == http.StatusSeeOther }
		done := func(a *rig.Answer) bool { return a.Status == http.StatusOK }
		signIns := func() int { return len(sessionsOf(t, r, r.Alice.ID)) }

		askLink(r.Browser(), r.Alice.Email)
		e := r.Email("sign_in")
		once("sign-in link", "/login/link", url.Values{"word": {e.Token()}}, r.Browser(), redirected)
		if signIns() != 1 {
			t.Errorf("sign-in link: %d sessions", signIns())
		}
		if a := nodes[len(nodes)-1].Browser().Get(e.Path()); a.Status != http.StatusBadRequest {
			t.Errorf("a used link is answered %d", a.Status)
		}

		b := r.Browser()
		askLink(b, r.Alice.Email)
		e = r.Email("sign_in")
		form := signInCode(b, e.Code)
		once("code", "/login/code", form, b, redirected)
		if signIns() != 2 {
			t.Errorf("code: %d sessions", signIns())
		}

		b = r.Browser()
		askSignUp(b, "new@example.com")
		e = r.Email("sign_up")
		once("sign-up link", "/signup/link", url.Values{"word": {e.Token()}}, b, redirected)
		form = b.Form(b.Get("/signup/complete"), "/signup/complete")
		form.Set("name", "New")
		form.Set("password", rig.Password)
		once("account", "/signup/complete", form, b, redirected)

		askReset(r.Browser(), r.Alice.Email)
		e = r.Email("reset")
		once("reset", "/reset", url.Values{"word": {e.Token()}, "password": {"an entirely other harbour"}}, r.Browser(), done)
		r.Email("password_changed")

		ok(t, r.Identity.AskAddress(r.System(), r.Alice.ID, "alice@new.example"))
		e = r.Email("address")
		once("address", "/address", url.Values{"word": {e.Token()}}, r.Browser(), done)
		e = r.Email("address_changed")
		once("undo", "/undo", url.Values{"word": {e.Token()}}, r.Browser(), redirected)
		if u, err := r.Store.UserByID(r.System(), r.Alice.ID); err != nil || u.Email != r.Alice.Email {
			t.Errorf("after the undo the address is %s, %v", u.Email, err)
		}
	})
}

func sessionsOf(t *testing.T, r *rig.Rig, userID string) []storage.Session {
	t.Helper()
	list, err := r.Store.SessionsOf(r.System(), userID, 24*time.Hour)
	ok(t, err)
	return list
}

func TestG08_LinksBeginWithTheIssuer(t *testing.T) {
	rig.Each(t, withEmail(), func(t *testing.T, r *rig.Rig) {
		for name, header := range map[string][]string{
			"X-Forwarded-Host": {"X-Forwarded-Host", "evil.example"},
			"Forwarded":        {"Forwarded", "host=evil.example;proto=https"},
			"Origin":           {"Referer", "https://evil.example/"},
		} {
			for kind, ask := range asks {
				email := r.Alice.Email
				if kind == "sign-up" {
					email = "new@example.com"
				}
				ask(r.Browser(), email, header...)
				for _, e := range r.Emails() {
					if !strings.HasPrefix(e.URL, r.Issuer+"/") {
						t.Errorf("%s with %s: the link is %s", kind, name, e.URL)
					}
				}
			}
			r.Advance(16 * time.Minute)
		}
		b := r.Browser()
		q := b.Request(http.MethodPost, "/forgot", strings.NewReader("email=alice%40example.com"),
			"Content-Type", "application/x-www-form-urlencoded")
		q.Host = "evil.example"
		r.Send(r.Program(), q)
		for _, e := range r.Emails() {
			if !strings.HasPrefix(e.URL, r.Issuer+"/") {
				t.Errorf("with another Host, the link is %s", e.URL)
			}
		}
	})
}

func TestG09_ALinkIsUsedByTheButtonOnly(t *testing.T) {
	rig.Each(t, withEmail(), func(t *testing.T, r *rig.Rig) {
		links := map[string]func() (rig.Email, *rig.Browser){
			"sign-in": func() (rig.Email, *rig.Browser) {
				b := r.Browser()
				askLink(b, r.Alice.Email)
				return r.Email("sign_in"), b
			},
			"sign-up": func() (rig.Email, *rig.Browser) {
				b := r.Browser()
				askSignUp(b, "new@example.com")
				return r.Email("sign_up"), b
			},
			"reset": func() (rig.Email, *rig.Browser) {
				b := r.Browser()
				askReset(b, r.Alice.Email)
				return r.Email("reset"), b
			},
			"address": func() (rig.Email, *rig.Browser) {
				carla := r.User("carla@example.com", "Carla", false)
				ok(t, r.Identity.AskAddress(r.System(), carla.ID, "carla@new.example"))
				return r.Email("address"), r.Browser()
			},
			"undo": func() (rig.Email, *rig.Browser) {
				bob := r.User("bob@example.com", "Bob", false)
				ok(t, r.Identity.AskAddress(r.System(), bob.ID, "bob@new.example"))
				_, err := r.Identity.ChangeAddress(r.System(), r.Email("address").Token())
				ok(t, err)
				return r.Email("address_changed"), r.Browser()
			},
		}
		for name, ask := range links {
			e, b := ask()
			scanner := r.Browser()
			for range 3 {
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					if a := r.Send(r.Program(), scanner.Request(method, e.Path(), nil)); a.Status != http.StatusOK {
						t.Errorf("%s: %s is answered %d", name, method, a.Status)
					}
				}
			}
			path, _, _ := strings.Cut(e.Path(), "?")
			form := b.Form(b.Get(e.Path()), path)
			if form.Has("password") {
				form.Set("password", "an entirely other harbour")
			}
			if a := b.PostForm(path, form); a.Status != http.StatusOK && a.Status != http.StatusSeeOther {
				t.Errorf("%s: the button is answered %d %s", name, a.Status, rig.Plain(a.Body))
			}
		}
	})
}

func TestG10_ALinkSignsInOnlyWhereItIsOpened(t *testing.T) {
	rig.Each(t, withEmail(), func(t *testing.T, r *rig.Rig) {
		app := r.App(management.ClientSpec{})
		asking, opening := r.Browser(), r.Browser()
		page := asking.Authorize(app.Params("read"))
		flow := asking.Form(page, "/login")["flow"]
		asking.PostForm("/login/email", url.Values{"flow": flow, "email": {r.Alice.Email}})
		e := r.Email("sign_in")
		if a := opening.Get(e.Path()); !strings.Contains(a.Body, r.Alice.Email) {
			t.Errorf("the page in another browser does not name the account: %s", rig.Plain(a.Body))
		}
		a := useLink(opening, e)
		if a.Status != http.StatusSeeOther || a.Location.Path != "/settings/profile" {
			t.Errorf("in another browser the link leads to %v: the app's flow must not go on there", a.Location)
		}
		if signedInAs(opening) != r.Alice.Email || signedInAs(asking) != "" {
			t.Errorf("signed in: where it was opened %q, where it was asked for %q", signedInAs(opening), signedInAs(asking))
		}
		if a := asking.Get("/login/code?flow=" + url.QueryEscape(flow[0])); !strings.Contains(rig.Plain(a.Body),
			"The link was opened in another browser.") {
			t.Errorf("the browser that asked is not told: %s", rig.Plain(a.Body))
		}
		// The code of the same email works nowhere else, and ended with the link.
		if a := opening.PostForm("/login/code", signInCode(r.Browser(), e.Code)); a.Status < 400 {
			t.Errorf("the code is answered %d in another browser", a.Status)
		}
	})
}

func TestG11_OtherSecretsAreNoLinks(t *testing.T) {
	rig.Each(t, withEmail(), func(t *testing.T, r *rig.Rig) {
		app := r.App(management.ClientSpec{})
		b := r.Browser().SignIn(r.Alice.Email)
		params := app.Params("read")
		code := b.Code(app, "read")
		login := r.Browser()
		flow := login.Form(login.Authorize(params), "/login").Get("flow")
		askLink(r.Browser(), r.Alice.Email)
		signIn := r.Email("sign_in")
		askReset(r.Browser(), r.Alice.Email)
		reset := r.Email("reset")
		words := map[string]string{
			"state": params.Get("state"), "code": code, "flow": flow, "session": cookie(b, "doorward"), "empty": "",
			"long": strings.Repeat("a", 5000), "not UTF-8": "\xff\x00", "sign-in link": signIn.Token(),
			"reset link": reset.Token(), "the sign-in code": signIn.Code,
		}
		own := map[string]string{"/login/link": "sign-in link", "/reset": "reset link"}
		for _, path := range []string{"/login/link", "/signup/link", "/reset", "/address", "/undo"} {
			for name, word := range words {
				if own[path] == name {
					continue
				}
				if a := r.Browser().Get(path + "?word=" + url.QueryEscape(word)); a.Status != http.StatusBadRequest {
					t.Errorf("GET %s with the %s is answered %d", path, name, a.Status)
				}
				other := r.Browser()
				a := other.PostForm(path, url.Values{"word": {word}, "password": {"an entirely other harbour"}})
				wantPage(t, a, http.StatusBadRequest)
				if signedInAs(other) != "" {
					t.Errorf("POST %s with the %s signs in", path, name)
				}
			}
		}
		if len(r.Emails()) != 0 {
			t.Error("something was sent")
		}
	})
}
