package gateway

import (
	"io"
	"strings"
	"testing"
	"time"
)

// The body of an anonymous request has a minute, and as long more as its bytes take at the slowest rate; that of
// another has new time for each piece. What comes drop by drop ends.
func TestV25_ASlowAnonymousBodyEnds(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	for name, anonymous := range map[string]bool{"anonymous": true, "with a credential": false} {
		var deadline time.Time
		clock := now
		b := &deadlineBody{
			ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat("x", 100))),
			deadline:   func(d time.Time) error { deadline = d; return nil },
			now:        func() time.Time { return clock },
		}
		if anonymous {
			b.until = clock.Add(anonymousGrace)
		}
		read := 0
		for range 10 {
			if _, err := b.Read(make([]byte, 1)); err != nil || !deadline.After(clock) {
				break // it would have been interrupted
			}
			read++
			clock = clock.Add(idleTimeout - time.Second)
		}
		if want := map[bool]int{true: 3, false: 10}[anonymous]; read != want {
			t.Errorf("%s: %d pieces came, want %d", name, read, want)
		}
	}
	// At the rate, or faster, it goes on.
	var deadline time.Time
	clock := now
	b := &deadlineBody{
		ReadCloser: io.NopCloser(io.LimitReader(zeros{}, 64<<20)),
		deadline:   func(d time.Time) error { deadline = d; return nil },
		now:        func() time.Time { return clock },
		until:      now.Add(anonymousGrace),
	}
	piece := make([]byte, anonymousRate)
	for {
		_, err := io.ReadFull(b, piece)
		if err != nil {
			break
		}
		if clock = clock.Add(time.Second); !deadline.After(clock) {
			t.Fatal("a body at the slowest rate is interrupted")
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
