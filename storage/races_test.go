package storage_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"doorward/storage"
)

const racers = 64

// onlyOne runs take at once in 64 goroutines, which must leave all but one with the error loser.
func onlyOne(t *testing.T, loser error, take func(ctx context.Context, i int) error) {
	t.Helper()
	wins, errs := atOnce(racers, func(i int) error { return take(system(t), i) })
	if wins != 1 {
		t.Errorf("%d of %d succeeded, want 1", wins, racers)
	}
	for _, err := range errs {
		if !errors.Is(err, loser) {
			t.Errorf("a loser's error is %v, want %v", err, loser)
		}
	}
}

func TestT03_CodeIsConsumedOnce(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		onlyOne(t, storage.ErrConsumed, func(ctx context.Context, _ int) error { return s.ConsumeCode(ctx, w.code) })
		c, err := s.CodeByDigest(system(t), w.code)
		if err != nil || c.UsedAt != s.Now() {
			t.Errorf("used at %v, error %v", c.UsedAt, err)
		}
		mustBe(t, s.ConsumeCode(system(t), storage.Digest("unknown")), storage.ErrConsumed)
	})
}

// As the token endpoint does it: what else the losers wrote in their transaction is not there.
func TestT03_CodeIsConsumedOnceWithItsTokens(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		onlyOne(t, storage.ErrConsumed, func(ctx context.Context, i int) error {
			return s.InTx(ctx, func(ctx context.Context) error {
				err := s.InsertAccessToken(ctx, storage.AccessToken{
					Digest: storage.Digest(fmt.Sprint("of ", i)), GrantID: w.grant.ID,
					ClientID: w.client.ID, CreatedAt: s.Now(), ExpiresAt: s.Now(),
				})
				if err != nil {
					return err
				}
				return s.ConsumeCode(ctx, w.code)
			})
		})
		if n, err := s.Count(system(t), `SELECT count(*) FROM access_tokens WHERE grant_id = $1`, w.grant.ID); n != 2 ||
			err != nil {
			t.Errorf("%d access tokens of the grant (error %v), want the one of before and the winner's", n, err)
		}
	})
}

func TestT22_RefreshTokenIsUsedOnceWithoutAWindow(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		onlyOne(t, storage.ErrConsumed, func(ctx context.Context, _ int) error {
			return s.UseRefreshToken(ctx, w.refresh, 0)
		})
	})
}

func TestT22_RefreshTokenRepeatsWithinTheWindow(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		const window = 10 * time.Second
		successor := storage.RefreshToken{
			Digest: storage.Digest("successor"), GrantID: w.grant.ID, CreatedAt: s.Now(),
			ExpiresAt: s.Now().Add(time.Hour),
		}
		wins, errs := atOnce(racers, func(int) error {
			return s.InTx(system(t), func(ctx context.Context) error {
				if err := s.UseRefreshToken(ctx, w.refresh, window); err != nil {
					return err
				}
				return s.InsertRefreshToken(ctx, successor)
			})
		})
		if wins != racers {
			t.Fatalf("%d of %d succeeded: %v", wins, racers, errs)
		}
		b, err := s.RefreshTokenByDigest(system(t), w.refresh)
		if err != nil || b.Refresh.Uses != racers || b.Refresh.UsedAt != s.Now() {
			t.Fatalf("uses %d, first %v, error %v", b.Refresh.Uses, b.Refresh.UsedAt, err)
		}
		if n, err := s.Count(system(t), `SELECT count(*) FROM refresh_tokens WHERE grant_id = $1`,
			w.grant.ID); n != 2 || err != nil {
			t.Errorf("%d refresh tokens of the grant (error %v), want one successor", n, err)
		}
		// The successor's own use is not undone by another repeat.
		must(t, s.UseRefreshToken(system(t), successor.Digest, window))
		must(t, s.UseRefreshToken(system(t), w.refresh, window))
		must(t, s.InsertRefreshToken(system(t), successor))
		if b, err := s.RefreshTokenByDigest(system(t), successor.Digest); err != nil || b.Refresh.UsedAt.IsZero() {
			t.Errorf("the successor's use is forgotten, error %v", err)
		}

		for i := racers + 1; i <= storage.MaxRefreshRepeats; i++ {
			must(t, s.UseRefreshToken(system(t), w.refresh, window))
		}
		mustBe(t, s.UseRefreshToken(system(t), w.refresh, window), storage.ErrConsumed)
	})
}

func TestT21_ReuseWindowEndsToTheMicrosecond(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		must(t, s.UseRefreshToken(system(t), w.refresh, 10*time.Second))
		s.SetClock(func() time.Time { return noon.Add(10*time.Second - time.Microsecond) })
		must(t, s.UseRefreshToken(system(t), w.refresh, 10*time.Second))
		s.SetClock(func() time.Time { return noon.Add(10 * time.Second) })
		mustBe(t, s.UseRefreshToken(system(t), w.refresh, 10*time.Second), storage.ErrConsumed)
		b, err := s.RefreshTokenByDigest(system(t), w.refresh)
		if err != nil || b.Refresh.UsedAt != storage.At(noon) || b.Refresh.Uses != 2 {
			t.Errorf("first use %v, uses %d, error %v; want the first of 2 uses", b.Refresh.UsedAt, b.Refresh.Uses, err)
		}
	})
}

