package web

import (
	"errors"
	"net/http"
	"slices"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/storage"
	"doorward/templates"
)

// workspacesBase is where the pages about a person's workspaces are, workspaceBase where those about one begin.
const (
	workspacesBase = "/settings/workspaces"
	workspaceBase  = workspacesBase + "/{slug}"
)

// valueWorkspace is the session's key for the slug of the workspace that was looked at last.
const valueWorkspace = "workspace"

// memberHandler answers whoever is signed in.
type memberHandler = func(w http.ResponseWriter, r *http.Request, v *visitor) error

// workspaceHandler answers a page about one of the visitor's workspaces. by is what they may do in it; all are those that
// they belong to, the personal one first.
type workspaceHandler func(w http.ResponseWriter, r *http.Request, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace) error

// inWorkspace finds the workspace that a path names. One that is not the visitor's is not there.
func (s *Server) inWorkspace(h workspaceHandler) memberHandler {
	return func(w http.ResponseWriter, r *http.Request, v *visitor) error {
		by, ws, all, err := s.authority(r, v, r.PathValue("slug"))
		if err != nil {
			return err
		}
		if seen, _ := v.session.Values[valueWorkspace].(string); seen != ws.Slug {
			v.session.Values[valueWorkspace] = ws.Slug
			if err := s.sessions.Save(r, w, v.session); err != nil {
				return err
			}
		}
		return h(w, r, v, by, ws, all)
	}
}

// authority is what the visitor may do in one of their workspaces, by its slug, or, where that is empty, in their personal
// one; with that workspace and all that they belong to.
func (s *Server) authority(r *http.Request, v *visitor, slug string) (management.Authority, storage.Workspace, []storage.Workspace, error) {
	by, ws, all, err := s.management.PersonAuthority(r.Context(), v.user.ID, slug)
	by.Fresh = s.fresh(v)
	switch {
	case errors.Is(err, bearer.ErrWorkspace):
		err = notFound()
	case errors.Is(err, bearer.ErrSuspended):
		err = &pageError{
			Status: http.StatusForbidden, Heading: "This workspace is disabled", Cause: err, BackURL: "/", BackText: "Go to your settings",
			Message: whyDisabled(ws) + " None of its API keys and apps works. An administrator can enable it again.",
		}
	}
	return by, ws, all, err
}

// administrator is the authority of an administrator on the pages for them.
func (s *Server) administrator(v *visitor) management.Authority {
	return management.Authority{Administrator: true, UserID: v.user.ID, Session: true, Fresh: s.fresh(v)}
}

// permitted serves h to those who have a permission in the workspace, and to others a page that says who has it. section
// and tab are where that page is.
func (s *Server) permitted(p management.Permission, section, tab string, h workspaceHandler) memberHandler {
	return s.inWorkspace(func(w http.ResponseWriter, r *http.Request, v *visitor, by management.Authority, ws storage.Workspace, all []storage.Workspace) error {
		var no *management.Forbidden
		if err := by.May(p); errors.As(err, &no) {
			view := templates.NoRoleView{Page: s.page(v, section), Workspace: workspaceBar(ws, all, tab), Message: no.Message}
			return s.render(w, r, http.StatusForbidden, view.Nonce, templates.NoRolePage(view))
		}
		return h(w, r, v, by, ws, all)
	})
}

// workspaceBar is what each page about a workspace begins with.
func workspaceBar(ws storage.Workspace, all []storage.Workspace, tab string) templates.WorkspaceBar {
	bar := templates.WorkspaceBar{Slug: ws.Slug, Name: ws.Name, Role: ws.Role, Personal: ws.Personal, Tab: tab}
	for _, x := range all {
		bar.All = append(bar.All, templates.WorkspaceLink{Slug: x.Slug, Name: x.Name, Current: x.ID == ws.ID, Disabled: !x.DisabledAt.IsZero()})
	}
	return bar
}

// lastWorkspace is the workspace that the visitor looked at last, or their personal one.
func (s *Server) lastWorkspace(r *http.Request, v *visitor) (storage.Workspace, error) {
	all, err := s.store.WorkspacesOf(storage.System(r.Context()), v.user.ID)
	if err != nil {
		return storage.Workspace{}, err
	}
	last, _ := v.session.Values[valueWorkspace].(string)
	if i := slices.IndexFunc(all, func(ws storage.Workspace) bool { return ws.Slug == last && ws.DisabledAt.IsZero() }); i >= 0 {
		return all[i], nil
	}
	if len(all) == 0 {
		return storage.Workspace{}, storage.ErrNotFound
	}
	return all[0], nil
}

// toWorkspace sends the visitor on to a tab of the workspace they looked at last.
func (s *Server) toWorkspace(tab string) memberHandler {
	return func(w http.ResponseWriter, r *http.Request, v *visitor) error {
		ws, err := s.lastWorkspace(r, v)
		if err != nil {
			return err
		}
		return redirect(w, workspacesBase+"/"+ws.Slug+"/"+tab)
	}
}
