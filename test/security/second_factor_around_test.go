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
	"doorward/test/providers"
	"doorward/test/rig"
)

// What the request of an app asks of the sign-in is not passed by at the page for the second factor, which a browser
// with a session opens without a first one (G-18).
func TestG18_TheSecondPageContinuesNothingWithoutAFirst(t *testing.T) {
	rig.Each(t, withPasskeys(), func(t *testing.T, r *rig.Rig) {
		app := r.App(management.ClientSpec{})
		b := r.Browser().SignIn(r.Alice.Email)
		b.Code(app, "read")
		r.Advance(time.Hour)
		for name, more := range map[string]url.Values{
			"prompt=login":          {"prompt": {"login"}},
			"prompt=select_account": {"prompt": {"select_account"}},
			"max_age=0":             {"max_age": {"0"}},
			"max_age=60":            {"max_age": {"60"}},
		} {
			a := ask(b, altered(app.Params("read"), more))
			wantLogin(t, a)
			flow := a.Location.Query().Get("flow")
			for _, path := range []string{"/login/second", "/login/enrol", "/login/enrol/code", "/login/enrol/email"} {
				for _, a := range []*rig.Answer{
					b.Get(path + "?flow=" + url.QueryEscape(flow)),
					b.PostForm(path, url.Values{"flow": {flow}}),
					b.PostForm(path, url.Values{"flow": {flow}, "code": {"123456"}}),
				} {
					if a.Status < 400 && (a.Status != http.StatusSeeOther || a.Location.Path != "/login") {
						t.Errorf("%s: %s answered %d %v", name, path, a.Status, a.Location)
					}
				}
			}
		}
	})
}

// The form of the set-up, sent again, is a sign-in with a password: it asks for the second factor, and for setting one
// up where that is required (G-18).
func TestG18_TheSetUpAsksForTheSecondFactor(t *testing.T) {
	again := func(b *rig.Browser, u storage.User) *rig.Answer {
		return b.PostForm("/setup", url.Values{
			"word": {"x"}, "email": {u.Email}, "name": {"Root"}, "password": {rig.Password},
		})
	}
	r := rig.Memory(t, withPasskeys())
	root := r.User("root@example.com", "Root", true)
	b := r.Browser()
	redirects(t, again(b, root), "/settings/profile")
	addTOTP(b)
	for range 2 {
		b = r.Browser()
		redirects(t, again(b, root), "/login/second")
		if signedInAs(b) != "" {
			t.Error("signed in without the code")
		}
	}

	r = rig.Memory(t, withPolicy(identity.SecondFactorAdministrators))
	root = r.User("root@example.com", "Root", true)
	b = r.Browser()
	redirects(t, again(b, root), "/login/enrol")
	if signedInAs(b) != "" {
		t.Error("signed in without a second factor")
	}

	o := withEmail()
	o.NoPasswords = true
	r = rig.Memory(t, o)
	root = r.User("root@example.com", "Root", true)
	b = r.Browser()
	if a := again(b, root); a.Status < 400 || signedInAs(b) != "" {
		t.Errorf("without passwords, answered %d %v", a.Status, a.Location)
	}
}

// When a change of address is undone, what was added since to sign in with goes too: it was added by the one who
// changed the address, and told to the address that goes. What was there before stays (G-14, G-18).
func TestG14_UndoRemovesWhatWasAddedSince(t *testing.T) {
	google := providers.Google(t)
	o := withProviders(outside(google, "google", "google"))
	o.Localhost = true
	rig.Each(t, o, func(t *testing.T, r *rig.Rig) {
		follow(r, google)
		u, thief, own := person(r, "owner@example.com")
		r.Advance(time.Minute)
		redirects(t, thief.PostForm("/settings/profile/address", url.Values{"email": {"thief@example.com"}}), "/settings/profile")
		wantPage(t, useLink(r.Browser(), r.Email("address")), http.StatusOK)
		undo := r.Email("address_changed")
		added := authenticator.New()
		addPasskey(thief, added)
		addTOTP(thief)
		google.SetUser(providers.User{Subject: "thief", Email: "thief@elsewhere.example"})
		connectAt(thief, "google").back(thief)
		if n := tallyOf(t, r).accounts; n != 1 || len(passkeys(t, r, u.ID)) != 2 {
			t.Fatalf("%d accounts at providers and %d passkeys", n, len(passkeys(t, r, u.ID)))
		}

		victim := r.Browser()
		page := useLink(victim, undo)
		form := victim.Form(victim.Follow(page), "/reset")
		form.Set("password", "an entirely other harbour")
		victim.PostForm("/reset", form)
		redirects(t, attempt(victim, u.Email, "an entirely other harbour"), "/settings/profile")
		if signedInAs(victim) != u.Email {
			t.Error("the user does not sign in with the new password alone")
		}
		b := r.Browser()
		wantPage(t, b.PostForm("/login/passkey", answeredPasskey(b, added)), http.StatusBadRequest)
		signInAt(b, "google")
		if signedInAs(b) != "" || signedInAs(thief) != "" || tallyOf(t, r).accounts != 0 {
			t.Error("the other person still signs in")
		}
		byPasskey(r.Browser(), own)
		after, err := r.Store.UserByID(r.System(), u.ID)
		ok(t, err)
		left, _, err := r.Store.RecoveryCodesOf(r.System(), u.ID)
		ok(t, err)
		if after.Passkeys != 1 || !after.TOTPSince.IsZero() || left != 0 {
			t.Errorf("left are %d passkeys, an app since %v, and %d recovery codes", after.Passkeys, after.TOTPSince, left)
		}
	})
}

