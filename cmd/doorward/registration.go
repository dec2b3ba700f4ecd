package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"doorward/cmd/doorward/show"
	"doorward/management"
	"doorward/oauth/input"
	"doorward/storage"
)

type registrationTokenCommand struct {
	Create registrationTokenCreate `cmd:"" help:"Create a token with which apps register themselves."`
	List   registrationTokenList   `cmd:"" help:"List the registration tokens that have not expired (never the tokens themselves)."`
	Revoke registrationTokenRevoke `cmd:"" help:"Revoke a registration token. Apps that registered with it stay."`
}

type registrationTokenCreate struct {
	output
	Uses    *int64        `help:"How many apps can register with it. Default: 1." placeholder:"N"`
	Expires *durationFlag `help:"How long until it expires, at most 366d. Default: 7d." placeholder:"DURATION"`
}

// Run creates a registration token and prints it; it is not shown again.
func (c registrationTokenCreate) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		uses, lifetime := int64(management.DefaultTokenUses), durationFlag(management.DefaultTokenLifetime)
		setIf(&uses, c.Uses)
		setIf(&lifetime, c.Expires)
		token, x, err := s.management.CreateRegistrationToken(ctx, management.CLI(""), uses, time.Duration(lifetime))
		if err != nil {
			return invalid(err)
		}
		row := show.NewRegistrationToken(&x)
		row.Token = token
		return c.print(a, row, func(w io.Writer) {
			row.Write(w)
			if s.management.Registration() == management.RegistrationClosed {
				_, _ = fmt.Fprintln(w, "Apps cannot register themselves yet: set registration to token or open, and restart the "+
					"server.")
			}
		})
	})
}

type registrationTokenList struct{ output }

// Run lists the registration tokens.
func (c registrationTokenList) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		tokens, err := s.management.RegistrationTokens(ctx, management.CLI(""))
		if err != nil {
			return err
		}
		rows := make([]show.RegistrationToken, len(tokens))
		for i := range tokens {
			rows[i] = show.NewRegistrationToken(&tokens[i])
		}
		return c.print(a, rows, func(w io.Writer) { show.RegistrationTokens(w, rows) })
	})
}

type registrationTokenRevoke struct {
	output
	ID string `arg:"" help:"The token's ID."`
}

// Run revokes a registration token.
func (c registrationTokenRevoke) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		err := s.management.RevokeRegistrationToken(ctx, management.CLI(""), c.ID)
		if errors.Is(err, storage.ErrNotFound) {
			return fmt.Errorf("no registration token has the ID %s, or it has expired; to list all, run: doorward "+
				"registration-token list", input.Quote(c.ID))
		}
		if err != nil {
			return err
		}
		row := struct {
			ID string `json:"id"`
		}{c.ID}
		return c.print(a, row, func(w io.Writer) { _, _ = fmt.Fprintf(w, "Revoked %s.\n", c.ID) })
	})
}
