package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
		`DOORWARD_TRUSTED_PROXIES: trusted_proxies[1]: "proxy" is neither an address nor a CIDR range; use the proxy's, such as 10.0.0.2 or 10.0.0.0/8`,
		`c.yaml:1: issuer: is http, which is allowed only for localhost, 127.0.0.1 and [::1]; use https://auth.example.com, and terminate TLS at a proxy`,
		`c.yaml:2: listen[0]: "127.0.0.1" is not host:port; include both, such as 127.0.0.1:8080`,
		`c.yaml:3: databse_url: is not a known key; did you mean database_url?`,
		`c.yaml:4: sign_up: is open, which proves addresses by email, but email is not configured; set mail.url and mail.from, or use closed`,
		`c.yaml:6: tokens.access_lifetime: has no unit; use 3600d for days, 3600h for hours, or 3600s for seconds`,
		`c.yaml:7: tokens.code_lifetime: is longer than 10m, the maximum that RFC 6749 recommends; use 60s`,
		`c.yaml:8: tokens: is written twice, first on line 5; keep one`,
		`c.yaml:9: audit_retention: is a list; set one value, or leave the key out`,
		`c.yaml:12: plans.free.hour: "many" is not a whole number from 1 to 1000000000; use one without separators`,
		`c.yaml:13: plans.free.hour: is written twice, first on line 12; keep one`,
		`c.yaml:14: plans.free.weekly: is not a known key; known here: burst, day, hour`,
		`c.yaml:16: resources[0].id: is missing; set it to the API's URI, such as https://api.example.com`,
		`c.yaml:17: resources[0].user_plan: "pro" is not a plan; use one of free, or add it under plans`,
		`c.yaml:19: resources[0].scopes.introspect: is reserved for introspection keys; choose another name`,
		`c.yaml:20: resources[0].scopes.read.text: is missing; describe what the scope allows, for the consent page`,
		`c.yaml:20: resources[0].scopes.read.implies[0]: "write" is not a scope of this resource; use one of introspect, read`,
		`c.yaml:22: resources[0].routes[0].methods[0]: "get" is not in capitals; use GET`,
		`c.yaml:22: resources[0].routes[0].path: "v1" does not start with /; use a path, such as /v1/**`,
		`c.yaml:23: resources[0].routes[1]: has no access rule; set scopes: [read], or scopes: [] for any valid credential, or public: true, or refuse: true`,
	}
	if err == nil {
		t.Fatal("no faults")
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("faults differ (-want +got):\n%s", diff)
	}
}

