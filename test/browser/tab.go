package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Tab is a browser tab. It must be used by one goroutine only. Selectors are CSS and mean the first matching element; a
// method waits until there is one.
type Tab struct {
	tb       testing.TB
	ctx      context.Context
	noScript bool

	mu        sync.Mutex
	requests  []Request
	exchanges map[string]int // the browser's request id → index in requests of its latest hop
	warned    int            // how often a page asked for confirmation before it was left
}

// Request is one hop of a request that the tab made: after a redirect, the next hop is a Request of its own.
type Request struct {
	Method   string
	URL      string
	Type     string // Document, Stylesheet, Script, Image, Font, Fetch, …
	Status   int    // 0 until there is an answer
	Location string // the Location header of the answer
}

// aborted is Chromium's error for a navigation that gave way to another one. Now and then Chromium also reports it for
// a navigation with redirects whose page arrives.
const aborted = "net::ERR_ABORTED"

// Goto loads a page and waits for the load event of the page that arrives. Any HTTP status is accepted, see
// [Tab.Status]; an address where no server answers fails the test.
func (t *Tab) Goto(address string) {
	t.tb.Helper()
	t.load(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		res, err := cdp.Call(ctx, target, page.Navigate, page.NavigateParams{URL: address})
		if err == nil && res.ErrorText != "" && res.ErrorText != aborted {
			err = &chromedp.LoadError{ErrorText: res.ErrorText}
		}
		return err
	}))
}

