package gateways

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"doorward/test/setup"
	"doorward/web/gateway"
)

// evil is the value of every header that callers should not send.
const evil = "evil"

// hostileNames lists headers by which a caller may claim another identity, in every spelling.
func hostileNames() []string {
	own := append(gateway.IdentityHeaders(), "Remote-User", "X-HTTP-Method-Override")
	var all []string
	for _, name := range own {
		for _, c := range separators {
			all = append(all, strings.ReplaceAll(name, "-", string(c)), strings.Replace(name, "-", string(c), 1))
		}
		all = append(all, strings.ToLower(name), strings.ToUpper(name), strings.Replace(name, "X-A", "x-a", 1))
	}
	all = append(all, gateway.KnownHeaders()...)
	for _, name := range gateway.KnownHeaders() {
		all = append(all, strings.ReplaceAll(name, "-", "."), strings.ReplaceAll(name, "-", "_"))
	}
	return append(all, "Proxy", "Http_Proxy", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto")
}

// unknownNames lists names that belong to the families of headers but are on no list.
var unknownNames = []string{
	"X-Auth-Example", "Remote-Example", "X-Remote-Extra-Example", "X-Webauth-Example", "X-Consumer-Example",
	"X-Forwarded-Example", "X-Forwarded-Fo", "X-Forwarded-Fort", "X-Forwarded-Proto-Version",
	"X-Forwarded-Client-Cert-Chain", "X-Forwarded_Example", "Ssl-Client-Example", "X-Middleware-Example",
	"X-Original-Example", "X-Script-Example", "X-HTTP-Method-Override-Example", "X-Authenticated-Example",
}

// program is an API in some language. It answers with everything that it knows of a request, as JSON: its headers as
// the language shows them, or its variables.
func program(t *testing.T, language string) (address string) {
	t.Helper()
	folder, address := t.TempDir(), free(t)
	write := func(name, text string) string {
		file := filepath.Join(folder, name)
		ok(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	switch language {
	case "PHP":
		php, err := setup.PHP()
		setup.Need(t, err)
		file := write("api.php",
			`<?php header('Content-Type: application/json'); echo json_encode(['server' => $_SERVER, 'cookie' => $_COOKIE, 'env' => getenv()], JSON_INVALID_UTF8_SUBSTITUTE);`)
		serve(t, folder, address, nil, php, "-S", address, file)
	case "Node":
		node, err := setup.Node()
		setup.Need(t, err)
		_, port, err := net.SplitHostPort(address)
		ok(t, err)
		file := write("api.mjs", `import http from 'node:http';
http.createServer((q, a) => {
	q.resume();
	q.on('end', () => {
		// CGI and WSGI turn headers into variables, too.
		const cgi = Object.fromEntries(Object.entries(q.headers).map(([k, v]) => ['HTTP_' + k.toUpperCase().replace(/[^A-Z0-9]/g, '_'), v]));
		a.setHeader('Content-Type', 'application/json');
		a.end(JSON.stringify({ headers: q.headers, raw: q.rawHeaders, trailers: q.trailers, cgi }));
	});
}).listen(`+port+`, '127.0.0.1');`)
		serve(t, folder, address, nil, node, file)
	default:
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // the caller may disconnect
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]any{"headers": r.Header, "trailers": r.Trailer}) // as above
		}))
		t.Cleanup(server.Close)
		address = server.Listener.Addr().String()
	}
	return address
}

