package security

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/storage"
	"doorward/test/rig"
)

func kindsOf(list []rig.Email) (kinds []string) {
	for _, e := range list {
		kinds = append(kinds, e.Kind)
	}
	slices.Sort(kinds)
	return kinds
}

// A sign-in in a browser that is not known is told by email: once for each browser and account, whatever happens to the
// password, and not for the first sign-in of an account.
func TestG05_ANewBrowserIsToldOnce(t *testing.T) {
	rig.Each(t, withEmail(), func(t *testing.T, r *rig.Rig) {
		want := func(what string, kinds ...string) {
			t.Helper()
			if got := kindsOf(r.Emails()); !slices.Equal(got, kinds) {
				t.Errorf("%s: the emails are %q, want %q", what, got, kinds)
			}
		}
		bob := r.User("bob@example.com", "Bob", false)
		first := r.Browser().SignIn(r.Alice.Email)
		want("first sign-in")
		first.PostForm("/logout", nil)
		first.SignIn(r.Alice.Email)
		want("again in the same browser")
		first.PostForm("/logout", nil)
		first.SignIn(bob.Email) // another account in this browser, and its first sign-in
		first.PostForm("/logout", nil)
		first.SignIn(r.Alice.Email)
		want("after another account")

		second := r.Browser()
		if a := attempt(second, r.Alice.Email, rig.Password, "User-Agent", "Mozilla/5.0 (X11; Linux) Firefox/140.0",
			"X-Forwarded-For", "192.0.2.7"); a.Status != http.StatusSeeOther {
			t.Fatalf("sign-in answered %d", a.Status)
		}
		e := r.Email("new_device")
		if e.Recipient != r.Alice.Email || e.Detail["browser"] != "Firefox on Linux" || e.Detail["place"] != "192.0.2.7" {
			t.Errorf("the email to %s has %v", e.Recipient, e.Detail)
		}
		page := rig.Plain(first.Get("/settings/security").Body)
		if strings.Count(page, "New browser") != 1 || !strings.Contains(page, "Firefox on Linux New browser") {
			t.Errorf("the security page shows: %s", page)
		}
		second.PostForm("/settings/security/password", url.Values{
			"current_password": {rig.Password}, "new_password": {"an entirely other harbour"},
		})
		want("change of the password", "password_changed")
		second.PostForm("/logout", nil)
		attempt(second, r.Alice.Email, "an entirely other harbour")
		if a := attempt(first, r.Alice.Email, "an entirely other harbour"); a.Status != http.StatusSeeOther {
			t.Fatalf("sign-in answered %d", a.Status)
		}
		want("both browsers after the change")
		first.PostForm("/logout", nil)
		askLink(first, bob.Email)
		useLink(first, r.Email("sign_in"))
		want("by link, the other account of the browser")
		// A failed sign-in tells nothing, and a forged cookie makes no browser known.
		forged := r.Browser()
		forged.SetCookie(&http.Cookie{Name: "doorward-known", Value: strings.Repeat("a", 43) + "." + strings.Repeat("b", 43), Path: "/"})
		attempt(forged, r.Alice.Email, "wrong")
		want("wrong password")
		attempt(forged, r.Alice.Email, "an entirely other harbour")
		want("forged cookie", "new_device")
	})
}

