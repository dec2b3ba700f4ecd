package readme

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"doorward/test/setup"
)

// TestReadmeNamesEveryTarget checks that the table of test commands is complete.
func TestReadmeNamesEveryTarget(t *testing.T) {
	readme := page(t, "README.md")
	for _, m := range regexp.MustCompile(`(?m)^([a-z-]+):.*## `).FindAllStringSubmatch(page(t, "Makefile"), -1) {
		if !strings.Contains(readme, "make "+m[1]) && m[1] != "setup" {
			t.Errorf("README.md does not name make %s", m[1])
		}
	}
}

// TestReadmeMapsEveryPackage checks that the map of packages is complete.
func TestReadmeMapsEveryPackage(t *testing.T) {
	root, err := setup.Root()
	if err != nil {
		t.Fatal(err)
	}
	way := chapter(t, page(t, "README.md"), "The path of a request")
	for path := range strings.FieldsSeq(output(t, root, "go", "list", "./...")) {
		name := strings.TrimPrefix(path, "doorward/")
		if !strings.HasPrefix(name, "test/") && !strings.Contains(way, "("+name+")") {
			t.Errorf("README.md does not say what package %s is for", name)
		}
	}
}

// TestLinksLeadSomewhere follows the relative links of all pages.
func TestLinksLeadSomewhere(t *testing.T) {
	root, err := setup.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range pages(t, root) {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).
			FindAllStringSubmatch(fence.ReplaceAllString(page(t, name), ""), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			to := name
			if target != "" {
				to = filepath.Join(filepath.Dir(name), target)
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			} else if anchor != "" && !slices.Contains(anchors(page(t, to)), anchor) {
				t.Errorf("%s links to %s, which has no heading for #%s", name, to, anchor)
			}
		}
	}
}

// pages returns the Markdown files, by their paths in the repository.
func pages(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "examples/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			rel, err := filepath.Rel(root, name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, rel)
		}
	}
	return all
}

// anchors returns the names by which headings can be linked.
func anchors(text string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		name := strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")
		all = append(all, regexp.MustCompile(`[^a-z0-9_-]`).ReplaceAllString(name, ""))
	}
	return all
}

// TestDecisionsAreWhole checks that the records are numbered without gaps, and that each has the five parts.
func TestDecisionsAreWhole(t *testing.T) {
	root, err := setup.Root()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range pages(t, root) {
		if filepath.Dir(name) != filepath.Join("docs", "decisions") || filepath.Base(name) == "README.md" {
			continue
		}
		n++
		number := fmt.Sprintf("%04d", n)
		if text := page(t, name); !strings.HasPrefix(filepath.Base(name), number+"-") ||
			!strings.HasPrefix(text, "# "+strconv.Itoa(n)+". ") {
			t.Errorf("%s is not record %s by its name and title", name, number)
		} else {
			for _, part := range []string{"Status: ", "## Context", "## Decision", "## Consequences", "## Alternatives"} {
				if !strings.Contains(text, "\n"+part) {
					t.Errorf("%s lacks %q", name, part)
				}
			}
		}
	}
	if n == 0 {
		t.Error("no decision records")
	}
}

// TestDependenciesHaveReasons checks that the record about dependencies names every direct requirement in go.mod.
func TestDependenciesHaveReasons(t *testing.T) {
	root, err := setup.Root()
	if err != nil {
		t.Fatal(err)
	}
	record := page(t, filepath.Join("docs", "decisions", "0010-dependencies.md"))
	for path := range strings.FieldsSeq(
		output(t, root, "go", "list", "-m", "-f", "{{if not (or .Indirect .Main)}}{{.Path}}{{end}}", "all")) {
		name := regexp.MustCompile(`/v\d+$`).ReplaceAllString(strings.TrimPrefix(path, "github.com/"), "")
		if !strings.Contains(record, "| "+name) {
			t.Errorf("docs/decisions/0010-dependencies.md has no reason for %s", path)
		}
	}
}
