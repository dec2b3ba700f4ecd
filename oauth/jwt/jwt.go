// Package jwt parses JSON Web Tokens and verifies their signatures (RFC 7519, RFC 7515), strictly: in one spelling, with
// a key that the caller has chosen, and by the algorithms that fit the key. It does not know what a token is for.
package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	_ "crypto/sha512" // registers the hashes
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejson "github.com/go-jose/go-jose/v4/json"
)

// MaxSize is the size in bytes of the largest JWT that is parsed.
const MaxSize = 8 << 10

// Leeway is how far the clocks of a JWT's issuer and of this server may differ.
const Leeway = time.Minute

// maxMoment is the largest time that a claim may have, in Unix seconds: the end of the year 9999.
const maxMoment = 253402300799

// Token is a JWT that is parsed but not verified.
type Token struct {
	Algorithm jose.SignatureAlgorithm // empty: left out
	Type      string                  // typ; empty: left out
	KeyID     string                  // kid; empty: left out
	Header    map[string]any          // all members
	Payload   []byte                  // a JSON object
	signed    string                  // the signing input: header and payload (RFC 7515, section 5.2)
	signature []byte
}

// HasForm reports whether a text has three parts, as only a signed JWT has.
func HasForm(text string) bool { return strings.Count(text, ".") == 2 }

// Parse parses a JWT in compact form (RFC 7515, section 7.1). It accepts only the canonical encoding of each part:
// base64url without padding, line ends and spare bits, and JSON objects without duplicate names. The error says what is
// wrong.
//
// It ignores header members that name or contain a key (jwk, jku, x5u, x5c and the thumbprints), which readers need not
// use (RFC 7515, section 4.1): no URL in a token is fetched. A JWT with crit is refused, since no extension is
// supported.
func Parse(text string) (*Token, error) {
	if len(text) > MaxSize {
		return nil, &TooLargeError{len(text)}
	}
	if !HasForm(text) || strings.ContainsAny(text, "\r\n") { // the decoder would skip them
		return nil, errors.New("the JWT does not have three parts separated by dots")
	}
	var parts [3][]byte
	for i, part := range strings.Split(text, ".") {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || len(raw) == 0 {
			return nil, fmt.Errorf(
				"the %s of the JWT is not base64url without padding", [3]string{"header", "payload", "signature"}[i],
			)
		}
		parts[i] = raw
	}
	t := &Token{Payload: parts[1], signed: text[:strings.LastIndexByte(text, '.')], signature: parts[2]}
	if err := josejson.Unmarshal(parts[0], &t.Header); err != nil {
		return nil, errors.New("the header of the JWT is not a JSON object, or has duplicate names")
	}
	if _, ok := t.Header["crit"]; ok {
		return nil, errors.New("the header of the JWT has crit, and no extension is supported (RFC 7515, section 4.1.11)")
	}
	for name, to := range map[string]*string{"alg": (*string)(&t.Algorithm), "typ": &t.Type, "kid": &t.KeyID} {
		value, ok := t.Header[name]
		if !ok {
			continue
		}
		if *to, ok = value.(string); !ok || *to == "" {
			return nil, fmt.Errorf("%s in the header of the JWT is not a string, or is empty", name)
		}
	}
	return t, nil
}

// TooLargeError means that a JWT has more than MaxSize bytes.
type TooLargeError struct{ Size int }

// Error implements error.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the JWT has %d bytes, more than the %d that are accepted", e.Size, MaxSize)
}

// hashes maps each algorithm to the hash that it signs (RFC 7518, section 3.1).
var hashes = map[jose.SignatureAlgorithm]crypto.Hash{
	jose.HS256: crypto.SHA256, jose.ES256: crypto.SHA256, jose.ES384: crypto.SHA384, jose.ES512: crypto.SHA512,
	jose.RS256: crypto.SHA256, jose.RS384: crypto.SHA384, jose.RS512: crypto.SHA512, jose.PS256: crypto.SHA256,
	jose.PS384: crypto.SHA384, jose.PS512: crypto.SHA512,
}

// SignedBy reports whether the signature was made with key, by the algorithm that the header names, which must fit the
// type of the key. A secret ([]byte) verifies only HS256, and a public key never does.
//
// It replaces go-jose's verification, which parses the certificates and the key that a header may contain, and refuses
// the token if it cannot (docs/decisions/0026).
func (t *Token) SignedBy(key any) bool {
	hash := hashes[t.Algorithm]
	digest := func() []byte {
		h := hash.New()
		h.Write([]byte(t.signed))
		return h.Sum(nil)
	}
	switch k := key.(type) {
	case []byte:
		if t.Algorithm != jose.HS256 {
			return false
		}
		mac := hmac.New(hash.New, k)
		mac.Write([]byte(t.signed))
		return hmac.Equal(mac.Sum(nil), t.signature)
	case *ecdsa.PublicKey:
		size := (k.Curve.Params().BitSize + 7) / 8
		if !Fits(k, t.Algorithm) || len(t.signature) != 2*size {
			return false
		}
		return ecdsa.Verify(
			k, digest(), new(big.Int).SetBytes(t.signature[:size]), new(big.Int).SetBytes(t.signature[size:]),
		)
	case *rsa.PublicKey:
		switch {
		case !Fits(k, t.Algorithm):
			return false
		case strings.HasPrefix(string(t.Algorithm), "PS"):
			options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
			return rsa.VerifyPSS(k, hash, digest(), t.signature, options) == nil
		}
		return rsa.VerifyPKCS1v15(k, hash, digest(), t.signature) == nil
	case ed25519.PublicKey:
		return Fits(k, t.Algorithm) && ed25519.Verify(k, []byte(t.signed), t.signature)
	}
	return false
}

