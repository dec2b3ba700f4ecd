package gateways

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/test/stores"
)

// told is the part of an answer that Doorward writes.
type told struct {
	Status int
	Header map[string][]string
	Body   any // decoded JSON, or a string
}

// words are the headers that Doorward writes.
var words = []string{
	"Content-Type", "Cache-Control", "X-Content-Type-Options", "Www-Authenticate", "Retry-After", "X-Ratelimit-Limit",
	"X-Ratelimit-Remaining", "X-Ratelimit-Reset", "X-Request-Id",
	"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Dpop-Nonce",
}

// tell sends a request and returns what Doorward wrote in the answer.
func (f front) tell(t *testing.T, method, target string, lines ...string) told {
	t.Helper()
	a := f.send(t, method, target, append(lines, "X-Request-Id: the-same-for-all")...)
	out := told{Status: a.Status, Header: map[string][]string{}, Body: a.Body}
	for _, name := range words {
		if values := a.Header.Values(name); len(values) > 0 {
			out.Header[name] = values
		}
		if name == "Www-Authenticate" && len(out.Header[name]) > 1 {
			// nginx gets two challenges in one line, which means the same (RFC 9110, section 11.6.1).
			out.Header[name] = []string{strings.Join(out.Header[name], ", ")}
		}
	}
	var body any
	if json.Unmarshal([]byte(a.Body), &body) == nil {
		out.Body = body
	}
	return out
}

// The answer is the same through every proxy, byte for byte, except that nginx receives letters outside ASCII as JSON
// escapes. Counters count each request, so each front has its own keys, and the clock stands still.
func TestEveryFrontAnswersAsTheBuiltInProxyDoes(t *testing.T) {
	for engine, url := range map[string]func(testing.TB) string{"sqlite": stores.SQLite, "postgresql": stores.PostgreSQL} {
		t.Run(engine, func(t *testing.T) {
			w := newWorld(t, stores.Open(t, url(t)))
			token := "Authorization: Bearer " + w.token("read")
			type call struct {
				name   string
				method string
				target string
				lines  func() []string
				status int
			}
			fresh := func(spec apikey.Spec, more ...string) func() []string {
				return func() []string {
					_, text := w.Key(w.shared, spec)
					return append(slices.Clone(more), "Authorization: Bearer "+text)
				}
			}
			plain := func(lines ...string) func() []string { return func() []string { return lines } }
			read := apikey.Spec{Scopes: []string{"read"}}
			elsewhere := apikey.Spec{Scopes: []string{"read"}, Resource: otherResource}
			calls := []call{
				{"allowed", "GET", "/x", fresh(read), 200},
				{"allowed, of a page", "GET", "/x", fresh(read, "Origin: "+page), 200},
				{"public", "GET", "/public", plain(), 200},
				{"without a credential", "GET", "/x", plain(), 401},
				{"without a credential, of a page", "GET", "/x", plain("Origin: " + page), 401},
				{"without a credential, of a strange page", "GET", "/x", plain("Origin: https://evil.example"), 401},
				{"with a wrong one", "GET", "/x", plain("Authorization: Bearer sk_live_x"), 401},
				{"a scope is missing", "POST", "/x", fresh(read), 403},
				{"no route", "DELETE", "/x", fresh(read), 403},
				{"a scope is missing, in the other's words", "POST", "/x", fresh(elsewhere, "Host: "+otherHost), 403},
				{"without a credential, in the other's shape", "GET", "/x", plain("Host: " + otherHost), 401},
				{"another's workspace", "GET", "/x", fresh(read, "X-Workspace: other"), 403},
				{"a path that hides", "GET", "/a/%2e%2e/b", plain(), 400},
				{"a token", "GET", "/x", plain(token), 200},
			}
			compare := func(calls []call) {
				for _, c := range calls {
					t.Run(c.name, func(t *testing.T) {
						var want told
						for i, f := range w.fronts {
							got := f.tell(t, c.method, c.target, c.lines()...)
							if c.name == "a token" { // one counter for all fronts
								delete(got.Header, "X-Ratelimit-Remaining")
							}
							if got.Status != c.status {
								t.Errorf("%s answered %d %v", f.name, got.Status, got.Body)
							}
							if got.Status == http.StatusOK {
								// The API's own answer, for which these headers are the whole of what Doorward writes.
								delete(got.Header, "Content-Type")
							}
							if i == 0 {
								want = got
							} else if diff := cmp.Diff(want, got); diff != "" {
								t.Errorf("%s (+) is not as the built-in proxy (-):\n%s", f.name, diff)
							}
						}
					})
				}
			}
			compare(calls)
			t.Run("too many", func(t *testing.T) {
				var want []told
				for i, f := range w.fronts {
					var got []told
					line := fresh(apikey.Spec{Scopes: []string{"read"}, Plan: "narrow"})()
					for range 4 {
						got = append(got, f.tell(t, "GET", "/x", line...))
					}
					if got[1].Status != 200 || got[2].Status != 429 || got[1].Header["X-Ratelimit-Remaining"][0] != "0" ||
						got[2].Header["Retry-After"][0] != "3600" {
						t.Errorf("%s answered %v", f.name, got)
					}
					for j := range 2 {
						delete(got[j].Header, "Content-Type")
					}
					if i == 0 {
						want = got
					} else if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("%s (+) is not as the built-in proxy (-):\n%s", f.name, diff)
					}
				}
			})
			w.now.Add(2 * time.Hour.Microseconds())
			compare([]call{{"an expired token", "GET", "/x", plain(token), 419}})
			// Byte for byte if all letters are ASCII.
			for _, f := range w.fronts {
				a := f.send(t, "GET", "/x", token)
				if a.Body != `{"error":"Token Expired","message":"Invalid or missing API key","statusCode":419}`+"\n" {
					t.Errorf("%s answered %q", f.name, a.Body)
				}
			}
		})
	}
}

