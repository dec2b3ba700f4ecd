package storage_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"doorward/storage"
	"doorward/test/postgres"
	"doorward/test/stores"
)

// release is the embedded migrations and further ones, numbered from 90001.
func release(t *testing.T, s *storage.Store, further ...string) fs.FS {
	t.Helper()
	files := fstest.MapFS{}
	embedded := s.EmbeddedMigrations()
	names, err := fs.Glob(embedded, "*.sql")
	must(t, err)
	for _, name := range names {
		text, err := fs.ReadFile(embedded, name)
		must(t, err)
		files[name] = &fstest.MapFile{Data: text}
	}
	for i, text := range further {
		files[fmt.Sprintf("9%04d_later.sql", i+1)] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + text)}
	}
	return files
}

// onEachEmptyDatabase gives fn the URL of a database without a schema.
func onEachEmptyDatabase(t *testing.T, fn func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { fn(t, stores.NoSQLite(t)) })
	t.Run("postgresql", func(t *testing.T) { fn(t, postgres.Shared(t).Database(t, "empty", nil)) })
}

func open(t *testing.T, url string) *storage.Store {
	t.Helper()
	s, err := storage.Open(t.Context(), url, storage.Options{MaxConns: 2})
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

func TestZ13_MigrationsByManyAtOnce(t *testing.T) {
	onEachEmptyDatabase(t, func(t *testing.T, url string) {
		const nodes = 4
		migrateAtOnce := func(want int64, further ...string) {
			t.Helper()
			var applied atomic.Int64
			wins, errs := atOnce(nodes, func(int) error {
				s, err := storage.Open(t.Context(), url, storage.Options{MaxConns: 2})
				if err != nil {
					return err
				}
				defer s.Close()
				s.SetMigrations(release(t, s, further...))
				done, err := s.Migrate(t.Context())
				applied.Add(int64(len(done)))
				if err != nil {
					return err
				}
				return s.Ping(t.Context())
			})
			if wins != nodes {
				t.Fatalf("%d of %d came up: %v", wins, nodes, errs)
			}
			if applied.Load() != want {
				t.Errorf("%d migrations were applied, want %d", applied.Load(), want)
			}
		}
		s := open(t, url)
		embedded, err := fs.Glob(s.EmbeddedMigrations(), "*.sql")
		must(t, err)
		migrateAtOnce(int64(len(embedded)))
		newWorld(t, stopped(s))
		before := dump(t, s)
		migrateAtOnce(2, `CREATE INDEX later ON settings (value);`, `ALTER TABLE settings ADD COLUMN later text;`)
		after := dump(t, open(t, url)) // s has statements prepared for the columns of before
		// All rows are there, and the two versions once each.
		if len(after) != len(before)+2 {
			t.Errorf("%d rows before, %d after", len(before), len(after))
		}
		migrateAtOnce(0, `CREATE INDEX later ON settings (value);`, `ALTER TABLE settings ADD COLUMN later text;`)
	})
}

func TestMigrationsAreListed(t *testing.T) {
	stores.Alone(t)
	onEachEmptyDatabase(t, func(t *testing.T, url string) {
		s := open(t, url)
		embedded, err := fs.Glob(s.EmbeddedMigrations(), "*.sql")
		must(t, err)
		want := len(embedded) + 1
		s.SetMigrations(release(t, s, `CREATE TABLE later (id text PRIMARY KEY);`))
		check := func(applied bool) {
			t.Helper()
			list, err := s.Migrations(t.Context())
			if err != nil || len(list) != want || list[0].Version != 1 || list[want-1].Version != 90001 {
				t.Fatalf("%+v, error %v", list, err)
			}
			for _, m := range list {
				if m.Applied != applied || m.AppliedAt.IsZero() == applied || m.Name == "" {
					t.Errorf("%+v, want applied %v", m, applied)
				}
			}
		}
		check(false)
		if s.Ping(t.Context()) == nil {
			t.Error("an empty database is fit for use")
		}
		done, err := s.Migrate(t.Context())
		if err != nil || len(done) != want || !done[0].Applied {
			t.Fatalf("%+v, error %v", done, err)
		}
		check(true)
		must(t, s.Ping(t.Context()))
	})
}

func TestFailedMigrationChangesNothingAndIsFinishedLater(t *testing.T) {
	stores.Alone(t)
	onEachEmptyDatabase(t, func(t *testing.T, url string) {
		s := open(t, url)
		embedded := s.EmbeddedMigrations()
		_, err := s.Migrate(t.Context())
		must(t, err)
		newWorld(t, stopped(s))
		before := fmt.Sprint(tables(t, s), dump(t, s))
		s.SetMigrations(release(t, s, "CREATE TABLE later (id text PRIMARY KEY);\nINSERT INTO settings (key, value) "+
			"VALUES ('word', 'again');"))
		if done, err := s.Migrate(t.Context()); err == nil || len(done) != 0 {
			t.Fatalf("applied %v, error %v", done, err)
		}
		if after := fmt.Sprint(tables(t, s), dump(t, s)); after != before {
			t.Errorf("before %s\nafter %s", before, after)
		}
		if err := s.Ping(t.Context()); !errors.Is(err, storage.ErrOldSchema) || !strings.Contains(err.Error(),
			"doorward migrate") {
			t.Errorf("a database that is too old: %v", err)
		}
		s.SetMigrations(embedded)
		s.SetMigrations(release(t, s, "CREATE TABLE later (id text PRIMARY KEY);"))
		if done, err := s.Migrate(t.Context()); err != nil || len(done) != 1 {
			t.Fatalf("applied %v, error %v", done, err)
		}
		// The release before goes on with the schema after it.
		s.SetMigrations(embedded)
		must(t, s.Ping(t.Context()))
		if done, err := s.Migrate(t.Context()); err != nil || len(done) != 0 {
			t.Errorf("the release before: applied %v, error %v", done, err)
		}
	})
}

func modes(t *testing.T, folder string) map[string]os.FileMode {
	t.Helper()
	entries, err := os.ReadDir(folder)
	must(t, err)
	found := map[string]os.FileMode{}
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		found[e.Name()] = info.Mode().Perm()
	}
	return found
}

