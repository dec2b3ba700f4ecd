package readme

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/catalog"
	"doorward/test/browser"
	"doorward/test/rig"
	"doorward/test/setup"
)

var update = flag.Bool("update", false, "take docs/consent.png again")

// block is a code block of a page.
type block struct {
	language, text string
	before         string // the paragraph above it
}

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// blocks returns the code blocks in a text.
func blocks(text string) []block {
	var found []block
	end := 0
	for _, m := range fence.FindAllStringSubmatchIndex(text, -1) {
		paragraphs := strings.Split(strings.TrimSpace(text[end:m[0]]), "\n\n")
		found = append(found, block{text[m[2]:m[3]], text[m[4]:m[5]], paragraphs[len(paragraphs)-1]})
		end = m[1]
	}
	return found
}

// page returns the content of a file of the repository.
func page(t *testing.T, name string) string {
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

// chapter returns the text between a heading of the second level and the next one.
func chapter(t *testing.T, text, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("no chapter %q", heading)
	}
	own, _, _ := strings.Cut(rest, "\n## ")
	return own
}

// terminal is a shell that receives one block after the other, as a person pastes them.
type terminal struct {
	t     *testing.T
	stdin *os.File

	mu     sync.Mutex
	output bytes.Buffer
	grown  chan struct{} // closed and replaced with each line
}

func open(t *testing.T, dir string, env []string) *terminal {
	t.Helper()
	in, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, stdin: stdin, grown: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	shell := exec.CommandContext(ctx, "bash", "--norc", "--noprofile")
	shell.Dir, shell.Env = dir, env
	shell.Stdin, shell.Stdout, shell.Stderr = in, w, w
	// Its own process group: what the shell started stops with it, as with Ctrl-C.
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, syscall.SIGTERM) }
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = in.Close(), w.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewReader(out); ; {
			line, err := lines.ReadString('\n')
			x.mu.Lock()
			x.output.WriteString(line)
			close(x.grown)
			x.grown = make(chan struct{})
			x.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = shell.Wait()
		_ = stdin.Close()
		<-read
		_ = out.Close()
		if t.Failed() {
			t.Logf("the terminal in %s:\n%s", dir, x.text())
		}
	})
	return x
}

func (x *terminal) text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.output.String()
}

// paste writes lines to the terminal.
func (x *terminal) paste(text string) {
	x.t.Helper()
	if _, err := x.stdin.WriteString(text); err != nil {
		x.t.Fatal(err)
	}
}

// await waits until the output after a position matches, and returns the groups of the match.
func (x *terminal) await(from int, pattern string) []string {
	x.t.Helper()
	re := regexp.MustCompile(pattern)
	patience := time.After(5 * time.Minute) // enough for a first build
	for {
		x.mu.Lock()
		text, grown := x.output.String()[from:], x.grown
		x.mu.Unlock()
		if m := re.FindStringSubmatch(text); m != nil {
			return m
		}
		select {
		case <-grown:
		case <-patience:
			x.t.Fatalf("the terminal never shows %s", pattern)
		}
	}
}

// run pastes a block, waits for the end of its last command, which must succeed, and returns its output.
func (x *terminal) run(text string) string {
	x.t.Helper()
	from := len(x.text())
	x.paste(text + "echo \"ended with $?\"\n")
	m := x.await(from, `(?s)^(.*)ended with (\d+)\n`)
	if m[2] != "0" {
		x.t.Fatalf("this ends with %s:\n%s\n%s", m[2], text, m[1])
	}
	return m[1]
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := setup.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}

