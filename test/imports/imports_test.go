// Package imports_test holds the arrows of the house: which package may import which.
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

// arrows says what each of our packages may import of ours. What is not listed may not be, so that a new package and a
// new arrow are decisions: they are made here, with a word in docs/decisions when the reason is not plain.
var arrows = map[string][]string{
	"cmd/doorward": {
		"cmd/doorward/demo", "cmd/doorward/guide", "cmd/doorward/inspect", "cmd/doorward/process", "config", "management", "oauth",
		"oauth/apikey", "oauth/bearer", "oauth/catalog", "oauth/identity", "oauth/input", "oauth/limit", "oauth/seal", "storage", "web", "web/gateway",
		"web/gateway/route/openapi",
	},
	"cmd/doorward/demo":    {}, // its app and API belong to others
	"cmd/doorward/inspect": {"config", "oauth/catalog", "oauth/input", "oauth/seal", "storage"},
	"cmd/doorward/process": {"config"}, // sockets and the log
	"cmd/doorward/guide": {
		"config", "oauth/bearer", "oauth/catalog", "oauth/input", "oauth/limit", "storage", "web/gateway", "web/gateway/route",
	},
	// The parser fills the structs of the packages that use them.
	"config": {
		"config/yamlnode", "oauth", "oauth/apikey", "oauth/bearer", "oauth/catalog", "oauth/input", "oauth/limit", "web/gateway",
		"web/gateway/route",
	},
	"config/yamlnode": {"oauth/input"},

	"web": {
		"management", "oauth", "oauth/apikey", "oauth/bearer", "oauth/catalog", "oauth/identity", "oauth/seal", "storage",
		"templates", "web/admin", "web/api", "web/dashboard", "web/gateway", "web/page", "web/signin",
	},
	"web/signin": {
		"management", "oauth", "oauth/catalog", "oauth/identity", "oauth/input", "oauth/redirecturi", "oauth/seal", "storage",
		"templates", "web/page",
	},
	"web/dashboard": {
		"management", "oauth", "oauth/apikey", "oauth/bearer", "oauth/catalog", "oauth/identity", "oauth/input", "oauth/limit",
		"oauth/redirecturi", "storage", "templates", "web/page",
	},
	"web/admin": {"management", "oauth", "oauth/catalog", "oauth/identity", "storage", "templates", "web/page"},
	"web/page": {
		"management", "oauth", "oauth/apikey", "oauth/bearer", "oauth/catalog", "oauth/identity", "oauth/input", "oauth/seal",
		"storage", "templates",
	},
	"web/api": {
		"management", "oauth", "oauth/apikey", "oauth/bearer", "oauth/catalog", "oauth/identity", "oauth/input", "oauth/limit",
		"oauth/seal", "storage", "web/gateway",
	},
	"web/gateway": {"oauth", "oauth/bearer", "oauth/catalog", "oauth/input", "oauth/limit", "storage", "web/gateway/route"},
	// A route says what it needs in scopes, roles and kinds of credentials.
	"web/gateway/route":         {"oauth/bearer", "oauth/catalog", "oauth/input"},
	"web/gateway/route/openapi": {"config/yamlnode", "oauth/input", "web/gateway/route"},

	// The protocol has management revoke a key that is shown to it, and never the other way round: management gets the rules
	// of the grant types through its configuration.
	"oauth": {
		"management", "oauth/apikey", "oauth/bearer", "oauth/catalog", "oauth/input", "oauth/limit", "oauth/redirecturi",
		"oauth/seal", "storage",
	},
	"management": {
		"oauth/apikey", "oauth/bearer", "oauth/catalog", "oauth/input", "oauth/limit", "oauth/redirecturi", "storage",
	},
	"oauth/bearer":      {"oauth/apikey", "oauth/catalog", "oauth/input", "oauth/limit", "oauth/seal", "storage"},
	"oauth/apikey":      {"oauth/catalog", "oauth/input", "oauth/limit", "storage"}, // the catalogue says what a key can have
	"oauth/catalog":     {"oauth/input", "oauth/limit", "storage"},
	"oauth/identity":    {"oauth/input", "storage"},
	"oauth/redirecturi": {"oauth/input"},
	"oauth/seal":        {"storage"},
	"oauth/limit":       {"storage"},
	"oauth/input":       {}, // what a text may be, and what is wrong with it
	"oauth/resource":    {}, // others import it into their APIs, which should get nothing of the server's with it
	"storage":           {"migrations"},
	"migrations":        {},
	"templates":         {},

	"examples/resource-server": {"oauth/resource"},
	"examples/run":             {"examples/generic/api", "examples/scopien/api", "examples/sophic/api", "examples/sophosic/api", "examples/torvus/api"},
	// APIs as vendors have them, who know nothing of us.
	"examples/generic/api":  {},
	"examples/scopien/api":  {},
	"examples/sophic/api":   {},
	"examples/sophosic/api": {},
	"examples/torvus/api":   {},
}

// owners says which of our packages alone may import something of others. A path of others stands for all below it too,
// and so does examples.
var owners = map[string][]string{
	"github.com/ory/fosite":      {"oauth"},
	"github.com/ory/x":           {},
	"github.com/go-jose":         {"oauth/bearer", "oauth/resource"}, // what signs, and what verifies without us
	"database/sql":               {"storage"},
	"github.com/jackc":           {"storage"},
	"github.com/pressly/goose":   {"storage"},
	"modernc.org":                {"storage"},
	"github.com/gorilla":         {"web/page"},
	"github.com/a-h/templ":       {"templates", "web/page"},
	"github.com/alecthomas/kong": {"cmd/doorward"},
	"go.yaml.in/yaml":            {"config", "config/yamlnode", "web/gateway/route/openapi"},
	"net/http":                   {"cmd/doorward", "cmd/doorward/demo", "cmd/doorward/guide", "cmd/doorward/process", "config", "examples", "oauth", "oauth/bearer", "oauth/identity", "oauth/resource", "web", "web/api", "web/gateway", "web/page", "web/signin", "web/admin", "web/dashboard"},
	"testing":                    {},
}

type goPackage struct {
	ImportPath, Dir string
	GoFiles         []string
	Imports         []string
}

// ours are the packages of the product, without tests and what serves them.
func ours(t *testing.T) map[string]goPackage {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-e", "-tags=faults", "-json=ImportPath,Dir,GoFiles,Imports", module+"/...")
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
			t.Errorf("%s is a new package: say in arrows what it may import", name)
		}
		for _, path := range p.Imports {
			if of, isOurs := strings.CutPrefix(path, module+"/"); isOurs && !slices.Contains(allowed, of) {
				t.Errorf("%s imports %s, which is a new arrow", name, of)
			}
		}
	}
}

func TestLibrariesHaveOneHome(t *testing.T) {
	for name, p := range ours(t) {
		for _, path := range p.Imports {
			for library, homes := range owners {
				if within(path, library) && !slices.ContainsFunc(homes, func(home string) bool { return home == name || home == "examples" && within(name, home) }) {
					t.Errorf("%s imports %s, which is for %q only", name, path, homes)
				}
			}
		}
	}
}

// TestIdentityIsOnlyAnHTTPClient: oauth/identity may speak to other servers by a client that it is handed; it answers
// no requests.
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
