package api_test

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

// openResource is an API that is open to apps that register themselves.
func openResource() []catalog.Resource {
	return []catalog.Resource{{
		ID: "https://api.example.com", Name: "Example API", WorkspaceHeader: "X-Workspace",
		Scopes: catalog.DefaultScopes(), OpenScopes: []string{"read"},
		Keys: catalog.KeyRules{Prefix: "sk", Environments: []string{"live", "test"}},
	}}
}

// A registration token that the API created works as often as it says and until it says so, is shown once, and no
// longer than until it is revoked.
func TestLifeOfARegistrationToken(t *testing.T) {
	rig.Each(t, rig.Options{
		Registration: management.RegistrationToken, Resources: openResource(),
	}, func(t *testing.T, r *rig.Rig) {
		root := r.User("root@example.com", "Root", true)
		_, admin := r.PersonalToken(root, apikey.Spec{Scopes: []string{"admin"}})
		const path = "/v1/registration-tokens"
		create := func(body string, header ...string) map[string]any {
			t.Helper()
			made := want(t, r.JSON("POST", path, admin, body, header...), http.StatusCreated)
			r.Seen.Add("registration token", made["token"].(string))
			return made
		}
		register := func(token any) int {
			return r.JSON("POST", "/oauth/register", fmt.Sprint(token), `{"redirect_uris":["https://app.example/cb"]}`).Status
		}

		end := r.Now().Add(48 * time.Hour).UTC().Format(time.RFC3339)
		made := create(fmt.Sprintf(`{"uses":2,"expiresAt":%q}`, end))
		token := made["token"].(string)
		if !strings.HasPrefix(token, "dw_ia_") || made["uses"] != 2.0 || made["used"] != 0.0 || made["lastUsedAt"] != nil ||
			made["createdBy"] != root.ID || made["masked"] != "dw_ia_…"+token[len(token)-4:] ||
			made["expiresAt"].(string)[:16] != end[:16] {
			t.Errorf("created %v", made)
		}
		if register(token) != http.StatusCreated {
			t.Error("the token does not work")
		}
		list := want(t, r.JSON("GET", path, admin, ""), http.StatusOK)
		data, _ := list["data"].([]any)
		if len(data) != 1 || strings.Contains(fmt.Sprint(list), token) {
			t.Fatalf("list: %v", list)
		}
		if one := data[0].(map[string]any); one["id"] != made["id"] || one["used"] != 1.0 || one["lastUsedAt"] == nil ||
			one["token"] != nil {
			t.Errorf("after one registration: %v", one)
		}

		// Without members it has the defaults of the page and the CLI.
		standard := create("")
		if standard["uses"] != float64(management.DefaultTokenUses) ||
			standard["expiresAt"].(string)[:10] != r.Now().Add(management.DefaultTokenLifetime).UTC().Format(time.DateOnly) {
			t.Errorf("the default: %v", standard)
		}

		// The same request once more creates nothing, and has the same answer.
		once := create(`{"uses":3}`, "Idempotency-Key", "once")
		if again := create(`{"uses":3}`, "Idempotency-Key", "once"); again["token"] != once["token"] {
			t.Errorf("again: %v, want %v", again, once)
		}
		first := want(t, r.JSON("GET", path+"?limit=2", admin, ""), http.StatusOK)
		next, _ := first["nextCursor"].(string)
		second := want(t, r.JSON("GET", path+"?limit=2&cursor="+url.QueryEscape(next), admin, ""), http.StatusOK)
		if rest, _ := second["data"].([]any); next == "" || len(rest) != 1 || second["nextCursor"] != nil ||
			rest[0].(map[string]any)["id"] != once["id"] {
			t.Errorf("pages: %v, %v", first, second)
		}

		// The time until then is an hour, if it is counted in a time.Duration, which has 64 bits.
		wraps := r.Now().Add(math.MaxInt64).Add(math.MaxInt64).Add(time.Hour).UTC().Format(time.RFC3339)
		for _, body := range []string{
			`{"uses":0}`, `{"uses":100001}`, `{"uses":"2"}`, `{"expiresAt":"` + wraps + `"}`,
			`{"expiresAt":"2020-01-01T00:00:00Z"}`, `{"expiresAt":"9999-12-31T23:59:59Z"}`, `{"expiresAt":"7d"}`, `{"token":"x"}`,
		} {
			want(t, r.JSON("POST", path, admin, body), http.StatusBadRequest)
		}
		if a := r.JSON("POST", path, admin, `{"expiresAt":"9999-12-31T23:59:59Z"}`); !strings.Contains(a.Body, "expiresAt") {
			t.Errorf("the fault does not name its member: %s", a.Body)
		}

		if a := r.JSON("DELETE", path+"/"+made["id"].(string), admin, ""); a.Status != http.StatusNoContent {
			t.Errorf("revoking answered %d %s", a.Status, a.Body)
		}
		if register(token) != http.StatusUnauthorized {
			t.Error("a revoked token works")
		}
		for _, id := range []string{made["id"].(string), storage.NewID("regtoken"), "regtoken_x", "%00"} {
			want(t, r.JSON("DELETE", path+"/"+id, admin, ""), http.StatusNotFound)
		}
	})
}

