package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"doorward/oauth/bearer"
	"doorward/storage"
)

const (
	redirectURI = "https://app.example/cb"
	verifier    = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B
	challenge   = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	// oncePerSecond is how many single-use codes or tokens a measurement may need.
	oncePerSecond = 8000
	// chosen is how many rows pgbench chooses from; there are enough that most are chosen for the first time.
	chosen = 100_000
)

// grantRows are the transactions that create credentials.
func (b *bench) grantRows() []*row {
	return []*row{b.exchange(), b.refresh(), b.creatingKeys()}
}

const aboutGrants = "The baseline is pgbench with the same statements in the same transaction, with as many " +
	"clients as one of the server's pools has connections. The disk's flush at each commit limits both."

func (b *bench) exchange() *row {
	return b.singleUse("code exchange", "codes", bearer.PrefixCode,
		[]string{"grant_id", "redirect_uri", "challenge", "created_at", "expires_at"},
		func(s *site) []any { return []any{s.grantID, redirectURI, challenge, now(), now() + day} },
		func(code string) string {
			return url.Values{
				"grant_type":    {"authorization_code"},
				"code":          {code},
				"code_verifier": {verifier},
				"redirect_uri":  {redirectURI},
			}.Encode()
		},
		func(s *site) string {
			return bind(storage.CodeStatement, numberedID) + ";\nBEGIN;\n" +
				bind(storage.ConsumeCodeStatement, numberedID, integer(now())) + ";\n"
		})
}

func (b *bench) refresh() *row {
	return b.singleUse("refresh", "refresh_tokens", bearer.PrefixRefreshToken,
		[]string{"grant_id", "created_at", "expires_at"},
		func(s *site) []any { return []any{s.grantID, now(), now() + day} },
		func(token string) string {
			return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}.Encode()
		},
		func(*site) string {
			at := integer(now())
			return bind(storage.RefreshTokenStatement, numberedID) + ";\nBEGIN;\n" +
				bind(storage.UseRefreshTokenStatement, numberedID, at, at, strconv.Itoa(storage.MaxRefreshRepeats)) + ";\n"
		})
}

// singleUse is a row whose requests each use up a row of a table and insert an access and a refresh token. values are
// those of columns, the digest apart; use are the statements that find the row and use it up.
func (b *bench) singleUse(topic, table, prefix string, columns []string, values func(*site) []any,
	form func(credential string) string, use func(*site) string,
) *row {
	var s *site
	var p *process
	once := filepath.Join(b.dir, "once-"+table)
	return &row{
		topic: topic, limit: "pgbench, its statements", want: 0.50, about: aboutGrants,
		setup: func(ctx context.Context) (err error) {
			s, p, err = b.on(ctx, writes, standard)
			return err
		},
		prepare: func(ctx context.Context, _ int) error {
			if err := s.renew(ctx, table, columns, values(s)); err != nil {
				return err
			}
			return s.single(ctx, table, columns, prefix, once, oncePerSecond*b.seconds(), form, values(s)...)
		},
		ours: func(ctx context.Context, _ int) (float64, error) {
			return b.wrk(ctx, load{url: p.url + "/oauth/token", bodies: once, authorization: s.asClient()})
		},
		against: func(ctx context.Context, _ int) (float64, error) {
			refresh := bind(storage.InsertRefreshTokenStatement, fresh, text(s.grantID), integer(now()), integer(now()+day))
			return b.pgbench(ctx, s, table, poolConns, choose(chosen)+use(s)+s.insertAccess(text(s.grantID))+";\n"+refresh+
				";\nCOMMIT;\n")
		},
	}
}

// renew replaces the rows of a table by those that pgbench uses up.
func (s *site) renew(ctx context.Context, table string, columns []string, values []any) error {
	var list strings.Builder
	for i := range values {
		fmt.Fprintf(&list, ", $%d", i+1)
	}
	if _, err := s.superuser.Exec(ctx, `TRUNCATE `+table); err != nil {
		return fmt.Errorf("renew %s: %w", table, err)
	}
	_, err := s.superuser.Exec(ctx, fmt.Sprintf(`INSERT INTO %s (digest, %s) SELECT %s%s FROM generate_series(1, %d) i`,
		table, strings.Join(columns, ", "), strings.ReplaceAll(numberedID, ":id", "i"), list.String(), chosen), values...)
	if err != nil {
		return fmt.Errorf("renew %s: %w", table, err)
	}
	return nil
}

// Creating a key is one transaction: read the creator, insert the key and the audit event. Keys are created in several
// workspaces, because a workspace holds at most 10,000 active ones and a fast machine creates more than that within one
// measurement.
func (b *bench) creatingKeys() *row {
	var s *site
	var p *process
	var bodies string
	clean := func(ctx context.Context) error {
		_, err := s.superuser.Exec(ctx, `DELETE FROM api_keys WHERE name = 'Made'`)
		return err
	}
	return &row{
		topic: "creating keys", limit: "pgbench, its statements", want: 0.40, about: aboutGrants,
		setup: func(ctx context.Context) (err error) {
			bodies = filepath.Join(b.dir, "creating-keys")
			// With the default limits, as anyone else's keys.
			s, p, err = b.on(ctx, writes, "cache: on\n")
			return err
		},
		prepare: func(ctx context.Context, _ int) error {
			if err := clean(ctx); err != nil {
				return err
			}
			return os.WriteFile(bodies,
				[]byte(strings.Repeat(`{"name":"Made","scopes":["read","write"]}`+"\n", wrkThreads*len(s.makers))), 0o600)
		},
		ours: func(ctx context.Context, _ int) (float64, error) {
			rate, err := b.wrk(ctx, load{
				url: p.url + "/v1/api-keys", bodies: bodies, authorization: "Bearer " + strings.Join(s.makers, ",Bearer "),
			})
			return rate, errors.Join(err, clean(ctx))
		},
		against: func(ctx context.Context, _ int) (float64, error) {
			at := integer(now())
			id := "'key_' || gen_random_uuid()"
			// The same role, so that the same policies are checked.
			rate, err := b.pgbench(ctx, s, "creating-keys", poolConns, `BEGIN;
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
