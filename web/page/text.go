package page

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"doorward/management"
	"doorward/oauth/identity"
	"doorward/oauth/input"
)

// wait says in words how long to wait: rounded up to seconds, or, above 90 seconds, to minutes.
func wait(d time.Duration) string {
	unit := time.Second
	if d > 90*time.Second {
		unit = time.Minute
	}
	return input.DurationInWords(max(unit, (d + unit - 1).Truncate(unit)))
}

// Clean makes untrusted text fit for a page or a log: at most limit characters, and control and formatting characters
// replaced by question marks.
func Clean(text string, limit int) string {
	if len(text) <= limit && plain(text) {
		return text
	}
	text = strings.ToValidUTF8(text, "?")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return '?'
		}
		return r
	}, text)
	if r := []rune(text); len(r) > limit {
		return string(r[:limit])
	}
	return text
}

// plain reports whether text is printable ASCII, as nearly all text is.
func plain(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// Joined returns the sentences of FieldErrors as one text.
func Joined(faults map[string]string) string {
	var all []string
	for _, field := range slices.Sorted(maps.Keys(faults)) {
		all = append(all, faults[field])
	}
	return strings.Join(all, " ")
}

// WhyNotResume returns why the visitor may not resume or enable an object, if err is a *management.Forbidden, and
// otherwise an empty string.
func WhyNotResume(err error) string {
	var no *management.Forbidden
	if errors.As(err, &no) {
		return no.Message
	}
	return ""
}

// FieldErrors turns the errors of a form into a sentence for each field. It returns nil if err is, or contains, another
// error.
func FieldErrors(err error) map[string]string {
	faults := map[string]string{}
	add := func(field, message string) {
		if faults[field] != "" {
			message = faults[field] + " " + message
		}
		faults[field] = message
	}
	for _, e := range input.Flatten(err) {
		var person *identity.Invalid
		var app *input.Invalid
		switch {
		case errors.As(e, &person):
			add(person.Field, Sentence(person.Message))
		case errors.As(e, &app):
			add(app.Field, Sentence(app.Sentence(fieldLabels[app.Field])))
		default:
			return nil
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return faults
}

// fieldLabels are the subjects for the messages of input.Invalid, by field.
var fieldLabels = map[string]string{
	"name": "The name", "site": "The website", "redirect_uris": "The redirect URIs:", "scope": "The permission",
	"resource": "The API", "grant": "The grant",
	"kind": "The app type", "pkce": "PKCE", "grace": "The grace period", "note": "The note",
	"environment": "The environment", "expires": "The expiry", "role": "The role",
	"plan": "The plan", "rate limit": "The rate limit", "addresses": "The allowed IP addresses:", "key": "The key",
	"slug": "The slug", "email": "This address",
}

// Sentence returns text with a capital first letter and a full stop.
func Sentence(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	text = strings.ToUpper(text[:1]) + text[1:]
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

// Seconds formats a wait for Retry-After: in whole seconds, at least one.
func Seconds(d time.Duration) string {
	return strconv.FormatInt(max(1, input.CeilSeconds(d)), 10)
}
