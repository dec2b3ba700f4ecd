package demo

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// ProviderClient is the one client that the sample identity provider knows: Doorward.
type ProviderClient struct {
	ID, Secret  string
	Site        string // where its users sign in
	RedirectURI string
}

// provider is an OpenID Connect provider (OpenID Connect Core, section 3.1) with two people, who need no password. It
// has no sessions: it asks each time who signs in.
type provider struct {
	issuer string
	client ProviderClient
	signer *idTokenSigner
	page   *template.Template
	now    func() time.Time

	mu    sync.Mutex
	codes map[string]grant
}

// person is someone with an account at the sample provider. The exported fields are those that the page shows.
type person struct {
	Key         string // in the form
	Name, Email string
	subject     string
}

// people have the addresses of the demo's user and of a visitor without an account at Doorward.
var people = []person{
	{Key: "dana", Name: "Dana Demo", Email: "demo@example.com", subject: "lakeside-1001"},
	{Key: "robin", Name: "Robin Reed", Email: "robin@example.com", subject: "lakeside-1002"},
}

// providerRequest is an authorization request to the provider (OpenID Connect Core, section 3.1.2.1).
type providerRequest struct {
	redirectURI, state, nonce, challenge string
	scopes                               []string
}

// grant is what a code stands for. There is one client, so the code is bound to it.
type grant struct {
	providerRequest
	person person
	at     time.Time
}

const (
	codeLifetime    = 10 * time.Minute // the longest that RFC 6749, section 4.1.2, recommends
	idTokenLifetime = 5 * time.Minute
	maxCodes        = 1000
)

var (
	//go:embed provider.html
	providerPage string
	//go:embed provider.css
	providerStyle []byte
)

// NewProvider returns the sample identity provider "Lakeside ID" at an address, which is its issuer identifier.
func NewProvider(issuer string, client ProviderClient) (http.Handler, error) {
	p, err := newProvider(issuer, client)
	if err != nil {
		return nil, fmt.Errorf("demo provider: %w", err)
	}
	return p.handler(), nil
}

func newProvider(issuer string, client ProviderClient) (*provider, error) {
	page, err := template.New("provider").Parse(providerPage)
	if err != nil {
		return nil, err
	}
	signer, err := newIDTokenSigner()
	if err != nil {
		return nil, err
	}
	return &provider{
		issuer: issuer, client: client, signer: signer, page: page, now: time.Now, codes: map[string]grant{},
	}, nil
}

func (p *provider) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"keys": []any{p.signer.jwk()}})
	})
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /authorize", p.authorize)
	mux.HandleFunc("POST /choose", p.choose)
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /lakeside.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write(slices.Concat(style, providerStyle)) // an error means that the browser has gone
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		p.show(w, http.StatusOK, providerView{})
	})
	protection := http.NewCrossOriginProtection()
	// A client may send its request as a form (OpenID Connect Core, section 3.1.2.1). That decides nothing yet.
	protection.AddInsecureBypassPattern("POST /authorize")
	return protection.Handler(mux)
}

// discovery serves the provider's metadata (OpenID Connect Discovery, section 3).
func (p *provider) discovery(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                p.issuer,
		"authorization_endpoint":                p.issuer + "/authorize",
		"token_endpoint":                        p.issuer + "/token",
		"jwks_uri":                              p.issuer + "/jwks",
		"scopes_supported":                      []string{"openid", "email", "profile"},
		"response_types_supported":              []string{"code"},
		"response_modes_supported":              []string{"query"},
		"grant_types_supported":                 []string{"authorization_code"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic"},
		"code_challenge_methods_supported":      []string{"S256"},
		"claims_supported": []string{
			"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "email", "email_verified", "name",
		},
		"request_uri_parameter_supported":                false, // left out, it would be true
		"authorization_response_iss_parameter_supported": true,
	})
}

// authorize asks who signs in.
func (p *provider) authorize(w http.ResponseWriter, r *http.Request) {
	if _, ok := p.openRequest(w, r); !ok {
		return
	}
	view := providerView{Asking: true, People: people}
	for _, name := range requestParameters {
		if value := r.Form.Get(name); value != "" {
			view.Fields = append(view.Fields, providerField{Name: name, Value: value})
		}
	}
	p.show(w, http.StatusOK, view)
}

