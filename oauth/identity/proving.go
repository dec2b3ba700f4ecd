package identity

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"doorward/locale"
	"doorward/oauth/seal"
	"doorward/storage"
)

// ErrLink means that a link from an email does not work: it was used, has expired or was replaced, or never was one.
var ErrLink = errors.New("the link no longer works")

// Link finds the proof of a link from an email, of one of these kinds, and changes nothing: programs that check links
// must not use one up. It returns ErrLink unless the link works.
func (s *Service) Link(ctx context.Context, token string, kinds ...string) (storage.EmailProof, error) {
	for _, kind := range kinds {
		p, err := s.store.EmailProofByDigest(storage.System(ctx), kind, storage.Digest(token))
		switch {
		case errors.Is(err, storage.ErrNotFound):
			continue
		case err != nil:
			return p, fmt.Errorf("look up a link: %w", err)
		case !p.UsedAt.IsZero() || kind != storage.ProofUndo && !p.ProvenAt.IsZero():
			return p, ErrLink
		}
		return p, nil
	}
	return storage.EmailProof{}, ErrLink
}

// Asked returns the newest proof that a browser asked for, also if it was used, so that the browser can be told; its
// UsedAt or ProvenAt say so. It returns ErrLink if there is none.
func (s *Service) Asked(ctx context.Context, kind, browser string) (storage.EmailProof, error) {
	return found(s.store.EmailProofOfBrowser(storage.System(ctx), kind, storage.Digest(browser)))
}

// Proven returns the proof of an address that was proven in a browser and is not used yet. It returns ErrLink if there
// is none.
func (s *Service) Proven(ctx context.Context, kind, browser string) (storage.EmailProof, error) {
	p, err := found(s.store.EmailProofOfProver(storage.System(ctx), kind, storage.Digest(browser)))
	if err == nil && !p.UsedAt.IsZero() {
		err = ErrLink
	}
	if err == nil && strings.HasPrefix(p.Subject, provenByProvider) && s.ProviderOf(&p) == nil {
		err = ErrLink // the provider was removed from the configuration meanwhile
	}
	return p, err
}

func found(p storage.EmailProof, err error) (storage.EmailProof, error) {
	if errors.Is(err, storage.ErrNotFound) {
		return p, ErrLink
	}
	if err != nil {
		return p, fmt.Errorf("look up a proof: %w", err)
	}
	return p, nil
}

// Prove records that an address is proven: its link, or its code if proof.Code is set, was used in the browser with a
// cookie. Of many calls at once, only one succeeds; the others get ErrLink.
func (s *Service) Prove(ctx context.Context, proof storage.EmailProof, code, browser string) error {
	return linkError(s.store.ProveEmail(storage.System(ctx), proof.ID, code, storage.Digest(browser)))
}

// use records that what a proof is for was done. It returns ErrLink if that was recorded before, or if it has expired.
func (s *Service) use(ctx context.Context, proof *storage.EmailProof) error {
	return linkError(s.store.UseEmailProof(ctx, proof.ID))
}

// linkError is ErrLink for a proof that was used meanwhile, and otherwise err.
func linkError(err error) error {
	if errors.Is(err, storage.ErrConsumed) {
		return ErrLink
	}
	return err
}

// TakeSignIn uses up a proof with which a user signs in, in the transaction of its context. code is the keyed hash of
// the code that was entered; empty: the link was opened. It resets the count of wrong passwords, since it proves as
// much as the right one. Of many calls at once, only one succeeds; the others get storage.ErrConsumed.
func (s *Service) TakeSignIn(ctx context.Context, proof storage.EmailProof, code, browser string) error {
	if err := s.store.ProveEmail(ctx, proof.ID, code, storage.Digest(browser)); err != nil {
		return err
	}
	if err := s.store.UseEmailProof(ctx, proof.ID); err != nil {
		return err
	}
	return s.store.ForgetPasswordFailures(ctx, proof.UserID)
}

