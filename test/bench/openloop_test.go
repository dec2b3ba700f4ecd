package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// stalling is a server that answers at once, except that it answers nothing for a while from its first request after a
// moment on, as a server does whose disk or lock hangs.
type stalling struct {
	from, until time.Time
}

func (s stalling) dial(context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close() //nolint:errcheck // the test ends
		requests := bufio.NewReader(theirs)
		for {
			q, err := http.ReadRequest(requests)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, q.Body); err != nil {
				return
			}
			if now := time.Now(); now.After(s.from) {
				<-time.After(s.until.Sub(now))
			}
			if _, err := io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
				return
			}
		}
	}()
	return ours, nil
}

// A stall of 300 ms in a run of ten seconds delays three of a hundred requests: those that were due meanwhile, whether
// or not a connection was free to send them. The driver must not leave them out.
func TestOpenLoopShowsAStall(t *testing.T) {
	for name, conns := range map[string]int{"enough connections": 512, "too few connections": 4} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				s := stalling{from: start.Add(5 * time.Second), until: start.Add(5*time.Second + 300*time.Millisecond)}
				latencies, err := openLoop{
					dial:     s.dial,
					requests: [][]byte{[]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na=b")},
					rate:     1000,
					length:   10 * time.Second,
					conns:    conns,
					until:    func(due time.Time) { <-time.After(time.Until(due)) },
				}.run(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if len(latencies) != 10_000 {
					t.Fatalf("%d latencies, want one for each of the 10000 requests that were due", len(latencies))
				}
				// By the clock of the test, every other answer takes no time.
				for _, want := range []struct {
					share float64
					least time.Duration
					most  time.Duration
				}{
					{0.5, 0, 0},
					{0.96, 0, 0},
					{0.98, 90 * time.Millisecond, 110 * time.Millisecond},
					{0.999, 280 * time.Millisecond, 300 * time.Millisecond},
				} {
					if got := quantile(latencies, want.share); got < want.least || got > want.most {
						t.Errorf("p%g is %s, want %s to %s", 100*want.share, got, want.least, want.most)
					}
				}
			})
		})
	}
}

// An answer other than 200 ends the run: an error is fast, and would improve the figure.
func TestOpenLoopFailsWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		latencies, err := openLoop{
			dial: func(context.Context) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go func() {
					defer theirs.Close() //nolint:errcheck // the test ends
					if _, err := http.ReadRequest(bufio.NewReader(theirs)); err == nil {
						_, _ = io.WriteString(theirs, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
					}
				}()
				return ours, nil
			},
			requests: [][]byte{[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")},
			rate:     10,
			length:   time.Second,
			conns:    2,
			until:    func(due time.Time) { <-time.After(time.Until(due)) },
		}.run(t.Context())
		if err == nil {
			t.Fatalf("no error, and %d latencies", len(latencies))
		}
	})
}
