package main

import (
	stdcmp "cmp"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"doorward/storage"
)

// database opens the database of the commands.
func (c *cli) database() *storage.Store {
	c.t.Helper()
	store, err := storage.Open(
		c.t.Context(),
		stdcmp.Or(c.vars["DOORWARD_DATABASE_URL"], "sqlite:data/doorward.db"),
		storage.Options{MaxConns: 1},
	)
	if err != nil {
		c.t.Fatal(err)
	}
	return store
}

// audited returns the audited actions of a workspace or, if it is empty, of the server, oldest first. All must be made
// by the CLI.
func (c *cli) audited(workspaceID string) []string {
	c.t.Helper()
	store := c.database()
	defer store.Close()
	events, err := store.AuditEvents(
		storage.System(c.t.Context()),
		storage.AuditFilter{WorkspaceID: workspaceID, Limit: 100},
	)
	if err != nil {
		c.t.Fatal(err)
	}
	actions := make([]string, len(events))
	for i, e := range events {
		if e.Credential != "command" || e.UserID != "" || e.Target == "" {
			c.t.Errorf("%s is recorded as done by %+v to %q", e.Action, e.Actor, e.Target)
		}
		actions[len(events)-1-i] = e.Action
	}
	return actions
}

// people creates users.
func (c *cli) people(emails ...string) {
	c.t.Helper()
	for _, email := range emails {
		c.must(goodPassword, "user", "create", "--email", email, "--password-stdin")
	}
}

// text returns a member of an object that must be a string.
func text(t *testing.T, object map[string]any, member string) string {
	t.Helper()
	value, ok := object[member].(string)
	if !ok {
		t.Fatalf("%s is not a string in %v", member, object)
	}
	return value
}

func TestWorkspaceCommands(t *testing.T) { testWorkspaceCommands(t, newCLI(t)) }

