package page

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"doorward/locale"
	"doorward/management"
	"doorward/oauth/identity"
	"doorward/oauth/input"
)

// wait is how long to wait, for a sentence: rounded up to seconds, or, above 90 seconds, to minutes.
func wait(d time.Duration) locale.Span {
	unit := time.Second
	if d > 90*time.Second {
		unit = time.Minute
	}
	return locale.Span(max(unit, (d + unit - 1).Truncate(unit)))
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

// Sentences returns sentences one after another, without the empty ones.
func Sentences(texts ...locale.Text) (all locale.Text) {
	for _, next := range texts {
		switch {
		case next.IsZero():
		case all.IsZero():
			all = next
		default:
			all = locale.New("sentence, next sentence", all, next)
		}
	}
	return all
}

// Joined returns the sentences of FieldErrors as one text.
func Joined(faults map[string]locale.Text) (all locale.Text) {
	for _, field := range slices.Sorted(maps.Keys(faults)) {
		all = Sentences(all, faults[field])
	}
	return all
}

// WhyNotResume returns why the visitor may not resume or enable an object, if err is a *management.Forbidden, and
// otherwise an empty text.
func WhyNotResume(err error) locale.Text {
	var no *management.Forbidden
	if errors.As(err, &no) {
		return no.Message
	}
	return locale.Text{}
}

// FieldErrors turns the errors of a form into a sentence for each field. It returns nil if err is, or contains, another
// error.
func FieldErrors(err error) map[string]locale.Text {
	faults := map[string]locale.Text{}
	add := func(field string, message locale.Text) { faults[field] = Sentences(faults[field], message) }
	for _, e := range input.Flatten(err) {
		var person *identity.Invalid
		var app *input.Invalid
		switch {
		case errors.As(e, &person):
			add(person.Field, person.Message)
		case errors.As(e, &app):
			label, ok := fieldLabels[app.Field]
			if !ok {
				label = locale.New("This field")
			}
			add(app.Field, withStop(app.Sentence(label)))
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
var fieldLabels = map[string]locale.Text{
	"name": locale.New("The name"), "site": locale.New("The website"), "redirect_uris": locale.New("The redirect URIs:"),
	"scope": locale.New("The permission"), "resource": locale.New("The API"), "grant": locale.New("The grant"),
	"kind": locale.New("The app type"), "pkce": locale.New("PKCE"), "grace": locale.New("The grace period"),
	"note": locale.New("The note"), "environment": locale.New("The environment"), "expires": locale.New("The expiry"),
	"role": locale.New("The role"), "plan": locale.New("The plan"), "rate limit": locale.New("The rate limit"),
	"addresses": locale.New("The allowed IP addresses:"), "key": locale.New("The key"), "slug": locale.New("The slug"),
	"token_endpoint_auth_method":            locale.New("The method of authentication"),
	"token_endpoint_auth_signing_alg":       locale.New("The signature algorithm"),
	"jwks":                                  locale.New("The set of public keys"),
	"jwks_uri":                              locale.New("The URL of the public keys"),
	"logo_uri":                              locale.New("The URL of the logo"),
	"policy_uri":                            locale.New("The URL of the privacy policy"),
	"tos_uri":                               locale.New("The URL of the terms of service"),
	"uses":                                  locale.New("The number of apps"),
	"require_pushed_authorization_requests": locale.New("The requirement of pushed requests"),
	"dpop_bound_access_tokens":              locale.New("The binding of access tokens"),
	"fapi":                                  locale.New("The FAPI 2.0 Security Profile"),
	"token_endpoint_audience":               locale.New("The token URL as audience"),
	"email":                                 locale.New("This address"), "workspace": locale.New("The workspace"), "user": locale.New("The user"),
}

// withStop ends a sentence with a full stop, unless it has one.
func withStop(sentence locale.Text) locale.Text {
	if sentence.IsZero() || strings.HasSuffix(sentence.String(), ".") {
		return sentence
	}
	return locale.New("%s.", sentence)
}

// Seconds formats a wait for Retry-After: in whole seconds, at least one.
func Seconds(d time.Duration) string {
	return strconv.FormatInt(max(1, input.CeilSeconds(d)), 10)
}
