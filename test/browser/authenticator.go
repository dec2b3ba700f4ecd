package browser

import (
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
)

// Authenticator is a virtual authenticator of a tab (Web Authentication, section 11.2).
type Authenticator struct {
	tab *Tab
	id  webauthn.AuthenticatorID
}

// AuthenticatorKind says what an authenticator is. The zero value is one inside the device, which verifies the user.
type AuthenticatorKind struct {
	Roaming      bool // a security key that is plugged in
	Unverified   bool // it cannot verify the user, only that there is one
	BackedUp     bool // its passkeys are copied to other devices
	NoPresence   bool // the user does not touch it until Touch is called
	NoDiscovered bool // it has no room for passkeys that are found without a name
}

// Authenticator adds an authenticator to the tab.
func (t *Tab) Authenticator(kind AuthenticatorKind) *Authenticator {
	t.tb.Helper()
	call(t, webauthn.Enable, webauthn.EnableParams{})
	options := &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Ctap2version: webauthn.Ctap2versionCtap21,
		Transport: webauthn.AuthenticatorTransportInternal, HasResidentKey: !kind.NoDiscovered,
		HasUserVerification: !kind.Unverified, IsUserVerified: !kind.Unverified,
		AutomaticPresenceSimulation: !kind.NoPresence,
		DefaultBackupEligibility:    kind.BackedUp, DefaultBackupState: kind.BackedUp,
	}
	if kind.Roaming {
		options.Transport = webauthn.AuthenticatorTransportUsb
	}
	added := call(t, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: options})
	return &Authenticator{tab: t, id: added.AuthenticatorID}
}

// Touch sets whether the user touches the authenticator whenever it asks.
func (a *Authenticator) Touch(on bool) {
	a.tab.tb.Helper()
	call(a.tab, webauthn.SetAutomaticPresenceSimulation, webauthn.SetAutomaticPresenceSimulationParams{
		AuthenticatorID: a.id, Enabled: on,
	})
}

// Verify sets whether the authenticator recognises the user.
func (a *Authenticator) Verify(on bool) {
	a.tab.tb.Helper()
	call(a.tab, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: a.id, IsUserVerified: on})
}

// Passkeys returns how many passkeys the authenticator holds.
func (a *Authenticator) Passkeys() int {
	a.tab.tb.Helper()
	return len(call(a.tab, webauthn.GetCredentials, webauthn.GetCredentialsParams{AuthenticatorID: a.id}).Credentials)
}

// Remove takes the authenticator away.
func (a *Authenticator) Remove() {
	a.tab.tb.Helper()
	call[webauthn.RemoveVirtualAuthenticatorParams, cdp.Empty](a.tab, webauthn.RemoveVirtualAuthenticator,
		webauthn.RemoveVirtualAuthenticatorParams{AuthenticatorID: a.id})
}
