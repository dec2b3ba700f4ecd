//go:build faults

package faults

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"doorward/test/postgres"
	"doorward/test/setup"
)

// A crash of PostgreSQL loses no acknowledged fact. Meanwhile clients are told to try again, and never that they or
// their tokens are unknown.
func TestZ02_DatabaseCrashGivesOnly503(t *testing.T) {
	setup.Long(t)
	const (
		crashes   = 20
		recovered = 2 * time.Second
	)
	p := postgres.Private(t, postgres.Options{TCP: true, Durable: true})
	databaseURL := emptyDatabase(t, p)
	w := newWorld(t, databaseURL)
	w.crowd(200)
	b := newBook(t)
	var families atomic.Int64
	l := w.begin(b, &families, 16, true)
	var slowest time.Duration
	for n := range crashes {
		pause(t.Context(), 200*time.Millisecond+rand.N(400*time.Millisecond))
		ok(t, p.Stop(postgres.Immediate))
		pause(t.Context(), rand.N(600*time.Millisecond))
		ok(t, p.Start(t.Context()))
		begin := time.Now()
		for l.last.Load() < begin.UnixNano() {
			if time.Since(begin) > 5*recovered {
				t.Fatalf("crash %d: nothing succeeds %s after PostgreSQL accepts connections", n, time.Since(begin))
			}
			pause(t.Context(), time.Millisecond)
		}
		took := time.Duration(l.last.Load() - begin.UnixNano())
		slowest = max(slowest, took)
		if took > recovered {
			t.Errorf("crash %d: the first success came %s after PostgreSQL accepted connections, want %s at most", n, took,
				recovered)
		}
	}
	pause(t.Context(), 500*time.Millisecond)
	l.end()
	wrong, text := l.complaints()
	if wrong > 0 {
		t.Errorf("%d answers that must not be:\n%s", wrong, text)
	}
	half := number(t.Context(), t, w.openDatabase(databaseURL), halfDone)
	if half > 0 {
		t.Errorf("%d authorizations are half-done", half)
	}
	replayed := w.replay(b, 0, true)
	lost, text := replayed.lostFacts()
	if lost > 0 {
		t.Errorf("%d facts are lost:\n%s", lost, text)
	}
	report(t, "Z-2", "PostgreSQL with fsync on, stopped immediately (SIGQUIT) and started again under "+
		"16 workers",
		"0 lost; meanwhile 503 with Retry-After and nothing else; first success within 2 s",
		fmt.Sprintf("%d crashes, %d acknowledged facts, %d lost, %d half-done, %d responses 503 with Retry-After, %d others, "+
			"first success within %d ms",
			crashes, b.acknowledged(), lost, half, l.away.Load(), wrong, slowest.Milliseconds()))
}
