package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
)

type setupLinkCommand struct{ output }

// Run makes a new set-up word, which replaces the one before, and prints its link.
func (c setupLinkCommand) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *server) error {
		link, err := s.setupLink(ctx)
		if err != nil {
			return err
		}
		if link == "" {
			return errors.New(
				"users exist already; make one an administrator with: doorward user update ADDRESS --admin; let a user who lost their password in with: doorward user sign-in-link ADDRESS",
			)
		}
		return c.print(a, map[string]string{"url": link}, func(w io.Writer) { _, _ = fmt.Fprintln(w, link) })
	})
}

// setupLink is where the first administrator is made, or "" when there is any user.
func (s *server) setupLink(ctx context.Context) (string, error) {
	word, needed, err := s.identity.SetupToken(ctx)
	if err != nil || !needed {
		return "", err
	}
	return s.config.Issuer + "/setup?" + url.Values{"word": {word}}.Encode(), nil
}
