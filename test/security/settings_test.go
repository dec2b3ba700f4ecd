package security

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/storage"
	"doorward/test/rig"
)

// appsOf lists the apps in a user's workspace.
func appsOf(t *testing.T, r *rig.Rig, userID string) (list []storage.Client) {
	t.Helper()
	ws, err := r.Store.PersonalWorkspace(r.System(), userID)
	if err != nil {
		t.Fatal(err)
	}
	err = r.Store.InTx(storage.Tenant(t.Context(), userID, ws.ID), func(ctx context.Context) (err error) {
		list, err = r.Store.ClientsOfWorkspace(ctx, ws.ID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestStepUp_SecretsNeedARecentSignIn(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		root := r.User("root@example.com", "Root", true)
		b := r.Browser().SignIn(root.Email)
		path := appPath(t, makeApp(b))
		id := strings.TrimPrefix(path, "/settings/developer/apps/")
		foreign := r.App(management.ClientSpec{})
		secrets := func(id string) (n int) {
			c, err := r.Store.ClientByID(r.System(), id)
			if err != nil {
				t.Fatal(err)
			}
			return len(c.Secrets)
		}
		things := map[string]struct {
			do    func(password string) *rig.Answer
			count func() int
		}{
			"an app": {
				func(p string) *rig.Answer { return makeApp(b, "password", p) },
				func() int { return len(appsOf(t, r, root.ID)) },
			},
			"a public app": {
				func(p string) *rig.Answer { return makeApp(b, "password", p, "kind", "public") },
				func() int { return len(appsOf(t, r, root.ID)) },
			},
			"a secret": {func(p string) *rig.Answer {
				return b.Submit(path+"/secret", url.Values{"grace": {"24h"}, "password": {p}})
			}, func() int { return secrets(id) }},
			"a secret of another's app": {func(p string) *rig.Answer {
				return b.Submit("/admin/apps/"+foreign.ID+"/secret", url.Values{"grace": {"24h"}, "password": {p}})
			}, func() int { return secrets(foreign.ID) }},
			"a user": {func(p string) *rig.Answer {
				return b.PostForm("/admin/users", url.Values{
					"email":            {"new@example.com"},
					"password":         {rig.Password},
					"current_password": {p},
				})
			}, func() int {
				list, err := r.Store.Users(r.System(), "", "", 1000)
				if err != nil {
					t.Fatal(err)
				}
				return len(list)
			}},
		}
		for name, x := range things {
			t.Run(name, func(t *testing.T) {
				before := x.count()
				r.Advance(5*time.Minute + time.Second)
				old := cookie(b, "doorward")
				for _, wrong := range []string{"", "wrong", strings.ToUpper(rig.Password), cookie(b, "doorward")} {
					wantPage(t, x.do(wrong), http.StatusForbidden)
				}
				if x.count() != before || cookie(b, "doorward") != old {
					t.Fatal("it was made without the password")
				}
				if a := x.do(rig.Password); a.Status != http.StatusOK && a.Status != http.StatusSeeOther {
					t.Fatalf("with the password it answered %d %s", a.Status, rig.Plain(a.Body))
				}
				if x.count() != before+1 || cookie(b, "doorward") == old || signedIn(r, old) != "" {
					t.Error("it was not made, or the session kept its cookie")
				}
			})
		}
		t.Run("fresh for five minutes, also on the page that asks", func(t *testing.T) {
			b := r.Browser().SignIn(root.Email)
			asks := func() bool { return strings.Contains(b.Get("/settings/developer/apps/new").Body, `name="password"`) }
			r.Advance(5*time.Minute - time.Second)
			if asks() || makeApp(b).Status != http.StatusOK {
				t.Error("asked before five minutes were over")
			}
			r.Advance(2 * time.Second)
			if !asks() {
				t.Error("the form has no field for the password that it will ask for")
			}
			wantPage(t, makeApp(b), http.StatusForbidden)
		})
		t.Run("consent and ending access ask nothing", func(t *testing.T) {
			b := r.Browser().SignIn(r.Alice.Email)
			r.Advance(time.Hour)
			b.Code(foreign, "read")
			if a := b.Confirm("/settings/connected-apps/"+foreign.ID+"/end", nil); a.Status != http.StatusSeeOther {
				t.Errorf("answered %d", a.Status)
			}
		})
		t.Run("a new password always asks for the old one", func(t *testing.T) {
			b := r.Browser().SignIn(r.Alice.Email)
			for _, wrong := range []string{"", "wrong"} {
				wantPage(t,
					b.PostForm("/settings/security/password", url.Values{
						"current_password": {wrong},
						"new_password":     {"an entirely other harbour"},
					}), http.StatusForbidden)
			}
			r.Browser().SignIn(r.Alice.Email)
		})
		t.Run("a grace that is none of the choices", func(t *testing.T) {
			b := r.Browser().SignIn(root.Email)
			before := secrets(id)
			for _, grace := range []string{"", "10000h", "-1h", "forever"} {
				wantPage(t, b.Submit(path+"/secret", url.Values{"grace": {grace}}), http.StatusBadRequest)
			}
			if secrets(id) != before {
				t.Error("a secret was made")
			}
		})
	})
}

func TestAuthorization_ObjectsOfOthersAreNotFound(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		bob := r.User("bob@example.com", "Bob", false)
		victim := r.Browser().SignIn(bob.Email)
		bobs := appPath(t, makeApp(victim, "name", "Bob's App"))
		bobsApp := strings.TrimPrefix(bobs, "/settings/developer/apps/")
		operators := r.App(management.ClientSpec{Name: "Of No Workspace"})
		sessions, err := r.Store.SessionsOf(r.System(), bob.ID, time.Hour)
		if err != nil || len(sessions) != 1 {
			t.Fatalf("%d sessions, %v", len(sessions), err)
		}
		b := r.Browser().SignIn(r.Alice.Email)
		snapshot := func() string {
			c, err := r.Store.ClientByID(r.System(), bobsApp)
			if err != nil {
				t.Fatal(err)
			}
			return strings.Join([]string{
				c.Name, c.Scopes.String(), strings.Join(c.RedirectURIs, " "), c.ChangedAt.Time().String(),
				c.DisabledAt.Time().String(), string(rune(len(c.Secrets))),
			}, "|")
		}
		before := snapshot()
		// same checks that the answer for another user's ids equals the answer for ids that do not exist.
		same := func(method, path string, form url.Values, theirs []string, unknown string) {
			t.Helper()
			send := func(id string) *rig.Answer {
				if method == http.MethodGet {
					return b.Get(strings.ReplaceAll(path, "ID", id))
				}
				return b.PostForm(strings.ReplaceAll(path, "ID", id), form)
			}
			want := send(unknown)
			wantPage(t, want, http.StatusNotFound)
			for _, id := range append(theirs, "", "%20", "x", "%ff", "a%00b", "..", "%2e%2e", "app_%25",
				strings.Repeat("x", 5000), strings.ToUpper(theirs[0])) {
				if a := send(id); a.Status != want.Status || unvaried(a.Body) != unvaried(want.Body) {
					if id == "" &&
						(a.Status == http.StatusMethodNotAllowed || a.Status == http.StatusNotFound || a.Status == http.StatusOK) {
						continue // another page
					}
					t.Errorf("%s %s with %q answered %d %s, an unknown id %d %s", method, path, id, a.Status, rig.Plain(a.Body),
						want.Status, rig.Plain(want.Body))
				}
			}
		}
		same(http.MethodPost, "/settings/security/sessions/ID/end", nil, []string{sessions[0].ID}, storage.NewID("session"))
		appForm := url.Values{
			"name":          {"Stolen"},
			"kind":          {"web"},
			"redirect_uris": {"https://evil.example/cb"},
			"scope":         {"read"},
			"grace":         {"now"},
			"confirm":       {"Bob's App"},
		}
		for _, action := range []string{"", "/secret", "/disable", "/enable", "/delete"} {
			same(http.MethodPost, "/settings/developer/apps/ID"+action, appForm, []string{bobsApp, operators.ID},
				storage.NewID("app"))
			same(http.MethodPost, "/admin/apps/ID"+action, appForm, []string{bobsApp, operators.ID}, storage.NewID("app"))
		}
		same(http.MethodGet, "/settings/developer/apps/ID", nil, []string{bobsApp, operators.ID}, storage.NewID("app"))
		same(http.MethodGet, "/admin/apps/ID", nil, []string{bobsApp, operators.ID}, storage.NewID("app"))
		for _, action := range []string{"verify", "unverify"} {
			same(http.MethodPost, "/admin/apps/ID/"+action, nil, []string{bobsApp, operators.ID}, storage.NewID("app"))
		}
		for _, action := range []string{"disable", "enable"} {
			same(http.MethodPost, "/admin/users/ID/"+action, nil, []string{bob.ID, r.Alice.ID}, storage.NewID("user"))
		}
		if snapshot() != before {
			t.Errorf("another's app changed from %s to %s", before, snapshot())
		}
		if signedIn(r, cookie(victim, "doorward")) != bob.Email {
			t.Error("another's session ended")
		}
		list := b.Get("/settings/developer/apps")
		if strings.Contains(list.Body, bobsApp) || strings.Contains(list.Body, operators.ID) {
			t.Error("the list shows another's app")
		}
		if page := b.Get("/settings/security"); strings.Contains(page.Body, sessions[0].ID) {
			t.Error("the list shows another's session")
		}

		t.Run("ending the access of an app that only another allowed", func(t *testing.T) {
			access, _ := func() (string, string) {
				a := r.Exchange(operators, victim.Code(operators, "read"))
				return a.Text("access_token"), a.Text("refresh_token")
			}()
			want := b.Confirm("/settings/connected-apps/"+storage.NewID("app")+"/end", nil)
			for _, path := range []string{
				"/settings/connected-apps/" + operators.ID + "/end", "/settings/connected-apps/%ff/end",
				"/settings/connected-apps/end-all",
			} {
				a := b.Confirm(path, nil)
				if a.Status != want.Status && a.Status != http.StatusNotFound &&
					(a.Status != http.StatusSeeOther || !strings.HasSuffix(path, "end-all")) {
					t.Errorf("%s answered %d %s", path, a.Status, rig.Plain(a.Body))
				}
			}
			if !r.Alive(operators, access) {
				t.Error("another's access ended")
			}
		})
	})
}

