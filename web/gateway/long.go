package gateway

import (
	"context"
	"sync"
	"time"
)

// Long requests, such as WebSockets and streams, are checked again while they run.
const (
	// RecheckInterval is how often to call Recheck, so that each request is checked at least once a minute.
	RecheckInterval = 15 * time.Second
	recheckAge      = 25 * time.Second // more recent decisions are not repeated yet
	recheckGrace    = 5 * time.Minute  // how long requests continue while storage cannot be reached
	recheckers      = 8                // concurrent decisions
)

// closedError is why Recheck ended a request.
type closedError struct{ verdict Verdict }

func (e *closedError) Error() string { return "no longer allowed: " + e.verdict.Reason }

func (e *closedError) Unwrap() error { return e.verdict.Refusal }

// longRequest is a request that was allowed and is still running.
type longRequest struct {
	api     *API
	request Request
	end     context.CancelCauseFunc
	allowed time.Time // when a decision last allowed it

	before, after *longRequest // in the list
}

// longRequests is a linked list of running requests, which costs only a few pointers for each.
type longRequests struct {
	mu    sync.Mutex
	first *longRequest
}

func (l *longRequests) add(one *longRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if one.after = l.first; one.after != nil {
		one.after.before = one
	}
	l.first = one
}

func (l *longRequests) remove(one *longRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if one.after != nil {
		one.after.before = one.before
	}
	if one.before != nil {
		one.before.after = one.after
	} else {
		l.first = one.after
	}
}

// due returns the requests that were last allowed before a time.
func (l *longRequests) due(before time.Time) (all []*longRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for one := l.first; one != nil; one = one.after {
		if one.allowed.Before(before) {
			all = append(all, one)
		}
	}
	return all
}

func (l *longRequests) setAllowed(one *longRequest, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one.allowed = at
}

// Recheck decides again about running requests, by credential, workspace and route, without charging them. It ends
// those that would now be refused. If storage cannot be reached, a request continues for five minutes after it was last
// allowed.
func (g *Gateway) Recheck(ctx context.Context) {
	now := g.now()
	work := make(chan *longRequest)
	var workers sync.WaitGroup
	due := g.long.due(now.Add(-recheckAge))
	for range min(recheckers, len(due)) {
		workers.Go(func() {
			for one := range work {
				g.recheck(ctx, one, now)
			}
		})
	}
	for _, one := range due {
		work <- one
	}
	close(work)
	workers.Wait()
}

func (g *Gateway) recheck(ctx context.Context, one *longRequest, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, decisionTimeout)
	defer cancel()
	v := g.decideFor(ctx, one.api, one.request, rechecked)
	switch {
	case v.Refusal == nil:
		g.long.setAllowed(one, now)
	case (v.Refusal.Kind == Unavailable || v.Refusal.Kind == Failed) && now.Sub(one.allowed) < recheckGrace:
	default:
		one.end(&closedError{v})
	}
}
