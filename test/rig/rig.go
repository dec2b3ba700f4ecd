// Package rig puts a whole server together inside a test, on either engine, with a clock that tests move, and speaks
// to it over HTTP as browsers and programs do. It wires what cmd/doorward wires, without configuration file, signals
// and time of its own.
package rig

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"doorward/brand"
	"doorward/config"
	"doorward/locale"
	"doorward/mail"
	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/fetch"
	"doorward/oauth/identity"
	"doorward/oauth/limit"
	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/templates"
	"doorward/test/stores"
	"doorward/web"
	"doorward/web/gateway"
	"doorward/web/signin"
)

// Password is every rig user's.
const Password = "a quiet harbour at dawn"

// Rig is a running server with one user, Alice, who is not an administrator.
type Rig struct {
	T          testing.TB
	Store      *storage.Store
	OAuth      *oauth.Server
	Management *management.Manager
	Keyring    *bearer.Keyring
	Bearer     *bearer.Verifier
	APIKeys    *apikey.Keys
	Catalog    *catalog.Catalog
	Identity   *identity.Service
	Secrets    *seal.Secrets
	Web        *web.Server
	HTTP       *httptest.Server
	URL        string // where it listens; the issuer unless Options say otherwise
	Issuer     string
	Alice      storage.User
	Metrics    *prometheus.Registry
	Log        *Log
	Seen       *Secrets     // by all clients of this rig
	outbox     *mail.Outbox // writes emails, and sends none
	offset     atomic.Int64
	nodes      []*Rig        // that share its database, and itself; see AreNodes
	caughtUp   atomic.Uint64 // how many changes by other nodes it has seen
}

// Options change what a rig is made of; the zero value is a server as it comes.
type Options struct {
	Resources       []catalog.Resource // nil: the default one
	Plans           map[string]limit.Plan
	OwnersSetPlans  bool
	Shapes          map[string]gateway.Shape // of the refusals of resources, by id
	APIs            []gateway.API            // nil: of each resource the shape alone
	Lifetimes       oauth.Lifetimes          // zero fields: the defaults
	Tokens          *oauth.TokenLimits       // nil: the defaults
	Issuer          string                   // empty: the URL it listens on
	Localhost       bool                     // that URL names localhost, so that there are passkeys
	TrustedProxies  []netip.Prefix
	RedirectSchemes []string          // without a dot
	Secrets         []string          // nil: one
	LimitChanges    bool              // as a server does; tests of other things change more than people do
	Emails          bool              // the server sends email: see Rig.Mail
	SignUp          string            // closed, invited or open; empty: closed for visitors, but every address can be invited
	Hourly          int64             // emails to addresses without an account; zero: 1,000
	NoPasswords     bool              // users sign in by email
	SecondFactor    string            // a policy of package identity; empty: users decide
	Providers       []config.Provider // with which users sign in
	Fetch           fetch.Config      // for the URLs of clients; zero: only public addresses
	DPoPNonces      bool              // DPoP proofs need a nonce
	Registration    string            // which clients register themselves; empty: closed
	OpenID          bool              // they may do so as the OpenID conformance suite does
	Documents       oauth.DocumentHosts
	Brand           brand.Config
	Languages       []string // of pages and emails; nil: English
	NoUser          bool     // leave the database without a user
	AtOnce          bool     // requests of the test meet, so it also runs under the race detector: see Each
}

// passkeys says where passkeys work: nowhere if the host of the issuer is a number, as it is by default.
func (o *Options) passkeys(issuer string) identity.Passkeys {
	u, err := url.Parse(issuer)
	if err != nil {
		return identity.Passkeys{}
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return identity.Passkeys{}
	}
	return identity.Passkeys{Domain: u.Hostname(), Origin: issuer, Name: cmp.Or(o.Brand.Name, "Doorward")}
}

// Log collects what the server logs, at every level.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// String is all that was logged so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Memory is a rig on SQLite in memory, for what storage has no part in.
func Memory(t testing.TB, o Options) *Rig {
	t.Helper()
	return New(t, stores.Open(t, "sqlite::memory:"), o)
}

