package openapi

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

var brace = regexp.MustCompile(`\{[^{}]*\}`)

func (d *Document) add(o Operation) { d.addUnder(d.base, o) }

func (d *Document) addUnder(base string, o Operation) {
	text := base + o.Template
	if i := strings.IndexAny(text, "?#"); i >= 0 {
		text = text[:i]
	}
	o.segments = strings.Split(text[1:], "/")
	var out strings.Builder
	for _, segment := range o.segments {
		out.WriteString("/")
		end := 0
		for _, m := range brace.FindAllStringIndex(segment, -1) {
			out.WriteString(regexp.QuoteMeta(unescape(segment[end:m[0]])) + "[^/]+")
			end = m[1]
		}
		out.WriteString(regexp.QuoteMeta(unescape(segment[end:])))
	}
	o.match = regexp.MustCompile("^" + out.String() + "$")
	d.Operations = append(d.Operations, o)
}

func unescape(text string) string {
	if decoded, err := url.PathUnescape(text); err == nil {
		return decoded
	}
	return text
}

// isTemplate reports whether a segment is one template as a whole.
func isTemplate(segment string) bool { return brace.FindString(segment) == segment && segment != "" }

// moreSpecific reports whether one operation's path is a special case of another's, segment by segment.
func (o *Operation) moreSpecific(other *Operation) bool {
	if o.Unsure || slices.Equal(o.segments, other.segments) || len(o.segments) != len(other.segments) ||
		strings.Contains(o.Template, "?") {
		return false
	}
	special := false
	for i, a := range o.segments {
		b := other.segments[i]
		switch {
		case strings.ContainsAny(a, "{}") && !isTemplate(a):
			return false // it leaves requests to the other operation
		case isTemplate(a) && isTemplate(b), a == b:
		case strings.ContainsAny(b, "{}") && !isTemplate(a):
			special = true
		default:
			return false
		}
	}
	return special
}

// MeantFor returns the operations that a request with a decoded path may be meant for.
func (d *Document) MeantFor(method, path string) []Operation {
	var all []Operation
	for _, o := range d.Operations {
		if !o.Elsewhere && (o.Method == method || method == "HEAD" && o.Method == "GET") && o.match.MatchString(path) {
			all = append(all, o)
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(o Operation) bool {
		return slices.ContainsFunc(all, func(other Operation) bool {
			return (other.Method == o.Method || other.Method == "HEAD") && other.moreSpecific(&o)
		})
	})
}

// Route is a route as printed with --json.
type Route struct {
	Methods []string
	Path    string
	Scopes  []string
	Public  bool
	Refuse  bool
}

// First returns the route that decides about a request with a decoded path; nil if the request is refused.
func First(routes []Route, method, path string) *Route {
	for i, r := range routes {
		if (slices.Contains(r.Methods, method) || method == "HEAD" && slices.Contains(r.Methods, "GET")) &&
			matches(strings.Split(r.Path[1:], "/"), strings.Split(path[1:], "/")) {
			return &routes[i]
		}
	}
	return nil
}

func matches(pattern, segments []string) bool {
	for i, p := range pattern {
		if p == "**" {
			return true
		}
		if i >= len(segments) || (p != segments[i] && (p != "*" || segments[i] == "")) {
			return false
		}
	}
	return len(pattern) == len(segments)
}

// Looser describes a request that the routes let pass and an operation would not; empty if there is none.
func (d *Document) Looser(routes []Route, method, path string) string {
	r := First(routes, method, path)
	if r == nil || r.Refuse {
		return ""
	}
	meant := d.MeantFor(method, path)
	if r.Public && !slices.ContainsFunc(meant, func(o Operation) bool { return !o.Unsure }) {
		return fmt.Sprintf("%s %s is public by %s, and no operation matches it", method, path, r.Path)
	}
	for _, o := range meant {
		enough := slices.ContainsFunc(o.Security, func(scopes []string) bool {
			return !slices.ContainsFunc(scopes, func(s string) bool { return !slices.Contains(r.Scopes, s) })
		})
		if !o.Public && (r.Public || !enough) {
			return fmt.Sprintf("%s %s passes with public %v, scopes %v by %s, and %s %s needs one of %v", method, path, r.Public,
				r.Scopes, r.Path, o.Method, o.Template, o.Security)
		}
	}
	return ""
}

// Examples returns paths of requests to try: each template with its own values and with those of other templates in the
// same place.
func (d *Document) Examples() []string {
	const most = 60 // for one template
	texts := map[int][]string{}
	for _, o := range d.Operations {
		for i, segment := range o.segments {
			if !strings.ContainsAny(segment, "{}") && !slices.Contains(texts[i], unescape(segment)) &&
				segment != "" && len(texts[i]) < 6 {
				texts[i] = append(texts[i], unescape(segment))
			}
		}
	}
	all := map[string]bool{}
	for _, o := range d.Operations {
		paths := []string{""}
		for i, segment := range o.segments {
			choices := []string{unescape(segment)}
			if strings.ContainsAny(segment, "{}") {
				choices = []string{unescape(brace.ReplaceAllString(segment, "zz"))}
				if isTemplate(segment) {
					choices = append(choices, texts[i]...)
				}
			}
			var next []string
			for _, p := range paths {
				for _, c := range choices {
					if len(next) < most {
						next = append(next, p+"/"+c)
					}
				}
			}
			paths = next
		}
		for _, p := range paths {
			all[p] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// Example returns a path that the operation's template matches.
func (o *Operation) Example() string {
	var out strings.Builder
	for _, segment := range o.segments {
		out.WriteString("/" + unescape(brace.ReplaceAllString(segment, "zz")))
	}
	return out.String()
}
