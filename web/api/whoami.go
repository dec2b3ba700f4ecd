package api

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"doorward/oauth/apikey"
	"doorward/storage"
)

// Test describes the credential of the request.
type Test struct {
	Authenticated bool       `json:"authenticated" doc:"Always true."`
	KeyID         *string    `json:"keyId" doc:"ID of the API key or personal access token; null for other credentials."`
	Scopes        Scopes     `json:"scopes" doc:"Permissions in this workspace; empty for a browser session, which has those of the user's role."`
	RateLimit     *RateLimit `json:"rateLimit" doc:"As in the headers of this response; null if requests are not counted."`
}

// RateLimit holds the remaining requests of a plan.
type RateLimit struct {
	Limit     int64 `json:"limit" doc:"Requests in the window."`
	Remaining int64 `json:"remaining"`
	Reset     int64 `json:"reset" doc:"Unix seconds: when the window ends."`
}

// Me describes the user or, for an API key, the workspace's owner.
type Me struct {
	ID        string  `json:"id"`
	Email     string  `json:"email"`
	Tier      *string `json:"tier" doc:"Name of the plan, in lower case; null: no plan."`
	CreatedAt Moment  `json:"created_at"`
}

// User is the user or, for an API key, the workspace's owner. The ID is a bare UUID.
type User struct {
	ID        string `json:"id" format:"uuid"`
	Email     string `json:"email"`
	CreatedAt Moment `json:"created_at"`
}

func (a *API) whoAmI() []operation {
	const tag = "Who am I"
	key := a.exampleKey()
	return []operation{
		on(operation{
			method:  get,
			path:    "/v1/auth/test",
			id:      "testCredential",
			tag:     tag,
			summary: "Test a credential",
			status:  200,
			whoAmI:  true,
			text:    "Any credential can be tested, regardless of its permissions. Counts as one request.",
			answer: Test{
				Authenticated: true,
				KeyID:         ptr(keyID),
				Scopes:        key.Scopes,
				RateLimit:     &RateLimit{1000, 999, int64(exampleTime)/1e6 + 3600},
			},
		}, a.testCredential),
		on(operation{
			method:  get,
			path:    "/api/auth/me",
			id:      "getAccount",
			tag:     tag,
			summary: "Show the user of the credential, and their plan",
			status:  200,
			whoAmI:  true,
			text:    "For an API key, the longest-standing owner of its workspace.",
			answer: Me{
				ID:        "user_" + exampleUUID,
				Email:     "alice@example.com",
				Tier:      ptr("free"),
				CreatedAt: exampleTime,
			},
		}, a.account),
		on(operation{
			method:  get,
			path:    "/api/me",
			id:      "getUser",
			tag:     tag,
			summary: "Show the user of the credential",
			status:  200,
			whoAmI:  true,
			text:    "For an API key, the longest-standing owner of its workspace.",
			answer:  User{ID: exampleUUID, Email: "alice@example.com", CreatedAt: exampleTime},
		}, a.user),
	}
}

func (a *API) testCredential(_ context.Context, c *call, _, _ *none) (Test, error) {
	t := Test{Authenticated: true}
	if p := c.principal; p != nil {
		t.KeyID, t.Scopes = stringOrNil(p.KeyID), Scopes{List: p.Scopes, ByObject: p.ByObject}
	}
	if c.taken.Limit > 0 {
		t.RateLimit = &RateLimit{c.taken.Limit, c.taken.Remaining, c.taken.Reset}
	}
	return t, nil
}

// person returns the user of a credential or session; for a key or client, the workspace's longest-standing owner.
func (c *call) person(ctx context.Context) (storage.User, error) {
	p := c.principal
	switch {
	case p == nil:
		return c.signedIn.User, nil
	case p.UserID != "":
		return c.store.UserByID(ctx, p.UserID)
	case p.WorkspaceID == "":
		return storage.User{}, forbidden("This credential does not belong to a user; use one that does, such as a personal access token.")
	}
	return c.store.FirstOwner(ctx, p.WorkspaceID)
}

func (a *API) account(ctx context.Context, c *call, _, _ *none) (Me, error) {
	u, err := c.person(ctx)
	if err != nil {
		return Me{}, err
	}
	tier, err := c.tier(ctx)
	if err != nil {
		return Me{}, err
	}
	return Me{ID: u.ID, Email: u.Email, Tier: stringOrNil(strings.ToLower(tier)), CreatedAt: Moment(u.CreatedAt)}, nil
}

// tier returns the plan of the caller; for a key, that of the workspace's live keys.
func (c *call) tier(ctx context.Context) (string, error) {
	p := c.principal
	if p == nil {
		return cmp.Or(c.workspace.Plan, c.catalog.Resources()[0].UserPlan), nil
	}
	if p.KeyID == "" || p.UserID != "" || p.WorkspaceID == "" {
		return p.Plan, nil
	}
	w, err := c.store.WorkspaceByID(ctx, p.WorkspaceID)
	if err != nil {
		return "", fmt.Errorf("tier: %w", err)
	}
	tier, _ := c.apikey.Plan(&storage.APIKey{Resource: p.Audience, Environment: apikey.Live}, w.Plan)
	return tier, nil
}

func (a *API) user(ctx context.Context, c *call, _, _ *none) (User, error) {
	u, err := c.person(ctx)
	if err != nil {
		return User{}, err
	}
	return User{ID: strings.TrimPrefix(u.ID, "user_"), Email: u.Email, CreatedAt: Moment(u.CreatedAt)}, nil
}
