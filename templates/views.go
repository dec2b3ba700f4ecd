package templates

import (
	"time"

	"github.com/a-h/templ"

	"doorward/locale"
)

// The values of Page.Section: the current entry of the settings navigation. Pages outside the settings leave it empty.
// On pages about a workspace the current entry is that of Page.Navigation.
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
	SectionAdminTokens     = "admin-registration-tokens"
	SectionAdminAudit      = "admin-audit"
)

// The types of an app, as the field "kind" posts them.
const (
	// KindWeb is a confidential client: a server that can keep a secret (RFC 6749, section 2.1).
	KindWeb = "web"
	// KindPublic is a public client: a browser, mobile or command-line app without a secret (RFC 6749, section 2.1).
	KindPublic = "public"
	// KindService is a confidential client that acts for itself (RFC 6749, section 4.4).
	KindService = "service"
	// KindResourceServer is a client that only uses the introspection endpoint (RFC 7662).
	KindResourceServer = "resource_server"
)

// The kinds of a scope, which decide how its text is marked.
const (
	ScopeRead   = "read"   // sees data
	ScopeWrite  = "write"  // creates or changes data
	ScopeDanger = "danger" // deletes data or does everything
)

// Page is what all pages share. Every view embeds it.
type Page struct {
	// Nonce is the nonce in the response's Content-Security-Policy (script-src). Empty: the page has no script, and copy
	// buttons stay hidden.
	Nonce string
	// Now is the time that relative times ("3 days ago") are counted from. Zero: times are shown as dates.
	Now time.Time
	// User is the signed-in user; nil: the visitor is not signed in.
	User *Viewer
	// Section is the current entry of the settings navigation, one of the Section constants.
	Section string
	// Navigation is the current workspace, at the top of the settings navigation.
	Navigation Navigation
	// Notice is a sentence about a change that just succeeded, in the reader's language, shown above the content; empty:
	// none.
	Notice string
	Undo   string // path that undoes the change; empty: it cannot be undone
	// OfferPasskey suggests to create a passkey.
	OfferPasskey bool
	Form         string // idempotency ID of the page's forms: a form that is sent twice creates one object
}

// Viewer is the user who looks at the page.
type Viewer struct {
	Name  string // empty: the email address is shown instead
	Email string
	Admin bool // adds the administration group to the navigation
}

// LoginView is the sign-in page. It posts flow, email and password to /login.
type LoginView struct {
	Page
	Flow  string // sealed flow, posted back unchanged
	Email string // as typed before, or the fixed address if Reauth is set
	// Error says why the last attempt failed; empty: there was none.
	Error locale.Text
	// AppName is the app that the sign-in is for; empty: none.
	AppName string
	// Reauth asks a signed-in user for the password again, because the app requires it. The email address is then fixed.
	Reauth bool
	// SwitchURL is for signing in with another account, if Reauth is set.
	SwitchURL string
	// SetupHint says that there are no users yet, and where to find the set-up link.
	SetupHint bool
	// Invitation is the invitation that the sign-in is for; nil: none.
	Invitation *InvitedTo
	// Step is what the page asks for. It is the same for every address, with or without an account.
	Step LoginStep
	// Methods are the ways to sign in, the one to offer first at the front. A page that asks for the address offers only
	// those that need none: passkeys and providers.
	Methods []LoginMethod
	// OtherAddressURL goes back from the methods to the address.
	OtherAddressURL string
	// ForgotURL and SignUpURL are the pages for a new password and for a new account; empty: there is none.
	ForgotURL, SignUpURL string
}

// LoginStep is what a sign-in page asks for.
type LoginStep string

// The steps of a sign-in. Where users have one method only, there is one step.
const (
	LoginPassword LoginStep = ""        // address and password at once
	LoginAddress  LoginStep = "address" // the address, before the methods
	LoginMethods  LoginStep = "methods"
	LoginLink     LoginStep = "link" // the address, for a link and a code
)

