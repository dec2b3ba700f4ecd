package web_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/test/rig"
	"doorward/web/gateway"
	"doorward/web/gateway/route"
)

var update = flag.Bool("update", false, "write the answers of testdata again")

const apiHost = "api.example"

// machines is a server with an API behind its gateway, and the credentials of the programs that call it.
type machines struct {
	*rig.Rig
	options  rig.Options
	upstream *url.URL
	api      *rig.App // the resource server
	robot    *rig.App
	token    string // the robot's
	key      string // limited by a plan
	checker  string // an introspection key
}

// newMachines starts a server for programs, whose API answers with upstream.
func newMachines(tb testing.TB, upstream http.HandlerFunc) *machines {
	tb.Helper()
	server := httptest.NewServer(upstream)
	tb.Cleanup(server.Close)
	target, err := url.Parse(server.URL)
	if err != nil {
		tb.Fatal(err)
	}
	const id = "https://" + apiHost
	m := &machines{upstream: target, options: rig.Options{
		Issuer:         "https://auth.example",
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Plans:          map[string]limit.Plan{"large": {Hour: 1_000_000_000, Day: 1_000_000_000, Burst: 1_000_000}},
		Tokens:         &oauth.TokenLimits{},
		Resources: []catalog.Resource{{
			ID: id, Name: "An API", Scopes: []catalog.Scope{{Name: "read", Text: "Read"}, {Name: "write", Text: "Write"}},
			WorkspaceHeader: "X-Workspace",
			Keys:            catalog.KeyRules{Prefix: "sk", Environments: []string{"live"}, DefaultPlan: "large"},
		}},
		APIs: []gateway.API{{ID: id, Hosts: []string{apiHost}, Upstream: target, Routes: []route.Route{
			{Path: "/v1/**", Scopes: []string{"read"}, Cost: 1},
			{Path: "/open/**", Public: true},
		}}},
	}}
	m.Rig = rig.Memory(tb, m.options)
	m.Store.SetClock(func() time.Time { return noon })
	m.api = m.App(management.ClientSpec{Name: "Example API", ResourceServer: true, Resources: []string{id}})
	m.robot = m.App(management.ClientSpec{
		Name: "Robot", Grants: []string{oauth.GrantClientCredentials}, Scopes: []string{"read", "write"},
	})
	w := m.Workspace("acme", "", m.Alice)
	_, m.key = m.Key(w, apikey.Spec{Name: "Key", Scopes: []string{"read"}})
	_, m.checker = m.IntrospectionKey()
	answer := m.serve(question{
		path: "/oauth/token", basic: m.robot, form: url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}},
	}.request(tb.Context()))
	body := (&rig.Answer{Body: answer.Body.String()}).JSON()
	m.token, _ = body["access_token"].(string)
	if m.token == "" {
		tb.Fatalf("no token: %d %s", answer.Code, answer.Body)
	}
	return m
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// question describes a request of a program.
type question struct {
	method, host, path string // empty: POST, or GET without a form; the issuer's; required
	from               string // the peer; empty: a stranger
	basic              *rig.App
	bearer             string
	form               url.Values
	header             []string // pairs
}

// request makes the request as net/http would.
func (q question) request(ctx context.Context) *http.Request {
	method, body := q.method, io.Reader(nil)
	if q.form != nil {
		body = strings.NewReader(q.form.Encode())
	}
	if method == "" {
		method = http.MethodGet
		if q.form != nil {
			method = http.MethodPost
		}
	}
	local := &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 8080}
	r := httptest.NewRequestWithContext(context.WithValue(ctx, http.LocalAddrContextKey, net.Addr(local)), method, q.path,
		body)
	r.Host, r.RemoteAddr = "auth.example", "198.51.100.7:4711"
	if q.host != "" {
		r.Host = q.host
	}
	if q.from != "" {
		r.RemoteAddr = q.from
	}
	if q.form != nil && !slices.Contains(q.header, "Content-Type") {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if q.basic != nil {
		r.Header.Set("Authorization", rig.Basic(q.basic.ID, q.basic.Secret))
	}
	if q.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+q.bearer)
	}
	for i := 0; i+1 < len(q.header); i += 2 {
		r.Header[q.header[i]] = append(r.Header[q.header[i]], q.header[i+1])
	}
	return r
}

func (m *machines) serve(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	m.Web.ServeHTTP(w, r)
	return w
}