// New is a rig on a store. Several on one PostgreSQL database are nodes of one server. In a run for tests whose
// requests meet (stores.OnlyAtOnce), it skips a test without Options.AtOnce.
func New(t testing.TB, store *storage.Store, o Options) *Rig {
	t.Helper()
	if !o.AtOnce {
		stores.Alone(t)
	}
	if os.Getenv("DOORWARD_TEST_CACHE") != "off" {
		store.Follow(slog.New(slog.DiscardHandler))
	}
	r := &Rig{T: t, Store: store, Metrics: prometheus.NewRegistry(), Log: &Log{}, Seen: &Secrets{kind: map[string]string{}}}
	store.SetClock(func() time.Time { return time.Now().Add(time.Duration(r.offset.Load())) })
	listener := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.catchUp(q.Context())
		r.Web.ServeHTTP(w, q)
	}))
	listener.Config.ReadHeaderTimeout, listener.Config.MaxHeaderBytes = 5*time.Second, 32<<10
	listener.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	r.HTTP = listener
	r.URL = "http://" + listener.Listener.Addr().String()
	if o.Localhost {
		r.URL = strings.Replace(r.URL, "127.0.0.1", "localhost", 1)
	}
	r.Issuer = o.Issuer
	if r.Issuer == "" {
		r.Issuer = r.URL
	}
	masters := o.Secrets
	if masters == nil {
		masters = []string{"a master secret for tests, of 32 bytes or more"}
	}
	var keys [][]byte
	for _, m := range masters {
		keys = append(keys, []byte(m))
		r.Seen.Add(SecretMaster, m)
	}
	var err error
	r.Secrets, err = seal.New(keys)
	r.ok(err)
	r.ok(r.Secrets.BindToDatabase(t.Context(), store))
	log := slog.New(slog.NewJSONHandler(r.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	resources := o.Resources
	if resources == nil {
		resources = []catalog.Resource{{ID: r.Issuer, Name: "Example API", Scopes: []catalog.Scope{
			{Name: "read", Text: "Read your data"},
			{Name: "write", Text: "Create and change your data"},
			{Name: "delete", Text: "Delete your data"},
			{Name: "admin", Text: "Everything", Implies: []string{"read", "write", "delete"}},
		}, Keys: catalog.KeyRules{Prefix: "sk", Environments: []string{"live", "test"}}, WorkspaceHeader: "X-Workspace"}}
	}
	lifetimes := o.Lifetimes
	for _, x := range []struct {
		have *time.Duration
		want time.Duration
	}{
		{&lifetimes.Access, time.Hour},
		{&lifetimes.Refresh, 7 * 24 * time.Hour},
		{&lifetimes.RefreshAbsolute, 30 * 24 * time.Hour},
		{&lifetimes.RefreshReuseWindow, 10 * time.Second},
		{&lifetimes.Code, time.Minute},
	} {
		if *x.have == 0 {
			*x.have = x.want
		} else if *x.have < 0 {
			*x.have = 0 // the only way to say zero here
		}
	}
	tokens := oauth.TokenLimits{ClientRequests: 600, ClientLive: 10_000}
	if o.Tokens != nil {
		tokens = *o.Tokens
	}
	proxies := web.Proxies(o.TrustedProxies)
	r.Catalog, err = catalog.New(catalog.Config{Resources: resources, Plans: o.Plans})
	r.ok(err)
	r.APIKeys = apikey.New(apikey.Config{Store: store, Catalog: r.Catalog})
	limiter := r.limiter()
	r.Keyring = bearer.NewKeyring(bearer.KeyringConfig{
		Issuer: r.Issuer, Store: store, Secrets: r.Secrets, Catalog: r.Catalog, AccessLifetime: lifetimes.Access,
	})
	r.Bearer = bearer.New(bearer.Config{
		Issuer: r.Issuer, Store: store, Catalog: r.Catalog, APIKeys: r.APIKeys, Keyring: r.Keyring, Limiter: limiter,
	})
	fetcher := fetch.New(o.Fetch)
	r.Management = management.New(management.Config{
		CheckURL: fetcher.CheckURL,
		Issuer:   r.Issuer, Store: store, Catalog: r.Catalog, APIKeys: r.APIKeys, Limiter: limiter, Grants: oauth.GrantRules(),
		Product:         o.Brand.Name,
		RedirectSchemes: o.RedirectSchemes, OwnersSetPlans: o.OwnersSetPlans, UnlimitedChanges: !o.LimitChanges,
		KnownOnly: o.SignUp == signin.SignUpClosed, SendsEmail: o.Emails, Secrets: r.Secrets,
		Registration: o.Registration, OpenIDCompatible: o.OpenID,
	})
	r.OAuth = oauth.New(oauth.Config{
		Issuer: r.Issuer, Store: store, Secrets: r.Secrets, Catalog: r.Catalog, Bearer: r.Bearer, Keyring: r.Keyring,
		Management: r.Management, RedirectSchemes: o.RedirectSchemes, Lifetimes: lifetimes, Tokens: tokens, Limiter: limiter,
		ClientAddress: proxies.ClientAddress, Fetcher: fetcher, DPoPNonces: o.DPoPNonces,
		MetadataDocuments: o.Documents,
	})
	r.ok(r.Keyring.Maintain(r.System()))
	configured := config.Default()
	configured.Issuer, configured.Providers = r.Issuer, o.Providers
	outside, err := configured.NewProviders(func() time.Time { return store.Now().Time() })
	r.ok(err)
	r.Identity = identity.New(identity.Config{
		Store: store, Throttle: limit.NewSignIns(func() time.Time { return store.Now().Time() }), Issuer: r.Issuer, Cost: quick,
		Product: o.Brand.Name,
		Secrets: r.Secrets, Emails: identity.Emails{Enabled: o.Emails, Links: o.Emails, Hourly: cmp.Or(o.Hourly, 1000)},
		NoPasswords: o.NoPasswords, Passkeys: o.passkeys(r.Issuer), SecondFactor: o.SecondFactor,
		Providers: outside,
	})
	look, err := brand.Load(o.Brand)
	r.ok(err)
	languages := o.languages(t)
	r.outbox, err = mail.New(mail.Config{
		Store: store, Secrets: r.Secrets, Languages: languages, Brand: templates.Brand{Name: look.Name}, Issuer: r.Issuer, From: "Doorward <no-reply@auth.example>",
		SignUp: o.SignUp == signin.SignUpOpen,
	})
	r.ok(err)
	r.Web, err = web.New(web.Config{
		Issuer: r.Issuer, Store: store, OAuth: r.OAuth, Management: r.Management, Bearer: r.Bearer, APIKeys: r.APIKeys,
		Catalog: r.Catalog, Identity: r.Identity, Secrets: r.Secrets, APIs: o.apis(), TrustedProxies: o.TrustedProxies,
		Fetcher: fetcher, Log: log, Metrics: r.Metrics, Languages: languages, Brand: look,
		Accounts: signin.Accounts{SignUp: o.SignUp, Links: o.Emails, TermsURL: o.Brand.TermsURL},
	})
	r.ok(err)
	listener.Start()
	listener.Client().Transport = &sniffer{listener.Client().Transport, r.Seen}
	t.Cleanup(func() {
		listener.Close()
		for _, found := range r.Seen.In(r.Log.String()) {
			t.Errorf("the log shows a secret (O-01): %s", found)
		}
	})
	if !o.NoUser {
		r.Alice = r.User("alice@example.com", "Alice", false)
	}
	return r
}

// languages reads the shipped catalogues.
func (o Options) languages(t testing.TB) *locale.Set {
	t.Helper()
	var list []*locale.Language
	for _, tag := range o.Languages {
		l, err := locale.NewLanguage(tag, nil)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, l)
	}
	return locale.NewSet(list...)
}

