package security

import (
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth"
	"doorward/test/rig"
)

// Grant types, bodies and transport at the token endpoint.

func TestT70_UnknownGrantTypesAreUnsupported(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := robot(r)
	for _, grant := range []string{
		"password", "implicit", "token", "authorization_code ", "Authorization_Code",
		"urn:ietf:params:oauth:grant-type:jwt-bearer",
		"urn:ietf:params:oauth:grant-type:device_code", "urn:ietf:params:oauth:grant-type:token-exchange",
		"authorization_code refresh_token", strings.Repeat("x", 10_000),
	} {
		a := r.PostAs(app, "/oauth/token", url.Values{
			"grant_type": {grant},
			"username":   {r.Alice.Email},
			"password":   {rig.Password},
		})
		refused(t, a, http.StatusBadRequest, oauth.UnsupportedGrantType)
	}
}

func TestT71_GrantTypeIsNeededOnce(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := robot(r)
	for name, form := range map[string]url.Values{
		"missing":           {"scope": {"read"}},
		"empty":             {"grant_type": {""}},
		"twice":             {"grant_type": {"client_credentials", "client_credentials"}},
		"twice, once empty": {"grant_type": {"", "client_credentials"}}, "no body": {},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, r.PostAs(app, "/oauth/token", form), http.StatusBadRequest, oauth.InvalidRequest)
		})
	}
}

func TestT71_CodeAndRefreshTokenAreNeeded(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	for _, form := range []url.Values{
		{"grant_type": {"authorization_code"}},
		{"grant_type": {"authorization_code"}, "code": {""}},
		{"grant_type": {"refresh_token"}},
		{"grant_type": {"refresh_token"}, "refresh_token": {""}},
	} {
		refused(t, r.PostAs(app, "/oauth/token", form), http.StatusBadRequest, oauth.InvalidRequest)
	}
}

func TestT72_GrantTypeMustBeRegistered(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app, machine, public, api := r.App(management.ClientSpec{}), robot(r), r.App(management.ClientSpec{Public: true}),
		r.ResourceServer()
	for name, c := range map[string]struct {
		app  *rig.App
		form url.Values
	}{
		"client_credentials of an app of people":  {app, ownForm},
		"client_credentials of a public client":   {public, ownForm},
		"client_credentials of a resource server": {api, ownForm},
		"a code of a machine":                     {machine, url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}},
		"a refresh token of a machine":            {machine, refreshForm("x")},
		"a code of a resource server":             {api, url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, r.PostAs(c.app, "/oauth/token", c.form), http.StatusBadRequest, oauth.UnauthorizedClient)
		})
	}
}

func TestT73_ClientCredentialsGiveAnAccessTokenOnly(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app := robot(r)
		for _, scope := range []string{
			"openid", "offline_access", "read openid", "read offline_access", "admin", "nonsense", "READ",
		} {
			refused(t, r.PostAs(app, "/oauth/token", with(ownForm, "scope", scope)), http.StatusBadRequest, oauth.InvalidScope)
		}
		a := r.PostAs(app, "/oauth/token", with(ownForm, "scope", "write read write"))
		granted(t, a)
		if a.Text("scope") != "write read" {
			t.Errorf("scope %q", a.Text("scope"))
		}
		for _, name := range []string{"refresh_token", "id_token"} {
			if _, has := a.JSON()[name]; has {
				t.Errorf("%s in %s", name, a.Body)
			}
		}
	})
}

