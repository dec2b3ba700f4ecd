package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rs/cors"

	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/dpop"
	"doorward/web/gateway/route"
)

// Config holds the dependencies and settings of a Gateway. All fields are required except APIs and Now.
type Config struct {
	OAuth   *oauth.Server
	Bearer  *bearer.Verifier
	Catalog *catalog.Catalog
	APIs    []API
	// ClientAddress returns the client's address, behind trusted proxies.
	ClientAddress func(*http.Request) netip.Addr
	// Trusted reports whether a request comes from a proxy whose forwarding headers are trusted.
	Trusted func(*http.Request) bool
	// Secure means that clients must use https, because the issuer does.
	Secure bool
	// Log records errors in the middle of a response.
	Log *slog.Logger
	// Now is the clock for rechecking long requests; nil means time.Now.
	Now func() time.Time
}

// API holds the gateway's settings of a resource.
type API struct {
	ID       string   // of a resource in the catalogue
	Hosts    []string // name, for any port, or name:port, in lower case
	Upstream *url.URL // where allowed requests go; nil: requests are not forwarded
	Builtin  []string // Doorward's own paths, with all paths below them, that the hosts serve before the routes
	Shape    Shape    // of refusals
	Routes   []route.Route
	// Loose means that the API treats paths as the same that differ only in case or a trailing slash.
	Loose bool
	// Anonymous bounds the concurrent requests to public routes.
	Anonymous Concurrency

	anonymousCount *anonymousCount
	resource       *catalog.Resource
	table          *route.Table // of Routes
	cors           *cors.Cors   // nil: none
	metadata       []byte       // RFC 9728; nil: the ID is not a web URL
	metaPath       string
}

// Gateway decides about requests to APIs and serves their hosts. Its methods are safe for concurrent use.
type Gateway struct {
	oauth   *oauth.Server
	bearer  *bearer.Verifier
	catalog *catalog.Catalog
	apis    []*API
	hosts   map[string]*API
	address func(*http.Request) netip.Addr
	trusted func(*http.Request) bool
	secure  bool
	log     *slog.Logger
	proxies map[*API]http.Handler
	now     func() time.Time
	long    longRequests
}

// wellKnown is the path of protected resource metadata, before that of the resource (RFC 9728, section 3.1).
const wellKnown = "/.well-known/oauth-protected-resource"

// New creates a Gateway.
func New(c Config) (*Gateway, error) {
	g := &Gateway{
		oauth: c.OAuth, bearer: c.Bearer, catalog: c.Catalog,
		hosts:   map[string]*API{},
		address: c.ClientAddress,
		trusted: c.Trusted,
		secure:  c.Secure,
		log:     c.Log,
		proxies: map[*API]http.Handler{},
		now:     c.Now,
	}
	if g.now == nil {
		g.now = time.Now
	}
	for _, a := range c.APIs {
		r, ok := c.Catalog.Resource(a.ID)
		if !ok {
			return nil, fmt.Errorf("gateway: unknown resource %s", a.ID)
		}
		a.resource, a.table, a.anonymousCount = r, route.NewTable(a.Routes, r.Objects, a.Loose), &anonymousCount{}
		a.describe(c.OAuth.Issuer())
		if len(r.CORS) > 0 {
			a.cors = newCORS(r.CORS)
		}
		own := &a
		for _, host := range a.Hosts {
			if g.hosts[host] != nil {
				return nil, errors.New("gateway: two resources have the host " + host)
			}
			g.hosts[host] = own
		}
		g.apis = append(g.apis, own)
		if a.Upstream != nil {
			g.proxies[own] = g.newProxy(own)
		}
	}
	return g, nil
}

// MetadataURL returns the URL of the metadata of a resource (RFC 9728, section 3); empty if its ID is not a web URL.
func MetadataURL(id string) string {
	u, err := url.Parse(id)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return u.Scheme + "://" + u.Host + wellKnown + strings.TrimSuffix(u.EscapedPath(), "/")
}

// describe prepares the metadata with which clients find the authorization server (RFC 9728, section 2).
func (a *API) describe(issuer string) {
	address := MetadataURL(a.ID)
	if address == "" {
		return
	}
	u, err := url.Parse(address)
	if err != nil {
		return
	}
	a.Shape.Metadata, a.metaPath = address, u.Path
	text, err := json.Marshal(map[string]any{
		"resource":                 a.ID,
		"authorization_servers":    []string{issuer},
		"scopes_supported":         scopesToOffer(a.resource),
		"bearer_methods_supported": []string{"header"},
		// RFC 9728, section 2, and RFC 9449
		"dpop_signing_alg_values_supported": dpop.Algorithms,
		"dpop_bound_access_tokens_required": a.resource.RequireDPoP,
		"resource_name":                     a.resource.Name,
	})
	if err != nil {
		panic(err) // it consists of strings and lists
	}
	a.metadata = append(text, '\n')
}

// scopesToOffer lists the scopes for a client that knows nothing else about the API, such as one that registers itself:
// it requests them all. A scope that is not open to such clients would make its request invalid.
func scopesToOffer(r *catalog.Resource) []string {
	if len(r.OpenScopes) > 0 {
		return r.OpenScopes
	}
	return r.ScopeNames()
}

