package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	cached   = 100_000 // credentials in the cache whose memory is measured; as many as it holds
	settling = 2000    // those of them that are checked before, so that buffers and pools have their size
)

// memoryRows are the memory and the start of a server.
func (b *bench) memoryRows() []*row {
	return []*row{
		{
			topic: "live heap for each cached credential", want: 1, atMost: true, unit: "KiB", rounds: 2,
			about: fmt.Sprintf("A server introspects %d different tokens once. Its heap after a garbage "+
				"collection, less its heap after the first %d of them, is divided by the number of the others. It "+
				"holds the row, the texts in it and the cache's own entry, and what else is remembered of a token, "+
				"such as when it was used. The collector lets a heap grow to several times what is live; "+
				"docs/operations.md says how to bound it.", cached, settling),
			ours: func(ctx context.Context, _ int) (float64, error) { return b.heapEach(ctx) },
		},
		{
			topic: "start to ready, SQLite", want: 150, atMost: true, unit: "ms",
			about: "From the start of the process to the first answer at /readyz, with a new database file. The " +
				"migrations limit it.",
			ours: func(ctx context.Context, round int) (float64, error) {
				began := time.Now()
				p, err := b.fresh(ctx, "start", round)
				if err != nil {
					return 0, err
				}
				ready := time.Since(began)
				p.stop()
				return ready.Seconds() * 1000, nil
			},
		},
		{
			topic: "resident memory, idle", want: 64, atMost: true, unit: "MiB",
			about: "What the system counts for the process a second after that start: the program, its libraries " +
				"and their buffers.",
			ours: b.resident,
		},
	}
}

// fresh starts a server with an empty SQLite database.
func (b *bench) fresh(ctx context.Context, what string, round int) (*process, error) {
	path := filepath.Join(b.dir, what+"-"+strconv.Itoa(round), "doorward.db")
	return b.start(ctx, &site{database: "sqlite:" + path}, standard)
}

func (b *bench) resident(ctx context.Context, round int) (float64, error) {
	p, err := b.fresh(ctx, "idle", round)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	time.Sleep(time.Second) //nolint:forbidigo // idle is the point
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("resident memory: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kb), " kB")), 64)
			return n / 1024, err
		}
	}
	return 0, errors.New("resident memory: the system does not say")
}

// heapEach is the live heap for each of many cached credentials, in KiB.
func (b *bench) heapEach(ctx context.Context) (float64, error) {
	s, err := b.site(ctx, crowd)
	if err != nil {
		return 0, err
	}
	p, err := b.start(ctx, s, warm)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	l := load{url: p.url + "/oauth/introspect", bodies: s.tokenForms, authorization: s.asAPI()}
	if _, err := b.askEach(ctx, l, 0, settling); err != nil {
		return 0, err
	}
	before, err := p.heap(ctx)
	if err != nil {
		return 0, err
	}
	n, err := b.askEach(ctx, l, settling, cached-settling)
	if err != nil {
		return 0, err
	}
	after, err := p.heap(ctx)
	return (after - before) / float64(n) / 1024, err
}

// heap is the live heap in bytes.
func (p *process) heap(ctx context.Context) (float64, error) {
	var live float64
	for range 2 { // a pool keeps what it holds for one collection
		profile, err := fetch(ctx, p.admin+"/debug/pprof/heap?gc=1&debug=1")
		if err != nil {
			return 0, err
		}
		_, rest, found := bytes.Cut(profile, []byte("\n# HeapAlloc = "))
		value, _, _ := bytes.Cut(rest, []byte("\n"))
		if live, err = strconv.ParseFloat(string(value), 64); err != nil || !found {
			return 0, fmt.Errorf("heap: %w", err)
		}
	}
	return live, nil
}