// Click clicks an element and waits for the page that this leads to.
func (t *Tab) Click(selector string) {
	t.tb.Helper()
	t.load(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// Download clicks an element whose answer is a file, and returns the name that it gives the file.
func (t *Tab) Download(selector string) string {
	t.tb.Helper()
	name := ""
	run(t, chromedp.WaitEvent(network.ResponseReceived, func(e network.EventResponseReceived) bool {
		for header, value := range e.Response.Headers {
			if text, ok := value.(string); ok && strings.EqualFold(header, "Content-Disposition") {
				_, options, _ := mime.ParseMediaType(text)
				name = options["filename"]
			}
		}
		return name != ""
	}, chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible)))
	return name
}

// Press clicks an element that leads to no other page, such as a checkbox, a disclosure or a button of a script.
func (t *Tab) Press(selector string) {
	t.tb.Helper()
	t.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// Enter types keys into an element and then Enter, and waits for the page that this leads to.
func (t *Tab) Enter(selector, keys string) {
	t.tb.Helper()
	t.load(chromedp.SendKeys(chromedp.CSS(selector), keys+"\r", chromedp.NodeVisible))
}

// Fill replaces the text in a field as a person does who pastes one.
func (t *Tab) Fill(selector, text string) {
	t.tb.Helper()
	field := chromedp.CSS(selector)
	t.do(chromedp.SendKeys(field, "", chromedp.NodeVisible)) // waits for the field, and gives it the focus
	// Selects the text and types over it, as a person would; chromedp's own Clear works only for fields whose text came
	// with the page.
	_ = Evaluate[bool](t, `(() => { document.activeElement.select(); return true })()`)
	if text == "" {
		t.Keys(kb.Delete)
		return
	}
	call(t, input.InsertText, input.InsertTextParams{Text: text})
}

// Keys types keys into the focused element, such as kb.Tab of package chromedp/kb.
func (t *Tab) Keys(keys string) {
	t.tb.Helper()
	t.do(chromedp.KeyEvent(keys))
}

// Reload loads the page again.
func (t *Tab) Reload() {
	t.tb.Helper()
	t.do(chromedp.Reload())
}

// Back goes to the previous page in the history.
func (t *Tab) Back() {
	t.tb.Helper()
	t.do(chromedp.NavigateBack())
}

// Wait waits until a visible element matches.
func (t *Tab) Wait(selector string) {
	t.tb.Helper()
	t.do(chromedp.WaitVisible(chromedp.CSS(selector)))
}

// Has reports whether an element matches now.
func (t *Tab) Has(selector string) bool {
	t.tb.Helper()
	return look[bool](t, "html", `document.querySelector(`+quoted(selector)+`) !== null`)
}

// Text is the visible text of an element, without white space around it.
func (t *Tab) Text(selector string) string {
	t.tb.Helper()
	return strings.TrimSpace(look[string](t, selector, `e.checkVisibility() ? e.innerText : ""`))
}

// Attribute is the value of an element's attribute, empty when it has none.
func (t *Tab) Attribute(selector, name string) string {
	t.tb.Helper()
	return look[string](t, selector, `e.getAttribute(`+quoted(name)+`) ?? ""`)
}

// HTML is the whole document as it is now.
func (t *Tab) HTML() string {
	t.tb.Helper()
	return look[string](t, "html", `e.outerHTML`)
}

// Title is the document's title.
func (t *Tab) Title() string {
	t.tb.Helper()
	return run(t, chromedp.Title())
}

// URL is the address of the page.
func (t *Tab) URL() *url.URL {
	t.tb.Helper()
	text := run(t, chromedp.Location())
	u, err := url.Parse(text)
	if err != nil {
		t.tb.Fatalf("address of the page: %v", err)
	}
	return u
}

// Evaluate runs JavaScript in the page and decodes its value into T; a promise is awaited.
func Evaluate[T any](t *Tab, expression string) T {
	t.tb.Helper()
	return run(t, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// Overflow returns by how many pixels the page is wider than the tab; 0 if there is no sideways scrolling.
func (t *Tab) Overflow() int {
	t.tb.Helper()
	return Evaluate[int](t, `Math.max(0, document.documentElement.scrollWidth - window.innerWidth)`)
}

// Squeezed returns the texts of the visible buttons that are narrower than their text.
func (t *Tab) Squeezed() []string {
	return Evaluate[[]string](t, `[...document.querySelectorAll('button, .btn')].filter(
		(e) => e.checkVisibility() && e.clientWidth > 0 && e.scrollWidth > e.clientWidth).map((e) => e.textContent.trim())`)
}

// Screenshot writes the whole page, including what is below the fold, to a PNG file.
func (t *Tab) Screenshot(path string) {
	t.tb.Helper()
	png := run(t, chromedp.FullScreenshot(100))
	if err := os.WriteFile(path, png, 0o600); err != nil {
		t.tb.Fatal(err)
	}
}

// Viewport sets the size of the tab in pixels.
func (t *Tab) Viewport(width, height int) {
	t.tb.Helper()
	t.do(chromedp.EmulateViewport(int64(width), int64(height)))
}

// Dark sets whether the browser prefers dark pages, for the current page and those after it. Transitions are off, so
// that no check sees a state between two colours.
func (t *Tab) Dark(dark bool) {
	t.tb.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	call(t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme},
			{Name: "prefers-reduced-motion", Value: "reduce"},
		},
	})
}

// Language sets the language that the browser asks for, from the next page on.
func (t *Tab) Language(tag string) {
	t.tb.Helper()
	call(t, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": tag}})
}

// JavaScript sets whether pages may run scripts, from the next page on. The test's own scripts always run.
func (t *Tab) JavaScript(on bool) {
	t.tb.Helper()
	t.noScript = !on
	call(t, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
}

// TrustCertificates accepts the certificate of any server, for those of a test.
func (t *Tab) TrustCertificates() {
	t.tb.Helper()
	call(t, security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true})
}

// ClearCookies deletes the browser's cookies.
func (t *Tab) ClearCookies() {
	t.tb.Helper()
	call(t, network.ClearBrowserCookies, cdp.Empty{})
}

// Cookies returns the cookies that the browser would send to an address, including HttpOnly ones.
func (t *Tab) Cookies(address string) []*network.Cookie {
	t.tb.Helper()
	return call(t, network.GetCookies, network.GetCookiesParams{URLs: []string{address}}).Cookies
}

// Status is the HTTP status of the page, 0 when it has none.
func (t *Tab) Status() int {
	for _, r := range slices.Backward(t.Requests()) {
		if r.Type == string(network.ResourceTypeDocument) {
			return r.Status
		}
	}
	return 0
}

// Requests returns the tab's requests so far, in order; data: and blob: URLs are left out.
func (t *Tab) Requests() []Request {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.requests)
}

// Foreign returns the tab's requests to hosts other than these, which are given as name or name:port.
func (t *Tab) Foreign(hosts ...string) []Request {
	return slices.DeleteFunc(t.Requests(), func(r Request) bool {
		u, err := url.Parse(r.URL)
		return err == nil && (slices.Contains(hosts, u.Host) || slices.Contains(hosts, u.Hostname()))
	})
}

// listen records requests. It is called in the loop that reads the browser's messages.
func (t *Tab) listen(event any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	answered := func(id network.RequestID, r *network.Response) {
		if n, ok := t.exchanges[string(id)]; ok {
			t.requests[n].Status = int(r.Status)
			for name, value := range r.Headers {
				if text, ok := value.(string); ok && strings.EqualFold(name, "Location") {
					t.requests[n].Location = text
				}
			}
		}
	}
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if e.RedirectResponse != nil {
			answered(e.RequestID, e.RedirectResponse)
		}
		if strings.HasPrefix(e.Request.URL, "data:") || strings.HasPrefix(e.Request.URL, "blob:") {
			return
		}
		t.exchanges[string(e.RequestID)] = len(t.requests)
		t.requests = append(t.requests, Request{Method: e.Request.Method, URL: e.Request.URL, Type: string(e.Type)})
	case *network.EventResponseReceived:
		answered(e.RequestID, e.Response)
	case *page.EventJavascriptDialogOpening:
		if e.Type == page.DialogTypeBeforeunload {
			t.warned++
			go t.leave() // not in this loop, which must read the answer
		}
	}
}

