//go:build faults

package faults

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"doorward/migrations"
	"doorward/storage"
	"doorward/test/postgres"
	"doorward/test/setup"
)

// old brings a database to the version before the newest, as the previous release left it. If there is a single
// migration, that is version 0: only the table of versions exists.
func old(t *testing.T, s *server, direct string) {
	t.Helper()
	dialect, files, dir, address := goose.DialectPostgres, fs.FS(migrations.Postgres), "postgres", direct
	if direct == sqliteURL {
		ok(t, os.MkdirAll(filepath.Join(s.folder, "data"), 0o700))
		dialect, files, dir = goose.DialectSQLite3, migrations.SQLite, "sqlite"
		address = "sqlite:" + filepath.Join(s.folder, "data", "doorward.db")
	}
	store, err := storage.Open(t.Context(), address, storage.Options{MaxConns: 1}) // creates the roles
	ok(t, err)
	store.Close()
	files, err = fs.Sub(files, dir)
	ok(t, err)
	p, err := goose.NewProvider(dialect, s.openDatabase(direct), files)
	ok(t, err)
	all := p.ListSources()
	if before := all[len(all)-1].Version - 1; before > 0 {
		_, err := p.UpTo(t.Context(), before)
		ok(t, err)
	}
	if _, err := p.Status(t.Context()); err != nil { // creates the table of versions if no migration was applied
		t.Fatal(err)
	}
}

// beside returns a second node of the same server: on its own port, with the same database and the same data folder.
func beside(t *testing.T, s *server) *server {
	t.Helper()
	other := newServer(t, s.database)
	other.env = append(append([]string{}, s.env...), "DOORWARD_LISTEN="+other.address) // the last one counts
	if s.database == sqliteURL {
		other.folder = s.folder
	}
	return other
}

// Two nodes that start at once on a database that needs migration both come up, and each migration runs once.
func TestZ13_TwoNodesMigrateAtOnce(t *testing.T) {
	setup.Long(t)
	const times = 20
	_, err := builtBinary() // before the starts are timed
	ok(t, err)
	run := func(t *testing.T, name string, prepare func(t *testing.T) (*server, func())) {
		var slowest time.Duration
		for range times {
			a, after := prepare(t)
			b := beside(t, a)
			begin := time.Now()
			a.launch()
			b.launch()
			a.await(30 * time.Second)
			b.await(30 * time.Second)
			slowest = max(slowest, time.Since(begin))
			db := a.openDatabase(a.database)
			ctx := t.Context()
			if n := number(ctx, t, db,
				`SELECT count(*) FROM (SELECT version_id FROM goose_db_version WHERE version_id > 0
					GROUP BY version_id HAVING count(*) <> 1) x`); n > 0 {
				t.Errorf("%d migrations were applied more than once", n)
			}
			have, want := number(ctx, t, db, `SELECT count(*) FROM goose_db_version WHERE version_id > 0 AND is_applied`),
				newest(t, a.database)
			if have != want {
				t.Errorf("%d migrations are applied, want %d", have, want)
			}
			if a.database != sqliteURL {
				n := number(ctx, t, db,
					`SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
						AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
				if n > 0 {
					t.Errorf("%d advisory locks are still held", n)
				}
			}
			// Each node accepts the tokens of the other.
			c := a.register("--name", "App", "--grant", "client_credentials", "--scope", "read")
			for _, s := range []*server{a, b} {
				w := &world{server: s, http: program(1), app: c}
				if r := w.clientCredentials(ctx); !r.done() {
					t.Errorf("a token of a node was answered %s", r)
				}
				w.http.CloseIdleConnections()
			}
			begin = time.Now()
			if _, err := a.command("", "migrate"); err != nil { // this needs the lock to be free
				t.Error(err)
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("migrating again took %s", took)
			}
			ok(t, db.Close())
			a.kill()
			b.kill()
			after()
			if t.Failed() {
				break
			}
		}
		report(t, "Z-13 "+name, "two processes started at the same moment",
			"both come up, each migration ran once, the lock is free",
			fmt.Sprintf("%d starts, both ready within %d ms", times, slowest.Milliseconds()))
	}

	for _, state := range []string{"empty", "old"} {
		t.Run("sqlite "+state, func(t *testing.T) {
			run(t, "SQLite, "+state, func(t *testing.T) (*server, func()) {
				s := newServer(t, sqliteURL)
				if state == "old" {
					old(t, s, sqliteURL)
				}
				return s, func() {}
			})
		})
		t.Run("postgresql "+state, func(t *testing.T) {
			p := postgres.Private(t, postgres.Options{TCP: true})
			run(t, "PostgreSQL, "+state, func(t *testing.T) (*server, func()) {
				direct := emptyDatabase(t, p)
				s := newServer(t, direct, "DOORWARD_SECRET=a-secret-of-both-nodes-that-has-32-bytes-or-more")
				if state == "old" {
					old(t, s, direct)
				}
				return s, func() {
					// The roles are dropped too, so that the next two nodes must create them at the same time as well.
					ctx := context.WithoutCancel(t.Context())
					ok(t, p.Cluster().DropLogin(ctx, direct))
					db := s.openDatabase(p.URL())
					for _, role := range []string{"doorward_tenant", "doorward_system"} {
						_, err := db.ExecContext(ctx, "DROP ROLE "+role)
						ok(t, err)
					}
					ok(t, db.Close())
				}
			})
		})
	}
}

func newest(t *testing.T, databaseURL string) int {
	t.Helper()
	files, dir := fs.FS(migrations.Postgres), "postgres"
	if databaseURL == sqliteURL {
		files, dir = migrations.SQLite, "sqlite"
	}
	list, err := fs.Glob(files, dir+"/*.sql")
	ok(t, err)
	return len(list)
}
