package bearer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"doorward/oauth/catalog"
	"doorward/oauth/jwt"
)

// jwkOf is a public key as a JSON object, with members that take the place of its own.
func jwkOf(t testing.TB, key any, members ...string) string {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKey{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	for _, member := range members {
		text = append(append(bytes.TrimSuffix(text, []byte("}")), ','), member+"}"...)
	}
	return string(text)
}

func rsaKey(bits, e int) *rsa.PublicKey {
	n := new(big.Int).SetBit(big.NewInt(12345), bits-1, 1)
	return &rsa.PublicKey{N: n, E: e}
}

func TestV34_KeysThatAreWeakOrForSomethingElseVerifyNothing(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point := func(text string) ed25519.PublicKey {
		key := make(ed25519.PublicKey, ed25519.PublicKeySize)
		copy(key, text)
		return key
	}
	okp := func(key ed25519.PublicKey) string {
		return `{"kty":"OKP","crv":"Ed25519","x":"` + base64.RawURLEncoding.EncodeToString(key) + `"}`
	}
	for name, text := range map[string]string{
		"RSA of 2,048 bits":        jwkOf(t, rsaKey(2048, 65537)),
		"RSA of 4,096 bits":        jwkOf(t, rsaKey(4096, 65537)),
		"P-256":                    jwkOf(t, &p256.PublicKey),
		"Ed25519":                  okp(ed),
		"for signatures":           jwkOf(t, &p256.PublicKey, `"use":"sig"`, `"key_ops":["verify"]`, `"alg":"ES256"`),
		"with a member of its own": jwkOf(t, ed, `"x-name":{"a":[1]}`),
	} {
		keys, skipped, err := jwt.ParseKeys([]byte(`{"keys":[` + text + `]}`))
		if err != nil || len(keys) != 1 || len(skipped) != 0 {
			t.Errorf("%s: %d keys, %v, %v", name, len(keys), skipped, err)
		}
	}
	for name, text := range map[string]string{
		"RSA of 1,024 bits":  jwkOf(t, rsaKey(1024, 65537)),
		"RSA of 2,047 bits":  jwkOf(t, rsaKey(2047, 65537)),
		"RSA of 512 bits":    jwkOf(t, rsaKey(512, 65537)),
		"RSA of 16,384 bits": jwkOf(t, rsaKey(16384, 65537)),
		"exponent 1":         jwkOf(t, rsaKey(2048, 1)),
		"exponent 3":         jwkOf(t, rsaKey(2048, 3)),
		"an even exponent":   jwkOf(t, rsaKey(2048, 65538)),
		"an even modulus":    jwkOf(t, &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537}),
		"an identity":        okp(point("\x01")), "a point of order 4": okp(point("\x00")),
		"for encryption": jwkOf(t, &p256.PublicKey, `"use":"enc"`),
		"use null":       jwkOf(t, &p256.PublicKey, `"use":null`),
		"use as a list":  jwkOf(t, &p256.PublicKey, `"use":["sig"]`),
		"use twice":      jwkOf(t, &p256.PublicKey, `"use":"enc"`, `"use":"sig"`),
		"alg null":       jwkOf(t, &p256.PublicKey, `"alg":null`), "alg a number": jwkOf(t, &p256.PublicKey, `"alg":1`),
		"key_ops of encryption": jwkOf(t, &p256.PublicKey, `"key_ops":["wrapKey"]`),
		"key_ops a string":      jwkOf(t, &p256.PublicKey, `"key_ops":"verify"`),
		"no key_ops":            jwkOf(t, &p256.PublicKey, `"key_ops":[]`),
		"key_ops null":          jwkOf(t, &p256.PublicKey, `"key_ops":null`),
		"a private key":         jwkOf(t, p256),
		"a secret":              `{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`,
		"secp256k1":             `{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}`,
		"a point that is not on the curve": `{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 42) + `E","y":"` +
			strings.Repeat("A", 42) + `E"}`,
		"an unknown kind": `{"kty":"X"}`, "a list": `[]`, "null": `null`, "a string": `"x"`,
	} {
		keys, skipped, err := jwt.ParseKeys([]byte(`{"keys":[` + text + `]}`))
		if err != nil || len(keys) != 0 || len(skipped) != 1 {
			t.Errorf("%s: %d keys, %v, %v", name, len(keys), skipped, err)
		}
	}
}

// slowKeys is another reading of a JWK set, which knows nothing of go-jose: whether each key of the set may be used.
func slowKeys(text []byte) (usable []bool, ok bool) {
	set, ok := slowObject(text)
	if !ok {
		return nil, false
	}
	var list []json.RawMessage
	if json.Unmarshal(set["keys"], &list) != nil || list == nil {
		return nil, false
	}
	for _, raw := range list {
		usable = append(usable, slowKey(raw))
	}
	return usable, true
}

