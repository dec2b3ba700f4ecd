package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// build builds the binaries to measure: the server, and this command for the bare handlers.
func (b *bench) build(ctx context.Context) error {
	for name, pkg := range map[string]string{"doorward": "doorward/cmd/doorward", "bench": "doorward/test/bench"} {
		c := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(b.dir, name), pkg)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return nil
}

// process is a server under measurement.
type process struct {
	cmd   *exec.Cmd
	url   string
	admin string   // URL of its metrics; empty: it has none
	log   *os.File // what it prints
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

// startProcess starts a program, which runs until stop is called, and waits until it answers 200 at path.
func startProcess(ctx context.Context, cmd *exec.Cmd, url, path string) (*process, error) {
	return startUntil(ctx, cmd, url, func() bool {
		_, err := fetch(ctx, url+path)
		return err == nil
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
	// Lines are appended, so that emptyLogs can cut the file.
	name := filepath.Join(os.TempDir(), "doorward-bench-log-"+strconv.FormatInt(time.Now().UnixNano(), 36))
	log, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	_ = os.Remove(name) // the space is freed when the last descriptor is closed
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p := &process{cmd: cmd, url: url, log: log}
	deadline := time.Now().Add(20 * time.Second)
	for !ready() {
		if time.Now().After(deadline) || ctx.Err() != nil {
			_ = cmd.Process.Kill() // it may have ended by itself
			_ = cmd.Wait()
			said, _ := io.ReadAll(io.NewSectionReader(log, 0, 4000)) // best effort
			_ = log.Close()
			return nil, fmt.Errorf("%s does not answer: %s", cmd.Path, said)
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // only the answer is timed
	}
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
	_ = p.log.Close()
}

// keep starts a process once for all rows that run the same, and stops it at the end.
func (b *bench) keep(what string, start func() (*process, error)) (*process, error) {
	if p := b.running[what]; p != nil {
		return p, nil
	}
	p, err := start()
	if err != nil {
		return nil, err
	}
	b.running[what] = p
	b.closers = append(b.closers, p.stop)
	return p, nil
}

// emptyLogs bounds what the logs occupy.
func (b *bench) emptyLogs() {
	for _, p := range b.running {
		_ = p.log.Truncate(0) // a full disk would be noticed
	}
}

// planned gives every key a plan with all three windows that is never used up.
const planned = `
plans:
  bench: {hour: 1000000000, day: 1000000000, burst: 1000000}
resources:
  - id: ` + benchIssuer + `
    keys: {default_plan: bench}
`

// The configurations of the measured servers. Where a row is not about the cache or limits, it has the defaults.
const (
	warm     = "cache: on\nlimits: memory\n" + planned
	shared   = "cache: on\nlimits: database\n" + planned
	cold     = "cache: off\n" + planned
	standard = "cache: on\n" + planned
)

// server starts the built doorward with a database and a configuration, once for all rows.
func (b *bench) server(ctx context.Context, s *site, configuration string) (*process, error) {
	return b.keep(s.database+"\n"+configuration, func() (*process, error) { return b.start(ctx, s, configuration) })
}

// start starts the built doorward. The caller stops it.
func (b *bench) start(ctx context.Context, s *site, configuration string) (*process, error) {
	address, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	admin, err := freePort(ctx)
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
		"DOORWARD_ADMIN_LISTEN="+admin, "DOORWARD_DATABASE_URL="+s.database, "DOORWARD_SECRET="+benchSecret)
	p, err := startProcess(ctx, cmd, "http://"+address, "/readyz")
	if err == nil {
		p.admin = "http://" + admin
	}
	return p, err
}

// mode starts this command as one of its servers. The caller stops it.
func (b *bench) mode(ctx context.Context, name string, args ...string) (*process, error) {
	address, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	//nolint:noctx // stop kills it
	cmd := exec.Command(filepath.Join(b.dir, "bench"), append([]string{name, address}, args...)...)
	return startListener(ctx, cmd, "http://"+address)
}

// command runs this command in a mode that ends by itself, and returns what it prints.
func (b *bench) command(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(b.dir, "bench"), args...).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return "", fmt.Errorf("%s: %w: %s", args[0], err, failed.Stderr)
	}
	return string(out), err
}

// bare starts the bare handler with a body of this size, once for all rows.
func (b *bench) bare(ctx context.Context, body int) (*process, error) {
	length := strconv.Itoa(body)
	return b.keep("bare "+length, func() (*process, error) { return b.mode(ctx, "bare", length) })
}
