package security

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/bearer"
	"doorward/test/rig"
	"doorward/test/setup"
)

// hostile are texts that SQL, LIKE, a template or a C string could misread.
var hostile = []string{
	"'", `"`, "''", "--", ";", "/*", "'; DELETE FROM users; --", "' OR '1'='1", "') OR ('1'='1",
	"x' UNION SELECT password_hash FROM users --", "$1", "$$", "?", ":1", "@p1", "{{.}}", "%s%n", `\`, `\'`,
	"%", "_", "%%", "a%", "pg_sleep(5)", "'||pg_sleep(5)||'", "1; SELECT pg_sleep(5)", "randomblob(1e9)", "NULL", "null",
	"true", "-1", "1e309", "\x01", "\x00", "\xff", "\u202e", "\ufeff", "é", "e\u0301", "😀", "\r\nX: y",
	"../../etc/passwd", "<script>", "[]", "{}", strings.Repeat("'", 5000),
}

// driverSpeaks matches messages of a database or its driver; no input contains them.
var driverSpeaks = regexp.MustCompile(
	`(?i)\bsqlstate|syntax error|\bsqlite|near "|relation "|column "|unterminated|\.go:`)

func TestS01_NoInputReachesSQL(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		machine := robot(r)
		root := r.User("root@example.com", "Root", true)
		admin := r.Browser().SignIn(root.Email)
		b := r.Browser().SignIn(r.Alice.Email)
		loginForm := func() (*rig.Browser, url.Values) {
			b := r.Browser()
			return b, b.Form(b.Get("/login"), "/login")
		}
		// Passwords appear in no log, so none of them is also used as a client id or redirect URI.
		password := func(x string) string { return "'p" + x + "p'" }
		typed := func(field, x string) string {
			if field == "password" || field == "code_verifier" {
				return password(x)
			}
			return x
		}
		check := func(what, x string, a *rig.Answer) {
			t.Helper()
			if a.Status >= 500 || a.Status == 0 {
				t.Errorf("%s %q: answered %d %s", what, x, a.Status, rig.Plain(a.Body))
			}
			if driverSpeaks.MatchString(rig.Plain(a.Body)) {
				t.Errorf("%s %q: says %s", what, x, rig.Plain(a.Body))
			}
		}
		// Each text goes into each field. Different ways to the same statement, such as the caller and the grant at the token
		// endpoint, take turns: over all texts, each field is tried in each way.
		type way func(form url.Values) *rig.Answer
		callers := []way{
			func(form url.Values) *rig.Answer { return r.PostAs(app, "/oauth/token", form) },
			func(form url.Values) *rig.Answer { return r.PostAs(machine, "/oauth/token", form) },
			func(form url.Values) *rig.Answer { return r.Post("/oauth/token", form) },
			func(form url.Values) *rig.Answer { return postJSON(r, "/oauth/token", asJSON(t, form)) },
		}
		for i, x := range hostile {
			path := url.PathEscape(x)
			for name := range app.Params("read") {
				changed := altered(app.Params("read"), url.Values{name: {x}})
				if i%2 == 0 {
					check("authorize "+name, x, ask(b, changed))
				} else {
					check("authorize by POST "+name, x, b.PostForm("/oauth/authorize", changed))
				}
			}
			for _, name := range []string{
				"prompt", "max_age", "resource", "response_mode", "login_hint", "nonce", "ui_locales", x,
			} {
				check("authorize "+name, x, ask(b, altered(app.Params("read"), url.Values{name: {x}})))
			}
			forms := []url.Values{{"grant_type": {"authorization_code"}, "code": {"x"}}, refreshForm("x"), ownForm}
			for _, name := range []string{
				"grant_type", "code", "redirect_uri", "code_verifier", "client_id", "client_secret", "scope",
				"resource", "refresh_token", x,
			} {
				for j, form := range forms {
					check("token "+name, x, callers[(i+j)%len(callers)](with(form, name, typed(name, x))))
				}
			}
			check("Basic", x, r.Post("/oauth/token", ownForm, "Authorization", rig.Basic(x, x)))
			for _, endpoint := range []string{"/oauth/introspect", "/oauth/revoke"} {
				for _, caller := range []*rig.App{app, api} {
					check(endpoint, x, r.PostAs(caller, endpoint, url.Values{"token": {x}, "token_type_hint": {x}}))
					check(endpoint, x, r.PostAs(caller, endpoint, url.Values{"token": {bearer.PrefixAccessToken + x}}))
				}
			}
			check("origin", x,
				r.Send(r.Program(),
					r.Request(http.MethodOptions, "/oauth/token", nil, "Origin", "https://"+path, "Access-Control-Request-Method",
						"POST")))
			guest, form := loginForm()
			check("login", x, guest.PostForm("/login", with(form, "email", x, "password", password(x))))
			check("login", x, guest.PostForm("/login", with(form, "email", x+"@example.com", "password", password(x))))
			check("flow", x, guest.PostForm("/login", with(form, "flow", x)))
			for _, target := range []string{
				"/login?flow=", "/login?return_to=", "/oauth/consent?flow=", "/setup?word=", "/admin/users?q=",
				"/admin/users?after=", "/admin/apps?q=", "/admin/apps?after=", "/nothing?x=",
			} {
				check(target, x, admin.Get(target+url.QueryEscape(x)))
			}
			check("cookie", x,
				r.Send(r.Program(),
					r.Request(http.MethodGet, "/settings/profile", nil, "Cookie",
						"doorward="+path+"; flow-0="+path+"; doorward-device="+path)))
			for _, target := range []string{"/settings/developer/apps/", "/admin/apps/", "/assets/", "/"} {
				check(target, x, admin.Get(target+path))
			}
			for _, target := range []string{
				"/settings/security/sessions/" + path + "/end", "/settings/connected-apps/" + path + "/end",
				"/settings/developer/apps/" + path, "/settings/developer/apps/" + path + "/secret",
				"/settings/developer/apps/" + path + "/delete",
				"/admin/users/" + path + "/enable", "/admin/apps/" + path + "/verify",
			} {
				check(target, x, admin.PostForm(target, url.Values{"grace": {x}, "confirm": {x}, "name": {x}}))
			}
			check("name", x, b.PostForm("/settings/profile", url.Values{"name": {x}}))
			check("password", x,
				b.PostForm("/settings/security/password", url.Values{
					"current_password": {rig.Password},
					"new_password":     {password(x)},
				}))
			check("app", x,
				b.Submit("/settings/developer/apps", url.Values{
					"name":          {x},
					"kind":          {"web"},
					"site":          {x},
					"redirect_uris": {"https://x.example/" + path},
					"scope":         {"read"},
					"resource":      {r.Issuer},
				}))
			for _, name := range []string{"kind", "redirect_uris", "scope", "resource", "site", "refresh", "password"} {
				check("app "+name, x,
					b.Submit("/settings/developer/apps",
						with(url.Values{
							"name":          {"x"},
							"kind":          {"web"},
							"redirect_uris": {"https://x.example/cb"},
							"scope":         {"read"},
							"resource":      {r.Issuer},
						}, name, typed(name, x))))
			}
			for _, name := range []string{"email", "name", "password"} {
				check("user "+name, x,
					admin.PostForm("/admin/users",
						with(url.Values{"email": {"x"}, "name": {"X"}, "password": {"x"}}, name, typed(name, x))))
			}
			page := b.Authorize(altered(app.Params("read write"), url.Values{"prompt": {"consent"}}))
			for _, name := range []string{"flow", "token", "scope", "workspace", "decision"} {
				check("consent "+name, x, b.Decide(page, "approve", func(v url.Values) { v.Set(name, x) }))
			}
		}
		// Every user still has their own name and address.
		if u, err := r.Store.UserByEmail(r.System(), r.Alice.Email); err != nil || u.ID != r.Alice.ID || u.Admin {
			t.Errorf("Alice is %v, %v", u, err)
		}
		if n, err := r.Store.CountUsers(r.System()); err != nil || n != 2 {
			t.Errorf("%d users, error %v", n, err)
		}
		// A wildcard is an ordinary character.
		for _, q := range []string{"%", "_", "a%e", "alice_example.com", "%@%", `\`, "*", "?"} {
			if text := admin.Get("/admin/users?q=" + url.QueryEscape(q)).Body; strings.Contains(text, r.Alice.Email) {
				t.Errorf("a search for %q finds Alice", q)
			}
		}
		if text := admin.Get("/admin/users?q=ALICE").Body; !strings.Contains(text, r.Alice.Email) {
			t.Error("a search for her name does not find Alice")
		}
	})
}

// Clean-up keeps what T-01 and T-20 need to recognise a code or refresh token that is used again.
func TestS11_ReplayAfterCleanUpStillRevokesTheFamily(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		clean := func() {
			t.Helper()
			_, err := r.Store.Purge(r.System(), r.OAuth.Retention())
			ok(t, err)
		}
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		for name, replay := range map[string]func(code, first string) *rig.Answer{
			"code":          func(code, _ string) *rig.Answer { return r.Exchange(app, code) },
			"refresh token": func(_, first string) *rig.Answer { return r.Refresh(app, first) },
		} {
			t.Run(name, func(t *testing.T) {
				b := r.Browser().SignIn(r.Alice.Email)
				code := b.Code(app, "read")
				_, first := granted(t, r.Exchange(app, code))
				newest, access := first, ""
				// The app refreshes every five days; used and expired tokens stay for as long as the family is active.
				for range 5 {
					r.Advance(5 * 24 * time.Hour)
					clean()
					access, newest = granted(t, r.Refresh(app, newest))
				}
				if !r.Alive(api, access) {
					t.Fatal("the access token is not active before")
				}
				refused(t, replay(code, first), http.StatusBadRequest, oauth.InvalidGrant)
				dead(t, r, app, api, access, newest)
				clean()
				dead(t, r, app, api, access, newest)
			})
		}
		t.Run("decision", func(t *testing.T) {
			b := r.Browser().SignIn(r.Alice.Email)
			page := b.Authorize(altered(app.Params("read"), url.Values{"prompt": {"consent"}}))
			b.Decide(page, "approve")
			r.Advance(9*time.Minute + 59*time.Second)
			clean()
			if a := b.Decide(page, "approve"); a.Location != nil || a.Status < 400 {
				t.Errorf("a decision counts again after clean-up: %d", a.Status)
			}
			r.Advance(time.Minute)
			clean()
			if a := b.Decide(page, "approve"); a.Location != nil || a.Status < 400 {
				t.Errorf("a decision counts again after its flow: %d", a.Status)
			}
		})
	})
}

func TestS12_FilesOfTheServerAreClosedToOthers(t *testing.T) {
	path := setup.Doorward(t)
	p := &process{t: t, folder: t.TempDir(), log: &rig.Log{}}
	// The most permissive umask that a shell can set.
	wrapper := filepath.Join(p.folder, "generous")
	ok(t, os.WriteFile(wrapper, []byte("#!/bin/sh\numask 0\nexec \""+path+"\" \"$@\"\n"), 0o700))
	p.binary = wrapper
	p.env = []string{"PATH=" + os.Getenv("PATH")}
	p.start()
	p.run(rig.Password+"\n", "user", "create", "--email", "alice@example.com", "--password-stdin")
	seen := map[string]bool{}
	ok(t, filepath.WalkDir(filepath.Join(p.folder, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		seen[d.Name()] = true
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %v", d.Name(), info.Mode())
		}
		return nil
	}))
	for _, name := range []string{"data", "doorward.db", "doorward.db-wal", "doorward.db-shm", "secret"} {
		if !seen[name] {
			t.Errorf("%s does not exist", name)
		}
	}
}

// A second server may share the same file safely: what the first acknowledged is valid on the second, and only one of
// them redeems a code.
func TestS12_TwoServersOnOneFileAgree(t *testing.T) {
	one := startProcess(t)
	two := &process{t: t, folder: one.folder, env: one.env, log: &rig.Log{}}
	two.start()
	id, secret := one.register("--name", "Robot", "--grant", "client_credentials", "--scope", "read")
	ask := func(p *process, path, form string) *rig.Answer {
		e := p.send(
			fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: "+
				"application/x-www-form-urlencoded\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s", path,
				rig.Basic(id, secret), len(form), form))
		if len(e.answers) != 1 {
			t.Fatalf("answered %v", e.statuses())
		}
		return e.answers[0]
	}
	active := func(p *process, token string) bool {
		return bytes.Contains([]byte(ask(p, "/oauth/introspect", "token="+token).Body), []byte(`"active":true`))
	}
	for range 50 {
		token := ask(one, "/oauth/token", "grant_type=client_credentials").Text("access_token")
		if token == "" || !active(two, token) {
			t.Fatalf("the token %q is not active at the other server", token)
		}
		if a := ask(two, "/oauth/revoke", "token="+token); a.Status != http.StatusOK || active(one, token) {
			t.Fatalf("revocation answered %d, and the token is active at the other server", a.Status)
		}
	}
	statuses := make([]int, 64)
	rig.AtOnce(len(statuses), func(i int) {
		statuses[i] = ask([]*process{one, two}[i%2], "/oauth/token", "grant_type=client_credentials").Status
	})
	for _, status := range statuses {
		if status != http.StatusOK && status != http.StatusServiceUnavailable {
			t.Errorf("two servers that write at once answer %d", status)
		}
	}
	ok(t, two.cmd.Process.Signal(syscall.SIGTERM))
	if a := ask(one, "/oauth/token", "grant_type=client_credentials"); a.Status != http.StatusOK {
		t.Errorf("after the other has ended: %d", a.Status)
	}
}
