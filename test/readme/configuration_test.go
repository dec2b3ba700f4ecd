package readme

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"doorward/test/setup"
)

// TestConfigurationDescribesEveryKey reads the keys from the program: the keys of every mapping that it parses, and the
// settings.
func TestConfigurationDescribesEveryKey(t *testing.T) {
	root, err := setup.Root()
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(root, "config", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	add := func(e ast.Expr) {
		if literal, ok := e.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if key, err := strconv.Unquote(literal.Value); err == nil {
				keys[key] = true
			}
		}
	}
	find := func(n ast.Node) bool {
		literal, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		if m, ok := literal.Type.(*ast.MapType); ok {
			if of, ok := m.Value.(*ast.Ident); ok && of.Name == "field" {
				for _, e := range literal.Elts {
					if pair, ok := e.(*ast.KeyValueExpr); ok {
						add(pair.Key)
					}
				}
			}
		}
		return true
	}
	for _, name := range names {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, find)
	}
	if len(keys) < 40 {
		t.Fatalf("only %d keys were found in package config; did its shape change?", len(keys))
	}
	text := page(t, filepath.Join("docs", "configuration.md"))
	for key := range keys {
		if !regexp.MustCompile("`(scopes\\.NAME\\.|keys\\.)?" + regexp.QuoteMeta(key) + "`").MatchString(text) {
			t.Errorf("docs/configuration.md does not describe %s", key)
		}
	}
}

// TestConfigurationExamplesHold has the program check each example on the pages about configuration and operations.
func TestConfigurationExamplesHold(t *testing.T) {
	binary := setup.Doorward(t)
	for _, name := range []string{"configuration.md", "operations.md"} {
		for i, b := range blocks(page(t, filepath.Join("docs", name))) {
			if b.language != "yaml" {
				continue
			}
			dir := t.TempDir()
			secret := filepath.Join(dir, "secret")
			for path, text := range map[string]string{
				secret: "kN2vq8Xw4bTzR7mLcYhPdG5sJfA9uEoQ1iVxWnC3tBk6",
				filepath.Join(dir, "doorward.yaml"): regexp.MustCompile(`/etc/doorward/\S*?secret\b`).
					ReplaceAllString(b.text, secret),
			} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			check := exec.CommandContext(t.Context(), binary, "check", "--json", "--config", "doorward.yaml")
			check.Dir, check.Env = dir, []string{"DATABASE_URL=sqlite:none.db"}
			out, err := check.Output()
			var report struct{ Faults []string }
			if err != nil || json.Unmarshal(out, &report) != nil || len(report.Faults) > 0 {
				t.Errorf("docs/%s, block %d: %v\n%s\n%s", name, i+1, err, out, b.text)
			}
			if strings.Contains(b.text, "refresh_reuse_window") {
				defaults(t, binary, b.text)
			}
		}
	}
}

// defaults compares the list of defaults with those in the help of serve.
func defaults(t *testing.T, binary, yaml string) {
	t.Helper()
	help := regexp.MustCompile(`\s+`).ReplaceAllString(output(t, ".", binary, "serve", "--help"), " ")
	found := regexp.MustCompile(`--([a-z-]+)=\S+ [^=]*?Default: ([^\s,]+(?:, [^\s,]+)*)`).FindAllStringSubmatch(help, -1)
	if len(found) < 5 {
		t.Errorf("the help of serve names %d defaults", len(found))
	}
	for _, m := range found {
		key := strings.ReplaceAll(m[1], "-", "_")
		if !regexp.MustCompile(`(?m)^` + key + `: \[?` + regexp.QuoteMeta(m[2]) + `\]?$`).MatchString(yaml) {
			t.Errorf("the default of %s is %s; docs/configuration.md says otherwise", key, m[2])
		}
	}
}
