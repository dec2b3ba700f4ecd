package security

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

// decideScopes submits a consent page with these scopes, ignoring the page's own selection.
func decideScopes(b *rig.Browser, page *rig.Answer, scopes ...string) *rig.Answer {
	b.T.Helper()
	return b.Decide(page, "approve", func(v url.Values) { v["scope"] = scopes })
}

// askedAgain sends an authorization request that shows the consent page again.
func askedAgain(app *rig.App, scope string) url.Values {
	v := app.Params(scope)
	v.Set("prompt", "consent")
	return v
}

// Consent given again with fewer scopes removes the other scopes from every grant that the app has for that user,
// resource and workspace, on every node, and from no other grant.
func TestV09_ConsentGivenAgainNarrowsEveryGrant(t *testing.T) {
	rig.EachNodes(t, rig.Options{}, func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		spec := management.ClientSpec{
			Name: "Narrowed", RedirectURIs: []string{"https://app.example/cb"}, Scopes: []string{"read", "write", "delete"},
		}
		app, api := r.App(spec), r.ResourceServer()
		spec.Name = "Another"
		another := r.App(spec)
		b := r.Browser().SignIn(r.Alice.Email)
		first := r.Exchange(app, b.Code(app, "read write delete"))
		second := r.Exchange(app, b.Code(app, "write"))
		used := first.Text("refresh_token")
		repeated := r.Refresh(app, used)
		unused := b.Code(app, "read write")
		elsewhere := r.Exchange(another, b.Code(another, "read write"))

		page := b.Authorize(askedAgain(app, "read write"))
		code := decideScopes(b, page, "read").Param("code")
		if code == "" {
			t.Fatal("no code")
		}
		if got := other.Exchange(app, code).Text("scope"); got != "read" {
			t.Errorf("the new token has %q", got)
		}
		for name, token := range map[string]string{
			"first":     first.Text("access_token"),
			"refreshed": repeated.Text("access_token"),
		} {
			if got := other.Introspect(api, token).Text("scope"); got != "read delete" {
				t.Errorf("introspection of the %s access token says %q, want read delete", name, got)
			}
			if got := other.JSON(http.MethodGet, "/v1/auth/test", token, ""); strings.Contains(got.Body, "write") {
				t.Errorf("the %s access token is %s", name, got.Body)
			}
		}
		if other.Alive(api, second.Text("access_token")) ||
			other.Refresh(app, second.Text("refresh_token")).Text("error") != "invalid_grant" {
			t.Error("a grant without scopes still exists")
		}
		if got := other.Refresh(app, used); got.Text("scope") != "read delete" {
			t.Errorf("a repeat within the reuse window gave %d %s", got.Status, got.Body)
		}
		if got := other.Refresh(app, repeated.Text("refresh_token")); got.Text("scope") != "read delete" {
			t.Errorf("refresh gave %d %s", got.Status, got.Body)
		} else if got := other.PostAs(app, "/oauth/token", url.Values{
			"grant_type":    {"refresh_token"},
			"refresh_token": {got.Text("refresh_token")},
			"scope":         {"write"},
		}); got.Text("error") != "invalid_scope" {
			t.Errorf("refresh with the refused scope gave %d %s", got.Status, got.Body)
		}
		if got := other.Exchange(app, unused); got.Text("scope") != "read" {
			t.Errorf("the unused code gave %d %s", got.Status, got.Body)
		}
		if got := other.Introspect(api, elsewhere.Text("access_token")).Text("scope"); got != "read write" {
			t.Errorf("another app has %q now", got)
		}
		body := rig.Plain(b.Get("/settings/connected-apps").Body)
		if strings.Count(body, "Create and change your data") != 1 {
			t.Errorf("Connected apps says %s", body)
		}
		if a := b.Authorize(app.Params("write")); a.Location != nil {
			t.Errorf("what was refused came back without asking: %v", a.Location)
		}
	})
}