func TestS12_FilesAreClosedToOthers(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	path := filepath.Join(folder, "doorward.db")
	for _, before := range []string{"no file", "a file open to all"} {
		if before != "no file" {
			must(t, os.Chmod(path, 0o644))
		}
		s := stores.Open(t, "sqlite:"+path)
		must(t, s.SetSetting(system(t), "a", "b"))
		if _, err := s.Setting(system(t), "a"); err != nil {
			t.Fatal(err)
		}
		got := modes(t, folder)
		for _, name := range []string{"doorward.db", "doorward.db-wal", "doorward.db-shm"} {
			if mode, ok := got[name]; !ok || mode != 0o600 {
				t.Errorf("%s: %s is there %v, with mode %o; want 600", before, name, ok, mode)
			}
		}
		s.Close()
	}
	info, err := os.Stat(folder)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder's mode is %o, error %v", info.Mode().Perm(), err)
	}
}

func TestS12_TwoProcessesOnOneFileAreSafe(t *testing.T) {
	url := stores.NoSQLite(t)
	nodes := []*storage.Store{stopped(stores.Open(t, url)), stopped(stores.Open(t, url))}
	w := newWorld(t, nodes[0])
	wins, errs := atOnce(racers, func(i int) error { return nodes[i%2].ConsumeCode(system(t), w.code) })
	if wins != 1 {
		t.Errorf("%d consumed the code", wins)
	}
	for _, err := range errs {
		mustBe(t, err, storage.ErrConsumed)
	}
	_, errs = atOnce(racers, func(i int) error {
		return nodes[i%2].InTx(system(t), func(ctx context.Context) error {
			if err := nodes[i%2].SetSetting(ctx, fmt.Sprint("a", i), ""); err != nil {
				return err
			}
			return nodes[i%2].CountPasswordFailure(ctx, w.user.ID, 1000)
		})
	})
	for _, err := range errs {
		t.Error(err)
	}
	u, err := nodes[1].UserByID(system(t), w.user.ID)
	if err != nil || u.PasswordFailures != racers {
		t.Errorf("%d of %d writes are there, error %v", u.PasswordFailures, racers, err)
	}
}

