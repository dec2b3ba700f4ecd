package conformance_test

import (
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"doorward/management"
	"doorward/test/rig"
)

// assertions has the modules about the authentication of clients with private_key_jwt (RFC 7523).
func (p *plan) assertions(t *testing.T) {
	p.assertionsAtToken(t)
	p.assertionsAtPAR(t)
}

// redeem redeems a code of a client with an assertion, or with none, and a right proof.
func (p *plan) redeem(c *client, code, assertion string) *rig.Answer {
	p.T.Helper()
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {c.Redirect}, "code_verifier": {rig.Verifier},
		"client_id": {c.ID},
	}
	if assertion != "" {
		form = rig.Asserted(form, assertion)
	}
	return p.Post("/oauth/token", form, "DPoP", p.Proof(c.proving, http.MethodPost, "/oauth/token", ""))
}

// rsaKey is a key for PS256, and for RS256, which the profile forbids. It takes long to make.
var rsaKey = sync.OnceValue(func() *rig.Key { return rig.NewRSAKey(&testing.T{}, "rsa-1", jose.PS256, 2048) })

// assertionsAtToken has the modules whose assertion is wrong at the token endpoint. The same code then works with a
// right one.
func (p *plan) assertionsAtToken(t *testing.T) {
	// refused redeems a code of the first client with a wrong assertion, which may depend on the time.
	refused := func(assertion func() string) func(t *testing.T) {
		return func(t *testing.T) {
			t.Helper()
			code := p.authorize(t, p.first, p.first.Params("read"))
			wantRefusal(t, p.redeem(p.first, code, assertion()), http.StatusUnauthorized, "invalid_client")
			p.wantTokens(t, p.redeem(p.first, code, p.Assertion(p.first.App, p.first.key)))
		}
	}
	with := func(claims func() rig.Members) func() string {
		return func() string { return p.Assertion(p.first.App, p.first.key, claims()) }
	}
	p.module(t, "fapi2-security-profile-final-ensure-client-assertion-in-token-endpoint",
		refused(func() string { return "" }))
	p.module(t, "fapi2-security-profile-final-ensure-client-assertion-with-exp-is-5-minutes-in-past-fails",
		refused(with(func() rig.Members { return rig.Members{"exp": p.Now().Add(-5 * time.Minute).Unix()} })))
	p.module(t, "fapi2-security-profile-final-ensure-client-assertion-with-wrong-aud-fails",
		refused(with(func() rig.Members { return rig.Members{"aud": "https://another.example/api/userinfo"} })))
	p.module(t, "fapi2-security-profile-final-ensure-client-assertion-with-no-sub-fails",
		refused(with(func() rig.Members { return rig.Members{"sub": nil} })))
	p.module(t, "fapi2-security-profile-final-ensure-signed-client-assertion-with-RS256-fails", func(t *testing.T) {
		key := rsaKey()
		// Its JWK has no alg, and the key can make both signatures, so only the rule for the profile is in the way.
		app := p.App(management.ClientSpec{
			FAPI: true, AuthMethod: management.AuthPrivateKey, RedirectURIs: []string{plainRedirect},
			JWKS: rig.JWKS(&rig.Key{ID: key.ID, Algorithm: "", Private: key.Private}),
		})
		c := &client{app, key, rig.NewKey(t, "")}
		code := p.browser.Allow(app, p.push(t, c, app.Params("read")))
		wrong := *key
		wrong.Algorithm = jose.RS256
		wantRefusal(t, p.redeem(c, code, p.Assertion(app, &wrong)), http.StatusUnauthorized, "invalid_client")
		p.wantTokens(t, p.redeem(c, code, p.Assertion(app, key)))
	})
}

// assertionsAtPAR has the modules whose assertion is unusual at the endpoint for pushed requests.
func (p *plan) assertionsAtPAR(t *testing.T) {
	push := func(claims rig.Members) *rig.Answer {
		form := rig.Asserted(p.first.Params("read"), p.Assertion(p.first.App, p.first.key, claims))
		return p.Post("/oauth/par", form)
	}
	audience := func(aud any) func(t *testing.T) {
		return func(t *testing.T) {
			t.Helper()
			wantRefusal(t, push(rig.Members{"aud": aud}), http.StatusUnauthorized, "invalid_client")
		}
	}
	p.module(t, "fapi2-security-profile-final-par-test-array-as-audience-fails", func(t *testing.T) {
		audience([]string{p.Issuer, p.Issuer + "/oauth/token"})(t)
		audience([]string{p.Issuer})(t)
	})
	p.module(t, "fapi2-security-profile-final-par-test-par-endpoint-url-as-audience-fails",
		audience(p.Issuer+"/oauth/par"))
	p.module(t, "fapi2-security-profile-final-par-test-token-endpoint-url-as-audience-fails",
		audience(p.Issuer+"/oauth/token"))
	// The clocks of clients differ from ours. Section 5.3.2.1 of the profile says by how much they may: ten seconds, and
	// never more than a minute.
	ahead := func(d time.Duration) rig.Members {
		at := p.Now().Add(d)
		return rig.Members{"iat": at.Unix(), "nbf": at.Unix(), "exp": at.Add(time.Minute).Unix()}
	}
	p.module(t, "fapi2-security-profile-final-par-ensure-jwt-client-assertions-nbf-8-seconds-in-the-future-is-accepted",
		func(t *testing.T) {
			a := push(ahead(8 * time.Second))
			if a.Status != http.StatusCreated {
				t.Fatalf("PAR answered %d %s", a.Status, a.Body)
			}
			request := p.first.Params("read")
			code := p.wantCode(t, p.browser.Authorize(opened(request, a.Text("request_uri"))), request)
			p.wantTokens(t, p.ExchangeSigned(p.first.App, p.first.key, p.first.proving, code))
		})
	p.module(t, "fapi2-security-profile-final-par-ensure-jwt-client-assertions-nbf-over-60-seconds-in-the-future-fails",
		func(t *testing.T) {
			wantRefusal(t, push(ahead(62*time.Second)), http.StatusUnauthorized, "invalid_client")
		})
}
