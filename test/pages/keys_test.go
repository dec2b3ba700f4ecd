package pages

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/test/rig"
)

// resources are two APIs; one has objects.
func resources() []catalog.Resource {
	scopes := []catalog.Scope{
		{Name: "read", Text: "Read your data"},
		{Name: "write", Text: "Create and change your data"},
		{Name: "delete", Text: "Delete your data"},
		{Name: "admin", Text: "Everything", Implies: []string{"read", "write", "delete"}},
	}
	keys := catalog.KeyRules{Prefix: "sk", Environments: []string{"live", "test"}, DefaultPlan: "free", TestPlan: "free"}
	crm := keys
	crm.Prefix = "crm"
	return []catalog.Resource{
		{ID: "https://api.example.com", Name: "Example API", Scopes: scopes, Keys: keys, WorkspaceHeader: "X-Workspace"},
		{
			ID:              "https://crm.example.com",
			Name:            "Customers",
			Scopes:          scopes,
			Objects:         []string{"opportunities", "accounts", "contacts"},
			Keys:            crm,
			WorkspaceHeader: "X-Workspace",
		},
	}
}

// lived creates keys that have been in use for a month, and puts the clock back.
func lived(t *testing.T, r *rig.Rig, w storage.Workspace) {
	t.Helper()
	const days = 29
	r.Advance(-days * 24 * time.Hour)
	by, _, _, err := r.Management.PersonAuthority(t.Context(), r.Alice.ID, w.Slug)
	if err != nil {
		t.Fatal(err)
	}
	by.Fresh = true
	var keys []storage.APIKey
	for _, p := range []apikey.Spec{
		{Name: "Night import", Scopes: []string{"read", "write"}, ExpiresAt: r.Store.Now().Add(90 * 24 * time.Hour)},
		{Name: "Dashboard", Scopes: []string{"read"}, ExpiresAt: r.Store.Now().Add(39 * 24 * time.Hour)},
		{Name: "Staging", Scopes: []string{"read", "write", "delete"}, Environment: "test"},
		{
			Name:     "Sales sync",
			Resource: "https://crm.example.com",
			Scopes:   []string{"opportunities:read", "opportunities:write", "accounts:read"},
		},
		{Name: "Old dashboard", Scopes: []string{"read"}, ExpiresAt: r.Store.Now().Add(20 * 24 * time.Hour)},
	} {
		ctx := storage.WithActor(t.Context(), &storage.Actor{
			UserID: r.Alice.ID, Credential: "session", Address: "192.0.2.10",
		})
		k, _, err := r.Management.CreateKey(storage.Tenant(ctx, r.Alice.ID, w.ID), by, w.Plan, p)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	for day := range days + 1 {
		for i, k := range keys[:4] {
			for n := range (4+(day*7+i*5)%13)*(12-3*i) + 1 {
				use := storage.Use{
					WorkspaceID: w.ID, CredentialID: k.ID, Credential: k.Kind, RequestID: fmt.Sprintf("0195a0c0%016x", day*1000+n),
					Action: "GET /v1/documents", Status: http.StatusOK, Address: "192.0.2.10",
				}
				switch {
				case n%17 == 13 && day%3 == 1:
					use.Status, use.Reason, use.Limited = http.StatusTooManyRequests, bearer.ReasonLimit, true
				case n%23 == 5:
					use.Status, use.Reason, use.Action = http.StatusForbidden, bearer.ReasonScope("delete"), "DELETE /v1/documents/17"
				}
				r.Store.NoteUse(use)
			}
			if day == days-i*i {
				r.Store.TouchKey(k.ID, "192.0.2.10")
			}
		}
		if err := errors.Join(r.Store.FlushUsage(r.System()), r.Store.FlushTouches(r.System())); err != nil {
			t.Fatal(err)
		}
		if day < days {
			r.Advance(24 * time.Hour)
		}
	}
}

// The pages of API keys and personal access tokens, with scripts and without: a user creates a key, copies it, calls
// with it, sees the call, rotates the key and revokes it, and then it is refused at once.
func TestKeyPages(t *testing.T) {
	for _, javaScript := range []bool{true, false} {
		t.Run(fmt.Sprintf("javascript %v", javaScript), func(t *testing.T) {
			keyPages(t, javaScript)
		})
	}
}

func keyPages(t *testing.T, javaScript bool) {
	t.Helper()
	r := rig.Memory(t, rig.Options{Resources: resources(), Plans: map[string]limit.Plan{
		"free": {Hour: 100, Burst: 20}, "pro": {Hour: 1000, Burst: 100}, "enterprise": {Hour: 10_000},
	}})
	w, err := r.Management.CreateWorkspace(t.Context(), management.CLI(""), "Analytical Engines",
		"analytical-engines", "pro", r.Alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	lived(t, r, w)
	p := newPerson(t, r)
	p.JavaScript(javaScript)
	const list = "/settings/workspaces/analytical-engines/api-keys"
	call := func(key string, header ...string) int {
		q := r.Request(http.MethodGet, "/v1/auth/test", nil, append([]string{"Authorization", "Bearer " + key}, header...)...)
		return r.Send(r.Program(), q).Status
	}

	p.open("/settings/developer/api-keys")
	p.signIn(r.Alice.Email)
	p.checkPage("keys of none")
	p.Press(`.ws-switch summary`)
	p.checkPage("workspace switcher")
	p.Click(`.ws-switch a[href="` + list + `"]`)
	if got := p.URL().Path; got != list {
		t.Fatalf("the switcher leads to %s", got)
	}
	p.checkPage("api keys")
	p.Fill(`[name=q]`, "nothing like it")
	p.Click(`.key-search [type=submit]`)
	p.checkPage("keys without matches")

	p.open(list + "/new")
	p.checkPage("new key")
	p.Fill(`[name=name]`, " ")
	p.Fill(`[name=rate_limit]`, "5000")
	p.Fill(`[name=addresses]`, "somewhere")
	p.Click(`.key-form [type=submit]`)
	p.checkPage("new key with faults")
	p.Fill(`[name=name]`, "Reports")
	p.Fill(`[name=rate_limit]`, "")
	p.Fill(`[name=addresses]`, "")
	p.Press(`[name=resource][value="https://crm.example.com"]`)
	p.Press(`[name=scope-1][value="read"]`)
	p.checkPage("new key for the other API")
	p.Press(`[name=resource][value="https://api.example.com"]`)
	p.Press(`[name=scope-0][value="read"]`)
	p.Click(`.key-form [type=submit]`)
	p.checkPage("key shown")
	key := p.Text("#key")
	if got := call(key); got != http.StatusOK {
		t.Fatalf("a call with the new key answers %d", got)
	}
	p.Click(`a.btn.main`)
	if n := p.Warned(); n > 0 {
		t.Errorf("a user who confirms that the key is stored is asked %d times", n)
	}
	p.checkPage("key with a call")
	if text := p.Text("main"); !strings.Contains(text, "1 request in the last 30 days, none refused") ||
		!strings.Contains(text, "GET /v1/auth/test") || strings.Contains(text, key) {
		t.Errorf("after a call the page of its key says %s", text)
	}
	page := p.URL().Path
	p.Press(`details.unfold summary`)
	p.checkPage("key settings")

	p.Click(`form[action$="/rotate"] [type=submit]`)
	fresh := p.Text("#key")
	if call(key) != http.StatusOK || call(fresh) != http.StatusOK {
		t.Error("while one replaces the other, not both work")
	}
	p.Click(`a.btn.main`)
	p.checkPage("key that replaces another")
	if text := p.Text("main"); !strings.Contains(text, "2 requests in the last 24 hours") {
		t.Errorf("the page does not say what still comes with the old one: %s", text)
	}
	freshPage := p.URL().Path
	p.open(page)
	p.checkPage("key being replaced")
	p.open(freshPage)
	p.Click(`form[action$="/pause"] [type=submit]`)
	p.checkPage("a key is about to be paused")
	p.Click(`form[action$="/pause"] [type=submit]`)
	p.checkPage("key paused")
	if got := call(fresh); got == http.StatusOK {
		t.Error("a paused key works")
	}
	p.Click(`form[action$="/resume"] [type=submit]`)
	p.Fill(`[name=confirm]`, "Reports")
	p.Click(`form[action$="/revoke"] [type=submit]`)
	p.checkPage("keys after one was revoked")
	if got := call(fresh); got != http.StatusUnauthorized {
		t.Errorf("a revoked key is answered with %d", got)
	}
	p.open(freshPage)
	p.checkPage("key revoked")
	p.open(list)
	p.Fill(`[name=q]`, "night")
	p.Click(`.key-search [type=submit]`)
	p.Click(`main .list a[href^="` + list + `/key_"]`)
	p.checkPage("api key")
	// A user asks about a request, with the id that came with the answer.
	p.Fill(`[name=request]`, fmt.Sprintf("0195a0c0%016x", 28*1000+5))
	p.Click(`form[action$="#h-requests"] [type=submit]`)
	p.checkPage("key with a request that was looked for")
	if text := p.Text(`[role=status]`); !strings.Contains(text, "DELETE /v1/documents/17") ||
		!strings.Contains(text, bearer.ReasonScope("delete")) {
		t.Errorf("looked for, the request is told as %s", text)
	}
	p.Fill(`[name=request]`, "unknown-id")
	p.Click(`form[action$="#h-requests"] [type=submit]`)
	p.checkPage("key with a request that is not there")
	if text := p.Text(`[role=status]`); !strings.Contains(text, "No request found with the ID unknown-id") {
		t.Errorf("the page says %s", text)
	}

	const tokens = "/settings/developer/personal-access-tokens"
	p.open(tokens)
	p.checkPage("tokens of none")
	p.open(tokens + "/new")
	p.Fill(`[name=name]`, "Editor")
	p.Press(`[name=scope-0][value="read"]`)
	p.Press(`[name=role][value="viewer"]`)
	p.checkPage("new token")
	if text := p.Text(".key-form .reach"); strings.Contains(text, "owner") {
		t.Errorf("held to viewer, the token would be %s", text)
	}
	p.Click(`.key-form [type=submit]`)
	p.checkPage("token shown")
	token := p.Text("#key")
	if got := call(token, "X-Workspace", w.Slug); got != http.StatusOK {
		t.Errorf("a call with the new token answers %d", got)
	}
	p.Click(`a.btn.main`)
	p.checkPage("token with a call")
	p.open(tokens)
	p.checkPage("tokens")

	bob := r.User("bob@example.com", "Bob", false)
	r.Join(w, bob, catalog.RoleViewer)
	p.ClearCookies()
	p.open(list)
	p.signIn(bob.Email)
	p.checkPage("keys for a viewer")
	if foreign := p.Foreign(strings.TrimPrefix(r.URL, "http://")); len(foreign) > 0 {
		t.Errorf("loaded from elsewhere: %v", foreign)
	}
}