// TestReadmeRunsAsPrinted does what the chapters for newcomers say, block by block, in an empty folder: the server in
// one terminal, the rest in another, and a browser for URLs to open. Only the ports and the folder's name are changed.
func TestReadmeRunsAsPrinted(t *testing.T) {
	setup.Need(t, setup.ReadmePrograms())
	tab := browser.New(t)
	root, err := setup.Root()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "try")
	server, app := freePort(t), freePort(t)
	text := strings.NewReplacer("8080", server, "8099", app, "../try", folder).
		Replace(chapter(t, page(t, "README.md"), "Connect your own app") + chapter(t,
			page(t, "README.md"), "Create an API key"))
	all := blocks(text)
	next := func(language, contains string) block {
		t.Helper()
		if len(all) == 0 || all[0].language != language || !strings.Contains(all[0].text, contains) {
			t.Fatalf("the next block is not the one with %s, but: %+v", contains, all)
		}
		b := all[0]
		all = all[1:]
		return b
	}
	var env []string
	for _, one := range os.Environ() {
		if !strings.HasPrefix(one, "DOORWARD_") && !strings.HasPrefix(one, "GOFLAGS=") &&
			!strings.HasPrefix(one, "GOPROXY=") {
			env = append(env, one)
		}
	}
	// A newcomer has network access; the test uses the modules that building Doorward has downloaded.
	cache := strings.TrimSpace(output(t, root, "go", "env", "GOMODCACHE"))
	env = append(env, "GOPROXY=file://"+cache+"/cache/download,"+
		strings.TrimSpace(output(t, root, "go", "env", "GOPROXY")), "GONOSUMDB=*")

	one := open(t, root,
		append(env, "DOORWARD_LISTEN=127.0.0.1:"+server, "DOORWARD_ISSUER=http://localhost:"+server,
			"DOORWARD_ADMIN_LISTEN=127.0.0.1:"+freePort(t)))
	one.paste(next("sh", "./doorward serve").text)
	link := one.await(0, `(http://localhost:\d+/setup\?\S+)`)[1]
	one.await(0, `"msg":"ready"`)
	two := open(t, folder, append(env, "DOORWARD_ISSUER=http://localhost:"+server))

	tab.Goto(link)
	tab.Fill(`[name=name]`, "Yasmin")
	tab.Fill(`[name=email]`, "you@example.com")
	tab.Fill(`[name=password]`, "a boat with two blue oars")
	tab.Click(`form[action="/setup"] [type=submit]`)
	if text := tab.Text("main"); !strings.Contains(text, "first administrator") {
		t.Fatalf("after the set-up: %s", text)
	}
	two.run(next("sh", "user create").text)
	registered := two.run(next("sh", "client create").text)
	var client struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if err := json.Unmarshal([]byte(registered), &client); err != nil || client.ID == "" || client.Secret == "" {
		t.Fatalf("registered %s: %v", registered, err)
	}

	authorize := strings.TrimSpace(two.run(next("sh", "/oauth/authorize").text))
	tab.Goto(authorize)
	if text := tab.Text("main"); !strings.Contains(text, "My app") {
		t.Fatalf("the consent page: %s", text)
	}
	tab.Click(`[name=decision][value=approve]`)
	code := answered(t, tab, "http://127.0.0.1:"+app+"/callback?")
	next("sh", "read -r CODE\n")
	two.run("read -r CODE\n" + code + "\n")
	var tokens, renewed, about, gone struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		Scope   string `json:"scope"`
		Active  *bool  `json:"active"`
	}
	object := func(text string, into any) {
		t.Helper()
		from := strings.LastIndex(text, "\n{")
		if err := json.Unmarshal([]byte(text[from+1:]), into); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	object(two.run(next("sh", "authorization_code").text), &tokens)
	if tokens.Access == "" || tokens.Refresh == "" || tokens.Scope != "read write" {
		t.Fatalf("tokens: %+v", tokens)
	}
	introspect := next("sh", "/oauth/introspect").text
	object(two.run(introspect), &about)
	if about.Active == nil || !*about.Active || about.Scope != "read write" {
		t.Errorf("introspection: %+v", about)
	}
	refreshed := two.run(next("sh", "/oauth/revoke").text)
	object(refreshed[:strings.LastIndex(refreshed, "{}")], &renewed) // the response to the revocation is empty
	if renewed.Access == "" || renewed.Access == tokens.Access || renewed.Refresh == tokens.Refresh {
		t.Errorf("after the refresh: %s", refreshed)
	}
	object(two.run(introspect), &gone)
	if gone.Active == nil || *gone.Active {
		t.Errorf("introspection after the revocation: %+v", gone)
	}

	program := next("go", "x/oauth2")
	name := regexp.MustCompile("Save this as `([^`]+)`").FindStringSubmatch(program.before)
	if name == nil {
		t.Fatalf("the page does not say where to save the program: %s", program.before)
	}
	file := filepath.Join(folder, name[1])
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(program.text), 0o600); err != nil {
		t.Fatal(err)
	}
	from := len(two.text())
	two.paste(next("sh", "go run .").text)
	address := two.await(from, `open (http://\S+)`)[1]
	if !listens(address) {
		t.Fatalf("no server listens at %s", address)
	}
	tab.Goto(address)
	object(tab.Text("body"), &renewed)
	if !strings.HasPrefix(renewed.Access, "dw_at_") || !strings.HasPrefix(renewed.Refresh, "dw_rt_") {
		t.Errorf("the program shows %s", tab.Text("body"))
	}
	tab.Goto("http://localhost:" + server + "/settings/connected-apps")
	if text := tab.Text("main"); !strings.Contains(text, "My app") {
		t.Errorf("connected apps: %s", text)
	}
	three := open(t, folder, append(env, "DOORWARD_ISSUER=http://localhost:"+server))
	var key struct{ ID, Key string }
	object("\n"+strings.SplitN(three.run(next("sh", "key create --workspace acme").text), "\n", 2)[1], &key)
	if !strings.HasPrefix(key.Key, "sk_live_") || !strings.HasPrefix(key.ID, "key_") {
		t.Errorf("created the key %+v", key)
	}
	about.Active, about.Scope = nil, ""
	object("\n"+three.run(next("sh", "/oauth/introspect").text), &about)
	if about.Active == nil || !*about.Active || about.Scope != "read write" {
		t.Errorf("introspection of the key: %+v", about)
	}
	ended := three.run(next("sh", "key rotate").text)
	if strings.Count(ended, `"active": true`) != 1 ||
		strings.Index(ended, `"active": false`) > strings.Index(ended, `"active": true`) || strings.Contains(ended, key.Key) {
		t.Errorf("rotated and revoked:\n%s", ended)
	}
	tab.Goto("http://localhost:" + server + "/settings/workspaces/acme/api-keys")
	if text := tab.Text("main"); !strings.Contains(text, "Nightly import") {
		t.Errorf("the page that the chapter ends at does not show the key: %s", text)
	}
	if len(all) > 0 {
		t.Errorf("blocks that no test runs: %+v", all)
	}
}