// Grants for other workspaces and resources stay, and so do all grants if the user denies.
func TestV09_OtherWorkspacesResourcesAndDenialsNarrowNothing(t *testing.T) {
	resources := oneAndTwo()
	rig.Each(t, rig.Options{Resources: resources}, func(t *testing.T, r *rig.Rig) {
		team := storage.Workspace{ID: storage.NewID("ws"), Slug: "team", Name: "Team"}
		if err := r.Store.InTx(r.System(), func(ctx context.Context) error {
			return r.Store.InsertWorkspace(ctx, team, r.Alice.ID)
		}); err != nil {
			t.Fatal(err)
		}
		ids := []string{resources[0].ID, resources[1].ID}
		app := r.App(management.ClientSpec{
			RedirectURIs: []string{"https://app.example/cb"}, Scopes: []string{"read", "write"}, Resources: ids,
		})
		api := r.App(management.ClientSpec{Name: "APIs", ResourceServer: true, Resources: ids})
		b := r.Browser().SignIn(r.Alice.Email)
		personal, err := r.Store.PersonalWorkspace(r.System(), r.Alice.ID)
		if err != nil {
			t.Fatal(err)
		}
		grant := func(resource, workspace string, scopes ...string) string {
			params := askedAgain(app, "read write")
			params.Set("resource", resource)
			a := b.Decide(b.Authorize(params), "approve", func(v url.Values) {
				v["scope"], v["workspace"] = scopes, []string{workspace}
			})
			tok := r.Exchange(app, a.Param("code"))
			if tok.Status != http.StatusOK {
				t.Fatalf("%d %s", tok.Status, tok.Body)
			}
			return tok.Text("access_token")
		}
		here := grant(ids[0], personal.Slug, "read", "write")
		there := grant(ids[0], team.Slug, "read", "write")
		elsewhere := grant(ids[1], personal.Slug, "read", "write")
		params := askedAgain(app, "read write")
		if a := b.Decide(b.Authorize(params), "deny"); a.Param("error") != "access_denied" {
			t.Fatalf("%d %v", a.Status, a.Location)
		}
		want := func(when, token, scope string) {
			t.Helper()
			if got := r.Introspect(api, token).Text("scope"); got != scope {
				t.Errorf("%s a token has %q, want %q", when, got, scope)
			}
		}
		want("after a denial", here, "read write")
		grant(ids[0], personal.Slug, "read")
		want("narrowed", here, "read")
		want("in another workspace", there, "read write")
		want("for another resource", elsewhere, "read write")
	})
}

func oneAndTwo() []catalog.Resource {
	scopes := []catalog.Scope{{Name: "read", Text: "Read"}, {Name: "write", Text: "Write"}}
	return []catalog.Resource{
		{ID: "https://one.example", Name: "One", Scopes: scopes},
		{ID: "https://two.example", Name: "Two", Scopes: scopes},
	}
}

// No token keeps a refused scope, even if refreshes and answers come at the same time.
func TestV09_NarrowingAndRefreshAtOnce(t *testing.T) {
	rig.EachNodes(t, rig.Options{AtOnce: true}, func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		b := r.Browser().SignIn(r.Alice.Email)
		tok := r.Exchange(app, b.Code(app, "read write"))
		page := b.Authorize(askedAgain(app, "read write"))
		answers := make([]*rig.Answer, 4)
		rig.AtOnce(len(answers), func(i int) {
			if i == 0 {
				answers[i] = decideScopes(b, page, "read")
				return
			}
			answers[i] = other.Refresh(app, tok.Text("refresh_token"))
		})
		for _, a := range answers[1:] {
			if token := a.Text("access_token"); token != "" {
				if got := other.Introspect(api, token).Text("scope"); got != "read" {
					t.Errorf("a token refreshed at the same time has %q", got)
				}
			}
		}
	})
}

// Refusing a scope also removes the scopes that would imply it, and keeps the other scopes that those implied.
func TestV09_WhatIncludesARefusedScopeGoesToo(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{Scopes: []string{"read", "write", "delete", "admin"}}), r.ResourceServer()
	b := r.Browser().SignIn(r.Alice.Email)
	tok := r.Exchange(app, b.Code(app, "admin"))
	if a := decideScopes(b, b.Authorize(askedAgain(app, "read write")), "read"); a.Param("code") == "" {
		t.Fatalf("%d %s", a.Status, rig.Plain(a.Body))
	}
	got := strings.Fields(r.Introspect(api, tok.Text("access_token")).Text("scope"))
	if slices.Sort(got); !slices.Equal(got, []string{"delete", "read"}) {
		t.Errorf("the token has %v", got)
	}
	if a := b.Authorize(app.Params("admin")); a.Location != nil {
		t.Errorf("admin came back without asking: %v", a.Location)
	}
}

// JWTs issued after the answer do not contain the refused scope, and the server refuses it in JWTs issued before.
func TestV09_JWTsAreNarrowed(t *testing.T) {
	r := rig.Memory(t, signing())
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	b := r.Browser().SignIn(r.Alice.Email)
	tok := r.Exchange(app, b.Code(app, "read write"))
	decideScopes(b, b.Authorize(askedAgain(app, "read write")), "read")
	if got := r.Introspect(api, tok.Text("access_token")).Text("scope"); got != "read" {
		t.Errorf("introspection of the earlier JWT says %q", got)
	}
	r.Advance(time.Minute)
	if got := part(t, r.Refresh(app, tok.Text("refresh_token")).Text("access_token"), 1)["scope"]; got != "read" {
		t.Errorf("the refreshed JWT says %v", got)
	}
}

// everything is a catalogue in which scopes imply other scopes.
func everything() rig.Options {
	return rig.Options{Resources: []catalog.Resource{{
		ID: "https://api.example", Name: "API", Objects: []string{"files"}, WorkspaceHeader: "X-Workspace",
		Keys: catalog.KeyRules{Prefix: "sk", Environments: []string{"live", "test"}},
		Scopes: []catalog.Scope{
			{Name: "read", Text: "Read"},
			{Name: "write", Text: "Write"},
			{Name: "delete", Text: "Delete"},
			{Name: "manage", Text: "Manage", Implies: []string{"write"}},
			{Name: "admin", Text: "Everything", Implies: []string{"read", "manage", "delete"}},
		},
	}}}
}

