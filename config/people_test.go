package config

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"doorward/locale"
)

const withMail = "mail: {url: 'dir:mail', from: a@example.com}\n"

func TestConfigFaultsAboutPeopleSayWhatToWrite(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	gif := write("logo.gif", "GIF89a")
	large := write("large.svg", `<svg xmlns="http://www.w3.org/2000/svg">`+strings.Repeat(" ", 70<<10)+"</svg>")
	write("typo/de.yaml", "'No such message at all': x\n")
	write("unused/nl.yaml", "{}\n")
	const start = "c.yaml:1: "
	for name, tc := range map[string]struct{ text, want string }{
		"name empty":           {"brand: {name: ' '}", start + "brand.name: "},
		"name long":            {"brand: {name: " + strings.Repeat("x", 61) + "}", start + "brand.name: "},
		"logo missing":         {"brand: {logo: no/such.svg}", start + `brand.logo: "no/such.svg" `},
		"logo type":            {"brand: {logo: " + gif + "}", start + "brand.logo: "},
		"logo large":           {"brand: {logo_dark: " + large + "}", start + "brand.logo_dark: "},
		"accent name":          {"brand: {accent: green}", start + "brand.accent: "},
		"support bare":         {"brand: {support_url: help@example.com}", start + "brand.support_url: "},
		"support mailto":       {"brand: {support_url: 'mailto:help'}", start + "brand.support_url: is not an email address after mailto:"},
		"terms script":         {"brand: {terms_url: 'javascript:alert(1)'}", start + "brand.terms_url: "},
		"privacy bare":         {"brand: {privacy_url: example.com/privacy}", start + "brand.privacy_url: "},
		"stylesheet missing":   {"brand: {stylesheet: no.css}", start + `brand.stylesheet: "no.css" `},
		"messages missing":     {"brand: {messages: no/such}", start + `brand.messages: "no/such" is not a folder that can be read`},
		"messages file":        {"brand: {messages: " + gif + "}", "is a file; name the folder with the catalogues"},
		"messages typo":        {"brand: {messages: " + dir + "/typo}", "typo/de.yaml:1: "},
		"messages unused":      {"brand: {messages: " + dir + "/unused}", `has "nl.yaml", but languages does not list "nl"`},
		"languages none":       {"languages: []", start + "languages: is empty; list at least one, such as en"},
		"language no tag":      {"languages: [english]", start + "languages[0]: "},
		"language unknown":     {"languages: [nl]", "put it in a folder as nl.yaml, and name the folder in brand.messages"},
		"language twice":       {"languages: [en, en]", start + `languages[1]: "en" is listed twice`},
		"mail http":            {"mail: {url: 'http://mail.example.com', from: a@example.com}", start + "mail.url: does not start with smtp://, smtps:// or dir:"},
		"mail path":            {"mail: {url: 'smtp://mail.example.com/x', from: a@example.com}", start + "mail.url: has a path or query after the server"},
		"mail no host":         {"mail: {url: 'smtp:mail.example.com', from: a@example.com}", start + "mail.url: does not name a server"},
		"mail port":            {"mail: {url: 'smtp://mail.example.com:70000', from: a@example.com}", start + "mail.url: has the port"},
		"mail colon":           {"mail: {url: 'smtp://mail.example.com:', from: a@example.com}", start + "mail.url: has a colon but no port"},
		"mail password alone":  {"mail: {url: 'smtp://:secret@mail.example.com', from: a@example.com}", start + "mail.url: has a password but no user name"},
		"mail password bare":   {"mail: {url: 'smtp://a:p#ss/@mail.example.com:x', from: a@example.com}", start + "mail.url: is not a URL; use smtp://user:password@host:587"},
		"mail no folder":       {"mail: {url: 'dir:', from: a@example.com}", start + "mail.url: does not name a folder"},
		"mail no sender":       {"mail: {url: 'dir:mail'}", "mail.from: is missing; set the sender"},
		"mail only a sender":   {"mail: {from: a@example.com}", "mail.url: is missing; set how email is sent"},
		"sender name alone":    {"mail: {url: 'dir:mail', from: Northwind}", start + `mail.from: "Northwind" is not a sender`},
		"sender list":          {"mail: {url: 'dir:mail', from: 'a@example.com, b@example.com'}", start + "mail.from: "},
		"hourly negative":      {"mail: {hourly: -1}", start + "mail.hourly: "},
		"sign_up word":         {"sign_up: everyone", start + "sign_up: "},
		"invited without mail": {"sign_up: invited", start + "sign_up: is invited, which proves addresses by email, but email is not configured"},
		"open without mail":    {"sign_up: open", start + "sign_up: is open, which proves addresses by email, but email is not configured"},
		"approval word":        {"sign_up_approval: admin", start + "sign_up_approval: "},
		"approval, no mail":    {"sign_up_approval: administrator", start + "sign_up_approval: is administrator, but email is not configured"},
		"domain at":            {"sign_up_domains: {allow: ['@example.com']}", start + `sign_up_domains.allow[0]: begins with @; use "example.com"`},
		"domain capitals":      {"sign_up_domains: {deny: [Example.com]}", start + `sign_up_domains.deny[0]: has capital letters; use "example.com"`},
		"domain star":          {"sign_up_domains: {allow: ['*.example.com']}", start + `sign_up_domains.allow[0]: "*.example.com" is not the domain of an email address`},
		"no way in":            {"sign_in: {password: false}", start + "sign_in.password: is false, and links by email are off or email is not configured"},
		"no way in with mail":  {withMail + "sign_in: {password: false, email_link: false}", "c.yaml:2: sign_in.password: is false, and links by email are off"},
		"factor without mail":  {"sign_in: {second_factor: everyone}", start + "sign_in.second_factor: is everyone: before users set one up, they prove their address by an email"},
		"unknown policy":       {"sign_in: {second_factor: some}", start + "sign_in.second_factor: "},
		"passkey elsewhere":    {"sign_in: {passkey_domain: example.com}", start + `sign_in.passkey_domain: is "example.com", which is neither the host of the issuer`},
		"passkey suffix":       {"sign_in: {passkey_domain: co.uk}", start + `sign_in.passkey_domain: "co.uk" is shared by independent sites`},
		"passkey address":      {"sign_in: {passkey_domain: 127.0.0.1}", start + "sign_in.passkey_domain: is an address"},
		"passkey capitals":     {"sign_in: {passkey_domain: LocalHost}", start + `sign_in.passkey_domain: has capital letters in the host; use "localhost"`},
		"provider without id":  {"providers: [{client_id: a}]", start + "providers[0].id: is missing"},
		"provider of a page":   {"providers: [{id: code, client_id: a, client_secret: b}]", start + `providers[0].id: "code" names a page of the sign-in`},
		"provider twice":       {"providers: [{id: google, client_id: a, client_secret: b}, {id: google, client_id: a, client_secret: b}]", start + "providers[1].id: is the same as that of providers[0]"},
		"provider id":          {"providers: [{id: A/B, client_id: a, client_secret: b}]", start + `providers[0].id: "A/B" is not an id`},
		"provider no issuer":   {"providers: [{id: acme, client_id: a, client_secret: b}]", start + "providers[0]: the issuer is missing"},
		"provider plain http":  {"providers: [{id: acme, issuer: 'http://acme.example', client_id: a, client_secret: b}]", start + `providers[0]: the issuer "http://acme.example" is not a URL with https`},
		"provider no secret":   {"providers: [{id: google, client_id: a}]", start + "providers[0]: the client_secret is missing"},
		"apple with a secret":  {"providers: [{id: apple, client_id: a, client_secret: b}]", start + "providers[0]: apple has team_id, key_id and private_key in place of client_secret"},
		"base_url elsewhere":   {"providers: [{id: google, base_url: 'https://x.example', client_id: a, client_secret: b}]", start + "providers[0].base_url: is only for github"},
		"issuer of github":     {"providers: [{id: github, issuer: 'https://x.example', client_id: a, client_secret: b}]", start + "providers[0].issuer: is not for github"},
		"password word":        {"sign_in: {password: yes please}", start + "sign_in.password: "},
		"unknown method":       {"sign_in: {pasword: true}", start + "sign_in.pasword: is not a known key; did you mean password?"},
	} {
		t.Run(name, func(t *testing.T) { wantFault(t, tc.text, tc.want) })
	}
}

