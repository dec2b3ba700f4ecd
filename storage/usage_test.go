package storage_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/storage"
	"doorward/test/stores"
)

// used counts requests with a key in its workspace.
func used(s *storage.Store, workspaceID string, k storage.APIKey, allowed, limited, refused int) {
	use := storage.Use{
		WorkspaceID: workspaceID, CredentialID: k.ID, Credential: k.Kind, RequestID: "request",
		Action: "introspect", Status: 200, Address: "192.0.2.1",
	}
	for range allowed {
		s.NoteUse(use)
	}
	use.Reason, use.Status = "the credential lacks the scope admin", 403
	for range refused {
		s.NoteUse(use)
	}
	use.Limited, use.Reason, use.Status = true, "rate limit exceeded", 429
	for range limited {
		s.NoteUse(use)
	}
}

// usage is what is stored of a workspace, without what a new world brings along: the hours after noon.
func usage(t *testing.T, s *storage.Store, workspaceID, credentialID string, since, until time.Time) string {
	t.Helper()
	list, err := s.UsageOf(system(t), workspaceID, credentialID, storage.At(since), storage.At(until))
	return inWords(t, list, err)
}

func inWords(t *testing.T, list []storage.Usage, err error) string {
	t.Helper()
	must(t, err)
	var rows []string
	for _, u := range list {
		rows = append(rows, fmt.Sprintf("%s %s: %d %d %d", u.Hour.Time().Format("02T15:04:05"), u.Credential, u.Allowed,
			u.Limited, u.Refused))
	}
	return strings.Join(rows, ", ")
}

var day = 24 * time.Hour

func TestUsageIsSummedByTheHour(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		at := func(d time.Duration) { s.SetClock(func() time.Time { return noon.Add(d) }) }
		flush := func() { t.Helper(); must(t, s.FlushUsage(system(t))) }
		at(time.Hour)
		used(s, w.shared.ID, w.key, 3, 2, 1)
		flush()
		flush() // writes nothing twice
		at(2*time.Hour - time.Microsecond)
		used(s, w.shared.ID, w.key, 1, 0, 0)
		used(s, w.shared.ID, w.personal, 0, 0, 4)
		flush()
		at(2 * time.Hour)
		used(s, w.shared.ID, w.key, 0, 5, 0)
		used(s, w.workspace.ID, w.key, 7, 0, 0) // of another workspace
		used(s, "", w.key, 9, 0, 0)             // of no workspace
		flush()
		at(25 * time.Hour)
		s.NoteUse(storage.Use{WorkspaceID: w.shared.ID, CredentialID: w.client.ID, Credential: "access_token"})
		flush()

		first, second, last := "22T13:00:00 api_key: 4 2 1", "22T14:00:00 api_key: 0 5 0",
			"23T13:00:00 access_token: 1 0 0"
		token := "22T13:00:00 personal_access_token: 0 0 4"
		for _, c := range []struct {
			credential   string
			since, until time.Duration
			want         []string
		}{
			{"", 0, 3 * day, []string{first, token, second, last}},
			{"", time.Hour, 2 * time.Hour, []string{first, token}},
			{"", time.Hour + time.Microsecond, 2*time.Hour + time.Microsecond, []string{second}},
			{w.key.ID, 0, 3 * day, []string{first, second}},
			{w.personal.ID, 0, 3 * day, []string{token}},
			{"%", 0, 3 * day, nil},
			{w.client.ID, 0, 25 * time.Hour, nil},
		} {
			if got := usage(t, s, w.shared.ID, c.credential, noon.Add(c.since),
				noon.Add(c.until)); got != strings.Join(c.want, ", ") {
				t.Errorf("%s from %v until %v: %s, want %v", c.credential, c.since, c.until, got, c.want)
			}
		}
		for credential, want := range map[string]string{
			"": "22T00:00:00 api_key: 4 7 1, 22T00:00:00 personal_access_token: 0 0 4, 23T00:00:00 " +
				"access_token: 1 0 0",
			w.key.ID:   "22T00:00:00 api_key: 4 7 1",
			"no such":  "",
			w.grant.ID: "",
		} {
			list, err := s.UsageByDay(system(t), w.shared.ID, credential, storage.At(noon), storage.At(noon.Add(3*day)))
			if got := inWords(t, list, err); got != want {
				t.Errorf("by the day of %q: %s, want %s", credential, got, want)
			}
		}
	})
}

