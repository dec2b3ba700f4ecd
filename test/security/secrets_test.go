package security

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/storage"
	"doorward/test/postgres"
	"doorward/test/rig"
	"doorward/test/stores"
)

// Every test with a rig checks its log for secrets when it ends (O-01). These tests go through everything, including
// every mistake that a client can make with a secret, at debug level, and also check the metrics and the database.

var clientID = regexp.MustCompile(`app_[0-9a-f-]{36}`)

// live does everything that a client can do, once correctly and once wrongly, and returns an access token that is still
// active. There must be no user before.
func live(t *testing.T, r *rig.Rig) (access string) {
	t.Helper()
	done := func(what string, a *rig.Answer, statuses ...int) *rig.Answer {
		t.Helper()
		for _, status := range statuses {
			if a.Status == status {
				return a
			}
		}
		t.Fatalf("%s: answered %d %s", what, a.Status, rig.Plain(a.Body))
		return nil
	}
	word, _, err := r.Identity.SetupToken(t.Context())
	ok(t, err)
	r.Seen.Add(rig.SecretWord, word)
	root := r.Browser()
	form := root.Form(root.Get("/setup?word="+word), "/setup")
	form.Set("email", "root@example.com")
	form.Set("name", "Root")
	form.Set("password", "a password for the root of it all")
	done("set-up with a wrong word", root.PostForm("/setup", with(form, "word", "wrongwordwrongwordwrongwordwrongword")),
		403)
	done("set-up", root.PostForm("/setup", form), 303)
	done("new user",
		root.PostForm("/admin/users", url.Values{
			"email":    {"alice@example.com"},
			"name":     {"Alice"},
			"password": {rig.Password},
		}), 303)
	done("new user with a bad password",
		root.PostForm("/admin/users", url.Values{
			"email":    {"carol@example.com"},
			"name":     {"Carol"},
			"password": {"Carol Carol Carol"},
		}), 400)
	if r.Alice, err = r.Store.UserByEmail(r.System(), "alice@example.com"); err != nil {
		t.Fatal(err)
	}

	alice := r.Browser()
	page := alice.Get("/login")
	form = alice.Form(page, "/login")
	for _, email := range []string{"alice@example.com", "unknown@example.com"} {
		done("a wrong password",
			alice.PostForm("/login", with(form, "email", email, "password", "not the password of Alice")), 401)
	}
	done("a password for a name",
		alice.PostForm("/login", with(form, "email", rig.Password, "password", "a name in the place of a password")), 401)
	done("login", alice.LogIn(page, "alice@example.com"), 303)

	// An app of Alice's, whose secret is shown once and rotated.
	made := done("app", alice.Submit("/settings/developer/apps", url.Values{
		"name":          {"Hers"},
		"kind":          {"web"},
		"redirect_uris": {"https://hers.example/cb"},
		"scope":         {"read"},
		"resource":      {r.Catalog.Resources()[0].ID},
		"refresh":       {"on"},
	}), 200)
	own := clientID.FindString(made.Body)
	done("secret", alice.Submit("/settings/developer/apps/"+own+"/secret", url.Values{"grace": {"1h"}}), 200)
	for _, path := range []string{
		"/settings/developer/apps/" + own, "/settings/developer/apps", "/settings/security", "/settings/profile",
		"/settings/connected-apps",
	} {
		done(path, alice.Get(path), 200)
	}

	app, api, machine := r.App(management.ClientSpec{}), r.ResourceServer(), robot(r)
	form = codeForm(app, alice.Code(app, "read write"))
	form.Set("code_verifier", "a-wrong-verifier-that-has-43-characters-000")
	done("a wrong verifier", r.PostAs(app, "/oauth/token", form), 400)
	form = codeForm(app, alice.Code(app, "read write"))
	_, refresh := granted(t, r.PostAs(app, "/oauth/token", form))
	_, next := granted(t, r.Refresh(app, refresh))
	granted(t, r.Refresh(app, refresh))
	done("a code again", r.PostAs(app, "/oauth/token", form), 400)
	_, refresh = granted(t, r.Exchange(app, alice.Code(app, "read")))
	granted(t, r.Refresh(app, refresh))
	r.Advance(time.Minute)
	done("a refresh token again", r.Refresh(app, refresh), 400)
	access, refresh = granted(t, r.Exchange(app, alice.Code(app, "read")))
	revoked, _ := granted(t, r.Exchange(app, alice.Code(app, "read")))
	done("revocation", r.PostAs(app, "/oauth/revoke", url.Values{"token": {revoked}}), 200)
	machines, _ := granted(t, r.PostAs(machine, "/oauth/token", ownForm))
	denied := alice.Authorize(altered(app.Params("read delete"), url.Values{"prompt": {"consent"}}))
	done("denial", alice.Decide(denied, "deny"), 303)

	// Keys, tokens and invitations, created in every possible way.
	w := r.Workspace("acme", "", r.Alice)
	slug := "/settings/workspaces/acme"
	_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
	_, introspects := r.IntrospectionKey()
	_, personal := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
	byAPI := done("key",
		r.CallJSON(http.MethodPost, "/v1/api-keys", admin, `{"name":"x","scopes":["read"]}`, "Idempotency-Key", "once"), 201)
	done("key again",
		r.CallJSON(http.MethodPost, "/v1/api-keys", admin, `{"name":"x","scopes":["read"]}`, "Idempotency-Key", "once"), 201)
	rotated := done("rotation",
		r.CallJSON(http.MethodPost, "/v1/api-keys/"+byAPI.Text("id")+"/rotate", admin, `{"grace":"1h"}`), 201)
	byToken := done("token",
		r.CallJSON(http.MethodPost, "/v1/personal-access-tokens", personal, `{"name":"x","scopes":["read"]}`), 201)
	invited := done("invitation",
		r.CallJSON(http.MethodPost, "/v1/workspaces/acme/invitations", personal,
			`{"email":"bob@example.com","role":"member"}`), 201)
	word = invited.Text("url")[strings.LastIndex(invited.Text("url"), "/")+1:]
	done("an invitation for another user", alice.Get("/join/"+word), 200, 403)
	done("secret",
		r.CallJSON(http.MethodPost, "/v1/apps/"+r.App(management.ClientSpec{WorkspaceID: w.ID}).ID+"/secret", admin, `{}`),
		200, 201)
	done("revocation", r.Post("/oauth/revoke", url.Values{"token": {byAPI.Text("key")}}), 200)
	done("revoked", r.Call(http.MethodGet, "/v1/auth/test", byAPI.Text("key")), 401)
	for _, path := range []string{
		"/v1/auth/test", "/v1/api-keys", "/v1/api-keys/" + rotated.Text("id"), "/v1/usage", "/v1/audit-events",
	} {
		done(path, r.Call(http.MethodGet, path, admin), 200)
	}
	for _, path := range []string{
		slug, slug + "/api-keys", slug + "/api-keys/" + rotated.Text("id"), slug + "/members", slug + "/usage",
		slug + "/audit", "/settings/developer/personal-access-tokens",
	} {
		done(path, alice.Get(path), 200)
	}
	ok(t, r.Store.FlushUsage(r.System()))

	// Secrets in wrong places, both active and made-up ones.
	others := []string{
		admin, introspects, personal, byAPI.Text("key"), rotated.Text("key"), byToken.Text("token"), word,
		access, refresh, next, revoked, machines, app.Secret, form.Get("code"),
		bearer.NewCredential(bearer.PrefixAccessToken), bearer.NewCredential(bearer.PrefixRefreshToken),
		bearer.NewCredential(bearer.PrefixCode), bearer.NewCredential(bearer.PrefixClientSecret),
		"sk_live_" + strings.Repeat("canary", 8), "pat_" + strings.Repeat("canary", 8), rig.Password,
	}
	for _, x := range others {
		r.Seen.Add("a secret out of place", x)
		escaped := url.QueryEscape(x)
		for _, caller := range []*rig.App{app, api} {
			r.Introspect(caller, x)
		}
		r.Introspect(app, x+"x")
		r.Post("/oauth/introspect", url.Values{"token": {x}}, "Authorization", "Bearer "+x)
		r.Post("/oauth/introspect", url.Values{"token": {x}}, "Authorization", x)
		r.Post("/oauth/token?access_token="+escaped, ownForm, "Authorization", rig.Basic(x, x))
		r.Post("/oauth/token", url.Values{"grant_type": {x}, "client_id": {x}, "client_secret": {x}})
		r.Post("/oauth/token", url.Values{
			"grant_type":    {"authorization_code"},
			"code":          {x},
			"client_id":     {x},
			"client_secret": {x},
			"code_verifier": {x},
			"redirect_uri":  {x},
			"scope":         {x},
			"resource":      {x},
		})
		r.Post("/oauth/token", url.Values{
			"grant_type":    {"refresh_token"},
			"refresh_token": {x},
			"client_id":     {app.ID},
			"client_secret": {x},
		})
		r.PostAs(app, "/oauth/token", url.Values{
			"grant_type": {"authorization_code"},
			"code":       {x},
			"scope":      {x},
			"resource":   {x},
		})
		r.PostAs(machine, "/oauth/token", with(ownForm, "scope", x))
		r.Post("/oauth/revoke", url.Values{"token": {x}, "token_type_hint": {x}, "client_id": {x}})
		postJSON(r, "/oauth/token",
			asJSON(t, url.Values{
				"grant_type":    {"refresh_token"},
				"refresh_token": {x},
				"client_id":     {app.ID},
				"client_secret": {x},
			}))
		postJSON(r, "/oauth/token", `{"refresh_token":"`+x+`",}`)
		r.CallJSON(http.MethodPost, "/v1/api-keys", admin,
			asJSON(t, url.Values{"name": {x}, "scopes": {x}, "note": {x}, x: {x}}), "Idempotency-Key", x, "X-Workspace", x)
		r.CallJSON(http.MethodPatch, "/v1/api-keys/"+url.PathEscape(x), x, `{"name":"`+x+`",}`)
		r.Ask(api, x, "workspace", x, "cost", x)
		for _, path := range []string{
			"/oauth/authorize?code=" + escaped + "&state=" + escaped + "&client_id=" + escaped,
			"/oauth/authorize?" + altered(app.Params("read"), url.Values{"state": {x}, "login_hint": {x}, "id_token_hint": {x}}).
				Encode(),
			"/oauth/authorize?" + altered(app.Params("read"), url.Values{"scope": {x}}).Encode(),
			"/oauth/authorize?" +
				altered(app.Params("read"), url.Values{"redirect_uri": {"https://app.example/cb?x=" + escaped}}).Encode(),
			"/login?flow=" + escaped, "/login?return_to=%2Fsettings%2Fprofile%3Fcode%3D" + escaped,
			"/oauth/consent?flow=" + escaped, "/setup?word=" + escaped, "/nothing/" + url.PathEscape(x),
			"/settings/developer/apps/" + url.PathEscape(x), "/assets/" + url.PathEscape(x), "/callback?code=" + escaped,
			"/v1/api-keys?search=" + escaped, "/v1/api-keys/" + url.PathEscape(x), "/v1/api-keys?cursor=" + escaped,
			"/v1/auth/test?access_token=" + escaped, "/join/" + url.PathEscape(x),
			slug + "/api-keys?q=" + escaped, slug + "/api-keys/" + url.PathEscape(x), slug + "/audit?after=" + escaped,
			"/settings/workspaces/" + url.PathEscape(x),
		} {
			for _, b := range []*rig.Browser{alice, r.Browser()} {
				b.Get(path, "Referer", r.URL+"/login?flow="+escaped, "Authorization", "Bearer "+x, "Cookie",
					"doorward="+x+"; flow-0="+x, "Origin", "https://app.example")
				b.Get(path, "Referer", "https://app.example/cb?code="+escaped+"&state="+escaped, "X-Api-Key", x)
			}
		}
		r.Send(r.Program(), r.Request("PROPFIND", "/?access_token="+escaped, nil, "Authorization", "Bearer "+x))
		alice.PostForm("/login", url.Values{"flow": {x}, "email": {x}, "password": {x}})
		alice.PostForm("/oauth/consent", url.Values{"flow": {x}, "token": {x}, "decision": {x}})
		alice.Confirm("/settings/security/sessions/"+url.PathEscape(x)+"/end", nil)
	}

	password := "another password for Alice's harbour"
	done("a wrong current password",
		alice.PostForm("/settings/security/password", url.Values{
			"current_password": {"not her password at all"},
			"new_password":     {password},
		}), 403)
	done("an invalid new password",
		alice.PostForm("/settings/security/password", url.Values{
			"current_password": {rig.Password},
			"new_password":     {"passwordpassword"},
		}), 400)
	done("a new password",
		alice.PostForm("/settings/security/password", url.Values{
			"current_password": {rig.Password},
			"new_password":     {password},
		}), 303)
	done("log-out", alice.PostForm("/logout", nil), 303)

	arm, fired := failing(r)
	for name, send := range map[string]func(){
		"token":      func() { r.PostAs(app, "/oauth/token", refreshForm(refresh)) },
		"introspect": func() { r.Introspect(api, access) },
		"login": func() {
			r.Browser().PostForm("/login", url.Values{"flow": {bearer.NewCredential(bearer.PrefixCode)}, "password": {password}})
		},
		"page": func() { root.Get("/settings/security?access_token=" + access) },
	} {
		arm(1)
		send()
		if !fired() {
			t.Fatalf("%s did not panic", name)
		}
	}
	r.Store.SetClock(func() time.Time { return time.Now().Add(time.Minute) })
	for _, kind := range []string{
		rig.SecretCode, rig.SecretAccess, rig.SecretRefresh, rig.SecretClient, rig.SecretCookie, rig.SecretFlow,
		rig.SecretForm, rig.SecretVerifier, rig.SecretPassword, rig.SecretWord, rig.SecretMaster,
		rig.SecretKey, rig.SecretPersonalToken, rig.SecretInvitation,
	} {
		if r.Seen.Kinds()[kind] == 0 {
			t.Errorf("no %s was seen, so that this test proves nothing about one", kind)
		}
	}
	if !r.Alive(api, access) {
		t.Error("the remaining access token is inactive")
	}
	return access
}

