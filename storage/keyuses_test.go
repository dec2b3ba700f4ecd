package storage_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"doorward/storage"
	"doorward/test/stores"
)

// The version before key_uses wrote to api_keys, and may do so on another node. The later of both uses is shown, and
// sorted by.
func TestLastUseIsTheLaterOfBothTables(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		owner := storage.KeyOwner{WorkspaceID: w.shared.ID}
		old, fresh, both, later := insertKey(t, s, owner, "old", nil), insertKey(t, s, owner, "fresh", nil),
			insertKey(t, s, owner, "both", nil), insertKey(t, s, owner, "later", nil)
		insertKey(t, s, owner, "never", nil)
		at := func(minutes int) storage.Time { return storage.At(noon.Add(time.Duration(minutes) * time.Minute)) }
		before := func(k storage.APIKey, minutes int) {
			t.Helper()
			_, err := s.Exec(system(t), `UPDATE api_keys SET last_used_at = $2, last_used_address = 'before' WHERE id = $1`,
				k.ID, at(minutes))
			must(t, err)
		}
		before(old, 10)
		before(both, 20)
		before(later, 60)
		s.SetClock(func() time.Time { return at(50).Time() })
		for _, k := range []storage.APIKey{fresh, both, later} {
			s.TouchKey(k.ID, "now")
		}
		must(t, s.FlushTouches(system(t)))
		var got []string
		filter := storage.KeyFilter{Order: storage.Order{By: "last_used"}, Limit: 2}
		for {
			list, err := s.Keys(system(t), owner, filter)
			must(t, err)
			if len(list) == 0 {
				break
			}
			for _, k := range list {
				got = append(got, fmt.Sprintf("%s %s %v", k.Name, k.LastUsedFrom, k.LastUsedAt == 0 || k.LastUsedAt >= at(10)))
				filter.Order.After, filter.Order.Value = k.ID, k.OrderValue("last_used")
			}
		}
		first, second := "fresh now true", "both now true"
		if fresh.ID > both.ID {
			first, second = second, first
		}
		if want := []string{"never  true", "old before true", first, second, "later before true"}; fmt.Sprint(got) !=
			fmt.Sprint(want) {
			t.Errorf("keys by last use: %q, want %q", got, want)
		}
		for k, want := range map[string]storage.Time{old.ID: at(10), both.ID: at(50), later.ID: at(60)} {
			if k, err := s.KeyByID(system(t), k); err != nil || k.LastUsedAt != want {
				t.Errorf("%s was last used at %v, error %v; want %v", k.Name, k.LastUsedAt, err, want)
			}
		}
	})
}

// Rows are written in several statements and transactions, new ones and those that exist; an earlier use, from a node
// that writes later, replaces no later one.
func TestLastUsesOfManyKeys(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		owner := storage.KeyOwner{WorkspaceID: w.shared.ID}
		var keys []storage.APIKey
		for i := range 450 {
			keys = append(keys, insertKey(t, s, owner, fmt.Sprint(i), nil))
		}
		use := func(minutes int, keys []storage.APIKey) {
			t.Helper()
			s.SetClock(func() time.Time { return noon.Add(time.Duration(minutes) * time.Minute) })
			for _, k := range keys {
				s.TouchKey(k.ID, fmt.Sprint("from ", minutes))
			}
			must(t, s.FlushTouches(system(t)))
		}
		use(10, keys[:100])
		use(20, keys[50:])
		_, err := s.Exec(system(t), `UPDATE key_uses SET used_at = $2, address = 'elsewhere' WHERE key_id = $1`, keys[449].ID,
			storage.At(noon.Add(time.Hour)))
		must(t, err)
		use(30, keys[400:])
		got := map[string]int{}
		list, err := s.Keys(system(t), owner, storage.KeyFilter{Limit: 1000})
		must(t, err)
		for _, k := range list {
			got[fmt.Sprint(k.LastUsedFrom, " ", k.LastUsedAt.Time().Format("15:04"))]++
		}
		want := map[string]int{"from 10 12:10": 50, "from 20 12:20": 350, "from 30 12:30": 49, "elsewhere 13:00": 1}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("keys by their last use: %v, want %v", got, want)
		}
	})
}

