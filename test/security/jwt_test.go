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
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
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
			t.Error("the other node takes a revoked token")
		}
	})
}

// A token expires exactly, to the second, and the refusal says that it has expired.
func TestJWTAccessTokenExpires(t *testing.T) {
	rig.Each(t, signing(), func(t *testing.T, r *rig.Rig) {
		j := newJWTRig(r)
		r.Advance(time.Hour)
		_, err := r.Bearer.Principal(t.Context(), j.access, bearer.Audience{})
		if err != bearer.ErrExpired { //nolint:errorlint // exactly this value
			t.Errorf("after its end: %v", err)
		}
		j.refused(t, "expired", j.access)
	})
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
			json.Number("-1e9"), json.Number("99999999999999999999"), int64(1) << 60, true, []int64{now + 60}, now, 0,
		},
		"nbf": {now + 3600, "0", nil, true, json.Number("1e400"), json.Number("-0.5"), -5, int64(1) << 60},
		"iat": {now + 3600, fmt.Sprint(now), nil, json.Number("1e30"), -5},
		"iss": {gone, nil, 1, "", []string{j.Issuer}},
		"sub": {[]string{"a"}, 7},
	}
	ours := map[string][]any{
		"aud": {
			gone, nil, "", exampleAPI[:len(exampleAPI)-1], exampleAPI + "/", "https://other.example.com", []string{exampleAPI},
			[]string{}, map[string]any{},
		},
		"iss":       {j.Issuer + "/", strings.ToUpper(j.Issuer), "http://issuer.example", j.Issuer + "\x00"},
		"jti":       {gone, nil, "", "unknown", 5},
		"client_id": {gone, "app_other"},
	}
	theirs := map[string][]any{
		"aud": {
			gone, nil, "", "authenticate", "authenticated2", "AUTHENTICATED", []string{}, []string{"other"},
			[]any{"authenticated", 1}, map[string]any{"authenticated": 1},
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

// jwks fetches the key set.
func jwks(t *testing.T, r *rig.Rig) (kids []string, a *rig.Answer) {
	t.Helper()
	a = r.Send(r.Program(), r.Request(http.MethodGet, "/oauth/jwks", nil))
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal([]byte(a.Body), &set); err != nil || a.Status != http.StatusOK {
		t.Fatalf("%d %s: %v", a.Status, a.Body, err)
	}
	for _, k := range set.Keys {
		names := slices.Sorted(maps.Keys(k))
		if diff := cmp.Diff([]string{"alg", "crv", "kid", "kty", "use", "x", "y"}, names); diff != "" {
			t.Errorf("members of a key (-want +got):\n%s", diff)
		}
		if k["alg"] != "ES256" || k["use"] != "sig" || k["kty"] != "EC" || k["crv"] != "P-256" {
			t.Errorf("a key is %v", k)
		}
		kids = append(kids, k["kid"].(string))
	}
	return kids, a
}

func TestJ08_KeySetIsPublicAndNothingElse(t *testing.T) {
	rig.Each(t, signing(), func(t *testing.T, r *rig.Rig) {
		kids, a := jwks(t, r)
		slices.Sort(kids)
		if len(kids) != 2 || len(slices.Compact(kids)) != 2 {
			t.Errorf("keys %v", kids)
		}
		got := a.Header.Get("Cache-Control")
		if got != "public, max-age=300" || a.Header.Get("Access-Control-Allow-Origin") != "*" ||
			a.Header.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v", a.Header)
		}
		meta := r.Send(r.Program(), r.Request(http.MethodGet, "/.well-known/oauth-authorization-server", nil))
		if meta.Text("jwks_uri") != r.Issuer+"/oauth/jwks" {
			t.Errorf("jwks_uri is %q", meta.Text("jwks_uri"))
		}
		// A key signs only after every cached copy of the set contains it.
		if _, err := r.Keyring.Rotate(r.System(), false); err == nil || !strings.Contains(err.Error(), "rotate after") {
			t.Errorf("rotated to a key that is new: %v", err)
		}
		r.Advance(5 * time.Minute)
		if _, err := r.Keyring.Rotate(r.System(), false); err == nil {
			t.Error("rotated to a key that a copy of the set may lack")
		}
		r.Advance(time.Minute)
		if _, err := r.Keyring.Rotate(r.System(), false); err != nil {
			t.Error(err)
		}
		r.BreakStorage()
		r.Advance(time.Minute)
		if a := r.Send(r.Program(),
			r.Request(http.MethodGet, "/oauth/jwks", nil)); a.Status != http.StatusServiceUnavailable ||
			a.Header.Get("Retry-After") == "" {
			t.Errorf("without storage: %d %v", a.Status, a.Header)
		}
	})
	plain := rig.Memory(t, limited())
	if meta := plain.Send(plain.Program(),
		plain.Request(http.MethodGet, "/.well-known/oauth-authorization-server", nil)); meta.JSON()["jwks_uri"] != nil {
		t.Error("jwks_uri without a JWT anywhere")
	}
	if kids, _ := jwks(t, plain); len(kids) != 0 {
		t.Errorf("keys without a JWT anywhere: %v", kids)
	}
}

func TestJ09_RotationDisturbsNoCaller(t *testing.T) {
	o := signing()
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		advance := func(d time.Duration) {
			r.Advance(d)
			if other != r {
				other.Advance(d)
			}
		}
		j := newJWTRig(r)
		old := part(t, j.access, 0)["kid"].(string)
		advance(10 * time.Minute)
		published, _ := jwks(t, other)
		// Under load on both nodes, no request fails.
		var stop atomic.Bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; !stop.Load(); i++ {
				node := nodes[i%len(nodes)]
				if !node.Alive(j.api, j.access) {
					t.Error("a good token was refused")
				}
			}
		}()
		active, err := r.Keyring.Rotate(r.System(), false)
		if err != nil {
			t.Fatal(err)
		}
		advance(time.Second)
		access := other.Refresh(j.app, j.refresh).Text("access_token")
		stop.Store(true)
		<-done
		if kid := part(t, access, 0)["kid"]; kid != active.ID || kid == old || !slices.Contains(published, active.ID) {
			t.Errorf("after rotating %v signs, published before were %v", kid, published)
		}
		j.taken(t, "of the new key", access)
		after, _ := jwks(t, other)
		if len(after) != 3 || !slices.Contains(after, old) {
			t.Errorf("after rotating there are %v, of which the old one is %s", after, old)
		}
		advance(50 * time.Minute)
		if kids, _ := jwks(t, r); !slices.Contains(kids, old) {
			t.Error("the old key is gone before the last token under it")
		}
		advance(12 * time.Minute)
		if kids, _ := jwks(t, r); slices.Contains(kids, old) {
			t.Error("the old key is still published")
		}
		// Its tokens are reported as expired for as long as opaque ones.
		//nolint:errorlint // exactly this value
		if _, err := r.Bearer.Principal(t.Context(), j.access, bearer.Audience{}); err != bearer.ErrExpired {
			t.Errorf("under a key that is no longer published: %v", err)
		}
		// After 30 days the rotation happens automatically, once, with any number of nodes.
		advance(30 * 24 * time.Hour)
		rig.AtOnce(8, func(i int) {
			if err := nodes[i%len(nodes)].Keyring.Keep(r.System()); err != nil {
				t.Error(err)
			}
		})
		keys, err := r.Keyring.List(r.System())
		if err != nil {
			t.Fatal(err)
		}
		states := map[string]int{}
		for _, k := range keys {
			states[k.State]++
			if k.State == storage.SigningActive && k.ID == active.ID {
				t.Error("a key signs for more than 30 days")
			}
			if (k.State == storage.SigningRetiring) != (k.Sealed == "") {
				t.Errorf("the private half of a key that is %s: %d bytes", k.State, len(k.Sealed))
			}
		}
		if diff := cmp.Diff(map[string]int{"next": 1, "active": 1, "retiring": 1}, states); diff != "" {
			t.Errorf("keys (-want +got):\n%s", diff)
		}
	})
}

