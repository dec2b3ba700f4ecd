package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// treeOf holds all routes of a resource.
func treeOf(r Resource) *routeTree {
	t := newRouteTree(r)
	for i, route := range r.Routes {
		t.add(route, i)
	}
	return t
}

func TestRouteIsUnreachableWhenEarlierOnesTakeAllItsRequests(t *testing.T) {
	get, post := []string{"GET"}, []string{"POST"}
	route := func(path string, methods ...string) Route { return Route{Path: path, Methods: methods} }
	for _, tc := range []struct {
		objects string
		earlier []Route
		later   Route
		want    []int
	}{
		{"", []Route{route("/v1/**")}, route("/v1"), []int{0}},
		{"", []Route{route("/v1/**")}, route("/v1/"), []int{0}},
		{"", []Route{route("/v1/**")}, route("/v1/a/b"), []int{0}},
		{"", []Route{route("/v1/**")}, route("/v1/**"), []int{0}},
		{"", []Route{route("/v1/*")}, route("/v1/**"), nil},
		{"", []Route{route("/v1/*")}, route("/v1/"), nil},
		{"", []Route{route("/v1/*")}, route("/v1/a"), []int{0}},
		{"", []Route{route("/v1/a")}, route("/v1/*"), nil},
		{"accounts", []Route{route("/v1/{object}")}, route("/v1/accounts"), []int{0}},
		{"accounts", []Route{route("/v1/{object}")}, route("/v1/other"), nil},
		{"accounts", []Route{route("/v1/*")}, route("/v1/{object}"), []int{0}},
		{"", []Route{route("/v1")}, route("/v1/**"), nil},
		{"", []Route{route("/**")}, route("/"), []int{0}},
		{"", []Route{{Path: "/a", Methods: get}}, Route{Path: "/a", Methods: post}, nil},
		{"", []Route{{Path: "/a", Methods: get}}, Route{Path: "/a"}, nil},
		{"", []Route{{Path: "/a", Methods: get}}, Route{Path: "/a", Methods: []string{"HEAD"}}, []int{0}},
		{"", []Route{{Path: "/a"}}, Route{Path: "/a", Methods: post}, []int{0}},

		// Several together.
		{"", []Route{{Path: "/a", Methods: get}, {Path: "/*", Methods: post}}, route("/a", "GET", "POST"), []int{0, 1}},
		{"", []Route{{Path: "/a", Methods: get}, {Path: "/*", Methods: post}}, route("/a", "GET", "POST", "PUT"), nil},
		{"", []Route{route("/a", methods...)}, Route{Path: "/a"}, nil}, // TRACE and others are left
		{"x y", []Route{route("/x/**"), route("/y/**")}, route("/{object}/**"), []int{0, 1}},
		{"x y", []Route{route("/x/**"), route("/y/*")}, route("/{object}/**"), nil},
		{"x y z", []Route{route("/x/**"), route("/y/**")}, route("/{object}/**"), nil},
		{"x y", []Route{{Path: "/x", Methods: get}, {Path: "/{object}", Methods: post}, {Path: "/y"}, {Path: "/x", Methods: []string{"PUT"}}}, route("/{object}", "GET", "POST", "PUT"), []int{0, 1, 2, 3}},
		{"", []Route{route("/v1"), route("/v1/"), route("/v1/*/**")}, route("/v1/**"), []int{0, 1, 2}},
		{"", []Route{route("/v1"), route("/v1/*/**")}, route("/v1/**"), nil}, // /v1/ is left
		{"", []Route{route("/v1"), route("/v1/"), route("/v1/*"), route("/v1/*/"), route("/v1/*/*/**")}, route("/v1/**"), []int{0, 1, 2, 3, 4}},
		{"", []Route{route("/"), route("/*/**")}, route("/**"), []int{0, 1}},
		{"", []Route{route("/a/*"), route("/*/b")}, route("/a/b"), []int{0}}, // the first alone does
	} {
		r := Resource{Objects: strings.Fields(tc.objects), Routes: tc.earlier}
		if got := treeOf(r).takenBefore(tc.later); !slices.Equal(got, tc.want) {
			t.Errorf("%v before %v: taken by %v, want %v", tc.earlier, tc.later, got, tc.want)
		}
	}
}

