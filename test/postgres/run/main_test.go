package main

import (
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCommandsAreSplitAtDashes(t *testing.T) {
	for _, c := range []struct {
		args string
		want [][][]string
	}{
		{"", nil},
		{"--", nil},
		{"-- ---", nil},
		{"go test ./...", [][][]string{{{"go", "test", "./..."}}}},
		{"-- go test -race ./a -- go test ./b", [][][]string{{{"go", "test", "-race", "./a"}, {"go", "test", "./b"}}}},
		{"-- true -- ", [][][]string{{{"true"}}}},
		{"-- a -- b --- c -- d", [][][]string{{{"a"}, {"b"}}, {{"c"}, {"d"}}}},
	} {
		if diff := cmp.Diff(c.want, chainsOf(strings.Fields(c.args))); diff != "" {
			t.Errorf("%q: %s", c.args, diff)
		}
	}
}

// Commands behind --- do not wait for those before it: each of these ends only once the other one has begun.
func TestChainsRunBesideEachOther(t *testing.T) {
	dir := t.TempDir()
	wait := func(own, other string) []string {
		return []string{"sh", "-c", "cd " + dir + "; touch " + own + "; until [ -e " + other + " ]; do sleep 0.01; done; exit 3"}
	}
	results := make(chan result, 2)
	for _, c := range [][]string{wait("a", "b"), wait("b", "a")} {
		go func() {
			results <- inTurn(t.Context(), [][]string{c, {"true"}}, []io.Writer{io.Discard, io.Discard}, nil)
		}()
	}
	for range 2 {
		if r := <-results; r.code != 3 || r.err != nil {
			t.Errorf("a chain ended with %d, %v", r.code, r.err)
		}
	}
}

func TestPageHasTheTimesOfEachRun(t *testing.T) {
	var all timings
	one, two := all.of([]string{"go", "test", "-race", "./storage"}), all.of([]string{"go", "test", "./..."})
	// A line may come in pieces.
	for _, text := range []string{"ok  \tdoorward/stor", "age\t61.5s\n"} {
		if _, err := one.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := two.Write([]byte("?   \tdoorward/migrations\t[no test files]\nok  \tdoorward/oauth\t0.5s\nok  \tdoorward/web\t20.4s\n" +
		"ok  \tdoorward/templates\t(cached)\n"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(all.page(125*time.Second + time.Millisecond))
	for _, want := range []string{
		"took 2m5s on", "    go test -race ./storage\n\n| package | seconds |\n| --- | ---: |\n| storage | 62 |\n",
		"    go test ./...\n\n| package | seconds |\n| --- | ---: |\n| web | 20 |\n| oauth | 0 |\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}

func TestFailureOfACommandIsItsExitCode(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want int
	}{{"true", nil, 0}, {"sh", []string{"-c", "exit 3"}, 3}} {
		if code, err := exitCode(exec.CommandContext(t.Context(), c.name, c.args...).Run()); code != c.want || err != nil {
			t.Errorf("%s: %d, %v", c.name, code, err)
		}
	}
	if _, err := exitCode(exec.CommandContext(t.Context(), "./there-is-no-such-program").Run()); err == nil {
		t.Error("a program that is not there gives no error")
	}
}
