// Command bench measures Doorward as ratios, in one run on one machine, against two limits: a bare net/http handler
// that parses a form and writes the same bytes, and pgbench running the same statements. It prints the table and keeps
// it in docs/benchmarks.md. A row that misses its target makes it fail.
//
//	go run ./test/bench                 all rows
//	go run ./test/bench -only refresh   the rows with this text in their names, nothing written
//
// Everything is on loopback and ends by itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"doorward/test/postgres"
)

func main() {
	if len(os.Args) > 1 {
		if serve := modes[os.Args[1]]; serve != nil {
			if err := serve(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	b := bench{sites: map[string]*site{}, running: map[string]*process{}}
	flag.StringVar(&b.only, "only", "", "measure the rows whose name holds this text; writes no file")
	flag.DurationVar(&b.length, "length", 2*time.Second, "of each measurement, in whole seconds")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds; each measures every row once, in a different order")
	flag.IntVar(&b.large.users, "users", 1_000_000, "users in the large database")
	flag.IntVar(&b.large.tokens, "tokens", 10_000_000, "active tokens in the large database")
	flag.IntVar(&b.large.keys, "keys", 1_000_000, "API keys in the large database")
	flag.BoolVar(&b.lenient, "lenient", false, "do not fail when a row misses its target")
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
	large   size
	lenient bool

	dir     string // temporary; removed at the end
	began   time.Time
	cluster *postgres.Server
	sites   map[string]*site    // by name; see on
	running map[string]*process // by what they run
	closers []func()            // called in reverse order at the end
}

// rows are all rows, in the order of the table. Each prepares what it needs in its setup.
func (b *bench) rows() []*row {
	return slices.Concat(b.warmRows(), b.changeRows(), b.latencyRows(), b.coldRows(), b.grantRows(), b.sizeRows(),
		b.gatewayRows(), b.keyRows(), b.memoryRows(), b.pageRows(), b.passwordRows(), b.passkeyRows(), b.emailRows(), b.peerRows())
}

func (b *bench) run(ctx context.Context) error {
	b.began = time.Now()
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
	rows := slices.DeleteFunc(b.rows(), func(r *row) bool { return !strings.Contains(r.name(), b.only) })
	if len(rows) == 0 {
		return fmt.Errorf("no row has %q in its name", b.only)
	}
	say("building doorward and this command")
	if err := b.build(ctx); err != nil {
		return err
	}
	defer func() {
		for _, f := range slices.Backward(b.closers) {
			f()
		}
	}()
	for _, r := range rows {
		err := r.prepareOnce(ctx)
		if r.peer && err != nil && ctx.Err() == nil {
			say("%s: not available: %v", r.name(), err)
			r.missing = true
		} else if err != nil {
			return fmt.Errorf("%s: %w", r.name(), err)
		}
	}
	for round := range b.rounds {
		for i := range rows {
			r := rows[(i+round)%len(rows)]
			if r.missing || r.rounds > 0 && round >= r.rounds {
				continue
			}
			if err := r.measure(ctx, round); err != nil {
				return fmt.Errorf("%s: %w", r.name(), err)
			}
			b.emptyLogs()
		}
	}
	return b.report(rows)
}

// errMissed means that rows missed their targets.
var errMissed = errors.New("a row misses its target")

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }
