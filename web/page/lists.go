package page

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"doorward/storage"
	"doorward/templates"
)

// ListLength is how many rows a page of a list has.
const ListLength = 50

// List is one page of a list as its address asks for it: ?sort=name, or ?sort=-name for the other direction, and the
// row after which it begins.
type List struct {
	Order   storage.Order
	base    string
	keep    url.Values // what else is in the address: searches and filters
	columns []templates.Column
	first   string // the order without ?sort
}

// ReadList reads how a list of these columns is to be shown. The first is its order where the address names none, such
// as "-created"; keep is what else its links have in their queries.
func ReadList(r *http.Request, base, first string, keep url.Values, columns ...templates.Column) List {
	l := List{base: base, keep: keep, columns: columns, first: first}
	query := r.URL.Query()
	l.set(first)
	l.set(query.Get("sort"))
	l.Order.After, l.Order.Value = Clean(query.Get("after"), 64), Clean(query.Get("at"), 400)
	return l
}

// set sorts by a column of the list, and leaves the order as it is where there is no such column.
func (l *List) set(sort string) {
	by := strings.TrimPrefix(sort, "-")
	if by != "" && slices.ContainsFunc(l.columns, func(c templates.Column) bool { return c.By == by }) {
		l.Order.By, l.Order.Descending = by, by != sort
	}
}

func (l *List) sort() string {
	if l.Order.Descending {
		return "-" + l.Order.By
	}
	return l.Order.By
}

// link is the list sorted in a way, from after a row or, where after is empty, from its beginning.
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

// Head is the columns with their links.
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

// Row is a row of a list that storage sorts.
type Row[T any] interface {
	*T
	OrderValue(by string) string
}

// Paginate turns a list that was read one row too long into a page and the link to the next. The first page is the only
// one that can be gone back to by a link; the browser knows the others.
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
