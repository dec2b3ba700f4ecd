package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report prints the tables, keeps them if every row was measured, and fails if a row misses its target.
func (b *bench) report(rows []*row) error {
	own, peers := table(rows, false), table(rows, true)
	say("\n%s\n%s\n%s", own, peers, time.Since(b.began).Round(time.Second))
	if b.only == "" {
		if err := b.keepPage(rows, own, peers); err != nil {
			return err
		}
	}
	if !b.lenient && slices.ContainsFunc(rows, func(r *row) bool { return !r.met() }) {
		return errMissed
	}
	return nil
}

// table has a line for each row.
func table(rows []*row, peers bool) string {
	var t strings.Builder
	t.WriteString("| figure | target | result, median (least, most) | ours | limit | met |\n" +
		"| --- | --- | --- | --- | --- | --- |\n")
	if peers {
		t.Reset()
		t.WriteString("| figure | beside | ratio, median (least, most) | ours | theirs |\n| --- | --- | --- | --- | --- |\n")
	}
	for _, r := range rows {
		switch {
		case r.peer != peers:
		case r.missing:
			fmt.Fprintf(&t, "| %s | %s | not available on this machine | | |\n", r.name(), r.limit)
		case peers:
			fmt.Fprintf(&t, "| %s | %s | %s | %s | %s |\n", r.name(), r.limit, r.spread(), r.figure(median(r.figures)),
				r.figure(median(r.limits)))
		default:
			ours, limit := "", ""
			if r.against != nil {
				ours, limit = r.figure(median(r.figures)), r.figure(median(r.limits))
			}
			ours = strings.TrimPrefix(ours+r.said(), ", ")
			fmt.Fprintf(&t, "| %s | %s | %s | %s | %s | %s |\n", r.name(), r.target(), r.spread(), ours, limit, r.holds())
		}
	}
	return t.String()
}

// target says what the result must be.
func (r *row) target() string {
	sign := "≥ "
	if r.atMost {
		sign = "≤ "
	}
	switch {
	case r.want == 0:
		return "beside " + r.limit
	case r.against == nil:
		return sign + strings.TrimSuffix(fmt.Sprintf("%g %s", r.want, r.unit), " ")
	case r.atMost:
		return fmt.Sprintf("%s%g × %s", sign, r.want, r.limit)
	}
	return fmt.Sprintf("%s%.2f × %s", sign, r.want, r.limit)
}

func (r *row) spread() string {
	all := r.results()
	if len(all) == 1 {
		return r.result(all[0])
	}
	return fmt.Sprintf("%s (%s, %s)", r.result(median(all)), r.result(slices.Min(all)), r.result(slices.Max(all)))
}

func (r *row) holds() string {
	switch {
	case r.want == 0:
		return ""
	case r.met():
		return "yes"
	}
	return "**no**"
}

// keepPage writes docs/benchmarks.md.
func (b *bench) keepPage(rows []*row, own, peers string) error {
	var about strings.Builder
	for i, r := range rows {
		if i == 0 || rows[i-1].topic != r.topic {
			fmt.Fprintf(&about, "- %s\n", wrap("**"+r.topic+"**: "+r.about, 118, "  "))
		}
	}
	when := wrap(fmt.Sprintf("Written by `make bench` on %s, %d processors, %s. Only ratios count, and the figures "+
		"that have a unit. A ratio compares two things that were measured one after the other in the same run, at "+
		"most %d rounds of %s each, in a changing order; the result of a row is the median of its rounds. Where a "+
		"row says nothing else, its figures are requests a second.",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(),
		b.rounds, b.length), 120, "")
	how := wrap(fmt.Sprintf("Load comes from wrk with %d connections, unless the row says another number, and "+
		"pgbench (`-M prepared`) has %d clients, the size of one of the server's pools, unless it says another "+
		"number. Server, database and load driver share the machine. The bare handler is a `net/http` server with "+
		"Go's defaults. Log lines go to a file. PostgreSQL runs with its defaults, fsync on, but "+
		"with 1 GB of memory of its own (`shared_buffers`). In a row that is "+
		"warm, the server answers from its cache; in one that is cold, the cache is off.",
		usualConns, poolConns), 120, "")
	page := "# Benchmarks\n\n" + when + "\n\n" + how + "\n\n" + own + `
## How to read the rows

` + about.String() + `
## Other servers

The same work by others, on this machine and in this run. No target is set: the servers differ in what they promise.

` + peers
	path := filepath.Join("docs", "benchmarks.md")
	if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
		return fmt.Errorf("keep the tables: %w", err)
	}
	say("kept in %s", path)
	return nil
}

// wrap breaks text into lines of at most width characters. Lines after the first begin with an indent.
func wrap(text string, width int, indent string) string {
	var out strings.Builder
	length := 0
	for word := range strings.FieldsSeq(text) {
		n := len([]rune(word))
		switch {
		case length == 0:
		case length+1+n > width:
			out.WriteString("\n" + indent)
			length = len(indent)
		default:
			out.WriteString(" ")
			length++
		}
		out.WriteString(word)
		length += n
	}
	return out.String()
}
