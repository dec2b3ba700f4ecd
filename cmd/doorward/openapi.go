package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"doorward/config/yamlnode"
	"doorward/oauth/input"
	"doorward/web/gateway/route"

	"go.yaml.in/yaml/v3"
)

// Bounds on what an OpenAPI document becomes.
const (
	maxOperations   = 10_000
	maxRequirements = 100 // of one operation, and scopes of one requirement
	maxRemarks      = 1_000
	maxServerHosts  = 100
)

// importOptions say how a document is imported.
type importOptions struct {
	// plainScopes writes a scope object:action under a name without the colon, so that no other scope includes it.
	plainScopes bool
}

// importRoutes makes routes of the operations of an OpenAPI document, in an order in which the first that matches is the
// right one, and notes about what was decided. An element that is not understood never makes a route less strict: what
// cannot be read becomes a route that refuses, and a note says so. It is an error where no route can be made at all. file
// is the document's name in folder, where the files that it refers to are; both are empty for standard input.
func importRoutes(name, folder, file string, data []byte, options importOptions) (routes []route.Route, notes []string, refused int, err error) {
	d := &openAPI{
		openAPIFiles: newOpenAPIFiles(folder), name: name, noted: map[string]*decided{}, schemes: map[string]scheme{},
		security: map[securityKey]*requirement{}, remarked: map[string]bool{}, paths: newRouteImport(),
	}
	if d.root, err = d.first(name, file, data); err != nil {
		return nil, nil, 0, err
	}
	if err := d.read(); err != nil {
		return nil, nil, 0, err
	}
	if routes, err = d.paths.routes(d); err != nil {
		return nil, nil, 0, documentFault{name, err.Error()}
	}
	if len(routes) == 0 {
		return nil, nil, 0, documentFault{name, "has no operations that can become routes, so there is nothing to import" + d.firstRemark()}
	}
	renamed := ""
	if options.plainScopes {
		renamed = plainScopes(routes)
	}
	return routes, d.notes(routes, renamed), d.refused, nil
}

// openAPI is a document that is being imported.
type openAPI struct {
	*openAPIFiles
	name string
	root place
	top  *mapping

	swagger     bool // Swagger 2.0
	rolesMayBe  bool // requirements of every kind of scheme may list roles: since OpenAPI 3.1
	schemes     map[string]scheme
	schemesErr  error                        // why no scheme can be looked up
	security    map[securityKey]*requirement // what was read before, by its node
	all         *requirement                 // of the whole document; nil: it gives none
	roots       []string                     // paths of the servers, that of the first before the others
	hosts       map[string]bool              // of this API; empty: the document does not say
	anyHost     bool                         // hosts may not be all: a server of the document names none, or could not be read, or has too many
	operations  int
	paths       *routeImport
	noted       map[string]*decided
	remarks     []string
	remarked    map[string]bool
	moreRemarks int
	refused     int
}

// decided counts what was decided in one way, with an example.
type decided struct {
	n     int
	first string
}

func (d *openAPI) note(kind, example string) {
	if d.noted[kind] == nil {
		d.noted[kind] = &decided{first: example}
	}
	d.noted[kind].n++
}

// remark adds a note of its own, once.
func (d *openAPI) remark(text string) {
	if d.remarked[text] {
		return
	}
	d.remarked[text] = true
	if len(d.remarks) == maxRemarks {
		d.moreRemarks++
		return
	}
	d.remarks = append(d.remarks, text)
}

// refuse notes why something became a route that refuses.
func (d *openAPI) refuse(what string, err error) {
	d.refused++
	d.remark("Refused: " + printable(what) + ": " + err.Error())
}

func (d *openAPI) leaveOut(what, why string) {
	d.remark("Left out: " + printable(what) + ": " + why + ".")
}

func (d *openAPI) firstRemark() string {
	if len(d.remarks) == 0 {
		return ""
	}
	return "; " + strings.TrimSuffix(d.remarks[0], ".")
}

// scheme is a security scheme.
type scheme struct {
	kind string
	err  error // why it cannot be used
}

// hasScopes reports whether the specification defines scopes for the kind of scheme.
func (s scheme) hasScopes() bool { return s.kind == "oauth2" || s.kind == "openIdConnect" }

