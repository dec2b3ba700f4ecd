// Package stores opens migrated stores for tests, one on every engine, so that nothing is tested on one of them only.
package stores

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"path/filepath"
	"sync"
	"testing"

	"doorward/migrations"
	"doorward/storage"
	"doorward/test/postgres"
)

// OnEachEngine runs fn on SQLite in memory and on PostgreSQL, each with an empty migrated database. Where goroutines
// are to meet in the database, take OnEachEngineParallel.
func OnEachEngine(t *testing.T, fn func(t *testing.T, s *storage.Store)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { fn(t, Open(t, "sqlite::memory:")) })
	t.Run("postgresql", func(t *testing.T) { fn(t, Open(t, PostgreSQL(t))) })
}

// OnEachEngineParallel is OnEachEngine with SQLite in a file, where reads and writes take different connections.
func OnEachEngineParallel(t *testing.T, fn func(t *testing.T, s *storage.Store)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { fn(t, Open(t, SQLite(t))) })
	t.Run("postgresql", func(t *testing.T) { fn(t, Open(t, PostgreSQL(t))) })
}

// SQLite is the URL of a file that goes with the test and does not exist yet.
func SQLite(tb testing.TB) string {
	tb.Helper()
	return "sqlite:" + filepath.Join(tb.TempDir(), "doorward.db")
}

// PostgreSQL is the URL of a migrated database that goes with the test, as its owner. The test is skipped where
// postgres.Shared skips.
func PostgreSQL(tb testing.TB) string {
	tb.Helper()
	return postgres.Shared(tb).Database(tb, schemaKey(), func(ctx context.Context, url string) error {
		s, err := storage.Open(ctx, url, storage.Options{MaxConns: 1})
		if err != nil {
			return err
		}
		defer s.Close()
		_, err = s.Migrate(ctx)
		return err
	})
}

// Open opens a store, migrates it where that is left to do, and closes it with the test.
func Open(tb testing.TB, url string) *storage.Store {
	tb.Helper()
	s, err := storage.Open(tb.Context(), url, storage.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	if err := s.Ping(tb.Context()); err == nil {
		return s
	}
	if _, err := s.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return s
}

// schemaKey changes with the migrations, so that no template of an older schema is taken.
var schemaKey = sync.OnceValue(func() string {
	h := sha256.New()
	err := fs.WalkDir(migrations.Postgres, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := migrations.Postgres.ReadFile(path)
		h.Write(text)
		return err
	})
	if err != nil {
		panic(err) // the files are embedded
	}
	return "doorward " + hex.EncodeToString(h.Sum(nil))
})
