package bearer

import (
	"context"
	"errors"

	"doorward/storage"
)

// FindToken finds a token of this server and the client that it was issued to; owner is "" if the token is unknown. The
// prefix determines the kind; token_type_hint is ignored.
func (v *Verifier) FindToken(ctx context.Context, token string) (b storage.Bearer, owner string, err error) {
	if digest := DigestOf(PrefixAccessToken, token); digest != "" {
		b, err = v.store.AccessTokenByDigest(ctx, []byte(digest))
		owner = b.Access.ClientID
	} else if digest := DigestOf(PrefixRefreshToken, token); digest != "" {
		b, err = v.store.RefreshTokenByDigest(ctx, []byte(digest))
		owner = b.Grant.ClientID
	} else if t, e := parseJWT(token); e == nil && t.issuer == v.issuer {
		var claims ownClaims
		if claims, err = v.keyring.verify(ctx, t); err == nil {
			b, err = v.store.AccessTokenByDigest(ctx, storage.Digest(claims.ID))
			owner = b.Access.ClientID
		}
	}
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, ErrUnknown) {
		return storage.Bearer{}, "", nil
	}
	return b, owner, err
}