func testWorkspaceCommands(t *testing.T, c *cli) {
	c.must("", "migrate")
	c.people("ada@example.com", "bob@example.com", "cy@example.com")
	c.writeConfig("plans: {pro: {hour: 10}, free: {hour: 5}}\n")

	made := c.object(
		"",
		"workspace",
		"create",
		"--name",
		"Acme",
		"--slug",
		"acme",
		"--owner",
		"Ada@example.com",
		"--plan",
		"pro",
	)
	id := text(t, made, "id")
	for member, want := range map[string]any{"slug": "acme", "name": "Acme", "plan": "pro", "personal": false, "disabled": false} {
		if made[member] != want {
			t.Errorf("created with %s %v, want %v", member, made[member], want)
		}
	}
	c.fails(
		2,
		`--slug "acme" is taken; choose another`,
		"",
		"workspace",
		"create",
		"--name",
		"Acme",
		"--slug",
		"acme",
		"--owner",
		"ada@example.com",
	)
	c.fails(
		2,
		"--slug must be 2 to 40",
		"",
		"workspace",
		"create",
		"--name",
		"Acme",
		"--slug",
		"Acme!",
		"--owner",
		"ada@example.com",
	)
	c.fails(
		2,
		"--name is missing",
		"",
		"workspace",
		"create",
		"--name",
		" ",
		"--slug",
		"other",
		"--owner",
		"ada@example.com",
	)
	c.fails(
		2,
		`--plan "gold" is not in the configuration`,
		"",
		"workspace",
		"create",
		"--name",
		"Acme",
		"--slug",
		"other",
		"--owner",
		"ada@example.com",
		"--plan",
		"gold",
	)
	c.fails(
		2,
		"--owner: there is no user with the email address",
		"",
		"workspace",
		"create",
		"--name",
		"Acme",
		"--slug",
		"other",
		"--owner",
		"missing@example.com",
	)

	if got := c.object("", "workspace", "update", "acme", "--name", "Acme & Co", "--plan", "free"); got["name"] != "Acme & Co" ||
		got["plan"] != "free" ||
		got["id"] != id {
		t.Errorf("updated: %v", got)
	}
	if got := c.object("", "workspace", "update", "acme", "--plan", ""); got["name"] != "Acme & Co" || got["plan"] != "" {
		t.Errorf("updated without a plan: %v", got)
	}
	c.fails(2, "--plan", "", "workspace", "update", "acme", "--plan", "gold")
	if got := c.object("", "workspace", "disable", "acme"); got["disabled"] != true {
		t.Errorf("disabled: %v", got)
	}
	if got := c.object("", "workspace", "enable", "acme"); got["disabled"] != false {
		t.Errorf("enabled: %v", got)
	}

	if got := c.object("", "workspace", "member", "add", "acme", "BOB@example.com", "--role", "member"); got["email"] != "bob@example.com" ||
		got["role"] != "member" ||
		got["workspace"] != "acme" {
		t.Errorf("added: %v", got)
	}
	c.fails(
		1,
		"is already a member of \"acme\"",
		"",
		"workspace",
		"member",
		"add",
		"acme",
		"bob@example.com",
		"--role",
		"admin",
	)
	c.fails(
		2,
		`role "boss" is not a role; use viewer, member, admin, owner`,
		"",
		"workspace",
		"member",
		"add",
		"acme",
		"cy@example.com",
		"--role",
		"boss",
	)
	c.fails(2, `role "boss" is not a role`, "", "workspace", "member", "role", "acme", "bob@example.com", "boss")
	c.fails(1, "is the only owner", "", "workspace", "member", "role", "acme", "ada@example.com", "admin")
	c.fails(1, "is the only owner", "", "workspace", "member", "remove", "acme", "ada@example.com")
	c.fails(1, "is not a member of", "", "workspace", "member", "role", "acme", "cy@example.com", "admin")
	c.fails(1, "is not a member of", "", "workspace", "member", "remove", "acme", "cy@example.com")
	if got := c.object("", "workspace", "member", "role", "acme", "bob@example.com", "owner"); got["role"] != "owner" {
		t.Errorf("after the change of role: %v", got)
	}
	if got := c.object("", "workspace", "member", "remove", "acme", "ada@example.com"); got["email"] != "ada@example.com" {
		t.Errorf("removed: %v", got)
	}
	if out := c.must("", "workspace", "member", "add", "acme", "ada@example.com", "--role", "viewer"); !strings.HasPrefix(
		out,
		"Added ada@example.com (user_",
	) ||
		!strings.HasSuffix(out, ") in acme as viewer.\n") {
		t.Errorf("member add prints %q", out)
	}

	c.must(goodPassword, "user", "create", "--email", "new@example.com", "--password-stdin")
	invited := c.object("", "workspace", "invite", "acme", "new@example.com", "--role", "admin")
	link := text(t, invited, "link")
	if !strings.HasPrefix(link, "http://localhost:8080/join/dw_in_") || invited["email"] != "new@example.com" ||
		invited["role"] != "admin" ||
		invited["expires_at"] == nil ||
		!strings.HasPrefix(text(t, invited, "id"), "invitation_") {
		t.Errorf("invited: %v", invited)
	}
	if out := c.must("", "workspace", "invite", "acme", "new@example.com", "--role", "viewer"); !strings.Contains(
		out,
		"\n\nhttp://localhost:8080/join/dw_in_",
	) ||
		strings.Contains(out, link) {
		t.Errorf("invite prints %q", out)
	}
	c.fails(
		2,
		"email already belongs to a member",
		"",
		"workspace",
		"invite",
		"acme",
		"bob@example.com",
		"--role",
		"viewer",
	)
	c.fails(2, "Enter one email address, such as name@example.com", "", "workspace", "invite", "acme", "bob", "--role", "viewer")
	c.fails(2, `role "boss" is not a role`, "", "workspace", "invite", "acme", "new@example.com", "--role", "boss")

	personal := ""
	for _, row := range c.array("workspace", "list") {
		if row["personal"] == true && row["name"] == "bob@example.com" {
			personal = text(t, row, "slug")
		}
	}
	c.fails(1, "to delete it with its user, run: doorward user delete", "", "workspace", "delete", personal)
	c.fails(1, "is a personal workspace", "", "workspace", "invite", personal, "new@example.com", "--role", "viewer")
	c.fails(
		1,
		"is a personal workspace",
		"",
		"workspace",
		"member",
		"add",
		personal,
		"ada@example.com",
		"--role",
		"viewer",
	)
	c.fails(1, "is a personal workspace", "", "workspace", "member", "remove", personal, "bob@example.com")
	for _, args := range [][]string{
		{"update", "missing"},
		{"update", "ACME"},
		{"update", "%"},
		{"update", "acme\x00"},
		{"disable", "missing"},
		{"enable", "missing"},
		{"delete", "missing"},
		{"invite", "missing", "a@example.com", "--role", "viewer"},
		{"member", "add", "missing", "ada@example.com", "--role", "viewer"},
		{"member", "remove", "missing", "ada@example.com"},
		{"member", "role", "missing", "ada@example.com", "viewer"},
	} {
		c.fails(1, "there is no workspace ", "", append([]string{"workspace"}, args...)...)
	}
	c.fails(
		1,
		"there is no user with the email address",
		"",
		"workspace",
		"member",
		"remove",
		"acme",
		"missing@example.com",
	)

	if list := c.must("", "workspace", "list"); !strings.Contains(list, "acme") || !strings.Contains(list, "personal") ||
		strings.Count(list, "\n") != 6 {
		t.Errorf("list prints:\n%s", list)
	}
	if out := c.must("", "workspace", "delete", "acme"); out != "Deleted acme ("+id+").\n" {
		t.Errorf("delete prints %q", out)
	}
	c.fails(1, "there is no workspace", "", "workspace", "delete", "acme")

	// The audit log keeps the events of a deleted workspace.
	want := []string{
		"workspace.created", "workspace.updated", "workspace.updated", "workspace.disabled", "workspace.enabled", "member.added", "member.role_changed",
		"member.removed", "member.added", "invitation.created", "invitation.created", "workspace.deleted",
	}
	if diff := cmp.Diff(want, c.audited(id)); diff != "" {
		t.Errorf("audit events (-want +got):\n%s", diff)
	}
}

