package api

import (
	"net/http"
	"net/netip"
	"strings"
	"sync"

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

// Config holds the dependencies of an API. All fields are required.
type Config struct {
	Store      *storage.Store
	OAuth      *oauth.Server
	Management *management.Manager
	Bearer     *bearer.Verifier
	APIKeys    *apikey.Keys
	Catalog    *catalog.Catalog
	Secrets    *seal.Secrets
	Identity   *identity.Service
	// Gateway admits credentials and has the error shapes of resources.
	Gateway *gateway.Gateway
	// ClientAddress returns the client's address, behind trusted proxies.
	ClientAddress func(*http.Request) netip.Addr
	// SessionCookie is the name of the session cookie.
	SessionCookie string
	// Visitor returns the user of a browser session.
	Visitor func(*http.Request) (Visitor, error)
}

// Visitor is the user of a browser session.
type Visitor struct {
	User  storage.User // without an ID: not signed in
	Fresh bool         // the sign-in is recent enough to create a secret
}

// API serves the management API. Its methods are safe for concurrent use.
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
	document   func() []byte // OpenAPI, as JSON; made for the first who asks
}

// New creates an API.
func New(c Config) *API {
	a := &API{
		store:      c.Store,
		oauth:      c.OAuth,
		management: c.Management,
		bearer:     c.Bearer,
		apikey:     c.APIKeys,
		catalog:    c.Catalog,
		secrets:    c.Secrets,
		identity:   c.Identity,
		gateway:    c.Gateway,
		address:    c.ClientAddress,
		visitor:    c.Visitor,
		sameOrigin: http.NewCrossOriginProtection(),
	}
	a.operations = a.table()
	a.document = sync.OnceValue(func() []byte { return a.describe(c.SessionCookie) })
	return a
}

// documentPath is the path of the OpenAPI document.
const documentPath = "/openapi.json"

// Register calls handle for each of the API's routes, with a pattern of http.ServeMux.
func (a *API) Register(handle func(pattern string, h http.Handler)) {
	for i := range a.operations {
		o := &a.operations[i]
		handle(o.method+" "+o.path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, o) }))
	}
	handle("GET "+documentPath, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-cache")
		_, _ = w.Write(a.document()) // an error means that the client has gone
	}))
}

// Owns reports whether a path belongs to this API, even if there is no operation at it.
func Owns(path string) bool {
	return path == documentPath || strings.HasPrefix(path+"/", "/v1/") || strings.HasPrefix(path+"/", "/api/")
}

// Refuse refuses a request for one of the API's paths that did not reach an operation.
func (a *API) Refuse(w http.ResponseWriter, r *http.Request, refusal *gateway.Refusal) {
	a.shapeOf(r, nil).Write(w, refusal)
}

// shapeOf returns the error shape of the resource on whose host a request arrived, or of its credential's resource.
func (a *API) shapeOf(r *http.Request, p *bearer.Principal) gateway.Shape {
	return a.gateway.Shape(a.gateway.ResourceFor(gateway.APIOf(r.Context()), p).ID)
}
