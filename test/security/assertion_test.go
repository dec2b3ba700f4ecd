package security

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/fetch"
	"doorward/test/rig"
)

// Client assertions: what must be in them. assertion_once_test.go is about using one twice.

func TestT52_TheAudienceIsTheIssuerAsAString(t *testing.T) {
	r := rig.Memory(t, fromAnywhere(rig.Options{}))
	app, key := signedClient(r)
	lenient, lenientKey := r.SignedApp(everywhere(management.ClientSpec{TokenEndpointAudience: true}))
	token := r.Issuer + "/oauth/token"
	for name, audience := range map[string]any{
		"the token URL":           token,
		"the PAR URL":             r.Issuer + "/oauth/par",
		"the introspection URL":   r.Issuer + "/oauth/introspect",
		"the revocation URL":      r.Issuer + "/oauth/revoke",
		"the issuer and a slash":  r.Issuer + "/",
		"the issuer in capitals":  strings.ToUpper(r.Issuer),
		"the issuer and a port":   r.Issuer + ":80",
		"a part of the issuer":    r.Issuer[:len(r.Issuer)-1],
		"a stranger":              "https://stranger.example",
		"the client":              app.ID,
		"a list of the issuer":    []string{r.Issuer},
		"a list with a stranger":  []string{r.Issuer, "https://stranger.example"},
		"a list with the token":   []string{r.Issuer, token},
		"a list of the token URL": []string{token},
		"an empty list":           []string{},
		"empty":                   "",
		"left out":                nil,
		"null":                    json.RawMessage("null"),
		"a number":                1,
		"an object":               rig.Members{r.Issuer: true},
	} {
		assertionIsRefused(t, r, app, name, r.Assertion(app, key, rig.Members{"aud": audience}))
		if name != "the token URL" {
			assertionIsRefused(t, r, lenient, name+", with token_endpoint_audience",
				r.Assertion(lenient, lenientKey, rig.Members{"aud": audience}))
		}
	}
	assertionIsAccepted(t, r, app, "the issuer", func() string { return r.Assertion(app, key) })
	for _, audience := range []string{r.Issuer, token} {
		assertionIsAccepted(t, r, lenient, audience+", with token_endpoint_audience", func() string {
			return r.Assertion(lenient, lenientKey, rig.Members{"aud": audience})
		})
	}
}

func TestT54_EachClientHasItsOwnIDs(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		a, keyA := signedClient(r)
		b, keyB := signedClient(r)
		for _, e := range endpoints(a) {
			id := rig.Members{"jti": "the same " + e.path}
			e.succeeds(t, "the first client", e.asserted(r, r.Assertion(a, keyA, id)))
			refused(t, e.asserted(r, r.Assertion(a, keyA, id)), http.StatusUnauthorized, oauth.InvalidClient)
		}
		for _, e := range endpoints(b) {
			id := rig.Members{"jti": "the same " + e.path}
			e.succeeds(t, "the second client", e.asserted(r, r.Assertion(b, keyB, id)))
		}
	})
}

// An assertion that is refused for its own fault uses up nothing: its id may even be that of another one, chosen by a
// stranger.
func TestT55_AWrongAssertionDoesNotUseUpItsID(t *testing.T) {
	rig.Each(t, fromAnywhere(rig.Options{}), func(t *testing.T, r *rig.Rig) {
		app, key := signedClient(r)
		stranger := rig.NewKey(t, key.ID)
		for name, wrong := range map[string]func(claims rig.Members) string{
			"audience": func(c rig.Members) string { return r.Assertion(app, key, c, rig.Members{"aud": "x"}) },
			"expiry":   func(c rig.Members) string { return r.Assertion(app, key, c, rig.Members{"exp": 1}) },
			"issuer":   func(c rig.Members) string { return r.Assertion(app, key, c, rig.Members{"iss": "x"}) },
			"key":      func(c rig.Members) string { return r.Assertion(app, stranger, c) },
			"kid":      func(c rig.Members) string { return r.Assertion(app, rig.NewKey(t, "other"), c) },
			"typ": func(c rig.Members) string {
				return key.Sign(rig.Members{"alg": "ES256", "kid": key.ID, "typ": "at+jwt"}, r.AssertionClaims(app).With(c))
			},
			"signature": func(c rig.Members) string { return r.Assertion(app, key, c) + "AA" },
		} {
			id := rig.Members{"jti": "id " + name}
			assertionIsRefused(t, r, app, name, wrong(id))
			e := endpoints(app)[0]
			e.succeeds(t, "after a wrong "+name, e.asserted(r, r.Assertion(app, key, id)))
		}
	})
}

