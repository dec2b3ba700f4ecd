package openapi

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"doorward/web/gateway/route"
)

// pathPattern is a path in the form of routes.
type pathPattern struct {
	segments []string
	partial  bool  // a segment became *, which matches more than the path does
	widened  []int // the indexes of such segments
	variant  bool  // it has a query, which routes do not see
	maybe    bool  // the path may belong to another API
	deep     bool  // a template or * may match several segments, from deepFrom on
	deepFrom int
}

var errUnreachable = errors.New(
	"no request for it reaches a route, because the gateway refuses paths with dot segments, empty segments, " +
		"backslashes, semicolons, control characters and escapes of these",
)

// parsePath converts a path to segments of a route, with * for templates. It does not use {object}, because a document
// does not say which templates are objects of the resource.
func parsePath(text string) (p pathPattern, err error) {
	text, p.variant = cutVariant(text)
	parts := splitOutside(text[1:])
	for i, part := range parts {
		segment, kind, err := parseSegment(part)
		if err != nil || segment == "" && i < len(parts)-1 {
			return p, errUnreachable
		}
		whole := strings.HasPrefix(part, "{") && strings.IndexByte(part, '}') == len(part)-1
		if kind == segmentPartial || kind == segmentDeep && !whole {
			p.partial, p.widened = true, append(p.widened, i)
		}
		p.segments = append(p.segments, segment)
		if kind == segmentDeep && !p.deep {
			p.deep, p.deepFrom = true, i
		}
	}
	for len(strings.Join(p.segments, "/"))+1 > route.MaxPath { // replace the longest segment with *
		longest := 0
		for i, segment := range p.segments {
			if len(segment) > len(p.segments[longest]) {
				longest = i
			}
		}
		if len(p.segments[longest]) <= 1 {
			return p, fmt.Errorf("the path is longer than %d bytes", route.MaxPath)
		}
		p.segments[longest], p.partial, p.widened = "*", true, append(p.widened, longest)
	}
	return p, nil
}

// cutVariant removes the query and fragment of a path, including templates such as {?page}. Variant reports whether
// there was a query; fragments are not sent, so they do not count.
func cutVariant(text string) (path string, variant bool) {
	depth := 0
	for i := range len(text) {
		switch c := text[i]; {
		case c == '{':
			depth++
			if i+1 < len(text) && strings.IndexByte("?&#", text[i+1]) >= 0 && i > 0 {
				return text[:i], text[i+1] != '#'
			}
		case c == '}':
			depth = max(0, depth-1)
		case depth == 0 && (c == '?' || c == '#'):
			return text[:i], c == '?'
		}
	}
	return text, false
}

// splitOutside splits at slashes outside of braces. Unbalanced braces are ignored.
func splitOutside(text string) []string {
	if strings.Count(text, "{") != strings.Count(text, "}") {
		return strings.Split(text, "/")
	}
	var parts []string
	depth, from := 0, 0
	for i := range len(text) {
		switch text[i] {
		case '{':
			depth++
		case '}':
			depth = max(0, depth-1)
		case '/':
			if depth == 0 {
				parts, from = append(parts, text[from:i]), i+1
			}
		}
	}
	return append(parts, text[from:])
}

// segmentKind says how the segment of a route relates to that of the path.
type segmentKind int

const (
	segmentExact   segmentKind = iota
	segmentPartial             // the route's segment matches more
	segmentDeep                // the path's segment may match several segments
)

func parseSegment(text string) (string, segmentKind, error) {
	if strings.ContainsAny(text, "{}") {
		inner, opens := strings.CutPrefix(text, "{")
		inner, closes := strings.CutSuffix(inner, "}")
		switch {
		case opens && closes && !strings.ContainsAny(inner, "{}+*:=/;") && !strings.HasPrefix(inner, ".") &&
			!strings.Contains(inner, "..."):
			return "*", segmentExact, nil
		case templateMayBeDeep(text):
			return "*", segmentDeep, nil
		case strings.ContainsAny(text, "\\") || strings.ContainsFunc(text, isControl):
			return "", 0, errUnreachable
		}
		return "*", segmentPartial, nil
	}
	decoded := text
	if strings.Contains(text, "%") {
		var err error
		decoded, err = url.PathUnescape(text)
		if err != nil || strings.Contains(decoded, "/") || !utf8.ValidString(decoded) {
			return "", 0, errUnreachable
		}
	}
	switch {
	case decoded == "." || decoded == "..",
		strings.ContainsAny(decoded, `\;`),
		strings.ContainsFunc(decoded, isControl):
		return "", 0, errUnreachable
	case strings.Contains(text, "*"): // many frameworks use it for the rest of a path; an escaped one is literal
		return "*", segmentDeep, nil
	case decoded != "" && !isRoutePath("/"+decoded), strings.ContainsAny(decoded, "*"), len(decoded) > route.MaxPath/2:
		return "*", segmentPartial, nil // a route cannot have it as a literal segment
	}
	return decoded, segmentExact, nil
}

// templateMayBeDeep reports whether a template has a form that matches slashes in some frameworks.
func templateMayBeDeep(text string) bool {
	for rest := text; ; {
		_, after, ok := strings.Cut(rest, "{")
		if !ok {
			return false
		}
		name, more, _ := strings.Cut(after, "}")
		if strings.ContainsAny(name, "+*:=/") || strings.Contains(name, "...") {
			return true
		}
		rest = more
	}
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }

func isRoutePath(path string) bool {
	_, err := route.Parse(path)
	return err == nil
}
