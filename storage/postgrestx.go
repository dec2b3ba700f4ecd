package storage

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// nativeTx is a transaction of pgx. Each statement in it is a round trip.
type nativeTx struct{ tx pgx.Tx }

const rollbackTimeout = time.Second

func (s *Store) beginPostgres(ctx context.Context, scope tenantScope) (txn, error) {
	pool := s.natives["system"]
	if !scope.system {
		pool = s.natives["tenant"]
	}
	tx, err := pool.Begin(ctx)
	if err != nil {
		return nil, err
	}
	t := nativeTx{tx}
	if !scope.system {
		if _, err := t.exec(ctx, `select set_config('app.user_id',$1,true), set_config('app.workspace_id',$2,true)`,
			[]any{scope.userID, scope.workspaceID}); err != nil {
			_ = tx.Rollback(ctx) // if that fails, pgx closes the connection
			return nil, err
		}
	}
	return t, nil
}

// exec implements querier.
func (t nativeTx) exec(ctx context.Context, query string, args []any) (int64, error) {
	stored, err := storedArgs(args)
	if err != nil {
		return 0, err
	}
	tag, err := t.tx.Exec(ctx, query, stored...)
	return tag.RowsAffected(), err
}

// each implements querier.
func (t nativeTx) each(ctx context.Context, fn func(scan func(...any) error) error, query string, args []any) error {
	stored, err := storedArgs(args)
	if err != nil {
		return err
	}
	rows, err := t.tx.Query(ctx, query, stored...)
	if err != nil {
		return err
	}
	return eachNative(rows, fn)
}

// commit implements txn.
func (t nativeTx) commit(ctx context.Context) error { return t.tx.Commit(ctx) }

// close implements txn. The pool closes a connection that is still in a transaction after this.
func (t nativeTx) close() {
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
	defer cancel()
	_ = t.tx.Rollback(ctx) // after a commit there is nothing to roll back
}
