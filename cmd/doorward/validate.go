package main

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"doorward/oauth/catalog"
)

// check finds what is wrong between values; what is wrong with one value alone was found when it was read. It adds the
// resource that exists when none is written, because its id is the issuer.
func (p *parser) check(c *Config) {
	p.checkListeners(c)
	p.checkLifetimes(c)

	issuer, err := url.Parse(c.Issuer)
	if err != nil {
		return // only a value that has its fault already
	}
	if len(c.Secret) == 0 && !isLoopback(issuer.Hostname()) && p.clean("secret") && p.clean("issuer") {
		p.fault("secret", "is empty, and with an issuer that other machines reach it must be written where every node reads the same; %s, and write it here or in %s", howToSecret, variable("secret"))
	}
	if c.DatabaseMigrateURL != "" && strings.HasPrefix(c.DatabaseURL, "sqlite:") {
		p.fault("database_migrate_url", "is set, but database_url is a SQLite file; leave it out, or write a postgres:// URL in database_url")
	}
	if len(c.Resources) == 0 && p.clean("resources") {
		c.Resources = []Resource{defaultResource(c.Issuer)}
	}
	deriveKeyPrefixes(c)
	ids, hosts := map[string]int{}, map[string]int{}
	for i, r := range c.Resources {
		at := fmt.Sprintf("resources[%d]", i)
		id := catalog.CanonicalResource(r.ID)
		if first, twice := ids[id]; twice && id != "" {
			p.fault(at+".id", "%s is also the id of resources[%d]; give each resource its own", quote(r.ID), first)
		}
		ids[id] = i
		p.checkResource(c, r, at)
		p.checkHosts(issuer, r, i, hosts)
	}
	p.checkKeyPrefixes(c)
}

// clean says whether neither the key nor anything in it has a fault, so that what is missing was not merely misread.
func (p *parser) clean(key string) bool { return !p.faulty[key] && !p.around[key] }

func (p *parser) checkListeners(c *Config) {
	if len(c.Listen) == 0 && p.clean("listen") {
		p.fault("listen", "is empty; write at least one address, such as 127.0.0.1:8080")
	}
	for i, a := range c.Listen {
		for j, b := range c.Listen[:i] {
			if sameListener(a, b) {
				p.fault(fmt.Sprintf("listen[%d]", i), "%s takes the same port as listen[%d]; keep one of them", quote(a), j)
			}
		}
		if c.AdminListen != "" && sameListener(a, c.AdminListen) {
			p.fault("admin_listen", "takes the same port as listen; write another, because metrics and pprof are not for the public")
		}
	}
}

// sameListener says whether two addresses cannot be listened on at once.
func sameListener(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || isEveryAddress(hostA) || isEveryAddress(hostB)
}

// isEveryAddress says whether a listener's host means all addresses of the machine.
func isEveryAddress(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || (err == nil && addr.IsUnspecified())
}

func (p *parser) checkLifetimes(c *Config) {
	t := c.Tokens
	if t.Code > 10*time.Minute {
		p.fault("tokens.code_lifetime", "is longer than 10m, the most that RFC 6749 recommends; write 60s")
	}
	if t.RefreshAbsolute < t.Refresh && p.clean("tokens.refresh_lifetime") && p.clean("tokens.refresh_absolute_lifetime") {
		key := "tokens.refresh_absolute_lifetime"
		if _, written := p.origins[key]; !written {
			key = "tokens.refresh_lifetime"
		}
		p.fault(key, "leaves refresh_absolute_lifetime (%s) shorter than refresh_lifetime (%s); write an absolute lifetime that is at least as long",
			formatDuration(t.RefreshAbsolute), formatDuration(t.Refresh))
	}
	if t.RefreshReuseWindow >= t.Refresh && p.clean("tokens.refresh_lifetime") {
		p.fault("tokens.refresh_reuse_window", "is not shorter than refresh_lifetime, so a stolen refresh token would never be noticed; write 10s, or 0 to forbid repeats")
	}
}

