package templates

import (
	"time"

	"github.com/a-h/templ"
)

// The values of Page.Section: which entry of the settings navigation is the
// current one. Pages outside the settings area leave Section empty; on pages
// about a workspace the entry is that of Navigation.
const (
	SectionProfile         = "profile"
	SectionSecurity        = "security"
	SectionConnectedApps   = "connected-apps"
	SectionKeys            = "api-keys"
	SectionTokens          = "personal-access-tokens"
	SectionApps            = "apps"
	SectionWorkspaces      = "workspaces"
	SectionAdminUsers      = "admin-users"
	SectionAdminWorkspaces = "admin-workspaces"
	SectionAdminApps       = "admin-apps"
	SectionAdminAudit      = "admin-audit"
)

// The kinds of an app, as the field "kind" posts them.
const (
	// KindWeb is a confidential client: a server that can keep a secret
	// (RFC 6749, section 2.1).
	KindWeb = "web"
	// KindPublic is a public client: browser, mobile or command-line app
	// without a secret (RFC 6749, section 2.1).
	KindPublic = "public"
	// KindService is a confidential client that acts for itself
	// (RFC 6749, section 4.4).
	KindService = "service"
	// KindResourceServer is a client that only asks the introspection
	// endpoint (RFC 7662).
	KindResourceServer = "resource_server"
)

// The kinds of a scope: how the sentence that stands for it is marked.
const (
	ScopeRead   = "read"   // sees data
	ScopeWrite  = "write"  // creates or changes data
	ScopeDanger = "danger" // deletes data or does everything
)

// Page is what every page has in common. Every view embeds it.
type Page struct {
	// Nonce is the nonce of this answer's Content-Security-Policy
	// (script-src). Empty: no script is written and copy buttons stay hidden.
	Nonce string
	// Now is the time that relative words ("3 days ago") count from. The
	// zero value writes dates instead of relative words.
	Now time.Time
	// User is who is signed in; nil when nobody is.
	User *Viewer
	// Section is the current entry of the settings navigation, one of the
	// Section constants.
	Section string
	// Navigation is the workspace that the sidebar begins with.
	Navigation Navigation
	// Notice is one sentence about what just succeeded, shown above the
	// content; empty for none.
	Notice string
	Undo   string // path that undoes what the notice says; empty: nothing does
	Form   string // id of the page's forms that create something: the same id again creates nothing
}

// Viewer is the person who looks at the page.
type Viewer struct {
	Name  string // display name; empty: the e-mail address stands for it
	Email string
	Admin bool // adds the administration group to the navigation
}

// LoginView is the sign-in page. It posts flow, email and password to /login.
type LoginView struct {
	Page
	Flow  string // sealed flow, posted back unchanged; empty when signing in to the settings
	Email string // as typed before, or the fixed address when Reauth is set
	// Error is why signing in did not work, one sentence; empty for none.
	Error string
	// AppName is the client that waits behind the login; empty for none.
	AppName string
	// Reauth asks a signed-in person for the password again, because the
	// client wants that; the address can then not be changed.
	Reauth bool
	// SwitchURL leads to signing in as somebody else, when Reauth is set.
	SwitchURL string
	// SetupHint says that there is no user yet and that the set-up link is
	// in the server's output.
	SetupHint bool
	// Invitation is the one that the sign-in leads to; nil for none.
	Invitation *InvitedTo
}

// InvitedTo is an invitation as the sign-in page names it. It says nothing about
// accounts.
type InvitedTo struct {
	Workspace string // name
	For       string // the address that was invited
}

// SelectView is /login for a person who is signed in and must confirm with which account they go on. It posts flow and
// select to /login.
type SelectView struct {
	Page
	Flow         string
	Token        string
	AppName      string
	SwitchURL    string // signs in with another account
	NeedPassword bool   // the password is asked for next
}

// LogoutView asks whether to sign out. It posts to /logout without fields.
type LogoutView struct {
	Page
}

// SignInLinkView asks whether to use up a sign-in link. It posts word.
type SignInLinkView struct {
	Page

	Word  string
	Email string
}

// SetupView makes the first administrator. It posts word, name, email and
// password to /setup.
type SetupView struct {
	Page
	Word  string // one-time word; empty: the page asks for it
	Name  string
	Email string
	// Errors is one sentence by field name: word, name, email, password.
	Errors map[string]string
}

