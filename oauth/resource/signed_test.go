package resource_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/resource"
	"doorward/test/rig"
)

// The server's own signed tokens, verified with the keys at its /oauth/jwks, also while these change.
func TestJ09_TokensOfTheServerAcrossRotation(t *testing.T) {
	o := catalogue()
	o.Resources[0].JWT = true
	r := rig.Memory(t, o)
	app := r.App(management.ClientSpec{})
	a := newAPI(t, resource.Config{
		Issuer: r.Issuer, VerifyJWT: true, Objects: []string{"accounts"},
		Now: func() time.Time { return r.Store.Now().Time() },
	})
	before, refresh := r.Tokens(app, "read")
	w, c := a.ask(request(before), "accounts:read")
	a.want(w, http.StatusNoContent, "")
	if c.Subject != r.Alice.ID || c.ClientID != app.ID || c.Credential != "access_token" || c.Role != "owner" ||
		c.Workspace == "" || c.WorkspaceID == "" ||
		c.ID == "" || c.AuthTime.IsZero() || c.IssuedAt.IsZero() || c.ExpiresAt.Sub(c.IssuedAt) != time.Hour {
		t.Errorf("claims of a signed token: %+v", c)
	}
	w, _ = a.ask(request(before), "write")
	a.want(w, http.StatusForbidden, "insufficient_scope")
	w, _ = a.ask(request(refresh), "read")
	a.want(w, http.StatusUnauthorized, "invalid_token")

	for range 2 {
		r.Advance(10 * time.Minute) // the next key has been published for long enough
		if _, err := r.Keyring.Rotate(r.System(), false); err != nil {
			t.Fatal(err)
		}
		after := r.Refresh(app, refresh)
		refresh = after.Text("refresh_token")
		for _, token := range []string{before, after.Text("access_token")} {
			w, _ = a.ask(request(token), "read")
			a.want(w, http.StatusNoContent, "")
		}
	}
	r.Advance(40*time.Minute + time.Second)
	w, _ = a.ask(request(before), "read")
	a.want(w, http.StatusUnauthorized, "invalid_token")
}

// A revoked JWT is still accepted by an API that does not introspect, and refused by one that does.
func TestSignedTokensAreRevokedWhereTheyAreAskedAbout(t *testing.T) {
	o := catalogue()
	o.Resources[0].JWT = true
	r := rig.Memory(t, o)
	app := r.App(management.ClientSpec{})
	access, refresh := r.Tokens(app, "read")
	asks := config(r)
	both := asks
	both.VerifyJWT = true
	counts := both
	counts.Cost = func(*http.Request) int { return 1 }
	_, key := r.Key(r.Workspace("acme", "", r.Alice), apikey.Spec{})
	for _, c := range []resource.Config{asks, both, counts} {
		a := newAPI(t, c)
		for _, token := range []string{access, key} {
			w, _ := a.ask(request(token), "read")
			a.want(w, http.StatusNoContent, "")
			if counted := w.Header().Get("X-RateLimit-Remaining") != ""; counted != (c.Cost != nil) {
				t.Errorf("rate headers: %v", w.Header())
			}
		}
	}
	r.PostAs(app, "/oauth/revoke", url.Values{"token": {refresh}})
	for c, status := range map[*resource.Config]int{
		&asks: http.StatusUnauthorized, &both: http.StatusNoContent,
		&counts: http.StatusUnauthorized,
	} {
		if w, _ := newAPI(t, *c).ask(request(access), "read"); w.Code != status {
			t.Errorf("verifying %v, counting %v: revoked, it gets %d, want %d", c.VerifyJWT, c.Cost != nil, w.Code, status)
		}
	}
}