func TestO01_NeitherLogNorMetricsNorPanicsShowASecret(t *testing.T) {
	rig.Each(t, rig.Options{NoUser: true}, func(t *testing.T, r *rig.Rig) {
		access := live(t, r)
		r.BreakStorage()
		r.Post("/oauth/introspect", url.Values{"token": {access}}, "Authorization",
			rig.Basic(bearer.NewCredential(bearer.PrefixClientSecret), rig.Password))
		r.Browser().Get("/login?flow=" + access)
		families, err := r.Metrics.Gather()
		ok(t, err)
		text := fmt.Sprint(families)
		for _, found := range r.Seen.In(text) {
			t.Errorf("the metrics show %s", found)
		}
		if !strings.Contains(text, "doorward_http_requests_total") || !strings.Contains(r.Log.String(), `"stack"`) {
			t.Error("there are no metrics or no panics, so this test proves nothing")
		}
		// When the test ends, the rig checks the log.
	})
}

func TestS10_NoSecretIsStored(t *testing.T) {
	check := func(t *testing.T, r *rig.Rig, what, text string) {
		t.Helper()
		for _, found := range r.Seen.In(text) {
			t.Errorf("%s: %s", what, found)
		}
	}
	t.Run("sqlite", func(t *testing.T) {
		link := stores.SQLite(t)
		file := strings.TrimPrefix(link, "sqlite:")
		r := rig.New(t, stores.Open(t, link), rig.Options{NoUser: true})
		access := live(t, r)
		digest := string(storage.Digest(access))
		all := ""
		for _, suffix := range []string{"", "-wal", "-shm"} {
			text, err := os.ReadFile(file + suffix)
			ok(t, err)
			all += string(text)
			check(t, r, "doorward.db"+suffix, string(text))
		}
		if !strings.Contains(all, digest) {
			t.Error("not even the digest of the access token is there, so that this test proves nothing")
		}
		r.Store.Close()
		text, err := os.ReadFile(file)
		ok(t, err)
		check(t, r, "doorward.db after the end", string(text))
		if !bytes.Contains(text, []byte(digest)) {
			t.Error("what was in the log of SQLite is not in its file")
		}
		others, err := filepath.Glob(file + "*")
		ok(t, err)
		for _, name := range others {
			text, err := os.ReadFile(name)
			ok(t, err)
			check(t, r, filepath.Base(name), string(text))
		}
	})
	t.Run("postgresql", func(t *testing.T) {
		link := stores.PostgreSQL(t)
		dump, err := postgres.Binary("pg_dump")
		ok(t, err)
		r := rig.New(t, stores.Open(t, link), rig.Options{NoUser: true})
		access := live(t, r)
		ok(t, r.Store.FlushTouches(r.System()))
		cmd := program(t, dump, "--dbname="+link, "--inserts")
		text, err := cmd.Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("pg_dump: %v\n%s", err, exit.Stderr)
		}
		ok(t, err)
		check(t, r, "dump", string(text))
		if !bytes.Contains(text, []byte(hex.EncodeToString(storage.Digest(access)))) {
			t.Error("not even the digest of the access token is there, so that this test proves nothing")
		}
	})
}

