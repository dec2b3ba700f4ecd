package security

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

var joinLink = regexp.MustCompile(`/join/(dw_in_[0-9A-Za-z]+)`)

// An invitation is shown once, is for one address, and works once; a user who may not use it does not learn why.
func TestInvitationsAreForOneAddressOnce(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		c := newCast(r, "engines")
		owner, base := c.at["owner"], workspaces+"/engines"
		invite := func(email, role string) string {
			a := owner.Submit(base+"/invitations", url.Values{"email": {email}, "role": {role}})
			m := joinLink.FindStringSubmatch(a.Body)
			if a.Status != http.StatusOK || m == nil {
				t.Fatalf("no link: %d %s", a.Status, rig.Plain(a.Body))
			}
			r.Seen.Add(rig.SecretInvitation, m[1])
			if strings.Contains(owner.Get(base+"/members").Body, m[1]) {
				t.Error("the link is shown again")
			}
			return "/join/" + m[1]
		}
		link := invite(strings.ToUpper(r.Alice.Email), catalog.RoleMember)

		// Signed out: through the sign-in page, and back.
		b := r.Browser()
		login := b.Follow(b.Get(link))
		if !strings.Contains(login.Body, "engines") {
			t.Error("the sign-in page does not name the invitation")
		}
		page := b.Follow(b.LogIn(login, r.Alice.Email))
		if page.Status != http.StatusOK || !strings.Contains(page.Body, "engines") ||
			!strings.Contains(page.Body, "a member") {
			t.Fatalf("after signing in: %d %s", page.Status, rig.Plain(page.Body))
		}
		wantPageHeaders(t, "invitation", page)

		// Another user's address.
		other := c.at["stranger"].Get(link)
		if other.Status != http.StatusOK || !strings.Contains(other.Body, "a different email address") ||
			strings.Contains(other.Body, `action="/join/`) {
			t.Errorf("to another address the page says %s", rig.Plain(other.Body))
		}
		wantPage(t, c.at["stranger"].PostForm(link, nil), http.StatusForbidden)
		if len(roles(t, r, c.ws)) != 4 {
			t.Fatal("the wrong person joined")
		}

		if a := b.PostForm(link, nil); a.Status != http.StatusSeeOther ||
			roles(t, r, c.ws)[r.Alice.ID] != catalog.RoleMember {
			t.Fatalf("joining answered %d %s", a.Status, rig.Plain(a.Body))
		}
		want := b.Get("/join/" + bearer.NewCredential("dw_in_"))
		wantPage(t, want, http.StatusNotFound)
		withdrawn := invite(c.user["stranger"].Email, catalog.RoleOwner)
		open, err := r.Store.InvitationsOf(r.System(), c.ws.ID)
		if err != nil || len(open) != 1 {
			t.Fatalf("%d invitations, error %v", len(open), err)
		}
		if a := owner.Confirm(base+"/invitations/"+open[0].ID+"/withdraw", nil); a.Status != http.StatusSeeOther {
			t.Fatalf("taking back answered %d", a.Status)
		}
		replaced := invite(c.user["stranger"].Email, catalog.RoleViewer)
		expired := invite(c.user["stranger"].Email, catalog.RoleAdmin)
		r.Advance(management.InvitationLifetime)
		late := r.Browser().SignIn(c.user["stranger"].Email)
		for name, path := range map[string]string{
			"used":       link,
			"taken back": withdrawn,
			"replaced":   replaced,
			"expired":    expired,
			"cut":        link[:len(link)-1],
			"longer":     link + "0",
			"a word":     "/join/x",
			"not ASCII":  "/join/%ff%e2%80%ae", "another kind": "/join/" + bearer.NewCredential("dw_ac_"),
		} {
			for _, a := range []*rig.Answer{late.Get(path), late.PostForm(path, nil)} {
				if a.Status != want.Status || unvaried(a.Body) != unvaried(want.Body) {
					t.Errorf("%s answered %d %s", name, a.Status, rig.Plain(a.Body))
				}
			}
		}
		if len(roles(t, r, c.ws)) != 5 {
			t.Errorf("the members are %v", roles(t, r, c.ws))
		}
	})
}

// Of many users who accept an invitation at once, one succeeds, with any role.
func TestInvitationIsAcceptedOnce(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		c := newCast(r, "engines")
		_, word, err := r.Management.Invite(r.System(), management.CLI(c.ws.ID), c.ws,
			r.Alice.Email, catalog.RoleMember)
		if err != nil {
			t.Fatal(err)
		}
		r.Seen.Add(rig.SecretInvitation, word)
		b := r.Browser().SignIn(r.Alice.Email)
		var answers [16]*rig.Answer
		rig.AtOnce(len(answers), func(i int) { answers[i] = b.PostForm("/join/"+word, nil) })
		for _, a := range answers {
			if a.Status != http.StatusSeeOther && a.Status != http.StatusNotFound {
				t.Errorf("answered %d %s", a.Status, rig.Plain(a.Body))
			}
		}
		events, err := r.Store.AuditEvents(r.System(), storage.AuditFilter{
			WorkspaceID: c.ws.ID, Action: "member.added", UserID: r.Alice.ID, Limit: 10,
		})
		if err != nil || len(events) != 1 || roles(t, r, c.ws)[r.Alice.ID] != catalog.RoleMember {
			t.Errorf("%d joined, error %v", len(events), err)
		}
	})
}
