package rig

import (
	"context"
	"sync"
	"testing"
	"time"

	"doorward/storage"
	"doorward/test/stores"
)

// nodesIssuer is what nodes of one server call themselves, whatever they listen on.
const nodesIssuer = "http://localhost:8080"

// Nodes are two nodes of one server, on one PostgreSQL database: the first with a, the second with b. Both take the
// same issuer. Each has a clock of its own.
func Nodes(t *testing.T, a, b Options) []*Rig {
	t.Helper()
	url := stores.PostgreSQL(t)
	a.Issuer, b.Issuer = nodesIssuer, nodesIssuer
	nodes := []*Rig{New(t, stores.Open(t, url), a), New(t, stores.Open(t, url), b)}
	AreNodes(nodes...)
	return nodes
}

// AreNodes says that rigs share a database: before each request, one catches up with the changes by the others.
func AreNodes(nodes ...*Rig) {
	for _, n := range nodes {
		n.nodes = nodes
	}
}

// catchUp waits until the rig has seen the changes that other nodes have made since the last call: a test cannot wait
// for the second within which these count here. Without the database, it gives up after a while.
func (r *Rig) catchUp(ctx context.Context) {
	var made uint64
	for _, n := range r.nodes {
		if n != r {
			made += n.Store.Generation()
		}
	}
	if made == r.caughtUp.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 1500*time.Millisecond)
	defer cancel()
	if r.Store.CatchUp(ctx) == nil {
		r.caughtUp.Store(made)
	}
}

// EachNodes runs fn with one node on SQLite, and with two on one PostgreSQL database. A single one on PostgreSQL would
// show nothing else: it runs the statements of the two, and what it has in memory it has as the one on SQLite.
func EachNodes(t *testing.T, o Options, fn func(t *testing.T, nodes []*Rig)) {
	t.Helper()
	if o.leftOut() {
		return
	}
	t.Run("sqlite", func(t *testing.T) { fn(t, []*Rig{New(t, stores.Open(t, stores.SQLite(t)), o)}) })
	t.Run("two nodes", func(t *testing.T) { fn(t, Nodes(t, o, o)) })
}

// AtOnce calls fn n times at the same moment and returns when all have.
func AtOnce(n int, fn func(i int)) {
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-start
			fn(i)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
}

// SQL runs a statement as the server itself may: for changes that no endpoint makes yet.
func (r *Rig) SQL(query string, args ...any) {
	r.T.Helper()
	_, err := r.Store.Pools()["system"].ExecContext(r.T.Context(), query, args...)
	r.ok(err)
	if r.Store.Engine() == "postgresql" {
		_, err = r.Store.Pools()["system"].ExecContext(r.T.Context(), `SELECT pg_notify('doorward_changes', '')`)
		r.ok(err)
	}
	r.Store.Invalidate()
}

// Grants are the families of a user that could still yield tokens.
func (r *Rig) Grants(userID string) []storage.Grant {
	r.T.Helper()
	list, err := r.Store.LiveGrantsOf(r.System(), userID)
	r.ok(err)
	return list
}
