// Command run gives commands that test, such as `go test ./...` with its many processes, what they share: one
// PostgreSQL cluster, and a place where the program is built once. Both go afterwards.
//
//	go run ./test/postgres/run -- go test ./...
//
// Several commands, each behind a -- of its own, run one after the other, also where one fails. Those behind a --- run
// beside the ones before it.
//
// With -record FILE it writes what `go test` printed about the time of each package to a page.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"doorward/test/postgres"
	"doorward/test/setup"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func run(args []string) (code int, err error) {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	record := flags.String("record", "", "the page to write times to")
	first := slices.Index(args, "--")
	if first < 0 {
		first = 0 // a command without options of ours before it
	}
	if err := flags.Parse(args[:first]); err != nil {
		return 2, nil //nolint:nilerr // flags has printed it
	}
	chains := chainsOf(args[first:])
	if len(chains) == 0 {
		return 2, errors.New("usage: run [-record FILE] -- COMMAND [ARGUMENT]… [-- COMMAND … | --- COMMAND …]…")
	}
	// The command gets a terminal's interrupt too; it is to end first, the cluster after it.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "doorward-built-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	server, err := postgres.NewServer(ctx, postgres.Options{})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()

	shared := append(os.Environ(), postgres.URLVariable+"="+server.URL(), setup.BinaryVariable+"="+filepath.Join(dir, "doorward"))
	var times timings
	began := time.Now()
	results := make(chan result, len(chains))
	for _, commands := range chains {
		outputs := make([]io.Writer, len(commands))
		for i, c := range commands {
			if outputs[i] = os.Stdout; *record != "" {
				outputs[i] = io.MultiWriter(os.Stdout, times.of(c))
			}
		}
		go func() { results <- inTurn(ctx, commands, outputs, shared) }()
	}
	for range chains {
		r := <-results
		code, err = max(code, r.code), errors.Join(err, r.err)
	}
	if err != nil {
		return max(1, code), err
	}
	if *record != "" && code == 0 {
		err = os.WriteFile(*record, times.page(time.Since(began)), 0o644)
	}
	return code, err
}

// result is how a chain of commands ended: the exit code of the last one that failed, or why one did not run.
type result struct {
	code int
	err  error
}

// inTurn runs commands one after the other, each with its own output.
func inTurn(ctx context.Context, commands [][]string, outputs []io.Writer, env []string) (r result) {
	for i, c := range commands {
		cmd := exec.CommandContext(ctx, c[0], c[1:]...)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = os.Stdin, outputs[i], os.Stderr, env
		failed, other := exitCode(cmd.Run())
		if other != nil {
			return result{1, other}
		}
		if failed != 0 {
			r.code = failed
		}
	}
	return r
}

// chainsOf takes a list apart at each "---", and each part at each "--".
func chainsOf(args []string) (chains [][][]string) {
	for _, part := range split(args, "---") {
		if commands := split(part, "--"); len(commands) > 0 {
			chains = append(chains, commands)
		}
	}
	return chains
}

// split takes a list apart at each word, and leaves out empty parts.
func split(args []string, word string) (parts [][]string) {
	for len(args) > 0 {
		end := slices.Index(args, word)
		if end < 0 {
			end = len(args)
		}
		if end > 0 {
			parts = append(parts, args[:end])
		}
		args = args[min(end+1, len(args)):]
	}
	return parts
}

// exitCode is that of a command that ran, whose own words are on the terminal already. The error is that of one that
// did not run.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(1, exit.ExitCode()), nil
	}
	return 0, err
}