func TestT73_UserOnlyScopesAreNotForMachines(t *testing.T) {
	rig.Each(t, rig.Options{Resources: twoResources()}, func(t *testing.T, r *rig.Rig) {
		machine := func(scopes ...string) *rig.App {
			return r.App(management.ClientSpec{Name: "Machine", Grants: []string{oauth.GrantClientCredentials}, Scopes: scopes})
		}
		api := r.App(management.ClientSpec{Name: "One", ResourceServer: true})
		// Registration refuses such scopes if there can be no user behind the token (V-16); these apps are from before that
		// rule.
		before := func(app *rig.App, scopes string) *rig.App {
			r.SQL("UPDATE clients SET scopes = '" + scopes + "' WHERE id = '" + app.ID + "'")
			return app
		}
		app, onlyUsers := before(machine("read", "write"), "read write capture me"), before(machine("read"), "capture me")
		for _, scope := range []string{"capture", "me", "read capture"} {
			refused(t, r.PostAs(app, "/oauth/token", with(ownForm, "scope", scope)), http.StatusBadRequest, oauth.InvalidScope)
		}
		refused(t, r.PostAs(onlyUsers, "/oauth/token", ownForm), http.StatusBadRequest, oauth.InvalidScope)
		// Neither by default nor through a scope that implies them.
		a := r.PostAs(app, "/oauth/token", ownForm)
		access, _ := granted(t, a)
		if seen := r.Introspect(api, access).Text("scope"); a.Text("scope") != "read write" || seen != "read write" {
			t.Errorf("granted %q, introspection says %q", a.Text("scope"), seen)
		}
		// With a user behind the token they count.
		person := r.App(management.ClientSpec{Scopes: []string{"write"}})
		access, _ = r.Tokens(person, "write")
		if seen := r.Introspect(api, access).Text("scope"); seen != "write capture" {
			t.Errorf("introspection of a person's token says %q", seen)
		}
	})
}

func TestT14_T79_ResourceOfAMachineMustBeItsOwn(t *testing.T) {
	rig.Each(t, rig.Options{Resources: twoResources()}, func(t *testing.T, r *rig.Rig) {
		app := r.App(management.ClientSpec{
			Grants:    []string{oauth.GrantClientCredentials},
			Scopes:    []string{"read", "other"},
			Resources: []string{"https://two.example", "https://three.example"},
		})
		for _, resource := range []string{
			"https://one.example", "https://two.example/x", "https://two.example//", "https://two.example#x", "nonsense",
			"https://two.example https://three.example",
		} {
			refused(t, r.PostAs(app, "/oauth/token", with(ownForm, "resource", resource)),
				http.StatusBadRequest, oauth.InvalidTarget)
		}
		for _, two := range [][]string{
			{"https://two.example", "https://three.example"},
			{"https://two.example", "https://two.example"},
			{"", "https://two.example"},
		} {
			refused(t, r.PostAs(app, "/oauth/token", url.Values{"grant_type": {"client_credentials"}, "resource": two}),
				http.StatusBadRequest, oauth.InvalidTarget)
		}
		// A scope counts only at the resource whose catalogue contains it.
		refused(t, r.PostAs(app, "/oauth/token", with(ownForm, "resource", "https://two.example", "scope", "other")),
			http.StatusBadRequest, oauth.InvalidScope)
		for resource, scope := range map[string]string{
			"":                      "read",
			"https://two.example":   "read",
			"https://three.example": "other",
		} {
			a := r.PostAs(app, "/oauth/token", with(ownForm, "resource", resource))
			access, _ := granted(t, a)
			want := resource
			if want == "" {
				want = "https://two.example"
			}
			seen := r.Introspect(app, access)
			if seen.Text("aud") != want || seen.Text("scope") != scope || a.Text("scope") != scope {
				t.Errorf("resource %q: %s, %s", resource, a.Body, seen.Body)
			}
		}
	})
}

// RFC 9700, section 4.15: a machine's token must not be mistaken for a user's.
func TestT74_AMachineCannotLookLikeAUser(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		api, app := r.ResourceServer(),
			r.App(management.ClientSpec{Name: r.Alice.ID, Grants: []string{oauth.GrantClientCredentials}})
		if !strings.HasPrefix(app.ID, "app_") || !strings.HasPrefix(r.Alice.ID, "user_") {
			t.Fatalf("ids %s and %s", app.ID, r.Alice.ID)
		}
		access, _ := granted(t,
			r.PostAs(app, "/oauth/token", with(ownForm, "sub", r.Alice.ID, "user", r.Alice.ID, "username", r.Alice.Email)))
		seen := r.Introspect(api, access)
		if seen.Text("sub") != app.ID || seen.Text("client_id") != app.ID || seen.Text("role") != "" ||
			seen.JSON()["auth_time"] != nil {
			t.Errorf("introspection says %s", seen.Body)
		}
	})
}

