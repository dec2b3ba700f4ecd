package gateways

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"doorward/test/setup"
)

var update = flag.Bool("update", false, "print the configurations in docs/gateways.md anew")

// What docs/gateways.md prints is what these tests start.
func TestPrintedConfigurationsAreThoseThatRun(t *testing.T) {
	root, err := setup.Root()
	ok(t, err)
	file := filepath.Join(root, "docs", "gateways.md")
	text, err := os.ReadFile(file)
	ok(t, err)
	page := string(text)
	for language, path := range map[string][]string{"nginx": {"nginx", "nginx.conf"}, "caddyfile": {"caddy", "Caddyfile"}} {
		want, begin := example(t, path...), "\n```"+language+"\n"
		before, rest, found := strings.Cut(page, begin)
		printed, after, closed := strings.Cut(rest, "\n```\n")
		if !found || !closed || strings.Contains(after, begin) {
			t.Fatalf("docs/gateways.md has not one block of %s", language)
		}
		if printed+"\n" == want {
			continue
		}
		if !*update {
			t.Errorf("docs/gateways.md does not print %s as it is: run go test ./test/gateways -run Printed -update", strings.Join(path, "/"))
		}
		page = before + begin + want + "```\n" + after
	}
	if page != string(text) && *update {
		ok(t, os.WriteFile(file, []byte(page), 0o644))
	}
}
