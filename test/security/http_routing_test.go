package security

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"doorward/management"
	"doorward/test/rig"
	"doorward/test/setup"
	"doorward/test/stores"
)

func TestH06_NoHeaderChangesWhatTheServerCallsItself(t *testing.T) {
	p := startProcess(t)
	const path = "/.well-known/oauth-authorization-server"
	want := p.send("GET " + path + " HTTP/1.1\r\nHost: localhost:8080\r\n\r\n")
	if len(want.answers) != 1 || want.answers[0].Text("issuer") != "http://localhost:8080" {
		t.Fatalf("metadata: %.500s", want.raw)
	}
	lines := map[string]string{
		"another host":                "GET " + path + " HTTP/1.1\r\nHost: evil.example\r\n",
		"another authority":           "GET http://evil.example" + path + " HTTP/1.1\r\nHost: localhost:8080\r\n",
		"another authority, HTTP/1.0": "GET http://evil.example" + path + " HTTP/1.0\r\n",
		"another port":                "GET " + path + " HTTP/1.1\r\nHost: localhost:1\r\n",
	}
	for _, name := range []string{
		"X-Forwarded-Host", "X-Forwarded-Server", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix",
		"X-Forwarded-Scheme", "X-Forwarded-Ssl", "Forwarded", "X-Host", "X-Original-URL", "X-Rewrite-Url",
		"X-HTTP-Host-Override", "X-HTTP-Method-Override", "Origin", "Referer", "Accept", "Accept-Language", "Accept-Encoding",
		"Front-End-Https", "Via",
	} {
		lines[name] = "GET " + path + " HTTP/1.1\r\nHost: localhost:8080\r\n" + name + ": https://evil.example/gzip\r\n"
	}
	for name, text := range lines {
		e := p.send(text + "\r\n")
		if len(e.answers) != 1 || e.answers[0].Body != want.answers[0].Body || strings.Contains(e.raw, "evil") {
			t.Errorf("%s: answered %.500s", name, e.raw)
		}
	}
	// Nor do redirects go to a host from a header.
	for _, path := range []string{"/", "/settings/profile", "/admin/users", "/favicon.ico", "/logout"} {
		e := p.send("GET " + path + " HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: " +
			"evil.example\r\nX-Forwarded-Proto: https\r\n\r\n")
		if len(e.answers) != 1 || !strings.HasPrefix(e.answers[0].Header.Get("Location"), "/") ||
			strings.Contains(e.raw, "evil") {
			t.Errorf("%s: answered %.500s", path, e.raw)
		}
	}
}

// On a loopback listener any host counts as the issuer's; otherwise only the issuer's own host does.
func TestH06_ForeignHostsAreMisdirected(t *testing.T) {
	r := rig.Memory(t, rig.Options{Issuer: "https://id.example", NoUser: true})
	outside := &net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 443}
	ask := func(target, host string, local net.Addr, header ...string) *httptest.ResponseRecorder {
		q := httptest.NewRequestWithContext(contextWith(t, local), http.MethodGet, target, nil)
		q.Host = host
		for i := 0; i+1 < len(header); i += 2 {
			q.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		r.Web.ServeHTTP(w, q)
		return w
	}
	for _, host := range []string{"id.example", "ID.EXAMPLE", "id.example:443", "id.example."} {
		if w := ask("/login", host, outside); w.Code != http.StatusOK {
			t.Errorf("%s: answered %d", host, w.Code)
		}
	}
	for _, host := range []string{
		"evil.example", "id.example:8443", "id.example:80", "evil.id.example", "id.example.evil.example",
		"id.example@evil.example", "", "localhost", "127.0.0.1", "192.0.2.1", "[::1]", "id.example:443:443",
		"id.example/x", "ıd.example",
	} {
		for _, path := range []string{
			"/login", "/oauth/token", "/oauth/authorize", "/assets/doorward.css", "/.well-known/oauth-authorization-server",
			"/nothing",
		} {
			if w := ask(path, host, outside); w.Code != http.StatusMisdirectedRequest || w.Header().Get("Location") != "" {
				t.Errorf("%s of %q: answered %d", path, host, w.Code)
			}
		}
		// Health checks address the machine by its IP address.
		if w := ask("/healthz", host, outside); w.Code != http.StatusOK {
			t.Errorf("/healthz of %q: answered %d", host, w.Code)
		}
	}
	if w := ask("/login", "evil.example", outside, "X-Forwarded-Host",
		"id.example"); w.Code != http.StatusMisdirectedRequest {
		t.Errorf("an untrusted forwarding header makes a foreign host ours: %d", w.Code)
	}
	if w := ask("/login", "id.example", outside, "X-Forwarded-Host", "evil.example"); w.Code != http.StatusOK {
		t.Errorf("an untrusted forwarding header makes our host foreign: %d", w.Code)
	}
	if w := ask("http://evil.example/login", "evil.example", outside); w.Code != http.StatusMisdirectedRequest {
		t.Errorf("another authority in the request line: %d", w.Code)
	}
	for _, local := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1"} {
		if w := ask("/login", "evil.example", &net.TCPAddr{IP: net.ParseIP(local), Port: 8080}); w.Code != http.StatusOK {
			t.Errorf("on %s any host is ours: %d", local, w.Code)
		}
	}
	if w := ask("/login", "evil.example",
		&net.UnixAddr{Name: "/run/x", Net: "unix"}); w.Code != http.StatusMisdirectedRequest {
		t.Errorf("on a socket that is not of IP: %d", w.Code)
	}
}

