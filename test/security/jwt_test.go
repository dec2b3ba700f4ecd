package security

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

// signing configures the example API with JWT access tokens.
func signing() rig.Options {
	o := limited()
	o.Resources[0].JWT = true
	return o
}

// part is one part of a JWT as JSON.
func part(t *testing.T, token string, i int) map[string]any {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[i])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.UseNumber()
	if err := decoder.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

func encode(t *testing.T, v any) string {
	t.Helper()
	text, ok := v.(string)
	if !ok {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		text = string(raw)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

// stolen is the private half of the active signing key, as an attacker with the database and the master secret has it.
func stolen(t *testing.T, r *rig.Rig) (*ecdsa.PrivateKey, string) {
	t.Helper()
	keys, err := r.Store.SigningKeys(r.System())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if k.State != storage.SigningActive {
			continue
		}
		der, err := r.Secrets.Open("signing key "+k.ID, k.Sealed)
		if err != nil {
			t.Fatal(err)
		}
		key, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			t.Fatal(err)
		}
		return key.(*ecdsa.PrivateKey), k.ID
	}
	t.Fatal("no active key")
	return nil, ""
}

// sign creates a JWT by hand: header and claims are JSON text, or values that are encoded as JSON.
func sign(t *testing.T, algorithm jose.SignatureAlgorithm, key any, header, claims any) string {
	t.Helper()
	input := encode(t, header) + "." + encode(t, claims)
	return input + "." + base64.RawURLEncoding.EncodeToString(rawSignature(t, algorithm, key, input))
}

// jwtRig is a rig with a JWT of Alice's and the clients that check it.
type jwtRig struct {
	*rig.Rig
	app, api *rig.App
	access   string
	refresh  string
}

func newJWTRig(r *rig.Rig) *jwtRig {
	j := &jwtRig{Rig: r, app: r.App(management.ClientSpec{}), api: r.ResourceServer()}
	j.access, j.refresh = r.Tokens(j.app, "read write")
	return j
}

// refused checks that a token is not accepted anywhere, and that no key is fetched.
func (j *jwtRig) refused(t *testing.T, name, token string) {
	t.Helper()
	if a := j.Call(http.MethodGet, "/v1/auth/test", token); a.Status != http.StatusUnauthorized {
		t.Errorf("%s: /v1/auth/test answered %d %s", name, a.Status, a.Body)
	}
	if a := j.Introspect(j.api, token); !j.Dead(a) {
		t.Errorf("%s: introspection answered %d %s", name, a.Status, a.Body)
	}
}

func (j *jwtRig) taken(t *testing.T, name, token string) {
	t.Helper()
	if a := j.Call(http.MethodGet, "/v1/auth/test", token); a.Status != http.StatusOK {
		t.Errorf("%s: /v1/auth/test answered %d %s", name, a.Status, a.Body)
	}
	if !j.Alive(j.api, token) {
		t.Errorf("%s: introspection says that it is not active", name)
	}
}

// A JWT access token contains what introspection returns (RFC 9068, section 2.2), for every grant type, and is revoked
// like an opaque one.
func TestJWTAccessTokensSayWhatIntrospectionSays(t *testing.T) {
	rig.EachNodes(t, signing(), func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		j := newJWTRig(r)
		machine := r.App(management.ClientSpec{
			Grants:      []string{oauth.GrantClientCredentials},
			Scopes:      []string{"admin"},
			WorkspaceID: r.Workspace("acme", "", r.Alice).ID,
		})
		credentials := r.PostAs(machine, "/oauth/token", url.Values{"grant_type": {"client_credentials"}})
		refreshed := r.Refresh(j.app, j.refresh)
		for name, token := range map[string]string{
			"code":               j.access,
			"refresh":            refreshed.Text("access_token"),
			"client_credentials": credentials.Text("access_token"),
		} {
			header := part(t, token, 0)
			if header["typ"] != "at+jwt" || header["alg"] != "ES256" || header["kid"] == nil || len(header) != 3 {
				t.Errorf("%s: header %v", name, header)
			}
			var want map[string]any
			decoder := json.NewDecoder(strings.NewReader(other.Introspect(j.api, token).Body))
			decoder.UseNumber()
			if err := decoder.Decode(&want); err != nil || want["active"] != true {
				t.Fatalf("%s: introspection says %v, %v", name, want, err)
			}
			for _, member := range []string{"active", "token_type", "plan"} {
				delete(want, member)
			}
			if diff := cmp.Diff(want, part(t, token, 1)); diff != "" {
				t.Errorf("%s (-introspection +claims):\n%s", name, diff)
			}
			j.taken(t, name, token)
		}
		if scope := part(t, credentials.Text("access_token"), 1)["scope"]; scope != "admin read write delete" {
			t.Errorf("the scope of a token with admin is %v, without what it implies", scope)
		}
		r.PostAs(machine, "/oauth/revoke", url.Values{"token": {credentials.Text("access_token")}})
		j.refused(t, "revoked by its client", credentials.Text("access_token"))
		r.PostAs(machine, "/oauth/revoke", url.Values{"token": {j.access}})
		j.taken(t, "revoked by another client", j.access)
		r.PostAs(j.app, "/oauth/revoke", url.Values{"token": {j.access}})
		j.refused(t, "of a revoked family", refreshed.Text("access_token"))
		if !other.Dead(other.Introspect(j.api, j.access)) {
			t.Error("the other node accepts a revoked token")
		}
	})
}

