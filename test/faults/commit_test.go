//go:build faults

package faults

import (
	"database/sql"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"testing"
	"time"

	"doorward/storage"
	"doorward/test/postgres"
	"doorward/test/rig"
	"doorward/test/setup"
)

// torn is a server whose connection to PostgreSQL can be cut at any statement.
type torn struct {
	*world
	proxy *proxy
	db    *sql.DB // as superuser, not through the proxy
	other client  // a third-party app, which needs consent
}

func newTorn(t *testing.T) *torn {
	t.Helper()
	setup.Long(t)
	p := postgres.Private(t, postgres.Options{TCP: true})
	direct := emptyDatabase(t, p)
	cut := newProxy(t, p.Address())
	x := &torn{world: newWorld(t, cut.through(t, direct)), proxy: cut}
	x.db = x.openDatabase(asSuperuser(t, p, direct))
	x.other = x.register("--name", "Other", "--redirect-uri", redirect, "--scope", "read")
	return x
}

// code returns a fresh authorization code.
func (x *torn) code() string {
	x.t.Helper()
	r := x.authorize(x.t.Context())
	if r.code() == "" {
		x.t.Fatalf("authorize answered %s", r)
	}
	return r.code()
}

// tokens redeems a fresh code.
func (x *torn) tokens() reply {
	x.t.Helper()
	r := x.exchange(x.t.Context(), x.code())
	if !r.done() {
		x.t.Fatalf("exchange answered %s", r)
	}
	return r
}

// tokensOf counts the tokens of the family of a code.
func (x *torn) tokensOf(code string) (access, refresh, families int) {
	x.t.Helper()
	row := x.db.QueryRowContext(x.t.Context(),
		`SELECT (SELECT count(*) FROM access_tokens a WHERE a.grant_id = k.grant_id),
		(SELECT count(*) FROM refresh_tokens r WHERE r.grant_id = k.grant_id),
		(SELECT count(*) FROM grants g WHERE g.id = k.grant_id)
		FROM codes k WHERE digest = $1`, storage.Digest(code))
	ok(x.t, row.Scan(&access, &refresh, &families))
	return access, refresh, families
}

var (
	hiddenToken = regexp.MustCompile(`name="token" value="([^"]+)"`)
	workspaces  = regexp.MustCompile(`name="workspace" value="([^"]+)"`) // the first is the person's own
)

// consent is a consent page that waits for a decision.
func (x *torn) consent() (cookies string, form url.Values) {
	x.t.Helper()
	ctx := x.t.Context()
	params := x.params(x.other)
	params.Set("prompt", "consent")
	r := x.send(ctx, http.MethodGet, "/oauth/authorize?"+params.Encode(), nil, "Cookie", "doorward="+x.cookie)
	if r.location == nil || r.location.Path != "/oauth/consent" {
		x.t.Fatalf("authorize answered %s", r)
	}
	cookies = "doorward=" + x.cookie
	for _, c := range (&http.Response{Header: r.header}).Cookies() {
		cookies += "; " + c.Name + "=" + c.Value
	}
	flow, bound, page := x.form(ctx, r.location.RequestURI(), cookies)
	token := hiddenToken.FindSubmatch(page.body)
	workspace := workspaces.FindSubmatch(page.body)
	if flow == "" || token == nil || workspace == nil {
		x.t.Fatalf("consent answered %s", page)
	}
	return bound, url.Values{
		"flow":      {flow},
		"token":     {string(token[1])},
		"scope":     {"read"},
		"workspace": {string(workspace[1])},
		"decision":  {"approve"},
	}
}

// operation changes what is stored.
type operation struct {
	name string
	// at matches the statement that makes the change effective.
	at func([]string, string) bool
	// begin prepares the operation. do may be called again, like a client retries that got no answer.
	begin func() (do func() reply)
	// after checks the second attempt, made after a cut before (false) or after (true) the change, and what is stored
	// then.
	after func(t *testing.T, second reply, done bool)
}

