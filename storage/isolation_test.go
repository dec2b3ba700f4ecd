package storage_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"doorward/storage"
	"doorward/test/stores"
)

// neighbours are two worlds in one database.
func neighbours(t *testing.T, s *storage.Store) (a, b *world) {
	t.Helper()
	a = newWorld(t, stopped(s))
	user := storage.User{ID: storage.NewID("user"), Email: "neighbour@example.com", Name: "Neighbour"}
	must(t, s.InsertUser(system(t), &user))
	workspace, err := s.PersonalWorkspace(system(t), user.ID)
	must(t, err)
	b = &world{user: user, workspace: workspace, client: a.client}
	b.client.ID, b.client.WorkspaceID = storage.NewID("app"), workspace.ID
	b.client.Secrets = []storage.ClientSecret{{
		ID: storage.NewID("secret"), Digest: storage.Digest("neighbour"),
		CreatedAt: s.Now(),
	}}
	must(t, s.InsertClient(system(t), &b.client, []string{"https://neighbour.example"}))
	must(t, s.SaveConsent(system(t), storage.Consent{
		UserID: user.ID, ClientID: b.client.ID,
		Resource: "https://api.example", WorkspaceID: workspace.ID, Scopes: storage.List{"read"},
	}))
	must(t, s.InsertSession(system(t), storage.Session{
		ID:     storage.NewID("session"),
		Digest: storage.Digest("neighbour"), UserID: user.ID, Data: "{}", AuthTime: s.Now(), CreatedAt: s.Now(),
		SeenAt: s.Now(), ExpiresAt: s.Now(),
	}))
	b.grant = b.newGrant(s.Now())
	must(t, s.InsertGrant(system(t), b.grant, storage.Code{Digest: storage.Digest("neighbour"), ExpiresAt: s.Now()}))
	b.addKeys(t, s, "Neighbour's")
	for _, w := range []*world{a, b} {
		s.TouchKey(w.key.ID, "192.0.2.1")
		s.TouchKey(w.personal.ID, "192.0.2.1")
	}
	must(t, s.FlushTouches(system(t)))
	return a, b
}

// The catalogue says that everything that belongs to a user or workspace is covered, and how.
func TestS03_EveryTableOfTenantsHasPolicies(t *testing.T) {
	conn := connect(t, stores.PostgreSQL(t))
	rows, err := conn.Query(t.Context(), `SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity,
			COALESCE((SELECT string_agg(p.policyname || ' ' || p.roles::text || ' ' || COALESCE(p.qual, '') || ' ' ||
			COALESCE(p.with_check, ''), '; ' ORDER BY p.policyname)
				FROM pg_policies p WHERE p.schemaname = current_schema() AND p.tablename = c.relname), '')
		FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
			AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname IN ('workspace_id',
			'user_id') AND NOT a.attisdropped)`)
	must(t, err)
	defer rows.Close()
	var covered, ofTenants []string
	for rows.Next() {
		var table, policies string
		var enabled, forced bool
		must(t, rows.Scan(&table, &enabled, &forced, &policies))
		covered = append(covered, table)
		if !enabled || forced {
			t.Errorf("%s: row-level security enabled %v, forced %v", table, enabled, forced)
		}
		if !strings.Contains(policies, "{doorward_system} true") {
			t.Errorf("%s: the server itself does not see all rows: %s", table, policies)
		}
		if strings.Contains(policies, "doorward_tenant") {
			ofTenants = append(ofTenants, table)
		}
		if strings.Contains(strings.ToUpper(policies), "SELECT") {
			t.Errorf("%s: a policy holds a subquery: %s", table, policies)
		}
	}
	must(t, rows.Err())
	if len(covered) < 7 {
		t.Errorf("only %v", covered)
	}
	less := func(a, b string) bool { return a < b }
	if diff := cmp.Diff(storage.TenantTables(), ofTenants, cmpopts.SortSlices(less)); diff != "" {
		t.Errorf("the tables that CheckIsolation tries and those with a policy for tenants (-tried +policy):\n%s", diff)
	}
}

