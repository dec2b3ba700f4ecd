package storage_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"doorward/storage"
	"doorward/test/postgres"
	"doorward/test/stores"
)

// start opens, migrates and uses a database as a server would.
func start(ctx context.Context, url string, o storage.Options) error {
	o.MaxConns = 2
	s, err := storage.Open(ctx, url, o)
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.Migrate(ctx); err != nil {
		return err
	}
	if err := s.Ping(ctx); err != nil {
		return err
	}
	ctx = storage.System(ctx)
	if err := s.SetSetting(ctx, "a", "b"); err != nil {
		return err
	}
	return s.InTx(storage.Tenant(ctx, "user_x", "ws_x"), func(ctx context.Context) error {
		_, err := s.Count(ctx, `SELECT count(*) FROM grants`)
		return err
	})
}

// superuser runs SQL as the server's superuser, as an administrator of the database would.
func superuser(t *testing.T, server *postgres.Server, sql string) {
	t.Helper()
	if _, err := connect(t, server.URL()).Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// dropRoles takes both roles away again, with what they may do in the databases named.
func dropRoles(t *testing.T, server *postgres.Server, urls ...string) {
	t.Helper()
	for _, url := range urls {
		conn := connect(t, asSuperuser(t, server, url))
		for _, role := range []string{"doorward_tenant", "doorward_system"} {
			if _, err := conn.Exec(t.Context(), "DROP OWNED BY "+role); err != nil && !strings.Contains(err.Error(),
				"42704") {
				t.Fatal(err)
			}
		}
	}
	superuser(t, server, "DROP ROLE IF EXISTS doorward_tenant; DROP ROLE IF EXISTS doorward_system")
}

// asSuperuser is the superuser's URL for the database of another URL.
func asSuperuser(t *testing.T, server *postgres.Server, url string) string {
	t.Helper()
	database := connect(t, url).Config().Database
	return strings.Replace(server.URL(), "/postgres?", "/"+database+"?", 1)
}

func TestRolesAreMadeByALoginThatMay(t *testing.T) {
	stores.Alone(t)
	server := postgres.Private(t, postgres.Options{})
	cluster := server.Cluster()
	roles := func() int {
		t.Helper()
		var n int
		must(t, connect(t, server.URL()).QueryRow(t.Context(), `SELECT count(*) FROM pg_roles
			WHERE rolname IN ('doorward_tenant', 'doorward_system')
			AND NOT rolcanlogin AND NOT rolsuper AND NOT rolbypassrls AND NOT rolcreaterole
			AND NOT rolcreatedb`).Scan(&n))
		return n
	}

	maker := cluster.Login(t, postgres.Login{CreateRole: true, Database: true})
	wins, errs := atOnce(4, func(int) error {
		return start(t.Context(), maker, storage.Options{})
	}) // several nodes at once
	if wins != 4 || roles() != 2 {
		t.Fatalf("%d of 4 nodes started, %d roles: %v", wins, roles(), errs)
	}

	// The roles are the whole server's: another database finds them, but its login is not a member.
	plain := cluster.Login(t, postgres.Login{Database: true})
	err := start(t.Context(), plain, storage.Options{})
	superuser(t, server, printedSQL(t, err))
	must(t, start(t.Context(), plain, storage.Options{}))
	must(t, start(t.Context(), plain, storage.Options{})) // and once they are there

	// Neither the roles nor CREATEROLE: the printed SQL makes both.
	dropRoles(t, server, maker, plain)
	bare := cluster.Login(t, postgres.Login{Database: true})
	err = start(t.Context(), bare, storage.Options{})
	superuser(t, server, printedSQL(t, err))
	must(t, start(t.Context(), bare, storage.Options{}))
	if roles() != 2 {
		t.Errorf("%d roles as they should be, want 2", roles())
	}

	// One role of two, and a member of it.
	superuser(t, server, "REVOKE doorward_system FROM "+connect(t, bare).Config().User)
	err = start(t.Context(), bare, storage.Options{})
	if sql := printedSQL(t, err); strings.Contains(sql, "doorward_tenant") {
		t.Errorf("the SQL grants what is granted:\n%s", sql)
	}
	superuser(t, server, printedSQL(t, err))
	must(t, start(t.Context(), bare, storage.Options{}))

	// A superuser needs nothing.
	must(t, start(t.Context(), asSuperuser(t, server, bare), storage.Options{}))
}

// printedSQL is what an error tells an administrator to run, taken as it stands.
func printedSQL(t *testing.T, err error) string {
	t.Helper()
	if err == nil || errors.Is(err, storage.ErrUnavailable) {
		t.Fatalf("error %v, want one with SQL", err)
	}
	_, sql, ok := strings.Cut(err.Error(), "\n\n")
	if !ok || !strings.Contains(sql, "GRANT") {
		t.Fatalf("error %v, want one with SQL", err)
	}
	return sql
}

func TestRolesForAMigratingLoginOfItsOwn(t *testing.T) {
	stores.Alone(t)
	server := postgres.Private(t, postgres.Options{})
	cluster := server.Cluster()
	owner := cluster.Login(t, postgres.Login{CreateRole: true, Database: true})
	login := cluster.Login(t, postgres.Login{})
	database, user := connect(t, owner).Config().Database, connect(t, login).Config().User
	url := strings.Replace(login, "/postgres?", "/"+database+"?", 1)
	must(t, start(t.Context(), url, storage.Options{MigrateURL: owner}))
	// The login of the server owns nothing and may not even read; the roles are granted to it all the same.
	var owned int
	must(t, connect(t, url).QueryRow(t.Context(), `SELECT count(*) FROM pg_class WHERE relowner = (SELECT oid
		FROM pg_roles WHERE rolname = $1)`, user).Scan(&owned))
	if owned != 0 {
		t.Errorf("the server's login owns %d relations", owned)
	}
	// With the schema in place it starts alone.
	must(t, start(t.Context(), url, storage.Options{}))
	// Without it, the error says what to do.
	empty := connect(t, cluster.Login(t, postgres.Login{Database: true})).Config().Database
	err := start(t.Context(), strings.Replace(login, "/postgres?", "/"+empty+"?", 1), storage.Options{})
	if err == nil || !strings.Contains(err.Error(), "the login of database_url may not change it") ||
		!strings.Contains(err.Error(), "into database_migrate_url") {
		t.Errorf("error %v", err)
	}
}

func TestS03_StartIsRefusedWhenARoleCouldLookPastRowLevelSecurity(t *testing.T) {
	stores.Alone(t)
	server := postgres.Private(t, postgres.Options{})
	url := server.Cluster().Login(t, postgres.Login{CreateRole: true, Database: true})
	must(t, start(t.Context(), url, storage.Options{}))
	owner := connect(t, url).Config().User
	for name, c := range map[string]struct{ do, undo string }{
		"superuser":           {"ALTER ROLE doorward_tenant SUPERUSER", "ALTER ROLE doorward_tenant NOSUPERUSER"},
		"BYPASSRLS":           {"ALTER ROLE doorward_system BYPASSRLS", "ALTER ROLE doorward_system NOBYPASSRLS"},
		"owns a table":        {"ALTER TABLE grants OWNER TO doorward_tenant", "ALTER TABLE grants OWNER TO " + owner},
		"member of the owner": {"GRANT " + owner + " TO doorward_tenant", "REVOKE " + owner + " FROM doorward_tenant"},
	} {
		t.Run(name, func(t *testing.T) {
			admin := connect(t, asSuperuser(t, server, url))
			for _, member := range []string{"doorward_tenant", "doorward_system"} {
				if name == "member of the owner" { // a role cannot be a member of its member
					if _, err := admin.Exec(t.Context(), "REVOKE "+member+" FROM "+owner); err != nil {
						t.Fatal(err)
					}
				}
			}
			_, err := admin.Exec(t.Context(), c.do)
			must(t, err)
			target := url
			if name == "member of the owner" {
				target = asSuperuser(t, server, url)
			}
			if err := start(t.Context(), target, storage.Options{}); err == nil || errors.Is(err,
				storage.ErrUnavailable) || !strings.Contains(err.Error(), "doorward_") {
				t.Errorf("error %v, want one that names the role", err)
			}
			_, err = admin.Exec(t.Context(), c.undo)
			must(t, err)
		})
	}
}

func TestS03_RuntimeConnectionsOwnNothing(t *testing.T) {
	url := stores.PostgreSQL(t)
	s := stores.Open(t, url)
	newWorld(t, stopped(s))
	for role, pool := range map[string]*sql.DB{"doorward_system": s.SystemPool(), "doorward_tenant": s.TenantPool()} {
		var got string
		var super, bypass, createRole, createDB, login bool
		must(t, pool.QueryRowContext(t.Context(), `SELECT current_user, rolsuper, rolbypassrls, rolcreaterole,
			rolcreatedb, rolcanlogin
			FROM pg_roles WHERE rolname = current_user`).Scan(&got, &super, &bypass, &createRole, &createDB, &login))
		if got != role || super || bypass || createRole || createDB || login {
			t.Errorf("%s speaks as %s: superuser %v, BYPASSRLS %v, CREATEROLE %v, CREATEDB %v, LOGIN %v", role, got,
				super, bypass, createRole, createDB, login)
		}
		var owned, memberships int
		must(t, pool.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM pg_shdepend WHERE refobjid = r.oid
			AND deptype = 'o'), (SELECT count(*) FROM pg_auth_members WHERE member = r.oid) FROM pg_roles r
			WHERE r.rolname = current_user`).Scan(&owned, &memberships))
		if owned != 0 || memberships != 0 {
			t.Errorf("%s owns %d objects and is a member of %d roles", role, owned, memberships)
		}
	}
	owner := connect(t, url)
	var super, bypass bool
	must(t, owner.QueryRow(t.Context(), `SELECT rolsuper, rolbypassrls FROM pg_roles
		WHERE rolname = session_user`).Scan(&super, &bypass))
	if super || bypass {
		t.Error("the suite's own owner is a superuser, so that it proves nothing")
	}
}

// Every verb on every table, by role; what is not listed is refused.
func TestS03_RolesMayDoNoMoreThanIsGranted(t *testing.T) {
	url := stores.PostgreSQL(t)
	s := stores.Open(t, url)
	all := "SELECT INSERT UPDATE DELETE"
	granted := map[string]map[string]string{
		"doorward_system": {
			"settings": all, "users": all, "sessions": all, "workspaces": all, "memberships": all, "clients": all,
			"client_secrets": all,
			"client_origins": all, "consents": all, "grants": all, "codes": all, "access_tokens": all,
			"refresh_tokens": all, "decided_flows": all, "invitations": all,
			"limits": all, "goose_db_version": "SELECT", "api_keys": all, "key_uses": all, "usage_hourly": all,
			"recent_requests": "SELECT INSERT DELETE",
			"audit_events":    "SELECT INSERT DELETE", "idempotent_requests": all, "signing_keys": all,
			"sign_in_failures": all, "sign_in_links": all, "emails": all, "email_limits": all, "email_proofs": all, "reserved_slugs": all,
			"passkeys": all, "totp": all, "recovery_codes": all, "provider_accounts": all, "used_challenges": all,
			"used_assertions": all, "used_proofs": all, "pushed_requests": all, "registration_tokens": all,
		},
		"doorward_tenant": {
			"sessions": "SELECT DELETE", "grants": "SELECT UPDATE", "consents": "SELECT DELETE", "clients": all,
			"client_secrets": all, "client_origins": all,
			"api_keys": "SELECT INSERT UPDATE", "key_uses": "SELECT", "usage_hourly": "SELECT", "recent_requests": "SELECT",
			"audit_events":        "SELECT INSERT",
			"idempotent_requests": "SELECT INSERT",
		},
	}
	conn := connect(t, url)
	for role, want := range granted {
		got := map[string]string{}
		for _, table := range tables(t, s) {
			var verbs []string
			for _, verb := range []string{"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"} {
				var may bool
				must(t, conn.QueryRow(t.Context(), `SELECT has_table_privilege($1, $2, $3)`, role, table,
					verb).Scan(&may))
				if may {
					verbs = append(verbs, verb)
				}
			}
			if len(verbs) > 0 {
				got[table] = strings.Join(verbs, " ")
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s may (-want +got):\n%s", role, diff)
		}
		var create, createDB bool
		must(t, conn.QueryRow(t.Context(), `SELECT has_schema_privilege($1, 'public', 'CREATE'),
			has_database_privilege($1, current_database(), 'CREATE')`, role).Scan(&create, &createDB))
		if create || createDB {
			t.Errorf("%s may create in the schema %v, in the database %v", role, create, createDB)
		}
	}
}

func TestS03_TenantCannotReadUsersCodesOrTokens(t *testing.T) {
	s := stores.Open(t, stores.PostgreSQL(t))
	w := newWorld(t, stopped(s))
	tenant := storage.Tenant(t.Context(), w.user.ID, w.workspace.ID)
	for name, call := range map[string]func(ctx context.Context) error{
		"user":         func(ctx context.Context) error { _, err := s.UserByID(ctx, w.user.ID); return err },
		"code":         func(ctx context.Context) error { _, err := s.CodeByDigest(ctx, w.code); return err },
		"access token": func(ctx context.Context) error { _, err := s.AccessTokenByDigest(ctx, w.access); return err },
		"refresh token": func(ctx context.Context) error {
			_, err := s.RefreshTokenByDigest(ctx, w.refresh)
			return err
		},
		"setting": func(ctx context.Context) error { _, err := s.Setting(ctx, "word"); return err },
		"new user": func(ctx context.Context) error {
			return s.InsertUser(ctx, &storage.User{ID: "u", Email: "u@example.com"})
		},
		"key by digest": func(ctx context.Context) error { _, err := s.KeyByDigest(ctx, w.key.Digest); return err },
		"usage":         func(ctx context.Context) error { return writes["FlushUsage"](ctx, s, w) },
		"history":       func(ctx context.Context) error { return writes["PurgeHistory"](ctx, s, w) },
		"new token": func(ctx context.Context) error {
			return s.InsertAccessToken(ctx, storage.AccessToken{Digest: []byte("x"), ClientID: "x"})
		},
	} {
		err := s.InTx(tenant, func(ctx context.Context) error { return call(ctx) })
		if !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: error %v, want that it may not", name, err)
		}
	}
	// What the dashboard does, it may.
	for name, call := range map[string]func(ctx context.Context) error{
		"ConsentsOf": func(ctx context.Context) error { _, err := s.ConsentsOf(ctx, w.user.ID); return err },
		"SessionsOf": func(ctx context.Context) error {
			_, err := s.SessionsOf(ctx, w.user.ID, 1e9)
			return err
		},
		"ClientByID": func(ctx context.Context) error { _, err := s.ClientByID(ctx, w.client.ID); return err },
		"ClientsOfWorkspace": func(ctx context.Context) error {
			_, err := s.ClientsOfWorkspace(ctx, w.workspace.ID)
			return err
		},
		"InsertClient":     func(ctx context.Context) error { return writes["InsertClient"](ctx, s, w) },
		"UpdateClient":     func(ctx context.Context) error { return writes["UpdateClient"](ctx, s, w) },
		"RotateSecret":     func(ctx context.Context) error { return writes["RotateSecret"](ctx, s, w) },
		"RevokeAccess":     func(ctx context.Context) error { return writes["RevokeAccess"](ctx, s, w) },
		"EndSession":       func(ctx context.Context) error { return writes["EndSession"](ctx, s, w) },
		"EndOtherSessions": func(ctx context.Context) error { return writes["EndOtherSessions"](ctx, s, w) },
		"InsertKey":        func(ctx context.Context) error { return writes["InsertKey"](ctx, s, w) },
		"UpdateKey":        func(ctx context.Context) error { return writes["UpdateKey"](ctx, s, w) },
		"LockKey":          func(ctx context.Context) error { return writes["LockKey"](ctx, s, w) },
		"PauseKey":         func(ctx context.Context) error { return writes["PauseKey"](ctx, s, w) },
		"RevokeKey":        func(ctx context.Context) error { return writes["RevokeKey"](ctx, s, w) },
		"RotateKey":        func(ctx context.Context) error { return writes["RotateKey"](ctx, s, w) },
		"KeepAnswer":       func(ctx context.Context) error { return writes["KeepAnswer"](ctx, s, w) },
		"KeptAnswer": func(ctx context.Context) error {
			_, err := s.KeptAnswer(ctx, w.answer.Digest)
			return err
		},
		"Audit": func(ctx context.Context) error {
			return s.Audit(ctx, storage.AuditEvent{Action: "new", WorkspaceID: w.workspace.ID}, "")
		},
	} {
		err := s.InTx(tenant, func(ctx context.Context) error {
			if err := call(ctx); err != nil {
				return err
			}
			return errGivenUp // each begins with the same world
		})
		if !errors.Is(err, errGivenUp) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Both engines have the same tables and columns, so that one SQL text can serve them. Only the used proofs are in
// memory on SQLite.
func TestSchemasOfBothEnginesAreAlike(t *testing.T) {
	columns := func(s *storage.Store, query string) []string {
		t.Helper()
		rows, err := s.SystemPool().QueryContext(t.Context(), query)
		must(t, err)
		defer rows.Close() //nolint:errcheck // rows.Err is asked
		var list []string
		for rows.Next() {
			var table, column, kind string
			var notNull bool
			must(t, rows.Scan(&table, &column, &kind, &notNull))
			if table != "goose_db_version" {
				list = append(list, fmt.Sprintf("%s.%s %s %v", table, column, strings.Replace(kind, "blob", "bytea", 1),
					notNull))
			}
		}
		must(t, rows.Err())
		slices.Sort(list)
		return list
	}
	sqlite := columns(stores.Open(t, "sqlite::memory:"), `SELECT m.name, c.name, lower(c.type), c."notnull" OR c.pk > 0
		FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'`)
	postgresql := columns(stores.Open(t, stores.PostgreSQL(t)), `SELECT c.relname, a.attname, format_type(a.atttypid,
		a.atttypmod), a.attnotnull
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relkind = 'r'
		AND c.relnamespace = 'public'::regnamespace AND c.relname <> 'used_proofs' AND a.attnum > 0 AND NOT a.attisdropped`)
	if diff := cmp.Diff(sqlite, postgresql); diff != "" || len(sqlite) < 50 {
		t.Errorf("%d columns (-sqlite +postgresql):\n%s", len(sqlite), diff)
	}
}
