package main

import (
	"strings"
	"testing"
)

// The commands that change, sign out and disable a person.
func TestV01_V06_V64_CommandsChangeAUser(t *testing.T) {
	c := newCLI(t)
	c.must("", "migrate")
	c.must(goodPassword, "user", "create", "--email", "root@example.com", "--admin", "--password-stdin")
	c.people("ann@example.com", "bob@example.com")
	c.fails(2, "say what to change", "", "user", "update", "ann@example.com")
	c.fails(2, "email", "", "user", "update", "ann@example.com", "--email", "nonsense", "--name", "x")
	c.fails(2, "an account with this address", "", "user", "update", "ann@example.com", "--email", "bob@example.com")
	c.fails(1, "last administrator", "", "user", "update", "root@example.com", "--no-admin")
	made := c.object("", "user", "update", "ann@example.com", "--email", "anna@example.com", "--name", "Anna", "--admin")
	if made["email"] != "anna@example.com" || made["name"] != "Anna" || made["admin"] != true {
		t.Errorf("changed: %v", made)
	}
	if u := c.object("", "user", "update", "root@example.com", "--no-admin"); u["admin"] != false {
		t.Errorf("no longer an administrator: %v", u)
	}

	c.must("", "token", "create", "--user", "bob@example.com", "--name", "Laptop", "--scope", "read")
	tokens := func(args ...string) (state any, revoked any) {
		t.Helper()
		ended := c.object("", append([]string{"user", "sign-out", "bob@example.com"}, args...)...)
		list, _ := ended["tokens"].([]any)
		if len(list) != 1 {
			t.Fatalf("tokens: %v", ended)
		}
		return list[0].(map[string]any)["state"], ended["tokens_revoked"]
	}
	if state, revoked := tokens("--apps"); state != "active" || revoked != 0.0 {
		t.Errorf("signed out: token %v, %v revoked", state, revoked)
	}
	if state, revoked := tokens("--tokens"); state != "revoked" || revoked != 1.0 {
		t.Errorf("signed out with tokens: token %v, %v revoked", state, revoked)
	}

	for _, slug := range []string{"sole", "kept"} {
		c.must("", "workspace", "create", "--slug", slug, "--name", slug, "--owner", "bob@example.com")
	}
	app := text(t, c.object("", "client", "create", "--name", "Sync", "--workspace", "sole", "--grant", "client_credentials", "--scope", "read"), "client_id")
	stopped := func(args ...string) int {
		t.Helper()
		list, _ := c.object("", append([]string{"user", "disable", "bob@example.com"}, args...)...)["workspaces"].([]any)
		if shown := c.must("", "client", "show", app); strings.Contains(shown, "stopped with its workspace") != (len(args) == 0 || args[0] == "--keep-workspace") {
			t.Errorf("disabled with %v: %s", args, shown)
		}
		c.must("", "user", "enable", "bob@example.com")
		return len(list)
	}
	c.fails(2, "nothing was changed", "", "user", "disable", "bob@example.com", "--keep-workspace", "nonsense")
	for _, x := range []struct {
		args []string
		want int // with the personal one
	}{{nil, 3}, {[]string{"--keep-workspace", "kept"}, 2}, {[]string{"--keep-workspaces"}, 1}} {
		if n := stopped(x.args...); n != x.want {
			t.Errorf("disabled with %v: %d workspaces stop, want %d", x.args, n, x.want)
		}
	}
}
