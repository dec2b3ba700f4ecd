package management

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"doorward/oauth/limit"
	"doorward/storage"
)

// ChangeLimit limits how much one user, or the keys and apps of one workspace, can change, how often a user signs in,
// and how often they answer one client. It is far above what a person does, and programs can wait.
// Config.UnlimitedChanges lifts it.
var ChangeLimit = limit.Plan{Hour: 3600, Burst: 600}

// TooManyChanges means that a change has to wait. Nothing was done.
type TooManyChanges struct {
	Limit      limit.Plan
	RetryAfter time.Duration
}

// Error implements error.
func (e *TooManyChanges) Error() string {
	minute := ""
	if e.Limit.Burst > 0 {
		minute = fmt.Sprintf(", or %d a minute", e.Limit.Burst)
	}
	return fmt.Sprintf("more than %d an hour%s; wait %v", e.Limit.Hour, minute, e.RetryAfter)
}

// TakeChange counts a requested change, across all nodes, before it is applied. It counts for the user, regardless of
// their credential, or else for the workspace of the credential, or else for the client. The pages and the management
// API call it for every change that a program could repeat. They do not call it for deletions and revocations, so that
// access can always be removed; their number is bounded by what was created. The CLI is not limited. It returns
// *TooManyChanges.
func (m *Manager) TakeChange(ctx context.Context, by *Authority) error {
	who := cmp.Or(by.UserID, by.WorkspaceID)
	if who == "" && by.Credential != nil {
		who = by.Credential.ClientID
	}
	return m.takeChange(ctx, "changes:"+who)
}

// TakeSignIn counts a sign-in or a fresh proof of a user, as TakeChange counts changes.
func (m *Manager) TakeSignIn(ctx context.Context, userID string) error {
	return m.takeChange(ctx, "sign-ins:"+userID)
}

// TakeAnswer counts an answer of a user to a client, allowed or denied, as TakeChange counts changes. An answer to a
// client that no user of this server has allowed yet counts as a registration too: the user could have made the client
// themselves.
func (m *Manager) TakeAnswer(ctx context.Context, c *storage.Client, userID string) error {
	if c.Registration == storage.RegisteredByDocument && c.CreatedAt.IsZero() {
		if err := m.take(ctx, "new-clients:"+userID, RegistrationLimit); err != nil {
			return err
		}
	}
	return m.takeChange(ctx, "grants:"+c.ID+":"+userID)
}

func (m *Manager) takeChange(ctx context.Context, counter string) error {
	return m.take(ctx, counter, ChangeLimit)
}

func (m *Manager) take(ctx context.Context, counter string, plan limit.Plan) error {
	if m.unlimited {
		return nil
	}
	taken, err := m.limiter.Take(storage.System(ctx), counter, 1, plan)
	if err == nil && !taken.Allowed {
		return &TooManyChanges{plan, taken.RetryAfter}
	}
	return err
}