// listens waits for a server that is about to listen.
func listens(address string) bool {
	host := strings.TrimPrefix(address, "http://")
	for range 200 {
		if c, err := net.DialTimeout("tcp", host, time.Second); err == nil {
			return c.Close() == nil
		}
		<-time.After(50 * time.Millisecond)
	}
	return false
}

// answered returns the code in the URL that the browser was last redirected to, where no server listens.
func answered(t *testing.T, tab *browser.Tab, prefix string) string {
	t.Helper()
	for _, r := range slices.Backward(tab.Requests()) {
		m := regexp.MustCompile(`[?&]code=([^&]+)`).FindStringSubmatch(r.Location)
		if m != nil && strings.HasPrefix(r.Location, prefix) {
			return m[1]
		}
	}
	t.Fatalf("the browser was not sent to %s", prefix)
	return ""
}

func output(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir = dir
	var complaint bytes.Buffer
	c.Stderr = &complaint
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, complaint.String())
	}
	return string(out)
}

// TestConsentPagePicture checks the page that README.md shows, and with -update takes its screenshot.
func TestConsentPagePicture(t *testing.T) {
	tab := browser.New(t)
	r := rig.Memory(t,
		rig.Options{Resources: []catalog.Resource{{ID: "https://api.example.com", Name: "Notes", Scopes: []catalog.Scope{
			{Name: "read", Text: "Read your notes"},
			{Name: "write", Text: "Write new notes and change old ones"},
			{Name: "delete", Text: "Delete notes"},
		}}}})
	r.User("dana@example.com", "Dana Reeve", false)
	app := r.App(management.ClientSpec{
		Name: "Fieldnotes", Site: "https://fieldnotes.example", RedirectURIs: []string{"https://fieldnotes.example/callback"},
	})
	tab.Goto(r.URL + "/oauth/authorize?" + app.Params("read write delete").Encode())
	tab.Fill(`[name=email]`, "dana@example.com")
	tab.Fill(`[name=password]`, rig.Password)
	tab.Click(`form[action="/login"] [type=submit]`)
	for _, want := range []string{
		"Fieldnotes", "Notes", "dana@example.com", "Read your notes", "Delete notes", "fieldnotes.example",
	} {
		if !strings.Contains(tab.Text("main"), want) {
			t.Errorf("the consent page lacks %q", want)
		}
	}
	root, err := setup.Root()
	if err != nil {
		t.Fatal(err)
	}
	picture := filepath.Join(root, "docs", "consent.png")
	if *update {
		tab.Screenshot(picture)
		if err := os.Chmod(picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(picture)
	if err != nil || info.Size() > 200<<10 {
		t.Errorf("the picture: %v, want one of at most 200 KiB: run go test ./test/readme -update", err)
	}
}
