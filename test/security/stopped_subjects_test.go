package security

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/storage"
	"doorward/test/rig"
)

// worksWith reports whether a credential is accepted by the management API and active at introspection, which must
// agree. A credential that is known but not accepted gets 403.
func worksWith(t *testing.T, r *rig.Rig, api *rig.App, credential string) bool {
	t.Helper()
	a, alive := r.Call(http.MethodGet, "/v1/auth/test", credential), r.Alive(api, credential)
	if (a.Status == http.StatusOK) != alive || a.Status != http.StatusOK && a.Status != http.StatusForbidden &&
		a.Status != http.StatusUnauthorized {
		t.Errorf("management API %d %s, introspection active %v", a.Status, a.Body, alive)
	}
	return alive
}

func TestV01_DisabledUserKeepsNoKeyOrApp(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	api := r.ResourceServer()
	bob := r.User("bob@example.com", "Bob", false)
	own, sole, kept := personal(t, r, r.Alice.ID), r.Workspace("sole", "", r.Alice), r.Workspace("kept", "", r.Alice)
	shared, pair := r.Workspace("shared", "", r.Alice), r.Workspace("pair", "", r.Alice)
	r.Join(shared, bob, catalog.RoleOwner)
	r.Join(pair, bob, catalog.RoleAdmin)
	places := map[string]storage.Workspace{"own": own, "sole": sole, "kept": kept, "shared": shared, "pair": pair}
	keys, apps, tokens := map[string]string{}, map[string]*rig.App{}, map[string]string{}
	for name, w := range places {
		_, keys[name] = r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
		apps[name] = r.App(management.ClientSpec{Grants: []string{oauth.GrantClientCredentials}, WorkspaceID: w.ID})
		a := r.PostAs(apps[name], "/oauth/token", url.Values{"grant_type": {"client_credentials"}})
		tokens[name], _ = a.JSON()["access_token"].(string)
	}
	_, pat := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
	check := func(when string, want map[string]bool) {
		t.Helper()
		for name := range places {
			if got := worksWith(t, r, api, keys[name]); got != want[name] {
				t.Errorf("%s: the key of %s works %v", when, name, got)
			}
			if got := worksWith(t, r, api, tokens[name]); got != want[name] {
				t.Errorf("%s: the token of the app of %s works %v", when, name, got)
			}
			a := r.PostAs(apps[name], "/oauth/token", url.Values{"grant_type": {"client_credentials"}})
			if got := a.Status == http.StatusOK; got != want[name] || !got && a.JSON()["error"] != "invalid_client" {
				t.Errorf("%s: a new token for the app of %s: %d %s", when, name, a.Status, a.Body)
			}
			made := r.JSON(http.MethodPost, "/v1/api-keys", keys[name], `{"name":"Another","scopes":["read"]}`)
			if got := made.Status == http.StatusCreated; got != want[name] {
				t.Errorf("%s: another key with the key of %s: %d %s", when, name, made.Status, made.Body)
			}
		}
	}
	all := map[string]bool{"own": true, "sole": true, "kept": true, "shared": true, "pair": true}
	check("enabled", all)

	ok(t, r.Identity.DisableUser(r.System(), r.Alice.ID, kept.ID, own.ID)) // the personal workspace is never kept
	check("disabled", map[string]bool{"kept": true, "shared": true})
	if worksWith(t, r, api, pat) {
		t.Error("the personal access token of a disabled user works")
	}
	ok(t, r.Identity.DisableUser(r.System(), bob.ID))
	check("the other owner disabled too", map[string]bool{"kept": true})
	ok(t, r.Identity.EnableUser(r.System(), bob.ID))
	check("the other owner enabled again", map[string]bool{"kept": true, "shared": true})

	// Nothing can be created for them either.
	by := management.CLI("")
	by.UserID = r.Alice.ID
	var invalid *input.Invalid
	if _, _, err := r.Management.CreatePersonalToken(r.System(), by,
		apikey.Spec{Name: "New", Scopes: []string{"read"}}); !errors.As(err, &invalid) {
		t.Errorf("a personal access token for a disabled user: error %v", err)
	}
	if _, _, err := r.Management.CreateKey(r.System(), management.CLI(sole.ID), "",
		apikey.Spec{Name: "New", Scopes: []string{"read"}}); !errors.As(err, &invalid) {
		t.Errorf("a key in a disabled workspace: error %v", err)
	}
	if _, _, err := r.Management.CreateClient(r.System(), management.CLI(""),
		management.ClientSpec{
			Name:          "New",
			Grants:        []string{oauth.GrantClientCredentials},
			Scopes:        []string{"read"},
			WorkspaceID:   sole.ID,
			Administrator: true,
		}); !errors.As(err, &invalid) {
		t.Errorf("an app in a disabled workspace: error %v", err)
	}
	if _, err := r.Management.CreateWorkspace(r.System(), management.CLI(""), "New", "new-one", "",
		r.Alice.ID); !errors.As(err, &invalid) {
		t.Errorf("a workspace of a disabled owner: error %v", err)
	}
	if err := r.Management.EnableWorkspace(r.System(), management.CLI(own.ID),
		own); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("enabling the personal workspace of a disabled user: error %v", err)
	}

	// Another owner makes it work again, and so does enabling the only owner; what an administrator disabled stays
	// disabled.
	ok(t, r.Management.ChangeRole(r.System(), management.CLI(pair.ID), pair, bob.ID, catalog.RoleOwner))
	check("with another owner", map[string]bool{"kept": true, "shared": true, "pair": true})
	ok(t, r.Management.DisableWorkspace(r.System(), management.CLI(sole.ID), sole))
	ok(t, r.Identity.EnableUser(r.System(), r.Alice.ID))
	check("enabled again", map[string]bool{"own": true, "kept": true, "shared": true, "pair": true})
	ok(t, r.Management.EnableWorkspace(r.System(), management.CLI(sole.ID), sole))
	check("and the workspace", all)
	if !worksWith(t, r, api, pat) {
		t.Error("the personal access token of an enabled user does not work")
	}
}

