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

// ServerUser is a user, for administrators of this server.
type ServerUser struct {
	ID           string         `json:"id"`
	Email        string         `json:"email"`
	Name         string         `json:"name"`
	Admin        bool           `json:"admin" doc:"An administrator of this server."`
	Disabled     bool           `json:"disabled" doc:"The user cannot sign in, and no app or token can act on their behalf."`
	DisabledAt   *Moment        `json:"disabledAt"`
	CreatedAt    Moment         `json:"createdAt"`
	LastSignInAt *Moment        `json:"lastSignInAt" doc:"null: never signed in."`
	Workspaces   []StoppingWith `json:"workspaces,omitzero" doc:"Only for a single user: the workspaces that stop working if the user is disabled, because they have no other enabled owner."`
	Tokens       []Token        `json:"personalAccessTokens,omitzero" doc:"Only for a single user: their personal access tokens that are neither revoked nor expired."`
}

// StoppingWith is a workspace that is disabled with a user.
type StoppingWith struct {
	ID       string `json:"id"`
	Slug     string `json:"slug"`
	Name     string `json:"name"`
	Personal bool   `json:"personal" doc:"A personal workspace, which always stops with its user."`
	Disabled bool   `json:"disabled" doc:"All keys, tokens and apps of the workspace are disabled."`
}

// ServerUserChange is the request to update a user.
type ServerUserChange struct {
	Email          *string  `json:"email,omitempty" doc:"Signs them out of every browser."`
	Name           *string  `json:"name,omitempty" doc:"Empty: no name."`
	Admin          *bool    `json:"admin,omitempty" doc:"Administrator of this server. The last enabled administrator cannot be changed."`
	Disabled       *bool    `json:"disabled,omitempty" doc:"true: signs the user out and revokes app access permanently. Until the user is enabled again, their personal access tokens, and workspaces without another enabled owner, do not work."`
	KeepWorkspaces []string `json:"keepWorkspaces,omitempty" doc:"Only with disabled true: slugs of shared workspaces that keep working although they have no other enabled owner."`
}

// UserFilter holds the query parameters that filter users.
type UserFilter struct {
	Page
	Search string `query:"search" doc:"Part of the name or email address."`
}

// SignOut says what to revoke when a user is signed out.
type SignOut struct {
	Apps   bool `json:"apps,omitempty" doc:"true: also revokes the access of every app; each must ask for consent again."`
	Tokens bool `json:"tokens,omitempty" doc:"true: also revokes all personal access tokens of the user."`
}

// SignedOut says what ended.
type SignedOut struct {
	Sessions int64   `json:"sessions" doc:"Browser sessions that ended."`
	Grants   int64   `json:"grants" doc:"Authorizations of apps that were revoked, each with its tokens."`
	Revoked  int64   `json:"revokedTokens" doc:"Personal access tokens that were revoked."`
	Tokens   []Token `json:"personalAccessTokens" doc:"The personal access tokens that were active before the request, as they are now."`
}

func (a *API) users() []operation {
	with := func(o operation) operation { o.tag, o.server = "Users", true; return o }
	listed := ServerUser{
		ID:           "user_" + exampleUUID,
		Email:        "bob@example.com",
		Name:         "Bob",
		CreatedAt:    exampleTime,
		LastSignInAt: ptr(exampleTime),
	}
	shown := listed
	shown.Workspaces, shown.Tokens = []StoppingWith{
		{ID: "ws_" + exampleUUID, Slug: "bob", Name: "Bob", Personal: true},
	}, []Token{}
	return []operation{
		on(with(operation{
			method:  get,
			path:    "/v1/users",
			id:      "listUsers",
			summary: "List users",
			status:  200,
			text:    "Oldest first.",
			answer:  List[ServerUser]{Data: []ServerUser{listed}},
		}), a.listUsers),
		on(with(operation{
			method:  get,
			path:    "/v1/users/{id}",
			id:      "showUser",
			summary: "Show a user",
			status:  200,
			text:    "With the workspaces that would stop if they were disabled, and their personal access tokens.",
			answer:  shown,
		}), a.showUser),
		on(with(operation{
			method:  patch,
			path:    "/v1/users/{id}",
			id:      "updateUser",
			summary: "Update, disable or enable a user",
			status:  200,
			text: "All changes are applied, or none. Making a user an administrator, changing an email address and " +
				"enabling a user need a sign-in within the last few minutes, or a personal access token that never " +
				"expires and has no allowed IP addresses.",
			request:  ServerUserChange{Name: ptr("Bob")},
			answer:   shown,
			conflict: "The email address is taken, or the server would have no enabled administrator.",
		}), a.updateUser),
		on(with(operation{
			method:  post,
			path:    "/v1/users/{id}/sign-out",
			id:      "signOutUser",
			summary: "Sign a user out everywhere",
			status:  200,
			text:    "Ends all of the user's browser sessions and, if requested, revokes app access and tokens.",
			request: SignOut{Apps: true},
			answer:  SignedOut{Sessions: 2, Grants: 1, Tokens: []Token{}},
		}), a.signOutUser),
	}
}

