// Package migrations holds the schema of both engines as numbered SQL files. They go forward only, one transaction
// each, and a change is legal only if the release before still runs on the schema after it.
package migrations

import "embed"

// Postgres holds postgres/*.sql, SQLite holds sqlite/*.sql; a number means the same step in both.
var (
	//go:embed postgres/*.sql
	Postgres embed.FS
	//go:embed sqlite/*.sql
	SQLite embed.FS
)
