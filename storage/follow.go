package storage

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// staleAfter is the age at which changes of other processes must have been seen for a cache to be used.
	staleAfter = time.Second
	// echoEvery is how often a node on PostgreSQL notifies itself, to learn that it still hears of changes.
	echoEvery = 300 * time.Millisecond
	// pollEvery is how often a process looks for changes of the SQLite file by others.
	pollEvery = 200 * time.Millisecond
	// echoTimeout is when a connection that does not answer is given up. While an echo is late, caches are not used, but
	// what they keep counts again once it arrives.
	echoTimeout = 4 * time.Second
	// followRetry is the pause before the next attempt after an error.
	followRetry = 100 * time.Millisecond
)

// changesChannel is the channel of PostgreSQL's NOTIFY for changes. The payload is the ids of what was changed; without
// ids, everything may have changed.
const changesChannel = "doorward_changes"

// maxPayload is below PostgreSQL's limit of 8,000 bytes.
const maxPayload = 7000

// follower keeps the generation up to date with changes by other processes.
type follower struct {
	store *Store
	log   *slog.Logger
	began time.Time
	// seen is when it last began to look for changes and then saw all of them; nil: not yet.
	seen atomic.Pointer[moment]
	// hurry ends the pause before the next look.
	hurry atomic.Pointer[context.CancelFunc]
}

// moment is a time by both clocks of the machine: the monotonic one, which may stand still while the machine sleeps,
// and the one that shows the date, which may be set.
type moment struct {
	monotonic time.Duration // since the follower began
	wall      int64         // Unix nanoseconds
}

// Follow starts to keep Generation up to date with changes by other processes, so that Current can be true, until the
// Store is closed. Call it once, before the Store is used.
//
// On PostgreSQL, changes arrive by NOTIFY on a connection of its own. The process also notifies itself every 300 ms.
// Notifications arrive in the order of their commits, so such an echo proves that all changes before it have arrived.
// On SQLite, the process looks every 200 ms whether another one has written to the file.
func (s *Store) Follow(log *slog.Logger) {
	f := &follower{store: s, log: log, began: time.Now()}
	s.follower = f
	ctx, stop := context.WithCancel(System(context.Background()))
	var running sync.WaitGroup
	running.Go(func() { f.run(ctx) })
	s.closers = append(s.closers, func() {
		stop()
		running.Wait()
		f.seen.Store(nil)
	})
}

// Current reports whether this process has seen all changes by other processes that are older than a second. While it
// is false, caches must not be used. Without Follow, it is always false.
func (s *Store) Current() bool { return s.follower != nil && s.follower.current() }

func (f *follower) current() bool {
	seen := f.seen.Load()
	if seen == nil {
		return false
	}
	now := f.now()
	// If the date was set, or the machine has slept, the next look decides.
	return now.monotonic-seen.monotonic < staleAfter && time.Duration(now.wall-seen.wall).Abs() < staleAfter
}

func (f *follower) now() moment {
	t := time.Now()
	return moment{t.Sub(f.began), t.UnixNano()}
}

