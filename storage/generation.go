package storage

import (
	"context"
	"errors"
)

// Generation grows with every committed change, made through this Store, of existing rows on which the check of a
// credential may depend. It has grown before the method that makes the change returns. A cache whose keys contain the
// generation, read before the first statement of the cached value, never serves a value that this process has changed.
//
// It does not grow when rows are added, so a cache must not store that something is unknown. Nor does it grow when
// something expires, so a cache must compare the expiry with the clock.
func (s *Store) Generation() uint64 { return s.changes.Load() }

// announce is the one hook after all changes of existing rows. Every statement passes it; it acts on those with the
// policy alters that changed a row, or may have: the database's answer may be lost although the change was made.
// Dropping a valid cache entry costs only the time to read it again.
//
// It runs inside the transaction that makes the change, so a notification of other processes could be part of it.
func (s *Store) announce(ctx context.Context, st Statement, changed int64, err error) {
	if !st.has(alters) || (err != nil || changed == 0) && !errors.Is(err, ErrUnavailable) {
		return
	}
	if t := inside(ctx); t != nil {
		t.altered = true // the generation grows with the commit
		return
	}
	s.grow()
}

// grow invalidates all cache entries.
func (s *Store) grow() { s.changes.Add(1) }
