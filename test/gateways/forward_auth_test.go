package gateways

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/oauth/apikey"
	"doorward/storage"
	"doorward/test/rig"
	"doorward/test/stores"
)

// A page that a browser opens on the host of an API is refused like any other request: no page and no cookie is of such
// a host, so there is no login to send anybody to.
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

// identity are the headers by which an API learns who calls.
var identity = []string{
	"X-Auth-Subject", "X-Auth-Client", "X-Auth-Scope", "X-Auth-Credential", "X-Auth-Workspace-Id", "X-Auth-Workspace",
	"X-Auth-Role", "X-Auth-Env", "X-Auth-Plan", "X-Auth-Key", "X-Auth-Foreign-Issuer", "X-Auth-Foreign-Subject",
}

// plain is the name of a header as servers see it that make variables of headers.
func plain(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }

// values are all that an API could take for a header.
func (s seen) values(name string) (all []string) {
	for have, values := range s.header {
		if plain(have) == plain(name) {
			all = append(all, values...)
		}
	}
	return all
}

func TestF02_TheAPISeesOurIdentityHeadersAlone(t *testing.T) {
	w := memory(t)
	k, key := w.key("read")
	var spoofed []string
	for _, name := range slices.Concat(identity, []string{
		"X-Auth-User", "Remote-User", "X-Remote-User", "X-Forwarded-User",
	}) {
		spoofed = append(spoofed, name+": evil", strings.ToLower(name)+": evil", strings.ReplaceAll(name, "-", "_")+": evil",
			strings.ToLower(strings.ReplaceAll(name, "-", "_"))+": evil")
	}
	w.each(func(t *testing.T, f front) {
		for name, test := range map[string]struct {
			target string
			lines  []string
			want   map[string]string
		}{
			"a key": {
				"/x", []string{key}, map[string]string{
					"X-Auth-Scope":        "read",
					"X-Auth-Credential":   "api_key",
					"X-Auth-Workspace-Id": w.shared.ID,
					"X-Auth-Workspace":    "acme",
					"X-Auth-Env":          "live",
					"X-Auth-Plan":         "wide",
					"X-Auth-Key":          k.ID,
				},
			},
			"a public path": {"/public", nil, map[string]string{}},
		} {
			// In two halves, since a request may have 100 header lines.
			for half := range slices.Chunk(spoofed, 60) {
				a := f.send(t, "GET", test.target, append(slices.Clone(half), test.lines...)...)
				if a.Status != http.StatusOK {
					t.Fatalf("%s: answered %d %s", name, a.Status, a.Body)
				}
				s := w.api.one(t)
				for have, values := range s.header {
					if slices.Contains(values, "evil") {
						t.Errorf("%s: the API sees %s: %v", name, have, values)
					}
				}
				for _, header := range identity {
					if got := strings.Join(s.values(header), "|"); got != test.want[header] {
						t.Errorf("%s: the API sees %s as %q, want %q", name, header, got, test.want[header])
					}
				}
			}
		}
	})
}

// What was judged by a header's name reaches no API that reads it by another spelling: many servers turn headers into
// variables, where a hyphen and an underscore are one.
func TestF02_NoHeaderComesWithUnderscores(t *testing.T) {
	w := memory(t)
	_, key := w.key("read")
	w.each(func(t *testing.T, f front) {
		a := f.send(t, "GET", "/x", key, "X_Workspace: evil", "x_forwarded_for: evil", "X_Forwarded-Host: evil",
			"X_Request_Id: evil-evil", "Content_Length: 7")
		if a.Status != http.StatusOK {
			t.Fatalf("answered %d %s", a.Status, a.Body)
		}
		for have, values := range w.api.one(t).header {
			if strings.Contains(have, "_") {
				t.Errorf("the API sees %s: %v", have, values)
			}
		}
	})
}

// addresses are headers in which a request's address, or what goes before it, is sent.
var addresses = []string{
	"X-Forwarded-Uri", "X-Original-URI", "X-Original-URL", "X-Rewrite-Url", "X-Forwarded-Prefix", "X-Forwarded-Method",
	"X-Original-Method", "X-HTTP-Method-Override",
}

// What is asked for is what the request line says, to Doorward and to the API.
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

// asked asks Doorward as a proxy does whom it trusts.
func (w *world) asked(t *testing.T, path string, lines ...string) *rig.Answer {
	t.Helper()
	q := w.Request(http.MethodGet, path, nil)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		q.Header.Add(name, value)
	}
	a := w.Send(w.Program(), q)
	if path == "/gateway/nginx" && a.Status == http.StatusForbidden {
		if _, err := fmt.Sscan(a.Header.Get("X-Doorward-Status"), &a.Status); err != nil {
			t.Errorf("no status in %v", a.Header)
		}
	}
	return a
}

