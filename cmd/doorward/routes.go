package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

type routesCommand struct {
	FromOpenAPI routesFromOpenAPI `cmd:"" name:"from-openapi" help:"Print the routes of a resource from the OpenAPI document of its API."`
}

// Bounds on what is imported, so that a wrong file ends in a sentence.
const (
	maxOpenAPIBytes  = 8 << 20
	maxOpenAPINodes  = 2_000_000
	maxOpenAPIRoutes = 10_000
	maxRequirements  = 100 // of one operation
)

type routesFromOpenAPI struct {
	output
	File string `arg:"" help:"The document, OpenAPI 3.0 or 3.1 in JSON or YAML; - reads it from standard input."`
}

// Run prints what goes under routes of a resource: YAML to be copied, with what was decided in comments, or a JSON array,
// with the comments on standard error.
func (c routesFromOpenAPI) Run(_ context.Context, a *app) error {
	name, data, err := a.readDocument(c.File)
	if err != nil {
		return err
	}
	routes, notes, err := importRoutes(name, data)
	if err != nil {
		return err
	}
	text, err := routesYAML(routes, notes)
	switch {
	case err != nil:
		return err
	case len(text) > maxConfigBytes:
		return fmt.Errorf("%s: makes %d routes, more than the %d bytes of a configuration hold; split the API into several resources, or write general routes, such as /v1/**", name, len(routes), maxConfigBytes)
	}
	if c.JSON {
		for _, note := range notes {
			_, _ = fmt.Fprintln(a.stderr, note)
		}
	}
	rows := make([]routeJSON, len(routes))
	for i, r := range routes {
		rows[i] = routeJSON{Methods: r.Methods, Path: r.Path, Scopes: r.Scopes, Public: r.Public}
	}
	return c.print(a, rows, func(w io.Writer) { _, _ = w.Write(text) })
}

// routeJSON is a route with the names of the configuration. Scopes are left out where the route is public.
type routeJSON struct {
	Methods []string
	Path    string
	Scopes  []string
	Public  bool
}

// MarshalJSON writes either scopes, none too, or public.
func (r routeJSON) MarshalJSON() ([]byte, error) {
	if r.Public {
		return json.Marshal(struct { //nolint:wrapcheck // plain values
			Methods []string `json:"methods"`
			Path    string   `json:"path"`
			Public  bool     `json:"public"`
		}{r.Methods, r.Path, true})
	}
	return json.Marshal(struct { //nolint:wrapcheck // plain values
		Methods []string `json:"methods"`
		Path    string   `json:"path"`
		Scopes  []string `json:"scopes"`
	}{r.Methods, r.Path, append([]string{}, r.Scopes...)})
}

