package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"doorward/web/gateway/route/openapi"
)

func TestRoutesComeFromOpenAPI(t *testing.T) {
	data, err := os.ReadFile("../../web/gateway/route/openapi/testdata/pets.yaml")
	if err != nil {
		t.Fatal(err)
	}
	pets := string(data)
	c := newCLI(t)
	got := c.must(pets, "routes", "from-openapi", "-")
	want := `# From standard input. Put it under a resource. The first route that matches decides; without a match, the response is 403.
# The resource's scopes must include: pets:delete, read, write.
# Each templated segment is * (any one segment), because the document does not say which are the resource's objects. Write {object} for those.
# Once, at GET /pets/{id}/photo.{kind}: security is optional, so the route is public.
# Once, at PUT /pets/{id}: one of several requirements is enough; the first with scopes was used.
# 2 times, first at GET /v1/pets/*: paths that differ only in a fragment or the names of templates; the route has the combined requirements of all of them.
# 2 times, first at /v1/pets/*: GET and HEAD have different requirements; the route is for both and has the combined requirements.
# 2 times, first at /pets/{id}/photo.{kind}: a template is a part of a segment, or a route cannot have its text; the segment became *.
# 2 times, first at GET /v1/pets/*/*: the path is public, but the route matches more, so it needs a credential.
# Once, at old: a security scheme other than a bearer token in the Authorization header, which Doorward does not read; clients must send a bearer token there.
# Once, at /pets/mine: TRACE was left out; the gateway does not forward it.
# Once, at /v1: the servers have different paths, so each operation has a route for each of them.
# Left out: OPTIONS /other host/caf%C3%A9: its servers are on another host than the API's, files.example.com.
routes:
  - {methods: [GET], path: /v1/pets/mine, scopes: [read]}
  - {methods: [POST], path: /v1/pets/mine, scopes: []}
  - {methods: [GET, PUT, PATCH], path: /v1/pets/*, scopes: [read, write]}
  - {methods: [DELETE], path: /v1/pets/*, scopes: ['pets:delete']}
  - {methods: [GET], path: /v1/pets/*/*, scopes: []}
  - {methods: [GET], path: /v1/health, public: true}
  - {methods: [GET], path: /v2/pets/mine, scopes: [read]}
  - {methods: [POST], path: /v2/pets/mine, scopes: []}
  - {methods: [GET, PUT, PATCH], path: /v2/pets/*, scopes: [read, write]}
  - {methods: [DELETE], path: /v2/pets/*, scopes: ['pets:delete']}
  - {methods: [GET], path: /v2/pets/*/*, scopes: []}
  - {methods: [GET], path: /v2/health, public: true}
  - {methods: [HEAD], path: /other host/café, public: true}
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	// The same routes as JSON, from a file, without comments.
	writeFile(t, "pets.yaml", pets)
	stdout, stderr, code := c.run("", "routes", "from-openapi", "pets.yaml", "--json")
	var rows []map[string]any
	if err := json.Unmarshal([]byte(stdout), &rows); err != nil || code != 0 || len(rows) != 13 ||
		!strings.HasPrefix(stderr, "From pets.yaml. ") {
		t.Fatalf("exit %d, %v\n%s\n%s", code, err, stdout, stderr)
	}
	if diff := cmp.Diff(map[string]any{"methods": []any{"POST"}, "path": "/v1/pets/mine", "scopes": []any{}}, rows[1]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"methods": []any{"GET"}, "path": "/v1/health", "public": true}, rows[5]); diff != "" {
		t.Error(diff)
	}
}

// TestRoutesPageShowsRealOutput compares the examples in docs/routes.md with the program's output.
func TestRoutesPageShowsRealOutput(t *testing.T) {
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
		mustLoad(
			t,
			"resources:\n- id: https://a.example\n  objects: [accounts]\n  scopes: {read: {text: R}, write: {text: W}, capture: {text: C}}\n"+indent(
				routes,
				"  ",
			),
			nil,
		)
	}
	c.writeConfig(
		"resources:\n- id: https://a.example\n\n\n\n\n  routes:\n  - {path: /v1/*/public, public: true}\n  - {path: " +
			"/v1/admin/**, scopes: [admin]}\n",
	)
	_, risk, _ := strings.Cut(string(page), "```\nrisk: ")
	if risk, _, _ = strings.Cut(risk, "\n```"); !strings.Contains(c.must("", "check"), "risk: "+risk+"\n") {
		t.Errorf("check does not print: %s\n%s", risk, c.must("", "check"))
	}
}

