package rig

import (
	"testing"

	"doorward/test/stores"
)

// Each runs fn with a rig on SQLite (a file, so that requests meet) and on PostgreSQL. A test whose requests meet each
// other sets Options.AtOnce: these run under the race detector too (stores.OnlyAtOnce).
func Each(t *testing.T, o Options, fn func(t *testing.T, r *Rig)) {
	t.Helper()
	if o.leftOut() {
		return
	}
	t.Run("sqlite", func(t *testing.T) { fn(t, New(t, stores.Open(t, stores.SQLite(t)), o)) })
	t.Run("postgresql", func(t *testing.T) { fn(t, New(t, stores.Open(t, stores.PostgreSQL(t)), o)) })
}

// leftOut reports whether this run is for tests whose requests meet, and the test with these options is not one.
func (o *Options) leftOut() bool { return !o.AtOnce && stores.OnlyAtOnce() }
