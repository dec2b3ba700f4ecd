package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/storage"
	"doorward/test/rig"
)

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
	{
		"createApiKey",
		"for tests",
		"POST",
		"/v1/api-keys",
		`{"name":"x","scopes":["read"],"environment":"test"}`,
		"++---+!+---+-+-+?!",
	},
	{
		"createApiKey",
		"within every bound",
		"POST",
		"/v1/api-keys",
		`{"name":"x","scopes":["read"],"expiresAt":"{soon}","addresses":["127.0.0.1"]}`,
		"+-++-+!+-+-+-+-+?!",
	},
	{
		"createApiKey",
		"with a scope that admin does not imply",
		"POST",
		"/v1/api-keys",
		`{"name":"x","scopes":["bill"]}`,
		"------!--------+?!",
	},
	{"listApiKeys", "", "GET", "/v1/api-keys", "", "++++-+!+-+++++-++!"},
	{"getApiKey", "", "GET", "/v1/api-keys/{key}", "", "+-++-+!+-+++++-++!"},
	{"updateApiKey", "its name", "PATCH", "/v1/api-keys/{key}", `{"name":"y"}`, "+-++-+!+-+++++-++!"},
	{"updateApiKey", "pause it", "PATCH", "/v1/api-keys/{key}", `{"paused":true}`, "+-++-+!+-+++++-++!"},
	{"updateApiKey", "resume it", "PATCH", "/v1/api-keys/{paused}", `{"paused":false}`, "+----+!+---+-+-+?!"},
	{
		"updateApiKey",
		"from fewer addresses",
		"PATCH",
		"/v1/api-keys/{key}",
		`{"addresses":["192.0.2.1"]}`,
		"+-++-+!+-+++++-++!",
	},
	{"updateApiKey", "from any address", "PATCH", "/v1/api-keys/{placed}", `{"addresses":null}`, "+----+!+---+-+-+?!"},
	{"updateApiKey", "a higher limit", "PATCH", "/v1/api-keys/{placed}", `{"rateLimit":null}`, "+----+!+---+-+-+?!"},
	{"updateApiKey", "a lower limit", "PATCH", "/v1/api-keys/{key}", `{"rateLimit":5}`, "+-++-+!+-+++++-++!"},
	{"rotateApiKey", "", "POST", "/v1/api-keys/{key}/rotate", "", "+----+!+---+-+-+?!"},
	{"revokeApiKey", "", "DELETE", "/v1/api-keys/{key}", "", "+-++-+!+-+++++-++!"},
	{"revokeApiKey", "with a scope that admin does not imply", "DELETE", "/v1/api-keys/{bill}", "", "+-++-+!+-+++++-++!"},
	{"revokeApiKey", "for tests", "DELETE", "/v1/api-keys/{test}", "", "++++-+!+-+++++-++!"},

	{
		"createPersonalAccessToken",
		"",
		"POST",
		"/v1/personal-access-tokens",
		`{"name":"x","scopes":["read"]}`,
		"-----++----+---+?+",
	},
	{
		"createPersonalAccessToken",
		"of a viewer",
		"POST",
		"/v1/personal-access-tokens",
		`{"name":"x","scopes":["read"],"role":"viewer"}`,
		"-----++++--+---+?+",
	},
	{
		"createPersonalAccessToken",
		"within every bound",
		"POST",
		"/v1/personal-access-tokens",
		`{"name":"x","scopes":["read"],"role":"viewer","expiresAt":"{soon}"}`,
		"-----+++++-+---+?+",
	},
	{"listPersonalAccessTokens", "", "GET", "/v1/personal-access-tokens", "", "-----+++++-+---+++"},
	{"getPersonalAccessToken", "", "GET", "/v1/personal-access-tokens/{token}", "", "-----+++++-+---++0"},
	{
		"updatePersonalAccessToken",
		"its name",
		"PATCH",
		"/v1/personal-access-tokens/{token}",
		`{"name":"y"}`,
		"-----+++++-+---++0",
	},
	{
		"updatePersonalAccessToken",
		"pause it",
		"PATCH",
		"/v1/personal-access-tokens/{token}",
		`{"paused":true}`,
		"-----+++++-+---++0",
	},
	{
		"updatePersonalAccessToken",
		"resume it",
		"PATCH",
		"/v1/personal-access-tokens/{asleep}",
		`{"paused":false}`,
		"-----++----+---+?0",
	},
	{
		"updatePersonalAccessToken",
		"resume one of a viewer",
		"PATCH",
		"/v1/personal-access-tokens/{viewer}",
		`{"paused":false}`,
		"-----++++--+---+?0",
	},
	{"revokePersonalAccessToken", "", "DELETE", "/v1/personal-access-tokens/{token}", "", "-----+++++-+---++0"},

	{
		"createApp",
		"",
		"POST",
		"/v1/apps",
		`{"name":"x","grants":["client_credentials"],"scopes":["read"]}`,
		"+----+!+---+-+-+?!",
	},
	{
		"createApp",
		"with a scope that admin does not imply",
		"POST",
		"/v1/apps",
		`{"name":"x","grants":["client_credentials"],"scopes":["bill"]}`,
		"------!--------+?!",
	},
	{"listApps", "", "GET", "/v1/apps", "", "+-++-+!+-+++++-++!"},
	{"getApp", "", "GET", "/v1/apps/{app}", "", "+-++-+!+-+++++-++!"},
	{"updateApp", "its name", "PATCH", "/v1/apps/{app}", `{"name":"y"}`, "+-++-+!+-+++++-++!"},
	{
		"updateApp",
		"a redirect URI",
		"PATCH",
		"/v1/apps/{app}",
		`{"redirectUris":["https://app.example/cb","https://more.example/cb"]}`,
		"+----+!+---+-+-+?!",
	},
	{
		"updateApp",
		"fewer redirect URIs",
		"PATCH",
		"/v1/apps/{app}",
		`{"redirectUris":["https://app.example/cb"]}`,
		"+-++-+!+-+++++-++!",
	},
	{
		"updateApp",
		"its keys",
		"PATCH",
		"/v1/apps/{app}",
		`{"token_endpoint_auth_method":"private_key_jwt","jwks":` + keySet + `}`,
		"+----+!+---+-+-+?!",
	},
	{
		"updateApp", "DPoP", "PATCH", "/v1/apps/{app}", `{"dpop_bound_access_tokens":true}`, "+-++-+!+-+++++-++!",
	},
	{
		"updateApp",
		"the keys of one with more scopes",
		"PATCH",
		"/v1/apps/{bills}",
		`{"jwks_uri":"https://app.example/jwks"}`,
		"------!--------+?!",
	},
	{"updateApp", "a scope", "PATCH", "/v1/apps/{app}", `{"scopes":["read","write"]}`, "+----+!+---+-+-+?!"},
	{"updateApp", "disable it", "PATCH", "/v1/apps/{app}", `{"disabled":true}`, "+-++-+!+-+++++-++!"},
	{"updateApp", "enable it", "PATCH", "/v1/apps/{off}", `{"disabled":false}`, "+----+!+---+-+-+?!"},
	{"updateApp", "disable one with more scopes", "PATCH", "/v1/apps/{bills}", `{"disabled":true}`, "+-++-+!+-+++++-++!"},
	{
		"updateApp",
		"a redirect URI of one with more scopes",
		"PATCH",
		"/v1/apps/{bills}",
		`{"redirectUris":["https://more.example/cb"]}`,
		"------!--------+?!",
	},
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
	{
		"updateMember",
		"to admin",
		"PATCH",
		"/v1/workspaces/acme/members/{member}",
		`{"role":"admin"}`,
		"+----+++---+-+-+?0",
	},
	{
		"updateMember",
		"to viewer",
		"PATCH",
		"/v1/workspaces/acme/members/{member}",
		`{"role":"viewer"}`,
		"+-++-+++-+-+-+-++0",
	},
	{
		"updateMember",
		"to owner",
		"PATCH",
		"/v1/workspaces/acme/members/{member}",
		`{"role":"owner"}`,
		"-----++----+---+?0",
	},
	{"removeMember", "", "DELETE", "/v1/workspaces/acme/members/{member}", "", "+-++-+++-+++++-++0"},
	{
		"createInvitation",
		"of an admin",
		"POST",
		"/v1/workspaces/acme/invitations",
		`{"email":"{email}","role":"admin"}`,
		"+----+++---+-+-+?0",
	},
	{
		"createInvitation",
		"of a member",
		"POST",
		"/v1/workspaces/acme/invitations",
		`{"email":"{email}","role":"member"}`,
		"+----+++---+-+-++0",
	},
	{
		"createInvitation",
		"of an owner",
		"POST",
		"/v1/workspaces/acme/invitations",
		`{"email":"{email}","role":"owner"}`,
		"-----++----+---+?0",
	},
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
	{"updateUser", "approve them", "PATCH", "/v1/users/{waiting}", `{"approved":true}`, "-----------------+"},
	{"inviteUser", "", "POST", "/v1/users", `{"email":"{email}"}`, "-----------------+"},
	{"deleteUser", "", "DELETE", "/v1/users/{user}", "", "-----------------+"},
	{"listUserSessions", "", "GET", "/v1/users/{user}/sessions", "", "-----------------+"},
	{"endUserSessions", "", "DELETE", "/v1/users/{user}/sessions", "", "-----------------+"},
	{"endUserSession", "", "DELETE", "/v1/users/{user}/sessions/{session}", "", "-----------------+"},
	{"sendReset", "", "POST", "/v1/users/{user}/reset", "", "-----------------+"},
	{"listSignInMethods", "", "GET", "/v1/users/{user}/methods", "", "-----------------+"},
	{"removeSignInMethod", "", "DELETE", "/v1/users/{user}/methods/password", "", "-----------------+"},
	{"signOutUser", "", "POST", "/v1/users/{user}/sign-out", `{"apps":true,"tokens":true}`, "-----------------+"},

	{"createRegistrationToken", "", "POST", "/v1/registration-tokens", `{"uses":2}`, "-----------------+"},
	{"listRegistrationTokens", "", "GET", "/v1/registration-tokens", "", "-----------------+"},
	{"revokeRegistrationToken", "", "DELETE", "/v1/registration-tokens/{regtoken}", "", "-----------------+"},

	{
		"deleteWorkspace",
		"",
		"DELETE",
		"/v1/workspaces/acme",
		"",
		"-----++--+++---++0",
	}, // the last, since nothing is left after it
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
		"waiting": func() string {
			u := w.User(fmt.Sprintf("waiting%d@example.com", w.n), "User", false)
			w.SQL(`UPDATE users SET disabled_at = 1, waiting_since = 1 WHERE id = $1`, u.ID)
			return u.ID
		},
		"session": func() string {
			u := w.User(fmt.Sprintf("user%d@example.com", w.n), "User", false)
			w.Browser().SignIn(u.Email)
			sessions, err := w.Identity.Sessions(w.System(), u.ID)
			must(err)
			return sessions[0].ID
		},
		"invitation": func() string {
			i, word, err := w.Management.Invite(w.System(), management.CLI(w.acme.ID), w.acme, fmt.Sprintf("open%d@example.com", w.n), "member")
			must(err)
			w.Seen.Add(rig.SecretInvitation, word)
			return i.ID
		},
		"regtoken": func() string {
			_, x, err := w.Management.CreateRegistrationToken(w.System(), management.CLI(""), 1, time.Hour)
			must(err)
			return x.ID
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
