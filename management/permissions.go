package management

import (
	"slices"

	"doorward/locale"
	"doorward/oauth/catalog"
)

// Permission is what a role allows in a workspace. Its value is what it allows, in English.
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

// lacks says, for each permission, what a user without it can do.
var lacks = map[Permission]locale.Text{
	MaySee: locale.New("You need the viewer role in this workspace to see. Ask an owner to change your role."),
	MayConsent: locale.New(
		"You need the member role in this workspace to consent. Ask an owner to change your role.",
	),
	MayManageKeys: locale.New(
		"You need the admin role in this workspace to manage keys. Ask an owner to change your role.",
	),
	MayManageApps: locale.New(
		"You need the admin role in this workspace to manage apps. Ask an owner to change your role.",
	),
	MayManageMembers: locale.New(
		"You need the admin role in this workspace to manage members. Ask an owner to change your role.",
	),
	MaySeeUsage: locale.New(
		"You need the admin role in this workspace to see usage. Ask an owner to change your role.",
	),
	MayAudit: locale.New(
		"You need the admin role in this workspace to see the audit log. Ask an owner to change your role.",
	),
	MayManageOwners: locale.New(
		"You need the owner role in this workspace to manage owners. Ask an owner to change your role.",
	),
	MayChangeWorkspace: locale.New(
		"You need the owner role in this workspace to change the workspace. Ask an owner to change your role.",
	),
	MayDeleteWorkspace: locale.New(
		"You need the owner role in this workspace to delete the workspace. Ask an owner to change your role.",
	),
}

// RoleMay reports whether a role has a permission; the empty role has none.
func RoleMay(role string, p Permission) bool {
	return slices.Contains(catalog.Roles, role) && catalog.AtLeast(role, leastRole[p])
}
