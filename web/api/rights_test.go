package api_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/test/rig"
)

// caller is one kind of credential with which the management API is asked.
type caller struct {
	name string
	// shown makes the credential in a world and gives what asks with it.
	shown func(w *world) func(method, path, body string) *rig.Answer
}

// world is a server with a workspace, acme, whose owner is Alice.
type world struct {
	*rig.Rig
	acme storage.Workspace
	n    int
}

const foreignSecret = "a secret that a foreign issuer signs with"

func newWorld(t *testing.T) *world {
	t.Helper()
	const id = "https://api.example.com"
	r := rig.Memory(t, rig.Options{
		Plans: map[string]limit.Plan{"free": {Hour: 100_000}, "enterprise": {Hour: 1_000_000}},
		Resources: []catalog.Resource{{
			ID: id, Name: "Example API", WorkspaceHeader: "X-Workspace",
			Scopes: []catalog.Scope{
				{Name: "read", Text: "Read"},
				{Name: "write", Text: "Write"},
				{Name: "bill", Text: "Send bills"},
				{Name: "admin", Text: "Manage", Implies: []string{"read", "write"}},
			},
			Keys:           catalog.KeyRules{Prefix: "sk", Environments: []string{"live", "test"}},
			TrustedIssuers: []catalog.TrustedIssuer{{Issuer: "https://else.example", Audiences: []string{"all"}, HS256Secret: []byte(foreignSecret), Scopes: []string{"admin"}}},
		}},
	})
	return &world{Rig: r, acme: r.Workspace("acme", "free", r.Alice)}
}

// bearer asks with a credential; header pairs are sent along.
func (w *world) bearer(text string, header ...string) func(method, path, body string) *rig.Answer {
	return func(method, path, body string) *rig.Answer { return w.JSON(method, path, text, body, header...) }
}

func (w *world) session(b *rig.Browser, header ...string) func(method, path, body string) *rig.Answer {
	return func(method, path, body string) *rig.Answer { return b.JSON(method, path, body, header...) }
}

func key(p apikey.Spec) func(w *world) func(method, path, body string) *rig.Answer {
	return func(w *world) func(method, path, body string) *rig.Answer {
		p := p
		if p.ExpiresAt > 0 {
			p.ExpiresAt = w.Store.Now().Add(time.Hour)
		}
		_, text := w.Key(w.acme, p)
		return w.bearer(text)
	}
}

func token(p apikey.Spec, header ...string) func(w *world) func(method, path, body string) *rig.Answer {
	return func(w *world) func(method, path, body string) *rig.Answer {
		p := p
		if p.ExpiresAt > 0 {
			p.ExpiresAt = w.Store.Now().Add(time.Hour)
		}
		_, text := w.PersonalToken(w.Alice, p)
		return w.bearer(text, header...)
	}
}

// access is the access token that Alice allows an app in acme.
func access(p management.ClientSpec) func(w *world) func(method, path, body string) *rig.Answer {
	return func(w *world) func(method, path, body string) *rig.Answer { return w.bearer(w.allowed(w.App(p))) }
}

func (w *world) allowed(app *rig.App) string {
	w.T.Helper()
	b := w.Browser().SignIn(w.Alice.Email)
	a := b.Authorize(app.Params("admin"))
	a = b.Decide(a, "approve", func(form url.Values) { form.Set("workspace", "acme") })
	text := w.Exchange(app, a.Param("code")).Text("access_token")
	if text == "" {
		w.T.Fatalf("no access token: %d %s", a.Status, rig.Plain(a.Body))
	}
	return text
}

func machine(p management.ClientSpec) func(w *world) func(method, path, body string) *rig.Answer {
	return func(w *world) func(method, path, body string) *rig.Answer {
		p := p
		p.WorkspaceID, p.Grants, p.Scopes = w.acme.ID, []string{oauth.GrantClientCredentials}, []string{"admin"}
		text := w.PostAs(w.App(p), "/oauth/token", url.Values{"grant_type": {"client_credentials"}}).Text("access_token")
		return w.bearer(text)
	}
}

