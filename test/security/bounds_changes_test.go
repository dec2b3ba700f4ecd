package security

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/test/rig"
)

// A caller who keeps creating and revoking is stopped with every kind of credential, even without a plan.
func TestV30_ChangesAreLimitedWithoutAPlan(t *testing.T) {
	rig.EachNodes(t, rig.Options{LimitChanges: true}, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		for _, n := range nodes {
			n.StopClock()
		}
		w := r.Workspace("acme", "", r.Alice)
		_, personal := r.PersonalToken(r.Alice, apikey.Spec{
			Name: "Robot", Scopes: []string{"admin"}, Role: catalog.RoleOwner,
		})
		_, key := r.Key(w, apikey.Spec{Name: "Admin", Scopes: []string{"admin"}})
		_, second := r.Key(w, apikey.Spec{Name: "Second", Scopes: []string{"admin"}})
		inAcme := []string{"X-Workspace", "acme"}
		n := 0
		node := func() *rig.Rig { n++; return nodes[n%len(nodes)] }
		slug := func() string { return "w" + strconv.Itoa(n) }
		loops := map[string][]func() *rig.Answer{
			"a user": {
				func() *rig.Answer {
					return node().JSON("POST", "/v1/api-keys", personal, `{"name":"x","scopes":["read"]}`, inAcme...)
				},
				func() *rig.Answer {
					return node().JSON("POST", "/v1/personal-access-tokens", personal, `{"name":"x","scopes":["read"]}`)
				},
				func() *rig.Answer {
					return node().JSON("POST", "/v1/apps", personal,
						`{"name":"x","redirectUris":["https://x.example/"],"scopes":["read"]}`, inAcme...)
				},
				func() *rig.Answer {
					return node().JSON("POST", "/v1/workspaces", personal, `{"name":"x","slug":"`+slug()+`"}`,
						"Idempotency-Key", slug())
				},
				func() *rig.Answer {
					return node().JSON("POST", "/v1/workspaces/acme/invitations", personal,
						`{"role":"member","email":"`+slug()+`@example.com"}`)
				},
				func() *rig.Answer {
					return node().JSON("PATCH", "/v1/workspaces/acme", personal, `{"name":"`+slug()+`"}`)
				},
			},
			"a workspace": {
				func() *rig.Answer { return node().JSON("POST", "/v1/api-keys", key, `{"name":"x","scopes":["read"]}`) },
				func() *rig.Answer {
					return node().JSON("POST", "/v1/api-keys", second, `{"name":"x","scopes":["read"]}`)
				},
			},
		}
		stopped := func(what string, a *rig.Answer) {
			t.Helper()
			wait, err := strconv.Atoi(a.Header.Get("Retry-After"))
			if a.Status != http.StatusTooManyRequests || err != nil || wait < 1 {
				t.Errorf("%s: %d, Retry-After %q: %s", what, a.Status, a.Header.Get("Retry-After"), a.Body)
			}
		}
		var last string
		for who, kinds := range loops {
			by := management.Authority{UserID: r.Alice.ID}
			if who == "a workspace" {
				by = management.Authority{WorkspaceID: w.ID}
			}
			for range 540 {
				ok(t, r.Management.TakeChange(r.System(), &by))
			}
			done := 0
			for i := range 100 {
				a := kinds[i%len(kinds)]()
				if a.Status == http.StatusTooManyRequests {
					break
				}
				if a.Status != http.StatusCreated && a.Status != http.StatusOK {
					t.Fatalf("%s, change %d: %d %s", who, i, a.Status, a.Body)
				}
				if i%len(kinds) == 0 {
					last = a.Text("id")
				}
				done++
			}
			if done != 60 {
				t.Errorf("%s: %d more changes at once, want 60", who, done)
			}
			for i, change := range kinds {
				stopped(who+" "+strconv.Itoa(i), change())
			}
		}
		// Changes on the pages count for the same user.
		b := r.Browser().SignIn(r.Alice.Email)
		form := func() url.Values { return b.Form(b.Get("/settings/profile"), "/settings/profile") }
		a := b.PostForm("/settings/profile", form())
		stopped("a page", a)
		if !strings.Contains(a.Body, "Too many changes") || !strings.Contains(a.Header.Get("Content-Type"), "text/html") {
			t.Errorf("no page: %s", a.Body)
		}
		// Operations that read, revoke or delete are not counted.
		for path, want := range map[string]string{"GET": "/v1/api-keys", "DELETE": "/v1/api-keys/" + last} {
			if a := r.JSON(path, want, personal, "", inAcme...); a.Status >= 300 {
				t.Errorf("%s %s: %d %s", path, want, a.Status, a.Body)
			}
		}
		bob := r.User("bob@example.com", "Bob", false)
		_, others := r.PersonalToken(bob, apikey.Spec{Name: "Other", Scopes: []string{"admin"}})
		if a := r.JSON("POST", "/v1/personal-access-tokens", others,
			`{"name":"x","scopes":["read"]}`); a.Status != http.StatusCreated {
			t.Errorf("another user: %d %s", a.Status, a.Body)
		}
		r.Advance(time.Minute)
		if a := b.PostForm("/settings/profile", form()); a.Status == http.StatusTooManyRequests {
			t.Errorf("after a minute: %d", a.Status)
		}
	})
}