// ConsentView asks the resource owner for a decision (RFC 6749, section 4.1.1). It
// posts flow, token, scope (repeated), workspace and decision ("approve" or
// "deny") to /oauth/consent. Page.User is who decides and must be set.
type ConsentView struct {
	Page
	Flow  string // sealed flow, posted back unchanged
	Token string // per-flow token against cross-site requests
	App   ConsentApp
	// SwitchURL leads to signing in as somebody else.
	SwitchURL string
	// ResourceName is the API that the access is for.
	ResourceName string
	// Scopes are asked for now; those that are not Locked can be unchecked.
	Scopes []ConsentScope
	// Known were allowed earlier. They are shown folded and posted unseen.
	Known []ConsentScope
	// NotGranted says in one short line what the app does not get; empty
	// leaves the line out.
	NotGranted string
	// Lasts is a sentence about how long the access lasts.
	Lasts string
	// Workspaces are the ones to choose from; the question is shown only
	// when there is more than one. A single one is posted unseen.
	Workspaces []WorkspaceChoice
	// OtherWorkspaces says that the person belongs to workspaces that are
	// not offered.
	OtherWorkspaces bool
	Error           string // why the last answer did not count; empty for none
}

// ConsentApp is the client that asks.
type ConsentApp struct {
	Name string // as its developer wrote it
	Site string // its web site; empty for none. Shown as a link only beside a badge
	// RedirectHost is where the answer goes: the host of the redirect URI,
	// or its scheme when that is a private one ("com.example.app:").
	RedirectHost string
	Verified     bool // an administrator has checked name and site
	Operator     bool // registered by the operator of this server
	FirstParty   bool // belongs to whoever runs this server
	Loopback     bool // the redirect goes to a program on the same computer (RFC 8252, section 7.3)
	BareScheme   bool // RedirectHost is a scheme without a dot, which any program can claim
}

// ConsentScope is one right, in words, with those that come with it: they are
// granted and refused together.
type ConsentScope struct {
	Value    string   // what is posted: the scope, and those asked for that it includes, separated by spaces
	Text     string   // sentence fragment such as "Read your data"
	Includes []string // texts of the scopes that come with it
	Kind     string   // one of the Scope constants
	New      bool     // not allowed earlier, though others were
	Locked   bool     // cannot be unchecked; posted unseen
	Checked  bool     // ignored when Locked
}

// WorkspaceChoice is a workspace that the access can be for.
type WorkspaceChoice struct {
	Slug     string // the value that is posted
	Name     string
	Personal bool // came with the person's account
	Selected bool
}

// ErrorView is the page for everything that went wrong.
type ErrorView struct {
	Page
	Status    int // HTTP status; 0 leaves the number out
	Heading   string
	Message   string // what happened and what to do
	RequestID string // empty leaves the line out
	BackURL   string // empty for no link
	BackText  string // text of the link; empty: "Go back"
	// AnswerURL takes the place of BackURL: an app's registered redirect URI with our answer, whose scheme may be its own.
	AnswerURL templ.SafeURL
}

// ProfileView is /settings/profile. It posts name there.
type ProfileView struct {
	Page
	Name        string // as typed, or as stored
	Email       string // shown, cannot be changed here
	UserID      string
	MemberSince time.Time
	// Errors is one sentence by field name: name.
	Errors map[string]string
}

// SecurityView is /settings/security: password and sessions. It posts
// current_password and new_password to /settings/security/password, and
// nothing to /settings/security/sessions/{ID}/end and
// /settings/security/sessions/end-others.
type SecurityView struct {
	Page
	Sessions []SessionRow
	// Errors is one sentence by field name: current_password, new_password.
	Errors map[string]string
}

// SessionRow is one signed-in browser.
type SessionRow struct {
	ID         string // opaque; part of the path of its form
	Browser    string // in words, such as "Firefox on Linux"; empty when unknown
	Address    string // IP address
	Current    bool   // the session that looks at the page; has no form
	SignedInAt time.Time
	LastSeenAt time.Time
}

// ConnectedAppsView is /settings/connected-apps: what the user has allowed.
// It posts nothing to /settings/connected-apps/{ID}/end and, when there is
// more than one, to /settings/connected-apps/end-all.
type ConnectedAppsView struct {
	Page
	Apps []ConnectedApp
}

