package storage_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"doorward/storage"
	"doorward/test/postgres"
	"doorward/test/stores"
)

func TestStatementWithoutASpeakerIsRefused(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		before := dump(t, s)
		for name, call := range map[string]func(ctx context.Context) error{
			"read":  func(ctx context.Context) error { _, err := s.UserByID(ctx, w.user.ID); return err },
			"write": func(ctx context.Context) error { return s.SetSetting(ctx, "a", "b") },
			"transaction": func(ctx context.Context) error {
				return s.InTx(ctx, func(context.Context) error { t.Error("the function ran"); return nil })
			},
		} {
			err := call(t.Context())
			if err == nil || errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrNotFound) ||
				!strings.Contains(err.Error(), "System") {
				t.Errorf("%s: error %v, want one that says what is missing", name, err)
			}
		}
		if fmt.Sprint(before) != fmt.Sprint(dump(t, s)) {
			t.Error("something was written")
		}
	})
}

func TestTenantStatementWithoutATransactionIsRefused(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx := storage.Tenant(t.Context(), w.user.ID, w.workspace.ID)
		if _, err := s.ClientByID(ctx, w.client.ID); err == nil || !strings.Contains(err.Error(), "transaction") {
			t.Errorf("read: error %v", err)
		}
		if err := s.EndSession(ctx, w.user.ID, w.session.ID); err == nil || !strings.Contains(err.Error(),
			"transaction") {
			t.Errorf("write: error %v", err)
		}
		must(t, s.InTx(ctx, func(ctx context.Context) error {
			_, err := s.ClientByID(ctx, w.client.ID)
			return err
		}))
	})
}

func TestSpeakerCannotChangeInsideATransaction(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		must(t, s.InTx(system(t), func(ctx context.Context) error {
			for name, other := range map[string]context.Context{
				"tenant": storage.Tenant(ctx, w.user.ID, w.workspace.ID),
			} {
				if _, err := s.ClientByID(other, w.client.ID); err == nil || errors.Is(err, storage.ErrNotFound) {
					t.Errorf("%s inside system: error %v", name, err)
				}
			}
			return nil
		}))
		must(t, s.InTx(storage.Tenant(t.Context(), w.user.ID, w.workspace.ID), func(ctx context.Context) error {
			for name, other := range map[string]context.Context{
				"system":            storage.System(ctx),
				"another user":      storage.Tenant(ctx, w.admin.ID, w.workspace.ID),
				"another workspace": storage.Tenant(ctx, w.user.ID, "ws_other"),
			} {
				if _, err := s.ClientByID(other, w.client.ID); err == nil || errors.Is(err, storage.ErrNotFound) {
					t.Errorf("%s inside tenant: error %v", name, err)
				}
			}
			return nil
		}))
	})
}

func TestTenantTransactionCarriesItsSettings(t *testing.T) {
	s := stores.Open(t, stores.PostgreSQL(t))
	w := newWorld(t, s)
	seen := func(ctx context.Context, user, workspace string) int64 {
		t.Helper()
		n, err := s.Count(ctx, `SELECT count(*) WHERE current_setting('app.user_id', true) = $1
			AND current_setting('app.workspace_id', true) = $2`, user, workspace)
		must(t, err)
		return n
	}
	for range 20 { // more often than there are connections, so that one is used again
		must(t, s.InTx(storage.Tenant(t.Context(), w.user.ID, w.workspace.ID), func(ctx context.Context) error {
			if seen(ctx, w.user.ID, w.workspace.ID) != 1 {
				t.Error("the settings are not those of the context")
			}
			return nil
		}))
		var left string
		must(t, s.TenantPool().QueryRowContext(t.Context(), `SELECT COALESCE(current_setting('app.user_id', true),
			'')`).Scan(&left))
		if left != "" {
			t.Errorf("a connection went back with the user %q", left)
		}
	}
}

func TestNestedTransactionJoinsTheOuter(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		must(t, s.InTx(system(t), func(ctx context.Context) error {
			if err := s.InTx(ctx, func(ctx context.Context) error {
				return s.SetSetting(ctx, "inner", "1")
			}); err != nil {
				return err
			}
			v, err := s.Setting(ctx, "inner")
			if v != "1" {
				t.Errorf("the outer transaction reads %q, error %v", v, err)
			}
			return err
		}))
		if v, err := s.Setting(system(t), "inner"); v != "1" || err != nil {
			t.Errorf("%q, %v", v, err)
		}
	})
}

