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

// TestH10_HalfAnAnswerIsNotTakenForAWholeOne: a handler that panics after the first byte has said what status the
// answer has, and all that is left is to break it off.
func TestH10_HalfAnAnswerIsNotTakenForAWholeOne(t *testing.T) {
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
			t.Errorf("half an answer looks whole: %d %q", response.StatusCode, body)
		}
	}
	server.Close()
	if !strings.Contains(log.String(), `"panic":"broken"`) || !strings.Contains(log.String(), `"msg":"request"`) {
		t.Errorf("the log says %s", log.String())
	}
}
