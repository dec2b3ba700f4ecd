package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"doorward/oauth/catalog"
	"doorward/oauth/seal"
	"doorward/storage"
)

type checkCommand struct{ output }

// report is what check found. Faults keep the server from working as configured; risks are what it works with, and
// what an operator may not have meant.
type report struct {
	Faults []string `json:"faults"`
	Risks  []string `json:"risks"`
}

func (r *report) fault(format string, args ...any) {
	r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
}

func (r *report) risk(format string, args ...any) {
	r.Risks = append(r.Risks, fmt.Sprintf(format, args...))
}

// Run reports every fault and risk, and fails on a fault.
func (o checkCommand) Run(ctx context.Context, a *app) error {
	r := &report{Faults: []string{}, Risks: []string{}}
	c, where, err := parseConfig(a.configFile, nil, a.getenv)
	var wrong faults
	switch {
	case errors.As(err, &wrong):
		for _, one := range wrong {
			r.fault("%s", one)
		}
	case err != nil:
		return err
	default:
		r.checkConfig(c)
		r.checkFiles(a.configFile, c)
		r.checkRoutes(c, where)
		r.checkSpellings(c, where)
		r.checkDatabase(storage.System(ctx), c)
	}
	err = o.print(a, r, func(w io.Writer) {
		for _, one := range r.Faults {
			_, _ = fmt.Fprintln(w, "fault:", one)
		}
		for _, one := range r.Risks {
			_, _ = fmt.Fprintln(w, "risk:", one)
		}
		if len(r.Faults)+len(r.Risks) == 0 {
			_, _ = fmt.Fprintln(w, "No faults, no risks.")
		}
	})
	if err == nil && len(r.Faults) > 0 {
		err = fmt.Errorf("check: %d faults, %d risks", len(r.Faults), len(r.Risks))
	}
	return err
}

// checkConfig reports the risks of a configuration without faults.
func (r *report) checkConfig(c Config) {
	issuer, err := url.Parse(c.Issuer)
	if err != nil {
		r.fault("issuer: %v", err)
		return
	}
	public := slices.ContainsFunc(c.Listen, func(listen string) bool { return !isLoopback(hostOf(listen)) })
	if issuer.Scheme == "http" {
		r.risk("issuer: is %s, plain http for browsers on this machine only; write the https URL of your proxy before others use it", c.Issuer)
	}
	if public && issuer.Scheme == "http" {
		r.risk("listen: others reach %s without TLS, and could read passwords and tokens on the way; listen on a loopback address, or let a proxy end TLS and write an https issuer", strings.Join(c.Listen, " "))
	}
	if len(c.TrustedProxies) == 0 && issuer.Scheme == "https" {
		r.risk("trusted_proxies: is empty, so all users behind your proxy share one address and its limits, and what the proxy says about TLS does not count; write the proxy's address")
	}
	if c.AdminListen != "" && !isLoopback(hostOf(c.AdminListen)) {
		r.risk("admin_listen: %s may be reached from other machines; keep metrics and pprof on a loopback or private address", c.AdminListen)
	}
	if len(c.Secret) == 0 {
		r.risk("secret: is empty, so it is kept in %s; back that file up with the database", c.secretFile())
	}
	if c.Tokens.Access > day {
		r.risk("tokens.access_lifetime: a stolen access token works for %s; write a shorter one and let apps refresh", formatDuration(c.Tokens.Access))
	}
	if c.Tokens.RefreshReuseWindow > time.Minute {
		r.risk("tokens.refresh_reuse_window: a stolen refresh token goes unnoticed for %s; write 10s", formatDuration(c.Tokens.RefreshReuseWindow))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Plans)) {
		if plan := c.Plans[name]; plan.Day > 0 && plan.Hour > plan.Day {
			r.risk("plans.%s: day is less than hour, which then never counts; write a day of at least %d", name, plan.Hour)
		}
	}
	r.checkTransport("database_url", c.DatabaseURL)
	r.checkTransport("database_migrate_url", c.DatabaseMigrateURL)
}

