package apikey

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"doorward/locale"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/storage"
)

// Spec holds the choices for an API key or a personal access token.
type Spec struct {
	Name        string
	Note        string
	Resource    string // empty: the first configured
	Environment string // of an API key; empty: live, or else the first that the resource has
	Scopes      []string
	ByObject    bool         // the scopes were given as an object of lists
	Role        string       // of a personal access token: the highest role that it may act with; empty: its user's
	Plan        string       // of an API key; empty: the workspace's
	RateLimit   int64        // requests an hour in place of the plan's; zero: the plan's
	ExpiresAt   storage.Time // zero: never
	Addresses   []string     // allowed IP addresses or ranges; empty: any
}

const (
	maxKeyName   = 100
	maxKeyNote   = 1000
	maxAddresses = 50
	maxRateLimit = 1_000_000_000
)

// Check completes the spec of a new key and returns its resource. It returns every fault of the spec, as joined
// *input.Invalid errors. personal says that the key is a personal access token.
func (k *Keys) Check(p *Spec, personal bool) (*catalog.Resource, error) {
	return k.check(p, personal, nil)
}

// check is Check with a resource that replaces the configured one, unless it is nil.
func (k *Keys) check(p *Spec, personal bool, r *catalog.Resource) (*catalog.Resource, error) {
	var all input.Faults
	var why locale.Text
	if p.Name, why = input.Line(p.Name, maxKeyName); !why.IsZero() {
		all = append(all, &input.Invalid{Field: "name", Message: why})
	} else if p.Name == "" {
		all.Add("name", "is missing; name the program that uses the key")
	}
	if p.Note, why = input.Lines(p.Note, maxKeyNote); !why.IsZero() {
		all = append(all, &input.Invalid{Field: "note", Message: why})
	}
	if p.Resource == "" {
		p.Resource = k.catalog.Resources()[0].ID
	}
	if r == nil {
		var known bool
		if r, known = k.catalog.Resource(p.Resource); !known {
			all.Add(
				"resource", "%s is not in the configuration; use the ID of a resource in it",
				strconv.Quote(input.Shorten(p.Resource)),
			)
			return nil, errors.Join(all...)
		}
		p.Resource = r.ID
	}
	checkKeyScopes(p, r, personal, &all)
	if personal {
		if p.Role != "" && !slices.Contains(catalog.Roles, p.Role) {
			all.Add(
				"role", "%s is not a role; use %s", strconv.Quote(input.Shorten(p.Role)), strings.Join(catalog.Roles, ", "),
			)
		}
		p.Environment = ""
	} else {
		checkEnvironment(p, r, &all)
	}
	now := k.store.Now()
	switch longest := r.Keys.MaxLifetime; {
	case !p.ExpiresAt.IsZero() && p.ExpiresAt <= now:
		all.Add("expires", "is in the past; choose a later time")
	case longest > 0 && (p.ExpiresAt.IsZero() || p.ExpiresAt > now.Add(longest)):
		all.Add("expires", "must be within %s; choose an earlier time", locale.Span(longest))
	}
	p.Addresses = checkAddresses(p.Addresses, &all)
	return r, errors.Join(all...)
}

func checkEnvironment(p *Spec, r *catalog.Resource, all *input.Faults) {
	has := r.Keys.Environments
	if p.Environment == "" && len(has) > 0 {
		p.Environment = has[0]
		if slices.Contains(has, Live) {
			p.Environment = Live
		}
	}
	switch {
	case len(has) == 0:
		all.Add(
			"resource", "%s does not accept API keys; use an app or a personal access token",
			strconv.Quote(input.Shorten(p.Resource)),
		)
	case !slices.Contains(has, p.Environment):
		all.Add(
			"environment", "%s is unknown; choose %s", strconv.Quote(input.Shorten(p.Environment)), input.Either(has),
		)
	}
}

func checkKeyScopes(p *Spec, r *catalog.Resource, personal bool, all *input.Faults) {
	if len(p.Scopes) == 0 {
		all.Add("scope", "is missing; choose at least one")
	}
	if len(p.Scopes) > catalog.MaxScopes {
		all.Add("scope", "Choose at most %d permissions", catalog.MaxScopes)
		return
	}
	for i, name := range p.Scopes {
		if name == catalog.ScopeIntrospect && !personal {
			if len(p.Scopes) > 1 {
				all.Add(
					"scope", "%s cannot be combined with other scopes; create a separate key for introspection",
					catalog.ScopeIntrospect,
				)
			}
			continue
		}
		if _, ok := r.Scope(name); !ok {
			all.Add(
				"scope", "%s is not a scope of %s; use one of %s", strconv.Quote(input.Shorten(name)), r.Name,
				strings.Join(r.ScopeNames(), ", "),
			)
		} else if slices.Contains(p.Scopes[:i], name) {
			all.Add("scope", "%s appears twice; send it once", strconv.Quote(name))
		}
	}
}