func TestH08_OtherMethodsAreNotAllowed(t *testing.T) {
	p := startProcess(t)
	for _, path := range []string{
		"/", "/login", "/oauth/authorize", "/oauth/token", "/oauth/introspect", "/oauth/revoke",
		"/.well-known/oauth-authorization-server", "/assets/doorward.css", "/healthz", "/settings/profile", "/nothing",
	} {
		for _, method := range []string{"TRACE", "CONNECT", "PROPFIND", "TRACK", "MOVE", "DEBUG", "get", "PURGE"} {
			e := p.send(method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nCookie: doorward=secret-cookie\r\n\r\n")
			if len(e.answers) != 1 || e.answers[0].Status != http.StatusMethodNotAllowed ||
				e.answers[0].Header.Get("Allow") == "" || strings.Contains(e.raw, "secret-cookie") {
				t.Errorf("%s %s: answered %v", method, path, e.statuses())
			}
		}
		for _, method := range []string{"PUT", "PATCH", "DELETE"} {
			e := p.send(method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
			want := http.StatusMethodNotAllowed
			if path == "/nothing" {
				want = http.StatusNotFound
			}
			if len(e.answers) != 1 || e.answers[0].Status != want ||
				(want == http.StatusMethodNotAllowed && e.answers[0].Header.Get("Allow") == "") {
				t.Errorf("%s %s: answered %v", method, path, e.statuses())
			}
		}
	}
	if e := p.send("CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n"); len(e.answers) != 1 ||
		e.answers[0].Status != http.StatusMethodNotAllowed {
		t.Errorf("CONNECT: answered %v", e.statuses())
	}
}

func TestH09_OnlyAnAppsOwnPagesMayReadItsAnswers(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{
		Public: true, RedirectURIs: []string{"https://app.example/cb", "http://localhost/cb", "com.example.app:/cb"},
	})
	other := r.App(management.ClientSpec{Name: "Other", RedirectURIs: []string{"https://other.example:8443/cb"}})
	allowed := func(t *testing.T, a *rig.Answer, origin string) {
		t.Helper()
		if got := a.Header.Get("Access-Control-Allow-Origin"); got != origin {
			t.Errorf("answered %d, Access-Control-Allow-Origin %q, want %q", a.Status, got, origin)
		}
		if a.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Error("cookies are allowed")
		}
	}
	for _, path := range []string{"/oauth/token", "/oauth/revoke"} {
		preflight := func(origin string) *rig.Answer {
			return r.Send(r.Program(),
				r.Request(http.MethodOptions, path, nil, "Origin", origin, "Access-Control-Request-Method", "POST",
					"Access-Control-Request-Headers", "authorization"))
		}
		post := func(app *rig.App, origin string) *rig.Answer {
			return r.PostAs(app, path, url.Values{"grant_type": {"refresh_token"}, "token": {"x"}}, "Origin", origin)
		}
		for origin, of := range map[string]*rig.App{"https://app.example": app, "https://other.example:8443": other} {
			allowed(t, preflight(origin), origin)
			allowed(t, post(of, origin), origin)
			vary := strings.Join(post(of, origin).Header.Values("Vary"), ",")
			if !strings.Contains(vary, "Origin") {
				t.Errorf("%s: Vary is %q", path, vary)
			}
		}
		// Another app's origin passes the preflight, which does not name a client, and is then refused.
		allowed(t, post(app, "https://other.example:8443"), "")
		allowed(t, post(other, "https://app.example"), "")
		for _, origin := range []string{
			"null", "https://app.example.evil", "https://evilapp.example", "https://app.example:444", "http://app.example",
			"https://app.example/", "https://APP.example.", "https://app.exampl", "*", "https://*",
			"com.example.app:", "com.example.app://", "file://", "https://app.example, https://evil.example",
			"https://evil.example",
		} {
			allowed(t, preflight(origin), "")
			allowed(t, post(app, origin), "")
		}
		a := preflight("https://app.example")
		if strings.Contains(a.Header.Get("Access-Control-Allow-Methods"), "DELETE") ||
			a.Header.Get("Access-Control-Allow-Methods") == "" {
			t.Errorf("methods %q", a.Header.Get("Access-Control-Allow-Methods"))
		}
	}
	a := r.Send(r.Program(),
		r.Request(http.MethodGet, "/.well-known/oauth-authorization-server", nil, "Origin", "https://other.example"))
	allowed(t, a, "*")
	for _, path := range []string{
		"/oauth/authorize", "/login", "/oauth/consent", "/oauth/introspect", "/logout", "/setup", "/settings/profile",
		"/settings/developer/apps", "/admin/users", "/", "/healthz", "/readyz", "/nothing",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
			allowed(t,
				r.Send(r.Program(),
					r.Request(method, path, nil, "Origin", "https://app.example", "Access-Control-Request-Method", "POST")), "")
		}
	}
}

