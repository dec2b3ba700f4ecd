package oauth

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/ory/fosite"
)

// fositeConfig is fosite's configuration. Its methods are those that depend on the request.
type fositeConfig struct {
	*fosite.Config
	handlers map[string]fosite.TokenEndpointHandlers // by grant type
}

// GetTokenEndpointHandlers implements fosite.TokenEndpointHandlersProvider. It returns only the handlers of the
// request's grant type: each of the others would build an error with a stack trace to say that it is not responsible.
func (c fositeConfig) GetTokenEndpointHandlers(ctx context.Context) fosite.TokenEndpointHandlers {
	x, ok := exchangeOf(ctx)
	if !ok {
		return nil
	}
	return c.handlers[x.form.Get("grant_type")]
}

// GetEnforcePKCE implements fosite.EnforcePKCEProvider: every client needs PKCE, unless an administrator made it
// optional. The authorization endpoint has applied the same rule; here it guards against a change between the two.
func (c fositeConfig) GetEnforcePKCE(ctx context.Context) bool {
	x, ok := exchangeOf(ctx)
	return !ok || !x.client.PKCEOptional || x.client.Public
}

func (s *Server) newFosite() *fosite.Fosite {
	// Set every strategy: fosite would set a missing one during a request, without a lock.
	cfg := fositeConfig{handlers: map[string]fosite.TokenEndpointHandlers{}, Config: &fosite.Config{
		AccessTokenLifespan:            s.lifetimes.Access,
		RefreshTokenLifespan:           s.lifetimes.Refresh,
		AuthorizeCodeLifespan:          s.lifetimes.Code,
		EnforcePKCE:                    true,
		EnablePKCEPlainChallengeMethod: false,
		RefreshTokenScopes:             []string{}, // the client's grant types decide
		ScopeStrategy:                  fosite.ExactScopeStrategy,
		AudienceMatchingStrategy:       fosite.ExactAudienceMatchingStrategy,
		OmitRedirectScopeParam:         true,
		MinParameterEntropy:            1, // fosite sees stateMarker; redirectTo returns the real state
		AccessTokenIssuer:              s.issuer,
		TokenURL:                       s.issuer + "/oauth/token",
		ClientSecretsHasher:            noHasher{},
		// Registration and ParseAuthorize have checked the redirect URI.
		RedirectSecureChecker: func(context.Context, *url.URL) bool { return true },
		// Server.token has authenticated the client before fosite sees the request.
		ClientAuthenticationStrategy: func(ctx context.Context, _ *http.Request, _ url.Values) (fosite.Client, error) {
			x, ok := exchangeOf(ctx)
			if !ok {
				return nil, fosite.ErrInvalidClient
			}
			return x.fositeClient(), nil
		},
	}}
	store, strategy := adapter{s, s.store, s.catalog, s.lifetimes}, tokenStrategy{s.store, s.lifetimes}
	for _, g := range grants {
		h := g.handlers(cfg, store, strategy)
		cfg.AuthorizeEndpointHandlers = append(cfg.AuthorizeEndpointHandlers, h.authorize...)
		cfg.handlers[g.Name] = h.token
	}
	return fosite.NewOAuth2Provider(store, cfg)
}

// noHasher keeps fosite from comparing secrets: authenticate does that.
type noHasher struct{}

func (noHasher) Compare(context.Context, []byte, []byte) error { return fosite.ErrInvalidClient }
func (noHasher) Hash(context.Context, []byte) ([]byte, error)  { return nil, fosite.ErrServerError }

// fositeSession implements fosite.Session. Its data is in the exchange. Lifetimes come from the configuration and the
// server's own clock, so the expiries that fosite sets are dropped.
type fositeSession struct{ subject string }

func (*fositeSession) SetExpiresAt(fosite.TokenType, time.Time) {}
func (*fositeSession) GetExpiresAt(fosite.TokenType) time.Time  { return time.Time{} }
func (*fositeSession) GetUsername() string                      { return "" }
func (x *fositeSession) GetSubject() string                     { return x.subject }
func (x *fositeSession) Clone() fosite.Session                  { c := *x; return &c }