// The uses of a key have no foreign key to it, and go with it all the same.
func TestUsesAreDeletedWithTheirKey(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		revoked := insertKey(t, s, w.key.Owner(), "revoked", nil)
		expired := insertKey(t, s, storage.KeyOwner{}, "expired", func(k *storage.APIKey) {
			k.ExpiresAt = s.Now().Add(time.Hour)
		})
		must(t, s.RevokeKey(system(t), revoked.Owner(), revoked.ID))
		for _, k := range []storage.APIKey{w.key, revoked, expired} {
			s.TouchKey(k.ID, "192.0.2.1")
			s.NoteUse(storage.Use{CredentialID: k.ID, Credential: k.Kind})
		}
		must(t, s.FlushTouches(system(t)))
		must(t, s.FlushUsage(system(t)))
		rows := func() string {
			t.Helper()
			return fmt.Sprint(len(dumpTable(t, s, "api_keys")), len(dumpTable(t, s, "key_uses")),
				len(dumpTable(t, s, "recent_requests")))
		}
		if got := rows(); got != "4 3 5" { // two requests are of the new world
			t.Fatalf("rows %s", got)
		}
		s.SetClock(func() time.Time { return noon.Add(26 * time.Hour) })
		if _, err := s.PurgeHistory(system(t), day, day); err != nil || rows() != "2 1 3" {
			t.Errorf("rows %s after a purge, error %v", rows(), err)
		}
	})
}

// No write of a use comes after the deletion of its key and workspace: the deletion waits for a write that has found
// them just before.
func TestDeletionLeavesNoUses(t *testing.T) {
	for _, table := range []string{"key_uses", "usage_hourly", "recent_requests"} {
		t.Run(table, func(t *testing.T) {
			s := stores.Open(t, stores.PostgreSQL(t))
			w := newWorld(t, stopped(s))
			owner, watch := connectOwner(t, s), connectOwner(t, s)
			// The write stops when its row is on its way to the table.
			_, err := owner.Exec(t.Context(), `CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				PERFORM pg_advisory_xact_lock(1); RETURN NEW; END $$;
				CREATE TRIGGER stop BEFORE INSERT ON `+table+` FOR EACH ROW EXECUTE FUNCTION stop();
				SELECT pg_advisory_lock(1)`)
			must(t, err)
			key := insertKey(t, s, w.key.Owner(), "used", nil)
			s.TouchKey(key.ID, "192.0.2.1")
			s.NoteUse(storage.Use{WorkspaceID: w.workspace.ID, CredentialID: key.ID, Credential: key.Kind})
			written, deleted := make(chan error, 1), make(chan error, 1)
			untilWaiting := func(want int) {
				t.Helper()
				for n := 0; n < want && len(deleted) == 0; {
					must(t, watch.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted
						AND locktype = 'advisory' AND database = (SELECT oid FROM pg_database
						WHERE datname = current_database())`).Scan(&n))
				}
			}
			go func() { written <- errors.Join(s.FlushTouches(system(t)), s.FlushUsage(system(t))) }()
			untilWaiting(1)
			go func() { deleted <- s.DeleteUser(system(t), w.user.ID) }()
			untilWaiting(2)
			_, err = owner.Exec(t.Context(), `SELECT pg_advisory_unlock(1)`)
			must(t, err)
			must(t, <-written)
			must(t, <-deleted)
			n, err := s.Count(system(t), `SELECT count(*) FROM `+table+` WHERE workspace_id = $1`, w.workspace.ID)
			if err != nil || n != 0 {
				t.Errorf("%d rows of %s are left, error %v", n, table, err)
			}
		})
	}
}