// requestParameters are those of an authorization request that have an effect here.
var requestParameters = []string{
	"client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
}

// choose answers the request with a code for the person who was chosen, or with access_denied. The form holds the
// request, which is checked again.
func (p *provider) choose(w http.ResponseWriter, r *http.Request) {
	q, ok := p.openRequest(w, r)
	if !ok {
		return
	}
	chosen := r.PostForm.Get("choice")
	if chosen == "cancel" {
		p.answer(w, r, q, url.Values{"error": {"access_denied"}, "error_description": {"the user cancelled"}})
		return
	}
	i := slices.IndexFunc(people, func(x person) bool { return x.Key == chosen })
	if i < 0 {
		p.fault(w, "The form names a person without an account here.")
		return
	}
	p.answer(w, r, q, url.Values{"code": {p.newCode(grant{providerRequest: q, person: people[i], at: p.now()})}})
}

// newCode stores a grant, and forgets those that have expired.
func (p *provider) newCode(g grant) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for code, old := range p.codes {
		if !g.at.Before(old.at.Add(codeLifetime)) {
			delete(p.codes, code)
		}
	}
	if len(p.codes) >= maxCodes {
		clear(p.codes)
	}
	code := rand.Text()
	p.codes[code] = g
	return code
}

// useCode returns the grant of a code, which cannot be used again.
func (p *provider) useCode(code string) (grant, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, ok := p.codes[code]
	delete(p.codes, code)
	return g, ok && p.now().Before(g.at.Add(codeLifetime))
}

// openRequest reads an authorization request, and answers it if it has a fault. While it is not certain that the
// redirect URI is the client's, the answer is a page.
func (p *provider) openRequest(w http.ResponseWriter, r *http.Request) (q providerRequest, ok bool) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		p.fault(w, "The request cannot be read.")
		return q, false
	}
	repeated := ""
	for name, values := range r.Form {
		if len(values) > 1 {
			repeated = name
		}
	}
	get := r.Form.Get
	switch {
	case repeated == "client_id" || get("client_id") != p.client.ID:
		p.fault(w, "The client_id is not that of an app that is registered here.")
		return q, false
	case repeated == "redirect_uri" || get("redirect_uri") != p.client.RedirectURI:
		p.fault(w, "The redirect_uri is not the one that is registered for this client.")
		return q, false
	}
	q = providerRequest{
		redirectURI: get("redirect_uri"), state: get("state"), nonce: get("nonce"), challenge: get("code_challenge"),
		scopes: strings.Fields(get("scope")),
	}
	code, description := checkRequest(&q, get)
	if repeated != "" {
		code, description = "invalid_request", "a parameter is there more than once"
	}
	if code != "" {
		p.answer(w, r, q, url.Values{"error": {code}, "error_description": {description}})
		return q, false
	}
	return q, true
}

// checkRequest returns the error of a request of the client, empty if there is none (RFC 6749, section 4.1.2.1; OpenID
// Connect Core, section 3.1.2.6).
func checkRequest(q *providerRequest, get func(string) string) (code, description string) {
	switch {
	case get("request") != "":
		return "request_not_supported", "send plain parameters"
	case get("request_uri") != "":
		return "request_uri_not_supported", "send plain parameters"
	case get("response_type") == "":
		return "invalid_request", "response_type is missing"
	case get("response_type") != "code":
		return "unsupported_response_type", "only the response_type code is supported"
	case get("response_mode") != "" && get("response_mode") != "query":
		return "invalid_request", "only the response_mode query is supported"
	case !slices.Contains(q.scopes, "openid"):
		return "invalid_scope", "the scope openid is missing"
	case get("code_challenge_method") != "S256" || len(q.challenge) != challengeLength:
		return "invalid_request", "a code_challenge with the method S256 is needed"
	case slices.Contains(strings.Fields(get("prompt")), "none"):
		return "login_required", "there are no sessions here, so the user must be asked"
	}
	return "", ""
}

const (
	maxForm         = 64 << 10 // bytes
	challengeLength = 43       // of a SHA-256 in base64url
)

// answer redirects the browser to the client (RFC 6749, section 4.1.2; RFC 9207).
func (p *provider) answer(w http.ResponseWriter, r *http.Request, q providerRequest, params url.Values) {
	params.Set("iss", p.issuer)
	if q.state != "" {
		params.Set("state", q.state)
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, q.redirectURI+"?"+params.Encode(), http.StatusSeeOther)
}

