package oauth

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/ory/fosite"
	"github.com/rs/cors"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/oauth/seal"
	"doorward/storage"
)

// TokenLimits bound what clients get at the token endpoint. Zero means no limit.
type TokenLimits struct {
	// ClientRequests are those of one client for itself (client_credentials), in a minute. Zero lifts the bound of
	// refreshes too.
	ClientRequests int64
	ClientLive     int64 // tokens of one client for itself that can be live at once
}

// Lifetimes says how long things live. All must be above zero but RefreshReuseWindow, where zero forbids repeats.
type Lifetimes struct {
	Access             time.Duration // access tokens
	Refresh            time.Duration // a refresh token that is not used
	RefreshAbsolute    time.Duration // a family, however often it is refreshed
	RefreshReuseWindow time.Duration // in which a used refresh token gives the same successor again
	Code               time.Duration // authorization codes
}

// Config is what a Server is made of. Every field is needed but RedirectSchemes.
type Config struct {
	Issuer     string // RFC 8414, section 2; no slash at its end
	Store      *storage.Store
	Secrets    *seal.Secrets
	Catalog    *catalog.Catalog
	Bearer     *bearer.Verifier
	Keyring    *bearer.Keyring
	Management *management.Manager
	// RedirectSchemes are those without a dot that redirect URIs may have; empty: none.
	RedirectSchemes []string
	Lifetimes       Lifetimes
	Tokens          TokenLimits
	Limiter         limit.Limiter
	// ClientAddress tells where a request comes from, behind the proxies that are trusted.
	ClientAddress func(*http.Request) netip.Addr
}

// Server is the authorization server without its pages. Its methods are safe for many goroutines.
type Server struct {
	issuer  string
	store   *storage.Store
	secrets *seal.Secrets
	catalog *catalog.Catalog
	// redirectSchemes are those of Config.
	redirectSchemes []string
	lifetimes       Lifetimes
	tokens          TokenLimits
	refreshes       *limit.Rate
	limiter         limit.Limiter
	address         func(*http.Request) netip.Addr
	clients         *clients
	fosite          *fosite.Fosite
	failures        *limit.Clients
	cors            *cors.Cors
	metadata        []byte
	bearer          *bearer.Verifier
	keyring         *bearer.Keyring
	management      *management.Manager
}

// New makes a Server.
func New(c Config) (*Server, error) {
	s := &Server{
		issuer: c.Issuer, store: c.Store, secrets: c.Secrets, catalog: c.Catalog, redirectSchemes: c.RedirectSchemes,
		lifetimes: c.Lifetimes, tokens: c.Tokens, limiter: c.Limiter, bearer: c.Bearer, keyring: c.Keyring,
		management: c.Management, address: c.ClientAddress, clients: newClients(c.Store),
	}
	s.refreshes = limit.NewRate(func() time.Time { return c.Store.Now().Time() }, refreshesOfGrant)
	s.failures = newAuthenticationFailures(c.Store)
	s.fosite = s.newFosite()
	s.cors = s.newCORS()
	s.metadata = s.newMetadata()
	return s, nil
}

// Issuer identifies this server (RFC 8414, section 2).
func (s *Server) Issuer() string { return s.issuer }

// Retention says how long what this server issued must be kept after its end.
func (s *Server) Retention() storage.Retention {
	return storage.Retention{AccessTokens: s.lifetimes.Refresh, Families: s.lifetimes.RefreshAbsolute}
}

// Lifetimes are how long what this server issues lasts.
func (s *Server) Lifetimes() Lifetimes { return s.lifetimes }
