package identity

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"doorward/storage"
)

// Attempt is one try to sign in.
type Attempt struct {
	Email    string
	Password string
	Address  netip.Addr // of the person's machine, behind any proxy
	// KnownDevice says that this browser has shown that it signed in to this very account before. It counts for itself:
	// what others did does not keep it out.
	KnownDevice bool
}

// A password is out of use after so many wrong ones in a row, from wherever they came, until an administrator sets
// a new one or enables the user again. Only a known device may try beyond the first bound, and its failures
// from there to the second are its own, so that neither guessing at an account for long nor a stolen device goes on
// for ever, and no stranger locks out a person who comes from where they always do.
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

// Login gives the user whom an address and a password belong to. Its errors are ErrWrong, *Throttled, ErrBusy, or one
// that wraps storage.ErrUnavailable.
func (s *Service) Login(ctx context.Context, a Attempt) (storage.User, error) {
	return s.check(ctx, storage.EmailKey(a.Email), a, func(ctx context.Context) (storage.User, error) {
		return s.store.UserByEmail(ctx, a.Email)
	})
}

// Confirm asks a person who is signed in for the password again. It is throttled together with Login, so that it
// opens no second way to guess; errors are the same. The Email of the attempt does not count.
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
	if len(a.Password) > maxPasswordBytes { // no account has one, so this tells nothing
		settle = s.throttle.Fail
		return storage.User{}, ErrWrong
	}

	user, err := find(ctx)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return storage.User{}, fmt.Errorf("look up the user: %w", err)
	}
	bound, target := boundOf(a.KnownDevice), user.ID
	if err != nil || !user.DisabledAt.IsZero() || user.PasswordFailures >= bound {
		user = storage.User{} // no hash: none fits
	}
	fits, err := s.hasher.verify(ctx, a.Password, user.PasswordHash)
	if err != nil {
		return storage.User{}, err
	}

	// The guess is made: it counts, also when the client no longer waits for the answer.
	settle = s.throttle.Fail
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if !fits {
		err := s.store.InTx(ctx, func(ctx context.Context) error {
			if err := s.store.PasswordFailed(ctx, user.ID, bound); err != nil {
				return err
			}
			// With as many statements for an unknown account as for a known one, so that the time does not tell.
			return s.store.AuditSignInFailure(ctx, target)
		})
		if err != nil {
			return storage.User{}, fmt.Errorf("count a wrong password: %w", err)
		}
		return storage.User{}, ErrWrong
	}
	switch err := s.store.PasswordFitted(ctx, user.ID, user.PasswordHash, bound); {
	case errors.Is(err, storage.ErrConflict): // changed, disabled or out of use since it was looked up
		return storage.User{}, ErrWrong
	case err != nil:
		settle = s.throttle.Release
		return storage.User{}, fmt.Errorf("note a sign-in: %w", err)
	}
	settle = s.throttle.Succeed
	user.PasswordFailures, user.SeenAt = 0, s.store.Now()
	if s.hasher.outdated(user.PasswordHash) {
		// Not worth failing a sign-in for: the next one does it.
		if hash, err := s.hasher.hash(ctx, a.Password); err == nil {
			if err := s.store.RehashPassword(ctx, user.ID, user.PasswordHash, hash); err == nil {
				user.PasswordHash = hash
			}
		}
	}
	return user, nil
}