// questions are requests at every door for programs, with the answers of testdata.
func (m *machines) questions() map[string]question {
	of := func(token string, more ...string) url.Values {
		v := url.Values{"token": {token}}
		for i := 0; i+1 < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return v
	}
	const proxy = "127.0.0.1:9000"
	nginx := func(path string, more ...string) []string {
		return append([]string{
			"X-Original-Method", "GET", "X-Original-Host", apiHost, "X-Original-Uri", path, "X-Forwarded-For",
			"203.0.113.9, 127.0.0.1", "X-Forwarded-Proto", "https",
		}, more...)
	}
	forward := func(path string, more ...string) []string {
		return append([]string{
			"X-Forwarded-Method", "GET", "X-Forwarded-Host", apiHost, "X-Forwarded-Uri", path, "X-Forwarded-For",
			"2001:db8::9", "X-Forwarded-Proto", "https",
		}, more...)
	}
	introspect := func(q question) question {
		q.path = "/oauth/introspect"
		return q
	}
	return map[string]question{
		"introspect, token":    introspect(question{basic: m.api, form: of(m.token)}),
		"introspect, key":      introspect(question{basic: m.api, form: of(m.key)}),
		"introspect, cost":     introspect(question{basic: m.api, form: of(m.key, "cost", "3")}),
		"introspect, cost 0":   introspect(question{basic: m.api, form: of(m.token, "cost", "0")}),
		"introspect, bad cost": introspect(question{basic: m.api, form: of(m.key, "cost", "+1")}),
		"introspect, unknown":  introspect(question{basic: m.api, form: of("dw_at_unknown")}),
		"introspect, by key":   introspect(question{bearer: m.checker, form: of(m.key, "workspace", "acme")}),
		"introspect, elsewhere": introspect(question{
			bearer: m.checker, form: of(m.key, "workspace", ""),
		}),
		"introspect, in the body": introspect(question{
			form: of(m.token, "client_id", m.api.ID, "client_secret", m.api.Secret, "empty", ""),
		}),
		"introspect, wrong secret": introspect(question{
			form:   of(m.token),
			header: []string{"Authorization", rig.Basic(m.api.ID, "wrong"), "User-Agent", "curl/8 Bearer " + m.key},
		}),
		"introspect, not Basic":    introspect(question{form: of(m.token), header: []string{"Authorization", "Digest x"}}),
		"introspect, nothing":      introspect(question{form: of(m.token)}),
		"introspect, other bearer": introspect(question{bearer: m.token, form: of(m.token)}),
		"introspect, twice": introspect(question{
			basic: m.api, form: url.Values{"token": {"a", "b"}},
		}),
		"introspect, no form": introspect(question{
			basic: m.api, form: of(m.token), header: []string{"Content-Type", "text/plain"},
		}),
		"introspect, charset": introspect(question{
			basic: m.api, form: of(m.token),
			header: []string{"Content-Type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8"},
		}),
		"introspect, bad type": introspect(question{
			basic: m.api, form: of(m.token), header: []string{"Content-Type", "application/x-www-form-urlencoded; x"},
		}),
		"introspect, GET":          introspect(question{method: "GET", basic: m.api}),
		"introspect, query":        {method: "POST", path: "/oauth/introspect?a=b", basic: m.api},
		"introspect, other host":   {host: "other.example", path: "/oauth/introspect", basic: m.api, form: of(m.token)},
		"introspect, port of host": {host: "AUTH.example.:443", path: "/oauth/introspect", basic: m.api, form: of(m.token)},
		"introspect, by a proxy": introspect(question{
			from: proxy, basic: m.api, form: of(m.token), header: []string{"X-Forwarded-For", "bad, 192.0.2.1, 127.0.0.3"},
		}),
		"introspect, by a plain proxy": introspect(question{
			from: proxy, basic: m.api, form: of(m.token), header: []string{"X-Forwarded-Proto", "http"},
		}),
		"introspect, host by a proxy": introspect(question{
			host: "internal:8080", from: proxy, basic: m.api, form: of(m.token),
			header: []string{"X-Forwarded-Host", "auth.example, Auth.Example"},
		}),
		"introspect, hosts by a proxy": introspect(question{
			from: proxy, basic: m.api, form: of(m.token), header: []string{"X-Forwarded-Host", "auth.example, other.example"},
		}),
		"introspect, IPv6": introspect(question{from: "[fe80::1%eth0]:99", basic: m.api, form: of(m.token)}),
		"introspect, IPv4 in IPv6": introspect(question{
			from: "[::ffff:192.0.2.8]:99", basic: m.api, form: of(m.token),
			header: []string{"Referer", "https://user@app.example/path?code=x"},
		}),
		"introspect, no address": introspect(question{from: "@", basic: m.api, form: of(m.token)}),
		"token": {
			path: "/oauth/token", basic: m.robot, form: url.Values{"grant_type": {"client_credentials"}},
			header: []string{"User-Agent", "Robot/1.0 <\"é\\\">\x01" + strings.Repeat("x", 300), "Referer", "no URL"},
		},
		"nginx, key": {from: proxy, path: gateway.NginxPath, bearer: m.key, header: nginx("/v1/x?y")},
		"nginx, token": {
			from: proxy, path: gateway.NginxPath, bearer: m.token,
			header: nginx("/v1/a%20b", "Cookie", "a=b; doorward=c"),
		},
		"nginx, unknown":  {from: proxy, path: gateway.NginxPath, bearer: "sk_live_x", header: nginx("/v1/x")},
		"nginx, nothing":  {from: proxy, path: gateway.NginxPath, header: nginx("/v1/x")},
		"nginx, no route": {from: proxy, path: gateway.NginxPath, bearer: m.key, header: nginx("/v2/x")},
		"nginx, pinned":   {from: proxy, path: gateway.NginxPath + "?host=other", bearer: m.key, header: nginx("/v1/x")},
		"nginx, identity": {from: proxy, path: gateway.NginxPath, bearer: m.key, header: nginx("/v1/x", "X-Auth-New", "a")},
		"nginx, untrusted": {
			path: gateway.NginxPath, bearer: m.key, header: nginx("/v1/x"),
		},
		"forward, key":    {from: proxy, path: gateway.ForwardPath, bearer: m.key, header: forward("/v1/x")},
		"forward, public": {from: proxy, path: gateway.ForwardPath, header: forward("/open/x")},
		"forward, other": {
			from: proxy, path: gateway.ForwardPath, bearer: m.key, header: forward("/v1/x", "X-Original-Uri", "/v1/y"),
		},
		"envoy, key": {
			from: proxy, host: apiHost, path: gateway.EnvoyPath + "/v1/x", bearer: m.key,
			header: []string{"X-Auth-Other", "a", "Cookie", "doorward=b"},
		},
		"proxy, key": {
			host: apiHost, path: "/v1/x?y=z", bearer: m.key,
			header: []string{"Cookie", "a=b; doorward=c", "X-Auth-Subject", "me", "X_Under", "a", "X-Request-Id", "short"},
		},
		"proxy, by a proxy": {
			from: proxy, host: apiHost + ":443", path: "/v1/x", bearer: m.token, header: forward("/v1/x"),
		},
		"proxy, public":       {host: apiHost, path: "/open/x"},
		"proxy, unknown":      {host: apiHost, path: "/v1/x", bearer: "dw_at_unknown"},
		"proxy, method":       {host: apiHost, method: "TRACE", path: "/v1/x", bearer: m.key},
		"metadata of the API": {host: apiHost, path: "/.well-known/oauth-protected-resource"},
		"metadata":            {path: "/.well-known/oauth-authorization-server"},
		"healthz":             {host: "127.0.0.1", path: "/healthz"},
		"nothing":             {path: "/v1/nothing"},
		"method":              {method: "BREW", path: "/oauth/introspect"},
	}
}

