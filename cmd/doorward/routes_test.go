package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const petsYAML = `openapi: 3.0.3
info: {title: Pets, version: "1"}
servers:
  - url: https://{region}.example.com/v1/
    variables: {region: {default: eu}}
  - url: https://example.com/v2
security:
  - oauth: [read]
components:
  securitySchemes:
    oauth: {type: oauth2, flows: {}}
    alias: {$ref: '#/components/securitySchemes/key'}
    key: {type: http, scheme: bearer}
    old: {type: apiKey, in: query, name: key}
  parameters: {}
paths:
  /pets/{id}:
    summary: One pet
    get: {responses: {}}
    head: {security: [], responses: {}}
    delete: {security: [{oauth: ["pets:delete"]}]}
    put: {security: [{key: []}, {oauth: [write, read]}]}
    patch: {security: [{alias: [], oauth: [read, write]}]}
  /pets/mine:
    get: {responses: {}}
    post: {security: [{key: []}]}
    trace: {}
  /pets/{id}/photo.{kind}: {get: {security: [{}, {oauth: [read]}]}}
  /pets/{name}:
    get: {security: [{oauth: [write]}]}
  /other host/caf%C3%A9:
    servers: [{url: /}]
    head: {security: []}
    options: {servers: [{url: 'https://files.example.com/up?x#y'}], security: [{old: []}]}
  /health:
    get: {security: []}
  x-more: {}
`

func TestRoutesComeFromOpenAPI(t *testing.T) {
	c := newCLI(t)
	got := c.must(petsYAML, "routes", "from-openapi", "-")
	want := `# From standard input. Put it under a resource; the first route that matches decides, none is 403.
# The resource's scopes must hold: pets:delete, read, write.
# Each templated segment is *, any one: no document says which of them are the resource's objects. Write {object} where they are.
# Once, at GET /pets/{id}/photo.{kind}: security is optional there, so it is public.
# Once, at PUT /pets/{id}: one of several requirements is enough there; the first with scopes was taken.
# Once, at GET /v1/pets/*: two paths differ in the names of templates only; the route needs what both need.
# Once, at /pets/{id}/photo.{kind}: a template is a part of the segment, which became * as a whole.
# Once, at old: a security scheme other than a bearer token in the header Authorization, which Doorward does not read; clients must send theirs there.
# The servers have several paths; that of the first, /v1, is before each route.
routes:
  - {methods: [GET], path: /v1/pets/mine, scopes: [read]}
  - {methods: [POST], path: /v1/pets/mine, scopes: []}
  - {methods: [GET, PUT, PATCH], path: /v1/pets/*, scopes: [read, write]}
  - {methods: [DELETE], path: /v1/pets/*, scopes: ['pets:delete']}
  - {methods: [GET], path: /v1/pets/*/*, public: true}
  - {methods: [GET], path: /v1/health, public: true}
  - {methods: [HEAD], path: /other host/café, public: true}
  - {methods: [OPTIONS], path: /up/other host/café, scopes: []}
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	// The same as JSON, without the comments, from a file.
	writeFile(t, "pets.yaml", petsYAML)
	stdout, stderr, code := c.run("", "routes", "from-openapi", "pets.yaml", "--json")
	var rows []map[string]any
	if err := json.Unmarshal([]byte(stdout), &rows); err != nil || code != 0 || len(rows) != 8 || !strings.HasPrefix(stderr, "From pets.yaml. ") {
		t.Fatalf("exit %d, %v\n%s\n%s", code, err, stdout, stderr)
	}
	if diff := cmp.Diff(map[string]any{"methods": []any{"POST"}, "path": "/v1/pets/mine", "scopes": []any{}}, rows[1]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"methods": []any{"GET"}, "path": "/v1/health", "public": true}, rows[5]); diff != "" {
		t.Error(diff)
	}
}

// TestRoutesPageShowsWhatIsPrinted holds the examples of docs/routes.md to the program.
func TestRoutesPageShowsWhatIsPrinted(t *testing.T) {
	page, err := os.ReadFile("../../docs/routes.md")
	if err != nil {
		t.Fatal(err)
	}
	yaml := fenced(string(page))["yaml"]
	c := newCLI(t)
	writeFile(t, "openapi.yaml", yaml[1])
	if diff := cmp.Diff(yaml[2], c.must("", "routes", "from-openapi", "openapi.yaml")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, routes := range []string{yaml[0], yaml[2]} {
		mustLoad(t, "resources:\n- id: https://a.example\n  objects: [accounts]\n  scopes: {read: {text: R}, write: {text: W}, capture: {text: C}}\n"+indent(routes, "  "), nil)
	}
	c.writeConfig("resources:\n- id: https://a.example\n\n\n\n\n  routes:\n  - {path: /v1/*/public, public: true}\n  - {path: /v1/admin/**, scopes: [admin]}\n")
	_, risk, _ := strings.Cut(string(page), "```\nrisk: ")
	if risk, _, _ = strings.Cut(risk, "\n```"); !strings.Contains(c.must("", "check"), "risk: "+risk+"\n") {
		t.Errorf("check does not print: %s\n%s", risk, c.must("", "check"))
	}
}

