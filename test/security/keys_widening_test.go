package security

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

// A key for introspection sees the credentials of every workspace, so no key of a workspace may become one.
func TestK11_NoKeyOfAWorkspaceBecomesOneThatIntrospects(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	w := r.Workspace("acme", "", r.Alice)
	_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
	k, text := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
	answered(t, "by the API", r.JSON("PATCH", "/v1/api-keys/"+k.ID, admin, `{"scopes":["introspect"]}`),
		http.StatusForbidden)
	b := r.Browser().SignIn(r.Alice.Email)
	page := b.Get("/settings/workspaces/acme/api-keys/" + k.ID)
	form := b.Form(page, "/settings/workspaces/acme/api-keys/"+k.ID)
	form["scope-0"] = []string{"introspect"}
	if a := b.PostForm("/settings/workspaces/acme/api-keys/"+k.ID, form); a.Status < 400 {
		t.Errorf("the page answered %d", a.Status)
	}
	after, err := r.Store.KeyByID(r.System(), k.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(after.Scopes, []string{"admin"}) {
		t.Errorf("its scopes are %v now", after.Scopes)
	}
	a := r.Post("/oauth/introspect", map[string][]string{"token": {admin}}, "Authorization", "Bearer "+text)
	if a.Status != http.StatusUnauthorized {
		t.Errorf("it introspects: %d %s", a.Status, a.Body)
	}
}

// A credential that may not register an app with certain rights may not change an app to have them either, also by
// leaving members out.
func TestK11_NoAppGetsMoreThanTheCredentialThatChangesIt(t *testing.T) {
	o := rig.Options{Resources: []catalog.Resource{
		{
			ID:              "https://one.example",
			Scopes:          []catalog.Scope{{Name: "admin", Implies: []string{"read"}}, {Name: "read"}},
			Keys:            catalog.KeyRules{Prefix: "sk", Environments: []string{"live", "test"}},
			WorkspaceHeader: "X-Workspace",
		},
		{
			ID:              "https://two.example",
			Scopes:          []catalog.Scope{{Name: "admin", Implies: []string{"read"}}, {Name: "read"}},
			Keys:            catalog.KeyRules{Prefix: "tk", Environments: []string{"live", "test"}},
			WorkspaceHeader: "X-Workspace",
		},
	}}
	rig.Each(t, o, func(t *testing.T, r *rig.Rig) {
		w := r.Workspace("acme", "", r.Alice)
		_, two := r.Key(w, apikey.Spec{Scopes: []string{"admin"}, Resource: "https://two.example"})
		_, test := r.Key(w, apikey.Spec{Scopes: []string{"admin"}, Environment: "test"})
		made := r.JSON("POST", "/v1/apps", two, `{"name":"x","grants":["client_credentials"],"scopes":["admin"]}`)
		answered(t, "an app for the resource of the key", made, http.StatusCreated)
		for what, body := range map[string]string{
			"another resource": `{"resources":["https://one.example"]}`,
			"the default one":  `{"resources":[]}`,
			"both":             `{"resources":["https://two.example","https://one.example"]}`,
		} {
			answered(t, what, r.JSON("PATCH", "/v1/apps/"+made.Text("id"), two, body), http.StatusForbidden)
		}
		answered(t, "by a test key", r.JSON("PATCH", "/v1/apps/"+made.Text("id"), test, `{"resources":[],"redirectUris":[]}`),
			http.StatusForbidden)
		answered(t, "what it may", r.JSON("PATCH", "/v1/apps/"+made.Text("id"), two, `{"name":"y"}`), http.StatusOK)
	})
}

// A request whose body arrives slowly has the rights at the time when the body is complete.
func TestK06_K23_ASlowBodyKeepsNoRights(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		w := r.Workspace("acme", "", r.Alice)
		bob := r.User("bob@example.com", "Bob", false)
		r.Join(w, bob, "admin")
		k, key := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
		_, pat := r.PersonalToken(bob, apikey.Spec{Scopes: []string{"admin"}})
		for what, x := range map[string]struct {
			credential string
			end        func() error
			status     int
		}{
			"a key that is revoked meanwhile": {key, func() error {
				_, err := r.Management.RevokeKey(r.System(), management.CLI(w.ID), k.Owner(), k.ID)
				return err
			}, http.StatusUnauthorized},
			"an admin who is removed meanwhile": {pat, func() error {
				return r.Management.RemoveMember(r.System(), management.CLI(w.ID), w, bob.ID)
			}, http.StatusForbidden},
		} {
			body, sender := io.Pipe()
			q := r.Request("POST", "/v1/api-keys", body, append(workspaceOf(x.credential, "acme"),
				"Authorization", "Bearer "+x.credential, "Content-Type", "application/json", "Expect", "100-continue")...)
			before := liveKeys(r, w)
			// The server sends 100 Continue when it begins to read the body.
			q = q.WithContext(httptrace.WithClientTrace(q.Context(), &httptrace.ClientTrace{Got100Continue: func() {
				if err := x.end(); err != nil {
					t.Error(err)
				}
				go func() {
					_, _ = sender.Write([]byte(`{"name":"x","scopes":["read"]}`))
					_ = sender.Close()
				}()
			}}))
			transport := &http.Transport{ExpectContinueTimeout: time.Minute}
			answered(t, what, r.Send(&http.Client{Transport: transport}, q), x.status)
			transport.CloseIdleConnections()
			if n := liveKeys(r, w); n > before {
				t.Errorf("%s: it made a key", what)
			}
		}
	})
}

