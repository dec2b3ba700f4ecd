package security

import (
	"net/http"
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
			t.Fatalf("one of %d active grants was revoked: %d %s", storage.MaxLiveGrants, a.Status, a.Body)
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

// Pages for any visitor do not count rows: they only check whether one exists.
func TestV31_PagesForAnyVisitorCountNoRows(t *testing.T) {
	rig.Each(t, rig.Options{NoUser: true}, func(t *testing.T, r *rig.Rig) {
		hint := "setup link when it started"
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