func TestV01_WorkspaceWithoutAnEnabledOwnerStops(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	api := r.ResourceServer()
	ways := map[string]struct {
		do   func(w storage.Workspace, owner storage.User) error
		want bool // whether it works afterwards
	}{
		"deleted": {func(_ storage.Workspace, owner storage.User) error {
			return r.Identity.DeleteUser(r.System(), owner.ID)
		}, false},
		"removed by the command": {func(w storage.Workspace, owner storage.User) error {
			return r.Management.RemoveMember(r.System(), management.CLI(w.ID), w, owner.ID)
		}, false},
		"made a member by the command": {func(w storage.Workspace, owner storage.User) error {
			return r.Management.ChangeRole(r.System(), management.CLI(w.ID), w, owner.ID, catalog.RoleMember)
		}, false},
		"leaving": {func(w storage.Workspace, owner storage.User) error {
			err := r.Management.RemoveMember(r.System(), management.Authority{
				UserID: owner.ID, WorkspaceID: w.ID, Role: catalog.RoleOwner,
			}, w, owner.ID)
			if !errors.Is(err, storage.ErrConflict) {
				t.Errorf("the last enabled owner may leave: error %v", err)
			}
			return nil
		}, true},
	}
	n := 0
	for name, way := range ways {
		n++
		suffix := string(rune('a' + n))
		one, two := r.User("one-"+suffix+"@example.com", "One", false), r.User("two-"+suffix+"@example.com", "Two", false)
		w := r.Workspace("two-owners-"+suffix, "", one)
		r.Join(w, two, catalog.RoleOwner)
		_, key := r.Key(w, apikey.Spec{})
		ok(t, r.Identity.DisableUser(r.System(), two.ID))
		if !worksWith(t, r, api, key) {
			t.Fatalf("%s: an enabled owner is left, and the key does not work", name)
		}
		ok(t, way.do(w, one))
		if got := worksWith(t, r, api, key); got != way.want {
			t.Errorf("%s: the key works %v", name, got)
		}
		ok(t, r.Identity.EnableUser(r.System(), two.ID))
		if !worksWith(t, r, api, key) {
			t.Errorf("%s: an owner is enabled again, and the key does not work", name)
		}
	}
}