// Unset and empty mean no row; set, the rows of that user and workspace and no others.
func TestS04_TenantSeesOwnRowsAlone(t *testing.T) {
	s := stores.Open(t, stores.PostgreSQL(t))
	a, b := neighbours(t, s)
	counts := func(set bool, user, workspace string) map[string]int {
		t.Helper()
		tx, err := s.TenantPool().BeginTx(t.Context(), nil)
		must(t, err)
		defer tx.Rollback() //nolint:errcheck // it is what is wanted
		if set {
			_, err := tx.ExecContext(t.Context(), `SELECT set_config('app.user_id', $1, true),
				set_config('app.workspace_id', $2, true)`, user, workspace)
			must(t, err)
		}
		got := map[string]int{}
		for _, table := range storage.TenantTables() {
			var n int
			must(t, tx.QueryRowContext(t.Context(), `SELECT count(*) FROM `+table).Scan(&n))
			got[table] = n
		}
		return got
	}
	none := map[string]int{}
	for _, table := range storage.TenantTables() {
		none[table] = 0
	}
	with := func(rows map[string]int) map[string]int {
		all := maps.Clone(none)
		maps.Copy(all, rows)
		return all
	}
	ofUser := map[string]int{
		"sessions": 1, "consents": 1, "grants": 1, "api_keys": 1, "key_uses": 1, "recent_requests": 1,
		"idempotent_requests": 1,
	}
	ofWorkspace := map[string]int{
		"clients": 1, "client_secrets": 1, "client_origins": 1, "api_keys": 1, "key_uses": 1, "usage_hourly": 2,
		"recent_requests":     1,
		"audit_events":        1,
		"idempotent_requests": 1,
	}
	ofBoth := with(ofUser)
	maps.Copy(ofBoth, ofWorkspace)
	ofBoth["api_keys"], ofBoth["key_uses"], ofBoth["recent_requests"] = 2, 2, 2 // of the key and of the token
	for name, c := range map[string]struct {
		set             bool
		user, workspace string
		want            map[string]int
	}{
		"unset":         {false, "", "", none},
		"empty":         {true, "", "", none},
		"stranger":      {true, "user_x", "ws_x", none},
		"wildcard":      {true, "%", "*", none},
		"exchanged":     {true, b.workspace.ID, b.user.ID, none},
		"b":             {true, b.user.ID, b.workspace.ID, ofBoth},
		"b's workspace": {true, "", b.workspace.ID, with(ofWorkspace)},
		"user b":        {true, b.user.ID, "", with(ofUser)},
	} {
		if diff := cmp.Diff(c.want, counts(c.set, c.user, c.workspace)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	// By id, and to write.
	tenant := storage.Tenant(t.Context(), b.user.ID, b.workspace.ID)
	for name, call := range map[string]func(ctx context.Context) error{
		"read":   func(ctx context.Context) error { _, err := s.ClientByID(ctx, a.client.ID); return err },
		"hold":   func(ctx context.Context) error { return s.LockClient(ctx, a.client.ID) },
		"rotate": func(ctx context.Context) error { return writes["RotateSecret"](ctx, s, a) },
		"update": func(ctx context.Context) error { return writes["UpdateClient"](ctx, s, a) },
		"end":    func(ctx context.Context) error { return s.EndSession(ctx, a.user.ID, a.session.ID) },
	} {
		err := s.InTx(tenant, call)
		if name == "end" {
			if _, _, live := s.LiveSession(system(t), a.session.Digest, 1e15); live != nil {
				t.Errorf("%s reached another user's row: %v", name, live)
			}
			continue
		}
		mustBe(t, err, storage.ErrNotFound)
	}
	before := dump(t, s)
	for name, call := range map[string]func(ctx context.Context) error{
		"key":    func(ctx context.Context) error { _, err := s.KeyByID(ctx, a.key.ID); return err },
		"token":  func(ctx context.Context) error { _, err := s.KeyByID(ctx, a.personal.ID); return err },
		"update": func(ctx context.Context) error { return writes["UpdateKey"](ctx, s, a) },
		"hold":   func(ctx context.Context) error { return writes["LockKey"](ctx, s, a) },
		"pause":  func(ctx context.Context) error { return writes["PauseKey"](ctx, s, a) },
		"resume": func(ctx context.Context) error { return s.ResumeKey(ctx, a.key.Owner(), a.key.ID) },
		"revoke": func(ctx context.Context) error { return writes["RevokeKey"](ctx, s, a) },
		"answer": func(ctx context.Context) error { _, err := s.KeptAnswer(ctx, a.answer.Digest); return err },
	} {
		if err := s.InTx(tenant, call); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s of another workspace's key: %v", name, err)
		}
	}
	mustBe(t, s.InTx(tenant, func(ctx context.Context) error {
		return writes["RotateKey"](ctx, s, a)
	}), storage.ErrConsumed)
	foreign := storage.IdempotentAnswer{Digest: storage.Digest("x"), Request: storage.Digest("x")}
	for name, call := range map[string]func(ctx context.Context) error{
		"an API key": func(ctx context.Context) error { return writes["InsertKey"](ctx, s, a) },
		"a personal access token": func(ctx context.Context) error {
			k := newKey(a.personal.Owner(), "x")
			return s.InsertKey(ctx, &k, 10)
		},
		"a key to introspect": func(ctx context.Context) error {
			k := newKey(storage.KeyOwner{}, "x")
			return s.InsertKey(ctx, &k, 10)
		},
		"an event": func(ctx context.Context) error {
			return s.Audit(ctx, storage.AuditEvent{Action: "x", WorkspaceID: a.workspace.ID}, "")
		},
		"an event of the server": func(ctx context.Context) error {
			return s.Audit(ctx, storage.AuditEvent{Action: "x"}, "")
		},
		"an answer": func(ctx context.Context) error { return s.KeepAnswer(ctx, foreign) },
		"usage": func(ctx context.Context) error {
			_, err := s.Exec(ctx, `INSERT INTO usage_hourly (workspace_id, credential_id, hour, credential, allowed,
				limited, refused) VALUES ($1, 'x', 0, 'x', 1, 0, 0)`, a.workspace.ID)
			return err
		},
	} {
		if err := s.InTx(tenant, call); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s for another owner: %v", name, err)
		}
	}
	// Neither can a row of one's own be given to another, nor another's be reached without naming its owner.
	if err := s.InTx(tenant, func(ctx context.Context) error {
		_, err := s.Exec(ctx, `UPDATE api_keys SET workspace_id = $1 WHERE id = $2`, a.workspace.ID, b.key.ID)
		return err
	}); err == nil || !strings.Contains(err.Error(), "42501") {
		t.Errorf("a key given to another workspace: %v", err)
	}
	must(t, s.InTx(tenant, func(ctx context.Context) error {
		n, err := s.Exec(ctx, `UPDATE api_keys SET revoked_at = 1 WHERE id NOT IN ($1, $2)`, b.key.ID, b.personal.ID)
		if n != 0 {
			t.Errorf("%d keys of others changed", n)
		}
		return err
	}))
	if diff := cmp.Diff(before, dump(t, s)); diff != "" {
		t.Errorf("another workspace's rows changed:\n%s", diff)
	}
	stolen := a.client
	stolen.ID, stolen.Secrets = storage.NewID("app"), nil
	if err := s.InTx(tenant, func(ctx context.Context) error {
		return s.InsertClient(ctx, &stolen, nil)
	}); err == nil || !strings.Contains(err.Error(), "42501") {
		t.Errorf("an app for another workspace: %v", err)
	}
}