func listUser(u *storage.User) ServerUser {
	return ServerUser{
		ID:           u.ID,
		Email:        u.Email,
		Name:         u.Name,
		Admin:        u.Admin,
		Disabled:     !u.DisabledAt.IsZero(),
		DisabledAt:   momentOrNil(u.DisabledAt),
		CreatedAt:    Moment(u.CreatedAt),
		LastSignInAt: momentOrNil(u.SeenAt),
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

// oneUser returns a user with the workspaces that would be disabled with them, and their personal access tokens.
func (c *call) oneUser(ctx context.Context, id string) (ServerUser, error) {
	u, err := c.store.UserByID(ctx, id)
	if err != nil {
		return ServerUser{}, fmt.Errorf("show a user: %w", err)
	}
	shown := listUser(&u)
	with, err := c.store.WorkspacesDisabledWith(ctx, id)
	if err != nil {
		return ServerUser{}, fmt.Errorf("show a user: %w", err)
	}
	shown.Workspaces = []StoppingWith{}
	for _, w := range with {
		shown.Workspaces = append(
			shown.Workspaces,
			StoppingWith{ID: w.ID, Slug: w.Slug, Name: w.Name, Personal: w.Personal, Disabled: !w.DisabledAt.IsZero()},
		)
	}
	tokens, err := c.identity.CurrentTokens(ctx, id)
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
		return ServerUser{}, badRequest("Nothing to change; send email, name, admin or disabled.")
	case in.KeepWorkspaces != nil && !disable:
		return ServerUser{}, badRequest(`The member "keepWorkspaces" is allowed only with "disabled": true.`)
	case disable && id == c.by.UserID:
		return ServerUser{}, badRequest("You cannot disable yourself. Ask another administrator, or use the CLI.")
	}
	if in.Email != nil || in.Admin != nil && *in.Admin || enable {
		if err := c.by.MayGrantAccountAccess(); err != nil {
			return ServerUser{}, err
		}
	}
	var shown ServerUser
	err = a.store.InTx(ctx, func(ctx context.Context) error {
		if in.Email != nil || in.Name != nil || in.Admin != nil {
			if _, err := a.identity.UpdateUser(
				ctx,
				id,
				identity.UserChange{Email: in.Email, Name: in.Name, Admin: in.Admin},
			); err != nil {
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

// disableUser disables a user, but not the shared workspaces with the slugs.
func (c *call) disableUser(ctx context.Context, id string, slugs []string) error {
	with, err := c.store.WorkspacesDisabledWith(ctx, id)
	if err != nil {
		return fmt.Errorf("disable a user: %w", err)
	}
	var keep []string
	for _, slug := range slugs {
		i := slices.IndexFunc(with, func(w storage.Workspace) bool { return !w.Personal && w.Slug == slug })
		if i < 0 {
			return badRequest(
				fmt.Sprintf(
					"The member \"keepWorkspaces\" contains %q, which would not be disabled with this user; "+
						"leave it out.",
					shorten(slug),
				),
			)
		}
		keep = append(keep, with[i].ID)
	}
	return c.identity.DisableUser(ctx, id, keep...)
}

// userFault turns errors of package identity into refusals.
func userFault(err error) error {
	var invalid *identity.Invalid
	switch {
	case errors.Is(err, storage.ErrConflict):
		return conflict(
			"The server would have no enabled administrator; make or enable another administrator first. Nothing " +
				"was changed.",
		)
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
	ended, err := a.identity.SignOut(ctx, id, identity.SignOutOptions{Apps: in.Apps, Tokens: in.Tokens})
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
