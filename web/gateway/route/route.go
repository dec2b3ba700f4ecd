package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"doorward/oauth/input"
)

// Route says what requests with some methods for some paths need. Of the routes that match a request, the first in the
// configuration decides.
type Route struct {
	Methods     []string // none: all; GET includes HEAD
	Path        string   // as Parse reads it
	Scopes      []string // all of them are needed; {object} stands for the object in the path
	Credentials []string // kinds that are accepted (bearer.KindsAtAPI); none: any
	Role        string   // the least role in the workspace; empty: any, also none
	Cost        int64    // of the plan
	Public      bool     // nothing is needed, and nothing is counted
	Refuse      bool     // every request is refused, as if no route matched; the fields above but Methods and Path are not set
}

// Methods are those that a route can name.
var Methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// CheckMethod accepts a method that a route can name.
func CheckMethod(s string) error {
	switch up := strings.ToUpper(s); {
	case slices.Contains(Methods, s):
		return nil
	case up != s && slices.Contains(Methods, up):
		return fmt.Errorf("%s is not in capitals; write %s", input.Quote(s), up)
	case s == "*":
		return errors.New("\"*\" is not a method; leave methods out for all of them")
	}
	return fmt.Errorf(
		"%s is not one of the values it can have; write one of: %s",
		input.Quote(s),
		strings.Join(Methods, ", "),
	)
}

// String names the route as the configuration does.
func (r *Route) String() string {
	if len(r.Methods) == 0 {
		return "any method " + r.Path
	}
	return strings.Join(r.Methods, ", ") + " " + r.Path
}

// ScopesFor are the route's scopes where {object} stands for an object; empty: it stands for nothing.
func (r *Route) ScopesFor(object string) []string {
	if object == "" {
		return r.Scopes
	}
	out := make([]string, len(r.Scopes))
	for i, name := range r.Scopes {
		out[i] = strings.Replace(name, objectSegment, object, 1)
	}
	return out
}

// Named names the requests that the route is about, in words that contain nothing of what the client sent.
func (r *Route) Named(method, object string) string {
	path := r.Path
	if object != "" {
		path = strings.Replace(path, objectSegment, object, 1)
	}
	if slices.Contains(Methods, method) && r.methods().has(method) {
		return method + " " + path
	}
	return path
}

// methodSet is a set of methods: a bit for each that a route can name. The highest bit stands for all others together.
type methodSet uint8

const (
	everyMethod methodSet = 1<<methodBits - 1
	// methodBits is one more than there are methods.
	methodBits = 8
)

// methodBit is the bit of a method.
func methodBit(method string) int {
	if i := slices.Index(Methods, method); i >= 0 {
		return i
	}
	return methodBits - 1
}

func (s methodSet) has(method string) bool { return s&(1<<methodBit(method)) != 0 }

// String names one method of the set.
func (s methodSet) String() string {
	for i, name := range Methods {
		if s&(1<<i) != 0 {
			return name
		}
	}
	return "any other method"
}

// methods are those that the route takes.
func (r *Route) methods() methodSet {
	if len(r.Methods) == 0 {
		return everyMethod
	}
	var set methodSet
	for i, name := range Methods {
		if slices.Contains(r.Methods, name) || name == "HEAD" && slices.Contains(r.Methods, "GET") {
			set |= 1 << i
		}
	}
	return set
}