// A session whose sign-in is a while ago changes, deletes and exports nothing; a user without a password is led to the
// sign-in page, and no password is right for them.
func TestV13_AUserWithoutAPasswordSignsInAgain(t *testing.T) {
	o := withEmail()
	o.NoPasswords = true
	rig.Each(t, o, func(t *testing.T, r *rig.Rig) {
		b := r.Browser()
		askSignUp(b, "new@example.com")
		useLink(b, r.Email("sign_up"))
		form := b.Form(b.Get("/signup/complete"), "/signup/complete")
		if form.Has("password") {
			t.Error("the page asks for a password")
		}
		form.Set("name", "New")
		if a := b.PostForm("/signup/complete", form); a.Status != http.StatusSeeOther {
			t.Fatalf("the account is answered %d %s", a.Status, rig.Plain(a.Body))
		}
		user, err := r.Store.UserByEmail(r.System(), "new@example.com")
		ok(t, err)
		if user.PasswordHash != "" {
			t.Error("the account has a password")
		}
		r.Advance(5*time.Minute + time.Second)
		for _, path := range []string{"/settings/profile/export", "/settings/profile/address", "/settings/developer/personal-access-tokens"} {
			for _, password := range []string{"", " ", rig.Password} {
				a := b.PostForm(path, url.Values{
					"email": {"other@example.com"}, "name": {"x"}, "scopes": {"read"}, "current_password": {password}, "password": {password},
				})
				if a.Status != http.StatusForbidden || !strings.Contains(a.Body, "/login?again=1&amp;") ||
					strings.Contains(a.Body, `type="password"`) {
					t.Errorf("%s with the password %q is answered %d %s", path, password, a.Status, rig.Plain(a.Body))
				}
			}
		}
		again := "/login?again=1&return_to=" + url.QueryEscape("/settings/profile")
		page := b.Get(again)
		if page.Status != http.StatusOK || !strings.Contains(page.Body, `value="new@example.com"`) {
			t.Fatalf("%s is answered %d %s", again, page.Status, rig.Plain(page.Body))
		}
		b.PostForm("/login/email", b.Form(page, "/login/email"))
		e := r.Email("sign_in")
		a := useLink(b, e)
		if a.Status != http.StatusSeeOther || a.Location.Path != "/settings/profile" {
			t.Errorf("signing in again leads to %v", a.Location)
		}
		if a := b.PostForm("/settings/profile/export", nil); a.Status != http.StatusOK {
			t.Errorf("after signing in again the export is answered %d", a.Status)
		}
		if list := r.Emails(); len(list) != 0 {
			t.Errorf("the browser counts as new: %q", kindsOf(list))
		}
	})
	rig.Each(t, o, func(t *testing.T, r *rig.Rig) { // consent to a dangerous scope goes on after the new sign-in
		app := r.App(management.ClientSpec{Scopes: []string{"read", "admin"}})
		b := r.Browser()
		askLink(b, r.Alice.Email)
		useLink(b, r.Email("sign_in"))
		r.Advance(5*time.Minute + time.Second)
		asked := b.Decide(b.Authorize(app.Params("read admin")), "approve")
		_, rest, _ := strings.Cut(asked.Body, `href="/login?again=1&amp;flow=`)
		flow, _, _ := strings.Cut(rest, `"`)
		if asked.Status != http.StatusForbidden || flow == "" {
			t.Fatalf("consent is answered %d %s", asked.Status, rig.Plain(asked.Body))
		}
		page := b.Get("/login?again=1&flow=" + flow)
		b.PostForm("/login/email", b.Form(page, "/login/email"))
		consent := b.Follow(useLink(b, r.Email("sign_in")))
		if a := b.Decide(consent, "approve"); a.Param("code") == "" {
			t.Errorf("after signing in again, consent is answered %d %s", a.Status, rig.Plain(a.Body))
		}
	})
	rig.Each(t, withEmail(), func(t *testing.T, r *rig.Rig) {
		r.SQL(`UPDATE users SET password_hash = '' WHERE email_key = 'alice@example.com'`)
		for _, password := range []string{"", " ", rig.Password, "$argon2id$"} {
			wantPage(t, attempt(r.Browser(), r.Alice.Email, password), http.StatusUnauthorized)
		}
		b := r.Browser()
		askLink(b, r.Alice.Email)
		useLink(b, r.Email("sign_in"))
		a := b.PostForm("/settings/security/password", url.Values{"current_password": {""}, "new_password": {"an entirely other harbour"}})
		wantPage(t, a, http.StatusForbidden)
		if page := rig.Plain(b.Get("/settings/security").Body); !strings.Contains(page, "You have no password.") {
			t.Errorf("the security page shows: %s", page)
		}
	})
}

