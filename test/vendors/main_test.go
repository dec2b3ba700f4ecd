package vendors

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"doorward/test/setup"
)

var update = flag.Bool("update", false, "write docs/vendors.md and the answers in the READMEs of examples/")

// binary is the path of the server's binary.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(whole(m)) //nolint:forbidigo // it is the main of this test
}

func whole(m *testing.M) int {
	if testing.Short() {
		return m.Run()
	}
	var err error
	if binary, err = setup.Built(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		for _, v := range all {
			v.close()
		}
	}()
	status := m.Run()
	outcomes.print()
	if status == 0 && *update {
		if err := outcomes.write(); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return status
}

// pointName matches the names of tests of points.
var pointName = regexp.MustCompile(`^Test(Sophosic|Sophic|Torvus|Scopien|Generic)([0-9]{2})_\w+`)

// outcomes holds the results of the tests that ran, by test name.
var outcomes = registry{failed: map[string]bool{}}

type registry struct {
	mu     sync.Mutex
	failed map[string]bool
}

// note records the result of a test when it ends.
func note(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		outcomes.mu.Lock()
		defer outcomes.mu.Unlock()
		name := pointName.FindString(t.Name())
		outcomes.failed[name] = outcomes.failed[name] || t.Failed() || t.Skipped()
	})
}

// test returns the name of the test of a point, and whether it ran and passed.
func (r *registry) test(vendor string, number int) (name string, ran, holds bool) {
	for name, failed := range r.failed {
		m := pointName.FindStringSubmatch(name)
		if n, _ := strconv.Atoi(m[2]); n == number && strings.EqualFold(m[1], vendor) {
			return name, true, !failed
		}
	}
	return "", false, false
}

// print reports how many of the tested points hold.
func (r *registry) print() {
	if len(r.failed) == 0 {
		return
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "vendor\tpoints\tin scope\ttested now\tholding")
	for _, v := range all {
		points, scope, ran, holding := 0, 0, 0, 0
		for _, p := range pointsOf[v.name] {
			points++
			if p.outside == "" {
				scope++
			}
			if _, did, holds := r.test(v.name, p.number); did {
				ran++
				if holds {
					holding++
				}
			}
		}
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\n", v.title, points, scope, ran, holding)
	}
	_ = w.Flush()
}

// write writes docs/vendors.md.
func (r *registry) write() error {
	root, err := setup.Root()
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(`# Five vendors

Five fictional API vendors each publish a page about authentication for their customers. For each vendor,
[examples](../examples) has a configuration of Doorward, a small API without any code for keys and tokens, and the page,
whose commands work as printed. This page lists the promises point by point, with the test for each one. The tests run
against the real server with that configuration, through its own proxy and through nginx.
` + "`go test ./test/vendors -args -update`" +
		` writes this page.

| vendor | points | in scope | holding |
| --- | --- | --- | --- |
`)
	var rest strings.Builder
	for _, v := range all {
		points, scope, holding := 0, 0, 0
		fmt.Fprintf(&rest,
			"\n## %s\n\nThe [configuration](../examples/%s/doorward.yaml), the [API](../examples/%[2]s/api/api.go), the "+
				"[page](../examples/%[2]s/README.md): `make example-%[2]s`.\n\n| | point | test |\n| --- | --- | --- |\n", v.title,
			v.name)
		for _, p := range pointsOf[v.name] {
			points++
			name, ran, holds := r.test(v.name, p.number)
			switch {
			case p.outside != "":
				name = "out of scope: " + p.outside
			case !ran:
				_, _ = fmt.Fprintf(os.Stderr, "docs/vendors.md is written when all tests run; there was none of %s %d\n", v.title,
					p.number)
				return nil
			default:
				name = "`" + name + "`"
			}
			if p.outside == "" {
				scope++
				if holds {
					holding++
				}
			}
			fmt.Fprintf(&rest, "| %d | %s | %s |\n", p.number, p.text, name)
		}
		fmt.Fprintf(&b, "| [%s](#%s) | %d | %d | %d |\n", v.title, strings.ReplaceAll(strings.ToLower(v.title), " ", "-"),
			points, scope, holding)
	}
	return os.WriteFile(filepath.Join(root, "docs", "vendors.md"), []byte(b.String()+rest.String()), 0o600)
}
