package bearer

import (
	"net/url"
	"strings"

	"doorward/oauth/apikey"
)

const redacted = "[redacted]"

// Redacted is text that was sent to this server, without the credentials in it, for a log or a page. What follows the
// prefix of a credential of this server is removed, whole or cut, and so is a JWT; a credential may have been sent in
// the place of anything else, such as a client id. Redacted does not know passwords.
func Redacted(text string) string { return eachWord(text, afterPrefix) }

// RedactedURI is a URI that was sent to this server, without what may be secret in it: the values of its query, its
// fragment, its user information, and random text in its path. It need not be a valid URI.
func RedactedURI(uri string) string {
	rest, fragment, hasFragment := strings.Cut(uri, "#")
	rest, query, hasQuery := strings.Cut(rest, "?")
	if i := encodedQuestionMark(rest); i >= 0 {
		rest = rest[:i] + redacted // a query that was encoded together with the path
	}
	if scheme, after, ok := strings.Cut(rest, "//"); ok {
		end := strings.IndexByte(after, '/')
		if end < 0 {
			end = len(after)
		}
		if at := strings.LastIndexByte(after[:end], '@'); at >= 0 {
			rest = scheme + "//" + redacted + after[at:]
		}
	}
	out := eachWord(rest, secretIn)
	if hasQuery {
		out += "?"
		for i, parameter := range strings.FieldsFunc(query, func(c rune) bool { return c == '&' || c == ';' }) {
			if i > 0 {
				out += "&"
			}
			name, value, pair := strings.Cut(parameter, "=")
			switch {
			case !pair:
				out += redacted
			case value == "":
				out += eachWord(name, secretIn) + "="
			default:
				out += eachWord(name, secretIn) + "=" + redacted
			}
		}
	}
	if hasFragment {
		out += "#"
		if fragment != "" {
			out += redacted
		}
	}
	return out
}

// shownPath is how much of a path is kept, in bytes, and longSegment how long a run of letters and digits may be before
// it is taken for a secret, which no identifier is.
const (
	shownPath   = 160
	longSegment = 32
)

// ShownPath is the path of a request, as it came with its escapes, for a page: with the ids in it, and without what may
// be secret. It is at most 160 bytes and an ellipsis long. Credentials are removed as in RedactedURI, and of other
// long runs of letters and digits the first 8 characters stay. The path must not hold the query.
func ShownPath(path string) string {
	path, _, _ = strings.Cut(path, "?")
	path, _, _ = strings.Cut(path, "#")
	if i := encodedQuestionMark(path); i >= 0 {
		path = path[:i] + redacted
	}
	path = strings.Map(func(c rune) rune {
		if c <= ' ' || c > '~' {
			return '?'
		}
		return c
	}, path)
	path = shortenRuns(eachWord(path, secretIn))
	if len(path) > shownPath {
		path = path[:shownPath] + "…"
	}
	return path
}

// shortenRuns cuts what is long and unbroken to its beginning. The ids of this server and UUIDs have hyphens.
func shortenRuns(path string) string {
	var out strings.Builder
	for i := 0; i < len(path); {
		n := leading(path[i:])
		switch {
		case n == 0:
			out.WriteByte(path[i])
			n = 1
		case n < longSegment:
			out.WriteString(path[i : i+n])
		default:
			out.WriteString(path[i:i+8] + "…")
		}
		i += n
	}
	return out.String()
}

// encodedQuestionMark is where a percent-encoded question mark is, also one that was encoded twice; -1 without one.
func encodedQuestionMark(text string) int {
	for i := strings.IndexByte(text, '%'); i >= 0 && i < len(text); i++ {
		if text[i] != '%' {
			continue
		}
		code := strings.TrimLeft(text[i+1:], "25")
		if strings.HasPrefix(code, "3F") || strings.HasPrefix(code, "3f") {
			return i
		}
	}
	return -1
}

