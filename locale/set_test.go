package locale

import (
	"slices"
	"strings"
	"testing"
)

func setOf(tags ...string) *Set {
	list := make([]*Language, len(tags))
	for i, tag := range tags {
		list[i] = spoken(tag, nil)
	}
	return NewSet(list...)
}

func TestTheReaderGetsTheBestLanguageThatThereIs(t *testing.T) {
	shipped := setOf(Shipped...)
	vendors := setOf("pt-BR", "en", "zh-Hant", "fr")
	for _, x := range []struct {
		s         *Set
		accept    string
		preferred []string
		want      string
	}{
		// Nothing is known of the reader.
		{shipped, "", nil, "en"},
		{vendors, "", nil, "pt-BR"},
		{vendors, "", []string{""}, "pt-BR"},
		// Accept-Language (RFC 9110, section 12.5.4).
		{shipped, "de", nil, "de"},
		{shipped, "DE", nil, "de"},
		{shipped, "de-AT,de;q=0.9,en;q=0.8", nil, "de"},
		{shipped, "en-GB, de", nil, "en"},
		{shipped, "fr-CA", nil, "fr"},
		{shipped, "en;q=0.1, ja", nil, "ja"},
		{shipped, "en ; q=0.1 , ja ; q=0.2", nil, "ja"},
		{shipped, "ja;q=0, fr;q=0.1", nil, "fr"},
		{shipped, "ru, fr;q=0.5", nil, "fr"},
		{shipped, "ru, *", nil, "en"},
		{shipped, "*", nil, "en"},
		{shipped, "ru", nil, "en"},
		{vendors, "ru", nil, "pt-BR"},
		{vendors, "pt", nil, "pt-BR"},
		{vendors, "zh-TW", nil, "zh-Hant"},
		{vendors, "fr", []string{"zh-HK"}, "zh-Hant"},
		{vendors, "fr", []string{"pt-PT"}, "pt-BR"},
		// Speakers of Welsh often know English, but if they know one of the others, that is better.
		{vendors, "cy", nil, "en"},
		{vendors, "cy, fr;q=0.1", nil, "fr"},
		{vendors, "", []string{"cy fr"}, "fr"},
		{vendors, "fr", []string{"cy"}, "fr"},
		// What is not valid is ignored, and the rest counts.
		{shipped, "!!, de", nil, "de"},
		{shipped, "de;q=NaN, fr;q=0.1", nil, "fr"},
		{shipped, "de;q=1e9, fr;q=0.1", nil, "fr"},
		{shipped, "de;q=x, fr;q=0.1", nil, "fr"},
		{shipped, "\xff\x00, de", nil, "de"},
		{shipped, ",,, de,", nil, "de"},
		{shipped, "x-pirate", nil, "en"},
		// A preferred language wins, in its order.
		{shipped, "de", []string{"fr"}, "fr"},
		{shipped, "de", []string{"", "ja", "fr"}, "ja"},
		{shipped, "de", []string{"ru fr es"}, "fr"},
		{shipped, "de", []string{"ru", "es-419"}, "es"},
		{shipped, "de", []string{"  fr-CA\tfr  "}, "fr"},
		{shipped, "de", []string{"!! \xff_ fr"}, "fr"},
		{shipped, "de", []string{"ru", "x-pirate", "!!"}, "de"},
		{shipped, "", []string{"ru"}, "en"},
		{vendors, "pt-BR", []string{"en-US"}, "en"},
		// What is too long is cut off between two entries.
		{shipped, strings.Repeat("ru,", 150) + "de", nil, "de"},
		{shipped, strings.Repeat("ru,", 200) + "de", nil, "en"},
		{shipped, strings.Repeat("x", 498) + ",den", nil, "en"},
		{shipped, strings.Repeat("x", 497) + ",de,", nil, "de"},
		{shipped, strings.Repeat("a-", 1<<20), nil, "en"},
		{shipped, "de", []string{strings.Repeat("ru ", 150) + "fr"}, "fr"},
		{shipped, "de", []string{strings.Repeat("ru ", 200) + "fr"}, "de"},
		{shipped, "de", []string{strings.Repeat("ru-", 1<<20), "fr"}, "fr"},
	} {
		if got := x.s.Match(x.accept, x.preferred...); got.Tag() != x.want {
			t.Errorf("for %.60q, preferred %.60q: %s, want %s", x.accept, x.preferred, got.Tag(), x.want)
		}
	}
}

func TestASetKeepsItsLanguages(t *testing.T) {
	s := setOf("de", "fr")
	list := s.Languages()
	list[0] = list[1]
	if got := s.Languages(); got[0].Tag() != "de" || got[1].Tag() != "fr" || len(got) != 2 {
		t.Errorf("the languages are %v", got)
	}
	if got := NewSet().Languages(); len(got) != 1 || got[0] != English() {
		t.Errorf("an empty set has the languages %v", got)
	}
}

// FuzzMatch: whatever a stranger sends, the reader gets one of the languages, always the same.
func FuzzMatch(f *testing.F) {
	for _, seed := range []string{
		"", "de", "de-AT,de;q=0.9,en;q=0.8", "*", "fr;q=0", "x-a-b", "und-JP", "zh-Hant-TW-u-co-stroke", "en-GB-oed",
		"i-klingon", "a;q=,;q=1,", "\xff", "sr-Latn sr", "de-1996-u-ca-buddhist-x-y", "mul", "art-lojban",
	} {
		f.Add(seed, seed)
	}
	s := setOf(Shipped...)
	f.Fuzz(func(t *testing.T, accept, preferred string) {
		got := s.Match(accept, preferred)
		if !slices.Contains(s.Languages(), got) {
			t.Fatalf("%q and %q yield %v", accept, preferred, got)
		}
		if again := s.Match(accept, preferred); again != got {
			t.Fatalf("%q and %q yield %s, and then %s", accept, preferred, got.Tag(), again.Tag())
		}
	})
}
