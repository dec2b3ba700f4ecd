package storage_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"doorward/storage"
)

func TestK08_OldKeyWorksUntilTheMomentAndNeverLonger(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		owner := storage.KeyOwner{WorkspaceID: w.shared.ID}
		now := s.Now()
		hour := now.Add(time.Hour)
		for name, c := range map[string]struct{ end, until, want storage.Time }{
			"without an end":        {0, hour, hour},
			"with a later end":      {hour.Add(time.Hour), hour, hour},
			"with an earlier end":   {now + 1, hour, now + 1},
			"with the same end":     {hour, hour, hour},
			"without a grace":       {0, now, now},
			"without one, with end": {hour, now, now},
		} {
			old := insertKey(t, s, owner, name, func(k *storage.APIKey) { k.ExpiresAt = c.end })
			fresh := old
			fresh.ID, fresh.Digest = storage.NewID("key"), storage.Digest("fresh "+old.ID)
			must(t, s.RotateKey(ctx, old, &fresh, c.until))
			got, err := s.KeyByDigest(ctx, old.Digest)
			must(t, err)
			if got.Key.ExpiresAt != c.want || got.Key.RotatedInto != fresh.ID || !got.Key.RevokedAt.IsZero() {
				t.Errorf("%s: ends at %v, want %v; rotated into %q, revoked at %v", name, got.Key.ExpiresAt, c.want,
					got.Key.RotatedInto, got.Key.RevokedAt)
			}
			if got.Key.Live(c.want) || !got.Key.Live(c.want-1) {
				t.Errorf("%s: live at its end %v, a microsecond before %v", name, got.Key.Live(c.want),
					got.Key.Live(c.want-1))
			}
			successor, err := s.KeyByDigest(ctx, fresh.Digest)
			must(t, err)
			if k := successor.Key; k.Counter != old.ID || k.ExpiresAt != c.end || k.RotatedInto != "" ||
				!k.RevokedAt.IsZero() {
				t.Errorf("%s: the successor is counted as %q, ends at %v", name, k.Counter, k.ExpiresAt)
			}
			replaced, err := s.KeysRotatedInto(ctx, owner, fresh.ID)
			if got := names(t, replaced, err); got != name {
				t.Errorf("%s: %q is being replaced", name, got)
			}
		}
	})
}

func TestK08_RotatingTheSuccessorEndsTheOldestAtOnce(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		owner := storage.KeyOwner{WorkspaceID: w.shared.ID}
		bystander := insertKey(t, s, owner, "bystander", nil)
		chain := []storage.APIKey{insertKey(t, s, owner, "0", nil)}
		for i := range 4 {
			s.SetClock(func() time.Time { return noon.Add(time.Duration(i) * time.Second) })
			fresh := newKey(owner, fmt.Sprint(i+1))
			fresh.Counter = chain[0].Counter
			must(t, s.RotateKey(ctx, chain[i], &fresh, s.Now().Add(time.Hour)))
			chain = append(chain, fresh)
			for j, k := range chain {
				got, err := s.Key(ctx, owner, k.ID)
				must(t, err)
				if want := j >= i; got.Live(s.Now()) != want { // the newest, and what it took the place of
					t.Errorf("after rotation %d, key %d is live: %v", i, j, !want)
				}
				if got.Counter != chain[0].ID {
					t.Errorf("key %d is counted as %q", j, got.Counter)
				}
				// Ended once: later rotations leave it as it is.
				if at := storage.At(noon.Add(time.Duration(j+1) * time.Second)); j < i && got.RevokedAt != at {
					t.Errorf("after rotation %d, key %d ended at %v, want %v", i, j, got.RevokedAt, at)
				}
			}
		}
		// One that was revoked before then keeps its moment.
		first, second, third := insertKey(t, s, owner, "first", nil), newKey(owner, "second"), newKey(owner, "third")
		must(t, s.RotateKey(ctx, first, &second, s.Now().Add(time.Hour)))
		must(t, s.RevokeKey(ctx, owner, first.ID))
		revoked := s.Now()
		s.SetClock(func() time.Time { return noon.Add(time.Minute) })
		must(t, s.RotateKey(ctx, second, &third, s.Now().Add(time.Hour)))
		if k, err := s.Key(ctx, owner, first.ID); err != nil || k.RevokedAt != revoked {
			t.Errorf("revoked at %v, then at %v, error %v", revoked, k.RevokedAt, err)
		}
		if k, err := s.Key(ctx, owner, bystander.ID); err != nil || !k.Live(s.Now()) {
			t.Errorf("another key: live %v, error %v", k.Live(s.Now()), err)
		}
	})
}

func TestK08_WhatCannotBeRotated(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		owner := storage.KeyOwner{WorkspaceID: w.shared.ID}
		rotated, revoked, ended, live := insertKey(t, s, owner, "rotated", nil), insertKey(t, s, owner, "revoked", nil),
			insertKey(t, s, owner, "ended", func(k *storage.APIKey) { k.ExpiresAt = s.Now() }), insertKey(t, s, owner,
				"live", nil)
		fresh := newKey(owner, "fresh")
		must(t, s.RotateKey(ctx, rotated, &fresh, s.Now().Add(time.Hour)))
		must(t, s.RevokeKey(ctx, owner, revoked.ID))
		before := dump(t, s)
		for _, k := range []storage.APIKey{rotated, revoked, ended, newKey(owner, "never was")} {
			fresh := newKey(owner, "fresh")
			if err := s.RotateKey(ctx, k, &fresh, s.Now().Add(time.Hour)); !errors.Is(err, storage.ErrConsumed) {
				t.Errorf("%s: error %v", k.Name, err)
			}
		}
		taken := newKey(owner, "fresh")
		taken.Digest = revoked.Digest
		mustBe(t, s.RotateKey(ctx, live, &taken, s.Now().Add(time.Hour)), storage.ErrExists)
		if diff := cmp.Diff(before, dump(t, s)); diff != "" {
			t.Errorf("rows changed:\n%s", diff)
		}
	})
}

func TestK08_KeyIsRotatedOnce(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		owner := storage.KeyOwner{WorkspaceID: w.shared.ID}
		old := insertKey(t, s, owner, "old", nil)
		onlyOne(t, storage.ErrConsumed, func(ctx context.Context, i int) error {
			fresh := newKey(owner, fmt.Sprint(i))
			return s.RotateKey(ctx, old, &fresh, s.Now().Add(time.Hour))
		})
		list, err := s.Keys(system(t), owner, storage.KeyFilter{Limit: 100})
		if err != nil || len(list) != 2 || list[1].RotatedInto != list[0].ID {
			t.Errorf("%d keys, error %v; want the old one and the winner's", len(list), err)
		}
	})
}

// When a revocation meets a rotation it wins or comes first: a revoked key is never live again.
func TestKeyIsRotatedWhileItIsRevoked(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		owner := storage.KeyOwner{WorkspaceID: w.shared.ID}
		for i := range 20 {
			old, fresh := insertKey(t, s, owner, fmt.Sprint(i), nil), newKey(owner, "fresh")
			var rotated error
			_, errs := atOnce(2, func(i int) error {
				if i == 0 {
					rotated = s.RotateKey(system(t), old, &fresh, s.Now().Add(time.Hour))
					return nil
				}
				return s.RevokeKey(system(t), owner, old.ID)
			})
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			if rotated != nil && !errors.Is(rotated, storage.ErrConsumed) {
				t.Fatal(rotated)
			}
			if k, err := s.Key(system(t), owner, old.ID); err != nil || k.Live(s.Now()) ||
				(k.RotatedInto == "") != (rotated != nil) {
				t.Errorf("live %v, rotated into %q (%v), error %v", k.Live(s.Now()), k.RotatedInto, rotated, err)
			}
		}
	})
}
