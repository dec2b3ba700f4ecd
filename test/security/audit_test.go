package security

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/test/rig"
)

// events returns the audit events of a workspace since a mark, the oldest first.
func events(t *testing.T, r *rig.Rig, workspaceID string) []storage.AuditEvent {
	t.Helper()
	list, err := r.Store.AuditEvents(r.System(), storage.AuditFilter{WorkspaceID: workspaceID, Limit: 1000})
	ok(t, err)
	slices.Reverse(list)
	return list
}

// O-05: each of these actions leaves exactly one event, in the workspace that it belongs to. The event says who did it,
// with which credential, and from where.
func TestO05_EachChangeLeavesOneEvent(t *testing.T) {
	rig.Each(t, limited(), func(t *testing.T, r *rig.Rig) {
		bob := r.User("bob@example.com", "Bob", false)
		w := r.Workspace("acme", "pro", r.Alice)
		personal, err := r.Store.PersonalWorkspace(r.System(), r.Alice.ID)
		ok(t, err)
		bobs, err := r.Store.PersonalWorkspace(r.System(), bob.ID)
		ok(t, err)
		b := r.Browser()
		app := r.App(management.ClientSpec{WorkspaceID: w.ID})
		command, owner := management.CLI(w.ID), storage.KeyOwner{WorkspaceID: w.ID}
		var k, pat storage.APIKey
		var text, patText, word string
		var access, refresh, next string
		ctx := storage.WithActor(r.System(), &storage.Actor{
			UserID: r.Alice.ID, Credential: "session", Address: "192.0.2.7", RequestID: "request-1",
		})
		for _, x := range []struct {
			action, workspace string
			target            func() string
			do                func()
		}{
			{"login.failed", personal.ID, func() string { return r.Alice.ID }, func() {
				stranger := r.Browser()
				form := stranger.Form(stranger.Get("/login"), "/login")
				form.Set("email", r.Alice.Email)
				form.Set("password", "not this one, surely")
				stranger.PostForm("/login", form)
			}},
			{"login.succeeded", personal.ID, func() string { return r.Alice.ID }, func() { b.SignIn(r.Alice.Email) }},
			{"consent.granted", personal.ID, func() string { return app.ID }, func() {
				b.SetCookie(&http.Cookie{Name: "doorward-workspace", Value: personal.ID, Path: "/"})
				a := r.Exchange(app, b.Code(app, "read"))
				access, refresh = a.Text("access_token"), a.Text("refresh_token")
			}},
			{"grant.revoked", personal.ID, nil, func() {
				next = r.Refresh(app, refresh).Text("refresh_token")
				r.Advance(time.Minute)
				r.Refresh(app, refresh) // reuse: revokes the family
				r.Refresh(app, refresh) // again, which changes nothing
				r.Refresh(app, next)
			}},
			{"consent.denied", personal.ID, func() string { return app.ID }, func() {
				v := app.Params("write")
				b.Decide(b.Authorize(v), "deny")
			}},
			{
				"access.ended", personal.ID, func() string { return app.ID },
				func() { b.Confirm("/settings/connected-apps/"+app.ID+"/end", nil) },
			},
			{"api_key.created", w.ID, func() string { return k.ID }, func() {
				k, text, err = r.Management.CreateKey(ctx, command, w.Plan, apikey.Spec{
					Name: "x", Scopes: []string{"read", "write"},
				})
				ok(t, err)
			}},
			{"api_key.updated", w.ID, func() string { return k.ID }, func() {
				name, scopes := "y", []string{"read"}
				_, err := r.Management.UpdateKey(ctx, command, owner, w.Plan, k.ID,
					management.KeyChange{Name: &name, Scopes: &scopes})
				ok(t, err)
				// Changes nothing.
				_, err = r.Management.UpdateKey(ctx, command, owner, w.Plan, k.ID, management.KeyChange{Name: &name})
				ok(t, err)
			}},
			{"api_key.paused", w.ID, func() string { return k.ID }, func() {
				_, err := r.Management.PauseKey(ctx, command, owner, k.ID)
				ok(t, err)
			}},
			{"api_key.resumed", w.ID, func() string { return k.ID }, func() {
				_, err := r.Management.ResumeKey(ctx, command, owner, k.ID)
				ok(t, err)
			}},
			{"api_key.rotated", w.ID, func() string { return k.ID }, func() {
				_, text, err = r.Management.RotateKey(ctx, command, owner, k.ID, time.Hour)
				ok(t, err)
			}},
			{"api_key.revoked", w.ID, nil, func() {
				r.Post("/oauth/revoke", url.Values{"token": {text}})
				r.Post("/oauth/revoke", url.Values{"token": {text}}) // revoked already
			}},
			{
				"personal_access_token.created", personal.ID, func() string { return pat.ID },
				func() { pat, patText = r.PersonalToken(r.Alice, apikey.Spec{}) },
			},
			{
				"personal_access_token.revoked", personal.ID, func() string { return pat.ID },
				func() { r.Post("/oauth/revoke", url.Values{"token": {patText}}) },
			},
			{"invitation.created", w.ID, nil, func() {
				_, word, err = r.Management.Invite(ctx, command, w, bob.Email, "member")
				ok(t, err)
			}},
			{"member.added", w.ID, func() string { return bob.ID }, func() {
				_, err := r.Management.TakeInvitation(ctx, bob, word)
				ok(t, err)
			}},
			{"member.role_changed", w.ID, func() string { return bob.ID }, func() {
				ok(t, r.Management.ChangeRole(ctx, command, w, bob.ID, "admin"))
				ok(t, r.Management.ChangeRole(ctx, command, w, bob.ID, "admin"))
			}},
			{
				"member.removed", w.ID, func() string { return bob.ID },
				func() { ok(t, r.Management.RemoveMember(ctx, command, w, bob.ID)) },
			},
			{"workspace.updated", w.ID, func() string { return w.ID }, func() {
				plan := "free"
				_, err := r.Management.UpdateWorkspace(ctx, command, w, nil, &plan)
				ok(t, err)
			}},
			{
				"workspace.disabled", w.ID, func() string { return w.ID },
				func() { ok(t, r.Management.DisableWorkspace(ctx, command, w)) },
			},
			{
				"workspace.enabled", w.ID, func() string { return w.ID },
				func() { ok(t, r.Management.EnableWorkspace(ctx, command, w)) },
			},
			{
				"app.disabled", w.ID, func() string { return app.ID },
				func() { ok(t, r.Management.DisableClient(ctx, management.CLI(""), app.ID)) },
			},
			{
				"app.enabled", w.ID, func() string { return app.ID },
				func() { ok(t, r.Management.EnableClient(ctx, management.CLI(""), app.ID)) },
			},
			{"app.secret_rotated", w.ID, func() string { return app.ID }, func() {
				_, _, err := r.Management.RotateSecret(ctx, management.CLI(""), app.ID, time.Hour)
				ok(t, err)
			}},
			{
				"app.deleted", w.ID, func() string { return app.ID },
				func() { ok(t, r.Management.DeleteClient(ctx, management.CLI(""), app.ID)) },
			},
			{"app.created", w.ID, nil, func() { r.App(management.ClientSpec{WorkspaceID: w.ID}) }},
			{
				"user.renamed", bobs.ID, func() string { return bob.ID },
				func() { ok(t, r.Identity.Rename(ctx, bob.ID, "Robert")) },
			},
			{"user.disabled", bobs.ID, func() string { return bob.ID }, func() { ok(t, r.Identity.DisableUser(ctx, bob.ID)) }},
			{"user.enabled", bobs.ID, func() string { return bob.ID }, func() { ok(t, r.Identity.EnableUser(ctx, bob.ID)) }},
			{"user.password_set", bobs.ID, func() string { return bob.ID }, func() {
				_, err := r.Identity.SetPassword(ctx, bob.ID, "another quiet harbour at noon", identity.SignOutOptions{})
				ok(t, err)
			}},
			{"user.deleted", bobs.ID, func() string { return bob.ID }, func() { ok(t, r.Identity.DeleteUser(ctx, bob.ID)) }},
			{"session.ended", personal.ID, nil, func() { b.PostForm("/logout", nil) }},
			{
				"workspace.deleted", w.ID, func() string { return w.ID },
				func() { ok(t, r.Management.DeleteWorkspace(ctx, command, w)) },
			},
		} {
			before := len(events(t, r, x.workspace))
			others := map[string]int{}
			for _, id := range []string{personal.ID, w.ID, bobs.ID} {
				others[id] = len(events(t, r, id))
			}
			x.do()
			list := events(t, r, x.workspace)
			want := 1
			if x.action == "user.disabled" || x.action == "user.enabled" {
				want = 2 // the personal workspace is deleted too, and has its own event
			}
			if len(list) != before+want {
				t.Errorf("%s: %d events, want %d: %+v", x.action, len(list)-before, want, list[before:])
				continue
			}
			e := list[before]
			if e.Action != x.action || x.target != nil && e.Target != x.target() {
				t.Errorf("the event is %s on %s, want %s", e.Action, e.Target, x.action)
			}
			for id, n := range others {
				if id != x.workspace && len(events(t, r, id)) != n {
					t.Errorf("%s left an event in another workspace", x.action)
				}
			}
		}
		_ = access
		// The actor, the credential and the address.
		var created storage.AuditEvent
		for _, e := range events(t, r, w.ID) {
			if e.Action == "api_key.created" {
				created = e
			}
		}
		if created.UserID != r.Alice.ID || created.Credential != "session" || created.Address != "192.0.2.7" ||
			created.RequestID != "request-1" {
			t.Errorf("the event does not say who: %+v", created)
		}
		for _, e := range events(t, r, personal.ID) {
			switch e.Action {
			case "login.succeeded", "consent.granted", "access.ended":
				if e.UserID != r.Alice.ID || e.Address != "127.0.0.1" || e.RequestID == "" || e.Credential == "" {
					t.Errorf("%s does not say who: %+v", e.Action, e)
				}
			case "grant.revoked":
				if e.ClientID != app.ID || e.Detail["reason"] != storage.RevokedReuse {
					t.Errorf("a reuse does not say whose: %+v", e)
				}
			}
			for _, name := range []string{"Alice", "alice@", "Bob", "Robert", "acme"} {
				for _, value := range e.Detail {
					if strings.Contains(value, name) {
						t.Errorf("%s holds a name: %v", e.Action, e.Detail)
					}
				}
			}
		}
	})
}

