package storage

import (
	"context"
	"errors"
	"slices"
)

// SaveDocumentClient stores what a metadata document says about a client: it adds the client, or updates it as
// UpdateDocumentClient does. It reports whether the client was new.
func (s *Store) SaveDocumentClient(ctx context.Context, c *Client, origins []string) (isNew bool, err error) {
	err = s.InTx(ctx, func(ctx context.Context) error {
		err := s.InsertClient(ctx, c, origins)
		isNew = err == nil
		if errors.Is(err, ErrExists) {
			return s.UpdateDocumentClient(ctx, c, origins)
		}
		return err
	})
	return isNew, err
}

// UpdateDocumentClient updates a client if its metadata document has changed. It returns ErrNotFound if the client does
// not exist or is disabled.
func (s *Store) UpdateDocumentClient(ctx context.Context, c *Client, origins []string) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		// This locks the row until the transaction ends, so that of two copies at once the later one is compared with the
		// earlier.
		if err := s.execOne(ctx, ErrNotFound, plain(`UPDATE clients SET changed_at = changed_at WHERE id = $1
			AND registration = 'document' AND disabled_at IS NULL`), c.ID); err != nil {
			return err
		}
		before, err := s.ClientByID(ctx, c.ID)
		if err != nil {
			return err
		}
		c.CreatedAt, c.ChangedAt = before.CreatedAt, before.ChangedAt
		if c.DocumentAt < before.DocumentAt {
			return nil // another node has a newer copy
		}
		if _, err := s.exec(
			ctx, plain(`UPDATE clients SET document_at = $2 WHERE id = $1`), c.ID, c.DocumentAt,
		); err != nil {
			return err
		}
		if sameDocument(&before, c) {
			return nil
		}
		return s.UpdateClient(ctx, c, origins)
	})
}

// sameDocument reports whether two copies of a client have the same metadata.
func sameDocument(a, b *Client) bool {
	return a.Name == b.Name && a.Site == b.Site && a.Public == b.Public && a.AuthMethod == b.AuthMethod &&
		a.AuthAlgorithm == b.AuthAlgorithm && a.JWKS == b.JWKS && a.JWKSURI == b.JWKSURI &&
		a.PushedRequestsOnly == b.PushedRequestsOnly && a.DPoPBound == b.DPoPBound &&
		a.ApplicationType == b.ApplicationType && a.LogoURI == b.LogoURI && a.PolicyURI == b.PolicyURI &&
		a.TOSURI == b.TOSURI && slices.Equal(a.RedirectURIs, b.RedirectURIs) &&
		slices.Equal(a.GrantTypes, b.GrantTypes) && slices.Equal(a.Scopes, b.Scopes)
}

// UseClient records, in the caller's transaction, that a client that registered itself is allowed by a user. A deletion
// of unused clients at the same moment then leaves it. It returns ErrNotFound if the client is gone.
func (s *Store) UseClient(ctx context.Context, id string) error {
	return s.execOne(ctx, ErrNotFound, plain(`UPDATE clients SET used_at = $2 WHERE id = $1`), id, s.Now())
}

// RotateRegistrationToken replaces the digest of the token with which a client changes its registration. It returns
// ErrConsumed if before is not the digest of its token: of two changes at once, one fails.
func (s *Store) RotateRegistrationToken(ctx context.Context, clientID string, before, after []byte) error {
	return s.execOne(ctx, ErrConsumed, plain(`UPDATE clients SET registration_token = $3, used_at = $4 WHERE id = $1
		AND registration_token = $2`), clientID, before, after, s.Now())
}

// unusedClientsBatch is how many unused clients are read at a time. Deleting one deletes its grants as well.
const unusedClientsBatch = 100

