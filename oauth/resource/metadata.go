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
)

const (
	protectedResource   = "oauth-protected-resource"   // RFC 9728, section 3
	authorizationServer = "oauth-authorization-server" // RFC 8414, section 3
)

// wellKnown is the path of a metadata document about something with a path of its own (RFC 8414, section 3.1).
func wellKnown(name, path string) string {
	return "/.well-known/" + name + strings.TrimSuffix(path, "/")
}

// MetadataPath is where Metadata belongs on this API's host (RFC 9728, section 3.1). Empty: Resource is not a URL, and
// the challenges name no metadata.
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

// Metadata answers with the document of RFC 9728, section 2, by which a client finds out where tokens for this API come
// from. Any origin may read it.
func (v *Verifier) Metadata() http.Handler {
	body, err := json.Marshal(struct {
		Resource      string   `json:"resource"`
		Servers       []string `json:"authorization_servers"`
		Methods       []string `json:"bearer_methods_supported"`
		Scopes        []string `json:"scopes_supported,omitempty"`
		Name          string   `json:"resource_name,omitempty"`
		Documentation string   `json:"resource_documentation,omitempty"`
	}{
		v.config.Resource,
		[]string{v.config.Issuer},
		[]string{"header"},
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

// requestHeader is a name that a preflight may ask for.
var requestHeader = regexp.MustCompile("^[A-Za-z0-9-]{1,64}$")

// preflight allows a page of any origin to read the metadata with headers of its own, such as MCP-Protocol-Version.
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

// serverMetadata is what is needed of the authorization server's metadata (RFC 8414, section 2).
type serverMetadata struct {
	Issuer                string `json:"issuer"`
	IntrospectionEndpoint string `json:"introspection_endpoint"`
	JWKSURI               string `json:"jwks_uri"`
}

// discovered is the authorization server's metadata, kept for discoveredFor.
type discovered struct {
	mu sync.Mutex
	serverMetadata
	at time.Time // zero: never
}

const discoveredFor = time.Hour

// metadata is the authorization server's. While it cannot be fetched again, the copy is used.
func (v *Verifier) metadata(ctx context.Context) (serverMetadata, error) {
	d, now := &v.discovered, v.config.Now()
	d.mu.Lock()
	kept, fresh := d.serverMetadata, !d.at.IsZero() && now.Sub(d.at) < discoveredFor
	if !fresh && !d.at.IsZero() {
		d.at = now // one asks; the others go on with what there is
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

// discover reads the metadata. What contradicts it is a fault of set-up, which no caller can fix.
func (v *Verifier) discover(ctx context.Context) (serverMetadata, error) {
	u, err := url.Parse(v.config.Issuer)
	if err != nil {
		return serverMetadata{}, misused(err) // New has parsed it
	}
	q, err := http.NewRequestWithContext(
		ctx,
		http.MethodGet,
		u.Scheme+"://"+u.Host+wellKnown(authorizationServer, u.EscapedPath()),
		nil,
	)
	if err != nil {
		return serverMetadata{}, misused(err)
	}
	q.Header.Set("Accept", "application/json")
	var m serverMetadata
	if err := v.fetch(q, &m); err != nil {
		return m, err
	}
	if m.Issuer != v.config.Issuer { // RFC 8414, section 3.3
		return m, misused(fmt.Errorf("%s is the metadata of another issuer, %q", q.URL, m.Issuer))
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
			return m, misused(fmt.Errorf("%s: %s %q %w", q.URL, x.name, x.url, err))
		}
	}
	return m, nil
}
