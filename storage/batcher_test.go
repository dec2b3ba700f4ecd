package storage_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/jackc/pgx/v5"

	"doorward/storage"
	"doorward/test/stores"
)

// token is an access token without a person, as the client credentials grant makes it.
func (w *world) token(s *storage.Store, name string) storage.AccessToken {
	return storage.AccessToken{
		Digest: storage.Digest(name), ClientID: w.client.ID, CreatedAt: s.Now(),
		ExpiresAt: s.Now(),
	}
}

// lockTokens holds every statement about access tokens up until the transaction ends.
func lockTokens(t *testing.T, s *storage.Store) pgx.Tx {
	t.Helper()
	tx, err := connectOwner(t, s).Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), `LOCK TABLE access_tokens IN ACCESS EXCLUSIVE MODE`)
	must(t, err)
	return tx
}

// untilOneWaits returns when a statement waits for that lock.
func untilOneWaits(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	for n := 0; n == 0; {
		must(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted
			AND relation = 'access_tokens'::regclass`).Scan(&n))
	}
}

func TestStatementOfASharedBatchFailsAlone(t *testing.T) {
	s := stores.Open(t, stores.PostgreSQL(t))
	w := newWorld(t, stopped(s))
	watch, lock := connectOwner(t, s), lockTokens(t, s)
	released := make(chan error, 1)
	go func() { // while the others gather behind the first
		untilOneWaits(t, watch)
		released <- lock.Rollback(context.WithoutCancel(t.Context()))
	}()
	// Half of them are one and the same token.
	wins, errs := atOnce(racers, func(i int) error {
		if i%2 == 0 {
			return s.InsertOwnAccessToken(system(t), w.token(s, "the same"))
		}
		return s.InsertOwnAccessToken(system(t), w.token(s, fmt.Sprint("own ", i)))
	})
	must(t, <-released)
	if want := int64(racers/2 + 1); wins != want {
		t.Errorf("%d of %d inserted, want %d", wins, racers, want)
	}
	for _, err := range errs {
		mustBe(t, err, storage.ErrExists)
	}
	// Likewise for reads: a request for a row that does not exist does not fail the others.
	wins, errs = atOnce(racers, func(i int) error {
		name := fmt.Sprint("own ", i)
		b, err := s.AccessTokenByDigest(system(t), storage.Digest(name))
		if err == nil && b.Access.ClientID != w.client.ID {
			return errors.New("another row")
		}
		return err
	})
	if wins != racers/2 {
		t.Errorf("%d of %d found, want %d", wins, racers, racers/2)
	}
	for _, err := range errs {
		mustBe(t, err, storage.ErrNotFound)
	}
}

// On SQLite, a batch gathers while another transaction writes. A statement that fails takes no other one of its batch
// with it, and each request gets its own result.
func TestStatementOfASharedBatchFailsAloneOnSQLite(t *testing.T) {
	s := stores.Open(t, stores.SQLite(t))
	w := newWorld(t, stopped(s))
	before, err := s.Count(system(t), `SELECT count(*) FROM access_tokens`)
	must(t, err)
	writer := s.SystemPool()
	other, err := writer.BeginTx(t.Context(), nil)
	must(t, err)
	waits, released := writer.Stats().WaitCount, make(chan error, 1)
	go func() {
		for writer.Stats().WaitCount == waits {
			runtime.Gosched()
		}
		released <- other.Rollback()
	}()
	wins, errs := atOnce(racers, func(i int) error {
		switch token := w.token(s, fmt.Sprint("own ", i)); i % 4 {
		case 0:
			return s.InsertOwnAccessToken(system(t), w.token(s, "the same"))
		case 1:
			token.ClientID = "unknown"
			if err := s.InsertOwnAccessToken(system(t), token); !errors.Is(err, storage.ErrNotFound) {
				return fmt.Errorf("the token of an unknown client: %w", err)
			}
			return nil
		default:
			return s.InsertOwnAccessToken(system(t), token)
		}
	})
	must(t, <-released)
	if want := int64(racers*3/4 + 1); wins != want {
		t.Errorf("%d of %d had the right result, want %d", wins, racers, want)
	}
	for _, err := range errs {
		mustBe(t, err, storage.ErrExists)
	}
	if n, err := s.Count(system(t), `SELECT count(*) FROM access_tokens`); err != nil || n-before != racers/2+1 {
		t.Errorf("%d tokens more, error %v; want %d", n-before, err, racers/2+1)
	}
}

// A client that was disabled or deleted, or whose workspace was, gets no token, whatever is cached of it.
func TestOwnTokenNeedsAnEnabledClient(t *testing.T) {
	onEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		n := 0
		insert := func() error {
			n++
			return s.InsertOwnAccessToken(system(t), w.token(s, fmt.Sprint(n)))
		}
		must(t, insert())
		for what, query := range map[string]string{
			"client":    `UPDATE clients SET disabled_at = $2 WHERE id = $1`,
			"workspace": `UPDATE workspaces SET disabled_at = $2 WHERE id = (SELECT workspace_id FROM clients WHERE id = $1)`,
		} {
			for _, at := range []any{s.Now(), nil} {
				if changed, err := s.Exec(system(t), query, w.client.ID, at); err != nil || changed != 1 {
					t.Fatalf("%s: %d rows changed, error %v", what, changed, err)
				}
				if err := insert(); (at == nil) != (err == nil) || err != nil && !errors.Is(err, storage.ErrNotFound) {
					t.Errorf("the %s disabled at %v: error %v", what, at, err)
				}
			}
		}
	})
}

// A row that its reader cannot take fails no other request.
func TestRowOfASharedBatchIsUnreadableAlone(t *testing.T) {
	s := stores.Open(t, stores.PostgreSQL(t))
	_, errs := atOnce(racers, func(i int) error {
		if i%8 == 0 {
			var n int64
			err := s.OneShared(system(t), []any{&n}, `SELECT 'no number'`)
			if !errors.Is(err, storage.ErrUnavailable) {
				return fmt.Errorf("the unreadable row gives %d, %w", n, err)
			}
			return nil
		}
		var text string
		return s.OneShared(system(t), []any{&text}, `SELECT 'text'`)
	})
	for _, err := range errs {
		t.Error(err)
	}
}

// Each request sees what was committed before it asked, whichever requests share its batch.
func TestSharedBatchesReadWhatIsCommitted(t *testing.T) {
	inParallelOnEachEngine(t, func(t *testing.T, s *storage.Store) {
		w := newWorld(t, s)
		_, errs := atOnce(racers, func(i int) error {
			token := w.token(s, fmt.Sprint(i))
			if err := s.InsertOwnAccessToken(system(t), token); err != nil {
				return err
			}
			if _, err := s.AccessTokenByDigest(system(t), token.Digest); err != nil {
				return fmt.Errorf("inserted, then: %w", err)
			}
			if _, err := s.RevokeAccessToken(system(t), token.Digest); err != nil {
				return err
			}
			b, err := s.AccessTokenByDigest(system(t), token.Digest)
			if err == nil && b.Access.RevokedAt.IsZero() {
				return errors.New("revoked, then alive")
			}
			return err
		})
		for _, err := range errs {
			t.Error(err)
		}
	})
}

func TestZ4b_SharedBatchThatIsCutIsUnavailableForAll(t *testing.T) {
	s := stores.Open(t, stores.PostgreSQL(t))
	w := newWorld(t, stopped(s))
	before, err := s.Count(system(t), `SELECT count(*) FROM access_tokens`)
	must(t, err)
	watch, lock := connectOwner(t, s), lockTokens(t, s)
	cut := make(chan error, 1)
	go func() {
		untilOneWaits(t, watch)
		// Every connection of the server, so that later requests have to open another; those wait for the lock too.
		_, err := watch.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'doorward' AND wait_event_type = 'Lock'`)
		cut <- errors.Join(err, lock.Rollback(context.WithoutCancel(t.Context())))
	}()
	wins, errs := atOnce(racers, func(i int) error { return s.InsertOwnAccessToken(system(t), w.token(s, fmt.Sprint(i))) })
	must(t, <-cut)
	if len(errs) == 0 {
		t.Error("no request noticed that its connection was cut")
	}
	for _, err := range errs {
		mustBe(t, err, storage.ErrUnavailable)
	}
	if n, err := s.Count(system(t), `SELECT count(*) FROM access_tokens`); n-before != wins || err != nil {
		t.Errorf("%d rows more (error %v), %d acknowledged", n-before, err, wins)
	}
}