// readDocument reads a file of at most maxOpenAPIBytes, or standard input.
func (a *app) readDocument(file string) (name string, data []byte, err error) {
	name, source := file, a.stdin
	if file == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(file) //nolint:gosec // the operator names the file
		if err != nil {
			return name, nil, fmt.Errorf("read the OpenAPI document: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read
		source = f
	}
	data, err = io.ReadAll(io.LimitReader(source, maxOpenAPIBytes+1))
	switch {
	case err != nil:
		return name, nil, fmt.Errorf("read the OpenAPI document: %w", err)
	case len(data) > maxOpenAPIBytes:
		return name, nil, fmt.Errorf("%s: is larger than %d MiB; leave out schemas and examples, of which routes need nothing", name, maxOpenAPIBytes>>20)
	case strings.TrimSpace(string(data)) == "":
		return name, nil, fmt.Errorf("%s: is empty; name the OpenAPI document of your API", name)
	}
	return name, data, nil
}

// routesYAML writes routes as they stand in a configuration, one on a line.
func routesYAML(routes []Route, notes []string) ([]byte, error) {
	var out strings.Builder
	for _, note := range notes {
		out.WriteString("# " + note + "\n")
	}
	out.WriteString("routes:\n")
	for _, r := range routes {
		line := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
		line.Content = append(line.Content, plain("methods"), flow(r.Methods), plain("path"), plain(r.Path))
		if r.Public {
			line.Content = append(line.Content, plain("public"), &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"})
		} else {
			line.Content = append(line.Content, plain("scopes"), flow(r.Scopes))
		}
		text, err := yaml.Marshal(line)
		if err != nil {
			return nil, fmt.Errorf("write the route %s: %w", r.Path, err)
		}
		out.WriteString("  - " + strings.TrimSuffix(string(text), "\n") + "\n")
	}
	return []byte(out.String()), nil
}

func plain(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
}

func flow(texts []string) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, text := range texts {
		list.Content = append(list.Content, plain(text))
	}
	return list
}

// importRoutes makes routes of the operations of an OpenAPI document, in an order in which the first that matches is the
// right one, and notes about what the document leaves to be decided.
func importRoutes(name string, data []byte) (routes []Route, notes []string, err error) {
	d := &openAPI{name: name, index: map[*yaml.Node]map[string]*yaml.Node{}}
	defer func() {
		if thrown := recover(); thrown != nil {
			wrong, ok := thrown.(documentFault)
			if !ok {
				panic(thrown)
			}
			routes, notes, err = nil, nil, wrong
		}
	}()
	d.root = d.parse(data)
	d.checkVersion()
	d.readSchemes()
	d.readPaths()
	routes = d.routes()
	return routes, d.notes(routes), nil
}

// documentFault is why a document gives no routes.
type documentFault struct{ origin, text string }

func (f documentFault) Error() string { return f.origin + ": " + f.text }

// openAPI is a document under way to routes.
type openAPI struct {
	name  string
	root  *yaml.Node
	index map[*yaml.Node]map[string]*yaml.Node // of mappings in which something was looked up
	roles bool                                 // requirements of every kind may list roles: from 3.1 on

	schemes map[string]string // type by name
	tree    pathNode
	count   int

	// What is told in notes: how often, and of what first.
	guessed, optional, alternatives, joined, partial, basic, servers decided
}

// decided counts what was decided in one way, with an example.
type decided struct {
	n     int
	first string
}

func (t *decided) note(example string) {
	if t.n == 0 {
		t.first = example
	}
	t.n++
}

// fail ends the reading with a sentence about a place in the document.
func (d *openAPI) fail(n *yaml.Node, format string, args ...any) {
	where := d.name
	if n != nil && n.Line > 0 {
		where = fmt.Sprintf("%s:%d", d.name, n.Line)
	}
	panic(documentFault{where, fmt.Sprintf(format, args...)})
}

// parse reads JSON or YAML into nodes that know their lines. JSON has escapes and tabs that YAML has not.
func (d *openAPI) parse(data []byte) *yaml.Node {
	if trimmed := strings.TrimLeft(string(data), "\ufeff \t\r\n"); strings.HasPrefix(trimmed, "{") && json.Valid([]byte(trimmed)) {
		r := &jsonReader{document: d, text: trimmed, line: 1 + strings.Count(string(data[:len(data)-len(trimmed)]), "\n")}
		r.decoder = json.NewDecoder(strings.NewReader(trimmed))
		r.decoder.UseNumber()
		return r.value()
	}
	separators := 0 // of which there is one at least before each value
	for _, c := range data {
		if strings.IndexByte("\n,:[{", c) >= 0 {
			separators++
		}
	}
	if separators > maxOpenAPINodes {
		d.fail(nil, "holds too many values; leave out schemas and examples, of which routes need nothing")
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		line, text := syntaxFault(err)
		d.fail(&yaml.Node{Line: line}, "%s, nor JSON; name the OpenAPI document of your API", text)
	}
	if len(doc.Content) == 0 {
		d.fail(nil, "is empty; name the OpenAPI document of your API")
	}
	return deref(doc.Content[0])
}

// jsonReader makes nodes of valid JSON.
type jsonReader struct {
	document *openAPI
	decoder  *json.Decoder
	text     string
	offset   int64 // up to which lines were counted
	line     int
	nodes    int
}

func (r *jsonReader) token() json.Token {
	token, err := r.decoder.Token()
	if err != nil {
		r.document.fail(nil, "is not JSON: %v", err)
	}
	now := r.decoder.InputOffset()
	r.line += strings.Count(r.text[r.offset:now], "\n")
	r.offset = now
	if r.nodes++; r.nodes > maxOpenAPINodes {
		r.document.fail(nil, "holds more than %d values; leave out schemas and examples, of which routes need nothing", maxOpenAPINodes)
	}
	return token
}

func (r *jsonReader) value() *yaml.Node {
	token := r.token()
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: r.line}
	switch v := token.(type) {
	case json.Delim:
		n.Kind = yaml.SequenceNode
		if v == '{' {
			n.Kind = yaml.MappingNode
		}
		for r.decoder.More() {
			n.Content = append(n.Content, r.value()) // the names of an object are values to the decoder
		}
		r.token()
	case string:
		n.Tag, n.Value = "!!str", v
	case json.Number:
		n.Tag, n.Value = "!!float", v.String()
	case bool:
		n.Tag, n.Value = "!!bool", fmt.Sprint(v)
	default:
		n.Tag = "!!null"
	}
	return n
}

