package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"doorward/oauth/identity"
	"doorward/oauth/input"
	"doorward/storage"
)

// ServerUser is a user, for administrators of this server.
type ServerUser struct {
	ID              string         `json:"id"`
	Email           string         `json:"email"`
	Name            string         `json:"name"`
	Administrator   bool           `json:"administrator" doc:"An administrator of this server."`
	Admin           bool           `json:"admin" doc:"The same as administrator, under its earlier name."`
	Disabled        bool           `json:"disabled" doc:"The user cannot sign in, and no app or token can act on their behalf."`
	DisabledAt      *Moment        `json:"disabledAt"`
	Approved        bool           `json:"approved" doc:"false: the account waits for an administrator's approval, and is disabled until then."`
	CreatedAt       Moment         `json:"createdAt"`
	LastSignInAt    *Moment        `json:"lastSignInAt" doc:"null: never signed in."`
	EmailProvenAt   *Moment        `json:"emailProvenAt" doc:"When the user proved the address by an email; null: an administrator entered it."`
	TermsURL        *string        `json:"termsUrl" doc:"The terms that the user accepted; null: none."`
	TermsAcceptedAt *Moment        `json:"termsAcceptedAt"`
	Workspaces      []StoppingWith `json:"workspaces,omitzero" doc:"Only for a single user: the workspaces that stop working if the user is disabled, because they have no other enabled owner."`
	Tokens          []Token        `json:"personalAccessTokens,omitzero" doc:"Only for a single user: their personal access tokens that are neither revoked nor expired."`
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
	Administrator  *bool    `json:"administrator,omitempty" doc:"Administrator of this server. The last enabled administrator cannot be changed."`
	Admin          *bool    `json:"admin,omitempty" doc:"The same as administrator, under its earlier name."`
	Approved       *bool    `json:"approved,omitempty" doc:"true: approves an account that waits for approval, and tells the user by email. To refuse it, delete the user."`
	Disabled       *bool    `json:"disabled,omitempty" doc:"true: signs the user out and revokes app access permanently. Until the user is enabled again, their personal access tokens, and workspaces without another enabled owner, do not work."`
	KeepWorkspaces []string `json:"keepWorkspaces,omitempty" doc:"Only with disabled true: slugs of shared workspaces that keep working although they have no other enabled owner."`
}

// UserFilter holds the query parameters that filter users.
type UserFilter struct {
	Page
	Query  string `query:"q" doc:"Part of the name or email address."`
	Search string `query:"search" doc:"The same as q, under its earlier name."`
	Filter string `query:"filter" doc:"Only users in this state." enum:"never_signed_in,disabled,administrator,waiting"`
}

// AccountInvitation is the request to invite a user.
type AccountInvitation struct {
	Email string `json:"email"`
}

// SentInvitation is an invitation to set up an account.
type SentInvitation struct {
	ID        string `json:"id"`
	Email     string `json:"email"`
	ExpiresAt Moment `json:"expiresAt" doc:"When its link stops working."`
}

// UserSession is a browser in which a user is signed in.
type UserSession struct {
	ID         string   `json:"id"`
	UserAgent  *string  `json:"userAgent"`
	IPAddress  *string  `json:"ipAddress"`
	SignedInAt Moment   `json:"signedInAt"`
	LastSeenAt Moment   `json:"lastSeenAt"`
	ExpiresAt  Moment   `json:"expiresAt" doc:"It ends earlier if it is not used for a day."`
	AMR        []string `json:"amr" doc:"How the user authenticated: methods of RFC 8176 (pwd, otp, hwk, swk, user, mfa), and email, recovery and fed (an account at another provider)."`
	ACR        string   `json:"acr" enum:"urn:doorward:1,urn:doorward:2" doc:"The level that this reached: urn:doorward:1 with one factor, urn:doorward:2 with two, or with a passkey."`
}

