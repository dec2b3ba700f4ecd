package vendors

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	generic "doorward/examples/generic/api"
	scopien "doorward/examples/scopien/api"
	sophic "doorward/examples/sophic/api"
	sophosic "doorward/examples/sophosic/api"
	torvus "doorward/examples/torvus/api"
	"doorward/test/postgres"
	"doorward/test/rig"
	"doorward/test/setup"
)

const (
	ownerEmail = "olive@example.com"
	password   = "seven kites over the bay"
	// supabaseSecret is what the vendors share with their Supabase project.
	supabaseSecret = "a secret that a vendor shares with Supabase"
)

// vendor is one of the five, running: the real server with the configuration of examples/ on PostgreSQL, the vendor's
// API behind it, and nginx. It serves all tests of the vendor.
type vendor struct {
	name     string
	title    string
	upstream func() http.Handler
	plans    []string // of each there is a workspace, whose slug is the plan's name

	started sync.Once
	problem error

	folder    string
	database  string // its owner's URL
	app       string // the app's host, which is the issuer
	api       string // the API's host, where Doorward itself is the proxy
	nginx     string // the same behind nginx
	env       []string
	stop      []func()
	log       rig.Log
	callsMu   sync.Mutex
	calls     map[string]http.Header // what the upstream was told, by request id
	person    *person                // the owner of the workspaces, who is an administrator
	countedMu sync.Mutex
	counted   int
}

var all = []*vendor{
	{name: "sophosic", title: "Sophosic", upstream: sophosic.New, plans: []string{"free", "pro", "enterprise"}},
	{name: "sophic", title: "Sophic", upstream: sophic.New, plans: []string{"team"}},
	{name: "torvus", title: "Torvus", upstream: torvus.New, plans: []string{"service"}},
	{name: "scopien", title: "Scopien", upstream: scopien.New, plans: []string{"starter", "professional", "enterprise"}},
	{name: "generic", title: "Generic AI API", upstream: generic.New, plans: []string{"standard"}},
}

// ports are those that the configurations name, of which a test takes free ones in place.
var ports = regexp.MustCompile(`\b(localhost|127\.0\.0\.1):(9[012][1-5]0)\b`)

// running is the vendor of a test, by the test's name, started when the first asks.
func running(t *testing.T) *vendor {
	t.Helper()
	setup.Long(t)
	cluster := postgres.Shared(t)
	nginx, err := setup.Nginx()
	setup.Need(t, err)
	m := pointName.FindStringSubmatch(t.Name())
	if m == nil {
		t.Fatalf("%s is not named by vendor and point", t.Name())
	}
	v := all[slices.IndexFunc(all, func(v *vendor) bool { return strings.EqualFold(v.name, m[1]) })]
	v.started.Do(func() { v.problem = v.start(cluster, nginx) })
	if v.problem != nil {
		t.Fatalf("start %s: %v\n%s", v.title, v.problem, v.log.String())
	}
	return v
}

