//go:build faults

package faults

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

// A server that is killed in the middle of its work has lost nothing that it acknowledged, and left nothing half done.
func TestZ01_KilledServerLosesNothingAcknowledged(t *testing.T) {
	onEachEngine(t, func(t *testing.T, databaseURL string) {
		w := newWorld(t, databaseURL)
		w.crowd(400)
		b := newBook(t)
		var families atomic.Int64
		var wrong, lost, done, checked int
		var slowest time.Duration
		for limit := time.Now().Add(time.Duration(*rounds) * 6 * time.Second); done < *rounds ||
			b.acknowledged() < *facts; done++ {
			if time.Now().After(limit) {
				t.Errorf("after %d rounds only %d facts were acknowledged", done, b.acknowledged())
				break
			}
			from := b.size()
			l := w.begin(b, &families, 32, false)
			pause(t.Context(), 50*time.Millisecond+rand.N(450*time.Millisecond))
			w.kill()
			l.end()
			if n, text := l.complaints(); n > 0 {
				wrong += n
				t.Errorf("round %d: %d answers that must not be:\n%s", done, n, text)
			}
			begin := time.Now()
			w.start()
			slowest = max(slowest, time.Since(begin))
			p := w.replay(b, from, false)
			checked += p.checked
			if n, text := p.lostFacts(); n > 0 {
				lost += n
				t.Errorf("round %d: %d facts are lost:\n%s", done, n, text)
			}
			if wrong > 100 || lost > 100 {
				break
			}
		}
		db := w.openDatabase(databaseURL)
		half := number(t.Context(), t, db, halfDone) + number(t.Context(), t, db, halfDoneKeys)
		if half > 0 {
			t.Errorf("%d authorizations and keys are half-done", half)
		}
		// Check all of them once more, and show again what was used up.
		p := w.replay(b, 0, true)
		checked += p.checked
		if n, text := p.lostFacts(); n > 0 {
			lost += n
			t.Errorf("at the end %d facts are lost:\n%s", n, text)
		}
		if n := w.logged(`"msg":"panic"`) + w.logged(`"status":500`); n > 0 {
			t.Errorf("the log has %d panics and answers 500", n)
		}
		report(t, "Z-1 "+engineOf(databaseURL),
			"kill -9 after a random 50 to 500 ms under 32 workers, restart, check of every acknowledged fact",
			"0 lost, 0 half-done",
			fmt.Sprintf("%d rounds, %d acknowledged facts, %d checks, %d lost, %d half-done, ready again within %d ms",
				done, b.acknowledged(), checked, lost, half, slowest.Milliseconds()))
	})
}
