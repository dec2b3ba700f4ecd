package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/input"
)

// checkDocumentHost accepts off, any, or the host of a metadata document, as in a URL: name or name:port.
func checkDocumentHost(text string) error {
	if text == documentsOff || text == documentsAny {
		return nil
	}
	if text != strings.ToLower(text) {
		return fmt.Errorf("%s has capital letters; write the host as %s", input.Quote(text), strings.ToLower(text))
	}
	if !input.IsAuthority(text) || !strings.ContainsAny(text, ".:") {
		return fmt.Errorf("%s is neither off nor any nor a host; use one of these, such as any, or [client.example.com]",
			input.Quote(text))
	}
	if strings.HasSuffix(text, ":443") {
		return errors.New("has the port 443, which URLs leave out; remove it")
	}
	return nil
}

// CompatibleWithOpenID is the value of registration_compatibility with which confidential clients may register as the
// OpenID conformance suite does: without PKCE, and with assertions for the token endpoint.
const CompatibleWithOpenID = "openid"

// The values of metadata_documents that are not hosts.
const (
	documentsOff = "off"
	documentsAny = "any"
)

// documentHosts reads metadata_documents: off, any, or a list of hosts.
func (p *parser) documentHosts(dst *oauth.DocumentHosts) field {
	return func(n *yaml.Node, key string) {
		var values []string
		p.stringList(&values, checkDocumentHost)(n, key)
		*dst = oauth.DocumentHosts{}
		switch {
		case len(values) == 1 && values[0] == documentsAny:
			dst.Any = true
		case len(values) == 1 && values[0] == documentsOff:
		case slices.Contains(values, documentsAny) || slices.Contains(values, documentsOff):
			p.fault(key, "has any or off beside other entries; use one of them alone, or list hosts only")
		default:
			dst.Hosts = values
		}
	}
}

// checkSelfRegistration looks for faults in what clients may do that register themselves.
func (p *parser) checkSelfRegistration(c *Config) {
	if c.RegistrationCompatibility != "" && c.Registration == management.RegistrationClosed &&
		p.clean("registration") && p.clean("registration_compatibility") {
		p.fault("registration_compatibility", "has no effect while registration is closed; remove it, or set registration")
	}
	for i, r := range c.Resources {
		for j, name := range r.OpenScopes {
			if _, ok := r.Scope(name); !ok {
				p.fault(fmt.Sprintf("resources[%d].open_registration[%d]", i, j),
					"%s is not a scope of this resource; use one of %s", input.Quote(name), strings.Join(r.ScopeNames(), ", "))
			}
		}
	}
}

// checkSelfRegistration reports what strangers can do because clients may register themselves.
func (r *risks) checkSelfRegistration(c Config) {
	registers := c.Registration != management.RegistrationClosed
	documents := c.MetadataDocuments.Any || len(c.MetadataDocuments.Hosts) > 0
	opened := false
	for i, x := range c.Resources {
		if slices.Contains(x.ScopeNames(), management.ScopeOffline) {
			r.add("resources[%d].scopes.%s: the server accepts this scope beside those of every API, and clients take it for "+
				"one of the API's; remove it", i, management.ScopeOffline)
		}
		opened = opened || len(x.OpenScopes) > 0
		if dangerous := slices.DeleteFunc(slices.Clone(x.OpenScopes), func(name string) bool {
			return !x.Dangerous([]string{name})
		}); len(dangerous) > 0 && (registers || documents) {
			r.add("resources[%d].open_registration: clients that you have not checked can ask users for %s; leave out what "+
				"allows lasting harm", i, strings.Join(dangerous, ", "))
		}
	}
	switch {
	case (registers || documents) && !opened:
		r.add("registration, metadata_documents: no resource has open_registration, so a client that registers itself gets " +
			"no access; list scopes there")
	case !registers && !documents && opened:
		r.add("open_registration: has no effect, because registration is closed and metadata_documents is off")
	}
	if (registers || documents) && c.TokenLimits.ClientRequests == 0 {
		r.add("tokens.client_requests: 0 also lifts the limits on clients that register themselves, so anyone can fill the " +
			"database; set a number")
	}
	if c.RegistrationCompatibility != "" {
		r.add("registration_compatibility: confidential clients that register themselves may leave out PKCE, and sign " +
			"assertions for the token endpoint; remove it if you do not need the OpenID conformance suite")
	}
}
