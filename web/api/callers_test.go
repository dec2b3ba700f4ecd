package api_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
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
		Emails: true,
		Plans:  map[string]limit.Plan{"free": {Hour: 100_000}, "enterprise": {Hour: 1_000_000}},
		Resources: []catalog.Resource{{
			ID: id, Name: "Example API", WorkspaceHeader: "X-Workspace",
			Scopes: []catalog.Scope{
				{Name: "read", Text: "Read"},
				{Name: "write", Text: "Write"},
				{Name: "bill", Text: "Send bills"},
				{Name: "admin", Text: "Manage", Implies: []string{"read", "write"}},
			},
			Keys: catalog.KeyRules{Prefix: "sk", Environments: []string{"live", "test"}},
			TrustedIssuers: []catalog.TrustedIssuer{
				{
					Issuer:      "https://else.example",
					Audiences:   []string{"all"},
					HS256Secret: []byte(foreignSecret),
					Scopes:      []string{"admin"},
				},
			},
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
	{
		"personal token, at most member",
		token(apikey.Spec{Scopes: []string{"admin"}, Role: "member"}, "X-Workspace", "acme"),
	},
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
