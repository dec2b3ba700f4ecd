package storage

import "context"

// The states of signing keys. There is one that is next and one that is active.
const (
	SigningNext     = "next"     // published, and signs nothing yet
	SigningActive   = "active"   // signs
	SigningRetiring = "retiring" // signs no more; tokens under it may still be good
)

// SigningKey is a key that JWT access tokens are signed with (RFC 9068, section 2.1).
type SigningKey struct {
	ID          string // the kid (RFC 7515, section 4.1.4)
	State       string
	Public      string // JWK (RFC 7517) without private members
	Sealed      string // the private half; empty once it has stopped signing
	CreatedAt   Time
	ActivatedAt Time // zero: signs nothing yet
	RetiredAt   Time // zero: signs, or is yet to
	ExpiresAt   Time // when the last token under it has ended; zero unless it is retiring
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

// InsertSigningKey adds a key that is next or active. ErrExists: there is one already, perhaps of another node.
func (s *Store) InsertSigningKey(ctx context.Context, k SigningKey) error {
	return s.execOne(ctx, ErrExists, altering(`INSERT INTO signing_keys (id, state, public, sealed, created_at,
		activated_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT DO NOTHING`), k.ID, k.State, k.Public, k.Sealed, k.CreatedAt, k.ActivatedAt)
}

// RetireSigningKey ends the signing of the active key and forgets its private half. Tokens under it are good until a
// moment. ErrConsumed: it is not the active one, so another request was quicker.
func (s *Store) RetireSigningKey(ctx context.Context, id string, until Time) error {
	return s.execOne(ctx, ErrConsumed, altering(`UPDATE signing_keys SET state = 'retiring', sealed = '',
		retired_at = $2, expires_at = $3
		WHERE id = $1 AND state = 'active'`), id, s.Now(), until)
}

// DropSigningKey deletes the active key, with which all tokens under it end. ErrConsumed: as RetireSigningKey.
func (s *Store) DropSigningKey(ctx context.Context, id string) error {
	return s.execOne(ctx, ErrConsumed, altering(`DELETE FROM signing_keys WHERE id = $1 AND state = 'active'`), id)
}

// ActivateSigningKey lets the key that is next sign; the active one was retired or dropped in the same transaction.
// ErrConsumed: it is not next.
func (s *Store) ActivateSigningKey(ctx context.Context, id string) error {
	return s.execOne(ctx, ErrConsumed, altering(`UPDATE signing_keys SET state = 'active', activated_at = $2
		WHERE id = $1 AND state = 'next'`), id, s.Now())
}

// ResealSigningKey puts the private half sealed under another secret in the place of what it was. ErrConsumed: it is
// not that any more.
func (s *Store) ResealSigningKey(ctx context.Context, id, before, after string) error {
	return s.execOne(ctx, ErrConsumed, plain(`UPDATE signing_keys SET sealed = $3 WHERE id = $1 AND sealed = $2`), id,
		before, after)
}
