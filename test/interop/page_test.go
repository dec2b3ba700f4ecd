package interop

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"doorward/test/setup"
)

var update = flag.Bool("update", false, "write docs/interoperability.md")

// row is the result of a client.
type row struct {
	party
	version string
	got     map[string]string // step → detail
}

const head = `<!-- Written by "go test ./test/interop -update"; "make test" fails if the results differ. -->

# Third-party programs that work with Doorward

"make test" starts the real server and runs these programs against it, using every feature that they have for it. A
headless Chromium acts as the user: it signs in on the login page and answers the consent page. Each library is used as
its own documentation says. You can copy from the scripts in [test/interop](../test/interop).

## Clients

Each client runs the authorization code grant with PKCE, once as a confidential client and once as a public client
without a secret. A dash means that the library has no function for the step. After each step, the test also introspects
the tokens.
`

// columns are the columns of the first table, by step.
var columns = []struct{ step, title string }{
	{"metadata", "finds the endpoints (RFC 8414)"},
	{"code", "code + PKCE"},
	{"refresh", "refresh"},
	{"introspect", "introspect"},
	{"revoke", "revoke"},
	{"client_credentials", "client credentials"},
	{"public_code", "public: code + PKCE"},
	{"public_refresh", "public: refresh"},
}

// refusals are the columns of the second table.
var refusals = []struct{ step, title string }{
	{"denied", "the user denies"},
	{"used_refresh", "a refresh token used twice"},
	{"state", "another `state`"},
	{"iss", "another `iss` (RFC 9207)"},
}

func page(rows []row, k keyed, kinds []guarded, d document) string {
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(head, `"make test"`, "`make test`"))
	table := func(titles []string, lines [][]string) {
		b.WriteString("\n| " + strings.Join(titles, " | ") + " |\n|" + strings.Repeat(" --- |", len(titles)) + "\n")
		for _, cells := range lines {
			b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
		}
	}

	titles, lines := []string{"client", "version"}, [][]string{}
	for _, c := range columns {
		titles = append(titles, c.title)
	}
	for _, r := range rows {
		cells := []string{r.name, r.version}
		for _, c := range columns {
			cells = append(cells, mark(r, c.step))
		}
		lines = append(lines, cells)
	}
	table(titles, lines)

	b.WriteString(`
Failures arrive as the library's own error: a denied consent as ` + "`access_denied`" +
		`, and a refresh token that was used before
as ` + "`invalid_grant`" + `, which also revokes every token of that consent. (The server runs with ` +
		"`refresh_reuse_window: 0s`" + ` here.
By default, a second use within ten seconds counts as a retry.) If a response was changed in transit, the library
refuses it before it sends the code. "the app" means that the library leaves the response's query to the app, which
found ` + "`access_denied`" + ` there.
`)
	titles, lines = []string{"client"}, [][]string{}
	for _, c := range refusals {
		titles = append(titles, c.title)
	}
	for _, r := range rows {
		cells := []string{r.name}
		for _, c := range refusals {
			detail, told := r.got[c.step]
			switch {
			case !told:
				detail = "–"
			case detail == "":
				detail = "the app"
			default:
				detail = "`" + detail + "`"
			}
			cells = append(cells, detail)
		}
		lines = append(lines, cells)
	}
	table(titles, lines)

	b.WriteString(`
## Keys instead of secrets

These clients have no secret: they sign. [Keys instead of secrets](connecting-an-app.md#keys-instead-of-secrets) shows
how. A dash means that the library does not have what the step is about. A refusal is shown as the library's own error.
Authlib's own assertions are for the token endpoint's URL and last an hour; the script shows how to sign others.
`)
	titles, lines = k.lines()
	table(titles, lines)

	b.WriteString(`
## Resource servers

Each of these guards two files. It either introspects, with the credentials of a client created by
` + "`doorward client create --resource-server`" + `, or verifies JWT access tokens (RFC 9068) with the keys at ` +
		"`/oauth/jwks`" + `.
[resource-servers.md](resource-servers.md) helps you choose. Each cell is the status, and the error in
` + "`WWW-Authenticate`" + `.

With introspection, without caching, so that a revocation takes effect at once:
`)
	titles, lines = kinds[0].lines()
	table(titles, lines)
	b.WriteString(`
With JWT access tokens, which stay valid until they expire:
`)
	titles, lines = kinds[1].lines()
	table(titles, lines)

	fmt.Fprintf(&b, `
## The management API

These programs know only the document at `+"`/openapi.json`"+
		`. They read it twice: from a server without a
configuration, and from one with plans, objects and other error shapes.
`)
	table([]string{"program", "version", "result"}, [][]string{
		{
			"@seriousme/openapi-schema-validator", d.versions["@seriousme/openapi-schema-validator"],
			"the document fits the schema of OpenAPI 3.1",
		},
		{
			"@redocly/openapi-core", d.versions["@redocly/openapi-core"],
			"its recommended linter rules find nothing, with the rule against localhost turned off",
		},
		{"openapi-typescript", d.versions["openapi-typescript"], "generates the types of a client"},
		{
			"typescript", d.versions["typescript"],
			fmt.Sprintf("in strict mode, accepts the program below and reports each of %d deliberate mistakes in the use "+
				"of the client", d.mistakes),
		},
		{"openapi-fetch", d.versions["openapi-fetch"], "goes through the whole life of a key, as below"},
		{
			"fast-check, ajv", d.versions["fast-check"] + ", " + d.versions["ajv"],
			fmt.Sprintf("%d calls of all %d operations on SQLite, as many on PostgreSQL, as below", d.calls, d.kinds),
		},
	})
	fmt.Fprintf(&b, `
The [program](../test/interop/node/openapi-fetch.ts) does the following, and after each step the test introspects the keys in it:

%s

The [calls](../test/interop/node/openapi-calls.js) are generated from the document: with values that match its schemas, and
with others; alone, and in sequences about an object that the first call created; with an API key, a personal access
token, a string that only looks like an access token, and nothing. Each operation succeeds at least once. No response
is a server error, each has a status and a body that the document names, and a request that does not match the document
has no effect.
`, "1. "+strings.Join(d.steps, "\n1. "))
	return b.String()
}

