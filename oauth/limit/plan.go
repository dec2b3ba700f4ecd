package limit

import (
	"context"
	"fmt"
	"time"
)

// Plan is how many requests are allowed under one counter. A window of zero is unlimited.
type Plan struct {
	Hour  int64 // in an hour that begins with the first request in it
	Day   int64 // likewise, of a day
	Burst int64 // at once; they come back evenly over a minute
}

// Within reports whether a plan allows no more than another in any window.
func (p Plan) Within(most Plan) bool {
	fits := func(have, most int64) bool { return most == 0 || have != 0 && have <= most }
	return fits(p.Hour, most.Hour) && fits(p.Day, most.Day) && fits(p.Burst, most.Burst)
}

// Result is the outcome of one request.
type Result struct {
	Allowed bool

	// These describe the hour or day window with the fewest requests left; all zero if the plan has neither.
	Limit     int64 // its size
	Remaining int64 // never below zero
	Reset     int64 // its end in Unix seconds, rounded up; if it has not begun, the end it would have if it began now

	// RetryAfter is the longest wait of the windows that refused: whole seconds, at least one. If the cost exceeds the
	// size of a window, it is the length of that window.
	RetryAfter time.Duration
}

// Limiter counts requests. Memory and SQL give the same answers.
type Limiter interface {
	// Take charges a request of the given cost to a counter if all windows of the plan allow it, and otherwise charges
	// nothing. A cost of zero is always allowed. After an error it is unknown whether the request is allowed.
	Take(ctx context.Context, counter string, cost int64, plan Plan) (Result, error)
}

// Bounds within which no sum overflows. The configuration stays well within them.
const (
	mostRequests = 1_000_000_000_000
	mostCost     = 1_000_000
	mostName     = 512 // bytes of a counter's name
)

// check refuses invalid arguments.
func check(counter string, cost int64, p Plan) error {
	if min(p.Hour, p.Day, p.Burst) < 0 || max(p.Hour, p.Day, p.Burst) > mostRequests {
		return fmt.Errorf("limit: the plan is %+v; windows must be from 0 to %d", p, int64(mostRequests))
	}
	if cost < 0 || cost > mostCost {
		return fmt.Errorf("limit: the cost is %d; it must be from 0 to %d", cost, mostCost)
	}
	if !storable(counter) {
		return fmt.Errorf(
			"limit: the counter's name has %d bytes; it must have 1 to %d bytes of UTF-8 without NUL", len(counter), mostName,
		)
	}
	return nil
}
