package security

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/test/rig"
)

// The keys that clients publish at a URL (jwks_uri), and how clients change their keys.

// keyHost is a server at which clients publish their keys, each at its own path.
type keyHost struct {
	*httptest.Server
	mu    sync.Mutex
	pages map[string]*keyPage
}

// keyPage is what a keyHost answers at one path.
type keyPage struct {
	serve   http.HandlerFunc
	fetches int
}

func newKeyHost(t *testing.T) *keyHost {
	t.Helper()
	h := &keyHost{pages: map[string]*keyPage{}}
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		h.mu.Lock()
		p := h.page(q.URL.Path)
		p.fetches++
		serve := p.serve
		h.mu.Unlock()
		serve(w, q)
	}))
	t.Cleanup(h.Close)
	return h
}

// page is the page at a path; the caller holds the lock.
func (h *keyHost) page(path string) *keyPage {
	if h.pages[path] == nil {
		h.pages[path] = &keyPage{serve: http.NotFound}
	}
	return h.pages[path]
}

// serve sets what is answered at a path.
func (h *keyHost) serve(path string, with http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.page(path).serve = with
}

// publish sets the keys at a path.
func (h *keyHost) publish(path string, keys ...*rig.Key) { h.serve(path, says(rig.JWKS(keys...))) }

// fetches says how often a path was asked for.
func (h *keyHost) fetches(path string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.page(path).fetches
}

// options let a rig fetch from the host.
func (h *keyHost) options() rig.Options {
	o := rig.Options{Fetch: nearby}
	o.Fetch.Roots = x509.NewCertPool()
	o.Fetch.Roots.AddCert(h.Certificate())
	return o
}

// client registers a client whose keys are at a path of the host.
func (h *keyHost) client(r *rig.Rig, path string) *rig.App {
	r.T.Helper()
	return r.App(everywhere(management.ClientSpec{AuthMethod: management.AuthPrivateKey, JWKSURI: h.URL + path}))
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// asking is a request for which a client only authenticates.
var asking = endpoint{"/oauth/introspect", url.Values{"token": {"x"}}, http.StatusOK}

// Keys that cannot be fetched are an error of the client, never of this server. They are tried again after a while, and
// the assertion that was refused is not used.
func TestT60_KeysThatCannotBeFetched(t *testing.T) {
	h, bait := newKeyHost(t), newTrap(t)
	o := h.options()
	o.AtOnce = true
	o.Fetch.Timeout = 100 * time.Millisecond // the test of package fetch is about the three seconds
	r := rig.Memory(t, o)
	r.StopClock()
	good := rig.NewKey(t, "key-1")
	weak := rig.NewRSAKey(t, "key-1", jose.PS256, 1024)
	private := jose.JSONWebKey{Key: good.Private, KeyID: good.ID}
	secret, err := private.MarshalJSON()
	ok(t, err)
	var sent atomic.Int64
	status := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	right := rig.JWKS(good)
	// After how long a host is asked again that does not fail, and lacks the key.
	const lacking = 30 * time.Second
	waits := map[string]time.Duration{
		"1,024-bit keys": lacking, "private keys": lacking, "other kids": lacking, "for encryption": lacking,
		"no keys": lacking, "keys of strangers": lacking,
	}
	number := 0
	for name, serve := range map[string]http.HandlerFunc{
		"hangs": func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() },
		"hangs in its body": func(w http.ResponseWriter, q *http.Request) {
			_, _ = io.WriteString(w, right[:20])
			w.(http.Flusher).Flush()
			<-q.Context().Done()
		},
		"500": status(500, right), "404": status(404, right), "503": status(503, right), "201": status(201, right),
		"1 GB": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, right)
			block := []byte(strings.Repeat(" ", 32<<10))
			for range 32 << 10 {
				n, err := w.Write(block)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		},
		"a redirect": func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, bait.url("https"), http.StatusFound)
		},
		"a redirect to a page that has them": func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, "/right", http.StatusTemporaryRedirect)
		},
		"compressed": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, right)
		},
		"deep": says(`{"keys":` + strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000) + "}"),
		"deep beside its key": says(
			`{"x":` + strings.Repeat(`{"x":`, 10_000) + "1" + strings.Repeat("}", 10_000) + "," + right[1:]),
		"1,024-bit keys":    says(rig.JWKS(weak)),
		"private keys":      says(`{"keys":[` + string(secret) + `]}`),
		"keys of strangers": says(rig.JWKS(rig.NewKey(t, "key-1"))),
		"other kids":        says(rig.JWKS(rig.NewKey(t, "key-2"))),
		"for encryption":    says(strings.Replace(right, `"use":"sig"`, `"use":"enc"`, 1)),
		"no set":            says(strings.TrimSuffix(strings.TrimPrefix(right, `{"keys":[`), `]}`)),
		"no list":           says(`{"keys":{}}`),
		"no keys":           says(`{"keys":[]}`),
		"null":              says("null"),
		"nothing":           says(""),
		"HTML":              says("<!DOCTYPE html><title>Keys</title>"), "keys twice": says(`{"keys":[],"keys":` + right[8:]),
		"too many": says(`{"keys":[` + strings.Repeat(right[9:len(right)-2]+",", 64) + right[9:]),
	} {
		t.Run(name, func(t *testing.T) {
			number++
			path := fmt.Sprint("/", number)
			h.publish("/right", good)
			h.serve(path, serve)
			app := h.client(r, path)
			key := good
			if name == "1,024-bit keys" {
				key = weak
			}
			wait := cmp.Or(waits[name], bearer.IssuerKeysRetry)
			assertion := r.Assertion(app, key, rig.Members{"jti": name})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			rig.AtOnce(8, func(int) {
				refused(t, asking.asserted(r, assertion), http.StatusUnauthorized, oauth.InvalidClient)
			})
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 24<<20 {
				t.Errorf("%d bytes of memory were allocated", n)
			}
			if n := h.fetches(path); n > 6 {
				t.Errorf("8 requests caused %d fetches", n)
			}
			h.publish(path, good)
			var a *rig.Answer
			for range 10 { // on a slow machine, a fetch may take too long
				r.Advance(wait)
				if a = asking.asserted(r, r.Assertion(app, good, rig.Members{"jti": name})); a.Status == asking.status {
					break
				}
			}
			asking.succeeds(t, "after the retry time", a)
		})
		r.Advance(time.Minute)
	}
	if n := sent.Load(); n > 32<<20 { // the buffers of sockets
		t.Errorf("of 1 GB, %d bytes were read", n)
	}
	bait.wantUntouched(t)
}

