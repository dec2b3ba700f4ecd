package openapi

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestV41_MergeKeysBringTheirSecurity: keys that merge keys bring count, those of the mapping itself before them, and
// of several the first.
func TestV41_MergeKeysBringTheirSecurity(t *testing.T) {
	const anchors = "security: []\nx-a: &a {security: [{oauth: [a]}]}\nx-b: &b {security: [{oauth: [b]}], get: {security: [{oauth: [get]}]}}\nx-s: &s [{oauth: [s]}]\n"
	runImportCases(t, map[string]importCase{
		"operation": {anchors + "paths: {/a: {get: {<<: *a, summary: x}}}", nil, []string{"GET /a a"}, ""},
		"list": {
			anchors + "paths: {/a: {get: {<<: [*a, *b]}, put: {<<: [*b, *a]}}}",
			nil,
			[]string{"GET /a a", "PUT /a b"},
			"",
		},
		"own first": {
			anchors + "paths: {/a: {get: {security: [{oauth: [own]}], <<: *a}, put: {<<: *a, security: [{oauth: [own]}]}}}",
			nil,
			[]string{"GET,PUT /a own"},
			"",
		},
		"merged merge": {anchors + "x-c: &c {<<: *a}\npaths: {/a: {get: {<<: *c}}}", nil, []string{"GET /a a"}, ""},
		"path item":    {anchors + "x-p: &p {get: *a}\npaths: {/a: {<<: *p}}", nil, []string{"GET /a a"}, ""},
		"paths": {
			anchors + "x-p: &p {/a: {get: *a}}\npaths: {<<: *p, /b: {get: {}}}",
			nil,
			[]string{"GET /b public", "GET /a a"},
			"",
		},
		"requirement": {
			anchors + "x-r: &r {oauth: [r]}\npaths: {/a: {get: {security: [{<<: *r}]}}}",
			nil,
			[]string{"GET /a r"},
			"",
		},
		"alias": {
			anchors + "paths: {/a: {get: *a, put: {security: *s}}}",
			nil,
			[]string{"GET /a a", "PUT /a s"},
			"",
		},
		"brings a $ref": {anchors + "x-c: &c {$ref: '#/x-a'}\npaths: {/a: {get: {<<: *c}}}", nil, []string{"GET /a a"}, ""},
		"quoted":        {anchors + "paths: {/a: {get: {'<<': *a}}}", nil, []string{"GET /a public"}, ""},
		"not a mapping": {
			anchors + "x-t: &t text\npaths: {/a: {get: {<<: *t}}}",
			nil,
			[]string{"GET /a refuse"},
			"what GET /a merges must be a mapping of keys and values, but is a plain value",
		},
		"two merge keys": {
			anchors + "paths: {/a: {get: {<<: *a, <<: *b}}}",
			nil,
			[]string{"GET /a refuse"},
			"has two merge keys",
		},
		"itself": {
			anchors + "paths: {/a: {get: &x {<<: *x}}}",
			nil,
			[]string{"GET /a refuse"},
			"leads back to itself",
		},
		"merged scheme": {
			"openapi: 3.0.0\nx-s: &s {type: oauth2}\ncomponents: {securitySchemes: {o: {<<: *s}}}\npaths: {/a: {get: " +
				"{security: [{o: [a]}]}}}",
			nil,
			[]string{"GET /a a"},
			"",
		},
		"JSON has no key": {
			`{"openapi": "3.0.0", "security": [], "paths": {"/a": {"get": {"<<": {"security": [{"x": []}]}}}}}`,
			nil,
			[]string{"GET /a public"},
			"",
		},
	})
}

