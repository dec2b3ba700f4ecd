package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/storage"
)

// How many credentials of a large table rows use. They lie evenly among the others.
const (
	tokenSample = 20_000
	keySample   = 100_000
)

func tokenForm(text string) string { return url.Values{"token": {text}}.Encode() }

// keyForm checks a key and charges its plan.
func keyForm(text string) string { return url.Values{"token": {text}, "cost": {"1"}}.Encode() }

// credentials writes n new credentials to a file, as forms, and passes their digests on.
func credentials(path, prefix string, n int, form func(text string) string, each func(digest []byte) error) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	w := bufio.NewWriter(f)
	for range n {
		text := bearer.NewCredential(prefix)
		_, err = w.WriteString(form(text) + "\n")
		if err = errors.Join(err, each(storage.Digest(text))); err != nil {
			break
		}
	}
	return errors.Join(err, w.Flush(), f.Close())
}

// fill creates users, each with a workspace and a grant, and gives these the tokens and keys of the site's size.
//
// The database makes the rows. Digests are random, so each table is filled in their order: their index would otherwise
// be written many times over. Ids follow that order, as they follow the time in use.
func (s *site) fill(ctx context.Context) error {
	if s.users > 1000 {
		if err := s.room(); err != nil {
			return err
		}
		say("filling a database with %d users, %d tokens and %d keys", s.users, s.tokens, s.keys)
	}
	args := []any{now(), now() + 30*day, s.client.ID, benchIssuer}
	steps := []struct{ table, columns, values string }{
		{
			"users", `id, email, email_key, name, name_key, password_hash, password_changed_at, created_at`,
			id("user", "i") + `, 'u' || i || '@example.com', 'u' || i || '@example.com', 'User', 'user', $5::text,
				$1::bigint, $1::bigint`,
		},
		{
			"workspaces", `id, slug, name, name_key, personal_user_id, created_at`,
			id("ws", "i") + `, 'u' || i, 'User', 'user', ` + id("user", "i") + `, $1::bigint`,
		},
		{
			"memberships", `workspace_id, user_id, role, created_at`,
			id("ws", "i") + `, ` + id("user", "i") + `, 'owner', $1::bigint`,
		},
		{
			"grants", `id, client_id, user_id, workspace_id, resource, scopes, auth_time, created_at, expires_at`,
			id("grant", "i") + `, $3::text, ` + id("user", "i") + `, ` + id("ws", "i") +
				`, $4::text, 'read write', $1::bigint, $1::bigint, $2::bigint`,
		},
	}
	for _, step := range steps {
		if err := s.insert(ctx, step.table, step.columns, `SELECT `+step.values+
			fmt.Sprintf(` FROM generate_series(1, %d) i, (SELECT $1::bigint, $2::bigint, $3::text, $4::text, $5::text) p`, s.users),
			append(args, s.user.PasswordHash)...); err != nil { // all have the same password
			return err
		}
	}
	owner := fmt.Sprintf("1 + i * 611953 %% %d", s.users) // a prime: known credentials belong to owners all over
	if err := s.digests(ctx, s.tokenForms, bearer.PrefixAccessToken, s.tokens, tokenSample, tokenForm); err != nil {
		return err
	}
	if err := s.insert(ctx, "access_tokens", `digest, grant_id, client_id, resource, scopes, created_at, expires_at`,
		`SELECT digest, `+id("grant", owner)+`, $3::text, $4::text, 'read write', $1::bigint, $2::bigint FROM digests
		ORDER BY digest`, args...); err != nil {
		return err
	}
	if err := s.digests(ctx, s.keyForms, apikey.Prefix("sk", apikey.Live), s.keys, keySample, keyForm); err != nil {
		return err
	}
	if err := s.insert(ctx, "api_keys", keyColumns, `SELECT `+keyValues("digest", id("ws", owner))+`
		FROM (SELECT digest, i, row_number() OVER (ORDER BY digest) AS n FROM digests) d,
		(SELECT $2::bigint, $3::text) p ORDER BY digest`, args...); err != nil {
		return err
	}
	_, err := s.superuser.Exec(ctx, `DROP TABLE known, digests`)
	return err
}

