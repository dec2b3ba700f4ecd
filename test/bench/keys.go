package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"doorward/oauth/apikey"
	"doorward/oauth/bearer"
	"doorward/storage"
	"doorward/test/postgres"
)

// keyRows measures API keys: creating one, and checking one together with its rate limit, with few and with many keys,
// on both engines.
func (b *bench) keyRows(ctx context.Context, cluster *postgres.Cluster,
	small *site,
) (rows []*row, closeAll func(), err error) {
	var closers []func()
	closeAll = func() {
		for _, f := range closers {
			f()
		}
	}
	if b.only != "" && !strings.Contains("key check creating keys", b.only) && !strings.Contains(b.only, "key") {
		return nil, closeAll, nil
	}
	thousand := filepath.Join(b.dir, "thousand-keys")
	if err := small.keys(ctx, 1000, thousand); err != nil {
		return nil, closeAll, err
	}
	check := func(s *site, bodies string) func(context.Context, int) (float64, error) {
		return func(ctx context.Context, _ int) (float64, error) {
			return b.wrk(ctx, s.process.url+"/oauth/introspect", bodies, basic(s.api.ID, s.apiSecret))
		}
	}
	// With the default limits, which have rows of their own.
	unlimited, err := b.serverWith(ctx, small.database, "# nothing\n")
	closers = append(closers, unlimited.stop)
	if err != nil {
		return nil, closeAll, err
	}
	rows = append(rows, b.keyCheck(small, check(small, thousand)), b.makingKeys(small, unlimited))

	lite, liteKeys, err := b.sqlite(ctx)
	closers = append(closers, lite.close)
	if err != nil {
		return nil, closeAll, err
	}
	bare, err := b.bare(ctx, 600) // bytes, the size of such an answer
	if err != nil {
		return nil, closeAll, err
	}
	closers = append(closers, bare.stop)
	rows = append(rows, &row{
		name: "key check with limit, SQLite", limit: "bare handler", want: 0.20,
		ours: check(lite, liteKeys),
		against: func(ctx context.Context, _ int) (float64, error) {
			return b.wrk(ctx, bare.url, liteKeys, basic(lite.api.ID, lite.apiSecret))
		},
	})
	if b.only == "" || strings.Contains(b.only, "keys") {
		say("filling a database with %d keys", b.many)
		large, err := b.open(ctx, cluster)
		closers = append(closers, large.close)
		if err != nil {
			return nil, closeAll, err
		}
		million := filepath.Join(b.dir, "million-keys")
		if err := large.keys(ctx, b.many, million); err != nil {
			return nil, closeAll, err
		}
		rows = append(rows, &row{
			name: fmt.Sprintf("key check, %d keys", b.many), limit: "with 1000", want: 0.90,
			ours: check(large, million), against: check(small, thousand),
		})
	}
	return rows, closeAll, nil
}

func keyBody(text string) string { return url.Values{"token": {text}, "cost": {"1"}}.Encode() }

// keys inserts n API keys.
func (s *site) keys(ctx context.Context, n int, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	w := bufio.NewWriter(f)
	prefix := apikey.Prefix("sk", apikey.Live)
	_, err = s.owner.CopyFrom(ctx, pgx.Identifier{"api_keys"}, []string{
		"id", "digest", "counter", "tail", "kind", "workspace_id", "resource", "environment", "prefix", "name", "name_key",
		"note", "scopes", "scopes_by_object", "role",
		"plan", "rate_limit", "addresses", "created_by", "created_at",
	}, pgx.CopyFromSlice(n, func(i int) ([]any, error) {
		text, id := bearer.NewCredential(prefix), storage.NewID("key")
		if i%max(1, n/sample) == 0 {
			if _, err := w.WriteString(keyBody(text) + "\n"); err != nil {
				return nil, fmt.Errorf("fill: %w", err)
			}
		}
		return []any{
			id, storage.Digest(text), id, text[len(text)-4:], storage.KindAPIKey, s.workspace.ID, benchIssuer, apikey.Live,
			prefix, "Load", "load", "", "read write", false, "",
			"", 0, "", "", now(),
		}, nil
	}))
	if err = errors.Join(err, w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("fill api_keys: %w", err)
	}
	_, err = s.owner.Exec(ctx, "VACUUM ANALYZE api_keys") // so that autovacuum does not run during a measurement
	return err
}