// get is the value of a key of a mapping; nil where there is none. what says what the mapping is.
func (d *openAPI) get(n *yaml.Node, key, what string) *yaml.Node {
	n = deref(n)
	index, ok := d.index[n]
	if !ok {
		index = map[string]*yaml.Node{}
		d.each(n, what, func(name string, _, v *yaml.Node) { index[name] = v })
		d.index[n] = index
	}
	return index[key]
}

// each calls fn for each key of a mapping, and fails where one comes twice.
func (d *openAPI) each(n *yaml.Node, what string, fn func(name string, key, value *yaml.Node)) {
	n = deref(n)
	if n.Kind != yaml.MappingNode {
		d.fail(n, "%s is %s; an OpenAPI document has a mapping there", what, describe(n))
	}
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := deref(n.Content[i])
		if seen[key.Value] {
			d.fail(key, "%s has %s twice; keep one", what, quote(key.Value))
		}
		seen[key.Value] = true
		fn(key.Value, key, deref(n.Content[i+1]))
	}
}

// text is a value that is text.
func (d *openAPI) text(n *yaml.Node, what string) string {
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		d.fail(n, "%s is %s; an OpenAPI document has text there", what, describe(n))
	}
	return n.Value
}

// list are the entries of a list.
func (d *openAPI) list(n *yaml.Node, what string) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, "%s is %s; an OpenAPI document has a list there", what, describe(n))
	}
	return n.Content
}

func (d *openAPI) checkVersion() {
	if d.root.Kind != yaml.MappingNode {
		d.fail(d.root, "is %s, no OpenAPI document; name the one of your API", describe(d.root))
	}
	if old := d.get(d.root, "swagger", "the document"); old != nil {
		d.fail(old, "is Swagger %s, and OpenAPI 3.0 or 3.1 is needed; convert it, as by npx swagger2openapi", d.text(old, "swagger"))
	}
	version := d.get(d.root, "openapi", "the document")
	if version == nil {
		d.fail(d.root, "does not say openapi: 3.0.x or 3.1.x, so it is no OpenAPI document; name the one of your API")
	}
	text := d.text(version, "openapi")
	switch {
	case text == "3.0" || strings.HasPrefix(text, "3.0."):
	case text == "3.1" || strings.HasPrefix(text, "3.1."):
		d.roles = true
	default:
		d.fail(version, "is OpenAPI %s, and 3.0 or 3.1 is needed; write it in one of these", quote(text))
	}
}

// resolve follows a $ref to another place of the same document.
func (d *openAPI) resolve(n *yaml.Node, what string) *yaml.Node {
	for range 16 {
		if n.Kind != yaml.MappingNode {
			return n
		}
		ref := d.get(n, "$ref", what)
		if ref == nil {
			return n
		}
		pointer, local := strings.CutPrefix(d.text(ref, "$ref"), "#/")
		if !local {
			d.fail(ref, "%s is in another file, %s; put all into one, as by npx @redocly/cli bundle", what, quote(ref.Value))
		}
		n = d.root
		for step := range strings.SplitSeq(pointer, "/") {
			step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
			if n = d.get(n, step, what); n == nil {
				d.fail(ref, "%s refers to %s, which is not there; mend the reference", what, quote(ref.Value))
			}
		}
	}
	d.fail(n, "%s refers to itself; write it out", what)
	return nil
}

// readSchemes reads the kinds of the security schemes.
func (d *openAPI) readSchemes() {
	d.schemes = map[string]string{}
	components := d.get(d.root, "components", "the document")
	if components == nil {
		return
	}
	schemes := d.get(components, "securitySchemes", "components")
	if schemes == nil {
		return
	}
	d.each(schemes, "securitySchemes", func(name string, key, scheme *yaml.Node) {
		scheme = d.resolve(scheme, "the security scheme "+quote(name))
		kind := d.get(scheme, "type", "the security scheme "+quote(name))
		if kind == nil {
			d.fail(key, "the security scheme %s has no type; write oauth2, openIdConnect, http, apiKey or mutualTLS", quote(name))
		}
		text := d.text(kind, "type")
		switch text {
		case "oauth2", "openIdConnect", "mutualTLS":
		case "http":
			if s := d.get(scheme, "scheme", "the security scheme"); s == nil || !strings.EqualFold(s.Value, "bearer") {
				d.basic.note(name)
			}
		case "apiKey":
			if in := d.get(scheme, "in", "the security scheme"); in == nil || in.Value != "header" || !strings.EqualFold(d.value(scheme, "name"), "Authorization") {
				d.basic.note(name)
			}
		default:
			d.fail(kind, "the security scheme %s has the type %s; write oauth2, openIdConnect, http, apiKey or mutualTLS", quote(name), quote(text))
		}
		d.schemes[name] = text
	})
}

