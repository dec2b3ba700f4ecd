package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"doorward/cmd/doorward/show"
	"doorward/oauth/identity"
	"doorward/oauth/input"
	"doorward/storage"
)

type userCommand struct {
	Create   userCreate   `cmd:"" help:"Create a user with a personal workspace."`
	List     userList     `cmd:"" help:"List users."`
	Update   userUpdate   `cmd:"" help:"Update a user. Settings that you leave out stay unchanged."`
	SignOut  userSignOut  `cmd:"" name:"sign-out" help:"Sign a user out everywhere; --apps and --tokens also revoke app access and personal access tokens."`
	Disable  userDisable  `cmd:"" help:"Disable a user and the workspaces that only they own, and revoke the access of apps."`
	Enable   userEnable   `cmd:"" help:"Enable a disabled user and their workspaces."`
	Delete   userDelete   `cmd:"" help:"Delete a user and everything they own."`
	Password userPassword `cmd:"" help:"Set a user's password and revoke their sessions and app access."`

	Invite   userInvite   `cmd:"" help:"Send an email with a link to set up an account."`
	Sessions userSessions `cmd:"" help:"List the browsers in which a user is signed in; --end signs them all out."`
	Reset    userReset    `cmd:"" help:"Send a user an email with a link to choose a new password."`
	Role     userAdmin    `cmd:"" name:"admin" help:"Make a user an administrator of this server; --off removes the role."`
	Approve  userApprove  `cmd:"" help:"Approve an account that waits for approval."`
	Refuse   userRefuse   `cmd:"" help:"Refuse an account that waits for approval: it is deleted."`

	SignInLink userSignInLink `cmd:"" help:"Print a one-time link that signs an administrator in without a password or second factor. It expires in 15 minutes."`

	Factor userFactor `cmd:"" help:"Second factors of a user."`
}

type userCreate struct {
	output
	Email         string `required:"" help:"Email address with which the user signs in." placeholder:"ADDRESS"`
	Name          string `help:"The user's name." placeholder:"NAME"`
	Admin         bool   `help:"Create the user as an administrator of this server."`
	PasswordStdin bool   `required:"" help:"Read the password, one line, from standard input."`
}

// Run creates a user.
func (c userCreate) Run(ctx context.Context, a *app) error {
	password, err := a.readLine("password")
	if err != nil {
		return err
	}
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		user, err := s.identity.CreateUser(
			ctx,
			identity.NewUser{Email: c.Email, Name: c.Name, Password: password, Admin: c.Admin},
		)
		if err != nil {
			return invalidPerson(err)
		}
		if err := c.printUser(a, user, "Created"); err != nil || c.Admin {
			return err
		}
		if n, err := s.store.CountAdministrators(ctx); err == nil && n == 0 {
			// setup-link works only until the first user exists.
			_, _ = fmt.Fprintln(
				a.stderr,
				"This server has no administrator yet; create one with: doorward user update ADDRESS --admin",
			)
		}
		return nil
	})
}

type userList struct {
	output
	Filter string `help:"Only users in this state: never_signed_in, disabled, administrator, waiting (for approval) or without_second_factor." enum:",never_signed_in,disabled,administrator,waiting,without_second_factor" default:"" placeholder:"STATE"`
}

// Run lists users.
func (c userList) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		rows := []show.User{}
		for after := ""; ; {
			page, err := s.store.SortedUsers(
				ctx, storage.UserFilter{State: c.Filter}, storage.Order{After: after}, pageSize,
			)
			if err != nil {
				return fmt.Errorf("list users: %w", err)
			}
			for _, user := range page {
				rows = append(rows, show.NewUser(user))
				after = user.ID
			}
			if len(page) < pageSize {
				break
			}
		}
		return c.print(a, rows, func(w io.Writer) { show.Users(w, rows) })
	})
}

type userUpdate struct {
	output
	Address              string  `arg:"" name:"email" help:"Email address of the user."`
	Email                *string `name:"email" help:"New email address; signs the user out." placeholder:"ADDRESS"`
	Name                 *string `help:"The user's name; empty removes it." placeholder:"NAME"`
	Admin                *bool   `negatable:"" help:"Make the user an administrator of this server; --no-admin removes the role."`
	LeaveNoAdministrator bool    `help:"With --no-admin: continue even if no administrator is left."`
}

// Run changes the settings that were given.
func (c userUpdate) Run(ctx context.Context, a *app) error {
	if c.Email == nil && c.Name == nil && c.Admin == nil {
		return usageError{errors.New("nothing to change; add --email, --name, --admin or --no-admin")}
	}
	return c.onUser(ctx, a, c.Address, "Updated", func(ctx context.Context, s *services, user storage.User) error {
		_, err := s.identity.UpdateUser(
			ctx,
			user.ID,
			identity.UserChange{
				Email:                c.Email,
				Name:                 c.Name,
				Admin:                c.Admin,
				LeaveNoAdministrator: c.LeaveNoAdministrator,
			},
		)
		if errors.Is(err, storage.ErrConflict) {
			return fmt.Errorf(
				"%s is the last enabled administrator; make another user an administrator first, "+
					"or add --leave-no-administrator",
				user.Email,
			)
		}
		return invalidPerson(err)
	})
}

