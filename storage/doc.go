// Package storage holds all SQL, the records that it reads and writes, and their transactions. It is the only package
// that imports database drivers, and does not know HTTP or OAuth's wire formats.
//
// Both engines run the same SQL; what differs is in postgres*.go, batcher.go and sqlite.go. A statement has a policy
// that says how it runs (statement.go), and every statement passes one gate (gate.go), which finds the transaction and
// the scope in the context. A statement that alters existing rows also passes one hook (generation.go), on which caches
// depend. Every returned error is one of the sentinels in errors.go or wraps ErrUnavailable, so that a database that
// does not answer is never mistaken for one that has no such row.
package storage
