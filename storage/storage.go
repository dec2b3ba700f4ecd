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

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"doorward/migrations"
)

type engine int

const (
	sqliteEngine engine = iota
	postgres
)

// Store is the database of one server. Its methods are safe for concurrent use. Their context says for whom they act
// (System or Tenant) and may carry a transaction (InTx).
type Store struct {
	engine     engine
	system     *sql.DB                  // writes and transactions, for the server itself
	reader     *sql.DB                  // single reads for the server itself; on PostgreSQL the same pool as system
	tenant     *sql.DB                  // transactions on behalf of a user
	native     *pgxpool.Pool            // PostgreSQL: the pool behind system, for single statements; nil on SQLite
	natives    map[string]*pgxpool.Pool // PostgreSQL: the pools behind system and tenant, by name
	reads      *batcher                 // PostgreSQL: shared reads
	writes     *batcher                 // shared writes, which share commits too
	counts     *batcher                 // counters of limits, likewise; on SQLite, which has one writer, it is writes
	kept       sync.Map                 // SQLite: compiled statements, by their SQL
	touches    touches
	uses       uses
	liveKeys   liveKeys
	own        ownTokens
	proofs     proofs // SQLite: the used DPoP proofs
	changes    changes
	follower   *follower       // nil: Follow was not called
	listening  *pgx.ConnConfig // PostgreSQL: of the follower's connection
	hadUser    atomic.Bool
	now        atomic.Pointer[func() Time]
	migrateURL string // PostgreSQL: the login that changes the schema
	migrateKey string // PostgreSQL: the configuration key of that URL
	migrations fs.FS  // of the engine
	closers    []func()
}

// Options say how to open a Store. The zero value suits a server.
type Options struct {
	// MigrateURL is the login that changes the schema, if that of the database URL may not. Empty: the same login.
	MigrateURL string
	// NoSetup prevents Open from creating or granting the PostgreSQL roles: if they are missing, it fails.
	NoSetup bool
	// MaxConns bounds each PostgreSQL pool; zero means 4 for each processor, at least 8.
	MaxConns int
}

// Open connects to the database at url: "sqlite:PATH" (":memory:" for a database that is dropped with the Store), or
// "postgres://…". It creates what it needs to connect (the SQLite file and its directory or, without NoSetup, the two
// PostgreSQL roles), but no schema: call Migrate before the first use. It returns ErrUnavailable if the database cannot
// be reached, and another error for an invalid URL.
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
		_ = s.FlushTouches(ctx) // without the database, a minute of "last used" is lost
		_ = s.FlushUsage(ctx)   // likewise
		cancel()
	}
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	s.closers = nil
}

// Engine returns "sqlite" or "postgresql".
func (s *Store) Engine() string {
	if s.engine == postgres {
		return "postgresql"
	}
	return "sqlite"
}

// Now returns the time by which everything expires. No other clock is used, neither the database's nor the machine's.
func (s *Store) Now() Time { return (*s.now.Load())() }

// SetClock replaces the clock behind Now; tests move it.
func (s *Store) SetClock(now func() time.Time) {
	f := func() Time { return At(now()) }
	s.now.Store(&f)
}

// Ping checks that the database answers, and that its schema is new enough for this program.
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
		return fmt.Errorf("%w: it has version %d, and this program needs %d; run doorward migrate", ErrOldSchema, have,
			want)
	}
	return nil
}

// Pools returns the connection pools by name, only for tests. All other code uses the Store's methods.
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

// PoolStats is the current use of a connection pool.
type PoolStats struct {
	Max    int // the maximum number of connections
	InUse  int
	Idle   int
	Waited time.Duration // the total time for which requests have waited for a connection
}

// PoolStats returns the statistics of the connection pools by name: system, and tenant on PostgreSQL or reader on
// SQLite.
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
