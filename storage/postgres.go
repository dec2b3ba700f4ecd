package storage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// The two roles with which the running server acts. Neither owns a table, so row-level security applies to both, even
// if their login may do more.
const (
	tenantRole = "doorward_tenant"
	systemRole = "doorward_system"
)

func (s *Store) openPostgres(ctx context.Context, url string, o Options) error {
	conns := o.MaxConns
	if conns == 0 {
		conns = max(8, 4*runtime.NumCPU())
	}
	migrateURL, migrateKey := o.MigrateURL, "database_migrate_url"
	if migrateURL == "" {
		migrateURL, migrateKey = url, "database_url"
	}
	if o.NoSetup {
		if _, missing, err := missingRoles(ctx, url); err != nil || len(missing) > 0 {
			if err == nil {
				err = fmt.Errorf("the database lacks %s, or its login is not a member; serve and migrate create and "+
					"grant them if the login may", strings.Join(missing, " and "))
			}
			return err
		}
	} else if err := ensureRoles(ctx, url, migrateURL, migrateKey); err != nil {
		return err
	}
	open := func(role string) (*sql.DB, *pgxpool.Pool, error) {
		cfg, err := pgxpool.ParseConfig(url)
		if err != nil {
			return nil, nil, errors.New("database_url is not a PostgreSQL URL") // pgx's error would quote the password
		}
		cfg.MaxConns = int32(conns) //nolint:gosec // a handful
		cfg.MaxConnIdleTime = 5 * time.Minute
		cfg.ConnConfig.ConnectTimeout = 2 * time.Second
		for k, v := range map[string]string{
			// lock_timeout is longer than deadlock_timeout (1 s), so that a deadlock is detected and the transaction retried.
			"role": role, "application_name": "doorward", "statement_timeout": "3s", "lock_timeout": "2s",
			"idle_in_transaction_session_timeout": "5s", "default_transaction_isolation": "read committed",
		} {
			cfg.ConnConfig.RuntimeParams[k] = v
		}
		if role == systemRole {
			s.listening = cfg.ConnConfig
		}
		pool, err := pgxpool.NewWithConfig(ctx, cfg)
		if err != nil {
			return nil, nil, unavailable(err)
		}
		db := stdlib.OpenDBFromPool(pool)
		db.SetMaxOpenConns(conns)
		s.closers = append(s.closers, func() { _ = db.Close(); pool.Close() })
		return db, pool, nil
	}
	var err error
	if s.system, s.native, err = open(systemRole); err != nil {
		return err
	}
	s.reader = s.system
	// Enough to keep the database busy, but few enough to fill batches. Writes wait for the disk, so fewer of them make
	// more share each wait.
	senders := max(1, conns/4)
	s.reads, s.counts = newBatcher(senders, s.deliverPostgres), newBatcher(senders, s.deliverPostgres)
	s.writes = newBatcher(max(1, conns/8), s.deliverPostgres)
	s.closers = append(s.closers, s.reads.close, s.writes.close, s.counts.close)
	var native *pgxpool.Pool
	if s.tenant, native, err = open(tenantRole); err != nil {
		return err
	}
	s.natives = map[string]*pgxpool.Pool{"system": s.native, "tenant": native}
	s.migrateURL, s.migrateKey = migrateURL, migrateKey
	return s.checkRoles(ctx)
}

