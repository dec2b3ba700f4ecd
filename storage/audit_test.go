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

// audit notes an event and gives it as it is read.
//
//nolint:revive // the context is what is tried, as in the calls of the tests
func audit(t *testing.T, ctx context.Context, s *storage.Store, e storage.AuditEvent, personalOf,
	workspaceID string,
) storage.AuditEvent {
	t.Helper()
	must(t, s.Audit(ctx, e, personalOf))
	list, err := s.AuditEvents(system(t), storage.AuditFilter{WorkspaceID: workspaceID, Limit: 1})
	if err != nil || len(list) != 1 {
		t.Fatalf("%d events, error %v", len(list), err)
	}
	got := list[0]
	if !storage.IsID("event", got.ID) || got.CreatedAt != s.Now() {
		t.Errorf("id %q, at %v", got.ID, got.CreatedAt)
	}
	got.ID, got.CreatedAt = "", 0
	return got
}

func TestAuditTellsWhoActs(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		actor := &storage.Actor{Address: "192.0.2.1", RequestID: "request 1"}
		ctx := storage.WithActor(system(t), actor)
		// known later
		actor.UserID, actor.ClientID, actor.Credential, actor.KeyID = w.user.ID, w.client.ID, "session", w.key.ID
		plain := storage.AuditEvent{
			Action: "app.created", WorkspaceID: w.shared.ID, Target: "app_x",
			Detail: map[string]string{"a": `"b"`, "c": ""},
		}

		want := plain
		want.Actor = *actor
		if diff := cmp.Diff(want, audit(t, ctx, s, plain, "", w.shared.ID)); diff != "" {
			t.Errorf("the actor of the context (-want +got):\n%s", diff)
		}
		// An actor that the event names itself is the one who did it; the address is the request's.
		named := plain
		named.Actor = storage.Actor{UserID: w.admin.ID, Credential: "password", Address: "forged", RequestID: "forged"}
		want.Actor = storage.Actor{
			UserID: w.admin.ID, Credential: "password", Address: "192.0.2.1",
			RequestID: "request 1",
		}
		if diff := cmp.Diff(want, audit(t, ctx, s, named, "", w.shared.ID)); diff != "" {
			t.Errorf("another actor (-want +got):\n%s", diff)
		}
		// The server itself.
		want.Actor, want.Detail = storage.Actor{}, nil
		plain.Detail = nil
		got := audit(t, system(t), s, plain, "", w.shared.ID)
		if len(got.Detail) != 0 {
			t.Errorf("detail %v", got.Detail)
		}
		got.Detail = nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("without an actor (-want +got):\n%s", diff)
		}
		if a := storage.ActorOf(t.Context()); a == nil || *a != (storage.Actor{}) {
			t.Errorf("nobody is %+v", a)
		}
	})
}

func TestAuditFindsThePersonalWorkspace(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		if got := audit(t, ctx, s, storage.AuditEvent{Action: "session.started"}, w.user.ID,
			w.workspace.ID); got.WorkspaceID != w.workspace.ID || got.Action != "session.started" {
			t.Errorf("%+v", got)
		}
		// A workspace that is named stays; a user who is not there, or is gone, has none.
		if got := audit(t, ctx, s, storage.AuditEvent{Action: "x.named", WorkspaceID: w.shared.ID}, w.user.ID,
			w.shared.ID); got.Action != "x.named" {
			t.Errorf("%+v", got)
		}
		for _, user := range []string{"user_x", "nobody", ""} {
			if got := audit(t, ctx, s, storage.AuditEvent{Action: "x.of-" + user}, user, ""); got.Action != "x.of-"+
				user {
				t.Errorf("%+v", got)
			}
		}
	})
}

func TestAuditEventsAreFilteredAndPaged(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		for i, e := range []storage.AuditEvent{
			{Action: "api_key.created", Target: "key_1", Actor: storage.Actor{UserID: "ada"}},
			{Action: "api_key.revoked", Target: "key_1", Actor: storage.Actor{UserID: "eve"}},
			{Action: "app.created", Target: "app_1", Actor: storage.Actor{UserID: "ada"}},
			{Action: "apiXkey.created", Target: "key_2"},
			{Action: "app", Target: "app_2"},
		} {
			s.SetClock(func() time.Time { return noon.Add(time.Duration(i) * time.Second) })
			e.WorkspaceID = w.shared.ID
			must(t, s.Audit(system(t), e, ""))
		}
		at := func(i int) storage.Time { return storage.At(noon.Add(time.Duration(i) * time.Second)) }
		find := func(f storage.AuditFilter) (string, []storage.AuditEvent) {
			t.Helper()
			f.WorkspaceID = w.shared.ID
			if f.Limit == 0 {
				f.Limit = 100
			}
			list, err := s.AuditEvents(system(t), f)
			must(t, err)
			var found []string
			for _, e := range list {
				found = append(found, fmt.Sprint(e.CreatedAt.Sub(at(0)).Seconds()))
			}
			return strings.Join(found, " "), list
		}
		for _, c := range []struct {
			filter storage.AuditFilter
			want   string
		}{
			{storage.AuditFilter{}, "4 3 2 1 0"},
			{storage.AuditFilter{Action: "api_key.created"}, "0"},
			{storage.AuditFilter{Action: "api_key."}, "1 0"}, // the underscore is one
			{storage.AuditFilter{Action: "app."}, "2"},
			{storage.AuditFilter{Action: "%."}, ""},
			{storage.AuditFilter{Action: "."}, ""},
			{storage.AuditFilter{Action: "api_key"}, ""},
			{storage.AuditFilter{UserID: "ada"}, "2 0"},
			{storage.AuditFilter{Target: "key_1"}, "1 0"},
			{storage.AuditFilter{UserID: "ada", Target: "key_1", Action: "api_key."}, "0"},
			{storage.AuditFilter{Since: at(3)}, "4 3"},
			{storage.AuditFilter{Until: at(3)}, "2 1 0"},
			{storage.AuditFilter{Since: at(1), Until: at(2)}, "1"},
			{storage.AuditFilter{Limit: 2}, "4 3"},
			{storage.AuditFilter{After: "event_"}, ""},
		} {
			if got, _ := find(c.filter); got != c.want {
				t.Errorf("%+v: %q, want %q", c.filter, got, c.want)
			}
		}
		var pages []string
		filter := storage.AuditFilter{Limit: 2}
		for range 5 {
			page, list := find(filter)
			pages = append(pages, page)
			if len(list) == 0 {
				break
			}
			filter.After = list[len(list)-1].ID
		}
		if got := strings.Join(pages, "|"); got != "4 3|2 1|0|" {
			t.Errorf("pages %q", got)
		}
		// Another workspace's, and the server's own, are not among them.
		for _, workspace := range []string{w.workspace.ID, "", "ws_x", "%"} {
			list, err := s.AuditEvents(system(t), storage.AuditFilter{
				WorkspaceID: workspace, Target: "key_1",
				Limit: 100,
			})
			if len(list) != 0 || err != nil {
				t.Errorf("workspace %q: %d events, error %v", workspace, len(list), err)
			}
		}
	})
}

