package openapi

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"doorward/test/openapi"
)

// randomDocument writes a document with all that may be unusual in one, and the files that it refers to.
func randomDocument(random *rand.Rand) map[string]string {
	pick := func(texts ...string) string { return texts[random.IntN(len(texts))] }
	security := func() string {
		return pick(
			"[]",
			"[{o: [read]}]",
			"[{o: [admin, 'x:1']}]",
			"[{k: []}]",
			"[{}, {o: [read]}]",
			"[{o: [a]}, {k: [], o: [b]}]",
			"null",
			"none",
			"[{none: [a]}]",
			"[null]",
			"[{o: }]",
			"*security",
			"{$ref: '#/x-security'}",
			"[{none: []}, {o: [c]}]",
			"{$ref: 'f/a.yaml#/security'}",
			"[{$ref: '#/x-r'}]",
			"[{<<: *r}]",
		)
	}
	operation := func() string {
		switch random.IntN(12) {
		case 0:
			return "{}"
		case 1:
			return "{$ref: '#/x-o/" + pick("a", "b", "c", "none") + "'}"
		case 2:
			return "{$ref: '#/x-o/" + pick("a", "b") + "', security: " + security() + "}"
		case 3:
			return "{<<: " + pick("*a", "*b", "[*a, *b]", "[*b, *a]") + ", summary: x}"
		case 4:
			return "{<<: *a, security: " + security() + "}"
		case 5:
			return "{$ref: '" + pick(
				"f/a.yaml",
				"f/b.json",
				"f/none.yaml",
				"../x.yaml",
				"f/a.yaml#/x/y~1z",
				"f/b.json#/get",
			) + "'}"
		case 6:
			return pick("*a", "*b", "null", "text", "[]")
		}
		servers := pick(
			"",
			"",
			"",
			"",
			"",
			"",
			", servers: [{url: 'https://api.example.com'}]",
			", servers: [{url: 'https://up.example.com'}]",
			", servers: [{url: 'https://up.example.com'}, {url: /v2}]",
			", servers: [{url: /}]",
		)
		return "{security: " + security() + servers + "}"
	}
	item := func() string {
		if random.IntN(12) == 0 {
			return pick(
				"{$ref: '#/x-p'}",
				"{$ref: '#/paths/~1a'}",
				"{$ref: 'f/none.yaml'}",
				"{$ref: f/b.json}",
				"{$ref: '#/x-p', put: "+operation()+"}",
				"{<<: *p}",
				"null",
			)
		}
		text := "{"
		if random.IntN(20) == 0 {
			text += pick("security", "Security", "' security'") + ": " + security() + ", "
		}
		methods := slices.Clone(operationMethods)
		random.Shuffle(len(methods), func(i, j int) { methods[i], methods[j] = methods[j], methods[i] })
		for _, method := range methods[:1+random.IntN(3)] {
			text += method + ": " + operation() + ", "
		}
		return text + "}"
	}
	var out strings.Builder
	out.WriteString("openapi: " + pick("3.0.0", "3.1.0") + "\n")
	out.WriteString("components: {securitySchemes: {o: {type: oauth2}, k: {type: http, scheme: bearer}}}\n")
	out.WriteString("x-security: &security [{o: [shared]}]\nx-r: &r {o: [r]}\n")
	fmt.Fprintf(
		&out,
		"x-o: {a: &a {security: [{o: [a]}]}, b: &b {security: %s}, c: {$ref: '#/x-o/b'}}\n",
		pick("[]", "[{o: [b]}]", "none"),
	)
	fmt.Fprintf(&out, "x-p: &p {get: %s, delete: *a}\n", pick("*b", "{}"))
	if random.IntN(2) == 0 {
		out.WriteString(
			pick("", "", "", "Security: [{o: [all]}]\n") + "security: " + pick("[]", "[{o: [all]}]", "[{k: []}]", "none") + "\n",
		)
	}
	if random.IntN(3) == 0 {
		out.WriteString(
			"servers: [{url: '" + pick(
				"https://api.example.com",
				"https://api.example.com/v1/",
				"/v2",
				"/{t}",
				"https://{e}.example.com",
				"/'}, {url: '/v2",
				"https://api.example.com'}, {url: '/v3",
			) + "'}]\n",
		)
	}
	out.WriteString("paths:\n  /a: " + item() + "\n")
	segments := []string{
		"a",
		"b",
		"true",
		"{x}",
		"{y}",
		"c.{kind}",
		"d e",
		"1.5",
		"- x",
		"{x}:act",
		"%23x",
		"e*",
		"{p+}",
		"{p...}",
		"x{p*}",
	}
	seen := map[string]bool{"/a": true}
	for range 1 + random.IntN(14) {
		path := ""
		for range 1 + random.IntN(3) {
			path += "/" + pick(segments...)
		}
		path += pick("", "", "", "", "", "/", "?x=1", "#y")
		if !seen[path] {
			seen[path] = true
			fmt.Fprintf(&out, "  %q: %s\n", path, item())
		}
	}
	return map[string]string{
		"d.yaml":   out.String(),
		"f/a.yaml": "security: [{o: [file]}]\nx: {y/z: {security: [{o: [deep]}]}}\n",
		"f/b.json": `{"get": {"security": [{"o": ["json"]}]}, "security": [{"k": []}]}`,
	}
}