// TestV41_AliasBombsEnd: what aliases and references stand for is read once, however often they stand there.
func TestV41_AliasBombsEnd(t *testing.T) {
	var merges strings.Builder
	merges.WriteString("x-0: &a0 {security: [{oauth: [a]}]}\n")
	for i := range 60 {
		fmt.Fprintf(
			&merges,
			"x-%d: &a%d {<<: [%s]}\n",
			i+1,
			i+1,
			strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 20), ", "),
		)
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
			"a query in a path is a variant",
		},
		"a variant leaves the rest": {
			"paths: {'/b?x': {get: {security: []}}, '/{c}': {get: {security: [{oauth: [c]}]}}}", nil, []string{"GET /b c", "GET /* c"}, "",
		},
		"scopes of a bearer scheme": {
			"paths: {/a: {get: {security: [{key: ['a:b']}]}}}",
			nil,
			[]string{"GET /a a:b"},
			"the scheme has scopes, which this version of OpenAPI does not define; they were kept",
		},
		"unreachable paths": {
			"security: []\npaths: {/a/../b: {get: {}}, /a//b: {get: {}}, '/a%2Fb': {get: {}}, '/a;b': {get: {}}, '/a\\b': {get: {}}, /ok: {get: {}}}", nil,
			[]string{"GET /ok public"},
			"Left out: GET /a/../b",
		},
		"texts that a route cannot have": {
			"security: []\npaths: {'/a/*': {get: {}}, '/b/:id': {get: {}}, '/c/x%25': {get: {}}, '/d/%2A%2a': {get: {}}}", nil,
			[]string{
				"GET /a/* any credential",
				"GET /a/** refuse",
				"GET /b/* any credential",
				"GET /c/* any credential",
				"GET /d/* any credential",
			},
			"a route cannot have its text",
		},
		"a long path": {
			"paths: {/a/" + strings.Repeat("x", 600) + ": {get: {security: [{oauth: [a]}]}}, '/a/{b}': {get: {security: []}}}",
			nil,
			[]string{"GET /a/* a"},
			"",
		},
		"byte order mark": {
			"{\"openapi\": \"3.0.0\", \"paths\": {\"/a\": {\"get\": {\"security\": []}}}}", nil, []string{"GET /a public"}, "",
		},
		"optional": {
			"paths: {/a: {get: {security: [{}, {oauth: [a]}]}, put: {security: [{}]}}}",
			nil,
			[]string{"GET,PUT /a public"},
			"security is optional",
		},
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
		"one path": {
			"paths: {/a: {get: {security: []}, head: {security: [{oauth: [admin]}]}}}",
			nil,
			[]string{"GET /a admin"},
			"GET and HEAD have different requirements",
		},
		"and reversed": {
			"paths: {/a: {head: {security: []}, get: {security: [{oauth: [admin]}]}}}",
			nil,
			[]string{"GET /a admin"},
			"GET and HEAD have different requirements",
		},
		"HEAD alone": {
			"paths: {/a: {head: {security: []}}, /b: {get: {security: []}}}",
			nil,
			[]string{"HEAD /a public", "GET /b public"},
			"",
		},
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
		"part of a segment": {
			"paths: {'/r/{id}.pdf': {get: {security: []}}}",
			nil,
			[]string{"GET /r/* any credential"},
			"the path is public, but the route matches more",
		},
		"two in a segment": {
			"paths: {'/r/{a}-{b}': {get: {security: []}}}",
			nil,
			[]string{"GET /r/* any credential"},
			"so it needs a credential",
		},
		"the segment as well": {
			"paths: {'/r/{id}.pdf': {get: {security: []}}, '/r/{id}': {get: {security: []}}}",
			nil,
			[]string{"GET /r/* public"},
			"",
		},
		"the segment guarded": {
			"paths: {'/r/{id}.pdf': {get: {security: []}}, '/r/{id}': {get: {security: [{oauth: [a]}]}}}",
			nil,
			[]string{"GET /r/* a"},
			"",
		},
		"with a scope": {
			"paths: {'/r/{id}.pdf': {get: {security: [{oauth: [a]}]}}, '/r/{id}': {get: {security: []}}}",
			nil,
			[]string{"GET /r/* a"},
			"",
		},
		"before a general path": {
			"paths: {'/r/{id}.pdf': {get: {security: [{oauth: [a]}]}}, '/{x}/{y}': {get: {security: [{oauth: [b]}]}}}", nil,
			[]string{"GET /r/* a+b", "GET /*/* b"},
			"it also has the requirements of more general paths",
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
	if err != nil || !strings.Contains(got.Warning, "1 element could not be read") || len(got.Routes) != 1 ||
		!got.Routes[0].Refuse {
		t.Errorf("%v, %v", got, err)
	}
}
