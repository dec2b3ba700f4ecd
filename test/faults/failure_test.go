//go:build faults

package faults

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// raise makes the insertion of an access token or a grant of the app fail with a SQLSTATE a number of times. It returns
// a function that reports how often the insertion was tried.
func (x *torn) raise(table, state string, times int) (tried func() int) {
	x.t.Helper()
	for _, statement := range []string{
		`CREATE SEQUENCE IF NOT EXISTS fault_count`, `ALTER SEQUENCE fault_count RESTART`,
		// A value taken from a sequence stays taken after a rollback, so the sequence counts attempts.
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

// contents returns a digest of all rows that an operation may change.
func (x *torn) contents(ctx context.Context) string {
	x.t.Helper()
	var parts []string
	for _, table := range []string{"grants", "codes", "access_tokens", "refresh_tokens", "decided_flows", "consents"} {
		columns := "t.*::text"
		if table == "grants" {
			columns = "(t.id, t.revoked_at)::text" // the time of last use is written later and is not a fact
		}
		var text string
		ok(x.t,
			x.db.QueryRowContext(ctx, `SELECT COALESCE(md5(string_agg(`+columns+`, ',' ORDER BY `+columns+
				`)), '') FROM `+table+` t`).Scan(&text))
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

// A failure inside a transaction leaves nothing behind; a transaction that PostgreSQL aborted because of a conflict is
// tried again.
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
			{"40001", 4},
			{"40P01", 4}, // it never succeeds
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
		"a trigger fails the insertion: SQLSTATE 40001 and 40P01 once to three times, and permanently with these and with "+
			"9 other codes",
		"40001 and 40P01 tried again, at most three times, and no 5xx; others 503, rows unchanged, and the same code or "+
			"refresh token then succeeds",
		fmt.Sprintf("%d retried and done, %d times 503 with rows unchanged and then done", retried, refused))
}

// The same if SQLite fails in the middle of a transaction.
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