// question are the headers of a proxy's question about GET target.
func question(path, target string) []string {
	if path == "/gateway/nginx" {
		return []string{"X-Original-Method: GET", "X-Original-Host: " + host, "X-Original-Uri: " + target}
	}
	return []string{"X-Forwarded-Method: GET", "X-Forwarded-Host: " + host, "X-Forwarded-Uri: " + target}
}

var questions = []string{"/gateway/forward", "/gateway/nginx"}

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

// crooked are paths that some server on the way may take for another path, those of a public one among them.
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
		// Two names for one request: the address of the request line counts (RFC 9112, section 3.2.2), to all on the
		// way.
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
	// A proxy that adds the name it saw to the one that its caller sent leaves two, and neither counts.
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
		// Nor does one that passed open the way for others, in another protocol.
		for _, protocol := range []string{"h2c", "HTTP/2.0", "TLS/1.0", "websocket, h2c"} {
			if a := f.send(t, "GET", "/x", key, "Connection: Upgrade, HTTP2-Settings", "Upgrade: "+protocol,
				"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"); f.name == envoy && a.Status == http.StatusForbidden {
				continue // Envoy refuses what the others pass on as if it were not there
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

// A proxy that asks with the caller's own method asks all the same; a preflight is no yes.
func TestF09_AQuestionIsNoPreflight(t *testing.T) {
	w := memory(t)
	for _, path := range questions {
		q := w.Request(http.MethodOptions, path, nil, "Origin", page, "Access-Control-Request-Method", "GET")
		for _, line := range question(path, "/x") {
			name, value, _ := strings.Cut(line, ": ")
			q.Header.Set(name, value)
		}
		if a := w.Send(w.Program(), q); a.Status < 400 {
			t.Errorf("%s answered %d %v", path, a.Status, a.Header)
		}
	}
}

func TestF10_CookiesCountForNothing(t *testing.T) {
	w := memory(t)
	b := w.Browser().SignIn(w.Alice.Email)
	var session string
	for _, c := range b.Cookies() {
		session = c.Name + "=" + c.Value
	}
	w.each(func(t *testing.T, f front) {
		for name, lines := range map[string][]string{
			"a live session":  {"Cookie: " + session},
			"a malformed one": {"Cookie: doorward=\x01;;=;\"; doorward"},
			"two sessions":    {"Cookie: " + session + "; " + session},
			"two headers":     {"Cookie: " + session, "Cookie: " + session},
			"8 kB":            {"Cookie: doorward=" + strings.Repeat("x", 8000)},
		} {
			a := f.send(t, "GET", "/x", lines...)
			if a.Status != http.StatusUnauthorized && (name != "a malformed one" || a.Status != http.StatusBadRequest) {
				t.Errorf("%s: answered %d %s", name, a.Status, a.Body)
			}
			for _, header := range identity {
				if a.Header.Get(header) != "" {
					t.Errorf("%s: the answer says %s: %s", name, header, a.Header.Get(header))
				}
			}
		}
		w.nothing(t)
	})
	for _, path := range questions {
		a := w.asked(t, path, append(question(path, "/x"), "Cookie: "+session)...)
		if a.Status != http.StatusUnauthorized {
			t.Errorf("%s answered %d", path, a.Status)
		}
		for _, header := range identity {
			if values := a.Header.Values(header); len(values) != 1 || values[0] != "" {
				t.Errorf("%s answered %s: %q", path, header, values)
			}
		}
	}
}

func TestF11_ACredentialForAnotherResourceIs401(t *testing.T) {
	w := memory(t)
	_, own := w.key("read")
	_, text := w.Key(w.shared, apikey.Spec{Scopes: []string{"read"}, Resource: otherResource})
	others := map[string]string{"a key": text}
	_, others["a personal token"] = w.PersonalToken(w.Alice, apikey.Spec{
		Scopes: []string{"read"}, Resource: otherResource,
	})
	soon := storage.Time(w.now.Load()).Add(time.Minute)
	_, others["a key that has expired"] = w.Key(w.shared, apikey.Spec{
		Scopes: []string{"read"}, Resource: otherResource, ExpiresAt: soon,
	})
	paused, text := w.Key(w.shared, apikey.Spec{Scopes: []string{"read"}, Resource: otherResource})
	others["a key that is paused"] = text
	w.SQL("UPDATE api_keys SET paused_at = 1 WHERE id = $1", paused.ID)
	w.now.Add(2 * time.Minute.Microseconds())
	w.each(func(t *testing.T, f front) {
		for name, text := range others {
			for _, target := range []string{"/x", "/v1/auth/test"} { // the second is Doorward's own
				a := f.send(t, "GET", target, "Authorization: Bearer "+text, "X-Workspace: acme")
				if a.Status != http.StatusUnauthorized ||
					!strings.Contains(a.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
					t.Errorf("%s: %s answered %d %v %s", name, target, a.Status, a.Header, a.Body)
				}
			}
		}
		if a := f.send(t, "GET", "/x", "Host: "+otherHost, own); a.Status != http.StatusUnauthorized {
			t.Errorf("a key of the first at the other answered %d", a.Status)
		}
		w.nothing(t)
		if a := f.send(t, "GET", "/x", "Host: "+otherHost,
			"Authorization: Bearer "+others["a key"]); a.Status != http.StatusOK {
			t.Errorf("a key of the other there answered %d %s", a.Status, a.Body)
		}
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
				// What asks nobody is as before.
				if a := f.send(t, "GET", "/public"); a.Status != http.StatusOK {
					t.Errorf("a public path answered %d", a.Status)
				}
			})
		})
	}
}