func TestConfigFaultsSayWhatToWrite(t *testing.T) {
	const start = "c.yaml:1: "
	for name, tc := range map[string]struct{ text, want string }{
		"not yaml":                {"a: b: c", "is not YAML: mapping values are not allowed in this context; put a value that contains a colon and a space in quotes"},
		"tabs":                    {"tokens:\n\taccess_lifetime: 1h", "c.yaml:2: is not YAML: found character that cannot start any token; indent with spaces, not tabs"},
		"bare IPv6 list":          {"listen: [::1]:8080", `put a value such as "[::1]:8080" in quotes`},
		"second document":         {"issuer: http://localhost:1\n---\nissuer: http://localhost:2", "c.yaml:2: contains a second document; keep one, without ---"},
		"not a mapping":           {"- issuer", start + "is a list; use keys and values"},
		"merge key":               {"tokens: &t {access_lifetime: 1h}\nplans: {<<: *t}", "c.yaml:2: plans.<<: is not supported; list the keys directly"},
		"no value":                {"issuer:", start + "issuer: is empty; set one value, or leave the key out"},
		"key with hyphen":         {"database-url: sqlite:x", start + "database-url: is not a known key; did you mean database_url?"},
		"number for text":         {"secret: 12345678901234567890123456789012", start + "secret: is a number; put it in quotes to make it text"},
		"bool for text":           {"sign_up: false", start + "sign_up: is true or false; put it in quotes to make it text"},
		"mapping for list":        {"listen: {a: b}", start + "listen: is a mapping of keys and values; use a list"},
		"missing variable":        {"database_url: env:NO_SUCH", start + `database_url: the variable "NO_SUCH" is not set; set it`},
		"missing file":            {"secret: file:no/such", start + `secret: cannot read the file "no/such": no such file or directory; put the value in it`},
		"control character":       {`issuer: "http://localhost\e"`, start + "issuer: contains a control character"},
		"issuer slash":            {"issuer: https://auth.example.com/", start + "issuer: ends with a slash; use https://auth.example.com"},
		"issuer path":             {"issuer: https://example.com/auth", start + "issuer: has a path or query, and an issuer must not have one; use https://example.com"},
		"issuer query":            {"issuer: https://example.com?", start + "issuer: has a path or query"},
		"issuer user":             {"issuer: https://me@example.com", start + "issuer: contains a user name or password; remove them"},
		"issuer fragment":         {`issuer: "https://example.com#"`, start + "issuer: has a fragment"},
		"issuer bare":             {"issuer: auth.example.com", start + "issuer: does not start with https:// or http://"},
		"issuer capitals":         {"issuer: https://Auth.example.com", start + `issuer: has capital letters in the host; use "auth.example.com"`},
		"issuer usual port":       {"issuer: https://auth.example.com:443", start + "issuer: has the default port of https; remove :443"},
		"issuer every address":    {"issuer: http://0.0.0.0:8080", start + "issuer: is http, which is allowed only for localhost"},
		"issuer loopback lookout": {"issuer: http://localhost.example.com", start + "issuer: is http, which is allowed only for localhost"},
		"issuer short address":    {"issuer: http://127.1", start + `issuer: has the host "127.1", which is neither a name nor an address`},
		"issuer no secret":        {"issuer: https://auth.example.com", "secret: is empty, but an issuer that other machines can reach needs a secret"},
		"listen port only":        {"listen: 8080", start + "listen: is a number; put it in quotes to make it text"},
		"listen quoted port":      {`listen: "8080"`, start + `listen: "8080" is only a port; use 127.0.0.1:8080`},
		"listen url":              {"listen: http://127.0.0.1:8080", start + `listen: "http://127.0.0.1:8080" is a URL; use host:port`},
		"listen IPv6 no port":     {`listen: ["::1"]`, start + `listen[0]: "::1" has no port; use "[::1]:8080"`},
		"listen port range":       {"listen: 127.0.0.1:70000", start + `listen: has the port "70000"; use a number from 1 to 65535`},
		"listen none":             {"listen: []", start + "listen: is empty; add at least one address"},
		"listen twice":            {"listen: [127.0.0.1:80, 127.0.0.1:80]", start + `listen[1]: "127.0.0.1:80" is listed twice`},
		"listen overlap":          {`listen: [127.0.0.1:80, ":80"]`, start + `listen[1]: ":80" uses the same port as listen[0]`},
		"admin on public":         {"listen: :8081", "admin_listen: uses the same port as listen; use another"},
		"mysql":                   {"database_url: mysql://u:secret@h/d", start + `database_url: starts with "mysql:", which is not a supported database`},
		"sqlite slashes":          {"database_url: sqlite://data/x.db", start + "database_url: is written like a URL with a host; use sqlite:data/doorward.db"},
		"sqlite memory":           {`database_url: "sqlite::memory:"`, start + "database_url: does not name a persistent file"},
		"sqlite options":          {"database_url: sqlite:x.db?mode=ro", start + "database_url: has options after the file"},
		"bare path":               {"database_url: data/doorward.db", start + "database_url: does not name a database"},
		"postgres password":       {`database_url: "postgres://u:pa#ss/@h:x/d"`, start + "database_url: is not a URL; use postgres://user:password@host:5432/database, and in the password use %40"},
		"postgres no host":        {"database_url: postgres:doorward", start + "database_url: does not name a server"},
		"migrate on sqlite":       {"database_migrate_url: postgres://u@h/d", start + "database_migrate_url: is set, but database_url is a SQLite file"},
		"short secret":            {"secret: hunter2", start + "secret: has 7 bytes and needs 32; create one with: openssl rand"},
		"poor secret":             {"secret: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", start + "secret: has too few different characters"},
		"secret twice":            {"secret: [" + testSecret + ", " + testSecret + "]", start + "secret[1]: is listed twice; remove one"},
		"redirect scheme bad":     {"redirect_schemes: [javascript]", start + `redirect_schemes[0]: "javascript" has a special meaning`},
		"redirect scheme colon":   {"redirect_schemes: ['cursor:']", start + `redirect_schemes[0]: "cursor:" is not a scheme`},
		"redirect scheme https":   {"redirect_schemes: https", start + `redirect_schemes: "https" does not need an entry`},
		"trust everybody":         {"trusted_proxies: 0.0.0.0/0", start + `trusted_proxies: "0.0.0.0/0" trusts every client`},
		"trust host bits":         {"trusted_proxies: 10.1.2.3/8", start + `trusted_proxies: "10.1.2.3/8" is ambiguous; use 10.0.0.0/8 for the range, or 10.1.2.3 for the address`},
		"fetch anything":          {"fetch: {allow: [10.0.0.0/8, '::/0']}", start + `fetch.allow[1]: "::/0" allows every address, so a stranger's URL could reach this machine and its network; use that of your private network, such as 10.0.0.0/8`},
		"fetch name":              {"fetch:\n  allow: [keys.example.com]", `c.yaml:2: fetch.allow[0]: "keys.example.com" is neither an address nor a CIDR range; use that of your private network`},
		"fetch unspecified":       {"fetch: {allow: 0.0.0.0}", start + `fetch.allow: "0.0.0.0" cannot be the address of a server; use the address of the server to fetch from`},
		"fetch host bits":         {"fetch: {allow: 10.1.2.3/8}", start + `fetch.allow: "10.1.2.3/8" is ambiguous; use 10.0.0.0/8 for the range`},
		"fetch mapped":            {"fetch: {allow: ['::ffff:10.0.0.0/104']}", start + `fetch.allow[0]: "::ffff:10.0.0.0/104" is an IPv4 range in IPv6 form`},
		"fetch list":              {"fetch: [10.0.0.0/8]", start + "fetch: is a list; use keys and values under it"},
		"fetch key":               {"fetch: {allowed: []}", start + "fetch.allowed: is not a known key; did you mean allow?"},
		"dpop nonces":             {"dpop_nonces: required", start + `dpop_nonces: "required" is neither true nor false; use one of them`},
		"dpop":                    {"resources: [{id: urn:a, dpop: true}]", start + "resources[0].dpop: is true or false; put it in quotes to make it text"},
		"dpop word":               {"resources: [{id: urn:a, dpop: always}]", start + `resources[0].dpop: "always" is not one of the allowed values; use one of: optional, required`},
		"negative duration":       {"tokens: {access_lifetime: -1h}", start + "tokens.access_lifetime: is negative"},
		"zero lifetime":           {"tokens: {access_lifetime: 0}", start + "tokens.access_lifetime: 0s is too short; use at least 1s"},
		"fractions":               {"tokens: {access_lifetime: 1.5h}", start + `tokens.access_lifetime: "1.5h" is not a duration`},
		"milliseconds":            {"tokens: {code_lifetime: 500ms}", start + `tokens.code_lifetime: "500ms" is not a duration`},
		"overflow":                {"audit_retention: 99999999999999999999d", start + "audit_retention: is longer than 36500d"},
		"absolute too short":      {"tokens: {refresh_absolute_lifetime: 6d}", start + "tokens.refresh_absolute_lifetime: makes refresh_absolute_lifetime (6d) shorter than refresh_lifetime (7d)"},
		"idle beyond absolute":    {"tokens: {refresh_lifetime: 60d}", start + "tokens.refresh_lifetime: makes refresh_absolute_lifetime (30d) shorter than refresh_lifetime (60d)"},
		"window beyond lifetime":  {"tokens: {refresh_reuse_window: 7d}", start + "tokens.refresh_reuse_window: is not shorter than refresh_lifetime"},
		"short retention":         {"usage_retention: 1h", start + "usage_retention: 1h is too short; use at least 1d"},
		"zero window":             {"plans: {free: {hour: 0}}", start + `plans.free.hour: "0" is not a whole number from 1 to`},
		"separators":              {"plans: {free: {hour: 1_000}}", start + `plans.free.hour: "1_000" is not a whole number`},
		"plan name":               {"plans: {Free Plan: {}}", start + "plans.Free Plan: is not a valid plan name"},
		"plan empty":              {"plans:\n  free:", "c.yaml:2: plans.free: is empty; use keys and values under it, or {} for none"},
		"resource no mapping":     {"resources: [https://api.example.com]", start + "resources[0]: is a plain value; use keys and values under it"},
		"resource id bare":        {"resources: [{id: api.example.com}]", start + `resources[0].id: "api.example.com" is not an absolute URI; use one`},
		"resource id fragment":    {`resources: [{id: "https://a.example#x"}]`, start + "resources[0].id: has a fragment, which RFC 8707 forbids"},
		"resource id twice":       {"resources: [{id: urn:a}, {id: urn:a, keys: {prefix: x}}]", start + `resources[1].id: "urn:a" is also the id of resources[0]`},
		"prefix twice":            {"resources:\n- {id: urn:a}\n- {id: urn:b, keys: {prefix: acme}}\n- {id: urn:c, keys: {prefix: acme}}", "c.yaml:4: resources[2].keys.prefix: gives keys that start with acme_live_, but the keys of resources[1] start with acme_live_; use a different prefix"},
		"host twice":              {"resources:\n- {id: urn:a, hosts: a.example}\n- {id: urn:b, hosts: a.example, keys: {prefix: x}}", `c.yaml:3: resources[1].hosts[0]: "a.example" is also a host of resources[0]`},
	} {
		t.Run(name, func(t *testing.T) { wantFault(t, tc.text, tc.want) })
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

func TestConfigFaultsOfFlagsAndVariablesNameThem(t *testing.T) {
	_, err := load(t, "{}", map[string][]string{"issuer": {"nowhere"}}, map[string]string{
		"DOORWARD_LISTEN": "127.0.0.1:1 x", "DOORWARD_PLANS": "free", "DOORWARD_SECRET": "env:GONE",
	})
	want := []string{
		"--issuer: issuer: does not start with https:// or http://; use a full URL, such as https://auth.example.com",
		`DOORWARD_LISTEN: listen[1]: "x" is not host:port; include both, such as 127.0.0.1:8080`,
		`DOORWARD_SECRET: secret: the variable "GONE" is not set; set it, or put the value here`,
		"DOORWARD_PLANS: plans: cannot be set by a variable; set it in the file that --config names",
	}
	if err == nil {
		t.Fatal("no faults")
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("faults differ (-want +got):\n%s", diff)
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
