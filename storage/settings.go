package storage

import (
	"context"
)

// Keys of settings.
const (
	SettingSecretFingerprint = "secret_fingerprint" // of the first master secret
	// SettingSetupToken is the hex SHA-256 of the token with which the first administrator is created.
	SettingSetupToken = "setup_word"
	// SettingPasskeyDomain is the domain whose passkeys are counted in the rows of users.
	SettingPasskeyDomain = "passkey_domain"

	// settingUncounted is the time of the last wrong password that counted for no account.
	settingUncounted      = "password_failure_uncounted"
	settingAdministrators = "administrators" // written before an administrator is removed
)

// Setting reads one setting. It returns ErrNotFound if the setting does not exist.
func (s *Store) Setting(ctx context.Context, key string) (string, error) {
	var value string
	err := s.one(ctx, []any{&value}, plain(`SELECT value FROM settings WHERE key = $1`), key)
	return value, err
}

// SetSetting writes one setting.
func (s *Store) SetSetting(ctx context.Context, key, value string) error {
	_, err := s.exec(ctx, plain(`INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE
		SET value = excluded.value`), key, value)
	return err
}

// SettingOr creates a setting unless it exists, and returns the stored value. Two nodes that start at once get the same
// value.
func (s *Store) SettingOr(ctx context.Context, key, value string) (string, error) {
	if _, err := s.exec(ctx, plain(`INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING`),
		key, value); err != nil {
		return "", err
	}
	return s.Setting(ctx, key)
}

// TakeSetting deletes a setting that has the given value. Of many requests at once, only one succeeds; the others get
// ErrConsumed.
func (s *Store) TakeSetting(ctx context.Context, key, value string) error {
	return s.execOne(ctx, ErrConsumed, plain(`DELETE FROM settings WHERE key = $1 AND value = $2`), key, value)
}

// DropSetting deletes a setting, if it exists.
func (s *Store) DropSetting(ctx context.Context, key string) error {
	_, err := s.exec(ctx, plain(`DELETE FROM settings WHERE key = $1`), key)
	return err
}

// Empty reports whether the database is unused: no user, client or secret fingerprint.
func (s *Store) Empty(ctx context.Context) (bool, error) {
	var used bool
	err := s.one(ctx, []any{&used}, plain(`SELECT EXISTS (SELECT 1 FROM users) OR EXISTS (SELECT 1 FROM clients) OR
		EXISTS (SELECT 1 FROM settings WHERE key = $1)`), SettingSecretFingerprint)
	return !used && err == nil, err
}
