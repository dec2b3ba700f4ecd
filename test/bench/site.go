package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/jackc/pgx/v5"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/identity"
	"doorward/oauth/limit"
	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/test/postgres"
)

const (
	benchIssuer = "http://localhost:8080"
	benchSecret = "a-master-secret-for-measuring-of-32-bytes-or-more"
)

// The databases of the rows, by name. Those that rows read get only the sessions of sign-ins, so that they keep
// their size.
const (
	reads      = "reads"      // PostgreSQL, a thousand of each thing
	writes     = "writes"     // PostgreSQL, for what rows create
	crowd      = "crowd"      // PostgreSQL, as many tokens as a cache is measured with
	large      = "large"      // PostgreSQL, a million of most things
	liteReads  = "liteReads"  // SQLite, a thousand of each thing
	liteWrites = "liteWrites" // SQLite, for what rows create
)

// size is how much there is in a database.
type size struct{ users, tokens, keys int }

// site is a database with a few registered things and, if it has a size, with credentials.
type site struct {
	database  string
	superuser *pgx.Conn // PostgreSQL: bypasses row-level security and checks, to insert rows
	client    storage.Client
	secret    string
	api       storage.Client
	apiSecret string
	user      storage.User
	workspace storage.Workspace
	grantID   string // PostgreSQL: a grant of the user
	adminKey  string
	makers    []string // keys of several workspaces that may create keys

	size                      // of the database
	tokenForms string         // file of forms: tokens to introspect
	keyForms   string         // file of forms: keys to check, and to charge
	signing    storage.Client // authenticates with key
	key        *clientKey
	numbered   bool // it has credentials for pgbench
}

// asAPI and asClient are the values of Authorization of the resource server and of the client.
func (s *site) asAPI() string    { return basic(s.api.ID, s.apiSecret) }
func (s *site) asClient() string { return basic(s.client.ID, s.secret) }

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
}

// on returns a database, and a server with a configuration on it. Both are made when a row first needs them.
func (b *bench) on(ctx context.Context, name, configuration string) (*site, *process, error) {
	s, err := b.site(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	p, err := b.server(ctx, s, configuration)
	return s, p, err
}

func (b *bench) site(ctx context.Context, name string) (*site, error) {
	if s := b.sites[name]; s != nil {
		return s, nil
	}
	thousand := size{1000, 1000, 1000}
	open := map[string]func() (*site, error){
		reads:      func() (*site, error) { return b.postgres(ctx, name, thousand) },
		writes:     func() (*site, error) { return b.postgres(ctx, name, size{}) },
		crowd:      func() (*site, error) { return b.postgres(ctx, name, size{1000, cached, 0}) },
		large:      func() (*site, error) { return b.postgres(ctx, name, b.large) },
		liteReads:  func() (*site, error) { return b.sqlite(ctx, name, thousand) },
		liteWrites: func() (*site, error) { return b.sqlite(ctx, name, size{}) },
	}[name]
	s, err := open()
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", name, err)
	}
	b.sites[name] = s
	return s, nil
}

// postgres makes a database in the run's PostgreSQL server, which it starts for the first one.
func (b *bench) postgres(ctx context.Context, name string, n size) (*site, error) {
	if b.cluster == nil {
		say("starting PostgreSQL")
		server, err := postgres.NewServer(ctx, postgres.Options{
			Durable: true, Settings: map[string]string{"shared_buffers": "1GB"},
		})
		if err != nil {
			return nil, err
		}
		b.cluster = server
		b.closers = append(b.closers, func() { _ = server.Close() })
	}
	s := &site{size: n}
	var err error
	if s.database, err = b.cluster.Cluster().CreateDatabase(ctx, "bench", func(context.Context, string) error {
		return nil
	}); err != nil {
		return nil, err
	}
	if err := s.register(ctx); err != nil {
		return nil, err
	}
	if s.superuser, err = connect(ctx, b.cluster, s.database); err != nil {
		return nil, fmt.Errorf("superuser: %w", err)
	}
	b.closers = append(b.closers, func() { _ = s.superuser.Close(context.WithoutCancel(ctx)) })
	s.grantID = storage.NewID("grant")
	if _, err := s.superuser.Exec(ctx,
		`INSERT INTO grants (id, client_id, user_id, workspace_id, resource, scopes, auth_time, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, 'read write', $6, $6, $7)`, s.grantID, s.client.ID, s.user.ID, s.workspace.ID,
		benchIssuer, now(), now()+30*day); err != nil {
		return nil, fmt.Errorf("grant: %w", err)
	}
	if n.users == 0 {
		return s, nil
	}
	s.tokenForms, s.keyForms = filepath.Join(b.dir, name+"-tokens"), filepath.Join(b.dir, name+"-keys")
	return s, s.fill(ctx)
}

