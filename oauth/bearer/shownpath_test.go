package bearer_test

import (
	"strings"
	"testing"

	"doorward/oauth/bearer"
)

// A path on the pages has the ids that were asked for, no query, no secret, and a bound.
func TestV67_AShownPathHasIDsAndNoSecrets(t *testing.T) {
	secret := "sk_" + "live_" + "0123456789abcdefABCDEF0123456789"
	hex := strings.Repeat("0a", 32)
	for path, want := range map[string]string{
		"/v1/accounts/42": "/v1/accounts/42",
		"/v1/api-keys/key_01a205da-6b79-700e-9a81-73bb64712baf":      "/v1/api-keys/key_01a205da-6b79-700e-9a81-73bb64712baf",
		"/v1/objects/01HZX3KQ5T9V8Y7W6R5P4N3M2B":                     "/v1/objects/01HZX3KQ5T9V8Y7W6R5P4N3M2B",
		"/v1/accounts/42?token=secret":                               "/v1/accounts/42",
		"/v1/accounts/42%3Ftoken=x":                                  "/v1/accounts/42[redacted]",
		"/v1/accounts/42#part":                                       "/v1/accounts/42",
		"/reset/" + hex:                                              "/reset/0a0a0a0a…",
		"/v1/files/a%20b":                                            "/v1/files/a%20b",
		"/v1/\u202eevil\n":                                           "/v1/?evil?",
		"/" + strings.Repeat("a/", 200):                              "/" + strings.Repeat("a/", 200)[:159] + "…",
		"/v1/users/" + strings.Repeat("x", 31) + "/" + "y":           "/v1/users/" + strings.Repeat("x", 31) + "/y",
		"/v1/download/" + strings.Repeat("0123456789abcdef", 3)[:40]: "/v1/download/01234567…",
	} {
		if got := bearer.ShownPath(path); got != want {
			t.Errorf("%q is shown as %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{
		"/use/" + secret, "/use/" + strings.ReplaceAll(secret, "_", "%5F"),
		"/a/eyJhbGciOiJIUzI1NiJ9eyJzdWIi.x.y",
	} {
		if got := bearer.ShownPath(path); strings.Contains(got, "ABCDEF") || strings.Contains(got, "hbGciOi") {
			t.Errorf("%q is shown as %q", path, got)
		}
	}
}
