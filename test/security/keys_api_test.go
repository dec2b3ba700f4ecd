package security

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/oauth/limit"
	"doorward/oauth/seal"
	"doorward/storage"
	"doorward/test/rig"
	"doorward/web/gateway"
)

// answered checks an answer of the management API: its status, and that a refusal has the flat shape.
func answered(t *testing.T, what string, a *rig.Answer, status int) {
	t.Helper()
	if a.Status != status {
		t.Errorf("%s answered %d %s, want %d", what, a.Status, a.Body, status)
		return
	}
	if a.Header.Get("X-Request-Id") == "" || a.Header.Get("Cache-Control") != "no-store" ||
		a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%s: headers %v", what, a.Header)
	}
	if status >= 400 &&
		(a.JSON()["statusCode"] != float64(status) || a.Text("message") == "" ||
			a.Header.Get("Content-Type") != "application/json") {
		t.Errorf("%s: body %s", what, a.Body)
	}
	if (status == 401 || status == 403) != (a.Header.Get("WWW-Authenticate") != "") {
		t.Errorf("%s: %d with WWW-Authenticate %q", what, status, a.Header.Get("WWW-Authenticate"))
	}
}

// liveKeys counts the API keys of a workspace.
func liveKeys(r *rig.Rig, w storage.Workspace) int {
	r.T.Helper()
	list, err := r.Store.Keys(r.System(), storage.KeyOwner{WorkspaceID: w.ID},
		storage.KeyFilter{State: "active", Limit: 1000})
	if err != nil {
		r.T.Fatal(err)
	}
	return len(list)
}

func TestK10_K11_NoKeyHasMoreRightsThanItsCreator(t *testing.T) {
	rig.EachNodes(t, limited(), func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		w := r.Workspace("acme", "pro", r.Alice)
		end := r.Store.Now().Add(time.Hour)
		_, narrow := r.Key(w, apikey.Spec{Scopes: []string{"read", "write"}})
		_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}, ExpiresAt: end, Addresses: []string{"127.0.0.0/8"}})
		_, test := r.Key(w, apikey.Spec{Scopes: []string{"admin"}, Environment: "test"})
		live, _ := r.Key(w, apikey.Spec{})
		viewer := r.User("viewer@example.com", "Viewer", false)
		r.Join(w, viewer, "viewer")
		member := r.User("member@example.com", "Member", false)
		r.Join(w, member, "member")
		_, pat := r.PersonalToken(member, apikey.Spec{Scopes: []string{"admin", "capture"}})
		_, seen := r.PersonalToken(viewer, apikey.Spec{Scopes: []string{"admin"}})
		before := liveKeys(r, w)
		soon := end.Add(-time.Minute).Time().Format(time.RFC3339)
		for what, x := range map[string]struct{ credential, body, scope string }{
			"a key without admin": {narrow, `{"name":"x","scopes":["read"]}`, "admin"},
			"a scope that it does not hold": {
				admin, `{"name":"x","scopes":["capture"],"expiresAt":"` + soon + `","addresses":["127.0.0.1"]}`, "capture",
			},
			"a key without an end": {admin, `{"name":"x","scopes":["read"],"addresses":["127.0.0.1"]}`, ""},
			"a later end": {
				admin, `{"name":"x","scopes":["read"],"expiresAt":"2099-01-01T00:00:00Z","addresses":["127.0.0.1"]}`, "",
			},
			"more addresses": {
				admin, `{"name":"x","scopes":["read"],"expiresAt":"` + soon + `","addresses":["127.0.0.1","192.0.2.1"]}`, "",
			},
			"any address":                    {admin, `{"name":"x","scopes":["read"],"expiresAt":"` + soon + `"}`, ""},
			"a live key by a test key":       {test, `{"name":"x","scopes":["read"]}`, ""},
			"an API key that introspects":    {admin, `{"name":"x","scopes":["introspect"]}`, "introspect"},
			"a member, whose token says all": {pat, `{"name":"x","scopes":["read"]}`, ""},
			"a viewer, whose token says all": {seen, `{"name":"x","scopes":["read"]}`, "admin"},
		} {
			a := other.JSON("POST", "/v1/api-keys", x.credential, x.body, workspaceOf(x.credential, "acme")...)
			answered(t, what, a, http.StatusForbidden)
			challenge := a.Header.Get("WWW-Authenticate")
			if !strings.Contains(challenge, `error="insufficient_scope"`) || x.scope != "" &&
				!strings.HasSuffix(challenge, `, scope="`+x.scope+`"`) {
				t.Errorf("%s: %s", what, challenge)
			}
		}
		answered(t, "another workspace",
			other.JSON("POST", "/v1/api-keys", admin, `{"name":"x","scopes":["read"]}`, "X-Workspace", "elsewhere"),
			http.StatusForbidden)
		answered(t, "rotating a live key with a test key", other.JSON("POST", "/v1/api-keys/"+live.ID+"/rotate", test, ""),
			http.StatusForbidden)
		answered(t, "rotating an endless key with one that ends",
			other.JSON("POST", "/v1/api-keys/"+live.ID+"/rotate", admin, ""), http.StatusForbidden)
		answered(t, "widening", other.JSON("PATCH", "/v1/api-keys/"+live.ID, admin, `{"scopes":["write"]}`),
			http.StatusForbidden)
		answered(t, "opening to every address", other.JSON("PATCH", "/v1/api-keys/"+live.ID, admin, `{"addresses":null}`),
			http.StatusForbidden)
		answered(t, "an app by a key that ends",
			other.JSON("POST", "/v1/apps", admin, `{"name":"x","grants":["client_credentials"],"scopes":["read"]}`),
			http.StatusForbidden)
		answered(t, "an app with more scopes",
			other.JSON("POST", "/v1/apps", test, `{"name":"x","grants":["client_credentials"],"scopes":["capture"]}`),
			http.StatusForbidden)
		if n := liveKeys(r, w); n != before {
			t.Errorf("there are %d keys, and were %d", n, before)
		}
		answered(t, "what it may",
			other.JSON("POST", "/v1/api-keys", admin, `{"name":"x","scopes":["read"],"expiresAt":"`+soon+
				`","addresses":["127.0.0.1"]}`), http.StatusCreated)
	})
}

// workspaceOf names the workspace for a personal access token, which must name one.
func workspaceOf(credential, slug string) []string {
	if strings.HasPrefix(credential, "pat_") {
		return []string{"X-Workspace", slug}
	}
	return nil
}

