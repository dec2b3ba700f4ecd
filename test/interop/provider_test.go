package interop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"doorward/test/browser"
	"doorward/test/setup"
)

// acmeUser is a user of the provider Acme.
type acmeUser struct {
	Subject string `json:"sub"`
	Email   string `json:"email"`
	Name    string `json:"name"`
}

// acmeUsers are the users of Acme. The last one has the address of a user here, as another person could.
var acmeUsers = []acmeUser{
	{Subject: "0001|grace", Email: "grace@acme.example", Name: "Grace <Hopper> & Söhne"},
	{Subject: "0002|linus", Email: "linus@acme.example", Name: "Linus"},
	{Subject: "0003|ada", Email: email, Name: "Ada at Acme"},
}

// acme is how oidc-provider, a program by others, is run as the provider "acme" of a server.
type acme struct {
	Port     int         `json:"port"`
	Callback string      `json:"callback"`
	Client   credentials `json:"client"`
	Users    []acmeUser  `json:"users"`
	Claims   string      `json:"claims"`
}

func (a acme) issuer() string { return fmt.Sprintf("http://127.0.0.1:%d", a.Port) }

// start runs the provider, with other keys each time, until stop is called or the test ends.
func (a acme) start(t *testing.T) (stop func()) {
	t.Helper()
	program, err := setup.Node()
	setup.Need(t, err)
	_, err = setup.NodePackage("oidc-provider")
	setup.Need(t, err)
	c := exec.CommandContext(t.Context(), program, filepath.Join("node", "oidc-provider.js"))
	c.Env = withSettings(t, a)
	var problem lines
	c.Stderr = &problem
	out, err := c.StdoutPipe()
	if err == nil {
		_, err = c.StdinPipe() // it exits when its standard input is closed
	}
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = c.Process.Kill() // it may have exited already
		_ = c.Wait()
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("oidc-provider wrote:\n%s", &problem)
		}
	})
	var ready struct{ Address string }
	if err := json.NewDecoder(out).Decode(&ready); err != nil || ready.Address != a.issuer() {
		t.Fatalf("oidc-provider is at %q: %v\n%s", ready.Address, err, &problem)
	}
	return stop
}

// caller is a person at a browser who has an account at Acme.
type caller struct {
	t    *testing.T
	s    *server
	acme acme
	tab  *browser.Tab
	user acmeUser
}

// toAcme goes from the sign-in page to Acme, or to where Acme sends the browser at once.
func (c *caller) toAcme() {
	c.t.Helper()
	c.tab.Goto(c.s.issuer + "/login")
	c.press(`form[action="/login/acme"] [type=submit]`, "Continue with Acme")
}

// press clicks a button that has to have a text.
func (c *caller) press(button, text string) {
	c.t.Helper()
	if got := strings.Join(strings.Fields(c.tab.Text(button)), " "); got != text {
		c.t.Errorf("the button says %q, want %q", got, text)
	}
	c.tab.Click(button)
}

// signIn signs in on Acme's page, which must expect hint, and agrees to what Doorward asks for.
func (c *caller) signIn(hint string) {
	c.t.Helper()
	c.at(c.acme.issuer(), "/interaction/")
	if got := c.tab.Attribute("#login [name=login]", "value"); got != hint {
		c.t.Errorf("Acme's page expects the address %q, want %q", got, hint)
	}
	c.tab.Fill("#login [name=login]", c.user.Email)
	c.tab.Click(`#login [value="go on"]`)
	if got, want := c.tab.Text("#consent p"), c.acme.Client.ID+" asks for openid email profile."; got != want {
		c.t.Errorf("Acme's page says %q, want %q", got, want)
	}
	c.tab.Click(`#consent [value="go on"]`)
}

// at checks where the browser is.
func (c *caller) at(issuer, path string) {
	c.t.Helper()
	if u := c.tab.URL(); u.Scheme+"://"+u.Host != issuer || !strings.HasPrefix(u.Path, path) {
		c.t.Fatalf("the browser is at %s, not %s%s: %s", u, issuer, path, c.tab.Text("body"))
	}
}

// account is the id of the user who is signed in.
func (c *caller) account() string {
	c.t.Helper()
	c.tab.Goto(c.s.issuer + "/settings/profile")
	c.at(c.s.issuer, "/settings/profile")
	return c.tab.Text("#user-id")
}

