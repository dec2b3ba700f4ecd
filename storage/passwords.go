package storage

import (
	"context"
	"strconv"
	"time"
)

// SetPasswordHash replaces the password's hash and forgets the failures that the old one collected.
func (s *Store) SetPasswordHash(ctx context.Context, userID, hash string) error {
	return s.execOne(ctx, ErrNotFound, plain(`UPDATE users SET password_hash = $2, password_failures = 0,
		password_changed_at = $3 WHERE id = $1`),
		userID, hash, s.Now())
}

// RehashPassword replaces a hash by a stronger one of the same password, unless the password has changed meanwhile.
func (s *Store) RehashPassword(ctx context.Context, userID, old, hash string) error {
	_, err := s.exec(ctx, plain(`UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2`), userID,
		old, hash)
	return err
}

// ReplacePasswordHash is SetPasswordHash for a user who has proven the old password. ErrConflict: the password has
// changed meanwhile.
func (s *Store) ReplacePasswordHash(ctx context.Context, userID, old, hash string) error {
	return s.execOne(ctx, ErrConflict, plain(`UPDATE users SET password_hash = $3, password_failures = 0,
		password_changed_at = $4 WHERE id = $1 AND password_hash = $2`),
		userID, old, hash, s.Now())
}

// PasswordFailed counts one wrong password, as long as fewer than bound are counted. Where there is nothing to count,
// because the user is unknown (empty) or at the bound, as much is written elsewhere, so that the time it takes
// does not tell.
func (s *Store) PasswordFailed(ctx context.Context, userID string, bound int64) error {
	n, err := s.exec(ctx, plain(`UPDATE users SET password_failures = password_failures + 1 WHERE id = $1
		AND password_failures < $2`), userID, bound)
	if err != nil || n > 0 {
		return err
	}
	return s.SetSetting(ctx, settingUncounted, s.Now().Time().Format(time.RFC3339Nano))
}

// AuditSignInFailure counts a failed sign-in in a row of its account and hour; an empty userID stands for all accounts
// that do not exist, so that guessing at them adds a row an hour. An audit event says how many there were at the
// first, the tenth, the hundredth and so on. In between as much is written elsewhere, so that the time it takes does
// not tell which accounts exist.
func (s *Store) AuditSignInFailure(ctx context.Context, userID string) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		now := s.Now()
		hour := now - now%Time(time.Hour.Microseconds())
		var attempts int64
		if _, err := s.execReturning(ctx, []any{&attempts}, plain(`INSERT INTO sign_in_failures (user_id, hour,
			attempts, address) VALUES ($1, $2, 1, $3)
			ON CONFLICT (user_id, hour) DO UPDATE SET attempts = sign_in_failures.attempts + 1,
			address = excluded.address RETURNING attempts`),
			userID, hour, ActorOf(ctx).Address); err != nil {
			return err
		}
		e := AuditEvent{
			Action: "login.failed", Target: userID,
			Detail: map[string]string{"attempts": strconv.FormatInt(attempts, 10)},
		}
		err := s.one(ctx, []any{&e.WorkspaceID}, plain(`SELECT id FROM workspaces WHERE personal_user_id = $1`), userID)
		if err := ignoreNotFound(err); err != nil {
			return err
		}
		for attempts%10 == 0 {
			attempts /= 10
		}
		if attempts == 1 {
			return s.Audit(ctx, e, "")
		}
		return s.SetSetting(ctx, settingUncounted, now.Time().Format(time.RFC3339Nano))
	})
}

// PasswordFitted sets the count of wrong passwords back and notes the sign-in, as long as hash is still the password's,
// fewer than bound failures are counted and the user is enabled; otherwise ErrConflict.
func (s *Store) PasswordFitted(ctx context.Context, userID, hash string, bound int64) error {
	return s.execOne(ctx, ErrConflict, plain(`UPDATE users SET password_failures = 0, seen_at = $4
		WHERE id = $1 AND password_hash = $2 AND password_failures < $3 AND disabled_at IS NULL`), userID, hash, bound,
		s.Now())
}

// PasswordStill returns ErrConflict where the user is disabled or their password is not the one that was set at
// changedAt. Called in the transaction that starts a session, it locks the user: a change of the password, or a
// disabling, either waits and ends the new session too, or comes first and no session starts.
func (s *Store) PasswordStill(ctx context.Context, userID string, changedAt Time) error {
	return s.execOne(ctx, ErrConflict, plain(`UPDATE users SET seen_at = $3 WHERE id = $1 AND password_changed_at = $2
		AND disabled_at IS NULL`), userID, changedAt, s.Now())
}
