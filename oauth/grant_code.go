package oauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/pkce"

	"doorward/management"
	"doorward/storage"
)

// codeGrant is the authorization code grant with PKCE (RFC 6749, section 4.1; RFC 7636).
var codeGrant = grant{
	GrantRule: management.GrantRule{Name: GrantAuthorizationCode, Implied: true, RedirectURI: true, ForPeople: true},
	handlers: func(cfg fositeConfig, store adapter, strategy tokenStrategy) handlers {
		code := &oauth2.AuthorizeExplicitGrantHandler{
			AccessTokenStrategy: strategy, RefreshTokenStrategy: strategy, AuthorizeCodeStrategy: strategy,
			CoreStorage: store, TokenRevocationStorage: store, Config: cfg,
		}
		proof := &pkce.Handler{AuthorizeCodeStrategy: strategy, Storage: store, Config: cfg}
		// The order matters: the second handler checks the proof against the code that the first one found.
		return handlers{fosite.AuthorizeEndpointHandlers{code, proof}, fosite.TokenEndpointHandlers{code, proof}}
	},
	prepare: func(_ *Server, x *exchange) error {
		if x.presented = x.form.Get("code"); x.presented == "" {
			return badRequest("code is missing.")
		}
		return nil
	},
	finish: func(_ *Server, x *exchange) error { return x.sameResource() },
}

// CreateAuthorizeCodeSession implements oauth2.AuthorizeCodeStorage: it stores the grant and its code, with the
// challenge.
func (a adapter) CreateAuthorizeCodeSession(ctx context.Context, signature string, _ fosite.Requester) error {
	x, _ := exchangeOf(ctx)
	return a.store.InsertGrant(ctx, x.grant, storage.Code{
		Digest: []byte(
			signature,
		),
		RedirectURI: x.redirect,
		Challenge:   x.challenge,
		DPoPKey:     x.dpopKeyOf,
		ExpiresAt:   x.grant.CreatedAt.Add(a.lifetimes.ofCode(&x.client)),
	})
}

// maxFAPICode is how long a code may be valid (FAPI 2.0 Security Profile, section 5.3.2.1).
const maxFAPICode = 60 * time.Second

// ofCode returns how long a code for a client is valid.
func (l *Lifetimes) ofCode(c *storage.Client) time.Duration {
	if c.FAPI {
		return min(l.Code, maxFAPICode)
	}
	return l.Code
}

// GetAuthorizeCodeSession implements oauth2.AuthorizeCodeStorage. Fosite calls it twice in an exchange; the second call
// returns what the first one found.
func (a adapter) GetAuthorizeCodeSession(
	ctx context.Context, signature string, _ fosite.Session,
) (fosite.Requester, error) {
	x, _ := exchangeOf(ctx)
	if x.code == nil {
		if signature == "" {
			x.setCause("the value of code does not have the form of this server's authorization codes")
			return nil, fosite.ErrNotFound
		}
		c, err := a.store.CodeByDigest(ctx, []byte(signature))
		if errors.Is(err, storage.ErrNotFound) {
			x.setCause("the code is unknown: it was never issued, or was deleted after it ended")
			return nil, fosite.ErrNotFound
		}
		if err != nil {
			return nil, err
		}
		// Check this first: another client's code counts as unknown, so that a client that finds a used code in a log cannot
		// have the owner's grant revoked.
		if c.Grant.ClientID != x.client.ID {
			x.setCause("the code was issued to another client, %s", c.Grant.ClientID)
			return nil, fosite.ErrNotFound
		}
		x.grant = c.Grant
		if !c.UsedAt.IsZero() {
			x.setCause(
				"the code was used before, at %s; its grant %s is revoked", c.UsedAt.Time().UTC().Format(time.RFC3339),
				c.Grant.ID,
			)
			return x.requester(nil), fosite.ErrInvalidatedAuthorizeCode
		}
		if c.ExpiresAt <= a.store.Now() || !c.Grant.RevokedAt.IsZero() || c.UserDisabled || c.Role == "" {
			switch {
			case !c.Grant.RevokedAt.IsZero():
				x.setCause("the grant %s of the code was revoked: %s", c.Grant.ID, c.Grant.RevokedReason)
			case c.UserDisabled:
				x.setCause("the user of the code, or the workspace, is disabled")
			case c.Role == "":
				x.setCause("the user of the code left the workspace")
			default:
				x.setCause("the code expired at %s", c.ExpiresAt.Time().UTC().Format(time.RFC3339))
			}
			return nil, fosite.ErrNotFound
		}
		if err := a.narrow(x, c.Role); err != nil {
			return nil, err
		}
		x.code, x.workspace, x.role = &c, storage.Workspace{ID: c.Grant.WorkspaceID, Slug: c.WorkspaceSlug}, c.Role
	}
	r := x.requester(x.scopes)
	if sent := x.form.Get("redirect_uri"); sent != "" {
		// RFC 6749, section 4.1.3 requires redirect_uri; OAuth 2.1 does not, since PKCE does its work. It is compared if
		// sent.
		r.(*fosite.Request).Form.Set("redirect_uri", x.code.RedirectURI)
	}
	return r, nil
}