func TestG14_AChangeOfAddressIsProvenAndCanBeUndone(t *testing.T) {
	rig.Each(t, withEmail(), func(t *testing.T, r *rig.Rig) {
		b := r.Browser().SignIn(r.Alice.Email)
		change := func(email string) *rig.Answer {
			t.Helper()
			return b.PostForm("/settings/profile/address", url.Values{"email": {email}, "current_password": {rig.Password}})
		}
		bob := r.User("bob@example.com", "Bob", false)
		free, taken := change("second@example.com"), change(bob.Email)
		if free.Status != http.StatusSeeOther || taken.Status != free.Status ||
			taken.Location.String() != free.Location.String() {
			t.Errorf("an address with an account is answered %d, another one %d", taken.Status, free.Status)
		}
		list := r.Emails()
		if got := kindsOf(list); !slices.Equal(got, []string{"address", "address_taken"}) {
			t.Fatalf("the emails are %q", got)
		}
		if list[1].URL != "" || list[1].Recipient != bob.Email {
			t.Errorf("the email to %s has the link %q", list[1].Recipient, list[1].URL)
		}
		wantPage(t, useLink(r.Browser(), list[0]), http.StatusBadRequest) // the newer one ended it
		change("second@example.com")
		elsewhere := r.Browser() // opened on a phone, say
		wantPage(t, useLink(elsewhere, r.Email("address")), http.StatusOK)
		if signedInAs(elsewhere) != "" || signedInAs(b) != "second@example.com" {
			t.Errorf("signed in: %q and %q", signedInAs(elsewhere), signedInAs(b))
		}
	})
	rig.Each(t, withEmail(), func(t *testing.T, r *rig.Rig) {
		b := r.Browser().SignIn(r.Alice.Email)
		change := func(email string) rig.Email { // returns the email that undoes the change
			t.Helper()
			b.PostForm("/settings/profile/address", url.Values{"email": {email}, "current_password": {rig.Password}})
			wantPage(t, useLink(r.Browser(), r.Email("address")), http.StatusOK)
			return r.Email("address_changed")
		}
		first := change("second@example.com")
		r.Advance(time.Hour)
		second := change("third@example.com")
		if first.Recipient != r.Alice.Email || second.Recipient != "second@example.com" {
			t.Fatalf("told were %s and %s", first.Recipient, second.Recipient)
		}
		// An address that an undo can restore is not given to another account.
		askSignUp(r.Browser(), r.Alice.Email)
		r.Email("sign_up_exists")
		r.Advance(6 * 24 * time.Hour)
		undo := r.Browser()
		a := useLink(undo, first)
		if a.Status != http.StatusSeeOther || a.Location.Path != "/reset" {
			t.Fatalf("the undo is answered %d %v %s", a.Status, a.Location, rig.Plain(a.Body))
		}
		if signedInAs(b) != "" {
			t.Error("a session outlives the undo")
		}
		form := undo.Form(undo.Follow(a), "/reset")
		form.Set("password", "an entirely other harbour")
		wantPage(t, undo.PostForm("/reset", form), http.StatusOK)
		if a := attempt(undo, r.Alice.Email, "an entirely other harbour"); a.Status != http.StatusSeeOther {
			t.Errorf("with the address before, the sign-in is answered %d", a.Status)
		}
		wantPage(t, useLink(r.Browser(), second), http.StatusBadRequest) // the older address wins
		r.Advance(10 * 24 * time.Hour)
		wantPage(t, useLink(r.Browser(), first), http.StatusBadRequest)
	})
}

// An account is deleted only after its page has listed the workspaces that go with it, with a fresh proof, and never the
// last administrator's. The file with the user's data contains no secret.
func TestV13_DeletionAndExportNeedAFreshProof(t *testing.T) {
	rig.Each(t, withEmail(), func(t *testing.T, r *rig.Rig) {
		b := r.Browser().SignIn(r.Alice.Email)
		ws := r.Workspace("engines", "", r.Alice)
		_, secret := r.PersonalToken(r.Alice, apikey.Spec{})
		app := r.App(management.ClientSpec{})
		b.Code(app, "read")
		r.Advance(5*time.Minute + time.Second)
		wantPage(t, b.PostForm("/settings/profile/export", nil), http.StatusForbidden)
		a := b.PostForm("/settings/profile/export", url.Values{"current_password": {rig.Password}})
		var file struct {
			Profile                   struct{ Email string }
			Sessions, Consents, Audit []map[string]any
			Keys                      []struct{ ID, Kind, State string }
		}
		if err := json.Unmarshal([]byte(a.Body), &file); err != nil || a.Status != http.StatusOK ||
			!strings.HasPrefix(a.Header.Get("Content-Disposition"), "attachment") {
			t.Fatalf("the export is answered %d %v %v", a.Status, a.Header, err)
		}
		if file.Profile.Email != r.Alice.Email || len(file.Sessions) != 1 || len(file.Consents) != 1 || len(file.Keys) != 1 ||
			len(file.Audit) < 3 {
			t.Errorf("the file is %s", a.Body)
		}
		for name, hidden := range map[string]string{
			"token": secret, "its end": secret[len(secret)-8:], "password hash": "argon2", "session": cookie(b, "doorward"),
		} {
			if strings.Contains(a.Body, hidden) {
				t.Errorf("the file contains the %s", name)
			}
		}

		const path = "/settings/profile/delete"
		page := b.Get(path)
		if text := rig.Plain(page.Body); !strings.Contains(text, "The workspace engines is deleted") ||
			!strings.Contains(text, "Your personal workspace is deleted") {
			t.Errorf("the page says: %s", text)
		}
		form := b.Form(page, path)
		r.Workspace("wheels", "", r.Alice) // the page does not list it
		if a := b.PostForm(path, form); a.Status != http.StatusOK || !strings.Contains(a.Body, "wheels") {
			t.Errorf("with a workspace more the form is answered %d %s", a.Status, rig.Plain(a.Body))
		}
		form = b.Form(b.Get(path), path)
		r.Advance(5*time.Minute + time.Second)
		stale := b.PostForm(path, form)
		wantPage(t, stale, http.StatusForbidden)
		if _, err := r.Store.UserByID(r.System(), r.Alice.ID); err != nil {
			t.Fatalf("deleted without a proof: %v", err)
		}
		again := b.Form(stale, path)
		again.Set("current_password", rig.Password)
		wantPage(t, b.PostForm(path, again), http.StatusOK)
		if e := r.Email("account_deleted"); e.Recipient != r.Alice.Email {
			t.Errorf("told is %s", e.Recipient)
		}
		if _, err := r.Store.UserByID(r.System(), r.Alice.ID); err == nil {
			t.Error("the account is not deleted")
		}
		if _, err := r.Store.WorkspaceByID(r.System(), ws.ID); err == nil {
			t.Error("the workspace is not deleted")
		}
		if signedInAs(b) != "" || cookie(b, "doorward") != "" {
			t.Error("the browser is still signed in")
		}

		root := r.User("root@example.com", "Root", true)
		admin := r.Browser().SignIn(root.Email)
		wantPage(t, admin.PostForm(path, admin.Form(admin.Get(path), path)), http.StatusConflict)
		r.User("second@example.com", "Second", true)
		wantPage(t, admin.PostForm(path, admin.Form(admin.Get(path), path)), http.StatusOK)
	})
}

