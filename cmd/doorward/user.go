package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"doorward/oauth"
	"doorward/oauth/identity"
	"doorward/storage"
)

type userCommand struct {
	Create   userCreate   `cmd:"" help:"Make an account for a person, with a personal workspace."`
	List     userList     `cmd:"" help:"List all people."`
	Disable  userDisable  `cmd:"" help:"Keep a person, and every app that acts for them, from working."`
	Enable   userEnable   `cmd:"" help:"Let a disabled person in again."`
	Delete   userDelete   `cmd:"" help:"Delete a person and everything that is theirs."`
	Password userPassword `cmd:"" help:"Set a person's password, which ends their sessions."`

	SignInLink userSignInLink `cmd:"" help:"Print a link with which a person signs in once, within 15 minutes, without a password."`
}

type userCreate struct {
	output
	Email         string `required:"" help:"The address they sign in with." placeholder:"ADDRESS"`
	Name          string `help:"What others know them by." placeholder:"NAME"`
	Admin         bool   `help:"Make them an administrator of this server."`
	PasswordStdin bool   `required:"" help:"Read the password, one line, from standard input."`
}

// Run makes a user.
func (c userCreate) Run(ctx context.Context, a *app) error {
	password, err := a.readLine("password")
	if err != nil {
		return err
	}
	return a.administer(ctx, func(ctx context.Context, s *server) error {
		user, err := s.identity.CreateUser(ctx, identity.NewUser{Email: c.Email, Name: c.Name, Password: password, Admin: c.Admin})
		if err != nil {
			return invalidPerson(err)
		}
		if err := c.printUser(a, user, "Created"); err != nil || c.Admin {
			return err
		}
		if n, err := s.store.CountAdministrators(ctx); err == nil && n == 0 {
			// The link of setup-link is for an empty server and is gone with the first user.
			_, _ = fmt.Fprintln(a.stderr, "This server has no administrator yet; make one with: doorward user create --admin --email ADDRESS --password-stdin")
		}
		return nil
	})
}

type userList struct{ output }

// Run lists all users.
func (c userList) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *server) error {
		rows := []userJSON{}
		for after := ""; ; {
			page, err := s.store.Users(ctx, "", after, pageSize)
			if err != nil {
				return fmt.Errorf("list users: %w", err)
			}
			for _, user := range page {
				rows = append(rows, newUserJSON(user))
				after = user.ID
			}
			if len(page) < pageSize {
				break
			}
		}
		return c.print(a, rows, func(w io.Writer) {
			table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			_, _ = fmt.Fprintln(table, "EMAIL\tNAME\tROLE\tSTATE\tID")
			for _, row := range rows {
				_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", row.Email, row.Name, row.role(), row.state(), row.ID)
			}
			_ = table.Flush()
		})
	})
}

type userDisable struct {
	output
	Email string `arg:"" help:"The person's address."`
}

// Run disables a user.
func (c userDisable) Run(ctx context.Context, a *app) error {
	return c.onUser(ctx, a, c.Email, "Disabled", func(ctx context.Context, s *server, user storage.User) error {
		return s.identity.DisableUser(ctx, user.ID)
	})
}

type userEnable struct {
	output
	Email string `arg:"" help:"The person's address."`
}

// Run enables a user.
func (c userEnable) Run(ctx context.Context, a *app) error {
	return c.onUser(ctx, a, c.Email, "Enabled", func(ctx context.Context, s *server, user storage.User) error {
		return s.identity.EnableUser(ctx, user.ID)
	})
}

type userDelete struct {
	output
	Email string `arg:"" help:"The person's address."`
}

