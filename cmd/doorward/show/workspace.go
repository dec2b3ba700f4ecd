package show

import (
	"fmt"
	"io"
	"time"

	"doorward/storage"
)

// Workspace is a workspace, for scripts.
type Workspace struct {
	ID       string `json:"id"`
	Slug     string `json:"slug"`
	Name     string `json:"name"`
	Plan     string `json:"plan"` // empty: the default of each resource
	Personal bool   `json:"personal"`
	Disabled bool   `json:"disabled"`
	// DisabledFor is an owner, if the workspace is disabled because none of its owners is enabled.
	DisabledFor string `json:"disabled_for,omitempty"`
}

// NewWorkspace describes a workspace.
func NewWorkspace(w storage.Workspace) Workspace {
	return Workspace{
		ID:          w.ID,
		Slug:        w.Slug,
		Name:        w.Name,
		Plan:        w.Plan,
		Personal:    w.Personal,
		Disabled:    !w.DisabledAt.IsZero(),
		DisabledFor: w.DisabledFor,
	}
}

func (w Workspace) kind() string {
	if w.Personal {
		return "personal"
	}
	return "shared"
}

func (w Workspace) state() string {
	if w.DisabledFor != "" {
		return "disabled because its owner is disabled"
	}
	return enabled(w.Disabled)
}

// Workspaces writes a table of workspaces.
func Workspaces(w io.Writer, workspaces []Workspace) {
	rows := [][]string{{"SLUG", "NAME", "PLAN", "KIND", "STATE", "ID"}}
	for _, x := range workspaces {
		rows = append(rows, []string{x.Slug, x.Name, x.Plan, x.kind(), x.state(), x.ID})
	}
	Table(w, rows...)
}

// AffectedWorkspaces lists, indented, the workspaces that something was done to.
func AffectedWorkspaces(w io.Writer, workspaces []Workspace) {
	rows := make([][]string, len(workspaces))
	for i, x := range workspaces {
		rows[i] = []string{"  " + x.Slug, x.Name, x.kind()}
	}
	Table(w, rows...)
}

// Member is a member of a workspace, for scripts.
type Member struct {
	Workspace string `json:"workspace"`
	UserID    string `json:"user_id"`
	Email     string `json:"email"`
	Role      string `json:"role,omitempty"` // empty: they were removed
}

// Write says what was done, such as "Added".
func (m Member) Write(w io.Writer, done string) {
	role := ""
	if m.Role != "" {
		role = " as " + m.Role
	}
	_, _ = fmt.Fprintf(w, "%s %s (%s) in %s%s.\n", done, m.Email, m.UserID, m.Workspace, role)
}

// Invitation is an invitation to a workspace, for scripts.
type Invitation struct {
	ID        string    `json:"id"`
	Workspace string    `json:"workspace"`
	Email     string    `json:"email"`
	Role      string    `json:"role"`
	Link      string    `json:"link,omitempty"` // empty: it is sent by email
	ExpiresAt time.Time `json:"expires_at"`
}

// Write shows the link, or says that it is sent.
func (i Invitation) Write(w io.Writer) {
	if i.Link == "" {
		_, _ = fmt.Fprintf(
			w, "The server sends the invitation to %s. With it they can join %s as %s until %s.\n",
			i.Email, i.Workspace, i.Role, i.ExpiresAt.Format(time.RFC3339),
		)
		return
	}
	_, _ = fmt.Fprintf(
		w,
		"Send this link to %s. With it they can join %s as %s until %s. The link is not shown again:\n\n%s\n",
		i.Email, i.Workspace, i.Role, i.ExpiresAt.Format(time.RFC3339), i.Link,
	)
}
