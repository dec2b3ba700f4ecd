package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"doorward/locale"
	"doorward/management"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// workspaceEnds says what stops working when a workspace is disabled, for the end of a sentence.
func (s *Handlers) workspaceEnds(ctx context.Context, ws storage.Workspace) (locale.Text, error) {
	keys, err := s.ActiveKeyNames(ctx, storage.KeyOwner{WorkspaceID: ws.ID}, storage.KeyFilter{})
	if err != nil {
		return locale.Text{}, err
	}
	apps, err := s.store.ClientsOfWorkspace(ctx, ws.ID)
	if err != nil {
		return locale.Text{}, err
	}
	names := make([]string, len(apps))
	for i, c := range apps {
		names[i] = c.Name
	}
	text := page.Sentences(
		ifAny(len(keys), locale.New("%d API keys: %s.", len(keys), page.Listed(keys))),
		ifAny(len(apps), locale.New("%d apps: %s.", len(apps), page.Listed(names))),
	)
	if text.IsZero() {
		text = locale.New("it has no API keys or apps.")
	}
	return text, nil
}

// ConfirmDisableWorkspace serves GET /admin/workspaces/{id}/disable.
func (s *Handlers) ConfirmDisableWorkspace(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	ctx := storage.System(r.Context())
	ws, err := s.store.WorkspaceByID(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	text, err := s.workspaceEnds(ctx, ws)
	if err != nil {
		return err
	}
	members, err := s.store.Members(ctx, ws.ID, "", management.MaxMembers)
	if err != nil {
		return err
	}
	return s.AskFirst(w, r, templates.ConfirmView{
		Page: s.NewPage(v, templates.SectionAdminWorkspaces), Title: locale.New("Disable %s?", ws.Name),
		Button: locale.New("Disable the workspace"), CancelURL: "/admin/workspaces",
		Ends: page.NonEmpty(
			locale.New("Everything in the workspace stops working: %s", text),
			ifAny(len(members), locale.New("%d members lose access.", len(members))),
		),
		Stays: locale.New("Nothing is deleted. Credentials that have not expired work again when you enable the workspace."),
	})
}

// WorkspacesPage serves GET /admin/workspaces: the list of workspaces, without their contents.
func (s *Handlers) WorkspacesPage(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	head, err := s.PageWithNotice(w, r, v, templates.SectionAdminWorkspaces)
	if err != nil {
		return err
	}
	query := page.Clean(r.URL.Query().Get("q"), 200)
	rows := page.ReadList(r, "/admin/workspaces", "created", url.Values{"q": {query}},
		templates.Column{By: "name", Text: locale.New("Workspace")},
		templates.Column{By: "members", Text: locale.New("Members"), Down: true},
		templates.Column{By: "created", Text: locale.New("Created"), Down: true},
		templates.Column{Text: locale.New("Actions")},
	)
	list, err := s.store.SortedWorkspaces(storage.System(r.Context()), query, rows.Order, page.ListLength+1)
	if err != nil {
		return err
	}
	view := templates.AdminWorkspacesView{Page: head, Query: query, Plans: s.catalog.PlanNames()}
	list, view.NextURL, view.PrevURL = page.Paginate(&rows, list, func(ws *storage.ListedWorkspace) string {
		return ws.ID
	})
	view.Columns = rows.Head()
	for _, ws := range list {
		view.Workspaces = append(view.Workspaces, templates.AdminWorkspace{
			ID: ws.ID, Slug: ws.Slug, Name: ws.Name, Plan: ws.Plan, Members: int(ws.Members), Personal: ws.Personal,
			Disabled: !ws.DisabledAt.IsZero(), Created: ws.CreatedAt.Time(),
		})
	}
	return s.Render(w, r, http.StatusOK, view.Nonce, templates.AdminWorkspacesPage(view))
}

// SetWorkspaceDisabled serves POST /admin/workspaces/{id}/disable and …/enable.
func (s *Handlers) SetWorkspaceDisabled(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	ws, err := s.store.WorkspaceByID(storage.System(r.Context()), r.PathValue("id"))
	if err != nil {
		return err
	}
	change, text := s.management.EnableWorkspace, locale.New("%s works again.", ws.Name)
	if strings.HasSuffix(r.URL.Path, "/disable") {
		change = s.management.DisableWorkspace
		text = locale.New("%s is disabled. Its keys and apps no longer work.", ws.Name)
	}
	if err := change(r.Context(), s.Administrator(v), ws); errors.Is(err, storage.ErrConflict) {
		return &page.Error{
			Status: http.StatusConflict, Heading: locale.New("Nothing was changed"), Cause: err, BackURL: "/admin/workspaces",
			BackText: locale.New("Back to workspaces"),
			Message: locale.New("This is the personal workspace of a disabled user. It works again when the user is " +
				"enabled."),
		}
	} else if err != nil {
		return err
	}
	return s.RedirectWithNotice(w, r, v, "/admin/workspaces", text)
}

// SetPlan serves POST /admin/workspaces/{id}/plan.
func (s *Handlers) SetPlan(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	ws, err := s.store.WorkspaceByID(storage.System(r.Context()), r.PathValue("id"))
	if err != nil {
		return err
	}
	plan := r.PostForm.Get("plan")
	_, err = s.management.UpdateWorkspace(r.Context(), s.Administrator(v), ws, nil, &plan)
	if faults := page.FieldErrors(err); faults != nil {
		return &page.Error{
			Status: http.StatusBadRequest, Heading: locale.New("Nothing was changed"), Message: page.Joined(faults),
			Cause: err, BackURL: "/admin/workspaces", BackText: locale.New("Back to workspaces"),
		}
	}
	if err != nil {
		return err
	}
	return s.RedirectWithNotice(w, r, v, "/admin/workspaces", locale.New("The plan of %s was changed.", ws.Name))
}