type userSignOut struct {
	output
	Email  string `arg:"" help:"Email address of the user."`
	Apps   bool   `help:"Also revoke the access of all apps; each must ask for consent again."`
	Tokens bool   `help:"Also revoke all personal access tokens."`
}

// Run signs a user out, revokes what the flags name, and lists the user's personal access tokens.
func (c userSignOut) Run(ctx context.Context, a *app) error {
	return c.endFor(
		ctx,
		a,
		c.Email,
		"Signed out",
		func(ctx context.Context, s *services, user storage.User) (identity.SignOutResult, error) {
			return s.identity.SignOut(ctx, user.ID, identity.SignOutOptions{Apps: c.Apps, Tokens: c.Tokens})
		},
	)
}

type userDisable struct {
	output
	Email          string   `arg:"" help:"Email address of the user."`
	KeepWorkspace  []string `sep:"none" help:"Shared workspace to keep enabled even without another enabled owner; repeat for several." placeholder:"SLUG"`
	KeepWorkspaces bool     `help:"Keep all shared workspaces enabled, even without another enabled owner."`
}

// Run disables a user and lists the workspaces that were disabled too.
func (c userDisable) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		user, err := s.userByEmail(ctx, c.Email)
		if err != nil {
			return err
		}
		with, err := s.store.WorkspacesDisabledWith(ctx, user.ID)
		if err != nil {
			return fmt.Errorf("look up the user's workspaces: %w", err)
		}
		keep, err := c.kept(a, user, with)
		if err != nil {
			return err
		}
		if err := s.identity.DisableUser(ctx, user.ID, keep...); err != nil {
			return err
		}
		if user, err = s.store.UserByID(ctx, user.ID); err != nil {
			return fmt.Errorf("look up the user: %w", err)
		}
		u := show.NewUser(user)
		for _, w := range with {
			if w, err = s.store.WorkspaceByID(ctx, w.ID); err != nil {
				return fmt.Errorf("look up the user's workspaces: %w", err)
			}
			if !w.DisabledAt.IsZero() {
				u.Workspaces = append(u.Workspaces, show.NewWorkspace(w))
			}
		}
		return c.print(a, u, func(w io.Writer) {
			_, _ = fmt.Fprintf(
				w,
				"Disabled %s (%s). These workspaces have no other enabled owner and were disabled too:\n",
				u.Email,
				u.ID,
			)
			show.AffectedWorkspaces(w, u.Workspaces)
		})
	})
}

// kept returns the IDs of the workspaces that stay enabled. affected are the workspaces that would be disabled. Without
// a flag that decides, it asks at the terminal.
func (c userDisable) kept(a *app, user storage.User, affected []storage.Workspace) (ids []string, err error) {
	var shared []storage.Workspace
	for _, w := range affected {
		if !w.Personal {
			shared = append(shared, w)
		}
	}
	slugs := c.KeepWorkspace
	if len(slugs) == 0 && !c.KeepWorkspaces && !c.JSON && len(shared) > 0 && a.terminal() {
		_, _ = fmt.Fprintf(
			a.stderr,
			"%s is the only enabled owner of these workspaces, which will be disabled with their keys and apps:\n",
			user.Email,
		)
		for _, w := range shared {
			_, _ = fmt.Fprintf(a.stderr, "  %s  %s\n", w.Slug, w.Name)
		}
		_, _ = fmt.Fprint(
			a.stderr,
			"To keep some of them enabled, enter their slugs, separated by spaces. To disable all, press Enter: ",
		)
		if slugs, err = a.readWords(); err != nil {
			return nil, err
		}
	}
	for _, slug := range slugs {
		i := slices.IndexFunc(shared, func(w storage.Workspace) bool { return w.Slug == slug })
		if i < 0 {
			return nil, usageError{
				fmt.Errorf(
					"%s is not one of the workspaces that will be disabled; nothing was changed", input.Quote(slug),
				),
			}
		}
		ids = append(ids, shared[i].ID)
	}
	if c.KeepWorkspaces {
		for _, w := range shared {
			ids = append(ids, w.ID)
		}
	}
	return ids, nil
}

type userEnable struct {
	output
	Email string `arg:"" help:"Email address of the user."`
}

// Run enables a user.
func (c userEnable) Run(ctx context.Context, a *app) error {
	return c.onUser(ctx, a, c.Email, "Enabled", func(ctx context.Context, s *services, user storage.User) error {
		return s.identity.EnableUser(ctx, user.ID)
	})
}

type userDelete struct {
	output
	Email string `arg:"" help:"Email address of the user."`
}

