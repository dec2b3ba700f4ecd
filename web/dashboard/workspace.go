package dashboard

import (
	"context"
	"errors"
	"net/http"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/storage"
	"doorward/templates"
	"doorward/web/page"
)

// place is the workspace that a page is about, and what the visitor may do in it.
type place struct {
	v   *page.Visitor
	by  management.Authority
	ws  storage.Workspace
	all []storage.Workspace // the visitor's workspaces, the personal one first
}

// path is where the pages of the place's workspace begin, with the section at its end: one of the Tab constants.
func (p *place) path(tab string) string {
	if tab == templates.TabSettings {
		return page.WorkspacePath(p.ws)
	}
	return page.WorkspacePath(p.ws) + "/" + tab
}

// bar is the head of a page in a section of the workspace.
func (p *place) bar(tab string) templates.WorkspaceBar { return page.WorkspaceBar(p.ws, p.all, tab) }

// tenant is a context for reading and changing what belongs to the workspace.
func (p *place) tenant(ctx context.Context) context.Context {
	return storage.Tenant(ctx, p.v.User.ID, p.ws.ID)
}

// workspaceHandler answers a page about one of the visitor's workspaces.
type workspaceHandler func(w http.ResponseWriter, r *http.Request, p place) error

// In serves h for the workspace in the path. If the visitor is not a member, the page does not exist.
func (s *base) In(h workspaceHandler) page.UserHandler {
	return func(w http.ResponseWriter, r *http.Request, v *page.Visitor) error {
		p, err := s.place(r, v, r.PathValue("slug"))
		if err != nil {
			return err
		}
		s.EnterWorkspace(w, r, v, p.ws, p.all, page.WorkspaceTab(r.URL.Path))
		return h(w, r, p)
	}
}

// place finds one of the visitor's workspaces by its slug; an empty slug stands for their personal workspace. The error
// is the page that the visitor gets instead.
func (s *base) place(r *http.Request, v *page.Visitor, slug string) (place, error) {
	p, err := s.placeOf(r, v, slug)
	switch {
	case errors.Is(err, bearer.ErrWorkspace):
		err = page.NotFound()
	case errors.Is(err, bearer.ErrSuspended):
		err = &page.Error{
			Status: http.StatusForbidden, Heading: locale.New("This workspace is disabled"), Cause: err,
			Message: page.Sentences(whyDisabled(p.ws),
				locale.New("Its keys and apps are disabled. Ask the server's administrator to enable it.")),
			BackURL: "/", BackText: locale.New("Go to your settings"),
		}
	}
	return p, err
}

// placeOf is place with the errors of management.AuthorityFrom.
func (s *base) placeOf(r *http.Request, v *page.Visitor, slug string) (place, error) {
	all, err := s.Workspaces(r.Context(), v)
	if err != nil {
		return place{}, err
	}
	by, ws, err := management.AuthorityFrom(all, v.User.ID, slug)
	by.Fresh = s.Fresh(v)
	return place{v: v, by: by, ws: ws, all: all}, err
}

// Permitted is In for a page that needs a permission in the workspace. Members without it get a page that says who has
// it; section and tab say where in the navigation that page is.
func (s *base) Permitted(need management.Permission, section, tab string, h workspaceHandler) page.UserHandler {
	return s.In(func(w http.ResponseWriter, r *http.Request, p place) error {
		var no *management.Forbidden
		if err := p.by.May(need); errors.As(err, &no) {
			view := templates.NoRoleView{Page: s.NewPage(p.v, section), Workspace: p.bar(tab), Message: no.Message}
			return s.Render(w, r, http.StatusForbidden, view.Nonce, templates.NoRolePage(view))
		}
		return h(w, r, p)
	})
}

// ToWorkspace redirects the visitor to a section of their current workspace.
func (s *base) ToWorkspace(tab string) page.UserHandler {
	return func(w http.ResponseWriter, _ *http.Request, v *page.Visitor) error {
		if v.Workspace() == "" {
			return page.Redirect(w, page.WorkspacesPath)
		}
		return page.Redirect(w, page.WorkspacesPath+"/"+v.Workspace()+"/"+tab)
	}
}
