package gateways

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/test/rig"
	"doorward/test/stores"
	"doorward/web/gateway"
	"doorward/web/gateway/route"
)

// The two APIs of one Doorward. Requests are for the first unless they name another host.
const (
	resource, host           = "https://api.example.com", "api.example.com"
	otherResource, otherHost = "https://other.example.com", "other.example.com"
	page                     = "https://app.example.com" // its scripts may call the first
)

// stranger is the address that requests come from: loopback too, but not a trusted proxy.
const stranger = "127.0.0.9"

// world is a Doorward with an API and the fronts before it.
type world struct {
	*rig.Rig
	t      *testing.T
	api    *canary
	fronts []front
	now    *atomic.Int64 // microseconds; the server's clock stands still
	shared storage.Workspace
}

// front is one way to the API.
type front struct{ name, address string }

// Names of fronts.
const (
	builtin = "built-in proxy"
	nginx   = "nginx"
	caddy   = "Caddy"
	envoy   = "Envoy"
)

// newWorld starts a Doorward, an API and all fronts with a store.
func newWorld(t *testing.T, store *storage.Store) *world {
	t.Helper()
	w := alone(t, store)
	doorward, behind := w.fronts[0].address, w.api.server.Listener.Addr().String()
	w.fronts = append(w.fronts, front{nginx, Nginx(t, doorward, behind)}, front{caddy, Caddy(t, doorward, behind)},
		front{envoy, Envoy(t, doorward, behind)})
	return w
}

// alone starts Doorward with only its own proxy, with a store.
func alone(t *testing.T, store *storage.Store) *world {
	t.Helper()
	api := newCanary(t)
	upstream, err := url.Parse(api.server.URL)
	ok(t, err)
	scopes := []catalog.Scope{
		{Name: "read", Text: "Read your data"},
		{Name: "write", Text: "Change your data"},
		{Name: "admin", Text: "Everything", Implies: []string{"read", "write"}},
	}
	rules := []route.Route{
		{Path: "/public", Public: true},
		{Methods: []string{"GET"}, Path: "/admin/**", Scopes: []string{"admin"}, Cost: 1},
		{Methods: []string{"GET"}, Path: "/**", Scopes: []string{"read"}, Cost: 1},
		{Methods: []string{"POST"}, Path: "/**", Scopes: []string{"write"}, Cost: 1},
	}
	own := []string{
		"/oauth/token", "/oauth/revoke", "/oauth/introspect", "/v1/api-keys", "/v1/auth/test", "/api/auth/me", "/api/me",
	}
	r := rig.New(t, store, rig.Options{
		AtOnce: true, Issuer: "http://localhost:8080", DPoPNonces: true,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		Plans:          map[string]limit.Plan{"wide": {Hour: 1_000_000}, "narrow": {Hour: 2}},
		Resources: []catalog.Resource{
			{
				ID:              resource,
				Name:            "API",
				Scopes:          scopes,
				Keys:            catalog.KeyRules{Prefix: "sk", Environments: []string{"live", "test"}, DefaultPlan: "wide"},
				WorkspaceHeader: "X-Workspace",
				UserPlan:        "wide",
				ClientPlan:      "wide",
				CORS:            []string{page},
			},
			{
				ID:              otherResource,
				Name:            "Other",
				Scopes:          scopes,
				Keys:            catalog.KeyRules{Prefix: "ok", Environments: []string{"live"}},
				WorkspaceHeader: "X-Workspace",
			},
		},
		APIs: []gateway.API{
			{
				ID:        resource,
				Hosts:     []string{host},
				Upstream:  upstream,
				Builtin:   own,
				Anonymous: gateway.Concurrency{Total: 5, PerAddress: 3},
				Shape:     gateway.Shape{ExpiredStatus: gateway.StatusExpired},
				Routes:    rules,
			},
			{
				ID:       otherResource,
				Hosts:    []string{otherHost},
				Upstream: upstream,
				Builtin:  own,
				Shape:    gateway.Shape{Name: "nested", Texts: gateway.Texts{Forbidden: "Ça ne va pas 🚪"}},
				Routes:   rules,
			},
		},
	})
	w := &world{Rig: r, t: t, api: api, now: &atomic.Int64{}}
	w.now.Store(time.Now().UnixMicro())
	store.SetClock(func() time.Time { return time.UnixMicro(w.now.Load()) })
	w.fronts = []front{{builtin, r.HTTP.Listener.Addr().String()}}
	w.shared = r.Workspace("acme", "", r.Alice)
	return w
}

// memory is a world with SQLite in memory, for tests that do not depend on storage.
func memory(t *testing.T) *world {
	t.Helper()
	return newWorld(t, stores.Open(t, "sqlite::memory:"))
}

// each runs fn for each front.
func (w *world) each(fn func(t *testing.T, f front)) {
	for _, f := range w.fronts {
		w.t.Run(f.name, func(t *testing.T) {
			w.api.take()
			fn(t, f)
		})
	}
}

