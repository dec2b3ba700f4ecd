package pages

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"doorward/brand"
	"doorward/mail"
	"doorward/management"
	"doorward/oauth/catalog"
	"doorward/test/rig"
)

// looks are the default one and that of a vendor.
var looks = map[string]brand.Config{
	"default": {},
	"northwind": {
		Name: "Northwind", Logo: filepath.Join("testdata", "northwind.svg"), Accent: "#7b2d8b",
		Stylesheet: filepath.Join("testdata", "northwind.css"), SupportURL: "https://northwind.example/help",
		TermsURL: "https://northwind.example/terms", PrivacyURL: "https://northwind.example/privacy",
	},
}

// What a person meets between sign-up and the deletion of their account, in each look, in English, German and Japanese,
// without JavaScript. Every page must fit in each; axe looks at each language and at each look, but not at all pairs:
// the document does not depend on the look, nor the colours on the language.
func TestPeoplePages(t *testing.T) {
	for look, config := range looks {
		for _, language := range []string{"en", "de", "ja"} {
			axe := (look == "default") == (language == "en")
			t.Run(look+" "+language, func(t *testing.T) {
				t.Parallel()
				o := rig.WithEmail()
				o.Brand, o.Languages = config, []string{"en", "de", "ja"}
				o.Resources = []catalog.Resource{{
					ID: "https://api.northwind.example", Name: "Northwind API", Scopes: catalog.DefaultScopes(),
				}}
				life(t, rig.Memory(t, o), language, func(p *person, name string) {
					p.checkInLanguage(fmt.Sprintf("%s-%s-%s", name, look, language), language, axe)
					p.checkBrand(name, config)
				})
			})
		}
	}
}

// checkBrand checks that a page carries the vendor's brand, and not ours.
func (p *person) checkBrand(name string, b brand.Config) {
	p.t.Helper()
	if b.Name == "" {
		return
	}
	if title := p.Title(); !strings.Contains(title, b.Name) || strings.Contains(title+p.Text("body"), brand.DefaultName) {
		p.t.Errorf("%s: the title is %q, the page %s", name, title, p.Text("body"))
	}
	wanted := []string{`img[src^="/assets/brand/logo.svg"]`, `link[href^="/assets/brand/accent.css"]`}
	switch name {
	case "sign-up", "sign-up-complete", "consent":
		wanted = append(wanted, fmt.Sprintf("a[href=%q]", b.TermsURL), fmt.Sprintf("a[href=%q]", b.PrivacyURL))
	case "error":
		wanted = append(wanted, fmt.Sprintf("a[href=%q]", b.SupportURL))
	}
	for _, selector := range wanted {
		if !p.Has(selector) {
			p.t.Errorf("%s: there is no %s", name, selector)
		}
	}
}

// life leads a person through their account. check looks at each page once.
func life(t *testing.T, r *rig.Rig, language string, check func(p *person, name string)) {
	t.Helper()
	const email, moved = "ines@example.com", "ines.ferreira@example.org"
	app := r.App(management.ClientSpec{Name: "Fieldnotes"})
	p := newPerson(t, r)
	p.Language(language)
	p.JavaScript(false)
	at := func(name string) {
		t.Helper()
		check(p, name)
	}
	fill := func(fields ...string) {
		t.Helper()
		for i := 0; i+1 < len(fields); i += 2 {
			p.Fill(fmt.Sprintf("main [name=%s]", fields[i]), fields[i+1])
		}
	}
	send := func(action string) {
		t.Helper()
		p.Click(fmt.Sprintf(`main form[action=%q] [type=submit]`, action))
	}

	p.open("/signup")
	at("sign-up")
	fill("email", email)
	send("/signup")
	at("sign-up-code")
	p.open(r.Link(only(t, r)))
	at("sign-up-link")
	send("/signup/link")
	at("sign-up-complete")
	fill("name", "Inês Ferreira", "password", rig.Password)
	if p.Has("main [name=terms]") {
		p.Press("main [name=terms]")
	}
	send("/signup/complete")
	at("profile")
	p.open("/logout")
	at("sign-out")
	send("/logout")

	p.authorize(app, "read write")
	at("sign-in")
	fill("email", email)
	send("/login")
	at("sign-in-methods")
	send("/login/email")
	at("sign-in-code")
	p.open(r.Link(only(t, r)))
	at("sign-in-link")
	send("/login/link")
	at("consent")
	p.ClearCookies()

	p.open("/forgot")
	at("forgot")
	fill("email", email)
	send("/forgot")
	at("forgot-sent")
	p.open(r.Link(only(t, r)))
	at("reset")
	fill("password", rig.Password+" again")
	send("/reset")
	at("reset-done")
	r.Mail()

	p.open("/login")
	fill("email", email)
	send("/login")
	fill("password", rig.Password+" again")
	p.Click(`main form[action="/login"] [type=submit]`)
	r.Mail()
	fill("email", moved)
	send("/settings/profile/address")
	at("address-asked")
	p.open(r.Link(only(t, r)))
	at("address")
	send("/address")
	at("address-done")
	p.open(r.Link(only(t, r)))
	at("undo")
	p.open("/settings/profile")
	if name := p.Download(`form[action="/settings/profile/export"] [type=submit]`); name != "account.json" {
		t.Errorf("the file with a person's data is %q", name)
	}
	p.open("/settings/profile/delete")
	at("delete")
	send("/settings/profile/delete")
	at("deleted")
	p.open("/nothing/here")
	at("error")
}

// only returns the only email that was written since the last call.
func only(t *testing.T, r *rig.Rig) mail.Message {
	t.Helper()
	list := r.Mail()
	if len(list) != 1 {
		t.Fatalf("%d emails were written, want 1: %v", len(list), list)
	}
	return list[0]
}

// checkInLanguage checks a page that is in a language.
func (p *person) checkInLanguage(name, language string, axe bool) {
	p.t.Helper()
	if got := p.Attribute("html", "lang"); got != language {
		p.t.Errorf("%s: the page is in %q", name, got)
	}
	p.checkFit(name, axe)
	p.Dark(false)
	if shooting() {
		p.Viewport(640, 480)
		shot(p.t, p.Tab, name)
	}
	p.Viewport(1280, 900)
}
