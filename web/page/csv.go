package page

import (
	"bytes"
	"encoding/csv"
	"net/http"
	"strconv"
	"strings"
	"time"

	"doorward/locale"
)

// MaxCSVRows is how many rows an export may have. A larger one is refused, so that rows are not left out unnoticed.
const MaxCSVRows = 20_000

// CSV builds a CSV file (RFC 4180): a header, then rows, in UTF-8 with CRLF.
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
	_ = c.w.Write(columns) // a buffer does not fail
	return c
}

// Add adds a row. The error is TooManyRows if there are too many.
func (c *CSV) Add(values ...string) error {
	if c.rows++; c.rows > MaxCSVRows {
		return TooManyRows()
	}
	for i := range values {
		values[i] = harmless(values[i])
	}
	return c.w.Write(values)
}

// TooManyRows is the page for an export that would have more than MaxCSVRows.
func TooManyRows() error {
	return &Error{
		Status: http.StatusUnprocessableEntity, Heading: locale.New("Too many rows for one file"),
		Message: locale.New("An export can have up to %s rows. Go back and choose a shorter period or a narrower filter.",
			strconv.Itoa(MaxCSVRows)),
	}
}

// harmless puts an apostrophe before a value that a spreadsheet could read as a formula.
func harmless(value string) string {
	if value != "" && strings.ContainsRune("=+-@\t\r\n", rune(value[0])) {
		return "'" + value
	}
	return value
}

// CSVTime formats a time for a file: RFC 3339, in UTC.
func CSVTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Serve answers with the file as a download. name must be plain ASCII without quotes.
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
	_, _ = w.Write(c.body.Bytes()) // the browser may be gone
	return nil
}
