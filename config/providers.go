package config

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"doorward/oauth/identity"
	"doorward/oauth/input"
	"doorward/oauth/provider"
)

// Provider is another service with which users sign in.
type Provider struct {
	provider.Config

	// Domains are those of the only addresses that may come from it; empty: any.
	Domains []string
	// SignUp says that visitors may create an account through it, if they may create one at all.
	SignUp bool
	// TrustedEmail says that an address counts as proven if the provider says that it is verified.
	TrustedEmail bool
	// TwoFactors says that a sign-in there counts as two factors.
	TwoFactors bool
}

var providerID = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// signInPaths are what follows /login/ in paths that are not those of providers, and the methods that a browser
// remembers beside them.
var signInPaths = []string{"code", "email", "enrol", "link", "passkey", "password", "provider", "second"}

func checkProviderID(s string) error {
	switch {
	case !providerID.MatchString(s):
		return fmt.Errorf("%s is not an id; use up to 31 lower-case letters, digits and hyphens, such as acme", input.Quote(s))
	case slices.Contains(signInPaths, s):
		return fmt.Errorf("%s names a page of the sign-in; use another id", input.Quote(s))
	}
	return nil
}

// provider reads one entry of providers.
func (p *parser) provider(n *yaml.Node, key string) Provider {
	x := Provider{SignUp: true}
	p.mapping(map[string]field{
		"id":            p.stringValue(&x.ID, checkProviderID),
		"name":          p.stringValue(&x.Name, checkBrandName),
		"issuer":        p.stringValue(&x.Issuer, nil),
		"base_url":      p.stringValue(&x.Issuer, nil),
		"client_id":     p.stringValue(&x.ClientID, checkText),
		"client_secret": p.stringValue(&x.ClientSecret, checkText),
		"team_id":       p.stringValue(&x.TeamID, checkText),
		"key_id":        p.stringValue(&x.KeyID, checkText),
		"private_key":   p.stringValue(&x.PrivateKey, nil),
		"scopes":        p.stringList(&x.Scopes, nil),
		"domains":       p.stringList(&x.Domains, checkDomain),
		"sign_up":       p.flag(&x.SignUp),
		"trusted_email": p.flag(&x.TrustedEmail),
		"two_factors":   p.flag(&x.TwoFactors),
	})(n, key)
	if slices.Contains(provider.Kinds(), x.ID) {
		x.Kind = x.ID
	}
	if _, has := p.origins[key+".base_url"]; has && x.Kind != "github" {
		p.fault(key+".base_url", "is only for github; use issuer")
	}
	if _, has := p.origins[key+".issuer"]; has && x.Kind == "github" {
		p.fault(key+".issuer", "is not for github, which does not use OpenID Connect; use base_url")
	}
	return x
}

// checkProviders finds faults of the providers that involve several keys.
func (p *parser) checkProviders(c *Config) {
	for i, x := range c.Providers {
		key := fmt.Sprintf("providers[%d]", i)
		if !p.clean(key) || !p.clean("issuer") {
			continue
		}
		if x.ID == "" {
			p.fault(key+".id", "is missing; use google, microsoft, apple, github, gitlab, or an id of your own with an issuer")
			continue
		}
		if j := slices.IndexFunc(c.Providers[:i], func(y Provider) bool { return y.ID == x.ID }); j >= 0 {
			p.fault(key+".id", "is the same as that of providers[%d]; use another one", j)
			continue
		}
		if _, err := provider.New(x.Config, c.providerCallback(x.ID), nil, nil); err != nil {
			p.fault(key, "%v", err)
		}
	}
}

// providerCallback is the address to which a provider sends browsers back.
func (c Config) providerCallback(id string) string { return c.Issuer + "/login/" + id + "/callback" }

// NewProviders returns the providers, which read nothing before they are used. now is their clock; nil: time.Now.
func (c Config) NewProviders(now func() time.Time) (list []*identity.Provider, err error) {
	for _, x := range c.Providers {
		p, err := provider.New(x.Config, c.providerCallback(x.ID), nil, now)
		if err != nil {
			return nil, fmt.Errorf("providers: %s: %w", x.ID, err)
		}
		list = append(list, &identity.Provider{
			Provider: p, Domains: x.Domains, SignUp: x.SignUp, TrustedEmail: x.TrustedEmail, TwoFactors: x.TwoFactors,
		})
	}
	return list, nil
}

// CheckProviders reads the discovery document of each provider, and returns what is wrong, in a sentence each.
func (c Config) CheckProviders(ctx context.Context) (faults []string) {
	list, err := c.NewProviders(nil)
	if err != nil {
		return []string{err.Error()}
	}
	for i, p := range list {
		if err := p.Check(ctx); err != nil {
			faults = append(faults, fmt.Sprintf("providers[%d] (%s): %v", i, p.ID(), err))
		}
	}
	return faults
}
