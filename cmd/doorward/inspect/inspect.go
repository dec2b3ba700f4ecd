// Package inspect compares a database with a configuration and reports errors and risks, for doorward check. It changes
// nothing.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"doorward/config"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/oauth/seal"
	"doorward/storage"
)

// pageSize is how many rows are read at a time.
const pageSize = 500

// Report lists faults, which keep the server from working as configured, risks, with which it works but which the
// operator may not have intended, and notes on what users cannot do.
type Report struct {
	Faults []string `json:"faults"`
	Risks  []string `json:"risks"`
	Notes  []string `json:"notes"`
}

// Fault adds a fault. Its arguments are those of fmt.Sprintf.
func (r *Report) Fault(format string, args ...any) {
	r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
}

func (r *Report) risk(format string, args ...any) {
	r.Risks = append(r.Risks, fmt.Sprintf(format, args...))
}

// CheckDatabase reports records in the database that do not fit the configuration. It does not create a missing
// database. On PostgreSQL it opens at most conns connections.
func (r *Report) CheckDatabase(ctx context.Context, c config.Config, conns int) {
	if name := c.MissingDatabase(); name != "" {
		r.risk("database_url: %s does not exist yet; serve creates it", name)
		return
	}
	store, err := storage.Open(ctx, c.DatabaseURL, storage.Options{NoSetup: true, MaxConns: conns})
	if err != nil {
		r.Fault("database_url: %v", err)
		return
	}
	defer store.Close()
	switch err := store.Ping(ctx); {
	case errors.Is(err, storage.ErrOldSchema):
		r.risk("database_url: migrations are pending; serve applies them; to list them, run: doorward migrate status")
		return
	case err != nil:
		r.Fault("database_url: %v", err)
		return
	}
	r.checkSecret(ctx, c, store)
	r.checkClients(ctx, c, store)
	r.checkKeys(ctx, c, store)
	r.checkWorkspaces(ctx, c, store)
	r.checkAdministrators(ctx, store)
	leaks, err := store.CheckIsolation(ctx)
	if err != nil {
		r.Fault("database_url: %v", err)
	}
	for _, leak := range leaks {
		r.Fault(
			"database_url: workspaces are not isolated from each other: %s; apply the migrations again, "+
				"or restore the policies that they create",
			leak,
		)
	}
}

// checkSecret compares the master secret with the fingerprint in the database.
func (r *Report) checkSecret(ctx context.Context, c config.Config, store *storage.Store) {
	empty, err := store.Empty(ctx)
	if err != nil {
		r.Fault("database_url: %v", err)
		return
	}
	if len(c.Secret) == 0 && empty {
		if _, err := os.Stat(c.SecretFile()); errors.Is(err, fs.ErrNotExist) {
			return // serve generates it
		}
	}
	masters, err := config.MasterSecrets(c, false) // false: do not generate one
	if err != nil {
		r.Fault("secret: %v", err)
		return
	}
	secrets, err := seal.New(masters)
	if err == nil {
		err = secrets.CheckBinding(ctx, store)
	}
	if err != nil {
		r.Fault("secret: %v", err)
	}
}

// checkAdministrators reports a server without an administrator.
func (r *Report) checkAdministrators(ctx context.Context, store *storage.Store) {
	users, err := store.CountUsers(ctx)
	var administrators int64
	if err == nil {
		administrators, err = store.CountAdministrators(ctx)
	}
	switch {
	case err != nil:
		r.Fault("database_url: %v", err)
	case users == 0:
		r.risk("no accounts exist yet; to get the link that creates the first administrator, run: doorward setup-link")
	case administrators == 0:
		r.risk(
			"no enabled user is an administrator; to create one, run: " +
				"doorward user create --admin --email ADDRESS --password-stdin",
		)
	}
}

