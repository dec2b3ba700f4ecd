package gateways

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"doorward/test/rig"
	"doorward/test/stores"
)

// A browser's request for a page on the host of an API is refused like any other request: Doorward has no pages and no
// cookies on such a host, so there is no login page to redirect to.
func TestF01_WithoutACredentialItIs401AndNeverARedirect(t *testing.T) {
	w := memory(t)
	w.each(func(t *testing.T, f front) {
		for name, lines := range map[string][]string{
			"a program": nil,
			"a browser": {
				"Accept: text/html,application/xhtml+xml", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document",
				"Upgrade-Insecure-Requests: 1",
			},
		} {
			a := f.send(t, "GET", "/x?return_to=https://evil.example", lines...)
			if a.Status != http.StatusUnauthorized || a.Header.Get("Location") != "" || a.Header.Get("Set-Cookie") != "" ||
				a.JSON()["statusCode"] != 401.0 {
				t.Errorf("%s: answered %d %v %s", name, a.Status, a.Header, a.Body)
			}
		}
		w.nothing(t)
	})
}

// addresses lists the headers that carry a request's address or the hops before it.
var addresses = []string{
	"X-Forwarded-Uri", "X-Original-URI", "X-Original-URL", "X-Rewrite-Url", "X-Forwarded-Prefix", "X-Forwarded-Method",
	"X-Original-Method", "X-HTTP-Method-Override",
}

// The request line alone says what is requested, for Doorward and for the API.
func TestF03_AddressesInHeadersOfACallerCountForNothing(t *testing.T) {
	w := memory(t)
	_, key := w.key("read")
	w.each(func(t *testing.T, f front) {
		for _, name := range addresses {
			value := "/public"
			if strings.Contains(name, "Method") {
				value = "GET"
			}
			for _, lines := range [][]string{
				{name + ": " + value},
				{name + ": " + value, name + ": /other"},
				{strings.ToLower(name) + ": " + value},
				{strings.ReplaceAll(name, "-", "_") + ": " + value},
			} {
				if a := f.send(t, "GET", "/admin/x", append(lines, key)...); a.Status != http.StatusForbidden {
					t.Errorf("%v: answered %d", lines, a.Status)
				}
				if a := f.send(t, "GET", "/admin/x", lines...); a.Status != http.StatusUnauthorized {
					t.Errorf("%v without a credential: answered %d", lines, a.Status)
				}
				w.nothing(t)
				if a := f.send(t, "GET", "/x", append(lines, key)...); a.Status != http.StatusOK {
					t.Errorf("%v with a path that is allowed: answered %d %s", lines, a.Status, a.Body)
					continue
				}
				if s := w.api.one(t); s.target != "/x" || len(s.values(name)) > 0 {
					t.Errorf("%v: the API sees %s and %s: %v", lines, s.target, name, s.values(name))
				}
			}
		}
	})
	for _, path := range []string{"/gateway/forward", "/gateway/nginx"} {
		for _, name := range []string{host, "localhost:8080"} {
			a := front{
				address: w.fronts[0].address,
			}.send(t, "GET", path, "Host: "+name, "X-Forwarded-Uri: /public", "X-Original-Uri: /public",
				"X-Forwarded-Method: GET", "X-Original-Method: GET", "X-Forwarded-Host: "+host, "X-Original-Host: "+host)
			if a.Status == http.StatusOK || a.Header.Get("X-Auth-Subject") != "" {
				t.Errorf("%s on %s answered a stranger %d %v", path, name, a.Status, a.Header)
			}
		}
	}
}

