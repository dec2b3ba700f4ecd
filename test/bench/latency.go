package main

import (
	"context"
	"fmt"
	"time"
)

// longTail is how many measurements long a run is from which the slowest of a thousand requests is read: a minute.
const longTail = 30

// latencyRows are latencies at half the peak rate.
func (b *bench) latencyRows() []*row {
	p99 := b.tail("introspection, p99 at half the peak", "", reads, warm, false, 0.99, 10)
	p99.want = 3
	p99.about = "Requests are due at constant intervals, at half the rate that the server reached with wrk just " +
		"before, and are timed from the moment at which they were due. The driver sends those that are due once a " +
		"millisecond. The bare handler gets the same rate. Both figures contain the wait for the next millisecond " +
		"and for one of the processors, which server, database and driver share; ours also the garbage collector " +
		"and the writes in the background."
	rows := []*row{p99}
	for _, at := range []struct{ engine, name string }{{"PostgreSQL", reads}, {"SQLite", liteReads}} {
		r := b.tail("key check, p99.9 at half the peak", at.engine, at.name, standard, true, 0.999, longTail)
		r.want, r.rounds = 10, 1
		r.about = "The same for key checks, over a time in which the server often writes last uses, usage and " +
			"counters. Limits are counted where they are by default: in PostgreSQL or, with SQLite, in memory. A " +
			"stall of any part of the server, or of the disk, shows here."
		rows = append(rows, r)
	}
	return rows
}

// tail compares the latency within which a share of the requests is answered with that of the bare handler.
func (b *bench) tail(
	topic, variant, name, configuration string, keys bool, share float64, lengths time.Duration,
) *row {
	var ours, bare load
	var peak float64
	measure := func(ctx context.Context, l load) (float64, error) {
		o, err := l.open(peak/2, lengths*b.length, tailConns)
		if err != nil {
			return 0, err
		}
		latencies, err := o.run(ctx)
		return quantile(latencies, share).Seconds() * 1000, err
	}
	return &row{
		topic: topic, variant: variant, limit: "bare handler", atMost: true, unit: "ms",
		setup: func(ctx context.Context) (err error) {
			ours, bare, err = b.pair(ctx, name, configuration, keys)
			return err
		},
		prepare: func(ctx context.Context, _ int) (err error) { peak, err = b.wrk(ctx, ours); return err },
		ours:    func(ctx context.Context, _ int) (float64, error) { return measure(ctx, ours) },
		against: func(ctx context.Context, _ int) (float64, error) { return measure(ctx, bare) },
		note:    func() string { return fmt.Sprintf("%.0f requests a second", peak/2) },
	}
}
