package storage

import (
	"context"
	"database/sql"
	"io/fs"
	"time"
)

// What the suite, which is a stranger to this package, may see beyond its exported names.

const PurgeBatch = purgeBatch

func (s *Store) SystemPool() *sql.DB { return s.system }
func (s *Store) TenantPool() *sql.DB { return s.tenant }

// Exec is a write through the gate.
func (s *Store) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	return s.exec(ctx, plain(query), args...)
}

// Count is a read of one number through the gate.
func (s *Store) Count(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = s.one(ctx, []any{&n}, plain(query), args...)
	return n, err
}

// SetMigrations replaces the embedded ones, as another release of the program would.
func (s *Store) SetMigrations(files fs.FS) { s.migrations = files }

// EmbeddedMigrations are the ones of this program.
func (s *Store) EmbeddedMigrations() fs.FS { return s.migrations }

// OneShared is a read that shares its round trip with others.
func (s *Store) OneShared(ctx context.Context, dest []any, query string, args ...any) error {
	return s.one(ctx, dest, Statement{query, shared}, args...)
}

// TenantTables are those that CheckIsolation tries.
func TenantTables() []string { return tenantTables }

// CurrentAfter is Current if the last look for changes was so long ago by the clock that runs, and by the date.
func (s *Store) CurrentAfter(running, date time.Duration) bool {
	f := s.follower
	seen, now := f.seen.Load(), f.now()
	defer f.seen.Store(seen)
	f.seen.Store(&moment{now.monotonic - running, now.wall - int64(date)})
	return f.current()
}

// Earlier is a time that is so much earlier by the clock that runs.
func (t ReadTime) Earlier(d time.Duration) ReadTime { return ReadTime{t.running.Add(-d), t.date} }

// UsedProofs returns how many used proofs are in memory.
func (s *Store) UsedProofs() int { return len(s.proofs.current) + len(s.proofs.previous) }