func TestV02_AppStopsWithItsWorkspace(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	api := r.ResourceServer()
	dev := r.User("dev@example.com", "Dev", false)
	b := r.Browser().SignIn(r.Alice.Email)
	stops := map[string]struct {
		off, on func(w storage.Workspace, app *rig.App) error
	}{
		"workspace": {
			func(w storage.Workspace, _ *rig.App) error {
				return r.Management.DisableWorkspace(r.System(), management.CLI(w.ID), w)
			},
			func(w storage.Workspace, _ *rig.App) error {
				return r.Management.EnableWorkspace(r.System(), management.CLI(w.ID), w)
			},
		},
		"developer": {
			func(storage.Workspace, *rig.App) error { return r.Identity.DisableUser(r.System(), dev.ID) },
			func(storage.Workspace, *rig.App) error { return r.Identity.EnableUser(r.System(), dev.ID) },
		},
		"app": {
			func(_ storage.Workspace, app *rig.App) error {
				return r.Management.DisableClient(r.System(), management.CLI(""), app.ID)
			},
			func(_ storage.Workspace, app *rig.App) error {
				return r.Management.EnableClient(r.System(), management.CLI(""), app.ID)
			},
		},
	}
	for name, stop := range stops {
		w := r.Workspace("of-"+name, "", dev)
		app := r.App(management.ClientSpec{
			WorkspaceID:  w.ID,
			Grants:       []string{"authorization_code", "refresh_token", "client_credentials"},
			RedirectURIs: []string{"https://app.example/cb"},
		})
		a := r.Exchange(app, b.Code(app, "read"))
		access, _ := a.JSON()["access_token"].(string)
		refresh, _ := a.JSON()["refresh_token"].(string)
		code := b.Code(app, "read") // without a page, because consent is remembered

		ok(t, stop.off(w, app))
		if worksWith(t, r, api, access) {
			t.Errorf("%s: a token of a stopped app works", name)
		}
		if got := r.Call(http.MethodGet, "/v1/auth/test", access); got.Status != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, got.Status, got.Body)
		}
		for what, answer := range map[string]*rig.Answer{
			"client_credentials": r.PostAs(app, "/oauth/token", url.Values{"grant_type": {"client_credentials"}}),
			"refresh":            r.Refresh(app, refresh),
			"code":               r.Exchange(app, code),
			"introspect":         r.PostAs(app, "/oauth/introspect", url.Values{"token": {access}}),
			"revoke":             r.PostAs(app, "/oauth/revoke", url.Values{"token": {access}}),
		} {
			if answer.Status != http.StatusUnauthorized || answer.JSON()["error"] != "invalid_client" {
				t.Errorf("%s, %s: %d %s", name, what, answer.Status, answer.Body)
			}
		}
		for what, params := range map[string]url.Values{
			"authorize":         app.Params("read"),
			"authorize unasked": app.Params("read"),
		} {
			if what == "authorize unasked" {
				params.Set("prompt", "none")
			}
			if page := b.Authorize(params); page.Status != http.StatusBadRequest || page.Location != nil {
				t.Errorf("%s, %s: %d to %v", name, what, page.Status, page.Location)
			}
		}

		ok(t, stop.on(w, app))
		if !worksWith(t, r, api, access) {
			t.Errorf("%s: a token that is still valid does not work again", name)
		}
		if got := r.Refresh(app, refresh); got.Status != http.StatusOK {
			t.Errorf("%s: refresh afterwards: %d %s", name, got.Status, got.Body)
		}
	}
}

func TestV02_ResourceServerStopsWithItsWorkspace(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	w := r.Workspace("apis", "", r.Alice)
	api := r.App(management.ClientSpec{Name: "API", ResourceServer: true, WorkspaceID: w.ID})
	_, key := r.Key(personal(t, r, r.User("bob@example.com", "Bob", false).ID), apikey.Spec{})
	if !r.Alive(api, key) {
		t.Fatal("it cannot introspect")
	}
	ok(t, r.Identity.DisableUser(r.System(), r.Alice.ID))
	if a := r.Introspect(api, key); a.Status != http.StatusUnauthorized || a.JSON()["error"] != "invalid_client" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}

