package security

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"doorward/management"
	"doorward/oauth"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/oauth/identity"
	"doorward/storage"
	"doorward/test/rig"
)

// No account can add an unlimited number of rows by repeating an operation.

// tooMany checks for 429 with a Retry-After.
func tooMany(t *testing.T, a *rig.Answer) time.Duration {
	t.Helper()
	refused(t, a, http.StatusTooManyRequests, oauth.TemporarilyUnavailable)
	wait, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if err != nil || wait < 1 {
		t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
	}
	return time.Duration(wait) * time.Second
}

func TestV30_OwnTokenRequestsAreLimitedOnAllNodesTogether(t *testing.T) {
	rig.EachNodes(t, rig.Options{Tokens: &oauth.TokenLimits{ClientRequests: 6}}, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		app, other := robot(r), robot(r)
		good := 0
		for i := range 8 {
			n := nodes[i%len(nodes)]
			if a := n.PostAs(app, "/oauth/token", ownForm); a.Status == http.StatusOK {
				good++
			} else if wait := tooMany(t, a); wait > 10*time.Second {
				t.Errorf("Retry-After %v, with one request coming back every ten seconds", wait)
			}
		}
		if good != 6 {
			t.Errorf("%d requests were answered, want 6", good)
		}
		// Each client has its own limit.
		if a := r.PostAs(other, "/oauth/token", ownForm); a.Status != http.StatusOK {
			t.Errorf("another client: %d %s", a.Status, a.Body)
		}
		for _, n := range nodes {
			n.Advance(10 * time.Second)
		}
		if a := r.PostAs(app, "/oauth/token", ownForm); a.Status != http.StatusOK {
			t.Errorf("after the wait: %d %s", a.Status, a.Body)
		}
	})
}

func TestV30_OwnActiveTokensAreLimitedAndNoneIsRevoked(t *testing.T) {
	rig.EachNodes(t, rig.Options{Tokens: &oauth.TokenLimits{ClientLive: 5}}, func(t *testing.T, nodes []*rig.Rig) {
		r := nodes[0]
		app := robot(r)
		var tokens []string
		for i := range 5 {
			a := nodes[i%len(nodes)].PostAs(app, "/oauth/token", ownForm)
			if a.Status != http.StatusOK {
				t.Fatalf("token %d: %d %s", i, a.Status, a.Body)
			}
			tokens = append(tokens, a.JSON()["access_token"].(string))
			if i == 0 {
				for _, n := range nodes {
					n.Advance(time.Minute)
				}
			}
		}
		for _, n := range nodes {
			if wait := tooMany(t, n.PostAs(app, "/oauth/token", ownForm)); wait < 58*time.Minute || wait > 59*time.Minute {
				t.Errorf("Retry-After %v, where the first token ends in 59 minutes", wait)
			}
		}
		for i, token := range tokens {
			if !r.Alive(app, token) {
				t.Errorf("token %d was ended to make room", i)
			}
		}
		// A revoked or expired token does not count.
		if a := r.PostAs(app, "/oauth/revoke", url.Values{"token": {tokens[3]}}); a.Status != http.StatusOK {
			t.Fatal(a.Body)
		}
		if a := nodes[len(nodes)-1].PostAs(app, "/oauth/token", ownForm); a.Status != http.StatusOK {
			t.Errorf("after a revocation: %d %s", a.Status, a.Body)
		}
		tooMany(t, r.PostAs(app, "/oauth/token", ownForm))
		for _, n := range nodes {
			n.Advance(59 * time.Minute)
		}
		if a := r.PostAs(app, "/oauth/token", ownForm); a.Status != http.StatusOK {
			t.Errorf("after the end of the first: %d %s", a.Status, a.Body)
		}
	})
}

func TestV30_ParallelRequestsStayWithinTheActiveTokens(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true, Tokens: &oauth.TokenLimits{ClientLive: 10}}, func(t *testing.T, r *rig.Rig) {
		app := robot(r)
		var good, refused atomic.Int64
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				switch r.PostAs(app, "/oauth/token", ownForm).Status {
				case http.StatusOK:
					good.Add(1)
				case http.StatusTooManyRequests:
					refused.Add(1)
				}
			})
		}
		wg.Wait()
		if good.Load() != 10 || refused.Load() != 54 {
			t.Errorf("%d tokens, %d refused; want 10 and 54", good.Load(), refused.Load())
		}
	})
}

