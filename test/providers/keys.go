package providers

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// keyring has two private keys of each kind, which all stand-ins of a process share, since they take long to make.
var keyring = sync.OnceValue(func() map[string][2]crypto.Signer {
	rings := map[string][2]crypto.Signer{}
	for i := range 2 {
		r, errR := rsa.GenerateKey(rand.Reader, 2048)
		e, errE := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		_, d, errD := ed25519.GenerateKey(rand.Reader)
		if errR != nil || errE != nil || errD != nil {
			panic(fmt.Sprint("make keys: ", errR, errE, errD))
		}
		for algorithm, key := range map[string]crypto.Signer{"RS256": r, "ES256": e, "EdDSA": d} {
			ring := rings[algorithm]
			ring[i] = key
			rings[algorithm] = ring
		}
	}
	return rings
})

// signingKey is the key that signs ID tokens.
type signingKey struct {
	algorithm, kid string
	index          int
}

func newSigningKey(index int) signingKey {
	return signingKey{algorithm: "RS256", kid: rand.Text(), index: index}
}

func (k signingKey) with(algorithm string) signingKey {
	return signingKey{algorithm: algorithm, kid: rand.Text(), index: k.index}
}

// private returns the key, or the one that is not in the key set.
func (k signingKey) private(foreign bool) crypto.Signer {
	i := k.index % 2
	if foreign {
		i = 1 - i
	}
	return keyring()[k.algorithm][i]
}

// set is the key set (RFC 7517, section 5).
func (k signingKey) set() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: k.private(false).Public(), KeyID: k.kid, Algorithm: k.algorithm, Use: "sig"},
	}}
}

// sign returns a JWT in compact form.
func (k signingKey) sign(claims map[string]any, kid string, foreign bool) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(k.algorithm), Key: jose.JSONWebKey{Key: k.private(foreign), KeyID: kid},
	}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// unsecured returns a JWT with alg none (RFC 7519, section 6.1), or one that a secret signs, with HS256.
func unsecured(claims map[string]any, secret string) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	header := `{"alg":"none"}`
	if secret != "" {
		header = `{"alg":"HS256","typ":"JWT"}`
	}
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64([]byte(header)) + "." + b64(payload)
	if secret == "" {
		return signed + ".", nil
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + b64(mac.Sum(nil)), nil
}

// appleKey is the key with which clients of Apple sign their secret.
var appleKey = sync.OnceValue(func() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
})

func appleKeyPEM(t testing.TB) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(appleKey())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