// newCORS allows pages of some origins to call an API and to read its headers about limits and refusals.
func newCORS(origins []string) *cors.Cors {
	return cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{
			http.MethodGet,
			http.MethodHead,
			http.MethodPost,
			http.MethodPut,
			http.MethodPatch,
			http.MethodDelete,
		},
		AllowedHeaders: []string{"*"},
		ExposedHeaders: []string{
			"X-RateLimit-Limit",
			"X-RateLimit-Remaining",
			"X-RateLimit-Reset",
			"Retry-After",
			"WWW-Authenticate",
			"X-Request-Id",
			dpop.NonceHeader,
		},
		MaxAge: 600, // seconds
	})
}

// APIOfHost returns the API of a host, as in a Host header; nil: there is none.
func (g *Gateway) APIOfHost(host string) *API {
	if len(g.hosts) == 0 {
		return nil
	}
	name, port := strings.Trim(host, "[]"), ""
	if strings.Contains(host, ":") { // otherwise SplitHostPort would only create an error
		if n, p, err := net.SplitHostPort(host); err == nil {
			name, port = n, p
		}
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	if port != "" {
		if a := g.hosts[name+":"+port]; a != nil {
			return a
		}
	}
	return g.hosts[name]
}

// API finds an API by the ID of its resource; nil: there is none.
func (g *Gateway) API(id string) *API {
	i := slices.IndexFunc(g.apis, func(a *API) bool { return catalog.SameResource(a.ID, id) })
	if i < 0 {
		return nil
	}
	return g.apis[i]
}

// Shape returns the error shape of a resource by its ID. The default is flat.
func (g *Gateway) Shape(id string) Shape {
	if a := g.API(id); a != nil {
		return a.Shape
	}
	return Shape{}
}

// APIs returns all APIs.
func (g *Gateway) APIs() []*API { return g.apis }

// HasBuiltin reports whether a path is one of Doorward's own that the API's hosts serve.
func (a *API) HasBuiltin(path string) bool {
	covers := func(own string) bool { return path == own || strings.HasPrefix(path, own+"/") }
	return slices.ContainsFunc(a.Builtin, covers)
}

type apiKey struct{}

// APIOf returns the API on whose host the request of ctx arrived; nil if that is the issuer's host.
func APIOf(ctx context.Context) *API {
	a, _ := ctx.Value(apiKey{}).(*API)
	return a
}

// Serve serves a request on the host of an API: its metadata, preflights, Doorward's own paths (with builtin), and
// other paths by the routes. These hosts serve no pages and use no cookies.
func (g *Gateway) Serve(w http.ResponseWriter, r *http.Request, a *API, builtin http.Handler) {
	r = r.WithContext(context.WithValue(r.Context(), apiKey{}, a))
	own := func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Cookie")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		builtin.ServeHTTP(w, r)
	}
	// A path that is not normalised is refused like any other; the builtin handler would redirect.
	_, plain := route.DecodePath(r.URL.EscapedPath())
	isOwn := plain && a.HasBuiltin(r.URL.Path)
	switch {
	case a.metadata != nil && (r.URL.Path == a.metaPath || r.URL.Path == wellKnown):
		a.serveMetadata(w, r)
	case isOwn && (strings.HasPrefix(r.URL.Path, "/oauth/") || strings.HasPrefix(r.URL.Path, "/.well-known/")):
		own(w, r) // these endpoints have their own CORS rules
	case a.cors != nil:
		a.cors.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if isOwn {
				own(w, r)
			} else {
				g.forward(w, r, a)
			}
		})).ServeHTTP(w, r)
	case isOwn:
		own(w, r)
	default:
		g.forward(w, r, a)
	}
}

// ServeMetadata serves the metadata of an API whose ID is a URL on the issuer's host, as is the default resource's
// (RFC 9728, section 3.1). It returns false, without a response, if the path does not belong to such an API.
func (g *Gateway) ServeMetadata(w http.ResponseWriter, r *http.Request) bool {
	i := slices.IndexFunc(g.apis, func(a *API) bool {
		return a.metadata != nil && strings.HasPrefix(a.Shape.Metadata, g.oauth.Issuer()+wellKnown) &&
			a.metaPath == r.URL.Path
	})
	if i >= 0 {
		g.apis[i].serveMetadata(w, r)
	}
	return i >= 0
}

func (a *API) serveMetadata(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	if r.Method == http.MethodOptions {
		oauth.PreflightPublic(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD, OPTIONS")
		a.Shape.Write(w, &Refusal{Kind: MethodNotAllowed, Detail: "Method not allowed; see the Allow header."})
		return
	}
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = bytes.NewReader(a.metadata).WriteTo(w) // an error means that the client has gone
}

// Refuse writes a refusal in the API's error shape.
func (g *Gateway) Refuse(w http.ResponseWriter, r *http.Request, a *API, refusal *Refusal) {
	oauth.LogFieldsOf(r.Context()).Cause = refusal
	a.Shape.Write(w, refusal.For(r.Header))
}

// OfferNonce sets the current nonce for DPoP proofs in a response, if proofs need one and the request has one.
func (g *Gateway) OfferNonce(response, request http.Header) {
	if dpop.InUse(request) {
		g.oauth.OfferNonce(response)
	}
}
