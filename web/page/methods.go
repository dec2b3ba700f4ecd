package page

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"doorward/locale"
	"doorward/oauth/identity"
	"doorward/templates"
)

// MethodRow describes a sign-in method for a list.
func (s *Pages) MethodRow(m identity.Method) templates.MethodRow {
	return templates.MethodRow{
		ID: m.ID, Name: m.Name, Kind: s.methodKind(m), Since: m.Since.Time(), UsedAt: m.UsedAt.Time(), Locked: m.Locked,
		Left: m.Left, Paired: m.Kind == identity.MethodPasskey || m.Kind == identity.MethodTOTP ||
			m.Kind == identity.MethodProvider,
	}
}

// methodKind is the kind of a method in words; for an account at a provider the provider's name.
func (s *Pages) methodKind(m identity.Method) locale.Text {
	switch m.Kind {
	case identity.MethodPassword:
		return locale.New("Password")
	case identity.MethodPasskey:
		return locale.New("Passkey")
	case identity.MethodTOTP:
		return locale.New("Authenticator app")
	case identity.MethodRecoveryCodes:
		return locale.New("Recovery codes")
	}
	return templates.AsIs(s.ProviderName(m.Provider))
}

// MethodText names a method in a list of what is removed.
func (s *Pages) MethodText(m identity.Method) locale.Text {
	if m.Name == "" {
		return s.methodKind(m)
	}
	return locale.New("%s: %s", s.methodKind(m), m.Name)
}

// ProviderName is the name of a provider; of one that is not configured any more, its id.
func (s *Pages) ProviderName(id string) string {
	if name, ok := s.providers[id]; ok {
		return name
	}
	return id
}

// credentialTexts say how a user signed in, by the credential in the audit log.
var credentialTexts = map[string]locale.Text{
	"password":          locale.New("With the password"),
	"email_link":        locale.New("With an emailed link"),
	"email_code":        locale.New("With an emailed code"),
	"sign_in_link":      locale.New("With a link from an administrator"),
	"passkey":           locale.New("With a passkey"),
	"one_time_password": locale.New("With an authenticator app"),
	"recovery_code":     locale.New("With a recovery code"),
	"provider":          locale.New("With an account at a provider"),
}

// CredentialText says how a user signed in.
func CredentialText(credential string) locale.Text {
	if text, ok := credentialTexts[credential]; ok {
		return text
	}
	return locale.New("Signed in")
}

// TOTPForm gives a new secret for an authenticator app to a form.
func TOTPForm(x identity.TOTPSetup) templates.TOTPForm {
	return templates.TOTPForm{Secret: x.Secret, URL: x.URL, Sealed: x.Sealed}
}

// NewPasskey verifies the passkey that a browser has created for a form, and names it after the browser if its
// authenticator is not known.
func (s *Pages) NewPasskey(r *http.Request, binding, answer string) (identity.NewPasskey, error) {
	browser := locale.From(r.Context()).Of(BrowserName(Clean(r.UserAgent(), 300)))
	return s.identity.CheckNewPasskey(binding, r.PostForm.Get("challenge"), []byte(answer), browser)
}

// EnrolFault is the sentence for a second factor or passkey that could not be set up; empty for other errors.
func EnrolFault(err error) locale.Text {
	switch {
	case errors.Is(err, identity.ErrWrongCode):
		return locale.New("This code is wrong. Enter the code that the app shows now; the clock of your device must be right.")
	case errors.Is(err, identity.ErrSetupExpired):
		return locale.New("This page was open for too long. Scan the new code.")
	case errors.Is(err, identity.ErrTOTPOn):
		return locale.New("An authenticator app is set up already. Remove it first.")
	case errors.Is(err, identity.ErrPasskeyExists):
		return locale.New("This passkey is registered already.")
	case errors.Is(err, identity.ErrTooManyPasskeys):
		return locale.New("You have as many passkeys as an account can have. Remove one first.")
	case errors.Is(err, identity.ErrPasskey):
		return locale.New("The passkey could not be created. Try again.")
	}
	return locale.Text{}
}

// ProviderTargets are where the redirects after a form may lead that sends the browser to a provider, which may send it
// further.
func (s *Pages) ProviderTargets() (targets []string) {
	for _, p := range s.identity.Providers() {
		scheme, _, _ := strings.Cut(p.Origin(), "://")
		if !slices.Contains(targets, scheme+":") {
			targets = append(targets, scheme+":")
		}
	}
	return targets
}
