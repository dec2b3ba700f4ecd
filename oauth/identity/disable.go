package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"doorward/locale"
	"doorward/oauth/input"
	"doorward/storage"
)

// SignOut ends all of a user's sessions, and revokes what else options asks for. It returns storage.ErrNotFound if the
// user does not exist.
func (s *Service) SignOut(ctx context.Context, userID string, options SignOutOptions) (ended SignOutResult, err error) {
	err = s.store.InTx(storage.System(ctx), func(ctx context.Context) (err error) {
		if _, err := s.store.UserByID(ctx, userID); err != nil {
			return err
		}
		if ended, err = s.signOut(ctx, userID, options); err != nil {
			return err
		}
		return s.store.Audit(
			ctx, storage.AuditEvent{Action: "user.signed_out", Target: userID, Detail: ended.detail()}, userID,
		)
	})
	if err != nil {
		return ended, fmt.Errorf("sign the user out: %w", err)
	}
	return ended, nil
}

// UserChange is a change of a user by an administrator; a nil field is not changed.
type UserChange struct {
	Email *string
	Name  *string
	Admin *bool
	// LeaveNoAdministrator allows a change that leaves the server without an enabled administrator; only for the CLI.
	LeaveNoAdministrator bool
}

// UpdateUser changes a user's address or name, or whether they are an administrator of this server. A change of address
// signs them out of every browser. Wrong fields are *Invalid errors, joined; for an address that is taken the error
// also wraps storage.ErrExists. It returns storage.ErrConflict for the last enabled administrator, and
// storage.ErrNotFound if the user does not exist.
func (s *Service) UpdateUser(ctx context.Context, userID string, c UserChange) (storage.User, error) {
	ctx = storage.System(ctx)
	var faults [2]error
	if c.Email != nil {
		email, err := checkEmail(*c.Email)
		c.Email, faults[0] = &email, err
	}
	if c.Name != nil {
		name, err := checkName(*c.Name)
		c.Name, faults[1] = &name, err
	}
	if err := errors.Join(faults[:]...); err != nil {
		return storage.User{}, err
	}
	var user storage.User
	err := s.store.InTx(ctx, func(ctx context.Context) error {
		before, err := s.store.UserByID(ctx, userID)
		if err != nil {
			return err
		}
		update := storage.UserUpdate{Email: c.Email, Name: c.Name, LeaveNoAdministrator: c.LeaveNoAdministrator}
		if c.Admin != nil && *c.Admin != before.Admin {
			update.Admin = c.Admin
		}
		if err := s.store.UpdateUser(ctx, userID, update); err != nil {
			return err
		}
		if user, err = s.store.UserByID(ctx, userID); err != nil {
			return err
		}
		return s.auditUpdate(ctx, before, user)
	})
	switch {
	case errors.Is(err, storage.ErrExists):
		return user, addressTaken()
	case err != nil:
		return user, explain("update the user", err)
	}
	return user, nil
}

// auditUpdate records each change of a user in the audit log, and signs them out if their address changed.
func (s *Service) auditUpdate(ctx context.Context, before, after storage.User) error {
	if before.Email != after.Email {
		if _, err := s.store.SignOut(ctx, after.ID); err != nil {
			return err
		}
	}
	for _, x := range []struct {
		action  string
		changed bool
	}{
		{"user.email_changed", before.Email != after.Email},
		{"user.renamed", before.Name != after.Name},
		{"user.made_administrator", !before.Admin && after.Admin},
		{"user.unmade_administrator", before.Admin && !after.Admin},
	} {
		if !x.changed {
			continue
		}
		if err := s.audit(ctx, x.action, after.ID); err != nil {
			return err
		}
	}
	return nil
}

// Rename changes the display name of a user. Errors are *Invalid, and storage.ErrNotFound if the user does not exist.
func (s *Service) Rename(ctx context.Context, userID, name string) error {
	name, err := checkName(name)
	if err != nil {
		return err
	}
	return s.change(
		ctx, "rename the user", "user.renamed", userID,
		func(ctx context.Context, id string) error { return s.store.RenameUser(ctx, id, name) },
	)
}

// audit records an action on a user in the audit log of their personal workspace.
func (s *Service) audit(ctx context.Context, action, userID string) error {
	return s.store.Audit(ctx, storage.AuditEvent{Action: action, Target: userID}, userID)
}