// room returns an error if the disk has less room than the database will take: a full disk stops every program.
func (s *site) room() error {
	// Bytes with indexes and temporary tables, and the log.
	const token, key, user, rest = 400, 800, 1700, 2 << 30
	needed := uint64(s.tokens)*token + uint64(s.keys)*key + uint64(s.users)*user + rest //nolint:gosec // not negative
	var fs syscall.Statfs_t
	if err := syscall.Statfs(os.TempDir(), &fs); err != nil {
		return fmt.Errorf("room: %w", err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < needed { //nolint:gosec // a size
		return fmt.Errorf("%s has %d GB of room, and the database takes up to %d: make room, or pass -tokens, -keys and "+
			"-users", os.TempDir(), free>>30, needed>>30)
	}
	return nil
}

// id is an SQL expression with an id of the usual length, from a number.
func id(kind, number string) string {
	return `'` + kind + `_00000000-0000-7000-8000-' || lpad((` + number + `)::text, 12, '0')`
}

const keyColumns = `id, counter, digest, tail, kind, workspace_id, resource, environment, prefix, name, name_key, note,
	scopes, scopes_by_object, role, plan, rate_limit, addresses, created_by, created_at`

// keyValues are the values of keyColumns; n is the number of the key.
func keyValues(digest, workspace string) string {
	return id("key", "n") + `, ` + id("key", "n") + `, ` + digest + `, 'tail', 'api_key', ` + workspace +
		`, $4::text, 'live', 'sk_live_', 'Load', 'load', '', 'read write', FALSE, '', '', 0, '', '', $1::bigint`
}

// digests fills the temporary table digests with n of them. All, or of a large table sample, belong to credentials in a
// file.
func (s *site) digests(
	ctx context.Context, path, prefix string, n, sample int, form func(string) string,
) error {
	if _, err := s.superuser.Exec(ctx, `DROP TABLE IF EXISTS known, digests;
		CREATE TEMP TABLE known (i bigint, digest bytea);
		CREATE TEMP TABLE digests (i bigint, digest bytea)`); err != nil {
		return fmt.Errorf("digests: %w", err)
	}
	kept := n
	if n > cached {
		kept = min(n, sample)
	}
	var rows [][]any
	if err := credentials(path, prefix, kept, form, func(digest []byte) error {
		rows = append(rows, []any{int64(len(rows) + 1), digest})
		return nil
	}); err != nil {
		return err
	}
	if _, err := s.superuser.CopyFrom(ctx, pgx.Identifier{"known"}, []string{"i", "digest"},
		pgx.CopyFromRows(rows)); err != nil {
		return fmt.Errorf("digests: %w", err)
	}
	_, err := s.superuser.Exec(ctx, `INSERT INTO digests SELECT * FROM known
		UNION ALL SELECT i, sha256(i::text::bytea) FROM generate_series(1 + $1::bigint, $2::bigint) i`, kept, n)
	if err != nil {
		return fmt.Errorf("digests: %w", err)
	}
	return nil
}

// insert fills a table with the result of a query. It makes the indexes afterwards, which is much faster, and leaves
// nothing for autovacuum to do during a measurement.
func (s *site) insert(ctx context.Context, table, columns, query string, args ...any) error {
	fail := func(err error) error { return fmt.Errorf("fill %s: %w", table, err) }
	rows, err := s.superuser.Query(ctx, `SELECT x.indexname, x.indexdef FROM pg_indexes x WHERE x.tablename = $1
		AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conname = x.indexname)`, table)
	if err != nil {
		return fail(err)
	}
	indexes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Name, Definition string }])
	if err != nil {
		return fail(err)
	}
	// What refers to a row is right; only checking it a million times is slow.
	steps := []string{`SET session_replication_role = replica; SET work_mem = '256MB'; SET maintenance_work_mem = '512MB';
		SET synchronous_commit = off`}
	for _, x := range indexes {
		steps = append(steps, `DROP INDEX `+x.Name)
	}
	for _, step := range steps {
		if _, err := s.superuser.Exec(ctx, step); err != nil {
			return fail(err)
		}
	}
	if _, err := s.superuser.Exec(ctx, `INSERT INTO `+table+` (`+columns+`) `+query, args...); err != nil {
		return fail(err)
	}
	steps = nil
	for _, x := range indexes {
		steps = append(steps, x.Definition)
	}
	for _, step := range append(steps, `RESET ALL`, `VACUUM ANALYZE `+table, `CHECKPOINT`) {
		if _, err := s.superuser.Exec(ctx, step); err != nil {
			return fail(err)
		}
	}
	return nil
}

