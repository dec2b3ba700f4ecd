package main

import (
	"strings"
	"testing"
)

// What the configuration has left behind of keys, tokens and workspaces is a risk, told once for all that it concerns.
func TestCheckCountsWhatTheConfigurationLeftBehind(t *testing.T) {
	onEachEngine(t, func(t *testing.T, c *cli) {
		c.writeConfig("plans: {gold: {hour: 100}, free: {hour: 5}}\nresources:\n- {id: https://a.example, objects: [notes]}\n- {id: https://b.example, keys: {prefix: b}}\n")
		c.must("", "migrate")
		c.must(goodPassword, "user", "create", "--email", "ann@example.com", "--admin", "--password-stdin")
		c.must("", "workspace", "create", "--name", "Acme", "--slug", "acme", "--owner", "ann@example.com", "--plan", "gold")
		c.must("", "workspace", "create", "--name", "Free", "--slug", "free", "--owner", "ann@example.com", "--plan", "free")
		key := func(args ...string) string {
			made := c.object("", append([]string{"key", "create", "--workspace", "acme", "--name", "x"}, args...)...)
			return text(t, made, "id")
		}
		key("--scope", "read")
		lost := key("--scope", "read delete notes:write", "--plan", "gold")
		key("--scope", "delete", "--plan", "free")
		gone := key("--scope", "read", "--resource", "https://b.example")
		c.must("", "key", "revoke", key("--scope", "read", "--resource", "https://b.example"))
		c.must("", "key", "create", "--name", "B's API", "--scope", "introspect", "--resource", "https://b.example")
		c.must("", "key", "create", "--name", "A's API", "--scope", "introspect")
		token := c.object("", "token", "create", "--user", "ann@example.com", "--name", "x", "--scope", "delete")
		c.must("", "client", "create", "--name", "App", "--redirect-uri", "https://app.example/cb", "--scope", "notes:read", "--resource", "https://a.example")
		wantReport(t, c.object("", "check"), nil, []string{"issuer:", "secret:"})

		c.writeConfig("plans: {free: {hour: 5}}\nresources: [{id: https://a.example, scopes: {read: {text: Read}, write: {text: Write}}}]\n")
		report := c.object("", "check")
		wantReport(t, report, nil, []string{
			"issuer:", "secret:", `(App): is registered for the scope "notes:read", which none of its resources has`,
			`API keys for the resource "https://b.example", which is not configured, are worth nothing: 2, the first is ` + gone + "; add the resource, or run: doorward key revoke ID",
			`API keys with the plan "gold", which is not configured, have that of their workspace, or the default: 1, the first is ` + lost,
			`API keys with the scope "delete", which https://a.example does not have, may do less than they say: 2, the first is ` + lost + "; add the scope, or run: doorward key update ID",
			`API keys with the scope "notes:write", which https://a.example does not have`,
			`personal access tokens with the scope "delete", which https://a.example does not have, may do less than they say: 1, the first is ` + text(t, token, "id") + "; add the scope, or run: doorward token revoke ID",
			`workspaces with the plan "gold", which is not configured, have the default of each resource: 1, the first is acme; add the plan, or run: doorward workspace update SLUG`,
		})

		// What is advised helps.
		c.must("", "key", "update", lost, "--scope", "read")
		c.must("", "key", "revoke", gone)
		c.must("", "token", "revoke", text(t, token, "id"))
		c.must("", "workspace", "update", "acme", "--plan", "free")
		for _, one := range c.object("", "check")["risks"].([]any) {
			for _, word := range []string{"notes:write", "personal access tokens", "workspaces", gone} {
				if strings.Contains(one.(string), word) {
					t.Errorf("still: %s", one)
				}
			}
		}
	})
}
