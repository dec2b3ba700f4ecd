package interop

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"testing"
)

// request is a request to an endpoint of OAuth.
type request struct {
	path   string
	sent   string // the query of GET, or the body of POST
	status int
	answer string // to POST
}

// recorder is a reverse proxy that remembers which clients registered, which users were asked, and which tokens were
// requested.
type recorder struct {
	mu       sync.Mutex
	requests []request
}

// inFrontOf serves what listens on a port until the test ends, and returns its own port.
func (h *recorder) inFrontOf(t *testing.T, port int) string {
	t.Helper()
	target := &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)}
	s := httptest.NewServer(&httputil.ReverseProxy{
		Transport: h,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		// Clients leave streams that are still open.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	})
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

// RoundTrip implements http.RoundTripper.
func (h *recorder) RoundTrip(r *http.Request) (*http.Response, error) {
	x := request{path: r.URL.Path, sent: r.URL.RawQuery}
	switch r.Method + " " + r.URL.Path {
	case "POST /oauth/register", "POST /oauth/token":
		var err error
		if x.sent, r.Body, err = readAgain(r.Body); err != nil {
			return nil, err
		}
	case "GET /oauth/authorize":
	default:
		return http.DefaultTransport.RoundTrip(r)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	x.status = response.StatusCode
	if r.Method == http.MethodPost {
		if x.answer, response.Body, err = readAgain(response.Body); err != nil {
			return nil, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = append(h.requests, x)
	return response, nil
}

// readAgain reads a body, and returns one with the same content.
func readAgain(body io.ReadCloser) (string, io.ReadCloser, error) {
	defer body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(body)
	return string(text), io.NopCloser(bytes.NewReader(text)), err
}

// forget starts with nothing.
func (h *recorder) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = nil
}

// all are the requests so far, in order.
func (h *recorder) all() []request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.requests)
}
