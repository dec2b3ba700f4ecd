package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"doorward/storage"
)

// The kinds of methods. The first three are also the ids of the methods, since a user has one of each.
const (
	MethodPassword      = "password"
	MethodTOTP          = "totp"
	MethodRecoveryCodes = "recovery_codes"
	MethodPasskey       = "passkey"
	MethodProvider      = "provider"
)

// Method is a way in which one user signs in, or a second factor. Emailed links and codes, which every user has, are
// not among them.
type Method struct {
	ID    string
	Kind  string // one of the constants
	Name  string // of a passkey, or of an account at a provider its address; otherwise empty
	Since storage.Time
	// UsedAt is when it was last used; zero: never, or not known.
	UsedAt storage.Time
	// Locked means that it does not work after too many failures, until an administrator enables the user again or they
	// sign in in another way.
	Locked bool
	// Left is how many recovery codes are left; zero for other kinds.
	Left int64
	// Provider is the id of the provider; empty for other kinds.
	Provider string
}

// Methods lists the sign-in methods and second factors of a user.
func (s *Service) Methods(ctx context.Context, u *storage.User) (list []Method, err error) {
	err = s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		list, err = s.methods(ctx, u)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the sign-in methods: %w", err)
	}
	return list, nil
}

func (s *Service) methods(ctx context.Context, u *storage.User) (list []Method, err error) {
	if u.PasswordHash != "" {
		list = append(list, Method{
			ID: MethodPassword, Kind: MethodPassword, Since: u.PasswordChangedAt, Locked: u.PasswordFailures >= failuresBound,
		})
	}
	if s.HasPasskey(u) {
		passkeys, err := s.store.PasskeysOf(ctx, u.ID, s.passkeys.Config.RPID)
		if err != nil {
			return nil, err
		}
		for _, k := range passkeys {
			list = append(list, Method{
				ID: k.ID, Kind: MethodPasskey, Name: k.Name, Since: k.CreatedAt, UsedAt: k.UsedAt,
			})
		}
	}
	if !u.TOTPSince.IsZero() {
		t, err := s.store.TOTPOf(ctx, u.ID)
		if err != nil {
			return nil, err
		}
		list = append(list, Method{ID: MethodTOTP, Kind: MethodTOTP, Since: t.CreatedAt, UsedAt: t.UsedAt})
	}
	left, since, err := s.store.RecoveryCodesOf(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	if !since.IsZero() {
		list = append(list, Method{ID: MethodRecoveryCodes, Kind: MethodRecoveryCodes, Since: since, Left: left})
	}
	accounts, err := s.store.ProviderAccountsOf(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	for _, p := range accounts {
		list = append(list, Method{
			ID: p.ID, Kind: MethodProvider, Name: p.Email, Provider: p.Provider, Since: p.CreatedAt, UsedAt: p.UsedAt,
		})
	}
	return list, nil
}

// waysIn reports whether a user can sign in with one of these methods, or by email.
func (s *Service) waysIn(list []Method) bool {
	if s.sends && (s.links || !s.noPasswords) {
		return true // by an emailed link, or with a new password
	}
	return slices.ContainsFunc(list, func(m Method) bool {
		switch m.Kind {
		case MethodPassword:
			return !s.noPasswords
		case MethodPasskey:
			return s.passkeys != nil
		case MethodProvider:
			_, err := s.Provider(m.Provider)
			return err == nil
		}
		return false
	})
}

// hasSecondFactor reports whether one of these methods is a second factor.
func hasSecondFactor(list []Method) bool {
	return slices.ContainsFunc(list, func(m Method) bool { return m.Kind == MethodPasskey || m.Kind == MethodTOTP })
}

// RemoveMethod removes a sign-in method or second factor of a user, for the user, who has to have proved the highest
// level that they can reach. They are told by email. Errors are ErrOnlyWay, ErrFactorNeeded, and storage.ErrNotFound if
// the user or the method does not exist.
func (s *Service) RemoveMethod(ctx context.Context, userID, method string) error {
	err := s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		user, err := s.store.LockUser(ctx, userID)
		if err != nil {
			return err
		}
		return s.removeMethods(ctx, &user, false, func(m Method) bool { return m.ID == method })
	})
	if err != nil {
		return fmt.Errorf("remove a sign-in method: %w", err)
	}
	return nil
}