// SignUp creates the account for a proven address. If accounts need an approval, it waits for one, unless an
// administrator invited the user: it is disabled, and WaitingSince says so. Wrong fields are *Invalid errors, joined.
// Of many calls with one proof, only one succeeds; the others get ErrLink.
func (s *Service) SignUp(ctx context.Context, proof storage.EmailProof, u NewUser) (storage.User, error) {
	ctx = storage.System(ctx)
	u.Email, u.Admin, u.Proven = proof.Email, false, true
	u.invited = isInvitation(&proof)
	u.noPassword = s.noPasswords || u.Passkey != nil || s.ProviderOf(&proof) != nil
	u.then = func(ctx context.Context, userID string) error { return s.connectNew(ctx, &proof, userID) }
	insert, err := s.prepare(ctx, u, func(ctx context.Context) error {
		if err := s.use(ctx, &proof); err != nil {
			return err
		}
		held, err := s.store.AddressHeld(ctx, proof.Email, "")
		if err != nil {
			return err
		}
		if held {
			return storage.ErrExists
		}
		if s.approval && !u.invited {
			if err := s.tellAdministrators(ctx); err != nil {
				return err
			}
		}
		return s.store.DropSetting(ctx, storage.SettingSetupToken)
	})
	if err != nil {
		return storage.User{}, err
	}
	return insert(ctx)
}

// tellAdministrators tells every administrator, at most once an hour, that accounts wait for approval.
func (s *Service) tellAdministrators(ctx context.Context) error {
	due, err := s.store.CountEmail(ctx, "approvals", 1, time.Hour)
	if err != nil || !due {
		return err
	}
	list, err := s.store.Administrators(ctx)
	if err != nil {
		return err
	}
	for i := range list {
		if err := s.notify(ctx, "approval_waiting", &list[i], nil); err != nil {
			return err
		}
	}
	return nil
}

// noticeLifetime is how long an email without a link that expires is tried.
const noticeLifetime = 24 * time.Hour

// notify inserts an email to a user about their account, in the transaction of its context.
func (s *Service) notify(ctx context.Context, kind string, u *storage.User, detail map[string]string) error {
	return s.notifyUntil(ctx, kind, u, u.Email, "", detail, noticeLifetime)
}

// notifyUntil is notify for another address, and with a link. url is a secret link; empty: none.
func (s *Service) notifyUntil(
	ctx context.Context, kind string, u *storage.User, to, url string, detail map[string]string, lifetime time.Duration,
) error {
	if !s.sends {
		return nil
	}
	return s.store.InsertEmail(
		ctx, s.secrets.NewEmail(ctx, kind, u, to, seal.EmailSecrets{URL: url}, detail, s.store.Now().Add(lifetime)),
	)
}

// NotifyNewDevice tells a user that they signed in from a browser that was not known, in the transaction that starts
// the session. browser is its name in English, which may be empty, and place is its IP address.
func (s *Service) NotifyNewDevice(ctx context.Context, u *storage.User, browser, place string) error {
	return s.notify(ctx, "new_device", u, map[string]string{"browser": browser, "place": place})
}

// ResetPassword sets a new password with the link of AskReset, which it uses up. It signs the user out of every
// browser, and revokes what options asks for. It does not sign in. Errors are ErrLink, and *Invalid for the password,
// which leaves the link as it is.
func (s *Service) ResetPassword(
	ctx context.Context, token, password string, options SignOutOptions,
) (storage.User, error) {
	ctx = storage.System(ctx)
	proof, err := s.Link(ctx, token, storage.ProofReset)
	if err != nil {
		return storage.User{}, err
	}
	user, err := s.store.UserByID(ctx, proof.UserID)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return user, ErrLink
	case err != nil:
		return user, fmt.Errorf("look up the user: %w", err)
	case !user.DisabledAt.IsZero(), storage.EmailKey(user.Email) != storage.EmailKey(proof.Email):
		return user, ErrLink
	}
	if err := checkPassword(password, s.forbiddenWords(user.Email, user.Name)); err != nil {
		return user, err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return user, err
	}
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		if err := s.use(ctx, &proof); err != nil {
			return err
		}
		if err := s.store.SetPasswordHash(ctx, user.ID, hash); err != nil {
			return err
		}
		ended, err := s.signOut(ctx, user.ID, options)
		if err != nil {
			return err
		}
		if err := s.store.EndEmailProofs(ctx, user.ID, storage.ProofAddress); err != nil {
			return err
		}
		if err := s.notify(ctx, "password_changed", &user, nil); err != nil {
			return err
		}
		return s.store.Audit(
			ctx, storage.AuditEvent{Action: "user.password_reset", Target: user.ID, Detail: ended.detail()}, user.ID,
		)
	})
	if err != nil {
		return user, fmt.Errorf("reset the password: %w", err)
	}
	return user, nil
}

