package security

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

// An invitation is only valid while the credential and the user behind it are. One sent with a key becomes invalid with
// that key or its creator; one sent from a page belongs to the member, not to the session.
func TestV04_InvitationIsAsValidAsItsSenderIsWhenItIsAccepted(t *testing.T) {
	type sent struct {
		ws     storage.Workspace
		sender storage.User
		key    storage.APIKey // the key it was sent with; zero for a page
	}
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		owner, guest := r.User("owner@example.com", "Owner", false), r.Browser().SignIn(r.Alice.Email)
		asOwner := func(x sent) management.Authority {
			return management.Authority{UserID: owner.ID, WorkspaceID: x.ws.ID, Role: catalog.RoleOwner}
		}
		user := map[string]func(x sent) error{
			"its user is as before": func(sent) error { return nil },
			"its user was removed": func(x sent) error {
				return r.Management.RemoveMember(r.System(), asOwner(x), x.ws, x.sender.ID)
			},
			"its user became a member": func(x sent) error {
				return r.Management.ChangeRole(r.System(), asOwner(x), x.ws, x.sender.ID, catalog.RoleMember)
			},
			"its user became an owner": func(x sent) error {
				return r.Management.ChangeRole(r.System(), asOwner(x), x.ws, x.sender.ID, catalog.RoleOwner)
			},
			"its user was disabled": func(x sent) error { return r.Identity.DisableUser(r.System(), x.sender.ID) },
			"its user was disabled and enabled": func(x sent) error {
				return errors.Join(r.Identity.DisableUser(r.System(), x.sender.ID), r.Identity.EnableUser(r.System(), x.sender.ID))
			},
			"the workspace was disabled": func(x sent) error {
				return r.Management.DisableWorkspace(r.System(), management.CLI(x.ws.ID), x.ws)
			},
		}
		key := map[string]func(x sent) error{
			"the key was revoked": func(x sent) error {
				_, err := r.Management.RevokeKey(r.System(), asOwner(x), x.key.Owner(), x.key.ID)
				return err
			},
			"the key was paused": func(x sent) error {
				_, err := r.Management.PauseKey(r.System(), asOwner(x), x.key.Owner(), x.key.ID)
				return err
			},
			"the key was paused and resumed": func(x sent) error {
				_, paused := r.Management.PauseKey(r.System(), asOwner(x), x.key.Owner(), x.key.ID)
				_, resumed := r.Management.ResumeKey(r.System(), asOwner(x), x.key.Owner(), x.key.ID)
				return errors.Join(paused, resumed)
			},
			"the key was rotated": func(x sent) error { // the old key keeps working for a day
				_, text, err := r.Management.RotateKey(r.System(), asOwner(x), x.key.Owner(), x.key.ID, 24*time.Hour)
				r.Seen.Add(rig.SecretKey, text)
				return err
			},
			"the key has ended": func(x sent) error {
				r.SQL("UPDATE api_keys SET expires_at = $1 WHERE id = $2", r.Store.Now(), x.key.ID)
				return nil
			},
			"the key lost its scope": func(x sent) error {
				_, err := r.Management.UpdateKey(r.System(), asOwner(x), x.key.Owner(), "", x.key.ID,
					management.KeyChange{Scopes: &[]string{"read"}})
				return err
			},
			"the key got addresses": func(x sent) error {
				_, err := r.Management.UpdateKey(r.System(), asOwner(x), x.key.Owner(), "", x.key.ID,
					management.KeyChange{Addresses: &[]string{"192.0.2.1/32"}})
				return err
			},
		}
		good := map[string]bool{
			"its user is as before":             true,
			"its user became an owner":          true,
			"its user was disabled and enabled": true,
			"the key was paused and resumed":    true,
		}
		n := 0
		try := func(way, what string, change func(sent) error) {
			n++
			x := sent{
				ws:     r.Workspace(fmt.Sprintf("acme-%d", n), "", owner),
				sender: r.User(fmt.Sprintf("sender-%d@example.com", n), "Sender", false),
			}
			r.Join(x.ws, x.sender, catalog.RoleAdmin)
			by, _, _, err := r.Management.PersonAuthority(t.Context(), x.sender.ID, x.ws.Slug)
			ok(t, err)
			by.Fresh = true
			var word string
			if way == "page" {
				_, word, err = r.Management.Invite(t.Context(), by, x.ws, r.Alice.Email, catalog.RoleAdmin)
			} else {
				var text string
				if way == "key" {
					x.key, text, err = r.Management.CreateKey(r.System(), by, "", apikey.Spec{Name: "x", Scopes: []string{"admin"}})
				} else {
					x.key, text, err = r.Management.CreatePersonalToken(r.System(), by,
						apikey.Spec{Name: "x", Scopes: []string{"admin"}})
				}
				ok(t, err)
				r.Seen.Add(rig.SecretKey, text)
				a := r.JSON("POST", "/v1/workspaces/"+x.ws.Slug+"/invitations", text,
					`{"email":"`+r.Alice.Email+`","role":"admin"}`, "X-Workspace", x.ws.Slug)
				_, word, _ = strings.Cut(a.Text("url"), "/join/")
			}
			if err != nil || word == "" {
				t.Fatalf("%s: not sent: %v", way, err)
			}
			r.Seen.Add(rig.SecretInvitation, word)
			ok(t, change(x))
			shown, taken := guest.Get("/join/"+word), guest.PostForm("/join/"+word, nil)
			role, err := r.Store.RoleOf(r.System(), x.ws.ID, r.Alice.ID)
			if good[what] != (role == catalog.RoleAdmin) || good[what] != (shown.Status == http.StatusOK) ||
				good[what] != (taken.Status == http.StatusSeeOther) {
				t.Errorf("sent with a %s; %s: shown %d, taken %d, role %q %v", way, what, shown.Status, taken.Status, role, err)
			}
		}
		for what, change := range user {
			for _, way := range []string{"page", "key", "token"} {
				try(way, what, change)
			}
		}
		for what, change := range key {
			try("key", what, change)
		}
		// Signing out ends the session, but not the invitations that the member sent in it.
		x := r.Workspace("acme", "", owner)
		at := r.Browser().SignIn(owner.Email)
		m := joinLink.FindStringSubmatch(at.Submit(workspaces+"/acme/invitations", map[string][]string{
			"email": {r.Alice.Email},
			"role":  {"admin"},
		}).Body)
		if m == nil {
			t.Fatal("no link")
		}
		r.Seen.Add(rig.SecretInvitation, m[1])
		at.PostForm("/logout", at.Form(at.Get("/logout"), "/logout"))
		wantSignedOut := at.Get("/settings/profile")
		if a := guest.PostForm("/join/"+m[1], nil); wantSignedOut.Status != http.StatusSeeOther ||
			a.Status != http.StatusSeeOther || roles(t, r, x)[r.Alice.ID] != catalog.RoleAdmin {
			t.Errorf("after its sender signed out: %d %s", a.Status, rig.Plain(a.Body))
		}
	})
}

