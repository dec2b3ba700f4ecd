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

// Run lists the signing keys, the newest first.
func (c signingKeyList) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *server) error {
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
	Compromised bool `help:"The current key may be compromised: revoke it and every token signed with it, immediately."`
}

// Run lets the next key sign.
func (c signingKeyRotate) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *server) error {
		k, err := s.keyring.Rotate(ctx, c.Compromised)
		if err != nil {
			return err
		}
		return c.print(a, show.NewSigningKey(&k), func(w io.Writer) { _, _ = fmt.Fprintf(w, "%s signs now.\n", k.ID) })
	})
}

type secretCommand struct {
	Reseal secretReseal `cmd:"" help:"Encrypt everything that the database keeps under an older master secret with the first one."`
}

type secretReseal struct{ output }

// Run seals everything under the first master secret.
func (c secretReseal) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *server) error {
		done, err := s.keyring.Reseal(ctx, seal.AnswerPurpose)
		if err != nil {
			return fmt.Errorf("reseal: %w", err)
		}
		row := struct {
			SigningKeys int `json:"signing_keys"`
			Answers     int `json:"answers"` // kept for an Idempotency-Key
		}{done.SigningKeys, done.Answers}
		return c.print(a, row, func(w io.Writer) {
			_, _ = fmt.Fprintf(
				w,
				"Encrypted with the first secret: %d signing keys, %d stored responses. Everything else already was.\n",
				row.SigningKeys,
				row.Answers,
			)
		})
	})
}
