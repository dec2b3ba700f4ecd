package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"doorward/test/rig"
)

// startDemoCommand runs doorward demo until the test ends, and returns what it prints to be opened, by name.
func startDemoCommand(t *testing.T) map[string]string {
	t.Helper()
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"demo"}, environ(nil), strings.NewReader(""), write, io.Discard)
		_ = write.CloseWithError(err)
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the demo ended with %v", err)
		}
	})
	row := regexp.MustCompile(`^  (\S.*?) {2,}(.+?)(?: {3,}.*)?$`)
	printed := map[string]string{}
	lines := bufio.NewScanner(read)
	for lines.Scan() {
		if m := row.FindStringSubmatch(lines.Text()); m != nil {
			printed[m[1]] = m[2]
		}
		if strings.HasPrefix(lines.Text(), "Stop") {
			go func() { _, _ = io.Copy(io.Discard, read) }() // emails
			return printed
		}
	}
	t.Fatalf("the demo prints %v and ends: %v", printed, lines.Err())
	return nil
}

// person is a visitor of the demo's sites, with a browser that follows redirects.
type person struct {
	t      *testing.T
	client *http.Client
	at     *url.URL
	status int
	body   string
}

func newPerson(t *testing.T) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &person{t: t, client: &http.Client{Jar: jar}}
}

func (p *person) open(address string) {
	p.t.Helper()
	p.send(http.MethodGet, address, nil)
}

func (p *person) send(method, address string, form url.Values) {
	p.t.Helper()
	q, err := http.NewRequestWithContext(p.t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	if form != nil {
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	answer, err := p.client.Do(q)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	p.at, p.status, p.body = answer.Request.URL, answer.StatusCode, string(body)
}

// submit sends the first form of the page that goes to a path, with what the person enters or presses.
func (p *person) submit(action string, entered map[string]string) {
	p.t.Helper()
	doc, err := html.Parse(strings.NewReader(p.body))
	if err != nil {
		p.t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode || n.Data != "form" || attributes(n)["action"] != action {
			continue
		}
		form := url.Values{}
		for x := range n.Descendants() {
			if a := attributes(x); x.Type == html.ElementNode && x.Data == "input" && a["name"] != "" {
				form.Set(a["name"], a["value"])
			}
		}
		for name, value := range entered {
			form.Set(name, value)
		}
		to, err := p.at.Parse(action)
		if err != nil {
			p.t.Fatal(err)
		}
		p.send(http.MethodPost, to.String(), form)
		return
	}
	p.t.Fatalf("no form for %s at %s (status %d): %s", action, p.at, p.status, rig.Plain(p.body))
}

func attributes(n *html.Node) map[string]string {
	all := map[string]string{}
	for _, a := range n.Attr {
		all[a.Key] = a.Val
	}
	return all
}

// sees checks where the person is, and what the page says.
func (p *person) sees(path string, texts ...string) {
	p.t.Helper()
	if p.status != http.StatusOK || p.at.Path != path {
		p.t.Fatalf("status %d at %s, want %s: %s", p.status, p.at, path, rig.Plain(p.body))
	}
	for _, text := range texts {
		if !strings.Contains(rig.Plain(p.body), text) {
			p.t.Errorf("%s does not say %q: %s", path, text, rig.Plain(p.body))
		}
	}
}

// The demo has another identity provider, so that with only a browser a visitor can create an account with it, and the
// demo's user can connect theirs.
func TestDemoSignsInWithAnotherProvider(t *testing.T) {
	printed := startDemoCommand(t)
	doorward, lakeside := printed["Doorward itself"], printed["Lakeside ID"]
	if doorward == "" || lakeside == "" {
		t.Fatalf("the demo prints %v", printed)
	}

	robin := newPerson(t)
	robin.open(lakeside + "/")
	robin.sees("/", "a sample identity provider")
	robin.open(doorward + "/login")
	robin.submit("/login/lakeside", nil)
	robin.sees("/authorize", "Dana Demo demo@example.com", "Robin Reed robin@example.com")
	if got := "http://" + robin.at.Host; got != lakeside {
		t.Errorf("the question is asked at %s, want %s", got, lakeside)
	}
	robin.submit("/choose", map[string]string{"choice": "cancel"})
	robin.sees("/login")
	robin.submit("/login/lakeside", nil)
	robin.submit("/choose", map[string]string{"choice": "robin"})
	robin.sees("/signup/complete", "robin@example.com", "Lakeside ID")
	robin.submit("/signup/complete", nil) // the provider has told the name
	robin.sees("/settings/profile", "Robin Reed", "robin@example.com")

	again := newPerson(t)
	again.open(doorward + "/login")
	again.submit("/login/lakeside", nil)
	again.submit("/choose", map[string]string{"choice": "robin"})
	again.sees("/settings/profile", "robin@example.com")

	// There is an account with Dana's address, to which hers at the provider is not connected without a proof.
	dana := newPerson(t)
	dana.open(doorward + "/login")
	dana.submit("/login/lakeside", nil)
	dana.submit("/choose", map[string]string{"choice": "dana"})
	if dana.status != http.StatusConflict {
		t.Fatalf("status %d at %s: %s", dana.status, dana.at, rig.Plain(dana.body))
	}
	dana.open(doorward + "/login")
	dana.submit("/login", map[string]string{"email": printed["Sign in as"], "password": printed["Password"]})
	dana.open(doorward + "/settings/security")
	dana.submit("/settings/security/providers/lakeside/connect", nil)
	dana.sees("/authorize", "Who are you?")
	dana.submit("/choose", map[string]string{"choice": "cancel"})
	dana.sees("/settings/security", "Connect Lakeside ID")
	dana.submit("/settings/security/providers/lakeside/connect", nil)
	dana.submit("/choose", map[string]string{"choice": "dana"})
	dana.sees("/settings/security", "You can sign in with Lakeside ID now.")

	dana = newPerson(t)
	dana.open(doorward + "/login")
	dana.submit("/login/lakeside", nil)
	dana.submit("/choose", map[string]string{"choice": "dana"})
	dana.sees("/settings/profile", printed["Sign in as"])
}
