package process

import (
	"bytes"
	"fmt"
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

// stuck is a log whose writes wait until they are let through.
type stuck struct {
	lockedText

	began chan struct{}
	let   chan struct{}
}

func (s *stuck) Write(b []byte) (int, error) {
	s.began <- struct{}{}
	<-s.let
	return s.lockedText.Write(b)
}

// While a write takes long, lines are taken without waiting for it, up to a bound, and none is lost or out of order.
func TestNoRequestWaitsForTheLog(t *testing.T) {
	out := &stuck{began: make(chan struct{}, 100), let: make(chan struct{})}
	buffer := NewLogBuffer(out)
	line := func(i int) []byte {
		return fmt.Appendf(nil, `{"time":"","level":"INFO","msg":"%d%s"}`+"\n", i, strings.Repeat(" ", 1000))
	}
	sent := 0
	send := func() {
		if _, err := buffer.Write(line(sent)); err != nil {
			t.Error(err)
		}
		sent++
	}
	for range logBatch/1000 + 1 {
		send()
	}
	<-out.began // a full batch is written without delay, and the write does not end
	for len(buffer.lines)+len(line(sent)) <= logBound {
		send()
	}
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		send()
	}()
	select {
	case <-waited:
		t.Error("a line above the bound did not wait")
	default:
	}
	close(out.let)
	<-waited
	buffer.Flush()
	var want bytes.Buffer
	for i := range sent {
		want.Write(line(i))
	}
	if got := out.String(); got != want.String() {
		t.Errorf("%d bytes were written, want %d in the order of the calls", len(got), want.Len())
	}
}
