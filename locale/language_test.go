package locale

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// spoken returns a language with the given texts only.
func spoken(tag string, texts map[string]forms) *Language {
	t := language.MustParse(tag)
	return &Language{tag: t, texts: func() map[string]forms { return texts }, printer: message.NewPrinter(t)}
}

func TestAMessageIsWrittenInTheReadersLanguage(t *testing.T) {
	german := spoken("de", map[string]forms{
		"Sign in":                      {other: "Anmelden"},
		"%s invited you to %s":         {other: "%[2]s: Einladung von %[1]s"},
		"%d of %d":                     {other: "%d von %d"},
		"%s, %s":                       {other: "%[2]s und dann %s"},
		"100% of the limit":            {other: "100 % der Grenze"},
		"%d%% of the limit":            {other: "%d %% der Grenze"},
		"%s was deleted":               {other: "Gelöscht"},
		"a mistake of a translator %s": {other: "ein Fehler %q"},
	})
	for _, x := range []struct {
		format string
		args   []any
		want   string
	}{
		{"Sign in", nil, "Anmelden"},
		{"%s invited you to %s", []any{"Bob", "Acme"}, "Acme: Einladung von Bob"},
		{"%s invited you to %s", []any{"%s", "100%"}, "100%: Einladung von %s"},
		{"%d of %d", []any{1, int64(1234567)}, "1 von 1.234.567"},
		{"%d of %d", []any{-1234, 0}, "-1.234 von 0"},
		{"%s, %s", []any{"a", "b"}, "b und dann "},
		{"100% of the limit", nil, "100 % der Grenze"},
		{"%d%% of the limit", []any{80}, "80 % der Grenze"},
		{"%s was deleted", []any{"Acme"}, "Gelöscht"},
		{"a mistake of a translator %s", []any{"x"}, "ein Fehler %q"},
		// A message without a translation is its name.
		{"Sign out", nil, "Sign out"},
		{"%s left %s", []any{"Bob", "Acme"}, "Bob left Acme"},
		{"", nil, ""},
	} {
		if got := german.Text(x.format, x.args...); got != x.want {
			t.Errorf("%q with %v is %q, want %q", x.format, x.args, got, x.want)
		}
	}
}

func TestTheFirstNumberChoosesThePluralForm(t *testing.T) {
	english := spoken("en", map[string]forms{
		"%d keys of %s": {other: "%d keys of %s", byForm: map[plural.Form]string{plural.One: "One key of %[2]s"}},
		"%s: %d of %d":  {other: "%s: %d of %d", byForm: map[plural.Form]string{plural.One: "%s: one of %[3]d"}},
	})
	polish := spoken("pl", map[string]forms{
		"%d keys of %s": {other: "%d klucza (%s)", byForm: map[plural.Form]string{
			plural.One: "%d klucz (%s)", plural.Few: "%d klucze (%s)", plural.Many: "%d kluczy (%s)",
		}},
	})
	japanese := spoken("ja", map[string]forms{
		"%d keys of %s": {other: "%[2]sのキー%[1]d個", byForm: map[plural.Form]string{}},
	})
	for _, x := range []struct {
		l      *Language
		format string
		args   []any
		want   string
	}{
		{english, "%d keys of %s", []any{0, "Acme"}, "0 keys of Acme"},
		{english, "%d keys of %s", []any{1, "Acme"}, "One key of Acme"},
		{english, "%d keys of %s", []any{int64(1), "Acme"}, "One key of Acme"},
		{english, "%d keys of %s", []any{-1, "Acme"}, "One key of Acme"},
		{english, "%d keys of %s", []any{1001, "Acme"}, "1,001 keys of Acme"},
		{english, "%s: %d of %d", []any{"1", 1, 5}, "1: one of 5"},
		{english, "%s: %d of %d", []any{"1", 5, 1}, "1: 5 of 1"},
		{polish, "%d keys of %s", []any{1, "Acme"}, "1 klucz (Acme)"},
		{polish, "%d keys of %s", []any{22, "Acme"}, "22 klucze (Acme)"},
		{polish, "%d keys of %s", []any{12, "Acme"}, "12 kluczy (Acme)"},
		{japanese, "%d keys of %s", []any{1, "Acme"}, "Acmeのキー1個"},
	} {
		if got := x.l.Text(x.format, x.args...); got != x.want {
			t.Errorf("%s: %q with %v is %q, want %q", x.l.Tag(), x.format, x.args, got, x.want)
		}
	}
}

func TestArgumentsAreWrittenInTheReadersLanguageToo(t *testing.T) {
	german := spoken("de", map[string]forms{
		"date": {other: "%s. %s %s"}, "January": {other: "Januar"}, "date and time": {other: "%s um %s (%s)"},
		"%d days":   {other: "%d Tagen", byForm: map[plural.Form]string{plural.One: "einem Tag"}},
		"%s and %s": {other: "%s und %s"}, "list separator": {other: ", "},
		"owner": {other: "Inhaber"}, "the %s role": {other: "die Rolle %s"},
	})
	at := time.Date(2006, 1, 2, 23, 4, 5, 0, time.UTC)
	for _, x := range []struct {
		arg  any
		want string
	}{
		{"owner", "owner"}, // a text of a user
		{New("owner"), "Inhaber"},
		{New("the %s role", New("owner")), "die Rolle Inhaber"},
		{Text{}, ""},
		{1234, "1.234"},
		{int64(1234), "1.234"},
		{Day(at), "3. Januar 2006"},
		{Moment(at), "3. Januar 2006 um 00:04 (CET)"},
		{Span(24 * time.Hour), "einem Tag"},
		{Join{}, ""},
		{Join{"a"}, "a"},
		{Join{"a", New("owner")}, "a und Inhaber"},
		{Join{"a", "b", 3}, "a, b und 3"},
		{true, "true"},
	} {
		l := Locale{Language: german, Zone: time.FixedZone("CET", 3600)}
		if got := l.Text("%s", x.arg); got != x.want {
			t.Errorf("%#v is written %q, want %q", x.arg, got, x.want)
		}
	}
}

