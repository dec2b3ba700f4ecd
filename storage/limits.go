package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// LimitState is how much one counter has used of its plan. The zero value is an unused counter.
type LimitState struct {
	HourBegan Time // when the hour window began, with its first request
	HourUsed  int64
	DayBegan  Time
	DayUsed   int64
	BurstFull Time // when the burst bucket is full again; it is full if this is past
}

func (st *LimitState) fields() []any {
	return []any{&st.HourBegan, &st.HourUsed, &st.DayBegan, &st.DayUsed, &st.BurstFull}
}

// Limit is a counter with its state.
type Limit struct {
	Counter string
	LimitState
	ExpiresAt Time // when the state can be forgotten
}

// LimitCharge is a charge to a counter, in values that a statement needs only to compare and add. Package limit
// computes it from a plan.
type LimitCharge struct {
	At        Time
	Cost      int64
	ExpiresAt Time // when the last window of the counter ends, after this charge

	HourOver Time  // an hour window that began at this time or before is over
	HourRoom int64 // the largest HourUsed at which this request is allowed
	DayOver  Time
	DayRoom  int64

	BurstNeed   int64 // how long this request's share takes to refill, in microseconds
	BurstBy     Time  // the bucket must be full again at this time or before
	BurstEmpty  Time  // when a bucket that is empty now is full again
	BurstLatest Time  // the latest plausible BurstFull; a later one means that the clock was set back
}

const limitColumns = `hour_began, hour_used, day_began, day_used, burst_full`

// TakeLimitStatement is the statement of TakeLimit: it changes the row only if all windows allow it. PostgreSQL
// evaluates the condition on the row as other requests have left it, so that many at once do not exceed the limit.
var TakeLimitStatement = Statement{`INSERT INTO limits (counter, ` + limitColumns + `, expires_at)
	VALUES ($1, CAST($2 AS BIGINT), CAST($3 AS BIGINT), CAST($2 AS BIGINT), CAST($3 AS BIGINT),
	CAST($2 AS BIGINT) + CAST($8 AS BIGINT), CAST($10 AS BIGINT))
	ON CONFLICT (counter) DO UPDATE SET
	hour_began = CASE WHEN limits.hour_began > $4 AND limits.hour_began <= $2 THEN limits.hour_began
	ELSE CAST($2 AS BIGINT) END, hour_used = CAST($3 AS BIGINT) + CASE WHEN limits.hour_began > $4 THEN limits.hour_used
	ELSE 0 END, day_began = CASE WHEN limits.day_began > $6 AND limits.day_began <= $2 THEN limits.day_began
	ELSE CAST($2 AS BIGINT) END, day_used = CAST($3 AS BIGINT) + CASE WHEN limits.day_began > $6 THEN limits.day_used
	ELSE 0 END, burst_full = CAST($8 AS BIGINT) + CASE WHEN limits.burst_full > $2 THEN limits.burst_full
	ELSE CAST($2 AS BIGINT) END, expires_at = CAST($10 AS BIGINT)
	WHERE (limits.hour_began <= $4 OR limits.hour_used <= $5) AND (limits.day_began <= $6 OR limits.day_used <= $7)
	AND limits.burst_full <= $9
	RETURNING ` + limitColumns, shared | ordered}

// TakeLimit charges a counter, or returns false and charges nothing. The returned state is the one after the call; it
// is zero if the counter was purged meanwhile. If the clock was set back, a window that lies in the future begins again
// at c.At with its count, so that no request waits longer than a window.
func (s *Store) TakeLimit(ctx context.Context, counter string, c LimitCharge) (LimitState, bool, error) {
	var st LimitState
	admitted, err := s.execReturning(ctx, st.fields(), TakeLimitStatement, counter, c.At, c.Cost,
		c.HourOver, c.HourRoom, c.DayOver, c.DayRoom, c.BurstNeed, c.BurstBy, c.ExpiresAt)
	if err != nil || admitted {
		return st, admitted, err
	}
	if st, err = s.LimitState(ctx, counter); err != nil {
		return st, false, ignoreNotFound(err)
	}
	if st.HourBegan > c.At || st.DayBegan > c.At || st.BurstFull > c.BurstLatest {
		_, err = s.exec(ctx, plain(`UPDATE limits SET
			hour_began = CASE WHEN hour_began > $2 THEN CAST($2 AS BIGINT) ELSE hour_began END,
			day_began = CASE WHEN day_began > $2 THEN CAST($2 AS BIGINT) ELSE day_began END,
			burst_full = CASE WHEN burst_full > $3 THEN CAST($4 AS BIGINT) ELSE burst_full END
			WHERE counter = $1`), counter, c.At, c.BurstLatest, c.BurstEmpty)
		if err == nil {
			st, err = s.LimitState(ctx, counter)
		}
	}
	return st, false, ignoreNotFound(err)
}

// ignoreNotFound drops ErrNotFound, for a row that may have been purged between two statements.
func ignoreNotFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// LimitState reads the state of a counter. It returns ErrNotFound if it was not used recently.
func (s *Store) LimitState(ctx context.Context, counter string) (LimitState, error) {
	var st LimitState
	err := s.one(ctx, st.fields(), plain(`SELECT `+limitColumns+` FROM limits WHERE counter = $1`), counter)
	return st, err
}

// limitBatch is how many counters one statement reads.
const limitBatch = 500

// SaveLimits writes counters, and overwrites stored ones.
func (s *Store) SaveLimits(ctx context.Context, limits []Limit) error {
	for some := range slices.Chunk(limits, rowBatch) {
		lists := make([][]any, len(some))
		for i, l := range some {
			lists[i] = []any{l.Counter, l.HourBegan, l.HourUsed, l.DayBegan, l.DayUsed, l.BurstFull, l.ExpiresAt}
		}
		err := s.InTx(ctx, func(ctx context.Context) error {
			_, err := s.execMany(ctx, `INSERT INTO limits (counter, `+limitColumns+`, expires_at)
				VALUES ($1, $2, $3, $4, $5, $6, $7)
				ON CONFLICT (counter) DO UPDATE SET hour_began = excluded.hour_began,
				hour_used = excluded.hour_used, day_began = excluded.day_began, day_used = excluded.day_used,
				burst_full = excluded.burst_full, expires_at = excluded.expires_at`, lists)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// LoadLimits calls fn with every stored counter that has not expired, in the order of their names.
func (s *Store) LoadLimits(ctx context.Context, fn func(Limit)) error {
	after, now := "", s.Now()
	for {
		n := 0
		err := s.each(ctx, func(scan func(...any) error) error {
			var l Limit
			if err := scan(append([]any{&l.Counter, &l.ExpiresAt}, l.fields()...)...); err != nil {
				return err
			}
			n, after = n+1, l.Counter
			fn(l)
			return nil
		}, plain(fmt.Sprintf(`SELECT counter, expires_at, `+limitColumns+` FROM limits WHERE counter > $1
			AND expires_at >= $2 ORDER BY counter LIMIT %d`, limitBatch)),
			after, now)
		if err != nil || n < limitBatch {
			return err
		}
	}
}
