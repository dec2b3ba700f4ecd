package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"doorward/storage"
)

// SessionIdle is how long a session works without a request.
const SessionIdle = 24 * time.Hour

// What an administrator cannot do to a user.
var (
	// ErrNoEmail means that the server sends no email.
	ErrNoEmail = errors.New("the server sends no email; set mail.url and mail.from in the configuration")
	// ErrNoPasswords means that users do not sign in with passwords, so none can be reset.
	ErrNoPasswords = errors.New("users do not sign in with passwords: sign_in.password is false in the configuration")
	// ErrNotWaiting means that an account does not wait for approval: it never did, or the decision was made.
	ErrNotWaiting = errors.New("the account does not wait for approval")
	// ErrOnlyWay means that without this sign-in method the user could not sign in.
	ErrOnlyWay = errors.New("without it the user could not sign in; disable the user, or add another method first")
	// ErrFactorNeeded means that a user has to have a second factor, and has no other.
	ErrFactorNeeded = errors.New("this server asks for a second factor; add another one first")
)

// SendsEmail reports whether the server sends email. If it does, administrators invite users and send reset emails, and
// pages and API do not let them set a password.
func (s *Service) SendsEmail() bool { return s.sends }

// TakesPasswords reports whether users sign in with passwords.
func (s *Service) TakesPasswords() bool { return !s.noPasswords }

// Resets reports whether SendReset can work: the server sends email, and users sign in with passwords.
func (s *Service) Resets() bool { return s.sends && !s.noPasswords }

// invitationSubject begins the subject of the proof of an invitation, so that a visitor who asks for a sign-up with the
// same address does not end it. An address has no space.
const invitationSubject = "invitation "

// isInvitation reports whether an administrator asked for a proof.
func isInvitation(p *storage.EmailProof) bool { return strings.HasPrefix(p.Subject, invitationSubject) }

// Invite sends an email with a link to set up an account. It ends an earlier invitation of the address. It is for an
// administrator, so it works no matter who may sign up, and the account needs no approval. Errors are ErrNoEmail,
// and *Invalid for an address that is not one or that has an account; then the error also wraps storage.ErrExists.
func (s *Service) Invite(ctx context.Context, email string) (storage.EmailProof, error) {
	ctx = storage.System(ctx)
	if !s.sends {
		return storage.EmailProof{}, ErrNoEmail
	}
	email, err := checkEmail(email)
	if err != nil {
		return storage.EmailProof{}, err
	}
	token := newToken()
	proof := storage.EmailProof{
		ID: storage.NewID("proof"), Kind: storage.ProofSignUp, Subject: invitationSubject + storage.EmailKey(email),
		Digest: storage.Digest(token), Email: email, ExpiresAt: s.store.Now().Add(InvitationLifetime),
	}
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		_, err := s.store.UserByEmail(ctx, email)
		if err == nil {
			return storage.ErrExists
		}
		if !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		held, err := s.store.AddressHeld(ctx, email, "")
		if err != nil {
			return err
		}
		if held {
			return storage.ErrExists
		}
		if err := s.store.InsertEmailProof(ctx, proof); err != nil {
			return err
		}
		if err := s.notifyUntil(
			ctx, "account_invitation", &storage.User{}, email, s.issuer+"/signup/link?word="+token, nil, InvitationLifetime,
		); err != nil {
			return err
		}
		return s.store.Audit(ctx, storage.AuditEvent{Action: "user.invited", Target: proof.ID}, "")
	})
	if errors.Is(err, storage.ErrExists) {
		return proof, addressTaken()
	}
	if err != nil {
		return proof, fmt.Errorf("invite a user: %w", err)
	}
	return proof, nil
}