// matches is what one route does with one request, written as plainly as possible, to compare with.
func matches(r Route, objects []string, method string, path []string) bool {
	if r.Methods != nil && !slices.Contains(r.Methods, method) && (method != "HEAD" || !slices.Contains(r.Methods, "GET")) {
		return false
	}
	pattern := segments(r.Path)
	for i, segment := range pattern {
		switch {
		case segment == "**":
			return true
		case i >= len(path):
			return false
		case segment == "*" && path[i] != "":
		case segment == "{object}" && slices.Contains(objects, path[i]):
		case segment == path[i]:
		default:
			return false
		}
	}
	return len(pattern) == len(path)
}

// TestRoutesAreJudgedAsTheirRequestsAre asks about every short request of a small alphabet, and compares. The alphabet
// has a segment that no route writes out, and is one longer than routes are.
func TestRoutesAreJudgedAsTheirRequestsAre(t *testing.T) {
	objects := []string{"a", "b"}
	var paths [][]string
	var grow func(path []string)
	grow = func(path []string) {
		if len(path) > 0 {
			paths = append(paths, slices.Clone(path), append(slices.Clone(path), ""))
		}
		if len(path) < 4 {
			for _, segment := range []string{"a", "b", "c", "other"} {
				grow(append(slices.Clone(path), segment))
			}
		}
	}
	grow(nil)
	paths = append(paths, []string{""})
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	unreachable := 0
	for range 300 {
		r := Resource{Objects: objects}
		for range 1 + random.IntN(7) {
			path, object := "", false
			for range 1 + random.IntN(3) {
				segment := pick("a", "b", "c", "*", "*", "{object}")
				if segment == "{object}" && object {
					segment = "*"
				}
				object = object || segment == "{object}"
				path += "/" + segment
			}
			path += pick("", "", "", "/**", "/**", "/")
			route := Route{Path: pick(path, path, path, path, path, "/", "/**")}
			if random.IntN(2) == 0 {
				route.Methods = []string{pick("GET", "POST", "HEAD")}
			}
			r.Routes = append(r.Routes, route)
		}
		tree := newRouteTree(r)
		for i, later := range r.Routes {
			left := false
			for _, path := range paths {
				for _, method := range []string{"GET", "HEAD", "POST", "TRACE"} {
					first := slices.IndexFunc(r.Routes[:i], func(e Route) bool { return matches(e, objects, method, path) })
					if got := tree.first(method, "/"+strings.Join(path, "/")); got != first {
						t.Fatalf("%v: %s %v is decided by %d, want %d", r.Routes[:i], method, path, got, first)
					}
					left = left || (first < 0 && matches(later, objects, method, path))
				}
			}
			taken := tree.takenBefore(later)
			if (len(taken) > 0) == left {
				t.Fatalf("%v before %v: taken by %v, yet requests left: %v", r.Routes[:i], later, taken, left)
			}
			if !left {
				unreachable++
			}
			tree.add(later, i)
		}
	}
	if unreachable < 30 {
		t.Errorf("only %d routes were unreachable", unreachable)
	}
}

