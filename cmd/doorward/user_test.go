package main

import (
	"os"
	"strings"
	"testing"
)

// The commands that update, sign out and disable a user.
func TestV01_V06_V64_CommandsChangeAUser(t *testing.T) {
	c := newCLI(t)
	c.must("", "migrate")
	c.must(goodPassword, "user", "create", "--email", "root@example.com", "--admin", "--password-stdin")
	c.people("ann@example.com", "bob@example.com")
	c.fails(2, "nothing to change", "", "user", "update", "ann@example.com")
	c.fails(2, "email", "", "user", "update", "ann@example.com", "--email", "nonsense", "--name", "x")
	c.fails(2, "an account with this address", "", "user", "update", "ann@example.com", "--email", "bob@example.com")
	c.fails(1, "last enabled administrator", "", "user", "update", "root@example.com", "--no-admin")
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
	app := text(
		t,
		c.object(
			"",
			"client",
			"create",
			"--name",
			"Sync",
			"--workspace",
			"sole",
			"--grant",
			"client_credentials",
			"--scope",
			"read",
		),
		"client_id",
	)
	disabled := func(args ...string) int {
		t.Helper()
		list, _ := c.object("", append([]string{"user", "disable", "bob@example.com"}, args...)...)["workspaces"].([]any)
		if shown := c.must("", "client", "show", app); strings.Contains(
			shown,
			"but its workspace is disabled",
		) != (len(args) == 0 || args[0] == "--keep-workspace") {
			t.Errorf("disabled with %v: %s", args, shown)
		}
		c.must("", "user", "enable", "bob@example.com")
		return len(list)
	}
	c.fails(2, "nothing was changed", "", "user", "disable", "bob@example.com", "--keep-workspace", "nonsense")
	for _, x := range []struct {
		args []string
		want int // including the personal workspace
	}{{nil, 3}, {[]string{"--keep-workspace", "kept"}, 2}, {[]string{"--keep-workspaces"}, 1}} {
		if n := disabled(x.args...); n != x.want {
			t.Errorf("disabled with %v: %d workspaces are disabled, want %d", x.args, n, x.want)
		}
	}
}

func TestUserCommands(t *testing.T) { onEachEngine(t, testUserCommands) }

func testUserCommands(t *testing.T, c *cli) {
	c.must("", "migrate")
	link := c.object("", "setup-link")
	if url, _ := link["url"].(string); !strings.HasPrefix(url, "http://localhost:8080/setup?word=") {
		t.Errorf("setup-link prints %v", link)
	}

	ada := c.object(
		goodPassword+"\n",
		"user",
		"create",
		"--email",
		"ada@example.com",
		"--name",
		"Ada",
		"--admin",
		"--password-stdin",
	)
	if ada["email"] != "ada@example.com" || ada["name"] != "Ada" || ada["admin"] != true ||
		!strings.HasPrefix(ada["id"].(string), "user_") {
		t.Errorf("created %v", ada)
	}
	c.fails(1, "users already exist", "", "setup-link")
	c.fails(
		2,
		"email: There is an account",
		goodPassword,
		"user",
		"create",
		"--email",
		"ADA@example.com",
		"--password-stdin",
	)
	c.fails(2, "email: ", "short", "user", "create", "--email", "bob", "--password-stdin")
	c.fails(2, "password: ", "short", "user", "create", "--email", "bob", "--password-stdin")
	c.fails(2, "no password on standard input", "", "user", "create", "--email", "b@example.com", "--password-stdin")

	c.must(goodPassword, "user", "create", "--email", "bob@example.com", "--password-stdin")
	list := c.array("user", "list")
	if len(list) != 2 || list[0]["id"] != ada["id"] || list[1]["admin"] != false {
		t.Errorf("users: %v", list)
	}
	if got := c.object("", "user", "disable", "Bob@example.com"); got["disabled"] != true {
		t.Errorf("disabled: %v", got)
	}
	if got := c.object("", "user", "enable", "bob@example.com"); got["disabled"] != false {
		t.Errorf("enabled: %v", got)
	}
	c.fails(1, "this is the last enabled administrator", "", "user", "disable", "ada@example.com")
	// V-33: a way to sign in while password attempts are throttled.
	if url, _ := c.object("", "user", "sign-in-link", "ADA@example.com")["url"].(string); !strings.HasPrefix(
		url,
		"http://localhost:8080/login/link?word=",
	) {
		t.Errorf("sign-in-link prints %q", url)
	}
	c.fails(1, "there is no user with the email address", "", "user", "sign-in-link", "carol@example.com")
	c.object("", "user", "disable", "bob@example.com")
	c.fails(1, "the user is disabled", "", "user", "sign-in-link", "bob@example.com")
	c.object("", "user", "enable", "bob@example.com")
	c.fails(2, "password: ", "short", "user", "password", "bob@example.com", "--password-stdin")
	c.object("another "+goodPassword, "user", "password", "bob@example.com", "--password-stdin")
	if got := c.object("", "user", "delete", "bob@example.com"); got["email"] != "bob@example.com" {
		t.Errorf("deleted: %v", got)
	}
	c.fails(1, "there is no user with the email address", "", "user", "delete", "bob@example.com")
	if list := c.array("user", "list"); len(list) != 1 {
		t.Errorf("users: %v", list)
	}
	if text := c.must("", "user", "list"); !strings.Contains(text, "ada@example.com") ||
		!strings.Contains(text, "administrator") {
		t.Errorf("list prints:\n%s", text)
	}
}

