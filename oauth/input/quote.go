package input

import (
	"strconv"
	"strings"
)

// Quote quotes a value for a sentence, on one line and cut after 80 bytes.
func Quote(s string) string {
	const longest = 80
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return strconv.Quote(s)
}