// Constraints look past policies, so that one could hang a row on another workspace's.
func TestS08_SecretOfAnotherWorkspacesAppIsRefused(t *testing.T) {
	s := stores.Open(t, stores.PostgreSQL(t))
	a, b := neighbours(t, s)
	for name, workspace := range map[string]string{
		"with the app's workspace": a.workspace.ID,
		"with the writer's":        b.workspace.ID,
	} {
		tx, err := s.TenantPool().BeginTx(t.Context(), nil)
		must(t, err)
		_, err = tx.ExecContext(t.Context(), `SELECT set_config('app.user_id', $1, true), set_config('app.workspace_id',
			$2, true)`, b.user.ID, b.workspace.ID)
		must(t, err)
		_, err = tx.ExecContext(t.Context(), `INSERT INTO client_secrets (id, client_id, workspace_id, digest, tail,
			created_at) VALUES ('secret_x', $1, $2, '\x00', 'x', 1)`, a.client.ID, workspace)
		if err == nil {
			t.Errorf("%s: a secret for another workspace's app was written", name)
		}
		must(t, tx.Rollback())
	}
}

// Connections go from tenant to tenant, also after cancels, panics and faults, and never take a setting along.
func TestS05_NoSettingStaysOnAConnection(t *testing.T) {
	url := stores.PostgreSQL(t)
	s, err := storage.Open(t.Context(), url, storage.Options{MaxConns: 2})
	must(t, err)
	t.Cleanup(s.Close)
	a, b := neighbours(t, s)
	const calls = 12
	_, errs := atOnce(racers, func(i int) error {
		mine := a
		if i%2 == 1 {
			mine = b
		}
		for range calls {
			ctx, cancel := context.WithCancel(storage.Tenant(t.Context(), mine.user.ID, mine.workspace.ID))
			how := rand.IntN(5)
			err := func() (err error) {
				defer func() {
					if p := recover(); p != nil && p != "on purpose" {
						err = fmt.Errorf("%v", p)
					}
				}()
				return s.InTx(ctx, func(ctx context.Context) error {
					list, err := s.ClientsOfWorkspace(ctx, mine.workspace.ID)
					if err == nil && (len(list) != 1 || list[0].WorkspaceID != mine.workspace.ID) {
						return fmt.Errorf("%d apps", len(list))
					}
					if n, err := s.Count(ctx, `SELECT count(*) FROM clients WHERE workspace_id <> $1`,
						mine.workspace.ID); err == nil && n > 0 {
						return fmt.Errorf("%d foreign apps", n)
					}
					if n, err := s.Count(ctx, `SELECT count(*) FROM api_keys WHERE id NOT IN ($1, $2)`, mine.key.ID,
						mine.personal.ID); err == nil && n > 0 {
						return fmt.Errorf("%d foreign keys", n)
					}
					switch how {
					case 0:
						cancel()
					case 1:
						panic("on purpose")
					case 2:
						_, _ = s.Count(ctx, `SELECT 1 / 0`) // which spoils the transaction
					case 3:
						return errGivenUp
					}
					return nil
				})
			}()
			cancel()
			if err != nil && !errors.Is(err, errGivenUp) && !errors.Is(err, storage.ErrUnavailable) {
				return err
			}
		}
		return nil
	})
	for _, err := range errs {
		t.Error(err)
	}
	for range 4 {
		var user, workspace string
		must(t, s.TenantPool().QueryRowContext(t.Context(), `SELECT COALESCE(current_setting('app.user_id', true), ''),
			COALESCE(current_setting('app.workspace_id', true), '')`).Scan(&user, &workspace))
		if user != "" || workspace != "" {
			t.Errorf("a connection went back with %q, %q", user, workspace)
		}
	}
}

