package security

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"doorward/management"
	"doorward/oauth"
	"doorward/test/rig"
)

// JWT access tokens that are bound to a key (cnf), and what else clients sign, in place of an access token.

// boundRig is a rig with a JWT of Alice's that is bound to a key.
type boundRig struct {
	*rig.Rig
	api     *rig.App
	proving *rig.Key
	access  string
}

func newBoundRig(t *testing.T) *boundRig {
	t.Helper()
	r := rig.Memory(t, signing())
	b := &boundRig{Rig: r, api: r.ResourceServer(), proving: rig.NewKey(t, "")}
	app, key := r.SignedApp(management.ClientSpec{})
	a := r.ExchangeSigned(app, key, b.proving, r.Browser().SignIn(r.Alice.Email).Code(app, "read write"))
	if a.Status != http.StatusOK || a.Text("token_type") != "DPoP" {
		t.Fatalf("exchange answered %d %s", a.Status, a.Body)
	}
	b.access = a.Text("access_token")
	return b
}

// refused checks that a token is accepted in no scheme, and that introspection says nothing about it.
func (b *boundRig) refused(t *testing.T, name, token string) {
	t.Helper()
	const path = "/v1/auth/test"
	calls := map[string]*rig.Answer{
		"Bearer": b.Call(http.MethodGet, path, token), "DPoP": b.CallBound(b.proving, http.MethodGet, path, token),
	}
	for scheme, a := range calls {
		if a.Status != http.StatusUnauthorized {
			t.Errorf("%s as %s: %s answered %d %s", name, scheme, path, a.Status, a.Body)
		}
	}
	if a := b.Introspect(b.api, token); !b.Dead(a) {
		t.Errorf("%s: introspection answered %d %s", name, a.Status, a.Body)
	}
}

// taken checks that a token is accepted with a proof.
func (b *boundRig) taken(t *testing.T, name, token string) {
	t.Helper()
	if a := b.CallBound(b.proving, http.MethodGet, "/v1/auth/test", token); a.Status != http.StatusOK {
		t.Errorf("%s: answered %d %s", name, a.Status, a.Body)
	}
	if !b.Alive(b.api, token) {
		t.Errorf("%s: introspection says that it is not active", name)
	}
}

func TestJ01_J05_J06_TheKeyOfABoundTokenIsSigned(t *testing.T) {
	b := newBoundRig(t)
	signer, kid := stolen(t, b.Rig)
	claims := part(t, b.access, 1)
	header := rig.Members{"typ": "at+jwt", "alg": "ES256", "kid": kid}
	if cnf, _ := claims["cnf"].(map[string]any); cnf["jkt"] != b.proving.Thumbprint() {
		t.Fatalf("cnf is %v", claims["cnf"])
	}
	b.taken(t, "as it was issued", b.access)
	// The thief of a token has a key of their own, or none.
	thief := rig.NewKey(t, "")
	parts := strings.Split(b.access, ".")
	for name, cnf := range map[string]any{
		"left out": nil, "of the thief": rig.Members{"jkt": thief.Thumbprint()}, "empty": rig.Members{},
	} {
		changed := encode(t, rig.Members(claims).With(rig.Members{"cnf": cnf}))
		b.refused(t, "cnf "+name+" under the old signature", parts[0]+"."+changed+"."+parts[2])
		b.refused(t, "cnf "+name+" unsigned", encode(t, header.With(rig.Members{"alg": "none"}))+"."+changed+".")
	}
	if a := b.CallBound(thief, http.MethodGet, "/v1/auth/test", b.access); a.Status != http.StatusUnauthorized {
		t.Errorf("with a proof by another key: %d %s", a.Status, a.Body)
	}
	if a := b.Call(http.MethodGet, "/v1/auth/test", b.access); a.Status != http.StatusUnauthorized {
		t.Errorf("as a bearer token: %d %s", a.Status, a.Body)
	}
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	ok(t, err)
	jwk, err := json.Marshal(jose.JSONWebKey{Key: signer.Public()})
	ok(t, err)
	for name, secret := range map[string][]byte{
		"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "JWK": jwk,
	} {
		b.refused(t, "HS256 with our public key as "+name,
			sign(t, jose.HS256, secret, header.With(rig.Members{"alg": "HS256"}), claims))
	}
	for name, token := range misspelt(t, b.access) {
		if !strings.ContainsAny(token, "\n ") { // not possible in a header
			b.refused(t, name, token)
		}
	}
	b.taken(t, "as it was issued, still", b.access)
}

// The key that a proof holds never becomes one that a token is verified with.
func TestJ03_J04_OnlyAccessTokensAreAccessTokens(t *testing.T) {
	b := newBoundRig(t)
	bait := newTrap(t)
	app, key := b.SignedApp(management.ClientSpec{Grants: []string{oauth.GrantClientCredentials}})
	claims, header := rig.Members(part(t, b.access, 1)), rig.Members(part(t, b.access, 0))
	named := header.With(rig.Members{"jku": bait.url("http"), "x5u": bait.url("http")})
	own := rig.ProofHeader(b.proving).With(rig.Members{"typ": "at+jwt"})
	const path = "/v1/auth/test"
	for name, token := range map[string]string{
		"a proof":                         b.Proof(b.proving, http.MethodGet, path, ""),
		"a proof for the token":           b.Proof(b.proving, http.MethodGet, path, b.access),
		"a proof with a token's claims":   b.proving.Sign(rig.ProofHeader(b.proving), claims),
		"a token that brings its key":     b.proving.Sign(own, claims),
		"a token with the kid of ours":    b.proving.Sign(header, claims),
		"a token that names its keys":     b.proving.Sign(named, claims),
		"an assertion":                    b.Assertion(app, key),
		"an assertion with its claims":    b.Assertion(app, key, claims.With(rig.Members{"iss": app.ID, "sub": app.ID})),
		"an assertion of our issuer":      b.Assertion(app, key, claims),
		"an assertion for the API":        b.Assertion(app, key, rig.Members{"aud": exampleAPI}),
		"an assertion typed as the token": key.Sign(rig.Members{"typ": "at+jwt", "alg": "ES256", "kid": key.ID}, claims),
	} {
		b.refused(t, name, token)
	}
	bait.wantUntouched(t)
	// Nor is any of them a refresh token or a code.
	other, otherKey := signedClient(b.Rig)
	for _, token := range []string{
		b.Proof(b.proving, http.MethodPost, "/oauth/token", ""), b.Assertion(app, key), b.access,
	} {
		refused(t, b.PostSigned(other, otherKey, "/oauth/token", refreshForm(token)), http.StatusBadRequest,
			oauth.InvalidGrant)
		refused(t, b.PostSigned(other, otherKey, "/oauth/token", codeForm(other, token)), http.StatusBadRequest,
			oauth.InvalidGrant)
	}
}
