package openapi

import (
	"slices"
	"strings"

	"doorward/config/yamlnode"
	"doorward/oauth/input"
)

// scheme is a security scheme.
type scheme struct {
	kind string
	err  error // why it cannot be used
}

// hasScopes reports whether the specification defines scopes for the kind of scheme.
func (s scheme) hasScopes() bool { return s.kind == "oauth2" || s.kind == "openIdConnect" }

// needs holds the requirements of an operation. Public is the weakest, refuse the strictest.
type needs struct {
	public bool
	refuse bool
	scopes []string
}

func (n needs) equal(other needs) bool {
	return n.public == other.public && n.refuse == other.refuse &&
		(n.refuse || slices.Equal(slices.Sorted(slices.Values(n.scopes)), slices.Sorted(slices.Values(other.scopes))))
}

// includes reports whether a request that fulfils n also fulfils other.
func (n needs) includes(other needs) bool {
	switch {
	case n.refuse || other.public:
		return true
	case n.public || other.refuse:
		return false
	}
	return !slices.ContainsFunc(other.scopes, func(scope string) bool { return !slices.Contains(n.scopes, scope) })
}

func joinNeeds(a, b needs) needs {
	both := needs{public: a.public && b.public, refuse: a.refuse || b.refuse}
	if both.refuse {
		return both
	}
	for _, scope := range append(slices.Clone(a.scopes), b.scopes...) {
		if !slices.Contains(both.scopes, scope) {
			both.scopes = append(both.scopes, scope)
		}
	}
	return both
}

// methodScopes are the scopes of operations for which the document has no security.
var methodScopes = map[string]string{
	"GET":     "read",
	"HEAD":    "read",
	"OPTIONS": "read",
	"POST":    "write",
	"PUT":     "write",
	"PATCH":   "write",
	"DELETE":  "delete",
}

// readSchemes reads the types of the security schemes.
func (d *document) readSchemes() {
	schemes, ok, err := d.top.get("securityDefinitions")
	if !d.swagger {
		var components place
		if components, ok, err = d.top.get("components"); ok && err == nil {
			var layers []*mapping
			if layers, err = d.layers(components, "components"); err == nil {
				schemes, ok, err = layers[len(layers)-1].get("securitySchemes")
				if len(layers) > 1 {
					err = components.fault("components has keys beside its $ref; leave them out")
				}
			}
		}
	}
	if err == nil && !ok {
		return
	}
	var layers []*mapping
	if err == nil {
		layers, err = d.layers(schemes, "the security schemes")
	}
	if err != nil {
		d.schemesErr = err
		return
	}
	for _, layer := range layers {
		for _, e := range layer.entries {
			if e.name == "$ref" {
				continue
			}
			_, known := d.schemes[e.name]
			if known || layer.twice[e.name] {
				d.schemes[e.name] = scheme{
					err: e.key.fault("the security scheme %s is written twice; keep one", input.Quote(e.name)),
				}
				continue
			}
			d.schemes[e.name] = d.readScheme(e)
		}
	}
}

func (d *document) readScheme(e entry) scheme {
	what := "the security scheme " + input.Quote(e.name)
	layers, err := d.layers(e.value, what)
	if err != nil {
		return scheme{err: err}
	}
	last := layers[len(layers)-1] // keys beside a $ref have no meaning (OpenAPI 3.1, section 4.8.23)
	value := func(key string) string {
		v, ok, err := last.get(key)
		if !ok || err != nil {
			return ""
		}
		text, _ := d.text(v, key)
		return text
	}
	kind, ok, err := last.get("type")
	if err != nil {
		return scheme{err: err}
	}
	if !ok {
		return scheme{err: e.key.fault("%s has no type; use oauth2, openIdConnect, http, apiKey or mutualTLS", what)}
	}
	s := scheme{kind: value("type")}
	switch {
	case s.kind == "oauth2", !d.swagger && (s.kind == "openIdConnect" || s.kind == "mutualTLS"):
	case !d.swagger && s.kind == "http":
		if !strings.EqualFold(value("scheme"), "bearer") {
			d.note(noteBasic, e.name)
		}
	case d.swagger && s.kind == "basic":
		d.note(noteBasic, e.name)
	case s.kind == "apiKey":
		if value("in") != "header" || !strings.EqualFold(value("name"), "Authorization") {
			d.note(noteBasic, e.name)
		}
	default:
		s.err = kind.fault(
			"%s has the type %s; use oauth2, openIdConnect, http, apiKey or mutualTLS",
			what,
			input.Quote(kind.node.Value),
		)
	}
	return s
}

// requirement is the result of reading a list of security requirements.
type requirement struct {
	needs        needs
	err          error   // why it refuses
	faults       []error // of alternatives that were dropped, because others can be used
	optional     bool
	alternatives bool
	extraScopes  bool // a scheme has scopes that this version of OpenAPI does not define
}

// securityKey identifies a list of requirements. With aliases, a node can occur in several places.
type securityKey struct {
	file *sourceFile
	node any
}

