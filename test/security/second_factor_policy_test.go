package security

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/test/authenticator"
	"doorward/test/rig"
)

// withPolicy are the options of a server that asks for a second factor.
func withPolicy(policy string) rig.Options {
	o := withPasskeys()
	o.SecondFactor = policy
	return o
}

// toEnrol gives the right password of a user who has to set up a second factor, and asks for the code by email.
func toEnrol(b *rig.Browser, email string) (code string, form url.Values) {
	b.T.Helper()
	page := b.Follow(redirects(b.T, attempt(b, email, rig.Password), "/login/enrol"))
	a := redirects(b.T, b.PostForm("/login/enrol/email", b.Form(page, "/login/enrol/email")), "/login/enrol/code")
	return b.Email("second_factor").Code, b.Form(b.Follow(a), "/login/enrol/code")
}

// enrolPage is the page for a second factor, after the code of an email.
func enrolPage(b *rig.Browser, email string) *rig.Answer {
	b.T.Helper()
	code, form := toEnrol(b, email)
	return b.Follow(redirects(b.T, b.PostForm("/login/enrol/code", with(form, "code", code)), "/login/enrol"))
}

// enrolTOTP sets up an authenticator app on the page for a second factor.
func enrolTOTP(b *rig.Browser, page *rig.Answer) (secret string, recovery []string) {
	b.T.Helper()
	secret = secretOn(b, page)
	form := b.Form(page, "/login/enrol")
	form.Set("code", otpOf(b.Rig, secret, 0))
	return secret, recoveryOn(b, b.PostForm("/login/enrol", form))
}

// enrolPasskey creates a passkey there.
func enrolPasskey(b *rig.Browser, page *rig.Answer, a *authenticator.Authenticator) (recovery []string) {
	b.T.Helper()
	form, options := mustForm(b, page, "/login/enrol")
	answer, err := a.Create(b.Issuer, options)
	ok(b.T, err)
	return recoveryOn(b, b.PostForm("/login/enrol", with(form, "credential", string(answer))))
}

// Where everyone has to have a second factor, a user without one sets it up in the sign-in, after a code by email or
// after a sign-in by email, and has no session before. From then on, the sign-in asks for it.
func TestG18_UsersEnrolAtTheirSignIn(t *testing.T) {
	rig.Each(t, withPolicy(identity.SecondFactorEveryone), func(t *testing.T, r *rig.Rig) {
		b := r.Browser()
		page := enrolPage(b, r.Alice.Email)
		if signedInAs(b) != "" || len(sessionsOf(t, r, r.Alice.ID)) != 0 {
			t.Error("signed in before the second factor is set up")
		}
		wrong := b.Form(page, "/login/enrol")
		wrong.Set("code", wrongOTP(r, secretOn(b, page)))
		wantPage(t, b.PostForm("/login/enrol", wrong), http.StatusBadRequest)
		secret, recovery := enrolTOTP(b, page)
		wantSession(t, r, r.Alice.ID, identity.LevelTwo, "pwd", "otp", "mfa")
		if signedInAs(b) != r.Alice.Email {
			t.Error("not signed in after it")
		}
		nextStep(r)
		byCode(r.Browser(), r.Alice.Email, otpOf(r, secret, 0))
		byCode(r.Browser(), r.Alice.Email, recovery[0])

		// A sign-in by email has proved the address.
		bob := r.User("bob@example.com", "Bob", false)
		r.Emails()
		b = r.Browser()
		askLink(b, bob.Email)
		a := authenticator.New()
		enrolPasskey(b, b.Follow(redirects(t, useLink(b, r.Email("sign_in")), "/login/enrol")), a)
		wantSession(t, r, bob.ID, identity.LevelTwo, "email", "hwk", "user", "mfa")
		// A passkey counts as enrolled: it is the second factor after a password, or signs in alone.
		halfway(r.Browser(), bob.Email)
		byPasskey(r.Browser(), a)

		// A new account has one before its first session, too.
		b = r.Browser()
		askSignUp(b, "new@example.com")
		redirects(t, useLink(b, r.Email("sign_up")), "/signup/complete")
		form := b.Form(b.Get("/signup/complete"), "/signup/complete")
		form.Set("name", "New")
		form.Set("password", rig.Password)
		enrolTOTP(b, b.Follow(redirects(t, b.PostForm("/signup/complete", form), "/login/enrol")))
	})
}

