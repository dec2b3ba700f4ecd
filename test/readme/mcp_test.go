package readme

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"doorward/test/browser"
	"doorward/test/setup"
)

// TestMCPClientConnectsAsPrinted does what the README's chapter about MCP says, in an empty folder: the servers in one
// terminal, the client in another, and a browser for the pages. Only the ports and the folder's name are changed. A
// newcomer has network access; here npm and npx use the packages that are installed for the tests.
func TestMCPClientConnectsAsPrinted(t *testing.T) {
	setup.Long(t)
	tab := browser.New(t)
	root, err := setup.Root()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "sums")
	server, api := freePort(t), freePort(t)
	all := blocks(strings.NewReplacer("8080", server, "9000", api, "../sums", folder).
		Replace(chapter(t, page(t, "README.md"), "Connect an MCP client")))
	if len(all) != 5 {
		t.Fatalf("the chapter has %d blocks", len(all))
	}
	env := append(withPackages(t), "DOORWARD_ISSUER=http://localhost:"+server, "DOORWARD_LISTEN=127.0.0.1:"+server,
		"DOORWARD_ADMIN_LISTEN=127.0.0.1:"+freePort(t))
	one := open(t, root, env)
	one.run(all[0].text)
	for _, b := range all[1:3] {
		name := regexp.MustCompile("Save this as `([^`]+)`").FindStringSubmatch(b.before)
		if name == nil {
			t.Fatalf("the page does not say where to save this:\n%s", b.text)
		}
		if err := os.WriteFile(filepath.Join(folder, name[1]), []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	one.paste(all[3].text)
	link := one.await(0, `(http://localhost:\d+/setup\?\S+)`)[1]
	one.await(0, `"msg":"ready"`)
	if !listens("http://127.0.0.1:" + api) {
		t.Fatal("the MCP server does not listen")
	}
	tab.Goto(link)
	tab.Fill(`[name=name]`, "Yasmin")
	tab.Fill(`[name=email]`, "you@example.com")
	tab.Fill(`[name=password]`, "a boat with two blue oars")
	tab.Click(`form[action="/setup"] [type=submit]`)

	two := open(t, folder, env)
	two.paste(all[4].text + "echo \"ended with $?\"\n")
	tab.Goto(two.await(0, `Please navigate to: (http://localhost:\d+/oauth/authorize\S+)\n`)[1])
	for _, want := range []string{"MCP Inspector", "Use the tools of Sums", "This app is not verified"} {
		if text := tab.Text("main"); !strings.Contains(text, want) {
			t.Errorf("the consent page lacks %q:\n%s", want, text)
		}
	}
	tab.Click(`[name=decision][value=approve]`)
	if got := two.await(0, `(?s)"text": "(\d+)".*ended with (\d+)\n`); got[1] != "42" || got[2] != "0" {
		t.Errorf("the client prints %s and ends with %s", got[1], got[2])
	}
}

// withPackages returns the environment of a terminal in which npm and npx use the Node packages that are installed for
// the tests. The MCP Inspector neither opens a browser nor uses the keyring of the person who runs the test.
func withPackages(t *testing.T) []string {
	t.Helper()
	node, err := setup.Node()
	setup.Need(t, err)
	inspector, err := setup.NodePackage("@modelcontextprotocol/inspector")
	setup.Need(t, err)
	packages := filepath.Dir(filepath.Dir(inspector))
	bin := t.TempDir()
	for name, script := range map[string]string{
		"node": fmt.Sprintf("exec '%s' \"$@\"", node),
		"npm":  fmt.Sprintf("[ \"$1\" = install ] && [ -d '%[1]s'/\"$2\" ] && ln -s '%[1]s' node_modules", packages),
		"npx": fmt.Sprintf("[ \"$1 $2\" = '-y @modelcontextprotocol/inspector' ] || exit 1\nshift 2\nexec '%s' '%s' \"$@\"",
			node, filepath.Join(inspector, "clients", "launcher", "build", "index.js")),
	} {
		program := "#!/bin/sh\n" + script + " </dev/null\n" // what is pasted next is not for the program
		if err := os.WriteFile(filepath.Join(bin, name), []byte(program), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var env []string
	for _, one := range os.Environ() {
		if !strings.HasPrefix(one, "DOORWARD_") && !strings.HasPrefix(one, "GOFLAGS=") && !strings.HasPrefix(one, "PATH=") {
			env = append(env, one)
		}
	}
	return append(env, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "MCP_STORAGE_DIR="+t.TempDir(),
		"MCP_INSPECTOR_SECRET_STORE=file", "MCP_AUTO_OPEN_ENABLED=true", "BROWSER=true", "DISPLAY=", "WAYLAND_DISPLAY=",
		"MCP_OAUTH_CALLBACK_URL=http://127.0.0.1:"+freePort(t)+"/oauth/callback")
}