func (v *vendor) start(cluster *postgres.Cluster, nginx string) error {
	ctx := context.Background()
	var err error
	if v.folder, err = os.MkdirTemp("", "doorward-"+v.name+"-"); err != nil {
		return err
	}
	remove, err := setup.Sweep(v.folder, "true")
	if err != nil {
		return err
	}
	v.stop = append(v.stop, func() { _ = remove() })
	if v.database, err = cluster.CreateDatabase(ctx, "vendors", nil); err != nil {
		return err
	}
	v.stop = append(v.stop, func() { _ = cluster.DropDatabase(ctx, v.database) })
	v.calls = map[string]http.Header{}
	behind := v.upstream()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v.callsMu.Lock()
		v.calls[r.Header.Get("X-Request-Id")] = r.Header.Clone()
		v.callsMu.Unlock()
		behind.ServeHTTP(w, r)
	}))
	v.stop = append(v.stop, upstream.Close)

	text, err := v.configuration(ctx, map[string]string{"2": strings.TrimPrefix(upstream.URL, "http://127.0.0.1:")})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(v.folder, "doorward.yaml"), []byte(text), 0o600); err != nil {
		return err
	}
	v.env = append(os.Environ(), "DOORWARD_CONFIG=doorward.yaml", "DOORWARD_DATABASE_URL="+v.database,
		"DOORWARD_TRUSTED_PROXIES=127.0.0.1",
		"DOORWARD_SECRET=a-master-secret-of-the-tests-of-vendors", "SUPABASE_JWT_SECRET="+supabaseSecret)
	if err := v.run(v.app+"/readyz", binary, "serve"); err != nil {
		return err
	}
	if err := v.startNginx(ctx, nginx, strings.TrimPrefix(v.api, "http://"),
		strings.TrimPrefix(upstream.URL, "http://")); err != nil {
		return err
	}
	if _, err := v.doorward(password, "user", "create", "--email", ownerEmail, "--name", "Olive", "--admin",
		"--password-stdin"); err != nil {
		return err
	}
	for _, plan := range v.plans {
		_, err := v.doorward("", "workspace", "create", "--name", v.title+" "+plan, "--slug", plan, "--owner",
			ownerEmail, "--plan", plan)
		if err != nil {
			return err
		}
	}
	v.person, err = v.signIn(ownerEmail)
	return err
}

// configuration is the vendor's, with free ports in place of its own and without limits on changes, of which the tests
// make more than a person does. Ports of the kind "2" are the upstream's.
func (v *vendor) configuration(ctx context.Context, taken map[string]string) (string, error) {
	root, err := setup.Root()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(root, "examples", v.name, "doorward.yaml"))
	if err != nil {
		return "", err
	}
	out := ports.ReplaceAllStringFunc(string(text), func(address string) string {
		m := ports.FindStringSubmatch(address)
		kind := m[2][1:2]
		if taken[kind] == "" {
			port, failure := setup.FreePort(ctx)
			err = errors.Join(err, failure)
			taken[kind] = strconv.Itoa(port)
		}
		return m[1] + ":" + taken[kind]
	})
	v.app, v.api = "http://localhost:"+taken["0"], "http://127.0.0.1:"+taken["1"]
	const limits = "client_requests: 0"
	switch {
	case strings.Contains(out, "\ntokens: {"):
		out = strings.Replace(out, "\ntokens: {", "\ntokens: {"+limits+", ", 1)
	case strings.Contains(out, "\ntokens:\n"):
		out = strings.Replace(out, "\ntokens:\n", "\ntokens:\n  "+limits+"\n", 1)
	default:
		out += "tokens: {" + limits + "}\n"
	}
	return out, err
}

