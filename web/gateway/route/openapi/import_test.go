package openapi

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"doorward/config"
	"doorward/web/gateway/route"
)

const openAPIHead = `openapi: 3.0.3
components:
  securitySchemes:
    oauth: {type: oauth2, flows: {}}
    key: {type: http, scheme: bearer}
`

// imported gives the routes of a document as METHOD PATH NEEDS, and its comments.
func imported(t *testing.T, document string, files ...string) (routes []string, notes string) {
	t.Helper()
	folder := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		name := filepath.Join(folder, files[i])
		if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
			t.Fatal(err)
		}
		writeFile(t, name, files[i+1])
	}
	made, err := Import(Source{Name: "d.yaml", Folder: folder, File: "d.yaml", Data: []byte(document)}, Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, document)
	}
	checkLoads(t, made.Routes, made.Notes)
	for _, r := range made.Routes {
		routes = append(routes, routeText(r))
	}
	return routes, strings.Join(made.Notes, "\n")
}

// printed is what the importer prints of a document from standard input.
func printed(t *testing.T, document string, plainScopes bool) string {
	t.Helper()
	made, err := Import(Source{Name: "standard input", Data: []byte(document)}, Options{PlainScopes: plainScopes})
	if err != nil {
		t.Fatal(err)
	}
	text, err := YAML(made.Routes, made.Notes)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func indent(text, by string) string { return by + strings.ReplaceAll(text, "\n", "\n"+by) + "\n" }

func routeText(r route.Route) string {
	needs := "any credential"
	switch {
	case r.Public:
		needs = "public"
	case r.Refuse:
		needs = "refuse"
	case len(r.Scopes) > 0:
		needs = strings.Join(slices.Sorted(slices.Values(r.Scopes)), "+")
	}
	return strings.Join(r.Methods, ",") + " " + r.Path + " " + needs
}

// checkLoads has the configuration read what is printed.
func checkLoads(t *testing.T, routes []route.Route, notes []string) {
	t.Helper()
	text, err := YAML(routes, notes)
	if err != nil {
		t.Fatal(err)
	}
	scopes := map[string]bool{"read": true}
	for _, r := range routes {
		for _, s := range r.Scopes {
			scopes[s] = true
		}
	}
	catalogue := map[string]any{}
	for s := range scopes {
		catalogue[s] = map[string]string{"text": "x"}
	}
	listed, err := json.Marshal(catalogue)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "c.yaml")
	writeFile(t, file, "resources:\n- id: https://a.example\n  scopes: "+string(listed)+"\n"+indent(string(text), "  "))
	c, err := config.Load(file, nil, func(string) string { return "" })
	if err != nil {
		t.Fatalf("what is printed does not load:\n%v\n%s", err, text)
	}
	if diff := cmp.Diff(routes, c.Resources[0].API.Routes); diff != "" {
		t.Errorf("what is printed differs when it is read (-want +got):\n%s", diff)
	}
}

const refuseAll = "GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS"

// importCase is a document after openAPIHead, and what comes of it.
type importCase struct {
	document string
	files    []string // name, content, …
	want     []string
	note     string // in the comments; empty: anything
}

func runImportCases(t *testing.T, cases map[string]importCase) {
	t.Helper()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			document := tc.document
			if !strings.HasPrefix(document, "openapi:") && !strings.HasPrefix(document, "swagger:") && !strings.HasPrefix(document, "{") {
				document = openAPIHead + document
			}
			routes, notes := imported(t, document, tc.files...)
			if diff := cmp.Diff(tc.want, routes); diff != "" {
				t.Errorf("-want +got:\n%s\n%s", diff, notes)
			}
			if !strings.Contains(notes, tc.note) {
				t.Errorf("the comments do not say %q:\n%s", tc.note, notes)
			}
		})
	}
}

