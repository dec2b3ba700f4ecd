package storage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"doorward/storage"
)

// insertKey adds a key that an owner could have, changed as told.
func insertKey(t *testing.T, s *storage.Store, owner storage.KeyOwner, name string, change func(*storage.APIKey)) storage.APIKey {
	t.Helper()
	k := newKey(owner, name)
	if change != nil {
		change(&k)
	}
	must(t, s.InsertKey(system(t), &k, 1000))
	return k
}

// withoutDigest is a key as it is read.
func withoutDigest(k storage.APIKey) storage.APIKey {
	k.Digest = nil
	return k
}

// deciding is what a request with a key reads of it.
func deciding(k storage.APIKey) storage.APIKey {
	k.Digest, k.Name, k.Note, k.Prefix, k.Tail = nil, "", "", "", ""
	return k
}

func TestKeyIsReadAsItWasWritten(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		for name, owner := range map[string]storage.KeyOwner{"workspace": {WorkspaceID: w.shared.ID}, "user": {UserID: w.user.ID}, "nobody": {}} {
			k := insertKey(t, s, owner, "Name", func(k *storage.APIKey) {
				k.Note, k.Scopes, k.ScopesByObject, k.Role, k.Plan, k.RateLimit = "Note", storage.List{"read", "accounts:write"}, true, "member", "pro", 7
				k.Addresses, k.Counter, k.CreatedBy, k.ExpiresAt = storage.List{"192.0.2.0/24", "2001:db8::/32"}, "key_first", w.admin.ID, s.Now().Add(time.Hour)
			})
			got, err := s.Key(system(t), owner, k.ID)
			if diff := cmp.Diff(withoutDigest(k), got); diff != "" || err != nil {
				t.Errorf("%s: error %v (-written +read):\n%s", name, err, diff)
			}
			if byID, err := s.KeyByID(system(t), k.ID); !cmp.Equal(byID, got) || err != nil {
				t.Errorf("%s: by id %+v, error %v", name, byID, err)
			}
			if got.CreatedAt != s.Now() || got.Owner() != owner {
				t.Errorf("%s: made at %v, of %+v", name, got.CreatedAt, got.Owner())
			}
		}
		if first := insertKey(t, s, storage.KeyOwner{WorkspaceID: w.shared.ID}, "First", nil); first.Counter != first.ID {
			t.Errorf("a first key is counted as %q", first.Counter)
		}
	})
}

func TestKeyByDigestSaysWhatDecides(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		must(t, s.UpdateWorkspace(ctx, w.shared.ID, nil, new("pro")))
		k := insertKey(t, s, storage.KeyOwner{WorkspaceID: w.shared.ID}, "Key", func(k *storage.APIKey) {
			k.CreatedBy, k.Scopes, k.ScopesByObject, k.Plan, k.RateLimit = w.admin.ID, storage.List{"accounts:read"}, true, "pro", 7
			k.Addresses, k.Counter, k.ExpiresAt = storage.List{"192.0.2.0/24"}, "key_first", s.Now().Add(time.Hour)
		})
		introspects := insertKey(t, s, storage.KeyOwner{}, "Resource", nil)
		check := func(what string, digest []byte, want storage.KeyBearer) {
			t.Helper()
			got, err := s.KeyByDigest(ctx, digest)
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
				t.Errorf("%s: error %v (-want +got):\n%s", what, err, diff)
			}
		}
		want := storage.KeyBearer{Key: deciding(k), WorkspaceID: w.shared.ID, WorkspaceSlug: "shared", WorkspacePlan: "pro"}
		check("a key", k.Digest, want)
		check("a key to introspect", introspects.Digest, storage.KeyBearer{Key: deciding(introspects)})

		// It outlives its maker's membership, and so their account.
		must(t, s.RemoveMember(ctx, w.shared.ID, w.admin.ID))
		must(t, s.DisableUser(ctx, w.admin.ID))
		check("its maker is gone", k.Digest, want)
		must(t, s.DisableWorkspace(ctx, w.shared.ID))
		want.WorkspaceDisabled = true
		check("its workspace is disabled", k.Digest, want)
		must(t, s.PauseKey(ctx, k.Owner(), k.ID, "administrator"))
		want.Key.PausedAt = s.Now()
		check("it is paused", k.Digest, want)

		_, err := s.KeyByDigest(ctx, w.personal.Digest)
		mustBe(t, err, storage.ErrNotFound)
		_, err = s.PersonalTokenByDigest(ctx, k.Digest, "shared")
		mustBe(t, err, storage.ErrNotFound)
		_, err = s.KeyByDigest(ctx, storage.Digest("unknown"))
		mustBe(t, err, storage.ErrNotFound)
	})
}

