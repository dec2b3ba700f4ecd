package templates

// WorkspaceBar is what each page about one workspace begins with: its name, a
// way to the same page of another one, and the pages about it.
type WorkspaceBar struct {
	Slug     string // part of the paths below /settings/workspaces/
	Name     string
	Role     string // of the viewer in it
	Personal bool   // came with the viewer's account
	// Tab is the current page: one of the Tab constants.
	Tab string
	All []WorkspaceLink
}

// WorkspaceLink is one of the viewer's workspaces.
type WorkspaceLink struct {
	Slug     string
	Name     string
	Current  bool
	Disabled bool
}

// The values of WorkspaceBar.Tab, which are also what the page's path has after
// the slug.
const (
	TabKeys = "api-keys"
)

// NoRoleView is shown instead of a page of a workspace that takes a higher role
// than the viewer's.
type NoRoleView struct {
	Page
	Workspace WorkspaceBar
	Message   string // who may see the page, and what to do
}
