package oauth

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

// AtLeast tells whether a role is another one or higher. No role is as high as none.
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

// RoleHolds tells whether a role may hold a scope: a viewer may read and no more. Without a role, as a key has none,
// every scope may be held.
func RoleHolds(role, scope string) bool {
	return role != RoleViewer || scope == "read" || strings.HasSuffix(scope, ":read")
}

// Permission is one thing that may be done in a workspace.
type Permission string

// The permissions.
const (
	MaySee             Permission = "see"              // the workspace's name and its members
	MayConsent         Permission = "consent"          // let an app act for oneself there
	MayManageKeys      Permission = "manage keys"      // make, change and revoke API keys
	MayManageApps      Permission = "manage apps"      // likewise apps
	MayManageMembers   Permission = "manage members"   // and invitations, below owner
	MaySeeUsage        Permission = "see usage"        //
	MayAudit           Permission = "audit"            // see who did what
	MayManageOwners    Permission = "manage owners"    // make and unmake owners
	MayChangeWorkspace Permission = "change workspace" // its name and plan
	MayDeleteWorkspace Permission = "delete workspace"
)

// leastRole is who may do what: this role, and all above it.
var leastRole = map[Permission]string{
	MaySee:             RoleViewer,
	MayConsent:         RoleMember,
	MayManageKeys:      RoleAdmin,
	MayManageApps:      RoleAdmin,
	MayManageMembers:   RoleAdmin,
	MaySeeUsage:        RoleAdmin,
	MayAudit:           RoleAdmin,
	MayManageOwners:    RoleOwner,
	MayChangeWorkspace: RoleOwner,
	MayDeleteWorkspace: RoleOwner,
}

// RoleMay tells whether a role has a permission; no role has none.
func RoleMay(role string, p Permission) bool {
	return slices.Contains(Roles, role) && AtLeast(role, leastRole[p])
}