// value is a text of a mapping; empty where there is none.
func (d *openAPI) value(n *yaml.Node, key string) string {
	if v := d.get(n, key, "a mapping"); v != nil {
		return v.Value
	}
	return ""
}

// needs is what an operation asks for.
type needs struct {
	public bool
	scopes []string
}

func (n needs) equal(other needs) bool {
	return n.public == other.public && slices.Equal(slices.Sorted(slices.Values(n.scopes)), slices.Sorted(slices.Values(other.scopes)))
}

// operationMethods are the operations of a path item that become routes, in the order in which they are written down.
// TRACE is none that a gateway lets through.
var operationMethods = []string{"get", "head", "post", "put", "patch", "delete", "options"}

// methodScopes are what an operation needs of which the document says nothing.
var methodScopes = map[string]string{
	"GET": "read", "HEAD": "read", "OPTIONS": "read", "POST": "write", "PUT": "write", "PATCH": "write", "DELETE": "delete",
}

func (d *openAPI) readPaths() {
	base := d.serverPath(d.root, "")
	var all *needs
	if security := d.get(d.root, "security", "the document"); security != nil {
		n := d.security(security, "the document")
		all = &n
	}
	paths := d.get(d.root, "paths", "the document")
	if paths == nil {
		d.fail(nil, "has no paths, so there is nothing to make routes of")
	}
	d.each(paths, "paths", func(path string, key, item *yaml.Node) {
		if strings.HasPrefix(path, "x-") {
			return
		}
		if !strings.HasPrefix(path, "/") {
			d.fail(key, "the path %s does not start with /; write it so", quote(path))
		}
		item = d.resolve(item, "the path "+quote(path))
		itemBase := d.serverPath(item, base)
		for _, method := range operationMethods {
			operation := d.get(item, method, "the path "+quote(path))
			if operation == nil {
				continue
			}
			method = strings.ToUpper(method)
			name := method + " " + path
			if d.count++; d.count > maxOpenAPIRoutes {
				d.fail(key, "has more than %d operations; split the API into several resources", maxOpenAPIRoutes)
			}
			n := needs{scopes: []string{methodScopes[method]}}
			switch security := d.get(operation, "security", name); {
			case security != nil:
				n = d.security(security, name)
			case all != nil:
				n = *all
			default:
				d.guessed.note(name)
			}
			d.put(key, d.serverPath(operation, itemBase)+path, method, n)
		}
	})
}

// security reads a list of requirements, of which one is enough.
func (d *openAPI) security(n *yaml.Node, what string) needs {
	requirements := d.list(n, "security of "+what)
	if len(requirements) > maxRequirements {
		d.fail(n, "%s has more than %d security requirements; write fewer", what, maxRequirements)
	}
	if len(requirements) == 0 {
		return needs{public: true}
	}
	var all []needs
	anonymous := false
	for _, requirement := range requirements {
		one, schemes := needs{}, 0
		d.each(requirement, "a security requirement of "+what, func(scheme string, key, list *yaml.Node) {
			schemes++
			kind, known := d.schemes[scheme]
			if !known {
				d.fail(key, "%s asks for the security scheme %s, which components.securitySchemes has not; add it there", what, quote(scheme))
			}
			scopes := d.list(list, "the scopes of "+what)
			if len(scopes) > maxRequirements {
				d.fail(list, "%s asks for more than %d scopes; write fewer", what, maxRequirements)
			}
			for _, item := range scopes {
				scope := d.text(item, "a scope of "+what)
				if kind != "oauth2" && kind != "openIdConnect" && !d.roles {
					d.fail(item, "%s asks for the scope %s of %s, which is no oauth2 or openIdConnect scheme and has none in OpenAPI 3.0; leave it out", what, quote(scope), quote(scheme))
				}
				d.checkScope(item, scope, what)
				if !slices.Contains(one.scopes, scope) {
					one.scopes = append(one.scopes, scope)
				}
			}
		})
		anonymous = anonymous || schemes == 0
		all = append(all, one)
	}
	if anonymous {
		if len(all) > 1 {
			d.optional.note(what)
		}
		return needs{public: true}
	}
	// One of them is enough for the document, so that each alone lets nothing pass that the document would not. The first
	// with scopes asks for what credentials here can have.
	chosen := all[0]
	if i := slices.IndexFunc(all, func(n needs) bool { return len(n.scopes) > 0 }); i >= 0 {
		chosen = all[i]
	}
	if slices.ContainsFunc(all, func(n needs) bool { return !n.equal(chosen) }) {
		d.alternatives.note(what)
	}
	return chosen
}