// notLooser imports a document and compares it, for many requests, with an independent reading of it.
func notLooser(t *testing.T, files map[string]string) (compared int) {
	t.Helper()
	folder := t.TempDir()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o750); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(folder, name), text)
	}
	made, err := Import(Source{Name: "d.yaml", Folder: folder, File: "d.yaml", Data: []byte(files["d.yaml"])}, Options{})
	if err != nil {
		if strings.ContainsAny(err.Error(), "\n\r\x1b") {
			t.Errorf("more than one plain line: %q", err)
		}
		return 0
	}
	routes := made.Routes
	checkLoads(t, routes, made.Notes)
	d, err := openapi.Read("d.yaml", func(name string) ([]byte, error) {
		text, ok := files[name]
		if !ok {
			return nil, errors.New("no such file")
		}
		return []byte(text), nil
	})
	if err != nil {
		return 0 // read more strictly than it has to be
	}
	plain := make([]openapi.Route, len(routes))
	for i, r := range routes {
		plain[i] = openapi.Route{Methods: r.Methods, Path: r.Path, Scopes: r.Scopes, Public: r.Public, Refuse: r.Refuse}
	}
	for _, path := range d.Examples() {
		if strings.ContainsAny(path, "?#;\\") || strings.Contains(path, "//") {
			continue // refused, or more than a path
		}
		for _, method := range openapi.Methods {
			if problem := d.Looser(plain, method, path); problem != "" {
				var text []string
				for _, r := range routes {
					text = append(text, routeText(r))
				}
				t.Fatalf("%s\n%s\n%s", problem, strings.Join(text, "\n"), files["d.yaml"])
			}
			compared++
		}
	}
	return compared
}

// TestV40_ImportedRoutesAreNeverLooser asks of many requests whether the routes let pass what an operation would not.
func TestV40_ImportedRoutesAreNeverLooser(t *testing.T) {
	compared := 0
	for seed := range 200 {
		compared += notLooser(t, randomDocument(rand.New(rand.NewPCG(uint64(seed), 1)))) // the same at each run
	}
	if compared < 20_000 {
		t.Errorf("only %d requests were compared", compared)
	}
}

// FuzzOpenAPI: whatever the document holds, it gives routes that the configuration accepts and that are never looser
// than the document, or a fault in one line.
func FuzzOpenAPI(f *testing.F) {
	pets, err := os.ReadFile("testdata/pets.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(pets))
	f.Add(`{"openapi":"3.1.0","paths":{"/a":{"get":{}}}}`)
	f.Add("openapi: 3.1.0\npaths: {/a: &a {$ref: '#/paths/~1a'}, /b: *a}")
	for seed := range 20 {
		f.Add(randomDocument(rand.New(rand.NewPCG(uint64(seed), 2)))["d.yaml"]) // the same at each run
	}
	beside := randomDocument(rand.New(rand.NewPCG(1, 2))) // likewise
	f.Fuzz(func(t *testing.T, document string) {
		files := maps.Clone(beside)
		files["d.yaml"] = document
		notLooser(t, files)
	})
}
