package config

import (
	"bytes"
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
	"doorward/oauth/input"
)

// check finds faults that involve several values; faults of single values were found when they were read. It adds the
// default resource if none is configured.
func (p *parser) check(c *Config) {
	p.checkListeners(c)
	p.checkLifetimes(c)
	p.checkPeople(c)

	issuer, err := url.Parse(c.Issuer)
	if err != nil {
		return // the issuer already has a fault
	}
	if len(c.Secret) == 0 && !IsLoopback(issuer.Hostname()) && p.clean("secret") && p.clean("issuer") {
		p.fault(
			"secret",
			"is empty, but an issuer that other machines can reach needs a secret that all nodes share; "+
				"%s, and set it here or in %s",
			howToSecret,
			variable("secret"),
		)
	}
	if c.DatabaseMigrateURL != "" && strings.HasPrefix(c.DatabaseURL, "sqlite:") {
		p.fault(
			"database_migrate_url",
			"is set, but database_url is a SQLite file; leave it out, or set database_url to a postgres:// URL",
		)
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
			p.fault(at+".id", "%s is also the id of resources[%d]; give each resource its own", input.Quote(r.ID), first)
		}
		ids[id] = i
		p.checkResource(c, r, at)
		p.checkHosts(issuer, r, i, hosts)
	}
	p.checkKeyPrefixes(c)
	p.checkSelfRegistration(c)
}

// clean reports whether neither the key nor a key in it has a fault. Otherwise a missing value may be one that could
// not be read.
func (p *parser) clean(key string) bool { return !p.faulty[key] && !p.around[key] }

func (p *parser) checkListeners(c *Config) {
	if len(c.Listen) == 0 && p.clean("listen") {
		p.fault("listen", "is empty; add at least one address such as 127.0.0.1:8080")
	}
	for i, a := range c.Listen {
		for j, b := range c.Listen[:i] {
			if sameListener(a, b) {
				p.fault(
					fmt.Sprintf("listen[%d]", i),
					"%s uses the same port as listen[%d]; keep one of them",
					input.Quote(a),
					j,
				)
			}
		}
		if c.AdminListen != "" && sameListener(a, c.AdminListen) {
			p.fault(
				"admin_listen",
				"uses the same port as listen; use another, because metrics and pprof must not be public",
			)
		}
	}
}

// sameListener reports whether two addresses conflict, so that a server cannot listen on both.
func sameListener(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || IsEveryAddress(hostA) || IsEveryAddress(hostB)
}

// IsEveryAddress reports whether a listener's host means all addresses of the machine.
func IsEveryAddress(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || (err == nil && addr.IsUnspecified())
}

func (p *parser) checkLifetimes(c *Config) {
	t := c.Lifetimes
	if t.Code > 10*time.Minute {
		p.fault("tokens.code_lifetime", "is longer than 10m, the maximum that RFC 6749 recommends; use 60s")
	}
	if t.RefreshAbsolute < t.Refresh && p.clean("tokens.refresh_lifetime") &&
		p.clean("tokens.refresh_absolute_lifetime") {
		key := "tokens.refresh_absolute_lifetime"
		if _, written := p.origins[key]; !written {
			key = "tokens.refresh_lifetime"
		}
		p.fault(
			key,
			"makes refresh_absolute_lifetime (%s) shorter than refresh_lifetime (%s); "+
				"set an absolute lifetime that is at least as long",
			input.FormatDuration(t.RefreshAbsolute),
			input.FormatDuration(t.Refresh),
		)
	}
	if t.RefreshReuseWindow >= t.Refresh && p.clean("tokens.refresh_lifetime") {
		p.fault(
			"tokens.refresh_reuse_window",
			"is not shorter than refresh_lifetime, so a stolen refresh token would never be detected; "+
				"use 10s, or 0 to forbid reuse",
		)
	}
}

