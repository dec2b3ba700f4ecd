package web

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"doorward/management"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/templates"
)

// workspacePath is where the pages about one workspace begin.
func workspacePath(ws storage.Workspace) string { return workspacesBase + "/" + ws.Slug }

// changed goes on after a change, with a sentence about it.
func (s *Server) changed(w http.ResponseWriter, r *http.Request, v *visitor, to, text string) error {
	if err := s.setNotice(w, r, v, text); err != nil {
		return err
	}
	return redirect(w, to)
}

// workspacesPage serves GET /settings/workspaces.
func (s *Server) workspacesPage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	page, err := s.settingsPage(w, r, v, templates.SectionWorkspaces)
	if err != nil {
		return err
	}
	return s.showWorkspaces(w, r, http.StatusOK, v, templates.WorkspacesView{Page: page})
}

func (s *Server) showWorkspaces(w http.ResponseWriter, r *http.Request, status int, v *visitor, view templates.WorkspacesView) error {
	list, err := s.store.WorkspacesOf(storage.System(r.Context()), v.user.ID)
	if err != nil {
		return err
	}
	for _, ws := range list {
		view.Workspaces = append(view.Workspaces, templates.WorkspaceRow{
			Slug: ws.Slug, Name: ws.Name, Role: ws.Role, Plan: ws.Plan, Personal: ws.Personal, Disabled: !ws.DisabledAt.IsZero(),
		})
	}
	return s.render(w, r, status, view.Nonce, templates.WorkspacesPage(view))
}

// createWorkspace serves POST /settings/workspaces. A slug that is left out is made from the name.
func (s *Server) createWorkspace(w http.ResponseWriter, r *http.Request, v *visitor) error {
	name, slug := r.PostForm.Get("name"), strings.TrimSpace(r.PostForm.Get("slug"))
	slugs := []string{slug}
	if slug == "" {
		slugs = management.SlugsFor(name)
	}
	by := management.Authority{UserID: v.user.ID, Session: true, Fresh: s.fresh(v)}
	var made newSecret
	var err error
	for _, slug := range slugs {
		made, _, err = s.createOnce(storage.System(r.Context()), r, v, "", func(ctx context.Context) (newSecret, error) {
			ws, err := s.management.CreateWorkspace(ctx, by, name, slug, "", v.user.ID)
			return newSecret{ID: ws.Slug}, err
		})
		if !errors.Is(err, storage.ErrExists) {
			break
		}
	}
	if faults := fieldErrors(err); faults != nil {
		return s.showWorkspaces(w, r, http.StatusBadRequest, v, templates.WorkspacesView{
			Page: s.page(v, templates.SectionWorkspaces), NewName: clean(name, 300), NewSlug: clean(slug, 100), Errors: faults,
		})
	}
	if err != nil {
		return err
	}
	return s.changed(w, r, v, workspacesBase+"/"+made.ID+"/"+templates.TabMembers, "The workspace is made. Invite those you work with.")
}

// workspacePage serves GET /settings/workspaces/{slug}.
func (s *Server) workspacePage(w http.ResponseWriter, r *http.Request, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace) error {
	page, err := s.settingsPage(w, r, v, templates.SectionWorkspaces)
	if err != nil {
		return err
	}
	return s.showWorkspace(w, r, http.StatusOK, v, by, ws, all, templates.WorkspaceView{Page: page, Name: ws.Name}, ws.Plan)
}

// showWorkspace renders the settings of a workspace; plan is the one that is chosen in the form.
func (s *Server) showWorkspace(w http.ResponseWriter, r *http.Request, status int, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace,
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
	return s.render(w, r, status, view.Nonce, templates.WorkspacePage(view))
}

// planOption is a plan of a workspace in words.
func (s *Server) planOption(name string) string {
	if name == "" {
		return "None of its own"
	}
	plan, known := s.catalog.Plan(name)
	switch {
	case !known:
		return name + " (not in the configuration, so without effect)"
	case plan == (limit.Plan{}):
		return name + " (without limits)"
	}
	return name + inBrackets(planText(plan))
}

