package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"doorward/oauth/catalog"
	"doorward/web/gateway"
)

// methodSet holds methods, a bit for each that a route can name; the highest stands for all others together.
type methodSet uint8

const everyMethod methodSet = 1<<methodBits - 1

// methodBits is one more than there are methods.
const methodBits = 8

// methodsOf are the methods that a route takes. GET covers HEAD.
func methodsOf(r Route) methodSet {
	if r.Methods == nil {
		return everyMethod
	}
	var set methodSet
	for i, name := range methods {
		if slices.Contains(r.Methods, name) || (name == "HEAD" && slices.Contains(r.Methods, "GET")) {
			set |= 1 << i
		}
	}
	return set
}

// takers are for each method the first route that takes it, by its index plus one; zero is none.
type takers [methodBits]int32

// add notes a route for what no route before it takes.
func (t *takers) add(set methodSet, index int) {
	for i := range t {
		if set&(1<<i) != 0 && t[i] == 0 {
			t[i] = int32(index) + 1 //nolint:gosec // a configuration of 1 MiB holds no more
		}
	}
}

// merge keeps the earlier route of both for each method.
func (t *takers) merge(other *takers) {
	for i, index := range other {
		if index != 0 && (t[i] == 0 || index < t[i]) {
			t[i] = index
		}
	}
}

// covers says whether there is a route for each of some methods.
func (t *takers) covers(set methodSet) bool {
	for i := range t {
		if set&(1<<i) != 0 && t[i] == 0 {
			return false
		}
	}
	return true
}

// routeTree holds routes by the segments of their paths, so that a route is compared only with those that it meets.
type routeTree struct {
	objects map[string]bool
	root    routeNode
}

type routeNode struct {
	literal      map[string]*routeNode
	star, object *routeNode
	ends         takers // routes whose path ends here
	below        takers // routes with ** here
}

// asCompared is a resource with its routes and objects in the spelling that requests are compared with.
func (r Resource) asCompared() Resource {
	if r.Paths != pathsLoose {
		return r
	}
	r.Routes, r.Objects = slices.Clone(r.Routes), slices.Clone(r.Objects)
	for i := range r.Routes {
		if r.Routes[i].Path != "" {
			r.Routes[i].Path = gateway.LoosePath(r.Routes[i].Path)
		}
	}
	for i := range r.Objects {
		r.Objects[i] = gateway.LoosePath(r.Objects[i])
	}
	return r
}

func newRouteTree(r Resource) *routeTree {
	t := &routeTree{objects: make(map[string]bool, len(r.Objects))}
	for _, object := range r.Objects {
		t.objects[object] = true
	}
	return t
}

// segments parts the path of a route or request; "/" has one that is empty.
func segments(path string) []string { return strings.Split(path[1:], "/") }

// add puts a route behind those that are in the tree.
func (t *routeTree) add(r Route, index int) {
	n := &t.root
	for _, segment := range segments(r.Path) {
		next := &n.star
		switch segment {
		case "**":
			n.below.add(methodsOf(r), index)
			return
		case "*":
		case "{object}":
			next = &n.object
		default:
			if n.literal == nil {
				n.literal = map[string]*routeNode{}
			}
			child := n.literal[segment]
			if child == nil {
				child = &routeNode{}
				n.literal[segment] = child
			}
			n = child
			continue
		}
		if *next == nil {
			*next = &routeNode{}
		}
		n = *next
	}
	n.ends.add(methodsOf(r), index)
}

// front is where one path, read up to some segment, has come to in the tree.
type front struct {
	nodes  []*routeNode
	passed takers // routes with ** that were passed
}

func (t *routeTree) start() front { return front{nodes: []*routeNode{&t.root}} }

// step reads one more segment; next gives where a node leads to.
func (f front) step(next func(n *routeNode, to []*routeNode) []*routeNode) front {
	on := front{passed: f.passed}
	for _, n := range f.nodes {
		on.passed.merge(&n.below)
		on.nodes = next(n, on.nodes)
	}
	return on
}

// end gives what takes a path that ends here: /x/** takes /x too.
func (f front) end() takers {
	all := f.passed
	for _, n := range f.nodes {
		all.merge(&n.below)
		all.merge(&n.ends)
	}
	return all
}

func appendNode(to []*routeNode, n *routeNode) []*routeNode {
	if n == nil {
		return to
	}
	return append(to, n)
}

// text reads a segment that is written out.
func (t *routeTree) text(segment string) func(n *routeNode, to []*routeNode) []*routeNode {
	return func(n *routeNode, to []*routeNode) []*routeNode {
		to = appendNode(to, n.literal[segment])
		if segment == "" { // after a slash at the end, which * does not match
			return to
		}
		if t.objects[segment] {
			to = appendNode(to, n.object)
		}
		return appendNode(to, n.star)
	}
}

