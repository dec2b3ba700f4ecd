package catalog

import (
	"slices"
	"strings"

	"doorward/storage"
)

// The roles that a user may have in a workspace.
const (
	RoleViewer = "viewer" // reads
	RoleMember = "member" // and acts for themselves: own personal access tokens, consents
	RoleAdmin  = "admin"  // and for the workspace: API keys, apps, members below owner, usage, audit
	RoleOwner  = storage.RoleOwner
)

// Roles are all roles, the lowest first.
var Roles = []string{RoleViewer, RoleMember, RoleAdmin, RoleOwner}

// AtLeast reports whether a role is another one or higher. The empty role is below every other.
func AtLeast(role, least string) bool {
	return slices.Index(Roles, role) >= slices.Index(Roles, least)
}

// LowerRole is the lower of two roles; an empty one bounds nothing.
func LowerRole(a, b string) string {
	if a == "" || b != "" && !AtLeast(b, a) {
		return b
	}
	return a
}

// RoleHolds reports whether a role may hold a scope: a viewer may read and no more. Without a role, as a key has none,
// every scope may be held.
func RoleHolds(role, scope string) bool {
	return role != RoleViewer || scope == "read" || strings.HasSuffix(scope, ":read")
}