func TestHistoryGoesByItsAge(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		rows := func() string {
			return fmt.Sprint(len(dumpTable(t, s, "audit_events")), " ", len(dumpTable(t, s, "usage_hourly")))
		}
		// One event and two hours of usage are of the new world, at noon; more than a batch is older.
		const old = 2*storage.PurgeBatch + 10
		must(t, s.InTx(ctx, func(ctx context.Context) error {
			for i := range old {
				s.SetClock(func() time.Time { return noon.Add(-time.Duration(1+i) * time.Hour) })
				if err := s.Audit(ctx, storage.AuditEvent{Action: "old"}, ""); err != nil {
					return err
				}
				s.NoteUse(storage.Use{
					WorkspaceID: w.workspace.ID, CredentialID: w.client.ID,
					Credential: "access_token",
				})
			}
			return nil
		}))
		must(t, s.FlushUsage(ctx))
		purge := func(auditKept, usageKept time.Duration, gone int64, want string) {
			t.Helper()
			n, err := s.PurgeHistory(ctx, auditKept, usageKept)
			if got := rows(); n != gone || err != nil || got != want {
				t.Errorf("%d rows went, error %v, and %s are left; want %d and %s", n, err, got, gone, want)
			}
		}
		s.SetClock(func() time.Time { return noon })
		purge(old*time.Hour, old*time.Hour, 0, fmt.Sprint(old+1, " ", old+2))
		s.SetClock(func() time.Time { return noon.Add(time.Microsecond) })
		purge(old*time.Hour, (old+1)*time.Hour, 1, fmt.Sprint(old, " ", old+2))
		purge((old+1)*time.Hour, old*time.Hour, 1, fmt.Sprint(old, " ", old+1))
		purge(5*time.Hour, 2*old*time.Hour, old-5, fmt.Sprint(5, " ", old+1))
		purge(5*time.Hour, 5*time.Hour, old-5, "5 6")
		s.SetClock(func() time.Time { return noon })
		purge(0, 0, 8, "1 2")
		if _, err := s.Purge(ctx, storage.Retention{}); err != nil || rows() != "1 2" {
			t.Errorf("error %v: what is kept by age went with what expires", err)
		}
	})
}

func TestAnswerIsKeptOnceForADay(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := system(t)
		a := storage.IdempotentAnswer{
			Digest: storage.Digest("one"), Request: storage.Digest("request"), Status: 201,
			Answer: "sealed",
		}
		must(t, s.KeepAnswer(ctx, a))
		other := a
		other.Answer, other.WorkspaceID = "other", w.shared.ID
		mustBe(t, s.KeepAnswer(ctx, other), storage.ErrExists)
		_, err := s.KeptAnswer(ctx, storage.Digest("two"))
		mustBe(t, err, storage.ErrNotFound)
		s.SetClock(func() time.Time { return noon.Add(storage.IdempotentLifetime - time.Microsecond) })
		got, err := s.KeptAnswer(ctx, a.Digest)
		if diff := cmp.Diff(a, got); diff != "" || err != nil {
			t.Errorf("error %v (-kept +got):\n%s", err, diff)
		}
		s.SetClock(func() time.Time { return noon.Add(storage.IdempotentLifetime) })
		_, err = s.KeptAnswer(ctx, a.Digest)
		mustBe(t, err, storage.ErrNotFound)
	})
}

// Two requests with one Idempotency-Key at the same moment do what they say once.
func TestAnswerIsKeptByOneOfMany(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		onlyOne(t, storage.ErrExists, func(ctx context.Context, i int) error {
			return s.InTx(ctx, func(ctx context.Context) error {
				k := newKey(w.key.Owner(), fmt.Sprint(i))
				return errors.Join(s.InsertKey(ctx, &k, 1000),
					s.KeepAnswer(ctx, storage.IdempotentAnswer{
						Digest:  storage.Digest("one"),
						Request: storage.Digest("request"), Status: 201, Answer: k.ID,
					}))
			})
		})
		list, err := s.Keys(system(t), w.key.Owner(), storage.KeyFilter{Limit: 100})
		must(t, err)
		got, err := s.KeptAnswer(system(t), storage.Digest("one"))
		if err != nil || len(list) != 2 || list[0].ID != got.Answer {
			t.Errorf("%d keys, answer %q, error %v", len(list), got.Answer, err)
		}
	})
}
