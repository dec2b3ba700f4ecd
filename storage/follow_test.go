package storage_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"doorward/storage"
	"doorward/test/stores"
)

// cacheable is a row that a cache may keep for a credential.
type cacheable struct {
	name string
	read func() (row any, on storage.Dependencies, err error)
}

// keptRow is what a cache has of it.
type keptRow struct {
	row   any
	on    storage.Dependencies
	since uint64
	err   error
}

// cacheables are rows about every kind of credential of the world, and of others whom its writes may concern.
func (w *world) cacheables(t *testing.T, s *storage.Store) (all []cacheable) {
	t.Helper()
	token := func(name string, digest []byte) {
		all = append(all, cacheable{name, func() (any, storage.Dependencies, error) {
			b, err := s.AccessTokenByDigest(system(t), digest)
			return b, b.Dependencies(), err
		}})
	}
	key := func(k *storage.APIKey, name string) {
		all = append(all, cacheable{name, func() (any, storage.Dependencies, error) {
			b, err := s.KeyByDigest(system(t), k.Digest)
			return b, b.Dependencies(), err
		}})
	}
	personal := func(k *storage.APIKey, name string) {
		for _, slug := range []string{"", w.shared.Slug, w.workspace.Slug} {
			all = append(all, cacheable{name + " in " + slug, func() (any, storage.Dependencies, error) {
				b, err := s.PersonalTokenByDigest(system(t), k.Digest, slug)
				return b, b.Dependencies(), err
			}})
		}
	}
	ctx, now := system(t), s.Now()
	add := func(owner storage.KeyOwner, name string) *storage.APIKey {
		k := newKey(owner, name)
		must(t, s.InsertKey(ctx, &k, 10))
		return &k
	}
	token("access token", w.access)
	token("token of a client", w.clientAccess)
	original := w.key
	key(&original, "API key")
	personal(&w.personal, "personal access token")
	key(add(storage.KeyOwner{WorkspaceID: w.shared.ID}, "Shared"), "API key of the shared workspace")
	personal(add(storage.KeyOwner{UserID: w.admin.ID}, "Admin"), "a member's personal access token")
	personal(add(storage.KeyOwner{UserID: w.otherAdmin.ID}, "Other"), "a stranger's personal access token")

	// A key that the key of the world has replaced.
	before := add(storage.KeyOwner{WorkspaceID: w.workspace.ID}, "Before")
	fresh := newKey(before.Owner(), "Fresh")
	must(t, s.RotateKey(ctx, *before, &fresh, now.Add(time.Hour)))
	key(before, "replaced API key")
	key(&fresh, "API key that replaced it")
	w.key = fresh

	// An app of the shared workspace, for itself and for a member.
	app := w.client
	app.ID, app.WorkspaceID, app.Secrets = storage.NewID("app"), w.shared.ID, nil
	must(t, s.InsertClient(ctx, &app, nil))
	g := w.newGrant(now)
	g.ID, g.ClientID, g.UserID, g.WorkspaceID = storage.NewID("grant"), app.ID, w.admin.ID, w.shared.ID
	must(t, s.InsertGrant(ctx, g, storage.Code{Digest: storage.Digest("other code"), ExpiresAt: now.Add(time.Minute)}))
	for name, grant := range map[string]string{"shared app's token": "", "member's access token": g.ID} {
		x := storage.AccessToken{
			Digest: storage.Digest(name), GrantID: grant, ClientID: app.ID, Resource: "https://api.example",
			Scopes: storage.List{"read"}, CreatedAt: now, ExpiresAt: now.Add(time.Hour),
		}
		must(t, s.InsertAccessToken(ctx, x))
		token(name, x.Digest)
	}
	return all
}

func keepAll(s *storage.Store, all []cacheable) (kept []keptRow) {
	for _, x := range all {
		k := keptRow{since: s.Generation()}
		k.row, k.on, k.err = x.read()
		kept = append(kept, k)
	}
	return kept
}

