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

// refreshesOfGrant bounds what one grant can add to the database, on each node. It is far above what any program needs.
// Without TokenLimits.ClientRequests it does not count.
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
			Description: "This grant was refreshed too often; use each access token until it expires, and wait as " +
				"Retry-After says.",
			Cause: fmt.Errorf("more than %d refreshes of one grant an hour", refreshesOfGrant.Count),
		}
	}
	return none, nil
}

// fewerScopes narrows the access token to the scopes that the request asks for.
func (x *exchange) fewerScopes() error {
	asked := scopeNames(x.form.Get("scope"))
	if len(asked) == 0 {
		return nil
	}
	// RFC 6749, section 6: fewer for the access token, never more; the refresh token keeps what was granted.
	var narrowed []string
	for _, name := range asked {
		if !slices.Contains(x.grant.Scopes, name) {
			return &Error{
				Code:        InvalidScope,
				Description: "A scope goes beyond what was granted; start a new authorization for it.",
			}
		}
		if slices.Contains(x.scopes, name) && !slices.Contains(narrowed, name) {
			narrowed = append(narrowed, name)
		}
	}
	if len(narrowed) == 0 {
		return &Error{
			Code:        InvalidScope,
			Description: "The grant has none of the requested permissions any more; start a new authorization.",
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
		ExpiresAt: min(now.Add(a.lifetimes.Refresh), x.grant.ExpiresAt),
	})
}

// GetRefreshTokenSession implements oauth2.RefreshTokenStorage. A token that was used long enough ago is
// fosite.ErrInactiveToken, on which fosite has the family revoked; everything else that is wrong with a token ends
// nothing.
func (a adapter) GetRefreshTokenSession(
	ctx context.Context, signature string, _ fosite.Session,
) (fosite.Requester, error) {
	x, _ := exchangeOf(ctx)
	if signature == "" {
		x.because("what was sent as the refresh token is not a refresh token of this server")
		return nil, fosite.ErrNotFound
	}
	b, err := a.store.RefreshTokenByDigest(ctx, []byte(signature))
	if errors.Is(err, storage.ErrNotFound) {
		x.because("the refresh token is unknown: it was never issued, or was deleted after it ended")
		return nil, fosite.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	// As with codes: another client's token is none at all.
	if b.Grant.ClientID != x.client.ID || !b.Grant.RevokedAt.IsZero() {
		x.because(
			"the grant %s of the refresh token was revoked at %s", b.Grant.ID,
			b.Grant.RevokedAt.Time().UTC().Format(time.RFC3339),
		)
		if b.Grant.ClientID != x.client.ID {
			x.because("the refresh token was issued to another client, %s", b.Grant.ClientID)
		}
		return nil, fosite.ErrNotFound
	}
	x.grant = b.Grant
	now := a.store.Now()
	if a.lifetimes.reused(b.Refresh, now) {
		x.because(
			"the refresh token was used before, at %s; its grant %s is revoked",
			b.Refresh.UsedAt.Time().UTC().Format(time.RFC3339), b.Grant.ID,
		)
		return x.requester(nil), fosite.ErrInactiveToken
	}
	if b.Refresh.Uses > storage.MaxRefreshRepeats || b.Refresh.ExpiresAt <= now || b.Grant.ExpiresAt <= now ||
		b.UserDisabled || b.WorkspaceDisabled || b.Role == "" {
		switch {
		case b.UserDisabled:
			x.because("the user of the refresh token is disabled")
		case b.WorkspaceDisabled:
			x.because("the workspace of the refresh token is disabled")
		case b.Role == "":
			x.because("the user of the refresh token left the workspace")
		case b.Refresh.Uses > storage.MaxRefreshRepeats:
			x.because(
				"the refresh token was repeated more than %d times within the reuse window", storage.MaxRefreshRepeats,
			)
		default:
			x.because(
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

// reused reports whether a refresh token was used longer ago than honest retries take. Without a window any use is,
// also one in the future of a node whose clock is behind.
func (l *Lifetimes) reused(t storage.RefreshToken, now storage.Time) bool {
	window := l.RefreshReuseWindow
	return !t.UsedAt.IsZero() && (window <= 0 || t.UsedAt <= now.Add(-window))
}

// useRefreshToken uses the token shown, by the one write that decides who refreshes, and finds what follows it. After a
// first use that is what this use made, perhaps under a secret that is no longer the first here, or not yet. It looks
// after the write: by then the request that came first has committed, so that two nodes with their secrets in different
// orders give the same successor.
func (s *Server) useRefreshToken(ctx context.Context, x *exchange) error {
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
			errors.New("the successor was derived under a secret that is gone; another one would fork the family"),
		)
	}
	return nil
}

// DeleteRefreshTokenSession implements oauth2.RefreshTokenStorage. Fosite calls it on reuse, before it revokes the
// family; the row stays, as the proof.
func (adapter) DeleteRefreshTokenSession(context.Context, string) error { return nil }

// RotateRefreshToken implements oauth2.RefreshTokenStorage. Fosite calls it once the successor is made, which is too
// late to choose it: useRefreshToken has done its work.
func (adapter) RotateRefreshToken(context.Context, string, string) error { return nil }