// checkFiles reports files with secrets that other users of this machine can read.
func (r *report) checkFiles(configFile string, c Config) {
	files := map[string]string{c.secretFile(): "the master secret"}
	if name, ok := strings.CutPrefix(c.DatabaseURL, "sqlite:"); ok {
		files[name] = "the database"
	}
	if text, err := os.ReadFile(configFile); configFile != "" && err == nil { //nolint:gosec // the operator names the file
		var root yaml.Node
		if yaml.Unmarshal(text, &root) == nil && holdsSecret(&root) {
			files[configFile] = "a secret"
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o077 != 0 {
			r.risk("%s: contains %s, and its mode %04o lets other users of this machine at it; run: chmod 600 %s", name, files[name], info.Mode().Perm(), name)
		}
	}
}

// holdsSecret reports whether a part of the configuration contains a secret itself, not the name of where it is.
func holdsSecret(n *yaml.Node) bool {
	if n.Kind != yaml.MappingNode {
		return slices.ContainsFunc(n.Content, holdsSecret)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		value := n.Content[i+1]
		found := false
		switch n.Content[i].Value {
		case "secret", "hs256_secret":
			found = value.Kind == yaml.ScalarNode && inlineText(value) || slices.ContainsFunc(value.Content, inlineText)
		case "database_url", "database_migrate_url":
			u, err := url.Parse(value.Value)
			if err == nil && u.User != nil && inlineText(value) {
				_, found = u.User.Password()
			}
		}
		if found || holdsSecret(value) {
			return true
		}
	}
	return false
}

// inlineText reports whether a value is written in the file, rather than the name of a variable or file that has it.
func inlineText(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value != "" && !strings.HasPrefix(n.Value, "env:") && !strings.HasPrefix(n.Value, "file:")
}

// mostShadows bounds the risks that routes give, of which one often explains the others.
const mostShadows = 100

// checkRoutes reports routes that an earlier one with fewer needs takes requests from.
func (r *report) checkRoutes(c Config, where func(key string) origin) {
	for i, resource := range c.Resources {
		at := fmt.Sprintf("resources[%d].routes", i)
		found, more := partlyShadowed(resource, mostShadows)
		for _, one := range found {
			later, earlier := resource.Routes[one.later], resource.Routes[one.earlier]
			r.risk("resources[%d].%s: asks for %s, but %s before it asks for %s and takes %s; if that is not meant, move the later route up, or narrow the earlier",
				i, nameRoute(at, one.later, later, where), asks(later), nameRoute(at, one.earlier, earlier, where), asks(earlier), one.example)
		}
		if more {
			r.risk("%s: more than %d routes lose requests to earlier ones that ask for less; mend those above, then check again", at, mostShadows)
		}
	}
}

// checkSpellings reports routes whose path, in another spelling, another route lets somebody through to whom they refuse.
func (r *report) checkSpellings(c Config, where func(key string) origin) {
	for i, resource := range c.Resources {
		at := fmt.Sprintf("resources[%d].routes", i)
		found, more := otherSpellings(resource, mostShadows)
		for _, one := range found {
			strict, general := resource.Routes[one.later], resource.Routes[one.earlier]
			r.risk("resources[%d].%s: asks for %s, but %s takes %s, another spelling of its path, and asks for %s; if your API takes both for the same path, as Express, ASP.NET and others do, write paths: loose for the resource",
				i, nameRoute(at, one.later, strict, where), asks(strict), nameRoute(at, one.earlier, general, where), one.example, asks(general))
		}
		if more {
			r.risk("%s: more than %d routes let other spellings of a stricter one through; write paths: loose for the resource if your API does not tell them apart", at, mostShadows)
		}
	}
}

// asks is what a route asks of a credential, in words.
func asks(r Route) string {
	if r.Public {
		return "nothing (public)"
	}
	if r.Refuse {
		return "what no credential has (refuse)"
	}
	words := "any credential"
	if len(r.Scopes) > 0 {
		words = strings.Join(r.Scopes, " and ")
	}
	if r.Credentials != nil {
		words += " of a " + strings.Join(r.Credentials, " or ")
	}
	if r.Role != "" {
		words += ", role " + r.Role
	}
	return words
}

// checkTransport reports a PostgreSQL login whose password and data others on the network could read.
func (r *report) checkTransport(key, text string) {
	u, err := url.Parse(text)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
		return
	}
	host := u.Hostname()
	if h := u.Query().Get("host"); h != "" {
		host = h
	}
	if isLoopback(host) || strings.HasPrefix(host, "/") {
		return
	}
	if mode := u.Query().Get("sslmode"); mode != "verify-full" && mode != "verify-ca" {
		r.risk("%s: sslmode %s does not make sure that %s is the database; add sslmode=verify-full where the network is not yours alone", key, quoteOr(mode, "prefer"), host)
	}
}

