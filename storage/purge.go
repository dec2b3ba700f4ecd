package storage

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// Retention is how long expired rows are kept. Both fields must be the lifetimes with which the server issues tokens.
type Retention struct {
	// AccessTokens is how long access tokens are kept after they expire, so that expired ones can be told from unknown
	// ones.
	AccessTokens time.Duration
	// Families is how long codes, refresh tokens and grants are kept after they expire, so that a replay is recognised.
	Families time.Duration
	// Requests is how long pushed authorization requests are kept after their request_uri expires: as long as users may
	// take to answer one.
	Requests time.Duration
}

// purgeBatch is how many rows one statement deletes: few enough that no request has to wait for it.
const purgeBatch = 1000

// Purge deletes the rows whose retention is over, in batches with a transaction each, until none is left or ctx ends.
// It returns how many rows it deleted.
func (s *Store) Purge(ctx context.Context, r Retention) (int64, error) {
	now := s.Now()
	var total int64
	for _, x := range []struct {
		table, key, moment string
		before             Time
		where              string // further condition, that of an index
	}{
		{table: "sessions", before: now},
		{table: "decided_flows", before: now},
		{table: "used_challenges", key: "digest", before: now},
		{table: "used_assertions", key: "name", before: now},
		// A user may still be answering a request whose request_uri has expired.
		{table: "pushed_requests", key: "digest", before: now.Add(-r.Requests)},
		{table: "limits", key: "counter", before: now},
		{table: "invitations", before: now},
		{table: "reserved_slugs", key: "slug", before: now},
		{table: "email_proofs", before: now},
		{table: "email_limits", key: "key", before: now},
		{table: "emails", moment: "done_at", before: now.Add(-emailRetention), where: "done_at IS NOT NULL"},
		{table: "recent_requests", before: now},
		{table: "idempotent_requests", key: "digest", before: now},
		{table: "access_tokens", key: "digest", before: now.Add(-ownTokenRetention), where: "grant_id IS NULL"},
		{table: "access_tokens", key: "digest", before: now.Add(-r.AccessTokens), where: "grant_id IS NOT NULL"},
		{table: "signing_keys", before: now.Add(-r.AccessTokens)}, // needed to recognise expired tokens
		{table: "codes", key: "digest", before: now.Add(-r.Families)},
		{table: "refresh_tokens", key: "digest", before: now.Add(-r.Families)},
		{table: "grants", before: now.Add(-r.Families)},
		// A revoked grant has nothing left that a replay could revoke.
		{table: "grants", moment: "revoked_at", before: now.Add(-r.AccessTokens), where: "revoked_at IS NOT NULL"},
		{table: "client_secrets", before: now.Add(-r.Families)},
		{table: "registration_tokens", before: now},
	} {
		n, err := s.purge(ctx, x.table, cmp.Or(x.key, "id"), cmp.Or(x.moment, "expires_at"), cmp.Or(x.where, "TRUE"),
			x.before)
		total += n
		if err != nil {
			return total, err
		}
	}
	if s.engine == postgres {
		n, err := s.purge(ctx, "used_proofs", "name", "expires_at", "TRUE", now)
		total += n
		if err != nil {
			return total, err
		}
	}
	n, err := s.purgeUnusedGrants(ctx, now.Add(-unusedGrantRetention))
	total += n
	if err != nil {
		return total, err
	}
	n, err = s.PurgeUnusedClients(ctx, now.Add(-unusedClientRetention))
	return total + n, err
}

const (
	// ownTokenRetention is how long a token that a client got for itself is kept after it expires. Its client knows the
	// expiry, and there is no grant that a replay could revoke.
	ownTokenRetention = time.Hour
	// emailRetention is how long it is kept that an email was sent, without what was in it.
	emailRetention = 30 * 24 * time.Hour
	// unusedGrantRetention is how long a grant whose code was never redeemed is kept after the code expires.
	unusedGrantRetention = time.Hour
	// unusedClientRetention is how long a client that registered itself is kept without a live grant.
	unusedClientRetention = 30 * 24 * time.Hour
)

