//go:build faults

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"doorward/storage"
	"doorward/test/rig"
	"doorward/test/setup"
)

// server is a process of the real binary, with a folder and a port that it keeps over its deaths.
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

// newServer prepares a server and does not start it. Settings are NAME=VALUE of its environment.
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
		"DOORWARD_TRUSTED_PROXIES=127.0.0.1", // so that a client can be many addresses
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

// launch starts the process and does not wait for it.
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
		_ = p.Wait() // how it ended is in its log, or it was killed
		close(exited)
	}(s.process)
}

// start starts the server and waits until it is ready.
func (s *server) start() {
	s.t.Helper()
	s.launch()
	s.await(30 * time.Second)
}

// await waits until the server says that it is ready.
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
			s.t.Fatalf("the server ended at its start:\n%s", s.complaints())
		case <-ctx.Done():
			s.t.Fatalf("the server is not ready after %s: %v\n%s", limit, err, s.complaints())
		default:
			pause(ctx, 2*time.Millisecond)
		}
	}
}

// kill ends the process as kill -9 does.
func (s *server) kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill() // it may have ended
	<-s.exited
	s.process = nil
}

// complaints are the last lines of the log that are not about requests that went well.
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

// logged counts the lines of the log that hold a text.
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

// client is what `client create` prints.
type client struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

// register registers a client by the command.
func (s *server) register(args ...string) client {
	s.t.Helper()
	out, err := s.command("", append([]string{"client", "create", "--json"}, args...)...)
	ok(s.t, err)
	var c client
	ok(s.t, json.Unmarshal(out, &c))
	return c
}

// world is a running server with a person who is signed in, an app that needs no consent, and an API.
type world struct {
	*server
	http   *http.Client
	app    client
	api    client // introspects
	cookie string // of Alice's session
	key    string // makes API keys in a workspace of its own

	people []person // see crowd
	turn   atomic.Int64
}

// person is one of many who are signed in.
type person struct{ email, cookie string }

const (
	alice    = "alice@example.com"
	redirect = "https://app.example/cb"
)

// newWorld starts a server on an empty database and fills it.
func newWorld(t testing.TB, databaseURL string, settings ...string) *world {
	t.Helper()
	s := newServer(t, databaseURL, settings...)
	// The limits have tests of their own.
	config := filepath.Join(s.folder, "doorward.yaml")
	ok(t, os.WriteFile(config, []byte("tokens: {client_requests: 0, client_live: 0}\n"), 0o600))
	s.env = append(s.env, "DOORWARD_CONFIG="+config)
	s.start()
	w := &world{server: s, http: program(64)}
	t.Cleanup(w.http.CloseIdleConnections)
	s.user(alice)
	w.app = s.register("--name", "App", "--redirect-uri", redirect, "--first-party", "--scope", "read write",
		"--grant", "authorization_code", "--grant", "refresh_token", "--grant", "client_credentials")
	w.api = s.register("--name", "API", "--resource-server", "--resource", s.url)
	r := w.login(t.Context(), alice, rig.Password)
	if r.status != http.StatusSeeOther || r.cookie == "" {
		t.Fatalf("sign-in answered %d %v", r.status, r.err)
	}
	w.cookie = r.cookie
	_, err := s.command("", "workspace", "create", "--name", "Load", "--slug", "load", "--owner", alice)
	ok(t, err)
	out, err := s.command("", "key", "create", "--workspace", "load", "--name", "Load", "--scope", "admin", "--json")
	ok(t, err)
	var made struct {
		Key string `json:"key"`
	}
	ok(t, json.Unmarshal(out, &made))
	w.key = made.Key
	return w
}

