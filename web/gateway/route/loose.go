package route

import (
	"net/url"
	"strings"
	"unicode"
)

// loosePath returns a decoded path in the spelling for loose comparison: in lower case and without a trailing slash.
func loosePath(path string) string {
	if path != "/" {
		path = strings.TrimSuffix(path, "/")
	}
	return looseText(path)
}

// looseText returns a text in lower case, so that texts that differ only in case become equal.
func looseText(text string) string {
	return strings.Map(func(c rune) rune { return unicode.ToLower(unicode.ToUpper(c)) }, text)
}

// SameLoosely reports whether two texts are the same to an API that compares loosely.
func SameLoosely(a, b string) bool { return looseText(a) == looseText(b) }

// Find finds the route of a request with a path, which was decoded from escaped, and the value of {object}. route is
// nil if there is none. It returns false if an API that compares loosely could match the path to another route.
// Frameworks differ in whether they decode letters before comparing (Express does not), which non-ASCII letters equal
// an ASCII letter, and whether an extension such as .json is part of the path (in Rails it is not).
func (t *Table) Find(method, path, escaped string) (route *Route, object string, ok bool) {
	if !t.loose {
		index, object := t.match(method, path)
		return t.route(index), object, true
	}
	if strings.ContainsFunc(path, func(c rune) bool {
		return c > unicode.MaxASCII && unicode.ToLower(unicode.ToUpper(c)) <= unicode.MaxASCII
	}) {
		return nil, "", false
	}
	path = loosePath(path)
	index, object := t.match(method, path)
	if undecoded := keepingLetters(escaped); undecoded != "" {
		if other, otherObject := t.match(method, loosePath(undecoded)); other != index || otherObject != object {
			return nil, "", false
		}
	}
	last := path[strings.LastIndexByte(path, '/')+1:]
	stem := strings.LastIndexByte(last, '.')
	if stem > 0 && index >= 0 && t.patterns[index].at(len(t.patterns[index])-1) != last {
		other, otherObject := t.match(method, path[:len(path)-len(last)+stem])
		if other >= 0 && (other != index || otherObject != object) {
			return nil, "", false
		}
	}
	return t.route(index), object, true
}

// route returns a route by its index, and nil for -1.
func (t *Table) route(index int) *Route {
	if index < 0 {
		return nil
	}
	return &t.routes[index]
}

// keepingLetters decodes a path except for the unnecessary escapes of letters, digits, hyphens, underscores and tildes.
// It returns an empty string if there are none of these.
func keepingLetters(escaped string) string {
	var b strings.Builder
	found := false
	for i := 0; i < len(escaped); i++ {
		if escaped[i] != '%' || i+2 >= len(escaped) {
			b.WriteByte(escaped[i])
			continue
		}
		text, err := url.PathUnescape(escaped[i : i+3])
		if err != nil || len(text) != 1 {
			return ""
		}
		if c := text[0]; strings.IndexByte("-_~", c) >= 0 || isLetterOrDigit(c) {
			found = true
			b.WriteString(escaped[i : i+3])
		} else {
			b.WriteByte(c)
		}
		i += 2
	}
	if !found {
		return ""
	}
	return b.String()
}

func isLetterOrDigit(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' }
