package storage_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"doorward/storage"
)

// owners are a workspace, another, a user, another, and no one, with a key of each.
func owners(t *testing.T, s *storage.Store, w *world) ([]storage.KeyOwner, []storage.APIKey) {
	t.Helper()
	personal, err := s.PersonalWorkspace(system(t), w.admin.ID)
	must(t, err)
	list := []storage.KeyOwner{
		{WorkspaceID: w.shared.ID},
		{WorkspaceID: personal.ID},
		{UserID: w.admin.ID},
		{UserID: w.otherAdmin.ID},
		{},
	}
	var keys []storage.APIKey
	for i, owner := range list {
		keys = append(keys, insertKey(t, s, owner, fmt.Sprint(i), nil))
	}
	return list, keys
}

func TestK14_OwnersOfKeysAreKeptApart(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		list, keys := owners(t, s, w)
		before, generation := dump(t, s), s.Generation()
		for i, owner := range list {
			found, err := s.Keys(ctx, owner, storage.KeyFilter{Limit: 100})
			if got := names(t, found, err); got != fmt.Sprint(i) {
				t.Errorf("owner %d has the keys %q", i, got)
			}
			for j, k := range keys {
				if i == j {
					continue
				}
				found, err := s.Keys(ctx, owner, storage.KeyFilter{Digest: k.Digest, Limit: 100})
				if got := names(t, found, err); got != "" {
					t.Errorf("owner %d finds %q by the digest of a key of owner %d", i, got, j)
				}
				for name, call := range changes(s, k, owner) {
					if err := call(ctx); !errors.Is(err, storage.ErrNotFound) && (name != "RotateKey" || !errors.Is(err,
						storage.ErrConsumed)) {
						t.Errorf("%s of owner %d on the key of owner %d: error %v", name, i, j, err)
					}
				}
			}
		}
		if diff := cmp.Diff(before, dump(t, s)); diff != "" || s.Generation() != generation {
			t.Errorf("generation %d, then %d; rows changed:\n%s", generation, s.Generation(), diff)
		}
		// What replaces a key is told to its owner alone.
		fresh := newKey(list[0], "fresh")
		must(t, s.RotateKey(ctx, keys[0], &fresh, s.Now().Add(time.Hour)))
		for i, owner := range list {
			found, err := s.KeysRotatedInto(ctx, owner, fresh.ID)
			if got := names(t, found, err); (got == "0") != (i == 0) {
				t.Errorf("owner %d: %q is being replaced", i, got)
			}
		}
	})
}

// changes are all that may be done to a key in the name of an owner.
func changes(s *storage.Store, k storage.APIKey, owner storage.KeyOwner) map[string]func(ctx context.Context) error {
	id := k.ID
	k.WorkspaceID, k.UserID, k.Name = owner.WorkspaceID, owner.UserID, "changed"
	return map[string]func(ctx context.Context) error{
		"Key":       func(ctx context.Context) error { _, err := s.Key(ctx, owner, id); return err },
		"LockKey":   func(ctx context.Context) error { _, err := s.LockKey(ctx, owner, id); return err },
		"UpdateKey": func(ctx context.Context) error { return s.UpdateKey(ctx, &k) },
		"PauseKey":  func(ctx context.Context) error { return s.PauseKey(ctx, owner, id, "administrator") },
		"ResumeKey": func(ctx context.Context) error { return s.ResumeKey(ctx, owner, id) },
		"RevokeKey": func(ctx context.Context) error { return s.RevokeKey(ctx, owner, id) },
		"RotateKey": func(ctx context.Context) error {
			fresh := newKey(owner, "fresh")
			return s.RotateKey(ctx, k, &fresh, s.Now().Add(time.Hour))
		},
	}
}

