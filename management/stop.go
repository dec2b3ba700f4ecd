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

// How much authority stopped something (disabled an app, paused a key), beside the roles of its members in its
// workspace: what was stopped is started again only by as much.
const (
	// StoppedByAdministrator: an administrator of this server or the CLI.
	StoppedByAdministrator = "administrator"
	// StoppedByUser: the user whose personal access token it is.
	StoppedByUser = "user"
)

// stopLevels are the authorities that stop things, the lowest first. What was stopped by an unknown one counts as
// stopped by the highest.
var stopLevels = append([]string{StoppedByUser}, append(slices.Clone(catalog.Roles), StoppedByAdministrator)...)

func stopLevel(by string) int {
	if i := slices.Index(stopLevels, by); i >= 0 {
		return i
	}
	return len(stopLevels) - 1
}

// stopsAs is how much authority this is over something of a workspace or, where that is personal, of a user.
func (a *Authority) stopsAs(personal bool) string {
	switch {
	case a.Administrator:
		return StoppedByAdministrator
	case personal:
		return StoppedByUser
	}
	return a.Role
}

// stops is what to note about who stopped something that may be stopped already, by a higher authority perhaps; empty:
// it is not.
func (a *Authority) stops(already string, personal bool) string {
	by := a.stopsAs(personal)
	if already != "" && stopLevel(already) > stopLevel(by) {
		return already
	}
	return by
}

// MayStart returns *Forbidden where more authority than this stopped something. The words say what it is, what was done
// to it and what would undo that.
func (a *Authority) MayStart(stoppedBy string, personal bool, thing, done, undo string) error {
	if stopLevel(a.stopsAs(personal)) >= stopLevel(stoppedBy) {
		return nil
	}
	return &Forbidden{
		Message: StoppedText(stoppedBy, thing, done) + ", so only " + who(stoppedBy) + " can " + undo + " it.",
	}
}

// MayEnable is MayStart for a client. It names the page where an administrator has the authority: on a page or request
// of a workspace, theirs included, a person has their role in it and no more.
func (a *Authority) MayEnable(c *storage.Client, undo string) error {
	err := a.MayStart(c.DisabledBy, false, "app", "disabled", undo)
	var no *Forbidden
	if errors.As(err, &no) && who(c.DisabledBy) == who(StoppedByAdministrator) {
		no.Message = strings.TrimSuffix(no.Message, ".") + ", on the page /admin/apps/" + c.ID + "."
	}
	return err
}

// StoppedText says who stopped something, as the begin of a sentence.
func StoppedText(by, thing, done string) string {
	switch by {
	case StoppedByUser:
		return "Its user " + done + " this " + thing
	case catalog.RoleOwner:
		return "An owner of the workspace " + done + " this " + thing
	case catalog.RoleAdmin, catalog.RoleMember, catalog.RoleViewer:
		return "The workspace " + done + " this " + thing
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

// issuesIn returns *Invalid for a workspace that is disabled, in which nothing new is issued.
func (m *Manager) issuesIn(ctx context.Context, workspaceID string) error {
	if workspaceID == "" || !storage.IsSystem(ctx) {
		return nil // a tenant was let in because their workspace is enabled
	}
	w, err := m.store.WorkspaceByID(ctx, workspaceID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil // what refers to it will say so
	}
	if err != nil {
		return fmt.Errorf("look up the workspace: %w", err)
	}
	if !w.DisabledAt.IsZero() {
		return &input.Invalid{Field: "workspace", Message: "is disabled, so nothing new is made in it; enable it first"}
	}
	return nil
}

// issuesTo is issuesIn for what belongs to a user alone.
func (m *Manager) issuesTo(ctx context.Context, userID string) error {
	if userID == "" || !storage.IsSystem(ctx) {
		return nil // a disabled user is not let in
	}
	u, err := m.store.UserByID(ctx, userID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil // what refers to them will say so
	}
	if err != nil {
		return fmt.Errorf("look up the user: %w", err)
	}
	if !u.DisabledAt.IsZero() {
		return &input.Invalid{Field: "user", Message: "is disabled, so nothing new is made for them; enable them first"}
	}
	return nil
}
