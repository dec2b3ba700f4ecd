package identity

import (
	"context"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"doorward/storage"
)

// NewUser describes a user to create.
type NewUser struct {
	Email    string
	Name     string // may be empty
	Password string
	Admin    bool // an administrator of this server
	// Proven says that the address was proven by an email, and Language and TimeZone are how the user reads pages;
	// TermsURL are the terms that the user accepted. They are optional.
	Proven             bool
	Language, TimeZone string
	TermsURL           string
	// Passkey is one that the user has just created instead of a password; nil: none. The user gets the ID that it is
	// for.
	Passkey *NewPasskey

	invited    bool // by an administrator, so the account needs no approval
	noPassword bool // users sign in in another way, so Password is ignored
	// then runs in the transaction that creates the user; nil: nothing does.
	then func(ctx context.Context, userID string) error
}

// CreateUser creates a user with their personal workspace. Wrong fields are *Invalid errors, joined; for an address
// that is taken the error also wraps storage.ErrExists.
func (s *Service) CreateUser(ctx context.Context, u NewUser) (storage.User, error) {
	insert, err := s.PrepareUser(ctx, u)
	if err != nil {
		return storage.User{}, err
	}
	return insert(ctx)
}

// PrepareUser does the slow part of CreateUser, which no transaction should wait for. insert does the rest, in the
// transaction of its context or in one of its own.
func (s *Service) PrepareUser(
	ctx context.Context, u NewUser,
) (insert func(context.Context) (storage.User, error), err error) {
	prepared, err := s.prepare(storage.System(ctx), u, func(ctx context.Context) error {
		// The token for the first administrator expires with the first user.
		return s.store.DropSetting(ctx, storage.SettingSetupToken)
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (storage.User, error) { return prepared(storage.System(ctx)) }, nil
}

// create calls first and inserts a user, in one transaction.
func (s *Service) create(ctx context.Context, u NewUser, first func(context.Context) error) (storage.User, error) {
	insert, err := s.prepare(ctx, u, first)
	if err != nil {
		return storage.User{}, err
	}
	return insert(ctx)
}

func (s *Service) prepare(
	ctx context.Context, u NewUser, first func(context.Context) error,
) (func(context.Context) (storage.User, error), error) {
	email, emailErr := checkEmail(u.Email)
	name, nameErr := checkName(u.Name)
	var passwordErr error
	if !u.noPassword {
		passwordErr = checkPassword(u.Password, s.forbiddenWords(email, name))
	}
	if err := errors.Join(emailErr, nameErr, passwordErr); err != nil {
		return nil, err
	}
	var hash string // an empty one matches no password
	if !u.noPassword {
		var err error
		if hash, err = s.hasher.hash(ctx, u.Password); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context) (storage.User, error) {
		user := storage.User{
			Email: email, Name: name, PasswordHash: hash, Admin: u.Admin, Language: u.Language, TimeZone: u.TimeZone,
		}
		now := s.store.Now()
		if u.Proven {
			user.EmailProvenAt = now
			if s.approval && !u.invited {
				user.DisabledAt, user.WaitingSince = now, now
			}
		}
		if u.TermsURL != "" {
			user.TermsURL, user.TermsAcceptedAt = u.TermsURL, now
		}
		return s.insert(ctx, user, u, first)
	}, nil
}

func (s *Service) insert(
	ctx context.Context, user storage.User, u NewUser, first func(context.Context) error,
) (storage.User, error) {
	err := s.store.InTx(ctx, func(ctx context.Context) error {
		if err := first(ctx); err != nil {
			return err
		}
		user.ID = storage.NewID("user")
		if u.Passkey != nil {
			user.ID = u.Passkey.UserID
		}
		if err := s.store.InsertUser(ctx, &user); err != nil {
			return err
		}
		if err := s.audit(ctx, "user.created", user.ID); err != nil {
			return err
		}
		if u.then != nil {
			if err := u.then(ctx, user.ID); err != nil {
				return err
			}
		}
		if u.Passkey == nil {
			return nil
		}
		user.Passkeys = 1
		return s.addPasskey(ctx, u.Passkey, false) // there was nothing before that it changes
	})
	switch {
	case errors.Is(err, storage.ErrExists):
		return storage.User{}, addressTaken()
	case err != nil:
		return storage.User{}, fmt.Errorf("create the user: %w", err)
	}
	return user, nil
}

// forbiddenWords lists the words from which the user's password must not be derived.
func (s *Service) forbiddenWords(email, name string) []string {
	return append([]string{email, name}, s.context...)
}

// SetupToken creates the token with which the first administrator is created: 160 random bits, stored as a digest. It
// replaces an earlier one. Once there is a user, needed is false and token is empty.
func (s *Service) SetupToken(ctx context.Context) (token string, needed bool, err error) {
	token = strings.ToLower(base32.StdEncoding.EncodeToString(random(20)))
	err = s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		has, err := s.store.HasUser(ctx)
		if err != nil {
			return err
		}
		if needed = !has; !needed {
			return s.store.DropSetting(ctx, storage.SettingSetupToken)
		}
		return s.store.SetSetting(ctx, storage.SettingSetupToken, setupDigest(token))
	})
	if err != nil {
		return "", false, fmt.Errorf("create the setup token: %w", err)
	}
	if !needed {
		token = ""
	}
	return token, needed, nil
}

