package catalog

import (
	"slices"
	"strings"

	"doorward/locale"
	"doorward/storage"
)

// The roles that a user may have in a workspace.
const (
	RoleViewer = "viewer" // may read
	RoleMember = "member" // may also act for themselves: own personal access tokens, consents
	RoleAdmin  = "admin"  // may also manage the workspace: API keys, apps, members below owner, usage, audit
	RoleOwner  = storage.RoleOwner
)

// Roles lists all roles, the lowest first.
var Roles = []string{RoleViewer, RoleMember, RoleAdmin, RoleOwner}

// roleNames are the names of the roles for users.
var roleNames = map[string]locale.Text{
	RoleViewer: locale.New("viewer"),
	RoleMember: locale.New("member"),
	RoleAdmin:  locale.New("admin"),
	RoleOwner:  locale.New("owner"),
}

// RoleName returns the name of a role for users, as in "the owner role". An unknown role is its own name.
func RoleName(role string) locale.Text {
	if name, known := roleNames[role]; known {
		return name
	}
	return locale.Text{Format: "%s", Args: []any{role}}
}

// AtLeast reports whether role is least or higher. The empty role is below every other.
func AtLeast(role, least string) bool {
	return slices.Index(Roles, role) >= slices.Index(Roles, least)
}

// LowerRole returns the lower of two roles; an empty one does not count.
func LowerRole(a, b string) string {
	if a == "" || b != "" && !AtLeast(b, a) {
		return b
	}
	return a
}

// RoleAllows reports whether a role allows a scope: a viewer may only read. Keys have no role; without one, every scope
// is allowed.
func RoleAllows(role, scope string) bool {
	return role != RoleViewer || scope == "read" || strings.HasSuffix(scope, ":read")
}
