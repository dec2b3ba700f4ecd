package config

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"doorward/oauth/input"
	"doorward/web/gateway/route"
)

// risks are settings that work but that the operator may not have intended, in a sentence each.
type risks []string

func (r *risks) add(format string, args ...any) { *r = append(*r, fmt.Sprintf(format, args...)) }

// Check does what Load does and, if there are no faults, also returns the risks, in a sentence each.
func Check(path string, getenv func(string) string) (c Config, found []string, err error) {
	c, where, err := parse(path, nil, getenv)
	if err != nil {
		return c, nil, err
	}
	var r risks
	r.checkConfig(c)
	r.checkFiles(path, c)
	r.checkRoutes(c, where)
	return c, r, nil
}

// checkConfig reports the risks of a configuration without faults.
func (r *risks) checkConfig(c Config) {
	issuer, err := url.Parse(c.Issuer)
	if err != nil {
		return // the issuer already has a fault
	}
	public := slices.ContainsFunc(c.Listen, func(listen string) bool { return !IsLoopback(HostOf(listen)) })
	if issuer.Scheme == "http" {
		r.add(
			"issuer: is %s, which works only for browsers on this machine; before others use the server, "+
				"set it to the https URL of your proxy",
			c.Issuer,
		)
	}
	if public && issuer.Scheme == "http" {
		r.add(
			"listen: other machines can reach %s without TLS, so passwords and tokens could be intercepted; "+
				"listen on a loopback address, or terminate TLS at a proxy and set an https issuer",
			strings.Join(c.Listen, " "),
		)
	}
	if len(c.TrustedProxies) == 0 && issuer.Scheme == "https" {
		r.add(
			"trusted_proxies: is empty, so all users behind your proxy share its address and its limits, " +
				"and its X-Forwarded-Proto is ignored; set the proxy's address",
		)
	}
	if c.AdminListen != "" && !IsLoopback(HostOf(c.AdminListen)) {
		r.add(
			"admin_listen: other machines may reach %s; keep metrics and pprof on a loopback or private address",
			c.AdminListen,
		)
	}
	if c.Limits == "memory" && !strings.HasPrefix(c.DatabaseURL, "sqlite:") {
		r.add("limits: is memory; if several servers use this database, each allows a caller the whole limit, so set " +
			"database")
	}
	if dir, ok := strings.CutPrefix(c.Mail.URL, "dir:"); ok && issuer.Scheme == "https" {
		r.add("mail.url: emails are written to %s, with links to sign in and to reset passwords; use smtp or smtps, or let "+
			"only their sender read the folder", dir)
	}
	r.checkFetch(c.Fetch.Allow)
	r.checkSelfRegistration(c)
	if len(c.Secret) == 0 {
		r.add("secret: is empty, so it is stored in %s; back up that file", c.SecretFile())
	}
	if c.Lifetimes.Access > input.Day {
		r.add(
			"tokens.access_lifetime: a stolen access token works for %s; use a shorter lifetime, and let apps refresh",
			input.FormatDuration(c.Lifetimes.Access),
		)
	}
	if c.Lifetimes.RefreshReuseWindow > time.Minute {
		r.add(
			"tokens.refresh_reuse_window: a stolen refresh token is not detected for %s; use 10s",
			input.FormatDuration(c.Lifetimes.RefreshReuseWindow),
		)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Plans)) {
		if plan := c.Plans[name]; plan.Day > 0 && plan.Hour > plan.Day {
			r.add(
				"plans.%s: day is less than hour, so hour has no effect; set day to at least %d",
				name,
				plan.Hour,
			)
		}
	}
	r.checkTransport("database_url", c.DatabaseURL)
	r.checkTransport("database_migrate_url", c.DatabaseMigrateURL)
}

