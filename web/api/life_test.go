package api_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/limit"
	"doorward/storage"
	"doorward/test/rig"
)

func want(t *testing.T, a *rig.Answer, status int) map[string]any {
	t.Helper()
	if a.Status != status {
		t.Fatalf("answered %d %s, want %d", a.Status, a.Body, status)
	}
	return a.JSON()
}

// adminKey is one with which everything in a workspace may be managed.
func adminKey(r *rig.Rig, w storage.Workspace) string {
	r.T.Helper()
	_, text := r.Key(w, apikey.Spec{Name: "Admin", Scopes: []string{"admin"}})
	return text
}

func TestLifeOfAKey(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		w := r.Workspace("acme", "", r.Alice)
		admin := adminKey(r, w)

		made := want(
			t,
			r.JSON(
				"POST",
				"/v1/api-keys",
				admin,
				`{"name":"Production","scopes":["read","write"],"rateLimit":1000,"expiresAt":null}`,
			),
			http.StatusCreated,
		)
		id, _ := made["id"].(string)
		key, _ := made["key"].(string)
		if !strings.HasPrefix(id, "key_") || !strings.HasPrefix(key, "sk_live_") || made["rateLimit"] != 1000.0 ||
			made["expiresAt"] != nil ||
			!strings.HasSuffix(made["createdAt"].(string), "Z") ||
			made["workspace"] != "acme" ||
			made["status"] != "active" {
			t.Errorf("made %v", made)
		}
		test := want(t, r.JSON("GET", "/v1/auth/test", key, ""), http.StatusOK)
		if test["authenticated"] != true || test["keyId"] != id || test["rateLimit"].(map[string]any)["limit"] != 1000.0 {
			t.Errorf("test: %v", test)
		}
		shown := r.JSON("GET", "/v1/api-keys/"+id, admin, "")
		if strings.Contains(shown.Body, key) || want(t, shown, http.StatusOK)["key"] != nil {
			t.Errorf("shown again: %s", shown.Body)
		}
		list := want(t, r.JSON("GET", "/v1/api-keys", admin, ""), http.StatusOK)
		if data, _ := list["data"].([]any); len(data) != 2 || list["nextCursor"] != nil {
			t.Errorf("list: %v", list)
		}

		changed := want(
			t,
			r.JSON(
				"PATCH",
				"/v1/api-keys/"+id,
				admin,
				`{"name":"Renamed","note":"why","scopes":["read"],"rateLimit":10,"addresses":["127.0.0.0/8"]}`,
			),
			http.StatusOK,
		)
		if text, _ := json.Marshal(changed["scopes"]); changed["name"] != "Renamed" || changed["note"] != "why" ||
			string(text) != `["read"]` ||
			changed["rateLimit"] != 10.0 {
			t.Errorf("changed: %v", changed)
		}
		if again := want(t, r.JSON("PATCH", "/v1/api-keys/"+id, admin, `{"rateLimit":null,"note":null}`), http.StatusOK); again["rateLimit"] != nil ||
			again["note"] != "" {
			t.Errorf("cleared: %v", again)
		}

		if p := want(t, r.JSON("PATCH", "/v1/api-keys/"+id, admin, `{"paused":true}`), http.StatusOK); p["status"] != "paused" ||
			p["pausedAt"] == nil {
			t.Errorf("paused: %v", p)
		}
		want(t, r.JSON("GET", "/v1/auth/test", key, ""), http.StatusForbidden)
		if p := want(t, r.JSON("PATCH", "/v1/api-keys/"+id, admin, `{"paused":false}`), http.StatusOK); p["status"] != "active" ||
			p["pausedAt"] != nil {
			t.Errorf("resumed: %v", p)
		}
		want(t, r.JSON("GET", "/v1/auth/test", key, ""), http.StatusOK)

		fresh := want(t, r.JSON("POST", "/v1/api-keys/"+id+"/rotate", admin, `{"grace":"1h"}`), http.StatusCreated)
		second, _ := fresh["key"].(string)
		if old := want(t, r.JSON("GET", "/v1/api-keys/"+id, admin, ""), http.StatusOK); old["status"] != "rotating" ||
			old["rotatedInto"] != fresh["id"] {
			t.Errorf("rotated: %v", old)
		}
		want(t, r.JSON("GET", "/v1/auth/test", key, ""), http.StatusOK)
		want(t, r.JSON("GET", "/v1/auth/test", second, ""), http.StatusOK)
		want(t, r.JSON("POST", "/v1/api-keys/"+id+"/rotate", admin, ""), http.StatusConflict)

		want(t, r.JSON("DELETE", "/v1/api-keys/"+fresh["id"].(string), admin, ""), http.StatusNoContent)
		want(t, r.JSON("DELETE", "/v1/api-keys/"+fresh["id"].(string), admin, ""), http.StatusNoContent)
		want(t, r.JSON("GET", "/v1/auth/test", second, ""), http.StatusUnauthorized)
		if revoked := want(t, r.JSON("GET", "/v1/api-keys/"+fresh["id"].(string), admin, ""), http.StatusOK); revoked["status"] != "revoked" ||
			revoked["revokedAt"] == nil {
			t.Errorf("revoked: %v", revoked)
		}
		want(t, r.JSON("PATCH", "/v1/api-keys/"+fresh["id"].(string), admin, `{"name":"x"}`), http.StatusBadRequest)
	})
}

