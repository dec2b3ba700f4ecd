package storage

import (
	"context"
	"math"
	"slices"
	"time"
)

// Grant is one authorization that a resource owner gave a client: the family of the code, access and refresh tokens
// that came of it.
type Grant struct {
	ID            string
	ClientID      string
	UserID        string
	WorkspaceID   string // in which its tokens act
	Resource      string // their audience (RFC 8707)
	Scopes        List
	AuthTime      Time // when the resource owner signed in
	CreatedAt     Time
	ExpiresAt     Time // absolute end of the family
	LastUsedAt    Time
	RevokedAt     Time // zero: alive
	RevokedReason string
}

const grantColumns = `g.id, g.client_id, g.user_id, g.workspace_id, g.resource, g.scopes, g.auth_time, g.created_at, g.expires_at,
	g.last_used_at, g.revoked_at, g.revoked_reason`

func (g *Grant) fields() []any {
	return []any{
		&g.ID, &g.ClientID, &g.UserID, &g.WorkspaceID, &g.Resource, &g.Scopes, &g.AuthTime, &g.CreatedAt, &g.ExpiresAt,
		&g.LastUsedAt, &g.RevokedAt, &g.RevokedReason,
	}
}

// Why a grant was revoked.
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

// Code is an authorization code (RFC 6749 section 4.1.2) with what its redemption must fit.
type Code struct {
	Digest      []byte
	RedirectURI string
	Challenge   string // S256 (RFC 7636 section 4.2); empty: issued without
	ExpiresAt   Time
	UsedAt      Time // zero: not yet
	Grant       Grant
	// UserDisabled is true where the resource owner may not act any more.
	UserDisabled bool
	// Role is the resource owner's in the workspace of the grant; empty: they left it.
	Role string
	// WorkspaceSlug is of the workspace of the grant.
	WorkspaceSlug string
}

// MaxLiveGrants is how many grants of one user and client can be live at once: as many as the user has devices and
// browsers in which they use the client, and more.
const MaxLiveGrants = 50

// liveGrant is the condition that a grant can still be used or yield tokens at the moment $2.
const liveGrant = `g.revoked_at IS NULL AND g.expires_at > $2 AND (
			EXISTS (SELECT 1 FROM codes k WHERE k.grant_id = g.id AND k.used_at IS NULL AND k.expires_at > $2)
			OR EXISTS (SELECT 1 FROM refresh_tokens t WHERE t.grant_id = g.id AND t.used_at IS NULL AND t.expires_at > $2)
			OR EXISTS (SELECT 1 FROM access_tokens t WHERE t.grant_id = g.id AND t.revoked_at IS NULL AND t.expires_at > $2))`

// InsertGrant adds a grant together with its code, in one transaction with whatever else the caller writes. Of more than
// MaxLiveGrants of its user and client the oldest end.
func (s *Store) InsertGrant(ctx context.Context, g Grant, c Code) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		oldest, err := collect(ctx, s, (*Grant).fields, plain(`SELECT `+grantColumns+` FROM grants g WHERE g.user_id = $1 AND g.client_id = $3 AND `+liveGrant+`
			ORDER BY g.created_at DESC, g.id DESC LIMIT 1000 OFFSET $4`), g.UserID, s.Now(), g.ClientID, MaxLiveGrants-1)
		if err != nil {
			return err
		}
		for _, o := range oldest {
			if err := s.RevokeGrant(ctx, o.ID, RevokedForOthers); err != nil {
				return err
			}
		}
		if _, err := s.exec(ctx, deferring(`INSERT INTO grants (id, client_id, user_id, workspace_id, resource, scopes, auth_time, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`),
			g.ID, g.ClientID, g.UserID, g.WorkspaceID, g.Resource, g.Scopes, g.AuthTime, g.CreatedAt, g.ExpiresAt); err != nil {
			return err
		}
		_, err = s.exec(ctx, deferring(`INSERT INTO codes (digest, grant_id, redirect_uri, challenge, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)`),
			c.Digest, g.ID, c.RedirectURI, c.Challenge, g.CreatedAt, c.ExpiresAt)
		return err
	})
}

