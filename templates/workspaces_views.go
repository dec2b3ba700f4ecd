package templates

// The values of WorkspaceBar.Tab beside those of the keys' pages.
const (
	TabSettings = "" // the workspace itself
	TabApps     = "apps"
	TabMembers  = "members"
	TabUsage    = "usage"
	TabAudit    = "audit"
)
