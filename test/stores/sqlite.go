package stores

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"sync"

	"doorward/storage"
)

// serializer is a connection of the driver. It reads or replaces the whole database that is behind it.
type serializer interface {
	Serialize() ([]byte, error)
	Deserialize(buf []byte) error
}

// migratedSQLite is the content of an empty, migrated database. Running the migrations takes ten times as long as
// copying their result, so they run once in a process.
var migratedSQLite = sync.OnceValues(func() (content []byte, err error) {
	ctx := context.Background()
	s, err := storage.Open(ctx, memory, storage.Options{})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if _, err := s.Migrate(ctx); err != nil {
		return nil, err
	}
	err = raw(ctx, s.Pools()["system"], func(c serializer) error {
		content, err = c.Serialize()
		return err
	})
	return content, err
})

// fillSQLite gives a store that was opened on an empty SQLite database in memory the migrated content.
func fillSQLite(ctx context.Context, s *storage.Store) error {
	content, err := migratedSQLite()
	if err != nil {
		return fmt.Errorf("migrate the database to copy: %w", err)
	}
	return raw(ctx, s.Pools()["system"], func(c serializer) error { return c.Deserialize(content) })
}

func raw(ctx context.Context, pool *sql.DB, fn func(serializer) error) error {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it goes back to the pool
	return conn.Raw(func(driver any) error {
		c, ok := driver.(serializer)
		if !ok {
			return fmt.Errorf("the driver's %T cannot copy a database", driver)
		}
		return fn(c)
	})
}

// writeSQLite writes the migrated content to a new file, closed to others as the server's own.
func writeSQLite(path string) error {
	content, err := migratedSQLite()
	if err != nil {
		return fmt.Errorf("migrate the database to copy: %w", err)
	}
	return os.WriteFile(path, content, 0o600)
}

// hurry makes a SQLite store as fast as the tests' PostgreSQL is: what it commits need not survive the machine.
func hurry(ctx context.Context, s *storage.Store) error {
	_, err := s.Pools()["system"].ExecContext(ctx, `PRAGMA synchronous = OFF`)
	return err
}
