package bearer

import (
	"net/url"
	"strings"

	"doorward/oauth/apikey"
)

const redacted = "[redacted]"

// Redacted removes the credentials from untrusted text, for a log or a page: a credential may have been sent in place
// of any other value, such as a client id. It removes what follows the prefix of a credential of this server, complete
// or truncated, and JWTs. It does not recognise passwords.
func Redacted(text string) string { return eachWord(text, afterPrefix) }

// RedactedURI removes what may be secret from an untrusted URI: the values of its query, its fragment, its user
// information, and random text in its path. The URI need not be valid.
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

// shownPath is how many bytes of a path are kept. A run of letters and digits longer than longSegment is taken for a
// secret; identifiers are shorter.
const (
	shownPath   = 160
	longSegment = 32
)

// ShownPath prepares the escaped path of a request for a page: it keeps ids, removes credentials as RedactedURI does,
// and cuts other long runs of letters and digits to their first 8 characters. The result has at most 160 bytes and an
// ellipsis. The path must not include the query.
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

// shortenRuns cuts long runs of letters and digits to their beginning. The ids of this server and UUIDs have hyphens.
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

// encodedQuestionMark returns the index of a percent-encoded question mark, even one that was encoded twice, or -1.
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

// eachWord replaces the secrets in the words of text. find returns the index at which the secret begins in a word,
// which is replaced from there to its end, or -1.
func eachWord(text string, find func(word string) int) string {
	var out strings.Builder
	done := 0 // how much of text is in out
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
			for range 3 { // no proxy or client decodes more often
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

// minSecret is less than the length of any secret that is redacted.
const minSecret = 14

func ofWord[C byte | rune](c C) bool {
	return alphanumeric(c) || c == '_' || c == '-' || c == '.' || c == '%'
}

func alphanumeric[C byte | rune](c C) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// afterPrefix returns the index at which the secret part of a credential begins in a word, after its prefix, or -1. A
// truncated credential is as secret as a complete one, since only a few characters may be missing.
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

// HoldsSecret reports whether a word contains something that may be secret: a credential, or long random text.
func HoldsSecret(word string) bool { return secretIn(word) >= 0 }

// secretIn is afterPrefix for words of a URI. It also takes long random text in base64url or base62 for a secret.
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
