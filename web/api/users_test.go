package api_test

import (
	"fmt"
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

// Only an administrator's browser or unrestricted personal access token reaches users, whatever else acts for them.
func TestV64_OnlyAdministratorsManageUsers(t *testing.T) {
	w := newWorld(t)
	root := w.User("root@example.com", "Root", true)
	home := w.Workspace("home", "", root)
	pat := func(p apikey.Spec) string {
		p.Scopes = append(p.Scopes, "admin")
		_, text := w.PersonalToken(root, p)
		return text
	}
	_, key := w.Key(home, apikey.Spec{Scopes: []string{"admin"}})
	_, other := w.PersonalToken(root, apikey.Spec{Scopes: []string{"read"}})
	access := func(p management.ClientSpec) string {
		app := w.App(p)
		b := w.Browser().SignIn(root.Email)
		a := b.Decide(b.Authorize(app.Params("admin")), "approve", func(form url.Values) { form.Set("workspace", "home") })
		return w.Exchange(app, a.Param("code")).Text("access_token")
	}
	stale := w.Browser().SignIn(root.Email)
	w.Advance(6 * time.Minute)
	// The letters are for looking, signing out, a name, an address, an administrator, and enabling.
	for name, x := range map[string]struct {
		ask  func(method, path, body string) *rig.Answer
		want string
	}{
		"session":                              {w.session(w.Browser().SignIn(root.Email)), "++++++"},
		"stale session":                        {w.session(stale), "+++???"},
		"personal access token":                {w.bearer(pat(apikey.Spec{})), "++++++"},
		"in a workspace":                       {w.bearer(pat(apikey.Spec{}), "X-Workspace", "home"), "++++++"},
		"personal access token that ends":      {w.bearer(pat(apikey.Spec{ExpiresAt: w.Store.Now().Add(time.Hour)})), "+++---"},
		"personal access token of an address":  {w.bearer(pat(apikey.Spec{Addresses: []string{"127.0.0.0/8"}})), "+++---"},
		"personal access token held to a role": {w.bearer(pat(apikey.Spec{Role: catalog.RoleOwner})), "------"},
		"without the scope admin":              {w.bearer(other), "------"},
		"API key of a workspace of theirs":     {w.bearer(key), "------"},
		"app that acts for them":               {w.bearer(access(management.ClientSpec{Scopes: []string{"admin"}})), "------"},
		"app that manages for them":            {w.bearer(access(management.ClientSpec{Scopes: []string{"admin"}, Manages: true})), "------"},
	} {
		t.Run(name, func(t *testing.T) {
			w.n++
			u := w.User(fmt.Sprintf("somebody%d@example.com", w.n), "", false)
			path := "/v1/users/" + u.ID
			got := ""
			for _, q := range [][3]string{
				{"GET", path, ""},
				{"POST", path + "/sign-out", `{}`},
				{"PATCH", path, `{"name":"y"}`},
				{"PATCH", path, `{"email":"other` + u.Email + `"}`},
				{"PATCH", path, `{"admin":true}`},
				{"PATCH", path, `{"disabled":false}`},
			} {
				got += letter(x.ask(q[0], q[1], q[2]))
			}
			if got != x.want {
				t.Errorf("%s, want %s", got, x.want)
			}
			after, err := w.Store.UserByID(w.System(), u.ID)
			if err != nil || (after.Name == "y") != (x.want[2] == '+') || (after.Email != u.Email) != (x.want[3] == '+') ||
				after.Admin != (x.want[4] == '+') {
				t.Errorf("%+v, error %v", after, err)
			}
		})
	}
	// The right is read for each request.
	text := pat(apikey.Spec{})
	w.User("second@example.com", "Second", true) // so that it is not the last one
	no := want(t, w.JSON("PATCH", "/v1/users/"+root.ID, text, `{"admin":false}`), http.StatusOK)
	if no["admin"] != false || letter(w.JSON("GET", "/v1/users", text, "")) != "-" {
		t.Errorf("after the loss of the right: %v", no)
	}
}

func TestV64_ChangesOfAUserByTheAPI(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		root := r.User("root@example.com", "Root", true)
		_, admin := r.PersonalToken(root, apikey.Spec{Scopes: []string{"admin"}})
		path := "/v1/users/" + r.Alice.ID
		change := func(path, body string) *rig.Answer { return r.JSON("PATCH", path, admin, body) }

		made := want(t, change(path, `{"email":"alicia@example.com","name":"Alicia","admin":true}`), http.StatusOK)
		if made["email"] != "alicia@example.com" || made["name"] != "Alicia" || made["admin"] != true ||
			made["disabled"] != false {
			t.Errorf("changed: %v", made)
		}
		list := want(t, r.JSON("GET", "/v1/users?search=ALICIA&limit=1", admin, ""), http.StatusOK)
		if data, _ := list["data"].([]any); len(data) != 1 || data[0].(map[string]any)["id"] != r.Alice.ID ||
			list["nextCursor"] != nil {
			t.Errorf("list: %v", list)
		}
		first := want(t, r.JSON("GET", "/v1/users?limit=1", admin, ""), http.StatusOK)
		next, _ := first["nextCursor"].(string)
		second := want(t, r.JSON("GET", "/v1/users?limit=1&cursor="+url.QueryEscape(next), admin, ""), http.StatusOK)
		if data, _ := second["data"].([]any); next == "" || len(data) != 1 ||
			data[0].(map[string]any)["id"] == first["data"].([]any)[0].(map[string]any)["id"] {
			t.Errorf("pages: %v, %v", first, second)
		}
		want(t, change(path, `{"admin":false}`), http.StatusOK)
		for body, status := range map[string]int{
			`{"admin":false}`: http.StatusConflict, `{"disabled":true}`: http.StatusBadRequest, `{}`: http.StatusBadRequest,
			`{"email":"alicia@example.com","name":"x"}`: http.StatusConflict, `{"email":"nonsense","name":"x"}`: http.StatusBadRequest,
			`{"keepWorkspaces":["x"]}`: http.StatusBadRequest, `{"role":"owner"}`: http.StatusBadRequest,
		} {
			if a := change("/v1/users/"+root.ID, body); a.Status != status {
				t.Errorf("%s: %d %s, want %d", body, a.Status, a.Body, status)
			}
		}
		if a := change("/v1/users/"+root.ID, `{"admin":false}`); !strings.Contains(a.Body, "another administrator") {
			t.Errorf("the last administrator: %s", a.Body)
		}
		if u, err := r.Store.UserByID(r.System(), root.ID); err != nil || u.Name != "Root" || u.Email != root.Email {
			t.Errorf("a refused change changed something: %+v, error %v", u, err)
		}
		for _, id := range []string{storage.NewID("user"), "user_x", "x"} {
			want(t, change("/v1/users/"+id, `{"name":"x"}`), http.StatusNotFound)
			want(t, r.JSON("GET", "/v1/users/"+id, admin, ""), http.StatusNotFound)
			want(t, r.JSON("POST", "/v1/users/"+id+"/sign-out", admin, ""), http.StatusNotFound)
		}
	})
}

