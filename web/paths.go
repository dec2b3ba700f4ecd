package web

import (
	"net/url"
	"strings"

	"doorward/storage"
)

// joinBase is where invitations lead; their word follows.
const joinBase = "/join/"

const defaultPage = "/settings/profile"

// safeReturn is where to go on after signing in: a path of ours, else the settings. Anything that a browser could read
// as another host is refused, and so is what signing in makes no sense before.
func safeReturn(to string) string {
	if len(to) > 2000 || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") ||
		strings.ContainsFunc(to, func(r rune) bool { return r <= ' ' || r == '\\' || r > '~' }) {
		return defaultPage
	}
	u, err := url.Parse(to)
	if err != nil || u.Host != "" || u.Scheme != "" || u.User != nil || !canonicalPath(u) {
		return defaultPage
	}
	if !strings.HasPrefix(u.Path, "/settings/") && !strings.HasPrefix(u.Path, "/admin/") && !strings.HasPrefix(u.Path, joinBase) && u.Path != "/" {
		return defaultPage
	}
	return to
}

// workspacesBase is where the pages about a person's workspaces are, workspaceBase where those about one begin.
const (
	workspacesBase = "/settings/workspaces"
	workspaceBase  = workspacesBase + "/{slug}"
)

// workspacePath is where the pages about one workspace begin.
func workspacePath(ws storage.Workspace) string { return workspacesBase + "/" + ws.Slug }
