package api

import (
	"context"
	"fmt"

	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/oauth/catalog"
	"doorward/storage"
)

// Token is a personal access token in responses.
type Token struct {
	ID           string   `json:"id" doc:"Identifies the token. Not secret."`
	Token        string   `json:"token,omitempty" doc:"The token itself. Returned only when it is created."`
	Name         string   `json:"name"`
	Note         string   `json:"note" doc:"Free text."`
	Resource     string   `json:"resource" doc:"The API that the token is for."`
	Scopes       Scopes   `json:"scopes" doc:"Maximum permissions, in the form in which they were given."`
	Role         *string  `json:"role" enum:"viewer,member,admin,owner" doc:"Maximum role in a workspace; null: that of its user."`
	ExpiresAt    *Moment  `json:"expiresAt" doc:"null: never expires."`
	Addresses    []string `json:"addresses" doc:"Allowed IP addresses, as CIDR ranges; empty: any."`
	Status       string   `json:"status" enum:"active,paused,expired,revoked"`
	Masked       string   `json:"masked" doc:"First and last characters, to recognise the token."`
	CreatedAt    Moment   `json:"createdAt"`
	LastUsedAt   *Moment  `json:"lastUsedAt" doc:"Accurate to the minute."`
	LastUsedFrom *string  `json:"lastUsedFrom" doc:"IP address."`
	PausedAt     *Moment  `json:"pausedAt"`
	PausedBy     *string  `json:"pausedBy" enum:"administrator,user" doc:"Who paused the token: an administrator of the server, or its user. null: not paused."`
	RevokedAt    *Moment  `json:"revokedAt"`
}

// NewToken is the request to create a personal access token.
type NewToken struct {
	Name      string   `json:"name" doc:"What the token is for: 1 to 100 characters."`
	Scopes    Scopes   `json:"scopes" doc:"Maximum permissions: a list, or an object of lists."`
	Role      string   `json:"role,omitempty" enum:"viewer,member,admin,owner" doc:"Maximum role in a workspace. Defaults to that of its user."`
	ExpiresAt *Moment  `json:"expiresAt" doc:"Never expires by default."`
	Note      string   `json:"note,omitempty" doc:"Free text, up to 1000 characters."`
	Addresses []string `json:"addresses,omitempty" doc:"Allowed IP addresses and CIDR ranges. Defaults to any."`
	Resource  string   `json:"resource,omitempty" doc:"The API that the token is for. Defaults to that of the credential, or to the first one."`
}

// TokenChange is the request to update a personal access token.
type TokenChange struct {
	Name      *string          `json:"name,omitempty"`
	Note      Change[string]   `json:"note,omitzero"`
	Scopes    *Scopes          `json:"scopes,omitempty" doc:"A subset of its current permissions; permissions cannot be added."`
	Role      *string          `json:"role,omitempty" enum:"viewer,member,admin,owner" doc:"At most its current role."`
	Addresses Change[[]string] `json:"addresses,omitzero" doc:"null: any."`
	Paused    *bool            `json:"paused,omitempty" doc:"true: the token does not work until it is resumed."`
}

// TokenFilter holds the query parameters that filter personal access tokens.
type TokenFilter struct {
	Page
	Status string `query:"status" enum:"active,paused,expired,revoked"`
	Search string `query:"search" doc:"Part of the name."`
}

func (a *API) tokens() []operation {
	with := func(o operation) operation {
		o.tag, o.storageScope = "Personal access tokens", asPerson
		return o
	}
	key := a.exampleKey()
	create := NewToken{Name: "My laptop", Scopes: key.Scopes, Role: catalog.RoleMember, ExpiresAt: key.ExpiresAt}
	shown := Token{
		ID:        "token_" + exampleUUID,
		Name:      create.Name,
		Resource:  key.Resource,
		Scopes:    key.Scopes,
		Role:      ptr(catalog.RoleMember),
		ExpiresAt: key.ExpiresAt,
		Addresses: []string{},
		Status:    "active",
		Masked:    "pat_…x0Zb",
		CreatedAt: exampleTime,
	}
	made := shown
	made.Token = shown.Masked
	return []operation{
		on(with(operation{
			method:  post,
			path:    "/v1/personal-access-tokens",
			id:      "createPersonalAccessToken",
			summary: "Create a personal access token",
			status:  201,
			text: "It acts as its user in every workspace that they belong to. The token is returned in the " +
				"member `token` of this response and never again.",
			request:  create,
			answer:   made,
			conflict: "The user has reached their limit of active tokens.",
		}), a.createToken),
		on(with(operation{
			method:  get,
			path:    "/v1/personal-access-tokens",
			id:      "listPersonalAccessTokens",
			summary: "List your personal access tokens",
			status:  200,
			text:    "Newest first.",
			answer:  List[Token]{Data: []Token{shown}},
		}), a.listTokens),
		on(with(operation{
			method:  get,
			path:    "/v1/personal-access-tokens/{id}",
			id:      "getPersonalAccessToken",
			summary: "Show a personal access token",
			status:  200,
			answer:  shown,
		}), a.getToken),
		on(with(operation{
			method:  patch,
			path:    "/v1/personal-access-tokens/{id}",
			id:      "updatePersonalAccessToken",
			summary: "Update, pause or resume a personal access token",
			status:  200,
			request: TokenChange{Name: ptr("My laptop"), Role: ptr(catalog.RoleMember)},
			answer:  shown,
		}), a.updateToken),
		on(with(operation{
			method:  remove,
			path:    "/v1/personal-access-tokens/{id}",
			id:      "revokePersonalAccessToken",
			summary: "Revoke a personal access token",
			status:  204,
			text:    "Takes effect immediately and cannot be undone. The token stays in the list as revoked.",
		}), a.revokeToken),
	}
}

