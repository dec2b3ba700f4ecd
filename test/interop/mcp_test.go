package interop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"doorward/test/browser"
	"doorward/test/gateways"
	"doorward/test/setup"
)

// The ways in which a client becomes known to Doorward.
const (
	givenID    = "client id"
	registers  = "registration"      // dynamic, RFC 7591
	documented = "metadata document" // its URL is the client id
)

// offline is what clients ask for that follow the specification of 2026-07-28, since the server's metadata list
// offline_access.
const offline = "read offline_access"

// mcpParty is a client of MCP servers by others.
type mcpParty struct {
	name    string
	version func(*testing.T) string
	source  string   // below test/interop
	ways    []string // the first behind the built-in proxy, the second behind nginx, and so on
	run     func(*mcpVisit)
	steps   []string // that it reports, in order
	// What it sends: the scope and application_type that it registers, which may be empty, and the scope that it asks
	// for.
	scope, application, asks string
}

// mcpSteps are the steps of most clients. The last one is that it refreshes its token without asking the user.
var mcpSteps = []string{"signed in", "tools", "called", "refreshed"}

var mcpParties = []mcpParty{
	{
		name: "@modelcontextprotocol/sdk 1.25", version: nodePackage("mcp-sdk-1-25"), source: "node/mcp-client.js",
		ways: []string{registers, documented}, run: mcpSDK("mcp-sdk-1-25"), steps: mcpSteps, asks: "read",
	},
	{
		name: "@modelcontextprotocol/sdk", version: nodePackage("@modelcontextprotocol/sdk"), source: "node/mcp-client.js",
		ways: []string{registers, documented, givenID}, run: mcpSDK("@modelcontextprotocol/sdk"), steps: mcpSteps,
		scope: "read", asks: "read",
	},
	{
		name: "@modelcontextprotocol/client", version: nodePackage("@modelcontextprotocol/client"),
		source: "node/mcp-client.js", ways: []string{registers, documented}, run: mcpSDK("@modelcontextprotocol/client"),
		steps: mcpSteps, scope: offline, application: "native", asks: offline,
	},
	{
		name: "mcp, in Python", version: pythonRequirement("mcp"), source: "python/mcp_client.py",
		ways: []string{registers, documented}, run: mcpPython, steps: mcpSteps, scope: offline, application: "native",
		asks: offline,
	},
	{
		name: "mcp-remote", version: nodePackage("mcp-remote"), source: "node/mcp-remote.js",
		ways: []string{registers, registers}, run: mcpRemote, steps: mcpSteps, scope: offline, application: "native",
		asks: offline,
	},
	{
		name: "MCP Inspector, CLI", version: nodePackage("@modelcontextprotocol/inspector"), source: "mcp_programs_test.go",
		ways: []string{registers, documented}, run: mcpInspector, steps: []string{"called", "tools", "refreshed"},
		scope: offline, application: "native", asks: offline,
	},
}

// mcpWorld is a Doorward where clients need no registration, an MCP server behind two gateways, and the documents of
// clients.
type mcpWorld struct {
	server    *server
	heard     *recorder              // in front of the server
	servers   []string               // the addresses of the MCP server: behind the built-in proxy, and behind nginx
	api       map[string]credentials // which introspect, by such an address
	tab       *browser.Tab
	documents string // the base URL
}

// mcpVisit is one client at one MCP server, with a user at a browser.
type mcpVisit struct {
	*mcpWorld
	t     *testing.T
	party *mcpParty
	way   string
	mcp   string // the address of the MCP server
	id    string // the client id; empty until it has registered
	told  []string
}

// TestMCP: clients of the Model Context Protocol by others, which know only the address of a server, get from a refusal
// to a working call, and refresh their tokens without asking the user. The MCP server has no authentication of its own,
// and is behind the built-in proxy or nginx.
func TestMCP(t *testing.T) {
	setup.Long(t)
	w := newMCPWorld(t)
	for i := range mcpParties {
		p := &mcpParties[i]
		for j, way := range p.ways {
			n := j % len(w.servers)
			name := fmt.Sprintf("%s, %s, %s", strings.ReplaceAll(p.name, "/", " "), way, []string{"proxy", "nginx"}[n])
			t.Run(name, func(t *testing.T) {
				(&mcpVisit{mcpWorld: w, t: t, party: p, way: way, mcp: w.servers[n]}).connect()
			})
		}
	}
	t.Run("conformance", w.conformance)
	if !t.Failed() && !*update {
		checkMCPPart(t)
	}
}

