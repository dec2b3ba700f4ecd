package vendors

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"doorward/test/browser"
)

const (
	sophosic401 = `{"error":"Unauthorized","message":"Invalid or missing API key","statusCode":401}`
	sophosic403 = `{"error":"Forbidden","message":"Insufficient permissions","statusCode":403}`
	data        = "/api/data"
	readData    = `"scopes":["read_data"]`
)

func TestSophosic01_KeyAuthenticates(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k := w.key("free", readData)
		a := w.get(data, k.text)
		w.want("with a key", a, http.StatusOK)
		if told := w.told(a); told.Get("X-Auth-Key") != k.id || told.Get("X-Auth-Credential") != "api_key" ||
			told.Get("X-Auth-Plan") != "free" {
			t.Errorf("the API was told %v", told)
		}
		w.want("the scheme in small letters", w.get(data, "", header("Authorization", "bearer "+k.text)), http.StatusOK)
	})
}

func TestSophosic03_LiveKeysBeginWithSkLive(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		k := w.key("free", readData)
		if !strings.HasPrefix(k.text, "sk_live_") {
			t.Errorf("the key begins with %.8s", k.text)
		}
		w.want("with it", w.get(data, k.text), http.StatusOK)
	})
}

func TestSophosic04_GenerateNewKey(t *testing.T) {
	w := once(t)
	tab := browser.New(t)
	tab.Goto(w.app + "/settings/developer/api-keys")
	tab.Fill(`[name=email]`, ownerEmail)
	tab.Fill(`[name=password]`, password)
	tab.Click(`form[action="/login"] [type=submit]`)
	if text := tab.Text("main h1"); text != "API keys" {
		t.Errorf("the page is %q", text)
	}
	if text := tab.Text("main a.btn.main"); text != "Generate New Key" {
		t.Errorf("the button says %q", text)
	}
	tab.Click("main a.btn.main")
	tab.Fill(`[name=name]`, "Made in the dashboard")
	tab.Press(`[value=read_data]`)
	tab.Click(`form.key-form [type=submit]`)
	shown := browser.Evaluate[string](tab,
		`(document.querySelector("main").innerText + " " + [...document.querySelectorAll("main input")].map(i => i.value).join(" ")).match(/sk_live_[0-9A-Za-z]{49}/)?.[0] ?? ""`)
	if shown == "" {
		t.Fatalf("no key is shown: %s", tab.Text("main"))
	}
	if !tab.Has("main button.copy, main [data-copy]") {
		t.Error("no button to copy it")
	}
	w.want("with the key that was shown", w.get(data, shown), http.StatusOK)
}

func TestSophosic05_SeveralKeysOfAUser(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		for _, members := range []string{
			readData + `,"note":"development","environment":"test"`, readData + `,"note":"production"`,
		} {
			w.want(members, w.get(data, w.key("free", members).text), http.StatusOK)
		}
	})
}

func TestSophosic06_RotationWithoutDowntime(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		old := w.key("free", readData)
		a := w.manage(http.MethodPost, "/v1/api-keys/"+old.id+"/rotate", "free", `{}`)
		w.want("rotating", a, http.StatusCreated)
		w.want("the old key", w.get(data, old.text), http.StatusOK)
		w.want("the new key", w.get(data, a.text("key")), http.StatusOK)
		w.pass(t, 25*time.Hour)
		w.want("the old key after the grace", w.get(data, old.text), http.StatusUnauthorized)
		w.want("the new key then", w.get(data, a.text("key")), http.StatusOK)
	})
}

// asTenant runs statements as the application's role, with the settings for a user and a workspace, or without settings
// if both are empty.
func asTenant(t *testing.T, w *way, user, workspace string, do func(tx pgx.Tx)) {
	t.Helper()
	tx, err := w.connect(t).Begin(t.Context())
	ok(t, err)
	defer tx.Rollback(t.Context()) //nolint:errcheck // the test changes nothing
	_, err = tx.Exec(t.Context(), `SET LOCAL ROLE doorward_tenant`)
	ok(t, err)
	if user != "" {
		_, err = tx.Exec(t.Context(), `SELECT set_config('app.user_id', $1, true), set_config('app.workspace_id', $2, true)`,
			user, workspace)
		ok(t, err)
	}
	do(tx)
}