// InvitedTo is an invitation as the sign-in page shows it. It does not say whether there is an account for the address.
type InvitedTo struct {
	Workspace string // name
	For       string // the email address that was invited
}

// SelectView is /login for a signed-in user who must confirm which account to continue with. It posts flow and select
// to /login.
type SelectView struct {
	Page
	Flow         string // sealed flow, posted back unchanged
	Token        string // value of select
	AppName      string
	SwitchURL    string // for signing in with another account
	NeedPassword bool   // the next page asks for the password
}

// LogoutView asks whether to sign out. It posts nothing to /logout.
type LogoutView struct {
	Page
}

// SignInLinkView asks whether to sign in with a sign-in link, which works once. It posts word to /login/link.
type SignInLinkView struct {
	Page

	Token string // of the link; the value of word
	Email string
	// Elsewhere says that the link was asked for in another browser.
	Elsewhere bool
}

// SetupView creates the first administrator. It posts word, name, email and password to /setup.
type SetupView struct {
	Page
	Token string // set-up token, the value of word; empty: the page asks for it
	Name  string
	Email string
	// Errors holds one sentence per field: word, name, email, password.
	Errors map[string]locale.Text
}

// ConsentView asks the resource owner for a decision (RFC 6749, section 4.1.1). It posts flow, token, scope (repeated),
// workspace and decision ("approve" or "deny") to /oauth/consent. Page.User is the resource owner and must be set.
type ConsentView struct {
	Page
	Flow  string // sealed flow, posted back unchanged
	Token string // token of the flow against cross-site request forgery
	// Described is the token for what the page says about an app that registered itself, posted back; empty: it did not.
	Described string
	App       ConsentApp
	// SwitchURL is for signing in with another account.
	SwitchURL string
	// ResourceName is the name of the API that the access is for.
	ResourceName string
	// Scopes are the permissions to decide about. Those that are not Locked can be unchecked.
	Scopes []ConsentScope
	// Known are the permissions that were allowed before. They are folded, and posted in hidden fields.
	Known []ConsentScope
	// NotGranted says what the app does not get; empty: the line is left out.
	NotGranted locale.Text
	// Lasts says how long the access lasts, and what remains after that, a sentence each.
	Lasts []locale.Text
	// Workspaces are the choices. A single one is posted in a hidden field.
	Workspaces []WorkspaceChoice
	// OtherWorkspaces says that the user has further workspaces, which cannot be chosen.
	OtherWorkspaces bool
	Error           locale.Text // what is wrong with the last decision; empty: there was none
}

// ConsentApp is the app that requests access.
type ConsentApp struct {
	Name string // as its developer wrote it
	Site string // website; empty: none. It is a link only if the app is verified or the operator's
	// RedirectHost is where the user returns to: the host of the redirect URI, or its scheme if that is a private one
	// ("com.example.app:").
	RedirectHost string
	Verified     bool // an administrator has checked name and site
	Operator     bool // registered by the operator of this server
	FirstParty   bool // belongs to the operator of this server
	Loopback     bool // redirects to a program on the same computer (RFC 8252, section 7.3)
	BareScheme   bool // RedirectHost is a scheme without a dot, which any program can claim
	// LogoURL is the path of its logo on this server; empty: none.
	LogoURL string
	// PolicyURL and TermsURL are its privacy policy and terms of service; empty: unknown. As Site, they are links only if
	// the app is verified or the operator's.
	PolicyURL, TermsURL string
	// SelfRegistered says that the app registered itself, so that it says about itself what the page says about it.
	SelfRegistered bool
	// ProvenHost is the host at which it publishes its metadata document; empty: it has none.
	ProvenHost string
	// FirstSeen is when an app that registered itself was first known here; zero: not before.
	FirstSeen time.Time
	// OnlyLoopback says that all its redirects lead to programs on the user's computer.
	OnlyLoopback bool
	// Change is what it says now and did not say when the user last allowed it; nil: it says the same.
	Change *ConsentChange
}

// ConsentChange is how an app that registered itself has changed.
type ConsentChange struct {
	OldName        string   // empty: the name is the same
	Added, Removed []string // redirect URIs
	NewKeys        bool
}

