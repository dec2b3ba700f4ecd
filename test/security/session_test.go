package security

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"doorward/management"
	"doorward/oauth/identity"
	"doorward/oauth/limit"
	"doorward/test/rig"
	"doorward/web"
)

func TestG19_SignInLeadsNowhereElse(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	signedIn := r.Browser().SignIn(r.Alice.Email)
	const start = "/settings/profile"
	for _, to := range []string{
		"//evil.example", "///evil.example", "https:evil.example", "https://evil.example", "http:///evil.example",
		`/\evil.example`, `\/evil.example`, `\\evil.example`, "/%09/evil.example", "/\t/evil.example",
		"/ /evil.example", "javascript:alert(1)", " javascript:alert(1)", "data:text/html,x",
		"https://" + strings.TrimPrefix(r.Issuer, "http://") + "@evil.example", r.Issuer + "@evil.example",
		r.Issuer + ".evil.example", r.Issuer + "/settings/security", "/settings/profile\r\nLocation: https://evil.example",
		"/settings/\r\nSet-Cookie: a=b", "/%0d%0aLocation:https://evil.example", "/settings/..//evil.example",
		"/settings/../../evil.example",
		"/settings//evil.example", "/settings/%2e%2e/logout", "/settings/./x", "evil.example", "settings/profile", "?x", "#x",
		"", ".", "..", "/..", "/.//evil.example", "/;//evil.example",
		"/oauth/authorize?client_id=x", "/logout", "/login?return_to=//evil.example", "/setup", "/oauth/consent?flow=x",
		"/assets/../evil.example", "/\u2215evil.example", "／／evil.example", "/settings/\x00", "/settings/\xff",
		"/" + strings.Repeat("x", 3000), "/settings/" + strings.Repeat("x", 3000),
	} {
		b := r.Browser()
		page := b.Get("/login?return_to=" + url.QueryEscape(to))
		if a := b.LogIn(page, r.Alice.Email); a.Status != http.StatusSeeOther || a.Header.Get("Location") != start ||
			len(a.Header.Values("Location")) != 1 || a.Header.Get("A") != "" {
			t.Errorf("return_to=%q: signing in leads to %d %q", to, a.Status, a.Header.Get("Location"))
		}
		if a := signedIn.Get("/login?return_to=" + url.QueryEscape(to)); a.Header.Get("Location") != start {
			t.Errorf("return_to=%q: with a session login leads to %d %q", to, a.Status, a.Header.Get("Location"))
		}
	}
	for _, to := range []string{
		"/settings/security", "/settings/connected-apps", "/admin/users?q=a&after=b", "/settings/developer/apps/new", "/",
	} {
		b := r.Browser()
		if a := b.LogIn(b.Get("/login?return_to="+url.QueryEscape(to)), r.Alice.Email); a.Header.Get("Location") != to {
			t.Errorf("return_to=%q: signing in leads to %q", to, a.Header.Get("Location"))
		}
	}
	t.Run("a form from an evil page names no way back", func(t *testing.T) {
		for _, referer := range []string{
			"https://evil.example//evil.example/x", "https://evil.example/settings/%2f%2fevil.example", "javascript:alert(1)",
		} {
			a := r.Browser().PostForm("/settings/profile", nil, "Referer", referer)
			if a.Status != http.StatusUnauthorized || strings.Contains(a.Body, "evil.example") {
				t.Errorf("answered %d %s", a.Status, a.Body)
			}
		}
	})
}