func slowKey(raw []byte) bool {
	k, ok := slowObject(raw)
	if !ok {
		return false
	}
	text := func(name string) (string, bool) {
		var s *string
		if json.Unmarshal(k[name], &s) != nil || s == nil {
			return "", false
		}
		return *s, true
	}
	number := func(name string) []byte {
		s, _ := text(name)
		b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
		if err != nil {
			return nil
		}
		return b
	}
	for _, name := range []string{"use", "alg", "kid"} {
		if _, there := k[name]; there {
			if s, isText := text(name); !isText || s == "" || name == "use" && s != "sig" {
				return false
			}
		}
	}
	if ops, there := k["key_ops"]; there && !bytes.Contains(ops, []byte(`"verify"`)) {
		return false
	}
	for _, private := range []string{"d", "p", "q", "k"} {
		if s, there := text(private); there && s != "" {
			return false
		}
	}
	switch kty, _ := text("kty"); kty {
	case "RSA":
		n, e := new(big.Int).SetBytes(number("n")), new(big.Int).SetBytes(number("e"))
		return n.BitLen() >= 2048 && n.BitLen() <= 8192 && n.Bit(0) == 1 && e.Bit(0) == 1 && e.Cmp(big.NewInt(65537)) >= 0
	case "EC":
		crv, _ := text("crv")
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[crv]
		x, y := new(big.Int).SetBytes(number("x")), new(big.Int).SetBytes(number("y"))
		return curve != nil && x.Cmp(curve.Params().P) < 0 && y.Cmp(curve.Params().P) < 0 &&
			curve.IsOnCurve(x, y) //nolint:staticcheck // the slow way is the point
	case "OKP":
		crv, _ := text("crv")
		return crv == "Ed25519" && len(number("x")) == ed25519.PublicKeySize &&
			strings.Trim(string(number("x")), "\x00") != ""
	}
	return false
}

// slowObject reads an object in which no name stands twice, letter by letter.
func slowObject(text []byte) (map[string]json.RawMessage, bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	members := map[string]json.RawMessage{}
	for d.More() {
		t, err := d.Token()
		name, isText := t.(string)
		var value json.RawMessage
		if err != nil || !isText || d.Decode(&value) != nil {
			return nil, false
		}
		if _, twice := members[name]; twice {
			return nil, false
		}
		members[name] = value
	}
	_, err := d.Token()
	return members, err == nil
}

// What the reader of JWK sets uses, another reading would use too: what is not understood is never looser.
func FuzzV34_KeySets(f *testing.F) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	for _, member := range []string{
		`"use":"sig"`, `"use":"enc"`, `"use":null`, `"USE":"enc"`, `"alg":"ES256"`, `"alg":[]`,
		`"key_ops":["verify"]`, `"key_ops":["sign"]`, `"kid":""`, `"d":"AA"`, `"use":"sig","use":"enc"`,
	} {
		f.Add([]byte(`{"keys":[` + jwkOf(f, &p256.PublicKey, member) + `]}`))
	}
	f.Add([]byte(`{"keys":[` + jwkOf(f, rsaKey(1024, 65537)) + `,` + jwkOf(f, rsaKey(2048, 65537)) + `,{},null]}`))
	f.Add([]byte(`{"keys":[],"keys":[]}`))
	f.Add([]byte(`{"Keys":[]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, skipped, err := jwt.ParseKeys(text)
		if err != nil {
			return
		}
		usable, ok := slowKeys(text)
		if !ok {
			t.Fatalf("read, and is not a set: %q", text)
		}
		if len(keys)+len(skipped) != len(usable) {
			t.Fatalf("%d keys and %d skipped of %d: %q", len(keys), len(skipped), len(usable), text)
		}
		most := 0
		for _, good := range usable {
			if good {
				most++
			}
		}
		if len(keys) > most {
			t.Fatalf("%d keys are used, and %d may be: %q", len(keys), most, text)
		}
	})
}

func TestV47_IdentifiersOfResourcesAreComparedAsURIs(t *testing.T) {
	for _, same := range [][2]string{
		{"https://api.example.com", "https://api.example.com/"},
		{"https://api.example.com", "HTTPS://API.example.COM"},
		{"https://api.example.com", "https://api.example.com:443"},
		{"https://api.example.com", "https://api.example.com:/"},
		{"http://localhost:80/", "http://LOCALHOST"},
		{"https://api.example.com/v1", "https://API.example.com:443/v1"},
		{"https://api.example.com?x=1", "https://api.example.com/?x=1"},
		{"https://[::1]", "https://[::1]:443/"},
		{"urn:example:api", "URN:example:api"},
		{"mcp://host", "mcp://HOST/"},
	} {
		if !catalog.SameResource(same[0], same[1]) || !catalog.SameResource(same[1], same[0]) {
			t.Errorf("%q and %q are not the same", same[0], same[1])
		}
	}
	for _, other := range [][2]string{
		{"https://api.example.com/v1", "https://api.example.com/v1/"},
		{"https://api.example.com/v1", "https://api.example.com/V1"},
		{"https://api.example.com", "http://api.example.com"},
		{"https://api.example.com", "https://api.example.com:8443"},
		{"https://api.example.com", "https://api.example.com:80"},
		{"https://api.example.com", "https://api.example.com#x"},
		{"https://api.example.com", "https://api.example.com//"},
		{"https://api.example.com", "https://u@api.example.com"},
		{"https://api.example.com", "https://api.example.com."},
		{"https://api.example.com", "https://api.example.com::443"},
		{"https://api.example.com", "https:api.example.com"},
		{"https://api.example.com", "https://api.example.com/?"},
		{"https://api.example.com", ""},
		{"https://api.example.com", "api.example.com"},
		{"urn:example:api", "urn:EXAMPLE:api"},
		{"https://api.example.com", "https://evil.example\\@api.example.com"},
	} {
		if catalog.SameResource(other[0], other[1]) || catalog.SameResource(other[1], other[0]) {
			t.Errorf("%q and %q are the same", other[0], other[1])
		}
	}
}