func TestGenerationGrowsOnceTheChangeIsCommitted(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		before := s.Generation()
		must(t, s.InTx(system(t), func(ctx context.Context) error {
			if err := s.RevokeGrant(ctx, w.grant.ID, "test"); err != nil {
				return err
			}
			if s.Generation() != before {
				t.Error("the generation grew before the commit")
			}
			return nil
		}))
		if s.Generation() == before {
			t.Error("the generation did not grow")
		}
		for _, name := range []string{
			"DisableUser", "EnableUser", "DeleteUser", "InsertClient", "UpdateClient", "DisableClient", "EnableClient",
			"RevokeAccess",
			"DeleteClient", "RotateSecret", "RevokeAccessToken", "UpdateKey", "PauseKey", "ResumeKey", "RotateKey",
			"RevokeKey",
			"DisableWorkspace", "EnableWorkspace", "UpdateWorkspace", "ChangeRole", "RemoveMember", "TakeInvitation",
			"DeleteWorkspace",
		} {
			if name == "DeleteUser" {
				continue // takes the world away; the last below
			}
			before := s.Generation()
			if err := writes[name](system(t), s, w); err != nil && name != "UpdateClient" && name != "EnableClient" &&
				name != "DisableClient" && name != "RotateSecret" {
				t.Errorf("%s: %v", name, err)
			} else if err == nil && s.Generation() == before {
				t.Errorf("%s leaves the generation where it was", name)
			}
			if name == "DeleteClient" {
				must(t, s.InsertClient(system(t), &w.client, nil))
			}
		}
		before = s.Generation()
		must(t, s.DeleteUser(system(t), w.user.ID))
		if s.Generation() == before {
			t.Error("DeleteUser leaves the generation where it was")
		}
	})
}

// A commit whose answer was lost may have happened.
func TestZ4b_GenerationGrowsWhenTheCommitFails(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		rows, before := dump(t, s), s.Generation()
		outer, cancel := context.WithCancel(system(t))
		mustBe(t, s.InTx(outer, func(ctx context.Context) error {
			defer cancel()
			return s.RevokeGrant(ctx, w.grant.ID, "test")
		}), storage.ErrUnavailable)
		// PostgreSQL refuses the notification, which comes before the commit, so nothing can have changed there.
		if diff := cmp.Diff(rows, dump(t, s)); s.Generation() == before && (diff != "" || s.Engine() == "sqlite") {
			t.Errorf("the generation did not grow:\n%s", diff)
		}
	})
}

func TestCancelledContextIsUnavailable(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		ctx, cancel := context.WithCancel(system(t))
		cancel()
		_, err := s.UserByID(ctx, w.user.ID)
		mustBe(t, err, storage.ErrUnavailable)
		mustBe(t, err, context.Canceled)
		mustBe(t, s.SetSetting(ctx, "a", "b"), storage.ErrUnavailable)
		mustBe(t, s.InTx(ctx, func(context.Context) error { return nil }), storage.ErrUnavailable)
	})
}