func TestF13_AConnectionHeaderTakesNothingAway(t *testing.T) {
	w := memory(t)
	k, key := w.key("read")
	w.each(func(t *testing.T, f front) {
		for _, line := range []string{
			"Connection: " + strings.Join(identity, ", "), "Connection: close, x-auth-key, X-AUTH-SCOPE",
			"Connection: Authorization, X-Auth-Key", "Connection: X-Forwarded-For, X-Forwarded-Host, X-Request-Id, X-Auth-Key",
			"Connection: X-Forwarded-Uri, X-Forwarded-Method, X-Forwarded-For, X-Original-Uri, X-Original-Method, " +
				"X-Original-Host",
		} {
			a := f.send(t, "GET", "/x", line, key, "X-Auth-Key: evil")
			if a.Status == http.StatusUnauthorized && strings.Contains(line, "Authorization") {
				w.nothing(t) // it took its own credential away
				continue
			}
			if a.Status == http.StatusBadRequest && f.name == envoy {
				w.nothing(t) // it refuses a request that has others drop its headers
				continue
			}
			if a.Status != http.StatusOK {
				t.Errorf("%s: answered %d %s", line, a.Status, a.Body)
				continue
			}
			s := w.api.one(t)
			if s.header.Get("X-Auth-Key") != k.ID || s.header.Get("X-Auth-Scope") != "read" ||
				!strings.HasSuffix(s.header.Get("X-Forwarded-For"), stranger) || s.header.Get("X-Request-Id") == "" {
				t.Errorf("%s: the API sees %v", line, s.header)
			}
		}
	})
}

func TestF14_TheAddressIsTheLastHopThatNobodyTrusts(t *testing.T) {
	w := memory(t)
	const inside = "203.0.113.7"
	restricted := func(addresses ...string) string {
		_, text := w.Key(w.shared, apikey.Spec{Addresses: addresses})
		return "Authorization: Bearer " + text
	}
	there, here := restricted(inside), restricted(stranger)
	w.each(func(t *testing.T, f front) {
		for _, lines := range [][]string{
			{"X-Forwarded-For: " + inside},
			{"X-Forwarded-For: " + inside, "X-Forwarded-For: " + inside},
			{"X-Forwarded-For: " + inside + ", 127.0.0.1"},
			{"X-Real-Ip: " + inside},
			{"Forwarded: for=" + inside},
			{"X-Forwarded-For: " + inside + ","},
			{"X-Forwarded-For: x, " + inside},
			{"X-Client-Ip: " + inside, "True-Client-Ip: " + inside},
		} {
			if a := f.send(t, "GET", "/x", append(lines, there)...); a.Status != http.StatusForbidden {
				t.Errorf("%v: a key for %s answered %d %s", lines, inside, a.Status, a.Body)
			}
			w.nothing(t)
			if a := f.send(t, "GET", "/x", append(lines, here)...); a.Status != http.StatusOK {
				t.Errorf("%v: a key for %s answered %d %s", lines, stranger, a.Status, a.Body)
				continue
			}
			// What the API is told ends with the true one, whatever stands before it.
			if s := w.api.one(t); !strings.HasSuffix(strings.Join(s.header.Values("X-Forwarded-For"), ", "), stranger) {
				t.Errorf("%v: the API sees %v", lines, s.header)
			}
		}
	})
	for _, path := range questions {
		for chain, want := range map[string]int{
			"198.51.100.1, " + inside:            200,
			inside + ", 198.51.100.1":            403,
			inside + ", 127.0.0.1":               200,
			inside + ", 198.51.100.1, 127.0.0.1": 403,
			inside + ", x":                       403,
			"":                                   403,
		} {
			if a := w.asked(t, path, append(question(path, "/x"), there, "X-Forwarded-For: "+chain)...); a.Status != want {
				t.Errorf("%s with the chain %q answered %d, want %d", path, chain, a.Status, want)
			}
		}
	}
}

