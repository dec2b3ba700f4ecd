package oauth

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/ory/fosite"
)

// fositeConfig is fosite's configuration; what depends on the request is answered here.
type fositeConfig struct {
	*fosite.Config
	handlers map[string]fosite.TokenEndpointHandlers // by grant type
}

// GetTokenEndpointHandlers implements fosite.TokenEndpointHandlersProvider with those of the request's grant type
// alone: each other one would say, with a stack trace, that it is not meant.
func (c fositeConfig) GetTokenEndpointHandlers(ctx context.Context) fosite.TokenEndpointHandlers {
	x, ok := exchangeOf(ctx)
	if !ok {
		return nil
	}
	return c.handlers[x.form.Get("grant_type")]
}

// GetEnforcePKCE implements fosite.EnforcePKCEProvider: every client but one that an administrator excepted. The
// authorize endpoint has applied the same rule before; here it guards against a change between the two.
func (c fositeConfig) GetEnforcePKCE(ctx context.Context) bool {
	x, ok := exchangeOf(ctx)
	return !ok || !x.client.PKCEOptional || x.client.Public
}

func (s *Server) newFosite() *fosite.Fosite {
	// Every strategy is set: fosite fills in the others at the time of a request, without a lock.
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
		MinParameterEntropy:            1, // the edge puts a marker into state, and the real one into the answer
		AccessTokenIssuer:              s.issuer,
		TokenURL:                       s.issuer + "/oauth/token",
		ClientSecretsHasher:            noHasher{},
		// Registration and the edge have judged the redirect URI.
		RedirectSecureChecker: func(context.Context, *url.URL) bool { return true },
		// The edge has authenticated the client before fosite sees the request.
		ClientAuthenticationStrategy: func(ctx context.Context, _ *http.Request, _ url.Values) (fosite.Client, error) {
			x, ok := exchangeOf(ctx)
			if !ok {
				return nil, fosite.ErrInvalidClient
			}
			return x.fositeClient(), nil
		},
	}}
	store, strategy := adapter{s.store, s.catalog, s.lifetimes}, tokenStrategy{s.store, s.lifetimes}
	for _, g := range grants {
		h := g.handlers(cfg, store, strategy)
		cfg.AuthorizeEndpointHandlers = append(cfg.AuthorizeEndpointHandlers, h.authorize...)
		cfg.handlers[g.Name] = h.token
	}
	return fosite.NewOAuth2Provider(store, cfg)
}

// noHasher keeps fosite from ever comparing a secret: the edge does that.
type noHasher struct{}

func (noHasher) Compare(context.Context, []byte, []byte) error { return fosite.ErrInvalidClient }
func (noHasher) Hash(context.Context, []byte) ([]byte, error)  { return nil, fosite.ErrServerError }

// fositeSession is what fosite asks of a session. What it would carry is in the unit of work; lifetimes come from
// the configuration and the server's own clock, so that expiries that fosite sets go nowhere.
type fositeSession struct{ subject string }

func (*fositeSession) SetExpiresAt(fosite.TokenType, time.Time) {}
func (*fositeSession) GetExpiresAt(fosite.TokenType) time.Time  { return time.Time{} }
func (*fositeSession) GetUsername() string                      { return "" }
func (x *fositeSession) GetSubject() string                     { return x.subject }
func (x *fositeSession) Clone() fosite.Session                  { c := *x; return &c }
