package security

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/storage"
	"doorward/test/rig"
)

func TestAuthorization_ObjectsOfOthersAreNotFound(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	bob := r.User("bob@example.com", "Bob", false)
	victim := r.Browser().SignIn(bob.Email)
	bobs := appPath(t, makeApp(victim, "name", "Bob's App"))
	bobsApp := strings.TrimPrefix(bobs, "/settings/developer/apps/")
	operators := r.App(management.ClientSpec{Name: "Of No Workspace"})
	sessions, err := r.Store.SessionsOf(r.System(), bob.ID, time.Hour)
	if err != nil || len(sessions) != 1 {
		t.Fatalf("%d sessions, %v", len(sessions), err)
	}
	b := r.Browser().SignIn(r.Alice.Email)
	snapshot := func() string {
		c, err := r.Store.ClientByID(r.System(), bobsApp)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join([]string{
			c.Name, c.Scopes.String(), strings.Join(c.RedirectURIs, " "), c.ChangedAt.Time().String(),
			c.DisabledAt.Time().String(), string(rune(len(c.Secrets))),
		}, "|")
	}
	before := snapshot()
	// same checks that the answer for another user's ids equals the answer for ids that do not exist.
	same := func(method, path string, form url.Values, theirs []string, unknown string) {
		t.Helper()
		send := func(id string) *rig.Answer {
			if method == http.MethodGet {
				return b.Get(strings.ReplaceAll(path, "ID", id))
			}
			return b.PostForm(strings.ReplaceAll(path, "ID", id), form)
		}
		want := send(unknown)
		wantPage(t, want, http.StatusNotFound)
		for _, id := range append(theirs, "", "%20", "x", "%ff", "a%00b", "..", "%2e%2e", "app_%25",
			strings.Repeat("x", 5000), strings.ToUpper(theirs[0])) {
			if a := send(id); a.Status != want.Status || unvaried(a.Body) != unvaried(want.Body) {
				if id == "" &&
					(a.Status == http.StatusMethodNotAllowed || a.Status == http.StatusNotFound || a.Status == http.StatusOK) {
					continue // another page
				}
				t.Errorf("%s %s with %q answered %d %s, an unknown id %d %s", method, path, id, a.Status, rig.Plain(a.Body),
					want.Status, rig.Plain(want.Body))
			}
		}
	}
	same(http.MethodPost, "/settings/security/sessions/ID/end", nil, []string{sessions[0].ID}, storage.NewID("session"))
	appForm := url.Values{
		"name":          {"Stolen"},
		"kind":          {"web"},
		"redirect_uris": {"https://evil.example/cb"},
		"scope":         {"read"},
		"grace":         {"now"},
		"confirm":       {"Bob's App"},
	}
	for _, action := range []string{"", "/secret", "/disable", "/enable", "/delete"} {
		same(http.MethodPost, "/settings/developer/apps/ID"+action, appForm, []string{bobsApp, operators.ID},
			storage.NewID("app"))
		same(http.MethodPost, "/admin/apps/ID"+action, appForm, []string{bobsApp, operators.ID}, storage.NewID("app"))
	}
	same(http.MethodGet, "/settings/developer/apps/ID", nil, []string{bobsApp, operators.ID}, storage.NewID("app"))
	same(http.MethodGet, "/admin/apps/ID", nil, []string{bobsApp, operators.ID}, storage.NewID("app"))
	for _, action := range []string{"verify", "unverify"} {
		same(http.MethodPost, "/admin/apps/ID/"+action, nil, []string{bobsApp, operators.ID}, storage.NewID("app"))
	}
	for _, action := range []string{"disable", "enable"} {
		same(http.MethodPost, "/admin/users/ID/"+action, nil, []string{bob.ID, r.Alice.ID}, storage.NewID("user"))
	}
	if snapshot() != before {
		t.Errorf("another's app changed from %s to %s", before, snapshot())
	}
	if signedIn(r, cookie(victim, "doorward")) != bob.Email {
		t.Error("another's session ended")
	}
	list := b.Get("/settings/developer/apps")
	if strings.Contains(list.Body, bobsApp) || strings.Contains(list.Body, operators.ID) {
		t.Error("the list shows another's app")
	}
	if page := b.Get("/settings/security"); strings.Contains(page.Body, sessions[0].ID) {
		t.Error("the list shows another's session")
	}

	t.Run("ending the access of an app that only another allowed", func(t *testing.T) {
		access, _ := func() (string, string) {
			a := r.Exchange(operators, victim.Code(operators, "read"))
			return a.Text("access_token"), a.Text("refresh_token")
		}()
		want := b.Confirm("/settings/connected-apps/"+storage.NewID("app")+"/end", nil)
		for _, path := range []string{
			"/settings/connected-apps/" + operators.ID + "/end", "/settings/connected-apps/%ff/end",
			"/settings/connected-apps/end-all",
		} {
			a := b.Confirm(path, nil)
			if a.Status != want.Status && a.Status != http.StatusNotFound &&
				(a.Status != http.StatusSeeOther || !strings.HasSuffix(path, "end-all")) {
				t.Errorf("%s answered %d %s", path, a.Status, rig.Plain(a.Body))
			}
		}
		if !r.Alive(operators, access) {
			t.Error("another's access ended")
		}
	})
}

