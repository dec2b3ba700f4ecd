package oauth

import (
	"net/http"
	"net/url"
	"strings"

	"doorward/storage"
)

// Revoke serves POST /oauth/revoke (RFC 7009). Any token of a family ends the family.
func (s *Server) Revoke(w http.ResponseWriter, r *http.Request) {
	form, err := readBody(w, r)
	s.allowOrigin(w, r, form)
	if err == nil {
		err = s.revoke(r, form)
	}
	if err != nil {
		writeError(w, r, err)
		return
	}
	// RFC 7009 section 2.2: 200 also for a token that is unknown or somebody else's, and nothing in the body counts.
	writeJSON(w, http.StatusOK, struct{}{})
}

func (s *Server) revoke(r *http.Request, form url.Values) error {
	ctx := storage.System(r.Context())
	client, err := s.authenticate(ctx, r, form)
	if err != nil {
		return err
	}
	token := form.Get("token")
	if token == "" {
		return badRequest("token is missing.")
	}
	// The prefix tells the kind, whatever token_type_hint says.
	var b storage.Bearer
	var owner string
	switch {
	case strings.HasPrefix(token, PrefixAccessToken):
		digest := digestOf(PrefixAccessToken, token)
		if digest == "" {
			return nil
		}
		if b, err = s.store.AccessTokenByDigest(ctx, []byte(digest)); err != nil {
			return ignoreUnknown(err)
		}
		owner = b.Access.ClientID
	case strings.HasPrefix(token, PrefixRefreshToken):
		digest := digestOf(PrefixRefreshToken, token)
		if digest == "" {
			return nil
		}
		if b, err = s.store.RefreshTokenByDigest(ctx, []byte(digest)); err != nil {
			return ignoreUnknown(err)
		}
		owner = b.Grant.ClientID
	default:
		return nil
	}
	if owner != client.ID {
		return nil
	}
	if b.Grant.ID != "" {
		return s.store.RevokeGrant(ctx, b.Grant.ID, storage.RevokedByClient) //nolint:wrapcheck // storage's own sentinels
	}
	return s.store.RevokeAccessToken(ctx, b.Access.Digest) //nolint:wrapcheck // storage's own sentinels
}

func ignoreUnknown(err error) error {
	if unknownOr(err) == ErrUnknown { //nolint:errorlint // it returns that very value
		return nil
	}
	return err
}
