package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
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
	verifier    = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B
	challenge   = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	once        = 40_000 // single-use codes or tokens created for each round of a row
	sample      = 100_000
)

// site is one server with one database.
type site struct {
	database  string
	owner     *pgx.Conn // bypasses row-level security, to insert rows
	process   *process
	client    storage.Client
	secret    string
	api       storage.Client
	apiSecret string
	user      storage.User
	workspace storage.Workspace
	grantID   string
	adminKey  string
	makers    []string // keys of several workspaces that may create keys
}

func (s *site) close() {
	if s == nil {
		return
	}
	s.process.stop()
	if s.owner != nil {
		_ = s.owner.Close(context.Background())
	}
}

// open creates a database with its clients and user through the same functions as the CLI, and starts a server with it.
func (b *bench) open(ctx context.Context, cluster *postgres.Cluster) (*site, error) {
	s := &site{}
	var err error
	if s.database, err = cluster.CreateDatabase(ctx, "bench", func(context.Context, string) error {
		return nil
	}); err != nil {
		return s, err
	}
	if err := s.register(ctx); err != nil {
		return s, err
	}
	if s.owner, err = pgx.Connect(ctx, s.database); err != nil {
		return s, fmt.Errorf("owner: %w", err)
	}
	s.grantID = storage.NewID("grant")
	if _, err := s.owner.Exec(ctx,
		`INSERT INTO grants (id, client_id, user_id, workspace_id, resource, scopes, auth_time, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, 'read write', $6, $6, $7)`, s.grantID, s.client.ID, s.user.ID, s.workspace.ID,
		benchIssuer, now(), now()+30*day); err != nil {
		return s, fmt.Errorf("grant: %w", err)
	}
	s.process, err = b.server(ctx, s.database)
	return s, err
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
		Name: "Load", RedirectURIs: []string{"https://app.example/cb"},
		Grants:        []string{"authorization_code", "refresh_token", "client_credentials"},
		Scopes:        []string{"read", "write"},
		Administrator: true,
	}); err != nil {
		return err
	}
	if s.api, s.apiSecret, err = manager.CreateClient(system, management.CLI(""),
		management.ClientSpec{Name: "API", ResourceServer: true, Administrator: true}); err != nil {
		return err
	}
	people := identity.New(identity.Config{Store: store, Throttle: limit.NewSignIns(time.Now), Issuer: benchIssuer})
	if s.user, err = people.CreateUser(ctx, identity.NewUser{
		Email: "load@example.com", Name: "Load", Password: "seven lanterns by the canal",
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

// fill copies n rows into a table and writes their credentials as form bodies, one on each line.
func (s *site) fill(ctx context.Context, table string, columns []string, n int, prefix, path string, keep int,
	body func(text string) string, rest ...any,
) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	w := bufio.NewWriter(f)
	_, err = s.owner.CopyFrom(ctx, pgx.Identifier{table}, append([]string{"digest"}, columns...),
		pgx.CopyFromSlice(n, func(i int) ([]any, error) {
			text := bearer.NewCredential(prefix)
			if i%max(1, n/keep) == 0 {
				if _, err := w.WriteString(body(text) + "\n"); err != nil {
					return nil, fmt.Errorf("fill: %w", err)
				}
			}
			return append([]any{storage.Digest(text)}, rest...), nil
		}))
	if err = errors.Join(err, w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("fill %s: %w", table, err)
	}
	_, err = s.owner.Exec(ctx, "VACUUM ANALYZE "+table) // so that autovacuum does not run during a measurement
	return err
}

func (s *site) accessTokens(ctx context.Context, n int, path string) error {
	return s.fill(ctx, "access_tokens", []string{
		"grant_id", "client_id", "resource", "scopes", "created_at", "expires_at",
	}, n, bearer.PrefixAccessToken, path, sample,
		func(text string) string { return url.Values{"token": {text}}.Encode() }, s.grantID, s.client.ID, benchIssuer,
		"read write", now(), now()+day)
}

// rows prepares everything to measure. closeAll stops it, and must be called after an error, too.
func (b *bench) rows(ctx context.Context) (rows []*row, closeAll func(), err error) {
	var closers []func()
	closeAll = func() {
		for i := len(closers) - 1; i >= 0; i-- {
			closers[i]()
		}
	}
	say("starting PostgreSQL")
	pg, err := postgres.NewServer(ctx, postgres.Options{Durable: true})
	if err != nil {
		return nil, closeAll, err
	}
	closers = append(closers, func() { _ = pg.Close() })
	cluster := pg.Cluster()
	small, err := b.open(ctx, cluster)
	closers = append(closers, small.close)
	if err != nil {
		return nil, closeAll, err
	}
	thousand := filepath.Join(b.dir, "thousand")
	if err := small.accessTokens(ctx, 1000, thousand); err != nil {
		return nil, closeAll, err
	}
	metadataBare, err := b.bare(ctx, 1000)
	if err != nil {
		return nil, closeAll, err
	}
	closers = append(closers, metadataBare.stop)

	rows = append(rows, b.introspection(small, thousand), b.clientCredentials(small), b.exchange(small), b.refresh(small),
		&row{
			name: "metadata", limit: "bare handler", want: 0.60,
			ours: func(ctx context.Context, _ int) (float64, error) {
				return b.wrk(ctx, small.process.url+"/.well-known/oauth-authorization-server", "", "")
			},
			against: func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, metadataBare.url, "", "") },
		})
	keys, closeKeys, err := b.keyRows(ctx, cluster, small)
	closers = append(closers, closeKeys)
	if err != nil {
		return nil, closeAll, err
	}
	rows = append(rows, keys...)
	gateways, closeGateways, err := b.gatewayRows(ctx, small)
	closers = append(closers, closeGateways)
	if err != nil {
		return nil, closeAll, err
	}
	rows = append(rows, gateways...)
	if b.only == "" || strings.Contains("active tokens", b.only) {
		say("filling a database with %d active tokens", b.many)
		large, err := b.open(ctx, cluster)
		closers = append(closers, large.close)
		if err != nil {
			return nil, closeAll, err
		}
		million := filepath.Join(b.dir, "million")
		if err := large.accessTokens(ctx, b.many, million); err != nil {
			return nil, closeAll, err
		}
		rows = append(rows, &row{
			name: fmt.Sprintf("introspection, %d active tokens", b.many), limit: "with 1000", want: 0.90,
			ours: func(ctx context.Context, _ int) (float64, error) {
				return b.wrk(ctx, large.process.url+"/oauth/introspect", million, basic(large.api.ID, large.apiSecret))
			},
			against: func(ctx context.Context, _ int) (float64, error) {
				return b.wrk(ctx, small.process.url+"/oauth/introspect", thousand, basic(small.api.ID, small.apiSecret))
			},
		})
	}
	return rows, closeAll, nil
}

