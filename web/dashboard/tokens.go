package dashboard

import (
	"net/http"

	"doorward/locale"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// tokensBase is the path of the list of the visitor's personal access tokens.
const tokensBase = "/settings/developer/personal-access-tokens" //nolint:gosec // a path

// Own serves a page about the visitor's personal access tokens.
func (s *Keys) Own(h keyHandler) page.UserHandler {
	return func(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
		p, err := s.personal(r, v) // the tokens work in other workspaces even if it is disabled
		if err != nil {
			return err
		}
		return h(w, r, keyPlace{place: p, owner: storage.KeyOwner{UserID: v.User.ID}, base: tokensBase})
	}
}

// reachOf lists the workspaces in which a personal access token works, and its role in each. role is the maximum role
// of the token; empty: there is none.
func reachOf(all []storage.Workspace, role string) (list []templates.Reach) {
	for _, ws := range all {
		list = append(list, templates.Reach{
			Slug: ws.Slug, Name: ws.Name, Disabled: !ws.DisabledAt.IsZero(), Roles: []templates.TokenRole{
				{Effective: catalog.RoleName(catalog.LowerRole(ws.Role, role))},
			},
		})
	}
	return list
}

// reachByRole is reachOf for every maximum role that a token can have, for the page on which one is chosen.
func reachByRole(all []storage.Workspace) []templates.Reach {
	list := reachOf(all, "")
	for i := range list {
		for _, role := range catalog.Roles {
			list[i].Roles = append(list[i].Roles, templates.TokenRole{
				Token: role, Effective: catalog.RoleName(catalog.LowerRole(all[i].Role, role)),
			})
		}
	}
	return list
}

// roleHints explain the choices for the maximum role of a token.
var roleHints = map[string]locale.Text{
	"":                 locale.New("Your role in each workspace."),
	catalog.RoleViewer: locale.New("Can only view."),
	catalog.RoleMember: locale.New("Can do what members can."),
	catalog.RoleAdmin:  locale.New("Can do what admins can, but not what requires an owner."),
}

// roleOptions are the choices for the maximum role of a token. Owner is left out: it would be the same as none.
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

// roleText is a maximum role in words.
func roleText(role string) locale.Text {
	if role == "" {
		return locale.New("My own role")
	}
	return templates.RoleText(role)
}

// roleOptionsWithin are the roleOptions up to the role most; empty: all of them.
func roleOptionsWithin(chosen, most string) (list []templates.Option) {
	for _, o := range roleOptions(chosen, false) {
		if most == "" || o.Value != "" && catalog.AtLeast(most, o.Value) {
			list = append(list, o)
		}
	}
	return list
}