// RemoveMethodOf is RemoveMethod for an administrator: it also removes the last second factor of a user who has to have
// one, so that they set up another at their next sign-in, and signs them out of every browser. Errors are ErrOnlyWay,
// and storage.ErrNotFound if the user or the method does not exist.
func (s *Service) RemoveMethodOf(ctx context.Context, userID, method string) error {
	return s.removeOf(ctx, userID, false, func(m Method) bool { return m.ID == method })
}

// RemoveSecondFactors removes all second factors of a user who has lost them, for an administrator: passkeys,
// authenticator app and recovery codes, also passkeys that do not count in the configuration of now. It signs them out
// of every browser and tells them by email. Errors are ErrOnlyWay, and storage.ErrNotFound if the user does not exist
// or has none.
func (s *Service) RemoveSecondFactors(ctx context.Context, userID string) error {
	return s.removeOf(ctx, userID, true, func(m Method) bool {
		return m.Kind == MethodPasskey || m.Kind == MethodTOTP || m.Kind == MethodRecoveryCodes
	})
}

// removeOf removes methods of a user for an administrator. uncounted adds the passkeys that do not count now.
func (s *Service) removeOf(ctx context.Context, userID string, uncounted bool, which func(Method) bool) error {
	err := s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		user, err := s.store.LockUser(ctx, userID)
		if err != nil {
			return err
		}
		var others int64
		if uncounted {
			if others, err = s.store.DeleteOtherPasskeys(ctx, user.ID, s.passkeyDomain()); err != nil {
				return err
			}
		}
		err = s.removeMethods(ctx, &user, true, which)
		if errors.Is(err, storage.ErrNotFound) && others > 0 {
			err = s.auditOwn(ctx, passkeyRemoved, user.ID, user.ID)
		}
		if err != nil {
			return err
		}
		_, err = s.signOut(ctx, user.ID, SignOutOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("remove a sign-in method: %w", err)
	}
	return nil
}

// removeMethods removes some methods of a locked user, in the transaction of its context.
func (s *Service) removeMethods(
	ctx context.Context, user *storage.User, administrator bool, which func(Method) bool,
) error {
	all, err := s.methods(ctx, user)
	if err != nil {
		return err
	}
	var gone, rest []Method
	for _, m := range all {
		if which(m) {
			gone = append(gone, m)
		} else {
			rest = append(rest, m)
		}
	}
	if len(gone) == 0 {
		return storage.ErrNotFound
	}
	if err := s.mayRemove(user, gone, rest, administrator); err != nil {
		return err
	}
	for _, m := range gone {
		if err := s.removeOne(ctx, user, m, administrator); err != nil {
			return err
		}
	}
	// Recovery codes take the place of a second factor.
	if hasSecondFactor(gone) && !hasSecondFactor(rest) {
		return s.store.DeleteRecoveryCodes(ctx, user.ID)
	}
	return nil
}

// mayRemove returns why some methods cannot be removed, if only the rest is left.
func (s *Service) mayRemove(user *storage.User, gone, rest []Method, administrator bool) error {
	switch {
	case !s.waysIn(rest):
		return ErrOnlyWay
	case !administrator && s.NeedsSecondFactor(user) && hasSecondFactor(gone) && !hasSecondFactor(rest):
		return ErrFactorNeeded
	}
	return nil
}

// MayRemove returns the error that RemoveMethod would return for one of the methods that a user has.
func (s *Service) MayRemove(user *storage.User, list []Method, method string) error {
	var gone, rest []Method
	for _, m := range list {
		if m.ID == method {
			gone = append(gone, m)
		} else {
			rest = append(rest, m)
		}
	}
	return s.mayRemove(user, gone, rest, false)
}

