package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/oauth/identity"
	"doorward/oauth/limit"
	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/web/gateway"
)

// commandConns is how many PostgreSQL connections a command takes of those that a running server may need.
const commandConns = 2

// server is what the server and the administrative commands have in common: the functions that make every change.
type server struct {
	config     Config
	store      *storage.Store
	secrets    *seal.Secrets
	oauth      *oauth.Server
	management *management.Manager
	keyring    *bearer.Keyring
	bearer     *bearer.Verifier
	apikey     *apikey.Keys
	catalog    *catalog.Catalog
	identity   *identity.Service
	limits     *limit.Memory // what is to be saved of the limits; nil where the database counts
}

// openStore connects to the configured database; its schema stays as it is.
func (c Config) openStore(ctx context.Context, conns int) (*storage.Store, error) {
	store, err := storage.Open(ctx, c.DatabaseURL, storage.Options{MigrateURL: c.DatabaseMigrateURL, MaxConns: conns})
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return store, nil
}

// missingDatabase is the SQLite file that is not there yet; empty where it is, and on PostgreSQL. Whatever else is wrong
// with a file, opening it will say.
func (c Config) missingDatabase() string {
	name, ok := strings.CutPrefix(c.DatabaseURL, "sqlite:")
	if !ok {
		return ""
	}
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return name
}

// needDatabase keeps a command that was started in the wrong folder from making an empty database there.
func (c Config) needDatabase() error {
	name := c.missingDatabase()
	if name == "" {
		return nil
	}
	if absolute, err := filepath.Abs(name); err == nil {
		name = absolute
	}
	return fmt.Errorf("there is no database at %s: if that is where it is to be, run: doorward migrate; else say where it is, with DOORWARD_DATABASE_URL or --config", name)
}

// newServer wires what works on an open database with a current schema. It loads the master secret, makes one where
// the database is empty, and refuses a database that belongs to another.
func newServer(ctx context.Context, c Config, store *storage.Store, address func(*http.Request) netip.Addr) (*server, error) {
	secrets, err := claimSecret(ctx, c, store)
	if err != nil {
		return nil, err
	}
	var limiter limit.Limiter = limit.NewSQL(store)
	var limits *limit.Memory
	if store.Engine() == "sqlite" { // which one process serves, and where each count would be a write
		limits = limit.NewMemory(store)
		limiter = limits
	}
	offered, err := catalog.New(catalog.Config{Resources: c.oauthResources(), Plans: c.limitPlans()})
	if err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	keys := apikey.New(apikey.Config{Store: store, Catalog: offered})
	keyring := bearer.NewKeyring(bearer.KeyringConfig{Issuer: c.Issuer, Store: store, Secrets: secrets, Catalog: offered, AccessLifetime: c.oauthLifetimes().Access})
	verifier := bearer.New(bearer.Config{Issuer: c.Issuer, Store: store, Catalog: offered, APIKeys: keys, Keyring: keyring, Limiter: limiter})
	manager := management.New(management.Config{
		Issuer:           c.Issuer,
		Store:            store,
		Catalog:          offered,
		APIKeys:          keys,
		Limiter:          limiter,
		Grants:           oauth.GrantRules(),
		RedirectSchemes:  c.RedirectSchemes,
		OwnersSetPlans:   c.PlansBy == "owners",
		UnlimitedChanges: c.Tokens.ClientRequests == 0,
	})
	protocol, err := oauth.New(oauth.Config{
		Issuer:          c.Issuer,
		Store:           store,
		Secrets:         secrets,
		Catalog:         offered,
		Management:      manager,
		Bearer:          verifier,
		Keyring:         keyring,
		RedirectSchemes: c.RedirectSchemes,
		Lifetimes:       c.oauthLifetimes(),
		Tokens:          oauth.TokenLimits{ClientRequests: c.Tokens.ClientRequests, ClientLive: c.Tokens.ClientLive},
		Limiter:         limiter,
		ClientAddress:   address,
	})
	if err != nil {
		return nil, fmt.Errorf("authorization server: %w", err)
	}
	people := identity.New(identity.Config{
		Store:    store,
		Throttle: limit.NewSignIns(func() time.Time { return store.Now().Time() }),
		Issuer:   c.Issuer,
	})
	return &server{config: c, store: store, secrets: secrets, oauth: protocol, catalog: offered, apikey: keys, bearer: verifier, keyring: keyring, management: manager, identity: people, limits: limits}, nil
}

// claimSecret binds the master secret and the database to each other.
func claimSecret(ctx context.Context, c Config, store *storage.Store) (*seal.Secrets, error) {
	empty, err := store.Empty(storage.System(ctx))
	if err != nil {
		return nil, fmt.Errorf("master secret: %w", err)
	}
	masters, err := loadSecret(c, empty)
	if err != nil {
		return nil, err
	}
	secrets, err := seal.New(masters)
	if err != nil {
		return nil, fmt.Errorf("master secret: %w", err)
	}
	if err := secrets.BindToDatabase(ctx, store); err != nil {
		return nil, fmt.Errorf("master secret: %w", err)
	}
	return secrets, nil
}

