package resource_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"doorward/oauth/catalog"
	"doorward/oauth/resource"
)

func TestMetadataOfTheAPI(t *testing.T) {
	a := newAPI(t, resource.Config{
		Issuer: "https://auth.example.com", Key: "sk_live_x", Scopes: []string{"read", "write"},
		Name: "Example API",
	})
	if got := a.v.MetadataPath(); got != "/.well-known/oauth-protected-resource/v2" {
		t.Errorf("the document is at %s", got)
	}
	w := httptest.NewRecorder()
	a.v.Metadata().ServeHTTP(w, httptest.NewRequest(http.MethodGet, a.v.MetadataPath(), nil))
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"resource":                          exampleAPI,
		"authorization_servers":             []any{"https://auth.example.com"},
		"bearer_methods_supported":          []any{"header"},
		"dpop_signing_alg_values_supported": []any{"ES256", "PS256", "EdDSA", "Ed25519"},
		"dpop_bound_access_tokens_required": false,
		"scopes_supported":                  []any{"read", "write"}, "resource_name": "Example API",
	}
	if diff := cmp.Diff(want, got); diff != "" || w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("the document (-want +got):\n%s", diff)
	}
	w = httptest.NewRecorder()
	if a.v.Metadata().ServeHTTP(w, httptest.NewRequest(http.MethodPost, a.v.MetadataPath(),
		nil)); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("a POST gets %d %v", w.Code, w.Header())
	}
	urn := newAPI(t, resource.Config{Issuer: "https://auth.example.com", Key: "sk_live_x", Resource: "urn:example:api"})
	w, _ = urn.ask(request(""))
	if got := w.Header().Get("WWW-Authenticate"); got != `Bearer realm="urn:example:api"` || urn.v.MetadataPath() != "" {
		t.Errorf("an API without a URL names metadata: %s", got)
	}
}

func TestConfigIsCheckedWhole(t *testing.T) {
	_, err := resource.New(resource.Config{
		Issuer: "http://auth.example.com", Resource: "https://api.example.com#x",
		ClientID: "x", CacheFor: time.Hour, JWKSURL: "ftp://x",
	})
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	for _, part := range []string{"Issuer", "Resource", "ClientSecret", "CacheFor", "JWKSURL"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s is not named: %v", part, err)
		}
	}
	good := resource.Config{Issuer: "https://auth.example.com", Resource: exampleAPI}
	for name, change := range map[string]func(*resource.Config){
		"no way at all":          func(*resource.Config) {},
		"two ways to introspect": func(c *resource.Config) { c.Key, c.ClientID, c.ClientSecret = "k", "i", "s" },
		"a cost of JWTs alone": func(c *resource.Config) {
			c.VerifyJWT, c.Cost = true,
				func(*http.Request) int { return 1 }
		},
		"a cache of JWTs alone": func(c *resource.Config) { c.VerifyJWT, c.CacheFor = true, time.Second },
		"no header":             func(c *resource.Config) { c.Key, c.WorkspaceHeader = "k", "X Workspace" },
		"a quote in the name":   func(c *resource.Config) { c.Key, c.Resource = "k", `https://x/"` },
		"a secret in the URL":   func(c *resource.Config) { c.Key, c.IntrospectionURL = "k", "https://a:b@x/" },
	} {
		c := good
		change(&c)
		if _, err := resource.New(c); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for _, issuer := range []string{
		"http://localhost:8080", "http://127.0.0.1", "http://[::1]:1",
		"https://auth.example.com/tenant",
	} {
		if _, err := resource.New(resource.Config{Issuer: issuer, Resource: exampleAPI, VerifyJWT: true}); err != nil {
			t.Errorf("issuer %s: %v", issuer, err)
		}
	}
}

func TestV43_ScopeCoverageIsTheServers(t *testing.T) {
	for _, x := range []struct{ have, need string }{
		{"read", "read"},
		{"read", "accounts:read"},
		{"accounts:read", "read"},
		{"accounts:read", "accounts:read"},
		{"accounts:read", "accounts:write"},
		{"", "read"},
		{"accounts", "accounts:read"},
		{"read write", "x:write"},
		{"read", ""},
		{"read", ":read"},
		{"b:c", "a:b:c"},
	} {
		for _, objects := range [][]string{nil, {"accounts", "a"}} {
			c := resource.Claims{Scopes: strings.Fields(x.have), Objects: objects}
			r := catalog.Resource{Objects: objects}
			if got, want := c.Covers(x.need), r.Covers(c.Scopes, x.need); got != want {
				t.Errorf("%q covers %q with objects %v: %v, and the server says %v", x.have, x.need, objects, got, want)
			}
		}
	}
}