// raise makes every insert of a setting named marker fail with a SQLSTATE, as often as the sequence says.
func raise(t *testing.T, url, sqlState string, times int) {
	t.Helper()
	conn := connect(t, url)
	for _, statement := range []string{
		`DROP SEQUENCE IF EXISTS tries`,
		`CREATE SEQUENCE tries`, // what a rollback does not undo
		`GRANT USAGE, SELECT ON tries TO doorward_system`,
		fmt.Sprintf(`CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF NEW.key = 'marker' AND nextval('tries') <= %d THEN RAISE EXCEPTION 'canary-detail %%', NEW.value
			USING ERRCODE = '%s', DETAIL = NEW.value; END IF;
			RETURN NEW; END $$`, times, sqlState),
		`CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON settings FOR EACH ROW EXECUTE FUNCTION refuse()`,
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

func TestZ4c_FailuresInsideATransaction(t *testing.T) {
	stores.Alone(t)
	url := stores.PostgreSQL(t)
	s := stopped(stores.Open(t, url))
	w := newWorld(t, s)
	for _, c := range []struct {
		name, sqlState string
		failures       int
		wantRuns       int
		want           error
	}{
		{"serialization failure once", "40001", 1, 2, nil},
		{"serialization failure three times", "40001", 3, 4, nil},
		{"deadlock three times", "40P01", 3, 4, nil},
		{"serialization failure for ever", "40001", 1000, 4, storage.ErrUnavailable},
		{"deadlock for ever", "40P01", 1000, 4, storage.ErrUnavailable},
		{"disk full", "53100", 1, 1, storage.ErrUnavailable},
		{"out of memory", "53200", 1, 1, storage.ErrUnavailable},
		{"lock not available", "55P03", 1, 1, storage.ErrUnavailable},
		{"statement timeout", "57014", 1, 1, storage.ErrUnavailable},
		{"internal error", "XX000", 1, 1, storage.ErrUnavailable},
		{"raised by hand", "P0001", 1, 1, storage.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			raise(t, url, c.sqlState, c.failures)
			must(t, s.DropSetting(system(t), "marker"))
			if _, err := s.Exec(system(t), `UPDATE codes SET used_at = NULL`); err != nil {
				t.Fatal(err)
			}
			before, runs := dump(t, s), 0
			err := s.InTx(system(t), func(ctx context.Context) error {
				runs++
				if err := s.ConsumeCode(ctx, w.code); err != nil {
					return err
				}
				return s.SetSetting(ctx, "marker", "canary-value")
			})
			if !errors.Is(err, c.want) || runs != c.wantRuns {
				t.Fatalf("error %v after %d runs, want %v after %d", err, runs, c.want, c.wantRuns)
			}
			if c.want == nil {
				if v, err := s.Setting(system(t), "marker"); v != "canary-value" || err != nil {
					t.Errorf("after the retries: %q, %v", v, err)
				}
				return
			}
			if strings.Contains(err.Error(), "canary") { // O-04
				t.Errorf("the error carries a value: %v", err)
			}
			if fmt.Sprint(before) != fmt.Sprint(dump(t, s)) {
				t.Error("rows changed")
			}
		})
	}
}

// Two transactions that each hold what the other wants, for real.
func TestZ4c_DeadlockIsRetried(t *testing.T) {
	s := stores.Open(t, stores.PostgreSQL(t))
	must(t, s.SetSetting(system(t), "a", ""))
	must(t, s.SetSetting(system(t), "b", ""))
	keys := [2][2]string{{"a", "b"}, {"b", "a"}}
	var holds [2]sync.WaitGroup // done once the first key is written, or never will be
	for i := range holds {
		holds[i].Add(1)
	}
	wins, errs := atOnce(2, func(i int) error {
		done := sync.OnceFunc(holds[i].Done)
		defer done()
		return s.InTx(system(t), func(ctx context.Context) error {
			if err := s.SetSetting(ctx, keys[i][0], fmt.Sprint(i)); err != nil {
				return err
			}
			done()
			holds[1-i].Wait()
			return s.SetSetting(ctx, keys[i][1], fmt.Sprint(i))
		})
	})
	if wins != 2 {
		t.Errorf("%d of 2 got through: %v", wins, errs)
	}
}

func TestUnavailableDatabaseIsNeverANo(t *testing.T) {
	stores.Alone(t)
	check := func(t *testing.T, s *storage.Store, w *world) {
		t.Helper()
		ctx := system(t)
		for name, call := range map[string]func() error{
			"UserByID":             func() error { _, err := s.UserByID(ctx, w.user.ID); return err },
			"UserByEmail":          func() error { _, err := s.UserByEmail(ctx, w.user.Email); return err },
			"ClientByID":           func() error { _, err := s.ClientByID(ctx, w.client.ID); return err },
			"AccessTokenByDigest":  func() error { _, err := s.AccessTokenByDigest(ctx, w.access); return err },
			"RefreshTokenByDigest": func() error { _, err := s.RefreshTokenByDigest(ctx, w.refresh); return err },
			"CodeByDigest":         func() error { _, err := s.CodeByDigest(ctx, w.code); return err },
			"LiveSession": func() error {
				_, _, err := s.LiveSession(ctx, w.session.Digest,
					time.Hour)
				return err
			},
			"ConsumeCode":     func() error { return s.ConsumeCode(ctx, w.code) },
			"UseRefreshToken": func() error { return s.UseRefreshToken(ctx, w.refresh, 0) },
			"DecideFlow":      func() error { return s.DecideFlow(ctx, "flow", "", time.Minute) },
			"InsertUser": func() error {
				return s.InsertUser(ctx, &storage.User{ID: "u", Email: "x@example.com"})
			},
			"Setting":       func() error { _, err := s.Setting(ctx, "word"); return err },
			"TakeSetting":   func() error { return s.TakeSetting(ctx, "word", "digest") },
			"OriginAllowed": func() error { _, err := s.OriginAllowed(ctx, "x", ""); return err },
			"InTx":          func() error { return s.InTx(ctx, func(context.Context) error { return nil }) },
			"Ping":          func() error { return s.Ping(ctx) },
		} {
			err := call()
			if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrNotFound) || errors.Is(err,
				storage.ErrConsumed) || errors.Is(err, storage.ErrExists) {
				t.Errorf("%s: error %v, want ErrUnavailable alone", name, err)
			}
		}
	}
	t.Run("closed", func(t *testing.T) {
		onEachEngine(t, func(t *testing.T, s *storage.Store) {
			w := newWorld(t, s)
			s.Close()
			check(t, s, w)
		})
	})
	t.Run("stopped", func(t *testing.T) {
		server := postgres.Private(t, postgres.Options{Durable: true}) // or the crash would cost the schema
		s := stopped(stores.Open(t, server.Cluster().Login(t, postgres.Login{Database: true, CreateRole: true})))
		w := newWorld(t, s)
		must(t, server.Stop(postgres.Immediate))
		check(t, s, w)
		if _, err := storage.Open(t.Context(), server.URL(), storage.Options{}); !errors.Is(err,
			storage.ErrUnavailable) {
			t.Errorf("open: %v, want ErrUnavailable", err)
		}
		must(t, server.Start(t.Context()))
		var err error
		for range 10_000 { // the pool finds out connection by connection
			if _, err = s.UserByID(system(t), w.user.ID); err == nil {
				break
			}
			mustBe(t, err, storage.ErrUnavailable)
		}
		if err != nil {
			t.Errorf("the store does not find the server that came back: %v", err)
		}
	})
	t.Run("schema missing", func(t *testing.T) {
		s, err := storage.Open(t.Context(), "sqlite::memory:", storage.Options{})
		must(t, err)
		t.Cleanup(s.Close)
		mustBe(t, s.Ping(t.Context()), storage.ErrOldSchema)
		_, err = s.Setting(system(t), "word")
		mustBe(t, err, storage.ErrUnavailable)
	})
}
