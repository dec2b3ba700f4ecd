package security

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"doorward/management"
	"doorward/test/rig"
)

// clientRedirects are the redirect URIs that MCP clients send, with those registered for them according to docs/mcp.md.
var clientRedirects = map[string][2]string{
	"Claude Code":          {"http://localhost/callback", "http://localhost:54545/callback"},
	"Claude":               {"https://claude.ai/api/mcp/auth_callback", "https://claude.ai/api/mcp/auth_callback"},
	"VS Code":              {"http://127.0.0.1/", "http://127.0.0.1:33418/"},
	"VS Code in a browser": {"https://vscode.dev/redirect", "https://vscode.dev/redirect"},
	"Cursor": {
		"cursor://anysphere.cursor-mcp/oauth/callback", "cursor://anysphere.cursor-mcp/oauth/callback",
	},
	"Inspector":  {"http://localhost:6274/oauth/callback", "http://localhost:6274/oauth/callback"},
	"mcp-remote": {"http://localhost/oauth/callback", "http://localhost:3334/oauth/callback"},
}

func TestV49_RedirectURIsOfRealClientsWork(t *testing.T) {
	r := rig.Memory(t, rig.Options{RedirectSchemes: []string{"cursor"}})
	for name, x := range clientRedirects {
		app := r.App(management.ClientSpec{Name: name, Public: true, RedirectURIs: []string{x[0]}})
		app.Redirect = x[1]
		b := r.Browser().SignIn(r.Alice.Email)
		page := b.Authorize(app.Params("read"))
		if warned := strings.Contains(rig.Plain(page.Body), "cursor: links"); warned != (name == "Cursor") {
			t.Errorf("%s: consent warns of the scheme: %v", name, warned)
		}
		if a := b.Decide(page, "approve"); a.Param("code") == "" || !strings.HasPrefix(a.Location.String(), x[1]+"?") {
			t.Errorf("%s: %d %v", name, a.Status, a.Location)
		}
	}
	// The documentation names these clients, and every URI that it names can be registered.
	document, err := os.ReadFile("../../docs/mcp.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z]+://[^`]+)`").FindAllStringSubmatch(string(document), -1)
	for name, x := range clientRedirects {
		if !slices.ContainsFunc(named, func(m []string) bool { return m[1] == x[0] }) {
			t.Errorf("docs/mcp.md does not say what to register for %s: %s", name, x[0])
		}
	}
	for _, m := range named {
		if strings.HasPrefix(m[1], "https://mcp.example.com/") || strings.Contains(m[1], "…") {
			continue // of the server
		}
		r.App(management.ClientSpec{Name: "As documented", Public: true, RedirectURIs: []string{m[1]}})
	}
	cursor := management.ClientSpec{
		Name:         "x",
		Public:       true,
		Scopes:       []string{"read"},
		RedirectURIs: []string{"cursor://anysphere.cursor-mcp/oauth/callback"},
	}
	plain := rig.Memory(t, rig.Options{})
	for _, administrator := range []bool{true, false} {
		cursor.Administrator = administrator
		_, _, err := plain.Management.CreateClient(plain.System(), management.CLI(""), cursor)
		if err == nil || !strings.Contains(err.Error(), "redirect_schemes") {
			t.Errorf("without the operator's leave: %v", err)
		}
	}
	for _, uri := range []string{"javascript:alert(1)", "data:text/html,x", "Cursor://x", "curso://x", "vscode://x"} {
		cursor.RedirectURIs = []string{uri}
		if _, _, err := r.Management.CreateClient(r.System(), management.CLI(""), cursor); err == nil {
			t.Errorf("%s is registered", uri)
		}
	}
}