func TestV03_EnablingNeedsAsMuchAuthorityAsDisabling(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	w := personal(t, r, r.Alice.ID)
	owner := management.Authority{UserID: r.Alice.ID, PersonalID: w.ID, WorkspaceID: w.ID, Role: catalog.RoleOwner}
	admin, command := owner, management.CLI(w.ID)
	admin.Role = catalog.RoleAdmin
	app := r.App(management.ClientSpec{WorkspaceID: w.ID})
	key, _ := r.Key(w, apikey.Spec{})
	token, _ := r.PersonalToken(r.Alice, apikey.Spec{})
	keyOwner, tokenOwner := storage.KeyOwner{WorkspaceID: w.ID}, storage.KeyOwner{UserID: r.Alice.ID}
	ctx := r.System()
	for name, thing := range map[string]struct {
		stop, start func(by management.Authority) error
		levels      []management.Authority // lowest first
	}{
		"app": {
			func(by management.Authority) error { return r.Management.DisableClient(ctx, by, app.ID) },
			func(by management.Authority) error { return r.Management.EnableClient(ctx, by, app.ID) },
			[]management.Authority{admin, owner, command},
		},
		"key": {
			func(by management.Authority) error {
				_, err := r.Management.PauseKey(ctx, by, keyOwner, key.ID)
				return err
			},
			func(by management.Authority) error {
				_, err := r.Management.ResumeKey(ctx, by, keyOwner, key.ID)
				return err
			},
			[]management.Authority{admin, owner, command},
		},
		"personal access token": {
			func(by management.Authority) error {
				_, err := r.Management.PauseKey(ctx, by, tokenOwner, token.ID)
				return err
			},
			func(by management.Authority) error {
				_, err := r.Management.ResumeKey(ctx, by, tokenOwner, token.ID)
				return err
			},
			[]management.Authority{owner, command},
		},
	} {
		for i, stops := range thing.levels {
			for j, starts := range thing.levels {
				ok(t, thing.stop(stops))
				ok(t, thing.stop(thing.levels[0])) // disabling it again with less authority changes nothing
				err := thing.start(starts)
				var no *management.Forbidden
				if allowed := j >= i; allowed != (err == nil) || !allowed && !errors.As(err, &no) {
					t.Errorf("%s stopped at level %d, started at level %d: error %v", name, i, j, err)
				}
				ok(t, thing.start(command))
			}
		}
		// Disabling with more authority counts from then on.
		ok(t, thing.stop(thing.levels[0]))
		ok(t, thing.stop(command))
		if err := thing.start(thing.levels[0]); err == nil {
			t.Errorf("%s: stopped by its owner and then an administrator, it was started by its owner", name)
		}
		ok(t, thing.start(command))
	}
}

// When an administrator is refused on the page of their own workspace, or in the API, the refusal names the
// administrators' page.
func TestV03_TheRefusalNamesThePageOfAdministrators(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	root := r.User("root@example.com", "Root", true)
	w := personal(t, r, root.ID)
	app := r.App(management.ClientSpec{WorkspaceID: w.ID})
	ok(t, r.Management.DisableClient(r.System(), management.CLI(""), app.ID))
	b, want := r.Browser().SignIn(root.Email), "/admin/apps/"+app.ID
	for what, a := range map[string]*rig.Answer{
		"API":       b.JSON(http.MethodPatch, "/v1/apps/"+app.ID, `{"disabled":false}`),
		"page":      b.PostForm("/settings/developer/apps/"+app.ID+"/enable", nil),
		"its state": b.Get("/settings/developer/apps/" + app.ID),
	} {
		if (a.Status != http.StatusForbidden && what != "its state") ||
			!strings.Contains(a.Body+a.Header.Get("WWW-Authenticate"), want) {
			t.Errorf("%s: %d %v %s", what, a.Status, a.Header, rig.Plain(a.Body))
		}
	}
	if a := b.PostForm(want+"/enable", nil); a.Status != http.StatusSeeOther {
		t.Errorf("there: %d %s", a.Status, rig.Plain(a.Body))
	}
	c, err := r.Store.ClientByID(r.System(), app.ID)
	ok(t, err)
	if !c.DisabledAt.IsZero() {
		t.Error("it is still disabled")
	}
}

