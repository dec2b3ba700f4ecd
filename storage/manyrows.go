package storage

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"
)

// rowBatch is how many rows one transaction of a background job writes: few enough that no request waits long.
const rowBatch = 200

// execMany runs a plain statement with each list of arguments, in the transaction in ctx, and returns the number of
// rows that each changed. On PostgreSQL, all share a round trip, and on SQLite, the statement is compiled once.
func (s *Store) execMany(ctx context.Context, text string, lists [][]any) ([]int64, error) {
	t := inside(ctx)
	if t == nil {
		return nil, errors.New("storage: many statements need a transaction")
	}
	for _, args := range lists {
		if _, err := s.gate(ctx, true, args); err != nil {
			return nil, err
		}
	}
	changed, err := t.execMany(ctx, text, lists)
	return changed, classify(err)
}

// execMany implements txn.
func (t nativeTx) execMany(ctx context.Context, text string, lists [][]any) ([]int64, error) {
	var batch pgx.Batch
	for _, args := range lists {
		stored, err := storedArgs(args)
		if err != nil {
			return nil, err
		}
		batch.Queue(text, stored...)
	}
	results := t.tx.SendBatch(ctx, &batch)
	changed := make([]int64, len(lists))
	for i := range lists {
		tag, err := results.Exec()
		if err != nil {
			return nil, errors.Join(err, results.Close())
		}
		changed[i] = tag.RowsAffected()
	}
	return changed, results.Close()
}

// execMany implements txn.
func (t sqlTx) execMany(ctx context.Context, text string, lists [][]any) ([]int64, error) {
	compiled, err := t.tx.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	defer compiled.Close() //nolint:errcheck // nothing is lost with it
	changed := make([]int64, len(lists))
	for i, args := range lists {
		result, err := compiled.ExecContext(ctx, args...)
		if err != nil {
			return nil, err
		}
		if changed[i], err = result.RowsAffected(); err != nil {
			return nil, fmt.Errorf("count the changed rows: %w", err)
		}
	}
	return changed, nil
}

// execOrElse is execMany of a first statement, and of a second one with those arguments with which the first changed no
// row: an update, and an insert of what does not exist yet. An INSERT … ON CONFLICT DO UPDATE for all would also lock
// each existing row, which PostgreSQL logs.
func (s *Store) execOrElse(ctx context.Context, text, otherwise string, lists [][]any) error {
	changed, err := s.execMany(ctx, text, lists)
	if err != nil {
		return err
	}
	var rest [][]any
	for i, n := range changed {
		if n == 0 {
			rest = append(rest, lists[i])
		}
	}
	if len(rest) > 0 {
		_, err = s.execMany(ctx, otherwise, rest)
	}
	return err
}

// beforeUses comes before what is written of the uses of keys. On PostgreSQL, those rows have no foreign key, because
// each new one would lock, and so write, the row that it refers to. A trigger deletes them with the key or workspace;
// it waits here for the transactions that may have found these just before, and those that come later do not find them.
func (s *Store) beforeUses(ctx context.Context) error {
	if s.engine != postgres {
		return nil
	}
	_, err := s.exec(ctx, plain(`SELECT pg_advisory_xact_lock_shared(hashtext('doorward uses'))`))
	return err
}

// execOrElseOfUses is execOrElse after beforeUses.
func (s *Store) execOrElseOfUses(ctx context.Context, text, otherwise string, lists [][]any) error {
	if err := s.beforeUses(ctx); err != nil {
		return err
	}
	return s.execOrElse(ctx, text, otherwise, lists)
}

// batches yields consecutive parts of a list, each with at least one element and, if it has more, at most rowBatch
// rows. size returns how many rows an element has.
func batches[E any](list []E, size func(E) int) iter.Seq[[]E] {
	return func(yield func([]E) bool) {
		for len(list) > 0 {
			n, rows := 1, size(list[0])
			for n < len(list) && rows+size(list[n]) <= rowBatch {
				rows += size(list[n])
				n++
			}
			if !yield(list[:n]) {
				return
			}
			list = list[n:]
		}
	}
}
