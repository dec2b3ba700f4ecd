package storage

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Workspace is the tenant to which apps, keys and usage belong.
type Workspace struct {
	ID         string
	Slug       string
	Name       string
	Plan       string // name of a configured plan; empty: no plan of its own
	Personal   bool   // created and deleted with its user
	DisabledAt Time   // zero: enabled
	// DisabledFor is one of the owners, if the workspace is disabled because all of them are. Empty: an administrator
	// disabled it, or it is enabled.
	DisabledFor string
	Role        string // of the user for whom it was read
}

// WorkspacesOf lists a user's workspaces, the personal one first, with the user's role in each.
func (s *Store) WorkspacesOf(ctx context.Context, userID string) ([]Workspace, error) {
	return collect(ctx, s, func(w *Workspace) []any {
		return []any{&w.ID, &w.Slug, &w.Name, &w.Plan, &w.Personal, &w.DisabledAt, &w.DisabledFor, &w.Role}
	}, plain(`SELECT w.id, w.slug, w.name, w.plan, COALESCE(w.personal_user_id = $1, FALSE), w.disabled_at,
		w.disabled_for, m.role
		FROM memberships m JOIN workspaces w ON w.id = m.workspace_id WHERE m.user_id = $1
		ORDER BY CASE WHEN w.personal_user_id = $1 THEN 0 ELSE 1 END, w.slug`), userID)
}

// PersonalWorkspace returns the workspace that was created with the user.
func (s *Store) PersonalWorkspace(ctx context.Context, userID string) (Workspace, error) {
	list, err := s.WorkspacesOf(ctx, userID)
	if err != nil {
		return Workspace{}, err
	}
	if len(list) == 0 || !list[0].Personal {
		return Workspace{}, fmt.Errorf("personal workspace: %w", ErrNotFound)
	}
	return list[0], nil
}

// RoleOwner is the role that at least one member of each workspace has. Package catalog orders the roles, and package
// management says what they allow.
const RoleOwner = "owner"

const workspaceColumns = `w.id, w.slug, w.name, w.plan, w.personal_user_id IS NOT NULL, w.disabled_at, w.disabled_for`

func (w *Workspace) fields() []any {
	return []any{&w.ID, &w.Slug, &w.Name, &w.Plan, &w.Personal, &w.DisabledAt, &w.DisabledFor}
}

// SlugReservation is how long the slug of a deleted workspace cannot be used again: APIs and logs may still identify
// its owner by it.
const SlugReservation = 400 * 24 * time.Hour

// reserveSlugs reserves the slugs that a query selects, together with the ids of their workspaces. The end of the
// reservation is the last parameter of the query.
func (s *Store) reserveSlugs(ctx context.Context, query string, args ...any) error {
	_, err := s.exec(ctx, plain(`INSERT INTO reserved_slugs (slug, workspace_id, expires_at) `+query+
		` ON CONFLICT (slug) DO UPDATE SET workspace_id = excluded.workspace_id, expires_at = excluded.expires_at`),
		append(args, s.Now().Add(SlugReservation))...)
	return err
}

// SlugReservedUntil returns when the slug of a deleted workspace can be used again. It returns ErrNotFound if the slug
// is not reserved.
func (s *Store) SlugReservedUntil(ctx context.Context, slug string) (Time, error) {
	var until Time
	err := s.one(ctx, []any{&until}, plain(`SELECT expires_at FROM reserved_slugs WHERE slug = $1 AND expires_at > $2`),
		slug, s.Now())
	return until, err
}

// InsertWorkspace adds a workspace with its first owner. It returns ErrExists if the slug is taken or reserved, and
// ErrNotFound if the user does not exist.
func (s *Store) InsertWorkspace(ctx context.Context, w Workspace, ownerID string) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if _, err := s.exec(ctx, plain(`INSERT INTO workspaces (id, slug, name, name_key, plan, created_at)
			VALUES ($1, $2, $3, $4, $5, $6)`),
			w.ID, w.Slug, w.Name, searchKey(w.Name), w.Plan, s.Now()); err != nil {
			return err
		}
		// Look it up after the insert, which waits for a request that deletes the workspace with this slug.
		_, err := s.SlugReservedUntil(ctx, w.Slug)
		if err == nil {
			return ErrExists
		}
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		_, err = s.exec(ctx, altering(`INSERT INTO memberships (workspace_id, user_id, role, created_at)
			VALUES ($1, $2, $3, $4)`).of(2), w.ID, ownerID, RoleOwner, s.Now())
		return err
	})
}

// WorkspaceBySlug finds a workspace by its slug, byte for byte. It returns ErrNotFound if there is none.
func (s *Store) WorkspaceBySlug(ctx context.Context, slug string) (Workspace, error) {
	var w Workspace
	err := s.one(ctx, w.fields(), plain(`SELECT `+workspaceColumns+` FROM workspaces w WHERE w.slug = $1`), slug)
	return w, err
}

