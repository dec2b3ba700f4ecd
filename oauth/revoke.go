package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"doorward/oauth/apikey"
	"doorward/storage"
)

// Revoke serves POST /oauth/revoke (RFC 7009). Any token of a family ends the family. An API key or personal access
// token may be ended by whoever can show it, with or without client authentication.
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
	token := form.Get("token")
	key := apikey.PrefixOf(token) != ""
	var client storage.Client
	// A key itself is proof enough; but who authenticates must do it right.
	if !key || len(r.Header.Values("Authorization")) > 0 || form.Has("client_id") || form.Has("client_assertion") {
		var err error
		if client, err = s.authenticate(ctx, r, form); err != nil {
			return err
		}
	}
	switch {
	case key:
		return s.RevokeShown(ctx, token)
	case token == "":
		return badRequest("token is missing.")
	}
	begin := time.Now()
	b, owner, err := s.revocable(ctx, token)
	if err != nil {
		return err
	}
	if owner != client.ID {
		quiet(ctx, begin)
		return nil
	}
	if b.Grant.ID != "" {
		return s.store.RevokeGrant(ctx, b.Grant.ID, storage.RevokedByClient)
	}
	return s.store.InTx(ctx, func(ctx context.Context) error {
		ended, err := s.store.RevokeAccessToken(ctx, b.Access.Digest)
		if err != nil || !ended {
			return err
		}
		return s.auditClient(ctx, "token_revoked", &client, nil)
	})
}

// revocable finds a token and the client that it was issued to; no client where the token is unknown. The prefix tells
// the kind, whatever token_type_hint says.
func (s *Server) revocable(ctx context.Context, token string) (b storage.Bearer, owner string, err error) {
	if digest := digestOf(PrefixAccessToken, token); digest != "" {
		b, err = s.store.AccessTokenByDigest(ctx, []byte(digest))
		owner = b.Access.ClientID
	} else if digest := digestOf(PrefixRefreshToken, token); digest != "" {
		b, err = s.store.RefreshTokenByDigest(ctx, []byte(digest))
		owner = b.Grant.ClientID
	} else if t, e := parseJWT(token); e == nil && t.issuer == s.issuer {
		var claims ownClaims
		if claims, err = s.verifyOwn(ctx, t); err == nil {
			b, err = s.store.AccessTokenByDigest(ctx, storage.Digest(claims.ID))
			owner = b.Access.ClientID
		}
	}
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, ErrUnknown) {
		return storage.Bearer{}, "", nil
	}
	return b, owner, err
}