// anything reads a segment that no route writes out: what takes it takes every segment.
func anything(n *routeNode, to []*routeNode) []*routeNode { return appendNode(to, n.star) }

// anyObject reads an object that no route writes out.
func anyObject(n *routeNode, to []*routeNode) []*routeNode {
	return appendNode(appendNode(to, n.object), n.star)
}

// first is the route that decides about a request, by its index; -1: none.
func (t *routeTree) first(method, path string) int {
	f := t.start()
	for _, segment := range segments(path) {
		f = f.step(t.text(segment))
	}
	all := f.end()
	bit := slices.Index(methods, method)
	if bit < 0 {
		bit = methodBits - 1
	}
	return int(all[bit]) - 1 //nolint:gosec // there are fewer methods than bits
}

// takenBefore are the routes of the tree that together take every request of another, in their order; none where that
// one has requests left. What takes a path made of segments that no route writes out takes all such paths, so that one
// stands for all of them, and the answer is exact.
func (t *routeTree) takenBefore(r Route) []int {
	wanted := methodsOf(r)
	found := map[int32]bool{}
	if wanted == 0 || !t.takesAll(t.start(), segments(r.Path), true, wanted, found) {
		return nil
	}
	var all []int
	for index := range found {
		all = append(all, int(index)-1)
	}
	slices.Sort(all)
	return all
}

