package security

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/bearer"
	"doorward/test/rig"
	"doorward/test/stores"
)

// inactive is the whole answer about a credential that is invalid, or that the caller may not see.
const inactive = "{\"active\":false}\n"

func wantInactive(t *testing.T, what string, a *rig.Answer) {
	t.Helper()
	if a.Status != http.StatusOK || a.Body != inactive {
		t.Errorf("%s: introspection answered %d %s", what, a.Status, a.Body)
	}
	machineHeaders(t, a)
}

// twoNodes runs fn with two servers on one database.
func twoNodes(t *testing.T, o rig.Options, fn func(t *testing.T, one, two *rig.Rig)) {
	t.Helper()
	o.Issuer = "http://localhost:8080"
	eachURL(t, func(t *testing.T, link string) {
		one, two := rig.New(t, stores.Open(t, link), o), rig.New(t, stores.Open(t, link), o)
		rig.AreNodes(one, two)
		fn(t, one, two)
	})
}

func TestI01_CallerMustAuthenticate(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	public := r.App(management.ClientSpec{Public: true})
	access, _ := r.Tokens(app, "read")
	for name, a := range map[string]*rig.Answer{
		"nothing":  r.Post("/oauth/introspect", url.Values{"token": {access}}),
		"id alone": r.Post("/oauth/introspect", url.Values{"token": {access}, "client_id": {api.ID}}),
		"wrong secret": r.Post("/oauth/introspect", url.Values{"token": {access}}, "Authorization",
			rig.Basic(api.ID, app.Secret)),
		"wrong secret, in body": r.Post("/oauth/introspect", url.Values{
			"token":         {access},
			"client_id":     {api.ID},
			"client_secret": {app.Secret},
		}),
		"unknown client": r.Post("/oauth/introspect", url.Values{"token": {access}}, "Authorization",
			rig.Basic("app_00000000-0000-7000-8000-000000000000", api.Secret)),
		"public client": r.PostAs(public, "/oauth/introspect", url.Values{"token": {access}}),
		"public client by Basic": r.Post("/oauth/introspect", url.Values{"token": {access}}, "Authorization",
			rig.Basic(public.ID, "")),
		"session": r.Post("/oauth/introspect", url.Values{"token": {access}}, "Cookie",
			cookieHeader(r.Browser().SignIn(r.Alice.Email))),
		"person": r.Post("/oauth/introspect", url.Values{"token": {access}}, "Authorization",
			rig.Basic(r.Alice.Email, rig.Password)),
		"token as secret": r.Post("/oauth/introspect", url.Values{"token": {access}}, "Authorization",
			rig.Basic(app.ID, access)),
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, a, http.StatusUnauthorized, "invalid_client")
			if got := a.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Basic ") {
				t.Errorf("challenge %q", got)
			}
		})
	}
	t.Run("disabled resource server", func(t *testing.T) {
		if err := r.Store.DisableClient(r.System(), api.ID, "administrator"); err != nil {
			t.Fatal(err)
		}
		refused(t, r.Introspect(api, access), http.StatusUnauthorized, "invalid_client")
	})
}

func TestI02_AccessTokenAuthorisesNothing(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	access, _ := r.Tokens(app, "read")
	another, refresh := r.Tokens(app, "write")
	for _, bearer := range []string{access, another, refresh, api.Secret} {
		for _, scheme := range []string{"Bearer ", "bearer ", "Token ", "DPoP "} {
			refused(t, r.Post("/oauth/introspect", url.Values{"token": {access}}, "Authorization", scheme+bearer),
				http.StatusUnauthorized, "invalid_client")
		}
		refused(t, r.Post("/oauth/introspect", url.Values{"token": {access}, "access_token": {bearer}}),
			http.StatusUnauthorized, "invalid_client")
		refused(t, r.Post("/oauth/introspect?access_token="+bearer, url.Values{"token": {access}}),
			http.StatusBadRequest, "invalid_request")
	}
}