// InvalidateAuthorizeCodeSession implements oauth2.AuthorizeCodeStorage. This write decides which request redeems the
// code.
func (a adapter) InvalidateAuthorizeCodeSession(ctx context.Context, signature string) error {
	err := a.store.ConsumeCode(ctx, []byte(signature))
	if errors.Is(err, storage.ErrConsumed) {
		return errRaced
	}
	return err
}

// CreatePKCERequestSession implements pkce.PKCERequestStorage; the code's row already has the challenge.
func (adapter) CreatePKCERequestSession(context.Context, string, fosite.Requester) error { return nil }

// GetPKCERequestSession implements pkce.PKCERequestStorage from the code's row.
func (a adapter) GetPKCERequestSession(ctx context.Context, _ string, _ fosite.Session) (fosite.Requester, error) {
	x, _ := exchangeOf(ctx)
	if x.code == nil || x.code.Challenge == "" {
		return nil, fosite.ErrNotFound
	}
	r := x.requester(x.scopes).(*fosite.Request)
	r.Form.Set("code_challenge", x.code.Challenge)
	r.Form.Set("code_challenge_method", "S256")
	return r, nil
}

// DeletePKCERequestSession implements pkce.PKCERequestStorage. Fosite calls it before it has checked the verifier;
// the challenge stays, so that a second attempt without a verifier finds it.
func (adapter) DeletePKCERequestSession(context.Context, string) error { return nil }

// burnCode consumes the code of a refused exchange if its verifier was wrong or missing: a code that is sent without
// its proof was stolen, or is of no use to its sender (RFC 9700, section 2.1.1).
func (s *Server) burnCode(ctx context.Context, x *exchange, cause error) error {
	var f *fosite.RFC6749Error
	if x.code == nil || !errors.As(cause, &f) || asError(cause).Code == TemporarilyUnavailable {
		return cause
	}
	if sent := x.form.Get("redirect_uri"); sent != "" && sent != x.code.RedirectURI {
		return &Error{
			Code:        InvalidGrant,
			Description: "redirect_uri does not match the authorization request; send the same value or omit it.",
			Cause: fmt.Errorf(
				"redirect_uri %s differs from that of the authorization request, %s", quotedURI(sent),
				quotedURI(x.code.RedirectURI),
			),
		}
	}
	err := s.spending(ctx, x.once, func(ctx context.Context) error {
		if err := s.store.ConsumeCode(ctx, x.code.Digest); err != nil && !errors.Is(err, storage.ErrConsumed) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	why := errors.New("code_verifier does not match the code_challenge; the code is consumed")
	switch verifier := x.form.Get("code_verifier"); {
	case verifier == "":
		why = errors.New("code_verifier is missing; the code is consumed")
	case x.code.Challenge == "":
		why = errors.New("code_verifier was sent for a code that was issued without code_challenge; the code is consumed")
	case len(verifier) < 43 || len(verifier) > 128:
		why = fmt.Errorf("code_verifier has %d characters instead of 43 to 128; the code is consumed", len(verifier))
	}
	return &Error{
		Code: InvalidGrant,
		Description: "code_verifier does not match the code_challenge, or is missing. The code is consumed; start a new " +
			"authorization.",
		Cause: why,
	}
}
