package rig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"doorward/management"
)

// Key is a key pair of a client, for its assertions or its DPoP proofs.
type Key struct {
	ID        string // kid
	Algorithm jose.SignatureAlgorithm
	Private   crypto.Signer
}

// NewKey creates an ES256 key.
func NewKey(t testing.TB, id string) *Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &Key{id, jose.ES256, private}
}

// NewRSAKey creates a key of so many bits for an algorithm of RSA.
func NewRSAKey(t testing.TB, id string, algorithm jose.SignatureAlgorithm, bits int) *Key {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return &Key{id, algorithm, private}
}

// Public is the public half.
func (k *Key) Public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.Private.Public(), KeyID: k.ID, Algorithm: string(k.Algorithm), Use: "sig"}
}

// JWKS is the JWK set of public keys.
func JWKS(keys ...*Key) string {
	var set jose.JSONWebKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, k.Public())
	}
	text, err := json.Marshal(set)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// Thumbprint is that of the public half (RFC 7638), as cnf and dpop_jkt have it.
func (k *Key) Thumbprint() string {
	public := jose.JSONWebKey{Key: k.Private.Public()}
	sum, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// Members are members of a header or a payload. One that is nil is left out.
type Members map[string]any

// With returns a copy with other members in place.
func (m Members) With(others ...Members) Members {
	own := maps.Clone(m)
	for _, other := range others {
		for name, value := range other {
			if own[name] = value; value == nil {
				delete(own, name)
			}
		}
	}
	return own
}

// Sign makes a JWT of exactly these members. The header's alg need not be that of the key, which signs by its own.
func (k *Key) Sign(header, payload Members) string {
	part := func(m Members) string {
		text, err := json.Marshal(m)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	input := part(header) + "." + part(payload)
	digest := sha256.Sum256([]byte(input))
	var signature []byte
	var err error
	switch private := k.Private.(type) {
	case *ecdsa.PrivateKey:
		r, s, signing := ecdsa.Sign(rand.Reader, private, digest[:])
		err, signature = signing, make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
	case *rsa.PrivateKey:
		if k.Algorithm == jose.PS256 {
			signature, err = rsa.SignPSS(rand.Reader, private, crypto.SHA256, digest[:], &rsa.PSSOptions{
				SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256,
			})
		} else {
			signature, err = rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, digest[:])
		}
	default:
		signature, err = private.Sign(rand.Reader, []byte(input), crypto.Hash(0))
	}
	if err != nil {
		panic(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// AssertionType is the client_assertion_type of an assertion.
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Now is the time of the rig's clock.
func (r *Rig) Now() time.Time { return r.Store.Now().Time() }

// AssertionClaims are the claims of a right assertion of app.
func (r *Rig) AssertionClaims(app *App) Members {
	return Members{
		"iss": app.ID, "sub": app.ID, "aud": r.Issuer, "jti": rand.Text(), "iat": r.Now().Unix(),
		"exp": r.Now().Add(time.Minute).Unix(),
	}
}

// Assertion is a right assertion of app, with claims in place of its own.
func (r *Rig) Assertion(app *App, k *Key, claims ...Members) string {
	return k.Sign(Members{"alg": k.Algorithm, "kid": k.ID, "typ": "JWT"}, r.AssertionClaims(app).With(claims...))
}

// Asserted adds an assertion to a form.
func Asserted(form url.Values, assertion string) url.Values {
	own := url.Values{"client_assertion_type": {AssertionType}, "client_assertion": {assertion}}
	maps.Copy(own, form)
	return own
}

// PostSigned is Post with a right assertion of app.
func (r *Rig) PostSigned(app *App, k *Key, path string, form url.Values, header ...string) *Answer {
	r.T.Helper()
	return r.Post(path, Asserted(form, r.Assertion(app, k)), header...)
}

// ProofHeader is the header of a right DPoP proof by k.
func ProofHeader(k *Key) Members {
	return Members{"typ": "dpop+jwt", "alg": k.Algorithm, "jwk": jose.JSONWebKey{Key: k.Private.Public()}}
}

// ProofClaims are the claims of a right DPoP proof for a request to a path of the issuer; token is the access token that
// is sent with it, or empty.
func (r *Rig) ProofClaims(method, path, token string) Members {
	m := Members{"jti": rand.Text(), "htm": method, "htu": r.Issuer + path, "iat": r.Now().Unix()}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		m["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return m
}

// Proof is a right DPoP proof for a request to a path of the issuer, with claims in place of its own.
func (r *Rig) Proof(k *Key, method, path, token string, claims ...Members) string {
	return k.Sign(ProofHeader(k), r.ProofClaims(method, path, token).With(claims...))
}

// CallBound calls the API with an access token that is bound to k, and a right proof.
func (r *Rig) CallBound(k *Key, method, path, token string, header ...string) *Answer {
	r.T.Helper()
	return r.Send(r.Program(), r.Request(method, path, http.NoBody, append([]string{
		"Authorization", "DPoP " + token, "DPoP", r.Proof(k, method, path, token),
	}, header...)...))
}

// SignedApp registers a client that authenticates with a key (private_key_jwt), and otherwise as App does.
func (r *Rig) SignedApp(p management.ClientSpec) (*App, *Key) {
	r.T.Helper()
	k := NewKey(r.T, "key-1")
	p.AuthMethod, p.JWKS = management.AuthPrivateKey, JWKS(k)
	return r.App(p), k
}

// Push pushes the authorization request of an app with a key, and gives the request_uri.
func (r *Rig) Push(app *App, k *Key, params url.Values, header ...string) string {
	r.T.Helper()
	a := r.PostSigned(app, k, "/oauth/par", params, header...)
	if a.Status != http.StatusCreated || a.Text("request_uri") == "" {
		r.T.Fatalf("PAR answered %d %s", a.Status, a.Body)
	}
	return a.Text("request_uri")
}

// Opened are the parameters with which a pushed request is opened.
func (app *App) Opened(requestURI string) url.Values {
	return url.Values{"client_id": {app.ID}, "request_uri": {requestURI}}
}

// Allow opens a pushed request in a browser whose user allows it, and gives the code.
func (b *Browser) Allow(app *App, requestURI string) string {
	b.T.Helper()
	a := b.Authorize(app.Opened(requestURI))
	if a.Location == nil {
		a = b.Decide(a, "approve")
	}
	if a.Param("code") == "" {
		b.T.Fatalf("no code: %d %v %s", a.Status, a.Location, Plain(a.Body))
	}
	return a.Param("code")
}

// ExchangeSigned redeems a code of an app with a key, with a proof by proving unless it is nil.
func (r *Rig) ExchangeSigned(app *App, k, proving *Key, code string) *Answer {
	r.T.Helper()
	var header []string
	if proving != nil {
		header = []string{"DPoP", r.Proof(proving, http.MethodPost, "/oauth/token", "")}
	}
	return r.PostSigned(app, k, "/oauth/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {app.Redirect}, "code_verifier": {Verifier},
	}, header...)
}

// RefreshSigned is ExchangeSigned for a refresh token.
func (r *Rig) RefreshSigned(app *App, k, proving *Key, token string) *Answer {
	r.T.Helper()
	var header []string
	if proving != nil {
		header = []string{"DPoP", r.Proof(proving, http.MethodPost, "/oauth/token", "")}
	}
	return r.PostSigned(app, k, "/oauth/token", url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {token},
	}, header...)
}