// crowd makes so many people who are signed in, with the rig's password. Of the live grants of one of them and the app,
// and of the sessions of one, only so many are kept.
func (w *world) crowd(n int) {
	w.t.Helper()
	address := w.database
	if address == sqliteURL {
		address = "sqlite:" + filepath.Join(w.folder, "data", "doorward.db")
	}
	store, err := storage.Open(w.t.Context(), address, storage.Options{})
	ok(w.t, err)
	defer store.Close()
	ctx := storage.System(w.t.Context())
	first, err := store.UserByEmail(ctx, alice)
	ok(w.t, err)
	for i := range n {
		u := storage.User{
			ID:           storage.NewID("user"),
			Email:        fmt.Sprintf("person%d@example.com", i),
			Name:         "Person",
			PasswordHash: first.PasswordHash,
		}
		ok(w.t, store.InsertUser(ctx, &u))
		r := w.login(ctx, u.Email, rig.Password)
		if r.status != http.StatusSeeOther || r.cookie == "" {
			w.t.Fatalf("sign-in answered %s", r)
		}
		w.people = append(w.people, person{u.Email, r.cookie})
	}
}

// next is one of the people, each in their turn.
func (w *world) next() person { return w.people[int(w.turn.Add(1))%len(w.people)] }

// user makes a person with the rig's password.
func (s *server) user(email string) {
	s.t.Helper()
	_, err := s.command(rig.Password+"\n", "user", "create", "--email", email, "--name", "Somebody", "--password-stdin")
	ok(s.t, err)
}

// program is an HTTP client without cookies that follows no redirect.
func program(conns int) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: conns},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       20 * time.Second,
	}
}

// reply is an answer of the server, or err where none came.
type reply struct {
	err      error
	status   int
	header   http.Header
	body     []byte
	location *url.URL
	cookie   string // the session's, where one was set
}

// done tells whether the server has acknowledged the request.
func (r reply) done() bool {
	return r.err == nil &&
		(r.status == http.StatusOK || r.status == http.StatusSeeOther || r.status == http.StatusCreated ||
			r.status == http.StatusNoContent)
}

// away tells whether the server has said, in the one way it may, that its storage is away.
func (r reply) away() bool {
	return r.err == nil && r.status == http.StatusServiceUnavailable && r.header.Get("Retry-After") != ""
}

// refused tells whether the answer is an error of RFC 6749, section 5.2 with this code.
func (r reply) refused(code string) bool {
	return r.err == nil && r.status == http.StatusBadRequest && r.text("error") == code
}

func (r reply) object() map[string]any {
	var m map[string]any
	if json.Unmarshal(r.body, &m) != nil {
		return nil
	}
	return m
}

// text is a string member of the body.
func (r reply) text(name string) string {
	text, _ := r.object()[name].(string)
	return text
}

// code is the authorization code that the redirect carries.
func (r reply) code() string {
	if r.location == nil {
		return ""
	}
	return r.location.Query().Get("code")
}

func (r reply) String() string {
	if r.err != nil {
		return r.err.Error()
	}
	body := r.body
	if !json.Valid(body) {
		body = []byte(rig.Plain(string(body)))
	}
	text := fmt.Sprintf("%d %.300s", r.status, bytes.TrimSpace(body))
	if r.location != nil {
		text += " to " + r.location.String()
	}
	return text
}

// manage asks the management API with the key that may, with a JSON body unless it is empty.
func (w *world) manage(ctx context.Context, method, path, body string) reply {
	if body == "" {
		return w.sendBody(ctx, method, path, "", "", "Authorization", "Bearer "+w.key)
	}
	return w.sendBody(ctx, method, path, "application/json", body, "Authorization", "Bearer "+w.key)
}

// send does one request with a form, unless that is nil. Headers come in pairs.
func (w *world) send(ctx context.Context, method, path string, form url.Values, header ...string) reply {
	if form == nil {
		return w.sendBody(ctx, method, path, "", "", header...)
	}
	return w.sendBody(ctx, method, path, "application/x-www-form-urlencoded", form.Encode(), header...)
}

