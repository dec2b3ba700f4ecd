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
	"doorward/web/gateway/route"
)

// Config is what a Gateway is made of. Every field is needed but APIs.
type Config struct {
	OAuth   *oauth.Server
	Bearer  *bearer.Verifier
	Catalog *catalog.Catalog
	APIs    []API
	// ClientAddress is where a request comes from, behind the proxies that are trusted.
	ClientAddress func(*http.Request) netip.Addr
	// Trusted reports whether a request comes from a proxy whose forwarding headers count.
	Trusted func(*http.Request) bool
	// Secure says that callers must use https, since the issuer does.
	Secure bool
	// Log takes what goes wrong in the middle of an answer.
	Log *slog.Logger
	// Now is the clock by which requests that last are decided again; nil: time.Now.
	Now func() time.Time
}

// API is one resource as the gateway serves it.
type API struct {
	ID       string   // of a resource of the oauth.Server
	Hosts    []string // name, for any port, or name:port, in lower case
	Upstream *url.URL // where allowed requests go; nil: this server forwards none
	Builtin  []string // paths of this server's own, each with all below it, that the hosts serve before the routes
	Shape    Shape    // of refusals
	Routes   []route.Route
	// Loose says that to the API paths are the same that differ only in case or in a slash at their end.
	Loose bool
	// Anonymous bounds the requests under way to public routes, which are passed on.
	Anonymous Concurrency

	crowd    *crowd
	resource *catalog.Resource
	table    *route.Table // of Routes
	cors     *cors.Cors   // nil: none
	metadata []byte       // RFC 9728; nil: the id is not a web address
	metaPath string
}

// Gateway decides about requests for the APIs of resources and serves their hosts. Its methods are safe for many
// goroutines.
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
	lasting lastingRequests
}

// wellKnown is where protected resource metadata are, before the path of the resource (RFC 9728, section 3.1).
const wellKnown = "/.well-known/oauth-protected-resource"

// New makes a Gateway.
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
		a.resource, a.table, a.crowd = r, route.NewTable(a.Routes, r.Objects, a.Loose), &crowd{}
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

// Metadata is where the protected resource metadata of a resource are; empty where its id is not a web address.
func Metadata(id string) string {
	u, err := url.Parse(id)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return u.Scheme + "://" + u.Host + wellKnown + strings.TrimSuffix(u.EscapedPath(), "/")
}

// describe makes the metadata of RFC 9728, section 2, by which clients find the authorization server.
func (a *API) describe(issuer string) {
	address := Metadata(a.ID)
	if address == "" {
		return
	}
	u, err := url.Parse(address)
	if err != nil {
		return
	}
	a.Shape.Metadata, a.metaPath = address, u.Path
	var scopes []string
	for _, s := range a.resource.Scopes {
		scopes = append(scopes, s.Name)
	}
	text, err := json.Marshal(map[string]any{
		"resource":                 a.ID,
		"authorization_servers":    []string{issuer},
		"scopes_supported":         scopes,
		"bearer_methods_supported": []string{"header"},
		"resource_name":            a.resource.Name,
	})
	if err != nil {
		panic(err) // strings and lists of them
	}
	a.metadata = append(text, '\n')
}

// newCORS lets pages of some origins call an API and read what its answers say about limits and refusals.
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
		},
		MaxAge: 600, // seconds
	})
}

// Host finds the API that answers for a host, as a request names it; nil: none.
func (g *Gateway) Host(host string) *API {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), ""
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	if a := g.hosts[name+":"+port]; a != nil && port != "" {
		return a
	}
	return g.hosts[name]
}

// API finds the API of a resource by its id; nil: none.
func (g *Gateway) API(id string) *API {
	i := slices.IndexFunc(g.apis, func(a *API) bool { return catalog.SameResource(a.ID, id) })
	if i < 0 {
		return nil
	}
	return g.apis[i]
}

// Shape is how the refusals of a resource look, by its id; where nothing was said about it, flat.
func (g *Gateway) Shape(id string) Shape {
	if a := g.API(id); a != nil {
		return a.Shape
	}
	return Shape{}
}

// APIs lists all.
func (g *Gateway) APIs() []*API { return g.apis }

// HasBuiltin reports whether the API's hosts serve a path of this server's own.
func (a *API) HasBuiltin(path string) bool {
	return slices.ContainsFunc(
		a.Builtin,
		func(own string) bool { return path == own || strings.HasPrefix(path, own+"/") },
	)
}

type apiKey struct{}

// APIOf is the API on whose host a request came; nil: it came on the issuer's.
func APIOf(ctx context.Context) *API {
	a, _ := ctx.Value(apiKey{}).(*API)
	return a
}

// Serve answers a request on a host of an API: its metadata, preflights, this server's own paths, which builtin serves,
// and all others by its routes. No page and no cookie is of such a host.
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
		own(w, r) // they know by themselves which pages may call them
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

// ServeMetadata answers with the metadata of the API whose identifier is an address of the issuer's, as that of a
// server without `resources` is, and whose metadata are therefore on the issuer's host (RFC 9728, section 3.1). False:
// the path is that of no such API, and nothing was answered.
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
	_, _ = bytes.NewReader(a.metadata).WriteTo(w) // the client may have gone away
}

// Refuse answers with a refusal in the API's shape.
func (g *Gateway) Refuse(w http.ResponseWriter, r *http.Request, a *API, refusal *Refusal) {
	oauth.LogFieldsOf(r.Context()).Cause = refusal
	a.Shape.Write(w, refusal)
}
