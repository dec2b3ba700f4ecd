package security

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"golang.org/x/net/html"

	"doorward/storage"
	"doorward/test/authenticator"
	"doorward/test/rig"
)

// withPasskeys are the options of a server with email and passkeys, behind a proxy.
func withPasskeys() rig.Options {
	o := withEmail()
	o.Localhost = true
	return o
}

// attribute is an attribute of an element; empty: it has none.
func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// passkeyForm is a form of a page that asks the browser for a passkey, with what it asks; nil: there is none.
func passkeyForm(b *rig.Browser, page *rig.Answer, action string) (form url.Values, options []byte) {
	b.T.Helper()
	doc, err := html.Parse(strings.NewReader(page.Body))
	ok(b.T, err)
	var walk func(n *html.Node, inside bool)
	walk = func(n *html.Node, inside bool) {
		if n.Type == html.ElementNode {
			if n.Data == "form" && attribute(n, "action") == action && attribute(n, "data-options") != "" {
				inside, form, options = true, url.Values{}, []byte(attribute(n, "data-options"))
			}
			if name := attribute(n, "name"); inside && n.Data == "input" && name != "" {
				form.Add(name, attribute(n, "value"))
			}
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c, inside)
		}
	}
	walk(doc, false)
	return form, options
}

// mustForm is passkeyForm of a page that has to have one.
func mustForm(b *rig.Browser, page *rig.Answer, action string) (form url.Values, options []byte) {
	b.T.Helper()
	form, options = passkeyForm(b, page, action)
	if form == nil {
		b.T.Fatalf("no form for %s asks for a passkey (status %d): %s", action, page.Status, rig.Plain(page.Body))
	}
	return form, options
}

// textOf is the text of the element of a page with an id.
func textOf(t testing.TB, page *rig.Answer, id string) string {
	t.Helper()
	_, rest, found := strings.Cut(page.Body, `id="`+id+`"`)
	if !found {
		t.Fatalf("no #%s on the page (status %d): %s", id, page.Status, rig.Plain(page.Body))
	}
	_, rest, _ = strings.Cut(rest, ">")
	text, _, _ := strings.Cut(rest, "</")
	return strings.TrimSpace(text)
}

// use has an authenticator answer what a form of the browser's page asks.
func use(b *rig.Browser, a *authenticator.Authenticator, options []byte, changes ...authenticator.Change) string {
	b.T.Helper()
	answer, err := a.Get(b.Issuer, options, changes...)
	ok(b.T, err)
	return string(answer)
}

// challengeIn is the challenge of options, as a browser passes it on.
func challengeIn(t testing.TB, options []byte) []byte {
	t.Helper()
	var x struct{ Challenge string }
	ok(t, json.Unmarshal(options, &x))
	text, err := base64.RawURLEncoding.DecodeString(x.Challenge)
	ok(t, err)
	return text
}

// offeredPasskey is what the sign-in page asks the browser for.
func offeredPasskey(b *rig.Browser) (form url.Values, options []byte) {
	b.T.Helper()
	flow := b.Form(b.Get("/login"), "/login").Get("flow")
	return offeredIn(b, flow)
}

// offeredIn is offeredPasskey for a flow.
func offeredIn(b *rig.Browser, flow string) (form url.Values, options []byte) {
	b.T.Helper()
	a := b.Get("/login/passkey?flow=" + url.QueryEscape(flow))
	var x struct {
		Options   json.RawMessage
		Challenge string
	}
	if a.Status != http.StatusOK {
		b.T.Fatalf("the challenge is answered %d %s", a.Status, rig.Plain(a.Body))
	}
	ok(b.T, json.Unmarshal([]byte(a.Body), &x))
	return url.Values{"flow": {flow}, "challenge": {x.Challenge}}, x.Options
}

// answeredPasskey is the form of the sign-in page with an authenticator's answer.
func answeredPasskey(b *rig.Browser, a *authenticator.Authenticator, changes ...authenticator.Change) url.Values {
	b.T.Helper()
	form, options := offeredPasskey(b)
	return with(form, "credential", use(b, a, options, changes...))
}

// byPasskey signs in with a passkey.
func byPasskey(b *rig.Browser, a *authenticator.Authenticator) *rig.Browser {
	b.T.Helper()
	redirects(b.T, b.PostForm("/login/passkey", answeredPasskey(b, a)), "/settings/profile")
	return b
}

