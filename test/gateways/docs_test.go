package gateways

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"doorward/test/setup"
)

var update = flag.Bool("update", false,
	"write the configurations in docs/gateways.md, and the lists of headers in examples/, as they are to be")

// The configurations printed in docs/gateways.md are the ones that these tests start.
func TestPrintedConfigurationsAreThoseThatRun(t *testing.T) {
	root, err := setup.Root()
	ok(t, err)
	file := filepath.Join(root, "docs", "gateways.md")
	text, err := os.ReadFile(file)
	ok(t, err)
	page := string(text)
	for language, path := range map[string][]string{
		"nginx":     {"nginx", "nginx.conf"},
		"caddyfile": {"caddy", "Caddyfile"},
	} {
		want, begin := example(t, path...), "\n```"+language+"\n"
		// The names of about two hundred headers are only in the file.
		head, rest, _ := strings.Cut(want, "# headers: begin\n")
		_, tail, _ := strings.Cut(rest, "# headers: end\n")
		want = head + "# headers: as in the file, which removes them one by one\n" + tail
		before, rest, found := strings.Cut(page, begin)
		printed, after, closed := strings.Cut(rest, "\n```\n")
		if !found || !closed || strings.Contains(after, begin) {
			t.Fatalf("docs/gateways.md does not have exactly one block of %s", language)
		}
		if printed+"\n" == want {
			continue
		}
		if !*update {
			t.Errorf("docs/gateways.md does not print %s as it is: run go test ./test/gateways -run Printed -update",
				strings.Join(path, "/"))
		}
		page = before + begin + want + "```\n" + after
	}
	if page != string(text) && *update {
		ok(t, os.WriteFile(file, []byte(page), 0o644))
	}
}