func TestK12_StrangeMembersChangeNothing(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	w := r.Workspace("acme", "", r.Alice)
	_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
	k, _ := r.Key(w, apikey.Spec{Name: "Before", Note: "note"})
	path := "/v1/api-keys/" + k.ID
	before := r.JSON("GET", path, admin, "").Body
	for body, names := range map[string]string{
		`{"name":"x","workspace_id":"ws_1"}`: "workspace_id",
		`{"name":"x","workspaceId":"ws_1"}`:  "workspaceId",
		`{"name":"x","owner_id":"user_1"}`:   "owner_id",
		`{"name":"x","hash":"00"}`:           "hash",
		`{"name":"x","rate_limit":1}`:        "rate_limit",
		`{"name":"x","Name":"y"}`:            "Name",
		`{"name":"x","name":"y"}`:            "name",
		`{"name":"x","expiresAt":null}`:      "expiresAt",
		`{"name":"x","environment":"test"}`:  "environment",
		`{"name":7}`:                         "name",
		`{"name":["x"]}`:                     "name",
		`{"note":{}}`:                        "note",
		`{"scopes":"read"}`:                  "scopes",
		`{"scopes":[1]}`:                     "scopes",
		`{"scopes":{"a":"read"}}`:            "scopes",
		`{"scopes":{"a":["x"],"a":["y"]}}`:   "",
		`{"rateLimit":"1"}`:                  "rateLimit",
		`{"rateLimit":1.5}`:                  "rateLimit",
		`{"rateLimit":0}`:                    "rateLimit",
		`{"rateLimit":-1}`:                   "rateLimit",
		`{"rateLimit":99999999999999999999}`: "rateLimit",
		`{"paused":"true"}`:                  "paused",
		`{"paused":1,"name":"x"}`:            "paused",
		`{"addresses":"192.0.2.1"}`:          "addresses",
		`{"addresses":["nowhere"]}`:          "addresses",
		`{"name":"x"}{"name":"y"}`:           "",
		`{"name":"x"} x`:                     "",
		`{"name":"x"`:                        "",
		`[{"name":"x"}]`:                     "",
		`"x"`:                                "",
		`null`:                               "",
		"{\"name\":\"\xff\"}":                "",
		`{"name":"x",}`:                      "",
		`{"name":"x","y":` + strings.Repeat(`[`, 30000) + strings.Repeat(`]`, 30000) + `}`:   "",
		`{"name":` + strings.Repeat(`{"a":`, 10001) + `1` + strings.Repeat(`}`, 10001) + `}`: "",
	} {
		a := r.JSON("PATCH", path, admin, body)
		answered(t, shown(body), a, http.StatusBadRequest)
		if names != "" && !strings.Contains(a.Text("message"), names) {
			t.Errorf("%s: %q does not name %s", shown(body), a.Text("message"), names)
		}
	}
	answered(t, "another media type",
		r.Send(r.Program(),
			r.Request("PATCH", path, strings.NewReader(`{"name":"x"}`), "Authorization", "Bearer "+admin, "Content-Type",
				"text/plain")), http.StatusUnsupportedMediaType)
	answered(t, "no media type",
		r.Send(r.Program(), r.Request("PATCH", path, strings.NewReader(`{"name":"x"}`), "Authorization", "Bearer "+admin)),
		http.StatusUnsupportedMediaType)
	answered(t, "a form",
		r.Send(r.Program(),
			r.Request("PATCH", path, strings.NewReader(`name=x`), "Authorization", "Bearer "+admin, "Content-Type",
				"application/x-www-form-urlencoded")), http.StatusUnsupportedMediaType)
	if after := r.JSON("GET", path, admin, "").Body; after != before {
		t.Errorf("the key was\n%sand is\n%s", before, after)
	}
	// No submitted value is repeated.
	const secret = "hunter2-and-more"
	for _, body := range []string{
		`{"name":{"` + secret + `":1}}`, `{"paused":"` + secret + `"}`, `{"rateLimit":"` + secret + `"}`,
		`{"scopes":"` + secret + `"}`, secret,
	} {
		a := r.JSON("PATCH", path, admin, body)
		if strings.Contains(a.Body, secret) || strings.Contains(fmt.Sprint(a.Header), secret) {
			t.Errorf("%s comes back: %s", body, a.Body)
		}
	}
}

func shown(body string) string {
	if len(body) > 60 {
		return body[:60] + "…"
	}
	return body
}

// Another workspace's object looks like one that does not exist.
func TestK14_S08_ObjectsOfOtherWorkspacesAreNotFound(t *testing.T) {
	rig.EachNodes(t, rig.Options{}, func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		bob := r.User("bob@example.com", "Bob", false)
		w, theirs := r.Workspace("acme", "", r.Alice), r.Workspace("globex", "", bob)
		_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
		_, pat := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
		key, keyText := r.Key(theirs, apikey.Spec{})
		token, tokenText := r.PersonalToken(bob, apikey.Spec{})
		app := r.App(management.ClientSpec{WorkspaceID: theirs.ID, CreatedBy: bob.ID})
		orphan := r.App(management.ClientSpec{})
		intro, _ := r.IntrospectionKey()
		invitation, _, err := r.Management.Invite(r.System(), management.CommandLine(theirs.ID), theirs,
			"carol@example.com", "member")
		if err != nil {
			t.Fatal(err)
		}
		session := r.Browser().SignIn(r.Alice.Email)
		for _, x := range []struct{ path, theirs, kind, body, post string }{
			{"/v1/api-keys/", key.ID, "key", `{"name":"mine"}`, "/rotate"},
			{"/v1/api-keys/", intro.ID, "key", `{"name":"mine"}`, "/rotate"},
			{"/v1/personal-access-tokens/", token.ID, "token", `{"name":"mine"}`, ""},
			{"/v1/api-keys/", token.ID, "key", `{"name":"mine"}`, "/rotate"},
			{"/v1/apps/", app.ID, "app", `{"name":"mine","disabled":true}`, "/secret"},
			{"/v1/apps/", orphan.ID, "app", `{"name":"mine","disabled":true}`, "/secret"},
			{"/v1/workspaces/", theirs.Slug, "", `{"name":"mine"}`, ""},
			{"/v1/workspaces/" + theirs.Slug + "/members/", bob.ID, "user", `{"role":"viewer"}`, ""},
			{"/v1/workspaces/" + w.Slug + "/members/", bob.ID, "user", `{"role":"viewer"}`, ""},
			{"/v1/workspaces/" + w.Slug + "/invitations/", invitation.ID, "invitation", "", ""},
		} {
			never := "no-such-slug"
			if x.kind != "" {
				never = storage.NewID(x.kind)
			}
			type request struct{ method, body, after string }
			requests := []request{{"DELETE", "", ""}}
			if x.body != "" {
				requests = append(requests, request{"PATCH", x.body, ""})
			}
			if x.kind != "user" && x.kind != "invitation" {
				requests = append(requests, request{"GET", "", ""})
			}
			if x.post != "" {
				requests = append(requests, request{"POST", `{"grace":"0s"}`, x.post})
			}
			for _, q := range requests {
				ask := func(id string) *rig.Answer {
					credential := admin
					if x.kind == "token" || strings.HasPrefix(x.path, "/v1/workspaces") {
						credential = pat
					}
					return other.JSON(q.method, x.path+id+q.after, credential, q.body)
				}
				a, b := ask(x.theirs), ask(never)
				what := q.method + " " + x.path + x.theirs + q.after
				answered(t, what, a, http.StatusNotFound)
				if a.Body != b.Body || a.Status != b.Status || !sameHeaders(a, b) {
					t.Errorf("%s: %d %s %v\nnever: %d %s %v", what, a.Status, a.Body, a.Header, b.Status, b.Body, b.Header)
				}
				if a := session.JSON(q.method, x.path+x.theirs+q.after, q.body, "X-Workspace",
					w.Slug); a.Status != http.StatusNotFound || a.Body != b.Body {
					t.Errorf("%s by a session: %d %s", what, a.Status, a.Body)
				}
			}
		}
		// Nothing has changed.
		for _, text := range []string{keyText, tokenText} {
			answered(t, "their credential", r.JSON("GET", "/v1/auth/test", text, ""), http.StatusOK)
		}
		if c, err := r.Store.ClientByID(r.System(), app.ID); err != nil || c.Name == "mine" || !c.DisabledAt.IsZero() ||
			len(c.Secrets) != 1 || c.Secrets[0].Digest == nil {
			t.Errorf("their app: %+v, %v", c, err)
		}
		if role, err := r.Store.RoleOf(r.System(), theirs.ID, bob.ID); err != nil || role != "owner" {
			t.Errorf("their owner: %s, %v", role, err)
		}
	})
}

