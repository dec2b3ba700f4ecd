package show

import (
	"fmt"
	"io"
	"time"

	"doorward/storage"
)

// User is a user, for scripts.
type User struct {
	ID        string    `json:"id"`
	Email     string    `json:"email"`
	Name      string    `json:"name"`
	Admin     bool      `json:"admin"`
	Disabled  bool      `json:"disabled"`
	Waiting   bool      `json:"waiting"` // for approval; Disabled is set too
	CreatedAt time.Time `json:"created_at"`
	// Workspaces are those that were deleted or disabled with the user.
	Workspaces []Workspace `json:"workspaces,omitempty"`
}

// NewUser describes a user.
func NewUser(u storage.User) User {
	return User{
		ID:        u.ID,
		Email:     u.Email,
		Name:      u.Name,
		Admin:     u.Admin,
		Disabled:  !u.DisabledAt.IsZero(),
		Waiting:   !u.WaitingSince.IsZero(),
		CreatedAt: Seconds(u.CreatedAt),
	}
}

// Users writes a table of users.
func Users(w io.Writer, users []User) {
	rows := [][]string{{"EMAIL", "NAME", "ROLE", "STATE", "ID"}}
	for _, u := range users {
		role := ""
		if u.Admin {
			role = "administrator"
		}
		state := enabled(u.Disabled)
		if u.Waiting {
			state = "waiting for approval"
		}
		rows = append(rows, []string{u.Email, u.Name, role, state, u.ID})
	}
	Table(w, rows...)
}

// Session is a browser in which a user is signed in, for scripts.
type Session struct {
	ID         string    `json:"id"`
	UserAgent  string    `json:"user_agent"`
	Address    string    `json:"address"`
	SignedInAt time.Time `json:"signed_in_at"`
	SeenAt     time.Time `json:"seen_at"`
}

// NewSession describes a session.
func NewSession(x *storage.Session) Session {
	return Session{
		ID: x.ID, UserAgent: x.UserAgent, Address: x.Address, SignedInAt: Seconds(x.AuthTime), SeenAt: Seconds(x.SeenAt),
	}
}

// Sessions writes a table of sessions.
func Sessions(w io.Writer, sessions []Session) {
	rows := [][]string{{"LAST SEEN", "ADDRESS", "BROWSER", "ID"}}
	for _, x := range sessions {
		rows = append(rows, []string{x.SeenAt.Format(time.RFC3339), x.Address, x.UserAgent, x.ID})
	}
	Table(w, rows...)
}

// EndedAccess is a user whose sessions ended, and what else was revoked, for scripts.
type EndedAccess struct {
	User
	Sessions int64 `json:"sessions_ended"`
	Grants   int64 `json:"grants_ended"`
	Revoked  int64 `json:"tokens_revoked"`
	Tokens   []Key `json:"tokens"` // personal access tokens that were neither revoked nor expired before
}

// counted is a number with its noun, in the plural unless the number is 1.
func counted(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// Write says what ended. Done is the beginning of the sentence, such as "Signed out".
func (e EndedAccess) Write(w io.Writer, done string) {
	_, _ = fmt.Fprintf(
		w,
		"%s %s (%s): %s ended, %s and %s revoked.\n",
		done, e.Email, e.ID, counted(e.Sessions, "session"), counted(e.Grants, "app authorization"),
		counted(e.Revoked, "personal access token"),
	)
	if len(e.Tokens) == 0 {
		return
	}
	title := "These personal access tokens still work; to revoke them, add --tokens:"
	if e.Revoked > 0 {
		title = "Revoked personal access tokens:"
	}
	_, _ = fmt.Fprintln(w, title)
	rows := make([][]string, len(e.Tokens))
	for i, k := range e.Tokens {
		rows[i] = []string{"  " + k.ID, k.Name, k.Scope, k.State}
	}
	Table(w, rows...)
}
