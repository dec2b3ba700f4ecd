package page

import (
	"net/url"
)

// ListLength is how many rows a page of a list has.
const ListLength = 50

// Paginate turns a list that was read one row too long into a page and the link to the next. The first page is the only
// one that can be gone back to by a link; the browser knows the others.
func Paginate[T any](base, query, after string, list []T, id func(T) string) (page []T, next, prev string) {
	link := func(after string) string {
		v := url.Values{}
		if query != "" {
			v.Set("q", query)
		}
		if after != "" {
			v.Set("after", after)
		}
		if len(v) == 0 {
			return base
		}
		return base + "?" + v.Encode()
	}
	if after != "" {
		prev = link("")
	}
	if len(list) > ListLength {
		list = list[:ListLength]
		next = link(id(list[len(list)-1]))
	}
	return list, next, prev
}
