package web

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"doorward/management"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/templates"
)

// membersPage serves GET /settings/workspaces/{slug}/members.
func (s *Server) membersPage(w http.ResponseWriter, r *http.Request, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace) error {
	page, err := s.settingsPage(w, r, v, templates.SectionWorkspaces)
	if err != nil {
		return err
	}
	return s.showMembers(w, r, http.StatusOK, v, by, ws, all, templates.MembersView{Page: page}, "")
}

// showMembers renders the members of a workspace; role is the one that is chosen in the form of an invitation.
func (s *Server) showMembers(w http.ResponseWriter, r *http.Request, status int, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace,
	view templates.MembersView, role string,
) error {
	ctx := storage.System(r.Context())
	view.Workspace = workspaceBar(ws, all, templates.TabMembers)
	base, after := workspacePath(ws)+"/"+templates.TabMembers, clean(r.URL.Query().Get("after"), 64)
	members, err := s.store.Members(ctx, ws.ID, after, listLength+1)
	if err != nil {
		return err
	}
	members, view.NextURL, view.PrevURL = paging(base, "", after, members, func(m storage.Member) string { return m.UserID })
	manages, makesOwners := by.May(management.MayManageMembers) == nil && !ws.Personal, by.May(management.MayManageOwners) == nil
	for _, m := range members {
		row := templates.MemberRow{ID: m.UserID, Name: m.Name, Email: m.Email, Role: m.Role, Self: m.UserID == v.user.ID, Disabled: m.Disabled, Since: m.Since.Time()}
		if manages && (m.Role != catalog.RoleOwner || makesOwners) {
			row.Roles, row.MayRemove = rolesToGive(m.Role, makesOwners), !row.Self
		}
		view.Members = append(view.Members, row)
	}
	if manages {
		view.MayInvite = true
		if role == "" {
			role = catalog.RoleMember
		}
		view.Roles = rolesToGive(role, makesOwners)
		open, err := s.store.InvitationsOf(ctx, ws.ID)
		if err != nil {
			return err
		}
		names := people{s, map[string]string{}}
		for _, i := range open {
			inviter, err := names.name(ctx, i.CreatedBy)
			if err != nil {
				return err
			}
			view.Invitations = append(view.Invitations, templates.InvitationRow{ID: i.ID, Email: i.Email, Role: i.Role, By: inviter, Expires: i.ExpiresAt.Time()})
		}
	}
	return s.render(w, r, status, view.Nonce, templates.MembersPage(view))
}

// rolesToGive are the roles that somebody may give, or all below owner.
func rolesToGive(chosen string, owners bool) (list []templates.Option) {
	for _, role := range catalog.Roles {
		if role != catalog.RoleOwner || owners {
			list = append(list, templates.Option{Value: role, Text: strings.ToUpper(role[:1]) + role[1:], Selected: role == chosen})
		}
	}
	return list
}

// memberChanged answers a change of a member: what storage refuses becomes a sentence on their list.
func (s *Server) memberChanged(w http.ResponseWriter, r *http.Request, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace, text string, err error) error {
	refuse := func(status int, message string) error {
		return s.showMembers(w, r, status, v, by, ws, all, templates.MembersView{Page: s.page(v, templates.SectionWorkspaces), Error: message}, "")
	}
	faults := fieldErrors(err)
	switch {
	case errors.Is(err, storage.ErrConflict) && ws.Personal:
		return refuse(http.StatusConflict, "Nothing was changed: a workspace that came with an account has one member.")
	case errors.Is(err, storage.ErrConflict):
		return refuse(http.StatusConflict, "Nothing was changed: a workspace keeps at least one owner. Make somebody else an owner first.")
	case faults != nil:
		return refuse(http.StatusBadRequest, faults["role"])
	case err != nil:
		return err
	}
	return s.changed(w, r, v, workspacePath(ws)+"/"+templates.TabMembers, text)
}

// changeRole serves POST …/members/{id}/role.
func (s *Server) changeRole(w http.ResponseWriter, r *http.Request, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace) error {
	role := r.PostForm.Get("role")
	err := s.management.ChangeRole(r.Context(), by, ws, r.PathValue("id"), role)
	return s.memberChanged(w, r, v, by, ws, all, "The role is changed. It counts from the next request on.", err)
}

// removeMember serves POST …/members/{id}/remove.
func (s *Server) removeMember(w http.ResponseWriter, r *http.Request, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace) error {
	id := r.PathValue("id")
	if id == v.user.ID {
		return s.leaveWorkspace(w, r, v, by, ws, all)
	}
	err := s.management.RemoveMember(r.Context(), by, ws, id)
	return s.memberChanged(w, r, v, by, ws, all, "They are no member any more. API keys and apps that they made stay.", err)
}

// invite serves POST …/invitations. The page that follows shows the link, once.
func (s *Server) invite(w http.ResponseWriter, r *http.Request, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace) error {
	email, role := r.PostForm.Get("email"), r.PostForm.Get("role")
	_, once, err := s.createOnce(storage.System(r.Context()), r, v, ws.ID, func(ctx context.Context) (x newSecret, err error) {
		var i storage.Invitation
		i, x.Secret, err = s.management.Invite(ctx, by, ws, email, role)
		x.ID = i.ID
		return x, err
	})
	if errors.Is(err, storage.ErrConflict) {
		return s.memberChanged(w, r, v, by, ws, all, "", err)
	}
	view := templates.MembersView{Page: s.page(v, templates.SectionWorkspaces)}
	if view.Errors = fieldErrors(err); view.Errors != nil {
		view.NewEmail = clean(email, 320)
		return s.showMembers(w, r, http.StatusBadRequest, v, by, ws, all, view, role)
	}
	if err != nil {
		return err
	}
	return redirect(w, workspacePath(ws)+"/"+templates.TabMembers+"/shown?view="+once)
}

// withdraw serves POST …/invitations/{id}/withdraw.
func (s *Server) withdraw(w http.ResponseWriter, r *http.Request, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace) error {
	err := s.management.DropInvitation(r.Context(), by, ws, r.PathValue("id"))
	return s.memberChanged(w, r, v, by, ws, all, "The invitation is taken back. Its link no longer works.", err)
}

// shownInvitation serves GET …/members/shown.
func (s *Server) shownInvitation(w http.ResponseWriter, r *http.Request, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace) error {
	x, err := s.takeSecret(r, v)
	if err != nil {
		return err
	}
	if x.Secret == "" {
		e := alreadyShown(workspacePath(ws)+"/"+templates.TabMembers, newSecret{})
		e.Heading, e.Message = "This link was already shown", "It is shown once. Nothing new was created. If you did not copy it, invite the person again for a new link."
		return e
	}
	i, _, err := s.management.Invitation(r.Context(), x.Secret)
	if err != nil {
		return err
	}
	view := templates.MembersView{Page: s.page(v, templates.SectionWorkspaces)}
	view.Made = &templates.MadeInvitation{Email: i.Email, URL: s.management.InvitationURL(x.Secret), Expires: i.ExpiresAt.Time()}
	return s.showMembers(w, r, http.StatusOK, v, by, ws, all, view, "")
}