func mark(r row, step string) string {
	if _, told := r.got[step]; told {
		return "yes"
	}
	return "–"
}

// comparePage compares docs/interoperability.md with the results. Versions that the machine chose are not compared;
// otherwise the next security update of a distribution would make the page wrong.
func comparePage(t *testing.T, rows []row, k keyed, kinds []guarded, d document) {
	t.Helper()
	root, err := setup.Root()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "docs", "interoperability.md")
	text := page(rows, k, kinds, d) + mcpPart(t) + providersPart(t)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(anyVersion(string(kept), rows), anyVersion(text, rows)); diff != "" {
		t.Errorf("docs/interoperability.md differs from the results (-written +happened); if they are right: go test "+
			"./test/interop -update\n%s", diff)
	}
}

// anyVersion removes the versions that the machine chose.
func anyVersion(text string, rows []row) string {
	text = regexp.MustCompile(`(?m)^\| version \| .*`).ReplaceAllString(text, "| version |") // of resource servers
	for _, r := range rows {
		if !r.pinned {
			text = regexp.MustCompile(`(?m)^\| `+regexp.QuoteMeta(r.name)+` \| [^|]*\d[^|]* \|`).
				ReplaceAllString(text, "| "+r.name+" |  |")
		}
	}
	return text
}

func goModule(path string) func(*testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}}", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(strings.TrimSpace(string(out)), "v")
	}
}

func nodePackage(name string) func(*testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		folder, err := setup.NodeFolder()
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(folder, "package-lock.json"))
		if err != nil {
			t.Fatal(err)
		}
		var lock struct {
			Packages map[string]struct{ Version string }
		}
		if err := json.Unmarshal(text, &lock); err != nil {
			t.Fatal(err)
		}
		return lock.Packages["node_modules/"+name].Version
	}
}

func python(module string) func(*testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		program, err := setup.Python()
		setup.Need(t, err)
		out, err := exec.CommandContext(t.Context(), program, "-c", "import "+module+"; print("+module+".__version__)").
			Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
}

// pythonRequirement returns the version of a Python package that Debian lacks.
func pythonRequirement(name string) func(*testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		file, err := setup.PythonRequirements()
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if version, ok := strings.CutPrefix(strings.TrimSpace(line), name+"=="); ok {
				return version
			}
		}
		t.Fatalf("%s does not have %s", file, name)
		return ""
	}
}

// dpkgVersion returns the version that Debian installed, without Debian's own revision.
func dpkgVersion(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "dpkg-query", "--show", "--showformat=${Version}", name).Output()
	if err != nil {
		return "of an unknown version" // no Debian
	}
	version, _, _ := strings.Cut(string(out), "-")
	return version
}

func TestPageShowsEveryStep(t *testing.T) {
	var shown []string
	for _, c := range slices.Concat(columns, refusals) {
		shown = append(shown, c.step)
	}
	if diff := cmp.Diff(steps, shown); diff != "" {
		t.Error(diff)
	}
}
