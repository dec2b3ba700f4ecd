// Package matrix holds one table about stopped access: for every subject that can be stopped, every way to stop it and
// every door, it says what must hold afterwards, on the same node and on another.
package matrix

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/oauth/resource"
	"doorward/storage"
	"doorward/test/gateways"
	"doorward/test/rig"
	"doorward/test/stores"
	"doorward/web/gateway"
	"doorward/web/gateway/route"
)

// The two APIs: access tokens for the first are opaque, those for the second are JWTs.
const (
	opaqueID, opaqueHost = "https://api.example.com", "api.example.com"
	jwtID, jwtHost       = "https://jwt.example.com", "jwt.example.com"
)

// world is one server, with one node or two, its APIs and everything in front of them. Subjects are stopped on the
// first node; the doors are tried on each node.
type world struct {
	t       *testing.T
	nodes   []*rig.Rig
	fronts  []front // other proxies, which ask the last node
	server  *rig.App
	clients map[*rig.Rig]*http.Client
	online  map[*rig.Rig]map[string]http.Handler // middleware that introspects at a node, by the id of the API
	offline map[*rig.Rig]http.Handler            // middleware that verifies JWTs with a node's keys
	admin   storage.User                         // an administrator of the server
	rows    int
}

type front struct{ name, address string }

func newWorld(t *testing.T, nodes func(o rig.Options) []*rig.Rig) *world {
	t.Helper()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			websocket.Server{Handler: func(ws *websocket.Conn) { _, _ = io.Copy(ws, ws) }}.ServeHTTP(w, r)
			return
		}
		_, _ = io.WriteString(w, "from the API")
	}))
	t.Cleanup(api.Close)
	upstream, err := url.Parse(api.URL)
	ok(t, err)
	scopes := []catalog.Scope{
		{Name: "read", Text: "Read your data"},
		{Name: "write", Text: "Change your data"},
		{Name: "admin", Text: "Everything", Implies: []string{"read", "write"}},
	}
	rules := []route.Route{
		{Methods: []string{"GET"}, Path: "/**", Scopes: []string{"read"}},
		{Methods: []string{"POST"}, Path: "/**", Scopes: []string{"write"}},
	}
	builtin := []string{"/v1/api-keys", "/v1/auth/test", "/api/auth/me", "/api/me"}
	keys := catalog.KeyRules{Prefix: "sk", Environments: []string{"live", "test"}}
	w := &world{
		t:       t,
		clients: map[*rig.Rig]*http.Client{},
		online:  map[*rig.Rig]map[string]http.Handler{},
		offline: map[*rig.Rig]http.Handler{},
	}
	w.nodes = nodes(rig.Options{
		Issuer: "http://localhost:8080", TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		Plans: map[string]limit.Plan{"wide": {Hour: 1_000_000}, "narrow": {Hour: 1}},
		Resources: []catalog.Resource{
			{ID: opaqueID, Name: "API", Scopes: scopes, Keys: keys, WorkspaceHeader: "X-Workspace"},
			{ID: jwtID, Name: "JWT API", Scopes: scopes, WorkspaceHeader: "X-Workspace", JWT: true},
		},
		APIs: []gateway.API{
			{ID: opaqueID, Hosts: []string{opaqueHost}, Upstream: upstream, Builtin: builtin, Routes: rules},
			{ID: jwtID, Hosts: []string{jwtHost}, Upstream: upstream, Builtin: builtin, Routes: rules},
		},
	})
	first, last := w.nodes[0], w.nodes[len(w.nodes)-1]
	w.server = first.App(management.ClientSpec{
		Name: "The APIs", ResourceServer: true, Resources: []string{opaqueID, jwtID},
	})
	w.admin = first.User("operator@example.com", "Operator", true)
	for _, n := range w.nodes {
		w.online[n] = map[string]http.Handler{
			opaqueID: w.middleware(n, opaqueID, false),
			jwtID:    w.middleware(n, jwtID, false),
		}
		w.offline[n] = w.middleware(n, jwtID, true)
	}
	if !testing.Short() {
		doorward, behind := last.HTTP.Listener.Addr().String(), api.Listener.Addr().String()
		w.fronts = []front{{"nginx", gateways.Nginx(t, doorward, behind)}, {"Caddy", gateways.Caddy(t, doorward, behind)}}
	}
	return w
}

