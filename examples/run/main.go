// Command run starts one of the examples: Doorward with the example's configuration and its own database, the API
// behind it, and the sample users and credentials from its sample.json. It prints what to open and the variables that
// the commands in the example's README.md need. When it is interrupted, it removes everything that it created.
package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	generic "doorward/examples/generic/api"
	scopien "doorward/examples/scopien/api"
	sophic "doorward/examples/sophic/api"
	sophosic "doorward/examples/sophosic/api"
	torvus "doorward/examples/torvus/api"
)

// apis are the APIs behind Doorward, by example.
var apis = map[string]func() http.Handler{
	"generic":  generic.New,
	"scopien":  scopien.New,
	"sophic":   sophic.New,
	"sophosic": sophosic.New,
	"torvus":   torvus.New,
}

// sample describes the users and credentials that an example starts with.
type sample struct {
	Title    string
	Email    string // the user to sign in as
	Password string
	Open     string // path of the page to open
	Steps    []struct {
		Doorward []string          // arguments of the CLI; $NAME is replaced by a kept value
		Stdin    string            // the input of the command
		Keep     map[string]string // variable name → member of the output to keep
		Until    map[string]any    // the command is repeated until its output has these members
	}
	Session *struct { // a session of the vendor's own app
		Keep   string
		Claims map[string]any // beside iat and exp
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	doorward := flags.String("doorward", "", "the program, where it is built already")
	ports := flags.String("ports", "",
		"ports of the app, of the API and of what is behind it, in place of the configuration's: A,B,C")
	if len(args) == 0 || apis[args[0]] == nil {
		return errors.New("say which: generic, scopien, sophic, sophosic or torvus")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	folder := filepath.Join("examples", args[0])
	text, err := os.ReadFile(filepath.Join(folder, "sample.json"))
	if err != nil {
		return fmt.Errorf("%w; run this at the root of the repository", err)
	}
	var s sample
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("%s: %w", folder, err)
	}
	e := &example{name: args[0], sample: &s, env: map[string]string{}, doorward: *doorward}
	if e.folder, err = os.MkdirTemp("", "doorward-"+e.name+"-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(e.folder)) }()
	if err := e.configure(filepath.Join(folder, "doorward.yaml"), *ports); err != nil {
		return err
	}
	if err := e.serve(ctx, out); ctx.Err() == nil {
		return err
	}
	return nil // an interrupt is the normal way to stop it
}

// example is a running example.
type example struct {
	*sample

	name     string
	folder   string // removed at the end
	doorward string
	app      string // the app's host
	api      string // the API's host
	upstream string // address of the API behind it
	env      map[string]string
	kept     []string // names in env, in printing order
}

var addresses = regexp.MustCompile(`\b(localhost|127\.0\.0\.1):(9[012][1-5]0)\b`)

// configure copies the configuration, and replaces its ports if ports is not empty.
func (e *example) configure(file, ports string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	chosen := strings.Split(ports, ",")
	if ports != "" && len(chosen) != 3 {
		return errors.New("--ports takes three, such as 9510,9610,9710")
	}
	text = addresses.ReplaceAllFunc(text, func(address []byte) []byte {
		m := addresses.FindSubmatch(address)
		port, kind := string(m[2]), int(m[2][1]-'0')
		if ports != "" {
			port = chosen[kind]
		}
		at := string(m[1]) + ":" + port
		switch kind {
		case 0:
			e.app = "http://localhost:" + port
		case 1:
			e.api = "http://127.0.0.1:" + port
		case 2:
			e.upstream = at
		}
		return []byte(at)
	})
	return os.WriteFile(filepath.Join(e.folder, "doorward.yaml"), text, 0o600)
}

// serve starts everything, prints what was started, and stops it all when ctx is done.
func (e *example) serve(ctx context.Context, out io.Writer) error {
	if e.doorward == "" {
		e.doorward = filepath.Join(e.folder, "doorward")
		build := exec.CommandContext(ctx, "go", "build", "-o", e.doorward, "./cmd/doorward")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if said, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build doorward: %w\n%s", err, said)
		}
	}
	for _, address := range []string{e.app, e.api} {
		l, err := listen(ctx, address[len("http://"):])
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	l, err := listen(ctx, e.upstream)
	if err != nil {
		return err
	}
	upstream := &http.Server{Handler: apis[e.name](), ReadHeaderTimeout: 5 * time.Second}
	defer upstream.Close()                //nolint:errcheck // the process ends anyway
	go func() { _ = upstream.Serve(l) }() // returns when the server is closed

	secret := rand.Text() + rand.Text()
	e.env["SUPABASE_JWT_SECRET"] = secret
	e.env["DOORWARD_CONFIG"] = filepath.Join(e.folder, "doorward.yaml")
	e.env["DOORWARD_DATABASE_URL"] = "sqlite:" + filepath.Join(e.folder, "data", "doorward.db")
	var log bytes.Buffer
	server := e.command(context.WithoutCancel(ctx), "serve")
	server.Stderr = &log
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // A terminal's interrupt reaches it through this program.
	if err := server.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = server.Wait() // its log has the details
		close(ended)
	}()
	end := func() {
		_ = server.Process.Signal(syscall.SIGTERM) // it may have exited already
		<-ended
	}
	defer end()
	if err := ready(ctx, e.app+"/readyz", ended); err != nil {
		end()
		return fmt.Errorf("%w\n%s", err, log.String())
	}
	for _, step := range e.Steps {
		made, err := e.step(ctx, step.Doorward, step.Stdin)
		for n := 0; err == nil && !has(made, step.Until); n++ {
			if n == 100 {
				return fmt.Errorf("doorward %s: never answers %v", strings.Join(step.Doorward, " "), step.Until)
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			made, err = e.step(ctx, step.Doorward, step.Stdin)
		}
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(step.Keep)) {
			value, _ := made[step.Keep[name]].(string)
			if value == "" {
				return fmt.Errorf("doorward %s: there is no %s in its answer", strings.Join(step.Doorward, " "), step.Keep[name])
			}
			e.keep(name, value)
		}
	}
	if e.Session != nil {
		e.keep(e.Session.Keep, session(secret, e.Session.Claims))
	}
	e.print(out)
	select {
	case <-ctx.Done():
		return nil
	case <-ended:
		return fmt.Errorf("doorward has ended\n%s", log.String())
	}
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	address = strings.Replace(address, "localhost", "127.0.0.1", 1)
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w; end what listens there, or choose other ports with ARGS=\"--ports 9510,9610,9710\"", err)
	}
	return l, nil
}

