package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"doorward/migrations"
)

type engine int

const (
	sqliteEngine engine = iota
	postgres
)

// Store is the database of one server. Its methods are safe for use by many goroutines. A context given to them says
// for whom they act (System or Tenant) and may carry a transaction (InTx).
type Store struct {
	engine     engine
	system     *sql.DB                  // writes, and what runs in a transaction, for the server itself
	reader     *sql.DB                  // single reads for the server itself; on PostgreSQL the same pool as system
	tenant     *sql.DB                  // transactions on behalf of a user
	native     *pgxpool.Pool            // PostgreSQL: the pool behind system, for single statements; nil on SQLite
	natives    map[string]*pgxpool.Pool // PostgreSQL: the pools behind system and tenant, by name
	reads      *batcher                 // PostgreSQL: shared reads
	writes     *batcher                 // PostgreSQL: shared writes, which share commits too
	counts     *batcher                 // PostgreSQL: counters of limits, likewise
	kept       sync.Map                 // SQLite: statements that stay compiled on the reader, by their text
	touches    touches
	uses       uses
	liveKeys   liveKeys
	own        ownTokens
	changes    atomic.Uint64
	hadUser    atomic.Bool
	now        atomic.Pointer[func() Time]
	migrateURL string // PostgreSQL: the login that changes the schema
	migrateKey string // PostgreSQL: where that URL is from
	migrations fs.FS  // of the engine
	closers    []func()
}

// Options says how a Store is opened. The zero value is fit for a server.
type Options struct {
	// MigrateURL is the login that changes the schema, when that of the database URL may not. Empty: the same.
	MigrateURL string
	// LookOnly keeps Open from creating or granting the PostgreSQL roles: where they are missing it fails.
	LookOnly bool
	// MaxConns bounds each PostgreSQL pool; zero is 4 for each processor, at least 8.
	MaxConns int
}

// Open connects to the database at url: "sqlite:PATH" (":memory:" for one that lives as long as the Store), or
// "postgres://…". It creates what is needed to connect (the file of SQLite and its folder; on PostgreSQL, unless told
// to look only, the two roles) and no schema: call Migrate before the first use. An engine that cannot be reached gives
// ErrUnavailable; a URL that names none, another error.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	s := &Store{}
	s.SetClock(func() time.Time { return time.Now() })
	s.touches.init()
	s.uses.init()
	var err error
	dir, files := "sqlite", migrations.SQLite
	switch path, isSQLite := strings.CutPrefix(url, "sqlite:"); {
	case isSQLite:
		s.engine = sqliteEngine
		err = s.openSQLite(ctx, path)
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
		s.engine, dir, files = postgres, "postgres", migrations.Postgres
		err = s.openPostgres(ctx, url, o)
	default:
		return nil, errors.New("database_url must start with sqlite: or postgres://")
	}
	if err == nil {
		s.migrations, err = fs.Sub(files, dir)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close writes what is buffered and closes all connections.
func (s *Store) Close() {
	if s.system != nil {
		ctx, cancel := context.WithTimeout(System(context.Background()), 3*time.Second)
		_ = s.FlushTouches(ctx) // not facts: a database that is away costs a minute's "last used"
		_ = s.FlushUsage(ctx)   // nor these
		cancel()
	}
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	s.closers = nil
}

// Engine is "sqlite" or "postgresql".
func (s *Store) Engine() string {
	if s.engine == postgres {
		return "postgresql"
	}
	return "sqlite"
}

// Now is the moment by which everything expires. Nothing asks the database or the machine for the time.
func (s *Store) Now() Time { return (*s.now.Load())() }

// SetClock replaces the clock behind Now; tests move it.
func (s *Store) SetClock(now func() time.Time) {
	f := func() Time { return At(now()) }
	s.now.Store(&f)
}

// Ping asks the database for an answer, and that its schema is the one this program knows.
func (s *Store) Ping(ctx context.Context) error {
	have, err := s.schemaVersion(ctx)
	if err != nil {
		return err
	}
	want, err := s.wantedVersion()
	if err != nil {
		return err
	}
	if have < want {
		return fmt.Errorf("%w: it is at version %d, this program needs %d: run doorward migrate", ErrOldSchema, have,
			want)
	}
	return nil
}

// Pools are the connection pools by name, for tests that look behind this package: statements go through its methods.
func (s *Store) Pools() map[string]*sql.DB {
	pools := map[string]*sql.DB{"system": s.system}
	if s.reader != s.system {
		pools["reader"] = s.reader
	}
	if s.tenant != s.system {
		pools["tenant"] = s.tenant
	}
	return pools
}

// PoolStats is how a connection pool is used at the moment.
type PoolStats struct {
	Max    int // connections that there may be
	InUse  int
	Idle   int
	Waited time.Duration // by all that ever waited for a connection, together
}

// PoolStats are the figures of the connection pools by name: system, and tenant on PostgreSQL or reader on SQLite.
func (s *Store) PoolStats() map[string]PoolStats {
	all := map[string]PoolStats{}
	for name, db := range s.Pools() {
		d := db.Stats()
		p := PoolStats{Max: d.MaxOpenConnections, InUse: d.InUse, Idle: d.Idle, Waited: d.WaitDuration}
		if native := s.natives[name]; native != nil { // behind database/sql, and in use without it
			n := native.Stat()
			p = PoolStats{
				Max: int(n.MaxConns()), InUse: int(n.AcquiredConns()), Idle: int(n.IdleConns()),
				Waited: p.Waited + n.EmptyAcquireWaitTime(),
			}
		}
		all[name] = p
	}
	return all
}
