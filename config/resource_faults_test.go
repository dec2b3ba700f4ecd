package config

import (
	"strings"
	"testing"
)

// withResource is a valid file but for what is added to its one resource.
func withResource(lines string) string {
	return "plans: {free: {hour: 1}}\nresources:\n  - id: https://api.example.com\n    " + strings.ReplaceAll(
		lines,
		"\n",
		"\n    ",
	)
}

func TestConfigResourceFaultsSayWhatToWrite(t *testing.T) {
	const at = "c.yaml:4: resources[0]."
	for name, tc := range map[string]struct{ lines, want string }{
		"host url":              {"hosts: https://api.example.com", at + `hosts: "https://api.example.com" is more than a host; use only the name`},
		"host wildcard":         {`hosts: "*.example.com"`, at + "hosts: has a wildcard; list each host by its name"},
		"host capitals":         {"hosts: API.example.com", at + "hosts: has capital letters"},
		"host IPv6":             {`hosts: "::1"`, at + `hosts: "::1" is an IPv6 address; use "[::1]"`},
		"host of issuer":        {"hosts: localhost:8080", at + `hosts[0]: "localhost:8080" is the issuer's host`},
		"host of issuer bare":   {"hosts: localhost", at + `hosts[0]: "localhost" is the issuer's host`},
		"upstream no hosts":     {"upstream: http://127.0.0.1:9000", at + "upstream: is never used without hosts"},
		"upstream bare":         {"upstream: 127.0.0.1:9000\nhosts: a.example", at + "upstream: is not a URL; use a full URL"},
		"upstream path":         {"upstream: http://127.0.0.1:9000/v1\nhosts: a.example", at + "upstream: has a path or query, and an upstream must not have one; use http://127.0.0.1:9000"},
		"upstream ourselves":    {"upstream: http://127.0.0.1:8080\nhosts: a.example", at + "upstream: is an address on which Doorward itself listens"},
		"builtin page":          {"builtin: [/login]", at + `builtin[0]: "/login" is not one of the allowed values; use one of: /oauth/token,`},
		"cors star":             {`cors: "*"`, at + `cors: "*" would let every website call the API as its user`},
		"cors slash":            {"cors: https://app.example.com/", at + "cors: ends with a slash; use https://app.example.com"},
		"cors path":             {"cors: [https://app.example.com/x]", at + "cors[0]: has a path or query, and an origin must not have one; use https://app.example.com"},
		"tokens":                {"tokens: JWT", at + `tokens: "JWT" is not one of the allowed values; use one of: opaque, jwt`},
		"errors":                {"errors: problem", at + "errors: \"problem\" is not one of the allowed values; use one of: flat, nested, envelope"},
		"error text":            {"error_texts: {rate: x}", at + "error_texts.rate: is not a known key; known here: expired, forbidden, unauthorized"},
		"status":                {"expired_status: 403", at + `expired_status: "403" is neither 401 nor 419`},
		"header":                {`workspace_header: "X Workspace"`, at + `workspace_header: "X Workspace" is not a valid header name`},
		"header taken":          {"workspace_header: x-auth-workspace", at + `workspace_header: "x-auth-workspace" already has another meaning`},
		"plan":                  {"anonymous_plan: fre", at + `anonymous_plan: "fre" is not a plan; use one of free, or add it under plans`},
		"key plan":              {"keys: {test_plan: pro}", at + `keys.test_plan: "pro" is not a plan`},
		"no scopes":             {"scopes: {}", at + "scopes: is empty; add at least one scope"},
		"scope list":            {"scopes: [read]", at + "scopes: is a list; use keys and values under it"},
		"scope name":            {`scopes: {'a"b': {text: x}}`, at + `scopes.a"b: is not a valid scope name`},
		"scope space":           {`scopes: {"read all": {text: x}}`, at + "scopes.read all: is not a valid scope name"},
		"scope circle":          {"scopes: {a: {text: A, implies: b}, b: {text: B, implies: a}}", at + "scopes.a.implies: leads back to a itself"},
		"scope itself":          {"scopes: {a: {text: A, implies: a}}", at + "scopes.a.implies: leads back to a itself"},
		"scope user_only":       {"scopes: {a: {text: A, user_only: yes}}", at + `scopes.a.user_only: "yes" is neither true nor false`},
		"object":                {"objects: [a:b]", at + `objects[0]: "a:b" is not a valid object name`},
		"key prefix":            {"keys: {prefix: SK_}", at + `keys.prefix: "SK_" is not a valid prefix; use up to 20 lower-case letters`},
		"key prefix dw":         {"keys: {prefix: dw}", at + "keys.prefix: gives keys that start with dw_live_, but Doorward's own tokens start with dw_"},
		"key prefix pat":        {"keys: {prefix: pat}", at + "keys.prefix: gives keys that start with pat_live_, but personal access tokens start with pat_"},
		"key environment":       {"keys: {environments: [prod]}", at + `keys.environments[0]: "prod" is not one of the allowed values; use one of: live, test`},
		"key kinds of old":      {"keys: {kinds: [live]}", at + "keys.kinds: was renamed; use keys.environments"},
		"route unknown scope":   {"routes: [{path: /a, scopes: [reed]}]", at + `routes[0].scopes[0]: "reed" is not a scope of this resource; use one of read, write, delete, admin`},
		"route introspect":      {"routes: [{path: /a, scopes: [introspect]}]", at + "routes[0].scopes[0]: introspect is built in and does not apply to routes"},
		"route object":          {"routes: [{path: /a, scopes: ['accounts:read']}]", at + `routes[0].scopes[0]: "accounts" is not in objects; add it there`},
		"route no objects":      {"routes: [{path: '/{object}', scopes: ['{object}:read']}]", at + "routes[0].path: has {object}, but the resource lists no objects"},
		"route object path":     {"objects: a\nroutes: [{path: /a, scopes: ['{object}:read']}]", "routes[0].scopes[0]: \"{object}:read\" needs {object} in the path"},
		"route object action":   {"objects: a\nroutes: [{path: '/{object}', scopes: ['{object}:peek']}]", `routes[0].scopes[0]: "peek" is not an action of this resource; use one of read`},
		"route path query":      {"routes: [{path: '/a?b', public: true}]", at + `routes[0].path: "/a?b" has a query or fragment`},
		"route path dots":       {"routes: [{path: /a/../b, public: true}]", at + `routes[0].path: "/a/../b" has a . or .. segment`},
		"route path slashes":    {"routes: [{path: /a//b, public: true}]", at + `routes[0].path: "/a//b" has // or a backslash`},
		"route path escape":     {"routes: [{path: /a%20b, public: true}]", at + `routes[0].path: "/a%20b" has an escape; use the character itself`},
		"route path stars":      {"routes: [{path: /**/a, public: true}]", at + `routes[0].path: "/**/a" has ** before its end`},
		"route path id":         {"routes: [{path: '/a/{id}', public: true}]", at + `routes[0].path: "/a/{id}" has the segment "{id}"; use * for any one segment`},
		"route path colon":      {"routes: [{path: /a/:id, public: true}]", at + `routes[0].path: "/a/:id" has the segment ":id"`},
		"route method star":     {`routes: [{path: /a, methods: "*", public: true}]`, at + `routes[0].methods: "*" is not a method; leave methods out`},
		"route no methods":      {"routes: [{path: /a, methods: [], public: true}]", at + "routes[0].methods: is an empty list, which matches nothing"},
		"route credential":      {"routes: [{path: /a, credentials: [refresh_token]}]", at + `routes[0].credentials[0]: "refresh_token" is not one of the allowed values`},
		"route role":            {"routes: [{path: /a, role: superuser}]", at + `routes[0].role: "superuser" is not one of the allowed values; use one of: viewer, member, admin, owner`},
		"route public scopes":   {"routes: [{path: /a, scopes: [read], public: true}]", at + "routes[0].public: is true, but the route also has scopes"},
		"route refuse scopes":   {"routes: [{path: /a, scopes: [read], refuse: true}]", at + "routes[0].refuse: is true, so all requests are refused, but the route also has scopes"},
		"route refuse public":   {"routes: [{path: /a, public: true, refuse: true}]", at + "routes[0].refuse: is true, so all requests are refused"},
		"route public cost":     {"routes: [{path: /a, cost: 2, public: true}]", at + "routes[0].cost: has no effect, because public routes cost nothing"},
		"route shadowed":        {"routes:\n- {path: /v1/**, scopes: [read]}\n- {path: /v1, scopes: [write]}", "c.yaml:6: resources[0].routes[1]: is never used, because routes[0] (/v1/**, line 5) before it matches all its requests"},
		"route shadowed by two": {"objects: [a, b]\nroutes:\n- {path: /a, scopes: [read]}\n- {path: /b, public: true}\n- {path: '/{object}', scopes: [write]}", "c.yaml:8: resources[0].routes[2]: is never used, because routes[0] (/a, line 6) and routes[1] (/b, line 7) before it together match all its requests"},
		"issuer own":            {"trusted_issuers: [{issuer: 'http://localhost:8080', audience: x, jwks_url: 'https://x.example/jwks', algorithms: ES256}]", at + "trusted_issuers[0].issuer: is this server's own issuer"},
		"issuer empty":          {"trusted_issuers: [{}]", at + "trusted_issuers[0].issuer: is missing"},
		"issuer no audience":    {"trusted_issuers: [{issuer: 'https://x.example'}]", at + "trusted_issuers[0].audience: is missing; set it to the tokens' aud"},
		"issuer never reached":  {"trusted_issuers: [{issuer: 'https://x.example', audience: [x, y], hs256_secret: " + testSecret + "}, {issuer: 'https://x.example', audience: x, hs256_secret: " + testSecret + ", scopes: [read]}]", at + "trusted_issuers[1]: is never used, because trusted_issuers[0]"},
		"issuer no clients":     {"trusted_issuers: [{issuer: 'https://x.example', client_ids: [], hs256_secret: " + testSecret + "}]", at + "trusted_issuers[0].client_ids: is an empty list"},
		"issuer public key":     {"trusted_issuers: [{issuer: 'https://x.example', audience: x, hs256_secret: '-----BEGIN PUBLIC KEY----- MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE'}]", at + "trusted_issuers[0].hs256_secret: is a key of a key pair"},
		"issuer no key":         {"trusted_issuers: [{issuer: 'https://x.example', audience: x}]", at + "trusted_issuers[0]: has neither hs256_secret nor jwks_url"},
		"issuer both keys":      {"trusted_issuers: [{issuer: 'https://x.example', audience: x, hs256_secret: " + testSecret + ", jwks_url: 'https://x.example/jwks'}]", at + "trusted_issuers[0]: has both hs256_secret and jwks_url"},
		"issuer weak secret":    {"trusted_issuers: [{issuer: 'https://x.example', audience: x, hs256_secret: hunter2}]", at + "trusted_issuers[0].hs256_secret: has 7 bytes and needs 32"},
		"issuer plain jwks":     {"trusted_issuers: [{issuer: 'https://x.example', audience: x, jwks_url: 'http://x.example/jwks'}]", at + "trusted_issuers[0].jwks_url: is http, so anyone on the network could change the keys"},
		"issuer none":           {"trusted_issuers: [{issuer: 'https://x.example', audience: x, jwks_url: 'https://x.example/jwks', algorithms: [none]}]", at + "trusted_issuers[0].algorithms[0]: none means unsigned"},
		"issuer no algorithm":   {"trusted_issuers: [{issuer: 'https://x.example', audience: x, jwks_url: 'https://x.example/jwks'}]", at + "trusted_issuers[0].algorithms: is missing; set it to the issuer's algorithms"},
		"issuer HMAC by jwks":   {"trusted_issuers: [{issuer: 'https://x.example', audience: x, jwks_url: 'https://x.example/jwks', algorithms: HS256}]", at + `trusted_issuers[0].algorithms: "HS256" signs with a shared secret`},
		"issuer scope":          {"trusted_issuers: [{issuer: 'https://x.example', audience: x, hs256_secret: " + testSecret + ", scopes: [reed]}]", at + `trusted_issuers[0].scopes[0]: "reed" is not a scope of this resource`},
		"issuer plan":           {"trusted_issuers: [{issuer: 'https://x.example', audience: x, hs256_secret: " + testSecret + ", plan: gold}]", at + `trusted_issuers[0].plan: "gold" is not a plan`},
	} {
		t.Run(name, func(t *testing.T) { wantFault(t, withResource(tc.lines), tc.want) })
	}
}