// out signs out of Doorward, but not of Acme.
func (c *caller) out() {
	c.t.Helper()
	c.tab.Goto(c.s.issuer + "/logout")
	c.tab.Click(`form[action="/logout"] [type=submit]`)
	c.at(c.s.issuer, "/login")
}

// again signs in through Acme, which remembers the browser and asks nothing, and returns the account.
func (c *caller) again() string {
	c.t.Helper()
	c.toAcme()
	c.at(c.s.issuer, "/settings/")
	return c.account()
}

// TestProvider: users sign up, sign in and connect an account with the OpenID Provider of panva's oidc-provider, which
// demands client_secret_basic and PKCE. It is at 127.0.0.1, and so another site than Doorward at localhost: cookies and
// redirects are as with a provider far away.
func TestProvider(t *testing.T) {
	setup.Long(t)
	port, err := setup.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a := acme{
		Port: port, Users: acmeUsers, Claims: "userinfo",
		// Each of these characters changes if a client forgets to encode them (RFC 6749, section 2.3.1).
		Client: credentials{ID: "door ward:1", Secret: "nineteen +%2F/:&=~ llamas"},
	}
	s := start(t, "sqlite:data/doorward.db", fmt.Sprintf(`mail: {url: "dir:mail", from: no-reply@example.com}
sign_up: open
providers:
  - {id: acme, name: Acme, issuer: %q, client_id: %q, client_secret: %q, trusted_email: true}
`, a.issuer(), a.Client.ID, a.Client.Secret))
	a.Callback = s.issuer + "/login/acme/callback"
	stop := a.start(t)
	s.command("", "check") // it reads the discovery document

	person := func(t *testing.T, user acmeUser) *caller {
		t.Helper()
		return &caller{t: t, s: s, acme: a, tab: browser.New(t), user: user}
	}
	ids := map[string]string{} // by the subject at Acme
	for i, script := range []bool{true, false} {
		t.Run(fmt.Sprintf("JavaScript %v", script), func(t *testing.T) {
			run := func(name string, user acmeUser, walk func(*caller)) {
				t.Run(name, func(t *testing.T) {
					c := person(t, user)
					c.tab.JavaScript(script)
					walk(c)
				})
			}
			run("denied", acmeUsers[i], denies)
			run("signed up", acmeUsers[i], func(c *caller) { ids[c.user.Subject] = signsUp(c) })
			run("connected", acmeUsers[2], connects)
		})
	}
	// From now on the ID token itself says who the user is, and its key is one that Doorward has not read yet.
	stop()
	a.Claims = "id_token"
	a.start(t)
	t.Run("other keys", func(t *testing.T) {
		c := person(t, acmeUsers[0])
		c.toAcme()
		c.signIn("")
		c.at(s.issuer, "/settings/")
		if got := c.account(); got != ids[c.user.Subject] {
			t.Errorf("with other keys the account is %q, not %q", got, ids[c.user.Subject])
		}
	})
	if !t.Failed() && !*update {
		checkProvidersPart(t)
	}
}

// denies cancels at Acme, first on its sign-in page and then on its consent page.
func denies(c *caller) {
	c.t.Helper()
	back := func() {
		c.t.Helper()
		c.at(c.s.issuer, "/login")
		if c.tab.Status() != http.StatusOK || !c.tab.Has(`form[action="/login/acme"]`) {
			c.t.Errorf("after a refusal at Acme the page is %d %s", c.tab.Status(), c.tab.Text("main"))
		}
	}
	c.toAcme()
	c.tab.Click(`#login [value=cancel]`)
	back()
	c.toAcme()
	c.tab.Fill("#login [name=login]", c.user.Email)
	c.tab.Click(`#login [value="go on"]`)
	c.tab.Click(`#consent [value=cancel]`)
	back()
	c.tab.Goto(c.s.issuer + "/settings/profile")
	c.at(c.s.issuer, "/login")
}

// signsUp creates an account through Acme, which is trusted to know addresses, and uses it once more.
func signsUp(c *caller) (id string) {
	c.t.Helper()
	c.toAcme()
	c.signIn("")
	c.at(c.s.issuer, "/signup/complete")
	if got := c.tab.Text("main"); !strings.Contains(got, c.user.Email) || !strings.Contains(got, "sign in with Acme") {
		c.t.Errorf("the page that completes the account says %s", got)
	}
	if got := c.tab.Attribute("[name=name]", "value"); got != c.user.Name {
		c.t.Errorf("the name from Acme is %q, want %q", got, c.user.Name)
	}
	if c.tab.Has("[name=password]") {
		c.t.Error("a password is asked for beside Acme")
	}
	c.tab.Click(`form[action="/signup/complete"] .btn.main`)
	c.at(c.s.issuer, "/settings/profile")
	id = c.account()
	c.out()
	if got := c.again(); got != id {
		c.t.Errorf("the second sign-in is to the account %q, not %q", got, id)
	}
	return id
}

