// Package input checks the values that users choose, such as names, email addresses and web sites, by the same rules
// for pages, API and CLI. A check returns the error as words to follow the name of the field, such as "is longer than
// 100 characters", or an empty text for a valid value.
package input

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"doorward/locale"
)

// Line returns a one-line text in the form in which it is stored, in NFC (Unicode Standard Annex #15) and without
// surrounding spaces, or what is wrong with it. It may be empty; if not, it must contain a visible character.
func Line(text string, limit int) (stored string, wrong locale.Text) {
	if wrong := Length(text, limit); !wrong.IsZero() {
		return "", wrong
	}
	if !utf8.ValidString(text) {
		return "", locale.New("is not valid text; send it as UTF-8")
	}
	text = strings.TrimSpace(norm.NFC.String(text))
	if wrong := Length(text, limit); !wrong.IsZero() {
		return "", wrong
	}
	runes := []rune(text)
	for i := range runes {
		if hidden(runes, i) {
			return "", locale.New("contains control or invisible characters; remove them")
		}
	}
	switch {
	case text == "":
	case !strings.ContainsFunc(text, visible):
		return "", locale.New("contains no visible character; use a letter or digit")
	case unicode.Is(unicode.M, runes[0]):
		return "", locale.New("begins with a combining mark; put a letter before it")
	}
	return text, locale.Text{}
}

// Lines is Line for a text that may contain line breaks and tabs.
func Lines(text string, limit int) (stored string, wrong locale.Text) {
	if wrong := Length(text, limit); !wrong.IsZero() {
		return "", wrong
	}
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")), "\n")
	for i, line := range lines {
		if _, wrong := Line(strings.ReplaceAll(line, "\t", " "), limit); !wrong.IsZero() {
			return "", wrong
		}
		lines[i] = norm.NFC.String(line)
	}
	return strings.Join(lines, "\n"), locale.Text{}
}

// Length returns what is wrong with a text of more than limit characters, and an empty text for a shorter one.
func Length(text string, limit int) locale.Text {
	if len(text) > 4*limit || utf8.RuneCountInString(text) > limit {
		return locale.New("is longer than %s characters", strconv.Itoa(limit))
	}
	return locale.Text{}
}

// blanks are displayed as nothing or as a box, although Unicode counts them as symbols or letters: BRAILLE PATTERN
// BLANK, MUSICAL SYMBOL NULL NOTEHEAD, OBJECT REPLACEMENT CHARACTER, REPLACEMENT CHARACTER, and EGYPTIAN HIEROGLYPH
// FULL BLANK and HALF BLANK.
const blanks = "\u2800\U0001D159\uFFFC\uFFFD\U00013441\U00013442"

// hidden reports whether text[i] is invisible or changes how other characters are displayed: controls, format
// characters and all others that are Default_Ignorable (UAX #44), line and paragraph separators, private use and
// noncharacters. A joiner between two characters that it shapes, and a variation selector after a symbol, are not
// hidden: several scripts and emoji need them.
func hidden(text []rune, i int) bool {
	c := text[i]
	if c < unicode.MaxASCII {
		return unicode.IsControl(c)
	}
	shaped := func(c rune) bool {
		return unicode.In(c, unicode.So, unicode.Sk, unicode.Variation_Selector) ||
			unicode.In(c, unicode.L, unicode.M) &&
				!unicode.In(
					c, unicode.Latin, unicode.Greek, unicode.Cyrillic, unicode.Hangul,
					unicode.Other_Default_Ignorable_Code_Point,
				)
	}
	switch {
	case c == '\u200c' || c == '\u200d':
		return i == 0 || i == len(text)-1 || !shaped(text[i-1]) || !shaped(text[i+1])
	case c == '\ufe0e' || c == '\ufe0f':
		return i == 0 || !unicode.In(text[i-1], unicode.So, unicode.Sm, unicode.Po, unicode.Nd)
	}
	return strings.ContainsRune(blanks, c) || unicode.In(
		c, unicode.C, unicode.Zl, unicode.Zp, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point,
		unicode.Noncharacter_Code_Point,
	)
}

func visible(c rune) bool { return unicode.In(c, unicode.L, unicode.N, unicode.P, unicode.S) }

// FalseClaim returns what is wrong with an app name that makes a claim reserved to this server: that the app is
// verified or official, or, unless mayOwn is set, that it is the server or one of its APIs, whose names are own.
// Letters that look alike count as the same.
func FalseClaim(name string, own []string, mayOwn bool) locale.Text {
	claims := locale.New(
		"suggests that the app is verified or official, which only this server can show; remove those words",
	)
	if strings.ContainsAny(name, "✓✔☑✅🗸🗹⍻√\U0001FBB1🏅🎖🛡") {
		return claims
	}
	words := skeleton(name)
	whole := strings.Join(words, "")
	// Only this claim is also found across spaces: no ordinary name contains it by chance.
	if strings.Contains(whole, badgeWords[0]) ||
		slices.ContainsFunc(words, func(w string) bool { return slices.Contains(badgeWords, w) }) ||
		strings.Contains(whole, "partofthisservice") ||
		strings.Contains(whole, "registeredbytheoperator") {
		return claims
	}
	vouching := func(w string) bool { return slices.Contains(vouchingWords, w) }
	for _, part := range asides(name) {
		if slices.ContainsFunc(skeleton(part), vouching) {
			return claims
		}
	}
	for _, o := range own {
		o = strings.Join(skeleton(o), "")
		if o == "" {
			continue
		}
		if !mayOwn && whole == o {
			return locale.New("is the name of this service itself; choose another name")
		}
		rest, found := strings.CutPrefix(whole, o)
		if !found {
			rest, found = strings.CutSuffix(whole, o)
		}
		if strings.Contains(whole, o) &&
			slices.ContainsFunc(words, func(w string) bool { return vouching(w) || slices.Contains(staffWords, w) }) ||
			found && (vouching(rest) || slices.Contains(staffWords, rest) || slices.Contains(badgeWords, rest)) {
			return locale.New(
				"reads as if the app were part of this service; use a name that does not contain the service's name",
			)
		}
	}
	return locale.Text{}
}

