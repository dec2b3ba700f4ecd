package interop

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	_ "modernc.org/sqlite" // the server's database

	"doorward/test/browser"
	"doorward/test/setup"
)

// The three APIs of one Doorward. Tokens for the second are signed.
const (
	opaqueResource = "https://files.example.com"
	signedResource = "https://signed.example.com"
	otherResource  = "https://other.example.com"
)

// guard is a third-party resource server.
type guard struct {
	name    string
	version func(*testing.T) string
	pinned  bool   // this repository pins the version; otherwise the machine decides
	source  string // its source, below test/interop
	signed  bool   // it verifies signed tokens; otherwise it introspects
	// start returns the base URL of note.txt, which needs read, and of write/note.txt.
	start func(t *testing.T, s *server, api credentials) string
}

var guards = []guard{
	{name: "Apache, mod_oauth2", version: modOAuth2Version, source: "apache_test.go", start: apacheFiles},
	{
		name:    "oauth4webapi",
		version: nodePackage("oauth4webapi"),
		pinned:  true,
		source:  "node/guard-oauth4webapi.js",
		start:   nodeGuard("oauth4webapi", opaqueResource),
	},
	{
		name:    "Authlib, Flask",
		version: python("authlib"),
		source:  "python/authlib_guard.py",
		start:   authlibGuard("introspection", opaqueResource),
	},
	{
		name:    "Apache, mod_oauth2",
		version: modOAuth2Version,
		source:  "apache_test.go",
		signed:  true,
		start:   apacheSignedFiles,
	},
	{
		name:    "express-oauth2-jwt-bearer",
		version: nodePackage("express-oauth2-jwt-bearer"),
		pinned:  true,
		source:  "node/guard-express-oauth2-jwt-bearer.js",
		signed:  true,
		start:   nodeGuard("express-oauth2-jwt-bearer", signedResource),
	},
	{
		name:    "jose",
		version: nodePackage("jose"),
		pinned:  true,
		source:  "node/guard-jose.js",
		signed:  true,
		start:   nodeGuard("jose", signedResource),
	},
	{
		name:    "Authlib, Flask",
		version: python("authlib"),
		source:  "python/authlib_guard.py",
		signed:  true,
		start:   authlibGuard("jwks", signedResource),
	},
}

// verdict is a guard's answer to a request.
type verdict struct {
	status int
	code   string // the error of WWW-Authenticate (RFC 6750, section 3.1)
}

// guarded holds the results of the guards of one kind.
type guarded struct {
	guards   []guard
	versions []string
	asked    []string             // the questions, in the order of the page
	got      map[string][]verdict // by question, one for each guard
}

// resourceServers sends the same tokens to each guard of a kind.
func resourceServers(t *testing.T, signed bool) guarded {
	t.Helper()
	s := start(t, "sqlite:data/doorward.db", `resources:
  - {id: `+opaqueResource+`, name: Files}
  - {id: `+signedResource+`, name: Signed, tokens: jwt, keys: {prefix: signed}}
  - {id: `+otherResource+`, name: Other, tokens: `+map[bool]string{false: "opaque", true: "jwt"}[signed]+
		`, keys: {prefix: other}}
`)
	resource := map[bool]string{false: opaqueResource, true: signedResource}[signed]
	api := s.resourceServer(resource)
	g := guarded{got: map[string][]verdict{}}
	var addresses []string
	for _, one := range guards {
		if one.signed == signed {
			g.guards, g.versions = append(g.guards, one), append(g.versions, one.version(t))
			addresses = append(addresses, one.start(t, s, api))
		}
	}
	// Status 0 stands for any status other than 200: guards differ in what they answer when they cannot decide.
	ask := func(asked, path, token string, status int) {
		t.Helper()
		g.asked = append(g.asked, asked)
		for i, address := range addresses {
			got, header := get(t, address+path, token)
			j := verdict{status: got}
			if m := regexp.MustCompile(`^Bearer .*error="(\w+)"`).FindStringSubmatch(header.Get("WWW-Authenticate")); m != nil {
				j.code = m[1]
			}
			if got != status && (status != 0 || got == http.StatusOK) {
				t.Errorf("%s, %s: %+v, want %d", g.guards[i].name, asked, j, status)
			}
			if subject := header.Get("X-Subject"); status == http.StatusOK && !strings.HasPrefix(subject, "user_") {
				t.Errorf("%s, %s: the user is taken for %q", g.guards[i].name, asked, subject)
			}
			g.got[asked] = append(g.got[asked], j)
		}
	}

	c := s.client("Reader", "--redirect-uri", callback, "--scope", scope, "--resource", resource,
		"--resource", otherResource,
		"--grant", "authorization_code", "--grant", "refresh_token", "--grant", "client_credentials")
	tab := browser.New(t)
	reader := newApp(t, s, tab, c, "read").exchange()
	writer := newApp(t, s, tab, c, "read", "write").exchange()
	machine := clientcredentials.Config{
		ClientID: c.ID, ClientSecret: c.Secret, TokenURL: s.issuer + "/oauth/token", Scopes: []string{"read"},
		EndpointParams: url.Values{"resource": {otherResource}},
	}
	elsewhere, err := machine.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(reader.AccessToken, ".") == 2; got != signed {
		t.Fatalf("the token %.20s… is signed: %v", reader.AccessToken, got)
	}
	const file, needsWrite = "/note.txt", "/write/note.txt"
	ask("without a token", file, "", http.StatusUnauthorized)
	ask("with a token for `read`", file, reader.AccessToken, http.StatusOK)
	ask("with a token for `read`, where `write` is needed", needsWrite, reader.AccessToken, http.StatusForbidden)
	ask("with a token for `read write`, where `write` is needed", needsWrite, writer.AccessToken, http.StatusOK)
	ask("with a refresh token", file, reader.RefreshToken, http.StatusUnauthorized)
	ask("with a token for another resource", file, elsewhere.AccessToken, http.StatusUnauthorized)
	if signed {
		ask("with a token that was tampered with", file, tampered(reader), http.StatusUnauthorized)
		rotate(t, s)
		fresh := newApp(t, s, tab, c, "read").exchange()
		ask("with a token from before `signing-key rotate`", file, reader.AccessToken, http.StatusOK)
		ask("with a token from after it", file, fresh.AccessToken, http.StatusOK)
		s.kill()
		ask("while Doorward is unavailable", file, fresh.AccessToken, http.StatusOK)
		return g
	}
	revoke(t, s, c, reader)
	ask("with a token that was revoked", file, reader.AccessToken, http.StatusUnauthorized)
	s.kill()
	ask("while Doorward is unavailable", file, writer.AccessToken, 0)
	return g
}

