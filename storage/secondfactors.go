package storage

import (
	"context"
	"time"
)

// TOTP is what a user's authenticator app computes one-time passwords from (RFC 6238).
type TOTP struct {
	UserID    string
	Sealed    string // the shared secret, sealed
	Step      int64  // the last time step that was accepted; neither it nor an earlier one is accepted again
	CreatedAt Time
	UsedAt    Time // when a code was accepted last
}

const totpColumns = `user_id, sealed, step, created_at, used_at`

func (t *TOTP) fields() []any { return []any{&t.UserID, &t.Sealed, &t.Step, &t.CreatedAt, &t.UsedAt} }

// InsertTOTP turns on one-time passwords for a user, after a first code was accepted. It returns ErrExists if they are
// on, and ErrNotFound if the user does not exist.
func (s *Store) InsertTOTP(ctx context.Context, t TOTP) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if _, err := s.LockUser(ctx, t.UserID); err != nil {
			return err
		}
		if _, err := s.exec(ctx, plain(`INSERT INTO totp (user_id, sealed, step, created_at, used_at)
			VALUES ($1, $2, $3, $4, $4)`), t.UserID, t.Sealed, t.Step, s.Now()); err != nil {
			return err
		}
		_, err := s.exec(ctx, plain(`UPDATE users SET totp_since = $2 WHERE id = $1`), t.UserID, s.Now())
		return err
	})
}

// TOTPOf returns what a user's one-time passwords are computed from. It returns ErrNotFound if they are off.
func (s *Store) TOTPOf(ctx context.Context, userID string) (t TOTP, err error) {
	err = s.one(ctx, t.fields(), plain(`SELECT `+totpColumns+` FROM totp WHERE user_id = $1`), userID)
	return t, err
}

// TakeTOTPTry counts a try of a one-time password, and returns what to compare it with. It returns ErrConsumed if the
// user has none, or if bound tries within the time per were wrong. Of many tries at once, each is counted.
func (s *Store) TakeTOTPTry(ctx context.Context, userID string, bound int64, per time.Duration) (t TOTP, err error) {
	now := s.Now()
	took, err := s.execReturning(ctx, t.fields(), plain(`UPDATE totp SET
		tries = CASE WHEN tries_since < $3 THEN 1 ELSE tries + 1 END,
		tries_since = CASE WHEN tries_since < $3 THEN CAST($4 AS BIGINT) ELSE tries_since END
		WHERE user_id = $1 AND (tries < $2 OR tries_since < $3) RETURNING `+totpColumns), userID, bound, now.Add(-per), now)
	if err == nil && !took {
		err = ErrConsumed
	}
	return t, err
}

// UseTOTP records that the one-time password of a time step was accepted, and forgets the wrong tries. It returns
// ErrConsumed if that step or a later one was accepted before, or if the secret was replaced.
func (s *Store) UseTOTP(ctx context.Context, userID, sealed string, step int64) error {
	return s.execOne(ctx, ErrConsumed, plain(`UPDATE totp SET step = $3, used_at = $4, tries = 0 WHERE user_id = $1
		AND sealed = $2 AND step < $3`), userID, sealed, step, s.Now())
}

// DeleteTOTP turns off one-time passwords for a user. It returns ErrNotFound if they are off.
func (s *Store) DeleteTOTP(ctx context.Context, userID string) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.execOne(ctx, ErrNotFound, plain(`DELETE FROM totp WHERE user_id = $1`), userID); err != nil {
			return err
		}
		_, err := s.exec(ctx, plain(`UPDATE users SET totp_since = NULL WHERE id = $1`), userID)
		return err
	})
}

// SealedTOTPs lists what all one-time passwords are computed from, by user, after the user with an id (empty: from the
// first), for secret reseal.
func (s *Store) SealedTOTPs(ctx context.Context, after string, limit int) ([]TOTP, error) {
	return collect(ctx, s, (*TOTP).fields, plain(`SELECT `+totpColumns+` FROM totp WHERE user_id > $1
		ORDER BY user_id LIMIT $2`), after, limit)
}

// ResealTOTP replaces a sealed secret by the same one under another master secret. It returns ErrConsumed if it was
// changed or removed meanwhile.
func (s *Store) ResealTOTP(ctx context.Context, userID, before, after string) error {
	return s.execOne(ctx, ErrConsumed, plain(`UPDATE totp SET sealed = $3 WHERE user_id = $1 AND sealed = $2`), userID,
		before, after)
}

// RecoveryCode is a code that a user can use once in place of a second factor.
type RecoveryCode struct {
	Selector string // its first characters, by which it is found; not secret
	Hash     string // PHC string of the code
}

// ReplaceRecoveryCodes replaces all of a user's recovery codes.
func (s *Store) ReplaceRecoveryCodes(ctx context.Context, userID string, codes []RecoveryCode) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if _, err := s.LockUser(ctx, userID); err != nil {
			return err
		}
		if err := s.DeleteRecoveryCodes(ctx, userID); err != nil {
			return err
		}
		for _, c := range codes {
			if _, err := s.exec(ctx, plain(`INSERT INTO recovery_codes (user_id, selector, hash, created_at)
				VALUES ($1, $2, $3, $4)`), userID, c.Selector, c.Hash, s.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteRecoveryCodes deletes all of a user's recovery codes.
func (s *Store) DeleteRecoveryCodes(ctx context.Context, userID string) error {
	_, err := s.exec(ctx, plain(`DELETE FROM recovery_codes WHERE user_id = $1`), userID)
	return err
}

// RecoveryCodeHash returns the hash of a user's recovery code that was not used. It returns ErrNotFound if there is
// none.
func (s *Store) RecoveryCodeHash(ctx context.Context, userID, selector string) (hash string, err error) {
	err = s.one(ctx, []any{&hash}, plain(`SELECT hash FROM recovery_codes WHERE user_id = $1 AND selector = $2
		AND used_at IS NULL`), userID, selector)
	return hash, err
}

// UseRecoveryCode records that a recovery code was used. Of many requests at once, only one succeeds; the others get
// ErrConsumed.
func (s *Store) UseRecoveryCode(ctx context.Context, userID, selector, hash string) error {
	return s.execOne(ctx, ErrConsumed, plain(`UPDATE recovery_codes SET used_at = $4 WHERE user_id = $1 AND selector = $2
		AND hash = $3 AND used_at IS NULL`), userID, selector, hash, s.Now())
}

// RecoveryCodesOf returns how many of a user's recovery codes were not used, and since when the set exists; zero: there
// is none.
func (s *Store) RecoveryCodesOf(ctx context.Context, userID string) (unused int64, since Time, err error) {
	err = s.one(ctx, []any{&unused, &since}, plain(`SELECT count(*) - count(used_at), min(created_at)
		FROM recovery_codes WHERE user_id = $1`), userID)
	return unused, since, err
}
