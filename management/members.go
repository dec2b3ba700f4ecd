package management

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/storage"
)

// checkRole returns *input.Invalid for what is not a role.
func checkRole(role string) error {
	if !slices.Contains(catalog.Roles, role) {
		return &input.Invalid{
			Field:   "role",
			Message: fmt.Sprintf("%q is not a role; use %s", input.Shorten(role), strings.Join(catalog.Roles, ", ")),
		}
	}
	return nil
}

// managesRole is an act by which a member loses a role.
func managesRole(role string) Act {
	if role == catalog.RoleOwner {
		return Act{Permission: MayManageOwners}
	}
	return Act{Permission: MayManageMembers}
}

// givesRole is an act by which a user gets a role. One below admin can change nothing of the workspace's, and needs no
// fresh proof.
func givesRole(role string) Act {
	act := managesRole(role)
	act.Lasts, act.Light, act.GivesRole = true, !catalog.AtLeast(role, catalog.RoleAdmin), role
	return act
}

// AddMember makes a user a member of a workspace without asking them; only the CLI does. Errors of storage
// pass through: ErrExists, ErrConflict for a personal workspace.
func (m *Manager) AddMember(ctx context.Context, by Authority, w storage.Workspace, userID, role string) error {
	if !by.Administrator {
		return &Forbidden{Message: "People join a workspace by invitation."}
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

// stillWorks returns storage.ErrConflict where a change of members left a workspace without an enabled owner, which
// stops it. Only an administrator may make such a change.
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

// ChangeRole gives a member another role. storage.ErrConflict: they are the last enabled owner; storage.ErrNotFound:
// they are not a member.
func (m *Manager) ChangeRole(ctx context.Context, by Authority, w storage.Workspace, userID, role string) error {
	if err := checkRole(role); err != nil {
		return err
	}
	if err := by.outlived(); err != nil { // also a lower role stays
		return err
	}
	return m.inWorkspace(ctx, &by, managesRole(role), "change the role", func(ctx context.Context) error {
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

// roleToChange is a member's role, which the authority may take from them.
func (m *Manager) roleToChange(ctx context.Context, by *Authority, workspaceID, userID string) (string, error) {
	// So that they cannot be made an owner between this look and the change.
	if err := m.store.LockWorkspace(ctx, workspaceID); err != nil {
		return "", err
	}
	before, err := m.store.RoleOf(ctx, workspaceID, userID)
	if err != nil {
		return "", err
	}
	return before, by.Decide(managesRole(before))
}

// RemoveMember ends a membership; everybody may end their own. Errors are those of ChangeRole.
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