func TestT75_JSONIsAcceptedLikeTheSameForm(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, api := r.App(management.ClientSpec{}), r.ResourceServer()
		machine := robot(r)
		credentials := func(app *rig.App, form url.Values) url.Values {
			return with(form, "client_id", app.ID, "client_secret", app.Secret)
		}
		code := r.Browser().SignIn(r.Alice.Email).Code(app, "read write")
		_, refresh := granted(t, postJSON(r, "/oauth/token", asJSON(t, credentials(app, codeForm(app, code)))))
		a := postJSON(r, "/oauth/token", asJSON(t, with(refreshForm(refresh), "scope", "read")), "Authorization",
			rig.Basic(app.ID, app.Secret))
		access, _ := granted(t, a)
		if a.Text("scope") != "read" {
			t.Errorf("scope %q", a.Text("scope"))
		}
		if a := postJSON(r, "/oauth/introspect",
			asJSON(t, credentials(api, url.Values{"token": {access}}))); a.JSON()["active"] != true {
			t.Errorf("introspection answered %d %s", a.Status, a.Body)
		}
		if a := postJSON(r, "/oauth/revoke",
			asJSON(t, credentials(app, url.Values{"token": {access}}))); a.Status != http.StatusOK {
			t.Errorf("revocation answered %d %s", a.Status, a.Body)
		}
		dead(t, r, app, api, access, "")
		q := r.Request(http.MethodPost, "/oauth/token", strings.NewReader(asJSON(t, credentials(machine, ownForm))),
			"Content-Type", "Application/JSON; charset=utf-8")
		granted(t, r.Send(r.Program(), q))
		// An object with the same error as a form gets the same message.
		for _, form := range []url.Values{
			{},
			{"grant_type": {"password"}},
			{"grant_type": {"client_credentials"}},
			credentials(machine, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}),
			credentials(machine, with(ownForm, "scope", "nonsense")),
			credentials(machine, with(ownForm, "resource", "nonsense")),
			credentials(app, refreshForm("x")),
			credentials(app, codeForm(app, "x")), with(ownForm, "client_id", machine.ID, "client_secret", "x"),
		} {
			j, f := postJSON(r, "/oauth/token", asJSON(t, form), "X-Request-Id", "the-same-id"),
				r.Post("/oauth/token", form, "X-Request-Id", "the-same-id")
			if j.Status != f.Status || j.Body != f.Body {
				t.Errorf("form %v: %d %s, as JSON %d %s", form, f.Status, f.Body, j.Status, j.Body)
			}
		}
	})
}

func TestT75_JSONThatIsNotAFormIsRefused(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := robot(r)
	for name, body := range map[string]string{
		"nested":          `{"grant_type":"client_credentials","x":{"scope":"read"}}`,
		"array":           `{"grant_type":["client_credentials"]}`,
		"null":            `{"grant_type":"client_credentials","scope":null}`,
		"twice":           `{"grant_type":"client_credentials","grant_type":"client_credentials"}`,
		"escaped":         `{"grant_type":"client_credentials","gr\u0061nt_type":"client_credentials"}`,
		"after":           `{"grant_type":"client_credentials"}{}`,
		"text after":      `{"grant_type":"client_credentials"} x`,
		"cut":             `{"grant_type":"client_credentials"`,
		"a list":          `[{"grant_type":"client_credentials"}]`,
		"a string":        `"grant_type=client_credentials"`,
		"nothing":         ``,
		"a form":          `grant_type=client_credentials`,
		"single quotes":   `{'grant_type':'client_credentials'}`,
		"a comment":       `{/**/"grant_type":"client_credentials"}`,
		"a comma":         `{"grant_type":"client_credentials",}`,
		"NUL":             `{"grant_type":"client_credentials","x":"\u0000"}`,
		"lone surrogate":  `{"grant_type":"client_credentials","x":"\ud800"}`,
		"no UTF-8":        "{\"grant_type\":\"client_credentials\",\"x\":\"\xff\"}",
		"deep":            strings.Repeat(`{"a":`, 10_000) + `1` + strings.Repeat(`}`, 10_000),
		"byte order mark": "\ufeff" + `{"grant_type":"client_credentials"}`,
		"UTF-16":          "\xff\xfe{\x00}\x00", "many members": manyMembers(1000),
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, postJSON(r, "/oauth/token", body, "Authorization", rig.Basic(app.ID, app.Secret)),
				http.StatusBadRequest, oauth.InvalidRequest)
		})
	}
	t.Run("numbers and truth values are texts", func(t *testing.T) {
		granted(t,
			postJSON(r, "/oauth/token", `{"grant_type":"client_credentials","x":1e400,"y":true,"z":-0.10,"scope":""}`,
				"Authorization", rig.Basic(app.ID, app.Secret)))
	})
}