func TestAuthorization_AdministrationIsHiddenFromOthers(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	root := r.User("root@example.com", "Root", true)
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	nothing := b.Get("/nothing-at-all")
	for _, path := range []string{
		"/admin/", "/admin/users", "/admin/users?q=root", "/admin/apps", "/admin/apps/" + app.ID, "/admin/nothing",
	} {
		if a := b.Get(path); a.Status != http.StatusNotFound || unvaried(a.Body) != unvaried(nothing.Body) {
			t.Errorf("%s answered %d %s", path, a.Status, rig.Plain(a.Body))
		}
	}
	for _, path := range []string{
		"/admin/users", "/admin/users/" + root.ID + "/disable", "/admin/apps/" + app.ID,
		"/admin/apps/" + app.ID + "/disable", "/admin/apps/" + app.ID + "/verify",
	} {
		a := b.PostForm(path, url.Values{
			"email":    {"made@example.com"},
			"password": {rig.Password},
			"admin":    {"1"},
			"name":     {"x"},
			"kind":     {"web"},
		})
		if a.Status != http.StatusNotFound || unvaried(a.Body) != unvaried(nothing.Body) {
			t.Errorf("POST %s answered %d %s", path, a.Status, rig.Plain(a.Body))
		}
	}
	if _, err := r.Store.UserByEmail(r.System(), "made@example.com"); err == nil {
		t.Error("a user who is not an administrator created a user")
	}
	for _, path := range []string{"/settings/profile", "/settings/developer/apps", "/settings/developer/apps/new"} {
		if strings.Contains(b.Get(path).Body, "/admin") {
			t.Errorf("%s shows a way to administration", path)
		}
	}
	// A user cannot become an administrator by themselves.
	b.PostForm("/settings/profile", url.Values{
		"name":  {"Alice"},
		"admin": {"1"},
		"email": {"root@example.com"},
		"id":    {root.ID},
	})
	if u, err := r.Store.UserByID(r.System(), r.Alice.ID); err != nil || u.Admin || u.Email != r.Alice.Email {
		t.Errorf("the profile form made %+v, %v", u, err)
	}
	stranger := r.Browser()
	if a := stranger.Get("/admin/users"); a.Location == nil || a.Location.Path != "/login" {
		t.Errorf("a stranger is answered %d", a.Status)
	}
	wantPage(t, stranger.PostForm("/admin/users", url.Values{"email": {"made@example.com"}, "password": {rig.Password}}),
		http.StatusUnauthorized)

	// A disabled administrator is not an administrator.
	admin := r.Browser().SignIn(root.Email)
	if a := admin.Get("/admin/users"); a.Status != http.StatusOK {
		t.Fatalf("the administrator is answered %d", a.Status)
	}
	wantPage(t, admin.Confirm("/admin/users/"+root.ID+"/disable", nil), http.StatusBadRequest) // their own account
	second := r.User("second@example.com", "Second", true)
	if a := r.Browser().SignIn(second.Email).Confirm("/admin/users/"+root.ID+"/disable",
		nil); a.Status != http.StatusSeeOther {
		t.Fatalf("disable answered %d", a.Status)
	}
	if a := admin.Get("/admin/users"); a.Status == http.StatusOK {
		t.Error("a disabled administrator administers")
	}
}

