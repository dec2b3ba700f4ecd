package catalog

import (
	"slices"
	"testing"
)

// The whole matrix: what a grant, a key or a token with each scope yields under each role and each downscope.
func TestRolesAndScopes(t *testing.T) {
	r := &Resource{
		ID: "https://api.example.com", Objects: []string{"accounts"},
		Scopes: []Scope{
			{Name: "read"},
			{Name: "write"},
			{Name: "delete"},
			{Name: "admin", Implies: []string{"read", "write", "delete"}},
			{Name: "capture", UserOnly: true},
			{Name: "reports:read"},
			{Name: "reports:write"},
		},
	}
	// Without a bound by a role; for a viewer what begins with read alone is left.
	yields := map[string][]string{
		"read":             {"read"},
		"write":            {"write"},
		"delete":           {"delete"},
		"admin":            {"admin", "read", "write", "delete"},
		"capture":          {"capture"},
		"reports:read":     {"reports:read"},
		"reports:write":    {"reports:write"},
		"accounts:read":    {"accounts:read"},
		"accounts:write":   {"accounts:write"},
		"accounts:admin":   {"accounts:admin", "accounts:read", "accounts:write", "accounts:delete"},
		"accounts:capture": {"accounts:capture"},
		"reports:delete":   nil, // reports is not an object of the resource, but two scopes
		"none":             nil,
		"accounts:none":    nil,
		"introspect":       nil,
	}
	viewers := map[string][]string{
		"read":           {"read"},
		"admin":          {"read"},
		"reports:read":   {"reports:read"},
		"accounts:read":  {"accounts:read"},
		"accounts:admin": {"accounts:read"},
	}
	people := map[string]bool{"capture": true, "accounts:capture": true}
	for _, role := range append([]string{""}, Roles...) {
		for _, downscope := range append([]string{""}, Roles...) {
			effective := LowerRole(role, downscope)
			if role != "" && downscope != "" &&
				effective != Roles[min(slices.Index(Roles, role), slices.Index(Roles, downscope))] {
				t.Errorf("%s held to %s is %s", role, downscope, effective)
			}
			for scope, want := range yields {
				if effective == RoleViewer {
					want = viewers[scope]
				}
				if got := r.Effective([]string{scope}, effective, true); !slices.Equal(got, want) {
					t.Errorf("%s of a %s held to %q yields %v, want %v", scope, role, downscope, got, want)
				}
				if people[scope] {
					want = nil
				}
				if got := r.Effective([]string{scope}, effective, false); !slices.Equal(got, want) {
					t.Errorf("without a person, %s yields %v, want %v", scope, got, want)
				}
			}
		}
	}
}

func TestAnActionCoversItForEveryObject(t *testing.T) {
	for _, x := range []struct {
		have   []string
		needed string
		want   bool
	}{
		{[]string{"read"}, "read", true},
		{[]string{"read"}, "accounts:read", true},
		{[]string{"accounts:read"}, "accounts:read", true},
		{[]string{"accounts:read"}, "read", false},
		{[]string{"accounts:read"}, "reports:read", false},
		{[]string{"accounts:read"}, "accounts:write", false},
		{[]string{"write"}, "accounts:read", false},
		{nil, "read", false},
	} {
		r := Resource{Objects: []string{"accounts", "reports"}}
		if got := r.Covers(x.have, x.needed); got != x.want {
			t.Errorf("%v covers %s: %v, want %v", x.have, x.needed, got, x.want)
		}
	}
}

// TestV43_AColonMeansSomethingForDeclaredObjectsOnly: a scope is any that RFC 6749, section 3.3 allows, and
// object:action has its meaning where the object is declared and the action is one word.
func TestV43_AColonMeansSomethingForDeclaredObjectsOnly(t *testing.T) {
	r := Resource{Objects: []string{"accounts"}, Scopes: []Scope{
		{Name: "read", Implies: []string{"https://a.example/auth/list"}},
		{Name: "delete"},
		{Name: "users:delete"},
		{Name: "read:admin"},
		{Name: "meeting:read:admin"},
		{Name: "https://a.example/auth/read"},
		{Name: "https://a.example/auth/list"},
		{Name: "//a.example/x"},
		{Name: "accounts:delete:all"},
	}}
	for _, x := range r.Scopes {
		if got := r.Effective([]string{x.Name}, "", true); got[0] != x.Name || !r.Covers(got, x.Name) {
			t.Errorf("%s yields %v", x.Name, got)
		}
	}
	for _, x := range []struct {
		have, needed string
		want         bool
	}{
		{"delete", "users:delete", false},
		{"delete", "accounts:delete", true},
		{"read:admin", "meeting:read:admin", false},
		{"read:admin", "accounts:read:admin", false},
		{"delete:all", "accounts:delete:all", false},
		{"delete", "accounts:delete:all", false},
		{"//a.example/auth/read", "https://a.example/auth/read", false},
		{"read", "https://a.example/auth/list", true},
		{"accounts:read", "https://a.example/auth/list", false},
		{"", "accounts:", false},
	} {
		if got := r.Covers(r.Effective([]string{x.have}, "", true), x.needed); got != x.want {
			t.Errorf("%s covers %s: %v, want %v", x.have, x.needed, got, x.want)
		}
	}
	for _, name := range []string{"accounts:read:admin", "users:read", "https://a.example/x"} {
		if _, ok := r.Scope(name); ok {
			t.Errorf("%s is a scope", name)
		}
	}
	if got := r.Effective([]string{"meeting:read:admin", "https://a.example/auth/read", "read"}, RoleViewer,
		true); len(got) != 1 || got[0] != "read" {
		t.Errorf("a viewer may have %v", got)
	}
}
