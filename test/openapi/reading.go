// Package openapi reads OpenAPI documents in a slow and plain way, for tests of `doorward routes from-openapi`. It says
// what each operation needs, and whether routes let a request pass that an operation would not. It shares no code with
// the importer, and has no bounds.
package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Methods are the methods that the gateway forwards.
var Methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// Operation is an operation of a document.
type Operation struct {
	Method, Template string
	// Security holds alternatives. Each is a list of scopes that are all needed. If it is empty and the operation is
	// not Public, no request may pass.
	Security [][]string
	Public   bool
	// Elsewhere reports that the operation's servers are on other hosts than the document's.
	Elsewhere bool
	// Unsure reports that the servers may be elsewhere, but the document does not say which hosts it has.
	Unsure bool

	segments []string // segments of the template, after the server's path, without query and fragment
	match    *regexp.Regexp
}

// Document is a document that was read.
type Document struct {
	Version, Title string
	Operations     []Operation

	read  func(name string) ([]byte, error)
	files map[string]any
	root  any
	base  string
}

// at is a value in a file.
type at struct {
	file string
	v    any
}

// Read reads a document. The function read returns the content of a file.
func Read(name string, read func(name string) ([]byte, error)) (*Document, error) {
	d := &Document{read: read, files: map[string]any{}}
	var err error
	if d.root, err = d.load(name); err != nil {
		return nil, err
	}
	root, ok := d.root.(map[string]any)
	if !ok {
		return nil, errors.New("not a mapping")
	}
	d.Version = fmt.Sprint(root["openapi"])
	if root["openapi"] == nil {
		d.Version = "Swagger " + fmt.Sprint(root["swagger"])
	}
	if info, ok := root["info"].(map[string]any); ok {
		d.Title = strings.TrimSpace(fmt.Sprint(info["title"], " ", info["version"]))
	}
	d.base, _ = root["basePath"].(string)
	d.base = strings.TrimRight(d.base, "/")
	if servers, ok := root["servers"].([]any); ok && len(servers) > 0 {
		_, d.base = address(servers[0])
	}
	paths, err := d.all(at{name, root["paths"]})
	if err != nil {
		return nil, err
	}
	for _, layer := range paths {
		for template, item := range layer.v.(map[string]any) {
			if strings.HasPrefix(template, "/") {
				d.readPath(name, root, template, at{layer.file, item})
			}
		}
	}
	return d, nil
}

// address returns the host of a server, empty if it names none, and its path. Variables have their default value.
func address(server any) (host, base string) {
	m, _ := server.(map[string]any)
	text, _ := m["url"].(string)
	variables, _ := m["variables"].(map[string]any)
	for name, v := range variables {
		if v, ok := v.(map[string]any); ok {
			text = strings.ReplaceAll(text, "{"+name+"}", fmt.Sprint(v["default"]))
		}
	}
	if _, after, ok := strings.Cut(text, "//"); ok && (strings.HasPrefix(text, "//") || strings.Contains(text, "://")) {
		host, text, ok = strings.Cut(after, "/")
		if ok {
			text = "/" + text
		}
	}
	host = strings.ToLower(host)
	return strings.TrimSuffix(strings.TrimSuffix(host, ":443"), ":80"), strings.TrimRight(text, "/")
}

