package storage

import (
	"context"
	"fmt"
)

// deliverSQLite runs a batch in one transaction of the writer, so that its statements share one fsync.
func (s *Store) deliverSQLite(ctx context.Context, batch []*queued) error {
	compiled := make([]keptStatement, len(batch))
	for i, q := range batch {
		var err error
		if compiled[i], err = s.compile(ctx, s.system, q.text); err != nil {
			return err
		}
	}
	tx, err := s.system.BeginTx(ctx, nil)
	if err != nil {
		return classify(err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	// Nothing interrupts a statement: SQLite would roll back the others with it. Waiting for the lock is behind it.
	ctx = context.WithoutCancel(ctx)
	for i, q := range batch {
		on := sqlQuerier{keptStatement{tx.StmtContext(ctx, compiled[i].stmt)}}
		if q.row == nil {
			q.changed, err = on.exec(ctx, q.text, q.args)
		} else {
			err = on.each(ctx, q.row, q.text, q.args)
		}
		if err != nil && len(batch) > 1 {
			return fmt.Errorf("%w: %w", errAlone, err)
		}
		if err != nil {
			return classify(err)
		}
	}
	return classify(tx.Commit())
}