// ConnectedApp is one client with access.
type ConnectedApp struct {
	ID       string // opaque; part of the path of its form
	Name     string
	Site     string // empty for none
	Host     string // where it sends people back to
	Verified bool   // an administrator has checked name and site
	Operator bool   // registered by the operator of this server
	Disabled bool   // the client is switched off, so the access does not work now
	// FirstParty says that the client belongs to whoever runs this server and need not ask again.
	FirstParty bool
	Access     []ConnectedAccess
	Since      time.Time
	LastUsed   time.Time // zero: never
	Live       int       // authorizations that have not ended; 0 leaves it out
}

// ConnectedAccess is what a client may do at one API.
type ConnectedAccess struct {
	Resource  string // name of the API
	Workspace string // name; empty for none
	// Scopes are sentences such as "Read your data".
	Scopes []string
}

// AppsView is the clients of a workspace: those that the user built in their
// personal one, at /settings/developer/apps, or those of a workspace, at
// /settings/workspaces/{slug}/apps.
type AppsView struct {
	Page
	Base         string       // path of this page
	Workspace    WorkspaceBar // zero: not said
	Columns      []Column     // name, type, created and people
	Apps         []AppRow
	AuthorizeURL string // authorization endpoint (RFC 6749, section 3.1)
	TokenURL     string // token endpoint (RFC 6749, section 3.2)
}

// AppRow is one client in a list.
type AppRow struct {
	ID      string // client_id; part of the path of its page
	Name    string
	Kind    string // one of the Kind constants
	Status  string // "active" or "disabled"
	Created time.Time
	Users   int // people who have allowed it
}

// AppFields are the fields of a client that can be typed. Field names: name,
// site, kind, redirect_uris, resource (repeated), scope (repeated), refresh,
// and for administrators first_party, manages, pkce_optional, verified.
// Checkboxes post "1".
type AppFields struct {
	Name string
	Site string
	// Kind is one of the Kind constants; empty chooses KindWeb. It is
	// chosen once: the page of an existing app posts it unseen.
	Kind string
	// RedirectURIs is the text of the field, one URI per line.
	RedirectURIs string
	// Resources are all that the client may be registered for, each with
	// its scopes. One alone is posted unseen.
	Resources []ResourceChoice
	Refresh   bool // may stay connected: gets refresh tokens
	// Administrator shows the kind resource_server and the four
	// switches below.
	Administrator bool
	FirstParty    bool // skips the consent page
	Manages       bool // its tokens may create what outlives them
	PKCEOptional  bool // may leave out PKCE (RFC 7636)
	Verified      bool // name and site were checked
	// NeedPassword asks for the user's password where a secret is made,
	// because the last sign-in is too old. Field: password.
	NeedPassword bool
	// Errors is one sentence by field name.
	Errors map[string]string
}

// ResourceChoice is an API that a client can be for.
type ResourceChoice struct {
	ID       string // resource indicator (RFC 8707), the value that is posted
	Name     string
	Selected bool
	Scopes   []ScopeChoice
}

// ScopeChoice is a scope that a client can be registered with. A client's
// scopes are one set of names: a name that several resources share counts for
// each of them.
type ScopeChoice struct {
	Name     string // scope token, the value that is posted
	Text     string // sentence fragment such as "Read your data"
	Kind     string // one of the Scope constants
	Checked  bool
	UserOnly bool             // counts only where a person stands behind the credential; said where that may not be so
	Under    []IncludedChoice // those that come with it
	Also     []string         // texts of those that come with it and are listed elsewhere
}

// IncludedChoice is a ScopeChoice under another one.
type IncludedChoice struct {
	Name     string
	Text     string
	Kind     string
	Checked  bool
	UserOnly bool
}

func (c IncludedChoice) choice() ScopeChoice {
	return ScopeChoice{Name: c.Name, Text: c.Text, Kind: c.Kind, Checked: c.Checked, UserOnly: c.UserOnly}
}

// AppFormView makes a client. It posts AppFields, and password when NeedPassword
// is set, to Base.
type AppFormView struct {
	Page
	AppFields
	Base      string       // path of the list
	Workspace WorkspaceBar // zero: not said
}

