package storage

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// Migration is one step of the schema.
type Migration struct {
	Version   int64  // its number, from 1
	Name      string // its file
	Applied   bool
	AppliedAt time.Time // zero while not applied
}

// Migrate brings the schema to the newest version that this program knows, and returns the migrations that it applied.
// Several nodes may call it at once: one does the work while the others wait. If there is nothing to do, it takes no
// lock and needs no permission to change the schema.
func (s *Store) Migrate(ctx context.Context) ([]Migration, error) {
	if s.Ping(ctx) == nil {
		return nil, nil
	}
	var done []Migration
	err := s.withProvider(ctx, true, func(p *goose.Provider) error {
		if s.engine == sqliteEngine {
			version, err := p.GetDBVersion(ctx)
			if err != nil {
				return fmt.Errorf("read the schema's version: %w", err)
			}
			pending, err := p.HasPending(ctx)
			if err != nil {
				return fmt.Errorf("read the schema's version: %w", err)
			}
			if pending {
				if err := s.backupSQLite(ctx, version); err != nil {
					return err
				}
			}
		}
		results, err := p.Up(ctx)
		for _, r := range results {
			if r.Error == nil {
				done = append(done, Migration{
					Version: r.Source.Version, Name: r.Source.Path, Applied: true,
					AppliedAt: s.Now().Time(),
				})
			}
		}
		return err
	})
	switch {
	case err == nil:
	case sqlState(err) == "42501": // insufficient_privilege
		err = fmt.Errorf("the schema lacks migrations, and the login of %s may not change it; as a login that may, run "+
			"doorward migrate, or put its URL into database_migrate_url (%w)", s.migrateKey, unavailable(err))
	default:
		err = fmt.Errorf("migrate: %w", err)
	}
	return done, err
}

// Migrations lists all migrations and whether each has been applied. On an empty database it creates goose's version
// table, and changes nothing else.
func (s *Store) Migrations(ctx context.Context) ([]Migration, error) {
	var list []Migration
	err := s.withProvider(ctx, false, func(p *goose.Provider) error {
		status, err := p.Status(ctx)
		if err != nil {
			return fmt.Errorf("migration status: %w", err)
		}
		for _, m := range status {
			list = append(list, Migration{
				Version: m.Source.Version, Name: m.Source.Path,
				Applied: m.State == goose.StateApplied, AppliedAt: m.AppliedAt,
			})
		}
		return nil
	})
	return list, err
}

// withProvider calls fn with goose's access to the database, as the schema's owner and, if exclusive, under a lock.
func (s *Store) withProvider(ctx context.Context, exclusive bool, fn func(*goose.Provider) error) error {
	options := []goose.ProviderOption{goose.WithSlog(slog.New(slog.DiscardHandler))}
	dialect, db := goose.DialectSQLite3, s.system
	if s.engine == postgres {
		dialect = goose.DialectPostgres
		cfg, err := pgx.ParseConfig(s.migrateURL)
		if err != nil {
			return fmt.Errorf("database_migrate_url is not a PostgreSQL URL")
		}
		// Give up on a lock soon: requests would queue behind a statement that waits for it.
		cfg.RuntimeParams["lock_timeout"] = "10s"
		cfg.RuntimeParams["application_name"] = "doorward migrate"
		db = stdlib.OpenDB(*cfg)
		defer db.Close() //nolint:errcheck // nothing to lose
		if exclusive {
			locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 120))
			if err != nil {
				return fmt.Errorf("migration lock: %w", err)
			}
			options = append(options, goose.WithSessionLocker(locker))
		}
	} else if exclusive {
		path, err := s.sqlitePath(ctx)
		if err != nil {
			return err
		}
		unlock, err := lockSQLite(ctx, path)
		if err != nil {
			return err
		}
		defer unlock()
	}
	p, err := goose.NewProvider(dialect, db, s.migrations, options...)
	if err != nil {
		return fmt.Errorf("embedded migrations: %w", err)
	}
	return fn(p)
}

// schemaVersion returns the newest migration that the database has; 0 means none.
func (s *Store) schemaVersion(ctx context.Context) (int64, error) {
	var version sql.NullInt64
	err := s.one(System(ctx), []any{&version}, plain(`SELECT max(version_id) FROM goose_db_version WHERE is_applied`))
	if err == nil {
		return version.Int64, nil
	}
	// A database without migrations does not have the table.
	catalogue := `SELECT count(*) FROM sqlite_master WHERE name = 'goose_db_version'`
	if s.engine == postgres {
		catalogue = `SELECT count(*) FROM pg_class WHERE relname = 'goose_db_version'`
	}
	var tables int64
	if s.one(System(ctx), []any{&tables}, plain(catalogue)) == nil && tables == 0 {
		return 0, nil
	}
	return 0, err
}

// wantedVersion returns the newest migration that this program has.
func (s *Store) wantedVersion() (int64, error) {
	names, err := fs.Glob(s.migrations, "*.sql")
	if err != nil {
		return 0, fmt.Errorf("embedded migrations: %w", err)
	}
	return goose.NumericComponent(names[len(names)-1])
}
