package storage

import (
	"context"
	"time"
)

// IdempotentAnswer is the stored answer to a request with an Idempotency-Key, so that the same request again gets the
// same answer and changes nothing.
type IdempotentAnswer struct {
	Digest      []byte // SHA-256 of the caller and their Idempotency-Key
	WorkspaceID string // the answer is deleted with it; either may be empty
	UserID      string
	Request     []byte // SHA-256 of the request
	Status      int
	Answer      string // sealed
}

// IdempotentLifetime is how long an IdempotentAnswer is stored.
const IdempotentLifetime = 24 * time.Hour

// KeepAnswer stores an answer, in the transaction that makes the change that it reports. It returns ErrExists if
// another request has stored one.
func (s *Store) KeepAnswer(ctx context.Context, a IdempotentAnswer) error {
	_, err := s.exec(ctx, plain(`INSERT INTO idempotent_requests (digest, workspace_id, user_id, request, status,
		answer, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`),
		a.Digest, nullable(a.WorkspaceID), nullable(a.UserID), a.Request, a.Status, a.Answer,
		s.Now().Add(IdempotentLifetime))
	return err
}

// KeptAnswer finds a stored answer. It returns ErrNotFound if there is none or it has expired.
func (s *Store) KeptAnswer(ctx context.Context, digest []byte) (IdempotentAnswer, error) {
	var a IdempotentAnswer
	err := s.one(ctx, []any{&a.Digest, &a.Request, &a.Status, &a.Answer}, plain(`SELECT digest, request, status, answer
		FROM idempotent_requests WHERE digest = $1 AND expires_at > $2`),
		digest, s.Now())
	return a, err
}

// SealedAnswers lists stored answers in the order of their digests, starting after a digest, with only Digest and
// Answer set.
func (s *Store) SealedAnswers(ctx context.Context, after []byte, limit int) ([]IdempotentAnswer, error) {
	if after == nil {
		after = []byte{}
	}
	return collect(ctx, s, func(a *IdempotentAnswer) []any { return []any{&a.Digest, &a.Answer} },
		plain(`SELECT digest, answer FROM idempotent_requests WHERE digest > $1 AND expires_at > $2 ORDER BY digest
			LIMIT $3`), after, s.Now(), limit)
}

// ResealAnswer replaces the answer before by after, which is sealed under another secret. It returns ErrConsumed if
// another answer is stored.
func (s *Store) ResealAnswer(ctx context.Context, digest []byte, before, after string) error {
	return s.execOne(ctx, ErrConsumed, plain(`UPDATE idempotent_requests SET answer = $3 WHERE digest = $1
		AND answer = $2`), digest, before, after)
}