func TestV30_OwnTokensAreDeletedAnHourAfterTheyExpire(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app := robot(r)
		r.PostAs(app, "/oauth/token", ownForm)
		rows := func() int {
			t.Helper()
			if _, err := r.Store.Purge(r.System(), r.OAuth.Retention()); err != nil {
				t.Fatal(err)
			}
			var n int
			if err := r.Store.Pools()["system"].QueryRowContext(t.Context(), `SELECT count(*) FROM access_tokens`).
				Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		r.Advance(2*time.Hour - time.Minute)
		if n := rows(); n != 1 {
			t.Errorf("%d rows before the hour is over", n)
		}
		r.Advance(2 * time.Minute)
		if n := rows(); n != 0 {
			t.Errorf("%d rows after it", n)
		}
	})
}

func TestV30_OldestOfMoreThanFiftyGrantsIsRevoked(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, other := r.App(management.ClientSpec{FirstParty: true}), r.App(management.ClientSpec{FirstParty: true})
		b := r.Browser().SignIn(r.Alice.Email)
		tokens := func(app *rig.App) (access, refresh string) {
			t.Helper()
			r.Advance(2 * time.Second) // slower than the rate limit of authorizations
			a := r.Exchange(app, b.Code(app, "read"))
			if a.Status != http.StatusOK {
				t.Fatalf("%d %s", a.Status, a.Body)
			}
			m := a.JSON()
			return m["access_token"].(string), m["refresh_token"].(string)
		}
		_, first := tokens(app)
		second, _ := tokens(app)
		_, others := tokens(other)
		// A grant whose code is never redeemed stops counting when the code expires.
		b.Code(app, "read")
		r.Advance(2 * time.Minute)
		for range storage.MaxLiveGrants - 2 {
			tokens(app)
		}
		if a := r.Refresh(app, first); a.Status != http.StatusOK {
			t.Fatalf("of %d live grants one ended: %d %s", storage.MaxLiveGrants, a.Status, a.Body)
		}
		r.Advance(time.Minute)
		last, _ := tokens(app)
		if a := r.Refresh(app, first); a.Status == http.StatusOK {
			t.Error("the oldest grant lives on")
		}
		if !r.Alive(app, second) || !r.Alive(app, last) {
			t.Error("more than the oldest ended")
		}
		if a := r.Refresh(other, others); a.Status != http.StatusOK {
			t.Errorf("another app's grant ended: %s", a.Body)
		}
	})
}

func TestV30_SilentCodesAreLimitedAndTheirRowsDeleted(t *testing.T) {
	rig.Each(t, rig.Options{LimitChanges: true}, func(t *testing.T, r *rig.Rig) {
		r.StopClock()
		app := r.App(management.ClientSpec{FirstParty: true})
		b := r.Browser().SignIn(r.Alice.Email)
		params := altered(app.Params("read"), url.Values{"prompt": {"none"}})
		codes := 0
		for range 700 {
			a := b.Authorize(params)
			if a.Location == nil {
				t.Fatalf("%d %s", a.Status, a.Body)
			}
			switch q := a.Location.Query(); {
			case q.Get("code") != "":
				codes++
			case q.Get("error") != oauth.TemporarilyUnavailable:
				t.Fatalf("answer %s", a.Location)
			}
		}
		if codes != 600 {
			t.Errorf("%d codes of 700, want 600 a minute", codes)
		}
		r.Advance(2 * time.Hour)
		if _, err := r.Store.Purge(r.System(), r.OAuth.Retention()); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := r.Store.Pools()["system"].QueryRowContext(t.Context(),
			`SELECT (SELECT count(*) FROM grants) + (SELECT count(*) FROM codes)`).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d rows (error %v) are left of codes that were not redeemed", n, err)
		}
		if a := b.Authorize(params); a.Location == nil || a.Location.Query().Get("code") == "" {
			t.Errorf("later: %d %v", a.Status, a.Location)
		}
	})
}

func TestV30_RefreshesOfOneGrantAreLimited(t *testing.T) {
	r := rig.Memory(t, rig.Options{})
	app := r.App(management.ClientSpec{})
	_, refresh := r.Tokens(app, "read")
	for i := range 601 {
		a := r.Refresh(app, refresh)
		if i == 600 {
			tooMany(t, a)
			break
		}
		if a.Status != http.StatusOK {
			t.Fatalf("refresh %d: %d %s", i, a.Status, a.Body)
		}
		refresh = a.JSON()["refresh_token"].(string)
	}
	r.Advance(time.Hour)
	if a := r.Refresh(app, refresh); a.Status != http.StatusOK {
		t.Errorf("an hour later: %d %s", a.Status, a.Body)
	}
}

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

