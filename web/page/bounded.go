package page

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// requestTimeout is how long a request may take.
const requestTimeout = 8 * time.Second

// Bounded cancels the context of a request after requestTimeout; database calls then fail, and the response is a 503.
func Bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := &bounded{Context: r.Context(), deadline: time.Now().Add(requestTimeout)}
		defer b.end()                       //nolint:contextcheck // the one that it reaches is for after the request
		next.ServeHTTP(w, r.WithContext(b)) //nolint:contextcheck // b is made from that of the request
	})
}

// bounded is a context that ends like one of context.WithDeadline, which it makes only when something asks for its end,
// such as a statement. A request that is answered from memory asks for none, and the timer and its context would add
// several percent to its work.
type bounded struct {
	context.Context // of the request, without the deadline

	deadline time.Time
	timed    atomic.Pointer[context.Context] // nil until something asks
	mu       sync.Mutex                      // held while timed is set
	cancel   context.CancelFunc              // of timed
}

// Deadline implements context.Context.
func (b *bounded) Deadline() (time.Time, bool) { return b.withDeadline().Deadline() }

// Done implements context.Context.
func (b *bounded) Done() <-chan struct{} { return b.withDeadline().Done() }

// Err implements context.Context.
func (b *bounded) Err() error { return b.withDeadline().Err() }

// Value implements context.Context. Once there is a deadline, package context finds it here, so that contexts made from
// this one end with it and need no goroutine to wait for its end.
func (b *bounded) Value(key any) any {
	if timed := b.timed.Load(); timed != nil && timed != &ended {
		return (*timed).Value(key)
	}
	return b.Context.Value(key)
}

func (b *bounded) withDeadline() context.Context {
	if timed := b.timed.Load(); timed != nil {
		return *timed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if timed := b.timed.Load(); timed != nil {
		return *timed
	}
	timed, cancel := context.WithDeadline(b.Context, b.deadline)
	b.cancel = cancel
	b.timed.Store(&timed)
	return timed
}

// ended takes the place of a deadline that nothing asked for, after the request.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// end ends the context after the request, for all that still hold it.
func (b *bounded) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cancel != nil {
		b.cancel()
	} else {
		b.timed.Store(&ended)
	}
}
