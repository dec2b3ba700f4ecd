package resource

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"doorward/oauth/dpop"
)

const (
	protectedResource   = "oauth-protected-resource"   // RFC 9728, section 3
	authorizationServer = "oauth-authorization-server" // RFC 8414, section 3
)

// wellKnown returns the path of a metadata document, given the path of the URL that it describes (RFC 8414, section
// 3.1).
func wellKnown(name, path string) string {
	return "/.well-known/" + name + strings.TrimSuffix(path, "/")
}

// MetadataPath returns the path at which this API's host must serve Metadata (RFC 9728, section 3.1). It is empty if
// Resource is not an https URL; challenges then name no metadata.
func (v *Verifier) MetadataPath() string {
	if v.metadataURL == "" {
		return ""
	}
	u, err := url.Parse(v.config.Resource)
	if err != nil {
		return "" // New has parsed it
	}
	return wellKnown(protectedResource, u.Path)
}

// Metadata serves the document of RFC 9728, section 2, from which a client learns which server issues tokens for this
// API. Pages of any origin may read it.
func (v *Verifier) Metadata() http.Handler {
	var algorithms []string
	if v.base != "" {
		algorithms = strings.Fields(dpop.AlgorithmNames())
	}
	body, err := json.Marshal(struct {
		Resource      string   `json:"resource"`
		Servers       []string `json:"authorization_servers"`
		Methods       []string `json:"bearer_methods_supported"`
		Algorithms    []string `json:"dpop_signing_alg_values_supported,omitempty"`
		RequireDPoP   bool     `json:"dpop_bound_access_tokens_required"`
		Scopes        []string `json:"scopes_supported,omitempty"`
		Name          string   `json:"resource_name,omitempty"`
		Documentation string   `json:"resource_documentation,omitempty"`
	}{
		v.config.Resource,
		[]string{v.config.Issuer},
		[]string{"header"},
		algorithms, v.config.RequireDPoP,
		v.config.Scopes, v.config.Name,
		v.config.Documentation,
	})
	if err != nil {
		panic(err) // strings
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		switch r.Method {
		case http.MethodGet, http.MethodHead:
		case http.MethodOptions:
			h.Set("Allow", "GET, HEAD, OPTIONS")
			preflight(h, r)
			w.WriteHeader(http.StatusNoContent)
			return
		default:
			h.Set("Allow", "GET, HEAD, OPTIONS")
			http.Error(w, "Send a GET request.", http.StatusMethodNotAllowed)
			return
		}
		h.Set("Content-Type", "application/json")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(append(body[:len(body):len(body)], '\n')) // the client may have gone away
	})
}

// requestHeader matches a header name that a preflight may ask for.
var requestHeader = regexp.MustCompile("^[A-Za-z0-9-]{1,64}$")

// preflight allows pages of any origin to read the metadata with their own request headers, such as
// MCP-Protocol-Version.
func preflight(h http.Header, r *http.Request) {
	h.Set("Access-Control-Allow-Origin", "*")
	if r.Header.Get("Access-Control-Request-Method") == "" {
		return
	}
	const asked = "Access-Control-Request-Headers"
	var names []string
	for name := range strings.SplitSeq(strings.Join(r.Header.Values(asked), ","), ",") {
		if name = strings.TrimSpace(name); requestHeader.MatchString(name) && len(names) < 64 {
			names = append(names, name)
		}
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD")
	if len(names) > 0 {
		h.Set("Access-Control-Allow-Headers", strings.Join(names, ", "))
	}
	h.Set("Access-Control-Max-Age", "600") // seconds
	h.Add("Vary", asked)
}

// serverMetadata holds the members that are needed of the authorization server's metadata (RFC 8414, section 2).
type serverMetadata struct {
	Issuer                string `json:"issuer"`
	IntrospectionEndpoint string `json:"introspection_endpoint"`
	JWKSURI               string `json:"jwks_uri"`
}

// discovered is the authorization server's metadata, cached for discoveredFor.
type discovered struct {
	mu sync.Mutex
	serverMetadata
	at time.Time // zero: never
}

const discoveredFor = time.Hour

// metadata returns the authorization server's metadata. While it cannot be fetched again, it returns the cached copy.
func (v *Verifier) metadata(ctx context.Context) (serverMetadata, error) {
	d, now := &v.discovered, v.config.Now()
	d.mu.Lock()
	kept, fresh := d.serverMetadata, !d.at.IsZero() && now.Sub(d.at) < discoveredFor
	if !fresh && !d.at.IsZero() {
		d.at = now // one request fetches; the others use the cached copy
	}
	d.mu.Unlock()
	if fresh {
		return kept, nil
	}
	m, err := v.discover(ctx)
	if err != nil {
		if kept.Issuer != "" {
			return kept, nil
		}
		return serverMetadata{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.serverMetadata, d.at = m, now
	return m, nil
}

// discover fetches the metadata. Metadata that contradicts the configuration is a set-up error, which no caller can
// fix.
func (v *Verifier) discover(ctx context.Context) (serverMetadata, error) {
	u, err := url.Parse(v.config.Issuer)
	if err != nil {
		return serverMetadata{}, misconfigured(err) // New has parsed it
	}
	q, err := http.NewRequestWithContext(
		ctx,
		http.MethodGet,
		u.Scheme+"://"+u.Host+wellKnown(authorizationServer, u.EscapedPath()),
		nil,
	)
	if err != nil {
		return serverMetadata{}, misconfigured(err)
	}
	q.Header.Set("Accept", "application/json")
	var m serverMetadata
	if err := v.fetch(q, &m); err != nil {
		return m, err
	}
	if m.Issuer != v.config.Issuer { // RFC 8414, section 3.3
		return m, misconfigured(fmt.Errorf("%s is the metadata of another issuer, %q; check Issuer", q.URL, m.Issuer))
	}
	for _, x := range []struct {
		name, url string
		needed    bool
	}{
		{"introspection_endpoint", m.IntrospectionEndpoint, v.introspects() && v.config.IntrospectionURL == ""},
		{"jwks_uri", m.JWKSURI, v.config.VerifyJWT && v.config.JWKSURL == ""},
	} {
		if !x.needed {
			continue
		}
		if err := reachable(x.url); err != nil {
			return m, misconfigured(fmt.Errorf("%s: %s %q %w", q.URL, x.name, x.url, err))
		}
	}
	return m, nil
}
