package storage

import (
	"context"
	"strings"
	"time"
)

// Session is a browser in which a resource owner is signed in. The cookie contains a random token, and Digest is its
// SHA-256. ID identifies the session to its owner, and is not a secret.
type Session struct {
	ID        string
	Digest    []byte
	UserID    string
	Data      string // of the web package, as JSON
	AuthTime  Time   // when the user last authenticated
	AMR       List   // how, as methods of RFC 8176 and our own; empty: before this was recorded
	ACR       string // the level that this reached
	UserAgent string
	Address   string
	CreatedAt Time
	SeenAt    Time
	ExpiresAt Time // the absolute expiry
	Former    bool // LiveSession found it by its former cookie (see RenewSession); not stored
}

const sessionColumns = `id, digest, user_id, data, auth_time, user_agent, address, created_at, seen_at, expires_at,
	amr, acr`

func (x *Session) fields() []any {
	return []any{
		&x.ID, &x.Digest, &x.UserID, &x.Data, &x.AuthTime, &x.UserAgent, &x.Address, &x.CreatedAt, &x.SeenAt,
		&x.ExpiresAt, &x.AMR, &x.ACR,
	}
}

// MaxSessions is how many sessions a user may have: far more than a person has browsers.
const MaxSessions = 1000

// InsertSession adds a session. If the user then has more than MaxSessions, it ends the oldest.
func (s *Store) InsertSession(ctx context.Context, x Session) error {
	// Browsers may send any bytes here, which must not prevent a sign-in.
	x.UserAgent = strings.ReplaceAll(strings.ToValidUTF8(x.UserAgent, "\ufffd"), "\x00", "\ufffd")
	return s.InTx(ctx, func(ctx context.Context) error {
		// Sign-ins at the same moment may leave a few more sessions, which the next sign-in ends.
		_, err := s.exec(ctx, plain(`DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE user_id = $1
			ORDER BY created_at DESC, id DESC LIMIT 1000 OFFSET $2)`),
			x.UserID, MaxSessions-1)
		if err != nil {
			return err
		}
		return s.insertSession(ctx, x)
	})
}

func (s *Store) insertSession(ctx context.Context, x Session) error {
	_, err := s.exec(ctx, plain(`INSERT INTO sessions (`+sessionColumns+
		`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`), x.ID, x.Digest, x.UserID, x.Data, x.AuthTime,
		x.UserAgent, x.Address, x.CreatedAt, x.SeenAt, x.ExpiresAt, x.AMR, x.ACR)
	return err
}

// LiveSession finds the session of a cookie, with its user. It returns ErrNotFound if there is none, if it has ended or
// was idle for longer than idle, or if its user is disabled. A session that is found by its former cookie has no
// AuthTime.
func (s *Store) LiveSession(ctx context.Context, digest []byte, idle time.Duration) (Session, User, error) {
	var x Session
	var u User
	now := s.Now()
	err := s.one(ctx, append(append(x.fields(), &x.Former), u.fields()...), plain(`SELECT s.id, s.digest, s.user_id,
		s.data, s.auth_time, s.user_agent, s.address, s.created_at, s.seen_at, s.expires_at, s.amr, s.acr,
		s.digest <> $1,
		`+userColumnsOfU+`
		FROM sessions s JOIN users u ON u.id = s.user_id
		WHERE (s.digest = $1 OR (s.digest_before = $1 AND s.grace_end > $2)) AND s.expires_at > $2 AND s.seen_at > $3
		AND u.disabled_at IS NULL`), digest, now, now.Add(-idle))
	if x.Former {
		x.AuthTime = 0
	}
	return x, u, err
}

// SetSessionData replaces the web package's data in a session.
func (s *Store) SetSessionData(ctx context.Context, id, data string) error {
	return s.execOne(ctx, ErrNotFound, plain(`UPDATE sessions SET data = $2 WHERE id = $1`), id, data)
}

// ReplaceSession ends one session (empty: none) and starts another in one step, so that a cookie from before a sign-in
// does not work after it.
func (s *Store) ReplaceSession(ctx context.Context, oldID string, x Session) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		if oldID != "" {
			if _, err := s.exec(ctx, plain(`DELETE FROM sessions WHERE id = $1`), oldID); err != nil {
				return err
			}
		}
		return s.InsertSession(ctx, x)
	})
}

// RenewSession gives the session with the ID of x a new cookie, with the Digest of x, after the user has authenticated
// again at its AuthTime, by its AMR and with its ACR. Until graceEnd the former cookie, whose digest is before, still
// finds it, as Former, since a form that is sent twice has the former cookie both times. It returns ErrNotFound if the
// session has ended.
func (s *Store) RenewSession(ctx context.Context, x Session, before []byte, graceEnd Time) error {
	return s.execOne(ctx, ErrNotFound, plain(`UPDATE sessions SET digest = $2, digest_before = $3, grace_end = $4,
		auth_time = $5, amr = $6, acr = $7 WHERE id = $1`), x.ID, x.Digest, before, graceEnd, x.AuthTime, x.AMR, x.ACR)
}

// SessionsOf lists a user's active sessions, the last used first.
func (s *Store) SessionsOf(ctx context.Context, userID string, idle time.Duration) ([]Session, error) {
	now := s.Now()
	return collect(ctx, s, (*Session).fields, plain(`SELECT `+sessionColumns+` FROM sessions WHERE user_id = $1
		AND expires_at > $2 AND seen_at > $3 ORDER BY seen_at DESC, id DESC LIMIT 200`),
		userID, now, now.Add(-idle))
}

// EndSession ends one of a user's sessions. It returns ErrNotFound if the user does not have it.
func (s *Store) EndSession(ctx context.Context, userID, id string) error {
	return s.execOne(ctx, ErrNotFound, plain(`DELETE FROM sessions WHERE id = $2 AND user_id = $1`), userID, id)
}

// EndOtherSessions ends all of a user's sessions, except for keepID (empty: all), and returns how many it ended.
func (s *Store) EndOtherSessions(ctx context.Context, userID, keepID string) (int64, error) {
	return s.exec(ctx, plain(`DELETE FROM sessions WHERE user_id = $1 AND id <> $2`), userID, keepID)
}
