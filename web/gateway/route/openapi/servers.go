package openapi

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"
)

// apiServer is a server: the hosts that its URL may have (none: the document's host), and its path.
type apiServer struct {
	hosts    []string
	path     string
	relative bool
	anyHost  bool // hosts may be incomplete
}

// readServers reads the hosts and base paths of the API.
func (d *document) readServers() error {
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

// servers reads the servers of an element. given is false if it has none, so that those of the element around it apply.
func (d *document) servers(m *mapping) (all []apiServer, faults []error, given bool) {
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
		return nil, []error{p.fault("has more than %d servers; use fewer", maxRequirements)}, true
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

// server reads a server: its hosts with all values of the variables, and its path with their defaults. A variable
// without a default stands for any text, like a template.
func (d *document) server(p place) (s apiServer, err error) {
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
		return s, m.fault("a server has no url; add one, such as https://api.example.com/v1")
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

func (d *document) serverVariables(p place) (map[string][]string, error) {
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
		// Without an enum, the variable can have other values, which its own template stands for.
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

// expandHosts returns the hosts of a server's URL for all values of the variables. Complete is false if there are too
// many, or none.
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

// bases returns the base paths of servers on the API's hosts. If the document does not name all of the API's hosts,
// maybe has the base paths of servers that may belong to another API.
func (d *document) bases(servers []apiServer) (paths, maybe []string) {
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

// mayBeHost reports whether a host can be one of the document's, for some values of the templates in both.
func (d *document) mayBeHost(host string) bool {
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

// adoptHost uses the host that all operations name as the API's, if the document itself names none.
func (d *document) adoptHost(layers []*mapping) {
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

func hostsOfServers(servers []apiServer) []string {
	var all []string
	for _, s := range servers {
		all = append(all, s.hosts...)
	}
	return all
}
