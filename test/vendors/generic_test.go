package vendors

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	generatePath = "/v1/generate"
	prompt       = `{"prompt":"hello"}`
	prompts      = "/v1/prompts"
	webhooks     = "/v1/webhooks"
)

func TestGeneric01_BearerKey(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k := w.key("standard", readOnly)
		a := w.request(http.MethodPost, generatePath, k.text, prompt)
		if a.status != http.StatusOK || a.text("text") != "HELLO!" {
			t.Errorf("answered %s", a)
		}
		w.want("without", w.request(http.MethodPost, generatePath, "", prompt), http.StatusUnauthorized)
	})
}

func TestGeneric02_ManyKeysWithAPurpose(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		admin := w.key("standard", adminKey)
		for _, members := range []string{
			`"name":"Development","scopes":["read","write"],"environment":"test"`,
			`"name":"Production","scopes":["read","write"]`,
			`"name":"Read-only","scopes":["read"]`, `"name":"Admin","scopes":["admin"]`,
		} {
			a := w.request(http.MethodPost, keysPath, admin.text, `{`+members+`}`)
			w.want("making", a, http.StatusCreated)
			if !strings.Contains(members, `"name":"`+a.text("name")+`"`) {
				t.Errorf("it is called %s", a.text("name"))
			}
			w.want(a.text("name"), w.request(http.MethodPost, generatePath, a.text("key"), prompt), http.StatusOK)
		}
	})
}

// may tries each permission, and compares the permissions that succeed with who.
func may(w *way, method, path, body string, who ...string) {
	w.t.Helper()
	for _, scope := range []string{"read", "write", "webhook", "admin"} {
		want := "no"
		for _, one := range who {
			if one == scope {
				want = "yes"
			}
		}
		target := path
		if method == http.MethodPut || method == http.MethodDelete {
			target += "/" + w.request(http.MethodPost, path, w.key("standard", adminKey).text, `{"value":"x"}`).text("data.id")
		}
		a := w.request(method, target, w.key("standard", `"scopes":["`+scope+`"]`).text, body)
		got := map[bool]string{true: "yes", false: "no"}[a.status < 300]
		if got != want || a.status >= 300 && a.status != http.StatusForbidden {
			w.t.Errorf("%s %s with %s: answered %s, want %s", method, path, scope, a, want)
		}
	}
}

func TestGeneric03_Permissions(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		for _, scope := range []string{"read", "write", "admin", "webhook"} {
			k := w.key("standard", `"scopes":["`+scope+`"]`)
			if a := w.get("/v1/auth/test", k.text); !strings.HasPrefix(fmt.Sprint(a.member("scopes"), " "), "["+scope) {
				t.Errorf("answered %s", a)
			}
		}
		if a := w.manage(http.MethodPost, keysPath, "standard",
			`{"name":"x","scopes":["generate"]}`); a.status != http.StatusBadRequest {
			t.Errorf("an unknown permission: %s", a)
		}
	})
}

func TestGeneric04_ReadGenerates(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		may(w, http.MethodPost, generatePath, prompt, "read", "admin")
		may(w, http.MethodGet, prompts, "", "read", "admin")
	})
}

func TestGeneric05_WhoWritesAndDeletes(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		may(w, http.MethodPost, prompts, `{"value":"x"}`, "write", "admin")
		may(w, http.MethodPut, prompts, `{"value":"y"}`, "write", "admin")
		may(w, http.MethodDelete, prompts, "", "admin")
		may(w, http.MethodGet, webhooks, "", "webhook", "admin")
		may(w, http.MethodPost, webhooks, `{"value":"x"}`, "webhook", "admin")
		may(w, http.MethodDelete, webhooks, "", "webhook", "admin")
	})
}

func TestGeneric06_InvalidKey(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		revoked := w.revoked("standard", readOnly)
		w.same("revoked", w.get(prompts, revoked.text), http.StatusUnauthorized,
			`{"success":false,"error":{"code":"INVALID_API_KEY","message":"The provided API key is invalid","details":{"key_id":"`+revoked.id+`"}}}`)
		w.same("malformed", w.get(prompts, "nonsense"), http.StatusUnauthorized,
			`{"success":false,"error":{"code":"INVALID_API_KEY","message":"The provided API key is invalid","details":{}}}`)
	})
}

func TestGeneric07_ExpiredKey(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		a := w.get(prompts, w.expired("standard", readOnly).text)
		at := a.text("error.details.expired_at")
		w.same("expired", a, http.StatusUnauthorized,
			`{"success":false,"error":{"code":"EXPIRED_API_KEY","message":"The API key has expired","details":{"expired_at":"`+
				at+`"}}}`)
		if when, err := time.Parse(time.RFC3339, at); err != nil || time.Since(when) < 59*time.Minute {
			t.Errorf("expired at %s", at)
		}
	})
}