// A change that leaves the row of a credential as it is need not invalidate it; one that changes the row must, in this
// process and in others.
func TestEveryChangeInvalidatesTheRowsThatItChanges(t *testing.T) {
	stores.Alone(t)
	each := func(t *testing.T, url string) {
		t.Helper()
		sqlite := strings.HasPrefix(url, "sqlite:")
		s := stopped(stores.Open(t, url))
		processes := map[string]*storage.Store{"this": s}
		if !sqlite {
			other := stopped(stores.Open(t, url))
			other.Follow(slog.New(slog.DiscardHandler))
			processes["the other"] = other
		}
		for name, write := range writes {
			if !sqlite && announced[name] == "" {
				continue // nothing is sent to other processes
			}
			t.Run(name, func(t *testing.T) {
				empty(t, s)
				w := newWorld(t, s)
				all := w.cacheables(t, s)
				kept := map[string][]keptRow{}
				for process, s := range processes {
					must(t, s.CatchUp(t.Context()))
					kept[process] = keepAll(s, all)
				}
				must(t, write(system(t), s, w))
				for _, s := range processes {
					must(t, s.CatchUp(t.Context()))
				}
				for i, x := range all {
					row, _, err := x.read()
					for process, s := range processes {
						had := kept[process][i]
						if had.err != nil { // unknown is not kept
							continue
						}
						same := err == nil && reflect.DeepEqual(row, had.row)
						if !same && unannounced[name] != endedByTime && name != "Purge" && !s.Altered(had.since, &had.on) {
							t.Errorf("%s process keeps the row of the %s: %+v, which is now %+v, %v", process, x.name, had.row, row, err)
						}
					}
				}
			})
		}
	}
	t.Run("sqlite", func(t *testing.T) { each(t, "sqlite::memory:") })
	t.Run("postgresql", func(t *testing.T) { each(t, stores.PostgreSQL(t)) })
}

// Without this, a revocation would make every server read every credential again.
func TestRevocationsInvalidateOnlyWhatTheyConcern(t *testing.T) {
	concerned := map[string][]string{
		"RevokeAccessToken": {"token of a client"},
		"RevokeGrant":       {"access token"},
		"PauseKey":          {"replaced API key", "API key that replaced it"},
		"AddMember": {
			"a stranger's personal access token in ", "a stranger's personal access token in shared",
			"a stranger's personal access token in the workspace",
		},
		"InsertUser": nil,
	}
	invalidated := func(name string) (found []string) {
		s := stopped(stores.Open(t, "sqlite::memory:"))
		w := newWorld(t, s)
		all := w.cacheables(t, s)
		kept := keepAll(s, all)
		must(t, writes[name](system(t), s, w))
		for i, x := range all {
			if s.Altered(kept[i].since, &kept[i].on) {
				found = append(found, strings.Replace(x.name, w.workspace.Slug, "the workspace", 1))
			}
		}
		return found
	}
	for name, want := range concerned {
		// Two things have the same number by chance once in some hundred times, and not three times in a row.
		for chance := range 3 {
			diff := cmp.Diff(want, invalidated(name))
			if diff == "" {
				break
			}
			if chance == 2 {
				t.Errorf("%s invalidates others than it concerns (-want +got):\n%s", name, diff)
			}
		}
	}
}

func TestWithoutFollowNothingIsCurrent(t *testing.T) {
	s := stores.Open(t, "sqlite::memory:")
	if s.Current() {
		t.Error("a store that does not follow others is current")
	}
	must(t, s.CatchUp(t.Context()))
	s.Follow(slog.New(slog.DiscardHandler))
	must(t, s.CatchUp(t.Context()))
	if !s.Current() {
		t.Error("it has seen everything, and is not current")
	}
	s.Close()
	if s.Current() {
		t.Error("a closed store is current")
	}
}

// following opens a store that follows, on an existing database.
func following(t *testing.T, url string) *storage.Store {
	t.Helper()
	s := stores.Open(t, url)
	s.Follow(slog.New(slog.DiscardHandler))
	must(t, s.CatchUp(t.Context()))
	return s
}

