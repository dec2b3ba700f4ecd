package openapi

import (
	"fmt"
	"slices"
	"strings"

	"doorward/oauth/input"
	"doorward/web/gateway/route"
)

// The texts of notes, one for each kind of decision.
const (
	noteGuessed      = "no security is given, so the method decides: read, write or delete"
	noteOptional     = "security is optional, so the route is public"
	noteAlternatives = "one of several requirements is enough; the first with scopes was used"
	noteJoined       = "paths that differ only in a fragment or the names of templates; the route has the combined " +
		"requirements of all of them"
	noteTwice   = "the path is listed twice; the route has the combined requirements of both"
	noteVariant = "a query in a path is a variant of the same route, which has the combined requirements of " +
		"all variants"
	noteHead       = "GET and HEAD have different requirements; the route is for both and has the combined requirements"
	noteCrossing   = "the two paths overlap; the route for paths that match both has the combined requirements"
	noteEverywhere = "the path overlaps too many others; it has the combined requirements of all of them"
	notePartial    = "a template is a part of a segment, or a route cannot have its text; the segment became *"
	noteWidened    = "the path is public, but the route matches more, so it needs a credential"
	noteGeneral    = "the route matches more than the path in the document, so it also has the requirements of " +
		"more general paths"
	noteExtraScopes = "the scheme has scopes, which this version of OpenAPI does not define; they were kept"
	noteBasic       = "a security scheme other than a bearer token in the Authorization header, which Doorward " +
		"does not read; clients must send a bearer token there"
	noteTrace   = "TRACE was left out; the gateway does not forward it"
	noteServers = "the servers have different paths, so each operation has a route for each of them"
	noteHost    = "the document's servers may belong to another host, so its operations can make routes " +
		"stricter but never public"
	noteRelative = "the first server is relative to where the document is published; it was read from the root"
)

var noteOrder = []string{
	noteGuessed,
	noteOptional,
	noteAlternatives,
	noteJoined,
	noteTwice,
	noteVariant,
	noteHead,
	noteCrossing,
	noteEverywhere,
	notePartial,
	noteWidened,
	noteGeneral,
	noteExtraScopes,
	noteBasic,
	noteTrace,
	noteServers,
	noteHost,
	noteRelative,
}

// notes say what was decided, and what the resource needs for these routes.
func (d *document) notes(routes []route.Route, separator string) []string {
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
	notes := []string{
		"From " + printable(d.name) + ". Put it under a resource. The first route that matches decides; without a match, the response is 403.",
	}
	if d.refused > 0 {
		notes = append(notes, elements(d.refused)+" could not be read and is refused by a route; each is named below.")
	}
	if len(scopes) > 0 {
		notes = append(notes, "The resource's scopes must include: "+strings.Join(scopes, ", ")+".")
	}
	if separator != "" {
		notes = append(
			notes,
			"Scopes have "+separator+" where the document has a colon, so that no scope includes another.",
		)
	}
	if pairs := scopePairs(scopes); len(pairs) > 0 {
		notes = append(
			notes,
			"Scopes that are unrelated in the document, but not where the resource lists the object in objects: "+strings.Join(
				pairs,
				", ",
			)+
				". Leave these out of objects, or import with --plain-scopes.",
		)
	}
	if templates {
		notes = append(
			notes,
			"Each templated segment is * (any one segment), because the document does not say which are the resource's "+
				"objects. Write {object} for those.",
		)
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
