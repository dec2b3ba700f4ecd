package process

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"time"
)

// LogBuffer collects log lines and writes them together, because a system call per line is a tenth of the cost of a
// request. It writes lines of levels other than INFO before Write returns, with those before them.
//
// Requests do not wait while the log is written: a write to a file can take as long as the file system's journal does to
// commit. If logBound bytes are waiting to be written, further lines wait rather than get lost.
type LogBuffer struct {
	w io.Writer

	mu        sync.Mutex
	written   sync.Cond // a write has ended
	lines     []byte    // to be written
	spare     []byte    // an empty buffer, to take the place of lines
	writing   bool      // one write at a time, so that lines keep their order
	scheduled bool      // a Flush will start within logDelay
	full      bool      // a Flush has been started since there are logBatch bytes
}

const (
	// logDelay is how long a line may wait, and so how much of the log is lost if the process crashes.
	logDelay = 100 * time.Millisecond
	// logBatch is how many bytes are written without waiting for logDelay.
	logBatch = 64 << 10
	// logBound is how many bytes may wait: a second of the log under full load.
	logBound = 8 << 20
)

// NewLogBuffer returns a buffer in front of w. Call Flush before the process ends.
func NewLogBuffer(w io.Writer) *LogBuffer {
	l := &LogBuffer{w: w}
	l.written.L = &l.mu
	return l
}

// Write implements io.Writer for slog's JSON handler, which writes one line at a time.
func (l *LogBuffer) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.writing && len(l.lines)+len(line) > logBound {
		l.written.Wait()
	}
	l.lines = append(l.lines, line...)
	// The level follows the time.
	if !bytes.Contains(line[:min(len(line), 80)], []byte(`"level":"INFO"`)) {
		return len(line), l.flush()
	}
	l.schedule()
	return len(line), nil
}

// writeRecord formats a record directly into the buffer. It returns false, and writes nothing, if appendRecord cannot.
func (l *LogBuffer) writeRecord(r *slog.Record) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.writing && len(l.lines) > logBound {
		l.written.Wait()
	}
	lines, ok := appendRecord(l.lines, r)
	if !ok {
		return false
	}
	l.lines = lines
	l.schedule()
	return true
}

// schedule has the lines written: soon, or now if they are many.
func (l *LogBuffer) schedule() {
	if !l.scheduled {
		l.scheduled = true
		time.AfterFunc(logDelay, l.Flush)
	}
	if len(l.lines) >= logBatch && !l.full {
		l.full = true
		go l.Flush()
	}
}

// Flush writes the lines of all calls of Write before it.
func (l *LogBuffer) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.flush() // there is nowhere else to report the error
}

// flush is Flush for a caller that has locked mu, which is unlocked during the write.
func (l *LogBuffer) flush() error {
	for l.writing {
		l.written.Wait()
	}
	batch := l.lines
	l.lines, l.spare, l.scheduled, l.full = l.spare[:0], nil, false, false
	if len(batch) > 0 {
		l.writing = true
		l.mu.Unlock()
		_, err := l.w.Write(batch)
		l.mu.Lock()
		l.writing = false
		l.written.Broadcast()
		if err != nil {
			return err
		}
	}
	if cap(batch) <= 2*logBatch {
		l.spare = batch
	}
	return nil
}
