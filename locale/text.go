package locale

import "time"

// Text is a message with its arguments, for a reader whose language is not known yet: the text of an error, or an
// argument of another message. Format is the English text. If there are arguments, it contains a verb of package fmt
// for each: %d for an int or int64, and %s for anything else, that is a string, a Text or another type of this package.
type Text struct {
	Format string
	Args   []any
}

// New returns a Text.
func New(format string, args ...any) Text { return Text{Format: format, Args: args} }

// String returns the English text, with times in UTC: for the API, the CLI and the log.
func (t Text) String() string { return English().Text(t.Format, t.Args...) }

// IsZero reports whether the text is empty.
func (t Text) IsZero() bool { return t.Format == "" }

// Arguments of messages that each language writes in its own way.
type (
	// Day is the date of a time, such as 2 January 2006.
	Day time.Time
	// Moment is a date with the time of day, to the minute, and its time zone.
	Moment time.Time
	// Span is a length of time in words, such as 5 minutes. Languages that inflect it write it as it follows a
	// preposition ("in", "after").
	Span time.Duration
	// Join is a list in a sentence, such as "a, b and c".
	Join []any
)
