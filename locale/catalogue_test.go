package locale

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/language"
)

func TestTheMessagesAreThemselvesValid(t *testing.T) {
	file, faults := parse(mustRead("en"))
	if len(faults) > 0 || len(file) == 0 {
		t.Fatalf("%d messages, faults: %v", len(file), faults)
	}
	if names := Messages(); len(names) != len(file) || names[0] != file[0].name {
		t.Errorf("%d names of %d messages", len(names), len(file))
	}
	for _, e := range file {
		texts := map[string]string{"its name": e.name}
		original := e.name
		if e.forms != nil {
			original = e.forms.other
			texts = map[string]string{"other": original}
			for form, text := range e.forms.byForm {
				texts[formName(form)] = text
			}
		}
		if strings.TrimSpace(original) == "" {
			t.Errorf("line %d: %q is blank", e.line, e.name)
		}
		// A message without verbs is shown as it is, so it may contain percent signs.
		if !strings.Contains(original, "%s") && !strings.Contains(original, "%d") && !strings.Contains(original, "%[") {
			continue
		}
		if _, err := split(original); err != nil {
			t.Errorf("line %d: %q: %v", e.line, e.name, err)
			continue
		}
		for form, text := range texts {
			if wrong := compare(original, text, false); wrong != "" {
				t.Errorf("line %d: %q: %s: %s", e.line, e.name, form, wrong)
			}
		}
		number := strings.Contains(original, "%d") || strings.Contains(original, "]d")
		if e.forms != nil && e.forms.byForm != nil && !number {
			t.Errorf("line %d: %q has plural forms but no number", e.line, e.name)
		}
	}
	if faults := check(language.English, slices.DeleteFunc(file, func(e entry) bool { return e.forms == nil }),
		false); len(faults) > 0 {
		t.Errorf("English: %v", faults)
	}
}

func TestTheShippedCataloguesAreComplete(t *testing.T) {
	entries, err := shipped.ReadDir("messages")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !slices.Contains(Shipped, strings.TrimSuffix(entry.Name(), ".yaml")) {
			t.Errorf("Shipped does not list %s", entry.Name())
		}
	}
	for _, tag := range Shipped {
		l, err := NewLanguage(tag, nil)
		if err != nil {
			t.Fatalf("%s: %v", tag, err)
		}
		if l.Tag() != tag || (l.Name() == "English") != (tag == "en") {
			t.Errorf("%s has the tag %s and the name %s", tag, l.Tag(), l.Name())
		}
		if tag == "en" {
			continue
		}
		file, faults := parse(mustRead(tag))
		for _, f := range append(faults, check(language.MustParse(tag), file, true)...) {
			t.Errorf("messages/%s.yaml:%d: %s", tag, f.Line, f.Text)
		}
	}
}

