// Command list writes docs/security-tests.md: which tests cover which case of the security catalogue. A test that
// covers a case carries its id in its name, as in TestA08_…, or several ids, as in TestT42_T43_….
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"doorward/test/setup"
)

// document is the generated file, in the repository.
const document = "docs/security-tests.md"

// section is an area of the catalogue. Both lists are ids, with ranges: "A-01…A-06 A-08".
type section struct {
	title string
	now   string // cases that apply to the server as it is
	later string // cases about features that it does not have; a test may show that it refuses them
}

var sections = []section{
	{"Authorize: redirect URI", "A-01…A-06 A-08…A-16 A-18 A-19", ""},
	{"Authorize: PKCE, response type and mode, state, repeats, scope", "A-20…A-26 A-28…A-36 A-38…A-41", ""},
	{"Authorize: prompt, age, hints, request objects", "A-42…A-46 A-48…A-56 A-58…A-60", ""},
	{"Browser side: consent, session, framing", "B-01…B-06 B-08…B-14", ""},
	{"Token: codes", "T-01…T-06 T-08…T-15", ""},
	{"Token: refresh", "T-20…T-26 T-28…T-33", ""},
	{"Token: client authentication", "T-40…T-46 T-48…T-56 T-58…T-60", ""},
	{"Token: grants, form, transport", "T-70…T-76 T-78…T-83", ""},
	{"Introspection and revocation", "I-01…I-06 I-08…I-14 R-01…R-06 R-08 R-09 U-01", "I-15 U-02 U-03"},
	{"API keys and personal access tokens", "", "K-01…K-28"},
	{"Rate limits", "L-09 L-10 L-12 L-14", "L-01…L-13"},
	{"Forward-auth", "F-01…F-06 F-08…F-16", ""},
	{"Login: passwords and sessions", "G-01…G-06 G-08…G-16 G-18…G-26 G-28…G-32", "G-17 G-27 G-33 G-34"},
	{"Registration, and documents that are fetched", "D-01…D-06 D-08…D-13", ""},
	{"JWT and keys", "J-01…J-06 J-08…J-10", "J-11"},
	{"DPoP, mutual TLS, token exchange", "P-01…P-06 P-08…P-10", "X-01…X-06"},
	{"HTTP layer", "H-01…H-06 H-08…H-14", ""},
	{"Storage, tenancy, logs", "S-01 S-03 S-10…S-12 O-01…O-04 O-06", "S-02…S-09 O-05"},
	{"Access that was taken away", "V-01…V-09", ""},
	{"Rights", "V-10…V-18", ""},
	{"Gateway", "V-20…V-25", ""},
	{"Bounds", "V-30…V-34", ""},
	{"Input from outside", "V-40…V-54", ""},
	{"Pages", "V-60…V-67", ""},
	{"The demo", "V-68", ""},
	{"Messages and documents", "V-70…V-79", ""},
	{"Faults", "Z-1 Z-2 Z-4a Z-4b Z-4c Z-13", "Z-3 Z-4 Z-4d Z-5…Z-27"},
}

// notes are remarks about a section, by its title.
var notes = map[string]string{
	"Forward-auth": "These run through Doorward's own proxy, nginx and Caddy. An API's host has no pages and no " +
		"cookies, so a browser without\n" +
		"a credential gets 401 too, not a redirect to a login (F-01). Basic is not accepted, so the only name that a " +
		"caller\n" +
		"sends is that of a workspace (F-15).",
}

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write() error {
	root, err := setup.Root()
	if err != nil {
		return err
	}
	text, _, err := render(os.DirFS(root))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, filepath.FromSlash(document)), text, 0o644)
}

// id identifies a case.
type id struct {
	letter string
	number int
	part   string // a, b, …
}

func (i id) String() string {
	if i.letter == "Z" {
		return fmt.Sprintf("Z-%d%s", i.number, i.part)
	}
	return fmt.Sprintf("%s-%02d%s", i.letter, i.number, i.part)
}

var idText = regexp.MustCompile(`^([A-Z])-?0*(\d+)([a-z]?)$`)

func parse(text string) (i id, err error) {
	m := idText.FindStringSubmatch(text)
	if m == nil {
		return i, fmt.Errorf("%q is not the id of a case", text)
	}
	i.letter, i.part = m[1], m[3]
	_, err = fmt.Sscan(m[2], &i.number)
	return i, err
}

// expand expands a list of ids with ranges.
func expand(list string) ([]id, error) {
	var all []id
	for _, text := range strings.Fields(list) {
		from, to, isRange := strings.Cut(text, "…")
		first, err := parse(from)
		if err != nil {
			return nil, err
		}
		last := first
		if isRange {
			if last, err = parse(to); err != nil {
				return nil, err
			}
		}
		for n := first.number; n <= last.number; n++ {
			all = append(all, id{first.letter, n, first.part})
		}
	}
	return all, nil
}

// test is a function that covers a case.
type test struct {
	name, file string
	faults     bool // it has the build tag faults
}

