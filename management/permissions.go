package management

import (
	"slices"

	"doorward/oauth/catalog"
)

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
	MaySee:             catalog.RoleViewer,
	MayConsent:         catalog.RoleMember,
	MayManageKeys:      catalog.RoleAdmin,
	MayManageApps:      catalog.RoleAdmin,
	MayManageMembers:   catalog.RoleAdmin,
	MaySeeUsage:        catalog.RoleAdmin,
	MayAudit:           catalog.RoleAdmin,
	MayManageOwners:    catalog.RoleOwner,
	MayChangeWorkspace: catalog.RoleOwner,
	MayDeleteWorkspace: catalog.RoleOwner,
}

// RoleMay reports whether a role has a permission; no role has none.
func RoleMay(role string, p Permission) bool {
	return slices.Contains(catalog.Roles, role) && catalog.AtLeast(role, leastRole[p])
}