// CodeStatement is behind CodeByDigest.
var CodeStatement = Statement{`SELECT k.redirect_uri, k.challenge, k.expires_at, k.used_at, u.disabled_at IS NOT NULL OR w.disabled_at IS NOT NULL,
	COALESCE(m.role, ''), w.slug, ` + grantColumns + `
	FROM codes k JOIN grants g ON g.id = k.grant_id
	JOIN users u ON u.id = g.user_id
	JOIN workspaces w ON w.id = g.workspace_id
	LEFT JOIN memberships m ON m.workspace_id = g.workspace_id AND m.user_id = g.user_id
	WHERE k.digest = $1`, shared | compiled}

// CodeByDigest finds a code, used or not, expired or not, with its grant.
func (s *Store) CodeByDigest(ctx context.Context, digest []byte) (Code, error) {
	c := Code{Digest: digest}
	err := s.one(ctx, append([]any{&c.RedirectURI, &c.Challenge, &c.ExpiresAt, &c.UsedAt, &c.UserDisabled, &c.Role, &c.WorkspaceSlug}, c.Grant.fields()...),
		CodeStatement, digest)
	return c, err
}

// ConsumeCodeStatement is behind ConsumeCode.
var ConsumeCodeStatement = plain(`UPDATE codes SET used_at = $2 WHERE digest = $1 AND used_at IS NULL`)

// ConsumeCode marks a code as used. It returns ErrConsumed unless this call did it (RFC 6749 section 4.1.2).
func (s *Store) ConsumeCode(ctx context.Context, digest []byte) error {
	return s.execOne(ctx, ErrConsumed, ConsumeCodeStatement, digest, s.Now())
}

// AccessToken is an access token as it is stored (RFC 6749 section 1.4).
type AccessToken struct {
	Digest    []byte
	GrantID   string // empty: client_credentials
	ClientID  string
	Resource  string
	Scopes    List
	CreatedAt Time
	ExpiresAt Time
	RevokedAt Time
}

// InsertAccessTokenStatement is behind InsertAccessToken.
var InsertAccessTokenStatement = Statement{`INSERT INTO access_tokens (digest, grant_id, client_id, resource, scopes, created_at, expires_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7)`, shared | deferred}

// InsertAccessToken adds an access token. In a transaction an error may come only from its end.
func (s *Store) InsertAccessToken(ctx context.Context, t AccessToken) error {
	_, err := s.exec(ctx, InsertAccessTokenStatement, t.Digest, nullable(t.GrantID), t.ClientID, t.Resource, t.Scopes, t.CreatedAt, t.ExpiresAt)
	return err
}

// Bearer is a token together with everything that decides whether it is good: its client, and where it acts for a
// person, the grant, the user and the workspace.
type Bearer struct {
	Access            AccessToken
	Refresh           RefreshToken // set instead of Access for a refresh token
	Grant             Grant        // zero for client_credentials
	ClientDisabled    bool
	UserDisabled      bool
	WorkspaceDisabled bool
	WorkspaceID       string // of the grant, else of the client; empty: none
	WorkspaceSlug     string
	WorkspacePlan     string
	Role              string // of the user in the workspace; empty: none
}

func (b *Bearer) fields() []any {
	return []any{
		&b.ClientDisabled, &b.UserDisabled, &b.WorkspaceDisabled, &b.WorkspaceID, &b.WorkspaceSlug, &b.WorkspacePlan, &b.Role,
		&b.Grant.ID, &b.Grant.UserID, &b.Grant.Scopes, &b.Grant.Resource, &b.Grant.ClientID, &b.Grant.AuthTime, &b.Grant.CreatedAt, &b.Grant.ExpiresAt, &b.Grant.RevokedAt,
	}
}

const bearerJoins = `
	LEFT JOIN users u ON u.id = g.user_id
	LEFT JOIN workspaces w ON w.id = COALESCE(g.workspace_id, c.workspace_id)
	LEFT JOIN workspaces o ON o.id = c.workspace_id
	LEFT JOIN memberships m ON m.workspace_id = g.workspace_id AND m.user_id = g.user_id
	WHERE t.digest = $1`

// bearerColumns count a client of a disabled workspace as disabled.
const bearerColumns = `c.disabled_at IS NOT NULL OR o.disabled_at IS NOT NULL, u.disabled_at IS NOT NULL, w.disabled_at IS NOT NULL,
	COALESCE(w.id, ''), COALESCE(w.slug, ''), COALESCE(w.plan, ''), COALESCE(m.role, ''),
	COALESCE(g.id, ''), COALESCE(g.user_id, ''), COALESCE(g.scopes, ''), COALESCE(g.resource, ''), COALESCE(g.client_id, ''),
	g.auth_time, g.created_at, g.expires_at, g.revoked_at`

