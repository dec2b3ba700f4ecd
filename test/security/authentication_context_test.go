package security

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/identity"
	"doorward/test/authenticator"
	"doorward/test/rig"
)

// How a user authenticated is in the session, as administrators see it, and in the grants of apps (people.md,
// section 4).
func TestG18_SessionsAndGrantsSayHowTheUserAuthenticated(t *testing.T) {
	rig.Each(t, withPasskeys(), func(t *testing.T, r *rig.Rig) {
		root := r.User("root@example.com", "Root", true)
		_, admin := r.PersonalToken(root, apikey.Spec{Scopes: []string{"admin"}})
		plain := r.User("plain@example.com", "Plain", false)
		withApp, secret, recovery := withCode(r, "app@example.com")
		keyOwner, _, key := person(r, "key@example.com")
		synced := authenticator.New()
		synced.BackedUp = true
		syncedOwner := r.User("synced@example.com", "Synced", false)
		addPasskey(r.Browser().SignIn(syncedOwner.Email), synced)
		nextStep(r)
		byMail := func(email string) *rig.Browser {
			b := r.Browser()
			r.Emails()
			askLink(b, email)
			a := useLink(b, r.Email("sign_in"))
			if a.Location != nil && a.Location.Path == "/login/second" {
				redirects(t, second(b, b.Form(b.Follow(a), "/login/second"), recovery[1]), "/settings/profile")
			}
			return b
		}
		for name, x := range map[string]struct {
			userID, level string
			methods       []string
			signIn        func() *rig.Browser
		}{
			"password": {plain.ID, identity.LevelOne, []string{"pwd"}, func() *rig.Browser {
				return r.Browser().SignIn(plain.Email)
			}},
			"password beside a passkey": {keyOwner.ID, identity.LevelOne, []string{"pwd"}, func() *rig.Browser {
				return r.Browser().SignIn(keyOwner.Email)
			}},
			"email": {plain.ID, identity.LevelOne, []string{"email"}, func() *rig.Browser { return byMail(plain.Email) }},
			"password and code": {withApp.ID, identity.LevelTwo, []string{"pwd", "otp", "mfa"}, func() *rig.Browser {
				return byCode(r.Browser(), withApp.Email, otpOf(r, secret, 0))
			}},
			"password and recovery code": {
				withApp.ID, identity.LevelTwo,
				[]string{"pwd", "recovery", "mfa"},
				func() *rig.Browser { return byCode(r.Browser(), withApp.Email, recovery[0]) },
			},
			"email and recovery code": {
				withApp.ID, identity.LevelTwo,
				[]string{"email", "recovery", "mfa"},
				func() *rig.Browser { return byMail(withApp.Email) },
			},
			"passkey": {keyOwner.ID, identity.LevelTwo, []string{"hwk", "user", "mfa"}, func() *rig.Browser {
				return byPasskey(r.Browser(), key)
			}},
			"passkey that is backed up": {
				syncedOwner.ID, identity.LevelTwo,
				[]string{"swk", "user", "mfa"},
				func() *rig.Browser { return byPasskey(r.Browser(), synced) },
			},
			"link of an operator": {root.ID, identity.LevelTwo, []string{"recovery", "mfa"}, func() *rig.Browser {
				b, link := r.Browser(), signInLink(t, r, root)
				redirects(t, b.PostForm("/login/link", b.Form(b.Get(link), "/login/link")), "/settings/profile")
				return b
			}},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := r.Identity.SignOut(r.System(), x.userID, identity.SignOutOptions{Apps: true})
				ok(t, err)
				b := x.signIn()
				list, _ := r.JSON(http.MethodGet, "/v1/users/"+x.userID+"/sessions", admin, "").JSON()["data"].([]any)
				if len(list) != 1 {
					t.Fatalf("%d sessions", len(list))
				}
				shown, _ := list[0].(map[string]any)
				var methods []string
				values, _ := shown["amr"].([]any)
				for _, v := range values {
					text, _ := v.(string)
					methods = append(methods, text)
				}
				want := slices.Sorted(slices.Values(x.methods))
				slices.Sort(methods)
				if shown["acr"] != x.level || !slices.Equal(methods, want) {
					t.Errorf("the session has %v and %q, want %s and %q", shown["acr"], methods, x.level, want)
				}
				app := r.App(management.ClientSpec{})
				granted(t, r.Exchange(app, b.Code(app, "read")))
				for _, g := range r.Grants(x.userID) {
					if g.ClientID != app.ID {
						continue
					}
					if got := slices.Sorted(slices.Values([]string(g.AMR))); g.ACR != x.level || !slices.Equal(got, want) {
						t.Errorf("the grant has %s and %q, want %s and %q", g.ACR, got, x.level, want)
					}
					return
				}
				t.Error("no grant")
			})
		}
	})
}

// A session's level is that of its last authentication: what was proved before a second factor ended does not count for
// a later one (people.md, section 4).
func TestG18_TheLevelIsThatOfTheLastAuthentication(t *testing.T) {
	r := rig.Memory(t, withPasskeys())
	u, b, a := person(r, "owner@example.com")
	redirects(t, b.Confirm(securityPath+"/methods/"+passkeys(t, r, u.ID)[0].ID+"/remove", nil), securityPath)
	r.Advance(time.Hour)
	const changed = "an entirely other harbour"
	form := with(nil, "current_password", rig.Password, "new_password", changed)
	redirects(t, b.PostForm(securityPath+"/password", form), securityPath)
	wantSession(t, r, u.ID, identity.LevelOne, "pwd")
	stranger := r.Browser()
	wantPage(t, stranger.PostForm("/login/passkey", answeredPasskey(stranger, a)), http.StatusBadRequest)
}

// A user has at most 50 passkeys, also if several are created at once.
func TestG16_PasskeysOfAUserAreBounded(t *testing.T) {
	r := rig.Memory(t, withPasskeys())
	u, _, a := person(r, "owner@example.com")
	for i := range 48 {
		k := passkeys(t, r, u.ID)[0]
		k.ID, k.CredentialID = k.ID+strings.Repeat("x", i+1), []byte(strings.Repeat("x", i+1))
		ok(t, r.Store.InsertPasskey(r.System(), k))
	}
	b := byPasskey(r.Browser(), a)
	one, two := newPasskey(b, authenticator.New()), newPasskey(b, authenticator.New())
	redirects(t, b.PostForm(newPasskeyPath, one), securityPath)
	if got := b.PostForm(newPasskeyPath, two); got.Status >= 500 || len(passkeys(t, r, u.ID)) != 50 {
		t.Errorf("passkey 51 is answered %d; there are %d", got.Status, len(passkeys(t, r, u.ID)))
	}
	redirects(t, b.PostForm(newPasskeyPath+"/new", nil), securityPath)
	byPasskey(r.Browser(), a)
}