func TestRequestThatGivesUpBeforeItsBatchWritesNothing(t *testing.T) {
	url := stores.PostgreSQL(t)
	s, err := storage.Open(t.Context(), url, storage.Options{MaxConns: 8}) // one batch of writes at a time
	must(t, err)
	t.Cleanup(s.Close)
	w := newWorld(t, stopped(s))
	watch, lock := connectOwner(t, s), lockTokens(t, s)
	first := make(chan error, 1)
	go func() { first <- s.InsertOwnAccessToken(system(t), w.token(s, "first")) }()
	untilOneWaits(t, watch)
	ctx, cancel := context.WithCancel(system(t))
	second := make(chan error, 1)
	go func() { second <- s.InsertOwnAccessToken(waiting{ctx, cancel}, w.token(s, "second")) }()
	err = <-second
	mustBe(t, err, storage.ErrUnavailable)
	mustBe(t, err, context.Canceled) // and not for the lock, after some seconds
	must(t, lock.Rollback(t.Context()))
	must(t, <-first)
	must(t, s.InsertOwnAccessToken(system(t), w.token(s, "third"))) // all that was to come before it has come
	_, err = s.AccessTokenByDigest(system(t), storage.Digest("second"))
	mustBe(t, err, storage.ErrNotFound)
}

