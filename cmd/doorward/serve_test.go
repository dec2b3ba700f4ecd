package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// running is a server that doorward serve started.
type running struct {
	url    string
	ready  map[string]any // the log line
	stdout *strings.Builder
	lines  chan string // the rest of the log
	stop   func() error
}

// start runs serve in the folder of c until the test ends or stop is called.
func (c *cli) start(args ...string) *running {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	read, write := io.Pipe()
	r := &running{stdout: &strings.Builder{}, lines: make(chan string, 1000)}
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, append([]string{"serve"}, args...), environ(c.vars), strings.NewReader(""), r.stdout, write)
		_ = write.Close()
		ended <- err
	}()
	ready := make(chan map[string]any)
	go func() {
		defer close(ready)
		scanner := bufio.NewScanner(read)
		for scanner.Scan() {
			var line map[string]any
			if json.Unmarshal(scanner.Bytes(), &line) == nil && line["msg"] == "ready" {
				ready <- line
			}
			r.lines <- scanner.Text()
		}
		close(r.lines)
	}()
	r.stop = func() error {
		cancel()
		err := <-ended
		ended <- err
		return err
	}
	c.t.Cleanup(func() { _ = r.stop() })
	var ok bool
	if r.ready, ok = <-ready; !ok {
		c.t.Fatalf("serve ended before it was ready: %v", r.stop())
	}
	r.url = "http://" + r.ready["listen"].([]any)[0].(string)
	return r
}

func (r *running) get(t *testing.T, path string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestServeStartsAndStops(t *testing.T) { onEachEngine(t, testServe) }

func testServe(t *testing.T, c *cli) {
	r := c.start("--listen=127.0.0.1:0", "--admin-listen=")
	if status, body := r.get(t, "/readyz"); status != http.StatusOK {
		t.Errorf("/readyz answers %d %s", status, body)
	}
	if status, body := r.get(t, "/.well-known/oauth-authorization-server"); status != http.StatusOK ||
		!strings.Contains(body, `"issuer":"http://localhost:8080"`) {
		t.Errorf("metadata: %d %s", status, body)
	}
	if !strings.HasSuffix(t.Name(), r.ready["database"].(string)) || r.ready["issuer"] != "http://localhost:8080" {
		t.Errorf("ready line: %v", r.ready)
	}

	// Commands work on the same database while the server runs.
	created := c.object(
		"",
		"client",
		"create",
		"--name",
		"App",
		"--redirect-uri",
		"https://a.example/cb",
		"--scope",
		"read",
	)
	if status, _ := r.get(t, "/oauth/authorize?response_type=code&client_id="+created["client_id"].(string)); status == http.StatusInternalServerError {
		t.Errorf("authorize answers %d", status)
	}
	if err := r.stop(); err != nil {
		t.Errorf("serve ended with %v", err)
	}
	c.must("", "check")
	c.must("", "client", "show", created["client_id"].(string))
}

// The holder of the link becomes an administrator, so it is printed but not logged (O-01).
func TestO01_SetupLinkIsPrintedOnceAndNotLogged(t *testing.T) {
	c := newCLI(t)
	r := c.start("--listen=127.0.0.1:0", "--admin-listen=")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	_, token, found := strings.Cut(r.stdout.String(), "/setup?word=")
	if token = strings.TrimSpace(token); !found || token == "" {
		t.Fatalf("serve prints %q", r.stdout)
	}
	for line := range r.lines {
		if strings.Contains(line, token) {
			t.Errorf("the log has the token: %s", line)
		}
	}
	c.must(goodPassword, "user", "create", "--email", "a@example.com", "--admin", "--password-stdin")
	again := c.start("--listen=127.0.0.1:0", "--admin-listen=")
	if err := again.stop(); err != nil {
		t.Fatal(err)
	}
	if again.stdout.String() != "" {
		t.Errorf("with a user, serve prints %q", again.stdout)
	}
}

func TestServeFailsBeforeListeningIfMisconfigured(t *testing.T) {
	c := newCLI(t)
	c.fails(1, "--listen: listen: ", "", "serve", "--listen=nowhere")
	c.start("--listen=127.0.0.1:0", "--admin-listen=")
	c.vars["DOORWARD_SECRET"] = testSecret
	c.fails(1, "another secret", "", "serve", "--listen=127.0.0.1:0", "--admin-listen=")
}
