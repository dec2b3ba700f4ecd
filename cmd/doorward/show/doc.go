// Package show prints users, workspaces, apps, keys and tokens for the CLI: as JSON for scripts and as tables for
// people. It reads no configuration and no database.
package show

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"doorward/management"
	"doorward/storage"
)

// Seconds is a time as people read it: UTC, without fractions.
func Seconds(t storage.Time) time.Time { return t.Time().UTC().Truncate(time.Second) }

// SecondsOrNil is Seconds, and nil for the zero time, which means never.
func SecondsOrNil(t storage.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	at := Seconds(t)
	return &at
}

// Table writes rows of cells in columns.
func Table(w io.Writer, rows ...[]string) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	_ = table.Flush()
}

// fields are the rows of a table with a name and a value in each.
type fields [][]string

// add adds a field, unless its value is empty.
func (f *fields) add(name, value string) {
	if value != "" {
		*f = append(*f, []string{name, value})
	}
}

// addTime adds a time, unless it is nil.
func (f *fields) addTime(name string, t *time.Time) {
	if t != nil {
		f.add(name, t.Format(time.RFC3339))
	}
}

// date is a day in a table.
func date(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.Format(time.DateOnly)
}

// stoppedBy names who paused a key or disabled an app, from their role as the database keeps it.
func stoppedBy(by string) string {
	switch by {
	case management.StoppedByAdministrator:
		return "an administrator of this server"
	case management.StoppedByUser:
		return "its user"
	}
	return "an " + by + " of the workspace"
}

// enabled is the state of a user, app or workspace.
func enabled(disabled bool) string {
	if disabled {
		return "disabled"
	}
	return "enabled"
}
