package input

import (
	"strconv"
	"strings"

	"doorward/locale"
)

// Quote quotes a value for a sentence, on one line and cut after 80 bytes.
func Quote(s string) string {
	const longest = 80
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return strconv.Quote(s)
}

// Either lists the values between which a user can choose, for a sentence: a or b or c.
func Either(values []string) locale.Text {
	var list locale.Text
	for i, value := range values {
		if i == 0 {
			list = locale.Text{Format: "%s", Args: []any{value}} // it is not ours to translate
			continue
		}
		list = locale.New("%s or %s", list, value)
	}
	return list
}
