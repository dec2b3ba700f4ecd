package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"doorward/config"
	"doorward/storage"
	"doorward/test/postgres"
)

const goodPassword = "nineteen llamas dance badly"

// cli runs commands in a folder of its own, as one operator would.
type cli struct {
	t    *testing.T
	vars map[string]string
}

func newCLI(t *testing.T) *cli {
	t.Helper()
	t.Chdir(t.TempDir())
	return &cli{t: t, vars: map[string]string{}}
}

// onEachEngine gives each engine's empty database to an operator of its own.
func onEachEngine(t *testing.T, fn func(t *testing.T, c *cli)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { fn(t, newCLI(t)) })
	t.Run("postgresql", func(t *testing.T) {
		url := postgres.Shared(t).Database(t, "empty", nil)
		c := newCLI(t)
		c.vars["DOORWARD_DATABASE_URL"] = url
		fn(t, c)
	})
}

// run gives what a shell would see.
func (c *cli) run(stdin string, args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	var out, errs bytes.Buffer
	err := run(c.t.Context(), args, environ(c.vars), strings.NewReader(stdin), &out, &errs)
	code = exitCode(err, &errs)
	return out.String(), errs.String(), code
}

// must runs a command that succeeds.
func (c *cli) must(stdin string, args ...string) string {
	c.t.Helper()
	stdout, stderr, code := c.run(stdin, args...)
	if code != 0 {
		c.t.Fatalf("doorward %s exits %d:\n%s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

// object runs a command with --json.
func (c *cli) object(stdin string, args ...string) map[string]any {
	c.t.Helper()
	var v map[string]any
	out := c.must(stdin, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		c.t.Fatalf("doorward %s --json prints no object: %v\n%s", strings.Join(args, " "), err, out)
	}
	return v
}

// array runs a command with --json.
func (c *cli) array(args ...string) []map[string]any {
	c.t.Helper()
	var v []map[string]any
	out := c.must("", append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		c.t.Fatalf("doorward %s --json prints no array: %v\n%s", strings.Join(args, " "), err, out)
	}
	return v
}

// fails runs a command that ends with an exit code and says something.
func (c *cli) fails(code int, want, stdin string, args ...string) {
	c.t.Helper()
	stdout, stderr, got := c.run(stdin, args...)
	if got != code || !strings.Contains(stderr, want) {
		c.t.Errorf("doorward %s exits %d, want %d with %q:\n%s", strings.Join(args, " "), got, code, want, stderr)
	}
	if stdout != "" && args[0] != "check" {
		c.t.Errorf("doorward %s prints on standard output though it fails:\n%s", strings.Join(args, " "), stdout)
	}
}

func TestWrongUseExits2(t *testing.T) {
	c := newCLI(t)
	for _, args := range [][]string{
		{"nonsense"},
		{"migrate", "nonsense"},
		{"client"},
		{"client", "secret"},
		{"client", "create"},
		{"client", "show"},
		{"client", "secret", "rotate", "app_1", "--grace", "soon"},
		{"user", "create", "--email", "a@example.com"},
		{"--nonsense"},
		{"client", "create", "--name", "x", "--pkce", "plain"},
		{"introspect"},
	} {
		c.fails(2, "doorward: ", "", args...)
	}
}

func TestHelpAndVersionExit0(t *testing.T) {
	c := newCLI(t)
	for _, args := range [][]string{{"--help"}, {"client", "--help"}, {"client", "create", "--help"}} {
		if out := c.must("", args...); !strings.HasPrefix(out, "Usage: doorward") {
			t.Errorf("doorward %s prints %q", strings.Join(args, " "), out)
		}
	}
	if out := c.must("", "--version"); !strings.HasPrefix(out, "doorward ") {
		t.Errorf("--version prints %q", out)
	}
}

func TestOnlyTheCommandsOfThisVersionExist(t *testing.T) {
	var names []string
	var walk func(n *kong.Node, path string)
	walk = func(n *kong.Node, path string) {
		if n.Leaf() && path != "" {
			names = append(names, strings.TrimSpace(path))
		}
		for _, child := range n.Children {
			walk(child, path+" "+child.Name)
		}
	}
	parser, err := kong.New(&commands{}, kong.Vars{"version": ""})
	if err != nil {
		t.Fatal(err)
	}
	walk(parser.Model.Node, "")
	want := []string{
		"serve", "demo", "check", "migrate", "health",
		"user create", "user list", "user disable", "user enable", "user delete", "user password", "user sign-in-link", "user sign-out", "user update",
		"client create", "client list", "client show", "client update", "client disable", "client enable", "client delete", "client secret rotate",
		"workspace create", "workspace list", "workspace update", "workspace disable", "workspace enable", "workspace delete", "workspace invite",
		"workspace member add", "workspace member remove", "workspace member role",
		"key create", "key list", "key show", "key update", "key pause", "key resume", "key revoke", "key rotate",
		"token create", "token list", "token revoke",
		"signing-key list", "signing-key rotate", "secret reseal",
		"routes from-openapi", "explain", "docs", "introspect", "setup-link",
	}
	slices.Sort(names)
	slices.Sort(want)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("commands differ (-want +got):\n%s", diff)
	}
}

// Every setting but secret is a flag of serve, and serve has no others.
func TestFlagsOfServeAreTheSettings(t *testing.T) {
	var flags serveCommand
	parser, err := kong.New(&flags)
	if err != nil {
		t.Fatal(err)
	}
	var args, want []string
	for _, s := range config.Settings {
		if s.Key == "secret" {
			continue
		}
		want = append(want, s.Key)
		args = append(args, config.FlagName(s.Key)+"=a,b")
		if s.List {
			args = append(args, config.FlagName(s.Key)+"=c")
		}
	}
	if n := reflect.TypeFor[serveCommand]().NumField(); n != len(want) {
		t.Errorf("serve has %d flags for %d settings", n, len(want))
	}
	if _, err := parser.Parse(args); err != nil {
		t.Fatal(err)
	}
	given := flags.settings()
	for _, s := range config.Settings {
		expect := []string{"a,b"} // commas do not separate
		if s.List {
			expect = []string{"a,b", "c"}
		}
		if s.Key == "secret" {
			expect = nil
		}
		if diff := cmp.Diff(expect, given[s.Key]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", config.FlagName(s.Key), diff)
		}
	}
}

func TestFlagOfServeGivenEmptyStillBeatsTheVariable(t *testing.T) {
	var flags serveCommand
	parser, err := kong.New(&flags)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"--admin-listen=", "--trusted-proxies="}); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load("", flags.settings(), environ(map[string]string{"DOORWARD_ADMIN_LISTEN": "127.0.0.1:1", "DOORWARD_TRUSTED_PROXIES": "10.0.0.1"}))
	if err != nil {
		t.Fatal(err)
	}
	if c.AdminListen != "" || len(c.TrustedProxies) != 0 {
		t.Errorf("admin_listen is %q, trusted_proxies %v", c.AdminListen, c.TrustedProxies)
	}
}

