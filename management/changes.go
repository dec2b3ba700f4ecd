package management

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"doorward/oauth/limit"
	"doorward/storage"
)

// ChangeLimit bounds what one user, or the keys and apps of one workspace by themselves, can change, how often a user
// signs in, and how often they answer one client. They are far above what a person does, and a program that needs more
// can wait. None with Config.UnlimitedChanges.
var ChangeLimit = limit.Plan{Hour: 3600, Burst: 600}

// TooManyChanges says that a change has to wait. Nothing was done.
type TooManyChanges struct{ RetryAfter time.Duration }

// Error implements error.
func (e *TooManyChanges) Error() string {
	return fmt.Sprintf(
		"more than %d changes a minute, or %d an hour; wait %v", ChangeLimit.Burst, ChangeLimit.Hour, e.RetryAfter,
	)
}

// TakeChange counts a change that is asked for, on all nodes together, before it is made: for the user, with any
// credential, else for the workspace of the credential, else for the client. The pages and the management API ask it
// for all that can be done in a loop. They do not ask for what ends something once and for good, which is bounded by
// what was created, so that access can always be taken away; and the CLI is not bounded. It returns
// *TooManyChanges.
func (m *Manager) TakeChange(ctx context.Context, by *Authority) error {
	who := cmp.Or(by.UserID, by.WorkspaceID)
	if who == "" && by.Credential != nil {
		who = by.Credential.ClientID
	}
	return m.takeChange(ctx, "changes:"+who)
}

// TakeSignIn counts a sign-in with the right password, as TakeChange counts changes.
func (m *Manager) TakeSignIn(ctx context.Context, userID string) error {
	return m.takeChange(ctx, "sign-ins:"+userID)
}

// TakeAnswer counts an answer of a user to a client, yes or no, as TakeChange counts changes.
func (m *Manager) TakeAnswer(ctx context.Context, clientID, userID string) error {
	return m.takeChange(ctx, "grants:"+clientID+":"+userID)
}

func (m *Manager) takeChange(ctx context.Context, counter string) error {
	if m.unlimited {
		return nil
	}
	taken, err := m.limiter.Take(storage.System(ctx), counter, 1, ChangeLimit)
	if err == nil && !taken.Allowed {
		return &TooManyChanges{RetryAfter: taken.RetryAfter}
	}
	return err
}