func TestT56_TheTimesOfAnAssertion(t *testing.T) {
	r := rig.Memory(t, fromAnywhere(rig.Options{}))
	r.StopClock()
	app, key := signedClient(r)
	type at = map[string]any // a number is seconds from now
	sign := func(times at) string {
		claims := rig.Members{"iat": nil}
		for name, value := range times {
			if seconds, isNumber := value.(int); isNumber {
				value = r.Now().Unix() + int64(seconds)
			}
			claims[name] = value
		}
		return r.Assertion(app, key, claims)
	}
	for name, times := range map[string]at{
		"exp missing":                    {"exp": nil},
		"exp five minutes past":          {"exp": -300},
		"exp a minute past":              {"exp": -60},
		"exp later than five minutes":    {"exp": 301},
		"exp in a year":                  {"exp": 365 * 24 * 3600},
		"exp five minutes after old iat": {"iat": -3600, "exp": 301},
		"exp too long after iat":         {"iat": 60, "exp": 361},
		"nbf ahead":                      {"nbf": 61},
		"iat ahead":                      {"iat": 61},
		"iat far ahead, and exp":         {"iat": 3600, "exp": 3660},
	} {
		assertionIsRefused(t, r, app, name, sign(times))
	}
	for name, times := range map[string]at{
		"exp less than a minute past": {"exp": -59},
		"exp in five minutes":         {"exp": 300},
		"nbf eight seconds ahead":     {"nbf": 8},
		"iat eight seconds ahead":     {"iat": 8},
		"both":                        {"nbf": 8, "iat": 8, "exp": 308},
		"at the bounds":               {"nbf": 60, "iat": 60, "exp": 360},
		"with a fraction":             {"exp": json.Number(fmt.Sprint(r.Now().Unix()+3600) + ".5")},
	} {
		if name == "with a fraction" {
			times["exp"] = json.Number(fmt.Sprint(r.Now().Unix()+60) + ".5")
		}
		assertionIsAccepted(t, r, app, name, func() string { return sign(times) })
	}
	for _, claim := range []string{"exp", "nbf", "iat"} {
		for _, value := range []any{
			"soon", fmt.Sprint(r.Now().Unix() + 60), true, json.RawMessage("null"),
			[]int64{r.Now().Unix() + 60},
			rig.Members{},
			json.Number("-1"), json.Number("1e30"), json.Number("1e400"), json.Number("-1e400"),
		} {
			assertionIsRefused(t, r, app, fmt.Sprintf("%s %v", claim, value), sign(at{claim: value}))
		}
	}
	assertionIsRefused(t, r, app, "exp 0", sign(at{"exp": json.Number("0")}))
}

// The id of an assertion is what makes it count once.
func TestT53_AnAssertionNeedsAnID(t *testing.T) {
	r := rig.Memory(t, fromAnywhere(rig.Options{}))
	app, key := signedClient(r)
	for name, id := range map[string]any{
		"left out": nil, "empty": "", "null": json.RawMessage("null"), "a number": 1, "a list": []string{"x"},
		"too long": strings.Repeat("x", 501),
	} {
		assertionIsRefused(t, r, app, name, r.Assertion(app, key, rig.Members{"jti": id}))
	}
	e := endpoints(app)[0]
	for _, id := range []string{strings.Repeat("x", 500), " ", "\x00", "é😀", "'; DELETE FROM used_assertions; --"} {
		e.succeeds(t, "the id "+id, e.asserted(r, r.Assertion(app, key, rig.Members{"jti": id})))
		refused(t, e.asserted(r, r.Assertion(app, key, rig.Members{"jti": id})), http.StatusUnauthorized,
			oauth.InvalidClient)
	}
}

