package storage_test

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"doorward/storage"
	"doorward/test/stores"
)

// refusing answers every login with a SQLSTATE, as a PostgreSQL server does that asks for a password.
func refusing(t *testing.T, code string) (address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close() //nolint:errcheck // a test's own
				b := pgproto3.NewBackend(conn, conn)
				for {
					m, err := b.ReceiveStartupMessage()
					if err != nil {
						return
					}
					if _, ok := m.(*pgproto3.SSLRequest); ok {
						_, _ = conn.Write([]byte("N"))
						continue
					}
					b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: "secret-word in a message"})
					_ = b.Flush()
					return
				}
			}()
		}
	}()
	return l.Addr().String()
}

// openFails opens a database that cannot be, and wants one sentence with all words and without the password.
func openFails(t *testing.T, databaseURL string, words ...string) {
	t.Helper()
	s, err := storage.Open(t.Context(), databaseURL, storage.Options{})
	if err == nil {
		s.Close()
		t.Fatal("it opens")
	}
	text := err.Error()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%q lacks %q", text, word)
		}
	}
	for _, bad := range []string{"secret-word", "\n", `table "" constraint ""`} {
		if strings.Contains(text, bad) {
			t.Errorf("%q shows %q", text, bad)
		}
	}
}

func TestV70_PostgreSQLConnectionErrorsSayWhatToDo(t *testing.T) {
	good, err := url.Parse(stores.PostgreSQL(t))
	must(t, err)
	change := func(f func(u *url.URL, q url.Values)) string {
		u := *good
		q := u.Query()
		f(&u, q)
		u.RawQuery = q.Encode()
		return u.String()
	}
	closed, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	nobody := closed.Addr().String()
	must(t, closed.Close())

	for code, words := range map[string][]string{
		"28P01": {"refuses the password of the user", `"ada"`, "correct the password"},
		"28000": {"does not let the user", `"ada"`, "pg_hba.conf"},
		"3D000": {"has no database", `"shop"`, "CREATE DATABASE"},
		"42501": {"may not connect to the database", "grant it CONNECT"},
		"53300": {"has no connection left", "max_connections"},
		"57P03": {"is starting up or shutting down"},
		"XX000": {"SQLSTATE XX000"},
	} {
		t.Run(code, func(t *testing.T) {
			address := refusing(t, code)
			openFails(t, "postgres://ada:secret-word@"+address+"/shop", append(words, "database_url: ", address)...)
		})
	}
	t.Run("no such database", func(t *testing.T) {
		openFails(t, change(func(u *url.URL, _ url.Values) { u.Path = "/missing" }), "has no database", `"missing"`)
	})
	t.Run("unknown host", func(t *testing.T) {
		openFails(t, "postgres://ada:secret-word@no-such-host.invalid/shop", `"no-such-host.invalid" is not known`)
	})
	t.Run("refused", func(t *testing.T) {
		openFails(t, "postgres://ada:secret-word@"+nobody+"/shop", "no server listens at "+nobody)
	})
	t.Run("no TLS", func(t *testing.T) {
		openFails(t, "postgres://ada:secret-word@"+refusing(t, "28P01")+"/shop?sslmode=require", "does not use TLS")
	})
	t.Run("not a URL", func(t *testing.T) {
		openFails(t, "postgres://ada:secret-word@host:port/shop", "database_url is not a PostgreSQL URL")
	})
}

// A server that is too old is named with its version and the one that is needed.
func TestV70_AnOldPostgreSQLSaysWhatIsNeeded(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go ofVersion(conn, 140_011)
		}
	}()
	openFails(t, "postgres://ada:secret-word@"+l.Addr().String()+"/shop?sslmode=disable", "database_url: ",
		"has version 14", "needs 15 or later")
}

// ofVersion lets everybody in and answers every query with one number, as a PostgreSQL server of that version does that
// is asked for it.
func ofVersion(conn net.Conn, number uint32) {
	defer conn.Close() //nolint:errcheck // a test's own
	b := pgproto3.NewBackend(conn, conn)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return
	}
	ready := &pgproto3.ReadyForQuery{TxStatus: 'I'}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(ready)
	for b.Flush() == nil {
		m, err := b.Receive()
		if err != nil {
			return
		}
		switch m.(type) {
		case *pgproto3.Parse:
			b.Send(&pgproto3.ParseComplete{})
		case *pgproto3.Describe:
			b.Send(&pgproto3.ParameterDescription{})
			b.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{
				Name:        []byte("version"),
				DataTypeOID: 23, DataTypeSize: 4, TypeModifier: -1,
			}}})
		case *pgproto3.Bind:
			b.Send(&pgproto3.BindComplete{})
		case *pgproto3.Execute:
			b.Send(&pgproto3.DataRow{Values: [][]byte{binary.BigEndian.AppendUint32(nil, number)}})
			b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
		case *pgproto3.Sync:
			b.Send(ready)
		case *pgproto3.Query: // a ping
			b.Send(&pgproto3.EmptyQueryResponse{})
			b.Send(ready)
		case *pgproto3.Terminate:
			return
		}
	}
}

// What stops a running SQLite is said in one sentence, is ErrUnavailable, and changes nothing.
func TestV70_AFullOrLockedSQLiteSaysWhatToDo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doorward.db")
	s := stores.Open(t, "sqlite:"+file)
	fails := func(err error, words string) {
		t.Helper()
		if !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), words) {
			t.Errorf("error %v, want ErrUnavailable with %q", err, words)
		}
	}
	s.SystemPool().SetMaxOpenConns(1) // pragmas are a connection's own
	pragma := func(text string) {
		t.Helper()
		_, err := s.SystemPool().ExecContext(t.Context(), "PRAGMA "+text)
		must(t, err)
	}
	t.Run("full", func(t *testing.T) {
		pragma("max_page_count = 1") // which SQLite takes for the size that the file has
		fails(s.SetSetting(storage.System(t.Context()), "large", strings.Repeat("x", 4<<20)), "the disk is full")
		_, err := s.Setting(storage.System(t.Context()), "large")
		if !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("what did not fit is there: %v", err)
		}
	})
	t.Run("locked", func(t *testing.T) {
		other, err := sql.Open("sqlite", "file:"+file+"?_txlock=exclusive")
		must(t, err)
		t.Cleanup(func() { _ = other.Close() })
		tx, err := other.BeginTx(t.Context(), nil)
		must(t, err)
		pragma("busy_timeout = 0")
		fails(s.SetSetting(storage.System(t.Context()), "small", "x"), "locked by another process")
		must(t, tx.Rollback())
		must(t, s.SetSetting(storage.System(t.Context()), "small", "x"))
	})
}

func TestV70_SQLiteErrorsSayWhatToDo(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, []byte(strings.Repeat("this is not a database\n", 100)), 0o600))
	openFails(t, "sqlite:"+file, "is not a SQLite database", file)
	openFails(t, "sqlite:"+filepath.Join(file, "sub", "x.db"), "directory of the SQLite database cannot be created")
	openFails(t, "sqlite:"+dir, "cannot be opened for writing", "let this user read and write")
	if os.Geteuid() == 0 {
		return // to whom nothing is read-only
	}
	closed := filepath.Join(dir, "closed")
	must(t, os.Mkdir(closed, 0o500))
	openFails(t, "sqlite:"+filepath.Join(closed, "x.db"), "cannot be opened for writing", "permission denied")
}
