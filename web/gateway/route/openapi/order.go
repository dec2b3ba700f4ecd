package openapi

import (
	"slices"
	"strings"

	"doorward/oauth/input"
	"doorward/web/gateway/route"
)

// pattern is a path of routes.
type pattern struct {
	segments route.Pattern
	path     string
	sources  map[string][]source // by method
	needs    map[string]needs    // of the route, by method
}

// source holds the requirements of the operations of a path.
type source struct {
	needs   needs
	kind    sourceKind
	widened []int      // segments that are * and a part of one, or another text, in the document
	beside  []*pattern // it refuses the paths below these patterns, but not their own paths
}

// sourceKind says what the pattern of a source matches.
type sourceKind int

const (
	sourceExact   sourceKind = iota // the path in the document
	sourceVariant                   // the path with any query, although the document names one
	sourceWidened                   // more than the path
)

// pathNode has patterns by segment, in the order of the document, with literal segments apart from *.
type pathNode struct {
	texts  []*pathNode
	byText map[string]*pathNode
	text   string
	star   *pathNode
	deep   *pattern // ** here
	here   *pattern
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

// candidate is a source with an operation that a request may match.
type candidate struct {
	source
	at     *pattern
	method string
}

// candidates returns the sources of a pattern for a method. A HEAD request may be for a GET operation, and a route for
// GET also matches HEAD.
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
				s.kind = sourceVariant // a request for GET may be meant for a more general path, even if HEAD is declared here
			}
			all = append(all, candidate{s, p, "GET"})
		}
	}
	return all
}

// overrides reports whether a request that may be for both candidates is for c, because c is more specific.
func (c candidate) overrides(other candidate) bool {
	if slices.Contains(other.beside, c.at) && c.method == other.method {
		return true
	}
	return c.kind == sourceExact && (c.method == other.method || c.method == "HEAD") &&
		c.at != other.at && other.at.segments.Covers(c.at.segments) &&
		!slices.ContainsFunc(
			other.widened,
			func(i int) bool { return c.at.segments[i] == "*" || c.at.segments[i] == "**" },
		)
}

// noteHead adds a note if GET and HEAD of a path have different requirements.
func (p *pattern) noteHead(d *document) {
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

// routes returns the routes of a pattern, one for each set of requirements. HEAD has its own route, before that of GET,
// if their requirements differ.
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

// plainScopes replaces the colon in scopes of the form object:action with the first separator that keeps all names
// distinct, and returns the separator.
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