func TestAuthorization_AdministrationIsHiddenFromOthers(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		root := r.User("root@example.com", "Root", true)
		app := r.App(management.ClientSpec{})
		b := r.Browser().SignIn(r.Alice.Email)
		nothing := b.Get("/nothing-at-all")
		for _, path := range []string{
			"/admin/", "/admin/users", "/admin/users?q=root", "/admin/apps", "/admin/apps/" + app.ID, "/admin/nothing",
		} {
			if a := b.Get(path); a.Status != http.StatusNotFound || unvaried(a.Body) != unvaried(nothing.Body) {
				t.Errorf("%s answered %d %s", path, a.Status, rig.Plain(a.Body))
			}
		}
		for _, path := range []string{
			"/admin/users", "/admin/users/" + root.ID + "/disable", "/admin/apps/" + app.ID,
			"/admin/apps/" + app.ID + "/disable", "/admin/apps/" + app.ID + "/verify",
		} {
			a := b.PostForm(path, url.Values{
				"email":    {"made@example.com"},
				"password": {rig.Password},
				"admin":    {"1"},
				"name":     {"x"},
				"kind":     {"web"},
			})
			if a.Status != http.StatusNotFound || unvaried(a.Body) != unvaried(nothing.Body) {
				t.Errorf("POST %s answered %d %s", path, a.Status, rig.Plain(a.Body))
			}
		}
		if _, err := r.Store.UserByEmail(r.System(), "made@example.com"); err == nil {
			t.Error("a user who is not an administrator created a user")
		}
		for _, path := range []string{"/settings/profile", "/settings/developer/apps", "/settings/developer/apps/new"} {
			if strings.Contains(b.Get(path).Body, "/admin") {
				t.Errorf("%s shows a way to administration", path)
			}
		}
		// A user cannot become an administrator by themselves.
		b.PostForm("/settings/profile", url.Values{
			"name":  {"Alice"},
			"admin": {"1"},
			"email": {"root@example.com"},
			"id":    {root.ID},
		})
		if u, err := r.Store.UserByID(r.System(), r.Alice.ID); err != nil || u.Admin || u.Email != r.Alice.Email {
			t.Errorf("the profile form made %+v, %v", u, err)
		}
		stranger := r.Browser()
		if a := stranger.Get("/admin/users"); a.Location == nil || a.Location.Path != "/login" {
			t.Errorf("a stranger is answered %d", a.Status)
		}
		wantPage(t, stranger.PostForm("/admin/users", url.Values{"email": {"made@example.com"}, "password": {rig.Password}}),
			http.StatusUnauthorized)

		// A disabled administrator is not an administrator.
		admin := r.Browser().SignIn(root.Email)
		if a := admin.Get("/admin/users"); a.Status != http.StatusOK {
			t.Fatalf("the administrator is answered %d", a.Status)
		}
		wantPage(t, admin.Confirm("/admin/users/"+root.ID+"/disable", nil), http.StatusBadRequest) // their own account
		second := r.User("second@example.com", "Second", true)
		if a := r.Browser().SignIn(second.Email).Confirm("/admin/users/"+root.ID+"/disable",
			nil); a.Status != http.StatusSeeOther {
			t.Fatalf("disable answered %d", a.Status)
		}
		if a := admin.Get("/admin/users"); a.Status == http.StatusOK {
			t.Error("a disabled administrator administers")
		}
	})
}

