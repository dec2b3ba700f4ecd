package api

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"doorward/oauth/identity"
	"doorward/oauth/input"
	"doorward/storage"
)

// ServerUser is a person with an account, as administrators of this server see them.
type ServerUser struct {
	ID           string         `json:"id"`
	Email        string         `json:"email"`
	Name         string         `json:"name"`
	Admin        bool           `json:"admin" doc:"An administrator of this server."`
	Disabled     bool           `json:"disabled" doc:"They cannot sign in, and nothing acts for them."`
	DisabledAt   *Moment        `json:"disabledAt"`
	CreatedAt    Moment         `json:"createdAt"`
	LastSignInAt *Moment        `json:"lastSignInAt" doc:"null: never."`
	Workspaces   []StoppingWith `json:"workspaces,omitzero" doc:"In answers about one user: the workspaces that stop when the user is disabled, since no other owner is enabled."`
	Tokens       []Token        `json:"personalAccessTokens,omitzero" doc:"In answers about one user: their personal access tokens that are neither revoked nor expired."`
}

// StoppingWith is a workspace that stops with a user.
type StoppingWith struct {
	ID       string `json:"id"`
	Slug     string `json:"slug"`
	Name     string `json:"name"`
	Personal bool   `json:"personal" doc:"It always stops with its user."`
	Disabled bool   `json:"disabled" doc:"Nothing works in it now."`
}

// ServerUserChange is what may change about a user.
type ServerUserChange struct {
	Email          *string  `json:"email,omitempty" doc:"Signs them out of every browser."`
	Name           *string  `json:"name,omitempty" doc:"Empty: none."`
	Admin          *bool    `json:"admin,omitempty" doc:"An administrator of this server. The last one who is enabled stays one."`
	Disabled       *bool    `json:"disabled,omitempty" doc:"true: ends their sessions and the access of apps for good, and stops their personal access tokens and the workspaces of which no other owner is enabled until this is false again."`
	KeepWorkspaces []string `json:"keepWorkspaces,omitempty" doc:"With disabled true: slugs of shared workspaces that go on working although no other owner is enabled."`
}

// UserFilter chooses among users.
type UserFilter struct {
	Page
	Search string `query:"search" doc:"Part of the name or address."`
}

// SignOut is what else ends when a user is signed out.
type SignOut struct {
	Apps   bool `json:"apps,omitempty" doc:"true: also the access of every app that they allowed; each has to ask again."`
	Tokens bool `json:"tokens,omitempty" doc:"true: also all their personal access tokens."`
}

// SignedOut is what ended.
type SignedOut struct {
	Sessions int64   `json:"sessions" doc:"Browser sessions that ended."`
	Grants   int64   `json:"grants" doc:"Authorizations of apps that ended, each with its tokens."`
	Revoked  int64   `json:"revokedTokens" doc:"Personal access tokens that were revoked."`
	Tokens   []Token `json:"personalAccessTokens" doc:"Those that were neither revoked nor expired before, as they are now."`
}

func (a *API) users() []operation {
	with := func(o operation) operation { o.tag, o.server = "Users", true; return o }
	listed := ServerUser{ID: "user_" + exampleUUID, Email: "bob@example.com", Name: "Bob", CreatedAt: exampleTime, LastSignInAt: ptr(exampleTime)}
	shown := listed
	shown.Workspaces, shown.Tokens = []StoppingWith{{ID: "ws_" + exampleUUID, Slug: "bob", Name: "Bob", Personal: true}}, []Token{}
	return []operation{
		on(with(operation{
			method: get, path: "/v1/users", id: "listUsers", summary: "List users", status: 200, text: "The oldest first.", answer: List[ServerUser]{Data: []ServerUser{listed}},
		}), a.listUsers),
		on(with(operation{
			method: get, path: "/v1/users/{id}", id: "showUser", summary: "Show a user", status: 200, text: "With the workspaces that would stop with them, and their personal access tokens.", answer: shown,
		}), a.showUser),
		on(with(operation{
			method: patch, path: "/v1/users/{id}", id: "updateUser", summary: "Change a user's address or name, disable or enable them, or make them an administrator", status: 200,
			text:    "All of it or nothing. To make an administrator, change an address or enable somebody takes a sign-in a few minutes old at most, or a personal access token without an end and without a restriction to addresses.",
			request: ServerUserChange{Name: ptr("Bob")}, answer: shown, conflict: "The address is taken, or no one else could administer this server.",
		}), a.updateUser),
		on(with(operation{
			method: post, path: "/v1/users/{id}/sign-out", id: "signOutUser", summary: "Sign a user out everywhere", status: 200,
			text:    "Ends all their browser sessions for good, and what else the body says.",
			request: SignOut{Apps: true}, answer: SignedOut{Sessions: 2, Grants: 1, Tokens: []Token{}},
		}), a.signOutUser),
	}
}

func listUser(u *storage.User) ServerUser {
	return ServerUser{
		ID: u.ID, Email: u.Email, Name: u.Name, Admin: u.Admin, Disabled: !u.DisabledAt.IsZero(), DisabledAt: maybe(u.DisabledAt),
		CreatedAt: Moment(u.CreatedAt), LastSignInAt: maybe(u.SeenAt),
	}
}

func (a *API) listUsers(ctx context.Context, c *call, q *UserFilter, _ *none) (List[ServerUser], error) {
	after, err := c.after(&q.Page)
	if err != nil {
		return List[ServerUser]{}, err
	}
	rows, err := a.store.Users(ctx, q.Search, after, q.size()+1)
	if err != nil {
		return List[ServerUser]{}, fmt.Errorf("list users: %w", err)
	}
	return listOf(c, &q.Page, rows, func(u *storage.User) string { return u.ID }, listUser), nil
}

