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

// inWords says how long to wait.
func inWords(d time.Duration) string {
	if d <= 90*time.Second {
		n := input.CeilSeconds(d)
		if n <= 1 {
			return "a second"
		}
		return strconv.FormatInt(n, 10) + " seconds"
	}
	return strconv.FormatInt(int64((d+time.Minute-1)/time.Minute), 10) + " minutes"
}

// Clean makes a stranger's text fit for a log: cut, and without characters that change how a line looks.
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

// plain reports whether text is printable ASCII, as nearly all of it is.
func plain(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// Joined is all that FieldErrors found, as one text.
func Joined(faults map[string]string) string {
	var all []string
	for _, field := range slices.Sorted(maps.Keys(faults)) {
		all = append(all, faults[field])
	}
	return strings.Join(all, " ")
}

// Held is why something that is stopped cannot be started by whoever looks at it; empty: they can.
func Held(err error) string {
	var no *management.Forbidden
	if errors.As(err, &no) {
		return no.Message
	}
	return ""
}

// FieldErrors turns what is wrong with a form into a sentence for each field; nil when err is about something else.
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
			add(app.Field, Sentence(fieldLabels[app.Field]+" "+app.Message))
		default:
			return nil
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return faults
}

// fieldLabels are what the sentences of oauth.Invalid begin with.
var fieldLabels = map[string]string{
	"name": "The name", "site": "The website", "redirect_uris": "The redirect URIs:", "scope": "The scope",
	"resource": "The API", "grant": "The grant",
	"kind": "The kind", "pkce": "PKCE", "grace": "The grace period", "note": "The note", "environment": "The environment",
	"expires": "The expiry", "role": "The role",
	"plan": "The plan", "rate limit": "The rate limit", "addresses": "The allowed IP addresses:", "key": "It",
	"slug": "The slug", "email": "That",
}

// Sentence is text with a capital first letter and a full stop.
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

// Seconds is a wait for Retry-After: whole seconds, at least one.
func Seconds(d time.Duration) string {
	return strconv.FormatInt(max(1, input.CeilSeconds(d)), 10)
}

// DurationText says how long something lasts, in the two largest units that it has, rounded down: it is a promise.
func DurationText(d time.Duration) string {
	var parts []string
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		n := d / unit.length
		d %= unit.length
		if n > 0 && len(parts) < 2 {
			text := strconv.FormatInt(int64(n), 10) + " " + unit.name
			if n > 1 {
				text += "s"
			}
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, " ")
}