// The limit of introspection is the one statement that it runs, with tokens as they are stored.
func (b *bench) introspection(s *site, bodies string) *row {
	prepared := false
	return &row{
		name: "introspection, opaque", limit: "pgbench select", want: 0.35,
		prepare: func(ctx context.Context, _ int) error {
			if prepared {
				return nil
			}
			prepared = true
			// pgbench cannot hash, so it uses tokens whose digest is a number.
			_, err := s.owner.Exec(ctx,
				`INSERT INTO access_tokens (digest, grant_id, client_id, resource, scopes, created_at, expires_at)
				SELECT decode(lpad(to_hex(i), 64, '0'), 'hex'), $1, $2, $3, 'read write', $4::bigint, $5::bigint
				FROM generate_series(1, 1000) i`,
				s.grantID, s.client.ID, benchIssuer, now(), now()+day)
			return err
		},
		ours: func(ctx context.Context, _ int) (float64, error) {
			return b.wrk(ctx, s.process.url+"/oauth/introspect", bodies, basic(s.api.ID, s.apiSecret))
		},
		against: func(ctx context.Context, _ int) (float64, error) {
			return b.pgbench(ctx, s.database, "select", `\set id random(1, 1000)
`+bind(storage.AccessTokenStatement, numberedID)+";\n")
		},
	}
}

// numberedID is the digest made from pgbench's variable id.
const numberedID = "decode(lpad(to_hex(:id::bigint), 64, '0'), 'hex')"

// fresh is a digest that is not in use.
const fresh = "(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))"

var placeholder = regexp.MustCompile(`\$(\d+)`)

// bind replaces the parameters of a Doorward statement with expressions.
func bind(statement storage.Statement, args ...string) string {
	return placeholder.ReplaceAllStringFunc(strings.Join(strings.Fields(statement.SQL()), " "), func(p string) string {
		n, err := strconv.Atoi(p[1:])
		if err != nil || n > len(args) {
			panic("statement with other parameters than expected: " + statement.SQL())
		}
		return args[n-1]
	})
}