func newMCPWorld(t *testing.T) *mcpWorld {
	t.Helper()
	program := nodeProgram(t, "@modelcontextprotocol/sdk")
	upstream := mcpServer(t, program)
	w := &mcpWorld{heard: &recorder{}, api: map[string]credentials{}, tab: browser.New(t)}
	w.documents = "https://127.0.0.1:" + newAuthority(t).serve(t, http.HandlerFunc(w.serveDocument))

	port, err := setup.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	public := w.heard.inFrontOf(t, port)
	configuration := `trusted_proxies: [127.0.0.1]
fetch: {allow: [127.0.0.1]}
registration: open
metadata_documents: any
resources:
`
	for _, front := range []struct{ name, address string }{
		{"proxy", "127.0.0.1:" + public},
		{"nginx", gateways.Nginx(t, fmt.Sprintf("127.0.0.1:%d", port), upstream)},
	} {
		mcp := "http://" + front.address + "/mcp"
		w.servers = append(w.servers, mcp)
		configuration += fmt.Sprintf(`  - id: %s
    hosts: [%q]
    upstream: http://%s
    keys: {prefix: %s}
    open_registration: [read]
    routes: [{path: /mcp, scopes: [read]}]
`, mcp, front.address, upstream, front.name)
	}
	w.server = newServerAt(t, "http://localhost:"+public, port, "sqlite:data/doorward.db", configuration)
	w.server.begin()
	for _, mcp := range w.servers {
		metadataOf(t, mcp, w.server.issuer)
		w.api[mcp] = w.server.resourceServer(mcp)
	}
	return w
}

// serveDocument serves a metadata document for each path.
func (w *mcpWorld) serveDocument(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(map[string]any{
		"client_id":                  w.documents + r.URL.EscapedPath(),
		"client_name":                "An assistant with a document",
		"redirect_uris":              []string{callback, "http://127.0.0.1/oauth/callback"},
		"grant_types":                []string{"authorization_code", "refresh_token"},
		"response_types":             []string{"code"},
		"token_endpoint_auth_method": "none",
	})
}

// connect has the client do all that it can, and checks what it asked Doorward for.
func (v *mcpVisit) connect() {
	s := *v.server
	s.t = v.t
	switch v.way {
	case givenID:
		v.id = s.client("An assistant", "--public", "--redirect-uri", callback, "--scope", "read", "--resource", v.mcp).ID
	case documented:
		v.id = v.documents + "/" + url.PathEscape(v.party.name) + ".json"
	}
	v.heard.forget()
	v.party.run(v)
	if diff := cmp.Diff(v.party.steps, v.told); diff != "" {
		v.t.Errorf("its steps (-want +got):\n%s", diff)
	}
	prompt := ""
	if v.party.asks == offline {
		prompt = "consent"
	}
	want := []string{
		fmt.Sprintf("registers with the scope %q and the application_type %q", v.party.scope, v.party.application),
		fmt.Sprintf("asks for the scope %q with the prompt %q", v.party.asks, prompt),
		"authorization_code",
		"refresh_token",
	}
	if v.way != registers {
		want = want[1:]
	}
	var got []string
	for _, r := range v.heard.all() {
		got = append(got, v.describe(r))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		v.t.Errorf("its requests (-want +got):\n%s", diff)
	}
}