// patterns of what differs from run to run, with what stands for it.
var varying = []struct {
	pattern *regexp.Regexp
	stands  string
}{
	{regexp.MustCompile(`"time":"[^"]*"`), `"time":"TIME"`},
	{regexp.MustCompile(`"ms":[0-9.e-]+`), `"ms":MS`},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`), "UUID"},
	{regexp.MustCompile(`\b(dw_at_|sk_live_)[0-9A-Za-z]{20,}`), "${1}SECRET"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "DIGEST"},
	{regexp.MustCompile(`\b[0-9a-f]{24}\b`), "REQUEST"},
	{regexp.MustCompile(`127\.0\.0\.1:\d{4,5}\b`), "UPSTREAM"},
	{regexp.MustCompile(`Date=\[[^\]]*\]`), "Date=[DATE]"},
}

// ofRequests matches the names of metrics about requests.
var ofRequests = regexp.MustCompile(`^doorward_(http|oauth|tokens)_`)

// TestAnswersLogLinesAndMetrics compares the answers to programs, and what the log and the metrics say of them, with
// those of testdata, byte by byte: operators parse the lines, and callers the rest.
func TestAnswersLogLinesAndMetrics(t *testing.T) {
	m := newMachines(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Upstream", "yes")
		_, _ = fmt.Fprintf(w, "%s %s %s\n%s", r.Method, r.Host, r.URL, sorted(r.Header)) // the test reads it
	})
	var all strings.Builder
	questions := m.questions()
	names := make([]string, 0, len(questions))
	for name := range questions {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		q := questions[name]
		from := len(m.Log.String())
		if !slices.Contains(q.header, "X-Request-Id") && name != "healthz" {
			q.header = append(q.header, "X-Request-Id", "request.of-the_TEST")
		}
		w := m.serve(q.request(t.Context()))
		fmt.Fprintf(&all, "== %s: %d\n%s%s\n%s\n", name, w.Code, sorted(w.Header()), w.Body, m.Log.String()[from:])
	}
	families, err := m.Metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, x := range f.GetMetric() {
			if !ofRequests.MatchString(f.GetName()) {
				continue
			}
			labels := ""
			for _, l := range x.GetLabel() {
				labels += " " + l.GetName() + "=" + l.GetValue()
			}
			fmt.Fprintf(&all, "%s%s: %v\n", f.GetName(), labels, x.GetCounter().GetValue()+
				float64(x.GetHistogram().GetSampleCount()))
		}
	}
	got := all.String()
	for _, v := range varying {
		got = v.pattern.ReplaceAllString(got, v.stands)
	}
	const file = "testdata/answers.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("the answers changed; if that is intended, run go test ./web -run Answers -update:\n%s", diff)
	}
}

func sorted(h http.Header) string {
	var lines []string
	for name, values := range h {
		lines = append(lines, fmt.Sprintf("%s=%q\n", name, values))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}