// The paths that Doorward itself serves on an API's host work through each front.
func TestBuiltInPathsAndMetadataComeThroughEveryFront(t *testing.T) {
	w := memory(t)
	k, key := w.key("read")
	app := w.App(management.ClientSpec{Scopes: []string{"read"}, Grants: []string{"client_credentials"}})
	w.each(func(t *testing.T, f front) {
		if a := f.send(t, "GET", "/.well-known/oauth-protected-resource"); a.Status != 200 || a.Text("resource") != resource {
			t.Errorf("metadata: answered %d %s", a.Status, a.Body)
		}
		if a := f.send(t, "GET", "/.well-known/oauth-protected-resource", "Host: "+otherHost); a.Status != 200 ||
			a.Text("resource") != otherResource {
			t.Errorf("metadata of the other: answered %d %s", a.Status, a.Body)
		}
		lines := []string{key, "X-Forwarded-Host: " + otherHost}
		if f.name != envoy { // which refuses a request whose Connection header drops other headers
			lines = append(lines, "Connection: X-Forwarded-Host")
		}
		if a := f.send(t, "GET", "/v1/auth/test", lines...); a.Status != 200 || a.Text("keyId") != k.ID ||
			a.Header.Get("X-RateLimit-Limit") == "" {
			t.Errorf("/v1/auth/test: answered %d %s", a.Status, a.Body)
		}
		if a := f.send(t, "GET", "/v1/api-keys/none", key); a.Status != http.StatusForbidden &&
			a.Status != http.StatusNotFound {
			t.Errorf("/v1/api-keys/none: answered %d %s", a.Status, a.Body)
		}
		c := f.dial(t)
		c.write("POST", "/oauth/token", "grant_type=client_credentials", "Content-Type: application/x-www-form-urlencoded",
			"Authorization: Basic "+strings.TrimPrefix(basic(app.ID, app.Secret), "Basic "))
		if a := c.answer("POST"); a.Status != 200 || a.Text("access_token") == "" {
			t.Errorf("/oauth/token: answered %d %s", a.Status, a.Body)
		}
		for _, target := range []string{
			"/login", "/settings/profile", "/oauth/authorize", "/v1/api-keysx", "/V1/AUTH/TEST", "/oauth/token/../../login",
			"/v1/auth/test/%2e%2e/x", "/v1/api-keys//x",
			"/oauth/token/x", "/v1/auth/test/x", "/v1/auth/test/", "/api/me/x", "/oauth/token/",
		} {
			// nginx answers paths without a location with its own pages.
			a := f.send(t, "GET", target)
			if a.Status < 400 || strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") &&
				(f.name != nginx || a.Status != 400) || a.Header.Get("Set-Cookie") != "" || a.Header.Get("Location") != "" {
				t.Errorf("%s: answered %d %v", target, a.Status, a.Header)
			}
		}
		w.nothing(t)
	})
}