// limiter counts as cmd/doorward's does.
func (r *Rig) limiter() limit.Limiter {
	if r.Store.Engine() == "sqlite" {
		return limit.NewMemory(r.Store)
	}
	return limit.NewSQL(r.Store)
}

func (r *Rig) ok(err error) {
	r.T.Helper()
	if err != nil {
		r.T.Fatal(err)
	}
}

// System is a context in which a test may ask the store for anything.
func (r *Rig) System() context.Context { return storage.System(r.T.Context()) }

// Advance moves the server's clock.
func (r *Rig) Advance(d time.Duration) { r.offset.Add(int64(d)) }

// StopClock stops the node's clock, so that no limit refills while a test runs. Advance still moves it.
func (r *Rig) StopClock() {
	began := time.Now()
	r.Store.SetClock(func() time.Time { return began.Add(time.Duration(r.offset.Load())) })
}

// User makes a user with Password, or finds the one that another node made.
func (r *Rig) User(email, name string, admin bool) storage.User {
	r.T.Helper()
	if u, err := r.Store.UserByEmail(r.System(), email); err == nil {
		return u
	}
	u := storage.User{ID: storage.NewID("user"), Email: email, Name: name, PasswordHash: passwordHash(), Admin: admin}
	r.ok(r.Store.InTx(r.System(), func(ctx context.Context) error {
		if err := r.Store.DropSetting(ctx, storage.SettingSetupToken); err != nil {
			return err
		}
		return r.Store.InsertUser(ctx, &u)
	}))
	return u
}