// tampered returns a signed token with another payload.
func tampered(token *oauth2.Token) string {
	parts := strings.Split(token.AccessToken, ".")
	at := len(parts[1]) / 2
	other := byte('A')
	if parts[1][at] == other {
		other = 'B'
	}
	return parts[0] + "." + parts[1][:at] + string(other) + parts[1][at+1:] + "." + parts[2]
}

// rotate makes the server sign with a new key. The server waits until every verifier can have seen the next key, so the
// test backdates that key first.
func rotate(t *testing.T, s *server) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(s.folder, "data", "doorward.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // what was written is committed
	day := (24 * time.Hour).Microseconds()
	if _, err := db.ExecContext(t.Context(), "UPDATE signing_keys SET created_at = created_at - $1", day); err != nil {
		t.Fatal(err)
	}
	s.command("", "signing-key", "rotate")
}

// nodeGuard starts node/guard-NAME.js for a resource.
func nodeGuard(name, resource string) func(*testing.T, *server, credentials) string {
	return func(t *testing.T, s *server, api credentials) string {
		t.Helper()
		program, err := setup.Node()
		setup.Need(t, err)
		_, err = setup.NodePackage(name)
		setup.Need(t, err)
		return serveGuard(t, s, api, resource, program, filepath.Join("node", "guard-"+name+".js"))
	}
}

// authlibGuard starts python/authlib_guard.py for a resource.
func authlibGuard(way, resource string) func(*testing.T, *server, credentials) string {
	return func(t *testing.T, s *server, api credentials) string {
		t.Helper()
		program, err := setup.Python()
		setup.Need(t, err)
		return serveGuard(t, s, api, resource, program, "-B", filepath.Join("python", "authlib_guard.py"), way)
	}
}

// serveGuard starts a program that prints its address and runs until its standard input is closed.
func serveGuard(t *testing.T, s *server, api credentials, resource, program string, args ...string) (address string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), program, args...)
	c.Env = withSettings(t, map[string]any{"issuer": s.issuer, "resource": resource, "api": api})
	problem := &lines{}
	c.Stderr = problem
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
	t.Cleanup(func() {
		_ = in.Close()
		_ = c.Process.Kill()
		_ = c.Wait()
		if t.Failed() {
			t.Logf("%s wrote:\n%s", strings.Join(args, " "), problem)
		}
	})
	var told struct{ Address string }
	first, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(first, &told)
	}
	if err != nil {
		t.Fatalf("%s does not say where it is: %v", strings.Join(args, " "), err)
	}
	return told.Address
}

// cell formats a verdict.
func (j verdict) cell() string {
	if j.code == "" {
		return fmt.Sprint(j.status)
	}
	return fmt.Sprintf("%d `%s`", j.status, j.code)
}

// lines formats the rows of the page's table.
func (g guarded) lines() (titles []string, lines [][]string) {
	titles = []string{"request for a file"}
	version := []string{"version"}
	for i, one := range g.guards {
		titles = append(titles, "["+one.name+"](../test/interop/"+one.source+")")
		version = append(version, g.versions[i])
	}
	lines = append(lines, version)
	for _, asked := range g.asked {
		cells := []string{asked}
		for _, j := range g.got[asked] {
			cells = append(cells, j.cell())
		}
		lines = append(lines, cells)
	}
	return titles, lines
}
