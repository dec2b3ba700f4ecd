package route

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// DecodePath decodes the path of a request once. It refuses paths that another server could read differently: those
// with dot segments, empty segments, backslashes, semicolons (which start parameters for some servers) or escapes of
// these, double escapes, control characters or invalid UTF-8.
func DecodePath(escaped string) (path string, ok bool) {
	if escaped == "" || escaped[0] != '/' || strings.Contains(escaped, "//") || strings.ContainsAny(escaped, `\;#?`) {
		return "", false
	}
	path = escaped
	if strings.Contains(escaped, "%") {
		for i := range len(escaped) {
			if escaped[i] == '%' && hides(escaped[i+1:]) {
				return "", false
			}
		}
		decoded, err := url.PathUnescape(escaped)
		if err != nil || escapedTwice(decoded) {
			return "", false
		}
		path = decoded
	}
	if !utf8.ValidString(path) || strings.ContainsFunc(path, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return "", false
	}
	for rest, more := path[1:], true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if segment == "." || segment == ".." {
			return "", false
		}
	}
	return path, true
}

// hides reports whether the text after a percent sign is the escape of a character that could change the path.
func hides(text string) bool {
	if len(text) < 2 {
		return true
	}
	switch strings.ToLower(text[:2]) {
	case "2e", "2f", "5c", "3b", "00":
		return true
	}
	return false
}

// escapedTwice reports whether a decoded text could be decoded again.
func escapedTwice(text string) bool {
	for i := range len(text) {
		if text[i] == '%' && i+2 < len(text) && isHex(text[i+1]) && isHex(text[i+2]) {
			return true
		}
	}
	return false
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }
