package security

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"doorward/test/rig"
	"doorward/test/setup"
)

// H-01 and H-14 measure time, and are in test/faults.

func TestH02_HeadersAreBounded(t *testing.T) {
	p := startProcess(t)
	long := strings.Repeat("a", 40<<10)
	var many strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&many, "X-%d: a\r\n", i)
	}
	for name, text := range map[string]string{
		"one of 40 KiB": "GET /login HTTP/1.1\r\nHost: localhost\r\nCookie: " + long + "\r\n\r\n",
		"40 KiB together": "GET /login HTTP/1.1\r\nHost: localhost\r\n" +
			strings.Repeat("X-A: "+long[:8000]+"\r\n", 5) + "\r\n",
		"a URL of 64 kB": "GET /oauth/authorize?state=" + long + long[:24000] +
			" HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"a method of 40 KiB":     long + " /login HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"a name of 40 KiB":       "GET /login HTTP/1.1\r\nHost: localhost\r\n" + long + ": x\r\n\r\n",
		"a thousand":             "GET /login HTTP/1.1\r\nHost: localhost\r\n" + many.String() + "\r\n",
		"a thousand of one name": "GET /login HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("A: b\r\n", 1000) + "\r\n",
		"a thousand to a program": "POST /oauth/token HTTP/1.1\r\nHost: localhost\r\n" + many.String() +
			"Content-Length: 0\r\n\r\n",
		"a thousand to a probe":  "GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + many.String() + "\r\n",
		"a thousand to an asset": "GET /assets/doorward.css HTTP/1.1\r\nHost: localhost\r\n" + many.String() + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			e := p.send(text)
			if len(e.answers) != 1 || e.answers[0].Status != http.StatusRequestHeaderFieldsTooLarge || e.malformed != nil {
				t.Errorf("answered %v %v", e.statuses(), e.malformed)
			}
		})
	}
	t.Run("what browsers and proxies send is within the bounds", func(t *testing.T) {
		e := p.send("GET /login HTTP/1.1\r\nHost: localhost\r\nCookie: " + long[:20<<10] + "\r\n" +
			strings.Repeat("X-Via: proxy\r\n", 60) + "\r\n")
		if len(e.answers) != 1 || e.answers[0].Status != http.StatusOK {
			t.Errorf("answered %v", e.statuses())
		}
	})
	t.Run("a body is bounded while it is read", func(t *testing.T) {
		for path, want := range map[string]int{
			"/oauth/token":      413,
			"/oauth/introspect": 413,
			"/oauth/revoke":     413,
			"/oauth/authorize":  413,
			"/login":            413,
		} {
			for name, body := range map[string]string{
				"length": "Content-Length: 100000000\r\n\r\n" + strings.Repeat(long, 2),
				"chunks": "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("a000\r\n"+long+"\r\n", 3) + "0\r\n\r\n",
			} {
				e := p.send("POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n" +
					body)
				if len(e.answers) != 1 || e.answers[0].Status != want || e.leftOpen {
					t.Errorf("%s, %s: answered %v, left open %t", path, name, e.statuses(), e.leftOpen)
				}
			}
		}
	})
}

// If a proxy and this server could disagree about the end of a request, the bytes after it must not be read as another
// request (RFC 9112, section 11.2). net/http accepts folded header lines and bare LF line endings as RFC 9112 allows
// (sections 5.2 and 2.2): the former as one line with spaces. Everything else is refused or closes the connection.
func TestH03_RequestsCannotBeSmuggled(t *testing.T) {
	p := startProcess(t)
	const smuggled = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: smuggled-request\r\n\r\n"
	post := func(lines, body string) string {
		return "POST /oauth/introspect HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n" +
			lines + "\r\n" + body
	}
	chunk := fmt.Sprintf("%x", len(smuggled))
	for name, x := range map[string]struct {
		text string
		want []int // any of these
	}{
		"length and chunks: the end by chunks": {
			post("Content-Length: "+strconv.Itoa(len(smuggled)+5)+"\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"+smuggled),
			[]int{400, 401},
		},
		"chunks and length": {
			post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunk+"\r\n"+smuggled+"\r\n0\r\n\r\n"), []int{400, 401},
		},
		"chunks for HTTP/1.0, kept alive": {
			strings.Replace(post("Connection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
				"0\r\n\r\n"+smuggled), "HTTP/1.1", "HTTP/1.0", 1), []int{400, 401},
		},
		"two lengths": {
			post("Content-Length: 0\r\nContent-Length: "+strconv.Itoa(len(smuggled))+"\r\n", smuggled), []int{400},
		},
		"two lengths in one line": {
			post("Content-Length: 0, "+strconv.Itoa(len(smuggled))+"\r\n", smuggled), []int{400},
		},
		"the same length twice in one line": {post("Content-Length: 0, 0\r\n", smuggled), []int{400}},
		"a length with a sign":              {post("Content-Length: +0\r\n", smuggled), []int{400}},
		"a length below zero":               {post("Content-Length: -1\r\n", smuggled), []int{400}},
		"a length in hexadecimal":           {post("Content-Length: 0x0\r\n", smuggled), []int{400}},
		"an empty length":                   {post("Content-Length: \r\n", smuggled), []int{400}},
		"a length too large to count":       {post("Content-Length: 18446744073709551617\r\n", smuggled), []int{400}},
		"an unknown coding": {
			post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"+smuggled), []int{400, 501},
		},
		"chunked and another": {
			post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"+smuggled), []int{400, 501},
		},
		"two codings in two lines": {
			post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"+smuggled), []int{400, 501},
		},
		"a coding after a vertical tab": {
			post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"+smuggled), []int{400, 501},
		},
		"a coding in a folded line": {
			post("Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"+smuggled), []int{400, 401},
		},
		"a length in a folded line": {post("Content-Length: 0\r\n 5\r\n", smuggled), []int{400}},
		"a fold before the first line": {
			"GET /healthz HTTP/1.1\r\n X: y\r\nHost: localhost\r\n\r\n" + smuggled, []int{400},
		},
		"a space before the colon": {post("Content-Length : 0\r\n", smuggled), []int{400}},
		"a space before the colon of a coding": {
			post("Transfer-Encoding : chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"+smuggled), []int{400},
		},
		"a bare CR in a value": {
			post("X-A: b\rTransfer-Encoding: chunked\r\nContent-Length: 0\r\n", smuggled), []int{400},
		},
		"a NUL in a value": {post("X-A: b\x00\r\nContent-Length: 0\r\n", smuggled), []int{400}},
		"a NUL in a name":  {post("X-A\x00: b\r\nContent-Length: 0\r\n", smuggled), []int{400}},
		"a line without a colon": {
			post("Transfer-Encoding chunked\r\nContent-Length: 0\r\n", smuggled), []int{400},
		},
		"an empty name":              {post(": chunked\r\nContent-Length: 0\r\n", smuggled), []int{400}},
		"a chunk ended by a bare LF": {post("Transfer-Encoding: chunked\r\n", "0\n\r\n"+smuggled), []int{400}},
		"a chunk's extension with a bare LF": {
			post("Transfer-Encoding: chunked\r\n", "1;\nxx\r\n0\r\n\r\n"+smuggled), []int{400},
		},
		"a chunk size that overflows": {
			post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n"+smuggled), []int{400},
		},
		"a chunk size with a sign":         {post("Transfer-Encoding: chunked\r\n", "+0\r\n\r\n"+smuggled), []int{400}},
		"a chunk size in another notation": {post("Transfer-Encoding: chunked\r\n", "0x0\r\n\r\n"+smuggled), []int{400}},
		"an empty chunk size":              {post("Transfer-Encoding: chunked\r\n", "\r\n\r\n"+smuggled), []int{400}},
		"a chunk shorter than its size": {
			post("Transfer-Encoding: chunked\r\n", "2\r\nx\r\n0\r\n\r\n"+smuggled), []int{400},
		},
		"no Host": {"GET /healthz HTTP/1.1\r\n\r\n" + smuggled, []int{400}},
		"two Hosts": {
			"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n" + smuggled, []int{400},
		},
		"a Host with a space": {
			"GET /healthz HTTP/1.1\r\nHost: localhost evil.example\r\n\r\n" + smuggled, []int{400},
		},
		"an unknown version":           {"GET /healthz HTTP/3.0\r\nHost: localhost\r\n\r\n" + smuggled, []int{400, 505}},
		"no version":                   {"GET /healthz\r\nHost: localhost\r\n\r\n" + smuggled, []int{400}},
		"a space in the target":        {"GET /heal thz HTTP/1.1\r\nHost: localhost\r\n\r\n" + smuggled, []int{400}},
		"a tab for a space":            {"GET\t/healthz\tHTTP/1.1\r\nHost: localhost\r\n\r\n" + smuggled, []int{400}},
		"a method that is not a token": {"G(T /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + smuggled, []int{400}},
		"HTTP/2, which this is not":    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + smuggled, []int{400, 405, 505}},
	} {
		t.Run(name, func(t *testing.T) {
			e := p.send(x.text)
			if e.malformed != nil || len(e.answers) == 0 || !slices.Contains(x.want, e.answers[0].Status) {
				t.Fatalf("answered %v %v", e.statuses(), e.malformed)
			}
			// The text after PRI is read as a request, although it is not one.
			for _, a := range e.answers[1:] {
				if a.Status < 400 {
					t.Errorf("what followed was answered %d", a.Status)
				}
			}
			if e.leftOpen || strings.Contains(e.raw, "smuggled-request") {
				t.Errorf("what followed was answered: %.200s", e.raw)
			}
		})
	}
	for name, x := range map[string]struct {
		text string
		want int
	}{
		"a body by its length": {post("Content-Length: 7\r\n", "token=x"), 1},
		"no body":              {post("Content-Length: 0\r\n", ""), 1},
		"a name in two lines":  {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: one\r\n two\r\n\r\n", 1},
		"lines ended by LF":    {"GET /healthz HTTP/1.1\nHost: localhost\nX-A: b\n\n", 1},
		"two requests":         {smuggled + smuggled, 2},
	} {
		t.Run("as it should be: "+name, func(t *testing.T) {
			if e := p.send(x.text); len(e.answers) != x.want || !e.leftOpen || e.malformed != nil {
				t.Errorf("%d answers %v, left open %t", len(e.answers), e.statuses(), e.leftOpen)
			}
		})
	}
	t.Run("a body in chunks, after which the connection ends", func(t *testing.T) {
		e := p.send(post("Transfer-Encoding: chunked\r\n", "7\r\ntoken=x\r\n0\r\n\r\n"))
		if len(e.answers) != 1 || e.answers[0].Status != http.StatusUnauthorized || e.leftOpen ||
			!strings.Contains(e.raw, "\r\nConnection: close\r\n") {
			t.Errorf("answered %v, left open %t", e.statuses(), e.leftOpen)
		}
	})
}

