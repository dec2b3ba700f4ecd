package templates

import (
	"cmp"
	"context"
	"strings"
	"time"

	"doorward/locale"
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
	Message   locale.Text // who can see the page, and what to do
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
	Errors map[string]locale.Text
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
	Name      string      // as typed, or as stored
	PlanText  locale.Text // the plan and what it allows
	// Plans are the choices; none if the viewer may not set the plan.
	Plans     []Option
	MayChange bool             // shows the form for name and plan
	MayLeave  bool             // shows the form to leave; false for a personal workspace
	MayDelete bool             // shows the form to delete the workspace
	Content   WorkspaceContent // what is deleted with it
	// Errors holds one sentence per field: name, plan, confirm.
	Errors map[string]locale.Text
}

// WorkspaceContent counts what belongs to a workspace.
type WorkspaceContent struct{ Keys, Apps, Members int }

// list is the content in words, for a sentence.
func (c WorkspaceContent) list() locale.Join {
	return locale.Join{
		locale.New("%d API keys", c.Keys), locale.New("%d apps", c.Apps), locale.New("%d memberships", c.Members),
	}
}

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
	ByEmail     bool // invitations are sent by email, so that the page shows no link
	Invitations []InvitationRow
	NewEmail    string   // as typed
	Roles       []Option // choices for the role of a new member
	// Created is the invitation that was just created; nil: none.
	Created *CreatedInvitation
	// Error says why a member was not changed; empty: no error.
	Error locale.Text
	// Errors holds one sentence per field: email, role.
	Errors map[string]locale.Text
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
	PlanText  locale.Text // the workspace's plan and what it allows; empty: none
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
	Text    locale.Text
	URL     string
	Current bool
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
	Errors map[string]locale.Text
}

// AdminAuditView is /admin/audit: the events of the server and of all workspaces. Its form is a GET of the same page
// with what, workspace, server ("1"), who, from and to.
type AdminAuditView struct {
	AuditView
	In     string // slug or id of a workspace, as typed; empty: all
	Server bool   // only the server's own events
	By     string // email address or id of a user, as typed; empty: all
}

