// Package compose_test checks docker-compose.yml and the Dockerfile without Docker: it starts the server with the
// command and the environment that they define.
package compose_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"go.yaml.in/yaml/v3"

	"doorward/test/postgres"
	"doorward/test/setup"
)

type composeFile struct {
	Services map[string]service
	Volumes  map[string]any
}

type service struct {
	Image       string
	Build       string
	Environment map[string]string
	Ports       []string
	Volumes     []string
	HealthCheck struct{ Test []string } `yaml:"healthcheck"`
}

// required matches a variable without which docker compose refuses to start.
var required = regexp.MustCompile(`\$\{(\w+):\?[^}]*\}`)

func read(t *testing.T, name string) string {
	t.Helper()
	root, err := setup.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// load parses docker-compose.yml with the variables of an .env file.
func load(t *testing.T, variables map[string]string) composeFile {
	t.Helper()
	text := required.ReplaceAllStringFunc(read(t, "docker-compose.yml"), func(use string) string {
		name := required.FindStringSubmatch(use)[1]
		value, ok := variables[name]
		if !ok {
			t.Errorf("docker-compose.yml wants the variable %s, which `make up` does not set", name)
		}
		return value
	})
	if i := strings.Index(text, "${"); i >= 0 {
		t.Fatalf("docker-compose.yml has a variable that may be missing: %.40s", text[i:])
	}
	var file composeFile
	if err := yaml.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestComposeHasTheServerAndItsDatabaseAndNoSecret(t *testing.T) {
	file := load(t, map[string]string{"POSTGRES_PASSWORD": "PASSWORD"})
	if diff := cmp.Diff([]string{"db", "doorward"}, slices.Sorted(maps.Keys(file.Services))); diff != "" {
		t.Errorf("services: %s", diff)
	}
	db, server := file.Services["db"], file.Services["doorward"]
	if diff := cmp.Diff(map[string]string{
		"DOORWARD_ISSUER":       "http://localhost:8080",
		"DOORWARD_LISTEN":       "0.0.0.0:8080",
		"DOORWARD_DATABASE_URL": "postgres://doorward:PASSWORD@db:5432/doorward?sslmode=disable",
	}, server.Environment); diff != "" {
		t.Errorf("environment of doorward: %s", diff)
	}
	if diff := cmp.Diff(map[string]string{
		"POSTGRES_USER": "doorward", "POSTGRES_DB": "doorward", "POSTGRES_PASSWORD": "PASSWORD",
	}, db.Environment); diff != "" {
		t.Errorf("environment of db: %s", diff)
	}
	if diff := cmp.Diff([]string{"CMD", "/doorward", "health"}, server.HealthCheck.Test); diff != "" {
		t.Errorf("health check: %s", diff)
	}
	if !slices.Equal(server.Ports, []string{"127.0.0.1:8080:8080"}) || len(db.Ports) != 0 {
		t.Errorf("published: %q of doorward, %q of db; want the issuer's port on loopback only", server.Ports, db.Ports)
	}
	for name, s := range file.Services {
		if len(s.Volumes) != 1 {
			t.Fatalf("%s keeps its data in %q, want one volume", name, s.Volumes)
		}
		volume, _, _ := strings.Cut(s.Volumes[0], ":")
		if _, ok := file.Volumes[volume]; !ok {
			t.Errorf("%s keeps its data in %s, which is not a named volume", name, volume)
		}
	}
	if server.Build != "." || server.Volumes[0] != "data:/data" {
		t.Errorf("doorward is built from %q and keeps %q", server.Build, server.Volumes[0])
	}
}

// instruction returns the JSON list of an instruction in the Dockerfile, such as ENTRYPOINT ["/doorward"].
func instruction(t *testing.T, name string) (list []string) {
	t.Helper()
	for line := range strings.Lines(read(t, "Dockerfile")) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			if err := json.Unmarshal([]byte(text), &list); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
	}
	if list == nil {
		t.Fatalf("the Dockerfile has no %s", name)
	}
	return list
}

func TestImageHasNoShellAndNoPrivileges(t *testing.T) {
	text := read(t, "Dockerfile")
	stage := text[strings.LastIndex(text, "\nFROM "):]
	for _, want := range []string{
		"\nFROM scratch\n", "\nUSER 65532:65532\n", "\nVOLUME /data\n", `CMD ["/doorward", "health"]`,
	} {
		if !strings.Contains(stage, want) {
			t.Errorf("the last stage of the Dockerfile lacks %q", strings.TrimSpace(want))
		}
	}
	for _, want := range []string{"CGO_ENABLED=0", "-trimpath"} {
		if !strings.Contains(text, want) {
			t.Errorf("the binary is not built with %s", want)
		}
	}
	if strings.Contains(stage, "\nRUN ") {
		t.Error("the last stage runs something, so it holds a shell")
	}
}

// host stands for the container: it is where the container's command runs.
type host struct {
	binary      string
	folder      string // stands for /
	environment []string
	issuer      string
}

// prepare replaces what Docker would provide: the database's host, port and password, the published port, and a
// loopback of its own, where the port of the admin listener is always free.
func prepare(t *testing.T) host {
	t.Helper()
	password := rand.Text()
	file := load(t, map[string]string{"POSTGRES_PASSWORD": password})
	db, server := file.Services["db"].Environment, maps.Clone(file.Services["doorward"].Environment)

	database := postgres.Private(t, postgres.Options{TCP: true, Superuser: db["POSTGRES_USER"], Password: password})
	conn, err := pgx.Connect(t.Context(), database.URL())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+pgx.Identifier{db["POSTGRES_DB"]}.Sanitize()); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	databaseURL, err := url.Parse(server["DOORWARD_DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	databaseURL.Host = database.Address()
	server["DOORWARD_DATABASE_URL"] = databaseURL.String()

	port, err := setup.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The container would publish this address at 127.0.0.1:8080; the test listens on it here.
	published := strconv.Itoa(port)
	server["DOORWARD_LISTEN"] = net.JoinHostPort("127.0.0.1", published)
	server["DOORWARD_ISSUER"] = strings.Replace(server["DOORWARD_ISSUER"], "8080", published, 1)
	server["DOORWARD_ADMIN_LISTEN"] = "127.0.0.1:0"

	h := host{binary: setup.Doorward(t), folder: t.TempDir(), issuer: server["DOORWARD_ISSUER"]}
	for name, value := range server {
		h.environment = append(h.environment, name+"="+value)
	}
	if err := os.Mkdir(filepath.Join(h.folder, "data"), 0o700); err != nil { // the volume
		t.Fatal(err)
	}
	return h
}

// command runs one of the container's commands. Its first word must be the image's only program.
func (h host) command(ctx context.Context, words ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, h.binary, words[1:]...)
	cmd.Dir, cmd.Env = h.folder, h.environment
	return cmd
}

// start starts the server as the image does, and returns when the health check reports that it is ready.
func (h host) start(t *testing.T) (stop func(syscall.Signal) error) {
	t.Helper()
	var log strings.Builder
	server := h.command(t.Context(), append(instruction(t, "ENTRYPOINT"), instruction(t, "CMD")...)...)
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- server.Wait() }()
	stop = func(s syscall.Signal) error {
		if err := server.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		err := <-exited
		exited <- err
		return err
	}
	t.Cleanup(func() { _ = stop(syscall.SIGKILL) })

	check := load(t, map[string]string{"POSTGRES_PASSWORD": ""}).Services["doorward"].HealthCheck.Test[1:]
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		out, err := h.command(t.Context(), check...).CombinedOutput()
		if err == nil {
			return stop
		}
		select {
		case err := <-exited:
			exited <- err
			t.Fatalf("the server exited: %v\n%s", err, log.String())
		case <-t.Context().Done(): // go test's time limit is near
			t.Fatalf("the server did not become healthy: %s", out)
		case <-tick.C:
		}
	}
}

