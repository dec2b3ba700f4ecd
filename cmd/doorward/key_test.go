package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"doorward/oauth/apikey"
	"doorward/oauth/input"
	"doorward/storage"
)

// active reports whether introspect says that a credential is active.
func (c *cli) active(credential string) bool {
	c.t.Helper()
	return c.object(credential+"\n", "introspect", "-")["active"] == true
}

// The lifecycle of a key, with the CLI alone.
func TestKeyLifecycle(t *testing.T) { testKeyLifecycle(t, newCLI(t)) }

func testKeyLifecycle(t *testing.T, c *cli) {
	c.must("", "migrate")
	c.people("ann@example.com")
	workspace := c.object("", "workspace", "create", "--name", "Acme", "--slug", "acme", "--owner", "ann@example.com")
	made := c.object(
		"",
		"key",
		"create",
		"--workspace",
		"acme",
		"--name",
		"Nightly import",
		"--scope",
		"read write",
		"--note",
		"of the stock",
		"--rate-limit",
		"500",
		"--expires",
		"90d",
		"--address",
		"192.0.2.0/24",
		"--address",
		"2001:db8::1",
	)
	id, key := text(t, made, "id"), text(t, made, "key")
	if !strings.HasPrefix(key, "sk_live_") || !strings.HasPrefix(id, "key_") || !apikey.WellFormed("sk_live_", key) {
		t.Errorf("created %v", made)
	}
	for member, want := range map[string]any{
		"name": "Nightly import", "note": "of the stock", "workspace": "acme", "workspace_id": workspace["id"], "resource": "http://localhost:8080", "environment": "live",
		"scope": "read write", "rate_limit": 500.0, "state": "active", "prefix": "sk_live_", "tail": key[len(key)-4:],
	} {
		if made[member] != want {
			t.Errorf("%s is %v, want %v", member, made[member], want)
		}
	}
	if diff := cmp.Diff([]any{"192.0.2.0/24", "2001:db8::1/128"}, made["addresses"]); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if at := text(t, made, "expires_at"); at <= text(t, made, "created_at") {
		t.Errorf("it expires at %s", at)
	}

	answer := c.object("", "introspect", key)
	for member, want := range map[string]any{
		"active": true, "credential": "api_key", "workspace": "acme", "workspace_id": workspace["id"], "scope": "read write", "env": "live", "key_id": id, "sub": nil,
		"aud": "http://localhost:8080",
	} {
		if answer[member] != want {
			t.Errorf("introspection says %s %v, want %v", member, answer[member], want)
		}
	}

	// From here on, no output contains a key, except where it was just created.
	seen := []string{key}
	quiet := func(args ...string) map[string]any {
		t.Helper()
		out := c.object("", args...)
		printed := c.must("", "key", "show", id) + c.must("", "key", "list", "--workspace", "acme") + fmt.Sprint(out)
		for _, secret := range seen {
			if strings.Contains(printed, secret) {
				t.Errorf("after doorward %s, a key is shown again:\n%s", strings.Join(args, " "), printed)
			}
		}
		return out
	}
	shown := quiet("key", "show", id)
	delete(made, "key")
	if diff := cmp.Diff(made, shown); diff != "" {
		t.Errorf("show differs from create (-create +show):\n%s", diff)
	}
	if got := quiet("key", "update", id, "--name", "Import", "--note", "", "--scope", "read"); got["name"] != "Import" ||
		got["note"] != nil ||
		got["scope"] != "read" ||
		got["rate_limit"] != 500.0 {
		t.Errorf("updated: %v", got)
	}
	c.fails(2, "The key does not have the scope write", "", "key", "update", id, "--scope", "read write")
	c.fails(2, "--name is missing", "", "key", "update", id, "--name", "")
	if got := quiet("key", "pause", id); got["state"] != "paused" || c.active(key) {
		t.Errorf("paused: %v", got)
	}
	if got := quiet("key", "resume", id); got["state"] != "active" || !c.active(key) {
		t.Errorf("resumed: %v", got)
	}

	c.fails(2, "--grace must be between 0 and 30d", "", "key", "rotate", id, "--grace", "31d")
	rotated := c.object("", "key", "rotate", id)
	next, second := text(t, rotated, "id"), text(t, rotated, "key")
	replaces, _ := rotated["replaces"].([]any)
	if next == id || second == key || rotated["scope"] != "read" || len(replaces) != 1 ||
		replaces[0].(map[string]any)["id"] != id {
		t.Errorf("rotated: %v", rotated)
	}
	seen = append(seen, second)
	if !c.active(key) || !c.active(second) {
		t.Error("while rotating, one of the two does not work")
	}
	if got := quiet("key", "show", id); got["state"] != "rotating" || got["rotated_into"] != next {
		t.Errorf("the old key: %v", got)
	}
	c.fails(1, "is rotating and cannot be rotated; create a new one", "", "key", "rotate", id)
	third := c.object("", "key", "rotate", next, "--grace", "0")
	if c.active(key) || c.active(second) || !c.active(text(t, third, "key")) || third["replaces"] != nil {
		t.Errorf("without grace, and twice: %v", third)
	}
	seen = append(seen, text(t, third, "key"))

	last := text(t, third, "id")
	for range 2 {
		if got := quiet("key", "revoke", last); got["state"] != "revoked" {
			t.Errorf("revoked: %v", got)
		}
	}
	if c.active(text(t, third, "key")) {
		t.Error("a revoked key works")
	}
	c.fails(1, "was revoked, which cannot be undone; create a new one", "", "key", "pause", last)
	c.fails(1, "was revoked, which cannot be undone; create a new one", "", "key", "resume", last)
	c.fails(2, "key is revoked and cannot be changed", "", "key", "update", last, "--name", "New")
	c.fails(1, "is revoked and cannot be rotated", "", "key", "rotate", last)

	if list := c.array("key", "list", "--workspace", "acme"); len(list) != 3 || list[0]["id"] != last ||
		list[2]["id"] != id {
		t.Errorf("the list: %v", list)
	}
	want := []string{
		"workspace.created", "api_key.created", "api_key.updated", "api_key.paused", "api_key.resumed", "api_key.rotated", "api_key.rotated", "api_key.revoked",
	}
	if diff := cmp.Diff(want, c.audited(text(t, workspace, "id"))); diff != "" {
		t.Errorf("audit events (-want +got):\n%s", diff)
	}
}