// An invitation depends on its sender's role at the time it is accepted, so a removed member cannot keep one to come
// back.
func TestG34_AnInvitationIsInvalidWithoutTheRightToSendIt(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		w := r.Workspace("acme", "", r.Alice)
		for name, lose := range map[string]func(id string) error{
			"removed": func(id string) error {
				return r.Management.RemoveMember(r.System(), management.CLI(w.ID), w, id)
			},
			"demoted": func(id string) error {
				return r.Management.ChangeRole(r.System(), management.CLI(w.ID), w, id, "member")
			},
			"disabled": func(id string) error { return r.Store.DisableUser(r.System(), id) },
			"":         func(string) error { return nil },
		} {
			maker := r.User("maker-"+name+"@example.com", "Maker", false)
			guest := r.User("guest-"+name+"@example.com", "Guest", false)
			r.Join(w, maker, "admin")
			by, _, _, err := r.Management.PersonAuthority(t.Context(), maker.ID, w.Slug)
			if err != nil {
				t.Fatal(err)
			}
			by.Fresh = true
			_, word, err := r.Management.Invite(t.Context(), by, w, guest.Email, "admin")
			if err != nil {
				t.Fatal(err)
			}
			r.Seen.Add(rig.SecretInvitation, word)
			if err := lose(maker.ID); err != nil {
				t.Fatal(err)
			}
			b := r.Browser().SignIn(guest.Email)
			shown, taken := b.Get("/join/"+word), b.PostForm("/join/"+word, url.Values{})
			role, err := r.Store.RoleOf(r.System(), w.ID, guest.ID)
			switch {
			case name == "" && (shown.Status != http.StatusOK || taken.Status != http.StatusSeeOther || role != "admin"):
				t.Errorf("by an admin: %d, %d, %q", shown.Status, taken.Status, role)
			case name != "" &&
				(shown.Status != http.StatusNotFound || taken.Status != http.StatusNotFound ||
					!errors.Is(err, storage.ErrNotFound)):
				t.Errorf("by a user who was %s: %d, %d, %q %v", name, shown.Status, taken.Status, role, err)
			}
		}
	})
}

// Test keys are kept less carefully than live ones, so they can manage only test keys.
func TestK02_K11_ATestKeyReachesNothingThatIsLive(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	w := r.Workspace("acme", "", r.Alice)
	bob := r.User("bob@example.com", "Bob", false)
	r.Join(w, bob, "member")
	_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
	_, test := r.Key(w, apikey.Spec{Scopes: []string{"admin"}, Environment: "test"})
	live, _ := r.Key(w, apikey.Spec{Addresses: []string{"192.0.2.0/24"}})
	own, _ := r.Key(w, apikey.Spec{Environment: "test"})
	_, err := r.Management.PauseKey(r.System(), management.Authority{
		UserID: r.Alice.ID, WorkspaceID: w.ID, Role: catalog.RoleAdmin,
	}, live.Owner(), live.ID)
	if err != nil {
		t.Fatal(err)
	}
	before := r.JSON("GET", "/v1/api-keys/"+live.ID, admin, "").Body
	for _, x := range []struct{ method, path, body string }{
		{"PATCH", "/v1/api-keys/" + live.ID, `{"paused":false}`},
		{"PATCH", "/v1/api-keys/" + live.ID, `{"addresses":null}`},
		{"POST", "/v1/api-keys/" + live.ID + "/rotate", ""},
		{"DELETE", "/v1/api-keys/" + live.ID, ""},
		{"POST", "/v1/workspaces/acme/invitations", `{"email":"mallory@example.com","role":"admin"}`},
		{"PATCH", "/v1/workspaces/acme/members/" + bob.ID, `{"role":"admin"}`},
		{"DELETE", "/v1/workspaces/acme/members/" + bob.ID, ""},
	} {
		answered(t, x.method+" "+x.path+" "+x.body, r.JSON(x.method, x.path, test, x.body), http.StatusForbidden)
	}
	if after := r.JSON("GET", "/v1/api-keys/"+live.ID, admin, "").Body; after != before {
		t.Errorf("%s\n%s", before, after)
	}
	answered(t, "a test key by another", r.JSON("PATCH", "/v1/api-keys/"+own.ID, test, `{"paused":true}`), http.StatusOK)
	answered(t, "a live key by another", r.JSON("PATCH", "/v1/api-keys/"+live.ID, admin, `{"paused":false}`),
		http.StatusOK)
	answered(t, "a test key by a live one", r.JSON("DELETE", "/v1/api-keys/"+own.ID, admin, ""), http.StatusNoContent)
}

