package interop

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"doorward/test/browser"
	"doorward/test/postgres"
	"doorward/test/setup"
)

// callsSeed is the seed of the calls generated from the document, so that a failure can be repeated.
const callsSeed = 20261122

// openAPIPackages are the Node packages that read the document.
var openAPIPackages = []string{
	"openapi-typescript", "typescript", "openapi-fetch", "@seriousme/openapi-schema-validator",
	"@redocly/openapi-core", "fast-check", "ajv",
}

// document holds what third-party programs found in /openapi.json.
type document struct {
	versions map[string]string
	steps    []string // steps in the life of a key
	mistakes int      // mistakes that the compiler finds in a program
	calls    int      // generated from the document, on each engine
	kinds    int      // operations called
}

// withEmail lets every operation work: some send an email. The emails are only written to a folder.
const withEmail = `mail: {url: "dir:mail", from: Doorward <no-reply@example.com>}
sign_up: invited
`

// vendor is a configuration that has every setting that changes the document.
const vendor = `plans: {small: {hour: 5000, day: 90000}, large: {hour: 1000000, burst: 1000000}}
resources:
  - id: https://api.example.com
    errors: envelope
    workspace_header: X-Tenant
    objects: [opportunities, accounts]
    scopes: {read: {text: Read}, admin: {text: Everything, implies: [read]}, capture: {text: Add, user_only: true}}
    keys: {prefix: ex, environments: [live, test], default_plan: large}
  - {id: https://other.example.com, errors: nested, expired_status: 419, keys: {prefix: other}}
`

// managementAPI has third-party programs read the document, and use the API as it says.
func managementAPI(t *testing.T) document {
	t.Helper()
	d := document{versions: map[string]string{}}
	program, err := setup.Node()
	setup.Need(t, err)
	for _, name := range openAPIPackages {
		_, err := setup.NodePackage(name)
		setup.Need(t, err)
		d.versions[name] = nodePackage(name)(t)
	}
	plain, sending := start(t, "sqlite:data/doorward.db", ""), start(t, "sqlite:data/doorward.db", withEmail)
	other := start(t,
		loginOf(t, postgres.Private(t, postgres.Options{}), postgres.Login{CreateRole: true, Database: true}),
		withEmail+vendor)
	on := func(name string, first *server, fn func(t *testing.T, s *server)) {
		for _, s := range []*server{first, other} {
			t.Run(name, func(t *testing.T) {
				own := *s
				own.t = t
				fn(t, &own)
			})
		}
	}
	on("validators", plain, func(t *testing.T, s *server) { validate(t, program, s) })
	t.Run("openapi-fetch", func(t *testing.T) {
		s := *plain
		s.t = t
		d.steps, d.mistakes = lifeOfAKey(t, program, &s)
	})
	on("calls", sending, func(t *testing.T, s *server) { d.calls, d.kinds = callAll(t, program, s) })
	return d
}

// nodeScript runs a program of the Node folder and decodes its output.
func nodeScript(t *testing.T, program, file string, settings, v any) {
	t.Helper()
	c := exec.CommandContext(t.Context(), program, filepath.Join("node", file))
	c.Env = withSettings(t, settings)
	var problem strings.Builder
	c.Stderr = &problem
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", file, err, problem.String())
	}
	if err := json.Unmarshal(out, v); err != nil {
		t.Fatalf("%s: %v\n%s", file, err, out)
	}
}

// validate has third-party validators check the document.
func validate(t *testing.T, program string, s *server) {
	t.Helper()
	var found map[string][]string
	nodeScript(t, program, "openapi-validate.js", map[string]any{"issuer": s.issuer}, &found)
	for validator, list := range found {
		for _, problem := range list {
			t.Errorf("%s: %s", validator, problem)
		}
	}
	if len(found) != 2 {
		t.Errorf("the validators are %v", found)
	}
}

