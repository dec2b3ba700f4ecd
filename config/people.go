package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/net/publicsuffix"

	"doorward/brand"
	"doorward/locale"
	"doorward/oauth/input"
)

// Mail says how the server sends email.
type Mail struct {
	// URL is smtp://USER:PASSWORD@HOST:PORT (with STARTTLS), smtps://HOST:PORT, or dir:DIR, a folder that gets a file for
	// each email; empty: the server sends none. It may contain a password, so do not log it.
	URL string
	// From is the sender, as a name and an address (RFC 5322, section 3.4).
	From string
	// Hourly is how many emails an hour go to addresses without an account.
	Hourly int64
}

// Domains says which domains of email addresses may have an account. A domain is compared whole, in any case: a
// subdomain is another domain.
type Domains struct {
	Allow []string // empty: all
	Deny  []string // wins over Allow
}

// Allows reports whether an address may have an account.
func (d Domains) Allows(email string) bool {
	domain := strings.ToLower(email[strings.LastIndexByte(email, '@')+1:])
	return !slices.Contains(d.Deny, domain) && (len(d.Allow) == 0 || slices.Contains(d.Allow, domain))
}

// SignIn says by which methods users sign in.
type SignIn struct {
	Password  bool
	EmailLink bool // a link and a code in an email; only if there is email
	Passkey   bool // only if the issuer's host is a name
	// PasskeyDomain is where passkeys work: the issuer's host or a parent domain of it; empty: the issuer's host.
	PasskeyDomain string
	// SecondFactor says who has to have a second factor: one of the constants.
	SecondFactor string
}

// Values of SignIn.SecondFactor.
const (
	SecondFactorOptional       = "optional" // each user decides
	SecondFactorAdministrators = "administrators"
	SecondFactorEveryone       = "everyone"
)

// Values of SignUp and SignUpApproval.
const (
	SignUpClosed  = "closed"  // only an administrator creates accounts
	SignUpInvited = "invited" // an invitation to a workspace does too
	SignUpOpen    = "open"    // everyone can create one

	ApprovalNone          = "none"
	ApprovalAdministrator = "administrator" // an administrator approves each account
)

// peopleFields returns the readers of the keys about users, email and the brand.
func (p *parser) peopleFields(c *Config) map[string]field {
	return map[string]field{
		"brand": p.mapping(map[string]field{
			"name":        p.stringValue(&c.Brand.Name, checkBrandName),
			"logo":        p.brandFile(&c.Brand.Logo, brand.ReadLogo),
			"logo_dark":   p.brandFile(&c.Brand.LogoDark, brand.ReadLogo),
			"accent":      p.stringValue(&c.Brand.Accent, orEmpty(checkAccent)),
			"support_url": p.stringValue(&c.Brand.SupportURL, orEmpty(checkVendorURL)),
			"terms_url":   p.stringValue(&c.Brand.TermsURL, orEmpty(checkVendorURL)),
			"privacy_url": p.stringValue(&c.Brand.PrivacyURL, orEmpty(checkVendorURL)),
			"stylesheet":  p.brandFile(&c.Brand.Stylesheet, brand.ReadStylesheet),
			"messages":    p.stringValue(&c.Messages, orEmpty(checkFolder)),
		}),
		"languages": p.stringList(&c.Languages, checkLanguage),
		"mail": p.mapping(map[string]field{
			"url":    p.stringValue(&c.Mail.URL, orEmpty(checkMailURL)),
			"from":   p.stringValue(&c.Mail.From, orEmpty(checkMailFrom)),
			"hourly": number(p, &c.Mail.Hourly, 0, 1_000_000),
		}),
		"sign_up": p.stringValue(&c.SignUp, oneOf(SignUpClosed, SignUpInvited, SignUpOpen)),
		"sign_up_domains": p.mapping(map[string]field{
			"allow": p.stringList(&c.SignUpDomains.Allow, checkDomain),
			"deny":  p.stringList(&c.SignUpDomains.Deny, checkDomain),
		}),
		"sign_up_approval": p.stringValue(&c.SignUpApproval, oneOf(ApprovalNone, ApprovalAdministrator)),
		"providers": func(n *yaml.Node, key string) {
			p.list(n, key, func(n *yaml.Node, key string) { c.Providers = append(c.Providers, p.provider(n, key)) })
		},
		"sign_in": p.mapping(map[string]field{
			"password":       p.flag(&c.SignIn.Password),
			"email_link":     p.flag(&c.SignIn.EmailLink),
			"passkey":        p.flag(&c.SignIn.Passkey),
			"passkey_domain": p.stringValue(&c.SignIn.PasskeyDomain, orEmpty(checkPasskeyDomain)),
			"second_factor": p.stringValue(&c.SignIn.SecondFactor,
				oneOf(SecondFactorOptional, SecondFactorAdministrators, SecondFactorEveryone)),
		}),
	}
}

