package main

import (
	"strings"
	"testing"
)

func TestCheckReportsRoutesShadowedByWeakerOnes(t *testing.T) {
	for name, tc := range map[string]struct{ routes, want string }{
		"public":           {"- {path: /v1/*/public, public: true}\n- {path: /v1/admin/**, scopes: [admin]}", "resources[0].routes[1] (/v1/admin/**, line 6): requires admin, but is shadowed: routes[0] (/v1/*/public, line 5) comes earlier, also matches GET /v1/admin/public, and requires nothing (public); if that"},
		"fewer":            {"- {path: /v1/**, methods: [GET], scopes: [read]}\n- {path: /v1/keys, scopes: [read, write]}", "routes[1] (/v1/keys, line 6): requires read and write, but is shadowed: routes[0] (/v1/**, line 5) comes earlier, also matches GET /v1/keys, and requires read;"},
		"none":             {"- {path: /v1/**, methods: [GET], scopes: []}\n- {path: /v1/keys, scopes: [read]}", "requires any credential"},
		"implied":          {"- {path: /v1/**, methods: [GET], scopes: [read]}\n- {path: /v1/keys, scopes: [admin]}", "requires admin"},
		"object":           {"- {path: '/v1/{object}/**', methods: [GET], scopes: ['{object}:read']}\n- {path: /v1/accounts/**, scopes: [read]}", "requires {object}:read"},
		"role":             {"- {path: /v1/**, methods: [GET], scopes: [read]}\n- {path: /v1/keys, scopes: [read], role: admin}", "requires read, role admin"},
		"credentials":      {"- {path: /v1/**, methods: [GET], scopes: [read]}\n- {path: /v1/keys, scopes: [read], credentials: [api_key]}", "requires read with api_key"},
		"methods cross":    {"- {path: /v1/keys, methods: [GET, POST], scopes: [read]}\n- {path: /v1/keys, methods: [POST, PUT], scopes: [admin]}", "matches POST /v1/keys"},
		"tail":             {"- {path: /*/public/**, public: true}\n- {path: /v1/**, scopes: [read]}", "matches GET /v1/public"},
		"exception":        {"- {path: /health, public: true}\n- {path: /**, scopes: [read]}", ""},
		"exception method": {"- {path: /v1/keys, methods: [GET], scopes: [read]}\n- {path: /v1/keys, scopes: [admin]}", ""},
		"more":             {"- {path: /v1/*/public, scopes: [admin]}\n- {path: /v1/x/**, scopes: [read]}", ""},
		"other":            {"- {path: /v1/*/public, scopes: [write]}\n- {path: /v1/x/**, scopes: [delete]}", ""},
		"same":             {"- {path: /v1/*/public, scopes: [read, write]}\n- {path: /v1/x/**, scopes: [write, read]}", ""},
		"wider object":     {"- {path: '/v1/{object}/**', methods: [GET], scopes: [read]}\n- {path: /v1/accounts/**, scopes: ['accounts:read']}", ""},
		"apart":            {"- {path: /v1/*/public, public: true}\n- {path: /v2/x/**, scopes: [read]}", ""},
		"apart by length":  {"- {path: /v1/*, public: true}\n- {path: /v1, scopes: [read]}\n- {path: /*/x/y, scopes: [read]}", ""},
		"apart by object":  {"- {path: '/{object}/x', public: true}\n- {path: /other/*, scopes: [read]}", ""},
		"apart by methods": {"- {path: /v1/**, methods: [GET], scopes: [read]}\n- {path: /v1/keys, methods: [POST], scopes: [admin]}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCLI(t)
			c.writeConfig(
				"resources:\n- id: https://a.example\n  objects: [accounts, contacts]\n  routes:\n" + indent(tc.routes, "  "),
			)
			var found []string
			for _, one := range c.object("", "check")["risks"].([]any) {
				if strings.Contains(one.(string), "routes[") && !strings.Contains(one.(string), "another spelling") {
					found = append(found, one.(string))
				}
			}
			switch {
			case tc.want == "" && len(found) > 0:
				t.Errorf("a risk: %s", found)
			case tc.want != "" && (len(found) != 1 || !strings.Contains(found[0], tc.want)):
				t.Errorf("risks %q, want one with %q", found, tc.want)
			}
		})
	}
}

