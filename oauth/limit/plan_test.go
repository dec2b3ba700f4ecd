package limit

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward/storage"
	"doorward/test/stores"
)

// onEachLimiter runs fn on Memory and on SQL of both engines, by a clock that fn moves.
func onEachLimiter(t *testing.T, fn func(t *testing.T, l Limiter, c *clock)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) {
		s, c := openAt(t, "sqlite::memory:")
		fn(t, NewMemory(s), c)
	})
	t.Run("sqlite", func(t *testing.T) {
		s, c := openAt(t, stores.SQLite(t)) // a file, where reads and writes take different connections
		fn(t, NewSQL(s), c)
	})
	t.Run("postgresql", func(t *testing.T) {
		s, c := openAt(t, stores.PostgreSQL(t))
		fn(t, NewSQL(s), c)
	})
}

func openAt(t *testing.T, url string) (*storage.Store, *clock) {
	t.Helper()
	s, c := stores.Open(t, url), newClock()
	s.SetClock(c.now)
	return s, c
}

func ask(t *testing.T, l Limiter, counter string, cost int64, p Plan) Result {
	t.Helper()
	r, err := l.Take(t.Context(), counter, cost, p)
	if err != nil {
		t.Fatal(err)
	}
	if r.Allowed != (r.RetryAfter == 0) || r.RetryAfter%time.Second != 0 {
		t.Fatalf("allowed %v, retry after %v", r.Allowed, r.RetryAfter)
	}
	if windows := p.Hour > 0 || p.Day > 0; windows != (r.Limit > 0) || windows != (r.Reset > 0) || r.Remaining < 0 ||
		r.Remaining > r.Limit {
		t.Fatalf("plan %+v gives %+v", p, r)
	}
	return r
}

// admitted asks n times for one request each.
func admitted(t *testing.T, l Limiter, counter string, n int, p Plan) (got int64) {
	t.Helper()
	for range n {
		if ask(t, l, counter, 1, p).Allowed {
			got++
		}
	}
	return got
}

// atOnce asks from 64 goroutines, each several times.
func atOnce(t *testing.T, counter string, cost int64, p Plan, limiters ...Limiter) int64 {
	t.Helper()
	var count atomic.Int64
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range 64 {
		wg.Go(func() {
			<-start
			for range 3 {
				r, err := limiters[i%len(limiters)].Take(t.Context(), counter, cost, p)
				switch {
				case err != nil:
					t.Error(err)
				case r.Allowed:
					count.Add(1)
				case r.RetryAfter < time.Second:
					t.Errorf("refused, and retry after %v", r.RetryAfter)
				}
			}
		})
	}
	close(start)
	wg.Wait()
	return count.Load()
}

// each is every window alone, of 10 requests, with what a full one waits for.
var each = map[string]struct {
	plan  Plan
	wait  time.Duration // until one more is admitted
	whole time.Duration // until all are
}{
	"hour":  {Plan{Hour: 10}, time.Hour, time.Hour},
	"day":   {Plan{Day: 10}, 24 * time.Hour, 24 * time.Hour},
	"burst": {Plan{Burst: 10}, 6 * time.Second, time.Minute},
}

func TestL01_ManyAtOnceGetExactlyWhatTheWindowsSay(t *testing.T) {
	onEachLimiter(t, func(t *testing.T, l Limiter, c *clock) {
		for i, x := range []struct {
			plan       Plan
			cost, want int64
		}{
			{Plan{Hour: 50}, 1, 50},
			{Plan{Day: 50}, 1, 50},
			{Plan{Burst: 50}, 1, 50},
			{Plan{Burst: 7}, 1, 7}, // a minute does not divide by it
			{Plan{Hour: 52, Day: 51, Burst: 50}, 1, 50},
			{Plan{Hour: 52, Day: 50, Burst: 51}, 1, 50},
			{Plan{Hour: 50, Day: 51, Burst: 52}, 1, 50},
			{Plan{Hour: 50}, 3, 16},
			{Plan{Burst: 50}, 3, 16},
			{Plan{Hour: 50}, 51, 0},
			{Plan{Hour: 1}, 0, 192},
			{Plan{}, 1, 192},
		} {
			counter := fmt.Sprint(i)
			if got := atOnce(t, counter, x.cost, x.plan, l); got != x.want {
				t.Errorf("%+v, cost %d: %d of 192 admitted, want %d", x.plan, x.cost, got, x.want)
			}
		}
		// What was refused was charged nothing: the bucket is full after a minute, and the hour has two left.
		c.advance(time.Minute)
		if got := atOnce(t, "4", 1, Plan{Hour: 52, Burst: 50}, l); got != 2 {
			t.Errorf("%d admitted, want the 2 that the hour has left", got)
		}
	})
}

