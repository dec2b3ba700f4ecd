package web

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"doorward/storage"
)

// TestH10_PartialResponseDoesNotLookComplete checks that the connection breaks off if a handler panics after it has
// sent the status.
func TestH10_PartialResponseDoesNotLookComplete(t *testing.T) {
	store, err := storage.Open(t.Context(), "sqlite::memory:", storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	var log strings.Builder
	s := &Server{log: slog.New(slog.NewJSONHandler(&log, nil)), metrics: newMetrics(prometheus.NewRegistry(), store)}
	server := httptest.NewServer(s.observe(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		panic("broken")
	})))
	response, err := server.Client().Get(server.URL)
	if err == nil {
		var body []byte
		body, err = io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err == nil {
			t.Errorf("the partial response looks complete: %d %q", response.StatusCode, body)
		}
	}
	server.Close()
	if !strings.Contains(log.String(), `"panic":"broken"`) || !strings.Contains(log.String(), `"msg":"request"`) {
		t.Errorf("the log says %s", log.String())
	}
}