func manyMembers(n int) string {
	var b strings.Builder
	b.WriteString(`{"grant_type":"client_credentials"`)
	for i := range n {
		fmt.Fprintf(&b, `,"p%d":"x"`, i)
	}
	b.WriteString("}")
	return b.String()
}

func TestT75_OtherMediaTypesAreRefused(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	r := rig.Memory(t, rig.Options{})
	app := robot(r)
	var parts strings.Builder
	w := multipart.NewWriter(&parts)
	for name, value := range map[string]string{
		"grant_type":    "client_credentials",
		"client_id":     app.ID,
		"client_secret": app.Secret,
	} {
		if err := w.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	file, err := w.CreateFormFile("scope", "scope.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(file, strings.Repeat("read ", 10_000))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	form := with(ownForm, "client_id", app.ID, "client_secret", app.Secret).Encode()
	for kind, body := range map[string]string{
		w.FormDataContentType():              parts.String(),
		"multipart/form-data":                form,
		"text/plain":                         form,
		"":                                   form,
		"application/x-www-form-urlencoded2": form,
		"application/x-www-form-urlencoded, application/json": form,
		"application/xml":   "<x/>",
		"application/jwt":   "e30.e30.",
		"application/jsonp": `{}`,
		"/":                 form,
	} {
		t.Run(kind, func(t *testing.T) {
			q := r.Request(http.MethodPost, "/oauth/token", strings.NewReader(body))
			if kind != "" {
				q.Header.Set("Content-Type", kind)
			}
			refused(t, r.Send(r.Program(), q), http.StatusBadRequest, oauth.InvalidRequest)
		})
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) != 0 {
		t.Errorf("temporary files %v, error %v", left, err)
	}
}

func TestT76_BodyIsBounded(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := robot(r)
	pad := func(size int) string {
		form := ownForm.Encode() + "&x="
		return form + strings.Repeat("x", size-len(form))
	}
	send := func(body io.Reader, kind string) *rig.Answer {
		return r.Send(r.Program(),
			r.Request(http.MethodPost, "/oauth/token", body, "Content-Type", kind, "Authorization",
				rig.Basic(app.ID, app.Secret)))
	}
	const form = "application/x-www-form-urlencoded"
	granted(t, send(strings.NewReader(pad(64<<10)), form))
	for name, size := range map[string]int{"one byte more": 64<<10 + 1, "1 MiB": 1 << 20, "9 MiB": 9 << 20} {
		for kind, label := range map[string]string{
			form:                              "form",
			"application/json":                "JSON",
			"multipart/form-data; boundary=x": "parts",
		} {
			t.Run(name+" "+label, func(t *testing.T) {
				refused(t, send(strings.NewReader(pad(size)), kind), http.StatusRequestEntityTooLarge, oauth.InvalidRequest)
				// A reader of unknown length is sent in chunks.
				refused(t, send(struct{ io.Reader }{strings.NewReader(pad(size))}, kind), http.StatusRequestEntityTooLarge,
					oauth.InvalidRequest)
			})
		}
	}
}

func TestT78_OnlyPOST(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := robot(r)
	for path := range protected(app) {
		for _, method := range []string{
			http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodDelete,
		} {
			t.Run(method+" "+path, func(t *testing.T) {
				a := r.Send(r.Program(),
					r.Request(method, path, strings.NewReader(ownForm.Encode()), "Content-Type", "application/x-www-form-urlencoded",
						"Authorization", rig.Basic(app.ID, app.Secret)))
				allowed := strings.Split(strings.ReplaceAll(a.Header.Get("Allow"), " ", ""), ",")
				if a.Status != http.StatusMethodNotAllowed || !slices.Contains(allowed, http.MethodPost) ||
					slices.Contains(allowed, http.MethodGet) {
					t.Errorf("answered %d, Allow %v", a.Status, allowed)
				}
				machineHeaders(t, a)
			})
		}
	}
}

func TestT79_RepeatedParametersAreRefused(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := robot(r)
	whole := with(ownForm, "client_id", app.ID, "client_secret", app.Secret, "scope", "read", "audience", "x",
		"state", "x", "foo", "x")
	for name := range whole {
		for label, values := range map[string][]string{
			"equal":       {whole.Get(name), whole.Get(name)},
			"different":   {whole.Get(name), "y"},
			"empty first": {"", whole.Get(name)},
			"empty last":  {whole.Get(name), ""},
			"both empty":  {"", ""},
		} {
			t.Run(name+" "+label, func(t *testing.T) {
				form := with(whole)
				form[name] = values
				refused(t, r.Post("/oauth/token", form), http.StatusBadRequest, oauth.InvalidRequest)
			})
		}
	}
	granted(t, r.Post("/oauth/token", with(whole, "foo", "")))
}

func TestT80_HostileTextIsRefused(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app := r.App(management.ClientSpec{})
		_, refresh := r.Tokens(app, "read")
		base := refreshForm(refresh).Encode()
		for name, extra := range map[string]string{
			"10,000 parameters": strings.Repeat("&p=", 10_000), "101 parameters": func() (s string) {
				for i := range 101 {
					s += fmt.Sprintf("&p%d=x", i)
				}
				return s
			}(),
			"NUL":                   "&scope=%00",
			"NUL after":             "&scope=read%00",
			"NUL in a name":         "&sco%00pe=read",
			"raw NUL":               "&scope=\x00",
			"no UTF-8":              "&scope=%ff",
			"lone surrogate":        "&scope=%ED%A0%80",
			"overlong":              "&scope=%C0%AF",
			"bad escape":            "&scope=%zz",
			"cut escape":            "&scope=%",
			"semicolon":             "&scope=read;x=y",
			"replacement character": "&scope=%EF%BF%BD",
		} {
			t.Run(name, func(t *testing.T) {
				q := r.Request(http.MethodPost, "/oauth/token", strings.NewReader(base+extra), "Content-Type",
					"application/x-www-form-urlencoded", "Authorization", rig.Basic(app.ID, app.Secret))
				refused(t, r.Send(r.Program(), q), http.StatusBadRequest, oauth.InvalidRequest)
			})
		}
		for _, text := range []string{
			"' OR '1'='1", "$1", "%", "_", "\\", "é\u0301", "\U0001F511", "\r\nSet-Cookie: x=y", strings.Repeat("x", 20_000),
			"\u2028", "read\twrite", "read\nwrite", "read\u00a0write", "<script>",
		} {
			for _, form := range []url.Values{
				refreshForm(text), codeForm(app, text), with(codeForm(app, "x"), "code_verifier", text, "redirect_uri", text),
			} {
				refused(t, r.PostAs(app, "/oauth/token", form), http.StatusBadRequest, oauth.InvalidGrant)
			}
			refused(t, r.PostAs(app, "/oauth/token", with(refreshForm(refresh), "scope", text)),
				http.StatusBadRequest, oauth.InvalidScope)
			refused(t, r.PostAs(app, "/oauth/token", with(refreshForm(refresh), "resource", text)),
				http.StatusBadRequest, oauth.InvalidTarget)
			refused(t,
				r.Post("/oauth/token", ownForm, "Authorization",
					rig.Basic(text[:min(len(text), 8000)], text[:min(len(text), 8000)])), http.StatusUnauthorized, oauth.InvalidClient)
		}
		granted(t, r.Refresh(app, refresh))
	})
}