// Only an administrator's browser or unrestricted personal access token reaches registration tokens. A browser whose
// sign-in is too old can list and revoke them, and creates none.
func TestOnlyAdministratorsManageRegistrationTokens(t *testing.T) {
	w := newWorld(t)
	root := w.User("root@example.com", "Root", true)
	home := w.Workspace("home", "", root)
	pat := func(u storage.User, p apikey.Spec) string {
		_, text := w.PersonalToken(u, p)
		return text
	}
	adminScope := []string{"admin"}
	held := apikey.Spec{Scopes: adminScope, Role: catalog.RoleOwner}
	_, key := w.Key(home, apikey.Spec{Scopes: adminScope})
	stale := w.Browser().SignIn(root.Email)
	w.Advance(6 * time.Minute)
	for name, x := range map[string]struct {
		ask  func(method, path, body string) *rig.Answer
		want string // for creating, listing and revoking
	}{
		"administrator's session":                  {w.session(w.Browser().SignIn(root.Email)), "+++"},
		"administrator's stale session":            {w.session(stale), "?++"},
		"administrator's token":                    {w.bearer(pat(root, apikey.Spec{Scopes: adminScope})), "+++"},
		"administrator's token without admin":      {w.bearer(pat(root, apikey.Spec{Scopes: []string{"read"}})), "---"},
		"administrator's token, held to a role":    {w.bearer(pat(root, held)), "---"},
		"API key of an administrator's workspace":  {w.bearer(key), "---"},
		"a user's session":                         {w.session(w.Browser().SignIn(w.Alice.Email)), "---"},
		"a user's token":                           {w.bearer(pat(w.Alice, apikey.Spec{Scopes: adminScope})), "---"},
		"a user's API key":                         {w.bearer(adminKey(w.Rig, w.acme)), "---"},
		"an app that manages for an administrator": {w.bearer(managing(w, root)), "---"},
	} {
		id := w.fill("{regtoken}")
		got := letter(x.ask("POST", "/v1/registration-tokens", `{}`)) +
			letter(x.ask("GET", "/v1/registration-tokens", "")) +
			letter(x.ask("DELETE", "/v1/registration-tokens/"+id, ""))
		if got != x.want {
			t.Errorf("%s: %s, want %s", name, got, x.want)
		}
	}
}

// managing returns an access token of an app that manages for a user.
func managing(w *world, u storage.User) string {
	w.T.Helper()
	app := w.App(management.ClientSpec{Scopes: []string{"admin"}, Manages: true})
	b := w.Browser().SignIn(u.Email)
	a := b.Decide(b.Authorize(app.Params("admin")), "approve", func(form url.Values) { form.Set("workspace", "home") })
	return w.Exchange(app, a.Param("code")).Text("access_token")
}