// key creates an API key of the shared workspace with some scopes, and returns its Authorization header.
func (w *world) key(scopes ...string) (storage.APIKey, string) {
	w.t.Helper()
	k, text := w.Key(w.shared, apikey.Spec{Scopes: scopes})
	return k, "Authorization: Bearer " + text
}

// token returns an access token of Alice's for the first resource, from an authorization code.
func (w *world) token(scope string) string {
	w.t.Helper()
	app := w.App(management.ClientSpec{Scopes: []string{"read", "write"}, Grants: []string{"client_credentials"}})
	a := w.PostAs(app, "/oauth/token", url.Values{"grant_type": {"client_credentials"}, "scope": {scope}})
	if a.Status != http.StatusOK {
		w.t.Fatalf("token answered %d %s", a.Status, a.Body)
	}
	return a.Text("access_token")
}

// connection is one client connection. Requests are written as text, so that no client library normalises them.
type connection struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

// dial connects to a front from an address that is not trusted.
func (f front) dial(t *testing.T) *connection {
	t.Helper()
	return f.dialFrom(t, stranger)
}

// dialFrom connects to a front from a given address of this machine.
func (f front) dialFrom(t *testing.T, from string) *connection {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.DialContext(t.Context(), "tcp", f.address)
	ok(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ok(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	return &connection{Conn: conn, t: t, r: bufio.NewReader(conn)}
}

// write sends a request with header lines; without a Host line, it is for the first API.
func (c *connection) write(method, target, body string, lines ...string) {
	c.t.Helper()
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\n", method, target)
	if !strings.Contains("\n"+strings.ToLower(strings.Join(lines, "\n")), "\nhost:") {
		fmt.Fprintf(&text, "Host: %s\r\n", host)
	}
	if body != "" {
		fmt.Fprintf(&text, "Content-Length: %d\r\n", len(body))
	}
	for _, line := range lines {
		text.WriteString(line + "\r\n")
	}
	text.WriteString("\r\n" + body)
	_, err := c.Write(text.Bytes())
	ok(c.t, err)
}

// head reads the header of the next answer.
func (c *connection) head(method string) *http.Response {
	c.t.Helper()
	response, err := http.ReadResponse(c.r, &http.Request{Method: method})
	ok(c.t, err)
	return response
}

// answer reads the whole next answer.
func (c *connection) answer(method string) *rig.Answer {
	c.t.Helper()
	response := c.head(method)
	defer response.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(response.Body)
	ok(c.t, err)
	return &rig.Answer{Status: response.StatusCode, Header: response.Header, Body: string(body)}
}

// send sends one request over a connection of its own.
func (f front) send(t *testing.T, method, target string, lines ...string) *rig.Answer {
	t.Helper()
	c := f.dial(t)
	c.write(method, target, "", lines...)
	return c.answer(method)
}

// seen is a request as it reached the API.
type seen struct {
	method, target, host, body string
	header                     http.Header
}

// canary is the API: it keeps the requests that reach it.
type canary struct {
	server *httptest.Server
	mu     sync.Mutex
	all    []seen
	count  atomic.Int64
	// serve answers in place of a plain 200, if it is not nil.
	serve atomic.Pointer[http.HandlerFunc]
}

func newCanary(t *testing.T) *canary {
	t.Helper()
	c := &canary{}
	c.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.count.Add(1)
		if fn := c.serve.Load(); fn != nil {
			(*fn)(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body) // the caller may disconnect
		c.mu.Lock()
		c.all = append(c.all, seen{r.Method, r.RequestURI, r.Host, string(body), r.Header.Clone()})
		c.mu.Unlock()
		w.Header().Set("X-RateLimit-Limit", "of the API")
		w.Header().Set("DPoP-Nonce", "of-the-API")
		w.Header().Set("X-Canary", strconv.Itoa(len(body)))
		_, _ = io.WriteString(w, "from the API")
	}))
	t.Cleanup(c.server.Close)
	return c
}

// does makes the API answer with fn until the test ends.
func (c *canary) does(t *testing.T, fn http.HandlerFunc) {
	c.serve.Store(&fn)
	t.Cleanup(func() { c.serve.Store(nil) })
}

// take returns the requests that reached the API since the last call.
func (c *canary) take() []seen {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.all
	c.all = nil
	c.count.Store(0)
	return all
}

// one returns the only request that reached the API.
func (c *canary) one(t *testing.T) seen {
	t.Helper()
	all := c.take()
	if len(all) != 1 {
		t.Fatalf("%d requests reached the API", len(all))
	}
	return all[0]
}

// nothing checks that no request reached the API.
func (w *world) nothing(t *testing.T) {
	t.Helper()
	if n := w.api.count.Load(); n != 0 {
		t.Errorf("%d requests reached the API: %v", n, w.api.take())
	}
	w.api.take()
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
