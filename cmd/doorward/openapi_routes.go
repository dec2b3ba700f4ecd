package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"doorward/oauth/input"
	"doorward/web/gateway/route"
)

// maxOverlaps bounds the comparisons of paths that have requests in common.
const maxOverlaps = 20_000_000

// routeImport makes routes of operations. What decides about a request is the first route that matches. It must ask for
// what each operation asks for that the request may be meant for: those of the most specific paths, as OpenAPI matches
// text before templates, and where paths cross, as /{tenant}/b and /x/{name} do at /x/b, those of all of them.
type routeImport struct {
	root     pathNode
	patterns []*pattern
	byPath   map[string]*pattern
	overlaps int
	crossed  int // patterns that were added where others cross
}

// pattern is a path of routes.
type pattern struct {
	segments route.Pattern
	path     string
	sources  map[string][]source // by method
	needs    map[string]needs    // of the route, by method
}

// source is what operations of a path need.
type source struct {
	needs   needs
	kind    sourceKind
	widened []int      // segments that are * and a part of one, or another text, in the document
	beside  []*pattern // whose deeper paths it refuses, and not those of the patterns themselves
}

// sourceKind is what the pattern of a source takes.
type sourceKind int

const (
	sourceExact   sourceKind = iota // what the path in the document takes
	sourceVariant                   // the same with every query, where the document names one
	sourceWidened                   // more
)

// pathNode holds patterns by their segments, in the order of the document: text apart from what stands for any.
type pathNode struct {
	texts  []*pathNode
	byText map[string]*pathNode
	text   string
	star   *pathNode
	deep   *pattern // ** here
	here   *pattern
}

func newRouteImport() *routeImport { return &routeImport{byPath: map[string]*pattern{}} }

// add adds an operation. It reports whether one of the same path in other words needs something else.
func (r *routeImport) add(p pathPattern, method string, n needs) (differs bool) {
	kind := sourceExact
	switch {
	case p.partial, p.maybe: // what may be of another API only adds to what others need
		kind = sourceWidened
	case p.variant:
		kind = sourceVariant
	}
	own := r.pattern(p.segments)
	differs = own.add(method, source{n, kind, p.widened, nil})
	if p.deep {
		r.pattern(append(slices.Clone(p.segments[:p.deepFrom]), "**")).add(method, source{needs{refuse: true}, sourceWidened, nil, []*pattern{own}})
	}
	return differs
}

func (p *pattern) add(method string, s source) (differs bool) {
	for i, other := range p.sources[method] {
		if other.kind == s.kind {
			p.sources[method][i].needs = joinNeeds(other.needs, s.needs)
			p.sources[method][i].widened = append(slices.Clone(other.widened), s.widened...)
			p.sources[method][i].beside = append(slices.Clone(other.beside), s.beside...)
			return !other.needs.equal(s.needs)
		}
	}
	p.sources[method] = append(p.sources[method], s)
	return false
}

// pattern finds or adds the pattern of a path.
func (r *routeImport) pattern(segments route.Pattern) *pattern {
	path := segments.String()
	if p, ok := r.byPath[path]; ok {
		return p
	}
	p := &pattern{segments: segments, path: path, sources: map[string][]source{}, needs: map[string]needs{}}
	r.byPath[path] = p
	r.patterns = append(r.patterns, p)
	at := &r.root
	for _, segment := range segments {
		if segment == "**" {
			at.deep = p
			return p
		}
		at = at.child(segment)
	}
	at.here = p
	return p
}

func (n *pathNode) child(segment string) *pathNode {
	if segment == "*" {
		if n.star == nil {
			n.star = &pathNode{text: "*"}
		}
		return n.star
	}
	if n.byText[segment] == nil {
		if n.byText == nil {
			n.byText = map[string]*pathNode{}
		}
		n.byText[segment] = &pathNode{text: segment}
		n.texts = append(n.texts, n.byText[segment])
	}
	return n.byText[segment]
}

// isBefore reports whether the routes of one of two crossing patterns come before those of the other: text before *
// before **.
func isBefore(a, b []string) bool {
	for i := 0; ; i++ {
		switch {
		case i >= len(a):
			return true
		case i >= len(b):
			return false
		case a[i] == b[i]:
		default:
			return b[i] == "**" || a[i] != "**" && b[i] == "*"
		}
	}
}

var errOverlaps = errors.New("has too many paths with templates that match the same requests; split the API into several resources")