// PurgeUnusedClients deletes the clients that registered themselves, have not been used since a time, and have no live
// grant. Clients with a metadata document that are disabled stay, because they would come back otherwise.
func (s *Store) PurgeUnusedClients(ctx context.Context, before Time) (total int64, err error) {
	const unused = `c.registration <> '' AND c.used_at < $3 AND (c.disabled_at IS NULL OR c.registration = 'dynamic')
		AND NOT EXISTS (SELECT 1 FROM grants g WHERE g.client_id = c.id AND ` + liveGrant + `)`
	for {
		ids, err := collect(ctx, s, func(id *string) []any { return []any{id} }, plain(`SELECT c.id FROM clients c
			WHERE `+unused+` ORDER BY c.used_at LIMIT $1`), unusedClientsBatch, s.Now(), before)
		if err != nil {
			return total, err
		}
		for _, id := range ids {
			// The outer condition is evaluated again on a row that another transaction has changed: a client that is being
			// allowed stays.
			n, err := s.exec(ctx, altering(`DELETE FROM clients WHERE id = $1 AND used_at < $3 AND EXISTS (SELECT 1
				FROM clients c WHERE c.id = $1 AND `+unused+`)`).of(1), id, s.Now(), before)
			total += n
			if err != nil {
				return total, err
			}
		}
		if len(ids) < unusedClientsBatch {
			return total, nil
		}
	}
}

// RegistrationToken is a token with which clients register (initial access token, RFC 7591, section 3).
type RegistrationToken struct {
	ID         string
	Digest     []byte // SHA-256 of the token
	Tail       string // its last four characters, to recognise it
	CreatedBy  string // user id; empty: the CLI
	Uses       int64  // how many clients have registered with it
	MaxUses    int64
	CreatedAt  Time
	LastUsedAt Time // zero: never
	ExpiresAt  Time
}

func (t *RegistrationToken) fields() []any {
	return []any{
		&t.ID, &t.Digest, &t.Tail, &t.CreatedBy, &t.Uses, &t.MaxUses, &t.CreatedAt, &t.LastUsedAt, &t.ExpiresAt,
	}
}

// InsertRegistrationToken adds a registration token that has not been used.
func (s *Store) InsertRegistrationToken(ctx context.Context, t *RegistrationToken) error {
	t.CreatedAt = s.Now()
	_, err := s.exec(ctx, plain(`INSERT INTO registration_tokens (id, digest, tail, created_by, uses, max_uses,
		created_at, expires_at) VALUES ($1, $2, $3, $4, 0, $5, $6, $7)`),
		t.ID, t.Digest, t.Tail, t.CreatedBy, t.MaxUses, t.CreatedAt, t.ExpiresAt)
	return err
}

// RegistrationTokens lists the registration tokens that have not expired, used up or not, the newest first.
func (s *Store) RegistrationTokens(ctx context.Context) ([]RegistrationToken, error) {
	return collect(ctx, s, (*RegistrationToken).fields, plain(`SELECT id, digest, tail, created_by, uses, max_uses,
		created_at, last_used_at, expires_at FROM registration_tokens WHERE expires_at > $1
		ORDER BY id DESC LIMIT 1000`), s.Now())
}

// CountRegistrationTokens returns how many registration tokens there are.
func (s *Store) CountRegistrationTokens(ctx context.Context) (n int64, err error) {
	err = s.one(ctx, []any{&n}, plain(`SELECT count(*) FROM registration_tokens`))
	return n, err
}

// RegistrationTokenUsable reports whether a client can register with the token that has this digest.
func (s *Store) RegistrationTokenUsable(ctx context.Context, digest []byte) (usable bool, err error) {
	err = s.one(ctx, []any{&usable}, plain(`SELECT EXISTS (SELECT 1 FROM registration_tokens WHERE digest = $1
		AND uses < max_uses AND expires_at > $2)`), digest, s.Now())
	return usable, err
}

// UseRegistrationToken counts a use of the registration token with this digest. It returns ErrConsumed if the token is
// unknown, expired, or used as often as it may be. Of many requests at once, no more succeed than it may be used.
func (s *Store) UseRegistrationToken(ctx context.Context, digest []byte) error {
	return s.execOne(ctx, ErrConsumed, plain(`UPDATE registration_tokens SET uses = uses + 1, last_used_at = $2
		WHERE digest = $1 AND uses < max_uses AND expires_at > $2`), digest, s.Now())
}

// DeleteRegistrationToken deletes a registration token, so that it works no more. It returns ErrNotFound if there is
// none with this id.
func (s *Store) DeleteRegistrationToken(ctx context.Context, id string) error {
	return s.execOne(ctx, ErrNotFound, plain(`DELETE FROM registration_tokens WHERE id = $1`), id)
}
