package bearer

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	josejson "github.com/go-jose/go-jose/v4/json"

	"doorward/oauth/jwt"
)

// Whatever is parsed is spelled in the one right way and asks for no extension, and a secret verifies HS256 alone. What
// is refused is refused with a reason.
func FuzzParseJWT(f *testing.F) {
	b64 := base64.RawURLEncoding.EncodeToString
	for _, header := range []string{
		`{"alg":"HS256"}`, `{"alg":"none"}`, `{"alg":"ES256","kid":"a","typ":"at+jwt"}`,
		`{"alg":"HS256","jwk":{}}`, `{"alg":"HS256","alg":"none"}`, `{"alg":1}`, `null`, ``,
	} {
		for _, claims := range []string{
			`{"iss":"a","exp":1}`, `{"iss":1}`, `{"ISS":"a"}`, `[]`, ``,
			strings.Repeat("[", 10_000),
		} {
			f.Add(b64([]byte(header)) + "." + b64([]byte(claims)) + "." + b64(make([]byte, 64)))
		}
	}
	f.Add("..")
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseJWT(text)
		if err != nil {
			if !errors.Is(err, ErrUnknown) || err.Error() == ErrUnknown.Error() {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}
		if len(text) > jwt.MaxSize || p.issuer == "" {
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
			if _, ok := header["crit"]; ok {
				t.Fatalf("crit is taken: %q", raw)
			}
		}
		if p.SignedBy(make([]byte, 32)) && p.Algorithm != jose.HS256 {
			t.Fatalf("a secret is taken for another algorithm: %q", text)
		}
		var claims ownClaims
		if josejson.Unmarshal(p.Payload, &claims) == nil && checkTimes(claims.Times, 1e15) == nil &&
			(claims.ExpiresAt <= 0 || claims.IssuedAt < 0) {
			t.Fatalf("moments out of bounds: %q", p.Payload)
		}
	})
}