func TestRoutesWithoutSecurityAreByMethod(t *testing.T) {
	c := newCLI(t)
	got := c.must("\ufeff{\n\t\"openapi\": \"3.1.0\", \"paths\": {\"\\/a\": {\"get\": {}, \"post\": {}, \"put\": {}, \"patch\": {}, \"delete\": {}, \"options\": {}, \"head\": {\"description\": \"\\ud83d\\ude00\"}}}}",
		"routes", "from-openapi", "-")
	want := `# From standard input. Put it under a resource; the first route that matches decides, none is 403.
# The resource's scopes must hold: delete, read, write.
# 7 times, first at GET /a: no security is given, so the method decides: read, write or delete.
routes:
  - {methods: [GET, OPTIONS], path: /a, scopes: [read]}
  - {methods: [POST, PUT, PATCH], path: /a, scopes: [write]}
  - {methods: [DELETE], path: /a, scopes: [delete]}
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestImportedRoutesMeanTheSame has the configuration read what is printed, and asks of each operation of many documents
// whether the route that decides about a request of it needs what the operation does.
func TestImportedRoutesMeanTheSame(t *testing.T) {
	segments := []string{"a", "b", "true", "{x}", "{y}", "c.{kind}", "d e", "1.5", "- x", "#", "{x}:act"}
	for seed := range 200 {
		random := newRandom(seed)
		paths := map[string]map[string]any{}
		for range 1 + random.IntN(12) {
			path := ""
			for range 1 + random.IntN(3) {
				path += "/" + segments[random.IntN(len(segments))]
			}
			if random.IntN(5) == 0 {
				path += "/"
			}
			path = strings.ReplaceAll(path, "#", "%23x")
			operations := map[string]any{}
			for range 1 + random.IntN(3) {
				o := map[string]any{}
				switch random.IntN(5) {
				case 0:
					o["security"] = []any{}
				case 1:
					o["security"] = []any{map[string]any{"o": []string{"read"}}}
				case 2:
					o["security"] = []any{map[string]any{"o": []string{"true", "x:1"}}}
				case 3:
					o["security"] = []any{map[string]any{"k": []string{}}}
				}
				operations[operationMethods[random.IntN(len(operationMethods))]] = o
			}
			paths[path] = operations
		}
		document, err := json.Marshal(map[string]any{
			"openapi": "3.1.0", "paths": paths,
			"components": map[string]any{"securitySchemes": map[string]any{"o": map[string]any{"type": "oauth2"}, "k": map[string]any{"type": "http", "scheme": "bearer"}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		routes, notes, err := importRoutes("d.json", document)
		if err != nil {
			if strings.Contains(err.Error(), "has the segment \"%23x\"") || strings.Contains(err.Error(), "has a query or fragment") {
				continue // # can be in no route
			}
			t.Fatalf("%v\n%s", err, document)
		}
		text, err := routesYAML(routes, notes)
		if err != nil {
			t.Fatal(err)
		}
		config := "resources:\n- id: https://a.example\n  scopes: {read: {text: R}, write: {text: W}, delete: {text: D}, \"true\": {text: T}, \"x:1\": {text: X}}\n" + indent(string(text), "  ")
		loaded := mustLoad(t, config, nil).Resources[0]
		sameConfig(t, loaded.Routes, routes)

		tree := treeOf(loaded)
		for path, operations := range paths {
			for method := range operations {
				method = strings.ToUpper(method)
				if _, get := operations["get"]; method == "HEAD" && get {
					continue
				}
				want := needsOfAll(paths, path, method)
				request := strings.NewReplacer("{x}:act", "other:act", "c.{kind}", "c.other", "{x}", "other", "{y}", "other").Replace(path)
				i := tree.first(method, request)
				if i < 0 || loaded.Routes[i].Public != want.public || !want.equal(needs{scopes: loaded.Routes[i].Scopes, public: want.public}) {
					t.Fatalf("%s %s is decided by %d of %v, want %+v\n%s", method, request, i, loaded.Routes, want, document)
				}
			}
		}
	}
}

// needsOfAll are the needs of all operations that routes cannot tell apart from one.
func needsOfAll(paths map[string]map[string]any, path, method string) needs {
	shape := func(path string) string {
		return strings.NewReplacer("{x}:act", "*", "c.{kind}", "*", "{x}", "*", "{y}", "*").Replace(path)
	}
	var all []needs
	for _, other := range slices.Sorted(maps.Keys(paths)) {
		o, ok := paths[other][strings.ToLower(method)].(map[string]any)
		if !ok || shape(other) != shape(path) {
			continue
		}
		n := needs{scopes: []string{methodScopes[method]}}
		switch list := o["security"].(type) {
		case []any:
			n = needs{public: len(list) == 0}
			for _, one := range list {
				for _, scopes := range one.(map[string]any) {
					n.scopes = append(n.scopes, scopes.([]string)...)
				}
			}
		}
		all = append(all, n)
	}
	joined := all[0]
	for _, n := range all[1:] {
		joined = joinNeeds(joined, n)
	}
	return joined
}

func TestDocumentsThatGiveNoRoutesSayWhatToDo(t *testing.T) {
	const head = "openapi: 3.0.0\n"
	scheme := func(text string) string {
		return head + "components: {securitySchemes: {s: " + text + "}}\npaths: {/a: {get: {security: [{s: [x]}]}}}"
	}
	for name, tc := range map[string]struct{ document, want string }{
		"empty":            {" \n", "standard input: is empty; name the OpenAPI document"},
		"comment":          {"# nothing", "standard input: is empty"},
		"no yaml":          {"a: [", "standard input:1: is not YAML"},
		"broken json":      {`{"openapi": "3.0.0",, }`, "is not YAML"},
		"a list":           {"- a", "standard input:1: is a list, no OpenAPI document"},
		"swagger":          {"swagger: '2.0'\npaths: {}", "standard input:1: is Swagger 2.0, and OpenAPI 3.0 or 3.1 is needed; convert it"},
		"no version":       {"paths: {}", "does not say openapi: 3.0.x or 3.1.x"},
		"next version":     {"openapi: 3.2.0\npaths: {}", `is OpenAPI "3.2.0", and 3.0 or 3.1 is needed`},
		"a long version":   {"openapi: 3.10.0\npaths: {}", `is OpenAPI "3.10.0"`},
		"no paths":         {head, "standard input: has no paths"},
		"no operations":    {head + "paths: {/a: {trace: {}}}", "standard input: has no operations"},
		"paths a list":     {head + "paths: []", "standard input:2: paths is a list; an OpenAPI document has a mapping there"},
		"path twice":       {head + "paths:\n  /a: {get: {}}\n  /a: {put: {}}", `standard input:4: paths has "/a" twice; keep one`},
		"path relative":    {head + "paths: {a: {get: {}}}", `the path "a" does not start with /`},
		"path query":       {head + "paths: {'/a?b': {get: {}}}", `the path makes the route "/a?b" has a query`},
		"path dots":        {head + "paths: {'/a/../b': {get: {}}}", `has a . or .. segment`},
		"path star":        {head + "paths: {'/a/*': {get: {}}}", `the path has the segment "*", which in a route would mean any`},
		"path hidden star": {head + "paths: {'/a/%2A%2a': {get: {}}}", `the path has the segment "**"`},
		"path hidden /":    {head + "paths: {'/a%2Fb': {get: {}}}", `with an escape that no route can have`},
		"path bad escape":  {head + "paths: {'/a%zz': {get: {}}}", `with an escape that no route can have`},
		"unknown scheme":   {head + "paths: {/a: {get: {security: [{s: []}]}}}", `GET /a asks for the security scheme "s", which components.securitySchemes has not`},
		"scheme type":      {scheme("{type: magic}"), `the security scheme "s" has the type "magic"`},
		"scheme no type":   {scheme("{}"), `the security scheme "s" has no type`},
		"scheme elsewhere": {scheme("{$ref: 'other.yaml#/x'}"), `is in another file, "other.yaml#/x"; put all into one`},
		"scheme nowhere":   {scheme("{$ref: '#/x/y'}"), `refers to "#/x/y", which is not there`},
		"scheme itself":    {scheme("{$ref: '#/components/securitySchemes/s'}"), `refers to itself`},
		"key with scopes":  {scheme("{type: http, scheme: bearer}"), `GET /a asks for the scope "x" of "s", which is no oauth2 or openIdConnect scheme and has none in OpenAPI 3.0`},
		"scope name":       {head + "components: {securitySchemes: {s: {type: oauth2}}}\npaths: {/a: {get: {security: [{s: ['https://x/y']}]}}}", `GET /a asks for the scope "https://x/y", which is not a scope's name`},
		"scope reserved":   {head + "components: {securitySchemes: {s: {type: oauth2}}}\npaths: {/a: {get: {security: [{s: [introspect]}]}}}", `which is built in`},
		"scope reference":  {head + "components: {securitySchemes: {s: {type: oauth2}}}\npaths: {/a: {get: {security: [{s: ['file:read']}]}}}", `"file:read", which the configuration would take for a reference`},
		"security text":    {head + "security: none\npaths: {/a: {get: {}}}", `security of the document is a plain value; an OpenAPI document has a list there`},
		"server variable":  {head + "servers: [{url: '/{x}'}]\npaths: {/a: {get: {}}}", `the server "/{x}" has a variable without a default`},
		"server relative":  {head + "servers: [{url: v1}]\npaths: {/a: {get: {}}}", `the server "v1" is relative to where the document lies`},
		"server no url":    {head + "servers: [{}]\npaths: {/a: {get: {}}}", `a server has no url`},
		"operation text":   {head + "paths: {/a: {get: x}}", `GET /a is a plain value`},
		"too many values":  {"a: [" + strings.Repeat(",", maxOpenAPINodes) + "]", "holds too many values"},
		"too many in JSON": {`{"a": [0` + strings.Repeat(",0", maxOpenAPINodes) + "]}", "holds more than 2000000 values"},
		"too large":        {strings.Repeat(" ", maxOpenAPIBytes) + "a", "is larger than 8 MiB"},
		"too many":         {head + "paths:\n" + manyPaths(maxOpenAPIRoutes+1), "has more than 10000 operations"},
		"too much":         {head + "paths:\n" + strings.ReplaceAll(manyPaths(maxOpenAPIRoutes), "/p", "/"+strings.Repeat("long", 30)), "more than the 1048576 bytes of a configuration hold"},
		"bomb":             {head + "paths: {/a: {get: {security: &x [" + strings.Repeat("{},", 101) + "]}}}", "GET /a has more than 100 security requirements"},
	} {
		t.Run(name, func(t *testing.T) { newCLI(t).fails(1, tc.want, tc.document, "routes", "from-openapi", "-") })
	}
	newCLI(t).fails(1, "no-such-file", "", "routes", "from-openapi", "no-such-file")
	newCLI(t).fails(2, "doorward: ", "", "routes", "from-openapi")
	newCLI(t).fails(2, "doorward: ", "", "routes")
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newRandom(seed int) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 1)) }

