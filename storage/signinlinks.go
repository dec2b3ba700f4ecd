package storage

import (
	"context"
)

// InsertSignInLink adds a link, by the digest of its token, with which a user can sign in once, until expiresAt. The
// user's earlier links stop working. It returns ErrConflict if the user is disabled, and ErrNotFound if they do not
// exist.
func (s *Store) InsertSignInLink(ctx context.Context, userID string, digest []byte, expiresAt Time) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.execOne(ctx, ErrConflict, plain(`INSERT INTO email_proofs AS p (id, kind, subject, digest, code,
			user_id, email, email_key, detail, created_at, expires_at)
			SELECT $2, $3, id, $4, '', id, email, email_key, '{}', CAST($5 AS BIGINT), CAST($6 AS BIGINT) FROM users
			WHERE id = $1 AND disabled_at IS NULL
			ON CONFLICT (kind, subject) DO UPDATE SET id = excluded.id, digest = excluded.digest, email = excluded.email,
			email_key = excluded.email_key, created_at = excluded.created_at, expires_at = excluded.expires_at,
			proven_at = NULL, prover = NULL, used_at = NULL`),
			userID, NewID("proof"), ProofOperator, digest, s.Now(), expiresAt); err != nil {
			return err
		}
		return s.Audit(ctx, AuditEvent{Action: "login.link_created", Target: userID}, userID)
	})
}

// signInLinkWorks is the condition that a link works at the time $2: it has not expired, its user is an enabled
// administrator, and their password was not changed after it was created.
const signInLinkWorks = `l.kind = '` + ProofOperator + `' AND l.digest = $1 AND l.expires_at > $2 AND EXISTS (
	SELECT 1 FROM users u WHERE u.id = l.user_id AND u.admin AND u.disabled_at IS NULL AND u.password_changed_at <= l.created_at)`

// UserOfSignInLink finds the user of a link that works, and changes nothing. It returns ErrNotFound if the link does
// not exist, was used or has expired.
func (s *Store) UserOfSignInLink(ctx context.Context, digest []byte) (User, error) {
	var id string
	if err := s.one(ctx, []any{&id}, plain(`SELECT l.user_id FROM email_proofs l WHERE `+signInLinkWorks), digest,
		s.Now()); err != nil {
		return User{}, err
	}
	return s.UserByID(ctx, id)
}

// TakeSignInLink uses a link. Of many requests at once, only one succeeds; the others get ErrConsumed. It counts as the
// right password, so it resets the count of failures.
func (s *Store) TakeSignInLink(ctx context.Context, digest []byte, userID string) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.execOne(ctx, ErrConsumed, plain(`DELETE FROM email_proofs AS l WHERE `+signInLinkWorks+`
			AND l.user_id = $3`), digest, s.Now(), userID); err != nil {
			return err
		}
		return s.ForgetPasswordFailures(ctx, userID)
	})
}