func TestKeyCommandsWithoutJSON(t *testing.T) {
	c := newCLI(t)
	c.must("", "migrate")
	c.people("ann@example.com")
	c.must("", "workspace", "create", "--name", "Acme", "--slug", "acme", "--owner", "ann@example.com")
	out := c.must("", "key", "create", "--workspace", "acme", "--name", "Import", "--scope", "read", "--test")
	fields := strings.Fields(out)
	id, key := fields[1], fields[3]
	if !strings.HasPrefix(key, "sk_test_") || !strings.HasSuffix(out, "\n\nThe key is not shown again.\n") ||
		strings.Count(out, key) != 1 {
		t.Errorf("create prints:\n%s", out)
	}
	for _, args := range [][]string{{"list", "--workspace", "acme"}, {"show", id}, {"pause", id}, {"resume", id}, {"update", id, "--name", "x"}, {"revoke", id}} {
		if out := c.must("", append([]string{"key"}, args...)...); strings.Contains(out, key) || !strings.Contains(out, id) ||
			!strings.Contains(out, "sk_test_…"+key[len(key)-4:]) {
			t.Errorf("%v prints:\n%s", args, out)
		}
	}
}

func TestKeysForIntrospection(t *testing.T) { onEachEngine(t, testKeysForIntrospection) }

