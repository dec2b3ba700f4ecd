package conformance_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"doorward/management"
	"doorward/test/rig"
)

// proofs has the modules about DPoP (RFC 9449).
func (p *plan) proofs(t *testing.T) {
	p.proofTimes(t)
	p.bindings(t)
	p.module(t, "fapi2-security-profile-final-access-token-type-header-case-sensitivity", func(t *testing.T) {
		token := p.grant(t, p.first).Text("access_token")
		wantResource(t, p.Send(p.Program(), p.Request(http.MethodGet, resource, nil, "Authorization", "dpOp "+token,
			"DPoP", p.Proof(p.first.proving, http.MethodGet, resource, token))))
	})
	p.module(t, "fapi2-security-profile-final-ensure-holder-of-key-required", func(t *testing.T) {
		code := p.authorize(t, p.first, p.first.Params("read"))
		a := p.ExchangeSigned(p.first.App, p.first.key, nil, code)
		wantRefusal(t, a, http.StatusBadRequest, "invalid_dpop_proof")
	})
	p.module(t, "fapi2-security-profile-final-dpop-negative-tests", p.wrongProofs)
}

// proofTimes has the modules about the times in a proof. The clock of a client may be ten seconds off (section 5.3.2.1 of
// the profile).
func (p *plan) proofTimes(t *testing.T) {
	c := p.first
	// flow goes through it with the same claims in the proofs at all endpoints; they depend on the time.
	flow := func(t *testing.T, claims func() rig.Members, atPAR bool) {
		t.Helper()
		var header []string
		if atPAR {
			header = []string{"DPoP", p.Proof(c.proving, http.MethodPost, "/oauth/par", "", claims())}
		}
		code := p.authorize(t, c, c.Params("read"), header...)
		form := changed(nil, "grant_type", "authorization_code", "code", code, "redirect_uri", c.Redirect, "code_verifier",
			rig.Verifier)
		token := p.wantTokens(t, p.PostSigned(c.App, c.key, "/oauth/token", form, "DPoP",
			p.Proof(c.proving, http.MethodPost, "/oauth/token", "", claims()))).Text("access_token")
		wantResource(t, p.Send(p.Program(), p.Request(http.MethodGet, resource, nil, "Authorization", "DPoP "+token,
			"DPoP", p.Proof(c.proving, http.MethodGet, resource, token, claims()))))
	}
	at := func(d time.Duration) func() rig.Members {
		return func() rig.Members { return rig.Members{"iat": p.Now().Add(d).Unix()} }
	}
	p.module(t, "fapi2-security-profile-final-check-dpop-proof-nbf-exp", func(t *testing.T) {
		flow(t, func() rig.Members {
			return rig.Members{"nbf": p.Now().Unix(), "exp": p.Now().Add(5 * time.Minute).Unix()}
		}, false)
	})
	p.module(t, "fapi2-security-profile-final-ensure-dpopproof-with-iat-10seconds-before-succeeds",
		func(t *testing.T) { flow(t, at(-10*time.Second), true) })
	p.module(t, "fapi2-security-profile-final-ensure-dpopproof-with-iat-10seconds-after-succeeds",
		func(t *testing.T) { flow(t, at(10*time.Second), true) })
}