// TestV40_ReferencesKeepTheirSecurity: references are followed within the document and to files beside it, wherever
// they may stand. What cannot be read becomes a route that refuses.
func TestV40_ReferencesKeepTheirSecurity(t *testing.T) {
	const admin = "{security: [{oauth: [admin]}]}"
	runImportCases(t, map[string]importCase{
		"operation": {"security: [{key: []}]\nx-o: {a: " + admin + "}\npaths: {/a: {delete: {$ref: '#/x-o/a'}}}", nil, []string{"DELETE /a admin"}, ""},
		"operation in a file": {
			"security: [{key: []}]\npaths: {/a: {delete: {$ref: ops/a.yml}}}",
			[]string{"ops/a.yml", "security: [{oauth: [admin]}]"},
			[]string{"DELETE /a admin"},
			"",
		},
		"file from a file in a folder": {
			"paths: {/a: {$ref: 'paths/a.json'}}",
			[]string{"paths/a.json", `{"put": {"$ref": "../ops/put%20a.yaml#/x/0"}}`, "ops/put a.yaml", "x: [{security: [{oauth: [admin]}]}]"},
			[]string{"PUT /a admin"},
			"",
		},
		"back to the document": {
			"paths: {/a: {$ref: a.yaml}}\nx-b: " + admin,
			[]string{"a.yaml", "get: {$ref: 'd.yaml#/x-b'}", "d.yaml", "x-b: {security: []}"},
			[]string{"GET /a admin"},
			"",
		},
		"escapes of pointers": {
			"paths: {'/a/{b}~c': {get: {$ref: '#/paths/~1d~1%7Be%7D~0/get'}}, '/d/{e}~': {get: " + admin + "}}", nil,
			[]string{"GET /a/* admin", "GET /d/* admin"},
			"",
		},
		"through a reference": {"paths: {/a: {get: {$ref: '#/paths/~1b/get'}}, /b: {$ref: '#/x-b'}}\nx-b: {get: " + admin + "}", nil, []string{"GET /a admin", "GET /b admin"}, ""},
		"path items of components": {
			"openapi: 3.1.0\ncomponents: {securitySchemes: {oauth: {type: oauth2}}, pathItems: {a: {get: " + admin + "}}}\npaths: {/a: {$ref: '#/components/pathItems/a', get: {security: []}, put: {security: []}}}\nwebhooks: {w: {post: {}}}",
			nil,
			[]string{"GET /a admin", "PUT /a public"},
			"",
		},
		"beside a reference": {
			"x-o: {a: {security: [{oauth: [read]}]}, b: {}}\nsecurity: [{oauth: [write]}]\npaths: {/a: {get: {$ref: '#/x-o/a', security: []}, put: {$ref: '#/x-o/b', security: []}, post: {$ref: '#/x-o/a', security: [{oauth: [more]}]}}}",
			nil,
			[]string{"GET /a read", "POST /a more+read", "PUT /a write"},
			"",
		},
		"security and schemes": {
			"x-s: [{$ref: '#/x-r'}]\nx-r: {oauth: {$ref: '#/x-l'}}\nx-l: [admin]\npaths: {/a: {get: {security: {$ref: '#/x-s'}}}}", nil, []string{"GET /a admin"}, "",
		},
		"all paths": {"paths: {$ref: paths.yaml, /b: {get: {security: []}}}", []string{"paths.yaml", "/a: {get: " + admin + "}"}, []string{"GET /b public", "GET /a admin"}, ""},
		"components in a file": {
			"openapi: 3.0.0\ncomponents: {$ref: 'c.yaml'}\npaths: {/a: {get: " + admin + "}}",
			[]string{"c.yaml", "securitySchemes: {oauth: {$ref: 's.yaml'}}", "s.yaml", "type: oauth2"},
			[]string{"GET /a admin"},
			"",
		},

		"no such file":   {"security: []\npaths: {/a: {get: {$ref: x.yaml}, put: {}}}", nil, []string{"GET /a refuse", "PUT /a public"}, `Refused: GET /a: d.yaml:7: GET /a refers to "x.yaml", a file that does not exist`},
		"path item":      {"security: []\npaths: {/a: {$ref: x.yaml}, '/{b}': {get: {}}}", nil, []string{refuseAll[:4] + refuseAll[9:] + " /a refuse", "GET /* public"}, "Refused: /a: "},
		"elsewhere":      {"security: []\npaths: {/a: {get: {$ref: 'https://example.com/x.yaml'}}}", nil, []string{"GET /a refuse"}, "nothing is read over the network"},
		"absolute":       {"security: []\npaths: {/a: {get: {$ref: /etc/passwd}}}", nil, []string{"GET /a refuse"}, "nothing is read over the network or from elsewhere"},
		"above":          {"security: []\npaths: {/a: {get: {$ref: ../x.yaml}}}", nil, []string{"GET /a refuse"}, "outside of the document's folder"},
		"above, escaped": {"security: []\npaths: {/a: {get: {$ref: a/%2e%2e/%2E%2E/x.yaml}}}", nil, []string{"GET /a refuse"}, "outside of the document's folder"},
		"folder":         {"security: []\npaths: {/a: {get: {$ref: a}}}", []string{"a/b.yaml", "{}"}, []string{"GET /a refuse"}, "is not a file"},
		"broken file":    {"security: []\npaths: {/a: {get: {$ref: a.yaml}}}", []string{"a.yaml", "{"}, []string{"GET /a refuse"}, `refers to "a.yaml", which cannot be used: a.yaml:`},
		"circle":         {"security: []\npaths: {/a: {get: {$ref: '#/x-a'}}}\nx-a: {$ref: '#/x-b'}\nx-b: {$ref: '#/x-a'}", nil, []string{"GET /a refuse"}, "leads back to itself"},
		"circle of steps": {
			"security: []\npaths: {/a: {get: {$ref: '#/x-a/b/b'}}}\nx-a: {$ref: '#/x-a/b/b'}", nil, []string{"GET /a refuse"}, "which is not there",
		},
		"anchor":           {"security: []\npaths: {/a: {get: {$ref: '#x'}}}", nil, []string{"GET /a refuse"}, "by the name of an anchor"},
		"reference a list": {"security: []\npaths: {/a: {get: {$ref: [a]}}}", nil, []string{"GET /a refuse"}, "has a $ref that is a list"},
		"two references":   {"security: []\nx-a: {}\npaths: {/a: {get: {$ref: '#/x-a', $ref: '#/x-a'}}}", nil, []string{"GET /a refuse"}, `"$ref" is written twice`},
		"security":         {"security: {$ref: x.yaml}\npaths: {/a: {get: {}, put: {security: []}}}", nil, []string{"GET /a refuse", "PUT /a public"}, "Refused: GET /a: "},
		"scheme": {
			"openapi: 3.0.0\nsecurity: []\ncomponents: {securitySchemes: {s: {$ref: x.yaml}}}\npaths: {/a: {get: {security: [{s: [x]}]}, put: {}}}", nil,
			[]string{"GET /a refuse", "PUT /a public"},
			`the security scheme "s" refers to "x.yaml"`,
		},
	})
}

