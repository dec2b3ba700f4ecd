package identity

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"doorward/storage"
)

// Attempt is one attempt to sign in.
type Attempt struct {
	Email    string
	Password string
	Address  netip.Addr // of the user's machine, behind any proxy
	// KnownDevice says that this browser has proved that it signed in to this account before. Its attempts are counted
	// separately, so that the failures of others do not lock it out.
	KnownDevice bool
}

// A password is locked after this many wrong ones in a row, from any address, until an administrator sets a new one or
// enables the user again. Only a known device may try beyond the first bound, up to the second. So neither long
// guessing nor a stolen device can go on for ever, and strangers cannot lock out a user on their usual device.
const (
	failuresBound            = 100
	failuresBoundKnownDevice = 110
)

func boundOf(knownDevice bool) int64 {
	if knownDevice {
		return failuresBoundKnownDevice
	}
	return failuresBound
}

// Login returns the user with this address and password. Their SeenAt is that of the sign-in before. Its errors are
// ErrWrong, *Throttled, ErrBusy, or one that wraps storage.ErrUnavailable.
func (s *Service) Login(ctx context.Context, a Attempt) (storage.User, error) {
	return s.check(ctx, storage.EmailKey(a.Email), a, func(ctx context.Context) (storage.User, error) {
		return s.store.UserByEmail(ctx, a.Email)
	})
}

// Confirm checks the password of a signed-in user again. It shares its limits with Login, so that it is not a second
// way to guess. It returns the errors of Login. It ignores the Email of the attempt.
func (s *Service) Confirm(ctx context.Context, user storage.User, a Attempt) error {
	_, err := s.confirm(ctx, user, a)
	return err
}

func (s *Service) confirm(ctx context.Context, user storage.User, a Attempt) (storage.User, error) {
	return s.check(ctx, storage.EmailKey(user.Email), a, func(ctx context.Context) (storage.User, error) {
		return s.store.UserByID(ctx, user.ID)
	})
}

// check does the same work for every account, known or not: one look-up, one hash, one write.
func (s *Service) check(
	ctx context.Context, account string, a Attempt, find func(context.Context) (storage.User, error),
) (storage.User, error) {
	ctx = storage.System(ctx)
	ok, retryAfter := s.throttle.Reserve(account, a.Address, a.KnownDevice)
	if !ok {
		return storage.User{}, &Throttled{RetryAfter: retryAfter}
	}
	settle := s.throttle.Release
	defer func() { settle(account, a.Address, a.KnownDevice) }()
	if len(a.Password) > maxPasswordBytes { // no account has such a password, so this reveals nothing
		settle = s.throttle.Fail
		return storage.User{}, ErrWrong
	}

	user, err := find(ctx)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return storage.User{}, fmt.Errorf("look up the user: %w", err)
	}
	bound, target := boundOf(a.KnownDevice), user.ID
	if err != nil || !user.DisabledAt.IsZero() || user.PasswordFailures >= bound {
		user = storage.User{} // without a hash, no password matches
	}
	fits, err := s.hasher.verify(ctx, a.Password, user.PasswordHash)
	if err != nil {
		return storage.User{}, err
	}

	// The guess is made, and counts even if the client has stopped waiting for the answer.
	settle = s.throttle.Fail
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if !fits {
		err := s.store.InTx(ctx, func(ctx context.Context) error {
			if err := s.store.CountPasswordFailure(ctx, user.ID, bound); err != nil {
				return err
			}
			// Run as many statements for an unknown account as for a known one, so that the time reveals nothing.
			return s.store.AuditSignInFailure(ctx, target)
		})
		if err != nil {
			return storage.User{}, fmt.Errorf("count a wrong password: %w", err)
		}
		return storage.User{}, ErrWrong
	}
	switch err := s.store.RecordPasswordSignIn(ctx, user.ID, user.PasswordHash, bound); {
	case errors.Is(err, storage.ErrConflict): // changed, disabled or locked since it was looked up
		return storage.User{}, ErrWrong
	case err != nil:
		settle = s.throttle.Release
		return storage.User{}, fmt.Errorf("record a sign-in: %w", err)
	}
	settle = s.throttle.Succeed
	user.PasswordFailures = 0
	if s.hasher.outdated(user.PasswordHash) {
		// An error is not worth failing a sign-in for: the next one tries again.
		if hash, err := s.hasher.hash(ctx, a.Password); err == nil {
			if err := s.store.RehashPassword(ctx, user.ID, user.PasswordHash, hash); err == nil {
				user.PasswordHash = hash
			}
		}
	}
	return user, nil
}
