package gateways

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"doorward/test/rig"
	"doorward/test/setup"
	"doorward/test/stores"
	"doorward/web/gateway"
)

// ingressNginx runs nginx as the ingress-nginx controller configures it for the files in examples/ingress-nginx: the
// question and the headers are those of its template.
func ingressNginx(t *testing.T, doorward, api string) front {
	t.Helper()
	binary, err := setup.Nginx()
	setup.Need(t, err)
	folder, address := t.TempDir(), free(t)
	ingress, headers := example(t, "ingress-nginx", "ingress.yaml"), example(t, "ingress-nginx", "headers.yaml")
	annotation := func(name string) string {
		found := regexp.MustCompile(`ingress\.kubernetes\.io/` + name + `: (\S+)`).FindStringSubmatch(ingress)
		if found == nil {
			t.Fatalf("ingress.yaml has no %s", name)
		}
		return found[1]
	}
	var set strings.Builder
	for i, name := range strings.Split(annotation("auth-response-headers"), ",") {
		variable := strings.ReplaceAll(strings.ToLower(name), "-", "_")
		fmt.Fprintf(&set, "auth_request_set $authHeader%d $upstream_http_%s;\nproxy_set_header '%s' $authHeader%[1]d;\n", i,
			variable, name)
	}
	for _, found := range regexp.MustCompile(`(?m)^  ([A-Za-z0-9-]+): ""$`).FindAllStringSubmatch(headers, -1) {
		fmt.Fprintf(&set, "proxy_set_header %s \"\";\n", found[1])
	}
	question := strings.Replace(annotation("auth-url"), "doorward.doorward.svc.cluster.local:8080", doorward, 1)
	text := fmt.Sprintf(`events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	underscores_in_headers off;
	ignore_invalid_headers on;
	proxy_headers_hash_max_size 4096;
	proxy_headers_hash_bucket_size 128;
	server {
		listen %[2]s;
		server_name %[6]s;
		location = /_external-auth-Lw-Prefix {
			internal;
			proxy_pass_request_body off;
			proxy_set_header Content-Length "";
			proxy_set_header X-Forwarded-Proto "";
			proxy_set_header X-Request-ID $request_id;
			proxy_set_header Host doorward.doorward.svc.cluster.local;
			proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
			proxy_set_header X-Original-Method $request_method;
			proxy_set_header X-Sent-From "nginx-ingress-controller";
			proxy_set_header X-Real-IP $remote_addr;
			proxy_set_header X-Forwarded-For $remote_addr;
			proxy_set_header X-Auth-Request-Redirect $request_uri;
			proxy_buffer_size %[7]s;
			proxy_buffers 4 %[7]s;
			proxy_http_version 1.1;
			set $target "%[3]s";
			proxy_pass $target;
		}
		location / {
			auth_request /_external-auth-Lw-Prefix;
			%[4]s
			proxy_set_header Host $http_host;
			proxy_set_header X-Request-ID $request_id;
			proxy_set_header X-Forwarded-For $remote_addr;
			proxy_set_header X-Forwarded-Host $http_host;
			proxy_set_header X-Forwarded-Proto $scheme;
			proxy_http_version 1.1;
			proxy_pass http://%[5]s;
		}
	}
}
`, folder, address, question, set.String(), api, host, annotation("proxy-buffer-size"))
	file := filepath.Join(folder, "nginx.conf")
	ok(t, os.WriteFile(file, []byte(text), 0o600))
	serve(t, folder, address, nil, binary, "-p", folder, "-c", file, "-e", "stderr", "-g",
		"daemon off; master_process off; error_log stderr warn; pid "+filepath.Join(folder, "pid")+";")
	return front{"ingress-nginx", address}
}

// ingress-nginx asks Doorward with its own question and passes the answer on; headers that callers may not send do not
// come through.
func TestV23_IngressNginxAsks(t *testing.T) {
	setup.Long(t)
	w := alone(t, stores.Open(t, "sqlite::memory:"))
	f := ingressNginx(t, w.fronts[0].address, w.api.server.Listener.Addr().String())
	k, key := w.key("read")
	a := f.send(t, "GET", "/x?q=%2e", key, "Cookie: a=1; doorward=evil; flow-0=evil")
	if a.Status != http.StatusOK {
		t.Fatalf("answered %d %s", a.Status, a.Body)
	}
	if s := w.api.one(t); s.target != "/x?q=%2e" || s.header.Get("X-Auth-Key") != k.ID ||
		s.header.Get("X-Auth-Scope") != "read" || s.header.Get("Cookie") != "a=1" {
		t.Errorf("the API sees %s %v", s.target, s.header)
	}
	for name, test := range map[string]struct {
		method, target string
		lines          []string
		status         int
	}{
		"without a credential":          {"GET", "/x", nil, 401},
		"with a wrong one":              {"GET", "/x", []string{"Authorization: Bearer sk_live_x"}, 401},
		"a scope is missing":            {"POST", "/x", []string{key}, 403},
		"a crooked path":                {"GET", "/public/%2e%2e/admin", []string{key}, 403},
		"another host in the Host line": {"GET", "http://" + host + "/public", []string{"Host: " + otherHost}, 403},
		"another address in a header":   {"GET", "/admin", []string{key, "X-Forwarded-Uri: /public"}, 403},
		"an unknown name of a family":   {"GET", "/x", []string{key, "X-Consumer-Example: evil"}, 403},
	} {
		a := f.send(t, test.method, test.target, test.lines...)
		if a.Status != test.status || (a.Status == http.StatusUnauthorized) != (a.Header.Get("WWW-Authenticate") != "") {
			t.Errorf("%s: answered %d %v", name, a.Status, a.Header)
		}
		w.nothing(t)
	}
	proving := rig.NewKey(t, "")
	token, nonce := w.boundToken(proving)
	proof := w.proofAt(proving, token, "http://"+host+"/x", rig.Members{"nonce": nonce})
	for i, want := range []int{http.StatusOK, http.StatusUnauthorized} { // a proof counts once
		a := f.send(t, "GET", "/x", "Authorization: DPoP "+token, "DPoP: "+proof)
		if a.Status != want || strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "DPoP ") != (i == 1) {
			t.Errorf("request %d with a proof is answered %d %v", i, a.Status, a.Header)
		}
	}
	w.api.one(t)
	all := gateway.KnownHeaders()
	for len(all) > 0 {
		some := all[:min(50, len(all))]
		all = all[len(some):]
		lines := []string{key}
		for _, name := range some {
			switch name { // these would describe one request in two ways
			case "X-Forwarded-Uri", "X-Forwarded-Method", "X-Original-Uri", "X-Original-Host", "X-Rewrite-Url":
			default:
				lines = append(lines, name+": evil", strings.ReplaceAll(name, "-", ".")+": evil")
			}
		}
		if a := f.send(t, "GET", "/x", lines...); a.Status != http.StatusOK {
			t.Errorf("answered %d with %q", a.Status, lines)
			continue
		}
		if s := w.api.one(t); strings.Contains(fmt.Sprint(s.header), "evil") {
			t.Errorf("the API sees %v", s.header)
		}
	}
}