func TestV01_DisablingByTheAPIShowsAndKeepsWorkspaces(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		_, admin := r.PersonalToken(r.User("root@example.com", "Root", true), apikey.Spec{Scopes: []string{"admin"}})
		sole, kept, shared := r.Workspace(
			"sole",
			"",
			r.Alice,
		), r.Workspace(
			"kept",
			"",
			r.Alice,
		), r.Workspace(
			"shared",
			"",
			r.Alice,
		)
		r.Join(shared, r.User("bob@example.com", "Bob", false), catalog.RoleOwner)
		_, soleKey := r.Key(sole, apikey.Spec{})
		_, keptKey := r.Key(kept, apikey.Spec{})
		path := "/v1/users/" + r.Alice.ID
		works := func(key string) bool { return r.JSON("GET", "/v1/auth/test", key, "").Status == http.StatusOK }

		shown := want(t, r.JSON("GET", path, admin, ""), http.StatusOK)
		slugs := ""
		for _, x := range shown["workspaces"].([]any) {
			m := x.(map[string]any)
			slugs += fmt.Sprintf(" %v %v %v", m["slug"], m["personal"], m["disabled"])
		}
		if !strings.HasSuffix(slugs, " true false kept false false sole false false") || strings.Contains(slugs, "shared") {
			t.Errorf("would stop with her:%s", slugs)
		}
		// What is not theirs alone cannot be kept, and then nothing happens.
		for _, slug := range []string{"shared", "nonsense", strings.Fields(slugs)[0]} {
			want(
				t,
				r.JSON("PATCH", path, admin, `{"disabled":true,"keepWorkspaces":["kept","`+slug+`"]}`),
				http.StatusBadRequest,
			)
		}
		if !works(soleKey) {
			t.Error("a refused request stopped a workspace")
		}
		after := want(t, r.JSON("PATCH", path, admin, `{"disabled":true,"keepWorkspaces":["kept"]}`), http.StatusOK)
		if after["disabled"] != true || after["disabledAt"] == nil || works(soleKey) || !works(keptKey) {
			t.Errorf("disabled: %v, sole works %v, kept works %v", after, works(soleKey), works(keptKey))
		}
		if again := want(t, r.JSON("PATCH", path, admin, `{"disabled":false}`), http.StatusOK); again["disabled"] != false ||
			again["disabledAt"] != nil ||
			!works(soleKey) {
			t.Errorf("enabled: %v", again)
		}
	})
}

