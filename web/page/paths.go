package page

import (
	"net/url"
	"strings"

	"doorward/storage"
)

// JoinPath is the path of an invitation, up to its token.
const JoinPath = "/join/"

// DefaultPage is where a user starts after signing in.
const DefaultPage = "/settings/profile"

// SafeReturn returns to if it is the path of a page that users sign in for, otherwise DefaultPage. It rejects anything
// that a browser could read as a URL on another host.
func SafeReturn(to string) string {
	if len(to) > 2000 || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") ||
		strings.ContainsFunc(to, func(r rune) bool { return r <= ' ' || r == '\\' || r > '~' }) {
		return DefaultPage
	}
	u, err := url.Parse(to)
	if err != nil || u.Host != "" || u.Scheme != "" || u.User != nil || !CanonicalPath(u) {
		return DefaultPage
	}
	if !strings.HasPrefix(u.Path, "/settings/") && !strings.HasPrefix(u.Path, "/admin/") &&
		!strings.HasPrefix(u.Path, JoinPath) && u.Path != "/" {
		return DefaultPage
	}
	return to
}

// WorkspacesPath is the path of the list of the visitor's workspaces.
const WorkspacesPath = "/settings/workspaces"

// WorkspacePath is the path of a workspace's settings; its other pages are below it.
func WorkspacePath(ws storage.Workspace) string { return WorkspacesPath + "/" + ws.Slug }
