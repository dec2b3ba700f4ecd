package config

import (
	"net/url"

	"go.yaml.in/yaml/v3"

	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/web/gateway"
)

// Resource is an API for which tokens and keys are issued: a protected resource (RFC 6749, section 1.1; RFC 8707). Each
// of its settings is in the struct of the package that uses it.
type Resource struct {
	catalog.Resource
	// API has the gateway's settings. Its ID is the resource's.
	API gateway.API
}

// Catalogue returns the resources' settings for the protocol.
func (c Config) Catalogue() []catalog.Resource {
	all := make([]catalog.Resource, len(c.Resources))
	for i := range c.Resources {
		all[i] = c.Resources[i].Resource
	}
	return all
}

// APIs returns the resources' settings for the gateway.
func (c Config) APIs() []gateway.API {
	all := make([]gateway.API, len(c.Resources))
	for i := range c.Resources {
		all[i] = c.Resources[i].API
	}
	return all
}

// defaultResource is the resource if none is configured, and has the defaults of the settings of configured ones.
func defaultResource(id string) Resource {
	return Resource{
		Resource: catalog.Resource{
			ID: id, Name: id, WorkspaceHeader: "X-Workspace",
			Scopes: catalog.DefaultScopes(),
			Keys:   catalog.KeyRules{Prefix: "sk", Environments: []string{apikey.Live, apikey.Test}},
		},
		API: gateway.API{
			ID: id,
			Builtin: []string{
				"/oauth/token",
				"/oauth/revoke",
				"/oauth/introspect",
				"/v1/api-keys",
				"/v1/auth/test",
				"/api/auth/me",
				"/api/me",
			},
			Shape:     gateway.Shape{Name: gateway.ShapeNames()[0], ExpiredStatus: 401},
			Anonymous: gateway.Concurrency{Total: 1000, PerAddress: 100},
		},
	}
}

// upstream reads the origin of an API. An empty one means none.
func (p *parser) upstream(dst **url.URL) field {
	return func(n *yaml.Node, key string) {
		var text string
		if p.stringValue(&text, orEmpty(checkUpstream))(n, key); text != "" {
			*dst, _ = url.Parse(text) // checkUpstream has parsed it
		}
	}
}

// either reads one of two values: no means false, yes means true.
func (p *parser) either(dst *bool, no, yes string) field {
	return func(n *yaml.Node, key string) {
		var value string
		if p.stringValue(&value, oneOf(no, yes))(n, key); value != "" {
			*dst = value == yes
		}
	}
}
