package limit

import (
	"strings"
	"time"
	"unicode/utf8"

	"doorward/storage"
)

const (
	hour = time.Hour
	day  = 24 * time.Hour
	// bucket is how long an empty burst bucket takes to refill.
	bucket = time.Minute
	// unlimited is more than a window can ever count.
	unlimited = 1 << 60
)

// charge computes the charge of one request. A burst bucket is stored as the time at which it is full again (the
// generic cell rate algorithm): each request moves that time forward by the time that it takes to refill its share, and
// is refused if the bucket would then need longer to refill than an empty one. That time is rounded up to the
// microsecond, so that no share refills early.
func charge(now storage.Time, cost int64, p Plan) storage.LimitCharge {
	room := func(size int64) int64 {
		if size == 0 || cost == 0 {
			return unlimited
		}
		return size - cost
	}
	var need, depth int64 = 0, unlimited
	if p.Burst > 0 && cost > 0 {
		each := (bucket.Microseconds() + p.Burst - 1) / p.Burst
		need, depth = each*cost, each*p.Burst
	}
	full := now + storage.Time(depth)
	return storage.LimitCharge{
		At:        now,
		Cost:      cost,
		ExpiresAt: expiry(now, p),
		HourOver:  now.Add(-hour),
		HourRoom:  room(p.Hour),
		DayOver:   now.Add(-day),
		DayRoom:   room(p.Day),
		// A longer wait than an empty bucket needs means that the clock was set back. Nodes whose clocks differ by less do
		// not reset each other's buckets.
		BurstNeed:   need,
		BurstBy:     full - storage.Time(need),
		BurstEmpty:  full,
		BurstLatest: full + storage.Time(depth-need),
	}
}

// expiry returns when a counter that is charged now can be forgotten. It changes only once an hour, so that the index
// on it rarely does.
func expiry(now storage.Time, p Plan) storage.Time {
	longest := hour
	if p.Day > 0 {
		longest = day
	}
	end := now.Add(longest)
	step := storage.Time(hour.Microseconds())
	return end - end%step + step
}

// take does in Go what storage.TakeLimit does in SQL.
func take(st storage.LimitState, c storage.LimitCharge) (storage.LimitState, bool) {
	st = setBack(st, c)
	hourRuns, dayRuns := st.HourBegan > c.HourOver, st.DayBegan > c.DayOver
	if hourRuns && st.HourUsed > c.HourRoom || dayRuns && st.DayUsed > c.DayRoom || st.BurstFull > c.BurstBy {
		return st, false
	}
	if !hourRuns {
		st.HourBegan, st.HourUsed = c.At, 0
	}
	if !dayRuns {
		st.DayBegan, st.DayUsed = c.At, 0
	}
	st.HourUsed += c.Cost
	st.DayUsed += c.Cost
	st.BurstFull = max(st.BurstFull, c.At) + storage.Time(c.BurstNeed)
	return st, true
}

// setBack restarts the windows that are in the future because the clock was set back, and keeps their counts: no wait
// gets longer than a window, and no caller gets more requests.
func setBack(st storage.LimitState, c storage.LimitCharge) storage.LimitState {
	st.HourBegan, st.DayBegan = min(st.HourBegan, c.At), min(st.DayBegan, c.At)
	if st.BurstFull > c.BurstLatest {
		st.BurstFull = c.BurstEmpty
	}
	return st
}

// exceeds reports whether a cost is larger than a window of the plan.
func exceeds(cost int64, p Plan) bool {
	return p.Hour > 0 && cost > p.Hour || p.Day > 0 && cost > p.Day || p.Burst > 0 && cost > p.Burst
}

// result describes the outcome of a charge; st is the state after it.
func result(st storage.LimitState, c storage.LimitCharge, p Plan, allowed bool) Result {
	st = setBack(st, c)
	r := Result{Allowed: allowed}
	var wait time.Duration
	for _, w := range []struct {
		size, used, room int64
		began            storage.Time
		length           time.Duration
	}{
		{p.Hour, st.HourUsed, c.HourRoom, st.HourBegan, hour},
		{p.Day, st.DayUsed, c.DayRoom, st.DayBegan, day},
	} {
		if w.size == 0 {
			continue
		}
		end := w.began.Add(w.length)
		if end <= c.At {
			w.used, end = 0, c.At.Add(w.length)
		}
		left := max(0, w.size-w.used)
		reset := (int64(end) + 1e6 - 1) / 1e6
		if r.Limit == 0 || left < r.Remaining || left == r.Remaining && reset > r.Reset {
			r.Limit, r.Remaining, r.Reset = w.size, left, reset
		}
		switch {
		case c.Cost > w.size:
			wait = max(wait, w.length)
		case w.used > w.room:
			wait = max(wait, end.Sub(c.At))
		}
	}
	switch {
	case p.Burst > 0 && c.Cost > p.Burst:
		wait = max(wait, bucket)
	case st.BurstFull > c.BurstBy:
		wait = max(wait, st.BurstFull.Sub(c.BurstBy))
	}
	if !allowed {
		r.RetryAfter = max(time.Second, (wait + time.Second - 1).Truncate(time.Second))
	}
	return r
}

// storable reports whether a counter may have this name: each database can store it, and it is short enough for memory.
func storable(counter string) bool {
	return counter != "" && len(counter) <= mostName && strings.IndexByte(counter, 0) < 0 && utf8.ValidString(counter)
}
