package openapi

import (
	"encoding/json"
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
			if !strings.HasPrefix(document, "openapi:") && !strings.HasPrefix(document, "swagger:") &&
				!strings.HasPrefix(document, "{") {
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
		"operation": {
			"security: [{key: []}]\nx-o: {a: " + admin + "}\npaths: {/a: {delete: {$ref: '#/x-o/a'}}}",
			nil,
			[]string{"DELETE /a admin"},
			"",
		},
		"operation in a file": {
			"security: [{key: []}]\npaths: {/a: {delete: {$ref: ops/a.yml}}}",
			[]string{"ops/a.yml", "security: [{oauth: [admin]}]"},
			[]string{"DELETE /a admin"},
			"",
		},
		"file from a file in a folder": {
			"paths: {/a: {$ref: 'paths/a.json'}}",
			[]string{
				"paths/a.json",
				`{"put": {"$ref": "../ops/put%20a.yaml#/x/0"}}`,
				"ops/put a.yaml",
				"x: [{security: [{oauth: [admin]}]}]",
			},
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
		"through a reference": {
			"paths: {/a: {get: {$ref: '#/paths/~1b/get'}}, /b: {$ref: '#/x-b'}}\nx-b: {get: " + admin + "}",
			nil,
			[]string{"GET /a admin", "GET /b admin"},
			"",
		},
		"path items of components": {
			"openapi: 3.1.0\ncomponents: {securitySchemes: {oauth: {type: oauth2}}, pathItems: {a: {get: " + admin + "}}}\npaths: {/a: {$ref: '#/components/pathItems/a', get: {security: []}, put: {security: []}}}\nwebhooks: {w: {post: {}}}",
			nil,
			[]string{"GET /a admin", "PUT /a public"},
			"",
		},
		"beside a reference": {
			"x-o: {a: {security: [{oauth: [read]}]}, b: {}}\nsecurity: [{oauth: [write]}]\npaths: {/a: {get: {$ref: " +
				"'#/x-o/a', security: []}, put: {$ref: '#/x-o/b', security: []}, post: {$ref: '#/x-o/a', security: [{oauth: " +
				"[more]}]}}}",
			nil,
			[]string{"GET /a read", "POST /a more+read", "PUT /a write"},
			"",
		},
		"security and schemes": {
			"x-s: [{$ref: '#/x-r'}]\nx-r: {oauth: {$ref: '#/x-l'}}\nx-l: [admin]\npaths: {/a: {get: {security: {$ref: '#/x-s'}}}}", nil, []string{"GET /a admin"}, "",
		},
		"all paths": {
			"paths: {$ref: paths.yaml, /b: {get: {security: []}}}",
			[]string{"paths.yaml", "/a: {get: " + admin + "}"},
			[]string{"GET /b public", "GET /a admin"},
			"",
		},
		"components in a file": {
			"openapi: 3.0.0\ncomponents: {$ref: 'c.yaml'}\npaths: {/a: {get: " + admin + "}}",
			[]string{"c.yaml", "securitySchemes: {oauth: {$ref: 's.yaml'}}", "s.yaml", "type: oauth2"},
			[]string{"GET /a admin"},
			"",
		},

		"no such file": {
			"security: []\npaths: {/a: {get: {$ref: x.yaml}, put: {}}}",
			nil,
			[]string{"GET /a refuse", "PUT /a public"},
			`Refused: GET /a: d.yaml:7: GET /a refers to "x.yaml", a file that does not exist`,
		},
		"path item": {
			"security: []\npaths: {/a: {$ref: x.yaml}, '/{b}': {get: {}}}",
			nil,
			[]string{refuseAll[:4] + refuseAll[9:] + " /a refuse", "GET /* public"},
			"Refused: /a: ",
		},
		"elsewhere": {
			"security: []\npaths: {/a: {get: {$ref: 'https://example.com/x.yaml'}}}",
			nil,
			[]string{"GET /a refuse"},
			"but only files in the document's folder are read",
		},
		"absolute": {
			"security: []\npaths: {/a: {get: {$ref: /etc/passwd}}}",
			nil,
			[]string{"GET /a refuse"},
			"but only files in the document's folder are read",
		},
		"above": {
			"security: []\npaths: {/a: {get: {$ref: ../x.yaml}}}",
			nil,
			[]string{"GET /a refuse"},
			"outside of the document's folder",
		},
		"above, escaped": {
			"security: []\npaths: {/a: {get: {$ref: a/%2e%2e/%2E%2E/x.yaml}}}",
			nil,
			[]string{"GET /a refuse"},
			"outside of the document's folder",
		},
		"folder": {
			"security: []\npaths: {/a: {get: {$ref: a}}}",
			[]string{"a/b.yaml", "{}"},
			[]string{"GET /a refuse"},
			"is not a file",
		},
		"broken file": {
			"security: []\npaths: {/a: {get: {$ref: a.yaml}}}",
			[]string{"a.yaml", "{"},
			[]string{"GET /a refuse"},
			`refers to "a.yaml", which cannot be used: a.yaml:`,
		},
		"circle": {
			"security: []\npaths: {/a: {get: {$ref: '#/x-a'}}}\nx-a: {$ref: '#/x-b'}\nx-b: {$ref: '#/x-a'}",
			nil,
			[]string{"GET /a refuse"},
			"leads back to itself",
		},
		"circle of steps": {
			"security: []\npaths: {/a: {get: {$ref: '#/x-a/b/b'}}}\nx-a: {$ref: '#/x-a/b/b'}", nil, []string{"GET /a refuse"}, "which is not there",
		},
		"anchor": {
			"security: []\npaths: {/a: {get: {$ref: '#x'}}}",
			nil,
			[]string{"GET /a refuse"},
			"by the name of an anchor",
		},
		"reference a list": {
			"security: []\npaths: {/a: {get: {$ref: [a]}}}",
			nil,
			[]string{"GET /a refuse"},
			"has a $ref that is a list",
		},
		"two references": {
			"security: []\nx-a: {}\npaths: {/a: {get: {$ref: '#/x-a', $ref: '#/x-a'}}}",
			nil,
			[]string{"GET /a refuse"},
			`"$ref" is written twice`,
		},
		"security": {
			"security: {$ref: x.yaml}\npaths: {/a: {get: {}, put: {security: []}}}",
			nil,
			[]string{"GET /a refuse", "PUT /a public"},
			"Refused: GET /a: ",
		},
		"scheme": {
			"openapi: 3.0.0\nsecurity: []\ncomponents: {securitySchemes: {s: {$ref: x.yaml}}}\npaths: {/a: {get: {security: [{s: [x]}]}, put: {}}}", nil,
			[]string{"GET /a refuse", "PUT /a public"},
			`the security scheme "s" refers to "x.yaml"`,
		},
	})
}

