package dashboard

import (
	"errors"
	"net/http"
	"strings"

	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// tokensBase is where a person's own personal access tokens are.
const tokensBase = "/settings/developer/personal-access-tokens" //nolint:gosec // a path

// Own serves h to the visitor, about their own personal access tokens.
func (s *Keys) Own(h keyHandler) page.UserHandler {
	return func(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
		by, ws, all, err := s.management.PersonAuthority(r.Context(), v.User.ID, "")
		if err != nil && !errors.Is(err, bearer.ErrSuspended) { // the tokens work in other workspaces
			return err
		}
		by.Fresh = s.Fresh(v)
		return h(w, r, keyPlace{v: v, by: by, ws: ws, all: all, owner: storage.KeyOwner{UserID: v.User.ID}, base: tokensBase})
	}
}

// reach is in which workspaces a personal access token that is held to a role works, and as what.
func reach(all []storage.Workspace, role string) (list []templates.Reach) {
	for _, ws := range all {
		list = append(list, templates.Reach{
			Slug: ws.Slug, Name: ws.Name, Disabled: !ws.DisabledAt.IsZero(), As: []templates.RoleAs{
				{Effective: catalog.LowerRole(ws.Role, role)},
			},
		})
	}
	return list
}

// reaches is reach for every role that a token may be held to, for a page on which one is chosen.
func reaches(all []storage.Workspace) []templates.Reach {
	list := reach(all, "")
	for i := range list {
		for _, role := range catalog.Roles {
			list[i].As = append(list[i].As, templates.RoleAs{Token: role, Effective: catalog.LowerRole(all[i].Role, role)})
		}
	}
	return list
}

// roleHints say what a token that is held to a role may do.
var roleHints = map[string]string{
	"":                 "Your role in each workspace.",
	catalog.RoleViewer: "Can only view.",
	catalog.RoleMember: "Can do what members can.",
	catalog.RoleAdmin:  "Can do what admins can, but not what requires an owner.",
}

// roleOptions are what a token may be held to. Held to owner it would be what it is without.
func roleOptions(chosen string, hints bool) (list []templates.Option) {
	for _, role := range []string{"", catalog.RoleViewer, catalog.RoleMember, catalog.RoleAdmin} {
		o := templates.Option{Value: role, Text: roleText(role), Selected: role == chosen}
		if hints {
			o.Hint = roleHints[role]
		}
		list = append(list, o)
	}
	return list
}

func roleText(role string) string {
	if role == "" {
		return "My own role"
	}
	return strings.ToUpper(role[:1]) + role[1:]
}

// roleOptionsWithin are those of roleOptions that are not above a bound.
func roleOptionsWithin(chosen, most string) (list []templates.Option) {
	for _, o := range roleOptions(chosen, false) {
		if most == "" || o.Value != "" && catalog.AtLeast(most, o.Value) {
			list = append(list, o)
		}
	}
	return list
}