// There is no Basic here, and so no name that a caller writes; what a caller does write about who it is, its workspace,
// is that of the one known by this very text, or nobody's.
func TestF15_IdentityHeadersHoldNamesAsWeKnowThem(t *testing.T) {
	w := memory(t)
	_, token := w.PersonalToken(w.Alice, apikey.Spec{Scopes: []string{"read"}})
	w.each(func(t *testing.T, f front) {
		// one space or more: RFC 9110, section 11.4
		for _, scheme := range []string{"Bearer", "bearer", "BEARER", "Bearer "} {
			a := f.send(t, "GET", "/x", "authorization: "+scheme+" "+token, "x-workspace: acme")
			if a.Status != http.StatusOK {
				t.Errorf("%s: answered %d %s", scheme, a.Status, a.Body)
				continue
			}
			s := w.api.one(t)
			if s.header.Get("X-Auth-Subject") != w.Alice.ID || s.header.Get("X-Auth-Workspace") != "acme" ||
				s.header.Get("X-Auth-Role") != "owner" {
				t.Errorf("%s: the API sees %v", scheme, s.header)
			}
		}
		for _, line := range []string{
			"Authorization: Basic " + strings.TrimPrefix(rig.Basic(w.Alice.ID, rig.Password), "Basic "),
			"Authorization: Bearer " + token + "=", "Authorization: Bearer " + strings.ToUpper(token), "Authorization: " + token,
			"X-API-Key: " + token, "Authorization: Bearer " + w.Alice.Email,
		} {
			if a := f.send(t, "GET", "/x", line, "X-Workspace: acme"); a.Status != http.StatusUnauthorized {
				t.Errorf("%s: answered %d", line, a.Status)
			}
		}
		for _, slug := range []string{"ACME", "Acme", "acme%20", "acme.", w.shared.ID, "acme,other"} {
			a := f.send(t, "GET", "/x", "Authorization: Bearer "+token, "X-Workspace: "+slug)
			if a.Status != http.StatusForbidden {
				t.Errorf("the workspace %q answered %d %s", slug, a.Status, a.Body)
			}
		}
		w.nothing(t)
	})
}

// Two people take turns over one connection to the proxy, which has few of its own to Doorward and the API.
func TestF16_NobodyGetsTheIdentityOfTheOneBefore(t *testing.T) {
	w := memory(t)
	bob := w.User("bob@example.com", "Bob", false)
	w.Join(w.shared, bob, "member")
	type person struct {
		storage.User
		line string
	}
	var people []person
	for _, u := range []storage.User{w.Alice, bob} {
		_, token := w.PersonalToken(u, apikey.Spec{Scopes: []string{"read"}})
		people = append(people, person{u, "Authorization: Bearer " + token})
	}
	w.api.does(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header()["X-Seen"] = r.Header.Values("X-Auth-Subject")
		rw.Header().Set("X-Seen-Role", r.Header.Get("X-Auth-Role"))
	})
	roles := map[string]string{w.Alice.ID: "owner", bob.ID: "member"}
	w.each(func(t *testing.T, f front) {
		c := f.dial(t)
		for i := range alternations {
			if i%3 == 2 {
				c.write("GET", "/x", "")
				if a := c.answer("GET"); a.Status != http.StatusUnauthorized || a.Header.Get("X-Seen") != "" {
					t.Fatalf("turn %d, nobody's: answered %d %v", i, a.Status, a.Header)
				}
				continue
			}
			p := people[i%2]
			c.write("GET", "/x", "", p.line, "X-Workspace: acme")
			a := c.answer("GET")
			got := strings.Join(a.Header.Values("X-Seen"), "|")
			if a.Status != http.StatusOK || got != p.ID || a.Header.Get("X-Seen-Role") != roles[p.ID] {
				t.Fatalf("turn %d of %s: answered %d, and the API sees %s as %s", i, p.ID, a.Status, got,
					a.Header.Get("X-Seen-Role"))
			}
		}
	})
	for _, path := range questions {
		for _, line := range []string{people[0].line, "X-Nothing: x"} {
			a := w.asked(t, path, append(question(path, "/x"), line, "X-Workspace: acme")...)
			vary := strings.Join(a.Header.Values("Vary"), ", ")
			if a.Header.Get("Cache-Control") != "no-store" || !strings.Contains(vary, "Authorization") ||
				!strings.Contains(vary, "X-Workspace") {
				t.Errorf("%s answered %v", path, a.Header)
			}
		}
	}
}

