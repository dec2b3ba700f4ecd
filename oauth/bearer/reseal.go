package bearer

import (
	"context"
	"errors"
	"fmt"

	"doorward/oauth/seal"
	"doorward/storage"
)

// Resealed counts the values in the database that Reseal has sealed under the first master secret.
type Resealed struct{ SigningKeys, Answers, Emails, Authenticators int }

// resealBatch is how many answers or emails one query reads.
const resealBatch = 500

// Reseal seals, under the first master secret, the values in the database that are sealed under another one: the
// private halves of signing keys, the answers stored for an Idempotency-Key, whose purpose answerPurpose returns, the
// links and codes of emails that wait, and the secrets of users' authenticator apps. If a value is sealed under a
// secret that is not in the list, it does the others and returns an error.
func (r *Keyring) Reseal(ctx context.Context, answerPurpose func(digest []byte) string) (Resealed, error) {
	ctx = storage.System(ctx)
	var done Resealed
	var lost []error
	reseal := func(purpose, sealed string, write func(after string) error) (int, error) {
		after, changed, err := r.secrets.Reseal(purpose, sealed)
		if err != nil {
			lost = append(lost, fmt.Errorf("%s: %w", purpose, err))
		}
		if err != nil || !changed {
			return 0, nil
		}
		if err := write(after); errors.Is(err, storage.ErrConsumed) {
			return 0, nil // it was deleted, or another call resealed it first
		} else if err != nil {
			return 0, err
		}
		return 1, nil
	}
	keys, err := r.store.SigningKeys(ctx)
	if err != nil {
		return done, fmt.Errorf("reseal signing keys: %w", err)
	}
	for _, k := range keys {
		if k.Sealed == "" {
			continue
		}
		n, err := reseal(
			signingPurpose(k.ID), k.Sealed,
			func(after string) error { return r.store.ResealSigningKey(ctx, k.ID, k.Sealed, after) },
		)
		if err != nil {
			return done, fmt.Errorf("reseal signing keys: %w", err)
		}
		done.SigningKeys += n
	}
	for after := []byte(nil); ; {
		page, err := r.store.SealedAnswers(ctx, after, resealBatch)
		if err != nil {
			return done, fmt.Errorf("reseal answers: %w", err)
		}
		for _, a := range page {
			after = a.Digest
			n, err := reseal(
				answerPurpose(a.Digest), a.Answer,
				func(sealed string) error { return r.store.ResealAnswer(ctx, a.Digest, a.Answer, sealed) },
			)
			if err != nil {
				return done, fmt.Errorf("reseal answers: %w", err)
			}
			done.Answers += n
		}
		if len(page) < resealBatch {
			break
		}
	}
	for after := ""; ; {
		page, err := r.store.SealedEmails(ctx, after, resealBatch)
		if err != nil {
			return done, fmt.Errorf("reseal emails: %w", err)
		}
		for i := range page {
			e := &page[i]
			after = e.ID
			n, err := reseal(seal.EmailPurpose(e.ID), e.Sealed, func(sealed string) error {
				return r.store.ResealEmail(ctx, e.ID, e.Sealed, sealed)
			})
			if err != nil {
				return done, fmt.Errorf("reseal emails: %w", err)
			}
			done.Emails += n
		}
		if len(page) < resealBatch {
			break
		}
	}
	for after := ""; ; {
		page, err := r.store.SealedTOTPs(ctx, after, resealBatch)
		if err != nil {
			return done, fmt.Errorf("reseal authenticator apps: %w", err)
		}
		for _, x := range page {
			after = x.UserID
			n, err := reseal(seal.TOTPPurpose(x.UserID), x.Sealed, func(sealed string) error {
				return r.store.ResealTOTP(ctx, x.UserID, x.Sealed, sealed)
			})
			if err != nil {
				return done, fmt.Errorf("reseal authenticator apps: %w", err)
			}
			done.Authenticators += n
		}
		if len(page) < resealBatch {
			return done, errors.Join(lost...)
		}
	}
}
