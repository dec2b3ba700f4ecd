package security

import (
	"net/http"
	"net/url"
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
	r := rig.Memory(t, rig.Options{})
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
}

func TestT73_UserOnlyScopesAreNotForMachines(t *testing.T) {
	r := rig.Memory(t, rig.Options{Resources: twoResources()})
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
		t.Errorf("introspection of a user's token says %q", seen)
	}
}

func TestT14_T79_ResourceOfAMachineMustBeItsOwn(t *testing.T) {
	r := rig.Memory(t, rig.Options{Resources: twoResources()})
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
}

// RFC 9700, section 4.15: a machine's token must not be mistaken for a user's.
func TestT74_AMachineCannotLookLikeAUser(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
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
}

func TestT75_JSONIsAcceptedLikeTheSameForm(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
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
