package storage

import (
	"context"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// User is a resource owner who signs in (RFC 6749, section 1.1).
type User struct {
	ID                string // user_ and a UUIDv7
	Email             string // as the user wrote it
	Name              string
	PasswordHash      string // PHC string; empty: no password matches
	PasswordFailures  int64  // wrong passwords since the last right one
	PasswordChangedAt Time
	Admin             bool // an administrator of this server, which is not a role in a workspace
	DisabledAt        Time // zero: enabled
	SeenAt            Time // last sign-in; zero: never
	CreatedAt         Time
	Language          string // language tag of the user's choice; empty: as the browser asks
	TimeZone          string // name of a time zone (IANA) of the user's choice; empty: UTC
	// EmailProvenAt is when the user proved their address by an email; zero: an administrator entered it.
	EmailProvenAt Time
	// TermsURL are the terms that the user accepted when they signed up, at TermsAcceptedAt; empty: none.
	TermsURL        string
	TermsAcceptedAt Time
	WaitingSince    Time  // since when a disabled account waits for its first approval; zero: it does not
	Passkeys        int64 // how many passkeys they have
	TOTPSince       Time  // since when an authenticator app is set up; zero: it is not
	// PasskeyOfferedAt is when a page last suggested to create a passkey; zero: none did.
	PasskeyOfferedAt Time
}

const userColumns = `id, email, name, password_hash, password_failures, password_changed_at, admin, disabled_at,
	seen_at, created_at, language, time_zone, email_proven_at, terms_url, terms_accepted_at, waiting_since,
	passkeys, totp_since, passkey_offered_at`

// userColumnsOfU are userColumns of a table with the alias u.
var userColumnsOfU = func() string {
	columns := strings.Fields(userColumns)
	for i, column := range columns {
		columns[i] = "u." + column
	}
	return strings.Join(columns, " ")
}()

func (u *User) fields() []any {
	return []any{
		&u.ID, &u.Email, &u.Name, &u.PasswordHash, &u.PasswordFailures, &u.PasswordChangedAt, &u.Admin,
		&u.DisabledAt, &u.SeenAt, &u.CreatedAt, &u.Language, &u.TimeZone, &u.EmailProvenAt, &u.TermsURL, &u.TermsAcceptedAt,
		&u.WaitingSince, &u.Passkeys, &u.TOTPSince, &u.PasskeyOfferedAt,
	}
}

// EmailKey returns the form by which addresses are compared: NFC, lower case, without surrounding spaces.
func EmailKey(email string) string { return strings.ToLower(norm.NFC.String(strings.TrimSpace(email))) }

// searchKey returns the form in which names are searched and sorted. SQLite's lower() only handles ASCII.
func searchKey(text string) string { return strings.ToLower(norm.NFC.String(text)) }

// InsertUser adds a user and their personal workspace, which they own. If CreatedAt is zero, it is set to now. It
// returns ErrExists if the address is taken.
func (s *Store) InsertUser(ctx context.Context, u *User) error {
	if u.CreatedAt == 0 {
		u.CreatedAt = s.Now()
	}
	if u.PasswordChangedAt == 0 {
		u.PasswordChangedAt = u.CreatedAt
	}
	return s.InTx(ctx, func(ctx context.Context) error {
		if _, err := s.exec(ctx, plain(`INSERT INTO users (id, email, email_key, name, name_key, password_hash,
			password_changed_at, admin, created_at, disabled_at, language, time_zone, email_proven_at, terms_url,
			terms_accepted_at, waiting_since)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`),
			u.ID, u.Email, EmailKey(u.Email), u.Name, searchKey(u.Name), u.PasswordHash, u.PasswordChangedAt, u.Admin,
			u.CreatedAt, u.DisabledAt, u.Language, u.TimeZone, u.EmailProvenAt, u.TermsURL, u.TermsAcceptedAt,
			u.WaitingSince); err != nil {
			return err
		}
		name := u.Name
		if name == "" {
			name = u.Email
		}
		id := NewID("ws")
		if _, err := s.exec(ctx, plain(`INSERT INTO workspaces (id, slug, name, name_key, personal_user_id, created_at)
			VALUES ($1, $2, $3, $4, $5, $6)`),
			// The slug reveals nothing about its owner, since introspection responses contain it.
			id, "personal-"+strings.ReplaceAll(strings.TrimPrefix(id, "ws_"), "-", "")[20:], name, searchKey(name),
			u.ID, u.CreatedAt); err != nil {
			return err
		}
		_, err := s.exec(ctx, plain(`INSERT INTO memberships (workspace_id, user_id, role, created_at)
			VALUES ($1, $2, 'owner', $3)`), id, u.ID, u.CreatedAt)
		return err
	})
}

// LockUser locks the row of a user until the transaction ends, so that changes of what they sign in with follow each
// other, and returns the user. It returns ErrNotFound if there is none.
func (s *Store) LockUser(ctx context.Context, userID string) (User, error) {
	if err := s.execOne(ctx, ErrNotFound, plain(`UPDATE users SET name = name WHERE id = $1`), userID); err != nil {
		return User{}, err
	}
	return s.UserByID(ctx, userID)
}

// DeleteMethodsSince deletes what a user has added since a time to sign in with: passkeys of every domain, the
// authenticator app, recovery codes and accounts at providers. domain is that of the passkeys that count. It returns
// how many it deleted.
func (s *Store) DeleteMethodsSince(
	ctx context.Context, userID, domain string, since Time,
) (deleted int64, err error) {
	err = s.InTx(ctx, func(ctx context.Context) error {
		deleted = 0
		for _, table := range []string{"passkeys", "totp", "recovery_codes", "provider_accounts"} {
			n, err := s.exec(ctx, plain(`DELETE FROM `+table+` WHERE user_id = $1 AND created_at >= $2`), userID, since)
			if err != nil {
				return err
			}
			deleted += n
		}
		if err := s.countPasskeys(ctx, userID, domain); err != nil {
			return err
		}
		_, err := s.exec(ctx, plain(`UPDATE users SET totp_since = (SELECT created_at FROM totp WHERE user_id = $1)
			WHERE id = $1`), userID)
		return err
	})
	return deleted, err
}

// UserByID finds a user. It returns ErrNotFound if there is none.
func (s *Store) UserByID(ctx context.Context, id string) (User, error) {
	var u User
	err := s.one(ctx, u.fields(), plain(`SELECT `+userColumns+` FROM users WHERE id = $1`), id)
	return u, err
}

// UserByEmail finds a user by an address, ignoring case. It returns ErrNotFound if there is none.
func (s *Store) UserByEmail(ctx context.Context, email string) (User, error) {
	var u User
	err := s.one(ctx, u.fields(), plain(`SELECT `+userColumns+` FROM users WHERE email_key = $1`), EmailKey(email))
	return u, err
}

// The states by which users can be filtered.
const (
	UsersNeverSignedIn       = "never_signed_in"
	UsersDisabled            = "disabled" // by an administrator; users who wait for approval are not among them
	UsersAdministrators      = "administrator"
	UsersWaiting             = "waiting" // for approval
	UsersWithoutSecondFactor = "without_second_factor"
)

// UserFilter selects users. A zero field does not restrict them.
type UserFilter struct {
	Search string // part of the address or name, in any case
	State  string // one of the Users constants; an unknown one selects none
}

// userStates are the conditions of the states.
var userStates = map[string]string{
	"":                       "TRUE",
	UsersNeverSignedIn:       "seen_at IS NULL",
	UsersDisabled:            "disabled_at IS NOT NULL AND waiting_since IS NULL",
	UsersAdministrators:      "admin",
	UsersWaiting:             "waiting_since IS NOT NULL",
	UsersWithoutSecondFactor: "passkeys = 0 AND totp_since IS NULL",
}

// UserStates lists the states by which users can be filtered.
func UserStates() []string {
	return []string{UsersNeverSignedIn, UsersDisabled, UsersAdministrators, UsersWaiting, UsersWithoutSecondFactor}
}

// Users lists at most limit users, in the order of their creation, from the one after the ID afterID; empty starts at
// the first. search selects those whose address or name contains it, ignoring case.
func (s *Store) Users(ctx context.Context, search, afterID string, limit int) ([]User, error) {
	return s.SortedUsers(ctx, UserFilter{Search: search}, Order{After: afterID}, limit)
}

// SortedUsers is Users with a filter and in another order: by name, email, created or last_seen.
func (s *Store) SortedUsers(ctx context.Context, f UserFilter, o Order, limit int) ([]User, error) {
	state, ok := userStates[f.State]
	if !ok {
		return nil, nil
	}
	after, order, args := o.clause(userOrders, "id", 3)
	return collect(ctx, s, (*User).fields, plain(`SELECT `+userColumns+` FROM users
		WHERE (email_key LIKE $2 ESCAPE '!' OR name_key LIKE $2 ESCAPE '!') AND `+state+` AND `+after+`
		ORDER BY `+order+` LIMIT $1`), append([]any{limit, likePattern(f.Search)}, args...)...)
}

// likePattern returns a pattern for text that contains search, with its wildcards escaped.
func likePattern(search string) string {
	// No stored text is longer, and SQLite refuses very long patterns.
	if len(search) > 1000 {
		search = strings.ToValidUTF8(search[:1000], "")
	}
	return "%" + likeEscaper.Replace(searchKey(strings.TrimSpace(search))) + "%"
}

var likeEscaper = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")

// HasUser reports whether there is any user.
func (s *Store) HasUser(ctx context.Context) (bool, error) {
	var has bool
	err := s.one(ctx, []any{&has}, plain(`SELECT EXISTS (SELECT 1 FROM users)`))
	return has, err
}

// HasUserCached reports whether this Store has ever seen a user. It queries the database only until then, so it suits
// pages that any visitor can load.
func (s *Store) HasUserCached(ctx context.Context) (bool, error) {
	if s.hadUser.Load() {
		return true, nil
	}
	has, err := s.HasUser(ctx)
	if has {
		s.hadUser.Store(true)
	}
	return has, err
}

// CountUsers returns how many users there are. It reads every row, so pages that any visitor can load must not call it.
func (s *Store) CountUsers(ctx context.Context) (int64, error) {
	var n int64
	err := s.one(ctx, []any{&n}, plain(`SELECT count(*) FROM users`))
	return n, err
}

// CountAdministrators returns how many enabled administrators there are.
func (s *Store) CountAdministrators(ctx context.Context) (int64, error) {
	var n int64
	err := s.one(ctx, []any{&n}, plain(`SELECT count(*) FROM users WHERE admin AND disabled_at IS NULL`))
	return n, err
}

// RenameUser changes the display name of a user.
func (s *Store) RenameUser(ctx context.Context, userID, name string) error {
	return s.execOne(ctx, ErrNotFound, altering(`UPDATE users SET name = $2, name_key = $3 WHERE id = $1`).of(1), userID,
		name, searchKey(name))
}

// HasAdministrator reports whether any enabled user is an administrator.
func (s *Store) HasAdministrator(ctx context.Context) (bool, error) {
	var has bool
	err := s.one(ctx, []any{&has}, plain(`SELECT EXISTS (SELECT 1 FROM users WHERE admin AND disabled_at IS NULL)`))
	return has, err
}

// keepAnAdministrator returns ErrConflict if userID is the last enabled administrator.
func (s *Store) keepAnAdministrator(ctx context.Context, userID string) error {
	// Two administrators who remove each other at once wait here, and the second one sees what the first has done.
	if err := s.SetSetting(ctx, settingAdministrators, ""); err != nil {
		return err
	}
	var n int64
	err := s.one(ctx, []any{&n}, plain(`SELECT count(*) FROM users u WHERE u.id = $1 AND u.admin
		AND u.disabled_at IS NULL AND NOT EXISTS (
		SELECT 1 FROM users o WHERE o.id <> u.id AND o.admin AND o.disabled_at IS NULL)`), userID)
	if err == nil && n > 0 {
		err = ErrConflict
	}
	return err
}

// DisableUser ends the user's sessions and revokes their grants for good, and disables their personal access tokens
// until EnableUser. It also disables the workspaces that have no other enabled owner, except for shared ones whose ids
// are in keep. Disabling a user again keeps the first time. It returns ErrConflict for the last enabled administrator.
func (s *Store) DisableUser(ctx context.Context, userID string, keep ...string) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.keepAnAdministrator(ctx, userID); err != nil {
			return err
		}
		if err := s.lockOwned(ctx, userID); err != nil {
			return err
		}
		if err := s.execOne(ctx, ErrNotFound, altering(`UPDATE users SET disabled_at = COALESCE(disabled_at,
			CAST($2 AS BIGINT)) WHERE id = $1`).of(1), userID, s.Now()); err != nil {
			return err
		}
		if _, err := s.SignOut(ctx, userID); err != nil {
			return err
		}
		if _, err := s.EndGrants(ctx, userID, RevokedByDisabling); err != nil {
			return err
		}
		without, err := s.WorkspacesDisabledWith(ctx, userID)
		if err != nil {
			return err
		}
		for _, w := range without {
			if !w.Personal && slices.Contains(keep, w.ID) {
				continue
			}
			if err := s.disableIfNoOwner(ctx, w.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// EnableUser enables a disabled user, and the workspaces that were disabled because none of their owners was enabled.
// It also unlocks a password that was locked after too many failures. The sessions and grants that DisableUser ended do
// not come back.
func (s *Store) EnableUser(ctx context.Context, userID string) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.lockOwned(ctx, userID); err != nil {
			return err
		}
		if err := s.execOne(ctx, ErrNotFound, altering(`UPDATE users SET disabled_at = NULL, password_failures = 0,
			waiting_since = NULL WHERE id = $1`).of(1), userID); err != nil {
			return err
		}
		owned, err := s.OwnedBy(ctx, userID)
		if err != nil {
			return err
		}
		for _, w := range owned {
			if err := s.enableIfOwner(ctx, w.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// EndWaiting records that an administrator has decided about an account that waits for approval. It changes nothing
// else. Of many requests at once, only one succeeds; the others get ErrConsumed.
func (s *Store) EndWaiting(ctx context.Context, userID string) error {
	return s.execOne(ctx, ErrConsumed, plain(`UPDATE users SET waiting_since = NULL WHERE id = $1
		AND waiting_since IS NOT NULL`), userID)
}

// lockOwned blocks, until the transaction ends, other changes of the owners of a user's workspaces, and authorizations
// by the user in any workspace, which lock the row of the membership (LockRole).
func (s *Store) lockOwned(ctx context.Context, userID string) error {
	// Lock workspaces first, as changes of members do.
	if _, err := s.exec(ctx, plain(`UPDATE workspaces SET name = name WHERE id IN (SELECT workspace_id FROM memberships
		WHERE user_id = $1 AND role = $2)`), userID, RoleOwner); err != nil {
		return err
	}
	return s.lockAuthorizations(ctx, userID)
}

// lockAuthorizations blocks authorizations by a user until the transaction ends.
func (s *Store) lockAuthorizations(ctx context.Context, userID string) error {
	_, err := s.exec(ctx, plain(`UPDATE memberships SET role = role WHERE user_id = $1`), userID)
	return err
}

// SignOut ends all of a user's sessions and their sign-in links, and returns how many sessions there were. An
// authorization at the same moment in one of them either fails or comes first, so that EndGrants in the same
// transaction revokes it too.
func (s *Store) SignOut(ctx context.Context, userID string) (sessions int64, err error) {
	err = s.InTx(ctx, func(ctx context.Context) error {
		if err := s.lockAuthorizations(ctx, userID); err != nil {
			return err
		}
		if err := s.EndEmailProofs(ctx, userID, ProofOperator, ProofSignIn); err != nil {
			return err
		}
		sessions, err = s.EndOtherSessions(ctx, userID, "")
		return err
	})
	return sessions, err
}

// EndGrants revokes all of a user's grants, with their codes, access and refresh tokens, and returns how many there
// were. The user's consents stay.
func (s *Store) EndGrants(ctx context.Context, userID, reason string) (int64, error) {
	return s.exec(ctx, altering(`UPDATE grants SET revoked_at = $2, revoked_reason = $3 WHERE user_id = $1
		AND revoked_at IS NULL AND expires_at > $2`).of(1), userID, s.Now(), reason)
}

// ForgetConsents deletes all of a user's consents, so that each app has to ask again.
func (s *Store) ForgetConsents(ctx context.Context, userID string) error {
	_, err := s.exec(ctx, altering(`DELETE FROM consents WHERE user_id = $1`).of(1), userID)
	return err
}

// SetUserLocale sets the language and the time zone that a user has chosen; empty: none.
func (s *Store) SetUserLocale(ctx context.Context, userID, language, timeZone string) error {
	return s.execOne(ctx, ErrNotFound, plain(`UPDATE users SET language = $2, time_zone = $3 WHERE id = $1`), userID,
		language, timeZone)
}

// SetEmailProven records that a user has proved their address now.
func (s *Store) SetEmailProven(ctx context.Context, userID string) error {
	return s.execOne(ctx, ErrNotFound, plain(`UPDATE users SET email_proven_at = $2 WHERE id = $1`), userID, s.Now())
}

// Administrators lists the enabled administrators.
func (s *Store) Administrators(ctx context.Context) ([]User, error) {
	return collect(ctx, s, (*User).fields, plain(`SELECT `+userColumns+` FROM users WHERE admin AND disabled_at IS NULL
		ORDER BY id LIMIT 1000`))
}

// UserUpdate is a change of a user; a nil field is not changed.
type UserUpdate struct {
	Email *string
	Name  *string
	Admin *bool
	// LeaveNoAdministrator allows a change of Admin that leaves the server without an enabled administrator.
	LeaveNoAdministrator bool
}

// UpdateUser changes a user. It returns ErrExists if another user has the address, ErrConflict for the last enabled
// administrator, and ErrNotFound if the user does not exist.
func (s *Store) UpdateUser(ctx context.Context, userID string, c UserUpdate) error {
	var emailKey, nameKey *string
	if c.Email != nil {
		key := EmailKey(*c.Email)
		emailKey = &key
	}
	if c.Name != nil {
		key := searchKey(*c.Name)
		nameKey = &key
	}
	return s.InTx(ctx, func(ctx context.Context) error {
		if c.Admin != nil && !*c.Admin && !c.LeaveNoAdministrator {
			if err := s.keepAnAdministrator(ctx, userID); err != nil {
				return err
			}
		}
		if err := s.execOne(ctx, ErrNotFound, altering(`UPDATE users SET email = COALESCE(CAST($2 AS TEXT), email),
			email_key = COALESCE(CAST($3 AS TEXT), email_key), name = COALESCE(CAST($4 AS TEXT), name),
			name_key = COALESCE(CAST($5 AS TEXT), name_key) WHERE id = $1`).of(1),
			userID, pointed(c.Email), pointed(emailKey), pointed(c.Name), pointed(nameKey)); err != nil {
			return err
		}
		if c.Admin != nil {
			if _, err := s.exec(ctx, altering(`UPDATE users SET admin = $2 WHERE id = $1`).of(1), userID,
				*c.Admin); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteUser deletes a user with their sessions, consents, grants and tokens, and each workspace that has no other
// owner, including the personal one. It disables the workspaces whose other owners are all disabled. It returns
// ErrConflict for the last enabled administrator.
func (s *Store) DeleteUser(ctx context.Context, userID string) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.keepAnAdministrator(ctx, userID); err != nil {
			return err
		}
		// Two owners who are deleted at the same moment wait here, and the second deletion deletes the workspace too.
		if err := s.lockOwned(ctx, userID); err != nil {
			return err
		}
		if err := s.reserveSlugs(ctx, `SELECT w.slug, w.id, CAST($3 AS BIGINT) FROM workspaces w WHERE `+soleOwner,
			userID, RoleOwner); err != nil {
			return err
		}
		if _, err := s.exec(ctx, altering(`DELETE FROM workspaces WHERE id IN (SELECT w.id FROM workspaces w
			WHERE `+soleOwner+`)`), userID, RoleOwner); err != nil {
			return err
		}
		without, err := s.WorkspacesDisabledWith(ctx, userID)
		if err != nil {
			return err
		}
		var disabled bool
		if err := s.one(ctx, []any{&disabled}, plain(`SELECT disabled_at IS NOT NULL FROM users
			WHERE id = $1`), userID); err != nil {
			return err
		}
		if err := s.execOne(ctx, ErrNotFound, altering(`DELETE FROM users WHERE id = $1`), userID); err != nil {
			return err
		}
		for _, w := range without {
			if disabled {
				break // an administrator keeps it enabled without an enabled owner
			}
			if err := s.disableIfNoOwner(ctx, w.ID); err != nil {
				return err
			}
		}
		return nil
	})
}
