// Package pages checks every page in a real browser, as a user sees it.
package pages

import (
	"bufio"
	"context"
	"fmt"
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

// shooting reports whether screenshots are wanted.
func shooting() bool { return os.Getenv("DOORWARD_TEST_SCREENSHOTS") != "" }

// shot saves a screenshot of the page to the folder in DOORWARD_TEST_SCREENSHOTS, for people to look at.
func shot(t *testing.T, tab *browser.Tab, name string) {
	t.Helper()
	if shooting() {
		tab.Screenshot(filepath.Join(os.Getenv("DOORWARD_TEST_SCREENSHOTS"), name+".png"))
	}
}

// demo starts "doorward demo" as a user does, and returns its output.
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

// The README's promise: one command prints a URL and a login, and the browser shows every request of the whole flow.
func TestV68_DemoShowsTheWholeCircle(t *testing.T) {
	tab := browser.New(t)
	appURL, email, password := demo(t)
	tab.Goto(appURL)
	shot(t, tab, "demo-1-app")
	tab.Click(`form[action="/connect"] button`)
	shot(t, tab, "demo-2-login")
	tab.Fill(`[name=email]`, email)
	tab.Click(`form[action="/login"] [type=submit]`)
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
		if text := tab.Text("#latest"); !strings.Contains(text, want) {
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
	showsEveryRequest(t, tab)
	for _, width := range []int{320, 1280} {
		tab.Viewport(width, 900)
		for _, dark := range []bool{false, true} {
			tab.Dark(dark)
			shot(t, tab, fmt.Sprintf("demo-4-connected-%d-%v", width, dark))
			for _, violation := range tab.Axe() {
				t.Errorf("%d px, dark %v: %v", width, dark, violation)
			}
			if over := tab.Overflow(); over > 0 {
				t.Errorf("at %d px the page is %d px too wide", width, over)
			}
		}
	}
	if foreign := tab.Foreign("127.0.0.1", "localhost"); len(foreign) > 0 {
		t.Errorf("loaded from elsewhere: %v", foreign)
	}
}

// showsEveryRequest checks that the demo's page lists the requests of the whole flow in order, each with its sender,
// its receiver and its response. No secret is shown in full.
func showsEveryRequest(t *testing.T, tab *browser.Tab) {
	t.Helper()
	html := tab.HTML()
	const asksAPI, asksServer = "app to API", "API to Doorward"
	api := func(method, status string, active bool) [][]string {
		inner := []string{
			asksServer, "/oauth/introspect", "Authorization: Basic ", "token=dw_at_", "200 OK", `"active": true`,
		}
		if !active {
			inner[5] = `"active": false`
		}
		return [][]string{{asksAPI, method + " http", "/notes", "Authorization: Bearer dw_at_", status}, inner}
	}
	want := [][]string{
		{
			"browser to Doorward", "GET http://localhost:", "/oauth/authorize", "client_id=app_", "code_challenge=",
			"code_challenge_method=S256", "redirect_uri=", "response_type=code", "scope=read", "state=",
		},
		{"browser to app", "/callback", "code=", "iss=", "state=", "303 See Other"},
		{
			"app to Doorward", "POST http://localhost:", "/oauth/token", "Authorization: Basic ", "code=", "code_verifier=",
			"grant_type=authorization_code", "200 OK", "Content-Type: application/json", "Cache-Control: no-store",
			`"access_token": "dw_at_`, `"refresh_token": "dw_rt_`,
		},
	}
	want = append(want, api("POST", "200 OK", true)...)
	want = append(want, api("GET", "200 OK", true)...)
	want = append(want, api("DELETE", "403 Forbidden", true)...)
	want = append(want, []string{
		"app to Doorward", "grant_type=refresh_token", "refresh_token=dw_rt_", "200 OK", `"dw_at_`,
	})
	want = append(want, api("GET", "200 OK", true)...)
	want = append(want, []string{"app to Doorward", "/oauth/revoke", "token=dw_rt_", "200 OK"})
	want = append(want, api("GET", "401 Unauthorized", false)...)
	for i, parts := range want {
		step := fmt.Sprintf(".steps > li:nth-child(%d)", i+1)
		if !tab.Has(step) {
			t.Fatalf("the page shows %d requests, want %d", i, len(want))
		}
		text := strings.Join(strings.Fields(strings.ReplaceAll(tab.Text(step), "→", "")), " ")
		for _, part := range parts {
			if !strings.Contains(text, part) {
				t.Errorf("request %d does not show %q:\n%s", i+1, part, text)
			}
		}
	}
	if tab.Has(fmt.Sprintf(".steps > li:nth-child(%d)", len(want)+1)) {
		t.Errorf("the page shows more than %d requests", len(want))
	}
	secret := regexp.MustCompile(`dw_[a-z]+_[\w-]{12,}|Basic [\w+/=]{20,}|[?&;](code|code_verifier|token)=[\w-]{20,}`).
		FindString(html)
	if secret != "" {
		t.Errorf("the page shows a secret in whole: %s", secret)
	}
}
