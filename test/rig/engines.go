package rig

import (
	"os"
	"testing"

	"doorward/test/postgres"
	"doorward/test/stores"
)

// EnginesVariable names the environment variable that keeps rigs to one engine: with "sqlite", Each runs no test on
// PostgreSQL. `make test` sets it where the run before had PostgreSQL.
const EnginesVariable = "DOORWARD_TEST_RIGS"

// Each runs fn with a rig on SQLite (a file, so that requests meet) and on PostgreSQL.
//
// Under the race detector a test runs on PostgreSQL alone, where that is there, unless Options.AtOnce says that its
// requests meet: the detector watches every step of SQLite, which is C translated to Go, and takes twelve times as long.
func Each(t *testing.T, o Options, fn func(t *testing.T, r *Rig)) {
	t.Helper()
	if !underRaceDetector || o.AtOnce || testing.Short() || !postgres.Installed() {
		t.Run("sqlite", func(t *testing.T) { fn(t, New(t, stores.Open(t, stores.SQLite(t)), o)) })
	}
	if onPostgreSQL() {
		t.Run("postgresql", func(t *testing.T) { fn(t, New(t, stores.Open(t, stores.PostgreSQL(t)), o)) })
	}
}

func onPostgreSQL() bool { return os.Getenv(EnginesVariable) != "sqlite" }
