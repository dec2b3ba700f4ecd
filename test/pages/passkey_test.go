package pages

import (
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"doorward/test/browser"
	"doorward/test/rig"
)

// What a person does with passkeys and an authenticator app, in a browser with a virtual authenticator: everything that
// the demo shows.
func TestMethodsPages(t *testing.T) {
	o := rig.WithEmail()
	o.Localhost = true
	r := rig.Memory(t, o)
	p := newPerson(t, r)
	key := p.Authenticator(browser.AuthenticatorKind{})
	p.open("/login")
	p.Fill("#f-email", r.Alice.Email)
	p.Click("form[action='/login'] button")
	p.Fill("#f-password", rig.Password)
	p.Click("button.main")
	p.checkPage("settings-offer")
	if !p.Has("form[action='/settings/security/passkeys/new']") {
		t.Error("no page offers a passkey after a sign-in with a password")
	}
	p.open("/settings/security")
	p.checkPage("security-plain")

	p.Click("form[action='/settings/security/passkeys/new'] button")
	p.checkPage("passkey-new")
	p.Press("[data-passkey-button]")
	p.Wait(".note.good")
	p.checkPage("security-passkey")
	if key.Passkeys() != 1 {
		t.Fatalf("the authenticator has %d passkeys", key.Passkeys())
	}

	p.Click("form[action='/settings/security/totp'] button")
	p.checkPage("totp-new")
	secret := strings.ReplaceAll(p.Text("#totp-key"), " ", "")
	code, err := totp.GenerateCode(secret, r.Store.Now().Time())
	if err != nil {
		t.Fatal(err)
	}
	p.Fill("#f-code", code)
	p.Click("button.main")
	p.checkPage("recovery-codes")
	codes := strings.Fields(p.Text("#recovery-codes"))
	if len(codes) != 10 {
		t.Fatalf("recovery codes: %q", codes)
	}
	p.Click("a.main")
	p.checkPage("security-all")

	p.open("/logout")
	p.Click("button.main")
	p.ClearCookies()
	p.open("/login")
	p.Wait(".rows, #h-passkeys")
	t.Log(p.URL(), time.Now())
}