func TestI03_I04_StrangersLearnNothing(t *testing.T) {
	r := rig.Memory(t, rig.Options{Issuer: "http://localhost:8080", Resources: twoResources()})
	first, second := r.Catalog.Resources()[0], r.Catalog.Resources()[1]
	app := r.App(management.ClientSpec{Resources: []string{first.ID}, Scopes: []string{first.Scopes[0].Name}})
	other := r.App(management.ClientSpec{
		Name: "Other", Resources: []string{first.ID}, Scopes: []string{first.Scopes[0].Name},
	})
	api := r.App(management.ClientSpec{ResourceServer: true, Resources: []string{first.ID}})
	elsewhere := r.App(management.ClientSpec{ResourceServer: true, Resources: []string{second.ID}})
	access, refresh := r.Tokens(app, first.Scopes[0].Name)
	for name, x := range map[string]struct {
		caller *rig.App
		token  string
		active bool
	}{
		"owner, access token":                    {app, access, true},
		"owner, refresh token":                   {app, refresh, true},
		"resource server, access token":          {api, access, true},
		"resource server, refresh token":         {api, refresh, false},
		"another app, access token":              {other, access, false},
		"another app, refresh token":             {other, refresh, false},
		"another resource server, access token":  {elsewhere, access, false},
		"another resource server, refresh token": {elsewhere, refresh, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := r.Introspect(x.caller, x.token)
			if !x.active {
				wantInactive(t, name, a)
			} else if a.JSON()["active"] != true || a.Text("client_id") != app.ID || a.Text("aud") != first.ID {
				t.Errorf("introspection answered %d %s", a.Status, a.Body)
			}
		})
	}
	if a := r.Introspect(app, refresh); a.Text("credential") != "refresh_token" || a.JSON()["token_type"] != nil {
		t.Errorf("a refresh token looks like an access token: %s", a.Body)
	}
}

func TestI05_HintChangesNothing(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	access, refresh := r.Tokens(app, "read")
	for _, caller := range []*rig.App{app, api} {
		for _, token := range []string{access, refresh, "unknown", bearer.NewCredential(bearer.PrefixAccessToken)} {
			want := r.Introspect(caller, token).Body
			for _, hint := range []string{
				"access_token", "refresh_token", "api_key", "id_token", "zzz", "", "é", strings.Repeat("x", 1000),
			} {
				a := r.PostAs(caller, "/oauth/introspect", url.Values{"token": {token}, "token_type_hint": {hint}})
				if a.Body != want {
					t.Errorf("with hint %q the answer is %s, not %s", hint, a.Body, want)
				}
			}
		}
	}
}

func TestI06_I10_I12_EverythingButAnActiveTokenIsInactive(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, api := r.App(management.ClientSpec{}), r.ResourceServer()
	b := r.Browser().SignIn(r.Alice.Email)
	page := b.Authorize(app.Params("read"))
	code := b.Decide(page, "approve").Param("code")
	access, refresh := r.Tokens(app, "read")
	revoked, revokedRefresh := r.Tokens(app, "read")
	r.PostAs(app, "/oauth/revoke", url.Values{"token": {revoked}})
	r.Refresh(app, refresh)
	tokens := map[string]string{
		"revoked":               revoked,
		"revoked refresh token": revokedRefresh,
		"used refresh token":    refresh,
		"garbage":               "garbage",
		"NUL":                   "\x00",
		"token and NUL":         access + "\x00",
		"not UTF-8":             "\xff\xfe",
		"as long as may be":     strings.Repeat("x", 60<<10),
		"space":                 " ",
		"well-formed, unknown":  bearer.NewCredential(bearer.PrefixAccessToken),
		"unknown refresh token": bearer.NewCredential(bearer.PrefixRefreshToken),
		"code":                  code,
		"client secret":         app.Secret,
		"its own secret":        api.Secret,
		"client id":             app.ID,
		"user id":               r.Alice.ID,
		"session cookie":        cookie(b, "doorward"),
		"device cookie":         cookie(b, "doorward-device"),
		"flow":                  b.Form(page, "/oauth/consent").Get("flow"),
		"form token":            b.Form(page, "/oauth/consent").Get("token"),
		"a JWT":                 "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIiwiYWN0aXZlIjp0cnVlfQ.",
		"jti":                   r.Introspect(api, access).Text("jti"),
	}
	for name, text := range misspellings(access, revoked) {
		tokens["access token, "+name] = text
	}
	for name, text := range misspellings(refresh, revokedRefresh) {
		tokens["refresh token, "+name] = text
	}
	for name, token := range tokens {
		if token == "" {
			continue // an empty parameter counts as missing
		}
		for _, caller := range []*rig.App{app, api} {
			wantInactive(t, name, r.Introspect(caller, token))
		}
	}
	if !r.Alive(api, access) {
		t.Error("the live token does not work: this test sees nothing")
	}
	t.Run("larger than any body", func(t *testing.T) {
		a := r.Introspect(api, strings.Repeat("x", 1<<20))
		refused(t, a, http.StatusRequestEntityTooLarge, "invalid_request")
	})
	t.Run("expired", func(t *testing.T) {
		r.Advance(time.Hour)
		wantInactive(t, "expired", r.Introspect(api, access))
		wantInactive(t, "expired", r.Introspect(app, access))
		r.Advance(30 * 24 * time.Hour)
		wantInactive(t, "expired long ago", r.Introspect(api, access))
	})
}

