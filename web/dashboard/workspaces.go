package dashboard

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"doorward/management"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// Workspaces are the pages about workspaces, their members, usage and audit log.
type Workspaces struct{ *base }

// ListPage serves GET /settings/workspaces.
func (s *Workspaces) ListPage(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	head, err := s.PageWithNotice(w, r, v, templates.SectionWorkspaces)
	if err != nil {
		return err
	}
	return s.showWorkspaces(w, r, http.StatusOK, v, templates.WorkspacesView{Page: head})
}

func (s *Workspaces) showWorkspaces(
	w http.ResponseWriter, r *http.Request, status int, v *page.Visitor, view templates.WorkspacesView,
) error {
	list, err := s.store.WorkspacesOf(storage.System(r.Context()), v.User.ID)
	if err != nil {
		return err
	}
	for _, ws := range list {
		view.Workspaces = append(view.Workspaces, templates.WorkspaceRow{
			Slug: ws.Slug, Name: ws.Name, Role: ws.Role, Plan: ws.Plan, Personal: ws.Personal, Disabled: !ws.DisabledAt.IsZero(),
		})
	}
	return s.Render(w, r, status, view.Nonce, templates.WorkspacesPage(view))
}

// Create serves POST /settings/workspaces. A slug that is left out is made from the name.
func (s *Workspaces) Create(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	name, slug := r.PostForm.Get("name"), strings.TrimSpace(r.PostForm.Get("slug"))
	slugs := []string{slug}
	if slug == "" {
		slugs = management.SlugsFor(name)
	}
	by := management.Authority{UserID: v.User.ID, Session: true, Fresh: s.Fresh(v)}
	var made page.OneTimeSecret
	var err error
	for _, slug := range slugs {
		made, _, err = s.CreateOnce(storage.System(r.Context()), r, v, "", func(ctx context.Context) (page.OneTimeSecret, error) {
			ws, err := s.management.CreateWorkspace(ctx, by, name, slug, "", v.User.ID)
			return page.OneTimeSecret{ID: ws.Slug}, err
		})
		if !errors.Is(err, storage.ErrExists) {
			break
		}
	}
	if faults := page.FieldErrors(err); faults != nil {
		return s.showWorkspaces(w, r, http.StatusBadRequest, v, templates.WorkspacesView{
			Page: s.NewPage(v, templates.SectionWorkspaces), NewName: page.Clean(name, 300), NewSlug: page.Clean(slug, 100),
			Errors: faults,
		})
	}
	if err != nil {
		return err
	}
	return s.RedirectWithNotice(
		w, r, v, page.WorkspacesPath+"/"+made.ID+"/"+templates.TabMembers,
		"The workspace was created. Invite the people you work with.",
	)
}

// SettingsPage serves GET /settings/workspaces/{slug}.
func (s *Workspaces) SettingsPage(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace,
	all []storage.Workspace,
) error {
	head, err := s.PageWithNotice(w, r, v, templates.SectionWorkspaces)
	if err != nil {
		return err
	}
	return s.showWorkspace(
		w, r, http.StatusOK, v, by, ws, all, templates.WorkspaceView{Page: head, Name: ws.Name}, ws.Plan,
	)
}

// showWorkspace renders the settings of a workspace; plan is the one that is chosen in the form.
func (s *Workspaces) showWorkspace(w http.ResponseWriter, r *http.Request, status int, v *page.Visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace,
	view templates.WorkspaceView, plan string,
) error {
	view.Workspace, view.ID, view.PlanText = workspaceBar(ws, all, templates.TabSettings), ws.ID, s.planOption(ws.Plan)
	view.MayChange, view.MayLeave = by.May(management.MayChangeWorkspace) == nil, !ws.Personal
	view.MayDelete = !ws.Personal && by.May(management.MayDeleteWorkspace) == nil
	names := append([]string{""}, s.catalog.PlanNames()...)
	if !slices.Contains(names, ws.Plan) {
		names = append(names, ws.Plan) // no longer in the configuration
	}
	var no *management.Forbidden
	switch err := s.management.MaySetPlan(r.Context(), &by); {
	case errors.As(err, &no):
		names = nil
	case err != nil:
		return err
	}
	for _, name := range names {
		view.Plans = append(view.Plans, templates.Option{Value: name, Text: s.planOption(name), Selected: name == plan})
	}
	if view.MayDelete {
		var err error
		if view.Goes, err = s.contentOf(r.Context(), v, ws); err != nil {
			return err
		}
	}
	return s.Render(w, r, status, view.Nonce, templates.WorkspacePage(view))
}