// callAll sends calls generated from the document, by callers who may do everything and by callers who may do nothing.
func callAll(t *testing.T, program string, s *server) (calls, kinds int) {
	t.Helper()
	const slug = "standing"
	s.command("", "workspace", "create", "--name", "Standing", "--slug", slug, "--owner", email)
	key := s.command("", "key", "create", "--workspace", slug, "--name", "Admin", "--scope", "admin")
	token := s.command("", "token", "create", "--user", email, "--name", "Admin", "--scope", "admin")
	s.command("", "user", "update", email, "--admin") // without it the operations about users are 403
	var users []any
	for _, name := range []string{"bob", "dave", "frank"} {
		users = append(users,
			s.command(password, "user", "create", "--email", name+"@example.com", "--name", name, "--password-stdin")["id"])
		s.command("", "workspace", "member", "add", slug, name+"@example.com", "--role", "viewer")
		s.signIn(name+"@example.com", password)
	}
	var got struct{ Calls, Operations, Succeeded int }
	nodeScript(t, program, "openapi-calls.js", map[string]any{
		"issuer":    s.issuer,
		"key":       key["key"],
		"token":     token["token"],
		"workspace": slug,
		"users":     users,
		"keep":      []any{slug, key["id"], token["id"]},
		"seed":      callsSeed,
	}, &got)
	t.Logf("%+v, seed %d", got, callsSeed)
	return got.Calls, got.Operations
}

// signIn signs a user in, in a browser of its own.
func (s *server) signIn(email, password string) {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	page, err := browser.Get(s.issuer + "/login")
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := io.ReadAll(page.Body)
	_ = page.Body.Close()
	flow := regexp.MustCompile(`name="flow" value="([^"]+)"`).FindSubmatch(text)
	if err != nil || flow == nil {
		s.t.Fatalf("the sign-in page: %v\n%s", err, text)
	}
	answer, err := browser.PostForm(s.issuer+"/login", url.Values{
		"flow": {string(flow[1])}, "email": {email}, "password": {password},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.Request.URL.Path != "/settings/profile" {
		s.t.Fatalf("signing in leads to %s, %d", answer.Request.URL, answer.StatusCode)
	}
}

// lifeOfAKey generates a client from the document, has the compiler check a program that uses it, and runs the program.
func lifeOfAKey(t *testing.T, program string, s *server) (steps []string, mistakes int) {
	t.Helper()
	// As in a developer's folder: the packages are installed and the types are generated.
	dir := t.TempDir()
	for _, name := range []string{"package.json", "tsconfig.json", "steps.js", "openapi-fetch.ts"} {
		text, err := os.ReadFile(filepath.Join("node", name))
		if err != nil {
			t.Fatal(err)
		}
		mistakes += bytes.Count(text, []byte("\n  // @ts-expect-error"))
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	folder, err := setup.NodeFolder()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(folder, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"openapi-typescript/bin/cli.js", s.issuer + "/openapi.json", "-o", "doorward.d.ts"},
		{"typescript/bin/tsc", "--outDir", "made"},
	} {
		c := exec.CommandContext(t.Context(), program,
			append([]string{filepath.Join("node_modules", args[0])}, args[1:]...)...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args[0], err, out)
		}
	}

	const invited = "eve@example.com"
	s.command(password, "user", "create", "--email", invited, "--name", "Eve", "--password-stdin")
	made := s.command("", "token", "create", "--user", email, "--name", "Laptop", "--scope", "admin")
	api := s.resourceServer(s.issuer)
	settings := map[string]any{"issuer": s.issuer, "token": made["token"], "email": email, "invited": invited}
	listen(t, settings, func(l line) (waits bool) {
		if l.Open != "" {
			join(t, l.Open, invited)
			return true
		}
		s.checkTokens(api, l)
		steps = append(steps, l.Step)
		return true
	}, program, filepath.Join(dir, "made", "openapi-fetch.js"))
	return steps, mistakes
}

// join accepts an invitation, as a user does in the browser.
func join(t *testing.T, link, email string) {
	t.Helper()
	tab := browser.New(t)
	tab.Goto(link)
	tab.Fill(`[name=email]`, email)
	tab.Fill(`[name=password]`, password)
	tab.Click(`form[action="/login"] [type=submit]`)
	tab.Click(`form[action^="/join/"] [type=submit]`)
}
