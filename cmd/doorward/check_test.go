package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// Keys, tokens and workspaces that refer to something that is not configured are reported in groups.
func TestCheckCountsRecordsThatDoNotFitTheConfiguration(t *testing.T) {
	onEachEngine(t, func(t *testing.T, c *cli) {
		c.writeConfig(
			"plans: {gold: {hour: 100}, free: {hour: 5}}\nresources:\n- {id: https://a.example, objects: [notes]}\n- {id: " +
				"https://b.example, keys: {prefix: b}}\n",
		)
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
		c.must(
			"",
			"client",
			"create",
			"--name",
			"App",
			"--redirect-uri",
			"https://app.example/cb",
			"--scope",
			"notes:read",
			"--resource",
			"https://a.example",
		)
		wantReport(t, c.object("", "check"), nil, []string{"issuer:", "secret:"})

		c.writeConfig(
			"plans: {free: {hour: 5}}\nresources: [{id: https://a.example, scopes: {read: {text: Read}, write: {text: " +
				"Write}}}]\n",
		)
		report := c.object("", "check")
		wantReport(t, report, nil, []string{
			"issuer:", "secret:", `(App): is registered for the scope "notes:read", which none of its resources has`,
			`API keys for the resource "https://b.example", which is not configured, do not work: 2, the first is ` + gone + "; add the resource, or run: doorward key revoke ID",
			`API keys have the scope "delete", which https://a.example does not define; the scope has no effect: 2, the first is ` + lost + "; add the scope, or run: doorward key update ID",
			`API keys have the scope "notes:write", which https://a.example does not define`,
			`API keys with the plan "gold", which is not configured, use their workspace's plan, or the default: 1, the first is ` + lost,
			`personal access tokens have the scope "delete", which https://a.example does not define; the scope has no effect: 1, the first is ` + text(
				t,
				token,
				"id",
			) + "; add the scope, or run: doorward token revoke ID",
			`workspaces with the plan "gold", which is not configured, fall back to each resource's default plan: 1, the first is acme; add the plan, or run: doorward workspace update SLUG`,
		})

		// The advice helps.
		c.must("", "key", "update", lost, "--scope", "read")
		c.must("", "key", "revoke", gone)
		c.must("", "token", "revoke", text(t, token, "id"))
		c.must("", "workspace", "update", "acme", "--plan", "free")
		for _, one := range c.object("", "check")["risks"].([]any) {
			for _, word := range []string{"notes:write", "personal access tokens", "workspaces", gone} {
				if strings.Contains(one.(string), word) {
					t.Errorf("still reported: %s", one)
				}
			}
		}
	})
}

func TestCheckChangesNothing(t *testing.T) {
	c := newCLI(t)
	got := c.object("", "check")
	c.must("", "migrate", "status")
	c.fails(1, "there is no database at ", "", "user", "list")
	if left, err := os.ReadDir("."); err != nil || len(left) != 0 {
		t.Errorf("check left %v, %v", left, err)
	}
	wantReport(
		t,
		got,
		nil,
		[]string{"issuer: is http://localhost:8080", "secret: is empty", "data/doorward.db does not exist yet"},
	)
}

func TestCheckReportsFaultsAndRisks(t *testing.T) {
	c := newCLI(t)
	c.must("", "migrate")
	wantReport(t, c.object("", "check"), nil, []string{"issuer:", "secret:", "no accounts exist yet"})
	if _, stderr, _ := c.run(goodPassword, "user", "create", "--email", "b@example.com", "--password-stdin"); !strings.Contains(
		stderr,
		"no administrator yet",
	) {
		t.Errorf("user create does not say that there is no administrator:\n%s", stderr)
	}
	wantReport(t, c.object("", "check"), nil, []string{"issuer:", "secret:", "no enabled user is an administrator"})
	if _, stderr, _ := c.run(goodPassword, "user", "create", "--email", "a@example.com", "--admin", "--password-stdin"); stderr != "" {
		t.Errorf("user create --admin says:\n%s", stderr)
	}
	c.must(
		"",
		"client",
		"create",
		"--name",
		"Old",
		"--pkce",
		"optional",
		"--redirect-uri",
		"https://a.example/cb",
		"--scope",
		"read delete",
	)
	c.must(
		"",
		"client",
		"create",
		"--name",
		"Device",
		"--public",
		"--first-party",
		"--redirect-uri",
		"com.example.app:/cb",
		"--scope",
		"read",
	)
	wantReport(
		t,
		c.object("", "check"),
		nil,
		[]string{"issuer:", "secret:", "(Old): works without PKCE", "(Device): is first-party and public"},
	)

	text := "resources: [{id: http://localhost:8080, scopes: {read: {text: Read}}}]\nlisten: 0.0.0.0:8080\nadmin_listen: :8081\n" +
		"tokens: {access_lifetime: 2d, refresh_reuse_window: 2m}\nplans: {odd: {hour: 10, day: 5}}\n"
	if err := os.WriteFile("c.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.vars["DOORWARD_CONFIG"] = "c.yaml"
	wantReport(t, c.object("", "check"), nil, []string{
		"issuer:", "listen: other machines can reach 0.0.0.0:8080 without TLS", "admin_listen:", "secret:", "tokens.access_lifetime:", "tokens.refresh_reuse_window:",
		"plans.odd:", "(Old): works without PKCE", `(Old): is registered for the scope "delete"`, "(Device): is first-party",
	})

	c.vars["DOORWARD_CONFIG"], c.vars["DOORWARD_ISSUER"], c.vars["DOORWARD_LISTEN"] = "", "https://auth.example.com", ":8080"
	c.vars["DOORWARD_SECRET"] = testSecret
	stdout, stderr, code := c.run("", "check", "--json")
	var got map[string]any
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 1 ||
		!strings.Contains(stderr, "check: 1 faults") {
		t.Fatalf("check exits %d: %v\n%s%s", code, err, stdout, stderr)
	}
	wantReport(t, got, []string{"secret: the database belongs to servers with another secret"}, []string{
		"trusted_proxies:", "(Old): works", "(Old): is registered for the resource", "(Device): is first", "(Device): is registered for the resource",
	})

	c.vars["DOORWARD_LISTEN"] = "nowhere"
	if stdout, _, code := c.run("", "check"); code != 1 || !strings.HasPrefix(stdout, "fault: DOORWARD_LISTEN: listen: ") {
		t.Errorf("check exits %d:\n%s", code, stdout)
	}
}

// wantReport checks that each fault and risk, in order, contains the wanted text.
func wantReport(t *testing.T, got map[string]any, faults, risks []string) {
	t.Helper()
	for key, want := range map[string][]string{"faults": faults, "risks": risks} {
		list, _ := got[key].([]any)
		ok := len(list) == len(want) && list != nil
		for i := range min(len(list), len(want)) {
			ok = ok && strings.Contains(list[i].(string), want[i])
		}
		if !ok {
			t.Errorf("%s are\n%q\nwant\n%q", key, list, want)
		}
	}
}
