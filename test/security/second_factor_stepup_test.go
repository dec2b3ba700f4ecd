package security

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/test/authenticator"
	"doorward/test/rig"
)

// guarded is an action that needs a proof at the highest level that the account can reach.
type guarded struct {
	name string
	do   func(b *rig.Browser, more url.Values) *rig.Answer
	// done reports whether a response says that it was done.
	done func(a *rig.Answer) bool
}

func isRedirect(a *rig.Answer) bool { return a.Status == http.StatusSeeOther }
func isPage(a *rig.Answer) bool     { return a.Status == http.StatusOK }

const securityPath = "/settings/security"

// guardedActions are the actions of a user, the ones that end others last.
func guardedActions(r *rig.Rig, u storage.User) []guarded {
	r.T.Helper()
	post := func(path string, pairs ...string) func(b *rig.Browser, more url.Values) *rig.Answer {
		return func(b *rig.Browser, more url.Values) *rig.Answer {
			form := with(more, pairs...)
			return b.Submit(path, form)
		}
	}
	remove := func(method string) guarded {
		path := securityPath + "/methods/" + method + "/remove"
		return guarded{"removal of " + method, post(path, "confirmed", "yes"), isRedirect}
	}
	slug := personalSlug(r, u.ID)
	owned, err := r.Store.SolelyOwnedBy(r.System(), u.ID)
	ok(r.T, err)
	var ids []string
	for _, w := range owned {
		ids = append(ids, w.ID)
	}
	key := []string{"name", "Night import", "resource", r.Issuer, "scope-0", "read", "expires", "90"}
	list := []guarded{
		{"new passkey", post(newPasskeyPath + "/new"), isPage},
		{"download", post("/settings/profile/export"), func(a *rig.Answer) bool { return a.JSON()["sessions"] != nil }},
		{"change of address", post("/settings/profile/address", "email", "new-"+u.Email), isRedirect},
		{"personal access token", post(tokensPage, key...), isPage},
		{"API key", post(keysPage(slug), append(key, "environment", "live")...), isPage},
		{"app", post("/settings/developer/apps", "name", "Mine", "kind", "web", "redirect_uris", "https://mine.example/cb",
			"scope", "read", "resource", r.Issuer, "refresh", "1"), isPage},
		{"token by the API", func(b *rig.Browser, _ url.Values) *rig.Answer {
			body := `{"name":"Laptop","scopes":["read"],"role":"viewer"}`
			return b.JSON(http.MethodPost, "/v1/personal-access-tokens", body)
		}, func(a *rig.Answer) bool { return a.Status == http.StatusCreated }},
	}
	now, err := r.Store.UserByID(r.System(), u.ID)
	ok(r.T, err)
	methods, err := r.Identity.Methods(r.System(), &now)
	ok(r.T, err)
	var gone []guarded
	for _, m := range methods {
		switch m.Kind {
		case "passkey":
			list = append(list, guarded{
				"new name of a passkey", post(newPasskeyPath+"/"+m.ID+"/rename", "name", "Blue key"), isRedirect,
			})
		case "recovery_codes":
			list = append(list, guarded{"recovery codes", post(securityPath + "/recovery-codes"), isPage})
		}
		if m.Kind != "password" {
			gone = append([]guarded{remove(m.ID)}, gone...) // recovery codes go with the last second factor
		}
	}
	if now.TOTPSince.IsZero() {
		list = append(list, guarded{"authenticator app", post(securityPath + "/totp"), isPage})
	}
	const changed = "an entirely other harbour"
	list = append(list, guarded{"new password", func(b *rig.Browser, more url.Values) *rig.Answer {
		form := with(more, "new_password", changed)
		if !form.Has("current_password") {
			form.Set("current_password", rig.Password)
		}
		return b.PostForm(securityPath+"/password", form)
	}, isRedirect})
	list = append(list, gone...)
	return append(list, remove("password"), guarded{
		"deletion", post("/settings/profile/delete", "confirmed", "yes", "workspaces", strings.Join(ids, " ")), isPage,
	})
}

