package gateways

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/oauth/apikey"
	"doorward/storage"
	"doorward/test/rig"
)

// identity lists the headers that tell an API who the caller is.
var identity = []string{
	"X-Auth-Subject", "X-Auth-Client", "X-Auth-Scope", "X-Auth-Credential", "X-Auth-Workspace-Id", "X-Auth-Workspace",
	"X-Auth-Role", "X-Auth-Env", "X-Auth-Plan", "X-Auth-Key", "X-Auth-Foreign-Issuer", "X-Auth-Foreign-Subject",
}

// plain is the name of a header as seen by servers that turn headers into variables.
func plain(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }

// values returns every value that an API could read for a header.
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
			// In two halves, because a request may have at most 100 header lines.
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

// A header that was removed under one spelling does not reach the API under another one: many servers turn headers into
// variables, where a hyphen and an underscore are the same.
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
			for _, target := range []string{"/x", "/v1/auth/test"} { // Doorward itself serves the second
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
				w.nothing(t) // its Connection header removed its own credential
				continue
			}
			if a.Status == http.StatusBadRequest && f.name == envoy {
				w.nothing(t) // it refuses a request whose Connection header drops other headers
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

func TestF14_TheAddressIsTheLastUntrustedHop(t *testing.T) {
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
			// The address that the API receives always ends with the true one.
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

// There is no Basic authentication here, so a caller cannot write its own name. A caller does write its workspace, and
// it must be exactly the name of a known workspace.
func TestF15_IdentityHeadersHoldNamesAsWeKnowThem(t *testing.T) {
	w := memory(t)
	_, token := w.PersonalToken(w.Alice, apikey.Spec{Scopes: []string{"read"}})
	w.each(func(t *testing.T, f front) {
		// One space or more: RFC 9110, section 11.4.
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

// Two users take turns over one connection to the proxy, which has few connections of its own to Doorward and the API.
func TestF16_NoCallerGetsTheIdentityOfThePreviousOne(t *testing.T) {
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
					t.Fatalf("turn %d, without a credential: answered %d %v", i, a.Status, a.Header)
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