// Every answer carries its request's id and says whom the API saw, so that one which goes to somebody else's request
// shows.
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
						// refused, with its body unread
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

// What ingress-nginx and Envoy send is answered as what the others send is.
func TestV23_QuestionsOfIngressNginxAndEnvoy(t *testing.T) {
	w := memory(t)
	k, key := w.key("read")
	ingress := func(url, method string) []string {
		return []string{
			"X-Original-Url: " + url, "X-Original-Method: " + method, "X-Sent-From: nginx-ingress-controller",
			"X-Real-Ip: 192.0.2.7", "X-Forwarded-For: 192.0.2.7", "X-Auth-Request-Redirect: /x?q=1",
		}
	}
	forward := []string{"X-Forwarded-Method: GET", "X-Forwarded-Host: " + host, "X-Forwarded-Uri: /x?q=1"}
	at := "http://" + host
	for name, test := range map[string]struct {
		method, path string
		lines        []string
		status       int
	}{
		"ingress-nginx": {"GET", "/gateway/nginx", ingress(at+"/x?q=1", "GET"), 200},
		"ingress-nginx, https": {
			"GET", "/gateway/nginx", ingress("https://"+host+":443/x?q=1", "GET"), 200,
		},
		"ingress-nginx, a host in capitals": {
			"GET", "/gateway/nginx", ingress("http://API.Example.Com./x", "GET"), 200,
		},
		"ingress-nginx, without a path":     {"GET", "/gateway/nginx", ingress(at, "GET"), 200},
		"ingress-nginx, a query alone":      {"GET", "/gateway/nginx", ingress(at+"?q=/public", "GET"), 200},
		"ingress-nginx, a scope is missing": {"GET", "/gateway/nginx", ingress(at+"/x", "POST"), 403},
		"ingress-nginx, pinned": {
			"GET", "/gateway/nginx?host=" + host, ingress(at+"/x", "GET"), 200,
		},
		"ingress-nginx, pinned to another": {
			"GET", "/gateway/nginx?host=" + otherHost, ingress(at+"/x", "GET"), 403,
		},
		"ingress-nginx and X-Forwarded-*": {
			"GET", "/gateway/forward", append(ingress(at+"/x?q=1", "GET"), forward...), 200,
		},
		"ingress-nginx, the same X-Forwarded-*": {
			"GET", "/gateway/nginx", append(ingress(at+"/x?q=1", "GET"), forward...), 200,
		},
		"another path in X-Forwarded-Uri": {
			"GET", "/gateway/forward", append(ingress(at+"/admin", "GET"), forward...), 403,
		},
		"another host in X-Forwarded-Host": {
			"GET", "/gateway/nginx", append(ingress(at+"/x", "GET"), "X-Forwarded-Host: "+otherHost), 403,
		},
		"another host in X-Original-Url": {
			"GET", "/gateway/forward", append(ingress("http://"+otherHost+"/x?q=1", "GET"), forward...), 403,
		},
		"another method in X-Forwarded-Method": {
			"GET", "/gateway/nginx", append(ingress(at+"/x", "POST"), "X-Forwarded-Method: GET"), 403,
		},
		"two URLs": {
			"GET", "/gateway/nginx", append(ingress(at+"/x", "GET"), "X-Original-Url: "+at+"/public"), 403,
		},
		"a URL with a user": {
			"GET", "/gateway/nginx", ingress("http://user@"+host+"/x", "GET"), 403,
		},
		"a URL with a backslash": {
			"GET", "/gateway/nginx", ingress(`http://`+host+`\@evil.example/x`, "GET"), 403,
		},
		"a URL with a fragment": {
			"GET", "/gateway/nginx", ingress(at+"/admin#/public", "GET"), 400,
		},
		"a URL with dots": {
			"GET", "/gateway/nginx", ingress(at+"/public/../admin", "GET"), 400,
		},
		"another scheme": {
			"GET", "/gateway/nginx", ingress("ftp://"+host+"/public", "GET"), 403,
		},
		"no scheme": {
			"GET", "/gateway/nginx", ingress("//"+host+"/public", "GET"), 403,
		},
		"an unknown host": {
			"GET", "/gateway/nginx", ingress("http://evil.example/public", "GET"), 403,
		},
		"a header that nginx cannot remove": {
			"GET", "/gateway/nginx", append(ingress(at+"/x", "GET"), "X-Consumer-Whatever: 1"), 400,
		},
		"Envoy":                               {"GET", "/gateway/envoy/x?q=1", nil, 200},
		"Envoy, another method":               {"POST", "/gateway/envoy/x", nil, 403},
		"Envoy, HEAD":                         {"HEAD", "/gateway/envoy/x", nil, 200},
		"Envoy, a method that no route takes": {"DELETE", "/gateway/envoy/x", nil, 403},
		"Envoy, the root":                     {"GET", "/gateway/envoy/", nil, 200},
		"Envoy, behind the path of others":    {"GET", "/gateway/forward/x?q=1", nil, 200},
		"Envoy, a path that is not allowed":   {"GET", "/gateway/envoy/admin/x", nil, 403},
		"Envoy, a crooked path":               {"GET", "/gateway/envoy//admin", nil, 400},
		"Envoy, dots":                         {"GET", "/gateway/envoy/public/%2e%2e/admin", nil, 400},
		"Envoy, an escaped prefix":            {"GET", "/gateway/%65nvoy/x", nil, 403},
		"Envoy, another host": {
			"GET", "/gateway/envoy/public", []string{"Host: evil.example"}, 403,
		},
		"Caddy with a slash too many asks about its own": {
			"GET", "/gateway/forward/", []string{
				"X-Forwarded-Method: GET", "X-Forwarded-Host: " + host, "X-Forwarded-Uri: /admin/x",
			}, 403,
		},
		"Traefik with a path too many asks about its own": {
			"GET", "/gateway/forward/public", []string{
				"X-Forwarded-Method: GET", "X-Forwarded-Host: " + host, "X-Forwarded-Uri: /admin/x",
			}, 403,
		},
		"Envoy, another method in a header": {"GET", "/gateway/envoy/public", []string{"X-Forwarded-Method: POST"}, 403},
		"Envoy, another host in a header": {
			"GET", "/gateway/envoy/public", []string{"X-Forwarded-Host: " + otherHost}, 403,
		},
	} {
		lines := append([]string{key}, test.lines...)
		q := w.Request(test.method, test.path, nil)
		q.Host = host
		for _, line := range lines {
			name, value, _ := strings.Cut(line, ": ")
			if name == "Host" {
				q.Host = value
			} else {
				q.Header.Add(name, value)
			}
		}
		a := w.Send(w.Program(), q)
		status := a.Status
		if text := a.Header.Get("X-Doorward-Status"); text != "" && status == http.StatusForbidden {
			_, err := fmt.Sscan(text, &status)
			ok(t, err)
		}
		if status != test.status {
			t.Errorf("%s: answered %d %s %v", name, status, a.Body, a.Header)
		}
		if (a.Header.Get("X-Auth-Key") == k.ID) != (test.status == http.StatusOK) {
			t.Errorf("%s: answered %d with %v", name, status, a.Header)
		}
	}
	// nginx passes 401 on with its challenge, and takes 5xx for what it is.
	q := w.Request("GET", "/gateway/nginx", nil)
	for _, line := range ingress(at+"/x", "GET") {
		name, value, _ := strings.Cut(line, ": ")
		q.Header.Add(name, value)
	}
	if a := w.Send(w.Program(), q); a.Status != http.StatusUnauthorized ||
		!strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer ") {
		t.Errorf("without a credential ingress-nginx is answered %d %v", a.Status, a.Header)
	}
	// A stranger may not ask, in whatever form.
	for _, path := range []string{"/gateway/envoy/x", "/gateway/forward/x", "/gateway/nginx"} {
		a := (front{address: w.fronts[0].address}).send(t, "GET", path,
			append(ingress(at+"/x", "GET"), "Authorization: none")...)
		if a.Status == http.StatusOK || a.Header.Get("X-Auth-Key") != "" {
			t.Errorf("%s answered a stranger %d %v", path, a.Status, a.Header)
		}
	}
}
