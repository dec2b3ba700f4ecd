package route

import (
	"strings"
)

// Table holds the routes of a resource in a tree of segments, so that the cost of a request does not grow with the
// number of routes.
type Table struct {
	routes   []Route
	patterns []Pattern // in the spelling that requests are compared with
	objects  objects
	object   string // one of them; empty: there are none
	loose    bool   // paths are compared as loosePath writes them
	root     node
}

// node is what may follow one beginning of a path.
type node struct {
	texts  map[string]*node
	any    *node    // *
	object *node    // {object}
	here   matchers // routes that end here
	below  matchers // routes that match all that follows, and what ends here
}

// matchers are for each method the first route that takes it, by its index plus one; zero is none.
type matchers [methodBits]int32

// add enters a route for the methods that no route before it takes.
func (m *matchers) add(set methodSet, index int) {
	for i := range m {
		if set&(1<<i) != 0 && m[i] == 0 {
			m[i] = int32(index) + 1 //nolint:gosec // a configuration of 1 MiB holds no more
		}
	}
}

// merge keeps the earlier route of both for each method.
func (m *matchers) merge(other *matchers) {
	for i, index := range other {
		if index != 0 && (m[i] == 0 || index < m[i]) {
			m[i] = index
		}
	}
}

// covers reports whether there is a route for each of some methods.
func (m *matchers) covers(set methodSet) bool {
	for i := range m {
		if set&(1<<i) != 0 && m[i] == 0 {
			return false
		}
	}
	return true
}

// NewTable creates a table of routes, in their order. Where loose is true, paths and objects are compared without
// regard to case and to a slash at the end.
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

// Add puts a route behind those that are in the table. One without a path matches nothing, but has a place.
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

// compared is the pattern of a path in the spelling that requests are compared with.
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

// First is the index of the route that decides about a request with a decoded path, as a table without loose compares
// it; -1: none.
func (t *Table) First(method, path string) int {
	index, _ := t.match(method, path)
	return index
}

// match finds the first route for a method and a decoded path, and the object that {object} stands for in it; -1: there
// is none.
func (t *Table) match(method, path string) (index int, object string) {
	s := search{objects: t.objects, bit: methodBit(method)}
	s.walk(&t.root, path[1:], true, "")
	return int(s.best) - 1, s.object
}

// search looks for the first route in all branches that a path may take.
type search struct {
	objects objects
	bit     int    // of the method
	best    int32  // the index plus one; zero: none yet
	object  string // of the best
}

// walk goes on at n with the rest of a path; where more is false, nothing is left of it, not even an empty segment.
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
		return // after a slash at the end, which * does not match
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

// consider keeps a route that comes before the best so far.
func (s *search) consider(m *matchers, object string) {
	if i := m[s.bit]; i != 0 && (s.best == 0 || i < s.best) {
		s.best, s.object = i, object
	}
}
