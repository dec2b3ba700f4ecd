package dashboard

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"doorward/management"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// MembersPage serves GET /settings/workspaces/{slug}/members.
func (s *Workspaces) MembersPage(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace,
	all []storage.Workspace,
) error {
	head, err := s.PageWithNotice(w, r, v, templates.SectionWorkspaces)
	if err != nil {
		return err
	}
	return s.showMembers(w, r, http.StatusOK, v, by, ws, all, templates.MembersView{Page: head}, "")
}

// showMembers renders the members of a workspace; role is the one that is chosen in the form of an invitation.
func (s *Workspaces) showMembers(w http.ResponseWriter, r *http.Request, status int, v *page.Visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace,
	view templates.MembersView, role string,
) error {
	ctx := storage.System(r.Context())
	view.Workspace = workspaceBar(ws, all, templates.TabMembers)
	rows := page.ReadList(r, page.WorkspacePath(ws)+"/"+templates.TabMembers, "joined", nil,
		templates.Column{By: "name", Text: "Member"}, templates.Column{By: "role", Text: "Role", Down: true},
		templates.Column{By: "joined", Text: "Joined", Down: true}, templates.Column{Text: "Actions"})
	members, err := s.store.SortedMembers(ctx, ws.ID, rows.Order, page.ListLength+1)
	if err != nil {
		return err
	}
	members, view.NextURL, view.PrevURL = page.Paginate(&rows, members, func(m *storage.Member) string { return m.UserID })
	view.Columns = rows.Head()
	manages, makesOwners := by.May(management.MayManageMembers) == nil && !ws.Personal, by.May(management.MayManageOwners) == nil
	for _, m := range members {
		row := templates.MemberRow{
			ID: m.UserID, Name: m.Name, Email: m.Email, Role: m.Role, Self: m.UserID == v.User.ID, Disabled: m.Disabled,
			Since: m.Since.Time(),
		}
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
		names := s.NewPeople()
		for _, i := range open {
			inviter, err := names.Name(ctx, i.CreatedBy)
			if err != nil {
				return err
			}
			view.Invitations = append(view.Invitations, templates.InvitationRow{
				ID: i.ID, Email: i.Email, Role: i.Role, By: inviter, Expires: i.ExpiresAt.Time(),
			})
		}
	}
	return s.Render(w, r, status, view.Nonce, templates.MembersPage(view))
}

// rolesToGive are the roles that somebody may give, or all below owner.
func rolesToGive(chosen string, owners bool) (list []templates.Option) {
	for _, role := range catalog.Roles {
		if role != catalog.RoleOwner || owners {
			list = append(list, templates.Option{
				Value: role, Text: strings.ToUpper(role[:1]) + role[1:], Selected: role == chosen,
			})
		}
	}
	return list
}

// memberChanged answers a change of a member: what storage refuses becomes a sentence on their list.
func (s *Workspaces) memberChanged(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace,
	all []storage.Workspace, text string, err error,
) error {
	refuse := func(status int, message string) error {
		return s.showMembers(w, r, status, v, by, ws, all, templates.MembersView{
			Page: s.NewPage(v, templates.SectionWorkspaces), Error: message,
		}, "")
	}
	faults := page.FieldErrors(err)
	switch {
	case errors.Is(err, storage.ErrConflict) && ws.Personal:
		return refuse(http.StatusConflict, "Nothing was changed. A personal workspace has one member.")
	case errors.Is(err, storage.ErrConflict):
		return refuse(
			http.StatusConflict,
			"Nothing was changed. A workspace must have at least one owner. Make another member an owner first.",
		)
	case faults != nil:
		return refuse(http.StatusBadRequest, faults["role"])
	case err != nil:
		return err
	}
	return s.RedirectWithNotice(w, r, v, page.WorkspacePath(ws)+"/"+templates.TabMembers, text)
}

