package storage

import (
	"context"
	"slices"
)

// Grant is one authorization that a resource owner gave a client. Its code, access and refresh tokens belong to it.
type Grant struct {
	ID            string
	ClientID      string
	UserID        string
	WorkspaceID   string // in which its tokens act
	Resource      string // their audience (RFC 8707)
	Scopes        List
	AuthTime      Time   // when the resource owner signed in
	AMR           List   // how they did, as in their session
	ACR           string // the level that this reached
	CreatedAt     Time
	ExpiresAt     Time // of all its tokens, however often they are refreshed
	LastUsedAt    Time
	RevokedAt     Time // zero: not revoked
	RevokedReason string
}

const grantColumns = `g.id, g.client_id, g.user_id, g.workspace_id, g.resource, g.scopes, g.auth_time, g.created_at,
	g.expires_at, g.last_used_at, g.revoked_at, g.revoked_reason, g.amr, g.acr`

func (g *Grant) fields() []any {
	return []any{
		&g.ID, &g.ClientID, &g.UserID, &g.WorkspaceID, &g.Resource, &g.Scopes, &g.AuthTime, &g.CreatedAt, &g.ExpiresAt,
		&g.LastUsedAt, &g.RevokedAt, &g.RevokedReason, &g.AMR, &g.ACR,
	}
}

// The reasons why a grant was revoked.
const (
	RevokedByUser    = "ended by the user"
	RevokedByClient  = "revoked by the client"
	RevokedByLeaving = "the user left the workspace"

	RevokedByDisabling     = "the user was disabled"
	RevokedByAdministrator = "ended by an administrator"

	RevokedCodeReuse = "authorization code used twice"
	RevokedReuse     = "refresh token used twice"
	RevokedForOthers = "the oldest of too many grants of one user and client"
)

// Code is an authorization code (RFC 6749, section 4.1.2) with the values that its redemption must match.
type Code struct {
	Digest      []byte
	RedirectURI string
	Challenge   string // S256 (RFC 7636, section 4.2); empty: issued without
	DPoPKey     string // thumbprint of the key that redeems it (dpop_jkt, RFC 9449, section 10); empty: any
	ExpiresAt   Time
	UsedAt      Time // zero: not yet
	Grant       Grant
	// UserDisabled means that the resource owner, or the workspace, is disabled.
	UserDisabled bool
	// Role is that of the resource owner in the workspace of the grant; empty: they have left it.
	Role string
	// WorkspaceSlug is the slug of the workspace of the grant.
	WorkspaceSlug string
}

// MaxLiveGrants is how many grants of one user and client can be active at once: more than the devices and browsers in
// which a user uses one client.
const MaxLiveGrants = 50

// liveGrant is the condition that a grant is active at the time $2: it has a usable code or token.
const liveGrant = `g.revoked_at IS NULL AND g.expires_at > $2 AND (
			EXISTS (SELECT 1 FROM codes k WHERE k.grant_id = g.id AND k.used_at IS NULL AND k.expires_at > $2)
			OR EXISTS (SELECT 1 FROM refresh_tokens t WHERE t.grant_id = g.id AND t.used_at IS NULL
			AND t.expires_at > $2)
			OR EXISTS (SELECT 1 FROM access_tokens t WHERE t.grant_id = g.id AND t.revoked_at IS NULL
			AND t.expires_at > $2))`

// InsertGrant adds a grant and its code, in the caller's transaction. If the user and client then have more than
// MaxLiveGrants, the oldest are revoked.
func (s *Store) InsertGrant(ctx context.Context, g Grant, c Code) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		oldest, err := collect(ctx, s, (*Grant).fields, plain(`SELECT `+grantColumns+` FROM grants g
			WHERE g.user_id = $1 AND g.client_id = $3 AND `+liveGrant+`
			ORDER BY g.created_at DESC, g.id DESC LIMIT 1000 OFFSET $4`), g.UserID, s.Now(), g.ClientID,
			MaxLiveGrants-1)
		if err != nil {
			return err
		}
		for _, o := range oldest {
			if err := s.RevokeGrant(ctx, o.ID, RevokedForOthers); err != nil {
				return err
			}
		}
		if _, err := s.exec(ctx, plain(`INSERT INTO grants (id, client_id, user_id, workspace_id, resource, scopes,
			auth_time, created_at, expires_at, amr, acr)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`),
			g.ID, g.ClientID, g.UserID, g.WorkspaceID, g.Resource, g.Scopes, g.AuthTime, g.CreatedAt,
			g.ExpiresAt, g.AMR, g.ACR); err != nil {
			return err
		}
		_, err = s.exec(ctx, plain(`INSERT INTO codes (digest, grant_id, redirect_uri, challenge, created_at,
			expires_at, dpop_key) VALUES ($1, $2, $3, $4, $5, $6, $7)`),
			c.Digest, g.ID, c.RedirectURI, c.Challenge, g.CreatedAt, c.ExpiresAt, c.DPoPKey)
		return err
	})
}