func TestEndedContextSharesNoBatch(t *testing.T) {
	s := stores.Open(t, stores.PostgreSQL(t))
	w := newWorld(t, stopped(s))
	ctx, cancel := context.WithCancel(system(t))
	cancel()
	for range racers { // a sender that is ready might take it
		_, err := s.AccessTokenByDigest(ctx, w.access)
		mustBe(t, err, context.Canceled)
	}
}

// What PostgreSQL refuses only when it commits.
func TestZ4c_SharedBatchWhoseCommitFails(t *testing.T) {
	s := stores.Open(t, stores.PostgreSQL(t))
	w := newWorld(t, stopped(s))
	owner := connectOwner(t, s)
	for _, statement := range []string{
		`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF NEW.resource = 'refused' THEN RAISE EXCEPTION 'refused' USING ERRCODE = '53100'; END IF; RETURN NEW; END
			$$`,
		`CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON access_tokens DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
			EXECUTE FUNCTION refuse()`,
	} {
		_, err := owner.Exec(t.Context(), statement)
		must(t, err)
	}
	before, err := s.Count(system(t), `SELECT count(*) FROM access_tokens`)
	must(t, err)
	lock := lockTokens(t, s)
	released := make(chan error, 1)
	go func() {
		untilOneWaits(t, owner)
		released <- lock.Rollback(context.WithoutCancel(t.Context()))
	}()
	wins, errs := atOnce(racers, func(i int) error {
		token := w.token(s, fmt.Sprint(i))
		if i%8 == 0 {
			token.Resource = "refused"
		}
		return s.InsertOwnAccessToken(system(t), token)
	})
	must(t, <-released)
	for _, err := range errs {
		mustBe(t, err, storage.ErrUnavailable)
	}
	if n, err := s.Count(system(t), `SELECT count(*) FROM access_tokens`); n-before != wins ||
		wins != racers-racers/8 || err != nil {
		t.Errorf("%d rows more (error %v), %d acknowledged, want %d", n-before, err, wins, racers-racers/8)
	}
}

// waiting ends a context as soon as a caller waits for its end.
type waiting struct {
	context.Context
	end context.CancelFunc
}

func (w waiting) Done() <-chan struct{} {
	w.end()
	return w.Context.Done()
}