func TestG20_Cookies(t *testing.T) {
	for _, issuer := range []string{"https://auth.example.com", ""} {
		t.Run("issuer "+issuer, func(t *testing.T) {
			r := rig.Memory(t, rig.Options{Issuer: issuer})
			secure, prefix := issuer != "", ""
			if secure {
				prefix = "__Host-"
			}
			app := r.App(management.ClientSpec{})
			jar := map[string]*http.Cookie{}
			send := func(method, path string, form url.Values) *rig.Answer {
				q := r.Request(method, path, strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded",
					"Sec-Fetch-Site", "same-origin")
				for _, c := range jar {
					q.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
				}
				a := r.Send(r.Program(), q)
				for _, c := range a.Cookies {
					if c.MaxAge < 0 {
						delete(jar, c.Name)
					} else {
						jar[c.Name] = c
					}
					if c.Secure != secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" ||
						!strings.HasPrefix(c.Name, prefix) {
						t.Errorf("cookie %s", c.Raw)
					}
					for _, told := range []string{r.Alice.ID, r.Alice.Email, "alice", app.ID} {
						if strings.Contains(strings.ToLower(c.Value), told) {
							t.Errorf("cookie %s tells %s", c.Name, told)
						}
					}
				}
				return a
			}
			b := r.Browser() // only loads forms
			a := send(http.MethodGet, "/oauth/authorize?"+app.Params("read").Encode(), nil)
			if c := jar[prefix+"flow-0"]; c == nil || len(c.Value) != 43 || c.MaxAge != 600 {
				t.Errorf("cookies of a flow: %v", jar)
			}
			form := b.Form(send(http.MethodGet, a.Location.RequestURI(), nil), "/login")
			form.Set("email", r.Alice.Email)
			form.Set("password", rig.Password)
			a = send(http.MethodPost, "/login", form)
			if c := jar[prefix+"doorward"]; c == nil || len(c.Value) != 43 || c.MaxAge != 14*24*3600 {
				t.Errorf("cookies of a session: %v", jar)
			}
			if c := jar[prefix+"doorward-device"]; c == nil || c.MaxAge != 90*24*3600 {
				t.Errorf("cookies of a device: %v", jar)
			}
			if c := jar[prefix+"doorward-known"]; c == nil || c.MaxAge != 400*24*3600 {
				t.Errorf("cookies of a known browser: %v", jar)
			}
			if len(jar) != 4 {
				t.Errorf("%d cookies: %v", len(jar), jar)
			}
			form = b.Form(send(http.MethodGet, a.Location.RequestURI(), nil), "/oauth/consent")
			form.Set("decision", "approve")
			if a = send(http.MethodPost, "/oauth/consent", form); a.Param("code") == "" {
				t.Fatalf("no code: %d", a.Status)
			}
			if _, ok := jar[prefix+"flow-0"]; ok {
				t.Error("the flow's cookie stays after the answer")
			}
			send(http.MethodPost, "/logout", nil)
			if _, ok := jar[prefix+"doorward"]; ok {
				t.Error("the session's cookie stays after signing out")
			}
		})
	}
}

func TestG20_CookieWithoutThePrefixCountsForNothing(t *testing.T) {
	r := rig.Memory(t, rig.Options{Issuer: "https://auth.example.com"})
	b := r.Browser()
	login := b.Get("/login")
	var flow string
	for _, c := range login.Cookies {
		flow = c.Name + "=" + c.Value
	}
	form := b.Form(login, "/login")
	form.Set("email", r.Alice.Email)
	form.Set("password", rig.Password)
	post := func(cookies string) *rig.Answer {
		return r.Post("/login", form, "Cookie", cookies, "Sec-Fetch-Site", "same-origin")
	}
	wantPage(t, post(strings.TrimPrefix(flow, "__Host-")), http.StatusForbidden)
	var session string
	for _, c := range post(flow).Cookies {
		if c.Name == "__Host-doorward" {
			session = c.Value
		}
	}
	for name, want := range map[string]int{
		"__Host-doorward":   http.StatusOK,
		"doorward":          http.StatusSeeOther,
		"__Secure-doorward": http.StatusSeeOther,
		"__host-doorward":   http.StatusSeeOther,
	} {
		a := r.Send(r.Program(), r.Request(http.MethodGet, "/settings/profile", nil, "Cookie", name+"="+session))
		if a.Status != want {
			t.Errorf("with cookie %s the profile answered %d", name, a.Status)
		}
	}
}