// quick is the cost of rigs' hashes. What protects passwords takes as long as a hundred requests, and half of the time
// of the tests.
var quick = identity.Cost{Memory: 64, Passes: 1}

// passwordHash is that of Password, computed once.
var passwordHash = sync.OnceValue(func() string {
	ctx := context.Background()
	store, err := storage.Open(ctx, "sqlite::memory:", storage.Options{})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	if _, err := store.Migrate(ctx); err != nil {
		panic(err)
	}
	people := identity.New(identity.Config{Store: store, Throttle: limit.NewSignIns(time.Now), Issuer: nodesIssuer, Cost: quick})
	u, err := people.CreateUser(ctx, identity.NewUser{Email: "once@example.com", Password: Password})
	if err != nil {
		panic(err)
	}
	return u.PasswordHash
})

// App is a registered client with its secret.
type App struct {
	storage.Client
	Secret   string
	Redirect string // the redirect URI that it uses
}

// App registers a client as the command does. Empty fields of the spec become those of the standing client: redirect
// URIs https://app.example/cb and http://127.0.0.1/cb, scopes read, write and delete.
func (r *Rig) App(p management.ClientSpec) *App {
	r.T.Helper()
	p.Administrator = true
	if p.Name == "" {
		p.Name = "Standing App"
	}
	if !p.ResourceServer {
		if p.RedirectURIs == nil && len(p.Grants) == 0 {
			p.RedirectURIs = []string{"https://app.example/cb", "http://127.0.0.1/cb"}
		}
		if p.Scopes == nil {
			p.Scopes = []string{"read", "write", "delete"}
		}
	}
	c, secret, err := r.Management.CreateClient(r.System(), management.CLI(""), p)
	r.ok(err)
	app := &App{Client: c, Secret: secret}
	if len(c.RedirectURIs) > 0 {
		app.Redirect = c.RedirectURIs[0]
	}
	return app
}

// ResourceServer registers a client that introspects for the default resource.
func (r *Rig) ResourceServer() *App {
	r.T.Helper()
	return r.App(management.ClientSpec{Name: "Example API", ResourceServer: true})
}

// The proof key of every request that does not bring one of its own (RFC 7636 appendix B).
const (
	Verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	Challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// Params are the parameters of an authorization request of app for scopes.
func (app *App) Params(scope string) url.Values {
	v := url.Values{
		"client_id": {app.ID}, "redirect_uri": {app.Redirect}, "response_type": {"code"}, "state": {"state-" + app.ID[len(app.ID)-4:]},
		"code_challenge": {Challenge}, "code_challenge_method": {"S256"},
	}
	if scope != "" {
		v.Set("scope", scope)
	}
	return v
}

// Answer is an HTTP response, read to its end.
type Answer struct {
	Status   int
	Header   http.Header
	Body     string
	Location *url.URL // nil without
	Cookies  []*http.Cookie
}

// JSON is the body as an object; nil when it is none.
func (a *Answer) JSON() map[string]any {
	var m map[string]any
	if json.Unmarshal([]byte(a.Body), &m) != nil {
		return nil
	}
	return m
}

// Text is a string member of the body.
func (a *Answer) Text(name string) string {
	text, _ := a.JSON()[name].(string)
	return text
}

// Param is a parameter of the redirect's query.
func (a *Answer) Param(name string) string {
	if a.Location == nil {
		return ""
	}
	return a.Location.Query().Get(name)
}

// Send does one request and follows no redirect. It is safe for goroutines of a test as long as it is not over.
func (r *Rig) Send(client *http.Client, q *http.Request) *Answer {
	resp, err := client.Do(q)
	if err != nil {
		r.T.Errorf("%s %s: %v", q.Method, q.URL.Path, err)
		return &Answer{Header: http.Header{}}
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end below
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.T.Errorf("%s %s: %v", q.Method, q.URL.Path, err)
	}
	a := &Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(body), Cookies: resp.Cookies()}
	if loc := resp.Header.Get("Location"); loc != "" {
		if a.Location, err = url.Parse(loc); err != nil {
			r.T.Errorf("Location %q: %v", loc, err)
		}
	}
	return a
}