func (x test) String() string {
	mark := ""
	if x.faults {
		mark = " *"
	}
	return fmt.Sprintf("[%s](../%s)%s", x.name, x.file, mark)
}

var (
	function = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)((?:[A-Z]\d{1,2}[a-z]?_)*)\w*)\(`)
	tag      = regexp.MustCompile(`(?m)^//go:build .*\bfaults\b`)
)

// find reads the names of the tests of a repository, with any build tag, and of the fuzz targets.
func find(repository fs.FS) (cases map[id][]test, fuzz []test, err error) {
	cases = map[id][]test{}
	err = fs.WalkDir(repository, ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() &&
			(d.Name() == "node_modules" || d.Name() == "testdata" || (strings.HasPrefix(d.Name(), ".") && file != ".")):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, "_test.go"):
			return nil
		}
		text, err := fs.ReadFile(repository, file)
		if err != nil {
			return err
		}
		for _, m := range function.FindAllSubmatch(text, -1) {
			x := test{string(m[1]), file, tag.Match(text)}
			if strings.HasPrefix(x.name, "Fuzz") {
				fuzz = append(fuzz, x)
			}
			if len(m[2]) == 0 {
				continue
			}
			for part := range strings.SplitSeq(strings.TrimSuffix(string(m[2]), "_"), "_") {
				i, err := parse(part)
				if err != nil {
					return err
				}
				cases[i] = append(cases[i], x)
			}
		}
		return nil
	})
	return cases, fuzz, err
}

const preamble = "<!-- Written by `make generate`; `make test` fails if it does not match the tests. -->\n" + `
# Security cases and their tests

The attacks that the server must withstand are kept as a catalogue of cases. A case has an id, which is a letter for its
area and a number. Each test for a case has the id in its name; the rest of the name is the rule. To run all tests for
one case:

    go test ./... -run 'T06_'

Tests marked * kill processes or measure time, and run with ` + "`make faults`" +
	`. Cases about features that the server does not
have are left out, except those with a test that such a request is refused. The promises are in
[SECURITY.md](../SECURITY.md).
`

// render generates the document from the tests of a repository, and returns the current cases without a test.
func render(repository fs.FS) (text []byte, missing []string, err error) {
	cases, fuzz, err := find(repository)
	if err != nil {
		return nil, nil, err
	}
	var out bytes.Buffer
	out.WriteString(preamble)
	for _, s := range sections {
		now, err := expand(s.now)
		if err != nil {
			return nil, nil, err
		}
		later, err := expand(s.later)
		if err != nil {
			return nil, nil, err
		}
		var lines []string
		for _, i := range inOrder(slices.Concat(now, later)) {
			tests := cases[i]
			delete(cases, i)
			if len(tests) > 0 {
				rule := rules[i.String()]
				if rule == "" {
					missing = append(missing, i.String()+" (its rule)")
				}
				lines = append(lines, fmt.Sprintf("| %s | %s | %s |\n", i, rule, strings.Join(sorted(tests), "<br>")))
			} else if slices.Contains(now, i) {
				missing = append(missing, i.String())
			}
		}
		if len(lines) > 0 {
			note := notes[s.title]
			if note != "" {
				note += "\n\n"
			}
			fmt.Fprintf(&out, "\n## %s\n\n%s| case | rule | tests |\n| --- | --- | --- |\n%s", s.title,
				note, strings.Join(lines, ""))
		}
	}
	var unknown []error
	for i, tests := range cases {
		unknown = append(unknown, fmt.Errorf("%s names the case %s, which no section of this command has", tests[0].name, i))
	}
	none := "None"
	if len(missing) > 0 {
		none = strings.Join(missing, ", ")
	}
	fmt.Fprintf(&out,
		"\n## Cases without a test\n\n%s.\n\n## Fuzz targets\n\nRun one with `go test -fuzz=NAME ./PACKAGE`.\n\n", none)
	for _, x := range sorted(fuzz) {
		fmt.Fprintf(&out, "- %s\n", x)
	}
	return out.Bytes(), missing, errors.Join(unknown...)
}

// inOrder sorts ids by number and then by letter, and removes duplicates.
func inOrder(ids []id) []id {
	rank := map[string]int{}
	for _, i := range ids {
		if _, known := rank[i.letter]; !known {
			rank[i.letter] = len(rank)
		}
	}
	slices.SortFunc(ids, func(a, b id) int {
		switch {
		case a.letter != b.letter:
			return rank[a.letter] - rank[b.letter]
		case a.number != b.number:
			return a.number - b.number
		}
		return strings.Compare(a.part, b.part)
	})
	return slices.Compact(ids)
}

// sorted formats tests, sorted by folder and name.
func sorted(tests []test) []string {
	slices.SortFunc(tests, func(a, b test) int {
		return strings.Compare(path.Dir(a.file)+" "+a.name, path.Dir(b.file)+" "+b.name)
	})
	var all []string
	for _, x := range tests {
		all = append(all, x.String())
	}
	return all
}