func TestV06_SignOutByTheAPIEndsWhatItSays(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		_, admin := r.PersonalToken(r.User("root@example.com", "Root", true), apikey.Spec{Scopes: []string{"admin"}})
		app := r.App(management.ClientSpec{})
		access, _ := r.Tokens(app, "read")
		k, pat := r.PersonalToken(r.Alice, apikey.Spec{Scopes: []string{"read"}})
		b := r.Browser().SignIn(r.Alice.Email)
		works := func(credential string) bool {
			return r.JSON("GET", "/v1/auth/test", credential, "").Status == http.StatusOK
		}
		signOut := func(body string, header ...string) map[string]any {
			t.Helper()
			return want(t, r.JSON("POST", "/v1/users/"+r.Alice.ID+"/sign-out", admin, body, header...), http.StatusOK)
		}
		status := func(ended map[string]any) any {
			t.Helper()
			list, _ := ended["personalAccessTokens"].([]any)
			if len(list) != 1 || list[0].(map[string]any)["id"] != k.ID || list[0].(map[string]any)["token"] != nil {
				t.Fatalf("tokens: %v", ended)
			}
			return list[0].(map[string]any)["status"]
		}
		ended := signOut("")
		if b.Get("/settings/profile").Status != http.StatusSeeOther || !works(access) || !works(pat) ||
			ended["sessions"] == 0.0 ||
			ended["grants"] != 0.0 ||
			status(ended) != "active" {
			t.Errorf("sessions only: %v, app %v, token %v", ended, works(access), works(pat))
		}
		if ended = signOut(`{"apps":true}`); works(access) || !works(pat) || ended["grants"] != 1.0 ||
			status(ended) != "active" {
			t.Errorf("with apps: %v, app %v, token %v", ended, works(access), works(pat))
		}
		if ended = signOut(`{"tokens":true}`, "Idempotency-Key", "once"); works(pat) || ended["revokedTokens"] != 1.0 ||
			status(ended) != "revoked" {
			t.Errorf("with tokens: %v, token %v", ended, works(pat))
		}
		if again := signOut(`{"tokens":true}`, "Idempotency-Key", "once"); again["revokedTokens"] != 1.0 {
			t.Errorf("the same again: %v", again)
		}
	})
}

