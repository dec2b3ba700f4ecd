package management

import (
	"errors"
	"slices"
	"testing"

	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
)

// What each role may do in a workspace.
func TestRolesAndPermissions(t *testing.T) {
	may := map[Permission][]string{
		MaySee:             {catalog.RoleViewer, catalog.RoleMember, catalog.RoleAdmin, catalog.RoleOwner},
		MayConsent:         {catalog.RoleMember, catalog.RoleAdmin, catalog.RoleOwner},
		MayManageKeys:      {catalog.RoleAdmin, catalog.RoleOwner},
		MayManageApps:      {catalog.RoleAdmin, catalog.RoleOwner},
		MayManageMembers:   {catalog.RoleAdmin, catalog.RoleOwner},
		MaySeeUsage:        {catalog.RoleAdmin, catalog.RoleOwner},
		MayAudit:           {catalog.RoleAdmin, catalog.RoleOwner},
		MayManageOwners:    {catalog.RoleOwner},
		MayChangeWorkspace: {catalog.RoleOwner},
		MayDeleteWorkspace: {catalog.RoleOwner},
	}
	if len(may) != len(leastRole) {
		t.Errorf("%d permissions are tested, there are %d", len(may), len(leastRole))
	}
	for p, roles := range may {
		for _, role := range append([]string{"", "administrator"}, catalog.Roles...) {
			if got := RoleMay(role, p); got != slices.Contains(roles, role) {
				t.Errorf("%q may %s: %v", role, p, got)
			}
			by := Authority{Role: role}
			if err := by.May(p); (err == nil) != slices.Contains(roles, role) {
				t.Errorf("%q may %s: %v", role, p, err)
			}
			var no *Forbidden
			want := "You need the " + leastRole[p] + " role in this workspace to " + string(p) +
				". Ask an owner to change your role."
			if err := by.May(p); errors.As(err, &no) && no.Message.String() != want {
				t.Errorf("%q may not %s: %s, want %s", role, p, no.Message, want)
			}
			// A credential needs the scope admin besides.
			by.Credential = &bearer.Principal{Scopes: []string{"read", "write"}}
			if by.May(p) == nil {
				t.Errorf("%q may %s with a credential that does not administer", role, p)
			}
		}
	}
}
