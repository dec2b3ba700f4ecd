package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"doorward/test/postgres"
)

const (
	wrkConns  = 32
	poolConns = 8 // connections of each of the server's pools on two processors, and of pgbench
)

// build builds the binaries to measure: the server, and this command for the bare handler.
func (b *bench) build(ctx context.Context) error {
	for name, pkg := range map[string]string{"doorward": "doorward/cmd/doorward", "bench": "doorward/test/bench"} {
		c := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(b.dir, name), pkg)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return nil
}

// process is a server under measurement.
type process struct {
	cmd *exec.Cmd
	url string
}

// freePort finds a port for a server that must be told its port.
func freePort(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("free port: %w", err)
	}
	defer l.Close() //nolint:errcheck // the server will use the port
	return l.Addr().String(), nil
}

// startProcess starts a program, which runs until stop is called, and waits until it answers at path.
func startProcess(ctx context.Context, cmd *exec.Cmd, url, path string) (*process, error) {
	return startUntil(ctx, cmd, url, func() bool {
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, nil)
		if err != nil {
			return false
		}
		resp, err := http.DefaultClient.Do(q) //nolint:forbidigo // a probe on loopback
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// startListener starts a program, which runs until stop is called, and waits until it listens.
func startListener(ctx context.Context, cmd *exec.Cmd, url string) (*process, error) {
	return startUntil(ctx, cmd, url, func() bool {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
}

func startUntil(ctx context.Context, cmd *exec.Cmd, url string, ready func() bool) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// A file, as a service manager would use: with a pipe, this process would read each line on the same processors.
	log, err := os.CreateTemp("", "doorward-bench-log-")
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	defer log.Close()           //nolint:errcheck // the child has its own descriptor
	defer os.Remove(log.Name()) //nolint:errcheck // the space is freed when the child exits
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p := &process{cmd: cmd, url: url}
	deadline := time.Now().Add(20 * time.Second)
	for {
		if ready() {
			return p, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			p.stop()
			said, _ := os.ReadFile(log.Name()) // best effort
			return nil, fmt.Errorf("%s does not answer: %s", cmd.Path, said)
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // only the answer is timed
	}
}

func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
}

// benchConfig gives every key a plan with all three windows that is never used up.
const benchConfig = `
plans:
  bench: {hour: 1000000000, day: 1000000000, burst: 1000000}
resources:
  - id: ` + benchIssuer + `
    keys: {default_plan: bench}
`

// server starts the built doorward with a database.
func (b *bench) server(ctx context.Context, database string) (*process, error) {
	return b.serverWith(ctx, database, benchConfig)
}

func (b *bench) serverWith(ctx context.Context, database, configuration string) (*process, error) {
	address, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(b.dir, "doorward"), "serve") //nolint:noctx // stop kills it
	cmd.Dir = b.dir
	config := filepath.Join(b.dir, "doorward-"+strings.ReplaceAll(address, ":", "-")+".yaml")
	// One client stands for many.
	if err := os.WriteFile(config, []byte("tokens: {client_requests: 0, client_live: 0}\n"+configuration),
		0o600); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	cmd.Env = append(os.Environ(), "DOORWARD_CONFIG="+config, "DOORWARD_ISSUER="+benchIssuer, "DOORWARD_LISTEN="+address,
		"DOORWARD_ADMIN_LISTEN=127.0.0.1:0",
		"DOORWARD_DATABASE_URL="+database, "DOORWARD_SECRET="+benchSecret)
	return startProcess(ctx, cmd, "http://"+address, "/readyz")
}

// bare starts the bare handler.
func (b *bench) bare(ctx context.Context, body int) (*process, error) {
	address, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(b.dir, "bench"), "bare", address, strconv.Itoa(body)) //nolint:noctx // as above
	return startProcess(ctx, cmd, "http://"+address, "/")
}

// serveBare is the bare process: it parses the form and writes as many bytes as the answer that it stands for.
func serveBare() {
	size, err := strconv.Atoi(os.Args[3])
	if err != nil {
		os.Exit(2) //nolint:forbidigo // the whole of the bare process is here
	}
	answer := bytes.Repeat([]byte("x"), size)
	s := &http.Server{
		Addr: os.Args[2], ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ParseForm() != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(answer) // the load driver may have disconnected
		}),
	}
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // as above
	}
}

// wrkScript sends each line of a file as a form. Each thread has its own share of the lines and starts over at the end.
// If Authorization has several values, separated by commas, the lines of a thread use them in turn.
const wrkScript = `
local count = 0
function setup(thread) thread:set("id", count); count = count + 1 end
function init(args)
  requests, at = {}, 0
  local n, as = 0, {}
  for value in string.gmatch(args[2], "[^,]+") do as[#as + 1] = value end
  for line in io.lines(args[1]) do
    if n %% tonumber(args[3]) == id then requests[#requests + 1] = wrk.format("POST", nil,
      {["Content-Type"] = args[4], ["Authorization"] = as[#requests %% #as + 1]}, line) end
    n = n + 1
  end
end
function request()
  at = at + 1
  if at > #requests then at = 1 end
  return requests[at]
end
`

