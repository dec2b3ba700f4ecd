package storage_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"doorward/storage"
)

// insertKey adds a key that an owner could have, changed as told.
func insertKey(t *testing.T, s *storage.Store, owner storage.KeyOwner, name string,
	change func(*storage.APIKey),
) storage.APIKey {
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
		for name, owner := range map[string]storage.KeyOwner{
			"workspace": {WorkspaceID: w.shared.ID},
			"user":      {UserID: w.user.ID}, "nobody": {},
		} {
			k := insertKey(t, s, owner, "Name", func(k *storage.APIKey) {
				k.Note, k.Scopes, k.ScopesByObject, k.Role, k.Plan, k.RateLimit = "Note", storage.List{
					"read",
					"accounts:write",
				}, true, "member", "pro", 7
				k.Addresses, k.Counter, k.CreatedBy, k.ExpiresAt = storage.List{"192.0.2.0/24", "2001:db8::/32"},
					"key_first", w.admin.ID, s.Now().Add(time.Hour)
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
		if first := insertKey(t, s, storage.KeyOwner{WorkspaceID: w.shared.ID}, "First",
			nil); first.Counter != first.ID {
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
			k.CreatedBy, k.Scopes, k.ScopesByObject, k.Plan, k.RateLimit = w.admin.ID, storage.List{"accounts:read"},
				true, "pro", 7
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
		want := storage.KeyBearer{
			Key: deciding(k), WorkspaceID: w.shared.ID, WorkspaceSlug: "shared",
			WorkspacePlan: "pro",
		}
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
		k := insertKey(t, s, storage.KeyOwner{UserID: w.admin.ID}, "Token", func(k *storage.APIKey) {
			k.Role,
				k.Addresses = "member", storage.List{"::1/128"}
		})
		check := func(what, slug string, want storage.KeyBearer) {
			t.Helper()
			want.Key = deciding(k)
			got, err := s.PersonalTokenByDigest(ctx, k.Digest, slug)
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
				t.Errorf("%s, %q: error %v (-want +got):\n%s", what, slug, err, diff)
			}
		}
		shared := storage.KeyBearer{
			WorkspaceID: w.shared.ID, WorkspaceSlug: "shared", WorkspacePlan: "pro",
			Role: "member",
		}
		check("a member", "shared", shared)
		none := append([]string{
			"foreign", "nowhere", "SHARED", "Shared", "shared ", " shared", "share", "shared%", "%", "_hared", "*",
			"shared%00", "%73hared", "shared\x00", "\x00",
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

// names returns the names of keys, in the order in which they were listed.
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
		must(t, errors.Join(s.PauseKey(ctx, owner, paused.ID, "administrator"), s.PauseKey(ctx, owner, pausedEnded.ID,
			"administrator"), s.PauseKey(ctx, owner, revoked.ID, "administrator"), s.RevokeKey(ctx, owner, revoked.ID),
			s.RevokeKey(ctx, owner, revokedEnded.ID)))
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
		filter := storage.KeyFilter{Order: storage.Order{By: "last_used", Descending: true}, Limit: 2}
		for range 5 {
			list, err := s.Keys(ctx, owner, filter)
			pages = append(pages, names(t, list, err))
			if len(list) == 0 {
				break
			}
			filter.Order.After, filter.Order.Value = list[len(list)-1].ID, list[len(list)-1].OrderValue("last_used")
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
		if got := names(t, slices.DeleteFunc(all, func(k storage.APIKey) bool {
			return k.Owner() != owner
		}), nil); got != "live paused" {
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
			"%": "100%", "_": "a_b", "!": "wow!", `\`: `back\slash`, "a%b": "", "0%": "100%", "%%": "", "axb": "",
			"ÜBER": "Überblick", "u\u0308ber": "Überblick",
			"PLAIN": "plain", " plain ": "plain", "key": "", "'": "", "' OR '1'='1": "",
			"":                           `plain back\slash Überblick wow! a_b 100%`,
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

// UpdateKey writes what it says and nothing else, even if the record holds more.
func TestK12_UpdateChangesNothingThatIsFixed(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		k := w.key
		k.Name, k.Note, k.Scopes, k.ScopesByObject, k.Plan, k.RateLimit, k.Addresses, k.Role = "New", "note",
			storage.List{"write"}, true, "pro", 5, storage.List{"192.0.2.1/32"}, "viewer"
		want := withoutDigest(k)
		k.Digest, k.Kind, k.Resource, k.Environment, k.Prefix, k.Tail, k.Counter = storage.Digest("x"),
			"personal_access_token", "x", "test", "x", "x", "x"
		k.RotatedInto, k.CreatedBy, k.CreatedAt, k.ExpiresAt, k.PausedAt, k.RevokedAt, k.LastUsedAt,
			k.LastUsedFrom = "x", "x", 1, 1, 1, 1, 1, "x"
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

func TestK26_BoundCountsLiveKeysOfTheOwner(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		for name, owner := range map[string]storage.KeyOwner{
			"workspace": {WorkspaceID: w.shared.ID},
			"user":      {UserID: w.admin.ID},
		} {
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