// A jwks_uri that this server does not fetch from is refused where it is registered. If one is stored all the same,
// because the rules were others at the time, it is not fetched.
func TestD03_T60_URLsThatAreNeverFetched(t *testing.T) {
	bait := newTrap(t)
	port := strings.TrimPrefix(bait.Addr().String(), "127.0.0.1:")
	r := rig.Memory(t, rig.Options{})
	root := r.User("root@example.com", "Root", true)
	_, admin := r.PersonalToken(root, apikey.Spec{Scopes: []string{"admin"}})
	w := r.Workspace("acme", "", root)
	app, key := signedClient(r)
	for _, uri := range []string{
		"https://127.0.0.1:" + port, "https://[::1]:" + port, "https://169.254.169.254/latest/meta-data",
		"https://10.0.0.1",
		"https://0.0.0.0:" + port, "https://[::ffff:7f00:1]:" + port, "https://[::ffff:127.0.0.1]:" + port,
		"https://2130706433:" + port, "https://0x7f000001:" + port, "https://0177.0.0.1:" + port, "https://127.1:" + port,
		"https://localhost:" + port, "https://LOCALHOST.:" + port, "https://keys.localhost:" + port,
		"https://user@127.0.0.1:" + port, "http://127.0.0.1:" + port, "http://keys.example.com", "file:///etc/passwd",
		"ftp://keys.example.com", "//keys.example.com", "keys.example.com", "https://", "https://x.example/#keys",
	} {
		body := fmt.Sprintf(`{"name":"App","redirectUris":["https://x.example/cb"],"scopes":["read"],
			"token_endpoint_auth_method":"private_key_jwt","jwks_uri":%q}`, uri)
		a := r.JSON(http.MethodPost, "/v1/apps", admin, body, "X-Workspace", w.Slug)
		if a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "jwks_uri") {
			t.Errorf("%s: registering it answered %d %s", uri, a.Status, a.Body)
		}
		r.SQL(`UPDATE clients SET jwks = '', jwks_uri = $1 WHERE id = $2`, uri, app.ID)
		refused(t, asking.asserted(r, r.Assertion(app, key)), http.StatusUnauthorized, oauth.InvalidClient)
		forgetFailures(r)
	}
	// A registration that is not refused, for comparison.
	body := `{"name":"App","redirectUris":["https://x.example/cb"],"scopes":["read"],
		"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://keys.example.com/jwks"}`
	if a := r.JSON(http.MethodPost, "/v1/apps", admin, body, "X-Workspace", w.Slug); a.Status != http.StatusCreated {
		t.Errorf("a right one answered %d %s", a.Status, a.Body)
	}
	bait.wantUntouched(t)
}

