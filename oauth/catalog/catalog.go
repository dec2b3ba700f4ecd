// Package catalog holds what clients can request, as configured: resources with their scopes, roles, and plans. It does
// not know stored clients and credentials.
package catalog

import (
	"errors"
	"maps"
	"slices"

	"doorward/oauth/limit"
)

// Config holds what a Catalog needs.
type Config struct {
	Resources []Resource            // at least one; the first is the default
	Plans     map[string]limit.Plan // by name
}

// Catalog holds the configured resources and plans. It does not change, and its methods are safe for concurrent use.
type Catalog struct {
	resources []Resource
	plans     map[string]limit.Plan
}

// New returns a Catalog. It fails without a resource.
func New(c Config) (*Catalog, error) {
	if len(c.Resources) == 0 {
		return nil, errors.New("no resource configured")
	}
	return &Catalog{resources: slices.Clone(c.Resources), plans: c.Plans}, nil
}

// Resources lists the configured resources; the first is the default.
func (c *Catalog) Resources() []Resource { return c.resources }

// Resource finds a configured resource by its id, in any spelling that SameResource finds equal. Its ID is the
// configured spelling, the one to store and to show.
func (c *Catalog) Resource(id string) (*Resource, bool) {
	for i := range c.resources { // stored ids have the configured spelling
		if c.resources[i].ID == id {
			return &c.resources[i], true
		}
	}
	for i := range c.resources {
		if SameResource(c.resources[i].ID, id) {
			return &c.resources[i], true
		}
	}
	return nil, false
}

// IssuesJWTs reports whether access tokens for any resource are JWTs.
func (c *Catalog) IssuesJWTs() bool {
	return slices.ContainsFunc(c.resources, func(r Resource) bool { return r.JWT })
}

// Plan finds a configured plan.
func (c *Catalog) Plan(name string) (limit.Plan, bool) {
	p, ok := c.plans[name]
	return p, ok
}

// PlanNames lists the names of the configured plans, sorted.
func (c *Catalog) PlanNames() []string { return slices.Sorted(maps.Keys(c.plans)) }

// PlanOf returns the first of these plans that exists, with its name. If none does, it returns the zero plan, which has
// no limits.
func (c *Catalog) PlanOf(names ...string) (string, limit.Plan) {
	for _, name := range names {
		if p, ok := c.plans[name]; ok {
			return name, p
		}
	}
	return "", limit.Plan{}
}

// OpenResources lists the resources that clients may use that registered themselves. The first is their default.
func (c *Catalog) OpenResources() []*Resource {
	var open []*Resource
	for i := range c.resources {
		if len(c.resources[i].OpenScopes) > 0 {
			open = append(open, &c.resources[i])
		}
	}
	return open
}
