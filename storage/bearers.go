package storage

import (
	"context"
	"math"
	"slices"
	"time"
)

// AccessToken is an access token as it is stored (RFC 6749, section 1.4).
type AccessToken struct {
	Digest    []byte
	GrantID   string // empty: client_credentials
	ClientID  string
	Resource  string
	Scopes    List
	DPoPKey   string // thumbprint of the key that it is bound to (RFC 9449, section 6); empty: a bearer token
	CreatedAt Time
	ExpiresAt Time
	RevokedAt Time
}

// InsertAccessTokenStatement is the statement of InsertAccessToken.
var InsertAccessTokenStatement = Statement{`INSERT INTO access_tokens (digest, grant_id, client_id, resource, scopes,
	created_at, expires_at, dpop_key)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, 0}

// InsertAccessToken adds an access token of a grant.
func (s *Store) InsertAccessToken(ctx context.Context, t AccessToken) error {
	_, err := s.exec(ctx, InsertAccessTokenStatement, t.Digest, nullable(t.GrantID), t.ClientID, t.Resource, t.Scopes,
		t.CreatedAt, t.ExpiresAt, t.DPoPKey)
	return err
}

// InsertOwnAccessTokenStatement is the statement of InsertOwnAccessToken. The first half, which finds nothing, gives
// the arguments of the second the types of the columns.
var InsertOwnAccessTokenStatement = Statement{`INSERT INTO access_tokens (digest, client_id, resource, scopes,
	created_at, expires_at, dpop_key)
	SELECT digest, client_id, resource, scopes, created_at, expires_at, dpop_key FROM access_tokens WHERE FALSE
	UNION ALL SELECT $1, $2, $3, $4, $5, $6, $7 FROM clients c LEFT JOIN workspaces w ON w.id = c.workspace_id
	WHERE c.id = $2 AND c.disabled_at IS NULL AND w.disabled_at IS NULL`, shared}

// InsertOwnAccessToken adds an access token without a grant, which a client gets for itself. It returns ErrNotFound if
// the client or its workspace was deleted or disabled.
func (s *Store) InsertOwnAccessToken(ctx context.Context, t AccessToken) error {
	return s.execOne(ctx, ErrNotFound, InsertOwnAccessTokenStatement, t.Digest, t.ClientID, t.Resource, t.Scopes,
		t.CreatedAt, t.ExpiresAt, t.DPoPKey)
}

// InsertOwnAccessTokenOnce is InsertOwnAccessToken for a client that proved itself with an assertion, which is used in
// the same transaction. It returns ErrConsumed, and changes nothing, if the assertion was used before. On PostgreSQL it
// does not tell that from a client that was deleted or disabled.
func (s *Store) InsertOwnAccessTokenOnce(ctx context.Context, t AccessToken, a UsedAssertion) error {
	if s.engine == postgres {
		return s.execOne(ctx, ErrConsumed, insertOwnTokenOncePostgres, a.name(), a.ExpiresAt, t.Digest, t.ClientID,
			t.Resource, t.Scopes, t.CreatedAt, t.ExpiresAt, t.DPoPKey)
	}
	return s.InTx(ctx, func(ctx context.Context) error {
		if err := s.UseAssertion(ctx, a); err != nil {
			return err
		}
		return s.InsertOwnAccessToken(ctx, t)
	})
}

// Bearer is a token with everything that decides whether it is active: its client and, if it acts for a user, the
// grant, the user and the workspace.
type Bearer struct {
	Access            AccessToken
	Refresh           RefreshToken // set instead of Access for a refresh token
	Grant             Grant        // zero for client_credentials
	ClientDisabled    bool
	UserDisabled      bool
	WorkspaceDisabled bool
	WorkspaceID       string // of the grant, or else of the client; empty: none
	WorkspaceSlug     string
	WorkspacePlan     string
	Role              string // of the user in the workspace; empty: none
}

// Dependencies returns what the row depends on. A change of the workspace of the client, where it differs from that of
// the grant, invalidates every row.
func (b *Bearer) Dependencies() Dependencies {
	return DependenciesOf(idOfDigest(b.Access.Digest), b.Access.ClientID, b.Grant.ID, b.Grant.UserID, b.WorkspaceID)
}

func (b *Bearer) fields() []any {
	return []any{
		&b.ClientDisabled, &b.UserDisabled, &b.WorkspaceDisabled, &b.WorkspaceID, &b.WorkspaceSlug, &b.WorkspacePlan,
		&b.Role, &b.Grant.ID, &b.Grant.UserID, &b.Grant.Scopes, &b.Grant.Resource, &b.Grant.ClientID, &b.Grant.AuthTime,
		&b.Grant.CreatedAt, &b.Grant.ExpiresAt, &b.Grant.RevokedAt,
	}
}

const bearerJoins = `
	LEFT JOIN workspaces w ON w.id = COALESCE(g.workspace_id, c.workspace_id)
	WHERE t.digest = $1`

// bearerColumns count a client of a disabled workspace as disabled. On PostgreSQL, indexes answer the inner queries:
// the few disabled users and workspaces are in small ones, so that the rows of a million others are not looked for.
const bearerColumns = `c.disabled_at IS NOT NULL
		OR EXISTS (SELECT 1 FROM workspaces o WHERE o.id = c.workspace_id AND o.disabled_at IS NOT NULL),
	EXISTS (SELECT 1 FROM users u WHERE u.id = g.user_id AND u.disabled_at IS NOT NULL),
	w.disabled_at IS NOT NULL, COALESCE(w.id, ''), COALESCE(w.slug, ''), COALESCE(w.plan, ''),
	COALESCE((SELECT m.role FROM memberships m WHERE m.workspace_id = g.workspace_id AND m.user_id = g.user_id), ''),
	COALESCE(g.id, ''), COALESCE(g.user_id, ''), COALESCE(g.scopes, ''), COALESCE(g.resource, ''), COALESCE(g.client_id,
	''), g.auth_time, g.created_at, g.expires_at, g.revoked_at`

// AccessTokenStatement is the statement of AccessTokenByDigest: everything that decides about a token, in one row.
var AccessTokenStatement = Statement{`SELECT t.client_id, t.resource, t.scopes, t.created_at, t.expires_at,
	t.revoked_at, t.dpop_key, ` + bearerColumns + `
	FROM access_tokens t LEFT JOIN grants g ON g.id = t.grant_id
	JOIN clients c ON c.id = t.client_id` + bearerJoins, shared | compiled}

// AccessTokenByDigest finds an access token, active or not, in one statement. It returns ErrNotFound if there is none,
// if it was purged, or if its client was deleted.
func (s *Store) AccessTokenByDigest(ctx context.Context, digest []byte) (Bearer, error) {
	b := Bearer{Access: AccessToken{Digest: digest}}
	t := &b.Access
	err := s.one(ctx, append([]any{
		&t.ClientID, &t.Resource, &t.Scopes, &t.CreatedAt, &t.ExpiresAt, &t.RevokedAt,
		&t.DPoPKey,
	}, b.fields()...), AccessTokenStatement, digest)
	t.GrantID = b.Grant.ID
	// A cache keeps many of these, so what is the same takes memory once.
	g := &b.Grant
	g.ClientID, g.Resource = oneOf(t.ClientID, g.ClientID), oneOf(t.Resource, g.Resource)
	if slices.Equal(t.Scopes, g.Scopes) {
		g.Scopes = t.Scopes
	}
	return b, err
}

// oneOf returns text, or the same text that is in memory already.
func oneOf(known, text string) string {
	if known == text {
		return known
	}
	return text
}

// RefreshToken is a refresh token as it is stored (RFC 6749, section 1.5).
type RefreshToken struct {
	Digest    []byte
	GrantID   string
	DPoPKey   string // thumbprint of the key that refreshes a public client's grant (RFC 9449, section 5); empty: any
	CreatedAt Time
	ExpiresAt Time // if it is not used; the grant has the absolute expiry
	UsedAt    Time // first use; zero: not yet
	Uses      int64
}

// RefreshTokenStatement is the statement of RefreshTokenByDigest.
var RefreshTokenStatement = Statement{`SELECT t.grant_id, t.created_at, t.expires_at, t.used_at, t.uses, t.dpop_key, ` +
	bearerColumns + `
	FROM refresh_tokens t JOIN grants g ON g.id = t.grant_id
	JOIN clients c ON c.id = g.client_id` + bearerJoins, shared | compiled}

// RefreshTokenByDigest finds a refresh token, active or not, in one statement.
func (s *Store) RefreshTokenByDigest(ctx context.Context, digest []byte) (Bearer, error) {
	b := Bearer{Refresh: RefreshToken{Digest: digest}}
	t := &b.Refresh
	err := s.one(ctx, append([]any{&t.GrantID, &t.CreatedAt, &t.ExpiresAt, &t.UsedAt, &t.Uses, &t.DPoPKey}, b.fields()...),
		RefreshTokenStatement, digest)
	return b, err
}

// MaxRefreshRepeats is how often a refresh token may be used again within the reuse window after its first use.
const MaxRefreshRepeats = 100

// UseRefreshTokenStatement is the statement of UseRefreshToken.
var UseRefreshTokenStatement = plain(`UPDATE refresh_tokens SET used_at = COALESCE(used_at, CAST($2 AS BIGINT)),
	uses = uses + 1
	WHERE digest = $1 AND (used_at IS NULL OR (used_at > $3 AND uses <= $4))`)

// UseRefreshToken marks a refresh token as used, for the first time or again within window after the first time. It
// returns ErrConsumed, and changes nothing, if the first use was earlier, or if there were too many. A window of zero
// allows only one use.
func (s *Store) UseRefreshToken(ctx context.Context, digest []byte, window time.Duration) error {
	now := s.Now()
	after := now.Add(-window)
	if window <= 0 {
		after = math.MaxInt64 // a use by a node whose clock is ahead must not lie within the window
	}
	return s.execOne(ctx, ErrConsumed, UseRefreshTokenStatement, digest, now, after, MaxRefreshRepeats)
}

// InsertRefreshTokenStatement is the statement of InsertRefreshToken.
var InsertRefreshTokenStatement = plain(`INSERT INTO refresh_tokens (digest, grant_id, created_at, expires_at, dpop_key)
	VALUES ($1, $2, $3, $4, $5) ON CONFLICT (digest) DO NOTHING`)

// InsertRefreshToken adds a refresh token; an existing one (the successor that a repeated use derives again) stays as
// it is.
func (s *Store) InsertRefreshToken(ctx context.Context, t RefreshToken) error {
	_, err := s.exec(ctx, InsertRefreshTokenStatement, t.Digest, t.GrantID, t.CreatedAt, t.ExpiresAt, t.DPoPKey)
	return err
}

// RevokeAccessToken revokes one access token of client_credentials, which has no grant. ended is false if there is no
// such token, or if it was revoked before.
func (s *Store) RevokeAccessToken(ctx context.Context, digest []byte) (ended bool, err error) {
	n, err := s.exec(ctx, altering(`UPDATE access_tokens SET revoked_at = $2 WHERE digest = $1
		AND revoked_at IS NULL`).of(1), digest, s.Now())
	return n > 0, err
}

// ExtendRefreshToken moves the expiry of an unused refresh token that does not rotate. It returns ErrConsumed if the
// token was used, revoked with its grant, or deleted meanwhile.
func (s *Store) ExtendRefreshToken(ctx context.Context, digest []byte, expiresAt Time) error {
	return s.execOne(ctx, ErrConsumed, plain(`UPDATE refresh_tokens SET expires_at = $2 WHERE digest = $1
		AND used_at IS NULL AND EXISTS (SELECT 1 FROM grants g WHERE g.id = grant_id AND g.revoked_at IS NULL)`),
		digest, expiresAt)
}