func (p *parser) checkResource(c *Config, r Resource, at string) {
	if r.ID == "" {
		p.fault(at+".id", "is missing; set it to the API's URI, such as https://api.example.com")
	}
	if r.API.Upstream != nil && len(r.API.Hosts) == 0 && p.clean(at+".hosts") {
		p.fault(
			at+".upstream",
			"is never used without hosts; set the host names at which Doorward serves this API, "+
				"such as hosts: [api.example.com]",
		)
	}
	if u := r.API.Upstream; u != nil {
		port := u.Port()
		if port == "" {
			port = defaultPort(u.Scheme)
		}
		for _, listen := range c.Listen {
			if sameListener(net.JoinHostPort(u.Hostname(), port), listen) &&
				(IsLoopback(u.Hostname()) || !IsEveryAddress(HostOf(listen))) {
				p.fault(
					at+".upstream",
					"is an address on which Doorward itself listens, so requests would loop forever; use the API's address",
				)
			}
		}
	}
	p.checkPlan(c, at+".anonymous_plan", r.AnonymousPlan)
	p.checkPlan(c, at+".user_plan", r.UserPlan)
	p.checkPlan(c, at+".client_plan", r.ClientPlan)
	p.checkPlan(c, at+".keys.default_plan", r.Keys.DefaultPlan)
	p.checkPlan(c, at+".keys.test_plan", r.Keys.TestPlan)
	p.checkScopes(c, r, at+".scopes")
	p.checkRoutes(r, at+".routes")
	for i, t := range r.TrustedIssuers {
		key := fmt.Sprintf("%s.trusted_issuers[%d]", at, i)
		p.checkTrustedIssuer(c, r, t, key)
		covers := func(earlier catalog.TrustedIssuer) bool { return acceptsAll(earlier, t) }
		if j := slices.IndexFunc(r.TrustedIssuers[:i], covers); j >= 0 && p.clean(key) {
			p.fault(
				key,
				"is never used, because trusted_issuers[%d] before it accepts the same tokens; "+
					"remove one of them, or move the more specific one up",
				j,
			)
		}
	}
}

// HostOf returns the host of an address to listen on.
func HostOf(listen string) string {
	host, _ := splitHost(listen)
	return host
}

// checkPlan reports the name of a plan that does not exist.
func (p *parser) checkPlan(c *Config, key, name string) {
	if name == "" {
		return
	}
	if _, ok := c.Plans[name]; ok {
		return
	}
	known := slices.Sorted(maps.Keys(c.Plans))
	if len(known) == 0 {
		p.fault(
			key,
			"%s is not a plan, and there are no plans; add it under plans, such as {hour: 1000, burst: 100}",
			input.Quote(name),
		)
		return
	}
	p.fault(
		key,
		"%s is not a plan; use one of %s, or add it under plans",
		input.Quote(name),
		strings.Join(known, ", "),
	)
}

func (p *parser) checkScopes(c *Config, r Resource, at string) {
	if len(r.Scopes) == 0 && p.clean(at) {
		p.fault(at, "is empty; add at least one scope, or leave the key out for read, write, delete and admin")
	}
	known := r.ScopeNames()
	implies := map[string][]string{}
	for _, s := range r.Scopes {
		implies[s.Name] = s.Implies
	}
	for i, s := range r.Scopes {
		key := at + "." + s.Name
		p.checkScopeText(c, &r.Scopes[i], key+".text")
		for j, name := range s.Implies {
			if !slices.Contains(known, name) {
				p.fault(
					fmt.Sprintf("%s.implies[%d]", key, j),
					"%s is not a scope of this resource; use one of %s",
					input.Quote(name),
					strings.Join(known, ", "),
				)
			}
		}
		if reaches(implies, s.Name, s.Name, map[string]bool{}) {
			p.fault(key+".implies", "leads back to %s itself; remove one link of the cycle", s.Name)
		}
	}
}

// checkScopeText looks for faults of the texts of a scope, and takes that of the first language for readers of
// languages without one.
func (p *parser) checkScopeText(c *Config, s *catalog.Scope, key string) {
	if len(s.Texts) == 0 {
		if s.Text == "" && s.Message.IsZero() {
			p.fault(key, "is missing; describe what the scope allows, for the consent page")
		}
		return
	}
	for _, tag := range slices.Sorted(maps.Keys(s.Texts)) {
		if !slices.Contains(c.Languages, tag) && p.clean("languages") {
			p.fault(key+"."+tag, "is for a language that the server does not offer; use one of %s, or add it to languages",
				strings.Join(c.Languages, ", "))
		}
	}
	if len(c.Languages) > 0 {
		if s.Text = s.Texts[c.Languages[0]]; s.Text == "" && p.clean(key) {
			p.fault(key+"."+c.Languages[0], "is missing; readers of a language without a text get that of the first language")
		}
	}
}

// reaches reports whether one scope implies another, directly or through others.
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