// The list of users is searched with q and filtered by state; the two exclude each other's synonyms and unknown states.
func TestV64_UsersAreFilteredByTheAPI(t *testing.T) {
	rig.Each(t, rig.Options{Emails: true}, func(t *testing.T, r *rig.Rig) {
		root := r.User("root@example.com", "Root", true)
		_, admin := r.PersonalToken(root, apikey.Spec{Scopes: []string{"admin"}})
		off, waiting := r.User("off@example.com", "", false), r.User("waiting@example.com", "", false)
		r.SQL(`UPDATE users SET disabled_at = 1 WHERE id = $1`, off.ID)
		r.SQL(`UPDATE users SET disabled_at = 1, waiting_since = 1 WHERE id = $1`, waiting.ID)
		r.Browser().SignIn(r.Alice.Email)
		for query, emails := range map[string]string{
			"filter=administrator":            "root@example.com",
			"filter=disabled":                 "off@example.com",
			"filter=waiting":                  "waiting@example.com",
			"filter=never_signed_in":          "root@example.com off@example.com waiting@example.com",
			"filter=never_signed_in&q=WAIT":   "waiting@example.com",
			"filter=administrator&q=alice":    "",
			"q=alice":                         "alice@example.com",
			"search=alice":                    "alice@example.com",
			"filter=never_signed_in&search=o": "root@example.com off@example.com waiting@example.com",
		} {
			list := want(t, r.JSON("GET", "/v1/users?"+query, admin, ""), http.StatusOK)
			var found []string
			for _, x := range list["data"].([]any) {
				u := x.(map[string]any)
				found = append(found, fmt.Sprint(u["email"]))
				if u["approved"] != (u["email"] != waiting.Email) || u["administrator"] != u["admin"] {
					t.Errorf("%s: %v", query, u)
				}
			}
			if strings.Join(found, " ") != emails {
				t.Errorf("%s: %v, want %s", query, found, emails)
			}
		}
		for _, query := range []string{"filter=nonsense", "filter=", "q=a&search=a", "filter=waiting&filter=disabled"} {
			want(t, r.JSON("GET", "/v1/users?"+query, admin, ""), http.StatusBadRequest)
		}
		for body, status := range map[string]int{
			`{"approved":false}`: http.StatusBadRequest, `{"approved":true,"disabled":false}`: http.StatusBadRequest,
			`{"administrator":true,"admin":true}`: http.StatusBadRequest, `{"approved":true}`: http.StatusOK,
		} {
			want(t, r.JSON("PATCH", "/v1/users/"+waiting.ID, admin, body), status)
		}
		want(t, r.JSON("POST", "/v1/users", admin, `{"email":"`+waiting.Email+`"}`), http.StatusConflict)
		want(t, r.JSON("POST", "/v1/users", admin, `{"email":"x"}`), http.StatusBadRequest)
		want(t, r.JSON("POST", "/v1/users", admin, `{"email":"x@example.com","password":"y"}`), http.StatusBadRequest)
		for range 2 { // the same request once more sends nothing
			want(t, r.JSON("POST", "/v1/users", admin, `{"email":"x@example.com"}`, "Idempotency-Key", "once"),
				http.StatusCreated)
		}
		sent := 0
		for _, m := range r.Mail() {
			if m.To == "x@example.com" {
				sent++
			}
		}
		if sent != 1 {
			t.Errorf("%d invitations were sent", sent)
		}
	})
}

// Without email the API answers what cannot be done, and does nothing.
func TestV64_WithoutEmailTheAPIInvitesNobody(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		_, admin := r.PersonalToken(r.User("root@example.com", "Root", true), apikey.Spec{Scopes: []string{"admin"}})
		path := "/v1/users/" + r.Alice.ID
		for _, q := range [][3]string{
			{"POST", "/v1/users", `{"email":"x@example.com"}`},
			{"POST", path + "/reset", ""},
			{"DELETE", path + "/methods/password", ""},
		} {
			want(t, r.JSON(q[0], q[1], admin, q[2]), http.StatusConflict)
		}
		methods := want(t, r.JSON("GET", path+"/methods", admin, ""), http.StatusOK)
		if data := methods["data"].([]any); len(data) != 1 || data[0].(map[string]any)["id"] != "password" {
			t.Errorf("methods: %v", methods)
		}
		r.Browser().SignIn(r.Alice.Email)
	})
}