// A digest from a dump of the database cannot be used as a credential.
func TestS10_WhatIsStoredOpensNothing(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		b := r.Browser().SignIn(r.Alice.Email)
		code := b.Code(app, "read")
		access, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
		for kind, secret := range map[string]string{
			"access":  access,
			"refresh": refresh,
			"code":    code,
			"secret":  app.Secret,
			"cookie":  cookie(b, "doorward"),
		} {
			digest := storage.Digest(secret)
			for _, text := range []string{
				hex.EncodeToString(digest), string(digest), `\x` + hex.EncodeToString(digest),
				bearer.PrefixAccessToken + hex.EncodeToString(digest),
			} {
				for _, caller := range []*rig.App{app, api} {
					wantInactive(t, kind, r.Introspect(caller, text))
				}
				if a := r.PostAs(app, "/oauth/token", codeForm(app, text)); a.Status < 400 {
					t.Errorf("the digest of the %s was redeemed", kind)
				}
				if a := r.Refresh(app, text); a.Status < 400 {
					t.Errorf("the digest of the %s was refreshed", kind)
				}
				if a := r.PostAs(&rig.App{Client: app.Client, Secret: text}, "/oauth/introspect",
					url.Values{"token": {access}}); a.Status < 400 {
					t.Errorf("the digest of the %s authenticates", kind)
				}
				if a := r.Send(r.Program(),
					r.Request(http.MethodGet, "/settings/profile", nil, "Cookie", "doorward="+url.QueryEscape(text))); a.Status !=
					http.StatusSeeOther {
					t.Errorf("the digest of the %s signs in", kind)
				}
			}
		}
	})
}

