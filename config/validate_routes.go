package config

import (
	"fmt"
	"slices"
	"strings"

	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/web/gateway/route"
)

// catalogue has the scopes and objects of a resource as sets, to look many of them up.
type catalogue struct {
	names          []string // in the order of the configuration
	known, objects map[string]bool
}

func newCatalogue(r Resource) catalogue {
	c := catalogue{names: r.ScopeNames(), known: map[string]bool{}, objects: map[string]bool{}}
	for _, name := range c.names {
		c.known[name] = true
	}
	for _, object := range r.Objects {
		c.objects[object] = true
	}
	return c
}

// checkScopeUse reports a scope that a route needs, or an issuer's tokens get, and that does not exist. A scope
// object:action exists if it is in the catalogue, or if the action and the object are.
func (p *parser) checkScopeUse(c catalogue, key, name, path string) {
	object, action, qualified := strings.Cut(name, ":")
	qualified = qualified && !strings.Contains(action, ":") && !strings.HasPrefix(action, "//")
	switch {
	case name == catalog.ScopeIntrospect:
		p.fault(key, "introspect is built in and does not apply to routes; use a scope of this resource")
	case c.known[name]:
	case !qualified:
		p.fault(key, "%s is not a scope of this resource; use one of %s", input.Quote(name), strings.Join(c.names, ", "))
	case object == "{object}" && path != "" && !strings.Contains(path, "{object}"):
		p.fault(key, "%s needs {object} in the path, such as /v1/{object}/**", input.Quote(name))
	case object != "{object}" && !c.objects[object]:
		p.fault(key, "%s is not in objects; add it there, or use another scope", input.Quote(object))
	case object == "{object}" && path == "":
		p.fault(key, "%s is only for routes; use a scope of this resource", input.Quote(name))
	case !c.known[action]:
		p.fault(
			key,
			"%s is not an action of this resource; use one of %s after the colon",
			input.Quote(action),
			strings.Join(c.names, ", "),
		)
	}
}

// checkRoutes checks each route, and that earlier routes do not match all of its requests.
func (p *parser) checkRoutes(r Resource, at string) {
	if r.API.Loose {
		p.checkObjectCase(r, strings.TrimSuffix(at, "routes")+"objects")
	}
	scopes, table := newCatalogue(r), route.NewTable(nil, r.Objects, r.API.Loose)
	for i, one := range r.API.Routes {
		key := fmt.Sprintf("%s[%d]", at, i)
		if one.Path == "" {
			p.fault(key+".path", "is missing; set one, such as /v1/**")
		} else {
			p.checkRoute(scopes, one, key)
			if earlier := table.CoveredBy(one); len(earlier) > 0 {
				p.fault(key, "is never used, because %s; move it further up", p.describeEarlier(r, at, earlier))
			}
		}
		table.Add(one)
	}
}

// checkObjectCase reports objects that are the same under paths: loose.
func (p *parser) checkObjectCase(r Resource, at string) {
	for i, object := range r.Objects {
		same := func(other string) bool { return route.SameLoosely(other, object) }
		if j := slices.IndexFunc(r.Objects[:i], same); j >= 0 {
			p.fault(
				at,
				"%s and %s differ only in case, which paths: loose ignores; keep one of them",
				input.Quote(r.Objects[j]),
				input.Quote(object),
			)
		}
	}
}

// describeEarlier says which earlier routes match all requests of a route.
func (p *parser) describeEarlier(r Resource, at string, earlier []int) string {
	const most = 3
	var names []string
	for _, i := range earlier[:min(most, len(earlier))] {
		names = append(names, nameRoute(at, i, r.API.Routes[i], p.origin))
	}
	switch {
	case len(earlier) == 1:
		return names[0] + " before it matches all its requests"
	case len(earlier) > most:
		names = append(names, fmt.Sprintf("%d more", len(earlier)-most))
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last] + " before it together match all its requests"
}

// nameRoute names a route by its index, path and line.
func nameRoute(at string, index int, r route.Route, where func(key string) origin) string {
	name := fmt.Sprintf("routes[%d] (%s", index, r.Path)
	if o := where(fmt.Sprintf("%s[%d]", at, index)); o.line > 0 {
		name += fmt.Sprintf(", line %d", o.line)
	}
	return name + ")"
}

func (p *parser) checkRoute(c catalogue, one route.Route, at string) {
	if strings.Contains(one.Path, "{object}") && len(c.objects) == 0 {
		p.fault(
			at+".path",
			"has {object}, but the resource lists no objects; set objects: [accounts, …] or * for any segment",
		)
	}
	for i, name := range one.Scopes {
		p.checkScopeUse(c, fmt.Sprintf("%s.scopes[%d]", at, i), name, one.Path)
	}
	_, costs := p.origins[at+".cost"]
	needs := len(one.Scopes) > 0 || len(one.Credentials) > 0 || one.Role != ""
	switch {
	case one.Refuse && (needs || one.Public || costs):
		p.fault(
			at+".refuse",
			"is true, so all requests are refused, but the route also has scopes, credentials, a role, a cost or public; "+
				"remove one or the other",
		)
	case one.Refuse:
	case one.Public && needs:
		p.fault(
			at+".public",
			"is true, but the route also has scopes, credentials or a role; remove one or the other",
		)
	case one.Public && costs:
		p.fault(at+".cost", "has no effect, because public routes cost nothing; remove it")
	case !one.Public && !needs && one.Scopes == nil && p.clean(at):
		p.fault(
			at,
			"has no access rule; set scopes: [read], or scopes: [] for any valid credential, "+
				"or public: true, or refuse: true",
		)
	}
	for name, list := range map[string][]string{"methods": one.Methods, "credentials": one.Credentials} {
		if list != nil && len(list) == 0 && p.clean(at+"."+name) {
			p.fault(at+"."+name, "is an empty list, which matches nothing; leave the key out for all %s", name)
		}
	}
}
