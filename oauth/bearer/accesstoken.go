package bearer

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	josejson "github.com/go-jose/go-jose/v4/json"

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
}

// Sign creates a signed access token and its id (jti). The token is stored by the digest of the id.
func (s *Signer) Sign(t AccessToken) (token, id string, err error) {
	c := ownClaims{
		Issuer: s.issuer, Audience: t.Audience, Subject: t.Subject, ClientID: t.ClientID,
		times: times{ExpiresAt: numericDate(t.ExpiresAt), IssuedAt: numericDate(t.IssuedAt)},
		ID:    rand.Text(), Scope: t.Scope, WorkspaceID: t.WorkspaceID, Workspace: t.Workspace, Role: t.Role,
		Credential: KindAccessToken,
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
	times
	ID          string `json:"jti"`
	Scope       string `json:"scope"`
	AuthTime    int64  `json:"auth_time,omitempty"`
	WorkspaceID string `json:"workspace_id,omitempty"`
	Workspace   string `json:"workspace,omitempty"`
	Role        string `json:"role,omitempty"`
	Credential  string `json:"credential"`
}

// verify checks an access token of ours, except for its expiry and its row. It returns ErrUnknown if the JWT is not an
// access token of this server.
func (r *Keyring) verify(ctx context.Context, t *parsedJWT) (ownClaims, error) {
	var c ownClaims
	switch {
	case t.typ != typeAccessToken:
		return c, unknown(
			"the JWT has our iss and the typ %s; an access token has %s", Quoted(t.typ), typeAccessToken,
		)
	case t.algorithm != jose.ES256:
		return c, unknown(
			"the JWT has our iss and is signed with %s; access tokens are signed with ES256",
			Quoted(string(t.algorithm)),
		)
	case !storage.IsID(kindSigning, t.kid):
		return c, unknown(
			"the JWT has our iss and the kid %s, which is not the form of this server's key ids", Quoted(t.kid),
		)
	case t.members != 3:
		return c, unknown("the JWT has our iss and a header with more members than typ, alg and kid")
	}
	keys, err := r.signingKeys(ctx, nil)
	if err == nil && keys.public[t.kid] == nil {
		keys, err = r.signingKeys(ctx, keys) // another node may have just created it
	}
	if err != nil {
		return c, err
	}
	key := keys.public[t.kid]
	switch {
	case key == nil:
		return c, unknown(
			"the signing key %s of the JWT does not exist, or was dropped; it may belong to another server or database",
			t.kid,
		)
	case !t.signedBy(key):
		return c, unknown("the signature of the JWT is wrong: the JWT was changed, truncated or forged")
	case josejson.Unmarshal(t.payload, &c) != nil || c.Issuer != r.issuer || c.ID == "":
		return c, unknown("the claims of the JWT are not those of an access token")
	}
	return c, c.check(r.store.Now())
}
