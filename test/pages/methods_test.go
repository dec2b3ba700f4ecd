package pages

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"doorward/config"
	"doorward/management"
	"doorward/oauth/identity"
	"doorward/oauth/provider"
	"doorward/test/browser"
	"doorward/test/providers"
	"doorward/test/rig"
	"doorward/web/signin"
)

// withMethods is a server with every way to sign in.
func withMethods(t *testing.T) (*rig.Rig, *providers.Server) {
	t.Helper()
	lake := providers.OIDC(t)
	lake.SetUser(providers.User{Subject: "7", Email: "robin@lake.example", State: providers.Verified, Name: "Robin Reed"})
	o := rig.WithEmail()
	o.Localhost, o.SignUp = true, signin.SignUpOpen
	o.Providers = []config.Provider{{
		Config: provider.Config{
			ID: "lake", Name: "Lakeside", Issuer: lake.Issuer(), ClientID: lake.ClientID, ClientSecret: lake.ClientSecret,
		},
		SignUp: true, TrustedEmail: true,
	}}
	return rig.Memory(t, o), lake
}

// What a person does with passkeys, an authenticator app and another provider, in a browser with a virtual
// authenticator. Every page fits and is accessible.
func TestMethodsPages(t *testing.T) {
	t.Parallel()
	r, _ := withMethods(t)
	p := newPerson(t, r)
	key := p.Authenticator(browser.AuthenticatorKind{})
	p.open("/login")
	p.checkPage("login-address")
	p.Fill("#f-email", r.Alice.Email)
	p.Click("form[action='/login'] button")
	p.checkPage("login-methods")
	p.Fill("#f-password", rig.Password)
	p.Click("button.main")
	if !p.Has(".note form[action='/settings/security/passkeys/new']") {
		t.Error("no page offers a passkey after a sign-in with a password")
	}
	p.checkPage("passkey-offer")
	p.open("/settings/security")
	if p.Has(".note form[action='/settings/security/passkeys/new']") {
		t.Error("a second page offers a passkey")
	}
	p.checkPage("security-password")

	p.Click("form[action='/settings/security/passkeys/new'] button")
	p.checkPage("passkey-new")
	p.load("[data-passkey-button]")
	if key.Passkeys() != 1 {
		t.Fatalf("the authenticator has %d passkeys", key.Passkeys())
	}
	p.Click("a[href*='/settings/security/passkeys/']")
	p.checkPage("passkey-rename")
	p.Fill("#f-name", "My laptop")
	p.Click("button.main")
	if text := p.Text("#h-passkeys ~ ul"); !strings.Contains(text, "My laptop") {
		t.Errorf("the renamed passkey: %q", text)
	}

	p.Click("form[action='/settings/security/totp'] button")
	p.checkPage("totp-new")
	secret := strings.ReplaceAll(p.Text("#totp-key"), " ", "")
	p.Fill("#f-code", codeAt(t, r, secret))
	p.Click("button.main")
	p.checkPage("recovery-codes")
	codes := strings.Fields(p.Text("#recovery-codes"))
	if len(codes) != 10 {
		t.Fatalf("recovery codes: %q", codes)
	}
	p.Click("a.main")

	p.Click("form[action='/settings/security/providers/lake/connect'] button")
	p.checkPage("security-all")
	if text := p.Text("#h-providers ~ ul"); !strings.Contains(text, "robin@lake.example") {
		t.Errorf("the connected account: %q", text)
	}

	// From the address field: the browser offers the passkey without being asked.
	p.signOut()
	p.open("/login")
	p.Wait("#f-name") // the profile
	p.open("/settings/security")
	if text := p.Text("#h-sign-ins ~ ul li:first-child"); !strings.Contains(text, "With a passkey") {
		t.Errorf("the last sign-in: %q", text)
	}

	// Without the passkey: the password, and then a code, or a recovery code.
	key.Touch(false)
	p.signOut()
	p.password(r.Alice.Email)
	p.checkPage("second-factor")
	r.Advance(time.Minute)
	p.Fill("#f-code", "000000")
	p.Click("button.main")
	p.checkPage("second-factor-wrong")
	p.Fill("#f-code", codes[0])
	p.Click("button.main")
	p.open("/settings/security")
	if text := p.Text("#h-factors ~ ul"); !strings.Contains(text, "9 recovery codes left") {
		t.Errorf("the recovery codes: %q", text)
	}

	// An action in an old session asks for both factors.
	r.Advance(6 * time.Minute)
	p.Click("a[href*='/settings/security/methods/provider_']")
	p.checkPage("provider-remove")
	p.Click("form button.danger, form button.main")
	p.checkPage("proof-two")
	p.Fill("#f-current_password", rig.Password)
	p.Fill("#f-current_code", codeAt(t, r, secret))
	p.Click("form[data-once] button")
	if p.Has("a[href*='/settings/security/methods/provider_']") || !strings.Contains(p.Text("main"), "It was removed") {
		t.Errorf("after the proof: %s", p.Text("main"))
	}
	key.Touch(true)
	r.Advance(6 * time.Minute)
	p.Click("form[action='/settings/security/recovery-codes'] button")
	p.load("[data-passkey-button]")
	if fresh := strings.Fields(p.Text("#recovery-codes")); len(fresh) != 10 || slices.Contains(fresh, codes[1]) {
		t.Errorf("new recovery codes: %q", fresh)
	}

	// The audit log has it all.
	p.open("/settings/profile")
	own, err := r.Store.PersonalWorkspace(r.System(), r.Alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	p.open("/settings/workspaces/" + own.Slug + "/audit")
	log := p.Text("main")
	for _, text := range []string{
		"Added a passkey", "Renamed a passkey", "Added an authenticator app", "Created recovery codes",
		"Used a recovery code", "Connected an account", "Disconnected an account",
	} {
		if !strings.Contains(log, text) {
			t.Errorf("the audit log does not have %q: %s", text, log)
		}
	}
}

// Someone without an account comes from a provider, or creates an account with a passkey.
func TestMethodsSignUpPages(t *testing.T) {
	t.Parallel()
	r, _ := withMethods(t)
	p := newPerson(t, r)
	key := p.Authenticator(browser.AuthenticatorKind{NoPresence: true, BackedUp: true})
	p.open("/login")
	p.Click("form[action='/login/lake'] button")
	p.checkPage("sign-up-provider")
	p.Click("button.main")
	p.open("/settings/security")
	p.checkPage("security-provider")
	p.signOut()
	p.open("/login")
	p.Click("form[action='/login/lake'] button")
	if p.URL().Path != "/settings/profile" {
		t.Errorf("the second sign-in from the provider leads to %s", p.URL())
	}
	p.signOut()

	p.open("/signup")
	p.Fill("#f-email", "pia@example.com")
	p.Click("button.main")
	p.open(r.Email("sign_up").Path())
	p.Click("button.main")
	p.checkPage("sign-up-passkey")
	p.Fill("#f-name", "Pia")
	key.Touch(true)
	p.load("[data-passkey-button]")
	p.open("/settings/security")
	if key.Passkeys() != 1 || !strings.Contains(p.Text("main"), "You have no password.") {
		t.Errorf("%d passkeys; %s", key.Passkeys(), p.Text("main"))
	}
	user, err := r.Store.UserByEmail(r.System(), "pia@example.com")
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := r.Identity.Sessions(r.System(), user.ID)
	if err != nil || len(sessions) != 1 || sessions[0].AMR.String() != "swk user mfa" || sessions[0].ACR != identity.LevelTwo {
		t.Errorf("the session: %+v, %v", sessions, err)
	}
}

// Where a second factor is required, it is set up at the sign-in, also on the way to an app.
func TestMethodsEnrolmentPages(t *testing.T) {
	t.Parallel()
	o := rig.WithEmail()
	o.Localhost, o.SecondFactor = true, identity.SecondFactorEveryone
	r := rig.Memory(t, o)
	app := r.App(management.ClientSpec{Name: "Fieldnotes"})
	p := newPerson(t, r)
	key := p.Authenticator(browser.AuthenticatorKind{Roaming: true, NoPresence: true})
	p.authorize(app, "read")
	p.Fill("#f-email", r.Alice.Email)
	p.Click("form[action='/login'] button")
	p.Fill("#f-password", rig.Password)
	p.Click("button.main")
	p.checkPage("enrol-email")
	p.Click("button.main")
	p.checkPage("enrol-code")
	p.Fill("#f-code", r.Email("second_factor").Code)
	p.Click("button.main")
	p.checkPage("enrol")
	key.Touch(true)
	p.load("[data-passkey-button]")
	p.checkPage("enrol-recovery")
	p.Click("a.main")
	if p.URL().Path != "/oauth/consent" {
		t.Errorf("after the set-up the browser is at %s", p.URL())
	}
}

// An authenticator that cannot verify its user creates no passkey and signs in with none.
func TestG16_AnAuthenticatorWithoutUserVerification(t *testing.T) {
	t.Parallel()
	r, _ := withMethods(t)
	p := newPerson(t, r)
	p.Authenticator(browser.AuthenticatorKind{Roaming: true, Unverified: true})
	p.open("/login")
	p.password(r.Alice.Email)
	p.open("/settings/security")
	p.Click("form[action='/settings/security/passkeys/new'] button")
	p.Press("[data-passkey-button]")
	p.Wait("[data-passkey-error='failed']:not([hidden])")
	p.checkPage("passkey-refused")
	if u, err := r.Store.UserByID(r.System(), r.Alice.ID); err != nil || u.Passkeys != 0 {
		t.Errorf("%d passkeys, %v", u.Passkeys, err)
	}
}

// codeAt is what an authenticator app shows now.
func codeAt(t *testing.T, r *rig.Rig, secret string) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, r.Store.Now().Time())
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// load presses a button that asks the authenticator, and waits for the page after it.
func (p *person) load(selector string) {
	p.t.Helper()
	before := p.URL().String()
	p.Evaluate(`document.body.dataset.before = "yes"`)
	p.Press(selector)
	p.Wait("body:not([data-before])")
	if p.URL().String() == before && p.Has("[data-passkey-error]:not([hidden])") {
		p.t.Errorf("%s: %s", before, p.Text("main"))
	}
}

// Evaluate runs a script in the page.
func (p *person) Evaluate(script string) { browser.Evaluate[any](p.Tab, script) }

// signOut ends the session in this browser.
func (p *person) signOut() {
	p.t.Helper()
	p.open("/logout")
	p.Click("button.main")
}

// password signs in with the password, on the two pages.
func (p *person) password(email string) {
	p.t.Helper()
	p.open("/login")
	p.Fill("#f-email", email)
	p.Click("form[action='/login'] button")
	p.Fill("#f-password", rig.Password)
	p.Click("form[action='/login'] button")
}
