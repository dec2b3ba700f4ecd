package security

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/test/rig"
)

func TestV06_EnablingRestoresNothingThatDisablingRevoked(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	api, app := r.ResourceServer(), r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	a := r.Exchange(app, b.Code(app, "read"))
	access, _ := a.JSON()["access_token"].(string)
	refresh, _ := a.JSON()["refresh_token"].(string)
	code := b.Code(app, "read")
	_, pat := r.PersonalToken(r.Alice, apikey.Spec{})
	_, key := r.Key(personal(t, r, r.Alice.ID), apikey.Spec{})

	ok(t, r.Identity.DisableUser(r.System(), r.Alice.ID))
	ok(t, r.Identity.EnableUser(r.System(), r.Alice.ID))
	if worksWith(t, r, api, access) || r.Alive(app, refresh) {
		t.Error("a token from before works again")
	}
	for what, answer := range map[string]*rig.Answer{"refresh": r.Refresh(app, refresh), "code": r.Exchange(app, code)} {
		if answer.Status != http.StatusBadRequest || answer.JSON()["error"] != "invalid_grant" {
			t.Errorf("%s: %d %s", what, answer.Status, answer.Body)
		}
	}
	if page := b.Get("/settings/profile"); page.Status != http.StatusSeeOther {
		t.Errorf("the session from before: %d", page.Status)
	}
	if !worksWith(t, r, api, pat) || !worksWith(t, r, api, key) {
		t.Error("a personal access token or key does not work again")
	}
}

func TestV06_ResetAndSignOutRevokeWhatActsForAUser(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	api, app := r.ResourceServer(), r.App(management.ClientSpec{})
	reset := func(e identity.SignOutOptions) (identity.SignOutResult, error) {
		return r.Identity.SetPassword(r.System(), r.Alice.ID, rig.Password, e)
	}
	signOut := func(e identity.SignOutOptions) (identity.SignOutResult, error) {
		return r.Identity.SignOut(r.System(), r.Alice.ID, e)
	}
	for name, act := range map[string]func(identity.SignOutOptions) (identity.SignOutResult, error){
		"reset": reset, "sign-out": signOut,
	} {
		for _, end := range []identity.SignOutOptions{{}, {Apps: true}, {Tokens: true}, {Apps: true, Tokens: true}} {
			b := r.Browser().SignIn(r.Alice.Email)
			a := r.Exchange(app, b.Code(app, "read"))
			access, _ := a.JSON()["access_token"].(string)
			refresh, _ := a.JSON()["refresh_token"].(string)
			code := b.Code(app, "read")
			consent := app.Params("write")
			page := b.Follow(b.Authorize(consent))
			k, pat := r.PersonalToken(r.Alice, apikey.Spec{})

			ended, err := act(end)
			ok(t, err)
			if got := worksWith(t, r, api, access); got == end.Apps {
				t.Errorf("%s %+v: the app's token works %v", name, end, got)
			}
			if got := r.Exchange(app, code).Status == http.StatusOK; got == end.Apps {
				t.Errorf("%s %+v: the code works %v", name, end, got)
			}
			if got := r.Refresh(app, refresh).Status == http.StatusOK; got == end.Apps {
				t.Errorf("%s %+v: refresh works %v", name, end, got)
			}
			if got := worksWith(t, r, api, pat); got == end.Tokens {
				t.Errorf("%s %+v: the personal access token works %v", name, end, got)
			}
			if b.Get("/settings/profile").Status != http.StatusSeeOther {
				t.Errorf("%s %+v: the session works", name, end)
			}
			if answer := b.Decide(page, "approve"); answer.Location != nil && answer.Location.Query().Has("code") {
				t.Errorf("%s %+v: a consent page from before gave a code", name, end)
			}
			listed := false
			for _, x := range ended.Tokens {
				listed = listed || x.ID == k.ID
			}
			if ended.Sessions < 1 || !listed || (ended.Grants > 0) != end.Apps || (ended.Revoked > 0) != end.Tokens {
				t.Errorf("%s %+v: ended %+v", name, end, ended)
			}
		}
	}
}

func TestV06_NothingIsGrantedInASessionThatHasEnded(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	r.Browser().SignIn(r.Alice.Email)
	w := personal(t, r, r.Alice.ID)
	d := oauth.Decision{
		UserID:      r.Alice.ID,
		SessionID:   sessionOf(t, r, r.Alice.ID),
		WorkspaceID: w.ID,
		Role:        catalog.RoleOwner,
		AuthTime:    r.Store.Now(),
		Scopes:      []string{"read"},
		Remember:    true,
	}
	// The page was checked, then the user is signed out, then the decision is stored.
	for _, end := range []func() error{
		func() error { return nil },
		func() error {
			_, err := r.Identity.SignOut(r.System(), r.Alice.ID, identity.SignOutOptions{Apps: true})
			return err
		},
	} {
		request, err := r.OAuth.ReopenAuthorize(t.Context(), &oauth.Flow{
			ID:          oauth.NewFlowID(),
			ClientID:    app.ID,
			RedirectURI: app.Redirect,
			Scopes:      []string{"read"},
			Resource:    r.Issuer,
			Challenge:   rig.Challenge,
		})
		ok(t, err)
		ok(t, end())
		before := len(r.Grants(r.Alice.ID))
		_, err = r.OAuth.Approve(t.Context(), request, d)
		made := len(r.Grants(r.Alice.ID)) > before
		if made != (err == nil) || made != (before == 0 && err == nil) || err != nil &&
			!errors.Is(err, storage.ErrNotFound) {
			t.Errorf("granted %v, error %v", made, err)
		}
	}
	if live := r.Grants(r.Alice.ID); len(live) != 0 {
		t.Errorf("%d grants live", len(live))
	}
}

