package vendors

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"doorward/test/rig"
	"doorward/test/setup"
)

// way is one of the two ways to the API.
type way struct {
	*vendor
	t    *testing.T
	base string
	as   *person // the user who manages keys and tokens; nil means the owner
}

// each tests a point on both ways.
func each(t *testing.T, point func(t *testing.T, w *way)) {
	t.Helper()
	v := running(t)
	for name, base := range map[string]string{"proxy": v.api, "nginx": v.nginx} {
		t.Run(name, func(t *testing.T) {
			note(t)
			point(t, &way{vendor: v, t: t, base: base})
		})
	}
}

// once tests a point for which the way does not matter.
func once(t *testing.T) *way {
	t.Helper()
	v := running(t)
	note(t)
	return &way{vendor: v, t: t, base: v.api}
}

// answer is a response that was read to the end.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a *answer) String() string { return fmt.Sprintf("%d %v %s", a.status, a.header, a.body) }

// member returns the value at a path such as "error.code" in the body's JSON; nil if there is none.
func (a *answer) member(path string) any {
	var v any
	if json.Unmarshal([]byte(a.body), &v) != nil {
		return nil
	}
	for name := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

func (a *answer) text(path string) string {
	s, _ := a.member(path).(string)
	return s
}

// number returns a header's value; -1 if it is missing or not an integer.
func (a *answer) number(header string) int64 {
	n, err := strconv.ParseInt(a.header.Get(header), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// request sends a request as a customer does; change may modify it.
func (w *way) request(method, path, credential, body string, change ...func(*http.Request)) *answer {
	w.t.Helper()
	q, err := http.NewRequestWithContext(w.t.Context(), method, w.base+path, strings.NewReader(body))
	ok(w.t, err)
	if credential != "" {
		q.Header.Set("Authorization", "Bearer "+credential)
	}
	if strings.HasPrefix(body, "{") {
		q.Header.Set("Content-Type", "application/json")
	} else if body != "" {
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, f := range change {
		f(q)
	}
	return send(w.t, client, q)
}

func (w *way) get(path, credential string, change ...func(*http.Request)) *answer {
	w.t.Helper()
	return w.request(http.MethodGet, path, credential, "", change...)
}

func header(name, value string) func(*http.Request) {
	return func(q *http.Request) { q.Header.Set(name, value) }
}

// client returns a client without cookies that does not follow redirects.
var client = &http.Client{
	Timeout:       time.Minute,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport:     &http.Transport{MaxIdleConnsPerHost: 16},
}

func send(t *testing.T, c *http.Client, q *http.Request) *answer {
	t.Helper()
	resp, err := c.Do(q)
	ok(t, err)
	defer resp.Body.Close() //nolint:errcheck // read to its end
	var b bytes.Buffer
	_, err = b.ReadFrom(resp.Body)
	ok(t, err)
	return &answer{resp.StatusCode, resp.Header, b.String()}
}

// told returns the headers that the upstream received with the request of an answer; nil if it did not get the request.
func (w *way) told(a *answer) http.Header {
	w.callsMu.Lock()
	defer w.callsMu.Unlock()
	return w.calls[a.header.Get("X-Request-Id")]
}

// want compares the status.
func (w *way) want(what string, a *answer, status int) {
	w.t.Helper()
	if a.status != status {
		w.t.Errorf("%s: answered %s, want %d", what, a, status)
	}
}

// same compares the whole body of an answer with JSON.
func (w *way) same(what string, a *answer, status int, body string) {
	w.t.Helper()
	var got, want any
	ok(w.t, json.Unmarshal([]byte(body), &want))
	_ = json.Unmarshal([]byte(a.body), &got)
	g, _ := json.Marshal(got)
	x, _ := json.Marshal(want)
	if a.status != status || !bytes.Equal(g, x) {
		w.t.Errorf("%s: answered %d %s, want %d %s", what, a.status, a.body, status, body)
	}
}

// person is a user with a browser.
type person struct {
	v      *vendor
	client *http.Client
	email  string
	at     time.Time // when they signed in
}

// signIn signs a user in on the app's host.
func (v *vendor) signIn(email string) (*person, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	c := *client
	c.Jar = jar
	p := &person{v: v, client: &c, email: email, at: time.Now()}
	return p, p.logIn(email)
}

// logIn submits the sign-in form.
func (p *person) logIn(email string) error {
	page, err := p.visit(http.MethodGet, p.v.app+"/login", nil)
	if err != nil {
		return err
	}
	form := fields(page.body, "/login")
	form.Set("email", email)
	form.Set("password", password)
	a, err := p.visit(http.MethodPost, p.v.app+"/login", form)
	if err == nil && a.status != http.StatusSeeOther {
		err = fmt.Errorf("sign-in answered %d %s", a.status, rig.Plain(a.body))
	}
	return err
}

// visit does what a browser does at a page of the app's host.
func (p *person) visit(method, address string, form url.Values) (*answer, error) {
	q, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	q.Header.Set("Sec-Fetch-Site", "same-origin")
	if form != nil {
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q.Header.Set("Origin", p.v.app)
	}
	resp, err := p.client.Do(q)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	var b bytes.Buffer
	_, err = b.ReadFrom(resp.Body)
	return &answer{resp.StatusCode, resp.Header, b.String()}, err
}

// fields returns the hidden inputs of the form of a page.
func fields(page, action string) url.Values {
	form := url.Values{}
	_, rest, _ := strings.Cut(page, `action="`+action+`"`)
	rest, _, _ = strings.Cut(rest, "</form>")
	for _, tag := range regexp.MustCompile(`<input[^>]*>`).FindAllString(rest, -1) {
		attribute := func(name string) string {
			m := regexp.MustCompile(` ` + name + `="([^"]*)"`).FindStringSubmatch(tag)
			if m == nil {
				return ""
			}
			return strings.NewReplacer("&amp;", "&", "&#34;", `"`, "&#43;", "+").Replace(m[1])
		}
		kind := attribute("type")
		if kind == "hidden" || (kind == "checkbox" || kind == "radio") && strings.Contains(tag, " checked") {
			form.Add(attribute("name"), attribute("value"))
		}
	}
	return form
}

// authorize has the user allow an authorization request, and returns the parameters of the redirect.
func (p *person) authorize(t *testing.T, address string) url.Values {
	t.Helper()
	return p.allow(t, address, "").Query()
}

// allow has the user allow an authorization request in a workspace, or the one that the page proposes if it is empty. It
// returns where the browser is then redirected to.
func (p *person) allow(t *testing.T, address, workspace string) *url.URL {
	t.Helper()
	a, err := p.visit(http.MethodGet, address, nil)
	for range 8 {
		ok(t, err)
		location := a.header.Get("Location")
		switch {
		case a.status == http.StatusOK:
			form := fields(a.body, "/oauth/consent")
			if len(form) == 0 {
				t.Fatalf("no consent page: %s", rig.Plain(a.body))
			}
			form.Set("decision", "approve")
			if workspace != "" {
				form.Set("workspace", workspace)
			}
			a, err = p.visit(http.MethodPost, p.v.app+"/oauth/consent", form)
		case strings.HasPrefix(location, "/"):
			a, err = p.visit(http.MethodGet, p.v.app+location, nil)
		case strings.HasPrefix(location, p.v.app):
			a, err = p.visit(http.MethodGet, location, nil)
		default:
			u, bad := url.Parse(location)
			ok(t, bad)
			if location == "" {
				t.Fatalf("authorize answered %d %s", a.status, rig.Plain(a.body))
			}
			return u
		}
	}
	t.Fatal("too many redirects")
	return nil
}

// manage calls the management API from the browser of a user, in the named workspace. These calls do not count towards
// any limit.
func (w *way) manage(method, path, workspace, body string) *answer {
	w.t.Helper()
	if time.Since(w.person.at) > 4*time.Minute { // creating secrets needs a recent sign-in
		p, err := w.signIn(ownerEmail)
		ok(w.t, err)
		w.vendor.person = p
	}
	p := w.person
	if w.as != nil {
		p = w.as
	}
	q, err := http.NewRequestWithContext(w.t.Context(), method, w.app+path, strings.NewReader(body))
	ok(w.t, err)
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Sec-Fetch-Site", "same-origin")
	name := "X-Workspace"
	if w.name == "sophic" {
		name = "x-sophic-workspace"
	}
	if workspace != "" {
		q.Header.Set(name, workspace)
	}
	return send(w.t, p.client, q)
}

// key is an API key or personal access token.
type key struct{ id, text string }

// key creates an API key in the workspace of a plan. The members are those of POST /v1/api-keys, without the name.
func (w *way) key(plan string, members string) key {
	w.t.Helper()
	a := w.manage(http.MethodPost, "/v1/api-keys", plan,
		`{"name":"A key of `+w.t.Name()[:min(60, len(w.t.Name()))]+`",`+members+`}`)
	w.want("creating a key", a, http.StatusCreated)
	return key{a.text("id"), a.text("key")}
}

// token creates a personal access token of the owner.
func (w *way) token(members string) key {
	w.t.Helper()
	a := w.manage(http.MethodPost, "/v1/personal-access-tokens", "", `{"name":"A token",`+members+`}`)
	w.want("creating a token", a, http.StatusCreated)
	k := key{a.text("id"), a.text("token")}
	if k.text == "" {
		k.text = a.text("key")
	}
	return k
}

// next returns a number that no other test gets.
func (v *vendor) next() string {
	v.countedMu.Lock()
	defer v.countedMu.Unlock()
	v.counted++
	return strconv.Itoa(v.counted)
}

// from returns a client that connects from another address of this machine.
func from(t *testing.T, address string) *http.Client {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	c := *client
	transport := &http.Transport{DialContext: dialer.DialContext}
	c.Transport = transport
	t.Cleanup(transport.CloseIdleConnections)
	return &c
}

// secure returns the address of a second server with the same database and an https issuer; on either way, a proxy
// before it says how a request came in.
func (w *way) secure(t *testing.T) string {
	t.Helper()
	port, err := setup.FreePort(t.Context())
	ok(t, err)
	listen := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	v := &vendor{
		folder: w.folder,
		env:    append(slices.Clone(w.env), "DOORWARD_ISSUER=https://torvus.example", "DOORWARD_LISTEN="+listen),
	}
	t.Cleanup(v.close)
	// 127.0.0.1 is the API's host.
	ok(t, v.run("http://"+strings.Replace(listen, "127.0.0.1", "localhost", 1)+"/healthz", binary, "serve"))
	return "http://" + listen
}