func TestV30_TheOldestOfTooManySessionsEnds(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		first := r.Browser().SignIn(r.Alice.Email)
		r.Advance(time.Second)
		second := r.Browser().SignIn(r.Alice.Email)
		signedIn := func(b *rig.Browser) bool { return b.Get("/settings/profile").Status == http.StatusOK }
		add := func() {
			r.Advance(time.Second)
			now := r.Store.Now()
			id := storage.NewID("session")
			if err := r.Store.InsertSession(r.System(), storage.Session{
				ID:        id,
				Digest:    storage.Digest(id),
				UserID:    r.Alice.ID,
				Data:      "{}",
				AuthTime:  now,
				CreatedAt: now,
				SeenAt:    now,
				ExpiresAt: now.Add(time.Hour),
			}); err != nil {
				t.Fatal(err)
			}
		}
		for range storage.MaxSessions - 2 {
			add()
		}
		if !signedIn(first) {
			t.Fatalf("of %d sessions one ended", storage.MaxSessions)
		}
		add()
		if signedIn(first) {
			t.Error("the oldest session lives on")
		}
		if !signedIn(second) {
			t.Error("more than the oldest ended")
		}
	})
}

func TestV30_SignInsAreLimited(t *testing.T) {
	r := rig.Memory(t, rig.Options{LimitChanges: true})
	r.StopClock()
	for range 600 {
		if err := r.Management.TakeSignIn(r.System(), r.Alice.ID); err != nil {
			t.Fatal(err)
		}
	}
	b := r.Browser()
	a := b.LogIn(b.Get("/login"), r.Alice.Email)
	if a.Status != http.StatusTooManyRequests || a.Header.Get("Retry-After") == "" {
		t.Errorf("sign-in 601 in a minute: %d", a.Status)
	}
	r.Advance(time.Minute)
	r.Browser().SignIn(r.Alice.Email)
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

// Pages for any visitor do not count rows: they only check whether one exists.
func TestV31_PagesForAnyVisitorCountNoRows(t *testing.T) {
	rig.Each(t, rig.Options{NoUser: true}, func(t *testing.T, r *rig.Rig) {
		hint := "set-up link when it started"
		for range 2 {
			if a := r.Browser().Get("/login"); a.Status != http.StatusOK || !strings.Contains(a.Body, hint) {
				t.Errorf("without a user: %d, hint missing", a.Status)
			}
			if a := r.Browser().Get("/setup"); a.Status != http.StatusOK {
				t.Errorf("set-up without a user: %d", a.Status)
			}
		}
		r.User("first@example.com", "First", true)
		for range 2 {
			if a := r.Browser().Get("/login"); a.Status != http.StatusOK || strings.Contains(a.Body, hint) {
				t.Errorf("with a user: %d, or the hint is still there", a.Status)
			}
			if a := r.Browser().Get("/setup"); a.Status != http.StatusNotFound {
				t.Errorf("set-up with a user: %d", a.Status)
			}
		}
		// Once a user exists, /login no longer checks.
		r.SQL(`DELETE FROM users`)
		if a := r.Browser().Get("/login"); strings.Contains(a.Body, hint) {
			t.Error("/login asked the database again")
		}
	})
}

// No statement counts rows to find out whether any exist.
func TestV31_ExistenceIsNotCounted(t *testing.T) {
	counted := regexp.MustCompile(
		`func \(s \*Store\) (\w+)\([^{]*\) \(bool, error\) \{(?:[^}]|\}[^\n])*?SELECT count\(\*\)`)
	files, err := filepath.Glob("../../storage/*.go")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range counted.FindAllSubmatch(text, -1) {
			t.Errorf("%s: %s counts rows to learn whether there is one", name, m[1])
		}
	}
}

