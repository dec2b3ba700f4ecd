package gateways

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/web/gateway"
	"doorward/web/gateway/route"
)

// If the API cannot be reached, or takes too long, the refusal has the API's shape.
func TestBadGatewayAndTimeoutInTheShapeOfTheAPI(t *testing.T) {
	away, err := url.Parse("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, rules, func(_ *catalog.Resource, a *gateway.API) { a.Upstream, a.Shape.Name = away, "nested" })
	_, key := s.Key(s.Workspace("acme", "", s.Alice), apikey.Spec{Scopes: []string{"read"}})
	answer := s.call("GET", "/v1/any", key, "")
	if answer.Status != http.StatusBadGateway || !strings.Contains(answer.Body, `"code":"bad_gateway"`) ||
		answer.Header.Get("X-RateLimit-Limit") == "" {
		t.Errorf("%d %s %v", answer.Status, answer.Body, answer.Header)
	}
}

// A request whose caller goes away leaves a line in the log and is noted with its key, like any other.
func TestACallerWhoGoesAwayIsNoted(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		leave()
		<-r.Context().Done()
	}))
	t.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, rules, func(_ *catalog.Resource, a *gateway.API) { a.Upstream = target })
	k, key := s.Key(s.Workspace("acme", "", s.Alice), apikey.Spec{Scopes: []string{"read"}})
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/any", nil)
	r.Host = apiHost
	r.Header.Set("Authorization", "Bearer "+key)
	func() {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
				t.Errorf("it ended with %v", p)
			}
		}()
		s.Web.ServeHTTP(httptest.NewRecorder(), r)
	}()
	if text := s.Log.String(); !strings.Contains(text, `"status":499`) || strings.Contains(text, `"level":"ERROR"`) {
		t.Errorf("the log says %s", text)
	}
	if err := s.Store.FlushUsage(s.System()); err != nil {
		t.Fatal(err)
	}
	if requests, err := s.Store.RecentRequestsOf(s.System(), k.ID); err != nil || len(requests) != 1 ||
		requests[0].Status != gateway.StatusCallerGone {
		t.Errorf("%+v, %v", requests, err)
	}
}

// deadlines is a writer that keeps until when the caller has time to send.
type deadlines struct {
	*httptest.ResponseRecorder
	read time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error { d.read = t; return nil }
func (d *deadlines) SetWriteDeadline(time.Time) error  { return nil }

// net/http reads a little more of a body that was refused, but not for an unlimited time.
func TestH02_TheRestOfABodyOverTheLimitHasItsTime(t *testing.T) {
	s := newSite(t, []route.Route{{Path: "/**", Public: true}}, nil)
	for name, c := range map[string]struct {
		size int64
		ends bool // there is a time by which the rest must come
	}{"whole": {1 << 20, false}, "over the limit": {64<<20 + 100, true}} {
		t.Run(name, func(t *testing.T) {
			w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
			r := httptest.NewRequestWithContext(t.Context(), "POST", "http://"+apiHost+"/x", io.LimitReader(zeros{}, c.size))
			s.gateway.Serve(w, r, s.gateway.API(apiID), http.NotFoundHandler())
			if w.read.IsZero() == c.ends {
				t.Errorf("answered %d; the rest must come by %v", w.Code, w.read)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// late is a body whose next piece does not come.
type late struct{}

func (late) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

// It is the caller who was too slow, and not the API.
func TestABodyThatDoesNotComeIsTheCallersFault(t *testing.T) {
	s := newSite(t, []route.Route{{Path: "/**", Public: true}}, nil)
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	s.gateway.Serve(
		w,
		httptest.NewRequestWithContext(t.Context(), "POST", "http://"+apiHost+"/x", late{}),
		s.gateway.API(apiID),
		http.NotFoundHandler(),
	)
	if w.Code != http.StatusRequestTimeout || !strings.Contains(w.Body.String(), "took too long to arrive") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
