package storage

import "context"

// Passkey is a discoverable credential of a user (Web Authentication, section 4): the public half of a key pair.
type Passkey struct {
	ID             string // passkey_ and a UUIDv7
	CredentialID   []byte // by which the authenticator names it
	UserID         string
	Domain         string // the relying party id that it was created for; it works for no other
	PublicKey      []byte // COSE_Key (RFC 9052, section 7)
	Counter        int64  // of signatures at its last use; zero: the authenticator does not count
	BackupEligible bool   // it can be copied to other devices of the user; it never changes
	BackedUp       bool   // it was, at its last use
	Model          string // AAGUID of the authenticator; zeros: unknown
	Name           string
	CreatedAt      Time
	UsedAt         Time // zero: never
}

const passkeyColumns = `k.id, k.credential_id, k.user_id, k.domain, k.public_key, k.counter,
	k.backup_eligible, k.backed_up, k.model, k.name, k.created_at, k.used_at`

func (k *Passkey) fields() []any {
	return []any{
		&k.ID, &k.CredentialID, &k.UserID, &k.Domain, &k.PublicKey, &k.Counter, &k.BackupEligible, &k.BackedUp,
		&k.Model, &k.Name, &k.CreatedAt, &k.UsedAt,
	}
}

// InsertPasskey adds a passkey. It returns ErrExists if there is one with its CredentialID, and ErrNotFound if the user
// does not exist.
func (s *Store) InsertPasskey(ctx context.Context, k Passkey) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if _, err := s.LockUser(ctx, k.UserID); err != nil {
			return err
		}
		if _, err := s.exec(ctx, plain(`INSERT INTO passkeys (id, credential_id, user_id, domain, public_key, counter,
			backup_eligible, backed_up, model, name, created_at, used_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`), k.ID, k.CredentialID, k.UserID, k.Domain,
			k.PublicKey, k.Counter, k.BackupEligible, k.BackedUp, k.Model, k.Name, s.Now(), k.UsedAt); err != nil {
			return err
		}
		return s.countPasskeys(ctx, k.UserID, k.Domain)
	})
}

// countPasskeys writes the number of a user's passkeys of a domain into the user's row.
func (s *Store) countPasskeys(ctx context.Context, userID, domain string) error {
	return s.execOne(ctx, ErrNotFound, plain(`UPDATE users SET passkeys = (SELECT count(*) FROM passkeys
		WHERE user_id = $1 AND domain = $2) WHERE id = $1`), userID, domain)
}

// CountPasskeys writes the number of passkeys of a domain into the row of every user who has a passkey of any domain.
// The others do not work until the domain is changed back.
func (s *Store) CountPasskeys(ctx context.Context, domain string) error {
	_, err := s.exec(ctx, plain(`UPDATE users SET passkeys = (SELECT count(*) FROM passkeys k WHERE k.user_id = users.id
		AND k.domain = $1) WHERE id IN (SELECT user_id FROM passkeys)`), domain)
	return err
}

// PasskeyByCredential finds a passkey by what its authenticator calls it, with its user. It returns ErrNotFound if
// there is none.
func (s *Store) PasskeyByCredential(ctx context.Context, credentialID []byte) (k Passkey, u User, err error) {
	err = s.one(ctx, append(k.fields(), u.fields()...), plain(`SELECT `+passkeyColumns+`, `+userColumnsOfU+`
		FROM passkeys k JOIN users u ON u.id = k.user_id WHERE k.credential_id = $1`), credentialID)
	return k, u, err
}

// PasskeysOf lists a user's passkeys of a domain, the oldest first.
func (s *Store) PasskeysOf(ctx context.Context, userID, domain string) ([]Passkey, error) {
	return collect(ctx, s, (*Passkey).fields, plain(`SELECT `+passkeyColumns+` FROM passkeys k WHERE k.user_id = $1
		AND k.domain = $2 ORDER BY k.created_at, k.id LIMIT 1000`), userID, domain)
}

// UsePasskey records a use of a passkey with the new counter and whether it is backed up. It returns ErrConsumed if the
// counter is not the one before any more: another use came first, or the passkey was removed.
func (s *Store) UsePasskey(ctx context.Context, id string, before, counter int64, backedUp bool) error {
	return s.execOne(ctx, ErrConsumed, plain(`UPDATE passkeys SET counter = $3, backed_up = $4, used_at = $5
		WHERE id = $1 AND counter = $2`), id, before, counter, backedUp, s.Now())
}

// RenamePasskey changes the name of a user's passkey. It returns ErrNotFound if they do not have it.
func (s *Store) RenamePasskey(ctx context.Context, userID, id, name string) error {
	return s.execOne(ctx, ErrNotFound, plain(`UPDATE passkeys SET name = $3 WHERE id = $2 AND user_id = $1`), userID, id,
		name)
}

// DeletePasskey removes a user's passkey of a domain. It returns ErrNotFound if they do not have it.
func (s *Store) DeletePasskey(ctx context.Context, userID, id, domain string) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.execOne(ctx, ErrNotFound, plain(`DELETE FROM passkeys WHERE id = $2 AND user_id = $1 AND domain = $3`),
			userID, id, domain); err != nil {
			return err
		}
		return s.countPasskeys(ctx, userID, domain)
	})
}

// DeleteOtherPasskeys removes a user's passkeys of all other domains than one, and returns how many.
func (s *Store) DeleteOtherPasskeys(ctx context.Context, userID, domain string) (int64, error) {
	return s.exec(ctx, plain(`DELETE FROM passkeys WHERE user_id = $1 AND domain <> $2`), userID, domain)
}

// OfferPasskey records that a page suggests to a user to create a passkey. It returns ErrConsumed if one did so after
// since, or if the user has a passkey.
func (s *Store) OfferPasskey(ctx context.Context, userID string, since Time) error {
	return s.execOne(ctx, ErrConsumed, plain(`UPDATE users SET passkey_offered_at = $2 WHERE id = $1 AND passkeys = 0
		AND COALESCE(passkey_offered_at, 0) < $3`), userID, s.Now(), since)
}

// UseChallenge records that a challenge was used, by its digest, so that it does not work again until it expires
// anyway. Of many requests at once, only one succeeds; the others get ErrConsumed.
func (s *Store) UseChallenge(ctx context.Context, challenge string, expiresAt Time) error {
	return s.execOne(ctx, ErrConsumed, plain(`INSERT INTO used_challenges (digest, expires_at) VALUES ($1, $2)
		ON CONFLICT (digest) DO NOTHING`), Digest(challenge), expiresAt)
}
