package route

import (
	"strings"
)

// Table holds the routes of a resource in a tree of segments, so that finding one takes the same time for any number of
// routes.
type Table struct {
	routes   []Route
	patterns []Pattern // in the spelling for comparison
	objects  objects
	object   string // one of them; empty: there are none
	loose    bool   // paths are compared in the form of loosePath
	root     node
}

// node holds the segments that may follow a path prefix.
type node struct {
	texts  map[string]*node
	any    *node    // *
	object *node    // {object}
	here   matchers // routes that end here
	below  matchers // routes with ** here
}

// matchers has for each method the index plus one of the first route that matches; zero: none does.
type matchers [methodBits]int32

// add adds a route for the methods that no earlier route matches.
func (m *matchers) add(set methodSet, index int) {
	for i := range m {
		if set&(1<<i) != 0 && m[i] == 0 {
			m[i] = int32(index) + 1 //nolint:gosec // a configuration of 1 MiB holds no more
		}
	}
}

// merge keeps the earlier of the two routes for each method.
func (m *matchers) merge(other *matchers) {
	for i, index := range other {
		if index != 0 && (m[i] == 0 || index < m[i]) {
			m[i] = index
		}
	}
}

// covers reports whether there is a route for each method of a set.
func (m *matchers) covers(set methodSet) bool {
	for i := range m {
		if set&(1<<i) != 0 && m[i] == 0 {
			return false
		}
	}
	return true
}

// NewTable creates a table of routes, in order. If loose is true, case and a trailing slash are ignored in paths, and
// case in objects.
func NewTable(routes []Route, objects []string, loose bool) *Table {
	t := &Table{objects: make(map[string]string, len(objects)), loose: loose}
	for _, object := range objects {
		compared := object
		if loose {
			compared = looseText(object)
		}
		if !t.objects.have(compared) {
			t.objects[compared] = object
		}
	}
	if len(objects) > 0 {
		t.object = objects[0]
	}
	for i := range routes {
		t.Add(routes[i])
	}
	return t
}

// Add appends a route. One without a path matches nothing, but has an index.
func (t *Table) Add(r Route) {
	index := len(t.routes)
	t.routes, t.patterns = append(t.routes, r), append(t.patterns, t.compared(r.Path))
	if r.Path == "" {
		return
	}
	n := &t.root
	for _, segment := range t.patterns[index] {
		if segment == restSegment {
			n.below.add(r.methods(), index)
			return
		}
		n = n.child(segment)
	}
	n.here.add(r.methods(), index)
}

// compared returns the pattern of a path in the spelling for comparison.
func (t *Table) compared(path string) Pattern {
	if t.loose {
		path = loosePath(path)
	}
	return split(path)
}

func (n *node) child(segment string) *node {
	slot := &n.any
	switch segment {
	case anySegment:
	case objectSegment:
		slot = &n.object
	default:
		if n.texts == nil {
			n.texts = map[string]*node{}
		}
		if n.texts[segment] == nil {
			n.texts[segment] = &node{}
		}
		return n.texts[segment]
	}
	if *slot == nil {
		*slot = &node{}
	}
	return *slot
}

// First returns the index of the route of a request with a decoded path, compared exactly; -1: there is none.
func (t *Table) First(method, path string) int {
	index, _ := t.match(method, path)
	return index
}

// match finds the first route for a method and a decoded path, and the value of {object}; -1: there is none.
func (t *Table) match(method, path string) (index int, object string) {
	s := search{objects: t.objects, bit: methodBit(method)}
	s.walk(&t.root, path[1:], true, "")
	return int(s.best) - 1, s.object
}

// search looks for the first route in all branches that match a path.
type search struct {
	objects objects
	bit     int    // of the method
	best    int32  // the index plus one; zero: none yet
	object  string // of the best
}

// walk continues at n with the rest of a path. If more is false, nothing is left, not even an empty segment.
func (s *search) walk(n *node, rest string, more bool, object string) {
	s.consider(&n.below, object)
	if !more {
		s.consider(&n.here, object)
		return
	}
	segment, rest, more := strings.Cut(rest, "/")
	if next := n.texts[segment]; next != nil {
		s.walk(next, rest, more, object)
	}
	if segment == "" {
		return // after a trailing slash, which * does not match
	}
	if n.any != nil {
		s.walk(n.any, rest, more, object)
	}
	if n.object != nil {
		if own, ok := s.objects[segment]; ok {
			s.walk(n.object, rest, more, own)
		}
	}
}

// consider keeps a route if it comes before the best so far.
func (s *search) consider(m *matchers, object string) {
	if i := m[s.bit]; i != 0 && (s.best == 0 || i < s.best) {
		s.best, s.object = i, object
	}
}
