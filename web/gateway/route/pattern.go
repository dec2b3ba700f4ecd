package route

import (
	"fmt"
	"slices"
	"strings"

	"doorward/oauth/input"
)

// MaxPath is the longest path of a route, in bytes.
const MaxPath = 500

// Special segments of patterns.
const (
	anySegment    = "*"        // any one segment that is not empty
	objectSegment = "{object}" // one of the resource's objects
	restSegment   = "**"       // at the end: any number of segments, including none
)

// end marks the end of a pattern.
const end = "\x00"

// Pattern is the path of a route in segments: text, * for any one segment, {object} for one of the resource's objects,
// and ** at the end for any number of segments. The path / has one segment, which is empty.
type Pattern []string

// Parse parses the path of a route, such as /v1/{object}/**. The error says what to write instead.
func Parse(path string) (Pattern, error) {
	switch {
	case !strings.HasPrefix(path, "/"):
		return nil, fmt.Errorf("%s does not start with /; use a path, such as /v1/**", input.Quote(path))
	case strings.ContainsAny(path, "?#"):
		return nil, fmt.Errorf("%s has a query or fragment; use only the path", input.Quote(path))
	case strings.Contains(path, "%"):
		return nil, fmt.Errorf(
			"%s has an escape; use the character itself, paths are decoded before they are matched",
			input.Quote(path),
		)
	case strings.Contains(path, `\`) || strings.Contains(path, "//"):
		return nil, fmt.Errorf(
			"%s has // or a backslash, and such requests are refused; use single slashes",
			input.Quote(path),
		)
	case strings.ContainsAny(path, "\n\t") || len(path) > MaxPath:
		return nil, fmt.Errorf("%s is not a path; use one, such as /v1/**", input.Quote(path))
	}
	p := split(path)
	for i, segment := range p {
		switch {
		case segment == "." || segment == "..":
			return nil, fmt.Errorf(
				"%s has a . or .. segment, and such requests are refused; use the normalised path",
				input.Quote(path),
			)
		case segment == restSegment && i < len(p)-1:
			return nil, fmt.Errorf(
				"%s has ** before its end; use * for one segment, ** only as the last",
				input.Quote(path),
			)
		case segment == anySegment || segment == restSegment || segment == objectSegment:
		case strings.ContainsAny(segment, "*{}") || strings.HasPrefix(segment, ":"):
			return nil, fmt.Errorf(
				"%s has the segment %s; use * for any one segment, {object} for one of objects, or plain text",
				input.Quote(path),
				input.Quote(segment),
			)
		}
	}
	if strings.Count(path, objectSegment) > 1 {
		return nil, fmt.Errorf("%s has {object} twice; use * for one of them", input.Quote(path))
	}
	return p, nil
}

// split divides a path, which begins with a slash, into its segments.
func split(path string) Pattern { return strings.Split(strings.TrimPrefix(path, "/"), "/") }

// String returns the path in the form that Parse reads.
func (p Pattern) String() string { return "/" + strings.Join(p, "/") }

func (p Pattern) at(i int) string {
	if i < len(p) {
		return p[i]
	}
	return end
}

// objects maps the objects of a resource, in the spelling for comparison, to their spelling in the configuration.
type objects map[string]string

func (o objects) have(segment string) bool {
	_, ok := o[segment]
	return ok
}

// Covers reports whether the pattern matches every path that another one matches. Neither may have {object}.
func (p Pattern) Covers(narrow Pattern) bool { return p.covers(narrow, nil) }

func (p Pattern) covers(narrow Pattern, known objects) bool {
	for i, segment := range p {
		x := narrow.at(i)
		switch {
		case segment == restSegment:
			return true
		case x == restSegment || x == end:
			return false
		case segment == x, segment == anySegment && x != "", segment == objectSegment && known.have(x):
		default:
			return false
		}
	}
	return len(p) == len(narrow)
}

// Cross returns the pattern of the paths that two patterns both match; ok is false if there is none. Neither may have
// {object}. For example, /a/* and /*/b cross at /a/b.
func (p Pattern) Cross(q Pattern) (both Pattern, ok bool) { return p.cross(q, nil) }

func (p Pattern) cross(q Pattern, known objects) (both Pattern, ok bool) {
	for i := 0; ; i++ {
		x, y := p.at(i), q.at(i)
		switch {
		case x == restSegment:
			return append(both, q[min(i, len(q)):]...), true
		case y == restSegment:
			return append(both, p[min(i, len(p)):]...), true
		case x == end && y == end:
			return both, true
		}
		segment, ok := common(x, y, known)
		if !ok {
			return nil, false
		}
		both = append(both, segment)
	}
}

// meets reports whether there is a path that both patterns match.
func (p Pattern) meets(q Pattern, known objects) bool {
	for i := 0; ; i++ {
		x, y := p.at(i), q.at(i)
		if x == restSegment || y == restSegment || x == end && y == end {
			return true
		}
		if _, ok := common(x, y, known); !ok {
			return false
		}
	}
}

// common returns the segment that both segments of patterns match.
func common(x, y string, known objects) (string, bool) {
	if x == anySegment || x == objectSegment && y != anySegment {
		x, y = y, x
	}
	switch {
	case x == end || y == end:
		return "", false
	case x == y, y == anySegment && x != "":
		return x, true
	case y == objectSegment:
		return x, known.have(x)
	}
	return "", false
}

// shortest returns the shortest path of a pattern, keeping * and {object}.
func (p Pattern) shortest() string {
	if i := len(p) - 1; i >= 0 && p[i] == restSegment {
		p = p[:i]
	}
	return p.String()
}

// Example returns a path that the pattern matches, with text in place of * and ** and an object in place of {object}.
func (p Pattern) Example(text, object string) string {
	parts := slices.Clone(p)
	for i, segment := range parts {
		switch segment {
		case anySegment, restSegment:
			parts[i] = text
		case objectSegment:
			parts[i] = object
		}
	}
	return parts.String()
}