func TestJ10_CompromisedKeyInvalidatesItsTokens(t *testing.T) {
	o := signing()
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		j := newJWTRig(r)
		if !other.Alive(j.api, j.access) {
			t.Fatal("the other node refuses a good token")
		}
		key, kid := stolen(t, r)
		if _, err := r.Keyring.Rotate(r.System(), true); err != nil {
			t.Fatal(err)
		}
		j.refused(t, "on this node at once", j.access)
		other.Advance(time.Second)
		forged := sign(t, jose.ES256, key, map[string]any{"typ": "at+jwt", "alg": "ES256", "kid": kid}, part(t, j.access, 1))
		for name, token := range map[string]string{"issued": j.access, "forged": forged} {
			if !other.Dead(other.Introspect(j.api, token)) {
				t.Errorf("%s: the other node takes a token under a dropped key after a second", name)
			}
		}
		for _, node := range nodes {
			if kids, _ := jwks(t, node); slices.Contains(kids, kid) || len(kids) != 2 {
				t.Errorf("published are %v", kids)
			}
		}
		access := other.Refresh(j.app, j.refresh).Text("access_token")
		j.taken(t, "of the key that took its place", access)
		// Many at once: one succeeds, and there is one key of each state.
		var won atomic.Int64
		rig.AtOnce(64, func(i int) {
			_, err := nodes[i%len(nodes)].Keyring.Rotate(r.System(), true)
			switch {
			case err == nil:
				won.Add(1)
			case err != bearer.ErrRotated: //nolint:errorlint // exactly this value
				t.Error(err)
			}
		})
		keys, err := r.Keyring.List(r.System())
		if err != nil || len(keys) != 2 || won.Load() < 1 {
			t.Errorf("%d keys after %d rotations, %v", len(keys), won.Load(), err)
		}
	})
}