// CheckUserOnly refuses user-only scopes, which would never count for an API key.
func CheckUserOnly(r *catalog.Resource, scopes []string) error {
	var all input.Faults
	for _, name := range scopes {
		if x, ok := r.Scope(name); ok && x.UserOnly {
			all.Add(
				"scope",
				"%s is available only to users, not to API keys; leave it out, or create a personal access token",
				strconv.Quote(name),
			)
		}
	}
	return errors.Join(all...)
}

// checkAddresses returns addresses and ranges in the form in which they are stored.
func checkAddresses(list []string, all *input.Faults) []string {
	if len(list) > maxAddresses {
		all.Add("addresses", "Enter at most %d allowed IP addresses", maxAddresses)
		return nil
	}
	var out []string
	for _, text := range list {
		prefix, err := netip.ParsePrefix(text)
		if a, errAddress := netip.ParseAddr(text); errAddress == nil && a.Zone() == "" {
			a = a.Unmap()
			prefix, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		switch {
		case err != nil, prefix.Addr().Is4In6(): // the addresses of requests are not mapped
			all.Add(
				"addresses", "%s is not an address or range; use one such as 192.0.2.7 or 192.0.2.0/24",
				strconv.Quote(input.Shorten(text)),
			)
		case prefix.Masked() != prefix:
			all.Add(
				"addresses", "%s has host bits set; use %s for the range, or %s for one address",
				strconv.Quote(input.Shorten(text)), prefix.Masked().String(), prefix.Addr().String(),
			)
		case !slices.Contains(out, prefix.String()):
			out = append(out, prefix.String())
		}
	}
	return out
}

// CheckPlan refuses the plan or rate limit of a key if it allows more than its workspace's plan. With anyPlan, any
// configured plan is allowed.
func (k *Keys) CheckPlan(anyPlan bool, r *catalog.Resource, p *Spec, workspacePlan string) error {
	var all input.Faults
	if p.RateLimit < 0 || p.RateLimit > maxRateLimit {
		// Without separators, as the field must be written.
		all.Add("rate limit", "must be between 0 and %s requests per hour", strconv.Itoa(maxRateLimit))
	}
	own, known := k.catalog.Plan(p.Plan)
	if p.Plan != "" && !known {
		all.Add(
			"plan", "%s is not in the configuration; use a plan that is, or leave it out",
			strconv.Quote(input.Shorten(p.Plan)),
		)
	}
	// The plan that the key would have without its own.
	_, most := k.Plan(&storage.APIKey{Resource: r.ID, Environment: p.Environment}, workspacePlan)
	if p.Plan != "" && known && !anyPlan && !own.Within(most) {
		all.Add("plan", "%s exceeds the workspace's plan; choose a smaller one", strconv.Quote(p.Plan))
	}
	if known && p.Environment != Test {
		most = own
	}
	if p.RateLimit > 0 && most.Hour > 0 && p.RateLimit > most.Hour {
		all.Add(
			"rate limit", "exceeds the plan's %s requests per hour; enter a lower number",
			strconv.FormatInt(most.Hour, 10),
		)
	}
	return errors.Join(all...)
}

// CheckExisting is Check for an existing key. It leaves out the lifetime and environment, which were checked when the
// key was created, under the rules in force at the time.
func (k *Keys) CheckExisting(p *Spec, personal bool) (*catalog.Resource, error) {
	r, ok := k.catalog.Resource(p.Resource)
	if !ok {
		return nil, &input.Invalid{
			Field: "resource",
			Message: locale.New(
				"%s is no longer in the configuration; revoke the key", strconv.Quote(input.Shorten(p.Resource)),
			),
		}
	}
	lenient := *r
	lenient.Keys.MaxLifetime = 0
	if !personal && !slices.Contains(r.Keys.Environments, p.Environment) {
		lenient.Keys.Environments = append(slices.Clone(r.Keys.Environments), p.Environment)
	}
	return k.check(p, personal, &lenient)
}

// AddressesWithin reports whether each range of list lies within one of bound. An empty list means any address.
func AddressesWithin(list, bound []string) bool {
	if len(bound) == 0 {
		return true
	}
	outside := func(text string) bool {
		p, err := netip.ParsePrefix(text)
		return err != nil || !slices.ContainsFunc(bound, func(own string) bool {
			o, err := netip.ParsePrefix(own)
			return err == nil && o.Bits() <= p.Bits() && o.Contains(p.Addr())
		})
	}
	return len(list) > 0 && !slices.ContainsFunc(list, outside)
}

// Widens reports whether a change lets a key do anything that it could not do before. Its scopes and role never grow.
func (k *Keys) Widens(before, after *storage.APIKey, workspacePlan string) bool {
	_, had := k.Plan(before, workspacePlan)
	_, has := k.Plan(after, workspacePlan)
	return !AddressesWithin(after.Addresses, before.Addresses) || !has.Within(had)
}