func TestConfigurationFaultsExit1AndShowAll(t *testing.T) {
	c := newCLI(t)
	if err := os.WriteFile("c.yaml", []byte("issuer: nowhere\nlisten: nowhere\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.fails(1, "c.yaml:2: listen: ", "", "--config", "c.yaml", "client", "list")
	c.vars["DOORWARD_CONFIG"] = "c.yaml"
	c.fails(1, "c.yaml:1: issuer: ", "", "client", "list")
	c.fails(1, "no such file", "", "client", "list", "--config", "other.yaml")
}

func TestCommandsNeedTheSchema(t *testing.T) { onEachEngine(t, testCommandsNeedTheSchema) }

func testCommandsNeedTheSchema(t *testing.T, c *cli) {
	c.fails(1, "run: doorward migrate", "", "client", "list")
	status := c.array("migrate", "status")
	if len(status) == 0 || status[0]["applied"] != false || status[0]["applied_at"] != nil {
		t.Errorf("status before: %v", status)
	}
	if done := c.array("migrate"); len(done) != len(status) || done[0]["applied"] != true {
		t.Errorf("migrate applied %v", done)
	}
	if again := c.array("migrate"); len(again) != 0 {
		t.Errorf("a second migrate applied %v", again)
	}
	if list := c.array("client", "list"); len(list) != 0 {
		t.Errorf("clients: %v", list)
	}
}

func TestUserCommands(t *testing.T) { onEachEngine(t, testUserCommands) }

func testUserCommands(t *testing.T, c *cli) {
	c.must("", "migrate")
	link := c.object("", "setup-link")
	if url, _ := link["url"].(string); !strings.HasPrefix(url, "http://localhost:8080/setup?word=") {
		t.Errorf("setup-link prints %v", link)
	}

	ada := c.object(goodPassword+"\n", "user", "create", "--email", "ada@example.com", "--name", "Ada", "--admin", "--password-stdin")
	if ada["email"] != "ada@example.com" || ada["name"] != "Ada" || ada["admin"] != true || !strings.HasPrefix(ada["id"].(string), "user_") {
		t.Errorf("created %v", ada)
	}
	c.fails(1, "users exist already", "", "setup-link")
	c.fails(2, "email: There is an account", goodPassword, "user", "create", "--email", "ADA@example.com", "--password-stdin")
	c.fails(2, "email: ", "short", "user", "create", "--email", "nobody", "--password-stdin")
	c.fails(2, "password: ", "short", "user", "create", "--email", "nobody", "--password-stdin")
	c.fails(2, "standard input does not contain a password", "", "user", "create", "--email", "b@example.com", "--password-stdin")

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
	// V-33: a way in that guessing at the password does not close.
	if url, _ := c.object("", "user", "sign-in-link", "ADA@example.com")["url"].(string); !strings.HasPrefix(url, "http://localhost:8080/login/link?word=") {
		t.Errorf("sign-in-link prints %q", url)
	}
	c.fails(1, "there is nobody with the address", "", "user", "sign-in-link", "carol@example.com")
	c.object("", "user", "disable", "bob@example.com")
	c.fails(1, "the user is disabled", "", "user", "sign-in-link", "bob@example.com")
	c.object("", "user", "enable", "bob@example.com")
	c.fails(2, "password: ", "short", "user", "password", "bob@example.com", "--password-stdin")
	c.object("another "+goodPassword, "user", "password", "bob@example.com", "--password-stdin")
	if got := c.object("", "user", "delete", "bob@example.com"); got["email"] != "bob@example.com" {
		t.Errorf("deleted: %v", got)
	}
	c.fails(1, "there is nobody with the address", "", "user", "delete", "bob@example.com")
	if list := c.array("user", "list"); len(list) != 1 {
		t.Errorf("users: %v", list)
	}
	if text := c.must("", "user", "list"); !strings.Contains(text, "ada@example.com") || !strings.Contains(text, "administrator") {
		t.Errorf("list prints:\n%s", text)
	}
}

func TestClientCommands(t *testing.T) { onEachEngine(t, testClientCommands) }

func testClientCommands(t *testing.T, c *cli) {
	c.must("", "migrate")
	app := c.object("", "client", "create", "--name", "App", "--site", "https://app.example.com", "--scope", "read write",
		"--redirect-uri", "https://app.example.com/cb?a=1,2", "--redirect-uri", "http://127.0.0.1/cb")
	id, _ := app["client_id"].(string)
	secret, _ := app["client_secret"].(string)
	if !strings.HasPrefix(id, "app_") || !strings.HasPrefix(secret, "dw_cs_") || app["scope"] != "read write" || app["pkce"] != "required" {
		t.Errorf("created %v", app)
	}
	if diff := cmp.Diff([]any{"https://app.example.com/cb?a=1,2", "http://127.0.0.1/cb"}, app["redirect_uris"]); diff != "" {
		t.Errorf("a comma separates, or something else is wrong:\n%s", diff)
	}
	if diff := cmp.Diff([]any{"authorization_code", "refresh_token"}, app["grant_types"]); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
	if _, there := app["workspace_id"]; there {
		t.Errorf("an app made without --workspace belongs to one: %v", app)
	}
	ann := c.object(goodPassword, "user", "create", "--email", "ann@example.com", "--admin", "--password-stdin")
	store := c.database()
	workspace, err := store.PersonalWorkspace(storage.System(t.Context()), ann["id"].(string))
	store.Close()
	if err != nil {
		t.Fatal(err)
	}
	if own := c.object("", "client", "create", "--name", "Own", "--scope", "read", "--redirect-uri", "https://own.example.com/cb", "--workspace", workspace.Slug); own["workspace_id"] != workspace.ID {
		t.Errorf("made in workspace %v, want %s", own["workspace_id"], workspace.ID)
	}
	c.fails(2, "there is no workspace", "", "client", "create", "--name", "Own", "--scope", "read", "--redirect-uri", "https://own.example.com/cb", "--workspace", "nowhere")
	shown := c.object("", "client", "show", id)
	if _, there := shown["client_secret"]; there {
		t.Error("the secret is shown again")
	}
	delete(app, "client_secret")
	if diff := cmp.Diff(app, shown); diff != "" {
		t.Errorf("show differs from create (-create +show):\n%s", diff)
	}

	updated := c.object("", "client", "update", id, "--name", "New", "--site", "", "--pkce", "optional", "--first-party", "--verified", "--redirect-uri", "https://new.example.com/cb")
	for key, want := range map[string]any{"client_name": "New", "client_uri": nil, "pkce": "optional", "first_party": true, "verified": true, "scope": "read write"} {
		if updated[key] != want {
			t.Errorf("after update, %s is %v, want %v", key, updated[key], want)
		}
	}
	if diff := cmp.Diff([]any{"https://new.example.com/cb"}, updated["redirect_uris"]); diff != "" {
		t.Errorf("redirect URIs are not replaced:\n%s", diff)
	}
	if got := c.object("", "client", "update", id, "--no-verified", "--scope", "read"); got["verified"] != false || got["scope"] != "read" || got["first_party"] != true {
		t.Errorf("after the second update: %v", got)
	}
	c.fails(2, "--scope", "", "client", "update", id, "--scope", "reed")

	rotated := c.object("", "client", "secret", "rotate", id)
	if next, _ := rotated["client_secret"].(string); next == secret || !strings.HasPrefix(next, "dw_cs_") || len(rotated["secrets"].([]any)) != 2 {
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

	public := c.object("", "client", "create", "--name", "Public", "--public", "--redirect-uri", "com.example.app:/cb", "--scope", "read")
	if _, there := public["client_secret"]; there || public["public"] != true {
		t.Errorf("public: %v", public)
	}
	c.fails(2, "is public", "", "client", "secret", "rotate", public["client_id"].(string))
	server := c.object("", "client", "create", "--name", "API", "--resource-server", "--resource", "http://localhost:8080")
	if server["resource_server"] != true || server["client_secret"] == nil {
		t.Errorf("resource server: %v", server)
	}
	c.fails(2, "--grant", "", "client", "create", "--name", "Nothing", "--scope", "read")
	c.fails(2, "--pkce", "", "client", "create", "--name", "P", "--public", "--pkce", "optional", "--redirect-uri", "https://a.example/cb", "--scope", "read")

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

func TestIntrospectCommandReadsStandardInput(t *testing.T) {
	c := newCLI(t)
	c.must("", "migrate")
	for _, args := range [][]string{{"introspect", "dw_at_x"}, {"introspect", "-"}} {
		if got := c.object("dw_at_x\n", args...); !cmp.Equal(got, map[string]any{"active": false, "reason": "unknown credential: it starts like an access token, but was changed or truncated when it was copied"}) {
			t.Errorf("%v answers %v", args, got)
		}
	}
	c.fails(2, "standard input does not contain a token", "\n", "introspect", "-")
}

// The first command on an empty database makes the master secret, and no later one another.
func TestCommandsBindTheDatabaseToItsSecret(t *testing.T) {
	c := newCLI(t)
	c.must("", "migrate")
	c.must(goodPassword, "user", "create", "--email", "a@example.com", "--password-stdin")
	if err := os.Rename("data/secret", "data/kept"); err != nil {
		t.Fatal(err)
	}
	c.fails(1, "data/secret is missing, and the database is in use", "", "client", "list")
	c.vars["DOORWARD_SECRET"] = testSecret
	c.fails(1, "another secret", "", "client", "list")
	c.vars["DOORWARD_SECRET"] = "file:data/kept"
	c.must("", "client", "list")
}

func TestCheckChangesNothing(t *testing.T) {
	c := newCLI(t)
	got := c.object("", "check")
	c.must("", "migrate", "status")
	c.fails(1, "there is no database at ", "", "user", "list")
	if left, err := os.ReadDir("."); err != nil || len(left) != 0 {
		t.Errorf("check left %v, %v", left, err)
	}
	wantReport(t, got, nil, []string{"issuer: is http://localhost:8080", "secret: is empty", "data/doorward.db does not exist yet"})
}

func TestCheckReportsFaultsAndRisks(t *testing.T) {
	c := newCLI(t)
	c.must("", "migrate")
	wantReport(t, c.object("", "check"), nil, []string{"issuer:", "secret:", "no accounts exist yet"})
	if _, stderr, _ := c.run(goodPassword, "user", "create", "--email", "b@example.com", "--password-stdin"); !strings.Contains(stderr, "no administrator yet") {
		t.Errorf("user create does not say that nobody administers:\n%s", stderr)
	}
	wantReport(t, c.object("", "check"), nil, []string{"issuer:", "secret:", "no enabled user is an administrator"})
	if _, stderr, _ := c.run(goodPassword, "user", "create", "--email", "a@example.com", "--admin", "--password-stdin"); stderr != "" {
		t.Errorf("user create --admin says:\n%s", stderr)
	}
	c.must("", "client", "create", "--name", "Old", "--pkce", "optional", "--redirect-uri", "https://a.example/cb", "--scope", "read delete")
	c.must("", "client", "create", "--name", "Device", "--public", "--first-party", "--redirect-uri", "com.example.app:/cb", "--scope", "read")
	wantReport(t, c.object("", "check"), nil, []string{"issuer:", "secret:", "(Old): works without PKCE", "(Device): is first-party and public"})

	text := "resources: [{id: http://localhost:8080, scopes: {read: {text: Read}}}]\nlisten: 0.0.0.0:8080\nadmin_listen: :8081\n" +
		"tokens: {access_lifetime: 2d, refresh_reuse_window: 2m}\nplans: {odd: {hour: 10, day: 5}}\n"
	if err := os.WriteFile("c.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.vars["DOORWARD_CONFIG"] = "c.yaml"
	wantReport(t, c.object("", "check"), nil, []string{
		"issuer:", "listen: others reach 0.0.0.0:8080 without TLS", "admin_listen:", "secret:", "tokens.access_lifetime:", "tokens.refresh_reuse_window:",
		"plans.odd:", "(Old): works without PKCE", `(Old): is registered for the scope "delete"`, "(Device): is first-party",
	})

	c.vars["DOORWARD_CONFIG"], c.vars["DOORWARD_ISSUER"], c.vars["DOORWARD_LISTEN"] = "", "https://auth.example.com", ":8080"
	c.vars["DOORWARD_SECRET"] = testSecret
	stdout, stderr, code := c.run("", "check", "--json")
	var got map[string]any
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 1 || !strings.Contains(stderr, "check: 1 faults") {
		t.Fatalf("check exits %d: %v\n%s%s", code, err, stdout, stderr)
	}
	wantReport(t, got, []string{"secret: the database belongs to servers with another secret"}, []string{
		"trusted_proxies:", "(Old): works", "(Old): is registered for the resource", "(Device): is first", "(Device): is registered for the resource",
	})

	c.vars["DOORWARD_LISTEN"] = "nowhere"
	if stdout, _, code := c.run("", "check"); code != 1 || !strings.HasPrefix(stdout, "fault: DOORWARD_LISTEN: listen: ") {
		t.Errorf("check exits %d:\n%s", code, stdout)
	}
}

// wantReport compares the beginnings or telling parts of what was found, in order.
func wantReport(t *testing.T, got map[string]any, faults, risks []string) {
	t.Helper()
	for key, want := range map[string][]string{"faults": faults, "risks": risks} {
		list, _ := got[key].([]any)
		ok := len(list) == len(want) && list != nil
		for i := range min(len(list), len(want)) {
			ok = ok && strings.Contains(list[i].(string), want[i])
		}
		if !ok {
			t.Errorf("%s are\n%q\nwant\n%q", key, list, want)
		}
	}
}

func TestHealth(t *testing.T) {
	c := newCLI(t)
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" || r.Host != "login.example.com" { // 127.0.0.1 may be the host of an API
			status = http.StatusNotFound
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	defer server.Close()
	_, port, _ := strings.Cut(server.Listener.Addr().String(), ":")
	c.vars["DOORWARD_LISTEN"] = "0.0.0.0:" + port
	c.vars["DOORWARD_ISSUER"], c.vars["DOORWARD_SECRET"] = "https://login.example.com", testSecret
	c.vars["HTTP_PROXY"] = "http://127.0.0.1:1"
	c.must("", "health")
	for _, status = range []int{http.StatusServiceUnavailable, http.StatusFound, http.StatusNoContent} {
		c.fails(1, "not ready: ", "", "health")
	}
	server.Close()
	c.fails(1, "not reachable: ", "", "health")
	c.vars["DOORWARD_LISTEN"] = "127.0.0.1:0"
	c.fails(1, "any free port", "", "health")
}

func TestReadyURLAsksOverLoopback(t *testing.T) {
	for listen, want := range map[string]string{
		"0.0.0.0:8080":   "http://127.0.0.1:8080/readyz",
		":8080":          "http://127.0.0.1:8080/readyz",
		"[::]:8080":      "http://[::1]:8080/readyz",
		"127.0.0.1:8080": "http://127.0.0.1:8080/readyz",
		"[::1]:8080":     "http://[::1]:8080/readyz",
		"10.1.2.3:8080":  "http://10.1.2.3:8080/readyz",
		"localhost:8080": "http://localhost:8080/readyz",
	} {
		if got, err := readyURL(listen); err != nil || got != want {
			t.Errorf("readyURL(%s) = %s, %v, want %s", listen, got, err, want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		code int
	}{
		"done": {nil, 0}, "failed": {errors.New("x"), 1}, "used wrongly": {usageError{errors.New("x")}, 2}, "faults": {config.Faults{{}}, 1},
	} {
		if got := exitCode(tc.err, &bytes.Buffer{}); got != tc.code {
			t.Errorf("%s exits %d, want %d", name, got, tc.code)
		}
	}
}