// describe tells what is special about a request, and checks the rest.
func (v *mcpVisit) describe(r request) string {
	kind := path.Base(r.path)
	if r.status >= http.StatusBadRequest {
		v.t.Errorf("%s %s is answered with %d %s", kind, r.sent, r.status, r.answer)
	}
	if kind == "register" {
		var asked struct {
			Method      string   `json:"token_endpoint_auth_method"`
			Grants      []string `json:"grant_types"`
			Scope       string   `json:"scope"`
			Application string   `json:"application_type"`
		}
		if err := json.Unmarshal([]byte(r.sent), &asked); err != nil {
			v.t.Fatal(err)
		}
		if asked.Method != "none" || !slices.Equal(asked.Grants, []string{"authorization_code", "refresh_token"}) {
			v.t.Errorf("it registers as %s", r.sent)
		}
		return fmt.Sprintf("registers with the scope %q and the application_type %q", asked.Scope, asked.Application)
	}
	q, err := url.ParseQuery(r.sent)
	if err != nil {
		v.t.Fatal(err)
	}
	if id := v.clientID(); q.Get("client_id") != id || q.Get("resource") != v.mcp {
		v.t.Errorf("%s is for the client %q and the resource %q, want %q and %q", kind, q.Get("client_id"),
			q.Get("resource"), id, v.mcp)
	}
	if kind == "token" {
		return q.Get("grant_type")
	}
	if q.Get("code_challenge_method") != "S256" {
		v.t.Errorf("it authorizes without PKCE: %s", r.sent)
	}
	return fmt.Sprintf("asks for the scope %q with the prompt %q", q.Get("scope"), q.Get("prompt"))
}

// clientID is the client id that the client was given, has a document for, or has registered.
func (v *mcpVisit) clientID() string {
	if v.way != registers {
		return v.id
	}
	var answer struct {
		ID string `json:"client_id"`
	}
	for _, r := range v.heard.all() {
		if path.Base(r.path) == "register" {
			if err := json.Unmarshal([]byte(r.answer), &answer); err != nil {
				v.t.Fatal(err)
			}
		}
	}
	if answer.ID == "" {
		v.t.Fatal("it has not registered")
	}
	return answer.ID
}

// holds checks that a token is the client's, for this MCP server.
func (v *mcpVisit) holds(token string) {
	v.t.Helper()
	s := *v.server
	s.t = v.t
	got := s.introspect(v.api[v.mcp], token)
	if got["active"] != true || got["client_id"] != v.clientID() || got["scope"] != "read" || got["aud"] != v.mcp {
		v.t.Errorf("the client %s holds the token %v", v.clientID(), got)
	}
}

// mcpPart is the part of docs/interoperability.md about clients of MCP servers.
func mcpPart(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(`
## MCP clients

Each of these knows only the address of an [MCP server](mcp.md), and has no client id. It gets from a refusal to a call
of a tool, once behind the built-in proxy and once behind nginx, and then refreshes its token without asking the user.
It registers itself (RFC 7591) as a public client, or uses the URL of its metadata document as the client id. Those that
ask for ` + "`offline_access`" + ` also send ` + "`prompt=consent`" + `, so the user sees the consent page again.

| client | version | registers itself with the scope | metadata document | asks the user for |
| --- | --- | --- | --- | --- |
`)
	for _, p := range mcpParties {
		scope, document := "without one", "–"
		if p.scope != "" {
			scope = "`" + p.scope + "`"
		}
		if slices.Contains(p.ways, documented) {
			document = "yes"
		}
		fmt.Fprintf(&b, "| [%s](../test/interop/%s) | %s | %s | %s | `%s` |\n", p.name, p.source, p.version(t), scope,
			document, p.asks)
	}
	fmt.Fprintf(&b, `
With the URL of a metadata document as the client id, the scenarios of @modelcontextprotocol/conformance %s
for authorization servers pass without a warning: %s.
`, nodePackage("@modelcontextprotocol/conformance")(t), "`"+strings.Join(mcpScenarios, "` and `")+"`")
	return b.String()
}

// checkMCPPart checks that docs/interoperability.md says what happened here.
func checkMCPPart(t *testing.T) {
	t.Helper()
	root, err := setup.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "interoperability.md"))
	if err != nil {
		t.Fatal(err)
	}
	if part := mcpPart(t); !strings.Contains(string(page), part) {
		t.Errorf("docs/interoperability.md does not have this part: go test ./test/interop -update\n%s", part)
	}
}
