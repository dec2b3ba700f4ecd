//go:build faults

package faults

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"doorward/storage"
	"doorward/test/postgres"
	"doorward/test/rig"
	"doorward/test/setup"
)

// torn is a server whose way to PostgreSQL can be cut at any statement.
type torn struct {
	*world
	proxy *proxy
	db    *sql.DB // as superuser, past the proxy
	other client  // a stranger's app, which needs consent
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

// code is a fresh authorization code.
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
		(SELECT count(*) FROM refresh_tokens r WHERE r.grant_id = k.grant_id), (SELECT count(*) FROM grants g WHERE g.id = k.grant_id)
		FROM codes k WHERE digest = $1`, storage.Digest(code))
	ok(x.t, row.Scan(&access, &refresh, &families))
	return access, refresh, families
}

var (
	hiddenToken = regexp.MustCompile(`name="token" value="([^"]+)"`)
	workspaces  = regexp.MustCompile(`name="workspace" value="([^"]+)"`) // the first is the person's own
)

// consent is a consent page that waits for its answer.
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

// operation is something that changes what is stored.
type operation struct {
	name string
	// at matches the statement with which it becomes so.
	at func([]string, string) bool
	// begin prepares it; do may be called again, as whoever got no answer does.
	begin func() (do func() reply)
	// after judges the second attempt, made after a cut before (false) or after (true) the change, and what is stored
	// then.
	after func(t *testing.T, second reply, done bool)
}

func (x *torn) operations() []operation {
	ctx := x.t.Context()
	var code string   // of the operation under way
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
			// Once spent, whoever shows it again ends what it gave.
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
				t.Errorf("the successor is not alive: %s", r)
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
			// A decision that counted is answered again with its code (V-60); the rows below show that it is no second one.
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
				t.Errorf("the second token is not alive: %s", r)
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

// A commit that never arrived has not happened: whoever tries again succeeds.
func TestZ04a_CutBeforeCommit(t *testing.T) {
	x := newTorn(t)
	n := x.cut(t, cutBefore)
	report(t, "Z-4a",
		"connection cut before COMMIT, or before the one statement, reaches PostgreSQL: exchange, refresh, authorize, "+
			"consent, sign-in, client credentials, revoke",
		"503 with Retry-After; the same code or refresh token then succeeds",
		fmt.Sprintf("%d cuts, each 503 and then done", n))
}

// A commit whose answer was lost has happened once: whoever tries again gets the same, or what a second use gets.
func TestZ04b_CutAfterCommit(t *testing.T) {
	x := newTorn(t)
	n := x.cut(t, cutAfter)
	report(t, "Z-4b", "connection cut after COMMIT, before its answer; the same operations",
		"503 with Retry-After; nothing doubled; a refresh again gives the same successor, a code again invalid_grant and "+
			"no second family",
		fmt.Sprintf("%d cuts, each 503 and nothing doubled", n))
}

// While a commit hangs, others with the same refresh token wait for it; then all have the same successor.
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
	report(t, "Z-4 held", "COMMIT of a refresh held back while others show the same refresh token",
		"all wait and get one successor",
		fmt.Sprintf("%d refreshes, %d successor", 1+others, len(successors)))
}

// raise makes the insertion of an access token, or of a grant, of the app fail with a SQLSTATE so often, and gives a
// function that tells how often it was tried.
func (x *torn) raise(table, state string, times int) (tried func() int) {
	x.t.Helper()
	for _, statement := range []string{
		`CREATE SEQUENCE IF NOT EXISTS fault_count`, `ALTER SEQUENCE fault_count RESTART`,
		// As its owner: what a transaction took from a sequence stays taken when it is rolled back.
		fmt.Sprintf(`CREATE OR REPLACE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
			BEGIN
				IF NEW.client_id = '%s' AND nextval('public.fault_count') <= %d THEN
					RAISE EXCEPTION 'marker' USING ERRCODE = '%s';
				END IF;
				RETURN NEW;
			END $$`, x.app.ID, times, state),
		`DROP TRIGGER IF EXISTS fault ON access_tokens`, `DROP TRIGGER IF EXISTS fault ON grants`,
		`CREATE TRIGGER fault BEFORE INSERT ON ` + table + ` FOR EACH ROW EXECUTE FUNCTION fault()`,
	} {
		_, err := x.db.ExecContext(x.t.Context(), statement)
		ok(x.t, err)
	}
	return func() int {
		return number(x.t.Context(), x.t, x.db, `SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM fault_count`)
	}
}

