package management

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"doorward/locale"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/storage"
)

// checkRole returns *input.Invalid for an unknown role.
func checkRole(role string) error {
	if !slices.Contains(catalog.Roles, role) {
		return &input.Invalid{
			Field: "role",
			Message: locale.New(
				"%s is not a role; use %s", strconv.Quote(input.Shorten(role)), strings.Join(catalog.Roles, ", "),
			),
		}
	}
	return nil
}

// removesRole returns an act by which a member loses a role.
func removesRole(role string) Act {
	if role == catalog.RoleOwner {
		return Act{Permission: MayManageOwners}
	}
	return Act{Permission: MayManageMembers}
}

// givesRole returns an act by which a user gets a role. A role below admin cannot change the workspace, so the act
// needs no password.
func givesRole(role string) Act {
	act := removesRole(role)
	act.Lasts, act.Light, act.GrantsRole = true, !catalog.AtLeast(role, catalog.RoleAdmin), role
	return act
}

// AddMember makes a user a member of a workspace without an invitation; only the CLI may. It returns storage.ErrExists
// if they are a member already, and storage.ErrConflict for a personal workspace.
func (m *Manager) AddMember(ctx context.Context, by Authority, w storage.Workspace, userID, role string) error {
	if !by.Administrator {
		return &Forbidden{Message: locale.New("Users join a workspace by invitation; invite them instead.")}
	}
	if err := checkRole(role); err != nil {
		return err
	}
	return m.inWorkspace(ctx, &by, givesRole(role), "add the member", func(ctx context.Context) error {
		if err := m.store.AddMember(ctx, w.ID, userID, role); err != nil {
			return err
		}
		return m.auditWorkspace(ctx, "member.added", w.ID, userID, map[string]string{"role": role})
	})
}

// stillWorks returns storage.ErrConflict if a change of members left a workspace without an enabled owner, which
// disables it. Only an administrator may make such a change.
func (m *Manager) stillWorks(ctx context.Context, by *Authority, workspaceID string) error {
	if by.Administrator {
		return nil
	}
	now, err := m.store.WorkspaceByID(ctx, workspaceID)
	if err == nil && !now.DisabledAt.IsZero() {
		err = storage.ErrConflict
	}
	return err
}

// ChangeRole gives a member another role. It returns storage.ErrConflict for the last enabled owner, and
// storage.ErrNotFound if the user is not a member.
func (m *Manager) ChangeRole(ctx context.Context, by Authority, w storage.Workspace, userID, role string) error {
	if err := checkRole(role); err != nil {
		return err
	}
	if err := by.mustManage(); err != nil { // even a lower role remains
		return err
	}
	return m.inWorkspace(ctx, &by, removesRole(role), "change the role", func(ctx context.Context) error {
		before, err := m.roleToChange(ctx, &by, w.ID, userID)
		if err != nil || before == role {
			return err
		}
		if !catalog.AtLeast(before, role) {
			if err := by.Decide(givesRole(role)); err != nil {
				return err
			}
		}
		if err := m.store.ChangeRole(ctx, w.ID, userID, role); err != nil {
			return err
		}
		if err := m.stillWorks(ctx, &by, w.ID); err != nil {
			return err
		}
		return m.auditWorkspace(ctx, "member.role_changed", w.ID, userID, map[string]string{"from": before, "to": role})
	})
}

// roleToChange returns a member's role, or an error if the authority may not take it from them.
func (m *Manager) roleToChange(ctx context.Context, by *Authority, workspaceID, userID string) (string, error) {
	// Lock the workspace, so that they cannot become an owner between this check and the change.
	if err := m.store.LockWorkspace(ctx, workspaceID); err != nil {
		return "", err
	}
	before, err := m.store.RoleOf(ctx, workspaceID, userID)
	if err != nil {
		return "", err
	}
	return before, by.Decide(removesRole(before))
}

// RemoveMember removes a member; every member may leave. It returns the errors of ChangeRole.
func (m *Manager) RemoveMember(ctx context.Context, by Authority, w storage.Workspace, userID string) error {
	act, own := Act{Permission: MayManageMembers}, userID == by.UserID && userID != ""
	if own {
		act.Permission = MaySee
	}
	return m.inWorkspace(ctx, &by, act, "remove the member", func(ctx context.Context) error {
		if !own {
			if _, err := m.roleToChange(ctx, &by, w.ID, userID); err != nil {
				return err
			}
		}
		if err := m.store.RemoveMember(ctx, w.ID, userID); err != nil {
			return err
		}
		if err := m.stillWorks(ctx, &by, w.ID); err != nil {
			return err
		}
		return m.auditWorkspace(ctx, "member.removed", w.ID, userID, nil)
	})
}