// risky are the ranges that a URL of a stranger should never reach, with what is there.
var risky = []struct {
	addresses netip.Prefix
	what      string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this machine itself"},
	{netip.MustParsePrefix("127.0.0.0/8"), "this machine itself"},
	{netip.MustParsePrefix("::/127"), "this machine itself"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local addresses, such as a cloud's service with credentials"},
	{netip.MustParsePrefix("fe80::/10"), "link-local addresses, such as a cloud's service with credentials"},
}

// checkFetch reports ranges with which apps can have the server call itself or its neighbours.
func (r *risks) checkFetch(allow []netip.Prefix) {
	for i, one := range allow {
		for _, other := range risky {
			if one.Overlaps(other.addresses) {
				r.add("fetch.allow[%d]: %s contains %s, which the URLs that apps register could then reach; "+
					"allow only the networks of their servers", i, one, other.what)
				break
			}
		}
	}
}

// checkFiles reports files with secrets that other users of this machine can read.
func (r *risks) checkFiles(configFile string, c Config) {
	files := map[string]string{c.SecretFile(): "the master secret"}
	if name, ok := strings.CutPrefix(c.DatabaseURL, "sqlite:"); ok {
		files[name] = "the database"
	}
	text, err := os.ReadFile(configFile) //nolint:gosec // the operator names the file
	if configFile != "" && err == nil {
		var root yaml.Node
		if yaml.Unmarshal(text, &root) == nil && holdsSecret(&root) {
			files[configFile] = "a secret"
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o077 != 0 {
			r.add(
				"%s: contains %s, and its mode %04o lets other users of this machine access it; run: chmod 600 %s",
				name,
				files[name],
				info.Mode().Perm(),
				name,
			)
		}
	}
}

// holdsSecret reports whether a part of the configuration contains a secret itself, not a reference to one.
func holdsSecret(n *yaml.Node) bool {
	if n.Kind != yaml.MappingNode {
		return slices.ContainsFunc(n.Content, holdsSecret)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		value := n.Content[i+1]
		found := false
		switch n.Content[i].Value {
		case "secret", "hs256_secret", "client_secret", "private_key":
			found = value.Kind == yaml.ScalarNode && inlineText(value) || slices.ContainsFunc(value.Content, inlineText)
		case "database_url", "database_migrate_url":
			u, err := url.Parse(value.Value)
			if err == nil && u.User != nil && inlineText(value) {
				_, found = u.User.Password()
			}
		case "mail":
			for j := 0; j+1 < len(value.Content); j += 2 {
				found = found || value.Content[j].Value == "url" && secretOfMail(value.Content[j+1])
			}
		}
		if found || holdsSecret(value) {
			return true
		}
	}
	return false
}

// inlineText reports whether a value is in the file itself, rather than a reference to a variable or file.
func inlineText(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value != "" && !strings.HasPrefix(n.Value, "env:") &&
		!strings.HasPrefix(n.Value, "file:")
}

// maxListedOverlaps bounds the risks about routes, because one of them often explains the others.
const maxListedOverlaps = 100

// checkRoutes reports routes whose requests an earlier route with weaker requirements matches, and routes whose path in
// another spelling a weaker route matches.
func (r *risks) checkRoutes(c Config, where func(key string) origin) {
	for i, resource := range c.Resources {
		at := fmt.Sprintf("resources[%d].routes", i)
		table := route.NewTable(resource.API.Routes, resource.Objects, resource.API.Loose)
		name := func(index int) string { return nameRoute(at, index, resource.API.Routes[index], where) }
		needs := func(index int) string { return needs(resource.API.Routes[index]) }
		overlaps := table.Overlaps(&resource.Resource, maxListedOverlaps)
		for _, one := range overlaps.Found {
			r.add(
				"resources[%d].%s: requires %s, but is shadowed: %s comes earlier, also matches %s, and requires %s; "+
					"if that is not intended, move the later route up, or narrow the earlier one",
				i, name(one.Stricter), needs(one.Stricter), name(one.Weaker), one.Example, needs(one.Weaker),
			)
		}
		switch {
		case overlaps.More:
			r.add(
				"%s: more than %d routes are shadowed by earlier, less strict routes; fix those above, then check again",
				at,
				maxListedOverlaps,
			)
		case overlaps.Compared < len(resource.API.Routes):
			r.add(
				"%s: only the first %d of %d routes were compared with earlier ones, because comparing all takes too long; "+
					"use fewer and more general routes, such as /v1/**, or check the rest yourself",
				at,
				overlaps.Compared,
				len(resource.API.Routes),
			)
		}
		spellings, more := table.OtherSpellings(&resource.Resource, maxListedOverlaps)
		for _, one := range spellings {
			r.add(
				"resources[%d].%s: requires %s, but %s matches %s, another spelling of its path, and requires %s; "+
					"if your API treats both as the same path, as Express, ASP.NET and others do, "+
					"set paths: loose for the resource",
				i, name(one.Stricter), needs(one.Stricter), name(one.Weaker), one.Example, needs(one.Weaker),
			)
		}
		if more {
			r.add(
				"%s: more than %d routes match other spellings of a stricter route's path; "+
					"if your API treats them as the same path, set paths: loose for the resource",
				at,
				maxListedOverlaps,
			)
		}
	}
}

// needs says in words what a request needs to pass a route.
func needs(r route.Route) string {
	if r.Public {
		return "nothing (public)"
	}
	if r.Refuse {
		return "refuse: true (no credential is accepted)"
	}
	words := "any credential"
	if len(r.Scopes) > 0 {
		words = strings.Join(r.Scopes, " and ")
	}
	if r.Credentials != nil {
		words += " with " + strings.Join(r.Credentials, " or ")
	}
	if r.Role != "" {
		words += ", role " + r.Role
	}
	return words
}

// checkTransport reports a PostgreSQL URL whose password and data could be read on the network.
func (r *risks) checkTransport(key, text string) {
	u, err := url.Parse(text)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
		return
	}
	host := u.Hostname()
	if h := u.Query().Get("host"); h != "" {
		host = h
	}
	if IsLoopback(host) || strings.HasPrefix(host, "/") {
		return
	}
	if mode := u.Query().Get("sslmode"); mode != "verify-full" && mode != "verify-ca" {
		r.add(
			"%s: sslmode %s does not verify that %s is the database; add sslmode=verify-full unless the network is private",
			key,
			quoteOr(mode, "prefer"),
			host,
		)
	}
}

func quoteOr(text, otherwise string) string {
	if text == "" {
		text = otherwise
	}
	return input.Quote(text)
}
