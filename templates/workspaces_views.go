package templates

import (
	"strings"
	"time"
)

// The values of WorkspaceBar.Tab beside those of the keys' pages.
const (
	TabSettings = "" // the workspace itself
	TabApps     = "apps"
	TabMembers  = "members"
	TabUsage    = "usage"
	TabAudit    = "audit"
)

// Navigation is where a page of the settings is: the workspace that the sidebar
// begins with, and whether the page is about it.
type Navigation struct {
	// Workspace is the current one. Without a slug the viewer has none that
	// is enabled.
	Workspace WorkspaceBar
	// Inside says that the page is about the workspace: its Tab is then the
	// current entry, and not Page.Section.
	Inside bool
}

// WorkspacesView is /settings/workspaces: those that the viewer belongs to. It
// posts name and slug there.
type WorkspacesView struct {
	Page
	Workspaces []WorkspaceRow
	// What was typed for a new one.
	NewName string
	NewSlug string
	// Errors is one sentence by field name: name, slug. The form is unfolded
	// when there are any.
	Errors map[string]string
}

// WorkspaceRow is one workspace in a list.
type WorkspaceRow struct {
	Slug     string // part of the path of its pages
	Name     string
	Role     string
	Plan     string // empty: none of its own
	Personal bool
	Disabled bool
}

// WorkspaceView is /settings/workspaces/{slug}. It posts name and plan there,
// nothing to …/leave, and confirm to …/delete.
type WorkspaceView struct {
	Page
	Workspace WorkspaceBar
	ID        string
	Name      string // as typed, or as stored
	PlanText  string // the plan and what it allows
	// Plans are those to choose from; none where the user may not set it.
	Plans []Option
	// MayChange shows the form, MayDelete the end of it all.
	MayChange, MayDelete bool
	// MayLeave is false for the personal one.
	MayLeave bool
	// Goes is what is deleted along with it.
	Goes WorkspaceContent
	// Errors is one sentence by field name: name, plan, confirm.
	Errors map[string]string
}

// WorkspaceContent is what belongs to a workspace.
type WorkspaceContent struct{ Keys, Apps, Members int }

// MembersView is /settings/workspaces/{slug}/members. It posts role to
// …/members/{ID}/role, nothing to …/members/{ID}/remove, email and role to
// …/invitations, and nothing to …/invitations/{ID}/withdraw.
type MembersView struct {
	Page
	Workspace WorkspaceBar
	Columns   []Column // name, role, joined and the forms
	Members   []MemberRow
	NextURL   string // empty on the last page
	PrevURL   string // empty on the first page
	// MayInvite shows the invitations and the form for one. Nobody is invited
	// into a personal workspace.
	MayInvite   bool
	Invitations []InvitationRow
	NewEmail    string   // as typed
	Roles       []Option // that somebody may be invited to
	// Made is the invitation that was made just now; nil for none.
	Made *MadeInvitation
	// Error is why what was asked for was not done; empty for none.
	Error string
	// Errors is one sentence by field name: email, role.
	Errors map[string]string
}

// MemberRow is one member.
type MemberRow struct {
	ID       string // part of the path of its forms
	Name     string
	Email    string
	Role     string
	Self     bool
	Disabled bool // as a user of this server
	Since    time.Time
	// Roles are those that the viewer may give; none: they may change nothing.
	Roles []Option
	// MayRemove shows the button for that.
	MayRemove bool
}

// InvitationRow is an invitation that nobody has taken yet.
type InvitationRow struct {
	ID      string // part of the path of its form
	Email   string
	Role    string
	By      string // empty: the command
	Expires time.Time
}

// MadeInvitation is a new invitation with its link, which is shown once.
type MadeInvitation struct {
	Email   string
	URL     string
	Expires time.Time
}

// JoinView is /join/{word}: an invitation as whom it is for sees it. It posts
// nothing to Action.
type JoinView struct {
	Page
	Action    string // path of this page
	Workspace string // name
	Role      string
	For       string // the address that was invited
	By        string // who invited; empty: not known
	Expires   time.Time
	// Other says that the viewer has another address than the one invited.
	Other bool
}

// UsageView is /settings/workspaces/{slug}/usage.
type UsageView struct {
	Page
	Workspace WorkspaceBar
	PlanText  string      // what the workspace's plan allows; empty: no plan of its own
	Ranges    []RangeLink // the periods to choose from
	CSVURL    string      // the same usage as a file
	Days      []UsageDay  // of the period; hours where it is a day
	Rows      []UsageRow  // the most used first
	// More is how many credentials were used beside those in Rows, and Rest
	// what they were used for.
	More int
	Rest UsageDay
}

// RangeLink is a period of the usage page.
type RangeLink struct {
	Text, URL string
	Current   bool
}

// UsageRow is how often a credential was used in all days of the page.
type UsageRow struct {
	Who   Named
	Kind  string // as introspection names it
	Owner string // of a personal access token
	Total UsageDay
}

// Named is somebody or something by its name.
type Named struct {
	Text string // the name; where there is none any more, the id
	URL  string // empty: no page of it
	IsID bool   // Text is an id
}

// AuditView is /settings/workspaces/{slug}/audit. Its form is a GET of the same
// page with what, who, from and to.
type AuditView struct {
	Page
	Workspace WorkspaceBar
	What      []Option // groups of actions
	Who       []Option // people
	From, To  string   // days, as typed
	Filtered  bool
	Base      string // path of this page
	CSVURL    string // all that the filter finds, as a file
	Days      []AuditDay
	NextURL   string // empty on the last page
	PrevURL   string // empty on the first page
	// Errors is one sentence by field name: from, to.
	Errors map[string]string
}

