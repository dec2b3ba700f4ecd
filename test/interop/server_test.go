// Package interop has programs written by others sign in through Doorward, and check its tokens: the real binary, real
// pages in a real browser, and each library used as its own documentation says. What came out is
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
	scope    = "read write"                // what the clients ask for
	callback = "http://127.0.0.1/callback" // what they register; the port is theirs to choose (RFC 8252, section 7.3)
)

// binary is the server.
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

// server is a running Doorward with one person, in a folder of its own.
type server struct {
	t       *testing.T
	issuer  string
	folder  string
	process *exec.Cmd
	log     *lines
}

// lines is what a program has written, for when something goes wrong.
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

// newServer configures a server and does not start it. The configuration is added to issuer, listeners and database.
func newServer(t *testing.T, database, configuration string) *server {
	t.Helper()
	port, err := setup.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, issuer: fmt.Sprintf("http://localhost:%d", port), folder: t.TempDir(), log: &lines{}}
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

// start starts a configured server that has no person yet.
func start(t *testing.T, database, configuration string) *server {
	t.Helper()
	s := newServer(t, database, configuration)
	if err := s.serve(); err != nil {
		t.Fatal(err)
	}
	s.command(password, "user", "create", "--email", email, "--name", "Ada", "--password-stdin")
	return s
}

// doorward is a command on the server's configuration.
func (s *server) doorward(args ...string) *exec.Cmd {
	c := exec.CommandContext(s.t.Context(), binary, args...)
	c.Dir = s.folder
	c.Env = append(os.Environ(), "DOORWARD_CONFIG=doorward.yaml")
	return c
}

// serve starts the server and returns when it is ready, or has ended with an error.
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
			_ = json.Unmarshal(scanner.Bytes(), &line) // it may be no JSON
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

// kill ends the server as a power cut would. A stopped one stays as it is.
func (s *server) kill() {
	if s.process != nil {
		_ = s.process.Process.Signal(syscall.SIGKILL) // it may have ended by itself
		_ = s.process.Wait()
		s.process = nil
	}
}

// command runs an administrative command and gives what it prints.
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

// credentials are a client's.
type credentials struct {
	ID     string `json:"id"`
	Secret string `json:"secret,omitempty"` // empty: a public client
}

// client registers one.
func (s *server) client(name string, args ...string) credentials {
	s.t.Helper()
	v := s.command("", append([]string{"client", "create", "--name", name}, args...)...)
	id, _ := v["client_id"].(string)
	secret, _ := v["client_secret"].(string)
	return credentials{ID: id, Secret: secret}
}

// confidential registers a client that knows every grant, public one that has no secret.
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

// introspect asks about a token as a client does (RFC 7662).
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

// do sends a request and decodes the answer's JSON into v, unless that is nil.
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

// visit is what a person does at an authorization URL: they sign in where they are asked to, answer the consent page
// where there is one, and end at the client's address.
func visit(t *testing.T, tab *browser.Tab, address, decision string) {
	t.Helper()
	tab.Goto(address)
	if tab.Has(`form[action="/login"]`) {
		tab.Fill(`[name=email]`, email)
		tab.Fill(`[name=password]`, password)
		tab.Click(`form[action="/login"] [type=submit]`)
	}
	if tab.Has(`form[action="/oauth/consent"]`) {
		tab.Click(`[name=decision][value=` + decision + `]`)
	}
	if u := tab.URL(); u.Hostname() != "127.0.0.1" || u.Path != "/callback" {
		t.Fatalf("the browser ended at %s: %s", u, tab.Text("body"))
	}
}
