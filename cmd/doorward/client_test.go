package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"doorward/storage"
)

func TestClientCommands(t *testing.T) { testClientCommands(t, newCLI(t)) }

func testClientCommands(t *testing.T, c *cli) {
	c.must("", "migrate")
	app := c.object("", "client", "create", "--name", "App", "--site", "https://app.example.com", "--scope", "read write",
		"--redirect-uri", "https://app.example.com/cb?a=1,2", "--redirect-uri", "http://127.0.0.1/cb")
	id, _ := app["client_id"].(string)
	secret, _ := app["client_secret"].(string)
	if !strings.HasPrefix(id, "app_") || !strings.HasPrefix(secret, "dw_cs_") || app["scope"] != "read write" ||
		app["pkce"] != "required" {
		t.Errorf("created %v", app)
	}
	if diff := cmp.Diff([]any{"https://app.example.com/cb?a=1,2", "http://127.0.0.1/cb"}, app["redirect_uris"]); diff != "" {
		t.Errorf("redirect URIs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]any{"authorization_code", "refresh_token"}, app["grant_types"]); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
	if _, there := app["workspace_id"]; there {
		t.Errorf("an app created without --workspace belongs to one: %v", app)
	}
	ann := c.object(goodPassword, "user", "create", "--email", "ann@example.com", "--admin", "--password-stdin")
	store := c.database()
	workspace, err := store.PersonalWorkspace(storage.System(t.Context()), ann["id"].(string))
	store.Close()
	if err != nil {
		t.Fatal(err)
	}
	if own := c.object("", "client", "create", "--name", "Own", "--scope", "read", "--redirect-uri", "https://own.example.com/cb", "--workspace", workspace.Slug); own["workspace_id"] != workspace.ID {
		t.Errorf("created in workspace %v, want %s", own["workspace_id"], workspace.ID)
	}
	c.fails(2, "there is no workspace", "", "client", "create", "--name", "Own", "--scope", "read",
		"--redirect-uri", "https://own.example.com/cb", "--workspace", "missing")
	shown := c.object("", "client", "show", id)
	if _, there := shown["client_secret"]; there {
		t.Error("the secret is shown again")
	}
	delete(app, "client_secret")
	if diff := cmp.Diff(app, shown); diff != "" {
		t.Errorf("show differs from create (-create +show):\n%s", diff)
	}

	updated := c.object(
		"",
		"client",
		"update",
		id,
		"--name",
		"New",
		"--site",
		"",
		"--pkce",
		"optional",
		"--first-party",
		"--verified",
		"--redirect-uri",
		"https://new.example.com/cb",
	)
	for key, want := range map[string]any{"client_name": "New", "client_uri": nil, "pkce": "optional", "first_party": true, "verified": true, "scope": "read write"} {
		if updated[key] != want {
			t.Errorf("after update, %s is %v, want %v", key, updated[key], want)
		}
	}
	if diff := cmp.Diff([]any{"https://new.example.com/cb"}, updated["redirect_uris"]); diff != "" {
		t.Errorf("redirect URIs are not replaced:\n%s", diff)
	}
	if got := c.object("", "client", "update", id, "--no-verified", "--scope", "read"); got["verified"] != false ||
		got["scope"] != "read" ||
		got["first_party"] != true {
		t.Errorf("after the second update: %v", got)
	}
	c.fails(2, "--scope", "", "client", "update", id, "--scope", "reed")

	rotated := c.object("", "client", "secret", "rotate", id)
	if next, _ := rotated["client_secret"].(string); next == secret || !strings.HasPrefix(next, "dw_cs_") ||
		len(rotated["secrets"].([]any)) != 2 {
		t.Errorf("rotated: %v", rotated)
	}
	if got := c.object("", "client", "secret", "rotate", id, "--grace", "0"); len(got["secrets"].([]any)) != 1 {
		t.Errorf("without grace: %v", got)
	}
	if got := c.object("", "client", "disable", id); got["disabled"] != true {
		t.Errorf("disabled: %v", got)
	}
	if got := c.object("", "client", "enable", id); got["disabled"] != false {
		t.Errorf("enabled: %v", got)
	}

	public := c.object(
		"",
		"client",
		"create",
		"--name",
		"Public",
		"--public",
		"--redirect-uri",
		"com.example.app:/cb",
		"--scope",
		"read",
	)
	if _, there := public["client_secret"]; there || public["public"] != true {
		t.Errorf("public: %v", public)
	}
	c.fails(2, "Public clients have no secret", "", "client", "secret", "rotate", public["client_id"].(string))
	server := c.object("", "client", "create", "--name", "API", "--resource-server", "--resource", "http://localhost:8080")
	if server["resource_server"] != true || server["client_secret"] == nil {
		t.Errorf("resource server: %v", server)
	}
	c.fails(2, "--grant", "", "client", "create", "--name", "Nothing", "--scope", "read")
	c.fails(
		2,
		"--pkce",
		"",
		"client",
		"create",
		"--name",
		"P",
		"--public",
		"--pkce",
		"optional",
		"--redirect-uri",
		"https://a.example/cb",
		"--scope",
		"read",
	)

	if list := c.array("client", "list"); len(list) != 4 {
		t.Errorf("%d clients, want 4", len(list))
	}
	c.object("", "client", "delete", id)
	for _, args := range [][]string{{"show", id}, {"delete", id}, {"disable", id}, {"enable", id}, {"update", id}, {"secret", "rotate", id}} {
		c.fails(1, "there is no app", "", append([]string{"client"}, args...)...)
	}
	if text := c.must("", "client", "list"); strings.Contains(text, "New") || !strings.Contains(text, "resource server") {
		t.Errorf("list prints:\n%s", text)
	}
}
