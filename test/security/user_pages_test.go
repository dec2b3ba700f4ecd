package security

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

func TestV01_PageForDisablingShowsAndKeepsWorkspaces(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	root := r.Browser().SignIn(r.User("root@example.com", "Root", true).Email)
	sole, kept, shared := r.Workspace("sole", "", r.Alice), r.Workspace("kept", "", r.Alice),
		r.Workspace("shared", "", r.Alice)
	r.Join(shared, r.User("bob@example.com", "Bob", false), catalog.RoleOwner)
	path := "/admin/users/" + r.Alice.ID
	disabled := func(w storage.Workspace) bool {
		w, err := r.Store.WorkspaceByID(r.System(), w.ID)
		ok(t, err)
		return !w.DisabledAt.IsZero()
	}
	for _, page := range []string{path, path + "/disable"} {
		body := root.Get(page).Body
		if !strings.Contains(body, sole.Name) || !strings.Contains(body, kept.Name) ||
			strings.Contains(body, `>`+shared.Name+`<`) {
			t.Errorf("%s does not name the workspaces that stop: %s", page, rig.Plain(body))
		}
	}
	// A workspace with other owners cannot be kept, and then nothing happens.
	a := root.Confirm(path+"/disable", url.Values{"keep": {kept.ID, shared.ID}})
	if a.Status != http.StatusConflict || disabled(sole) {
		t.Errorf("with a workspace of others: %d, stopped %v", a.Status, disabled(sole))
	}
	root.Confirm(path+"/disable", url.Values{"keep": {kept.ID}})
	if !disabled(sole) || disabled(kept) || disabled(shared) || !disabled(personal(t, r, r.Alice.ID)) {
		t.Errorf("sole %v, kept %v, shared %v", disabled(sole), disabled(kept), disabled(shared))
	}
	if body := root.Get(path).Body; !strings.Contains(body, "disabled because it has no enabled owner") ||
		!strings.Contains(body, "kept enabled by an administrator") {
		t.Errorf("the page of a disabled user: %s", rig.Plain(body))
	}
}

func TestV06_PagesSignAUserOutAndSetAPassword(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	root := r.Browser().SignIn(r.User("root@example.com", "Root", true).Email)
	api, app := r.ResourceServer(), r.App(management.ClientSpec{Name: "Acme Sync"})
	_, pat := r.PersonalToken(r.Alice, apikey.Spec{Name: "Laptop", Scopes: []string{"read"}})
	path := "/admin/users/" + r.Alice.ID
	access, _ := r.Tokens(app, "read")
	b := r.Browser().SignIn(r.Alice.Email)
	signedIn := func() bool { return b.Get("/settings/profile").Status == http.StatusOK }
	state := func(when string, session, grant, token bool) {
		t.Helper()
		if signedIn() != session || r.Alive(api, access) != grant || r.Alive(api, pat) != token {
			t.Errorf("%s: signed in %v, app %v, token %v", when, signedIn(), r.Alive(api, access), r.Alive(api, pat))
		}
	}
	page := root.Get(path + "/sign-out")
	if !strings.Contains(page.Body, "Laptop") || !strings.Contains(page.Body, "Acme Sync") ||
		!strings.Contains(root.Get(path).Body, "Laptop") {
		t.Errorf("the page does not list what acts for the user: %s", rig.Plain(page.Body))
	}
	root.PostForm(path+"/sign-out", url.Values{"apps": {"1"}, "tokens": {"1"}}) // without the confirmation
	state("before", true, true, true)
	root.Confirm(path+"/sign-out", nil)
	state("sessions", false, true, true)
	b.SignIn(r.Alice.Email)

	password := func(browser *rig.Browser, more url.Values) *rig.Answer {
		form := url.Values{"password": {"another long enough phrase"}}
		for name, values := range more {
			form[name] = values
		}
		return browser.PostForm(path+"/password", form)
	}
	r.Advance(6 * time.Minute)
	if a := password(root, url.Values{"keep_apps": {"1"}}); a.Status != http.StatusForbidden {
		t.Errorf("a password set long after the sign-in: %d", a.Status)
	}
	if a := password(root, url.Values{"current_password": {"a wrong one"}}); a.Status != http.StatusForbidden {
		t.Errorf("with a wrong password: %d", a.Status)
	}
	state("refused", true, true, true)
	root = r.Browser().SignIn("root@example.com")
	if a := password(root, url.Values{"password": {"x"}}); a.Status != http.StatusBadRequest {
		t.Errorf("a short password: %d", a.Status)
	}
	password(root, url.Values{"keep_apps": {"1"}})
	state("password, apps kept", false, true, true)
	password(root, nil)
	state("password", false, false, true)
	root.Confirm(path+"/sign-out", url.Values{"tokens": {"1"}})
	state("tokens", false, false, false)
}