func (d *Document) load(name string) (any, error) {
	if v, ok := d.files[name]; ok {
		if v == nil {
			return nil, errors.New("not readable")
		}
		return v, nil
	}
	d.files[name] = nil
	data, err := d.read(name)
	if err != nil {
		return nil, err
	}
	var v any
	if trimmed := bytes.TrimPrefix(data, []byte("\ufeff")); json.Valid(trimmed) {
		err = json.Unmarshal(trimmed, &v)
	} else {
		err = yaml.Unmarshal(data, &v)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	v = plain(v)
	d.files[name] = v
	return v, nil
}

// plain converts the keys of all mappings to strings.
func plain(v any) any {
	switch v := v.(type) {
	case map[any]any:
		out := map[string]any{}
		for k, x := range v {
			out[fmt.Sprint(k)] = plain(x)
		}
		return out
	case map[string]any:
		for k, x := range v {
			v[k] = plain(x)
		}
	case []any:
		for i, x := range v {
			v[i] = plain(x)
		}
	}
	return v
}

// all returns a mapping, what its $ref leads to, and so on.
func (d *Document) all(p at) ([]at, error) {
	var out []at
	for range 40 {
		m, ok := p.v.(map[string]any)
		if !ok {
			return nil, errors.New("not a mapping")
		}
		out = append(out, p)
		ref, ok := m["$ref"]
		if !ok {
			return out, nil
		}
		next, err := d.follow(p.file, ref)
		if err != nil {
			return nil, err
		}
		p = next
	}
	return nil, errors.New("a circle")
}

func (d *Document) follow(from string, ref any) (at, error) {
	text, ok := ref.(string)
	if !ok {
		return at{}, errors.New("not a reference")
	}
	name, pointer, _ := strings.Cut(text, "#")
	p := at{file: from}
	if name != "" {
		decoded, err := url.PathUnescape(name)
		if err != nil {
			return at{}, err
		}
		p.file = path.Join(path.Dir(from), decoded)
	}
	var err error
	if p.v, err = d.load(p.file); err != nil {
		return at{}, err
	}
	if pointer, err = url.PathUnescape(pointer); err != nil {
		return at{}, err
	}
	if pointer == "" {
		return p, nil
	}
	for _, step := range strings.Split(pointer, "/")[1:] {
		step = strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
		switch v := p.v.(type) {
		case map[string]any:
			next, ok := v[step]
			if !ok {
				layers, err := d.all(p)
				if err != nil || len(layers) < 2 {
					return at{}, errors.New("not there")
				}
				p = layers[len(layers)-1]
				next, ok = p.v.(map[string]any)[step]
				if !ok {
					return at{}, errors.New("not there")
				}
			}
			p.v = next
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) {
				return at{}, errors.New("not there")
			}
			p.v = v[i]
		default:
			return at{}, errors.New("not there")
		}
	}
	return p, nil
}

func (d *Document) readPath(name string, root map[string]any, template string, item at) {
	layers, err := d.all(item)
	if err != nil {
		for _, method := range Methods {
			d.add(Operation{Method: method, Template: template})
		}
		return
	}
	var around []any // servers
	misplaced := false
	for _, layer := range layers {
		m := layer.v.(map[string]any)
		for key := range m {
			misplaced = misplaced || strings.EqualFold(strings.TrimSpace(key), "security")
		}
		servers, _ := m["servers"].([]any)
		around = append(around, servers...)
	}
	for _, layer := range layers {
		for key, value := range layer.v.(map[string]any) {
			method := strings.ToUpper(key)
			if !slices.Contains(Methods, method) {
				continue
			}
			o := Operation{Method: method, Template: template}
			d.secure(&o, name, root, at{layer.file, value})
			if misplaced { // its meaning is undefined, so no request may pass
				o.Public, o.Security = false, nil
			}
			servers, _ := layer.v.(map[string]any)["servers"].([]any)
			if len(servers) == 0 {
				servers = around
			}
			if own := d.ownServers(at{layer.file, value}); len(own) > 0 {
				servers = own
			}
			if len(servers) == 0 {
				servers, _ = root["servers"].([]any) // each may have its own path
			}
			if len(servers) == 0 {
				d.add(o)
			}
			for _, server := range servers {
				d.addAt(o, server)
			}
		}
	}
}

// ownServers returns the servers of an operation.
func (d *Document) ownServers(operation at) (servers []any) {
	layers, err := d.all(operation)
	if err != nil {
		return nil
	}
	for _, layer := range layers {
		own, _ := layer.v.(map[string]any)["servers"].([]any)
		servers = append(servers, own...)
	}
	return servers
}

