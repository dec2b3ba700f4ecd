package security

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"doorward/management"
	"doorward/test/rig"
)

// lines returns the lines of the log from a byte offset on; each must be one JSON object of printable text.
func lines(t *testing.T, r *rig.Rig, from int) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(r.Log.String()[from:]) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Errorf("not one JSON object: %v in %.300q", err, line)
			continue
		}
		if len(line) > 4000 && m["msg"] != "panic" {
			t.Errorf("a line of %d bytes: %.300s", len(line), line)
		}
		for name, value := range m {
			text, isText := value.(string)
			if strings.ContainsFunc(text, func(c rune) bool { return unicode.IsControl(c) || unicode.Is(unicode.Cf, c) }) &&
				name != "stack" {
				t.Errorf("%s is %q", name, text)
			}
			if isText && !utf8.ValidString(text) {
				t.Errorf("%s is %q", name, text)
			}
		}
		all = append(all, m)
	}
	return all
}

func TestO02_RequestLogHasNoParametersAndNoPathOfTheReferer(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	query := url.Values{}
	for _, name := range []string{
		"code", "state", "token", "access_token", "refresh_token", "id_token", "id_token_hint", "client_assertion",
		"client_secret", "password", "key", "api_key", "login_hint", "scope", "redirect_uri", "word", "flow",
	} {
		query.Set(name, "secret-"+name)
	}
	from := len(r.Log.String())
	for _, path := range []string{
		"/oauth/authorize", "/login", "/oauth/consent", "/settings/profile", "/admin/users", "/nothing",
		"/assets/doorward.css", "/healthz", "/setup", "/.well-known/oauth-authorization-server",
	} {
		b.Get(path+"?"+query.Encode(), "Referer",
			"https://user:secret-user@app.example/secret-path?code=secret-code#secret-fragment", "Authorization",
			"Bearer secret-bearer", "X-Api-Key", "secret-key", "Cookie", "a=secret-cookie")
	}
	r.PostAs(app, "/oauth/token?"+query.Encode(), query)
	r.PostAs(app, "/oauth/introspect", query)
	r.Post("/oauth/revoke", query, "Referer", "javascript:secret-script")
	b.Get("/secret-path/secret", "Referer", "secret-referer")
	seen := 0
	for _, line := range lines(t, r, from) {
		if text := fmt.Sprint(line); strings.Contains(text, "secret") {
			t.Errorf("the log says %s", text)
		}
		if line["referer"] == "https://app.example" {
			seen++
		}
	}
	if seen != 10 {
		t.Errorf("the referer's origin is in %d lines, want 10", seen)
	}
	// The line has what an operator needs.
	last := lines(t, r, from)
	for _, name := range []string{"time", "level", "msg", "request_id", "method", "route", "status", "ms", "address"} {
		if last[len(last)-1][name] == nil {
			t.Errorf("the line of a request has no %s", name)
		}
	}
}

func TestO03_InputCannotForgeLogLines(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	evil := "x\u202e\u2028\u0085\ufeff\u200b" + strings.Repeat("é", 20<<10)
	from := len(r.Log.String())
	b := r.Browser().SignIn(r.Alice.Email)
	for _, agent := range []string{
		"\x1b[31mred", "a\r\nb", "a\nb", "\x00", evil[:9<<10], strings.Repeat("a", 10<<10), "\xff\xfe",
		`","level":"ERROR","msg":"forged`, "\t",
	} {
		// Sent without a client library, which would refuse to send some of them.
		q := httptest.NewRequestWithContext(contextWith(t, loopback), http.MethodGet, "/login", nil)
		q.Header["User-Agent"], q.Header["Referer"], q.Header["X-Request-Id"] = []string{agent}, []string{"https://" + agent},
			[]string{agent}
		q.Method = strings.ReplaceAll(agent[:min(40, len(agent))], "\x00", "Z")
		q.Header["X-Forwarded-For"] = []string{agent}
		w := httptest.NewRecorder()
		r.Web.ServeHTTP(w, q)
		q.Method = http.MethodGet
		r.Web.ServeHTTP(w, q)
		// Names and addresses of users.
		b.PostForm("/settings/profile", url.Values{"name": {agent}})
		b.PostForm("/login", url.Values{"email": {agent}})
		attempt(r.Browser(), agent, rig.Password)
		r.Post("/oauth/token", url.Values{"grant_type": {agent}, "client_id": {agent}, "scope": {agent}})
		r.PostAs(app, "/oauth/token", url.Values{"grant_type": {"authorization_code"}, "code": {agent}, "scope": {agent}})
		ask(b, altered(app.Params("read"), url.Values{"scope": {agent}}))
		b.Get("/oauth/authorize?client_id=" + url.QueryEscape(agent))
		b.Get("/settings/developer/apps/" + url.PathEscape(agent))
	}
	for _, line := range lines(t, r, from) {
		if line["msg"] == "forged" || len(fmt.Sprint(line["user_agent"])) > 900 || len(fmt.Sprint(line["method"])) > 64 {
			t.Errorf("the log says %v", line)
		}
	}
	// The request id is the caller's, if it is harmless.
	for id, kept := range map[string]bool{
		"well-formed_1.2":       true,
		strings.Repeat("a", 64): true,
		"short":                 false,
		strings.Repeat("a", 65): false,
		"with space 1":          false,
		"with\ttab12":           false,
		"<script>alert":         false,
		`quote"quote`:           false,
		"ünïcode1":              false,
		"a,b,c,d,e,f":           false, "": false,
	} {
		a := r.Send(r.Program(), r.Request(http.MethodGet, "/login", nil, "X-Request-Id", id))
		got := a.Header.Get("X-Request-Id")
		if (got == id) != kept || len(got) < 8 {
			t.Errorf("the id %q became %q", id, got)
		}
		if logged(t, r, "request", got)["status"] != 200.0 {
			t.Errorf("no line about %s", got)
		}
	}
	if a := r.Send(r.Program(),
		r.Request(http.MethodGet, "/login", nil, "X-Request-Id", "first-of-two", "X-Request-Id", "second-of-two")); len(
		a.Header.Values("X-Request-Id")) != 1 {
		t.Errorf("ids %v", a.Header.Values("X-Request-Id"))
	}
}