// ChangeRole serves POST …/members/{id}/role.
func (s *Workspaces) ChangeRole(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace,
	all []storage.Workspace,
) error {
	role := r.PostForm.Get("role")
	err := s.management.ChangeRole(r.Context(), by, ws, r.PathValue("id"), role)
	return s.memberChanged(w, r, v, by, ws, all, "The role was changed. It applies from the next request.", err)
}

// RemoveMember serves POST …/members/{id}/remove.
func (s *Workspaces) RemoveMember(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace,
	all []storage.Workspace,
) error {
	id := r.PathValue("id")
	if id == v.User.ID {
		return s.Leave(w, r, v, by, ws, all)
	}
	err := s.management.RemoveMember(r.Context(), by, ws, id)
	return s.memberChanged(w, r, v, by, ws, all, "The member was removed. API keys and apps they created remain.", err)
}

// Invite serves POST …/invitations. The page that follows shows the link, once.
func (s *Workspaces) Invite(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace,
	all []storage.Workspace,
) error {
	email, role := r.PostForm.Get("email"), r.PostForm.Get("role")
	_, once, err := s.CreateOnce(storage.System(r.Context()), r, v, ws.ID, func(ctx context.Context) (x page.OneTimeSecret, err error) {
		var i storage.Invitation
		i, x.Secret, err = s.management.Invite(ctx, by, ws, email, role)
		x.ID = i.ID
		return x, err
	})
	if errors.Is(err, storage.ErrConflict) {
		return s.memberChanged(w, r, v, by, ws, all, "", err)
	}
	view := templates.MembersView{Page: s.NewPage(v, templates.SectionWorkspaces)}
	if view.Errors = page.FieldErrors(err); view.Errors != nil {
		view.NewEmail = page.Clean(email, 320)
		return s.showMembers(w, r, http.StatusBadRequest, v, by, ws, all, view, role)
	}
	if err != nil {
		return err
	}
	return page.Redirect(w, page.WorkspacePath(ws)+"/"+templates.TabMembers+"/shown?view="+once)
}

// Withdraw serves POST …/invitations/{id}/withdraw.
func (s *Workspaces) Withdraw(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace,
	all []storage.Workspace,
) error {
	err := s.management.DropInvitation(r.Context(), by, ws, r.PathValue("id"))
	return s.memberChanged(w, r, v, by, ws, all, "The invitation was withdrawn. Its link no longer works.", err)
}

// ShownInvitation serves GET …/members/shown.
func (s *Workspaces) ShownInvitation(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace,
	all []storage.Workspace,
) error {
	x, err := s.TakeSecret(r, v)
	if err != nil {
		return err
	}
	if x.Secret == "" {
		e := page.AlreadyShown(page.WorkspacePath(ws)+"/"+templates.TabMembers, page.OneTimeSecret{})
		e.Heading, e.Message = "This link was already shown", "It is shown only once. Nothing new was created. If you did "+
			"not copy it, invite the person again to get a new link."
		return e
	}
	i, _, err := s.management.Invitation(r.Context(), x.Secret)
	if err != nil {
		return err
	}
	view := templates.MembersView{Page: s.NewPage(v, templates.SectionWorkspaces)}
	view.Made = &templates.MadeInvitation{
		Email: i.Email, URL: s.management.InvitationURL(x.Secret), Expires: i.ExpiresAt.Time(),
	}
	return s.showMembers(w, r, http.StatusOK, v, by, ws, all, view, "")
}

// ConfirmMember serves GET …/members/{id}/remove.
func (s *Workspaces) ConfirmMember(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace,
	all []storage.Workspace,
) error {
	id := r.PathValue("id")
	if id == v.User.ID {
		return page.Redirect(w, page.WorkspacePath(ws)+"/leave")
	}
	if err := by.May(management.MayManageMembers); err != nil {
		return err
	}
	return s.askMember(w, r, v, ws, all, id, false)
}