func TestAuthorization_OnlyAdministratorsVerifyApps(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		b := r.Browser().SignIn(r.Alice.Email)
		all := []string{
			"verified", "1", "first_party", "1", "pkce_optional", "1", "resource_server", "1", "administrator", "1",
			"Administrator", "true", "workspace_id", "", "WorkspaceID", "", "created_by", "",
		}
		plain := func(c storage.Client) {
			t.Helper()
			if c.Verified || c.FirstParty || c.PKCEOptional || c.ResourceServer || c.WorkspaceID == "" ||
				c.CreatedBy != r.Alice.ID {
				t.Errorf("the form made %+v", c)
			}
		}
		path := appPath(t, makeApp(b, all...))
		id := strings.TrimPrefix(path, "/settings/developer/apps/")
		get := func() storage.Client {
			t.Helper()
			c, err := r.Store.ClientByID(r.System(), id)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		plain(get())
		wantPage(t, makeApp(b, "kind", "resource_server"), http.StatusBadRequest)
		wantPage(t, makeApp(b, append([]string{"kind", "resource-server"}, all...)...), http.StatusBadRequest)
		if n := len(appsOf(t, r, r.Alice.ID)); n != 1 {
			t.Errorf("%d apps", n)
		}
		edit := func(change ...string) {
			t.Helper()
			form := b.Form(b.Get(path), path)
			form["scope"] = get().Scopes
			form.Set("redirect_uris", strings.Join(get().RedirectURIs, "\n"))
			for i := 0; i+1 < len(change); i += 2 {
				form.Set(change[i], change[i+1])
			}
			if a := b.PostForm(path, form); a.Status != http.StatusSeeOther {
				t.Fatalf("the edit answered %d %s", a.Status, rig.Plain(a.Body))
			}
		}
		edit(all...)
		plain(get())
		for _, kind := range []string{"resource_server", "public", "service", ""} { // an edit does not change the kind of app
			before := get()
			form := b.Form(b.Get(path), path)
			form["scope"] = []string{"read"}
			form.Set("redirect_uris", "https://mine.example/cb")
			form.Set("kind", kind)
			b.PostForm(path, form)
			c := get()
			if c.Public || c.ResourceServer || !c.GrantTypes.Has(oauth.GrantAuthorizationCode) ||
				c.GrantTypes.Has(oauth.GrantClientCredentials) || len(c.Secrets) != len(before.Secrets) ||
				len(c.RedirectURIs) != 1 {
				t.Errorf("an edit with kind %q made %+v", kind, c)
			}
		}
		for _, field := range []string{"verified", "first_party", "pkce_optional", "resource_server"} {
			if strings.Contains(b.Get(path).Body, `name="`+field+`"`) {
				t.Errorf("the form offers %s", field)
			}
		}

		// An administrator's verification lasts until the owner changes what was verified.
		vouch := func() {
			t.Helper()
			p := management.SpecOf(get())
			p.Name, p.Site, p.RedirectURIs, p.Scopes = "My App", "", []string{"https://mine.example/cb"}, []string{"read"}
			p.Verified, p.FirstParty, p.PKCEOptional, p.Administrator = true, true, true, true
			if _, err := r.Management.UpdateClient(r.System(), management.CommandLine(""), id, p); err != nil {
				t.Fatal(err)
			}
		}
		vouch()
		edit("refresh", "")
		if c := get(); !c.Verified || !c.FirstParty || !c.PKCEOptional {
			t.Errorf("an edit of other fields removed the verification: %+v", c)
		}
		for name, change := range map[string][]string{
			"name":                  {"name", "Your Bank"},
			"site":                  {"site", "https://bank.example"},
			"redirect URI":          {"redirect_uris", "https://evil.example/cb"},
			"one redirect URI more": {"redirect_uris", "https://mine.example/cb\nhttps://evil.example/cb"},
		} {
			vouch()
			edit(change...)
			if c := get(); c.Verified || c.FirstParty {
				t.Errorf("after a change of %s the app is still vouched for", name)
			}
		}
		vouch()
		edit("scope", "admin")
		if c := get(); c.FirstParty || !c.Verified {
			t.Errorf("after asking for more: first party %v, verified %v", c.FirstParty, c.Verified)
		}
		app := &rig.App{Client: get(), Redirect: "https://mine.example/cb"}
		bob := r.User("bob@example.com", "Bob", false)
		wantConsent(t, r.Browser().SignIn(bob.Email).Get("/oauth/authorize?"+app.Params("admin").Encode()))
	})
}

