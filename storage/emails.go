package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Email is an email to send. It is inserted in the transaction of the fact that causes it, and a worker sends it after
// the commit.
type Email struct {
	ID        string
	Kind      string // which email it is; the templates package has a text for each
	Recipient string
	UserID    string            // whose account it is about; empty: none
	Language  string            // language tag; empty: the server's first language
	Detail    map[string]string // the values in it
	Sealed    string            // its links and codes, sealed; empty: none
	CreatedAt Time
	DueAt     Time // when to send it; for InsertEmail, zero means at once
	ExpiresAt Time // when to give up
	Attempts  int64
}

const emailColumns = `id, kind, recipient, user_id, language, detail, sealed, created_at, due_at, expires_at, attempts`

func (e *Email) fields(detail *string) []any {
	return []any{
		&e.ID, &e.Kind, &e.Recipient, &e.UserID, &e.Language, detail, &e.Sealed, &e.CreatedAt, &e.DueAt, &e.ExpiresAt,
		&e.Attempts,
	}
}

// InsertEmail adds an email. An empty ID is set.
func (s *Store) InsertEmail(ctx context.Context, e Email) error {
	detail, err := json.Marshal(e.Detail)
	if err != nil {
		return fmt.Errorf("email: %w", err)
	}
	now := s.Now()
	if e.DueAt == 0 {
		e.DueAt = now
	}
	if e.ID == "" {
		e.ID = NewID("email")
	}
	_, err = s.exec(ctx, plain(`INSERT INTO emails (id, kind, recipient, user_id, language, detail, sealed, created_at,
		due_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`), e.ID, e.Kind, e.Recipient,
		e.UserID, e.Language, string(detail), e.Sealed, now, e.DueAt, e.ExpiresAt)
	return err
}

// ClaimEmails takes at most limit emails that are due, and makes them due again after lease, when they count as not
// sent. Of several workers, each gets other emails.
func (s *Store) ClaimEmails(ctx context.Context, lease time.Duration, limit int) ([]Email, error) {
	now := s.Now()
	var list []Email
	err := s.execEach(ctx, func(scan func(...any) error) error {
		var e Email
		var detail string
		if err := scan(e.fields(&detail)...); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(detail), &e.Detail); err != nil {
			return fmt.Errorf("email %s: %w", e.ID, err)
		}
		list = append(list, e)
		return nil
	}, claimDueEmails, now, now.Add(lease), limit)
	return list, err
}

// claimDueEmails repeats the condition on due_at, so that PostgreSQL leaves out a row that another worker has just
// claimed.
var claimDueEmails = plain(`UPDATE emails SET due_at = $2, attempts = attempts + 1 WHERE done_at IS NULL AND due_at <= $1
	AND id IN (SELECT id FROM emails WHERE done_at IS NULL AND due_at <= $1 ORDER BY due_at, id LIMIT $3)
	RETURNING ` + emailColumns)

// RetryEmail makes a claimed email due again at a time. It returns ErrConflict if it was done meanwhile.
func (s *Store) RetryEmail(ctx context.Context, id string, at Time) error {
	return s.execOne(ctx, ErrConflict, plain(`UPDATE emails SET due_at = $2 WHERE id = $1 AND done_at IS NULL`), id, at)
}

// FinishEmail records that an email was sent, or given up, and removes what was in it. It returns ErrConflict if that
// was recorded before.
func (s *Store) FinishEmail(ctx context.Context, id string, sent bool) error {
	return s.execOne(ctx, ErrConflict, plain(`UPDATE emails SET done_at = $2, sent = $3, detail = '{}', sealed = ''
		WHERE id = $1 AND done_at IS NULL`), id, s.Now(), sent)
}

// EmailBacklog returns how many emails wait to be sent, and since when the oldest one does; zero: none does.
func (s *Store) EmailBacklog(ctx context.Context) (waiting int64, oldest Time, err error) {
	err = s.one(ctx, []any{&waiting, &oldest}, plain(`SELECT count(*), min(created_at) FROM emails
		WHERE done_at IS NULL`))
	return waiting, oldest, err
}

