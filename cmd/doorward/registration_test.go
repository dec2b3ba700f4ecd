package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"doorward/management"
	"doorward/storage"
)

func TestRegistrationTokenCommands(t *testing.T) { testRegistrationTokenCommands(t, newCLI(t)) }

func testRegistrationTokenCommands(t *testing.T, c *cli) {
	c.must("", "migrate")
	made := c.object("", "registration-token", "create", "--uses", "5", "--expires", "30d")
	id, token := text(t, made, "id"), text(t, made, "token")
	expires, err := time.Parse(time.RFC3339, text(t, made, "expires_at"))
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(expires).Round(time.Hour); left != 30*24*time.Hour || made["uses"] != 5.0 ||
		made["used"] != 0.0 || !strings.HasPrefix(token, "dw_ia_") || !strings.HasSuffix(token, text(t, made, "tail")) {
		t.Errorf("created %v, which expires in %s", made, left)
	}
	standard := c.object("", "registration-token", "create")
	expires, err = time.Parse(time.RFC3339, text(t, standard, "expires_at"))
	if left := time.Until(expires).Round(time.Hour); err != nil || left != management.DefaultTokenLifetime ||
		standard["uses"] != float64(management.DefaultTokenUses) {
		t.Errorf("created without flags: %v, %v", standard, err)
	}

	list := c.array("registration-token", "list")
	if len(list) != 2 || list[1]["id"] != id {
		t.Fatalf("the list: %v", list)
	}
	delete(made, "token")
	if diff := cmp.Diff(made, list[1]); diff != "" {
		t.Errorf("list differs from create (-create +list):\n%s", diff)
	}
	out := c.must("", "registration-token", "list")
	if strings.Contains(out, token) || !strings.Contains(out, "dw_ia_…"+token[len(token)-4:]) ||
		!strings.Contains(out, "0 of 5") {
		t.Errorf("list prints:\n%s", out)
	}

	// While apps cannot register themselves, the command says so.
	const closed = "Apps cannot register themselves yet"
	out = c.must("", "registration-token", "create")
	if !strings.Contains(out, "dw_ia_") || !strings.Contains(out, "The token is not shown again.") ||
		!strings.Contains(out, closed) {
		t.Errorf("create prints:\n%s", out)
	}
	c.vars["DOORWARD_REGISTRATION"] = management.RegistrationToken
	if out := c.must("", "registration-token", "create"); strings.Contains(out, closed) {
		t.Errorf("create prints:\n%s", out)
	}

	for flag, values := range map[string][]string{
		"--uses":    {"0", "-1", "100001"},
		"--expires": {"0", "59s", "367d"},
	} {
		for _, value := range values {
			c.fails(2, flag+" must be", "", "registration-token", "create", flag+"="+value)
		}
	}
	c.fails(2, "--uses", "", "registration-token", "create", "--uses", "many")

	if got := c.object("", "registration-token", "revoke", id); got["id"] != id {
		t.Errorf("revoked: %v", got)
	}
	c.fails(1, "no registration token has the ID", "", "registration-token", "revoke", id)
	if list := c.array("registration-token", "list"); len(list) != 3 {
		t.Errorf("after one of four is revoked, the list is %v", list)
	}
	want := []string{
		"registration_token.created", "registration_token.created", "registration_token.created",
		"registration_token.created", "registration_token.revoked",
	}
	if diff := cmp.Diff(want, c.audited("")); diff != "" {
		t.Errorf("audit events (-want +got):\n%s", diff)
	}
}

func TestPagesOfAnAppAreFlags(t *testing.T) {
	c := newCLI(t)
	c.must("", "migrate")
	app := c.object("", "client", "create", "--name", "App", "--scope", "read",
		"--redirect-uri", "https://app.example.com/cb", "--logo-uri", "https://app.example.com/logo.png",
		"--policy-uri", "https://app.example.com/privacy", "--tos-uri", "https://app.example.com/terms")
	id := text(t, app, "client_id")
	for name, want := range map[string]any{
		"logo_uri": "https://app.example.com/logo.png", "policy_uri": "https://app.example.com/privacy",
		"tos_uri": "https://app.example.com/terms", "registration": nil, "application_type": nil,
	} {
		if app[name] != want {
			t.Errorf("%s is %v, want %v", name, app[name], want)
		}
	}
	shown := c.must("", "client", "show", id)
	for _, want := range []string{"logo_uri", "https://app.example.com/privacy", "tos_uri", "the operator"} {
		if !strings.Contains(shown, want) {
			t.Errorf("client show does not say %q:\n%s", want, shown)
		}
	}
	updated := c.object("", "client", "update", id, "--logo-uri", "", "--tos-uri", "https://app.example.com/terms-2")
	if updated["logo_uri"] != nil || updated["policy_uri"] != "https://app.example.com/privacy" ||
		updated["tos_uri"] != "https://app.example.com/terms-2" {
		t.Errorf("updated: %v", updated)
	}
	for _, flag := range []string{"--logo-uri", "--policy-uri", "--tos-uri"} {
		c.fails(2, flag+" must be an https URL", "", "client", "update", id, flag, "http://app.example.com/x")
	}
}

// An app that registered itself can be looked at, disabled and deleted, by its client_id, but not changed or verified.
func TestClientCommandsForAppsThatRegisteredThemselves(t *testing.T) {
	c := newCLI(t)
	c.must("", "migrate")
	const document = "https://client.example/oauth/client.json?v=1"
	dynamic := storage.NewID("app")
	c.must("", "client", "list") // creates the master secret
	store := c.database()
	for id, registration := range map[string]string{
		dynamic: storage.RegisteredDynamically, document: storage.RegisteredByDocument,
	} {
		if err := store.InsertClient(storage.System(t.Context()), &storage.Client{
			ID: id, Name: "Stranger", Public: true, Registration: registration, ApplicationType: "native",
			RedirectURIs: storage.List{"http://127.0.0.1/cb"}, GrantTypes: storage.List{"authorization_code"},
		}, nil); err != nil {
			t.Fatal(err)
		}
	}
	store.Close()
	by := map[string]string{dynamic: "itself", document: "its metadata document"}
	list := c.must("", "client", "list")
	for id, registration := range map[string]string{dynamic: "dynamic", document: "document"} {
		if shown := c.object("", "client", "show", id); shown["client_id"] != id || shown["registration"] != registration ||
			shown["application_type"] != "native" || shown["verified"] != false {
			t.Errorf("client show %s: %v", id, shown)
		}
		if out := c.must("", "client", "show", id); !strings.Contains(out, "registered by") ||
			!strings.Contains(out, by[id]+"\n") || !strings.Contains(out, "all that are open to apps") ||
			strings.Contains(out, "the operator") {
			t.Errorf("client show %s prints:\n%s", id, out)
		}
		if !strings.Contains(list, by[id]) {
			t.Errorf("client list does not say %q:\n%s", by[id], list)
		}
		c.fails(2, "This app registered itself", "", "client", "update", id, "--verified")
		c.fails(2, "This app registered itself", "", "client", "update", id, "--logo-uri", "https://client.example/x.png")
		if got := c.object("", "client", "disable", id); got["disabled"] != true {
			t.Errorf("disabled: %v", got)
		}
		if got := c.object("", "client", "enable", id); got["disabled"] != false {
			t.Errorf("enabled: %v", got)
		}
		c.must("", "client", "delete", id)
		c.fails(1, "there is no app", "", "client", "show", id)
	}
}