func TestV40_AFileOutsideTheFolderIsNotReadThroughALink(t *testing.T) {
	outside := t.TempDir()
	writeFile(t, filepath.Join(outside, "x.yaml"), "security: []")
	folder := t.TempDir()
	if err := os.Symlink(filepath.Join(outside, "x.yaml"), filepath.Join(folder, "x.yaml")); err != nil {
		t.Fatal(err)
	}
	document := openAPIHead + "paths: {/a: {get: {$ref: x.yaml}}}"
	got, err := Import(Source{Name: "d.yaml", Folder: folder, File: "d.yaml", Data: []byte(document)}, Options{})
	if err != nil || !strings.Contains(got.Warning, "1 element could not be read") || len(got.Routes) != 1 || !got.Routes[0].Refuse {
		t.Errorf("%v, %v", got, err)
	}
}

// TestV40_WhatIsNotUnderstoodRefuses: an element that cannot be read never makes a route less strict, and the rest of
// the document is imported.
func TestV40_WhatIsNotUnderstoodRefuses(t *testing.T) {
	one := func(security string) string { return "security: []\npaths: {/a: {get: {security: " + security + "}}}" }
	refused := []string{"GET /a refuse"}
	runImportCases(t, map[string]importCase{
		"security null":        {one("null"), nil, refused, "security is empty; a list belongs there"},
		"security text":        {one("none"), nil, refused, "security is a plain value"},
		"security a mapping":   {one("{oauth: []}"), nil, refused, "security is a mapping"},
		"security tag":         {one("!include [x]"), nil, refused, "security is a list"},
		"security of all":      {"security: none\npaths: {/a: {get: {}, put: {security: []}}}", nil, []string{"GET /a refuse", "PUT /a public"}, ""},
		"security twice":       {"paths: {/a: {get: {security: [{oauth: [a]}], security: []}}}", nil, refused, `"security" is written twice`},
		"of all in capitals":   {"security: []\nSecurity: [{oauth: [a]}]\npaths: {/a: {get: {}, put: {security: []}}}", nil, []string{"GET /a refuse", "PUT /a public"}, `Refused: GET /a: d.yaml:7: the document has the key "Security"; write security`},
		"of all with a blank":  {"'security ': [{oauth: [a]}]\npaths: {/a: {get: {}, put: {security: []}}}", nil, []string{"GET /a refuse", "PUT /a public"}, `the document has the key "security "`},
		"security in capitals": {"security: []\npaths: {/a: {get: {Security: [{oauth: [a]}]}}}", nil, refused, "write security"},
		"security of a path":   {"security: []\npaths: {/a: {Security : [{oauth: [a]}], get: {}, put: {security: []}}, '/{b}': {get: {}}}", nil, []string{"GET,PUT /a refuse", "GET /* public"}, `Refused: GET /a: d.yaml:7: the path has the key "Security"`},
		"of a path's $ref":     {"security: []\nx-a: {security: [{oauth: [a]}], put: {}}\npaths: {/a: {$ref: '#/x-a', get: {}}}", nil, []string{"GET,PUT /a refuse"}, `the path has the key "security"`},
		"requirement null":     {one("[null]"), nil, refused, "a security requirement is empty"},
		"requirement text":     {one("[oauth]"), nil, refused, "a security requirement is a plain value"},
		"scopes null":          {one("[{oauth: }]"), nil, refused, "is empty; a list belongs there"},
		"scope null":           {one("[{oauth: [null]}]"), nil, refused, "a scope is empty"},
		"scope a mapping":      {one("[{oauth: [{a: b}]}]"), nil, refused, "a scope is a mapping"},
		"scope with a space":   {one("[{oauth: ['a b']}]"), nil, refused, `it requires the scope "a b", which is not a scope's name`},
		"scope built in":       {one("[{oauth: [introspect]}]"), nil, refused, "which is built in"},
		"scheme unknown":       {one("[{none: []}]"), nil, refused, `it requires the security scheme "none", which is not in components.securitySchemes`},
		"one that is known":    {one("[{none: []}, {oauth: [a]}]"), nil, []string{"GET /a a"}, `Not used: d.yaml:7: it requires the security scheme "none"`},
		"scheme twice":         {one("[{oauth: [a], oauth: []}]"), nil, refused, "twice"},
		"too many":             {one("[" + strings.Repeat("{oauth: []},", 101) + "]"), nil, refused, "more than 100 requirements"},
		"operation null":       {"security: []\npaths: {/a: {get: }}", nil, refused, "GET /a is empty"},
		"operation text":       {"security: []\npaths: {/a: {get: !include x.yaml}}", nil, refused, "GET /a is"},
		"path null":            {"security: []\npaths: {/a: , '/{b}': {get: {}}}", nil, []string{refuseAll[:4] + refuseAll[9:] + " /a refuse", "GET /* public"}, "Refused: /a: "},
		"path without a slash": {"security: []\npaths: {a: {get: {}}, '/{b}': {get: {}}}", nil, []string{"GET /a refuse", "GET /* public"}, "does not start with /"},
		"path twice":           {"paths: {/a: {get: {security: []}}, /a: {get: {security: [{oauth: [a]}]}}}", nil, []string{"GET /a a"}, "the path is written twice"},
		"operation twice":      {"paths: {/a: {get: {security: []}, get: {security: [{oauth: [a]}]}}}", nil, []string{"GET /a a"}, ""},
		"method in capitals":   {"paths: {/a: {get: {security: []}, GET: {security: [{oauth: [a]}]}}}", nil, []string{"GET /a a"}, ""},
		"unknown method":       {"paths: {/a: {get: {security: []}, query: {}}}", nil, []string{"GET /a public"}, "Left out: query of /a"},
		"servers of operation": {"security: []\npaths: {/a: {get: {servers: none}}}", nil, refused, "servers is a plain value"},
		"deep template":        {"security: []\npaths: {'/a/{p+}': {get: {}}, '/{b}/{c}/{d}': {get: {}}}", nil, []string{"GET /a/* public", "GET /a/** refuse", "GET /*/*/* public"}, "may stand for several segments"},
		"deep in Go":           {"security: [{oauth: [a]}]\npaths: {'/a/{p...}': {get: {}}, '/{b}/{c}/{d}': {get: {security: []}}}", nil, []string{"GET /a/* a", "GET /a/** refuse", "GET /*/*/* public"}, "may stand for several segments"},
		"deep with dots first": {"security: []\npaths: {'/a/{...p}': {get: {}}, '/{b}/{c}/{d}': {get: {}}}", nil, []string{"GET /a/* public", "GET /a/** refuse", "GET /*/*/* public"}, ""},
		"deep as a text":       {"security: [{oauth: [a]}]\npaths: {/a/**: {get: {}}, '/{b}/{c}/{d}': {get: {security: []}}}", nil, []string{"GET /a/* a", "GET /a/** refuse", "GET /*/*/* public"}, "may stand for several segments"},
		"deep amid a path":     {"security: [{oauth: [a]}]\npaths: {/a/*/x: {get: {}}, '/{b}/{c}/{d}/{e}': {get: {security: []}}}", nil, []string{"GET /a/*/x a", "GET /a/** refuse", "GET /*/*/*/* public"}, ""},
		"deep in a part":       {"security: []\npaths: {'/a/x-{p+}': {get: {}}, '/{b}/{c}': {get: {security: [{oauth: [a]}]}}}", nil, []string{"GET /a/* a", "GET /a/** refuse", "GET /*/* a"}, ""},
		"all at once": {
			"security: []\npaths: {/a: {get: }, /b: {get: {$ref: x.yaml}}, /c: {get: {security: [{none: []}]}}, /d: {get: {}}}", nil,
			[]string{"GET /a refuse", "GET /b refuse", "GET /c refuse", "GET /d public"},
			"each of 3 elements could not be read",
		},
	})
	for name, scheme := range map[string]string{"type": "{type: magic}", "no type": "{}", "null": "", "circle": "{$ref: '#/components/securitySchemes/s'}", "tag": "!x {type: oauth2}"} {
		t.Run("scheme "+name, func(t *testing.T) {
			routes, notes := imported(t, "openapi: 3.0.0\ncomponents: {securitySchemes: {s: "+scheme+"}}\npaths: {/a: {get: {security: [{s: [x]}]}}}")
			if diff := cmp.Diff(refused, routes); diff != "" || !strings.Contains(notes, `the security scheme "s"`) {
				t.Errorf("-want +got:\n%s\n%s", diff, notes)
			}
		})
	}
}

