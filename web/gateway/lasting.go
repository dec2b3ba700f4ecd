package gateway

import (
	"context"
	"sync"
	"time"
)

// How requests that last, WebSockets and streams above all, are decided again.
const (
	// RecheckInterval is how often Recheck must be called, so that each request is decided at least once a minute.
	RecheckInterval = 15 * time.Second
	recheckAge      = 25 * time.Second // a decision younger than this is not repeated yet
	recheckGrace    = 5 * time.Minute  // how long a request lasts that cannot be decided for want of storage
	recheckers      = 8                // decisions at once
)

// closedError is why a request that had been allowed was ended.
type closedError struct{ verdict Verdict }

func (e *closedError) Error() string { return "no longer allowed: " + e.verdict.Reason }

func (e *closedError) Unwrap() error { return e.verdict.Refusal }

// lastingRequest is a request that was allowed and is still under way.
type lastingRequest struct {
	api     *API
	request Request
	end     context.CancelCauseFunc
	allowed time.Time // when it was last found to be allowed

	before, after *lastingRequest // in the list of all
}

// lastingRequests are the requests in progress, in a list, so that one costs no more than a few pointers.
type lastingRequests struct {
	mu    sync.Mutex
	first *lastingRequest
}

func (l *lastingRequests) add(one *lastingRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if one.after = l.first; one.after != nil {
		one.after.before = one
	}
	l.first = one
}

func (l *lastingRequests) remove(one *lastingRequest) {
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

// due are those that were last found to be allowed before a time.
func (l *lastingRequests) due(before time.Time) (all []*lastingRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for one := l.first; one != nil; one = one.after {
		if one.allowed.Before(before) {
			all = append(all, one)
		}
	}
	return all
}

func (l *lastingRequests) setAllowed(one *lastingRequest, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one.allowed = at
}

// Recheck decides again about the requests that last: credential, workspace, and what their route needs, without
// charge. It ends those that would be refused now. Where storage cannot be reached a request goes on, for five minutes
// after it was last found to be allowed.
func (g *Gateway) Recheck(ctx context.Context) {
	now := g.now()
	work := make(chan *lastingRequest)
	var workers sync.WaitGroup
	due := g.lasting.due(now.Add(-recheckAge))
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

func (g *Gateway) recheck(ctx context.Context, one *lastingRequest, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, decisionTimeout)
	defer cancel()
	v := g.decideFor(ctx, one.api, one.request, rechecked)
	switch {
	case v.Refusal == nil:
		g.lasting.setAllowed(one, now)
	case (v.Refusal.Kind == Unavailable || v.Refusal.Kind == Failed) && now.Sub(one.allowed) < recheckGrace:
	default:
		one.end(&closedError{v})
	}
}