// middleware returns an API behind oauth/resource, which introspects at a node or has its keys.
func (w *world) middleware(n *rig.Rig, id string, offline bool) http.Handler {
	w.t.Helper()
	c := resource.Config{
		Issuer: n.Issuer, Resource: id, WorkspaceHeader: "X-Workspace", Now: func() time.Time { return n.Store.Now().Time() },
		IntrospectionURL: n.URL + "/oauth/introspect", ClientID: w.server.ID, ClientSecret: w.server.Secret,
	}
	if offline {
		c.IntrospectionURL, c.ClientID, c.ClientSecret = "", "", ""
		c.VerifyJWT, c.JWKSURL = true, n.URL+"/oauth/jwks"
	}
	v, err := resource.New(c)
	ok(w.t, err)
	return v.Require("read")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
}

// later moves the clock of every node.
func (w *world) later(d time.Duration) {
	for _, n := range w.nodes {
		n.Advance(d)
		if n != w.nodes[0] {
			_ = n.Store.CatchUp(w.t.Context()) // it fails only when the test is over
		}
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eachWorld runs fn on SQLite, on PostgreSQL, and on two nodes that share one PostgreSQL database.
func eachWorld(t *testing.T, fn func(t *testing.T, w *world)) {
	one := func(url string) func(t *testing.T) {
		return func(t *testing.T) {
			fn(t, newWorld(t, func(o rig.Options) []*rig.Rig { return []*rig.Rig{rig.New(t, stores.Open(t, url), o)} }))
		}
	}
	t.Run("sqlite", one(stores.SQLite(t)))
	t.Run("postgresql", func(t *testing.T) { one(stores.PostgreSQL(t))(t) })
	t.Run("two nodes", func(t *testing.T) {
		fn(t, newWorld(t, func(o rig.Options) []*rig.Rig { return rig.Nodes(t, o, o) }))
	})
}

// cast holds the subjects of one row of the table: users, a workspace, an app, and one credential for each kind of
// thing.
type cast struct {
	*world
	t                  *testing.T
	owner, user, maker storage.User      // the workspace's owner; the user who signs in and grants; the app's developer
	guest              storage.User      // the invited user
	workspace, home    storage.Workspace // the workspace in which the user acts; the app's workspace
	app                *rig.App
	key, pat           storage.APIKey
	invitation         storage.Invitation
	browser            *rig.Browser // the user's browser, signed in
	flow               *rig.Answer  // a consent page that the user has open in it
	other              *rig.Browser // another browser of the user, for actions that end the other sessions

	texts map[string]string // credentials by the name of the thing
	// WebSockets opened with a credential through the proxy of the last node, by the name of the thing
	sockets map[string]*websocket.Conn
}

func (w *world) newCast(t *testing.T) *cast {
	t.Helper()
	w.rows++
	n, id := w.nodes[0], strings.ToLower(strings.ReplaceAll(rowName(w.rows), " ", "-"))
	person := func(what string) storage.User { return n.User(what+"@"+id+".example.com", what, false) }
	c := &cast{
		world: w,
		t:     t,
		owner: person("owner"),
		user:  person("user"),
		maker: person("maker"),
		guest: person("guest"),
		texts: map[string]string{},
	}
	c.workspace = n.Workspace(id, "wide", c.owner)
	n.Join(c.workspace, c.user, catalog.RoleAdmin)
	var err error
	c.home, err = n.Store.PersonalWorkspace(n.System(), c.maker.ID)
	ok(t, err)
	c.app = n.App(management.ClientSpec{
		Name:         "Clockwork",
		WorkspaceID:  c.home.ID,
		CreatedBy:    c.maker.ID,
		Scopes:       []string{"read", "write", "admin"},
		Resources:    []string{opaqueID, jwtID},
		RedirectURIs: []string{"https://app.example/cb"},
		Grants:       []string{oauth.GrantAuthorizationCode, oauth.GrantRefreshToken, oauth.GrantClientCredentials},
	})
	c.browser, c.other = n.Browser().SignIn(c.user.Email), n.Browser().SignIn(c.user.Email)

	opaque := n.Exchange(c.app, c.code(opaqueID))
	signed := n.Exchange(c.app, c.code(jwtID))
	c.texts["access token"], c.texts["refresh token"], c.texts["JWT"] = opaque.Text("access_token"),
		opaque.Text("refresh_token"), signed.Text("access_token")
	c.texts["code"] = c.code(opaqueID)
	for name, id := range map[string]string{"client token": opaqueID, "client JWT": jwtID} {
		c.texts[name] = n.PostAs(c.app, "/oauth/token", url.Values{"grant_type": {"client_credentials"}, "resource": {id}}).
			Text("access_token")
	}
	c.key, c.texts["API key"] = n.Key(c.workspace, apikey.Spec{Scopes: []string{"admin"}})
	c.pat, c.texts["personal access token"] = n.PersonalToken(c.user, apikey.Spec{Scopes: []string{"admin"}})
	by, _, _, err := n.Management.PersonAuthority(n.System(), c.user.ID, c.workspace.Slug)
	ok(t, err)
	c.invitation, c.texts["invitation"], err = n.Management.Invite(n.System(), by, c.workspace,
		c.guest.Email, catalog.RoleMember)
	ok(t, err)
	again := c.app.Params("read write admin")
	again.Set("prompt", "consent")
	c.flow = c.browser.Authorize(again)
	for name, text := range c.texts {
		if text == "" {
			t.Fatalf("no %s was issued", name)
		}
	}
	c.open("access token", opaqueHost)
	c.open("JWT", jwtHost)
	c.open("client token", opaqueHost)
	c.open("API key", opaqueHost)
	c.open("personal access token", opaqueHost, "X-Workspace", c.workspace.Slug)
	return c
}

// open opens a WebSocket with a credential; headers come in pairs.
func (c *cast) open(thing, host string, header ...string) {
	c.t.Helper()
	config, err := websocket.NewConfig("ws://"+host+"/socket", "https://app.example")
	ok(c.t, err)
	config.Header.Set("Authorization", "Bearer "+c.texts[thing])
	for i := 0; i+1 < len(header); i += 2 {
		config.Header.Set(header[i], header[i+1])
	}
	conn, err := (&net.Dialer{}).DialContext(c.t.Context(), "tcp", c.nodes[len(c.nodes)-1].HTTP.Listener.Addr().String())
	ok(c.t, err)
	c.t.Cleanup(func() { _ = conn.Close() })
	ok(c.t, conn.SetDeadline(time.Now().Add(time.Minute)))
	ws, err := websocket.NewClient(config, conn)
	ok(c.t, err)
	if c.sockets == nil {
		c.sockets = map[string]*websocket.Conn{}
	}
	c.sockets[thing] = ws
}

// code returns a code that the user gave the app for an API, in the workspace.
func (c *cast) code(id string) string {
	c.t.Helper()
	params := c.app.Params("read write admin")
	params.Set("resource", id)
	a := c.other.Authorize(params)
	if a.Location == nil {
		a = c.other.Decide(a, "approve", func(v url.Values) { v.Set("workspace", c.workspace.Slug) })
	}
	code := a.Param("code")
	if code == "" {
		c.t.Fatalf("no code: %d %v %s", a.Status, a.Location, rig.Plain(a.Body))
	}
	return code
}

func rowName(n int) string { return "row-" + string(rune('a'+n/26)) + string(rune('a'+n%26)) }