// The commands by which administrators invite, approve, refuse, look at and reset users.
func TestV64_CommandsAdministerUsers(t *testing.T) { onEachEngine(t, testCommandsAdministerUsers) }

func testCommandsAdministerUsers(t *testing.T, c *cli) {
	c.must("", "migrate")
	c.must(goodPassword, "user", "create", "--email", "root@example.com", "--admin", "--password-stdin")
	c.people("ann@example.com", "bob@example.com")
	// Without email, nothing is sent, and the error names the other way.
	c.fails(1, "doorward user create", "", "user", "invite", "new@example.com")
	c.fails(1, "doorward user password", "", "user", "reset", "ann@example.com")

	mail := "mail: {url: \"dir:.\", from: Northwind <no-reply@northwind.example>}\n"
	c.vars["DOORWARD_CONFIG"] = "doorward.yaml"
	if err := os.WriteFile("doorward.yaml", []byte(mail), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := c.object("", "user", "invite", "new@example.com"); got["email"] != "new@example.com" ||
		got["expires_at"] == nil {
		t.Errorf("invited: %v", got)
	}
	c.fails(2, "an account with this address", "", "user", "invite", "ann@example.com")
	c.fails(2, "email: ", "", "user", "invite", "nonsense")
	c.object("", "user", "reset", "ann@example.com")
	if list := c.array("user", "sessions", "ann@example.com"); len(list) != 0 {
		t.Errorf("sessions: %v", list)
	}
	if got := c.object("", "user", "sessions", "ann@example.com", "--end"); got["sessions_ended"] != 0.0 {
		t.Errorf("ended: %v", got)
	}
	c.fails(1, "does not wait for approval", "", "user", "approve", "ann@example.com")
	c.fails(1, "does not wait for approval", "", "user", "refuse", "ann@example.com")

	// The last administrator stays.
	for _, args := range [][]string{
		{"user", "admin", "root@example.com", "--off"},
		{"user", "disable", "root@example.com"},
		{"user", "delete", "root@example.com"},
		{"user", "update", "root@example.com", "--no-admin"},
	} {
		c.fails(1, "last enabled administrator", "", args...)
	}
	if got := c.object("", "user", "admin", "ann@example.com"); got["admin"] != true {
		t.Errorf("made an administrator: %v", got)
	}
	if got := c.object("", "user", "admin", "root@example.com", "--off"); got["admin"] != false {
		t.Errorf("unmade: %v", got)
	}
	c.object("", "user", "disable", "bob@example.com")
	for filter, want := range map[string]string{
		"administrator": "ann@example.com", "disabled": "bob@example.com", "waiting": "",
		"never_signed_in": "root@example.com ann@example.com bob@example.com",
	} {
		var found []string
		for _, u := range c.array("user", "list", "--filter", filter) {
			found = append(found, text(t, u, "email"))
		}
		if strings.Join(found, " ") != want {
			t.Errorf("%s: %v", filter, found)
		}
	}
	c.fails(2, "filter", "", "user", "list", "--filter", "nonsense")
}