// A link of a command works only while its user is an administrator (V-33).
func TestV33_ALinkOfTheCommandIsForAdministrators(t *testing.T) {
	rig.Each(t, withPasskeys(), func(t *testing.T, r *rig.Rig) {
		r.User("other@example.com", "Root", true)
		u := r.User("owner@example.com", "Owner", false)
		set := func(admin bool) {
			t.Helper()
			_, err := r.Identity.UpdateUser(r.System(), u.ID, identity.UserChange{Admin: &admin})
			ok(t, err)
		}
		if _, err := r.Identity.SignInLink(r.System(), u.ID); err == nil {
			t.Error("there is a link for a user who is not an administrator")
		}
		set(true)
		token, err := r.Identity.SignInLink(r.System(), u.ID)
		ok(t, err)
		r.Seen.Add("sign-in link", token)
		set(false)
		b := r.Browser()
		if a := b.PostForm("/login/link", url.Values{"word": {token}}); a.Status < 400 || signedInAs(b) != "" {
			t.Errorf("answered %d %v", a.Status, a.Location)
		}
		set(true)
		token, err = r.Identity.SignInLink(r.System(), u.ID)
		ok(t, err)
		r.Seen.Add("sign-in link", token)
		b.PostForm("/login/link", url.Values{"word": {token}})
		if signedInAs(b) != u.Email {
			t.Error("it does not work for an administrator")
		}
	})
}

// Removing all second factors removes passkeys that do not count at the moment too, so that they do not come back
// (G-18).
func TestG18_RemovingAllFactorsLeavesNoPasskeyOfAnotherDomain(t *testing.T) {
	rig.Each(t, withPasskeys(), func(t *testing.T, r *rig.Rig) {
		u, b, _ := person(r, "lost@example.com")
		addTOTP(b)
		ok(t, r.Store.InsertPasskey(r.System(), storage.Passkey{
			ID: storage.NewID("passkey"), CredentialID: []byte("other"), UserID: u.ID, Domain: "other.example",
			PublicKey: []byte("x"),
		}))
		ok(t, r.Identity.RemoveSecondFactors(r.System(), u.ID))
		for _, domain := range []string{"localhost", "other.example"} {
			if list, err := r.Store.PasskeysOf(r.System(), u.ID, domain); err != nil || len(list) != 0 {
				t.Errorf("%d passkeys are left for %s, %v", len(list), domain, err)
			}
		}
	})
}

// One network begins 20 sign-ups in an hour whose address a provider has proven; others are not held up (G-13).
func TestG13_SignUpsAtProvidersAreBoundedByNetwork(t *testing.T) {
	s := providers.Google(t)
	rig.Each(t, withProviders(outside(s, "google", "google")), func(t *testing.T, r *rig.Rig) {
		follow(r, s)
		come := func(i int, header ...string) *rig.Answer {
			t.Helper()
			s.SetUser(providers.User{
				Subject: fmt.Sprint(i), Email: fmt.Sprintf("ada%d@lovelace.example", i), Name: "Ada",
			})
			b := r.Browser()
			v := depart(b, b.Get("/login"), "google")
			return b.Get(v.path+"?"+v.params.Encode(), header...)
		}
		for i := range 20 {
			redirects(t, come(i), "/signup/complete")
		}
		a := come(20)
		wantPage(t, a, http.StatusTooManyRequests)
		if a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		redirects(t, come(21, "X-Forwarded-For", "192.0.2.7"), "/signup/complete")
		r.Advance(time.Hour + time.Minute)
		redirects(t, come(22), "/signup/complete")
	})
}

// A provider is asked to let the user sign in once more if its sign-in proves one again, for an app or at a page that
// asks who the user is, and not at a first sign-in (G-18).
func TestG18_ProvidersAreAskedForAnotherSignIn(t *testing.T) {
	google, plain := providers.Google(t), providers.OIDC(t)
	r := rig.Memory(t, withProviders(outside(google, "google", "google"), outside(plain, "acme", "")))
	follow(r, google, plain)
	app := r.App(management.ClientSpec{})
	prompts := func(b *rig.Browser, page *rig.Answer) (list string) {
		t.Helper()
		for _, id := range []string{"google", "acme"} {
			v := depart(b, page, id)
			to, err := url.Parse(v.address)
			ok(t, err)
			list += to.Query().Get("prompt") + " "
		}
		return strings.TrimSpace(list)
	}
	b := r.Browser()
	if got := prompts(b, b.Get("/login")); got != "" {
		t.Errorf("a first sign-in asks for %q", got)
	}
	b = r.Browser()
	if got := prompts(b, b.Follow(ask(b, altered(app.Params("read"), url.Values{"prompt": {"login"}})))); got !=
		"select_account login" {
		t.Errorf("for an app that asks for a sign-in, %q is asked for", got)
	}
	b = r.Browser().SignIn(r.Alice.Email)
	r.Advance(time.Hour)
	if got := prompts(b, b.Follow(ask(b, altered(app.Params("read"), url.Values{"max_age": {"60"}})))); got !=
		"select_account login" {
		t.Errorf("for an app that asks for a recent sign-in, %q is asked for", got)
	}
}
