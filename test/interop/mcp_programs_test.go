package interop

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"doorward/test/setup"
)

// mcpScenarios are the scenarios for authorization servers of the protocol's own conformance tests.
var mcpScenarios = []string{"authorization-server-metadata-endpoint", "authorization-code-grant"}

// settings are what a script is told.
func (v *mcpVisit) settings() map[string]any {
	settings := map[string]any{"issuer": v.server.issuer, "mcp": v.mcp, "name": "An assistant"}
	switch v.way {
	case givenID:
		settings["public"] = credentials{ID: v.id}
	case documented:
		settings["document"] = v.id
	}
	return settings
}

// follow does what a line of a script asks for.
func (v *mcpVisit) follow(l line) (waits bool) {
	if l.Open != "" {
		visit(v.t, v.tab, l.Open, "approve")
		return false
	}
	if !l.OK {
		v.t.Errorf("%s: %s", l.Step, l.Detail)
	}
	if l.Alive != "" {
		v.holds(l.Alive)
	}
	v.told = append(v.told, l.Step)
	return true
}

// mcpSDK runs a client that is made with a package of the official SDK.
func mcpSDK(name string) func(*mcpVisit) {
	return func(v *mcpVisit) {
		settings := v.settings()
		settings["package"] = name
		listen(v.t, settings, v.follow, nodeProgram(v.t, name), filepath.FromSlash(v.party.source))
	}
}

func mcpPython(v *mcpVisit) {
	program, err := setup.PythonMCP()
	setup.Need(v.t, err)
	folder, err := setup.PythonFolder()
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Setenv("PYTHONPATH", folder)
	listen(v.t, v.settings(), v.follow, program, "-B", filepath.FromSlash(v.party.source))
}

// withoutBrowser keeps programs from opening a browser of the person who runs the test, until the test ends.
func withoutBrowser(t *testing.T) {
	t.Helper()
	t.Setenv("BROWSER", "true") // the program, which does nothing
	for _, name := range []string{"DISPLAY", "WAYLAND_DISPLAY", "XDG_CURRENT_DESKTOP", "DESKTOP_SESSION"} {
		t.Setenv(name, "")
	}
}

func mcpRemote(v *mcpVisit) {
	withoutBrowser(v.t)
	v.t.Setenv("MCP_REMOTE_CONFIG_DIR", v.t.TempDir())
	settings := v.settings()
	settings["port"] = freePort(v.t)
	listen(v.t, settings, v.follow, nodeProgram(v.t, "mcp-remote"), filepath.FromSlash(v.party.source))
}

// mcpInspector runs the Inspector's CLI once for each call.
func mcpInspector(v *mcpVisit) {
	withoutBrowser(v.t)
	home := v.t.TempDir()
	v.t.Setenv("MCP_STORAGE_DIR", home)
	v.t.Setenv("MCP_INSPECTOR_SECRET_STORE", "file") // not the keyring of the person who runs the test
	v.t.Setenv("MCP_AUTO_OPEN_ENABLED", "true")      // it may sign in without a terminal
	callback := "http://127.0.0.1:" + freePort(v.t) + "/oauth/callback"
	cli := func(args ...string) (out string, opened int) {
		args = append([]string{
			nodeFile("@modelcontextprotocol/inspector", "clients/launcher/build/index.js"), "--cli", v.mcp, "--transport",
			"http", "--callback-url", callback,
		}, args...)
		if v.way == documented {
			args = append(args, "--client-metadata-url", v.id)
		}
		return v.program(v.t, "@modelcontextprotocol/inspector", regexp.MustCompile(`^Please navigate to: (\S+)$`), args...)
	}
	file := filepath.Join(home, "secrets.json")
	token := func() (token, text string) {
		read, err := os.ReadFile(file)
		if err != nil {
			v.t.Fatal(err)
		}
		return regexp.MustCompile(`dw_at_\w+`).FindString(string(read)), string(read)
	}

	out, opened := cli("--method", "tools/call", "--tool-name", "add", "--tool-arg", "a=17", "b=25")
	if opened != 1 || !strings.Contains(out, `"text": "42"`) {
		v.t.Fatalf("it asked the user %d times to sign in, and wrote\n%s", opened, out)
	}
	first, kept := token()
	v.holds(first)
	v.told = append(v.told, "called")

	// An expired access token is refreshed without asking the user.
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(kept, first, "dw_at_that_is_over")), 0o600); err != nil {
		v.t.Fatal(err)
	}
	out, opened = cli("--method", "tools/list")
	if opened != 0 || !strings.Contains(out, `"name": "add"`) {
		v.t.Fatalf("it asked the user %d times to sign in, and wrote\n%s", opened, out)
	}
	v.told = append(v.told, "tools")
	fresh, _ := token()
	v.holds(fresh)
	v.told = append(v.told, "refreshed")
}

