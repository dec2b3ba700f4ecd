package postgres

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"

	"doorward/test/setup"
)

// URLVariable names the environment variable with the superuser's URL of the cluster of this test run.
const URLVariable = "DOORWARD_TEST_POSTGRES"

// shared is started at most once in a process, and ends with it.
var shared = sync.OnceValues(func() (*Cluster, error) {
	if url := os.Getenv(URLVariable); url != "" {
		return NewCluster(url), nil
	}
	server, err := NewServer(context.Background(), Options{})
	if err != nil {
		return nil, err
	}
	return server.Cluster(), nil
})

// Installed reports whether [Shared] has a server or finds the binaries of one.
var Installed = sync.OnceValue(func() bool {
	if os.Getenv(URLVariable) != "" {
		return true
	}
	_, err := Binary("initdb")
	return err == nil
})

// Shared is the cluster of this test run. The test is skipped under -short, and where no PostgreSQL is installed
// unless DOORWARD_TEST_FULL=1.
func Shared(tb testing.TB) *Cluster {
	tb.Helper()
	setup.Long(tb)
	c, err := shared()
	fail(tb, err)
	return c
}

// Private is a server for this test alone; it ends with the test. The test is skipped as in [Shared].
func Private(tb testing.TB, o Options) *Server {
	tb.Helper()
	setup.Long(tb)
	s, err := NewServer(tb.Context(), o)
	fail(tb, err)
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("close PostgreSQL: %v", err)
		}
	})
	return s
}

// Database is [Cluster.CreateDatabase] for a test, which drops the database at its end.
func (c *Cluster) Database(tb testing.TB, key string, migrate func(ctx context.Context, ownerURL string) error) string {
	tb.Helper()
	url, err := c.CreateDatabase(tb.Context(), key, migrate)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.DropDatabase(context.WithoutCancel(tb.Context()), url); err != nil {
			tb.Errorf("drop database: %v", err)
		}
	})
	return url
}

// Login is [Cluster.CreateLogin] for a test, which drops the login at its end.
func (c *Cluster) Login(tb testing.TB, l Login) string {
	tb.Helper()
	url, err := c.CreateLogin(tb.Context(), l)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.DropLogin(context.WithoutCancel(tb.Context()), url); err != nil {
			tb.Errorf("drop login: %v", err)
		}
	})
	return url
}

func fail(tb testing.TB, err error) {
	tb.Helper()
	if errors.Is(err, ErrMissing) {
		setup.Need(tb, err)
	}
	if err != nil {
		tb.Fatal(err)
	}
}
