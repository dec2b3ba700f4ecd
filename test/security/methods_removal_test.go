package security

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"doorward/oauth/apikey"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/test/authenticator"
	"doorward/test/rig"
	"doorward/test/stores"
)

// withoutEmail are the options of a server with passkeys that sends no email: users sign in with what they have.
func withoutEmail() rig.Options { return rig.Options{Localhost: true} }

// The last way in which a user can sign in is not removed, neither by them nor by an administrator. What is only a
// second factor is no way in.
func TestG18_TheLastWayInStays(t *testing.T) {
	rig.Each(t, withoutEmail(), func(t *testing.T, r *rig.Rig) {
		root := r.User("root@example.com", "Root", true)
		_, admin := r.PersonalToken(root, apikey.Spec{Scopes: []string{"admin"}})
		administrator := r.Browser().SignIn(root.Email)
		u, b, _ := person(r, "owner@example.com")
		addTOTP(b)
		passkey := passkeys(t, r, u.ID)[0].ID
		remove := func(method string) *rig.Answer { return b.Confirm(securityPath+"/methods/"+method+"/remove", nil) }
		redirects(t, remove("password"), securityPath)
		before := standing(t, r, u)
		wantPage(t, remove(passkey), http.StatusConflict)
		wantPage(t, administrator.Confirm("/admin/users/"+u.ID+"/methods/"+passkey+"/remove", nil), http.StatusConflict)
		a := r.JSON(http.MethodDelete, "/v1/users/"+u.ID+"/methods/"+passkey, admin, "")
		if a.Status != http.StatusConflict {
			t.Errorf("by the API: %d %s", a.Status, a.Body)
		}
		if err := r.Identity.RemoveSecondFactors(r.System(), u.ID); err == nil {
			t.Error("the command removes the last way in")
		}
		if after := standing(t, r, u); after != before || signedInAs(b) != u.Email {
			t.Errorf("a refused removal has changed\n%s\nto\n%s", before, after)
		}
		redirects(t, remove("totp"), securityPath)

		// A user with only a password, and one method of another user.
		alice := r.Browser().SignIn(r.Alice.Email)
		wantPage(t, alice.Confirm(securityPath+"/methods/password/remove", nil), http.StatusConflict)
		for _, method := range []string{passkey, "totp", "recovery_codes", "passkey", u.ID, "%00", "'"} {
			a := alice.PostForm(securityPath+"/methods/"+method+"/remove", with(nil, "confirmed", "yes"))
			wantPage(t, a, http.StatusNotFound)
		}
		wantPage(t, alice.PostForm(newPasskeyPath+"/"+passkey+"/rename", with(nil, "name", "Mine")), http.StatusNotFound)
		wantPage(t, alice.Get(newPasskeyPath+"/"+passkey), http.StatusNotFound)
		if list := passkeys(t, r, u.ID); len(list) != 1 || list[0].Name == "Mine" {
			t.Errorf("another user has changed the passkeys to %+v", list)
		}
	})
}

// Of two last passkeys, 64 removals of both at the same moment leave one.
func TestG18_RemovalsAtOnceLeaveAWayIn(t *testing.T) {
	o := withoutEmail()
	o.AtOnce = true
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		u, b, _ := person(r, "owner@example.com")
		addPasskey(b, authenticator.New())
		redirects(t, b.Confirm(securityPath+"/methods/password/remove", nil), securityPath)
		list := passkeys(t, r, u.ID)
		if len(list) != 2 {
			t.Fatalf("%d passkeys", len(list))
		}
		browsers := make([]*rig.Browser, 64)
		for i := range browsers {
			browsers[i] = nodes[i%len(nodes)].Browser().WithCookiesOf(b)
		}
		statuses := make([]int, len(browsers))
		rig.AtOnce(len(browsers), func(i int) {
			path := securityPath + "/methods/" + list[i/2%2].ID + "/remove"
			statuses[i] = browsers[i].PostForm(path, with(nil, "confirmed", "yes")).Status
		})
		worked := 0
		for _, status := range statuses {
			switch status {
			case http.StatusSeeOther:
				worked++
			case http.StatusConflict, http.StatusNotFound:
			default:
				t.Errorf("a removal is answered %d", status)
			}
		}
		user, err := r.Store.UserByID(r.System(), u.ID)
		ok(t, err)
		if left := passkeys(t, r, u.ID); worked != 1 || len(left) != 1 || user.Passkeys != 1 {
			t.Errorf("%d removals worked, and %d passkeys are left; the user has %d", worked, len(left), user.Passkeys)
		}
	})
}

// An administrator removes a user's methods on the page, through the API and with the command. It ends the user's
// sessions, they are told by email, and the audit log has it.
func TestG18_AdministratorsRemoveMethods(t *testing.T) {
	rig.Each(t, withPasskeys(), func(t *testing.T, r *rig.Rig) {
		root := r.User("root@example.com", "Root", true)
		administrator := r.Browser().SignIn(root.Email)
		_, admin := r.PersonalToken(root, apikey.Spec{Scopes: []string{"admin"}})
		_, weak := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
		for name, remove := range map[string]func(u storage.User, method string){
			"page": func(u storage.User, method string) {
				administrator.Confirm("/admin/users/"+u.ID+"/methods/"+method+"/remove", nil)
			},
			"api": func(u storage.User, method string) {
				path := "/v1/users/" + u.ID + "/methods/" + method
				if a := r.JSON(http.MethodDelete, path, weak, ""); a.Status != http.StatusForbidden {
					t.Errorf("with the token of a user it is answered %d", a.Status)
				}
				r.JSON(http.MethodDelete, path, admin, "")
			},
		} {
			u, b, _ := person(r, name+"@example.com")
			addTOTP(b)
			passkey := passkeys(t, r, u.ID)[0].ID
			var shown []string
			for _, m := range r.JSON(http.MethodGet, "/v1/users/"+u.ID+"/methods", admin, "").JSON()["data"].([]any) {
				kind, _ := m.(map[string]any)["kind"].(string)
				shown = append(shown, kind)
			}
			slices.Sort(shown)
			if !slices.Equal(shown, []string{"passkey", "password", "recovery_codes", "totp"}) {
				t.Errorf("the API lists %q", shown)
			}
			for _, x := range []struct{ method, action, target string }{
				{passkey, "passkey.removed", passkey},
				{"recovery_codes", "recovery_codes.deleted", u.ID},
				{"totp", "totp.disabled", u.ID},
				{"password", "user.password_removed", u.ID},
			} {
				r.SQL(`UPDATE sessions SET acr = $1 WHERE user_id = $2`, identity.LevelTwo, u.ID)
				r.Emails()
				remove(u, x.method)
				now, err := r.Store.UserByID(r.System(), u.ID)
				ok(t, err)
				methods, err := r.Identity.Methods(r.System(), &now)
				ok(t, err)
				if slices.ContainsFunc(methods, func(m identity.Method) bool { return m.ID == x.method }) {
					t.Errorf("%s: %s is still there", name, x.method)
				}
				if signedInAs(b) != "" || len(sessionsOf(t, r, u.ID)) != 0 {
					t.Errorf("%s: the removal of %s leaves sessions", name, x.method)
				}
				kind := "methods_changed"
				if x.method == "password" {
					kind = "password_removed"
				}
				if e := r.Email(kind); e.Recipient != u.Email {
					t.Errorf("%s: the email is to %s", name, e.Recipient)
				}
				if n := recorded(t, r, x.action, x.target); n != 1 {
					t.Errorf("%s: %s is recorded %d times", name, x.action, n)
				}
				if x.method != "password" {
					b = r.Browser()
					askLink(b, u.Email)
					useLink(b, r.Email("sign_in"))
				}
			}
		}
		// The command removes all of them at once.
		u, b, a := person(r, "lost@example.com")
		addTOTP(b)
		r.Emails()
		ok(t, r.Identity.RemoveSecondFactors(r.System(), u.ID))
		if kinds := kindsOf(r.Emails()); !slices.Contains(kinds, "methods_changed") || signedInAs(b) != "" {
			t.Errorf("the emails are %q, and the session is that of %q", kinds, signedInAs(b))
		}
		stranger := r.Browser()
		wantPage(t, stranger.PostForm("/login/passkey", answeredPasskey(stranger, a)), http.StatusBadRequest)
		r.Browser().SignIn(u.Email) // without a second factor
		if err := r.Identity.RemoveSecondFactors(r.System(), u.ID); err == nil {
			t.Error("they are removed twice")
		}
	})
}

// doorward user factor remove ends a user's second factors and sessions while the server runs.
func TestG18_TheCommandRemovesSecondFactors(t *testing.T) {
	p := startProcess(t)
	p.run(rig.Password+"\n", "user", "create", "--email", "owner@example.com", "--password-stdin")
	link := "sqlite:" + filepath.Join(p.folder, "data", "doorward.db")
	s := stores.Open(t, link)
	ctx := storage.System(t.Context())
	u, err := s.UserByEmail(ctx, "owner@example.com")
	ok(t, err)
	ok(t, s.InsertPasskey(ctx, storage.Passkey{
		ID: storage.NewID("passkey"), CredentialID: []byte("x"), UserID: u.ID, Domain: "localhost", PublicKey: []byte("x"),
	}))
	ok(t, s.ReplaceRecoveryCodes(ctx, u.ID, []storage.RecoveryCode{{Selector: "aa", Hash: "x"}}))
	out := p.run("", "user", "factor", "remove", "owner@example.com")
	if !strings.Contains(out, "owner@example.com") {
		t.Errorf("the command says %q", out)
	}
	s.Invalidate()
	u, err = s.UserByID(ctx, u.ID)
	ok(t, err)
	left, since, err := s.RecoveryCodesOf(ctx, u.ID)
	if err != nil || left != 0 || !since.IsZero() || u.Passkeys != 0 {
		t.Errorf("%d passkeys and %d recovery codes are left, %v", u.Passkeys, left, err)
	}
	if _, err := p.doorward("user", "factor", "remove", "owner@example.com").Output(); err == nil {
		t.Error("the command works twice")
	}
}
