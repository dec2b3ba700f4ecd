//go:build faults

package faults

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"doorward/test/setup"
)

var (
	rounds = flag.Int("rounds", 200, "kills in Z-1 on each engine")
	facts  = flag.Int("facts", 5000,
		"acknowledged facts that Z-1 collects at least on each engine, in more rounds if need be")
	update = flag.Bool("update", false, "put the figures of this run into docs/faults.md")
)

// scratch is the temporary folder of this run.
var scratch string

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code) //nolint:forbidigo // TestMain is the main function here
}

func run(m *testing.M) (code int, err error) {
	// The floods need a file descriptor for each connection, here and in the server, which inherits the limit.
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1, err
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1, err
	}
	if scratch, err = os.MkdirTemp("", "doorward-faults-"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	code = m.Run()
	if *update {
		err = writeFigures()
	}
	return code, err
}

// builtBinary returns the path of the program under test, which is built once.
var builtBinary = sync.OnceValues(func() (string, error) {
	root, err := setup.Root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(scratch, "doorward")
	build := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-o", path, "./cmd/doorward")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// figure is a line of docs/faults.md.
type figure struct{ name, did, want, got string }

var figures struct {
	sync.Mutex
	lines map[string]figure
}

// report prints the line of a case and keeps it for docs/faults.md. It is called after the checks of the test.
func report(t *testing.T, name, did, want, got string) {
	t.Helper()
	if t.Failed() {
		got += " FAILED"
	}
	t.Logf("%s: %s (%s; wanted: %s)", name, got, did, want)
	figures.Lock()
	defer figures.Unlock()
	if figures.lines == nil {
		figures.lines = map[string]figure{}
	}
	figures.lines[name] = figure{name, did, want, got}
}

const preamble = `# Faults

These are the results of the last ` + "`make faults`" +
	`, which writes this file. The real binary was killed, restarted,
disconnected and flooded under load. A load driver recorded everything that the server had acknowledged, and checked it
again afterwards.

"Lost" is an acknowledged fact that was no longer true afterwards. "Half-done" is an authorization whose rows are
inconsistent, such as an access token without its refresh token. The times were measured on the machine named below,
which also ran the load driver. The ids of the cases are those of [security tests](security-tests.md).

`

// writeFigures replaces the lines of the cases that ran, and leaves the others as they are.
func writeFigures() error {
	root, err := setup.Root()
	if err != nil {
		return err
	}
	path := filepath.Join(root, "docs", "faults.md")
	lines := map[string]figure{}
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for line := range strings.Lines(string(old)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if name, ok := strings.CutPrefix(cells[0], "| "); ok && len(cells) == 4 && name != "Case" && name != "---" {
			lines[name] = figure{name, cells[1], cells[2], strings.TrimSuffix(cells[3], " |")}
		}
	}
	figures.Lock()
	defer figures.Unlock()
	maps.Copy(lines, figures.lines)
	var text strings.Builder
	text.WriteString(preamble)
	fmt.Fprintf(&text, "%s, %d processors, %s.\n\n", time.Now().UTC().Format("2006-01-02"),
		runtime.NumCPU(), runtime.Version())
	text.WriteString("| Case | What was done | Wanted | Measured |\n| --- | --- | --- | --- |\n")
	for _, name := range slices.SortedFunc(maps.Keys(lines), inOrder) {
		f := lines[name]
		fmt.Fprintf(&text, "| %s | %s | %s | %s |\n", f.name, f.did, f.want, f.got)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}

// inOrder sorts the fault cases first, and Z-2 before Z-13.
func inOrder(a, b string) int {
	rank := func(name string) string {
		id, rest, _ := strings.Cut(name, " ")
		letter, number, _ := strings.Cut(id, "-")
		if letter == "Z" {
			letter = ""
		}
		digits := strings.TrimRight(number, "abc")
		return fmt.Sprintf("%s-%03s%s %s", letter, digits, number[len(digits):], rest)
	}
	return strings.Compare(rank(a), rank(b))
}

// pause waits for d, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