func TestServerStartsWithComposesEnvironment(t *testing.T) {
	setup.Long(t)
	h := prepare(t)
	stop := h.start(t)

	var metadata struct{ Issuer string }
	if err := json.Unmarshal([]byte(get(t, h.issuer+"/.well-known/oauth-authorization-server")), &metadata); err != nil {
		t.Fatal(err)
	}
	if metadata.Issuer != h.issuer {
		t.Errorf("issuer %q, want %q", metadata.Issuer, h.issuer)
	}
	secret, err := os.Stat(filepath.Join(h.folder, "data", "secret"))
	if err != nil || secret.Mode().Perm() != 0o600 {
		t.Errorf("the master secret is not kept in the volume for the server alone: %v, %v", secret, err)
	}

	_ = stop(syscall.SIGKILL) // as `docker compose kill` does
	stop = h.start(t)
	if err := stop(syscall.SIGTERM); err != nil { // as `docker compose stop` does
		t.Errorf("the server exited by SIGTERM with %v", err)
	}
	if err := h.command(t.Context(), "/doorward", "health").Run(); err == nil {
		t.Error("the health check finds a server that has ended")
	}
}

func get(t *testing.T, address string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(fmt.Errorf("%s: %s %s %w", address, response.Status, body, err))
	}
	return string(body)
}
