// Package cache keeps what was read for a credential, for as long as nothing has changed on which it depends. Only the
// packages that verify credentials use it.
package cache

import (
	"crypto/sha256"
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

// Key identifies a credential as a request presents it.
type Key struct {
	Digest    [sha256.Size]byte // of the credential
	Workspace string            // slug that the request names; empty for a credential that has one workspace
}

// Cache keeps rows by the credential for which they were read. Its methods are safe for concurrent use. It keeps nothing
// unless the store follows the changes of other processes (storage.Store.Follow).
type Cache[R any] struct {
	store        *storage.Store
	dependencies func(*R) storage.Dependencies
	works        func(*R) bool
	entries      entries
	hits         atomic.Uint64
	misses       atomic.Uint64
}

// entries maps each Key to an *entry of a Cache: it is otter's cache, without its name. The compiler puts the whole of
// otter, over a thousand functions, into each package that can see a type with an otter.Cache in it, and nearly every
// package of the server can see a Cache.
type entries interface {
	GetIfPresent(key Key) (entry any, ok bool)
	Set(key Key, entry any) (old any, ok bool)
}

func newEntries() entries { return otter.Must(&otter.Options[Key, any]{MaximumSize: Size}) }

type entry[R any] struct {
	row   R
	on    storage.Dependencies
	since uint64    // generation
	read  time.Time // by the monotonic clock
}

// New returns an empty Cache of rows that are read from store. dependencies says what a row depends on. works reports
// whether the credential of a row works now: only such rows are used from memory, so a refusal always comes from the
// database, and takes as long as for a credential that is unknown.
func New[R any](
	store *storage.Store, dependencies func(*R) storage.Dependencies, works func(*R) bool,
) *Cache[R] {
	return &Cache[R]{store: store, dependencies: dependencies, works: works, entries: newEntries()}
}

// Find returns the row with a key: the one that it keeps, if nothing has changed, or else the one that read returns. It
// keeps that one if read says so and does not fail. An unknown credential is never kept, so that it takes no memory and
// works as soon as it exists. The caller must not change what the row refers to.
func (c *Cache[R]) Find(key Key, read func() (row R, keep bool, err error)) (R, error) {
	// A row that is read from here on is kept under this generation, so that a change meanwhile invalidates it.
	generation, now := c.store.Generation(), time.Now()
	if !c.store.Current() {
		row, _, err := read()
		return row, err
	}
	kept, _ := c.entries.GetIfPresent(key)
	if e, ok := kept.(*entry[R]); ok && now.Sub(e.read) < maxAge && !c.store.Altered(e.since, &e.on) &&
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
func (c *Cache[R]) Stats() (hits, misses uint64) { return c.hits.Load(), c.misses.Load() }