func basic(id, secret string) string {
	r := httptest.NewRequest("GET", "/", nil)
	r.SetBasicAuth(id, secret)
	return r.Header.Get("Authorization")
}

// Only the path decides, and the API receives the request target as it was sent.
func TestPathsAndQueriesArriveAsTheyWereSent(t *testing.T) {
	w := memory(t)
	_, key := w.key("read")
	w.each(func(t *testing.T, f front) {
		for _, target := range []string{
			"/a%20b", "/%C3%A9", "/%c3%a9", "/a+b", "/a%2Bb", "/a%25", "/a%25b", "/a'b(c)!*@:$&=,~", "/%41", "/x/", "/",
			"/x?a=1;b=2", "/x?a;b", "/x?q=%20+%2B%ZZ", "/x?", "/x?a=1&a=2&&", "/x?q=%C3%A9&r=/../y", "/x?a=b?c=d",
			"/x?a=%00", "/x?%2e%2e/",
		} {
			a := f.send(t, "GET", target, key)
			if a.Status != http.StatusOK {
				t.Errorf("%s: answered %d %s", target, a.Status, a.Body)
				continue
			}
			if s := w.api.one(t); s.target != target {
				t.Errorf("%s arrived as %s", target, s.target)
			}
		}
	})
}

func TestTheAPISeesMethodBodyAndWhereItCameFrom(t *testing.T) {
	w := memory(t)
	_, key := w.key("write")
	w.each(func(t *testing.T, f front) {
		c := f.dial(t)
		c.write("POST", "/x", `{"a":1}`, key, "Content-Type: application/json", "Cookie: theirs=1; doorward=x",
			"X-Request-Id: short", "Accept: application/json")
		a := c.answer("POST")
		if a.Status != http.StatusOK || a.Body != "from the API" || len(a.Header.Get("X-Request-Id")) < 8 {
			t.Fatalf("answered %d %v %s", a.Status, a.Header, a.Body)
		}
		s := w.api.one(t)
		if s.method != "POST" || s.body != `{"a":1}` || s.header.Get("Content-Type") != "application/json" ||
			s.header.Get("Accept") != "application/json" || !strings.Contains(s.header.Get("Cookie"), "theirs=1") {
			t.Errorf("the API sees %+v", s)
		}
		if id := s.header.Get("X-Request-Id"); len(id) < 8 {
			t.Errorf("the API sees the request id %q", id)
		}
		if s.header.Get("X-Forwarded-For") != stranger || s.header.Get("X-Forwarded-Proto") != "http" ||
			!strings.HasPrefix(s.header.Get("X-Forwarded-Host"), host) {
			t.Errorf("the API sees %v", s.header)
		}
	})
}

// The front that stands before the API reports its failures.
func TestAnAPIThatIsAwayIs502(t *testing.T) {
	w := memory(t)
	_, key := w.key("read")
	w.api.server.Close()
	w.each(func(t *testing.T, f front) {
		a := f.send(t, "GET", "/x", key)
		if a.Status != http.StatusBadGateway {
			t.Errorf("answered %d %s", a.Status, a.Body)
		}
		if f.name == builtin &&
			a.Body !=
				`{"error":"Bad Gateway","message":"The API cannot be reached right now; try again shortly.","statusCode":502}`+
					"\n" {
			t.Errorf("answered %s", a.Body)
		}
		other := f.send(t, "GET", "/public", "Host: "+otherHost)
		if f.name == builtin &&
			(other.Status != http.StatusBadGateway || !strings.Contains(other.Body, `{"error":{"code":"bad_gateway"`)) {
			t.Errorf("answered %d %s", other.Status, other.Body)
		}
		if a := f.send(t, "GET", "/x"); a.Status != http.StatusUnauthorized {
			t.Errorf("without a credential: answered %d", a.Status)
		}
	})
}

