package fetch

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestD12_APanicOfSharedWorkIsAnErrorForEachWhoWaits(t *testing.T) {
	var s Shared[string]
	_, err := s.Do(t.Context(), "a", func(context.Context) (string, error) { panic("the document has a comma too many") })
	if err == nil || !strings.Contains(err.Error(), "a comma too many") || !strings.Contains(err.Error(), "shared_test.go") {
		t.Errorf("got %v; want the panic, and where it was", err)
	}
	got, err := s.Do(t.Context(), "a", func(context.Context) (string, error) { return "read", nil })
	if got != "read" || err != nil {
		t.Errorf("the next call got %q, %v", got, err)
	}
}

func TestSharedWorkIsDoneOnceAndGoesOnWithoutTheFirst(t *testing.T) {
	var s Shared[string]
	begun, release := make(chan struct{}), make(chan struct{})
	var calls atomic.Int64
	work := func(ctx context.Context) (string, error) {
		if calls.Add(1) == 1 {
			close(begun)
		}
		<-release
		return "read", ctx.Err()
	}
	first, leave := context.WithCancelCause(t.Context())
	left := errors.New("the visitor left")
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if _, err := s.Do(first, "a", work); !errors.Is(err, left) {
			t.Errorf("the first got %v", err)
		}
	})
	<-begun
	leave(left)
	waiting.Wait()
	joined := make(chan struct{})
	waiting.Go(func() {
		close(joined)
		if got, err := s.Do(t.Context(), "a", work); got != "read" || err != nil {
			t.Errorf("the second got %q, %v", got, err)
		}
	})
	<-joined
	close(release)
	waiting.Wait()
}