func TestG33_ALinkToSignOutAsksAndLeadsNowhereElse(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	for _, hint := range []string{"", "x", "eyJhbGciOiJub25lIn0.e30."} {
		for _, to := range []string{"", "https://evil.example/", app.Redirect, app.Redirect + "/more", "//evil.example"} {
			b := r.Browser().SignIn(r.Alice.Email)
			query := "/logout?" + url.Values{
				"id_token_hint": {hint}, "post_logout_redirect_uri": {to}, "client_id": {app.ID}, "state": {"s"},
			}.Encode()
			page := b.Get(query)
			wantPage(t, page, http.StatusOK)
			if strings.Contains(page.Body, "evil.example") || signedInAs(b) != r.Alice.Email {
				t.Errorf("%s signs out, or names %s", query, to)
			}
			a := b.PostForm(query, b.Form(page, "/logout"))
			if a.Status != http.StatusSeeOther || a.Location.String() != "/login" || signedInAs(b) != "" {
				t.Errorf("signing out at %s leads to %v", query, a.Location)
			}
		}
	}
}

func TestG21_EndedSessionIsEndedOnEveryNode(t *testing.T) {
	twoNodes(t, rig.Options{}, func(t *testing.T, one, two *rig.Rig) {
		root := one.User("root@example.com", "Root", true)
		admin := one.Browser().SignIn(root.Email)
		const changed = "an entirely other harbour"
		for name, end := range map[string]func(t *testing.T, b, other *rig.Browser) (alive *rig.Browser){
			"sign-out": func(_ *testing.T, b, other *rig.Browser) *rig.Browser { other.PostForm("/logout", nil); return b },
			"signed out from elsewhere": func(t *testing.T, b, other *rig.Browser) *rig.Browser {
				page := b.Get("/settings/security")
				_, rest, _ := strings.Cut(page.Body, `action="/settings/security/sessions/session_`)
				id, _, _ := strings.Cut(rest, "/")
				if a := b.Confirm("/settings/security/sessions/session_"+id+"/end", nil); a.Status != http.StatusSeeOther {
					t.Fatalf("ending a session answered %d", a.Status)
				}
				return b
			},
			"sign out everywhere else": func(_ *testing.T, b, _ *rig.Browser) *rig.Browser {
				b.Confirm("/settings/security/sessions/end-others", nil)
				return b
			},
			"change of password": func(t *testing.T, b, _ *rig.Browser) *rig.Browser {
				a := b.PostForm("/settings/security/password", url.Values{
					"current_password": {rig.Password},
					"new_password":     {changed},
				})
				if a.Status != http.StatusSeeOther {
					t.Fatalf("change of password answered %d %s", a.Status, rig.Plain(a.Body))
				}
				return b
			},
			"password set by the command": func(t *testing.T, _, _ *rig.Browser) *rig.Browser {
				u, err := one.Store.UserByEmail(one.System(), "carol@example.com")
				if err != nil {
					t.Fatal(err)
				}
				options := identity.SignOutOptions{Apps: true}
				if _, err := one.Identity.SetPassword(one.System(), u.ID, changed, options); err != nil {
					t.Fatal(err)
				}
				return nil
			},
			"disabled by an administrator": func(t *testing.T, _, _ *rig.Browser) *rig.Browser {
				u, err := one.Store.UserByEmail(one.System(), "carol@example.com")
				if err != nil {
					t.Fatal(err)
				}
				if a := admin.Confirm("/admin/users/"+u.ID+"/disable", nil); a.Status != http.StatusSeeOther {
					t.Fatalf("disable answered %d", a.Status)
				}
				return nil
			},
			"deleted": func(t *testing.T, _, _ *rig.Browser) *rig.Browser {
				u, err := one.Store.UserByEmail(one.System(), "carol@example.com")
				if err != nil {
					t.Fatal(err)
				}
				if err := one.Identity.DeleteUser(one.System(), u.ID); err != nil {
					t.Fatal(err)
				}
				return nil
			},
		} {
			t.Run(name, func(t *testing.T) {
				carol := one.User("carol@example.com", "Carol", false)
				b, other := one.Browser().SignIn(carol.Email), one.Browser().SignIn(carol.Email)
				before := []string{cookie(b, "doorward"), cookie(other, "doorward")}
				if signedIn(two, before[0]) != carol.Email || signedIn(two, before[1]) != carol.Email {
					t.Fatal("the other node does not know the sessions")
				}
				alive := end(t, b, other)
				keep := ""
				if alive != nil {
					keep = cookie(alive, "doorward")
				}
				for _, node := range []*rig.Rig{one, two} {
					for i, old := range before {
						if got := signedIn(node, old); (got != "") != (old == keep) {
							t.Errorf("session %d after it: signed in as %q", i, got)
						}
					}
					if alive != nil && signedIn(node, keep) != carol.Email {
						t.Error("the browser that did it is signed out")
					}
					// A form that would change something is refused too.
					if a := node.Send(node.Program(), node.Request(http.MethodPost, "/settings/profile", strings.NewReader("name=Eve"),
						"Content-Type", "application/x-www-form-urlencoded", "Cookie", "doorward="+before[1])); before[1] != keep &&
						a.Status != http.StatusUnauthorized {
						t.Errorf("a form of the ended session answered %d", a.Status)
					}
				}
				if name == "disabled by an administrator" {
					if a := admin.PostForm("/admin/users/"+carol.ID+"/enable", nil); a.Status != http.StatusSeeOther {
						t.Fatalf("enable answered %d", a.Status)
					}
					if signedIn(one, before[0]) != "" {
						t.Error("enabling brought a session back")
					}
				}
				if err := one.Identity.DeleteUser(one.System(), carol.ID); err != nil && name != "deleted" {
					t.Fatal(err)
				}
			})
		}
	})
}