func TestACatalogueIsCheckedLineByLine(t *testing.T) {
	for name, x := range map[string]struct {
		tag  string
		data string
		want []string // each a line of Faults.Error, or part of one; none: it is accepted
	}{
		"empty":                    {"de", "", nil},
		"comments only":            {"de", "# nothing yet\n", nil},
		"one message":              {"de", "just now: eben", nil},
		"the order of arguments":   {"de", `"%s and %s": "%[2]s nach %[1]s"`, nil},
		"a language with one form": {"ja", `"%d days": {other: "%d日"}`, nil},
		"a plural form without %d": {"de", `"%d days": {one: einem Tag, other: "%d Tagen"}`, nil},
		"one text for all numbers": {"ja", `"%d days": "%d日"`, nil},
		"a list":                   {"de", "- just now", []string{"1: is not a list of messages; write each as"}},
		"a text":                   {"de", "eben", []string{"1: is not a list of messages; write each as"}},
		"no YAML":                  {"de", "just now: [eben", []string{"is not YAML: "}},
		"twice": {
			"de", "just now: eben\njust now: jetzt", []string{`2: "just now" is written twice, first on line 1`},
		},
		"a message that is not one": {"de", "\nJust now: eben", []string{`2: "Just now" is not the text of a message`}},
		"no text":                   {"de", "just now:", []string{`1: "just now" has no text; write one`}},
		"a blank text":              {"de", "just now: ' '", []string{`1: "just now" has no text; write one`}},
		"a list of texts":           {"de", "just now: [eben]", []string{`1: "just now" is not a text; write one`}},
		"a reference":               {"de", "just now: &a eben\nJanuary: *a", []string{`2: "January" is not a text`}},
		"a missing argument": {
			"de", `"%s and %s": "%s"`, []string{`1: "%s and %s": %[2]s is missing`},
		},
		"a stray argument": {
			"de", `just now: "%s"`, []string{`1: "just now": %[1]s does not stand for anything`},
		},
		"a number as text": {
			"ja", `"%d days": "%s日"`, []string{`1: "%d days": %[1]s does not stand for anything`},
		},
		"another verb": {
			"de", `"%s and %s": "%s und %q"`, []string{`1: "%s and %s": a percent sign is not followed`},
		},
		"a percent sign": {
			"de", `"%s and %s": "%s und %s zu 100%"`, []string{"write %% for the sign itself"},
		},
		"needless plural forms": {
			"de", "just now: {one: eben, other: eben}", []string{`1: "just now" has no plural forms in English`},
		},
		"a form of no language": {
			"de", `"%d days": {one: a, some: b, other: c}`, []string{`1: "%d days": "some" is not a plural form`},
		},
		"a form that is missing": {
			"de", `"%d days": {other: "%d Tagen"}`, []string{`1: "%d days" needs the plural form one, for 1`},
		},
		"no form for other numbers": {
			"de", `"%d days": {one: einem Tag}`, []string{`1: "%d days" has no text; write one`},
		},
		"several faults": {
			"de", "just now:\nnobody: niemand", []string{`1: "just now" has no text`, `2: "nobody" is not the text`},
		},
		"a new language that is incomplete": {
			"pl", "just now: teraz", []string{`0: "in less than a minute" is missing`, `0: "January" is missing`},
		},
		"a new language without a form": {
			"pl", `"%d days": {one: "%d dnia", other: "%d dni"}`,
			[]string{`1: "%d days" needs the plural form many, for 0`},
		},
	} {
		_, err := NewLanguage(x.tag, []byte(x.data))
		var faults Faults
		if len(x.want) == 0 {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.As(err, &faults) {
			t.Errorf("%s: error %v, want Faults", name, err)
			continue
		}
		for _, want := range x.want {
			if !strings.Contains("\n"+err.Error(), "\n"+want) && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %.300s, want %s", name, err, want)
			}
		}
	}
}

func TestACatalogueOfTheVendorReplacesMessages(t *testing.T) {
	l, err := NewLanguage("de", []byte(`
just now: vor einem Augenblick
"%d days": {one: 24 Stunden, other: "%d Tagen"}
`))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := NewLanguage("de", nil)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		l.Text("just now"):   "vor einem Augenblick",
		l.Text("%d days", 1): "24 Stunden",
		l.Text("%d days", 2): "2 Tagen",
		l.Text("January"):    theirs.Text("January"),
	} {
		if text != want {
			t.Errorf("%q, want %q", text, want)
		}
	}
	if theirs.Text("just now") == "vor einem Augenblick" {
		t.Error("the shipped language changed too")
	}
}

func TestALanguageThatIsNotShippedNeedsAllMessages(t *testing.T) {
	for _, tag := range []string{"pl", "de-CH", "pt-BR"} {
		if _, err := NewLanguage(tag, nil); err == nil || !strings.Contains(err.Error(), "needs a catalogue") {
			t.Errorf("%s without a catalogue: error %v", tag, err)
		}
	}
	for _, tag := range []string{"", "german", "deutsch!", "../en", "e"} {
		if _, err := NewLanguage(tag, nil); err == nil || !strings.Contains(err.Error(), "is not a language tag") {
			t.Errorf("the tag %q: error %v", tag, err)
		}
	}
	// A whole catalogue, in which each text is the English one.
	var whole strings.Builder
	for _, name := range Messages() {
		whole.WriteString(quoteYAML(name) + ": ")
		if f := original()[name]; f.byForm != nil {
			whole.WriteString("{other: " + quoteYAML(f.other) + "}\n")
		} else {
			whole.WriteString(quoteYAML(f.other) + "\n")
		}
	}
	if l, err := NewLanguage("zh-Hant", []byte(whole.String())); err != nil || l.Tag() != "zh-Hant" {
		t.Errorf("a whole catalogue: %v", err)
	}
}

func quoteYAML(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