// ed25519Algorithm is the name of EdDSA with Ed25519 in RFC 9864, which also allows the older name EdDSA for it.
const ed25519Algorithm jose.SignatureAlgorithm = "Ed25519"

// Fits reports whether a key has the type that an algorithm needs (RFC 7518, section 3.1; RFC 8037, section 3.1; RFC
// 9864).
func Fits(key any, algorithm jose.SignatureAlgorithm) bool {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		bySize := map[int]jose.SignatureAlgorithm{256: jose.ES256, 384: jose.ES384, 521: jose.ES512}
		return bySize[k.Curve.Params().BitSize] == algorithm
	case *rsa.PublicKey:
		return strings.HasPrefix(string(algorithm), "RS") || strings.HasPrefix(string(algorithm), "PS")
	case ed25519.PublicKey:
		return algorithm == jose.EdDSA || algorithm == ed25519Algorithm
	}
	return false
}

// NumericDate is a NumericDate (RFC 7519, section 2): a JSON number of seconds since 1970, which may have a fraction or
// an exponent. It is stored in whole microseconds, rounded down; zero if the claim is left out.
type NumericDate int64

// Date returns the NumericDate of a moment.
func Date(t time.Time) NumericDate { return NumericDate(t.UnixMicro()) }

// Time returns the moment; not to be used for zero.
func (d NumericDate) Time() time.Time { return time.UnixMicro(int64(d)).UTC() }

// UnmarshalJSON implements json.Unmarshaler. It refuses values that are not numbers, and times before 1970 or after the
// year 9999.
func (d *NumericDate) UnmarshalJSON(text []byte) error {
	var number josejson.Number
	if len(text) == 0 || text[0] == '"' || josejson.Unmarshal(text, &number) != nil || number == "" {
		return errors.New("is not a number")
	}
	seconds, err := strconv.ParseFloat(string(number), 64) // an exponent that is too large is an error
	if err != nil || seconds < 0 || seconds > maxMoment {
		return errors.New("is not a time between 1970 and 9999")
	}
	*d = NumericDate(math.Floor(seconds * 1e6))
	return nil
}

// MarshalJSON implements json.Marshaler, in whole seconds.
func (d NumericDate) MarshalJSON() ([]byte, error) {
	return strconv.AppendInt(nil, int64(d)/1e6, 10), nil
}

// Times are the claims exp, nbf and iat (RFC 7519, section 4.1).
type Times struct {
	ExpiresAt NumericDate `json:"exp"`
	NotBefore NumericDate `json:"nbf,omitempty"`
	IssuedAt  NumericDate `json:"iat,omitempty"`
}

// Check checks that a token has an expiry, and that its nbf and iat are not in the future. It does not check the
// expiry: see Expired.
func (x Times) Check(now time.Time) error {
	if x.ExpiresAt == 0 {
		return errors.New("the JWT has no exp")
	}
	return x.Began(now)
}

// Began checks that nbf and iat are not in the future.
func (x Times) Began(now time.Time) error {
	latest := Date(now.Add(Leeway))
	switch {
	case x.NotBefore > latest:
		return fmt.Errorf("the JWT is not valid before %s (nbf)", x.NotBefore.Time().Format(time.RFC3339))
	case x.IssuedAt > latest:
		return fmt.Errorf(
			"the JWT was issued at %s, which is in the future (iat); compare the clocks",
			x.IssuedAt.Time().Format(time.RFC3339),
		)
	}
	return nil
}

// Expired reports whether a token has expired.
func (x Times) Expired(now time.Time) bool { return x.ExpiresAt <= Date(now) }

// Audience is an aud claim, a string or a list of strings (RFC 7519, section 4.1.3). Nil: left out.
type Audience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *Audience) UnmarshalJSON(text []byte) error {
	var one string
	if josejson.Unmarshal(text, &one) == nil {
		*a = Audience{one}
		return nil
	}
	var several []string
	if err := josejson.Unmarshal(text, &several); err != nil {
		return err
	}
	*a = several
	return nil
}

// Claims decodes the named claims; a missing one leaves its target unchanged. The error names the wrong claim.
func (t *Token) Claims(into map[string]any) error {
	var all map[string]josejson.RawMessage
	if josejson.Unmarshal(t.Payload, &all) != nil {
		return errors.New("the payload of the JWT is not a JSON object, or has duplicate names")
	}
	for _, name := range slices.Sorted(maps.Keys(into)) {
		raw, ok := all[name]
		if !ok {
			continue
		}
		if err := josejson.Unmarshal(raw, into[name]); err != nil {
			why := err.Error()
			if _, isDate := into[name].(*NumericDate); !isDate {
				why = "does not have the type that RFC 7519 gives it"
			}
			return fmt.Errorf("%s in the JWT %s", name, why)
		}
	}
	return nil
}