func (x *torn) operations() []operation {
	ctx := x.t.Context()
	var code string   // of the current operation
	var token string  // likewise
	var tables string // the number of rows before
	rows := func() string {
		n := func(q string) int { return number(ctx, x.t, x.db, q) }
		return fmt.Sprint(n(`SELECT count(*) FROM grants`), n(`SELECT count(*) FROM codes`),
			n(`SELECT count(*) FROM access_tokens`),
			n(`SELECT count(*) FROM refresh_tokens`), n(`SELECT count(*) FROM decided_flows`))
	}
	succeeds := func(t *testing.T, second reply, _ bool) {
		t.Helper()
		if !second.done() {
			t.Errorf("the second attempt was answered %s", second)
		}
	}
	return []operation{
		{"exchange", commitOf("UPDATE codes"), func() func() reply {
			code = x.code()
			return func() reply { return x.exchange(ctx, code) }
		}, func(t *testing.T, second reply, done bool) {
			t.Helper()
			if done && !second.refused("invalid_grant") {
				t.Errorf("a code that is spent was answered %s", second)
			}
			if !done {
				succeeds(t, second, done)
			}
			if a, r, g := x.tokensOf(code); a != 1 || r != 1 || g != 1 {
				t.Errorf("the code has given %d access and %d refresh tokens in %d families, want 1 of each", a, r, g)
			}
			// A spent code that is shown again revokes the tokens issued from it.
			third := x.exchange(ctx, code)
			if !third.refused("invalid_grant") {
				t.Errorf("the code shown a third time was answered %s", third)
			}
			if a, r, g := x.tokensOf(code); a != 1 || r != 1 || g != 1 {
				t.Errorf("shown again, the code has given %d access and %d refresh tokens in %d families, want 1 of each", a, r, g)
			}
		}},
		{"refresh", commitOf("UPDATE refresh_tokens"), func() func() reply {
			token = x.tokens().text("refresh_token")
			return func() reply { return x.refresh(ctx, token) }
		}, func(t *testing.T, second reply, done bool) {
			t.Helper()
			succeeds(t, second, done)
			third := x.refresh(ctx, token)
			if second.text("refresh_token") == "" || second.text("refresh_token") != third.text("refresh_token") {
				t.Errorf("the second and the third attempt gave different refresh tokens: %s and %s", second, third)
			}
			n := number(ctx, t, x.db,
				`SELECT count(*) FROM refresh_tokens WHERE grant_id = (SELECT grant_id FROM refresh_tokens WHERE digest = $1)`,
				storage.Digest(token))
			if n != 2 {
				t.Errorf("the family has %d refresh tokens, want the first and its successor", n)
			}
			if active, r := x.active(ctx, second.text("refresh_token")); !active {
				t.Errorf("the successor is not active: %s", r)
			}
		}},
		{"authorize", commitOf("INSERT INTO codes"), func() func() reply {
			return func() reply { return x.authorize(ctx) }
		}, func(t *testing.T, second reply, done bool) {
			t.Helper()
			succeeds(t, second, done)
			if r := x.exchange(ctx, second.code()); !r.done() {
				t.Errorf("the second code was answered %s", r)
			}
		}},
		{"consent", commitOf("INSERT INTO decided_flows"), func() func() reply {
			cookies, form := x.consent()
			tables = rows()
			return func() reply { return x.submit(ctx, "/oauth/consent", cookies, form) }
		}, func(t *testing.T, second reply, done bool) {
			t.Helper()
			// A decision that was stored is answered again with its code (V-60); the rows below show that it is not a second
			// decision.
			if second.code() == "" {
				t.Errorf("the decision sent again was answered %s", second)
			}
			var had [5]int
			_, err := fmt.Sscan(tables, &had[0], &had[1], &had[2], &had[3], &had[4])
			ok(t, err)
			if want := fmt.Sprint(had[0]+1, had[1]+1, had[2], had[3], had[4]+1); rows() != want {
				t.Errorf("rows of grants, codes, access tokens, refresh tokens, decided flows: %s, want %s", rows(), want)
			}
		}},
		{"sign-in", commitOf("INSERT INTO sessions"), func() func() reply {
			return func() reply { return x.login(ctx, alice, rig.Password) }
		}, func(t *testing.T, second reply, done bool) {
			t.Helper()
			succeeds(t, second, done)
			if r := x.signedIn(ctx, second.cookie); r.status != http.StatusOK {
				t.Errorf("the second session opens nothing: %s", r)
			}
		}},
		{"client credentials", statement("INSERT INTO access_tokens"), func() func() reply {
			return func() reply { return x.clientCredentials(ctx) }
		}, func(t *testing.T, second reply, done bool) {
			t.Helper()
			succeeds(t, second, done)
			if active, r := x.active(ctx, second.text("access_token")); !active {
				t.Errorf("the second token is not active: %s", r)
			}
		}},
		{"revoke", commitOf("UPDATE grants SET revoked_at"), func() func() reply {
			token = x.tokens().text("access_token")
			return func() reply { return x.revoke(ctx, token) }
		}, func(t *testing.T, second reply, done bool) {
			t.Helper()
			succeeds(t, second, done)
			if active, r := x.active(ctx, token); active || r.status != http.StatusOK {
				t.Errorf("the revoked token: %s", r)
			}
		}},
	}
}

