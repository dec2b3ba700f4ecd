package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"doorward/test/setup"
)

func TestListIsCurrentAndWhole(t *testing.T) {
	root, err := setup.Root()
	if err != nil {
		t.Fatal(err)
	}
	want, missing, err := render(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	if len(missing) > 0 {
		t.Errorf("no test carries the name of %s", strings.Join(missing, ", "))
	}
	got, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(document)))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s is not what the tests say: run go run ./test/security/list", document)
	}
}

func TestTestsAreFoundByTheirIDs(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	repository := fstest.MapFS{
		"a/one_test.go": file("package a\n\nfunc TestT42_T43_TwoAtOnce(t *testing.T) {}\nfunc FuzzA08_Loopback(f " +
			"*testing.F) {}\nfunc FuzzOther(f *testing.F) {}\nfunc TestH2O(t *testing.T) {}\n// func TestA01_Comment("),
		"b/two_test.go": file("//go:build faults\n\npackage b\n\nfunc TestZ04a_Cut(t *testing.T) {}\nfunc " +
			"TestA08_Too(t *testing.T) {}\n"),
		"node_modules/x_test.go": file("func TestA02_X(t *testing.T) {}\n"),
		"a/three.go":             file("func TestA03_X(t *testing.T) {}\n"),
	}
	text, missing, err := render(repository)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| T-42 | " + rules["T-42"] + " | [TestT42_T43_TwoAtOnce](../a/one_test.go) |",
		"| T-43 | " + rules["T-43"] + " | [TestT42_T43_TwoAtOnce](../a/one_test.go) |",
		"| A-08 | " + rules["A-08"] + " | [FuzzA08_Loopback](../a/one_test.go)<br>[TestA08_Too](../b/two_test.go) * |",
		"| Z-4a | " + rules["Z-4a"] + " | [TestZ04a_Cut](../b/two_test.go) * |", "without a test\n\nA-01, A-02, A-03, ",
		"- [FuzzA08_Loopback](../a/one_test.go)\n- [FuzzOther](../a/one_test.go)\n",
	} {
		if !strings.Contains(string(text), line) {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}
	if n := strings.Count(string(text), "](../"); n != 8 { // five in the table, two fuzz targets, SECURITY.md
		t.Errorf("%d links:\n%s", n, text)
	}
	if len(missing) == 0 || missing[0] != "A-01" {
		t.Errorf("missing are %v", missing)
	}
	repository["a/four_test.go"] = file("func TestA07_NoCase(t *testing.T) {}\n")
	if _, _, err := render(repository); err == nil || !strings.Contains(err.Error(), "A-07") {
		t.Errorf("a case that there is not: error %v", err)
	}
}
