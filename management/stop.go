package management

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"doorward/locale"
	"doorward/oauth/catalog"
	"doorward/oauth/input"
	"doorward/storage"
)

// The authorities that can stop something (disable an app, pause a key), besides the roles in its workspace. Only the
// same or a higher authority can start it again.
const (
	// StoppedByAdministrator is an administrator of this server or the CLI.
	StoppedByAdministrator = "administrator"
	// StoppedByUser is the user of a personal access token.
	StoppedByUser = "user"
)

// stopLevels lists the authorities that can stop things, the lowest first. An unknown one counts as the highest.
var stopLevels = append([]string{StoppedByUser}, append(slices.Clone(catalog.Roles), StoppedByAdministrator)...)

func stopLevel(by string) int {
	if i := slices.Index(stopLevels, by); i >= 0 {
		return i
	}
	return len(stopLevels) - 1
}

// stopsAs returns the authority as one of stopLevels, over something that belongs to a workspace or, if personal, to a
// user.
func (a *Authority) stopsAs(personal bool) string {
	switch {
	case a.Administrator:
		return StoppedByAdministrator
	case personal:
		return StoppedByUser
	}
	return a.Role
}

// stopAuthority returns the authority to record when a stops an object. already is the authority that had stopped it
// before, or empty; it stays if it is higher.
func (a *Authority) stopAuthority(already string, personal bool) string {
	by := a.stopsAs(personal)
	if already != "" && stopLevel(already) > stopLevel(by) {
		return already
	}
	return by
}

// MayResume returns *Forbidden if a higher authority than this one paused a key.
func (a *Authority) MayResume(k *storage.APIKey) error {
	if stopLevel(a.stopsAs(k.UserID != "")) >= stopLevel(k.PausedBy) {
		return nil
	}
	switch k.PausedBy {
	case catalog.RoleOwner:
		return &Forbidden{Message: locale.New("An owner of the workspace paused this key, so only an owner can resume it.")}
	case catalog.RoleAdmin, catalog.RoleMember, catalog.RoleViewer:
		return &Forbidden{
			Message: locale.New("An admin of the workspace paused this key, so only an admin or owner can resume it."),
		}
	}
	return &Forbidden{
		Message: locale.New("An administrator of this server paused this key, so only an administrator can resume it."),
	}
}

// Undo is what a caller wants to do with a disabled app, for the message of MayEnable.
type Undo string

// What can be done with a disabled app.
const (
	Enable          Undo = "enable"
	ChangeAndEnable Undo = "change and enable"
)

// MayEnable returns *Forbidden if a higher authority than this one disabled a client. If that was an administrator, the
// message names the page on which one can enable it: on the pages of a workspace, an administrator has only their role
// in it.
func (a *Authority) MayEnable(c *storage.Client, undo Undo) error {
	if stopLevel(a.stopsAs(false)) >= stopLevel(c.DisabledBy) {
		return nil
	}
	var why locale.Text
	switch c.DisabledBy {
	case catalog.RoleOwner:
		why = locale.New("An owner of the workspace disabled this app, so only an owner can enable it.")
		if undo == ChangeAndEnable {
			why = locale.New("An owner of the workspace disabled this app, so only an owner can change and enable it.")
		}
	case catalog.RoleAdmin, catalog.RoleMember, catalog.RoleViewer:
		why = locale.New("An admin of the workspace disabled this app, so only an admin or owner can enable it.")
		if undo == ChangeAndEnable {
			why = locale.New("An admin of the workspace disabled this app, so only an admin or owner can change and " +
				"enable it.")
		}
	default:
		why = locale.New("An administrator of this server disabled this app, so only an administrator can enable it, on "+
			"the page %s.", adminPage(c))
		if undo == ChangeAndEnable {
			why = locale.New("An administrator of this server disabled this app, so only an administrator can change and "+
				"enable it, on the page %s.", adminPage(c))
		}
	}
	return &Forbidden{Message: why}
}

// adminPage is the path of the page on which administrators of this server change a client.
func adminPage(c *storage.Client) string { return "/admin/apps/" + url.PathEscape(c.ID) }

// WhoDisabled returns a sentence that says who disabled a client.
func WhoDisabled(c *storage.Client) locale.Text {
	switch c.DisabledBy {
	case catalog.RoleOwner:
		return locale.New("An owner of the workspace disabled this app.")
	case catalog.RoleAdmin, catalog.RoleMember, catalog.RoleViewer:
		return locale.New("An admin of the workspace disabled this app.")
	}
	return locale.New("An administrator of this server disabled this app.")
}

// mustBeEnabled returns *input.Invalid for a disabled workspace, in which nothing can be created.
func (m *Manager) mustBeEnabled(ctx context.Context, workspaceID string) error {
	if workspaceID == "" || !storage.IsSystem(ctx) {
		return nil // a tenant's workspace was checked before
	}
	w, err := m.store.WorkspaceByID(ctx, workspaceID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil // the insert will fail
	}
	if err != nil {
		return fmt.Errorf("look up the workspace: %w", err)
	}
	if !w.DisabledAt.IsZero() {
		return &input.Invalid{
			Field:   "workspace",
			Message: locale.New("is disabled, so nothing can be created in it; enable it first"),
		}
	}
	return nil
}

// userMustBeEnabled is mustBeEnabled for objects that belong only to a user.
func (m *Manager) userMustBeEnabled(ctx context.Context, userID string) error {
	if userID == "" || !storage.IsSystem(ctx) {
		return nil // a disabled user cannot sign in
	}
	u, err := m.store.UserByID(ctx, userID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil // the insert will fail
	}
	if err != nil {
		return fmt.Errorf("look up the user: %w", err)
	}
	if !u.DisabledAt.IsZero() {
		return &input.Invalid{
			Field:   "user",
			Message: locale.New("is disabled, so nothing can be created for them; enable them first"),
		}
	}
	return nil
}
