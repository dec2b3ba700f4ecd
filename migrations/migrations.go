// Package migrations holds the schema of both engines as numbered SQL files. Migrations only go forward, in one
// transaction each, and the previous release must still run on the new schema.
package migrations

import "embed"

// Postgres holds postgres/*.sql and SQLite holds sqlite/*.sql. Files with the same number make the same change.
var (
	//go:embed postgres/*.sql
	Postgres embed.FS
	//go:embed sqlite/*.sql
	SQLite embed.FS
)
