package security

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/test/rig"
)

var (
	navigationOf = regexp.MustCompile(`(?s)<nav id="nav".*?</nav>`)
	currentPage  = regexp.MustCompile(`<a href="([^"]*)" aria-current="page"`)
	sectionLink  = regexp.MustCompile(
		`<ul aria-label="Sections of the workspace"><li><a href="/settings/workspaces/([^/"]+)/`)
)

// Every settings page has one navigation, with one current entry. It begins with the workspace used last, which stays
// the same from section to section.
func TestV66_OneNavigation(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	root := r.User("root@example.com", "Root", true)
	engines := r.Workspace("engines", "", root)
	r.Workspace("looms", "", root)
	r.Join(engines, r.Alice, catalog.RoleViewer)
	own := personal(t, r, root.ID)
	key, _ := r.Key(engines, apikey.Spec{})
	token, _ := r.PersonalToken(root, apikey.Spec{})
	b := r.Browser().SignIn(root.Email)
	const in = workspaces + "/engines"
	const developer = "/settings/developer"
	for _, x := range []struct{ path, workspace, current string }{
		{"/settings/profile", own.Slug, "/settings/profile"},
		{workspaces, own.Slug, workspaces},
		{in, "engines", in},
		{in + "/leave", "engines", in},
		{"/settings/profile", "engines", "/settings/profile"},
		{in + "/members", "engines", in + "/members"},
		{in + "/members/" + r.Alice.ID + "/remove", "engines", in + "/members"},
		{in + "/usage", "engines", in + "/usage"},
		{in + "/audit", "engines", in + "/audit"},
		{in + "/apps", "engines", in + "/apps"},
		{in + "/apps/new", "engines", in + "/apps"},
		{in + "/api-keys", "engines", in + "/api-keys"},
		{in + "/api-keys/new", "engines", in + "/api-keys"},
		{in + "/api-keys/" + key.ID, "engines", in + "/api-keys"},
		{in + "/api-keys/" + key.ID + "/revoke", "engines", in + "/api-keys"},
		{"/settings/security", "engines", "/settings/security"},
		{"/settings/connected-apps", "engines", "/settings/connected-apps"},
		{developer + "/personal-access-tokens", "engines", developer + "/personal-access-tokens"},
		{developer + "/personal-access-tokens/new", "engines", developer + "/personal-access-tokens"},
		{developer + "/personal-access-tokens/" + token.ID, "engines", developer + "/personal-access-tokens"},
		{developer + "/api-keys", "engines", in + "/api-keys"},
		{developer, "engines", in + "/api-keys"},
		{workspaces, "engines", workspaces},
		{"/admin/users", "engines", "/admin/users"},
		{"/admin/users/" + root.ID, "engines", "/admin/users"},
		{"/admin/workspaces", "engines", "/admin/workspaces"},
		{"/admin/apps", "engines", "/admin/apps"},
		{workspaces + "/looms/audit", "looms", workspaces + "/looms/audit"},
		{"/settings/security", "looms", "/settings/security"},
		{developer + "/apps", own.Slug, workspaces + "/" + own.Slug + "/apps"},
		{developer + "/apps/new", own.Slug, workspaces + "/" + own.Slug + "/apps"},
		{"/settings/profile", own.Slug, "/settings/profile"},
	} {
		a := b.Follow(b.Get(x.path))
		nav := navigationOf.FindString(a.Body)
		current := currentPage.FindAllStringSubmatch(nav, -1)
		if a.Status != http.StatusOK || len(current) != 1 || current[0][1] != x.current {
			t.Errorf("%s answers %d; current are %v, want %s", x.path, a.Status, current, x.current)
		}
		if m := sectionLink.FindStringSubmatch(nav); m == nil || m[1] != x.workspace {
			t.Errorf("%s is in the workspace %v, want %s", x.path, m, x.workspace)
		}
		if strings.Count(a.Body, "<nav") != 1 && !strings.Contains(a.Body, `class="pager"`) {
			t.Errorf("%s has more than one navigation", x.path)
		}
	}

	// The switcher leads to the same section of another workspace, where a user whose role may not see that section is
	// told so.
	if a := b.Get(in + "/usage"); !strings.Contains(a.Body, `href="`+workspaces+`/looms/usage"`) {
		t.Error("the switcher does not lead to the usage of the other workspace")
	}
	alice := r.Browser().SignIn(r.Alice.Email)
	a := alice.Get(in + "/audit")
	nav := navigationOf.FindString(a.Body)
	if m := currentPage.FindStringSubmatch(nav); a.Status != http.StatusForbidden || m == nil || m[1] != in+"/audit" {
		t.Errorf("a viewer is answered %d %s", a.Status, nav)
	}
	if strings.Contains(nav, "/admin/") {
		t.Error("a user who is not an administrator sees the administration")
	}

	// If every workspace is disabled, there are no sections, but the list of workspaces remains.
	mine := personal(t, r, r.Alice.ID)
	for _, id := range []string{mine.ID, engines.ID} {
		if err := r.Store.DisableWorkspace(r.System(), id); err != nil {
			t.Fatal(err)
		}
	}
	a = alice.Get("/settings/profile")
	if nav = navigationOf.FindString(a.Body); a.Status != http.StatusOK || sectionLink.MatchString(nav) ||
		!strings.Contains(nav, `href="`+workspaces+`"`) {
		t.Errorf("without a workspace: %d %s", a.Status, nav)
	}
	if got := alice.Get(developer + "/api-keys").Header.Get("Location"); got != workspaces {
		t.Errorf("without a workspace the keys are at %q", got)
	}
}
