package vendors

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"doorward/test/setup"
)

// languages are the programs that run code blocks.
var languages = map[string]struct{ program, file string }{
	"js":     {"node", "sample.mjs"},
	"python": {"python", "sample.py"},
	"php":    {"php", "sample.php"},
	"ruby":   {"ruby", "sample.rb"},
}

// generated are the values that differ from run to run, and the sample values that a page shows for them.
var generated = []struct {
	pattern *regexp.Regexp
	shown   string
}{
	{regexp.MustCompile(`\beyJ[0-9A-Za-z_-]+\.[0-9A-Za-z_-]+\.[0-9A-Za-z_-]+`), "eyJ…"},
	{regexp.MustCompile(`\b((?:sk|sophic|torvus)_(?:live|test)_|pat_|dw_[a-z]{2}_)[0-9A-Za-z]{49}\b`), "${1}…"},
	{regexp.MustCompile(`_…[0-9A-Za-z]{4}\b`), "_…f3Kq"},
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "0199c0de-7a3b-7c41-9d2e-5f60718293a4"},
	{regexp.MustCompile(`foreign:[0-9a-z]+`), "foreign:…"},
	{regexp.MustCompile(`20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z`), "2030-01-31T12:00:00Z"},
	{regexp.MustCompile(`((?i:reset)"?: ?)[0-9]{10}`), "${1}1896094800"},
	{regexp.MustCompile(`((?i:retry.?after)"?: ?)3[56][0-9]{2}\b`), "${1}3600"},
	{regexp.MustCompile(`Try again in 3[56][0-9]{2} `), "Try again in 3600 "},
	{regexp.MustCompile(`Request id: [0-9a-f]+`), "Request id: …"},
	{regexp.MustCompile(`"request_id":"[0-9a-f]+"`), `"request_id":"…"`},
}

// shown formats output as a page shows it: with sample values in place of generated ones, and long JSON over several
// lines.
func shown(language, output string) string {
	for _, g := range generated {
		output = g.pattern.ReplaceAllString(output, g.shown)
	}
	output = strings.TrimRight(output, "\n") + "\n"
	var b bytes.Buffer
	if language == "json" && len(output) > 120 && json.Indent(&b, []byte(output), "", "  ") == nil {
		// Short lists and objects stay on their line.
		short := regexp.MustCompile(`([\[{])\s+([^\[\]{}]{1,110}?)\s+([\]}])`)
		return short.ReplaceAllStringFunc(b.String(), func(s string) string {
			if one := regexp.MustCompile(`\n\s*`).ReplaceAllString(s, " "); len(one) < 110 && strings.Count(s, "\n") < 8 {
				return one[:1] + strings.TrimSpace(one[1:len(one)-1]) + one[len(one)-1:]
			}
			return s
		}) // keeps the newline at the end
	}
	return output
}

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// TestReadmes starts each example as make does, pastes what it prints, and runs the blocks of its page one after the
// other. The output must be what stands below each block.
func TestReadmes(t *testing.T) {
	setup.Long(t)
	setup.Need(t, setup.ReadmePrograms())
	node, err := setup.Node()
	setup.Need(t, err)
	python, err := setup.Python()
	setup.Need(t, err)
	programs := map[string]string{"node": node, "python": python}
	for name, find := range map[string]func() (string, error){"php": setup.PHP, "ruby": setup.Ruby} {
		path, err := find()
		setup.Need(t, err)
		programs[name] = path
	}
	root, err := setup.Root()
	ok(t, err)
	for _, v := range all {
		t.Run(v.name, func(t *testing.T) {
			var chosen [3]string
			for i := range chosen {
				port, err := setup.FreePort(t.Context())
				ok(t, err)
				chosen[i] = strconv.Itoa(port)
			}
			back := map[string]string{}
			exports := startExample(t, root, v.name, chosen)
			file := filepath.Join(root, "examples", v.name, "README.md")
			text, err := os.ReadFile(file)
			ok(t, err)
			page := ports.ReplaceAllStringFunc(string(text), func(address string) string {
				m := ports.FindStringSubmatch(address)
				port := chosen[m[2][1]-'0']
				back[m[1]+":"+port] = address
				return m[1] + ":" + port
			})
			sh := openShell(t, programs)
			sh.run(t, exports)
			browser := &vendor{name: v.name, app: "http://localhost:" + chosen[0]}
			last, printed, waiting := 0, "", ""
			var b strings.Builder
			for _, m := range fence.FindAllStringSubmatchIndex(page, -1) {
				language, code := page[m[2]:m[3]], page[m[4]:m[5]]
				answer := strings.TrimSpace(page[last:m[0]]) == "" && waiting != "" && (language == "json" || language == "text")
				switch {
				case answer: // the answer to the block before
					asPrinted := strings.NewReplacer(flatten(back)...)
					code, want := asPrinted.Replace(code), shown(language, asPrinted.Replace(printed))
					b.WriteString(page[last:m[4]])
					b.WriteString(want)
					last, waiting = m[5], ""
					if compact(language, code) != compact(language, want) && !*update {
						t.Errorf("examples/%s/README.md shows\n%s\nand the answer is\n%s", v.name, code, want)
					}
					continue
				case code == "read -r CODE\n":
					waiting = ""
					sh.run(t, code+browser.visitor(t).authorize(t, strings.TrimSpace(printed)).Get("code")+"\n")
				case language == "sh" && strings.HasPrefix(code, "npx "):
					printed = sh.connect(t, code, browser.visitor(t))
					waiting = code
				case language == "sh":
					printed = sh.run(t, code)
					waiting = code
				case languages[language].program != "":
					l := languages[language]
					ok(t, os.WriteFile(filepath.Join(sh.folder, l.file), []byte(code), 0o600))
					printed = sh.run(t, "$"+strings.ToUpper(l.program)+" "+l.file+"\n")
					waiting = code
				default:
					waiting = ""
				}
				b.WriteString(page[last:m[1]])
				last = m[1]
			}
			b.WriteString(page[last:])
			if *update {
				ok(t, os.WriteFile(file, []byte(strings.NewReplacer(flatten(back)...).Replace(b.String())), 0o600))
			}
		})
	}
}