func TestV08_SlugOfADeletedWorkspaceStaysReserved(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	carol := r.User("carol@example.com", "Carol", false)
	deleted, gone := r.Workspace("deleted", "", r.Alice), r.Workspace("gone", "", carol)
	personal := personal(t, r, carol.ID)
	ok(t, r.Management.DeleteWorkspace(r.System(), management.CLI(deleted.ID), deleted))
	ok(t, r.Identity.DeleteUser(r.System(), carol.ID))
	take := func(slug string) error {
		_, err := r.Management.CreateWorkspace(r.System(), management.Authority{UserID: r.Alice.ID},
			"Mine", slug, "", r.Alice.ID)
		return err
	}
	slugs := []string{deleted.Slug, gone.Slug, personal.Slug}
	for range 2 {
		for _, slug := range slugs {
			if err := take(slug); !errors.Is(err, storage.ErrExists) {
				t.Errorf("%s: error %v", slug, err)
			}
			if _, err := r.Management.CreateWorkspace(r.System(), management.CLI(""), "Mine", slug, "",
				r.Alice.ID); !errors.Is(err, storage.ErrExists) {
				t.Errorf("%s by the CLI: error %v", slug, err)
			}
		}
		r.Advance(400*24*time.Hour - time.Minute)
		_, err := r.Store.Purge(r.System(), r.OAuth.Retention())
		ok(t, err)
	}
	r.Advance(time.Minute)
	for _, slug := range slugs {
		ok(t, take(slug))
	}
}

func TestV64_UsersAreChangedWithTheLastAdministratorRule(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	root := r.User("root@example.com", "Root", true)
	yes, no, email, name := true, false, "renamed@example.com", "Renamed"
	if _, err := r.Identity.UpdateUser(r.System(), root.ID, identity.UserChange{Admin: &no}); !errors.Is(err,
		storage.ErrConflict) {
		t.Errorf("the last administrator: error %v", err)
	}
	b := r.Browser().SignIn(r.Alice.Email)
	u, err := r.Identity.UpdateUser(r.System(), r.Alice.ID, identity.UserChange{Admin: &yes, Name: &name})
	ok(t, err)
	if !u.Admin || u.Name != name || b.Get("/admin/users").Status != http.StatusOK {
		t.Errorf("made an administrator: %+v", u)
	}
	ok(t, func() error {
		_, err := r.Identity.UpdateUser(r.System(), root.ID, identity.UserChange{Admin: &no})
		return err
	}())
	if _, err := r.Identity.UpdateUser(r.System(), r.Alice.ID, identity.UserChange{Email: &root.Email}); !errors.Is(err,
		storage.ErrExists) {
		t.Errorf("an address that is in use: error %v", err)
	}
	_, err = r.Identity.UpdateUser(r.System(), r.Alice.ID, identity.UserChange{Email: &email})
	ok(t, err)
	if b.Get("/settings/profile").Status != http.StatusSeeOther {
		t.Error("the session outlives a change of address")
	}
	if page := r.Browser().SignIn(email).Get("/settings/profile"); page.Status != http.StatusOK {
		t.Errorf("sign-in with the new address: %d", page.Status)
	}
	_, err = r.Identity.UpdateUser(r.System(), r.Alice.ID, identity.UserChange{Admin: &no, LeaveNoAdministrator: true})
	ok(t, err)
}

func TestV64_SetUpPageSaysWhenThereIsNoAdministrator(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	page := func() string { return r.Browser().Get("/setup").Body }
	if body := page(); !strings.Contains(body, "no administrator") ||
		!strings.Contains(body, "doorward user update ADDRESS --admin") {
		t.Errorf("with a user and no administrator: %s", body)
	}
	root := r.User("root@example.com", "Root", true)
	if body := page(); strings.Contains(body, "no administrator") {
		t.Errorf("with an administrator: %s", body)
	}
	no := false
	_, err := r.Identity.UpdateUser(r.System(), root.ID, identity.UserChange{Admin: &no, LeaveNoAdministrator: true})
	ok(t, err)
	if body := page(); !strings.Contains(body, "no administrator") {
		t.Errorf("with none any more: %s", body)
	}
}