// WorkspaceByID finds a workspace by its id. It returns ErrNotFound if there is none.
func (s *Store) WorkspaceByID(ctx context.Context, id string) (Workspace, error) {
	var w Workspace
	err := s.one(ctx, w.fields(), plain(`SELECT `+workspaceColumns+` FROM workspaces w WHERE w.id = $1`), id)
	return w, err
}

// Workspaces lists at most limit workspaces, in the order of their creation, from the one after the ID afterID; empty
// starts at the first.
func (s *Store) Workspaces(ctx context.Context, afterID string, limit int) ([]Workspace, error) {
	return collect(ctx, s, (*Workspace).fields, plain(`SELECT `+workspaceColumns+` FROM workspaces w WHERE w.id > $1
		ORDER BY w.id LIMIT $2`), afterID, limit)
}

// ListedWorkspace is a workspace as the server's administrators see it.
type ListedWorkspace struct {
	Workspace
	Members   int64
	CreatedAt Time
}

// SearchWorkspaces is Workspaces for those whose slug or name contains search, ignoring case.
func (s *Store) SearchWorkspaces(ctx context.Context, search, afterID string, limit int) ([]ListedWorkspace, error) {
	return s.SortedWorkspaces(ctx, search, Order{After: afterID}, limit)
}

// SortedWorkspaces is SearchWorkspaces in another order: by name, members or created.
func (s *Store) SortedWorkspaces(ctx context.Context, search string, o Order, limit int) ([]ListedWorkspace, error) {
	after, order, args := o.clause(workspaceOrders, "w.id", 3)
	return collect(ctx, s, func(w *ListedWorkspace) []any { return append(w.fields(), &w.Members, &w.CreatedAt) },
		plain(`SELECT `+workspaceColumns+`, `+memberCount+`, w.created_at FROM workspaces w
		WHERE (w.slug LIKE $2 ESCAPE '!' OR w.name_key LIKE $2 ESCAPE '!') AND `+after+` ORDER BY `+order+`
		LIMIT $1`), append([]any{limit, likePattern(search)}, args...)...)
}

// UpdateWorkspace changes a workspace's name and plan; nil leaves either as it is.
func (s *Store) UpdateWorkspace(ctx context.Context, id string, name, plan *string) error {
	var key *string
	if name != nil {
		text := searchKey(*name)
		key = &text
	}
	return s.execOne(ctx, ErrNotFound, altering(`UPDATE workspaces SET name = COALESCE(CAST($2 AS TEXT), name),
		name_key = COALESCE(CAST($3 AS TEXT), name_key), plan = COALESCE(CAST($4 AS TEXT), plan) WHERE id = $1`).of(1), id,
		pointed(name), pointed(key), pointed(plan))
}

// pointed returns the string that a pointer points to, or nil for NULL.
func pointed(text *string) any {
	if text == nil {
		return nil
	}
	return *text
}

// DisableWorkspace disables a workspace, with its keys and apps, until EnableWorkspace, even if one of its owners is
// enabled meanwhile.
func (s *Store) DisableWorkspace(ctx context.Context, id string) error {
	return s.execOne(ctx, ErrNotFound, altering(`UPDATE workspaces SET disabled_at = COALESCE(disabled_at,
		CAST($2 AS BIGINT)), disabled_for = '' WHERE id = $1`), id, s.Now())
}

// EnableWorkspace enables a workspace, even a shared one without an enabled owner. It returns ErrConflict for the
// personal workspace of a disabled user, and ErrNotFound if there is no such workspace.
func (s *Store) EnableWorkspace(ctx context.Context, id string) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.execOne(ctx, ErrNotFound, altering(`UPDATE workspaces SET disabled_at = NULL, disabled_for = ''
			WHERE id = $1`), id); err != nil {
			return err
		}
		return s.execOne(ctx, ErrConflict, plain(`UPDATE workspaces SET name = name WHERE id = $1 AND NOT EXISTS (
			SELECT 1 FROM users u WHERE u.id = personal_user_id AND u.disabled_at IS NOT NULL)`), id)
	})
}

// enabledOwner is the condition that the workspace w has an owner who is not disabled.
const enabledOwner = `EXISTS (SELECT 1 FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.workspace_id = w.id
	AND m.role = '` + RoleOwner + `' AND u.disabled_at IS NULL)`