func TestCheckNamesRoutesThatLoseRequestsToOnesThatAskForLess(t *testing.T) {
	for name, tc := range map[string]struct{ routes, want string }{
		"public":           {"- {path: /v1/*/public, public: true}\n- {path: /v1/admin/**, scopes: [admin]}", "resources[0].routes[1] (/v1/admin/**, line 6): asks for admin, but routes[0] (/v1/*/public, line 5) before it asks for nothing (public) and takes GET /v1/admin/public; if"},
		"fewer":            {"- {path: /v1/**, methods: [GET], scopes: [read]}\n- {path: /v1/keys, scopes: [read, write]}", "routes[1] (/v1/keys, line 6): asks for read and write, but routes[0] (/v1/**, line 5) before it asks for read and takes GET /v1/keys;"},
		"none":             {"- {path: /v1/**, methods: [GET], scopes: []}\n- {path: /v1/keys, scopes: [read]}", "asks for any credential"},
		"implied":          {"- {path: /v1/**, methods: [GET], scopes: [read]}\n- {path: /v1/keys, scopes: [admin]}", "asks for admin"},
		"object":           {"- {path: '/v1/{object}/**', methods: [GET], scopes: ['{object}:read']}\n- {path: /v1/accounts/**, scopes: [read]}", "asks for {object}:read"},
		"role":             {"- {path: /v1/**, methods: [GET], scopes: [read]}\n- {path: /v1/keys, scopes: [read], role: admin}", "asks for read, role admin"},
		"credentials":      {"- {path: /v1/**, methods: [GET], scopes: [read]}\n- {path: /v1/keys, scopes: [read], credentials: [api_key]}", "asks for read of a api_key"},
		"methods cross":    {"- {path: /v1/keys, methods: [GET, POST], scopes: [read]}\n- {path: /v1/keys, methods: [POST, PUT], scopes: [admin]}", "takes POST /v1/keys"},
		"tail":             {"- {path: /*/public/**, public: true}\n- {path: /v1/**, scopes: [read]}", "takes GET /v1/public"},
		"exception":        {"- {path: /health, public: true}\n- {path: /**, scopes: [read]}", ""},
		"exception method": {"- {path: /v1/keys, methods: [GET], scopes: [read]}\n- {path: /v1/keys, scopes: [admin]}", ""},
		"more":             {"- {path: /v1/*/public, scopes: [admin]}\n- {path: /v1/x/**, scopes: [read]}", ""},
		"other":            {"- {path: /v1/*/public, scopes: [write]}\n- {path: /v1/x/**, scopes: [delete]}", ""},
		"same":             {"- {path: /v1/*/public, scopes: [read, write]}\n- {path: /v1/x/**, scopes: [write, read]}", ""},
		"wider object":     {"- {path: '/v1/{object}/**', methods: [GET], scopes: [read]}\n- {path: /v1/accounts/**, scopes: ['accounts:read']}", ""},
		"apart":            {"- {path: /v1/*/public, public: true}\n- {path: /v2/x/**, scopes: [read]}", ""},
		"apart by length":  {"- {path: /v1/*, public: true}\n- {path: /v1, scopes: [read]}\n- {path: /*/x/y, scopes: [read]}", ""},
		"apart by object":  {"- {path: '/{object}/x', public: true}\n- {path: /other/*, scopes: [read]}", ""},
		"apart by methods": {"- {path: /v1/**, methods: [GET], scopes: [read]}\n- {path: /v1/keys, methods: [POST], scopes: [admin]}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCLI(t)
			c.writeConfig("resources:\n- id: https://a.example\n  objects: [accounts, contacts]\n  routes:\n" + indent(tc.routes, "  "))
			var found []string
			for _, one := range c.object("", "check")["risks"].([]any) {
				if strings.Contains(one.(string), "routes[") && !strings.Contains(one.(string), "another spelling") {
					found = append(found, one.(string))
				}
			}
			switch {
			case tc.want == "" && len(found) > 0:
				t.Errorf("a risk: %s", found)
			case tc.want != "" && (len(found) != 1 || !strings.Contains(found[0], tc.want)):
				t.Errorf("risks %q, want one with %q", found, tc.want)
			}
		})
	}
}

func indent(text, by string) string { return by + strings.ReplaceAll(text, "\n", "\n"+by) + "\n" }

// TestCheckRefusesScopesThatNoCredentialCanHave: a typing error in a scope would close a route to everybody.
func TestCheckRefusesScopesThatNoCredentialCanHave(t *testing.T) {
	c := newCLI(t)
	c.writeConfig("resources:\n- id: https://a.example\n  objects: [accounts]\n  routes:\n" + indent(
		"- {path: /a, scopes: [reed]}\n- {path: /b, scopes: ['contacts:read']}\n- {path: /c, scopes: ['accounts:reed']}\n- {path: /d, scopes: ['{object}:read']}\n- {path: /e, scopes: [introspect]}", "  "))
	stdout, _, code := c.run("", "check")
	if code != 1 {
		t.Errorf("check exits %d", code)
	}
	for _, want := range []string{
		`c.yaml:5: resources[0].routes[0].scopes[0]: "reed" is not a scope of this resource; write one of read, write, delete, admin`,
		`c.yaml:6: resources[0].routes[1].scopes[0]: "contacts" is not in objects`,
		`c.yaml:7: resources[0].routes[2].scopes[0]: "reed" is not an action of this resource`,
		`c.yaml:8: resources[0].routes[3].scopes[0]: "{object}:read" needs {object} in the path`,
		`c.yaml:9: resources[0].routes[4].scopes[0]: introspect is built in`,
	} {
		if !strings.Contains(stdout, strings.TrimPrefix(want, "c.yaml")) {
			t.Errorf("check does not say %s:\n%s", want, stdout)
		}
	}
}

