package storage_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/storage"
)

var horizons = storage.Retention{AccessTokens: 7 * 24 * time.Hour, Families: 30 * 24 * time.Hour, Requests: 6 * time.Minute}

// Each row is there a microsecond before its time and gone after it.
func TestS11_NothingGoesBeforeItsReplayHorizon(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		ctx := system(t)
		w := newWorld(t, s)
		must(t, s.DecideFlow(ctx, "flow", "allowed", 10*time.Minute))
		must(t, s.SaveLimits(ctx, []storage.Limit{savedLimit("counter", s.Now(), 90*time.Minute)}))
		must(t, s.ConsumeCode(ctx, w.code))
		must(t, s.UseRefreshToken(ctx, w.refresh, 0))
		must(t, s.UseChallenge(ctx, "challenge", s.Now().Add(5*time.Minute)))
		must(t, s.UseAssertion(ctx, w.assertion(s)))
		registration := w.registrationToken(s)
		registration.ExpiresAt = s.Now().Add(61 * time.Minute)
		must(t, s.InsertRegistrationToken(ctx, &registration))
		must(t, s.RotateSecret(ctx, w.client.ID, storage.ClientSecret{
			ID: "secret_new", Digest: storage.Digest("new"),
			CreatedAt: s.Now(),
		}, 25*time.Hour))
		for _, row := range []struct {
			table string
			rows  int64
			left  int64
			after time.Duration
		}{
			{"used_assertions", 1, 0, 3 * time.Minute},
			{"used_challenges", 1, 0, 5 * time.Minute},
			{"pushed_requests", 1, 0, time.Minute + horizons.Requests},
			{"decided_flows", 1, 0, 10 * time.Minute},
			{"sessions", 1, 0, time.Hour},
			{"registration_tokens", 1, 0, 61 * time.Minute},
			{"limits", 1, 0, 90 * time.Minute},
			{"invitations", 1, 0, 2 * time.Hour},
			{"idempotent_requests", 1, 0, storage.IdempotentLifetime},
			{"access_tokens", 1, 0, time.Hour + horizons.AccessTokens}, // that of client_credentials went before,
			{"recent_requests", 2, 0, 30 * 24 * time.Hour},
			{"codes", 1, 0, time.Minute + horizons.Families},
			{"refresh_tokens", 1, 0, time.Hour + horizons.Families},
			{"grants", 1, 0, 24*time.Hour + horizons.Families},
			{"client_secrets", 2, 1, 25*time.Hour + horizons.Families},
		} {
			for _, at := range []struct {
				after time.Duration
				want  int64
			}{{row.after, row.rows}, {row.after + time.Microsecond, row.left}} {
				s.SetClock(func() time.Time { return noon.Add(at.after) })
				if _, err := s.Purge(ctx, horizons); err != nil {
					t.Fatal(err)
				}
				if n, err := s.Count(ctx, "SELECT count(*) FROM "+row.table); n != at.want || err != nil {
					t.Errorf("%s after %v: %d rows (error %v), want %d", row.table, at.after, n, err, at.want)
				}
			}
		}
		// What does not expire stays.
		for table, want := range map[string]int64{
			"users": 3, "workspaces": 4, "memberships": 5, "clients": 1,
			"consents": 1, "client_origins": 1, "api_keys": 2, "usage_hourly": 2, "audit_events": 1,
			"signing_keys": 2,
		} {
			if n, err := s.Count(ctx, "SELECT count(*) FROM "+table); n != want || err != nil {
				t.Errorf("%d rows of %s (error %v), want %d", n, table, err, want)
			}
		}
	})
}