// bindings has the modules about the key that a code is bound to (RFC 9449, section 10).
func (p *plan) bindings(t *testing.T) {
	c, other := p.first, rig.NewKey(t, "")
	proof := func(k *rig.Key) []string {
		return []string{"DPoP", p.Proof(k, http.MethodPost, "/oauth/par", "")}
	}
	bound := func(k *rig.Key) []string { return []string{"dpop_jkt", k.Thumbprint()} }
	redeem := func(k *rig.Key, code string) *rig.Answer { return p.ExchangeSigned(c.App, c.key, k, code) }
	works := func(t *testing.T, code string) {
		t.Helper()
		p.use(t, c.proving, p.wantTokens(t, redeem(c.proving, code)).Text("access_token"))
	}
	p.module(t, "fapi2-security-profile-final-ensure-mismatched-dpop-jkt-fails", func(t *testing.T) {
		a := p.PostSigned(c.App, c.key, "/oauth/par", changed(c.Params("read"), bound(other)...), proof(c.proving)...)
		wantRefusal(t, a, http.StatusBadRequest, "invalid_dpop_proof")
	})
	p.module(t, "fapi2-security-profile-final-ensure-token-endpoint-fails-with-mismatched-dpop-proof-jkt",
		func(t *testing.T) {
			code := p.authorize(t, c, c.Params("read"), proof(c.proving)...)
			wantRefusal(t, redeem(other, code), http.StatusBadRequest, "invalid_grant")
		})
	p.module(t, "fapi2-security-profile-final-ensure-token-endpoint-fails-with-mismatched-dpop-jkt",
		func(t *testing.T) {
			code := p.authorize(t, c, changed(c.Params("read"), bound(other)...))
			wantRefusal(t, redeem(c.proving, code), http.StatusBadRequest, "invalid_grant")
		})
	p.module(t, "fapi2-security-profile-final-ensure-dpopproof-at-par-endpoint-binding-success", func(t *testing.T) {
		works(t, p.authorize(t, c, c.Params("read"), proof(c.proving)...))
	})
	p.module(t, "fapi2-security-profile-final-ensure-dpop-auth-code-binding-success", func(t *testing.T) {
		works(t, p.authorize(t, c, changed(c.Params("read"), bound(c.proving)...), proof(c.proving)...))
	})
}

// wrongProofs calls the resource with one token and with proofs that are wrong in one thing, or unusual.
func (p *plan) wrongProofs(t *testing.T) {
	key := p.first.proving
	token := p.grant(t, p.first).Text("access_token")
	call := func(header ...string) *rig.Answer {
		return p.Send(p.Program(), p.Request(http.MethodGet, resource, nil, header...))
	}
	with := func(proofs ...string) *rig.Answer {
		header := []string{"Authorization", "DPoP " + token}
		for _, one := range proofs {
			header = append(header, "DPoP", one)
		}
		return call(header...)
	}
	header := rig.ProofHeader(key)
	claims := func(others ...rig.Members) rig.Members {
		return p.ProofClaims(http.MethodGet, resource, token).With(others...)
	}
	in := func(others rig.Members) string { return key.Sign(header.With(others), claims()) } // another header
	is := func(others rig.Members) string { return key.Sign(header, claims(others)) }        // other claims
	right := func() string { return key.Sign(header, claims()) }
	times := func(d time.Duration) rig.Members { return rig.Members{"iat": p.Now().Add(d).Unix()} }
	unsigned := func(text string) string { return text[:strings.LastIndex(text, ".")+1] }
	parts := strings.Split(right(), ".")
	forged := strings.Split(right(), ".")
	forged[2] = parts[2]

	for name, proofs := range map[string][]string{
		"two proofs":                   {right(), right()},
		"not a JWT":                    {parts[0] + "." + parts[1]},
		"no typ":                       {in(rig.Members{"typ": nil})},
		"no alg":                       {in(rig.Members{"alg": nil})},
		"no jwk":                       {in(rig.Members{"jwk": nil})},
		"no jti":                       {is(rig.Members{"jti": nil})},
		"no htm":                       {is(rig.Members{"htm": nil})},
		"no htu":                       {is(rig.Members{"htu": nil})},
		"no iat":                       {is(rig.Members{"iat": nil})},
		"no ath":                       {is(rig.Members{"ath": nil})},
		"another typ":                  {in(rig.Members{"typ": "dpop+jwt+wrong"})},
		"none":                         {unsigned(in(rig.Members{"alg": "none"}))},
		"none and no jwk":              {unsigned(in(rig.Members{"alg": "none", "jwk": nil}))},
		"another signature":            {strings.Join(forged, ".")},
		"jwk with the private key":     {in(rig.Members{"jwk": jose.JSONWebKey{Key: key.Private}})},
		"another method":               {is(rig.Members{"htm": http.MethodPut})},
		"another URL":                  {is(rig.Members{"htu": p.Issuer + "/v1/api-keys"})},
		"another host":                 {is(rig.Members{"htu": "https://another.example" + resource})},
		"an hour ahead":                {is(times(time.Hour))},
		"an hour ago":                  {is(times(-time.Hour))},
		"ath of another token":         {is(rig.Members{"ath": claims()["jti"]})},
		"by a key that is not its jwk": {rig.NewKey(t, "").Sign(header, claims())},
		"none at all":                  nil,
	} {
		a := with(proofs...)
		challenge := strings.Join(a.Header.Values("WWW-Authenticate"), ", ")
		if a.Status != http.StatusUnauthorized || !strings.Contains(challenge, `DPoP`) ||
			!strings.Contains(challenge, `error="invalid_dpop_proof"`) && !strings.Contains(challenge, `error="invalid_token"`) {
			t.Errorf("%s: %d %s %s", name, a.Status, challenge, a.Body)
		}
	}
	p.wantBound(t, rig.NewKey(t, ""), token)
	// A bound token does not work without its key.
	if a := call("Authorization", "Bearer "+token); a.Status != http.StatusUnauthorized {
		t.Errorf("as a bearer token: %d %s", a.Status, a.Body)
	}

	unusual := claims()
	upper := strings.NewReplacer("http://", "HTTP://", "localhost", "LOCALHOST").Replace(p.Issuer)
	for name, proof := range map[string]string{
		"a query and a fragment in htu": is(rig.Members{"htu": p.Issuer + resource + "?query=1#fragment"}),
		"the first use of a jti":        is(rig.Members{"jti": unusual["jti"]}),
		"unknown members":               key.Sign(header.With(rig.Members{"tx_id": 1}), claims(rig.Members{"tx_id_key": 1})),
		"upper case in scheme and host": is(rig.Members{"htu": upper + resource}),
	} {
		if a := with(proof); a.Status != http.StatusOK {
			t.Errorf("%s: %d %v %s", name, a.Status, a.Header, a.Body)
		}
	}
	if a := with(is(rig.Members{"jti": unusual["jti"]})); a.Status != http.StatusUnauthorized {
		t.Errorf("the second use of a jti: %d %s", a.Status, a.Body)
	}
	q := p.Request(http.MethodGet, resource, nil, "Authorization", "DPoP "+token)
	q.Header["DPOP"] = []string{right()} // as a client may write the name of the header
	wantResource(t, p.Send(p.Program(), q))
	p.use(t, key, token) // the token did work all along
	p.proofsByRSA(t)
	p.defaultPort(t)
}

