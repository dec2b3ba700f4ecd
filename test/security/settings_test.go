package security

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
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
	r := rig.Memory(t, rig.Options{})
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
				t.Fatal("it was created without the password")
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
			t.Error("a secret was created")
		}
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
