package process

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// lockedText is a log that tests read while it is being written.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A warning is written at once, with the lines before it. Other lines are written when the buffer is flushed.
func TestLogBuffersInfoLines(t *testing.T) {
	var out lockedText
	buffer := NewLogBuffer(&out)
	log := slog.New(slog.NewJSONHandler(buffer, nil))
	log.Info("first")
	log.Warn("second")
	if got := out.String(); strings.Count(got, "\n") != 2 || strings.Index(got, "first") > strings.Index(got, "second") {
		t.Errorf("after a warning the log is %q", got)
	}
	log.Info("third")
	buffer.Flush()
	if got := out.String(); !strings.Contains(got, "third") {
		t.Errorf("after a flush the log is %q", got)
	}
}
