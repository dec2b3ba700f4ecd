package page

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"doorward/storage"
	"doorward/templates"
)

// workspaceCookie is the cookie with the id of the workspace that was used last in this browser. It grants no access:
// an id counts only if the visitor is a member of that workspace.
const workspaceCookie = "doorward-workspace"

const workspaceLifetime = 90 * 24 * time.Hour

// RememberWorkspace makes a workspace the one that was used last in this browser.
func (s *Pages) RememberWorkspace(w http.ResponseWriter, r *http.Request, id string) {
	if c, err := s.Cookie(r, workspaceCookie); err != nil || c.Value != id {
		s.SetCookie(w, workspaceCookie, id, workspaceLifetime)
	}
}

// LastWorkspace returns the workspace of the list that was used last in this browser. It reports false if that
// workspace is not in the list.
func (s *Pages) LastWorkspace(r *http.Request, list []storage.Workspace) (storage.Workspace, bool) {
	c, err := s.Cookie(r, workspaceCookie)
	if err != nil {
		return storage.Workspace{}, false
	}
	i := slices.IndexFunc(list, func(ws storage.Workspace) bool { return ws.ID == c.Value })
	if i < 0 {
		return storage.Workspace{}, false
	}
	return list[i], true
}

// Workspaces returns the workspaces that the visitor is a member of, the personal one first. They are read once for
// each request.
func (s *Pages) Workspaces(ctx context.Context, v *Visitor) ([]storage.Workspace, error) {
	if v.workspaces != nil {
		return v.workspaces, nil
	}
	all, err := s.store.WorkspacesOf(storage.System(ctx), v.User.ID)
	if err != nil {
		return nil, err
	}
	v.workspaces = all
	return all, nil
}

// locate sets the current workspace of a visitor whose page is not about one: the workspace that was used last, or else
// the first one that is enabled. That is the personal one, unless it is disabled.
func (s *Pages) locate(r *http.Request, v *Visitor) error {
	all, err := s.Workspaces(r.Context(), v)
	if err != nil {
		return err
	}
	enabled := slices.DeleteFunc(slices.Clone(all), func(ws storage.Workspace) bool { return !ws.DisabledAt.IsZero() })
	current, ok := s.LastWorkspace(r, enabled)
	if !ok && len(enabled) > 0 {
		current = enabled[0]
	}
	v.nav = templates.Navigation{Workspace: WorkspaceBar(current, all, templates.TabKeys)}
	return nil
}

// EnterWorkspace makes the workspace of this page the current one, also for the following pages. all are the visitor's
// workspaces; tab is the section of the page, one of the Tab constants.
func (s *Pages) EnterWorkspace(
	w http.ResponseWriter, r *http.Request, v *Visitor, ws storage.Workspace, all []storage.Workspace, tab string,
) {
	v.nav = templates.Navigation{Workspace: WorkspaceBar(ws, all, tab), Inside: true}
	s.RememberWorkspace(w, r, ws.ID)
}

// Workspace is the slug of the visitor's current workspace; empty if all their workspaces are disabled.
func (v *Visitor) Workspace() string { return v.nav.Workspace.Slug }

// WorkspaceBar describes a workspace for its pages and for the navigation, with all workspaces to choose from.
func WorkspaceBar(ws storage.Workspace, all []storage.Workspace, tab string) templates.WorkspaceBar {
	bar := templates.WorkspaceBar{Slug: ws.Slug, Name: ws.Name, Role: ws.Role, Personal: ws.Personal, Tab: tab}
	for _, x := range all {
		bar.All = append(bar.All, templates.WorkspaceLink{
			Slug: x.Slug, Name: x.Name, Current: x.ID == ws.ID, Disabled: !x.DisabledAt.IsZero(),
		})
	}
	return bar
}

// WorkspaceTab returns the section of a workspace that a path below /settings/workspaces/{slug} belongs to, as one of
// the Tab constants.
func WorkspaceTab(path string) string {
	_, below, _ := strings.Cut(strings.TrimPrefix(path, WorkspacesPath+"/"), "/")
	section, _, _ := strings.Cut(below, "/")
	switch section {
	case templates.TabKeys, templates.TabApps, templates.TabMembers, templates.TabUsage, templates.TabAudit:
		return section
	case "invitations":
		return templates.TabMembers
	}
	return templates.TabSettings
}