// K-16, K-18: a workspace that a token's user is not in, and one that is none, are the same, and say nothing.
func TestK18_PersonalTokenByDigestSaysWhatDecides(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		must(t, s.UpdateWorkspace(ctx, w.shared.ID, nil, new("pro")))
		foreign := storage.Workspace{ID: storage.NewID("ws"), Slug: "foreign", Name: "Foreign", Plan: "pro"}
		must(t, s.InsertWorkspace(ctx, foreign, w.otherAdmin.ID))
		k := insertKey(t, s, storage.KeyOwner{UserID: w.admin.ID}, "Token", func(k *storage.APIKey) { k.Role, k.Addresses = "member", storage.List{"::1/128"} })
		check := func(what, slug string, want storage.KeyBearer) {
			t.Helper()
			want.Key = deciding(k)
			got, err := s.PersonalTokenByDigest(ctx, k.Digest, slug)
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
				t.Errorf("%s, %q: error %v (-want +got):\n%s", what, slug, err, diff)
			}
		}
		shared := storage.KeyBearer{WorkspaceID: w.shared.ID, WorkspaceSlug: "shared", WorkspacePlan: "pro", Role: "member"}
		check("a member", "shared", shared)
		none := append([]string{
			"foreign", "nowhere", "SHARED", "Shared", "shared ", " shared", "share", "shared%", "%", "_hared", "*", "shared%00", "%73hared", "shared\x00", "\x00",
			"\xff", "shared\xc3", w.shared.ID, w.workspace.Slug, "shared,foreign", "ſhared",
		}, hostile...)
		for _, slug := range none {
			check("no workspace of theirs", slug, storage.KeyBearer{})
		}
		// Without a workspace, what they are at the least somewhere.
		check("none", "", storage.KeyBearer{LowestRole: "member"})
		must(t, s.AddMember(ctx, foreign.ID, w.admin.ID, "viewer"))
		check("none", "", storage.KeyBearer{LowestRole: "viewer"})
		must(t, s.ChangeRole(ctx, foreign.ID, w.admin.ID, "owner"))
		check("none", "", storage.KeyBearer{LowestRole: "member"})
		must(t, s.RemoveMember(ctx, foreign.ID, w.admin.ID))
		// Decided at each request.
		must(t, s.ChangeRole(ctx, w.shared.ID, w.admin.ID, "viewer"))
		shared.Role = "viewer"
		check("another role", "shared", shared)
		must(t, s.DisableWorkspace(ctx, w.shared.ID))
		must(t, s.DisableWorkspace(ctx, foreign.ID))
		shared.WorkspaceDisabled = true
		check("a disabled workspace", "shared", shared)
		check("a disabled workspace that they are not in", "foreign", storage.KeyBearer{})
		check("a disabled workspace that is not meant", "", storage.KeyBearer{LowestRole: "viewer"})
		must(t, s.EnableWorkspace(ctx, w.shared.ID))
		must(t, s.DisableUser(ctx, w.admin.ID))
		shared.WorkspaceDisabled, shared.UserDisabled = false, true
		check("a disabled user", "shared", shared)
		check("a disabled user", "", storage.KeyBearer{UserDisabled: true, LowestRole: "viewer"})
		must(t, s.EnableUser(ctx, w.admin.ID))
		must(t, s.RemoveMember(ctx, w.shared.ID, w.admin.ID))
		check("no member any more", "shared", storage.KeyBearer{})
	})
}

