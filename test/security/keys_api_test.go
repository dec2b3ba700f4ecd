package security

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/storage"
	"doorward/test/rig"
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
		invitation, _, err := r.Management.Invite(r.System(), management.CLI(theirs.ID), theirs,
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