const cuts = 15 // of each operation, before and after

func (x *torn) cut(t *testing.T, act action) (attempts int) {
	for _, op := range x.operations() {
		for range cuts {
			do := op.begin()
			armed := x.proxy.arm(act, op.at)
			first := do()
			select {
			case <-armed.happened:
			default:
				x.proxy.disarm()
				t.Fatalf("%s: nothing was cut, and the answer was %s", op.name, first)
			}
			if !first.away() {
				t.Errorf("%s: cut off, it was answered %s", op.name, first)
			}
			op.after(t, do(), act == cutAfter)
			attempts++
		}
	}
	if n := number(t.Context(), t, x.db, halfDone); n > 0 {
		t.Errorf("%d authorizations are half-done", n)
	}
	return attempts
}

// A commit that never arrives has not happened: a retry succeeds.
func TestZ04a_CutBeforeCommit(t *testing.T) {
	x := newTorn(t)
	n := x.cut(t, cutBefore)
	report(t, "Z-4a",
		"connection cut before COMMIT, or before the one statement, reaches PostgreSQL: exchange, refresh, authorize, "+
			"consent, sign-in, client credentials, revoke",
		"503 with Retry-After; the same code or refresh token then succeeds",
		fmt.Sprintf("%d cuts, each 503 and then done", n))
}

// A commit whose answer was lost has happened once: a retry gets the same result, or the result of a second use.
func TestZ04b_CutAfterCommit(t *testing.T) {
	x := newTorn(t)
	n := x.cut(t, cutAfter)
	report(t, "Z-4b", "connection cut after COMMIT, before its response; the same operations",
		"503 with Retry-After; nothing doubled; a repeated refresh returns the same successor; a repeated code gets "+
			"invalid_grant and no second set of tokens",
		fmt.Sprintf("%d cuts, each 503 and nothing doubled", n))
}

// While a commit hangs, other requests with the same refresh token wait for it; then all of them get the same
// successor.
func TestZ04_HeldCommitMakesOthersWait(t *testing.T) {
	x := newTorn(t)
	const others = 4
	ctx := t.Context()
	token := x.tokens().text("refresh_token")
	armed := x.proxy.arm(hold, commitOf("UPDATE refresh_tokens"))
	replies := make(chan reply, 1+others)
	var wait sync.WaitGroup
	wait.Go(func() { replies <- x.refresh(ctx, token) })
	<-armed.happened
	for range others {
		wait.Go(func() { replies <- x.refresh(ctx, token) })
	}
	for number(ctx, t, x.db, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'`) < others {
		pause(ctx, 5*time.Millisecond)
	}
	close(armed.release)
	wait.Wait()
	close(replies)
	successors := map[string]bool{}
	for r := range replies {
		if !r.done() {
			t.Errorf("a refresh was answered %s", r)
		}
		successors[r.text("refresh_token")] = true
	}
	if len(successors) != 1 {
		t.Errorf("%d different successors, want one", len(successors))
	}
	report(t, "Z-4 held", "COMMIT of a refresh held back while others send the same refresh token",
		"all wait and get one successor",
		fmt.Sprintf("%d refreshes, %d successor", 1+others, len(successors)))
}
