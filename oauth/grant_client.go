package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"

	"doorward/management"
	"doorward/oauth/limit"
	"doorward/storage"
)

// clientGrant is the client credentials grant (RFC 6749, section 4.4).
var clientGrant = grant{
	GrantRule: management.GrantRule{Name: GrantClientCredentials, Secret: true},
	handlers: func(cfg fositeConfig, store adapter, strategy tokenStrategy) handlers {
		return handlers{token: fosite.TokenEndpointHandlers{&oauth2.ClientCredentialsGrantHandler{
			HandleHelper: &oauth2.HandleHelper{
				AccessTokenStrategy: strategy, AccessTokenStorage: store, Config: cfg,
			},
			Config: cfg,
		}}}
	},
	admit:        (*Server).takeOwnRequest,
	prepare:      (*Server).prepareOwnToken,
	reserve:      (*Server).reserveOwnToken,
	oneStatement: true,
}

// takeOwnRequest counts a request of a client for a token of its own, across all nodes.
func (s *Server) takeOwnRequest(ctx context.Context, x *exchange) error {
	if s.tokens.ClientRequests == 0 {
		return nil
	}
	if err := s.unused(ctx, x.once); err != nil {
		return err
	}
	taken, err := s.limiter.Take(ctx, "tokens:"+x.client.ID, 1, limit.Plan{Burst: s.tokens.ClientRequests})
	if err != nil || taken.Allowed {
		return err
	}
	return &Error{
		Code:       TemporarilyUnavailable,
		Status:     http.StatusTooManyRequests,
		RetryAfter: taken.RetryAfter,
		Description: fmt.Sprintf(
			"This client requested more than %d tokens in a minute; use each token until it expires, and "+
				"retry after the delay in the Retry-After header.",
			s.tokens.ClientRequests,
		),
		Cause: errors.New("more token requests a minute than tokens.client_requests allows"),
	}
}

// prepareOwnToken chooses the resource and scopes for a client that acts for itself.
func (s *Server) prepareOwnToken(x *exchange) error {
	r, err := s.resourceFor(x.form.Get("resource"), &x.client)
	if err != nil {
		return err
	}
	x.resource = r
	requested := scopeNames(x.form.Get("scope"))
	if len(requested) == 0 {
		for _, name := range x.client.Scopes {
			if known, ok := r.Scope(name); ok && !known.UserOnly {
				requested = append(requested, name)
			}
		}
	}
	for _, name := range requested {
		known, ok := r.Scope(name)
		if !ok || !x.client.Scopes.Has(name) {
			return &Error{
				Code: InvalidScope,
				Description: "At least one requested scope of this resource is not registered for this client; " +
					"request only those that are.",
			}
		}
		if known.UserOnly {
			return &Error{
				Code: InvalidScope, Description: "A scope is for users only; request it with the authorization code grant.",
			}
		}
		if !slices.Contains(x.scopes, name) {
			x.scopes = append(x.scopes, name)
		}
	}
	if len(x.scopes) == 0 {
		return &Error{
			Code:        InvalidScope,
			Description: "This client has no registered scopes for this resource; register at least one.",
		}
	}
	x.form.Set("scope", strings.Join(x.scopes, " "))
	x.form.Set("audience", r.ID)
	return nil
}

// reserveOwnToken makes sure that the client may have one more active token.
func (s *Server) reserveOwnToken(ctx context.Context, x *exchange) (release func(), err error) {
	none := func() {}
	if s.tokens.ClientLive <= 0 {
		return none, nil
	}
	release, full, err := s.store.ReserveOwnToken(ctx, x.client.ID, int(s.tokens.ClientLive))
	if errors.Is(err, storage.ErrConflict) {
		return none, &Error{
			Code:       TemporarilyUnavailable,
			Status:     http.StatusTooManyRequests,
			RetryAfter: max(full.Sub(s.store.Now()), time.Second),
			Description: fmt.Sprintf(
				"This client has %d active tokens of its own, which is the maximum; use each until it "+
					"expires, or revoke those that are not needed.",
				s.tokens.ClientLive,
			),
			Cause: errors.New("as many live tokens as tokens.client_live allows"),
		}
	}
	if err != nil {
		return none, err
	}
	return release, nil
}
