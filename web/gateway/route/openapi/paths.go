package openapi

import (
	"cmp"
	"slices"
	"strings"

	"doorward/oauth/input"
)

// operationMethods are the operations of a path item that become routes, in their order in the output. The gateway does
// not forward TRACE.
var operationMethods = []string{"get", "head", "post", "put", "patch", "delete", "options"}

// item is a part of a path item: the item itself, or the target of its $ref.
type item struct {
	*mapping
	servers []apiServer
	faults  []error // of servers
	given   bool
	err     error // why no operation of the path may pass
}

func (d *document) readPaths() error {
	paths, ok, err := d.top.get("paths")
	if err != nil {
		return err
	}
	if !ok {
		return documentFault{d.name, "has no paths, so there is nothing to import"}
	}
	layers, err := d.layers(paths, "paths")
	if err != nil {
		return err // the paths are unknown
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

// operationMethod returns the method of a key in a path item, in upper case; empty: the key is not an operation.
func operationMethod(key string) string {
	key = strings.ToLower(strings.TrimSpace(key))
	if key == "trace" || slices.Contains(operationMethods, key) {
		return strings.ToUpper(key)
	}
	return ""
}

// items returns the parts of a path item. A part without servers has those of the others.
func (d *document) items(e entry) ([]item, error) {
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
func (d *document) readPath(e entry) error {
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
	// OpenAPI does not define security for paths. An author who writes it probably means all operations of the path, but
	// how it combines with theirs is unclear, so all of them are refused.
	for _, it := range items {
		for _, o := range it.entries {
			if isSecurity(o.name) {
				err = o.key.fault(
					"the path has the key %s, which only operations and the whole document may have; move it to the operations",
					input.Quote(o.name),
				)
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
				d.leaveOut(
					printable(o.name)+" of "+e.name,
					"this key of a path is not known, so it has no route",
				)
			case method != "":
				if err := d.readOperation(e, it, o, method); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// readOperation adds an operation. Keys beside its $ref apply too.
func (d *document) readOperation(e entry, it item, o entry, method string) error {
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
			d.leaveOut(
				name,
				"its servers are on another host than the API's, "+printable(
					strings.Join(hostsOfServers(servers), ", "),
				),
			)
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

// put adds an operation under each of its base paths, and under each that it may have.
func (d *document) put(e entry, bases, maybe []string, method string, n needs) error {
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
				d.refuse(
					method+" "+name,
					e.key.fault("the path %s must start with /", input.Quote(name)),
				)
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
			d.refuse(
				method+" "+e.name,
				e.key.fault(
					"a template or * of the path may match several segments; requests with more than one are refused; "+
						"if they are needed, use ** in the route",
				),
			)
		}
		if d.paths.add(p, method, n) {
			d.note(noteJoined, method+" /"+strings.Join(p.segments, "/"))
		}
	}
	return nil
}
