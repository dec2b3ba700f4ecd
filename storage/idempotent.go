package storage

import (
	"context"
	"time"
)

// IdempotentAnswer is the answer to a request that carried an Idempotency-Key, kept so that the same request again has
// the same answer and does nothing.
type IdempotentAnswer struct {
	Digest      []byte // SHA-256 of who asked and their key
	WorkspaceID string // goes with it; either may be empty
	UserID      string
	Request     []byte // SHA-256 of the request
	Status      int
	Answer      string // sealed
}

// IdempotentLifetime is how long such an answer is kept.
const IdempotentLifetime = 24 * time.Hour

// KeepAnswer stores an answer in the transaction that did what it says. ErrExists: another one was quicker.
func (s *Store) KeepAnswer(ctx context.Context, a IdempotentAnswer) error {
	_, err := s.exec(ctx, plain(`INSERT INTO idempotent_requests (digest, workspace_id, user_id, request, status,
		answer, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`),
		a.Digest, nullable(a.WorkspaceID), nullable(a.UserID), a.Request, a.Status, a.Answer,
		s.Now().Add(IdempotentLifetime))
	return err
}

// KeptAnswer finds an answer that is still kept. ErrNotFound: there is none.
func (s *Store) KeptAnswer(ctx context.Context, digest []byte) (IdempotentAnswer, error) {
	var a IdempotentAnswer
	err := s.one(ctx, []any{&a.Digest, &a.Request, &a.Status, &a.Answer}, plain(`SELECT digest, request, status, answer
		FROM idempotent_requests WHERE digest = $1 AND expires_at > $2`),
		digest, s.Now())
	return a, err
}

// SealedAnswers lists kept answers by their digests, with nothing but what is sealed, after a digest.
func (s *Store) SealedAnswers(ctx context.Context, after []byte, limit int) ([]IdempotentAnswer, error) {
	if after == nil {
		after = []byte{}
	}
	return collect(ctx, s, func(a *IdempotentAnswer) []any { return []any{&a.Digest, &a.Answer} },
		plain(`SELECT digest, answer FROM idempotent_requests WHERE digest > $1 AND expires_at > $2 ORDER BY digest
			LIMIT $3`), after, s.Now(), limit)
}

// ResealAnswer puts an answer sealed under another secret in the place of what it was. ErrConsumed: it is gone, or not
// that any more.
func (s *Store) ResealAnswer(ctx context.Context, digest []byte, before, after string) error {
	return s.execOne(ctx, ErrConsumed, plain(`UPDATE idempotent_requests SET answer = $3 WHERE digest = $1
		AND answer = $2`), digest, before, after)
}