// The language and the time zone of a user are those of the lists, and the pages and emails follow them.
func TestLanguageAndTimeZoneAreThoseOfTheLists(t *testing.T) {
	rig.Each(t, withEmail(), func(t *testing.T, r *rig.Rig) {
		b := r.Browser().SignIn(r.Alice.Email)
		for field, values := range map[string][]string{
			"time_zone": {"Local", "../etc/passwd", "Europe/Nowhere", "UTC\x00"}, "language": {"xx", "../de", "en\x00"},
		} {
			for _, value := range values {
				if a := b.PostForm("/settings/profile", url.Values{"name": {"Alice"}, field: {value}}); a.Status != http.StatusBadRequest {
					t.Errorf("%s %q is answered %d", field, value, a.Status)
				}
			}
		}
		a := b.PostForm("/settings/profile", url.Values{"name": {"Alice"}, "time_zone": {"Asia/Tokyo"}, "language": {"en"}})
		if a.Status != http.StatusSeeOther {
			t.Fatalf("answered %d", a.Status)
		}
		b.PostForm("/settings/profile", url.Values{"name": {"Alice"}}) // what is not sent stays
		var u storage.User
		u, err := r.Store.UserByID(r.System(), r.Alice.ID)
		ok(t, err)
		if u.TimeZone != "Asia/Tokyo" || u.Language != "en" {
			t.Errorf("stored are %q and %q", u.TimeZone, u.Language)
		}
		askLink(r.Browser(), r.Alice.Email)
		if e := r.Email("sign_in"); e.Language != "en" || e.Detail["time_zone"] != "Asia/Tokyo" {
			t.Errorf("the email is in %q, %v", e.Language, e.Detail)
		}
	})
}

// An email is in the language that the user has chosen, or else in that of the page that caused it.
func TestAnEmailIsInTheLanguageOfItsPage(t *testing.T) {
	o := withEmail()
	o.Languages = []string{"en", "de", "fr"}
	r := rig.Memory(t, o)
	german := []string{"Accept-Language", "de"}
	for _, x := range []struct{ chosen, want string }{{"", "de"}, {"fr", "fr"}} {
		r.SQL(`UPDATE users SET language = $1 WHERE id = $2`, x.chosen, r.Alice.ID)
		for _, ask := range asks {
			ask(r.Browser(), r.Alice.Email, german...)
		}
		var reset rig.Email
		list := r.Emails()
		for _, e := range list {
			if e.Kind == "reset" {
				reset = e
			}
		}
		r.Browser().PostForm("/reset", url.Values{"word": {reset.Token()}, "password": {"an entirely other harbour"}}, german...)
		list = append(list, r.Emails()...) // the notice that the password was changed
		if len(list) != 4 {
			t.Errorf("%d emails, want 4", len(list))
		}
		for _, e := range list {
			if e.Language != x.want {
				t.Errorf("chosen %q: the email %s is in %q", x.chosen, e.Kind, e.Language)
			}
		}
		r.Advance(16 * time.Minute)
	}
}