// standing is what the actions would change of a user.
func standing(t *testing.T, r *rig.Rig, u storage.User) string {
	t.Helper()
	row, err := r.Store.UserByID(r.System(), u.ID)
	ok(t, err)
	methods, err := r.Identity.Methods(r.System(), &row)
	ok(t, err)
	var list []string
	for _, m := range methods {
		list = append(list, fmt.Sprint(m.ID, m.Name, m.Since, m.Left))
	}
	return fmt.Sprint(
		row.Email, row.PasswordHash, list, count(t, r, `SELECT count(*) FROM api_keys`),
		count(t, r, `SELECT count(*) FROM clients`),
		count(t, r, `SELECT count(*) FROM email_proofs WHERE kind = 'address'`),
	)
}

// refuseAll reports actions that are done without a proof.
func refuseAll(t *testing.T, r *rig.Rig, what string, b *rig.Browser, u storage.User, more url.Values) {
	t.Helper()
	before := standing(t, r, u)
	row, err := r.Store.UserByID(r.System(), u.ID)
	ok(t, err)
	for _, x := range guardedActions(r, u) {
		if x.name == "new password" && r.Identity.Reach(&row) == identity.LevelOne {
			continue // its form has the password
		}
		a := x.do(b, more)
		if a.Status != http.StatusForbidden || x.done(a) || strings.Contains(a.Body, "data-passkey=\"create\"") {
			t.Errorf("%s: %s is answered %d %v", what, x.name, a.Status, a.Location)
		}
		if after := standing(t, r, u); after != before {
			t.Fatalf("%s: %s has changed\n%s\nto\n%s", what, x.name, before, after)
		}
	}
}

// The actions of an account with a passkey or an authenticator app are not done for a browser that has proved less than
// it can, however recently: by the password, an emailed link or code, or before the second factor was set up. Nor are
// they done with a reset, which signs in to nothing (G-18).
func TestG18_OneFactorIsNotEnoughForAnAccountWithTwo(t *testing.T) {
	r := rig.Memory(t, withPasskeys())
	u, _, a := person(r, "owner@example.com")
	r.Emails()

	refuseAll(t, r, "with the password", r.Browser().SignIn(u.Email), u, nil)
	wrong := url.Values{"current_password": {rig.Password}}
	refuseAll(t, r, "with the password, twice", r.Browser().SignIn(u.Email), u, wrong)
	link := r.Browser()
	askLink(link, u.Email)
	redirects(t, useLink(link, r.Email("sign_in")), "/settings/profile")
	refuseAll(t, r, "with an emailed link", link, u, nil)
	code := r.Browser()
	askLink(code, u.Email)
	redirects(t, code.PostForm("/login/code", signInCode(code, r.Email("sign_in").Code)), "/settings/profile")
	refuseAll(t, r, "with an emailed code", code, u, nil)

	carla := r.User("carla@example.com", "Carla", false)
	before, setting := r.Browser().SignIn(carla.Email), r.Browser().SignIn(carla.Email)
	secret, _ := addTOTP(setting)
	refuseAll(t, r, "from before the authenticator app", before, carla, nil)
	for name, fields := range map[string]url.Values{
		"no code":      {"current_password": {rig.Password}, "current_code": {""}},
		"no password":  {"current_code": {otpOf(r, secret, 30*time.Second)}},
		"a wrong code": {"current_password": {rig.Password}, "current_code": {"000000"}},
		"wrong password": {
			"current_password": {"not this one, surely"}, "current_code": {otpOf(r, secret, 30*time.Second)},
		},
		"not a passkey": {"current_passkey": {"{}"}, "current_challenge": {"x"}},
	} {
		a := before.PostForm("/settings/profile/export", fields)
		wantPage(t, a, http.StatusForbidden)
		if a.JSON() != nil {
			t.Errorf("%s: the data is downloaded", name)
		}
	}

	askReset(r.Browser(), u.Email)
	reset := r.Browser()
	e := r.Email("reset")
	word := url.Values{"word": {e.Token()}, "password": {"an entirely other harbour"}}
	wantPage(t, reset.PostForm("/reset", word), http.StatusOK)
	if signedInAs(reset) != "" || len(passkeys(t, r, u.ID)) != 1 {
		t.Error("a reset signs in, or removes a passkey")
	}
	byPasskey(r.Browser(), a)
}

