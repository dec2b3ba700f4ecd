// Package interop has third-party programs sign in through Doorward and check its tokens: with the real binary, the
// real pages in a real browser, and each library used as its documentation says. The results are in
// docs/interoperability.md.
package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"doorward/test/browser"
	"doorward/test/setup"
)

const (
	email    = "ada@example.com"
	password = "nineteen llamas dance badly"
	scope    = "read write"                // the scopes that the clients request
	callback = "http://127.0.0.1/callback" // their redirect URI; they may choose any port (RFC 8252, section 7.3)
)

// binary is the path of the server's binary.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(built(m)) //nolint:forbidigo // it is the main of this test
}

func built(m *testing.M) int {
	if testing.Short() {
		return m.Run()
	}
	var err error
	if binary, err = setup.Built(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// server is a running Doorward with one user, in its own folder.
type server struct {
	t       *testing.T
	issuer  string
	folder  string
	process *exec.Cmd
	log     *lines
}

// lines collects the output of a program, to be shown if a test fails.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newServer configures a server but does not start it. The configuration is added to issuer, listeners and database.
func newServer(t *testing.T, database, configuration string) *server {
	t.Helper()
	port, err := setup.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return newServerAt(t, fmt.Sprintf("http://localhost:%d", port), port, database, configuration)
}

// newServerAt is newServer for an issuer whose requests arrive at a port.
func newServerAt(t *testing.T, issuer string, port int, database, configuration string) *server {
	t.Helper()
	s := &server{t: t, issuer: issuer, folder: t.TempDir(), log: &lines{}}
	text := fmt.Sprintf("issuer: %s\nlisten: [127.0.0.1:%d]\nadmin_listen: \"\"\ndatabase_url: %q\n%s", s.issuer,
		port, database, configuration)
	if err := os.WriteFile(filepath.Join(s.folder, "doorward.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("the server's log:\n%s", s.log)
		}
	})
	return s
}

// start starts a configured server that has no users yet.
func start(t *testing.T, database, configuration string) *server {
	t.Helper()
	s := newServer(t, database, configuration)
	s.begin()
	return s
}

// begin starts the server and creates its user.
func (s *server) begin() {
	s.t.Helper()
	if err := s.serve(); err != nil {
		s.t.Fatal(err)
	}
	s.command(password, "user", "create", "--email", email, "--name", "Ada", "--password-stdin")
}

// doorward returns a command of the CLI with the server's configuration.
func (s *server) doorward(args ...string) *exec.Cmd {
	c := exec.CommandContext(s.t.Context(), binary, args...)
	c.Dir = s.folder
	c.Env = append(os.Environ(), "DOORWARD_CONFIG=doorward.yaml")
	return c
}

// serve starts the server and returns when it is ready or has failed.
func (s *server) serve() error {
	c := s.doorward("serve")
	out, err := c.StderrPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	ready := make(chan bool, 1)
	go func() {
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			var line struct {
				Msg    string
				Status int
			}
			_ = json.Unmarshal(scanner.Bytes(), &line) // it may not be JSON
			if line.Msg == "ready" {
				ready <- true
			}
			if line.Msg != "request" || line.Status >= http.StatusBadRequest {
				_, _ = fmt.Fprintln(s.log, scanner.Text())
			}
		}
		close(ready)
	}()
	if !<-ready {
		return errors.Join(c.Wait(), errors.New(s.log.String()))
	}
	s.process = c
	return nil
}

// kill ends the server as a power cut would. A stopped server stays stopped.
func (s *server) kill() {
	if s.process != nil {
		_ = s.process.Process.Signal(syscall.SIGKILL) // it may have exited already
		_ = s.process.Wait()
		s.process = nil
	}
}

// command runs an administrative command and returns its output.
func (s *server) command(stdin string, args ...string) map[string]any {
	s.t.Helper()
	c := s.doorward(append(args, "--json")...)
	c.Stdin = strings.NewReader(stdin)
	var problem strings.Builder
	c.Stderr = &problem
	out, err := c.Output()
	if err != nil {
		s.t.Fatalf("doorward %s: %v\n%s", strings.Join(args, " "), err, problem.String())
	}
	var v map[string]any
	if err := json.Unmarshal(out, &v); err != nil {
		s.t.Fatalf("doorward %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return v
}

// credentials are the credentials of a client.
type credentials struct {
	ID     string `json:"id"`
	Secret string `json:"secret,omitempty"` // empty: a public client
}

// client registers a client.
func (s *server) client(name string, args ...string) credentials {
	s.t.Helper()
	v := s.command("", append([]string{"client", "create", "--name", name}, args...)...)
	id, _ := v["client_id"].(string)
	secret, _ := v["client_secret"].(string)
	return credentials{ID: id, Secret: secret}
}

// confidential registers a client that may use every grant; public registers one without a secret.
func (s *server) confidential(name string) credentials {
	s.t.Helper()
	return s.client(name, "--redirect-uri", callback, "--scope", scope,
		"--grant", "authorization_code", "--grant", "refresh_token", "--grant", "client_credentials")
}

func (s *server) public(name string) credentials {
	s.t.Helper()
	return s.client(name, "--redirect-uri", callback, "--scope", scope, "--public")
}

// resourceServer registers an API that introspects.
func (s *server) resourceServer(resource string) credentials {
	s.t.Helper()
	return s.client("API", "--resource-server", "--resource", resource)
}

// introspect introspects a token as a client (RFC 7662).
func (s *server) introspect(c credentials, token string) map[string]any {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.issuer+"/oauth/introspect",
		strings.NewReader("token="+token))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(c.ID, c.Secret)
	var v map[string]any
	if status := do(s.t, request, &v); status != http.StatusOK {
		s.t.Fatalf("introspection answers %d %v", status, v)
	}
	return v
}

// do sends a request and decodes the answer's JSON into v, unless v is nil.
func do(t *testing.T, request *http.Request, v any) (status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	response, err := http.DefaultClient.Do(request.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // only read
	if v != nil {
		if err := json.NewDecoder(response.Body).Decode(v); err != nil {
			t.Fatalf("%s: %v", request.URL, err)
		}
	}
	return response.StatusCode
}

// visit is what a user does at an authorization URL: sign in if asked to, answer the consent page if there is one, and
// arrive at the client's address.
func visit(t *testing.T, tab *browser.Tab, address, decision string) {
	t.Helper()
	host, path := "127.0.0.1", "/callback"
	if u, err := url.Parse(address); err == nil && u.Query().Has("redirect_uri") {
		if back, err := url.Parse(u.Query().Get("redirect_uri")); err == nil {
			host, path = back.Hostname(), back.Path
		}
	}
	tab.Goto(address)
	if tab.Has(`form[action="/login"]`) {
		tab.Fill(`[name=email]`, email)
		tab.Fill(`[name=password]`, password)
		tab.Click(`form[action="/login"] [type=submit]`)
	}
	if tab.Has(`form[action="/oauth/consent"]`) {
		tab.Click(`[name=decision][value=` + decision + `]`)
	}
	if u := tab.URL(); u.Hostname() != host || u.Path != path {
		t.Fatalf("the browser ended at %s: %s", u, tab.Text("body"))
	}
}