// A database's message about a refused statement quotes the values in it.
func TestO04_WhatTheDatabaseQuotesIsNotLogged(t *testing.T) {
	eachWithOwner(t, rig.Options{}, func(t *testing.T, r *rig.Rig, owner func(string)) {
		app := r.App(management.ClientSpec{})
		admin := r.Browser().SignIn(r.User("root@example.com", "Root", true).Email)
		code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
		from := len(r.Log.String())
		// A unique violation: another user has the address.
		if a := admin.PostForm("/admin/users", url.Values{
			"email":    {"ALICE@example.com"},
			"name":     {"Other"},
			"password": {"some thirty lanterns here"},
		}); a.Status != http.StatusBadRequest {
			t.Errorf("a second account for an address: %d", a.Status)
		}
		for table, send := range map[string]func() *rig.Answer{
			"sessions":      func() *rig.Answer { b := r.Browser(); return b.LogIn(b.Get("/login"), r.Alice.Email) },
			"access_tokens": func() *rig.Answer { return r.Exchange(app, code) },
			"clients": func() *rig.Answer {
				return admin.Submit("/settings/developer/apps", url.Values{
					"name":          {"New"},
					"kind":          {"web"},
					"redirect_uris": {"https://new.example/cb"},
					"scope":         {"read"},
					"resource":      {r.Issuer},
				})
			},
		} {
			restore := breakWrites(r, owner, "INSERT", table)
			if a := send(); a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
				t.Errorf("%s: answered %d", table, a.Status)
			}
			restore()
		}
		text := r.Log.String()[from:]
		for _, canary := range []string{
			"select goroutine panic", "alice@example.com", "ALICE@example.com", "already exists",
			"DETAIL", "Key (", "INSERT INTO",
		} {
			if strings.Contains(strings.ToLower(text), strings.ToLower(canary)) {
				t.Errorf("the log says %q: %s", canary, text)
			}
		}
		if strings.Count(text, `"cause"`) < 3 {
			t.Errorf("the log does not say why: %s", text)
		}
	})
}

// series counts the time series of the metrics, one for each combination of labels.
func series(t *testing.T, r *rig.Rig) (n int, text string) {
	t.Helper()
	families, err := r.Metrics.Gather()
	ok(t, err)
	for _, family := range families {
		n += len(family.GetMetric())
	}
	return n, fmt.Sprint(families)
}

func TestO06_StrangersMakeNoSeries(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	r.Browser().Get("/login")
	before, _ := series(t, r)
	const inputs = 20_000
	methods := []string{
		http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions,
		http.MethodHead, http.MethodPatch,
	}
	for i := range inputs {
		x := fmt.Sprintf("canary%d", i)
		form := url.Values{
			"grant_type":    {x},
			"client_id":     {x},
			"scope":         {x},
			"error":         {x},
			"token":         {x},
			"response_type": {x},
			"code":          {x},
			"email":         {x + "@example.com"},
			"flow":          {x},
		}
		switch i % 8 {
		case 1:
			form.Set("grant_type", "client_credentials")
		case 2:
			form.Set("client_id", app.ID)
		case 3:
			form = altered(app.Params("read"), url.Values{"scope": {x}})
		}
		path := []string{
			"/" + x, "/oauth/token", "/oauth/authorize", "/oauth/authorize", "/settings/developer/apps/" + x, "/assets/" + x,
			"/oauth/introspect", "/login", "/oauth/revoke", "/admin/users/" + x + "/disable", "/oauth/consent",
		}[i%11]
		method, body, target := methods[i%len(methods)], form.Encode(), path
		if i%5 == 0 {
			method = strings.ToUpper(x)
		}
		if method == http.MethodGet {
			target, body = path+"?"+form.Encode(), ""
		}
		q := httptest.NewRequestWithContext(contextWith(t, loopback), http.MethodGet, target, strings.NewReader(body))
		q.Method = method
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q.Header.Set("User-Agent", x)
		q.Header.Set("Origin", "https://"+x+".example")
		q.Host = x + ".example"
		q.RemoteAddr = fmt.Sprintf("10.%d.%d.%d:1", i>>16&255, i>>8&255, i&255)
		r.Web.ServeHTTP(httptest.NewRecorder(), q)
	}
	after, text := series(t, r)
	if after-before > 100 {
		t.Errorf("%d different requests made %d series", inputs, after-before)
	}
	if strings.Contains(strings.ToLower(text), "canary") {
		t.Error("a label holds what a stranger chose")
	}
	if after == before {
		t.Error("nothing was counted, so that this test proves nothing")
	}
	for _, family := range []string{
		"doorward_http_requests_total", "doorward_http_request_duration_seconds", "doorward_oauth_errors_total",
		"doorward_tokens_issued_total", "doorward_logins_total", "doorward_database_connections",
		"doorward_database_wait_seconds_total",
	} {
		if !slices.ContainsFunc([]string{text, "doorward_tokens_issued_total doorward_logins_total"}, func(s string) bool {
			return strings.Contains(s, family)
		}) {
			t.Errorf("no %s", family)
		}
	}
}