// interrupted runs a function right after a password was found correct and before the answer.
type interrupted struct {
	identity.Throttle
	then func()
}

func (i *interrupted) Succeed(account string, address netip.Addr, knownDevice bool) {
	i.Throttle.Succeed(account, address, knownDevice)
	i.then()
}

func TestG21_SignInUnderWayDoesNotOutliveANewPassword(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		hook := &interrupted{limit.NewSignIns(func() time.Time { return r.Store.Now().Time() }), func() {}}
		own := identity.New(identity.Config{Store: r.Store, Throttle: hook, Issuer: r.Issuer})
		var err error
		if r.Web, err = web.New(web.Config{
			Issuer:     r.Issuer,
			Store:      r.Store,
			OAuth:      r.OAuth,
			Catalog:    r.Catalog,
			Bearer:     r.Bearer,
			Management: r.Management,
			APIKeys:    r.APIKeys,
			Identity:   own,
			Secrets:    r.Secrets,
			Log:        slog.New(slog.DiscardHandler),
			Metrics:    prometheus.NewRegistry(),
		}); err != nil {
			t.Fatal(err)
		}
		for name, then := range map[string]func(id string) error{
			"password set": func(id string) error {
				_, err := r.Identity.SetPassword(r.System(), id, "an entirely other harbour", identity.SignOutOptions{})
				return err
			},
			"disabled": func(id string) error { return r.Identity.DisableUser(r.System(), id) },
		} {
			for _, way := range []string{"sign-in", "step-up"} {
				t.Run(name+" during "+way, func(t *testing.T) {
					u := r.User("carol@example.com", "Carol", false)
					hook.then = func() {}
					b := r.Browser()
					if way == "step-up" {
						b.SignIn(u.Email)
						r.Advance(6 * time.Minute)
					}
					hook.then = func() {
						if err := then(u.ID); err != nil {
							t.Error(err)
						}
					}
					before := cookie(b, "doorward")
					if way == "step-up" {
						wantPage(t, makeApp(b, "password", rig.Password), http.StatusForbidden)
					} else {
						wantPage(t, attempt(b, u.Email, rig.Password), http.StatusForbidden)
					}
					if err := r.Identity.EnableUser(r.System(), u.ID); err != nil {
						t.Fatal(err)
					}
					for _, value := range []string{before, cookie(b, "doorward")} {
						if signedIn(r, value) != "" {
							t.Error("a session that was started with an invalidated password is active")
						}
					}
					if list, err := r.Store.SessionsOf(r.System(), u.ID, time.Hour); err != nil || len(list) > 0 {
						t.Errorf("%d sessions are left, %v", len(list), err)
					}
					if err := r.Identity.DeleteUser(r.System(), u.ID); err != nil {
						t.Fatal(err)
					}
				})
			}
		}
	})
}