// contentOf counts what goes with a workspace.
func (s *Workspaces) contentOf(
	ctx context.Context, v *page.Visitor, ws storage.Workspace,
) (n templates.WorkspaceContent, err error) {
	members, err := s.store.Members(storage.System(ctx), ws.ID, "", management.MaxMembers)
	if err != nil {
		return n, err
	}
	n.Members = len(members)
	err = s.store.InTx(storage.Tenant(ctx, v.User.ID, ws.ID), func(ctx context.Context) error {
		apps, err := s.store.CountClientsOfWorkspace(ctx, ws.ID)
		if err != nil {
			return err
		}
		keys, err := s.store.CountKeysOfWorkspace(ctx, ws.ID)
		n.Apps, n.Keys = int(apps), int(keys)
		return err
	})
	return n, err
}

// Update serves POST /settings/workspaces/{slug}.
func (s *Workspaces) Update(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace,
	all []storage.Workspace,
) error {
	name, plan := r.PostForm.Get("name"), ws.Plan
	var chosen *string
	if r.PostForm.Has("plan") {
		plan = r.PostForm.Get("plan")
		chosen = &plan
	}
	_, err := s.management.UpdateWorkspace(r.Context(), by, ws, &name, chosen)
	if faults := page.FieldErrors(err); faults != nil {
		return s.showWorkspace(w, r, http.StatusBadRequest, v, by, ws, all,
			templates.WorkspaceView{
				Page: s.NewPage(v, templates.SectionWorkspaces), Name: page.Clean(name, 300), Errors: faults,
			}, plan)
	}
	if err != nil {
		return err
	}
	return s.RedirectWithNotice(w, r, v, page.WorkspacePath(ws), "Saved.")
}

// Leave serves POST /settings/workspaces/{slug}/leave.
func (s *Workspaces) Leave(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace,
	_ []storage.Workspace,
) error {
	err := s.management.RemoveMember(r.Context(), by, ws, v.User.ID)
	if errors.Is(err, storage.ErrConflict) {
		return &page.Error{
			Status: http.StatusConflict, Heading: "You cannot leave this workspace", Cause: err,
			BackURL: page.WorkspacePath(ws), BackText: "Back to the workspace",
			Message: "A workspace must have at least one owner, and you are the only one. Make another member an owner first, " +
				"or delete the workspace.",
		}
	}
	if err != nil {
		return err
	}
	return s.RedirectWithNotice(w, r, v, page.WorkspacesPath, "You have left "+ws.Name+".")
}

// Delete serves POST /settings/workspaces/{slug}/delete. The workspace's slug must be typed.
func (s *Workspaces) Delete(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace,
	all []storage.Workspace,
) error {
	if err := by.May(management.MayDeleteWorkspace); err != nil {
		return err
	}
	if strings.TrimSpace(r.PostForm.Get("confirm")) != ws.Slug {
		return s.showWorkspace(w, r, http.StatusBadRequest, v, by, ws, all, templates.WorkspaceView{
			Page: s.NewPage(v, templates.SectionWorkspaces), Name: ws.Name,
			Errors: map[string]string{"confirm": "Type the slug exactly as shown. Nothing was deleted."},
		}, ws.Plan)
	}
	err := s.management.DeleteWorkspace(r.Context(), by, ws)
	if errors.Is(err, storage.ErrConflict) {
		return &page.Error{
			Status: http.StatusConflict, Heading: "This workspace cannot be deleted", Cause: err,
			BackURL: page.WorkspacePath(ws), BackText: "Back to the workspace",
			Message: "It is your personal workspace. It is deleted with your account.",
		}
	}
	if err != nil {
		return err
	}
	return s.RedirectWithNotice(w, r, v, page.WorkspacesPath, ws.Name+" and everything in it was deleted.")
}