func TestLifeOfAPersonalAccessToken(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		b := r.Browser().SignIn(r.Alice.Email)
		made := want(
			t,
			b.JSON("POST", "/v1/personal-access-tokens", `{"name":"Laptop","scopes":["admin"],"role":"admin","note":"mine"}`),
			http.StatusCreated,
		)
		id, token := made["id"].(string), made["token"].(string)
		if !strings.HasPrefix(id, "token_") || !strings.HasPrefix(token, "pat_") || made["role"] != "admin" ||
			made["status"] != "active" {
			t.Errorf("made %v", made)
		}
		path := "/v1/personal-access-tokens/" + id
		// It may make another, no wider than itself; an API key and an app may not.
		second := want(
			t,
			r.JSON("POST", "/v1/personal-access-tokens", token, `{"name":"Second","scopes":["read"],"role":"viewer"}`),
			http.StatusCreated,
		)
		want(
			t,
			r.JSON("POST", "/v1/personal-access-tokens", token, `{"name":"Owner","scopes":["read"],"role":"owner"}`),
			http.StatusForbidden,
		)
		want(
			t,
			r.JSON("POST", "/v1/personal-access-tokens", token, `{"name":"Owner","scopes":["read"]}`),
			http.StatusForbidden,
		)
		want(
			t,
			r.JSON("POST", "/v1/personal-access-tokens", token, `{"name":"x","scopes":["read"],"role":"viewer","plan":"pro"}`),
			http.StatusBadRequest,
		)
		app := r.App(management.ClientSpec{Scopes: []string{"admin"}})
		access, _ := r.Tokens(app, "admin")
		for _, other := range []string{access, adminKey(r, r.Workspace("acme", "", r.Alice))} {
			for _, q := range []struct{ method, path, body string }{
				{"POST", "/v1/personal-access-tokens", `{"name":"x","scopes":["read"]}`},
				{"GET", "/v1/personal-access-tokens", ""},
				{"GET", path, ""},
				{"PATCH", path, `{"name":"x"}`},
				{"DELETE", path, ""},
				{"POST", "/v1/workspaces", `{"name":"x","slug":"xx"}`},
			} {
				want(t, r.JSON(q.method, q.path, other, q.body), http.StatusForbidden)
			}
		}
		if list := want(t, r.JSON("GET", "/v1/personal-access-tokens?search=LAP&status=active", token, ""), http.StatusOK)["data"].([]any); len(
			list,
		) != 1 ||
			list[0].(map[string]any)["id"] != id {
			t.Errorf("list: %v", list)
		}
		changed := want(
			t,
			b.JSON("PATCH", path, `{"name":"Desktop","note":null,"role":"member","addresses":["127.0.0.1"]}`),
			http.StatusOK,
		)
		if changed["name"] != "Desktop" || changed["note"] != "" || changed["role"] != "member" ||
			len(changed["addresses"].([]any)) != 1 {
			t.Errorf("changed: %v", changed)
		}
		want(t, b.JSON("PATCH", path, `{"role":"admin"}`), http.StatusForbidden)
		if p := want(t, b.JSON("PATCH", path, `{"paused":true}`), http.StatusOK); p["status"] != "paused" {
			t.Errorf("paused: %v", p)
		}
		want(t, r.JSON("GET", "/api/me", token, ""), http.StatusForbidden)
		want(t, b.JSON("PATCH", path, `{"paused":false}`), http.StatusOK)
		want(t, r.JSON("GET", "/api/me", token, ""), http.StatusOK)
		want(t, r.JSON("DELETE", "/v1/personal-access-tokens/"+second["id"].(string), token, ""), http.StatusNoContent)
		want(t, r.JSON("GET", "/api/me", second["token"].(string), ""), http.StatusUnauthorized)
		want(t, r.JSON("DELETE", path, token, ""), http.StatusNoContent)
		want(t, r.JSON("GET", path, token, ""), http.StatusUnauthorized)
		if gone := want(t, b.JSON("GET", path, ""), http.StatusOK); gone["status"] != "revoked" {
			t.Errorf("revoked: %v", gone)
		}
	})
}

