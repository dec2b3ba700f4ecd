package limit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"doorward/storage"
	"doorward/test/stores"
)

func TestL11_MemoryIsBoundedAndLiveCountersKeepTheirState(t *testing.T) {
	stores.Alone(t)
	s, c := openAt(t, "sqlite::memory:")
	m := NewMemory(s)
	if m.bound != 1_000_000 {
		t.Errorf("bound of %d", m.bound)
	}
	m.bound = 1000
	p := Plan{Hour: 3}
	admitted(t, m, "live", 3, p)
	for i := range 10_000 {
		ask(t, m, fmt.Sprint("bogus", i), 1, p)
		if i%900 == 0 && ask(t, m, "live", 1, p).Allowed {
			t.Fatal("the live counter was forgotten")
		}
	}
	if len(m.counters) != 1000 || m.order.Len() != 1000 {
		t.Errorf("%d counters, %d in order, want 1000", len(m.counters), m.order.Len())
	}
	if m.counters["bogus8999"] != nil || m.counters["bogus9999"] == nil {
		t.Error("it is not the oldest that were dropped")
	}
	// What has expired goes as others come.
	c.advance(3 * time.Hour)
	for i := range 1000 {
		ask(t, m, fmt.Sprint("new", i), 1, p)
	}
	c.advance(3 * time.Hour)
	for i := range 10 {
		ask(t, m, fmt.Sprint("newer", i), 1, p)
	}
	if len(m.counters) != 990 {
		t.Errorf("%d counters, want 990", len(m.counters))
	}
	if got := admitted(t, m, "live", 9, p); got != 3 {
		t.Errorf("%d admitted after hours, want 3", got)
	}
}

func TestMemoryIsSavedAndLoaded(t *testing.T) {
	stores.OnEachEngine(t, func(t *testing.T, s *storage.Store) {
		c := newClock()
		s.SetClock(c.now)
		p := Plan{Hour: 20, Day: 30, Burst: 10}
		m := NewMemory(s)
		stored := func() (n int) {
			t.Helper()
			if err := s.LoadLimits(storage.System(t.Context()), func(storage.Limit) { n++ }); err != nil {
				t.Fatal(err)
			}
			return n
		}
		for i := range 600 {
			ask(t, m, fmt.Sprint(i), int64(i%10), p)
		}
		// A save that fails is made up for by the next.
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := m.Save(ended); !errors.Is(err, storage.ErrUnavailable) || stored() != 0 {
			t.Fatalf("error %v, %d stored", err, stored())
		}
		for range 2 { // the second finds nothing to do
			if err := m.Save(t.Context()); err != nil || stored() != 600 {
				t.Fatalf("error %v, %d stored", err, stored())
			}
		}
		ask(t, m, "7", 1, p)
		ask(t, m, "another", 1, p)
		if err := m.Save(t.Context()); err != nil || stored() != 601 {
			t.Fatalf("error %v, %d stored", err, stored())
		}
		c.advance(10 * time.Second)
		again := NewMemory(s)
		if err := again.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		inSQL := NewSQL(s)
		for i := range 600 {
			counter := fmt.Sprint(i)
			want := ask(t, m, counter, 5, p)
			if got := ask(t, again, counter, 5, p); got != want {
				t.Fatalf("counter %d: %+v after loading, %+v before", i, got, want)
			}
			if got := ask(t, inSQL, counter, 5, p); got != want { // the rows mean the same to both
				t.Fatalf("counter %d: %+v in SQL, %+v in memory", i, got, want)
			}
		}
		// Nothing is written that was only loaded.
		third := NewMemory(s)
		if err := third.Load(t.Context()); err != nil || len(third.counters) != 601 || len(third.unsaved) != 0 {
			t.Errorf("error %v, %d loaded, %d to be saved", err, len(third.counters), len(third.unsaved))
		}
		// What has expired is not loaded.
		c.advance(26 * time.Hour)
		fourth := NewMemory(s)
		if err := fourth.Load(t.Context()); err != nil || len(fourth.counters) != 0 {
			t.Errorf("error %v, %d loaded", err, len(fourth.counters))
		}
	})
}