func (p *parser) checkResource(c *Config, r Resource, at string) {
	if r.ID == "" {
		p.fault(at+".id", "is missing; write the URI of the API, such as https://api.example.com")
	}
	if r.Upstream != "" && len(r.Hosts) == 0 && p.clean(at+".hosts") {
		p.fault(at+".upstream", "is never reached without hosts; write the names under which Doorward answers for this API, such as hosts: [api.example.com]")
	}
	if u, err := url.Parse(r.Upstream); err == nil && r.Upstream != "" {
		port := u.Port()
		if port == "" {
			port = defaultPort(u.Scheme)
		}
		for _, listen := range c.Listen {
			if sameListener(net.JoinHostPort(u.Hostname(), port), listen) && (isLoopback(u.Hostname()) || !isEveryAddress(hostOf(listen))) {
				p.fault(at+".upstream", "is where Doorward itself listens, so requests would go round for ever; write the address of the API")
			}
		}
	}
	p.checkPlan(c, at+".anonymous_plan", r.AnonymousPlan)
	p.checkPlan(c, at+".user_plan", r.UserPlan)
	p.checkPlan(c, at+".client_plan", r.ClientPlan)
	p.checkPlan(c, at+".keys.default_plan", r.Keys.DefaultPlan)
	p.checkPlan(c, at+".keys.test_plan", r.Keys.TestPlan)
	p.checkScopes(r, at+".scopes")
	p.checkRoutes(r, at+".routes")
	for i, t := range r.TrustedIssuers {
		key := fmt.Sprintf("%s.trusted_issuers[%d]", at, i)
		p.checkTrustedIssuer(c, r, t, key)
		if j := slices.IndexFunc(r.TrustedIssuers[:i], func(earlier TrustedIssuer) bool { return takesAll(earlier, t) }); j >= 0 && p.clean(key) {
			p.fault(key, "is never reached, because trusted_issuers[%d] before it accepts the same tokens; leave one of them out, or move the narrower one up", j)
		}
	}
}

func hostOf(listen string) string {
	host, _ := splitHost(listen)
	return host
}

// checkPlan faults a plan that is used and not written.
func (p *parser) checkPlan(c *Config, key, name string) {
	if name == "" {
		return
	}
	if _, ok := c.Plans[name]; ok {
		return
	}
	known := slices.Sorted(maps.Keys(c.Plans))
	if len(known) == 0 {
		p.fault(key, "%s is not a plan, there are none; write it under plans, such as {hour: 1000, burst: 100}", quote(name))
		return
	}
	p.fault(key, "%s is not a plan; write one of %s, or add it under plans", quote(name), strings.Join(known, ", "))
}

func (p *parser) checkScopes(r Resource, at string) {
	if len(r.Scopes) == 0 && p.clean(at) {
		p.fault(at, "holds no scope; write at least one, or leave the key out for read, write, delete and admin")
	}
	known := scopeNames(r)
	implies := map[string][]string{}
	for _, s := range r.Scopes {
		implies[s.Name] = s.Implies
	}
	for _, s := range r.Scopes {
		key := at + "." + s.Name
		if s.Text == "" {
			p.fault(key+".text", "is missing; write what the scope allows, as the consent page shows it")
		}
		for i, name := range s.Implies {
			if !slices.Contains(known, name) {
				p.fault(fmt.Sprintf("%s.implies[%d]", key, i), "%s is not a scope of this resource; write one of %s", quote(name), strings.Join(known, ", "))
			}
		}
		if reaches(implies, s.Name, s.Name, map[string]bool{}) {
			p.fault(key+".implies", "leads back to %s itself; leave out one step of the circle", s.Name)
		}
	}
}

func scopeNames(r Resource) []string {
	names := make([]string, len(r.Scopes))
	for i, s := range r.Scopes {
		names[i] = s.Name
	}
	return names
}

// reaches says whether following implies from one scope, at least once, comes to another.
func reaches(implies map[string][]string, from, to string, seen map[string]bool) bool {
	for _, next := range implies[from] {
		if next == to {
			return true
		}
		if !seen[next] {
			seen[next] = true
			if reaches(implies, next, to, seen) {
				return true
			}
		}
	}
	return false
}

// catalogue is what a resource's scopes may be, for looking many up.
type catalogue struct {
	names          []string // in the order written
	known, objects map[string]bool
}

func newCatalogue(r Resource) catalogue {
	c := catalogue{names: scopeNames(r), known: map[string]bool{}, objects: map[string]bool{}}
	for _, name := range c.names {
		c.known[name] = true
	}
	for _, object := range r.Objects {
		c.objects[object] = true
	}
	return c
}

// checkScopeUse faults a scope that is needed or given somewhere and not in the catalogue. An object:action is in it
// as such, or when the action is and the object is listed.
func (p *parser) checkScopeUse(c catalogue, key, name, path string) {
	object, action, qualified := strings.Cut(name, ":")
	qualified = qualified && !strings.Contains(action, ":") && !strings.HasPrefix(action, "//")
	switch {
	case name == reservedScope:
		p.fault(key, "introspect is built in and opens no route; write a scope of this resource")
	case c.known[name]:
	case !qualified:
		p.fault(key, "%s is not a scope of this resource; write one of %s", quote(name), strings.Join(c.names, ", "))
	case object == "{object}" && path != "" && !strings.Contains(path, "{object}"):
		p.fault(key, "%s needs {object} in the path, such as /v1/{object}/**", quote(name))
	case object != "{object}" && !c.objects[object]:
		p.fault(key, "%s is not in objects; add it there, or write another scope", quote(object))
	case object == "{object}" && path == "":
		p.fault(key, "%s works in routes only; write a scope of this resource", quote(name))
	case !c.known[action]:
		p.fault(key, "%s is not an action of this resource; write one of %s after the colon", quote(action), strings.Join(c.names, ", "))
	}
}