func setupDigest(token string) string { return hex.EncodeToString(storage.Digest(token)) }

// CheckSetupToken returns ErrSetupToken unless CreateFirstAdministrator would accept the token now.
func (s *Service) CheckSetupToken(ctx context.Context, token string) error {
	have, err := s.store.Setting(storage.System(ctx), storage.SettingSetupToken)
	if errors.Is(err, storage.ErrNotFound) {
		return ErrSetupToken
	}
	if err != nil {
		return fmt.Errorf("look up the setup token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(have), []byte(setupDigest(token))) != 1 {
		return ErrSetupToken
	}
	return nil
}

// CreateFirstAdministrator creates the first user, always as an administrator, for the holder of the token of
// SetupToken. It consumes the token in the same transaction, so that only one of many calls at once succeeds. The
// others, and all calls after any user was created, get ErrSetupToken. Other errors are those of CreateUser, and do not
// consume the token.
func (s *Service) CreateFirstAdministrator(ctx context.Context, token string, u NewUser) (storage.User, error) {
	if err := s.CheckSetupToken(ctx, token); err != nil { // before the expensive work
		return storage.User{}, err
	}
	u.Admin = true
	return s.create(storage.System(ctx), u, func(ctx context.Context) error {
		if err := s.store.TakeSetting(
			ctx, storage.SettingSetupToken, setupDigest(token),
		); errors.Is(
			err, storage.ErrConsumed,
		) {
			return ErrSetupToken
		} else if err != nil {
			return err
		}
		has, err := s.store.HasUser(ctx)
		if err == nil && has {
			err = ErrSetupToken
		}
		return err
	})
}

// SignInLinkLifetime is how long a link of SignInLink works.
const SignInLinkLifetime = 15 * time.Minute

// SignInLink creates a token of 256 random bits with which an administrator of the server can sign in once, without any
// other factor, and stores its digest. Their earlier links stop working. It is for the operator, and works even
// while the password is locked or a second factor is lost. The administrator is told by email that there is such a
// link. It returns ErrDisabled if they are disabled, and ErrNotAdministrator for other users.
func (s *Service) SignInLink(ctx context.Context, userID string) (token string, err error) {
	token = strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(random(32)))
	err = s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		if err := s.store.InsertSignInLink(
			ctx, userID, storage.Digest(token), s.store.Now().Add(SignInLinkLifetime),
		); errors.Is(err, storage.ErrConflict) {
			return ErrDisabled
		} else if err != nil {
			return err
		}
		user, err := s.store.UserByID(ctx, userID)
		if err != nil {
			return err
		}
		if !user.Admin {
			return ErrNotAdministrator
		}
		return s.notify(ctx, "link_created", &user, nil)
	})
	if errors.Is(err, ErrDisabled) {
		return "", err
	}
	if err != nil {
		return "", fmt.Errorf("create a sign-in link: %w", err)
	}
	return token, nil
}