// A Save of many batches that fails part of the way keeps each counter that it did not write, once, with what was charged
// meanwhile, and without those that were forgotten.
func TestCountersThatCouldNotBeSavedAreSavedLater(t *testing.T) {
	s, _ := openAt(t, "sqlite::memory:")
	m, p := NewMemory(s), Plan{Hour: 10}
	m.bound = 2*saveBatch + 100
	for i := range m.bound {
		ask(t, m, fmt.Sprint(i), 1, p)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 {
		if err := m.Save(ended); !errors.Is(err, storage.ErrUnavailable) || len(m.unsaved) != m.bound {
			t.Fatalf("error %v, %d to be saved, want %d", err, len(m.unsaved), m.bound)
		}
		ask(t, m, "5", 1, p)
	}
	ask(t, m, "another", 1, p) // the counter 0 makes room
	if err := m.Save(ended); !errors.Is(err, storage.ErrUnavailable) || len(m.unsaved) != m.bound {
		t.Fatalf("error %v, %d to be saved, want %d", err, len(m.unsaved), m.bound)
	}
	if err := m.Save(t.Context()); err != nil || len(m.unsaved) != 0 {
		t.Fatalf("error %v, %d to be saved", err, len(m.unsaved))
	}
	used := map[string]int64{}
	if err := s.LoadLimits(storage.System(t.Context()), func(l storage.Limit) { used[l.Counter] = l.HourUsed }); err != nil {
		t.Fatal(err)
	}
	if len(used) != m.bound || used["0"] != 0 || used["5"] != 3 || used["6"] != 1 || used["another"] != 1 {
		t.Errorf("%d saved; 0, 5, 6 and another have %d, %d, %d and %d", len(used), used["0"], used["5"], used["6"],
			used["another"])
	}
}

func TestStorageFailureIsAnErrorAndNoAnswer(t *testing.T) {
	for name, url := range map[string]func(t *testing.T) string{
		"sqlite":     func(t *testing.T) string { return stores.SQLite(t) },
		"postgresql": func(t *testing.T) string { return stores.PostgreSQL(t) },
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := openAt(t, url(t))
			l, m := NewSQL(s), NewMemory(s)
			ask(t, l, "a", 1, Plan{Hour: 1})
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			check := func(ctx context.Context, when string) {
				t.Helper()
				for _, counter := range []string{"a", "b"} {
					for _, cost := range []int64{1, 2} { // 2 is more than there ever is
						if r, err := l.Take(ctx, counter, cost, Plan{Hour: 1}); !errors.Is(err, storage.ErrUnavailable) ||
							r != (Result{}) {
							t.Errorf("%s: %+v, error %v", when, r, err)
						}
					}
				}
			}
			check(ended, "the request has ended")
			s.Close()
			check(t.Context(), "the store is closed")
			ask(t, m, "a", 1, Plan{Hour: 1})
			if err := m.Save(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("save: %v", err)
			}
			if err := m.Load(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("load: %v", err)
			}
		})
	}
}

func TestFaultsOfTheCallerAreErrors(t *testing.T) {
	onEachLimiter(t, func(t *testing.T, l Limiter, _ *clock) {
		for name, x := range map[string]struct {
			counter string
			cost    int64
			plan    Plan
		}{
			"no name":         {"", 1, Plan{}},
			"NUL":             {"a\x00", 1, Plan{}},
			"not UTF-8":       {"\xff", 1, Plan{}},
			"long name":       {string(make([]rune, 600)), 1, Plan{}},
			"negative cost":   {"a", -1, Plan{}},
			"cost too high":   {"a", mostCost + 1, Plan{}},
			"negative window": {"a", 1, Plan{Day: -1}},
			"window too wide": {"a", 1, Plan{Burst: mostRequests + 1}},
		} {
			if r, err := l.Take(t.Context(), x.counter, x.cost, x.plan); err == nil || r != (Result{}) {
				t.Errorf("%s: %+v", name, r)
			}
		}
		// The widest windows and the highest cost overflow nothing.
		wide := Plan{Hour: mostRequests, Day: mostRequests, Burst: mostRequests}
		for range 3 {
			if r := ask(t, l, "wide", mostCost, wide); !r.Allowed {
				t.Errorf("%+v", r)
			}
		}
		if r := ask(t, l, "narrow", mostCost, Plan{Burst: 1}); r.Allowed || r.RetryAfter != time.Minute {
			t.Errorf("%+v", r)
		}
	})
}

// Memory and both databases give the same answers to the same calls by the same clock.
func TestAllLimitersAgree(t *testing.T) {
	stores.Alone(t)
	for name, back := range map[string]bool{"with a clock that is set back": true, "with clean-up": false} {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			r := rand.New(rand.NewPCG(seed, 1))
			c := newClock()
			open := func(url string) *storage.Store {
				s := stores.Open(t, url)
				s.SetClock(c.now)
				return s
			}
			lite, pg := open("sqlite::memory:"), open(stores.PostgreSQL(t))
			m, all := NewMemory(lite), []Limiter{NewSQL(lite), NewSQL(pg)}
			windows := []Plan{
				{Hour: 1},
				{Day: 1},
				{Burst: 1},
				{Hour: 1, Burst: 1},
				{Day: 1, Burst: 1},
				{Hour: 1, Day: 1},
				{Hour: 1, Day: 1, Burst: 1},
				{},
			}
			take := func(i int, step int) {
				w := windows[i]
				p := Plan{Hour: w.Hour * (1 + r.Int64N(40)), Day: w.Day * (1 + r.Int64N(60)), Burst: w.Burst * (1 + r.Int64N(20))}
				counter, cost := fmt.Sprint(i), r.Int64N(8)
				want := ask(t, m, counter, cost, p)
				for j, l := range all {
					if got := ask(t, l, counter, cost, p); got != want {
						t.Fatalf("seed %d, step %d, %v: limiter %d says %+v, memory %+v; plan %+v, cost %d", seed, step, c.at, j, got,
							want, p, cost)
					}
				}
			}
			if back {
				// No counter may be new, since Memory then drops what a clock set back would count again. One without a limit
				// is new each time.
				windows = windows[:len(windows)-1]
				for i := range windows {
					take(i, 0)
				}
			}
			for step := range 1500 {
				scale := []time.Duration{0, time.Millisecond, time.Second, time.Minute, time.Hour}[r.IntN(5)]
				move := (scale * time.Duration(r.Int64N(1000)) / 500).Truncate(time.Microsecond)
				if back && r.IntN(3) == 0 {
					move = -move
				}
				c.advance(move)
				take(r.IntN(len(windows)), step)
				if !back && r.IntN(20) == 0 {
					for _, s := range []*storage.Store{lite, pg} {
						if _, err := s.Purge(storage.System(t.Context()), storage.Retention{}); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		})
	}
}