func (s *Service) removeOne(ctx context.Context, user *storage.User, m Method, administrator bool) error {
	switch m.Kind {
	case MethodPassword:
		if err := s.store.SetPasswordHash(ctx, user.ID, ""); err != nil {
			return err
		}
		if administrator {
			if err := s.notify(ctx, "password_removed", user, nil); err != nil {
				return err
			}
			return s.audit(ctx, passwordRemoved, user.ID)
		}
		return s.changed(ctx, user, passwordRemoved, user.ID, "")
	case MethodPasskey:
		if err := s.store.DeletePasskey(ctx, user.ID, m.ID, s.passkeys.Config.RPID); err != nil {
			return err
		}
		return s.changed(ctx, user, passkeyRemoved, m.ID, m.Name)
	case MethodTOTP:
		if err := s.store.DeleteTOTP(ctx, user.ID); err != nil {
			return err
		}
		return s.changed(ctx, user, totpDisabled, user.ID, "")
	case MethodRecoveryCodes:
		if err := s.store.DeleteRecoveryCodes(ctx, user.ID); err != nil {
			return err
		}
		return s.changed(ctx, user, recoveryDeleted, user.ID, "")
	}
	if err := s.store.DeleteProviderAccount(ctx, user.ID, m.ID); err != nil {
		return err
	}
	name := m.Provider
	if p, err := s.Provider(m.Provider); err == nil {
		name = p.Name()
	}
	return s.changed(ctx, user, providerRemoved, m.ID, name)
}

// The changes of sign-in methods, as they are named in the audit log and in the email about them.
const (
	passwordRemoved  = "user.password_removed"
	passkeyAdded     = "passkey.added"
	passkeyRemoved   = "passkey.removed"
	totpEnabled      = "totp.enabled"
	totpDisabled     = "totp.disabled"
	recoveryReplaced = "recovery_codes.replaced"
	recoveryDeleted  = "recovery_codes.deleted"
	recoveryUsed     = "recovery_codes.used"
	providerAdded    = "provider.connected"
	providerRemoved  = "provider.disconnected"
)

// changed records a change of a user's sign-in methods and tells them by email, in the transaction of its context. name
// is that of what was changed, for the email; empty: there is one.
func (s *Service) changed(ctx context.Context, user *storage.User, change, target, name string) error {
	if err := s.notify(ctx, "methods_changed", user, map[string]string{"change": change, "name": name}); err != nil {
		return err
	}
	return s.auditOwn(ctx, change, target, user.ID)
}

// auditOwn records a change of a user's sign-in methods. If no one is signed in yet, it is the user who makes it.
func (s *Service) auditOwn(ctx context.Context, change, target, userID string) error {
	e := storage.AuditEvent{Action: change, Target: target}
	if storage.ActorOf(ctx).UserID == "" && storage.ActorOf(ctx).Credential == "" {
		e.Actor = storage.Actor{UserID: userID}
	}
	return s.store.Audit(ctx, e, userID)
}

// SignInFailed is the action of the audit log for failed sign-ins.
const SignInFailed = "login.failed"

// shownSignIns is how many sign-ins SignIns lists.
const shownSignIns = 10

// SignIns lists the last sign-ins of a user, and the failed ones that the audit log records, the newest first.
func (s *Service) SignIns(ctx context.Context, userID string) ([]storage.AuditEvent, error) {
	ctx = storage.System(ctx)
	own, err := s.store.PersonalWorkspace(ctx, userID)
	if err != nil {
		return nil, fmt.Errorf("look up the personal workspace: %w", err)
	}
	list, err := s.store.AuditEvents(ctx, storage.AuditFilter{
		WorkspaceID: own.ID, Action: "login.", Target: userID, Limit: shownSignIns,
	})
	if err != nil {
		return nil, fmt.Errorf("list the last sign-ins: %w", err)
	}
	return list, nil
}
