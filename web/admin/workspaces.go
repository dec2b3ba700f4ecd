package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"doorward/management"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// workspaceEnds says what stops working when a workspace is disabled.
func (s *Handlers) workspaceEnds(ctx context.Context, ws storage.Workspace) (string, error) {
	keys, err := s.ActiveKeyNames(ctx, storage.KeyOwner{WorkspaceID: ws.ID}, storage.KeyFilter{})
	if err != nil {
		return "", err
	}
	apps, err := s.store.ClientsOfWorkspace(ctx, ws.ID)
	if err != nil {
		return "", err
	}
	names := make([]string, len(apps))
	for i, c := range apps {
		names[i] = c.Name
	}
	text := strings.Join(
		page.NonEmpty(
			page.CountSentence(len(keys), "API key", "API keys", keys...),
			page.CountSentence(len(apps), "app", "apps", names...),
		),
		" ",
	)
	if text == "" {
		text = "it has no API keys or apps."
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
		Page: s.NewPage(v, templates.SectionAdminWorkspaces), Title: "Disable " + ws.Name + "?",
		Button: "Disable the workspace", CancelURL: "/admin/workspaces",
		Ends: page.NonEmpty(
			"Everything in the workspace stops working: "+text,
			page.CountSentence(len(members), "member loses access", "members lose access"),
		),
		Stays: "Nothing is deleted. Credentials that have not expired work again when you enable the workspace.",
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
		templates.Column{By: "name", Text: "Workspace"}, templates.Column{By: "members", Text: "Members", Down: true},
		templates.Column{By: "created", Text: "Created", Down: true}, templates.Column{Text: "Actions"})
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
	change, text := s.management.EnableWorkspace, ws.Name+" works again."
	if strings.HasSuffix(r.URL.Path, "/disable") {
		change, text = s.management.DisableWorkspace, ws.Name+" is disabled. Its keys and apps no longer work."
	}
	if err := change(r.Context(), s.Administrator(v), ws); errors.Is(err, storage.ErrConflict) {
		return &page.Error{
			Status: http.StatusConflict, Heading: "Nothing was changed", Cause: err, BackURL: "/admin/workspaces",
			BackText: "Back to workspaces",
			Message:  "This is the personal workspace of a disabled user. It works again when the user is enabled.",
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
			Status: http.StatusBadRequest, Heading: "Nothing was changed", Message: "The plan " + faults["plan"] + ".",
			Cause: err, BackURL: "/admin/workspaces", BackText: "Back to workspaces",
		}
	}
	if err != nil {
		return err
	}
	return s.RedirectWithNotice(w, r, v, "/admin/workspaces", "The plan of "+ws.Name+" was changed.")
}