// AppView is the page of one client. It posts AppFields to Base; grace ("now",
// "1h", "24h", "7d"), and password when NeedPassword is set, to Base/secret;
// nothing to Base/disable and Base/enable; confirm to Base/delete.
type AppView struct {
	Page
	AppFields
	// Base is the path of this page and the start of its forms' paths:
	// /settings/developer/apps/{ID}, /settings/workspaces/{slug}/apps/{ID} or
	// /admin/apps/{ID}.
	Base      string
	Workspace WorkspaceBar // zero: not said
	ClientID  string
	// SavedName is the stored name: the heading, and what confirm must
	// equal. Name may hold something just typed. Empty: Name.
	SavedName string
	Disabled  bool
	// Why says who disabled the app, or that it stopped with its workspace;
	// empty: it works.
	Why string
	// Held says why whoever looks at a disabled app cannot enable it; empty:
	// they can.
	Held    string
	Owner   string // who it belongs to; empty leaves the line out
	Created time.Time
	Users   int // people who have allowed it
	// Secrets are the live ones; public clients have none.
	Secrets       []SecretRow
	Requests      Requests // with its tokens
	AuthorizeURL  string   // authorization endpoint (RFC 6749, section 3.1)
	TokenURL      string   // token endpoint (RFC 6749, section 3.2)
	IntrospectURL string   // introspection endpoint (RFC 7662, section 2); shown for KindResourceServer only
	MetadataURL   string   // RFC 8414, section 3; empty leaves the line out
}

// SecretRow is one live client secret; the secret itself is known to nobody
// but its owner.
type SecretRow struct {
	Tail     string // its last characters
	Created  time.Time
	LastUsed time.Time // zero: never
	Expires  time.Time // zero: does not expire
}

// SecretView shows a client secret, once.
type SecretView struct {
	Page
	Workspace    WorkspaceBar // zero: not said
	AppName      string
	Kind         string // one of the Kind constants; decides the example call
	ClientID     string
	Secret       string
	AuthorizeURL string // authorization endpoint; for KindWeb
	TokenURL     string // token endpoint
	// IntrospectURL is the introspection endpoint; for KindResourceServer.
	IntrospectURL string
	Scope         string // space-separated, for the example call; may be empty
	RedirectURI   string // for the example call of KindWeb; may be empty
	// OldUntil is until when the secret before this one works; zero when
	// there is none or it has ended.
	OldUntil time.Time
	NextURL  string // the client's page
}

// AdminUsersView is /admin/users. It posts name, email, password, admin ("1"),
// and current_password when NeedPassword is set, to /admin/users; nothing to
// /admin/users/{ID}/disable and /admin/users/{ID}/enable. The search is a GET
// of /admin/users with q.
type AdminUsersView struct {
	Page
	Query   string   // what was searched for; empty shows all
	Columns []Column // name, email, created, last_seen and the forms
	Users   []AdminUser
	NextURL string // empty on the last page
	PrevURL string // empty on the first page

	// What was typed for a new user.
	NewName  string
	NewEmail string
	NewAdmin bool
	// NeedPassword asks for the administrator's own password, because the
	// last sign-in is too old. Field: current_password.
	NeedPassword bool
	// Errors is one sentence by field name: name, email, password,
	// current_password. The form is unfolded when there are any.
	Errors map[string]string
}

// AdminUser is one user in the administrators' list.
type AdminUser struct {
	ID       string // part of the path of its forms
	Name     string
	Email    string
	Admin    bool
	Disabled bool
	Created  time.Time
	LastSeen time.Time // zero: never
	Self     bool      // the administrator who looks; cannot be disabled here
}

// AdminAppsView is /admin/apps. It posts nothing to /admin/apps/{ID}/disable,
// enable, verify and unverify. The search is a GET of /admin/apps with q.
type AdminAppsView struct {
	Page
	Query   string   // what was searched for; empty shows all
	Columns []Column // name, type, owner, created and the forms
	Apps    []AdminApp
	NextURL string // empty on the last page
	PrevURL string // empty on the first page
}

// AdminApp is one client in the administrators' list.
type AdminApp struct {
	ID           string // client_id; part of the paths
	Name         string
	Owner        string // e-mail or workspace; empty: made by the command
	Kind         string // one of the Kind constants
	Verified     bool
	Operator     bool // registered by the operator of this server
	FirstParty   bool
	PKCEOptional bool
	Disabled     bool
	Created      time.Time
}
