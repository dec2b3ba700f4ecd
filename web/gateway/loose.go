package gateway

import (
	"net/url"
	"strings"
	"unicode"
)

// LoosePath is a path, of a route or decoded from a request, in the spelling that stands for all those which APIs that
// compare loosely take for the same: letters in lower case and no slash at the end.
func LoosePath(path string) string {
	if path != "/" {
		path = strings.TrimSuffix(path, "/")
	}
	return looseText(path)
}

// looseText is a text in lower case, so that two which differ in case alone are the same.
func looseText(text string) string {
	return strings.Map(func(c rune) rune { return unicode.ToLower(unicode.ToUpper(c)) }, text)
}

// find finds the first rule for a method and a path, which was decoded from its escaped form. It is not ok where an API that
// compares loosely might take the path for one of another rule: frameworks differ in whether they decode a letter before
// they compare (Express does not), in which letters beyond ASCII are the same as one of ASCII, and in whether an ending such
// as .json is part of the path (in Rails it is not).
func (t *routes) find(method, path, escaped string) (rule *Rule, object string, ok bool) {
	if !t.loose {
		rule, object = t.match(method, path)
		return rule, object, true
	}
	if strings.ContainsFunc(path, func(c rune) bool {
		return c > unicode.MaxASCII && unicode.ToLower(unicode.ToUpper(c)) <= unicode.MaxASCII
	}) {
		return nil, "", false
	}
	path = LoosePath(path)
	rule, object = t.match(method, path)
	if undecoded := keepingLetters(escaped); undecoded != "" {
		if other, otherObject := t.match(method, LoosePath(undecoded)); other != rule || otherObject != object {
			return nil, "", false
		}
	}
	last := path[strings.LastIndexByte(path, '/')+1:]
	if stem := strings.LastIndexByte(last, '.'); stem > 0 && rule != nil && !strings.HasSuffix(LoosePath(rule.Path), "/"+last) {
		other, otherObject := t.match(method, path[:len(path)-len(last)+stem])
		if other != nil && (other != rule || otherObject != object) {
			return nil, "", false
		}
	}
	return rule, object, true
}

// keepingLetters decodes a path but for the escapes of letters, digits, hyphens and underscores, which nothing needs; empty
// where it has none of these.
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
		if c := text[0]; plainName(text) || c == '_' || c == '~' {
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
