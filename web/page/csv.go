package page

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// MaxCSVRows is how many rows an export may have. One that would have more is refused, so that none is cut unseen.
const MaxCSVRows = 20_000

// CSV is a table that is written as a file (RFC 4180): a header, then rows, in UTF-8 with CRLF.
type CSV struct {
	body bytes.Buffer
	w    *csv.Writer
	rows int
}

// NewCSV returns a file with these columns.
func NewCSV(columns ...string) *CSV {
	c := &CSV{}
	c.w = csv.NewWriter(&c.body)
	c.w.UseCRLF = true
	_ = c.w.Write(columns) // into memory
	return c
}

// Add adds a row. An Error says that there are too many.
func (c *CSV) Add(values ...string) error {
	if c.rows++; c.rows > MaxCSVRows {
		return TooManyRows()
	}
	for i := range values {
		values[i] = harmless(values[i])
	}
	return c.w.Write(values)
}

// TooManyRows says that an export has more rows than a file may.
func TooManyRows() error {
	return &Error{
		Status: http.StatusUnprocessableEntity, Heading: "Too many rows for one file",
		Message: fmt.Sprintf("An export can have up to %d rows. Go back and choose a shorter period or a narrower filter.",
			MaxCSVRows),
	}
}

// harmless is a value that no spreadsheet takes for a formula: before what could begin one there is an apostrophe.
func harmless(value string) string {
	if value != "" && strings.ContainsRune("=+-@\t\r\n", rune(value[0])) {
		return "'" + value
	}
	return value
}

// CSVTime is a moment in a file: RFC 3339, in UTC.
func CSVTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Serve answers with the file, to be saved under a name, which must be plain ASCII without quotes.
func (c *CSV) Serve(w http.ResponseWriter, name string) error {
	c.w.Flush()
	h := w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8; header=present")
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(c.body.Bytes()) // a browser that went away is no fault of ours
	return nil
}