// addAt adds an operation that names a server. It is elsewhere only if the document names all its hosts and the
// operation names another one: a document without hosts, or with variables in them, may have that host too.
func (d *Document) addAt(o Operation, server any) {
	host, base := address(server)
	all, _ := d.root.(map[string]any)["servers"].([]any)
	same, known := host == "", len(all) > 0
	for _, own := range all {
		ownHost, _ := address(own)
		m, _ := own.(map[string]any)
		same = same || ownHost == host
		known = known && ownHost != "" && m["variables"] == nil && !strings.Contains(ownHost, "{")
	}
	o.Elsewhere = !same && known && !strings.Contains(host, "{")
	o.Unsure = !same && !o.Elsewhere
	d.addUnder(base, o)
}

// secure finds the scopes that an operation needs.
func (d *Document) secure(o *Operation, name string, root map[string]any, p at) {
	layers, err := d.all(p)
	if err != nil {
		return
	}
	var given []at
	for i, layer := range layers {
		m := layer.v.(map[string]any)
		if security, ok := m["security"]; ok {
			given = append(given, at{layer.file, security})
		} else if i == len(layers)-1 && misspelt(root) {
			given = append(given, at{name, nil}) // not a list: no request may pass
		} else if security, ok := root["security"]; ok && i == len(layers)-1 {
			given = append(given, at{name, security})
		}
	}
	if len(given) == 0 {
		scope := map[string]string{"POST": "write", "PUT": "write", "PATCH": "write", "DELETE": "delete"}[o.Method]
		if scope == "" {
			scope = "read"
		}
		o.Security = [][]string{{scope}}
		return
	}
	// All of them must be fulfilled. There is more than one if keys stand beside a $ref.
	o.Public, o.Security = true, nil
	for _, one := range given {
		public, alternatives := d.alternatives(name, root, one)
		switch {
		case public:
		case o.Public:
			o.Public, o.Security = false, alternatives
		default:
			var both [][]string
			for _, a := range o.Security {
				for _, b := range alternatives {
					both = append(both, slices.Concat(a, b))
				}
			}
			o.Security = both
		}
	}
}

// misspelt reports whether the document has a key that differs from security only in case or spaces.
func misspelt(root map[string]any) bool {
	for key := range root {
		if key != "security" && strings.EqualFold(strings.TrimSpace(key), "security") {
			return true
		}
	}
	return false
}

func (d *Document) alternatives(name string, root map[string]any, p at) (public bool, all [][]string) {
	p, ok := d.resolve(p)
	list, isList := p.v.([]any)
	if !ok || !isList {
		return false, nil
	}
	for _, item := range list {
		item, ok := d.resolve(at{p.file, item})
		m, isMap := item.v.(map[string]any)
		if !ok || !isMap {
			continue
		}
		scopes, usable := []string{}, true
		for scheme, value := range m {
			list, ok := d.resolve(at{item.file, value})
			values, isList := list.v.([]any)
			if !ok || !isList || !d.hasScheme(name, root, scheme) {
				usable = false
				break
			}
			for _, v := range values {
				scopes = append(scopes, fmt.Sprint(v))
			}
		}
		if usable {
			all = append(all, scopes)
			public = public || len(m) == 0
		}
	}
	return public || len(list) == 0, all
}

func (d *Document) resolve(p at) (at, bool) {
	m, ok := p.v.(map[string]any)
	if !ok {
		return p, true
	}
	if _, ok := m["$ref"]; !ok {
		return p, true
	}
	layers, err := d.all(p)
	if err == nil {
		return layers[len(layers)-1], true
	}
	next, err := d.follow(p.file, m["$ref"])
	if err != nil {
		return p, false
	}
	return next, true
}

func (d *Document) hasScheme(name string, root map[string]any, scheme string) bool {
	schemes := at{name, root["securityDefinitions"]}
	if components, ok := root["components"]; ok {
		layers, err := d.all(at{name, components})
		if err != nil {
			return false
		}
		last := layers[len(layers)-1]
		schemes = at{last.file, last.v.(map[string]any)["securitySchemes"]}
	}
	layers, err := d.all(schemes)
	if err != nil {
		return false
	}
	for _, layer := range layers {
		if value, ok := layer.v.(map[string]any)[scheme]; ok {
			last, err := d.all(at{layer.file, value})
			return err == nil && last[len(last)-1].v.(map[string]any)["type"] != nil
		}
	}
	return false
}