// proofsByRSA calls the resource with a token that is bound to an RSA key, which can make signatures of two algorithms.
func (p *plan) proofsByRSA(t *testing.T) {
	t.Helper()
	c, wrong := &client{p.first.App, p.first.key, rsaKey()}, *rsaKey()
	wrong.Algorithm = jose.RS256
	token := p.grant(t, c).Text("access_token")
	if a := p.CallBound(&wrong, http.MethodGet, resource, token); a.Status != http.StatusUnauthorized {
		t.Errorf("a proof with RS256: %d %s", a.Status, a.Body)
	}
	p.use(t, c.proving, token)
}

// defaultPort calls a server whose URL has no port with a proof that names the one of its scheme.
func (p *plan) defaultPort(t *testing.T) {
	t.Helper()
	r := rig.Memory(t, rig.Options{Issuer: "https://auth.example.com"})
	app, key := r.SignedApp(management.ClientSpec{FAPI: true, Grants: []string{"client_credentials"}})
	a := r.PostSigned(app, key, "/oauth/token", changed(nil, "grant_type", "client_credentials"), "DPoP",
		r.Proof(p.first.proving, http.MethodPost, "/oauth/token", ""))
	token := a.Text("access_token")
	a = r.Send(r.Program(), r.Request(http.MethodGet, resource, nil, "Authorization", "DPoP "+token, "DPoP",
		r.Proof(p.first.proving, http.MethodGet, resource, token, rig.Members{
			"htu": "https://auth.example.com:443" + resource,
		})))
	wantResource(t, a)
}