// The members of RFC 7591 about an app's pages are set, changed and removed under their names.
func TestPagesOfAnAppByTheAPI(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		admin := adminKey(r, r.Workspace("acme", "", r.Alice))
		made := want(t, r.JSON("POST", "/v1/apps", admin, `{"name":"App","redirectUris":["https://app.example/cb"],
			"scopes":["read"],"logo_uri":"https://app.example/logo.png","policy_uri":"https://app.example/privacy",
			"tos_uri":"https://app.example/terms"}`), http.StatusCreated)
		path := "/v1/apps/" + made["id"].(string)
		check := func(got map[string]any, wanted map[string]any) {
			t.Helper()
			for name, value := range wanted {
				if x, has := got[name]; !has || x != value {
					t.Errorf("%s is %v, want %v", name, x, value)
				}
			}
		}
		check(made, map[string]any{
			"logo_uri": "https://app.example/logo.png", "policy_uri": "https://app.example/privacy",
			"tos_uri": "https://app.example/terms", "application_type": nil, "registration": nil,
		})
		changed := want(t, r.JSON("PATCH", path, admin, `{"logo_uri":null,"tos_uri":"https://app.example/2"}`), http.StatusOK)
		check(changed, map[string]any{
			"logo_uri": nil, "policy_uri": "https://app.example/privacy", "tos_uri": "https://app.example/2",
		})
		check(want(t, r.JSON("GET", path, admin, ""), http.StatusOK), map[string]any{"logo_uri": nil})
		for _, name := range []string{"logo_uri", "policy_uri", "tos_uri"} {
			for _, address := range []string{"http://app.example/x", "https://127.0.0.1/x", "javascript:alert(1)"} {
				a := r.JSON("PATCH", path, admin, fmt.Sprintf(`{%q:%q}`, name, address))
				if a.Status != http.StatusBadRequest || !strings.Contains(a.Body, name) {
					t.Errorf("%s %s: %d %s", name, address, a.Status, a.Body)
				}
			}
		}
		for _, name := range []string{"application_type", "registration"} {
			want(t, r.JSON("PATCH", path, admin, fmt.Sprintf(`{%q:"web"}`, name)), http.StatusBadRequest)
		}
	})
}

// An app that registered itself belongs to no workspace, so that its client_id, also one that is a URL, is answered as
// one that does not exist.
func TestAppsThatRegisteredThemselvesAreNotFound(t *testing.T) {
	r := rig.Memory(t, rig.Options{Registration: management.RegistrationOpen, Resources: openResource()})
	root := r.User("root@example.com", "Root", true)
	_, admin := r.PersonalToken(root, apikey.Spec{Scopes: []string{"admin"}})
	r.Workspace("home", "", root)
	registered := want(t, r.JSON("POST", "/oauth/register", "", `{"redirect_uris":["https://app.example/cb"]}`),
		http.StatusCreated)
	r.Seen.Add("client secret", registered["client_secret"].(string))
	r.Seen.Add("registration token", registered["registration_access_token"].(string))
	p := management.ClientSpec{
		Name: "Stranger", Public: true, RedirectURIs: []string{"https://client.example/cb"},
		Grants: []string{"authorization_code"},
	}
	document := management.DocumentClient("https://client.example/app.json?v=1", &p, r.Store.Now())
	if err := r.Management.SaveDocumentClient(r.System(), document); err != nil {
		t.Fatal(err)
	}
	missing := r.JSON("GET", "/v1/apps/"+storage.NewID("app"), admin, "", "X-Workspace", "home")
	if missing.Status != http.StatusNotFound {
		t.Fatalf("an app that does not exist is answered %d %s", missing.Status, missing.Body)
	}
	for _, id := range []string{
		registered["client_id"].(string), document.ID, "https://client.example/", "https://a.example//x",
		"https://a.example/x?y=/../z", "https://", "x/y",
	} {
		for _, q := range [][3]string{
			{"GET", "", ""},
			{"PATCH", "", `{"disabled":true}`},
			{"DELETE", "", ""},
			{"POST", "/secret", ""},
		} {
			path := "/v1/apps/" + url.PathEscape(id) + q[1]
			a := r.JSON(q[0], path, admin, q[2], "X-Workspace", "home")
			if a.Status != missing.Status || a.Body != missing.Body {
				t.Errorf("%s %s: %d %s, want %s", q[0], path, a.Status, a.Body, missing.Body)
			}
			if a := r.JSON(q[0], path, "", q[2]); a.Status != http.StatusUnauthorized {
				t.Errorf("%s %s without a credential: %d %s", q[0], path, a.Status, a.Body)
			}
		}
	}
	list := want(t, r.JSON("GET", "/v1/apps", admin, "", "X-Workspace", "home"), http.StatusOK)
	if data, _ := list["data"].([]any); len(data) != 0 {
		t.Errorf("listed: %v", list)
	}
	for _, id := range []string{registered["client_id"].(string), document.ID} {
		if c, err := r.Store.ClientByID(r.System(), id); err != nil || !c.DisabledAt.IsZero() {
			t.Errorf("%s was changed: %+v, %v", id, c, err)
		}
	}
}