func TestH11_TheAdminListenersPathsAreNotPublic(t *testing.T) {
	stores.Alone(t)
	port, err := setup.FreePort(t.Context())
	ok(t, err)
	aside := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	p := &process{t: t, folder: t.TempDir(), admin: aside, log: &rig.Log{}}
	p.start()
	for _, path := range []string{
		"/metrics", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/profile?seconds=1", "/debug/pprof/heap",
		"/debug/vars", "/debug", "/debug/", "/admin/metrics", "/admin/debug/pprof/", "/status", "/server-status", "/stats",
		"/actuator", "/actuator/env", "/.env", "/config", "/api", "/v1/", "/swagger", "/graphql",
		"/-/reload", "/METRICS", "/metrics/",
	} {
		for _, method := range []string{"GET", "POST"} {
			e := p.send(method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
			if len(e.answers) != 1 || e.answers[0].Status != http.StatusNotFound {
				t.Errorf("%s %s: answered %v", method, path, e.statuses())
			}
		}
	}
	if e := sendTo(t, aside, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"); len(e.answers) < 1 ||
		!strings.Contains(e.answers[0].Body, "doorward_http_requests_total") {
		t.Errorf("the admin listener has no metrics: %v", e.statuses())
	}
	// Nor does that listener serve the public paths.
	for _, path := range []string{"/login", "/oauth/token", "/settings/profile", "/debug/pprof/cmdline"} {
		e := sendTo(t, aside, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if len(e.answers) < 1 || e.answers[0].Status != http.StatusNotFound {
			t.Errorf("%s on the admin listener: answered %v", path, e.statuses())
		}
	}
}

func TestH12_AssetsLeadNowhereElse(t *testing.T) {
	p := startProcess(t)
	// A secret next to the server, and a link to it; no path may serve it.
	ok(t, os.WriteFile(filepath.Join(p.folder, "canary.txt"), []byte("canary"), 0o600))
	ok(t, os.Symlink(p.folder, filepath.Join(p.folder, "assets")))
	for _, path := range []string{
		"/assets/../login", "/assets/..", "/assets/../", "/assets/../../../../etc/passwd", "/assets/%2e%2e/login",
		"/assets/%2e%2e%2flogin", "/assets/..%2f..%2fetc/passwd", "/assets/%252e%252e/login",
		`/assets/..\login`, "/assets/..%5clogin", "/assets/%5c..%5c", "/assets//etc/passwd", "/assets/%2fetc/passwd",
		"/assets/.git", "/assets/.git/config", "/.git/config", "/assets/./doorward.css", "/assets/",
		"/assets/x/", "/assets/%ff",
		"/assets/doorward.css/", "/assets/doorward.css/..", "/assets/doorward.css%00", "/assets/doorward.css%00.png",
		"/assets/canary.txt", "/assets/data/secret", "/data/secret", "/assets/..;/login", "/assets/....//login",
		"/assets/%c0%ae%c0%ae/login",
		"/assets/con", "/assets/doorward.css::$DATA", "/assets/DOORWARD.CSS", "//assets/doorward.css",
		"/login/../assets/doorward.css", "/x/../login", "/./login", "/login/", "/%2e/login", "/oauth/%2e%2e/login",
		"/oauth/token/", "/oauth//token",
	} {
		e := p.send("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if len(e.answers) != 1 || e.answers[0].Status != http.StatusNotFound || strings.Contains(e.raw, "root:") ||
			e.answers[0].Header.Get("Location") != "" {
			t.Errorf("%s: answered %v", path, e.statuses())
		}
	}
	e := p.send("GET /assets/doorward.css HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if len(e.answers) != 1 || e.answers[0].Status != http.StatusOK ||
		e.answers[0].Header.Get("X-Content-Type-Options") != "nosniff" ||
		!strings.HasPrefix(e.answers[0].Header.Get("Content-Type"), "text/css") {
		t.Errorf("an asset: answered %.300s", e.raw)
	}
}

// If a secret and a caller's text are compressed together, the length reveals how much of the secret the text repeats.
func TestH13_NothingIsCompressed(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.Alice.Email)
	app := r.App(management.ClientSpec{})
	for _, path := range []string{
		"/login", "/logout", "/settings/profile", "/settings/security", "/settings/connected-apps",
		"/settings/developer/apps", "/settings/developer/apps/new", "/nothing", "/oauth/authorize?client_id=x",
		"/assets/doorward.css",
		"/.well-known/oauth-authorization-server", "/healthz",
	} {
		if a := b.Get(path, "Accept-Encoding", "gzip, deflate, br, zstd"); a.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s is encoded by %s", path, a.Header.Get("Content-Encoding"))
		}
	}
	page := b.Authorize(app.Params("read"))
	b.Form(page, "/oauth/consent")
	if page.Header.Get("Content-Encoding") != "" {
		t.Errorf("the consent page is encoded by %s", page.Header.Get("Content-Encoding"))
	}
}