// names are those of keys, the order of which is told.
func names(t *testing.T, list []storage.APIKey, err error) string {
	t.Helper()
	must(t, err)
	var all []string
	for _, k := range list {
		if k.Digest != nil {
			t.Errorf("%s: a list holds the digest", k.Name)
		}
		all = append(all, k.Name)
	}
	return strings.Join(all, " ")
}

func TestKeysAreFilteredAndPaged(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		owner := storage.KeyOwner{WorkspaceID: w.shared.ID}
		add := func(name string, change func(*storage.APIKey)) storage.APIKey {
			t.Helper()
			return insertKey(t, s, owner, name, change)
		}
		now := s.Now()
		live := add("live", func(k *storage.APIKey) { k.CreatedBy = w.admin.ID })
		test := add("test", func(k *storage.APIKey) { k.Environment, k.ExpiresAt = "test", now+1 })
		paused := add("paused", nil)
		add("ended", func(k *storage.APIKey) { k.ExpiresAt, k.CreatedBy = now, w.admin.ID })
		pausedEnded := add("paused-ended", func(k *storage.APIKey) { k.ExpiresAt = now - 1 })
		revoked := add("revoked", nil)
		revokedEnded := add("revoked-ended", func(k *storage.APIKey) { k.ExpiresAt = now - 1 })
		must(t, errors.Join(s.PauseKey(ctx, owner, paused.ID, "administrator"), s.PauseKey(ctx, owner, pausedEnded.ID, "administrator"), s.PauseKey(ctx, owner, revoked.ID, "administrator"),
			s.RevokeKey(ctx, owner, revoked.ID), s.RevokeKey(ctx, owner, revokedEnded.ID)))
		for _, c := range []struct {
			filter storage.KeyFilter
			want   string
		}{
			{storage.KeyFilter{}, "revoked-ended revoked paused-ended ended paused test live"},
			{storage.KeyFilter{State: "active"}, "test live"},
			{storage.KeyFilter{State: "paused"}, "paused"},
			{storage.KeyFilter{State: "expired"}, "paused-ended ended"},
			{storage.KeyFilter{State: "revoked"}, "revoked-ended revoked"},
			{storage.KeyFilter{Environment: "test"}, "test"},
			{storage.KeyFilter{Environment: "live", State: "active"}, "live"},
			{storage.KeyFilter{Environment: "%"}, ""},
			{storage.KeyFilter{CreatedBy: w.admin.ID}, "ended live"},
			{storage.KeyFilter{CreatedBy: w.admin.ID, State: "expired", Search: "END"}, "ended"},
			{storage.KeyFilter{Digest: paused.Digest}, "paused"},
			{storage.KeyFilter{Digest: []byte{}}, ""},
			{storage.KeyFilter{Digest: w.key.Digest}, ""}, // another workspace's
			{storage.KeyFilter{Search: "ended"}, "revoked-ended paused-ended ended"},
			{storage.KeyFilter{After: revoked.ID, Search: "ended"}, "paused-ended ended"},
			{storage.KeyFilter{After: live.ID}, ""},
			{storage.KeyFilter{After: "key_"}, ""},
		} {
			c.filter.Limit = 100
			list, err := s.Keys(ctx, owner, c.filter)
			if got := names(t, list, err); got != c.want {
				t.Errorf("%+v: %q, want %q", c.filter, got, c.want)
			}
		}
		var pages []string
		for after, n := "", 0; n < 5; n++ {
			list, err := s.Keys(ctx, owner, storage.KeyFilter{After: after, Limit: 3})
			pages = append(pages, names(t, list, err))
			if len(list) == 0 {
				break
			}
			after = list[len(list)-1].ID
		}
		if got := strings.Join(pages, "|"); got != "revoked-ended revoked paused-ended|ended paused test|live|" {
			t.Errorf("pages %q", got)
		}

		// By use, those that were never used at the end.
		at := func(d time.Duration, k storage.APIKey) {
			s.SetClock(func() time.Time { return noon.Add(d) })
			s.TouchKey(k.ID, "192.0.2.1")
			must(t, s.FlushTouches(ctx))
		}
		at(time.Second, paused)
		at(2*time.Second, live)
		at(2*time.Second, test)
		pages = nil
		filter := storage.KeyFilter{ByUse: true, Limit: 2}
		for range 5 {
			list, err := s.Keys(ctx, owner, filter)
			pages = append(pages, names(t, list, err))
			if len(list) == 0 {
				break
			}
			filter.After, filter.AfterUse = list[len(list)-1].ID, list[len(list)-1].LastUsedAt
		}
		if got := strings.Join(pages, "|"); got != "test live|paused revoked-ended|revoked paused-ended|ended|" {
			t.Errorf("pages by use %q", got)
		}
		var all []storage.APIKey
		for after := ""; ; after = all[len(all)-1].ID {
			page, err := s.LiveKeys(ctx, after, 2)
			must(t, err)
			if len(page) == 0 {
				break
			}
			all = append(all, page...)
		}
		s.SetClock(func() time.Time { return noon })
		if got := names(t, slices.DeleteFunc(all, func(k storage.APIKey) bool { return k.Owner() != owner }), nil); got != "live paused" {
			t.Errorf("live keys %q", got)
		}
	})
}