func TestGeneric08_MissingKey(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		const body = `{"success":false,"error":{"code":"MISSING_API_KEY","message":"API key is required","details":{"header":"Authorization"}}}`
		w.same("without", w.request(http.MethodPost, generatePath, "", prompt), http.StatusUnauthorized, body)
		w.same("in another header", w.get(prompts, "", header("X-API-Key", w.key("standard", readOnly).text)),
			http.StatusUnauthorized,
			strings.Replace(body, `"Authorization"`,
				`"Authorization","reason":"The X-Api-Key header is not supported; send the key in the Authorization header, as a Bearer token."`, 1))
	})
}

func TestGeneric09_ForbiddenAndLimited(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k := w.key("standard", readOnly+`,"rateLimit":1`)
		a := w.request(http.MethodPost, prompts, k.text, `{"value":"x"}`)
		if a.status != http.StatusForbidden || a.member("success") != false ||
			a.text("error.code") != "INSUFFICIENT_PERMISSIONS" || a.text("error.message") == "" ||
			a.text("error.details.required_scope") != "write" {
			t.Errorf("answered %s", a)
		}
		a = w.get(prompts, k.text)
		if a.status != http.StatusTooManyRequests || a.member("success") != false ||
			a.text("error.code") != "RATE_LIMIT_EXCEEDED" || a.text("error.message") == "" || a.number("Retry-After") < 1 {
			t.Errorf("answered %s", a)
		}
	})
}

func TestGeneric10_EveryErrorHasAMessage(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		admin := w.key("standard", adminKey)
		for what, a := range map[string]*answer{
			"400 of the gateway": w.get("/v1/a/../b", admin.text),
			"400 of the API":     w.request(http.MethodPost, generatePath, admin.text, `{}`),
			"400 of Doorward":    w.request(http.MethodPost, keysPath, admin.text, `{"nonsense":1}`),
			"401":                w.get(prompts, ""),
			"403":                w.get("/elsewhere", admin.text),
			"404 of the API":     w.request(http.MethodDelete, prompts+"/none", admin.text, ""),
			"404 of Doorward":    w.get(keysPath+"/key_none", admin.text),
			"405 of Doorward":    w.request(http.MethodPut, keysPath, admin.text, `{}`),
			"415":                w.request(http.MethodPost, keysPath, admin.text, "name=x"),
		} {
			if !strings.HasPrefix(what, fmt.Sprint(a.status)) || a.text("error.message") == "" || a.member("success") != false {
				t.Errorf("%s: answered %s", what, a)
			}
		}
	})
}

func TestGeneric11_Rotation(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		// By hand: create, switch, test, revoke.
		admin, old := w.key("standard", adminKey), w.key("standard", readOnly)
		fresh := w.request(http.MethodPost, keysPath, admin.text, `{"name":"Next",`+readOnly+`}`)
		w.want("the old one meanwhile", w.get(prompts, old.text), http.StatusOK)
		w.want("the new one", w.get(prompts, fresh.text("key")), http.StatusOK)
		w.want("deleting the old one", w.request(http.MethodDelete, keysPath+"/"+old.id, admin.text, ""),
			http.StatusNoContent)
		w.want("the old one then", w.get(prompts, old.text), http.StatusUnauthorized)
		w.want("the new one then", w.get(prompts, fresh.text("key")), http.StatusOK)
		// In one call, with a grace period in which both are valid.
		next := w.request(http.MethodPost, keysPath+"/"+fresh.text("id")+"/rotate", admin.text, `{"grace":"1h"}`)
		w.want("rotating", next, http.StatusCreated)
		w.want("the one before", w.get(prompts, fresh.text("key")), http.StatusOK)
		w.want("the last", w.get(prompts, next.text("key")), http.StatusOK)
		w.pass(t, time.Hour)
		w.want("the one before, later", w.get(prompts, fresh.text("key")), http.StatusUnauthorized)
	})
}

func TestGeneric12_UsageCanBeWatched(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k := w.key("standard", readOnly)
		for range 2 {
			w.get(prompts, k.text)
		}
		w.request(http.MethodPost, prompts, k.text, `{"value":"x"}`)
		deadline := time.Now().Add(30 * time.Second)
		for {
			a := w.manage(http.MethodGet, "/v1/usage?credential="+k.id, "standard", "")
			w.want("usage", a, http.StatusOK)
			allowed, refused := 0.0, 0.0
			rows, _ := a.member("data").([]any)
			for _, row := range rows {
				m, _ := row.(map[string]any)
				allowed += m["allowed"].(float64)
				refused += m["refused"].(float64)
			}
			if allowed == 2 && refused == 1 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("usage says %s", a)
			}
			<-time.After(200 * time.Millisecond)
		}
		page, err := w.person.visit(http.MethodGet, w.app+"/settings/workspaces/standard/api-keys/"+k.id, nil)
		ok(t, err)
		if !strings.Contains(page.body, "POST "+prompts) || !strings.Contains(page.body, "write") {
			t.Error("the page of the key does not say what was refused")
		}
	})
}

func TestGeneric13_NoIDForARandomString(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		for _, text := range []string{"sk_live_" + strings.Repeat("0", 49), "sk_live_x", "key_0195", "x"} {
			if a := w.get(prompts, text); a.status != http.StatusUnauthorized || strings.Contains(a.body, "key_id") {
				t.Errorf("%s: answered %s", text, a)
			}
		}
	})
}