// visitor signs the sample user in with another browser.
func (v *vendor) visitor(t *testing.T) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	ok(t, err)
	c := *client
	c.Jar = jar
	p := &person{v: v, client: &c}
	ok(t, p.logIn("dana@example.com"))
	return p
}

// connect runs a client of an MCP server, which has its user open a page and allow it. It returns the JSON that the
// client then prints.
func (s *shell) connect(t *testing.T, code string, p *person) string {
	t.Helper()
	opens := regexp.MustCompile(`^Please navigate to: (\S+)`)
	opened := 0
	printed := s.follow(t, code, func(line string) {
		m := opens.FindStringSubmatch(line)
		if m == nil {
			return
		}
		opened++
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.allow(t, m[1], "acme").String(), http.NoBody)
		ok(t, err)
		if a := send(t, client, q); a.status != http.StatusOK {
			t.Errorf("the client answers %s", a)
		}
	})
	_, result, found := strings.Cut(printed, "\n{\n")
	if opened != 1 || !found {
		t.Errorf("the client had the user open %d pages, and printed\n%s", opened, printed)
	}
	return "{\n" + result
}

func flatten(m map[string]string) (pairs []string) {
	for from, to := range m {
		pairs = append(pairs, from, to)
	}
	return pairs
}

// compact removes the white space from a JSON answer.
func compact(language, text string) string {
	var b bytes.Buffer
	if language == "json" && json.Compact(&b, []byte(text)) == nil {
		return b.String()
	}
	return text
}