// ChangePassword is for the user themselves: it checks the current password as Confirm does, and ends all sessions
// except for the named one. Apps keep their access, which the user can withdraw under Connected apps. It returns the
// errors of Confirm, and *Invalid for the new password.
func (s *Service) ChangePassword(
	ctx context.Context, userID, sessionID string, current Attempt, password string,
) error {
	ctx = storage.System(ctx)
	user, err := s.store.UserByID(ctx, userID)
	if err != nil {
		return fmt.Errorf("look up the user: %w", err)
	}
	if err := checkPassword(password, s.forbiddenWords(user.Email, user.Name)); err != nil {
		return err
	}
	if user, err = s.confirm(ctx, user, current); err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	err = s.store.InTx(ctx, func(ctx context.Context) error {
		if err := s.store.ReplacePasswordHash(ctx, user.ID, user.PasswordHash, hash); err != nil {
			return err
		}
		if _, err := s.store.EndOtherSessions(ctx, user.ID, sessionID); err != nil {
			return err
		}
		if err := s.notify(ctx, "password_changed", &user, nil); err != nil {
			return err
		}
		return s.audit(ctx, "user.password_changed", user.ID)
	})
	if errors.Is(
		err, storage.ErrConflict,
	) { // another request has just changed it, so the given one is not the current one
		return ErrWrong
	}
	if err != nil {
		return fmt.Errorf("change the password: %w", err)
	}
	return nil
}

// SetPassword is for an administrator: it does not need the current password, unlocks a locked one, and signs the user
// out as SignOut does. Errors are *Invalid, and storage.ErrNotFound if the user does not exist.
func (s *Service) SetPassword(
	ctx context.Context, userID, password string, options SignOutOptions,
) (SignOutResult, error) {
	ctx = storage.System(ctx)
	var ended SignOutResult
	user, err := s.store.UserByID(ctx, userID)
	if err != nil {
		return ended, fmt.Errorf("look up the user: %w", err)
	}
	if err := checkPassword(password, s.forbiddenWords(user.Email, user.Name)); err != nil {
		return ended, err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return ended, err
	}
	err = s.store.InTx(ctx, func(ctx context.Context) (err error) {
		if err := s.store.SetPasswordHash(ctx, user.ID, hash); err != nil {
			return err
		}
		if ended, err = s.signOut(ctx, user.ID, options); err != nil {
			return err
		}
		if err := s.notify(ctx, "password_changed", &user, nil); err != nil {
			return err
		}
		return s.store.Audit(
			ctx, storage.AuditEvent{Action: "user.password_set", Target: user.ID, Detail: ended.detail()}, user.ID,
		)
	})
	if err != nil {
		return ended, fmt.Errorf("set the password: %w", err)
	}
	return ended, nil
}

// SignOutOptions say what else to revoke when a user is signed out of every browser.
type SignOutOptions struct {
	Apps   bool // the grants of apps, which must then all ask the user again
	Tokens bool // the user's personal access tokens
}

// SignOutResult says what SignOut or SetPassword ended or revoked.
type SignOutResult struct {
	Sessions int64
	Grants   int64 // of apps, each with its codes, access and refresh tokens
	Revoked  int64 // personal access tokens
	// Tokens are the personal access tokens that were neither revoked nor expired before. SignOutOptions.Tokens revokes
	// them.
	Tokens []storage.APIKey
}

func (e *SignOutResult) detail() map[string]string {
	return map[string]string{
		"sessions": strconv.FormatInt(
			e.Sessions, 10,
		),
		"grants": strconv.FormatInt(e.Grants, 10),
		"tokens": strconv.FormatInt(e.Revoked, 10),
	}
}

// maxListed is how many personal access tokens a SignOutResult lists.
const maxListed = 1000

func (s *Service) signOut(ctx context.Context, userID string, signOut SignOutOptions) (e SignOutResult, err error) {
	if e.Sessions, err = s.store.SignOut(ctx, userID); err != nil {
		return e, err
	}
	if signOut.Apps {
		if e.Grants, err = s.store.EndGrants(ctx, userID, storage.RevokedByAdministrator); err != nil {
			return e, err
		}
		if err = s.store.ForgetConsents(ctx, userID); err != nil {
			return e, err
		}
	}
	if e.Tokens, err = s.CurrentTokens(ctx, userID); err != nil || !signOut.Tokens {
		return e, err
	}
	e.Revoked, err = s.store.RevokeTokensOf(ctx, userID)
	return e, err
}

// CurrentTokens lists a user's personal access tokens that are neither revoked nor expired, including paused ones.
func (s *Service) CurrentTokens(ctx context.Context, userID string) (list []storage.APIKey, err error) {
	ctx = storage.System(ctx)
	for _, state := range []string{"active", "paused"} {
		some, err := s.store.Keys(
			ctx, storage.KeyOwner{UserID: userID}, storage.KeyFilter{State: state, Limit: maxListed},
		)
		if err != nil {
			return nil, fmt.Errorf("list personal access tokens: %w", err)
		}
		list = append(list, some...)
	}
	return list, nil
}
