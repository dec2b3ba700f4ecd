package security

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"doorward/test/rig"
	"doorward/test/setup"
	"doorward/test/stores"
)

// scratch is the temporary folder of this run, for nginx.
var scratch string

func TestMain(m *testing.M) { os.Exit(withScratch(m)) } //nolint:forbidigo // it is the main of this test

func withScratch(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "doorward-security-"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // a temporary folder
	return m.Run()
}

// process is the real binary with its real listeners, on SQLite in its own folder. It covers what the rig's test server
// does not have.
type process struct {
	t       testing.TB
	folder  string
	address string // of the public listener
	admin   string // address of the admin listener; empty: none
	env     []string
	binary  string   // empty means the built one
	log     *rig.Log // its standard error
	cmd     *exec.Cmd
}

// startProcess starts the server and waits until it is ready. Settings are environment variables, as NAME=VALUE.
func startProcess(t testing.TB, settings ...string) *process {
	t.Helper()
	if stores.OnlyAtOnce() {
		t.Skip("the race detector does not watch another process; the run without it has this test")
	}
	p := &process{t: t, folder: t.TempDir(), env: settings, log: &rig.Log{}}
	p.start()
	return p
}

// start starts the server with the data in its folder.
func (p *process) start() {
	p.t.Helper()
	// An empty variable counts as not set, so only a flag can say "none".
	p.cmd = p.doorward("serve", "--listen=127.0.0.1:0", "--admin-listen="+p.admin)
	stderr, err := p.cmd.StderrPipe()
	ok(p.t, err)
	ok(p.t, p.cmd.Start())
	ready, drained := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(drained)
		defer close(ready)
		for lines := bufio.NewReader(stderr); ; {
			text, err := lines.ReadString('\n')
			_, _ = io.WriteString(p.log, text)
			var line struct {
				Message string   `json:"msg"`
				Listen  []string `json:"listen"`
			}
			if json.Unmarshal([]byte(text), &line) == nil && line.Message == "ready" && len(line.Listen) > 0 {
				ready <- line.Listen[0]
			}
			if err != nil {
				return
			}
		}
	}()
	cmd := p.cmd
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have exited already
		<-drained
		_ = cmd.Wait()
	})
	var up bool
	if p.address, up = <-ready; !up {
		p.t.Fatalf("serve exited at the start:\n%s", p.log)
	}
}

// doorward returns a command of the CLI in the server's folder.
func (p *process) doorward(args ...string) *exec.Cmd {
	p.t.Helper()
	if p.binary == "" {
		p.binary = setup.Doorward(p.t)
	}
	cmd := program(p.t, p.binary, args...)
	cmd.Dir, cmd.Env = p.folder, append([]string{"HOME=" + p.folder}, p.env...) // not the test's own
	return cmd
}

// program is a process that a test stops itself.
func program(t testing.TB, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// pause waits a moment for another process.
func pause(t testing.TB) {
	t.Helper()
	select {
	case <-t.Context().Done():
	case <-time.After(10 * time.Millisecond):
	}
}

// contextWith is a context of a request that arrived at this address of the server.
func contextWith(t testing.TB, local net.Addr) context.Context {
	t.Helper()
	return context.WithValue(t.Context(), http.LocalAddrContextKey, local)
}

// run runs an administrative command beside the server.
func (p *process) run(stdin string, args ...string) string {
	p.t.Helper()
	cmd := p.doorward(args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		p.t.Fatalf("doorward %s: %v\n%s", strings.Join(args, " "), err, exit.Stderr)
	}
	ok(p.t, err)
	return string(out)
}

// register registers a client with the CLI.
func (p *process) register(args ...string) (id, secret string) {
	p.t.Helper()
	var made struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	ok(p.t, json.Unmarshal([]byte(p.run("", append([]string{"client", "create", "--json"}, args...)...)), &made))
	return made.ID, made.Secret
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// probeID is the request id of the request that exchange sends last.
const probeID = "probe-after-the-rest"

// exchange sends text over its own connection and returns everything that comes back. A last request after text asks
// the server to close: if that one is answered, the connection was open for whatever follows text.
type exchange struct {
	raw       string // unparsed
	answers   []*rig.Answer
	leftOpen  bool
	malformed error // what came after the answers, if it is not an answer
}

// send writes text to the server as it is.
func (p *process) send(text string) exchange {
	p.t.Helper()
	return sendTo(p.t, p.address, text)
}

func sendTo(t testing.TB, address, text string) exchange {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(t.Context(), "tcp", address)
	ok(t, err)
	defer conn.Close() //nolint:errcheck // read to its end below
	ok(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	go func() {
		// A server that refuses a request may close before all of it is written.
		_, _ = io.WriteString(conn, text+"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: "+probeID+
			"\r\nConnection: close\r\n\r\n")
	}()
	raw, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("the server neither answers nor closes: %v\n%.300s", err, raw)
	}
	e := exchange{raw: string(raw)}
	for r := bufio.NewReader(strings.NewReader(e.raw)); ; {
		if _, err := r.Peek(1); err != nil {
			return e
		}
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			e.malformed = err
			return e
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			e.malformed = err
			return e
		}
		a := &rig.Answer{Status: response.StatusCode, Header: response.Header, Body: string(body)}
		if a.Header.Get("X-Request-Id") == probeID {
			e.leftOpen = true
			continue
		}
		e.answers = append(e.answers, a)
	}
}

// statuses returns the statuses of the answers.
func (e exchange) statuses() []int {
	var all []int
	for _, a := range e.answers {
		all = append(all, a.Status)
	}
	return all
}

// needNginx finds nginx with setup.Need.
func needNginx(t testing.TB) string {
	t.Helper()
	setup.Long(t)
	path, err := setup.Nginx()
	setup.Need(t, err)
	return path
}

// loopback stands in for the local address of a request without a listener.
var loopback = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}
