package locale

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Language is a language with the text of its messages. Its methods are safe for concurrent use.
type Language struct {
	tag     language.Tag
	texts   func() map[string]forms // by the name of the message
	printer *message.Printer        // writes numbers
}

// forms are the texts of a message: one, or one for each plural form of the language.
type forms struct {
	other  string
	byForm map[plural.Form]string // without the form other; nil: the message has no plural forms
}

// Tag returns the language tag (BCP 47), such as en or pt-BR.
func (l *Language) Tag() string { return l.tag.String() }

// Direction returns the direction in which the language is written, as HTML's dir attribute has it.
func (l *Language) Direction() string {
	script, _ := l.tag.Script()
	switch script.String() {
	case "Arab", "Hebr", "Syrc", "Thaa", "Nkoo", "Adlm", "Rohg":
		return "rtl"
	}
	return "ltr"
}

// Name returns the name of the language in the language itself, for a list in which users choose theirs.
func (l *Language) Name() string { return l.Text("name of this language") }

// Text is Locale.Text with times in UTC.
func (l *Language) Text(format string, args ...any) string {
	return Locale{Language: l}.Text(format, args...)
}

// find returns the text of a message. Of several plural forms it is the one for the first number among the arguments.
func (l *Language) find(name string, args []any) string {
	f, ok := l.texts()[name]
	if !ok {
		return name
	}
	if f.byForm == nil {
		return f.other
	}
	for _, arg := range args {
		n, isNumber := number(arg)
		if !isNumber {
			continue
		}
		if text, ok := f.byForm[plural.Cardinal.MatchPlural(l.tag, int(n), 0, 0, 0, 0)]; ok {
			return text
		}
		break
	}
	return f.other
}

// number returns a whole number without its sign.
func number(arg any) (int64, bool) {
	var n int64
	switch x := arg.(type) {
	case int:
		n = int64(x)
	case int64:
		n = x
	default:
		return 0, false
	}
	return max(n, -n), true
}

// Locale is how one reader's pages are written: their language and time zone. The zero value is English and UTC.
type Locale struct {
	Language *Language
	Zone     *time.Location
	// Requested are the languages that an app asked for, as tags with spaces between them (ui_locales of OpenID Connect
	// Core 1.0, section 3.1.2.1). They come before the reader's own choice.
	//exhaustruct:optional
	Requested string
}

func (l Locale) language() *Language {
	if l.Language == nil {
		return English()
	}
	return l.Language
}

func (l Locale) zone() *time.Location {
	if l.Zone == nil {
		return time.UTC
	}
	return l.Zone
}

// Text returns a message in the reader's language. Without arguments, format is not interpreted, so it may contain
// percent signs.
func (l Locale) Text(format string, args ...any) string {
	text := l.language().find(format, args)
	if len(args) == 0 {
		return text
	}
	pieces, err := split(text)
	if err != nil {
		return text
	}
	var b strings.Builder
	for _, p := range pieces {
		switch {
		case p.verb == 0:
			b.WriteString(p.text)
		case p.arg < len(args):
			b.WriteString(l.Argument(args[p.arg]))
		}
	}
	return b.String()
}

// Parts splits a message around its arguments, for a page that puts markup around them: text is called for each text
// between them and arg for each argument, with its index, in the order of the reader's language. The first error ends
// it. Numbers among args choose the plural form.
func (l Locale) Parts(format string, args []any, text func(string) error, arg func(i int) error) error {
	pieces, err := split(l.language().find(format, args))
	if err != nil {
		return err
	}
	for _, p := range pieces {
		if p.verb == 0 {
			err = text(p.text)
		} else {
			err = arg(p.arg)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Of returns t in the reader's language.
func (l Locale) Of(t Text) string {
	if t.IsZero() {
		return ""
	}
	return l.Text(t.Format, t.Args...)
}

// Argument returns an argument of a message in the reader's language.
func (l Locale) Argument(arg any) string {
	switch x := arg.(type) {
	case string:
		return x
	case int:
		return l.Number(int64(x))
	case int64:
		return l.Number(x)
	case Text:
		return l.Of(x)
	case Day:
		return l.Day(time.Time(x))
	case Moment:
		return l.Moment(time.Time(x))
	case Span:
		return l.Span(time.Duration(x))
	case Join:
		return l.Join(x)
	}
	return fmt.Sprint(arg)
}

// Join returns a list in a sentence, such as "a, b and c".
func (l Locale) Join(items []any) string {
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = l.Argument(item)
	}
	switch n := len(texts); n {
	case 0:
		return ""
	case 1:
		return texts[0]
	default:
		return l.Text("%s and %s", strings.Join(texts[:n-1], l.Text("list separator")), texts[n-1])
	}
}

// Number returns a whole number with the separators of the language.
func (l Locale) Number(n int64) string { return l.language().printer.Sprintf("%d", n) }

// CheckTag returns an error that says what to do, unless text is a language tag in its canonical form (BCP 47).
func CheckTag(text string) error {
	tag, err := language.Parse(text)
	switch {
	case err != nil || tag == language.Und:
		return fmt.Errorf("%q is not a language tag (BCP 47); use one such as de or pt-BR", text)
	case tag.String() != text:
		return fmt.Errorf("%q is not written as usual; use %s", text, tag)
	}
	return nil
}

// Tag returns the language tag of the reader's language.
func (l Locale) Tag() string { return l.language().Tag() }

// Direction returns the direction of the reader's language, as HTML's dir attribute has it.
func (l Locale) Direction() string { return l.language().Direction() }
