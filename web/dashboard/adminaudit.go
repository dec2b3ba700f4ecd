package dashboard

import (
	"errors"
	"net/http"

	"doorward/locale"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// AllAuditPage serves GET /admin/audit: the events of the server and of all workspaces.
func (s *Workspaces) AllAuditPage(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
	head, err := s.PageWithNotice(w, r, v, templates.SectionAdminAudit)
	if err != nil {
		return err
	}
	view := templates.AdminAuditView{AuditView: templates.AuditView{Page: head}}
	q, err := s.serverAudit(r, &view)
	if err != nil {
		return err
	}
	if err := s.showAudit(r, q, &view.AuditView, s.NamesIn(storage.Workspace{}), storage.System); err != nil {
		return err
	}
	view.Filtered = view.Filtered || !q.filter.Everywhere
	return s.Render(w, r, q.status(), view.Nonce, templates.AdminAuditPage(view))
}

// AllAuditCSV serves GET /admin/audit.csv: every event that matches the page's filter.
func (s *Workspaces) AllAuditCSV(w http.ResponseWriter, r *http.Request, _ *page.Visitor) error {
	view := templates.AdminAuditView{}
	q, err := s.serverAudit(r, &view)
	if err != nil {
		return err
	}
	return s.auditFile(w, r, q, s.NamesIn(storage.Workspace{}), "audit-server.csv", storage.System)
}

// serverAudit reads the query of the audit page of the server, and fills in its form. Workspaces and users can be named
// by their ids too, which still find the events of deleted ones.
func (s *Workspaces) serverAudit(r *http.Request, view *templates.AdminAuditView) (*auditQuery, error) {
	q := s.readAudit(r, "/admin/audit", &view.AuditView, onServer, "workspace", "server", "who")
	view.In, view.Server, view.By = q.query.Get("workspace"), q.query.Get("server") != "", q.query.Get("who")
	ctx := storage.System(r.Context())
	q.filter.Everywhere = view.In == "" && !view.Server
	switch {
	case view.In == "":
	case view.Server:
		q.faults["workspace"] = locale.New("Leave this empty to see events outside workspaces.")
	case storage.IsID("ws", view.In):
		q.filter.WorkspaceID = view.In
	default:
		ws, err := s.store.WorkspaceBySlug(ctx, view.In)
		if errors.Is(err, storage.ErrNotFound) {
			q.faults["workspace"] = locale.New("There is no workspace with this slug. Check it, or enter the workspace ID.")
		} else if err != nil {
			return nil, err
		}
		q.filter.WorkspaceID = ws.ID
	}
	switch {
	case view.By == "":
	case storage.IsID("user", view.By):
		q.filter.UserID = view.By
	default:
		u, err := s.store.UserByEmail(ctx, view.By)
		if errors.Is(err, storage.ErrNotFound) {
			q.faults["who"] = locale.New("No user has this email address. Check it, or enter the user ID.")
		} else if err != nil {
			return nil, err
		}
		q.filter.UserID = u.ID
	}
	return q, nil
}
