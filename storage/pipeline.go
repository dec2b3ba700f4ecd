package storage

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// pipeline is a PostgreSQL transaction with few round trips, which are most of the cost of a short transaction.
// Statements whose result is not needed at once (BEGIN, the settings of a tenant, deferred writes) are sent with the
// next statement whose result is, or with the COMMIT.
type pipeline struct {
	conn    *pgxpool.Conn
	waiting *pgx.Batch
	failed  error // the error of a round trip that ended the transaction
}

const (
	maxWaiting      = 64 // statements, which bounds the memory of a long transaction
	rollbackTimeout = time.Second
)

func (s *Store) beginPostgres(ctx context.Context, scope tenantScope) (txn, error) {
	pool := s.natives["system"]
	if !scope.system {
		pool = s.natives["tenant"]
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	p := &pipeline{conn: conn, waiting: &pgx.Batch{}}
	p.waiting.Queue(`begin`)
	if !scope.system {
		p.waiting.Queue(`select set_config('app.user_id',$1,true), set_config('app.workspace_id',$2,true)`,
			scope.userID, scope.workspaceID)
	}
	return p, nil
}

// exec implements querier.
func (p *pipeline) exec(ctx context.Context, query string, args []any) (changed int64, err error) {
	plain, err := storedArgs(args)
	if err != nil {
		return 0, err
	}
	p.waiting.Queue(query, plain...)
	err = p.send(ctx, func(results pgx.BatchResults) error {
		tag, err := results.Exec()
		changed = tag.RowsAffected()
		return err
	})
	return changed, err
}

// each implements querier.
func (p *pipeline) each(ctx context.Context, fn func(scan func(...any) error) error, query string, args []any) error {
	plain, err := storedArgs(args)
	if err != nil {
		return err
	}
	p.waiting.Queue(query, plain...)
	return p.send(ctx, func(results pgx.BatchResults) error {
		rows, err := results.Query()
		if err != nil {
			return err
		}
		return eachNative(rows, fn)
	})
}

// enqueue implements txn.
func (p *pipeline) enqueue(ctx context.Context, query string, args []any) error {
	if p.waiting.Len() >= maxWaiting {
		_, err := p.exec(ctx, query, args)
		return err
	}
	plain, err := storedArgs(args)
	if err != nil {
		return err
	}
	p.waiting.Queue(query, plain...)
	return nil
}

// commit implements txn. PostgreSQL answers the COMMIT of a failed transaction with ROLLBACK.
func (p *pipeline) commit(ctx context.Context) error {
	p.waiting.Queue(`commit`)
	return p.send(ctx, func(results pgx.BatchResults) error {
		tag, err := results.Exec()
		if err == nil && tag.String() != "COMMIT" {
			err = pgx.ErrTxCommitRollback
		}
		return err
	})
}

// close implements txn. The pool closes a connection that is then still in a transaction.
func (p *pipeline) close() {
	if status := p.conn.Conn().PgConn().TxStatus(); status == 'T' || status == 'E' {
		ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
		defer cancel()
		_, _ = p.conn.Exec(ctx, `rollback`)
	}
	p.conn.Release()
}

// send sends the waiting statements; read reads the result of the last one. If an earlier one fails, PostgreSQL skips
// the rest, and send returns that error. If a round trip fails before BEGIN has run, there is no transaction: later
// statements would run outside of one, so they are not sent.
func (p *pipeline) send(ctx context.Context, read func(pgx.BatchResults) error) error {
	if p.failed != nil {
		return p.failed
	}
	batch := p.waiting
	p.waiting = &pgx.Batch{}
	results := p.conn.SendBatch(ctx, batch)
	var err error
	for range batch.Len() - 1 {
		if _, err = results.Exec(); err != nil {
			break
		}
	}
	if err == nil {
		err = read(results)
	}
	closing := results.Close()
	var said *pgconn.PgError
	if err == nil || !errors.As(err, &said) && errors.As(closing, &said) {
		err = closing
	}
	if err != nil && p.conn.Conn().PgConn().TxStatus() != 'T' {
		p.failed = err
	}
	return err
}
