package management

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

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

// MayStart returns *Forbidden if a higher authority than this one stopped something. For the message, thing, done and
// undo are words such as key, paused and resume.
func (a *Authority) MayStart(stoppedBy string, personal bool, thing, done, undo string) error {
	if stopLevel(a.stopsAs(personal)) >= stopLevel(stoppedBy) {
		return nil
	}
	return &Forbidden{
		Message: StoppedText(stoppedBy, thing, done) + ", so only " + who(stoppedBy) + " can " + undo + " it.",
	}
}

// MayEnable is MayStart for a client. The message names the page on which an administrator can enable it: on the pages
// of a workspace, an administrator has only their role in it.
func (a *Authority) MayEnable(c *storage.Client, undo string) error {
	err := a.MayStart(c.DisabledBy, false, "app", "disabled", undo)
	var no *Forbidden
	if errors.As(err, &no) && who(c.DisabledBy) == who(StoppedByAdministrator) {
		no.Message = strings.TrimSuffix(no.Message, ".") + ", on the page /admin/apps/" + c.ID + "."
	}
	return err
}

// StoppedText returns the start of a sentence that says who stopped something.
func StoppedText(by, thing, done string) string {
	switch by {
	case StoppedByUser:
		return "Its user " + done + " this " + thing
	case catalog.RoleOwner:
		return "An owner of the workspace " + done + " this " + thing
	case catalog.RoleAdmin, catalog.RoleMember, catalog.RoleViewer:
		return "An admin of the workspace " + done + " this " + thing
	}
	return "An administrator of this server " + done + " this " + thing
}

func who(by string) string {
	switch by {
	case StoppedByUser:
		return "they"
	case catalog.RoleOwner:
		return "an owner"
	case catalog.RoleAdmin, catalog.RoleMember, catalog.RoleViewer:
		return "an admin or owner"
	}
	return "an administrator"
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
		return &input.Invalid{Field: "workspace", Message: "is disabled, so nothing can be created in it; enable it first"}
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
		return &input.Invalid{Field: "user", Message: "is disabled, so nothing can be created for them; enable them first"}
	}
	return nil
}