// neighbours are two users, each with a workspace, a key and a personal access token.
func neighbours(t *testing.T, w *way) (users, workspaces [2]string) {
	t.Helper()
	for i := range users {
		n := w.next()
		email := "neighbour" + n + "@example.com"
		users[i], _ = w.command(t, password, "user", "create", "--email", email, "--name", "Neighbour",
			"--password-stdin")["id"].(string)
		workspaces[i], _ = w.command(t, "", "workspace", "create", "--name", "Neighbour "+n, "--slug", "neighbour-"+n,
			"--owner", email)["id"].(string)
		w.command(t, "", "key", "create", "--workspace", "neighbour-"+n, "--name", "Theirs", "--scope", "read_data")
		w.command(t, "", "token", "create", "--user", email, "--name", "Theirs", "--scope", "read_data")
	}
	return users, workspaces
}

const ownersOfKeys = `SELECT COALESCE(user_id, ''), COALESCE(workspace_id, '') FROM api_keys`

func TestSophosic07_RowsOfTheUserAlone(t *testing.T) {
	w := once(t)
	users, workspaces := neighbours(t, w)
	for i := range users {
		asTenant(t, w, users[i], workspaces[i], func(tx pgx.Tx) {
			rows, err := tx.Query(t.Context(), ownersOfKeys)
			ok(t, err)
			type owner struct{ User, Workspace string }
			owners, err := pgx.CollectRows(rows, pgx.RowToStructByPos[owner])
			ok(t, err)
			if len(owners) != 2 {
				t.Errorf("sees %v, want a key and a token", owners)
			}
			for _, o := range owners {
				if o.User != users[i] && o.Workspace != workspaces[i] {
					t.Errorf("sees a row of %v", o)
				}
			}
		})
	}
}

func TestSophosic08_TenantsAreIsolated(t *testing.T) {
	w := once(t)
	users, workspaces := neighbours(t, w)
	asTenant(t, w, users[0], workspaces[0], func(tx pgx.Tx) {
		tag, err := tx.Exec(t.Context(), `UPDATE api_keys SET name = 'mine now' WHERE workspace_id = $1`, workspaces[1])
		ok(t, err)
		if tag.RowsAffected() != 0 {
			t.Error("another tenant's row was updated")
		}
		for what, statement := range map[string]string{
			"moving a row to another tenant": `UPDATE api_keys SET workspace_id = $1 WHERE workspace_id = $2`,
			"inserting a row of another tenant": `INSERT INTO api_keys
				SELECT (jsonb_populate_record(k, jsonb_build_object('id', 'key_x', 'digest', '\x00', 'workspace_id', $1::text))).* FROM api_keys k
				WHERE workspace_id = $2`,
		} {
			_, err := tx.Exec(t.Context(), `SAVEPOINT s`)
			ok(t, err)
			if _, err = tx.Exec(t.Context(), statement, workspaces[1], workspaces[0]); err == nil ||
				!strings.Contains(err.Error(), "row-level security") {
				t.Errorf("%s: %v, want a refusal by row-level security", what, err)
			}
			_, err = tx.Exec(t.Context(), `ROLLBACK TO s`)
			ok(t, err)
		}
	})
}

func TestSophosic09_WithoutASettingNoRows(t *testing.T) {
	w := once(t)
	neighbours(t, w)
	asTenant(t, w, "", "", func(tx pgx.Tx) {
		for _, table := range []string{"api_keys", "grants", "sessions", "consents", "audit_events", "usage_hourly"} {
			var n int
			ok(t, tx.QueryRow(t.Context(), `SELECT count(*) FROM `+table).Scan(&n))
			if n != 0 {
				t.Errorf("%d rows of %s", n, table)
			}
		}
	})
}