// A refusal may leave a body unread; the rest of the body must not be read as a request.
func TestH03_UnreadBodiesAreNotRequests(t *testing.T) {
	p := startProcess(t)
	const smuggled = "POST /oauth/introspect HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: " +
		"smuggled-request\r\nContent-Length: 0\r\n\r\n"
	for _, head := range []string{
		"GET /healthz", "GET /nothing", "GET /oauth/token", "PUT /login", "POST /nothing", "POST /assets/doorward.css",
		"POST /oauth/token?x=1", "POST /login", "POST /oauth/authorize",
		"PROPFIND /login", "GET /.well-known/oauth-authorization-server", "OPTIONS /oauth/token", "POST /a//b", "HEAD /login",
	} {
		for name, padding := range map[string]string{"short": "", "longer than is read": strings.Repeat(" ", 300<<10)} {
			body := smuggled + padding
			e := p.send(fmt.Sprintf("%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s",
				head, len(body), body))
			if strings.Contains(e.raw, "smuggled-request") {
				t.Errorf("%s, %s: the body was answered: %.300s", head, name, e.raw)
			}
		}
	}
}

// Every answer carries its request's id, so that an answer to another caller's request shows.
func TestH04_BehindNginxNoAnswerGoesToTheWrongRequest(t *testing.T) {
	nginx := needNginx(t)
	p := startProcess(t, "DOORWARD_TRUSTED_PROXIES=127.0.0.1")
	id, secret := p.register("--name", "API", "--resource-server", "--resource", "http://localhost:8080")
	port, err := setup.FreePort(t.Context())
	ok(t, err)
	front := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	startNginx(t, nginx, front, fmt.Sprintf(`
		upstream doorward { server %s; keepalive 8; }
		server {
			listen %s;
			keepalive_requests 100000;
			client_body_timeout 1s;
			lingering_timeout 1s;
			location / {
				proxy_pass http://doorward;
				proxy_http_version 1.1;
				proxy_set_header Connection "";
				proxy_request_buffering off;
				proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			}
		}`, p.address, front))

	authorization := "Authorization: " + rig.Basic(id, secret) + "\r\n"
	const form = "Content-Type: application/x-www-form-urlencoded\r\n"
	// Kinds of requests that leave their connection to the server in different states.
	kinds := []struct {
		name  string
		want  int
		head  string
		lines string
		body  string
	}{
		{"a probe", 200, "GET /healthz", "", ""},
		{"introspection", 200, "POST /oauth/introspect", authorization + form, "token=dw_at_x"},
		{"a refusal", 401, "POST /oauth/introspect", form, "token=x"},
		{
			"a query that is not looked at", 400, "POST /oauth/token?x=1", form,
			"grant_type=client_credentials&pad=" + strings.Repeat("x", 200),
		},
		{
			"a body that a GET should not have", 405, "GET /oauth/token", form,
			"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: smuggled-request\r\n\r\n",
		},
		{"chunks", 401, "POST /oauth/revoke", form + "Transfer-Encoding: chunked\r\n", "7\r\ntoken=x\r\n0\r\n\r\n"},
		{
			"nothing there", 404, "POST /nothing", form,
			"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: smuggled-request\r\n\r\n",
		},
		{"a page", 200, "GET /login", "", ""},
		{"a page's form", 403, "POST /login", form, "email=a"},
		{"another method", 405, "DELETE /oauth/consent", "", ""},
	}
	const pairs, connections = 5000, 8
	var requests [connections]strings.Builder
	var want [connections][]int
	for i := range 2 * pairs {
		c, k := i%connections, kinds[(i/connections+i)%len(kinds)]
		lines := k.lines
		if k.body != "" && !strings.Contains(lines, "chunked") {
			lines += fmt.Sprintf("Content-Length: %d\r\n", len(k.body))
		}
		fmt.Fprintf(&requests[c], "%s HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: pair-%d-%d\r\n%s\r\n%s", k.head, c,
			len(want[c]), lines, k.body)
		want[c] = append(want[c], k.want)
	}
	var results [connections]exchange
	rig.AtOnce(connections, func(c int) { results[c] = sendTo(t, front, requests[c].String()) })
	for c, e := range results {
		if len(e.answers) != len(want[c]) || e.malformed != nil {
			t.Fatalf("connection %d: %d answers for %d requests, %v", c, len(e.answers), len(want[c]), e.malformed)
		}
		for i, a := range e.answers {
			if got := a.Header.Get("X-Request-Id"); got != fmt.Sprintf("pair-%d-%d", c, i) || a.Status != want[c][i] {
				t.Fatalf("request %d of connection %d was answered %d with the id %s, want %d", i, c, a.Status, got, want[c][i])
			}
		}
	}
	t.Run("with requests that try to split", func(t *testing.T) {
		const victim = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: victims-request\r\n\r\n"
		const evil = "GET /nothing HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: smuggled-request\r\nX-Swallow: "
		for _, lines := range []string{
			"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 200\r\n",
			"Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n",
			"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
			"Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n", "Transfer-Encoding : chunked\r\nContent-Length: 5\r\n",
			"Content-Length: 5\r\nContent-Length: 200\r\n", "Content-Length: 5\nTransfer-Encoding: chunked\r\n",
			"X: \x0bTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
		} {
			for _, end := range []string{"0\r\n\r\n", "0\n\r\n", "00000000000000000\r\n\r\n", "0;x=\n\r\n\r\n"} {
				sendTo(t, front, "POST /oauth/introspect HTTP/1.1\r\nHost: localhost\r\n"+form+lines+"\r\n"+end+evil)
				// More than nginx keeps open to the server, so that one of them reuses a connection in that state.
				e := sendTo(t, front, strings.Repeat(victim, 10))
				if len(e.answers) != 10 || strings.Contains(e.raw, "smuggled") {
					t.Errorf("after %q and %q others were answered %v", lines, end, e.statuses())
				}
				for _, a := range e.answers {
					if a.Status != http.StatusOK || a.Header.Get("X-Request-Id") != "victims-request" {
						t.Errorf("after %q and %q another caller was answered %d with the id %s", lines, end, a.Status,
							a.Header.Get("X-Request-Id"))
					}
				}
			}
		}
	})
}

