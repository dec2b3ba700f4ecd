package vendors

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// exchange redeems a code with a JSON body on the API's host.
func (w *way) exchange(a app, code string) *answer {
	w.t.Helper()
	body, _ := json.Marshal(map[string]string{
		"grant_type":    "authorization_code",
		"code":          code,
		"client_id":     a.id,
		"client_secret": a.secret,
		"redirect_uri":  a.redirect,
	})
	return w.request(http.MethodPost, "/oauth/token", "", string(body))
}

func TestScopien24_OAuthWithAJSONBody(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		app := w.oldApp(t, "read write")
		query := w.person.authorize(t, w.app+"/oauth/authorize?"+url.Values{
			"client_id":     {app.id},
			"redirect_uri":  {app.redirect},
			"response_type": {"code"},
			"scope":         {"read write"},
		}.Encode())
		token := w.exchange(app, query.Get("code"))
		if token.status != http.StatusOK || token.text("access_token") == "" || token.text("refresh_token") == "" ||
			token.text("scope") != "read write" {
			t.Fatalf("answered %s", token)
		}
		w.want("with the token", w.get(accounts, token.text("access_token")), http.StatusOK)
		body, _ := json.Marshal(map[string]string{
			"grant_type":    "refresh_token",
			"refresh_token": token.text("refresh_token"),
			"client_id":     app.id,
			"client_secret": app.secret,
		})
		fresh := w.request(http.MethodPost, "/oauth/token", "", string(body))
		if fresh.status != http.StatusOK {
			t.Fatalf("refreshing: %s", fresh)
		}
		w.want("with the new token", w.request(http.MethodPost, accounts, fresh.text("access_token"), `{"name":"By an app"}`),
			http.StatusCreated)
	})
}

func TestScopien25_InvalidGrantForJSON(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		app := w.oldApp(t, "read")
		code := w.person.authorize(t, app.address(w.app)).Get("code")
		w.want("the first time", w.exchange(app, code), http.StatusOK)
		for what, code := range map[string]string{"used": code, "wrong": "dw_ac_" + strings.Repeat("0", 49), "no code": "x"} {
			if a := w.exchange(app, code); a.status != http.StatusBadRequest || a.text("error") != "invalid_grant" {
				t.Errorf("%s: answered %s", what, a)
			}
		}
	})
}