// AccessTokenStatement is behind AccessTokenByDigest: everything that decides about a token in one row.
var AccessTokenStatement = Statement{`SELECT t.client_id, t.resource, t.scopes, t.created_at, t.expires_at, t.revoked_at, ` + bearerColumns + `
	FROM access_tokens t LEFT JOIN grants g ON g.id = t.grant_id
	JOIN clients c ON c.id = t.client_id` + bearerJoins, shared | compiled}

// AccessTokenByDigest finds an access token, good or not, in one statement. ErrNotFound: it never was, was cleaned
// up, or its client is gone.
func (s *Store) AccessTokenByDigest(ctx context.Context, digest []byte) (Bearer, error) {
	b := Bearer{Access: AccessToken{Digest: digest}}
	t := &b.Access
	err := s.one(ctx, append([]any{&t.ClientID, &t.Resource, &t.Scopes, &t.CreatedAt, &t.ExpiresAt, &t.RevokedAt}, b.fields()...), AccessTokenStatement, digest)
	t.GrantID = b.Grant.ID
	return b, err
}

// RefreshToken is a refresh token as it is stored (RFC 6749 section 1.5).
type RefreshToken struct {
	Digest    []byte
	GrantID   string
	CreatedAt Time
	ExpiresAt Time // idle end; the grant has the absolute one
	UsedAt    Time // first use; zero: not yet
	Uses      int64
}

// RefreshTokenStatement is behind RefreshTokenByDigest.
var RefreshTokenStatement = Statement{`SELECT t.grant_id, t.created_at, t.expires_at, t.used_at, t.uses, ` + bearerColumns + `
	FROM refresh_tokens t JOIN grants g ON g.id = t.grant_id
	JOIN clients c ON c.id = g.client_id` + bearerJoins, shared | compiled}

// RefreshTokenByDigest finds a refresh token, good or not, in one statement.
func (s *Store) RefreshTokenByDigest(ctx context.Context, digest []byte) (Bearer, error) {
	b := Bearer{Refresh: RefreshToken{Digest: digest}}
	t := &b.Refresh
	err := s.one(ctx, append([]any{&t.GrantID, &t.CreatedAt, &t.ExpiresAt, &t.UsedAt, &t.Uses}, b.fields()...),
		RefreshTokenStatement, digest)
	return b, err
}

// MaxRefreshRepeats is how often a refresh token may be shown again within the reuse window after its first use.
const MaxRefreshRepeats = 100

// UseRefreshTokenStatement is behind UseRefreshToken.
var UseRefreshTokenStatement = plain(`UPDATE refresh_tokens SET used_at = COALESCE(used_at, CAST($2 AS BIGINT)), uses = uses + 1
	WHERE digest = $1 AND (used_at IS NULL OR (used_at > $3 AND uses <= $4))`)

// UseRefreshToken marks a refresh token as used, for the first time or again within window of the first. ErrConsumed
// says that it was used before that, or too often; nothing is changed then. A window of zero allows the first use only.
func (s *Store) UseRefreshToken(ctx context.Context, digest []byte, window time.Duration) error {
	now := s.Now()
	after := now.Add(-window)
	if window <= 0 {
		after = math.MaxInt64 // else a use by a node whose clock is ahead would lie within it
	}
	return s.execOne(ctx, ErrConsumed, UseRefreshTokenStatement, digest, now, after, MaxRefreshRepeats)
}

// InsertRefreshTokenStatement is behind InsertRefreshToken.
var InsertRefreshTokenStatement = Statement{`INSERT INTO refresh_tokens (digest, grant_id, created_at, expires_at)
	VALUES ($1, $2, $3, $4) ON CONFLICT (digest) DO NOTHING`, deferred}

// InsertRefreshToken adds a refresh token; one that is there already (the successor that a repeat derives again)
// stays as it is. In a transaction an error may come only from its end.
func (s *Store) InsertRefreshToken(ctx context.Context, t RefreshToken) error {
	_, err := s.exec(ctx, InsertRefreshTokenStatement, t.Digest, t.GrantID, t.CreatedAt, t.ExpiresAt)
	return err
}

