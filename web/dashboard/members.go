package dashboard

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// MembersPage serves GET /settings/workspaces/{slug}/members.
func (s *Workspaces) MembersPage(w http.ResponseWriter, r *http.Request, p place) error {
	head, err := s.PageWithNotice(w, r, p.v, templates.SectionWorkspaces)
	if err != nil {
		return err
	}
	return s.showMembers(w, r, http.StatusOK, p, templates.MembersView{Page: head}, "")
}

// showMembers renders the members of a workspace. role is the chosen one in the invitation form; empty: member.
func (s *Workspaces) showMembers(
	w http.ResponseWriter, r *http.Request, status int, p place, view templates.MembersView, role string,
) error {
	ctx := storage.System(r.Context())
	view.Workspace = p.bar(templates.TabMembers)
	rows := page.ReadList(r, p.path(templates.TabMembers), "joined", nil,
		templates.Column{By: "name", Text: locale.New("Member")},
		templates.Column{By: "role", Text: locale.New("Role"), Down: true},
		templates.Column{By: "joined", Text: locale.New("Joined"), Down: true},
		templates.Column{Text: locale.New("Actions")},
	)
	members, err := s.store.SortedMembers(ctx, p.ws.ID, rows.Order, page.ListLength+1)
	if err != nil {
		return err
	}
	members, view.NextURL, view.PrevURL = page.Paginate(&rows, members, func(m *storage.Member) string { return m.UserID })
	view.Columns = rows.Head()
	manages := p.by.May(management.MayManageMembers) == nil && !p.ws.Personal
	makesOwners := p.by.May(management.MayManageOwners) == nil
	for _, m := range members {
		row := templates.MemberRow{
			ID: m.UserID, Name: m.Name, Email: m.Email, Role: m.Role, Self: m.UserID == p.v.User.ID, Disabled: m.Disabled,
			Since: m.Since.Time(),
		}
		if manages && (m.Role != catalog.RoleOwner || makesOwners) {
			row.Roles, row.MayRemove = rolesToGive(m.Role, makesOwners), !row.Self
		}
		view.Members = append(view.Members, row)
	}
	if manages {
		view.MayInvite, view.ByEmail = true, s.management.SendsEmail()
		if role == "" {
			role = catalog.RoleMember
		}
		view.Roles = rolesToGive(role, makesOwners)
		open, err := s.store.InvitationsOf(ctx, p.ws.ID)
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

// rolesToGive are the choices for a member's role: all, or all below owner.
func rolesToGive(chosen string, owners bool) (list []templates.Option) {
	for _, role := range catalog.Roles {
		if role != catalog.RoleOwner || owners {
			list = append(list, templates.Option{Value: role, Text: templates.RoleText(role), Selected: role == chosen})
		}
	}
	return list
}

// memberChanged answers the request to change a member: with the list of members, which says what is wrong if err is
// set.
func (s *Workspaces) memberChanged(w http.ResponseWriter, r *http.Request, p place, text locale.Text, err error) error {
	refuse := func(status int, message locale.Text) error {
		return s.showMembers(w, r, status, p, templates.MembersView{
			Page: s.NewPage(p.v, templates.SectionWorkspaces), Error: message,
		}, "")
	}
	faults := page.FieldErrors(err)
	switch {
	case errors.Is(err, storage.ErrConflict) && p.ws.Personal:
		return refuse(http.StatusConflict, locale.New("Nothing was changed. A personal workspace has one member."))
	case errors.Is(err, storage.ErrConflict):
		return refuse(http.StatusConflict, locale.New("Nothing was changed. A workspace must have at least one owner. Make "+
			"another member an owner first."))
	case faults != nil:
		return refuse(http.StatusBadRequest, faults["role"])
	case err != nil:
		return err
	}
	return s.RedirectWithNotice(w, r, p.v, p.path(templates.TabMembers), text)
}

// ChangeRole serves POST …/members/{id}/role.
func (s *Workspaces) ChangeRole(w http.ResponseWriter, r *http.Request, p place) error {
	role := r.PostForm.Get("role")
	err := s.management.ChangeRole(r.Context(), p.by, p.ws, r.PathValue("id"), role)
	return s.memberChanged(w, r, p, locale.New("The role was changed. It applies from the next request."), err)
}

// RemoveMember serves POST …/members/{id}/remove.
func (s *Workspaces) RemoveMember(w http.ResponseWriter, r *http.Request, p place) error {
	id := r.PathValue("id")
	if id == p.v.User.ID {
		return s.Leave(w, r, p)
	}
	err := s.management.RemoveMember(r.Context(), p.by, p.ws, id)
	return s.memberChanged(w, r, p, locale.New("The member was removed. API keys and apps they created remain."), err)
}

// Invite serves POST …/invitations. It redirects to a page that shows the link, once, unless
// the invitation is sent by email.
func (s *Workspaces) Invite(w http.ResponseWriter, r *http.Request, p place) error {
	email, role := r.PostForm.Get("email"), r.PostForm.Get("role")
	_, once, err := s.CreateOnce(storage.System(r.Context()), r, p.v, p.ws.ID,
		func(ctx context.Context) (x page.OneTimeSecret, err error) {
			var i storage.Invitation
			i, x.Secret, err = s.management.Invite(ctx, p.by, p.ws, email, role)
			x.ID = i.ID
			if s.management.SendsEmail() {
				x.Secret = "" // only who reads the email may have it
			}
			return x, err
		})
	if errors.Is(err, storage.ErrConflict) {
		return s.memberChanged(w, r, p, locale.Text{}, err)
	}
	view := templates.MembersView{Page: s.NewPage(p.v, templates.SectionWorkspaces)}
	if view.Errors = page.FieldErrors(err); view.Errors != nil {
		view.NewEmail = page.Clean(email, 320)
		return s.showMembers(w, r, http.StatusBadRequest, p, view, role)
	}
	if err != nil {
		return err
	}
	if s.management.SendsEmail() {
		return s.RedirectWithNotice(w, r, p.v, p.path(templates.TabMembers),
			locale.New("The invitation is on its way to %s.", strings.TrimSpace(email)))
	}
	return page.Redirect(w, p.path(templates.TabMembers)+"/shown?view="+once)
}

// Withdraw serves POST …/invitations/{id}/withdraw.
func (s *Workspaces) Withdraw(w http.ResponseWriter, r *http.Request, p place) error {
	err := s.management.DropInvitation(r.Context(), p.by, p.ws, r.PathValue("id"))
	return s.memberChanged(w, r, p, locale.New("The invitation was revoked. Its link no longer works."), err)
}

// ShownInvitation serves GET …/members/shown: the link of a new invitation, once.
func (s *Workspaces) ShownInvitation(w http.ResponseWriter, r *http.Request, p place) error {
	x, err := s.TakeSecret(r, p.v)
	if err != nil {
		return err
	}
	if x.Secret == "" {
		e := page.AlreadyShown(p.path(templates.TabMembers), page.OneTimeSecret{})
		e.Heading = locale.New("This link was already shown")
		e.Message = locale.New("It is shown only once. Nothing new was created. If you did not copy it, invite the person " +
			"again to get a new link.")
		return e
	}
	i, _, err := s.management.Invitation(r.Context(), x.Secret)
	if err != nil {
		return err
	}
	view := templates.MembersView{Page: s.NewPage(p.v, templates.SectionWorkspaces)}
	view.Created = &templates.CreatedInvitation{
		Email: i.Email, URL: s.management.InvitationURL(x.Secret), Expires: i.ExpiresAt.Time(),
	}
	return s.showMembers(w, r, http.StatusOK, p, view, "")
}

// ConfirmMember serves GET …/members/{id}/remove.
func (s *Workspaces) ConfirmMember(w http.ResponseWriter, r *http.Request, p place) error {
	id := r.PathValue("id")
	if id == p.v.User.ID {
		return page.Redirect(w, p.path(templates.TabSettings)+"/leave")
	}
	if err := p.by.May(management.MayManageMembers); err != nil {
		return err
	}
	return s.askMember(w, r, p, id, false)
}

// ConfirmLeave serves GET /settings/workspaces/{slug}/leave.
func (s *Workspaces) ConfirmLeave(w http.ResponseWriter, r *http.Request, p place) error {
	return s.askMember(w, r, p, p.v.User.ID, true)
}

// askMember asks for confirmation before a member is removed, or, with self, before the visitor leaves.
func (s *Workspaces) askMember(w http.ResponseWriter, r *http.Request, p place, userID string, self bool) error {
	v, ws := p.v, p.ws
	ctx := storage.System(r.Context())
	members, err := s.store.Members(ctx, ws.ID, "", management.MaxMembers)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(members, func(m storage.Member) bool { return m.UserID == userID })
	if i < 0 {
		return page.NotFound()
	}
	apps, err := s.AppNames(ctx, userID, ws.ID)
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
	m, role := members[i], templates.RoleWithArticle(members[i].Role)
	view := templates.ConfirmView{
		Page: s.NewPage(v, templates.SectionWorkspaces), Workspace: p.bar(templates.TabMembers),
		Title: locale.New("Remove %s?", m.Email), Button: locale.New("Remove member"),
		CancelURL: p.path(templates.TabMembers),
		Stays:     locale.New("To add them again, send a new invitation. App access is not restored."),
	}
	first := locale.New("%s is no longer %s of %s.", m.Email, role, ws.Name)
	kept := locale.New("%d API keys they created keep working: %s.", len(keys), page.Listed(keys))
	if self {
		view.Title, view.Button = locale.New("Leave %s?", ws.Name), locale.New("Leave workspace")
		view.CancelURL, view.Workspace.Tab = page.WorkspacePath(ws), templates.TabSettings
		view.Stays = locale.New("To come back, you need an invitation.")
		first = locale.New("You are no longer %s of %s.", role, ws.Name)
		kept = locale.New("%d API keys you created keep working: %s.", len(keys), page.Listed(keys))
	}
	view.Ends = page.NonEmpty(
		first,
		ifAny(len(apps), locale.New("%d apps lose their access here: %s.", len(apps), page.Listed(apps))),
		ifAny(len(tokens), locale.New("%d personal access tokens no longer work here: %s.", len(tokens),
			page.Listed(tokens))),
	)
	view.Stays = page.Sentences(view.Stays, ifAny(len(keys), kept))
	return s.AskFirst(w, r, view)
}

// ConfirmWithdrawal serves GET …/invitations/{id}/withdraw.
func (s *Workspaces) ConfirmWithdrawal(w http.ResponseWriter, r *http.Request, p place) error {
	if err := p.by.May(management.MayManageMembers); err != nil {
		return err
	}
	open, err := s.store.InvitationsOf(storage.System(r.Context()), p.ws.ID)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(open, func(i storage.Invitation) bool { return i.ID == r.PathValue("id") })
	if i < 0 {
		return page.NotFound()
	}
	return s.AskFirst(w, r, templates.ConfirmView{
		Page: s.NewPage(p.v, templates.SectionWorkspaces), Workspace: p.bar(templates.TabMembers),
		Title: locale.New("Revoke invitation for %s?", open[i].Email), Button: locale.New("Revoke invitation"),
		CancelURL: p.path(templates.TabMembers),
		Ends: []locale.Text{
			locale.New("The link that lets %s join as %s stops working.", open[i].Email,
				templates.RoleWithArticle(open[i].Role)),
		},
		Stays: locale.New("You can invite them again with a new link."),
	})
}