// checkRoutes checks each route, and that those before it leave it something.
func (p *parser) checkRoutes(r Resource, at string) {
	scopes, compared := newCatalogue(r), r.asCompared()
	tree := newRouteTree(compared)
	if r.Paths == pathsLoose {
		for i, object := range compared.Objects {
			if first := slices.Index(compared.Objects, object); first < i && r.Objects[first] != r.Objects[i] {
				p.fault(strings.TrimSuffix(at, "routes")+"objects", "%s and %s differ in case alone, which paths: loose does not tell apart; write one of them", quote(r.Objects[first]), quote(r.Objects[i]))
			}
		}
	}
	for i, route := range r.Routes {
		key := fmt.Sprintf("%s[%d]", at, i)
		if route.Path == "" {
			p.fault(key+".path", "is missing; write one, such as /v1/**")
			continue
		}
		p.checkRoute(scopes, route, key)
		route.Path = compared.Routes[i].Path
		if earlier := tree.takenBefore(route); len(earlier) > 0 {
			p.fault(key, "is never reached, because %s; move it further up", p.takeAll(r, at, earlier))
		}
		tree.add(route, i)
	}
}

// takeAll says which routes take all requests of one after them.
func (p *parser) takeAll(r Resource, at string, earlier []int) string {
	const most = 3
	var names []string
	for _, i := range earlier[:min(most, len(earlier))] {
		names = append(names, nameRoute(at, i, r.Routes[i], p.origin))
	}
	switch {
	case len(earlier) == 1:
		return names[0] + " before it takes all its requests"
	case len(earlier) > most:
		names = append(names, fmt.Sprintf("%d more", len(earlier)-most))
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last] + " before it take all its requests together"
}

// nameRoute names a route with its path and where it was written.
func nameRoute(at string, index int, r Route, where func(key string) origin) string {
	name := fmt.Sprintf("routes[%d] (%s", index, r.Path)
	if o := where(fmt.Sprintf("%s[%d]", at, index)); o.line > 0 {
		name += fmt.Sprintf(", line %d", o.line)
	}
	return name + ")"
}

func (p *parser) checkRoute(c catalogue, route Route, at string) {
	if strings.Contains(route.Path, "{object}") && len(c.objects) == 0 {
		p.fault(at+".path", "has {object}, but the resource lists no objects; write objects: [accounts, …] or * for any segment")
	}
	for i, name := range route.Scopes {
		p.checkScopeUse(c, fmt.Sprintf("%s.scopes[%d]", at, i), name, route.Path)
	}
	_, costs := p.origins[at+".cost"]
	needs := len(route.Scopes) > 0 || len(route.Credentials) > 0 || route.Role != ""
	switch {
	case route.Refuse && (needs || route.Public || costs):
		p.fault(at+".refuse", "is true, so nothing passes, but the route also has scopes, credentials, a role, a cost or public; leave out one or the other")
	case route.Refuse:
	case route.Public && needs:
		p.fault(at+".public", "is true, but the route also lists scopes, credentials or a role; leave out one or the other")
	case route.Public && costs:
		p.fault(at+".cost", "has no effect, a public route costs nothing; leave it out")
	case !route.Public && !needs && route.Scopes == nil && p.clean(at):
		p.fault(at, "does not say what is needed; write scopes: [read], or scopes: [] for every valid credential, or public: true, or refuse: true")
	}
	for name, list := range map[string][]string{"methods": route.Methods, "credentials": route.Credentials} {
		if list != nil && len(list) == 0 && p.clean(at+"."+name) {
			p.fault(at+"."+name, "is an empty list, which nothing matches; leave the key out for all %s", name)
		}
	}
}

