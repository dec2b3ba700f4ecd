package provider

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// appleSecretLifetime is that of a client secret, which is made for one request. Apple allows six months.
const appleSecretLifetime = 5 * time.Minute

// prepareApple reads the key that signs the client secret.
func (p *Provider) prepareApple(c Config) error {
	if c.ClientSecret != "" {
		return errors.New("apple has team_id, key_id and private_key in place of client_secret; remove it")
	}
	if c.TeamID == "" || c.KeyID == "" || c.PrivateKey == "" {
		return errors.New("apple needs team_id, key_id and private_key; copy them from Apple's developer account")
	}
	// The errors of these functions could show parts of the key.
	block, _ := pem.Decode([]byte(c.PrivateKey))
	if block == nil {
		return errors.New("private_key is not PEM; use the whole .p8 file that Apple offers for download")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || key.Curve != elliptic.P256() {
		return errors.New("private_key is not a PKCS #8 key on the curve P-256; use the .p8 file that Apple offers")
	}
	p.signingKey, p.teamID, p.keyID = key, c.TeamID, c.KeyID
	return nil
}

// secret returns the client secret for one request. Apple's is a JWT that the configured key signs.
func (p *Provider) secret() (string, error) {
	if p.signingKey == nil {
		return p.clientSecret, nil
	}
	key := jose.JSONWebKey{Key: p.signingKey, KeyID: p.keyID}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		return "", fmt.Errorf("sign the client secret: %w", err)
	}
	now := p.now()
	payload, err := json.Marshal(map[string]any{
		"iss": p.teamID, "sub": p.clientID, "aud": p.issuer,
		"iat": now.Unix(), "exp": now.Add(appleSecretLifetime).Unix(),
	})
	if err != nil {
		return "", fmt.Errorf("sign the client secret: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign the client secret: %w", err)
	}
	return signed.CompactSerialize()
}

// appleName returns the name in the parameter user, which Apple sends once, with the first sign-in. Its other member,
// an email address, is not read: the browser could have changed it. Empty: none that can be used.
func appleName(user string) string {
	var sent struct {
		Name struct {
			First string `json:"firstName"`
			Last  string `json:"lastName"`
		} `json:"name"`
	}
	if json.Unmarshal([]byte(user), &sent) != nil {
		return ""
	}
	return plainName(strings.TrimSpace(sent.Name.First) + " " + strings.TrimSpace(sent.Name.Last))
}
