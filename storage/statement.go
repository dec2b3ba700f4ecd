package storage

import (
	"context"
	"errors"
	"fmt"
)

// Statement is an SQL statement with the policy by which it runs. A plain or altering statement is usually written
// where it runs; any other is declared next to its method.
type Statement struct {
	text   string
	policy policy
}

// SQL returns the text of the statement, with $1, $2 and so on for its arguments.
func (st Statement) SQL() string { return st.text }

// has reports whether the policy contains p.
func (st Statement) has(p policy) bool { return st.policy&p != 0 }

// policy says how a statement may run, and what must follow it. The zero value is plain: by itself and at once.
type policy uint16

const (
	// shared statements of concurrent requests, outside transactions, run in one batch (batcher.go); on SQLite only those
	// that write. Each must touch a row that no other request touches, since all statements of a batch wait for each
	// other.
	shared policy = 1 << iota
	// ordered is for a shared statement whose row other requests write too. The first argument names the row, and every
	// batch writes its rows in the order of their names, so that batches cannot deadlock.
	ordered
	// compiled statements stay compiled on each connection of SQLite's reader, since compiling one takes longer than
	// running it. There must be few of them.
	compiled
	// alters is for a statement that changes, revokes or deletes an existing row on which the check of a credential may
	// depend: a user, workspace, membership, client, secret, key, grant, access token, consent or signing key. See
	// announce.
	alters
	// names is for the first argument of a statement that alters; the next bit is for the second argument. See of.
	names
)

// plain returns a statement that runs by itself, and that invalidates no cache.
func plain(text string) Statement { return Statement{text: text} }

// altering returns a plain statement after which nothing that is cached counts.
func altering(text string) Statement { return Statement{text: text, policy: alters} }

// of returns an altering statement after which only what depends on one of these arguments, 1 or 2, does not count: the
// id of a user, workspace, client, grant or key, or the digest of an access token (see Dependencies).
func (st Statement) of(arguments ...int) Statement {
	for _, n := range arguments {
		st.policy |= names << (n - 1)
	}
	return st
}

// exec runs a statement that writes, and returns the number of rows that it changed. Outside a transaction it retries
// the statement as InTx does.
func (s *Store) exec(ctx context.Context, st Statement, args ...any) (n int64, err error) {
	if s.native != nil && st.has(alters) && inside(ctx) == nil {
		// Other processes are told in the transaction that makes the change.
		err = s.InTx(ctx, func(ctx context.Context) error {
			n, err = s.exec(ctx, st, args...)
			return err
		})
		return n, err
	}
	q, err := s.gate(ctx, true, args)
	if err != nil {
		return 0, err
	}
	alone := func() error {
		n, err = q.exec(ctx, st.text, args)
		return classify(err)
	}
	switch {
	case inside(ctx) != nil:
		err = alone() // InTx retries the whole transaction
	case st.has(shared):
		err = again(ctx, func() error {
			n, err = s.writes.run(ctx, st, args, nil)
			return err
		})
		if errors.Is(err, errAlone) {
			err = again(ctx, alone)
		}
	default:
		err = again(ctx, alone)
	}
	s.announce(ctx, st, args, n, err)
	return n, err
}

// execOne is exec for a statement that must change exactly one row. If it changes none, execOne returns the error
// otherwise.
func (s *Store) execOne(ctx context.Context, otherwise error, st Statement, args ...any) error {
	n, err := s.exec(ctx, st, args...)
	if err != nil {
		return err
	}
	if n != 1 {
		return otherwise
	}
	return nil
}

// execReturning runs a statement that writes at most one row, and reads the columns that it returns into dest. found
// reports whether it wrote a row.
func (s *Store) execReturning(ctx context.Context, dest []any, st Statement, args ...any) (found bool, err error) {
	q, err := s.gate(ctx, true, args)
	if err != nil {
		return false, err
	}
	row := func(scan func(...any) error) error {
		found = true
		return scan(dest...)
	}
	alone := func() error {
		found = false
		return classify(q.each(ctx, row, st.text, args))
	}
	switch {
	case inside(ctx) != nil:
		err = alone()
	case st.has(shared):
		err = again(ctx, func() error {
			found = false
			_, err := s.counts.run(ctx, st, args, row)
			return err
		})
		if errors.Is(err, errAlone) {
			err = again(ctx, alone)
		}
	default:
		err = again(ctx, alone)
	}
	return found, err
}

// execEach runs a plain statement that writes, and calls fn for every row that it returns.
func (s *Store) execEach(ctx context.Context, fn func(scan func(...any) error) error, st Statement, args ...any) error {
	q, err := s.gate(ctx, true, args)
	if err != nil {
		return err
	}
	return classify(q.each(ctx, fn, st.text, args))
}

// one reads a single row into dest. It returns ErrNotFound if there is none.
func (s *Store) one(ctx context.Context, dest []any, st Statement, args ...any) error {
	q, err := s.gate(ctx, false, args)
	if err != nil {
		return err
	}
	found := false
	row := func(scan func(...any) error) error {
		if found {
			return fmt.Errorf("%w: more than one row", ErrUnavailable)
		}
		found = true
		return scan(dest...)
	}
	switch {
	case inside(ctx) != nil:
	case s.reads != nil && st.has(shared):
		if _, err = s.reads.run(ctx, st, args, row); errors.Is(err, errAlone) {
			found = false
			break
		}
		if err == nil && !found {
			err = ErrNotFound
		}
		return err
	case s.native == nil && st.has(compiled):
		compiled, err := s.compile(context.WithoutCancel(ctx), s.reader, st.text)
		if err != nil {
			return err
		}
		q = sqlQuerier{compiled}
	}
	err = classify(q.each(ctx, row, st.text, args))
	if err == nil && !found {
		err = ErrNotFound
	}
	return err
}

// each calls fn for every row.
func (s *Store) each(ctx context.Context, fn func(scan func(...any) error) error, st Statement, args ...any) error {
	q, err := s.gate(ctx, false, args)
	if err != nil {
		return err
	}
	return classify(q.each(ctx, fn, st.text, args))
}

// collect reads all rows into a list; fields returns the destinations of the columns of a row.
func collect[T any](
	ctx context.Context, s *Store, fields func(*T) []any, st Statement, args ...any,
) ([]T, error) {
	var list []T
	err := s.each(ctx, func(scan func(...any) error) error {
		var row T
		if err := scan(fields(&row)...); err != nil {
			return err
		}
		list = append(list, row)
		return nil
	}, st, args...)
	return list, err
}
