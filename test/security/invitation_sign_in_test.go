package security

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth/catalog"
	"doorward/test/rig"
)

// A visitor who opens an invitation without being signed in sees a sign-in page that names it, also after a wrong
// password. The page does not reveal whether an account with the address exists.
func TestV66_TheSignInPageNamesTheInvitation(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		c := newCast(r, "engines")
		invite := func(email string) string {
			t.Helper()
			by := management.CLI(c.ws.ID)
			_, word, err := r.Management.Invite(r.System(), by, c.ws, email, catalog.RoleMember)
			ok(t, err)
			r.Seen.Add(rig.SecretInvitation, word)
			return "/join/" + word
		}
		names := func(page *rig.Answer, email string) bool {
			text := rig.Plain(page.Body)
			return strings.Contains(text, "to join engines") && strings.Contains(text, email) &&
				strings.Contains(text, "Ask the administrator of this server for an account with this address.")
		}
		pages := map[string]string{}
		for _, email := range []string{r.Alice.Email, "noone@example.com"} {
			link, b := invite(email), r.Browser()
			page := b.Follow(b.Get(link))
			if page.Status != http.StatusOK || !names(page, email) || !strings.Contains(page.Body, `value="`+email+`"`) {
				t.Errorf("invited, %s is shown %d %s", email, page.Status, rig.Plain(page.Body))
			}
			wantPageHeaders(t, "sign-in page", page)
			pages[email] = strings.ReplaceAll(rig.Plain(page.Body), email, "ADDRESS")
			form := b.Form(page, "/login")
			form.Set("password", "a wrong password")
			wrong := b.PostForm("/login", form)
			if wrong.Status != http.StatusUnauthorized || !names(wrong, email) {
				t.Errorf("with a wrong password %s is shown %d %s", email, wrong.Status, rig.Plain(wrong.Body))
			}
			if email == r.Alice.Email {
				joined := b.Follow(b.LogIn(wrong, email))
				if joined.Status != http.StatusOK || !strings.Contains(joined.Body, `action="`+link+`"`) {
					t.Errorf("after signing in: %d %s", joined.Status, rig.Plain(joined.Body))
				}
			}
		}
		if pages[r.Alice.Email] != pages["noone@example.com"] {
			t.Errorf("the page reveals whether there is an account: %v", pages)
		}
		for _, to := range []string{"", "/settings/profile", "/join/x", "/join/dw_in_x?a=b"} {
			page := r.Browser().Get("/login?return_to=" + url.QueryEscape(to))
			if page.Status != http.StatusOK || strings.Contains(page.Body, "to join") {
				t.Errorf("on the way to %q: %d %s", to, page.Status, rig.Plain(page.Body))
			}
		}
	})
}

// A link that cannot be used says so before the sign-in. A user who has already joined with it still gets to the
// workspace.
func TestV66_AnUnusableInvitationSaysSoBeforeTheSignIn(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		c := newCast(r, "engines")
		by := management.CLI(c.ws.ID)
		invite := func() (id, link string) {
			t.Helper()
			i, word, err := r.Management.Invite(r.System(), by, c.ws, r.Alice.Email, catalog.RoleMember)
			ok(t, err)
			r.Seen.Add(rig.SecretInvitation, word)
			return i.ID, "/join/" + word
		}
		over := func(what, link string) {
			t.Helper()
			page := r.Browser().Get(link)
			wantPage(t, page, http.StatusNotFound)
			text := rig.Plain(page.Body)
			if !strings.Contains(text, "This invitation is not valid") || strings.Contains(text, "engines") ||
				!strings.Contains(page.Body, `href="/login?return_to=`) {
				t.Errorf("%s: %s", what, text)
			}
		}
		id, withdrawn := invite()
		owner := c.at["owner"]
		if a := owner.Confirm(workspaces+"/engines/invitations/"+id+"/withdraw", nil); a.Status != http.StatusSeeOther {
			t.Fatalf("withdrawing answered %d", a.Status)
		}
		over("withdrawn", withdrawn)
		over("not an invitation", "/join/x")
		_, expired := invite()
		r.Advance(management.InvitationLifetime)
		over("expired", expired)

		_, used := invite()
		b := r.Browser().SignIn(r.Alice.Email)
		if a := b.PostForm(used, nil); a.Status != http.StatusSeeOther {
			t.Fatalf("joining answered %d", a.Status)
		}
		over("used", used)
		b = r.Browser()
		if a := b.LogIn(b.Get("/login?return_to="+url.QueryEscape(used)), r.Alice.Email); a.Status != http.StatusSeeOther ||
			b.Get(used).Header.Get("Location") != workspaces+"/engines/members" {
			t.Errorf("who has joined is sent to %q", b.Get(used).Header.Get("Location"))
		}
	})
}
