package storage

import (
	"context"
	"encoding/hex"
	"errors"
	"hash/maphash"
	"slices"
	"sync/atomic"
)

// Dependencies are the things on which a cached row depends. They are kept as short numbers. Two things may have the
// same number, and then a change of one also counts as a change of the other. The zero value stands for any one thing.
type Dependencies [maxDependencies]uint16

const (
	maxDependencies = 6
	// shards is how many numbers there are. A cached row is read again without need as often as things of its numbers
	// change: with 1,000 changes a second, once in about three seconds.
	shards = 1 << 14
)

var numberSeed = maphash.MakeSeed()

// numberOf returns the number of a thing: of the id of a user, workspace, client, grant or key, or of the digest of
// an access token in hexadecimal.
func numberOf(id string) uint16 {
	return uint16(maphash.String(numberSeed, id) % shards)
}

// DependenciesOf returns the dependencies of a row, from at most six ids. Empty ids count as none.
func DependenciesOf(ids ...string) (all Dependencies) {
	ids = slices.DeleteFunc(ids, func(id string) bool { return id == "" })
	if len(ids) == 0 {
		return all
	}
	for i := range all {
		all[i] = numberOf(ids[min(i, len(ids)-1)])
	}
	return all
}

// Generation grows with every committed change of existing rows on which the check of a credential may depend. It has
// grown before the method that makes the change returns.
//
// A cache keeps a row with the generation that it read before its first statement, and uses it as long as Altered is
// false for that generation and the dependencies of the row. Then it never uses a row that this process has changed.
//
// The generation does not grow when rows are added, so a cache must not store that something is unknown. Nor does it
// grow when something expires, so a cache must compare the expiry with the clock.
func (s *Store) Generation() uint64 { return s.changes.latest.Load() }

// Altered reports whether anything has changed since a generation on which a row with these dependencies is based.
func (s *Store) Altered(since uint64, on *Dependencies) bool {
	c := &s.changes
	if c.everything.Load() > since {
		return true
	}
	for _, n := range on {
		if c.of[n].Load() > since {
			return true
		}
	}
	return false
}

// Invalidate makes every cache read again, after a change that no method of this Store has made.
func (s *Store) Invalidate() { s.changes.add(change{everything: true}) }

// changes says when what was last changed, in generations.
type changes struct {
	latest     atomic.Uint64
	everything atomic.Uint64         // the last change that did not say what it concerns
	of         [shards]atomic.Uint64 // by the number of the thing
}

// change is what a transaction alters.
type change struct {
	everything bool
	ids        []string // see Dependencies; none: nothing that is known
}

func (c *change) join(x change) {
	c.everything = c.everything || x.everything
	c.ids = append(c.ids, x.ids...)
}

func (c *change) none() bool { return !c.everything && len(c.ids) == 0 }

// add invalidates what depends on a change.
func (c *changes) add(x change) {
	if x.none() {
		return
	}
	now := c.latest.Add(1)
	if x.everything {
		raise(&c.everything, now)
		return
	}
	for _, id := range x.ids {
		raise(&c.of[numberOf(id)], now)
	}
}

// raise sets a generation that never goes back, since changes at the same moment may arrive here in another order.
func raise(to *atomic.Uint64, now uint64) {
	for {
		before := to.Load()
		if before >= now || to.CompareAndSwap(before, now) {
			return
		}
	}
}

// announce is the one hook after all changes of existing rows. Every statement passes it; it acts on those with the
// policy alters that changed a row, or may have: the database's answer may be lost although the change was made.
// Dropping a valid cache entry costs only the time to read it again.
//
// It runs inside the transaction that makes the change. The transaction notifies other processes (follow.go) and, once
// it is committed, invalidates what this process has cached.
//
// A statement that finds nothing to change has seen what another transaction has just changed, such as a grant that is
// revoked already, perhaps by another process. Its caller may report success, so from then on this process must not
// use an older row either, even if the statement's own transaction is rolled back.
func (s *Store) announce(ctx context.Context, st Statement, args []any, changed int64, err error) {
	if !st.has(alters) || err != nil && !errors.Is(err, ErrUnavailable) {
		return
	}
	var x change
	for i := range 2 {
		if st.has(names << i) {
			x.ids = append(x.ids, idOf(args[i]))
		}
	}
	x.everything = len(x.ids) == 0
	switch t := inside(ctx); {
	case t == nil:
		s.changes.add(x)
	case changed == 0 && err == nil:
		t.found.join(x)
	default:
		t.altered.join(x)
	}
}

// idOf returns the id of the thing that an argument names.
func idOf(arg any) string {
	if digest, ok := arg.([]byte); ok {
		return idOfDigest(digest)
	}
	return arg.(string) //nolint:forcetypeassert // ids are strings
}

// idOfDigest returns the id of a token, from its digest.
func idOfDigest(digest []byte) string { return hex.EncodeToString(digest) }
