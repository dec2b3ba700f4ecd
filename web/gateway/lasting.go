package gateway

import (
	"context"
	"sync"
	"time"
)

// How requests that last are judged again.
const (
	// RecheckInterval is how often Recheck is to be called, so that each request is judged at least once a minute.
	RecheckInterval = 15 * time.Second
	recheckAge      = 25 * time.Second // what was judged later than this is not yet judged again
	recheckGrace    = 5 * time.Minute  // how long a request lasts whose judgement fails for want of storage
	recheckers      = 8                // judgements at once
)

// closedError is why a request that had been allowed was ended.
type closedError struct{ verdict Verdict }

func (e *closedError) Error() string { return "no longer allowed: " + e.verdict.Reason }

func (e *closedError) Unwrap() error { return e.verdict.Refusal }

// live is a request that was allowed by its credential and has not ended.
type live struct {
	api     *API
	request Request
	end     context.CancelCauseFunc
	judged  time.Time // when it was last found to be allowed

	before, after *live // in the list of all
}

// lives are the requests under way, in a list, so that one costs no more than a few pointers.
type lives struct {
	mu    sync.Mutex
	first *live
}

func (l *lives) add(one *live) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if one.after = l.first; one.after != nil {
		one.after.before = one
	}
	l.first = one
}

func (l *lives) remove(one *live) {
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

// due are those that were judged before a time.
func (l *lives) due(before time.Time) (all []*live) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for one := l.first; one != nil; one = one.after {
		if one.judged.Before(before) {
			all = append(all, one)
		}
	}
	return all
}

func (l *lives) allowed(one *live, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one.judged = at
}

// Recheck judges the requests again that last, WebSockets and streams above all: credential, workspace, and what their route
// needs, without charge. It ends those that would be refused now. Where storage cannot be reached a request goes on, for
// five minutes after it was last found to be allowed.
func (g *Gateway) Recheck(ctx context.Context) {
	now := g.now()
	work := make(chan *live)
	var workers sync.WaitGroup
	due := g.lives.due(now.Add(-recheckAge))
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

func (g *Gateway) recheck(ctx context.Context, one *live, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, judgeTimeout)
	defer cancel()
	v := g.decideFor(ctx, one.api, one.request, rechecked)
	switch {
	case v.Refusal == nil:
		g.lives.allowed(one, now)
	case (v.Refusal.Kind == Unavailable || v.Refusal.Kind == Failed) && now.Sub(one.judged) < recheckGrace:
	default:
		one.end(&closedError{v})
	}
}
