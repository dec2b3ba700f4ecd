package security

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

// Destructive actions ask for confirmation first: the page says what will be revoked or deleted, and a form without the
// confirmation changes nothing.
func TestV63_DestructiveActionsAskFirst(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	root := r.User("root@example.com", "Root", true)
	bob := r.User("bob@example.com", "Bob", false)
	ws := r.Workspace("engines", "", r.Alice)
	r.Join(ws, bob, catalog.RoleMember)
	key, _ := r.Key(ws, apikey.Spec{Name: "Night import"})
	testKey, _ := r.Key(ws, apikey.Spec{Name: "Test import", Environment: "test"})
	token, _ := r.PersonalToken(bob, apikey.Spec{Name: "Laptop"})
	app := r.App(management.ClientSpec{Name: "Acme Sync", WorkspaceID: ws.ID, CreatedBy: r.Alice.ID})
	invitation, _, err := r.Management.Invite(r.System(), management.CLI(ws.ID), ws,
		"carol@example.com", catalog.RoleMember)
	ok(t, err)
	admin, alice, bobs := r.Browser().SignIn(root.Email), r.Browser().SignIn(r.Alice.Email), r.Browser().SignIn(bob.Email)
	r.Browser().SignIn(bob.Email)
	bobs.Code(app, "read")

	user := func(id string) storage.User {
		u, err := r.Store.UserByID(r.System(), id)
		ok(t, err)
		return u
	}
	keyNow := func(owner storage.KeyOwner, id string) storage.APIKey {
		k, err := r.Store.Key(r.System(), owner, id)
		ok(t, err)
		return k
	}
	inWorkspace := storage.KeyOwner{WorkspaceID: ws.ID}
	const base = "/settings/workspaces/engines"
	for _, x := range []struct {
		name  string
		b     *rig.Browser
		path  string
		says  []string
		ended func() bool
		undo  string
	}{
		{
			"pause a key", alice, base + "/api-keys/" + key.ID + "/pause",
			[]string{"Night import", "resume"},
			func() bool { return !keyNow(inWorkspace, key.ID).PausedAt.IsZero() }, "/resume",
		},
		{
			"revoke a test key", alice, base + "/api-keys/" + testKey.ID + "/revoke",
			[]string{"Test import", "never used"},
			func() bool { return !keyNow(inWorkspace, testKey.ID).RevokedAt.IsZero() }, "",
		},
		{"disable an app", alice, base + "/apps/" + app.ID + "/disable", []string{
			"Acme Sync", "1 user has authorized it", "1 client secret stops",
		}, func() bool {
			c, err := r.Store.ClientByID(r.System(), app.ID)
			ok(t, err)
			return !c.DisabledAt.IsZero()
		}, "/enable"},
		{
			"withdraw an invitation", alice, base + "/invitations/" + invitation.ID + "/withdraw",
			[]string{"carol@example.com"},
			func() bool {
				list, err := r.Store.InvitationsOf(r.System(), ws.ID)
				ok(t, err)
				return len(list) == 0
			}, "",
		},
		{
			"disable a workspace", admin, "/admin/workspaces/" + ws.ID + "/disable",
			[]string{"engines", "Night import", "Acme Sync", "2 members"},
			func() bool {
				w, err := r.Store.WorkspaceByID(r.System(), ws.ID)
				ok(t, err)
				return !w.DisabledAt.IsZero()
			}, "/enable",
		},
		{
			"end access", bobs, "/settings/connected-apps/" + app.ID + "/end",
			[]string{"Acme Sync", "1 authorization is revoked"},
			func() bool { return len(r.Grants(bob.ID)) == 0 || !r.Grants(bob.ID)[0].RevokedAt.IsZero() }, "",
		},
		{"end all access", bobs, "/settings/connected-apps/end-all", []string{"No apps have access"}, nil, ""},
		{
			"revoke a token", bobs, tokensPage + "/" + token.ID + "/revoke",
			[]string{"Laptop"},
			func() bool { return !keyNow(storage.KeyOwner{UserID: bob.ID}, token.ID).RevokedAt.IsZero() }, "",
		},
		{
			"end the other sessions", bobs, "/settings/security/sessions/end-others",
			[]string{"Sign out everywhere else?"},
			func() bool {
				list, err := r.Store.SessionsOf(r.System(), bob.ID, 1<<50)
				ok(t, err)
				return len(list) == 1
			}, "",
		},
		{
			"remove a member", alice, base + "/members/" + bob.ID + "/remove",
			[]string{"bob@example.com", "no longer a member of engines"},
			func() bool {
				list, err := r.Store.Members(r.System(), ws.ID, "", 10)
				ok(t, err)
				return len(list) == 1
			}, "",
		},
		{
			"disable a user", admin, "/admin/users/" + r.Alice.ID + "/disable",
			[]string{
				"alice@example.com cannot sign in", "1 session", "The workspace engines has no other enabled owner",
				"Night import",
			},
			func() bool { return !user(r.Alice.ID).DisabledAt.IsZero() }, "/enable",
		},
	} {
		for _, form := range []url.Values{nil, {"confirmed": {"no"}}, {"confirmed": {""}}, {"confirm": {"yes"}}} {
			a := x.b.PostForm(x.path, form)
			if strings.HasSuffix(x.path, "/revoke") && form.Has("confirm") {
				wantPage(t, a, http.StatusBadRequest) // without the typed name of a key, for example
				continue
			}
			if a.Status != http.StatusOK || !strings.Contains(a.Body, `name="confirmed" value="yes"`) {
				t.Errorf("%s: %v is answered %d %s", x.name, form, a.Status, rig.Plain(a.Body))
			}
		}
		page := x.b.Get(x.path)
		wantPage(t, page, http.StatusOK)
		for _, text := range x.says {
			if !strings.Contains(rig.Plain(page.Body), text) {
				t.Errorf("%s: the page does not say %q: %s", x.name, text, rig.Plain(page.Body))
			}
		}
		if x.ended != nil && x.ended() {
			t.Fatalf("%s: it happened before the confirmation", x.name)
		}
		done := x.b.Confirm(x.path, nil)
		if done.Status != http.StatusSeeOther {
			t.Fatalf("%s: confirmed, it is answered %d %s", x.name, done.Status, rig.Plain(done.Body))
		}
		if x.ended != nil && !x.ended() {
			t.Errorf("%s: it did not end", x.name)
		}
		if x.undo == "" {
			continue
		}
		base, _, _ := strings.Cut(x.path, "/disable")
		base = strings.TrimSuffix(base, "/pause")
		next := x.b.Follow(done)
		if !strings.Contains(next.Body, `action="`+base+x.undo+`"`) || !strings.Contains(next.Body, ">Undo<") {
			t.Errorf("%s: nothing undoes it: %s", x.name, rig.Plain(next.Body))
		}
		if a := x.b.PostForm(base+x.undo, nil); a.Status != http.StatusSeeOther || x.ended() {
			t.Errorf("%s: undone, it is answered %d, or ended all the same", x.name, a.Status)
		}
		if again := x.b.Follow(x.b.Get("/settings/profile")); strings.Contains(again.Body, ">Undo<") {
			t.Errorf("%s: the page after the undo offers it again", x.name)
		}
	}
	// Other users see none of these pages.
	for _, path := range []string{
		"/admin/users/" + bob.ID + "/disable", "/admin/workspaces/" + ws.ID + "/disable",
		base + "/members/" + r.Alice.ID + "/remove", base + "/api-keys/" + key.ID + "/pause",
	} {
		wantPage(t, bobs.Get(path), http.StatusNotFound)
	}
}