// contentOf counts what goes with a workspace.
func (s *Server) contentOf(ctx context.Context, v *visitor, ws storage.Workspace) (n templates.WorkspaceContent, err error) {
	members, err := s.store.Members(storage.System(ctx), ws.ID, "", management.MaxMembers)
	if err != nil {
		return n, err
	}
	n.Members = len(members)
	err = s.store.InTx(storage.Tenant(ctx, v.user.ID, ws.ID), func(ctx context.Context) error {
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

// updateWorkspace serves POST /settings/workspaces/{slug}.
func (s *Server) updateWorkspace(w http.ResponseWriter, r *http.Request, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace) error {
	name, plan := r.PostForm.Get("name"), ws.Plan
	var chosen *string
	if r.PostForm.Has("plan") {
		plan = r.PostForm.Get("plan")
		chosen = &plan
	}
	_, err := s.management.UpdateWorkspace(r.Context(), by, ws, &name, chosen)
	if faults := fieldErrors(err); faults != nil {
		return s.showWorkspace(w, r, http.StatusBadRequest, v, by, ws, all,
			templates.WorkspaceView{Page: s.page(v, templates.SectionWorkspaces), Name: clean(name, 300), Errors: faults}, plan)
	}
	if err != nil {
		return err
	}
	return s.changed(w, r, v, workspacePath(ws), "Saved.")
}

// leaveWorkspace serves POST /settings/workspaces/{slug}/leave.
func (s *Server) leaveWorkspace(w http.ResponseWriter, r *http.Request, v *visitor, by management.Authority, ws storage.Workspace, _ []storage.Workspace) error {
	err := s.management.RemoveMember(r.Context(), by, ws, v.user.ID)
	if errors.Is(err, storage.ErrConflict) {
		return &pageError{
			Status: http.StatusConflict, Heading: "You cannot leave this workspace", Cause: err, BackURL: workspacePath(ws), BackText: "Go back to the workspace",
			Message: "A workspace keeps at least one owner, and you are its last. Make somebody else an owner first, or delete the workspace.",
		}
	}
	if err != nil {
		return err
	}
	return s.changed(w, r, v, workspacesBase, "You have left "+ws.Name+".")
}

// deleteWorkspace serves POST /settings/workspaces/{slug}/delete. The workspace's slug must be typed.
func (s *Server) deleteWorkspace(w http.ResponseWriter, r *http.Request, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace) error {
	if err := by.May(management.MayDeleteWorkspace); err != nil {
		return err
	}
	if strings.TrimSpace(r.PostForm.Get("confirm")) != ws.Slug {
		return s.showWorkspace(w, r, http.StatusBadRequest, v, by, ws, all, templates.WorkspaceView{
			Page: s.page(v, templates.SectionWorkspaces), Name: ws.Name,
			Errors: map[string]string{"confirm": "Type the slug exactly as it is shown. Nothing was deleted."},
		}, ws.Plan)
	}
	err := s.management.DeleteWorkspace(r.Context(), by, ws)
	if errors.Is(err, storage.ErrConflict) {
		return &pageError{
			Status: http.StatusConflict, Heading: "This workspace cannot be deleted", Cause: err, BackURL: workspacePath(ws), BackText: "Go back to the workspace",
			Message: "It came with your account, and goes with it.",
		}
	}
	if err != nil {
		return err
	}
	return s.changed(w, r, v, workspacesBase, ws.Name+" is deleted, and all that belonged to it.")
}

// adminWorkspacesPage serves GET /admin/workspaces: what there is, and nothing of what is in it.
func (s *Server) adminWorkspacesPage(w http.ResponseWriter, r *http.Request, v *visitor) error {
	page, err := s.settingsPage(w, r, v, templates.SectionAdminWorkspaces)
	if err != nil {
		return err
	}
	query, after := clean(r.URL.Query().Get("q"), 200), clean(r.URL.Query().Get("after"), 64)
	list, err := s.store.SearchWorkspaces(storage.System(r.Context()), query, after, listLength+1)
	if err != nil {
		return err
	}
	view := templates.AdminWorkspacesView{Page: page, Query: query, Plans: s.catalog.PlanNames()}
	list, view.NextURL, view.PrevURL = paging("/admin/workspaces", query, after, list, func(ws storage.ListedWorkspace) string { return ws.ID })
	for _, ws := range list {
		view.Workspaces = append(view.Workspaces, templates.AdminWorkspace{
			ID: ws.ID, Slug: ws.Slug, Name: ws.Name, Plan: ws.Plan, Members: int(ws.Members), Personal: ws.Personal,
			Disabled: !ws.DisabledAt.IsZero(), Created: ws.CreatedAt.Time(),
		})
	}
	return s.render(w, r, http.StatusOK, view.Nonce, templates.AdminWorkspacesPage(view))
}

// switchWorkspace serves POST /admin/workspaces/{id}/disable and …/enable.
func (s *Server) switchWorkspace(w http.ResponseWriter, r *http.Request, v *visitor) error {
	ws, err := s.store.WorkspaceByID(storage.System(r.Context()), r.PathValue("id"))
	if err != nil {
		return err
	}
	change, text := s.management.EnableWorkspace, ws.Name+" works again."
	if strings.HasSuffix(r.URL.Path, "/disable") {
		change, text = s.management.DisableWorkspace, ws.Name+" is disabled. Nothing that acts in it works."
	}
	if err := change(r.Context(), s.administrator(v), ws); errors.Is(err, storage.ErrConflict) {
		return &pageError{
			Status: http.StatusConflict, Heading: "Nothing was changed", Cause: err, BackURL: "/admin/workspaces", BackText: "Go back to the workspaces",
			Message: "This is the personal workspace of a disabled user. It works again when the user is enabled.",
		}
	} else if err != nil {
		return err
	}
	return s.changed(w, r, v, "/admin/workspaces", text)
}

// planWorkspace serves POST /admin/workspaces/{id}/plan.
func (s *Server) planWorkspace(w http.ResponseWriter, r *http.Request, v *visitor) error {
	ws, err := s.store.WorkspaceByID(storage.System(r.Context()), r.PathValue("id"))
	if err != nil {
		return err
	}
	plan := r.PostForm.Get("plan")
	_, err = s.management.UpdateWorkspace(r.Context(), s.administrator(v), ws, nil, &plan)
	if faults := fieldErrors(err); faults != nil {
		return &pageError{Status: http.StatusBadRequest, Heading: "Nothing was changed", Message: "The plan " + faults["plan"] + ".", Cause: err, BackURL: "/admin/workspaces", BackText: "Go back to the workspaces"}
	}
	if err != nil {
		return err
	}
	return s.changed(w, r, v, "/admin/workspaces", ws.Name+" has another plan now.")
}
