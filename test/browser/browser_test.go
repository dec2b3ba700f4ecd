package browser_test

import (
	"bytes"
	"fmt"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"doorward/test/browser"
)

const head = `<!doctype html><html lang="en"><head><title>Page</title><meta name="viewport" content="width=device-width">
<style>body{background:#fff;color:#111} @media (prefers-color-scheme: dark){body{background:#111;color:#eee}}</style></head><body><main>`

func serve(t *testing.T) (address string) {
	t.Helper()
	mux := http.NewServeMux()
	write := func(w http.ResponseWriter, body string) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().
			Set("Content-Security-Policy", "default-src 'self'; style-src 'unsafe-inline'; img-src *; script-src 'nonce-n'")
		_, _ = fmt.Fprint(w, head+body+"</main></body></html>")
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		seen := "stranger"
		if c, err := r.Cookie("name"); err == nil {
			seen = c.Value
		}
		write(w, `<h1>Hello <b>`+seen+`</b></h1><form method="post" action="/name">
			<label>Name <input id="name" name="name" value="old" autocomplete="name"></label>
			<label><input type="checkbox" name="more" id="more"> More</label> <button>Send</button></form>
			<p id="script">off</p><script nonce="n">document.getElementById("script").textContent = "on"</script>`)
	})
	mux.HandleFunc("POST /name", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{
			Name: "name", Value: r.PostFormValue("name") + r.PostFormValue("more"), HttpOnly: true,
		})
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /bad", func(w http.ResponseWriter, _ *http.Request) {
		write(w, `<h1>Bad</h1><img src="/picture.png"><div style="width:600px">wide</div>`)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

func TestPersonFillsInAForm(t *testing.T) {
	address := serve(t)
	for _, script := range []bool{true, false} {
		t.Run(fmt.Sprintf("JavaScript %v", script), func(t *testing.T) {
			tab := browser.New(t)
			tab.JavaScript(script)
			tab.Goto(address)
			if got, want := tab.Text("#script"), map[bool]string{true: "on", false: "off"}[script]; got != want {
				t.Errorf("the page's script left %q, want %q", got, want)
			}
			tab.Fill("#name", "Ada")
			tab.Press("#more")
			tab.Click("button")
			if got := tab.Text("h1"); got != "Hello Adaon" {
				t.Errorf("the page says %q", got)
			}
			tab.Fill("#name", "")
			tab.Enter("#name", "Bob")
			if got := tab.Text("h1"); got != "Hello Bob" {
				t.Errorf("the page says %q", got)
			}
			if got := tab.URL().Path; got != "/" {
				t.Errorf("the page is at %s", got)
			}
			if c := tab.Cookies(address); len(c) != 1 || c[0].Value != "Bob" || !c[0].HTTPOnly {
				t.Errorf("cookies %+v", c)
			}
			tab.ClearCookies()
			tab.Reload()
			if got := tab.Text("b"); got != "stranger" {
				t.Errorf("after its cookies were cleared the browser is known as %q", got)
			}
			if v := tab.Axe(); len(v) != 0 {
				t.Errorf("axe: %v", v)
			}
			tab.Reload()
			if got, want := tab.Text("#script"), map[bool]string{true: "on", false: "off"}[script]; got != want {
				t.Errorf("after axe the page's script left %q, want %q", got, want)
			}
			if !tab.Has("form") || tab.Has("table") {
				t.Error("Has does not tell a form from a table")
			}
			if got := tab.Attribute("form", "action"); got != "/name" {
				t.Errorf("the form's action is %q", got)
			}
		})
	}
}

func TestTabsShareNothing(t *testing.T) {
	address := serve(t)
	first, second := browser.New(t), browser.New(t)
	first.Goto(address)
	first.Fill("#name", "Ada")
	first.Click("button")
	second.Goto(address)
	if got := second.Text("b"); got != "stranger" {
		t.Errorf("the second tab is known as %q", got)
	}
}

func TestRequestsShowRedirectsAndForeignHosts(t *testing.T) {
	address := serve(t)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	tab := browser.New(t)
	tab.Goto(address)
	tab.Fill("#name", "Ada")
	tab.Click("button")
	i := slices.IndexFunc(tab.Requests(), func(r browser.Request) bool { return r.Method == "POST" })
	if i < 0 {
		t.Fatalf("no POST among %+v", tab.Requests())
	}
	want := browser.Request{Method: "POST", URL: address + "/name", Type: "Document", Status: 303, Location: "/"}
	if got := tab.Requests()[i]; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if f := tab.Foreign(u.Host); len(f) != 0 {
		t.Errorf("foreign requests: %+v", f)
	}
	tab.Goto(strings.Replace(address, "127.0.0.1", "localhost", 1) + "/nowhere")
	if tab.Status() != 404 {
		t.Errorf("status %d, want 404", tab.Status())
	}
	if f := tab.Foreign(u.Host); len(f) == 0 {
		t.Error("a request to localhost is not foreign to 127.0.0.1")
	}
}

