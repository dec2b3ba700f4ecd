package fetch

import (
	"context"
	"fmt"
	"runtime/debug"

	"golang.org/x/sync/singleflight"
)

// Shared does work once for all requests that need its result at the same moment. The zero value is ready. Its methods
// are safe for concurrent use.
type Shared[T any] struct{ flight singleflight.Group }

// Do returns the result of work for a key, from a call that is under way if there is one. The work goes on if the
// request that began it leaves; a request that leaves gets the cause of that. A panic in the work becomes an error:
// what is read comes from outside, and must not end the server.
func (s *Shared[T]) Do(ctx context.Context, key string, work func(context.Context) (T, error)) (result T, err error) {
	done := s.flight.DoChan(key, func() (x any, err error) {
		defer func() {
			if why := recover(); why != nil {
				err = fmt.Errorf("panic: %v\n%s", why, debug.Stack())
			}
		}()
		return work(context.WithoutCancel(ctx))
	})
	select {
	case <-ctx.Done():
		return result, context.Cause(ctx)
	case r := <-done:
		result, _ = r.Val.(T)
		return result, r.Err
	}
}