// wantSession reports the newest session of a user that has another level or other methods.
func wantSession(t *testing.T, r *rig.Rig, userID, level string, methods ...string) {
	t.Helper()
	list := sessionsOf(t, r, userID)
	if len(list) == 0 {
		t.Errorf("no session, want one with %q", methods)
		return
	}
	newest := slices.MaxFunc(list, func(x, y storage.Session) int { return strings.Compare(x.ID, y.ID) })
	got := slices.Sorted(slices.Values([]string(newest.AMR)))
	slices.Sort(methods)
	if newest.ACR != level || !slices.Equal(got, methods) {
		t.Errorf("the session has %q and %s, want %q and %s", got, newest.ACR, methods, level)
	}
}

// A stolen password sets up no second factor: not without the code of the email, not with that of another browser, user
// or email, and not after five wrong ones (G-32).
func TestG18_AStolenPasswordAloneEnrolsNothing(t *testing.T) {
	rig.Each(t, withPolicy(identity.SecondFactorEveryone), func(t *testing.T, r *rig.Rig) {
		bob, carla := r.User("bob@example.com", "Bob", false), r.User("carla@example.com", "Carla", false)
		thief := r.Browser()
		redirects(t, attempt(thief, r.Alice.Email, rig.Password), "/login/enrol")
		page := thief.Get("/login/enrol")
		wantPage(t, page, http.StatusOK)
		if strings.Contains(page.Body, "totp-key") || strings.Contains(page.Body, "data-passkey") {
			t.Error("the page offers second factors before the code of the email")
		}
		// What others may set up is theirs.
		bobs := r.Browser()
		page = enrolPage(bobs, bob.Email)
		foreign := bobs.Form(page, "/login/enrol")
		foreign.Set("code", otpOf(r, secretOn(bobs, page), 0))
		passkeyForm, options := mustForm(bobs, page, "/login/enrol")
		answer, err := authenticator.New().Create(r.Issuer, options)
		ok(t, err)
		none := func(what string) {
			t.Helper()
			u, err := r.Store.UserByID(r.System(), r.Alice.ID)
			ok(t, err)
			if !u.TOTPSince.IsZero() || u.Passkeys != 0 || signedInAs(thief) != "" {
				t.Fatalf("%s: the password alone has set up a second factor", what)
			}
		}
		for name, form := range map[string]url.Values{
			"nothing": nil, "a code": {"code": {"123456"}, "setup": {"x"}}, "another user's app": foreign,
			"another user's passkey": with(passkeyForm, "credential", string(answer)),
		} {
			a := thief.PostForm("/login/enrol", form)
			if a.Status != http.StatusSeeOther || a.Location.Path != "/login/enrol" {
				t.Errorf("%s is answered %d %v", name, a.Status, a.Location)
			}
			none(name)
		}
		if a := thief.PostForm(newPasskeyPath+"/new", nil); a.Status != http.StatusUnauthorized {
			t.Errorf("the settings are answered %d", a.Status)
		}

		// The owner's code works in no other browser.
		owner := r.Browser()
		code, form := toEnrol(owner, r.Alice.Email)
		wantPage(t, thief.PostForm("/login/enrol/code", with(form, "code", code)), http.StatusUnauthorized)
		none("the code of another browser")
		// A code for another purpose or account does not work either.
		askLink(thief, bob.Email)
		wantPage(t, thief.PostForm("/login/enrol/code", url.Values{"code": {r.Email("sign_in").Code}}),
			http.StatusUnauthorized)
		none("a code to sign in")
		redirects(t, thief.PostForm("/login/enrol/email", nil), "/login/enrol/code")
		own := r.Email("second_factor").Code
		// Where the owner's password was entered before, that of another user does not use the code.
		switched := r.Browser().WithCookiesOf(thief)
		redirects(t, attempt(switched, carla.Email, rig.Password, "X-Forwarded-For", "192.0.2.9"), "/login/enrol")
		wantPage(t, switched.PostForm("/login/enrol/code", url.Values{"code": {own}}), http.StatusUnauthorized)
		for range 5 {
			wantPage(t, thief.PostForm("/login/enrol/code", url.Values{"code": {"00000000"}}), http.StatusUnauthorized)
		}
		wantPage(t, thief.PostForm("/login/enrol/code", url.Values{"code": {own}}), http.StatusUnauthorized)
		none("the right code after five wrong ones")

		// The owner, whose first code ended with the newer email, goes on, and the thief does not follow.
		wantPage(t, owner.PostForm("/login/enrol/code", with(form, "code", code)), http.StatusUnauthorized)
		code, form = toEnrol(owner, r.Alice.Email)
		redirects(t, owner.PostForm("/login/enrol/code", with(form, "code", code)), "/login/enrol")
		enrolTOTP(owner, owner.Get("/login/enrol"))
		redirects(t, thief.Get("/login/enrol"), "/login/second")
		wantPage(t, thief.PostForm("/login/second", url.Values{"code": {"000000"}}), http.StatusUnauthorized)
		if signedInAs(thief) != "" {
			t.Error("the thief is signed in")
		}
	})
}

