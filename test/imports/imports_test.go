// Package imports_test holds the rules about imports: which package may import which.
package imports_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "doorward"

// arrows lists which of our packages each of our packages may import. To add a package or an import, add it here; if
// the reason is not obvious, write a record in docs/decisions.
var arrows = map[string][]string{
	"cmd/doorward": {
		"brand", "cmd/doorward/demo", "cmd/doorward/guide", "cmd/doorward/inspect", "cmd/doorward/process",
		"cmd/doorward/show", "config", "locale", "mail", "management", "oauth", "oauth/apikey", "oauth/bearer",
		"oauth/catalog", "oauth/fetch", "oauth/identity", "oauth/input", "oauth/limit", "oauth/seal", "storage",
		"templates", "web", "web/gateway", "web/gateway/route/openapi", "web/signin",
	},
	"cmd/doorward/demo":    {}, // it plays a third-party app, its API, and another identity provider
	"cmd/doorward/inspect": {"config", "oauth/catalog", "oauth/input", "oauth/seal", "storage"},
	"cmd/doorward/process": {"config"},
	"cmd/doorward/show":    {"management", "oauth/bearer", "storage"},
	"cmd/doorward/guide": {
		"config", "locale", "oauth/bearer", "oauth/catalog", "oauth/dpop", "oauth/input", "oauth/limit", "storage",
		"web/gateway", "web/gateway/route",
	},
	// It parses into the structs of the packages that use the settings.
	"config": {
		"brand", "config/yamlnode", "locale", "management", "oauth", "oauth/apikey", "oauth/bearer", "oauth/catalog",
		"oauth/fetch", "oauth/identity", "oauth/input", "oauth/limit", "oauth/provider", "web/gateway", "web/gateway/route",
	},
	"config/yamlnode": {"oauth/input"},

	"web": {
		"brand", "locale", "management", "oauth", "oauth/apikey", "oauth/bearer", "oauth/catalog", "oauth/fetch",
		"oauth/identity", "oauth/seal", "storage", "templates", "web/admin", "web/api", "web/dashboard",
		"web/gateway", "web/logo", "web/page", "web/signin",
	},
	// It knows neither apps nor pages.
	"web/logo": {"oauth/fetch", "oauth/seal", "storage"},
	"web/signin": {
		"locale", "management", "oauth", "oauth/catalog", "oauth/identity", "oauth/input", "oauth/limit",
		"oauth/provider", "oauth/redirecturi", "oauth/seal", "storage", "templates", "web/page",
	},
	"web/dashboard": {
		"locale", "management", "oauth", "oauth/apikey", "oauth/bearer", "oauth/catalog", "oauth/identity", "oauth/input",
		"oauth/limit", "oauth/redirecturi", "storage", "templates", "web/page",
	},
	"web/admin": {"locale", "management", "oauth", "oauth/catalog", "oauth/identity", "storage", "templates", "web/page"},
	"web/page": {
		"locale", "management", "oauth", "oauth/apikey", "oauth/bearer", "oauth/catalog", "oauth/identity", "oauth/input",
		"oauth/seal", "storage", "templates",
	},
	"web/api": {
		"locale", "management", "oauth", "oauth/apikey", "oauth/bearer", "oauth/catalog", "oauth/identity", "oauth/input",
		"oauth/limit", "oauth/seal", "storage", "web/api/openapi", "web/gateway",
	},
	"web/api/openapi": {"web/gateway"}, // for the examples of refusals
	"web/gateway": {
		"oauth", "oauth/bearer", "oauth/catalog", "oauth/dpop", "oauth/input", "oauth/limit", "storage", "web/gateway/route",
	},
	// A route names scopes, roles and credential kinds.
	"web/gateway/route":         {"oauth/bearer", "oauth/catalog", "oauth/input"},
	"web/gateway/route/openapi": {"config/yamlnode", "oauth/input", "web/gateway/route"},

	// The protocol calls management to revoke a key (RFC 7009). Management does not import the protocol: its Config holds
	// the rules of the grant types.
	"oauth": {
		"locale", "management", "oauth/apikey", "oauth/bearer", "oauth/catalog", "oauth/dpop", "oauth/fetch", "oauth/input",
		"oauth/jwt", "oauth/limit", "oauth/redirecturi", "oauth/seal", "storage",
	},
	"management": {
		"locale", "oauth/apikey", "oauth/bearer", "oauth/catalog", "oauth/input", "oauth/jwt", "oauth/limit",
		"oauth/redirecturi", "oauth/seal", "storage",
	},
	// Only the two packages that verify credentials answer from memory.
	"oauth/bearer": {
		"oauth/apikey", "oauth/cache", "oauth/catalog", "oauth/input", "oauth/jwt", "oauth/limit", "oauth/seal", "storage",
	},
	"oauth/apikey":      {"locale", "oauth/cache", "oauth/catalog", "oauth/input", "oauth/limit", "storage"},
	"oauth/cache":       {"storage"},
	"oauth/catalog":     {"locale", "oauth/input", "oauth/limit", "storage"},
	"oauth/identity":    {"locale", "oauth/input", "oauth/provider", "oauth/seal", "storage"},
	"oauth/provider":    {"oauth/input"},
	"oauth/redirecturi": {"locale", "oauth/input"},
	"oauth/fetch":       {"locale", "oauth/input"},
	"oauth/seal":        {"locale", "storage"},
	"oauth/limit":       {"storage"},
	"oauth/input":       {"locale"},
	// The libraries for other APIs. A library for other APIs must not depend on the server.
	"oauth/resource": {"oauth/dpop"},
	"oauth/dpop":     {"oauth/jwt"},
	"oauth/jwt":      {},
	"storage":        {"migrations"},
	"migrations":     {},
	"brand":          {},
	"mail":           {"locale", "oauth/seal", "storage", "templates"},
	"templates":      {"locale"},
	"locale":         {}, // errors of every package carry its messages

	"examples/resource-server": {"oauth/resource"},
	"examples/run": {
		"examples/generic/api", "examples/scopien/api", "examples/sophic/api", "examples/sophosic/api",
		"examples/torvus/api",
	},
	// The APIs of vendors, which know nothing of Doorward.
	"examples/generic/api":  {},
	"examples/scopien/api":  {},
	"examples/sophic/api":   {},
	"examples/sophosic/api": {},
	"examples/torvus/api":   {},
}

