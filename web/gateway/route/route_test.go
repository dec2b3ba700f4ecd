package route

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestTheFirstRouteThatMatchesDecides(t *testing.T) {
	table := NewTable([]Route{
		{Path: "/v1/{object}/**", Methods: []string{"GET"}, Scopes: []string{"{object}:read"}},
		{Path: "/v1/capture", Methods: []string{"POST"}},
		{Path: "/v1/**", Methods: []string{"POST", "PUT"}},
		{Path: "/v1/*/parts/*"},
		{Path: "/v1/reports", Methods: []string{"DELETE"}},
		{Path: "/v1/**", Methods: []string{"DELETE"}},
		{Path: "/"},
		{Path: "/a b"},
	}, []string{"accounts", "contacts"}, false)
	for _, c := range []struct {
		method, path string
		want         int // index; -1: none
		object       string
	}{
		{"GET", "/v1/accounts", 0, "accounts"},
		{"HEAD", "/v1/accounts", 0, "accounts"},
		{"GET", "/v1/accounts/", 0, "accounts"},
		{"GET", "/v1/contacts/7/notes", 0, "contacts"},
		{"GET", "/v1/others", -1, ""},
		{"GET", "/v1/others/parts/7", 3, ""},
		{"GET", "/v1/accounts/parts/7", 0, "accounts"},
		{"POST", "/v1/accounts/parts/7", 2, ""},
		{"PATCH", "/v1/accounts/parts/7", 3, ""},
		{"PATCH", "/v1/accounts/parts/", -1, ""},
		{"POST", "/v1/capture", 1, ""},
		{"POST", "/v1/capture/", 2, ""},
		{"POST", "/v1", 2, ""},
		{"PUT", "/v1/", 2, ""},
		{"DELETE", "/v1/reports", 4, ""},
		{"DELETE", "/v1/reports/7", 5, ""},
		{"GET", "/", 6, ""},
		{"GET", "/a b", 7, ""},
		{"GET", "/a", -1, ""},
		{"OPTIONS", "/v1/capture", -1, ""},
		{"get", "/v1/accounts", -1, ""},
		{"GET", "/V1/accounts", -1, ""},
	} {
		got, object := table.match(c.method, c.path)
		if got != c.want || object != c.object {
			t.Errorf("%s %s: route %d for %q, want %d for %q", c.method, c.path, got, object, c.want, c.object)
		}
	}
}

// The tree gives what looking at each route in its order gives.
func TestTheTreeKeepsTheOrderOfTheConfiguration(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	words := []string{"a", "b", "accounts", "*", "{object}", "**"}
	objects := []string{"accounts", "b"}
	for range 300 {
		var routes []Route
		for range 1 + random.IntN(12) {
			var segments []string
			for range 1 + random.IntN(4) {
				segments = append(segments, words[random.IntN(len(words))])
			}
			if i := slices.Index(segments, "**"); i >= 0 {
				segments = segments[:i+1]
			}
			r := Route{Path: "/" + strings.Join(segments, "/")}
			if random.IntN(2) == 0 {
				r.Methods = []string{[]string{"GET", "POST"}[random.IntN(2)]}
			}
			r.Cost = int64(len(routes))
			routes = append(routes, r)
		}
		table := NewTable(routes, objects, false)
		for range 100 {
			var segments []string
			for range random.IntN(5) {
				segments = append(segments, []string{"a", "b", "accounts", "c", ""}[random.IntN(5)])
			}
			path, method := "/"+strings.Join(segments, "/"), []string{"GET", "POST", "HEAD"}[random.IntN(3)]
			want := int64(-1)
			for i := range routes {
				if routes[i].methods().has(method) && plainly(routes[i].Path, path, objects) {
					want = routes[i].Cost
					break
				}
			}
			got := int64(-1)
			if i := table.First(method, path); i >= 0 {
				got = routes[i].Cost
			}
			if got != want {
				t.Fatalf("%s %s in %v: route %d, want %d", method, path, routes, got, want)
			}
		}
	}
}

// plainly matches one pattern, segment by segment.
func plainly(pattern, path string, objects []string) bool {
	ps, xs := strings.Split(pattern[1:], "/"), strings.Split(path[1:], "/")
	for i, p := range ps {
		if p == "**" {
			return true
		}
		if i >= len(xs) || p != xs[i] && (p != "*" || xs[i] == "") && (p != "{object}" || !slices.Contains(objects, xs[i])) {
			return false
		}
	}
	return len(ps) == len(xs)
}

// What some server on the way might take for another path is refused; all else is decoded once.
func TestF05_PathsThatMayMeanAnother(t *testing.T) {
	for _, bad := range []string{
		"", "admin", "//admin", "/a//b", "/public/../admin", "/./a", "/a/..", "/a/.", "/..", "/public/%2e%2e/admin", "/%2E%2e/admin", "/%252e%252e/admin",
		"/%25%32%65", "/admin%2f", "/admin%2Fx", "/a%5cb", `/a\b`, "/public%00/admin", "/a%0ab", "/a%7f", "/admin;x=/public", "/admin%3bx", "/a%3Bb", "/%c0%ae/admin",
		"/a%", "/a%2", "/a%zz", "/a#b", "/public%23/../admin", "/%25252e",
	} {
		if path, ok := DecodePath(bad); ok {
			t.Errorf("%q is taken, as %q", bad, path)
		}
	}
	for good, want := range map[string]string{
		"/": "/", "/a": "/a", "/a/": "/a/", "/a%20b": "/a b", "/%C3%A9": "/é", "/a+b": "/a+b", "/...": "/...", "/a..b/.c": "/a..b/.c", "/public%23": "/public#",
		"/100%25": "/100%", "/a:b@c,d=e!$&'()*": "/a:b@c,d=e!$&'()*", "/%25zz": "/%zz",
	} {
		if path, ok := DecodePath(good); !ok || path != want {
			t.Errorf("%q: %q, %v; want %q", good, path, ok, want)
		}
	}
}

func FuzzDecodedPath(f *testing.F) {
	for _, s := range []string{"/", "/a/%2e%2e", "/%25%32%65", "/é", "/a;b", "/%c0%ae"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		path, ok := DecodePath(escaped)
		if !ok {
			return
		}
		once, err := url.PathUnescape(escaped)
		if err != nil || once != path {
			t.Fatalf("%q was decoded to %q", escaped, path)
		}
		// A program that decodes once more, or cleans the path, sees the same segments.
		again, err := url.PathUnescape(path)
		if err != nil {
			again = path
		}
		for _, text := range []string{path, again} {
			for segment := range strings.SplitSeq(text, "/") {
				if segment == ".." || segment == "." {
					t.Fatalf("%q has dot segments as %q", escaped, text)
				}
			}
			if strings.Count(text, "/") != strings.Count(escaped, "/") || strings.ContainsAny(text, "\\\x00") {
				t.Fatalf("%q has other segments as %q", escaped, text)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		var routes []Route
		for i := range n {
			routes = append(routes, Route{Methods: []string{"GET"}, Path: fmt.Sprintf("/v1/thing%d/*/**", i)})
		}
		table := NewTable(routes, nil, false)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if table.First("GET", "/v1/thing7/9/parts") < 0 {
					b.Fatal("no route")
				}
			}
		})
	}
}
