package page

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"doorward/storage"
	"doorward/templates"
)

// ListLength is how many rows one page of a list has.
const ListLength = 50

// List is one page of a list, as its URL asks for it: sorted by ?sort=name, or ?sort=-name for descending order, and
// starting after the row that ?after and ?at name.
type List struct {
	Order   storage.Order
	base    string
	keep    url.Values // the rest of the query: search and filters
	columns []templates.Column
	first   string // the order if there is no ?sort
}

// ReadList reads how to sort a list with these columns, and where to start. first is the order if the URL names none,
// such as "-created"; empty: that in which the rows are read. The links keep the values of keep in their queries.
func ReadList(r *http.Request, base, first string, keep url.Values, columns ...templates.Column) List {
	l := List{base: base, keep: keep, columns: columns, first: first}
	query := r.URL.Query()
	l.set(first)
	l.set(query.Get("sort"))
	// The id of a row may be a URL: that of the metadata document of an app.
	l.Order.After, l.Order.Value = Clean(query.Get("after"), 500), Clean(query.Get("at"), 400)
	return l
}

// set sorts by a column. If the list cannot be sorted by it, the order stays as it is.
func (l *List) set(sort string) {
	by := strings.TrimPrefix(sort, "-")
	if by != "" && slices.ContainsFunc(l.columns, func(c templates.Column) bool { return c.By == by }) {
		l.Order.By, l.Order.Descending = by, by != sort
	}
}

// sort is the order as ?sort has it.
func (l *List) sort() string {
	if l.Order.Descending {
		return "-" + l.Order.By
	}
	return l.Order.By
}

// link returns a link to the list in an order, starting after a row; if after is empty, at the beginning.
func (l *List) link(sort, after, value string) string {
	v := url.Values{}
	for name, values := range l.keep {
		if len(values) > 0 && values[0] != "" {
			v[name] = values
		}
	}
	if sort != l.first {
		v.Set("sort", sort)
	}
	if after != "" {
		v.Set("after", after)
		v.Set("at", value)
	}
	return strings.TrimSuffix(l.base+"?"+v.Encode(), "?")
}

// Head returns the columns with their links.
func (l *List) Head() []templates.Column {
	head := slices.Clone(l.columns)
	for i := range head {
		c := &head[i]
		down := c.Down
		if c.By != "" && c.By == l.Order.By {
			c.Sorted = "ascending"
			if l.Order.Descending {
				c.Sorted = "descending"
			}
			down = !l.Order.Descending
		}
		switch {
		case c.By == "":
		case down:
			c.URL = l.link("-"+c.By, "", "")
		default:
			c.URL = l.link(c.By, "", "")
		}
	}
	return head
}

// Row is a row of a list that package storage sorts.
type Row[T any] interface {
	*T
	OrderValue(by string) string
}

// Paginate cuts a list that was read with one row too many to a page, and returns the links to the next page and to the
// first one. The browser's own button goes back by one page.
func Paginate[T any, P Row[T]](l *List, list []T, id func(P) string) (page []T, next, prev string) {
	if l.Order.After != "" {
		prev = l.link(l.sort(), "", "")
	}
	if len(list) > ListLength {
		list = list[:ListLength]
		last := P(&list[len(list)-1])
		next = l.link(l.sort(), id(last), last.OrderValue(l.Order.By))
	}
	return list, next, prev
}