// The user cannot remove the last second factor where the server asks for one; an administrator can, which ends the
// user's sessions, and the next sign-in sets up another one.
func TestG18_TheLastNeededFactorIsRemovedByAnAdministratorOnly(t *testing.T) {
	rig.Each(t, withPolicy(identity.SecondFactorEveryone), func(t *testing.T, r *rig.Rig) {
		root := r.User("root@example.com", "Root", true)
		_, admin := r.PersonalToken(root, apikey.Spec{Scopes: []string{"admin"}})
		b, a := r.Browser(), authenticator.New()
		enrolTOTP(b, enrolPage(b, r.Alice.Email))
		addPasskey(b, a)
		passkey := passkeys(t, r, r.Alice.ID)[0].ID
		remove := func(method string) *rig.Answer { return b.Confirm(securityPath+"/methods/"+method+"/remove", nil) }
		redirects(t, remove("totp"), securityPath)
		wantPage(t, remove(passkey), http.StatusConflict)
		redirects(t, remove("recovery_codes"), securityPath) // they are no second factor
		if list := passkeys(t, r, r.Alice.ID); len(list) != 1 || signedInAs(b) != r.Alice.Email {
			t.Errorf("%d passkeys are left", len(list))
		}
		if got := r.JSON(http.MethodDelete, "/v1/users/"+r.Alice.ID+"/methods/"+passkey, admin, ""); got.Status !=
			http.StatusNoContent {
			t.Errorf("by the API: %d %s", got.Status, got.Body)
		}
		if signedInAs(b) != "" || len(sessionsOf(t, r, r.Alice.ID)) != 0 {
			t.Error("the user's sessions go on")
		}
		r.Emails()
		again := r.Browser()
		enrolTOTP(again, enrolPage(again, r.Alice.Email))
	})
}

