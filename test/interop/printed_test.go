package interop

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"doorward/test/browser"
	"doorward/test/setup"
)

// printed is a code block of a page.
type printed struct {
	language, text string
	file           string // where the page says to save it; empty: nowhere
}

// TestConnectingAnAppAsPrinted does what the chapter about keys says, block by block, in an empty folder: it saves the
// programs, runs the commands, and has a browser open the addresses that the programs print. Only the addresses, the
// client id and the port of the app are changed. The server demands nonces in DPoP proofs.
func TestConnectingAnAppAsPrinted(t *testing.T) {
	setup.Long(t)
	a := newAuthority(t)
	s := a.site(t, "dpop_nonces: true\n")
	folder := s.folder
	keys := "https://127.0.0.1:" + a.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(folder, "jwks.json"))
	})) + "/jwks.json"
	commands(t, folder)
	tab := browser.New(t)
	tab.TrustCertificates()

	changes := []string{
		"https://auth.example.com", s.issuer, "https://api.example.com", s.api, "https://app.example.net/jwks.json", keys,
		"8099", freePort(t),
	}
	notes := regexp.MustCompile(`^200 \{"notes":\[\],"for":"app_[^"]+"\}\n$`)
	var kids []string // of the public keys, the latest first
	rotated := func() {
		t.Helper()
		before := kids
		kids = publicKeys(t, filepath.Join(folder, "jwks.json"))
		if len(kids) != len(before)+1 || slices.Contains(before, kids[0]) || !slices.Equal(kids[1:], before) {
			t.Errorf("the set has the keys %v after %v", kids, before)
		}
	}
	// What each command must print, or the page must show that it leads to.
	want := map[string]func(out string){
		"node make-key.mjs\n": func(string) { rotated() },
		"doorward client create": func(out string) {
			var client struct {
				ID     string `json:"client_id"`
				Secret string `json:"client_secret"`
			}
			if err := json.Unmarshal([]byte(out), &client); err != nil || client.ID == "" || client.Secret != "" {
				t.Fatalf("registered %s", out)
			}
			changes = append(changes, "app_…", client.ID)
		},
		"node service.mjs\n":   func(out string) { tokens(t, out, "bearer") },
		"python3 service.py\n": func(out string) { tokens(t, out, "Bearer") },
		"doorward client update app_… --jwks \"\"": func(string) {
			shown, err := s.doorward("client", "show", changes[len(changes)-1], "--json").Output()
			if err != nil || !strings.Contains(string(shown), keys) {
				t.Errorf("the keys are not at their URL: %v\n%s", err, shown)
			}
		},
		"node make-key.mjs\nnode service.mjs\n": func(out string) {
			rotated()
			tokens(t, out, "bearer")
		},
		"doorward client update app_… --jwks-uri": func(string) {
			shown, err := s.doorward("client", "show", changes[len(changes)-1], "--json").Output()
			if err != nil || strings.Contains(string(shown), keys) || !strings.Contains(string(shown), kids[0]) {
				t.Errorf("the keys are not registered: %v\n%s", err, shown)
			}
		},
		"node app.mjs\n": func(out string) { tokens(t, out, "bearer") },
		"node dpop.mjs\n": func(out string) {
			if !notes.MatchString(out) {
				t.Errorf("with DPoP, the API's answer is %s", out)
			}
		},
		"node nonce.mjs\n": func(out string) {
			if !notes.MatchString(out) {
				t.Errorf("with a nonce, the API's answer is %s", out)
			}
		},
		"doorward client update app_… --fapi": func(string) {},
		"node fapi.mjs\n": func(out string) {
			if !regexp.MustCompile(`^\{"sameRefreshToken":true,"notes":\{"notes":\[\],"for":"user_[^"]+"\}\}$`).MatchString(out) {
				t.Errorf("with fapi, the app shows %s", out)
			}
		},
	}
	saved := map[string]string{} // by name, as it is printed
	for _, b := range chapterOfKeys(t) {
		text := strings.NewReplacer(changes...).Replace(b.text)
		if b.language != "sh" {
			if b.file == "" {
				t.Fatalf("the page does not say where to save this:\n%s", b.text)
			}
			if err := os.WriteFile(filepath.Join(folder, b.file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			saved[b.file] = b.text
			continue
		}
		found := ""
		for begin := range want {
			if strings.HasPrefix(b.text, begin) && len(begin) > len(found) {
				found = begin
			}
		}
		if found == "" {
			t.Fatalf("no test knows what this is to print:\n%s", b.text)
		}
		check := want[found]
		delete(want, found)
		if name := strings.TrimSpace(strings.TrimPrefix(b.text, "node ")); strings.Contains(saved[name], "createServer") {
			check(openApp(t, tab, folder, text))
			continue
		}
		check(shell(t, folder, text))
	}
	if len(want) > 0 {
		t.Errorf("the page lacks %d commands that this test knows: %v", len(want), want)
	}
}

// chapterOfKeys returns the code blocks of docs/connecting-an-app.md about keys.
func chapterOfKeys(t *testing.T) (blocks []printed) {
	t.Helper()
	root, err := setup.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "connecting-an-app.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, chapter, found := strings.Cut(string(page), "\n## Keys instead of secrets\n")
	if !found {
		t.Fatal("docs/connecting-an-app.md has no chapter about keys")
	}
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	saves := regexp.MustCompile("Save this as\\s`([^`]+)`")
	for i, part := range strings.Split(chapter, "```") {
		if i%2 == 0 {
			continue
		}
		language, text, _ := strings.Cut(part, "\n")
		b := printed{language: language, text: text}
		before := strings.Split(strings.TrimSpace(strings.Split(chapter, "```"+part)[0]), "\n\n")
		if m := saves.FindStringSubmatch(before[len(before)-1]); m != nil {
			b.file = m[1]
		}
		blocks = append(blocks, b)
	}
	return blocks
}

// commands makes the commands of the page known to the shells in a folder, and the Node packages to programs there.
func commands(t *testing.T, folder string) {
	t.Helper()
	node, err := setup.Node()
	setup.Need(t, err)
	python, err := setup.Python()
	setup.Need(t, err)
	for _, name := range []string{"openid-client", "oauth4webapi"} {
		_, err := setup.NodePackage(name)
		setup.Need(t, err)
	}
	packages, err := setup.NodeFolder()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for name, to := range map[string]string{
		filepath.Join(bin, "node"):            node,
		filepath.Join(bin, "python3"):         python,
		filepath.Join(bin, "doorward"):        binary,
		filepath.Join(folder, "node_modules"): filepath.Join(packages, "node_modules"),
	} {
		if err := os.Symlink(to, name); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("DOORWARD_CONFIG", "doorward.yaml")
}

// shell runs commands in a folder and returns what they print.
func shell(t *testing.T, folder, text string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "sh", "-e")
	c.Dir, c.Stdin = folder, strings.NewReader(text)
	var problem strings.Builder
	c.Stderr = &problem
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %s\n%s%s", err, text, out, problem.String())
	}
	return string(out)
}

