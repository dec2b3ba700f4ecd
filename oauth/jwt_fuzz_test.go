package oauth

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	josejson "github.com/go-jose/go-jose/v4/json"
)

// Whatever is parsed is spelled in the one right way, names no key of its own, and bears no good signature of a key that
// never signed.
func FuzzParseJWT(f *testing.F) {
	b64 := base64.RawURLEncoding.EncodeToString
	for _, header := range []string{`{"alg":"HS256"}`, `{"alg":"none"}`, `{"alg":"ES256","kid":"a","typ":"at+jwt"}`, `{"alg":"HS256","jwk":{}}`, `{"alg":"HS256","alg":"none"}`, `{"alg":1}`, `null`, ``} {
		for _, claims := range []string{`{"iss":"a","exp":1}`, `{"iss":1}`, `{"ISS":"a"}`, `[]`, ``, strings.Repeat("[", 10_000)} {
			f.Add(b64([]byte(header)) + "." + b64([]byte(claims)) + "." + b64(make([]byte, 64)))
		}
	}
	f.Add("..")
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		p, ok := parseJWT(text)
		if !ok {
			return
		}
		if len(text) > maxJWT || p.issuer == "" {
			t.Fatalf("taken: %q", text)
		}
		var parts []string
		for part := range strings.SplitSeq(text, ".") {
			raw, err := base64.RawURLEncoding.DecodeString(part)
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, b64(raw))
		}
		if strings.Join(parts, ".") != text {
			t.Fatalf("another spelling is taken: %q", text)
		}
		var header map[string]json.RawMessage
		if raw, _ := base64.RawURLEncoding.DecodeString(parts[0]); json.Unmarshal(raw, &header) == nil {
			for _, name := range forbidden {
				if _, ok := header[name]; ok {
					t.Fatalf("%s is taken: %q", name, raw)
				}
			}
		}
		if p.signedBy(make([]byte, 32), jose.HS384) {
			t.Fatalf("signed by nobody: %q", text)
		}
		var claims ownClaims
		if josejson.Unmarshal(p.payload, &claims) == nil && claims.begun(1e15) && (moment(claims.ExpiresAt) <= 0 || moment(claims.IssuedAt) < 0) {
			t.Fatalf("moments out of bounds: %q", p.payload)
		}
	})
}