// takesAll says whether all paths of rest, from a front on, are taken, and adds to found by which routes.
func (t *routeTree) takesAll(f front, rest []string, atRoot bool, wanted methodSet, found map[int32]bool) bool {
	taken := func(f front) bool {
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
		case "**":
			// With no segment more (which at the root is no path), with a slash, and with one more, and so on, until no
			// route tells them apart.
			for ; ; atRoot, f = false, f.step(anything) {
				if (!atRoot && !taken(f)) || !taken(f.step(t.text(""))) {
					return false
				}
				if len(f.nodes) == 0 {
					return true
				}
			}
		case "*":
			f = f.step(anything)
		case "{object}":
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

// spareObject says whether there is an object that no route writes out here.
func (t *routeTree) spareObject(f front) bool {
	for object := range t.objects {
		if !slices.ContainsFunc(f.nodes, func(n *routeNode) bool { return n.literal[object] != nil }) {
			return true
		}
	}
	return len(t.objects) == 0 // a fault of its own
}

// partly are two routes of which the earlier takes some requests of the later and asks less for them.
type partly struct {
	earlier, later int
	example        string // such a request, METHOD path
}

// partlyShadowed finds for each route the first before it that asks less and takes some, not all, of its requests. One
// that is a special case of the later, as /health is of /**, is an exception that was meant. At most so many are given.
func partlyShadowed(r Resource, most int) (found []partly, more bool) {
	r = r.asCompared()
	c := newRouteComparison(r)
	for later := range c.routes {
		for earlier := range later {
			if !c.mayMeet(earlier, later) || !c.asksLess(earlier, later) || c.isException(earlier, later) {
				continue
			}
			path, meet := c.meet(earlier, later)
			if !meet {
				continue
			}
			if len(found) == most {
				return found, true
			}
			shared := c.heads[earlier].methods & c.heads[later].methods
			found = append(found, partly{earlier, later, methodIn(shared) + " " + path})
			break
		}
	}
	return found, false
}

// otherSpellings finds for each route another one that takes a request for its path in another spelling, with a slash at the
// end or in another case, and lets somebody pass whom the route itself would refuse. An API that compares paths loosely takes
// both for the same. At most so many are given; where the resource compares loosely there are none.
func otherSpellings(r Resource, most int) (found []partly, more bool) {
	if r.Paths == pathsLoose {
		return nil, false
	}
	c, tree := newRouteComparison(r), newRouteTree(r)
	for i, route := range r.Routes {
		tree.add(route, i)
	}
	for i, route := range r.Routes {
		index, method, path := c.otherSpelling(tree, i, route)
		if index < 0 {
			continue
		}
		if len(found) == most {
			return found, true
		}
		found = append(found, partly{index, i, method + " " + path})
	}
	return found, false
}

// otherSpelling is a request in another spelling that another route than the i-th takes and asks less for; -1: there is none.
func (c *routeComparison) otherSpelling(tree *routeTree, i int, route Route) (index int, method, path string) {
	path = c.example(route.Path)
	var spellings []string
	if !strings.HasSuffix(route.Path, "/") && !strings.HasSuffix(route.Path, "**") {
		spellings = append(spellings, path+"/")
	}
	if strings.HasSuffix(route.Path, "/") && path != "/" {
		spellings = append(spellings, strings.TrimSuffix(path, "/"))
	}
	if other := otherCase(route.Path); other != route.Path {
		spellings = append(spellings, c.example(other))
	}
	for bit, method := range methods {
		if c.heads[i].methods&(1<<bit) == 0 || tree.first(method, path) != i {
			continue
		}
		for _, spelling := range spellings {
			index := tree.first(method, spelling)
			if index >= 0 && index != i && !c.passes(&c.needs[c.heads[index].need], &c.needs[c.heads[i].need]) {
				return index, method, spelling
			}
		}
	}
	return -1, "", ""
}

// example is a path that a route takes.
func (c *routeComparison) example(path string) string {
	parts := segments(path)
	for i, segment := range parts {
		switch segment {
		case "*", "**":
			parts[i] = "x"
		case "{object}":
			for object := range c.objects {
				parts[i] = object
				break
			}
		}
	}
	return "/" + strings.Join(parts, "/")
}

// otherCase turns the first letter of the last segment that is written out and has one.
func otherCase(path string) string {
	parts := segments(path)
	for i := len(parts) - 1; i >= 0; i-- {
		if parts[i] == "{object}" {
			continue
		}
		for j, letter := range parts[i] {
			turned := unicode.ToUpper(letter)
			if turned == letter {
				turned = unicode.ToLower(letter)
			}
			if turned != letter {
				parts[i] = parts[i][:j] + string(turned) + parts[i][j+utf8.RuneLen(letter):]
				return "/" + strings.Join(parts, "/")
			}
		}
	}
	return path
}

// methodIn names one method of a set.
func methodIn(set methodSet) string {
	for i, name := range methods {
		if set&(1<<i) != 0 {
			return name
		}
	}
	return "any other method"
}

// routeComparison compares routes pairwise. Ten thousand make fifty million pairs, so that what rules most of them out
// lies close together and is numbers only.
type routeComparison struct {
	resource catalog.Resource
	objects  map[string]bool
	routes   []Route
	heads    []routeHead
	paths    [][]string
	needs    []routeNeeds
	less     [][]judgement // by two needs: whether the first asks less; a row is made when it is needed
}

type routeHead struct {
	methods  methodSet
	segments [3]int32 // of its first segments, numbers of what is written out; zero: anything may stand there
	need     int32
}

// routeNeeds is what a route asks of a credential.
type routeNeeds struct {
	public      bool
	refuse      bool
	scopes      []string
	credentials []string
	role        string
}

func newRouteComparison(r Resource) *routeComparison {
	config := defaultConfig()
	config.Resources = []Resource{r}
	c := &routeComparison{
		resource: config.oauthResources()[0], objects: newRouteTree(r).objects, routes: r.Routes,
		heads: make([]routeHead, len(r.Routes)), paths: make([][]string, len(r.Routes)),
	}
	numbers, needs := map[string]int32{}, map[string]int32{}
	for i, route := range r.Routes {
		h := &c.heads[i]
		h.methods = methodsOf(route)
		c.paths[i] = segments(route.Path)
		end := int32(-1) // beyond the end of a path nothing may stand
		for j := range h.segments {
			if j >= len(c.paths[i]) {
				h.segments[j] = end
				continue
			}
			segment := c.paths[i][j]
			if segment == "**" {
				break
			}
			if segment == "*" || segment == "{object}" {
				continue
			}
			if numbers[segment] == 0 {
				numbers[segment] = int32(len(numbers)) + 1 //nolint:gosec // bounded by the file
			}
			h.segments[j] = numbers[segment]
		}
		n := routeNeeds{public: route.Public, refuse: route.Refuse, scopes: slices.Sorted(slices.Values(route.Scopes)), credentials: slices.Sorted(slices.Values(route.Credentials)), role: route.Role}
		key := fmt.Sprintf("%v %v %q %q %q", n.public, n.refuse, n.scopes, n.credentials, n.role)
		if _, ok := needs[key]; !ok {
			needs[key] = int32(len(c.needs)) //nolint:gosec // bounded by the file
			c.needs = append(c.needs, n)
		}
		h.need = needs[key]
	}
	c.less = make([][]judgement, len(c.needs))
	return c
}

// mayMeet rules out pairs that take no request in common, without looking at the whole of their paths.
func (c *routeComparison) mayMeet(a, b int) bool {
	x, y := &c.heads[a], &c.heads[b]
	if x.methods&y.methods == 0 {
		return false
	}
	for i, segment := range x.segments {
		other := y.segments[i]
		if segment == other || segment == 0 || other == 0 {
			continue
		}
		return false // two texts, or a text and an end
	}
	return true
}

// meet gives a path that both take.
func (c *routeComparison) meet(a, b int) (path string, ok bool) {
	as, bs := c.paths[a], c.paths[b]
	var out strings.Builder
	for i := 0; ; i++ {
		x, y := at(as, i), at(bs, i)
		switch {
		case x == "**" && y == "**", x == "**" && y == end, x == end && y == "**", x == end && y == end:
			return cmp.Or(out.String(), "/"), true
		case x == "**":
			as, x = slices.Concat(as[:i:i], []string{y, "**"}), y
		case y == "**":
			bs, y = slices.Concat(bs[:i:i], []string{x, "**"}), x
		}
		segment, ok := c.common(x, y)
		if !ok {
			return "", false
		}
		out.WriteString("/" + segment)
	}
}

// end stands behind the last segment of a path.
const end = "\x00"

func at(path []string, i int) string {
	if i < len(path) {
		return path[i]
	}
	return end
}

// common is a segment that two segments of routes have in common.
func (c *routeComparison) common(x, y string) (string, bool) {
	if x == "*" || (x == "{object}" && y != "*") {
		x, y = y, x
	}
	switch {
	case x == end || y == end:
		return "", false
	case x == y, y == "*" && x != "":
		return x, true
	case y == "{object}":
		return x, c.objects[x]
	}
	return "", false
}

// isException says whether the earlier route is a special case of the later: its path is narrower, or the same for no
// further methods.
func (c *routeComparison) isException(earlier, later int) bool {
	a, b := c.paths[earlier], c.paths[later]
	if !c.within(a, b) {
		return false
	}
	return !c.within(b, a) || c.heads[earlier].methods&^c.heads[later].methods == 0
}

// within says whether one route takes all paths that the other takes, as far as segments alone tell.
func (c *routeComparison) within(a, b []string) bool {
	for i, segment := range b {
		x := at(a, i)
		switch {
		case segment == "**":
			return true
		case x == "**" || x == end:
			return false
		case segment == x, segment == "*" && x != "":
		case segment == "{object}" && c.objects[x]:
		default:
			return false
		}
	}
	return len(a) == len(b)
}

// asksLess says whether whatever passes the later route passes the earlier, and something else too.
func (c *routeComparison) asksLess(earlier, later int) bool {
	x, y := c.heads[earlier].need, c.heads[later].need
	if x == y {
		return false
	}
	if c.less[x] == nil {
		c.less[x] = make([]judgement, len(c.needs))
	}
	known := &c.less[x][y]
	if *known == unknown {
		*known = no
		if c.passes(&c.needs[y], &c.needs[x]) && !c.passes(&c.needs[x], &c.needs[y]) {
			*known = yes
		}
	}
	return *known == yes
}

// judgement is yes or no, once it is known.
type judgement int8

const (
	unknown judgement = iota
	no
	yes
)

// roles from the lowest on.
var roles = []string{"", "viewer", "member", "admin", "owner"}

// passes says whether what fulfils some needs fulfils others.
func (c *routeComparison) passes(held, needed *routeNeeds) bool {
	if held.refuse || needed.refuse {
		return held.refuse
	}
	if held.public || needed.public {
		return needed.public
	}
	if slices.Index(roles, held.role) < slices.Index(roles, needed.role) {
		return false
	}
	for _, kind := range credentialKinds {
		may := held.credentials == nil || slices.Contains(held.credentials, kind)
		if may && needed.credentials != nil && !slices.Contains(needed.credentials, kind) {
			return false
		}
	}
	effective := c.effective(held.scopes)
	for _, scope := range needed.scopes {
		if !c.resource.Covers(effective, scope) && !coversObject(effective, scope) {
			return false
		}
	}
	return true
}

// coversObject reports whether effective scopes hold the action of a scope {object}:action.
func coversObject(effective []string, scope string) bool {
	action, ok := strings.CutPrefix(scope, "{object}:")
	return ok && slices.Contains(effective, action)
}

// effective is what scopes amount to, those of {object} too.
func (c *routeComparison) effective(scopes []string) []string {
	all := c.resource.Effective(scopes, "", true)
	for _, scope := range scopes {
		action, ok := strings.CutPrefix(scope, "{object}:")
		if !ok {
			continue
		}
		for _, implied := range c.resource.Effective([]string{action}, "", true) {
			if !strings.Contains(implied, ":") {
				all = append(all, "{object}:"+implied)
			}
		}
	}
	return all
}