// disableIfNoOwner disables a workspace if none of its owners is enabled. The caller has locked the workspace.
func (s *Store) disableIfNoOwner(ctx context.Context, id string) error {
	var stays bool
	if err := s.one(ctx, []any{&stays}, plain(`SELECT w.disabled_at IS NULL AND `+enabledOwner+` FROM workspaces w
		WHERE w.id = $1`), id); err != nil || stays {
		return ignoreNotFound(err) // most stay enabled, and the update below invalidates everything
	}
	_, err := s.exec(ctx, altering(`UPDATE workspaces AS w SET disabled_at = $2, disabled_for = COALESCE((SELECT
		max(m.user_id) FROM memberships m WHERE m.workspace_id = w.id AND m.role = $3), '')
		WHERE w.id = $1 AND w.disabled_at IS NULL AND NOT `+enabledOwner), id, s.Now(), RoleOwner)
	return err
}

// enableIfOwner enables a workspace that disableIfNoOwner disabled, if an owner is enabled now. The caller has locked the
// workspace.
func (s *Store) enableIfOwner(ctx context.Context, id string) error {
	var without bool
	if err := s.one(ctx, []any{&without}, plain(`SELECT disabled_for <> '' FROM workspaces WHERE id = $1`),
		id); err != nil || !without {
		return ignoreNotFound(err) // most are enabled, and the update below invalidates everything
	}
	_, err := s.exec(ctx, altering(`UPDATE workspaces AS w SET disabled_at = NULL, disabled_for = '' WHERE w.id = $1
		AND w.disabled_for <> '' AND `+enabledOwner), id)
	return err
}

// OwnedBy lists the workspaces that a user owns.
func (s *Store) OwnedBy(ctx context.Context, userID string) ([]Workspace, error) {
	return collect(ctx, s, (*Workspace).fields, plain(`SELECT `+workspaceColumns+` FROM workspaces w
		JOIN memberships m ON m.workspace_id = w.id
		WHERE m.user_id = $1 AND m.role = $2 ORDER BY w.id`), userID, RoleOwner)
}

// WorkspacesDisabledWith lists the workspaces that are disabled with a user, the personal one first: those that the
// user owns and that have no other enabled owner.
func (s *Store) WorkspacesDisabledWith(ctx context.Context, userID string) ([]Workspace, error) {
	return collect(ctx, s, (*Workspace).fields, plain(`SELECT `+workspaceColumns+` FROM workspaces w
		JOIN memberships o ON o.workspace_id = w.id
		WHERE o.user_id = $1 AND o.role = $2 AND NOT EXISTS (SELECT 1 FROM memberships m
		JOIN users u ON u.id = m.user_id
			WHERE m.workspace_id = w.id AND m.user_id <> $1 AND m.role = $2 AND u.disabled_at IS NULL)
		ORDER BY CASE WHEN w.personal_user_id IS NULL THEN 1 ELSE 0 END, w.slug`), userID, RoleOwner)
}

// DeleteWorkspace deletes a workspace with all that belongs to it, and reserves its slug. It returns ErrConflict for a
// personal workspace, which is deleted with its user, and ErrNotFound if there is no such workspace.
func (s *Store) DeleteWorkspace(ctx context.Context, id string) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.LockWorkspace(ctx, id); err != nil {
			return err
		}
		if err := s.reserveSlugs(ctx, `SELECT w.slug, w.id, CAST($2 AS BIGINT) FROM workspaces w
			WHERE w.id = $1`, id); err != nil {
			return err
		}
		if err := s.execOne(ctx, ErrNotFound, altering(`DELETE FROM workspaces WHERE id = $1`), id); err != nil {
			return err
		}
		return nil
	})
}

// LockWorkspace locks the row of a workspace until the transaction ends: other changes of its members wait. It returns
// ErrConflict for a personal workspace, and ErrNotFound if there is no such workspace.
func (s *Store) LockWorkspace(ctx context.Context, id string) error {
	if err := s.execOne(ctx, ErrNotFound, plain(`UPDATE workspaces SET name = name WHERE id = $1`), id); err != nil {
		return err
	}
	var personal bool
	err := s.one(ctx, []any{&personal}, plain(`SELECT personal_user_id IS NOT NULL FROM workspaces WHERE id = $1`), id)
	if err == nil && personal {
		err = ErrConflict
	}
	return err
}

// SolelyOwnedBy lists the workspaces that have no other owner than the user, the personal one first. They are deleted
// with the user.
func (s *Store) SolelyOwnedBy(ctx context.Context, userID string) ([]Workspace, error) {
	return collect(ctx, s, (*Workspace).fields, plain(`SELECT `+workspaceColumns+` FROM workspaces w WHERE `+soleOwner+`
		ORDER BY CASE WHEN w.personal_user_id IS NULL THEN 1 ELSE 0 END, w.slug`), userID, RoleOwner)
}

// soleOwner is the condition that only the user $1 has the role $2 in the workspace w.
const soleOwner = `EXISTS (SELECT 1 FROM memberships m WHERE m.workspace_id = w.id AND m.user_id = $1 AND m.role = $2)
	AND NOT EXISTS (SELECT 1 FROM memberships o WHERE o.workspace_id = w.id AND o.user_id <> $1 AND o.role = $2)`