// run starts a server of ours and waits until an address answers with 200.
func (v *vendor) run(ready string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = v.folder, v.env, &v.log, &v.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // out of the reach of a terminal's interrupt
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		close(ended)
	}()
	// Also where this process ends in a panic.
	end, err := setup.Sweep(filepath.Join(v.folder, "run-"+strconv.Itoa(cmd.Process.Pid)),
		fmt.Sprintf("echo %d", cmd.Process.Pid))
	if err != nil {
		_ = cmd.Process.Kill()
		return err
	}
	v.stop = append(v.stop, func() {
		_ = cmd.Process.Kill() // faster than the end by Sweep, which then finds nothing
		<-ended
		_ = end()
	})
	for range 1500 {
		resp, err := http.Get(ready)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ended:
			return fmt.Errorf("%s has ended: %s", name, v.log.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s is not ready", name)
}

// startNginx runs nginx with examples/nginx/nginx.conf, changed where its comments say: addresses, and the paths that
// Doorward serves itself.
func (v *vendor) startNginx(ctx context.Context, program, doorward, upstream string) error {
	port, err := setup.FreePort(ctx)
	if err != nil {
		return err
	}
	root, err := setup.Root()
	if err != nil {
		return err
	}
	file, err := os.ReadFile(filepath.Join(root, "examples", "nginx", "nginx.conf"))
	if err != nil {
		return err
	}
	text := string(file)
	for from, to := range map[string]string{
		"server 127.0.0.1:8080;": "server " + doorward + ";",
		"server 127.0.0.1:9000;": "server " + upstream + ";",
		"listen 80;":             fmt.Sprintf("listen 127.0.0.1:%d;", port),
		"\nhttp {\n": fmt.Sprintf("\nhttp {\naccess_log off; client_body_temp_path %[1]s/body; proxy_temp_path "+
			"%[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; "+
			"uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi; keepalive_requests 100000;\n", v.folder),
		"worker_processes auto;": "worker_processes 1;",
	} {
		if strings.Count(text, from) != 1 {
			return fmt.Errorf("nginx.conf has %q not once", from)
		}
		text = strings.Replace(text, from, to, 1)
	}
	paths := regexp.MustCompile(`location ~ \^\((/[^)]*)\)\(/\|\$\)`)
	if !paths.MatchString(text) {
		return errors.New("nginx.conf has no location of what Doorward serves itself")
	}
	text = paths.ReplaceAllLiteralString(text, `location ~ ^(`+strings.Join(v.builtin(), "|")+`)(/|$)`)
	conf := filepath.Join(v.folder, "nginx.conf")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return err
	}
	v.nginx = fmt.Sprintf("http://127.0.0.1:%d", port)
	return v.run(v.nginx+"/.well-known/oauth-protected-resource", program, "-p", v.folder, "-c", conf, "-e", "stderr",
		"-g", "daemon off; master_process off; error_log stderr warn; pid "+filepath.Join(v.folder, "nginx.pid")+";")
}

// builtin are the paths that the configuration has Doorward serve on the API's host, as regular expressions.
func (v *vendor) builtin() []string {
	own := []string{
		"/oauth/token", "/oauth/revoke", "/oauth/introspect", "/v1/api-keys", "/v1/auth/test", "/api/auth/me", "/api/me",
	}
	text, _ := os.ReadFile(filepath.Join(v.folder, "doorward.yaml")) // it has just been written
	if m := regexp.MustCompile(`\n +builtin: \[([^\]]*)\]`).FindStringSubmatch(string(text)); m != nil {
		own = strings.Split(strings.ReplaceAll(m[1], " ", ""), ",")
	}
	return append(own, `/\.well-known/oauth-protected-resource`)
}

// doorward runs an administrative command and gives what it prints.
func (v *vendor) doorward(stdin string, args ...string) (map[string]any, error) {
	cmd := exec.Command(binary, append(args, "--json")...)
	cmd.Dir, cmd.Env, cmd.Stdin = v.folder, v.env, strings.NewReader(stdin)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("doorward %s: %w\n%s", strings.Join(args, " "), err, complaint.String())
	}
	var made map[string]any
	if len(bytes.TrimSpace(out)) > 0 && out[0] == '{' {
		err = json.Unmarshal(out, &made)
	}
	return made, err
}

func (v *vendor) close() {
	for _, stop := range slices.Backward(v.stop) {
		stop()
	}
}

// command is doorward for a test.
func (v *vendor) command(t *testing.T, stdin string, args ...string) map[string]any {
	t.Helper()
	made, err := v.doorward(stdin, args...)
	ok(t, err)
	return made
}

