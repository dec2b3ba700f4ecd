package api

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	defaultPage = 50
	maxPage     = 100
)

// Page holds the query parameters of every list.
type Page struct {
	Limit  int64  `query:"limit" doc:"Page size, 1 to 100." default:"50" minimum:"1" maximum:"100"`
	Cursor string `query:"cursor" doc:"nextCursor of the previous page, with the same filters."`
}

// readQuery reads the query into a struct. It refuses unknown and repeated parameters.
func (c *call) readQuery(into any) error {
	values, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return badRequest("The query is not well-formed; check its percent-encoding.")
	}
	target := reflect.ValueOf(into).Elem()
	fields := map[string]reflect.StructField{}
	for _, f := range reflect.VisibleFields(target.Type()) {
		if name := f.Tag.Get("query"); name != "" {
			fields[name] = f
		}
	}
	for name, list := range values {
		f, known := fields[name]
		if !known {
			return badRequest(fmt.Sprintf("Unknown query parameter %q; leave it out.", shorten(name)))
		}
		if len(list) > 1 || list[0] == "" || strings.IndexByte(list[0], 0) >= 0 || !utf8.ValidString(list[0]) {
			return badRequest("Send the query parameter " + name + " once, with a value.")
		}
		if err := setParameter(target.FieldByIndex(f.Index), f, list[0]); err != nil {
			return err
		}
	}
	return nil
}

func setParameter(field reflect.Value, f reflect.StructField, value string) error {
	name := f.Tag.Get("query")
	switch field.Interface().(type) {
	case Moment:
		t, ok := parseMoment(value)
		if !ok {
			return badRequest("The query parameter " + name + " must be a time such as 2030-12-31T23:59:59Z.")
		}
		field.SetInt(int64(t))
	case int64:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || strconv.FormatInt(n, 10) != value || n < bound(f, "minimum") || n > bound(f, "maximum") {
			between := f.Tag.Get("minimum") + " to " + f.Tag.Get("maximum")
			return badRequest("The query parameter " + name + " must be a whole number from " + between + ".")
		}
		field.SetInt(n)
	default:
		if list := f.Tag.Get("enum"); list != "" && !slices.Contains(strings.Split(list, ","), value) {
			return badRequest(
				"The query parameter " + name + " must be one of " + strings.ReplaceAll(list, ",", ", ") + ".",
			)
		}
		field.SetString(value)
	}
	return nil
}

func bound(f reflect.StructField, tag string) int64 {
	n, err := strconv.ParseInt(f.Tag.Get(tag), 10, 64)
	if err != nil {
		panic(f.Name + " has no " + tag) // every number of a query has both
	}
	return n
}

// List is a page of a list.
type List[T any] struct {
	Data       []T     `json:"data"`
	NextCursor *string `json:"nextCursor" doc:"Send it as cursor to get the next page; null on the last page."`
}

// size is the number of rows on a page.
func (p *Page) size() int {
	if p.Limit == 0 {
		return defaultPage
	}
	return int(p.Limit)
}

// cursorPurpose binds a cursor to the list, its filters, the caller and the workspace.
func (c *call) cursorPurpose() string {
	filters := c.r.URL.Query()
	filters.Del("cursor")
	filters.Del("limit")
	return "cursor " + hex.EncodeToString(digestOf(c.op.id, c.caller(), c.by.WorkspaceID, filters.Encode()))
}

// after returns the position after which the page starts; empty for the first page.
func (c *call) after(p *Page) (string, error) {
	if p.Cursor == "" {
		return "", nil
	}
	text, err := c.secrets.Open(c.cursorPurpose(), p.Cursor)
	if err != nil {
		return "", badRequest(
			"The cursor is not valid for this list; send nextCursor of the previous page unchanged, with the same " +
				"filters.",
		)
	}
	return string(text), nil
}

// listOf returns a page of rows. rows has one row more than fits if there is another page. place returns the position
// of a row, for the cursor.
func listOf[Row, T any](c *call, p *Page, rows []Row, place func(*Row) string, show func(*Row) T) List[T] {
	list := List[T]{Data: []T{}}
	if n := p.size(); len(rows) > n {
		rows = rows[:n]
		next := c.secrets.Seal(c.cursorPurpose(), []byte(place(&rows[n-1])))
		list.NextCursor = &next
	}
	for i := range rows {
		list.Data = append(list.Data, show(&rows[i]))
	}
	return list
}

// cut returns the rows after a position, one more than fits on a page. Rows must be in ascending order of place.
func cut[Row any](p *Page, rows []Row, after string, place func(*Row) string) []Row {
	i := 0
	for after != "" && i < len(rows) && place(&rows[i]) <= after {
		i++
	}
	return rows[i:min(len(rows), i+p.size()+1)]
}