// issuer is a foreign issuer that publishes its keys.
type issuer struct {
	URL     string
	kid     string
	key     *ecdsa.PrivateKey
	answer  atomic.Pointer[http.HandlerFunc]
	fetches atomic.Int64
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{kid: "key 1", key: key}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		i.fetches.Add(1)
		(*i.answer.Load())(w, q)
	}))
	t.Cleanup(server.Close)
	i.URL = server.URL
	i.publish(t, jose.JSONWebKey{Key: key.Public(), KeyID: i.kid, Use: "sig"})
	return i
}

func (i *issuer) publish(t *testing.T, keys ...jose.JSONWebKey) {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	i.answers(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) })
}

func (i *issuer) answers(h http.HandlerFunc) { i.answer.Store(&h) }

func (i *issuer) trusted() catalog.TrustedIssuer {
	return catalog.TrustedIssuer{
		Issuer:     i.URL,
		Audiences:  []string{"authenticated"},
		JWKSURL:    i.URL + "/keys",
		Algorithms: []string{"ES256"},
		Scopes:     []string{"read", "capture"},
		Plan:       "pro",
	}
}

func (i *issuer) claims(r *rig.Rig) map[string]any {
	return map[string]any{
		"iss":   i.URL,
		"aud":   "authenticated",
		"sub":   "their user",
		"exp":   r.Store.Now().Unix() + 600,
		"role":  "owner",
		"scope": "admin",
	}
}

func (i *issuer) wantFetches(t *testing.T, want int64) {
	t.Helper()
	if got := i.fetches.Load(); got != want {
		t.Errorf("the keys were fetched %d times, want %d", got, want)
	}
}