// checkScope refuses names that no resource can have.
func (d *openAPI) checkScope(n *yaml.Node, scope, what string) {
	if err := checkScopeName(scope); err != nil {
		d.fail(n, "%s asks for the scope %s, which %v", what, quote(scope), err)
	}
	if strings.HasPrefix(scope, "env:") || strings.HasPrefix(scope, "file:") {
		d.fail(n, "%s asks for the scope %s, which the configuration would take for a reference; choose another name", what, quote(scope))
	}
}

// serverPath is the path of the first server that an element names, or else the one around it.
func (d *openAPI) serverPath(n *yaml.Node, around string) string {
	servers := d.get(n, "servers", "the document")
	if servers == nil {
		return around
	}
	list := d.list(servers, "servers")
	if len(list) == 0 {
		return around
	}
	paths := make([]string, len(list))
	for i, server := range list {
		paths[i] = d.pathOf(server)
	}
	if slices.ContainsFunc(paths, func(p string) bool { return p != paths[0] }) {
		d.servers.note(paths[0])
	}
	return paths[0]
}

// pathOf is the path of a server's URL, with the defaults of its variables, without a slash at its end.
func (d *openAPI) pathOf(server *yaml.Node) string {
	address := d.get(server, "url", "a server")
	if address == nil {
		d.fail(server, "a server has no url; write it, such as https://api.example.com/v1")
	}
	text := d.text(address, "url")
	if variables := d.get(server, "variables", "a server"); variables != nil {
		d.each(variables, "variables of a server", func(name string, _, v *yaml.Node) {
			text = strings.ReplaceAll(text, "{"+name+"}", d.value(v, "default"))
		})
	}
	if strings.ContainsAny(text, "{}") {
		d.fail(address, "the server %s has a variable without a default; write one under variables", quote(text))
	}
	if _, rest, ok := strings.Cut(text, "://"); ok {
		text = ""
		if i := strings.IndexAny(rest, "/?#"); i >= 0 {
			text = rest[i:]
		}
	}
	text, _, _ = strings.Cut(text, "?")
	text, _, _ = strings.Cut(text, "#")
	text = strings.TrimRight(text, "/")
	if text == "" || text == "." {
		return ""
	}
	if !strings.HasPrefix(text, "/") {
		d.fail(address, "the server %s is relative to where the document lies; write its whole path, such as /v1", quote(address.Value))
	}
	return text
}

// pathNode holds paths by their segments, in the order of the document, text apart from what stands for any.
type pathNode struct {
	texts      []*pathNode
	byText     map[string]*pathNode
	star       *pathNode
	path       string
	operations []operation
}

type operation struct {
	method string
	needs  needs
}

// put adds an operation under its path with * for templates.
func (d *openAPI) put(key *yaml.Node, path, method string, n needs) {
	at, route := &d.tree, ""
	for segment := range strings.SplitSeq(path[1:], "/") {
		segment = d.segment(key, segment)
		route += "/" + segment
		next := at.star
		if segment != "*" {
			next = at.byText[segment]
		}
		if next == nil {
			next = &pathNode{byText: map[string]*pathNode{}}
			if segment == "*" {
				at.star = next
			} else {
				if at.byText == nil {
					at.byText = map[string]*pathNode{}
				}
				at.byText[segment] = next
				at.texts = append(at.texts, next)
			}
		}
		at = next
	}
	if err := checkRoutePath(route); err != nil {
		d.fail(key, "the path makes the route %v", err)
	}
	at.path = route
	for i := range at.operations {
		// Paths that only their templates tell apart: whoever passes must be good for both.
		if o := &at.operations[i]; o.method == method {
			if !o.needs.equal(n) {
				d.joined.note(method + " " + route)
				o.needs = joinNeeds(o.needs, n)
			}
			return
		}
	}
	at.operations = append(at.operations, operation{method, n})
}

