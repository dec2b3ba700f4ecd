package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"doorward/oauth/input"
)

// How long a discovery document is used.
const (
	discoveryAge   = time.Hour
	discoveryStale = 24 * time.Hour  // used until then if it cannot be read again
	discoveryRetry = 3 * time.Second // after a failure
)

// algorithms are those in which an ID token may be signed. Symmetric ones and none are not among them: our client
// secret is not a key (RFC 8725, section 3.2).
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512,
	oidc.EdDSA,
}

// discovery is what is used of a discovery document (OpenID Connect Discovery, section 3).
type discovery struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	UserInfoEndpoint      string   `json:"userinfo_endpoint"` // empty: none
	JWKSURI               string   `json:"jwks_uri"`
	AuthMethods           []string `json:"token_endpoint_auth_methods_supported"` // empty: client_secret_basic
	Algorithms            []string `json:"id_token_signing_alg_values_supported"`
	// NamesIssuer says that each callback has iss (RFC 9207, section 3).
	NamesIssuer bool `json:"authorization_response_iss_parameter_supported"`

	fetchedAt time.Time // zero: it is built in
}

// fetch is one request for the discovery document, for which several callers may wait.
type fetch struct {
	done    chan struct{} // closed at the end; the other fields are set then
	found   *discovery
	err     error
	endedAt time.Time
}

// discover returns the discovery document. It is read again after discoveryAge, by one request at a time; if that
// fails, the older one is used until discoveryStale. The error is ErrUnavailable.
func (p *Provider) discover(ctx context.Context) (*discovery, error) {
	p.mu.Lock()
	now, known := p.now(), p.known
	if known != nil && (known.fetchedAt.IsZero() || now.Sub(known.fetchedAt).Abs() < discoveryAge) {
		p.mu.Unlock()
		return known, nil
	}
	f := p.fetching
	switch {
	case f != nil:
	case p.failed != nil && now.Sub(p.failed.endedAt).Abs() < discoveryRetry:
		f = p.failed
	default:
		f = &fetch{done: make(chan struct{})}
		p.fetching = f
		// Others wait for it too, so it does not end with this caller.
		go p.fetchDiscovery(context.WithoutCancel(ctx), f)
	}
	p.mu.Unlock()

	var err error
	select {
	case <-f.done:
		if f.err == nil {
			return f.found, nil
		}
		err = f.err
	case <-ctx.Done():
		err = fmt.Errorf("%w: wait for the discovery document: %w", ErrUnavailable, ctx.Err())
	}
	if known != nil && now.Sub(known.fetchedAt).Abs() < discoveryStale {
		return known, nil
	}
	return nil, err
}

// fetchDiscovery reads the document and ends the fetch.
func (p *Provider) fetchDiscovery(ctx context.Context, f *fetch) {
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	f.found, f.err = p.readDiscovery(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	f.endedAt = p.now()
	p.fetching, p.failed = nil, nil
	if f.err == nil {
		f.found.fetchedAt = f.endedAt
		p.known = f.found
	} else {
		p.failed = f
	}
	close(f.done)
}

func (p *Provider) readDiscovery(ctx context.Context) (*discovery, error) {
	address := strings.TrimSuffix(p.issuer, "/") + "/.well-known/openid-configuration"
	status, body, err := p.get(ctx, address, "")
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, unavailableError("%s answered with status %d; check the issuer", address, status)
	}
	var d discovery
	if json.Unmarshal(body, &d) != nil {
		return nil, unavailableError("%s is not a discovery document", address)
	}
	if err := p.checkDiscovery(&d); err != nil {
		return nil, fmt.Errorf("%w: the discovery document at %s %w", ErrUnavailable, address, err)
	}
	return &d, nil
}

// checkDiscovery returns what is wrong with a discovery document (OpenID Connect Discovery, section 4.3).
func (p *Provider) checkDiscovery(d *discovery) error {
	if !p.isIssuerOfDiscovery(d.Issuer) {
		return fmt.Errorf("names the issuer %s, but the configuration has %s; use the provider's spelling",
			input.Quote(d.Issuer), input.Quote(p.issuer))
	}
	for _, e := range []struct{ name, address string }{
		{"authorization_endpoint", d.AuthorizationEndpoint},
		{"token_endpoint", d.TokenEndpoint},
		{"jwks_uri", d.JWKSURI},
		{"userinfo_endpoint", d.UserInfoEndpoint},
	} {
		if e.address == "" && e.name == "userinfo_endpoint" {
			continue
		}
		if !input.IsSite(e.address) || strings.Contains(e.address, "#") {
			return fmt.Errorf("has the %s %s, which is not a URL with https, or http on loopback", e.name,
				input.Quote(e.address))
		}
	}
	if d.Algorithms == nil {
		d.Algorithms = algorithms
		return nil
	}
	usable := slices.Clone(algorithms)
	usable = slices.DeleteFunc(usable, func(a string) bool { return !slices.Contains(d.Algorithms, a) })
	if len(usable) == 0 {
		return fmt.Errorf("lists the algorithms %s for ID tokens, but one of %s is needed",
			input.Quote(strings.Join(d.Algorithms, " ")), strings.Join(algorithms, ", "))
	}
	d.Algorithms = usable
	return nil
}

// isIssuerOfDiscovery reports whether a discovery document may name an issuer: the configured one, or one that stands
// for Microsoft's tenants.
func (p *Provider) isIssuerOfDiscovery(issuer string) bool {
	if p.tenants != "" {
		return issuer == p.tenants+tenantTemplate+tenantVersion || issuer == p.tenants+personalTenant+tenantVersion
	}
	return issuer == p.issuer
}
