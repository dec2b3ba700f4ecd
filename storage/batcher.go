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

// batcher sends the shared statements of requests that run at the same time to PostgreSQL as one batch, in one implicit
// transaction. A statement that comes alone goes at once; while one batch is under way, the next one gathers. Both
// sides then wake up once for many statements, and writes share their commit. Each statement still begins after its
// request came in and sees what was committed before it begins (READ COMMITTED), and no request is answered before the
// commit.
type batcher struct {
	pool  *pgxpool.Pool
	queue chan *queued
	stop  chan struct{}
	wg    sync.WaitGroup
}

// How many statements go into one batch, and for how long it may be under way: longer than a statement may take, and
// together with the wait for a sender no longer than a request, because its answer would come too late.
const (
	maxBatch     = 64
	batchTimeout = 6 * time.Second
	senderWait   = 2 * time.Second
)

// queued is a statement that waits for its batch.
type queued struct {
	text    string
	args    []any
	row     func(scan func(...any) error) error // called for each row; nil for a statement that returns none
	order   string                              // by which a batch is sorted
	changed int64
	err     error
	done    chan struct{}
}

// errAlone says that a statement has to be run by itself: another one of its batch failed, so that nothing of the batch
// has happened, or the batch only read.
var errAlone = errors.New("storage: to be run alone")

func newBatcher(pool *pgxpool.Pool, senders int) *batcher {
	b := &batcher{pool: pool, queue: make(chan *queued), stop: make(chan struct{})}
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

// run adds a statement to the next batch and waits for its end. row is called for each row that it returns. The error
// is errAlone if the statement has to be run by itself.
func (b *batcher) run(
	ctx context.Context, st Statement, args []any, row func(scan func(...any) error) error,
) (changed int64, err error) {
	if ctx.Err() != nil {
		return 0, unavailable(ctx.Err())
	}
	stored, err := storedArgs(args)
	if err != nil {
		return 0, err
	}
	q := &queued{text: st.text, args: stored, row: row, done: make(chan struct{})}
	if st.has(ordered) {
		q.order, _ = stored[0].(string)
	}
	wait := time.NewTimer(senderWait)
	defer wait.Stop()
	select {
	case b.queue <- q:
	case <-b.stop:
		return 0, unavailable(errors.New("the store is closed"))
	case <-ctx.Done():
		return 0, unavailable(ctx.Err())
	case <-wait.C:
		return 0, unavailable(errors.New("the database is too slow"))
	}
	<-q.done // also when ctx ends: it is under way, and writes into what the caller gave
	return q.changed, q.err
}

// send takes what waits, sends it, and begins again.
func (b *batcher) send() {
	for {
		var batch []*queued
		select {
		case q := <-b.queue:
			batch = append(batch, q)
		case <-b.stop:
			return
		}
	gather:
		for len(batch) < maxBatch {
			select {
			case q := <-b.queue:
				batch = append(batch, q)
			default:
				break gather
			}
		}
		err := b.deliver(batch)
		for _, q := range batch {
			if err != nil {
				q.err = err
			}
			close(q.done)
		}
	}
}

// deliver runs a batch. Its error concerns all statements of the batch: nothing has happened, or, if it wraps
// ErrUnavailable, everything may have.
func (b *batcher) deliver(batch []*queued) error {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	slices.SortStableFunc(batch, func(a, b *queued) int { return strings.Compare(a.order, b.order) })
	var sent pgx.Batch
	for _, q := range batch {
		sent.Queue(q.text, q.args...)
	}
	results := b.pool.SendBatch(ctx, &sent)
	var failed error
	for _, q := range batch {
		if failed = q.read(results); failed != nil {
			break
		}
	}
	// The commit is answered after the last statement: only what Close says is known.
	err := errors.Join(failed, results.Close())
	refused := (*pgconn.PgError)(nil)
	refusedOne := errors.As(err, &refused) && refused.SeverityUnlocalized == "ERROR"
	if errors.Is(err, errAlone) || len(batch) > 1 && refusedOne {
		return errAlone
	}
	return classify(err)
}

// read takes the answer to one statement. A row that its reader cannot take spoils the batch, since pgx then gives up
// the rest of it.
func (q *queued) read(results pgx.BatchResults) error {
	if q.row == nil {
		tag, err := results.Exec()
		q.changed = tag.RowsAffected()
		return err
	}
	rows, err := results.Query()
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := q.row(rows.Scan); err != nil {
			rows.Close()
			return fmt.Errorf("%w: %w", errAlone, err)
		}
	}
	rows.Close()
	return rows.Err()
}