// purgeUnusedGrants deletes grants whose code expired before a time without being redeemed. They have no tokens, so a
// replay of the code would have nothing to revoke.
func (s *Store) purgeUnusedGrants(ctx context.Context, before Time) (total int64, err error) {
	// As in purge, the outer condition excludes a code that was redeemed meanwhile.
	query := fmt.Sprintf(`DELETE FROM grants WHERE id IN (SELECT grant_id FROM codes WHERE used_at IS NULL
		AND expires_at < $1 ORDER BY expires_at LIMIT %d)
		AND NOT EXISTS (SELECT 1 FROM codes c WHERE c.grant_id = grants.id AND c.used_at IS NOT NULL)`, purgeBatch)
	for {
		n, err := s.exec(ctx, plain(query), before)
		total += n
		if err != nil || n < purgeBatch {
			return total, err
		}
	}
}

// PurgeHistory deletes, as Purge does, audit events, counts of failed sign-ins and revoked and expired keys that are
// older than audit, and usage that is older than usage. Keys are kept as long as the audit events that name them.
func (s *Store) PurgeHistory(ctx context.Context, audit, usage time.Duration) (int64, error) {
	now := s.Now()
	total, err := s.purgeOfKeys(ctx, now.Add(-audit))
	if err != nil {
		return total, err
	}
	for _, x := range []struct {
		table, key, moment string
		before             Time
		where              string
	}{
		{"audit_events", "id", "created_at", now.Add(-audit), "TRUE"},
		{"sign_in_failures", "user_id, hour", "hour", now.Add(-audit), "TRUE"},
		{"api_keys", "id", "revoked_at", now.Add(-audit), "revoked_at IS NOT NULL"},
		{"api_keys", "id", "expires_at", now.Add(-audit), "expires_at IS NOT NULL"},
		{"usage_hourly", "workspace_id, credential_id, hour", "hour", now.Add(-usage), "TRUE"},
	} {
		n, err := s.purge(ctx, x.table, x.key, x.moment, x.where, x.before)
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// purgeOfKeys deletes the uses of the keys that were revoked or expired before a time. These rows have no foreign key
// to their key, because each new one would lock, and so write, the key's row.
func (s *Store) purgeOfKeys(ctx context.Context, before Time) (total int64, err error) {
	for _, table := range []struct{ name, id string }{{"key_uses", "key_id"}, {"recent_requests", "id"}} {
		for _, moment := range []string{"revoked_at", "expires_at"} {
			query := fmt.Sprintf(`DELETE FROM %[1]s WHERE %[2]s IN (SELECT x.%[2]s FROM api_keys k
				JOIN %[1]s x ON x.key_id = k.id WHERE k.%[3]s < $1 AND k.%[3]s IS NOT NULL LIMIT %[4]d)`,
				table.name, table.id, moment, purgeBatch)
			for {
				n, err := s.exec(ctx, plain(query), before)
				total += n
				if err != nil {
					return total, err
				}
				if n < purgeBatch {
					break
				}
			}
		}
	}
	return total, nil
}

// purge deletes the rows of a table whose column moment is before a time. key is the primary key, and where a further
// condition, which selects an index.
func (s *Store) purge(ctx context.Context, table, key, moment, where string, before Time) (total int64, err error) {
	// PostgreSQL evaluates the outer condition again on a row that another transaction has changed, so a row whose expiry
	// was moved meanwhile stays.
	query := fmt.Sprintf(`DELETE FROM %[1]s WHERE %[3]s < $1 AND %[5]s AND (%[2]s) IN (SELECT %[2]s FROM %[1]s
		WHERE %[3]s < $1 AND %[5]s ORDER BY %[3]s LIMIT %[4]d)`,
		table, key, moment, purgeBatch, where)
	for {
		n, err := s.exec(ctx, plain(query), before)
		total += n
		if err != nil || n < purgeBatch {
			return total, err
		}
	}
}
