package main

import (
	"bytes"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// timings reads how long packages took from what `go test` prints.
type timings struct{ runs []*timing }

// timing is that of one command.
type timing struct {
	command string
	out     bytes.Buffer
}

func (t *timings) of(command []string) *timing {
	run := &timing{command: strings.Join(command, " ")}
	t.runs = append(t.runs, run)
	return run
}

// Write implements io.Writer.
func (t *timing) Write(b []byte) (int, error) { return t.out.Write(b) }

var tested = regexp.MustCompile(`(?m)^ok\s+(\S+)\s+([0-9.]+)s`)

// packages are those with tests that ran, the longest first.
func (t *timing) packages() (lines []string) {
	type row struct {
		name    string
		seconds float64
	}
	var rows []row
	for _, m := range tested.FindAllStringSubmatch(t.out.String(), -1) {
		if seconds, err := strconv.ParseFloat(m[2], 64); err == nil {
			rows = append(rows, row{m[1], seconds})
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		switch {
		case a.seconds > b.seconds:
			return -1
		case a.seconds < b.seconds:
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	for _, r := range rows {
		lines = append(lines, fmt.Sprintf("| %s | %.0f |", strings.TrimPrefix(r.name, "doorward/"), r.seconds))
	}
	return lines
}

// page tells how long everything took, and each package.
func (t *timings) page(total time.Duration) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "<!-- Written by `make test-times`. -->\n\n# How long the tests take\n\n"+
		"`make test` took %s on %d cores (%s/%s, %s), compiling included. Packages run side by side.\n",
		total.Round(time.Second), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	for _, run := range t.runs {
		fmt.Fprintf(&out, "\n    %s\n\n| package | seconds |\n| --- | ---: |\n%s\n", run.command, strings.Join(run.packages(), "\n"))
	}
	return out.Bytes()
}
