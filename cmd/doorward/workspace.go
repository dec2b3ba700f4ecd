package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"doorward/cmd/doorward/show"
	"doorward/management"
	"doorward/oauth/input"
	"doorward/storage"
)

type workspaceCommand struct {
	Create  workspaceCreate  `cmd:"" help:"Create a workspace and name its first owner."`
	List    workspaceList    `cmd:"" help:"List all workspaces."`
	Update  workspaceUpdate  `cmd:"" help:"Update a workspace. Settings that you leave out stay unchanged."`
	Disable workspaceDisable `cmd:"" help:"Disable a workspace and its keys and apps."`
	Enable  workspaceEnable  `cmd:"" help:"Enable a disabled workspace."`
	Delete  workspaceDelete  `cmd:"" help:"Delete a workspace and all its keys, apps and usage data."`
	Invite  workspaceInvite  `cmd:"" help:"Create an invitation link to a workspace."`
	Member  struct {
		Add    memberAdd    `cmd:"" help:"Add a user to a workspace without an invitation."`
		Remove memberRemove `cmd:"" help:"Remove a member; keys that they created keep working."`
		Role   memberRole   `cmd:"" help:"Change a member's role."`
	} `cmd:"" help:"The members of a workspace: add, remove, role."`
}

type workspaceCreate struct {
	output
	Name  string `required:"" help:"The workspace's name." placeholder:"NAME"`
	Slug  string `required:"" help:"Used in URLs and the API; cannot be changed later. Lower-case letters, digits and hyphens." placeholder:"SLUG"`
	Owner string `required:"" help:"Email address of the first owner." placeholder:"ADDRESS"`
	Plan  string `help:"Plan from the configuration, for all its keys and members." placeholder:"PLAN"`
}

// Run creates a workspace.
func (c workspaceCreate) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		owner, err := s.userByEmail(ctx, c.Owner)
		if err != nil {
			return inFlag("--owner", err)
		}
		w, err := s.management.CreateWorkspace(ctx, management.CLI(""), c.Name, c.Slug, c.Plan, owner.ID)
		if err != nil {
			return invalid(err)
		}
		return c.printWorkspace(a, w, "Created")
	})
}

type workspaceList struct{ output }

// Run lists all workspaces.
func (c workspaceList) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		rows := []show.Workspace{}
		for after := ""; ; {
			page, err := s.store.Workspaces(ctx, after, pageSize)
			if err != nil {
				return fmt.Errorf("list workspaces: %w", err)
			}
			for _, w := range page {
				rows = append(rows, show.NewWorkspace(w))
				after = w.ID
			}
			if len(page) < pageSize {
				break
			}
		}
		return c.print(a, rows, func(w io.Writer) { show.Workspaces(w, rows) })
	})
}

type workspaceUpdate struct {
	output
	Slug string  `arg:"" help:"The workspace's slug."`
	Name *string `help:"The workspace's name." placeholder:"NAME"`
	Plan *string `help:"Plan from the configuration; empty for none." placeholder:"PLAN"`
}

// Run changes the settings that were given.
func (c workspaceUpdate) Run(ctx context.Context, a *app) error {
	return c.onWorkspace(ctx, a, c.Slug, "Updated", func(ctx context.Context, s *services, w storage.Workspace) error {
		_, err := s.management.UpdateWorkspace(ctx, management.CLI(w.ID), w, c.Name, c.Plan)
		return err
	})
}

type workspaceDisable struct {
	output
	Slug string `arg:"" help:"The workspace's slug."`
}

// Run disables a workspace.
func (c workspaceDisable) Run(ctx context.Context, a *app) error {
	return c.onWorkspace(ctx, a, c.Slug, "Disabled", func(ctx context.Context, s *services, w storage.Workspace) error {
		return s.management.DisableWorkspace(ctx, management.CLI(w.ID), w)
	})
}

type workspaceEnable struct {
	output
	Slug string `arg:"" help:"The workspace's slug."`
}