// TestV41_MergeKeysBringTheirSecurity: keys that merge keys bring count, those of the mapping itself before them, and
// of several the first.
func TestV41_MergeKeysBringTheirSecurity(t *testing.T) {
	const anchors = "security: []\nx-a: &a {security: [{oauth: [a]}]}\nx-b: &b {security: [{oauth: [b]}], get: {security: [{oauth: [get]}]}}\nx-s: &s [{oauth: [s]}]\n"
	runImportCases(t, map[string]importCase{
		"operation":       {anchors + "paths: {/a: {get: {<<: *a, summary: x}}}", nil, []string{"GET /a a"}, ""},
		"list":            {anchors + "paths: {/a: {get: {<<: [*a, *b]}, put: {<<: [*b, *a]}}}", nil, []string{"GET /a a", "PUT /a b"}, ""},
		"own first":       {anchors + "paths: {/a: {get: {security: [{oauth: [own]}], <<: *a}, put: {<<: *a, security: [{oauth: [own]}]}}}", nil, []string{"GET,PUT /a own"}, ""},
		"merged merge":    {anchors + "x-c: &c {<<: *a}\npaths: {/a: {get: {<<: *c}}}", nil, []string{"GET /a a"}, ""},
		"path item":       {anchors + "x-p: &p {get: *a}\npaths: {/a: {<<: *p}}", nil, []string{"GET /a a"}, ""},
		"paths":           {anchors + "x-p: &p {/a: {get: *a}}\npaths: {<<: *p, /b: {get: {}}}", nil, []string{"GET /b public", "GET /a a"}, ""},
		"requirement":     {anchors + "x-r: &r {oauth: [r]}\npaths: {/a: {get: {security: [{<<: *r}]}}}", nil, []string{"GET /a r"}, ""},
		"alias":           {anchors + "paths: {/a: {get: *a, put: {security: *s}}}", nil, []string{"GET /a a", "PUT /a s"}, ""},
		"brings a $ref":   {anchors + "x-c: &c {$ref: '#/x-a'}\npaths: {/a: {get: {<<: *c}}}", nil, []string{"GET /a a"}, ""},
		"quoted":          {anchors + "paths: {/a: {get: {'<<': *a}}}", nil, []string{"GET /a public"}, ""},
		"not a mapping":   {anchors + "x-t: &t text\npaths: {/a: {get: {<<: *t}}}", nil, []string{"GET /a refuse"}, "what GET /a merges is a plain value"},
		"two merge keys":  {anchors + "paths: {/a: {get: {<<: *a, <<: *b}}}", nil, []string{"GET /a refuse"}, "has two merge keys"},
		"itself":          {anchors + "paths: {/a: {get: &x {<<: *x}}}", nil, []string{"GET /a refuse"}, "leads back to itself"},
		"merged scheme":   {"openapi: 3.0.0\nx-s: &s {type: oauth2}\ncomponents: {securitySchemes: {o: {<<: *s}}}\npaths: {/a: {get: {security: [{o: [a]}]}}}", nil, []string{"GET /a a"}, ""},
		"JSON has no key": {`{"openapi": "3.0.0", "security": [], "paths": {"/a": {"get": {"<<": {"security": [{"x": []}]}}}}}`, nil, []string{"GET /a public"}, ""},
	})
}

