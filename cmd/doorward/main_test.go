package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"doorward/config"
	"doorward/test/postgres"
)

const goodPassword = "nineteen llamas dance badly"

// cli runs commands in a temporary folder, as an operator would.
type cli struct {
	t    *testing.T
	vars map[string]string
}

func newCLI(t *testing.T) *cli {
	t.Helper()
	t.Chdir(t.TempDir())
	settling = 0
	return &cli{t: t, vars: map[string]string{}}
}

// onEachEngine runs a test on an empty database of each engine. For commands whose statements other tests run on both,
// newCLI will do.
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

// run runs a command and returns what a shell would see.
func (c *cli) run(stdin string, args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	var out, errs bytes.Buffer
	err := run(c.t.Context(), args, environ(c.vars), strings.NewReader(stdin), &out, &errs)
	code = exitCode(err, &errs)
	return out.String(), errs.String(), code
}

// must runs a command that must succeed, and returns its standard output.
func (c *cli) must(stdin string, args ...string) string {
	c.t.Helper()
	stdout, stderr, code := c.run(stdin, args...)
	if code != 0 {
		c.t.Fatalf("doorward %s exits %d:\n%s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

// object runs a command with --json that prints an object.
func (c *cli) object(stdin string, args ...string) map[string]any {
	c.t.Helper()
	var v map[string]any
	out := c.must(stdin, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		c.t.Fatalf("doorward %s --json does not print an object: %v\n%s", strings.Join(args, " "), err, out)
	}
	return v
}

// array runs a command with --json that prints an array.
func (c *cli) array(args ...string) []map[string]any {
	c.t.Helper()
	var v []map[string]any
	out := c.must("", append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		c.t.Fatalf("doorward %s --json does not print an array: %v\n%s", strings.Join(args, " "), err, out)
	}
	return v
}

// fails runs a command that must fail with an exit code and a message.
func (c *cli) fails(code int, want, stdin string, args ...string) {
	c.t.Helper()
	stdout, stderr, got := c.run(stdin, args...)
	if got != code || !strings.Contains(stderr, want) {
		c.t.Errorf("doorward %s exits %d, want %d with %q:\n%s", strings.Join(args, " "), got, code, want, stderr)
	}
	if stdout != "" && args[0] != "check" {
		c.t.Errorf("doorward %s fails but prints to standard output:\n%s", strings.Join(args, " "), stdout)
	}
}

func TestIncorrectUsageExits2(t *testing.T) {
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

func TestCommandsAreThoseOfThisVersion(t *testing.T) {
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
		"user create", "user list", "user disable", "user enable", "user factor remove", "user delete", "user password", "user sign-in-link", "user sign-out", "user update",
		"user admin", "user approve", "user invite", "user refuse", "user reset", "user sessions",
		"client create", "client list", "client show", "client update", "client disable", "client enable", "client delete", "client secret rotate",
		"workspace create", "workspace list", "workspace update", "workspace disable", "workspace enable", "workspace delete", "workspace invite",
		"workspace member add", "workspace member remove", "workspace member role",
		"key create", "key list", "key show", "key update", "key pause", "key resume", "key revoke", "key rotate",
		"token create", "token list", "token revoke",
		"registration-token create", "registration-token list", "registration-token revoke",
		"signing-key list", "signing-key rotate", "secret reseal",
		"routes from-openapi", "explain", "docs", "introspect", "setup-link",
	}
	slices.Sort(names)
	slices.Sort(want)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("commands differ (-want +got):\n%s", diff)
	}
}

// Every setting except secret is a flag of serve, and serve has no other flags.
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

func TestEmptyFlagOfServeOverridesTheVariable(t *testing.T) {
	var flags serveCommand
	parser, err := kong.New(&flags)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"--admin-listen=", "--trusted-proxies="}); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(
		"",
		flags.settings(),
		environ(map[string]string{"DOORWARD_ADMIN_LISTEN": "127.0.0.1:1", "DOORWARD_TRUSTED_PROXIES": "10.0.0.1"}),
	)
	if err != nil {
		t.Fatal(err)
	}
	if c.AdminListen != "" || len(c.TrustedProxies) != 0 {
		t.Errorf("admin_listen is %q, trusted_proxies %v", c.AdminListen, c.TrustedProxies)
	}
}

func TestConfigurationFaultsExit1(t *testing.T) {
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

func TestIntrospectCommandReadsStandardInput(t *testing.T) {
	c := newCLI(t)
	c.must("", "migrate")
	for _, args := range [][]string{{"introspect", "dw_at_x"}, {"introspect", "-"}} {
		if got := c.object("dw_at_x\n", args...); !cmp.Equal(
			got,
			map[string]any{
				"active": false,
				"reason": "unknown credential: it starts like an access token, but was changed or truncated when it was copied",
			},
		) {
			t.Errorf("%v answers %v", args, got)
		}
	}
	c.fails(2, "no token on standard input", "\n", "introspect", "-")
}

// The first command on an empty database generates the master secret; later ones do not generate another.
func TestCommandsBindTheDatabaseToTheSecret(t *testing.T) {
	c := newCLI(t)
	c.must("", "migrate")
	c.must(goodPassword, "user", "create", "--email", "a@example.com", "--password-stdin")
	if err := os.Rename("data/secret", "data/kept"); err != nil {
		t.Fatal(err)
	}
	c.fails(1, "data/secret is missing, and the database needs the secret", "", "client", "list")
	c.vars["DOORWARD_SECRET"] = testSecret
	c.fails(1, "another secret", "", "client", "list")
	c.vars["DOORWARD_SECRET"] = "file:data/kept"
	c.must("", "client", "list")
}

func TestExitCodes(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		code int
	}{
		"success":         {nil, 0},
		"failure":         {errors.New("x"), 1},
		"incorrect usage": {usageError{errors.New("x")}, 2},
		"faults":          {config.Faults{{}}, 1},
	} {
		if got := exitCode(tc.err, &bytes.Buffer{}); got != tc.code {
			t.Errorf("%s exits %d, want %d", name, got, tc.code)
		}
	}
}