func (p *parser) checkTrustedIssuer(c *Config, r Resource, t TrustedIssuer, at string) {
	switch {
	case t.Issuer == "":
		p.fault(at+".issuer", "is missing; write the URL that stands in iss of the tokens")
	case t.Issuer == c.Issuer:
		p.fault(at+".issuer", "is our own issuer, whose tokens count anyway; leave the entry out")
	}
	switch _, clients := p.origins[at+".client_ids"]; {
	case clients && len(t.ClientIDs) == 0 && p.clean(at+".client_ids"):
		p.fault(at+".client_ids", "is an empty list; write what stands in client_id of the tokens, or leave the key out")
	case !clients && len(t.Audiences) == 0 && p.clean(at+".audience"):
		p.fault(at+".audience", "is missing; write what stands in aud of the tokens, so that those for others are refused, or client_ids where the issuer's access tokens have no aud")
	}
	if _, written := p.origins[at+".audience"]; written && len(t.Audiences) == 0 && len(t.ClientIDs) > 0 && p.clean(at+".audience") {
		p.fault(at+".audience", "is an empty list; write what stands in aud of the tokens, or leave the key out")
	}
	_, secret := p.origins[at+".hs256_secret"]
	_, keys := p.origins[at+".jwks_url"]
	_, algorithms := p.origins[at+".algorithms"]
	switch {
	case secret && keys:
		p.fault(at, "has both hs256_secret and jwks_url; keep the one with which the issuer signs")
	case !secret && !keys:
		p.fault(at, "has neither hs256_secret nor jwks_url; write the one with which the issuer signs")
	case secret && algorithms:
		p.fault(at+".algorithms", "has no effect beside hs256_secret, which is for HS256; leave it out")
	case keys && len(t.Algorithms) == 0 && p.clean(at+".algorithms"):
		p.fault(at+".algorithms", "is missing; write what the issuer signs with, such as [ES256]")
	}
	scopes := newCatalogue(r)
	for i, name := range t.Scopes {
		p.checkScopeUse(scopes, fmt.Sprintf("%s.scopes[%d]", at, i), name, "")
	}
	p.checkPlan(c, at+".plan", t.Plan)
}

// takesAll reports whether every token that a second entry accepts is accepted by the first, so that the second decides
// about none.
func takesAll(first, second TrustedIssuer) bool {
	holds := func(list, part []string) bool { // no list is no condition
		return len(list) == 0 || len(part) > 0 && !slices.ContainsFunc(part, func(x string) bool { return !slices.Contains(list, x) })
	}
	return first.Issuer != "" && first.Issuer == second.Issuer && first.HS256Secret == second.HS256Secret && first.JWKSURL == second.JWKSURL &&
		(first.JWKSURL == "" || holds(first.Algorithms, second.Algorithms)) && (len(first.Audiences) == 0) == (len(second.Audiences) == 0) &&
		holds(first.Audiences, second.Audiences) && holds(first.ClientIDs, second.ClientIDs)
}

// checkHosts faults a host that two would answer for. The issuer's host serves pages, which a resource's never does.
func (p *parser) checkHosts(issuer *url.URL, r Resource, index int, seen map[string]int) {
	issuerPort := issuer.Port()
	if issuerPort == "" {
		issuerPort = defaultPort(issuer.Scheme)
	}
	for i, host := range r.Hosts {
		key := fmt.Sprintf("resources[%d].hosts[%d]", index, i)
		name, port := splitHost(host)
		if name == issuer.Hostname() && (port == "" || port == issuerPort) && p.clean("issuer") {
			p.fault(key, "%s is the issuer's host; give the API a name or a port of its own", quote(host))
		}
		if first, twice := seen[host]; twice && first != index {
			p.fault(key, "%s is also a host of resources[%d]; give each resource its own", quote(host), first)
		}
		seen[host] = index
	}
}

// deriveKeyPrefixes gives each resource that leaves its key prefix out the first of sk, sk2, sk3, … that no other has.
func deriveKeyPrefixes(c *Config) {
	taken := map[string]bool{}
	for _, r := range c.Resources {
		taken[r.Keys.Prefix] = true
	}
	n := 1
	for i := range c.Resources {
		if c.Resources[i].Keys.Prefix != "" {
			continue
		}
		prefix := defaultResource("").Keys.Prefix
		for taken[prefix] {
			n++
			prefix = defaultResource("").Keys.Prefix + strconv.Itoa(n)
		}
		taken[prefix] = true
		c.Resources[i].Keys.Prefix = prefix
	}
}

// checkKeyPrefixes faults key prefixes by which two kinds of credential could be taken for each other.
func (p *parser) checkKeyPrefixes(c *Config) {
	type taken struct{ text, by string }
	all := []taken{{"dw_", "Doorward's own tokens"}, {"pat_", "personal access tokens"}}
	for i, r := range c.Resources {
		at := fmt.Sprintf("resources[%d]", i)
		key := at + ".keys.prefix"
		own := make([]taken, 0, 2)
		for _, kind := range r.Keys.Kinds {
			text := r.Keys.Prefix + "_" + kind + "_"
			for _, other := range all {
				if strings.HasPrefix(text, other.text) || strings.HasPrefix(other.text, text) {
					p.fault(key, "gives keys that start with %s, and %s start with %s; write another prefix", text, other.by, other.text)
				}
			}
			own = append(own, taken{text, "the keys of " + at})
		}
		all = append(all, own...)
	}
}
