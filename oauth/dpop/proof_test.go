package dpop_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"doorward/oauth/dpop"
	"doorward/test/rig"
)

const token = "the access token"

// now is a whole second, as the iat of a proof is.
var now = time.Unix(1_800_000_000, 0)

// sent is the request for which the proofs of the tests are made.
func sent() dpop.Request {
	return dpop.Request{Method: http.MethodPost, URL: "https://api.example.com/v1/x?a=b", Token: token, Now: now}
}

func tokenHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func claims() rig.Members {
	return rig.Members{
		"jti": "one", "htm": "POST", "htu": "https://api.example.com/v1/x", "iat": now.Unix(), "ath": tokenHash(token),
	}
}

// public is the public half of a key as members.
func public(t testing.TB, key any) rig.Members {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKey{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	var m rig.Members
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func withoutSignature(text string) string { return text[:strings.LastIndexByte(text, '.')+1] }

func wantRefused(t *testing.T, name, text string, r dpop.Request) {
	t.Helper()
	if p, err := dpop.Check(text, r); !errors.Is(err, dpop.ErrProof) {
		t.Errorf("%s: %+v, %v", name, p, err)
	}
}

func TestP01_TheHeaderOfAProof(t *testing.T) {
	k := rig.NewKey(t, "")
	good := rig.ProofHeader(k)
	p, err := dpop.Check(k.Sign(good, claims()), sent())
	if err != nil || p.Key != k.Thumbprint() || p.ID != "one" || !p.ExpiresAt.Equal(now.Add(dpop.Remember)) {
		t.Fatalf("%+v, %v", p, err)
	}
	for name, change := range map[string]rig.Members{
		"no typ": {"typ": nil}, "typ of another JWT": {"typ": "JWT"}, "typ of an access token": {"typ": "at+jwt"},
		"typ with spaces": {"typ": " dpop+jwt"}, "typ a number": {"typ": 1},
		"no alg": {"alg": nil}, "alg empty": {"alg": ""}, "none": {"alg": "none"}, "None": {"alg": "None"},
		"HS256": {"alg": "HS256"}, "RS256": {"alg": "RS256"}, "alg in lower case": {"alg": "es256"},
		"alg of another key": {"alg": "EdDSA"}, "ES384": {"alg": "ES384"},
		"no jwk": {"jwk": nil}, "jwk a string": {"jwk": "x"}, "jwk empty": {"jwk": rig.Members{}},
		"jwk a list":             {"jwk": []any{public(t, k.Private.Public())}},
		"jwk of an unknown kind": {"jwk": rig.Members{"kty": "none"}},
		"crit":                   {"crit": []string{"b64"}, "b64": true},
	} {
		wantRefused(t, name, k.Sign(good.With(change), claims()), sent())
	}
	for name, text := range map[string]string{
		"empty": "", "a word": "x", "two parts": "e30.e30", "four parts": "e30.e30.e30.e30", "empty objects": "e30.e30.e30",
		"no signature":  withoutSignature(k.Sign(good, claims())),
		"padded":        k.Sign(good, claims()) + "=",
		"a line end":    k.Sign(good, claims()) + "\n",
		"two of them":   k.Sign(good, claims()) + ", " + k.Sign(good, claims()),
		"beyond 8 KiB":  k.Sign(good, claims().With(rig.Members{"jti": strings.Repeat("x", 10_000)})),
		"a serialised":  `{"payload":"e30","signatures":[]}`,
		"an encrypted":  "e30.e30.e30.e30.e30",
		"a space first": " " + k.Sign(good, claims()),
	} {
		wantRefused(t, name, text, sent())
	}
}

// The key of a proof is public, strong, and the one that signed it.
func TestP02_TheKeyOfAProof(t *testing.T) {
	k, other := rig.NewKey(t, ""), rig.NewKey(t, "")
	own := public(t, k.Private.Public())
	scalar, err := k.Private.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	d := base64.RawURLEncoding.EncodeToString(scalar)
	ps256 := rig.NewRSAKey(t, "", jose.PS256, 2048)
	private, err := json.Marshal(jose.JSONWebKey{Key: ps256.Private})
	if err != nil {
		t.Fatal(err)
	}
	for name, jwk := range map[string]any{
		"private":             own.With(rig.Members{"d": d}),
		"private, empty":      own.With(rig.Members{"d": ""}),
		"symmetric":           rig.Members{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"},
		"symmetric beside":    own.With(rig.Members{"k": "c2VjcmV0"}),
		"another":             public(t, other.Private.Public()),
		"not on its curve":    own.With(rig.Members{"y": own["x"]}),
		"of an unknown curve": own.With(rig.Members{"crv": "P-256K"}),
		"without x":           own.With(rig.Members{"x": nil}),
	} {
		wantRefused(t, name, k.Sign(rig.ProofHeader(k).With(rig.Members{"jwk": jwk}), claims()), sent())
	}
	wantRefused(t, "RSA, private", ps256.Sign(rig.ProofHeader(ps256).With(rig.Members{"jwk": json.RawMessage(private)}),
		claims()), sent())
	weak := rig.NewRSAKey(t, "", jose.PS256, 1024)
	wantRefused(t, "RSA with 1,024 bits", weak.Sign(rig.ProofHeader(weak), claims()), sent())
	rs256 := &rig.Key{Algorithm: jose.RS256, Private: ps256.Private}
	wantRefused(t, "RS256 with an RSA key", rs256.Sign(rig.ProofHeader(rs256), claims()), sent())
	large, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wantRefused(t, "ES256 with P-384", k.Sign(rig.ProofHeader(k).With(rig.Members{"jwk": public(t, large.Public())}),
		claims()), sent())

	text := k.Sign(rig.ProofHeader(k), claims())
	part := strings.Split(text, ".")
	forged := rig.NewKey(t, "").Sign(rig.ProofHeader(k), claims().With(rig.Members{"jti": "two"}))
	for name, text := range map[string]string{
		"of another key":        forged,
		"of another payload":    part[0] + "." + strings.Split(forged, ".")[1] + "." + part[2],
		"cut":                   part[0] + "." + part[1] + "." + part[2][:84],
		"of zeros":              part[0] + "." + part[1] + "." + strings.Repeat("A", 86),
		"with a byte too many":  part[0] + "." + part[1] + "." + part[2] + "AA",
		"with other spare bits": part[0] + "." + part[1] + "." + part[2][:85] + "_",
	} {
		wantRefused(t, "a signature "+name, text, sent())
	}
}

func TestP02_EachAllowedAlgorithm(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []*rig.Key{
		rig.NewKey(t, ""), rig.NewRSAKey(t, "", jose.PS256, 2048),
		{Algorithm: jose.EdDSA, Private: ed},
		{Algorithm: "Ed25519", Private: ed},
	} {
		p, err := dpop.Check(k.Sign(rig.ProofHeader(k), claims()), sent())
		if err != nil || p.Key != k.Thumbprint() {
			t.Errorf("%s: %+v, %v", k.Algorithm, p, err)
		}
	}
	if got := dpop.AlgorithmNames(); got != "ES256 PS256 EdDSA Ed25519" {
		t.Errorf("the algorithms are %s", got)
	}
}

func TestP01_TheClaimsOfAProof(t *testing.T) {
	k := rig.NewKey(t, "")
	for name, change := range map[string]rig.Members{
		"no jti": {"jti": nil}, "jti empty": {"jti": ""}, "jti a number": {"jti": 1},
		"jti of 501 bytes": {"jti": strings.Repeat("x", 501)},
		"no htm":           {"htm": nil}, "another htm": {"htm": "GET"}, "htm in lower case": {"htm": "post"},
		"no htu": {"htu": nil}, "htu a list": {"htu": []string{"https://api.example.com/v1/x"}},
		"no iat": {"iat": nil}, "iat zero": {"iat": 0}, "iat a string": {"iat": "1800000000"},
		"iat before 1970": {"iat": -1}, "iat after 9999": {"iat": 1e300},
		"no ath": {"ath": nil}, "ath empty": {"ath": ""}, "ath of another token": {"ath": tokenHash("another")},
		"ath in hex": {"ath": "x"}, "ath the token": {"ath": token},
	} {
		wantRefused(t, name, k.Sign(rig.ProofHeader(k), claims().With(change)), sent())
	}
	for name, change := range map[string]rig.Members{
		"jti of 500 bytes": {"jti": strings.Repeat("x", 500)}, "a nonce that is not asked for": {"nonce": "x"},
		"unknown claims": {"sub": "x", "aud": "https://else.example", "iss": 5},
	} {
		if _, err := dpop.Check(k.Sign(rig.ProofHeader(k), claims().With(change)), sent()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A request without a token has nothing that ath could be compared with.
	r := sent()
	r.Token = ""
	for _, ath := range []any{nil, "anything"} {
		if _, err := dpop.Check(k.Sign(rig.ProofHeader(k), claims().With(rig.Members{"ath": ath})), r); err != nil {
			t.Errorf("ath %v without a token: %v", ath, err)
		}
	}
	duplicate := `{"jti":"a","jti":"b","htm":"POST","htu":"https://api.example.com/v1/x","iat":1800000000}`
	part := strings.Split(k.Sign(rig.ProofHeader(k), claims()), ".")
	wantRefused(t, "a claim twice", part[0]+"."+base64.RawURLEncoding.EncodeToString([]byte(duplicate))+"."+part[2], r)
}

func TestP04_TheTimesOfAProof(t *testing.T) {
	k := rig.NewKey(t, "")
	at := func(seconds float64) float64 { return float64(now.Unix()) + seconds }
	for name, x := range map[string]struct {
		change rig.Members
		right  bool
	}{
		"iat 10 s ago": {rig.Members{"iat": at(-10)}, true}, "iat 10 s ahead": {rig.Members{"iat": at(10)}, true},
		"iat 60 s ago": {rig.Members{"iat": at(-60)}, true}, "iat 60 s ahead": {rig.Members{"iat": at(60)}, true},
		"iat with a fraction": {rig.Members{"iat": at(-59.5)}, true},
		"iat 61 s ago":        {rig.Members{"iat": at(-61)}, false}, "iat 61 s ahead": {rig.Members{"iat": at(61)}, false},
		"iat 60.5 s ago":      {rig.Members{"iat": at(-60.5)}, false},
		"iat in milliseconds": {rig.Members{"iat": at(0) * 1000}, false},
		"exp ahead":           {rig.Members{"exp": at(1)}, true}, "exp 60 s ago": {rig.Members{"exp": at(-60)}, true},
		"exp 61 s ago": {rig.Members{"exp": at(-61)}, false}, "exp a string": {rig.Members{"exp": "x"}, false},
		"nbf ago": {rig.Members{"nbf": at(-1)}, true}, "nbf 60 s ahead": {rig.Members{"nbf": at(60)}, true},
		"nbf 61 s ahead": {rig.Members{"nbf": at(61)}, false}, "nbf a string": {rig.Members{"nbf": "x"}, false},
	} {
		p, err := dpop.Check(k.Sign(rig.ProofHeader(k), claims().With(x.change)), sent())
		if (err == nil) != x.right || err != nil && !errors.Is(err, dpop.ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
		// It is remembered for as long as a node accepts it whose clock is a minute behind.
		if iat, ok := x.change["iat"].(float64); ok && x.right {
			until := now.Add(time.Duration((iat-at(0))*float64(time.Second)) + dpop.Window + time.Minute)
			if p.ExpiresAt.Before(until.Add(-time.Millisecond)) {
				t.Errorf("%s: it is remembered until %v, not %v", name, p.ExpiresAt, until)
			}
		}
	}
}

// htu is compared after the normalization of RFC 3986, sections 6.2.2 and 6.2.3, without query and fragment.
func TestP03_TheURLOfAProof(t *testing.T) {
	k := rig.NewKey(t, "")
	for _, x := range []struct {
		requested, htu string
		anyPort, same  bool
	}{
		{"https://api.example.com/v1/x", "https://api.example.com/v1/x", false, true},
		{"https://api.example.com/v1/x?a=b", "https://api.example.com/v1/x?c=d", false, true},
		{"https://api.example.com/v1/x", "https://api.example.com/v1/x#fragment", false, true},
		{"https://api.example.com/v1/x", "https://api.example.com/v1/x?%zz#%zz", false, true},
		{"https://api.example.com/v1/x", "HTTPS://API.Example.COM/v1/x", false, true},
		{"https://api.example.com/v1/x", "https://api.example.com:443/v1/x", false, true},
		{"http://api.example.com/v1/x", "http://api.example.com:80/v1/x", false, true},
		{"https://api.example.com:443/v1/x", "https://api.example.com/v1/x", false, true},
		{"https://api.example.com", "https://api.example.com/", false, true},
		{"https://api.example.com/", "https://api.example.com", false, true},
		{"https://api.example.com/", "https://api.example.com?a=b", false, true},
		{"https://api.example.com/a%7eb", "https://api.example.com/a~b", false, true},
		{"https://api.example.com/%41", "https://api.example.com/A", false, true},
		{"https://api.example.com/a%3ab", "https://api.example.com/a%3Ab", false, true},
		{"https://api.example.com/a%2fb", "https://api.example.com/a%2Fb", false, true},
		{"http://[::1]:8080/x", "http://[::1]:8080/x", false, true},

		{"https://api.example.com/v1/x", "https://api.example.com/v1/y", false, false},
		{"https://api.example.com/v1/x", "https://api.example.com/v1/X", false, false},
		{"https://api.example.com/v1/x", "https://api.example.com/v1/x/", false, false},
		{"https://api.example.com/v1/x", "https://api.example.com/v1", false, false},
		{"https://api.example.com/v1/x", "https://api.example.com/v1/y/../x", false, false},
		{"https://api.example.com/v1/x", "https://api.example.com//v1/x", false, false},
		{"https://api.example.com/v1/x", "https://evil.example/v1/x", false, false},
		{"https://api.example.com/v1/x", "https://api.example.com.evil.example/v1/x", false, false},
		{"https://api.example.com/v1/x", "https://api.example.com@evil.example/v1/x", false, false},
		{"https://api.example.com/v1/x", "https://user@api.example.com/v1/x", false, false},
		{"https://api.example.com/v1/x", "https://evil.example/?https://api.example.com/v1/x", false, false},
		{"https://api.example.com/v1/x", "http://api.example.com/v1/x", false, false},
		{"https://api.example.com/v1/x", "http://api.example.com:443/v1/x", false, false},
		{"https://api.example.com/v1/x", "https://api.example.com:80/v1/x", false, false},
		{"https://api.example.com/v1/x", "https://api.example.com:8443/v1/x", false, false},
		{"https://api.example.com/v1/x", "/v1/x", false, false},
		{"https://api.example.com/v1/x", "//api.example.com/v1/x", false, false},
		{"https://api.example.com/v1/x", "https:api.example.com/v1/x", false, false},
		{"https://api.example.com/v1/x", "https:///v1/x", false, false},
		{"https://api.example.com/v1/x", "api.example.com/v1/x", false, false},
		{"https://api.example.com/v1/x", " https://api.example.com/v1/x", false, false},
		{"https://api.example.com/v1/x", "https://api.example.com/v1/x\n", false, false},
		{"https://api.example.com/v1/x", "", false, false},
		{"https://api.example.com/a%2fb", "https://api.example.com/a/b", false, false},
		{"https://api.example.com/a%25b", "https://api.example.com/a%b", false, false},
		{"http://[::1]:8080/x", "http://[::1]/x", false, false},

		// A proxy left out the port.
		{"https://api.example.com/v1/x", "https://api.example.com:8443/v1/x", true, true},
		{"https://api.example.com/v1/x", "https://api.example.com/v1/x", true, true},
		{"http://[::1]/x", "http://[::1]:8080/x", true, true},
		{"https://api.example.com/v1/x", "https://evil.example:8443/v1/x", true, false},
		{"https://api.example.com/v1/x", "http://api.example.com:8443/v1/x", true, false},
		{"https://api.example.com/v1/x", "https://api.example.com:8443/v1/y", true, false},
		{"https://api.example.com/v1/x", "https://api.example.com:x/v1/x", true, false},
	} {
		r := sent()
		r.URL, r.AnyPort = x.requested, x.anyPort
		_, err := dpop.Check(k.Sign(rig.ProofHeader(k), claims().With(rig.Members{"htu": x.htu})), r)
		if (err == nil) != x.same || err != nil && !errors.Is(err, dpop.ErrProof) {
			t.Errorf("htu %q for %q, any port %t: %v", x.htu, x.requested, x.anyPort, err)
		}
	}
}

func TestP01_OneHeaderHoldsTheProof(t *testing.T) {
	for name, x := range map[string]struct {
		values []string
		text   string
		right  bool
	}{
		"none": {nil, "", true}, "one": {[]string{"x"}, "x", true}, "two": {[]string{"x", "y"}, "", false},
		"the same twice": {[]string{"x", "x"}, "", false}, "empty": {[]string{""}, "", false},
		"one and an empty one": {[]string{"x", ""}, "", false},
	} {
		text, err := dpop.FromHeader(http.Header{"Dpop": x.values})
		if text != x.text || (err == nil) != x.right || err != nil && !errors.Is(err, dpop.ErrProof) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

func TestIsThumbprint(t *testing.T) {
	right := rig.NewKey(t, "").Thumbprint()
	if !dpop.IsThumbprint(right) {
		t.Errorf("%q is one", right)
	}
	for _, text := range []string{
		"", "x", right + "=", right[:42], right + "A", right + "\n", right[:20] + "\r\n" + right[20:], " " + right,
		strings.Repeat("+", 42) + "A", strings.Repeat("A", 42) + "B", strings.Repeat("A", 86),
	} {
		if dpop.IsThumbprint(text) {
			t.Errorf("%q is taken for one", text)
		}
	}
}