// ensureRoles checks that both runtime roles exist and are granted to the login of url. If not, it creates and grants
// them if the login of migrateURL may; otherwise the error contains the SQL for a database administrator.
func ensureRoles(ctx context.Context, url, migrateURL, migrateKey string) error {
	login, missing, err := missingRoles(ctx, url)
	if err != nil || len(missing) == 0 {
		return err
	}
	cfg, err := pgx.ParseConfig(migrateURL)
	if err != nil {
		return errors.New("database_migrate_url is not a PostgreSQL URL")
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return explainConnect(migrateKey, migrateURL, err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost with it
	create := func(role string) string { return fmt.Sprintf("CREATE ROLE %s NOLOGIN NOBYPASSRLS", role) }
	grant := func(role string) string { return fmt.Sprintf("GRANT %s TO %s", role, pgx.Identifier{login}.Sanitize()) }
	var trouble error
	for _, role := range missing {
		for _, stmt := range []string{create(role), grant(role)} {
			switch _, err := conn.Exec(ctx, stmt); sqlState(err) {
			case "42501", "42704": // insufficient_privilege, and the role that could not be created
			case "42710", "23505": // duplicate_object, unique_violation: it exists, or another node is creating it
			default:
				trouble = errors.Join(trouble, err)
			}
		}
	}
	// Check again: another node may have created them.
	if _, missing, err = missingRoles(ctx, url); err != nil || len(missing) == 0 {
		return err
	}
	if trouble != nil {
		return unavailable(trouble)
	}
	var lines []string
	for _, role := range missing {
		if !roleExists(ctx, conn, role) {
			lines = append(lines, create(role)+";")
		}
		lines = append(lines, grant(role)+";")
	}
	return fmt.Errorf("the database lacks %s, or %s is not a member, and may not change that; as a role that may, "+
		"run:\n\n%s",
		strings.Join(missing, " and "), login, strings.Join(lines, "\n"))
}

func roleExists(ctx context.Context, conn *pgx.Conn, role string) bool {
	var n int
	return conn.QueryRow(ctx, `SELECT 1 FROM pg_roles WHERE rolname = $1`, role).Scan(&n) == nil
}

// missingRoles returns the login of url, and which of the two roles it cannot assume.
func missingRoles(ctx context.Context, url string) (login string, missing []string, err error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return "", nil, errors.New("database_url is not a PostgreSQL URL")
	}
	cfg.ConnectTimeout = 2 * time.Second
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return "", nil, explainConnect("database_url", url, err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost with it
	if err := checkVersion(ctx, conn); err != nil {
		return "", nil, err
	}
	for _, role := range []string{tenantRole, systemRole} {
		// A superuser is a member of every role, so the role needs only to exist. From PostgreSQL 16 on, the creator of a
		// role may grant it, but cannot assume it without a grant.
		var member bool
		err := conn.QueryRow(ctx, `SELECT session_user, COALESCE((SELECT pg_has_role(session_user, oid,
			CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)
			FROM pg_roles WHERE rolname = $1), FALSE)`, role).Scan(&login, &member)
		if err != nil {
			return "", nil, unavailable(err)
		}
		if !member {
			missing = append(missing, role)
		}
	}
	return login, missing, nil
}

// leastVersion is the oldest PostgreSQL on which the schema works.
const leastVersion = 15

func checkVersion(ctx context.Context, conn *pgx.Conn) error {
	var number int
	if err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&number); err != nil {
		return unavailable(err)
	}
	if version := number / 10000; version < leastVersion {
		return fmt.Errorf("database_url: the PostgreSQL server has version %d; Doorward needs %d or later", version,
			leastVersion)
	}
	return nil
}

// checkRoles returns an error if a runtime connection could bypass row-level security.
func (s *Store) checkRoles(ctx context.Context) error {
	for role, db := range map[string]*sql.DB{systemRole: s.system, tenantRole: s.tenant} {
		var super, bypass, owns bool
		err := db.QueryRowContext(ctx, `SELECT r.rolsuper, r.rolbypassrls,
			EXISTS (SELECT 1 FROM pg_class c WHERE pg_has_role(r.oid, c.relowner, 'MEMBER'))
			FROM pg_roles r WHERE r.rolname = current_user`).Scan(&super, &bypass, &owns)
		if err != nil {
			return classify(err)
		}
		if super || bypass || owns {
			return fmt.Errorf("the database role %s is a superuser, has BYPASSRLS, owns a table or is a member of a "+
				"role that does, so that it could read every workspace; let an administrator of the database take "+
				"that "+
				"from it",
				role)
		}
	}
	return nil
}

func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// nativePool runs single statements on pgx's own pool. Bypassing database/sql saves about a fifth of the server's own
// work for an introspection, which is mostly such a statement.
type nativePool struct{ pool *pgxpool.Pool }

// exec implements querier.
func (q nativePool) exec(ctx context.Context, query string, args []any) (int64, error) {
	plain, err := storedArgs(args)
	if err != nil {
		return 0, err
	}
	tag, err := q.pool.Exec(ctx, query, plain...)
	return tag.RowsAffected(), err
}

// each implements querier.
func (q nativePool) each(ctx context.Context, fn func(scan func(...any) error) error, query string, args []any) error {
	plain, err := storedArgs(args)
	if err != nil {
		return err
	}
	rows, err := q.pool.Query(ctx, query, plain...)
	if err != nil {
		return err
	}
	return eachNative(rows, fn)
}

// eachNative calls fn for every row.
func eachNative(rows pgx.Rows, fn func(scan func(...any) error) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// storedArgs converts our own types to the values that are stored. pgx would use the underlying integer or slice before
// it calls Value, and a zero Time would be stored as 1970.
func storedArgs(args []any) ([]any, error) {
	plain := make([]any, len(args))
	for i, arg := range args {
		if v, ok := arg.(driver.Valuer); ok {
			value, err := v.Value()
			if err != nil {
				return nil, fmt.Errorf("storage: %w", err)
			}
			arg = value
		}
		plain[i] = arg
	}
	return plain, nil
}

// insertOwnTokenOncePostgres is the statement of InsertOwnAccessTokenOnce: two writes in one, so that concurrent
// requests share a batch. SQLite has no statement like it.
var insertOwnTokenOncePostgres = Statement{`WITH used AS (
	INSERT INTO used_assertions (name, expires_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING RETURNING name)
	INSERT INTO access_tokens (digest, client_id, resource, scopes, created_at, expires_at, dpop_key)
	SELECT digest, client_id, resource, scopes, created_at, expires_at, dpop_key FROM access_tokens WHERE FALSE
	UNION ALL SELECT $3, $4, $5, $6, $7, $8, $9 FROM used, clients c LEFT JOIN workspaces w ON w.id = c.workspace_id
	WHERE c.id = $4 AND c.disabled_at IS NULL AND w.disabled_at IS NULL`, shared | ordered}
