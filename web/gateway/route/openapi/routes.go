package openapi

import (
	"errors"
	"slices"
	"strings"

	"doorward/web/gateway/route"
)

// maxOverlaps bounds the comparisons of paths that have requests in common.
const maxOverlaps = 20_000_000

// routeImport converts operations to routes. The first route that matches a request must require everything required by
// every operation that the request may match. These are the operations with the most specific path, since OpenAPI
// prefers literal segments to templates. Where paths cross, as /{tenant}/b and /x/{name} do at /x/b, they are the
// operations of all of them.
type routeImport struct {
	root     pathNode
	patterns []*pattern
	byPath   map[string]*pattern
	overlaps int
	crossed  int // patterns that were added where others cross
}

func newRouteImport() *routeImport { return &routeImport{byPath: map[string]*pattern{}} }

// add adds an operation. It reports whether an operation with an equivalent path has other requirements.
func (r *routeImport) add(p pathPattern, method string, n needs) (differs bool) {
	kind := sourceExact
	switch {
	case p.partial, p.maybe: // an operation that may belong to another API only adds requirements
		kind = sourceWidened
	case p.variant:
		kind = sourceVariant
	}
	own := r.pattern(p.segments)
	differs = own.add(method, source{n, kind, p.widened, nil})
	if p.deep {
		deep := r.pattern(append(slices.Clone(p.segments[:p.deepFrom]), "**"))
		deep.add(method, source{needs{refuse: true}, sourceWidened, nil, []*pattern{own}})
	}
	return differs
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

var errOverlaps = errors.New(
	"has too many paths with templates that match the same requests; split the API into several resources",
)

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

// needsAt returns what a route with a method and segments needs.
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

// routes returns all routes, in an order in which the first match is the right one.
func (r *routeImport) routes(d *document) ([]route.Route, error) {
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

// decide finds what the routes of a method need, and adds patterns where others cross.
func (r *routeImport) decide(d *document, method string) {
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
				// the note for GET says it already
			} else if own.public && n.equal(needs{}) {
				d.note(noteWidened, method+" "+p.path)
			} else {
				d.note(noteGeneral, method+" "+p.path)
			}
		}
		var others []*pattern
		r.meeting(&r.root, p.segments, func(other *pattern) {
			if other != p && !other.segments.Covers(p.segments) && !p.segments.Covers(other.segments) &&
				isBefore(p.segments, other.segments) {
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
			if r.crossed >= maxOperations { // at the limit: stricter everywhere, instead of a crossing route
				for _, c := range other.candidates(method) {
					n = joinNeeds(n, c.needs)
				}
				d.note(noteEverywhere, p.path)
				continue
			}
			crossing, _ := p.segments.Cross(other.segments)
			both := r.pattern(crossing)
			if len(both.candidates(method)) > 0 || slices.Contains(work, both) {
				continue // the loop handles it separately
			}
			d.note(noteCrossing, method+" "+p.path+" and "+other.path)
			r.crossed++
			work = append(work, both)
		}
		p.needs[method] = n
	}
}
