package main

import (
	"context"
	"fmt"
	"io"

	"doorward/cmd/doorward/show"
	"doorward/oauth/seal"
)

type signingKeyCommand struct {
	List   signingKeyList   `cmd:"" help:"List the current and former signing keys."`
	Rotate signingKeyRotate `cmd:"" help:"Sign with the next key. The current key stays published until its last token has expired."`
}

type signingKeyList struct{ output }

// Run lists the signing keys, newest first.
func (c signingKeyList) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		keys, err := s.keyring.List(ctx)
		if err != nil {
			return err
		}
		rows := make([]show.SigningKey, len(keys))
		for i := range keys {
			rows[i] = show.NewSigningKey(&keys[i])
		}
		return c.print(a, rows, func(w io.Writer) { show.SigningKeys(w, rows) })
	})
}

type signingKeyRotate struct {
	output
	Compromised bool `help:"The current key may be compromised: revoke it and every token that it signed, immediately."`
}

// Run makes the next key the signing key.
func (c signingKeyRotate) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		k, err := s.keyring.Rotate(ctx, c.Compromised)
		if err != nil {
			return err
		}
		return c.print(a, show.NewSigningKey(&k), func(w io.Writer) { _, _ = fmt.Fprintf(w, "New tokens are now signed with %s.\n", k.ID) })
	})
}

type secretCommand struct {
	Reseal secretReseal `cmd:"" help:"Re-encrypt all stored data with the first (newest) master secret in the list, so that the others can be removed."`
}

type secretReseal struct{ output }

// Run encrypts all stored data with the first master secret.
func (c secretReseal) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *services) error {
		done, err := s.keyring.Reseal(ctx, seal.AnswerPurpose)
		if err != nil {
			return fmt.Errorf("reseal: %w", err)
		}
		row := struct {
			SigningKeys int `json:"signing_keys"`
			Answers     int `json:"answers"` // stored responses to requests with an Idempotency-Key
			Emails      int `json:"emails"`  // that wait, with a link or a code
			// Authenticators are the secrets of users' authenticator apps.
			Authenticators int `json:"authenticators"`
		}{done.SigningKeys, done.Answers, done.Emails, done.Authenticators}
		return c.print(a, row, func(w io.Writer) {
			_, _ = fmt.Fprintf(
				w,
				"Encrypted %d signing keys, %d stored responses, %d emails to send and the secrets of %d authenticator apps with "+
					"the first secret. The rest were already encrypted with it.\n",
				row.SigningKeys,
				row.Answers,
				row.Emails,
				row.Authenticators,
			)
		})
	})
}
