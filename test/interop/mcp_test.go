package interop

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/test/browser"
	"doorward/test/gateways"
	"doorward/test/setup"
)

// TestMCP: the client of the official Model Context Protocol SDK, which knows only an address and a client id, gets
// from a refusal to a working call. The MCP server has no authentication of its own, and is behind the built-in proxy
// or nginx.
func TestMCP(t *testing.T) {
	setup.Long(t)
	program, err := setup.Node()
	setup.Need(t, err)
	_, err = setup.NodePackage("@modelcontextprotocol/sdk")
	setup.Need(t, err)
	api := mcpServer(t, program)

	s := newServer(t, "sqlite:data/doorward.db", "")
	issuer, err := url.Parse(s.issuer)
	if err != nil {
		t.Fatal(err)
	}
	fronts := map[string]string{
		"proxy": "127.0.0.1:" + issuer.Port(),
		"nginx": gateways.Nginx(t, "127.0.0.1:"+issuer.Port(), api),
	}
	configuration := "trusted_proxies: [127.0.0.1]\nresources:\n"
	for _, name := range []string{"proxy", "nginx"} {
		configuration += fmt.Sprintf("  - {id: \"http://%[1]s/mcp\", hosts: [\"%[1]s\"], upstream: \"http://%[2]s\", keys: "+
			"{prefix: %[3]s}, routes: [{path: /mcp, scopes: [read]}]}\n", fronts[name], api, name)
	}
	file := filepath.Join(s.folder, "doorward.yaml")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(before, configuration...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.serve(); err != nil {
		t.Fatal(err)
	}
	s.command(password, "user", "create", "--email", email, "--name", "Ada", "--password-stdin")

	for name, front := range fronts {
		t.Run(name, func(t *testing.T) {
			s := *s
			s.t = t
			mcp := "http://" + front + "/mcp"
			metadataOf(t, mcp, s.issuer)
			app := s.client("An assistant by "+name, "--public", "--redirect-uri", callback, "--scope",
				"read", "--resource", mcp)
			api := s.resourceServer(mcp)
			tab := browser.New(t)
			var got []string
			listen(t, map[string]any{"issuer": s.issuer, "mcp": mcp, "public": app}, func(l line) bool {
				if l.Open != "" {
					if u, err := url.Parse(l.Open); err != nil || u.Query().Get("code_challenge_method") != "S256" {
						t.Errorf("it opens %s", l.Open)
					}
					visit(t, tab, l.Open, l.Decision)
					return false
				}
				if !l.OK {
					t.Errorf("%s: %s", l.Step, l.Detail)
				}
				s.checkTokens(api, l)
				got = append(got, l.Step)
				return true
			}, program, filepath.Join("node", "mcp-client.js"))
			if want := []string{"refused", "resource", "signed in", "tools", "called", "refreshed"}; !slices.Equal(got, want) {
				t.Errorf("it came as far as %v, want %v", got, want)
			}
		})
	}
}

// metadataOf follows a refusal to the authorization server's metadata (RFC 9728, section 5.1).
func metadataOf(t *testing.T, mcp, issuer string) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	refused, err := client.Post(mcp, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = refused.Body.Close()
	_, rest, found := strings.Cut(refused.Header.Get("WWW-Authenticate"), `resource_metadata="`)
	address, _, _ := strings.Cut(rest, `"`)
	if refused.StatusCode != http.StatusUnauthorized || !found ||
		!strings.Contains(refused.Header.Get("WWW-Authenticate"), `scope="read"`) {
		t.Fatalf("%d %s", refused.StatusCode, refused.Header.Get("WWW-Authenticate"))
	}
	answer, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	var metadata struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
	}
	text, _ := io.ReadAll(answer.Body)
	if err := json.Unmarshal(text, &metadata); err != nil || metadata.Resource != mcp ||
		!slices.Equal(metadata.Servers, []string{issuer}) {
		t.Errorf("%s: %s", address, text)
	}
}

// mcpServer runs an MCP server until the test ends, and returns its address.
func mcpServer(t *testing.T, node string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), node, filepath.Join("node", "mcp-server.js"))
	out, err := c.StdoutPipe()
	if err == nil {
		_, err = c.StdinPipe() // it exits when its standard input is closed
	}
	if err == nil {
		c.Stderr = os.Stderr
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	var l line
	if err := json.NewDecoder(out).Decode(&l); err != nil {
		t.Fatal(err)
	}
	return l.Open
}