func TestV30_ChangesOfAnHourAreLimited(t *testing.T) {
	rig.Each(t, rig.Options{LimitChanges: true}, func(t *testing.T, r *rig.Rig) {
		by := management.Authority{UserID: r.Alice.ID}
		for i := range 3600 {
			if i%600 == 0 {
				r.Advance(time.Minute)
			}
			if err := r.Management.TakeChange(r.System(), &by); err != nil {
				t.Fatalf("change %d: %v", i, err)
			}
		}
		r.Advance(time.Minute)
		var tooMany *management.TooManyChanges
		if err := r.Management.TakeChange(r.System(), &by); !errors.As(err, &tooMany) || tooMany.RetryAfter < 45*time.Minute {
			t.Errorf("change 3601 within the hour: %v", err)
		}
		r.Advance(time.Hour)
		if err := r.Management.TakeChange(r.System(), &by); err != nil {
			t.Errorf("an hour later: %v", err)
		}
	})
}

// Revoking again what is revoked already records nothing, so repeated revocations do not add rows.
func TestV30_RevokingTwiceIsRecordedOnce(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		w := r.Workspace("acme", "", r.Alice)
		_, admin := r.Key(w, apikey.Spec{Scopes: []string{"admin"}})
		k, _ := r.Key(w, apikey.Spec{Name: "x"})
		app := r.App(management.ClientSpec{})
		r.Tokens(app, "read")
		b := r.Browser().SignIn(r.Alice.Email)
		events := func() (n int) {
			t.Helper()
			err := r.Store.Pools()["system"].QueryRowContext(t.Context(), `SELECT count(*) FROM audit_events`).Scan(&n)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		for what, end := range map[string]func() *rig.Answer{
			"a key": func() *rig.Answer { return r.JSON("DELETE", "/v1/api-keys/"+k.ID, admin, "") },
			"an app": func() *rig.Answer {
				return b.PostForm("/settings/connected-apps/"+app.ID+"/end", url.Values{"confirmed": {"yes"}})
			},
			"all apps": func() *rig.Answer {
				return b.PostForm("/settings/connected-apps/end-all", url.Values{"confirmed": {"yes"}})
			},
			"sessions": func() *rig.Answer {
				return b.PostForm("/settings/security/sessions/end-others", url.Values{"confirmed": {"yes"}})
			},
			"a session": func() *rig.Answer {
				return b.PostForm("/settings/security/sessions/session_x/end", url.Values{"confirmed": {"yes"}})
			},
		} {
			end()
			before := events()
			for range 3 {
				if a := end(); a.Status >= 500 || a.Status == http.StatusTooManyRequests {
					t.Errorf("%s: %d", what, a.Status)
				}
			}
			if after := events(); after != before {
				t.Errorf("%s: %d events more", what, after-before)
			}
		}
	})
}

func TestV30_RevokedKeysGoAfterTheAuditRetention(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		w, err := r.Store.PersonalWorkspace(r.System(), r.Alice.ID)
		if err != nil {
			t.Fatal(err)
		}
		revoked, _ := r.Key(w, apikey.Spec{Name: "Revoked", Scopes: []string{"read"}})
		live, _ := r.Key(w, apikey.Spec{Name: "Live", Scopes: []string{"read"}})
		expiring, _ := r.PersonalToken(r.Alice, apikey.Spec{
			Name: "Expiring", Scopes: []string{"read"}, ExpiresAt: r.Store.Now().Add(time.Hour),
		})
		if err := r.Store.RevokeKey(r.System(), revoked.Owner(), revoked.ID); err != nil {
			t.Fatal(err)
		}
		left := func() map[string]bool {
			t.Helper()
			if _, err := r.Store.PurgeHistory(r.System(), 400*24*time.Hour, 400*24*time.Hour); err != nil {
				t.Fatal(err)
			}
			found := map[string]bool{}
			for _, id := range []string{revoked.ID, live.ID, expiring.ID} {
				_, err := r.Store.KeyByID(r.System(), id)
				found[id] = err == nil
			}
			return found
		}
		r.Advance(400*24*time.Hour - time.Minute)
		if f := left(); !f[revoked.ID] || !f[live.ID] || !f[expiring.ID] {
			t.Errorf("too soon: %v", f)
		}
		r.Advance(2 * time.Hour)
		if f := left(); f[revoked.ID] || !f[live.ID] || f[expiring.ID] {
			t.Errorf("too late: %v", f)
		}
	})
}

func TestV30_RevokingAClientsTokenTwiceIsRecordedOnce(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app := r.App(management.ClientSpec{
			Grants: []string{oauth.GrantClientCredentials}, Scopes: []string{"read"}, Resources: []string{r.Issuer},
		})
		token := r.Post("/oauth/token", url.Values{"grant_type": {oauth.GrantClientCredentials}}, "Authorization",
			rig.Basic(app.ID, app.Secret)).Text("access_token")
		for range 3 {
			a := r.Post("/oauth/revoke", url.Values{"token": {token}}, "Authorization", rig.Basic(app.ID, app.Secret))
			if a.Status != http.StatusOK {
				t.Fatalf("revoking: %d %s", a.Status, a.Body)
			}
		}
		var n int
		err := r.Store.Pools()["system"].QueryRowContext(t.Context(),
			`SELECT count(*) FROM audit_events WHERE action = 'app.token_revoked'`).Scan(&n)
		if err != nil || n != 1 || token == "" {
			t.Errorf("revoked three times: %d events (error %v)", n, err)
		}
	})
}

func TestV30_DenialsAreLimited(t *testing.T) {
	r := rig.Memory(t, rig.Options{LimitChanges: true})
	r.StopClock()
	app := r.App(management.ClientSpec{})
	b := r.Browser().SignIn(r.Alice.Email)
	for i := range 601 {
		a := b.Decide(b.Authorize(app.Params("read")), "deny")
		want := map[bool]string{false: oauth.AccessDenied, true: oauth.TemporarilyUnavailable}[i == 600]
		if a.Param("error") != want {
			t.Fatalf("denial %d: %d %v, want %s", i+1, a.Status, a.Location, want)
		}
	}
}
