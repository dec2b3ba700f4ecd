package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// origin is where a value was set: a line of a file, a flag, or a variable. The zero origin means a default.
type origin struct {
	source string // file name, --flag or VARIABLE
	line   int    // 0 outside a file
}

func (o origin) String() string {
	if o.line == 0 {
		return o.source
	}
	return fmt.Sprintf("%s:%d", o.source, o.line)
}

// Fault is an error in the configuration: a sentence about a key.
type Fault struct {
	origin origin
	key    string // such as resources[0].routes[2].path; empty for a whole file
	text   string
}

// String implements fmt.Stringer.
func (f Fault) String() string {
	var b strings.Builder
	for _, part := range []string{f.origin.String(), f.key} {
		if part != "" {
			b.WriteString(part + ": ")
		}
	}
	return b.String() + f.text
}

// Faults are all the errors in a configuration, so that an operator can fix them at once. Each is a line of the
// message.
type Faults []Fault

// Error implements error.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, one := range f {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// sorted sorts the faults of a file by line, after those of flags and variables.
func (f Faults) sorted() Faults {
	slices.SortStableFunc(f, func(a, b Fault) int { return cmp.Compare(a.origin.line, b.origin.line) })
	return f
}

// nearest is the name that a mistyped word most likely means; empty if none is close.
func nearest(word string, names []string) string {
	word = strings.ToLower(strings.ReplaceAll(word, "-", "_"))
	best, least := "", 3
	for _, name := range names {
		if d := distance(word, name); d < least && d < len(name) {
			best, least = name, d
		}
	}
	return best
}

// distance is the Levenshtein distance of two words. Long words count as distant.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
