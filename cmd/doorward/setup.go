package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
)

type setupLinkCommand struct{ output }

// Run prints a new setup link. It replaces the previous one.
func (c setupLinkCommand) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		link, err := s.setupLink(ctx)
		if err != nil {
			return err
		}
		if link == "" {
			return errors.New(
				"users already exist; to make one an administrator, run: doorward user update ADDRESS --admin; " +
					"for an administrator who lost their password, run: doorward user sign-in-link ADDRESS",
			)
		}
		return c.print(a, map[string]string{"url": link}, func(w io.Writer) { _, _ = fmt.Fprintln(w, link) })
	})
}

// setupLink is the URL at which the first administrator is created; empty if there are users.
func (s *services) setupLink(ctx context.Context) (string, error) {
	token, needed, err := s.identity.SetupToken(ctx)
	if err != nil || !needed {
		return "", err
	}
	return s.config.Issuer + "/setup?" + url.Values{"word": {token}}.Encode(), nil
}
