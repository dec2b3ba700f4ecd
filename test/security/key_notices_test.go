package security

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/mail"
	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/storage"
	"doorward/test/rig"
)

// subjects counts emails by recipient and subject.
func subjects(list []mail.Message) map[string]int {
	n := map[string]int{}
	for _, m := range list {
		n[m.To+": "+m.Subject]++
	}
	return n
}

// The readers of a key are told 14, 3 and 1 days before it expires, once each however many servers look for such keys,
// and only of a moment that was still ahead when the key was created.
func TestK02_ExpiryIsAnnouncedOnce(t *testing.T) {
	o := rig.Options{Emails: true, AtOnce: true}
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		w := r.Workspace("acme", "", r.Alice)
		creator := r.User("creator@example.com", "Creator", false)
		admin := r.User("admin@example.com", "Admin", false)
		viewer := r.User("viewer@example.com", "Viewer", false)
		gone := r.User("gone@example.com", "Gone", false)
		r.Join(w, creator, "member")
		r.Join(w, admin, "admin")
		r.Join(w, viewer, "viewer")
		const day = 24 * time.Hour
		by := management.CLI(w.ID)
		create := func(u storage.User, name string, lives time.Duration) storage.APIKey {
			t.Helper()
			by.UserID = u.ID
			k, secret, err := r.Management.CreateKey(r.System(), by, "", apikey.Spec{
				Name: name, Resource: r.Issuer, Environment: "live", Scopes: []string{"read"},
				ExpiresAt: r.Store.Now().Add(lives),
			})
			ok(t, err)
			r.Seen.Add(rig.SecretKey, secret)
			return k
		}
		create(creator, "long", 20*day)
		create(gone, "left", 20*day) // its creator is no member
		create(creator, "short", 2*day)
		revoked := create(creator, "revoked", 20*day)
		rotated := create(creator, "rotated", 20*day)
		create(creator, "forever", 400*day)
		_, _ = r.PersonalToken(viewer, apikey.Spec{Name: "mine", ExpiresAt: r.Store.Now().Add(10 * day)})
		_, err := r.Management.RevokeKey(r.System(), management.Authority{UserID: r.Alice.ID, WorkspaceID: w.ID, Role: "owner"},
			revoked.Owner(), revoked.ID)
		ok(t, err)
		_, text, err := r.Management.RotateKey(r.System(), by, rotated.Owner(), rotated.ID, 10*day)
		ok(t, err)
		r.Seen.Add(rig.SecretKey, text)
		_ = r.Mail()
		announced := func(after time.Duration, want ...string) {
			t.Helper()
			for _, n := range nodes {
				n.Advance(after)
			}
			rig.AtOnce(8, func(i int) {
				if err := nodes[i%len(nodes)].Management.NotifyExpiring(r.System()); err != nil {
					t.Error(err)
				}
			})
			all := map[string]int{}
			for _, line := range want {
				all[line] = 1
			}
			if got := subjects(r.Mail()); !maps.Equal(got, all) {
				t.Errorf("emails %v, want %v", got, slices.Sorted(maps.Keys(all)))
			}
		}
		key := func(name string, to ...string) (list []string) {
			for _, who := range to {
				list = append(list, who+"@example.com: API key “"+name+"” expires soon")
			}
			return list
		}
		const token = "viewer@example.com: Personal access token “mine” expires soon"
		announced(0)
		// 1 day is left of the short key; a key that lived for less than three days has no notice before.
		announced(day+time.Minute, key("short", "alice", "admin", "creator")...)
		announced(0)
		all := []string{"alice", "admin", "creator"}
		// 14 days are left of three keys; rotated is in its grace period, and its successor has the same expiry.
		fourteen := slices.Concat(key("long", all...), key("left", "alice", "admin"), key("rotated", all...))
		announced(5*day, fourteen...)
		announced(0)
		announced(day+time.Minute, token) // 3 days of the token
		// No server ran for days: only the last notice is sent.
		announced(12*day, slices.Concat(key("long", all...), key("left", "alice", "admin"), key("rotated", all...))...)
		announced(time.Hour)
		announced(3 * day)
	})
}

// A workspace is told that an administrator of the server, or a stranger who has the key, has revoked one of its API
// keys, but not what its own members do.
func TestK07_ARevocationFromOutsideIsAnnounced(t *testing.T) {
	rig.Each(t, rig.Options{Emails: true}, func(t *testing.T, r *rig.Rig) {
		w := r.Workspace("acme", "", r.Alice)
		key := func(name string) (storage.APIKey, string) { return r.Key(w, apikey.Spec{Name: name}) }
		mine, _ := key("mine")
		member := management.Authority{UserID: r.Alice.ID, WorkspaceID: w.ID, Role: "owner"}
		_, err := r.Management.RevokeKey(r.System(), member, mine.Owner(), mine.ID)
		ok(t, err)
		if list := r.Mail(); len(list) != 0 {
			t.Errorf("a member revokes a key: %v", list)
		}
		theirs, _ := key("theirs")
		_, err = r.Management.RevokeKey(r.System(), management.CLI(""), theirs.Owner(), theirs.ID)
		ok(t, err)
		_, _ = r.Management.RevokeKey(r.System(), management.CLI(""), theirs.Owner(), theirs.ID)
		list := r.Mail()
		if got := subjects(list); !maps.Equal(got, map[string]int{"alice@example.com: API key “theirs” was revoked": 1}) {
			t.Fatalf("an administrator revokes a key: %v", got)
		}
		if strings.Contains(list[0].Text, "without signing in") || r.Link(list[0]) != "/settings/workspaces/acme/api-keys/"+theirs.ID {
			t.Errorf("the email says %s", list[0].Text)
		}
		_, secret := key("leaked")
		if a := r.Post("/oauth/revoke", url.Values{"token": {secret}}); a.Status != http.StatusOK {
			t.Fatalf("revoke: %d %s", a.Status, a.Body)
		}
		list = r.Mail()
		if got := subjects(list); !maps.Equal(got, map[string]int{"alice@example.com: API key “leaked” was revoked": 1}) {
			t.Fatalf("a stranger revokes a key: %v", got)
		}
		if !strings.Contains(list[0].Text, "without signing in") || strings.Contains(list[0].Text, secret) {
			t.Errorf("the email says %s", list[0].Text)
		}
	})
}
