package security

import (
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

// The consent page preselects the workspace used last, then the app's workspace, then the personal one. The cookie that
// remembers the last workspace counts only for workspaces in which the user may allow apps.
func TestV66_ConsentPreselectsTheWorkspaceUsedLast(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	own := personal(t, r, r.Alice.ID)
	bob := r.User("bob@example.com", "Bob", false)
	engines, looms := r.Workspace("engines", "", bob), r.Workspace("looms", "", bob)
	foreign, view := r.Workspace("foreign", "", bob), r.Workspace("view", "", bob)
	for _, ws := range []storage.Workspace{engines, looms} {
		r.Join(ws, r.Alice, catalog.RoleMember)
	}
	r.Join(view, r.Alice, catalog.RoleViewer)
	app := func(ws storage.Workspace) *rig.App {
		return r.App(management.ClientSpec{WorkspaceID: ws.ID, CreatedBy: bob.ID})
	}
	first := func(b *rig.Browser, app *rig.App) string {
		t.Helper()
		return offered(b, b.Authorize(app.Params("read")))[0]
	}
	b := r.Browser().SignIn(r.Alice.Email)
	free := r.App(management.ClientSpec{})
	for name, x := range map[string]struct {
		app  *rig.App
		want string
	}{
		"an app of no workspace":                    {free, own.Slug},
		"of a workspace of hers":                    {app(looms), "looms"},
		"of a workspace of others":                  {app(foreign), own.Slug},
		"of a workspace in which she can only view": {app(view), own.Slug},
		"of another workspace of hers":              {app(engines), "engines"},
	} {
		if got := first(b, x.app); got != x.want {
			t.Errorf("%s: %s is preselected, want %s", name, got, x.want)
		}
	}

	b.Get("/settings/workspaces/engines/members")
	if got := first(b, app(looms)); got != "engines" {
		t.Errorf("after a visit to engines: %s", got)
	}
	b.Decide(b.Authorize(free.Params("read")), "approve", inWorkspace("looms"))
	if got := first(b, app(engines)); got != "looms" {
		t.Errorf("after consent in looms: %s", got)
	}
	b.Get("/settings/workspaces/engines/members")
	if got := first(b, app(looms)); got != "engines" {
		t.Errorf("after another visit to engines: %s", got)
	}
	// An app that the user has answered before keeps its workspace.
	if got := offered(b, b.Authorize(free.Params("read write")))[0]; got != "looms" {
		t.Errorf("an app allowed in looms asks for more in %s", got)
	}

	// If there is no question, the cookie decides nothing.
	own1 := r.App(management.ClientSpec{FirstParty: true})
	if got := actsIn(t, r, own1, b.Code(own1, "read")); got != own.Slug {
		t.Errorf("without a question the token acts in %s", got)
	}

	for _, id := range []string{foreign.ID, view.ID, "ws_x", "", own.Slug} {
		b.SetCookie(&http.Cookie{Name: "doorward-workspace", Value: id, Path: "/"})
		if got := first(b, app(looms)); got != "looms" {
			t.Errorf("with the cookie %q: %s", id, got)
		}
	}
	b.Get("/settings/workspaces/engines/members")
	if err := r.Store.RemoveMember(r.System(), engines.ID, r.Alice.ID); err != nil {
		t.Fatal(err)
	}
	if got := offered(b, b.Authorize(app(looms).Params("read"))); got[0] != "looms" || slices.Contains(got, "engines") {
		t.Errorf("after she was removed from engines: %v", got)
	}
}

// The workspace used last is in a cookie that contains only its id. Reading a page writes nothing to the database.
func TestV66_TheLastWorkspaceIsACookie(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	ws := shared(t, r, "engines", catalog.RoleMember)
	b := r.Browser().SignIn(r.Alice.Email)
	var set *http.Cookie
	for _, c := range b.Get("/settings/workspaces/engines").Cookies {
		if c.Name == "doorward-workspace" {
			set = c
		}
	}
	if set == nil || set.Value != ws.ID || !set.HttpOnly || set.SameSite != http.SameSiteLaxMode || set.Path != "/" {
		t.Errorf("the cookie is %v", set)
	}
	if again := b.Get("/settings/workspaces/engines").Cookies; len(again) > 0 {
		t.Errorf("the same page again sets %v", again)
	}
	session, _, err := r.Store.LiveSession(r.System(), storage.Digest(cookie(b, "doorward")), 24*time.Hour)
	if err != nil || session.Data != "{}" {
		t.Errorf("the session keeps %s, %v", session.Data, err)
	}
	to := func(path string) string { return b.Get(path).Header.Get("Location") }
	if got := to("/settings/developer/api-keys"); got != workspaces+"/engines/api-keys" {
		t.Errorf("the keys are those of %s", got)
	}
	b.PostForm("/logout", url.Values{})
	b.SignIn(r.Alice.Email)
	if got := to("/settings/developer"); got != workspaces+"/engines/api-keys" {
		t.Errorf("after another sign-in the keys are those of %s", got)
	}
	if err := r.Store.DisableWorkspace(r.System(), ws.ID); err != nil {
		t.Fatal(err)
	}
	if got, own := to("/settings/developer"), personal(t, r, r.Alice.ID); got != workspaces+"/"+own.Slug+"/api-keys" {
		t.Errorf("with that one disabled they are those of %s", got)
	}
}
