package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// ErrNotFound means that no row matches.
	ErrNotFound = errors.New("not found")
	// ErrExists means that a row with this key exists already.
	ErrExists = errors.New("exists already")
	// ErrConsumed means that a single-use value was used before, or has just been used by another request.
	ErrConsumed = errors.New("used already")
	// ErrConflict means that the change would break a rule that spans several rows.
	ErrConflict = errors.New("in conflict with what is stored")
	// ErrUnavailable means that the database could not run the statement: it is unreachable, too slow or full, or refused.
	// It says nothing about the stored rows; answer with 503.
	ErrUnavailable = errors.New("storage is unavailable")
	// ErrOldSchema means that the database lacks migrations of this program.
	ErrOldSchema = errors.New("the schema is too old")
)

// unavailable wraps an error of a driver, without the parts that may contain values of rows or parameters: the detail
// of a PostgreSQL error quotes them, and its message may.
func unavailable(cause error) error {
	var pg *pgconn.PgError
	if errors.As(cause, &pg) {
		if text := explainPostgres(pg.Code); text != "" {
			return fmt.Errorf("%w: %s (SQLSTATE %s)", ErrUnavailable, text, pg.Code)
		}
		return fmt.Errorf("%w: SQLSTATE %s table %q constraint %q", ErrUnavailable, pg.Code, pg.TableName,
			pg.ConstraintName)
	}
	var lite *sqlite.Error
	if errors.As(cause, &lite) {
		return fmt.Errorf("%w: %s", ErrUnavailable, explainSQLite(lite.Code()))
	}
	var connect *pgconn.ConnectError
	if errors.As(cause, &connect) || errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrUnavailable, cause)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, redactedError{cause})
}

// redactedError shows the message of an error only up to the first quotation mark: database/sql and pgx quote a value
// that they could not convert.
type redactedError struct{ error }

func (c redactedError) Error() string {
	text, _, cut := strings.Cut(c.error.Error(), `"`)
	if cut {
		text = strings.TrimRight(text, " (:,") + " …"
	}
	return text
}

func (c redactedError) Unwrap() error { return c.error }

// classify turns a driver's error into one of this package's.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case errors.Is(err, ErrUnavailable), errors.Is(err, errRetry), errors.Is(err, ErrNotFound), errors.Is(err,
		ErrExists),
		errors.Is(err, ErrConsumed), errors.Is(err, ErrConflict):
		return err
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "23505": // unique_violation
			return ErrExists
		case "23503": // foreign_key_violation
			return ErrNotFound
		case "40001", "40P01": // serialization_failure, deadlock_detected: the whole transaction can be retried
			return fmt.Errorf("%w: %w", errRetry, unavailable(err))
		case "22021", "22P05": // characters that PostgreSQL cannot store: no row can match them
			return ErrNotFound
		}
		return unavailable(err)
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() {
		case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
			return ErrExists
		case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
			return ErrNotFound
		}
	}
	return unavailable(err)
}

// errRetry marks a transaction that PostgreSQL aborted because of a conflict with another one.
var errRetry = errors.New("transaction lost a race")