// openApp runs a program that prints the address where it listens, has the user sign in to it, and returns what it then
// shows.
func openApp(t *testing.T, tab *browser.Tab, folder, command string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "sh", "-c", "exec "+command)
	c.Dir = folder
	var problem lines
	c.Stderr = &problem
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if t.Failed() {
			t.Logf("%s wrote:\n%s", command, &problem)
		}
	}()
	first, err := bufio.NewReader(out).ReadString('\n')
	address, found := strings.CutPrefix(strings.TrimSpace(first), "open ")
	if err != nil || !found {
		t.Fatalf("%s prints %q: %v\n%s", command, first, err, &problem)
	}
	visit(t, tab, address, "approve")
	return tab.Text("body")
}

// publicKeys returns the ids of the keys in a file, which must all be public.
func publicKeys(t *testing.T, file string) (ids []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(text, &set); err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		if k["d"] != "" {
			t.Errorf("%s has a private key", file)
		}
		ids = append(ids, k["kid"])
	}
	return ids
}

// tokens checks the answer of the token endpoint as a program shows it.
func tokens(t *testing.T, text, kind string) {
	t.Helper()
	var got struct {
		Token string `json:"access_token"`
		Type  string `json:"token_type"`
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil || !strings.HasPrefix(got.Token, "dw_at_") || got.Type != kind {
		t.Errorf("the program shows %s", text)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := setup.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}