// contents is a digest of all rows that an operation may change.
func (x *torn) contents(ctx context.Context) string {
	x.t.Helper()
	var parts []string
	for _, table := range []string{"grants", "codes", "access_tokens", "refresh_tokens", "decided_flows", "consents"} {
		columns := "t.*::text"
		if table == "grants" {
			columns = "(t.id, t.revoked_at)::text" // when it was last used is written later, and is no fact
		}
		var text string
		ok(x.t,
			x.db.QueryRowContext(ctx, `SELECT COALESCE(md5(string_agg(`+columns+`, ',' ORDER BY `+columns+
				`)), '') FROM `+table+` t`).Scan(&text))
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

// What fails inside a transaction leaves nothing behind; what PostgreSQL gave up for reasons of timing is tried again.
func TestZ04c_FailureInsideTheTransaction(t *testing.T) {
	x := newTorn(t)
	ctx := t.Context()
	var retried, refused int
	for _, op := range []struct{ name, table string }{
		{"exchange", "access_tokens"},
		{"refresh", "access_tokens"},
		{"client credentials", "access_tokens"},
		{"authorize", "grants"},
	} {
		begin := func() func() reply {
			for _, o := range x.operations() {
				if o.name == op.name {
					return o.begin()
				}
			}
			t.Fatal(op.name)
			return nil
		}
		heal := func() { x.raise(op.table, "P0001", 0) }
		for _, state := range []string{"40001", "40P01"} {
			for times := 1; times <= 3; times++ {
				heal()
				do := begin()
				tried := x.raise(op.table, state, times)
				if r := do(); !r.done() {
					t.Errorf("%s that fails %d times with %s was answered %s", op.name, times, state, r)
				}
				if n := tried(); n != times+1 {
					t.Errorf("%s that fails %d times with %s was tried %d times, want %d", op.name, times, state, n, times+1)
				}
				retried++
			}
		}
		for _, c := range []struct {
			state string
			tries int
		}{
			{"40001", 4}, {"40P01", 4}, // no end of it
			{"P0001", 1},
			{"53100", 1},
			{"53200", 1},
			{"57014", 1},
			{"23514", 1},
			{"XX000", 1},
			{"08006", 1},
			{"55P03", 1},
			{"25006", 1},
		} {
			heal()
			do := begin()
			before := x.contents(ctx)
			tried := x.raise(op.table, c.state, 1000)
			r := do()
			if !r.away() {
				t.Errorf("%s that fails with %s was answered %s", op.name, c.state, r)
			}
			if strings.Contains(string(r.body), "marker") || strings.Contains(string(r.body), c.state) {
				t.Errorf("%s: the answer shows the database's error: %s", op.name, r)
			}
			if n := tried(); n != c.tries {
				t.Errorf("%s that fails with %s was tried %d times, want %d", op.name, c.state, n, c.tries)
			}
			if x.contents(ctx) != before {
				t.Errorf("%s that fails with %s has changed rows", op.name, c.state)
			}
			heal()
			if r := do(); !r.done() {
				t.Errorf("%s after %s was answered %s", op.name, c.state, r)
			}
			refused++
		}
	}
	report(t, "Z-4c PostgreSQL",
		"a trigger fails the insertion: SQLSTATE 40001 and 40P01 once to three times, and for good with these and 9 others",
		"40001 and 40P01 tried again, at most three times, and no 5xx; others 503, rows unchanged, and the same code or "+
			"refresh token then succeeds",
		fmt.Sprintf("%d retried and done, %d times 503 with rows unchanged and then done", retried, refused))
}

// The same where SQLite fails in the middle.
func TestZ04c_FailureInsideTheTransactionSQLite(t *testing.T) {
	w := newWorld(t, sqliteURL)
	ctx := t.Context()
	x := &torn{world: w, db: w.openDatabase(sqliteURL)}
	change := func(statement string) {
		_, err := x.db.ExecContext(ctx, statement)
		ok(t, err)
	}
	count := func() string {
		var text string
		ok(t, x.db.QueryRowContext(ctx,
			`SELECT (SELECT count(*) FROM access_tokens) || ' ' || (SELECT count(*) FROM grants) || ' ' ||
			(SELECT count(*) FROM refresh_tokens) || ' ' || (SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL) || ' ' ||
			(SELECT count(*) FROM codes WHERE used_at IS NULL)`).Scan(&text))
		return text
	}
	n := 0
	for range cuts {
		code, token := x.code(), x.tokens().text("refresh_token")
		for _, op := range []struct {
			name, table string
			do          func() reply
		}{
			{"exchange", "access_tokens", func() reply { return x.exchange(ctx, code) }},
			{"exchange", "refresh_tokens", func() reply { return x.exchange(ctx, code) }},
			{"refresh", "access_tokens", func() reply { return x.refresh(ctx, token) }},
			{"refresh", "refresh_tokens", func() reply { return x.refresh(ctx, token) }},
			{"client credentials", "access_tokens", func() reply { return x.clientCredentials(ctx) }},
			{"authorize", "codes", func() reply { return x.authorize(ctx) }},
		} {
			change(`CREATE TRIGGER fault BEFORE INSERT ON ` + op.table + ` BEGIN SELECT RAISE(ABORT, 'marker'); END`)
			before := count()
			if r := op.do(); !r.away() {
				t.Errorf("%s that fails in %s was answered %s", op.name, op.table, r)
			}
			if count() != before {
				t.Errorf("%s that fails in %s has changed rows: %s, then %s", op.name, op.table, before, count())
			}
			change(`DROP TRIGGER fault`)
			n++
		}
		if r := x.exchange(ctx, code); !r.done() {
			t.Errorf("the code afterwards was answered %s", r)
		}
		if r := x.refresh(ctx, token); !r.done() {
			t.Errorf("the refresh token afterwards was answered %s", r)
		}
	}
	if half := number(ctx, t, x.db, halfDone); half > 0 {
		t.Error(errors.New("authorizations are half-done"), half)
	}
	report(t, "Z-4c SQLite",
		"a trigger fails the insertion in each table of exchange, refresh, authorize, client credentials",
		"503, rows unchanged, and the same code or refresh token then succeeds",
		fmt.Sprintf("%d times 503 with rows unchanged and then done", n))
}