// Requests with made-up kids cause few fetches, however many there are, and do not keep a client from changing its key.
func TestT60_MadeUpKeyIDsCauseFewFetches(t *testing.T) {
	h := newKeyHost(t)
	o := h.options()
	o.AtOnce = true
	r := rig.Memory(t, o)
	r.StopClock()
	first, second, third := rig.NewKey(t, "key-1"), rig.NewKey(t, "key-2"), rig.NewKey(t, "key-3")
	h.publish("/flooded", first)
	h.publish("/calm", first)
	flooded, calm := h.client(r, "/flooded"), h.client(r, "/calm")
	flood := func(n int) {
		rig.AtOnce(n, func(i int) {
			k := &rig.Key{ID: fmt.Sprint("made up ", i), Algorithm: first.Algorithm, Private: first.Private}
			// After many failures, they are refused as too many.
			if a := asking.asserted(r, r.Assertion(flooded, k)); a.Status != 401 && a.Status != 429 {
				t.Errorf("answered %d %s", a.Status, a.Body)
			}
		})
	}
	flood(crowd)
	if n := h.fetches("/flooded"); n > 6 {
		t.Errorf("%d requests with made-up kids caused %d fetches", crowd, n)
	}
	asking.succeeds(t, "the known key", asking.asserted(r, r.Assertion(flooded, first)))
	// The new key is found at the next fetch, even if the flood causes it.
	h.publish("/flooded", first, second)
	for range 3 {
		before := h.fetches("/flooded")
		r.Advance(30 * time.Second)
		flood(16)
		if n := h.fetches("/flooded") - before; n > 2 { // of which one would serve a change of keys
			t.Errorf("%d fetches in half a minute of flood", n)
		}
	}
	asking.succeeds(t, "the new key", asking.asserted(r, r.Assertion(flooded, second)))
	// If it is published just after that fetch, it is found half a minute later.
	h.publish("/flooded", third)
	if a := asking.asserted(r, r.Assertion(flooded, third)); a.Status == http.StatusOK {
		t.Error("the flood does not use up the fetches of half a minute, so that this tests nothing")
	}
	r.Advance(30 * time.Second)
	asking.succeeds(t, "the newest key", asking.asserted(r, r.Assertion(flooded, third)))
	// The fetches for one client are not those of another.
	h.publish("/calm", first, second)
	asking.succeeds(t, "the new key of another client", asking.asserted(r, r.Assertion(calm, second)))
	if n := h.fetches("/calm"); n != 1 {
		t.Errorf("the keys of another client were fetched %d times", n)
	}
}

