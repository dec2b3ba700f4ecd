package storage_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"doorward/storage"
	"doorward/test/stores"
)

func savedLimit(counter string, now storage.Time, keep time.Duration) storage.Limit {
	return storage.Limit{
		Counter: counter, ExpiresAt: now.Add(keep),
		LimitState: storage.LimitState{HourBegan: now, HourUsed: 1, DayBegan: now, DayUsed: 2, BurstFull: now},
	}
}

// More than one batch comes back as it was saved, but for what has expired.
func TestLimitsAreLoadedAsTheyWereSaved(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		ctx := system(t)
		var saved []storage.Limit
		for i := range 1100 {
			saved = append(saved, savedLimit(fmt.Sprintf("counter:{%d}", i), s.Now(), time.Duration(i)*time.Second))
		}
		must(t, s.SaveLimits(ctx, saved))
		must(t, s.SaveLimits(ctx, saved[:3])) // over what is there
		s.SetClock(func() time.Time { return noon.Add(100 * time.Second) })
		loaded := map[string]storage.Limit{}
		must(t, s.LoadLimits(ctx, func(l storage.Limit) { loaded[l.Counter] = l }))
		for i, l := range saved {
			if got, ok := loaded[l.Counter]; ok != (i >= 100) || ok && got != l {
				t.Fatalf("counter %d: loaded %+v (%v), saved %+v", i, got, ok, l)
			}
		}
		st, err := s.LimitState(ctx, saved[7].Counter)
		if err != nil || st != saved[7].LimitState {
			t.Errorf("state %+v, error %v", st, err)
		}
		_, err = s.LimitState(ctx, "unknown")
		mustBe(t, err, storage.ErrNotFound)
		// Text that no row can hold is not a counter without a row.
		_, _, err = s.TakeLimit(ctx, "a\x00b", storage.LimitCharge{At: s.Now(), ExpiresAt: s.Now()})
		mustBe(t, err, storage.ErrNotFound)
	})
}

// A request that comes while its idle counter is being purged keeps it.
func TestS11_PurgeLeavesLimitsThatAreUsedMeanwhile(t *testing.T) {
	s := stopped(stores.Open(t, stores.PostgreSQL(t)))
	must(t, s.SaveLimits(system(t), []storage.Limit{savedLimit("counter", s.Now(), -time.Second)}))
	watch := connectOwner(t, s)
	tx, err := connectOwner(t, s).Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), `UPDATE limits SET expires_at = $1`, int64(s.Now())+1)
	must(t, err)
	released := make(chan error, 1)
	purging, purged := context.WithCancel(t.Context())
	go func() {
		for n := 0; n == 0; {
			if err := watch.QueryRow(purging, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
				AND wait_event_type = 'Lock' AND query LIKE 'DELETE FROM limits%'`).Scan(&n); err != nil {
				released <- err
				return
			}
		}
		released <- tx.Commit(context.WithoutCancel(t.Context()))
	}()
	n, err := s.Purge(system(t), horizons)
	purged() // a caller that still looks for a waiting purge finds none
	must(t, err)
	must(t, <-released)
	if _, err := s.LimitState(system(t), "counter"); err != nil || n != 0 {
		t.Errorf("%d rows went, error %v", n, err)
	}
}

// Counters share batches in one order, in any order of requests, so that nodes do not wait for each other in a
// circle; each gets exactly its own.
func TestCountersOfManyRequestsOnTwoNodes(t *testing.T) {
	url := stores.PostgreSQL(t)
	nodes := []*storage.Store{stopped(stores.Open(t, url)), stopped(stores.Open(t, url))}
	const counters, room, requests = 10, 50, 200 // 64 times 200 requests for 10 times 51
	var admitted [counters]atomic.Int64
	ctx := system(t)
	_, failures := atOnce(64, func(i int) error {
		s := nodes[i%2]
		for n := range requests {
			c := (i*7 + n*3) % counters
			_, ok, err := s.TakeLimit(ctx, fmt.Sprintf("counter-%d", c), storage.LimitCharge{
				At: s.Now(), Cost: 1, ExpiresAt: s.Now().Add(time.Hour), HourOver: s.Now().Add(-time.Hour),
				HourRoom: room, DayOver: s.Now().Add(-24 * time.Hour), DayRoom: 1 << 40,
				BurstBy: s.Now(), BurstEmpty: s.Now(), BurstLatest: s.Now(),
			})
			if err != nil {
				return err
			}
			if ok {
				admitted[c].Add(1)
			}
		}
		return nil
	})
	if len(failures) > 0 {
		t.Fatalf("%d requests failed, the first: %v", len(failures), failures[0])
	}
	for c := range admitted {
		if n := admitted[c].Load(); n != room+1 {
			t.Errorf("counter %d admitted %d, want %d", c, n, room+1)
		}
	}
}