// owners lists the only packages that may import a library. A library's path includes the packages below it, and
// "examples" includes all examples.
var owners = map[string][]string{
	"github.com/ory/fosite":      {"oauth"},
	"github.com/ory/x":           {},
	"github.com/go-jose":         {"oauth", "oauth/bearer", "oauth/jwt", "oauth/provider", "oauth/resource"}, // keys, signatures
	"database/sql":               {"storage"},
	"github.com/jackc":           {"storage"},
	"github.com/pressly/goose":   {"storage"},
	"modernc.org":                {"storage"},
	"github.com/gorilla":         {"web/page"},
	"github.com/a-h/templ":       {"templates", "web/page"},
	"github.com/alecthomas/kong": {"cmd/doorward"},
	"github.com/wneessen":        {"mail"},
	"go.yaml.in/yaml":            {"config", "config/yamlnode", "locale", "web/gateway/route/openapi"},
	"net/http": {
		"cmd/doorward", "cmd/doorward/demo", "cmd/doorward/guide", "cmd/doorward/process", "config", "examples", "oauth",
		"oauth/bearer", "oauth/dpop", "oauth/fetch", "oauth/identity", "oauth/provider", "oauth/resource", "web",
		"web/admin", "web/api", "web/api/openapi", "web/dashboard", "web/gateway", "web/logo", "web/page", "web/signin",
	},
	"testing": {},
}

type goPackage struct {
	ImportPath, Dir string
	GoFiles         []string
	Imports         []string
}

// ours lists the packages of the product, without those below test.
func ours(t *testing.T) map[string]goPackage {
	t.Helper()
	list := exec.CommandContext(
		t.Context(), "go", "list", "-e", "-tags=faults", "-json=ImportPath,Dir,GoFiles,Imports", module+"/...",
	)
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	found := map[string]goPackage{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		if !within(name, "test") {
			found[name] = p
		}
	}
	return found
}

func within(path, parent string) bool { return path == parent || strings.HasPrefix(path, parent+"/") }

func TestPackagesImportOnlyAlongTheArrows(t *testing.T) {
	packages := ours(t)
	if len(packages) == 0 {
		t.Fatal("go list found no packages")
	}
	for name, p := range packages {
		allowed, known := arrows[name]
		if !known {
			t.Errorf("%s is a new package; add it to arrows with what it may import", name)
		}
		for _, path := range p.Imports {
			if of, isOurs := strings.CutPrefix(path, module+"/"); isOurs && !slices.Contains(allowed, of) {
				t.Errorf("%s imports %s, which arrows does not allow", name, of)
			}
		}
	}
}

func TestLibrariesHaveOneHome(t *testing.T) {
	for name, p := range ours(t) {
		for _, path := range p.Imports {
			for library, homes := range owners {
				isHome := func(home string) bool { return home == name || home == "examples" && within(name, home) }
				if within(path, library) && !slices.ContainsFunc(homes, isHome) {
					t.Errorf("%s imports %s, which only %q may import", name, path, homes)
				}
			}
		}
	}
}

// TestIdentityIsOnlyAnHTTPClient checks that oauth/identity may send requests with an http.Client, but not serve any.
func TestIdentityIsOnlyAnHTTPClient(t *testing.T) {
	p := ours(t)["oauth/identity"]
	allowed := []string{"Client", "Header", "NewRequestWithContext", "NoBody", "Request", "Response"}
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			from, ok := selector.X.(*ast.Ident)
			if !ok || from.Name != "http" || from.Obj != nil {
				return true
			}
			used := selector.Sel.Name
			if !slices.Contains(allowed, used) && !strings.HasPrefix(used, "Method") && !strings.HasPrefix(used, "Status") {
				t.Errorf("%s uses http.%s", name, used)
			}
			return true
		})
	}
}
