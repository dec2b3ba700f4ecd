package main

import (
	"context"
	"io"
	"strings"

	"doorward/cmd/doorward/show"
	"doorward/management"
	"doorward/oauth/apikey"
	"doorward/storage"
)

type tokenCommand struct {
	Create tokenCreate `cmd:"" help:"Create a personal access token, which acts as its user."`
	List   tokenList   `cmd:"" help:"List a user's personal access tokens."`
	Revoke tokenRevoke `cmd:"" help:"Revoke a personal access token immediately and permanently."`
}

type tokenCreate struct {
	output
	User     string        `required:"" help:"Email address of the user." placeholder:"ADDRESS"`
	Name     string        `required:"" help:"The token's name." placeholder:"NAME"`
	Scope    string        `required:"" help:"Scopes, separated by spaces." placeholder:"\"A B\""`
	Resource string        `help:"API (resource) that it can call. Default: the first in the configuration." placeholder:"ID"`
	Role     string        `help:"Maximum role in a workspace: viewer, member, admin or owner. Default: the user's role." placeholder:"ROLE"`
	Expires  *durationFlag `help:"How long until the token expires. Default: never." placeholder:"DURATION"`
}

// Run creates a personal access token and prints it with its secret, which is not shown again.
func (c tokenCreate) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		user, err := s.userByEmail(ctx, c.User)
		if err != nil {
			return inFlag("--user", err)
		}
		by := management.CLI("")
		by.UserID = user.ID
		k, secret, err := s.management.CreatePersonalToken(ctx, by, apikey.Spec{
			Name:      c.Name,
			Resource:  c.Resource,
			Scopes:    strings.Fields(c.Scope),
			Role:      c.Role,
			ExpiresAt: c.Expires.from(s.store.Now()),
		})
		if err != nil {
			return invalid(tooMany(user.Email, "personal access tokens", err))
		}
		row := s.shownKey(&k)
		row.Token = secret
		return c.print(a, row, row.Write)
	})
}

type tokenList struct {
	output
	User string `required:"" help:"Email address of the user." placeholder:"ADDRESS"`
}

// Run lists a user's personal access tokens, including revoked and expired ones.
func (c tokenList) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		user, err := s.userByEmail(ctx, c.User)
		if err != nil {
			return inFlag("--user", err)
		}
		rows, err := s.keysOf(ctx, storage.KeyOwner{UserID: user.ID})
		if err != nil {
			return err
		}
		return c.print(a, rows, func(w io.Writer) { show.Keys(w, rows) })
	})
}

type tokenRevoke struct {
	output
	ID string `arg:"" help:"The token's ID."`
}

// Run revokes a personal access token.
func (c tokenRevoke) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		k, err := s.keyOfKind(
			ctx,
			storage.KindPersonalAccessToken,
			c.ID,
			"personal access token",
			"to list a user's tokens, run: doorward token list --user ADDRESS",
		)
		if err != nil {
			return err
		}
		if k, err = s.management.RevokeKey(ctx, management.CLI(""), k.Owner(), k.ID); err != nil {
			return invalid(err)
		}
		row := s.shownKey(&k)
		return c.print(a, row, row.Write)
	})
}
