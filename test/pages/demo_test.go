// Package pages looks at every page in a real browser, as a person would.
package pages

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"doorward/test/browser"
	"doorward/test/setup"
)

// shot writes a picture of the page into the folder that DOORWARD_TEST_SCREENSHOTS names, for people to look at.
func shot(t *testing.T, tab *browser.Tab, name string) {
	t.Helper()
	if dir := os.Getenv("DOORWARD_TEST_SCREENSHOTS"); dir != "" {
		tab.Screenshot(filepath.Join(dir, name+".png"))
	}
}

// demo starts "doorward demo" as a person does and gives what it prints.
func demo(t *testing.T) (appURL, email, password string) {
	t.Helper()
	binary := setup.Doorward(t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	c := exec.CommandContext(ctx, binary, "demo")
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = c.Wait()
	})
	value := regexp.MustCompile(`^\s*(Open|Sign in as|Password)\s+(.*)$`)
	found := map[string]string{}
	for lines := bufio.NewScanner(out); lines.Scan() && !strings.HasPrefix(lines.Text(), "Stop"); {
		if m := value.FindStringSubmatch(lines.Text()); m != nil {
			found[m[1]] = strings.TrimSpace(strings.Split(m[2], "   ")[0])
		}
	}
	return found["Open"], found["Sign in as"], found["Password"]
}

// The README's promise: one command, a printed URL and login, and the whole circle in the browser.
func TestDemoShowsTheWholeCircle(t *testing.T) {
	tab := browser.New(t)
	appURL, email, password := demo(t)
	tab.Goto(appURL)
	shot(t, tab, "demo-1-app")
	tab.Click(`form[action="/connect"] button`)
	shot(t, tab, "demo-2-login")
	tab.Fill(`[name=email]`, email)
	tab.Fill(`[name=password]`, password)
	tab.Click(`form[action="/login"] [type=submit]`)
	shot(t, tab, "demo-3-consent")
	if text := tab.Text("main"); !strings.Contains(text, "Fieldnotes") || !strings.Contains(text, email) {
		t.Errorf("the consent page says neither who asks nor for whom: %s", text)
	}
	tab.Press(`input[name=scope][value=delete]`)
	tab.Click(`[name=decision][value=approve]`)
	if text := tab.Text("main"); !strings.Contains(text, "You allowed: read, write.") {
		t.Fatalf("connected page: %s", text)
	}
	steps := func(button, want string) {
		t.Helper()
		tab.Click(button)
		if text := tab.Text(".steps li"); !strings.Contains(text, want) {
			t.Errorf("after %s: %s, want %s", button, text, want)
		}
	}
	steps(`form:has([value=POST]) button`, "200 OK")
	steps(`form:has([value=GET]) button`, "Seen at")
	steps(`form:has([value=DELETE]) button`, "403 Forbidden")
	steps(`form[action="/refresh"] button`, "dw_rt_")
	steps(`form:has([value=GET]) button`, "200 OK")
	steps(`form[action="/revoke"] button`, "200 OK")
	steps(`form:has([value=GET]) button`, "401 Unauthorized")
	shot(t, tab, "demo-4-connected")
	for _, violation := range tab.Axe() {
		t.Error(violation)
	}
	if foreign := tab.Foreign("127.0.0.1", "localhost"); len(foreign) > 0 {
		t.Errorf("loaded from elsewhere: %v", foreign)
	}
}
