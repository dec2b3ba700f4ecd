package security

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"doorward/storage"
	"doorward/test/rig"
)

func TestSetup_OneTokenOneAdministrator(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true, NoUser: true}, func(t *testing.T, r *rig.Rig) {
		mint := func() string {
			t.Helper()
			word, needed, err := r.Identity.SetupToken(r.System())
			if err != nil || !needed {
				t.Fatalf("no word: %v", err)
			}
			return word
		}
		older, word := mint(), mint()
		form := func(word string) url.Values {
			return url.Values{"word": {word}, "email": {"first@example.com"}, "name": {"First"}, "password": {rig.Password}}
		}
		b := r.Browser()
		if page := b.Get("/login"); strings.Contains(page.Body, word) || !strings.Contains(page.Body, "setup link") {
			t.Error("the sign-in page shows the set-up token, or not how to begin")
		}
		for name, wrong := range map[string]string{
			"none":                  "",
			"another":               strings.Repeat("a", 32),
			"one that was replaced": older,
			"in capitals":           strings.ToUpper(word),
			"cut":                   word[1:],
			"longer":                word + "a",
			"NUL":                   word + "\x00",
			"not UTF-8":             word + "\xff",
		} {
			a := b.PostForm("/setup", form(wrong))
			wantPage(t, a, http.StatusForbidden)
			if len(a.Cookies) > 0 || !strings.Contains(a.Body, "doorward setup-link") {
				t.Errorf("word %s: cookies %v, page %s", name, a.Cookies, rig.Plain(a.Body))
			}
		}
		q := r.Post("/setup", form(word), "Sec-Fetch-Site", "cross-site")
		wantPage(t, q, http.StatusForbidden)
		weak := form(word)
		weak.Set("password", "short")
		wantPage(t, b.PostForm("/setup", weak), http.StatusBadRequest) // and the token is not used up

		var made, refused atomic.Int64
		rig.AtOnce(64, func(i int) {
			v := form(word)
			v.Set("email", fmt.Sprintf("first%d@example.com", i)) // the same form again would sign the first one in (V-60)
			a := r.Post("/setup", v, "Sec-Fetch-Site", "same-origin")
			switch a.Status {
			case http.StatusSeeOther:
				made.Add(1)
			case http.StatusForbidden, http.StatusNotFound:
				refused.Add(1)
			case http.StatusServiceUnavailable: // no slot for hashing a password in time
			default:
				t.Errorf("answered %d %s", a.Status, rig.Plain(a.Body))
			}
		})
		users, err := r.Store.Users(r.System(), "", "", 100)
		if err != nil || len(users) != 1 || made.Load() != 1 || !users[0].Admin {
			t.Fatalf("%d accounts, %d created, %d refused, %v", len(users), made.Load(), refused.Load(), err)
		}
		for _, again := range []string{word, older, ""} {
			wantPage(t, b.PostForm("/setup", form(again)), http.StatusNotFound)
		}
		wantPage(t, b.Get("/setup?word="+word), http.StatusNotFound)
		if _, needed, err := r.Identity.SetupToken(r.System()); needed || err != nil {
			t.Errorf("a new set-up token is issued: %v", err)
		}
		if err := r.Store.SetSetting(r.System(), storage.SettingSetupToken, "left over"); err != nil {
			t.Fatal(err)
		}
		wantPage(t, b.PostForm("/setup", form(word)), http.StatusNotFound)
		if strings.Contains(r.Log.String(), word) {
			t.Error("the log holds the word")
		}
	})
}

func TestSetup_TokenExpiresWithTheFirstUser(t *testing.T) {
	rig.Each(t, rig.Options{NoUser: true}, func(t *testing.T, r *rig.Rig) {
		word, _, err := r.Identity.SetupToken(r.System())
		if err != nil {
			t.Fatal(err)
		}
		u := r.User("first@example.com", "First", false) // with the CLI
		b := r.Browser()
		form := url.Values{"word": {word}, "email": {"second@example.com"}, "password": {rig.Password}}
		wantPage(t, b.PostForm("/setup", form), http.StatusNotFound)
		if err := r.Identity.DeleteUser(r.System(), u.ID); err != nil {
			t.Fatal(err)
		}
		wantPage(t, b.PostForm("/setup", form), http.StatusForbidden)
		if _, err := r.Store.UserByEmail(r.System(), "second@example.com"); err == nil {
			t.Error("a token from before the first user created an administrator")
		}
	})
}

func TestSetup_AdministratorIsSignedIn(t *testing.T) {
	r := rig.Memory(t, rig.Options{NoUser: true})
	word, _, err := r.Identity.SetupToken(r.System())
	if err != nil {
		t.Fatal(err)
	}
	b := r.Browser()
	planted := strings.Repeat("A", 43)
	b.SetCookie(&http.Cookie{Name: "doorward", Value: planted, Path: "/"})
	form := b.Form(b.Get("/setup?word="+word), "/setup")
	form.Set("email", "first@example.com")
	form.Set("name", "First")
	form.Set("password", rig.Password)
	if a := b.PostForm("/setup", form); a.Status != http.StatusSeeOther || a.Location.Path != "/settings/profile" {
		t.Fatalf("answered %d %s", a.Status, rig.Plain(a.Body))
	}
	if cookie(b, "doorward") == planted || b.Get("/admin/users").Status != http.StatusOK || signedIn(r, planted) != "" {
		t.Error("the first administrator is not signed in, or a planted cookie is")
	}
}
