package api

import (
	"net/http"
	"net/netip"
	"strings"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/identity"
	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/web/gateway"
)

// Config is what an API is made of. Every field is needed.
type Config struct {
	Store      *storage.Store
	OAuth      *oauth.Server
	Management *management.Manager
	Bearer     *bearer.Verifier
	APIKeys    *apikey.Keys
	Catalog    *catalog.Catalog
	Secrets    *seal.Secrets
	// Identity changes users.
	Identity *identity.Service
	// Gateway knows how the refusals of resources look.
	Gateway *gateway.Gateway
	// ClientAddress is where a request comes from, behind the proxies that are trusted.
	ClientAddress func(*http.Request) netip.Addr
	// SessionCookie is the name of the cookie of a browser session.
	SessionCookie string
	// Visitor finds out who is signed in in a browser.
	Visitor func(*http.Request) (Visitor, error)
}

// Visitor is who is signed in in a browser.
type Visitor struct {
	User  storage.User // without an id: not signed in
	Fresh bool         // the sign-in is recent enough for creating a secret
}

// API answers the management API's requests. Its methods are safe for many goroutines.
type API struct {
	store      *storage.Store
	oauth      *oauth.Server
	management *management.Manager
	bearer     *bearer.Verifier
	apikey     *apikey.Keys
	catalog    *catalog.Catalog
	secrets    *seal.Secrets
	identity   *identity.Service
	gateway    *gateway.Gateway
	address    func(*http.Request) netip.Addr
	visitor    func(*http.Request) (Visitor, error)
	sameOrigin *http.CrossOriginProtection
	operations []operation
	document   []byte // OpenAPI, as JSON
}

// New makes an API.
func New(c Config) *API {
	a := &API{
		store: c.Store,
		oauth: c.OAuth, management: c.Management, bearer: c.Bearer, apikey: c.APIKeys, catalog: c.Catalog, secrets: c.Secrets,
		identity:   c.Identity,
		gateway:    c.Gateway,
		address:    c.ClientAddress,
		visitor:    c.Visitor,
		sameOrigin: http.NewCrossOriginProtection(),
	}
	a.operations = a.table()
	a.document = a.describe(c.SessionCookie)
	return a
}

// documentPath is where the OpenAPI document is.
const documentPath = "/openapi.json"

// Register hands over the API's routes, by the patterns of http.ServeMux.
func (a *API) Register(handle func(pattern string, h http.Handler)) {
	for i := range a.operations {
		o := &a.operations[i]
		handle(o.method+" "+o.path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, o) }))
	}
	handle("GET "+documentPath, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-cache")
		_, _ = w.Write(a.document) // the client may have gone away
	}))
}

// Owns reports whether a path belongs to this API, whether or not anything is there.
func Owns(path string) bool {
	return path == documentPath || strings.HasPrefix(path+"/", "/v1/") || strings.HasPrefix(path+"/", "/api/")
}

// Refuse answers a request for one of the API's paths that reached none of its routes.
func (a *API) Refuse(w http.ResponseWriter, r *http.Request, refusal *gateway.Refusal) {
	a.shapeOf(r, nil).Write(w, refusal)
}

// shapeOf is how the refusals look of the resource on whose host a request came, else of that which its credential is
// for.
func (a *API) shapeOf(r *http.Request, p *bearer.Principal) gateway.Shape {
	return a.gateway.Shape(a.gateway.ResourceFor(gateway.APIOf(r.Context()), p).ID)
}
