package page

import (
	"net/url"
	"strings"

	"doorward/storage"
)

// JoinPath is where invitations lead; their word follows.
const JoinPath = "/join/"

// DefaultPage is where a user starts after signing in.
const DefaultPage = "/settings/profile"

// SafeReturn is where to go on after signing in: a path of ours, else the settings. Anything that a browser could read
// as another host is refused, and so is what signing in makes no sense before.
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

// WorkspacesPath is where the pages about a person's workspaces are.
const WorkspacesPath = "/settings/workspaces"

// WorkspacePath is where the pages about one workspace begin.
func WorkspacePath(ws storage.Workspace) string { return WorkspacesPath + "/" + ws.Slug }