// connect connects to a database as the superuser of its server.
func connect(ctx context.Context, server *postgres.Server, database string) (*pgx.Conn, error) {
	named, err := pgx.ParseConfig(database)
	if err != nil {
		return nil, err
	}
	c, err := pgx.ParseConfig(server.URL())
	if err != nil {
		return nil, err
	}
	c.Database = named.Database
	return pgx.ConnectConfig(ctx, c)
}

// sqlite makes a database file.
func (b *bench) sqlite(ctx context.Context, name string, n size) (*site, error) {
	s := &site{database: "sqlite:" + filepath.Join(b.dir, name, "doorward.db"), size: n}
	if err := s.register(ctx); err != nil {
		return nil, err
	}
	if n.users == 0 {
		return s, nil
	}
	s.tokenForms, s.keyForms = filepath.Join(b.dir, name+"-tokens"), filepath.Join(b.dir, name+"-keys")
	return s, s.fillSQLite(ctx)
}

// register creates the initial rows through the same functions as the CLI.
func (s *site) register(ctx context.Context) error {
	store, err := storage.Open(ctx, s.database, storage.Options{MaxConns: 2})
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.Migrate(ctx); err != nil {
		return err
	}
	secrets, err := seal.New([][]byte{[]byte(benchSecret)})
	if err != nil {
		return err
	}
	if err := secrets.BindToDatabase(ctx, store); err != nil {
		return err
	}
	//nolint:exhaustruct_v5 // no plans
	offered, err := catalog.New(catalog.Config{Resources: []catalog.Resource{{
		ID:     benchIssuer,
		Name:   "API",
		Scopes: []catalog.Scope{{Name: "read"}, {Name: "write"}, {Name: "admin", Implies: []string{"read", "write"}}},
		Keys:   catalog.KeyRules{Prefix: "sk", Environments: []string{"live"}},
	}}})
	if err != nil {
		return err
	}
	//nolint:exhaustruct_v5 // it only registers
	manager := management.New(management.Config{
		Issuer:  benchIssuer,
		Store:   store,
		Catalog: offered,
		APIKeys: apikey.New(apikey.Config{Store: store, Catalog: offered}),
		Grants:  oauth.GrantRules(),
	})
	system := storage.System(ctx)
	if s.client, s.secret, err = manager.CreateClient(system, management.CLI(""), management.ClientSpec{
		Name: "Load", RedirectURIs: []string{redirectURI},
		Grants:        []string{"authorization_code", "refresh_token", "client_credentials"},
		Scopes:        []string{"read", "write"},
		Administrator: true,
	}); err != nil {
		return err
	}
	if s.key, err = newClientKey(); err != nil {
		return err
	}
	jwks, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{s.key.public()}})
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if s.signing, _, err = manager.CreateClient(system, management.CLI(""), management.ClientSpec{
		Name: "Signing load", Grants: []string{"client_credentials"}, Scopes: []string{"read", "write"},
		AuthMethod: management.AuthPrivateKey, JWKS: string(jwks), Administrator: true,
	}); err != nil {
		return err
	}
	if s.api, s.apiSecret, err = manager.CreateClient(system, management.CLI(""),
		management.ClientSpec{Name: "API", ResourceServer: true, Administrator: true}); err != nil {
		return err
	}
	people := identity.New(identity.Config{Store: store, Throttle: limit.NewSignIns(time.Now), Issuer: benchIssuer})
	if s.user, err = people.CreateUser(ctx, identity.NewUser{
		Email: "load@example.com", Name: "Load", Password: password,
	}); err != nil {
		return err
	}
	if s.workspace, err = store.PersonalWorkspace(system, s.user.ID); err != nil {
		return err
	}
	admin := apikey.Spec{Name: "Load", Scopes: []string{"admin"}}
	if _, s.adminKey, err = manager.CreateKey(system, management.CLI(s.workspace.ID), "", admin); err != nil {
		return err
	}
	for i := range 4 {
		w, err := manager.CreateWorkspace(system, management.CLI(""), "Load", fmt.Sprintf("load-%d", i), "",
			s.user.ID)
		if err != nil {
			return err
		}
		_, key, err := manager.CreateKey(system, management.CLI(w.ID), "", admin)
		if err != nil {
			return err
		}
		s.makers = append(s.makers, key)
	}
	return nil
}

const day = int64(24 * 3600 * 1e6) // microseconds

func now() int64 { return time.Now().UnixMicro() }
