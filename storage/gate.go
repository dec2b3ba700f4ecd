package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// querier runs statements: a pool, or a transaction. Its errors are the driver's.
type querier interface {
	exec(ctx context.Context, query string, args []any) (changed int64, err error)
	each(ctx context.Context, fn func(scan func(...any) error) error, query string, args []any) error
}

// txn is an open transaction.
type txn interface {
	querier
	// execMany runs a statement with each list of arguments, and returns the number of rows that each changed.
	execMany(ctx context.Context, query string, lists [][]any) (changed []int64, err error)
	commit(ctx context.Context) error
	// close rolls back the transaction unless it is committed, and returns the connection to its pool.
	close()
}

// sqlQuerier is a querier of database/sql.
type sqlQuerier struct {
	on interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	}
}

// exec implements querier.
func (q sqlQuerier) exec(ctx context.Context, query string, args []any) (int64, error) {
	res, err := q.on.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// each implements querier.
func (q sqlQuerier) each(ctx context.Context, fn func(scan func(...any) error) error, query string, args []any) error {
	rows, err := q.on.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // rows.Err reports the error
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// sqlTx is a transaction of database/sql.
type sqlTx struct {
	sqlQuerier
	tx *sql.Tx
}

// commit implements txn.
func (t sqlTx) commit(context.Context) error { return t.tx.Commit() }

// close implements txn.
func (t sqlTx) close() {
	_ = t.tx.Rollback() // after a commit there is nothing to roll back
}

// tenantScope says which rows statements may see: all rows, for the server itself, or those of a user and a workspace.
type tenantScope struct {
	system      bool
	userID      string
	workspaceID string
}

type (
	scopeKey struct{}
	txKey    struct{}
)

// transaction is what the context carries inside InTx.
type transaction struct {
	txn
	scope   tenantScope
	found   change   // what its statements found as others had changed it, which counts even if this is rolled back
	altered change   // what its statements altered, which is announced with the commit, even one of unknown outcome
	undo    []func() // takes back what was kept in memory, if this is rolled back
}

// System marks ctx as acting for the server itself: OAuth endpoints, sign-in, the CLI and background jobs.
func System(ctx context.Context) context.Context {
	return context.WithValue(ctx, scopeKey{}, tenantScope{system: true})
}

// Tenant marks ctx as acting for a signed-in user in one of their workspaces. The caller has checked, as System, that
// the user is a member. Tenant statements run only in transactions, since the settings that row-level security reads
// last only for a transaction.
func Tenant(ctx context.Context, userID, workspaceID string) context.Context {
	return context.WithValue(ctx, scopeKey{}, tenantScope{userID: userID, workspaceID: workspaceID})
}

// IsSystem reports whether ctx acts for the server itself.
func IsSystem(ctx context.Context) bool {
	scope, _ := ctx.Value(scopeKey{}).(tenantScope)
	return scope.system
}

// errNoScope is a bug in the program: a statement whose context has neither System nor Tenant.
var errNoScope = errors.New("storage: the context has neither System nor Tenant")

// errText wraps ErrNotFound, since no row can contain such text.
var errText = fmt.Errorf("%w: text with a NUL byte, or that is not UTF-8", ErrNotFound)

// storable reports whether PostgreSQL can store a text.
func storable(text string) bool { return strings.IndexByte(text, 0) < 0 && utf8.ValidString(text) }

// gate is the only way to the database: it returns the transaction in ctx, or a pool for the scope of ctx. It refuses
// text that PostgreSQL cannot store, so that both engines behave the same and no transaction fails because of it.
func (s *Store) gate(ctx context.Context, write bool, args []any) (querier, error) {
	scope, ok := ctx.Value(scopeKey{}).(tenantScope)
	if !ok {
		return nil, errNoScope
	}
	for _, arg := range args {
		if list, ok := arg.(List); ok {
			arg = list.String()
		}
		if text, ok := arg.(string); ok && !storable(text) {
			return nil, errText
		}
	}
	if t := inside(ctx); t != nil {
		if t.scope != scope {
			return nil, errors.New("storage: the scope changed inside a transaction")
		}
		return t, nil
	}
	if !scope.system {
		return nil, errors.New("storage: a tenant's statement needs a transaction")
	}
	switch {
	case s.native != nil:
		return nativePool{s.native}, nil
	case write:
		return sqlQuerier{s.system}, nil
	}
	return sqlQuerier{s.reader}, nil
}

// inside returns the transaction in ctx, or nil.
func inside(ctx context.Context) *transaction {
	t, _ := ctx.Value(txKey{}).(*transaction)
	return t
}

// InTx runs fn in one transaction; a nested call joins the outer transaction. It commits if fn returns nil, and rolls
// back if fn returns an error or panics, or if ctx ends. If PostgreSQL aborts the transaction because of a conflict
// (SQLSTATE 40001, 40P01), fn runs again, up to three times, so fn must only run statements and set values. An error of
// the commit itself wraps ErrUnavailable: the commit may or may not have happened.
func (s *Store) InTx(ctx context.Context, fn func(ctx context.Context) error) error {
	if inside(ctx) != nil {
		return fn(ctx)
	}
	return again(ctx, func() error { return endedBy(ctx, s.attempt(ctx, fn)) })
}

// endedBy adds the error of a context that has ended: database/sql then rolls back the transaction, and says only that
// it was rolled back.
func endedBy(ctx context.Context, err error) error {
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", err, ctx.Err())
	}
	return err
}

// again runs fn, and up to three times more if PostgreSQL aborts it because of a conflict.
func again(ctx context.Context, fn func() error) error {
	var err error
	for attempt := range 4 {
		if err = fn(); !errors.Is(err, errRetry) || attempt == 3 {
			break
		}
		// Give the other transaction time to continue.
		select {
		case <-ctx.Done():
			return unavailable(ctx.Err())
		case <-time.After(time.Duration(attempt+1) * 5 * time.Millisecond):
		}
	}
	return err
}

func (s *Store) attempt(ctx context.Context, fn func(ctx context.Context) error) error {
	scope, ok := ctx.Value(scopeKey{}).(tenantScope)
	if !ok {
		return errNoScope
	}
	begin := s.beginPostgres
	if s.engine != postgres {
		begin = s.beginSQLite
	}
	c, err := begin(ctx, scope)
	if err != nil {
		return classify(err)
	}
	defer c.close()
	t := &transaction{txn: c, scope: scope}
	err = fn(context.WithValue(ctx, txKey{}, t))
	s.changes.add(t.found)
	if err == nil {
		err = s.notify(ctx, t)
	}
	if err != nil {
		for _, undo := range t.undo {
			undo()
		}
		return err
	}
	err = classify(c.commit(ctx))
	if err == nil || errors.Is(err, ErrUnavailable) { // it may be committed although the answer was lost
		s.changes.add(t.altered)
	}
	return err
}
