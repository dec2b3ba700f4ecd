// Package gateways starts the proxies of examples/ with their files, in front of an API and with a Doorward to ask. Its
// tests send the same requests through them and through Doorward's own proxy.
package gateways

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"doorward/test/rig"
	"doorward/test/setup"
)

// Nginx runs nginx with examples/nginx/nginx.conf until the test ends, and returns the address that it listens on.
// nginx asks the server at the address doorward and passes requests on to api.
func Nginx(tb testing.TB, doorward, api string) (address string) {
	tb.Helper()
	setup.Long(tb)
	binary, err := setup.Nginx()
	setup.Need(tb, err)
	folder, address := tb.TempDir(), free(tb)
	text, err := NginxConfiguration(folder, address, doorward, api)
	if err != nil {
		tb.Fatal(err)
	}
	file := filepath.Join(folder, "nginx.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	serve(tb, folder, address, nil, binary, "-p", folder, "-c", file, "-e", "stderr",
		"-g", "daemon off; master_process off; error_log stderr warn; pid "+filepath.Join(folder, "pid")+";")
	return address
}

// NginxConfiguration returns examples/nginx/nginx.conf adapted to a folder and addresses: where nginx listens, which
// server it asks, and where the API is.
func NginxConfiguration(folder, address, doorward, api string) (string, error) {
	root, err := setup.Root()
	if err != nil {
		return "", err
	}
	read, err := os.ReadFile(filepath.Join(root, "examples", "nginx", "nginx.conf"))
	if err != nil {
		return "", fmt.Errorf("recipe: %w", err)
	}
	text := string(read)
	for _, change := range [][2]string{
		{"server 127.0.0.1:8080;", "server " + doorward + ";"},
		{"server 127.0.0.1:9000;", "server " + api + ";"},
		{"listen 80;", "listen " + address + ";"},
		// The settings that a machine's own nginx.conf has, for a folder that every user may write to.
		{
			"\nhttp {\n",
			fmt.Sprintf("\nhttp {\naccess_log off; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; "+
				"fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi; keepalive_requests "+
				"1000000;\n", folder),
		},
	} {
		if strings.Count(text, change[0]) != 1 {
			return "", fmt.Errorf("nginx.conf has %q not once", change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	return text, nil
}

// Caddy is like Nginx, with Caddy and examples/caddy/Caddyfile.
func Caddy(tb testing.TB, doorward, api string) (address string) {
	tb.Helper()
	setup.Long(tb)
	binary, err := setup.Caddy()
	setup.Need(tb, err)
	folder, address := tb.TempDir(), free(tb)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		tb.Fatal(err)
	}
	file := filepath.Join(folder, "Caddyfile")
	// Several tests run Caddy at once, and its admin endpoint has only one port.
	if err := os.WriteFile(file, []byte("{\n\tadmin off\n}\n\n"+example(tb, "caddy", "Caddyfile")), 0o600); err != nil {
		tb.Fatal(err)
	}
	serve(tb, folder, address, []string{
		"SITE=http://:" + port, "DOORWARD=" + doorward, "UPSTREAM=" + api, "HOME=" + folder, "XDG_CONFIG_HOME=" + folder,
		"XDG_DATA_HOME=" + folder,
	}, binary, "run", "--adapter", "caddyfile", "--config", file)
	return address
}

// Envoy is like Nginx, with Envoy and examples/envoy/envoy.yaml.
func Envoy(tb testing.TB, doorward, api string) (address string) {
	tb.Helper()
	setup.Long(tb)
	binary, err := setup.Envoy()
	setup.Need(tb, err)
	folder, address := tb.TempDir(), free(tb)
	text := example(tb, "envoy", "envoy.yaml")
	for _, change := range [][2]string{
		{"{address: 127.0.0.1, port_value: 8080}", socketAddress(tb, doorward)},
		{"{address: 127.0.0.1, port_value: 9000}", socketAddress(tb, api)},
		{"{address: 0.0.0.0, port_value: 80}", socketAddress(tb, address)},
	} {
		if strings.Count(text, change[0]) != 1 {
			tb.Fatalf("envoy.yaml has %q not once", change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	file := filepath.Join(folder, "envoy.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	serve(tb, folder, address, nil, binary, "-c", file, "--use-dynamic-base-id", "--concurrency", "1",
		"--log-level", "warning")
	return address
}

func socketAddress(tb testing.TB, address string) string {
	tb.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		tb.Fatal(err)
	}
	return fmt.Sprintf("{address: %s, port_value: %s}", host, port)
}

// example returns a file of examples/.
func example(tb testing.TB, path ...string) string {
	tb.Helper()
	root, err := setup.Root()
	if err != nil {
		tb.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(append([]string{root, "examples"}, path...)...))
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func free(tb testing.TB) string {
	tb.Helper()
	port, err := setup.FreePort(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// serve runs a server until the test or this process ends, and waits until it listens. The folder belongs to the server
// and is removed with it.
func serve(tb testing.TB, folder, address string, env []string, binary string, args ...string) {
	tb.Helper()
	log := &rig.Log{}
	cmd := exec.CommandContext(context.WithoutCancel(tb.Context()), binary, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // not reached by a terminal's interrupt
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	var exit error
	ended := make(chan struct{})
	go func() {
		exit = cmd.Wait()
		close(ended)
	}()
	id := filepath.Join(folder, "process")
	if err := os.WriteFile(id, []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		tb.Fatal(err)
	}
	sweep, err := setup.Sweep(folder, `cat "$1/process"`)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have exited already
		<-ended
		_ = os.Remove(id) // another process may get this process id
		if err := sweep(); err != nil {
			tb.Error(err)
		}
		if tb.Failed() {
			tb.Logf("%s said:\n%.4000s", filepath.Base(binary), log)
		}
	})
	for range 1500 {
		if conn, err := (&net.Dialer{}).DialContext(tb.Context(), "tcp", address); err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-ended:
			tb.Fatalf("%s ended: %v\n%s", filepath.Base(binary), exit, log)
		case <-tb.Context().Done():
		case <-time.After(10 * time.Millisecond): // the process is a new one
		}
	}
	tb.Fatalf("%s does not listen:\n%s", filepath.Base(binary), log)
}