// ConsentScope is a permission in words, with those that it includes. They are allowed or denied together.
type ConsentScope struct {
	Value    string   // posted: the scope, and the requested scopes that it includes, separated by spaces
	Text     string   // sentence fragment such as "Read your data"
	Includes []string // texts of the scopes that it includes
	Kind     string   // one of the Scope constants
	New      bool     // not allowed before, while others were
	Locked   bool     // cannot be unchecked; posted in a hidden field
	Checked  bool     // ignored if Locked
}

// WorkspaceChoice is a workspace that the access can be for.
type WorkspaceChoice struct {
	Slug     string // posted
	Name     string
	Personal bool // was created with the user's account
	Selected bool
}

// ErrorView is an error page.
type ErrorView struct {
	Page
	Status    int // HTTP status; zero: the number is left out
	Heading   locale.Text
	Message   locale.Text // what happened and what to do
	RequestID string      // empty: the line is left out
	BackURL   string      // empty: no link
	BackText  locale.Text // text of the link; empty: "Go back"
	// AnswerURL replaces BackURL: an app's registered redirect URI with the response to it. Its scheme may be private.
	AnswerURL templ.SafeURL
}

// ProfileView is /settings/profile. It posts name there.
type ProfileView struct {
	Page
	Name        string   // as typed, or as stored
	Languages   []Option // none: there is only one
	Zones       []Option
	Email       string
	MayChange   bool   // the server sends email, so the user can change the address
	NewEmail    string // as typed
	UserID      string
	MemberSince time.Time
	// Errors holds one sentence per field: name, language, time_zone, email.
	Errors map[string]locale.Text
}

// SecurityView is /settings/security: password and sessions. It posts current_password and new_password to
// /settings/security/password if the user has a password, and nothing to /settings/security/sessions/{ID}/end and
// …/end-others.
type SecurityView struct {
	Page
	Sessions []SessionRow
	// Passkeys says that users can have passkeys. PasskeyRows, TOTP, Recovery and Accounts are what this one
	// has.
	Passkeys     bool
	PasskeyRows  []MethodRow
	TOTP         *MethodRow // nil: no authenticator app is set up
	Recovery     *MethodRow // nil: no recovery codes
	SecondFactor bool       // the user has a second factor
	Accounts     []MethodRow
	Providers    []ProviderOption // that the user can connect
	SignIns      []SignInRow
	MayRemove    bool   // the password can be removed
	Password     bool   // the user has a password
	ResetURL     string // page on which a user without one chooses one; empty: they cannot
	// Errors holds one sentence per field: current_password, new_password.
	Errors map[string]locale.Text
}

// SessionRow is one signed-in browser.
type SessionRow struct {
	ID         string      // part of the path of its form
	Browser    locale.Text // such as "Firefox on Linux"; empty: unknown
	Address    string      // IP address
	Current    bool        // the viewer's own session; has no form
	NewDevice  bool        // the user had not signed in in this browser before
	SignedInAt time.Time
	LastSeenAt time.Time
}

// ConnectedAppsView is /settings/connected-apps: the apps that the user has allowed. It posts nothing to
// /settings/connected-apps/{ID}/end and, if there is more than one app, to …/end-all.
type ConnectedAppsView struct {
	Page
	Apps []ConnectedApp
}

// ConnectedApp is an app with access to the user's data.
type ConnectedApp struct {
	ID       string // part of the path of its form
	Name     string
	Site     string // website; empty: none
	Host     string // of its redirect URI
	Verified bool   // an administrator has checked name and site
	Operator bool   // registered by the operator of this server
	Disabled bool   // the app cannot use its access now
	// ProvenHost is the host at which it publishes its metadata document; empty: it has none. Users know the app by it, as
	// on the consent page.
	ProvenHost string
	FullName   string // for a sentence: the name, after the proven host
	// FirstParty says that the app belongs to the operator of this server and gets access without asking.
	FirstParty  bool
	Access      []ConnectedAccess
	Since       time.Time
	LastUsed    time.Time // zero: never
	Connections int       // current authorizations; zero: the line is left out
}

