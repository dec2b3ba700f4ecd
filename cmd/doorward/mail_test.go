package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// With --mail-to, check sends an email as configured, in the vendor's brand, and says what users cannot do.
func TestCheckSendsATestEmail(t *testing.T) {
	c := newCLI(t)
	c.writeConfig("brand: {name: Northwind}\nlanguages: [de, en]\nmail: {url: 'dir:mail', from: 'Northwind <no-reply@n.example>'}\n")
	c.must("", "migrate")
	out := c.must("", "check", "--mail-to", "ann@example.com")
	for _, want := range []string{
		"note: The test email to ann@example.com was passed on; see whether it arrives.",
		"note: Users get no email: mail.url is a folder, and emails are only written there.",
		"note: Visitors cannot create an account: sign_up is closed;",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not say %q:\n%s", want, out)
		}
	}
	files, err := filepath.Glob("mail/*.eml")
	if err != nil || len(files) != 1 {
		t.Fatalf("the folder has %v, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil || !strings.Contains(string(text), "To: <ann@example.com>") ||
		!strings.Contains(string(text), `From: "Northwind" <no-reply@n.example>`) ||
		!strings.Contains(string(text), "Content-Language: de") {
		t.Errorf("the email is %s, %v", text, err)
	}
	var report struct{ Faults, Risks, Notes []string }
	if err := json.Unmarshal([]byte(c.must("", "check", "--json")), &report); err != nil || len(report.Notes) < 2 {
		t.Errorf("as JSON: %+v, %v", report, err)
	}
	if files, _ := filepath.Glob("mail/*.eml"); len(files) != 1 {
		t.Errorf("without --mail-to it sends too: %v", files)
	}
}

// A test email that cannot be sent is a fault, which does not show the password of the mail server.
func TestCheckReportsATestEmailThatCannotBeSent(t *testing.T) {
	c := newCLI(t)
	c.must("", "migrate")
	fails := func(to, want string) {
		t.Helper()
		stdout, stderr, code := c.run("", "check", "--mail-to", to)
		if code != 1 || !strings.Contains(stdout, "fault: mail: ") || !strings.Contains(stdout, want) {
			t.Errorf("check --mail-to %s exits %d: %s%s", to, code, stdout, stderr)
		}
		if strings.Contains(stdout+stderr, "c4n4ry") {
			t.Errorf("it shows the password: %s%s", stdout, stderr)
		}
	}
	fails("ann@example.com", "email is not configured; set mail.url and mail.from")
	c.writeConfig("mail: {url: 'smtp://app:c4n4ry@127.0.0.1:1', from: a@n.example}\n")
	fails("ann@example.com", "connect to the mail server")
	fails("ann@example.com,eve@example.com", "is not an email address")
}

// Where there is email, the command that invites shows no link either.
func TestWorkspaceInviteSendsAnEmail(t *testing.T) {
	c := newCLI(t)
	c.writeConfig("mail: {url: 'dir:mail', from: a@n.example}\nsign_up: invited\n")
	c.must("", "migrate")
	c.must(goodPassword, "user", "create", "--email", "ann@example.com", "--admin", "--password-stdin")
	c.must("", "workspace", "create", "--name", "Acme", "--slug", "acme", "--owner", "ann@example.com")
	out := c.must("", "workspace", "invite", "acme", "new@example.com", "--role", "member")
	if strings.Contains(out, "dw_in_") || !strings.Contains(out, "The server sends the invitation to new@example.com.") {
		t.Errorf("it says %s", out)
	}
	c.writeConfig("mail: {url: 'dir:mail', from: a@n.example}\n")
	c.fails(2, "only an administrator of this server can create one", "", "workspace", "invite", "acme", "other@example.com",
		"--role", "member")
}