// connect opens the database as its owner.
func (v *vendor) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), v.database)
	ok(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// pass lets time pass: all that the database knows the time of becomes older by so much, but for the sessions of
// browsers and the keys that sign. The clock of a running server cannot be moved, and what matters here is all in the
// database.
func (v *vendor) pass(t *testing.T, d time.Duration) {
	t.Helper()
	conn := v.connect(t)
	rows, err := conn.Query(t.Context(), `SELECT table_name, column_name FROM information_schema.columns
		WHERE table_schema = current_schema() AND data_type = 'bigint' AND table_name NOT IN ('sessions', 'signing_keys')
		AND (column_name LIKE '%\_at' OR column_name IN ('hour_began', 'day_began', 'burst_full', 'auth_time', 'at'))`)
	ok(t, err)
	type column struct{ Table, Column string }
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
	ok(t, err)
	if len(columns) < 20 {
		t.Fatalf("only %d columns hold times", len(columns))
	}
	for _, c := range columns {
		_, err := conn.Exec(t.Context(),
			fmt.Sprintf(`UPDATE %s SET %[2]s = %[2]s - $1 WHERE %[2]s > 0`, pgx.Identifier{c.Table}.Sanitize(),
				pgx.Identifier{c.Column}.Sanitize()), d.Microseconds())
		ok(t, err)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// way is one of the two ways to the API.
type way struct {
	*vendor
	t    *testing.T
	base string
	as   *person // who manages keys and tokens; nil: the owner
}

// each runs a point by both ways.
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

// once runs a point to which the way does not matter.
func once(t *testing.T) *way {
	t.Helper()
	v := running(t)
	note(t)
	return &way{vendor: v, t: t, base: v.api}
}

// answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a *answer) String() string { return fmt.Sprintf("%d %v %s", a.status, a.header, a.body) }

// member is what stands in the body's JSON at a path such as "error.code"; nil: nothing.
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

// number is a header's value; -1: there is none, or it is no whole number.
func (a *answer) number(header string) int64 {
	n, err := strconv.ParseInt(a.header.Get(header), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// request is what a customer sends; change may add to it.
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

// client follows no redirect and has no cookies.
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

// told is what the upstream was told about the request of an answer; nil: it has seen none.
func (w *way) told(a *answer) http.Header {
	w.callsMu.Lock()
	defer w.callsMu.Unlock()
	return w.calls[a.header.Get("X-Request-Id")]
}

// want compares statuses.
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

// person is somebody with a browser.
type person struct {
	v      *vendor
	client *http.Client
	email  string
	at     time.Time // when they signed in
}

// signIn signs somebody in on the app's host.
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

// logIn sends the form of the page for signing in.
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

// fields are the hidden inputs of the form of a page.
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

// authorize has the person allow what an authorization request asks, and gives the query that the app gets.
func (p *person) authorize(t *testing.T, address string) url.Values {
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
			return u.Query()
		}
	}
	t.Fatal("too many redirects")
	return nil
}

// manage calls the management API from the browser of a person, in the workspace named, which counts for no limit.
func (w *way) manage(method, path, workspace, body string) *answer {
	w.t.Helper()
	if time.Since(w.person.at) > 4*time.Minute { // making secrets takes a fresh sign-in
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

// key makes an API key in the workspace of a plan. The members are those of POST /v1/api-keys beside the name.
func (w *way) key(plan string, members string) key {
	w.t.Helper()
	a := w.manage(http.MethodPost, "/v1/api-keys", plan,
		`{"name":"A key of `+w.t.Name()[:min(60, len(w.t.Name()))]+`",`+members+`}`)
	w.want("making a key", a, http.StatusCreated)
	return key{a.text("id"), a.text("key")}
}

// token makes a personal access token of the owner.
func (w *way) token(members string) key {
	w.t.Helper()
	a := w.manage(http.MethodPost, "/v1/personal-access-tokens", "", `{"name":"A token",`+members+`}`)
	w.want("making a token", a, http.StatusCreated)
	k := key{a.text("id"), a.text("token")}
	if k.text == "" {
		k.text = a.text("key")
	}
	return k
}

// next is a number that no other test has.
func (v *vendor) next() string {
	v.countedMu.Lock()
	defer v.countedMu.Unlock()
	v.counted++
	return strconv.Itoa(v.counted)
}

// from is a client that connects from another address of this machine.
func from(t *testing.T, address string) *http.Client {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	c := *client
	transport := &http.Transport{DialContext: dialer.DialContext}
	c.Transport = transport
	t.Cleanup(transport.CloseIdleConnections)
	return &c
}

// secure is the address of another server on the same database, whose issuer is https; for either way it is the proxy
// before it that says how a request came.
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
	// 127.0.0.1 is the API's host
	ok(t, v.run("http://"+strings.Replace(listen, "127.0.0.1", "localhost", 1)+"/healthz", binary, "serve"))
	return "http://" + listen
}