// sameHeaders compares the headers that do not vary between answers.
func sameHeaders(a, b *rig.Answer) bool {
	text := func(h http.Header) string {
		h = h.Clone()
		h.Del("X-Request-Id")
		h.Del("Date")
		return fmt.Sprint(h)
	}
	return text(a.Header) == text(b.Header)
}

func TestK15_ListsHoldNothingOfOtherWorkspaces(t *testing.T) {
	rig.EachNodes(t, rig.Options{}, func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		bob := r.User("bob@example.com", "Bob", false)
		w, theirs := r.Workspace("acme", "", r.Alice), r.Workspace("globex", "", bob)
		_, text := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
		key, secret := r.Key(theirs, apikey.Spec{Name: "Theirs"})
		r.App(management.ClientSpec{WorkspaceID: theirs.ID, CreatedBy: bob.ID})
		r.PersonalToken(bob, apikey.Spec{})
		answered(t, "their key", r.JSON("GET", "/v1/auth/test", secret, ""), http.StatusOK)
		if err := r.Store.FlushUsage(r.System()); err != nil {
			t.Fatal(err)
		}
		_, pat := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
		for path, n := range map[string]int{
			"/v1/api-keys": 1, "/v1/api-keys?search=Theirs": 0, "/v1/api-keys?createdBy=" + bob.ID: 0, "/v1/apps": 0,
			"/v1/usage?credential=" + key.ID: 0, "/v1/audit-events?target=" + key.ID: 0, "/v1/audit-events?user=" + bob.ID: 0,
			"/v1/workspaces/acme/invitations": 0, "/v1/workspaces/acme/members": 1,
		} {
			a := other.JSON("GET", path, text, "")
			answered(t, path, a, http.StatusOK)
			data, _ := a.JSON()["data"].([]any)
			if len(data) != n || a.JSON()["nextCursor"] != nil || strings.Contains(a.Body, key.ID) {
				t.Errorf("%s: %s", path, a.Body)
			}
			answered(t, path+" elsewhere", other.JSON("GET", path, pat, "", "X-Workspace", "globex"),
				map[bool]int{true: 200, false: 403}[strings.HasPrefix(path, "/v1/workspaces/")])
			for _, name := range []string{"workspace", "workspace_id", "workspaceId", "owner"} {
				q := map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")] + name + "=" + theirs.ID
				answered(t, path+q, other.JSON("GET", path+q, text, ""), http.StatusBadRequest)
			}
		}
		answered(t, "their workspace", other.JSON("GET", "/v1/workspaces/globex/members", pat, ""), http.StatusNotFound)
	})
}

// A personal access token acts where its user is a member, and nowhere else. A request that names another workspace, or
// none, is refused in the same way.
func TestK16_K18_TheWorkspaceThatIsNamedMustBeTheCallers(t *testing.T) {
	rig.EachNodes(t, limited(), func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		bob := r.User("bob@example.com", "Bob", false)
		w := r.Workspace("acme", "", r.Alice)
		r.Workspace("globex", "", bob)
		_, key := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
		_, pat := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
		session := r.Browser().SignIn(r.Alice.Email)
		never := other.JSON("GET", "/v1/api-keys", pat, "", "X-Workspace", "no-such-one")
		answered(t, "no such workspace", never, http.StatusForbidden)
		for _, slug := range []string{
			"globex", "*", "", "ACME", "acme ", "%61cme", "acme%00", "acme,globex", "../acme", "'; --", "%", "\xff",
			strings.Repeat("a", 5000), w.ID,
		} {
			if strings.TrimSpace(slug) == "acme" {
				continue // white space around a header's value is ignored
			}
			a := other.JSON("GET", "/v1/api-keys", pat, "", "X-Workspace", slug)
			if a.Status != never.Status || a.Body != never.Body ||
				a.Header.Get("WWW-Authenticate") != never.Header.Get("WWW-Authenticate") ||
				a.Header.Get("X-RateLimit-Limit") != "" {
				t.Errorf("a token and the workspace %.40q: %d %s %v", slug, a.Status, a.Body, a.Header)
			}
			answered(t, fmt.Sprintf("a key and the workspace %.40q", slug),
				other.JSON("GET", "/v1/api-keys", key, "", "X-Workspace", slug), http.StatusForbidden)
			answered(t, fmt.Sprintf("who is a key in %.40q", slug),
				other.JSON("GET", "/v1/auth/test", key, "", "X-Workspace", slug), http.StatusForbidden)
			if a := session.JSON("GET", "/v1/api-keys", "", "X-Workspace", slug); a.Status != never.Status ||
				a.Body != never.Body {
				t.Errorf("a session and the workspace %.40q: %d %s", slug, a.Status, a.Body)
			}
		}
		answered(t, "two workspaces",
			other.JSON("GET", "/v1/api-keys", pat, "", "X-Workspace", "acme", "X-Workspace", "globex"), http.StatusForbidden)
		answered(t, "a token without a workspace", other.JSON("GET", "/v1/api-keys", pat, ""), http.StatusBadRequest)
		answered(t, "a token in its user's", other.JSON("GET", "/v1/api-keys", pat, "", "x-workspace", "acme"), http.StatusOK)
		answered(t, "a key in its own", other.JSON("GET", "/v1/api-keys", key, "", "X-Workspace", "acme"), http.StatusOK)
		answered(t, "a key that names none", other.JSON("GET", "/v1/api-keys", key, ""), http.StatusOK)
		// The request target counts, not the header.
		answered(t, "another workspace in the path",
			other.JSON("GET", "/v1/workspaces/globex", pat, "", "X-Workspace", "acme"), http.StatusNotFound)
		// A refusal because of the workspace is not charged: the remaining count reflects only the other requests.
		a := other.JSON("GET", "/v1/auth/test", pat, "")
		if left := a.Header.Get("X-RateLimit-Remaining"); left != "17" {
			t.Errorf("%s of 20 are left: %v", left, a.Header)
		}
	})
}