// The limit of a key check is its two statements: the one that reads the key, and the one that charges its plan.
func (b *bench) keyCheck(s *site, ours func(context.Context, int) (float64, error)) *row {
	prepared := false
	return &row{
		name: "key check with limit", limit: "pgbench, its two statements", want: 0.30,
		prepare: func(ctx context.Context, _ int) error {
			if prepared {
				return nil
			}
			prepared = true
			_, err := s.owner.Exec(ctx,
				`INSERT INTO api_keys (id, digest, counter, tail, kind, workspace_id, resource, environment, prefix,
					name, name_key, note, scopes,
				scopes_by_object, role, plan, rate_limit, addresses, created_by, created_at)
				SELECT 'key_' || i, decode(lpad(to_hex(i), 64, '0'), 'hex'), 'key_' || i, 'tail', 'api_key', $1, $2, 'live', 'sk_live_',
					'Load', 'load', '', 'read write',
				FALSE, '', '', 0, '', '', $3::bigint FROM generate_series(1, 1000) i`, s.workspace.ID, benchIssuer, now())
			return err
		},
		ours: ours,
		against: func(ctx context.Context, _ int) (float64, error) {
			at, room := now(), strconv.Itoa(1_000_000_000)
			n := func(i int64) string { return strconv.FormatInt(i, 10) }
			return b.pgbench(ctx, s.database, "key-check", `\set id random(1, 1000)
`+bind(storage.KeyStatement, numberedID)+`;
`+bind(storage.TakeLimitStatement, "'bench:' || :id", n(at), "1", n(at-day/24), room, n(at-day), room,
				"60", n(at+day), n(at+day))+`;
`)
		},
	}
}

// Creating a key is one transaction: read the creator, insert the key and the audit event. Keys are created in several
// workspaces, because a workspace holds at most 10,000 active ones and a fast machine creates more than that within one
// measurement.
func (b *bench) makingKeys(s *site, server *process) *row {
	bodies := filepath.Join(b.dir, "making-keys")
	clean := func(ctx context.Context) error {
		_, err := s.owner.Exec(ctx, `DELETE FROM api_keys WHERE name = 'Made'`)
		return err
	}
	return &row{
		name: "creating keys", limit: "pgbench, its statements", want: 0.40,
		prepare: func(ctx context.Context, _ int) error {
			if err := clean(ctx); err != nil {
				return err
			}
			return os.WriteFile(bodies,
				[]byte(strings.Repeat(`{"name":"Made","scopes":["read","write"]}`+"\n", wrkThreads*len(s.makers))), 0o600)
		},
		ours: func(ctx context.Context, _ int) (float64, error) {
			rate, err := b.wrk(ctx, server.url+"/v1/api-keys", bodies, "Bearer "+strings.Join(s.makers, ",Bearer "))
			return rate, errors.Join(err, clean(ctx))
		},
		against: func(ctx context.Context, _ int) (float64, error) {
			at := strconv.FormatInt(now(), 10)
			id := "'key_' || gen_random_uuid()"
			// The same role, so that the same policies are checked.
			rate, err := b.pgbench(ctx, s.database, "making-keys", `BEGIN;
select set_config('app.user_id', '', true), set_config('app.workspace_id', `+text(s.workspace.ID)+`, true);
`+bind(storage.InsertKeyStatement, id, fresh, "'api_key'", text(s.workspace.ID), "NULL", text(benchIssuer), "'live'",
				"'sk_live_'", "'tail'", "'Made'", "'made'", "''",
				"'read write'", "FALSE", "''", "''", "0", "''", id, "''", at, "NULL")+`;
`+bind(storage.InsertAuditEventStatement, "'event_' || gen_random_uuid()", at, "'api_key.created'",
				text(s.workspace.ID), "''", "''", "'api_key'", "''", "'127.0.0.1'", "''", id, "'{}'")+`;
COMMIT;
`, "PGOPTIONS=-c role=doorward_tenant")
			return rate, errors.Join(err, clean(ctx))
		},
	}
}

// sqlite starts a site on SQLite with a thousand keys.
func (b *bench) sqlite(ctx context.Context) (*site, string, error) {
	s := &site{database: "sqlite:" + filepath.Join(b.dir, "lite", "doorward.db")}
	if err := s.register(ctx); err != nil {
		return s, "", err
	}
	store, err := storage.Open(ctx, s.database, storage.Options{})
	if err != nil {
		return s, "", err
	}
	defer store.Close()
	path := filepath.Join(b.dir, "lite-keys")
	var lines strings.Builder
	err = store.InTx(storage.System(ctx), func(ctx context.Context) error {
		keys := apikey.New(apikey.Config{Store: store, Catalog: nil}) // it only creates keys
		for range 1000 {
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
			lines.WriteString(keyBody(text) + "\n")
		}
		return nil
	})
	if err != nil {
		return s, "", err
	}
	if err := os.WriteFile(path, []byte(lines.String()), 0o600); err != nil {
		return s, "", fmt.Errorf("keys: %w", err)
	}
	s.process, err = b.server(ctx, s.database)
	return s, path, err
}