func TestG22_CookieThatOpensNothing(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		good := cookie(r.Browser().SignIn(r.Alice.Email), "doorward")
		app := r.App(management.ClientSpec{})
		sessions, err := r.Store.SessionsOf(r.System(), r.Alice.ID, time.Hour)
		if err != nil || len(sessions) != 1 {
			t.Fatalf("%d sessions, %v", len(sessions), err)
		}
		other := "A"
		if good[0] == 'A' {
			other = "B"
		}
		for name, value := range map[string]string{
			"empty":                   "",
			"forged":                  strings.Repeat("A", 43),
			"cut":                     good[:42],
			"longer":                  good + "A",
			"another first character": other + good[1:],
			"other case": strings.Map(func(r rune) rune {
				if r >= 'a' && r <= 'z' {
					return r - 32
				}
				return r
			}, good),
			"8 kB":           strings.Repeat("A", 8<<10),
			"padded":         good + "=",
			"the row's id":   sessions[0].ID,
			"its user's id":  r.Alice.ID,
			"its digest":     fmt.Sprintf("%x", sessions[0].Digest),
			"gob of gorilla": "MTcwMDAwMDAwMHxEdi1CQkFFQ180SUFBUkFCRUFBQUlQLUNBQUVHYzNSeWFXNW5EQVlBQkhWelpYSUdjM1J5YVc1bkRBY0FCV0ZzYVdObHxzaWduYXR1cmU=",
			"JSON":           `{"user":"` + r.Alice.ID + `"}`, "not ASCII": "é" + good[2:], "SQL": "' OR 1=1 --" + good[11:],
			"device cookie": cookie(r.Browser().SignIn(r.Alice.Email), "doorward-device"),
		} {
			for _, path := range []string{"/settings/profile", "/login", "/oauth/authorize?" + app.Params("read").Encode()} {
				a := r.Send(r.Program(), r.Request(http.MethodGet, path, nil, "Cookie", "doorward="+value))
				if strings.Contains(a.Body, r.Alice.Email) || a.Status >= 500 ||
					(path != "/login" && a.Status != http.StatusSeeOther) || (a.Location != nil && a.Location.Path != "/login") {
					t.Errorf("%s: %s answered %d %v", name, path, a.Status, a.Location)
				}
			}
		}
		if signedIn(r, good) != r.Alice.Email {
			t.Error("the real cookie does not work: this test sees nothing")
		}
	})
}

func TestG23_SessionEnds(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		const day = 24 * time.Hour
		flush := func() {
			t.Helper()
			if err := r.Store.FlushTouches(r.System()); err != nil {
				t.Fatal(err)
			}
		}
		t.Run("idle", func(t *testing.T) {
			value := cookie(r.Browser().SignIn(r.Alice.Email), "doorward")
			r.Advance(day - time.Minute)
			if signedIn(r, value) == "" {
				t.Fatal("expired before a day without a request")
			}
			flush()
			r.Advance(day - time.Minute)
			if signedIn(r, value) == "" {
				t.Fatal("the request before did not count")
			}
			flush()
			r.Advance(day + time.Second)
			if signedIn(r, value) != "" {
				t.Error("active after more than a day without a request")
			}
			a := r.Send(r.Program(),
				r.Request(http.MethodPost, "/settings/profile", strings.NewReader("name=Eve"), "Content-Type",
					"application/x-www-form-urlencoded", "Cookie", "doorward="+value))
			if a.Status != http.StatusUnauthorized {
				t.Errorf("a form answered %d", a.Status)
			}
		})
		t.Run("absolute, also when the password is given again", func(t *testing.T) {
			b := r.Browser().SignIn(r.Alice.Email)
			for range 27 {
				r.Advance(day / 2)
				if signedIn(r, cookie(b, "doorward")) == "" {
					t.Fatal("ended while in use")
				}
				flush()
			}
			if a := makeApp(b, "password", rig.Password); a.Status != http.StatusOK {
				t.Fatalf("step-up answered %d", a.Status)
			}
			r.Advance(day/2 - time.Minute)
			if signedIn(r, cookie(b, "doorward")) == "" {
				t.Fatal("ended before 14 days")
			}
			r.Advance(2 * time.Minute)
			if signedIn(r, cookie(b, "doorward")) != "" {
				t.Error("alive after 14 days")
			}
		})
	})
}
