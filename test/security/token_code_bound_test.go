package security

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

// misspellings returns texts that differ only slightly from a credential.
func misspellings(text, another string) map[string]string {
	body := len("dw_xx_")
	flipped := []byte(text)
	flipped[len(flipped)-1] ^= 1
	flippedBody := []byte(text)
	flippedBody[body] ^= 1
	return map[string]string{
		"last bit flipped":       string(flipped),
		"first bit flipped":      string(flippedBody),
		"newline inside":         text[:20] + "\n" + text[20:],
		"newline after":          text + "\n",
		"space before":           " " + text,
		"space after":            text + " ",
		"prefix cut":             text[body:],
		"prefix in capitals":     strings.ToUpper(text[:body]) + text[body:],
		"prefix twice":           text[:body] + text,
		"two halves of two":      text[:len(text)/2] + another[len(another)/2:],
		"checksum of another":    text[:len(text)-6] + another[len(another)-6:],
		"one short":              text[:len(text)-1],
		"one long":               text + "0",
		"its digest":             hex.EncodeToString(storage.Digest(text)),
		"full-width digits":      text[:len(text)-1] + "９",
		"something before a dot": "x." + text,
	}
}

func TestT11_NearlyTheCodeIsNotTheCode(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	code, another := b.Code(app, "read"), b.Code(app, "read")
	for name, text := range misspellings(code, another) {
		t.Run(name, func(t *testing.T) {
			refused(t, r.Exchange(app, text), http.StatusBadRequest, oauth.InvalidGrant)
		})
	}
	granted(t, r.Exchange(app, code))
}

func TestT12_OtherSecretsAreNotCodes(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	access, refresh := r.Tokens(app, "read")
	b := r.Browser()
	page := b.Get("/oauth/authorize?" + app.Params("read").Encode())
	flow := page.Param("flow")
	if flow == "" {
		t.Fatalf("no flow in %v", page.Location)
	}
	b.SignIn(r.Alice.Email)
	texts := map[string]string{
		"refresh token": refresh,
		"access token":  access,
		"client secret": app.Secret,
		"state":         app.Params("").Get("state"),
		"flow":          flow,
		"client id":     app.ID,
	}
	for _, c := range b.Cookies() {
		texts["cookie "+c.Name] = c.Value
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			refused(t, r.Exchange(app, text), http.StatusBadRequest, oauth.InvalidGrant)
		})
	}
	if !r.Alive(api, access) || !r.Alive(app, refresh) {
		t.Error("a token shown as a code was revoked")
	}
}

func TestT13_CodeIsRevokedWithItsClientUserOrGrant(t *testing.T) {
	cases := map[string]struct {
		end  func(t *testing.T, r *rig.Rig, app *rig.App)
		want string
	}{
		"user disabled": {func(_ *testing.T, r *rig.Rig, _ *rig.App) {
			r.SQL(`UPDATE users SET disabled_at = 1 WHERE id = $1`, r.Alice.ID)
		}, oauth.InvalidGrant},
		"user deleted": {
			func(_ *testing.T, r *rig.Rig, _ *rig.App) { r.SQL(`DELETE FROM users WHERE id = $1`, r.Alice.ID) },
			oauth.InvalidGrant,
		},
		"removed from the workspace": {func(_ *testing.T, r *rig.Rig, _ *rig.App) {
			r.SQL(`DELETE FROM memberships WHERE user_id = $1`, r.Alice.ID)
		}, oauth.InvalidGrant},
		"workspace disabled": {
			func(_ *testing.T, r *rig.Rig, _ *rig.App) { r.SQL(`UPDATE workspaces SET disabled_at = 1`) },
			oauth.InvalidGrant,
		},
		"consent withdrawn": {func(_ *testing.T, r *rig.Rig, app *rig.App) { endAccess(r, app) }, oauth.InvalidGrant},
		"client lost every scope of it": {func(_ *testing.T, r *rig.Rig, app *rig.App) {
			change(r, app, func(p *management.ClientSpec) { p.Scopes = []string{"delete"} })
		}, oauth.InvalidGrant},
		"client lost the grant type": {func(_ *testing.T, r *rig.Rig, app *rig.App) {
			change(r, app, func(p *management.ClientSpec) {
				p.RedirectURIs, p.Grants = nil, []string{oauth.GrantClientCredentials}
			})
		}, oauth.UnauthorizedClient},
		"client disabled": {func(t *testing.T, r *rig.Rig, app *rig.App) {
			if err := r.Store.DisableClient(r.System(), app.ID, "administrator"); err != nil {
				t.Fatal(err)
			}
		}, oauth.InvalidClient},
		"client deleted": {func(t *testing.T, r *rig.Rig, app *rig.App) {
			if err := r.Store.DeleteClient(r.System(), app.ID); err != nil {
				t.Fatal(err)
			}
		}, oauth.InvalidClient},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
				app := r.App(management.ClientSpec{})
				b := r.Browser().SignIn(r.Alice.Email)
				fresh := b.Code(app, "read")
				_, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
				c.end(t, r, app)
				status := http.StatusBadRequest
				if c.want == oauth.InvalidClient {
					status = http.StatusUnauthorized
				}
				refused(t, r.Exchange(app, fresh), status, c.want)
				if c.want != oauth.UnauthorizedClient {
					refused(t, r.Refresh(app, refresh), status, c.want)
				}
			})
		})
	}
}

