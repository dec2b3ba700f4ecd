package templates

import (
	"strings"
	"time"
)

// The values of WorkspaceBar.Tab. They are also the path of a section, after the workspace's slug.
const (
	TabSettings = "" // the workspace's own page
	TabKeys     = "api-keys"
	TabApps     = "apps"
	TabMembers  = "members"
	TabUsage    = "usage"
	TabAudit    = "audit"
)

// WorkspaceBar describes the workspace that a page is about, and the others that the viewer can switch to.
type WorkspaceBar struct {
	Slug     string // part of the paths below /settings/workspaces/
	Name     string
	Role     string // of the viewer in it
	Personal bool   // was created with the viewer's account
	// Tab is the section that the page belongs to: one of the Tab constants.
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

// NoRoleView is shown instead of a page that needs a higher role in the workspace than the viewer's.
type NoRoleView struct {
	Page
	Workspace WorkspaceBar
	Message   string // who can see the page, and what to do
}

// Navigation says where a settings page is in the navigation.
type Navigation struct {
	// Workspace is the current workspace. If it has no slug, all the viewer's workspaces are disabled.
	Workspace WorkspaceBar
	// Inside says that the page is about the workspace. The current entry is then Workspace.Tab, not Page.Section.
	Inside bool
}

// WorkspacesView is /settings/workspaces: the workspaces of the viewer. It posts name and slug of a new one there.
type WorkspacesView struct {
	Page
	Columns    []Column // name, role and plan
	Workspaces []WorkspaceRow
	NewName    string // as typed
	NewSlug    string // as typed
	// Errors holds one sentence per field: name, slug. If there are any, the form is unfolded.
	Errors map[string]string
}

// WorkspaceRow is a workspace in the list of the viewer's workspaces.
type WorkspaceRow struct {
	Slug     string // part of the path of its pages
	Name     string
	Role     string // of the viewer
	Plan     string // empty: none
	Personal bool
	Disabled bool
}

// WorkspaceView is /settings/workspaces/{slug}. It posts name and plan there, nothing to …/leave, and confirm to
// …/delete.
type WorkspaceView struct {
	Page
	Workspace WorkspaceBar
	ID        string
	Name      string // as typed, or as stored
	PlanText  string // the plan and what it allows
	// Plans are the choices; none if the viewer may not set the plan.
	Plans     []Option
	MayChange bool             // shows the form for name and plan
	MayLeave  bool             // shows the form to leave; false for a personal workspace
	MayDelete bool             // shows the form to delete the workspace
	Content   WorkspaceContent // what is deleted with it
	// Errors holds one sentence per field: name, plan, confirm.
	Errors map[string]string
}

// WorkspaceContent counts what belongs to a workspace.
type WorkspaceContent struct{ Keys, Apps, Members int }

// MembersView is /settings/workspaces/{slug}/members. It posts role to …/members/{ID}/role, nothing to
// …/members/{ID}/remove, email and role to …/invitations, and nothing to …/invitations/{ID}/withdraw.
type MembersView struct {
	Page
	Workspace WorkspaceBar
	Columns   []Column // name, role, joined and the actions
	Members   []MemberRow
	NextURL   string // empty on the last page
	PrevURL   string // empty on the first page
	// MayInvite shows the pending invitations and the form for a new one. It is false for a personal workspace.
	MayInvite   bool
	Invitations []InvitationRow
	NewEmail    string   // as typed
	Roles       []Option // choices for the role of a new member
	// Created is the invitation that was just created; nil: none.
	Created *CreatedInvitation
	// Error says why a member was not changed; empty: no error.
	Error string
	// Errors holds one sentence per field: email, role.
	Errors map[string]string
}

// MemberRow is one member.
type MemberRow struct {
	ID       string // part of the path of its forms
	Name     string
	Email    string
	Role     string
	Self     bool
	Disabled bool // the user is disabled on this server
	Since    time.Time
	// Roles are the choices for the member's role; none: the viewer may not change it.
	Roles     []Option
	MayRemove bool // shows the button
}

// InvitationRow is a pending invitation.
type InvitationRow struct {
	ID      string // part of the path of its form
	Email   string
	Role    string
	By      string // name of the inviter; empty: invited with the CLI
	Expires time.Time
}

// CreatedInvitation is a new invitation with its link, which is shown once.
type CreatedInvitation struct {
	Email   string
	URL     string
	Expires time.Time
}

// JoinView is /join/{word}: an invitation, for the person who was invited. It posts nothing to Action.
type JoinView struct {
	Page
	Action    string // path of this page
	Workspace string // name
	Role      string
	For       string // the email address that was invited
	By        string // name of the inviter; empty: unknown
	Expires   time.Time
	Other     bool // the viewer's email address is not the invited one
}

// UsageView is /settings/workspaces/{slug}/usage.
type UsageView struct {
	Page
	Workspace WorkspaceBar
	PlanText  string      // the workspace's plan and what it allows; empty: none
	Ranges    []RangeLink // the periods to choose from
	CSVURL    string      // the same usage as a file
	Days      []UsageDay  // the period's days, or hours
	Rows      []UsageRow  // the most used credentials, by requests
	// More is how many other credentials were used, and Rest the sum of their requests.
	More int
	Rest UsageDay
}

// RangeLink is a period of the usage page.
type RangeLink struct {
	Text, URL string
	Current   bool
}

// UsageRow is how often a credential was used in the period.
type UsageRow struct {
	Who   Named
	Kind  string // credential kind, as introspection names it
	Owner string // name of the user of a personal access token; empty for other credentials
	Total UsageDay
}

// Named is the name of a person or thing, with a link to its page.
type Named struct {
	Text string // the name; the id if it was deleted
	URL  string // empty: it has no page
	IsID bool   // Text is an id
}

// AuditView is /settings/workspaces/{slug}/audit. Its form is a GET of the same page with what, who, from and to.
type AuditView struct {
	Page
	Workspace WorkspaceBar
	What      []Option // choices for what the events are about
	Who       []Option // choices for who caused them
	From, To  string   // days, as typed
	Filtered  bool     // the filter leaves out some events
	Base      string   // path of this page
	CSVURL    string   // every event that matches the filter, as a file
	Days      []AuditDay
	NextURL   string // empty on the last page
	PrevURL   string // empty on the first page
	// Errors holds one sentence per field: from, to.
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

// AuditDay holds the events of one day (UTC), the newest first.
type AuditDay struct {
	Day    time.Time
	Events []AuditRow
}

// AuditRow is one event.
type AuditRow struct {
	ID     string
	At     time.Time
	Action string // such as api_key.created
	Who    Named  // the user; empty: none, or the server itself
	With   string // credential kind; empty: none
	Key    Named  // the key, token or app that the request came with
	Target Named
	// Workspace is set on the page about all workspaces. Empty: the event belongs to the server.
	Workspace Named
	Facts     []Fact
	Address   string
	Request   string // request id
}

// Fact is a detail of an event.
type Fact struct{ Name, Value string }

// credentialText is a credential kind, or another way to authenticate, in words.
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
		return "CLI"
	}
	return kind
}