// A used code and a used refresh token say so for as long as what came of them may live (T-01, T-20).
func TestS11_ReplayIsSeenAfterPurge(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		ctx := system(t)
		w := newWorld(t, s)
		must(t, s.ConsumeCode(ctx, w.code))
		must(t, s.UseRefreshToken(ctx, w.refresh, 0))
		s.SetClock(func() time.Time { return noon.Add(24 * time.Hour) }) // the end of the grant
		if _, err := s.Purge(ctx, horizons); err != nil {
			t.Fatal(err)
		}
		c, err := s.CodeByDigest(ctx, w.code)
		if err != nil || c.UsedAt.IsZero() {
			t.Errorf("code used %v, error %v", c.UsedAt, err)
		}
		b, err := s.RefreshTokenByDigest(ctx, w.refresh)
		if err != nil || b.Refresh.UsedAt.IsZero() {
			t.Errorf("refresh token used %v, error %v", b.Refresh.UsedAt, err)
		}
		mustBe(t, s.ConsumeCode(ctx, w.code), storage.ErrConsumed)
		mustBe(t, s.UseRefreshToken(ctx, w.refresh, 0), storage.ErrConsumed)
	})
}

func TestS11_PurgeGoesByBatches(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		ctx := system(t)
		w := newWorld(t, s)
		const rows = 2*storage.PurgeBatch + 500
		must(t, s.InTx(ctx, func(ctx context.Context) error {
			for i := range rows {
				err := s.InsertAccessToken(ctx, storage.AccessToken{
					Digest:  storage.Digest(fmt.Sprint(i)),
					GrantID: w.grant.ID, ClientID: w.client.ID, CreatedAt: s.Now(),
					ExpiresAt: s.Now().Add(time.Second),
				})
				if err != nil {
					return err
				}
			}
			return nil
		}))
		s.SetClock(func() time.Time { return noon.Add(time.Second + time.Microsecond) })
		if s.Engine() == "postgresql" {
			if _, err := connectOwner(t, s).Exec(ctx, `CREATE TABLE batches (rows bigint);
				CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN INSERT INTO
				public.batches SELECT count(*) FROM gone; RETURN NULL; END $$;
				CREATE TRIGGER note AFTER DELETE ON access_tokens REFERENCING OLD TABLE AS gone FOR EACH STATEMENT
				EXECUTE FUNCTION note()`); err != nil {
				t.Fatal(err)
			}
		}
		n, err := s.Purge(ctx, storage.Retention{})
		if n != rows || err != nil {
			t.Fatalf("%d rows went, error %v; want %d", n, err, rows)
		}
		if s.Engine() == "postgresql" {
			sizes, err := connectOwner(t, s).Query(ctx, `SELECT rows FROM batches`)
			must(t, err)
			var got []int64
			for sizes.Next() {
				var n int64
				must(t, sizes.Scan(&n))
				got = append(got, n)
			}
			must(t, sizes.Err())
			slices.Sort(got)
			if fmt.Sprint(got) != fmt.Sprint([]int64{0, 500, storage.PurgeBatch, storage.PurgeBatch}) {
				t.Errorf("batches of %v", got)
			}
		}
	})
}

func TestS11_PurgeUnderUse(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		now := s.Now()
		must(t, s.InTx(system(t), func(ctx context.Context) error {
			for i := range 3000 {
				if err := s.InsertAccessToken(ctx, storage.AccessToken{
					Digest:   storage.Digest(fmt.Sprint("old", i)),
					ClientID: w.client.ID, CreatedAt: now,
					ExpiresAt: now.Add(-horizons.AccessTokens - time.Hour),
				}); err != nil {
					return err
				}
			}
			return nil
		}))
		_, errs := atOnce(16, func(i int) error {
			if i < 4 { // several nodes clean up at once
				_, err := s.Purge(system(t), horizons)
				return err
			}
			for j := range 20 {
				digest := storage.Digest(fmt.Sprint("new", i, j))
				if err := s.InsertAccessToken(system(t), storage.AccessToken{
					Digest: digest, ClientID: w.client.ID,
					CreatedAt: now, ExpiresAt: now.Add(time.Hour),
				}); err != nil {
					return err
				}
				if _, err := s.AccessTokenByDigest(system(t), digest); err != nil {
					return err
				}
			}
			return nil
		})
		for _, err := range errs {
			t.Error(err)
		}
		if n, err := s.Count(system(t), `SELECT count(*) FROM access_tokens`); n != 2+12*20 || err != nil {
			t.Errorf("%d access tokens are left (error %v), want %d", n, err, 2+12*20)
		}
	})
}