// conformance runs the protocol's own tests of authorization servers. Its client is not registered, and has a document.
func (w *mcpWorld) conformance(t *testing.T) {
	folder := t.TempDir()
	const name = "@modelcontextprotocol/conformance"
	out, opened := w.program(t, name, regexp.MustCompile(`^(http://\S+/oauth/authorize\?\S+)$`),
		nodeFile(name, "dist/index.js"), "authorization", "--url", w.server.issuer, "--client-id",
		w.documents+"/conformance.json", "--resource", w.servers[0], "--port", freePort(t), "--output-dir", folder)
	if opened != 1 {
		t.Errorf("it asked the user %d times to sign in", opened)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*", "checks.json"))
	if err != nil {
		t.Fatal(err)
	}
	var passed []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var checks []struct{ Name, Status, ErrorMessage string }
		if err := json.Unmarshal(text, &checks); err != nil || len(checks) == 0 {
			t.Fatalf("%v: %s", err, text)
		}
		for _, c := range checks {
			if c.Status != "SUCCESS" {
				t.Errorf("%s: %s %s", c.Name, c.Status, c.ErrorMessage)
			}
		}
		for _, name := range mcpScenarios {
			if strings.Contains(file, "-"+name+"-") {
				passed = append(passed, name)
			}
		}
	}
	slices.Sort(passed)
	diff := cmp.Diff(slices.Sorted(slices.Values(mcpScenarios)), passed)
	if diff != "" || len(files) != len(mcpScenarios) {
		t.Errorf("its scenarios in %v (-want +got):\n%s\n%s", files, diff, out)
	}
}

// nodeProgram returns Node, and makes sure that there is a package for it.
func nodeProgram(t *testing.T, name string) string {
	t.Helper()
	program, err := setup.Node()
	setup.Need(t, err)
	_, err = setup.NodePackage(name)
	setup.Need(t, err)
	return program
}

// nodeFile is the path of a file of a Node package.
func nodeFile(name, file string) string {
	return filepath.Join("node", "node_modules", filepath.FromSlash(name), filepath.FromSlash(file))
}

// program runs a program of a Node package until it ends. It takes the user to each address that the program prints,
// and returns how many there were.
func (w *mcpWorld) program(t *testing.T, name string, address *regexp.Regexp, args ...string) (out string, opened int) {
	t.Helper()
	c := exec.CommandContext(t.Context(), nodeProgram(t, name), args...)
	read, write := io.Pipe()
	defer read.Close() //nolint:errcheck // a program that is left alone does not block
	c.Stdout, c.Stderr = write, write
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- c.Wait()
		_ = write.Close()
	}()
	defer func() { _ = c.Process.Kill() }() // if the browser failed and the program still waits for it
	for scanner := bufio.NewScanner(read); scanner.Scan(); {
		out += scanner.Text() + "\n"
		if m := address.FindStringSubmatch(scanner.Text()); m != nil {
			opened++
			visit(t, w.tab, m[1], "approve")
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out, opened
}

// metadataOf follows a refusal to the authorization server's metadata (RFC 9728, section 5.1).
func metadataOf(t *testing.T, mcp, issuer string) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	refused, err := client.Post(mcp, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = refused.Body.Close()
	_, rest, found := strings.Cut(refused.Header.Get("WWW-Authenticate"), `resource_metadata="`)
	address, _, _ := strings.Cut(rest, `"`)
	if refused.StatusCode != http.StatusUnauthorized || !found ||
		!strings.Contains(refused.Header.Get("WWW-Authenticate"), `scope="read"`) {
		t.Fatalf("%d %s", refused.StatusCode, refused.Header.Get("WWW-Authenticate"))
	}
	answer, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	var metadata struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
	}
	text, _ := io.ReadAll(answer.Body)
	if err := json.Unmarshal(text, &metadata); err != nil || metadata.Resource != mcp ||
		!slices.Equal(metadata.Servers, []string{issuer}) {
		t.Errorf("%s: %s", address, text)
	}
}

// mcpServer runs an MCP server until the test ends, and returns its address.
func mcpServer(t *testing.T, node string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), node, filepath.Join("node", "mcp-server.js"))
	out, err := c.StdoutPipe()
	if err == nil {
		_, err = c.StdinPipe() // it exits when its standard input is closed
	}
	if err == nil {
		c.Stderr = os.Stderr
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	var l line
	if err := json.NewDecoder(out).Decode(&l); err != nil {
		t.Fatal(err)
	}
	return l.Open
}
