package input

import (
	"unicode"
	"unicode/utf8"

	"doorward/locale"
)

// Invalid is an error in one field of a form or request, for the user who filled it in.
type Invalid struct {
	// Field is the name of the field for users, such as name, site, redirect_uris, scope, resource, pkce or slug.
	Field string
	// Message is the rest of a sentence that begins with the field's name, or a whole sentence, which in English begins
	// with a capital letter. It has no full stop.
	Message locale.Text
	Cause   error // of storage, such as storage.ErrExists for a slug that is taken; nil: none
}

// Error implements error.
func (i *Invalid) Error() string { return i.English(i.Field) }

// English returns the message as an English sentence without a full stop, for the API, the CLI and the log. Subject is
// the name of the field there.
func (i *Invalid) English(subject string) string { return i.sentence(subject).String() }

// Sentence returns the message as a sentence without a full stop. Subject is the name of the field to begin with.
func (i *Invalid) Sentence(subject locale.Text) locale.Text { return i.sentence(subject) }

func (i *Invalid) sentence(subject any) locale.Text {
	if first, _ := utf8.DecodeRuneInString(i.Message.String()); unicode.IsUpper(first) {
		return i.Message
	}
	return locale.New("subject and predicate", subject, i.Message)
}

// Unwrap returns the cause.
func (i *Invalid) Unwrap() error { return i.Cause }

// Faults collects all errors of a form or request. The zero value is empty; errors.Join turns it into one error.
type Faults []error

// Add appends an *Invalid with the message that locale.New makes.
func (f *Faults) Add(field, format string, args ...any) {
	*f = append(*f, &Invalid{Field: field, Message: locale.New(format, args...)})
}

// Flatten lists the errors that errors.Join has joined. For nil the list is empty.
func Flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	switch {
	case err == nil:
		return nil
	case !ok:
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, Flatten(one)...)
	}
	return all
}

// Shorten cuts a value from a request to 100 characters, so that it does not fill a message.
func Shorten(text string) string {
	if r := []rune(text); len(r) > 100 {
		return string(r[:100]) + "…"
	}
	return text
}
