package security

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"doorward/test/setup"
)

// todays are the cases of the catalogue that the server as it is must hold, with ranges. A step that brings more adds
// its cases here. T-53…T-56, say, are about client assertions, which there are none of yet.
const todays = `
	A-01…A-06 A-08…A-16 A-18…A-26 A-28…A-36 A-38…A-46 A-48…A-53 B-01…B-06 B-08…B-14
	T-01…T-06 T-08…T-15 T-20…T-26 T-28…T-33 T-40…T-46 T-48…T-52 T-58 T-70…T-76 T-78…T-83
	I-01…I-06 I-08…I-14 R-01…R-06 R-08 R-09 U-01 L-09 L-10 L-12 L-14
	G-01…G-05 G-12 G-19…G-24 G-31
	H-01…H-06 H-08…H-14 S-01 S-03 S-10…S-12 O-01…O-04 O-06
	Z-01 Z-02 Z-04a Z-04b Z-04c Z-13`

var (
	testName = regexp.MustCompile(`(?m)^func (?:Test|Fuzz)((?:[A-Z]\d{1,2}[a-z]?_)+)`)
	caseText = regexp.MustCompile(`^([A-Z])-?(\d{1,2})([a-z]?)$`)
)

// caseOf brings the ways to write an id to one.
func caseOf(t *testing.T, text string) (letter string, number int, part string) {
	t.Helper()
	m := caseText.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("%q is no id of a case", text)
	}
	number, err := strconv.Atoi(m[2])
	ok(t, err)
	return m[1], number, m[3]
}

func TestEveryCaseOfTodaysServerHasATest(t *testing.T) {
	root, err := setup.Root()
	ok(t, err)
	held := map[string]bool{}
	repository := os.DirFS(root)
	ok(t, fs.WalkDir(repository, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || (strings.HasPrefix(d.Name(), ".") && path != ".")):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := fs.ReadFile(repository, path)
		for _, m := range testName.FindAllSubmatch(text, -1) {
			for id := range strings.SplitSeq(strings.TrimSuffix(string(m[1]), "_"), "_") {
				letter, number, part := caseOf(t, id)
				held[fmt.Sprintf("%s-%02d%s", letter, number, part)] = true
			}
		}
		return err
	}))
	var missing []string
	for _, text := range strings.Fields(todays) {
		from, to, isRange := strings.Cut(text, "…")
		letter, first, part := caseOf(t, from)
		last := first
		if isRange {
			_, last, _ = caseOf(t, to)
		}
		for number := first; number <= last; number++ {
			if id := fmt.Sprintf("%s-%02d%s", letter, number, part); !held[id] {
				missing = append(missing, id)
			}
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		t.Errorf("no test carries the name of %s", strings.Join(missing, ", "))
	}
}
