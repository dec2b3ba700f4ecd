package templates_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/a-h/templ"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
)

// form is a form of a page: its method and path, and the names of its fields.
type form struct {
	action string
	fields []string
}

func forms(t *testing.T, c templ.Component) []form {
	t.Helper()
	var list []form
	for _, e := range elements(t, render(t, c)) {
		if e.Data != "form" || e.attr("action") == "/logout" {
			continue
		}
		f := form{action: e.attr("method") + " " + e.attr("action")}
		for d := range e.Descendants() {
			if name := (node{d}).attr("name"); d.Type == html.ElementNode && name != "" && !slices.Contains(f.fields, name) {
				f.fields = append(f.fields, name)
			}
		}
		list = append(list, f)
	}
	return list
}

func TestFormsPostWhatHandlersRead(t *testing.T) {
	authentication := []string{
		"token_endpoint_auth_method", "jwks", "jwks_uri", "token_endpoint_auth_signing_alg",
		"require_pushed_authorization_requests", "dpop_bound_access_tokens", "fapi",
	}
	want := map[string][]form{
		"login":              {{"post /login", []string{"flow", "email", "password"}}},
		"login-reauth":       {{"post /login", []string{"flow", "email", "password"}}},
		"setup":              {{"post /setup", []string{"word", "name", "email", "password"}}},
		"consent":            {{"post /oauth/consent", []string{"flow", "token", "scope", "decision"}}},
		"consent-unverified": {{"post /oauth/consent", []string{"flow", "token", "scope", "workspace", "decision"}}},
		"consent-again":      {{"post /oauth/consent", []string{"flow", "token", "scope", "workspace", "decision"}}},
		"profile": {
			{"post /settings/profile", []string{"name", "language", "time_zone"}},
			{"post /settings/profile/address", []string{"email"}},
			{"post /settings/profile/export", nil},
		},
		"security": {
			{"post /settings/security/password", []string{"current_password", "new_password"}},
			{"post /settings/security/totp", nil},
			{"post /settings/security/sessions/s2/end", nil},
			{"post /settings/security/sessions/s3/end", nil},
			{"post /settings/security/sessions/end-others", nil},
		},
		"connected-apps": {
			{"post /settings/connected-apps/g1/end", nil},
			{"post /settings/connected-apps/g2/end", nil},
			{"post /settings/connected-apps/https:%2F%2Fclient.example%2Foauth%2Fclient.json/end", nil},
			{"post /settings/connected-apps/end-all", nil},
		},
		"app-new": {
			{"post /settings/developer/apps", append([]string{
				"name", "site", "logo_uri", "policy_uri", "tos_uri", "kind", "redirect_uris", "resource", "scope", "refresh",
			}, authentication...)},
		},
		"app-new-errors": {{"post /settings/developer/apps", append(append([]string{
			"name", "site", "logo_uri", "policy_uri", "tos_uri", "kind", "redirect_uris", "resource", "scope", "refresh",
			"verified", "first_party", "manages", "pkce_optional",
		}, authentication...), "token_endpoint_audience", "password")}},
		"app": {
			{"post /settings/developer/apps/app_0195a0c0example/secret", []string{"grace"}},
			{"post /settings/developer/apps/app_0195a0c0example/authentication", authentication},
			{"get /settings/developer/apps/app_0195a0c0example#h-requests", []string{"request"}},
			{
				"post /settings/developer/apps/app_0195a0c0example", []string{
					"kind", "name", "site", "logo_uri", "policy_uri", "tos_uri", "redirect_uris", "resource", "scope", "refresh",
				},
			},
			{"post /settings/developer/apps/app_0195a0c0example/disable", nil},
			{"post /settings/developer/apps/app_0195a0c0example/delete", []string{"confirm"}},
		},
		"app-admin": {
			{
				"post /admin/apps/app_0195a0c0example/authentication", append(
					slices.Clone(authentication), "token_endpoint_audience",
				),
			},
			{"get /admin/apps/app_0195a0c0example#h-requests", []string{"request"}},
			{"post /admin/apps/app_0195a0c0example", []string{
				"kind", "name", "site", "logo_uri", "policy_uri", "tos_uri", "redirect_uris", "resource", "scope", "refresh",
				"verified", "first_party", "manages", "pkce_optional",
			}},
			{"post /admin/apps/app_0195a0c0example/enable", nil},
			{"post /admin/apps/app_0195a0c0example/delete", []string{"confirm"}},
		},
		"app-public": {
			{"post /settings/developer/apps/app_0195a0c0example/authentication", []string{
				"require_pushed_authorization_requests", "dpop_bound_access_tokens",
			}},
			{"get /settings/developer/apps/app_0195a0c0example#h-requests", []string{"request"}},
			{"post /settings/developer/apps/app_0195a0c0example", []string{
				"kind", "name", "site", "logo_uri", "policy_uri", "tos_uri", "redirect_uris", "resource", "scope", "refresh",
			}},
			{"post /settings/developer/apps/app_0195a0c0example/disable", nil},
			{"post /settings/developer/apps/app_0195a0c0example/delete", []string{"confirm"}},
		},
		"app-service": {
			{"post /settings/developer/apps/app_0195a0c0example/secret", []string{"grace"}},
			{"post /settings/developer/apps/app_0195a0c0example/authentication", slices.DeleteFunc(
				slices.Clone(authentication), func(name string) bool { return name == "require_pushed_authorization_requests" },
			)},
			{"get /settings/developer/apps/app_0195a0c0example#h-requests", []string{"request"}},
			{"post /settings/developer/apps/app_0195a0c0example", []string{
				"kind", "name", "site", "logo_uri", "policy_uri", "tos_uri", "redirect_uris", "resource", "scope", "refresh",
			}},
			{"post /settings/developer/apps/app_0195a0c0example/disable", nil},
			{"post /settings/developer/apps/app_0195a0c0example/delete", []string{"confirm"}},
		},
		"keys": {{"post /settings/workspaces/engines/api-keys/search", []string{"q", "environment", "state"}}},
		"key-new": {{"post /settings/workspaces/engines/api-keys", []string{
			"name", "note", "environment", "resource", "scope-0", "rate_limit", "expires", "addresses",
		}}},
		"key-new-errors": {{"post /settings/workspaces/engines/api-keys", []string{
			"name", "note", "environment", "resource", "scope-0", "scope-1", "plan", "rate_limit",
			"expires", "addresses", "password",
		}}},
		"key": {
			{"get /settings/workspaces/engines/api-keys/key_1#h-requests", []string{"request"}},
			{"post /settings/workspaces/engines/api-keys/key_1/rotate", []string{"grace"}},
			{"post /settings/workspaces/engines/api-keys/key_1", []string{"name", "note", "scope-0", "rate_limit", "addresses"}},
			{"post /settings/workspaces/engines/api-keys/key_1/pause", nil},
			{"post /settings/workspaces/engines/api-keys/key_1/revoke", []string{"confirm"}},
		},
		"key-errors": {
			{"get /settings/workspaces/engines/api-keys/key_1#h-requests", []string{"request"}},
			{"post /settings/workspaces/engines/api-keys/key_1/rotate", []string{"grace", "password"}},
			{
				"post /settings/workspaces/engines/api-keys/key_1", []string{
					"name", "note", "scope-0", "plan", "rate_limit", "addresses",
				},
			},
			{"post /settings/workspaces/engines/api-keys/key_1/resume", nil},
			{"post /settings/workspaces/engines/api-keys/key_1/revoke", []string{"confirm"}},
		},
		"token-new": {
			{
				"post /settings/developer/personal-access-tokens", []string{
					"name", "note", "resource", "scope-0", "role", "expires", "addresses",
				},
			},
		},
		"token": {
			{"get /settings/developer/personal-access-tokens/token_1#h-requests", []string{"request"}},
			{"post /settings/developer/personal-access-tokens/token_1/rotate", []string{"grace"}},
			{
				"post /settings/developer/personal-access-tokens/token_1", []string{"name", "note", "scope-0", "role", "addresses"},
			},
			{"post /settings/developer/personal-access-tokens/token_1/pause", nil},
			{"post /settings/developer/personal-access-tokens/token_1/revoke", nil},
		},
		"admin-users-errors": {
			{"post /admin/users", []string{"name", "email", "password", "admin", "current_password"}},
			{"get /admin/users", []string{"q", "filter"}},
		},
		"admin-users-invite": {
			{"post /admin/users", []string{"email"}},
			{"get /admin/users", []string{"q", "filter"}},
			{"post /admin/users/user_04/approve", nil},
			{"post /admin/users/user_04/refuse", nil},
		},
		"admin-user-email": {
			{"post /admin/users/user_01", []string{"name", "email", "admin"}},
			{"post /admin/users/user_01/reset", nil},
		},
		"admin-user-waiting": {
			{"post /admin/users/user_01/approve", nil},
			{"post /admin/users/user_01", []string{"name", "email", "admin"}},
		},
		"admin-apps": {
			{"get /admin/apps", []string{"q"}},
			{"post /admin/apps/app_1/unverify", nil},
			{"post /admin/apps/app_1/disable", nil},
			{"post /admin/apps/app_2/verify", nil},
			{"post /admin/apps/app_2/enable", nil},
			{"post /admin/apps/https:%2F%2Fclient.example%2Foauth%2Fclient.json/disable", nil},
			{"post /admin/apps/app_3/enable", nil},
		},
		// Only the app itself changes its registration.
		"app-document": {
			{"post /admin/apps/https:%2F%2Fclient.example%2Foauth%2Fclient.json/disable", nil},
			{"post /admin/apps/https:%2F%2Fclient.example%2Foauth%2Fclient.json/delete", []string{"confirm"}},
		},
		"app-dynamic": {
			{"post /admin/apps/app_0195a0c0example/disable", nil},
			{"post /admin/apps/app_0195a0c0example/delete", []string{"confirm"}},
		},
		"registration-tokens": {
			{"post /admin/registration-tokens", []string{"uses", "expires"}},
			{"post /admin/registration-tokens/regtoken_1/revoke", nil},
			{"post /admin/registration-tokens/regtoken_2/revoke", nil},
		},
		"registration-token": nil,
	}
	for _, s := range samples() {
		if w, ok := want[s.name]; ok {
			if diff := cmp.Diff(w, forms(t, s.page), cmp.AllowUnexported(form{})); diff != "" {
				t.Errorf("%s: forms differ (-want +got):\n%s", s.name, diff)
			}
		}
	}
}

func TestErrorsAreTiedToTheirFields(t *testing.T) {
	for _, s := range samples() {
		for _, e := range elements(t, render(t, s.page)) {
			if e.attr("aria-invalid") == "true" && !strings.Contains(e.attr("aria-describedby"), e.attr("id")+"-error") {
				t.Errorf("%s: %s is marked as wrong, without its error", s.name, e.attr("name"))
			}
		}
	}
}
