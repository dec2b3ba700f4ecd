package authenticator

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"math/big"

	"github.com/go-webauthn/webauthn/protocol/webauthncbor"
)

// The COSE algorithms of keys.
const (
	es256 = -7
	edDSA = -8
	rs256 = -257
)

// newKey creates a key pair.
func newKey(algorithm int) (crypto.Signer, error) {
	switch algorithm {
	case es256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case rs256:
		return rsa.GenerateKey(rand.Reader, 2048)
	case edDSA:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	default:
		return nil, refuse("NotSupportedError", "the authenticator supports none of the algorithms")
	}
}

// algorithmOf returns the algorithm of a key that newKey created.
func algorithmOf(key crypto.Signer) int {
	switch key.(type) {
	case *ecdsa.PrivateKey:
		return es256
	case *rsa.PrivateKey:
		return rs256
	default:
		return edDSA
	}
}

// sign signs the message as the key's algorithm demands.
func sign(key crypto.Signer, message []byte) ([]byte, error) {
	if algorithmOf(key) == edDSA {
		return key.Sign(rand.Reader, message, crypto.Hash(0))
	}
	hash := sha256.Sum256(message)
	return key.Sign(rand.Reader, hash[:], crypto.SHA256)
}

// encode returns the public key as a COSE_Key and as a SubjectPublicKeyInfo.
func encode(key crypto.PublicKey) (cose, spki []byte, err error) {
	var fields map[int]any
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		point, err := key.Bytes() // 4, x, y
		if err != nil {
			return nil, nil, err
		}
		fields = map[int]any{1: 2, 3: es256, -1: 1, -2: point[1:33], -3: point[33:]}
	case *rsa.PublicKey:
		fields = map[int]any{1: 3, 3: rs256, -1: key.N.Bytes(), -2: big.NewInt(int64(key.E)).Bytes()}
	case ed25519.PublicKey:
		fields = map[int]any{1: 1, 3: edDSA, -1: 6, -2: []byte(key)}
	default:
		return nil, nil, fmt.Errorf("authenticator: no COSE_Key for a %T", key)
	}
	if cose, err = webauthncbor.Marshal(fields); err != nil {
		return nil, nil, err
	}
	spki, err = x509.MarshalPKIXPublicKey(key)
	return cose, spki, err
}