func (p *parser) checkTrustedIssuer(c *Config, r Resource, t catalog.TrustedIssuer, at string) {
	switch {
	case t.Issuer == "":
		p.fault(at+".issuer", "is missing; set it to the URL in the tokens' iss")
	case t.Issuer == c.Issuer:
		p.fault(at+".issuer", "is this server's own issuer, whose tokens are always accepted; remove the entry")
	}
	switch _, clients := p.origins[at+".client_ids"]; {
	case clients && len(t.ClientIDs) == 0 && p.clean(at+".client_ids"):
		p.fault(
			at+".client_ids",
			"is an empty list; list the values of the tokens' client_id, or leave the key out",
		)
	case !clients && len(t.Audiences) == 0 && p.clean(at+".audience"):
		p.fault(
			at+".audience",
			"is missing; set it to the tokens' aud, so that tokens for other audiences are refused, "+
				"or client_ids if the issuer's access tokens have no aud",
		)
	}
	if _, written := p.origins[at+".audience"]; written && len(t.Audiences) == 0 && len(t.ClientIDs) > 0 &&
		p.clean(at+".audience") {
		p.fault(at+".audience", "is an empty list; list the tokens' aud, or leave the key out")
	}
	_, secret := p.origins[at+".hs256_secret"]
	_, keys := p.origins[at+".jwks_url"]
	_, algorithms := p.origins[at+".algorithms"]
	switch {
	case secret && keys:
		p.fault(at, "has both hs256_secret and jwks_url; keep the one that the issuer uses")
	case !secret && !keys:
		p.fault(at, "has neither hs256_secret nor jwks_url; set the one that the issuer uses")
	case secret && algorithms:
		p.fault(at+".algorithms", "has no effect with hs256_secret, which is for HS256; remove it")
	case keys && len(t.Algorithms) == 0 && p.clean(at+".algorithms"):
		p.fault(at+".algorithms", "is missing; set it to the issuer's algorithms, such as [ES256]")
	}
	scopes := newCatalogue(r)
	for i, name := range t.Scopes {
		p.checkScopeUse(scopes, fmt.Sprintf("%s.scopes[%d]", at, i), name, "")
	}
	p.checkPlan(c, at+".plan", t.Plan)
}

// acceptsAll reports whether the first entry accepts every token that the second accepts, so that the second is never
// used.
func acceptsAll(first, second catalog.TrustedIssuer) bool {
	covers := func(list, part []string) bool { // an empty list accepts everything
		return len(list) == 0 ||
			len(part) > 0 && !slices.ContainsFunc(part, func(x string) bool { return !slices.Contains(list, x) })
	}
	return first.Issuer != "" && first.Issuer == second.Issuer &&
		bytes.Equal(first.HS256Secret, second.HS256Secret) &&
		first.JWKSURL == second.JWKSURL &&
		(first.JWKSURL == "" || covers(first.Algorithms, second.Algorithms)) &&
		(len(first.Audiences) == 0) == (len(second.Audiences) == 0) &&
		covers(first.Audiences, second.Audiences) &&
		covers(first.ClientIDs, second.ClientIDs)
}

// checkHosts reports hosts that belong to two resources, or to a resource and the issuer, which serves pages.
func (p *parser) checkHosts(issuer *url.URL, r Resource, index int, seen map[string]int) {
	issuerPort := issuer.Port()
	if issuerPort == "" {
		issuerPort = defaultPort(issuer.Scheme)
	}
	for i, host := range r.API.Hosts {
		key := fmt.Sprintf("resources[%d].hosts[%d]", index, i)
		name, port := splitHost(host)
		if name == issuer.Hostname() && (port == "" || port == issuerPort) && p.clean("issuer") {
			p.fault(key, "%s is the issuer's host; give the API its own name or port", input.Quote(host))
		}
		if first, twice := seen[host]; twice && first != index {
			p.fault(key, "%s is also a host of resources[%d]; give each resource its own", input.Quote(host), first)
		}
		seen[host] = index
	}
}

// deriveKeyPrefixes gives each resource without a key prefix the first of sk, sk2, sk3, … that no other resource has.
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

// checkKeyPrefixes reports key prefixes with which one credential could be mistaken for another.
func (p *parser) checkKeyPrefixes(c *Config) {
	type taken struct{ text, by string }
	all := []taken{{"dw_", "Doorward's own tokens"}, {"pat_", "personal access tokens"}}
	for i, r := range c.Resources {
		at := fmt.Sprintf("resources[%d]", i)
		key := at + ".keys.prefix"
		own := make([]taken, 0, 2)
		for _, kind := range r.Keys.Environments {
			text := r.Keys.Prefix + "_" + kind + "_"
			for _, other := range all {
				if strings.HasPrefix(text, other.text) || strings.HasPrefix(other.text, text) {
					p.fault(
						key,
						"gives keys that start with %s, but %s start with %s; use a different prefix",
						text,
						other.by,
						other.text,
					)
				}
			}
			own = append(own, taken{text, "the keys of " + at})
		}
		all = append(all, own...)
	}
}
