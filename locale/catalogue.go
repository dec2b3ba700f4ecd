package locale

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// The catalogues that are shipped, one file for each language. en.yaml lists every message. A message without a value
// there is named by its text; one with a value has plural forms, or a name that says what its text is for.
//
//go:embed messages/*.yaml
var shipped embed.FS

// Shipped are the tags of the languages that are shipped.
var Shipped = []string{"en", "de", "fr", "es", "ja"}

// English returns the language in which messages are named. The API, the CLI and the log use it.
var English = sync.OnceValue(func() *Language {
	l, err := NewLanguage("en", nil)
	if err != nil {
		panic(err) // a test reads the same files
	}
	return l
})

// Fault is an error in a catalogue.
type Fault struct {
	Line int // zero: the whole file
	Text string
}

// Faults are the errors in a catalogue.
type Faults []Fault

// Error implements error.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, one := range f {
		lines[i] = fmt.Sprintf("%d: %s", one.Line, one.Text)
	}
	return strings.Join(lines, "\n")
}

// entry is a message in a catalogue.
type entry struct {
	name  string
	line  int
	forms *forms // nil: the message is named by its text
}

// NewLanguage returns the language with a tag (BCP 47): the shipped catalogue of the language, if there is one, with
// the messages of the catalogue data (YAML) in place of its own. If the language is not shipped, data must have every
// message. Errors in data are Faults.
func NewLanguage(tag string, data []byte) (*Language, error) {
	parsed, err := language.Parse(tag)
	if err != nil {
		return nil, fmt.Errorf("%q is not a language tag (BCP 47), such as de or pt-BR", tag)
	}
	known := slices.Contains(Shipped, tag)
	if data == nil && !known {
		return nil, fmt.Errorf("the language %s is not shipped, so it needs a catalogue with every message", tag)
	}
	file, faults := parse(data)
	if data != nil {
		faults = append(faults, check(parsed, file, !known)...)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return &Language{
		tag: parsed, printer: message.NewPrinter(parsed),
		// Reading a shipped catalogue takes milliseconds, and no server needs them all before it is ready.
		texts: sync.OnceValue(func() map[string]forms {
			texts := map[string]forms{}
			if known {
				own, _ := parse(mustRead(tag)) // a test reads them
				add(texts, own)
			}
			add(texts, file)
			return texts
		}),
	}, nil
}

func add(texts map[string]forms, file []entry) {
	for _, e := range file {
		if e.forms != nil {
			texts[e.name] = *e.forms
		}
	}
}

func mustRead(tag string) []byte {
	data, err := shipped.ReadFile("messages/" + tag + ".yaml")
	if err != nil {
		panic(err) // Shipped names only files that are there
	}
	return data
}

// original are the messages of en.yaml, by name.
var original = sync.OnceValue(func() map[string]forms {
	known := map[string]forms{}
	file, _ := parse(mustRead("en"))
	for _, e := range file {
		known[e.name] = forms{other: e.name}
		if e.forms != nil {
			known[e.name] = *e.forms
		}
	}
	return known
})

// Messages returns the names of all messages, in the order of en.yaml.
func Messages() []string {
	file, _ := parse(mustRead("en"))
	list := make([]string, len(file))
	for i, e := range file {
		list[i] = e.name
	}
	return list
}

// CheckCatalogue returns what is wrong with a catalogue that is to have every message.
func CheckCatalogue(tag string, data []byte) Faults {
	file, faults := parse(data)
	return append(faults, check(language.Make(tag), file, true)...)
}

// formNames are the names of plural forms (CLDR).
var formNames = map[string]plural.Form{
	"zero": plural.Zero, "one": plural.One, "two": plural.Two, "few": plural.Few, "many": plural.Many,
	"other": plural.Other,
}

// parse reads a catalogue.
func parse(data []byte) (file []entry, faults Faults) {
	fault := func(line int, format string, args ...any) {
		faults = append(faults, Fault{Line: line, Text: fmt.Sprintf(format, args...)})
	}
	var doc yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		fault(0, "is not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		return nil, faults
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		fault(root.Line, "is not a list of messages; write each as: English text: its translation")
		return nil, faults
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		name, value := root.Content[i], root.Content[i+1]
		e := entry{name: name.Value, line: name.Line}
		if line, twice := seen[e.name]; twice {
			fault(name.Line, "%q is written twice, first on line %d; keep one", e.name, line)
			continue
		}
		seen[e.name] = name.Line
		switch {
		case value.Kind == yaml.ScalarNode && value.ShortTag() == "!!null":
		case value.Kind == yaml.ScalarNode:
			e.forms = &forms{other: value.Value}
		case value.Kind == yaml.MappingNode:
			e.forms = &forms{byForm: map[plural.Form]string{}}
			for j := 0; j+1 < len(value.Content); j += 2 {
				form, known := formNames[value.Content[j].Value]
				text := value.Content[j+1]
				switch {
				case !known || text.Kind != yaml.ScalarNode:
					fault(value.Content[j].Line, "%q: %q is not a plural form; use zero, one, two, few, many or other, each "+
						"with a text", e.name, value.Content[j].Value)
				case form == plural.Other:
					e.forms.other = text.Value
				default:
					e.forms.byForm[form] = text.Value
				}
			}
		default:
			fault(value.Line, "%q is not a text; write one, or one for each plural form", e.name)
			continue
		}
		file = append(file, e)
	}
	return file, faults
}

// check compares a catalogue with the messages that there are. whole requires every message.
func check(tag language.Tag, file []entry, whole bool) (faults Faults) {
	fault := func(line int, format string, args ...any) {
		faults = append(faults, Fault{Line: line, Text: fmt.Sprintf(format, args...)})
	}
	missing := maps.Clone(original())
	for _, e := range file {
		want, known := original()[e.name]
		if !known {
			fault(e.line, "%q is not the text of a message; remove it, or see the catalogue of English", e.name)
			continue
		}
		delete(missing, e.name)
		if e.forms == nil || strings.TrimSpace(e.forms.other) == "" {
			fault(e.line, "%q has no text; write one", e.name)
			continue
		}
		if e.forms.byForm != nil && want.byForm == nil {
			fault(e.line, "%q has no plural forms in English; write one text", e.name)
			continue
		}
		for form, text := range e.forms.all() {
			if wrong := compare(want.other, text, form == plural.Other && e.forms.byForm == nil); wrong != "" {
				fault(e.line, "%q: %s", e.name, wrong)
			}
		}
		if want.byForm == nil {
			continue
		}
		for n := range 200 {
			form := plural.Cardinal.MatchPlural(tag, n, 0, 0, 0, 0)
			if _, ok := e.forms.byForm[form]; !ok && form != plural.Other {
				fault(e.line, "%q needs the plural form %s, for %d", e.name, formName(form), n)
				break
			}
		}
	}
	if whole {
		for _, name := range slices.Sorted(maps.Keys(missing)) {
			fault(0, "%q is missing", name)
		}
	}
	return faults
}

// all returns the texts of all forms.
func (f forms) all() map[plural.Form]string {
	all := maps.Clone(f.byForm)
	if all == nil {
		all = map[plural.Form]string{}
	}
	all[plural.Other] = f.other
	return all
}

func formName(form plural.Form) string {
	for name, f := range formNames {
		if f == form {
			return name
		}
	}
	return ""
}

// compare says what is wrong with the verbs of a translation; empty: nothing. all requires every verb of the original.
func compare(original, text string, all bool) string {
	want, err := split(original)
	if err != nil {
		return "" // a test reads the originals
	}
	have, err := split(text)
	if err != nil {
		return err.Error()
	}
	verbs := map[int]byte{}
	for _, p := range want {
		if p.verb != 0 {
			verbs[p.arg] = p.verb
		}
	}
	left := maps.Clone(verbs)
	for _, p := range have {
		if p.verb == 0 {
			continue
		}
		if verbs[p.arg] != p.verb {
			return fmt.Sprintf("%%[%d]%c does not stand for anything in this message", p.arg+1, p.verb)
		}
		delete(left, p.arg)
	}
	if all && len(left) > 0 {
		arg := slices.Min(slices.Collect(maps.Keys(left)))
		return fmt.Sprintf("%%[%d]%c is missing", arg+1, left[arg])
	}
	return ""
}