func indent(text, by string) string { return by + strings.ReplaceAll(text, "\n", "\n"+by) + "\n" }

// TestCheckRefusesScopesThatNoCredentialCanHave checks typing errors in scopes, which would close a route.
func TestCheckRefusesScopesThatNoCredentialCanHave(t *testing.T) {
	c := newCLI(t)
	c.writeConfig("resources:\n- id: https://a.example\n  objects: [accounts]\n  routes:\n" + indent(
		"- {path: /a, scopes: [reed]}\n- {path: /b, scopes: ['contacts:read']}\n- {path: /c, scopes: "+
			"['accounts:reed']}\n- {path: /d, scopes: ['{object}:read']}\n- {path: /e, scopes: [introspect]}",
		"  ",
	))
	stdout, _, code := c.run("", "check")
	if code != 1 {
		t.Errorf("check exits %d", code)
	}
	for _, want := range []string{
		`c.yaml:5: resources[0].routes[0].scopes[0]: "reed" is not a scope of this resource; use one of read, write, delete, admin`,
		`c.yaml:6: resources[0].routes[1].scopes[0]: "contacts" is not in objects`,
		`c.yaml:7: resources[0].routes[2].scopes[0]: "reed" is not an action of this resource`,
		`c.yaml:8: resources[0].routes[3].scopes[0]: "{object}:read" needs {object} in the path`,
		`c.yaml:9: resources[0].routes[4].scopes[0]: introspect is built in`,
	} {
		if !strings.Contains(stdout, strings.TrimPrefix(want, "c.yaml")) {
			t.Errorf("check does not say %s:\n%s", want, stdout)
		}
	}
}

// A general route that matches another spelling of a stricter route's path is reported, unless paths: loose makes both
// the same.
func TestV22_CheckReportsRoutesThatLetOtherSpellingsThrough(t *testing.T) {
	const routes = `
    routes:
      - {methods: [POST], path: /v1/capture, scopes: [admin]}
      - {methods: [GET], path: "/v1/{object}/export", scopes: [admin]}
      - {methods: [GET], path: /v1/admin/**, scopes: [admin]}
      - {methods: [GET], path: /health, public: true}
      - {methods: [DELETE], path: /v1/notes, scopes: [delete]}
      - {methods: [GET, POST], path: /v1/**, scopes: [read]}
`
	c := newCLI(t)
	c.writeConfig("resources:\n  - id: https://a.example\n    objects: [notes]" + routes)
	risks := func() (found []string) {
		for _, one := range c.object("", "check")["risks"].([]any) {
			if strings.Contains(one.(string), "another spelling") {
				found = append(found, one.(string))
			}
		}
		return found
	}
	all := strings.Join(risks(), "\n")
	for _, want := range []string{
		"matches POST /v1/capture/, another spelling of its path, and requires read", "resources[0].routes[0] (/v1/capture, line 5): requires admin, but routes[5] (/v1/**, line 10)",
		"matches GET /v1/notes/export/", "matches GET /v1/Admin/x",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no risk says %q in:\n%s", want, all)
		}
	}
	if n := len(risks()); n != 3 {
		t.Errorf("%d risks:\n%s", n, all)
	}
	c.writeConfig("resources:\n  - id: https://a.example\n    objects: [notes]\n    paths: loose" + routes)
	if found := risks(); len(found) > 0 {
		t.Errorf("with paths: loose there are %q", found)
	}
	c.writeConfig(
		"resources:\n  - id: https://a.example\n    paths: loose\n    routes:\n      - {path: /v1/x, scopes: [read]}\n " +
			"     - {path: /V1/X/, scopes: [write]}\n",
	)
	if _, stderr, code := c.run("", "check"); code == 0 {
		t.Errorf("a route that is never reached is accepted: %s", stderr)
	}
	c.writeConfig("resources:\n  - id: https://a.example\n    paths: lose\n    routes: []\n")
	if _, _, code := c.run("", "check"); code == 0 {
		t.Error("paths: lose is accepted")
	}
}
