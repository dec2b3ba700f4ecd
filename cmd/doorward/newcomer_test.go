package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"doorward/oauth/input"
	"doorward/test/rig"
)

// documents returns the Markdown documentation by file name.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*.md", "examples/*/*.md"} {
		names, err := filepath.Glob(filepath.Join("../..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			texts[name] = string(text)
		}
	}
	if len(texts) < 20 {
		t.Fatalf("%d documents", len(texts))
	}
	return texts
}

// Examples must run with curl 7.81, which does not have --json.
func TestV74_ExamplesRunWithOldCurl(t *testing.T) {
	recent := regexp.MustCompile(`curl\b(?:\\\n|[^\n|])*(?: --json[ =]| --url-query| --variable)`)
	for name, text := range documents(t) {
		for _, line := range recent.FindAllString(text, -1) {
			t.Errorf("%s: %s", name, line)
		}
	}
}

// offered returns the features of a running server, in words: those that its metadata, its OpenAPI document and its
// commands name.
func offered(t *testing.T) map[string]bool {
	t.Helper()
	words := map[string]bool{}
	add := func(text string) {
		if text = strings.ToLower(strings.NewReplacer("_", " ", "-", " ").Replace(strings.TrimSpace(text))); text != "" {
			words[text] = true
		}
	}
	r := rig.Memory(t, rig.Options{})
	for name, value := range r.Call("GET", "/.well-known/oauth-authorization-server", "").JSON() {
		if value == false {
			continue // the metadata itself says that it is not supported
		}
		add(strings.TrimSuffix(strings.TrimSuffix(name, "_endpoint"), "_supported"))
		if list, ok := value.([]any); ok && name != "scopes_supported" && name != "response_types_supported" {
			for _, x := range list {
				add(x.(string))
			}
		}
	}
	operations := 0
	for _, path := range r.Call("GET", "/openapi.json", "").JSON()["paths"].(map[string]any) {
		for _, o := range path.(map[string]any) {
			if o, ok := o.(map[string]any); ok {
				operations++
				for _, tag := range o["tags"].([]any) {
					add(tag.(string))
				}
			}
		}
	}
	if operations < 20 {
		t.Fatalf("the document has %d operations", operations)
	}
	parser, err := kong.New(&commands{}, kong.Vars{"version": ""})
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(true) {
		for n := leaf; n != nil && n.Type == kong.CommandNode; n = n.Parent {
			add(n.Name)
		}
	}
	return words
}

// denials matches sentences that say that a feature does not exist. A plain "no WORD" is too common ("no key of that
// name"), so words about this version must follow it.
func denials(word string) *regexp.Regexp {
	w := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSuffix(word, "s")), " ", "[ _-]")
	const version = `(yet|so far|for now|at present|in this (version|release)|in (v|version )?[0-9.]+)\b`
	return regexp.MustCompile(
		`(?i)\b(no|without an?|lacks an?) ` + w + `(e?s|ies)?( (log|trail|command|endpoint|page|API))?,? ` + version +
			`|\b` + w + `s?( (log|trail|command|endpoint|page|API|grant)s?)? (is|are) (not (yet )?(supported|implemented|available|offered)|planned|still to come)\b` +
			`|\b` + w + `s? (comes?|follows?|will come|will follow) (later|in a later|in the next|with)` +
			`|\b(does not|doesn't|do not|cannot) (yet )?(support|offer|implement|serve) ` + w + `s?\b`,
	)
}