// The creator of a key also counts for the keys that it creates or is rotated into. An invitation that could not be
// accepted is not sent.
func TestV04_TheUserBehindAKeyIsBehindItsKeysToo(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		owner, bob := r.User("owner@example.com", "Owner", false), r.User("bob@example.com", "Bob", false)
		ws := r.Workspace("acme", "", owner)
		by := management.Authority{UserID: owner.ID, WorkspaceID: ws.ID, Role: catalog.RoleOwner}
		ok(t, r.Management.AddMember(r.System(), management.CLI(ws.ID), ws, bob.ID, catalog.RoleAdmin))
		asBob := management.Authority{UserID: bob.ID, WorkspaceID: ws.ID, Role: catalog.RoleAdmin, Session: true, Fresh: true}
		k, first, err := r.Management.CreateKey(r.System(), asBob, ws.Plan, apikey.Spec{
			Name: "First", Scopes: []string{"admin"}, Environment: "live",
		})
		ok(t, err)
		r.Seen.Add(rig.SecretKey, first)
		invite := func(key string) *rig.Answer {
			return r.JSON("POST", "/v1/workspaces/acme/invitations", key, `{"role":"admin","email":"mallory@example.com"}`)
		}
		child := r.JSON("POST", "/v1/api-keys", first, `{"name":"Child","scopes":["admin"]}`).Text("key")
		ok(t, r.Management.RemoveMember(r.System(), by, ws, bob.ID))
		later := r.JSON("POST", "/v1/api-keys", first, `{"name":"Later","scopes":["admin"]}`).Text("key")
		rotated := r.JSON("POST", "/v1/api-keys/"+k.ID+"/rotate", first, `{"grace":"24h"}`).Text("key")
		for what, key := range map[string]string{
			"the key":               first,
			"one it created before": child,
			"one it created after":  later,
			"one in its place":      rotated,
		} {
			if a := invite(key); key == "" || a.Status != http.StatusForbidden {
				t.Errorf("%s invites: %d %s", what, a.Status, a.Body)
			}
		}
	})
}
