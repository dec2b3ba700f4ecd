package page

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"doorward/storage"
	"doorward/templates"
)

// workspaceCookie holds the id of the workspace that was used last in this browser. It grants nothing: it counts only
// among the workspaces that the visitor belongs to at the time.
const workspaceCookie = "doorward-workspace"

const workspaceLifetime = 90 * 24 * time.Hour

// RememberWorkspace has the browser remember that a workspace was used.
func (s *Pages) RememberWorkspace(w http.ResponseWriter, r *http.Request, id string) {
	if c, err := s.Cookie(r, workspaceCookie); err != nil || c.Value != id {
		s.SetCookie(w, workspaceCookie, id, workspaceLifetime)
	}
}

// LastWorkspace finds the workspace that was used last in this browser among those in list. It reports false if it is
// not one of them.
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

// locate finds the current workspace of a visitor whose page is not about one: the one used last, else the first that
// is enabled, which is the personal one unless that is disabled.
func (s *Pages) locate(r *http.Request, v *Visitor) error {
	all, err := s.store.WorkspacesOf(storage.System(r.Context()), v.User.ID)
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

// EnterWorkspace makes a workspace the current one: the page is about it, and the next pages stay in it. all are those
// that the visitor belongs to; tab is the section of the page, one of the Tab constants.
func (s *Pages) EnterWorkspace(
	w http.ResponseWriter, r *http.Request, v *Visitor, ws storage.Workspace, all []storage.Workspace, tab string,
) {
	v.nav = templates.Navigation{Workspace: WorkspaceBar(ws, all, tab), Inside: true}
	s.RememberWorkspace(w, r, ws.ID)
}

// Workspace is the slug of the visitor's current workspace; empty if all of theirs are disabled.
func (v *Visitor) Workspace() string { return v.nav.Workspace.Slug }

// WorkspaceBar is a workspace as its pages and the navigation show it, with the others to choose from.
func WorkspaceBar(ws storage.Workspace, all []storage.Workspace, tab string) templates.WorkspaceBar {
	bar := templates.WorkspaceBar{Slug: ws.Slug, Name: ws.Name, Role: ws.Role, Personal: ws.Personal, Tab: tab}
	for _, x := range all {
		bar.All = append(bar.All, templates.WorkspaceLink{
			Slug: x.Slug, Name: x.Name, Current: x.ID == ws.ID, Disabled: !x.DisabledAt.IsZero(),
		})
	}
	return bar
}

// WorkspaceTab is the section of a workspace that a path below /settings/workspaces/{slug} belongs to.
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