func TestOtherProcessesSeeChangesOfTheirKind(t *testing.T) {
	for engine, url := range map[string]string{"sqlite": stores.SQLite(t), "postgresql": stores.PostgreSQL(t)} {
		t.Run(engine, func(t *testing.T) {
			a, b := following(t, url), following(t, url)
			w := newWorld(t, a)
			must(t, b.CatchUp(t.Context()))
			generation := b.Generation()
			must(t, a.RevokeGrant(system(t), w.grant.ID, "test"))
			must(t, b.CatchUp(t.Context()))
			if b.Generation() == generation {
				t.Error("the other process has not heard of the change")
			}
			must(t, a.CatchUp(t.Context())) // with its own change before
			// Its own changes count once more when PostgreSQL notifies it, and writes that alter nothing do not count.
			own, grows := a.Generation(), uint64(1)
			if engine == "postgresql" {
				grows = 2
			}
			must(t, a.InsertUser(system(t), &storage.User{ID: storage.NewID("user"), Email: "new@example.com"}))
			must(t, a.PauseKey(system(t), w.key.Owner(), w.key.ID, "test"))
			must(t, a.CatchUp(t.Context()))
			if a.Generation() != own+grows {
				t.Errorf("the generation grew by %d, want %d", a.Generation()-own, grows)
			}
		})
	}
}

// A revocation that finds the grant revoked, by another process or by a commit that seemed to fail, is acknowledged
// too. Then this process must not wait until it hears of the other change.
func TestRevokingWhatIsRevokedInvalidatesIt(t *testing.T) {
	for engine, url := range map[string]string{"sqlite": stores.SQLite(t), "postgresql": stores.PostgreSQL(t)} {
		t.Run(engine, func(t *testing.T) {
			a, b := stores.Open(t, url), stores.Open(t, url)
			w := newWorld(t, a)
			for name, revoke := range map[string]func(s *storage.Store) error{
				"grant": func(s *storage.Store) error { return s.RevokeGrant(system(t), w.grant.ID, "test") },
				"token": func(s *storage.Store) error {
					_, err := s.RevokeAccessToken(system(t), w.clientAccess)
					return err
				},
				"key": func(s *storage.Store) error {
					if err := s.RevokeKey(system(t), w.key.Owner(), w.key.ID); !errors.Is(err, storage.ErrNotFound) {
						return err
					}
					return nil
				},
			} {
				generation := b.Generation()
				on := map[string]storage.Dependencies{
					"grant": storage.DependenciesOf(w.grant.ID), "key": storage.DependenciesOf(w.key.ID),
					"token": storage.DependenciesOf(hex.EncodeToString(w.clientAccess)),
				}[name]
				must(t, revoke(a))
				must(t, revoke(b))
				if !b.Altered(generation, &on) {
					t.Errorf("the second revocation of the %s leaves what is in memory", name)
				}
			}
		})
	}
}

// A number of data_version means something on its connection only.
func TestSQLiteFollowsOnANewConnection(t *testing.T) {
	url := stores.SQLite(t)
	a, b := following(t, url), following(t, url)
	w := newWorld(t, a)
	must(t, b.CatchUp(t.Context()))
	generation := b.Generation()
	b.SystemPool().SetMaxIdleConns(0) // closes the connection
	must(t, a.RevokeGrant(system(t), w.grant.ID, "test"))
	must(t, b.CatchUp(t.Context()))
	if b.Generation() == generation {
		t.Error("the change is lost with the connection")
	}
}