// No document denies a feature that the server names, or one in the list below. If the server stops naming the word
// next to a feature in the list, the list must change.
func TestV73_NoDocumentDeniesAFeature(t *testing.T) {
	has := offered(t)
	patterns := map[string]*regexp.Regexp{}
	for word := range has {
		patterns[word] = denials(word)
	}
	for feature, x := range map[string]struct{ word, denial string }{
		"an audit log":          {"audit", `(?i)\b(no|without an?|lacks an?) audit (log|trail)\b`},
		"a gateway":             {"explain", `(?i)(\bno gateway\b|\ba gateway that asks for you\. see the \[status\]|gateway (comes|follows|is planned))`},
		"API keys":              {"key", `(?i)\bno api keys? (yet|in this version)`},
		"JWT access tokens":     {"signing key", `(?i)(no (signed|jwt) (access )?tokens (yet|in this version)|jwts? (come|follow) later)`},
		"a management API":      {"api keys", `(?i)\bno management api\b`},
		"rate limits":           {"usage", `(?i)\bno (rate )?limits (yet|in this version)`},
		"key rotation":          {"rotate", `(?i)\bno (key )?rotation (yet|in this version)`},
		"workspace invitations": {"workspace", `(?i)\bno invitations (yet|in this version)`},
		"several nodes":         {"", `(?i)only one node (works|is supported)`},
	} {
		if x.word != "" && !has[x.word] {
			t.Errorf(
				"the server does not name %q, so documents may deny %s; it names %v",
				x.word,
				feature,
				slices.Sorted(maps.Keys(has)),
			)
		}
		patterns[feature] = regexp.MustCompile(x.denial)
	}
	for name, text := range documents(t) {
		text = strings.Join(strings.Fields(text), " ")
		for feature, denial := range patterns {
			if found := denial.FindString(text); found != "" {
				t.Errorf("%s denies %q: %q", name, feature, found)
			}
		}
	}
	// Examples of such sentences.
	for text, word := range map[string]string{
		"There is no audit log in this version.": "audit", "Introspection is not yet supported.": "introspection", "It does not support refresh tokens": "refresh token",
		"Workspaces are planned.": "workspace", "There are no personal access tokens yet.": "personal access tokens", "routes come later": "routes",
	} {
		if !denials(word).MatchString(text) {
			t.Errorf("%q is not recognised as denying %s", text, word)
		}
	}
}

// The commands in docs/resource-servers.md give a module that builds.
func TestV72_MiddlewareBuildsAsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/resource-servers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "```sh\n")
	block, _, _ = strings.Cut(block, "```")
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(root, filepath.Join(dir, "doorward")); err != nil {
		t.Fatal(err)
	}
	api := filepath.Join(dir, "api")
	for name, content := range map[string]string{
		"go.mod": "module api\n\ngo 1.26\n",
		"main.go": "package main\n\nimport \"doorward/oauth/resource\"\n\nfunc main() {\n\t_, _ = " +
			"resource.New(resource.Config{Issuer: \"https://auth.example.com\"})\n}\n",
	} {
		if err := os.MkdirAll(api, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(api, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", block+"\ngo build -o /dev/null .")
	cmd.Dir = api
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s\n%s", err, block, out)
	}
	// The packages that the page says to copy need no other package of this module.
	copied := regexp.MustCompile(`"doorward/oauth/(resource|dpop|jwt)"`)
	files, err := filepath.Glob("../../oauth/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		switch filepath.Base(filepath.Dir(name)) {
		case "resource", "dpop", "jwt":
			source, err := os.ReadFile(name)
			if err != nil || !strings.HasSuffix(name, "_test.go") &&
				strings.Contains(copied.ReplaceAllString(string(source), ""), `"doorward/`) {
				t.Errorf("%s imports another package of this module (error %v)", name, err)
			}
		}
	}
}

func TestV75_BareCommandPrintsHelp(t *testing.T) {
	var out, errs strings.Builder
	if err := run(t.Context(), nil, func(string) string { return "" }, strings.NewReader(""), &out, &errs); err != nil ||
		!strings.Contains(out.String(), "sign-in-link") {
		t.Errorf("error %v: %s%s", err, out.String(), errs.String())
	}
	if _, err := input.ParseDuration("90"); err == nil || !strings.Contains(err.Error(), "90d") {
		t.Errorf("90: %v", err)
	}
}
