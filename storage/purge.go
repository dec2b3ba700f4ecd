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
		{"codes", "digest", now.Add(-h.Families)},
		{"refresh_tokens", "digest", now.Add(-h.Families)},
		{"grants", "id", now.Add(-h.Families)},
		{"client_secrets", "id", now.Add(-h.Families)},
	} {
		// PostgreSQL judges a row again that was in use; only the outer condition sees that its end has moved meanwhile.
		query := fmt.Sprintf(`DELETE FROM %[1]s WHERE expires_at < $1 AND %[2]s IN (SELECT %[2]s FROM %[1]s WHERE expires_at < $1 ORDER BY expires_at LIMIT %[3]d)`,
			x.table, x.key, purgeBatch)
		for {
			n, err := s.exec(ctx, query, x.before)
			total += n
			if err != nil {
				return total, err
			}
			if n < purgeBatch {
				break
			}
		}
	}
	return total, nil
}