// connects comes from Acme with the address of an account here, which the address alone does not open. Then it signs in
// with the password, connects the two, uses the connection and ends it.
func connects(c *caller) {
	c.t.Helper()
	c.tab.Goto(c.s.issuer + "/login")
	c.tab.Fill("[name=email]", email)
	c.tab.Click(`form[action="/login"] [type=submit]`)
	c.press(`form[action="/login/acme"] [type=submit]`, "Continue with Acme")
	c.signIn(email)
	c.refused()
	c.press("main a.btn.main", "Sign in in another way")
	c.at(c.s.issuer, "/login")
	if c.tab.Status() != http.StatusOK {
		c.t.Errorf("the other ways to sign in are at a page with status %d", c.tab.Status())
	}

	c.tab.ClearCookies() // those of Acme too, which then asks again who the user is
	c.tab.Goto(c.s.issuer + "/login")
	c.tab.Fill("[name=email]", email)
	c.tab.Click(`form[action="/login"] [type=submit]`)
	c.tab.Fill("[name=password]", password)
	c.tab.Click(`form:has([name=password]) [type=submit]`)
	id := c.account()
	const (
		security = "/settings/security"
		connect  = `form[action="/settings/security/providers/acme/connect"] [type=submit]`
		row      = `section[aria-labelledby="h-providers"] .row`
	)
	c.tab.Goto(c.s.issuer + security)
	c.press(connect, "Connect Acme")
	c.tab.Click(`#login [value=cancel]`)
	c.at(c.s.issuer, security)
	if c.tab.Has(row) {
		c.t.Error("an account is connected after a refusal at Acme")
	}
	c.tab.Click(connect)
	c.signIn(email)
	c.at(c.s.issuer, security)
	if got := c.tab.Text("main"); c.tab.Has(connect) || !strings.Contains(got, "You can sign in with Acme now.") {
		c.t.Errorf("after Acme was connected, the page says %s", got)
	}
	c.out()
	if got := c.again(); got != id {
		c.t.Errorf("the connected account is %q, not %q", got, id)
	}

	c.tab.Goto(c.s.issuer + security)
	c.press(row+" a", "Remove")
	c.press("main .btn.danger", "Disconnect")
	c.at(c.s.issuer, security)
	if !c.tab.Has(connect) || c.tab.Has(row) {
		c.t.Errorf("after Acme was disconnected, the page says %s", c.tab.Text("main"))
	}
	c.out()
	c.toAcme()
	c.refused()
}

// refused checks that the browser comes back from Acme with an account that has the address of one here.
func (c *caller) refused() {
	c.t.Helper()
	c.at(c.s.issuer, "/login/acme/callback")
	if got := c.tab.Text("h1"); c.tab.Status() != http.StatusConflict || got != "You have an account here already" {
		c.t.Errorf("an account with the same address is answered with %d %s", c.tab.Status(), got)
	}
}

// providersPart is the last part of docs/interoperability.md.
func providersPart(t *testing.T) string {
	t.Helper()
	return `
## Providers

Users sign in to Doorward through these ([Signing in](signing-in.md#other-providers)), with and without JavaScript on
Doorward's pages:

| provider | version | result |
| --- | --- | --- |
| [oidc-provider](../test/interop/node/oidc-provider.js) | ` + nodePackage("oidc-provider")(t) +
		" | with `client_secret_basic` and PKCE required: sign-up, a second sign-in without a question, connecting and " +
		"disconnecting an account, refusals on both of its pages, other signing keys; claims from userinfo and from " +
		"the ID token |\n"
}

// checkProvidersPart checks that docs/interoperability.md says what happened here.
func checkProvidersPart(t *testing.T) {
	t.Helper()
	root, err := setup.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "interoperability.md"))
	if err != nil {
		t.Fatal(err)
	}
	if part := providersPart(t); !strings.HasSuffix(string(page), part) {
		t.Errorf("docs/interoperability.md does not end with this part:\n%s", part)
	}
}
