package route

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"doorward/oauth/catalog"
)

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
		{"", []Route{route("/a", Methods...)}, Route{Path: "/a"}, nil}, // TRACE and others are left
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
		if got := NewTable(tc.earlier, strings.Fields(tc.objects), false).CoveredBy(tc.later); !slices.Equal(got, tc.want) {
			t.Errorf("%v before %v: taken by %v, want %v", tc.earlier, tc.later, got, tc.want)
		}
	}
}

// matches is what one route does with one request, written as plainly as possible, to compare with.
func matches(r Route, objects []string, method string, path []string) bool {
	if r.Methods != nil && !slices.Contains(r.Methods, method) &&
		(method != "HEAD" || !slices.Contains(r.Methods, "GET")) {
		return false
	}
	pattern := split(r.Path)
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
		var routes []Route
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
			routes = append(routes, route)
		}
		table := NewTable(nil, objects, false)
		for i, later := range routes {
			left := false
			for _, path := range paths {
				for _, method := range []string{"GET", "HEAD", "POST", "TRACE"} {
					first := slices.IndexFunc(routes[:i], func(e Route) bool { return matches(e, objects, method, path) })
					if got := table.First(method, "/"+strings.Join(path, "/")); got != first {
						t.Fatalf("%v: %s %v is decided by %d, want %d", routes[:i], method, path, got, first)
					}
					left = left || (first < 0 && matches(later, objects, method, path))
				}
			}
			taken := table.CoveredBy(later)
			if (len(taken) > 0) == left {
				t.Fatalf("%v before %v: taken by %v, yet requests left: %v", routes[:i], later, taken, left)
			}
			if !left {
				unreachable++
			}
			table.Add(later)
		}
	}
	if unreachable < 30 {
		t.Errorf("only %d routes were unreachable", unreachable)
	}
}

// manyRoutes are as many as the file holds, general ones last, with some wildcards between.
func manyRoutes(n int) (routes []Route) {
	for i := range n {
		path := fmt.Sprintf("/v1/group%d/part%d/*", i%100, i)
		switch i % 10 {
		case 7:
			path = fmt.Sprintf("/v1/*/part%d", i)
		case 8:
			path = fmt.Sprintf("/v1/{object}/part%d/**", i)
		}
		routes = append(
			routes,
			Route{Methods: []string{Methods[i%3]}, Path: path, Scopes: []string{[]string{"read", "write", "admin"}[i%3]}},
		)
	}
	return routes
}

// BenchmarkCheckRoutes checks ten thousand routes, as check does, and with the part of it that serve does at its start.
func BenchmarkCheckRoutes(b *testing.B) {
	routes, objects := manyRoutes(10_000), []string{"accounts", "contacts"}
	resource := &catalog.Resource{ID: "https://a.example", Objects: objects, Scopes: []catalog.Scope{
		{Name: "read"}, {Name: "write"}, {Name: "admin", Implies: []string{"read", "write"}},
	}}
	b.Run("unreachable", func(b *testing.B) {
		for b.Loop() {
			table := NewTable(nil, objects, false)
			for _, route := range routes {
				table.CoveredBy(route)
				table.Add(route)
			}
		}
	})
	b.Run("shadowed", func(b *testing.B) {
		for b.Loop() {
			NewTable(routes, objects, false).Overlaps(resource, 100)
		}
	})
}

// TestComparingRoutesIsBounded: a table with too many routes to compare each with all before it says how many it
// compared.
func TestComparingRoutesIsBounded(t *testing.T) {
	resource := &catalog.Resource{Scopes: []catalog.Scope{{Name: "read"}}}
	routes := []Route{{Path: "/*/x", Public: true}}
	for i := range 10_100 {
		routes = append(routes, Route{Path: fmt.Sprintf("/%d/*", i), Scopes: []string{"read"}})
	}
	table := NewTable(routes, nil, false)
	if got := table.Overlaps(resource, 20_000); got.Compared != len(got.Found)+1 ||
		got.Compared*got.Compared/2 < maxComparisons-got.Compared ||
		got.More {
		t.Errorf("compared %d of %d routes, found %d, more %v", got.Compared, len(routes), len(got.Found), got.More)
	}
	if got := table.Overlaps(resource, 3); len(got.Found) != 3 || !got.More {
		t.Errorf("found %d, more %v; want 3 and more", len(got.Found), got.More)
	}
	if got := NewTable(routes[:100], nil, false).Overlaps(resource, 1000); got.Compared != 100 || len(got.Found) != 99 {
		t.Errorf("compared %d of 100 routes, found %d", got.Compared, len(got.Found))
	}
}