// Run enables a workspace.
func (c workspaceEnable) Run(ctx context.Context, a *app) error {
	return c.onWorkspace(ctx, a, c.Slug, "Enabled", func(ctx context.Context, s *services, w storage.Workspace) error {
		err := s.management.EnableWorkspace(ctx, management.CLI(w.ID), w)
		if errors.Is(err, storage.ErrConflict) {
			return fmt.Errorf(
				"%s is the personal workspace of a disabled user; to enable both, run: doorward user enable ADDRESS",
				input.Quote(w.Slug),
			)
		}
		if err == nil && w.DisabledFor != "" {
			_, _ = fmt.Fprintf(a.stderr, "Warning: %s is enabled, but all of its owners are disabled.\n", w.Slug)
		}
		return err
	})
}

type workspaceDelete struct {
	output
	Slug string `arg:"" help:"The workspace's slug."`
}

// Run deletes a workspace.
func (c workspaceDelete) Run(ctx context.Context, a *app) error {
	return c.onWorkspace(ctx, a, c.Slug, "Deleted", func(ctx context.Context, s *services, w storage.Workspace) error {
		err := s.management.DeleteWorkspace(ctx, management.CLI(w.ID), w)
		if errors.Is(err, storage.ErrConflict) {
			return fmt.Errorf(
				"%s is a personal workspace; to delete it with its user, run: doorward user delete ADDRESS",
				input.Quote(w.Slug),
			)
		}
		return err
	})
}

type workspaceInvite struct {
	output
	Slug  string `arg:"" help:"The workspace's slug."`
	Email string `arg:"" help:"Email address of the person to invite."`
	Role  string `required:"" help:"Role: viewer, member, admin or owner." placeholder:"ROLE"`
}

// Run creates an invitation. It prints the link, which is not shown again, unless the invitation is sent by email.
func (c workspaceInvite) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		w, err := s.workspaceBySlug(ctx, c.Slug)
		if err != nil {
			return err
		}
		i, token, err := s.management.Invite(ctx, management.CLI(w.ID), w, c.Email, c.Role)
		if errors.Is(err, storage.ErrConflict) {
			return errPersonal(w)
		}
		if err != nil {
			return invalid(err)
		}
		row := show.Invitation{
			ID:        i.ID,
			Workspace: w.Slug,
			Email:     i.Email,
			Role:      i.Role,
			ExpiresAt: show.Seconds(i.ExpiresAt),
		}
		if !s.management.SendsEmail() {
			row.Link = s.management.InvitationURL(token)
		}
		return c.print(a, row, row.Write)
	})
}

type memberAdd struct {
	output
	Slug  string `arg:"" help:"The workspace's slug."`
	Email string `arg:"" help:"Email address of the user."`
	Role  string `required:"" help:"Role: viewer, member, admin or owner." placeholder:"ROLE"`
}

// Run adds a user to a workspace.
func (c memberAdd) Run(ctx context.Context, a *app) error {
	return c.onMember(
		ctx,
		a,
		c.Slug,
		c.Email,
		c.Role,
		"Added",
		func(ctx context.Context, s *services, w storage.Workspace, user storage.User) error {
			err := s.management.AddMember(ctx, management.CLI(w.ID), w, user.ID, c.Role)
			switch {
			case errors.Is(err, storage.ErrExists):
				return fmt.Errorf(
					"%s is already a member of %s; to change their role, run: doorward workspace member role",
					user.Email,
					input.Quote(w.Slug),
				)
			case errors.Is(err, storage.ErrConflict):
				return errPersonal(w)
			}
			return err
		},
	)
}

type memberRemove struct {
	output
	Slug  string `arg:"" help:"The workspace's slug."`
	Email string `arg:"" help:"Email address of the member."`
}

// Run removes a user from a workspace.
func (c memberRemove) Run(ctx context.Context, a *app) error {
	return c.onMember(
		ctx,
		a,
		c.Slug,
		c.Email,
		"",
		"Removed",
		func(ctx context.Context, s *services, w storage.Workspace, user storage.User) error {
			return memberError(w, user, s.management.RemoveMember(ctx, management.CLI(w.ID), w, user.ID))
		},
	)
}

type memberRole struct {
	output
	Slug  string `arg:"" help:"The workspace's slug."`
	Email string `arg:"" help:"Email address of the member."`
	Role  string `arg:"" help:"New role: viewer, member, admin or owner."`
}