func TestPathsWithStrangeCharacters(t *testing.T) {
	stores.Alone(t)
	for _, name := range []string{"a b.db", "100%.db", "a?mode=memory.db", "a#b.db", "%20.db", "a&b=c.db", "ünï.db"} {
		path := filepath.Join(t.TempDir(), name)
		s := stores.Open(t, "sqlite:"+path)
		must(t, s.SetSetting(system(t), "a", "b"))
		s.Close()
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		for found := range modes(t, filepath.Dir(path)) {
			if !strings.HasPrefix(found, name) {
				t.Errorf("%q: there is a file %q", name, found)
			}
		}
	}
}

func TestCopyBesideTheFileBeforeAMigration(t *testing.T) {
	stores.Alone(t)
	url := stores.NoSQLite(t)
	path := strings.TrimPrefix(url, "sqlite:")
	copies := func() []string {
		t.Helper()
		list, err := filepath.Glob(path + ".before-migration-*")
		must(t, err)
		slices.Sort(list)
		return list
	}
	s := open(t, url)
	embedded := s.EmbeddedMigrations()
	if _, err := s.Migrate(t.Context()); err != nil || len(copies()) != 0 {
		t.Fatalf("an empty database: copies %v, error %v", copies(), err)
	}
	var further []string
	for i := range 4 {
		at := noon.Add(time.Duration(i) * time.Second)
		s.SetClock(func() time.Time { return at })
		must(t, s.SetSetting(system(t), "step", fmt.Sprint(i)))
		further = append(further, fmt.Sprintf("CREATE TABLE later%d (id text PRIMARY KEY);", i))
		s.SetMigrations(embedded)
		s.SetMigrations(release(t, s, further...))
		must(t, func() error { _, err := s.Migrate(t.Context()); return err }())
		if _, err := s.Migrate(t.Context()); err != nil { // nothing to do: no copy
			t.Fatal(err)
		}
	}
	list := copies()
	if len(list) != 2 {
		t.Fatalf("%d copies are kept: %v", len(list), list)
	}
	for i, file := range list {
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %o, error %v", file, info.Mode().Perm(), err)
		}
		old := open(t, "sqlite:"+file)
		step, err := old.Setting(system(t), "step")
		if want := fmt.Sprint(i + 2); step != want || err != nil {
			t.Errorf("copy %d is of step %q, error %v; want %s", i, step, err, want)
		}
		if names := fmt.Sprint(tables(t, old)); strings.Contains(names, fmt.Sprint("later", i+2)) {
			t.Errorf("copy %d has the schema after the migration: %s", i, names)
		}
	}

	// A start that fails again and again within a second does not stumble over its own copy.
	s.SetMigrations(embedded)
	s.SetMigrations(release(t, s, append(further, "SELEC;")...))
	for range 3 {
		if _, err := s.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "migrate:") {
			t.Errorf("error %v, want the migration's", err)
		}
	}
	if len(copies()) != 2 {
		t.Errorf("copies %v", copies())
	}
}

func TestDurabilitySettings(t *testing.T) {
	s := open(t, stores.NoSQLite(t))
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1",
		"busy_timeout": "3000",
	} {
		var got string
		must(t, s.SystemPool().QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got))
		if got != want {
			t.Errorf("%s is %s, want %s", pragma, got, want)
		}
	}
	p := stores.Open(t, stores.PostgreSQL(t))
	for setting, want := range map[string]string{
		"statement_timeout": "3s", "idle_in_transaction_session_timeout": "5s",
		"transaction_isolation": "read committed",
	} {
		var got string
		must(t, p.SystemPool().QueryRowContext(t.Context(), "SHOW "+setting).Scan(&got))
		if got != want {
			t.Errorf("%s is %s, want %s", setting, got, want)
		}
	}
}
