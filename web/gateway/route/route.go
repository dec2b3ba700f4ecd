package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"doorward/oauth/input"
)

// Route says what requests with certain methods and paths need. The first route in the configuration that matches a
// request applies.
type Route struct {
	Methods     []string // nil: all; GET includes HEAD
	Path        string   // in the form of Parse
	Scopes      []string // all are needed; {object} stands for the object in the path
	Credentials []string // accepted kinds (bearer.KindsAtAPI); nil: any
	Role        string   // minimum role in the workspace; empty: any or none
	Cost        int64    // requests charged to the plan
	Public      bool     // nothing is needed, and nothing is counted
	Refuse      bool     // every request is refused; of the other fields only Methods and Path are set
}

// Methods are the methods that a route can name.
var Methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// CheckMethod accepts a method that a route can name.
func CheckMethod(s string) error {
	switch up := strings.ToUpper(s); {
	case slices.Contains(Methods, s):
		return nil
	case up != s && slices.Contains(Methods, up):
		return fmt.Errorf("%s is not in capitals; use %s", input.Quote(s), up)
	case s == "*":
		return errors.New("\"*\" is not a method; leave methods out for all of them")
	}
	return fmt.Errorf("%s is not one of the allowed values; use one of: %s", input.Quote(s), strings.Join(Methods, ", "))
}

// String names the route as the configuration does.
func (r *Route) String() string {
	if len(r.Methods) == 0 {
		return "any method " + r.Path
	}
	return strings.Join(r.Methods, ", ") + " " + r.Path
}

// ScopesFor returns the route's scopes with an object in place of {object}. An empty object replaces nothing.
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

// NameFor returns a name for requests of the route, such as GET /v1/{object}. It contains no text from the request.
func (r *Route) NameFor(method, object string) string {
	path := r.Path
	if object != "" {
		path = strings.Replace(path, objectSegment, object, 1)
	}
	if slices.Contains(Methods, method) && r.methods().has(method) {
		return method + " " + path
	}
	return path
}

// methodSet is a set of methods, with a bit for each that a route can name. The highest bit stands for all others.
type methodSet uint8

const (
	everyMethod methodSet = 1<<methodBits - 1
	// methodBits is the number of Methods plus one.
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

// methods returns the methods that the route matches.
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
