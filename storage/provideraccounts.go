package storage

import "context"

// ProviderAccount is an account at another provider with which a user signs in. The issuer and the subject identify it;
// its address does not.
type ProviderAccount struct {
	ID        string // provider_ and a UUIDv7
	UserID    string
	Provider  string // id of the provider in the configuration
	Issuer    string
	Subject   string
	Email     string // as the provider last said; for display only
	CreatedAt Time
	UsedAt    Time // zero: never
}

const providerAccountColumns = `p.id, p.user_id, p.provider, p.issuer, p.subject, p.email, p.created_at, p.used_at`

func (p *ProviderAccount) fields() []any {
	return []any{&p.ID, &p.UserID, &p.Provider, &p.Issuer, &p.Subject, &p.Email, &p.CreatedAt, &p.UsedAt}
}

// InsertProviderAccount connects an account at a provider to a user. It returns ErrExists if it is connected to a user,
// and ErrNotFound if the user does not exist.
func (s *Store) InsertProviderAccount(ctx context.Context, p ProviderAccount) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if _, err := s.LockUser(ctx, p.UserID); err != nil {
			return err
		}
		_, err := s.exec(ctx, plain(`INSERT INTO provider_accounts (id, user_id, provider, issuer, subject, email, created_at,
			used_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`), p.ID, p.UserID, p.Provider, p.Issuer, p.Subject, p.Email,
			s.Now(), p.UsedAt)
		return err
	})
}

// ProviderAccount finds an account at a provider, with its user. It returns ErrNotFound if it is connected to none.
func (s *Store) ProviderAccount(ctx context.Context, issuer, subject string) (p ProviderAccount, u User, err error) {
	err = s.one(ctx, append(p.fields(), u.fields()...), plain(`SELECT `+providerAccountColumns+`, `+userColumnsOfU+`
		FROM provider_accounts p JOIN users u ON u.id = p.user_id WHERE p.issuer = $1 AND p.subject = $2`), issuer, subject)
	return p, u, err
}

// ProviderAccountsOf lists the accounts at providers that are connected to a user, the oldest first.
func (s *Store) ProviderAccountsOf(ctx context.Context, userID string) ([]ProviderAccount, error) {
	return collect(ctx, s, (*ProviderAccount).fields, plain(`SELECT `+providerAccountColumns+` FROM provider_accounts p
		WHERE p.user_id = $1 ORDER BY p.created_at, p.id LIMIT 1000`), userID)
}

// UseProviderAccount records a sign-in with an account at a provider, and the address that the provider names. It
// returns ErrConsumed if the account was disconnected meanwhile.
func (s *Store) UseProviderAccount(ctx context.Context, id, email string) error {
	return s.execOne(ctx, ErrConsumed, plain(`UPDATE provider_accounts SET email = $2, used_at = $3 WHERE id = $1`), id,
		email, s.Now())
}

// DeleteProviderAccount disconnects an account at a provider from a user. It returns ErrNotFound if they do not have
// it.
func (s *Store) DeleteProviderAccount(ctx context.Context, userID, id string) error {
	return s.execOne(ctx, ErrNotFound, plain(`DELETE FROM provider_accounts WHERE id = $2 AND user_id = $1`), userID, id)
}
