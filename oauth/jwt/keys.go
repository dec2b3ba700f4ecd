package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
	josejson "github.com/go-jose/go-jose/v4/json"
)

// maxKeys bounds the keys of a set.
const maxKeys = 64

// ParseKeys reads a JWK set (RFC 7517, section 5). It leaves out keys that are not public, not for signatures, of an
// unknown type or too weak; skipped says why. An unknown member never extends what a key may be used for.
func ParseKeys(text []byte) (keys []jose.JSONWebKey, skipped []string, err error) {
	var set struct {
		Keys []josejson.RawMessage `json:"keys"`
	}
	if err := josejson.Unmarshal(text, &set); err != nil {
		return nil, nil, errors.New(
			"the answer is not a JWK set: a JSON object without duplicate names and with a list of keys",
		)
	}
	if set.Keys == nil {
		return nil, nil, errors.New("the answer is not a JWK set: it has no list of keys")
	}
	if len(set.Keys) > maxKeys {
		return nil, nil, fmt.Errorf("the JWK set has %d keys, more than the %d that are accepted", len(set.Keys), maxKeys)
	}
	keys = []jose.JSONWebKey{}
	for i, raw := range set.Keys {
		k, err := parseKey(raw)
		if err != nil {
			skipped = append(skipped, fmt.Sprintf("keys[%d] %v", i, err))
			continue
		}
		keys = append(keys, k)
	}
	return keys, skipped, nil
}

// parseKey reads one key; the error says why it cannot verify signatures.
func parseKey(raw []byte) (k jose.JSONWebKey, err error) {
	var members map[string]any
	if josejson.Unmarshal(raw, &members) != nil || members == nil {
		return k, errors.New("is not a JSON object, or has duplicate names")
	}
	for _, name := range []string{"use", "alg", "kid"} {
		if value, ok := members[name]; ok {
			if text, ok := value.(string); !ok || text == "" {
				return k, fmt.Errorf("has a %s that is not a string, or is empty", name)
			}
		}
	}
	if use, ok := members["use"]; ok && use != "sig" {
		return k, errors.New("has a use other than sig, so it is not for signatures")
	}
	if value, ok := members["key_ops"]; ok { // RFC 7517, section 4.3
		if list, ok := value.([]any); !ok || !slices.Contains(list, any("verify")) {
			return k, errors.New("has key_ops without verify")
		}
	}
	return PublicKey(raw)
}

// PublicKey reads a public key in JSON (RFC 7517, section 4), whatever its use. The error says why it cannot verify
// signatures.
func PublicKey(raw []byte) (k jose.JSONWebKey, err error) {
	if err := k.UnmarshalJSON(raw); err != nil {
		return k, errors.New("cannot be read as a key of a known kind")
	}
	if !k.Valid() || !k.IsPublic() {
		return k, errors.New("is not a public key")
	}
	return k, checkStrength(k.Key)
}

// PrivateMembers are the members of a JWK that only a private or symmetric key has (RFC 7518, section 6).
var PrivateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// Bounds on RSA keys: RFC 7518, section 3.3 forbids smaller ones, and verifying with larger ones takes too long. The
// minimum exponent is that of FIPS 186-5, section 5.1.
const (
	minRSABits, maxRSABits = 2048, 8192
	minRSAExponent         = 1<<16 + 1
)

// checkStrength returns why a well-formed public key is not accepted, or nil.
func checkStrength(key any) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		switch bits := k.N.BitLen(); {
		case bits < minRSABits:
			return fmt.Errorf(
				"is an RSA key of %d bits; at least %d are needed (RFC 7518, section 3.3)", bits, minRSABits,
			)
		case bits > maxRSABits:
			return fmt.Errorf("is an RSA key of %d bits; at most %d are accepted", bits, maxRSABits)
		case k.E < minRSAExponent || k.E%2 == 0 || k.N.Bit(0) == 0:
			return errors.New("is an RSA key with an exponent below 65537, or an even exponent or modulus")
		}
		return nil
	case *ecdsa.PublicKey:
		return nil // go-jose reads only points on P-256, P-384 and P-521
	case ed25519.PublicKey:
		if slices.Contains(smallOrder, hex.EncodeToString(append(slices.Clone(k[:31]), k[31]&0x7f))) {
			return errors.New("is an Ed25519 key of small order, whose signatures can be forged")
		}
		return nil
	}
	return errors.New("is not a key for signatures of a known kind")
}

// smallOrder lists the points of Ed25519 whose order divides 8, without their sign, in hexadecimal; two encodings are
// not canonical.
var smallOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}
