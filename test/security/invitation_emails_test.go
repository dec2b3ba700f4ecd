package security

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/test/rig"
)

// Where there is email, the link of an invitation goes to the invited address alone: the inviter, who could have misspelt
// it, does not get it. It leads to the sign-up if the address has no account and may create one.
func TestG34_AnInvitationIsSentToItsAddressAlone(t *testing.T) {
	rig.Each(t, rig.Options{Emails: true, SignUp: "invited"}, func(t *testing.T, r *rig.Rig) {
		c := newCast(r, "engines")
		owner := c.at["owner"]
		for email, next := range map[string]string{"new@example.com": "/signup", r.Alice.Email: "/login"} {
			page := owner.Get("/settings/workspaces/engines/members")
			form := owner.Form(page, "/settings/workspaces/engines/invitations")
			form.Set("email", email)
			form.Set("role", "member")
			sent := owner.PostForm("/settings/workspaces/engines/invitations", form)
			if sent.Location == nil || sent.Location.Path != "/settings/workspaces/engines/members" {
				t.Fatalf("inviting %s answers %d %v", email, sent.Status, sent.Location)
			}
			if after := owner.Follow(sent); !strings.Contains(rig.Plain(after.Body), "on its way to "+email) ||
				strings.Contains(after.Body, "dw_in_") {
				t.Errorf("the page after inviting %s: %s", email, rig.Plain(after.Body))
			}
			mail := r.Mail()
			if len(mail) != 1 || mail[0].To != email || !strings.Contains(mail[0].Subject, "engines") {
				t.Fatalf("emails to %s: %v", email, mail)
			}
			link := r.Link(mail[0])
			if !strings.HasPrefix(link, "/join/dw_in_") || strings.Contains(mail[0].Subject, "dw_in_") {
				t.Fatalf("the email to %s has the link %q", email, link)
			}
			r.Seen.Add(rig.SecretInvitation, strings.TrimPrefix(link, "/join/"))
			visitor := r.Browser()
			if to := visitor.Get(link).Location; to == nil || to.Path != next || to.Query().Get("return_to") != link {
				t.Errorf("the invitation of %s leads to %v, want %s", email, to, next)
			} else if page := visitor.Get(to.RequestURI()); !strings.Contains(page.Body, `value="`+email+`"`) {
				t.Errorf("%s does not name %s: %s", next, email, rig.Plain(page.Body))
			}
		}
		_, key := r.Key(c.ws, apikey.Spec{Scopes: []string{"admin"}})
		made := r.JSON(http.MethodPost, "/v1/workspaces/engines/invitations", key, `{"email":"api@example.com","role":"member"}`)
		if made.Status != http.StatusCreated || strings.Contains(made.Body, "dw_in_") {
			t.Errorf("the API answers %d %s", made.Status, made.Body)
		}
		if mail := r.Mail(); len(mail) != 1 || mail[0].To != "api@example.com" {
			t.Errorf("emails after a call of the API: %v", mail)
		}
	})
}

// A workspace sends at most 50 invitations a day, however many are asked for at once, and each workspace has its own.
func TestAWorkspaceSendsFiftyInvitationsADay(t *testing.T) {
	rig.Each(t, rig.Options{Emails: true, SignUp: "open", AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		r.StopClock()
		w, other := r.Workspace("acme", "", r.Alice), r.Workspace("other", "", r.Alice)
		refused := make([]string, 64)
		rig.AtOnce(len(refused), func(i int) {
			_, _, err := r.Management.Invite(r.System(), management.CLI(w.ID), w, fmt.Sprintf("n%d@example.com", i), "member")
			if err != nil {
				refused[i] = err.Error()
			}
		})
		refused = slices.DeleteFunc(refused, func(s string) bool { return s == "" })
		if mail := r.Mail(); len(mail) != 50 || len(refused) != 14 || !strings.Contains(refused[0], "try again tomorrow") {
			t.Errorf("%d emails and %d refusals: %q", len(mail), len(refused), refused)
		}
		invite := func(what string, email string, allowed bool) {
			t.Helper()
			x := w
			if what == "another workspace" {
				x = other
			}
			_, _, err := r.Management.Invite(r.System(), management.CLI(x.ID), x, email, "member")
			if mail := r.Mail(); (err == nil) != allowed || len(mail) == 1 != allowed {
				t.Errorf("%s: %v, %d emails", what, err, len(mail))
			}
		}
		invite("another workspace", "n0@example.com", true)
		r.Advance(23 * time.Hour)
		invite("within the day", "n0@example.com", false)
		r.Advance(2 * time.Hour)
		invite("a day later", "n0@example.com", true)
	})
}

// With sign_up: closed an address without an account could not accept an invitation, so it gets none.
func TestG34_AnAddressWithoutAnAccountIsNotInvitedIfItCannotGetOne(t *testing.T) {
	for _, emails := range []bool{false, true} {
		rig.Each(t, rig.Options{Emails: emails, SignUp: "closed"}, func(t *testing.T, r *rig.Rig) {
			c := newCast(r, "engines")
			owner := c.at["owner"]
			invite := func(email string) *rig.Answer {
				return owner.Submit("/settings/workspaces/engines/invitations", url.Values{"email": {email}, "role": {"member"}})
			}
			const sentence = "There is no account with this address, and only an administrator of this server can create one."
			if a := invite("new@example.com"); a.Status != http.StatusBadRequest ||
				!strings.Contains(rig.Plain(a.Body), sentence) {
				t.Errorf("an unknown address: %d %s", a.Status, rig.Plain(a.Body))
			}
			if open, err := r.Store.InvitationsOf(r.System(), c.ws.ID); err != nil || len(open) != 0 {
				t.Errorf("invitations: %v %v", open, err)
			}
			if a := invite(r.Alice.Email); a.Status >= 400 {
				t.Errorf("a known address: %d %s", a.Status, rig.Plain(a.Body))
			}
			if mail := r.Mail(); emails && (len(mail) != 1 || mail[0].To != r.Alice.Email) || !emails && len(mail) != 0 {
				t.Errorf("emails: %v", mail)
			}
		})
	}
}
