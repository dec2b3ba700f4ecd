package locale

import (
	"cmp"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

// maxPreferences bounds what is parsed of each text that names languages, in bytes. Strangers send these texts, and
// browsers and apps name a few languages.
const maxPreferences = 500

// Set is the languages from which each reader gets theirs. It does not change, and its methods are safe for concurrent
// use.
type Set struct {
	languages []*Language
	matcher   language.Matcher
}

// NewSet returns the set of these languages; the first is the default. Without any, it has only English.
func NewSet(languages ...*Language) *Set {
	if len(languages) == 0 {
		languages = []*Language{English()}
	}
	tags := make([]language.Tag, len(languages))
	for i, l := range languages {
		tags[i] = l.tag
	}
	return &Set{languages: slices.Clone(languages), matcher: language.NewMatcher(tags)}
}

// Languages lists the languages; the first is the default.
func (s *Set) Languages() []*Language { return slices.Clone(s.languages) }

// Match returns the language for a reader: for the first of the preferred tags whose language there is, otherwise the
// best for an Accept-Language header (RFC 9110, section 12.5.4), otherwise the default. Each of preferred is a tag (BCP
// 47) or several with spaces between them, such as ui_locales (OpenID Connect Core 1.0, section 3.1.2.1). What is not
// valid, and what exceeds 500 bytes of a text, is ignored.
func (s *Set) Match(acceptLanguage string, preferred ...string) *Language {
	for _, list := range preferred {
		for text := range strings.FieldsSeq(bounded(list, " ")) {
			tag, err := language.Parse(text)
			if err != nil {
				continue
			}
			// Another language that its speakers often know too would win over what else they prefer.
			if l := s.match(tag); l != nil && sameBase(l.tag, tag) {
				return l
			}
		}
	}
	if l := s.match(accepted(acceptLanguage)...); l != nil {
		return l
	}
	return s.languages[0]
}

// match returns the best language for tags, the most important first; nil: there is none that fits.
func (s *Set) match(tags ...language.Tag) *Language {
	if _, i, confidence := s.matcher.Match(tags...); confidence > language.No {
		return s.languages[i]
	}
	return nil
}

// sameBase reports whether two tags are variants of one language, such as pt-BR and pt-PT.
func sameBase(a, b language.Tag) bool {
	x, _ := a.Base()
	y, _ := b.Base()
	return x == y
}

// accepted returns the languages of an Accept-Language header, the most important first.
func accepted(header string) []language.Tag {
	type weighted struct {
		tag    language.Tag
		weight float32
	}
	var list []weighted
	// One by one, since a single invalid entry would make the whole header invalid.
	for entry := range strings.SplitSeq(bounded(header, ","), ",") {
		tags, weights, err := language.ParseAcceptLanguage(entry)
		if err == nil && len(tags) == 1 && weights[0] <= 1 {
			list = append(list, weighted{tags[0], weights[0]})
		}
	}
	slices.SortStableFunc(list, func(a, b weighted) int { return cmp.Compare(b.weight, a.weight) })
	tags := make([]language.Tag, len(list))
	for i, w := range list {
		tags[i] = w.tag
	}
	return tags
}

// bounded returns the start of a text that is too long, without the entry that would be cut in two.
func bounded(text, separator string) string {
	if len(text) <= maxPreferences {
		return text
	}
	return text[:max(0, strings.LastIndex(text[:maxPreferences+1], separator))]
}
