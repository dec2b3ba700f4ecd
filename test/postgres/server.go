package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"doorward/test/setup"
)

// ErrMissing says that no PostgreSQL server binaries were found.
var ErrMissing = errors.New("no PostgreSQL binaries: install postgresql 15 or later (`make test` does it on Debian)")

// startTimeout bounds the wait for the first connection, recovery after a crash included.
const startTimeout = time.Minute

// Options says how a server is made. The zero value is for tests: a unix socket only, and as fast as a database may be
// that does not have to outlive the machine.
type Options struct {
	// Durable keeps what PostgreSQL does by default so that a commit survives a crash of the machine: fsync,
	// synchronous_commit, full_page_writes and autovacuum.
	Durable bool
	// TCP also listens on 127.0.0.1, on a port of the server's own that it keeps over restarts. URLs then name it
	// instead of the socket.
	TCP bool
	// Password is asked of the superuser and of every login (SCRAM-SHA-256). Empty: everybody on the machine is trusted.
	Password string
	// Superuser names the first login; empty means postgres.
	Superuser string
	// Settings are added to the command line last, as -c name=value.
	Settings map[string]string
}

// Mode is how a server is stopped.
type Mode syscall.Signal

// The two ways to stop: Fast ends the sessions, writes a checkpoint and leaves a clean folder; Immediate leaves at
// once, as a crash would, so that the next start recovers from the log.
const (
	Fast      = Mode(syscall.SIGINT)
	Immediate = Mode(syscall.SIGQUIT)
)

// Server is a PostgreSQL server with its own data folder. Its methods may be called from several goroutines; Start and
// Stop wait for each other.
type Server struct {
	options Options
	bin     string
	dir     string // holds data/, log and the socket
	port    int
	account *syscall.Credential // nil: our own
	sweep   func() error        // ends and removes everything

	mu      sync.Mutex
	process *os.Process   // nil while stopped
	exited  chan struct{} // closed when process has ended
}

// NewServer makes a data folder and starts a server on it. Whatever happens to this process, the server ends and its
// folder goes with it; [Server.Close] does so earlier. The error is [ErrMissing] when no binaries are installed.
func NewServer(ctx context.Context, o Options) (*Server, error) {
	initdb, err := Binary("initdb")
	if err != nil {
		return nil, err
	}
	if o.Superuser == "" {
		o.Superuser = "postgres"
	}
	s := &Server{options: o, bin: filepath.Dir(initdb), port: 5432}
	if s.account, err = account(); err != nil {
		return nil, err
	}
	// The path of a socket has at most 107 bytes, and the server's account must be able to walk to it.
	parent := os.TempDir()
	switch {
	case !o.Durable && hasRoom(memory):
		parent = memory
	case s.account != nil || len(parent) > 60:
		parent = "/tmp"
	}
	if s.dir, err = os.MkdirTemp(parent, "doorward-postgres-"); err != nil {
		return nil, err
	}
	if s.sweep, err = setup.Sweep(s.dir, `head -n 1 "$1/data/postmaster.pid"`); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	if s.account != nil {
		if err := os.Chown(s.dir, int(s.account.Uid), int(s.account.Gid)); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if err := s.init(ctx, initdb); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if o.TCP {
		if s.port, err = setup.FreePort(ctx); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if err := s.Start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// memory is where Linux keeps files in memory. A test database is a few hundred files that live for a second: creating
// and dropping one takes a third of the time there.
const memory = "/dev/shm"

// hasRoom reports whether a folder exists and has 4 GiB left, which is many times what the tests of one run need.
func hasRoom(dir string) bool {
	var fs syscall.Statfs_t
	return syscall.Statfs(dir, &fs) == nil && fs.Bavail*uint64(fs.Bsize) >= 4<<30 //nolint:gosec // sizes are positive
}

// init makes the data folder. The collation is a language's, as most servers have it, so that a test finds out where
// text is taken to sort by its bytes.
func (s *Server) init(ctx context.Context, initdb string) error {
	args := []string{
		"--pgdata=" + s.data(), "--username=" + s.options.Superuser, "--no-sync", "--encoding=UTF8",
		"--locale=C", "--locale-provider=icu", "--icu-locale=en-US", "--auth=trust",
	}
	if s.options.Password != "" {
		file := filepath.Join(s.dir, "password")
		if err := os.WriteFile(file, []byte(s.options.Password), 0o600); err != nil {
			return err
		}
		if s.account != nil {
			if err := os.Chown(file, int(s.account.Uid), int(s.account.Gid)); err != nil {
				return err
			}
		}
		args[len(args)-1] = "--auth=scram-sha-256"
		args = append(args, "--pwfile="+file)
	}
	if out, err := s.command(ctx, initdb, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// Start starts a stopped server on the same data folder and port, and returns when it accepts connections. Starting a
// server that runs does nothing.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running() {
		return nil
	}
	settings := []string{
		"unix_socket_directories=" + s.dir, "port=" + strconv.Itoa(s.port), "listen_addresses=",
		"max_connections=300", "logging_collector=off", "log_line_prefix=%m [%p] ",
	}
	if s.options.TCP {
		settings = append(settings, "listen_addresses=127.0.0.1")
	}
	if !s.options.Durable {
		settings = append(settings, "fsync=off", "synchronous_commit=off", "full_page_writes=off", "wal_level=minimal",
			"max_wal_senders=0", "max_wal_size=256MB", "autovacuum=off")
	}
	for name, value := range s.options.Settings {
		settings = append(settings, name+"="+value)
	}
	args := []string{"-D", s.data()}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the server has its own descriptor
	// Not bound to ctx: it limits the start, not the server's life.
	cmd := s.command(context.WithoutCancel(ctx), filepath.Join(s.bin, "postgres"), args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(exited)
	}()
	s.process, s.exited = cmd.Process, exited
	return s.await(ctx)
}

// await returns when a first connection succeeds.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.URL())
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.exited:
			return fmt.Errorf("PostgreSQL ended at start:\n%s", s.logTail())
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL did not answer: %w\n%s", err, s.logTail())
		case <-tick.C:
		}
	}
}

