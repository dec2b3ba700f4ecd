package oauth

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/fetch"
	"doorward/oauth/redirecturi"
	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/test/stores"
)

// FuzzD12_MetadataDocument: whatever a host answers, its document is refused, or describes a client that this server could
// have registered, with the id that was asked for. A panic would end the process, since documents are read outside of
// the requests that wait for them.
func FuzzD12_MetadataDocument(f *testing.F) {
	const id = "https://client.example/oauth/client.json"
	store := stores.Open(f, "sqlite::memory:")
	secrets, err := seal.New([][]byte{[]byte(strings.Repeat("s", 32))})
	if err != nil {
		f.Fatal(err)
	}
	offered, err := catalog.New(catalog.Config{Resources: []catalog.Resource{
		{ID: "https://closed.example", Scopes: []catalog.Scope{{Name: "read"}, {Name: "admin"}}},
		{
			ID: "https://api.example", Scopes: []catalog.Scope{{Name: "read"}, {Name: "write"}, {Name: "admin"}},
			OpenScopes: []string{"read", "write"},
		},
	}})
	if err != nil {
		f.Fatal(err)
	}
	fetcher := fetch.New(fetch.Config{})
	s := New(Config{
		Issuer: "https://auth.example", Store: store, Secrets: secrets, Catalog: offered, Fetcher: fetcher,
		Management: management.New(management.Config{
			Store: store, Catalog: offered, APIKeys: apikey.New(apikey.Config{Store: store, Catalog: offered}),
			Grants: GrantRules(), CheckURL: fetcher.CheckURL, Registration: management.RegistrationOpen,
		}),
		Lifetimes:     Lifetimes{Access: time.Hour, Refresh: time.Hour, RefreshAbsolute: time.Hour, Code: time.Minute},
		ClientAddress: func(*http.Request) netip.Addr { return netip.Addr{} }, MetadataDocuments: DocumentHosts{Any: true},
	})
	const right = `{"client_id":"` + id + `","client_name":"App","redirect_uris":["https://app.example/cb"]`
	const key = `{"kty":"EC","crv":"P-256","kid":"k","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",` +
		`"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
	for _, text := range []string{
		right + "}", right + `,"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[` + key + `]}}`,
		right + `,"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://client.example/jwks"}`,
		right + `,"scope":"read admin openid offline_access","grant_types":["authorization_code","refresh_token"]}`,
		right + `,"jwks":{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"}]}}`, right + `,"jwks":{"keys":[{}]}}`,
		right + `,"logo_uri":"https://127.0.0.1/x","client_uri":"javascript:x","x":[[[[[[[[1e999]]]]]]]]}`,
		right + `,"client_secret":"x"}`, right + `,"client_name":"y"}`, right + `,"response_types":["code"],"contacts":null}`,
		`{"client_id":7}`, `{}`, `null`, `[]`, `"`, "{\"client_id\":\"\xff\"}", strings.Repeat("[", 100),
		`{"client_id":"` + id + `","redirect_uris":["http://127.0.0.1/cb","com.example.app:/cb","javascript:x"]}`,
	} {
		f.Add("application/json", text)
	}
	f.Add("application/x+json; charset=utf-8", right+"}")
	f.Add("text/html", "<!DOCTYPE html>")
	f.Fuzz(func(t *testing.T, contentType, text string) {
		p, err := s.documents.parse(id, contentType, []byte(text))
		if err != nil {
			if asError(err).Description == "" {
				t.Errorf("%q is refused without a reason: %v", text, err)
			}
			return
		}
		c := management.DocumentClient(id, &p, store.Now())
		s.openTo(&c)
		if c.ID != id || c.Registration != storage.RegisteredByDocument || !strings.Contains(text, "client_id") {
			t.Errorf("%q is the client %s", text, c.ID)
		}
		if c.Public == (c.AuthMethod == management.AuthPrivateKey) || !c.Public && c.JWKS == "" && c.JWKSURI == "" {
			t.Errorf("%q: public %v, method %q", text, c.Public, c.AuthMethod)
		}
		if c.Verified || c.FirstParty || c.Manages || c.PKCEOptional || c.TokenEndpointAudience || c.ResourceServer ||
			c.FAPI || c.WorkspaceID != "" || len(c.Secrets) > 0 || c.Scopes.Has("admin") || !c.Resources.Has("https://api.example") ||
			len(c.Resources) != 1 {
			t.Errorf("%q is trusted with more than it may be: %+v", text, c)
		}
		if len(c.RedirectURIs) == 0 || strings.TrimSpace(c.Name) == "" {
			t.Errorf("%q: redirect URIs %q, name %q", text, c.RedirectURIs, c.Name)
		}
		for _, uri := range c.RedirectURIs {
			if why := redirecturi.Check(uri, nil); !why.IsZero() {
				t.Errorf("%q has the redirect URI %q, which %s", text, uri, why)
			}
		}
		for _, uri := range []string{c.LogoURI, c.PolicyURI, c.TOSURI, c.JWKSURI, c.Site} {
			if why := fetcher.CheckURL(uri); uri != "" && !why.IsZero() {
				t.Errorf("%q has the URL %q, which %s", text, uri, why)
			}
		}
		var again cachedClient
		again.Client = c
		if err := again.parseKeys(); err != nil || ChangeOf(&c, Describe(&c)) != nil {
			t.Errorf("%q: its keys cannot be read, or it differs from itself: %v", text, err)
		}
	})
}