func testKeysForIntrospection(t *testing.T, c *cli) {
	c.writeConfig("resources: [{id: https://a.example, keys: {prefix: a}}, {id: https://b.example, keys: {prefix: b}}]\n")
	c.must("", "migrate")
	c.people("ann@example.com")
	c.must("", "workspace", "create", "--name", "Acme", "--slug", "acme", "--owner", "ann@example.com")
	first := c.object("", "key", "create", "--name", "A's API", "--scope", "introspect")
	second := c.object(
		"",
		"key",
		"create",
		"--name",
		"B's API",
		"--scope",
		"introspect",
		"--resource",
		"https://b.example",
	)
	if first["resource"] != "https://a.example" || second["resource"] != "https://b.example" ||
		second["workspace_id"] != nil ||
		!strings.HasPrefix(text(t, second, "key"), "b_live_") {
		t.Errorf("created %v and %v", first, second)
	}
	c.must("", "key", "create", "--workspace", "acme", "--name", "Other", "--scope", "read")
	if list := c.array("key", "list"); len(list) != 2 || list[0]["id"] != second["id"] || list[1]["id"] != first["id"] {
		t.Errorf("the list without a workspace: %v", list)
	}
	if got := c.object("", "introspect", text(t, first, "key")); got["active"] != true || got["scope"] != "introspect" {
		t.Errorf("introspected itself: %v", got)
	}
	rotated := c.object("", "key", "rotate", text(t, first, "id"))
	c.must("", "key", "revoke", text(t, rotated, "id"))
	if c.active(text(t, rotated, "key")) {
		t.Error("it works after it was revoked")
	}
	events := c.audited("")
	if n := slices.Index(events, "api_key.created"); n < 0 ||
		!cmp.Equal(events[n:], []string{"api_key.created", "api_key.created", "api_key.rotated", "api_key.revoked"}) {
		t.Errorf("audit events of the server: %v", events)
	}
}

func TestKeyCommandsRefuseIncorrectUsage(t *testing.T) {
	c := newCLI(t)
	c.writeConfig(
		"resources: [{id: https://a.example, objects: [notes], keys: {environments: live, max_lifetime: 30d}}]\nplans: " +
			"{free: {hour: 5}}\n",
	)
	c.must("", "migrate")
	c.people("ann@example.com")
	c.must("", "workspace", "create", "--name", "Acme", "--slug", "acme", "--owner", "ann@example.com")
	create := func(args ...string) []string {
		return append(
			[]string{"key", "create", "--workspace", "acme", "--name", "x", "--expires", "1d", "--scope", "read"},
			args...)
	}
	for _, one := range []struct {
		want string
		args []string
	}{
		{"--workspace is missing; choose the one that the key belongs to", []string{"key", "create", "--name", "x", "--expires", "1d", "--scope", "read"}},
		{"belong to a resource, not to a workspace", create("--scope", "introspect")},
		{"introspect cannot be combined", []string{"key", "create", "--name", "x", "--expires", "1d", "--scope", "introspect read"}},
		{`--workspace: there is no workspace "nowhere"`, create("--workspace", "nowhere")},
		{`--workspace: there is no workspace "nowhere"`, []string{"key", "list", "--workspace", "nowhere"}},
		{`--scope "reed" is not a scope of https://a.example`, create("--scope", "reed")},
		{`--scope "books:read" is not`, create("--scope", "books:read")},
		{"--scope is missing", create("--scope", " ")},
		{`--resource "https://b.example" is not in the configuration`, create("--resource", "https://b.example")},
		{`--test "test" is unknown; choose live`, create("--test")},
		{`--plan "gold" is not in the configuration`, create("--plan", "gold")},
		{"--rate-limit must be above 0", create("--rate-limit=-1")},
		{"--rate-limit must be above 0", create("--rate-limit=0")},
		{"--rate-limit exceeds the plan's 5 requests per hour", create("--plan", "free", "--rate-limit", "6")},
		{"--expires is in the past", create("--expires", "0")},
		{"--expires must be within 30 days", create("--expires", "31d")},
		{"--expires must be within 30 days", []string{"key", "create", "--workspace", "acme", "--name", "x", "--scope", "read"}},
		{"--expires: ", create("--expires", "soon")},
		{`--address "everywhere" is not an address or range`, create("--address", "everywhere")},
		{`--address "192.0.2.1/24" has host bits set`, create("--address", "192.0.2.1/24")},
		{"--name is longer than 100 characters", create("--name", strings.Repeat("x", 101))},
		{"--note contains control", create("--note", "\a")},
		{"--scope", []string{"key", "create", "--workspace", "acme", "--name", "x"}},
		{"--name", []string{"key", "create", "--workspace", "acme", "--scope", "read"}},
		{"<id>", []string{"key", "revoke"}},
		{"--user: there is no user with the email address", []string{"token", "create", "--user", "missing@example.com", "--name", "x", "--scope", "read", "--expires", "1d"}},
		{"--user: there is no user with the email address", []string{"token", "list", "--user", "missing@example.com"}},
		{`role "boss" is not a role; use viewer`, []string{"token", "create", "--user", "ann@example.com", "--name", "x", "--scope", "read", "--expires", "1d", "--role", "boss"}},
		{`--scope "introspect" is not a scope of`, []string{"token", "create", "--user", "ann@example.com", "--name", "x", "--scope", "introspect", "--expires", "1d"}},
		{"--expires must be within 30 days", []string{"token", "create", "--user", "ann@example.com", "--name", "x", "--scope", "read"}},
		{"--user", []string{"token", "list"}},
	} {
		c.fails(2, one.want, "", one.args...)
	}
	if list := c.array("key", "list", "--workspace", "acme"); len(list) != 0 {
		t.Errorf("incorrect usage created %v", list)
	}

	made := c.object("", create("--scope", "notes:read")...)
	token := c.object(
		"",
		"token",
		"create",
		"--user",
		"ann@example.com",
		"--name",
		"x",
		"--scope",
		"read",
		"--expires",
		"1d",
	)
	for _, verb := range []string{"show", "update", "pause", "resume", "revoke", "rotate"} {
		for _, id := range []string{"key_nothing", "%", text(t, token, "id"), text(t, made, "id") + "\x00"} {
			c.fails(1, "there is no API key with the ID "+input.Quote(id)+"; to list", "", "key", verb, id)
		}
	}
	c.fails(1, "there is no personal access token with the ID", "", "token", "revoke", text(t, made, "id"))
	if !c.active(text(t, made, "key")) || !c.active(text(t, token, "token")) {
		t.Error("a command with an unknown ID revoked another credential")
	}
}