func TestWithoutDoorwardItIs503AndTheAPISeesNothing(t *testing.T) {
	w := memory(t)
	_, key := w.key("read")
	gone := free(t)
	behind := w.api.server.Listener.Addr().String()
	w.fronts = []front{{nginx, Nginx(t, gone, behind)}, {caddy, Caddy(t, gone, behind)}}
	w.each(func(t *testing.T, f front) {
		for _, lines := range [][]string{{key}, nil} {
			for _, target := range []string{"/x", "/public"} {
				a := f.send(t, "GET", target, lines...)
				seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
				if a.Status != http.StatusServiceUnavailable || err != nil || seconds < 1 || a.JSON()["statusCode"] != 503.0 ||
					a.Header.Get("Content-Type") != "application/json" {
					t.Errorf("%s: answered %d %v %s", target, a.Status, a.Header, a.Body)
				}
			}
		}
		w.nothing(t)
	})
}

func TestABodyOverTheLimitIs413(t *testing.T) {
	w := memory(t)
	_, key := w.key("write")
	for name, line := range map[string]string{
		"":                          "X-Nothing: 1",
		", also one of a WebSocket": "Upgrade: websocket", // the request that opens a WebSocket has no body
	} {
		t.Run("a body over the limit"+name, func(t *testing.T) {
			w.each(func(t *testing.T, f front) {
				if f.name == envoy {
					t.Skip("Envoy bounds a body only where it keeps the whole of it before it passes it on")
				}
				c := f.dial(t)
				c.write("POST", "/x", "", key, line, "Content-Length: "+strconv.Itoa(64<<20+1), "Connection: close")
				piece := make([]byte, 1<<20)
				go func() {
					for range 65 { // it may stop reading
						if _, err := c.Write(piece); err != nil {
							return
						}
					}
				}()
				response := c.head("POST")
				_ = response.Body.Close()
				// Caddy of Debian 12 mistakes the close that it caused for one by the API.
				if response.StatusCode != http.StatusRequestEntityTooLarge &&
					(f.name != caddy || response.StatusCode != http.StatusBadGateway) {
					t.Errorf("answered %d", response.StatusCode)
				}
				if all := w.api.take(); len(all) > 0 && len(all[0].body) > 64<<20 {
					t.Errorf("the API got %d bytes", len(all[0].body))
				}
			})
		})
	}
}

// An interim answer of the API, which a caller can ask for, does not remove Doorward's headers from the final answer,
// and is not mistaken for it.
func TestInterimAnswersTakeNothingAway(t *testing.T) {
	w := memory(t)
	_, key := w.key("read", "write")
	for name, test := range map[string]struct {
		lines []string
		serve http.HandlerFunc
	}{
		"100, asked for": {[]string{"Expect: 100-continue"}, func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			_, _ = io.WriteString(rw, "done")
		}},
		"103": {nil, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Link", "</style.css>; rel=preload")
			rw.WriteHeader(http.StatusEarlyHints)
			_, _ = io.WriteString(rw, "done")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w.api.does(t, test.serve)
			w.each(func(t *testing.T, f front) {
				if f.name == nginx && test.lines == nil {
					return // Debian's version does not support unsolicited interim answers
				}
				c := f.dial(t)
				c.write("POST", "/x", "body", append(test.lines, key, "Origin: "+page)...)
				response := c.head("POST")
				for response.StatusCode < http.StatusOK {
					response = c.head("POST")
				}
				defer response.Body.Close() //nolint:errcheck // a test's
				h := response.Header
				if response.StatusCode != http.StatusOK || h.Get("X-RateLimit-Limit") != "1000000" || h.Get("X-Request-Id") == "" ||
					h.Get("Access-Control-Allow-Origin") != page {
					t.Errorf("answered %d %v", response.StatusCode, h)
				}
			})
		})
	}
	// An HTTP/1.0 caller would mistake it for the final answer.
	w.api.does(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(rw, "done")
	})
	old := w.fronts[0].dial(t)
	_, err := io.WriteString(old, "POST /x HTTP/1.0\r\nHost: "+host+"\r\n"+key+
		"\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody")
	ok(t, err)
	if all, err := io.ReadAll(old); err != nil || strings.Count(string(all), "HTTP/1.") != 1 ||
		!strings.HasPrefix(string(all), "HTTP/1.0 200") {
		t.Errorf("to HTTP/1.0 it answered %q, %v", all, err)
	}
	families, err := w.Metrics.Gather()
	ok(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "status" && strings.HasPrefix(l.GetValue(), "1") {
					t.Errorf("an interim answer is counted for the answer: %s", m)
				}
			}
		}
	}
}