// AdminAuditView is /admin/audit: the events of the server and of all workspaces. Its form is a GET of the same page
// with what, workspace, server ("1"), who, from and to.
type AdminAuditView struct {
	AuditView
	In     string // slug or id of a workspace, as typed; empty: all
	Server bool   // only the server's own events
	By     string // email address or id of a user, as typed; empty: all
}

// AuditDay is what happened on one day (UTC), the newest first.
type AuditDay struct {
	Day    time.Time
	Events []AuditRow
}

// AuditRow is one event.
type AuditRow struct {
	ID     string
	At     time.Time
	Action string // such as api_key.created
	Who    Named  // empty: the server itself
	With   string // the kind of credential; empty: none
	Key    Named  // the key or token that it came with
	Target Named
	// Workspace is where it happened, on the page about all; empty: the server itself.
	Workspace Named
	Facts     []Fact
	Address   string
	Request   string // its id
}

// Fact is a further detail.
type Fact struct{ Name, Value string }

// AdminWorkspacesView is /admin/workspaces. It posts nothing to
// /admin/workspaces/{ID}/disable and …/enable. The search is a GET of
// /admin/workspaces with q.
type AdminWorkspacesView struct {
	Page
	Query      string   // what was searched for; empty shows all
	Columns    []Column // name, members, created and the forms
	Workspaces []AdminWorkspace
	NextURL    string // empty on the last page
	PrevURL    string // empty on the first page
	// Plans are the names of those that a workspace may be given.
	Plans []string
}

// AdminWorkspace is one workspace in the administrators' list.
type AdminWorkspace struct {
	ID       string // part of the path of its forms
	Slug     string
	Name     string
	Plan     string // empty: none of its own
	Members  int
	Personal bool
	Disabled bool
	Created  time.Time
}

// credentialText is a kind of credential in words.
func credentialText(kind string) string {
	switch kind {
	case "api_key":
		return "API key"
	case "personal_access_token":
		return "Personal access token"
	case "access_token", "refresh_token":
		return "App"
	case "session":
		return "Browser"
	case "password":
		return "Password"
	case "command":
		return "Command line"
	}
	return kind
}

// auditTexts are actions in words. One that is not here is shown as it is.
var auditTexts = map[string]string{ //nolint:gosec // what was done, no secret
	"access.ended":                  "Revoked an app's access",
	"api_key.created":               "Created an API key",
	"api_key.paused":                "Paused an API key",
	"api_key.resumed":               "Resumed an API key",
	"api_key.revoked":               "Revoked an API key",
	"api_key.rotated":               "Rotated an API key",
	"api_key.updated":               "Changed an API key",
	"app.created":                   "Created an app",
	"app.deleted":                   "Deleted an app",
	"app.disabled":                  "Disabled an app",
	"app.enabled":                   "Enabled an app",
	"app.secret_rotated":            "Created a new secret for an app",
	"app.token_revoked":             "Revoked a token of an app",
	"app.unverified":                "Removed an app's verification",
	"app.updated":                   "Changed an app",
	"app.verified":                  "Verified an app",
	"consent.denied":                "Denied an app access",
	"consent.granted":               "Allowed an app access",
	"grant.narrowed":                "Removed permissions from an app",
	"grant.revoked":                 "App access revoked",
	"invitation.created":            "Invited a member",
	"invitation.withdrawn":          "Withdrew an invitation",
	"login.failed":                  "Failed to sign in",
	"login.link_created":            "Created a sign-in link",
	"login.succeeded":               "Signed in",
	"member.added":                  "Joined the workspace",
	"member.removed":                "Removed a member",
	"member.role_changed":           "Changed a member's role",
	"personal_access_token.created": "Created a personal access token",
	"personal_access_token.paused":  "Paused a personal access token",
	"personal_access_token.resumed": "Resumed a personal access token",
	"personal_access_token.revoked": "Revoked a personal access token",
	"personal_access_token.rotated": "Rotated a personal access token",
	"personal_access_token.updated": "Changed a personal access token",
	"session.ended":                 "Signed out a browser",
	"session.started":               "Started a session",
	"session.others_ended":          "Signed out all other browsers",
	"signing_key.created":           "Created a signing key",
	"signing_key.activated":         "Activated a signing key",
	"signing_key.retired":           "Retired a signing key",
	"user.created":                  "Created an account",
	"user.disabled":                 "Disabled an account",
	"user.enabled":                  "Enabled an account",
	"user.password_changed":         "Changed their password",
	"user.password_set":             "Set a password",
	"user.renamed":                  "Changed their name",
	"user.email_changed":            "Changed an account's email address",
	"user.made_administrator":       "Made a user a server administrator",
	"user.unmade_administrator":     "Removed a user's server administrator role",
	"user.signed_out":               "Signed a user out everywhere",
	"workspace.created":             "Created the workspace",
	"workspace.deleted":             "Deleted the workspace",
	"workspace.disabled":            "Disabled the workspace",
	"workspace.enabled":             "Enabled the workspace",
	"workspace.updated":             "Changed the workspace",
}

func auditText(action string) string {
	if text, ok := auditTexts[action]; ok {
		return text
	}
	return action
}

// factText is the name of a fact in words.
func factText(name string) string { return strings.ReplaceAll(name, "_", " ") }

// clock is a time of a day.
func clock(t time.Time) string { return t.UTC().Format("15:04 UTC") }

// planOptions are the plans that a workspace may be given, the one it has chosen.
func planOptions(names []string, chosen string) []Option {
	list := []Option{{Text: "No plan", Selected: chosen == ""}}
	known := chosen == ""
	for _, name := range names {
		list = append(list, Option{Value: name, Text: name, Selected: name == chosen})
		known = known || name == chosen
	}
	if !known {
		list = append(list, Option{Value: chosen, Text: chosen + " (not in the configuration)", Selected: true})
	}
	return list
}