// leave confirms that the person wants to leave the page. No answer is needed if the tab closes meanwhile.
func (t *Tab) leave() {
	_ = chromedp.Do(t.ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
		return err
	}))
}

// Warned returns how often a page asked for confirmation before it was left. The tab always leaves.
func (t *Tab) Warned() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.warned
}

func enableNetwork(ctx context.Context, target *chromedp.Target) error {
	_, err := cdp.Call(ctx, target, network.Enable, network.EnableParams{})
	return err
}

// load runs an action and waits for the load event of the page that it leads to. An event of the page before it, which
// may come late, does not count.
func (t *Tab) load(a chromedp.Action[chromedp.Void]) {
	t.tb.Helper()
	before := call(t, page.GetFrameTree, cdp.Empty{}).FrameTree.Frame
	run(t, chromedp.WaitEvent(page.LifecycleEvent, func(e page.EventLifecycleEvent) bool {
		return e.Name == "load" && e.FrameID == before.ID && e.LoaderID != before.LoaderID
	}, a))
}

// look evaluates a JavaScript expression about the first element that matches, as e, once there is one. The search and
// the answer are one message to the browser, so a page that gives way to the next one does so before or after it. A
// chromedp query takes several, and fails when the page changes between two.
func look[T any](t *Tab, selector, expression string) T {
	t.tb.Helper()
	script := `((e) => e && {value: ` + expression + `})(document.querySelector(` + quoted(selector) + `))`
	return run(t, func(ctx context.Context, target *chromedp.Target) (value T, err error) {
		for {
			found, err := chromedp.Evaluate[*struct{ Value T }](script)(ctx, target)
			if between := new(cdproto.Error); err != nil && !errors.As(err, &between) {
				return value, err
			}
			if found != nil {
				return found.Value, nil
			}
			if _, err := chromedp.Sleep(5*time.Millisecond)(ctx, target); err != nil {
				return value, fmt.Errorf("%s: %w", selector, err)
			}
		}
	})
}

// quoted is a text as a JavaScript string.
func quoted(text string) string {
	b, _ := json.Marshal(text) // a string has no error
	return string(b)
}

func (t *Tab) do(actions ...chromedp.Action[chromedp.Void]) {
	t.tb.Helper()
	run(t, chromedp.Steps(actions...))
}

func run[T any](t *Tab, a chromedp.Action[T]) T {
	t.tb.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		t.tb.Fatalf("browser: %v\n%s", err, t.where())
	}
	return v
}

func call[P, R any](t *Tab, command cdp.Command[P, R], params P) R {
	t.tb.Helper()
	return run(t, func(ctx context.Context, target *chromedp.Target) (R, error) {
		return cdp.Call(ctx, target, command, params)
	})
}

// where describes what a person would see now, for the message of a failed test.
func (t *Tab) where() string {
	ctx, cancel := context.WithTimeout(t.ctx, patience/10)
	defer cancel()
	address, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		return ""
	}
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body ? document.body.innerText.slice(0, 2000) : ""`))
	return "at " + address + "\n" + text
}
