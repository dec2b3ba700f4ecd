package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"doorward/brand"
	"doorward/locale"
	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/fetch"
	"doorward/oauth/identity"
	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/web/admin"
	"doorward/web/api"
	"doorward/web/dashboard"
	"doorward/web/gateway"
	"doorward/web/logo"
	"doorward/web/page"
	"doorward/web/signin"
)

// Config has the dependencies and settings of a Server. All fields are required except TrustedProxies, APIs,
// Languages (English) and Brand (the default look).
type Config struct {
	Issuer     string
	Store      *storage.Store
	OAuth      *oauth.Server
	Management *management.Manager
	Bearer     *bearer.Verifier
	APIKeys    *apikey.Keys
	Catalog    *catalog.Catalog
	Identity   *identity.Service
	Secrets    *seal.Secrets
	Fetcher    *fetch.Fetcher // fetches the logos of apps, which outside parties choose
	//exhaustruct:optional
	Languages *locale.Set // of the pages
	//exhaustruct:optional
	Brand *brand.Brand // of the pages
	//exhaustruct:optional
	Accounts       signin.Accounts
	APIs           []gateway.API  // the gateway's settings of resources; a resource without any has the flat error shape
	TrustedProxies []netip.Prefix // peers whose X-Forwarded-* headers are trusted
	Log            *slog.Logger
	Metrics        *prometheus.Registry
}

// Server is the handler of the public listener.
type Server struct {
	pages    *page.Pages
	signIn   *signin.Handlers
	settings *dashboard.Dashboard
	admin    *admin.Handlers

	issuer     *url.URL
	issuerHost string // its canonicalHost
	secure     bool   // the issuer is https
	store      *storage.Store
	oauth      *oauth.Server
	api        *api.API
	gateway    *gateway.Gateway
	secrets    *seal.Secrets
	brand      brand.Brand
	logos      *logo.Logos
	proxies    Proxies
	log        *slog.Logger
	metrics    *metrics
	draining   atomic.Bool
	warned     atomic.Bool // warnOfForwarding has logged its warning
	handler    http.Handler
	patterns   []string // of the routes
}

// New creates a Server.
func New(c Config) (*Server, error) {
	issuer, err := url.Parse(c.Issuer)
	if err != nil || issuer.Host == "" {
		return nil, errors.New("the issuer is not a URL")
	}
	secure := issuer.Scheme == "https"
	s := &Server{
		issuer: issuer, issuerHost: canonicalHost(issuer.Host, issuer.Scheme), secure: secure, store: c.Store,
		oauth: c.OAuth, secrets: c.Secrets, proxies: c.TrustedProxies, log: c.Log,
		metrics: newMetrics(c.Metrics, c.Store),
	}
	c.Metrics.MustRegister(inMemory{c.Bearer, c.Store})
	languages := c.Languages
	if languages == nil {
		languages = locale.NewSet(locale.English())
	}
	if c.Brand != nil {
		s.brand = *c.Brand
	}
	providers := map[string]string{}
	for _, p := range c.Identity.Providers() {
		providers[p.ID()] = p.Name()
	}
	s.logos = logo.New(logo.Config{Fetcher: c.Fetcher, Secrets: c.Secrets, Now: c.Store.Now})
	s.pages = page.New(page.Config{
		LogoURL: s.logos.URL,
		Store:   c.Store, OAuth: c.OAuth, Management: c.Management, APIKeys: c.APIKeys, Secrets: c.Secrets, Identity: c.Identity,
		Languages: languages, Brand: s.brandOfPages(), ClientAddress: s.proxies.ClientAddress, Secure: secure,
		Links: c.Accounts.Links, Providers: providers,
	})
	s.signIn = signin.New(signin.Config{
		Pages: s.pages, Store: c.Store, OAuth: c.OAuth, Management: c.Management, Secrets: c.Secrets, Identity: c.Identity,
		CountLogin:   func(outcome string) { s.metrics.logins.WithLabelValues(outcome).Inc() },
		CountNotSent: func(kind string) { s.metrics.notSent.WithLabelValues(kind).Inc() },
		Accounts:     c.Accounts,
	})
	s.settings = dashboard.New(dashboard.Config{
		Pages: s.pages, Store: c.Store, OAuth: c.OAuth, Management: c.Management, Bearer: c.Bearer, APIKeys: c.APIKeys,
		Catalog: c.Catalog, Identity: c.Identity,
	})
	s.admin = admin.New(admin.Config{
		Pages: s.pages, Store: c.Store, OAuth: c.OAuth, Management: c.Management, Catalog: c.Catalog, Identity: c.Identity,
	})
	s.gateway, err = gateway.New(gateway.Config{
		OAuth: c.OAuth, Bearer: c.Bearer, Catalog: c.Catalog, APIs: c.APIs, ClientAddress: s.proxies.ClientAddress,
		Trusted: s.proxies.trusted, Secure: secure, Log: c.Log, Now: s.pages.Now,
	})
	if err != nil {
		return nil, err
	}
	s.api = api.New(api.Config{
		Store: c.Store, OAuth: c.OAuth, Management: c.Management, Bearer: c.Bearer, APIKeys: c.APIKeys, Catalog: c.Catalog,
		Secrets: c.Secrets, Identity: c.Identity, Gateway: s.gateway, ClientAddress: s.proxies.ClientAddress,
		SessionCookie: s.pages.SessionCookie(), Visitor: s.apiVisitor,
	})
	s.handler = s.routes()
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Drain makes the server report that it is not ready, so that load balancers stop sending requests.
func (s *Server) Drain() { s.draining.Store(true) }

// Recheck decides again about long requests. Call it every gateway.RecheckInterval.
func (s *Server) Recheck(ctx context.Context) { s.gateway.Recheck(ctx) }

// apiVisitor returns the signed-in user of a request to the management API.
func (s *Server) apiVisitor(r *http.Request) (api.Visitor, error) {
	v, err := s.pages.Visitor(r)
	if err != nil {
		return api.Visitor{}, err
	}
	return api.Visitor{User: v.User, Fresh: s.pages.Fresh(v)}, nil
}