// AuditDay holds the events of one day in the reader's time zone, the newest first.
type AuditDay struct {
	Day    time.Time // its beginning, in that zone
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
type Fact struct {
	Name  string // such as rate_limit
	Value string // in the reader's language
}

// AsIs is a text that a user or the operator wrote, where a message of ours could stand too.
func AsIs(text string) locale.Text { return locale.Text{Format: "%s", Args: []any{text}} }

// credentialText is a credential kind, or another way to authenticate, in words.
func credentialText(ctx context.Context, kind string) string {
	switch kind {
	case "api_key":
		return tr(ctx, "API key")
	case "personal_access_token":
		return tr(ctx, "Personal access token")
	case "access_token", "refresh_token":
		return tr(ctx, "App")
	case "session":
		return tr(ctx, "Browser")
	case "password":
		return tr(ctx, "Password")
	case "command":
		return tr(ctx, "CLI")
	}
	return kind
}

// auditTexts are the actions of the audit log in words. An action without a text is shown as it is.
var auditTexts = map[string]locale.Text{
	"access.ended":                  locale.New("Revoked an app's access"),
	"api_key.created":               locale.New("Created an API key"),
	"api_key.paused":                locale.New("Paused an API key"),
	"api_key.resumed":               locale.New("Resumed an API key"),
	"api_key.revoked":               locale.New("Revoked an API key"),
	"api_key.rotated":               locale.New("Rotated an API key"),
	"api_key.updated":               locale.New("Changed an API key"),
	"app.created":                   locale.New("Created an app"),
	"app.deleted":                   locale.New("Deleted an app"),
	"app.disabled":                  locale.New("Disabled an app"),
	"app.enabled":                   locale.New("Enabled an app"),
	"app.registered":                locale.New("An app registered itself"),
	"app.secret_rotated":            locale.New("Created a new secret for an app"),
	"app.token_revoked":             locale.New("Revoked a token of an app"),
	"app.unverified":                locale.New("Removed an app's verification"),
	"app.updated":                   locale.New("Changed an app"),
	"app.verified":                  locale.New("Verified an app"),
	"consent.denied":                locale.New("Denied an app's request"),
	"consent.granted":               locale.New("Authorized an app"),
	"grant.narrowed":                locale.New("Removed permissions from an app"),
	"grant.revoked":                 locale.New("App access revoked"),
	"invitation.created":            locale.New("Invited a member"),
	"invitation.withdrawn":          locale.New("Revoked an invitation"),
	"login.failed":                  locale.New("Failed to sign in"),
	"login.link_created":            locale.New("Created a sign-in link"),
	"login.succeeded":               locale.New("Signed in"),
	"member.added":                  locale.New("Member joined"),
	"member.removed":                locale.New("Removed a member"),
	"member.role_changed":           locale.New("Changed a member's role"),
	"personal_access_token.created": locale.New("Created a personal access token"),
	"personal_access_token.paused":  locale.New("Paused a personal access token"),
	"personal_access_token.resumed": locale.New("Resumed a personal access token"),
	"personal_access_token.revoked": locale.New("Revoked a personal access token"),
	"personal_access_token.rotated": locale.New("Rotated a personal access token"),
	"personal_access_token.updated": locale.New("Changed a personal access token"),
	"passkey.added":                 locale.New("Added a passkey"),
	"passkey.renamed":               locale.New("Renamed a passkey"),
	"passkey.removed":               locale.New("Removed a passkey"),
	"totp.enabled":                  locale.New("Added an authenticator app"),
	"totp.disabled":                 locale.New("Removed an authenticator app"),
	"recovery_codes.replaced":       locale.New("Created recovery codes"),
	"recovery_codes.deleted":        locale.New("Deleted the recovery codes"),
	"recovery_codes.used":           locale.New("Used a recovery code"),
	"provider.connected":            locale.New("Connected an account at another provider"),
	"provider.disconnected":         locale.New("Disconnected an account at another provider"),
	"registration_token.created":    locale.New("Created a registration token"),
	"registration_token.revoked":    locale.New("Revoked a registration token"),
	"session.ended":                 locale.New("Signed out a browser"),
	"session.others_ended":          locale.New("Signed out all other browsers"),
	"signing_key.created":           locale.New("Created a signing key"),
	"signing_key.dropped":           locale.New("Deleted a signing key"),
	"signing_key.rotated":           locale.New("Rotated the signing key"),
	"user.created":                  locale.New("Created an account"),
	"user.deleted":                  locale.New("Deleted an account"),
	"user.disabled":                 locale.New("Disabled an account"),
	"user.enabled":                  locale.New("Enabled an account"),
	"user.password_changed":         locale.New("Changed their password"),
	"user.password_set":             locale.New("Set a password"),
	"user.renamed":                  locale.New("Changed an account's name"),
	"user.email_changed":            locale.New("Changed an account's email address"),
	"user.made_administrator":       locale.New("Made a user a server administrator"),
	"user.unmade_administrator":     locale.New("Removed a user's server administrator role"),
	"user.signed_out":               locale.New("Signed a user out everywhere"),
	"user.invited":                  locale.New("Invited a user"),
	"user.approved":                 locale.New("Approved an account"),
	"user.refused":                  locale.New("Refused an account"),
	"user.reset_sent":               locale.New("Sent a reset email"),
	"user.password_removed":         locale.New("Removed a password"),
	"workspace.created":             locale.New("Created the workspace"),
	"workspace.deleted":             locale.New("Deleted the workspace"),
	"workspace.disabled":            locale.New("Disabled the workspace"),
	"workspace.enabled":             locale.New("Enabled the workspace"),
	"workspace.updated":             locale.New("Changed the workspace"),
}

// auditText is an action in words.
func auditText(ctx context.Context, action string) string {
	if text, ok := auditTexts[action]; ok {
		return of(ctx, text)
	}
	return action
}

// factTexts are the names of Facts in words. A name without a text is shown as it is.
var factTexts = map[string]locale.Text{
	"addresses":  locale.New("addresses"),
	"app":        locale.New("app"),
	"attempts":   locale.New("attempts"),
	"changed":    locale.New("detail: changed"),
	"from":       locale.New("detail: from"),
	"grace":      locale.New("grace period"),
	"grant":      locale.New("grant"),
	"grants":     locale.New("grants"),
	"into":       locale.New("replaced by"),
	"jwks_uri":   locale.New("URL of the keys"),
	"keys":       locale.New("public keys"),
	"method":     locale.New("method of authentication"),
	"invitation": locale.New("invitation"),
	"name":       locale.New("name"),
	"note":       locale.New("note"),
	"owner":      locale.New("owner"),
	"plan":       locale.New("plan"),
	"rate_limit": locale.New("rate limit"),
	"reason":     locale.New("reason"),
	"refused":    locale.New("permissions not allowed"),
	"resource":   locale.New("resource"),
	"role":       locale.New("role"),
	"scopes":     locale.New("scopes"),
	"secret":     locale.New("secret"),
	"sessions":   locale.New("sessions"),
	"state":      locale.New("state"),
	"to":         locale.New("detail: to"),
	"tokens":     locale.New("tokens"),
	"user":       locale.New("user"),
	"uses":       locale.New("detail: uses"),
	"with_user":  locale.New("together with the user"),
}

// factText is the name of a Fact in words.
func factText(ctx context.Context, name string) string {
	if text, ok := factTexts[name]; ok {
		return of(ctx, text)
	}
	return strings.ReplaceAll(name, "_", " ")
}

// clock formats the time of day, in the reader's time zone.
func clock(ctx context.Context, t time.Time) string {
	return t.In(cmp.Or(locale.From(ctx).Zone, time.UTC)).Format("15:04 MST")
}

// planOptions are the choices for a workspace's plan. The plan that it has is one of them even if it is not configured.
func planOptions(names []string, chosen string) []Option {
	list := []Option{{Text: locale.New("No plan"), Selected: chosen == ""}}
	known := chosen == ""
	for _, name := range names {
		list = append(list, Option{Value: name, Text: AsIs(name), Selected: name == chosen})
		known = known || name == chosen
	}
	if !known {
		text := locale.New("%s (not in the configuration)", chosen)
		list = append(list, Option{Value: chosen, Text: text, Selected: true})
	}
	return list
}
