package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"doorward/cmd/doorward/show"
	"doorward/oauth/identity"
	"doorward/storage"
)

type userInvite struct {
	output
	Email string `arg:"" help:"Email address to invite."`
}

// Run sends an invitation. The server that runs sends the email.
func (c userInvite) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		proof, err := s.identity.Invite(ctx, c.Email)
		if errors.Is(err, identity.ErrNoEmail) {
			return fmt.Errorf("%w; or create the user with: doorward user create", err)
		}
		if err != nil {
			return invalidPerson(err)
		}
		expires := show.Seconds(proof.ExpiresAt)
		return c.print(a, map[string]any{"email": proof.Email, "expires_at": expires}, func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "Invited %s. The link in the email works until %s.\n", proof.Email,
				expires.Format(time.RFC3339))
		})
	})
}

type userSessions struct {
	output
	Email string `arg:"" help:"Email address of the user."`
	End   bool   `help:"End all of them."`
}

// Run lists a user's sessions, or ends them.
func (c userSessions) Run(ctx context.Context, a *app) error {
	if c.End {
		return c.endFor(ctx, a, c.Email, "Signed out",
			func(ctx context.Context, s *services, user storage.User) (identity.SignOutResult, error) {
				return s.identity.SignOut(ctx, user.ID, identity.SignOutOptions{})
			})
	}
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		user, err := s.userByEmail(ctx, c.Email)
		if err != nil {
			return err
		}
		list, err := s.identity.Sessions(ctx, user.ID)
		if err != nil {
			return err
		}
		rows := []show.Session{}
		for i := range list {
			rows = append(rows, show.NewSession(&list[i]))
		}
		return c.print(a, rows, func(w io.Writer) { show.Sessions(w, rows) })
	})
}

type userReset struct {
	output
	Email string `arg:"" help:"Email address of the user."`
}

// Run sends a reset email. The server that runs sends it.
func (c userReset) Run(ctx context.Context, a *app) error {
	return c.onUser(ctx, a, c.Email, "Sent a reset email to",
		func(ctx context.Context, s *services, user storage.User) error {
			err := s.identity.SendReset(ctx, user.ID)
			if errors.Is(err, identity.ErrNoEmail) {
				return fmt.Errorf("%w; or set a password with: doorward user password", err)
			}
			return err
		})
}

type userAdmin struct {
	output
	Email string `arg:"" help:"Email address of the user."`
	Off   bool   `help:"Remove the role. The last enabled administrator keeps it."`
}

// Run makes a user an administrator, or removes the role.
func (c userAdmin) Run(ctx context.Context, a *app) error {
	admin, done := !c.Off, "Made an administrator:"
	if c.Off {
		done = "Not an administrator now:"
	}
	return c.onUser(ctx, a, c.Email, done, func(ctx context.Context, s *services, user storage.User) error {
		_, err := s.identity.UpdateUser(ctx, user.ID, identity.UserChange{Admin: &admin})
		return err
	})
}

type userApprove struct {
	output
	Email string `arg:"" help:"Email address of the user."`
}

// Run approves an account.
func (c userApprove) Run(ctx context.Context, a *app) error {
	return c.onUser(ctx, a, c.Email, "Approved", func(ctx context.Context, s *services, user storage.User) error {
		return s.identity.ApproveUser(ctx, user.ID)
	})
}

type userRefuse struct {
	output
	Email string `arg:"" help:"Email address of the user."`
}

// Run refuses an account.
func (c userRefuse) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		user, err := s.userByEmail(ctx, c.Email)
		if err != nil {
			return err
		}
		if err := s.identity.RefuseUser(ctx, user.ID); err != nil {
			return err
		}
		return c.printUser(a, user, "Refused and deleted")
	})
}

type userFactor struct {
	Remove userFactorRemove `cmd:"" help:"Remove all second factors of a user who has lost them: passkeys, authenticator app and recovery codes."`
}

type userFactorRemove struct {
	output
	Email string `arg:"" help:"Email address of the user."`
}

// Run removes the second factors of a user, who is signed out everywhere and told by email.
func (c userFactorRemove) Run(ctx context.Context, a *app) error {
	return c.onUser(ctx, a, c.Email, "Removed the second factors of",
		func(ctx context.Context, s *services, user storage.User) error {
			err := s.identity.RemoveSecondFactors(ctx, user.ID)
			if errors.Is(err, storage.ErrNotFound) {
				return fmt.Errorf("%s has no second factor", user.Email)
			}
			return err
		})
}