func TestLastUsedIsWrittenOnceAMinute(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		at := func(d time.Duration) storage.Time {
			s.SetClock(func() time.Time { return noon.Add(d) })
			return s.Now()
		}
		check := func(want storage.Time) {
			t.Helper()
			grants, err := s.LiveGrantsOf(ctx, w.user.ID)
			must(t, err)
			x, _, err := s.LiveSession(ctx, w.session.Digest, time.Hour)
			must(t, err)
			c, err := s.ClientByID(ctx, w.client.ID)
			must(t, err)
			k, err := s.Key(ctx, w.key.Owner(), w.key.ID)
			must(t, err)
			if grants[0].LastUsedAt != want || x.SeenAt != want || c.Secrets[0].LastUsedAt != want ||
				k.LastUsedAt != want {
				t.Errorf("last used: grant %v, session %v, secret %v, key %v; want %v", grants[0].LastUsedAt, x.SeenAt,
					c.Secrets[0].LastUsedAt, k.LastUsedAt, want)
			}
			if address := fmt.Sprint("192.0.2.", want.Time().Minute()); k.LastUsedFrom != address {
				t.Errorf("the key was last used from %s, want %s", k.LastUsedFrom, address)
			}
		}
		touch := func() {
			s.TouchKey(w.key.ID, fmt.Sprint("192.0.2.", s.Now().Time().Minute()))
			s.TouchKey("key_unknown", "192.0.2.9")
			s.TouchGrant(w.grant.ID)
			s.TouchSession(w.session.ID)
			s.TouchSecret(w.client.Secrets[0].ID)
			s.TouchGrant("grant_unknown")
		}
		first := at(time.Second)
		touch()
		must(t, s.FlushTouches(ctx))
		check(first)
		at(30 * time.Second)
		touch()
		must(t, s.FlushTouches(ctx))
		check(first)
		second := at(time.Second + time.Minute)
		touch()
		must(t, s.FlushTouches(ctx))
		check(second)
	})
}

func TestManyTouchesFromManyNodes(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		var ids []string
		must(t, s.InTx(system(t), func(ctx context.Context) error {
			for i := range 600 {
				g := w.newGrant(s.Now())
				ids = append(ids, g.ID)
				if err := s.InsertGrant(ctx, g, storage.Code{
					Digest:    storage.Digest(fmt.Sprint(i)),
					ExpiresAt: s.Now(),
				}); err != nil {
					return err
				}
			}
			return nil
		}))
		for _, id := range ids {
			s.TouchGrant(id)
		}
		var wg sync.WaitGroup
		for range 4 { // one takes them all; the rest find nothing and do not wait
			wg.Go(func() {
				if err := s.FlushTouches(system(t)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n, err := s.Count(system(t), `SELECT count(*) FROM grants WHERE last_used_at IS NOT NULL`); n != 600 ||
			err != nil {
			t.Errorf("%d grants were touched (error %v), want 600", n, err)
		}
	})
}

func TestS10_DumpHoldsNoSecret(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		newWorld(t, s)
		var text string
		for _, table := range tables(t, s) {
			text += strings.Join(dumpTable(t, s, table), "\n")
		}
		for _, secret := range []string{`"code"`, `"access"`, `"refresh"`, `"client access"`, `"secret"`, `"session"`} {
			if strings.Contains(text, secret) {
				t.Errorf("%s is stored as it is", secret)
			}
		}
		if !strings.Contains(text, fmt.Sprintf("%q", storage.Digest("code"))) {
			t.Error("not even the code's digest is in the dump, so this test proves nothing")
		}
	})
}

// "Last used" that could not be written, because the caller went away, is written the next time.
func TestTouchesThatCouldNotBeWrittenAreKept(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		s.TouchKey(w.key.ID, "192.0.2.7")
		gone, cancel := context.WithCancel(system(t))
		cancel()
		mustBe(t, s.FlushTouches(gone), storage.ErrUnavailable)
		must(t, s.FlushTouches(system(t)))
		k, err := s.KeyByID(system(t), w.key.ID)
		if err != nil || k.LastUsedFrom != "192.0.2.7" || k.LastUsedAt != s.Now() {
			t.Errorf("last used at %v from %q, error %v", k.LastUsedAt, k.LastUsedFrom, err)
		}
	})
}
