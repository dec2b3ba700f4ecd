// Package input checks the texts that people choose: names, notes, addresses, web sites and the hosts in them. Pages,
// API and CLI share it, so that each kind of text has one rule. A check returns what is wrong in words that follow
// the name of the field, such as "is longer than 100 characters", or an empty string.
package input

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Line gives a text of one line as it is stored, in NFC (Unicode Standard Annex #15) and without space around it, and
// says what is wrong with it. It may be empty; where it is not, something of it can be seen.
func Line(text string, most int) (stored, wrong string) {
	if wrong := Length(text, most); wrong != "" {
		return "", wrong
	}
	if !utf8.ValidString(text) {
		return "", "is not readable text; send it as UTF-8"
	}
	text = strings.TrimSpace(norm.NFC.String(text))
	if wrong := Length(text, most); wrong != "" {
		return "", wrong
	}
	runes := []rune(text)
	for i := range runes {
		if hidden(runes, i) {
			return "", "holds control or invisible characters; remove them"
		}
	}
	switch {
	case text == "":
	case !strings.ContainsFunc(text, visible):
		return "", "holds nothing that can be seen; write a letter or digit"
	case unicode.Is(unicode.M, runes[0]):
		return "", "begins with a mark that belongs to a letter before it; put the letter there"
	}
	return text, ""
}

// Lines is Line for a text that may have several lines, and tabs in them.
func Lines(text string, most int) (stored, wrong string) {
	if wrong := Length(text, most); wrong != "" {
		return "", wrong
	}
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")), "\n")
	for i, line := range lines {
		if _, wrong := Line(strings.ReplaceAll(line, "\t", " "), most); wrong != "" {
			return "", wrong
		}
		lines[i] = norm.NFC.String(line)
	}
	return strings.Join(lines, "\n"), ""
}

// Length says that a text has more than so many characters.
func Length(text string, most int) string {
	if len(text) > 4*most || utf8.RuneCountInString(text) > most {
		return "is longer than " + strconv.Itoa(most) + " characters"
	}
	return ""
}

// blanks show as nothing, or as a box, although Unicode counts them as symbols or letters: BRAILLE PATTERN BLANK,
// MUSICAL SYMBOL NULL NOTEHEAD, OBJECT REPLACEMENT CHARACTER, REPLACEMENT CHARACTER, and EGYPTIAN HIEROGLYPH FULL BLANK
// and HALF BLANK.
const blanks = "\u2800\U0001D159\uFFFC\uFFFD\U00013441\U00013442"

// hidden reports whether a character shows as nothing or changes how others are shown: controls, format characters and
// all else that is Default_Ignorable (UAX #44), line and paragraph separators, private use and noncharacters. A joiner
// between two characters that it shapes, and a variation selector after a symbol, are not hidden: several scripts and
// emoji are written with them.
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

// Claim says what is wrong with the name of an app that says of itself what only this server may say: that it is
// verified or official, or, unless own names may be used, that it is the server or the API themselves. Letters that
// look alike count as the same. own are the names of the server and its APIs.
func Claim(name string, own []string, mayOwn bool) string {
	const claims = "claims that the app is verified or official, which only this server says; leave that out"
	if strings.ContainsAny(name, "✓✔☑✅🗸🗹⍻√\U0001FBB1🏅🎖🛡") {
		return claims
	}
	words := skeleton(name)
	whole := strings.Join(words, "")
	// Of the words that claim, only this one is looked for across spaces: no ordinary name holds it by chance.
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
			return "is the name of this service itself; give the app one of its own"
		}
		rest, found := strings.CutPrefix(whole, o)
		if !found {
			rest, found = strings.CutSuffix(whole, o)
		}
		if strings.Contains(whole, o) &&
			slices.ContainsFunc(words, func(w string) bool { return vouching(w) || slices.Contains(staffWords, w) }) ||
			found && (vouching(rest) || slices.Contains(staffWords, rest) || slices.Contains(badgeWords, rest)) {
			return "reads as if the app were part of this service; leave out its name or what is said of it"
		}
	}
	return ""
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

// asides are the parts of a name that say something of the rest: what stands in brackets, and what follows a dash,
// colon, comma or dot between spaces.
func asides(name string) (parts []string) {
	for i, part := range strings.FieldsFunc(norm.NFKC.String(name), func(c rune) bool {
		return unicode.In(c, unicode.Ps, unicode.Pe, unicode.Pi, unicode.Pf, unicode.Pd) || strings.ContainsRune(":,;|·•/\\*~!.\"'", c) || unicode.Is(unicode.So, c)
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

// alike are letters that look like Latin ones, among them Lisu and Cherokee ones, small capitals and letters with hooks
// and strokes that Unicode does not take apart; and digits and signs that stand for letters.
var alike = func() map[rune]rune {
	m := map[rune]rune{}
	for latin, others := range map[rune]string{
		'a': "аα@4ɑᴀⱥꓮᎪ", 'b': "вьβ8ʙɓƀꓐᏴ", 'c': "сϲᴄƈꓚᏟ", 'd': "ԁɗᴅɖđꓓᎠ", 'e': "еεё3ҽᴇɇɛꓰᎬ", 'f': "ғƒϝꜰꓝ", 'g': "ɡԍ9ɢɠꓖᏀ", 'h': "һнℎʜɦħꓧᎻᏂ",
		'j': "јᴊɉꓙᎫ", 'k': "кκᴋƙꓗᏦ", 'm': "мϻᴍɱꓟᎷ", 'n': "пղηɴɲŋꓠ", 'o': "оοσ0өօᴏøꓳ", 'p': "рρᴘƥꓑᏢ", 'q': "ԛʠ", 'r': "гᴦʀɼɽɾɍꓣᎡᏒ",
		's': "ѕ5$ꜱʂꓢᏚ", 't': "тτ7ᴛƭʈŧꓔᎢ", 'u': "υսцᴜꓴ", 'v': "ѵνᴠⱱʋꓦᏙ", 'w': "ѡԝшωᴡⱳꓪᎳ", 'x': "хχꓫ", 'y': "уүγʏƴꓬᎩ", 'z': "ᴢ2ȥƶꓜᏃ",
		// All that is a single stroke is one letter, l among them.
		'i': "іι1l|!ıӏɩɪɨꓲʟłꓡᏞ",
	} {
		for _, c := range others {
			m[unicode.ToLower(c)] = latin
		}
	}
	// White letters on black, and the letters that flags are made of.
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

// skeleton is the words of a text with letters that look alike made the same.
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
	// Letters that stand apart, as in V e r i f i e d, are a word.
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