// needs is what an operation asks of a request. They can be joined: public is the least, refuse the most.
type needs struct {
	public bool
	refuse bool
	scopes []string
}

func (n needs) equal(other needs) bool {
	return n.public == other.public && n.refuse == other.refuse &&
		(n.refuse || slices.Equal(slices.Sorted(slices.Values(n.scopes)), slices.Sorted(slices.Values(other.scopes))))
}

// includes reports whether what fulfils n fulfils other too.
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

// operationMethods are the operations of a path item that become routes, in the order in which they are written. The
// gateway forwards no TRACE.
var operationMethods = []string{"get", "head", "post", "put", "patch", "delete", "options"}

// methodScopes are what an operation needs about which the document says nothing.
var methodScopes = map[string]string{
	"GET": "read", "HEAD": "read", "OPTIONS": "read", "POST": "write", "PUT": "write", "PATCH": "write", "DELETE": "delete",
}

// read reads the whole document. Only faults without which nothing can be said about the rest end it.
func (d *openAPI) read() error {
	if d.root.node.Kind != yaml.MappingNode {
		return d.root.fault("is %s, not an OpenAPI document; name the one of your API", yamlnode.Describe(d.root.node))
	}
	var err error
	if d.top, err = d.mapping(d.root, "the document"); err != nil {
		return err
	}
	if err := d.checkVersion(); err != nil {
		return err
	}
	d.readSchemes()
	if err := d.readServers(); err != nil {
		return err
	}
	switch security, ok, err := d.top.get("security"); {
	case err != nil:
		d.all = &requirement{needs: needs{refuse: true}, err: err}
	case ok:
		d.all = d.requirements(security)
	}
	for _, e := range d.top.entries {
		if e.name != "security" && isSecurity(e.name) { // else what it asks for would be asked of no operation
			err := e.key.fault("the document has the key %s; write security", input.Quote(e.name))
			d.all = &requirement{needs: needs{refuse: true}, err: err}
		}
	}
	return d.readPaths()
}

func (d *openAPI) checkVersion() error {
	version, isOpenAPI, err := d.top.get("openapi")
	if err != nil {
		return err
	}
	old, isSwagger, err := d.top.get("swagger")
	if err != nil {
		return err
	}
	switch {
	case isOpenAPI && isSwagger:
		return old.fault("says both swagger and openapi; keep one")
	case isSwagger:
		text, err := d.text(old, "swagger")
		if err != nil {
			return err
		}
		if text != "2.0" {
			return old.fault("is Swagger %s; Swagger 2.0 and OpenAPI 3.0 and 3.1 can be imported, so convert it", input.Quote(text))
		}
		d.swagger = true
		return nil
	case !isOpenAPI:
		return d.root.fault("does not say openapi: 3.0.x or 3.1.x, so it is not an OpenAPI document; name the one of your API")
	}
	text, err := d.text(version, "openapi")
	switch {
	case err != nil:
		return err
	case text == "3.0" || strings.HasPrefix(text, "3.0."):
	case text == "3.1" || strings.HasPrefix(text, "3.1."):
		d.rolesMayBe = true
	default:
		return version.fault("is OpenAPI %s; 3.0 and 3.1 and Swagger 2.0 can be imported, so write it in one of these", input.Quote(text))
	}
	return nil
}

// readSchemes reads the kinds of the security schemes.
func (d *openAPI) readSchemes() {
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
				d.schemes[e.name] = scheme{err: e.key.fault("the security scheme %s is written twice; keep one", input.Quote(e.name))}
				continue
			}
			d.schemes[e.name] = d.readScheme(e)
		}
	}
}

func (d *openAPI) readScheme(e entry) scheme {
	what := "the security scheme " + input.Quote(e.name)
	layers, err := d.layers(e.value, what)
	if err != nil {
		return scheme{err: err}
	}
	last := layers[len(layers)-1] // keys beside a $ref have no meaning (OpenAPI 3.1 section 4.8.23)
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
		return scheme{err: e.key.fault("%s has no type; write oauth2, openIdConnect, http, apiKey or mutualTLS", what)}
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
		s.err = kind.fault("%s has the type %s; write oauth2, openIdConnect, http, apiKey or mutualTLS", what, input.Quote(kind.node.Value))
	}
	return s
}