func TestI08_DisabledSubjectsHaveNoActiveTokens(t *testing.T) {
	twoNodes(t, rig.Options{}, func(t *testing.T, one, two *rig.Rig) {
		api := one.ResourceServer()
		type change struct{ off, on func(app *rig.App) error }
		for name, c := range map[string]change{
			"app": {
				func(app *rig.App) error { return one.Store.DisableClient(one.System(), app.ID, "administrator") },
				func(app *rig.App) error { return one.Store.EnableClient(one.System(), app.ID) },
			},
			"user": {
				func(*rig.App) error { return one.Identity.DisableUser(one.System(), one.Alice.ID) },
				func(*rig.App) error { return one.Identity.EnableUser(one.System(), one.Alice.ID) },
			},
		} {
			t.Run(name, func(t *testing.T) {
				app, bystander := one.App(management.ClientSpec{}),
					one.App(management.ClientSpec{
						Name:         "Bystander",
						RedirectURIs: []string{"https://by.example/cb"},
						Scopes:       []string{"read"},
						Grants:       []string{"authorization_code", "refresh_token", "client_credentials"},
					})
				access, refresh := one.Tokens(app, "read")
				own := one.PostAs(bystander, "/oauth/token", url.Values{"grant_type": {"client_credentials"}}).Text("access_token")
				if err := c.off(app); err != nil {
					t.Fatal(err)
				}
				for _, node := range []*rig.Rig{one, two} {
					wantInactive(t, name, node.Introspect(api, access))
					if a := node.Refresh(app, refresh); a.Status == http.StatusOK {
						t.Errorf("a refresh gave %s", a.Body)
					}
					if !node.Alive(api, own) {
						t.Error("a bystander's token died")
					}
				}
				if err := c.on(app); err != nil {
					t.Fatal(err)
				}
				// What an app held was suspended with the app; what a user had allowed was revoked when the user was disabled.
				for _, node := range []*rig.Rig{one, two} {
					if alive := node.Alive(api, access); alive != (name == "app") {
						t.Errorf("after the %s is enabled again the token is active: %v", name, alive)
					}
				}
			})
		}
		for name, remove := range map[string]func(app *rig.App) error{
			"app deleted":  func(app *rig.App) error { return one.Store.DeleteClient(one.System(), app.ID) },
			"user deleted": func(*rig.App) error { return one.Identity.DeleteUser(one.System(), one.Alice.ID) },
		} {
			t.Run(name, func(t *testing.T) {
				one.Alice = one.User("alice@example.com", "Alice", false)
				app := one.App(management.ClientSpec{})
				access, _ := one.Tokens(app, "read")
				if err := remove(app); err != nil {
					t.Fatal(err)
				}
				for _, node := range []*rig.Rig{one, two} {
					wantInactive(t, name, node.Introspect(api, access))
				}
			})
		}
		t.Run("membership ended", func(t *testing.T) {
			one.Alice = one.User("alice@example.com", "Alice", false)
			app := one.App(management.ClientSpec{})
			access, refresh := one.Tokens(app, "read")
			one.SQL(`DELETE FROM memberships`)
			for _, node := range []*rig.Rig{one, two} {
				wantInactive(t, "access token", node.Introspect(api, access))
				refused(t, node.Refresh(app, refresh), http.StatusBadRequest, "invalid_grant")
			}
		})
	})
}

func TestI09_R04_UnavailableStorageIsNotAnAnswer(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		public := r.App(management.ClientSpec{Public: true})
		access, refresh := r.Tokens(app, "read")
		publicAccess, _ := r.Tokens(public, "read")
		// The clients are cached now, so their authentication still succeeds.
		r.Introspect(api, access)
		r.BreakStorage()
		for _, token := range []string{
			access, refresh, bearer.NewCredential(bearer.PrefixAccessToken), bearer.NewCredential(bearer.PrefixRefreshToken),
		} {
			for name, a := range map[string]*rig.Answer{
				"introspection by the API":    r.Introspect(api, token),
				"introspection by the app":    r.Introspect(app, token),
				"revocation":                  r.PostAs(app, "/oauth/revoke", url.Values{"token": {token}}),
				"revocation by public client": r.PostAs(public, "/oauth/revoke", url.Values{"token": {publicAccess}}),
			} {
				t.Run(name, func(t *testing.T) { refused(t, a, http.StatusServiceUnavailable, "temporarily_unavailable") })
			}
		}
	})
}

