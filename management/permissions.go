package management

import (
	"slices"

	"doorward/oauth/catalog"
)

// Permission is what a role allows in a workspace. Its value completes a sentence that begins with "to".
type Permission string

// The permissions.
const (
	MaySee             Permission = "see"            // the workspace's name and its members
	MayConsent         Permission = "consent"        // let an app act for the user there
	MayManageKeys      Permission = "manage keys"    // create, change and revoke API keys
	MayManageApps      Permission = "manage apps"    // create, change and delete apps
	MayManageMembers   Permission = "manage members" // members and invitations, except owners
	MaySeeUsage        Permission = "see usage"      // the usage pages
	MayAudit           Permission = "see the audit log"
	MayManageOwners    Permission = "manage owners"        // add and remove owners
	MayChangeWorkspace Permission = "change the workspace" // its name and plan
	MayDeleteWorkspace Permission = "delete the workspace" // with all that belongs to it
)

// leastRole is the lowest role that has each permission.
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

// RoleMay reports whether a role has a permission; the empty role has none.
func RoleMay(role string, p Permission) bool {
	return slices.Contains(catalog.Roles, role) && catalog.AtLeast(role, leastRole[p])
}