// RevokeGrant ends a whole family at once. Revoking twice keeps the first time and reason.
func (s *Store) RevokeGrant(ctx context.Context, grantID, reason string) error {
	return s.InTx(ctx, func(ctx context.Context) error {
		n, err := s.exec(ctx, altering(`UPDATE grants SET revoked_at = $2, revoked_reason = $3 WHERE id = $1 AND revoked_at IS NULL`), grantID, s.Now(), reason)
		if err != nil || n == 0 {
			return err
		}
		e := AuditEvent{Action: "grant.revoked", Target: grantID, Detail: map[string]string{"reason": reason}}
		var userID string
		if err := s.one(ctx, []any{&e.WorkspaceID, &userID}, plain(`SELECT workspace_id, user_id FROM grants WHERE id = $1`), grantID); err != nil {
			return err
		}
		e.Detail["user"] = userID
		return s.Audit(ctx, e, "")
	})
}

// NarrowGrants changes the scopes of every live grant that has the user, client, resource and workspace of like to what
// narrow makes of them, and returns the ids of those that were narrowed. A grant that is left without scopes is revoked
// instead. Concurrent grants of the same kind are the caller's to exclude, as LockConsent and SaveConsent do.
func (s *Store) NarrowGrants(ctx context.Context, like Grant, narrow func(scopes []string) []string) (narrowed []string, err error) {
	err = s.InTx(ctx, func(ctx context.Context) error {
		narrowed = nil
		live, err := collect(ctx, s, (*Grant).fields, plain(`SELECT `+grantColumns+` FROM grants g
			WHERE g.user_id = $1 AND g.client_id = $2 AND g.resource = $3 AND g.workspace_id = $4 AND g.revoked_at IS NULL AND g.expires_at > $5 ORDER BY g.id`),
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
				_, err = s.exec(ctx, altering(`UPDATE grants SET scopes = $2 WHERE id = $1`), g.ID, left)
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

// RevokeAccessToken ends one access token of client_credentials, which has no family. ended is false where it had been
// revoked before, or is none.
func (s *Store) RevokeAccessToken(ctx context.Context, digest []byte) (ended bool, err error) {
	n, err := s.exec(ctx, altering(`UPDATE access_tokens SET revoked_at = $2 WHERE digest = $1 AND revoked_at IS NULL`), digest, s.Now())
	return n > 0, err
}

// Consent is what a resource owner has allowed a client for one resource and workspace, so that it need not be asked
// again.
type Consent struct {
	UserID      string
	ClientID    string
	Resource    string
	WorkspaceID string
	Scopes      List
	CreatedAt   Time
	ChangedAt   Time
}

// ConsentFor returns the remembered consent, or ErrNotFound.
func (s *Store) ConsentFor(ctx context.Context, userID, clientID, resource, workspaceID string) (Consent, error) {
	c := Consent{UserID: userID, ClientID: clientID, Resource: resource, WorkspaceID: workspaceID}
	err := s.one(ctx, []any{&c.Scopes, &c.CreatedAt, &c.ChangedAt}, plain(`SELECT scopes, created_at, changed_at FROM consents
		WHERE user_id = $1 AND client_id = $2 AND resource = $3 AND workspace_id = $4`), userID, clientID, resource, workspaceID)
	return c, err
}

// ConsentsFor lists what a user has allowed a client for one resource, in whatever workspace, the last answer first.
func (s *Store) ConsentsFor(ctx context.Context, userID, clientID, resource string) ([]Consent, error) {
	return collect(ctx, s, func(c *Consent) []any {
		c.UserID, c.ClientID, c.Resource = userID, clientID, resource
		return []any{&c.WorkspaceID, &c.Scopes, &c.CreatedAt, &c.ChangedAt}
	}, plain(`SELECT workspace_id, scopes, created_at, changed_at FROM consents
		WHERE user_id = $1 AND client_id = $2 AND resource = $3 ORDER BY changed_at DESC, workspace_id LIMIT 1000`), userID, clientID, resource)
}

// LockConsent is ConsentFor, and keeps the consent from being changed until the transaction in ctx ends.
func (s *Store) LockConsent(ctx context.Context, userID, clientID, resource, workspaceID string) (Consent, error) {
	if err := s.execOne(ctx, ErrNotFound, plain(`UPDATE consents SET changed_at = changed_at
		WHERE user_id = $1 AND client_id = $2 AND resource = $3 AND workspace_id = $4`), userID, clientID, resource, workspaceID); err != nil {
		return Consent{}, err
	}
	return s.ConsentFor(ctx, userID, clientID, resource, workspaceID)
}

// SaveConsent remembers c.Scopes in place of what was remembered.
func (s *Store) SaveConsent(ctx context.Context, c Consent) error {
	_, err := s.exec(ctx, altering(`INSERT INTO consents (user_id, client_id, resource, workspace_id, scopes, created_at, changed_at)
		VALUES ($1, $2, $3, $4, $5, $6, $6)
		ON CONFLICT (user_id, client_id, resource, workspace_id) DO UPDATE SET scopes = excluded.scopes, changed_at = excluded.changed_at`),
		c.UserID, c.ClientID, c.Resource, c.WorkspaceID, c.Scopes, s.Now())
	return err
}

// DecideFlow notes that a sealed authorization flow was answered. ErrConsumed: it was answered before.
func (s *Store) DecideFlow(ctx context.Context, flowID, decision string, keep time.Duration) error {
	now := s.Now()
	return s.execOne(ctx, ErrConsumed, plain(`INSERT INTO decided_flows (id, decision, decided_at, expires_at) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING`),
		flowID, decision, now, now.Add(keep))
}

// KeepFlowAnswer keeps what the browser was sent on with when a flow was decided, sealed, until a time. ErrNotFound: the
// flow was not decided.
func (s *Store) KeepFlowAnswer(ctx context.Context, flowID, sealed string, until Time) error {
	return s.execOne(ctx, ErrNotFound, plain(`UPDATE decided_flows SET answer = $2, answer_until = $3 WHERE id = $1`), flowID, sealed, until)
}

// FlowAnswer is what KeepFlowAnswer kept with a decided flow; empty when its time is over or nothing was kept.
// ErrNotFound: the flow was not decided.
func (s *Store) FlowAnswer(ctx context.Context, flowID string) (sealed string, err error) {
	err = s.one(ctx, []any{&sealed}, plain(`SELECT CASE WHEN answer_until > $2 THEN answer ELSE '' END FROM decided_flows WHERE id = $1`), flowID, s.Now())
	return sealed, err
}

// LiveGrantsOf lists a user's grants that can still be used or yield tokens, the newest first: a code, refresh token or
// access token of theirs is good.
func (s *Store) LiveGrantsOf(ctx context.Context, userID string) ([]Grant, error) {
	return collect(ctx, s, (*Grant).fields, plain(`SELECT `+grantColumns+` FROM grants g WHERE g.user_id = $1 AND `+liveGrant+`
		ORDER BY g.created_at DESC, g.id DESC LIMIT 1000`), userID, s.Now())
}

// ConsentsOf lists what a user has allowed, the newest first. It runs as the tenant.
func (s *Store) ConsentsOf(ctx context.Context, userID string) ([]Consent, error) {
	var list []Consent
	err := s.InTx(ctx, func(ctx context.Context) error {
		list = nil
		return s.each(ctx, func(scan func(...any) error) error {
			c := Consent{UserID: userID}
			if err := scan(&c.ClientID, &c.Resource, &c.WorkspaceID, &c.Scopes, &c.CreatedAt, &c.ChangedAt); err != nil {
				return err
			}
			list = append(list, c)
			return nil
		}, plain(`SELECT client_id, resource, workspace_id, scopes, created_at, changed_at FROM consents WHERE user_id = $1 ORDER BY changed_at DESC LIMIT 1000`), userID)
	})
	return list, err
}

// EndAccess takes back all that a user has allowed a client: consents are forgotten, and every family of tokens ends
// in the same transaction. An empty client means all clients. It reports whether there was anything to end.
func (s *Store) EndAccess(ctx context.Context, userID, clientID string) (ended bool, err error) {
	err = s.InTx(ctx, func(ctx context.Context) error {
		consents, err := s.exec(ctx, altering(`DELETE FROM consents WHERE user_id = $1 AND ($2 = '' OR client_id = $2)`), userID, clientID)
		if err != nil {
			return err
		}
		grants, err := s.exec(ctx, altering(`UPDATE grants SET revoked_at = $3, revoked_reason = $4 WHERE user_id = $1 AND ($2 = '' OR client_id = $2) AND revoked_at IS NULL`),
			userID, clientID, s.Now(), RevokedByUser)
		if err != nil {
			return err
		}
		ended = consents+grants > 0
		return nil
	})
	return ended, err
}
