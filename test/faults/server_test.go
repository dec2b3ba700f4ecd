//go:build faults

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"doorward/test/setup"
)

// server is a process of the real binary. It keeps its folder and its port when it is killed and started again.
type server struct {
	t        testing.TB
	folder   string
	database string
	url      string
	address  string
	env      []string
	process  *exec.Cmd
	exited   chan struct{}
}

// sqliteURL is a database file in the server's own folder.
const sqliteURL = "sqlite:data/doorward.db"

// newServer prepares a server but does not start it. Settings are environment variables, as NAME=VALUE.
func newServer(t testing.TB, databaseURL string, settings ...string) *server {
	t.Helper()
	port, err := setup.FreePort(t.Context())
	ok(t, err)
	s := &server{
		t: t, folder: t.TempDir(), database: databaseURL, address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
	}
	s.url = "http://" + s.address
	s.env = append([]string{
		"DOORWARD_ISSUER=" + s.url, "DOORWARD_LISTEN=" + s.address, "DOORWARD_ADMIN_LISTEN=127.0.0.1:0",
		"DOORWARD_DATABASE_URL=" + databaseURL,
		"DOORWARD_TRUSTED_PROXIES=127.0.0.1", // so that a client can have many addresses
	}, settings...)
	t.Cleanup(s.kill)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the server's log:\n%s", s.complaints())
		}
	})
	return s
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *server) log() string { return filepath.Join(s.folder, "log") }

// launch starts the process and does not wait until it is ready.
func (s *server) launch() {
	s.t.Helper()
	path, err := builtBinary()
	ok(s.t, err)
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ok(s.t, err)
	defer log.Close() //nolint:errcheck // the server has its own descriptor
	s.process = exec.CommandContext(context.WithoutCancel(s.t.Context()), path, "serve")
	s.process.Dir, s.process.Env = s.folder, s.env
	s.process.Stdout, s.process.Stderr = log, log
	s.process.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	ok(s.t, s.process.Start())
	exited := make(chan struct{})
	s.exited = exited
	go func(p *exec.Cmd) {
		_ = p.Wait() // its log says how it ended, or it was killed
		close(exited)
	}(s.process)
}

// start starts the server and waits until it is ready.
func (s *server) start() {
	s.t.Helper()
	s.launch()
	s.await(30 * time.Second)
}

// await waits until the server reports that it is ready.
func (s *server) await(limit time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Second}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/readyz", http.NoBody)
		ok(s.t, err)
		response, err := client.Do(request)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-s.exited:
			s.t.Fatalf("the server exited at its start:\n%s", s.complaints())
		case <-ctx.Done():
			s.t.Fatalf("the server is not ready after %s: %v\n%s", limit, err, s.complaints())
		default:
			pause(ctx, 2*time.Millisecond)
		}
	}
}

// kill ends the process like kill -9.
func (s *server) kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill() // it may have exited already
	<-s.exited
	s.process = nil
}

// complaints returns the last lines of the log, without successful requests.
func (s *server) complaints() string {
	text, err := os.ReadFile(s.log())
	if err != nil {
		return err.Error()
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, `"level":"INFO","msg":"request"`) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-30):], "")
}

// logged counts the lines of the log that contain part.
func (s *server) logged(part string) (n int) {
	text, err := os.ReadFile(s.log())
	ok(s.t, err)
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte(part)) {
			n++
		}
	}
	return n
}

// command runs an administrative command beside the server.
func (s *server) command(input string, args ...string) ([]byte, error) {
	path, err := builtBinary()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env = s.folder, s.env
	cmd.Stdin = strings.NewReader(input)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("doorward %s: %w\n%s", strings.Join(args, " "), err, complaint.String())
	}
	return out, nil
}

// client is the output of `client create`.
type client struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

// register registers a client with the CLI.
func (s *server) register(args ...string) client {
	s.t.Helper()
	out, err := s.command("", append([]string{"client", "create", "--json"}, args...)...)
	ok(s.t, err)
	var c client
	ok(s.t, json.Unmarshal(out, &c))
	return c
}
