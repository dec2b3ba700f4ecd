package demo

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
)

// idTokenSigner signs ID tokens with RS256, the one algorithm that each OpenID Connect provider must have (OpenID
// Connect Discovery, section 3).
type idTokenSigner struct {
	key *rsa.PrivateKey
	id  string
}

// newIDTokenSigner returns a signer with a new key of the smallest size that RS256 allows (RFC 7518, section 3.3). The
// key lasts as long as the demo.
func newIDTokenSigner() (*idTokenSigner, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return &idTokenSigner{key: key, id: rand.Text()}, nil
}

// jwk is the public key (RFC 7517; RFC 7518, section 6.3.1).
func (s *idTokenSigner) jwk() map[string]string {
	return map[string]string{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": s.id,
		"n": base64.RawURLEncoding.EncodeToString(s.key.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(s.key.E)).Bytes()),
	}
}

// sign returns a JWT in compact form (RFC 7515, section 5.1).
func (s *idTokenSigner) sign(claims map[string]any) (string, error) {
	header, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": s.id})
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(nil, s.key, crypto.SHA256, digest[:])
	if err != nil {
		return "", err
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
