package gateway

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// Rule says what requests of some methods to some paths need. Of those that match, the first in the configuration decides.
type Rule struct {
	Methods     []string // none: all; GET stands for HEAD too
	Path        string   // segments: text, * for any one, {object} for one of the resource's objects, ** at the end for all that follow
	Scopes      []string // all of them are needed; {object} is what stands in the path
	Credentials []string // kinds, one of which it must be; none: any
	Role        string   // the least role in the workspace; empty: any, and none
	Cost        int64    // of the plan
	Public      bool     // nothing is needed, nothing is counted
	Refuse      bool     // every request is refused, as one that no rule matches is; nothing else is set then
}

// String names the rule as the configuration does.
func (r *Rule) String() string {
	if len(r.Methods) == 0 {
		return "any method " + r.Path
	}
	return strings.Join(r.Methods, ", ") + " " + r.Path
}

// needs are the rule's scopes for an object.
func (r *Rule) needs(object string) []string {
	if object == "" {
		return r.Scopes
	}
	out := make([]string, len(r.Scopes))
	for i, name := range r.Scopes {
		out[i] = strings.Replace(name, "{object}", object, 1)
	}
	return out
}

// takes tells whether a rule is about a method.
func (r *Rule) takes(method string) bool {
	return len(r.Methods) == 0 || slices.Contains(r.Methods, method) || method == http.MethodHead && slices.Contains(r.Methods, http.MethodGet)
}

// routes are the rules of a resource in a tree of segments, so that what one request costs does not grow with how many
// there are.
type routes struct {
	rules   []Rule
	objects []string
	known   []string // objects as they are compared
	loose   bool     // paths are compared as LoosePath writes them
	root    node
}

// node is what may follow one beginning of a path. Rules are indices, in the order of the configuration.
type node struct {
	texts  map[string]*node
	any    *node // *
	object *node // {object}
	here   []int // rules that end here
	below  []int // rules that take all that follows, and what ends here
}

func newRoutes(rules []Rule, objects []string, loose bool) *routes {
	t := &routes{rules: rules, objects: objects, known: objects, loose: loose}
	if loose {
		t.known = make([]string, len(objects))
		for i, object := range objects {
			t.known[i] = looseText(object)
		}
	}
	for i := range rules {
		n := &t.root
		path := rules[i].Path
		if loose {
			path = LoosePath(path)
		}
		segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
		for _, segment := range segments {
			if segment == "**" {
				n.below = append(n.below, i)
				n = nil
				break
			}
			n = n.child(segment)
		}
		if n != nil {
			n.here = append(n.here, i)
		}
	}
	return t
}

func (n *node) child(segment string) *node {
	slot := &n.any
	switch segment {
	case "*":
	case "{object}":
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

// match finds the first rule for a method and a decoded path, and what {object} stands for in it; nil: there is none.
func (t *routes) match(method, path string) (rule *Rule, object string) {
	s := search{routes: t, method: method, best: len(t.rules)}
	s.walk(&t.root, path[1:], true, "")
	if s.best == len(t.rules) {
		return nil, ""
	}
	return &t.rules[s.best], s.object
}

// search looks for the first rule in all branches that a path may take.
type search struct {
	*routes
	method string
	best   int
	object string // of the best
}

// walk goes on at n with the rest of a path; where more is false, nothing is left of it, not even an empty segment.
func (s *search) walk(n *node, rest string, more bool, object string) {
	s.consider(n.below, object)
	if !more {
		s.consider(n.here, object)
		return
	}
	segment, rest, more := strings.Cut(rest, "/")
	if next := n.texts[segment]; next != nil {
		s.walk(next, rest, more, object)
	}
	if segment == "" {
		return // * stands for something
	}
	if n.any != nil {
		s.walk(n.any, rest, more, object)
	}
	if n.object != nil {
		if i := slices.Index(s.known, segment); i >= 0 {
			s.walk(n.object, rest, more, s.objects[i])
		}
	}
}

// consider takes the first of some rules that is about the method, where it comes before the best so far.
func (s *search) consider(rules []int, object string) {
	for _, i := range rules {
		if i >= s.best {
			return
		}
		if s.rules[i].takes(s.method) {
			s.best, s.object = i, object
			return
		}
	}
}

// decodedPath decodes the path of a request once. A path that some server on the way might take for another one is
// refused: with . or .. segments, empty ones, backslashes or semicolons (which begin parameters for some), with escapes of
// these or of what would be one, and with what is no text.
func decodedPath(escaped string) (path string, ok bool) {
	if escaped == "" || escaped[0] != '/' || strings.Contains(escaped, "//") || strings.ContainsAny(escaped, `\;#?`) {
		return "", false
	}
	path = escaped
	if strings.Contains(escaped, "%") {
		for i := range len(escaped) {
			if escaped[i] == '%' && hides(escaped[i+1:]) {
				return "", false
			}
		}
		decoded, err := url.PathUnescape(escaped)
		if err != nil || escapedTwice(decoded) {
			return "", false
		}
		path = decoded
	}
	if !utf8.ValidString(path) || strings.ContainsFunc(path, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return "", false
	}
	for rest, more := path[1:], true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if segment == "." || segment == ".." {
			return "", false
		}
	}
	return path, true
}

// hides tells whether what follows a percent sign stands for a character that changes which path is meant.
func hides(text string) bool {
	if len(text) < 2 {
		return true
	}
	switch strings.ToLower(text[:2]) {
	case "2e", "2f", "5c", "3b", "00":
		return true
	}
	return false
}

// escapedTwice tells whether a decoded text could be decoded once more.
func escapedTwice(text string) bool {
	for i := range len(text) {
		if text[i] == '%' && i+2 < len(text) && isHex(text[i+1]) && isHex(text[i+2]) {
			return true
		}
	}
	return false
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }
