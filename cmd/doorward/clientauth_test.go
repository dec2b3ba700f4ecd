package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	// testKeys is a JWK set with the key of RFC 7517, appendix A.1.
	testKeys = `{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",` +
		`"y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","kid":"1"}]}`
	// testPrivateKey is the same one with its private half.
	testPrivateKey = `{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",` +
		`"y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}]}`
)

func TestClientAuthenticationFlags(t *testing.T) {
	c := newCLI(t)
	c.must("", "migrate")
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, []byte(testKeys+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	create := []string{"client", "create", "--name", "App", "--scope", "read", "--redirect-uri", "https://app.example.com/cb"}
	with := func(flags ...string) []string { return append(append([]string{}, create...), flags...) }

	// The keys come from a file, from standard input, or from the command line.
	for input, flag := range map[string]string{"": file, testKeys: "-", " ": testKeys} {
		app := c.object(input, with("--token-endpoint-auth-method", "private_key_jwt", "--jwks", flag)...)
		keys, _ := app["jwks"].(map[string]any)
		if _, has := app["client_secret"]; has || app["token_endpoint_auth_method"] != "private_key_jwt" ||
			len(keys["keys"].([]any)) != 1 {
			t.Errorf("created with %s: %v", flag, app)
		}
	}
	app := c.object("", with("--token-endpoint-auth-method", "private_key_jwt", "--jwks", file, "--fapi",
		"--token-endpoint-auth-signing-alg", "ES256")...)
	id := app["client_id"].(string)
	for name, want := range map[string]any{
		"fapi": true, "require_pushed_authorization_requests": true, "dpop_bound_access_tokens": true,
		"token_endpoint_audience": false, "token_endpoint_auth_signing_alg": "ES256", "jwks_uri": nil, "secrets": nil,
	} {
		if app[name] != want {
			t.Errorf("%s is %v, want %v", name, app[name], want)
		}
	}
	text := c.must("", "client", "show", id)
	for _, want := range []string{
		"token_endpoint_auth_method", "private_key_jwt", "token_endpoint_auth_signing_alg", "jwks", "1 (", "for ES256",
		"require_pushed_authorization_requests", "dpop_bound_access_tokens", "fapi", "What fapi means:", "PKCE is required",
		"Refresh tokens do not rotate.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("client show does not say %q:\n%s", want, text)
		}
	}
	c.fails(2, "has no secret", "", "client", "secret", "rotate", id)
	c.fails(2, "--dpop-bound-access-tokens cannot be false with fapi", "", "client", "update", id,
		"--no-dpop-bound-access-tokens")
	c.fails(2, "--require-pushed-authorization-requests cannot be false with fapi", "", with(
		"--token-endpoint-auth-method", "private_key_jwt", "--jwks", file, "--fapi",
		"--no-require-pushed-authorization-requests")...)
	c.fails(2, "--token-endpoint-audience cannot be true with fapi", "", "client", "update", id, "--token-endpoint-audience")

	// Keys at a URL in their place, and back to a secret.
	c.fails(2, "--jwks-uri cannot be combined", "", "client", "update", id, "--jwks-uri", "https://app.example.com/jwks")
	updated := c.object("", "client", "update", id, "--jwks", "", "--jwks-uri", "https://app.example.com/jwks", "--no-fapi")
	if updated["jwks"] != nil || updated["jwks_uri"] != "https://app.example.com/jwks" || updated["fapi"] != false ||
		updated["dpop_bound_access_tokens"] != true {
		t.Errorf("updated: %v", updated)
	}
	updated = c.object("", "client", "update", id, "--token-endpoint-auth-method", "", "--jwks-uri", "",
		"--token-endpoint-auth-signing-alg", "", "--no-dpop-bound-access-tokens", "--no-require-pushed-authorization-requests")
	if updated["token_endpoint_auth_method"] != nil || updated["jwks_uri"] != nil ||
		updated["dpop_bound_access_tokens"] != false || updated["require_pushed_authorization_requests"] != false {
		t.Errorf("back to a secret: %v", updated)
	}
	if rotated := c.object("", "client", "secret", "rotate", id); rotated["client_secret"] == nil {
		t.Errorf("rotated: %v", rotated)
	}
	if text := c.must("", "client", "show", id); !strings.Contains(text, "client_secret_basic or client_secret_post") {
		t.Errorf("client show does not say how the secret may be sent:\n%s", text)
	}

	public := c.object("", with("--token-endpoint-auth-method", "none", "--dpop-bound-access-tokens")...)
	if public["public"] != true || public["client_secret"] != nil || public["token_endpoint_auth_method"] != "none" {
		t.Errorf("none: %v", public)
	}
	server := c.object("", "client", "create", "--name", "API", "--resource-server", "--token-endpoint-auth-method",
		"private_key_jwt", "--jwks", file)
	if server["client_secret"] != nil || server["resource_server"] != true {
		t.Errorf("resource server: %v", server)
	}
	for want, flags := range map[string][]string{
		"--token-endpoint-auth-method":      {"--token-endpoint-auth-method", "client_secret_jwt"},
		"--token-endpoint-auth-signing-alg": {"--token-endpoint-auth-signing-alg", "HS256"},
		"--jwks is missing":                 {"--token-endpoint-auth-method", "private_key_jwt"},
		"--jwks contains a private":         {"--jwks", testPrivateKey},
		"--jwks is larger than 16 KiB":      {"--jwks", `{"keys":[],"x":"` + strings.Repeat("x", 1<<16) + `"}`},
		"--jwks: open":                      {"--jwks", filepath.Join(t.TempDir(), "missing")},
		"--jwks: the file is empty":         {"--jwks", os.DevNull},
		"--jwks-uri":                        {"--jwks-uri", "https://127.0.0.1/jwks"},
		"--fapi is only for confidential":   {"--public", "--fapi"},
	} {
		c.fails(2, want, "", with(flags...)...)
	}
}