func TestB05_FlowIsDecidedOnce(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		onlyOne(t, storage.ErrConsumed, func(ctx context.Context, i int) error {
			return s.DecideFlow(ctx, "flow", fmt.Sprint("decision ", i), time.Minute)
		})
		if _, err := s.FlowAnswer(system(t), "flow"); err != nil {
			t.Errorf("the decided flow: %v", err)
		}
		if _, err := s.FlowAnswer(system(t), "other"); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("another flow: %v, want ErrNotFound", err)
		}
	})
}

// What a flow was answered with is there until its time, and no longer.
func TestV60_AnswersOfFlowsEnd(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		ctx := system(t)
		mustBe(t, s.KeepFlowAnswer(ctx, "flow", "sealed", s.Now().Add(time.Minute)), storage.ErrNotFound)
		must(t, s.DecideFlow(ctx, "flow", "approved", 20*time.Minute))
		must(t, s.KeepFlowAnswer(ctx, "flow", "sealed", s.Now().Add(time.Minute)))
		for after, want := range map[time.Duration]string{
			0: "sealed", time.Minute - time.Microsecond: "sealed",
			time.Minute: "",
		} {
			s.SetClock(func() time.Time { return noon.Add(after) })
			if got, err := s.FlowAnswer(ctx, "flow"); got != want || err != nil {
				t.Errorf("after %v: %q, error %v; want %q", after, got, err, want)
			}
		}
	})
}

func TestSettingIsTakenOnce(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		must(t, s.SetSetting(system(t), "word", "digest"))
		mustBe(t, s.TakeSetting(system(t), "word", "other"), storage.ErrConsumed)
		onlyOne(t, storage.ErrConsumed, func(ctx context.Context, _ int) error {
			return s.TakeSetting(ctx, "word", "digest")
		})
		_, err := s.Setting(system(t), "word")
		mustBe(t, err, storage.ErrNotFound)
	})
}

func TestSettingMadeByManyIsTheSameForAll(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		var mu sync.Mutex
		got := map[string]bool{}
		_, errs := atOnce(racers, func(i int) error {
			v, err := s.SettingOr(system(t), "epoch", fmt.Sprint(i))
			mu.Lock()
			defer mu.Unlock()
			got[v] = true
			return err
		})
		if len(errs) > 0 || len(got) != 1 {
			t.Errorf("%d values, errors %v", len(got), errs)
		}
	})
}

func TestG31_AddressIsTakenOnce(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		onlyOne(t, storage.ErrExists, func(ctx context.Context, i int) error {
			email := "someone@example.com"
			if i%2 == 0 {
				email = "SomeOne@Example.com"
			}
			return s.InsertUser(ctx, &storage.User{ID: storage.NewID("user"), Email: email})
		})
		for table, want := range map[string]int64{"users": 1, "workspaces": 1, "memberships": 1} {
			if n, err := s.Count(system(t), "SELECT count(*) FROM "+table); n != want || err != nil {
				t.Errorf("%d rows of %s (error %v), want %d", n, table, err, want)
			}
		}
	})
}

func TestNeverMoreThanTwoSecretsLive(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		wins, errs := atOnce(racers, func(i int) error {
			return s.RotateSecret(system(t), w.client.ID, storage.ClientSecret{
				ID: storage.NewID("secret"), Digest: storage.Digest(fmt.Sprint("secret ", i)), CreatedAt: s.Now(),
			}, time.Hour)
		})
		if wins == 0 {
			t.Fatal(errs)
		}
		for _, err := range errs { // a queue of 64 may outlast a lock's time; that is "not now", not "no"
			mustBe(t, err, storage.ErrUnavailable)
		}
		c, err := s.ClientByID(system(t), w.client.ID)
		if err != nil || len(c.Secrets) != 2 {
			t.Fatalf("%d live secrets, error %v; want 2", len(c.Secrets), err)
		}
		if c.Secrets[0].ExpiresAt != 0 && c.Secrets[1].ExpiresAt != 0 {
			t.Error("no secret outlives the grace")
		}
	})
}

func TestRotationGivesTheOldSecretItsGrace(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		rotate := func(text string, grace time.Duration) {
			t.Helper()
			must(t, s.RotateSecret(system(t), w.client.ID, storage.ClientSecret{
				ID: storage.NewID("secret"), Digest: storage.Digest(text), Tail: text, CreatedAt: s.Now(),
			}, grace))
		}
		live := func(want ...string) {
			t.Helper()
			c, err := s.ClientByID(system(t), w.client.ID)
			must(t, err)
			var got []string
			for _, x := range c.Secrets {
				got = append(got, x.Tail)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("live secrets %v, want %v", got, want)
			}
		}
		at := func(d time.Duration) { s.SetClock(func() time.Time { return noon.Add(d) }) }
		live("cret")
		at(time.Second)
		rotate("two", time.Hour)
		live("two", "cret")
		at(2 * time.Second)
		rotate("three", 2*time.Hour)
		live("three", "two") // the oldest ended early
		at(2*time.Second + 2*time.Hour - time.Microsecond)
		live("three", "two")
		at(2*time.Second + 2*time.Hour)
		live("three")
		rotate("four", 0)
		live("four")
		mustBe(t, s.RotateSecret(system(t), "app_unknown", storage.ClientSecret{ID: "x"}, 0), storage.ErrNotFound)
	})
}