func TestLifeOfAnApp(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		admin := adminKey(r, r.Workspace("acme", "", r.Alice))
		made := want(
			t,
			r.JSON("POST", "/v1/apps", admin, `{"name":"Robot","grants":["client_credentials"],"scopes":["read"]}`),
			http.StatusCreated,
		)
		id, secret := made["id"].(string), made["secret"].(string)
		if !strings.HasPrefix(id, "app_") || made["workspace"] != "acme" || made["public"] != false ||
			made["createdBy"] != nil {
			t.Errorf("made %v", made)
		}
		path := "/v1/apps/" + id
		token := func(secret string) *rig.Answer {
			return r.Post(
				"/oauth/token",
				url.Values{"grant_type": {"client_credentials"}},
				"Authorization",
				rig.Basic(id, secret),
			)
		}
		access := want(t, token(secret), http.StatusOK)["access_token"].(string)
		if test := want(t, r.JSON("GET", "/v1/auth/test", access, ""), http.StatusOK); test["keyId"] != nil ||
			test["rateLimit"] != nil {
			t.Errorf("test: %v", test)
		}
		rotated := want(t, r.JSON("POST", path+"/secret", admin, `{"grace":"1h"}`), http.StatusCreated)
		if list := rotated["secrets"].([]any); len(list) != 2 || list[1].(map[string]any)["expiresAt"] == nil {
			t.Errorf("rotated: %v", rotated)
		}
		want(t, token(secret), http.StatusOK)
		second := want(t, r.JSON("POST", path+"/secret", admin, `{"grace":"0s"}`), http.StatusCreated)["secret"].(string)
		want(t, token(rotated["secret"].(string)), http.StatusUnauthorized)
		want(t, token(second), http.StatusOK)
		changed := want(
			t,
			r.JSON("PATCH", path, admin, `{"name":"Machine","site":"https://example.com","disabled":true}`),
			http.StatusOK,
		)
		if changed["name"] != "Machine" || changed["disabled"] != true || changed["site"] != "https://example.com" ||
			len(changed["secrets"].([]any)) != 1 {
			t.Errorf("changed: %v", changed)
		}
		want(t, token(second), http.StatusUnauthorized)
		want(t, r.JSON("GET", "/v1/auth/test", access, ""), http.StatusForbidden)
		if on := want(t, r.JSON("PATCH", path, admin, `{"disabled":false,"site":null}`), http.StatusOK); on["disabled"] != false ||
			on["site"] != nil ||
			on["name"] != "Machine" {
			t.Errorf("enabled: %v", on)
		}
		want(t, token(second), http.StatusOK)
		if list := want(t, r.JSON("GET", "/v1/apps", admin, ""), http.StatusOK)["data"].([]any); len(list) != 1 {
			t.Errorf("list: %v", list)
		}
		// What only administrators of the server may set, and what cannot be.
		for _, body := range []string{
			`{"pkceOptional":true}`, `{"firstParty":false}`, `{"public":true}`, `{"verified":true}`, `{"grants":["password"]}`, `{"scopes":[]}`, `{"redirectUris":["javascript:1"]}`,
		} {
			want(t, r.JSON("PATCH", path, admin, body), http.StatusBadRequest)
		}
		want(
			t,
			r.JSON(
				"POST",
				"/v1/apps",
				admin,
				`{"name":"x","redirectUris":["https://x.example/cb"],"scopes":["read"],"pkceOptional":true}`,
			),
			http.StatusBadRequest,
		)
		public := want(
			t,
			r.JSON(
				"POST",
				"/v1/apps",
				admin,
				`{"name":"Browser app","redirectUris":["https://x.example/cb"],"scopes":["read"],"public":true}`,
			),
			http.StatusCreated,
		)
		if public["secret"] != nil || public["public"] != true {
			t.Errorf("public: %v", public)
		}
		want(t, r.JSON("POST", "/v1/apps/"+public["id"].(string)+"/secret", admin, `{}`), http.StatusBadRequest)
		want(t, r.JSON("DELETE", path, admin, ""), http.StatusNoContent)
		want(t, r.JSON("GET", path, admin, ""), http.StatusNotFound)
		want(t, token(second), http.StatusUnauthorized)

		// An administrator of the server may, from a browser.
		root := r.User("root@example.com", "Root", true)
		b := r.Browser().SignIn(root.Email)
		old := want(
			t,
			b.JSON(
				"POST",
				"/v1/apps",
				`{"name":"Old app","redirectUris":["https://x.example/cb"],"scopes":["read"],"pkceOptional":true}`,
			),
			http.StatusCreated,
		)
		if old["pkceOptional"] != true || old["createdBy"] != root.ID {
			t.Errorf("old: %v", old)
		}
		if now := want(t, b.JSON("PATCH", "/v1/apps/"+old["id"].(string), `{"pkceOptional":false,"firstParty":true}`), http.StatusOK); now["pkceOptional"] != false ||
			now["firstParty"] != true {
			t.Errorf("changed: %v", now)
		}
	})
}

