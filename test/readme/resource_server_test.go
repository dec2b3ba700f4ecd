package readme

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"doorward/test/setup"
)

// TestResourceServerExampleRunsAsPrinted does what the example's README says, in two terminals. The answers must be
// those printed. Only the ports and the folder's name are changed.
func TestResourceServerExampleRunsAsPrinted(t *testing.T) {
	setup.Long(t)
	setup.Need(t, setup.ReadmePrograms())
	root, err := setup.Root()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "notes")
	server, api := freePort(t), freePort(t)
	all := blocks(strings.NewReplacer("8080", server, "9000", api, "../notes", folder).
		Replace(page(t, "examples/resource-server/README.md")))
	var env []string
	for _, one := range os.Environ() {
		if !strings.HasPrefix(one, "DOORWARD_") && !strings.HasPrefix(one, "GOFLAGS=") {
			env = append(env, one)
		}
	}
	env = append(env, "DOORWARD_ISSUER=http://localhost:"+server)
	one := open(t, root, append(env, "DOORWARD_LISTEN=127.0.0.1:"+server, "DOORWARD_ADMIN_LISTEN=127.0.0.1:"+freePort(t)))
	one.paste(all[0].text)
	one.await(0, `"msg":"ready"`)
	two := open(t, folder, env)
	compared := 0
	for i, b := range all[1:] {
		if b.language != "sh" {
			continue
		}
		from := len(two.text())
		wrote := two.run(b.text)
		if strings.Contains(b.text, "./resource-server") {
			two.await(from, `the API is at http://127\.0\.0\.1:`+api)
			if !listens("http://127.0.0.1:" + api) {
				t.Fatal("no server listens where the API says that it does")
			}
		}
		if next := all[1+i:]; len(next) > 1 && next[1].language == "json" {
			compared++
			if !strings.HasSuffix(wrote, next[1].text) {
				t.Errorf("%s writes\n%s\nwhere the page says\n%s", b.text, wrote, next[1].text)
			}
		}
	}
	if compared != 3 {
		t.Errorf("%d answers were compared, want 3", compared)
	}
}
