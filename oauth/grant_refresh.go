package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/limit"
	"doorward/storage"
)

// refreshGrant is the refresh token grant (RFC 6749, section 6), with rotation (RFC 9700, section 4.14.2).
var refreshGrant = grant{
	GrantRule: management.GrantRule{Name: GrantRefreshToken, Implied: true, With: GrantAuthorizationCode},
	handlers: func(cfg fositeConfig, store adapter, strategy tokenStrategy) handlers {
		return handlers{token: fosite.TokenEndpointHandlers{&oauth2.RefreshTokenGrantHandler{
			AccessTokenStrategy: strategy, RefreshTokenStrategy: strategy, TokenRevocationStorage: store, Config: cfg,
		}}}
	},
	prepare: func(_ *Server, x *exchange) error {
		if x.presented = x.form.Get("refresh_token"); x.presented == "" {
			return badRequest("refresh_token is missing.")
		}
		return nil
	},
	finish: func(_ *Server, x *exchange) error {
		if err := x.sameResource(); err != nil {
			return err
		}
		return x.fewerScopes()
	},
	reserve: (*Server).reserveRefresh,
	use:     (*Server).useRefreshToken,
}

// refreshesOfGrant bounds, on each node, the rows that one grant can add to the database. It is far above what any app
// needs. It does not apply if TokenLimits.ClientRequests is zero.
var refreshesOfGrant = limit.Rule{Count: 600, Per: time.Hour}

// reserveRefresh counts a refresh of a grant.
func (s *Server) reserveRefresh(_ context.Context, x *exchange) (release func(), err error) {
	none := func() {}
	if s.tokens.ClientRequests <= 0 {
		return none, nil
	}
	if ok, wait := s.refreshes.Take(x.grant.ID); !ok {
		return none, &Error{
			Code:       TemporarilyUnavailable,
			Status:     http.StatusTooManyRequests,
			RetryAfter: wait,
			Description: "This grant was refreshed too often; use each access token until it expires, and " +
				"retry after the delay in the Retry-After header.",
			Cause: fmt.Errorf("more than %d refreshes of one grant an hour", refreshesOfGrant.Count),
		}
	}
	return none, nil
}

// fewerScopes narrows the access token to the requested scopes.
func (x *exchange) fewerScopes() error {
	requested := slices.DeleteFunc(scopeNames(x.form.Get("scope")), func(name string) bool {
		return name == management.ScopeOffline && !slices.Contains(x.grant.Scopes, name) // it has no effect
	})
	if len(requested) == 0 {
		return nil
	}
	// RFC 6749, section 6: the access token may have fewer scopes, never more; the refresh token keeps all that were
	// granted.
	var narrowed []string
	for _, name := range requested {
		if !slices.Contains(x.grant.Scopes, name) {
			return &Error{
				Code:        InvalidScope,
				Description: "A requested scope exceeds the scope originally granted; start a new authorization for it.",
			}
		}
		if slices.Contains(x.scopes, name) && !slices.Contains(narrowed, name) {
			narrowed = append(narrowed, name)
		}
	}
	if len(narrowed) == 0 {
		return &Error{
			Code:        InvalidScope,
			Description: "The grant has lost all of the requested permissions; start a new authorization.",
		}
	}
	x.scopes = narrowed
	return nil
}

// CreateRefreshTokenSession implements oauth2.RefreshTokenStorage.
func (a adapter) CreateRefreshTokenSession(ctx context.Context, signature, _ string, _ fosite.Requester) error {
	x, _ := exchangeOf(ctx)
	now := a.store.Now()
	return a.store.InsertRefreshToken(ctx, storage.RefreshToken{
		Digest: []byte(
			signature,
		),
		GrantID:   x.grant.ID,
		CreatedAt: now,
		ExpiresAt: a.lifetimes.refreshUntil(&x.grant, now),
		DPoPKey:   x.refreshKey(),
	})
}

// refreshUntil is when a refresh token that is issued or used now expires.
func (l *Lifetimes) refreshUntil(g *storage.Grant, now storage.Time) storage.Time {
	return min(now.Add(l.Refresh), g.ExpiresAt)
}

// refreshKey returns the thumbprint of the key that the refresh token is bound to; empty: none. That of a confidential
// client is bound to its authentication, so that it may change its key (RFC 9449, section 5).
func (x *exchange) refreshKey() string {
	if !x.client.Public {
		return ""
	}
	return x.dpopKey()
}