func TestR04_RevocationThatCannotBeStoredIsNotASuccess(t *testing.T) {
	eachWithOwner(t, rig.Options{}, func(t *testing.T, r *rig.Rig, owner func(string)) {
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		machine := robot(r)
		access, refresh := r.Tokens(app, "read")
		own := r.PostAs(machine, "/oauth/token", url.Values{"grant_type": {"client_credentials"}}).Text("access_token")
		for table, x := range map[string]struct {
			app    *rig.App
			tokens []string
		}{"grants": {app, []string{access, refresh}}, "access_tokens": {machine, []string{own}}} {
			restore := breakWrites(r, owner, "UPDATE", table)
			for _, token := range x.tokens {
				refused(t, r.PostAs(x.app, "/oauth/revoke", url.Values{"token": {token}}), http.StatusServiceUnavailable,
					"temporarily_unavailable")
			}
			restore()
			for _, token := range x.tokens {
				a := r.PostAs(x.app, "/oauth/revoke", url.Values{"token": {token}})
				if a.Status != http.StatusOK || r.Alive(x.app, token) || r.Alive(api, token) {
					t.Errorf("a second try answered %d", a.Status)
				}
			}
		}
	})
}

func TestI11_NoRequestOverridesTheAnswer(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	spoof := `x","active":true,"sub":"root","cnf":{},"z":"`
	u := r.User("spoof@example.com", spoof, false)
	app, api := r.App(management.ClientSpec{Name: spoof}), r.ResourceServer()
	params := app.Params("read")
	for _, name := range []string{"active", "iss", "exp", "cnf", "sub", "claims", "username", "role"} {
		params.Set(name, "evil")
	}
	b := r.Browser().SignIn(u.Email)
	code := b.Decide(b.Authorize(params), "approve", func(v url.Values) {
		v.Set("sub", "evil")
		v.Set("claims", `{"active":true}`)
	}).Param("code")
	form := codeForm(app, code)
	for _, name := range []string{"active", "iss", "exp", "cnf", "sub", "claims", "aud", "audience"} {
		form.Set(name, "evil")
	}
	access := r.PostAs(app, "/oauth/token", form).Text("access_token")
	want := r.Introspect(api, access)
	a := r.PostAs(api, "/oauth/introspect", url.Values{
		"token":    {access},
		"active":   {"false"},
		"iss":      {"evil"},
		"exp":      {"0"},
		"sub":      {"evil"},
		"scope":    {"admin"},
		"resource": {"evil"},
	})
	if a.Body != want.Body || strings.Contains(a.Body, "evil") || a.Text("sub") != u.ID || a.Text("iss") != r.Issuer ||
		a.JSON()["cnf"] != nil || a.Text("client_id") != app.ID {
		t.Errorf("introspection answered %s", a.Body)
	}
	for _, member := range []string{"active", "iss", "aud", "sub", "client_id", "scope", "exp", "iat", "jti"} {
		if n := strings.Count(a.Body, `"`+member+`":`); n != 1 {
			t.Errorf("member %s is there %d times: %s", member, n, a.Body)
		}
	}
	wantInactive(t, "unknown", r.PostAs(api, "/oauth/introspect", url.Values{"token": {"x"}, "active": {"true"}}))
}

func TestI14_ParametersComeInTheBodyOfAPost(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	access, _ := r.Tokens(app, "read")
	for _, path := range []string{"/oauth/introspect", "/oauth/revoke"} {
		for _, method := range []string{
			http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodPatch,
		} {
			a := r.Send(r.Program(),
				r.Request(method, path+"?token="+access, nil, "Authorization", rig.Basic(app.ID, app.Secret)))
			if a.Status != http.StatusMethodNotAllowed || !strings.Contains(a.Header.Get("Allow"), "POST") {
				t.Errorf("%s %s answered %d, Allow %q", method, path, a.Status, a.Header.Get("Allow"))
			}
		}
		refused(t, r.PostAs(app, path+"?token="+access, nil), http.StatusBadRequest, "invalid_request")
		refused(t, r.PostAs(app, path+"?token="+access, url.Values{"token": {access}}),
			http.StatusBadRequest, "invalid_request")
		refused(t, r.PostAs(app, path+"?client_id="+app.ID, url.Values{"token": {access}}),
			http.StatusBadRequest, "invalid_request")
		refused(t, r.PostAs(app, path, nil), http.StatusBadRequest, "invalid_request")
		refused(t, r.PostAs(app, path, url.Values{"token": {""}}), http.StatusBadRequest, "invalid_request")
		refused(t, r.PostAs(app, path, url.Values{"token": {access, access}}), http.StatusBadRequest, "invalid_request")
	}
	if !r.Alive(app, access) {
		t.Error("a refused request revoked the token")
	}
}

func TestU01_NoUserinfoYet(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	access, _ := r.Tokens(r.App(management.ClientSpec{}), "read")
	for _, path := range []string{
		"/userinfo", "/oauth/userinfo", "/.well-known/openid-configuration", "/oauth/device", "/signup",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			a := r.Send(r.Program(), r.Request(method, path, nil, "Authorization", "Bearer "+access))
			if a.Status != http.StatusNotFound {
				t.Errorf("%s %s answered %d", method, path, a.Status)
			}
		}
	}
}
