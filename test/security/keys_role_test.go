package security

import (
	"net/http"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/test/rig"
)

// The role of a personal access token is an upper bound that its holder chose. Without a workspace there is no role, so
// scopes that depend on a role are not available.
func TestV12_APersonalTokenHasNoRoleWithoutAWorkspace(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	api, command := r.ResourceServer(), management.CLI("")
	bob := r.User("bob@example.com", "Bob", false)
	r.Workspace("acme", "", r.Alice)
	tokens := map[string]string{}
	for _, role := range append([]string{""}, catalog.Roles...) {
		_, tokens[role] = r.PersonalToken(bob, apikey.Spec{Name: "as " + role, Role: role, Scopes: []string{"admin"}})
	}
	want := func(when string, scopeOf func(role string) string) {
		t.Helper()
		for role, token := range tokens {
			a := r.Introspect(api, token)
			if a.JSON()["active"] != true || a.JSON()["role"] != nil || a.JSON()["workspace"] != nil ||
				a.Text("scope") != scopeOf(role) {
				t.Errorf("%s a token held to %q is %s", when, role, a.Body)
			}
			got := r.JSON(http.MethodGet, "/v1/auth/test", token, "")
			if got.Status != http.StatusOK || strings.Contains(got.Body, "admin") != strings.Contains(scopeOf(role), "admin") {
				t.Errorf("%s a token held to %q is told %d %s", when, role, got.Status, got.Body)
			}
		}
	}
	everything, reading := "admin read write delete", func(string) string { return "read" }
	want("of an owner everywhere", func(role string) string {
		if role == catalog.RoleViewer {
			return "read"
		}
		return everything
	})
	w, err := r.Store.WorkspaceBySlug(r.System(), "acme")
	ok(t, err)
	command.WorkspaceID = w.ID
	ok(t, r.Management.AddMember(r.System(), command, w, bob.ID, catalog.RoleViewer))
	want("of a viewer somewhere", reading)
	for role, token := range tokens {
		if a := r.Ask(api, token, "workspace", "acme"); a.Text("role") != catalog.RoleViewer || a.Text("scope") != "read" {
			t.Errorf("in the workspace a token held to %q is %s", role, a.Body)
		}
	}
	// Managing one's own tokens does not depend on a role.
	if a := r.JSON(http.MethodGet, "/v1/personal-access-tokens", tokens[""], ""); a.Status != http.StatusOK {
		t.Errorf("a viewer's own tokens: %d %s", a.Status, a.Body)
	}
	if a := r.JSON(http.MethodGet, "/v1/personal-access-tokens", tokens[catalog.RoleViewer],
		""); a.Status != http.StatusForbidden {
		t.Errorf("with a token held to viewer: %d %s", a.Status, a.Body)
	}
	// Nor does naming a workspace make the user a member of it.
	ok(t, r.Management.RemoveMember(r.System(), command, w, bob.ID))
	for role, token := range tokens {
		if a := r.Ask(api, token, "workspace", "acme"); !r.Dead(a) {
			t.Errorf("in a workspace of others a token held to %q is %s", role, a.Body)
		}
	}
}

// An empty workspace name is invalid, with every credential and at every endpoint.
func TestV12_AnEmptyWorkspaceIsInvalid(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	api := r.ResourceServer()
	w := r.Workspace("acme", "", r.Alice)
	_, key := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
	_, token := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
	access, _ := r.Tokens(r.App(management.ClientSpec{}), "read")
	for name, credential := range map[string]string{
		"an API key":              key,
		"a personal access token": token,
		"an access token":         access,
	} {
		if a := r.Ask(api, credential, "workspace", ""); !r.Dead(a) {
			t.Errorf("introspection of %s: %s", name, a.Body)
		}
		for _, path := range []string{"/v1/auth/test", "/v1/api-keys"} {
			if a := r.JSON(http.MethodGet, path, credential, "", "X-Workspace", ""); a.Status != http.StatusForbidden {
				t.Errorf("%s at %s: %d %s", name, path, a.Status, a.Body)
			}
		}
	}
}
