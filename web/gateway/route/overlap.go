package route

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
)

// maxComparisons bounds how many pairs of routes Overlaps compares, which takes about two seconds.
const maxComparisons = 50_000_000

// Overlap is a pair of routes: the weaker one matches a request for which the stricter one needs more.
type Overlap struct {
	Weaker, Stricter int    // indexes
	Example          string // such a request: METHOD path
}

// Overlaps is a list of overlaps.
type Overlaps struct {
	Found []Overlap
	More  bool // there are more than the limit
	// Compared is the number of routes, from the first on, that were compared with all earlier ones. It is less than the
	// number of routes only if comparing all would take too long.
	Compared int
}

// Overlaps finds for each route the first earlier route that needs less and matches some, but not all, of its requests.
// An earlier route that is a special case of the later one, as /health is of /**, is an intended exception. r is the
// resource of the routes. It returns at most limit pairs.
func (t *Table) Overlaps(r *catalog.Resource, limit int) Overlaps {
	c := t.compare(r)
	var out Overlaps
	for pairs := 0; out.Compared < len(t.routes); out.Compared++ {
		later := out.Compared
		if pairs += later; pairs > maxComparisons {
			break
		}
		for earlier := range later {
			shared := c.needs[earlier].methods & c.needs[later].methods
			if shared == 0 || !t.patterns[earlier].meets(t.patterns[later], t.objects) ||
				c.isException(earlier, later) ||
				!c.needsLess(earlier, later) {
				continue
			}
			if len(out.Found) == limit {
				out.More = true
				return out
			}
			both, _ := t.patterns[earlier].cross(t.patterns[later], t.objects)
			out.Found = append(out.Found, Overlap{earlier, later, shared.String() + " " + both.shortest()})
			break
		}
	}
	return out
}

// OtherSpellings finds for each route another route that matches its path in another spelling (with a trailing slash or
// in another case) and allows a credential that the first refuses. An API that compares paths loosely treats both paths
// as the same. r is the resource of the routes. It returns at most limit pairs, and whether there are more. A loose
// table has none.
func (t *Table) OtherSpellings(r *catalog.Resource, limit int) (found []Overlap, more bool) {
	if t.loose {
		return nil, false
	}
	c := t.compare(r)
	for i := range t.routes {
		taker, example := c.otherSpelling(i)
		if taker < 0 {
			continue
		}
		if len(found) == limit {
			return found, true
		}
		found = append(found, Overlap{taker, i, example})
	}
	return found, false
}

// comparison compares what the routes of a table need.
type comparison struct {
	*Table
	resource *catalog.Resource
	needs    []needs
}

// needs is what a route needs, prepared for comparing.
type needs struct {
	methods   methodSet
	effective []string // its scopes and those that they imply
}

func (t *Table) compare(r *catalog.Resource) *comparison {
	c := &comparison{Table: t, resource: r, needs: make([]needs, len(t.routes))}
	for i := range t.routes {
		c.needs[i] = needs{t.routes[i].methods(), c.effective(t.routes[i].Scopes)}
	}
	return c
}

// effective returns scopes with those that they imply, including scopes with {object}.
func (c *comparison) effective(scopes []string) []string {
	all := c.resource.Effective(scopes, "", true)
	for _, scope := range scopes {
		action, ok := strings.CutPrefix(scope, objectSegment+":")
		if !ok {
			continue
		}
		for _, implied := range c.resource.Effective([]string{action}, "", true) {
			if !strings.Contains(implied, ":") {
				all = append(all, objectSegment+":"+implied)
			}
		}
	}
	return all
}

// otherSpelling returns a route that matches a request of the i-th route in another spelling and needs less, and that
// request; -1: there is none.
func (c *comparison) otherSpelling(i int) (taker int, example string) {
	pattern := c.patterns[i]
	path := pattern.Example("x", c.object)
	var spellings []string
	switch last := pattern[len(pattern)-1]; {
	case last == "" && path != "/":
		spellings = append(spellings, strings.TrimSuffix(path, "/"))
	case last != "" && last != restSegment:
		spellings = append(spellings, path+"/")
	}
	if other, ok := pattern.otherCase(); ok {
		spellings = append(spellings, other.Example("x", c.object))
	}
	for _, method := range Methods {
		if !c.needs[i].methods.has(method) || c.First(method, path) != i {
			continue
		}
		for _, spelling := range spellings {
			if taker := c.First(method, spelling); taker >= 0 && taker != i && !c.passes(taker, i) {
				return taker, method + " " + spelling
			}
		}
	}
	return -1, ""
}

// otherCase changes the case of the first letter of the last literal segment that has one. It returns false if there is
// no such letter.
func (p Pattern) otherCase() (other Pattern, ok bool) {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] == objectSegment {
			continue
		}
		for j, letter := range p[i] {
			turned := unicode.ToUpper(letter)
			if turned == letter {
				turned = unicode.ToLower(letter)
			}
			if turned != letter {
				other = slices.Clone(p)
				other[i] = p[i][:j] + string(turned) + p[i][j+utf8.RuneLen(letter):]
				return other, true
			}
		}
	}
	return nil, false
}

// isException reports whether the earlier route is a special case of the later one: its path is narrower, or it has the
// same path and no other methods.
func (c *comparison) isException(earlier, later int) bool {
	a, b := c.patterns[earlier], c.patterns[later]
	if !b.covers(a, c.objects) {
		return false
	}
	return !a.covers(b, c.objects) || c.needs[earlier].methods&^c.needs[later].methods == 0
}

// needsLess reports whether the earlier route allows every credential that the later one allows, and others.
func (c *comparison) needsLess(earlier, later int) bool {
	return c.passes(later, earlier) && !c.passes(earlier, later)
}

// passes reports whether every credential that one route allows is also allowed by another.
func (c *comparison) passes(has, needs int) bool {
	held, needed := &c.routes[has], &c.routes[needs]
	switch {
	case held.Refuse || needed.Refuse:
		return held.Refuse
	case held.Public || needed.Public:
		return needed.Public
	case !catalog.AtLeast(held.Role, needed.Role):
		return false
	}
	for _, kind := range bearer.KindsAtAPI() {
		may := held.Credentials == nil || slices.Contains(held.Credentials, kind)
		if may && needed.Credentials != nil && !slices.Contains(needed.Credentials, kind) {
			return false
		}
	}
	for _, scope := range needed.Scopes {
		if !c.holds(c.needs[has].effective, scope) {
			return false
		}
	}
	return true
}

// holds reports whether effective scopes cover a scope of a route, which may have {object}.
func (c *comparison) holds(effective []string, scope string) bool {
	if c.resource.Covers(effective, scope) {
		return true
	}
	action, ok := strings.CutPrefix(scope, objectSegment+":")
	return ok && slices.Contains(effective, action)
}