func TestO01_ProcessThatCannotStartShowsNoPassword(t *testing.T) {
	const canary = "canary-password-0123456789"
	for name, link := range map[string]string{
		"no server listens":   "postgres://doorward:" + canary + "@127.0.0.1:1/doorward",
		"a bad port":          "postgres://doorward:" + canary + "@127.0.0.1:x/doorward",
		"a bad escape":        "postgres://doorward:" + canary + "%zz@127.0.0.1/doorward",
		"a bad option":        "postgres://doorward:" + canary + "@127.0.0.1/doorward?sslmode=" + canary,
		"a space":             "postgres://doorward:" + canary + " @127.0.0.1/doorward",
		"another engine":      "mysql://doorward:" + canary + "@127.0.0.1/doorward",
		"words":               "host=127.0.0.1 password=" + canary,
		"no host":             "postgres://doorward:" + canary + "@/doorward?host=/nowhere",
		"an IPv6 address cut": "postgres://doorward:" + canary + "@[::1/doorward",
	} {
		for _, command := range [][]string{{"serve"}, {"check"}, {"migrate"}, {"user", "list"}} {
			p := &process{t: t, folder: t.TempDir(), env: []string{"DOORWARD_DATABASE_URL=" + link}}
			out, err := p.doorward(command...).CombinedOutput()
			if err == nil {
				t.Errorf("%s: %v works", name, command)
			}
			if bytes.Contains(out, []byte(canary)) || len(out) == 0 {
				t.Errorf("%s: %v says %s", name, command, out)
			}
		}
	}
}