func quoteOr(text, otherwise string) string {
	if text == "" {
		text = otherwise
	}
	return quote(text)
}

// checkDatabase looks into the database. One that does not exist yet is not made.
func (r *report) checkDatabase(ctx context.Context, c Config) {
	if name := c.missingDatabase(); name != "" {
		r.risk("database_url: %s does not exist yet; serve makes it", name)
		return
	}
	store, err := storage.Open(ctx, c.DatabaseURL, storage.Options{LookOnly: true, MaxConns: commandConns})
	if err != nil {
		r.fault("database_url: %v", err)
		return
	}
	defer store.Close()
	switch err := store.Ping(ctx); {
	case errors.Is(err, storage.ErrOldSchema):
		r.risk("database_url: migrations are pending, which serve applies; doorward migrate status lists them")
		return
	case err != nil:
		r.fault("database_url: %v", err)
		return
	}
	r.checkSecret(ctx, c, store)
	r.checkClients(ctx, c, store)
	r.checkKeys(ctx, c, store)
	r.checkWorkspaces(ctx, c, store)
	r.checkAdministrators(ctx, store)
	leaks, err := store.Leaks(ctx)
	if err != nil {
		r.fault("database_url: %v", err)
	}
	for _, leak := range leaks {
		r.fault("database_url: workspaces are not kept apart: %s; let the migrations be applied anew, or restore the policies that they make", leak)
	}
}

// checkSecret compares the master secret with the fingerprint in the database.
func (r *report) checkSecret(ctx context.Context, c Config, store *storage.Store) {
	empty, err := store.Empty(ctx)
	if err != nil {
		r.fault("database_url: %v", err)
		return
	}
	if len(c.Secret) == 0 && empty {
		if _, err := os.Stat(c.secretFile()); errors.Is(err, fs.ErrNotExist) {
			return // serve makes it
		}
	}
	masters, err := loadSecret(c, false) // false: nothing is made
	if err != nil {
		r.fault("secret: %v", err)
		return
	}
	secrets, err := seal.New(masters)
	if err == nil {
		err = secrets.CheckBinding(ctx, store)
	}
	if err != nil {
		r.fault("secret: %v", err)
	}
}

// checkAdministrators reports a server that nobody administers.
func (r *report) checkAdministrators(ctx context.Context, store *storage.Store) {
	users, err := store.CountUsers(ctx)
	var administrators int64
	if err == nil {
		administrators, err = store.CountAdministrators(ctx)
	}
	switch {
	case err != nil:
		r.fault("database_url: %v", err)
	case users == 0:
		r.risk("nobody can sign in yet; make the first administrator with the link of: doorward setup-link")
	case administrators == 0:
		r.risk("nobody who may sign in is an administrator; make one with: doorward user create --admin --email ADDRESS --password-stdin")
	}
}

// checkClients reports apps with less protection than others, and those that the configuration has left behind.
func (r *report) checkClients(ctx context.Context, c Config, store *storage.Store) {
	known := c.resourcesByID()
	for after := ""; ; {
		page, err := store.Clients(ctx, "", after, pageSize)
		if err != nil {
			r.fault("database_url: %v", err)
			return
		}
		for _, client := range page {
			r.checkClient(client, known)
			after = client.ID
		}
		if len(page) < pageSize {
			return
		}
	}
}

// resourcesByID are the configured resources as the protocol sees them.
func (c Config) resourcesByID() map[string]*catalog.Resource {
	known := map[string]*catalog.Resource{}
	for _, resource := range c.oauthResources() {
		known[catalog.CanonicalResource(resource.ID)] = &resource
	}
	return known
}