// meeting calls fn for the patterns that have a path in common with some segments.
func (r *routeImport) meeting(n *pathNode, segments []string, fn func(*pattern)) {
	r.overlaps++
	if r.overlaps > maxOverlaps || n == nil {
		return
	}
	if n.deep != nil {
		fn(n.deep)
	}
	if len(segments) == 0 {
		if n.here != nil {
			fn(n.here)
		}
		return
	}
	segment, rest := segments[0], segments[1:]
	switch segment {
	case "**":
		if n.here != nil {
			fn(n.here)
		}
		for _, next := range n.texts {
			r.meeting(next, segments, fn)
		}
		r.meeting(n.star, segments, fn)
	case "*":
		for _, next := range n.texts {
			if next.text != "" {
				r.meeting(next, rest, fn)
			}
		}
		r.meeting(n.star, rest, fn)
	default:
		r.meeting(n.byText[segment], rest, fn)
		if segment != "" {
			r.meeting(n.star, rest, fn)
		}
	}
}

// candidate is a source that a request for a method may be meant for.
type candidate struct {
	source
	at     *pattern
	method string
}

// candidates are the sources of a pattern about a method. A request for HEAD may be meant for GET, and a route for GET
// takes HEAD of the same path.
func (p *pattern) candidates(method string) []candidate {
	var all []candidate
	for _, s := range p.sources[method] {
		all = append(all, candidate{s, p, method})
	}
	switch {
	case method == "HEAD":
		for _, s := range p.sources["GET"] {
			all = append(all, candidate{s, p, "GET"})
		}
	case method == "GET" && len(all) > 0:
		for _, s := range p.sources["HEAD"] {
			if s.kind == sourceExact {
				s.kind = sourceVariant // a request for GET may be meant for a more general path, whatever HEAD is here
			}
			all = append(all, candidate{s, p, "GET"})
		}
	}
	return all
}

// overrides reports whether a request that both may be meant for is meant for the first, which is more specific.
func (c candidate) overrides(other candidate) bool {
	if slices.Contains(other.beside, c.at) && c.method == other.method {
		return true
	}
	return c.kind == sourceExact && (c.method == other.method || c.method == "HEAD") &&
		c.at != other.at && other.at.segments.Covers(c.at.segments) &&
		!slices.ContainsFunc(other.widened, func(i int) bool { return c.at.segments[i] == "*" || c.at.segments[i] == "**" })
}

// needsAt is what a route for a method with these segments needs.
func (r *routeImport) needsAt(segments []string, method string) needs {
	var all []candidate
	r.meeting(&r.root, segments, func(p *pattern) {
		if p.segments.Covers(segments) {
			all = append(all, p.candidates(method)...)
		}
	})
	n, onlyWidened := needs{public: true}, true
	for _, c := range all {
		overridden := slices.ContainsFunc(all, func(other candidate) bool {
			r.overlaps++
			return other.overrides(c)
		})
		if overridden {
			continue
		}
		n = joinNeeds(n, c.needs)
		onlyWidened = onlyWidened && c.kind == sourceWidened
	}
	if n.public && onlyWidened {
		return needs{} // a public route is never widened
	}
	return n
}

// routes are all routes, in an order in which the first that matches a request is the right one.
func (r *routeImport) routes(d *openAPI) ([]route.Route, error) {
	for _, p := range r.patterns {
		p.noteHead(d)
	}
	for _, method := range operationMethods {
		r.decide(d, strings.ToUpper(method))
		if r.overlaps > maxOverlaps {
			return nil, errOverlaps
		}
	}
	var all []route.Route
	var walk func(n *pathNode)
	walk = func(n *pathNode) {
		if n == nil {
			return
		}
		if n.here != nil {
			all = append(all, n.here.routes()...)
		}
		for _, next := range n.texts {
			walk(next)
		}
		walk(n.star)
		if n.deep != nil {
			all = append(all, n.deep.routes()...)
		}
	}
	walk(&r.root)
	return all, nil
}

// noteHead says where GET and HEAD of one path need different things.
func (p *pattern) noteHead(d *openAPI) {
	joined := func(sources []source) needs {
		all := needs{public: true}
		for _, s := range sources {
			all = joinNeeds(all, s.needs)
		}
		return all
	}
	get, head := p.sources["GET"], p.sources["HEAD"]
	if len(get) > 0 && len(head) > 0 && !joined(get).equal(joined(head)) {
		d.note(noteHead, p.path)
	}
}

