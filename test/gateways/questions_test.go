package gateways

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"doorward/test/rig"
)

// asked asks Doorward as a trusted proxy does.
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

// question returns the headers of a proxy's question about GET target.
func question(path, target string) []string {
	if path == "/gateway/nginx" {
		return []string{"X-Original-Method: GET", "X-Original-Host: " + host, "X-Original-Uri: " + target}
	}
	return []string{"X-Forwarded-Method: GET", "X-Forwarded-Host: " + host, "X-Forwarded-Uri: " + target}
}

var questions = []string{"/gateway/forward", "/gateway/nginx"}

// If a proxy asks with the caller's own method, OPTIONS is still a question; a preflight is not permission.
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

// The questions of ingress-nginx and Envoy get the same answers as those of the others.
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
			"GET", "/gateway/nginx", append(ingress(at+"/x", "GET"), "X-Consumer-Example: 1"), 400,
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
	// nginx passes 401 on with its challenge, and 5xx as it is.
	q := w.Request("GET", "/gateway/nginx", nil)
	for _, line := range ingress(at+"/x", "GET") {
		name, value, _ := strings.Cut(line, ": ")
		q.Header.Add(name, value)
	}
	if a := w.Send(w.Program(), q); a.Status != http.StatusUnauthorized ||
		!strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer ") {
		t.Errorf("without a credential ingress-nginx is answered %d %v", a.Status, a.Header)
	}
	// A caller outside the trusted proxies may not ask, in any form.
	for _, path := range []string{"/gateway/envoy/x", "/gateway/forward/x", "/gateway/nginx"} {
		a := (front{address: w.fronts[0].address}).send(t, "GET", path,
			append(ingress(at+"/x", "GET"), "Authorization: none")...)
		if a.Status == http.StatusOK || a.Header.Get("X-Auth-Key") != "" {
			t.Errorf("%s answered a stranger %d %v", path, a.Status, a.Header)
		}
	}
}