func TestL02_TwoNodesShareExactly(t *testing.T) {
	url := stores.PostgreSQL(t)
	a, _ := openAt(t, url)
	b, ahead := openAt(t, url)
	for name, x := range map[string]struct {
		plan  Plan
		ahead time.Duration
	}{
		"hour":                  {plan: Plan{Hour: 50}},
		"day":                   {plan: Plan{Day: 50}},
		"burst":                 {plan: Plan{Burst: 50}},
		"hour, a second ahead":  {plan: Plan{Hour: 50}, ahead: time.Second},
		"burst, a second ahead": {plan: Plan{Burst: 50}, ahead: time.Second}, // less than one takes to come back
	} {
		t.Run(name, func(t *testing.T) {
			ahead.advance(x.ahead)
			defer ahead.advance(-x.ahead)
			if got := atOnce(t, name, 1, x.plan, NewSQL(a), NewSQL(b)); got != 50 {
				t.Errorf("%d of 192 admitted, want 50", got)
			}
		})
	}
}

func TestL03_EdgeOfAWindowAdmitsTwiceItsSizeAtMost(t *testing.T) {
	stores.Alone(t)
	onEachLimiter(t, func(t *testing.T, l Limiter, c *clock) {
		for name, length := range map[string]time.Duration{"hour": time.Hour, "day": 24 * time.Hour} {
			p := each[name].plan
			if got := admitted(t, l, name, 1, p); got != 1 { // here the window begins
				t.Fatal("the first is refused")
			}
			c.advance(length - time.Microsecond)
			before := admitted(t, l, name, 15, p)
			c.advance(time.Microsecond)
			after := admitted(t, l, name, 15, p)
			if before != 9 || after != 10 {
				t.Errorf("%s: %d before the edge and %d after it, want 9 and 10", name, before, after)
			}
			c.advance(length - time.Microsecond)
			if got := admitted(t, l, name, 1, p); got != 0 {
				t.Errorf("%s: the second window ends early", name)
			}
		}
	})
}

func TestL04_BurstHoldsInAnyMinute(t *testing.T) {
	stores.Alone(t)
	onEachLimiter(t, func(t *testing.T, l Limiter, c *clock) {
		for _, burst := range []int64{7, 60} {
			p, counter := Plan{Burst: burst}, fmt.Sprint(burst)
			var at []time.Time
			step := 6 * time.Second / time.Duration(burst) // ten times the rate
			for range 25 * burst {
				if ask(t, l, counter, 1, p).Allowed {
					at = append(at, c.at)
				}
				c.advance(step)
			}
			var most int64
			for i := range at {
				n := int64(0)
				for _, later := range at[i:] {
					if later.Sub(at[i]) < time.Minute {
						n++
					}
				}
				most = max(most, n)
			}
			if most > 2*burst || float64(most) < 0.98*float64(2*burst) && most < 2*burst-1 {
				t.Errorf("burst %d: %d within a minute, want up to %d", burst, most, 2*burst)
			}
			// 150 seconds hold the depth and two and a half times what a minute brings.
			if got, want := int64(len(at)), burst*7/2; got > want || got < want-1 {
				t.Errorf("burst %d: %d in 150 s, want %d", burst, got, want)
			}
		}
	})
}

func TestL05_ClockThatJumps(t *testing.T) {
	stores.Alone(t)
	onEachLimiter(t, func(t *testing.T, l Limiter, c *clock) {
		for name, x := range each {
			for _, jump := range []time.Duration{-time.Hour, time.Hour, -time.Second, time.Second, -61 * time.Second} {
				for _, used := range []int{3, 10} {
					counter := fmt.Sprint(name, jump, used)
					admitted(t, l, counter, used, x.plan)
					c.advance(jump)
					if got := int64(used) + admitted(t, l, counter, 30, x.plan); got > 20 {
						t.Errorf("%s: %d admitted around a jump of %v", counter, got, jump)
					}
					r := ask(t, l, counter, 1, x.plan)
					if r.Allowed || r.RetryAfter > x.whole {
						t.Errorf("%s: allowed %v, retry after %v", counter, r.Allowed, r.RetryAfter)
					}
					c.advance(r.RetryAfter)
					if !ask(t, l, counter, 1, x.plan).Allowed {
						t.Errorf("%s: locked out for longer than %v", counter, x.whole)
					}
				}
			}
			// A clock that hops about within a second of the right time.
			plan, most := x.plan, int64(10)
			if plan.Burst > 0 { // two seconds bring two
				plan, most = Plan{Burst: 60}, 62
			}
			var got int64
			jitter := rand.New(rand.NewPCG(5, 6))
			for range 300 {
				d := time.Duration(jitter.Int64N(2_000_000)-1_000_000) * time.Microsecond
				c.advance(d)
				got += admitted(t, l, "jitter"+name, 1, plan)
				c.advance(-d)
			}
			if got > most {
				t.Errorf("%s: %d admitted by a clock with jitter", name, got)
			}
		}
	})
}

