package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"modernc.org/sqlite" // the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteDSN returns the data source name for a database, with the settings that every connection needs.
func sqliteDSN(path string, readOnly bool) string {
	v := url.Values{"_pragma": {
		"busy_timeout(3000)", "foreign_keys(1)", "synchronous(FULL)", "temp_store(MEMORY)", "cache_size(-16000)",
	}}
	if path != ":memory:" {
		v.Add("_pragma", "journal_mode(WAL)")
	}
	if readOnly {
		v.Add("_pragma", "query_only(1)")
	} else {
		// A deferred transaction that starts to write fails at once if another one writes; an immediate one waits.
		v.Set("_txlock", "immediate")
	}
	return sqliteURI(path) + "?" + v.Encode()
}

// sqliteURI returns the URI of a file, with the special characters of its path escaped.
func sqliteURI(path string) string {
	return "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
}

func (s *Store) openSQLite(ctx context.Context, path string) error {
	if path == "" {
		return errors.New("database_url does not name a file; put its path after sqlite:, such as sqlite:data/doorward.db")
	}
	if path != ":memory:" {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("database_url: the directory of the SQLite database cannot be created: %w; create it, "+
				"or let this user write there", err)
		}
		// SQLite gives its -wal and -shm files the mode of the database file, so setting one is enough.
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the operator names the file
		if err != nil {
			return fmt.Errorf("database_url: the SQLite database cannot be opened for writing: %w; let this user read "+
				"and write the file and its directory", err)
		}
		if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
			return fmt.Errorf("database_url: %s cannot be made private: %w; the file must belong to this user",
				path, err)
		}
	}
	open := func(readOnly bool, conns int) (*sql.DB, error) {
		db, err := sql.Open("sqlite", sqliteDSN(path, readOnly))
		if err != nil {
			return nil, fmt.Errorf("open the database: %w", err)
		}
		db.SetMaxOpenConns(conns)
		db.SetMaxIdleConns(conns)
		s.closers = append(s.closers, func() { _ = db.Close() })
		return db, nil
	}
	// One connection for writing: SQLite allows one writer, and Go's queue is fairer than SQLite's busy loop.
	writer, err := open(false, 1)
	if err != nil {
		return err
	}
	s.system, s.tenant, s.reader = writer, writer, writer
	if path != ":memory:" {
		if s.reader, err = open(true, max(4, runtime.NumCPU())); err != nil {
			return err
		}
	}
	if err := pingSQLite(ctx, writer); err != nil {
		return fmt.Errorf("database_url: %s: %w", path, err)
	}
	s.writes = newBatcher(1, s.deliverSQLite)
	s.counts = s.writes
	s.closers = append(s.closers, s.writes.close)
	return nil
}

// pingSQLite opens the first connection. If another process opens the same new file at this moment, one of the two
// cannot switch to WAL and fails at once, since busy_timeout does not apply to that lock; so it tries again.
func pingSQLite(ctx context.Context, db *sql.DB) error {
	deadline := time.Now().Add(3 * time.Second)
	for {
		err := db.PingContext(ctx)
		var lite *sqlite.Error
		if !errors.As(err, &lite) || lite.Code()&0xff != sqlite3.SQLITE_BUSY || time.Now().After(deadline) {
			return classify(err)
		}
		select {
		case <-ctx.Done():
			return unavailable(ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// sqlitePath returns the file of the store, or "" for a database in memory.
func (s *Store) sqlitePath(ctx context.Context) (string, error) {
	var path string
	err := s.one(System(ctx), []any{&path}, plain(`SELECT file FROM pragma_database_list WHERE name = 'main'`))
	return path, err
}

// backupSQLite copies the database file in its directory before a change of the schema, and keeps the last two such
// copies.
func (s *Store) backupSQLite(ctx context.Context, version int64) error {
	path, err := s.sqlitePath(ctx)
	if err != nil || path == "" {
		return err
	}
	if version == 0 {
		return nil // it is empty
	}
	name := fmt.Sprintf("%s.before-migration-%05d-%d", path, version, s.Now().Unix())
	// VACUUM INTO accepts an empty file, which is created private here. A copy from the same second was left by a failed
	// start.
	//nolint:gosec // beside the operator's own file
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("copy the database before the migration: %w", err)
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return fmt.Errorf("make the copy private: %w", err)
	}
	if _, err := s.system.ExecContext(ctx, `VACUUM INTO $1`, name); err != nil {
		return fmt.Errorf("copy the database before the migration: %w", classify(err))
	}
	entries, err := os.ReadDir(filepath.Dir(path)) // sorted by name, and so by age
	if err != nil {
		return fmt.Errorf("list the copies: %w", err)
	}
	old := slices.DeleteFunc(entries, func(e os.DirEntry) bool {
		return !strings.HasPrefix(e.Name(), filepath.Base(path)+".before-migration-")
	})
	for _, e := range old[:max(0, len(old)-2)] {
		if err := os.Remove(filepath.Join(filepath.Dir(path), e.Name())); err != nil {
			return fmt.Errorf("remove an old copy: %w", err)
		}
	}
	return nil
}

// lockSQLite waits until no other process migrates the same file. goose has no lock for SQLite, so the lock is an
// exclusive transaction on a second, small database. The system releases it if the process dies.
func lockSQLite(ctx context.Context, path string) (unlock func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	// SQLite would create the file readable by others.
	//nolint:gosec // the operator names the file
	f, err := os.OpenFile(path+".migrate-lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the migration lock: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open the migration lock: %w", err)
	}
	db, err := sql.Open("sqlite", sqliteURI(path+".migrate-lock")+"?_txlock=exclusive&_pragma=busy_timeout(60000)")
	if err != nil {
		return nil, fmt.Errorf("open the migration lock: %w", err)
	}
	db.SetMaxOpenConns(1)
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		_ = db.Close()
		return nil, classify(err)
	}
	return func() {
		_ = tx.Rollback()
		_ = db.Close()
	}, nil
}

func (s *Store) beginSQLite(ctx context.Context, scope tenantScope) (txn, error) {
	pool := s.system
	if !scope.system {
		pool = s.tenant
	}
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	return sqlTx{sqlQuerier{tx}, tx}, nil
}

// compile returns the compiled statement for a query: one that only the reader runs, or only the writer. Each query is
// compiled once.
func (s *Store) compile(ctx context.Context, db *sql.DB, query string) (keptStatement, error) {
	if kept, ok := s.kept.Load(query); ok {
		return kept.(keptStatement), nil
	}
	fresh, err := db.PrepareContext(ctx, query)
	if err != nil {
		return keptStatement{}, classify(err)
	}
	kept, lost := s.kept.LoadOrStore(query, keptStatement{fresh})
	if lost {
		_ = fresh.Close() //nolint:sqlclosecheck // another request has compiled it
	}
	return kept.(keptStatement), nil
}

// keptStatement runs the query from which it was compiled, and ignores the SQL argument.
type keptStatement struct{ stmt *sql.Stmt }

// QueryContext returns the rows of its query.
func (k keptStatement) QueryContext(ctx context.Context, _ string, args ...any) (*sql.Rows, error) {
	return k.stmt.QueryContext(ctx, args...)
}

// ExecContext runs its query.
func (k keptStatement) ExecContext(ctx context.Context, _ string, args ...any) (sql.Result, error) {
	return k.stmt.ExecContext(ctx, args...)
}