// Two nodes, which write at the same moment, lose nothing to each other.
func TestUsageOfTwoNodesIsSummed(t *testing.T) {
	for engine, url := range map[string]string{"sqlite": stores.SQLite(t), "postgresql": stores.PostgreSQL(t)} {
		t.Run(engine, func(t *testing.T) {
			nodes := []*storage.Store{stopped(stores.Open(t, url)), stopped(stores.Open(t, url))}
			w := newWorld(t, nodes[0])
			keys := []storage.APIKey{w.key, w.personal}
			for range 20 {
				keys = append(keys, insertKey(t, nodes[0], storage.KeyOwner{WorkspaceID: w.shared.ID}, "Key", nil))
			}
			const rounds = 10
			_, errs := atOnce(8, func(i int) error {
				for round := range rounds {
					order := slices.Clone(keys)
					if (i+round)%2 == 0 {
						slices.Reverse(order)
					}
					for _, k := range order {
						used(nodes[i%2], w.shared.ID, k, 1, 1, 1)
					}
					// A wait that was too long loses nothing either.
					if err := nodes[i%2].FlushUsage(system(t)); err != nil && !errors.Is(err, storage.ErrUnavailable) {
						return err
					}
				}
				return nil
			})
			for _, err := range append(errs, nodes[0].FlushUsage(system(t)), nodes[1].FlushUsage(system(t))) {
				must(t, err)
			}
			for _, k := range keys {
				if got, want := usage(t, nodes[0], w.shared.ID, k.ID, noon, noon.Add(day)),
					fmt.Sprintf("22T12:00:00 %s: 80 80 80", k.Kind); got != want {
					t.Errorf("%s, want %s", got, want)
				}
			}
		})
	}
}