// Run deletes a user and shows who it was, and the workspaces that went with them.
func (c userDelete) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *server) error {
		user, err := s.userByEmail(ctx, c.Email)
		if err != nil {
			return err
		}
		gone, err := s.store.SoleWorkspaces(ctx, user.ID)
		if err != nil {
			return fmt.Errorf("look up what goes with the user: %w", err)
		}
		if err := s.identity.DeleteUser(ctx, user.ID); err != nil {
			return err
		}
		u := newUserJSON(user)
		for _, w := range gone {
			u.Workspaces = append(u.Workspaces, newWorkspaceJSON(w))
		}
		return c.print(a, u, func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "Deleted %s (%s), and with them the workspaces of which they were the only owner:\n", u.Email, u.ID)
			table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			for _, x := range u.Workspaces {
				_, _ = fmt.Fprintf(table, "  %s\t%s\t%s\n", x.Slug, x.Name, x.kind())
			}
			_ = table.Flush()
		})
	})
}

type userPassword struct {
	output
	Email         string `arg:"" help:"The person's address."`
	PasswordStdin bool   `required:"" help:"Read the password, one line, from standard input."`
}

// Run sets a user's password.
func (c userPassword) Run(ctx context.Context, a *app) error {
	password, err := a.readLine("password")
	if err != nil {
		return err
	}
	return c.onUser(ctx, a, c.Email, "Changed the password of", func(ctx context.Context, s *server, user storage.User) error {
		return invalidPerson(s.identity.SetPassword(ctx, user.ID, password))
	})
}

type userSignInLink struct {
	output
	Email string `arg:"" help:"The person's address."`
}

// Run makes a sign-in link, which replaces the one before, and prints it.
func (c userSignInLink) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *server) error {
		user, err := s.userByEmail(ctx, c.Email)
		if err != nil {
			return err
		}
		word, err := s.identity.SignInLink(ctx, user.ID)
		if err != nil {
			return err //nolint:wrapcheck // it says what it did
		}
		link := s.config.Issuer + "/login/link?" + url.Values{"word": {word}}.Encode()
		return c.print(a, map[string]string{"url": link}, func(w io.Writer) { _, _ = fmt.Fprintln(w, link) })
	})
}

// userByEmail finds a user, or says that they are missing.
func (s *server) userByEmail(ctx context.Context, email string) (storage.User, error) {
	user, err := s.store.UserByEmail(ctx, email)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return user, missing("there is nobody with the address " + quote(email) + "; doorward user list shows all")
	case err != nil:
		return user, fmt.Errorf("look up the user: %w", err)
	}
	return user, nil
}

// onUser acts on one user and shows them as they are afterwards.
func (o output) onUser(ctx context.Context, a *app, email, done string, act func(ctx context.Context, s *server, user storage.User) error) error {
	return a.administer(ctx, func(ctx context.Context, s *server) error {
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

// invalidPerson makes a wrong use of what identity found wrong.
func invalidPerson(err error) error {
	if err == nil {
		return nil
	}
	lines := make([]string, 0, 1)
	for _, one := range oauth.Unjoin(err) {
		var wrong *identity.Invalid
		if !errors.As(one, &wrong) {
			return err
		}
		lines = append(lines, wrong.Error())
	}
	return usageError{errors.New(strings.Join(lines, "\n"))}
}

// userJSON is a user for scripts.
type userJSON struct {
	ID        string    `json:"id"`
	Email     string    `json:"email"`
	Name      string    `json:"name"`
	Admin     bool      `json:"admin"`
	Disabled  bool      `json:"disabled"`
	CreatedAt time.Time `json:"created_at"`
	// Workspaces are those that went with a user who was deleted.
	Workspaces []workspaceJSON `json:"workspaces,omitempty"`
}

func newUserJSON(u storage.User) userJSON {
	return userJSON{ID: u.ID, Email: u.Email, Name: u.Name, Admin: u.Admin, Disabled: !u.DisabledAt.IsZero(), CreatedAt: seconds(u.CreatedAt)}
}

func (u userJSON) role() string {
	if u.Admin {
		return "administrator"
	}
	return ""
}

func (u userJSON) state() string {
	if u.Disabled {
		return "disabled"
	}
	return "enabled"
}

func (o output) printUser(a *app, user storage.User, done string) error {
	u := newUserJSON(user)
	return o.print(a, u, func(w io.Writer) { _, _ = fmt.Fprintf(w, "%s %s (%s).\n", done, u.Email, u.ID) })
}