// sendBody does one request with a body of a type, unless that is empty.
func (w *world) sendBody(ctx context.Context, method, path, contentType, text string, header ...string) reply {
	var body io.Reader = http.NoBody
	if contentType != "" {
		body = strings.NewReader(text)
	}
	q, err := http.NewRequestWithContext(ctx, method, w.url+path, body)
	if err != nil {
		return reply{err: err}
	}
	if contentType != "" {
		q.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(header); i += 2 {
		q.Header.Add(header[i], header[i+1])
	}
	response, err := w.http.Do(q)
	if err != nil {
		return reply{err: err}
	}
	defer response.Body.Close() //nolint:errcheck // read to its end below
	r := reply{status: response.StatusCode, header: response.Header}
	if r.body, err = io.ReadAll(response.Body); err != nil {
		return reply{err: err} // an answer that breaks off acknowledges nothing
	}
	if to := response.Header.Get("Location"); to != "" {
		r.location, r.err = url.Parse(to)
	}
	for _, c := range response.Cookies() {
		if c.Name == "doorward" {
			r.cookie = c.Value
		}
	}
	return r
}

// call sends a form to an endpoint of the protocol as a client.
func (w *world) call(ctx context.Context, c client, path string, form url.Values) reply {
	return w.send(ctx, http.MethodPost, path, form, "Authorization", rig.Basic(c.ID, c.Secret))
}

// authorize has the signed-in person's browser ask for a code, which comes at once.
func (w *world) authorize(ctx context.Context) reply { return w.authorizeWith(ctx, w.cookie) }

// authorizeWith is authorize with another session.
func (w *world) authorizeWith(ctx context.Context, cookie string) reply {
	return w.send(ctx, http.MethodGet, "/oauth/authorize?"+w.params(w.app).Encode(), nil, "Cookie", "doorward="+cookie)
}

func (w *world) params(c client) url.Values {
	return url.Values{
		"client_id": {c.ID}, "redirect_uri": {redirect}, "response_type": {"code"}, "scope": {"read"},
		"code_challenge": {rig.Challenge}, "code_challenge_method": {"S256"},
	}
}

func (w *world) exchange(ctx context.Context, code string) reply {
	return w.call(ctx, w.app, "/oauth/token", url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {code},
		"code_verifier": {rig.Verifier},
	})
}

func (w *world) refresh(ctx context.Context, token string) reply {
	return w.call(ctx, w.app, "/oauth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

func (w *world) clientCredentials(ctx context.Context) reply {
	return w.call(ctx, w.app, "/oauth/token", url.Values{"grant_type": {"client_credentials"}})
}

func (w *world) revoke(ctx context.Context, token string) reply {
	return w.call(ctx, w.app, "/oauth/revoke", url.Values{"token": {token}})
}

// active asks about a token as the client that it was issued to.
func (w *world) active(ctx context.Context, token string) (bool, reply) {
	r := w.call(ctx, w.app, "/oauth/introspect", url.Values{"token": {token}})
	active, _ := r.object()["active"].(bool)
	return active, r
}

// signedIn asks for a page that only a live session opens.
func (w *world) signedIn(ctx context.Context, cookie string) reply {
	return w.send(ctx, http.MethodGet, "/settings/profile", nil, "Cookie", "doorward="+cookie)
}

var hiddenFlow = regexp.MustCompile(`name="flow" value="([^"]+)"`)

// form loads a page with a flow, and gives the flow and the cookies that it is bound by.
func (w *world) form(ctx context.Context, path, cookies string) (flow, bound string, r reply) {
	r = w.send(ctx, http.MethodGet, path, nil, "Cookie", cookies)
	if r.err != nil || r.status != http.StatusOK {
		return "", "", r
	}
	found := hiddenFlow.FindSubmatch(r.body)
	if found == nil {
		r.err = errors.New("no form on the page")
		return "", "", r
	}
	bound = cookies
	for _, c := range (&http.Response{Header: r.header}).Cookies() {
		bound += "; " + c.Name + "=" + c.Value
	}
	return string(found[1]), bound, r
}

// login signs in as a new browser does.
func (w *world) login(ctx context.Context, email, password string) reply {
	flow, cookies, r := w.form(ctx, "/login", "")
	if flow == "" {
		return r
	}
	return w.submit(ctx, "/login", cookies, url.Values{"flow": {flow}, "email": {email}, "password": {password}})
}

// submit sends a page's form.
func (w *world) submit(ctx context.Context, path, cookies string, form url.Values, header ...string) reply {
	return w.send(ctx, http.MethodPost, path, form,
		append([]string{"Cookie", strings.TrimPrefix(cookies, "; "), "Origin", w.url, "Sec-Fetch-Site", "same-origin"},
			header...)...)
}