// newReset adds the proof with which a user chooses a new password, and returns the token of its link.
func (s *Service) newReset(ctx context.Context, userID, email string) (token string, err error) {
	token = newToken()
	return token, s.store.InsertEmailProof(ctx, storage.EmailProof{
		ID: storage.NewID("proof"), Kind: storage.ProofReset, Subject: storage.EmailKey(email),
		Digest: storage.Digest(token), UserID: userID, Email: email, ExpiresAt: s.store.Now().Add(ResetLifetime),
	})
}

// AskAddress sends a link to a new address of a user; opening it changes the address. An address that has an account
// gets an email that says so. Errors are *Invalid for an address that is not one, and ErrNotSent.
func (s *Service) AskAddress(ctx context.Context, userID, email string) error {
	ctx = storage.System(ctx)
	email, err := checkEmail(email)
	if err != nil {
		return err
	}
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		user, err := s.store.UserByID(ctx, userID)
		if err != nil {
			return err
		}
		if storage.EmailKey(email) == storage.EmailKey(user.Email) {
			return &Invalid{Field: "email", Message: locale.New("This is your address already.")}
		}
		other, err := s.store.UserByEmail(ctx, email)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		taken := err == nil
		held, err := s.store.AddressHeld(ctx, email, userID)
		if err != nil {
			return err
		}
		// A signed-in user asks, so the bounds on networks and on the server do not apply.
		allowed, err := s.countEmail(ctx,
			emailBound{"address " + storage.ProofAddress + " " + storage.EmailKey(email), emailsPerAddress, addressWindow},
			emailBound{"changes of " + user.ID, addressChanges, networkWindow})
		if err != nil {
			return err
		}
		if !allowed {
			return ErrNotSent
		}
		token := newToken()
		if err := s.store.InsertEmailProof(ctx, storage.EmailProof{
			ID: storage.NewID("proof"), Kind: storage.ProofAddress, Subject: user.ID, Digest: storage.Digest(token),
			UserID: user.ID, Email: email, ExpiresAt: s.store.Now().Add(SignUpLifetime),
		}); err != nil {
			return err
		}
		if taken || held {
			reader := user // an account that an undo would give the address back to is not told
			if taken {
				reader = other
			}
			return s.notifyUntil(ctx, "address_taken", &reader, email, "", nil, SignUpLifetime)
		}
		return s.notifyUntil(ctx, "address", &user, email, s.issuer+"/address?word="+token,
			map[string]string{"address": user.Email}, SignUpLifetime)
	})
	if err != nil {
		return fmt.Errorf("ask for a change of address: %w", err)
	}
	return nil
}