// refuse makes the database refuse a row with a text in a column of a table, until it is called.
func refuse(t *testing.T, s *storage.Store, table, column, text string) (accept func()) {
	t.Helper()
	do := func(sqlite, postgres string) {
		t.Helper()
		var err error
		if s.Engine() == "sqlite" {
			_, err = s.SystemPool().ExecContext(t.Context(), sqlite)
		} else {
			_, err = connectOwner(t, s).Exec(t.Context(), postgres)
		}
		must(t, err)
	}
	do(fmt.Sprintf(`CREATE TRIGGER refuse BEFORE INSERT ON %s WHEN NEW.%s = '%s' BEGIN
		SELECT RAISE(ABORT, 'refused'); END`, table, column, text),
		fmt.Sprintf(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused';
			END $$;
			CREATE TRIGGER refuse BEFORE INSERT ON %s FOR EACH ROW WHEN (NEW.%s = '%s') EXECUTE FUNCTION refuse()`,
			table, column, text))
	return func() { t.Helper(); do(`DROP TRIGGER refuse`, `DROP FUNCTION refuse CASCADE`) }
}

// The second of two batches fails: the rows of the first one are not written again.
func TestUsageThatCouldNotBeWrittenIsWrittenOnceLater(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		const rows = 450
		note := func() {
			for i := range rows {
				s.NoteUse(storage.Use{
					WorkspaceID: w.shared.ID, CredentialID: fmt.Sprintf("app_%03d", i),
					Credential: "access_token",
				})
			}
			used(s, w.shared.ID, w.key, 2, 0, 0)
		}
		note()
		accept := refuse(t, s, "usage_hourly", "credential_id", "app_300")
		mustBe(t, s.FlushUsage(system(t)), storage.ErrUnavailable)
		if n := len(dumpTable(t, s, "usage_hourly")); n < 100 || n > 300 {
			t.Errorf("%d rows before the one that is refused, want its batch's absence", n)
		}
		mustBe(t, s.FlushUsage(system(t)), storage.ErrUnavailable)
		note() // and what comes meanwhile
		canceled, cancel := context.WithCancel(system(t))
		cancel()
		mustBe(t, s.FlushUsage(canceled), storage.ErrUnavailable)
		accept()
		must(t, s.FlushUsage(system(t)))
		must(t, s.FlushUsage(system(t)))
		list, err := s.UsageOf(system(t), w.shared.ID, "", storage.At(noon), storage.At(noon.Add(day)))
		must(t, err)
		if len(list) != rows+1 {
			t.Errorf("%d rows, want %d", len(list), rows+1)
		}
		for _, u := range list {
			want := int64(2)
			if u.CredentialID == w.key.ID {
				want = 4
			}
			if u.Allowed != want {
				t.Errorf("%s: %d requests, want %d", u.CredentialID, u.Allowed, want)
			}
		}
		// one is of the new world
		if requests, err := s.RecentRequestsOf(system(t), w.key.ID); err != nil || len(requests) != 1+4 {
			t.Errorf("%d last requests, error %v", len(requests), err)
		}
	})
}

// during is a context that does something when it is first asked.
type during struct {
	context.Context

	do func()
}

func (d during) Value(key any) any {
	d.do()
	return d.Context.Value(key)
}

// What comes while a write that fails is under way is added to what the write had taken.
func TestUsageThatComesWhileItCannotBeWritten(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		k := insertKey(t, s, w.key.Owner(), "Key", nil)
		used(s, w.shared.ID, k, 1, 2, 3)
		ctx, cancel := context.WithCancel(system(t))
		cancel()
		mustBe(t, s.FlushUsage(during{ctx, sync.OnceFunc(func() { used(s, w.shared.ID, k, 4, 5, 6) })}),
			storage.ErrUnavailable)
		must(t, s.FlushUsage(system(t)))
		if got := usage(t, s, w.shared.ID, k.ID, noon, noon.Add(day)); got != "22T12:00:00 api_key: 5 7 9" {
			t.Error(got)
		}
		list, err := s.RecentRequestsOf(system(t), k.ID)
		if err != nil || len(list) != 5+16 || !slices.IsSortedFunc(list, func(a, b storage.Request) int {
			return strings.Compare(b.ID, a.ID)
		}) {
			t.Errorf("%d requests, error %v", len(list), err)
		}
	})
}

func TestRequestsThatCouldNotBeWrittenAreWrittenOnceLater(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		a, b := insertKey(t, s, w.key.Owner(), "a", nil), insertKey(t, s, w.key.Owner(), "b", nil)
		note := func(round int) {
			for i := range 15 {
				for k, reason := range map[*storage.APIKey]string{&a: "", &b: "refused"} { // so that they share no batch
					s.NoteUse(storage.Use{
						WorkspaceID: w.workspace.ID, CredentialID: k.ID, Credential: k.Kind,
						Action: fmt.Sprint(round, "/", i), Reason: reason,
					})
				}
			}
		}
		note(1)
		accept := refuse(t, s, "recent_requests", "key_id", b.ID)
		mustBe(t, s.FlushUsage(system(t)), storage.ErrUnavailable)
		note(2)
		mustBe(t, s.FlushUsage(system(t)), storage.ErrUnavailable)
		accept()
		must(t, s.FlushUsage(system(t)))
		must(t, s.FlushUsage(system(t)))
		for _, c := range []struct {
			key                  storage.APIKey
			n                    int
			newest, first, usage string
			// as many as are noted for one key between two writes, the newest
		}{{a, 30, "2/14", "1/0", "30 0 0"}, {b, 20, "2/14", "1/10", "0 0 30"}} {
			list, err := s.RecentRequestsOf(system(t), c.key.ID)
			if err != nil || len(list) != c.n || list[0].Action != c.newest || list[len(list)-1].Action != c.first {
				t.Errorf("%s: %d requests, error %v", c.key.Name, len(list), err)
				continue
			}
			// The counts, which come first, are written once.
			if got := usage(t, s, w.workspace.ID, c.key.ID, noon, noon.Add(day)); got != "22T12:00:00 api_key: "+c.usage {
				t.Errorf("%s: %s", c.key.Name, got)
			}
		}
	})
}

// Of an app, addresses are those of the people who use it. What was refused stays, however much was not.
func TestTheLastRequestsOfAnAppAreKeptWithoutAddresses(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		note := func(id, reason string) {
			s.NoteUse(storage.Use{
				WorkspaceID: w.workspace.ID, CredentialID: w.client.ID, Credential: "access_token",
				RequestID: id, Action: "GET /v1/**", Status: 200, Reason: reason, Address: "192.0.2.7",
			})
		}
		note("refused", "no scope")
		for batch := range 8 {
			for i := range 20 {
				note(fmt.Sprint("allowed ", batch, " ", i), "")
			}
			must(t, s.FlushUsage(system(t)))
		}
		list, err := s.RecentRequestsOf(system(t), w.client.ID)
		if err != nil || len(list) != storage.RecentRequests || list[0].RequestID != "allowed 7 19" ||
			list[0].Address != "" {
			t.Errorf("%d requests, error %v, the newest %+v", len(list), err, list[0])
		}
		found, err := s.RecentRequest(system(t), w.client.ID, "refused")
		if err != nil || len(found) != 1 || found[0].Reason != "no scope" || found[0].Address != "" {
			t.Errorf("found %+v, error %v", found, err)
		}
		if found, err := s.RecentRequest(system(t), w.key.ID, "refused"); len(found) != 0 || err != nil {
			t.Errorf("of another: %+v, error %v", found, err)
		}
		// The app's workspace may read them, and no one else.
		for workspace, want := range map[string]int{w.client.WorkspaceID: 1, w.shared.ID: 0} {
			must(t, s.InTx(storage.Tenant(t.Context(), w.admin.ID, workspace), func(ctx context.Context) error {
				found, err := s.RecentRequest(ctx, w.client.ID, "refused")
				if s.Engine() == "postgresql" && len(found) != want {
					t.Errorf("as a tenant of %s: %+v", workspace, found)
				}
				return err
			}))
		}
		must(t, s.DeleteClient(system(t), w.client.ID))
		if n, err := s.Count(system(t), `SELECT count(*) FROM recent_requests WHERE client_id IS NOT NULL`); n != 0 ||
			err != nil {
			t.Errorf("%d are left of a deleted app, error %v", n, err)
		}
	})
}

func TestTheLastRequestsOfAKeyAreKept(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		k, other := insertKey(t, s, w.key.Owner(), "a", nil), insertKey(t, s, storage.KeyOwner{}, "b", nil)
		n := 0
		note := func() {
			n++
			s.NoteUse(storage.Use{
				WorkspaceID: w.workspace.ID, CredentialID: k.ID, Credential: k.Kind, RequestID: fmt.Sprint("request ",
					n), Action: fmt.Sprint("action ", n),
				Status: 400 + n, Reason: fmt.Sprint("reason ", n), Address: fmt.Sprint("192.0.2.", n),
			})
		}
		s.NoteUse(storage.Use{CredentialID: other.ID, Credential: other.Kind}) // in no workspace, and kept all the same
		for batch := range 12 {
			s.SetClock(func() time.Time { return noon.Add(time.Duration(batch) * time.Second) })
			for range 10 {
				note()
			}
			must(t, s.FlushUsage(system(t)))
			list, err := s.RecentRequestsOf(system(t), k.ID)
			must(t, err)
			if want := min(n, storage.RecentRequests); len(list) != want {
				t.Fatalf("%d requests after %d, want %d", len(list), n, want)
			}
			if !slices.IsSortedFunc(list, func(a, b storage.Request) int {
				return cmp.Compare(b.Status, a.Status)
			}) || list[0].Status != 400+n {
				t.Errorf("not the newest first: %+v", list[0])
			}
			list[0].ID = ""
			if want := (storage.Request{
				At: s.Now(), RequestID: fmt.Sprint("request ", n), Action: fmt.Sprint("action ", n), Status: 400 + n,
				Reason: fmt.Sprint("reason ", n), Address: fmt.Sprint("192.0.2.", n),
			}); list[0] != want {
				t.Errorf("read %+v, written %+v", list[0], want)
			}
		}
		// The hundred are rows, not what a query leaves out.
		if n, err := s.Count(system(t), `SELECT count(*) FROM recent_requests WHERE key_id = $1`,
			k.ID); n != storage.RecentRequests || err != nil {
			t.Errorf("%d rows, error %v", n, err)
		}
		if list, err := s.RecentRequestsOf(system(t), other.ID); len(list) != 1 || err != nil {
			t.Errorf("%d requests of another key, error %v", len(list), err)
		}
		// Of many between two writes the newest are noted, and all are counted.
		for range 50 {
			note()
		}
		must(t, s.FlushUsage(system(t)))
		list, err := s.RecentRequestsOf(system(t), k.ID)
		if err != nil || list[0].Status != 400+170 || list[19].Status != 400+151 || list[20].Status != 400+120 {
			t.Errorf("error %v, the newest %d, %d, %d", err, list[0].Status, list[19].Status, list[20].Status)
		}
		if got := usage(t, s, w.workspace.ID, k.ID, noon, noon.Add(day)); got != "22T12:00:00 api_key: 0 0 170" {
			t.Error(got)
		}
	})
}

func TestCloseWritesWhatIsLeft(t *testing.T) {
	for engine, url := range map[string]string{"sqlite": stores.SQLite(t), "postgresql": stores.PostgreSQL(t)} {
		t.Run(engine, func(t *testing.T) {
			s := stopped(stores.Open(t, url))
			w := newWorld(t, s)
			used(s, w.shared.ID, w.key, 3, 2, 1)
			s.TouchKey(w.key.ID, "192.0.2.7")
			s.Close()
			s = stopped(stores.Open(t, url))
			if got := usage(t, s, w.shared.ID, w.key.ID, noon, noon.Add(day)); got != "22T12:00:00 api_key: 3 2 1" {
				t.Error(got)
			}
			if list, err := s.RecentRequestsOf(system(t), w.key.ID); len(list) != 1+6 || err != nil {
				t.Errorf("%d requests, error %v", len(list), err)
			}
			if k, err := s.KeyByID(system(t), w.key.ID); k.LastUsedFrom != "192.0.2.7" || k.LastUsedAt != s.Now() ||
				err != nil {
				t.Errorf("last used at %v from %q, error %v", k.LastUsedAt, k.LastUsedFrom, err)
			}
		})
	}
}

// The last uses of a credential that is gone take nothing of others along.
func TestUsageOfWhatIsGoneIsForgotten(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		gone := insertKey(t, s, storage.KeyOwner{WorkspaceID: w.shared.ID}, "gone", nil)
		stays := insertKey(t, s, w.key.Owner(), "stays", nil)
		used(s, w.shared.ID, gone, 1, 1, 1)
		used(s, w.workspace.ID, stays, 1, 1, 1)
		used(s, w.shared.ID, w.personal, 1, 0, 0) // which stays, and was used where nothing is left
		s.TouchKey(gone.ID, "192.0.2.1")
		s.TouchKey(stays.ID, "192.0.2.1")
		must(t, s.DeleteWorkspace(system(t), w.shared.ID))
		must(t, s.FlushTouches(system(t)))
		must(t, s.FlushUsage(system(t)))
		if got := usage(t, s, w.workspace.ID, stays.ID, noon, noon.Add(day)); got != "22T12:00:00 api_key: 1 1 1" {
			t.Error(got)
		}
		for id, want := range map[string]int{gone.ID: 0, stays.ID: 3, w.personal.ID: 1 + 1} {
			if list, err := s.RecentRequestsOf(system(t), id); len(list) != want || err != nil {
				t.Errorf("%d requests, error %v; want %d", len(list), err, want)
			}
		}
		if n := len(dumpTable(t, s, "usage_hourly")); n != 3 { // of the new world two
			t.Errorf("%d rows of usage", n)
		}
		if k, err := s.KeyByID(system(t), stays.ID); k.LastUsedAt != s.Now() || err != nil {
			t.Errorf("last used at %v, error %v", k.LastUsedAt, err)
		}
	})
}