// If a requested scope is not in the user's answer, no token covers it, even through a scope that implies it.
func TestV14_ARefusedScopeIsNeverImplied(t *testing.T) {
	all := "read write delete manage admin files:read files:write"
	r := rig.Memory(t, everything())
	app := r.App(management.ClientSpec{Scopes: strings.Fields(all)})
	api := r.ResourceServer()
	b := r.Browser().SignIn(r.Alice.Email)
	for _, x := range []struct{ asked, allowed, want string }{
		{"read write delete admin", "read admin", "read"},
		{"read write delete admin", "admin", ""},
		{"admin write", "admin", ""},
		{"admin write", "write", "write"},
		{"manage write", "manage", ""},
		{"admin manage read", "admin read", "read"},
		{"write files:write", "write", ""},
		{"write files:write read", "write read", "read"},
		{"write files:write", "files:write", "files:write"},
		{"files:read files:write", "files:read", "files:read"},
		{"admin files:write", "admin", ""},
		{"admin", "admin", "admin read manage write delete"},
		{"read write delete manage admin", "read write delete manage admin", "read write delete manage admin"},
		{"read write delete manage admin", "admin read write delete manage", "read write delete manage admin"},
	} {
		a := decideScopes(b, b.Authorize(askedAgain(app, x.asked)), strings.Fields(x.allowed)...)
		code := a.Param("code")
		if x.want == "" {
			if code != "" || a.Status != http.StatusBadRequest || !strings.Contains(rig.Plain(a.Body), "are denied as well") {
				t.Errorf("%q of %q answered %d %v", x.allowed, x.asked, a.Status, a.Location)
			}
			continue
		}
		tok := r.Exchange(app, code)
		got := r.Introspect(api, tok.Text("access_token")).Text("scope")
		if got != x.want {
			t.Errorf("%q of %q gave %q, want %q", x.allowed, x.asked, got, x.want)
		}
		refreshed := r.Refresh(app, tok.Text("refresh_token")).Text("access_token")
		if got := r.Introspect(api, refreshed).Text("scope"); got != x.want {
			t.Errorf("%q of %q refreshed to %q, want %q", x.allowed, x.asked, got, x.want)
		}
	}
}

// The page shows implied scopes under their scope, once, and allows and refuses them together.
func TestV14_TheConsentPageShowsImpliedScopesUnderTheirOwn(t *testing.T) {
	r := rig.Memory(t, everything())
	app := r.App(management.ClientSpec{Scopes: []string{"read", "write", "delete", "manage", "admin", "files:read"}})
	b := r.Browser().SignIn(r.Alice.Email)
	boxes := func(scope string, change ...func(url.Values)) []string {
		params := app.Params(scope)
		for _, f := range change {
			f(params)
		}
		page := b.Authorize(params)
		if page.Location != nil {
			t.Fatalf("%q was not asked about", scope)
		}
		return b.Form(page, "/oauth/consent")["scope"]
	}
	again := func(v url.Values) { v.Set("prompt", "consent") }
	for _, x := range []struct {
		asked string
		want  []string
	}{
		{"read write delete admin", []string{"admin read write delete"}},
		{"read manage write", []string{"read", "manage write"}},
		{"read files:read delete", []string{"read files:read", "delete"}},
		{"admin", []string{"admin"}},
	} {
		if got := boxes(x.asked, again); !slices.Equal(got, x.want) {
			t.Errorf("%q is asked as %q, want %q", x.asked, got, x.want)
		}
	}
	// Submitted unchanged, the page grants everything, and the next request for the same scopes needs no page.
	page := b.Authorize(askedAgain(app, "read write delete admin"))
	if body := rig.Plain(page.Body); !strings.Contains(body, "Everything Includes: Read , Manage , Write , Delete") {
		t.Errorf("the page says %s", body)
	}
	if got := r.Exchange(app, b.Decide(page, "approve").Param("code")).Text("scope"); got != "read write delete admin" {
		t.Errorf("granted %q", got)
	}
	if a := b.Authorize(app.Params("read write delete admin")); a.Location == nil {
		t.Error("asked again")
	}
	// Remembered scopes stay if a scope that includes them is refused; a remembered scope that would now imply a new one
	// needs consent.
	bob := r.Browser().SignIn(r.User("bob@example.com", "Bob", false).Email)
	b = bob
	b.Code(app, "read write")
	if got := boxes("read write admin"); !slices.Equal(got, []string{"admin read write", "read", "write"}) {
		t.Errorf("a new scope that includes known ones is asked as %q", got)
	}
	b.Code(app, "manage")
	if got := boxes("manage write delete"); !slices.Equal(got, []string{"delete", "manage write"}) {
		t.Errorf("%q", got)
	}
	if a := decideScopes(b, b.Authorize(app.Params("read write manage delete")), "delete", "read"); a.Param("code") == "" {
		t.Fatalf("%d %s", a.Status, rig.Plain(a.Body))
	}
	if got := boxes("manage write"); !slices.Equal(got, []string{"manage write"}) {
		t.Errorf("%q", got)
	}
}