// Program is a client without cookies that follows no redirect.
func (r *Rig) Program() *http.Client {
	c := *r.HTTP.Client()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// Request makes a request to a path of the server.
func (r *Rig) Request(method, path string, body io.Reader, header ...string) *http.Request {
	r.T.Helper()
	q, err := http.NewRequestWithContext(r.T.Context(), method, r.URL+path, body)
	r.ok(err)
	for i := 0; i+1 < len(header); i += 2 {
		q.Header.Add(header[i], header[i+1])
	}
	return q
}

// Post sends a form to an endpoint of the protocol, as a program does; headers come in pairs.
func (r *Rig) Post(path string, form url.Values, header ...string) *Answer {
	r.T.Helper()
	return r.Send(r.Program(), r.Request(http.MethodPost, path, strings.NewReader(form.Encode()),
		append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...))
}

// PostAs is Post with the client's credentials: by HTTP Basic, or, for a public client, its id in the body.
func (r *Rig) PostAs(app *App, path string, form url.Values, header ...string) *Answer {
	r.T.Helper()
	if app.Public {
		v := url.Values{"client_id": {app.ID}}
		for name, values := range form {
			v[name] = values
		}
		return r.Post(path, v, header...)
	}
	return r.Post(path, form, append([]string{"Authorization", Basic(app.ID, app.Secret)}, header...)...)
}

// Basic is the value of an Authorization header (RFC 6749, section 2.3.1).
func Basic(id, secret string) string {
	q := &http.Request{Header: http.Header{}}
	q.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	return q.Header.Get("Authorization")
}

// Exchange redeems a code with the rig's verifier.
func (r *Rig) Exchange(app *App, code string) *Answer {
	r.T.Helper()
	return r.PostAs(app, "/oauth/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {app.Redirect}, "code_verifier": {Verifier}})
}

// Refresh redeems a refresh token.
func (r *Rig) Refresh(app *App, token string) *Answer {
	r.T.Helper()
	return r.PostAs(app, "/oauth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

// Introspect asks about a credential.
func (r *Rig) Introspect(app *App, token string) *Answer {
	r.T.Helper()
	return r.PostAs(app, "/oauth/introspect", url.Values{"token": {token}})
}

// Alive reports whether introspection says that a token is active.
func (r *Rig) Alive(app *App, token string) bool {
	r.T.Helper()
	a := r.Introspect(app, token)
	active, ok := a.JSON()["active"].(bool)
	if a.Status != http.StatusOK || !ok {
		r.T.Fatalf("introspection answered %d %s", a.Status, a.Body)
	}
	return active
}

// Tokens signs Alice in in a new browser, has her allow scope, and redeems the code.
func (r *Rig) Tokens(app *App, scope string) (access, refresh string) {
	r.T.Helper()
	a := r.Exchange(app, r.Browser().SignIn(r.Alice.Email).Code(app, scope))
	if a.Status != http.StatusOK {
		r.T.Fatalf("exchange answered %d %s", a.Status, a.Body)
	}
	return a.Text("access_token"), a.Text("refresh_token")
}

// BreakStorage makes every statement fail from now on, as an unreachable database does.
func (r *Rig) BreakStorage() { r.Store.Close() }

// apis are how the gateway serves the resources.
func (o *Options) apis() []gateway.API {
	apis := o.APIs
	if apis == nil {
		for id, shape := range o.Shapes {
			apis = append(apis, gateway.API{ID: id, Shape: shape})
		}
	}
	return apis
}