// showToken converts a personal access token for a response.
func (c *call) showToken(k *storage.APIKey) Token {
	return Token{
		ID:           k.ID,
		Name:         k.Name,
		Note:         k.Note,
		Resource:     k.Resource,
		Scopes:       Scopes{List: k.Scopes, ByObject: k.ScopesByObject},
		Role:         stringOrNil(k.Role),
		ExpiresAt:    momentOrNil(k.ExpiresAt),
		Addresses:    list(k.Addresses),
		Status:       c.apikey.State(k),
		Masked:       k.Prefix + "…" + k.Tail,
		CreatedAt:    Moment(k.CreatedAt),
		LastUsedAt:   momentOrNil(k.LastUsedAt),
		LastUsedFrom: stringOrNil(k.LastUsedFrom),
		PausedAt:     momentOrNil(k.PausedAt),
		PausedBy:     stringOrNil(k.PausedBy),
		RevokedAt:    momentOrNil(k.RevokedAt),
	}
}

// mine is the owner of the caller's personal access tokens.
func (c *call) mine() storage.KeyOwner { return storage.KeyOwner{UserID: c.by.UserID} }

func (a *API) createToken(ctx context.Context, c *call, _ *none, in *NewToken) (Token, error) {
	spec := apikey.Spec{
		Name:      in.Name,
		Note:      in.Note,
		Resource:  c.resourceOf(in.Resource),
		Scopes:    in.Scopes.List,
		ByObject:  in.Scopes.ByObject,
		Role:      in.Role,
		Addresses: in.Addresses,
	}
	if in.ExpiresAt != nil {
		spec.ExpiresAt = storage.Time(*in.ExpiresAt)
	}
	k, secret, err := a.management.CreatePersonalToken(ctx, c.by, spec)
	if err != nil {
		return Token{}, err
	}
	shown := c.showToken(&k)
	shown.Token = secret
	return shown, nil
}

func (a *API) listTokens(ctx context.Context, c *call, q *TokenFilter, _ *none) (List[Token], error) {
	after, err := c.after(&q.Page)
	if err != nil {
		return List[Token]{}, err
	}
	rows, err := a.store.Keys(
		ctx,
		c.mine(),
		storage.KeyFilter{Search: q.Search, State: q.Status, After: after, Limit: q.size() + 1},
	)
	if err != nil {
		return List[Token]{}, fmt.Errorf("list tokens: %w", err)
	}
	return listOf(c, &q.Page, rows, keyPlace, c.showToken), nil
}

func (a *API) getToken(ctx context.Context, c *call, _, _ *none) (Token, error) {
	id, err := c.id("id", "token")
	if err != nil {
		return Token{}, err
	}
	k, err := a.store.Key(ctx, c.mine(), id)
	if err != nil {
		return Token{}, fmt.Errorf("show a token: %w", err)
	}
	return c.showToken(&k), nil
}

func (a *API) updateToken(ctx context.Context, c *call, _ *none, in *TokenChange) (Token, error) {
	id, err := c.id("id", "token")
	if err != nil {
		return Token{}, err
	}
	change := management.KeyChange{
		Name: in.Name, Note: in.Note.pointer(), Role: in.Role, Addresses: in.Addresses.pointer(),
	}
	if in.Scopes != nil {
		change.Scopes, change.ByObject = &in.Scopes.List, in.Scopes.ByObject
	}
	k, err := a.changeKey(ctx, c, c.mine(), id, change, in.Paused)
	return c.showToken(&k), err
}

func (a *API) revokeToken(ctx context.Context, c *call, _, _ *none) (none, error) {
	id, err := c.id("id", "token")
	if err != nil {
		return none{}, err
	}
	_, err = a.management.RevokeKey(ctx, c.by, c.mine(), id)
	return none{}, err
}