// change does act to a user and records it in the audit log, in one transaction.
func (s *Service) change(
	ctx context.Context, what, action, userID string, act func(ctx context.Context, userID string) error,
) error {
	return explain(what, s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		// Record it first, since deleting a user deletes their personal workspace.
		if err := s.audit(ctx, action, userID); err != nil {
			return err
		}
		return act(ctx, userID)
	}))
}

// DisableUser disables a user. It ends their sessions and revokes the grants of their apps for good. Until EnableUser,
// it also disables their personal access tokens and each workspace that has no other enabled owner, except for shared
// workspaces whose ids are in keep. It returns storage.ErrConflict for the last enabled administrator, and
// storage.ErrNotFound if the user does not exist.
func (s *Service) DisableUser(ctx context.Context, userID string, keep ...string) error {
	return s.change(
		ctx,
		"disable the user",
		"user.disabled",
		userID,
		s.withWorkspaces(func(ctx context.Context, id string) error {
			return s.store.DisableUser(ctx, id, keep...)
		}),
	)
}

// EnableUser enables a user again, and unlocks a password that was locked after too many wrong ones. Their personal
// access tokens and the workspaces that were disabled with them work again; sessions and grants of apps do not come
// back. For an account that waits for approval it is the approval, and the user is told by email. It returns
// storage.ErrNotFound if the user does not exist.
func (s *Service) EnableUser(ctx context.Context, userID string) error {
	return s.change(ctx, "enable the user", "user.enabled", userID,
		s.withWorkspaces(func(ctx context.Context, id string) error {
			waited, err := s.endWaiting(ctx, id)
			if err == nil && waited {
				err = s.approved(ctx, id)
			}
			if err != nil {
				return err
			}
			return s.store.EnableUser(ctx, id)
		}))
}

// withWorkspaces returns act, extended to record in each workspace of the user's that it was disabled or enabled with
// them.
func (s *Service) withWorkspaces(
	act func(ctx context.Context, userID string) error,
) func(ctx context.Context, userID string) error {
	return func(ctx context.Context, userID string) error {
		before, err := s.store.OwnedBy(ctx, userID)
		if err != nil {
			return err
		}
		if err := act(ctx, userID); err != nil {
			return err
		}
		for _, w := range before {
			now, err := s.store.WorkspaceByID(ctx, w.ID)
			if err != nil {
				return err
			}
			if now.DisabledAt.IsZero() == w.DisabledAt.IsZero() {
				continue
			}
			action := "workspace.enabled"
			if w.DisabledAt.IsZero() {
				action = "workspace.disabled"
			}
			if err := s.store.Audit(
				ctx,
				storage.AuditEvent{
					Action: action, WorkspaceID: w.ID, Target: w.ID, Detail: map[string]string{"with_user": userID},
				},
				"",
			); err != nil {
				return err
			}
		}
		return nil
	}
}

// DeleteUser deletes a user and all that belongs to them, and tells them by email. An account that waits for approval
// is refused by it, as by RefuseUser. It returns the errors of DisableUser.
func (s *Service) DeleteUser(ctx context.Context, userID string) error {
	return explain("delete the user", s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		user, err := s.store.UserByID(ctx, userID)
		if err != nil {
			return err
		}
		waited, err := s.endWaiting(ctx, userID)
		if err != nil {
			return err
		}
		if waited {
			return s.delete(ctx, &user, "refused", "user.refused")
		}
		return s.delete(ctx, &user, "account_deleted", "user.deleted")
	}))
}

func explain(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, storage.ErrConflict):
		return fmt.Errorf(
			"%s: this is the last enabled administrator; create or enable another one first: %w", what, err,
		)
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

const maxName = 200

func checkEmail(email string) (string, error) {
	email = strings.Trim(email, " ")
	if !input.IsEmail(email) {
		return "", &Invalid{
			Field:   "email",
			Message: locale.New("Enter one email address, such as name@example.com, in Latin letters only."),
		}
	}
	return email, nil
}

// checkName accepts a name, or none.
func checkName(name string) (string, error) {
	name, wrong := input.Line(name, maxName)
	if !wrong.IsZero() {
		return "", &Invalid{Field: "name", Message: locale.New("The name %s.", wrong)}
	}
	return name, nil
}
