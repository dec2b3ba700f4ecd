package bearer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	_ "crypto/sha512" // registers the hashes
	"encoding/base64"
	"errors"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejson "github.com/go-jose/go-jose/v4/json"

	"doorward/storage"
)

const (
	// maxJWT is the size in bytes of the largest JWT that is parsed.
	maxJWT = 8 << 10
	// typeAccessToken is the typ of our access tokens (RFC 9068, section 2.1).
	typeAccessToken = "at+jwt"
	// leeway is how far the clock of a JWT's issuer may be ahead, for nbf and iat. There is none for exp.
	leeway = time.Minute
	// maxMoment is the largest time that a claim may have, in Unix seconds: the end of the year 9999.
	maxMoment = 253402300799
)

// parsedJWT is a JWT that is parsed but not verified.
type parsedJWT struct {
	algorithm jose.SignatureAlgorithm
	typ       string // empty: left out
	kid       string // empty: left out
	members   int    // how many the header has
	issuer    string
	payload   []byte
	signed    string // the signing input: header and payload (RFC 7515, section 5.2)
	signature []byte
}

// looksLikeJWT reports whether a credential has three parts, which no other kind has.
func looksLikeJWT(text string) bool { return strings.Count(text, ".") == 2 }

// parseJWT parses a JWT in compact form (RFC 7515, section 7.1). It accepts only the canonical encoding of each part:
// base64url without padding, line ends and spare bits, and JSON objects without duplicate names. The error wraps
// ErrUnknown and says what is wrong.
//
// It ignores header members that name or contain a key (jwk, jku, x5u, x5c and the thumbprints), which readers need not
// use (RFC 7515, section 4.1): keys come only from the configuration, and no URL in a token is fetched. A JWT with crit
// is refused, since no extension is supported.
func parseJWT(text string) (*parsedJWT, error) {
	if len(text) > maxJWT {
		return nil, unknown(
			"the JWT has %d bytes, more than the %d that are accepted; configure its issuer to put less into it, such as "+
				"fewer groups",
			len(text),
			maxJWT,
		)
	}
	if !looksLikeJWT(text) || strings.ContainsAny(text, "\r\n") { // the decoder would skip them
		return nil, unknown("the JWT does not have three parts separated by dots")
	}
	var parts [3][]byte
	for i, part := range strings.Split(text, ".") {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || len(raw) == 0 {
			return nil, unknown(
				"the %s of the JWT is not base64url without padding", [3]string{"header", "payload", "signature"}[i],
			)
		}
		parts[i] = raw
	}
	var header map[string]any
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err := josejson.Unmarshal(parts[0], &header); err != nil {
		return nil, unknown("the header of the JWT is not a JSON object, or has duplicate names")
	}
	if err := josejson.Unmarshal(parts[1], &claims); err != nil {
		return nil, unknown("the payload of the JWT is not a JSON object, has duplicate names, or iss is not a string")
	}
	if _, ok := header["crit"]; ok {
		return nil, unknown("the header of the JWT has crit, and no extension is supported (RFC 7515, section 4.1.11)")
	}
	t := &parsedJWT{
		members: len(header), issuer: claims.Issuer, payload: parts[1], signed: text[:strings.LastIndexByte(text, '.')],
		signature: parts[2],
	}
	for name, to := range map[string]*string{"alg": (*string)(&t.algorithm), "typ": &t.typ, "kid": &t.kid} {
		value, ok := header[name]
		if !ok {
			continue
		}
		if *to, ok = value.(string); !ok || *to == "" {
			return nil, unknown("%s in the header of the JWT is not a string, or is empty", name)
		}
	}
	if t.issuer == "" {
		return nil, unknown("the JWT has no iss")
	}
	return t, nil
}

// hashes maps each algorithm to the hash that it signs (RFC 7518, section 3.1).
var hashes = map[jose.SignatureAlgorithm]crypto.Hash{
	jose.HS256: crypto.SHA256, jose.ES256: crypto.SHA256, jose.ES384: crypto.SHA384, jose.ES512: crypto.SHA512,
	jose.RS256: crypto.SHA256, jose.RS384: crypto.SHA384, jose.RS512: crypto.SHA512, jose.PS256: crypto.SHA256,
	jose.PS384: crypto.SHA384, jose.PS512: crypto.SHA512,
}

