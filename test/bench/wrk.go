package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

const (
	usualConns = 32 // connections of wrk where a row says nothing else
	wrkThreads = 2
)

// load is what wrk sends: GET requests, each with the next line of a file as its DPoP proof if there is one, or POST requests with the lines of a file as forms, or as JSON if they begin
// with a brace.
type load struct {
	url           string
	conns         int // zero: usualConns
	bodies        string
	authorization string   // with bodies; may be several values, separated by commas, that lines use in turn
	headers       []string // without bodies
	proofs        string
	seconds       int // zero: the length of a measurement
}

// wrkScript sends each line of a file. Each thread has its own share of the lines, begins at a random one, so that no
// round finds the rows of the round before in a database's memory, and goes round.
const wrkScript = `
local count = 0
function setup(thread) thread:set("id", count); count = count + 1 end
function init(args)
  requests = {}
  local n, as = 0, {}
  for value in string.gmatch(args[2], "[^,]+") do as[#as + 1] = value end
  for line in io.lines(args[1]) do
    if n % tonumber(args[3]) == id then requests[#requests + 1] = wrk.format("POST", nil,
      {["Content-Type"] = args[4], ["Authorization"] = as[#requests % #as + 1]}, line) end
    n = n + 1
  end
  math.randomseed(os.time() + id)
  at = math.random(#requests)
end
function request()
  at = at + 1
  if at > #requests then at = 1 end
  return requests[at]
end
`

// proofScript sends a GET request with each line of a file as its DPoP proof, beside the headers of -H. Each thread has
// its own share of the lines.
const proofScript = `
local count = 0
function setup(thread) thread:set("id", count); count = count + 1 end
function init(args)
  requests = {}
  local n = 0
  for line in io.lines(args[1]) do
    if n % tonumber(args[2]) == id then
      wrk.headers["DPoP"] = line
      requests[#requests + 1] = wrk.format("GET")
    end
    n = n + 1
  end
  next_of = 0
end
function request()
  next_of = next_of + 1
  if next_of > #requests then next_of = 1 end
  return requests[next_of]
end
`

var (
	rate   = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	total  = regexp.MustCompile(`(\d+) requests in`)
	failed = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)|Socket errors: .*`)
)

// wrk returns how many requests a second are answered. Any status other than 2xx is an error.
func (b *bench) wrk(ctx context.Context, l load) (perSecond float64, err error) {
	perSecond, _, err = b.wrkCounting(ctx, l)
	return perSecond, err
}

// wrkCounting is like wrk, and also returns how many requests were sent.
func (b *bench) wrkCounting(ctx context.Context, l load) (perSecond float64, sent int, err error) {
	if l.conns == 0 {
		l.conns = usualConns
	}
	if l.seconds == 0 {
		l.seconds = b.seconds()
	}
	args := []string{
		"-t", strconv.Itoa(wrkThreads), "-c", strconv.Itoa(l.conns), "-d", strconv.Itoa(l.seconds) + "s",
	}
	for _, h := range l.headers {
		args = append(args, "-H", h)
	}
	switch {
	case l.proofs != "":
		script, err := b.script("proofs.lua", proofScript)
		if err != nil {
			return 0, 0, err
		}
		args = append(args, "-s", script, l.url, "--", l.proofs, strconv.Itoa(wrkThreads))
	case l.bodies != "":
		script, err := b.script("post.lua", wrkScript)
		if err != nil {
			return 0, 0, err
		}
		contentType := "application/x-www-form-urlencoded"
		if first, err := firstLine(l.bodies); err != nil {
			return 0, 0, err
		} else if strings.HasPrefix(first, "{") {
			contentType = "application/json"
		}
		args = append(args, "-s", script, l.url, "--", l.bodies, l.authorization, strconv.Itoa(wrkThreads), contentType)
	default:
		args = append(args, l.url)
	}
	out, err := exec.CommandContext(ctx, "wrk", args...).CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	if m := failed.Find(out); m != nil {
		return 0, 0, fmt.Errorf("wrk: %s", m)
	}
	m, n := rate.FindSubmatch(out), total.FindSubmatch(out)
	if m == nil || n == nil {
		return 0, 0, fmt.Errorf("wrk printed no rate:\n%s", out)
	}
	if sent, err = strconv.Atoi(string(n[1])); err != nil {
		return 0, 0, fmt.Errorf("wrk: %w", err)
	}
	if err := checkSupply(l.bodies+l.proofs, sent); err != nil {
		return 0, 0, err
	}
	perSecond, err = strconv.ParseFloat(string(m[1]), 64)
	return perSecond, sent, err
}

// script writes a script for wrk.
func (b *bench) script(name, text string) (string, error) {
	file := filepath.Join(b.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("wrk script: %w", err)
	}
	return file, nil
}

// seconds is the length of a measurement for programs that measure whole seconds.
func (b *bench) seconds() int { return max(1, int(b.length.Seconds())) }

// checkSupply fails if single-use credentials ran out.
func checkSupply(bodies string, sent int) error {
	if !strings.Contains(bodies, "once") {
		return nil
	}
	lines, err := countLines(bodies)
	if err == nil && sent > lines {
		err = fmt.Errorf("%d requests for %d single-use credentials: raise oncePerSecond", sent, lines)
	}
	return err
}

func firstLine(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("bodies: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	start := make([]byte, 4096)
	n, err := f.Read(start)
	line, _, _ := strings.Cut(string(start[:n]), "\n")
	return line, err
}

func countLines(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("count: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	n := 0
	buf := make([]byte, 1<<16)
	for {
		read, err := f.Read(buf)
		n += bytes.Count(buf[:read], []byte("\n"))
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("count: %w", err)
		}
	}
}