// SealedEmails lists at most limit emails that wait with something sealed, in the order of their ids, after the id
// after.
func (s *Store) SealedEmails(ctx context.Context, after string, limit int) ([]Email, error) {
	var list []Email
	err := s.each(ctx, func(scan func(...any) error) error {
		var e Email
		if err := scan(&e.ID, &e.Sealed); err != nil {
			return err
		}
		list = append(list, e)
		return nil
	}, plain(`SELECT id, sealed FROM emails WHERE done_at IS NULL AND sealed <> '' AND id > $1 ORDER BY id LIMIT $2`),
		after, limit)
	return list, err
}

// ResealEmail replaces what is sealed in an email. It returns ErrConsumed if it was sent or changed meanwhile.
func (s *Store) ResealEmail(ctx context.Context, id, before, after string) error {
	return s.execOne(ctx, ErrConsumed, plain(`UPDATE emails SET sealed = $3 WHERE id = $1 AND sealed = $2`), id, before,
		after)
}

// ExpiringKeys lists at most limit keys and personal access tokens that expire within left, were to live longer than
// that when they were created, and are not rotated, revoked or counted (CountEmail) under the prefix and their id.
func (s *Store) ExpiringKeys(ctx context.Context, left time.Duration, prefix string, limit int) ([]APIKey, error) {
	now := s.Now()
	return collect(ctx, s, (*APIKey).fields, plain(`SELECT `+keyColumns+` FROM `+keyTables+`
		WHERE k.expires_at > $1 AND k.expires_at < $2 AND k.expires_at - k.created_at > $3 AND k.revoked_at IS NULL
		AND k.rotated_into = '' AND NOT EXISTS (SELECT 1 FROM email_limits l WHERE l.key = $4 || k.id)
		ORDER BY k.expires_at, k.id LIMIT $5`), now, now.Add(left), left.Microseconds(), prefix, limit)
}

// KeyReaders lists the users who are told what becomes of a key: the user of a personal access token, or the admins and
// owners of an API key's workspace and, if they are still a member, the user who created it. Disabled users are left
// out.
func (s *Store) KeyReaders(ctx context.Context, k *APIKey) ([]User, error) {
	return collect(ctx, s, (*User).fields, plain(`SELECT `+userColumnsOfU+` FROM users u WHERE u.disabled_at IS NULL
		AND (u.id = $1 OR u.id IN (SELECT m.user_id FROM memberships m WHERE m.workspace_id = $2
			AND (m.role IN ('admin', 'owner') OR m.user_id = $3))) ORDER BY u.id`), k.UserID, k.WorkspaceID, k.CreatedBy)
}

// CountEmail counts one email under a key, and reports whether the key had fewer than limit within the time per.
// Nothing is counted beyond the limit. Of many requests at once, exactly as many as allowed are counted.
func (s *Store) CountEmail(ctx context.Context, key string, limit int64, per time.Duration) (allowed bool, err error) {
	now := s.Now()
	n, err := s.exec(ctx, plain(`INSERT INTO email_limits AS l (key, since, count, expires_at)
		SELECT $1, CAST($2 AS BIGINT), 1, CAST($5 AS BIGINT) WHERE CAST($4 AS BIGINT) > 0
		ON CONFLICT (key) DO UPDATE SET
		count = CASE WHEN l.since <= $3 THEN 1 ELSE l.count + 1 END,
		expires_at = CASE WHEN l.since <= $3 THEN excluded.expires_at ELSE l.expires_at END,
		since = CASE WHEN l.since <= $3 THEN excluded.since ELSE l.since END
		WHERE l.since <= $3 OR l.count < CAST($4 AS BIGINT)`), key, now, now.Add(-per), limit, now.Add(per))
	return n > 0, err
}

// EmailCount returns how many were counted under a key within the time per.
func (s *Store) EmailCount(ctx context.Context, key string, per time.Duration) (int64, error) {
	var n int64
	err := s.one(ctx, []any{&n}, plain(`SELECT COALESCE(max(count), 0) FROM email_limits WHERE key = $1
		AND since > $2`), key, s.Now().Add(-per))
	return n, err
}