func TestRoutesWithoutSecurityAreByMethod(t *testing.T) {
	c := newCLI(t)
	got := c.must(
		"\ufeff{\n\t\"openapi\": \"3.1.0\", \"paths\": {\"\\/a\": {\"get\": {}, \"post\": {}, \"put\": {}, \"patch\": "+
			"{}, \"delete\": {}, \"options\": {}, \"head\": {\"description\": \"\\ud83d\\ude00\"}}}}",
		"routes",
		"from-openapi",
		"-",
	)
	want := `# From standard input. Put it under a resource. The first route that matches decides; without a match, the response is 403.
# The resource's scopes must include: delete, read, write.
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

func TestDocumentsWithoutRoutesSayWhatToDo(t *testing.T) {
	const head = "openapi: 3.0.0\n"
	for name, tc := range map[string]struct{ document, want string }{
		"empty":            {" \n", "standard input: is empty; name the OpenAPI document"},
		"comment":          {"# nothing", "standard input: is empty"},
		"no yaml":          {"a: [", "standard input:1: is not YAML"},
		"broken json":      {`{"openapi": "3.0.0",, }`, "is not YAML"},
		"latin-1":          {"openapi: 3.0.0\npaths: {/caf\xe9: {get: {}}}", "is not UTF-8 text; save it as UTF-8"},
		"two documents":    {head + "paths: {/a: {get: {}}}\n---\nmore: {}", "contains a second document after ---; keep one"},
		"a list":           {"- a", "standard input:1: is a list, not an OpenAPI document"},
		"old swagger":      {"swagger: '1.2'\npaths: {}", `standard input:1: is Swagger "1.2"; Swagger 2.0 and OpenAPI 3.0 and 3.1 can be imported`},
		"both versions":    {"swagger: '2.0'\nopenapi: 3.0.0\npaths: {}", "says both swagger and openapi; keep one"},
		"no version":       {"paths: {}", "does not say openapi: 3.0.x or 3.1.x"},
		"next version":     {"openapi: 3.2.0\npaths: {}", `is OpenAPI "3.2.0"; 3.0 and 3.1 and Swagger 2.0 can be imported`},
		"a long version":   {"openapi: 3.10.0\npaths: {}", `is OpenAPI "3.10.0"`},
		"no paths":         {head, "standard input: has no paths"},
		"paths twice":      {head + "paths: {/a: {get: {}}}\npaths: {/b: {get: {}}}", `"paths" is written twice; keep one`},
		"no operations":    {head + "paths: {/a: {trace: {}}}", "standard input: has no operations"},
		"paths a list":     {head + "paths: []", "standard input:2: paths must be a mapping of keys and values, but is a list"},
		"paths elsewhere":  {head + "paths: {$ref: other.yaml, /a: {get: {}}}", `paths refers to "other.yaml", and standard input has no files beside it`},
		"paths merge":      {head + "paths: {<<: none, /a: {get: {}}}", `what paths merges must be a mapping of keys and values, but is a plain value`},
		"merge circle":     {head + "paths: &a {/a: {get: {}}, <<: *a}", `leads back to itself`},
		"path unreachable": {head + "paths: {/a%zz: {get: {}}}", `Left out: GET /a%zz: no request for it reaches a route`},
		"servers":          {head + "servers: [{url: []}]\npaths: {/a: {get: {}}}", `url must be text, but is a list`},
		"server no url":    {head + "servers: [{}]\npaths: {/a: {get: {}}}", `a server has no url`},
		"too many values":  {"a: [" + strings.Repeat(",", 4_000_000) + "]", "contains more than 4000000 values"},
		"too many in JSON": {`{"a": [0` + strings.Repeat(",0", 4_000_000) + "]}", "contains more than 4000000 values"},
		"too large":        {strings.Repeat(" ", openapi.MaxBytes) + "a", "is larger than 32 MiB"},
		"too many":         {head + "paths:\n" + manyPaths(10_000+1), "has more than 10000 operations"},
		"too much":         {head + "paths:\n" + strings.ReplaceAll(manyPaths(10_000), "/p", "/"+strings.Repeat("long", 30)), "do not fit into a configuration of 1048576 bytes"},
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

func manyPaths(n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, "  /p%d: {get: {}}\n", i)
	}
	return out.String()
}