// Workspaces with another owner stay when a user is deleted; the deleted ones are listed.
func TestUserDeleteListsTheDeletedWorkspaces(t *testing.T) {
	onEachEngine(t, func(t *testing.T, c *cli) {
		c.must("", "migrate")
		c.people("ada@example.com", "bob@example.com")
		for _, slug := range []string{"mine", "ours"} {
			c.must("", "workspace", "create", "--name", "The "+slug, "--slug", slug, "--owner", "bob@example.com")
		}
		c.must("", "workspace", "member", "add", "mine", "ada@example.com", "--role", "admin")
		c.must("", "workspace", "member", "add", "ours", "ada@example.com", "--role", "owner")
		got := c.object("", "user", "delete", "bob@example.com")
		gone, _ := got["workspaces"].([]any)
		if got["email"] != "bob@example.com" || len(gone) != 2 || gone[0].(map[string]any)["personal"] != true ||
			gone[1].(map[string]any)["slug"] != "mine" {
			t.Errorf("deleted %v", got)
		}
		for _, row := range c.array("workspace", "list") {
			if row["slug"] == "mine" {
				t.Errorf("%v still exists", row)
			}
		}
		c.must("", "workspace", "update", "ours", "--name", "Ours")

		c.people("cy@example.com")
		c.must("", "workspace", "create", "--name", "Last", "--slug", "last", "--owner", "cy@example.com")
		if out := c.must("", "user", "delete", "cy@example.com"); !strings.Contains(out, "Deleted cy@example.com (user_") ||
			!strings.Contains(out, "last      ") ||
			!strings.Contains(out, "Last") {
			t.Errorf("user delete prints %q", out)
		}
	})
}

// writeConfig writes a configuration file for the following commands.
func (c *cli) writeConfig(yaml string) {
	c.t.Helper()
	if err := os.WriteFile("c.yaml", []byte(yaml), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.vars["DOORWARD_CONFIG"] = "c.yaml"
}
