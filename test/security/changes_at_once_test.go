package security

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/storage"
	"doorward/test/rig"
)

// When an administrator withdraws the verification of an app, it stays withdrawn, even if the app's owner saves at the
// same moment.
func TestWithdrawnVerificationIsNotRestored(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		app := selfRegistered(t, r, management.ClientSpec{})
		own := management.SpecOf(app.Client)
		for range 20 {
			if err := r.Store.VerifyClient(r.System(), app.ID, true); err != nil {
				t.Fatal(err)
			}
			rig.AtOnce(8, func(i int) {
				var err error
				if i != 4 {
					_, err = r.Management.UpdateClient(r.System(), management.CLI(""), app.ID, own)
				} else {
					err = r.Store.VerifyClient(r.System(), app.ID, false)
				}
				if err != nil {
					t.Error(err)
				}
			})
			if c, err := r.Store.ClientByID(r.System(), app.ID); err != nil || c.Verified {
				t.Fatalf("verified again (error %v)", err)
			}
		}
	})
}

// An app whose scope is no longer in the configuration can still lose its verification.
func TestAppWithAnUnknownScopeCanBeUnverified(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{Verified: true})
	c := app.Client
	c.Scopes = storage.List{"gone"}
	if err := r.Store.UpdateClient(r.System(), &c, nil); err != nil {
		t.Fatal(err)
	}
	r.User("root@example.com", "Root", true)
	admin := r.Browser().SignIn("root@example.com")
	if a := admin.PostForm("/admin/apps/"+app.ID+"/unverify", nil); a.Status != http.StatusSeeOther {
		t.Errorf("answered %d", a.Status)
	}
	if c, err := r.Store.ClientByID(r.System(), app.ID); err != nil || c.Verified {
		t.Errorf("still verified (error %v)", err)
	}
}

// When a user revokes an app's access while the app requests it again without a page, the new access is revoked as
// well.
func TestRevokedAccessIsNotGrantedAgainAtTheSameMoment(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		app := r.App(management.ClientSpec{})
		alice := r.Browser().SignIn(r.Alice.Email)
		silent := altered(app.Params("read"), url.Values{"prompt": {"none"}})
		for range 12 {
			alice.Code(app, "read")
			var answers [4]*rig.Answer
			rig.AtOnce(len(answers)+1, func(i int) {
				if i < len(answers) {
					answers[i] = alice.Get("/oauth/authorize?"+silent.Encode(), "Sec-Fetch-Site", "cross-site")
				} else if a := alice.Confirm("/settings/connected-apps/"+app.ID+"/end", nil); a.Status != http.StatusSeeOther {
					t.Errorf("end answered %d", a.Status)
				}
			})
			for _, a := range answers {
				if code := a.Param("code"); code != "" {
					if got := r.Exchange(app, code); got.Status != http.StatusBadRequest {
						t.Fatalf("a code of before the end gives %d %s", got.Status, got.Body)
					}
				}
			}
			if live := r.Grants(r.Alice.ID); len(live) != 0 {
				t.Fatalf("%d grants are active after the end", len(live))
			}
		}
	})
}

// An app without any working token is shown as allowed, not as connected.
func TestGrantWithoutWorkingTokensIsNotConnected(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		once := r.App(management.ClientSpec{
			Name: "Once", RedirectURIs: []string{"https://app.example/cb"}, Grants: []string{oauth.GrantAuthorizationCode},
		})
		alice := r.Browser().SignIn(r.Alice.Email)
		alice.Code(once, "read") // never redeemed
		if n := len(r.Grants(r.Alice.ID)); n != 1 {
			t.Errorf("%d grants with an active code, want 1", n)
		}
		r.Advance(61 * time.Second)
		if n := len(r.Grants(r.Alice.ID)); n != 0 {
			t.Errorf("%d grants are active with the code's expiry", n)
		}
		access, _ := r.Tokens(once, "read")
		if n := len(r.Grants(r.Alice.ID)); n != 1 || access == "" {
			t.Errorf("%d grants with an active access token, want 1", n)
		}
		r.Advance(time.Hour)
		if n := len(r.Grants(r.Alice.ID)); n != 0 {
			t.Errorf("%d grants are active with the access token's expiry", n)
		}
	})
}

// RFC 6749, section 1.5, and the consent page: no token works longer than the grant that the user consented to.
func TestAccessTokenExpiresWithItsFamily(t *testing.T) {
	rig.Each(t, rig.Options{Lifetimes: oauth.Lifetimes{Refresh: 24 * time.Hour, RefreshAbsolute: 24 * time.Hour}},
		func(t *testing.T, r *rig.Rig) {
			app, api := r.App(management.ClientSpec{}), r.ResourceServer()
			_, refresh := r.Tokens(app, "read")
			r.Advance(24*time.Hour - 2*time.Minute)
			a := r.Refresh(app, refresh)
			if seconds, ok := a.JSON()["expires_in"].(float64); !ok || seconds > 120 || seconds < 60 {
				t.Errorf("expires_in is %v, want two minutes: %s", a.JSON()["expires_in"], a.Body)
			}
			if !r.Alive(api, a.Text("access_token")) {
				t.Error("the token does not work")
			}
			r.Advance(2 * time.Minute)
			if r.Alive(api, a.Text("access_token")) {
				t.Error("the token works after its family has ended")
			}
		})
}
