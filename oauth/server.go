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
	"doorward/oauth/dpop"
	"doorward/oauth/fetch"
	"doorward/oauth/limit"
	"doorward/oauth/seal"
	"doorward/storage"
)

// TokenLimits bound how many tokens clients get from the token endpoint. Zero means no limit.
type TokenLimits struct {
	// ClientRequests is how many tokens one client may request for itself (client_credentials) in a minute. Zero lifts the
	// limit on refreshes too.
	ClientRequests int64
	ClientLive     int64 // tokens of its own that one client can have active at once
}

// Lifetimes of codes and tokens. All must be above zero, except RefreshReuseWindow, where zero allows no repeats.
type Lifetimes struct {
	Access             time.Duration // access tokens
	Refresh            time.Duration // an unused refresh token
	RefreshAbsolute    time.Duration // a grant, however often it is refreshed
	RefreshReuseWindow time.Duration // after its use, while a refresh token still gives the same successor
	Code               time.Duration // authorization codes
}

// Config holds what a Server needs. Every field is required, except RedirectSchemes.
type Config struct {
	Issuer     string // RFC 8414, section 2; no trailing slash
	Store      *storage.Store
	Secrets    *seal.Secrets
	Catalog    *catalog.Catalog
	Bearer     *bearer.Verifier
	Keyring    *bearer.Keyring
	Management *management.Manager
	// RedirectSchemes are the private-use schemes without a dot that redirect URIs may have; empty: none.
	RedirectSchemes []string
	Lifetimes       Lifetimes
	Tokens          TokenLimits
	Limiter         limit.Limiter
	// ClientAddress returns the address that a request comes from, behind trusted proxies.
	ClientAddress func(*http.Request) netip.Addr
	// Fetcher fetches the keys of clients from their jwks_uri, which outside parties choose.
	Fetcher *fetch.Fetcher
	// MetadataDocuments says from which hosts the URL of a metadata document is a client id.
	//exhaustruct:optional
	MetadataDocuments DocumentHosts
	// DPoPNonces means that DPoP proofs must contain a nonce of this server (RFC 9449, section 8).
	DPoPNonces bool
}

// Server is the authorization server without its pages. Its methods are safe for concurrent use.
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
	pushes          *limit.Rate // nil: no limit
	limiter         limit.Limiter
	address         func(*http.Request) netip.Addr
	clients         *clients
	clientKeys      *clientKeys
	fetcher         *fetch.Fetcher
	documents       *documents
	nonces          *dpop.Nonces // nil: DPoP proofs need none
	fosite          *fosite.Fosite
	failures        *limit.Clients
	cors            *cors.Cors
	metadata        []byte
	bearer          *bearer.Verifier
	keyring         *bearer.Keyring
	management      *management.Manager
}

// New returns a Server.
func New(c Config) *Server {
	s := &Server{
		issuer: c.Issuer, store: c.Store, secrets: c.Secrets, catalog: c.Catalog, redirectSchemes: c.RedirectSchemes,
		lifetimes: c.Lifetimes, tokens: c.Tokens, limiter: c.Limiter, bearer: c.Bearer, keyring: c.Keyring,
		management: c.Management, address: c.ClientAddress, fetcher: c.Fetcher,
	}
	s.clients = newClients(c.Store, s.completeClient)
	s.documents = newDocuments(&c, func(m clientMetadata) (management.ClientSpec, error) {
		return s.checkMetadata(storage.RegisteredByDocument, m)
	}, s.openTo)
	now := func() time.Time { return c.Store.Now().Time() }
	s.refreshes = limit.NewRate(now, refreshesOfGrant)
	if c.Tokens.ClientRequests > 0 {
		s.pushes = limit.NewRate(now, limit.Rule{Count: int(c.Tokens.ClientRequests), Per: time.Minute})
	}
	s.clientKeys = newClientKeys(c.Fetcher, c.Store.Now)
	if c.DPoPNonces {
		s.nonces = dpop.NewNonces(c.Secrets.NonceKeys())
	}
	s.failures = newAuthenticationFailures(c.Store)
	s.fosite = s.newFosite()
	s.cors = s.newCORS()
	s.metadata = s.newMetadata()
	return s
}

// Issuer identifies this server (RFC 8414, section 2).
func (s *Server) Issuer() string { return s.issuer }

// Retention returns how long tokens and grants must be kept after they end.
func (s *Server) Retention() storage.Retention {
	return storage.Retention{AccessTokens: s.lifetimes.Refresh, Families: s.lifetimes.RefreshAbsolute, Requests: FlowLifetime + time.Minute}
}

// Lifetimes returns the lifetimes of the codes and tokens that this server issues.
func (s *Server) Lifetimes() Lifetimes { return s.lifetimes }