func TestF04_TwoAddressesAreRefused(t *testing.T) {
	w := memory(t)
	_, key := w.key("admin")
	for _, path := range questions {
		good := append(question(path, "/x"), key)
		if a := w.asked(t, path, good...); a.Status != http.StatusOK {
			t.Fatalf("%s answered %d %s", path, a.Status, a.Body)
		}
		for _, more := range [][]string{
			{"X-Original-URL: /public"},
			{"X-Rewrite-Url: /public"},
			{"X-Forwarded-Uri: /public"},
			{"X-Original-Uri: /public"},
			{"X-Original-URL: /x", "X-Original-URL: /public"},
			{good[0]},
			{good[1]},
			{good[2]},
			{"X-Original-Uri: /x", "X-Forwarded-Uri: /y"},
		} {
			if a := w.asked(t, path, append(more, good...)...); a.Status != http.StatusForbidden {
				t.Errorf("%s with %v answered %d", path, more, a.Status)
			}
		}
		for i := range 3 {
			if a := w.asked(t, path, slices.Delete(slices.Clone(good), i, i+1)...); a.Status != http.StatusForbidden {
				t.Errorf("%s without %s answered %d", path, good[i], a.Status)
			}
		}
	}
}

// crooked lists paths that some server on the way may read as another path, including paths that look public.
var crooked = []string{
	"/public/../admin", "/public/..", "/./admin", "/admin/.", "/public/%2e%2e/admin", "/public/%2E%2e/admin",
	"/public/.%2e/admin", "/public/%252e%252e/admin", "//admin", "/public//admin",
	"/admin;x=/public", "/public;/../admin", "/public%3b/admin", "/admin%2f", "/admin%2Fx", "/public%252f",
	"/public%00/admin", "/public%2500", "/public%23/../admin", `/public\admin`, `/public/..\admin`, "/public%5c..%5cadmin",
	"/public%0a", "/public%7f", "/public%ff", "/public%", "/public%2", "/public%zz",
}

func TestF05_PathsOutOfTheirPlainFormAre400(t *testing.T) {
	w := memory(t)
	_, key := w.key("admin")
	w.each(func(t *testing.T, f front) {
		for _, target := range crooked {
			for _, lines := range [][]string{nil, {key}} {
				if a := f.send(t, "GET", target, lines...); a.Status != http.StatusBadRequest {
					t.Errorf("%s answered %d %s", target, a.Status, a.Body)
				}
			}
		}
		w.nothing(t)
	})
	for _, path := range questions {
		for _, target := range slices.Concat(crooked, []string{
			"public", "http://api.example.com/public", "*", "?/public", "/admin#/public", "/public/\x80", "",
		}) {
			want := http.StatusBadRequest
			if target == "" {
				want = http.StatusForbidden // as without the header
			}
			if a := w.asked(t, path, append(question(path, target), key)...); a.Status != want {
				t.Errorf("%s about %s answered %d %s", path, target, a.Status, a.Body)
			}
		}
	}
}

func TestF06_AQueryIsNoPath(t *testing.T) {
	w := memory(t)
	_, key := w.key("read")
	w.each(func(t *testing.T, f front) {
		for _, target := range []string{
			"/admin?x=/public", "/admin?/public", "/admin?x=/../public", "/admin?;/public", "/admin??/public",
		} {
			if a := f.send(t, "GET", target, key); a.Status != http.StatusForbidden {
				t.Errorf("%s answered %d", target, a.Status)
			}
			if a := f.send(t, "GET", target); a.Status != http.StatusUnauthorized {
				t.Errorf("%s without a credential answered %d", target, a.Status)
			}
		}
		w.nothing(t)
	})
}