func TestK19_ACredentialIsReadFromOneHeaderAlone(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	w := r.Workspace("acme", "", r.Alice)
	_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
	ask := func(path string, header ...string) *rig.Answer {
		return r.Send(r.Program(), r.Request("GET", path, nil, header...))
	}
	for what, a := range map[string]*rig.Answer{
		"query access_token": ask("/v1/api-keys?access_token=" + admin),
		"query api_key":      ask("/v1/auth/test?api_key=" + admin),
		"query key":          ask("/v1/auth/test?key=" + url.QueryEscape(admin)),
		"cookie": ask("/v1/api-keys", "Cookie",
			"doorward="+admin+"; api_key="+admin+"; access_token="+admin),
		"X-API-Key":              ask("/v1/api-keys", "X-API-Key", admin),
		"X-Authorization":        ask("/v1/api-keys", "X-Authorization", "Bearer "+admin),
		"Proxy-Authorization":    ask("/v1/api-keys", "Proxy-Authorization", "Bearer "+admin),
		"Basic":                  ask("/v1/api-keys", "Authorization", rig.Basic(admin, "")),
		"Basic, as password":     ask("/v1/api-keys", "Authorization", rig.Basic("key", admin)),
		"no scheme":              ask("/v1/api-keys", "Authorization", admin),
		"another scheme":         ask("/v1/api-keys", "Authorization", "Token "+admin),
		"two keys":               ask("/v1/api-keys", "Authorization", "Bearer "+admin+","+admin),
		"a tab":                  ask("/v1/api-keys", "Authorization", "Bearer\t"+admin),
		"nothing":                ask("/v1/api-keys", "Authorization", "Bearer"),
		"nothing at all":         ask("/v1/api-keys"),
		"a key and something":    ask("/v1/api-keys", "Authorization", "Bearer "+admin+" x"),
		"another case":           ask("/v1/api-keys", "Authorization", "Bearer "+strings.ToUpper(admin)),
		"a letter that looks so": ask("/v1/api-keys", "Authorization", "Bearer "+strings.Replace(admin, "s", "ѕ", 1)),
		"form body of a GET": r.Send(r.Program(),
			r.Request("GET", "/v1/api-keys", strings.NewReader("access_token="+admin), "Content-Type",
				"application/x-www-form-urlencoded")),
		"the other environment":   ask("/v1/api-keys", "Authorization", "Bearer "+strings.Replace(admin, "live", "test", 1)),
		"a made-up one":           ask("/v1/api-keys", "Authorization", "Bearer "+bearer.NewCredential("sk_live_")),
		"a made-up token of mine": ask("/v1/api-keys", "Authorization", "Bearer "+bearer.NewCredential("pat_")),
	} {
		answered(t, what, a, http.StatusUnauthorized)
		message := "Invalid or missing API key"
		if what == "X-API-Key" {
			message += ". The header X-Api-Key is not read; send the key in the Authorization header, as a Bearer token."
		}
		if want := `{"error":"Unauthorized","message":"` + message + `","statusCode":401}` + "\n"; a.Body != want {
			t.Errorf("%s: %s", what, a.Body)
		}
	}
	// Credentials for the token endpoint are refused here, even valid ones.
	app := r.App(management.ClientSpec{})
	code := r.Browser().SignIn(r.Alice.Email).Code(app, "read")
	_, refresh := r.Tokens(app, "read")
	for what, text := range map[string]string{"a code": code, "a refresh token": refresh, "a client secret": app.Secret} {
		answered(t, what, ask("/v1/auth/test", "Authorization", "Bearer "+text), http.StatusUnauthorized)
	}
	// If a client sends one here by mistake, it is refused and not logged.
	answered(t, "a key as the name of a parameter", ask("/v1/api-keys?"+admin+"=1", "Authorization", "Bearer "+admin),
		http.StatusBadRequest)
	for _, body := range []string{
		`{"` + admin + `":1}`, `{"name":"x","scopes":["` + admin + `"]}`,
		`{"name":"x","scopes":["read"],"plan":"` + admin + `"}`,
	} {
		answered(t, "a key in a body", r.JSON("POST", "/v1/api-keys", admin, body), http.StatusBadRequest)
	}
	answered(t, "a key in a path", ask("/v1/api-keys/"+admin, "Authorization", "Bearer "+admin), http.StatusNotFound)
	answered(t, "two Authorization headers",
		ask("/v1/api-keys", "Authorization", "Bearer "+admin, "Authorization", "Bearer "+admin), http.StatusBadRequest)
	answered(t, "X-API-Key beside the header",
		ask("/v1/api-keys", "Authorization", "Bearer "+admin, "X-API-Key", "anything"), http.StatusOK)
	answered(t, "the scheme in lower case", ask("/v1/api-keys", "Authorization", "bearer "+admin), http.StatusOK)
	answered(t, "a key in the query besides", ask("/v1/api-keys?access_token="+admin, "Authorization", "Bearer "+admin),
		http.StatusBadRequest)
}

