// Package stores opens migrated stores for tests, one on every engine, so that nothing is tested on one of them only.
package stores

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"doorward/migrations"
	"doorward/storage"
	"doorward/test/postgres"
)

// OnlyVariable names the environment variable that keeps a run to tests in which goroutines meet, with the value
// "at-once". `make test` sets it for the run with the race detector, which has nothing to see in other tests and makes
// them take several times as long; the run without the detector has them all.
const OnlyVariable = "DOORWARD_TEST_ONLY"

// OnlyAtOnce reports whether this run is for tests in which goroutines meet, so that others have nothing to do.
func OnlyAtOnce() bool { return os.Getenv(OnlyVariable) == "at-once" }

// Alone skips a test in which no goroutines meet, where the run is for the others.
func Alone(tb testing.TB) {
	tb.Helper()
	if OnlyAtOnce() {
		tb.Skip("no goroutines meet in it: the run without the race detector has it")
	}
}

// OnEachEngine runs fn on SQLite in memory and on PostgreSQL, each with an empty migrated database. Where goroutines
// meet in the database, use OnEachEngineParallel.
func OnEachEngine(t *testing.T, fn func(t *testing.T, s *storage.Store)) {
	t.Helper()
	if OnlyAtOnce() {
		return
	}
	t.Run("sqlite", func(t *testing.T) { fn(t, Open(t, memory)) })
	t.Run("postgresql", func(t *testing.T) { fn(t, Open(t, PostgreSQL(t))) })
}

// OnEachEngineParallel is OnEachEngine with SQLite in a file, where reads and writes take different connections.
func OnEachEngineParallel(t *testing.T, fn func(t *testing.T, s *storage.Store)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { fn(t, Open(t, SQLite(t))) })
	t.Run("postgresql", func(t *testing.T) { fn(t, Open(t, PostgreSQL(t))) })
}

// memory is the URL of a SQLite database without a file.
const memory = "sqlite::memory:"

// SQLite is the URL of a file that goes with the test and holds an empty migrated database.
func SQLite(tb testing.TB) string {
	tb.Helper()
	url := NoSQLite(tb)
	if err := writeSQLite(strings.TrimPrefix(url, "sqlite:")); err != nil {
		tb.Fatal(err)
	}
	return url
}

// NoSQLite is the URL of a file that goes with the test and does not exist yet, for tests of how a server makes it.
func NoSQLite(tb testing.TB) string {
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

// Open opens a store, migrates it where that is left to do, and closes it with the test. What it writes survives the
// end of the process, but not that of the machine.
func Open(tb testing.TB, url string) *storage.Store {
	tb.Helper()
	s, err := storage.Open(tb.Context(), url, storage.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	switch {
	case url == memory:
		err = fillSQLite(tb.Context(), s)
	case s.Engine() == "sqlite":
		err = hurry(tb.Context(), s)
	}
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := s.Migrate(tb.Context()); err != nil { // does nothing where nothing is left to do
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