// requirements reads a list of requirements; a request must fulfil one of them. Each alone is as strict as the
// document, so those that cannot be read are dropped if another one can be.
func (d *document) requirements(p place) *requirement {
	key := securityKey{p.file, yamlnode.Deref(p.node)}
	if r, ok := d.security[key]; ok {
		return r
	}
	r := &requirement{}
	d.security[key] = r
	fail := func(err error) *requirement {
		r.needs, r.err = needs{refuse: true}, err
		return r
	}
	list, err := d.list(p, "security")
	switch {
	case err != nil:
		return fail(err)
	case len(list) > maxRequirements:
		return fail(p.fault("security has more than %d requirements; use fewer", maxRequirements))
	case len(list) == 0:
		r.needs.public = true
		return r
	}
	var all []needs
	anonymous := false
	for _, item := range list {
		one, schemes, err := d.alternative(item, r)
		if err != nil {
			r.faults = append(r.faults, err)
			continue
		}
		anonymous = anonymous || schemes == 0
		all = append(all, one)
	}
	switch {
	case anonymous:
		r.needs.public, r.optional = true, len(list) > 1
		return r
	case len(all) == 0:
		err := r.faults[0]
		r.faults = r.faults[1:]
		return fail(err)
	}
	// Credentials here have scopes, so the first requirement with scopes is used.
	r.needs = all[0]
	if i := slices.IndexFunc(all, func(n needs) bool { return len(n.scopes) > 0 }); i >= 0 {
		r.needs = all[i]
	}
	r.alternatives = slices.ContainsFunc(all, func(n needs) bool { return !n.equal(r.needs) })
	return r
}

// alternative reads one requirement. All its schemes are needed.
func (d *document) alternative(p place, r *requirement) (one needs, schemes int, err error) {
	p, err = d.value(p, "a security requirement")
	if err != nil {
		return one, 0, err
	}
	m, err := d.mapping(p, "a security requirement")
	if err != nil {
		return one, 0, err
	}
	if len(m.entries) > maxRequirements {
		return one, 0, p.fault("a security requirement has more than %d schemes; use fewer", maxRequirements)
	}
	for _, e := range m.entries {
		if m.twice[e.name] {
			return one, 0, e.key.fault("a security requirement has %s twice; keep one", input.Quote(e.name))
		}
		schemes++
		s, known := d.schemes[e.name]
		switch {
		case d.schemesErr != nil:
			return one, 0, d.schemesErr
		case !known && d.swagger:
			return one, 0, e.key.fault(
				"it requires the security scheme %s, which is not in securityDefinitions; add it there",
				input.Quote(e.name),
			)
		case !known:
			return one, 0, e.key.fault(
				"it requires the security scheme %s, which is not in components.securitySchemes; add it there",
				input.Quote(e.name),
			)
		case s.err != nil:
			return one, 0, s.err
		}
		scopes, err := d.list(e.value, "the scopes of "+input.Quote(e.name))
		if err != nil {
			return one, 0, err
		}
		if len(scopes) > maxRequirements {
			return one, 0, e.value.fault("it requires more than %d scopes; use fewer", maxRequirements)
		}
		for _, item := range scopes {
			scope, err := d.text(item, "a scope")
			if err != nil {
				return one, 0, err
			}
			if err := input.ScopeName(scope); err != nil {
				return one, 0, item.fault("it requires the scope %s, which %v", input.Quote(scope), err)
			}
			if !s.hasScopes() && !d.rolesMayBe {
				r.extraScopes = true
			}
			if !slices.Contains(one.scopes, scope) {
				one.scopes = append(one.scopes, scope)
			}
		}
	}
	return one, schemes, nil
}

// isSecurity reports whether a key is security, or a misspelling of it.
func isSecurity(key string) bool { return strings.EqualFold(strings.TrimSpace(key), "security") }

// operationNeeds returns what an operation needs: its own security, including that beside its $ref, otherwise that of
// the document, otherwise the scope for its method.
func (d *document) operationNeeds(name string, layers []*mapping, method string) needs {
	var all []*requirement
	for i, m := range layers {
		for _, e := range m.entries {
			if e.name != "security" && isSecurity(e.name) {
				d.refuse(name, e.key.fault("it has the key %s; use security", input.Quote(e.name)))
				return needs{refuse: true}
			}
		}
		security, ok, err := m.get("security")
		switch {
		case err != nil:
			d.refuse(name, err)
			return needs{refuse: true}
		case ok:
			all = append(all, d.requirements(security))
		case i == len(layers)-1 && d.all != nil:
			all = append(all, d.all)
		}
	}
	if len(all) == 0 {
		d.note(noteGuessed, name)
		return needs{scopes: []string{methodScopes[method]}}
	}
	n := needs{public: true}
	for _, r := range all {
		for _, fault := range r.faults {
			d.remark("Not used: " + fault.Error() + "; another of the requirements was used.")
		}
		if r.err != nil {
			d.refuse(name, r.err)
			return needs{refuse: true}
		}
		if r.optional {
			d.note(noteOptional, name)
		}
		if r.alternatives {
			d.note(noteAlternatives, name)
		}
		if r.extraScopes {
			d.note(noteExtraScopes, name)
		}
		n = joinNeeds(n, r.needs)
	}
	return n
}