// A credential's secret is in the answer that creates it, and never again.
func TestK20_SecretsAreShownOnce(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		w := r.Workspace("acme", "", r.Alice)
		_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
		_, pat := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
		var secrets, ids []string
		issue := func(path, credential, body, member string) {
			a := r.JSON("POST", path, credential, body)
			answered(t, "POST "+path, a, http.StatusCreated)
			secrets, ids = append(secrets, a.Text(member)), append(ids, a.Text("id"))
			if len(a.Text(member)) < 40 {
				t.Errorf("POST %s: %s", path, a.Body)
			}
		}
		issue("/v1/api-keys", admin, `{"name":"x","scopes":["read"]}`, "key")
		issue("/v1/api-keys/"+ids[0]+"/rotate", admin, `{}`, "key")
		issue("/v1/personal-access-tokens", pat, `{"name":"x","scopes":["read"]}`, "token")
		issue("/v1/apps", admin, `{"name":"x","grants":["client_credentials"],"scopes":["read"]}`, "secret")
		issue("/v1/apps/"+ids[3]+"/secret", admin, `{}`, "secret")
		issue("/v1/workspaces/acme/invitations", admin, `{"email":"bob@example.com","role":"member"}`, "url")
		secrets[5] = secrets[5][strings.LastIndexByte(secrets[5], '/')+1:]
		for _, text := range secrets[:3] {
			answered(t, "a call", r.JSON("GET", "/v1/auth/test", text, ""), http.StatusOK)
			answered(t, "a refused call", r.JSON("GET", "/v1/api-keys", text, "", workspaceOf(text, "acme")...),
				http.StatusForbidden)
		}
		answered(t, "revoke", r.JSON("DELETE", "/v1/api-keys/"+ids[0], admin, ""), http.StatusNoContent)
		if err := r.Store.FlushUsage(r.System()); err != nil {
			t.Fatal(err)
		}
		for path, credential := range map[string]string{
			"/v1/api-keys":                         admin,
			"/v1/api-keys/" + ids[0]:               admin,
			"/v1/api-keys/" + ids[1]:               admin,
			"/v1/personal-access-tokens":           pat,
			"/v1/personal-access-tokens/" + ids[2]: pat,
			"/v1/apps":                             admin,
			"/v1/apps/" + ids[3]:                   admin,
			"/v1/workspaces/acme/invitations":      admin,
			"/v1/usage":                            admin,
			"/v1/audit-events":                     admin,
			"/v1/auth/test":                        secrets[1],
			"/api/auth/me":                         secrets[1],
			"/v1/api-keys?search=x":                admin,
		} {
			a := r.JSON("GET", path, credential, "")
			answered(t, path, a, http.StatusOK)
			for i, text := range secrets {
				if strings.Contains(a.Body, text[len(text)-20:]) ||
					strings.Contains(a.Body, fmt.Sprintf("%x", storage.Digest(text))) {
					t.Errorf("GET %s shows secret %d: %s", path, i, a.Body)
				}
			}
		}
		a := r.JSON("GET", "/v1/auth/test", secrets[0], "")
		answered(t, "a revoked key", a, http.StatusUnauthorized)
		if strings.Contains(a.Body+fmt.Sprint(a.Header), secrets[0][20:40]) {
			t.Errorf("a refusal shows the key: %s", a.Body)
		}
	})
}

func TestK21_ASessionCreatesSecretsOnlyOnPagesAfterARecentSignIn(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		w := r.Workspace("acme", "", r.Alice)
		key, _ := r.Key(w, apikey.Spec{})
		app := r.App(management.ClientSpec{WorkspaceID: w.ID, CreatedBy: r.Alice.ID})
		b := r.Browser().SignIn(r.Alice.Email)
		secrets := map[string]string{
			"/v1/api-keys": `{"name":"x","scopes":["read"]}`, "/v1/personal-access-tokens": `{"name":"x","scopes":["read"]}`,
			"/v1/apps":                           `{"name":"x","redirectUris":["https://x.example/cb"],"scopes":["read"]}`,
			"/v1/apps/" + app.ID + "/secret":     `{}`,
			"/v1/api-keys/" + key.ID + "/rotate": `{}`,
		}
		in := []string{"X-Workspace", "acme"}
		for path, body := range secrets {
			for _, site := range [][]string{
				{"Sec-Fetch-Site", "cross-site"},
				{"Sec-Fetch-Site", "same-site"},
				{"Sec-Fetch-Site", "", "Origin", "https://evil.example"},
				{"Sec-Fetch-Site", "", "Origin", "null"},
			} {
				q := append(append([]string{}, site...), in...)
				a := b.Send(programWith(b),
					b.Request("POST", path, strings.NewReader(body), append(q, "Content-Type", "application/json")...))
				answered(t, fmt.Sprint("POST ", path, " from ", site), a, http.StatusForbidden)
			}
		}
		for _, method := range []string{"PATCH", "DELETE"} {
			a := b.Send(programWith(b),
				b.Request(method, "/v1/api-keys/"+key.ID, strings.NewReader(`{"paused":true}`), "Sec-Fetch-Site", "cross-site",
					"X-Workspace", "acme", "Content-Type", "application/json"))
			answered(t, method+" from elsewhere", a, http.StatusForbidden)
		}
		if n := liveKeys(r, w); n != 1 {
			t.Errorf("%d keys", n)
		}
		r.Advance(5*time.Minute + time.Second)
		for path, body := range secrets {
			a := b.JSON("POST", path, body, in...)
			answered(t, path+" later", a, http.StatusForbidden)
			c := a.Header.Get("WWW-Authenticate")
			if !strings.Contains(c, `error="insufficient_user_authentication"`) || !strings.Contains(c, `max_age="300"`) {
				t.Errorf("%s: no demand to step up: %s", path, c)
			}
			if !strings.Contains(a.Text("message"), "sign in again") {
				t.Errorf("%s: %s", path, a.Body)
			}
		}
		// Operations that create no secret need no recent sign-in.
		answered(t, "a list", b.JSON("GET", "/v1/api-keys", "", in...), http.StatusOK)
		answered(t, "a new name", b.JSON("PATCH", "/v1/api-keys/"+key.ID, `{"name":"y"}`, in...), http.StatusOK)
		b = r.Browser().SignIn(r.Alice.Email)
		for path, body := range secrets {
			answered(t, path+" after signing in again", b.JSON("POST", path, body, in...), http.StatusCreated)
		}
	})
}

// programWith returns a client that sends the cookies of a browser, but none of its other headers.
func programWith(b *rig.Browser) *http.Client {
	c := b.Program()
	var parts []string
	for _, cookie := range b.Cookies() {
		parts = append(parts, cookie.Name+"="+cookie.Value)
	}
	c.Transport = cookies{c.Transport, strings.Join(parts, "; ")}
	return c
}

type cookies struct {
	next http.RoundTripper
	text string
}

func (c cookies) RoundTrip(q *http.Request) (*http.Response, error) {
	q = q.Clone(q.Context())
	q.Header.Set("Cookie", c.text)
	if q.Header.Get("Sec-Fetch-Site") == "" {
		q.Header.Del("Sec-Fetch-Site")
	}
	return c.next.RoundTrip(q)
}