// A correct secret is always accepted, even after many wrong attempts from the same address; a wrong one is not.
func TestV32_CorrectSecretIsAcceptedDespiteTheCounters(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		app, public, api := r.App(management.ClientSpec{
			Grants:       []string{"authorization_code", "refresh_token", "client_credentials"},
			RedirectURIs: []string{"https://app.example/cb"},
		}),
			r.App(management.ClientSpec{Public: true}), r.ResourceServer()
		_, key := r.IntrospectionKey()
		access, refresh := r.Tokens(app, "read")
		publicAccess, publicRefresh := r.Tokens(public, "read")
		stopClock(r)
		// Both limits: that of the address, and that of each client from this address.
		for i := range 120 {
			id := storage.NewID("app")
			r.Post("/oauth/token", with(ownForm, "client_id", id, "client_secret", wrongSecret))
			if i < 40 {
				r.Post("/oauth/introspect", url.Values{"token": {"x"}}, "Authorization", rig.Basic(api.ID, wrongSecret))
				r.Post("/oauth/introspect", url.Values{"token": {"x"}}, "Authorization", "Bearer "+key+"x")
				r.Post("/oauth/token", ownForm, "Authorization", rig.Basic(app.ID, wrongSecret))
			}
		}
		for path, form := range protected(app) {
			tooMany(t, r.Post(path, form, "Authorization", rig.Basic(app.ID, wrongSecret)))
			tooMany(t, r.Post(path, form, "Authorization", rig.Basic(storage.NewID("app"), wrongSecret)))
		}
		tooMany(t, r.Post("/oauth/introspect", url.Values{"token": {access}}, "Authorization", "Bearer sk_live_x"))

		granted(t, r.PostAs(app, "/oauth/token", ownForm))
		granted(t, r.Refresh(app, refresh))
		granted(t, r.Refresh(public, publicRefresh))
		if !r.Alive(api, access) {
			t.Error("introspection with a client's secret is refused")
		}
		if a := r.Post("/oauth/introspect", url.Values{"token": {access}}, "Authorization",
			"Bearer "+key); a.Status != http.StatusOK || a.JSON()["active"] != true {
			t.Errorf("introspection with an API key: %d %s", a.Status, a.Body)
		}
		if a := r.PostAs(public, "/oauth/revoke", url.Values{"token": {publicAccess}}); a.Status != http.StatusOK {
			t.Errorf("revocation: %d %s", a.Status, a.Body)
		}
		if a := r.Call("GET", "/v1/auth/test", access); a.Status != http.StatusOK {
			t.Errorf("the API: %d %s", a.Status, a.Body)
		}
	})
}

// count reads one number from the database.
func count(t *testing.T, r *rig.Rig, query string) (n int) {
	t.Helper()
	if err := r.Store.Pools()["system"].QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestV33_FailedSignInsAreCountedInFewRows(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		events, rows := `SELECT count(*) FROM audit_events WHERE action = 'login.failed'`,
			`SELECT count(*) FROM sign_in_failures`
		fail := func(email string, n int) {
			t.Helper()
			for i := range n {
				address := netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i % 250)})
				_, err := r.Identity.Login(t.Context(), identity.Attempt{
					Email: strings.ReplaceAll(email, "#", strconv.Itoa(i)), Password: "not this one, surely", Address: address,
				})
				if !errors.Is(err, identity.ErrWrong) {
					t.Fatal(err)
				}
			}
		}
		stopClock(r)
		fail("unknown-#@example.com", 25)
		if n, e := count(t, r, rows), count(t, r, events); n != 1 || e != 2 {
			t.Errorf("%d rows and %d events of 25 failures at accounts that do not exist, want 1 and 2", n, e)
		}
		fail(r.Alice.Email, 12)
		if n, e := count(t, r, rows), count(t, r, events); n != 2 || e != 4 {
			t.Errorf("%d rows and %d events after 12 failures of a user, want 2 and 4", n, e)
		}
		if n := count(t, r, `SELECT sum(attempts) FROM sign_in_failures`); n != 37 {
			t.Errorf("%d failures are counted, want 37", n)
		}
		r.Store.SetClock(func() time.Time { return time.Now().Add(401 * 24 * time.Hour) })
		if _, err := r.Store.PurgeHistory(r.System(), 400*24*time.Hour, 400*24*time.Hour); err != nil {
			t.Fatal(err)
		}
		if n := count(t, r, rows); n != 0 {
			t.Errorf("%d rows are kept for longer than audit events", n)
		}
	})
}

// signInLink returns the output of doorward user sign-in-link, without the issuer.
func signInLink(t *testing.T, r *rig.Rig, u storage.User) string {
	t.Helper()
	word, err := r.Identity.SignInLink(r.System(), u.ID)
	if err != nil {
		t.Fatal(err)
	}
	r.Seen.Add("sign-in link", word)
	return "/login/link?word=" + word
}

