package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report prints the table, saves it if every row was measured, and fails if a row is below its target.
func (b *bench) report(rows []*row, starts []start) error {
	var t strings.Builder
	missed := 0
	fmt.Fprintf(&t, "| path | target | result, median (least, most) | ours, per second | baseline, per second | met |\n"+
		"| --- | --- | --- | --- | --- | --- |\n")
	for _, r := range rows {
		m := median(r.ratios)
		if m < r.want {
			missed++
		}
		fmt.Fprintf(&t, "| %s | ≥ %.2f × %s | %.2f (%.2f, %.2f) | %.0f | %.0f | %s |\n", r.name, r.want, r.limit, m,
			slices.Min(r.ratios), slices.Max(r.ratios), median(r.rates), median(r.limits), holds(m >= r.want))
	}
	if len(starts) > 0 {
		var ready, memory []float64
		for _, s := range starts {
			ready, memory = append(ready, float64(s.ready.Microseconds())/1000), append(memory, float64(s.resident)/(1<<20))
		}
		ms, mib := median(ready), median(memory)
		if ms >= 150 || mib >= 64 {
			missed++
		}
		fmt.Fprintf(&t, "| start to ready, SQLite | < 150 ms | %.0f ms (%.0f, %.0f) | | | %s |\n", ms, slices.Min(ready),
			slices.Max(ready), holds(ms < 150))
		fmt.Fprintf(&t, "| resident memory, idle | < 64 MiB | %.0f MiB (%.0f, %.0f) | | | %s |\n", mib, slices.Min(memory),
			slices.Max(memory), holds(mib < 64))
	}
	say("\n%s", t.String())
	if b.only == "" {
		if err := b.keep(t.String()); err != nil {
			return err
		}
	}
	if missed > 0 && !b.lenient {
		return errors.New("a row is below its target")
	}
	return nil
}

func holds(ok bool) string {
	if ok {
		return "yes"
	}
	return "**no**"
}

func (b *bench) keep(table string) error {
	text := fmt.Sprintf(`# Benchmarks

Written by `+"`make bench`"+
		` on %s, %d processors, %s. Only ratios count. Each one
compares two things that were measured one after the other in the same run, %d rounds of %s each, in a changing order. The
result of a row is the median of its rounds.

The baselines are a bare `+"`net/http`"+` handler that parses the form and writes the same bytes, and pgbench
(`+"`-M prepared`"+`) with the same statements and %d connections, the size of the server's pool. Load comes from wrk with
%d connections. PostgreSQL runs with its defaults, fsync on. Introspection, token requests and
key checks on PostgreSQL reach the database each time, because only client registrations are cached.

%s
`, time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), runtime.Version(), b.rounds, b.length,
		poolConns, wrkConns, table)
	path := filepath.Join("docs", "benchmarks.md")
	if err := os.MkdirAll("docs", 0o755); err != nil { //nolint:gosec // part of the repository
		return fmt.Errorf("keep the table: %w", err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("keep the table: %w", err)
	}
	say("kept in %s", path)
	return nil
}
