package templates

import (
	"time"

	"doorward/locale"
)

// AdminUsersView is /admin/users. It posts name, email, password, admin ("1"), and current_password if NeedPassword is
// set, to /admin/users; if Invites is set, only email and current_password. It posts nothing to
// /admin/users/{ID}/disable and /admin/users/{ID}/enable. The search is a GET of /admin/users with q and filter.
type AdminUsersView struct {
	Page
	Query   string   // what was searched for; empty shows all
	Filter  string   // the chosen one of Filters; empty: all users
	Filters []Option // the first is for all users
	Invites bool     // the server sends email, so an administrator invites users and sets no password
	Columns []Column // name, email, created, last_seen and the actions
	Users   []AdminUser
	NextURL string // empty on the last page
	PrevURL string // empty on the first page

	// NewName, NewEmail and NewAdmin are what was typed for a new user.
	NewName  string
	NewEmail string
	NewAdmin bool
	// NeedPassword asks for the administrator's own password, because the last sign-in is too old. Field:
	// current_password.
	NeedPassword bool
	// Errors holds one sentence per field: name, email, password, current_password. If there are any, the form is
	// unfolded.
	Errors map[string]locale.Text
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
	Waiting  bool      // for approval; Disabled is set too
	Self     bool      // the viewer, who cannot disable themselves
}

// AdminUserView is /admin/users/{ID}. It posts name, email and admin ("1") to that path; nothing to …/enable and
// …/approve; nothing to …/reset if Resets is set; unless Invites is set, password, keep_apps ("1"), tokens ("1") and,
// if NeedPassword is set, current_password to …/password. It links to the confirmation pages …/sign-out, …/disable,
// …/delete, …/refuse, …/methods/{ID}/remove and …/sessions/{ID}/end.
type AdminUserView struct {
	Page
	AdminUser          // Name, Email and Admin as they were typed
	SavedEmail  string // as stored
	EmailProven time.Time
	// TermsURL are the terms that the user accepted at TermsAccepted; empty: none.
	TermsURL      string
	TermsAccepted time.Time
	Methods       []MethodRow
	Sessions      []SessionRow
	Invites       bool // the server sends email, so an administrator sets no password
	Resets        bool // a reset email can be sent
	// Workspaces are those without another enabled owner, in words.
	Workspaces []locale.Text
	// Tokens are the personal access tokens that are neither revoked nor expired, in words, in the reader's language.
	Tokens []string
	// KeepApps and RevokeTokens are what was chosen beside a new password.
	KeepApps     bool
	RevokeTokens bool
	NeedPassword bool                   // the administrator's last sign-in is too old
	Errors       map[string]locale.Text // one sentence per field, by field name
}

// AdminAppsView is /admin/apps. It posts nothing to /admin/apps/{ID}/disable, …/enable, …/verify and …/unverify. The
// search is a GET of /admin/apps with q.
type AdminAppsView struct {
	Page
	Query   string   // what was searched for; empty shows all
	Columns []Column // name, type, owner, created and the actions
	Apps    []AdminApp
	NextURL string // empty on the last page
	PrevURL string // empty on the first page
}

// AdminApp is one client in the administrators' list.
type AdminApp struct {
	ID           string // client_id; part of the paths
	Name         string
	Owner        string // email address of the creator; empty: created with the CLI, or the user is gone
	Kind         string // one of the Kind constants
	Verified     bool
	Operator     bool // registered by the operator of this server
	FirstParty   bool
	PKCEOptional bool
	Disabled     bool
	Created      time.Time
	// Registered says how the app registered itself; empty: it did not. It then has neither of the badges above, and
	// cannot be verified.
	Registered locale.Text
	// Document says that its ID is the URL of its metadata document.
	Document bool
}

// RegistrationTokensView is /admin/registration-tokens. It posts uses and expires to that path, and nothing to
// /admin/registration-tokens/{ID}/revoke.
type RegistrationTokensView struct {
	Page
	// Mode says which apps may register themselves: closed, token or open.
	Mode    string
	Columns []Column // token, creator, uses, created, last use, expiry and the actions
	Tokens  []RegistrationTokenRow
	NextURL string // empty on the last page
	PrevURL string // empty on the first page

	Uses    string   // as typed
	Expires []Option // when a new token expires
	// Errors holds one sentence per field: uses, expires. If there are any, the form is unfolded.
	Errors map[string]locale.Text
}

// RegistrationTokenRow is a token with which apps register themselves.
type RegistrationTokenRow struct {
	ID       string // part of the path of its form
	Masked   string
	By       string // name of its creator; empty: created with the CLI
	Used     int    // how many apps have registered with it
	Uses     int    // how many can
	Created  time.Time
	LastUsed time.Time // zero: never
	Expires  time.Time
}

// RegistrationTokenView shows a new registration token, once.
type RegistrationTokenView struct {
	Page
	Token       string
	Uses        int
	Expires     time.Time
	RegisterURL string // registration endpoint (RFC 7591, section 3)
	NextURL     string // the list
}

// AdminWorkspacesView is /admin/workspaces. It posts nothing to /admin/workspaces/{ID}/disable and …/enable, and plan
// to …/plan. The search is a GET of /admin/workspaces with q.
type AdminWorkspacesView struct {
	Page
	Query      string   // what was searched for; empty shows all
	Columns    []Column // name, members, created and the actions
	Workspaces []AdminWorkspace
	NextURL    string // empty on the last page
	PrevURL    string // empty on the first page
	// Plans are the names of the configured plans.
	Plans []string
}

// AdminWorkspace is one workspace in the administrators' list.
type AdminWorkspace struct {
	ID       string // part of the path of its forms
	Slug     string
	Name     string
	Plan     string // empty: none
	Members  int
	Personal bool
	Disabled bool
	Created  time.Time
}
