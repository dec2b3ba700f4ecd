package security

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/test/authenticator"
	"doorward/test/rig"
)

// The passkey of one user neither completes the sign-in of another nor confirms their actions (G-16, G-18).
func TestG16_AnotherUsersPasskeyIsNoSecondFactor(t *testing.T) {
	rig.Each(t, withPasskeys(), func(t *testing.T, r *rig.Rig) {
		u, owner, own := person(r, "owner@example.com")
		addTOTP(owner)
		_, _, foreign := person(r, "thief@example.com")
		b := r.Browser()
		halfway(b, u.Email)
		form, options := mustForm(b, b.Get("/login/second"), "/login/second")
		before := count(t, r, `SELECT count(*) FROM sessions`)
		handle := authenticator.UserHandle([]byte(u.ID))
		credential := authenticator.CredentialID(passkeys(t, r, u.ID)[0].CredentialID)
		for name, changes := range map[string][]authenticator.Change{
			"as it is":                 nil,
			"with the owner's handle":  {handle},
			"as the owner's passkey":   {credential},
			"with both":                {credential, handle},
			"without verifying a user": {authenticator.WithoutUserVerification()},
		} {
			got := b.PostForm("/login/second", with(form, "credential", use(b, foreign, options, changes...)))
			wantPage(t, got, http.StatusBadRequest)
			if signedInAs(b) != "" || count(t, r, `SELECT count(*) FROM sessions`) != before {
				t.Errorf("%s: signed in as %q", name, signedInAs(b))
			}
		}
		answer := use(b, own, options)
		redirects(t, b.PostForm("/login/second", with(form, "credential", answer)), "/settings/profile")

		r.Advance(6 * time.Minute)
		const action = "/settings/profile/export"
		form, options = mustForm(b, b.PostForm(action, nil), action)
		wantPage(t, b.PostForm(action, with(form, "current_passkey", use(b, foreign, options))), http.StatusForbidden)
		wantPage(t, b.PostForm(action, with(form, "current_passkey", answer)), http.StatusForbidden)
		got := b.PostForm(action, with(form, "current_passkey", use(b, own, options)))
		if got.Status != http.StatusOK || got.JSON() == nil {
			t.Errorf("with the own passkey: answered %d %s", got.Status, rig.Plain(got.Body))
		}
		if signedInAs(b) != u.Email {
			t.Errorf("signed in as %q", signedInAs(b))
		}
	})
}

// The challenge and the methods that the sign-in page offers are the same for every address: without an account, with a
// password, with passkeys, with a second factor, disabled (G-01).
func TestG01_PasskeysTellNothingAboutAnAddress(t *testing.T) {
	r := rig.Memory(t, withPasskeys())
	passkey, _, _ := person(r, "passkey@example.com")
	both, owner, a := person(r, "both@example.com")
	addTOTP(owner)
	addPasskey(owner, authenticator.New())
	byPasskey(r.Browser(), a)
	off := r.User("off@example.com", "Off", false)
	ok(t, r.Identity.DisableUser(r.System(), off.ID))
	describe := func(a *rig.Answer) string {
		header := a.Header.Clone()
		for _, h := range []string{"Date", "X-Request-Id", "Content-Security-Policy"} { // the last one has a nonce
			header.Del(h)
		}
		var names []string
		for _, c := range a.Cookies {
			names = append(names, c.Name)
		}
		header.Del("Set-Cookie")
		return fmt.Sprint(a.Status, header, names, len(a.Body))
	}
	want := map[string]string{}
	for _, email := range []string{"absent@example.com", r.Alice.Email, passkey.Email, both.Email, off.Email} {
		b := r.Browser()
		flow := b.Form(b.Get("/login"), "/login").Get("flow")
		methods := b.PostForm("/login", url.Values{"flow": {flow}, "email": {email}})
		_, options := offeredIn(b, flow)
		// The address is on the page; what follows it is compared without its length.
		got := map[string]string{
			"challenge": describe(b.Get("/login/passkey?flow=" + url.QueryEscape(flow))),
			"with an address": describe(b.Get("/login/passkey?flow=" + url.QueryEscape(flow) + "&email=" +
				url.QueryEscape(email))),
			"options": fmt.Sprint(len(options)),
			"methods": fmt.Sprint(methods.Status, len(withoutAddress(methods.Body, email))),
			"wrong password": fmt.Sprint(len(withoutAddress(
				attempt(r.Browser(), email, "a guess of theirs").Body, email))),
		}
		for name, text := range got {
			if want[name] == "" {
				want[name] = text
			} else if text != want[name] {
				t.Errorf("%s for %s:\n%s\nfor an address without an account:\n%s", name, email, text, want[name])
			}
		}
		if methods.Status != http.StatusOK {
			t.Errorf("the methods for %s are answered %d", email, methods.Status)
		}
	}
}

// withoutAddress is a page without an address and what varies in each response.
func withoutAddress(body, email string) string {
	return unvaried(strings.ReplaceAll(body, email, ""))
}

// An attacker who keeps an account throttled, or has locked its password, does not keep out its passkey, which unlocks
// the password (G-05).
func TestG05_APasskeyWorksWhileThePasswordIsLocked(t *testing.T) {
	rig.Each(t, withPasskeys(), func(t *testing.T, r *rig.Rig) {
		u, _, a := person(r, "owner@example.com")
		const thief, home = "192.0.2.66", "192.0.2.1"
		for range 10 {
			attempt(r.Browser(), u.Email, "a guess of theirs", "X-Forwarded-For", thief)
		}
		wantThrottled(t, attempt(r.Browser(), u.Email, rig.Password, "X-Forwarded-For", thief))
		b := r.Browser()
		redirects(t, b.PostForm("/login/passkey", answeredPasskey(b, a), "X-Forwarded-For", thief), "/settings/profile")
		for range 100 {
			ok(t, r.Store.CountPasswordFailure(r.System(), u.ID, 100))
		}
		wantPage(t, attempt(r.Browser(), u.Email, rig.Password, "X-Forwarded-For", home), http.StatusUnauthorized)
		// One that is refused unlocks nothing.
		b = r.Browser()
		wantPage(t, b.PostForm("/login/passkey", answeredPasskey(b, a, authenticator.OtherKey())), http.StatusBadRequest)
		wantPage(t, attempt(r.Browser(), u.Email, rig.Password, "X-Forwarded-For", home), http.StatusUnauthorized)
		byPasskey(r.Browser(), a)
		redirects(t, attempt(r.Browser(), u.Email, rig.Password, "X-Forwarded-For", home), "/settings/profile")
	})
}