// redirects reports a response that is not a redirect to a path.
func redirects(t testing.TB, a *rig.Answer, path string) *rig.Answer {
	t.Helper()
	if a.Status != http.StatusSeeOther || a.Location == nil || a.Location.Path != path {
		t.Fatalf("answered %d %v, want a redirect to %s: %s", a.Status, a.Location, path, rig.Plain(a.Body))
	}
	return a
}

const newPasskeyPath = "/settings/security/passkeys"

// newPasskey is the form with which a signed-in browser creates a passkey, with the authenticator's answer.
func newPasskey(b *rig.Browser, a *authenticator.Authenticator, changes ...authenticator.Change) url.Values {
	b.T.Helper()
	form, options := mustForm(b, b.PostForm(newPasskeyPath+"/new", nil), newPasskeyPath)
	answer, err := a.Create(b.Issuer, options, changes...)
	ok(b.T, err)
	return with(form, "credential", string(answer))
}

// addPasskey creates a passkey in a signed-in browser.
func addPasskey(b *rig.Browser, a *authenticator.Authenticator, changes ...authenticator.Change) {
	b.T.Helper()
	redirects(b.T, b.PostForm(newPasskeyPath, newPasskey(b, a, changes...)), "/settings/security")
}

// person makes a user with a passkey, who has authenticated with it in the browser.
func person(r *rig.Rig, email string) (storage.User, *rig.Browser, *authenticator.Authenticator) {
	r.T.Helper()
	u, a := r.User(email, "Person", false), authenticator.New()
	b := r.Browser().SignIn(u.Email)
	addPasskey(b, a)
	return u, b, a
}

// passkeys are those that are stored.
func passkeys(t *testing.T, r *rig.Rig, userID string) []storage.Passkey {
	t.Helper()
	list, err := r.Store.PasskeysOf(r.System(), userID, "localhost")
	ok(t, err)
	return list
}

// otpOf is the one-time password of a secret at a distance from now.
func otpOf(r *rig.Rig, secret string, distance time.Duration) string {
	r.T.Helper()
	code, err := totp.GenerateCode(secret, r.Store.Now().Time().Add(distance))
	ok(r.T, err)
	return code
}

// addTOTP sets up an authenticator app in a signed-in browser. The code of the current step is used.
func addTOTP(b *rig.Browser) (secret string, recovery []string) {
	b.T.Helper()
	page := b.PostForm("/settings/security/totp", nil)
	secret = secretOn(b, page)
	form := b.Form(page, "/settings/security/totp/confirm")
	form.Set("code", otpOf(b.Rig, secret, 0))
	return secret, recoveryOn(b, b.PostForm("/settings/security/totp/confirm", form))
}

// secretOn is the key for an authenticator app that a page shows.
func secretOn(b *rig.Browser, page *rig.Answer) string {
	b.T.Helper()
	secret := strings.Join(strings.Fields(textOf(b.T, page, "totp-key")), "")
	b.Seen.Add("TOTP secret", secret)
	return secret
}

// recoveryOn are the recovery codes that a page shows.
func recoveryOn(b *rig.Browser, page *rig.Answer) []string {
	b.T.Helper()
	list := strings.Fields(textOf(b.T, page, "recovery-codes"))
	if len(list) != 10 {
		b.T.Fatalf("%d recovery codes (status %d): %s", len(list), page.Status, rig.Plain(page.Body))
	}
	return list
}

// halfway gives the right password of a user who has a second factor, and returns the form for the code. In the browser
// that it opens, only that is proved.
func halfway(b *rig.Browser, email string) url.Values {
	b.T.Helper()
	a := redirects(b.T, attempt(b, email, rig.Password), "/login/second")
	return b.Form(b.Follow(a), "/login/second")
}

// second sends the code of a sign-in.
func second(b *rig.Browser, form url.Values, code string, header ...string) *rig.Answer {
	b.T.Helper()
	return b.PostForm("/login/second", with(form, "code", code), header...)
}

// byCode signs in with the password and a code.
func byCode(b *rig.Browser, email, code string) *rig.Browser {
	b.T.Helper()
	redirects(b.T, second(b, halfway(b, email), code), "/settings/profile")
	return b
}