// workers sign assertions of a client with its newest key, and send them to the nodes in turn, until stop is called.
// arrived waits until each of them has succeeded with a key.
func workers(t *testing.T, nodes []*rig.Rig, app *rig.App, newest *atomic.Pointer[rig.Key]) (
	arrived func(*rig.Key), stop func(),
) {
	t.Helper()
	type success struct {
		worker int
		key    *rig.Key
	}
	const count, patience = 8, 10_000 // requests
	var all sync.WaitGroup
	var over atomic.Bool
	done := make(chan success)
	ended := make(chan struct{})
	for i := range count {
		all.Go(func() {
			for j := 0; !over.Load(); j++ {
				key, r := newest.Load(), nodes[(i+j)%len(nodes)]
				if a := asking.asserted(r, r.Assertion(app, key)); a.Status != http.StatusOK {
					t.Errorf("with %s: answered %d %s", key.ID, a.Status, a.Body)
				}
				select {
				case done <- success{i, key}:
				case <-ended:
				}
			}
		})
	}
	arrived = func(key *rig.Key) {
		t.Helper()
		seen := map[int]int{}
		for n := 0; ; n++ {
			if s := <-done; s.key == key {
				seen[s.worker]++
			}
			twice := 0
			for _, times := range seen {
				if times >= len(nodes) {
					twice++
				}
			}
			if twice == count {
				return
			}
			if n == patience {
				t.Fatal("not every worker came to use the newest key")
			}
		}
	}
	return arrived, func() { over.Store(true); close(ended); all.Wait() }
}

// A client changes its key without a refused request: it publishes the new one beside the old one, signs with the new
// one, and removes the old one.
func TestT60_KeysAreRotatedUnderLoad(t *testing.T) {
	for _, where := range []string{"by value", "at a URL"} {
		t.Run(where, func(t *testing.T) {
			h := newKeyHost(t)
			o := h.options()
			o.AtOnce = true
			rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
				r := nodes[0]
				const path = "/rotated"
				key := rig.NewKey(t, "key-0")
				app := r.App(everywhere(management.ClientSpec{AuthMethod: management.AuthPrivateKey, JWKS: rig.JWKS(key)}))
				publish := func(keys ...*rig.Key) {
					change(r, app, func(p *management.ClientSpec) { p.JWKS = rig.JWKS(keys...) })
				}
				if where == "at a URL" {
					publish = func(keys ...*rig.Key) { h.publish(path, keys...) }
					publish(key)
					app = h.client(r, path)
				}
				before := h.fetches(path)
				var newest atomic.Pointer[rig.Key]
				newest.Store(key)
				arrived, stop := workers(t, nodes, app, &newest)
				rotations := 3
				if where == "at a URL" {
					rotations = 7
				}
				arrived(key)
				for i := range rotations {
					if i == 5 { // each of so many in a row costs a spare fetch, and later ones are earned
						for _, n := range nodes {
							n.Advance(3 * 30 * time.Second)
						}
					}
					next := rig.NewKey(t, fmt.Sprint("key-", i+1))
					publish(key, next)
					newest.Store(next)
					arrived(next)
					publish(next)
					key = next
				}
				stop()
				if n := h.fetches(path) - before; where == "at a URL" && n > len(nodes)*(rotations+1) {
					t.Errorf("%d fetches for %d rotations on %d nodes", n, rotations, len(nodes))
				}
			})
		})
	}
}

// A key that was removed by value is refused by the next request; so is one of a URL that was replaced. One that was
// removed from its URL is refused ten minutes later.
func TestT60_ARemovedKeyIsRefused(t *testing.T) {
	h := newKeyHost(t)
	rig.EachNodes(t, h.options(), func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		old, current := rig.NewKey(t, "key-1"), rig.NewKey(t, "key-1") // even under its name
		h.publish("/old", old)
		h.publish("/new", current)
		app := h.client(r, "/old")
		check := func(step string, right, wrong *rig.Key) {
			t.Helper()
			for _, n := range nodes {
				refused(t, asking.asserted(n, n.Assertion(app, wrong)), http.StatusUnauthorized, oauth.InvalidClient)
				asking.succeeds(t, step, asking.asserted(n, n.Assertion(app, right)))
			}
		}
		check("at the first URL", old, current)
		h.publish("/old", current)
		for _, n := range nodes {
			n.Advance(10 * time.Minute) // the longest that a copy is used without asking
		}
		check("in place of the first one", current, old)
		h.publish("/old", old)
		change(r, app, func(p *management.ClientSpec) { p.JWKSURI = h.URL + "/new" })
		check("at another URL", current, old)
		change(r, app, func(p *management.ClientSpec) { p.JWKSURI, p.JWKS = "", rig.JWKS(old) })
		check("by value", old, current)
		change(r, app, func(p *management.ClientSpec) { p.JWKSURI, p.JWKS = "", rig.JWKS(current) })
		check("by another value", current, old)
	})
}