// auditTexts are the actions of the audit log in words. An action without a text is shown as it is.
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
	"consent.denied":                "Denied an app's request",
	"consent.granted":               "Authorized an app",
	"grant.narrowed":                "Removed permissions from an app",
	"grant.revoked":                 "App access revoked",
	"invitation.created":            "Invited a member",
	"invitation.withdrawn":          "Revoked an invitation",
	"login.failed":                  "Failed to sign in",
	"login.link_created":            "Created a sign-in link",
	"login.succeeded":               "Signed in",
	"member.added":                  "Member joined",
	"member.removed":                "Removed a member",
	"member.role_changed":           "Changed a member's role",
	"personal_access_token.created": "Created a personal access token",
	"personal_access_token.paused":  "Paused a personal access token",
	"personal_access_token.resumed": "Resumed a personal access token",
	"personal_access_token.revoked": "Revoked a personal access token",
	"personal_access_token.rotated": "Rotated a personal access token",
	"personal_access_token.updated": "Changed a personal access token",
	"session.ended":                 "Signed out a browser",
	"session.others_ended":          "Signed out all other browsers",
	"signing_key.created":           "Created a signing key",
	"signing_key.dropped":           "Deleted a signing key",
	"signing_key.rotated":           "Rotated the signing key",
	"user.created":                  "Created an account",
	"user.deleted":                  "Deleted an account",
	"user.disabled":                 "Disabled an account",
	"user.enabled":                  "Enabled an account",
	"user.password_changed":         "Changed their password",
	"user.password_set":             "Set a password",
	"user.renamed":                  "Changed an account's name",
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

// auditText is an action in words.
func auditText(action string) string {
	if text, ok := auditTexts[action]; ok {
		return text
	}
	return action
}

// factText is the name of a Fact in words.
func factText(name string) string {
	switch name {
	case "grace":
		return "grace period"
	case "into":
		return "replaced by"
	case "refused":
		return "permissions not allowed"
	case "with_user":
		return "together with the user"
	}
	return strings.ReplaceAll(name, "_", " ")
}

// clock formats the time of day.
func clock(t time.Time) string { return t.UTC().Format("15:04 UTC") }

// planOptions are the choices for a workspace's plan. The plan that it has is one of them even if it is not configured.
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
