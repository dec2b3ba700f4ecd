package storage

import "context"

// The states of signing keys. One key is next and one is active.
const (
	SigningNext     = "next"     // published, but does not sign yet
	SigningActive   = "active"   // signs
	SigningRetiring = "retiring" // does not sign any more; tokens that it signed may still be active
)

// SigningKey is a key that signs JWT access tokens (RFC 9068, section 2.1).
type SigningKey struct {
	ID          string // the kid (RFC 7515, section 4.1.4)
	State       string
	Public      string // JWK (RFC 7517) without private members
	Sealed      string // the private half; empty once it has stopped signing
	CreatedAt   Time
	ActivatedAt Time // zero: does not sign yet
	RetiredAt   Time // zero: signs, or will sign
	ExpiresAt   Time // when the last token that it signed expires; zero unless it is retiring
}

func (k *SigningKey) fields() []any {
	return []any{&k.ID, &k.State, &k.Public, &k.Sealed, &k.CreatedAt, &k.ActivatedAt, &k.RetiredAt, &k.ExpiresAt}
}

// SigningKeys lists all signing keys, the newest first.
func (s *Store) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	return collect(ctx, s, (*SigningKey).fields, plain(`SELECT id, state, public, sealed, created_at, activated_at,
		retired_at, expires_at
		FROM signing_keys ORDER BY id DESC LIMIT 1000`))
}

// InsertSigningKey adds a key that is next or active. It returns ErrExists if there is one already, perhaps by another
// node.
func (s *Store) InsertSigningKey(ctx context.Context, k SigningKey) error {
	return s.execOne(ctx, ErrExists, altering(`INSERT INTO signing_keys (id, state, public, sealed, created_at,
		activated_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT DO NOTHING`), k.ID, k.State, k.Public, k.Sealed, k.CreatedAt, k.ActivatedAt)
}

// RetireSigningKey retires the active key and deletes its private half. Tokens that it signed work until the given
// time. It returns ErrConsumed if the key is not active, because another request has retired it.
func (s *Store) RetireSigningKey(ctx context.Context, id string, until Time) error {
	return s.execOne(ctx, ErrConsumed, altering(`UPDATE signing_keys SET state = 'retiring', sealed = '',
		retired_at = $2, expires_at = $3
		WHERE id = $1 AND state = 'active'`), id, s.Now(), until)
}

// DropSigningKey deletes the active key, so that the tokens that it signed stop working. It returns ErrConsumed as
// RetireSigningKey does.
func (s *Store) DropSigningKey(ctx context.Context, id string) error {
	return s.execOne(ctx, ErrConsumed, altering(`DELETE FROM signing_keys WHERE id = $1 AND state = 'active'`), id)
}

// ActivateSigningKey makes the next key active, after the active one was retired or dropped in the same transaction. It
// returns ErrConsumed if the key is not next.
func (s *Store) ActivateSigningKey(ctx context.Context, id string) error {
	return s.execOne(ctx, ErrConsumed, altering(`UPDATE signing_keys SET state = 'active', activated_at = $2
		WHERE id = $1 AND state = 'next'`), id, s.Now())
}

// ResealSigningKey replaces the private half before by after, which is sealed under another secret. It returns
// ErrConsumed if another one is stored.
func (s *Store) ResealSigningKey(ctx context.Context, id, before, after string) error {
	return s.execOne(ctx, ErrConsumed, plain(`UPDATE signing_keys SET sealed = $3 WHERE id = $1 AND sealed = $2`), id,
		before, after)
}
