package mail

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// dirSender writes each message to a file of its own.
type dirSender struct {
	dir  string
	sent func(Message) // nil: none
}

// Send implements Sender. The file has its name only once it is complete.
func (d dirSender) Send(_ context.Context, m Message) error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return fmt.Errorf("folder for emails: %w", err)
	}
	f, err := os.CreateTemp(d.dir, ".new-*")
	if err != nil {
		return fmt.Errorf("file for an email: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it has another name by then
	_, err = m.WriteTo(f)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("write an email: %w", err)
	}
	id, _, _ := strings.Cut(m.ID, "@")
	name := m.Date.UTC().Format("20060102T150405.000Z") + "-" + id + ".eml"
	if err := os.Rename(f.Name(), filepath.Join(d.dir, name)); err != nil {
		return fmt.Errorf("write an email: %w", err)
	}
	if d.sent != nil {
		d.sent(m)
	}
	return nil
}

// Close implements Sender.
func (dirSender) Close() {}