func TestDisabledAppIsOutAtOnce(t *testing.T) {
	twoNodes(t, rig.Options{}, func(t *testing.T, one, two *rig.Rig) {
		root := one.User("root@example.com", "Root", true)
		admin := one.Browser().SignIn(root.Email)
		app, api := one.App(management.ClientSpec{}), one.ResourceServer()
		access, refresh := one.Tokens(app, "read")
		b := one.Browser().SignIn(one.Alice.Email)
		code := b.Code(app, "read")
		if a := admin.Confirm("/admin/apps/"+app.ID+"/disable", nil); a.Status != http.StatusSeeOther {
			t.Fatalf("disable answered %d", a.Status)
		}
		for _, node := range []*rig.Rig{one, two} {
			wantInactive(t, "access token", node.Introspect(api, access))
		}
		refused(t, one.Refresh(app, refresh), http.StatusUnauthorized, "invalid_client")
		refused(t, one.Exchange(app, code), http.StatusUnauthorized, "invalid_client")
		refused(t, one.Introspect(app, access), http.StatusUnauthorized, "invalid_client")
		wantPage(t, b.Authorize(app.Params("read")), http.StatusBadRequest)
		quiet := app.Params("read")
		quiet.Set("prompt", "none")
		wantPage(t, b.Authorize(quiet), http.StatusBadRequest)
	})
}

