package security

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"doorward/management"
	"doorward/oauth"
	"doorward/test/rig"
)

func TestT45_ARightAssertionBesideASecretIsRefused(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, key := signedClient(r)
	secret := r.App(everywhere(management.ClientSpec{}))
	const saml = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer" // RFC 7522
	for _, e := range endpoints(app) {
		asserted := func() url.Values { return rig.Asserted(e.form, r.Assertion(app, key)) }
		for name, a := range map[string]*rig.Answer{
			"Basic":               r.Post(e.path, asserted(), "Authorization", rig.Basic(app.ID, wrongSecret)),
			"Basic of another":    r.Post(e.path, asserted(), "Authorization", rig.Basic(secret.ID, secret.Secret)),
			"a secret":            r.Post(e.path, with(asserted(), "client_secret", wrongSecret)),
			"a secret of another": r.Post(e.path, with(asserted(), "client_id", secret.ID, "client_secret", secret.Secret)),
			"a bearer token":      r.Post(e.path, asserted(), "Authorization", "Bearer x"),
			"no type":             r.Post(e.path, with(asserted(), "client_assertion_type", "")),
			"a type alone":        r.Post(e.path, with(asserted(), "client_assertion", "")),
			"two assertions": r.Post(e.path, url.Values{
				"client_assertion_type": {rig.AssertionType},
				"client_assertion":      {r.Assertion(app, key), r.Assertion(app, key)},
			}),
		} {
			if refused(t, a, http.StatusBadRequest, oauth.InvalidRequest); t.Failed() {
				t.Fatalf("%s at %s", name, e.path)
			}
		}
		// A method that is not supported is one of authentication (RFC 6749, section 5.2).
		refused(t, r.Post(e.path, with(asserted(), "client_assertion_type", saml)), http.StatusUnauthorized,
			oauth.InvalidClient)
		// An empty secret is none (RFC 6749, section 3.1).
		form := asserted()
		form.Set("client_secret", "")
		e.succeeds(t, "with an empty secret", r.Post(e.path, form))
	}
}

// A client authenticates in the way that it registered, and in no other. One that registered none may send its secret
// in both ways.
func TestT46_EachMethodWithEachOther(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	key := rig.NewKey(t, "key-1")
	const nothing = ""
	right := map[string][]string{
		management.AuthSecretBasic: {management.AuthSecretBasic},
		management.AuthSecretPost:  {management.AuthSecretPost},
		management.AuthPrivateKey:  {management.AuthPrivateKey},
		management.AuthNone:        {management.AuthNone},
		nothing:                    {management.AuthSecretBasic, management.AuthSecretPost},
	}
	apps := map[string]*rig.App{}
	for method := range right {
		p := everywhere(management.ClientSpec{JWKS: rig.JWKS(key)})
		if method == management.AuthNone {
			p = management.ClientSpec{Public: true}
		}
		// Those with a secret have a key too, and the one with a key has a secret.
		app := r.App(p)
		change(r, app, func(p *management.ClientSpec) { p.AuthMethod = method })
		if method == management.AuthPrivateKey { // even if its secret had not gone with that change
			other := r.App(management.ClientSpec{})
			r.SQL(`UPDATE client_secrets SET client_id = $1 WHERE client_id = $2`, app.ID, other.ID)
			app.Secret = other.Secret
		}
		apps[method] = app
	}
	for registered, app := range apps {
		secret := app.Secret
		if secret == "" {
			secret = wrongSecret
		}
		for used, send := range map[string]func(e endpoint) *rig.Answer{
			management.AuthSecretBasic: func(e endpoint) *rig.Answer {
				return r.Post(e.path, with(e.form, "client_id", ""), "Authorization", rig.Basic(app.ID, secret))
			},
			management.AuthSecretPost: func(e endpoint) *rig.Answer {
				return r.Post(e.path, with(e.form, "client_id", app.ID, "client_secret", secret))
			},
			management.AuthPrivateKey: func(e endpoint) *rig.Answer {
				return e.asserted(r, r.Assertion(app, key))
			},
			management.AuthNone: func(e endpoint) *rig.Answer { return r.Post(e.path, with(e.form, "client_id", app.ID)) },
			nothing:             func(e endpoint) *rig.Answer { return r.Post(e.path, with(e.form, "client_id", "")) },
		} {
			for _, e := range endpoints(app) {
				if e.path == "/oauth/token" {
					// An unknown code is an answer for a client that is authenticated, for a public one too.
					e.form, e.status = codeForm(app, "x"), http.StatusBadRequest
				}
				t.Run(fmt.Sprintf("%s registered as %q, used as %q", e.path, registered, used), func(t *testing.T) {
					a := send(e)
					accepted := used == right[registered][0] || used == right[registered][len(right[registered])-1]
					if registered == management.AuthNone && e.path == "/oauth/introspect" {
						accepted = false // it proves nothing
					}
					if !accepted {
						refused(t, a, http.StatusUnauthorized, oauth.InvalidClient)
						return
					}
					e.succeeds(t, "authenticated", a)
					if e.path == "/oauth/token" {
						refused(t, a, http.StatusBadRequest, oauth.InvalidGrant)
					}
				})
			}
			forgetFailures(r)
		}
	}
}
