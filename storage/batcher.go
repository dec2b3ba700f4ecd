package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// together sends the single statements of requests that run at the same time to PostgreSQL as one message, in one
// implicit transaction. Alone, a statement goes at once; while one message is under way the next gathers. Both sides
// then wake up once for many statements, and writes share their commit. Each statement still begins after its request
// came in and sees what was committed before it begins (READ COMMITTED), and nobody is answered before the commit.
//
// Only statements that touch a row of their own belong here, since all of a message wait for each other; or one that
// others touch too, in an order of rows that all messages keep, so that no two wait for each other in a circle.
type batcher struct {
	pool  *pgxpool.Pool
	queue chan *statement
	stop  chan struct{}
	wg    sync.WaitGroup
}

// How much goes into one message, and for how long it may be under way: longer than a statement may take, and together
// with the wait for a sender not longer than a request, whose answer would come too late.
const (
	maxBatch     = 64
	batchTimeout = 6 * time.Second
	senderWait   = 2 * time.Second // for a sender
)

// statement is one that waits for its message.
type statement struct {
	query   string
	args    []any
	row     func(scan func(...any) error) error // called for each row; nil where there is none
	order   string                              // what the statements of a message are sorted by
	changed int64
	err     error
	done    chan struct{}
}

// errAlone says that a statement of the same message failed, so that nothing of it has happened, or that it only read.
var errAlone = errors.New("storage: to be run alone")

func newBatcher(pool *pgxpool.Pool, senders int) *batcher {
	b := &batcher{pool: pool, queue: make(chan *statement), stop: make(chan struct{})}
	for range senders {
		b.wg.Go(b.send)
	}
	return b
}

// close waits for what is under way.
func (b *batcher) close() {
	close(b.stop)
	b.wg.Wait()
}

// run gives a statement to the next message and waits for its end. The error is errAlone where the statement has to
// be run by itself.
func (b *batcher) run(ctx context.Context, st *statement) error {
	if ctx.Err() != nil {
		return unavailable(ctx.Err())
	}
	st.done, st.err = make(chan struct{}), nil
	wait := time.NewTimer(senderWait)
	defer wait.Stop()
	select {
	case b.queue <- st:
	case <-b.stop:
		return unavailable(errors.New("the store is closed"))
	case <-ctx.Done():
		return unavailable(ctx.Err())
	case <-wait.C:
		return unavailable(errors.New("the database is too slow"))
	}
	<-st.done // also when ctx ends: it is under way, and writes into what the caller gave
	return st.err
}

// send takes what waits, sends it, and begins again.
func (b *batcher) send() {
	for {
		var message []*statement
		select {
		case st := <-b.queue:
			message = append(message, st)
		case <-b.stop:
			return
		}
	gather:
		for len(message) < maxBatch {
			select {
			case st := <-b.queue:
				message = append(message, st)
			default:
				break gather
			}
		}
		err := b.deliver(message)
		for _, st := range message {
			if err != nil {
				st.err = err
			}
			close(st.done)
		}
	}
}

// deliver runs a message. Its error concerns all of it: nothing has happened, or, where it wraps ErrUnavailable,
// everything may have.
func (b *batcher) deliver(message []*statement) error {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	slices.SortStableFunc(message, func(a, b *statement) int { return strings.Compare(a.order, b.order) })
	var batch pgx.Batch
	for _, st := range message {
		batch.Queue(st.query, st.args...)
	}
	results := b.pool.SendBatch(ctx, &batch)
	var failed error
	for _, st := range message {
		if failed = st.read(results); failed != nil {
			break
		}
	}
	// The commit is answered after the last statement: only what Close says is known.
	err := errors.Join(failed, results.Close())
	refused := (*pgconn.PgError)(nil)
	if errors.Is(err, errAlone) || len(message) > 1 && errors.As(err, &refused) && refused.SeverityUnlocalized == "ERROR" {
		return errAlone
	}
	return classify(err)
}

// read takes the answer to one statement. A row that its reader cannot take spoils the message, since pgx then gives
// up the rest of it.
func (st *statement) read(results pgx.BatchResults) error {
	if st.row == nil {
		tag, err := results.Exec()
		st.changed = tag.RowsAffected()
		return err
	}
	rows, err := results.Query()
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := st.row(rows.Scan); err != nil {
			rows.Close()
			return fmt.Errorf("%w: %w", errAlone, err)
		}
	}
	rows.Close()
	return rows.Err()
}

// execShared is exec for a statement that may share a message with those of other requests.
func (s *Store) execShared(ctx context.Context, query string, args ...any) (int64, error) {
	st, err := s.statement(ctx, true, query, args)
	if err != nil {
		return 0, err
	}
	if st != nil {
		if err = again(ctx, func() error { return s.writes.run(ctx, st) }); !errors.Is(err, errAlone) {
			return st.changed, err
		}
	}
	return s.exec(ctx, query, args...)
}

// execReturningShared is execReturning for a statement that may share a message with those of other requests that write
// rows of the same table; row names the one that this writes.
func (s *Store) execReturningShared(ctx context.Context, row string, dest []any, query string, args ...any) (found bool, err error) {
	st, err := s.statement(ctx, true, query, args)
	if err != nil {
		return false, err
	}
	if st != nil {
		st.order = row
		st.row = func(scan func(...any) error) error {
			found = true
			return scan(dest...)
		}
		err = again(ctx, func() error {
			found = false
			return s.counts.run(ctx, st)
		})
		if !errors.Is(err, errAlone) {
			return found, err
		}
	}
	return s.execReturning(ctx, dest, query, args...)
}

// oneShared is one for a statement that may share a message with those of other requests. There are few such
// statements, so that SQLite keeps them compiled.
func (s *Store) oneShared(ctx context.Context, dest []any, query string, args ...any) error {
	if s.engine == sqliteEngine {
		return s.oneCompiled(ctx, dest, query, args)
	}
	st, err := s.statement(ctx, false, query, args)
	if err != nil {
		return err
	}
	if st != nil {
		found := false
		st.row = func(scan func(...any) error) error {
			found = true
			return scan(dest...)
		}
		err = s.reads.run(ctx, st)
		if err == nil && !found {
			return ErrNotFound
		}
		if !errors.Is(err, errAlone) {
			return err
		}
	}
	return s.one(ctx, dest, query, args...)
}

// statement is nil where there is nothing to share: on SQLite and inside a transaction.
func (s *Store) statement(ctx context.Context, write bool, query string, args []any) (*statement, error) {
	if _, err := s.gate(ctx, write, args); err != nil || s.native == nil || inside(ctx) != nil {
		return nil, err
	}
	plain, err := plainArgs(args)
	if err != nil {
		return nil, err
	}
	return &statement{query: query, args: plain}, nil
}
