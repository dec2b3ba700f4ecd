package redirecturi

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// portable is an http URI of a loopback host, in host, port and rest: the only one that matches by more than equality.
var portable = regexp.MustCompile(`(?s)^http://(127\.0\.0\.1|\[::1\]|localhost)(?::([1-9][0-9]{0,4}))?((?:[/?].*)?)$`)

// alike is the rule in other words than the matcher's.
func alike(registered, requested string) bool {
	a, b := portable.FindStringSubmatch(registered), portable.FindStringSubmatch(requested)
	for _, m := range [][]string{a, b} {
		if m == nil || m[2] == "" {
			continue
		}
		if n, err := strconv.Atoi(m[2]); err != nil || n > 65535 {
			return false
		}
	}
	if a != nil && b != nil {
		return a[1] == b[1] && a[3] == b[3]
	}
	scheme, _, _ := strings.Cut(requested, ":")
	return registered == requested && (strings.HasPrefix(requested, "https:") ||
		scheme != requested && strings.Contains(scheme, "."))
}

// FuzzRedirectMatch: a redirect URI matches what is registered byte for byte, or but for the port of a loopback one;
// and what registers is an address whose host, path and query everybody reads alike.
func FuzzRedirectMatch(f *testing.F) {
	seeds := []string{
		"https://app.example/cb", "https://app.example/cb/", "https://APP.example/cb", "https://app.example:443/cb",
		"https://app.example/cb?x=1", "https://app.example@evil.example/cb", `https://app.example\@evil.example/cb`,
		"http://127.0.0.1/cb", "http://127.0.0.1:9/cb", "http://127.0.0.1:09/cb", "http://127.0.0.1:65536/cb",
		"http://127.0.0.1:80@evil.example/cb", "http://user:pw@127.0.0.1/cb", "http://127.0.0.1.evil.example/cb",
		"http://127.0.0.11/cb",
		"http://[::1]/cb", "http://[::1]:9/cb", "http://[::1]x/cb", "http://localhost:3000?x", "http://localhost",
		"http://localhost/cb#x", "http://localhost/cb\n", "https://127.0.0.1/tls", "http://127.0.0.1:9/tls",
		"com.example.app:/cb", "com.example.app:cb", "javascript:alert(1)", "java.script:alert(1)", "data:text/html,x",
		"myapp:/cb", "", ":", "http:", "https:", "https://", "//evil.example", "http://127.0.0.1:", "http://127.0.0.1:/cb",
		"https://app.example/../cb", "https://app.example/%2e%2e/cb", "https://app.example/cb?code=x",
		"https://app.example/cb?", "https://[2001:db8::1]:8443/cb", "https://app.example/cb%23f", "https://app．example/cb",
		"https://app.example\x00/cb",
	}
	for _, a := range seeds {
		f.Add(a, a)
		f.Add("http://127.0.0.1/cb", a)
		f.Add("https://app.example/cb", a)
	}
	f.Fuzz(func(t *testing.T, registered, requested string) {
		matched := Match([]string{"https://other.example/cb", registered}, requested, nil)
		if want := alike(registered, requested); matched != want && requested != "https://other.example/cb" {
			t.Fatalf("registered %q, requested %q: matched %v, want %v", registered, requested, matched, want)
		}
		if !Check(registered, nil).IsZero() {
			return
		}
		if !Match([]string{registered}, registered, nil) {
			t.Fatalf("%q registers and does not match itself", registered)
		}
		if !matched || requested == "https://other.example/cb" {
			requested = registered
		}
		if why := Check(requested, nil); !why.IsZero() {
			t.Fatalf("%q matches the registered %q, and would not register: %s", requested, registered, why)
		}
		readAlike(t, registered, requested)
	})
}

// readAlike checks what a registered URI is to a browser and to the app that gets the answer there.
func readAlike(t *testing.T, registered, requested string) {
	t.Helper()
	if strings.ContainsFunc(requested, func(r rune) bool { return r <= ' ' || r > '~' }) ||
		strings.ContainsAny(requested, "#\\") {
		t.Fatalf("%q registers with bytes that browsers drop or read as others", requested)
	}
	u, err := url.Parse(requested)
	if err != nil || u.User != nil || u.Fragment != "" {
		t.Fatalf("%q registers: %+v %v", requested, u, err)
	}
	if r, err := url.Parse(registered); err != nil || r.Scheme != u.Scheme || r.Hostname() != u.Hostname() ||
		r.EscapedPath() != u.EscapedPath() || r.RawQuery != u.RawQuery {
		t.Fatalf("%q matches the registered %q", requested, registered)
	}
	switch {
	case u.Scheme == "https":
		if u.Hostname() == "" || strings.ContainsAny(u.Host, "@/;,' ") {
			t.Fatalf("%q registers with the host %q", requested, u.Host)
		}
	case u.Scheme == "http":
		if _, loopback := Host(requested); !loopback {
			t.Fatalf("%q registers without being loopback", requested)
		}
	case !strings.Contains(u.Scheme, "."):
		t.Fatalf("%q registers with the scheme %q", requested, u.Scheme)
	}
	// A person is shown where the answer goes, and it goes there, beside what is registered.
	if host, _ := Host(requested); host == "" {
		t.Fatalf("%q has no place to show", requested)
	}
	to := AddResponse(requested, url.Values{"code": {"c"}, "state": {"a&code=b\n"}, "iss": {"https://auth.example"}})
	answer, err := url.Parse(to)
	if err != nil || !strings.HasPrefix(to, requested) || answer.Host != u.Host || answer.Scheme != u.Scheme ||
		answer.EscapedPath() != u.EscapedPath() || answer.Opaque != u.Opaque {
		t.Fatalf("the answer to %q goes to %q: %v", requested, to, err)
	}
	q, err := url.ParseQuery(answer.RawQuery)
	if err != nil || len(q["code"]) != 1 || q.Get("code") != "c" || len(q["state"]) != 1 ||
		q.Get("state") != "a&code=b\n" || len(q["iss"]) != 1 || q.Get("iss") != "https://auth.example" || q.Has("error") {
		t.Fatalf("the answer to %q reads %v: %v", requested, q, err)
	}
	for name, values := range u.Query() {
		if strings.Join(q[name], "\x00") != strings.Join(values, "\x00") {
			t.Fatalf("the answer to %q changed %s to %q", requested, name, q[name])
		}
	}
}
