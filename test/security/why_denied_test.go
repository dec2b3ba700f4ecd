package security

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/test/rig"
	"doorward/web/gateway"
	"doorward/web/gateway/route"
)

// The owner of a key or the developer of an app finds a request by its id, and reads which rule refused it and what
// would have been allowed; no other user does.
func TestTheOwnerFindsWhyARequestWasRefused(t *testing.T) {
	const api = "https://api.example.com"
	o := rig.Options{
		Resources: []catalog.Resource{{
			ID:              api,
			Name:            "Example API",
			Scopes:          []catalog.Scope{{Name: "read", Text: "Read"}, {Name: "write", Text: "Write"}},
			WorkspaceHeader: "X-Workspace",
			Keys:            catalog.KeyRules{Prefix: "sk", Environments: []string{"live"}},
		}},
		APIs: []gateway.API{{
			ID: api, Hosts: []string{"api.example.com"}, Upstream: &url.URL{Scheme: "http", Host: "127.0.0.1:1"},
			Routes: []route.Route{{Methods: []string{"POST"}, Path: "/v1/**", Scopes: []string{"write"}, Cost: 1}},
		}},
	}
	rig.Each(t, o, func(t *testing.T, r *rig.Rig) {
		r.User("bob@example.com", "Bob", false)
		acme := r.Workspace("acme", "", r.Alice)
		k, key := r.Key(acme, apikey.Spec{Scopes: []string{"read"}})
		app := r.App(management.ClientSpec{WorkspaceID: acme.ID, Scopes: []string{"read"}, Resources: []string{api}})
		access, _ := r.Tokens(app, "read")
		refused := func(credential string) string {
			q := r.Request(http.MethodPost, "/v1/accounts", strings.NewReader("{}"), "Authorization", "Bearer "+credential)
			q.Host = "api.example.com"
			a := r.Send(r.Program(), q)
			if a.Status != http.StatusForbidden {
				t.Fatalf("%d %s", a.Status, a.Body)
			}
			return a.Header.Get("X-Request-Id")
		}
		byKey, byApp := refused(key), refused(access)
		const why = "the route POST /v1/** requires the scope write; the credential has only the scope read"
		alice := r.Browser().SignIn("alice@example.com")
		keyPage, appPage := keysPage("acme")+"/"+k.ID, "/settings/workspaces/acme/apps/"+app.ID
		for page, id := range map[string]string{keyPage: byKey, appPage: byApp} {
			a := alice.Get(page + "?request=" + id)
			_, found, searched := strings.Cut(a.Body, `<div role="status">`)
			if a.Status != http.StatusOK || !searched || !strings.Contains(rig.Plain(found), why) ||
				!strings.Contains(found, id) {
				t.Errorf("%s: %d %s", page, a.Status, rig.Plain(found))
			}
			if a := alice.Get(page + "?request=nosuchrequest"); !strings.Contains(rig.Plain(a.Body),
				"No request found with the ID nosuchrequest") {
				t.Errorf("%s: %s", page, rig.Plain(a.Body))
			}
		}
		// One owner's page does not reveal the other's requests.
		if a := alice.Get(keyPage + "?request=" + byApp); strings.Contains(a.Body, `role="status"`) &&
			!strings.Contains(rig.Plain(a.Body), "No request found with the ID") {
			t.Error("the page of a key shows a request of an app")
		}
		if a := alice.Get(appPage); strings.Contains(a.Body, "127.0.0.1 ") ||
			strings.Contains(rig.Plain(a.Body), "· 127.0.0.1") {
			t.Error("the page of an app shows from which address its users come")
		}
		stranger := r.Browser().SignIn("bob@example.com")
		for _, page := range []string{keyPage, appPage} {
			a := stranger.Get(page + "?request=" + byKey)
			if a.Status != http.StatusNotFound && a.Status != http.StatusForbidden {
				t.Errorf("a stranger reads %s: %d", page, a.Status)
			}
		}
	})
}
