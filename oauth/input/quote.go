package input

import (
	"strconv"
	"strings"
)

// Quote shows a value inside a sentence: in quotes, on one line, and cut after 80 bytes.
func Quote(s string) string {
	const longest = 80
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return strconv.Quote(s)
}
