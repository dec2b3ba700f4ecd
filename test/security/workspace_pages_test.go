package security

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

const workspaces = "/settings/workspaces"

// cast is one user for each role in a workspace, each with a browser, and one user outside it.
type cast struct {
	ws   storage.Workspace
	user map[string]storage.User
	at   map[string]*rig.Browser
}

func newCast(r *rig.Rig, slug string) cast {
	r.T.Helper()
	c := cast{user: map[string]storage.User{}, at: map[string]*rig.Browser{}}
	for _, role := range append([]string{"stranger"}, catalog.Roles...) {
		u := r.User(role+"@"+slug+".example.com", "", false)
		c.user[role], c.at[role] = u, r.Browser().SignIn(u.Email)
	}
	c.ws = r.Workspace(slug, "", c.user[catalog.RoleOwner])
	for _, role := range catalog.Roles[:3] {
		r.Join(c.ws, c.user[role], role)
	}
	return c
}

// roles returns the roles of a workspace's members by their user id.
func roles(t *testing.T, r *rig.Rig, ws storage.Workspace) map[string]string {
	t.Helper()
	list, err := r.Store.Members(r.System(), ws.ID, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, x := range list {
		m[x.UserID] = x.Role
	}
	return m
}

func newApp() url.Values {
	return url.Values{"name": {"Made"}, "kind": {"web"}, "redirect_uris": {"https://app.example/cb"}, "scope": {"read"}}
}

// Who may do what on a workspace's pages. A member whose role is too low gets an explanation, and nothing changes; for
// everyone else the workspace does not exist.
func TestRolesOnTheWorkspacePages(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	c := newCast(r, "engines")
	base, target := workspaces+"/engines", r.User("target@example.com", "", false)
	r.Join(c.ws, target, catalog.RoleViewer)
	for _, x := range []struct {
		method, path string
		form         url.Values
		least        string
		status       int
	}{
		{"GET", "", nil, catalog.RoleViewer, http.StatusOK},
		{"GET", "/members", nil, catalog.RoleViewer, http.StatusOK},
		{"GET", "/apps", nil, catalog.RoleAdmin, http.StatusOK},
		{"GET", "/apps/new", nil, catalog.RoleAdmin, http.StatusOK},
		{"POST", "/apps", newApp(), catalog.RoleAdmin, http.StatusOK},
		{"GET", "/usage", nil, catalog.RoleAdmin, http.StatusOK},
		{"GET", "/audit", nil, catalog.RoleAdmin, http.StatusOK},
		{
			"POST", "/invitations",
			url.Values{"email": {"new@example.com"}, "role": {"admin"}},
			catalog.RoleAdmin, http.StatusOK,
		},
		{
			"POST", "/invitations",
			url.Values{"email": {"new@example.com"}, "role": {"owner"}},
			catalog.RoleOwner, http.StatusOK,
		},
		{"POST", "/members/" + target.ID + "/role", url.Values{"role": {"member"}}, catalog.RoleAdmin, http.StatusSeeOther},
		{"POST", "/members/" + target.ID + "/role", url.Values{"role": {"owner"}}, catalog.RoleOwner, http.StatusSeeOther},
		// An owner now.
		{"POST", "/members/" + target.ID + "/role", url.Values{"role": {"viewer"}}, catalog.RoleOwner, http.StatusSeeOther},
		{"POST", "", url.Values{"name": {"Renamed"}}, catalog.RoleOwner, http.StatusSeeOther},
		{
			"POST", "/members/" + target.ID + "/remove",
			url.Values{"confirmed": {"yes"}},
			catalog.RoleAdmin, http.StatusSeeOther,
		},
		{"POST", "/delete", url.Values{"confirm": {"engines"}}, catalog.RoleOwner, http.StatusSeeOther},
	} {
		for _, role := range append([]string{"stranger"}, catalog.Roles...) {
			want := http.StatusForbidden
			switch {
			case role == "stranger":
				want = http.StatusNotFound
			case catalog.AtLeast(role, x.least):
				want = x.status
			}
			if want == http.StatusSeeOther && role == catalog.RoleAdmin && strings.HasSuffix(x.path, "/remove") {
				continue // the owner may do it
			}
			b := c.at[role]
			var a *rig.Answer
			before, _ := r.Store.WorkspaceByID(r.System(), c.ws.ID)
			members := len(roles(t, r, c.ws))
			if x.method == http.MethodGet {
				a = b.Get(base + x.path)
			} else {
				a = b.Submit(base+x.path, x.form)
			}
			if a.Status != want {
				t.Errorf("%s %s %v as %s answered %d %s, want %d", x.method, x.path, x.form, role, a.Status, rig.Plain(a.Body),
					want)
			}
			after, _ := r.Store.WorkspaceByID(r.System(), c.ws.ID)
			if want >= 400 && (after.Name != before.Name || len(roles(t, r, c.ws)) != members) {
				t.Errorf("%s %s as %s changed something", x.method, x.path, role)
			}
			if want == http.StatusForbidden && !strings.Contains(a.Body, x.least) && !strings.Contains(a.Body, "owner") {
				t.Errorf("%s %s as %s does not say who may: %s", x.method, x.path, role, rig.Plain(a.Body))
			}
		}
	}
	if _, err := r.Store.WorkspaceByID(r.System(), c.ws.ID); err == nil {
		t.Error("the workspace is still there")
	}
}

// K-14 for pages: a workspace of other users answers like one that does not exist, by any name.
func TestK14_ForeignWorkspacesAreNotFound(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	c := newCast(r, "theirs")
	b := r.Browser().SignIn(r.Alice.Email)
	own := personal(t, r, r.Alice.ID)
	app := r.App(management.ClientSpec{WorkspaceID: c.ws.ID, CreatedBy: c.user[catalog.RoleOwner].ID})
	key, _ := r.Key(c.ws, apikey.Spec{})
	invitation, _, err := r.Management.Invite(r.System(), management.CLI(c.ws.ID), c.ws,
		"x@example.com", catalog.RoleMember)
	if err != nil {
		t.Fatal(err)
	}
	before := roles(t, r, c.ws)
	for _, path := range []string{
		"", "/members", "/usage", "/audit", "/apps", "/apps/new", "/apps/" + app.ID, "/api-keys", "/api-keys/" + key.ID,
	} {
		want := b.Get(workspaces + "/unknown" + path)
		wantPage(t, want, http.StatusNotFound)
		for _, slug := range []string{
			"theirs", "THEIRS", c.ws.ID, "%74heirs", "theirs%00", "theirs%20", strings.Repeat("x", 3000),
		} {
			if a := b.Get(workspaces + "/" + slug + path); a.Status != want.Status || unvaried(a.Body) != unvaried(want.Body) {
				t.Errorf("GET %s%s answered %d %s", slug, path, a.Status, rig.Plain(a.Body))
			}
		}
	}
	for path, form := range map[string]url.Values{
		"":        {"name": {"Stolen"}},
		"/leave":  nil,
		"/delete": {"confirm": {"theirs"}},
		"/members/" + c.user["viewer"].ID + "/role":   {"role": {"owner"}},
		"/members/" + r.Alice.ID + "/role":            {"role": {"owner"}},
		"/members/" + c.user["viewer"].ID + "/remove": nil,
		"/invitations": {"email": {r.Alice.Email}, "role": {"owner"}},
		"/invitations/" + invitation.ID + "/withdraw": nil,
		"/apps":                        newApp(),
		"/apps/" + app.ID:              newApp(),
		"/apps/" + app.ID + "/secret":  {"grace": {"now"}},
		"/apps/" + app.ID + "/disable": nil, "/apps/" + app.ID + "/delete": {"confirm": {app.Name}},
	} {
		want := b.PostForm(workspaces+"/unknown"+path, form)
		if a := b.PostForm(workspaces+"/theirs"+path, form); a.Status != http.StatusNotFound ||
			unvaried(a.Body) != unvaried(want.Body) {
			t.Errorf("POST %s answered %d %s", path, a.Status, rig.Plain(a.Body))
		}
		// Objects of other workspaces are not found under one's own workspace either.
		if strings.Contains(path, "_") && !strings.Contains(path, r.Alice.ID) {
			a := b.PostForm(workspaces+"/"+own.Slug+path, form)
			if a.Status == http.StatusSeeOther || a.Status == http.StatusOK {
				t.Errorf("POST %s in the own workspace answered %d", path, a.Status)
			}
		}
	}
	if after := roles(t, r, c.ws); len(after) != len(before) || after[c.user["viewer"].ID] != catalog.RoleViewer {
		t.Errorf("the members changed: %v", after)
	}
	if now, err := r.Store.ClientByID(r.System(), app.ID); err != nil || now.Name != app.Name ||
		!now.DisabledAt.IsZero() || len(now.Secrets) != 1 {
		t.Errorf("the app changed: %+v, %v", now, err)
	}
	if open, err := r.Store.InvitationsOf(r.System(), c.ws.ID); err != nil || len(open) != 1 {
		t.Errorf("%d invitations, error %v", len(open), err)
	}
	if list := b.Get(workspaces); strings.Contains(list.Body, "theirs") {
		t.Error("the list shows another's workspace")
	}
}

func TestLastOwnerStaysOnThePages(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	c := newCast(r, "engines")
	owner, base := c.user[catalog.RoleOwner], workspaces+"/engines"
	b := c.at[catalog.RoleOwner]
	for path, form := range map[string]url.Values{
		"/leave":                           {"confirmed": {"yes"}},
		"/members/" + owner.ID + "/remove": {"confirmed": {"yes"}},
		"/members/" + owner.ID + "/role":   {"role": {"admin"}},
	} {
		a := b.PostForm(base+path, form)
		wantPage(t, a, http.StatusConflict)
		if !strings.Contains(a.Body, "at least one owner") {
			t.Errorf("%s says %s", path, rig.Plain(a.Body))
		}
	}
	if roles(t, r, c.ws)[owner.ID] != catalog.RoleOwner {
		t.Fatal("the last owner is no longer an owner")
	}
	for _, typed := range []string{"", "Engines", c.ws.ID, "engines-"} {
		wantPage(t, b.PostForm(base+"/delete", url.Values{"confirm": {typed}}), http.StatusBadRequest)
	}
	// With another owner they may leave.
	if a := b.PostForm(base+"/members/"+c.user["admin"].ID+"/role",
		url.Values{"role": {"owner"}}); a.Status != http.StatusSeeOther {
		t.Fatalf("answered %d", a.Status)
	}
	if a := b.Confirm(base+"/leave", nil); a.Status != http.StatusSeeOther || a.Location.Path != workspaces {
		t.Errorf("leaving answered %d %v", a.Status, a.Location)
	}
	wantPage(t, b.Get(base), http.StatusNotFound)

	// A personal workspace has one member, and is deleted with them.
	own := workspaces + "/" + personal(t, r, owner.ID).Slug
	for path, form := range map[string]url.Values{
		"/leave":                         {"confirmed": {"yes"}},
		"/delete":                        {"confirm": {strings.TrimPrefix(own, workspaces+"/")}},
		"/invitations":                   {"email": {"x@example.com"}, "role": {"viewer"}},
		"/members/" + owner.ID + "/role": {"role": {"viewer"}},
	} {
		wantPage(t, b.PostForm(own+path, form), http.StatusConflict)
	}
	wantPage(t, b.PostForm(base+"/members/"+owner.ID+"/role", url.Values{"role": {"king"}}), http.StatusNotFound)
	wantPage(t, c.at["admin"].PostForm(base+"/members/"+c.user["viewer"].ID+"/role", url.Values{"role": {"king"}}),
		http.StatusBadRequest)
	wantPage(t, c.at["admin"].PostForm(base+"/members/unknown/role", url.Values{"role": {"viewer"}}), http.StatusNotFound)
}

// B-02 for these pages: another site's form changes nothing.
func TestB02_WorkspacePagesTakeTheirOwnFormsOnly(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	c := newCast(r, "engines")
	root := r.Browser().SignIn(r.User("root@example.com", "Root", true).Email)
	invitation, word, err := r.Management.Invite(r.System(), management.CLI(c.ws.ID), c.ws,
		c.user["stranger"].Email, catalog.RoleOwner)
	if err != nil {
		t.Fatal(err)
	}
	r.Seen.Add(rig.SecretInvitation, word)
	base, viewer := workspaces+"/engines", c.user["viewer"].ID
	before := roles(t, r, c.ws)
	for _, x := range []struct {
		b    *rig.Browser
		path string
		form url.Values
	}{
		{c.at["owner"], base, url.Values{"name": {"Stolen"}}},
		{c.at["owner"], base + "/delete", url.Values{"confirm": {"engines"}}},
		{c.at["owner"], base + "/members/" + viewer + "/role", url.Values{"role": {"owner"}}},
		{c.at["owner"], base + "/members/" + viewer + "/remove", nil},
		{c.at["owner"], base + "/invitations", url.Values{"email": {"evil@evil.example"}, "role": {"owner"}}},
		{c.at["owner"], base + "/invitations/" + invitation.ID + "/withdraw", nil},
		{c.at["owner"], base + "/apps", newApp()},
		{c.at["owner"], workspaces, url.Values{"name": {"Made elsewhere"}}},
		{c.at["admin"], base + "/leave", nil},
		{c.at["stranger"], "/join/" + word, nil},
		{root, "/admin/workspaces/" + c.ws.ID + "/disable", nil},
	} {
		for _, headers := range [][]string{
			{"Sec-Fetch-Site", "cross-site"},
			{"Sec-Fetch-Site", "same-site"},
			{"Origin", "https://evil.example"},
			{"Origin", "null"},
		} {
			q := r.Request(http.MethodPost, x.path, strings.NewReader(x.form.Encode()),
				append([]string{"Content-Type", "application/x-www-form-urlencoded", "Cookie", cookieHeader(x.b)}, headers...)...)
			wantPage(t, r.Send(r.Program(), q), http.StatusForbidden)
		}
		wantPage(t, r.Browser().PostForm(x.path, x.form), http.StatusUnauthorized)
	}
	now, err := r.Store.WorkspaceByID(r.System(), c.ws.ID)
	if err != nil || now.Name != c.ws.Name || !now.DisabledAt.IsZero() || len(roles(t, r, c.ws)) != len(before) ||
		roles(t, r, c.ws)[viewer] != catalog.RoleViewer {
		t.Errorf("something changed: %+v, %v", now, err)
	}
	if open, err := r.Store.InvitationsOf(r.System(), c.ws.ID); err != nil || len(open) != 1 ||
		open[0].ID != invitation.ID {
		t.Errorf("the invitations changed: %v, %v", open, err)
	}
}

// Administrators see that a workspace exists and may disable it, but read nothing in it.
func TestAdministratorsDisableWorkspacesAndReadNothing(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	c := newCast(r, "engines")
	app := r.App(management.ClientSpec{Name: "Inner workings", WorkspaceID: c.ws.ID, CreatedBy: c.user["owner"].ID})
	_, key := r.Key(c.ws, apikey.Spec{Name: "Innermost"})
	root := r.Browser().SignIn(r.User("root@example.com", "Root", true).Email)
	list := root.Get("/admin/workspaces?q=ENGINES")
	if !strings.Contains(list.Body, "engines") || !strings.Contains(list.Body, "4 members") ||
		strings.Contains(list.Body, "Inner") || strings.Contains(list.Body, r.Alice.Email) {
		t.Errorf("the list says %s", rig.Plain(list.Body))
	}
	for _, path := range []string{"", "/members", "/usage", "/audit", "/apps", "/apps/" + app.ID, "/api-keys"} {
		wantPage(t, root.Get(workspaces+"/engines"+path), http.StatusNotFound)
	}
	api := r.ResourceServer()
	if a := r.Ask(api, key); r.Dead(a) {
		t.Fatalf("the key does not work: %s", a.Body)
	}
	if a := root.Confirm("/admin/workspaces/"+c.ws.ID+"/disable", nil); a.Status != http.StatusSeeOther {
		t.Fatalf("answered %d", a.Status)
	}
	if a := r.Ask(api, key); !r.Dead(a) {
		t.Errorf("a key of a disabled workspace works: %s", a.Body)
	}
	for _, path := range []string{"", "/members", "/usage", "/apps"} {
		wantPage(t, c.at["owner"].Get(workspaces+"/engines"+path), http.StatusForbidden)
	}
	wantPage(t,
		c.at["owner"].Submit(workspaces+"/engines/invitations", url.Values{"email": {"x@example.com"}, "role": {"viewer"}}),
		http.StatusForbidden)
	root.PostForm("/admin/workspaces/"+c.ws.ID+"/enable", nil)
	if a := r.Ask(api, key); r.Dead(a) {
		t.Errorf("enabled again, the key does not work: %s", a.Body)
	}
	wantPage(t, root.Confirm("/admin/workspaces/"+storage.NewID("ws")+"/disable", nil), http.StatusNotFound)
	nothing := c.at["owner"].Get("/nothing-at-all")
	for _, a := range []*rig.Answer{
		c.at["owner"].Get("/admin/workspaces"), c.at["owner"].Confirm("/admin/workspaces/"+c.ws.ID+"/disable", nil),
	} {
		if a.Status != http.StatusNotFound || unvaried(a.Body) != unvaried(nothing.Body) {
			t.Errorf("to others it answered %d", a.Status)
		}
	}
}

// An app belongs to the workspace in which it was created: its admins manage it, and it stays when its creator leaves.
func TestAppsBelongToTheirWorkspace(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	c := newCast(r, "engines")
	base := workspaces + "/engines/apps"
	made := c.at["admin"].Submit(base, newApp())
	id := regexp.MustCompile(`app_[0-9a-f-]{36}`).FindString(made.Body)
	app, err := r.Store.ClientByID(r.System(), id)
	if err != nil || app.WorkspaceID != c.ws.ID || app.CreatedBy != c.user["admin"].ID {
		t.Fatalf("made %+v, %v: %d", app, err, made.Status)
	}
	if a := c.at["owner"].Get(base + "/" + id); a.Status != http.StatusOK {
		t.Errorf("the owner is answered %d", a.Status)
	}
	for _, path := range []string{
		"/settings/developer/apps/" + id, workspaces + "/" + personal(t, r, c.user["admin"].ID).Slug + "/apps/" + id,
	} {
		wantPage(t, c.at["admin"].Get(path), http.StatusNotFound)
	}
	if strings.Contains(c.at["admin"].Get("/settings/developer/apps").Body, id) {
		t.Error("the app is among those of the personal workspace")
	}
	c.at["admin"].Confirm(workspaces+"/engines/leave", nil)
	wantPage(t, c.at["admin"].Get(base+"/"+id), http.StatusNotFound)
	if a := c.at["owner"].Submit(base+"/"+id+"/secret", url.Values{"grace": {"now"}}); a.Status != http.StatusOK ||
		!strings.Contains(a.Body, bearer.PrefixClientSecret) {
		t.Errorf("a new secret for the owner: %d", a.Status)
	}
	if a := c.at["owner"].PostForm(base+"/"+id+"/delete",
		url.Values{"confirm": {"Made"}}); a.Status != http.StatusSeeOther || a.Location.Path != base {
		t.Errorf("deleting answered %d %v", a.Status, a.Location)
	}
}

// Slugs are made from names, also if the name gives none or the first choice is in use.
func TestSlugIsMadeFromTheName(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	b := r.Browser().SignIn(r.Alice.Email)
	for i, x := range []struct{ name, slug string }{
		{"Analytical Engines Ltd.", "analytical-engines-ltd"},
		{"Analytical  Engines, Ltd", "analytical-engines-ltd-2"},
		{"Ångström's Größe", "angstroms-gro-e"},
		{"株式会社", "workspace"},
		{"x", "workspace-2"},
		{strings.Repeat("long ", 20), "long-long-long-long-long-long-long"},
	} {
		a := b.PostForm(workspaces, url.Values{"name": {x.name}, "slug": {" "}})
		if a.Status != http.StatusSeeOther || a.Location.Path != workspaces+"/"+x.slug+"/members" {
			t.Errorf("%d: %q went to %d %v, want the slug %s", i, x.name, a.Status, a.Location, x.slug)
		}
	}
	for _, form := range []url.Values{
		{"name": {""}},
		{"name": {"ok"}, "slug": {"Not-One"}},
		{"name": {"ok"}, "slug": {"analytical-engines-ltd"}},
		{"name": {"a\u202eb"}},
		{"name": {strings.Repeat("x", 101)}},
	} {
		wantPage(t, b.PostForm(workspaces, form), http.StatusBadRequest)
	}
}