// ConfirmLeave serves GET /settings/workspaces/{slug}/leave.
func (s *Workspaces) ConfirmLeave(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, _ management.Authority, ws storage.Workspace,
	all []storage.Workspace,
) error {
	return s.askMember(w, r, v, ws, all, v.User.ID, true)
}

func (s *Workspaces) askMember(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, ws storage.Workspace, all []storage.Workspace, userID string,
	self bool,
) error {
	ctx := storage.System(r.Context())
	members, err := s.store.Members(ctx, ws.ID, "", management.MaxMembers)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(members, func(m storage.Member) bool { return m.UserID == userID })
	if i < 0 {
		return page.NotFound()
	}
	grants, err := s.store.LiveGrantsOf(ctx, userID)
	if err != nil {
		return err
	}
	apps, err := s.AppNames(ctx, slices.DeleteFunc(grants, func(g storage.Grant) bool { return g.WorkspaceID != ws.ID }))
	if err != nil {
		return err
	}
	tokens, err := s.ActiveKeyNames(ctx, storage.KeyOwner{UserID: userID}, storage.KeyFilter{})
	if err != nil {
		return err
	}
	keys, err := s.ActiveKeyNames(ctx, storage.KeyOwner{WorkspaceID: ws.ID}, storage.KeyFilter{CreatedBy: userID})
	if err != nil {
		return err
	}
	m := members[i]
	view := templates.ConfirmView{
		Page: s.NewPage(v, templates.SectionWorkspaces), Workspace: workspaceBar(ws, all, templates.TabMembers),
		Title: "Remove " + m.Email + "?", Button: "Remove member",
		CancelURL: page.WorkspacePath(ws) + "/" + templates.TabMembers,
		Stays:     "To add them again, send a new invitation. App access is not restored.",
	}
	first := m.Email + " is no longer " + aRole(m.Role) + " of " + ws.Name + "."
	if self {
		view.Title, view.Button, view.CancelURL = "Leave "+ws.Name+"?", "Leave workspace", page.WorkspacePath(ws)
		view.Workspace.Tab = templates.TabSettings
		view.Stays, first = "To come back, you need an invitation.", "You are no longer "+aRole(m.Role)+" of "+ws.Name+"."
	}
	view.Ends = page.NonEmpty(first,
		page.CountSentence(len(apps), "app loses its access here", "apps lose their access here", apps...),
		page.CountSentence(
			len(tokens), "personal access token no longer works here", "personal access tokens no longer work here", tokens...,
		),
	)
	if text := page.CountSentence(len(keys), "API key", "API keys", keys...); text != "" {
		view.Stays += " What they created remains and keeps working: " + text
	}
	return s.AskFirst(w, r, view)
}

func aRole(role string) string {
	if strings.HasPrefix(role, "a") || strings.HasPrefix(role, "o") {
		return "an " + role
	}
	return "a " + role
}

// ConfirmWithdrawal serves GET …/invitations/{id}/withdraw.
func (s *Workspaces) ConfirmWithdrawal(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace,
	all []storage.Workspace,
) error {
	if err := by.May(management.MayManageMembers); err != nil {
		return err
	}
	open, err := s.store.InvitationsOf(storage.System(r.Context()), ws.ID)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(open, func(i storage.Invitation) bool { return i.ID == r.PathValue("id") })
	if i < 0 {
		return page.NotFound()
	}
	return s.AskFirst(w, r, templates.ConfirmView{
		Page: s.NewPage(v, templates.SectionWorkspaces), Workspace: workspaceBar(ws, all, templates.TabMembers),
		Title: "Withdraw invitation for " + open[i].Email + "?", Button: "Withdraw invitation",
		CancelURL: page.WorkspacePath(ws) + "/" + templates.TabMembers,
		Ends:      []string{"The link that lets " + open[i].Email + " join as " + aRole(open[i].Role) + " stops working."},
		Stays:     "You can invite them again with a new link.",
	})
}