// checkClients reports apps with less protection than usual, and apps that do not fit the configuration.
func (r *Report) checkClients(ctx context.Context, c config.Config, store *storage.Store) {
	known := resourcesByID(c)
	for after := ""; ; {
		page, err := store.Clients(ctx, "", after, pageSize)
		if err != nil {
			r.Fault("database_url: %v", err)
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

// resourcesByID returns the configured resources by canonical ID.
func resourcesByID(c config.Config) map[string]*catalog.Resource {
	known := map[string]*catalog.Resource{}
	for _, resource := range c.Catalogue() {
		known[catalog.CanonicalResource(resource.ID)] = &resource
	}
	return known
}

func (r *Report) checkClient(c storage.Client, known map[string]*catalog.Resource) {
	if !c.DisabledAt.IsZero() {
		return
	}
	name := fmt.Sprintf("app %s (%s)", c.ID, c.Name)
	if c.PKCEOptional {
		r.risk(
			"%s: works without PKCE, so a stolen authorization code can be used; once the app sends a code_challenge, "+
				"run: doorward client update %s --pkce required",
			name,
			c.ID,
		)
	}
	if c.FirstParty && c.Public &&
		slices.ContainsFunc(c.RedirectURIs, func(uri string) bool { return !strings.HasPrefix(uri, "https://") }) {
		r.risk(
			"%s: is first-party and public, with a redirect URI that any program on a device can claim, "+
				"so users are asked for consent nevertheless",
			name,
		)
	}
	var resources []*catalog.Resource
	for _, id := range c.Resources {
		resource, ok := known[catalog.CanonicalResource(id)]
		if !ok {
			r.risk(
				"%s: is registered for the resource %s, which is not configured, and gets no tokens for it; "+
					"add the resource, or run: doorward client update %s --resource ID",
				name,
				input.Quote(id),
				c.ID,
			)
			continue
		}
		resources = append(resources, resource)
	}
	for _, scope := range c.Scopes {
		if len(resources) > 0 &&
			!slices.ContainsFunc(resources, func(r *catalog.Resource) bool { _, ok := r.Scope(scope); return ok }) {
			r.risk(
				"%s: is registered for the scope %s, which none of its resources has; "+
					"run: doorward client update %s --scope \"A B\"",
				name,
				input.Quote(scope),
				c.ID,
			)
		}
	}
}

// orphans counts records that refer to something that is not in the configuration. There may be very many, so they are
// grouped by the sentence that the report says about them.
type orphans map[orphan]count

// orphan is a group of such records.
type orphan struct{ about, advice string }

// count is the number of records in a group, and the ID of the first.
type count struct {
	records int
	first   string
}

func (o orphans) add(about, advice, first string) {
	c := o[orphan{about, advice}]
	if c.records == 0 {
		c.first = first
	}
	c.records++
	o[orphan{about, advice}] = c
}

// report adds each group to the report as a risk.
func (o orphans) report(r *Report) {
	byText := func(a, b orphan) int { return strings.Compare(a.about, b.about) }
	for _, one := range slices.SortedFunc(maps.Keys(o), byText) {
		r.risk("%s: %d, the first is %s; %s", one.about, o[one].records, o[one].first, one.advice)
	}
}

// checkKeys reports API keys and personal access tokens that do not fit the configuration.
func (r *Report) checkKeys(ctx context.Context, c config.Config, store *storage.Store) {
	known, found := resourcesByID(c), orphans{}
	for after := ""; ; {
		page, err := store.LiveKeys(ctx, after, pageSize)
		if err != nil {
			r.Fault("database_url: %v", err)
			return
		}
		for _, k := range page {
			checkKey(k, c, known[catalog.CanonicalResource(k.Resource)], found)
			after = k.ID
		}
		if len(page) < pageSize {
			break
		}
	}
	found.report(r)
}

// checkKey adds to found the things that a key refers to and that are not configured. resource is nil if it is not
// configured.
func checkKey(k storage.APIKey, c config.Config, resource *catalog.Resource, found orphans) {
	kind, revoke := "API keys", "run: doorward key revoke ID"
	narrow := `run: doorward key update ID --scope "A B"`
	if k.Kind == storage.KindPersonalAccessToken {
		kind, revoke = "personal access tokens", "run: doorward token revoke ID"
		narrow = revoke
	}
	if resource == nil {
		found.add(
			fmt.Sprintf(
				"%s for the resource %s, which is not configured, do not work",
				kind,
				input.Quote(k.Resource),
			),
			"add the resource, or "+revoke,
			k.ID,
		)
		return
	}
	for _, scope := range k.Scopes {
		if _, ok := resource.Scope(scope); !ok && scope != catalog.ScopeIntrospect {
			found.add(
				fmt.Sprintf(
					"%s have the scope %s, which %s does not define; the scope has no effect",
					kind,
					input.Quote(scope),
					resource.ID,
				),
				"add the scope, or "+narrow,
				k.ID,
			)
		}
	}
	if _, ok := c.Plans[k.Plan]; k.Plan != "" && !ok {
		found.add(
			fmt.Sprintf(
				"%s with the plan %s, which is not configured, use their workspace's plan, or the default",
				kind,
				input.Quote(k.Plan),
			),
			"add the plan",
			k.ID,
		)
	}
}

// checkWorkspaces reports workspaces with a plan that is not configured.
func (r *Report) checkWorkspaces(ctx context.Context, c config.Config, store *storage.Store) {
	found := orphans{}
	for after := ""; ; {
		page, err := store.Workspaces(ctx, after, pageSize)
		if err != nil {
			r.Fault("database_url: %v", err)
			return
		}
		for _, w := range page {
			if _, ok := c.Plans[w.Plan]; w.Plan != "" && !ok {
				found.add(
					fmt.Sprintf(
						"workspaces with the plan %s, which is not configured, fall back to each resource's default plan",
						input.Quote(w.Plan),
					),
					"add the plan, or run: doorward workspace update SLUG --plan PLAN",
					w.Slug,
				)
			}
			after = w.ID
		}
		if len(page) < pageSize {
			break
		}
	}
	found.report(r)
}
