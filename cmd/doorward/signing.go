package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"doorward/oauth/bearer"
	"doorward/oauth/seal"
	"doorward/storage"
)

type signingKeyCommand struct {
	List   signingKeyList   `cmd:"" help:"List the current and former signing keys."`
	Rotate signingKeyRotate `cmd:"" help:"Sign with the next key. The current key stays published until its last token has expired."`
}

// signingKeyJSON is a signing key for machines. It holds no key.
type signingKeyJSON struct {
	KeyID       string     `json:"kid"`
	Algorithm   string     `json:"alg"`
	State       string     `json:"state"`
	CreatedAt   time.Time  `json:"created_at"`
	ActivatedAt *time.Time `json:"activated_at,omitempty"`
	RetiredAt   *time.Time `json:"retired_at,omitempty"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"` // when the last token under it has ended
}

func newSigningKeyJSON(k *storage.SigningKey) signingKeyJSON {
	return signingKeyJSON{
		KeyID:       k.ID,
		Algorithm:   bearer.SigningAlgorithm,
		State:       k.State,
		CreatedAt:   seconds(k.CreatedAt),
		ActivatedAt: secondsOrNever(k.ActivatedAt),
		RetiredAt:   secondsOrNever(k.RetiredAt),
		ExpiresAt:   secondsOrNever(k.ExpiresAt),
	}
}

type signingKeyList struct{ output }

// Run lists the signing keys, the newest first.
func (c signingKeyList) Run(ctx context.Context, a *app) error {
	return a.administer(ctx, func(ctx context.Context, s *server) error {
		keys, err := s.keyring.List(ctx)
		if err != nil {
			return err
		}
		rows := make([]signingKeyJSON, len(keys))
		for i := range keys {
			rows[i] = newSigningKeyJSON(&keys[i])
		}
		return c.print(a, rows, func(w io.Writer) {
			table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			_, _ = fmt.Fprintln(table, "KID\tSTATE\tMADE\tSIGNS SINCE\tSIGNED UNTIL")
			for _, row := range rows {
				_, _ = fmt.Fprintf(
					table,
					"%s\t%s\t%s\t%s\t%s\n",
					row.KeyID,
					row.State,
					row.CreatedAt.Format(time.DateOnly),
					momentOf(row.ActivatedAt),
					momentOf(row.RetiredAt),
				)
			}
			_ = table.Flush()
		})
	})
}

// momentOf is a moment in a table; nothing where there is none.
func momentOf(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339)
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
		return c.print(a, newSigningKeyJSON(&k), func(w io.Writer) { _, _ = fmt.Fprintf(w, "%s signs now.\n", k.ID) })
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
