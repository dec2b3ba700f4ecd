package security

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/test/rig"
)

func TestR01_ConfidentialClientMustAuthenticate(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, other := r.App(management.ClientSpec{}), r.App(management.ClientSpec{Name: "Other"})
	access, refresh := r.Tokens(app, "read")
	for _, token := range []string{access, refresh} {
		refused(t, r.Post("/oauth/revoke", url.Values{"token": {token}}), http.StatusUnauthorized, "invalid_client")
		refused(t, r.Post("/oauth/revoke", url.Values{"token": {token}, "client_id": {app.ID}}),
			http.StatusUnauthorized, "invalid_client")
		refused(t,
			r.Post("/oauth/revoke", url.Values{"token": {token}, "client_id": {app.ID}, "client_secret": {other.Secret}}),
			http.StatusUnauthorized, "invalid_client")
		refused(t, r.Post("/oauth/revoke", url.Values{"token": {token}}, "Authorization", "Bearer "+access),
			http.StatusUnauthorized, "invalid_client")
		if !r.Alive(app, token) {
			t.Error("the token was revoked without authentication")
		}
	}
}

func TestR02_OthersTokensStayActive(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	access, refresh := r.Tokens(app, "read")
	own := r.PostAs(robot(r), "/oauth/token", url.Values{"grant_type": {"client_credentials"}}).Text("access_token")
	for _, stranger := range []*rig.App{
		r.App(management.ClientSpec{Name: "Other"}), r.App(management.ClientSpec{Public: true}), api,
	} {
		unknown := r.PostAs(stranger, "/oauth/revoke", url.Values{"token": {bearer.NewCredential(bearer.PrefixAccessToken)}})
		for _, token := range []string{access, refresh, own} {
			a := r.PostAs(stranger, "/oauth/revoke", url.Values{"token": {token}})
			if a.Status != http.StatusOK || a.Body != unknown.Body || len(a.Header) != len(unknown.Header) {
				t.Errorf("revoking another's token answered %d %s, an unknown one %s", a.Status, a.Body, unknown.Body)
			}
			if !r.Alive(api, access) || !r.Alive(app, refresh) || !r.Alive(api, own) {
				t.Fatal("a stranger revoked a token")
			}
		}
	}
}

func TestR03_R06_AnyTokenRevokesItsFamilyWithAnyHint(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	for _, hint := range []string{"", "access_token", "refresh_token", "zzz"} {
		for kind := range 4 {
			access, refresh := r.Tokens(app, "read")
			next := r.Refresh(app, refresh)
			family := []string{access, refresh, next.Text("access_token"), next.Text("refresh_token")}
			bystander, bystanderRefresh := r.Tokens(app, "read")
			a := r.PostAs(app, "/oauth/revoke", url.Values{"token": {family[kind]}, "token_type_hint": {hint}})
			if a.Status != http.StatusOK {
				t.Fatalf("hint %q, token %d: answered %d %s", hint, kind, a.Status, a.Body)
			}
			for i, token := range family {
				if r.Alive(app, token) || r.Alive(api, token) {
					t.Errorf("hint %q: after revoking token %d of the family token %d is active", hint, kind, i)
				}
			}
			for _, token := range []string{refresh, next.Text("refresh_token")} {
				refused(t, r.Refresh(app, token), http.StatusBadRequest, "invalid_grant")
			}
			if !r.Alive(api, bystander) || !r.Alive(app, bystanderRefresh) {
				t.Error("another family of the same app and user was revoked")
			}
		}
	}
	for _, token := range []string{
		"unknown", bearer.NewCredential(bearer.PrefixAccessToken), bearer.NewCredential(bearer.PrefixRefreshToken), "\x00",
		"\xff", app.Secret, "sk_live_x", "pat_x",
	} {
		for _, hint := range []string{"", "access_token", "zzz"} {
			a := r.PostAs(app, "/oauth/revoke", url.Values{"token": {token}, "token_type_hint": {hint}})
			if a.Status != http.StatusOK || a.Body != "{}\n" {
				t.Errorf("revoking %q answered %d %s", token, a.Status, a.Body)
			}
		}
	}
	access, _ := r.Tokens(app, "read")
	for range 2 {
		if a := r.PostAs(app, "/oauth/revoke", url.Values{"token": {access}}); a.Status != http.StatusOK {
			t.Errorf("revoking twice answered %d", a.Status)
		}
	}
}

func TestR05_HalfATokenRevokesNothing(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	access, refresh := r.Tokens(app, "read")
	another, anotherRefresh := r.Tokens(app, "read")
	for _, x := range []struct{ token, another string }{{access, another}, {refresh, anotherRefresh}} {
		texts := misspellings(x.token, x.another)
		texts["garbage before"] = "garbage." + x.token
		texts["garbage for the first half"] = "garbage." + x.token[len(x.token)/2:]
		texts["the other kind's prefix"] = map[bool]string{
			true:  bearer.PrefixRefreshToken,
			false: bearer.PrefixAccessToken,
		}[x.token == access] + x.token[len(bearer.PrefixAccessToken):]
		for name, text := range texts {
			if text == "" {
				continue
			}
			if a := r.PostAs(app, "/oauth/revoke", url.Values{"token": {text}}); a.Status != http.StatusOK {
				t.Errorf("%s: answered %d %s", name, a.Status, a.Body)
			}
			if !r.Alive(app, access) || !r.Alive(app, refresh) {
				t.Fatalf("%s revoked the token", name)
			}
		}
	}
}

func TestR08_RevokedHereIsInactiveThere(t *testing.T) {
	twoNodes(t, rig.Options{}, func(t *testing.T, one, two *rig.Rig) {
		app, api := one.App(management.ClientSpec{}), one.ResourceServer()
		access, refresh := one.Tokens(app, "read")
		if !two.Alive(api, access) || !two.Alive(app, refresh) {
			t.Fatal("the other node does not know the token")
		}
		one.PostAs(app, "/oauth/revoke", url.Values{"token": {refresh}})
		wantInactive(t, "access token", two.Introspect(api, access))
		wantInactive(t, "refresh token", two.Introspect(app, refresh))
		refused(t, two.Refresh(app, refresh), http.StatusBadRequest, "invalid_grant")
	})
}

func TestR09_NoJSONP(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	access, _ := r.Tokens(app, "read")
	for _, path := range []string{"/oauth/revoke", "/oauth/introspect"} {
		a := r.PostAs(app, path, url.Values{"token": {"unknown"}, "callback": {"alert"}})
		machineHeaders(t, a)
		if strings.Contains(a.Body, "alert") || !bytes.HasPrefix([]byte(a.Body), []byte("{")) {
			t.Errorf("%s answered %s", path, a.Body)
		}
		refused(t, r.PostAs(app, path+"?callback=alert", url.Values{"token": {access}}),
			http.StatusBadRequest, "invalid_request")
	}
	if !r.Alive(app, access) {
		t.Error("a refused request revoked the token")
	}
}
