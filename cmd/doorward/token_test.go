package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"doorward/storage"
)

func TestTokenCommands(t *testing.T) { testTokenCommands(t, newCLI(t)) }

func testTokenCommands(t *testing.T, c *cli) {
	c.must("", "migrate")
	c.people("ann@example.com", "bob@example.com")
	made := c.object(
		"",
		"token",
		"create",
		"--user",
		"Ann@example.com",
		"--name",
		"My laptop",
		"--scope",
		"read write",
		"--role",
		"member",
		"--expires",
		"90d",
	)
	id, token := text(t, made, "id"), text(t, made, "token")
	if !strings.HasPrefix(token, "pat_") || !strings.HasPrefix(id, "token_") || made["key"] != nil ||
		made["role"] != "member" ||
		made["expires_at"] == nil {
		t.Errorf("created %v", made)
	}
	store := c.database()
	ann, err := store.UserByEmail(storage.System(t.Context()), "ann@example.com")
	if err != nil {
		t.Fatal(err)
	}
	personal, err := store.PersonalWorkspace(storage.System(t.Context()), ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	k, err := store.KeyByID(storage.System(t.Context()), id)
	if err != nil || k.CreatedBy != "" {
		t.Errorf("created by %q, want an empty ID: %v", k.CreatedBy, err)
	}
	store.Close()

	answer := c.object("", "introspect", token)
	for member, want := range map[string]any{"active": true, "credential": "personal_access_token", "sub": ann.ID, "scope": "read write", "key_id": id, "workspace": nil} {
		if answer[member] != want {
			t.Errorf("introspection says %s %v, want %v", member, answer[member], want)
		}
	}
	if list := c.array("token", "list", "--user", "ann@example.com"); len(list) != 1 || list[0]["id"] != id ||
		list[0]["token"] != nil ||
		list[0]["state"] != "active" {
		t.Errorf("the list: %v", list)
	}
	if list := c.array("token", "list", "--user", "bob@example.com"); len(list) != 0 {
		t.Errorf("another user's list: %v", list)
	}
	if c.must("", "user", "disable", "ann@example.com"); c.active(token) {
		t.Error("it acts for a disabled user")
	}
	if c.must("", "user", "enable", "ann@example.com"); !c.active(token) {
		t.Error("it does not work after its user was enabled")
	}
	out := c.must("", "token", "create", "--user", "ann@example.com", "--name", "Other", "--scope", "read")
	if !strings.HasSuffix(out, "\n\nThe token is not shown again.\n") ||
		strings.Count(out, "pat_") != 2 { // the token and its prefix
		t.Errorf("create prints:\n%s", out)
	}
	for range 2 {
		if got := c.object("", "token", "revoke", id); got["state"] != "revoked" || got["token"] != nil || c.active(token) {
			t.Errorf("revoked: %v", got)
		}
	}
	if list := c.must("", "token", "list", "--user", "ann@example.com"); strings.Contains(list, token) ||
		!strings.Contains(list, "revoked") ||
		!strings.Contains(list, "pat_…"+token[len(token)-4:]) {
		t.Errorf("list prints:\n%s", list)
	}
	events := slices.DeleteFunc(
		c.audited(personal.ID),
		func(action string) bool { return strings.HasPrefix(action, "user.") },
	)
	if diff := cmp.Diff([]string{"personal_access_token.created", "workspace.disabled", "workspace.enabled", "personal_access_token.created", "personal_access_token.revoked"}, events); diff != "" {
		t.Errorf("audit events (-want +got):\n%s", diff)
	}
}