// startExample runs make example-NAME until the test ends, and returns the lines to paste.
func startExample(t *testing.T, root, name string, ports [3]string) (exports string) {
	t.Helper()
	args := "--ports " + strings.Join(ports[:], ",")
	if name != all[0].name { // the first one builds the program, too
		args += " --doorward " + binary
	}
	cmd := exec.Command("make", "--no-print-directory", "example-"+name, "ARGS="+args)
	cmd.Dir = root
	// What an earlier run left when it was killed does not count here.
	temporary := t.TempDir()
	cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	pipe, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	t.Cleanup(func() {
		ok(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)) // Ctrl-C
		_, _ = io.Copy(io.Discard, pipe)
		_ = cmd.Wait() // make and go run report that they were interrupted
		left, _ := filepath.Glob(filepath.Join(temporary, "*"))
		if len(left) > 0 {
			t.Errorf("the example leaves %v behind:\n%s", left, complaint.String())
		}
	})
	var all []string
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		all = append(all, lines.Text())
		if strings.HasPrefix(lines.Text(), "Stop with Ctrl-C") {
			return strings.Join(slices.DeleteFunc(all, func(line string) bool { return !strings.HasPrefix(line, "export ") }),
				"\n") + "\n"
		}
	}
	t.Fatalf("make example-%s: %s\n%s", name, strings.Join(all, "\n"), complaint.String())
	return ""
}

// shell is a shell that receives one block after the other.
type shell struct {
	folder string
	in     io.Writer
	out    *bufio.Reader
	blocks int
}

func openShell(t *testing.T, programs map[string]string) *shell {
	t.Helper()
	s := &shell{folder: t.TempDir()}
	cmd := exec.CommandContext(t.Context(), "bash", "--norc", "--noprofile")
	cmd.Dir, cmd.Env = s.folder, os.Environ()
	for name, path := range programs {
		cmd.Env = append(cmd.Env, strings.ToUpper(name)+"="+path)
	}
	root, err := setup.Root()
	ok(t, err)
	cmd.Env = append(cmd.Env, "EXAMPLES="+filepath.Join(root, "examples"))
	cmd.Env = append(cmd.Env, inspector(t, programs["node"])...)
	in, err := cmd.StdinPipe()
	ok(t, err)
	out, err := cmd.StdoutPipe()
	ok(t, err)
	cmd.Stderr = cmd.Stdout
	ok(t, cmd.Start())
	t.Cleanup(func() { _ = in.Close() })
	s.in, s.out = in, bufio.NewReader(out)
	return s
}

// inspector returns environment variables with which npx runs the installed MCP Inspector, by itself: it neither opens a
// browser nor uses the keyring of the person who runs the test.
func inspector(t *testing.T, node string) []string {
	t.Helper()
	folder, err := setup.NodePackage("@modelcontextprotocol/inspector")
	setup.Need(t, err)
	port, err := setup.FreePort(t.Context())
	ok(t, err)
	home := t.TempDir()
	npx := fmt.Sprintf("#!/bin/sh\n[ \"$1 $2\" = '-y @modelcontextprotocol/inspector' ] || exit 1\nshift 2\nexec '%s' '%s' \"$@\" </dev/null\n",
		node, filepath.Join(folder, "clients", "launcher", "build", "index.js"))
	ok(t, os.WriteFile(filepath.Join(home, "npx"), []byte(npx), 0o700))
	return []string{
		"PATH=" + home + string(os.PathListSeparator) + os.Getenv("PATH"), "MCP_STORAGE_DIR=" + home,
		"MCP_INSPECTOR_SECRET_STORE=file", "MCP_AUTO_OPEN_ENABLED=true", "BROWSER=true", "DISPLAY=", "WAYLAND_DISPLAY=",
		fmt.Sprintf("MCP_OAUTH_CALLBACK_URL=http://127.0.0.1:%d/oauth/callback", port),
	}
}

// run returns the output of a block.
func (s *shell) run(t *testing.T, code string) string {
	t.Helper()
	return s.follow(t, code, func(string) {})
}

// follow returns the output of a block, and passes on each line as soon as it is printed.
func (s *shell) follow(t *testing.T, code string, heard func(line string)) string {
	t.Helper()
	s.blocks++
	mark := fmt.Sprintf("end of block %d", s.blocks)
	_, err := io.WriteString(s.in, code+"\necho; echo '"+mark+"'\n")
	ok(t, err)
	var b strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if strings.TrimSpace(line) == mark {
			return strings.TrimSuffix(strings.TrimSuffix(b.String(), "\n"), "\n")
		}
		b.WriteString(line)
		heard(line)
		if errors.Is(err, io.EOF) {
			t.Fatalf("the shell ended at\n%s\n%s", code, b.String())
		}
		ok(t, err)
	}
}