// token exchanges a code for an ID token (OpenID Connect Core, section 3.1.3).
func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	refuse := func(status int, code, description string) {
		writeJSON(w, status, map[string]string{"error": code, "error_description": description})
	}
	if err := r.ParseForm(); err != nil {
		refuse(http.StatusBadRequest, "invalid_request", "the form cannot be read")
		return
	}
	if !p.isClient(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="lakeside"`)
		refuse(http.StatusUnauthorized, "invalid_client", "the client id or secret is wrong or missing")
		return
	}
	for _, name := range []string{"grant_type", "code", "redirect_uri", "code_verifier"} {
		if len(r.PostForm[name]) != 1 {
			refuse(http.StatusBadRequest, "invalid_request", name+" must be there once")
			return
		}
	}
	get := r.PostForm.Get
	if get("grant_type") != "authorization_code" {
		refuse(http.StatusBadRequest, "unsupported_grant_type", "only authorization_code is supported")
		return
	}
	g, ok := p.useCode(get("code"))
	verified := sha256.Sum256([]byte(get("code_verifier")))
	switch {
	case !ok:
		refuse(http.StatusBadRequest, "invalid_grant", "the code is unknown, has expired, or was used before")
		return
	case get("redirect_uri") != g.redirectURI:
		refuse(http.StatusBadRequest, "invalid_grant", "the redirect_uri is not that of the authorization request")
		return
	case !same(base64.RawURLEncoding.EncodeToString(verified[:]), g.challenge):
		refuse(http.StatusBadRequest, "invalid_grant", "the code_verifier does not fit the code_challenge")
		return
	}
	idToken, err := p.signer.sign(p.claims(&g))
	if err != nil {
		refuse(http.StatusInternalServerError, "server_error", "the ID token cannot be signed")
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": rand.Text(), // the protocol demands one; there is nothing here to use it for
		"token_type":   "Bearer",
		"expires_in":   int(idTokenLifetime.Seconds()),
		"scope":        "openid" + optionalScopes(g.scopes),
		"id_token":     idToken,
	})
}

// optionalScopes lists, after a space each, the scopes beside openid that have an effect.
func optionalScopes(asked []string) (list string) {
	for _, s := range []string{"email", "profile"} {
		if slices.Contains(asked, s) {
			list += " " + s
		}
	}
	return list
}

// isClient checks the client's credentials, which are encoded as in a form before they are joined (RFC 6749, section
// 2.3.1).
func (p *provider) isClient(r *http.Request) bool {
	id, secret, ok := r.BasicAuth()
	if !ok {
		return false
	}
	id, err := url.QueryUnescape(id)
	if err != nil {
		return false
	}
	secret, err = url.QueryUnescape(secret)
	return err == nil && same(id, p.client.ID) && same(secret, p.client.Secret)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// claims are those of the ID token (OpenID Connect Core, sections 2 and 5.4).
func (p *provider) claims(g *grant) map[string]any {
	now := p.now()
	c := map[string]any{
		"iss": p.issuer, "sub": g.person.subject, "aud": p.client.ID,
		"iat": now.Unix(), "exp": now.Add(idTokenLifetime).Unix(), "auth_time": g.at.Unix(),
	}
	if g.nonce != "" {
		c["nonce"] = g.nonce
	}
	if slices.Contains(g.scopes, "email") {
		c["email"], c["email_verified"] = g.person.Email, true
	}
	if slices.Contains(g.scopes, "profile") {
		c["name"] = g.person.Name
	}
	return c
}

// providerView is what the provider's page shows: the question, a fault, or what this provider is.
type providerView struct {
	Asking bool
	People []person
	Fields []providerField // the request, for the form
	Fault  string
	Site   string
}

type providerField struct{ Name, Value string }

func (p *provider) fault(w http.ResponseWriter, text string) {
	p.show(w, http.StatusBadRequest, providerView{Fault: text})
}

func (p *provider) show(w http.ResponseWriter, status int, view providerView) {
	view.Site = p.client.Site
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	// There is no form-action: browsers apply it to redirects too, and Doorward may redirect to any app.
	w.Header().Set(
		"Content-Security-Policy",
		"default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'",
	)
	w.WriteHeader(status)
	_ = p.page.Execute(w, view) // an error means that the browser has gone
}