// number adds the credentials for pgbench, once: as many tokens and keys as users, with digests that are numbers.
func (s *site) number(ctx context.Context) error {
	if s.numbered {
		return nil
	}
	s.numbered = true
	at, of := now(), fmt.Sprintf("FROM generate_series(1, %d) i", s.users)
	digest := strings.ReplaceAll(numberedID, ":id", "i")
	if _, err := s.superuser.Exec(ctx, `INSERT INTO access_tokens (digest, grant_id, client_id, resource, scopes,
		created_at, expires_at) SELECT `+digest+`, `+id("grant", "i")+`, $1, $2, 'read write', $3::bigint, $4::bigint `+of,
		s.client.ID, benchIssuer, at, at+30*day); err != nil {
		return fmt.Errorf("numbered tokens: %w", err)
	}
	if _, err := s.superuser.Exec(ctx, `INSERT INTO api_keys (`+keyColumns+`) SELECT `+keyValues(digest, id("ws", "i"))+`
		FROM (SELECT i, $2::bigint + i AS n, $3::text `+of+`) d`, at, s.keys, s.client.ID, benchIssuer); err != nil {
		return fmt.Errorf("numbered keys: %w", err)
	}
	_, err := s.superuser.Exec(ctx, `VACUUM ANALYZE access_tokens, api_keys`)
	return err
}

// single inserts n new single-use credentials with the site's grant, and writes them to a file.
func (s *site) single(ctx context.Context, table string, columns []string, prefix, path string, n int,
	form func(text string) string, rest ...any,
) error {
	var rows [][]any
	if err := credentials(path, prefix, n, form, func(digest []byte) error {
		rows = append(rows, append([]any{digest}, rest...))
		return nil
	}); err != nil {
		return err
	}
	if _, err := s.superuser.CopyFrom(ctx, pgx.Identifier{table}, append([]string{"digest"}, columns...),
		pgx.CopyFromRows(rows)); err != nil {
		return fmt.Errorf("fill %s: %w", table, err)
	}
	_, err := s.superuser.Exec(ctx, "VACUUM ANALYZE "+table) // so that autovacuum does not run during a measurement
	return err
}

// fillSQLite gives the user of a site as many grants, tokens and keys as the site's size says, and adds other users.
func (s *site) fillSQLite(ctx context.Context) error {
	store, err := storage.Open(ctx, s.database, storage.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	tx, err := store.Pools()["system"].BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing left to do
	if err := credentials(s.tokenForms, bearer.PrefixAccessToken, s.tokens, tokenForm, func(digest []byte) error {
		return s.insertToken(ctx, tx, digest)
	}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	var lines strings.Builder
	err = store.InTx(storage.System(ctx), func(ctx context.Context) error {
		for i := range s.users {
			if err := store.InsertUser(ctx, &storage.User{
				ID: storage.NewID("user"), Email: fmt.Sprintf("u%d@example.com", i+1), Name: "User",
				PasswordHash: s.user.PasswordHash, // all have the same password
			}); err != nil {
				return err
			}
		}
		keys := apikey.New(apikey.Config{Store: store, Catalog: nil}) // it only creates keys
		for range s.keys {
			text, err := keys.Issue(ctx, &storage.APIKey{
				Kind:        storage.KindAPIKey,
				WorkspaceID: s.workspace.ID,
				Resource:    benchIssuer,
				Environment: apikey.Live,
				Prefix:      apikey.Prefix("sk", apikey.Live),
				Name:        "Load", Scopes: storage.List{"read", "write"},
			})
			if err != nil {
				return err
			}
			lines.WriteString(keyForm(text) + "\n")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return os.WriteFile(s.keyForms, []byte(lines.String()), 0o600)
}

// insertToken adds a token with a grant of its own.
func (s *site) insertToken(ctx context.Context, tx *sql.Tx, digest []byte) error {
	grant := storage.NewID("grant")
	if _, err := tx.ExecContext(ctx, `INSERT INTO grants (id, client_id, user_id, workspace_id, resource, scopes,
		auth_time, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, 'read write', $6, $6, $7)`,
		grant, s.client.ID, s.user.ID, s.workspace.ID, benchIssuer, now(), now()+30*day); err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	if _, err := tx.ExecContext(ctx, storage.InsertAccessTokenStatement.SQL(), digest, grant, s.client.ID, benchIssuer,
		"read write", now(), now()+day); err != nil {
		return fmt.Errorf("token: %w", err)
	}
	return nil
}