// A failed sign-in to an account that does not exist is recorded for the operator. An operation that fails leaves no
// event of a change.
func TestO05_WhatFailsLeavesNoEventOfAChange(t *testing.T) {
	r := rig.Memory(t, limited())
	w := r.Workspace("acme", "", r.Alice)
	before := events(t, r, w.ID)
	if _, _, err := r.Management.CreateKey(r.System(), management.CLI(w.ID), "",
		apikey.Spec{Name: "x", Scopes: []string{"none"}}); err == nil {
		t.Error("a key with an unknown scope was created")
	}
	if err := r.Management.ChangeRole(r.System(), management.CLI(w.ID), w, r.Alice.ID, "viewer"); err == nil {
		t.Error("the last owner became a viewer")
	}
	if _, err := r.Management.PauseKey(r.System(), management.CLI(w.ID), storage.KeyOwner{WorkspaceID: w.ID},
		"key_none"); err == nil {
		t.Error("a key that is not there was paused")
	}
	if after := events(t, r, w.ID); len(after) != len(before) {
		t.Errorf("events of what did not happen: %+v", after[len(before):])
	}
	if _, err := r.Identity.Login(t.Context(), identity.Attempt{
		Email: "unknown@example.com", Password: "not this one, surely",
	}); err == nil {
		t.Error("an unknown user signed in")
	}
	list := events(t, r, "")
	if len(list) == 0 || list[len(list)-1].Action != "login.failed" || list[len(list)-1].Target != "" {
		t.Errorf("the operator's events are %+v", list)
	}
}