// signedBy reports whether the signature was made with key, by the algorithm that the header names, which must fit the
// type of the key. A secret verifies only HS256, and a public key never does.
//
// It replaces go-jose's verification, which parses the certificates and the key that a header may contain, and refuses
// the token if it cannot (docs/decisions/0026).
func (t *parsedJWT) signedBy(key any) bool {
	hash := hashes[t.algorithm]
	digest := func() []byte {
		h := hash.New()
		h.Write([]byte(t.signed))
		return h.Sum(nil)
	}
	switch k := key.(type) {
	case []byte:
		if t.algorithm != jose.HS256 {
			return false
		}
		mac := hmac.New(hash.New, k)
		mac.Write([]byte(t.signed))
		return hmac.Equal(mac.Sum(nil), t.signature)
	case *ecdsa.PublicKey:
		size := (k.Curve.Params().BitSize + 7) / 8
		if !fitsAlgorithm(k, t.algorithm) || len(t.signature) != 2*size {
			return false
		}
		return ecdsa.Verify(
			k, digest(), new(big.Int).SetBytes(t.signature[:size]), new(big.Int).SetBytes(t.signature[size:]),
		)
	case *rsa.PublicKey:
		switch {
		case !fitsAlgorithm(k, t.algorithm):
			return false
		case strings.HasPrefix(string(t.algorithm), "PS"):
			options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
			return rsa.VerifyPSS(k, hash, digest(), t.signature, options) == nil
		}
		return rsa.VerifyPKCS1v15(k, hash, digest(), t.signature) == nil
	case ed25519.PublicKey:
		return fitsAlgorithm(k, t.algorithm) && ed25519.Verify(k, []byte(t.signed), t.signature)
	}
	return false
}

// numericDate is a NumericDate (RFC 7519, section 2): a JSON number of seconds since 1970, which may have a fraction or
// an exponent. It is stored in whole microseconds, rounded down; zero if the claim is left out.
type numericDate storage.Time

// UnmarshalJSON implements json.Unmarshaler. It refuses values that are not numbers, and times before 1970 or after the
// year 9999.
func (d *numericDate) UnmarshalJSON(text []byte) error {
	var number josejson.Number
	if len(text) == 0 || text[0] == '"' || josejson.Unmarshal(text, &number) != nil || number == "" {
		return errors.New("is not a number")
	}
	seconds, err := strconv.ParseFloat(string(number), 64) // an exponent that is too large is an error
	if err != nil || seconds < 0 || seconds > maxMoment {
		return errors.New("is not a time between 1970 and 9999")
	}
	*d = numericDate(math.Floor(seconds * 1e6))
	return nil
}

// MarshalJSON implements json.Marshaler, in whole seconds.
func (d numericDate) MarshalJSON() ([]byte, error) {
	return strconv.AppendInt(nil, storage.Time(d).Unix(), 10), nil
}

// times are the claims exp, nbf and iat (RFC 7519, section 4.1).
type times struct {
	ExpiresAt numericDate `json:"exp"`
	NotBefore numericDate `json:"nbf,omitempty"`
	IssuedAt  numericDate `json:"iat,omitempty"`
}

// check checks that a token has an expiry, and that its nbf and iat are not in the future. It does not check the
// expiry: see expired. The error wraps ErrUnknown.
func (x times) check(now storage.Time) error {
	latest := numericDate(now.Add(leeway))
	switch {
	case x.ExpiresAt == 0:
		return unknown("the JWT has no exp")
	case x.NotBefore > latest:
		return unknown(
			"the JWT is not valid before %s (nbf)", storage.Time(x.NotBefore).Time().UTC().Format(time.RFC3339),
		)
	case x.IssuedAt > latest:
		return unknown(
			"the JWT was issued at %s, which is in the future (iat); compare the clocks",
			storage.Time(x.IssuedAt).Time().UTC().Format(time.RFC3339),
		)
	}
	return nil
}

// expired reports whether a token has expired.
func (x times) expired(now storage.Time) bool { return storage.Time(x.ExpiresAt) <= now }

// readClaims decodes the named claims; a missing one leaves its target unchanged. The error wraps ErrUnknown and names
// the wrong claim.
func readClaims(payload []byte, into map[string]any) error {
	var all map[string]josejson.RawMessage
	if josejson.Unmarshal(payload, &all) != nil {
		return unknown("the payload of the JWT is not a JSON object, or has duplicate names")
	}
	for _, name := range slices.Sorted(maps.Keys(into)) {
		raw, ok := all[name]
		if !ok {
			continue
		}
		if err := josejson.Unmarshal(raw, into[name]); err != nil {
			why := err.Error()
			if _, isDate := into[name].(*numericDate); !isDate {
				why = "does not have the type that RFC 7519 gives it"
			}
			return unknown("%s in the JWT %s", name, why)
		}
	}
	return nil
}