// ChangeAddress changes a user's address to the one that a link of AskAddress proves. The old address gets an email
// with a link that undoes the change for a week. It needs no session: the user asked for the link with a fresh proof.
// Errors are ErrLink, and *Invalid if the address was taken meanwhile.
func (s *Service) ChangeAddress(ctx context.Context, token string) (storage.User, error) {
	ctx = storage.System(ctx)
	var user storage.User
	proof, err := s.Link(ctx, token, storage.ProofAddress)
	if err != nil {
		return user, err
	}
	userID := proof.UserID
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		if err := s.use(ctx, &proof); err != nil {
			return err
		}
		before, err := s.store.UserByID(ctx, userID)
		if errors.Is(err, storage.ErrNotFound) || err == nil && !before.DisabledAt.IsZero() {
			return ErrLink
		}
		if err != nil {
			return err
		}
		held, err := s.store.AddressHeld(ctx, proof.Email, userID)
		if err != nil {
			return err
		}
		if held {
			return storage.ErrExists
		}
		undo := newToken()
		// The undo of an address that is older wins, so each address has a link of its own.
		if err := s.store.InsertEmailProof(ctx, storage.EmailProof{
			ID: storage.NewID("proof"), Kind: storage.ProofUndo, Subject: userID + " " + storage.EmailKey(before.Email),
			Digest: storage.Digest(undo), UserID: userID, Email: before.Email, ExpiresAt: s.store.Now().Add(UndoLifetime),
		}); err != nil {
			return err
		}
		if err := s.store.UpdateUser(ctx, userID, storage.UserUpdate{Email: &proof.Email}); err != nil {
			return err
		}
		if err := s.store.SetEmailProven(ctx, userID); err != nil {
			return err
		}
		// Links to the address before would be a way in for its readers.
		if err := s.store.EndEmailProofs(
			ctx, userID, storage.ProofSignIn, storage.ProofReset, storage.ProofFactor,
		); err != nil {
			return err
		}
		if err := s.notifyUntil(ctx, "address_changed", &before, before.Email, s.issuer+"/undo?word="+undo,
			map[string]string{"address": proof.Email}, UndoLifetime); err != nil {
			return err
		}
		if user, err = s.store.UserByID(ctx, userID); err != nil {
			return err
		}
		return s.audit(ctx, "user.email_changed", userID)
	})
	if errors.Is(err, storage.ErrExists) {
		return user, addressTaken()
	}
	if err != nil {
		return user, fmt.Errorf("change the address: %w", err)
	}
	return user, nil
}

// UndoAddress gives a user the address back that they had before a change, with the link of the email to that address.
// Every session ends, and so do all links to later addresses, and what was added since to sign in with. It returns the
// token of a link with which the user chooses a new password. Errors are ErrLink, and *Invalid if another account has
// the address now.
func (s *Service) UndoAddress(ctx context.Context, token string) (reset string, err error) {
	ctx = storage.System(ctx)
	proof, err := s.Link(ctx, token, storage.ProofUndo)
	if err != nil {
		return "", err
	}
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		if err := s.use(ctx, &proof); err != nil {
			return err
		}
		if err := s.store.EndLaterUndos(ctx, proof.UserID, proof.CreatedAt); err != nil {
			return err
		}
		if err := s.store.UpdateUser(ctx, proof.UserID, storage.UserUpdate{Email: &proof.Email}); err != nil {
			return err
		}
		ended, err := s.signOut(ctx, proof.UserID, SignOutOptions{})
		if err != nil {
			return err
		}
		if err := s.store.EndEmailProofs(
			ctx, proof.UserID, storage.ProofAddress, storage.ProofReset, storage.ProofFactor,
		); err != nil {
			return err
		}
		// What was added after the change was added by who made it, and was told to the address that goes.
		removed, err := s.store.DeleteMethodsSince(ctx, proof.UserID, s.passkeyDomain(), proof.CreatedAt)
		if err != nil {
			return err
		}
		detail := ended.detail()
		detail["methods_removed"] = strconv.FormatInt(removed, 10)
		if reset, err = s.newReset(ctx, proof.UserID, proof.Email); err != nil {
			return err
		}
		return s.store.Audit(ctx, storage.AuditEvent{
			Action: "user.email_restored", Target: proof.UserID, Detail: detail,
		}, proof.UserID)
	})
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return "", ErrLink // the account was deleted
	case errors.Is(err, storage.ErrExists):
		return "", addressTaken()
	case err != nil:
		return "", fmt.Errorf("undo the change of address: %w", err)
	}
	return reset, nil
}

// SetLocale sets the language and the time zone in which a user reads pages and emails; empty: as the browser asks, and
// UTC. Errors are *Invalid.
func (s *Service) SetLocale(ctx context.Context, userID, language, timeZone string) error {
	if timeZone != "" {
		if _, err := time.LoadLocation(timeZone); err != nil || strings.Contains(timeZone, "..") || timeZone == "Local" {
			return &Invalid{Field: "time_zone", Message: locale.New("Choose a time zone from the list.")}
		}
	}
	if err := s.store.SetUserLocale(storage.System(ctx), userID, language, timeZone); err != nil {
		return fmt.Errorf("set the language and the time zone: %w", err)
	}
	return nil
}