// TestV41_AliasBombsEnd: what aliases and references stand for is read once, however often they stand there.
func TestV41_AliasBombsEnd(t *testing.T) {
	var merges strings.Builder
	merges.WriteString("x-0: &a0 {security: [{oauth: [a]}]}\n")
	for i := range 60 {
		fmt.Fprintf(&merges, "x-%d: &a%d {<<: [%s]}\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 20), ", "))
	}
	routes, _ := imported(t, openAPIHead+merges.String()+"paths: {/a: {get: *a60}}")
	if diff := cmp.Diff([]string{"GET /a a"}, routes); diff != "" {
		t.Error(diff)
	}

	security := "[" + strings.Repeat("{oauth: ["+strings.Repeat("a,", 100)+"]},", 100) + "]"
	var paths strings.Builder
	for i := range 5_000 {
		fmt.Fprintf(&paths, "  /p%d: {get: {security: *s}}\n", i)
	}
	if routes, _ = imported(t, openAPIHead+"x-s: &s "+security+"\npaths:\n"+paths.String()); len(routes) != 5_000 {
		t.Errorf("%d routes", len(routes))
	}

	var steps strings.Builder
	for i := range 40 {
		fmt.Fprintf(&steps, "x-%d: {$ref: '#/x-%d%s'}\n", i, i+1, strings.Repeat("/a", 8))
	}
	if routes, _ = imported(t, openAPIHead+steps.String()+"paths: {/a: {get: {$ref: '#/x-0'}}}"); routes[0] != "GET /a refuse" {
		t.Errorf("%q", routes)
	}
}

// One unusual element is told about, and the rest is imported.
func TestV42_OneUnusualElementDoesNotStopTheRest(t *testing.T) {
	runImportCases(t, map[string]importCase{
		"queries and fragments": {
			"paths:\n  /a: {get: {security: [{oauth: [read]}]}}\n  '/a?beta=true': {get: {security: [{oauth: [beta]}]}, put: {security: [{oauth: [w]}]}}\n  '/a#x': {get: {security: []}}\n  '/b?x': {get: {security: []}}\n  '/c{?page,size}': {get: {security: [{oauth: [c]}]}}", nil,
			[]string{"GET /a beta+read", "PUT /a w", "GET /b public", "GET /c c"},
			"a query in a path makes a variant",
		},
		"a variant leaves the rest": {
			"paths: {'/b?x': {get: {security: []}}, '/{c}': {get: {security: [{oauth: [c]}]}}}", nil, []string{"GET /b c", "GET /* c"}, "",
		},
		"scopes of a bearer scheme": {"paths: {/a: {get: {security: [{key: ['a:b']}]}}}", nil, []string{"GET /a a:b"}, "the scheme has scopes, which this version of OpenAPI does not define; they were kept"},
		"unreachable paths": {
			"security: []\npaths: {/a/../b: {get: {}}, /a//b: {get: {}}, '/a%2Fb': {get: {}}, '/a;b': {get: {}}, '/a\\b': {get: {}}, /ok: {get: {}}}", nil,
			[]string{"GET /ok public"},
			"Left out: GET /a/../b",
		},
		"texts that a route cannot have": {
			"security: []\npaths: {'/a/*': {get: {}}, '/b/:id': {get: {}}, '/c/x%25': {get: {}}, '/d/%2A%2a': {get: {}}}", nil,
			[]string{"GET /a/* any credential", "GET /a/** refuse", "GET /b/* any credential", "GET /c/* any credential", "GET /d/* any credential"},
			"a route cannot have its text",
		},
		"a long path": {"paths: {/a/" + strings.Repeat("x", 600) + ": {get: {security: [{oauth: [a]}]}}, '/a/{b}': {get: {security: []}}}", nil, []string{"GET /a/* a"}, ""},
		"byte order mark": {
			"{\"openapi\": \"3.0.0\", \"paths\": {\"/a\": {\"get\": {\"security\": []}}}}", nil, []string{"GET /a public"}, "",
		},
		"optional": {"paths: {/a: {get: {security: [{}, {oauth: [a]}]}, put: {security: [{}]}}}", nil, []string{"GET,PUT /a public"}, "security is optional there"},
		"Swagger 2.0": {
			"swagger: '2.0'\nhost: api.example.com\nbasePath: /v1/\nsecurityDefinitions: {o: {type: oauth2}, b: {type: basic}}\nsecurity: [{b: []}]\npaths: {/a: {get: {}, put: {security: [{o: [w]}]}, post: {security: [{http: []}]}}}", nil,
			[]string{"GET /v1/a any credential", "POST /v1/a refuse", "PUT /v1/a w"},
			"which is not in securityDefinitions",
		},
	})
}

func TestV42_LargeDocumentsAreRead(t *testing.T) {
	document := openAPIHead + "x-long: " + strings.Repeat("long ", 2<<20) + "\npaths: {/a: {get: {security: []}}}"
	if len(document) < 10<<20 {
		t.Fatalf("%d bytes", len(document))
	}
	if got := printed(t, document, false); !strings.Contains(got, "path: /a, public: true") {
		t.Error(got)
	}
}

// TestV51_GetAndHeadNeedTheSame: a route for GET takes HEAD, so it needs what both need.
func TestV51_GetAndHeadNeedTheSame(t *testing.T) {
	runImportCases(t, map[string]importCase{
		"one path":     {"paths: {/a: {get: {security: []}, head: {security: [{oauth: [admin]}]}}}", nil, []string{"GET /a admin"}, "GET and HEAD need different things"},
		"and reversed": {"paths: {/a: {head: {security: []}, get: {security: [{oauth: [admin]}]}}}", nil, []string{"GET /a admin"}, "GET and HEAD need different things"},
		"HEAD alone":   {"paths: {/a: {head: {security: []}}, /b: {get: {security: []}}}", nil, []string{"HEAD /a public", "GET /b public"}, ""},
		"beside a variant": {
			"paths: {/a: {head: {security: [{oauth: [a]}]}}, '/a?x': {get: {security: [{oauth: [a]}]}}, '/{b}': {get: " +
				"{security: [{oauth: [admin]}]}}}", nil,
			[]string{"HEAD /a a", "GET /a a+admin", "GET /* admin"},
			"",
		},
		"of a general path": {
			"paths: {/a: {get: {security: []}}, '/{b}': {head: {security: [{oauth: [admin]}]}}}", nil,
			[]string{"HEAD /a admin", "GET /a public", "HEAD /* admin"},
			"",
		},
	})
}

// A template in a part of a segment opens no more than it names.
func TestV52_APublicRouteIsNotWidened(t *testing.T) {
	runImportCases(t, map[string]importCase{
		"part of a segment":   {"paths: {'/r/{id}.pdf': {get: {security: []}}}", nil, []string{"GET /r/* any credential"}, "the path is public, but the route matches more"},
		"two in a segment":    {"paths: {'/r/{a}-{b}': {get: {security: []}}}", nil, []string{"GET /r/* any credential"}, "so it needs a credential"},
		"the segment as well": {"paths: {'/r/{id}.pdf': {get: {security: []}}, '/r/{id}': {get: {security: []}}}", nil, []string{"GET /r/* public"}, ""},
		"the segment guarded": {"paths: {'/r/{id}.pdf': {get: {security: []}}, '/r/{id}': {get: {security: [{oauth: [a]}]}}}", nil, []string{"GET /r/* a"}, ""},
		"with a scope":        {"paths: {'/r/{id}.pdf': {get: {security: [{oauth: [a]}]}}, '/r/{id}': {get: {security: []}}}", nil, []string{"GET /r/* a"}, ""},
		"before a general path": {
			"paths: {'/r/{id}.pdf': {get: {security: [{oauth: [a]}]}}, '/{x}/{y}': {get: {security: [{oauth: [b]}]}}}", nil,
			[]string{"GET /r/* a+b", "GET /*/* b"},
			"it also needs what more general paths need",
		},
	})
}

// TestV53_OnlyTheRoutesOfThisHost: operations on another host are left out, and where paths cross both count.
func TestV53_OnlyTheRoutesOfThisHost(t *testing.T) {
	const servers = "servers: [{url: 'https://{env}.example.com/v1', variables: {env: {default: api, enum: [api, test]}}}]\nsecurity: []\n"
	runImportCases(t, map[string]importCase{
		"operation":      {servers + "paths: {/a: {get: {servers: [{url: 'https://up.example.com'}]}, put: {}}}", nil, []string{"PUT /v1/a public"}, "Left out: GET /a: its servers are on another host"},
		"path":           {servers + "paths: {/a: {servers: [{url: '//up.example.com'}], get: {}}, /b: {get: {}}}", nil, []string{"GET /v1/b public"}, "Left out: GET /a"},
		"own by path":    {servers + "paths: {/a: {servers: [{url: 'https://up.example.com'}], get: {servers: [{url: /v2}]}, put: {servers: [{url: 'https://TEST.example.com:443/v3'}]}}}", nil, []string{"GET /v2/a public", "PUT /v3/a public"}, ""},
		"one of several": {servers + "paths: {/a: {get: {servers: [{url: 'https://up.example.com'}, {url: 'https://api.example.com/v4'}]}}}", nil, []string{"GET /v4/a public"}, ""},
		"no host":        {"servers: [{url: /v1}]\nsecurity: []\npaths: {/a: {get: {servers: [{url: 'https://up.example.com'}]}, put: {}}}", nil, []string{"GET /a any credential", "PUT /v1/a public"}, "it only adds to what a route needs, and makes none public"},
		"several paths": {
			"servers: [{url: /}, {url: /v2}]\nsecurity: []\npaths: {'/{a}/{b}': {get: {}}, /admin: {get: {security: [{oauth: [admin]}]}}}", nil,
			[]string{"GET /v2/admin admin", "GET /v2/*/* public", "GET /admin admin", "GET /*/* public"},
			"each operation has a route for each of them",
		},
		"unknown host": {
			"servers: [{url: /}]\nsecurity: []\npaths: {'/{a}': {get: {}}, /admin: {get: {servers: [{url: 'https://api.example.com'}], security: [{oauth: [admin]}]}}}", nil,
			[]string{"GET /admin admin", "GET /* public"},
			"Once, at GET /admin: the document does not say whether the host",
		},
		"no servers": {
			"security: []\npaths: {'/{a}': {get: {}}, /admin: {servers: [{url: 'https://api.example.com'}], get: {security: [{oauth: [admin]}]}}}", nil,
			[]string{"GET /admin admin", "GET /* public"},
			"",
		},
		"some hosts unknown": {
			"servers: [{url: 'https://api.example.com'}, {url: /}]\nsecurity: []\npaths: {'/{a}': {get: {}}, /admin: {get: {servers: [{url: 'https://up.example.com'}], security: [{oauth: [admin]}]}}}", nil,
			[]string{"GET /admin admin", "GET /* public"},
			"",
		},
		"free variable": {
			"servers: [{url: 'https://{env}.example.com', variables: {env: {default: api}}}]\nsecurity: []\npaths: {'/{a}': {get: {}}, /admin: {get: {servers: [{url: 'https://eu.example.com'}], security: [{oauth: [admin]}]}, put: {servers: [{url: 'https://eu.example.org'}]}}}", nil,
			[]string{"GET /admin admin", "GET /* public"},
			"Left out: PUT /admin",
		},
		"too many hosts": {
			"servers: [{url: 'https://{a}-{b}.example.com', variables: {a: &v {enum: ['" + strings.Join(strings.Split("0123456789abcdef", ""), "', '") + "']}, b: *v}}]\nsecurity: []\npaths: {'/{a}': {get: {}}, /admin: {get: {servers: [{url: 'https://f-f.example.com'}], security: [{oauth: [admin]}]}}}", nil,
			[]string{"GET /admin admin", "GET /* public"},
			"",
		},
		"all name one":    {"security: []\npaths: {/a: {servers: [{url: 'https://api.example.com'}], get: {}}, /b: {get: {servers: [{url: 'https://api.example.com/x'}]}}}", nil, []string{"GET /a public", "GET /x/b public"}, ""},
		"relative":        {"servers: [{url: v1}]\nsecurity: []\npaths: {/a: {get: {}}}", nil, []string{"GET /v1/a public"}, "relative to where the document is published"},
		"without default": {"servers: [{url: '/{tenant}/v1'}]\nsecurity: []\npaths: {/a: {get: {}}}", nil, []string{"GET /*/v1/a public"}, ""},
		"crossing": {
			"paths: {'/{tenant}/b': {get: {security: [{oauth: [admin]}]}}, '/x/{name}': {get: {security: []}}}", nil,
			[]string{"GET /x/b admin", "GET /x/* public", "GET /*/b admin"},
			"first at GET /x/* and /*/b: the two paths cross",
		},
		"crossing at a path of its own": {
			"paths: {'/{tenant}/b': {get: {security: [{oauth: [admin]}]}}, '/x/{name}': {get: {security: []}}, /x/b: {get: " +
				"{security: [{oauth: [own]}]}}}", nil,
			[]string{"GET /x/b own", "GET /x/* public", "GET /*/b admin"},
			"",
		},
		"three that cross": {
			"paths: {'/a/{x}/{y}': {get: {security: [{oauth: [a]}]}}, '/{x}/b/{y}': {get: {security: [{oauth: [b]}]}}, " +
				"'/{x}/{y}/c': {get: {security: [{oauth: [c]}]}}}", nil,
			[]string{"GET /a/b/c a+b+c", "GET /a/b/* a+b", "GET /a/*/c a+c", "GET /a/*/* a", "GET /*/b/c b+c", "GET /*/b/* b", "GET /*/*/c c"},
			"",
		},
		"other methods": {"paths: {'/{tenant}/b': {get: {security: [{oauth: [admin]}]}}, '/x/{name}': {put: {security: []}}}", nil, []string{"PUT /x/* public", "GET /*/b admin"}, ""},
	})
}