// nearby lets a rig fetch from servers of the test.
var nearby = fetch.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}

func TestT58_OnlyTheRegisteredKeyAndItsAlgorithm(t *testing.T) {
	bait := newTrap(t)
	r := rig.Memory(t, fromAnywhere(rig.Options{Fetch: nearby}))
	app, key := signedClient(r)
	own := key.Private.(*ecdsa.PrivateKey)
	stranger := rig.NewKey(t, key.ID)
	claims := func() rig.Members { return r.AssertionClaims(app) }
	header := func(more ...rig.Members) rig.Members {
		return rig.Members{"alg": "ES256", "kid": key.ID, "typ": "JWT"}.With(more...)
	}
	der, err := x509.MarshalPKIXPublicKey(own.Public())
	ok(t, err)
	jwk, err := json.Marshal(jose.JSONWebKey{Key: own.Public()})
	ok(t, err)
	registered, err := json.Marshal(key.Public())
	ok(t, err)
	all := map[string]string{"no JWT": "x", "two parts": "e30.e30", "five parts": "e30.e30.AA.AA.AA"}
	for _, none := range []string{"none", "None", "NONE", "nOnE", ""} {
		unsigned := encode(t, header(rig.Members{"alg": none})) + "." + encode(t, claims()) + "."
		all["alg "+none] = unsigned
		all["alg "+none+" with a signature"] = key.Sign(header(rig.Members{"alg": none}), claims())
		all["alg "+none+" with a byte"] = unsigned + "AA"
	}
	all["alg left out"] = key.Sign(header(rig.Members{"alg": nil}), claims())
	for name, secret := range map[string][]byte{
		"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "DER": der, "JWK": jwk,
		"registered JWK": registered, "JWK set": []byte(app.JWKS), "nothing": {},
	} {
		all["HS256 with "+name] = sign(t, jose.HS256, secret, header(rig.Members{"alg": "HS256"}), claims())
		all["HS256 with trimmed "+name] = sign(t, jose.HS256, bytes.TrimSpace(secret), header(rig.Members{"alg": "HS256"}),
			claims())
	}
	all["another key"] = stranger.Sign(header(), claims())
	for name, value := range map[string]any{
		"jwk": jose.JSONWebKey{Key: stranger.Private.Public()}, "jku": bait.url("https"), "x5u": bait.url("https"),
		"x5c": []string{"MIIB"},
	} {
		all["its key in "+name] = stranger.Sign(header(rig.Members{name: value}), claims())
		all["its key in "+name+" without kid"] = stranger.Sign(header(rig.Members{name: value, "kid": nil}), claims())
		all["the right key beside "+name] = key.Sign(header(rig.Members{name: value}), claims())
	}
	all["jku by http"] = key.Sign(header(rig.Members{"jku": bait.url("http")}), claims())
	all["the right key as jwk"] = key.Sign(header(rig.Members{"jwk": key.Public()}), claims())
	all["crit"] = key.Sign(header(rig.Members{"crit": []string{"exp"}}), claims())
	all["crit of a known name"] = key.Sign(header(rig.Members{"crit": []string{"alg"}}), claims())
	all["b64 false"] = key.Sign(header(rig.Members{"b64": false, "crit": []string{"b64"}}), claims())
	for name, id := range map[string]any{
		"unknown": "key-2", "of a path": "../../" + key.ID, "SQL": "' OR 1=1 --", "in capitals": strings.ToUpper(key.ID),
		"a number": 1, "empty": "", "null": json.RawMessage("null"), "long": strings.Repeat("k", 4000),
	} {
		all["kid "+name] = key.Sign(header(rig.Members{"kid": id}), claims())
	}
	curve, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	ok(t, err)
	for _, algorithm := range []string{"ES256", "ES384"} {
		input := encode(t, header(rig.Members{"alg": algorithm})) + "." + encode(t, claims())
		digest := sha512.Sum384([]byte(input))
		x, y, err := ecdsa.Sign(rand.Reader, curve, digest[:])
		ok(t, err)
		signature := append(x.FillBytes(make([]byte, 48)), y.FillBytes(make([]byte, 48))...)
		all[algorithm+" by P-384"] = input + "." + base64.RawURLEncoding.EncodeToString(signature)
	}
	for _, algorithm := range []string{"RS256", "PS256", "EdDSA", "Ed25519", "ES384", "ES512", "es256", "ES256K", "XX"} {
		all["the right key as "+algorithm] = key.Sign(header(rig.Members{"alg": algorithm}), claims())
	}
	for name, token := range misspelt(t, key.Sign(header(), claims())) {
		all[name] = token
	}
	all["alg twice"] = sign(t, jose.ES256, own, `{"alg":"none","alg":"ES256","kid":"`+key.ID+`"}`, claims())
	for name, payload := range map[string]string{
		"empty": " ", "null": "null", "a list": "[]", "text": `"text"`, "cut": "{", "two": "{}{}",
		"deep": `{"x":` + strings.Repeat(`{"x":`, 1000) + "1" + strings.Repeat("}", 1000) + "}",
	} {
		all["payload "+name] = sign(t, jose.ES256, own, header(), payload)
	}
	for name, assertion := range all {
		assertionIsRefused(t, r, app, name, assertion)
	}
	assertionIsAccepted(t, r, app, "the right one", func() string { return key.Sign(header(), claims()) })
	assertionIsAccepted(t, r, app, "without kid, of the only key", func() string {
		return key.Sign(header(rig.Members{"kid": nil}), claims())
	})
	assertionIsAccepted(t, r, app, "with a deep member that does not count", func() string {
		return sign(t, jose.ES256, own, `{"alg":"ES256","x":`+strings.Repeat("[", 2000)+strings.Repeat("]", 2000)+`}`,
			claims())
	})
	bait.wantUntouched(t)
}

