//go:build faults

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward/storage"
	"doorward/test/rig"
)

// world is a running server with a signed-in user, an app that needs no consent, and an API.
type world struct {
	*server
	http   *http.Client
	app    client
	api    client // introspects
	cookie string // of Alice's session
	key    string // may create API keys; it has its own workspace

	people []person // see crowd
	turn   atomic.Int64
}

// person is one of many signed-in users.
type person struct{ email, cookie string }

const (
	alice    = "alice@example.com"
	redirect = "https://app.example/cb"
)

// newWorld starts a server with an empty database and fills it.
func newWorld(t testing.TB, databaseURL string, settings ...string) *world {
	t.Helper()
	return newWorldWith(t, databaseURL, "", settings...)
}

// newWorldWith is newWorld with lines of the configuration.
func newWorldWith(t testing.TB, databaseURL, configuration string, settings ...string) *world {
	t.Helper()
	s := newServer(t, databaseURL, settings...)
	// The limits have their own tests.
	config := filepath.Join(s.folder, "doorward.yaml")
	ok(t, os.WriteFile(config, []byte("tokens: {client_requests: 0, client_live: 0}\n"+configuration), 0o600))
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

// crowd creates n signed-in users with the rig's password. There are many because the server keeps only a limited
// number of active grants for a user and an app, and of sessions for a user.
func (w *world) crowd(n int) {
	w.t.Helper()
	for _, email := range w.users(n) {
		r := w.login(w.t.Context(), email, rig.Password)
		if r.status != http.StatusSeeOther || r.cookie == "" {
			w.t.Fatalf("sign-in answered %s", r)
		}
		w.people = append(w.people, person{email, r.cookie})
	}
}

// users creates n users with the rig's password, and returns their addresses.
func (w *world) users(n int) (emails []string) {
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
	ok(w.t, store.InTx(ctx, func(ctx context.Context) error {
		for i := range n {
			u := storage.User{
				ID: storage.NewID("user"), Email: fmt.Sprintf("person%d@example.com", i), Name: "Person",
				PasswordHash: first.PasswordHash,
			}
			if err := store.InsertUser(ctx, &u); err != nil {
				return err
			}
			emails = append(emails, u.Email)
		}
		return nil
	}))
	return emails
}

// next returns the users in turn.
func (w *world) next() person { return w.people[int(w.turn.Add(1))%len(w.people)] }

// user creates a user with the rig's password.
func (s *server) user(email string) {
	s.t.Helper()
	_, err := s.command(rig.Password+"\n", "user", "create", "--email", email, "--name", "Person", "--password-stdin")
	ok(s.t, err)
}

// program returns an HTTP client without cookies that does not follow redirects.
func program(conns int) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: conns},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       20 * time.Second,
	}
}

// reply is an answer of the server, or err if there was none.
type reply struct {
	err      error
	status   int
	header   http.Header
	body     []byte
	location *url.URL
	cookie   string // the session's, if it was set
}

// done reports whether the server has acknowledged the request.
func (r reply) done() bool {
	return r.err == nil &&
		(r.status == http.StatusOK || r.status == http.StatusSeeOther || r.status == http.StatusCreated ||
			r.status == http.StatusNoContent)
}

// away reports whether the server has answered, in the one correct way, that its storage is unavailable.
func (r reply) away() bool {
	return r.err == nil && r.status == http.StatusServiceUnavailable && r.header.Get("Retry-After") != ""
}

// refused reports whether the answer is an error with this code (RFC 6749, section 5.2).
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

// code returns the authorization code in the redirect.
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

// manage sends a request to the management API with the key that may use it, and a JSON body if body is not empty.
func (w *world) manage(ctx context.Context, method, path, body string) reply {
	if body == "" {
		return w.sendBody(ctx, method, path, "", "", "Authorization", "Bearer "+w.key)
	}
	return w.sendBody(ctx, method, path, "application/json", body, "Authorization", "Bearer "+w.key)
}

// send sends one request, with a form unless form is nil. Headers come in pairs.
func (w *world) send(ctx context.Context, method, path string, form url.Values, header ...string) reply {
	if form == nil {
		return w.sendBody(ctx, method, path, "", "", header...)
	}
	return w.sendBody(ctx, method, path, "application/x-www-form-urlencoded", form.Encode(), header...)
}

// sendBody sends one request, with a body unless text is empty.
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
		return reply{err: err} // an incomplete answer acknowledges nothing
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

// call sends a form to a protocol endpoint as a client.
func (w *world) call(ctx context.Context, c client, path string, form url.Values) reply {
	return w.send(ctx, http.MethodPost, path, form, "Authorization", rig.Basic(c.ID, c.Secret))
}

// authorize has the signed-in user's browser request a code, which is issued at once.
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

// active introspects a token as the client that it was issued to.
func (w *world) active(ctx context.Context, token string) (bool, reply) {
	r := w.call(ctx, w.app, "/oauth/introspect", url.Values{"token": {token}})
	active, _ := r.object()["active"].(bool)
	return active, r
}

// signedIn loads a page that needs a session.
func (w *world) signedIn(ctx context.Context, cookie string) reply {
	return w.send(ctx, http.MethodGet, "/settings/profile", nil, "Cookie", "doorward="+cookie)
}

var hiddenFlow = regexp.MustCompile(`name="flow" value="([^"]+)"`)

// form loads a page with a flow, and returns the flow and the cookies that it is bound to.
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

// login signs in with a new browser.
func (w *world) login(ctx context.Context, email, password string) reply {
	flow, cookies, r := w.form(ctx, "/login", "")
	if flow == "" {
		return r
	}
	return w.submit(ctx, "/login", cookies, url.Values{"flow": {flow}, "email": {email}, "password": {password}})
}

// submit submits the form of a page.
func (w *world) submit(ctx context.Context, path, cookies string, form url.Values, header ...string) reply {
	return w.send(ctx, http.MethodPost, path, form,
		append([]string{"Cookie", strings.TrimPrefix(cookies, "; "), "Origin", w.url, "Sec-Fetch-Site", "same-origin"},
			header...)...)
}
