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
)

// batcher runs the shared statements of concurrent requests as one batch, in one transaction. A single statement runs
// at once; while a batch is running, further statements collect for the next one. So writes share their commit, and
// PostgreSQL and its client wake up once for many statements. Each statement still starts after its request arrived and
// sees all that was committed before it starts (READ COMMITTED), and no request is answered before the commit.
type batcher struct {
	// deliver runs a batch. An error concerns all of its statements: none has taken effect or, if the error wraps
	// ErrUnavailable, all may have.
	deliver func(ctx context.Context, batch []*queued) error
	queue   chan *queued
	stop    chan struct{}
	wg      sync.WaitGroup
}

// How many statements a batch may have, and how long it may run. batchTimeout is above the statement timeout, and
// batchTimeout plus senderWait is at most the request timeout.
const (
	maxBatch     = 64
	batchTimeout = 6 * time.Second
	senderWait   = 2 * time.Second
)

// queued is a statement that waits for its batch.
type queued struct {
	text    string
	args    []any
	row     func(scan func(...any) error) error // called for each row; nil if the statement returns none
	order   string                              // the batch is sorted by it
	changed int64
	err     error
	done    chan struct{}
}

// errAlone means that a statement must be run by itself, since another one of its batch failed. It is safe to do so:
// the batch was rolled back, or only read.
var errAlone = errors.New("storage: must be run alone")

func newBatcher(senders int, deliver func(ctx context.Context, batch []*queued) error) *batcher {
	b := &batcher{deliver: deliver, queue: make(chan *queued), stop: make(chan struct{})}
	for range senders {
		b.wg.Go(b.send)
	}
	return b
}

// close waits for the batches that are running.
func (b *batcher) close() {
	close(b.stop)
	b.wg.Wait()
}

// run adds a statement to the next batch and waits for the result. It calls row for each row of the result. The error
// is errAlone if the statement must be run by itself.
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
	<-q.done // even if ctx ends: the statement is running, and writes to the caller's memory
	return q.changed, q.err
}

// send sends the queued statements as a batch, again and again until none is left.
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
		ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
		err := b.deliver(ctx, batch)
		cancel()
		for _, q := range batch {
			if err != nil {
				q.err = err
			}
			close(q.done)
		}
	}
}

// deliverPostgres sends a batch in one round trip, in one implicit transaction.
func (s *Store) deliverPostgres(ctx context.Context, batch []*queued) error {
	slices.SortStableFunc(batch, func(a, b *queued) int { return strings.Compare(a.order, b.order) })
	var sent pgx.Batch
	for _, q := range batch {
		sent.Queue(q.text, q.args...)
	}
	results := s.native.SendBatch(ctx, &sent)
	var failed error
	for _, q := range batch {
		if failed = q.read(results); failed != nil {
			break
		}
	}
	// The commit is answered after the last statement, so only Close reports the outcome.
	err := errors.Join(failed, results.Close())
	refused := (*pgconn.PgError)(nil)
	refusedOne := errors.As(err, &refused) && refused.SeverityUnlocalized == "ERROR"
	if errors.Is(err, errAlone) || len(batch) > 1 && refusedOne {
		return errAlone
	}
	return classify(err)
}

// read reads the result of one statement. If a row cannot be scanned, the batch fails, since pgx then discards the rest
// of it.
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