// Run deletes a user and lists the workspaces that were deleted with them.
func (c userDelete) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		user, err := s.userByEmail(ctx, c.Email)
		if err != nil {
			return err
		}
		gone, err := s.store.SolelyOwnedBy(ctx, user.ID)
		if err != nil {
			return fmt.Errorf("look up the user's workspaces: %w", err)
		}
		if err := s.identity.DeleteUser(ctx, user.ID); err != nil {
			return err
		}
		u := show.NewUser(user)
		for _, w := range gone {
			u.Workspaces = append(u.Workspaces, show.NewWorkspace(w))
		}
		return c.print(a, u, func(w io.Writer) {
			_, _ = fmt.Fprintf(
				w,
				"Deleted %s (%s) and the workspaces that had no other owner:\n",
				u.Email,
				u.ID,
			)
			show.AffectedWorkspaces(w, u.Workspaces)
		})
	})
}

type userPassword struct {
	output
	Email         string `arg:"" help:"Email address of the user."`
	PasswordStdin bool   `required:"" help:"Read the password, one line, from standard input."`
	KeepApps      bool   `help:"Keep app access."`
	Tokens        bool   `help:"Also revoke all personal access tokens."`
}

// Run sets a user's password, revokes their sessions and what the flags name, and lists their personal access tokens.
func (c userPassword) Run(ctx context.Context, a *app) error {
	password, err := a.readLine("password")
	if err != nil {
		return err
	}
	return c.endFor(
		ctx,
		a,
		c.Email,
		"Changed the password of",
		func(ctx context.Context, s *services, user storage.User) (identity.SignOutResult, error) {
			ended, err := s.identity.SetPassword(
				ctx,
				user.ID,
				password,
				identity.SignOutOptions{Apps: !c.KeepApps, Tokens: c.Tokens},
			)
			return ended, invalidPerson(err)
		},
	)
}

type userSignInLink struct {
	output
	Email string `arg:"" help:"Email address of the user."`
}

// Run prints a new sign-in link. It replaces the user's previous one, and the user is told by email.
func (c userSignInLink) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		user, err := s.userByEmail(ctx, c.Email)
		if err != nil {
			return err
		}
		token, err := s.identity.SignInLink(ctx, user.ID)
		if err != nil {
			return err
		}
		link := s.config.Issuer + "/login/link?" + url.Values{"word": {token}}.Encode()
		return c.print(a, map[string]string{"url": link}, func(w io.Writer) { _, _ = fmt.Fprintln(w, link) })
	})
}

// endFor runs act on one user and prints what it ended. Done begins the sentence, such as "Signed out".
func (o output) endFor(
	ctx context.Context,
	a *app,
	email, done string,
	act func(ctx context.Context, s *services, user storage.User) (identity.SignOutResult, error),
) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		user, err := s.userByEmail(ctx, email)
		if err != nil {
			return err
		}
		ended, err := act(ctx, s, user)
		if err != nil {
			return err
		}
		row := show.EndedAccess{
			User:     show.NewUser(user),
			Sessions: ended.Sessions,
			Grants:   ended.Grants,
			Revoked:  ended.Revoked,
			Tokens:   []show.Key{},
		}
		for _, k := range ended.Tokens {
			if k, err = s.store.KeyByID(ctx, k.ID); err != nil {
				return fmt.Errorf("look up a personal access token: %w", err)
			}
			row.Tokens = append(row.Tokens, s.shownKey(&k))
		}
		return o.print(a, row, func(w io.Writer) { row.Write(w, done) })
	})
}

// userByEmail finds a user. If there is none, the error says so and is a storage.ErrNotFound.
func (s *services) userByEmail(ctx context.Context, email string) (storage.User, error) {
	user, err := s.store.UserByEmail(ctx, email)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return user, missing(
			"there is no user with the email address " + input.Quote(email) + "; to list all users, run: doorward user list",
		)
	case err != nil:
		return user, fmt.Errorf("look up the user: %w", err)
	}
	return user, nil
}

// onUser runs act on one user and says what was done. Done begins the sentence, such as "Updated".
func (o output) onUser(
	ctx context.Context,
	a *app,
	email, done string,
	act func(ctx context.Context, s *services, user storage.User) error,
) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		user, err := s.userByEmail(ctx, email)
		if err != nil {
			return err
		}
		if err := act(ctx, s, user); err != nil {
			return err
		}
		if user, err = s.store.UserByID(ctx, user.ID); err != nil {
			return fmt.Errorf("look up the user: %w", err)
		}
		return o.printUser(a, user, done)
	})
}

// invalidPerson turns identity.Invalid errors into a usageError, and returns other errors unchanged.
func invalidPerson(err error) error {
	if err == nil {
		return nil
	}
	lines := make([]string, 0, 1)
	for _, one := range input.Flatten(err) {
		var wrong *identity.Invalid
		if !errors.As(one, &wrong) {
			return err
		}
		lines = append(lines, wrong.Error())
	}
	return usageError{errors.New(strings.Join(lines, "\n"))}
}

func (o output) printUser(a *app, user storage.User, done string) error {
	u := show.NewUser(user)
	return o.print(a, u, func(w io.Writer) { _, _ = fmt.Fprintf(w, "%s %s (%s).\n", done, u.Email, u.ID) })
}