// SignInMethod is a way in which a user signs in.
type SignInMethod struct {
	ID         string  `json:"id"`
	Kind       string  `json:"kind" enum:"password,passkey,totp,recovery_codes,provider"`
	Name       *string `json:"name" doc:"Of a passkey, or the address of an account at a provider."`
	Provider   *string `json:"provider" doc:"The id of the provider, for an account at one."`
	Since      Moment  `json:"since" doc:"When it was added; for a password, when it was set."`
	LastUsedAt *Moment `json:"lastUsedAt" doc:"null: never, or not recorded, as for a password."`
	Locked     bool    `json:"locked" doc:"It does not work after too many failures. Enabling the user again unlocks it, and so does a sign-in in another way."`
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
		Approved:     true,
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
			method:  post,
			path:    "/v1/users",
			id:      "inviteUser",
			summary: "Invite a user",
			status:  201,
			text: "Sends an email with a link to set up an account, which works for 7 days. A newer invitation of the " +
				"same address replaces it. Needs a sign-in within the last few minutes, or a personal access token that " +
				"never expires and has no allowed IP addresses.",
			request:  AccountInvitation{Email: "carol@example.com"},
			answer:   SentInvitation{ID: "proof_" + exampleUUID, Email: "carol@example.com", ExpiresAt: exampleTime},
			conflict: "The address has an account, or the server sends no email.",
		}), a.inviteUser),
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
			summary: "Update, disable, enable or approve a user",
			status:  200,
			text: "All changes are applied, or none. Making a user an administrator, changing an email address and " +
				"enabling or approving a user need a sign-in within the last few minutes, or a personal access token that never " +
				"expires and has no allowed IP addresses.",
			request: ServerUserChange{Name: ptr("Bob")},
			answer:  shown,
			conflict: "The email address is taken, the server would have no enabled administrator, or the account " +
				"does not wait for approval.",
		}), a.updateUser),
		on(with(operation{
			method:  remove,
			path:    "/v1/users/{id}",
			id:      "deleteUser",
			summary: "Delete a user",
			status:  204,
			text: "Also deletes their tokens, and the workspaces that have no other owner. The user is told by email. An " +
				"account that waits for approval is refused by this.",
			conflict: "The server would have no enabled administrator.",
		}), a.deleteUser),
		on(with(operation{
			method:  get,
			path:    "/v1/users/{id}/sessions",
			id:      "listUserSessions",
			summary: "List a user's sessions",
			status:  200,
			text:    "Oldest first: the browsers in which the user is signed in.",
			answer: List[UserSession]{Data: []UserSession{{
				ID: "session_" + exampleUUID, UserAgent: ptr("Mozilla/5.0"), IPAddress: ptr("192.0.2.1"),
				SignedInAt: exampleTime, LastSeenAt: exampleTime, ExpiresAt: exampleTime,
				AMR: []string{identity.ByPassword}, ACR: identity.LevelOne,
			}}},
		}), a.listUserSessions),
		on(with(operation{
			method:  remove,
			path:    "/v1/users/{id}/sessions",
			id:      "endUserSessions",
			summary: "End all sessions of a user",
			status:  204,
			text:    "Also ends the sign-in links that were sent to them.",
		}), a.endUserSessions),
		on(with(operation{
			method:  remove,
			path:    "/v1/users/{id}/sessions/{session}",
			id:      "endUserSession",
			summary: "End a session of a user",
			status:  204,
		}), a.endUserSession),
		on(with(operation{
			method:   post,
			path:     "/v1/users/{id}/reset",
			id:       "sendReset",
			summary:  "Send a user a reset email",
			status:   204,
			text:     "It has a link with which they choose a new password. The one they have works until then.",
			conflict: "The user is disabled, or the server sends no email, or users do not sign in with passwords.",
		}), a.sendReset),
		on(with(operation{
			method:  get,
			path:    "/v1/users/{id}/methods",
			id:      "listSignInMethods",
			summary: "List a user's sign-in methods",
			status:  200,
			text: "Second factors are among them: authenticator app (totp), recovery codes and passkeys. Links and codes by email, " +
				"which every user has if they are allowed, are not listed.",
			answer: List[SignInMethod]{Data: []SignInMethod{
				{ID: identity.MethodPassword, Kind: identity.MethodPassword, Since: exampleTime},
			}},
		}), a.listSignInMethods),
		on(with(operation{
			method:  remove,
			path:    "/v1/users/{id}/methods/{method}",
			id:      "removeSignInMethod",
			summary: "Remove a sign-in method of a user",
			status:  204,
			text: "Signs the user out of every browser and tells them by email. A user who has to have a second factor and loses " +
				"the last one sets up another at the next sign-in.",
			conflict: "The user could not sign in without it.",
		}), a.removeSignInMethod),
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
		ID:              u.ID,
		Email:           u.Email,
		Name:            u.Name,
		Administrator:   u.Admin,
		Admin:           u.Admin,
		Approved:        u.WaitingSince.IsZero(),
		EmailProvenAt:   momentOrNil(u.EmailProvenAt),
		TermsURL:        stringOrNil(u.TermsURL),
		TermsAcceptedAt: momentOrNil(u.TermsAcceptedAt),
		Disabled:        !u.DisabledAt.IsZero(),
		DisabledAt:      momentOrNil(u.DisabledAt),
		CreatedAt:       Moment(u.CreatedAt),
		LastSignInAt:    momentOrNil(u.SeenAt),
	}
}