func TestV03_BuilderCannotUndoAnAdministrator(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	w := personal(t, r, r.Alice.ID)
	app := r.App(management.ClientSpec{WorkspaceID: w.ID})
	key, text := r.Key(w, apikey.Spec{})
	_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
	b := r.Browser().SignIn(r.Alice.Email)
	api := r.ResourceServer()
	ok(t, r.Management.DisableClient(r.System(), management.CLI(""), app.ID))
	_, err := r.Management.PauseKey(r.System(), management.CLI(w.ID), storage.KeyOwner{WorkspaceID: w.ID}, key.ID)
	ok(t, err)

	for what, a := range map[string]*rig.Answer{
		"PATCH app": r.JSON(http.MethodPatch, "/v1/apps/"+app.ID, admin, `{"disabled":false}`),
		"PATCH redirect URIs": r.JSON(http.MethodPatch, "/v1/apps/"+app.ID, admin,
			`{"redirectUris":["https://other.example/cb"]}`),
		"PATCH app in a session": b.JSON(http.MethodPatch, "/v1/apps/"+app.ID, `{"disabled":false}`),
		"PATCH key":              r.JSON(http.MethodPatch, "/v1/api-keys/"+key.ID, admin, `{"paused":false}`),
		"page of the app":        b.PostForm("/settings/developer/apps/"+app.ID+"/enable", nil),
		"page of the key":        b.PostForm("/settings/workspaces/"+w.Slug+"/api-keys/"+key.ID+"/resume", nil),
	} {
		if a.Status != http.StatusForbidden {
			t.Errorf("%s: %d %s", what, a.Status, a.Body)
		}
	}
	for what, a := range map[string]*rig.Answer{
		"API secret":  r.JSON(http.MethodPost, "/v1/apps/"+app.ID+"/secret", admin, `{}`),
		"page secret": b.Submit("/settings/developer/apps/"+app.ID+"/secret", url.Values{"grace": {"24h"}}),
		"rotate":      r.JSON(http.MethodPost, "/v1/api-keys/"+key.ID+"/rotate", admin, `{}`),
	} {
		if a.Status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", what, a.Status, a.Body)
		}
	}
	// The operator cannot create a new one either before it is enabled.
	var invalid *input.Invalid
	if _, _, err := r.Management.RotateSecret(r.System(), management.CLI(""), app.ID, time.Hour); !errors.As(err,
		&invalid) {
		t.Errorf("secret by the CLI: error %v", err)
	}
	if _, _, err := r.Management.RotateKey(r.System(), management.CLI(w.ID), storage.KeyOwner{WorkspaceID: w.ID},
		key.ID, time.Hour); !errors.As(err, &invalid) {
		t.Errorf("rotation by the CLI: error %v", err)
	}
	if worksWith(t, r, api, text) {
		t.Error("the paused key works")
	}
	if c, err := r.Store.ClientByID(r.System(), app.ID); err != nil || c.DisabledAt.IsZero() || len(c.Secrets) != 1 ||
		c.RedirectURIs[0] != app.Redirect {
		t.Errorf("the app is %+v, error %v", c, err)
	}
	// The developer sees why.
	if shown := r.JSON(http.MethodGet, "/v1/apps/"+app.ID, admin, "").JSON(); shown["disabledBy"] != "administrator" {
		t.Errorf("the app is shown as %v", shown)
	}
	if shown := r.JSON(http.MethodGet, "/v1/api-keys/"+key.ID, admin, "").JSON(); shown["pausedBy"] != "administrator" {
		t.Errorf("the key is shown as %v", shown)
	}
}

// Nothing is issued for an app that another process disabled a moment ago, although this process still has the enabled
// app in its cache.
func TestV02_NothingIsIssuedAfterAnotherProcessDisabledTheApp(t *testing.T) {
	nodes := rig.Nodes(t, rig.Options{}, rig.Options{})
	r, other := nodes[0], nodes[1]
	ws := r.Workspace("acme", "", r.Alice)
	app := r.App(management.ClientSpec{
		WorkspaceID:  ws.ID,
		FirstParty:   true,
		RedirectURIs: []string{"https://app.example/cb"},
		Grants:       []string{oauth.GrantAuthorizationCode, oauth.GrantRefreshToken, oauth.GrantClientCredentials},
	})
	b := r.Browser().SignIn(r.User("visitor@example.com", "Visitor", false).Email)
	own := func() *rig.Answer {
		return r.Post("/oauth/token", url.Values{"grant_type": {oauth.GrantClientCredentials}}, "Authorization",
			rig.Basic(app.ID, app.Secret))
	}
	for name, disable := range map[string]func(disable bool) error{
		"app": func(disable bool) error {
			if disable {
				return other.Management.DisableClient(other.System(), management.CLI(ws.ID), app.ID)
			}
			return other.Management.EnableClient(other.System(), management.CLI(ws.ID), app.ID)
		},
		"workspace": func(disable bool) error {
			if disable {
				return other.Management.DisableWorkspace(other.System(), management.CLI(ws.ID), ws)
			}
			return other.Management.EnableWorkspace(other.System(), management.CLI(ws.ID), ws)
		},
	} {
		code := b.Code(app, "read")
		_, refresh := r.Tokens(app, "read")
		if a := own(); a.Status != http.StatusOK {
			t.Fatalf("before: %d %s", a.Status, a.Body)
		}
		ok(t, disable(true))
		for what, a := range map[string]*rig.Answer{
			"client_credentials": own(),
			"a code":             r.Exchange(app, code),
			"a refresh token":    r.Refresh(app, refresh),
		} {
			if a.Status != http.StatusUnauthorized || a.Text("error") != oauth.InvalidClient {
				t.Errorf("%s disabled, %s: %d %s", name, what, a.Status, a.Body)
			}
		}
		if a := b.Authorize(app.Params("read")); a.Param("code") != "" {
			t.Errorf("%s disabled: a code was issued", name)
		}
		ok(t, disable(false))
		if a := own(); a.Status != http.StatusOK {
			t.Errorf("%s enabled: %d %s", name, a.Status, a.Body)
		}
	}
}
