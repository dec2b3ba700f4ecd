package storage

import (
	"context"
	"errors"
)

// Generation grows with every committed change, made through this Store, of something that exists and that the answer
// for a credential may depend on. It has grown when the method that made the change returns. A cache whose keys contain
// the generation, read before the first statement of what it keeps, never serves what this process has changed.
//
// What is only added does not make it grow: a cache must not keep that something is unknown. Neither does what ends by
// itself at a known time: a cache compares that time with the clock.
func (s *Store) Generation() uint64 { return s.changes.Load() }

// announce is the one hook behind all changes of what exists. Every statement passes it; it acts on those that alter
// something and changed a row, or may have: the answer of the database may be lost although the change is made. What a
// cache keeps for nothing is dropped and read again, which costs time only.
//
// It runs inside the transaction that makes the change, so what other processes must be told can be part of it.
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

// grow makes everything that caches hold out of date.
func (s *Store) grow() { s.changes.Add(1) }
