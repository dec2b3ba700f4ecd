package main

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCommandsAreSplitAtDashes(t *testing.T) {
	for _, c := range []struct {
		args string
		want [][]string
	}{
		{"", nil},
		{"--", nil},
		{"go test ./...", [][]string{{"go", "test", "./..."}}},
		{"-- go test -race ./a -- go test ./b", [][]string{{"go", "test", "-race", "./a"}, {"go", "test", "./b"}}},
		{"-- true -- ", [][]string{{"true"}}},
	} {
		if diff := cmp.Diff(c.want, split(strings.Fields(c.args))); diff != "" {
			t.Errorf("%q: %s", c.args, diff)
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
