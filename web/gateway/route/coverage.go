package route

import (
	"slices"
)

// frontier is the set of nodes that one path, read up to some segment, has reached in the tree.
type frontier struct {
	nodes  []*node
	passed matchers // routes with ** that were passed
}

func (t *Table) start() frontier { return frontier{nodes: []*node{&t.root}} }

// step reads one more segment; next gives the nodes to which a node leads.
func (f frontier) step(next func(n *node, to []*node) []*node) frontier {
	on := frontier{passed: f.passed}
	for _, n := range f.nodes {
		on.passed.merge(&n.below)
		on.nodes = next(n, on.nodes)
	}
	return on
}

// end is what matches a path that ends here: /x/** matches /x too.
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

// text reads a segment that is written out.
func (t *Table) text(segment string) func(n *node, to []*node) []*node {
	return func(n *node, to []*node) []*node {
		to = appendNode(to, n.texts[segment])
		if segment == "" { // after a slash at the end, which * does not match
			return to
		}
		if t.objects.have(segment) {
			to = appendNode(to, n.object)
		}
		return appendNode(to, n.any)
	}
}

// anything reads a segment that no route writes out: a route that matches it matches every segment.
func anything(n *node, to []*node) []*node { return appendNode(to, n.any) }

// anyObject reads an object that no route writes out.
func anyObject(n *node, to []*node) []*node {
	return appendNode(appendNode(to, n.object), n.any)
}

// TakenBefore are the indexes of the routes of the table that together take every request of another route, in their
// order; none where that one has requests left. A route that matches a path made of segments that no route writes out
// matches all such paths. Therefore one such path stands for all of them, and the answer is exact.
func (t *Table) TakenBefore(r Route) []int {
	wanted := r.methods()
	found := map[int32]bool{}
	if wanted == 0 || r.Path == "" || !t.takesAll(t.start(), t.compared(r.Path), true, wanted, found) {
		return nil
	}
	var all []int
	for index := range found {
		all = append(all, int(index)-1)
	}
	slices.Sort(all)
	return all
}

// takesAll reports whether all paths of rest, from a frontier on, are taken, and adds to found by which routes.
func (t *Table) takesAll(f frontier, rest Pattern, atRoot bool, wanted methodSet, found map[int32]bool) bool {
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
			// With no segment more (which at the root is not a path), with a slash, and with one more, and so on, until
			// no route tells them apart.
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
				if !t.takesAll(f.step(t.text(object)), rest[i+1:], false, wanted, found) {
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

// spareObject reports whether there is an object that no route writes out here.
func (t *Table) spareObject(f frontier) bool {
	for object := range t.objects {
		if !slices.ContainsFunc(f.nodes, func(n *node) bool { return n.texts[object] != nil }) {
			return true
		}
	}
	return len(t.objects) == 0 // a fault of its own
}