// requirement is a list of security requirements that was read.
type requirement struct {
	needs        needs
	err          error   // why it refuses
	faults       []error // of alternatives that are left out, because others will do
	optional     bool
	alternatives bool
	extraScopes  bool // scopes of a scheme that has none in this version of OpenAPI
}

// securityKey is where a list was read; the same node may stand in several places by aliases.
type securityKey struct {
	file *openAPIFile
	node any
}

// requirements reads a list of requirements, one of which is enough. That nothing is looser than the document holds for
// each of them alone, so that those that cannot be read are left out where one can be.
func (d *openAPI) requirements(p place) *requirement {
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
		return fail(p.fault("security has more than %d requirements; write fewer", maxRequirements))
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
	// The first with scopes asks for what credentials here can have.
	r.needs = all[0]
	if i := slices.IndexFunc(all, func(n needs) bool { return len(n.scopes) > 0 }); i >= 0 {
		r.needs = all[i]
	}
	r.alternatives = slices.ContainsFunc(all, func(n needs) bool { return !n.equal(r.needs) })
	return r
}

// alternative reads one requirement, all schemes of which are needed.
func (d *openAPI) alternative(p place, r *requirement) (one needs, schemes int, err error) {
	p, err = d.value(p, "a security requirement")
	if err != nil {
		return one, 0, err
	}
	m, err := d.mapping(p, "a security requirement")
	if err != nil {
		return one, 0, err
	}
	if len(m.entries) > maxRequirements {
		return one, 0, p.fault("a security requirement has more than %d schemes; write fewer", maxRequirements)
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
			return one, 0, e.key.fault("it asks for the security scheme %s, which is not in securityDefinitions; add it there", input.Quote(e.name))
		case !known:
			return one, 0, e.key.fault("it asks for the security scheme %s, which is not in components.securitySchemes; add it there", input.Quote(e.name))
		case s.err != nil:
			return one, 0, s.err
		}
		scopes, err := d.list(e.value, "the scopes of "+input.Quote(e.name))
		if err != nil {
			return one, 0, err
		}
		if len(scopes) > maxRequirements {
			return one, 0, e.value.fault("it asks for more than %d scopes; write fewer", maxRequirements)
		}
		for _, item := range scopes {
			scope, err := d.text(item, "a scope")
			if err != nil {
				return one, 0, err
			}
			if err := input.ScopeName(scope); err != nil {
				return one, 0, item.fault("it asks for the scope %s, which %v", input.Quote(scope), err)
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

// apiServer is where operations are: the hosts that its address may have, none for that of the document, and its path.
type apiServer struct {
	hosts    []string
	path     string
	relative bool
	anyHost  bool // hosts may not be all
}

// readServers finds out which hosts and which path the API has.
func (d *openAPI) readServers() error {
	d.hosts, d.roots = map[string]bool{}, []string{""}
	if d.swagger {
		base, ok, err := d.top.get("basePath")
		if err != nil || !ok {
			return err
		}
		text, err := d.text(base, "basePath")
		if d.roots[0] = strings.TrimRight(text, "/"); d.roots[0] != "" && !strings.HasPrefix(d.roots[0], "/") {
			d.roots[0] = "/" + d.roots[0]
		}
		return err
	}
	servers, faults, given := d.servers(d.top)
	if !given {
		return nil
	}
	if len(servers) == 0 {
		return faults[0] // without a base, it is unknown where the operations are
	}
	for _, err := range faults {
		d.leaveOut("a server", err.Error())
		d.anyHost = true
	}
	d.roots[0] = servers[0].path
	for _, s := range servers {
		for _, host := range s.hosts {
			d.hosts[host] = true
		}
		d.anyHost = d.anyHost || len(s.hosts) == 0 || s.anyHost
		if !slices.Contains(d.roots, s.path) {
			d.roots = append(d.roots, s.path)
			d.note(noteServers, cmp.Or(d.roots[0], "/"))
		}
	}
	if servers[0].relative {
		d.note(noteRelative, cmp.Or(d.roots[0], "/"))
	}
	return nil
}

// servers reads the servers of an element. given is false where it has none, so that those around it count.
func (d *openAPI) servers(m *mapping) (all []apiServer, faults []error, given bool) {
	if d.swagger {
		return nil, nil, false
	}
	p, ok, err := m.get("servers")
	if err != nil {
		return nil, []error{err}, true
	}
	if !ok || p.node.ShortTag() == "!!null" {
		return nil, nil, false
	}
	list, err := d.list(p, "servers")
	switch {
	case err != nil:
		return nil, []error{err}, true
	case len(list) == 0:
		return nil, nil, false
	case len(list) > maxRequirements:
		return nil, []error{p.fault("has more than %d servers; write fewer", maxRequirements)}, true
	}
	for _, item := range list {
		s, err := d.server(item)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		all = append(all, s)
	}
	return all, faults, true
}

// server reads one server: its hosts with all values that its variables may have, and its path with their defaults. A
// variable without a default stands for any text, as a template does.
func (d *openAPI) server(p place) (s apiServer, err error) {
	layers, err := d.layers(p, "a server")
	if err != nil {
		return s, err
	}
	m := layers[len(layers)-1]
	address, ok, err := m.get("url")
	if err != nil {
		return s, err
	}
	if !ok {
		return s, m.fault("a server has no url; write it, such as https://api.example.com/v1")
	}
	text, err := d.text(address, "url")
	if err != nil {
		return s, err
	}
	variables := map[string][]string{} // the default first
	if v, ok, err := m.get("variables"); err != nil {
		return s, err
	} else if ok && v.node.ShortTag() != "!!null" {
		if variables, err = d.serverVariables(v); err != nil {
			return s, err
		}
	}
	rest, isHost := text, false
	if _, after, ok := strings.Cut(text, "://"); ok {
		rest, isHost = after, true
	} else if strings.HasPrefix(text, "//") {
		rest, isHost = text[2:], true
	} else if strings.HasPrefix(text, "{") {
		// The whole beginning may be a variable, whose default has the scheme and host.
		if name, after, ok := strings.Cut(text[1:], "}"); ok && len(variables[name]) > 0 {
			value := variables[name][0]
			s.anyHost = len(variables[name]) > 1
			if _, host, ok := strings.Cut(value, "://"); ok {
				rest, isHost = host+after, true
			} else {
				rest = value + after
			}
		}
	}
	if isHost {
		host := rest
		if rest = ""; strings.ContainsAny(host, "/?#") {
			i := strings.IndexAny(host, "/?#")
			host, rest = host[:i], host[i:]
		}
		var complete bool
		s.hosts, complete = expandHosts(host, variables)
		s.anyHost = s.anyHost || !complete
	}
	rest, _, _ = strings.Cut(rest, "?")
	rest, _, _ = strings.Cut(rest, "#")
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		if values := variables[name]; len(values) > 0 {
			rest = strings.ReplaceAll(rest, "{"+name+"}", values[0])
		}
	}
	if rest != "" && !strings.HasPrefix(rest, "/") {
		s.relative = rest != "." && rest != "./"
		rest = path.Clean("/" + rest)
	}
	s.path = strings.TrimRight(rest, "/")
	return s, nil
}

func (d *openAPI) serverVariables(p place) (map[string][]string, error) {
	layers, err := d.layers(p, "variables of a server")
	if err != nil {
		return nil, err
	}
	all := map[string][]string{}
	for _, e := range layers[len(layers)-1].entries {
		parts, err := d.layers(e.value, "a server's variable")
		if err != nil {
			return nil, err
		}
		m := parts[len(parts)-1]
		value, ok, err := m.get("default")
		if err != nil {
			return nil, err
		}
		if ok {
			text, err := d.text(value, "a default")
			if err != nil {
				return nil, err
			}
			all[e.name] = append(all[e.name], text)
		}
		// Without a list of all values the variable stands for others too, as its own template then says.
		enum, ok, err := m.get("enum")
		if err != nil || !ok {
			all[e.name] = append(all[e.name], "{"+e.name+"}")
			continue
		}
		items, err := d.list(enum, "enum")
		if err != nil {
			return nil, err
		}
		for _, item := range items[:min(len(items), maxServerHosts+1)] {
			text, err := d.text(item, "a value of enum")
			if err != nil {
				text = "{" + e.name + "}"
			}
			if !slices.Contains(all[e.name], text) {
				all[e.name] = append(all[e.name], text)
			}
		}
	}
	return all, nil
}

// expandHosts are the hosts that a server's address may have, with the values of its variables. complete is false where
// they are too many, or where the address has none.
func expandHosts(host string, variables map[string][]string) (hosts []string, complete bool) {
	if host == "" {
		return nil, false
	}
	hosts, complete = []string{host}, true
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		template := "{" + name + "}"
		if !strings.Contains(host, template) {
			continue
		}
		var next []string
		for _, h := range hosts {
			for _, value := range variables[name] {
				if value == "" {
					value = template
				}
				if complete = complete && len(next) < maxServerHosts; complete {
					next = append(next, strings.ReplaceAll(h, template, value))
				}
			}
		}
		hosts = next
	}
	for i, h := range hosts {
		if _, after, ok := strings.Cut(h, "@"); ok {
			h = after
		}
		h = strings.ToLower(h)
		hosts[i] = strings.TrimSuffix(strings.TrimSuffix(h, ":443"), ":80")
	}
	return hosts, complete
}

// bases are the paths before those of an element that names servers. A server on another host is not of this API, but
// which hosts are others is known only where the document names all of its own: maybe are the paths of servers that may
// be others or not.
func (d *openAPI) bases(servers []apiServer) (paths, maybe []string) {
	for _, s := range servers {
		switch {
		case len(s.hosts) == 0 || slices.ContainsFunc(s.hosts, func(h string) bool { return d.hosts[h] }):
			paths = append(paths, s.path)
		case len(d.hosts) == 0 || d.anyHost || s.anyHost || slices.ContainsFunc(s.hosts, d.mayBeHost):
			maybe = append(maybe, s.path)
		}
	}
	return paths, maybe
}

// mayBeHost reports whether a host may be one of the document's with some values for the templates in both.
func (d *openAPI) mayBeHost(host string) bool {
	ends := func(h string) (before, after string) {
		from, to := strings.IndexByte(h, '{'), strings.LastIndexByte(h, '}')
		if from < 0 || to < from {
			return h, h
		}
		return h[:from], h[to+1:]
	}
	before, after := ends(host)
	for own := range d.hosts {
		ownBefore, ownAfter := ends(own)
		if !strings.Contains(host+own, "{") {
			continue
		}
		if (strings.HasPrefix(before, ownBefore) || strings.HasPrefix(ownBefore, before)) &&
			(strings.HasSuffix(after, ownAfter) || strings.HasSuffix(ownAfter, after)) {
			return true
		}
	}
	return false
}

// item is a part of a path item, itself or what its $ref leads to.
type item struct {
	*mapping
	servers []apiServer
	faults  []error // of servers
	given   bool
	err     error // why no operation of the path may pass
}

func (d *openAPI) readPaths() error {
	paths, ok, err := d.top.get("paths")
	if err != nil {
		return err
	}
	if !ok {
		return documentFault{d.name, "has no paths, so there is nothing to import"}
	}
	layers, err := d.layers(paths, "paths")
	if err != nil {
		return err // which paths there are is unknown
	}
	if !d.swagger && len(d.hosts) == 0 && !d.anyHost {
		d.adoptHost(layers)
	}
	for _, layer := range layers {
		for _, e := range layer.entries {
			if strings.HasPrefix(e.name, "x-") || e.name == "$ref" {
				continue
			}
			if layer.twice[e.name] {
				d.note(noteTwice, e.name)
			}
			if err := d.readPath(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// adoptHost takes the host that every operation names for that of the API, where the document itself names none.
func (d *openAPI) adoptHost(layers []*mapping) {
	var hosts []string
	agree := true
	use := func(servers []apiServer, given bool) {
		var named []string
		for _, s := range servers {
			named = append(named, s.hosts...)
		}
		slices.Sort(named)
		if !given || len(named) == 0 || (hosts != nil && !slices.Equal(hosts, named)) {
			agree = false
		}
		hosts = named
	}
	for _, layer := range layers {
		for _, e := range layer.entries {
			if strings.HasPrefix(e.name, "x-") || e.name == "$ref" {
				continue
			}
			items, err := d.items(e)
			if err != nil {
				return
			}
			for _, it := range items {
				for _, o := range it.entries {
					if operationMethod(o.name) == "" {
						continue
					}
					operation, err := d.layers(o.value, operationMethod(o.name)+" "+e.name)
					if err != nil {
						return
					}
					servers, _, given := d.servers(operation[len(operation)-1])
					if !given {
						servers, given = it.servers, it.given
					}
					use(servers, given)
				}
			}
		}
	}
	if !agree {
		return
	}
	for _, host := range hosts {
		d.hosts[host] = true
	}
}

// operationMethod is the method of a key in a path item, in capitals; empty: the key is not an operation's.
func operationMethod(key string) string {
	key = strings.ToLower(strings.TrimSpace(key))
	if key == "trace" || slices.Contains(operationMethods, key) {
		return strings.ToUpper(key)
	}
	return ""
}

// isSecurity reports whether a key is security, or meant to be.
func isSecurity(key string) bool { return strings.EqualFold(strings.TrimSpace(key), "security") }

// items are the parts of a path item. A part without servers has those of the others.
func (d *openAPI) items(e entry) ([]item, error) {
	layers, err := d.layers(e.value, "the path "+input.Quote(e.name))
	all := make([]item, len(layers))
	for i, m := range layers {
		all[i].mapping = m
		all[i].servers, all[i].faults, all[i].given = d.servers(m)
	}
	for i := range all {
		if all[i].given {
			continue
		}
		for _, m := range layers {
			servers, faults, given := d.servers(m)
			all[i].servers, all[i].faults = append(all[i].servers, servers...), append(all[i].faults, faults...)
			all[i].given = all[i].given || given
		}
	}
	return all, err
}

// readPath reads a path with its operations.
func (d *openAPI) readPath(e entry) error {
	items, err := d.items(e)
	if err != nil {
		d.refuse(e.name, err)
		bases := slices.Clone(d.roots)
		for _, it := range items {
			paths, maybe := d.bases(it.servers)
			bases = append(append(bases, paths...), maybe...)
		}
		for _, method := range operationMethods {
			if err := d.put(e, bases, nil, strings.ToUpper(method), needs{refuse: true}); err != nil {
				return err
			}
		}
		return nil
	}
	// Paths have no security in OpenAPI. An author who writes it there means all operations of the path, but maybe not
	// instead of what each says itself, so none of them passes.
	for _, it := range items {
		for _, o := range it.entries {
			if isSecurity(o.name) {
				err = o.key.fault("the path has the key %s, which only operations and the whole document may have; move it to the operations", input.Quote(o.name))
			}
		}
	}
	for _, it := range items {
		it.err = err
		for _, o := range it.entries {
			if strings.HasPrefix(o.name, "x-") || isSecurity(o.name) {
				continue
			}
			method := operationMethod(o.name)
			switch {
			case method == "TRACE":
				d.note(noteTrace, e.name)
			case method == "" && !slices.Contains([]string{"$ref", "summary", "description", "servers", "parameters"}, o.name):
				d.leaveOut(printable(o.name)+" of "+e.name, "this key of a path is not known, and no route was made of it")
			case method != "":
				if err := d.readOperation(e, it, o, method); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// readOperation makes a route of an operation. What stands beside its $ref counts too.
func (d *openAPI) readOperation(e entry, it item, o entry, method string) error {
	name := method + " " + e.name
	layers, err := d.layers(o.value, name)
	var servers []apiServer
	var faults []error
	given := false
	for _, m := range layers {
		own, ownFaults, ownGiven := d.servers(m)
		servers, faults, given = append(servers, own...), append(faults, ownFaults...), given || ownGiven
	}
	if !given {
		servers, faults, given = it.servers, it.faults, it.given
	}
	bases, maybe := d.roots, []string(nil)
	if given {
		bases, maybe = d.bases(servers)
		found := len(bases)+len(maybe) > 0
		switch {
		case len(faults) > 0:
			bases = append(bases, d.roots...)
			if err == nil {
				err = faults[0]
			}
		case !found && err == nil:
			d.leaveOut(name, "its servers are on another host than the API's, "+printable(strings.Join(hostsOfServers(servers), ", ")))
			return nil
		case !found:
			bases = d.roots
		case len(maybe) > 0:
			d.note(noteHost, name)
		}
	}
	n := needs{refuse: true}
	if err = cmp.Or(err, it.err); err != nil {
		d.refuse(name, err)
	} else {
		n = d.operationNeeds(name, layers, method)
	}
	return d.put(e, bases, maybe, method, n)
}

func hostsOfServers(servers []apiServer) []string {
	var all []string
	for _, s := range servers {
		all = append(all, s.hosts...)
	}
	return all
}

// operationNeeds is what an operation needs: what its own security says, and what stands beside its $ref; else what the
// document says for all, else what is usual for its method.
func (d *openAPI) operationNeeds(name string, layers []*mapping, method string) needs {
	var all []*requirement
	for i, m := range layers {
		for _, e := range m.entries {
			if e.name != "security" && isSecurity(e.name) {
				d.refuse(name, e.key.fault("it has the key %s; write security", input.Quote(e.name)))
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

// put adds an operation under each of its bases, and under each that it may have.
func (d *openAPI) put(e entry, bases, maybe []string, method string, n needs) error {
	all := slices.Concat(bases, maybe)
	for i, base := range all {
		if slices.Contains(all[:i], base) {
			continue
		}
		if d.operations++; d.operations > maxOperations {
			return e.key.fault("has more than %d operations; split the API into several resources", maxOperations)
		}
		name := e.name
		if !strings.HasPrefix(name, "/") {
			if !n.refuse {
				d.refuse(method+" "+name, e.key.fault("the path %s does not start with /; write it so", input.Quote(name)))
			}
			name, n = "/"+name, needs{refuse: true}
		}
		p, err := parsePath(base + name)
		if err != nil {
			d.leaveOut(method+" "+e.name, err.Error())
			continue
		}
		p.maybe = i >= len(bases)
		if p.partial {
			d.note(notePartial, e.name)
		}
		if p.variant {
			d.note(noteVariant, method+" "+e.name)
		}
		if p.deep {
			d.refuse(method+" "+e.name, e.key.fault("a template or * of the path may stand for several segments; more than one are refused, so write the route with **"))
		}
		if d.paths.add(p, method, n) {
			d.note(noteJoined, method+" /"+strings.Join(p.segments, "/"))
		}
	}
	return nil
}

// pathPattern is a path as routes have it.
type pathPattern struct {
	segments []string
	partial  bool  // a segment became *, though not every text there is of the path
	widened  []int // which
	variant  bool  // it has a query, of which routes know nothing
	maybe    bool  // whether the path is of this API is not known
	deep     bool  // a template or * may stand for several segments: from here on
	deepFrom int
}

var errUnreachable = errors.New("no request for it reaches a route, because the gateway refuses paths with dot segments, empty segments, backslashes, semicolons, control characters and escapes of these")

// parsePath makes the segments of a route of a path, with * for templates. {object} would need to know that what stands
// there is one of the resource's objects, which no document says.
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
	for len(strings.Join(p.segments, "/"))+1 > route.MaxPath { // the longest text gives way
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

// cutVariant takes the query and fragment off a path, those of templates like {?page} too. A fragment is never sent, so
// that it makes no variant of the path, but a query does.
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

// splitOutside splits at slashes outside of braces; braces that do not match count for none.
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

// segmentKind is how much of what a segment of a path means is in the segment of the route.
type segmentKind int

const (
	segmentExact   segmentKind = iota
	segmentPartial             // the route's takes more
	segmentDeep                // the path's may take several segments
)

func parseSegment(text string) (string, segmentKind, error) {
	if strings.ContainsAny(text, "{}") {
		inner, opens := strings.CutPrefix(text, "{")
		inner, closes := strings.CutSuffix(inner, "}")
		switch {
		case opens && closes && !strings.ContainsAny(inner, "{}+*:=/;") && !strings.HasPrefix(inner, ".") && !strings.Contains(inner, "..."):
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
		if decoded, err = url.PathUnescape(text); err != nil || strings.Contains(decoded, "/") || !utf8.ValidString(decoded) {
			return "", 0, errUnreachable
		}
	}
	switch {
	case decoded == "." || decoded == "..", strings.ContainsAny(decoded, `\;`), strings.ContainsFunc(decoded, isControl):
		return "", 0, errUnreachable
	case strings.Contains(text, "*"): // many frameworks write the rest of a path so; an escaped one is only a text
		return "*", segmentDeep, nil
	case decoded != "" && !isRoutePath("/"+decoded), strings.ContainsAny(decoded, "*"), len(decoded) > route.MaxPath/2:
		return "*", segmentPartial, nil // what a route cannot have as a text
	}
	return decoded, segmentExact, nil
}

// templateMayBeDeep reports whether a name within braces is written as some frameworks write one that takes slashes.
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
