package readme

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"doorward/test/setup"
)

// sections are the parts of the catalogue of cases, by the letters that their ids begin with.
var sections = []struct{ letter, title string }{
	{"A", "The authorization request: redirect URI, PKCE, state, scope, prompt"},
	{"B", "The browser side: login and consent against other sites and other people"},
	{"T", "The token endpoint: codes, refresh, client authentication, forms"},
	{"I", "Introspection"},
	{"R", "Revocation"},
	{"G", "Passwords and sessions"},
	{"D", "Registration of apps"},
	{"L", "Limits on failures"},
	{"H", "The HTTP layer"},
	{"S", "Storage and roles of the database"},
	{"O", "Logs and metrics"},
	{"U", "What is asked for and is not there"},
	{"Z", "Faults: `make faults`, and what of them needs no kill"},
}

// caseID is one id in the name of a test: a letter, a number, perhaps a letter more.
var caseID = regexp.MustCompile(`^([A-Z])0*(\d+)([a-z]?)$`)

type securityCase struct {
	letter, suffix string
	number         int
}

func (c securityCase) String() string {
	if c.letter == "Z" {
		return fmt.Sprintf("Z-%d%s", c.number, c.suffix) // as the catalogue writes it
	}
	return fmt.Sprintf("%s-%02d%s", c.letter, c.number, c.suffix)
}

type securityTest struct{ name, file string }

// securityTests are the tests whose names bear ids, and the fuzz targets, of all packages, build tags or not.
func securityTests(t *testing.T, root string) (tests map[securityCase][]securityTest, fuzz []securityTest) {
	t.Helper()
	tests = map[securityCase][]securityTest{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil {
				continue
			}
			found := securityTest{f.Name.Name, filepath.ToSlash(rel)}
			if strings.HasPrefix(found.name, "Fuzz") {
				fuzz = append(fuzz, found)
			}
			rest, ok := strings.CutPrefix(found.name, "Test")
			for ok {
				var id string
				id, rest, _ = strings.Cut(rest, "_")
				m := caseID.FindStringSubmatch(id)
				if ok = m != nil; ok {
					n, err := strconv.Atoi(m[2])
					if err != nil {
						return err
					}
					c := securityCase{m[1], m[3], n}
					tests[c] = append(tests[c], found)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests, fuzz
}

// TestSecurityTestsAreListed holds docs/security-tests.md to the tests that there are; with -update it writes it.
func TestSecurityTestsAreListed(t *testing.T) {
	root, err := setup.Root()
	if err != nil {
		t.Fatal(err)
	}
	tests, fuzz := securityTests(t, root)
	link := func(x securityTest) string { return fmt.Sprintf("[%s](../%s)", x.name, x.file) }
	byName := func(a, b securityTest) int { return cmp.Compare(a.name+a.file, b.name+b.file) }
	var b strings.Builder
	b.WriteString(`<!-- Written by "go test ./test/readme -update"; ` + "`make test`" + ` fails where it is not what the tests say. -->

# Security cases and their tests

Each case of the catalogue has a number, and each test that guards it bears that number in its name; the rest of the name is the rule.
Cases of features that are not there yet have no tests yet. What is promised is in [SECURITY.md](../SECURITY.md).
`)
	for _, section := range sections {
		var cases []securityCase
		for c := range tests {
			if c.letter == section.letter {
				cases = append(cases, c)
			}
		}
		if len(cases) == 0 {
			continue
		}
		slices.SortFunc(cases, func(a, b securityCase) int {
			return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.suffix, b.suffix))
		})
		fmt.Fprintf(&b, "\n## %s\n\n| case | tests |\n| --- | --- |\n", section.title)
		for _, c := range cases {
			slices.SortFunc(tests[c], byName)
			var links []string
			for _, x := range tests[c] {
				links = append(links, link(x))
			}
			fmt.Fprintf(&b, "| %s | %s |\n", c, strings.Join(links, "<br>"))
			delete(tests, c)
		}
	}
	for c, left := range tests {
		t.Errorf("%s has no section here: %v", c, left)
	}
	b.WriteString("\n## Fuzz targets\n\nRun one with `go test -fuzz=NAME ./PACKAGE`.\n\n")
	slices.SortFunc(fuzz, byName)
	for _, x := range fuzz {
		fmt.Fprintf(&b, "- %s, in `./%s`\n", link(x), filepath.ToSlash(filepath.Dir(x.file)))
	}
	name := filepath.Join(root, "docs", "security-tests.md")
	if *update {
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != b.String() {
		t.Errorf("docs/security-tests.md is not what the tests say (%v): run go test ./test/readme -run Security -update", err)
	}
}
