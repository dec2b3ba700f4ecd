package identity

import (
	_ "embed"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"doorward/locale"
)

const (
	minPassword = 15 // characters, since the password is the only factor
	maxPassword = 256
	// minEffort is the least effort, as effort returns it, that guessing a password must take.
	minEffort = 8
)

// checkPassword refuses passwords that are too short, too long, or easily guessed: those in lists of stolen passwords,
// those derived from the account's address and name, runs, repeats and keyboard walks, and combinations of these. There
// are no composition rules: spaces, emoji and all scripts are allowed (NIST SP 800-63B).
func checkPassword(password string, context []string) error {
	invalid := func(message locale.Text) error { return &Invalid{Field: "password", Message: message} }
	if len(password) > maxPasswordBytes {
		return invalid(locale.New("Use at most %d characters.", maxPassword))
	}
	if !utf8.ValidString(password) {
		return invalid(locale.New("This is not valid text; send it as UTF-8."))
	}
	password = norm.NFC.String(password)
	switch n := utf8.RuneCountInString(password); {
	case n < minPassword:
		return invalid(locale.New("Use at least %d characters, such as a sentence of your own.", minPassword))
	case n > maxPassword:
		return invalid(locale.New("Use at most %d characters.", maxPassword))
	case strings.ContainsFunc(password, unicode.IsControl):
		return invalid(locale.New("Leave out line breaks and other control characters."))
	case effort(password, context) < minEffort:
		return invalid(locale.New(
			"This is too easy to guess; leave out well-known passwords, names, and runs or repeats of characters.",
		))
	}
	return nil
}

//go:embed common.txt
var commonText string

// common holds the words of common.txt; longest is the length of the longest one.
var common, longest = func() (map[string]bool, int) {
	words, longest := map[string]bool{}, 0
	for line := range strings.Lines(commonText) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		for _, word := range strings.Fields(line) {
			words[word] = true
			longest = max(longest, utf8.RuneCountInString(word))
		}
	}
	return words, longest
}()

// effort returns the least number of single guesses that make up a password: one for each common word, word of the
// context, run, keyboard walk, year or repetition, and one for each character outside these.
func effort(password string, context []string) int {
	folded := strings.ToLower(norm.NFKC.String(password))
	words := map[string]bool{}
	for _, text := range context {
		for word := range strings.FieldsFuncSeq(strings.ToLower(norm.NFKC.String(text)), func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
		}) {
			if utf8.RuneCountInString(word) >= 3 {
				words[word] = true
			}
		}
	}
	// These are the separators that people put between words.
	joined := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || strings.ContainsRune("-_.,:;/+*#|", r) {
			return -1
		}
		return r
	}, folded)
	return min(effortOf(runes(folded), words), effortOf(runes(joined), words)+1)
}

// runes returns the characters of a text, at most as many as a password may have. Case folding can turn one character
// into 18, and the work grows with the cube of their number.
func runes(text string) []rune {
	all := []rune(text)
	return all[:min(len(all), maxPassword)]
}

func effortOf(text []rune, words map[string]bool) int {
	if len(text) == 0 {
		return 0
	}
	spellings := []string{string(text), string(respell(text, 'i')), string(respell(text, 'l'))}
	offsets := make([][]int, len(spellings)) // of each rune in each spelling
	for i, s := range spellings {
		for at := range s {
			offsets[i] = append(offsets[i], at)
		}
		offsets[i] = append(offsets[i], len(s))
	}
	longestWord := longest
	for word := range words {
		if n := utf8.RuneCountInString(word); n <= len(text) {
			longestWord = max(longestWord, n)
		}
	}
	known := func(from, to int) bool {
		for i, s := range spellings {
			if word := s[offsets[i][from]:offsets[i][to]]; common[word] || words[word] {
				return true
			}
		}
		return false
	}
	// least[i] is the least effort of the first i characters.
	least := make([]int, len(text)+1)
	for end := 1; end <= len(text); end++ {
		least[end] = least[end-1] + 1
		for start := max(0, end-longestWord); start <= end-3; start++ {
			if least[start]+1 < least[end] &&
				(known(start, end) || isYear(text[start:end]) || isRepeat(text, start, end)) {
				least[end] = least[start] + 1
			}
		}
		for _, run := range []struct {
			least int
			goes  func(a, b rune) bool
		}{
			{3, func(a, b rune) bool { return a == b }},
			{3, func(a, b rune) bool { return b == a+1 }},
			{3, func(a, b rune) bool { return b == a-1 }},
			{4, neighbours},
		} {
			start := end - 1
			for start > 0 && run.goes(text[start-1], text[start]) {
				start--
				if end-start >= run.least {
					least[end] = min(least[end], least[start]+1)
				}
			}
		}
	}
	return least[len(text)]
}

// respell replaces digits and signs with the letters that they stand for; one is the letter for 1.
func respell(text []rune, one rune) []rune {
	out := slices.Clone(text)
	for i, r := range out {
		switch r {
		case '@', '4':
			out[i] = 'a'
		case '8':
			out[i] = 'b'
		case '3', '€':
			out[i] = 'e'
		case '1', '!', '|':
			out[i] = one
		case '0':
			out[i] = 'o'
		case '$', '5':
			out[i] = 's'
		case '7':
			out[i] = 't'
		}
	}
	return out
}

// isYear reports whether the text is a year from 1900 to 2099.
func isYear(text []rune) bool {
	if len(text) != 4 {
		return false
	}
	for _, r := range text {
		if r < '0' || r > '9' {
			return false
		}
	}
	return string(text[:2]) == "19" || string(text[:2]) == "20"
}

// isRepeat reports whether text[start:end] occurs before start.
func isRepeat(text []rune, start, end int) bool {
	n := end - start
	for from := 0; from+n <= start; from++ {
		if slices.Equal(text[from:from+n], text[start:end]) {
			return true
		}
	}
	return false
}

// rows are the keyboard layouts of three countries. A key is adjacent to those beside, above and below it.
var rows = [][]string{
	{"1234567890-=", "qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./"},
	{"1234567890ß´", "qwertzuiopü+", "asdfghjklöä#", "yxcvbnm,.-"},
	{"&é\"'(-è_çà)=", "azertyuiop^$", "qsdfghjklmù*", "wxcvbn,;:!"},
}

// touching holds each pair of adjacent keys.
var touching = func() map[[2]rune]bool {
	pairs := map[[2]rune]bool{}
	for _, keyboard := range rows {
		var grid [][]rune
		for _, row := range keyboard {
			grid = append(grid, []rune(row))
		}
		for y, row := range grid {
			for x, key := range row {
				for _, step := range [][2]int{{1, 0}, {0, 1}, {-1, 1}} { // each row is shifted half a key to the right
					if y2, x2 := y+step[1], x+step[0]; y2 < len(grid) && x2 >= 0 && x2 < len(grid[y2]) {
						pairs[[2]rune{key, grid[y2][x2]}] = true
						pairs[[2]rune{grid[y2][x2], key}] = true
					}
				}
			}
		}
	}
	return pairs
}()

func neighbours(a, b rune) bool { return a == b || touching[[2]rune{a, b}] }