// A key can be paused even if its permissions are no longer in the configuration: that is when it is urgent.
func TestK07_AKeyOfARightThatIsGoneCanStillBePaused(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	w := r.Workspace("acme", "", r.Alice)
	_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
	k, text := r.Key(w, apikey.Spec{})
	r.SQL(`UPDATE api_keys SET scopes = 'read gone' WHERE id = $1`, k.ID)
	path := "/v1/api-keys/" + k.ID
	answered(t, "a name", r.JSON("PATCH", path, admin, `{"name":"x"}`), http.StatusBadRequest)
	answered(t, "before", r.JSON("GET", "/v1/auth/test", text, ""), http.StatusOK)
	answered(t, "pausing", r.JSON("PATCH", path, admin, `{"paused":true}`), http.StatusOK)
	answered(t, "after", r.JSON("GET", "/v1/auth/test", text, ""), http.StatusForbidden)
}

// A range that contains no possible client address would create a key that works nowhere.
func TestK25_ARangeOfMappedAddressesIsRefused(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	w := r.Workspace("acme", "", r.Alice)
	_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
	answered(t, "a range",
		r.JSON("POST", "/v1/api-keys", admin, `{"name":"x","scopes":["read"],"addresses":["::ffff:127.0.0.0/104"]}`),
		http.StatusBadRequest)
	made := r.JSON("POST", "/v1/api-keys", admin, `{"name":"x","scopes":["read"],"addresses":["::ffff:127.0.0.1"]}`)
	answered(t, "an address", made, http.StatusCreated)
	answered(t, "using it", r.JSON("GET", "/v1/auth/test", made.Text("key"), ""), http.StatusOK)
}

// An administrator of a workspace neither withdraws nor replaces an invitation for an owner, and renaming keeps a plan
// that was changed meanwhile.
func TestK11_OwnersInvitationsAndPlansAreTheirs(t *testing.T) {
	r := rig.Memory(t, limited())
	bob := r.User("bob@example.com", "Bob", false)
	w := r.Workspace("acme", "free", r.Alice)
	r.Join(w, bob, "admin")
	owner, _, _, err := r.Management.PersonAuthority(t.Context(), r.Alice.ID, "acme")
	ok(t, err)
	admin, _, _, err := r.Management.PersonAuthority(t.Context(), bob.ID, "acme")
	ok(t, err)
	owner.Fresh, admin.Fresh = true, true
	i, word, err := r.Management.Invite(t.Context(), owner, w, "carol@example.com", "owner")
	ok(t, err)
	var forbidden *management.Forbidden
	if _, _, err := r.Management.Invite(t.Context(), admin, w, "Carol@example.com", "viewer"); !errors.As(err,
		&forbidden) {
		t.Errorf("an administrator replaces the invitation of an owner: %v", err)
	}
	if err := r.Management.DropInvitation(t.Context(), admin, w, i.ID); !errors.As(err, &forbidden) {
		t.Errorf("an administrator withdraws the invitation of an owner: %v", err)
	}
	if _, _, err := r.Management.Invitation(t.Context(), word); err != nil {
		t.Errorf("the invitation is gone: %v", err)
	}
	plan, name := "pro", "Acme & Sons"
	_, err = r.Management.UpdateWorkspace(t.Context(), management.CLI(w.ID), w, nil, &plan)
	ok(t, err)
	_, err = r.Management.UpdateWorkspace(t.Context(), owner, w, &name, nil) // with the workspace as it was before
	ok(t, err)
	if now, err := r.Store.WorkspaceByID(r.System(), w.ID); err != nil || now.Plan != plan || now.Name != name {
		t.Errorf("the workspace is %+v, error %v", now, err)
	}
}
