package postgres

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
)

// The variables by which a whole test run is steered.
const (
	// URLVariable holds the superuser's URL of the cluster of this run.
	URLVariable = "DOORWARD_TEST_POSTGRES"
	// fullVariable, when it is 1, turns a missing program from a reason to skip into a failure.
	fullVariable = "DOORWARD_TEST_FULL"
)

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

// Shared is the cluster of this test run. The test is skipped under -short, and where no PostgreSQL is installed
// unless DOORWARD_TEST_FULL=1.
func Shared(tb testing.TB) *Cluster {
	tb.Helper()
	skipShort(tb)
	c, err := shared()
	require(tb, err)
	return c
}

// Private is a server for this test alone; it ends with the test. The test is skipped as in [Shared].
func Private(tb testing.TB, o Options) *Server {
	tb.Helper()
	skipShort(tb)
	s, err := NewServer(tb.Context(), o)
	require(tb, err)
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

func skipShort(tb testing.TB) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("needs PostgreSQL")
	}
}

func require(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case err == nil:
	case errors.Is(err, ErrMissing) && os.Getenv(fullVariable) != "1":
		tb.Skip(err)
	default:
		tb.Fatal(err)
	}
}