// open is what every administrative command begins with; the caller closes the store.
func (a *app) open(ctx context.Context) (*server, error) {
	c, err := a.load(nil)
	if err != nil {
		return nil, err
	}
	if err := c.needDatabase(); err != nil {
		return nil, err
	}
	store, err := c.openStore(ctx, commandConns)
	if err != nil {
		return nil, err
	}
	server, err := a.openServer(ctx, c, store)
	if err != nil {
		store.Close()
		return nil, err
	}
	return server, nil
}

func (a *app) openServer(ctx context.Context, c Config, store *storage.Store) (*server, error) {
	switch err := store.Ping(ctx); {
	case errors.Is(err, storage.ErrOldSchema):
		return nil, errors.New("the database lacks the newest schema; run: doorward migrate")
	case err != nil:
		return nil, fmt.Errorf("database: %w", err)
	}
	nobody := func(*http.Request) netip.Addr { return netip.Addr{} } // a command has no client behind a request
	return newServer(ctx, c, store, nobody)
}

// oauthResources is what the protocol needs of the resources.
func (c Config) oauthResources() []catalog.Resource {
	resources := make([]catalog.Resource, len(c.Resources))
	for i, r := range c.Resources {
		scopes := make([]catalog.Scope, len(r.Scopes))
		for j, s := range r.Scopes {
			scopes[j] = catalog.Scope{Name: s.Name, Text: s.Text, Implies: s.Implies, UserOnly: s.UserOnly, Dangerous: s.Dangerous}
		}
		resources[i] = catalog.Resource{
			ID: r.ID, Name: r.Name, Scopes: scopes, Objects: r.Objects, CORS: r.CORS, UserPlan: r.UserPlan, ClientPlan: r.ClientPlan, AnonymousPlan: r.AnonymousPlan, WorkspaceHeader: r.WorkspaceHeader,
			JWT: r.Tokens == "jwt", TrustedIssuers: oauthTrustedIssuers(r.TrustedIssuers),
			Keys: catalog.KeyRules{
				Prefix: r.Keys.Prefix, Environments: r.Keys.Kinds, DefaultPlan: r.Keys.DefaultPlan, TestPlan: r.Keys.TestPlan, MaxLifetime: r.Keys.MaxLifetime, NewText: r.Keys.NewText,
			},
		}
	}
	return resources
}

func oauthTrustedIssuers(list []TrustedIssuer) []catalog.TrustedIssuer {
	issuers := make([]catalog.TrustedIssuer, len(list))
	for i, t := range list {
		issuers[i] = catalog.TrustedIssuer{
			Issuer: t.Issuer, Audiences: t.Audiences, ClientIDs: t.ClientIDs, HS256Secret: []byte(t.HS256Secret), JWKSURL: t.JWKSURL, Algorithms: t.Algorithms, Scopes: t.Scopes, Plan: t.Plan,
		}
	}
	return issuers
}

// apis are the resources as the gateway serves them.
func (c Config) apis() []gateway.API {
	apis := make([]gateway.API, len(c.Resources))
	for i, r := range c.Resources {
		a := gateway.API{
			ID: r.ID, Hosts: r.Hosts, Builtin: r.Builtin, CORS: r.CORS,
			Shape:     gateway.Shape{Name: r.Errors, Texts: gateway.Texts(r.ErrorTexts), ExpiredStatus: int(r.ExpiredStatus)},
			Rules:     make([]gateway.Rule, len(r.Routes)),
			Loose:     r.Paths == pathsLoose,
			Anonymous: gateway.Concurrency{Total: int(r.Anonymous.Total), PerAddress: int(r.Anonymous.PerAddress)},
		}
		if r.Upstream != "" {
			a.Upstream, _ = url.Parse(r.Upstream) // checkUpstream has done it
		}
		for j, route := range r.Routes {
			a.Rules[j] = gateway.Rule(route)
		}
		apis[i] = a
	}
	return apis
}

func (c Config) limitPlans() map[string]limit.Plan {
	plans := make(map[string]limit.Plan, len(c.Plans))
	for name, p := range c.Plans {
		plans[name] = limit.Plan{Hour: p.Hour, Day: p.Day, Burst: p.Burst}
	}
	return plans
}

func (c Config) oauthLifetimes() oauth.Lifetimes {
	return oauth.Lifetimes{
		Access:             c.Tokens.Access,
		Refresh:            c.Tokens.Refresh,
		RefreshAbsolute:    c.Tokens.RefreshAbsolute,
		RefreshReuseWindow: c.Tokens.RefreshReuseWindow,
		Code:               c.Tokens.Code,
	}
}

// terminal reports whether standard input is a terminal, at which somebody can answer.
func (a *app) terminal() bool {
	f, ok := a.stdin.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// readWords reads a line of words from standard input, which may be empty.
func (a *app) readWords() ([]string, error) {
	line, err := bufio.NewReader(io.LimitReader(a.stdin, maxValueBytes)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	return strings.Fields(line), nil
}

// readLine reads one line of standard input, for what must not stand on the command line, where others see it.
func (a *app) readLine(what string) (string, error) {
	if a.terminal() {
		_, _ = fmt.Fprintf(a.stderr, "Type the %s, which is shown, and press Enter: ", what)
	}
	line, err := bufio.NewReader(io.LimitReader(a.stdin, maxValueBytes)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the %s from standard input: %w", what, err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", usageError{fmt.Errorf("standard input holds no %s; write it there as one line", what)}
	}
	return line, nil
}