// CodeStatement is the statement of CodeByDigest.
var CodeStatement = Statement{`SELECT k.redirect_uri, k.challenge, k.expires_at, k.used_at, u.disabled_at IS NOT NULL
	OR w.disabled_at IS NOT NULL, COALESCE(m.role, ''), w.slug, k.dpop_key, ` + grantColumns + `
	FROM codes k JOIN grants g ON g.id = k.grant_id
	JOIN users u ON u.id = g.user_id
	JOIN workspaces w ON w.id = g.workspace_id
	LEFT JOIN memberships m ON m.workspace_id = g.workspace_id AND m.user_id = g.user_id
	WHERE k.digest = $1`, shared | compiled}

// CodeByDigest finds a code, used or not, expired or not, with its grant.
func (s *Store) CodeByDigest(ctx context.Context, digest []byte) (Code, error) {
	c := Code{Digest: digest}
	err := s.one(ctx, append([]any{
		&c.RedirectURI, &c.Challenge, &c.ExpiresAt, &c.UsedAt, &c.UserDisabled, &c.Role,
		&c.WorkspaceSlug, &c.DPoPKey,
	}, c.Grant.fields()...),
		CodeStatement, digest)
	return c, err
}

// ConsumeCodeStatement is the statement of ConsumeCode.
var ConsumeCodeStatement = plain(`UPDATE codes SET used_at = $2 WHERE digest = $1 AND used_at IS NULL`)

// ConsumeCode marks a code as used. It returns ErrConsumed if the code was used before (RFC 6749, section 4.1.2).
func (s *Store) ConsumeCode(ctx context.Context, digest []byte) error {
	return s.execOne(ctx, ErrConsumed, ConsumeCodeStatement, digest, s.Now())
}

// RevokeGrant revokes a grant with all its tokens. Revoking it again keeps the first time and reason.
func (s *Store) RevokeGrant(ctx context.Context, grantID, reason string) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		n, err := s.exec(ctx, altering(`UPDATE grants SET revoked_at = $2, revoked_reason = $3 WHERE id = $1
			AND revoked_at IS NULL`).of(1), grantID, s.Now(), reason)
		if err != nil || n == 0 {
			return err
		}
		e := AuditEvent{Action: "grant.revoked", Target: grantID, Detail: map[string]string{"reason": reason}}
		var userID string
		if err := s.one(ctx, []any{&e.WorkspaceID, &userID}, plain(`SELECT workspace_id, user_id FROM grants
			WHERE id = $1`), grantID); err != nil {
			return err
		}
		e.Detail["user"] = userID
		return s.Audit(ctx, e, "")
	})
}

// NarrowGrants changes the scopes of every active grant that has the user, client, resource and workspace of like:
// narrow returns those that stay. NarrowGrants returns the ids of the changed grants. A grant that is left without
// scopes is revoked instead. The caller must exclude concurrent grants of this kind, as LockConsent and SaveConsent do.
func (s *Store) NarrowGrants(ctx context.Context, like Grant, narrow func(scopes []string) []string) (narrowed []string,
	err error,
) {
	err = s.InTx(ctx, func(ctx context.Context) error {
		narrowed = nil
		live, err := collect(ctx, s, (*Grant).fields, plain(`SELECT `+grantColumns+` FROM grants g
			WHERE g.user_id = $1 AND g.client_id = $2 AND g.resource = $3 AND g.workspace_id = $4
			AND g.revoked_at IS NULL AND g.expires_at > $5 ORDER BY g.id`),
			like.UserID, like.ClientID, like.Resource, like.WorkspaceID, s.Now())
		if err != nil {
			return err
		}
		for _, g := range live {
			left := List(narrow(g.Scopes))
			switch {
			case slices.Equal(left, g.Scopes):
				continue
			case len(left) == 0:
				err = s.RevokeGrant(ctx, g.ID, RevokedByUser)
			default:
				_, err = s.exec(ctx, altering(`UPDATE grants SET scopes = $2 WHERE id = $1`).of(1), g.ID, left)
				narrowed = append(narrowed, g.ID)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return narrowed, err
}

// LiveGrantsOf lists a user's active grants, which have a usable code, refresh token or access token, the newest first.
func (s *Store) LiveGrantsOf(ctx context.Context, userID string) ([]Grant, error) {
	return collect(ctx, s, (*Grant).fields, plain(`SELECT `+grantColumns+` FROM grants g WHERE g.user_id = $1
		AND `+liveGrant+`
		ORDER BY g.created_at DESC, g.id DESC LIMIT 1000`), userID, s.Now())
}