var (
	badgeWords    = skeletons("verified", "unverified", "verifled")
	vouchingWords = skeletons(
		"official", "officially", "certified", "approved", "endorsed", "trusted", "authorized", "authorised",
		"authentic", "genuine", "checked",
	)
	staffWords = skeletons(
		"support", "team", "staff", "security", "admin", "administrator", "administration", "helpdesk", "operator",
	)
)

func skeletons(words ...string) (out []string) {
	for _, w := range words {
		out = append(out, skeleton(w)...)
	}
	return out
}

// asides returns the parts of a name that comment on the rest: those in brackets, and those after a dash, colon, comma
// or dot between spaces.
func asides(name string) (parts []string) {
	for i, part := range strings.FieldsFunc(norm.NFKC.String(name), func(c rune) bool {
		return unicode.In(c, unicode.Ps, unicode.Pe, unicode.Pi, unicode.Pf, unicode.Pd, unicode.So) ||
			strings.ContainsRune(":,;|·•/\\*~!.\"'", c)
	}) {
		words := skeleton(part)
		if len(words) == 1 || i > 0 && len(words) <= 2 {
			parts = append(parts, part)
		}
	}
	if words := strings.Fields(name); len(words) > 1 {
		parts = append(parts, words[len(words)-1])
	}
	return parts
}

// alike maps letters that look like Latin ones to these, among them Lisu and Cherokee letters, small capitals, and
// letters with hooks and strokes that Unicode does not decompose. It also maps digits and signs that replace letters.
var alike = func() map[rune]rune {
	m := map[rune]rune{}
	for latin, others := range map[rune]string{
		'a': "аα@4ɑᴀⱥꓮᎪ", 'b': "вьβ8ʙɓƀꓐᏴ", 'c': "сϲᴄƈꓚᏟ", 'd': "ԁɗᴅɖđꓓᎠ", 'e': "еεё3ҽᴇɇɛꓰᎬ",
		'f': "ғƒϝꜰꓝ", 'g': "ɡԍ9ɢɠꓖᏀ", 'h': "һнℎʜɦħꓧᎻᏂ",
		'j': "јᴊɉꓙᎫ", 'k': "кκᴋƙꓗᏦ", 'm': "мϻᴍɱꓟᎷ", 'n': "пղηɴɲŋꓠ", 'o': "оοσ0өօᴏøꓳ",
		'p': "рρᴘƥꓑᏢ", 'q': "ԛʠ", 'r': "гᴦʀɼɽɾɍꓣᎡᏒ",
		's': "ѕ5$ꜱʂꓢᏚ", 't': "тτ7ᴛƭʈŧꓔᎢ", 'u': "υսцᴜꓴ", 'v': "ѵνᴠⱱʋꓦᏙ",
		'w': "ѡԝшωᴡⱳꓪᎳ", 'x': "хχꓫ", 'y': "уүγʏƴꓬᎩ", 'z': "ᴢ2ȥƶꓜᏃ",
		// All single strokes are one letter, including l.
		'i': "іι1l|!ıӏɩɪɨꓲʟłꓡᏞ",
	} {
		for _, c := range others {
			m[unicode.ToLower(c)] = latin
		}
	}
	// White letters on black, and the letters that form flags.
	for _, first := range []rune{'\U0001F150', '\U0001F170', '\U0001F1E6'} {
		for i := range rune(26) {
			m[first+i] = 'a' + i
			if latin, ok := m['a'+i]; ok {
				m[first+i] = latin
			}
		}
	}
	return m
}()

// skeleton returns the words of a text, with letters that look alike replaced by the same letter.
func skeleton(text string) []string {
	text = strings.ToLower(norm.NFKD.String(strings.ToLower(text)))
	text = strings.Map(func(c rune) rune {
		if unicode.Is(unicode.M, c) {
			return -1
		}
		if latin, ok := alike[c]; ok {
			return latin
		}
		return c
	}, text)
	words := strings.FieldsFunc(text, func(c rune) bool { return !unicode.In(c, unicode.L, unicode.N) })
	// Spaced letters, as in V e r i f i e d, are one word.
	var out []string
	single := false
	for _, w := range words {
		one := utf8.RuneCountInString(w) == 1
		if one && single {
			out[len(out)-1] += w
		} else {
			out = append(out, w)
		}
		single = one
	}
	return out
}
