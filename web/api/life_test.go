package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"doorward/oauth"
	"doorward/storage"
	"doorward/test/rig"
)

// send calls the API with a credential and, unless it is empty, a JSON body.
func send(r *rig.Rig, method, path, token, body string, header ...string) *rig.Answer {
	r.T.Helper()
	if token != "" {
		header = append(header, "Authorization", "Bearer "+token)
	}
	if body != "" {
		header = append(header, "Content-Type", "application/json")
	}
	return r.Send(r.Program(), r.Request(method, path, strings.NewReader(body), header...))
}

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
	_, text := r.Key(w, oauth.KeySpec{Name: "Admin", Scopes: []string{"admin"}})
	return text
}

func TestLifeOfAKey(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		w := r.Workspace("acme", "", r.Alice)
		admin := adminKey(r, w)

		made := want(t, send(r, "POST", "/v1/api-keys", admin, `{"name":"Production","scopes":["read","write"],"rateLimit":1000,"expiresAt":null}`), http.StatusCreated)
		id, _ := made["id"].(string)
		key, _ := made["key"].(string)
		if !strings.HasPrefix(id, "key_") || !strings.HasPrefix(key, "sk_live_") || made["rateLimit"] != 1000.0 || made["expiresAt"] != nil ||
			!strings.HasSuffix(made["createdAt"].(string), "Z") || made["workspace"] != "acme" || made["status"] != "live" {
			t.Errorf("made %v", made)
		}
		test := want(t, send(r, "GET", "/v1/auth/test", key, ""), http.StatusOK)
		if test["authenticated"] != true || test["keyId"] != id || test["rateLimit"].(map[string]any)["limit"] != 1000.0 {
			t.Errorf("test: %v", test)
		}
		shown := send(r, "GET", "/v1/api-keys/"+id, admin, "")
		if strings.Contains(shown.Body, key) || want(t, shown, http.StatusOK)["key"] != nil {
			t.Errorf("shown again: %s", shown.Body)
		}
		list := want(t, send(r, "GET", "/v1/api-keys", admin, ""), http.StatusOK)
		if data, _ := list["data"].([]any); len(data) != 2 || list["nextCursor"] != nil {
			t.Errorf("list: %v", list)
		}

		changed := want(t, send(r, "PATCH", "/v1/api-keys/"+id, admin, `{"name":"Renamed","note":"why","scopes":["read"],"rateLimit":10,"addresses":["127.0.0.0/8"]}`), http.StatusOK)
		if text, _ := json.Marshal(changed["scopes"]); changed["name"] != "Renamed" || changed["note"] != "why" || string(text) != `["read"]` || changed["rateLimit"] != 10.0 {
			t.Errorf("changed: %v", changed)
		}
		if again := want(t, send(r, "PATCH", "/v1/api-keys/"+id, admin, `{"rateLimit":null,"note":null}`), http.StatusOK); again["rateLimit"] != nil || again["note"] != "" {
			t.Errorf("cleared: %v", again)
		}

		if p := want(t, send(r, "PATCH", "/v1/api-keys/"+id, admin, `{"paused":true}`), http.StatusOK); p["status"] != "paused" || p["pausedAt"] == nil {
			t.Errorf("paused: %v", p)
		}
		want(t, send(r, "GET", "/v1/auth/test", key, ""), http.StatusForbidden)
		if p := want(t, send(r, "PATCH", "/v1/api-keys/"+id, admin, `{"paused":false}`), http.StatusOK); p["status"] != "live" || p["pausedAt"] != nil {
			t.Errorf("resumed: %v", p)
		}
		want(t, send(r, "GET", "/v1/auth/test", key, ""), http.StatusOK)

		fresh := want(t, send(r, "POST", "/v1/api-keys/"+id+"/rotate", admin, `{"grace":"1h"}`), http.StatusCreated)
		second, _ := fresh["key"].(string)
		if old := want(t, send(r, "GET", "/v1/api-keys/"+id, admin, ""), http.StatusOK); old["status"] != "rotating" || old["rotatedInto"] != fresh["id"] {
			t.Errorf("rotated: %v", old)
		}
		want(t, send(r, "GET", "/v1/auth/test", key, ""), http.StatusOK)
		want(t, send(r, "GET", "/v1/auth/test", second, ""), http.StatusOK)
		want(t, send(r, "POST", "/v1/api-keys/"+id+"/rotate", admin, ""), http.StatusConflict)

		want(t, send(r, "DELETE", "/v1/api-keys/"+fresh["id"].(string), admin, ""), http.StatusNoContent)
		want(t, send(r, "DELETE", "/v1/api-keys/"+fresh["id"].(string), admin, ""), http.StatusNoContent)
		want(t, send(r, "GET", "/v1/auth/test", second, ""), http.StatusUnauthorized)
		if revoked := want(t, send(r, "GET", "/v1/api-keys/"+fresh["id"].(string), admin, ""), http.StatusOK); revoked["status"] != "revoked" || revoked["revokedAt"] == nil {
			t.Errorf("revoked: %v", revoked)
		}
		want(t, send(r, "PATCH", "/v1/api-keys/"+fresh["id"].(string), admin, `{"name":"x"}`), http.StatusBadRequest)
	})
}