// manyRoutes are as many as the file holds, general ones last, with some wildcards between.
func manyRoutes(n int) Resource {
	r := defaultResource("https://a.example")
	r.Objects = []string{"accounts", "contacts"}
	for i := range n {
		path := fmt.Sprintf("/v1/group%d/part%d/*", i%100, i)
		switch i % 10 {
		case 7:
			path = fmt.Sprintf("/v1/*/part%d", i)
		case 8:
			path = fmt.Sprintf("/v1/{object}/part%d/**", i)
		}
		r.Routes = append(r.Routes, Route{Methods: []string{methods[i%3]}, Path: path, Scopes: []string{[]string{"read", "write", "admin"}[i%3]}})
	}
	return r
}

// BenchmarkCheckRoutes judges ten thousand routes: what check does of them, and of that what serve does at its start.
func BenchmarkCheckRoutes(b *testing.B) {
	r := manyRoutes(10_000)
	b.Run("unreachable", func(b *testing.B) {
		for b.Loop() {
			tree := newRouteTree(r)
			for i, route := range r.Routes {
				tree.takenBefore(route)
				tree.add(route, i)
			}
		}
	})
	b.Run("shadowed", func(b *testing.B) {
		for b.Loop() {
			partlyShadowed(r, mostShadows)
		}
	})
}

// A general route that takes another spelling of a stricter route's path is reported, unless the resource says that its API
// takes both for the same.
func TestV22_CheckNamesRoutesThatLetOtherSpellingsThrough(t *testing.T) {
	const routes = `
    routes:
      - {methods: [POST], path: /v1/capture, scopes: [admin]}
      - {methods: [GET], path: "/v1/{object}/export", scopes: [admin]}
      - {methods: [GET], path: /v1/admin/**, scopes: [admin]}
      - {methods: [GET], path: /health, public: true}
      - {methods: [DELETE], path: /v1/notes, scopes: [delete]}
      - {methods: [GET, POST], path: /v1/**, scopes: [read]}
`
	c := newCLI(t)
	c.writeConfig("resources:\n  - id: https://a.example\n    objects: [notes]" + routes)
	risks := func() (found []string) {
		for _, one := range c.object("", "check")["risks"].([]any) {
			if strings.Contains(one.(string), "another spelling") {
				found = append(found, one.(string))
			}
		}
		return found
	}
	all := strings.Join(risks(), "\n")
	for _, want := range []string{
		"takes POST /v1/capture/, another spelling of its path, and asks for read", "resources[0].routes[0] (/v1/capture, line 5): asks for admin, but routes[5] (/v1/**, line 10)",
		"takes GET /v1/notes/export/", "takes GET /v1/Admin/x",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no risk says %q in:\n%s", want, all)
		}
	}
	if n := len(risks()); n != 3 {
		t.Errorf("%d risks:\n%s", n, all)
	}
	c.writeConfig("resources:\n  - id: https://a.example\n    objects: [notes]\n    paths: loose" + routes)
	if found := risks(); len(found) > 0 {
		t.Errorf("with paths: loose there are %q", found)
	}
	c.writeConfig("resources:\n  - id: https://a.example\n    paths: loose\n    routes:\n      - {path: /v1/x, scopes: [read]}\n      - {path: /V1/X/, scopes: [write]}\n")
	if _, stderr, code := c.run("", "check"); code == 0 {
		t.Errorf("a route that never decides passes: %s", stderr)
	}
	c.writeConfig("resources:\n  - id: https://a.example\n    paths: lose\n    routes: []\n")
	if _, _, code := c.run("", "check"); code == 0 {
		t.Error("paths: lose passes")
	}
}