func TestF08_AHostIsKnownByEverySpellingAndNoOther(t *testing.T) {
	w := memory(t)
	_, key := w.key("read")
	w.each(func(t *testing.T, f front) {
		for _, name := range []string{host, "API.Example.COM", host + ".", host + ":80", "API.EXAMPLE.COM.:80"} {
			if a := f.send(t, "GET", "/admin", "Host: "+name, key); a.Status != http.StatusForbidden {
				t.Errorf("%s: a path that is not allowed answered %d", name, a.Status)
			}
			w.nothing(t)
			if a := f.send(t, "GET", "/x", "Host: "+name, key); a.Status != http.StatusOK {
				t.Errorf("%s answered %d %s", name, a.Status, a.Body)
				continue
			}
			w.api.one(t)
		}
		for _, name := range []string{
			"evil.example", "user@" + host, host + "@evil.example", "api.example.com.evil.example", "xapi.example.com",
			"127.0.0.1", "[::1]", host + ",evil.example",
		} {
			for _, target := range []string{"/public", "/x"} {
				if a := f.send(t, "GET", target, "Host: "+name, key); a.Status < 400 || a.Status >= 500 {
					t.Errorf("%s%s answered %d", name, target, a.Status)
				}
			}
		}
		w.nothing(t)
		// If a request has two host names, all servers on the way use the one in the request line (RFC 9112, section 3.2.2).
		a := f.send(t, "GET", "http://"+otherHost+"/x", "Host: "+host, key)
		if a.Status == http.StatusOK {
			t.Errorf("a credential for %s passed at %s: %v", host, otherHost, w.api.take())
		}
	})
	for _, path := range questions {
		for _, name := range []string{"evil.example", "user@" + host, host + "/x", host + ", evil.example", host + "\\"} {
			lines := append(question(path, "/public"), key)
			_, value, _ := strings.Cut(lines[1], ": ")
			lines[1] = strings.Replace(lines[1], value, name, 1)
			if a := w.asked(t, path, lines...); a.Status != http.StatusForbidden {
				t.Errorf("%s about the host %s answered %d", path, name, a.Status)
			}
		}
	}
	// If a proxy adds the host name that it saw to one that its caller sent, there are two, and neither counts.
	for name, lines := range map[string][]string{
		"a list":    {"X-Forwarded-Host: " + host + ", " + otherHost},
		"two lines": {"X-Forwarded-Host: " + host, "X-Forwarded-Host: " + otherHost},
	} {
		if a := w.asked(t, "/public", append(lines, "Host: "+otherHost)...); a.Status == http.StatusOK {
			t.Errorf("%s of forwarded hosts answered %d %s", name, a.Status, a.Body)
		}
		w.nothing(t)
	}
}

func TestF09_NoKindOfRequestPassesByItself(t *testing.T) {
	w := memory(t)
	_, key := w.key("read")
	w.each(func(t *testing.T, f front) {
		for name, test := range map[string]struct {
			method string
			lines  []string
		}{
			"a health check": {"GET", []string{"User-Agent: ELB-HealthChecker/2.0"}},
			"another":        {"GET", []string{"User-Agent: kube-probe/1.31", "X-Health-Check: 1"}},
			"OPTIONS":        {"OPTIONS", nil},
			"a WebSocket": {
				"GET", []string{
					"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
					"Sec-WebSocket-Version: 13",
				},
			},
			"another protocol":     {"GET", []string{"Connection: Upgrade", "Upgrade: h2c"}},
			"HEAD":                 {"HEAD", nil},
			"a request for a part": {"GET", []string{"Range: bytes=0-1"}},
			"a request of a cache": {"GET", []string{"If-None-Match: *", "Cache-Control: only-if-cached"}},
			"a request from within, it says": {
				"GET", []string{"X-Forwarded-For: 127.0.0.1", "X-Real-Ip: 127.0.0.1", "X-Doorward-Status: 200"},
			},
		} {
			if a := f.send(t, test.method, "/x", test.lines...); a.Status != http.StatusUnauthorized {
				t.Errorf("%s answered %d %s", name, a.Status, a.Body)
			}
		}
		// A request that passed does not open the way for others in another protocol.
		for _, protocol := range []string{"h2c", "HTTP/2.0", "TLS/1.0", "websocket, h2c"} {
			if a := f.send(t, "GET", "/x", key, "Connection: Upgrade, HTTP2-Settings", "Upgrade: "+protocol,
				"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"); f.name == envoy && a.Status == http.StatusForbidden {
				continue // Envoy refuses a header that the others ignore
			} else if a.Status != http.StatusOK {
				t.Errorf("an upgrade to %s answered %d", protocol, a.Status)
				continue
			}
			if s := w.api.one(t); s.header.Get("Upgrade") != "" {
				t.Errorf("the API sees an upgrade to %s", s.header.Get("Upgrade"))
			}
		}
		// Doorward answers a preflight, and the API never sees it.
		a := f.send(t, "OPTIONS", "/x", "Origin: "+page, "Access-Control-Request-Method: POST",
			"Access-Control-Request-Headers: authorization")
		if a.Status != http.StatusNoContent || a.Header.Get("Access-Control-Allow-Origin") != page ||
			!strings.Contains(a.Header.Get("Access-Control-Allow-Methods"), "POST") {
			t.Errorf("a preflight answered %d %v", a.Status, a.Header)
		}
		if a := f.send(t, "OPTIONS", "/x", "Origin: https://evil.example",
			"Access-Control-Request-Method: POST"); a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("a preflight of a strange page answered %d %v", a.Status, a.Header)
		}
		w.nothing(t)
	})
}