// Headers that tell an API who calls, from where, and how and what is requested never reach an API in the caller's
// version, whatever language the API is written in, through any of the proxies.
func TestV20_NoAPISeesAnIdentityOfTheCallersOwn(t *testing.T) {
	w := memory(t)
	_, key := w.key("read", "write")
	for _, language := range []string{"Go", "Node", "PHP"} {
		behind := program(t, language)
		for _, f := range w.fronts {
			t.Run(language+" behind "+f.name, func(t *testing.T) {
				w.api.does(t, func(rw http.ResponseWriter, r *http.Request) { relay(rw, r, behind) })
				all := hostileNames()
				for len(all) > 0 {
					some := all[:min(60, len(all))]
					all = all[len(some):]
					for _, target := range []string{"/x", "/public"} {
						lines := []string{
							"Cookie: theirs=1; doorward=" + evil + "; flow-3=" + evil,
							"Cookie: __Host-doorward=" + evil + ";__Host-flow-0=" + evil + "; doorward-device=" + evil + "; kept=2",
						}
						for _, name := range some {
							lines = append(lines, name+": "+evil)
						}
						if target == "/x" {
							lines = append(lines, key)
						}
						a := f.send(t, "GET", target, lines...)
						if a.Status != http.StatusOK {
							t.Fatalf("%s answered %d %s with %q", target, a.Status, a.Body, some)
						}
						shows(t, a.Body, some)
						if !strings.Contains(a.Body, "theirs") || !strings.Contains(a.Body, "kept") {
							t.Errorf("the API lacks its own cookies: %.600s", a.Body)
						}
					}
				}
				for _, name := range unknownNames {
					a := f.send(t, "GET", "/public", name+": "+evil)
					if a.Status != http.StatusOK && (f.name != nginx || a.Status != http.StatusBadRequest) {
						t.Errorf("%s answered %d %s", name, a.Status, a.Body)
					}
					shows(t, a.Body, []string{name})
				}
				// Names that HTTP does not allow, headers named in Connection, which would remove them after they were set,
				// duplicates, and trailer fields.
				for _, lines := range [][]string{
					{"X Auth Subject: " + evil},
					{"X-Auth-Subject : " + evil},
					{" X-Auth-Subject: " + evil},
					{"X\xe2\x80\x90Auth\xe2\x80\x90Subject: " + evil},
					{"X-Auth-S\xc3\xbcbject: " + evil},
					{"Connection: X-Auth-Role, X-Auth-Subject, X-Auth-Key", "X-Auth-Role: " + evil},
					{"Connection: close, X-Auth-Key"},
					{"X-Forwarded-For: " + evil, "X-Forwarded-For: " + evil},
					{"X-Forwarded-Host: " + evil + ", " + host},
					{"X-Forwarded-Proto: " + evil, "X-Forwarded-Proto: " + evil},
				} {
					a := f.send(t, "GET", "/x", append(lines, key)...)
					if a.Status != http.StatusOK && a.Status != http.StatusBadRequest {
						t.Errorf("%q answered %d %s", lines, a.Status, a.Body)
					}
					shows(t, a.Body, lines)
					if a.Status == http.StatusOK &&
						!strings.Contains(strings.ToLower(strings.ReplaceAll(a.Body, "_", "-")), "x-auth-key") {
						t.Errorf("%q: the API is not told who calls: %s", lines, a.Body)
					}
				}
				c := f.dial(t)
				c.write("POST", "/x", "", key, "Transfer-Encoding: chunked", "TE: trailers", "Trailer: X-Auth-Subject, X-Auth-Role")
				_, err := io.WriteString(c, "1\r\nx\r\n0\r\nX-Auth-Subject: "+evil+"\r\nX-Auth-Role: "+evil+"\r\n\r\n")
				ok(t, err)
				shows(t, c.answer("POST").Body, []string{"trailer fields"})
			})
		}
	}
}

// relay passes a request on to a program unchanged, header for header, and returns its answer.
func relay(rw http.ResponseWriter, r *http.Request, address string) {
	q, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, "http://"+address+r.RequestURI,
		r.Body)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	q.Header, q.ContentLength = r.Header, r.ContentLength
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadGateway)
		return
	}
	defer a.Body.Close()       //nolint:errcheck // read to its end
	_, _ = io.Copy(rw, a.Body) // the test checks what arrived
}

// shows fails if an API received a caller's value.
func shows(t *testing.T, body string, sent []string) {
	t.Helper()
	if i := strings.Index(body, evil); i >= 0 {
		t.Errorf("of %q the API sees …%s…", sent, body[max(0, i-80):min(len(body), i+40)])
	}
}