func (e *example) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, e.doorward, args...)
	cmd.Env = os.Environ()
	for name, value := range e.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// ready waits until the server answers.
func ready(ctx context.Context, address string, ended <-chan struct{}) error {
	client := &http.Client{Timeout: time.Second}
	for range 500 {
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
		if err != nil {
			return err
		}
		if resp, err := client.Do(q); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			return errors.New("doorward has ended")
		case <-time.After(20 * time.Millisecond):
		}
	}
	return errors.New("doorward does not get ready")
}

// step runs an administrative command and returns its output, or nil if that is not a JSON object.
func (e *example) step(ctx context.Context, args []string, stdin string) (map[string]any, error) {
	expanded := make([]string, 0, len(args)+1)
	for _, arg := range args {
		expanded = append(expanded, os.Expand(arg, func(name string) string { return e.env[name] }))
	}
	cmd := e.command(ctx, append(expanded, "--json")...)
	cmd.Stdin = strings.NewReader(stdin)
	var said bytes.Buffer
	cmd.Stderr = &said
	answer, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("doorward %s: %w\n%s", strings.Join(args, " "), err, said.String())
	}
	var made map[string]any
	_ = json.Unmarshal(answer, &made) // some commands print a list, or nothing
	return made, nil
}

// has reports whether an answer has these members.
func has(answer, members map[string]any) bool {
	for name, want := range members {
		if answer[name] != want {
			return false
		}
	}
	return true
}

func (e *example) keep(name, value string) {
	e.env[name] = value
	e.kept = append(e.kept, name)
}

// session returns a JWT such as the vendor's Supabase project issues to users of its app.
func session(secret string, claims map[string]any) string {
	now := time.Now()
	claims["iat"], claims["exp"] = now.Unix(), now.Add(time.Hour).Unix()
	body, _ := json.Marshal(claims) // it was decoded from JSON
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(body)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}

func (e *example) print(out io.Writer) {
	fmt.Fprintf(out, `
%s is running, with a database that goes when you stop it.

  The app's host   %s
  The API's host   %s
  Open             %s%s
  Sign in as       %s
  Password         %s

Paste this where you run the commands of examples/%s/README.md:

`, e.Title, e.app, e.api, e.app, e.Open, e.Email, e.Password, e.name)
	for _, name := range e.kept {
		fmt.Fprintf(out, "export %s=%s\n", name, e.env[name])
	}
	fmt.Fprint(out, "\nStop with Ctrl-C.\n")
}
