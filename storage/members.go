package storage

import (
	"context"
)

// Member is a user in a workspace.
type Member struct {
	UserID   string
	Email    string
	Name     string
	Role     string
	Disabled bool // as a user of this server
	Since    Time
}

const memberColumns = `u.id, u.email, u.name, m.role, u.disabled_at IS NOT NULL, m.created_at`

func (m *Member) fields() []any {
	return []any{&m.UserID, &m.Email, &m.Name, &m.Role, &m.Disabled, &m.Since}
}

// Member finds a member of a workspace. It returns ErrNotFound if the user is not a member.
func (s *Store) Member(ctx context.Context, workspaceID, userID string) (Member, error) {
	var m Member
	err := s.one(ctx, m.fields(), plain(`SELECT `+memberColumns+` FROM memberships m JOIN users u ON u.id = m.user_id
		WHERE m.workspace_id = $1 AND u.id = $2`), workspaceID, userID)
	return m, err
}

// FirstOwner returns the owner who joined a workspace first. It returns ErrNotFound if the workspace does not exist.
func (s *Store) FirstOwner(ctx context.Context, workspaceID string) (User, error) {
	var u User
	err := s.one(ctx, u.fields(), plain(`SELECT `+userColumns+` FROM users WHERE id = (
		SELECT user_id FROM memberships WHERE workspace_id = $1 AND role = $2 ORDER BY created_at, user_id LIMIT 1)`),
		workspaceID, RoleOwner)
	return u, err
}

// Members lists at most limit members of a workspace, in the order in which they joined, from the one after the user ID
// afterID; empty starts at the first.
func (s *Store) Members(ctx context.Context, workspaceID, afterID string, limit int) ([]Member, error) {
	return s.SortedMembers(ctx, workspaceID, Order{After: afterID}, limit)
}

// SortedMembers is Members in another order: by name, role or joined.
func (s *Store) SortedMembers(ctx context.Context, workspaceID string, o Order, limit int) ([]Member, error) {
	after, order, args := o.clause(memberOrders, "u.id", 3)
	return collect(ctx, s, (*Member).fields, plain(`SELECT `+memberColumns+` FROM memberships m
		JOIN users u ON u.id = m.user_id
		WHERE m.workspace_id = $1 AND `+after+` ORDER BY `+order+` LIMIT $2`),
		append([]any{workspaceID, limit}, args...)...)
}

// RoleOf returns a user's role in a workspace. It returns ErrNotFound if they are not a member.
func (s *Store) RoleOf(ctx context.Context, workspaceID, userID string) (string, error) {
	var role string
	err := s.one(ctx, []any{&role}, plain(`SELECT role FROM memberships WHERE workspace_id = $1 AND user_id = $2`),
		workspaceID, userID)
	return role, err
}

// ActiveRole is RoleOf, but also returns ErrNotFound if the user or the workspace is disabled.
func (s *Store) ActiveRole(ctx context.Context, workspaceID, userID string) (string, error) {
	var role string
	err := s.one(ctx, []any{&role}, plain(`SELECT m.role FROM memberships m JOIN workspaces w ON w.id = m.workspace_id
		JOIN users u ON u.id = m.user_id
		WHERE m.workspace_id = $1 AND m.user_id = $2 AND w.disabled_at IS NULL AND u.disabled_at IS NULL`), workspaceID,
		userID)
	return role, err
}

// LockRole is ActiveRole for a user in one of their sessions, and also returns ErrNotFound if that has ended. Until the
// transaction in ctx ends, the membership cannot be changed, the user cannot be disabled, and an administrator cannot
// end their sessions.
func (s *Store) LockRole(ctx context.Context, workspaceID, userID, sessionID string) (string, error) {
	if err := s.execOne(ctx, ErrNotFound, plain(`UPDATE memberships SET role = role WHERE workspace_id = $1
		AND user_id = $2`), workspaceID, userID); err != nil {
		return "", err
	}
	var sessions int64
	err := s.one(ctx, []any{&sessions}, plain(`SELECT count(*) FROM sessions WHERE id = $1 AND user_id = $2
		AND expires_at > $3`), sessionID, userID, s.Now())
	if err == nil && sessions == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return "", err
	}
	return s.ActiveRole(ctx, workspaceID, userID)
}

// AddMember makes a user a member. It returns ErrExists if they are one already, ErrConflict for a personal workspace,
// and ErrNotFound if the user or the workspace does not exist.
func (s *Store) AddMember(ctx context.Context, workspaceID, userID, role string) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.LockWorkspace(ctx, workspaceID); err != nil {
			return err
		}
		if _, err := s.exec(ctx, altering(`INSERT INTO memberships (workspace_id, user_id, role, created_at)
			VALUES ($1, $2, $3, $4)`).of(2), workspaceID, userID, role, s.Now()); err != nil {
			return err
		}
		err := s.enableIfOwner(ctx, workspaceID)
		return err
	})
}

// ChangeRole gives a member another role. A workspace that is left without an enabled owner is disabled; it is enabled
// when it has one again. It returns ErrConflict for the last owner and for a personal workspace, and ErrNotFound if the
// user is not a member.
func (s *Store) ChangeRole(ctx context.Context, workspaceID, userID, role string) error {
	return s.changeMember(ctx, workspaceID, role != RoleOwner,
		`UPDATE memberships SET role = $3 WHERE workspace_id = $1 AND user_id = $2`, workspaceID, userID, role)
}

// RemoveMember removes a member, and revokes the grants by which apps act for them in the workspace, so that these do
// not come back with the user. Their consents stay. It returns the errors of ChangeRole.
func (s *Store) RemoveMember(ctx context.Context, workspaceID, userID string) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.changeMember(ctx, workspaceID, true, `DELETE FROM memberships WHERE workspace_id = $1
			AND user_id = $2`, workspaceID, userID); err != nil {
			return err
		}
		_, err := s.exec(ctx, altering(`UPDATE grants SET revoked_at = $3, revoked_reason = $4 WHERE workspace_id = $1
			AND user_id = $2 AND revoked_at IS NULL`).of(2),
			workspaceID, userID, s.Now(), RevokedByLeaving)
		return err
	})
}

// changeMember runs a statement on a membership, whose first arguments are the workspace and the user, and, if away says that it may remove an owner, makes sure that another
// one remains.
func (s *Store) changeMember(ctx context.Context, workspaceID string, away bool, query string, args ...any) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.LockWorkspace(ctx, workspaceID); err != nil {
			return err
		}
		var before bool
		if err := s.one(ctx, []any{&before}, plain(`SELECT `+enabledOwner+` FROM workspaces w WHERE w.id = $1`),
			workspaceID); err != nil {
			return err
		}
		if err := s.execOne(ctx, ErrNotFound, altering(query).of(2), args...); err != nil {
			return err
		}
		if away {
			var owners int64
			if err := s.one(ctx, []any{&owners}, plain(`SELECT count(*) FROM memberships WHERE workspace_id = $1
				AND role = $2`), workspaceID, RoleOwner); err != nil {
				return err
			}
			if owners == 0 {
				return ErrConflict
			}
		}
		err := s.enableIfOwner(ctx, workspaceID)
		if err == nil && before { // without one before, an administrator has enabled it
			err = s.disableIfNoOwner(ctx, workspaceID)
		}
		return err
	})
}