func TestL06_CountersShareNothing(t *testing.T) {
	stores.Alone(t)
	onEachLimiter(t, func(t *testing.T, l Limiter, _ *clock) {
		p := Plan{Hour: 2, Day: 2, Burst: 2}
		for _, counter := range []string{
			"a", "a:", ":a", "{a}", "a:b", "a:{b}", "{a:b}", "{a}:b", "A", "a ", "%61", "a%",
			"_", "ä", "a\u0308", `a\`, "a'",
		} {
			if got := admitted(t, l, counter, 3, p); got != 2 {
				t.Errorf("%q: %d admitted, want 2", counter, got)
			}
		}
	})
}

func TestL08_RetryAfterIsTheMomentAndRemainingFallsOnly(t *testing.T) {
	onEachLimiter(t, func(t *testing.T, l Limiter, c *clock) {
		for name, x := range each {
			counter := "retry" + name
			var last Result
			for i := range int64(10) {
				r := ask(t, l, counter, 1, x.plan)
				if !r.Allowed || r.Limit > 0 && r.Remaining != 9-i {
					t.Fatalf("%s: request %d gives %+v", name, i+1, r)
				}
				last = r
			}
			start := c.at
			r := ask(t, l, counter, 1, x.plan)
			if r.Allowed || r.RetryAfter != x.wait || r.Remaining != 0 || r.Reset != last.Reset {
				t.Errorf("%s: %+v, want a refusal for %v and the reset of %+v", name, r, x.wait, last)
			}
			if r.Limit > 0 && r.Reset != start.Add(x.wait).Unix() {
				t.Errorf("%s: reset %d", name, r.Reset)
			}
			c.advance(x.wait - time.Microsecond)
			if r := ask(t, l, counter, 1, x.plan); r.Allowed || r.RetryAfter != time.Second || r.Remaining != 0 {
				t.Errorf("%s: just before, %+v", name, r)
			}
			c.advance(time.Microsecond)
			if !ask(t, l, counter, 1, x.plan).Allowed {
				t.Errorf("%s: refused just after", name)
			}
			if got := admitted(t, l, counter, 20, x.plan); name == "burst" && got != 0 || name != "burst" && got != 9 {
				t.Errorf("%s: %d more just after", name, got)
			}
		}

		// Of several that refuse, the longest wait; the headers are of the one with the fewest left.
		p := Plan{Hour: 4, Day: 5, Burst: 4}
		if r := ask(t, l, "several", 4, p); r.Limit != 4 || r.Remaining != 0 {
			t.Errorf("%+v, want the hour's", r)
		}
		if r := ask(t, l, "several", 2, p); r.Allowed || r.RetryAfter != 24*time.Hour || r.Limit != 4 {
			t.Errorf("%+v, want the day's wait and the hour's figures", r)
		}
		c.advance(time.Hour)
		if r := ask(t, l, "several", 1, p); !r.Allowed || r.Limit != 5 || r.Remaining != 0 {
			t.Errorf("%+v, want the day's", r)
		}
		// More than a window ever holds; the counter keeps what it has.
		if r := ask(t, l, "new", 6, p); r.Allowed || r.RetryAfter != 24*time.Hour || r.Remaining != 4 {
			t.Errorf("too dear: %+v", r)
		}
		if r := ask(t, l, "new", 5, p); r.Allowed || r.RetryAfter != time.Hour || r.Remaining != 4 {
			t.Errorf("too dear for the hour: %+v", r)
		}
		if got := admitted(t, l, "new", 9, p); got != 4 {
			t.Errorf("%d admitted, want 4", got)
		}
		// A plan that was lowered below what is used holds at once.
		if r := ask(t, l, "new", 1, Plan{Hour: 2}); r.Allowed || r.Remaining != 0 || r.Limit != 2 {
			t.Errorf("lowered: %+v", r)
		}
		if r := ask(t, l, "new", 0, Plan{Hour: 2}); !r.Allowed || r.Remaining != 0 {
			t.Errorf("free of charge: %+v", r)
		}
		// Of two with as few left, the one that ends later is what one waits for.
		if r := ask(t, l, "equal", 1, Plan{Hour: 5, Day: 5}); r.Reset != c.at.Add(24*time.Hour).Unix() {
			t.Errorf("hour and day: %+v", r)
		}
		if r := ask(t, l, "new", 1, Plan{Hour: 5}); !r.Allowed || r.Remaining != 0 {
			t.Errorf("raised: %+v", r)
		}
		// What is cut to seconds is not cut short: 8.571429 s.
		seven := Plan{Burst: 7}
		admitted(t, l, "seven", 7, seven)
		if r := ask(t, l, "seven", 1, seven); r.RetryAfter != 9*time.Second {
			t.Errorf("%+v, want 9 s", r)
		}
		c.advance(8571428 * time.Microsecond)
		if ask(t, l, "seven", 1, seven).Allowed {
			t.Error("allowed just before")
		}
		c.advance(time.Microsecond)
		if !ask(t, l, "seven", 1, seven).Allowed {
			t.Error("refused just after")
		}
	})
}