// No value of a cookie stands for a first or second factor (G-18).
func TestG18_NoCookieStandsForAFactor(t *testing.T) {
	r := rig.Memory(t, withPasskeys())
	u := r.User("owner@example.com", "Owner", false)
	owner := r.Browser().SignIn(u.Email)
	secret, _ := addTOTP(owner)
	asking := r.Browser()
	form := halfway(asking, u.Email)
	half := cookie(asking, "doorward-second")
	if half == "" {
		t.Fatal("no cookie holds the first factor, so this test proves nothing")
	}
	// With the first factor only, a browser reaches nothing.
	app := r.App(management.ClientSpec{})
	for _, path := range []string{"/settings/profile", securityPath, tokensPage, "/settings/workspaces"} {
		redirects(t, asking.Get(path), "/login")
	}
	if a := asking.Authorize(app.Params("read")); a.Param("code") != "" || !strings.Contains(a.Body, `action="/login"`) {
		t.Errorf("an app is answered %d %v", a.Status, a.Location)
	}
	if a := asking.PostForm("/settings/profile/export", nil); a.Status != http.StatusUnauthorized {
		t.Errorf("a form is answered %d", a.Status)
	}
	other := "A"
	if half[0] == 'A' {
		other = "B"
	}
	alice := r.Browser()
	askLink(alice, r.Alice.Email)
	values := map[string]string{
		"empty": "", "one": "1", "the user's id": u.ID, "JSON": `{"u":"` + u.ID + `","b":["pwd","mfa"]}`,
		"cut": half[:len(half)-1], "longer": half + "A", "changed": other + half[1:],
		"the session": cookie(owner, "doorward"),
		"the device":  cookie(owner, "doorward-device"), "the flow": form.Get("flow"), "8 kB": strings.Repeat("A", 8<<10),
		"the question of an email": cookie(alice, "doorward-asked"), "twice": half + half,
	}
	code := otpOf(r, secret, 30*time.Second)
	for name, value := range values {
		for _, cookieName := range []string{"doorward-second", "doorward"} {
			if name == "the session" && cookieName == "doorward" {
				continue
			}
			b := r.Browser()
			header := []string{"Cookie", cookieName + "=" + value}
			b.Get("/login", header...)
			for path, fields := range map[string]url.Values{
				"/login/second": {"code": {code}}, "/login/enrol": {"code": {code}}, "/login/enrol/email": nil,
				"/login/enrol/code": {"code": {"00000000"}},
			} {
				a := b.PostForm(path, fields, header...)
				if a.Status >= 500 || cookie(b, "doorward") != "" || a.Status == 303 && a.Location.Path != "/login" {
					t.Errorf("%s as %s at %s: answered %d %v", name, cookieName, path, a.Status, a.Location)
				}
			}
			if a := b.Get("/login/second", header...); strings.Contains(a.Body, u.Email) || a.Status >= 500 {
				t.Errorf("%s as %s: answered %d", name, cookieName, a.Status)
			}
		}
	}
	if n := len(r.Emails()); n > 4 {
		t.Errorf("%d emails", n)
	}
	// A first factor lasts ten minutes, and not beyond a new password, a disabled account or its deletion.
	half2 := func() (*rig.Browser, url.Values) { b := r.Browser(); return b, halfway(b, u.Email) }
	b, late := half2()
	r.Advance(10*time.Minute + time.Second)
	redirects(t, second(b, late, otpOf(r, secret, 0)), "/login")
	b, late = half2()
	ok(t, r.Identity.DisableUser(r.System(), u.ID))
	ok(t, r.Identity.EnableUser(r.System(), u.ID))
	b2, _ := half2()
	ok(t, r.Identity.DisableUser(r.System(), u.ID))
	redirects(t, second(b2, late, otpOf(r, secret, 0)), "/login")
	ok(t, r.Identity.EnableUser(r.System(), u.ID))
	r.Advance(time.Second)
	r.SQL(`UPDATE users SET password_changed_at = $1 WHERE id = $2`, int64(r.Store.Now()), u.ID)
	redirects(t, second(b, late, otpOf(r, secret, 0)), "/login")
	if signedInAs(b) != "" || signedInAs(b2) != "" {
		t.Error("signed in")
	}
	byCode(r.Browser(), u.Email, otpOf(r, secret, 0))
}

