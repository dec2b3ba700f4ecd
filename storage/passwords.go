package storage

import (
	"context"
	"strconv"
	"time"
)

// SetPasswordHash replaces the hash of a user's password and resets the count of failures.
func (s *Store) SetPasswordHash(ctx context.Context, userID, hash string) error {
	return s.execOne(ctx, ErrNotFound, plain(`UPDATE users SET password_hash = $2, password_failures = 0,
		password_changed_at = $3 WHERE id = $1`),
		userID, hash, s.Now())
}

// RehashPassword replaces a hash by a stronger one of the same password, unless the password was changed meanwhile.
func (s *Store) RehashPassword(ctx context.Context, userID, old, hash string) error {
	_, err := s.exec(ctx, plain(`UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2`), userID,
		old, hash)
	return err
}

// ReplacePasswordHash is SetPasswordHash for a user who has entered the old password. It returns ErrConflict if the
// password was changed meanwhile.
func (s *Store) ReplacePasswordHash(ctx context.Context, userID, old, hash string) error {
	return s.execOne(ctx, ErrConflict, plain(`UPDATE users SET password_hash = $3, password_failures = 0,
		password_changed_at = $4 WHERE id = $1 AND password_hash = $2`),
		userID, old, hash, s.Now())
}

// CountPasswordFailure counts one wrong password, up to bound. If there is nothing to count, because the user is
// unknown (empty) or at the bound, it writes another row, so that the time it takes reveals nothing.
func (s *Store) CountPasswordFailure(ctx context.Context, userID string, bound int64) error {
	n, err := s.exec(ctx, plain(`UPDATE users SET password_failures = password_failures + 1 WHERE id = $1
		AND password_failures < $2`), userID, bound)
	if err != nil || n > 0 {
		return err
	}
	return s.SetSetting(ctx, settingUncounted, s.Now().Time().Format(time.RFC3339Nano))
}

// ForgetPasswordFailures resets the count of wrong passwords.
func (s *Store) ForgetPasswordFailures(ctx context.Context, userID string) error {
	_, err := s.exec(ctx, plain(`UPDATE users SET password_failures = 0 WHERE id = $1`), userID)
	return err
}

// AuditSignInFailure counts a failed sign-in, in one row for each account and hour. An empty userID means all accounts
// that do not exist, so that guesses at them add only one row an hour. The first, the tenth, the hundredth failure and
// so on get an audit event with the count. The others write another row instead, so that the time it takes does not
// reveal which accounts exist.
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

// RecordPasswordSignIn resets the count of wrong passwords and records the sign-in. It returns ErrConflict if hash is
// not the password's any more, if bound failures are counted, or if the user is disabled.
func (s *Store) RecordPasswordSignIn(ctx context.Context, userID, hash string, bound int64) error {
	return s.execOne(ctx, ErrConflict, plain(`UPDATE users SET password_failures = 0, seen_at = $4
		WHERE id = $1 AND password_hash = $2 AND password_failures < $3 AND disabled_at IS NULL`), userID, hash, bound,
		s.Now())
}

// LockPassword locks the user and records that they were seen. It returns ErrConflict if the user is disabled, or if
// their password is not the one that was set at changedAt. It is called in the transaction that starts a session: a
// concurrent password change or DisableUser either waits, and then also ends the new session, or comes first, and no
// session starts.
func (s *Store) LockPassword(ctx context.Context, userID string, changedAt Time) error {
	return s.execOne(ctx, ErrConflict, plain(`UPDATE users SET seen_at = $3 WHERE id = $1 AND password_changed_at = $2
		AND disabled_at IS NULL`), userID, changedAt, s.Now())
}
