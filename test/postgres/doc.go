// Package postgres runs private PostgreSQL servers for tests, benchmarks and fault runs, from binaries that are
// installed on the machine. It knows nothing of Doorward's schema: a caller that wants a migrated database brings the
// function that migrates it.
//
// A [Server] is a process with its data folder: it starts, stops hard or softly, and starts again on the same data and
// port. A [Cluster] is a server to connect to: it creates databases and logins. Tests use [Shared], which is the
// cluster that test/postgres/run started for the whole of a `go test ./...`, or else one per test process; a test that
// stops its server, or needs a fresh set of roles or TCP, uses [Private].
package postgres