// twoResources is a configuration with two APIs that have scopes of the same name.
func twoResources() []catalog.Resource {
	scopes := []catalog.Scope{
		{Name: "read", Text: "Read"},
		{Name: "write", Text: "Write", Implies: []string{"capture"}},
		{Name: "capture", Text: "Add as you", UserOnly: true},
		{Name: "me", Text: "Know you", UserOnly: true},
	}
	return []catalog.Resource{
		{ID: "https://one.example", Name: "One", Scopes: scopes},
		{ID: "https://two.example", Name: "Two", Scopes: scopes},
		{ID: "https://three.example", Name: "Three", Scopes: []catalog.Scope{{Name: "other", Text: "Other"}}},
	}
}

func TestT14_ExchangeCannotWidenTheGrant(t *testing.T) {
	r := rig.Memory(t, rig.Options{Resources: twoResources()})
	app := r.App(management.ClientSpec{
		Scopes: []string{"read", "write"}, Resources: []string{"https://one.example", "https://two.example"},
	})
	api := r.App(management.ClientSpec{Name: "Two", ResourceServer: true, Resources: []string{"https://two.example"}})
	b := r.Browser().SignIn(r.Alice.Email)
	params := with(app.Params("read"), "resource", "https://two.example")
	a := b.Decide(b.Authorize(params), "approve")
	code := a.Param("code")
	for _, resource := range []string{
		"https://one.example", "https://three.example", "https://two.example/x", "https://nowhere.example", r.Issuer,
	} {
		refused(t, r.PostAs(app, "/oauth/token", with(codeForm(app, code), "resource", resource)),
			http.StatusBadRequest, oauth.InvalidTarget)
	}
	tokens := r.PostAs(app, "/oauth/token",
		with(codeForm(app, code), "resource", "https://two.example", "scope", "read write me capture",
			"audience", "https://one.example"))
	access, refresh := granted(t, tokens)
	seen := r.Introspect(api, access)
	if tokens.Text("scope") != "read" || seen.Text("scope") != "read" || seen.Text("aud") != "https://two.example" {
		t.Errorf("granted %q; introspection says %s", tokens.Text("scope"), seen.Body)
	}
	for _, resource := range []string{"https://one.example", "https://three.example"} {
		refused(t, r.PostAs(app, "/oauth/token", with(refreshForm(refresh), "resource", resource)),
			http.StatusBadRequest, oauth.InvalidTarget)
	}
	again, _ := granted(t,
		r.PostAs(app, "/oauth/token",
			with(refreshForm(refresh), "resource", "https://two.example", "audience", "https://one.example")))
	if seen := r.Introspect(api, again); seen.Text("scope") != "read" || seen.Text("aud") != "https://two.example" {
		t.Errorf("after the refresh introspection says %s", seen.Body)
	}
}

// There are no ID tokens: the subject is taken from introspection.
func TestT15_EveryCodeGivesItsOwnUsersTokens(t *testing.T) {
	rig.EachNodes(t, rig.Options{AtOnce: true}, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		app, api := r.App(management.ClientSpec{FirstParty: true}), r.ResourceServer()
		people := crowd
		if len(nodes) == 1 || testing.Short() {
			people = 8 // each needs two password hashes
		}
		users, browsers := make([]storage.User, people), make([]*rig.Browser, people)
		for i := range people {
			users[i] = r.User(fmt.Sprintf("user%d@example.com", i), fmt.Sprint("User ", i), false)
			// Before the rush: only a few passwords are checked at a time, and users who wait too long are turned away.
			browsers[i] = nodes[i%len(nodes)].Browser().SignIn(users[i].Email)
		}
		rig.AtOnce(people, func(i int) {
			b := browsers[i]
			a := b.Get("/oauth/authorize?" + app.Params("read").Encode())
			code := a.Param("code")
			if code == "" {
				t.Errorf("no code: %d %s", a.Status, rig.Plain(a.Body))
				return
			}
			other := nodes[(i+1)%len(nodes)]
			tokens := other.Exchange(app, code)
			for range 2 {
				if tokens.Status != http.StatusOK {
					t.Errorf("answered %d %s", tokens.Status, tokens.Body)
					return
				}
				if sub := b.Introspect(api, tokens.Text("access_token")).Text("sub"); sub != users[i].ID {
					t.Errorf("the token of %s is for %q", users[i].ID, sub)
				}
				tokens = other.Refresh(app, tokens.Text("refresh_token"))
			}
		})
	})
}
