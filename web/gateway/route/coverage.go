package route

import (
	"slices"
)

// frontier is the set of nodes in the tree that a path prefix reaches.
type frontier struct {
	nodes  []*node
	passed matchers // routes with ** that were passed
}

func (t *Table) start() frontier { return frontier{nodes: []*node{&t.root}} }

// step reads one more segment. next appends the children of a node to a list.
func (f frontier) step(next func(n *node, to []*node) []*node) frontier {
	on := frontier{passed: f.passed}
	for _, n := range f.nodes {
		on.passed.merge(&n.below)
		on.nodes = next(n, on.nodes)
	}
	return on
}

// end returns the routes that match a path that ends here. /x/** matches /x too.
func (f frontier) end() matchers {
	all := f.passed
	for _, n := range f.nodes {
		all.merge(&n.below)
		all.merge(&n.here)
	}
	return all
}

func appendNode(to []*node, n *node) []*node {
	if n == nil {
		return to
	}
	return append(to, n)
}

// text reads a literal segment.
func (t *Table) text(segment string) func(n *node, to []*node) []*node {
	return func(n *node, to []*node) []*node {
		to = appendNode(to, n.texts[segment])
		if segment == "" { // after a trailing slash, which * does not match
			return to
		}
		if t.objects.have(segment) {
			to = appendNode(to, n.object)
		}
		return appendNode(to, n.any)
	}
}

// anything reads a segment that is literal in no route: a route that matches it matches every segment.
func anything(n *node, to []*node) []*node { return appendNode(to, n.any) }

// anyObject reads an object that is literal in no route.
func anyObject(n *node, to []*node) []*node {
	return appendNode(appendNode(to, n.object), n.any)
}

// CoveredBy returns the indexes, in order, of routes that together match every request of r; nil if they leave some
// request of r. The result is exact: no route can tell apart segments that no route names literally, so one path with
// such segments stands for all of them.
func (t *Table) CoveredBy(r Route) []int {
	wanted := r.methods()
	found := map[int32]bool{}
	if wanted == 0 || r.Path == "" || !t.coversAll(t.start(), t.compared(r.Path), true, wanted, found) {
		return nil
	}
	var all []int
	for index := range found {
		all = append(all, int(index)-1)
	}
	slices.Sort(all)
	return all
}

// coversAll reports whether routes match all paths of rest from a frontier on, and adds these routes to found.
func (t *Table) coversAll(f frontier, rest Pattern, atRoot bool, wanted methodSet, found map[int32]bool) bool {
	taken := func(f frontier) bool {
		all := f.end()
		if !all.covers(wanted) {
			return false
		}
		for i, index := range all {
			if wanted&(1<<i) != 0 {
				found[index] = true
			}
		}
		return true
	}
	for i, segment := range rest {
		switch segment {
		case restSegment:
			// Try no further segment (which at the root is not a path), a trailing slash, one segment more and so on,
			// until no route distinguishes them.
			for ; ; atRoot, f = false, f.step(anything) {
				if (!atRoot && !taken(f)) || !taken(f.step(t.text(""))) {
					return false
				}
				if len(f.nodes) == 0 {
					return true
				}
			}
		case anySegment:
			f = f.step(anything)
		case objectSegment:
			if t.spareObject(f) {
				f = f.step(anyObject)
				break
			}
			for object := range t.objects {
				if !t.coversAll(f.step(t.text(object)), rest[i+1:], false, wanted, found) {
					return false
				}
			}
			return true
		default:
			f = f.step(t.text(segment))
		}
		atRoot = false
	}
	return taken(f)
}

// spareObject reports whether there is an object that is literal in no route here.
func (t *Table) spareObject(f frontier) bool {
	for object := range t.objects {
		if !slices.ContainsFunc(f.nodes, func(n *node) bool { return n.texts[object] != nil }) {
			return true
		}
	}
	return len(t.objects) == 0 // a separate fault
}
