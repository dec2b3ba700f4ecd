package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// explain says which route decides, why it refuses and what would be allowed. It counts towards no limit and does not
// print the credential.
func TestExplain(t *testing.T) { testExplain(t, newCLI(t)) }

func testExplain(t *testing.T, c *cli) {
	file := filepath.Join(t.TempDir(), "doorward.yaml")
	if err := os.WriteFile(file, []byte(`
plans:
  free: {hour: 100}
resources:
  - id: https://api.example.com
    hosts: [api.example.com]
    keys: {default_plan: free}
    routes:
      - {path: /v1/closed, refuse: true}
      - {methods: [GET], path: /v1/**, scopes: [read]}
      - {methods: [POST], path: /v1/**, scopes: [write], role: member, credentials: [personal_access_token]}
      - {path: /health, public: true}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	with := func(args ...string) []string { return append([]string{"--config", file}, args...) }
	c.must("", with("migrate")...)
	c.people("ann@example.com")
	c.must("", with("workspace", "create", "--name", "Acme", "--slug", "acme", "--owner", "ann@example.com")...)
	made := c.object("", with("key", "create", "--workspace", "acme", "--name", "Import", "--scope", "read")...)
	key := text(t, made, "key")
	for _, test := range []struct {
		name, method, url string
		credential        bool
		want              map[string]any
		says              []string
	}{
		{"allowed", "GET", "https://api.example.com/v1/x?a=b", true, map[string]any{"allowed": true, "status": 200.0, "route": "GET /v1/**", "reason": nil}, []string{"100 of 100 are left"}},
		{"no credential", "GET", "https://api.example.com/v1/x", false, map[string]any{"allowed": false, "status": 401.0, "route": "GET /v1/**", "reason": "no credential"}, []string{"no credential was sent", "answer    401: no credential\n"}},
		{"wrong kind", "post", "https://api.example.com/v1/x", true, map[string]any{
			"allowed": false, "status": 403.0, "reason": "the route POST /v1/** does not accept an API key; it accepts a personal access token",
			"needed": "a personal access token with write, of a user who is at least member in the workspace, for POST /v1/**",
		}, nil},
		{"no route", "DELETE", "https://api.example.com/v1/x", true, map[string]any{"allowed": false, "status": 403.0, "route": nil, "needed": nil}, []string{"no route matches DELETE /v1/x"}},
		{"refused", "GET", "https://api.example.com/v1/closed", true, map[string]any{
			"allowed": false, "status": 403.0, "route": "any method /v1/closed", "reason": "the route any method /v1/closed refuses every request", "needed": nil,
		}, []string{"it refuses every request"}},
		{"public", "GET", "https://api.example.com/health", false, map[string]any{"allowed": true, "route": "any method /health"}, []string{"public"}},
		{"two meanings", "GET", "https://api.example.com/v1/%2e%2e/x", true, map[string]any{"allowed": false, "status": 400.0}, []string{"not normalised"}},
		{"built in", "GET", "https://api.example.com/v1/auth/test", true, map[string]any{"allowed": true}, []string{"builtin"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			args, in := with("explain", test.method, test.url), ""
			if test.credential {
				args, in = append(args, "--credential", "-"), key+"\n"
			}
			got := c.object(in, args...)
			for name, want := range test.want {
				if got[name] != want {
					t.Errorf("%s is %v, want %v", name, got[name], want)
				}
			}
			out := c.must(in, args...)
			if steps, ok := got["steps"].([]any); ok {
				for _, step := range steps {
					out += "\n" + step.(string)
				}
			}
			for _, want := range test.says {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
			if strings.Contains(out, key) {
				t.Error("it prints the key")
			}
		})
	}
	// A key in a header that is not read gets a hint (V-75).
	hinted := c.object("", with("explain", "GET", "https://api.example.com/v1/x", "--header", "X-API-Key: "+key)...)
	if hinted["status"] != 401.0 ||
		!strings.Contains(
			strings.Join(stepsOf(hinted["steps"]), "\n")+text(t, hinted, "reason"),
			"The X-Api-Key header is not supported",
		) {
		t.Errorf("%v", hinted)
	}
	// Explanations do not count towards the plan.
	if got := c.object(key+"\n", with("explain", "GET", "https://api.example.com/v1/x", "--credential", "-")...); !strings.Contains(
		strings.Join(stepsOf(got["steps"]), "\n"),
		"100 of 100 are left",
	) {
		t.Errorf("%v", got["steps"])
	}
}

// TestV43_AnyScopeCanBeNamed uses unusual scopes in the catalogue, under implies, in routes and for keys.
func TestV43_AnyScopeCanBeNamed(t *testing.T) {
	c := newCLI(t)
	c.writeConfig(`
resources:
  - id: https://api.example.com
    hosts: [api.example.com]
    objects: [accounts]
    scopes:
      https://www.googleapis.com/auth/x: {text: X}
      meeting:read:admin: {text: M}
      read:admin: {text: RA, implies: ['file:read']}
      delete: {text: D}
      users:delete: {text: UD}
      file:read: {text: F}
      x:introspect: {text: I}
      "!#[]^{|}~": {text: P}
    routes:
      - {path: /url, scopes: ['https://www.googleapis.com/auth/x']}
      - {path: /meeting, scopes: ['meeting:read:admin']}
      - {path: /users, scopes: ['users:delete']}
      - {path: /accounts, scopes: ['accounts:delete']}
      - {path: /file, scopes: ['file:read', x:introspect]}
      - {path: /signs, scopes: ["!#[]^{|}~"]}
`)
	c.must("", "migrate")
	c.people("ann@example.com")
	c.must("", "workspace", "create", "--name", "Acme", "--slug", "acme", "--owner", "ann@example.com")
	for _, test := range []struct{ scopes, passes string }{
		{"https://www.googleapis.com/auth/x", "/url"},
		{"meeting:read:admin", "/meeting"},
		{"read:admin x:introspect", "/file"},
		{"delete", "/accounts"},
		{"users:delete", "/users"},
		{"!#[]^{|}~", "/signs"},
	} {
		key := text(t, c.object("", "key", "create", "--workspace", "acme", "--name", "K", "--scope", test.scopes), "key")
		for _, path := range []string{"/url", "/meeting", "/users", "/accounts", "/file", "/signs"} {
			got := c.object(key+"\n", "explain", "GET", "https://api.example.com"+path, "--credential", "-")
			if got["allowed"] != (path == test.passes) {
				t.Errorf("%s with %s: %v", path, test.scopes, got)
			}
		}
	}
	c.fails(
		2,
		`--scope "accounts:read:admin" is not a scope of https://api.example.com`,
		"",
		"key",
		"create",
		"--workspace",
		"acme",
		"--name",
		"K",
		"--scope",
		"accounts:read:admin",
	)
}

func stepsOf(list any) []string {
	var out []string
	for _, x := range list.([]any) {
		out = append(out, x.(string))
	}
	return out
}