// eachWord replaces the words of text, from where find says that a secret begins in one to its end. find answers -1 for
// a word without a secret.
func eachWord(text string, find func(word string) int) string {
	var out strings.Builder
	done := 0 // up to where text is in out
	for i := 0; i < len(text); {
		if !ofWord(text[i]) {
			i++
			continue
		}
		start := i
		for i < len(text) && ofWord(text[i]) {
			i++
		}
		word := text[start:i]
		if len(word) < minSecret {
			continue
		}
		at := find(word)
		if at < 0 && strings.Contains(word, "%") {
			plain := word
			for range 3 { // what was encoded more often than that, nothing on the way decoded
				decoded, err := url.PathUnescape(plain)
				if err != nil || decoded == plain {
					break
				}
				if plain = decoded; hasSecret(plain, find) {
					at = 0
					break
				}
			}
		}
		if at < 0 {
			continue
		}
		out.WriteString(text[done : start+at])
		out.WriteString(redacted)
		done = i
	}
	if done == 0 {
		return text
	}
	out.WriteString(text[done:])
	return out.String()
}

func hasSecret(text string, find func(word string) int) bool {
	for _, word := range strings.FieldsFunc(text, func(c rune) bool { return !ofWord(c) }) {
		if find(word) >= 0 {
			return true
		}
	}
	return false
}

// minSecret is less than the length of anything that is redacted.
const minSecret = 14

func ofWord[C byte | rune](c C) bool {
	return alphanumeric(c) || c == '_' || c == '-' || c == '.' || c == '%'
}

func alphanumeric[C byte | rune](c C) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// afterPrefix is where the secret part of a credential begins in a word, after its prefix; -1 without one. Part of a
// credential is as secret as the whole: all of it but a few characters may be there.
func afterPrefix(word string) int {
	for i := range len(word) {
		switch {
		case strings.HasPrefix(word[i:], "dw_"): // all kinds, PrefixCode and so on
			kind, secret, ok := strings.Cut(word[i+len("dw_"):], "_")
			if ok && leading(secret) >= 8 {
				return i + len("dw_") + len(kind) + 1
			}
		case strings.HasPrefix(word[i:], "_live_"),
			strings.HasPrefix(word[i:], "_test_"): // API keys of any prefix
			if at := i + len("_live_"); leading(word[at:]) >= 16 {
				return at
			}
		case strings.HasPrefix(word[i:], apikey.PrefixPersonalToken):
			if at := i + len(apikey.PrefixPersonalToken); leading(word[at:]) >= 16 {
				return at
			}
		case strings.HasPrefix(word[i:], "sk_"): // the common prefix of API keys, also of other services
			if at := i + len("sk_"); leading(word[at:]) >= 16 {
				return at
			}
		case strings.HasPrefix(word[i:], "eyJ") && (i == 0 || !alphanumeric(word[i-1])): // a JWT: the base64url of `{"`
			if leading(word[i:]) >= 16 {
				return i
			}
		}
	}
	return -1
}

// leading counts the letters and digits with which text begins.
func leading(text string) int {
	for i := range len(text) {
		if !alphanumeric(text[i]) {
			return i
		}
	}
	return len(text)
}

// HoldsSecret reports whether a word is or holds what may be secret: a credential, or long random text.
func HoldsSecret(word string) bool { return secretIn(word) >= 0 }

// secretIn is afterPrefix for words of a URI, in which long random text in base64url or base62 is taken for a secret
// too.
func secretIn(word string) int {
	if at := afterPrefix(word); at >= 0 {
		return at
	}
	const least = 32
	for start := 0; start < len(word); {
		end, upper, lower, digit := start, false, false, false
		for ; end < len(word) && word[end] != '.' && word[end] != '%'; end++ {
			c := word[end]
			upper, lower, digit = upper ||
				c >= 'A' && c <= 'Z', lower ||
				c >= 'a' && c <= 'z', digit ||
				c >= '0' && c <= '9'
		}
		if end-start >= least && upper && lower && digit {
			return start
		}
		start = end + 1
	}
	return -1
}
