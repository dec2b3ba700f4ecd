package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// tenantTables are the tables in which a tenant can see some rows.
var tenantTables = []string{
	"sessions", "consents", "grants", "clients", "client_secrets", "client_origins", "api_keys", "key_uses",
	"usage_hourly", "recent_requests", "audit_events", "idempotent_requests",
}

// errRollback ends a transaction that only tests something.
var errRollback = errors.New("storage: rolled back on purpose")

// CheckIsolation tests that row-level security prevents reading rows without a user or as another user, and writing
// rows for another workspace, in transactions that it rolls back. It returns a sentence for each operation that was
// possible. On SQLite, where each query names the workspace, there is nothing to test.
func (s *Store) CheckIsolation(ctx context.Context) ([]string, error) {
	if s.engine != postgres {
		return nil, nil
	}
	leaks, err := s.uncovered(ctx)
	if err != nil {
		return nil, err
	}
	for _, who := range []struct{ name, user, workspace string }{{"nobody", "", ""}, {
		"a stranger", NewID("user"),
		NewID("ws"),
	}} {
		err := s.InTx(Tenant(ctx, who.user, who.workspace), func(ctx context.Context) error {
			for _, table := range tenantTables {
				var n int64
				if err := s.one(ctx, []any{&n}, plain(`SELECT count(*) FROM `+table)); err != nil {
					return err
				}
				if n > 0 {
					leaks = append(leaks, fmt.Sprintf("as %s, %d rows of %s can be read", who.name, n, table))
				}
			}
			return errRollback
		})
		if !errors.Is(err, errRollback) {
			return nil, err
		}
	}
	for what, write := range map[string]func(ctx context.Context, workspaceID string) error{
		"an app": func(ctx context.Context, workspaceID string) error {
			return s.InsertClient(ctx, &Client{ID: NewID("app"), WorkspaceID: workspaceID}, nil)
		},
		"an API key": func(ctx context.Context, workspaceID string) error {
			id := NewID("key")
			return s.InsertKey(ctx, &APIKey{ID: id, Digest: Digest(id), Kind: KindAPIKey, WorkspaceID: workspaceID},
				maxInt)
		},
	} {
		err := s.InTx(Tenant(ctx, NewID("user"), NewID("ws")), func(ctx context.Context) error {
			if err := write(ctx, NewID("ws")); err != nil {
				return err
			}
			var n int64 // a read sends the queued write, which would otherwise wait for the commit
			if err := s.one(ctx, []any{&n}, plain(`SELECT 1`)); err != nil {
				return err
			}
			return errRollback
		})
		// Policies are checked before foreign keys, so any other error means that the policy allowed the row.
		if errors.Is(err, errRollback) || errors.Is(err, ErrNotFound) {
			leaks = append(leaks, "a tenant can write "+what+" into another workspace")
		} else if err != nil && !strings.Contains(err.Error(), "42501") { // insufficient_privilege
			return leaks, err
		}
	}
	slices.Sort(leaks)
	return leaks, nil
}

// uncovered lists the tables that have a column for an owner but no row-level security.
func (s *Store) uncovered(ctx context.Context) (leaks []string, err error) {
	err = s.each(System(ctx), func(scan func(...any) error) error {
		var table string
		if err := scan(&table); err != nil {
			return err
		}
		leaks = append(leaks, "the table "+table+" has no row-level security")
		return nil
	}, plain(`SELECT DISTINCT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND NOT c.relrowsecurity
		AND a.attname IN ('workspace_id', 'user_id') AND NOT a.attisdropped ORDER BY 1`))
	return leaks, err
}
