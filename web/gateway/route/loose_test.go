package route

import "testing"

// For an API that compares paths loosely, routes match as the API will route: every spelling of a stricter route's path
// is decided by that route, and a path that could be another route's too is refused.
func TestV22_LoosePathsMatchInEverySpelling(t *testing.T) {
	routes := []Route{
		{Path: "/v1/Capture", Methods: []string{"POST"}, Scopes: []string{"admin"}},
		{Path: "/v1/{object}/export", Scopes: []string{"{object}:export"}},
		{Path: "/v1/summary.csv", Public: true},
		{Path: "/v1/straße"},
		{Path: "/"},
		{Path: "/v1/**", Scopes: []string{"read"}},
	}
	const refused = -2
	for _, c := range []struct {
		method, path string
		loose, exact int // index of the route; -1: none
		object       string
	}{
		{"POST", "/v1/capture", 0, 5, ""},
		{"POST", "/v1/Capture", 0, 0, ""},
		{"POST", "/v1/Capture/", 0, 5, ""},
		{"POST", "/V1/CAPTURE/", 0, -1, ""},
		{"GET", "/v1/capture", 5, 5, ""},
		{"POST", "/v1/capture/x", 5, 5, ""},
		{"POST", "/v1/%43apture", refused, 0, ""}, // Express compares before it decodes
		{"POST", "/v1/capture.json", refused, 5, ""},
		{"POST", "/v1/capture.", refused, 5, ""},
		{"POST", "/v1/other.json", 5, 5, ""},
		{"POST", "/v1/oth%20er", 5, 5, ""},
		{"POST", "/v1/x%41", 5, 5, ""},
		{"POST", "/v1/.hidden", 5, 5, ""},
		{"POST", "/v1/Capture/.json", 5, 5, ""},
		{"GET", "/v1/summary.csv", 2, 2, ""},
		{"GET", "/v1/SUMMARY.csv/", 2, 5, ""},
		{"GET", "/v1/summary.csv.json", refused, 5, ""},
		{"GET", "/v1/Accounts/EXPORT/", 1, 5, "accounts"},
		{"GET", "/v1/accounts/export", 1, 1, "accounts"},
		{"GET", "/v1/accounts/export.xml", refused, 5, ""},
		{"GET", "/v1/STRA%C3%9FE", 3, 5, ""},
		{"GET", "/v1/\u017fummary", refused, 5, ""}, // a long s, which is an S in capitals
		{"GET", "/v1/\u212aelvin", refused, 5, ""},
		{"GET", "/", 4, 4, ""},
		{"GET", "/v1/", 5, 5, ""},
		{"GET", "/V1", 5, -1, ""},
	} {
		for _, loose := range []bool{true, false} {
			want := c.exact
			if loose {
				want = c.loose
			}
			table := NewTable(routes, []string{"accounts"}, loose)
			path, ok := DecodePath(c.path)
			if !ok {
				t.Fatalf("%s is not plain", c.path)
			}
			route, object, ok := table.Find(c.method, path, c.path)
			got := refused
			if ok {
				got = -1
				for i := range routes {
					if route == &table.routes[i] {
						got = i
					}
				}
			}
			if got != want || got == 1 && object != c.object {
				t.Errorf(
					"loose %v: %s %s is decided by %d with %q, want %d with %q",
					loose,
					c.method,
					c.path,
					got,
					object,
					want,
					c.object,
				)
			}
		}
	}
}