func foreignToken(w *world) string {
	part := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	now := w.Store.Now().Time().Unix()
	text := part(map[string]any{"alg": "HS256", "typ": "JWT"}) + "." +
		part(map[string]any{"iss": "https://else.example", "aud": "all", "sub": "u1", "iat": now, "exp": now + 600})
	mac := hmac.New(sha256.New, []byte(foreignSecret))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// callers are the columns of the matrix, in their order.
var callers = []caller{
	{"live key", key(apikey.Spec{Scopes: []string{"admin"}})},
	{"test key", key(apikey.Spec{Scopes: []string{"admin"}, Environment: apikey.Test})},
	{"key that ends", key(apikey.Spec{Scopes: []string{"admin"}, ExpiresAt: 1})},
	{"key of an address", key(apikey.Spec{Scopes: []string{"admin"}, Addresses: []string{"127.0.0.0/8"}})},
	{"key without admin", key(apikey.Spec{Scopes: []string{"read"}})},
	{"personal token", token(apikey.Spec{Scopes: []string{"admin"}}, "X-Workspace", "acme")},
	{"personal token, no workspace", token(apikey.Spec{Scopes: []string{"admin"}})},
	{"personal token, at most admin", token(apikey.Spec{Scopes: []string{"admin"}, Role: "admin"}, "X-Workspace", "acme")},
	{"personal token, at most member", token(apikey.Spec{Scopes: []string{"admin"}, Role: "member"}, "X-Workspace", "acme")},
	{"personal token that ends", token(apikey.Spec{Scopes: []string{"admin"}, ExpiresAt: 1}, "X-Workspace", "acme")},
	{"app", access(management.ClientSpec{Scopes: []string{"admin"}})},
	{"app that manages", access(management.ClientSpec{Scopes: []string{"admin"}, Manages: true})},
	{"machine", machine(management.ClientSpec{})},
	{"machine that manages", machine(management.ClientSpec{Manages: true})},
	{"foreign token", func(w *world) func(method, path, body string) *rig.Answer { return w.bearer(foreignToken(w)) }},
	{"session", func(w *world) func(method, path, body string) *rig.Answer {
		return w.session(w.Browser().SignIn(w.Alice.Email), "X-Workspace", "acme")
	}},
	{"stale session", func(w *world) func(method, path, body string) *rig.Answer {
		b := w.Browser().SignIn(w.Alice.Email)
		w.Advance(6 * time.Minute)
		return w.session(b, "X-Workspace", "acme")
	}},
	{"administrator's token", func(w *world) func(method, path, body string) *rig.Answer {
		_, text := w.PersonalToken(w.User("root@example.com", "Root", true), apikey.Spec{Scopes: []string{"admin"}})
		return w.bearer(text)
	}},
}

// asked is one request of the matrix; {…} in its path and body stand for what world.fill makes.
type asked struct {
	operation, what, method, path, body string
	want                                string // a letter for each of callers
}

// The letters: + it is done; - 403; ? 403 for want of a fresh sign-in; 0 404; ! 400, no workspace is named.
var matrix = []asked{
	{"testCredential", "", "GET", "/v1/auth/test", "", "++++++++++++++++++"},
	{"getAccount", "", "GET", "/api/auth/me", "", "++++++++++++++-+++"},
	{"getUser", "", "GET", "/api/me", "", "++++++++++++++-+++"},

	{"createApiKey", "", "POST", "/v1/api-keys", `{"name":"x","scopes":["read"]}`, "+----+!+---+-+-+?!"},
	{"createApiKey", "for tests", "POST", "/v1/api-keys", `{"name":"x","scopes":["read"],"environment":"test"}`, "++---+!+---+-+-+?!"},
	{"createApiKey", "within every bound", "POST", "/v1/api-keys", `{"name":"x","scopes":["read"],"expiresAt":"{soon}","addresses":["127.0.0.1"]}`, "+-++-+!+-+-+-+-+?!"},
	{"createApiKey", "with a scope that admin does not imply", "POST", "/v1/api-keys", `{"name":"x","scopes":["bill"]}`, "------!--------+?!"},
	{"listApiKeys", "", "GET", "/v1/api-keys", "", "++++-+!+-+++++-++!"},
	{"getApiKey", "", "GET", "/v1/api-keys/{key}", "", "+-++-+!+-+++++-++!"},
	{"updateApiKey", "its name", "PATCH", "/v1/api-keys/{key}", `{"name":"y"}`, "+-++-+!+-+++++-++!"},
	{"updateApiKey", "pause it", "PATCH", "/v1/api-keys/{key}", `{"paused":true}`, "+-++-+!+-+++++-++!"},
	{"updateApiKey", "resume it", "PATCH", "/v1/api-keys/{paused}", `{"paused":false}`, "+----+!+---+-+-+?!"},
	{"updateApiKey", "from fewer addresses", "PATCH", "/v1/api-keys/{key}", `{"addresses":["192.0.2.1"]}`, "+-++-+!+-+++++-++!"},
	{"updateApiKey", "from any address", "PATCH", "/v1/api-keys/{placed}", `{"addresses":null}`, "+----+!+---+-+-+?!"},
	{"updateApiKey", "a higher limit", "PATCH", "/v1/api-keys/{placed}", `{"rateLimit":null}`, "+----+!+---+-+-+?!"},
	{"updateApiKey", "a lower limit", "PATCH", "/v1/api-keys/{key}", `{"rateLimit":5}`, "+-++-+!+-+++++-++!"},
	{"rotateApiKey", "", "POST", "/v1/api-keys/{key}/rotate", "", "+----+!+---+-+-+?!"},
	{"revokeApiKey", "", "DELETE", "/v1/api-keys/{key}", "", "+-++-+!+-+++++-++!"},
	{"revokeApiKey", "with a scope that admin does not imply", "DELETE", "/v1/api-keys/{bill}", "", "+-++-+!+-+++++-++!"},
	{"revokeApiKey", "for tests", "DELETE", "/v1/api-keys/{test}", "", "++++-+!+-+++++-++!"},

	{"createPersonalAccessToken", "", "POST", "/v1/personal-access-tokens", `{"name":"x","scopes":["read"]}`, "-----++----+---+?+"},
	{"createPersonalAccessToken", "of a viewer", "POST", "/v1/personal-access-tokens", `{"name":"x","scopes":["read"],"role":"viewer"}`, "-----++++--+---+?+"},
	{"createPersonalAccessToken", "within every bound", "POST", "/v1/personal-access-tokens", `{"name":"x","scopes":["read"],"role":"viewer","expiresAt":"{soon}"}`, "-----+++++-+---+?+"},
	{"listPersonalAccessTokens", "", "GET", "/v1/personal-access-tokens", "", "-----+++++-+---+++"},
	{"getPersonalAccessToken", "", "GET", "/v1/personal-access-tokens/{token}", "", "-----+++++-+---++0"},
	{"updatePersonalAccessToken", "its name", "PATCH", "/v1/personal-access-tokens/{token}", `{"name":"y"}`, "-----+++++-+---++0"},
	{"updatePersonalAccessToken", "pause it", "PATCH", "/v1/personal-access-tokens/{token}", `{"paused":true}`, "-----+++++-+---++0"},
	{"updatePersonalAccessToken", "resume it", "PATCH", "/v1/personal-access-tokens/{asleep}", `{"paused":false}`, "-----++----+---+?0"},
	{"updatePersonalAccessToken", "resume one of a viewer", "PATCH", "/v1/personal-access-tokens/{viewer}", `{"paused":false}`, "-----++++--+---+?0"},
	{"revokePersonalAccessToken", "", "DELETE", "/v1/personal-access-tokens/{token}", "", "-----+++++-+---++0"},

	{"createApp", "", "POST", "/v1/apps", `{"name":"x","grants":["client_credentials"],"scopes":["read"]}`, "+----+!+---+-+-+?!"},
	{"createApp", "with a scope that admin does not imply", "POST", "/v1/apps", `{"name":"x","grants":["client_credentials"],"scopes":["bill"]}`, "------!--------+?!"},
	{"listApps", "", "GET", "/v1/apps", "", "+-++-+!+-+++++-++!"},
	{"getApp", "", "GET", "/v1/apps/{app}", "", "+-++-+!+-+++++-++!"},
	{"updateApp", "its name", "PATCH", "/v1/apps/{app}", `{"name":"y"}`, "+-++-+!+-+++++-++!"},
	{"updateApp", "a redirect URI", "PATCH", "/v1/apps/{app}", `{"redirectUris":["https://app.example/cb","https://more.example/cb"]}`, "+----+!+---+-+-+?!"},
	{"updateApp", "fewer redirect URIs", "PATCH", "/v1/apps/{app}", `{"redirectUris":["https://app.example/cb"]}`, "+-++-+!+-+++++-++!"},
	{"updateApp", "a scope", "PATCH", "/v1/apps/{app}", `{"scopes":["read","write"]}`, "+----+!+---+-+-+?!"},
	{"updateApp", "disable it", "PATCH", "/v1/apps/{app}", `{"disabled":true}`, "+-++-+!+-+++++-++!"},
	{"updateApp", "enable it", "PATCH", "/v1/apps/{off}", `{"disabled":false}`, "+----+!+---+-+-+?!"},
	{"updateApp", "disable one with more scopes", "PATCH", "/v1/apps/{bills}", `{"disabled":true}`, "+-++-+!+-+++++-++!"},
	{"updateApp", "a redirect URI of one with more scopes", "PATCH", "/v1/apps/{bills}", `{"redirectUris":["https://more.example/cb"]}`, "------!--------+?!"},
	{"rotateAppSecret", "", "POST", "/v1/apps/{app}/secret", "", "+----+!+---+-+-+?!"},
	{"rotateAppSecret", "of one with more scopes", "POST", "/v1/apps/{bills}/secret", "", "------!--------+?!"},
	{"deleteApp", "", "DELETE", "/v1/apps/{app}", "", "+-++-+!+-+++++-++!"},
	{"deleteApp", "with more scopes", "DELETE", "/v1/apps/{bills}", "", "+-++-+!+-+++++-++!"},

	{"createWorkspace", "", "POST", "/v1/workspaces", `{"name":"x","slug":"{slug}"}`, "-----++----+---+++"},
	{"listWorkspaces", "", "GET", "/v1/workspaces", "", "+-++-+++++++++-+++"},
	{"getWorkspace", "", "GET", "/v1/workspaces/acme", "", "+-++-+++++++++-++0"},
	{"updateWorkspace", "its name", "PATCH", "/v1/workspaces/acme", `{"name":"y"}`, "-----++--+++---++-"},
	{"updateWorkspace", "its plan", "PATCH", "/v1/workspaces/acme", `{"plan":"enterprise"}`, "-----------------+"},
	{"updateWorkspace", "no plan", "PATCH", "/v1/workspaces/acme", `{"plan":null}`, "-----------------+"},
	{"listMembers", "", "GET", "/v1/workspaces/acme/members", "", "+-++-+++++++++-++0"},
	{"updateMember", "to admin", "PATCH", "/v1/workspaces/acme/members/{member}", `{"role":"admin"}`, "+----+++---+-+-+?0"},
	{"updateMember", "to viewer", "PATCH", "/v1/workspaces/acme/members/{member}", `{"role":"viewer"}`, "+-++-+++-+-+-+-++0"},
	{"updateMember", "to owner", "PATCH", "/v1/workspaces/acme/members/{member}", `{"role":"owner"}`, "-----++----+---+?0"},
	{"removeMember", "", "DELETE", "/v1/workspaces/acme/members/{member}", "", "+-++-+++-+++++-++0"},
	{"createInvitation", "of an admin", "POST", "/v1/workspaces/acme/invitations", `{"email":"{email}","role":"admin"}`, "+----+++---+-+-+?0"},
	{"createInvitation", "of a member", "POST", "/v1/workspaces/acme/invitations", `{"email":"{email}","role":"member"}`, "+----+++---+-+-++0"},
	{"createInvitation", "of an owner", "POST", "/v1/workspaces/acme/invitations", `{"email":"{email}","role":"owner"}`, "-----++----+---+?0"},
	{"listInvitations", "", "GET", "/v1/workspaces/acme/invitations", "", "+-++-+++-+++++-++0"},
	{"withdrawInvitation", "", "DELETE", "/v1/workspaces/acme/invitations/{invitation}", "", "+-++-+++-+++++-++0"},
	{"listUsage", "", "GET", "/v1/usage", "", "+-++-+!+-+++++-++!"},
	{"listAuditEvents", "", "GET", "/v1/audit-events", "", "+-++-+!+-+++++-++!"},

	{"listUsers", "", "GET", "/v1/users", "", "-----------------+"},
	{"showUser", "", "GET", "/v1/users/{user}", "", "-----------------+"},
	{"updateUser", "their name", "PATCH", "/v1/users/{user}", `{"name":"y"}`, "-----------------+"},
	{"updateUser", "their address", "PATCH", "/v1/users/{user}", `{"email":"{email}"}`, "-----------------+"},
	{"updateUser", "administrator", "PATCH", "/v1/users/{user}", `{"admin":true}`, "-----------------+"},
	{"updateUser", "disable them", "PATCH", "/v1/users/{user}", `{"disabled":true}`, "-----------------+"},
	{"updateUser", "enable them", "PATCH", "/v1/users/{user}", `{"disabled":false}`, "-----------------+"},
	{"signOutUser", "", "POST", "/v1/users/{user}/sign-out", `{"apps":true,"tokens":true}`, "-----------------+"},

	{"deleteWorkspace", "", "DELETE", "/v1/workspaces/acme", "", "-----++--+++---++0"}, // the last, since nothing is left after it
}

// fill makes what a request is about.
func (w *world) fill(text string) string {
	w.T.Helper()
	w.n++
	app := func(p management.ClientSpec) string {
		p.WorkspaceID = w.acme.ID
		return w.App(p).ID
	}
	key := func(p apikey.Spec) string { k, _ := w.Key(w.acme, p); return k.ID }
	must := func(err error) {
		if err != nil {
			w.T.Fatal(err)
		}
	}
	own := management.Authority{UserID: w.Alice.ID, WorkspaceID: w.acme.ID, Role: catalog.RoleAdmin}
	asleep := func(role string) string {
		k, _ := w.PersonalToken(w.Alice, apikey.Spec{Role: role})
		_, err := w.Management.PauseKey(w.System(), own, k.Owner(), k.ID)
		must(err)
		return k.ID
	}
	for name, make := range map[string]func() string{
		"key":  func() string { return key(apikey.Spec{}) },
		"test": func() string { return key(apikey.Spec{Environment: apikey.Test}) },
		"bill": func() string { return key(apikey.Spec{Scopes: []string{"bill"}}) },
		"paused": func() string {
			id := key(apikey.Spec{})
			_, err := w.Management.PauseKey(w.System(), own, storage.KeyOwner{WorkspaceID: w.acme.ID}, id)
			must(err)
			return id
		},
		"placed": func() string { return key(apikey.Spec{Addresses: []string{"192.0.2.1"}, RateLimit: 10}) },
		"token":  func() string { k, _ := w.PersonalToken(w.Alice, apikey.Spec{}); return k.ID },
		"asleep": func() string { return asleep("") },
		"viewer": func() string { return asleep("viewer") },
		"app":    func() string { return app(management.ClientSpec{Scopes: []string{"read"}}) },
		"bills":  func() string { return app(management.ClientSpec{Scopes: []string{"bill"}}) },
		"off": func() string {
			id := app(management.ClientSpec{Scopes: []string{"read"}})
			must(w.Management.DisableClient(w.System(), own, id))
			return id
		},
		"member": func() string {
			u := w.User(fmt.Sprintf("member%d@example.com", w.n), "Member", false)
			w.Join(w.acme, u, "member")
			return u.ID
		},
		"user": func() string { return w.User(fmt.Sprintf("user%d@example.com", w.n), "User", false).ID },
		"invitation": func() string {
			i, word, err := w.Management.Invite(w.System(), management.CommandLine(w.acme.ID), w.acme, fmt.Sprintf("open%d@example.com", w.n), "member")
			must(err)
			w.Seen.Add(rig.SecretInvitation, word)
			return i.ID
		},
		"slug":  func() string { return fmt.Sprintf("made-%d", w.n) },
		"email": func() string { return fmt.Sprintf("guest%d@example.com", w.n) },
		"soon":  func() string { return w.Store.Now().Add(time.Minute).Time().UTC().Format(time.RFC3339) },
	} {
		if strings.Contains(text, "{"+name+"}") {
			text = strings.ReplaceAll(text, "{"+name+"}", make())
		}
	}
	return text
}

func letter(a *rig.Answer) string {
	switch {
	case a.Status < 300:
		return "+"
	case a.Status == http.StatusForbidden && strings.Contains(a.Header.Get("WWW-Authenticate"), "insufficient_user_authentication"):
		return "?"
	case a.Status == http.StatusForbidden:
		return "-"
	case a.Status == http.StatusNotFound:
		return "0"
	case a.Status == http.StatusBadRequest:
		return "!"
	}
	return fmt.Sprintf("<%d %s>", a.Status, a.Body)
}

// One function decides what each kind of credential may create, widen and manage. The matrix has every operation of the
// API: an operation without a row fails.
func TestV04_V05_V10_V11_V13_V18_WhatEachCredentialMay(t *testing.T) {
	rows := map[string]bool{}
	for _, x := range matrix {
		rows[x.operation] = true
	}
	var document struct {
		Paths map[string]map[string]struct {
			ID string `json:"operationId"`
		} `json:"paths"`
	}
	if err := json.Unmarshal([]byte(newWorld(t).JSON("GET", "/openapi.json", "", "").Body), &document); err != nil {
		t.Fatal(err)
	}
	for path, methods := range document.Paths {
		for method, operation := range methods {
			if !rows[operation.ID] {
				t.Errorf("%s %s (%s) has no row in the matrix: decide who may", strings.ToUpper(method), path, operation.ID)
			}
			delete(rows, operation.ID)
		}
	}
	for id := range rows {
		t.Errorf("%s has a row and does not exist", id)
	}
	for column, c := range callers {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			ask := c.shown(w)
			for _, x := range matrix {
				a := ask(x.method, w.fill(x.path), w.fill(x.body))
				if letter(a) != string(x.want[column]) {
					t.Errorf("%s %s: %d %s, want %c", x.operation, x.what, a.Status, a.Body, x.want[column])
				}
			}
		})
	}
}