// GetRefreshTokenSession implements oauth2.RefreshTokenStorage. For a token that was used before the reuse window it
// returns fosite.ErrInactiveToken, upon which fosite revokes the grant. Any other invalid token revokes nothing.
func (a adapter) GetRefreshTokenSession(
	ctx context.Context, signature string, _ fosite.Session,
) (fosite.Requester, error) {
	x, _ := exchangeOf(ctx)
	if signature == "" {
		x.setCause("the value of refresh_token does not have the form of this server's refresh tokens")
		return nil, fosite.ErrNotFound
	}
	b, err := a.store.RefreshTokenByDigest(ctx, []byte(signature))
	if errors.Is(err, storage.ErrNotFound) {
		x.setCause("the refresh token is unknown: it was never issued, or was deleted after it ended")
		return nil, fosite.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	// As with codes, another client's token counts as unknown.
	if b.Grant.ClientID != x.client.ID || !b.Grant.RevokedAt.IsZero() {
		x.setCause(
			"the grant %s of the refresh token was revoked at %s", b.Grant.ID,
			b.Grant.RevokedAt.Time().UTC().Format(time.RFC3339),
		)
		if b.Grant.ClientID != x.client.ID {
			x.setCause("the refresh token was issued to another client, %s", b.Grant.ClientID)
		}
		return nil, fosite.ErrNotFound
	}
	x.grant = b.Grant
	now := a.store.Now()
	if a.lifetimes.reused(b.Refresh, now) {
		x.setCause(
			"the refresh token was used before, at %s; its grant %s is revoked",
			b.Refresh.UsedAt.Time().UTC().Format(time.RFC3339), b.Grant.ID,
		)
		return x.requester(nil), fosite.ErrInactiveToken
	}
	if b.Refresh.Uses > storage.MaxRefreshRepeats || b.Refresh.ExpiresAt <= now || b.Grant.ExpiresAt <= now ||
		b.UserDisabled || b.WorkspaceDisabled || b.Role == "" {
		switch {
		case b.UserDisabled:
			x.setCause("the user of the refresh token is disabled")
		case b.WorkspaceDisabled:
			x.setCause("the workspace of the refresh token is disabled")
		case b.Role == "":
			x.setCause("the user of the refresh token left the workspace")
		case b.Refresh.Uses > storage.MaxRefreshRepeats:
			x.setCause(
				"the refresh token was repeated more than %d times within the reuse window", storage.MaxRefreshRepeats,
			)
		default:
			x.setCause(
				"the refresh token expired at %s",
				min(b.Refresh.ExpiresAt, b.Grant.ExpiresAt).Time().UTC().Format(time.RFC3339),
			)
		}
		return nil, fosite.ErrNotFound
	}
	if err := a.narrow(x, b.Role); err != nil {
		return nil, err
	}
	x.refresh, x.workspace, x.role = &b, storage.Workspace{ID: b.WorkspaceID, Slug: b.WorkspaceSlug}, b.Role
	return x.requester(x.scopes), nil
}

// reused reports whether a refresh token was used longer ago than the reuse window, which is for retries. Without a
// window every earlier use counts, even one that lies in the future of a node whose clock is behind.
func (l *Lifetimes) reused(t storage.RefreshToken, now storage.Time) bool {
	window := l.RefreshReuseWindow
	return !t.UsedAt.IsZero() && (window <= 0 || t.UsedAt <= now.Add(-window))
}

// useRefreshToken marks the presented token as used, by the one write that decides which request refreshes, and finds
// its successor. For a repeated token that is the successor of the first use, which may be derived from a secret that
// is not the first in this node's list. It is looked up after the write, when the first request has committed, so that
// two nodes with their secrets in different orders give the same successor.
//
// The refresh token of a client that follows the FAPI 2.0 Security Profile does not rotate: the profile forbids it
// (section 5.3.2.1), since a client that authenticates with a key gains nothing by it, and loses its access if an answer
// is lost. Its idle time starts again.
func (s *Server) useRefreshToken(ctx context.Context, x *exchange) error {
	if x.client.FAPI {
		x.successor = x.presented
		until := s.lifetimes.refreshUntil(&x.grant, s.store.Now())
		err := s.store.ExtendRefreshToken(ctx, x.refresh.Refresh.Digest, until)
		if errors.Is(err, storage.ErrConsumed) {
			return errRaced
		}
		return err
	}
	err := s.store.UseRefreshToken(ctx, x.refresh.Refresh.Digest, s.lifetimes.RefreshReuseWindow)
	if errors.Is(err, storage.ErrConsumed) {
		return errRaced
	}
	if err != nil {
		return err
	}
	var candidates []string
	for _, random := range s.secrets.Successors(x.presented) {
		candidates = append(candidates, apikey.SecretOf(bearer.PrefixRefreshToken, random))
	}
	repeated := x.refresh.Refresh.Uses > 0
	x.successor = candidates[0]
	if !repeated && len(candidates) == 1 {
		return nil
	}
	for _, text := range candidates {
		_, err := s.store.RefreshTokenByDigest(ctx, storage.Digest(text))
		if err == nil {
			x.successor = text
			return nil
		}
		if !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	if repeated {
		return badGrant(
			errors.New("the successor was derived from a secret that was removed; another successor would fork the grant"),
		)
	}
	return nil
}

// DeleteRefreshTokenSession implements oauth2.RefreshTokenStorage. Fosite calls it on reuse, before it revokes the
// grant; the row stays, as evidence.
func (adapter) DeleteRefreshTokenSession(context.Context, string) error { return nil }

// RotateRefreshToken implements oauth2.RefreshTokenStorage. Fosite calls it after it has generated the successor, too
// late to choose one: useRefreshToken has done the work.
func (adapter) RotateRefreshToken(context.Context, string, string) error { return nil }