// After a proof at the highest level, each action is done: by passkey, by the password and a code, or by the password
// and a recovery code; and for an account with a password only, by the password (G-18).
func TestG18_AProofAtTheHighestLevelIsEnough(t *testing.T) {
	for name, prove := range map[string]func(
		b *rig.Browser, a *authenticator.Authenticator, secret string, recovery []string, page *rig.Answer, path string,
	) url.Values{
		"passkey": func(
			b *rig.Browser, a *authenticator.Authenticator, _ string, _ []string, page *rig.Answer, path string,
		) url.Values {
			form, options := mustForm(b, page, path)
			return with(form, "current_passkey", use(b, a, options))
		},
		"password and code": func(
			b *rig.Browser, _ *authenticator.Authenticator, secret string, _ []string, page *rig.Answer, path string,
		) url.Values {
			return with(b.Form(page, path), "current_password", rig.Password, "current_code", otpOf(b.Rig, secret, 0))
		},
		"password and recovery code": func(
			b *rig.Browser, _ *authenticator.Authenticator, _ string, recovery []string, page *rig.Answer, path string,
		) url.Values {
			return with(b.Form(page, path), "current_password", rig.Password, "current_code", recovery[3])
		},
		"password": nil,
	} {
		t.Run(name, func(t *testing.T) {
			r := rig.Memory(t, withPasskeys())
			u, a := r.User("owner@example.com", "Owner", false), authenticator.New()
			b := r.Browser().SignIn(u.Email)
			var secret string
			var recovery []string
			if prove != nil {
				addPasskey(b, a)
				secret, recovery = addTOTP(b)
			}
			r.Advance(5*time.Minute + 10*time.Second)
			refuseAll(t, r, "after five minutes", b, u, nil)
			if prove == nil {
				prove = func(
					b *rig.Browser, _ *authenticator.Authenticator, _ string, _ []string, page *rig.Answer, path string,
				) url.Values {
					return with(b.Form(page, path), "current_password", rig.Password)
				}
			}
			const action = "/settings/profile/export"
			old := r.Browser().WithCookiesOf(b)
			got := b.PostForm(action, prove(b, a, secret, recovery, b.PostForm(action, nil), action))
			if got.Status != http.StatusOK || got.JSON() == nil {
				t.Fatalf("with the proof the action is answered %d %s", got.Status, rig.Plain(got.Body))
			}
			// Not for another browser, not even one with the session's cookie from before.
			if got := old.PostForm(action, nil); got.Status == http.StatusOK {
				t.Error("the cookie from before the proof is fresh")
			}
			actions := guardedActions(r, u)
			for _, x := range actions {
				if got := x.do(b, nil); !x.done(got) {
					t.Errorf("%s is answered %d %v: %s", x.name, got.Status, got.Location, rig.Plain(got.Body))
				}
			}
			if _, err := r.Store.UserByID(r.System(), u.ID); err == nil {
				t.Error("the account is not deleted")
			}
		})
	}
}

// What an administrator does to other accounts also needs all that the administrator can prove (G-18).
func TestG18_AdministratorsProveAllTheyCan(t *testing.T) {
	r := rig.Memory(t, withPasskeys())
	root := r.User("root@example.com", "Root", true)
	a := authenticator.New()
	addPasskey(r.Browser().SignIn(root.Email), a)
	path := "/admin/users/" + r.Alice.ID
	addTOTP(r.Browser().SignIn(r.Alice.Email))
	weak := r.Browser().SignIn(root.Email)
	before := standing(t, r, r.Alice)
	for to, form := range map[string]url.Values{
		path:                              {"email": {"eve@example.com"}, "name": {"Eve"}, "admin": {"1"}},
		path + "/methods/totp/remove":     {"confirmed": {"yes"}},
		path + "/methods/password/remove": {"confirmed": {"yes"}}, "/admin/users": {"email": {"eve@example.com"}},
	} {
		for _, more := range []url.Values{{}, {"current_password": {rig.Password}}} {
			got := weak.PostForm(to, with(form, "current_password", more.Get("current_password")))
			if got.Status != http.StatusForbidden {
				t.Errorf("%s is answered %d %v", to, got.Status, got.Location)
			}
		}
	}
	if after := standing(t, r, r.Alice); after != before {
		t.Errorf("one factor of an administrator has changed\n%s\nto\n%s", before, after)
	}
	if _, err := r.Store.UserByEmail(r.System(), "eve@example.com"); err == nil {
		t.Error("one factor of an administrator has created a user")
	}
	b := byPasskey(r.Browser(), a)
	redirects(t, b.PostForm(path+"/methods/totp/remove", url.Values{"confirmed": {"yes"}}), path)
}