// ConnectedAccess is what an app may do at one API.
type ConnectedAccess struct {
	Resource  string // name of the API
	Workspace string // name; empty: the user has only one
	// Scopes are sentences such as "Read your data".
	Scopes []string
}

// AppsView is the list of apps: those in the user's personal workspace, at /settings/developer/apps, or those of a
// workspace, at /settings/workspaces/{slug}/apps.
type AppsView struct {
	Page
	Base         string       // path of this page
	Workspace    WorkspaceBar // zero: not shown
	Columns      []Column     // name, type, created and people
	Apps         []AppRow
	AuthorizeURL string // authorization endpoint (RFC 6749, section 3.1)
	TokenURL     string // token endpoint (RFC 6749, section 3.2)
}

// AppRow is an app in a list.
type AppRow struct {
	ID       string // client_id; part of the path of its page
	Name     string
	Kind     string // one of the Kind constants
	Disabled bool
	Created  time.Time
	Users    int // users who have allowed it
}

// AppFields are the form fields of an app. Field names: name, site, logo_uri, policy_uri, tos_uri, kind, redirect_uris,
// resource (repeated), scope (repeated), refresh, and for administrators first_party, manages, pkce_optional and
// verified. Checkboxes post "1".
type AppFields struct {
	Name      string
	Site      string
	LogoURI   string
	PolicyURI string
	TOSURI    string
	// Kind is one of the Kind constants; empty: KindWeb. It cannot be changed later: the page of an app posts it in a
	// hidden field.
	Kind string
	// RedirectURIs has one URI per line.
	RedirectURIs string
	// Resources are all APIs that an app can be for, with their scopes. A single one is posted in a hidden field.
	Resources []ResourceChoice
	Refresh   bool // gets refresh tokens
	// Administrator shows KindResourceServer and the four checkboxes below.
	Administrator bool
	FirstParty    bool // skips the consent page
	Manages       bool // its tokens may create things that remain after the tokens are revoked
	PKCEOptional  bool // may leave out PKCE (RFC 7636)
	Verified      bool // an administrator has checked name and site
	AppAuthentication
	// NeedPassword asks for the user's password before a secret is created, because the last sign-in is too old. Field:
	// password.
	NeedPassword bool
	// Errors holds one sentence per field, by field name.
	Errors map[string]locale.Text
}

// AppAuthentication are the form fields for how an app authenticates and what it must send. Their names are those of
// the standards: token_endpoint_auth_method, jwks, jwks_uri, token_endpoint_auth_signing_alg,
// require_pushed_authorization_requests, dpop_bound_access_tokens, fapi, and for administrators token_endpoint_audience.
type AppAuthentication struct {
	AuthMethod         string   // client_secret_basic, client_secret_post, private_key_jwt; empty: either secret
	AuthAlgorithm      string   // one of AuthAlgorithms; empty: any
	AuthAlgorithms     []string // that can be chosen
	JWKS               string
	JWKSURI            string
	PushedRequestsOnly bool
	DPoPBound          bool
	FAPI               bool
	FAPIMeans          []locale.Text // what FAPI changes, one sentence each
	Audience           bool
}

// ResourceChoice is an API that an app can be for.
type ResourceChoice struct {
	ID       string // resource indicator (RFC 8707), posted
	Name     string
	Selected bool
	Scopes   []ScopeChoice
}

// ScopeChoice is a scope that an app or key can have. An app's scopes are one set of names: a name that several APIs
// share applies to each of them.
type ScopeChoice struct {
	Name     string // scope token, posted
	Text     string // sentence fragment such as "Read your data"
	Kind     string // one of the Scope constants
	Checked  bool
	UserOnly bool             // works only in credentials that act for a user
	Under    []IncludedChoice // scopes that it includes
	Also     []string         // texts of scopes that it includes and that are listed elsewhere
}

// IncludedChoice is a ScopeChoice that is listed under another one.
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

