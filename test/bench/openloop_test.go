package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// A stall of 300 ms in a run of ten seconds delays three of a hundred requests: those that were due meanwhile, whether
// or not a connection was free to send them. The driver must not leave them out.
func TestOpenLoopShowsAStall(t *testing.T) {
	const from, until = 5 * time.Second, 5300 * time.Millisecond
	for name, conns := range map[string]int{"enough connections": 512, "too few connections": 4} {
		t.Run(name, func(t *testing.T) {
			s := newSchedule(1000, 10*time.Second, conns)
			var under []int // connections whose requests the server has
			// The server answers at once, except that it answers nothing for a while, as one does whose disk or lock hangs.
			for now := time.Duration(0); s.answered() < s.n && now < time.Minute; now += s.pause(now) {
				stalls := now >= from && now < until
				if !stalls {
					for _, conn := range under {
						s.done(conn, now)
					}
					under = nil
				}
				for conn, _, ok := s.next(now); ok; conn, _, ok = s.next(now) {
					if stalls {
						under = append(under, conn)
					} else {
						s.done(conn, now)
					}
				}
			}
			if s.answered() != 10_000 {
				t.Fatalf("%d latencies, want one for each of the 10000 requests that were due", s.answered())
			}
			slices.Sort(s.latencies)
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
				if got := quantile(s.latencies, want.share); got < want.least || got > want.most {
					t.Errorf("p%g is %s, want %s to %s", 100*want.share, got, want.least, want.most)
				}
			}
		})
	}
}

// Each request is sent once, whole and in turn, and each answer is read to its end.
func TestOpenLoopSendsEachRequestOnce(t *testing.T) {
	const n, conns = 300, 7
	seen := make(chan string, n)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.FormValue("a")
		_, _ = w.Write([]byte(strings.Repeat("x", 1500))) // the driver may have gone
	}))
	defer server.Close()
	o := openLoop{address: server.Listener.Addr().String(), rate: 1000, length: n * time.Second / 1000, conns: conns}
	for i := range 3 {
		o.requests = append(o.requests, fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"+
			"Content-Type: application/x-www-form-urlencoded\r\n\r\na=%d", i))
	}
	latencies, err := o.run(t.Context())
	if err != nil || len(latencies) != n {
		t.Fatalf("%d latencies, error %v", len(latencies), err)
	}
	close(seen)
	times := map[string]int{}
	for a := range seen {
		times[a]++
	}
	if len(times) != 3 || times["0"] != n/3 || times["1"] != n/3 || times["2"] != n/3 {
		t.Errorf("the server saw %v", times)
	}
}

// An answer other than 200 ends the run: an error is fast, and would improve the figure. So does a connection that
// ends, which would leave its requests out.
func TestOpenLoopFailsWithTheServer(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"503":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"aborted": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(handler)
			defer server.Close()
			latencies, err := openLoop{
				address:  server.Listener.Addr().String(),
				requests: [][]byte{[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")},
				rate:     100, length: time.Second, conns: 2,
			}.run(t.Context())
			if err == nil {
				t.Fatalf("no error, and %d latencies", len(latencies))
			}
		})
	}
}

// An answer is complete with the last byte of its body, and not before.
func TestOpenLoopReadsWholeAnswers(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 2\r\n\r\n{}"
	for n := range len(answer) + 1 {
		if complete, err := isComplete([]byte(answer[:n])); complete != (n == len(answer)) || err != nil {
			t.Errorf("%q is complete: %v, error %v", answer[:n], complete, err)
		}
	}
	for _, wrong := range []string{
		"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
	} {
		if _, err := isComplete([]byte(wrong)); err == nil {
			t.Errorf("%q is no error", wrong)
		}
	}
}
