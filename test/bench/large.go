package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// sizeRows compare a large database with a small one, and count what a check writes.
func (b *bench) sizeRows() []*row {
	return []*row{b.manyThings("introspection", false), b.manyThings("key check with limit", true), b.written()}
}

func (b *bench) manyThings(what string, keys bool) *row {
	var many, few load
	return &row{
		topic: "size of the database, cold, PostgreSQL", variant: what,
		limit: "with 1000 of each", want: 0.85,
		about: fmt.Sprintf("The large database has %d users, each with a workspace and a grant, %d tokens and %d "+
			"keys. The checked ones, up to %d tokens and %d keys, lie evenly among the others, so that nearly each has "+
			"pages of its own, and each of them is checked before every round. With `cache: off`, each check follows the "+
			"indexes to the rows. Deeper indexes and the processor's own caches limit it, and PostgreSQL's memory: "+
			"with its default of 128 MB, which holds a small part of these pages, introspection reached about 0.75.",
			b.large.users, b.large.tokens, b.large.keys, tokenSample, keySample),
		setup: func(ctx context.Context) error {
			for name, l := range map[string]*load{large: &many, reads: &few} {
				s, p, err := b.on(ctx, name, cold)
				if err != nil {
					return err
				}
				*l = load{url: p.url + "/oauth/introspect", bodies: s.tokenForms, authorization: s.asAPI()}
				if keys {
					l.bodies = s.keyForms
				}
			}
			return nil
		},
		// Other rows have used the memory of PostgreSQL since the round before.
		prepare: func(ctx context.Context, _ int) error {
			all, err := countLines(many.bodies)
			if err != nil {
				return err
			}
			first := many
			for first.seconds = 2 * b.seconds(); ; {
				_, sent, err := b.wrkCounting(ctx, first)
				if err != nil || sent >= all || first.seconds >= longTail*b.seconds() {
					return err
				}
				// One run asks for them in order, and begins anywhere.
				first.seconds = min(longTail*b.seconds(), first.seconds*(all*5/4)/max(sent, 1)+1)
			}
		},
		ours:    func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, many) },
		against: func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, few) },
	}
}

// checksOfEachKey is how often the checks of written use each key of the sample, on average.
const checksOfEachKey = 4

// written measures the write-ahead log of PostgreSQL.
func (b *bench) written() *row {
	var s *site
	return &row{
		topic: "write-ahead log for each check of one of many keys", want: 0.5, atMost: true, unit: "kB",
		about: fmt.Sprintf("A server checks %d keys of the large database, with its limits in memory, about %d times "+
			"each, ", keySample, checksOfEachKey) +
			"writes all that it has collected, and stops. What PostgreSQL logged meanwhile is divided by the " +
			"checks: last uses, usage and recent requests. Each key is checked only a few times in a round, which " +
			"is nearly the worst case, since what is written for a key is written at most every few seconds. In the " +
			"first round, every key is used for the first time. The log contains each changed page whole the first " +
			"time after a checkpoint, and each round begins with one.",
		setup: func(ctx context.Context) (err error) { s, err = b.site(ctx, large); return err },
		ours: func(ctx context.Context, _ int) (float64, error) {
			p, err := b.start(ctx, s, warm)
			if err != nil {
				return 0, err
			}
			stopped := false
			defer func() {
				if !stopped {
					p.stop()
				}
			}()
			counted, err := s.counted(ctx)
			if err != nil {
				return 0, err
			}
			if _, err := s.superuser.Exec(ctx, `CHECKPOINT`); err != nil {
				return 0, fmt.Errorf("checkpoint: %w", err)
			}
			var before string
			if err := s.superuser.QueryRow(ctx, `SELECT pg_current_wal_insert_lsn()::text`).Scan(&before); err != nil {
				return 0, fmt.Errorf("position in the log: %w", err)
			}
			checks := 0
			for checks < checksOfEachKey*keySample {
				_, sent, err := b.wrkCounting(ctx, load{
					url: p.url + "/oauth/introspect", bodies: s.keyForms, authorization: s.asAPI(), seconds: 3 * b.seconds(),
				})
				if err != nil {
					return 0, err
				}
				checks += sent
			}
			if err := s.allCounted(ctx, counted+checks); err != nil {
				return 0, err
			}
			p.stop()
			stopped = true
			var bytes float64
			if err := s.superuser.QueryRow(ctx,
				`SELECT pg_current_wal_insert_lsn() - $1::text::pg_lsn`, before).Scan(&bytes); err != nil {
				return 0, fmt.Errorf("position in the log: %w", err)
			}
			return bytes / float64(checks) / 1000, nil
		},
	}
}

// counted is how many checks the database knows of.
func (s *site) counted(ctx context.Context) (int, error) {
	var n int
	err := s.superuser.QueryRow(ctx, `SELECT coalesce(sum(allowed), 0)::bigint FROM usage_hourly`).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("usage: %w", err)
	}
	return n, nil
}

// allCounted waits until the database knows of so many checks: usage is the last thing that the server writes of them.
func (s *site) allCounted(ctx context.Context, want int) error {
	for range 60 {
		n, err := s.counted(ctx)
		if err != nil || n >= want {
			return err
		}
		time.Sleep(time.Second) //nolint:forbidigo // the server writes every five seconds
	}
	return errors.New("the server did not write the usage of all checks within a minute")
}