// CatchUp waits until this process has seen every change that was committed before the call. It is for tests, which
// cannot wait for a second. Without Follow, it does nothing.
func (s *Store) CatchUp(ctx context.Context) error {
	f := s.follower
	if f == nil {
		return nil
	}
	for called := f.now(); ; {
		if seen := f.seen.Load(); seen != nil && seen.monotonic >= called.monotonic {
			return nil
		}
		if end := f.hurry.Load(); end != nil {
			(*end)()
		}
		select {
		case <-ctx.Done():
			return unavailable(ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

// pause returns a context that ends after d, or when CatchUp wants the next look.
func (f *follower) pause(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, d)
	f.hurry.Store(&cancel)
	return ctx, cancel
}

// run follows until ctx ends. After an error it starts again.
func (f *follower) run(ctx context.Context) {
	follow := f.listen
	if f.store.engine == sqliteEngine {
		follow = f.poll
	}
	var before *moment
	for first := true; ; first = false {
		err := follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if seen := f.seen.Load(); first || seen != before { // not for each attempt
			before = seen
			f.log.Warn("changes by other processes cannot be seen; until they can, each request reads the database",
				"error", err)
		}
		wait, cancel := context.WithTimeout(ctx, followRetry)
		<-wait.Done()
		cancel()
	}
}

// listen follows a PostgreSQL database until an error.
func (f *follower) listen(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, f.store.listening.Copy())
	if err != nil {
		return unavailable(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx) // nothing is lost with it
	}()
	send := func(query string, args ...any) error {
		ctx, cancel := context.WithTimeout(ctx, echoTimeout)
		defer cancel()
		_, err := conn.Exec(ctx, query, args...)
		return classify(err)
	}
	echoes := "doorward_echo_" + strings.ToLower(rand.Text()) // only of this connection
	for _, channel := range []string{changesChannel, echoes} {
		if err := send("LISTEN " + channel); err != nil {
			return err
		}
	}
	f.store.Invalidate() // before now, nothing was heard
	for {
		at := f.now()
		if err := send(`SELECT pg_notify($1, $2)`, echoes, fmt.Sprint(int64(at.monotonic), at.wall)); err != nil {
			return err
		}
		wait, cancel := f.pause(ctx, echoEvery)
		for err == nil {
			var n *pgconn.Notification
			if n, err = conn.WaitForNotification(wait); err == nil {
				f.hear(n)
			}
		}
		over := wait.Err() != nil
		cancel()
		if ctx.Err() != nil || !over || conn.IsClosed() {
			return unavailable(err)
		}
		err = nil
	}
}

// hear handles a notification.
func (f *follower) hear(n *pgconn.Notification) {
	fields := strings.Fields(n.Payload)
	if n.Channel != changesChannel { // an echo
		if len(fields) == 2 {
			monotonic, err1 := strconv.ParseInt(fields[0], 10, 64)
			wall, err2 := strconv.ParseInt(fields[1], 10, 64)
			if err1 == nil && err2 == nil {
				f.seen.Store(&moment{time.Duration(monotonic), wall})
			}
		}
		return
	}
	// A change by this process is counted again. Its commit may have seemed to fail, and come later.
	if len(fields) == 0 {
		f.store.Invalidate()
		return
	}
	f.store.changes.add(change{ids: fields})
}

// notify tells other processes, in a transaction, what it alters.
func (s *Store) notify(ctx context.Context, t *transaction) error {
	if s.engine != postgres || t.altered.none() {
		return nil
	}
	payload := ""
	if !t.altered.everything {
		slices.Sort(t.altered.ids)
		payload = strings.Join(slices.Compact(t.altered.ids), " ")
	}
	if len(payload) > maxPayload {
		payload = ""
	}
	_, err := t.exec(ctx, `SELECT pg_notify($1, $2)`, []any{changesChannel, payload})
	return classify(err)
}

// poll follows a SQLite database until an error. A database in memory has no other process.
func (f *follower) poll(ctx context.Context) error {
	path, err := f.store.sqlitePath(ctx)
	if err != nil {
		return err
	}
	var last fileVersion
	for {
		at := f.now()
		if path != "" {
			version, began, err := f.version(ctx)
			if err != nil {
				return err
			}
			if version != last {
				f.store.Invalidate()
			}
			last, at = version, began
		}
		f.seen.Store(&at)
		wait, cancel := f.pause(ctx, pollEvery)
		<-wait.Done()
		cancel()
		if ctx.Err() != nil {
			return unavailable(ctx.Err())
		}
	}
}

// fileVersion changes when another process, or another connection of this one, writes to a SQLite file. The number
// counts for one connection only.
type fileVersion struct {
	connection any
	number     int64
}

// version reads the file's version on the connection that this process writes with, whose own writes do not change it.
// began is the time before it looked.
func (f *follower) version(ctx context.Context) (v fileVersion, began moment, err error) {
	conn, err := f.store.system.Conn(ctx)
	if err != nil {
		return v, began, classify(err)
	}
	defer conn.Close() //nolint:errcheck // returns it to the pool
	if err := conn.Raw(func(driver any) error {
		v.connection = driver
		return nil
	}); err != nil {
		return v, began, classify(err)
	}
	began = f.now()
	err = conn.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&v.number)
	return v, began, classify(err)
}