func TestRevokedKeyStaysAsItIs(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		list, keys := owners(t, s, w)
		for i, owner := range list {
			must(t, s.RevokeKey(ctx, owner, keys[i].ID))
		}
		s.SetClock(func() time.Time { return noon.Add(time.Minute) })
		before, generation := dump(t, s), s.Generation()
		for i, owner := range list {
			for name, call := range changes(s, keys[i], owner) {
				switch err := call(ctx); {
				case name == "Key" || name == "LockKey":
					must(t, err)
				case name == "RotateKey":
					mustBe(t, err, storage.ErrConsumed)
				case !errors.Is(err, storage.ErrNotFound):
					t.Errorf("%s: error %v", name, err)
				}
			}
			if k, err := s.Key(ctx, owner, keys[i].ID); err != nil || k.RevokedAt != storage.At(noon) ||
				k.Live(storage.At(noon)) {
				t.Errorf("revoked at %v, error %v", k.RevokedAt, err)
			}
		}
		if diff := cmp.Diff(before, dump(t, s)); diff != "" || s.Generation() != generation {
			t.Errorf("generation %d, then %d; rows changed:\n%s", generation, s.Generation(), diff)
		}
	})
}

func TestKeyNeedsAnOwnerAndATextOfItsOwn(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		before := dump(t, s)
		for _, owner := range []storage.KeyOwner{{WorkspaceID: "ws_x"}, {UserID: "user_x"}} {
			k := newKey(owner, "orphan")
			mustBe(t, s.InsertKey(system(t), &k, 10), storage.ErrNotFound)
		}
		k := newKey(w.key.Owner(), "same text")
		k.Digest = w.personal.Digest
		mustBe(t, s.InsertKey(system(t), &k, 10), storage.ErrExists)
		// The schema refuses what would be both or neither.
		for _, k := range []storage.APIKey{
			{ID: "x", Digest: []byte("x"), Kind: storage.KindAPIKey, WorkspaceID: w.workspace.ID, UserID: w.user.ID},
			{ID: "x", Digest: []byte("x"), Kind: storage.KindAPIKey, UserID: w.user.ID},
			{ID: "x", Digest: []byte("x"), Kind: storage.KindPersonalAccessToken, WorkspaceID: w.workspace.ID},
			{ID: "x", Digest: []byte("x"), Kind: storage.KindPersonalAccessToken},
			{ID: "x", Digest: []byte("x"), Kind: "other", WorkspaceID: w.workspace.ID},
		} {
			mustBe(t, s.InsertKey(system(t), &k, 10), storage.ErrUnavailable)
		}
		if diff := cmp.Diff(before, dump(t, s)); diff != "" {
			t.Errorf("rows changed:\n%s", diff)
		}
	})
}

// What belongs to a workspace or user goes with it; events, which hold ids alone, stay.
func TestKeysGoWithTheirOwner(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		// The shared workspace stays when the user goes, since it has another owner.
		must(t, s.ChangeRole(ctx, w.shared.ID, w.admin.ID, storage.RoleOwner))
		other := &world{user: w.admin, workspace: w.shared}
		other.addKeys(t, s, "Other")
		// in a workspace that stays
		s.NoteUse(storage.Use{WorkspaceID: w.shared.ID, CredentialID: w.personal.ID, Credential: w.personal.Kind})
		must(t, s.FlushUsage(ctx))
		for _, k := range []storage.APIKey{w.key, w.personal, other.key, other.personal} {
			s.TouchKey(k.ID, "192.0.2.1")
		}
		must(t, s.FlushTouches(ctx))
		rows := func() string {
			t.Helper()
			var list []string
			for _, table := range []string{
				"api_keys", "key_uses", "usage_hourly", "recent_requests", "idempotent_requests",
				"audit_events",
			} {
				list = append(list, fmt.Sprint(len(dumpTable(t, s, table))))
			}
			return strings.Join(list, " ")
		}
		if got := rows(); got != "4 4 5 5 2 2" {
			t.Fatalf("rows %s", got)
		}
		must(t, s.DeleteUser(ctx, w.user.ID))
		// What their token did in the shared workspace is that workspace's.
		if got := rows(); got != "2 2 3 2 1 2" {
			t.Errorf("rows %s after the user's end", got)
		}
		must(t, s.DeleteWorkspace(ctx, w.shared.ID))
		if got := rows(); got != "1 1 0 1 0 2" {
			t.Errorf("rows %s after the workspace's end", got)
		}
		for _, digest := range [][]byte{w.key.Digest, other.key.Digest} {
			_, err := s.KeyByDigest(ctx, digest)
			mustBe(t, err, storage.ErrNotFound)
		}
		if b, err := s.PersonalTokenByDigest(ctx, other.personal.Digest, "shared"); err != nil || b.WorkspaceID != "" {
			t.Errorf("the other's token: %+v, error %v", b, err)
		}
	})
}