func TestDisabledUserIsOutAtOnce(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		root := r.User("root@example.com", "Root", true)
		admin := r.Browser().SignIn(root.Email)
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		access, refresh := r.Tokens(app, "read")
		b := r.Browser().SignIn(r.Alice.Email)
		code := b.Code(app, "read")
		login := r.Browser()
		page := login.Authorize(app.Params("read"))
		if a := admin.Confirm("/admin/users/"+r.Alice.ID+"/disable", nil); a.Status != http.StatusSeeOther {
			t.Fatalf("disable answered %d", a.Status)
		}
		wantInactive(t, "access token", r.Introspect(api, access))
		wantInactive(t, "refresh token", r.Introspect(app, refresh))
		refused(t, r.Refresh(app, refresh), http.StatusBadRequest, "invalid_grant")
		refused(t, r.Exchange(app, code), http.StatusBadRequest, "invalid_grant")
		if a := b.Get("/settings/profile"); a.Status != http.StatusSeeOther {
			t.Errorf("the session is answered %d", a.Status)
		}
		wantLogin(t, b.Get("/oauth/authorize?"+app.Params("read").Encode()))
		wantPage(t, login.LogIn(page, r.Alice.Email), http.StatusUnauthorized)
	})
}

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
		if page := b.Get("/login"); strings.Contains(page.Body, word) || !strings.Contains(page.Body, "set-up link") {
			t.Error("the sign-in page tells the word, or not how to begin")
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
			t.Fatalf("%d accounts, %d made, %d refused, %v", len(users), made.Load(), refused.Load(), err)
		}
		for _, again := range []string{word, older, ""} {
			wantPage(t, b.PostForm("/setup", form(again)), http.StatusNotFound)
		}
		wantPage(t, b.Get("/setup?word="+word), http.StatusNotFound)
		if _, needed, err := r.Identity.SetupToken(r.System()); needed || err != nil {
			t.Errorf("a new word is given out: %v", err)
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
			t.Error("a word from before the first user made an administrator")
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

func TestPromptAndMaxAge_AgainstTheSession(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	b.Code(app, "read") // remembered from now on
	ask := func(extra ...string) *rig.Answer {
		v := app.Params("read")
		for i := 0; i+1 < len(extra); i += 2 {
			v.Set(extra[i], extra[i+1])
		}
		return b.Get("/oauth/authorize?" + v.Encode())
	}
	wantCodeNow := func(what string, a *rig.Answer) {
		t.Helper()
		if a.Param("code") == "" {
			t.Errorf("%s: answered %d %v", what, a.Status, a.Location)
		}
	}
	r.Advance(10 * time.Minute)
	wantCodeNow("a session of ten minutes", ask())
	wantCodeNow("max_age that it keeps", ask("max_age", "660"))
	wantCodeNow("prompt=none", ask("prompt", "none"))
	wantLogin(t, ask("prompt", "login"))
	wantLogin(t, ask("max_age", "0"))
	wantLogin(t, ask("max_age", "599"))
	for _, maxAge := range []string{"0", "599"} {
		if a := ask("max_age", maxAge, "prompt", "none"); a.Param("error") != "login_required" || a.Param("code") != "" {
			t.Errorf("prompt=none and max_age=%s: %v", maxAge, a.Location)
		}
	}
	wantConsent(t, ask("prompt", "consent"))

	t.Run("the pages cannot be skipped", func(t *testing.T) {
		for _, extra := range [][]string{
			{"prompt", "login"}, {"prompt", "login consent"}, {"max_age", "0"}, {"max_age", "599"},
		} {
			a := ask(extra...)
			sealed := a.Location.Query().Get("flow")
			for _, path := range []string{"/login?flow=" + sealed, "/login?switch=1&flow=" + sealed} {
				if page := b.Get(path); page.Status != http.StatusOK || page.Location != nil {
					t.Errorf("%v: %s answered %d %v", extra, path, page.Status, page.Location)
				}
			}
			if a := b.Get("/oauth/consent?flow=" + sealed); a.Location == nil || a.Location.Path != "/login" {
				t.Errorf("%v: consent came without signing in: %d", extra, a.Status)
			}
			if a := b.PostForm("/oauth/consent", url.Values{
				"flow":     {sealed},
				"decision": {"approve"},
				"scope":    {"read"},
			}); a.Location == nil || a.Location.Path != "/login" {
				t.Errorf("%v: an answer came without signing in: %d", extra, a.Status)
			}
			// A new sign-in in the same browser counts, since it is the same user at that time.
			wrong := b.Form(b.Get("/login?flow="+sealed), "/login")
			wrong.Set("email", r.Alice.Email)
			wrong.Set("password", "wrong")
			wantPage(t, b.PostForm("/login", wrong), http.StatusUnauthorized)
			before := cookie(b, "doorward")
			done := b.LogIn(b.Get("/login?flow="+sealed), r.Alice.Email)
			if strings.Contains(strings.Join(extra, " "), "consent") {
				wantConsent(t, done)
				done = b.Decide(b.Follow(done), "approve")
			}
			wantCodeNow(strings.Join(extra, " "), done)
			if cookie(b, "doorward") == before {
				t.Errorf("%v: signing in again kept the cookie", extra)
			}
			tok := r.Exchange(app, done.Param("code"))
			info := r.Introspect(app, tok.Text("access_token")).JSON()
			if at, _ := info["auth_time"].(float64); int64(at) < r.Store.Now().Unix()-5 {
				t.Errorf("%v: auth_time %v is not that of the sign-in just now", extra, info["auth_time"])
			}
			r.Advance(10 * time.Minute)
		}
	})
	t.Run("a refresh keeps the time of the sign-in", func(t *testing.T) {
		tok := r.Exchange(app, b.Code(app, "read"))
		want := r.Introspect(app, tok.Text("access_token")).JSON()["auth_time"]
		r.Advance(10 * time.Minute)
		b.LogIn(b.Follow(ask("prompt", "login")), r.Alice.Email)
		next := r.Refresh(app, tok.Text("refresh_token"))
		if got := r.Introspect(app, next.Text("access_token")).JSON()["auth_time"]; got != want || want == nil {
			t.Errorf("auth_time %v became %v", want, got)
		}
	})
	t.Run("an ended session never signs the user in", func(t *testing.T) {
		b.PostForm("/logout", nil)
		wantLogin(t, ask())
		if a := ask("prompt", "none"); a.Param("error") != "login_required" {
			t.Errorf("prompt=none: %v", a.Location)
		}
	})
	t.Run("session ended between login and consent", func(t *testing.T) {
		b := r.Browser()
		page := b.Follow(b.LogIn(b.Authorize(app.Params("write")), r.Alice.Email))
		if _, err := r.Store.EndOtherSessions(r.System(), r.Alice.ID, ""); err != nil {
			t.Fatal(err)
		}
		if a := b.Decide(page, "approve"); a.Location == nil || a.Location.Path != "/login" {
			t.Errorf("answered %d %v", a.Status, a.Location)
		}
	})
}