func TestLifeOfAWorkspace(t *testing.T) {
	rig.Each(
		t,
		rig.Options{Plans: map[string]limit.Plan{"pro": {Hour: 1000}}, OwnersSetPlans: true},
		func(t *testing.T, r *rig.Rig) {
			bob := r.User("bob@example.com", "Bob", false)
			b, bobs := r.Browser().SignIn(r.Alice.Email), r.Browser().SignIn(bob.Email)
			made := want(t, b.JSON("POST", "/v1/workspaces", `{"name":"Acme","slug":"acme"}`), http.StatusCreated)
			if made["slug"] != "acme" || made["role"] != "owner" || made["plan"] != nil || made["personal"] != false {
				t.Errorf("made %v", made)
			}
			want(t, b.JSON("POST", "/v1/workspaces", `{"name":"Acme","slug":"acme"}`), http.StatusConflict)
			for _, body := range []string{`{"name":"","slug":"xx"}`, `{"name":"x","slug":"X"}`, `{"name":"x","slug":"x"}`, `{"name":"x","slug":"xx","plan":"pro"}`} {
				want(t, b.JSON("POST", "/v1/workspaces", body), http.StatusBadRequest)
			}
			if list := want(t, b.JSON("GET", "/v1/workspaces", ""), http.StatusOK)["data"].([]any); len(list) != 2 ||
				list[0].(map[string]any)["personal"] != true {
				t.Errorf("list: %v", list)
			}
			if now := want(t, b.JSON("PATCH", "/v1/workspaces/acme", `{"name":"Acme Ltd","plan":"pro"}`), http.StatusOK); now["name"] != "Acme Ltd" ||
				now["plan"] != "pro" {
				t.Errorf("changed: %v", now)
			}
			want(t, b.JSON("PATCH", "/v1/workspaces/acme", `{"plan":"gold"}`), http.StatusBadRequest)
			if now := want(t, b.JSON("PATCH", "/v1/workspaces/acme", `{"plan":null}`), http.StatusOK); now["name"] != "Acme Ltd" ||
				now["plan"] != nil {
				t.Errorf("changed: %v", now)
			}
			want(t, b.JSON("PATCH", "/v1/workspaces/acme", `{"slug":"other"}`), http.StatusBadRequest)

			invited := want(
				t,
				b.JSON("POST", "/v1/workspaces/acme/invitations", `{"email":"bob@example.com","role":"member"}`),
				http.StatusCreated,
			)
			if !strings.HasPrefix(invited["url"].(string), r.Issuer+"/join/dw_in_") || invited["createdBy"] != r.Alice.ID {
				t.Errorf("invited: %v", invited)
			}
			if list := want(t, b.JSON("GET", "/v1/workspaces/acme/invitations", ""), http.StatusOK)["data"].([]any); len(
				list,
			) != 1 ||
				list[0].(map[string]any)["url"] != nil {
				t.Errorf("invitations: %v", list)
			}
			want(t, bobs.JSON("GET", "/v1/workspaces/acme", ""), http.StatusNotFound)
			word := invited["url"].(string)[len(r.Issuer+"/join/"):]
			if _, err := r.Management.TakeInvitation(r.System(), bob, word); err != nil {
				t.Fatal(err)
			}
			second := want(
				t,
				b.JSON("POST", "/v1/workspaces/acme/invitations", `{"email":"carol@example.com","role":"viewer"}`),
				http.StatusCreated,
			)
			want(t, b.JSON("DELETE", "/v1/workspaces/acme/invitations/"+second["id"].(string), ""), http.StatusNoContent)
			want(t, b.JSON("DELETE", "/v1/workspaces/acme/invitations/"+second["id"].(string), ""), http.StatusNotFound)

			if w := want(t, bobs.JSON("GET", "/v1/workspaces/acme", ""), http.StatusOK); w["role"] != "member" {
				t.Errorf("bob sees %v", w)
			}
			want(t, bobs.JSON("PATCH", "/v1/workspaces/acme", `{"name":"x"}`), http.StatusForbidden)
			want(t, bobs.JSON("GET", "/v1/workspaces/acme/invitations", ""), http.StatusForbidden)
			want(t, bobs.JSON("DELETE", "/v1/workspaces/acme", ""), http.StatusForbidden)
			want(t, bobs.JSON("GET", "/v1/api-keys", "", "X-Workspace", "acme"), http.StatusForbidden)
			want(t, bobs.JSON("PATCH", "/v1/workspaces/acme/members/"+r.Alice.ID, `{"role":"viewer"}`), http.StatusForbidden)
			if list := want(t, bobs.JSON("GET", "/v1/workspaces/acme/members", ""), http.StatusOK)["data"].([]any); len(
				list,
			) != 2 {
				t.Errorf("members: %v", list)
			}
			want(t, b.JSON("PATCH", "/v1/workspaces/acme/members/"+r.Alice.ID, `{"role":"member"}`), http.StatusConflict)
			want(t, b.JSON("DELETE", "/v1/workspaces/acme/members/"+r.Alice.ID, ""), http.StatusConflict)
			want(t, b.JSON("PATCH", "/v1/workspaces/acme/members/"+bob.ID, `{"role":"king"}`), http.StatusBadRequest)
			want(t, b.JSON("PATCH", "/v1/workspaces/acme/members/"+bob.ID, `{}`), http.StatusBadRequest)
			if m := want(t, b.JSON("PATCH", "/v1/workspaces/acme/members/"+bob.ID, `{"role":"admin"}`), http.StatusOK); m["role"] != "admin" ||
				m["email"] != bob.Email {
				t.Errorf("member: %v", m)
			}
			want(t, bobs.JSON("GET", "/v1/api-keys", "", "X-Workspace", "acme"), http.StatusOK)
			want(t, bobs.JSON("PATCH", "/v1/workspaces/acme/members/"+bob.ID, `{"role":"owner"}`), http.StatusForbidden)
			want(t, bobs.JSON("DELETE", "/v1/workspaces/acme/members/"+bob.ID, ""), http.StatusNoContent)
			want(t, bobs.JSON("GET", "/v1/workspaces/acme", ""), http.StatusNotFound)

			// A key sees its own workspace and no other, and acts in it as an admin.
			w, err := r.Store.WorkspaceBySlug(r.System(), "acme")
			if err != nil {
				t.Fatal(err)
			}
			key := adminKey(r, w)
			if list := want(t, r.JSON("GET", "/v1/workspaces", key, ""), http.StatusOK)["data"].([]any); len(list) != 1 ||
				list[0].(map[string]any)["role"] != "admin" {
				t.Errorf("a key lists %v", list)
			}
			want(t, r.JSON("GET", "/v1/workspaces/acme/members", key, ""), http.StatusOK)
			want(
				t,
				r.JSON("POST", "/v1/workspaces/acme/invitations", key, `{"email":"dave@example.com","role":"owner"}`),
				http.StatusForbidden,
			)
			want(t, r.JSON("DELETE", "/v1/workspaces/acme", key, ""), http.StatusForbidden)

			personal := want(t, b.JSON("GET", "/v1/workspaces", ""), http.StatusOK)["data"].([]any)[0].(map[string]any)["slug"].(string)
			want(t, b.JSON("DELETE", "/v1/workspaces/"+personal, ""), http.StatusConflict)
			want(
				t,
				b.JSON("POST", "/v1/workspaces/"+personal+"/invitations", `{"email":"bob@example.com","role":"member"}`),
				http.StatusConflict,
			)
			want(t, b.JSON("DELETE", "/v1/workspaces/acme", ""), http.StatusNoContent)
			want(t, b.JSON("GET", "/v1/workspaces/acme", ""), http.StatusNotFound)
			want(t, r.JSON("GET", "/v1/auth/test", key, ""), http.StatusUnauthorized)
		},
	)
}