func text(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func (s *site) insertAccess(grant string) string {
	return bind(storage.InsertAccessTokenStatement, fresh, grant, text(s.client.ID), text(benchIssuer), text("read write"),
		strconv.FormatInt(now(), 10), strconv.FormatInt(now()+day, 10))
}

func (s *site) insertRefresh() string {
	return bind(storage.InsertRefreshTokenStatement, fresh, text(s.grantID), strconv.FormatInt(now(), 10),
		strconv.FormatInt(now()+day, 10))
}

func (b *bench) clientCredentials(s *site) *row {
	bodies := filepath.Join(b.dir, "client-credentials")
	return &row{
		name: "client_credentials, opaque", limit: "pgbench insert", want: 0.50,
		prepare: func(context.Context, int) error {
			return os.WriteFile(bodies, []byte(strings.Repeat("grant_type=client_credentials&scope=read+write\n", 4)), 0o600)
		},
		ours: func(ctx context.Context, _ int) (float64, error) {
			return b.wrk(ctx, s.process.url+"/oauth/token", bodies, basic(s.client.ID, s.secret))
		},
		against: func(ctx context.Context, _ int) (float64, error) {
			return b.pgbench(ctx, s.database, "insert", s.insertAccess("NULL")+";\n")
		},
	}
}

// supply names the file with the single-use credentials of a round.
func (b *bench) supply(kind string, round int) string {
	return filepath.Join(b.dir, fmt.Sprintf("once-%s-%d", kind, round))
}

func (b *bench) exchange(s *site) *row {
	return &row{
		name: "code exchange", limit: "pgbench, its statements", want: 0.50,
		prepare: func(ctx context.Context, round int) error {
			err := s.numbered(ctx, "codes", "redirect_uri, challenge, created_at, expires_at",
				"'https://app.example/cb', '"+challenge+"', $2::bigint, $3::bigint")
			if err != nil {
				return err
			}
			return s.fill(ctx, "codes", []string{"grant_id", "redirect_uri", "challenge", "created_at", "expires_at"}, once,
				bearer.PrefixCode, b.supply("codes", round), once,
				func(code string) string {
					return url.Values{
						"grant_type":    {"authorization_code"},
						"code":          {code},
						"code_verifier": {verifier},
						"redirect_uri":  {"https://app.example/cb"},
					}.Encode()
				}, s.grantID, "https://app.example/cb", challenge, now(), now()+day)
		},
		ours: func(ctx context.Context, round int) (float64, error) {
			return b.wrk(ctx, s.process.url+"/oauth/token", b.supply("codes", round), basic(s.client.ID, s.secret))
		},
		against: func(ctx context.Context, _ int) (float64, error) {
			return b.pgbench(ctx, s.database, "exchange", `\set id random(1, `+strconv.Itoa(numbered)+`)
`+bind(storage.CodeStatement, numberedID)+`;
BEGIN;
`+bind(storage.ConsumeCodeStatement, numberedID, strconv.FormatInt(now(), 10))+`;
`+s.insertAccess(text(s.grantID))+`;
`+s.insertRefresh()+`;
COMMIT;
`)
		},
	}
}

func (b *bench) refresh(s *site) *row {
	return &row{
		name: "refresh", limit: "pgbench, its statements", want: 0.50,
		prepare: func(ctx context.Context, round int) error {
			if err := s.numbered(ctx, "refresh_tokens", "created_at, expires_at", "$2::bigint, $3::bigint"); err != nil {
				return err
			}
			return s.fill(ctx, "refresh_tokens", []string{"grant_id", "created_at", "expires_at"}, once,
				bearer.PrefixRefreshToken, b.supply("refresh", round), once,
				func(token string) string {
					return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}.Encode()
				}, s.grantID, now(), now()+day)
		},
		ours: func(ctx context.Context, round int) (float64, error) {
			return b.wrk(ctx, s.process.url+"/oauth/token", b.supply("refresh", round), basic(s.client.ID, s.secret))
		},
		against: func(ctx context.Context, _ int) (float64, error) {
			at := strconv.FormatInt(now(), 10)
			return b.pgbench(ctx, s.database, "refresh", `\set id random(1, `+strconv.Itoa(numbered)+`)
`+bind(storage.RefreshTokenStatement, numberedID)+`;
BEGIN;
`+bind(storage.UseRefreshTokenStatement, numberedID, at, at, strconv.Itoa(storage.MaxRefreshRepeats))+`;
`+s.insertAccess(text(s.grantID))+`;
`+s.insertRefresh()+`;
COMMIT;
`)
		},
	}
}

// numbered is the number of rows that pgbench chooses from; there are enough that most are chosen for the first time.
const numbered = 200_000

// numbered replaces the rows that pgbench has used up.
func (s *site) numbered(ctx context.Context, table, columns, values string) error {
	if _, err := s.owner.Exec(ctx, `DELETE FROM `+table); err != nil {
		return fmt.Errorf("renew %s: %w", table, err)
	}

	if _, err := s.owner.Exec(ctx, `INSERT INTO `+table+` (digest, grant_id, `+columns+`)
		SELECT decode(lpad(to_hex(i), 64, '0'), 'hex'), $1, `+values+` FROM generate_series(1, `+strconv.Itoa(numbered)+`) i`,
		s.grantID, now(), now()+day); err != nil {
		return fmt.Errorf("renew %s: %w", table, err)
	}
	_, err := s.owner.Exec(ctx, "VACUUM ANALYZE "+table)
	return err
}

func basic(id, secret string) string {
	q := url.UserPassword(url.QueryEscape(id), url.QueryEscape(secret))
	password, _ := q.Password()
	return "Basic " + encode(q.Username()+":"+password)
}

func encode(credentials string) string { return base64.StdEncoding.EncodeToString([]byte(credentials)) }
