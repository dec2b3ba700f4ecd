package storage

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	sqlite3 "modernc.org/sqlite/lib"
)

// operatorError is an error for the operator about a database that cannot be reached, in one sentence. It wraps
// ErrUnavailable.
type operatorError string

// Error implements error.
func (t operatorError) Error() string { return string(t) }

// Unwrap returns ErrUnavailable.
func (operatorError) Unwrap() error { return ErrUnavailable }

// explainConnect returns an error that says in one sentence why a login cannot connect to its PostgreSQL server, and
// what to do. It names the configuration key, the server, the user and the database, but never the password. It wraps
// ErrUnavailable.
func explainConnect(key, url string, cause error) error {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return errors.New(key + " is not a PostgreSQL URL") // pgx's error would quote the password
	}
	server := net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port))
	if strings.HasPrefix(cfg.Host, "/") {
		server = "the socket in " + cfg.Host
	}
	say := func(format string, args ...any) error {
		return operatorError(key + ": " + fmt.Sprintf(format, args...))
	}
	var pg *pgconn.PgError
	if errors.As(cause, &pg) {
		switch pg.Code {
		case "28P01": // invalid_password
			return say("the PostgreSQL server at %s refuses the password of the user %q; correct the password in the "+
				"URL", server, cfg.User)
		case "28000": // invalid_authorization_specification: no such role, or pg_hba.conf
			return say("the PostgreSQL server at %s does not let the user %q into the database %q from here; create "+
				"the user, or allow it in pg_hba.conf", server, cfg.User, cfg.Database)
		case "3D000": // invalid_catalog_name
			return say("the PostgreSQL server at %s has no database %q; create it, with: CREATE DATABASE %s", server,
				cfg.Database, pgx.Identifier{cfg.Database}.Sanitize())
		case "42501": // insufficient_privilege
			return say("the user %q may not connect to the database %q at %s; grant it CONNECT", cfg.User, cfg.Database,
				server)
		case "53300": // too_many_connections
			return say("the PostgreSQL server at %s has no connection left for the user %q; increase its "+
				"max_connections, or end other clients", server, cfg.User)
		case "57P03": // cannot_connect_now
			return say("the PostgreSQL server at %s is starting up or shutting down; try again shortly", server)
		}
		if text := explainPostgres(pg.Code); text != "" {
			return say("%s at %s as the user %q (SQLSTATE %s)", text, server, cfg.User, pg.Code)
		}
		return say("the PostgreSQL server at %s refuses the user %q and the database %q with SQLSTATE %s", server,
			cfg.User, cfg.Database, pg.Code)
	}
	var unknown *net.DNSError
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(cause, &unknown):
		return say("the host %q is not known; check its name and the name server", cfg.Host)
	case errors.Is(cause, syscall.ECONNREFUSED):
		return say("no server listens at %s; start PostgreSQL, or correct the host and port", server)
	case errors.Is(cause, fs.ErrNotExist):
		return say("there is no PostgreSQL at %s; start it, or correct the path", server)
	case errors.As(cause, &authority), errors.As(cause, &hostname), errors.As(cause, &invalid):
		return say("the certificate of the PostgreSQL server at %s is not trusted; set sslrootcert and a host name "+
			"that it is for, or another sslmode", server)
	case errors.As(cause, &record), strings.Contains(cause.Error(), "refused TLS connection"):
		return say("the PostgreSQL server at %s does not use TLS; turn ssl on there, or set another sslmode in "+
			"the URL", server)
	case errors.Is(cause, context.DeadlineExceeded), isTimeout(cause):
		return say("the PostgreSQL server at %s does not answer; check the address and the firewalls on the way",
			server)
	case errors.Is(cause, syscall.EHOSTUNREACH), errors.Is(cause, syscall.ENETUNREACH):
		return say("there is no route to the PostgreSQL server at %s; check the address and the network", server)
	case errors.Is(cause, syscall.EACCES), errors.Is(cause, syscall.EPERM):
		return say("this process may not connect to %s; check its permissions", server)
	case errors.Is(cause, context.Canceled):
		return fmt.Errorf("%w: %w", ErrUnavailable, context.Canceled)
	}
	return say("the connection to the PostgreSQL server at %s as the user %q failed: %s", server, cfg.User,
		lastOf(cause))
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// lastOf returns the innermost cause: the messages around it may repeat the URL.
func lastOf(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return redactedError{err}.Error()
		}
		err = next
	}
}

// explainPostgres says what a SQLSTATE means, if it is one that the operator can do something about.
func explainPostgres(code string) string {
	switch code {
	case "28P01", "28000":
		return "the PostgreSQL server no longer accepts the login; check its password and pg_hba.conf"
	case "3D000":
		return "the database does not exist on the PostgreSQL server"
	case "42501":
		return "the login does not have this permission in the database; run doorward check"
	case "53100":
		return "the disk of the PostgreSQL server is full"
	case "53200":
		return "the PostgreSQL server is out of memory"
	case "53300":
		return "the PostgreSQL server has no connection left; increase its max_connections, or end other clients"
	case "57P01", "57P02", "57P03":
		return "the PostgreSQL server is shutting down or starting up"
	case "25006":
		return "the PostgreSQL server is read-only, as a standby is; connect to the primary"
	case "57014":
		return "the PostgreSQL server cancelled a statement that took too long"
	case "55P03":
		return "a lock in the database was not released in time"
	case "42P01", "42703":
		return "the database lacks a table or column of this version; run doorward migrate"
	}
	return ""
}

// explainSQLite says what SQLite's code means, and what to do.
func explainSQLite(code int) string {
	text := ""
	switch code & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		text = "the database file is locked by another process; end it, or try again shortly"
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		text = "the database file, or its directory, is read-only; let this user write there"
	case sqlite3.SQLITE_FULL:
		text = "the disk is full"
	case sqlite3.SQLITE_IOERR:
		text = "the disk failed to read or write the database file"
	case sqlite3.SQLITE_CANTOPEN:
		text = "the database file cannot be opened; check that its directory exists and that this user may write there"
	case sqlite3.SQLITE_NOTADB:
		text = "the file is not a SQLite database; set another path, or move the file away"
	case sqlite3.SQLITE_CORRUPT:
		text = "the database file is damaged; restore a backup"
	}
	if text == "" {
		return fmt.Sprintf("sqlite code %d", code)
	}
	return fmt.Sprintf("%s (sqlite code %d)", text, code)
}