// A token expires exactly, to the second, and the refusal says that it has expired.
func TestJWTAccessTokenExpires(t *testing.T) {
	r := rig.Memory(t, signing())
	j := newJWTRig(r)
	r.Advance(time.Hour)
	_, err := r.Bearer.Principal(t.Context(), j.access, bearer.Audience{})
	if err != bearer.ErrExpired { //nolint:errorlint // exactly this value
		t.Errorf("after its end: %v", err)
	}
	j.refused(t, "expired", j.access)
}

func TestJ01_UnsignedOrSignedWithOurPublicKey(t *testing.T) {
	j := newJWTRig(rig.Memory(t, signing()))
	key, kid := stolen(t, j.Rig)
	claims := part(t, j.access, 1)
	header := func(algorithm string) map[string]any {
		return map[string]any{"typ": "at+jwt", "kid": kid, "alg": algorithm}
	}
	j.taken(t, "signed by hand", sign(t, jose.ES256, key, header("ES256"), claims))
	for _, none := range []string{"none", "None", "NONE", "nOnE", ""} {
		j.refused(t, "alg "+none, encode(t, header(none))+"."+encode(t, claims)+".")
		j.refused(t, "alg "+none+" with the signature",
			encode(t, header(none))+"."+strings.Join(strings.Split(j.access, ".")[1:], "."))
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(jose.JSONWebKey{Key: key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string][]byte{
		"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"DER": der,
		"JWK": jwk,
		"X":   key.X.FillBytes(make([]byte, 32)),
	} {
		j.refused(t, "HS256 with our public key as "+name, sign(t, jose.HS256, secret, header("HS256"), claims))
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	j.refused(t, "another key", sign(t, jose.ES256, stranger, header("ES256"), claims))
}

func TestJ02_InvalidKeyIDs(t *testing.T) {
	j := newJWTRig(rig.Memory(t, signing()))
	key, kid := stolen(t, j.Rig)
	claims := part(t, j.access, 1)
	outside := newIssuer(t)
	for name, id := range map[string]any{
		"path":            "../../x",
		"file":            "file:///etc/passwd",
		"URL":             outside.URL + "/keys",
		"SQL":             "' OR '1'='1",
		"long":            strings.Repeat("a", 10_000),
		"unknown":         storage.NewID("signing"),
		"number":          1,
		"null":            nil,
		"list":            []string{kid},
		"empty":           "",
		"with a NUL":      kid + "\x00",
		"in capitals":     strings.ToUpper(kid),
		"of another kind": storage.NewID("app"),
	} {
		j.refused(t, name, sign(t, jose.ES256, key, map[string]any{"typ": "at+jwt", "alg": "ES256", "kid": id}, claims))
	}
	j.refused(t, "absent", sign(t, jose.ES256, key, map[string]any{"typ": "at+jwt", "alg": "ES256"}, claims))
	j.refused(t, "twice",
		sign(t, jose.ES256, key, `{"typ":"at+jwt","alg":"ES256","kid":"`+kid+`","kid":"`+kid+`"}`, claims))
	outside.wantFetches(t, 0)
}

func TestJ03_KeysInOrNamedByTheHeader(t *testing.T) {
	outside := newIssuer(t)
	o := signing()
	o.Resources[0].TrustedIssuers = []catalog.TrustedIssuer{outside.trusted()}
	j := newJWTRig(rig.Memory(t, o))
	key, kid := stolen(t, j.Rig)
	mine, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own, foreign := part(t, j.access, 1), outside.claims(j.Rig)
	bait := newIssuer(t)
	for name, value := range map[string]any{
		"jwk":  jose.JSONWebKey{Key: mine.Public()},
		"jku":  bait.URL,
		"x5u":  bait.URL,
		"x5c":  []string{"MIIB"},
		"crit": []string{"exp"},
	} {
		header := map[string]any{"typ": "at+jwt", "alg": "ES256", "kid": kid, name: value}
		j.refused(t, name+" with its key", sign(t, jose.ES256, mine, header, own))
		j.refused(t, name+" with our key", sign(t, jose.ES256, key, header, own))
		header["kid"] = outside.kid
		j.refused(t, name+" with its key as a trusted issuer's", sign(t, jose.ES256, mine, header, foreign))
		token := sign(t, jose.ES256, outside.key, header, foreign)
		if name == "crit" {
			j.refused(t, name+" with the key of a trusted issuer", token)
		} else {
			j.taken(t, name+" with the key of a trusted issuer", token) // V-45: the header is ignored
		}
	}
	bait.wantFetches(t, 0)
	outside.wantFetches(t, 1)
}

func TestJ04_OtherTokensAreNotAccessTokens(t *testing.T) {
	outside := newIssuer(t)
	o := signing()
	o.Resources[0].TrustedIssuers = []catalog.TrustedIssuer{outside.trusted()}
	j := newJWTRig(rig.Memory(t, o))
	key, kid := stolen(t, j.Rig)
	for _, typ := range []any{
		"JWT", "logout+jwt", "oauth-authz-req+jwt", "dpop+jwt", "secevent+jwt", "AT+JWT", "", nil, 1,
	} {
		header := map[string]any{"typ": typ, "alg": "ES256", "kid": kid}
		j.refused(t, fmt.Sprint("ours of type ", typ), sign(t, jose.ES256, key, header, part(t, j.access, 1)))
		header["kid"] = outside.kid
		if typ != "JWT" && typ != "AT+JWT" {
			j.refused(t, fmt.Sprint("foreign of type ", typ), sign(t, jose.ES256, outside.key, header, outside.claims(j.Rig)))
		}
	}
	j.refused(t, "ours without a type",
		sign(t, jose.ES256, key, map[string]any{"alg": "ES256", "kid": kid}, part(t, j.access, 1)))
}

func TestJ05_WrongClaims(t *testing.T) {
	outside := newIssuer(t)
	o := signing()
	o.Resources[0].TrustedIssuers = []catalog.TrustedIssuer{outside.trusted()}
	j := newJWTRig(rig.Memory(t, o))
	key, kid := stolen(t, j.Rig)
	now := j.Store.Now().Unix()
	gone := map[string]any{} // a marker: leave the claim out
	both := map[string][]any{
		"exp": {
			gone, nil, "1e9", fmt.Sprint(now + 60), -1, json.Number("1e30"), json.Number("1e400"), json.Number("1e-400"),
			json.Number("-1e9"), json.Number("99999999999999999999"), int64(1) << 60, true,
			[]int64{now + 60},
			now, 0,
		},
		"nbf": {now + 3600, "0", nil, true, json.Number("1e400"), json.Number("-0.5"), -5, int64(1) << 60},
		"iat": {now + 3600, fmt.Sprint(now), nil, json.Number("1e30"), -5},
		"iss": {gone, nil, 1, "", []string{j.Issuer}},
		"sub": {[]string{"a"}, 7},
	}
	ours := map[string][]any{
		"aud": {
			gone, nil, "", exampleAPI[:len(exampleAPI)-1], exampleAPI + "/", "https://other.example.com",
			[]string{exampleAPI},
			[]string{},
			map[string]any{},
		},
		"iss":       {j.Issuer + "/", strings.ToUpper(j.Issuer), "http://issuer.example", j.Issuer + "\x00"},
		"jti":       {gone, nil, "", "unknown", 5},
		"client_id": {gone, "app_other"},
	}
	theirs := map[string][]any{
		"aud": {
			gone, nil, "", "authenticate", "authenticated2", "AUTHENTICATED",
			[]string{},
			[]string{"other"},
			[]any{"authenticated", 1},
			map[string]any{"authenticated": 1},
		},
		"iss": {outside.URL + "/", strings.TrimPrefix(outside.URL, "http"), j.Issuer},
		"sub": {gone, nil, "", strings.Repeat("x", 256), "line\r\nX-Auth-Role: owner"},
	}
	try := func(whose string, header, good map[string]any, signer *ecdsa.PrivateKey, wrong map[string][]any) {
		for claim, values := range wrong {
			for _, value := range values {
				claims := maps.Clone(good)
				claims[claim] = value
				if m, ok := value.(map[string]any); ok && len(m) == 0 && claim != "aud" || cmp.Equal(value, gone) {
					delete(claims, claim)
				}
				j.refused(t, fmt.Sprintf("%s with %s %v", whose, claim, value), sign(t, jose.ES256, signer, header, claims))
			}
		}
	}
	own, foreign := map[string]any{"typ": "at+jwt", "alg": "ES256", "kid": kid}, map[string]any{
		"alg": "ES256",
		"kid": outside.kid,
	}
	try("ours", own, part(t, j.access, 1), key, both)
	try("ours", own, part(t, j.access, 1), key, ours)
	try("theirs", foreign, outside.claims(j.Rig), outside.key, both)
	try("theirs", foreign, outside.claims(j.Rig), outside.key, theirs)
	// Claim names are case-sensitive, and no name appears twice.
	text := func(claims map[string]any, more string) string {
		raw, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSuffix(string(raw), "}") + more + "}"
	}
	ended := maps.Clone(outside.claims(j.Rig))
	ended["exp"] = now - 1
	j.refused(t, "EXP beside exp",
		sign(t, jose.ES256, outside.key, foreign, text(ended, fmt.Sprintf(`,"EXP":%d`, now+60))))
	j.refused(t, "exp twice", sign(t, jose.ES256, outside.key, foreign, text(ended, fmt.Sprintf(`,"exp":%d`, now+60))))
	for _, payload := range []string{"", "null", "[]", `"text"`, "{", "{}{}", "1"} {
		j.refused(t, "payload "+payload, sign(t, jose.ES256, key, own, payload))
	}
	// The issuer's clock may be a little ahead, but no token works after it expires.
	early := maps.Clone(outside.claims(j.Rig))
	early["nbf"], early["iat"] = now+30, now+30
	j.taken(t, "30 seconds early", sign(t, jose.ES256, outside.key, foreign, early))
}

func TestJ06_InvalidSignatures(t *testing.T) {
	j := newJWTRig(rig.Memory(t, signing()))
	parts := strings.Split(j.access, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || len(raw) != 64 {
		t.Fatal(len(raw), err)
	}
	with := func(signature string) string { return parts[0] + "." + parts[1] + "." + signature }
	b64 := base64.RawURLEncoding.EncodeToString
	last := parts[2][len(parts[2])-1]
	spare := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", last) + 1
	for name, token := range map[string]string{
		"r = s = 0":              with(b64(make([]byte, 64))),
		"empty":                  with(""),
		"cut":                    with(b64(raw[:63])),
		"cut in half":            with(b64(raw[:32])),
		"longer":                 with(b64(append(slices.Clone(raw), 0))),
		"padded":                 j.access + "==",
		"with a line end":        j.access + "\n",
		"with a line end inside": with(parts[2][:10] + "\n" + parts[2][10:]),
		"with a space":           j.access + " ",
		"with spare bits": with(
			parts[2][:len(parts[2])-1] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[spare])),
		"standard base64": with(strings.NewReplacer("-", "+", "_", "/").Replace(parts[2]) + "=="),
		"one bit other":   with(b64(append([]byte{raw[0] ^ 1}, raw[1:]...))),
		"DER":             with(b64([]byte{0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00})),
		"four parts":      j.access + ".x",
		"two parts":       parts[0] + "." + parts[1],
		"five parts":      j.access + "..",
		"no header":       "." + parts[1] + "." + parts[2],
		"JSON form":       `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"too large":       with(parts[2] + strings.Repeat("A", 9000)),
	} {
		if strings.ContainsAny(token, "\n ") { // not possible in a header
			if !j.Dead(j.Introspect(j.api, token)) {
				t.Errorf("%s is taken", name)
			}
			continue
		}
		j.refused(t, name, token)
	}
	j.taken(t, "as it was issued", j.access)
}

// rawSignature signs bytes as JWS does (RFC 7515, section 5.1), without looking at the header in them.
func rawSignature(t *testing.T, algorithm jose.SignatureAlgorithm, key any, input string) []byte {
	t.Helper()
	switch k := key.(type) {
	case []byte:
		hash := map[jose.SignatureAlgorithm]func() hash.Hash{
			jose.HS256: sha256.New,
			jose.HS384: sha512.New384,
			jose.HS512: sha512.New,
		}[algorithm]
		mac := hmac.New(hash, k)
		mac.Write([]byte(input))
		return mac.Sum(nil)
	case *ecdsa.PrivateKey:
		sum := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, k, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
	t.Fatalf("a key of type %T", key)
	return nil
}