// A credential is not a session: it cannot change a password or answer a consent page.
func TestK22_ACredentialOpensNoPage(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	_, pat := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
	_, key := r.Key(r.Workspace("acme", "", r.Alice), apikey.Spec{Scopes: []string{"admin"}})
	access, _ := r.Tokens(app, "read")
	before, err := r.Store.UserByID(r.System(), r.Alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, credential := range []string{pat, key, access} {
		authorization := []string{"Authorization", "Bearer " + credential}
		for _, path := range []string{
			"/settings/security/password", "/settings/profile", "/oauth/consent", "/settings/connected-apps/end-all",
			"/settings/developer/apps",
		} {
			form := url.Values{
				"current_password": {rig.Password},
				"new_password":     {"another quiet harbour"},
				"name":             {"Mallory"},
				"decision":         {"approve"},
			}
			if a := r.Post(path, form, authorization...); a.Status < 400 || a.Status >= 500 {
				t.Errorf("POST %s with a credential: %d", path, a.Status)
			}
		}
		if a := r.Call("GET", "/settings/profile", credential); a.Status != http.StatusSeeOther ||
			!strings.HasPrefix(a.Location.Path, "/login") {
			t.Errorf("a page with a credential: %d", a.Status)
		}
	}
	after, err := r.Store.UserByID(r.System(), r.Alice.ID)
	if err != nil || after != before {
		t.Errorf("the user was %+v and is %+v, %v", before, after, err)
	}
}

func TestK25_NamesAndNotesAreStoredAsSentOrRefused(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	_, admin := r.Key(r.Workspace("acme", "", r.Alice), apikey.Spec{Scopes: []string{"admin"}})
	body := func(name, note string) string {
		text, _ := json.Marshal(map[string]any{"name": name, "note": note, "scopes": []string{"read"}})
		return string(text)
	}
	for _, name := range []string{
		`<script>alert(1)</script>`, `=cmd|' /C calc'!A0`, `+1`, `-1`, `@SUM(1)`, `"><img src=x>`,
		`'; DROP TABLE api_keys; --`, `${7*7}{{7*7}}`, "ключ 🔑", `a\b`,
	} {
		a := r.JSON("POST", "/v1/api-keys", admin, body(name, name))
		answered(t, name, a, http.StatusCreated)
		if a.Text("name") != name || a.Text("note") != name || strings.ContainsAny(a.Body, "<>") {
			t.Errorf("%q became %s", name, a.Body)
		}
	}
	for what, text := range map[string]string{
		"no name":       body(" ", ""),
		"a long name":   body(strings.Repeat("x", 101), ""),
		"a line break":  body("a\nb", ""),
		"NUL":           body("a\x00b", ""),
		"right to left": body("a\u202eb", ""),
		"a long note":   body("x", strings.Repeat("x", 1001)),
		"an object":     `{"name":{"a":1},"scopes":["read"]}`,
	} {
		answered(t, what, r.JSON("POST", "/v1/api-keys", admin, text), http.StatusBadRequest)
	}
	answered(t, "a megabyte", r.JSON("POST", "/v1/api-keys", admin, body(strings.Repeat("x", 1<<20), "")),
		http.StatusRequestEntityTooLarge)
}

func TestK26_TheTenThousandAndFirstKeyIsRefused(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		w := r.Workspace("acme", "", r.Alice)
		_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
		last := ""
		ctx := r.System()
		err := r.Store.InTx(ctx, func(ctx context.Context) error {
			for i := 1; i < 10_000; i++ {
				last = storage.NewID("key")
				k := storage.APIKey{
					ID:          last,
					Digest:      storage.Digest(last),
					Kind:        storage.KindAPIKey,
					WorkspaceID: w.ID,
					Resource:    r.Issuer,
					Environment: "live",
					Prefix:      "sk_live_", Name: "x", Scopes: storage.List{"read"},
				}
				if err := r.Store.InsertKey(ctx, &k, 1<<30); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		const body = `{"name":"x","scopes":["read"]}`
		a := r.JSON("POST", "/v1/api-keys", admin, body)
		answered(t, "one too many", a, http.StatusConflict)
		if !strings.Contains(a.Text("message"), "10000") {
			t.Errorf("the limit is not told: %s", a.Body)
		}
		answered(t, "revoke", r.JSON("DELETE", "/v1/api-keys/"+last, admin, ""), http.StatusNoContent)
		answered(t, "in its place", r.JSON("POST", "/v1/api-keys", admin, body), http.StatusCreated)
	})
}

// Refusals of invalid credentials: an unknown credential gets no details; a known one gets as much as the error shape
// allows.
func TestK05_K06_RefusedCredentialsInEachShape(t *testing.T) {
	rig.EachNodes(t, rig.Options{}, func(t *testing.T, nodes []*rig.Rig) {
		for _, shape := range []string{"flat", "nested", "envelope"} {
			var rigs []*rig.Rig
			for _, n := range nodes {
				rigs = append(rigs,
					rig.New(t, n.Store, rig.Options{
						Issuer: n.Issuer, NoUser: true, Shapes: map[string]gateway.Shape{n.Issuer: {Name: shape}},
					}))
			}
			r, other := rigs[0], rigs[len(rigs)-1]
			alice := nodes[0].Alice
			w := r.Workspace("acme-"+shape, "", alice)
			_, text := r.Key(w, apikey.Spec{})
			gone, revoked := r.Key(w, apikey.Spec{})
			end := r.Store.Now().Add(time.Minute)
			_, expired := r.Key(w, apikey.Spec{ExpiresAt: end})
			answered := func(what, credential, want string) {
				t.Helper()
				a := other.JSON("GET", "/v1/auth/test", credential, "")
				if a.Status != http.StatusUnauthorized || a.Body != want+"\n" {
					t.Errorf("%s, %s: %d %s\nwant %s", shape, what, a.Status, a.Body, want)
				}
			}
			if a := other.JSON("GET", "/v1/auth/test", revoked, ""); a.Status != http.StatusOK {
				t.Fatalf("before: %d %s", a.Status, a.Body)
			}
			_, err := r.Management.RevokeKey(r.System(), management.CommandLine(w.ID), storage.KeyOwner{WorkspaceID: w.ID},
				gone.ID)
			if err != nil {
				t.Fatal(err)
			}
			r.Advance(2 * time.Minute)
			if other != r {
				other.Advance(2 * time.Minute)
			}
			unknown, missing, over, ended := map[string]string{
				"flat":     `{"error":"Unauthorized","message":"Invalid or missing API key","statusCode":401}`,
				"nested":   `{"error":{"code":"unauthorized","message":"Invalid API key","details":"The API key is invalid or has been revoked."}}`,
				"envelope": `{"success":false,"error":{"code":"INVALID_API_KEY","message":"The provided API key is invalid","details":{}}}`,
			}[shape], map[string]string{
				"flat":     `{"error":"Unauthorized","message":"Invalid or missing API key","statusCode":401}`,
				"nested":   `{"error":{"code":"unauthorized","message":"Invalid API key","details":"No API key was sent; send it in the Authorization header, as a Bearer token."}}`,
				"envelope": `{"success":false,"error":{"code":"MISSING_API_KEY","message":"API key is required","details":{"header":"Authorization"}}}`,
			}[shape], map[string]string{
				"flat":     `{"error":"Unauthorized","message":"Invalid or missing API key","statusCode":401}`,
				"nested":   `{"error":{"code":"unauthorized","message":"Invalid API key","details":"The API key has expired; use another one."}}`,
				"envelope": `{"success":false,"error":{"code":"EXPIRED_API_KEY","message":"The API key has expired","details":{"expired_at":"` + end.Time().Format(time.RFC3339) + `"}}}`,
			}[shape], map[string]string{
				"flat":     `{"error":"Unauthorized","message":"Invalid or missing API key","statusCode":401}`,
				"nested":   `{"error":{"code":"unauthorized","message":"Invalid API key","details":"The API key is invalid or has been revoked."}}`,
				"envelope": `{"success":false,"error":{"code":"INVALID_API_KEY","message":"The provided API key is invalid","details":{"key_id":"` + gone.ID + `"}}}`,
			}[shape]
			answered("missing", "", missing)
			answered("never made", bearer.NewCredential("sk_live_"), unknown)
			answered("a typing error", text[:len(text)-1]+"~", unknown)
			answered("an unknown access token", bearer.NewCredential("dw_at_"), unknown)
			answered("a refresh token", bearer.NewCredential("dw_rt_"), unknown)
			answered("expired", expired, over)
			answered("revoked", revoked, ended)
		}
	})
}

func TestL06_L08_AnExhaustedKeyWaitsAsItIsTold(t *testing.T) {
	o := limited()
	o.Plans = map[string]limit.Plan{"free": {Hour: 4}, "sandbox": {Hour: 2}, "people": {Hour: 3}, "machines": {Hour: 3}}
	rig.EachNodes(t, o, func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		w := r.Workspace("acme", "", r.Alice)
		_, a := r.Key(w, apikey.Spec{Name: "a:{1}"})
		k, b := r.Key(w, apikey.Spec{Name: "a:{1}"})
		for i := range 4 {
			x := []*rig.Rig{r, other}[i%2].JSON("GET", "/v1/auth/test", a, "")
			answered(t, "within the limit", x, http.StatusOK)
			limits, _ := x.JSON()["rateLimit"].(map[string]any)
			for member, header := range map[string]string{
				"limit":     "X-RateLimit-Limit",
				"remaining": "X-RateLimit-Remaining",
				"reset":     "X-RateLimit-Reset",
			} {
				if fmt.Sprintf("%.0f", limits[member]) != x.Header.Get(header) {
					t.Errorf("%s is %v in the body and %s in the header", member, limits[member], x.Header.Get(header))
				}
			}
			if limits["limit"] != 4.0 || limits["remaining"] != float64(3-i) {
				t.Errorf("call %d: %v", i, limits)
			}
		}
		x := other.JSON("GET", "/v1/auth/test", a, "")
		answered(t, "over the limit", x, http.StatusTooManyRequests)
		var wait int
		_, err := fmt.Sscan(x.Header.Get("Retry-After"), &wait)
		if err != nil || wait < 1 || wait > 3600 || x.JSON()["retryAfter"] != float64(wait) {
			t.Errorf("Retry-After %q, body %s", x.Header.Get("Retry-After"), x.Body)
		}
		want := fmt.Sprintf(`{"error":"Too Many Requests","message":"Rate limit exceeded","statusCode":429,"retryAfter":%d}`+
			"\n", wait)
		if x.Body != want || x.Header.Get("X-RateLimit-Remaining") != "0" {
			t.Errorf("%s %v", x.Body, x.Header)
		}
		// A refusal for lack of permission counts too, and so does a path that does not exist.
		answered(t, "another key of the same name", r.JSON("GET", "/v1/auth/test", b, ""), http.StatusOK)
		answered(t, "a refusal", r.JSON("GET", "/v1/api-keys/"+k.ID, b, ""), http.StatusForbidden)
		if left := r.JSON("GET", "/api/me", b, "").Header.Get("X-RateLimit-Remaining"); left != "1" {
			t.Errorf("%s are left", left)
		}
		// Just before the reset the key is still refused, just after it the key works.
		for _, n := range nodes {
			n.Advance(time.Duration(wait-5) * time.Second)
		}
		answered(t, "too early", r.JSON("GET", "/v1/auth/test", a, ""), http.StatusTooManyRequests)
		for _, n := range nodes {
			n.Advance(6 * time.Second)
		}
		answered(t, "after the wait", r.JSON("GET", "/v1/auth/test", a, ""), http.StatusOK)
	})
}

func TestL13_ALimitLoweredByTheAPIHoldsOnEveryNode(t *testing.T) {
	rig.EachNodes(t, limited(), func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		w := r.Workspace("acme", "pro", r.Alice)
		_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
		k, text := r.Key(w, apikey.Spec{})
		for range 3 {
			answered(t, "before", other.JSON("GET", "/v1/auth/test", text, ""), http.StatusOK)
		}
		answered(t, "lowered", r.JSON("PATCH", "/v1/api-keys/"+k.ID, admin, `{"rateLimit":3}`), http.StatusOK)
		a := other.JSON("GET", "/v1/auth/test", text, "")
		answered(t, "after", a, http.StatusTooManyRequests)
		if a.Header.Get("X-RateLimit-Limit") != "3" || a.Header.Get("X-RateLimit-Remaining") != "0" {
			t.Errorf("%v", a.Header)
		}
		answered(t, "more than the plan", r.JSON("PATCH", "/v1/api-keys/"+k.ID, admin, `{"rateLimit":101}`),
			http.StatusBadRequest)
	})
}

