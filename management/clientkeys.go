package management

import (
	"crypto"
	_ "crypto/sha256" // of thumbprints
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"doorward/locale"
	"doorward/oauth/input"
	"doorward/oauth/jwt"
)

// Bounds on the keys of a client.
const (
	maxJWKS      = 16 << 10 // bytes
	maxKeyID     = 200      // characters
	maxKeyNested = 8        // a JWK set needs four levels: the set, its list, a key, and a list in that
	auditedKeys  = 10
)

// ClientKey is a public key of a client, as its owner sees it.
type ClientKey struct {
	KeyID      string   // kid; empty: none
	Algorithm  string   // alg, the only algorithm that it may be used with; empty: not restricted
	Algorithms []string // the AuthAlgorithms that it can be used with
	Thumbprint string   // RFC 7638, with SHA-256
}

// Name is how a key is recognised: by its kid and thumbprint.
func (k ClientKey) Name() string {
	if k.KeyID == "" {
		return k.Thumbprint
	}
	return k.KeyID + " (" + k.Thumbprint + ")"
}

// ClientKeys lists the keys of a stored JWK set; empty if there are none.
func ClientKeys(jwks string) []ClientKey {
	if jwks == "" {
		return nil
	}
	keys, _, _ := readKeys(jwks) // it was valid under the rules at the time
	return keys
}

// HoldsPrivateKey reports whether a JWK set contains a private or symmetric key, which must not be shown.
func HoldsPrivateKey(jwks string) bool {
	if strings.Contains(jwks, "PRIVATE KEY") { // PEM
		return true
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	raw := []byte(jwks)
	_ = json.Unmarshal(raw, &set)                                                      // a wrong set is refused elsewhere
	return slices.ContainsFunc(append(set.Keys, raw), func(one json.RawMessage) bool { // or it is a single key
		var key map[string]json.RawMessage
		_ = json.Unmarshal(one, &key)
		for _, name := range jwt.PrivateMembers {
			if _, ok := key[name]; ok {
				return true
			}
		}
		return string(key["kty"]) == `"oct"`
	})
}

// readKeys reads a JWK set as it was sent. canonical is the set with only the public members of its keys. why says what
// is wrong, as words to follow the name of the field.
func readKeys(jwks string) (keys []ClientKey, canonical string, why locale.Text) {
	notASet := locale.New(`is not a JWK set; send a JSON object such as {"keys": […]}, without duplicate names (RFC ` +
		"7517, section 5)")
	switch {
	case len(jwks) > maxJWKS:
		return nil, "", locale.New("is larger than 16 KiB; send only keys that are in use")
	case HoldsPrivateKey(jwks):
		return nil, "", locale.New("contains a private or symmetric key, which counts as leaked now; create a new key " +
			"pair, and send only the public key")
	case !strings.HasPrefix(jwks, "{") || input.NestedDeeper(jwks, maxKeyNested):
		return nil, "", notASet
	}
	parsed, skipped, err := jwt.ParseKeys([]byte(jwks))
	switch {
	case err != nil:
		return nil, "", notASet
	case len(skipped) > 0:
		return nil, "", locale.New("cannot be used, because %s", skipped[0])
	case len(parsed) == 0:
		return nil, "", locale.New("has no key; send at least one")
	}
	var out strings.Builder
	out.WriteString(`{"keys":[`)
	ids := map[string]bool{}
	for i, k := range parsed {
		at := "keys[" + strconv.Itoa(i) + "]"
		switch {
		case k.KeyID == "" && len(parsed) > 1:
			return nil, "", locale.New("has several keys, and %s has no kid; give each its own", at)
		case ids[k.KeyID]:
			return nil, "", locale.New("has two keys with the kid %s; give each its own", input.Quote(k.KeyID))
		case len(k.KeyID) > maxKeyID || strings.ContainsFunc(k.KeyID, func(c rune) bool { return c <= ' ' || c > '~' }):
			return nil, "", locale.New("has a kid, of %s, that is longer than %d characters or contains others than visible "+
				"ASCII characters; change it", at, maxKeyID)
		}
		ids[k.KeyID] = true
		key := ClientKey{KeyID: k.KeyID, Algorithm: k.Algorithm, Algorithms: texts(jwt.ClientAlgorithmsOf(k))}
		if len(key.Algorithms) == 0 {
			return nil, "", locale.New("has a key, %s, that fits none of the supported algorithms; use a key for %s", at,
				input.Either(AuthAlgorithms))
		}
		k.Certificates, k.CertificatesURL = nil, nil
		k.CertificateThumbprintSHA1, k.CertificateThumbprintSHA256 = nil, nil
		text, err := k.MarshalJSON()
		thumbprint, failed := k.Thumbprint(crypto.SHA256)
		if err != nil || failed != nil {
			return nil, "", notASet
		}
		key.Thumbprint = base64.RawURLEncoding.EncodeToString(thumbprint)
		keys = append(keys, key)
		if i > 0 {
			out.WriteByte(',')
		}
		out.Write(text)
	}
	out.WriteString("]}")
	return keys, out.String(), locale.Text{}
}

// checkKeys checks jwks and jwks_uri, and replaces jwks by its canonical form. It returns the keys in it.
func (c *clientRules) checkKeys(p *ClientSpec, all *input.Faults) []ClientKey {
	p.JWKS = strings.TrimSpace(p.JWKS)
	if p.JWKS != "" && p.JWKSURI != "" {
		all.Add("jwks_uri", "cannot be combined with jwks (RFC 7591, section 2); send one of them, and remove the other")
	}
	if p.JWKS == "" {
		return nil
	}
	keys, canonical, why := readKeys(p.JWKS)
	if !why.IsZero() {
		*all = append(*all, &input.Invalid{Field: "jwks", Message: why})
		return nil
	}
	p.JWKS = canonical
	return keys
}

// keysForAudit names the keys of a stored JWK set.
func keysForAudit(jwks string) string {
	var names []string
	for i, k := range ClientKeys(jwks) {
		if i == auditedKeys {
			names = append(names, "…")
			break
		}
		names = append(names, k.Name())
	}
	return strings.Join(names, ", ")
}