// Stop stops the server and returns when its process has ended. Its data stay for another Start. Stopping a server
// that does not run does nothing.
func (s *Server) Stop(m Mode) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running() {
		return nil
	}
	if err := s.process.Signal(syscall.Signal(m)); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-s.exited
	return nil
}

// Close stops the server and removes its folder. It can not be started again.
func (s *Server) Close() error {
	return errors.Join(s.Stop(Immediate), s.sweep())
}

// URL is the superuser's, for the database postgres.
func (s *Server) URL() string {
	u := url.URL{Scheme: "postgres", User: url.User(s.options.Superuser), Path: "/postgres"}
	if s.options.Password != "" {
		u.User = url.UserPassword(s.options.Superuser, s.options.Password)
	}
	if s.options.TCP {
		u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
		u.RawQuery = "sslmode=disable"
	} else {
		u.RawQuery = "host=" + url.QueryEscape(s.dir)
	}
	return u.String()
}

// Cluster is for making databases and logins on this server.
func (s *Server) Cluster() *Cluster { return NewCluster(s.URL()) }

// Address is the host and port of a server with Options.TCP.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Socket is the folder of the unix socket, as libpq's programs take it in PGHOST.
func (s *Server) Socket() string { return s.dir }

func (s *Server) data() string { return filepath.Join(s.dir, "data") }
func (s *Server) log() string  { return filepath.Join(s.dir, "log") }

func (s *Server) running() bool {
	if s.process == nil {
		return false
	}
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

func (s *Server) logTail() string {
	text, err := os.ReadFile(s.log())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4096):])
}

// command runs a program of PostgreSQL under the server's account and out of the reach of a terminal's interrupt.
func (s *Server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = s.dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "PG") || strings.HasPrefix(v, "LC_")
	}), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.account, Setsid: true}
	return cmd
}

// Binary finds a program of PostgreSQL, such as initdb or pgbench: beside the initdb of `pg_config --bindir`, of Debian's
// newest version, or of PATH.
func Binary(name string) (string, error) {
	var dirs []string
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil { //nolint:noctx // at once
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	versions, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	slices.SortFunc(versions, func(a, b string) int { return version(b) - version(a) })
	dirs = append(append(dirs, versions...), filepath.SplitList(os.Getenv("PATH"))...)
	for _, dir := range dirs {
		if _, err := exec.LookPath(filepath.Join(dir, "initdb")); err != nil {
			continue
		}
		path, err := filepath.EvalSymlinks(filepath.Join(dir, name)) // the server finds its files from where it lies
		if err == nil {
			return path, nil
		}
	}
	return "", ErrMissing
}

func version(bindir string) int {
	n, err := strconv.Atoi(filepath.Base(filepath.Dir(bindir)))
	if err != nil {
		return 0
	}
	return n
}

// account is whom the server runs as: PostgreSQL refuses to be root.
func account() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, fmt.Errorf("PostgreSQL does not run as root and there is neither postgres nor nobody: %w", err)
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