// TestV40_WhatIsNotUnderstoodRefuses: an element that cannot be read never makes a route less strict, and the rest of
// the document is imported.
func TestV40_WhatIsNotUnderstoodRefuses(t *testing.T) {
	one := func(security string) string { return "security: []\npaths: {/a: {get: {security: " + security + "}}}" }
	refused := []string{"GET /a refuse"}
	runImportCases(t, map[string]importCase{
		"security null":      {one("null"), nil, refused, "security must be a list, but is empty"},
		"security text":      {one("none"), nil, refused, "security must be a list, but is a plain value"},
		"security a mapping": {one("{oauth: []}"), nil, refused, "security must be a list, but is a mapping"},
		"security tag":       {one("!include [x]"), nil, refused, `security must be a list, but is a list with the tag "!include"`},
		"security of all": {
			"security: none\npaths: {/a: {get: {}, put: {security: []}}}",
			nil,
			[]string{"GET /a refuse", "PUT /a public"},
			"",
		},
		"security twice": {
			"paths: {/a: {get: {security: [{oauth: [a]}], security: []}}}",
			nil,
			refused,
			`"security" is written twice`,
		},
		"of all in capitals": {
			"security: []\nSecurity: [{oauth: [a]}]\npaths: {/a: {get: {}, put: {security: []}}}",
			nil,
			[]string{"GET /a refuse", "PUT /a public"},
			`Refused: GET /a: d.yaml:7: the document has the key "Security"; use security`,
		},
		"of all with a blank": {
			"'security ': [{oauth: [a]}]\npaths: {/a: {get: {}, put: {security: []}}}",
			nil,
			[]string{"GET /a refuse", "PUT /a public"},
			`the document has the key "security "`,
		},
		"security in capitals": {
			"security: []\npaths: {/a: {get: {Security: [{oauth: [a]}]}}}",
			nil,
			refused,
			"use security",
		},
		"security of a path": {
			"security: []\npaths: {/a: {Security : [{oauth: [a]}], get: {}, put: {security: []}}, '/{b}': {get: {}}}",
			nil,
			[]string{"GET,PUT /a refuse", "GET /* public"},
			`Refused: GET /a: d.yaml:7: the path has the key "Security"`,
		},
		"of a path's $ref": {
			"security: []\nx-a: {security: [{oauth: [a]}], put: {}}\npaths: {/a: {$ref: '#/x-a', get: {}}}",
			nil,
			[]string{"GET,PUT /a refuse"},
			`the path has the key "security"`,
		},
		"requirement null": {one("[null]"), nil, refused, "a security requirement must be a mapping of keys and values, but is empty"},
		"requirement text": {one("[oauth]"), nil, refused, "a security requirement must be a mapping of keys and values, but is a plain value"},
		"scopes null":      {one("[{oauth: }]"), nil, refused, "must be a list, but is empty"},
		"scope null":       {one("[{oauth: [null]}]"), nil, refused, "a scope must be text, but is empty"},
		"scope a mapping":  {one("[{oauth: [{a: b}]}]"), nil, refused, "a scope must be text, but is a mapping"},
		"scope with a space": {
			one("[{oauth: ['a b']}]"),
			nil,
			refused,
			`it requires the scope "a b", which is not a valid scope name`,
		},
		"scope built in": {one("[{oauth: [introspect]}]"), nil, refused, "which is reserved for introspection keys"},
		"scheme unknown": {
			one("[{none: []}]"),
			nil,
			refused,
			`it requires the security scheme "none", which is not in components.securitySchemes`,
		},
		"one that is known": {
			one("[{none: []}, {oauth: [a]}]"),
			nil,
			[]string{"GET /a a"},
			`Not used: d.yaml:7: it requires the security scheme "none"`,
		},
		"scheme twice": {one("[{oauth: [a], oauth: []}]"), nil, refused, "twice"},
		"too many": {
			one("[" + strings.Repeat("{oauth: []},", 101) + "]"),
			nil,
			refused,
			"more than 100 requirements",
		},
		"operation null": {"security: []\npaths: {/a: {get: }}", nil, refused, "GET /a must be a mapping of keys and values, but is empty"},
		"operation text": {"security: []\npaths: {/a: {get: !include x.yaml}}", nil, refused, "GET /a must be a mapping of keys and values, but is"},
		"path null": {
			"security: []\npaths: {/a: , '/{b}': {get: {}}}",
			nil,
			[]string{refuseAll[:4] + refuseAll[9:] + " /a refuse", "GET /* public"},
			"Refused: /a: ",
		},
		"path without a slash": {
			"security: []\npaths: {a: {get: {}}, '/{b}': {get: {}}}",
			nil,
			[]string{"GET /a refuse", "GET /* public"},
			"must start with /",
		},
		"path twice": {
			"paths: {/a: {get: {security: []}}, /a: {get: {security: [{oauth: [a]}]}}}",
			nil,
			[]string{"GET /a a"},
			"the path is listed twice",
		},
		"operation twice": {
			"paths: {/a: {get: {security: []}, get: {security: [{oauth: [a]}]}}}",
			nil,
			[]string{"GET /a a"},
			"",
		},
		"method in capitals": {
			"paths: {/a: {get: {security: []}, GET: {security: [{oauth: [a]}]}}}",
			nil,
			[]string{"GET /a a"},
			"",
		},
		"unknown method": {
			"paths: {/a: {get: {security: []}, query: {}}}",
			nil,
			[]string{"GET /a public"},
			"Left out: query of /a",
		},
		"servers of operation": {
			"security: []\npaths: {/a: {get: {servers: none}}}",
			nil,
			refused,
			"servers must be a list, but is a plain value",
		},
		"deep template": {
			"security: []\npaths: {'/a/{p+}': {get: {}}, '/{b}/{c}/{d}': {get: {}}}",
			nil,
			[]string{"GET /a/* public", "GET /a/** refuse", "GET /*/*/* public"},
			"may match several segments",
		},
		"deep in Go": {
			"security: [{oauth: [a]}]\npaths: {'/a/{p...}': {get: {}}, '/{b}/{c}/{d}': {get: {security: []}}}",
			nil,
			[]string{"GET /a/* a", "GET /a/** refuse", "GET /*/*/* public"},
			"may match several segments",
		},
		"deep with dots first": {
			"security: []\npaths: {'/a/{...p}': {get: {}}, '/{b}/{c}/{d}': {get: {}}}",
			nil,
			[]string{"GET /a/* public", "GET /a/** refuse", "GET /*/*/* public"},
			"",
		},
		"deep as a text": {
			"security: [{oauth: [a]}]\npaths: {/a/**: {get: {}}, '/{b}/{c}/{d}': {get: {security: []}}}",
			nil,
			[]string{"GET /a/* a", "GET /a/** refuse", "GET /*/*/* public"},
			"may match several segments",
		},
		"deep amid a path": {
			"security: [{oauth: [a]}]\npaths: {/a/*/x: {get: {}}, '/{b}/{c}/{d}/{e}': {get: {security: []}}}",
			nil,
			[]string{"GET /a/*/x a", "GET /a/** refuse", "GET /*/*/*/* public"},
			"",
		},
		"deep in a part": {
			"security: []\npaths: {'/a/x-{p+}': {get: {}}, '/{b}/{c}': {get: {security: [{oauth: [a]}]}}}",
			nil,
			[]string{"GET /a/* a", "GET /a/** refuse", "GET /*/* a"},
			"",
		},
		"all at once": {
			"security: []\npaths: {/a: {get: }, /b: {get: {$ref: x.yaml}}, /c: {get: {security: [{none: []}]}}, /d: {get: {}}}", nil,
			[]string{"GET /a refuse", "GET /b refuse", "GET /c refuse", "GET /d public"},
			"each of 3 elements could not be read",
		},
	})
	for name, scheme := range map[string]string{"type": "{type: magic}", "no type": "{}", "null": "", "circle": "{$ref: '#/components/securitySchemes/s'}", "tag": "!x {type: oauth2}"} {
		t.Run("scheme "+name, func(t *testing.T) {
			routes, notes := imported(
				t,
				"openapi: 3.0.0\ncomponents: {securitySchemes: {s: "+scheme+"}}\npaths: {/a: {get: {security: [{s: [x]}]}}}",
			)
			if diff := cmp.Diff(refused, routes); diff != "" || !strings.Contains(notes, `the security scheme "s"`) {
				t.Errorf("-want +got:\n%s\n%s", diff, notes)
			}
		})
	}
}