func (r *report) checkClient(c storage.Client, known map[string]*catalog.Resource) {
	if !c.DisabledAt.IsZero() {
		return
	}
	name := fmt.Sprintf("app %s (%s)", c.ID, c.Name)
	if c.PKCEOptional {
		r.risk("%s: works without PKCE, so a stolen authorization code can be used; when the app sends a code_challenge, run: doorward client update %s --pkce required", name, c.ID)
	}
	if c.FirstParty && c.Public && slices.ContainsFunc(c.RedirectURIs, func(uri string) bool { return !strings.HasPrefix(uri, "https://") }) {
		r.risk("%s: is first-party and public with a redirect URI that any program on a device can take, so people are asked for consent all the same", name)
	}
	var resources []*catalog.Resource
	for _, id := range c.Resources {
		resource, ok := known[catalog.CanonicalResource(id)]
		if !ok {
			r.risk("%s: is registered for the resource %s, which is not configured, and gets no tokens for it; add the resource, or run: doorward client update %s --resource ID", name, quote(id), c.ID)
			continue
		}
		resources = append(resources, resource)
	}
	for _, scope := range c.Scopes {
		if len(resources) > 0 && !slices.ContainsFunc(resources, func(r *catalog.Resource) bool { _, ok := r.Scope(scope); return ok }) {
			r.risk("%s: is registered for the scope %s, which none of its resources has; run: doorward client update %s --scope \"A B\"", name, quote(scope), c.ID)
		}
	}
}

// losses counts what the configuration has left behind, of which there may be very many, by what is to be said about it.
type losses map[loss]tally

// loss is one thing that the configuration has no more.
type loss struct{ about, advice string }

// tally is how many are concerned, and one of them.
type tally struct {
	count int
	first string
}

func (l losses) note(about, advice, first string) {
	t := l[loss{about, advice}]
	if t.count == 0 {
		t.first = first
	}
	t.count++
	l[loss{about, advice}] = t
}

// report makes a risk of each.
func (l losses) report(r *report) {
	for _, one := range slices.SortedFunc(maps.Keys(l), func(a, b loss) int { return strings.Compare(a.about, b.about) }) {
		r.risk("%s: %d, the first is %s; %s", one.about, l[one].count, l[one].first, one.advice)
	}
}

// checkKeys reports API keys and personal access tokens that the configuration has left behind.
func (r *report) checkKeys(ctx context.Context, c Config, store *storage.Store) {
	known, lost := c.resourcesByID(), losses{}
	for after := ""; ; {
		page, err := store.LiveKeys(ctx, after, pageSize)
		if err != nil {
			r.fault("database_url: %v", err)
			return
		}
		for _, k := range page {
			checkKey(k, c, known[catalog.CanonicalResource(k.Resource)], lost)
			after = k.ID
		}
		if len(page) < pageSize {
			break
		}
	}
	lost.report(r)
}

// checkKey notes what one key has lost; resource is nil where it is not configured.
func checkKey(k storage.APIKey, c Config, resource *catalog.Resource, lost losses) {
	kind, revoke := "API keys", "run: doorward key revoke ID"
	narrow := `run: doorward key update ID --scope "A B"`
	if k.Kind == storage.KindPersonalAccessToken {
		kind, revoke = "personal access tokens", "run: doorward token revoke ID"
		narrow = revoke
	}
	if resource == nil {
		lost.note(fmt.Sprintf("%s for the resource %s, which is not configured, are worth nothing", kind, quote(k.Resource)), "add the resource, or "+revoke, k.ID)
		return
	}
	for _, scope := range k.Scopes {
		if _, ok := resource.Scope(scope); !ok && scope != catalog.ScopeIntrospect {
			lost.note(fmt.Sprintf("%s with the scope %s, which %s does not have, may do less than they say", kind, quote(scope), resource.ID), "add the scope, or "+narrow, k.ID)
		}
	}
	if _, ok := c.Plans[k.Plan]; k.Plan != "" && !ok {
		lost.note(fmt.Sprintf("%s with the plan %s, which is not configured, have that of their workspace, or the default", kind, quote(k.Plan)), "add the plan", k.ID)
	}
}

// checkWorkspaces reports workspaces with a plan that the configuration has no more.
func (r *report) checkWorkspaces(ctx context.Context, c Config, store *storage.Store) {
	lost := losses{}
	for after := ""; ; {
		page, err := store.Workspaces(ctx, after, pageSize)
		if err != nil {
			r.fault("database_url: %v", err)
			return
		}
		for _, w := range page {
			if _, ok := c.Plans[w.Plan]; w.Plan != "" && !ok {
				lost.note(fmt.Sprintf("workspaces with the plan %s, which is not configured, have the default of each resource", quote(w.Plan)),
					"add the plan, or run: doorward workspace update SLUG --plan PLAN", w.Slug)
			}
			after = w.ID
		}
		if len(page) < pageSize {
			break
		}
	}
	lost.report(r)
}