func TestSophosic10_DeletingAnAccountDeletesWhatIsTheirs(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		n := w.next()
		email, slug := "leaver"+n+"@example.com", "leaver-"+n
		user, _ := w.command(t, password, "user", "create", "--email", email, "--name", "Lea",
			"--password-stdin")["id"].(string)
		w.command(t, "", "workspace", "create", "--name", "Lea's "+n, "--slug", slug, "--owner", email)
		k := w.command(t, "", "key", "create", "--workspace", slug, "--name", "K", "--scope", "read_data")
		pat := w.command(t, "", "token", "create", "--user", email, "--name", "T", "--scope", "read_data")
		person, err := w.signIn(email)
		ok(t, err)
		app := w.oldApp(t, "read_data")
		token := w.redeem(t, app, person.authorize(t, app.address(w.app)).Get("code"))
		credentials := map[string]func() *answer{
			"the key":          func() *answer { return w.get(data, k["key"].(string)) },
			"the token":        func() *answer { return w.get(data, pat["token"].(string), header("X-Workspace", slug)) },
			"the access token": func() *answer { return w.get(data, token.text("access_token")) },
		}
		for what, call := range credentials {
			w.want(what+" before", call(), http.StatusOK)
		}
		w.command(t, "", "user", "delete", email)
		for what, call := range credentials {
			w.same(what+" after", call(), http.StatusUnauthorized, sophosic401)
		}
		conn := w.connect(t)
		for table, column := range map[string]string{
			"sessions":    "user_id",
			"grants":      "user_id",
			"consents":    "user_id",
			"memberships": "user_id",
			"api_keys":    "user_id",
			"users":       "id",
		} {
			var rows int
			ok(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM `+table+` WHERE `+column+` = $1`, user).Scan(&rows))
			if rows != 0 {
				t.Errorf("%d rows of %s are left", rows, table)
			}
		}
		var rows int
		ok(t, conn.QueryRow(t.Context(),
			`SELECT (SELECT count(*) FROM api_keys WHERE id = $1) + (SELECT count(*) FROM access_tokens a
				WHERE NOT EXISTS (SELECT 1 FROM grants g WHERE g.id = a.grant_id) AND a.grant_id IS NOT NULL)`, k["id"]).Scan(&rows))
		if rows != 0 {
			t.Errorf("%d keys and tokens are left", rows)
		}
	})
}

// expired creates an expired key.
func (w *way) expired(plan, members string) key {
	w.t.Helper()
	k := w.key(plan, members+`,"expiresAt":"`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"`)
	_, err := w.connect(w.t).Exec(w.t.Context(), `UPDATE api_keys SET expires_at = $2 WHERE id = $1`, k.id,
		time.Now().Add(-time.Hour).UnixMicro())
	ok(w.t, err)
	return k
}

func (w *way) revoked(plan, members string) key {
	w.t.Helper()
	k := w.key(plan, members)
	w.want("revoking", w.manage(http.MethodDelete, "/v1/api-keys/"+k.id, plan, ""), http.StatusNoContent)
	return k
}

func TestSophosic17_OneBodyForEveryInvalidKey(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		for what, a := range map[string]*answer{
			"missing":          w.get(data, ""),
			"malformed":        w.get(data, "sk_live_nonsense"),
			"no bearer":        w.get(data, "", header("Authorization", w.key("free", readData).text)),
			"never made":       w.get(data, "sk_live_"+strings.Repeat("0", 49)),
			"expired":          w.get(data, w.expired("free", readData).text),
			"revoked":          w.get(data, w.revoked("free", readData).text),
			"in another place": w.get(data, "", header("X-API-Key", w.key("free", readData).text)),
		} {
			want := sophosic401
			if what == "in another place" { // it says which header is read
				want = strings.Replace(want, "API key",
					"API key. The X-Api-Key header is not supported; send the key in the Authorization header, as a Bearer token.", 1)
			}
			w.same(what, a, http.StatusUnauthorized, want)
			if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") ||
				!strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
				t.Errorf("%s: %v", what, a.header)
			}
			if w.told(a) != nil {
				t.Errorf("%s: the API has seen it", what)
			}
		}
	})
}

func TestSophosic18_OneBodyForOthersRecords(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		writer := w.key("free", `"scopes":["read_data","write_data"]`)
		made := w.request(http.MethodPost, data, writer.text, `{"text":"mine"}`)
		w.want("writing", made, http.StatusCreated)
		mine := data + "/" + made.text("id")
		w.want("one's own", w.get(mine, writer.text), http.StatusOK)
		w.same("another user's resource", w.get(mine, w.key("pro", readData).text), http.StatusForbidden, sophosic403)
		w.same("outside the tier", w.get("/api/exports", writer.text), http.StatusForbidden, sophosic403)
		w.want("inside the tier", w.get("/api/exports", w.key("pro", readData).text), http.StatusOK)
		w.same("without the permission", w.request(http.MethodPost, data, w.key("free", readData).text, `{"text":"x"}`),
			http.StatusForbidden, sophosic403)

		n := w.next()
		email := "suspended" + n + "@example.com"
		w.command(t, password, "user", "create", "--email", email, "--name", "Sus", "--password-stdin")
		w.command(t, "", "workspace", "create", "--name", "Sus "+n, "--slug", "sus-"+n, "--owner", email)
		token, _ := w.command(t, "", "token", "create", "--user", email, "--name", "T", "--scope",
			"read_data")["token"].(string)
		k, _ := w.command(t, "", "key", "create", "--workspace", "sus-"+n, "--name", "K", "--scope",
			"read_data")["key"].(string)
		w.command(t, "", "user", "disable", email)
		w.command(t, "", "workspace", "disable", "sus-"+n)
		w.same("a suspended account's token", w.get(data, token, header("X-Workspace", "sus-"+n)),
			http.StatusForbidden, sophosic403)
		w.same("a suspended account's key", w.get(data, k), http.StatusForbidden, sophosic403)
	})
}

// app is a third-party app.
type app struct{ id, secret, redirect, scope string }

// oldApp registers an app from before PKCE, with some scopes.
func (w *way) oldApp(t *testing.T, scope string) app {
	t.Helper()
	const redirect = "https://app.example/callback"
	made := w.command(t, "", "client", "create", "--name", "Old app "+w.next(), "--redirect-uri", redirect, "--scope",
		scope, "--pkce", "optional")
	return app{id: made["client_id"].(string), secret: made["client_secret"].(string), redirect: redirect, scope: scope}
}

// address returns an authorization request as old examples write it: no state, no PKCE, %20 between scopes.
func (a app) address(host string) string {
	return host + "/oauth/authorize?client_id=" + a.id + "&redirect_uri=" + url.QueryEscape(a.redirect) +
		"&response_type=code&scope=" + strings.ReplaceAll(a.scope, " ", "%20")
}

// redeem exchanges a code on the app's host, with a form without redirect_uri and code_verifier.
func (w *way) redeem(t *testing.T, a app, code string) *answer {
	t.Helper()
	host := *w
	host.base = w.app
	return host.request(http.MethodPost, "/oauth/token", "", url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "client_id": {a.id}, "client_secret": {a.secret},
	}.Encode())
}

func TestSophosic22_AuthorizeWithoutStateAndPKCE(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		app := w.oldApp(t, "read_profile read_data")
		query := w.person.authorize(t, app.address(w.app))
		if query.Get("code") == "" || query.Has("state") {
			t.Fatalf("the app gets %v", query)
		}
		token := w.redeem(t, app, query.Get("code"))
		if token.text("scope") != "read_profile read_data" {
			t.Errorf("the token is %s", token)
		}
		w.want("with the token", w.get("/api/profile", token.text("access_token")), http.StatusOK)
	})
}

func TestSophosic23_TokenWithoutRedirectAndVerifier(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		app := w.oldApp(t, "read_data")
		code := w.person.authorize(t, app.address(w.app)).Get("code")
		token := w.redeem(t, app, code)
		if token.status != http.StatusOK || token.text("access_token") == "" || token.text("token_type") != "Bearer" {
			t.Fatalf("answered %s", token)
		}
		w.want("with the token", w.get(data, token.text("access_token")), http.StatusOK)
		w.want("another time", w.redeem(t, app, code), http.StatusBadRequest)
	})
}

func TestSophosic24_TwoHosts(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		app := w.oldApp(t, "read_data")
		for _, path := range []string{
			"/oauth/authorize?client_id=" + app.id, "/oauth/token", "/login", "/settings/developer/api-keys",
		} {
			if a := w.get(path, ""); a.status != http.StatusUnauthorized || a.header.Get("Set-Cookie") != "" {
				t.Errorf("on the API's host %s answers %s", path, a)
			}
		}
		host := *w
		host.base = w.app
		if a := host.get(data, w.key("free", readData).text); a.status != http.StatusNotFound {
			t.Errorf("on the app's host the API answers %s", a)
		}
	})
}

func TestSophosic25_Me(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		for _, plan := range w.plans {
			a := w.get("/api/auth/me", w.key(plan, readData).text)
			var me map[string]any
			ok(t, json.Unmarshal([]byte(a.body), &me))
			_, err := time.Parse(time.RFC3339, a.text("created_at"))
			if a.status != http.StatusOK || len(me) != 4 || !strings.HasPrefix(a.text("id"), "user_") ||
				a.text("email") != ownerEmail || a.text("tier") != plan || err != nil {
				t.Errorf("answered %s", a)
			}
		}
	})
}

func TestSophosic26_MeWithABadKey(t *testing.T) {
	each(t, func(t *testing.T, w *way) {
		w.same("a random key", w.get("/api/auth/me", "sk_live_nonsense"), http.StatusUnauthorized, sophosic401)
		w.same("none", w.get("/api/auth/me", ""), http.StatusUnauthorized, sophosic401)
		w.same("a revoked one", w.get("/api/auth/me", w.revoked("free", readData).text), http.StatusUnauthorized, sophosic401)
	})
}