// brandFile reads the path of a file of the brand, and reads the file once to find its faults.
func (p *parser) brandFile(dst *string, read func(path string) (brand.File, error)) field {
	return p.stringValue(dst, orEmpty(func(path string) error {
		if _, err := read(path); err != nil {
			return fmt.Errorf("%s %w", input.Quote(path), err)
		}
		return nil
	}))
}

// checkPeople finds faults that involve several of the keys about users, email and the brand.
func (p *parser) checkPeople(c *Config) {
	if c.Mail.URL != "" && c.Mail.From == "" && p.clean("mail") {
		p.fault("mail.from", "is missing; set the sender, such as Northwind <no-reply@northwind.example>")
	}
	if c.Mail.URL == "" && c.Mail.From != "" && p.clean("mail") {
		p.fault("mail.url", "is missing; set how email is sent, such as smtp://user:password@mail.example.com:587")
	}
	if !c.SendsEmail() && p.clean("mail") {
		if c.SignUp != SignUpClosed && p.clean("sign_up") {
			p.fault("sign_up", "is %s, which proves addresses by email, but email is not configured; set mail.url and "+
				"mail.from, or use closed", c.SignUp)
		}
		if c.SignUpApproval != ApprovalNone && p.clean("sign_up_approval") {
			p.fault("sign_up_approval", "is %s, but email is not configured, so users cannot sign up; set mail.url and "+
				"mail.from, or use none", c.SignUpApproval)
		}
	}
	p.checkSignIn(c)
	p.checkProviders(c)
	if len(c.Languages) == 0 && p.clean("languages") {
		p.fault("languages", "is empty; list at least one, such as en")
	}
	if p.clean("languages") && p.clean("brand.messages") {
		c.catalogues = p.readLanguages(c)
	}
}

// checkSignIn finds faults of sign_in that involve other keys.
func (p *parser) checkSignIn(c *Config) {
	if !p.clean("sign_in") || !p.clean("mail") || !p.clean("issuer") {
		return
	}
	if c.SignIn.PasskeyDomain != "" && !isDomainOf(c.SignIn.PasskeyDomain, c.IssuerHost()) {
		p.fault("sign_in.passkey_domain", "is %s, which is neither the host of the issuer, %s, nor a parent domain of it; "+
			"correct it, or remove it", input.Quote(c.SignIn.PasskeyDomain), input.Quote(c.IssuerHost()))
	}
	// A passkey alone is not enough: a user who loses it would have no way in.
	if !c.SignIn.Password && !c.LinksByEmail() && len(c.Providers) == 0 && p.clean("providers") {
		p.fault("sign_in.password", "is false, and links by email are off or email is not configured, so users could not "+
			"sign in, or not without the passkey that they have lost; use true, or set mail.url and sign_in.email_link")
	}
	if c.SignIn.SecondFactor != SecondFactorOptional && !c.SendsEmail() {
		p.fault("sign_in.second_factor", "is %s: before users set one up, they prove their address by an email, but email is "+
			"not configured; set mail.url and mail.from, or use optional", c.SignIn.SecondFactor)
	}
}

// isDomainOf reports whether a domain is a host or a parent domain of it.
func isDomainOf(domain, host string) bool {
	return host == domain || strings.HasSuffix(host, "."+domain)
}

// checkPasskeyDomain accepts a domain that is not shared by independent sites.
func checkPasskeyDomain(s string) error {
	if err := checkHostname(s); err != nil {
		return err
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return errors.New("is an address; passkeys need a domain")
	}
	if suffix, _ := publicsuffix.PublicSuffix(s); suffix == s && s != "localhost" {
		return fmt.Errorf("%s is shared by independent sites, so browsers refuse it; use your own domain", input.Quote(s))
	}
	return nil
}

