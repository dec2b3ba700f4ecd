package dashboard

import (
	"errors"
	"net/http"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// workspaceHandler answers a page about one of the visitor's workspaces. by is what they may do in it; all are those
// that they belong to, the personal one first.
type workspaceHandler func(
	w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace,
	all []storage.Workspace,
) error

// In finds the workspace that a path names. One that is not the visitor's is not there.
func (s *base) In(h workspaceHandler) page.UserHandler {
	return func(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
		by, ws, all, err := s.authority(r, v, r.PathValue("slug"))
		if err != nil {
			return err
		}
		s.EnterWorkspace(w, r, v, ws, all, page.WorkspaceTab(r.URL.Path))
		return h(w, r, v, by, ws, all)
	}
}

// authority is what the visitor may do in one of their workspaces, by its slug, or, where that is empty, in their
// personal one; with that workspace and all that they belong to.
func (s *base) authority(
	r *http.Request, v *page.Visitor, slug string,
) (management.Authority, storage.Workspace, []storage.Workspace, error) {
	by, ws, all, err := s.management.PersonAuthority(r.Context(), v.User.ID, slug)
	by.Fresh = s.Fresh(v)
	switch {
	case errors.Is(err, bearer.ErrWorkspace):
		err = page.NotFound()
	case errors.Is(err, bearer.ErrSuspended):
		err = &page.Error{
			Status: http.StatusForbidden, Heading: "This workspace is disabled", Cause: err, BackURL: "/",
			BackText: "Go to your settings",
			Message:  whyDisabled(ws) + " Its keys and apps are disabled. Ask the server's administrator to enable it.",
		}
	}
	return by, ws, all, err
}

// Permitted serves h to those who have a permission in the workspace, and to others a page that says who has it.
// section and tab are where that page is.
func (s *base) Permitted(p management.Permission, section, tab string, h workspaceHandler) page.UserHandler {
	return s.In(func(
		w http.ResponseWriter, r *http.Request, v *page.Visitor, by management.Authority, ws storage.Workspace,
		all []storage.Workspace,
	) error {
		var no *management.Forbidden
		if err := by.May(p); errors.As(err, &no) {
			view := templates.NoRoleView{Page: s.NewPage(v, section), Workspace: workspaceBar(ws, all, tab), Message: no.Message}
			return s.Render(w, r, http.StatusForbidden, view.Nonce, templates.NoRolePage(view))
		}
		return h(w, r, v, by, ws, all)
	})
}

// workspaceBar is what each page about a workspace begins with.
func workspaceBar(ws storage.Workspace, all []storage.Workspace, tab string) templates.WorkspaceBar {
	return page.WorkspaceBar(ws, all, tab)
}

// ToWorkspace sends the visitor on to a section of their current workspace.
func (s *base) ToWorkspace(tab string) page.UserHandler {
	return func(w http.ResponseWriter, _ *http.Request, v *page.Visitor) error {
		if v.Workspace() == "" {
			return page.Redirect(w, page.WorkspacesPath)
		}
		return page.Redirect(w, page.WorkspacesPath+"/"+v.Workspace()+"/"+tab)
	}
}