func (a *API) showUser(ctx context.Context, c *call, _, _ *none) (ServerUser, error) {
	id, err := c.id("id", "user")
	if err != nil {
		return ServerUser{}, err
	}
	return c.oneUser(ctx, id)
}

// oneUser is a user with what stops with them and their live personal access tokens.
func (c *call) oneUser(ctx context.Context, id string) (ServerUser, error) {
	u, err := c.store.UserByID(ctx, id)
	if err != nil {
		return ServerUser{}, fmt.Errorf("show a user: %w", err)
	}
	shown := listUser(&u)
	with, err := c.store.WorkspacesStoppedWith(ctx, id)
	if err != nil {
		return ServerUser{}, fmt.Errorf("show a user: %w", err)
	}
	shown.Workspaces = []StoppingWith{}
	for _, w := range with {
		shown.Workspaces = append(shown.Workspaces, StoppingWith{ID: w.ID, Slug: w.Slug, Name: w.Name, Personal: w.Personal, Disabled: !w.DisabledAt.IsZero()})
	}
	tokens, err := c.identity.LiveTokens(ctx, id)
	if err != nil {
		return ServerUser{}, err
	}
	shown.Tokens = []Token{}
	for i := range tokens {
		shown.Tokens = append(shown.Tokens, c.showToken(&tokens[i]))
	}
	return shown, nil
}

func (a *API) updateUser(ctx context.Context, c *call, _ *none, in *ServerUserChange) (ServerUser, error) {
	id, err := c.id("id", "user")
	if err != nil {
		return ServerUser{}, err
	}
	disable, enable := in.Disabled != nil && *in.Disabled, in.Disabled != nil && !*in.Disabled
	switch {
	case in.Email == nil && in.Name == nil && in.Admin == nil && in.Disabled == nil && in.KeepWorkspaces == nil:
		return ServerUser{}, badRequest("There is nothing to change; send email, name, admin or disabled.")
	case in.KeepWorkspaces != nil && !disable:
		return ServerUser{}, badRequest(`The member "keepWorkspaces" goes with "disabled": true.`)
	case disable && id == c.by.UserID:
		return ServerUser{}, badRequest("You cannot disable yourself. Ask another administrator, or use the command.")
	}
	if in.Email != nil || in.Admin != nil && *in.Admin || enable {
		if err := c.by.MayGivePower(); err != nil {
			return ServerUser{}, err
		}
	}
	var shown ServerUser
	err = a.store.InTx(ctx, func(ctx context.Context) error {
		if in.Email != nil || in.Name != nil || in.Admin != nil {
			if _, err := a.identity.UpdateUser(ctx, id, identity.UserChange{Email: in.Email, Name: in.Name, Admin: in.Admin}); err != nil {
				return err
			}
		}
		switch {
		case enable:
			err = a.identity.EnableUser(ctx, id)
		case disable:
			err = c.disableUser(ctx, id, in.KeepWorkspaces)
		}
		if err != nil {
			return err
		}
		shown, err = c.oneUser(ctx, id)
		return err
	})
	return shown, userFault(err)
}

// disableUser disables a user; the shared workspaces with the slugs go on working.
func (c *call) disableUser(ctx context.Context, id string, slugs []string) error {
	with, err := c.store.WorkspacesStoppedWith(ctx, id)
	if err != nil {
		return fmt.Errorf("disable a user: %w", err)
	}
	var keep []string
	for _, slug := range slugs {
		i := slices.IndexFunc(with, func(w storage.Workspace) bool { return !w.Personal && w.Slug == slug })
		if i < 0 {
			return badRequest(fmt.Sprintf("The member \"keepWorkspaces\" names %q, which is not a shared workspace of which the user is the only enabled owner.", shorten(slug)))
		}
		keep = append(keep, with[i].ID)
	}
	return c.identity.DisableUser(ctx, id, keep...)
}

// userFault words what package identity finds wrong.
func userFault(err error) error {
	var invalid *identity.Invalid
	switch {
	case errors.Is(err, storage.ErrConflict):
		return conflict("Nobody else could administer this server; make or enable another administrator first. Nothing was changed.")
	case !errors.As(err, &invalid):
		return err
	case errors.Is(err, storage.ErrExists):
		return conflict(invalid.Error())
	}
	text := ""
	for _, one := range input.Flatten(err) {
		if errors.As(one, &invalid) {
			text += " " + invalid.Error()
		}
	}
	return badRequest(text[1:])
}

func (a *API) signOutUser(ctx context.Context, c *call, _ *none, in *SignOut) (SignedOut, error) {
	id, err := c.id("id", "user")
	if err != nil {
		return SignedOut{}, err
	}
	ended, err := a.identity.SignOut(ctx, id, identity.Ending{Apps: in.Apps, Tokens: in.Tokens})
	if err != nil {
		return SignedOut{}, err
	}
	out := SignedOut{Sessions: ended.Sessions, Grants: ended.Grants, Revoked: ended.Revoked, Tokens: []Token{}}
	for _, k := range ended.Tokens {
		if k, err = a.store.KeyByID(ctx, k.ID); err != nil {
			return SignedOut{}, fmt.Errorf("show a token: %w", err)
		}
		out.Tokens = append(out.Tokens, c.showToken(&k))
	}
	return out, nil
}
