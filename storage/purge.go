package storage

import (
	"context"
	"fmt"
	"time"
)

// PurgeHorizons says for how long expired rows stay. Both must be the lifetimes that the server issues with.
type PurgeHorizons struct {
	// AccessTokens stay for so long after their end, so that "expired" can be told from "unknown".
	AccessTokens time.Duration
	// Families: codes, refresh tokens and grants stay for so long after their end, so that a replay is seen as one.
	Families time.Duration
}

// purgeBatch is how many rows one statement deletes: few enough that no request waits for it.
const purgeBatch = 1000

// Purge deletes rows that have expired and whose replay horizon is over, in batches, each a transaction of its own,
// until none is left or ctx ends. It returns how many rows went.
func (s *Store) Purge(ctx context.Context, h PurgeHorizons) (int64, error) {
	now := s.Now()
	var total int64
	for _, x := range []struct {
		table, key string
		before     Time
	}{
		{"sessions", "id", now},
		{"decided_flows", "id", now},
		{"limits", "counter", now},
		{"invitations", "id", now},
		{"recent_requests", "id", now},
		{"idempotent_requests", "digest", now},
		{"access_tokens", "digest", now.Add(-h.AccessTokens)},
		{"signing_keys", "id", now.Add(-h.AccessTokens)}, // by which a token is known to have expired
		{"codes", "digest", now.Add(-h.Families)},
		{"refresh_tokens", "digest", now.Add(-h.Families)},
		{"grants", "id", now.Add(-h.Families)},
		{"client_secrets", "id", now.Add(-h.Families)},
	} {
		n, err := s.purge(ctx, x.table, x.key, "expires_at", x.before)
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// PurgeHistory deletes audit events and usage that are older than they are kept, as Purge does.
func (s *Store) PurgeHistory(ctx context.Context, audit, usage time.Duration) (int64, error) {
	events, err := s.purge(ctx, "audit_events", "id", "created_at", s.Now().Add(-audit))
	if err != nil {
		return events, err
	}
	rows, err := s.purge(ctx, "usage_hourly", "workspace_id, credential_id, hour", "hour", s.Now().Add(-usage))
	return events + rows, err
}

// purge deletes the rows of a table in which a moment lies before another; key is what its rows are told by.
func (s *Store) purge(ctx context.Context, table, key, moment string, before Time) (total int64, err error) {
	// PostgreSQL judges a row again that was in use; only the outer condition sees that its end has moved meanwhile.
	query := fmt.Sprintf(`DELETE FROM %[1]s WHERE %[3]s < $1 AND (%[2]s) IN (SELECT %[2]s FROM %[1]s WHERE %[3]s < $1 ORDER BY %[3]s LIMIT %[4]d)`,
		table, key, moment, purgeBatch)
	for {
		n, err := s.exec(ctx, query, before)
		total += n
		if err != nil || n < purgeBatch {
			return total, err
		}
	}
}