// decide finds what the routes for a method need, and adds patterns where others cross.
func (r *routeImport) decide(d *openAPI, method string) {
	var work []*pattern
	for _, p := range r.patterns {
		if len(p.candidates(method)) > 0 {
			work = append(work, p)
		}
	}
	for i := 0; i < len(work) && r.overlaps <= maxOverlaps; i++ {
		p := work[i]
		n := r.needsAt(p.segments, method)
		own := needs{public: true}
		for _, c := range p.candidates(method) {
			own = joinNeeds(own, c.needs)
		}
		if len(p.candidates(method)) > 0 && !own.equal(n) {
			if method == "HEAD" && len(p.sources["HEAD"]) == 0 {
				// told about GET
			} else if own.public && n.equal(needs{}) {
				d.note(noteWidened, method+" "+p.path)
			} else {
				d.note(noteGeneral, method+" "+p.path)
			}
		}
		var others []*pattern
		r.meeting(&r.root, p.segments, func(other *pattern) {
			if other != p && !other.segments.Covers(p.segments) && !p.segments.Covers(other.segments) && isBefore(p.segments, other.segments) {
				others = append(others, other)
			}
		})
		for _, other := range others {
			r.overlaps++
			missing := slices.ContainsFunc(other.candidates(method), func(c candidate) bool {
				return !n.includes(c.needs)
			})
			if !missing {
				continue
			}
			if r.crossed >= maxOperations { // more would be too many routes: it needs the same everywhere
				for _, c := range other.candidates(method) {
					n = joinNeeds(n, c.needs)
				}
				d.note(noteEverywhere, p.path)
				continue
			}
			crossing, _ := p.segments.Cross(other.segments)
			both := r.pattern(crossing)
			if len(both.candidates(method)) > 0 || slices.Contains(work, both) {
				continue // it is looked at for itself
			}
			d.note(noteCrossing, method+" "+p.path+" and "+other.path)
			r.crossed++
			work = append(work, both)
		}
		p.needs[method] = n
	}
}

// routes are the routes of one pattern, one for each kind of needs. HEAD has one of its own, before that of GET, where it
// does not need the same.
func (p *pattern) routes() []route.Route {
	var all []route.Route
	var needed []needs
	order := []string{"get", "head", "post", "put", "patch", "delete", "options"}
	get, hasGet := p.needs["GET"]
	head, hasHead := p.needs["HEAD"]
	if hasGet && hasHead && !get.equal(head) {
		order[0], order[1] = order[1], order[0]
	}
	for _, method := range order {
		method = strings.ToUpper(method)
		n, ok := p.needs[method]
		if !ok || method == "HEAD" && hasGet && get.equal(head) {
			continue
		}
		i := slices.IndexFunc(needed, n.equal)
		if i < 0 {
			i = len(all)
			needed = append(needed, n)
			one := route.Route{Path: p.path, Scopes: n.scopes, Cost: 1, Public: n.public, Refuse: n.refuse}
			if !n.public && !n.refuse && n.scopes == nil {
				one.Scopes = []string{}
			}
			all = append(all, one)
		}
		all[i].Methods = append(all[i].Methods, method)
	}
	return all
}

// plainScopes writes scopes of the form object:action without the colon, with the first separator that leaves all names
// different, and says which.
func plainScopes(routes []route.Route) (separator string) {
	names := map[string]bool{}
	for _, r := range routes {
		for _, scope := range r.Scopes {
			names[scope] = true
		}
	}
	renamed := func(scope, separator string) string {
		object, action, ok := strings.Cut(scope, ":")
		if !ok || strings.HasPrefix(action, "//") {
			return scope
		}
		return object + separator + strings.ReplaceAll(action, ":", separator)
	}
	free := func(separator string) bool {
		seen := map[string]bool{}
		for scope := range names {
			name := renamed(scope, separator)
			if seen[name] || len(name) > input.MaxScopeName {
				return false
			}
			seen[name] = true
		}
		return true
	}
	for separator = "."; !free(separator); {
		switch separator {
		case ".":
			separator = "_"
		case "_":
			separator = "-"
		default:
			separator += "-"
		}
	}
	for i := range routes {
		for j, scope := range routes[i].Scopes {
			routes[i].Scopes[j] = renamed(scope, separator)
		}
	}
	return separator
}