// A JWT of an issuer that a resource trusts is a credential there, with exactly the rights in the configuration.
func TestForeignJWTIsACredential(t *testing.T) {
	outside := newIssuer(t)
	secret := []byte("the secret of a project, of 32 bytes or more")
	o := limited()
	o.Resources[0].TrustedIssuers = []catalog.TrustedIssuer{
		outside.trusted(), {
			Issuer:      "https://x.supabase.co/auth/v1",
			Audiences:   []string{"authenticated"},
			HS256Secret: secret,
			Scopes:      []string{"admin"},
		},
	}
	rig.Each(t, o, func(t *testing.T, r *rig.Rig) {
		j := &jwtRig{Rig: r, app: r.App(management.ClientSpec{}), api: r.ResourceServer()}
		remote := sign(t, jose.ES256, outside.key, map[string]any{"alg": "ES256", "kid": outside.kid, "typ": "JWT"},
			outside.claims(r))
		a := r.Introspect(j.api, remote)
		for name, want := range map[string]string{
			"credential":      "foreign_jwt",
			"foreign_issuer":  outside.URL,
			"foreign_subject": "their user",
			"scope":           "read capture",
			"plan":            "pro",
			"aud":             exampleAPI,
			"iss":             r.Issuer,
			"role":            "", "workspace": "", "workspace_id": "", "client_id": "",
		} {
			if got := a.Text(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		sub := a.Text("sub")
		if !strings.HasPrefix(sub, "foreign:") || len(sub) != len("foreign:")+52 || strings.ToLower(sub) != sub {
			t.Errorf("sub is %q", sub)
		}
		claims := map[string]any{
			"iss": "https://x.supabase.co/auth/v1",
			"aud": []string{"other", "authenticated"},
			"sub": "their user",
			"exp": r.Store.Now().Unix() + 600,
		}
		local := sign(t, jose.HS256, secret, map[string]any{"alg": "HS256", "typ": "JWT"}, claims)
		b := r.Introspect(j.api, local)
		if b.Text("plan") != "people" || b.Text("scope") != "admin read write delete" || b.Text("sub") == sub ||
			b.Text("foreign_subject") != "their user" {
			t.Errorf("with a secret: %s", b.Body)
		}
		j.taken(t, "by its keys", remote)
		j.taken(t, "by a secret", local)
		// It is valid nowhere else: not for the management API, introspection, refresh or revocation, and it belongs to no
		// account.
		for _, path := range []string{"/v1/api-keys", "/v1/workspaces", "/v1/audit-events", "/v1/personal-access-tokens"} {
			if a := r.Call(http.MethodGet, path, local); a.Status != http.StatusForbidden {
				t.Errorf("%s answered %d %s", path, a.Status, a.Body)
			}
		}
		if a := r.Post("/oauth/introspect", url.Values{"token": {local}}, "Authorization",
			"Bearer "+local); a.Status != http.StatusUnauthorized {
			t.Errorf("a foreign JWT introspects: %d", a.Status)
		}
		if a := r.Refresh(j.app, local); a.Text("error") != "invalid_grant" {
			t.Errorf("a foreign JWT as a refresh token: %s", a.Body)
		}
		if a := r.Ask(j.api, local, "workspace", "alice"); !r.Dead(a) {
			t.Errorf("in a workspace: %s", a.Body)
		}
		if a := r.PostAs(j.app, "/oauth/revoke", url.Values{"token": {local}}); a.Status != http.StatusOK ||
			!r.Alive(j.api, local) {
			t.Errorf("revoking it answered %d", a.Status)
		}
		for _, algorithm := range []jose.SignatureAlgorithm{jose.HS384, jose.HS512} {
			j.refused(t, string(algorithm),
				sign(t, algorithm, append(slices.Clone(secret), make([]byte, 64)...)[:64], map[string]any{"alg": string(algorithm)},
					claims))
		}
		// Each subject has its own limit, and expired tokens are distinguished from unknown ones.
		if a := r.Ask(j.api, local, "cost", "20"); a.JSON()["rate_limit"].(map[string]any)["remaining"] != float64(0) &&
			a.JSON()["rate_limit"].(map[string]any)["allowed"] != false {
			t.Errorf("the limit of people: %s", a.Body)
		}
		if a := r.Ask(j.api, remote, "cost", "1"); a.JSON()["rate_limit"].(map[string]any)["allowed"] != true {
			t.Errorf("another's count: %s", a.Body)
		}
		r.Advance(11 * time.Minute)
		p, err := r.Bearer.Principal(t.Context(), local, bearer.Audience{})
		//nolint:errorlint // exactly this value
		if err != bearer.ErrExpired || p.Kind != "foreign_jwt" || p.ExpiresAt.IsZero() || p.Audience != exampleAPI {
			t.Errorf("after its end: %+v, %v", p, err)
		}
	})
}

// Foreign keys are fetched rarely, and if they cannot be fetched, the token is neither valid nor invalid.
func TestForeignKeysAreFetchedSeldom(t *testing.T) {
	outside := newIssuer(t)
	o := limited()
	o.Resources[0].TrustedIssuers = []catalog.TrustedIssuer{outside.trusted()}
	j := &jwtRig{Rig: rig.Memory(t, o)}
	j.api = j.ResourceServer()
	token := func(kid string, key *ecdsa.PrivateKey) string {
		header := map[string]any{"alg": "ES256"}
		if kid != "" {
			header["kid"] = kid
		}
		claims := outside.claims(j.Rig)
		claims["exp"] = j.Store.Now().Unix() + 1e6
		return sign(t, jose.ES256, key, header, claims)
	}
	good := token(outside.kid, outside.key)
	unavailable := func(name, token string) {
		t.Helper()
		for _, a := range []*rig.Answer{j.Introspect(j.api, token), j.Call(http.MethodGet, "/v1/auth/test", token)} {
			if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
				t.Errorf("%s: %d %s", name, a.Status, a.Body)
			}
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"an error": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"a redirect": func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, outside.URL+"/elsewhere", http.StatusFound)
		},
		"too much": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[]` + strings.Repeat(" ", 65<<10) + "}"))
		},
		"no JSON":      func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"no key set":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) },
		"cut":          func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "1000") },
		"a broken set": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":{}}`)) },
	} {
		before := outside.fetches.Load()
		outside.answers(answer)
		unavailable(name, good)
		unavailable(name+", again", good)
		outside.wantFetches(t, before+1)
		j.Advance(10 * time.Second)
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// Entries that are not public signing keys are skipped.
	outside.publish(t, jose.JSONWebKey{Key: outside.key.Public(), KeyID: outside.kid},
		jose.JSONWebKey{Key: stranger.Public(), KeyID: "encryption", Use: "enc"},
		jose.JSONWebKey{Key: stranger, KeyID: "private"}, jose.JSONWebKey{
			Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "secret",
		})
	j.taken(t, "once the keys are there", good)
	before := outside.fetches.Load()
	for range 20 {
		j.taken(t, "again", good)
		j.refused(t, "an unknown key", token("unknown", stranger))
		j.refused(t, "another's", token(outside.kid, stranger))
		j.refused(t, "a key for encryption", token("encryption", stranger))
		j.refused(t, "a private key", token("private", stranger))
	}
	j.taken(t, "without a kid", token("", outside.key))
	outside.wantFetches(t, before)
	j.Advance(time.Minute)
	j.refused(t, "an unknown key, a minute later", token("unknown", stranger))
	j.refused(t, "and again", token("unknown", stranger))
	outside.wantFetches(t, before+1)
	// The issuer changes its key: the new one is found, and the old one stops working within ten minutes.
	next, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	outside.publish(t, jose.JSONWebKey{Key: next.Public(), KeyID: "key 2"})
	j.Advance(10 * time.Minute)
	j.refused(t, "a key that was withdrawn", good)
	j.taken(t, "the key that took its place", token("key 2", next))
	outside.wantFetches(t, before+2)
	// The issuer is unavailable: cached keys still work, and an unknown key gives no decision.
	outside.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	j.Advance(11 * time.Minute)
	j.taken(t, "while the issuer is away", token("key 2", next))
	j.Advance(time.Minute)
	unavailable("a key that is unknown while the issuer is away", token("key 3", stranger))
	j.Advance(24 * time.Hour)
	unavailable("keys of yesterday", token("key 2", next))
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
