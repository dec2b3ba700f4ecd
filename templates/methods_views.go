package templates

import (
	"time"

	"doorward/locale"
)

// PasskeyForm is what a form needs to ask the browser for a passkey. The zero value: the form does not.
type PasskeyForm struct {
	Options   string // the argument of navigator.credentials.get or create, as JSON
	Challenge string // sealed, posted back unchanged
}

// ProviderOption is a provider with which users sign in.
type ProviderOption struct {
	ID   string
	Name string
}

// LoginMethod is a way to sign in on the sign-in page.
type LoginMethod struct {
	Kind     string         // one of the constants
	Provider ProviderOption // if Kind is LoginByProvider
}

// The kinds of LoginMethod.
const (
	LoginByPassword = "password"
	LoginByLink     = "link"
	LoginByPasskey  = "passkey"
	LoginByProvider = "provider"
)

// SecondView is /login/second, where a user proves a second factor.
type SecondView struct {
	Page
	Flow    string // sealed flow, posted back unchanged; empty: none
	Email   string
	Code    bool // a code of an authenticator app or a recovery code is asked for
	App     bool // the user has an authenticator app
	Passkey PasskeyForm
	Error   locale.Text
}

// EnrolView is /login/enrol, where a user sets up a second factor that the server asks for.
type EnrolView struct {
	Page
	Flow    string
	Email   string
	Mailed  bool        // the address is proven in this sign-in, so that the rest can be shown
	Passkey PasskeyForm // to create one
	TOTP    TOTPForm
	Error   locale.Text
}

// TOTPForm is what a form shows of a new secret for an authenticator app.
type TOTPForm struct {
	Secret string // in base32
	URL    string // for the QR code
	Sealed string // posted back unchanged
}

// TOTPView is /settings/security/totp.
type TOTPView struct {
	Page
	TOTP  TOTPForm
	Error locale.Text
}

// RecoveryView shows a new set of recovery codes, once.
type RecoveryView struct {
	Page
	Codes []string
	// ContinueURL goes on from here.
	ContinueURL string
	// SignedIn says that the page belongs to the settings.
	SignedIn bool
}

// NewPasskeyView is /settings/security/passkeys/new.
type NewPasskeyView struct {
	Page
	Passkey PasskeyForm
	Error   locale.Text
}

// PasskeyView is /settings/security/passkeys/{id}, where one is renamed.
type PasskeyView struct {
	Page
	ID, Name string
	Errors   map[string]locale.Text
}

// MethodRow is a sign-in method or second factor in a list.
type MethodRow struct {
	ID     string // part of the path of its forms
	Name   string // of a passkey; an address at a provider
	Kind   locale.Text
	Since  time.Time
	UsedAt time.Time // zero: never, or not known
	Locked bool
	Left   int64 // recovery codes
	Paired bool  // UsedAt says when it was used last
	Fixed  bool  // the reader cannot remove it
}

// SignInRow is a sign-in, or a failed one, in a list.
type SignInRow struct {
	At      time.Time
	Text    locale.Text // how, or that it failed
	Failed  bool
	Address string // IP address; empty: unknown
}

// RelayView is a page that sends again the form of a provider, with which the browser sent no cookies.
type RelayView struct {
	Page
	Action   string
	Provider string
	Fields   []FormField
}
