// Command bench measures Doorward as ratios, in one run on one machine, against two limits: a bare net/http handler
// that parses a form and writes the same bytes, and pgbench running the same statements with the same number of
// connections. It prints the table and keeps it in docs/benchmarks.md. A row below its target makes it fail.
//
//	go run ./test/bench                 all rows
//	go run ./test/bench -only refresh   one row, nothing written
//
// Everything is on loopback and ends by itself.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "bare" {
		serveBare()
		return
	}
	for name, serve := range map[string]func(address, of string) error{
		"bare-proxy": serveBareProxy,
		"guarded":    serveGuarded,
	} {
		if len(os.Args) > 3 && os.Args[1] == name {
			if err := serve(os.Args[2], os.Args[3]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	var b bench
	flag.StringVar(&b.only, "only", "", "measure the row whose name holds this text; writes no file")
	flag.DurationVar(&b.length, "length", 4*time.Second, "of each measurement")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds; each measures every row once, in a different order")
	flag.IntVar(&b.many, "tokens", 1_000_000, "active tokens in the large database")
	flag.BoolVar(&b.lenient, "lenient", false, "do not fail when a row is below its target")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// bench holds the state of one run.
type bench struct {
	only    string
	length  time.Duration
	rounds  int
	many    int
	lenient bool
	dir     string // temporary; removed at the end
}

// row is one line of the table: a path of Doorward, and the limit that it is compared with.
type row struct {
	name  string
	limit string // description of the limit
	want  float64
	// prepare creates the single-use credentials for a measurement of this length; nil if there are none.
	prepare func(ctx context.Context, round int) error
	ours    func(ctx context.Context, round int) (perSecond float64, err error)
	against func(ctx context.Context, round int) (perSecond float64, err error)

	rates, limits, ratios []float64
}

func (b *bench) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "doorward-bench-")
	if err != nil {
		return fmt.Errorf("bench folder: %w", err)
	}
	b.dir = dir
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	// PostgreSQL's own user must be able to enter this folder.
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // it holds no secrets
		return fmt.Errorf("bench folder: %w", err)
	}
	say("building doorward and this command")
	if err := b.build(ctx); err != nil {
		return err
	}
	rows, closeAll, err := b.rows(ctx)
	defer closeAll()
	if err != nil {
		return err
	}
	if b.only != "" {
		rows = slices.DeleteFunc(rows, func(r *row) bool { return !strings.Contains(r.name, b.only) })
	}
	for round := range b.rounds {
		for i := range rows {
			r := rows[(i+round)%len(rows)]
			if err := b.measure(ctx, r, round); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
		}
	}
	var starts []start
	if b.only == "" || strings.Contains("start", b.only) {
		if starts, err = b.starts(ctx); err != nil {
			return err
		}
	}
	return b.report(rows, starts)
}

// measure takes one round of a row. The order of the two sides changes from round to round, so that neither always
// finds the machine warm.
func (b *bench) measure(ctx context.Context, r *row, round int) error {
	if r.prepare != nil {
		if err := r.prepare(ctx, round); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	var ours, limit float64
	order := []func() error{
		func() (err error) { ours, err = r.ours(ctx, round); return err },
		func() (err error) { limit, err = r.against(ctx, round); return err },
	}
	if round%2 == 1 {
		slices.Reverse(order)
	}
	for _, f := range order {
		if err := f(); err != nil {
			return err
		}
	}
	r.rates, r.limits, r.ratios = append(r.rates, ours), append(r.limits, limit), append(r.ratios, ours/limit)
	say("round %d  %-28s %8.0f/s against %8.0f/s  ratio %.2f", round+1, r.name, ours, limit, ours/limit)
	return nil
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}