// granted and refused check the headers of every other response in these tests; these are the responses that no other
// test sees.
func TestT81_EveryAnswerForbidsStorage(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := robot(r)
	machineHeaders(t, r.PostAs(app, "/oauth/revoke", url.Values{"token": {"x"}}))
	machineHeaders(t, r.Introspect(app, "x"))
	a := r.PostAs(app, "/oauth/token", ownForm, "Origin", "https://app.example")
	machineHeaders(t, a)
	if a.Header.Get("Access-Control-Allow-Credentials") != "" || a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("headers %v", a.Header)
	}
}

// A refusal before routing has the same shape.
func TestT81_RefusalsBeforeTheRouteForbidStorage(t *testing.T) {
	r := rig.Memory(t, rig.Options{
		Issuer: "https://id.example", TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	app := robot(r)
	for path, form := range protected(app) {
		send := func(method string, header ...string) *rig.Answer {
			return r.Send(r.Program(), r.Request(method, path, strings.NewReader(form.Encode()), append([]string{
				"Content-Type", "application/x-www-form-urlencoded",
				"Authorization", rig.Basic(app.ID, app.Secret),
			}, header...)...))
		}
		refused(t, send(http.MethodPost, "X-Forwarded-Proto", "http"), http.StatusBadRequest, oauth.InvalidRequest)
		refused(t, send("PROPFIND"), http.StatusMethodNotAllowed, oauth.InvalidRequest)
		refused(t, send(http.MethodTrace), http.StatusMethodNotAllowed, oauth.InvalidRequest)
		a := send(http.MethodPost, "X-Forwarded-Proto", "https")
		if a.Status == http.StatusBadRequest && path == "/oauth/token" {
			t.Errorf("over https: %d %s", a.Status, a.Body)
		}
	}
}

// panicking is a body that makes the handler panic.
type panicking struct{}

func (panicking) Read([]byte) (int, error) {
	panic("select * from secrets at db.internal:5432 (*storage.Store)")
}
func (panicking) Close() error { return nil }

func TestT82_InternalErrorTellsNothing(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	for _, path := range []string{"/oauth/token", "/oauth/introspect", "/oauth/revoke"} {
		q := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1"+path, panicking{})
		q.Host = strings.TrimPrefix(r.Issuer, "http://")
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		r.Web.ServeHTTP(w, q)
		refused(t, &rig.Answer{Status: w.Code, Header: w.Header(), Body: w.Body.String()}, http.StatusInternalServerError,
			oauth.ServerError)
		if !strings.Contains(r.Log.String(), w.Header().Get("X-Request-Id")) {
			t.Error("the log does not know the request id")
		}
	}
	granted(t, r.PostAs(robot(r), "/oauth/token", ownForm))
}

func TestT82_T83_RefusedStatementTellsNothing(t *testing.T) {
	eachWithOwner(t, rig.Options{}, func(t *testing.T, r *rig.Rig, owner func(string)) {
		app := robot(r)
		restore := breakWrites(r, owner, "INSERT", "access_tokens")
		refused(t, r.PostAs(app, "/oauth/token", ownForm), http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
		restore()
		granted(t, r.PostAs(app, "/oauth/token", ownForm))
	})
}

func TestT83_StorageAwayIsNeverANo(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, machine := r.App(management.ClientSpec{}), robot(r)
		public := r.App(management.ClientSpec{Public: true, RedirectURIs: []string{"https://app.example/cb"}})
		b := r.Browser().SignIn(r.Alice.Email)
		code := b.Code(app, "read")
		access, refresh := granted(t, r.Exchange(app, b.Code(app, "read")))
		_, publicRefresh := granted(t, r.Exchange(public, b.Code(public, "read")))
		// Of the clients, the machine is not cached.
		r.BreakStorage()
		for name, a := range map[string]*rig.Answer{
			"exchange":           r.Exchange(app, code),
			"refresh":            r.Refresh(app, refresh),
			"public refresh":     r.Refresh(public, publicRefresh),
			"client_credentials": r.PostAs(machine, "/oauth/token", ownForm),
			"revoke":             r.PostAs(app, "/oauth/revoke", url.Values{"token": {access}}),
			"introspect":         r.Introspect(app, access),
			"wrong secret":       r.Post("/oauth/token", ownForm, "Authorization", rig.Basic(machine.ID, wrongSecret)),
			"unknown client": r.Post("/oauth/token", ownForm, "Authorization",
				rig.Basic("app_00000000-0000-7000-8000-000000000000", wrongSecret)),
		} {
			t.Run(name, func(t *testing.T) {
				refused(t, a, http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
			})
		}
	})
}