// What notes say, by what was decided.
const (
	noteGuessed      = "no security is given, so the method decides: read, write or delete"
	noteOptional     = "security is optional there, so it is public"
	noteAlternatives = "one of several requirements is enough there; the first with scopes was used"
	noteJoined       = "paths that differ only in a fragment or the names of templates; the route needs what all of them need"
	noteTwice        = "the path is written twice; the route needs what both need"
	noteVariant      = "a query in a path makes a variant of the same route, which needs what all variants need"
	noteHead         = "GET and HEAD need different things; the route, which is for both, needs what both need"
	noteCrossing     = "the two paths cross; a route for the paths that match both needs what both need"
	noteEverywhere   = "the path crosses too many others; it needs what all of them need"
	notePartial      = "a template is a part of a segment, or a route cannot have its text; the segment became *"
	noteWidened      = "the path is public, but the route matches more, so it asks for a credential"
	noteGeneral      = "the route matches more than the path in the document, so it also needs what more general paths need"
	noteExtraScopes  = "scopes of a scheme that has none in this version of OpenAPI; they were kept"
	noteBasic        = "a security scheme other than a bearer token in the header Authorization, which Doorward does not read; clients must send theirs there"
	noteTrace        = "TRACE was left out; the gateway does not forward it"
	noteServers      = "the path of the first server; others have other paths, and each operation has a route for each of them"
	noteHost         = "the document does not say whether the host of its servers is the API's; it only adds to what a route needs, and makes none public"
	noteRelative     = "the first server is relative to where the document is published; it was read from the root"
)

var noteOrder = []string{
	noteGuessed, noteOptional, noteAlternatives, noteJoined, noteTwice, noteVariant, noteHead, noteCrossing, noteEverywhere, notePartial, noteWidened,
	noteGeneral, noteExtraScopes, noteBasic, noteTrace, noteServers, noteHost, noteRelative,
}

// notes say what was decided, and what the resource needs for these routes.
func (d *openAPI) notes(routes []route.Route, separator string) []string {
	var scopes []string
	templates := false
	for _, r := range routes {
		templates = templates || strings.Contains(r.Path, "*")
		for _, scope := range r.Scopes {
			if !slices.Contains(scopes, scope) {
				scopes = append(scopes, scope)
			}
		}
	}
	slices.Sort(scopes)
	notes := []string{"From " + printable(d.name) + ". Put it under a resource; the first route that matches decides, none is 403."}
	if d.refused > 0 {
		notes = append(notes, elements(d.refused)+" could not be read and is refused by a route; each is named below.")
	}
	if len(scopes) > 0 {
		notes = append(notes, "The resource's scopes must hold: "+strings.Join(scopes, ", ")+".")
	}
	if separator != "" {
		notes = append(notes, "Scopes have "+separator+" where the document has a colon, so that no scope includes another.")
	}
	if pairs := scopePairs(scopes); len(pairs) > 0 {
		notes = append(notes, "Scopes that are unrelated in the document, but not where the resource lists the object in objects: "+strings.Join(pairs, ", ")+
			". Leave these out of objects, or import with --plain-scopes.")
	}
	if templates {
		notes = append(notes, "Each templated segment is *, any one: no document says which of them are the resource's objects. Write {object} where they are.")
	}
	for _, text := range noteOrder {
		if t := d.noted[text]; t != nil {
			times := "Once, at "
			if t.n > 1 {
				times = fmt.Sprintf("%d times, first at ", t.n)
			}
			notes = append(notes, times+printable(t.first)+": "+text+".")
		}
	}
	for _, remark := range d.remarks {
		notes = append(notes, printableLine(remark))
	}
	if d.moreRemarks > 0 {
		notes = append(notes, fmt.Sprintf("And %d more like these.", d.moreRemarks))
	}
	return notes
}

// scopePairs names scopes and those that would be included in them if their objects were declared.
func scopePairs(scopes []string) []string {
	const most = 20
	var pairs []string
	for _, scope := range scopes {
		object, action, ok := strings.Cut(scope, ":")
		if ok && slices.Contains(scopes, action) && input.ObjectName(object) == nil {
			pairs = append(pairs, action+" includes "+scope)
		}
	}
	if len(pairs) > most {
		pairs = append(pairs[:most], fmt.Sprintf("and %d more", len(pairs)-most))
	}
	return pairs
}

// elements counts elements of a document, as the subject of a sentence in the singular.
func elements(n int) string {
	if n == 1 {
		return "1 element"
	}
	return fmt.Sprintf("each of %d elements", n)
}

// printable keeps a text on its one line.
func printable(text string) string {
	quoted := input.Quote(text)
	if inner := quoted[1 : len(quoted)-1]; inner == text {
		return text
	}
	return quoted
}

// printableLine keeps a sentence, which may quote texts, on its one line.
func printableLine(text string) string {
	return strings.Map(func(c rune) rune {
		if isControl(c) || c == '\u0085' || c == '\u2028' || c == '\u2029' {
			return ' '
		}
		return c
	}, text)
}