func TestPartsAreInTheOrderOfTheLanguage(t *testing.T) {
	german := spoken("de", map[string]forms{
		"%s invited you to %s.": {other: "Zu %[2]s hat dich %[1]s eingeladen."},
		"%d apps of %s":         {other: "%d Apps von %s", byForm: map[plural.Form]string{plural.One: "Die App von %[2]s"}},
		"a mistake":             {other: "%"},
	})
	for format, want := range map[string]string{
		"%s invited you to %s.": "Zu [1] hat dich [0] eingeladen.",
		"%d apps of %s":         "Die App von [1]",
		"Sign in":               "Sign in",
	} {
		var b strings.Builder
		write := func(text string) error { _, err := b.WriteString(text); return err }
		err := Locale{Language: german}.Parts(format, []any{1, "x"}, write, func(i int) error {
			return write("[" + string(rune('0'+i)) + "]")
		})
		if err != nil || b.String() != want {
			t.Errorf("%q: %q, error %v, want %q", format, b.String(), err, want)
		}
	}
	stop := errors.New("stop")
	fails := func(string) error { return stop }
	none := func(int) error { t.Error("called after an error"); return nil }
	if err := (Locale{Language: german}).Parts("%s invited you to %s.", nil, fails, none); !errors.Is(err, stop) {
		t.Errorf("an error of a part ends with %v", err)
	}
	if err := (Locale{Language: german}).Parts("a mistake", nil, fails, none); err == nil || errors.Is(err, stop) {
		t.Errorf("a message that is no format ends with %v", err)
	}
}

func TestAMessageIsSplitAtItsVerbs(t *testing.T) {
	for format, want := range map[string]int{
		"": 0, "a": 1, "%s": 1, "%d": 1, "a %s b": 3, "%[2]s%[1]d": 2, "%%": 1, "100%%": 2, "%s%s": 2, "[1]s": 1,
	} {
		if pieces, err := split(format); err != nil || len(pieces) != want {
			t.Errorf("%q has the pieces %v, error %v; want %d", format, pieces, err, want)
		}
	}
	for _, bad := range []string{
		"%", "100%", "%q", "%v", "%x", "%[1]", "%[0]s", "%[a]s", "%[1s", "%[10]s", "% s", "%5d",
	} {
		if pieces, err := split(bad); err == nil {
			t.Errorf("%q passed as %v", bad, pieces)
		}
	}
}

func TestDirectionIsThatOfTheScript(t *testing.T) {
	for tag, want := range map[string]string{
		"en": "ltr", "ja": "ltr", "ru": "ltr", "hi": "ltr", "sr-Latn": "ltr", "az": "ltr",
		"ar": "rtl", "he": "rtl", "fa": "rtl", "ur-PK": "rtl", "dv": "rtl", "az-Arab": "rtl", "ks-Deva": "ltr",
	} {
		if got := spoken(tag, nil).Direction(); got != want {
			t.Errorf("%s is written %s, want %s", tag, got, want)
		}
	}
}

func TestWithoutALocaleTextIsEnglish(t *testing.T) {
	if got := New("%s and %s", Day(time.Date(2006, 1, 2, 0, 0, 0, 0, time.UTC)), Span(time.Hour)).String(); got !=
		"2 January 2006 and one hour" {
		t.Errorf("a text in English is %q", got)
	}
	if got := (Locale{}).Of(New("%d days", 1234)); got != "1,234 days" {
		t.Errorf("the zero locale writes %q", got)
	}
	if got := (Locale{}).Of(Text{}); got != "" || !(Text{}).IsZero() || New("a").IsZero() {
		t.Errorf("an empty text is %q", got)
	}
}

func TestTheLocaleOfAContextCanChange(t *testing.T) {
	german := Locale{Language: spoken("de", nil), Zone: time.FixedZone("CET", 3600)}
	if got := From(t.Context()); got != (Locale{}) {
		t.Errorf("a context without a locale has %v", got)
	}
	Change(t.Context(), german) // changes nothing
	if got := From(t.Context()); got != (Locale{}) {
		t.Errorf("a context without a locale got %v", got)
	}
	outer := With(t.Context(), Locale{})
	inner := With(outer, german)
	Change(inner, Locale{Zone: german.Zone})
	if From(inner) != (Locale{Zone: german.Zone}) || From(outer) != (Locale{}) {
		t.Errorf("the contexts have %v and %v", From(inner), From(outer))
	}
	Change(outer, german)
	if From(outer) != german {
		t.Errorf("the context has %v", From(outer))
	}
}
