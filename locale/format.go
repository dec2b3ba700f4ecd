package locale

import (
	"fmt"
	"strings"
)

// piece is a part of a message: text as it is, or the place of an argument.
type piece struct {
	text string
	verb byte // 'd', 's', or 0 for text
	arg  int  // index of the argument
}

// split splits a message at its verbs: %s and %d, which may name their argument as in %[2]s, and %% for a percent sign.
func split(format string) ([]piece, error) {
	var pieces []piece
	next := 0
	for format != "" {
		at := strings.IndexByte(format, '%')
		if at < 0 {
			return append(pieces, piece{text: format}), nil
		}
		if at > 0 {
			pieces = append(pieces, piece{text: format[:at]})
		}
		format = format[at+1:]
		if strings.HasPrefix(format, "%") {
			pieces, format = append(pieces, piece{text: "%"}), format[1:]
			continue
		}
		if len(format) > 3 && format[0] == '[' && format[2] == ']' && format[1] >= '1' && format[1] <= '9' {
			next, format = int(format[1]-'1'), format[3:]
		}
		if format == "" || format[0] != 's' && format[0] != 'd' {
			return nil, fmt.Errorf("a percent sign is not followed by s or d; write %%%% for the sign itself")
		}
		pieces, format = append(pieces, piece{verb: format[0], arg: next}), format[1:]
		next++
	}
	return pieces, nil
}
