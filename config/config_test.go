package config

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"doorward/brand"
	"doorward/oauth"
	"doorward/oauth/catalog"
	"doorward/oauth/fetch"
	"doorward/oauth/input"
	"doorward/oauth/limit"
	"doorward/oauth/provider"
	"doorward/web/gateway"
	"doorward/web/gateway/route"
)

const testSecret = "0123456789abcdefghijklmnopqrstuvwxyz"

// environ is a getenv over a map.
func environ(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// load parses text as a file named c.yaml.
func load(t *testing.T, text string, flags map[string][]string, vars map[string]string) (Config, error) {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("c.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load("c.yaml", flags, environ(vars))
}

func mustLoad(t *testing.T, text string, vars map[string]string) Config {
	t.Helper()
	c, err := load(t, text, nil, vars)
	if err != nil {
		t.Fatalf("load:\n%v", err)
	}
	return c
}

// sameConfig compares configurations, secrets included, which their own formatting hides.
func sameConfig(t *testing.T, got, want any) {
	t.Helper()
	secrets := cmp.Comparer(func(a, b input.Secret) bool { return bytes.Equal(a, b) })
	if diff := cmp.Diff(want, got, secrets, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.IgnoreUnexported(gateway.API{}, Config{})); diff != "" {
		t.Errorf("configuration differs (-want +got):\n%s", diff)
	}
}

func TestConfigWithNothingSetIsTheDocumentedDefault(t *testing.T) {
	c, err := Load("", nil, environ(nil))
	if err != nil {
		t.Fatal(err)
	}
	sameConfig(t, c, Config{
		Issuer:      "http://localhost:8080",
		Listen:      []string{"127.0.0.1:8080"},
		AdminListen: "127.0.0.1:8081",
		DatabaseURL: "sqlite:data/doorward.db",
		Languages:   []string{"en", "de", "fr", "es", "ja"},
		Mail:        Mail{Hourly: 1000},
		SignUp:      "closed", SignUpApproval: "none",
		SignIn: SignIn{Password: true, EmailLink: true, Passkey: true, SecondFactor: SecondFactorOptional},
		Lifetimes: oauth.Lifetimes{
			Access:             time.Hour,
			Refresh:            168 * time.Hour,
			RefreshAbsolute:    720 * time.Hour,
			RefreshReuseWindow: 10 * time.Second,
			Code:               60 * time.Second,
		},
		TokenLimits:    oauth.TokenLimits{ClientRequests: 600, ClientLive: 10_000},
		Registration:   "closed",
		AuditRetention: 9600 * time.Hour,
		UsageRetention: 9600 * time.Hour,
		PlansBy:        "administrators",
		Cache:          "on",
		Plans:          map[string]limit.Plan{},
		Resources: []Resource{{
			Resource: catalog.Resource{
				ID: "http://localhost:8080", Name: "http://localhost:8080", WorkspaceHeader: "X-Workspace",
				Scopes: catalog.DefaultScopes(),
				Keys:   catalog.KeyRules{Prefix: "sk", Environments: []string{"live", "test"}},
			},
			API: gateway.API{
				ID: "http://localhost:8080",
				Builtin: []string{
					"/oauth/token",
					"/oauth/revoke",
					"/oauth/introspect",
					"/v1/api-keys",
					"/v1/auth/test",
					"/api/auth/me",
					"/api/me",
				},
				Shape:     gateway.Shape{Name: "flat", ExpiredStatus: 401},
				Anonymous: gateway.Concurrency{Total: 1000, PerAddress: 100},
			},
		}},
	})
}

const fullConfig = `
issuer: https://auth.example.com
listen: [0.0.0.0:8080, "[::1]:8082"]
admin_listen: 127.0.0.1:8081
database_url: postgres://doorward:p%40ss@db.example.com/doorward?sslmode=verify-full
database_migrate_url: env:MIGRATE_URL
secret: [env:SECRET_ONE, ABCDEFGHIJKLMNOPQRSTUVWXYZ012345]
trusted_proxies: [10.0.0.0/8, "::1"]
fetch: {allow: [10.0.0.0/8, "fd00::1"]}
brand:
  name: Northwind
  logo: env:LOGO
  logo_dark: env:LOGO
  accent: "#1f5f4c"
  support_url: mailto:help@northwind.example
  terms_url: https://northwind.example/terms
  privacy_url: https://northwind.example/privacy
  stylesheet: env:STYLESHEET
  messages: env:MESSAGES
languages: [de, en]
mail: {url: "smtp://app:p%40ss@mail.example.com:587", from: Northwind <no-reply@northwind.example>, hourly: 50}
sign_up: open
sign_up_domains: {allow: [northwind.example, example.com], deny: [example.org]}
sign_up_approval: administrator
sign_in: {password: false, email_link: true, passkey: true, passkey_domain: example.com, second_factor: everyone}
providers:
  - {id: google, client_id: id, client_secret: env:GOOGLE_SECRET, scopes: [openid, email], domains: [acme.example], sign_up: false, trusted_email: true, two_factors: true}
  - {id: acme, name: Acme, issuer: "https://login.acme.example", client_id: id, client_secret: secret}
tokens:
  access_lifetime: 30m
  refresh_lifetime: 1d12h
  refresh_absolute_lifetime: 2d
  refresh_reuse_window: 0
  code_lifetime: 90s
  client_requests: 0
  client_live: 20000
cache: off
limits: memory
dpop_nonces: true
registration: token
registration_compatibility: openid
metadata_documents: [client.example.com, "other.example:8443"]
audit_retention: 30d
usage_retention: 60d
plans:
  free: {hour: 100, burst: 20}
  pro: {hour: 1000, day: 5000, burst: 100}
  unbounded: {}
resources:
  - id: https://api.example.com
    name: Example API
    hosts: [api.example.com, "api.example.com:8443"]
    upstream: http://127.0.0.1:9000
    builtin: [/oauth/token, /v1/auth/test]
    cors: https://app.example.com
    tokens: jwt
    dpop: required
    errors: nested
    error_texts: {unauthorized: Who are you, forbidden: Not for you}
    expired_status: 419
    workspace_header: x-sophic-workspace
    anonymous_plan: free
    anonymous_concurrency: {total: 50, per_address: 5}
    paths: loose
    user_plan: pro
    client_plan: unbounded
    scopes:
      read: {text: Read your data}
      write: {text: Change your data, implies: read}
      capture: {text: Add documents as you, user_only: true}
      "reports:read": {text: Read reports}
    open_registration: [read, "reports:read"]
    objects: [opportunities, accounts]
    keys: {prefix: ex, environments: [live], default_plan: free, test_plan: free, max_lifetime: 90d, new_text: Make one}
    routes:
      - {methods: [GET], path: "/v1/{object}/**", scopes: ["{object}:read", "accounts:write"]}
      - {methods: POST, path: /v1/capture, scopes: [capture], credentials: [personal_access_token, access_token], role: member}
      - {methods: [POST, PUT, PATCH], path: /v1/**, scopes: [write], cost: 2}
      - {path: /me, scopes: []}
      - {path: /health, public: true}
    trusted_issuers:
      - {issuer: https://x.supabase.co/auth/v1, audience: authenticated, hs256_secret: env:JWT_SECRET, scopes: [read], plan: pro}
      - {issuer: https://idp.example.org, audience: api, jwks_url: https://idp.example.org/jwks, algorithms: [ES256]}
  - id: urn:example:other
    keys: {prefix: other}
`

func TestConfigReadsEveryKey(t *testing.T) {
	dir := t.TempDir()
	logo, style := filepath.Join(dir, "logo.svg"), filepath.Join(dir, "brand.css")
	for name, text := range map[string]string{
		logo: `<svg xmlns="http://www.w3.org/2000/svg"/>`, style: "a { color: red }",
		filepath.Join(dir, "de.yaml"): "'Sign in': Einloggen\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := mustLoad(t, fullConfig, map[string]string{
		"LOGO": logo, "STYLESHEET": style, "MESSAGES": dir,
		"MIGRATE_URL": "postgresql://owner@db.example.com/doorward", "SECRET_ONE": testSecret, "JWT_SECRET": testSecret + "!",
		"GOOGLE_SECRET": "from the environment",
	})
	other := defaultResource("urn:example:other")
	other.Keys.Prefix = "other"
	sameConfig(t, c, Config{
		Issuer:             "https://auth.example.com",
		Listen:             []string{"0.0.0.0:8080", "[::1]:8082"},
		AdminListen:        "127.0.0.1:8081",
		DatabaseURL:        "postgres://doorward:p%40ss@db.example.com/doorward?sslmode=verify-full",
		DatabaseMigrateURL: "postgresql://owner@db.example.com/doorward",
		Secret:             []input.Secret{input.Secret(testSecret), input.Secret("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345")},
		TrustedProxies:     []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		Fetch: fetch.Config{
			Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::1/128")},
		},
		Brand: brand.Config{
			Name: "Northwind", Logo: logo, LogoDark: logo, Accent: "#1f5f4c", SupportURL: "mailto:help@northwind.example",
			TermsURL: "https://northwind.example/terms", PrivacyURL: "https://northwind.example/privacy", Stylesheet: style,
		},
		Messages:  dir,
		Languages: []string{"de", "en"},
		Mail: Mail{
			URL: "smtp://app:p%40ss@mail.example.com:587", From: "Northwind <no-reply@northwind.example>", Hourly: 50,
		},
		SignUp:         "open",
		SignUpDomains:  Domains{Allow: []string{"northwind.example", "example.com"}, Deny: []string{"example.org"}},
		SignUpApproval: "administrator",
		SignIn: SignIn{
			Password: false, EmailLink: true, Passkey: true, PasskeyDomain: "example.com", SecondFactor: SecondFactorEveryone,
		},
		Providers: []Provider{
			{
				Config: provider.Config{
					ID: "google", Kind: "google", ClientID: "id", ClientSecret: "from the environment", Scopes: []string{"openid", "email"},
				},
				Domains: []string{"acme.example"}, SignUp: false, TrustedEmail: true, TwoFactors: true,
			},
			{
				Config: provider.Config{
					ID: "acme", Name: "Acme", Issuer: "https://login.acme.example", ClientID: "id", ClientSecret: "secret",
				},
				SignUp: true,
			},
		},
		Lifetimes: oauth.Lifetimes{
			Access:          30 * time.Minute,
			Refresh:         36 * time.Hour,
			RefreshAbsolute: 48 * time.Hour,
			Code:            90 * time.Second,
		},
		TokenLimits:  oauth.TokenLimits{ClientLive: 20_000},
		DPoPNonces:   true,
		Registration: "token", RegistrationCompatibility: "openid",
		MetadataDocuments: oauth.DocumentHosts{Hosts: []string{"client.example.com", "other.example:8443"}},
		AuditRetention:    720 * time.Hour,
		UsageRetention:    1440 * time.Hour,
		PlansBy:           "administrators",
		Cache:             "off",
		Limits:            "memory",
		Plans: map[string]limit.Plan{
			"free":      {Hour: 100, Burst: 20},
			"pro":       {Hour: 1000, Day: 5000, Burst: 100},
			"unbounded": {},
		},
		Resources: []Resource{{
			Resource: catalog.Resource{
				ID: "https://api.example.com", Name: "Example API", CORS: []string{"https://app.example.com"}, JWT: true, RequireDPoP: true,
				WorkspaceHeader: "x-sophic-workspace", AnonymousPlan: "free", UserPlan: "pro", ClientPlan: "unbounded",
				Scopes: []catalog.Scope{
					{Name: "read", Text: "Read your data"},
					{Name: "write", Text: "Change your data", Implies: []string{"read"}},
					{Name: "capture", Text: "Add documents as you", UserOnly: true},
					{Name: "reports:read", Text: "Read reports"},
				},
				OpenScopes: []string{"read", "reports:read"},
				Objects:    []string{"opportunities", "accounts"},
				Keys: catalog.KeyRules{
					Prefix: "ex", Environments: []string{"live"}, DefaultPlan: "free", TestPlan: "free", MaxLifetime: 90 * input.Day,
					NewText: "Make one",
				},
				TrustedIssuers: []catalog.TrustedIssuer{
					{
						Issuer:      "https://x.supabase.co/auth/v1",
						Audiences:   []string{"authenticated"},
						HS256Secret: input.Secret(testSecret + "!"),
						Scopes:      []string{"read"},
						Plan:        "pro",
					},
					{
						Issuer:     "https://idp.example.org",
						Audiences:  []string{"api"},
						JWKSURL:    "https://idp.example.org/jwks",
						Algorithms: []string{"ES256"},
					},
				},
			},
			API: gateway.API{
				ID: "https://api.example.com",
				Hosts: []string{
					"api.example.com",
					"api.example.com:8443",
				}, Upstream: &url.URL{Scheme: "http", Host: "127.0.0.1:9000"},
				Builtin: []string{"/oauth/token", "/v1/auth/test"},
				Shape: gateway.Shape{
					Name:          "nested",
					Texts:         gateway.Texts{Unauthorized: "Who are you", Forbidden: "Not for you"},
					ExpiredStatus: 419,
				},
				Loose: true, Anonymous: gateway.Concurrency{Total: 50, PerAddress: 5},
				Routes: []route.Route{
					{Methods: []string{"GET"}, Path: "/v1/{object}/**", Scopes: []string{"{object}:read", "accounts:write"}, Cost: 1},
					{
						Methods:     []string{"POST"},
						Path:        "/v1/capture",
						Scopes:      []string{"capture"},
						Credentials: []string{"personal_access_token", "access_token"},
						Role:        "member",
						Cost:        1,
					},
					{Methods: []string{"POST", "PUT", "PATCH"}, Path: "/v1/**", Scopes: []string{"write"}, Cost: 2},
					{Path: "/me", Scopes: []string{}, Cost: 1},
					{Path: "/health", Cost: 1, Public: true},
				},
			},
		}, other},
	})
}

func TestConfigFlagBeatsVariableBeatsFileBeatsDefault(t *testing.T) {
	file := "issuer: http://localhost:1\nlisten: env:NOT_SET\nadmin_listen: 127.0.0.1:1\nsecret: file:not/there\n"
	c, err := load(
		t,
		file,
		map[string][]string{"issuer": {"http://localhost:3"}, "listen": {"127.0.0.1:3", "127.0.0.1:4"}},
		map[string]string{
			"DOORWARD_ISSUER": "not even a URL", "DOORWARD_ADMIN_LISTEN": "127.0.0.1:2", "DOORWARD_SECRET": testSecret + " " + testSecret + "2",
			"DOORWARD_DATABASE_URL": "",
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Issuer, want.Listen, want.AdminListen = "http://localhost:3", []string{
		"127.0.0.1:3",
		"127.0.0.1:4",
	}, "127.0.0.1:2"
	want.Secret = []input.Secret{input.Secret(testSecret), input.Secret(testSecret + "2")}
	want.Resources = []Resource{defaultResource("http://localhost:3")}
	sameConfig(t, c, want)
}

func TestConfigFileValueIsTrimmedAndSplitForLists(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "secrets")
	if err := os.WriteFile(name, []byte(testSecret+"A\n"+testSecret+"B\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []input.Secret{input.Secret(testSecret + "A"), input.Secret(testSecret + "B")}
	for where, c := range map[string]Config{
		"file":     mustLoad(t, "secret: file:"+name, nil),
		"variable": mustLoad(t, "", map[string]string{"DOORWARD_SECRET": "file:" + name}),
	} {
		if fmt.Sprint(len(c.Secret)) != "2" || !bytes.Equal(c.Secret[0], want[0]) || !bytes.Equal(c.Secret[1], want[1]) {
			t.Errorf("%s: the secrets differ from those in the file", where)
		}
	}
}

func TestO01_SecretNeverPrints(t *testing.T) {
	s := input.Secret("c4n4ry")
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "config", Config{Secret: []input.Secret{s}})
	printed := fmt.Sprintf("%v %+v %#v %s %q %x %d", s, []input.Secret{s}, s, s, s, s, s) + log.String()
	if strings.Contains(printed, "c4n4ry") || strings.Contains(printed, fmt.Sprintf("%x", "c4n4ry")) {
		t.Errorf("printed %s", printed)
	}
}

func TestEverySettingIsATopLevelKey(t *testing.T) {
	var c Config
	keys := newParser(environ(nil)).topLevel(&c)
	for _, s := range Settings {
		if keys[s.Key] == nil {
			t.Errorf("%s is a setting and no key", s.Key)
		}
		delete(keys, s.Key)
	}
	for _, key := range fileOnly {
		delete(keys, key)
	}
	if len(keys) > 0 {
		t.Errorf("keys that are neither a setting nor in fileOnly: %v", reflect.ValueOf(keys).MapKeys())
	}
}

// FuzzConfig: whatever the file holds, reading it ends in a configuration that keeps its promises, or in faults.
func FuzzConfig(f *testing.F) {
	f.Add(fullConfig)
	f.Add(withResource("cors: '*'"))
	f.Add("a: &a [*a]\nresources: *a")
	f.Add("listen: !!binary aGk=\n? {a: b}\n: c\n--- x")
	f.Fuzz(func(t *testing.T, text string) {
		p := newParser(environ(map[string]string{"JWT_SECRET": testSecret}))
		p.readFile = func(string) ([]byte, error) { return nil, os.ErrNotExist }
		c := Default()
		p.document("c.yaml", []byte(text), p.topLevel(&c))
		p.check(&c)
		if len(p.faults) > 0 {
			for _, one := range p.faults {
				if strings.ContainsAny(one.String(), "\n\r\x1b") {
					t.Errorf("fault is more than one plain line: %q", one.String())
				}
			}
			return
		}
		if checkIssuer(c.Issuer) != nil || len(c.Listen) == 0 || len(c.Resources) == 0 ||
			checkDatabaseURL(c.DatabaseURL) != nil ||
			c.Lifetimes.Access <= 0 ||
			c.Lifetimes.Code <= 0 ||
			c.Lifetimes.RefreshAbsolute < c.Lifetimes.Refresh {
			t.Errorf("accepted %+v", c)
		}
		for _, r := range c.Resources {
			if r.ID == "" || r.Name == "" || len(r.Scopes) == 0 || r.API.Shape.Name == "" || r.API.ID != r.ID {
				t.Errorf("accepted resource %+v", r)
			}
		}
	})
}

// Resources that leave their key prefix out start side by side, and none takes a prefix that another one wrote.
func TestV77_KeyPrefixesAreDerived(t *testing.T) {
	for text, want := range map[string]string{
		"[{id: urn:a}, {id: urn:b}, {id: urn:c}]":                                                                   "sk sk2 sk3",
		"[{id: urn:a, keys: {prefix: sk2}}, {id: urn:b}, {id: urn:c}]":                                              "sk2 sk sk3",
		"[{id: urn:a}, {id: urn:b, keys: {prefix: sk}}, {id: urn:c, keys: {environments: []}}, {id: urn:d}]":        "sk2 sk sk3 sk4",
		"[{id: urn:a, keys: {prefix: acme}}, {id: urn:b, keys: {prefix: other}}]":                                   "acme other",
		"[{id: urn:a, keys: {environments: [live]}}, {id: urn:b, keys: {environments: [test], max_lifetime: 90d}}]": "sk sk2",
	} {
		c := mustLoad(t, "resources: "+text, nil)
		var got []string
		for _, r := range c.Resources {
			got = append(got, r.Keys.Prefix)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// An issuer may move from a shared secret to published keys, give each app an audience of its own, or leave aud out.
func TestV44_AnIssuerMayHaveSeveralEntries(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	text := `
redirect_schemes: [cursor]
resources:
  - id: https://api.example.com
    scopes: {read: {text: Read}}
    trusted_issuers:
      - {issuer: https://x.example, audience: authenticated, hs256_secret: ` + testSecret + `, scopes: [read]}
      - {issuer: https://x.example, audience: authenticated, jwks_url: https://x.example/jwks, algorithms: [ES256], scopes: [read]}
      - {issuer: https://x.example, audience: [b, c], jwks_url: https://x.example/jwks, algorithms: [ES256, RS256]}
      - {issuer: https://y.example, client_ids: [app], jwks_url: https://y.example/jwks, algorithms: RS256}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, nil, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	got := c.Resources[0].TrustedIssuers
	if len(got) != 4 || !slices.Equal(got[2].Audiences, []string{"b", "c"}) ||
		!slices.Equal(got[3].ClientIDs, []string{"app"}) ||
		got[3].Audiences != nil ||
		!slices.Equal(c.RedirectSchemes, []string{"cursor"}) {
		t.Errorf("read %+v", got)
	}
	twice := strings.Replace(text, "resources:", "resources:\n  - {id: https://API.example.com:443/}", 1)
	if err := os.WriteFile(path, []byte(twice), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, nil, func(string) string { return "" }); err == nil ||
		!strings.Contains(err.Error(), "is also the id of resources[0]") {
		t.Errorf("V-47: one resource in two spellings: %v", err)
	}
}