const wrkThreads = 2

var (
	rate   = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	total  = regexp.MustCompile(`(\d+) requests in`)
	failed = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)|Socket errors: .*`)
)

// wrk sends requests to url for the run's length: GET requests, or POST requests with the lines of a file as forms, or
// as JSON if they begin with a brace. Authorization may be several values, separated by commas. Any status other than
// 2xx is an error.
func (b *bench) wrk(ctx context.Context, url, bodies, authorization string) (float64, error) {
	args := []string{
		"-t", strconv.Itoa(wrkThreads), "-c", strconv.Itoa(wrkConns), "-d", strconv.Itoa(int(b.length.Seconds())) + "s",
	}
	if bodies == "" {
		args = append(args, url)
	} else {
		script := filepath.Join(b.dir, "post.lua")
		if err := os.WriteFile(script, []byte(strings.ReplaceAll(wrkScript, "%%", "%")), 0o600); err != nil {
			return 0, fmt.Errorf("wrk script: %w", err)
		}
		contentType := "application/x-www-form-urlencoded"
		if first, err := firstByte(bodies); err != nil {
			return 0, err
		} else if first == '{' {
			contentType = "application/json"
		}
		args = append(args, "-s", script, url, "--", bodies, authorization, strconv.Itoa(wrkThreads), contentType)
	}
	return b.runWrk(ctx, args, bodies)
}

// runWrk runs wrk; bodies names the files with the request bodies.
func (b *bench) runWrk(ctx context.Context, args []string, bodies ...string) (float64, error) {
	out, err := exec.CommandContext(ctx, "wrk", args...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	if m := failed.Find(out); m != nil {
		return 0, fmt.Errorf("wrk: %s", m)
	}
	m := rate.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("wrk printed no rate:\n%s", out)
	}
	for _, file := range bodies {
		if n := total.FindSubmatch(out); n != nil && file != "" {
			b.checkSupply(file, string(n[1]))
		}
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// checkSupply warns if single-use credentials were about to run out; wrk would then have seen errors, too.
func (b *bench) checkSupply(bodies, sent string) {
	lines, err := countLines(bodies)
	n, convErr := strconv.Atoi(sent)
	if err == nil && convErr == nil && n > lines && strings.Contains(bodies, "once") {
		say("warning: %d requests for %d single-use things", n, lines)
	}
}

func firstByte(path string) (byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("bodies: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	var b [1]byte
	_, err = f.Read(b[:])
	return b[0], err
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

var tps = regexp.MustCompile(`tps = ([0-9.]+)`)

// pgbench runs statements as a script with one transaction.
func (b *bench) pgbench(ctx context.Context, database, name, script string, settings ...string) (float64, error) {
	path := filepath.Join(b.dir, name+".sql")
	if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
		return 0, fmt.Errorf("pgbench script: %w", err)
	}
	program, err := postgres.Binary("pgbench")
	if err != nil {
		return 0, err
	}
	c := exec.CommandContext(ctx, program, "-n", "-M", "prepared", "-c", strconv.Itoa(poolConns), "-j", "2",
		"-T", strconv.Itoa(int(b.length.Seconds())), "-f", path, database)
	c.Env = append(os.Environ(), settings...)
	out, err := c.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("pgbench: %w\n%s", err, out)
	}
	m := tps.FindSubmatch(out)
	if m == nil || !bytes.Contains(out, []byte("number of failed transactions: 0 ")) {
		return 0, fmt.Errorf("pgbench:\n%s", out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// start is one start of the server with an empty SQLite database.
type start struct {
	ready    time.Duration
	resident int64 // bytes, a second later
}

func (b *bench) starts(ctx context.Context) ([]start, error) {
	var all []start
	for i := range b.rounds {
		began := time.Now()
		p, err := b.server(ctx, "sqlite:"+filepath.Join(b.dir, "start-"+strconv.Itoa(i), "doorward.db"))
		if err != nil {
			return nil, err
		}
		s := start{ready: time.Since(began)}
		time.Sleep(time.Second) //nolint:forbidigo // idle is the point
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
		p.stop()
		if err != nil {
			return nil, fmt.Errorf("resident memory: %w", err)
		}
		for line := range strings.Lines(string(status)) {
			if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(kb), " kB"), 10, 64)
				if err != nil {
					return nil, fmt.Errorf("resident memory: %w", err)
				}
				s.resident = n << 10
			}
		}
		say("start %d: ready after %s, %d MiB", i+1, s.ready.Round(time.Millisecond), s.resident>>20)
		all = append(all, s)
	}
	return all, nil
}
