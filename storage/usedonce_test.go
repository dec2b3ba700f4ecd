package storage_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward/storage"
	"doorward/test/stores"
)

// count64 returns how many of 64 calls at once succeed; all others must return storage.ErrConsumed.
func count64(t *testing.T, use func() error) int64 {
	t.Helper()
	var won atomic.Int64
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			if err := use(); err == nil {
				won.Add(1)
			} else if !errors.Is(err, storage.ErrConsumed) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	return won.Load()
}

func TestP05_OfManyUsesOfOneProofOneSucceeds(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		ctx := system(t)
		until := s.Now().Add(time.Minute)
		if n := count64(t, func() error { return s.UseProof(ctx, "key", "id", until) }); n != 1 {
			t.Errorf("%d of 64 uses succeeded, want 1", n)
		}
		must(t, s.UseProof(ctx, "key", "other", until))
		must(t, s.UseProof(ctx, "other key", "id", until))
		// A proof counts for as long as it could be used, however many others come after it.
		for step := range 3 {
			s.SetClock(func() time.Time { return noon.Add(time.Duration(step+1) * 20 * time.Second) })
			must(t, s.UseProof(ctx, "key", fmt.Sprint("after ", step), s.Now().Add(time.Minute)))
			mustBe(t, s.UseProof(ctx, "key", "id", until), storage.ErrConsumed)
		}
	})
}

func TestP05_AProofIsUsableAgainAfterARollback(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		ctx := system(t)
		use := func(ctx context.Context) error { return s.UseProof(ctx, "key", "id", s.Now().Add(time.Minute)) }
		mustBe(t, s.InTx(ctx, func(ctx context.Context) error {
			if err := use(ctx); err != nil {
				return err
			}
			mustBe(t, use(ctx), storage.ErrConsumed)
			return errGivenUp
		}), errGivenUp)
		must(t, s.InTx(ctx, use))
		mustBe(t, use(ctx), storage.ErrConsumed)
	})
}

func TestUsedProofsThatExpiredTakeNoMemory(t *testing.T) {
	s := stores.Open(t, "sqlite::memory:")
	for step := range 10 {
		s.SetClock(func() time.Time { return noon.Add(time.Duration(step) * time.Minute) })
		for i := range 100 {
			must(t, s.UseProof(system(t), "key", fmt.Sprint(step, " ", i), s.Now().Add(30*time.Second)))
		}
	}
	if n := s.UsedProofs(); n > 200 {
		t.Errorf("%d proofs are kept, of 100 that have not expired", n)
	}
}

func TestT53_OfManyUsesOfOneAssertionOneSucceeds(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		ctx := system(t)
		w := newWorld(t, s)
		if n := count64(t, func() error { return s.UseAssertion(ctx, w.assertion(s)) }); n != 1 {
			t.Errorf("%d of 64 uses succeeded, want 1", n)
		}
		other := w.assertion(s)
		other.ClientID = "app_other"
		must(t, s.UseAssertion(ctx, other)) // T-54: the ids of another client are its own
		a := w.assertion(s)
		a.ID = "with a token"
		var tokens atomic.Int64
		n := count64(t, func() error {
			return s.InsertOwnAccessTokenOnce(ctx, w.token(s, fmt.Sprint(tokens.Add(1))), a)
		})
		rows, err := s.Count(ctx, `SELECT count(*) FROM access_tokens WHERE grant_id IS NULL`)
		if n != 1 || err != nil || rows != 2 { // one is of the world
			t.Errorf("%d of 64 uses succeeded, and there are %d tokens (error %v); want 1 and 2", n, rows, err)
		}
	})
}

func TestOfManyAnswersToOnePushedRequestOneSucceeds(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		if n := count64(t, func() error { return s.ConsumePushedRequest(system(t), w.request) }); n != 1 {
			t.Errorf("%d of 64 answers succeeded, want 1", n)
		}
		p, err := s.PushedRequestByDigest(system(t), w.request)
		if err != nil || p.UsedAt.IsZero() || p.ClientID != w.client.ID || p.Request != "{}" {
			t.Errorf("got %+v, error %v", p, err)
		}
	})
}