// Run changes a member's role.
func (c memberRole) Run(ctx context.Context, a *app) error {
	return c.onMember(
		ctx,
		a,
		c.Slug,
		c.Email,
		c.Role,
		"Changed",
		func(ctx context.Context, s *services, w storage.Workspace, user storage.User) error {
			return memberError(w, user, s.management.ChangeRole(ctx, management.CLI(w.ID), w, user.ID, c.Role))
		},
	)
}

// onWorkspace runs act on one workspace and says what was done. Done begins the sentence, such as "Updated".
func (o output) onWorkspace(
	ctx context.Context,
	a *app,
	slug, done string,
	act func(ctx context.Context, s *services, w storage.Workspace) error,
) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		w, err := s.workspaceBySlug(ctx, slug)
		if err != nil {
			return err
		}
		if err := act(ctx, s, w); err != nil {
			return invalid(err)
		}
		switch now, err := s.store.WorkspaceByID(ctx, w.ID); {
		case err == nil:
			w = now
		case !errors.Is(err, storage.ErrNotFound):
			return fmt.Errorf("look up the workspace: %w", err)
		}
		return o.printWorkspace(a, w, done)
	})
}

// onMember runs act on one user and one workspace, and says what was done. An empty role is not printed.
func (o output) onMember(
	ctx context.Context,
	a *app,
	slug, email, role, done string,
	act func(ctx context.Context, s *services, w storage.Workspace, user storage.User) error,
) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		w, err := s.workspaceBySlug(ctx, slug)
		if err != nil {
			return err
		}
		user, err := s.userByEmail(ctx, email)
		if err != nil {
			return err
		}
		if err := act(ctx, s, w, user); err != nil {
			return invalid(err)
		}
		row := show.Member{Workspace: w.Slug, UserID: user.ID, Email: user.Email, Role: role}
		return o.print(a, row, func(out io.Writer) { row.Write(out, done) })
	})
}

// missing is an error that wraps storage.ErrNotFound and says how to list the existing objects.
type missing string

// Error implements error.
func (m missing) Error() string { return string(m) }

// Unwrap returns storage.ErrNotFound.
func (missing) Unwrap() error { return storage.ErrNotFound }

// inFlag turns a storage.ErrNotFound about the value of a flag into a usageError.
func inFlag(flag string, err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return usageError{fmt.Errorf("%s: %w", flag, err)}
	}
	return err
}

// workspaceBySlug finds a workspace. If there is none, the error says so and is a storage.ErrNotFound.
func (s *services) workspaceBySlug(ctx context.Context, slug string) (storage.Workspace, error) {
	w, err := s.store.WorkspaceBySlug(ctx, slug)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return w, missing("there is no workspace " + input.Quote(slug) + "; to list all, run: doorward workspace list")
	case err != nil:
		return w, fmt.Errorf("look up the workspace: %w", err)
	}
	return w, nil
}

// workspaceOfFlag finds the workspace that --workspace names. Without the flag, the workspace is empty.
func (s *services) workspaceOfFlag(ctx context.Context, slug string) (storage.Workspace, error) {
	if slug == "" {
		return storage.Workspace{}, nil
	}
	w, err := s.workspaceBySlug(ctx, slug)
	return w, inFlag("--workspace", err)
}

// errPersonal says that a personal workspace has no other members.
func errPersonal(w storage.Workspace) error {
	return fmt.Errorf(
		"%s is a personal workspace, whose user is the only member; for a team, run: doorward workspace create",
		input.Quote(w.Slug),
	)
}

// memberError says why a member could not be changed.
func memberError(w storage.Workspace, user storage.User, err error) error {
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return fmt.Errorf(
			"%s is not a member of %s; check the email address and the workspace", user.Email, input.Quote(w.Slug),
		)
	case errors.Is(err, storage.ErrConflict) && w.Personal:
		return errPersonal(w)
	case errors.Is(err, storage.ErrConflict):
		return fmt.Errorf(
			"%s is the only owner of %s; make another member an owner first",
			user.Email,
			input.Quote(w.Slug),
		)
	}
	return err
}

func (o output) printWorkspace(a *app, w storage.Workspace, done string) error {
	row := show.NewWorkspace(w)
	return o.print(a, row, func(out io.Writer) { _, _ = fmt.Fprintf(out, "%s %s (%s).\n", done, row.Slug, row.ID) })
}