// Other tests check the limit; this one checks the message.
func TestK26_CommandsNameTheLimitOfKeys(t *testing.T) {
	err := tooMany("acme", "API keys", fmt.Errorf("issue a key: %w", apikey.ErrTooMany))
	want := "acme has reached the limit of 10000 active API keys; revoke one that is no longer used"
	if err.Error() != want || exitCode(err, io.Discard) != 1 {
		t.Errorf("%q exits %d", err, exitCode(err, io.Discard))
	}
	if other := errors.New("other"); !errors.Is(tooMany("acme", "API keys", other), other) {
		t.Error("other errors are not returned unchanged")
	}
}

// key show lists a key's last requests and why they were refused, as the page does.
func TestKeyShowListsTheLastRequests(t *testing.T) {
	onEachEngine(t, func(t *testing.T, c *cli) {
		c.must("", "migrate")
		c.people("ann@example.com")
		c.must("", "workspace", "create", "--name", "Acme", "--slug", "acme", "--owner", "ann@example.com")
		made := c.object("", "key", "create", "--workspace", "acme", "--name", "Import", "--scope", "read")
		id := text(t, made, "id")
		if shown := c.object("", "key", "show", id); shown["requests"] != nil {
			t.Errorf("a key that was not used has requests: %v", shown["requests"])
		}
		store := c.database()
		for _, reason := range []string{"", "no scope"} {
			store.NoteUse(storage.Use{
				WorkspaceID: text(
					t,
					made,
					"workspace_id",
				), CredentialID: id, Credential: storage.KindAPIKey, RequestID: "request-" + reason, Action: "GET /v1/**", Status: 200, Reason: reason,
			})
		}
		store.Close() // writes the buffered requests
		requests, ok := c.object("", "key", "show", id)["requests"].(map[string]any)
		if !ok || requests["allowed"] != 1.0 || requests["refused"] != 1.0 || requests["limited"] != 0.0 ||
			len(requests["last"].([]any)) != 2 {
			t.Fatalf("requests %v", requests)
		}
		if newest := requests["last"].([]any)[0].(map[string]any); newest["reason"] != "no scope" ||
			newest["request_id"] != "request-no scope" ||
			newest["action"] != "GET /v1/**" {
			t.Errorf("the newest is %v", newest)
		}
		if out := c.must("", "key", "show", id); !strings.Contains(out, "1 allowed, 0 over the limit, 1 denied") ||
			!strings.Contains(out, "no scope") {
			t.Error(out)
		}
	})
}