// endListeners ends the connections that listen for changes.
func endListeners(t *testing.T, url string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url) // not in the role of the server, which sees no other connection
	must(t, err)
	defer conn.Close(t.Context()) //nolint:errcheck // nothing is lost with it
	var n int
	must(t, conn.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE datname = current_database() AND query LIKE 'SELECT pg_notify%' AND pid <> pg_backend_pid()
		AND state = 'idle'`).Scan(&n))
	if n == 0 {
		t.Fatal("no connection listens")
	}
}

// An operator who changes rows with SQL makes every server read again, but only if the check of a credential may depend
// on it.
func TestChangesWithSQLAreAnnounced(t *testing.T) {
	url := stores.PostgreSQL(t)
	s := following(t, url)
	w := newWorld(t, s)
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(t.Context()) //nolint:errcheck // nothing is lost with it
	for _, x := range []struct {
		query string
		want  bool
	}{
		{`UPDATE users SET disabled_at = 1 WHERE id = '` + w.user.ID + `'`, true},
		{`UPDATE workspaces SET plan = 'other'`, true},
		{`UPDATE memberships SET role = 'viewer'`, true},
		{`UPDATE clients SET disabled_at = 1`, true},
		{`UPDATE grants SET expires_at = expires_at - 1`, true},
		{`UPDATE access_tokens SET revoked_at = 1`, true},
		{`UPDATE api_keys SET scopes = ''`, true},
		{`UPDATE signing_keys SET public = '[]'`, true},
		{`DELETE FROM access_tokens`, true},
		{`DELETE FROM api_keys`, true},
		{`TRUNCATE memberships`, true},
		{`UPDATE grants SET last_used_at = 1`, false},
		{`UPDATE users SET name = 'Other'`, false},
		{`UPDATE sessions SET seen_at = 1`, false},
	} {
		must(t, s.CatchUp(t.Context()))
		generation := s.Generation()
		_, err := conn.Exec(t.Context(), x.query)
		must(t, err)
		must(t, s.CatchUp(t.Context()))
		if grew := s.Generation() != generation; grew != x.want {
			t.Errorf("%s: announced %v, want %v", x.query, grew, x.want)
		}
	}
}

// What was changed while nothing listened is not known, so everything counts as changed.
func TestAnotherConnectionThatListensInvalidatesEverything(t *testing.T) {
	url := stores.PostgreSQL(t)
	s := following(t, url)
	for range 3 {
		generation := s.Generation()
		endListeners(t, url)
		must(t, s.CatchUp(t.Context()))
		if s.Generation() == generation {
			t.Error("the generation did not grow")
		}
		if !s.Current() {
			t.Error("it does not listen again")
		}
	}
}

func TestNothingIsCurrentOnceTheClockJumps(t *testing.T) {
	s := following(t, "sqlite::memory:")
	const longer = 1100 * time.Millisecond
	for _, x := range []struct {
		running, date time.Duration
		want          bool
	}{
		{0, 0, true},
		{900 * time.Millisecond, 900 * time.Millisecond, true},
		{longer, longer, false},
		{0, time.Hour, false}, // the date was set, or the machine has slept
		{0, -time.Hour, false},
		{0, longer, false},
		{longer, 0, false},
	} {
		if got := s.CurrentAfter(x.running, x.date); got != x.want {
			t.Errorf("%s after the last look, and %s by the date: current %v, want %v", x.running, x.date, got, x.want)
		}
	}
}

// The payload of a notification is limited, so a change of very many things counts as a change of everything.
func TestAChangeOfManyThingsFitsANotification(t *testing.T) {
	url := stores.PostgreSQL(t)
	a, b := following(t, url), following(t, url)
	w := newWorld(t, a)
	must(t, b.CatchUp(t.Context()))
	unrelated := storage.DependenciesOf("unrelated")
	for n, everything := range map[int]bool{1: false, 400: true} {
		generation := b.Generation()
		must(t, a.InTx(system(t), func(ctx context.Context) error {
			for i := range n {
				k := newKey(w.key.Owner(), fmt.Sprintf("Key %d of %d", i, n))
				if err := a.InsertKey(ctx, &k, 1000); err != nil {
					return err
				}
				if err := a.RevokeKey(ctx, k.Owner(), k.ID); err != nil {
					return err
				}
			}
			return nil
		}))
		must(t, b.CatchUp(t.Context()))
		if b.Generation() == generation || b.Altered(generation, &unrelated) != everything {
			t.Errorf("%d keys: everything changed: %v, want %v", n, b.Altered(generation, &unrelated), everything)
		}
	}
}

// What is used for a short time without looking must not live longer because the date was set, or the machine slept.
func TestFreshByBothClocks(t *testing.T) {
	s := stores.Open(t, "sqlite::memory:")
	date := time.Now()
	s.SetClock(func() time.Time { return date })
	const age = time.Minute
	read := s.ReadTime()
	for _, x := range []struct {
		running, by time.Duration
		want        bool
	}{
		{0, 0, true},
		{0, age - time.Second, true},
		{0, time.Second - age, true},
		{age - time.Second, 0, true},
		{0, age, false},
		{0, -age, false},
		{age, 0, false},
		{age, age, false},
		{0, -time.Hour, false},
	} {
		date = date.Add(x.by)
		if got := s.Fresh(read.Earlier(x.running), age); got != x.want {
			t.Errorf("%s later, and %s by the date: fresh %v, want %v", x.running, x.by, got, x.want)
		}
		date = date.Add(-x.by)
	}
}
