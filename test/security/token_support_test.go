package security

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"doorward/management"
	"doorward/oauth"
	"doorward/storage"
	"doorward/test/rig"
	"doorward/test/stores"
)

// crowd is the number of concurrent requests in a race.
const crowd = 64

// innards are internal terms that no response may contain.
var innards = regexp.MustCompile(
	`(?i)select |insert |update |sqlstate|sqlite|pgx|postgres|fosite|goroutine|\.go:|\*oauth|\*storage|panic|fatal`)

// machineHeaders checks the headers of every response of the token endpoint (T-81).
func machineHeaders(t *testing.T, a *rig.Answer) {
	t.Helper()
	for name, want := range map[string]string{
		"Cache-Control":          "no-store",
		"Pragma":                 "no-cache",
		"Content-Type":           "application/json",
		"X-Content-Type-Options": "nosniff",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q (status %d %s)", name, got, want, a.Status, a.Body)
		}
	}
	if a.Header.Get("X-Request-Id") == "" {
		t.Error("no request id")
	}
}

// refused checks an error response (RFC 6749, section 5.2), and that it reveals nothing internal.
func refused(t *testing.T, a *rig.Answer, status int, code string) {
	t.Helper()
	if a.Status != status || a.Text("error") != code {
		t.Errorf("answered %d %s, want %d %s", a.Status, a.Body, status, code)
		return
	}
	machineHeaders(t, a)
	if a.Text("request_id") != a.Header.Get("X-Request-Id") {
		t.Errorf("request_id %q is not that of the header", a.Text("request_id"))
	}
	if d := a.Text("error_description"); !strings.HasSuffix(d, ".") || innards.MatchString(d) {
		t.Errorf("description %q", d)
	}
	if a.JSON()["access_token"] != nil || a.JSON()["refresh_token"] != nil {
		t.Error("an error carries a token")
	}
	if status == http.StatusServiceUnavailable && a.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
}

// granted checks a token response and returns its tokens.
func granted(t *testing.T, a *rig.Answer) (access, refresh string) {
	t.Helper()
	if a.Status != http.StatusOK || a.Text("access_token") == "" || a.Text("token_type") != "Bearer" {
		t.Fatalf("answered %d %s, want tokens", a.Status, a.Body)
	}
	machineHeaders(t, a)
	return a.Text("access_token"), a.Text("refresh_token")
}

// dead checks that tokens of app are no longer valid anywhere.
func dead(t *testing.T, r *rig.Rig, app, api *rig.App, access, refresh string) {
	t.Helper()
	if access != "" {
		if a := r.Introspect(api, access); strings.TrimSpace(a.Body) != `{"active":false}` {
			t.Errorf("access token: %d %s", a.Status, a.Body)
		}
	}
	if refresh != "" {
		if !app.Public && r.Alive(app, refresh) {
			t.Error("refresh token is active")
		}
		refused(t, r.Refresh(app, refresh), http.StatusBadRequest, oauth.InvalidGrant)
	}
}

// with copies a form and sets parameters, which come in pairs; an empty value removes a parameter.
func with(form url.Values, pairs ...string) url.Values {
	out := url.Values{}
	for name, values := range form {
		out[name] = append([]string(nil), values...)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			out.Del(pairs[i])
		} else {
			out.Set(pairs[i], pairs[i+1])
		}
	}
	return out
}

func codeForm(app *rig.App, code string) url.Values {
	return url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {code},
		"redirect_uri":  {app.Redirect},
		"code_verifier": {rig.Verifier},
	}
}

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

var ownForm = url.Values{"grant_type": {"client_credentials"}}

func robot(r *rig.Rig) *rig.App {
	r.T.Helper()
	return r.App(management.ClientSpec{Name: "Robot", Grants: []string{oauth.GrantClientCredentials}})
}

func postJSON(r *rig.Rig, path, body string, header ...string) *rig.Answer {
	return r.Send(r.Program(),
		r.Request(http.MethodPost, path, strings.NewReader(body),
			append([]string{"Content-Type", "application/json"}, header...)...))
}

// asJSON converts a form to the equivalent JSON object.
func asJSON(t *testing.T, form url.Values) string {
	t.Helper()
	m := map[string]string{}
	for name := range form {
		m[name] = form.Get(name)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// stopClock stops a node's clock, and returns a function that advances it.
func stopClock(r *rig.Rig) (advance func(time.Duration)) {
	now := r.Store.Now().Time()
	r.Store.SetClock(func() time.Time { return now })
	return func(d time.Duration) {
		now = now.Add(d)
		at := now
		r.Store.SetClock(func() time.Time { return at })
	}
}

// eachWithOwner is like rig.Each, with a connection that may change the schema.
func eachWithOwner(t *testing.T, o rig.Options, fn func(t *testing.T, r *rig.Rig, owner func(query string))) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		r := rig.New(t, stores.Open(t, stores.SQLite(t)), o)
		fn(t, r, func(query string) { t.Helper(); r.SQL(query) })
	})
	t.Run("postgresql", func(t *testing.T) {
		link := stores.PostgreSQL(t)
		conn, err := pgx.Connect(t.Context(), link)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
		fn(t, rig.New(t, stores.Open(t, link), o), func(query string) {
			t.Helper()
			if _, err := conn.Exec(t.Context(), query); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// breakWrites makes every INSERT or UPDATE of a table fail, until restore is called.
func breakWrites(r *rig.Rig, owner func(string), verb, table string) (restore func()) {
	if r.Store.Engine() == "sqlite" {
		owner(`CREATE TRIGGER broken BEFORE ` + verb + ` ON ` + table +
			` BEGIN SELECT RAISE(ABORT, 'select goroutine panic'); END`)
		return func() { owner(`DROP TRIGGER broken`) }
	}
	owner(`CREATE OR REPLACE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN RAISE EXCEPTION 'select goroutine panic'; END $$`)
	owner(`CREATE TRIGGER broken BEFORE ` + verb + ` ON ` + table + ` FOR EACH ROW EXECUTE FUNCTION broken()`)
	return func() { owner(`DROP TRIGGER broken ON ` + table) }
}

// endAccess revokes what Alice has allowed, like her page of connected apps.
func endAccess(r *rig.Rig, app *rig.App) {
	r.T.Helper()
	if _, err := r.Store.RevokeAccess(storage.Tenant(r.T.Context(), r.Alice.ID, ""), r.Alice.ID, app.ID); err != nil {
		r.T.Fatal(err)
	}
}

// change applies f to the registration of an app.
func change(r *rig.Rig, app *rig.App, f func(*management.ClientSpec)) {
	r.T.Helper()
	p := management.SpecOf(app.Client)
	p.Administrator = true
	f(&p)
	if _, err := r.Management.UpdateClient(r.System(), management.CLI(""), app.ID, p); err != nil {
		r.T.Fatal(err)
	}
}
