package bearer

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	josejson "github.com/go-jose/go-jose/v4/json"

	"doorward/oauth/jwt"
	"doorward/storage"
)

// AccessToken holds the claims of a signed access token (RFC 9068, section 2.2), except for iss and jti.
type AccessToken struct {
	Audience    string // id of the resource
	Subject     string // the user, or the client that acts for itself
	ClientID    string
	Scope       string // effective scopes, separated by spaces
	IssuedAt    storage.Time
	ExpiresAt   storage.Time
	AuthTime    storage.Time // zero without a user
	WorkspaceID string       // empty: none; the same holds for the next two
	Workspace   string       // slug
	Role        string
	DPoPKey     string // thumbprint of the key that it is bound to (RFC 9449, section 6.1)
}

// Sign creates a signed access token and its id (jti). The token is stored by the digest of the id.
func (s *Signer) Sign(t AccessToken) (token, id string, err error) {
	c := ownClaims{
		Issuer: s.issuer, Audience: t.Audience, Subject: t.Subject, ClientID: t.ClientID,
		Times: jwt.Times{ExpiresAt: date(t.ExpiresAt), IssuedAt: date(t.IssuedAt)},
		ID:    rand.Text(), Scope: t.Scope, WorkspaceID: t.WorkspaceID, Workspace: t.Workspace, Role: t.Role,
		Credential: KindAccessToken,
	}
	if t.DPoPKey != "" {
		c.Confirmation = &confirmation{t.DPoPKey}
	}
	if !t.AuthTime.IsZero() {
		c.AuthTime = t.AuthTime.Unix()
	}
	payload, err := josejson.Marshal(c)
	if err != nil {
		return "", "", fmt.Errorf("claims of an access token: %w", err)
	}
	signed, err := s.signer.Sign(payload)
	if err != nil {
		return "", "", fmt.Errorf("sign an access token: %w", err)
	}
	token, err = signed.CompactSerialize()
	if err != nil {
		return "", "", fmt.Errorf("sign an access token: %w", err)
	}
	return token, c.ID, nil
}

// ownClaims are the claims of our access tokens (RFC 9068, section 2.2), except for iss. Members of the introspection
// response have the same names here, and the values that they had when the token was issued.
type ownClaims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Subject  string `json:"sub"`
	ClientID string `json:"client_id"`
	jwt.Times
	ID          string `json:"jti"`
	Scope       string `json:"scope"`
	AuthTime    int64  `json:"auth_time,omitempty"`
	WorkspaceID string `json:"workspace_id,omitempty"`
	Workspace   string `json:"workspace,omitempty"`
	Role        string `json:"role,omitempty"`
	Credential  string `json:"credential"`
	// Confirmation is cnf (RFC 7800, section 3.1).
	Confirmation *confirmation `json:"cnf,omitempty"`
}

// confirmation is the value of cnf for a token that is bound to a key (RFC 9449, section 6.1).
type confirmation struct {
	Thumbprint string `json:"jkt"`
}

// verify checks an access token of ours, except for its expiry and its row. It returns ErrUnknown if the JWT is not an
// access token of this server.
func (r *Keyring) verify(ctx context.Context, t *parsedJWT) (ownClaims, error) {
	var c ownClaims
	switch {
	case t.Type != typeAccessToken:
		return c, unknown(
			"the JWT has our iss and the typ %s; an access token has %s", Quoted(t.Type), typeAccessToken,
		)
	case t.Algorithm != jose.ES256:
		return c, unknown(
			"the JWT has our iss and is signed with %s; access tokens are signed with ES256",
			Quoted(string(t.Algorithm)),
		)
	case !storage.IsID(kindSigning, t.KeyID):
		return c, unknown(
			"the JWT has our iss and the kid %s, which is not the form of this server's key ids", Quoted(t.KeyID),
		)
	case len(t.Header) != 3:
		return c, unknown("the JWT has our iss and a header with more members than typ, alg and kid")
	}
	keys, err := r.signingKeys(ctx, nil)
	if err == nil && keys.public[t.KeyID] == nil {
		keys, err = r.signingKeys(ctx, keys) // another node may have just created it
	}
	if err != nil {
		return c, err
	}
	key := keys.public[t.KeyID]
	switch {
	case key == nil:
		return c, unknown(
			"the signing key %s of the JWT does not exist, or was dropped; it may belong to another server or database",
			t.KeyID,
		)
	case !t.SignedBy(key):
		return c, unknown("the signature of the JWT is wrong: the JWT was changed, truncated or forged")
	case josejson.Unmarshal(t.Payload, &c) != nil || c.Issuer != r.issuer || c.ID == "":
		return c, unknown("the claims of the JWT are not those of an access token")
	}
	return c, checkTimes(c.Times, r.store.Now())
}