func (a *API) listUsers(ctx context.Context, c *call, q *UserFilter, _ *none) (List[ServerUser], error) {
	after, err := c.after(&q.Page)
	if err != nil {
		return List[ServerUser]{}, err
	}
	if q.Query != "" && q.Search != "" {
		return List[ServerUser]{}, badRequest("The query parameters q and search mean the same; send one of them.")
	}
	rows, err := a.store.SortedUsers(
		ctx, storage.UserFilter{Search: q.Query + q.Search, State: q.Filter}, storage.Order{After: after}, q.size()+1,
	)
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
	approve := in.Approved != nil
	switch {
	case in.Administrator != nil && in.Admin != nil:
		return ServerUser{}, badRequest(`The members "administrator" and "admin" mean the same; send one of them.`)
	case in.Administrator != nil:
		in.Admin = in.Administrator
	}
	switch {
	case in.Email == nil && in.Name == nil && in.Admin == nil && in.Disabled == nil && in.KeepWorkspaces == nil &&
		!approve:
		return ServerUser{}, badRequest("Nothing to change; send email, name, administrator, disabled or approved.")
	case approve && !*in.Approved:
		return ServerUser{}, badRequest(`The member "approved" can only be true; to refuse an account, delete the user.`)
	case approve && in.Disabled != nil:
		return ServerUser{}, badRequest(`Send "approved" or "disabled", not both.`)
	case in.KeepWorkspaces != nil && !disable:
		return ServerUser{}, badRequest(`The member "keepWorkspaces" is allowed only with "disabled": true.`)
	case disable && id == c.by.UserID:
		return ServerUser{}, badRequest("You cannot disable yourself. Ask another administrator, or use the CLI.")
	}
	if in.Email != nil || in.Admin != nil && *in.Admin || enable || approve {
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
		case approve:
			err = a.identity.ApproveUser(ctx, id)
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
	case errors.Is(err, identity.ErrNotWaiting):
		return conflict("The account does not wait for approval.")
	case errors.Is(err, identity.ErrDisabled):
		return conflict("The user is disabled; enable them first.")
	case errors.Is(err, identity.ErrNoEmail):
		return conflict(
			"This server sends no email; its operator can use the commands doorward user create and user password.",
		)
	case errors.Is(err, identity.ErrNoPasswords):
		return conflict("Users of this server do not sign in with passwords.")
	case errors.Is(err, identity.ErrOnlyWay):
		return conflict(
			"The user could not sign in without it; disable the user instead.",
		)
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

func (a *API) inviteUser(ctx context.Context, c *call, _ *none, in *AccountInvitation) (SentInvitation, error) {
	if err := c.by.MayGrantAccountAccess(); err != nil {
		return SentInvitation{}, err
	}
	proof, err := a.identity.Invite(ctx, in.Email)
	if err != nil {
		return SentInvitation{}, userFault(err)
	}
	return SentInvitation{ID: proof.ID, Email: proof.Email, ExpiresAt: Moment(proof.ExpiresAt)}, nil
}

func (a *API) deleteUser(ctx context.Context, c *call, _, _ *none) (none, error) {
	id, err := c.id("id", "user")
	switch {
	case err != nil:
		return none{}, err
	case id == c.by.UserID:
		return none{}, badRequest("You cannot delete yourself. Ask another administrator, or use the CLI.")
	}
	return none{}, userFault(a.identity.DeleteUser(ctx, id))
}

func (a *API) listUserSessions(ctx context.Context, c *call, q *Page, _ *none) (List[UserSession], error) {
	after, err := c.after(q)
	if err != nil {
		return List[UserSession]{}, err
	}
	id, err := c.id("id", "user")
	if err != nil {
		return List[UserSession]{}, err
	}
	rows, err := a.identity.Sessions(ctx, id)
	if err != nil {
		return List[UserSession]{}, err
	}
	slices.SortFunc(rows, func(x, y storage.Session) int { return strings.Compare(x.ID, y.ID) })
	place := func(x *storage.Session) string { return x.ID }
	return listOf(c, q, cut(q, rows, after, place), place, func(x *storage.Session) UserSession {
		return UserSession{
			ID: x.ID, UserAgent: stringOrNil(x.UserAgent), IPAddress: stringOrNil(x.Address),
			SignedInAt: Moment(x.AuthTime), LastSeenAt: Moment(x.SeenAt), ExpiresAt: Moment(x.ExpiresAt),
			AMR: append([]string{}, x.AMR...), ACR: x.ACR,
		}
	}), nil
}

func (a *API) endUserSessions(ctx context.Context, c *call, _, _ *none) (none, error) {
	id, err := c.id("id", "user")
	if err == nil {
		_, err = a.identity.SignOut(ctx, id, identity.SignOutOptions{})
	}
	return none{}, err
}

func (a *API) endUserSession(ctx context.Context, c *call, _, _ *none) (none, error) {
	id, err := c.id("id", "user")
	if err != nil {
		return none{}, err
	}
	session, err := c.id("session", "session")
	if err == nil {
		err = a.identity.EndSession(ctx, id, session)
	}
	return none{}, err
}

func (a *API) sendReset(ctx context.Context, c *call, _, _ *none) (none, error) {
	id, err := c.id("id", "user")
	if err == nil {
		err = userFault(a.identity.SendReset(ctx, id))
	}
	return none{}, err
}

func (a *API) listSignInMethods(ctx context.Context, c *call, q *Page, _ *none) (List[SignInMethod], error) {
	after, err := c.after(q)
	if err != nil {
		return List[SignInMethod]{}, err
	}
	id, err := c.id("id", "user")
	if err != nil {
		return List[SignInMethod]{}, err
	}
	u, err := a.store.UserByID(ctx, id)
	if err != nil {
		return List[SignInMethod]{}, fmt.Errorf("list sign-in methods: %w", err)
	}
	list, err := a.identity.Methods(ctx, &u)
	if err != nil {
		return List[SignInMethod]{}, err
	}
	slices.SortFunc(list, func(x, y identity.Method) int { return strings.Compare(x.ID, y.ID) })
	place := func(m *identity.Method) string { return m.ID }
	return listOf(c, q, cut(q, list, after, place), place, func(m *identity.Method) SignInMethod {
		return SignInMethod{
			ID: m.ID, Kind: m.Kind, Name: stringOrNil(m.Name), Provider: stringOrNil(m.Provider), Since: Moment(m.Since),
			LastUsedAt: momentOrNil(m.UsedAt), Locked: m.Locked,
		}
	}), nil
}

func (a *API) removeSignInMethod(ctx context.Context, c *call, _, _ *none) (none, error) {
	if err := c.by.MayGrantAccountAccess(); err != nil {
		return none{}, err
	}
	id, err := c.id("id", "user")
	if err == nil {
		err = userFault(a.identity.RemoveMethodOf(ctx, id, c.r.PathValue("method")))
	}
	return none{}, err
}
