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
	// bucket is how long an empty burst bucket takes to be full again.
	bucket = time.Minute
	// unlimited is more than can ever be used.
	unlimited = 1 << 60
)

// charge works out one request. A burst bucket is kept as the moment when it is full again (the generic cell rate
// algorithm): each request moves that on by the time that it takes to come back, and must not move it further ahead
// than the depth of the bucket takes. That time is rounded up to the microsecond, so that nothing comes back early.
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
		// No wait is longer than an empty bucket takes, but where the clock was set back. Clocks of nodes that differ
		// by less do not empty each other's buckets.
		BurstNeed:   need,
		BurstBy:     full - storage.Time(need),
		BurstEmpty:  full,
		BurstLatest: full + storage.Time(depth-need),
	}
}

// expiry is when nothing of a counter that is charged now counts any more. It moves once an hour only, so that the
// index on it stays as it is.
func expiry(now storage.Time, p Plan) storage.Time {
	longest := hour
	if p.Day > 0 {
		longest = day
	}
	end := now.Add(longest)
	step := storage.Time(hour.Microseconds())
	return end - end%step + step
}

// take is in Go what storage.TakeLimit is in SQL.
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

// setBack restarts windows that are ahead of a clock which was set back, with what was used of them: so no one waits
// for longer than a window, and no one gets more by it either.
func setBack(st storage.LimitState, c storage.LimitCharge) storage.LimitState {
	st.HourBegan, st.DayBegan = min(st.HourBegan, c.At), min(st.DayBegan, c.At)
	if st.BurstFull > c.BurstLatest {
		st.BurstFull = c.BurstEmpty
	}
	return st
}

// exceeds reports whether a cost is more than a window ever holds.
func exceeds(cost int64, p Plan) bool {
	return p.Hour > 0 && cost > p.Hour || p.Day > 0 && cost > p.Day || p.Burst > 0 && cost > p.Burst
}

// result puts into words what a charge has come to; st is the state after it.
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

// storable reports whether a counter may have this name: a row of any database can, and it takes no more than its share
// of the memory.
func storable(counter string) bool {
	return counter != "" && len(counter) <= mostName && strings.IndexByte(counter, 0) < 0 && utf8.ValidString(counter)
}
