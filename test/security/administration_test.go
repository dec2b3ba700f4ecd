package security

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/mail"
	"doorward/oauth/apikey"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/test/rig"
)

// oneEmail is the only email to an address with a subject that begins with a text.
func oneEmail(t *testing.T, list []mail.Message, to, subject string) mail.Message {
	t.Helper()
	var found []mail.Message
	for _, m := range list {
		if m.To == to && strings.HasPrefix(m.Subject, subject) {
			found = append(found, m)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d emails %q to %s, want one, among %d", len(found), subject, to, len(list))
	}
	return found[0]
}

// waitingUser is an account that waits for approval.
func waitingUser(t *testing.T, r *rig.Rig, email string) storage.User {
	t.Helper()
	now := r.Store.Now()
	u := storage.User{
		ID: storage.NewID("user"), Email: email, PasswordHash: r.Alice.PasswordHash, DisabledAt: now, WaitingSince: now,
		EmailProvenAt: now,
	}
	ok(t, r.Store.InsertUser(r.System(), &u))
	return u
}

// recorded counts the audit events of an action about a target.
func recorded(t *testing.T, r *rig.Rig, action, target string) int {
	t.Helper()
	list, err := r.Store.AuditEvents(r.System(), storage.AuditFilter{
		Everywhere: true, Action: action, Target: target, Limit: 100,
	})
	ok(t, err)
	return len(list)
}

// The invitation to an account: it works although visitors cannot sign up, once, for 7 days, and until a newer one.
func TestG34_InvitationToAnAccount(t *testing.T) {
	rig.Each(t, rig.Options{Emails: true, SignUp: "closed", AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		root := r.Browser().SignIn(r.User("root@example.com", "Root", true).Email)
		invite := func(email string) *rig.Answer { return root.PostForm("/admin/users", url.Values{"email": {email}}) }
		link := func() string {
			t.Helper()
			m := oneEmail(t, r.Mail(), "carol@example.com", "Your account at")
			if strings.Contains(m.Subject, "http") {
				t.Errorf("subject %q", m.Subject)
			}
			return r.Link(m)
		}
		word := func(link string) url.Values {
			_, word, _ := strings.Cut(link, "?word=")
			return url.Values{"word": {word}}
		}
		for _, bad := range []string{r.Alice.Email, "ALICE@example.com", "a@x@y", "a@example.com\r\nBcc: b@example.com", ""} {
			wantPage(t, invite(bad), http.StatusBadRequest)
		}
		if list := r.Mail(); len(list) != 0 {
			t.Errorf("%d emails to addresses that cannot be invited", len(list))
		}
		if a := invite("carol@example.com"); a.Status != http.StatusSeeOther {
			t.Fatalf("invited: %d %s", a.Status, rig.Plain(a.Body))
		}
		first := link()
		page := root.Get("/admin/users")
		page.Body, _, _ = strings.Cut(page.Body, `<form class="search`) // its action is the same path
		twice := root.Form(page, "/admin/users")
		twice.Set("email", "carol@example.com")
		rig.AtOnce(4, func(int) { root.PostForm("/admin/users", twice) }) // the same form counts once (V-60)
		second := link()
		wantPage(t, r.Browser().Get(first), http.StatusBadRequest) // the newer one ended it
		r.Advance(identity.InvitationLifetime + time.Second)
		wantPage(t, r.Browser().Get(second), http.StatusBadRequest)
		root = r.Browser().SignIn("root@example.com")
		invite("carol@example.com")
		last := link()
		r.Advance(identity.InvitationLifetime - time.Minute)
		carol := r.Browser()
		wantPage(t, carol.Get(last), http.StatusOK) // looking uses nothing up
		if _, err := r.Store.UserByEmail(r.System(), "carol@example.com"); err == nil {
			t.Fatal("the account exists before it was set up")
		}
		if a := carol.PostForm("/signup/link", word(last)); a.Status != http.StatusSeeOther {
			t.Fatalf("the link: %d %s", a.Status, rig.Plain(a.Body))
		}
		form := carol.Form(carol.Get("/signup/complete"), "/signup/complete")
		form.Set("name", "Carol")
		form.Set("password", rig.Password)
		if a := carol.PostForm("/signup/complete", form); a.Status != http.StatusSeeOther {
			t.Fatalf("set up: %d %s", a.Status, rig.Plain(a.Body))
		}
		u, err := r.Store.UserByEmail(r.System(), "carol@example.com")
		ok(t, err)
		if u.EmailProvenAt.IsZero() || u.Admin || carol.Get("/settings/profile").Status != http.StatusOK {
			t.Errorf("the account: %+v", u)
		}
		wantPage(t, r.Browser().PostForm("/signup/link", word(last)), http.StatusBadRequest)
		list, err := r.Store.AuditEvents(r.System(), storage.AuditFilter{Everywhere: true, Action: "user.invited", Limit: 9})
		ok(t, err)
		if len(list) != 3 {
			t.Errorf("%d events about 3 invitations", len(list))
		}
	})
}

// An account that waits is approved or refused once, and the user is told once, by whichever way it was decided.
func TestApprovalIsDecidedOnceAndToldOnce(t *testing.T) {
	rig.Each(t, rig.Options{Emails: true, AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		owner := r.User("root@example.com", "Root", true)
		root := r.Browser().SignIn(owner.Email)
		_, admin := r.PersonalToken(owner, apikey.Spec{Scopes: []string{"admin"}})

		approved := waitingUser(t, r, "approved@example.com")
		if a := root.Get("/admin/users?filter=waiting"); !strings.Contains(a.Body, approved.Email) ||
			strings.Contains(a.Body, r.Alice.Email) {
			t.Errorf("who waits: %s", rig.Plain(a.Body))
		}
		b := r.Browser()
		if a := b.LogIn(b.Get("/login"), approved.Email); a.Status == http.StatusSeeOther {
			t.Error("an account that waits signs in")
		}
		rig.AtOnce(8, func(int) { root.PostForm("/admin/users/"+approved.ID+"/approve", nil) })
		b.SignIn(approved.Email)
		oneEmail(t, r.Mail(), approved.Email, "Your account at")
		if n := recorded(t, r, "user.approved", approved.ID); n != 1 {
			t.Errorf("%d approvals are recorded", n)
		}
		wantPage(t, root.Confirm("/admin/users/"+approved.ID+"/refuse", nil), http.StatusConflict)
		if a := r.JSON("PATCH", "/v1/users/"+approved.ID, admin, `{"approved":true}`); a.Status != http.StatusConflict {
			t.Errorf("approved again by the API: %d %s", a.Status, a.Body)
		}

		refused := waitingUser(t, r, "refused@example.com")
		if a := root.PostForm("/admin/users/"+refused.ID+"/refuse", nil); a.Status != http.StatusOK {
			t.Errorf("it does not ask before: %d", a.Status)
		}
		root.Confirm("/admin/users/"+refused.ID+"/refuse", nil)
		if _, err := r.Store.UserByID(r.System(), refused.ID); err == nil {
			t.Error("the refused account exists")
		}
		if m := oneEmail(t, r.Mail(), refused.Email, "Your account at"); !strings.Contains(m.Text, "did not approve") {
			t.Errorf("the refusal: %s", m.Text)
		}
		if recorded(t, r, "user.refused", refused.ID) != 1 {
			t.Error("the refusal is not recorded")
		}

		both := waitingUser(t, r, "both@example.com")
		rig.AtOnce(8, func(i int) {
			if i%2 == 0 {
				_ = r.Identity.ApproveUser(r.System(), both.ID)
			} else {
				_ = r.Identity.RefuseUser(r.System(), both.ID)
			}
		})
		_, err := r.Store.UserByID(r.System(), both.ID)
		m := oneEmail(t, r.Mail(), both.Email, "Your account at")
		if strings.Contains(m.Text, "did not approve") != (err != nil) {
			t.Errorf("the account exists: %v, but the email says: %s", err == nil, m.Text)
		}
		byAPI := waitingUser(t, r, "api@example.com")
		if a := r.JSON("DELETE", "/v1/users/"+byAPI.ID, admin, ""); a.Status != http.StatusNoContent {
			t.Errorf("refused by the API: %d %s", a.Status, a.Body)
		}
		oneEmail(t, r.Mail(), byAPI.Email, "Your account at")
	})
}

// With email, neither a page nor the API sets a password for another person.
func TestWithEmailAdministratorsSetNoPassword(t *testing.T) {
	rig.Each(t, rig.Options{Emails: true}, func(t *testing.T, r *rig.Rig) {
		root := r.Browser().SignIn(r.User("root@example.com", "Root", true).Email)
		path := "/admin/users/" + r.Alice.ID
		for _, page := range []string{"/admin/users", path} {
			if a := root.Get(page); a.Status != http.StatusOK || strings.Contains(a.Body, `name="password"`) {
				t.Errorf("%s: %d with a field for a password", page, a.Status)
			}
		}
		wantPage(t, root.PostForm(path+"/password", url.Values{"password": {"another long enough phrase"}}),
			http.StatusNotFound)
		root.PostForm("/admin/users", url.Values{"email": {"new@example.com"}, "password": {rig.Password}, "admin": {"1"}})
		if _, err := r.Store.UserByEmail(r.System(), "new@example.com"); err == nil {
			t.Error("an account was created with a password")
		}
		r.Browser().SignIn(r.Alice.Email)
	})
}

// A reset email leaves the password as it is until the link is used; removing the password signs the user out.
func TestG14_AdministratorsSendResetsAndRemovePasswords(t *testing.T) {
	rig.Each(t, rig.Options{Emails: true}, func(t *testing.T, r *rig.Rig) {
		owner := r.User("root@example.com", "Root", true)
		root := r.Browser().SignIn(owner.Email)
		_, admin := r.PersonalToken(owner, apikey.Spec{Scopes: []string{"admin"}})
		path := "/admin/users/" + r.Alice.ID
		if a := root.PostForm(path+"/reset", nil); a.Status != http.StatusSeeOther {
			t.Fatalf("reset: %d %s", a.Status, rig.Plain(a.Body))
		}
		first := r.Link(oneEmail(t, r.Mail(), r.Alice.Email, "Reset your password"))
		alice := r.Browser().SignIn(r.Alice.Email)
		if a := r.JSON("POST", "/v1/users/"+r.Alice.ID+"/reset", admin, ""); a.Status != http.StatusNoContent {
			t.Fatalf("reset by the API: %d %s", a.Status, a.Body)
		}
		second := r.Link(oneEmail(t, r.Mail(), r.Alice.Email, "Reset your password"))
		b := r.Browser()
		wantPage(t, b.Get(first), http.StatusBadRequest)
		form := b.Form(b.Get(second), "/reset")
		form.Set("password", "another long enough phrase")
		wantPage(t, b.PostForm("/reset", form), http.StatusOK)
		if alice.Get("/settings/profile").Status == http.StatusOK {
			t.Error("the session outlives the reset")
		}
		if recorded(t, r, "user.reset_sent", r.Alice.ID) != 2 {
			t.Error("the reset emails are not recorded")
		}
		r.Mail()

		remove := path + "/methods/password/remove"
		root.Confirm(remove, nil)
		u, err := r.Store.UserByID(r.System(), r.Alice.ID)
		ok(t, err)
		if u.PasswordHash != "" || recorded(t, r, "user.password_removed", u.ID) != 1 {
			t.Errorf("the password: %+v", u)
		}
		oneEmail(t, r.Mail(), u.Email, "Your password for")
		wantPage(t, root.Get(remove), http.StatusNotFound)
		for method, status := range map[string]int{"password": http.StatusNotFound, "passkey": http.StatusNotFound} {
			if a := r.JSON("DELETE", "/v1/users/"+u.ID+"/methods/"+method, admin, ""); a.Status != status {
				t.Errorf("%s: %d %s", method, a.Status, a.Body)
			}
		}
		ok(t, r.Identity.DisableUser(r.System(), u.ID))
		wantPage(t, root.PostForm(path+"/reset", nil), http.StatusConflict)
		if list := r.Mail(); len(list) != 0 {
			t.Errorf("%d emails to a disabled user", len(list))
		}
	})
}

// Administrators see a user's sessions and end one or all.
func TestG21_AdministratorsEndSessions(t *testing.T) {
	rig.Each(t, rig.Options{Emails: true}, func(t *testing.T, r *rig.Rig) {
		owner := r.User("root@example.com", "Root", true)
		root := r.Browser().SignIn(owner.Email)
		_, admin := r.PersonalToken(owner, apikey.Spec{Scopes: []string{"admin"}})
		browsers := []*rig.Browser{r.Browser().SignIn(r.Alice.Email), r.Browser().SignIn(r.Alice.Email), r.Browser()}
		browsers[2].SignIn(r.Alice.Email)
		signedIn := func() (list []bool) {
			for _, b := range browsers {
				list = append(list, b.Get("/settings/profile").Status == http.StatusOK)
			}
			return list
		}
		sessions, err := r.Identity.Sessions(r.System(), r.Alice.ID)
		ok(t, err)
		if len(sessions) != 3 {
			t.Fatalf("%d sessions", len(sessions))
		}
		slices.SortFunc(sessions, func(x, y storage.Session) int { return strings.Compare(x.ID, y.ID) })
		for _, x := range sessions {
			if !strings.Contains(root.Get("/admin/users/"+r.Alice.ID).Body, x.ID) {
				t.Error("the page lacks a session")
			}
		}
		path := "/sessions/" + sessions[0].ID
		if a := r.JSON("DELETE", "/v1/users/"+owner.ID+path, admin, ""); a.Status != http.StatusNotFound {
			t.Errorf("the session of another user: %d", a.Status)
		}
		root.Confirm("/admin/users/"+r.Alice.ID+path+"/end", nil)
		if got := signedIn(); !slices.Equal(got, []bool{false, true, true}) {
			t.Errorf("after the first: %v", got)
		}
		shown := r.JSON("GET", "/v1/users/"+r.Alice.ID+"/sessions?limit=1", admin, "")
		if shown.Status != http.StatusOK || !strings.Contains(shown.Body, sessions[1].ID) ||
			strings.Contains(shown.Body, sessions[2].ID) || !strings.Contains(shown.Body, `"nextCursor":"`) {
			t.Errorf("sessions by the API: %d %s", shown.Status, shown.Body)
		}
		r.JSON("DELETE", "/v1/users/"+r.Alice.ID+"/sessions/"+sessions[1].ID, admin, "")
		if got := signedIn(); !slices.Equal(got, []bool{false, false, true}) {
			t.Errorf("after the second: %v", got)
		}
		r.JSON("DELETE", "/v1/users/"+r.Alice.ID+"/sessions", admin, "")
		if got := signedIn(); !slices.Equal(got, []bool{false, false, false}) {
			t.Errorf("after all: %v", got)
		}
		if recorded(t, r, "session.ended", sessions[0].ID) != 1 || recorded(t, r, "user.signed_out", r.Alice.ID) != 1 {
			t.Error("the ends are not recorded")
		}
	})
}

// One enabled administrator stays, by whichever way the last one would go, also if two remove each other at once.
func TestV64_TheLastAdministratorStaysByEachWay(t *testing.T) {
	rig.Each(t, rig.Options{Emails: true, AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		first := r.User("root@example.com", "Root", true)
		no := false
		remaining := func(when string) {
			t.Helper()
			n, err := r.Store.CountAdministrators(r.System())
			ok(t, err)
			if n != 1 {
				t.Errorf("%s: %d administrators", when, n)
			}
		}
		for name, remove := range map[string]func(id string) error{
			"delete":  func(id string) error { return r.Identity.DeleteUser(r.System(), id) },
			"disable": func(id string) error { return r.Identity.DisableUser(r.System(), id) },
			"demote": func(id string) error {
				_, err := r.Identity.UpdateUser(r.System(), id, identity.UserChange{Admin: &no})
				return err
			},
		} {
			if err := remove(first.ID); err == nil {
				t.Errorf("%s: the last administrator is gone", name)
			}
			remaining(name)
			if list := r.Mail(); len(list) != 0 {
				t.Errorf("%s: %d emails about what was refused", name, len(list))
			}
		}
		// Each deletes the other, by page and API.
		root := r.Browser().SignIn(first.Email)
		second := r.User("second@example.com", "Second", true)
		_, token := r.PersonalToken(second, apikey.Spec{Scopes: []string{"admin"}})
		form := root.Form(root.Get("/admin/users/"+second.ID+"/delete"), "/admin/users/"+second.ID+"/delete")
		rig.AtOnce(2, func(i int) {
			if i == 0 {
				root.PostForm("/admin/users/"+second.ID+"/delete", form)
			} else {
				r.JSON("DELETE", "/v1/users/"+first.ID, token, "")
			}
		})
		remaining("two at once")
		left, err := r.Store.Administrators(r.System())
		ok(t, err)
		b := r.Browser().SignIn(left[0].Email)
		wantPage(t, b.Confirm("/admin/users/"+left[0].ID+"/delete", nil), http.StatusBadRequest)
		wantPage(t, b.PostForm("/admin/users/"+left[0].ID+"/delete", url.Values{"confirmed": {"yes"}}),
			http.StatusBadRequest)
		_, own := r.PersonalToken(left[0], apikey.Spec{Scopes: []string{"admin"}})
		for body, status := range map[string]int{
			`{"administrator":false}`: http.StatusConflict, `{"admin":false}`: http.StatusConflict,
			`{"disabled":true}`: http.StatusBadRequest,
		} {
			if a := r.JSON("PATCH", "/v1/users/"+left[0].ID, own, body); a.Status != status {
				t.Errorf("%s: %d %s", body, a.Status, a.Body)
			}
		}
		if a := r.JSON("DELETE", "/v1/users/"+left[0].ID, own, ""); a.Status != http.StatusBadRequest {
			t.Errorf("deleted themselves by the API: %d %s", a.Status, a.Body)
		}
		remaining("at the end")
	})
}

// The page that asks before a user is deleted lists the workspaces that go with them, and no others.
func TestV63_DeletingAUserListsWhatGoesWithThem(t *testing.T) {
	rig.Each(t, rig.Options{Emails: true}, func(t *testing.T, r *rig.Rig) {
		root := r.Browser().SignIn(r.User("root@example.com", "Root", true).Email)
		r.Workspace("engines", "", r.Alice)
		shared := r.Workspace("shared", "", r.Alice)
		r.Join(shared, r.User("bob@example.com", "Bob", false), "owner")
		path := "/admin/users/" + r.Alice.ID + "/delete"
		page := root.Get(path)
		if text := rig.Plain(page.Body); !strings.Contains(text, "The workspace engines has no other owner") ||
			strings.Contains(text, "workspace shared") {
			t.Errorf("the page: %s", text)
		}
		root.PostForm(path, nil) // without the confirmation
		if _, err := r.Store.UserByID(r.System(), r.Alice.ID); err != nil {
			t.Fatal("deleted without a confirmation")
		}
		root.Confirm(path, nil)
		if _, err := r.Store.UserByID(r.System(), r.Alice.ID); err == nil {
			t.Error("the user exists")
		}
		if _, err := r.Store.WorkspaceBySlug(r.System(), "engines"); err == nil {
			t.Error("the workspace exists")
		}
		_, err := r.Store.WorkspaceBySlug(r.System(), "shared")
		ok(t, err)
		oneEmail(t, r.Mail(), r.Alice.Email, "Your account at")
		if recorded(t, r, "user.deleted", r.Alice.ID) != 1 {
			t.Error("the deletion is not recorded")
		}
	})
}

// A link that an operator creates is recorded, and the user is told, but the email does not contain the link.
func TestG06_OperatorsLinkIsToldAndRecorded(t *testing.T) {
	rig.Each(t, rig.Options{Emails: true}, func(t *testing.T, r *rig.Rig) {
		root := r.User("root@example.com", "Root", true)
		token, err := r.Identity.SignInLink(context.Background(), root.ID)
		ok(t, err)
		if m := oneEmail(t, r.Mail(), root.Email, "A sign-in link"); strings.Contains(m.Text+m.HTML, token) {
			t.Error("the email contains the link")
		}
		if recorded(t, r, "login.link_created", root.ID) != 1 {
			t.Error("the link is not recorded")
		}
		// There are links for administrators only, since they stand for every factor.
		_, err = r.Identity.SignInLink(context.Background(), r.Alice.ID)
		if !errors.Is(err, identity.ErrNotAdministrator) || recorded(t, r, "login.link_created", r.Alice.ID) != 0 {
			t.Errorf("a link for a user who is not an administrator: %v", err)
		}
	})
}
