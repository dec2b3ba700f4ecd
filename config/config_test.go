package config

import (
	"bytes"
	"errors"
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

	"doorward/oauth"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/oauth/limit"
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
	if diff := cmp.Diff(want, got, secrets, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.IgnoreUnexported(gateway.API{})); diff != "" {
		t.Errorf("configuration differs (-want +got):\n%s", diff)
	}
}

func TestConfigWithNothingSetIsTheDocumentedDefault(t *testing.T) {
	c, err := Load("", nil, environ(nil))
	if err != nil {
		t.Fatal(err)
	}
	sameConfig(t, c, Config{
		Issuer:         "http://localhost:8080",
		Listen:         []string{"127.0.0.1:8080"},
		AdminListen:    "127.0.0.1:8081",
		DatabaseURL:    "sqlite:data/doorward.db",
		SignUp:         "closed",
		Lifetimes:      oauth.Lifetimes{Access: time.Hour, Refresh: 168 * time.Hour, RefreshAbsolute: 720 * time.Hour, RefreshReuseWindow: 10 * time.Second, Code: 60 * time.Second},
		TokenLimits:    oauth.TokenLimits{ClientRequests: 600, ClientLive: 10_000},
		AuditRetention: 9600 * time.Hour,
		UsageRetention: 9600 * time.Hour,
		PlansBy:        "administrators",
		Plans:          map[string]limit.Plan{},
		Resources: []Resource{{
			Resource: catalog.Resource{
				ID: "http://localhost:8080", Name: "http://localhost:8080", WorkspaceHeader: "X-Workspace",
				Scopes: []catalog.Scope{
					{Name: "read", Text: "Read your data"},
					{Name: "write", Text: "Create and change your data"},
					{Name: "delete", Text: "Delete your data"},
					{Name: "admin", Text: "Everything", Implies: []string{"read", "write", "delete"}},
				},
				Keys: catalog.KeyRules{Prefix: "sk", Environments: []string{"live", "test"}},
			},
			API: gateway.API{
				ID:        "http://localhost:8080",
				Builtin:   []string{"/oauth/token", "/oauth/revoke", "/oauth/introspect", "/v1/api-keys", "/v1/auth/test", "/api/auth/me", "/api/me"},
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
sign_up: closed
tokens:
  access_lifetime: 30m
  refresh_lifetime: 1d12h
  refresh_absolute_lifetime: 2d
  refresh_reuse_window: 0
  code_lifetime: 90s
  client_requests: 0
  client_live: 20000
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
	c := mustLoad(t, fullConfig, map[string]string{
		"MIGRATE_URL": "postgresql://owner@db.example.com/doorward", "SECRET_ONE": testSecret, "JWT_SECRET": testSecret + "!",
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
		SignUp:             "closed",
		Lifetimes:          oauth.Lifetimes{Access: 30 * time.Minute, Refresh: 36 * time.Hour, RefreshAbsolute: 48 * time.Hour, Code: 90 * time.Second},
		TokenLimits:        oauth.TokenLimits{ClientLive: 20_000},
		AuditRetention:     720 * time.Hour,
		UsageRetention:     1440 * time.Hour,
		PlansBy:            "administrators",
		Plans:              map[string]limit.Plan{"free": {Hour: 100, Burst: 20}, "pro": {Hour: 1000, Day: 5000, Burst: 100}, "unbounded": {}},
		Resources: []Resource{{
			Resource: catalog.Resource{
				ID: "https://api.example.com", Name: "Example API", CORS: []string{"https://app.example.com"}, JWT: true,
				WorkspaceHeader: "x-sophic-workspace", AnonymousPlan: "free", UserPlan: "pro", ClientPlan: "unbounded",
				Scopes: []catalog.Scope{
					{Name: "read", Text: "Read your data"},
					{Name: "write", Text: "Change your data", Implies: []string{"read"}},
					{Name: "capture", Text: "Add documents as you", UserOnly: true},
					{Name: "reports:read", Text: "Read reports"},
				},
				Objects: []string{"opportunities", "accounts"},
				Keys: catalog.KeyRules{
					Prefix: "ex", Environments: []string{"live"}, DefaultPlan: "free", TestPlan: "free", MaxLifetime: 90 * input.Day,
					NewText: "Make one",
				},
				TrustedIssuers: []catalog.TrustedIssuer{
					{Issuer: "https://x.supabase.co/auth/v1", Audiences: []string{"authenticated"}, HS256Secret: input.Secret(testSecret + "!"), Scopes: []string{"read"}, Plan: "pro"},
					{Issuer: "https://idp.example.org", Audiences: []string{"api"}, JWKSURL: "https://idp.example.org/jwks", Algorithms: []string{"ES256"}},
				},
			},
			API: gateway.API{
				ID:    "https://api.example.com",
				Hosts: []string{"api.example.com", "api.example.com:8443"}, Upstream: &url.URL{Scheme: "http", Host: "127.0.0.1:9000"},
				Builtin: []string{"/oauth/token", "/v1/auth/test"},
				Shape:   gateway.Shape{Name: "nested", Texts: gateway.Texts{Unauthorized: "Who are you", Forbidden: "Not for you"}, ExpiredStatus: 419},
				Loose:   true, Anonymous: gateway.Concurrency{Total: 50, PerAddress: 5},
				Routes: []route.Route{
					{Methods: []string{"GET"}, Path: "/v1/{object}/**", Scopes: []string{"{object}:read", "accounts:write"}, Cost: 1},
					{Methods: []string{"POST"}, Path: "/v1/capture", Scopes: []string{"capture"}, Credentials: []string{"personal_access_token", "access_token"}, Role: "member", Cost: 1},
					{Methods: []string{"POST", "PUT", "PATCH"}, Path: "/v1/**", Scopes: []string{"write"}, Cost: 2},
					{Path: "/me", Scopes: []string{}, Cost: 1},
					{Path: "/health", Cost: 1, Public: true},
				},
			},
		}, other},
	})
}

// One message names every fault, with the line where it stands.
func TestConfigReportsAllFaultsWithTheirLines(t *testing.T) {
	_, err := load(t, `issuer: http://auth.example.com
listen: [127.0.0.1]
databse_url: sqlite:x.db
sign_up: open
tokens:
  access_lifetime: 3600
  code_lifetime: 1h
tokens: {}
audit_retention: [1d]
plans:
  free:
    hour: many
    hour: 5
    weekly: 7
resources:
  - name: No id
    user_plan: pro
    scopes:
      introspect: {text: No}
      read: {implies: [write]}
    routes:
      - {methods: [get], path: v1, scopes: [read]}
      - path: /v1/**
`, nil, map[string]string{"DOORWARD_TRUSTED_PROXIES": "10.0.0.1 proxy"})
	want := []string{
		`DOORWARD_TRUSTED_PROXIES: trusted_proxies[1]: "proxy" is neither an address nor a CIDR range; write the proxy's, such as 10.0.0.2 or 10.0.0.0/8`,
		`c.yaml:1: issuer: is http, which is allowed only for localhost, 127.0.0.1 and [::1]; write https://auth.example.com, and terminate TLS at a proxy`,
		`c.yaml:2: listen[0]: "127.0.0.1" is not host:port; write both, such as 127.0.0.1:8080`,
		`c.yaml:3: databse_url: is not a known key; did you mean database_url?`,
		`c.yaml:4: sign_up: open needs email, which this version does not send; write closed, and create users with: doorward user create`,
		`c.yaml:6: tokens.access_lifetime: has no unit; write 3600d for days, 3600h for hours, or 3600s for seconds`,
		`c.yaml:7: tokens.code_lifetime: is longer than 10m, the maximum that RFC 6749 recommends; write 60s`,
		`c.yaml:8: tokens: is written twice, first on line 5; keep one`,
		`c.yaml:9: audit_retention: is a list; write one value, or leave the key out`,
		`c.yaml:12: plans.free.hour: "many" is not a whole number from 1 to 1000000000; write one without separators`,
		`c.yaml:13: plans.free.hour: is written twice, first on line 12; keep one`,
		`c.yaml:14: plans.free.weekly: is not a known key; known here: burst, day, hour`,
		`c.yaml:16: resources[0].id: is missing; write the API's URI, such as https://api.example.com`,
		`c.yaml:17: resources[0].user_plan: "pro" is not a plan; write one of free, or add it under plans`,
		`c.yaml:19: resources[0].scopes.introspect: is built in, for the keys with which a resource server introspects; choose another name`,
		`c.yaml:20: resources[0].scopes.read.text: is missing; write what the scope allows, as the consent page shows it`,
		`c.yaml:20: resources[0].scopes.read.implies[0]: "write" is not a scope of this resource; write one of introspect, read`,
		`c.yaml:22: resources[0].routes[0].methods[0]: "get" is not in capitals; write GET`,
		`c.yaml:22: resources[0].routes[0].path: "v1" does not start with /; write a path, such as /v1/**`,
		`c.yaml:23: resources[0].routes[1]: does not say what a request needs; write scopes: [read], or scopes: [] for any valid credential, or public: true, or refuse: true`,
	}
	if err == nil {
		t.Fatal("no faults")
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("faults differ (-want +got):\n%s", diff)
	}
}

// withResource is a valid file but for what is added to its one resource.
func withResource(lines string) string {
	return "plans: {free: {hour: 1}}\nresources:\n  - id: https://api.example.com\n    " + strings.ReplaceAll(lines, "\n", "\n    ")
}

func TestConfigFaultsSayWhatToWrite(t *testing.T) {
	const start = "c.yaml:1: "
	for name, tc := range map[string]struct{ text, want string }{
		"not yaml":                {"a: b: c", "is not YAML: mapping values are not allowed in this context; put a value that contains a colon and a space in quotes"},
		"tabs":                    {"tokens:\n\taccess_lifetime: 1h", "c.yaml:2: is not YAML: found character that cannot start any token; indent with spaces, not tabs"},
		"bare IPv6 list":          {"listen: [::1]:8080", `put a value such as "[::1]:8080" in quotes`},
		"second document":         {"issuer: http://localhost:1\n---\nissuer: http://localhost:2", "c.yaml:2: contains a second document; keep one, without ---"},
		"not a mapping":           {"- issuer", start + "is a list; write keys and values"},
		"merge key":               {"tokens: &t {access_lifetime: 1h}\nplans: {<<: *t}", "c.yaml:2: plans.<<: is not supported; write the keys out"},
		"no value":                {"issuer:", start + "issuer: is empty; write one value, or leave the key out"},
		"key with hyphen":         {"database-url: sqlite:x", start + "database-url: is not a known key; did you mean database_url?"},
		"number for text":         {"secret: 12345678901234567890123456789012", start + "secret: is a number; put it in quotes to make it text"},
		"bool for text":           {"sign_up: false", start + "sign_up: is true or false; put it in quotes to make it text"},
		"mapping for list":        {"listen: {a: b}", start + "listen: is a mapping of keys and values; write a list"},
		"missing variable":        {"database_url: env:NO_SUCH", start + `database_url: the variable "NO_SUCH" is not set; set it`},
		"missing file":            {"secret: file:no/such", start + `secret: cannot read the file "no/such": no such file or directory; put the value in it`},
		"control character":       {`issuer: "http://localhost\e"`, start + "issuer: contains a control character"},
		"issuer slash":            {"issuer: https://auth.example.com/", start + "issuer: ends with a slash; write https://auth.example.com"},
		"issuer path":             {"issuer: https://example.com/auth", start + "issuer: has a path or query, and an issuer must not have one; write https://example.com"},
		"issuer query":            {"issuer: https://example.com?", start + "issuer: has a path or query"},
		"issuer user":             {"issuer: https://me@example.com", start + "issuer: contains a user name or password; remove them"},
		"issuer fragment":         {`issuer: "https://example.com#"`, start + "issuer: has a fragment"},
		"issuer bare":             {"issuer: auth.example.com", start + "issuer: does not start with https:// or http://"},
		"issuer capitals":         {"issuer: https://Auth.example.com", start + `issuer: has capital letters in the host; write "auth.example.com"`},
		"issuer usual port":       {"issuer: https://auth.example.com:443", start + "issuer: has the default port of https; remove :443"},
		"issuer every address":    {"issuer: http://0.0.0.0:8080", start + "issuer: is http, which is allowed only for localhost"},
		"issuer loopback lookout": {"issuer: http://localhost.example.com", start + "issuer: is http, which is allowed only for localhost"},
		"issuer short address":    {"issuer: http://127.1", start + `issuer: has the host "127.1", which is neither a name nor an address`},
		"issuer no secret":        {"issuer: https://auth.example.com", "secret: is empty, but an issuer that other machines can reach needs a secret"},
		"listen port only":        {"listen: 8080", start + "listen: is a number; put it in quotes to make it text"},
		"listen quoted port":      {`listen: "8080"`, start + `listen: "8080" is only a port; write 127.0.0.1:8080`},
		"listen url":              {"listen: http://127.0.0.1:8080", start + `listen: "http://127.0.0.1:8080" is a URL; write host:port`},
		"listen IPv6 no port":     {`listen: ["::1"]`, start + `listen[0]: "::1" has no port; write "[::1]:8080"`},
		"listen port range":       {"listen: 127.0.0.1:70000", start + `listen: has the port "70000"; write a number from 1 to 65535`},
		"listen none":             {"listen: []", start + "listen: is empty; write at least one address"},
		"listen twice":            {"listen: [127.0.0.1:80, 127.0.0.1:80]", start + `listen[1]: "127.0.0.1:80" is in the list twice`},
		"listen overlap":          {`listen: [127.0.0.1:80, ":80"]`, start + `listen[1]: ":80" uses the same port as listen[0]`},
		"admin on public":         {"listen: :8081", "admin_listen: uses the same port as listen; write another"},
		"mysql":                   {"database_url: mysql://u:secret@h/d", start + `database_url: starts with "mysql:", which is not a supported database`},
		"sqlite slashes":          {"database_url: sqlite://data/x.db", start + "database_url: is written like a URL with a host; write sqlite:data/doorward.db"},
		"sqlite memory":           {`database_url: "sqlite::memory:"`, start + "database_url: does not name a persistent file"},
		"sqlite options":          {"database_url: sqlite:x.db?mode=ro", start + "database_url: has options after the file"},
		"bare path":               {"database_url: data/doorward.db", start + "database_url: does not name a database"},
		"postgres password":       {`database_url: "postgres://u:pa#ss/@h:x/d"`, start + "database_url: is not a URL; write postgres://user:password@host:5432/database, and in the password write %40"},
		"postgres no host":        {"database_url: postgres:doorward", start + "database_url: does not name a server"},
		"migrate on sqlite":       {"database_migrate_url: postgres://u@h/d", start + "database_migrate_url: is set, but database_url is a SQLite file"},
		"short secret":            {"secret: hunter2", start + "secret: has 7 bytes and needs 32; create one with: openssl rand"},
		"poor secret":             {"secret: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", start + "secret: has too few different characters"},
		"secret twice":            {"secret: [" + testSecret + ", " + testSecret + "]", start + "secret[1]: is in the list twice; write it once"},
		"redirect scheme bad":     {"redirect_schemes: [javascript]", start + `redirect_schemes[0]: "javascript" has a special meaning`},
		"redirect scheme colon":   {"redirect_schemes: ['cursor:']", start + `redirect_schemes[0]: "cursor:" is not a scheme`},
		"redirect scheme https":   {"redirect_schemes: https", start + `redirect_schemes: "https" does not need an entry`},
		"trust everybody":         {"trusted_proxies: 0.0.0.0/0", start + `trusted_proxies: "0.0.0.0/0" trusts every client`},
		"trust host bits":         {"trusted_proxies: 10.1.2.3/8", start + `trusted_proxies: "10.1.2.3/8" is ambiguous; write 10.0.0.0/8 for the range, or 10.1.2.3 for the address`},
		"negative duration":       {"tokens: {access_lifetime: -1h}", start + "tokens.access_lifetime: is negative"},
		"zero lifetime":           {"tokens: {access_lifetime: 0}", start + "tokens.access_lifetime: 0s is too short; write at least 1s"},
		"fractions":               {"tokens: {access_lifetime: 1.5h}", start + `tokens.access_lifetime: "1.5h" is not a duration`},
		"milliseconds":            {"tokens: {code_lifetime: 500ms}", start + `tokens.code_lifetime: "500ms" is not a duration`},
		"overflow":                {"audit_retention: 99999999999999999999d", start + "audit_retention: is longer than 36500d"},
		"absolute too short":      {"tokens: {refresh_absolute_lifetime: 6d}", start + "tokens.refresh_absolute_lifetime: makes refresh_absolute_lifetime (6d) shorter than refresh_lifetime (7d)"},
		"idle beyond absolute":    {"tokens: {refresh_lifetime: 60d}", start + "tokens.refresh_lifetime: makes refresh_absolute_lifetime (30d) shorter than refresh_lifetime (60d)"},
		"window beyond lifetime":  {"tokens: {refresh_reuse_window: 7d}", start + "tokens.refresh_reuse_window: is not shorter than refresh_lifetime"},
		"short retention":         {"usage_retention: 1h", start + "usage_retention: 1h is too short; write at least 1d"},
		"zero window":             {"plans: {free: {hour: 0}}", start + `plans.free.hour: "0" is not a whole number from 1 to`},
		"separators":              {"plans: {free: {hour: 1_000}}", start + `plans.free.hour: "1_000" is not a whole number`},
		"plan name":               {"plans: {Free Plan: {}}", start + "plans.Free Plan: is not a valid plan name"},
		"plan empty":              {"plans:\n  free:", "c.yaml:2: plans.free: is empty; write keys and values under it, or {} for none"},
		"resource no mapping":     {"resources: [https://api.example.com]", start + "resources[0]: is a plain value; write keys and values under it"},
		"resource id bare":        {"resources: [{id: api.example.com}]", start + `resources[0].id: "api.example.com" is not an absolute URI; write one`},
		"resource id fragment":    {`resources: [{id: "https://a.example#x"}]`, start + "resources[0].id: has a fragment, which RFC 8707 forbids"},
		"resource id twice":       {"resources: [{id: urn:a}, {id: urn:a, keys: {prefix: x}}]", start + `resources[1].id: "urn:a" is also the id of resources[0]`},
		"prefix twice":            {"resources:\n- {id: urn:a}\n- {id: urn:b, keys: {prefix: acme}}\n- {id: urn:c, keys: {prefix: acme}}", "c.yaml:4: resources[2].keys.prefix: gives keys that start with acme_live_, but the keys of resources[1] start with acme_live_; write another prefix"},
		"host twice":              {"resources:\n- {id: urn:a, hosts: a.example}\n- {id: urn:b, hosts: a.example, keys: {prefix: x}}", `c.yaml:3: resources[1].hosts[0]: "a.example" is also a host of resources[0]`},
	} {
		t.Run(name, func(t *testing.T) { wantFault(t, tc.text, tc.want) })
	}
}

func TestConfigResourceFaultsSayWhatToWrite(t *testing.T) {
	const at = "c.yaml:4: resources[0]."
	for name, tc := range map[string]struct{ lines, want string }{
		"host url":              {"hosts: https://api.example.com", at + `hosts: "https://api.example.com" is more than a host; write only the name`},
		"host wildcard":         {`hosts: "*.example.com"`, at + "hosts: has a wildcard; list each host by its name"},
		"host capitals":         {"hosts: API.example.com", at + "hosts: has capital letters"},
		"host IPv6":             {`hosts: "::1"`, at + `hosts: "::1" is an IPv6 address; write "[::1]"`},
		"host of issuer":        {"hosts: localhost:8080", at + `hosts[0]: "localhost:8080" is the issuer's host`},
		"host of issuer bare":   {"hosts: localhost", at + `hosts[0]: "localhost" is the issuer's host`},
		"upstream no hosts":     {"upstream: http://127.0.0.1:9000", at + "upstream: is never used without hosts"},
		"upstream bare":         {"upstream: 127.0.0.1:9000\nhosts: a.example", at + "upstream: is not a URL; write it in full"},
		"upstream path":         {"upstream: http://127.0.0.1:9000/v1\nhosts: a.example", at + "upstream: has a path or query, and an upstream must not have one; write http://127.0.0.1:9000"},
		"upstream ourselves":    {"upstream: http://127.0.0.1:8080\nhosts: a.example", at + "upstream: is an address on which Doorward itself listens"},
		"builtin page":          {"builtin: [/login]", at + `builtin[0]: "/login" is not one of the allowed values; write one of: /oauth/token,`},
		"cors star":             {`cors: "*"`, at + `cors: "*" would let every website call the API as its user`},
		"cors slash":            {"cors: https://app.example.com/", at + "cors: ends with a slash; write https://app.example.com"},
		"cors path":             {"cors: [https://app.example.com/x]", at + "cors[0]: has a path or query, and an origin must not have one; write https://app.example.com"},
		"tokens":                {"tokens: JWT", at + `tokens: "JWT" is not one of the allowed values; write one of: opaque, jwt`},
		"errors":                {"errors: problem", at + "errors: \"problem\" is not one of the allowed values; write one of: flat, nested, envelope"},
		"error text":            {"error_texts: {rate: x}", at + "error_texts.rate: is not a known key; known here: expired, forbidden, unauthorized"},
		"status":                {"expired_status: 403", at + `expired_status: "403" is neither 401 nor 419`},
		"header":                {`workspace_header: "X Workspace"`, at + `workspace_header: "X Workspace" is not a valid header name`},
		"header taken":          {"workspace_header: x-auth-workspace", at + `workspace_header: "x-auth-workspace" already has another meaning`},
		"plan":                  {"anonymous_plan: fre", at + `anonymous_plan: "fre" is not a plan; write one of free, or add it under plans`},
		"key plan":              {"keys: {test_plan: pro}", at + `keys.test_plan: "pro" is not a plan`},
		"no scopes":             {"scopes: {}", at + "scopes: is empty; write at least one scope"},
		"scope list":            {"scopes: [read]", at + "scopes: is a list; write keys and values under it"},
		"scope name":            {`scopes: {'a"b': {text: x}}`, at + `scopes.a"b: is not a scope's name`},
		"scope space":           {`scopes: {"read all": {text: x}}`, at + "scopes.read all: is not a scope's name"},
		"scope circle":          {"scopes: {a: {text: A, implies: b}, b: {text: B, implies: a}}", at + "scopes.a.implies: leads back to a itself"},
		"scope itself":          {"scopes: {a: {text: A, implies: a}}", at + "scopes.a.implies: leads back to a itself"},
		"scope user_only":       {"scopes: {a: {text: A, user_only: yes}}", at + `scopes.a.user_only: "yes" is neither true nor false`},
		"object":                {"objects: [a:b]", at + `objects[0]: "a:b" is not an object's name`},
		"key prefix":            {"keys: {prefix: SK_}", at + `keys.prefix: "SK_" is not a valid prefix; write up to 20 lower-case letters`},
		"key prefix dw":         {"keys: {prefix: dw}", at + "keys.prefix: gives keys that start with dw_live_, but Doorward's own tokens start with dw_"},
		"key prefix pat":        {"keys: {prefix: pat}", at + "keys.prefix: gives keys that start with pat_live_, but personal access tokens start with pat_"},
		"key environment":       {"keys: {environments: [prod]}", at + `keys.environments[0]: "prod" is not one of the allowed values; write one of: live, test`},
		"key kinds of old":      {"keys: {kinds: [live]}", at + "keys.kinds: was renamed; write keys.environments"},
		"route unknown scope":   {"routes: [{path: /a, scopes: [reed]}]", at + `routes[0].scopes[0]: "reed" is not a scope of this resource; write one of read, write, delete, admin`},
		"route introspect":      {"routes: [{path: /a, scopes: [introspect]}]", at + "routes[0].scopes[0]: introspect is built in and does not apply to routes"},
		"route object":          {"routes: [{path: /a, scopes: ['accounts:read']}]", at + `routes[0].scopes[0]: "accounts" is not in objects; add it there`},
		"route no objects":      {"routes: [{path: '/{object}', scopes: ['{object}:read']}]", at + "routes[0].path: has {object}, but the resource lists no objects"},
		"route object path":     {"objects: a\nroutes: [{path: /a, scopes: ['{object}:read']}]", "routes[0].scopes[0]: \"{object}:read\" needs {object} in the path"},
		"route object action":   {"objects: a\nroutes: [{path: '/{object}', scopes: ['{object}:peek']}]", `routes[0].scopes[0]: "peek" is not an action of this resource; write one of read`},
		"route path query":      {"routes: [{path: '/a?b', public: true}]", at + `routes[0].path: "/a?b" has a query or fragment`},
		"route path dots":       {"routes: [{path: /a/../b, public: true}]", at + `routes[0].path: "/a/../b" has a . or .. segment`},
		"route path slashes":    {"routes: [{path: /a//b, public: true}]", at + `routes[0].path: "/a//b" has // or a backslash`},
		"route path escape":     {"routes: [{path: /a%20b, public: true}]", at + `routes[0].path: "/a%20b" has an escape; write the character itself`},
		"route path stars":      {"routes: [{path: /**/a, public: true}]", at + `routes[0].path: "/**/a" has ** before its end`},
		"route path id":         {"routes: [{path: '/a/{id}', public: true}]", at + `routes[0].path: "/a/{id}" has the segment "{id}"; write * for any one segment`},
		"route path colon":      {"routes: [{path: /a/:id, public: true}]", at + `routes[0].path: "/a/:id" has the segment ":id"`},
		"route method star":     {`routes: [{path: /a, methods: "*", public: true}]`, at + `routes[0].methods: "*" is not a method; leave methods out`},
		"route no methods":      {"routes: [{path: /a, methods: [], public: true}]", at + "routes[0].methods: is an empty list, which matches nothing"},
		"route credential":      {"routes: [{path: /a, credentials: [refresh_token]}]", at + `routes[0].credentials[0]: "refresh_token" is not one of the allowed values`},
		"route role":            {"routes: [{path: /a, role: superuser}]", at + `routes[0].role: "superuser" is not one of the allowed values; write one of: viewer, member, admin, owner`},
		"route public scopes":   {"routes: [{path: /a, scopes: [read], public: true}]", at + "routes[0].public: is true, but the route also has scopes"},
		"route refuse scopes":   {"routes: [{path: /a, scopes: [read], refuse: true}]", at + "routes[0].refuse: is true, so all requests are refused, but the route also has scopes"},
		"route refuse public":   {"routes: [{path: /a, public: true, refuse: true}]", at + "routes[0].refuse: is true, so all requests are refused"},
		"route public cost":     {"routes: [{path: /a, cost: 2, public: true}]", at + "routes[0].cost: has no effect, because public routes cost nothing"},
		"route shadowed":        {"routes:\n- {path: /v1/**, scopes: [read]}\n- {path: /v1, scopes: [write]}", "c.yaml:6: resources[0].routes[1]: is never used, because routes[0] (/v1/**, line 5) before it matches all its requests"},
		"route shadowed by two": {"objects: [a, b]\nroutes:\n- {path: /a, scopes: [read]}\n- {path: /b, public: true}\n- {path: '/{object}', scopes: [write]}", "c.yaml:8: resources[0].routes[2]: is never used, because routes[0] (/a, line 6) and routes[1] (/b, line 7) before it together match all its requests"},
		"issuer own":            {"trusted_issuers: [{issuer: 'http://localhost:8080', audience: x, jwks_url: 'https://x.example/jwks', algorithms: ES256}]", at + "trusted_issuers[0].issuer: is this server's own issuer"},
		"issuer empty":          {"trusted_issuers: [{}]", at + "trusted_issuers[0].issuer: is missing"},
		"issuer no audience":    {"trusted_issuers: [{issuer: 'https://x.example'}]", at + "trusted_issuers[0].audience: is missing; write the tokens' aud"},
		"issuer never reached":  {"trusted_issuers: [{issuer: 'https://x.example', audience: [x, y], hs256_secret: " + testSecret + "}, {issuer: 'https://x.example', audience: x, hs256_secret: " + testSecret + ", scopes: [read]}]", at + "trusted_issuers[1]: is never used, because trusted_issuers[0]"},
		"issuer no clients":     {"trusted_issuers: [{issuer: 'https://x.example', client_ids: [], hs256_secret: " + testSecret + "}]", at + "trusted_issuers[0].client_ids: is an empty list"},
		"issuer public key":     {"trusted_issuers: [{issuer: 'https://x.example', audience: x, hs256_secret: '-----BEGIN PUBLIC KEY----- MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE'}]", at + "trusted_issuers[0].hs256_secret: is a key of a key pair"},
		"issuer no key":         {"trusted_issuers: [{issuer: 'https://x.example', audience: x}]", at + "trusted_issuers[0]: has neither hs256_secret nor jwks_url"},
		"issuer both keys":      {"trusted_issuers: [{issuer: 'https://x.example', audience: x, hs256_secret: " + testSecret + ", jwks_url: 'https://x.example/jwks'}]", at + "trusted_issuers[0]: has both hs256_secret and jwks_url"},
		"issuer weak secret":    {"trusted_issuers: [{issuer: 'https://x.example', audience: x, hs256_secret: hunter2}]", at + "trusted_issuers[0].hs256_secret: has 7 bytes and needs 32"},
		"issuer plain jwks":     {"trusted_issuers: [{issuer: 'https://x.example', audience: x, jwks_url: 'http://x.example/jwks'}]", at + "trusted_issuers[0].jwks_url: is http, so anyone on the network could change the keys"},
		"issuer none":           {"trusted_issuers: [{issuer: 'https://x.example', audience: x, jwks_url: 'https://x.example/jwks', algorithms: [none]}]", at + "trusted_issuers[0].algorithms[0]: none means unsigned"},
		"issuer no algorithm":   {"trusted_issuers: [{issuer: 'https://x.example', audience: x, jwks_url: 'https://x.example/jwks'}]", at + "trusted_issuers[0].algorithms: is missing; write the issuer's algorithms"},
		"issuer HMAC by jwks":   {"trusted_issuers: [{issuer: 'https://x.example', audience: x, jwks_url: 'https://x.example/jwks', algorithms: HS256}]", at + `trusted_issuers[0].algorithms: "HS256" signs with a shared secret`},
		"issuer scope":          {"trusted_issuers: [{issuer: 'https://x.example', audience: x, hs256_secret: " + testSecret + ", scopes: [reed]}]", at + `trusted_issuers[0].scopes[0]: "reed" is not a scope of this resource`},
		"issuer plan":           {"trusted_issuers: [{issuer: 'https://x.example', audience: x, hs256_secret: " + testSecret + ", plan: gold}]", at + `trusted_issuers[0].plan: "gold" is not a plan`},
	} {
		t.Run(name, func(t *testing.T) { wantFault(t, withResource(tc.lines), tc.want) })
	}
}

// wantFault wants exactly one fault, but allows what else a missing piece brings with it.
func wantFault(t *testing.T, text, want string) {
	t.Helper()
	_, err := load(t, text, nil, nil)
	var found Faults
	if !errors.As(err, &found) {
		t.Fatalf("error is %v, want faults", err)
	}
	for _, f := range found {
		if strings.Contains(f.String(), want) {
			return
		}
	}
	t.Errorf("got:\n%v\nwant:\n%s", err, want)
}

func TestConfigFlagBeatsVariableBeatsFileBeatsDefault(t *testing.T) {
	file := "issuer: http://localhost:1\nlisten: env:NOT_SET\nadmin_listen: 127.0.0.1:1\nsecret: file:not/there\n"
	c, err := load(t, file, map[string][]string{"issuer": {"http://localhost:3"}, "listen": {"127.0.0.1:3", "127.0.0.1:4"}}, map[string]string{
		"DOORWARD_ISSUER": "not even a URL", "DOORWARD_ADMIN_LISTEN": "127.0.0.1:2", "DOORWARD_SECRET": testSecret + " " + testSecret + "2",
		"DOORWARD_DATABASE_URL": "",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Issuer, want.Listen, want.AdminListen = "http://localhost:3", []string{"127.0.0.1:3", "127.0.0.1:4"}, "127.0.0.1:2"
	want.Secret = []input.Secret{input.Secret(testSecret), input.Secret(testSecret + "2")}
	want.Resources = []Resource{defaultResource("http://localhost:3")}
	sameConfig(t, c, want)
}

func TestConfigFaultsOfFlagsAndVariablesNameThem(t *testing.T) {
	_, err := load(t, "{}", map[string][]string{"issuer": {"nowhere"}}, map[string]string{
		"DOORWARD_LISTEN": "127.0.0.1:1 x", "DOORWARD_PLANS": "free", "DOORWARD_SECRET": "env:GONE",
	})
	want := []string{
		"--issuer: issuer: does not start with https:// or http://; write the URL in full, such as https://auth.example.com",
		`DOORWARD_LISTEN: listen[1]: "x" is not host:port; write both, such as 127.0.0.1:8080`,
		`DOORWARD_SECRET: secret: the variable "GONE" is not set; set it, or write the value here`,
		"DOORWARD_PLANS: plans: cannot be set by a variable; set it in the file that --config names",
	}
	if err == nil {
		t.Fatal("no faults")
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("faults differ (-want +got):\n%s", diff)
	}
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

// Passwords in URLs and secrets never reach a message (O-01).
func TestO01_ConfigFaultsShowNoSecret(t *testing.T) {
	const canary = "c4n4ry"
	_, err := load(t, fmt.Sprintf(`
database_url: "postgres://u:%[1]s@h:%[1]s/d"
database_migrate_url: postgres://u:%[1]s@[h/d
secret: [%[1]s, %[1]s%[1]s%[1]s%[1]s%[1]s%[1]s, %[1]s%[1]s%[1]s%[1]s%[1]s%[1]s]
issuer: https://u:%[1]s@example.com
resources:
  - id: https://u:%[1]s@example.com
    upstream: http://u:%[1]s@h
    cors: http://u:%[1]s@h
    trusted_issuers: [{issuer: "https://u:%[1]s@h", audience: x, hs256_secret: %[1]s}]
`, canary), nil, nil)
	if err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("message shows the secret, or there is none:\n%v", err)
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
		if checkIssuer(c.Issuer) != nil || len(c.Listen) == 0 || len(c.Resources) == 0 || checkDatabaseURL(c.DatabaseURL) != nil ||
			c.Lifetimes.Access <= 0 || c.Lifetimes.Code <= 0 || c.Lifetimes.RefreshAbsolute < c.Lifetimes.Refresh {
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
	if len(got) != 4 || !slices.Equal(got[2].Audiences, []string{"b", "c"}) || !slices.Equal(got[3].ClientIDs, []string{"app"}) || got[3].Audiences != nil || !slices.Equal(c.RedirectSchemes, []string{"cursor"}) {
		t.Errorf("read %+v", got)
	}
	twice := strings.Replace(text, "resources:", "resources:\n  - {id: https://API.example.com:443/}", 1)
	if err := os.WriteFile(path, []byte(twice), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, nil, func(string) string { return "" }); err == nil || !strings.Contains(err.Error(), "is also the id of resources[0]") {
		t.Errorf("V-47: one resource in two spellings: %v", err)
	}
}