func TestS01_KeySearchTakesWildcardsAsTheyAre(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		owner := storage.KeyOwner{WorkspaceID: w.shared.ID}
		all := []string{"100%", "a_b", "wow!", "Überblick", `back\slash`, "plain"}
		for _, name := range all {
			insertKey(t, s, owner, name, nil)
		}
		for search, want := range map[string]string{
			"%": "100%", "_": "a_b", "!": "wow!", `\`: `back\slash`, "a%b": "", "0%": "100%", "%%": "", "axb": "", "ÜBER": "Überblick", "u\u0308ber": "Überblick",
			"PLAIN": "plain", " plain ": "plain", "key": "", "'": "", "' OR '1'='1": "", "": `plain back\slash Überblick wow! a_b 100%`,
			strings.Repeat("%", 100_000): "",
		} {
			list, err := s.Keys(system(t), owner, storage.KeyFilter{Search: search, Limit: 100})
			if got := names(t, list, err); got != want {
				t.Errorf("search %.20q: %q, want %q", search, got, want)
			}
		}
		list, err := s.Keys(system(t), owner, storage.KeyFilter{Search: "100", Limit: 1})
		must(t, err)
		list[0].Name = "Åsa"
		must(t, s.UpdateKey(system(t), &list[0]))
		list, err = s.Keys(system(t), owner, storage.KeyFilter{Search: "åSA", Limit: 100})
		if got := names(t, list, err); got != "Åsa" {
			t.Errorf("after the new name: %q", got)
		}
	})
}

// owners are a workspace, another, a user, another, and nobody, with a key of each.
func owners(t *testing.T, s *storage.Store, w *world) ([]storage.KeyOwner, []storage.APIKey) {
	t.Helper()
	personal, err := s.PersonalWorkspace(system(t), w.admin.ID)
	must(t, err)
	list := []storage.KeyOwner{{WorkspaceID: w.shared.ID}, {WorkspaceID: personal.ID}, {UserID: w.admin.ID}, {UserID: w.otherAdmin.ID}, {}}
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
					if err := call(ctx); !errors.Is(err, storage.ErrNotFound) && (name != "RotateKey" || !errors.Is(err, storage.ErrConsumed)) {
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
		"HoldKey":   func(ctx context.Context) error { _, err := s.HoldKey(ctx, owner, id); return err },
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
				case name == "Key" || name == "HoldKey":
					must(t, err)
				case name == "RotateKey":
					mustBe(t, err, storage.ErrConsumed)
				case !errors.Is(err, storage.ErrNotFound):
					t.Errorf("%s: error %v", name, err)
				}
			}
			if k, err := s.Key(ctx, owner, keys[i].ID); err != nil || k.RevokedAt != storage.At(noon) || k.Live(storage.At(noon)) {
				t.Errorf("revoked at %v, error %v", k.RevokedAt, err)
			}
		}
		if diff := cmp.Diff(before, dump(t, s)); diff != "" || s.Generation() != generation {
			t.Errorf("generation %d, then %d; rows changed:\n%s", generation, s.Generation(), diff)
		}
	})
}

func TestKeyIsPausedAndResumed(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		paused := func() storage.Time {
			t.Helper()
			k, err := s.Key(ctx, w.key.Owner(), w.key.ID)
			must(t, err)
			return k.PausedAt
		}
		must(t, s.PauseKey(ctx, w.key.Owner(), w.key.ID, "administrator"))
		s.SetClock(func() time.Time { return noon.Add(time.Minute) })
		must(t, s.PauseKey(ctx, w.key.Owner(), w.key.ID, "administrator"))
		if got := paused(); got != storage.At(noon) {
			t.Errorf("paused at %v, want when it was first", got)
		}
		must(t, s.ResumeKey(ctx, w.key.Owner(), w.key.ID))
		must(t, s.ResumeKey(ctx, w.key.Owner(), w.key.ID))
		if got := paused(); got != 0 {
			t.Errorf("paused at %v after it was resumed", got)
		}
	})
}

// UpdateKey writes what it says and nothing else, whatever else the record holds.
func TestK12_UpdateChangesNothingThatIsFixed(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		k := w.key
		k.Name, k.Note, k.Scopes, k.ScopesByObject, k.Plan, k.RateLimit, k.Addresses, k.Role = "New", "note", storage.List{"write"}, true, "pro", 5, storage.List{"192.0.2.1/32"}, "viewer"
		want := withoutDigest(k)
		k.Digest, k.Kind, k.Resource, k.Environment, k.Prefix, k.Tail, k.Counter = storage.Digest("x"), "personal_access_token", "x", "test", "x", "x", "x"
		k.RotatedInto, k.CreatedBy, k.CreatedAt, k.ExpiresAt, k.PausedAt, k.RevokedAt, k.LastUsedAt, k.LastUsedFrom = "x", "x", 1, 1, 1, 1, 1, "x"
		must(t, s.UpdateKey(system(t), &k))
		got, err := s.Key(system(t), w.key.Owner(), w.key.ID)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Errorf("error %v (-want +got):\n%s", err, diff)
		}
		if _, err := s.KeyByDigest(system(t), w.key.Digest); err != nil {
			t.Errorf("by its digest: %v", err)
		}
	})
}

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
				t.Errorf("%s: ends at %v, want %v; rotated into %q, revoked at %v", name, got.Key.ExpiresAt, c.want, got.Key.RotatedInto, got.Key.RevokedAt)
			}
			if got.Key.Live(c.want) || !got.Key.Live(c.want-1) {
				t.Errorf("%s: live at its end %v, a microsecond before %v", name, got.Key.Live(c.want), got.Key.Live(c.want-1))
			}
			successor, err := s.KeyByDigest(ctx, fresh.Digest)
			must(t, err)
			if k := successor.Key; k.Counter != old.ID || k.ExpiresAt != c.end || k.RotatedInto != "" || !k.RevokedAt.IsZero() {
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
			insertKey(t, s, owner, "ended", func(k *storage.APIKey) { k.ExpiresAt = s.Now() }), insertKey(t, s, owner, "live", nil)
		fresh := newKey(owner, "fresh")
		must(t, s.RotateKey(ctx, rotated, &fresh, s.Now().Add(time.Hour)))
		must(t, s.RevokeKey(ctx, owner, revoked.ID))
		before, generation := dump(t, s), s.Generation()
		for _, k := range []storage.APIKey{rotated, revoked, ended, newKey(owner, "never was")} {
			fresh := newKey(owner, "fresh")
			if err := s.RotateKey(ctx, k, &fresh, s.Now().Add(time.Hour)); !errors.Is(err, storage.ErrConsumed) {
				t.Errorf("%s: error %v", k.Name, err)
			}
		}
		taken := newKey(owner, "fresh")
		taken.Digest = revoked.Digest
		mustBe(t, s.RotateKey(ctx, live, &taken, s.Now().Add(time.Hour)), storage.ErrExists)
		if diff := cmp.Diff(before, dump(t, s)); diff != "" || s.Generation() != generation {
			t.Errorf("generation %d, then %d; rows changed:\n%s", generation, s.Generation(), diff)
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

// Whoever meets a rotation, a revocation wins or comes first: never is a key revoked and live again.
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
			if k, err := s.Key(system(t), owner, old.ID); err != nil || k.Live(s.Now()) || (k.RotatedInto == "") != (rotated != nil) {
				t.Errorf("live %v, rotated into %q (%v), error %v", k.Live(s.Now()), k.RotatedInto, rotated, err)
			}
		}
	})
}

func TestK26_BoundCountsLiveKeysOfTheOwner(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		for name, owner := range map[string]storage.KeyOwner{"workspace": {WorkspaceID: w.shared.ID}, "user": {UserID: w.admin.ID}} {
			insert := func(change func(*storage.APIKey)) (storage.APIKey, error) {
				k := newKey(owner, name)
				if change != nil {
					change(&k)
				}
				return k, s.InsertKey(ctx, &k, 3)
			}
			first, err := insert(nil)
			must(t, err)
			second, err := insert(func(k *storage.APIKey) { k.ExpiresAt = s.Now().Add(time.Minute) })
			must(t, err)
			_, err = insert(func(k *storage.APIKey) { k.ExpiresAt = s.Now() }) // has ended, so it does not count
			must(t, err)
			third, err := insert(nil)
			must(t, err)
			must(t, s.PauseKey(ctx, owner, third.ID, "administrator")) // still counts
			full := func(what string) {
				t.Helper()
				before := dumpTable(t, s, "api_keys")
				if _, err := insert(nil); !errors.Is(err, storage.ErrConflict) {
					t.Errorf("%s, %s: error %v", name, what, err)
				}
				if diff := cmp.Diff(before, dumpTable(t, s, "api_keys")); diff != "" {
					t.Errorf("%s, %s: rows changed:\n%s", name, what, diff)
				}
			}
			full("three are live")
			// Rotating makes no more of them than there are.
			fresh := newKey(owner, "fresh")
			must(t, s.RotateKey(ctx, first, &fresh, s.Now()))
			full("one of three was rotated")
			must(t, s.RevokeKey(ctx, owner, fresh.ID))
			_, err = insert(nil)
			must(t, err)
			full("one was revoked and one added")
			s.SetClock(func() time.Time { return second.ExpiresAt.Time() })
			_, err = insert(nil)
			must(t, err)
			full("one ended and one was added")
			s.SetClock(func() time.Time { return noon })
		}
		// Others have their own count.
		for _, owner := range []storage.KeyOwner{{WorkspaceID: w.workspace.ID}, {UserID: w.otherAdmin.ID}, {}} {
			k := newKey(owner, "another's")
			must(t, s.InsertKey(ctx, &k, 3))
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
		s.NoteUse(storage.Use{WorkspaceID: w.shared.ID, CredentialID: w.personal.ID, Credential: w.personal.Kind}) // in a workspace that stays
		must(t, s.FlushUsage(ctx))
		rows := func() string {
			t.Helper()
			var list []string
			for _, table := range []string{"api_keys", "usage_hourly", "recent_requests", "idempotent_requests", "audit_events"} {
				list = append(list, fmt.Sprint(len(dumpTable(t, s, table))))
			}
			return strings.Join(list, " ")
		}
		if got := rows(); got != "4 5 5 2 2" {
			t.Fatalf("rows %s", got)
		}
		must(t, s.DeleteUser(ctx, w.user.ID))
		// What their token did in the shared workspace is that workspace's.
		if got := rows(); got != "2 3 2 1 2" {
			t.Errorf("rows %s after the user's end", got)
		}
		must(t, s.DeleteWorkspace(ctx, w.shared.ID))
		if got := rows(); got != "1 0 1 0 2" {
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
