package oauth

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"doorward/oauth/apikey"
	"doorward/storage"
)

// Revoke serves POST /oauth/revoke (RFC 7009). Any token of a grant revokes the whole grant. The holder of an API key
// or personal access token may revoke it without client authentication.
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
	// RFC 7009, section 2.2: a token that is unknown or another client's also gets 200, and clients ignore the body.
	writeJSON(w, http.StatusOK, struct{}{})
}

func (s *Server) revoke(r *http.Request, form url.Values) error {
	ctx := storage.System(r.Context())
	token := form.Get("token")
	key := apikey.PrefixOf(token) != ""
	var client authenticated
	// A key is proof enough, but credentials that are sent with it must be right.
	if !key || len(r.Header.Values("Authorization")) > 0 || form.Has("client_id") || form.Has("client_assertion") {
		var err error
		if client, err = s.authenticate(ctx, r, form); err != nil {
			return err
		}
	}
	o := &once{assertion: client.assertion}
	return s.spendRefused(ctx, o, s.revokeShown(ctx, token, key, &client.Client, o))
}

// revokeShown revokes the credential that a client, or the holder of a key, shows.
func (s *Server) revokeShown(ctx context.Context, token string, key bool, client *storage.Client, o *once) error {
	switch {
	case key:
		return s.spending(ctx, o, func(ctx context.Context) error { return s.management.RevokeBySecret(ctx, token) })
	case token == "":
		return badRequest("token is missing.")
	}
	begin := time.Now()
	b, owner, err := s.bearer.FindToken(ctx, token)
	if err != nil {
		return err
	}
	if owner != client.ID {
		delayNegative(ctx, begin)
		return s.spend(ctx, o)
	}
	return s.spending(ctx, o, func(ctx context.Context) error {
		if b.Grant.ID != "" {
			return s.store.RevokeGrant(ctx, b.Grant.ID, storage.RevokedByClient)
		}
		ended, err := s.store.RevokeAccessToken(ctx, b.Access.Digest)
		if err != nil || !ended {
			return err
		}
		return s.store.Audit(
			ctx, storage.AuditEvent{Action: "app.token_revoked", WorkspaceID: client.WorkspaceID, Target: client.ID},
			"",
		)
	})
}
