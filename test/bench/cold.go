package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"doorward/storage"
)

// coldRows are introspection and client_credentials with the cache off, so that each request is a statement.
func (b *bench) coldRows() []*row {
	var rows []*row
	for _, at := range []func(conns int) *row{b.introspectionCold, b.clientCredentials} {
		for _, conns := range []int{8, 16, 32, 64} {
			rows = append(rows, at(conns))
		}
	}
	return append(rows, b.clientCredentialsLite())
}

// The limit of introspection is the one statement that it runs, with tokens as they are stored.
func (b *bench) introspectionCold(conns int) *row {
	var s *site
	var p *process
	return &row{
		topic: "introspection, cold, PostgreSQL", variant: fmt.Sprintf("%d connections", conns),
		limit: "pgbench select", want: 0.27,
		about: "With `cache: off`, each request reads its token. pgbench runs the same statement with as many " +
			"clients as there are connections, and has no HTTP to speak. The more connections, the more statements " +
			"share a round trip to the database, while a client of pgbench always waits for its own.",
		setup: func(ctx context.Context) (err error) {
			if s, p, err = b.on(ctx, reads, cold); err != nil {
				return err
			}
			return s.number(ctx)
		},
		ours: func(ctx context.Context, _ int) (float64, error) {
			return b.wrk(ctx, load{
				url: p.url + "/oauth/introspect", conns: conns, bodies: s.tokenForms, authorization: s.asAPI(),
			})
		},
		against: func(ctx context.Context, _ int) (float64, error) {
			return b.pgbench(ctx, s, "select", conns, choose(s.users)+bind(storage.AccessTokenStatement, numberedID)+";\n")
		},
	}
}

func (s *site) insertAccess(grant string) string {
	return bind(storage.InsertAccessTokenStatement, fresh, grant, text(s.client.ID), text(benchIssuer), text("read write"),
		integer(now()), integer(now()+day))
}

func (b *bench) clientCredentials(conns int) *row {
	var s *site
	var l load
	return &row{
		topic: "client_credentials, PostgreSQL", variant: fmt.Sprintf("%d connections", conns),
		limit: "pgbench insert", want: 0.45,
		about: "Each request inserts a token and waits for the commit. pgbench inserts the same row with as many " +
			"clients as there are connections. The disk's flush limits both; requests that wait for it share the " +
			"next one.",
		setup: func(ctx context.Context) error {
			var p *process
			var err error
			if s, p, err = b.on(ctx, writes, cold); err != nil {
				return err
			}
			l, err = b.tokenRequests(s, p)
			l.conns = conns
			return err
		},
		ours: func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, l) },
		against: func(ctx context.Context, _ int) (float64, error) {
			return b.pgbench(ctx, s, "insert", conns, bind(storage.InsertOwnAccessTokenStatement, fresh, text(s.client.ID),
				text(benchIssuer), text("read write"), integer(now()), integer(now()+day))+";\n")
		},
	}
}

// tokenRequests is the load of client_credentials.
func (b *bench) tokenRequests(s *site, p *process) (load, error) {
	bodies := filepath.Join(b.dir, "client-credentials")
	err := os.WriteFile(bodies, []byte(strings.Repeat("grant_type=client_credentials&scope=read+write\n", 2*wrkThreads)),
		0o600)
	return load{url: p.url + "/oauth/token", bodies: bodies, authorization: s.asClient()}, err
}

func (b *bench) clientCredentialsLite() *row {
	var l load
	return &row{
		topic: "client_credentials, SQLite", limit: "single-row commits of the same engine", want: 0.60,
		about: "The baseline is one process that inserts the same row through the same driver with the same " +
			"settings, one commit after the other, and nothing else. Both wait for the disk at each commit; " +
			"concurrent requests of Doorward share one, with all that arrives while another commit is under way.",
		setup: func(ctx context.Context) error {
			s, p, err := b.on(ctx, liteWrites, warm)
			if err != nil {
				return err
			}
			l, err = b.tokenRequests(s, p)
			return err
		},
		ours: func(ctx context.Context, _ int) (float64, error) { return b.wrk(ctx, l) },
		against: func(ctx context.Context, round int) (float64, error) {
			return b.commits(ctx, filepath.Join(b.dir, fmt.Sprintf("commits-%d.db", round)))
		},
	}
}

// commits runs this command's mode of the same name.
func (b *bench) commits(ctx context.Context, path string) (float64, error) {
	out, err := b.command(ctx, "commits", path, b.length.String())
	if err != nil {
		return 0, err
	}
	var perSecond float64
	if _, err := fmt.Sscan(out, &perSecond); err != nil {
		return 0, fmt.Errorf("commits: %w", err)
	}
	return perSecond, nil
}

// commit inserts access tokens into a new SQLite database, each with its own commit on the one writing connection of a
// store, and prints how many a second.
func commit(args []string) error {
	if len(args) != 2 {
		return errArguments
	}
	length, err := time.ParseDuration(args[1])
	if err != nil {
		return fmt.Errorf("commits: %w", err)
	}
	ctx := context.Background()
	store, err := storage.Open(ctx, "sqlite:"+args[0], storage.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.Migrate(ctx); err != nil {
		return err
	}
	insert, err := store.Pools()["system"].PrepareContext(ctx, storage.InsertAccessTokenStatement.SQL())
	if err != nil {
		return fmt.Errorf("commits: %w", err)
	}
	defer insert.Close() //nolint:errcheck // the process ends
	client, began, n := storage.NewID("client"), time.Now(), 0
	for ; time.Since(began) < length; n++ {
		if _, err := insert.ExecContext(ctx, storage.Digest(storage.NewID("token")), nil, client, benchIssuer, "read write",
			now(), now()+day); err != nil {
			return fmt.Errorf("commits: %w", err)
		}
	}
	_, err = fmt.Fprintln(os.Stdout, float64(n)/time.Since(began).Seconds())
	return err
}
