package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"doorward/oauth/bearer"
)

// changeRows are introspection while other credentials are revoked.
func (b *bench) changeRows() []*row {
	var rows []*row
	for _, perSecond := range []int{1, 10, 100, 1000} {
		r := b.duringChanges(perSecond)
		if perSecond == 1 {
			r.variant = "one revocation a second"
		}
		if perSecond == 10 {
			r.want = 0.80
		} else {
			r.rounds = 2 // it shows where the cache stops helping, and has no target
		}
		rows = append(rows, r)
	}
	return rows
}

func (b *bench) duringChanges(perSecond int) *row {
	var s *site
	var p *process
	var l load
	var found hits
	revoked, lasted := 0, time.Duration(0)
	tokens := filepath.Join(b.dir, fmt.Sprintf("changes-%d", perSecond))
	return &row{
		topic: "introspection, warm, PostgreSQL, during changes", limit: "without revocations",
		variant: fmt.Sprintf("%d revocations a second", perSecond),
		about: "While tokens are introspected, other ones are revoked at `/oauth/revoke`, at constant intervals. A " +
			"revocation makes the server forget what depends on the revoked token and, by chance, a few other " +
			"rows. What limits it is mostly the work of the revocations themselves, each with a commit. How many " +
			"were revoked says whether the server kept up with them.",
		setup: func(ctx context.Context) (err error) {
			if l, _, err = b.pair(ctx, reads, warm, false); err != nil {
				return err
			}
			s, p, err = b.on(ctx, reads, warm)
			return err
		},
		prepare: func(ctx context.Context, _ int) error {
			// A second revocation of the same token would change nothing.
			return s.single(ctx, "access_tokens", []string{"client_id", "resource", "scopes", "created_at", "expires_at"},
				bearer.PrefixAccessToken, tokens, perSecond*b.seconds(), tokenForm, s.client.ID, benchIssuer, "read write", now(),
				now()+day)
		},
		ours: func(ctx context.Context, _ int) (float64, error) {
			revoke := load{url: p.url + "/oauth/revoke", bodies: tokens, authorization: s.asClient()}
			o, err := revoke.open(float64(perSecond), time.Duration(b.seconds())*time.Second, poolConns)
			if err != nil {
				return 0, err
			}
			before, err := p.hits(ctx)
			if err != nil {
				return 0, err
			}
			ended := make(chan error, 1)
			began := time.Now()
			go func() {
				latencies, err := o.run(ctx)
				revoked, lasted = revoked+len(latencies), lasted+time.Since(began)
				ended <- err
			}()
			rate, err := b.wrk(ctx, l)
			after, failed := p.hits(ctx)
			if err := firstError(<-ended, err, failed); err != nil {
				return 0, err
			}
			found = hits{found.hit + after.hit - before.hit, found.miss + after.miss - before.miss}
			return rate, nil
		},
		against: func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, l) },
		note: func() string {
			return fmt.Sprintf("%s, %.0f revoked a second", found, float64(revoked)/max(lasted.Seconds(), 1))
		},
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// hits are how often the cache had an answer, and had none.
type hits struct{ hit, miss float64 }

func (h hits) String() string {
	if h.hit+h.miss == 0 {
		return "hit rate unknown"
	}
	return fmt.Sprintf("hit rate %.1f%%", 100*h.hit/(h.hit+h.miss))
}

// hits reads the counters of the cache.
func (p *process) hits(ctx context.Context) (hits, error) {
	metrics, err := fetch(ctx, p.admin+"/metrics")
	if err != nil {
		return hits{}, err
	}
	var h hits
	lines := bufio.NewScanner(bytes.NewReader(metrics))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "} ")
		if !strings.HasPrefix(name, "doorward_cache_requests_total{") {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return h, fmt.Errorf("metrics: %w", err)
		}
		if strings.Contains(name, `result="hit"`) {
			h.hit += n
		} else {
			h.miss += n
		}
	}
	return h, lines.Err()
}