func TestV33_AnAdministratorCanAlwaysSignIn(t *testing.T) {
	rig.Each(t, rig.Options{NoUser: true}, func(t *testing.T, r *rig.Rig) {
		admin := r.User("root@example.com", "Root", true)
		for range 100 { // like wrong passwords from twelve addresses
			if err := r.Store.PasswordFailed(r.System(), admin.ID, 100); err != nil {
				t.Fatal(err)
			}
		}
		b := r.Browser()
		wantPage(t, b.LogIn(b.Get("/login"), admin.Email), http.StatusUnauthorized)

		first := signInLink(t, r, admin)
		link := signInLink(t, r, admin)
		// Programs that fetch links change nothing.
		for range 3 {
			page := r.Browser().Get(link)
			wantPage(t, page, http.StatusOK)
			if !strings.Contains(page.Body, admin.Email) || page.Header.Get("Referrer-Policy") != "no-referrer" ||
				page.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("page %v %s", page.Header, page.Body)
			}
			if len(page.Cookies) > 0 && count(t, r, `SELECT count(*) FROM sessions`) != 0 {
				t.Error("a GET signed the user in")
			}
		}
		wantPage(t, r.Browser().Get(first), http.StatusForbidden) // replaced by the newer one
		page := b.Get(link)
		a := b.PostForm("/login/link", b.Form(page, "/login/link"))
		if a.Status != http.StatusSeeOther {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		wantPage(t, b.Follow(a), http.StatusOK)
		wantPage(t, r.Browser().Get(link), http.StatusForbidden)
		wantPage(t, b.PostForm("/login/link", b.Form(page, "/login/link")), http.StatusForbidden)
		// The link counts as a correct password: failed attempts are forgotten.
		fresh := r.Browser()
		if a := fresh.LogIn(fresh.Get("/login"), admin.Email); a.Status != http.StatusSeeOther {
			t.Errorf("the password stays out of use: %d", a.Status)
		}
		for action, want := range map[string]int{"login.link_created": 2, "login.succeeded": 2} {
			if n := count(t, r, `SELECT count(*) FROM audit_events WHERE action = '`+action+`'`); n != want {
				t.Errorf("%d events %s, want %d", n, action, want)
			}
		}
		if n := count(t, r,
			`SELECT count(*) FROM audit_events WHERE action = 'login.succeeded' AND credential = 'sign_in_link'`); n != 1 {
			t.Errorf("%d sign-ins by a link are in the audit log", n)
		}
	})
}

func TestV33_ASignInLinkGivesOneSession(t *testing.T) {
	rig.Each(t, rig.Options{AtOnce: true}, func(t *testing.T, r *rig.Rig) {
		link := signInLink(t, r, r.Alice)
		word := strings.TrimPrefix(link, "/login/link?word=")
		var good atomic.Int64
		rig.AtOnce(64, func(int) {
			if r.Browser().PostForm("/login/link", url.Values{"word": {word}}, "Origin", r.Issuer).
				Status == http.StatusSeeOther {
				good.Add(1)
			}
		})
		if n := count(t, r, `SELECT count(*) FROM sessions`); good.Load() != 1 || n != 1 {
			t.Errorf("%d of 64 were let in, with %d sessions", good.Load(), n)
		}
	})
}

func TestV33_ASignInLinkExpires(t *testing.T) {
	rig.Each(t, rig.Options{}, func(t *testing.T, r *rig.Rig) {
		for name, end := range map[string]func(u storage.User){
			"after 15 minutes": func(storage.User) { r.Advance(identity.SignInLinkLifetime) },
			"with a new password": func(u storage.User) {
				r.Advance(time.Second)
				r.SQL(`UPDATE users SET password_changed_at = $1 WHERE id = $2`, int64(r.Store.Now()), u.ID)
			},
			"when disabled": func(u storage.User) { _ = r.Store.DisableUser(r.System(), u.ID) },
			"when disabled for a time": func(u storage.User) {
				_ = r.Store.DisableUser(r.System(), u.ID)
				_ = r.Store.EnableUser(r.System(), u.ID)
			},
			"with the user": func(u storage.User) { _ = r.Store.DeleteUser(r.System(), u.ID) },
		} {
			u := r.User(strings.ReplaceAll(name, " ", "-")+"@example.com", "Person", false)
			link := signInLink(t, r, u)
			wantPage(t, r.Browser().Get(link), http.StatusOK)
			end(u)
			b := r.Browser()
			wantPage(t, b.Get(link), http.StatusForbidden)
			wantPage(t, b.PostForm("/login/link", url.Values{"word": {strings.TrimPrefix(link, "/login/link?word=")}}),
				http.StatusForbidden)
		}
		disabled := r.User("disabled@example.com", "Disabled", false)
		if err := r.Store.DisableUser(r.System(), disabled.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Identity.SignInLink(r.System(), disabled.ID); !errors.Is(err, identity.ErrDisabled) {
			t.Errorf("a link for a disabled user: %v", err)
		}
		if n := count(t, r, `SELECT count(*) FROM sign_in_links WHERE length(digest) <> 32`); n != 0 {
			t.Error("a word is stored, not its digest")
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
