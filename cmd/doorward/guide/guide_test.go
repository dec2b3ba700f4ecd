package guide

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"doorward/config"
)

// TestDocsChooseARequestThatAKeyMaySend checks that the example is the first route that a key may GET.
func TestDocsChooseARequestThatAKeyMaySend(t *testing.T) {
	for name, tc := range map[string]struct{ routes, want string }{
		"none":         {"", "https://a.example/v1/auth/test"},
		"public":       {"- {path: /health, public: true}", "https://a.example/v1/auth/test"},
		"first":        {"- {path: /health, public: true}\n- {methods: [POST], path: /a, scopes: [write]}\n- {path: /b/**, scopes: [read]}", "https://a.example/b"},
		"everything":   {"- {path: /**, scopes: []}", "https://a.example/"},
		"people":       {"- {path: /a, scopes: [mine]}\n- {path: /b, scopes: [read], role: member}\n- {path: /c, scopes: [read], credentials: [access_token]}\n- {path: /d/*/e, scopes: [read]}", "https://a.example/d/1/e"},
		"taken before": {"- {path: /*/1, public: true}\n- {path: /a/*, scopes: [read]}\n- {path: '/{object}', scopes: [read]}", "https://a.example/accounts"},
		"odd letters":  {"- {path: \"/a b/$HOME/'\\\"`é\", scopes: [read]}", "https://a.example/a%20b/%24HOME/%27%22%60%C3%A9"},
	} {
		routes := "[]"
		if tc.routes != "" {
			routes = "\n  " + strings.ReplaceAll(tc.routes, "\n", "\n  ") + "\n"
		}
		text := "resources:\n- id: https://a.example\n  hosts: [a.example]\n  objects: [accounts]\n  scopes: {read: {text: R}, write: {text: W}, mine: {text: M, user_only: true}}\n  routes: " + routes
		file := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(file, nil, func(string) string { return "" })
		if err != nil {
			t.Fatal(err)
		}
		c.Issuer = "https://auth.example"
		if first, _ := samples(c, c.Resources[0]); first.URL != tc.want {
			t.Errorf("%s: %s, want %s", name, first.URL, tc.want)
		}
	}
}

// TestDocsOfAnAPIThatNeedsProofs checks that the page of an API whose access tokens must be bound to a key says so.
func TestDocsOfAnAPIThatNeedsProofs(t *testing.T) {
	for setting, want := range map[string]bool{"required": true, "optional": false} {
		file := filepath.Join(t.TempDir(), "c.yaml")
		text := "resources:\n- id: https://a.example\n  hosts: [a.example]\n  dpop: " + setting + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(file, nil, func(string) string { return "" })
		if err != nil {
			t.Fatal(err)
		}
		page, err := Page(c, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"must be bound to a key", "Authorization: DPoP $ACCESS_TOKEN", `"token_type": "DPoP"`} {
			if strings.Contains(page, part) != want {
				t.Errorf("dpop: %s: the page has %q: %v, want %v", setting, part, !want, want)
			}
		}
	}
}