func TestS03_LeaksAreFound(t *testing.T) {
	url := stores.PostgreSQL(t)
	s := stores.Open(t, url)
	neighbours(t, s)
	owner := connect(t, url)
	leaks := func() string {
		t.Helper()
		list, err := s.CheckIsolation(t.Context())
		must(t, err)
		return strings.Join(list, "\n")
	}
	before := dump(t, s)
	if got := leaks(); got != "" {
		t.Errorf("leaks of a sound database:\n%s", got)
	}
	for _, c := range []struct{ breaks, heals, want string }{
		{
			`ALTER TABLE grants DISABLE ROW LEVEL SECURITY`, `ALTER TABLE grants ENABLE ROW LEVEL SECURITY`,
			"the table grants has no row-level security",
		},
		{`ALTER POLICY tenant ON consents USING (true)`, `ALTER POLICY tenant ON consents
			USING (user_id = NULLIF(current_setting('app.user_id', true), ''))`, "rows of consents can be read"},
		{
			`ALTER POLICY tenant ON clients USING (workspace_id = NULLIF(current_setting('app.workspace_id', true), ''))
				WITH CHECK (true)`,
			`ALTER POLICY tenant ON clients WITH CHECK (workspace_id = NULLIF(current_setting('app.workspace_id', true),
				''))`, "write an app into another workspace",
		},
		{
			`ALTER TABLE api_keys DISABLE ROW LEVEL SECURITY`, `ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY`,
			"write an API key into another workspace",
		},
		{
			`ALTER TABLE api_keys DISABLE ROW LEVEL SECURITY`, `ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY`,
			"as a stranger, 4 rows of api_keys can be read",
		},
		{
			`ALTER TABLE audit_events DISABLE ROW LEVEL SECURITY`, `ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY`,
			"the table audit_events has no row-level security",
		},
		{
			`DROP POLICY tenant_keys ON api_keys; CREATE POLICY tenant_keys ON api_keys TO doorward_tenant
				USING (workspace_id = workspace_id)`,
			`DROP POLICY tenant_keys ON api_keys; CREATE POLICY tenant_keys ON api_keys TO doorward_tenant
				USING (kind = 'api_key' AND workspace_id = NULLIF(current_setting('app.workspace_id', true), ''))`,
			"write an API key into another workspace",
		},
	} {
		_, err := owner.Exec(t.Context(), c.breaks)
		must(t, err)
		if got := leaks(); !strings.Contains(got, c.want) {
			t.Errorf("after %s:\n%s", c.breaks, got)
		}
		_, err = owner.Exec(t.Context(), c.heals)
		must(t, err)
	}
	if got := leaks(); got != "" {
		t.Errorf("leaks of a healed database:\n%s", got)
	}
	if diff := cmp.Diff(before, dump(t, s)); diff != "" {
		t.Errorf("looking for leaks changed rows:\n%s", diff)
	}
	if list, err := stores.Open(t, "sqlite::memory:").CheckIsolation(t.Context()); err != nil || list != nil {
		t.Errorf("SQLite: %v, %v", list, err)
	}
}
