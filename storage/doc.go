// Package storage holds all SQL, the records it moves, and the transactions around it. It is the only package that
// imports database drivers, and knows neither HTTP nor OAuth's wire formats.
//
// One SQL text serves both engines; what cannot be said in it lives in postgres.go and sqlite.go. A statement carries
// the policy by which it runs (statement.go), and every statement passes one gate (gate.go), which finds the
// transaction and the scope in the context. A statement that alters what exists passes one hook too (generation.go), on
// which caches depend. Every error that leaves is one of the sentinels in errors.go, or wraps ErrUnavailable: a
// database that did not answer is never mistaken for one that said no.
package storage