func TestV64_PageChangesAUser(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	first := r.User("root@example.com", "Root", true)
	root, alice := r.Browser().SignIn(first.Email), r.Browser().SignIn(r.Alice.Email)
	path := "/admin/users/" + r.Alice.ID
	now := func(id string) storage.User {
		u, err := r.Store.UserByID(r.System(), id)
		ok(t, err)
		return u
	}
	full := url.Values{"name": {"Alicia"}, "email": {"alicia@example.com"}, "admin": {"1"}}
	for _, page := range []string{path, path + "/sign-out"} {
		if a := alice.Get(page); a.Status != http.StatusNotFound {
			t.Errorf("%s for another user: %d", page, a.Status)
		}
	}
	alice.PostForm(path, full)
	if u := now(r.Alice.ID); u.Admin || u.Email != r.Alice.Email {
		t.Errorf("changed by a user who is not an administrator: %+v", u)
	}
	r.Advance(6 * time.Minute)
	for name, form := range map[string]url.Values{
		"address":       {"name": {r.Alice.Name}, "email": {"alicia@example.com"}},
		"administrator": {"name": {r.Alice.Name}, "email": {r.Alice.Email}, "admin": {"1"}},
	} {
		a := root.PostForm(path, form)
		if a.Status != http.StatusForbidden || now(r.Alice.ID).Admin || now(r.Alice.ID).Email != r.Alice.Email {
			t.Errorf("%s long after the sign-in: %d, %+v", name, a.Status, now(r.Alice.ID))
		}
	}
	root = r.Browser().SignIn(first.Email)
	root.PostForm(path, full)
	if u := now(r.Alice.ID); u.Name != "Alicia" || u.Email != "alicia@example.com" || !u.Admin {
		t.Errorf("changed: %+v", u)
	}
	if alice.Get("/settings/profile").Status != http.StatusSeeOther {
		t.Error("the session outlives a change of address")
	}
	delete(full, "admin")
	root.PostForm(path, full)
	a := root.PostForm("/admin/users/"+first.ID, url.Values{"name": {"Root"}, "email": {first.Email}})
	if a.Status != http.StatusConflict || !strings.Contains(a.Body, "another administrator") ||
		!now(first.ID).Admin || now(r.Alice.ID).Admin {
		t.Errorf("the last administrator: %d %s", a.Status, rig.Plain(a.Body))
	}
	if a := root.PostForm(path, url.Values{"name": {"x"}, "email": {first.Email}}); a.Status != http.StatusBadRequest ||
		now(r.Alice.ID).Name == "x" {
		t.Errorf("an address that is in use: %d, %+v", a.Status, now(r.Alice.ID))
	}
}

func TestV03_PageOfAnAppSaysWhyItDoesNotWork(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{CreatedBy: r.Alice.ID, WorkspaceID: r.Workspace("acme", "", r.Alice).ID})
	root := r.Browser().SignIn(r.User("root@example.com", "Root", true).Email)
	says := func(text string, want bool) {
		t.Helper()
		if body := rig.Plain(root.Get("/admin/apps/" + app.ID).Body); strings.Contains(body, text) != want {
			t.Errorf("says %q %v: %s", text, !want, body)
		}
	}
	says("does not work", false)
	ok(t, r.Identity.DisableUser(r.System(), r.Alice.ID))
	says("none of its owners is enabled", true)
	ok(t, r.Identity.EnableUser(r.System(), r.Alice.ID))
	says("does not work", false)
	root.Confirm("/admin/apps/"+app.ID+"/disable", nil)
	says("An administrator of this server disabled this app", true)
}

func TestV03_PageOfADisabledWorkspaceSaysWhy(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	ws := r.Workspace("acme", "", r.Alice)
	bob := r.User("bob@example.com", "Bob", false)
	ok(t, r.Store.AddMember(r.System(), ws.ID, bob.ID, catalog.RoleMember))
	root := r.Browser().SignIn(r.User("root@example.com", "Root", true).Email)
	member := r.Browser().SignIn(bob.Email)
	says := func(status int, text string) {
		t.Helper()
		a := member.Get(workspaces + "/acme")
		if body := rig.Plain(member.Follow(a).Body); !strings.Contains(body, text) || member.Follow(a).Status != status {
			t.Errorf("want %d %q: %d %s", status, text, a.Status, body)
		}
	}
	ok(t, r.Identity.DisableUser(r.System(), r.Alice.ID))
	says(http.StatusForbidden, "is disabled because none of its owners is enabled")
	ok(t, r.Identity.EnableUser(r.System(), r.Alice.ID))
	says(http.StatusOK, "acme")
	root.Confirm("/admin/workspaces/"+ws.ID+"/disable", nil)
	says(http.StatusForbidden, "An administrator of this server disabled the workspace")
}