func TestAxeFindsPlantedFaults(t *testing.T) {
	tab := browser.New(t)
	tab.Goto(serve(t) + "/bad")
	v := tab.Axe()
	if !slices.ContainsFunc(v, func(v browser.Violation) bool {
		return v.ID == "image-alt" && strings.Contains(v.String(), "picture.png")
	}) {
		t.Errorf("axe did not find the image without a text: %v", v)
	}
}

func TestPagesAreSeenSmallAndDark(t *testing.T) {
	tab := browser.New(t)
	tab.Viewport(320, 640)
	tab.Dark(true)
	tab.Goto(serve(t) + "/bad")
	if got := browser.Evaluate[string](tab, `getComputedStyle(document.body).backgroundColor`); got != "rgb(17, 17, 17)" {
		t.Errorf("background %s in the dark", got)
	}
	if n := tab.Overflow(); n < 200 {
		t.Errorf("a box of 600 pixels hangs over by %d", n)
	}
	tab.Dark(false)
	if got := browser.Evaluate[string](tab,
		`getComputedStyle(document.body).backgroundColor`); got != "rgb(255, 255, 255)" {
		t.Errorf("background %s in the light", got)
	}
	tab.Viewport(1280, 800)
	if n := tab.Overflow(); n != 0 {
		t.Errorf("a box of 600 pixels hangs over by %d at 1280", n)
	}
	file := filepath.Join(t.TempDir(), "page.png")
	tab.Screenshot(file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(text))
	if err != nil || img.Bounds().Dx() != 1280 {
		t.Errorf("screenshot: %v, %v", img.Bounds(), err)
	}
}

// Chromium may report a navigation as aborted although a page arrives: the test checks that page, not Chromium's
// report.
func TestV79_AnAbortedNavigationIsJudgedByThePageThatArrives(t *testing.T) {
	begun := make(chan struct{})
	mux := http.NewServeMux()
	write := func(w http.ResponseWriter, body string) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprint(w, head+body+"</main></body></html>")
	}
	mux.HandleFunc("GET /first", func(w http.ResponseWriter, _ *http.Request) {
		write(w, `<h1>First</h1><script>fetch("/begun").then(() => { location = "/arrives" })</script>`)
	})
	mux.HandleFunc("GET /begun", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-begun:
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("GET /aborted", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent) // Chromium reports an aborted navigation
		close(begun)
	})
	mux.HandleFunc("GET /arrives", func(w http.ResponseWriter, _ *http.Request) { write(w, "<h1>Arrived</h1>") })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	tab := browser.New(t)
	tab.Goto(s.URL + "/first")
	tab.Goto(s.URL + "/aborted")
	if got := tab.Text("h1"); got != "Arrived" {
		t.Errorf("the page says %q", got)
	}
}

// A page may finish loading after the tab was told to go on. The tab waits for the next page all the same.
func TestV79_ALateLoadEventOfThePageBeforeDoesNotCount(t *testing.T) {
	next, loaded := make(chan struct{}), make(chan struct{})
	until := func(r *http.Request, c chan struct{}) {
		select {
		case <-c:
		case <-r.Context().Done():
		}
	}
	mux := http.NewServeMux()
	write := func(w http.ResponseWriter, body string) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprint(w, head+body+"</main></body></html>")
	}
	mux.HandleFunc("GET /first", func(w http.ResponseWriter, _ *http.Request) {
		write(w, `<a href="/slow">Slow</a>`)
	})
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, _ *http.Request) {
		write(w, `<h1>Slow</h1><img src="/picture.png" alt=""><script>onload = () => { fetch("/loaded") }</script>`)
	})
	mux.HandleFunc("GET /picture.png", func(_ http.ResponseWriter, r *http.Request) { until(r, next) })
	mux.HandleFunc("GET /loaded", func(http.ResponseWriter, *http.Request) { close(loaded) })
	mux.HandleFunc("GET /next", func(w http.ResponseWriter, r *http.Request) {
		close(next)
		until(r, loaded)
		write(w, `<h1>Next</h1><img src="/last.png" alt="">`)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	tab := browser.New(t)
	tab.Goto(s.URL + "/first")
	tab.Press("a")
	tab.Wait("h1")
	tab.Goto(s.URL + "/next")
	if got := browser.Evaluate[string](tab, `document.body.innerText + document.readyState`); got != "Nextcomplete" {
		t.Errorf("the page is %q", got)
	}
}
