package postgres_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"doorward/test/postgres"
)

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatalf("connect to %s: %v", url, err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func exec1(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func query[T any](t *testing.T, conn *pgx.Conn, statement string) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(t.Context(), statement).Scan(&v); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return v
}

func TestTemplateIsMadeOnceForDatabasesMadeAtOnce(t *testing.T) {
	// A second Cluster value on the same server stands for a second test process.
	first := postgres.Shared(t)
	second := postgres.NewCluster(first.Superuser())
	var made atomic.Int32
	migrate := func(ctx context.Context, url string) error {
		made.Add(1)
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		defer conn.Close(ctx) //nolint:errcheck // nothing is lost with it
		_, err = conn.Exec(ctx, "CREATE TABLE things (id int PRIMARY KEY)")
		return err
	}
	key := t.Name() + t.TempDir() // new in each run, also under -count
	var wg sync.WaitGroup
	for _, c := range []*postgres.Cluster{first, second, first, second} {
		wg.Go(func() {
			url, err := c.CreateDatabase(t.Context(), key, migrate)
			if err != nil {
				t.Error(err)
				return
			}
			conn, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close(t.Context()) //nolint:errcheck // nothing is lost with it
			// Would fail in the second database if they were one.
			if _, err := conn.Exec(t.Context(), "INSERT INTO things VALUES (1)"); err != nil {
				t.Error(err)
			}
			if err := c.DropDatabase(t.Context(), url); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := made.Load(); n != 1 {
		t.Errorf("the template was migrated %d times, want once", n)
	}
}

func TestFailedMigrationLeavesNoTemplate(t *testing.T) {
	c, key := postgres.Shared(t), t.Name()+t.TempDir()
	refuse := func(context.Context, string) error { return os.ErrInvalid }
	if _, err := c.CreateDatabase(t.Context(), key, refuse); err == nil {
		t.Fatal("no error from a migration that failed")
	}
	c.Database(t, key, nil)
}

func TestOwnerIsNoSuperuserAndMakesRoles(t *testing.T) {
	conn := connect(t, postgres.Shared(t).Database(t, "empty", nil))
	for attribute, want := range map[string]bool{"rolsuper": false, "rolbypassrls": false, "rolcreaterole": true} {
		if got := query[bool](t, conn, "SELECT "+attribute+" FROM pg_roles WHERE rolname = session_user"); got != want {
			t.Errorf("%s is %v, want %v", attribute, got, want)
		}
	}
	exec1(t, conn, "CREATE TABLE mine (id int)")
}

func TestLoginHasNoMoreThanAskedFor(t *testing.T) {
	c := postgres.Shared(t)
	plain := connect(t, c.Login(t, postgres.Login{}))
	if _, err := plain.Exec(t.Context(), "CREATE ROLE anybody"); err == nil {
		t.Error("a login without CREATEROLE made a role")
	}
	owner := connect(t, c.Login(t, postgres.Login{Database: true, Roles: []string{"pg_monitor"}}))
	exec1(t, owner, "CREATE TABLE mine (id int)")
	if !query[bool](t, owner, "SELECT pg_has_role('pg_monitor', 'MEMBER')") {
		t.Error("the login is not a member of the role it was to have")
	}
	maker := connect(t, c.Login(t, postgres.Login{CreateRole: true}))
	if !query[bool](t, maker, "SELECT rolcreaterole AND NOT rolsuper FROM pg_roles WHERE rolname = session_user") {
		t.Error("the login lacks CREATEROLE or is a superuser")
	}
}

func TestServerKeepsDataAndPortOverStops(t *testing.T) {
	s := postgres.Private(t, postgres.Options{Durable: true, TCP: true, Password: "it's", Superuser: "doorward"})
	url := s.Cluster().Login(t, postgres.Login{Database: true})
	exec1(t, connect(t, url), "CREATE TABLE kept (id serial)")
	if got := query[string](t, connect(t, url), "SHOW fsync"); got != "on" {
		t.Errorf("fsync is %s, want on", got)
	}
	for n, mode := range []postgres.Mode{postgres.Immediate, postgres.Fast} {
		exec1(t, connect(t, url), "INSERT INTO kept DEFAULT VALUES")
		if err := s.Stop(mode); err != nil {
			t.Fatal(err)
		}
		if _, err := pgx.Connect(t.Context(), url); err == nil {
			t.Fatal("connected to a stopped server")
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := query[int](t, connect(t, url), "SELECT count(*) FROM kept"); got != n+1 {
			t.Errorf("%d rows after the restart, want %d", got, n+1)
		}
	}
	if _, err := pgx.Connect(t.Context(), strings.Replace(s.URL(), "it%27s", "wrong", 1)); err == nil {
		t.Error("connected with a wrong password")
	}
}

// The test binary itself is the process that is killed.
func TestMain(m *testing.M) {
	if os.Getenv("POSTGRES_TEST_CHILD") != "" {
		s, err := postgres.NewServer(context.Background(), postgres.Options{})
		if err != nil {
			panic(err)
		}
		_, _ = os.Stdout.WriteString(s.Socket() + "\n")
		select {}
	}
	os.Exit(m.Run()) //nolint:forbidigo // it is the main of this test
}

func TestKilledProcessLeavesNothingBehind(t *testing.T) {
	postgres.Shared(t) // for its reasons to skip
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self)
	child.Env = append(os.Environ(), "POSTGRES_TEST_CHILD=1")
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 256)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.TrimSpace(string(line[:n]))
	if _, err := os.Stat(filepath.Join(dir, "data", "postmaster.pid")); err != nil {
		t.Fatal(err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()                                                // says that it was killed
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C { // ends with the folder, or with the test's own time
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			return
		}
	}
}
