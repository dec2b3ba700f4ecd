//go:build faults

package faults

import (
	"context"
	"database/sql"
	"net/url"
	"path/filepath"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	"doorward/test/postgres"
	"doorward/test/setup"
)

// onEachEngine runs fn with the URL of an empty database. All calls in a test share one PostgreSQL server, which is
// never stopped.
func onEachEngine(t *testing.T, fn func(t *testing.T, databaseURL string)) {
	t.Helper()
	setup.Long(t)
	t.Run("sqlite", func(t *testing.T) { fn(t, sqliteURL) })
	t.Run("postgresql", func(t *testing.T) {
		p := postgres.Private(t, postgres.Options{TCP: true})
		fn(t, emptyDatabase(t, p))
	})
}

// emptyDatabase creates a database whose owner may create roles but is not a superuser.
func emptyDatabase(t testing.TB, p *postgres.Server) string {
	t.Helper()
	address, err := p.Cluster().CreateLogin(t.Context(), postgres.Login{CreateRole: true, Database: true})
	ok(t, err)
	return address
}

// engineOf returns the name of the engine for the tables, from its URL.
func engineOf(databaseURL string) string {
	if databaseURL == sqliteURL {
		return "SQLite"
	}
	return "PostgreSQL"
}

// openDatabase opens the server's database directly.
func (s *server) openDatabase(direct string) *sql.DB {
	s.t.Helper()
	driver := "pgx"
	if direct == sqliteURL {
		driver, direct = "sqlite", "file:"+filepath.Join(s.folder, "data", "doorward.db")+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, direct)
	ok(s.t, err)
	s.t.Cleanup(func() { _ = db.Close() })
	return db
}

// asSuperuser returns the URL of the same database for the superuser of p.
func asSuperuser(t testing.TB, p *postgres.Server, databaseURL string) string {
	t.Helper()
	of, err := url.Parse(databaseURL)
	ok(t, err)
	u, err := url.Parse(p.URL())
	ok(t, err)
	u.Path = of.Path
	return u.String()
}

// number runs a query that returns one number.
func number(ctx context.Context, t testing.TB, db *sql.DB, query string, args ...any) (n int) {
	t.Helper()
	ok(t, db.QueryRowContext(ctx, query, args...).Scan(&n))
	return n
}

// halfDone counts authorizations whose rows do not fit together. A code must be spent if and only if there are tokens,
// each use of a refresh token must have created one access token, and each used refresh token must have one successor.
// So it also finds a code that was exchanged twice.
const halfDone = `SELECT count(*) FROM (SELECT
	(SELECT count(*) FROM codes k WHERE k.grant_id = g.id) AS codes,
	(SELECT count(*) FROM codes k WHERE k.grant_id = g.id AND k.used_at IS NOT NULL) AS spent,
	(SELECT count(*) FROM access_tokens a WHERE a.grant_id = g.id) AS access,
	(SELECT count(*) FROM refresh_tokens r WHERE r.grant_id = g.id) AS refresh,
	(SELECT count(*) FROM refresh_tokens r WHERE r.grant_id = g.id AND r.used_at IS NOT NULL) AS used,
	(SELECT COALESCE(sum(r.uses), 0) FROM refresh_tokens r WHERE r.grant_id = g.id) AS uses
	FROM grants g) x
	WHERE NOT (codes = 1 AND ((spent = 0 AND access = 0 AND refresh = 0)
		OR (spent = 1 AND access = 1 + uses AND refresh = 1 + used)))`

// halfDoneKeys counts API keys without the audit event of their creation or revocation, and rotated keys without a
// replacement.
const halfDoneKeys = `SELECT count(*) FROM api_keys k WHERE
	(k.id NOT IN (SELECT target FROM audit_events WHERE action = 'api_key.created')
		AND k.id NOT IN (SELECT rotated_into FROM api_keys))
	OR (k.revoked_at IS NOT NULL AND k.id NOT IN (SELECT target FROM audit_events WHERE action = 'api_key.revoked'))
	OR (k.rotated_into <> '' AND (k.rotated_into NOT IN (SELECT id FROM api_keys)
		OR k.id NOT IN (SELECT target FROM audit_events WHERE action = 'api_key.rotated')))`
