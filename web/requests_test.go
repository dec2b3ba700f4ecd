package web_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"doorward/cmd/doorward/process"
	"doorward/web"
	"doorward/web/gateway"
)

// discard is a response that is dropped.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// body is a request body that can be read again.
type body struct {
	text string
	strings.Reader
}

func (b *body) Close() error { return nil }

// BenchmarkRequest is what one request costs within the server, with the log line and all middleware, from the parsed
// request to the response. Without net/http, so that the allocations are the server's own, except for the proxy.
func BenchmarkRequest(b *testing.B) {
	m := newMachines(b, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	server, err := web.New(web.Config{
		Issuer: m.Issuer, Store: m.Store, OAuth: m.OAuth, Management: m.Management, Bearer: m.Bearer, APIKeys: m.APIKeys,
		Catalog: m.Catalog, Identity: m.Identity, Secrets: m.Secrets, APIs: m.options.APIs,
		TrustedProxies: m.options.TrustedProxies, Metrics: prometheus.NewRegistry(),
		Log: slog.New(process.NewLogHandler(process.NewLogBuffer(io.Discard))),
	})
	if err != nil {
		b.Fatal(err)
	}
	const proxy = "127.0.0.1:9000"
	for _, c := range []struct {
		name string
		question
	}{
		{"Introspect", question{
			path: "/oauth/introspect", basic: m.api, form: url.Values{"token": {m.token}},
		}},
		{"IntrospectByKey", question{
			path: "/oauth/introspect", bearer: m.checker, form: url.Values{"token": {m.token}},
		}},
		{"KeyCheck", question{
			path: "/oauth/introspect", basic: m.api, form: url.Values{"token": {m.key}, "cost": {"1"}},
		}},
		{"Nginx", question{from: proxy, path: gateway.NginxPath, bearer: m.key, header: []string{
			"X-Original-Method", "GET", "X-Original-Host", apiHost, "X-Original-Uri", "/v1/thing7/9", "X-Forwarded-For",
			"203.0.113.9", "X-Forwarded-Proto", "https",
		}}},
		{"Forward", question{from: proxy, path: gateway.ForwardPath, bearer: m.key, header: []string{
			"X-Forwarded-Method", "GET", "X-Forwarded-Host", apiHost, "X-Forwarded-Uri", "/v1/thing7/9", "X-Forwarded-For",
			"203.0.113.9", "X-Forwarded-Proto", "https",
		}}},
		{"Proxy", question{host: apiHost, path: "/v1/thing7/9", bearer: m.key}},
		{"Healthz", question{path: "/healthz"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := c.request(b.Context())
			var sent body
			if c.form != nil {
				sent.text = c.form.Encode()
				r.Body = &sent
			}
			w := &discard{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				sent.Reset(sent.text)
				clear(w.header)
				w.status = http.StatusOK
				server.ServeHTTP(w, r)
				if w.status != http.StatusOK {
					b.Fatal(w.status)
				}
			}
		})
	}
}