// The password of a mail server never reaches a message.
func TestO01_MailFaultsShowNoPassword(t *testing.T) {
	for _, url := range []string{
		"smtp://u:c4n4ry@h:x", "smtp://u:c4n4ry@h/p", "smtp://:c4n4ry@h", "http://u:c4n4ry@h", "smtp://u:c4n4ry@h:99999",
		"smtp://u:c4n4ry@-h-", "smtp://u:c4n4ry@h:", "smtp:u:c4n4ry@h", "smtp://u:c4n4ry%zz@h",
	} {
		_, err := load(t, "mail: {url: '"+url+"', from: a@example.com}", nil, nil)
		if err == nil || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// A domain is compared whole and in any case; deny wins.
func TestSignUpDomainsAreComparedWhole(t *testing.T) {
	d := Domains{Allow: []string{"example.com", "both.example"}, Deny: []string{"both.example"}}
	for email, want := range map[string]bool{
		"a@example.com": true, "a@EXAMPLE.com": true, "a@sub.example.com": false, "a@example.com.evil.example": false,
		"a@notexample.com": false, "a@both.example": false, "a@example.org": false,
	} {
		if d.Allows(email) != want {
			t.Errorf("%s may sign up: %v", email, !want)
		}
	}
	if d := (Domains{Deny: []string{"example.org"}}); !d.Allows("a@example.com") || d.Allows("a@Example.org") {
		t.Error("without allow, every domain but the denied ones may sign up")
	}
}

// With smtp://, STARTTLS is required off loopback, so no URL is a risk on the network. A folder is one: it holds links.
func TestCheckReportsAFolderOfEmails(t *testing.T) {
	for url, want := range map[string]bool{
		"": false, "dir:mail": true, "smtps://mail.example.com": false, "smtp://u:p@mail.example.com": false,
		"smtp://localhost:25": false,
	} {
		for issuer, public := range map[string]bool{"http://localhost:8080": false, "https://auth.example.com": true} {
			c := Default()
			c.Mail.URL, c.Issuer = url, issuer
			var r risks
			r.checkConfig(c)
			got := slices.ContainsFunc(r, func(risk string) bool { return strings.HasPrefix(risk, "mail.url: ") })
			if got != (want && public) {
				t.Errorf("%q at %s: %v", url, issuer, r)
			}
		}
	}
}

// doorward check says in words what users cannot do.
func TestCheckSaysWhatUsersCannotDo(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		has  []string
		not  []string
	}{
		"nothing set": {"", []string{
			"Users cannot reset their password: email is not configured.",
			"Users cannot change their email address: email is not configured; an administrator can.",
			"Users cannot sign in with a link or code by email: email is not configured.",
			"Users are not told of new sign-ins, changed passwords and expiring API keys: email is not configured.",
			"Invitations are not sent: email is not configured; the inviting member passes the link on.",
			"Visitors cannot create an account: sign_up is closed; an administrator creates or invites users.",
		}, []string{"folder", "sign_in.password is false"}},
		"a folder": {
			withMail,
			[]string{"Users get no email: mail.url is a folder, and emails are only written there."},
			[]string{"not configured"},
		},
		"open": {"mail: {url: 'smtps://u:p@mail.example.com', from: a@example.com}\nsign_up: open\n" +
			"sign_up_domains: {allow: [example.com], deny: [example.org]}\nsign_up_approval: administrator", []string{
			"unless their address is at example.com", "with an address at example.org cannot",
			"until an administrator approves them",
		}, []string{"not configured", "sign_up is"}},
		"links alone": {
			withMail + "sign_in: {password: false}",
			[]string{"sign_in.password is false"},
			[]string{"reset their password"},
		},
		"passwords alone": {withMail + "sign_in: {email_link: false}", []string{"sign_in.email_link is false"}, nil},
		"invited":         {withMail + "sign_up: invited", []string{"without an invitation to a workspace: sign_up is invited"}, nil},
		"all": {
			"mail: {url: 'smtps://u:p@mail.example.com', from: a@example.com}\nsign_up: open", nil,
			[]string{"cannot", "not"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			said := strings.Join(mustLoad(t, tc.text, nil).Cannot(), "\n")
			for _, want := range tc.has {
				if !strings.Contains(said, want) {
					t.Errorf("it does not say %q:\n%s", want, said)
				}
			}
			for _, no := range tc.not {
				if strings.Contains(said, no) {
					t.Errorf("it says %q:\n%s", no, said)
				}
			}
		})
	}
}

// The text of a scope may be one for all languages, or one for each, with that of the first language for the others.
func TestTextsOfScopes(t *testing.T) {
	text := func(scope string) string {
		return "languages: [en, de, fr]\nresources: [{id: 'https://api.example.com', scopes: {read: " + scope + "}}]\n"
	}
	c, err := load(t, text("{text: {en: Read your data, de: Deine Daten lesen}}"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	scope := c.Resources[0].Scopes[0]
	for _, l := range c.LanguageSet().Languages() {
		want := map[string]string{"de": "Deine Daten lesen"}[l.Tag()]
		if got := scope.For(locale.Locale{Language: l}); got != cmp.Or(want, "Read your data") {
			t.Errorf("%s: the text is %q", l.Tag(), got)
		}
	}
	for _, x := range []struct{ scope, fault string }{
		{"{text: {de: Deine Daten lesen}}", "resources[0].scopes.read.text.en: is missing"},
		{"{text: {en: Read, es: Leer}}", "resources[0].scopes.read.text.es: is for a language that the server does not offer"},
		{"{text: {en: ''}}", "resources[0].scopes.read.text.en"},
		{"{text: [Read]}", "resources[0].scopes.read.text"},
		{"{text: {}}", "resources[0].scopes.read.text: is missing"},
	} {
		if _, err := load(t, text(x.scope), nil, nil); err == nil || !strings.Contains(err.Error(), x.fault) {
			t.Errorf("%s: the fault is %v, want %s", x.scope, err, x.fault)
		}
	}
}
