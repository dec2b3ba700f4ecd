package templates

// AdminUserView is /admin/users/{ID}. It posts name, email and admin ("1") to that path; password, keep_apps ("1"),
// tokens
// ("1") and, when NeedPassword is set, current_password to …/password; nothing to …/enable. It links to the steps
// before
// signing out and disabling.
type AdminUserView struct {
	Page
	AdminUser         // Name, Email and Admin as they were typed
	SavedEmail string // the address now
	Workspaces []string
	Tokens     []string // personal access tokens that are neither revoked nor expired
	// What was chosen beside a new password.
	KeepApps     bool
	RevokeTokens bool
	NeedPassword bool              // the administrator's last sign-in is too old
	Errors       map[string]string // one sentence by field name
}