// startNginx runs nginx in its own folder until the test ends.
func startNginx(t *testing.T, binary, address, configuration string) {
	t.Helper()
	folder, err := os.MkdirTemp(scratch, "nginx-")
	ok(t, err)
	file := filepath.Join(folder, "nginx.conf")
	ok(t, os.WriteFile(file, []byte(fmt.Sprintf(`
		daemon off;
		master_process off;
		pid %[1]s/pid;
		error_log stderr warn;
		events { worker_connections 256; }
		http {
			access_log off;
			client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
			%[2]s
		}`, folder, configuration)), 0o600))
	log := &rig.Log{}
	cmd := program(t, binary, "-p", folder, "-c", file)
	cmd.Stdout, cmd.Stderr = log, log
	ok(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have exited already
		_ = cmd.Wait()
	})
	for range 500 {
		if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address); err == nil {
			_ = conn.Close()
			return
		}
		pause(t)
	}
	t.Fatalf("nginx does not listen:\n%s", log)
}

// HTTP/2 is left to a proxy: the server speaks plain HTTP/1.1 and does not upgrade.
func TestH05_HTTP2IsOff(t *testing.T) {
	p := startProcess(t)
	for name, text := range map[string]string{
		"by prior knowledge": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"by an upgrade": "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: " +
			"h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
	} {
		e := p.send(text)
		if !strings.HasPrefix(e.raw, "HTTP/1.1 ") || strings.Contains(e.raw, "HTTP/1.1 101") {
			t.Errorf("%s: answered %.100q", name, e.raw)
		}
		for _, a := range e.answers {
			if a.Header.Get("Upgrade") != "" {
				t.Errorf("%s: upgrades to %s", name, a.Header.Get("Upgrade"))
			}
		}
	}
}