// Where administrators have to have a second factor, others do not; one who becomes an administrator sets it up at the
// next sign-in.
func TestG18_AdministratorsEnrolAtTheirSignIn(t *testing.T) {
	r := rig.Memory(t, withPolicy(identity.SecondFactorAdministrators))
	root := r.User("root@example.com", "Root", true)
	r.Browser().SignIn(r.Alice.Email)
	b := r.Browser()
	enrolTOTP(b, enrolPage(b, root.Email))
	if a := b.Get("/admin/users"); a.Status != http.StatusOK {
		t.Errorf("the pages of administrators are answered %d", a.Status)
	}
	// With one factor, there are no pages for administrators.
	thief := r.Browser()
	halfway(thief, root.Email)
	redirects(t, thief.Get("/admin/users"), "/login")
	yes := true
	_, err := r.Identity.UpdateUser(r.System(), r.Alice.ID, identity.UserChange{Admin: &yes})
	ok(t, err)
	r.Emails()
	b = r.Browser()
	enrolTOTP(b, enrolPage(b, r.Alice.Email))
}

// An app's flow goes on after the second factor was set up or entered, in the same browser (people.md, section 4).
func TestG18_AnAppsFlowGoesOnAfterTheSecondFactor(t *testing.T) {
	r := rig.Memory(t, withPolicy(identity.SecondFactorEveryone))
	app := r.App(management.ClientSpec{})
	b := r.Browser()
	a := b.LogIn(toPassword(b, b.Authorize(app.Params("read")), r.Alice.Email), r.Alice.Email)
	page := b.Follow(redirects(t, a, "/login/enrol"))
	flow := b.Form(page, "/login/enrol/email").Get("flow")
	if flow == "" {
		t.Fatal("the page has lost the flow")
	}
	a = redirects(t, b.PostForm("/login/enrol/email", url.Values{"flow": {flow}}), "/login/enrol/code")
	fields := b.Form(b.Follow(a), "/login/enrol/code")
	a = redirects(t, b.PostForm("/login/enrol/code", with(fields, "code", r.Email("second_factor").Code)), "/login/enrol")
	page = b.Follow(a)
	secret := secretOn(b, page)
	fields = b.Form(page, "/login/enrol")
	fields.Set("code", otpOf(r, secret, 0))
	page = b.PostForm("/login/enrol", fields)
	recoveryOn(b, page)
	_, rest, _ := strings.Cut(page.Body, `href="/login?flow=`)
	sealed, _, _ := strings.Cut(rest, `"`)
	code := b.Decide(b.Follow(b.Get("/login?flow="+sealed)), "approve").Param("code")
	if code == "" {
		t.Fatal("no code after the second factor was set up")
	}
	granted(t, r.Exchange(app, code))
	if list := r.Grants(r.Alice.ID); len(list) != 1 || list[0].ACR != identity.LevelTwo ||
		!slices.Contains(list[0].AMR, "otp") {
		t.Errorf("the grant is %+v", list)
	}

	nextStep(r)
	b = r.Browser()
	a = b.LogIn(toPassword(b, b.Authorize(app.Params("read write")), r.Alice.Email), r.Alice.Email)
	page = b.Follow(redirects(t, a, "/login/second"))
	a = second(b, b.Form(page, "/login/second"), otpOf(r, secret, 0))
	if code := b.Decide(b.Follow(a), "approve").Param("code"); code == "" {
		t.Errorf("no code after the second factor: %d %v", a.Status, a.Location)
	}

	// With a passkey there is no page in between.
	key := authenticator.New()
	addPasskey(b, key)
	b = r.Browser()
	form, options := offeredIn(b, b.Form(b.Authorize(app.Params("read write delete")), "/login").Get("flow"))
	a = b.PostForm("/login/passkey", with(form, "credential", use(b, key, options)))
	if code := b.Decide(b.Follow(a), "approve").Param("code"); code == "" {
		t.Errorf("no code after a passkey: %d %v", a.Status, a.Location)
	}
}

// toPassword goes on from the page that asks for the address to that with the password.
func toPassword(b *rig.Browser, page *rig.Answer, email string) *rig.Answer {
	b.T.Helper()
	return b.PostForm("/login", with(b.Form(page, "/login"), "email", email))
}
