// Package cache keeps what was read for a credential, for as long as nothing has changed on which it depends. Only the
// packages that verify credentials use it.
package cache

import (
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"doorward/storage"
)

const (
	// Size is how many rows a Cache keeps. Those that are rarely used make room.
	Size = 100_000
	// maxAge is how long a row is kept if nothing changes. It bounds how long a change can go unnoticed that nothing has
	// announced, such as one by an operator who has switched off the triggers of PostgreSQL.
	maxAge = time.Minute
)

// Cache keeps rows by a key that identifies a credential, such as its digest. Its methods are safe for concurrent use.
// It keeps nothing unless the store follows the changes of other processes (storage.Store.Follow).
type Cache[K comparable, R any] struct {
	store        *storage.Store
	dependencies func(*R) storage.Dependencies
	works        func(*R) bool
	entries      *otter.Cache[K, *entry[R]]
	hits         atomic.Uint64
	misses       atomic.Uint64
}

type entry[R any] struct {
	row   R
	on    storage.Dependencies
	since uint64    // generation
	read  time.Time // by the monotonic clock
}

// New returns an empty Cache of rows that are read from store. dependencies says what a row depends on. works reports
// whether the credential of a row works now: only such rows are used from memory, so a refusal always comes from the
// database, and takes as long as for a credential that is unknown.
func New[K comparable, R any](
	store *storage.Store, dependencies func(*R) storage.Dependencies, works func(*R) bool,
) *Cache[K, R] {
	return &Cache[K, R]{
		store: store, dependencies: dependencies, works: works,
		entries: otter.Must(&otter.Options[K, *entry[R]]{MaximumSize: Size}),
	}
}

// Find returns the row with a key: the one that it keeps, if nothing has changed, or else the one that read returns. It
// keeps that one if read says so and does not fail. An unknown credential is never kept, so that it takes no memory and
// works as soon as it exists. The caller must not change what the row refers to.
func (c *Cache[K, R]) Find(key K, read func() (row R, keep bool, err error)) (R, error) {
	// A row that is read from here on is kept under this generation, so that a change meanwhile invalidates it.
	generation, now := c.store.Generation(), time.Now()
	if !c.store.Current() {
		row, _, err := read()
		return row, err
	}
	if e, ok := c.entries.GetIfPresent(key); ok && now.Sub(e.read) < maxAge && !c.store.Altered(e.since, &e.on) &&
		c.works(&e.row) {
		c.hits.Add(1)
		return e.row, nil
	}
	c.misses.Add(1)
	row, keep, err := read()
	if err == nil && keep && c.works(&row) {
		c.entries.Set(key, &entry[R]{row, c.dependencies(&row), generation, now})
	}
	return row, err
}

// Stats returns how many rows were found in memory, and how many were not, since the start.
func (c *Cache[K, R]) Stats() (hits, misses uint64) { return c.hits.Load(), c.misses.Load() }