func joinNeeds(a, b needs) needs {
	both := needs{public: a.public && b.public}
	for _, scope := range append(slices.Clone(a.scopes), b.scopes...) {
		if !slices.Contains(both.scopes, scope) {
			both.scopes = append(both.scopes, scope)
		}
	}
	return both
}

// segment is what a segment of a path becomes in a route: itself, or * where it has a template, also one that is only a
// part of it. {object} would need to know that what stands there is in objects, which no document says.
func (d *openAPI) segment(key *yaml.Node, segment string) string {
	if strings.ContainsAny(segment, "{}") {
		if !strings.HasPrefix(segment, "{") || strings.Index(segment, "}") != len(segment)-1 {
			d.partial.note(key.Value)
		}
		return "*"
	}
	if strings.Contains(segment, "%") {
		decoded, err := url.PathUnescape(segment)
		if err != nil || strings.ContainsAny(decoded, "/%") {
			d.fail(key, "the path has the segment %s, with an escape that no route can have; write the character itself", quote(segment))
		}
		segment = decoded
	}
	if segment == "*" || segment == "**" {
		d.fail(key, "the path has the segment %s, which in a route would mean any; rename it, or write the route yourself", quote(segment))
	}
	return segment
}

// routes are the operations of each path with the same needs, text before * at every segment, so that the first route
// that matches is the one of the path that is meant.
func (d *openAPI) routes() []Route {
	var all []Route
	var walk func(n *pathNode)
	walk = func(n *pathNode) {
		if n == nil {
			return
		}
		all = append(all, n.routes()...)
		for _, next := range n.texts {
			walk(next)
		}
		walk(n.star)
	}
	walk(&d.tree)
	if len(all) == 0 {
		d.fail(nil, "has no operations, so there is nothing to make routes of")
	}
	return all
}

func (n *pathNode) routes() []Route {
	hasGet := slices.ContainsFunc(n.operations, func(o operation) bool { return o.method == "GET" })
	var all []Route
	var needed []needs
	for _, o := range n.operations {
		if o.method == "HEAD" && hasGet {
			continue // GET covers it
		}
		i := slices.IndexFunc(needed, o.needs.equal)
		if i < 0 {
			i = len(all)
			needed = append(needed, o.needs)
			all = append(all, Route{Methods: nil, Path: n.path, Scopes: o.needs.scopes, Credentials: nil, Role: "", Cost: 1, Public: o.needs.public})
			if !o.needs.public && o.needs.scopes == nil {
				all[i].Scopes = []string{}
			}
		}
		all[i].Methods = append(all[i].Methods, o.method)
	}
	return all
}

// notes say what the document left to be decided, and what the resource needs for these routes.
func (d *openAPI) notes(routes []Route) []string {
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
	notes := []string{"From " + printable(d.name) + ". Put it under a resource; the first route that matches decides, none is 403."}
	if len(scopes) > 0 {
		notes = append(notes, "The resource's scopes must hold: "+strings.Join(scopes, ", ")+".")
	}
	if templates {
		notes = append(notes, "Each templated segment is *, any one: no document says which of them are the resource's objects. Write {object} where they are.")
	}
	for _, t := range []struct {
		decided
		text string
	}{
		{d.guessed, "no security is given, so the method decides: read, write or delete"},
		{d.optional, "security is optional there, so it is public"},
		{d.alternatives, "one of several requirements is enough there; the first with scopes was taken"},
		{d.joined, "two paths differ in the names of templates only; the route needs what both need"},
		{d.partial, "a template is a part of the segment, which became * as a whole"},
		{d.basic, "a security scheme other than a bearer token in the header Authorization, which Doorward does not read; clients must send theirs there"},
	} {
		if t.n > 0 {
			times := "Once, at "
			if t.n > 1 {
				times = fmt.Sprintf("%d times, first at ", t.n)
			}
			notes = append(notes, times+printable(t.first)+": "+t.text+".")
		}
	}
	if d.servers.n > 0 {
		notes = append(notes, "The servers have several paths; that of the first, "+printable(d.servers.first)+", is before each route.")
	}
	return notes
}

// printable keeps a text on its one line.
func printable(text string) string {
	quoted := quote(text)
	if inner := quoted[1 : len(quoted)-1]; inner == text {
		return text
	}
	return quoted
}