func TestF12_WithoutStorageItIs503AndTheAPISeesNothing(t *testing.T) {
	for name, url := range map[string]func(testing.TB) string{"sqlite": stores.SQLite, "postgresql": stores.PostgreSQL} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, stores.Open(t, url(t)))
			_, key := w.key("read")
			w.each(func(t *testing.T, f front) {
				if a := f.send(t, "GET", "/x", key); a.Status != http.StatusOK {
					t.Fatalf("with storage: answered %d %s", a.Status, a.Body)
				}
			})
			w.BreakStorage()
			w.each(func(t *testing.T, f front) {
				for range 20 {
					a := f.send(t, "GET", "/x", key)
					if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") != "1" ||
						a.JSON()["statusCode"] != 503.0 || a.Header.Get("X-Request-Id") == "" {
						t.Fatalf("answered %d %v %s", a.Status, a.Header, a.Body)
					}
				}
				w.nothing(t)
				// Decisions that need no storage are as before.
				if a := f.send(t, "GET", "/public"); a.Status != http.StatusOK {
					t.Errorf("a public path answered %d", a.Status)
				}
			})
		})
	}
}

// Every answer carries its request's id and the identity that the API saw, so that an answer to another caller's
// request shows.
func TestH04_PipelinedRequestsGetTheirOwnAnswers(t *testing.T) {
	w := memory(t)
	lines := map[string]string{}
	for range 3 {
		k, line := w.key("read")
		lines[k.ID] = line
	}
	keys := slices.Sorted(maps.Keys(lines))
	w.api.does(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Seen", r.Header.Get("X-Auth-Key")+" "+r.Header.Get("X-Request-Id")+" "+r.RequestURI)
	})
	w.each(func(t *testing.T, f front) {
		const connections = 4
		each := pipelined / connections
		var open [connections]*connection
		for i := range open {
			open[i] = f.dial(t)
		}
		rig.AtOnce(connections, func(n int) {
			c := open[n]
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				for i := range each {
					body := ""
					method, extra := "GET", []string{lines[keys[(i+n)%len(keys)]]}
					switch i % 4 {
					case 1:
						extra = nil // refused
					case 2:
						// Refused, with its body unread.
						method, body = "POST", "GET /public HTTP/1.1\r\nHost: "+host+"\r\nX-Request-Id: smuggled-request\r\n\r\n"
					}
					c.write(method, fmt.Sprintf("/r/%d/%d", n, i), body,
						append(extra, fmt.Sprintf("X-Request-Id: pair-%d-%d-x", n, i))...)
				}
			}()
			for i := range each {
				want, method := http.StatusOK, "GET"
				switch i % 4 {
				case 1:
					want = http.StatusUnauthorized
				case 2:
					want, method = http.StatusForbidden, "POST"
				}
				a := c.answer(method)
				id := fmt.Sprintf("pair-%d-%d-x", n, i)
				see := ""
				if want == http.StatusOK {
					see = fmt.Sprintf("%s %s /r/%d/%d", keys[(i+n)%len(keys)], id, n, i)
				}
				if a.Status != want || a.Header.Get("X-Request-Id") != id || a.Header.Get("X-Seen") != see {
					t.Errorf("request %s of key %s answered %d, id %s, the API saw %q", id, see, a.Status,
						a.Header.Get("X-Request-Id"), a.Header.Get("X-Seen"))
					_ = c.Close()
					break
				}
			}
			<-sent
		})
	})
}