// misspelt returns a right ES256 token in ways that are not its own.
func misspelt(t *testing.T, token string) map[string]string {
	t.Helper()
	parts := strings.Split(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[2])
	ok(t, err)
	if len(raw) != 64 {
		t.Fatal(len(raw))
	}
	b64 := base64.RawURLEncoding.EncodeToString
	with := func(signature string) string { return parts[0] + "." + parts[1] + "." + signature }
	json := `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	end := len(parts[2]) - 1
	return map[string]string{
		"r = s = 0":              with(b64(make([]byte, 64))),
		"r = 0":                  with(b64(append(make([]byte, 32), raw[32:]...))),
		"s = 0":                  with(b64(append(append([]byte{}, raw[:32]...), make([]byte, 32)...))),
		"signature left out":     with(""),
		"signature cut":          with(b64(raw[:63])),
		"signature cut in half":  with(b64(raw[:32])),
		"signature longer":       with(b64(append(append([]byte{}, raw...), 0))),
		"one bit other":          with(b64(append([]byte{raw[0] ^ 1}, raw[1:]...))),
		"in DER":                 with(b64([]byte{0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00})),
		"padded":                 token + "==",
		"a padded header":        parts[0] + "=." + parts[1] + "." + parts[2],
		"a line end":             token + "\n",
		"a line end inside":      with(parts[2][:10] + "\n" + parts[2][10:]),
		"a space before":         " " + token,
		"spare bits":             with(parts[2][:end] + string(alphabet[strings.IndexByte(alphabet, parts[2][end])+1])),
		"four parts":             token + ".AA",
		"in JSON":                json,
		"larger than a JWT":      with(parts[2] + strings.Repeat("A", 9000)),
		"the payload of another": parts[0] + "." + b64([]byte(`{}`)) + "." + parts[2],
	}
}

// The algorithm is the one that the client registered, and never RS256 for a client that follows FAPI.
func TestT58_RS256IsForClientsThatMayUseIt(t *testing.T) {
	r := rig.Memory(t, fromAnywhere(rig.Options{}))
	strong := rig.NewRSAKey(t, "rsa", jose.RS256, 2048)
	anyAlgorithm := strong.Public()
	anyAlgorithm.Algorithm = ""
	curve := rig.NewKey(t, "curve")
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{anyAlgorithm, curve.Public()}})
	ok(t, err)
	pss := &rig.Key{ID: strong.ID, Algorithm: jose.PS256, Private: strong.Private}
	register := func(p management.ClientSpec) *rig.App {
		p.AuthMethod, p.JWKS = management.AuthPrivateKey, string(set)
		return r.App(everywhere(p))
	}
	plain, restricted := register(management.ClientSpec{}), register(management.ClientSpec{AuthAlgorithm: "ES256"})
	fapi := register(management.ClientSpec{FAPI: true})
	for _, app := range []*rig.App{restricted, fapi} {
		assertionIsRefused(t, r, app, "RS256", r.Assertion(app, strong))
	}
	assertionIsRefused(t, r, restricted, "PS256 where ES256 is registered", r.Assertion(restricted, pss))
	assertionIsRefused(t, r, plain, "RS256 under the name PS256",
		strong.Sign(rig.Members{"alg": "PS256", "kid": strong.ID}, r.AssertionClaims(plain)))
	assertionIsRefused(t, r, plain, "an RSA key by the kid of another",
		strong.Sign(rig.Members{"alg": "RS256", "kid": curve.ID}, r.AssertionClaims(plain)))
	for _, key := range []*rig.Key{strong, pss, curve} {
		assertionIsAccepted(t, r, plain, string(key.Algorithm), func() string { return r.Assertion(plain, key) })
	}
	assertionIsAccepted(t, r, restricted, "the registered algorithm", func() string {
		return r.Assertion(restricted, curve)
	})
	for _, key := range []*rig.Key{pss, curve} {
		for _, e := range endpoints(fapi)[1:] { // its tokens also need a proof
			e.succeeds(t, "FAPI by "+string(key.Algorithm), e.asserted(r, r.Assertion(fapi, key)))
		}
	}
}

// Nothing else that a client or this server signs is an assertion.
func TestT59_OnlyAnAssertionIsAnAssertion(t *testing.T) {
	r := rig.Memory(t, fromAnywhere(signing()))
	app, key := signedClient(r)
	other, otherKey := signedClient(r)
	typed := func(typ any) string {
		return key.Sign(rig.Members{"alg": "ES256", "kid": key.ID}.With(rig.Members{"typ": typ}), r.AssertionClaims(app))
	}
	for _, typ := range []any{
		"at+jwt", "AT+JWT", "application/at+jwt", "dpop+jwt", "logout+jwt", "oauth-authz-req+jwt", "oauth-id-jag+jwt",
		"secevent+jwt", "token-introspection+jwt", "JWS", "", 1, json.RawMessage("null"),
		[]string{"JWT"},
	} {
		assertionIsRefused(t, r, app, fmt.Sprint("typ ", typ), typed(typ))
	}
	for _, typ := range []any{"JWT", "jwt", "client-authentication+jwt", nil} {
		assertionIsAccepted(t, r, app, fmt.Sprint("typ ", typ), func() string { return typed(typ) })
	}
	own, _ := granted(t, r.PostSigned(app, key, "/oauth/token", ownForm))
	if !strings.HasPrefix(own, "eyJ") {
		t.Fatalf("the access token is not a JWT: %s", own)
	}
	signer, kid := stolen(t, r)
	ours := func(kid string) string {
		return sign(t, jose.ES256, signer, rig.Members{"alg": "ES256", "kid": kid}, r.AssertionClaims(app))
	}
	for name, assertion := range map[string]string{
		"an access token":                      own,
		"an assertion signed with our key":     ours(kid),
		"by our key, with the client's kid":    ours(key.ID),
		"a proof":                              r.Proof(key, http.MethodPost, "/oauth/token", ""),
		"a proof with the claims of assertion": key.Sign(rig.ProofHeader(key), r.AssertionClaims(app)),
		"iss of another":                       r.Assertion(app, key, rig.Members{"iss": other.ID}),
		"sub of another":                       r.Assertion(app, key, rig.Members{"sub": other.ID}),
		"both of another":                      r.Assertion(other, key),
		"another's key":                        r.Assertion(app, otherKey),
		"iss of the server":                    r.Assertion(app, key, rig.Members{"iss": r.Issuer}),
		"sub of a user":                        r.Assertion(app, key, rig.Members{"sub": r.Alice.ID}),
		"both of a user":                       r.Assertion(app, key, rig.Members{"iss": r.Alice.ID, "sub": r.Alice.ID}),
		"without iss":                          r.Assertion(app, key, rig.Members{"iss": nil}),
		"without sub":                          r.Assertion(app, key, rig.Members{"sub": nil}),
		"iss in a list":                        r.Assertion(app, key, rig.Members{"iss": []string{app.ID}}),
		"sub a number":                         r.Assertion(app, key, rig.Members{"sub": 1}),
		"sub in capitals":                      r.Assertion(app, key, rig.Members{"sub": strings.ToUpper(app.ID)}),
	} {
		assertionIsRefused(t, r, app, name, assertion)
	}
	// The client_id in the body, which is optional, is that of the assertion.
	for _, e := range endpoints(app) {
		for _, id := range []string{other.ID, "unknown", strings.ToUpper(app.ID)} {
			a := r.Post(e.path, rig.Asserted(with(e.form, "client_id", id), r.Assertion(app, key)))
			refused(t, a, http.StatusUnauthorized, oauth.InvalidClient)
		}
		named := with(e.form, "client_id", app.ID)
		e.succeeds(t, "with client_id", r.Post(e.path, rig.Asserted(named, r.Assertion(app, key))))
	}
}

// The untimed half of T-41, for assertions.
func TestT41_UnknownClientLooksLikeAWrongAssertion(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, key := signedClient(r)
	disabled, disabledKey := signedClient(r)
	deleted, deletedKey := signedClient(r)
	ok(t, r.Store.DisableClient(r.System(), disabled.ID, "administrator"))
	ok(t, r.Store.DeleteClient(r.System(), deleted.ID))
	byURL := r.App(everywhere(management.ClientSpec{
		AuthMethod: management.AuthPrivateKey, JWKSURI: "https://keys.example.com/jwks",
	}))
	r.SQL(`UPDATE clients SET jwks_uri = $1 WHERE id = $2`, "https://127.0.0.1:1/jwks", byURL.ID) // nothing is fetched
	secret, public := r.App(everywhere(management.ClientSpec{})), r.App(management.ClientSpec{Public: true})
	named := func(id string) string { return r.Assertion(app, key, rig.Members{"iss": id, "sub": id}) }
	for _, e := range endpoints(app) {
		send := func(assertion string) *rig.Answer {
			return r.Post(e.path, rig.Asserted(e.form, assertion), "X-Request-Id", "the-same-id")
		}
		known := send(r.Assertion(app, rig.NewKey(t, key.ID)))
		refused(t, known, http.StatusUnauthorized, oauth.InvalidClient)
		for name, assertion := range map[string]string{
			"unknown":                 named("app_00000000-0000-7000-8000-000000000000"),
			"no id of ours":           named("' OR 1=1 --"),
			"the id of a user":        named(r.Alice.ID),
			"empty":                   named(""),
			"disabled":                r.Assertion(disabled, disabledKey),
			"deleted":                 r.Assertion(deleted, deletedKey),
			"keys that are not there": named(byURL.ID),
			"with a secret":           named(secret.ID),
			"public":                  named(public.ID),
			"an unknown kid":          r.Assertion(app, rig.NewKey(t, "other")),
			"a wrong audience":        r.Assertion(app, key, rig.Members{"aud": "x"}),
			"expired":                 r.Assertion(app, key, rig.Members{"exp": 1}),
			"no JWT":                  "x",
		} {
			if a := send(assertion); !sameAnswer(a, known) {
				t.Errorf("%s, %s: %d %v %s, but for a wrong signature %d %v %s", e.path, name, a.Status, a.Header, a.Body,
					known.Status, known.Header, known.Body)
			}
		}
		forgetFailures(r)
	}
}
