package interop

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"doorward/test/browser"
	"doorward/test/setup"
)

// party is a third-party program.
type party struct {
	name    string
	version func(t *testing.T) string
	pinned  bool // this repository pins the version; otherwise the machine decides
	lacks   []string
	run     func(t *testing.T, e *encounter)
}

// steps are the steps that a client can do, in the order of the page. If a library has no function for a step, the step
// is in lacks of its party.
var steps = []string{
	"metadata", "code", "refresh", "introspect", "revoke", "client_credentials", "public_code", "public_refresh",
	"denied", "used_refresh", "state", "iss",
}

var clients = []party{
	{
		name: "golang.org/x/oauth2", version: goModule("golang.org/x/oauth2"), pinned: true,
		lacks: []string{"metadata", "introspect", "revoke", "state", "iss"}, run: xoauth2,
	},
	{name: "openid-client", version: nodePackage("openid-client"), pinned: true, run: node("openid-client.js")},
	{name: "oauth4webapi", version: nodePackage("oauth4webapi"), pinned: true, run: node("oauth4webapi.js")},
	{
		name: "simple-oauth2", version: nodePackage("simple-oauth2"), pinned: true,
		lacks: []string{"metadata", "introspect", "state", "iss"}, run: node("simple-oauth2.js"),
	},
	{
		name: "@badgateway/oauth2-client", version: nodePackage("@badgateway/oauth2-client"), pinned: true,
		lacks: []string{"iss"}, run: node("badgateway-oauth2-client.js"),
	},
	{name: "Authlib", version: python("authlib"), lacks: []string{"iss"}, run: script("authlib_client.py")},
	{
		name: "requests-oauthlib", version: python("requests_oauthlib"),
		lacks: []string{"metadata", "introspect", "iss"}, run: script("requests_oauthlib_client.py"),
	},
}

// encounter is one client at one server, with a user at a browser.
type encounter struct {
	t            *testing.T
	server       *server
	tab          *browser.Tab
	confidential credentials
	public       credentials
	api          credentials // a resource server, to introspect tokens
	got          map[string]string
}

// line is what a client prints: a URL for the user to open, or the result of a step.
type line struct {
	Open     string `json:"open"`
	Decision string `json:"decision"`

	Step   string `json:"step"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"` // of a refusal: the library's own name for it
	Alive  string `json:"alive"`  // a token that is active now
	Dead   string `json:"dead"`   // one that is not

	Refuses string `json:"refuses"` // a URL for the user to open, at which the server shows an error
}

// report records a step, and asks the server about its tokens.
func (e *encounter) report(l line) {
	e.t.Helper()
	if _, twice := e.got[l.Step]; twice || !slices.Contains(steps, l.Step) {
		e.t.Errorf("step %q is unknown or told twice", l.Step)
	}
	if !l.OK {
		e.t.Errorf("%s: %s", l.Step, l.Detail)
	}
	e.server.checkTokens(e.api, l)
	e.got[l.Step] = l.Detail
}

// checkTokens introspects the tokens of a step.
func (s *server) checkTokens(c credentials, l line) {
	s.t.Helper()
	for token, want := range map[string]bool{l.Alive: true, l.Dead: false} {
		if token == "" {
			continue
		}
		if got := s.introspect(c, token); got["active"] != want {
			s.t.Errorf("after %s a token is %v, want active %v", l.Step, got, want)
		}
	}
}

// meet lets a client do everything it can at a server.
func meet(t *testing.T, s *server, p party) map[string]string {
	t.Helper()
	e := &encounter{
		t: t, server: s, tab: browser.New(t), got: map[string]string{},
		confidential: s.confidential(p.name), public: s.public(p.name), api: s.resourceServer(s.issuer),
	}
	p.run(t, e)
	for _, step := range steps {
		if _, told := e.got[step]; told == slices.Contains(p.lacks, step) {
			t.Errorf("%s: told %v, though the table of clients says otherwise", step, told)
		}
	}
	return e.got
}

func node(file string) func(*testing.T, *encounter) {
	return func(t *testing.T, e *encounter) {
		t.Helper()
		program, err := setup.Node()
		setup.Need(t, err)
		for _, name := range []string{"openid-client", "oauth4webapi", "simple-oauth2", "@badgateway/oauth2-client"} {
			_, err := setup.NodePackage(name)
			setup.Need(t, err)
		}
		e.follow(program, filepath.Join("node", file))
	}
}

func script(file string) func(*testing.T, *encounter) {
	return func(t *testing.T, e *encounter) {
		t.Helper()
		program, err := setup.Python()
		setup.Need(t, err)
		e.follow(program, "-B", filepath.Join("python", file))
	}
}

// follow runs a client's script and does what its lines ask for.
func (e *encounter) follow(program string, args ...string) {
	e.t.Helper()
	settings := map[string]any{
		"issuer":       e.server.issuer,
		"scope":        scope,
		"confidential": e.confidential,
		"public":       e.public,
	}
	listen(e.t, settings, func(l line) (waits bool) {
		if l.Open != "" {
			visit(e.t, e.tab, l.Open, l.Decision)
			return false
		}
		e.report(l)
		return true
	}, program, args...)
}

// listen runs a script and passes on what it prints, line by line. heard reports whether the script may go on without
// waiting.
func listen(t *testing.T, settings any, heard func(line) (waits bool), program string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), program, args...)
	c.Env = withSettings(t, settings)
	var problem strings.Builder
	c.Stderr = &problem
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { // also if the browser failed and the script still waits for it
		_ = c.Process.Kill()
		_ = c.Wait()
		if t.Failed() {
			t.Logf("%s wrote:\n%s", args[len(args)-1], problem.String())
		}
	}()
	for scanner := bufio.NewScanner(out); scanner.Scan(); {
		var l line
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			t.Fatalf("%v: %s", err, scanner.Text())
		}
		if !heard(l) {
			continue
		}
		if _, err := in.Write([]byte("\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Wait(); err != nil {
		t.Errorf("%s: %v", args[len(args)-1], err)
	}
}

// withSettings returns the environment of a script.
func withSettings(t *testing.T, settings any) []string {
	t.Helper()
	text, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	return append(os.Environ(), "DOORWARD_INTEROP="+string(text))
}

// TestProgramsByOthers checks that each third-party client completes every step that its library supports, and that the
// page says so.
func TestProgramsByOthers(t *testing.T) {
	setup.Long(t)
	// The tests run on a network that loses no answers, so a refresh token that is used twice must be refused at once.
	s := start(t, "sqlite:data/doorward.db", "tokens: {refresh_reuse_window: 0s}\n")
	var rows []row
	for _, p := range clients {
		t.Run(strings.ReplaceAll(p.name, "/", "_"), func(t *testing.T) {
			s := *s
			s.t = t
			got := meet(t, &s, p)
			rows = append(rows, row{party: p, version: p.version(t), got: got})
		})
	}
	var k keyed
	t.Run("keys", func(t *testing.T) { k = keysInsteadOfSecrets(t) })
	var asking, verifying guarded
	t.Run("introspection", func(t *testing.T) { asking = resourceServers(t, false) })
	t.Run("signed tokens", func(t *testing.T) { verifying = resourceServers(t, true) })
	var d document
	t.Run("management API", func(t *testing.T) { d = managementAPI(t) })
	if t.Failed() || len(rows) < len(clients) || len(k.got) < len(keyParties) || asking.got == nil ||
		verifying.got == nil || d.steps == nil || d.calls == 0 {
		return // a part was skipped or failed, so there is no complete page
	}
	comparePage(t, rows, k, []guarded{asking, verifying}, d)
}