// IssuerHost is the host of the issuer, without its port.
func (c Config) IssuerHost() string {
	u, err := url.Parse(c.Issuer)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// PasskeyDomain is the relying party id of passkeys (Web Authentication, section 5.4.2); empty: there are none. A host
// that is a number can have none.
func (c Config) PasskeyDomain() string {
	host := c.IssuerHost()
	if _, err := netip.ParseAddr(host); err == nil || !c.SignIn.Passkey {
		return ""
	}
	return cmp.Or(c.SignIn.PasskeyDomain, host)
}

// SendsEmail reports whether the server can send email.
func (c Config) SendsEmail() bool { return c.Mail.URL != "" }

// LinksByEmail reports whether users can sign in with a link or code by email.
func (c Config) LinksByEmail() bool { return c.SignIn.EmailLink && c.SendsEmail() }

// MailHello is the name by which the server introduces itself to a mail server: the issuer's host.
func (c Config) MailHello() string {
	u, err := url.Parse(c.Issuer)
	if err != nil {
		return "localhost"
	}
	return u.Hostname()
}

// LanguageSet returns the languages that the server offers.
func (c Config) LanguageSet() *locale.Set {
	if len(c.catalogues) == 0 { // a configuration that was not read
		return locale.NewSet(locale.English())
	}
	return locale.NewSet(c.catalogues...)
}

// readLanguages reads the catalogues of all languages, with the vendor's messages.
func (p *parser) readLanguages(c *Config) (list []*locale.Language) {
	for i, tag := range c.Languages {
		key := fmt.Sprintf("languages[%d]", i)
		path, data := "", []byte(nil)
		if c.Messages != "" {
			path = filepath.Join(c.Messages, tag+".yaml")
			var err error
			if data, err = p.readFile(path); errors.Is(err, os.ErrNotExist) {
				data = nil
			} else if err != nil {
				p.fault("brand.messages", "cannot read %s: %v", input.Quote(path), err)
				continue
			}
		}
		l, err := locale.NewLanguage(tag, data)
		var faults locale.Faults
		switch {
		case errors.As(err, &faults):
			const most = 50 // of one file, since one mistake can cause many
			for _, f := range faults[:min(len(faults), most)] {
				p.faults = append(p.faults, Fault{origin: origin{source: path, line: f.Line}, text: f.Text})
			}
			if n := len(faults) - most; n > 0 {
				p.faults = append(p.faults, Fault{origin: origin{source: path}, text: fmt.Sprintf("has %d further faults", n)})
			}
		case err != nil:
			p.fault(key, "%v; put it in a folder as %s.yaml, and name the folder in brand.messages", err, tag)
		default:
			list = append(list, l)
		}
	}
	p.checkUnusedCatalogues(c)
	return list
}

// checkUnusedCatalogues reports catalogues of the vendor for languages that the server does not offer.
func (p *parser) checkUnusedCatalogues(c *Config) {
	if c.Messages == "" {
		return
	}
	files, err := os.ReadDir(c.Messages)
	if err != nil {
		p.fault("brand.messages", "cannot be read: %v", err)
		return
	}
	for _, f := range files {
		tag, isCatalogue := strings.CutSuffix(f.Name(), ".yaml")
		if isCatalogue && !slices.Contains(c.Languages, tag) {
			p.fault("brand.messages", "has %s, but languages does not list %s; add it, or remove the file",
				input.Quote(f.Name()), input.Quote(tag))
		}
	}
}

const maxBrandName = 60 // characters: it is in the subject of emails and in the title of windows

func checkBrandName(s string) error {
	if err := checkText(s); err != nil {
		return err
	}
	if _, wrong := input.Line(s, maxBrandName); !wrong.IsZero() {
		return errors.New(wrong.String())
	}
	return nil
}

func checkAccent(s string) error {
	_, err := brand.Shades(s)
	return err
}

// checkVendorURL accepts a page of the vendor's, or an address to write to.
func checkVendorURL(s string) error {
	if address, ok := strings.CutPrefix(s, "mailto:"); ok {
		if !input.IsEmail(address) {
			return errors.New("is not an email address after mailto:; use one such as mailto:help@example.com")
		}
		return nil
	}
	_, err := webURL(s)
	return err
}

func checkFolder(s string) error {
	info, err := os.Stat(s)
	switch {
	case err != nil:
		return fmt.Errorf("%s is not a folder that can be read; create it, or correct the path", input.Quote(s))
	case !info.IsDir():
		return fmt.Errorf("%s is a file; name the folder with the catalogues, such as messages", input.Quote(s))
	}
	return nil
}

func checkLanguage(s string) error {
	return locale.CheckTag(s)
}

func checkDomain(s string) error {
	domain := strings.TrimPrefix(s, "@")
	switch {
	case domain != s:
		return fmt.Errorf("begins with @; use %s", input.Quote(domain))
	case !input.IsEmail("name@" + strings.ToLower(s)):
		return fmt.Errorf("%s is not the domain of an email address; use one such as example.com", input.Quote(s))
	case s != strings.ToLower(s):
		return fmt.Errorf("has capital letters; use %s", input.Quote(strings.ToLower(s)))
	}
	return nil
}

// checkMailURL checks how email is sent. Its errors do not show the URL, which may contain a password.
func checkMailURL(s string) error {
	if dir, ok := strings.CutPrefix(s, "dir:"); ok {
		if dir == "" {
			return errors.New("does not name a folder; use dir: and a path, such as dir:data/mail")
		}
		return nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return errors.New("is not a URL; use smtp://user:password@host:587, and in the password use %40 for @, %2F for / " +
			"and %25 for %")
	}
	switch {
	case u.Scheme != "smtp" && u.Scheme != "smtps":
		return errors.New("does not start with smtp://, smtps:// or dir:; use one of them")
	case !strings.HasPrefix(s, u.Scheme+"://") || u.Hostname() == "":
		return fmt.Errorf("does not name a server; use %s://host:port", u.Scheme)
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "":
		return errors.New("has a path or query after the server; remove it")
	case u.User != nil && u.User.Username() == "":
		return errors.New("has a password but no user name; use smtp://user:password@host:587")
	}
	if err := checkHostname(u.Hostname()); err != nil {
		return err
	}
	if port := u.Port(); port != "" {
		return checkPort(port, false)
	}
	if _, _, err := net.SplitHostPort(u.Host); err == nil {
		return errors.New("has a colon but no port after the host; add a port, or remove the colon")
	}
	return nil
}

func checkMailFrom(s string) error {
	a, err := mail.ParseAddress(s)
	if err != nil || !input.IsEmail(a.Address) || strings.ContainsAny(s, "\r\n") {
		return fmt.Errorf("%s is not a sender; use an address, or a name and an address such as "+
			"Northwind <no-reply@northwind.example>", input.Quote(s))
	}
	return nil
}

// secretOfMail reports whether the value of mail.url contains a password.
func secretOfMail(value *yaml.Node) bool {
	u, err := url.Parse(value.Value)
	if err != nil || u.User == nil || !inlineText(value) {
		return false
	}
	_, has := u.User.Password()
	return has
}

// Cannot says, in a sentence each, what users cannot do with this configuration, and why.
func (c Config) Cannot() (list []string) {
	add := func(when bool, format string, args ...any) {
		if when {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	mail := c.SendsEmail()
	const without = "email is not configured"
	add(!mail && c.SignIn.Password, "Users cannot reset their password: %s.", without)
	add(!mail, "Users cannot change their email address: %s; an administrator can.", without)
	add(!mail && c.SignIn.EmailLink, "Users cannot sign in with a link or code by email: %s.", without)
	add(!mail, "Users are not told of new sign-ins, changed passwords and expiring API keys: %s.", without)
	add(!mail, "Invitations are not sent: %s; the inviting member passes the link on.", without)
	add(strings.HasPrefix(c.Mail.URL, "dir:"), "Users get no email: mail.url is a folder, and emails are only written there.")
	add(mail && !c.SignIn.EmailLink, "Users cannot sign in with a link or code by email: sign_in.email_link is false.")
	add(!c.SignIn.Password, "Users cannot sign in with a password: sign_in.password is false.")
	add(!c.SignIn.Passkey, "Users cannot sign in with a passkey: sign_in.passkey is false.")
	add(c.SignIn.Passkey && c.PasskeyDomain() == "", "Users cannot sign in with a passkey: the host of the issuer is a "+
		"number, and passkeys belong to a domain.")
	switch c.SignIn.SecondFactor {
	case SecondFactorAdministrators:
		add(true, "Administrators cannot sign in without a second factor: sign_in.second_factor is administrators.")
	case SecondFactorEveryone:
		add(true, "Users cannot sign in without a second factor: sign_in.second_factor is everyone.")
	}
	for _, x := range c.Providers {
		add(len(x.Domains) > 0, "Users cannot sign in with %s unless their address there is at %s: providers.domains lists no "+
			"other domain.", x.ID, strings.Join(x.Domains, ", "))
		add(c.SignUp != SignUpClosed && !x.SignUp, "Visitors cannot create an account with %s: its sign_up is false.", x.ID)
	}
	switch c.SignUp {
	case SignUpClosed:
		add(true, "Visitors cannot create an account: sign_up is closed; an administrator creates or invites users.")
	case SignUpInvited:
		add(true, "Visitors cannot create an account without an invitation to a workspace: sign_up is invited.")
	}
	if c.SignUp != SignUpClosed {
		add(len(c.SignUpDomains.Allow) > 0, "Visitors cannot create an account unless their address is at %s: "+
			"sign_up_domains.allow lists no other domain.", strings.Join(c.SignUpDomains.Allow, ", "))
		add(len(c.SignUpDomains.Deny) > 0, "Visitors with an address at %s cannot create an account: sign_up_domains.deny "+
			"lists it.", strings.Join(c.SignUpDomains.Deny, ", "))
		add(c.SignUpApproval == ApprovalAdministrator, "New users cannot sign in until an administrator approves them: "+
			"sign_up_approval is administrator.")
	}
	return list
}