// Text from outside is data: it matches itself literally, and breaks nothing.
func TestS01_TextIsData(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		bob := r.User("bob@example.com", "Bob", false)
		w, theirs := r.Workspace("acme", "", r.Alice), r.Workspace("globex", "", bob)
		_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}, Name: "mine"})
		theirsKey, _ := r.Key(theirs, apikey.Spec{Name: "secret plan"})
		for _, text := range []string{
			"'", `"`, "--", ";", "$1", "';SELECT pg_sleep(5);--", "%", "_", "!", "!%", "%%%", `\`, "a'||'b", "\x00", "\xff",
			"{}", "a\u0000b", strings.Repeat("%", 3000),
		} {
			q := url.QueryEscape(text)
			for _, path := range []string{
				"/v1/api-keys?search=" + q, "/v1/api-keys?createdBy=" + q, "/v1/usage?credential=" + q,
				"/v1/audit-events?action=" + q, "/v1/audit-events?user=" + q,
				"/v1/audit-events?target=" + q, "/v1/api-keys/" + url.PathEscape(text), "/v1/apps/" + url.PathEscape(text),
				"/v1/workspaces/" + url.PathEscape(text),
				"/v1/workspaces/acme/members?cursor=" + q,
			} {
				a := r.JSON("GET", path, admin, "")
				if a.Status >= 500 || a.Status == http.StatusOK &&
					(strings.Contains(a.Body, theirsKey.ID) || strings.Contains(a.Body, "secret plan")) {
					t.Errorf("GET %s: %d %s", path, a.Status, a.Body)
				}
			}
			body, _ := json.Marshal(map[string]any{
				"name":        text,
				"note":        text,
				"scopes":      []string{text},
				"resource":    text,
				"plan":        text,
				"environment": text,
				"addresses":   []string{text},
			})
			for _, path := range []string{"/v1/api-keys", "/v1/apps", "/v1/workspaces/acme/invitations"} {
				if a := r.JSON("POST", path, admin, string(body)); a.Status != http.StatusBadRequest {
					t.Errorf("POST %s %s: %d %s", path, body, a.Status, a.Body)
				}
			}
		}
		for search, n := range map[string]int{"%": 0, "_": 0, "min": 1, "MINE": 1, "m%e": 0} {
			a := r.JSON("GET", "/v1/api-keys?search="+url.QueryEscape(search), admin, "")
			if data, _ := a.JSON()["data"].([]any); len(data) != n {
				t.Errorf("search %q: %s", search, a.Body)
			}
		}
	})
}

// A cursor is only valid for its list, its caller and its workspace.
func TestS02_CursorsAreBound(t *testing.T) {
	rig.EachNodes(t, rig.Options{}, func(t *testing.T, nodes []*rig.Rig) {
		r, other := nodes[0], nodes[len(nodes)-1]
		bob := r.User("bob@example.com", "Bob", false)
		w, second := r.Workspace("acme", "", r.Alice), r.Workspace("globex", "", r.Alice)
		r.Join(w, bob, "admin")
		var ids []string
		for range 5 {
			k, _ := r.Key(w, apikey.Spec{})
			ids = append(ids, k.ID)
			r.Key(second, apikey.Spec{})
			r.PersonalToken(r.Alice, apikey.Spec{})
		}
		_, pat := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"admin"}})
		_, bobs := r.PersonalToken(bob, apikey.Spec{Scopes: []string{"admin"}})
		in := []string{"X-Workspace", "acme"}
		list := func(n *rig.Rig, path, credential string, header ...string) *rig.Answer {
			return n.JSON("GET", path, credential, "", header...)
		}

		// Page by page, each entry appears exactly once, on either node.
		var seen []string
		path := "/v1/api-keys?limit=2"
		for i := 0; path != ""; i++ {
			a := list(nodes[i%len(nodes)], path, pat, in...)
			answered(t, path, a, http.StatusOK)
			for _, x := range a.JSON()["data"].([]any) {
				seen = append(seen, x.(map[string]any)["id"].(string))
			}
			path = ""
			if next := a.Text("nextCursor"); next != "" {
				path = "/v1/api-keys?limit=2&cursor=" + next
			}
		}
		if len(seen) != 5 || seen[0] != ids[4] || seen[4] != ids[0] {
			t.Errorf("saw %v, there are %v", seen, ids)
		}

		cursor := list(r, "/v1/api-keys?limit=2", pat, in...).Text("nextCursor")
		altered := "A" + cursor[1:]
		if altered == cursor {
			altered = "B" + cursor[1:]
		}
		answered(t, "another size", list(other, "/v1/api-keys?limit=3&cursor="+cursor, pat, in...), http.StatusOK)
		for what, a := range map[string]*rig.Answer{
			"cut":                 list(other, "/v1/api-keys?cursor="+cursor[:len(cursor)-1], pat, in...),
			"cut at the front":    list(other, "/v1/api-keys?cursor="+cursor[1:], pat, in...),
			"altered":             list(other, "/v1/api-keys?cursor="+altered, pat, in...),
			"twice":               list(other, "/v1/api-keys?cursor="+cursor+cursor, pat, in...),
			"with padding":        list(other, "/v1/api-keys?cursor="+cursor+"%3D", pat, in...),
			"with a line break":   list(other, "/v1/api-keys?cursor="+cursor+"%0A", pat, in...),
			"an id":               list(other, "/v1/api-keys?cursor="+ids[2], pat, in...),
			"sealed by us":        list(other, "/v1/api-keys?cursor="+r.Secrets.Seal("cursor", []byte(ids[2])), pat, in...),
			"of another secret":   list(other, "/v1/api-keys?cursor="+otherSecret(t).Seal("cursor", []byte(ids[2])), pat, in...),
			"of another list":     list(other, "/v1/apps?cursor="+cursor, pat, in...),
			"of another list too": list(other, "/v1/personal-access-tokens?cursor="+cursor, pat, in...),
			"of another user":     list(other, "/v1/api-keys?cursor="+cursor, bobs, in...),
			"of a session":        r.Browser().SignIn(r.Alice.Email).JSON("GET", "/v1/api-keys?cursor="+cursor, "", in...),
			"of another place":    list(other, "/v1/api-keys?cursor="+cursor, pat, "X-Workspace", "globex"),
			"with another filter": list(other, "/v1/api-keys?environment=live&cursor="+cursor, pat, in...),
			"empty":               list(other, "/v1/api-keys?cursor=", pat, in...),
			"two":                 list(other, "/v1/api-keys?cursor="+cursor+"&cursor="+cursor, pat, in...),
		} {
			answered(t, "a cursor "+what, a, http.StatusBadRequest)
		}
		for _, q := range []string{
			"sort=name", "order=desc", "orderBy=digest", "filter=x", "offset=1", "page=2", "per_page=5", "limit=0", "limit=101",
			"limit=-1", "limit=x", "limit=1e1", "limit=%2B1",
			"limit=", "limit=1&limit=2", "status=dead", "status=", "environment=prod", "Limit=1", "search[]=x", "%zz", "a;b",
		} {
			answered(t, q, list(other, "/v1/api-keys?"+q, pat, in...), http.StatusBadRequest)
		}
		for _, q := range []string{"by=minute", "from=yesterday", "from=2026-01-01", "to=1", "credential="} {
			answered(t, q, list(other, "/v1/usage?"+q, pat, in...), http.StatusBadRequest)
		}
		answered(t, "a query where there is none", list(other, "/v1/auth/test?verbose=1", pat), http.StatusBadRequest)
	})
}

// otherSecret is a server with another master secret.
func otherSecret(t *testing.T) *seal.Secrets {
	return rig.Memory(t, rig.Options{Secrets: []string{"another master secret, of 32 bytes or more"}}).Secrets
}