func TestAuthorization_OnlyAdministratorsVerifyApps(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.Alice.Email)
	all := []string{
		"verified", "1", "first_party", "1", "pkce_optional", "1", "resource_server", "1", "administrator", "1",
		"Administrator", "true", "workspace_id", "", "WorkspaceID", "", "created_by", "",
	}
	plain := func(c storage.Client) {
		t.Helper()
		if c.Verified || c.FirstParty || c.PKCEOptional || c.ResourceServer || c.WorkspaceID == "" ||
			c.CreatedBy != r.Alice.ID {
			t.Errorf("the form made %+v", c)
		}
	}
	path := appPath(t, makeApp(b, all...))
	id := strings.TrimPrefix(path, "/settings/developer/apps/")
	get := func() storage.Client {
		t.Helper()
		c, err := r.Store.ClientByID(r.System(), id)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	plain(get())
	wantPage(t, makeApp(b, "kind", "resource_server"), http.StatusBadRequest)
	wantPage(t, makeApp(b, append([]string{"kind", "resource-server"}, all...)...), http.StatusBadRequest)
	if n := len(appsOf(t, r, r.Alice.ID)); n != 1 {
		t.Errorf("%d apps", n)
	}
	edit := func(change ...string) {
		t.Helper()
		form := b.Form(b.Get(path), path)
		form["scope"] = get().Scopes
		form.Set("redirect_uris", strings.Join(get().RedirectURIs, "\n"))
		for i := 0; i+1 < len(change); i += 2 {
			form.Set(change[i], change[i+1])
		}
		if a := b.PostForm(path, form); a.Status != http.StatusSeeOther {
			t.Fatalf("the edit answered %d %s", a.Status, rig.Plain(a.Body))
		}
	}
	edit(all...)
	plain(get())
	for _, kind := range []string{"resource_server", "public", "service", ""} { // an edit does not change the kind of app
		before := get()
		form := b.Form(b.Get(path), path)
		form["scope"] = []string{"read"}
		form.Set("redirect_uris", "https://mine.example/cb")
		form.Set("kind", kind)
		b.PostForm(path, form)
		c := get()
		if c.Public || c.ResourceServer || !c.GrantTypes.Has(oauth.GrantAuthorizationCode) ||
			c.GrantTypes.Has(oauth.GrantClientCredentials) || len(c.Secrets) != len(before.Secrets) ||
			len(c.RedirectURIs) != 1 {
			t.Errorf("an edit with kind %q made %+v", kind, c)
		}
	}
	for _, field := range []string{"verified", "first_party", "pkce_optional", "resource_server"} {
		if strings.Contains(b.Get(path).Body, `name="`+field+`"`) {
			t.Errorf("the form offers %s", field)
		}
	}

	// An administrator's verification lasts until the owner changes what was verified.
	vouch := func() {
		t.Helper()
		p := management.SpecOf(get())
		p.Name, p.Site, p.RedirectURIs, p.Scopes = "My App", "", []string{"https://mine.example/cb"}, []string{"read"}
		p.Verified, p.FirstParty, p.PKCEOptional, p.Administrator = true, true, true, true
		if _, err := r.Management.UpdateClient(r.System(), management.CLI(""), id, p); err != nil {
			t.Fatal(err)
		}
	}
	vouch()
	edit("refresh", "")
	if c := get(); !c.Verified || !c.FirstParty || !c.PKCEOptional {
		t.Errorf("an edit of other fields removed the verification: %+v", c)
	}
	for name, change := range map[string][]string{
		"name":                  {"name", "Your Bank"},
		"site":                  {"site", "https://bank.example"},
		"redirect URI":          {"redirect_uris", "https://evil.example/cb"},
		"one redirect URI more": {"redirect_uris", "https://mine.example/cb\nhttps://evil.example/cb"},
	} {
		vouch()
		edit(change...)
		if c := get(); c.Verified || c.FirstParty {
			t.Errorf("after a change of %s the app is still verified", name)
		}
	}
	vouch()
	edit("scope", "admin")
	if c := get(); c.FirstParty || !c.Verified {
		t.Errorf("after asking for more: first party %v, verified %v", c.FirstParty, c.Verified)
	}
	app := &rig.App{Client: get(), Redirect: "https://mine.example/cb"}
	bob := r.User("bob@example.com", "Bob", false)
	wantConsent(t, r.Browser().SignIn(bob.Email).Get("/oauth/authorize?"+app.Params("admin").Encode()))
}
