package security

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/test/rig"
)

// everyGrant are the grants of a client that authenticates at each endpoint.
var everyGrant = []string{oauth.GrantAuthorizationCode, oauth.GrantRefreshToken, oauth.GrantClientCredentials}

// everywhere completes the spec of a client that authenticates at each endpoint.
func everywhere(p management.ClientSpec) management.ClientSpec {
	p.Grants, p.RedirectURIs = everyGrant, []string{"https://app.example/cb"}
	return p
}

// signedClient registers a client with a key that authenticates at each endpoint.
func signedClient(r *rig.Rig) (*rig.App, *rig.Key) {
	r.T.Helper()
	return r.SignedApp(everywhere(management.ClientSpec{}))
}

// endpoint is one that authenticates clients, with a form that succeeds for a right client, and the status that it is
// answered with then.
type endpoint struct {
	path   string
	form   url.Values
	status int
}

// endpoints are all that authenticate clients.
func endpoints(app *rig.App) []endpoint {
	return []endpoint{
		{"/oauth/token", ownForm, http.StatusOK},
		{"/oauth/par", app.Params("read"), http.StatusCreated},
		{"/oauth/introspect", url.Values{"token": {"x"}}, http.StatusOK},
		{"/oauth/revoke", url.Values{"token": {"x"}}, http.StatusOK},
	}
}

// asserted sends an assertion to an endpoint, with its form.
func (e endpoint) asserted(r *rig.Rig, assertion string) *rig.Answer {
	return r.Post(e.path, rig.Asserted(e.form, assertion))
}

// succeeds checks that the endpoint accepts the client.
func (e endpoint) succeeds(t *testing.T, what string, a *rig.Answer) {
	t.Helper()
	if a.Status != e.status {
		t.Errorf("%s: %s answered %d %s, want %d", what, e.path, a.Status, a.Body, e.status)
	}
}

// fromAnywhere lets each wrong assertion come from an address of its own: the limit on failures has its own test, and
// the clock cannot be moved to forget them, since assertions expire.
func fromAnywhere(o rig.Options) rig.Options {
	o.TrustedProxies = nearby.Allow
	return o
}

// strangers counts the addresses that were used.
var strangers atomic.Uint32

// assertionIsRefused checks that an assertion is refused at each endpoint. The rig has options fromAnywhere.
func assertionIsRefused(t *testing.T, r *rig.Rig, app *rig.App, what, assertion string) {
	t.Helper()
	n := strangers.Add(1)
	from := fmt.Sprintf("198.%d.%d.%d", 18+n>>16, n>>8&0xff, n&0xff)
	for _, e := range endpoints(app) {
		a := r.Post(e.path, rig.Asserted(e.form, assertion), "X-Forwarded-For", from)
		refused(t, a, http.StatusUnauthorized, oauth.InvalidClient)
		if t.Failed() {
			t.Fatalf("%s at %s", what, e.path)
		}
	}
}

// forgetFailures moves the clock until the failed attempts do not count.
func forgetFailures(r *rig.Rig) { r.Advance(61 * time.Second) }

// assertionIsAccepted checks that a client can authenticate at each endpoint; assertion makes one for each.
func assertionIsAccepted(t *testing.T, r *rig.Rig, app *rig.App, what string, assertion func() string) {
	t.Helper()
	for _, e := range endpoints(app) {
		e.succeeds(t, what, e.asserted(r, assertion()))
	}
}

// trap is a listener that must not be connected to.
type trap struct {
	net.Listener
	seen atomic.Int64
}

func newTrap(t *testing.T) *trap {
	t.Helper()
	var c trap
	var err error
	c.Listener, err = net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		for {
			conn, err := c.Accept()
			if err != nil {
				return
			}
			c.seen.Add(1)
			_ = conn.Close()
		}
	}()
	return &c
}

// url is a URL at the trap.
func (c *trap) url(scheme string) string { return scheme + "://" + c.Addr().String() + "/jwks" }

// wantUntouched connects once, so that every earlier connection has been counted, and checks that it was the only one.
func (c *trap) wantUntouched(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("tcp", c.Addr().String())
	ok(t, err)
	_, _ = conn.Read(make([]byte, 1)) // until it is closed
	_ = conn.Close()
	if n := c.seen.Load() - 1; n != 0 {
		t.Errorf("the trap was connected to %d times", n)
	}
}

// sameAnswer reports whether two answers look the same to their receiver.
func sameAnswer(a, b *rig.Answer) bool {
	headers := func(a *rig.Answer) string {
		h := maps.Clone(a.Header)
		h.Del("Date")
		var lines []string
		for _, name := range slices.Sorted(maps.Keys(h)) {
			lines = append(lines, name+": "+strings.Join(h[name], ", "))
		}
		return strings.Join(lines, "\n")
	}
	return a.Status == b.Status && a.Body == b.Body && headers(a) == headers(b)
}
