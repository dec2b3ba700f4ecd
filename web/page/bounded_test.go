package page

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

type valueKey struct{}

// inBounded calls look with the context of a request, in which valueKey has the value "value". The caller can go away.
func inBounded(look func(ctx context.Context, goAway func())) (after context.Context) {
	ctx, goAway := context.WithCancel(context.WithValue(context.Background(), valueKey{}, "value"))
	defer goAway()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", nil)
	Bounded(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		after = r.Context()
		look(r.Context(), goAway)
	})).ServeHTTP(httptest.NewRecorder(), r)
	return after
}

// ways are what can ask first for the end of a context.
var ways = map[string]func(ctx context.Context) context.Context{
	"itself":     func(ctx context.Context) context.Context { return ctx },
	"a value of": func(ctx context.Context) context.Context { return context.WithValue(ctx, valueKey{}, "value") },
	"a child": func(ctx context.Context) context.Context {
		ctx, cancel := context.WithTimeout(ctx, time.Hour)
		context.AfterFunc(ctx, cancel)
		return ctx
	},
}

// A request ends after requestTimeout, and not before, whatever waits for it.
func TestRequestEndsAtItsDeadline(t *testing.T) {
	for name, of := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				inBounded(func(ctx context.Context, _ func()) {
					time.Sleep(time.Second) //nolint:forbidigo // of the test's own clock
					ctx = of(ctx)
					if ctx.Err() != nil || ctx.Value(valueKey{}) != "value" {
						t.Errorf("before its end: error %v, value %v", ctx.Err(), ctx.Value(valueKey{}))
					}
					if end, ok := ctx.Deadline(); !ok || end.Sub(began) != requestTimeout {
						t.Errorf("the deadline is after %v, %v", end.Sub(began), ok)
					}
					<-ctx.Done()
					if took := time.Since(began); took != requestTimeout || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
						t.Errorf("it ended after %v: %v", took, ctx.Err())
					}
				})
			})
		})
	}
}

// A request ends when its caller goes away, and when it was answered.
func TestRequestEndsWithItsCallerAndItsAnswer(t *testing.T) {
	for name, of := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inBounded(func(ctx context.Context, goAway func()) {
					ctx = of(ctx)
					goAway()
					<-ctx.Done()
					if !errors.Is(ctx.Err(), context.Canceled) {
						t.Errorf("without its caller: %v", ctx.Err())
					}
				})
				var asked context.Context
				after := inBounded(func(ctx context.Context, _ func()) {
					asked = of(ctx)
					if asked.Err() != nil {
						t.Error(asked.Err())
					}
				})
				never := inBounded(func(context.Context, func()) {})
				for _, ctx := range []context.Context{asked, after, never, of(never)} {
					<-ctx.Done()
					if !errors.Is(ctx.Err(), context.Canceled) || ctx.Value(valueKey{}) != "value" {
						t.Errorf("after the answer: %v, %v", ctx.Err(), ctx.Value(valueKey{}))
					}
				}
			})
		})
	}
}

// What is answered from memory asks for no end, and so makes no timer.
func TestRequestThatNothingWaitsForHasNoTimer(t *testing.T) {
	ctx := inBounded(func(ctx context.Context, _ func()) { ctx.Value(valueKey{}) })
	if b, ok := ctx.(*bounded); !ok || b.cancel != nil {
		t.Errorf("the context is %T, with a timer", ctx)
	}
}
