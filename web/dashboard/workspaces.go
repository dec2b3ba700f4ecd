package dashboard

import (
	"cmp"
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

// Workspaces are the pages about workspaces, their members, usage and audit logs.
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
	list, err := s.Workspaces(r.Context(), v)
	if err != nil {
		return err
	}
	for _, ws := range list {
		view.Workspaces = append(view.Workspaces, templates.WorkspaceRow{
			Slug: ws.Slug, Name: ws.Name, Role: ws.Role, Plan: ws.Plan, Personal: ws.Personal,
			Disabled: !ws.DisabledAt.IsZero(),
		})
	}
	rows := page.ReadList(r, page.WorkspacesPath, "", nil,
		templates.Column{By: "name", Text: locale.New("Workspace")},
		templates.Column{By: "role", Text: locale.New("Your role"), Down: true},
		templates.Column{By: "plan", Text: locale.New("Plan")},
	)
	sortWorkspaces(view.Workspaces, rows.Order)
	view.Columns = rows.Head()
	return s.Render(w, r, status, view.Nonce, templates.WorkspacesPage(view))
}

// sortWorkspaces sorts the visitor's workspaces. Without an order they stay as they are read: the personal one first.
func sortWorkspaces(list []templates.WorkspaceRow, o storage.Order) {
	slices.SortStableFunc(list, func(a, b templates.WorkspaceRow) int {
		if o.Descending {
			a, b = b, a
		}
		switch o.By {
		case "name":
			return cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
		case "role":
			return slices.Index(catalog.Roles, a.Role) - slices.Index(catalog.Roles, b.Role)
		case "plan":
			return cmp.Compare(a.Plan, b.Plan)
		}
		return 0
	})
}