// AppFormView creates an app. It posts AppFields, and password if NeedPassword is set, to Base.
type AppFormView struct {
	Page
	AppFields
	Base      string       // path of the list
	Workspace WorkspaceBar // zero: not shown
}

// AppView is the page of one app. It posts AppFields to Base, without AppAuthentication, which it posts to
// Base/authentication; grace ("now", "1h", "24h", "7d"), and password if
// NeedPassword is set, to Base/secret; nothing to Base/disable and Base/enable; confirm to Base/delete.
type AppView struct {
	Page
	AppFields
	// Base is the path of this page, and the beginning of its forms' paths: /settings/developer/apps/{ID},
	// /settings/workspaces/{slug}/apps/{ID} or /admin/apps/{ID}.
	Base      string
	Workspace WorkspaceBar // zero: not shown
	ClientID  string
	// SavedName is the stored name: the heading, and what confirm must equal. Name may be what was just typed. Empty:
	// Name is the stored one.
	SavedName string
	// Registration is what an app that registered itself says about itself. The page then has no form to change it; nil:
	// the app did not register itself.
	Registration *SelfRegistration
	Disabled     bool
	// Why says who disabled the app or its workspace; empty: the app works.
	Why locale.Text
	// WhyNotResume says why the viewer cannot enable a disabled app; empty: they can.
	WhyNotResume locale.Text
	Owner        string // email address of its creator; empty: the line is left out
	Created      time.Time
	Users        int // users who have allowed it
	// Secrets are the current ones; public clients and those with private_key_jwt have none.
	Secrets []SecretRow
	// SavedAuthMethod is the stored AuthMethod, and SavedKeys are the stored public keys. AuthMethod and JWKS may be what
	// was just typed.
	SavedAuthMethod string
	SavedKeys       []AppKey
	SavedJWKSURI    string // where the app publishes its keys instead
	// What the app has to do, as it is stored: push its requests, prove that it holds a key, or all that FAPI 2.0 needs.
	SavedPushed, SavedDPoP, SavedFAPI bool
	Requests                          Requests // with its tokens
	AuthorizeURL                      string   // authorization endpoint (RFC 6749, section 3.1)
	TokenURL                          string   // token endpoint (RFC 6749, section 3.2)
	IntrospectURL                     string   // introspection endpoint (RFC 7662, section 2); shown for KindResourceServer only
	MetadataURL                       string   // authorization server metadata (RFC 8414, section 3); empty: the line is left out
}

// SelfRegistration is what an app that registered itself says about itself. Administrators cannot change or verify it.
type SelfRegistration struct {
	By           locale.Text // how it registered
	Document     bool        // its client ID is the URL of its metadata document
	Fetched      time.Time   // when that was last read; zero: it has none
	Type         string      // application_type: web or native; empty: unknown
	RedirectURIs []string
	GrantTypes   []string
	Scopes       []string // that it asked for; none: all that are open to such apps
}

// AppKey is a public key of an app.
type AppKey struct {
	Name       string   // its kid and thumbprint
	Algorithms []string // that it can be used with
}

// SecretRow is a current client secret.
type SecretRow struct {
	Tail     string // its last characters, to recognise it
	Created  time.Time
	LastUsed time.Time // zero: never
	Expires  time.Time // zero: does not expire
}

// SecretView shows a client secret, once.
type SecretView struct {
	Page
	Workspace    WorkspaceBar // zero: not shown
	AppName      string
	Kind         string // one of the Kind constants; decides which example request is shown
	ClientID     string
	Secret       string
	AuthorizeURL string // authorization endpoint; for KindWeb
	TokenURL     string // token endpoint
	// IntrospectURL is the introspection endpoint; for KindResourceServer.
	IntrospectURL string
	Scope         string // separated by spaces, for the example request; may be empty
	RedirectURI   string // for the example request of KindWeb; may be empty
	// OldUntil is when the previous secret stops working; zero: there is none, or it no longer works.
	OldUntil time.Time
	NextURL  string // the app's page
}
