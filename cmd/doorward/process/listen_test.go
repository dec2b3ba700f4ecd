package process

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"doorward/config"
)

// slowServer is a handler whose requests wait until the test releases them.
type slowServer struct {
	started, release chan struct{}
	drained          atomic.Bool
}

func newSlowServer() *slowServer {
	return &slowServer{started: make(chan struct{}), release: make(chan struct{})}
}

func (s *slowServer) Drain() { s.drained.Store(true) }

func (s *slowServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	close(s.started)
	<-s.release
	if r.Context().Err() != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "done")
}

func freeListeners(t *testing.T) *Listeners {
	t.Helper()
	c := config.Default()
	c.Listen, c.AdminListen = []string{"127.0.0.1:0", "127.0.0.1:0"}, "127.0.0.1:0"
	l, err := Listen(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestDrainFinishesRunningRequestsAndRefusesNewOnes(t *testing.T) {
	l, handler := freeListeners(t), newSlowServer()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- l.Serve(ctx, slog.New(slog.DiscardHandler), handler, AdminHandler(prometheus.NewRegistry()), time.Minute)
	}()
	answer := make(chan string, 1)
	go func() {
		response, err := http.Get("http://" + l.Addresses()[1])
		if err != nil {
			answer <- err.Error()
			return
		}
		defer response.Body.Close() //nolint:errcheck // only read
		body, _ := io.ReadAll(response.Body)
		answer <- response.Status + " " + string(body)
	}()
	<-handler.started
	stop()
	for refused := false; !refused; { // until the listeners are closed
		conn, err := net.Dial("tcp", l.Addresses()[0])
		if refused = err != nil; !refused {
			_ = conn.Close()
		}
	}
	if !handler.drained.Load() {
		t.Error("the listeners closed while readiness was on")
	}
	close(handler.release)
	if got := <-answer; got != "200 OK done" {
		t.Errorf("the request that was running got %s", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("serve ended with %v", err)
	}
}

func TestDrainCutsOffRequestsThatDoNotEnd(t *testing.T) {
	l, handler := freeListeners(t), newSlowServer()
	defer close(handler.release)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Serve(ctx, slog.New(slog.DiscardHandler), handler, http.NotFoundHandler(), 0) }()
	go func() {
		if response, err := http.Get("http://" + l.Addresses()[0]); err == nil {
			_ = response.Body.Close()
		}
	}()
	<-handler.started
	stop()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "were cut off") {
		t.Errorf("serve ended with %v", err)
	}
}

func TestListenOpensAllOrNone(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close() //nolint:errcheck // in a test
	free := freeListeners(t)
	address := free.Addresses()[0]
	free.Close()
	c := config.Default()
	c.Listen, c.AdminListen = []string{address}, taken.Addr().String()
	if _, err := Listen(t.Context(), c); err == nil || !strings.Contains(err.Error(), "admin_listen: ") {
		t.Fatalf("listen gave %v", err)
	}
	again, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatalf("the public socket is still open: %v", err)
	}
	_ = again.Close()
}

// H-01 requires that every slow connection is closed within ten seconds, whether in the headers, body or response.
func TestPublicServerHasTheLimitsOfTheSecureDefaults(t *testing.T) {
	s := publicServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	if s.ReadHeaderTimeout != 5*time.Second || s.ReadTimeout != 5*time.Second || s.WriteTimeout != 9*time.Second ||
		s.IdleTimeout != time.Minute || s.MaxHeaderBytes != 32<<10 {
		t.Errorf(
			"limits are %v %v %v %v %d",
			s.ReadHeaderTimeout,
			s.ReadTimeout,
			s.WriteTimeout,
			s.IdleTimeout,
			s.MaxHeaderBytes,
		)
	}
}

func TestO01_AdminListenerDoesNotShowTheCommandLine(t *testing.T) {
	l := freeListeners(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- l.Serve(ctx, slog.New(slog.DiscardHandler), newSlowServer(), AdminHandler(prometheus.NewRegistry()), time.Minute)
	}()
	for path, want := range map[string]int{"/metrics": 200, "/debug/pprof/": 200, "/debug/pprof/goroutine": 200, "/debug/pprof/cmdline": 404} {
		response, err := http.Get("http://" + l.admin.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s answers %d, want %d", path, response.StatusCode, want)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestV75_AdminListenerAnswersForItsOwnHosts(t *testing.T) {
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for listen, hosts := range map[string]map[string]bool{
		"127.0.0.1:8081":      {"127.0.0.1:8081": true, "localhost:8081": true, "LOCALHOST": true, "[::1]:8081": true, "evil.example:8081": false, "evil.example": false, "doorward": false, "": false, "127.0.0.1.evil.example": false},
		":8081":               {"10.0.0.7:8081": true, "doorward:8081": true, "evil.example": false},
		"admin.internal:8081": {"admin.internal:8081": true, "Admin.Internal.": true, "evil.example": false},
	} {
		for host, want := range hosts {
			q := httptest.NewRequestWithContext(t.Context(), "GET", "http://x/metrics", nil)
			q.Host = host
			w := httptest.NewRecorder()
			NamedHosts(listen, ok).ServeHTTP(w, q)
			if got := w.Code == http.StatusOK; got != want {
				t.Errorf("%s, host %q: %d", listen, host, w.Code)
			}
		}
	}
}
