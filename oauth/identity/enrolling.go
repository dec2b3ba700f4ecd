package identity

import (
	"context"
	"fmt"

	"doorward/oauth/seal"
	"doorward/storage"
)

// AskFactor sends a code by email to a user who has to set up a second factor, so that a password that was stolen is
// not enough to do it. Errors are ErrNotSent.
func (s *Service) AskFactor(ctx context.Context, user *storage.User, a Asker) error {
	err := s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		key := storage.EmailKey(user.Email)
		bound := emailBound{"address " + storage.ProofFactor + " " + key, emailsPerAddress, addressWindow}
		allowed, err := s.countEmail(ctx, bound)
		if err != nil {
			return err
		}
		tried, err := s.store.EmailCount(ctx, "wrong codes "+key, codesWindow)
		if err != nil {
			return err
		}
		if !allowed || tried >= wrongCodes {
			return ErrNotSent
		}
		code := newCode()
		proof := storage.EmailProof{
			ID: storage.NewID("proof"), Kind: storage.ProofFactor, Subject: user.ID, Digest: storage.Digest(newToken()),
			UserID: user.ID, Email: user.Email, Browser: storage.Digest(a.Browser),
			ExpiresAt: s.store.Now().Add(SignInLifetime),
		}
		proof.Code = s.codeHash(proof.ID, code)
		if err := s.store.InsertEmailProof(ctx, proof); err != nil {
			return err
		}
		return s.store.InsertEmail(ctx, s.secrets.NewEmail(
			ctx, "second_factor", user, user.Email, seal.EmailSecrets{Code: spaced(code)}, nil, proof.ExpiresAt,
		))
	})
	if err != nil {
		return fmt.Errorf("ask for a code before a second factor: %w", err)
	}
	return nil
}

// TakeFactorCode uses up the proof of a code of AskFactor. Of many calls at once, only one succeeds; the others get
// ErrLink.
func (s *Service) TakeFactorCode(ctx context.Context, proof storage.EmailProof, browser string) error {
	err := s.store.InTx(storage.System(ctx), func(ctx context.Context) error {
		if err := s.store.ProveEmail(ctx, proof.ID, proof.Code, storage.Digest(browser)); err != nil {
			return err
		}
		return s.store.UseEmailProof(ctx, proof.ID)
	})
	return linkError(err)
}

// EnrolPasskey returns a proof as AddPasskey does, for a user who has to set up a second factor, and a set of recovery
// codes that taking the proof stores, to be shown once after that. Errors are ErrBusy.
func (s *Service) EnrolPasskey(
	ctx context.Context, user storage.User, n *NewPasskey,
) (proof Proof, recovery []string, err error) {
	recovery, stored, err := s.newRecoveryCodes(ctx)
	if err != nil {
		return proof, nil, err
	}
	return NewProof(user, "passkey", func(ctx context.Context) error {
		if err := s.addPasskey(ctx, n, true); err != nil {
			return err
		}
		return s.store.ReplaceRecoveryCodes(ctx, n.UserID, stored)
	}, n.By()...), recovery, nil
}