// Create serves POST /settings/workspaces. If there is no slug, one is derived from the name.
func (s *Workspaces) Create(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	name, slug := r.PostForm.Get("name"), strings.TrimSpace(r.PostForm.Get("slug"))
	slugs := []string{slug}
	if slug == "" {
		slugs = management.SlugsFor(name)
	}
	by := management.Authority{UserID: v.User.ID, Session: true, Fresh: s.Fresh(v)}
	var created page.OneTimeSecret
	var err error
	for _, slug := range slugs {
		created, _, err = s.CreateOnce(storage.System(r.Context()), r, v, "",
			func(ctx context.Context) (page.OneTimeSecret, error) {
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
		w, r, v, page.WorkspacesPath+"/"+created.ID+"/"+templates.TabMembers,
		locale.New("The workspace was created. Invite the people you work with."),
	)
}

// SettingsPage serves GET /settings/workspaces/{slug}.
func (s *Workspaces) SettingsPage(w http.ResponseWriter, r *http.Request, p place) error {
	head, err := s.PageWithNotice(w, r, p.v, templates.SectionWorkspaces)
	if err != nil {
		return err
	}
	view := templates.WorkspaceView{Page: head, Name: p.ws.Name}
	return s.showWorkspace(w, r, http.StatusOK, p, view, p.ws.Plan)
}

// showWorkspace renders the settings of a workspace. plan is the chosen one in the form.
func (s *Workspaces) showWorkspace(
	w http.ResponseWriter, r *http.Request, status int, p place, view templates.WorkspaceView, plan string,
) error {
	view.Workspace, view.ID, view.PlanText = p.bar(templates.TabSettings), p.ws.ID, s.planOption(p.ws.Plan)
	view.MayChange, view.MayLeave = p.by.May(management.MayChangeWorkspace) == nil, !p.ws.Personal
	view.MayDelete = !p.ws.Personal && p.by.May(management.MayDeleteWorkspace) == nil
	names := append([]string{""}, s.catalog.PlanNames()...)
	if !slices.Contains(names, p.ws.Plan) {
		names = append(names, p.ws.Plan) // removed from the configuration
	}
	var no *management.Forbidden
	switch err := s.management.MaySetPlan(r.Context(), &p.by); {
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
		if view.Content, err = s.contentOf(r.Context(), &p); err != nil {
			return err
		}
	}
	return s.Render(w, r, status, view.Nonce, templates.WorkspacePage(view))
}

// contentOf counts what is deleted together with a workspace.
func (s *Workspaces) contentOf(ctx context.Context, p *place) (n templates.WorkspaceContent, err error) {
	members, err := s.store.Members(storage.System(ctx), p.ws.ID, "", management.MaxMembers)
	if err != nil {
		return n, err
	}
	n.Members = len(members)
	err = s.store.InTx(p.tenant(ctx), func(ctx context.Context) error {
		apps, err := s.store.CountClientsOfWorkspace(ctx, p.ws.ID)
		if err != nil {
			return err
		}
		keys, err := s.store.CountKeysOfWorkspace(ctx, p.ws.ID)
		n.Apps, n.Keys = int(apps), int(keys)
		return err
	})
	return n, err
}

// Update serves POST /settings/workspaces/{slug}.
func (s *Workspaces) Update(w http.ResponseWriter, r *http.Request, p place) error {
	name, plan := r.PostForm.Get("name"), p.ws.Plan
	var chosen *string
	if r.PostForm.Has("plan") {
		plan = r.PostForm.Get("plan")
		chosen = &plan
	}
	_, err := s.management.UpdateWorkspace(r.Context(), p.by, p.ws, &name, chosen)
	if faults := page.FieldErrors(err); faults != nil {
		return s.showWorkspace(w, r, http.StatusBadRequest, p,
			templates.WorkspaceView{
				Page: s.NewPage(p.v, templates.SectionWorkspaces), Name: page.Clean(name, 300), Errors: faults,
			}, plan)
	}
	if err != nil {
		return err
	}
	return s.RedirectWithNotice(w, r, p.v, p.path(templates.TabSettings), locale.New("Saved."))
}

// Leave serves POST /settings/workspaces/{slug}/leave.
func (s *Workspaces) Leave(w http.ResponseWriter, r *http.Request, p place) error {
	err := s.management.RemoveMember(r.Context(), p.by, p.ws, p.v.User.ID)
	if errors.Is(err, storage.ErrConflict) {
		return &page.Error{
			Status: http.StatusConflict, Heading: locale.New("You cannot leave this workspace"), Cause: err,
			BackURL: p.path(templates.TabSettings), BackText: locale.New("Back to the workspace"),
			Message: locale.New("A workspace must have at least one owner, and you are the only one. Make another member an " +
				"owner first, or delete the workspace."),
		}
	}
	if err != nil {
		return err
	}
	return s.RedirectWithNotice(w, r, p.v, page.WorkspacesPath, locale.New("You have left %s.", p.ws.Name))
}

// Delete serves POST /settings/workspaces/{slug}/delete. The workspace's slug must be typed to confirm.
func (s *Workspaces) Delete(w http.ResponseWriter, r *http.Request, p place) error {
	if err := p.by.May(management.MayDeleteWorkspace); err != nil {
		return err
	}
	if strings.TrimSpace(r.PostForm.Get("confirm")) != p.ws.Slug {
		return s.showWorkspace(w, r, http.StatusBadRequest, p, templates.WorkspaceView{
			Page: s.NewPage(p.v, templates.SectionWorkspaces), Name: p.ws.Name,
			Errors: map[string]locale.Text{
				"confirm": locale.New("Type the slug exactly as shown. Nothing was deleted."),
			},
		}, p.ws.Plan)
	}
	err := s.management.DeleteWorkspace(r.Context(), p.by, p.ws)
	if errors.Is(err, storage.ErrConflict) {
		return &page.Error{
			Status: http.StatusConflict, Heading: locale.New("This workspace cannot be deleted"), Cause: err,
			BackURL: p.path(templates.TabSettings), BackText: locale.New("Back to the workspace"),
			Message: locale.New("It is your personal workspace. It is deleted with your account."),
		}
	}
	if err != nil {
		return err
	}
	return s.RedirectWithNotice(w, r, p.v, page.WorkspacesPath,
		locale.New("%s and everything in it was deleted.", p.ws.Name))
}
