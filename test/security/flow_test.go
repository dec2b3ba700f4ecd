package security

import (
	"net/http"
	"net/url"
	"testing"

	"doorward/management"
	"doorward/test/rig"
)

func TestWholeFlowFromLoginToRevocation(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		b := r.Browser()
		page := b.Authorize(app.Params("read write"))
		page = b.Follow(b.LogIn(page, r.Alice.Email))
		a := b.Decide(page, "approve", func(v url.Values) { v["scope"] = []string{"read"} })
		if a.Param("iss") != r.Issuer || a.Param("state") != app.Params("").Get("state") || a.Param("code") == "" {
			t.Fatalf("answer %v %s", a.Location, rig.Plain(a.Body))
		}
		tok := r.Exchange(app, a.Param("code"))
		if tok.Status != http.StatusOK || tok.Text("scope") != "read" || tok.Text("token_type") != "Bearer" {
			t.Fatalf("exchange %d %s", tok.Status, tok.Body)
		}
		if got := r.Introspect(api, tok.Text("access_token")); got.Text("sub") != r.Alice.ID || got.Text("scope") != "read" {
			t.Fatalf("introspection %d %s", got.Status, got.Body)
		}
		again := r.Refresh(app, tok.Text("refresh_token"))
		if again.Status != http.StatusOK {
			t.Fatalf("refresh %d %s", again.Status, again.Body)
		}
		if got := r.PostAs(app, "/oauth/revoke",
			url.Values{"token": {again.Text("access_token")}}); got.Status != http.StatusOK {
			t.Fatalf("revoke %d %s", got.Status, got.Body)
		}
		if r.Alive(api, again.Text("access_token")) || r.Alive(api, tok.Text("access_token")) ||
			r.Alive(app, again.Text("refresh_token")) {
			t.Fatal("a token of the family outlived its revocation")
		}
	})
}