// SendReset sends a user a link to choose a new password; the one they have works until then. Errors are ErrNoEmail,
// ErrNoPasswords, ErrDisabled, and storage.ErrNotFound if the user does not exist.
func (s *Service) SendReset(ctx context.Context, userID string) error {
	switch {
	case !s.sends:
		return ErrNoEmail
	case s.noPasswords:
		return ErrNoPasswords
	}
	err := s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		user, err := s.store.UserByID(ctx, userID)
		if err != nil {
			return err
		}
		if !user.DisabledAt.IsZero() {
			return ErrDisabled
		}
		token, err := s.newReset(ctx, user.ID, user.Email)
		if err != nil {
			return err
		}
		if err := s.notifyUntil(
			ctx, "reset", &user, user.Email, s.issuer+"/reset?word="+token, nil, ResetLifetime,
		); err != nil {
			return err
		}
		return s.audit(ctx, "user.reset_sent", user.ID)
	})
	if err != nil {
		return fmt.Errorf("send a reset email: %w", err)
	}
	return nil
}

// ApproveUser lets a user in whose account waits for approval, and tells them by email. Of several decisions at once,
// only one succeeds; the others get ErrNotWaiting, or storage.ErrNotFound if the user was refused or does not exist.
func (s *Service) ApproveUser(ctx context.Context, userID string) error {
	err := s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		if _, err := s.store.UserByID(ctx, userID); err != nil {
			return err
		}
		waited, err := s.endWaiting(ctx, userID)
		if err == nil && !waited {
			err = ErrNotWaiting
		}
		if err == nil {
			err = s.approved(ctx, userID)
		}
		if err == nil {
			err = s.EnableUser(ctx, userID)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("approve the user: %w", err)
	}
	return nil
}

// approved records that an account was approved, and tells the user.
func (s *Service) approved(ctx context.Context, userID string) error {
	user, err := s.store.UserByID(ctx, userID)
	if err != nil {
		return err
	}
	if err := s.notify(ctx, "approved", &user, nil); err != nil {
		return err
	}
	return s.audit(ctx, "user.approved", userID)
}

// endWaiting reports whether an account waited for approval until now. Of several transactions, it does so for one.
func (s *Service) endWaiting(ctx context.Context, userID string) (bool, error) {
	err := s.store.EndWaiting(ctx, userID)
	if errors.Is(err, storage.ErrConsumed) {
		return false, nil
	}
	return err == nil, err
}

// RefuseUser deletes an account that waits for approval, and tells the user by email. It returns the errors of
// ApproveUser.
func (s *Service) RefuseUser(ctx context.Context, userID string) error {
	err := s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		user, err := s.store.UserByID(ctx, userID)
		if err != nil {
			return err
		}
		waited, err := s.endWaiting(ctx, userID)
		if err != nil {
			return err
		}
		if !waited {
			return ErrNotWaiting
		}
		return s.delete(ctx, &user, "refused", "user.refused")
	})
	if err != nil {
		return fmt.Errorf("refuse the user: %w", err)
	}
	return nil
}

// delete deletes a user and tells them by an email of a kind, in the transaction of its context.
func (s *Service) delete(ctx context.Context, user *storage.User, kind, action string) error {
	// Record it first, since the user's personal workspace is deleted too.
	if err := s.audit(ctx, action, user.ID); err != nil {
		return err
	}
	if err := s.notify(ctx, kind, user, nil); err != nil {
		return err
	}
	return s.store.DeleteUser(ctx, user.ID)
}

// Sessions lists a user's browser sessions, the last used first. It returns storage.ErrNotFound if the user does not
// exist.
func (s *Service) Sessions(ctx context.Context, userID string) (list []storage.Session, err error) {
	err = s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		if _, err := s.store.UserByID(ctx, userID); err != nil {
			return err
		}
		list, err = s.store.SessionsOf(ctx, userID, SessionIdle)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the user's sessions: %w", err)
	}
	return list, nil
}

// EndSession ends one session of a user. It returns storage.ErrNotFound if they do not have it.
func (s *Service) EndSession(ctx context.Context, userID, sessionID string) error {
	err := s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		if err := s.store.EndSession(ctx, userID, sessionID); err != nil {
			return err
		}
		return s.store.Audit(ctx, storage.AuditEvent{Action: "session.ended", Target: sessionID}, userID)
	})
	if err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	return nil
}