func manyPaths(n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, "  /p%d: {get: {}}\n", i)
	}
	return out.String()
}

// FuzzOpenAPI: whatever the document holds, it gives routes that the configuration takes, or a fault in one line.
func FuzzOpenAPI(f *testing.F) {
	f.Add([]byte(petsYAML))
	f.Add([]byte(`{"openapi":"3.1.0","paths":{"/a":{"get":{}}}}`))
	f.Add([]byte("openapi: 3.1.0\npaths: {/a: &a {$ref: '#/paths/~1a'}, /b: *a}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		routes, notes, err := importRoutes("d", data)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r\x1b") {
				t.Errorf("more than one plain line: %q", err)
			}
			return
		}
		text, err := routesYAML(routes, notes)
		if err != nil {
			t.Fatal(err)
		}
		scopes := map[string]bool{"read": true}
		for _, r := range routes {
			for _, s := range r.Scopes {
				scopes[s] = true
			}
		}
		catalogue := ""
		for _, s := range slices.Sorted(maps.Keys(scopes)) {
			catalogue += fmt.Sprintf("    %q: {text: x}\n", s)
		}
		p := newParser(environ(nil))
		c := defaultConfig()
		p.document("c.yaml", []byte("resources:\n- id: https://a.example\n  scopes:\n"+catalogue+indent(string(text), "  ")), p.topLevel(&c))
		p.check(&c)
		if len(p.faults) > 0 {
			t.Fatalf("what is printed does not load:\n%v\n%s", p.faults, text)
		}
		sameConfig(t, c.Resources[0].Routes, routes)
	})
}
