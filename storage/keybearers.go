package storage

import (
	"context"
)

// KeyBearer is a key with everything that decides about it, and no more: its name, note and last use are empty.
type KeyBearer struct {
	Key               APIKey
	UserDisabled      bool
	WorkspaceDisabled bool

	// WorkspaceID is the key's workspace, or the named one if the token's user is a member of it; otherwise empty.
	WorkspaceID   string
	WorkspaceSlug string
	WorkspacePlan string
	Role          string // of the user of a personal access token in it
	LowestRole    string // of that user in any workspace, if none was named; empty: they are in none
}

// Dependencies returns what the row depends on. A change of a membership names its user.
func (b *KeyBearer) Dependencies() Dependencies {
	return DependenciesOf(b.Key.ID, b.Key.RotatedInto, b.Key.UserID, b.Key.WorkspaceID, b.WorkspaceID)
}

// keyBearerColumns are few, since each costs time in every request.
const keyBearerColumns = `k.id, k.kind, COALESCE(k.workspace_id, ''), COALESCE(k.user_id, ''), k.resource,
	k.environment, k.scopes, k.scopes_by_object, k.role, k.plan, k.rate_limit, k.addresses, k.counter, k.rotated_into,
	k.created_by, k.created_at, k.expires_at, k.paused_at, k.revoked_at`

func (b *KeyBearer) fields() []any {
	k := &b.Key
	return []any{
		&k.ID, &k.Kind, &k.WorkspaceID, &k.UserID, &k.Resource, &k.Environment, &k.Scopes, &k.ScopesByObject, &k.Role,
		&k.Plan, &k.RateLimit, &k.Addresses, &k.Counter, &k.RotatedInto, &k.CreatedBy, &k.CreatedAt, &k.ExpiresAt,
		&k.PausedAt, &k.RevokedAt, &b.UserDisabled, &b.WorkspaceDisabled, &b.WorkspaceID, &b.WorkspaceSlug,
		&b.WorkspacePlan, &b.Role, &b.LowestRole,
	}
}

// share keeps one copy of what is the same, since a cache keeps many of these.
func (b *KeyBearer) share() {
	b.Key.Counter = oneOf(b.Key.ID, b.Key.Counter)
	b.WorkspaceID = oneOf(b.Key.WorkspaceID, b.WorkspaceID)
}

// KeyStatement is the statement of KeyByDigest: everything that decides about an API key, in one row.
var KeyStatement = Statement{`SELECT ` + keyBearerColumns + `, FALSE, w.disabled_at IS NOT NULL, COALESCE(w.id, ''),
	COALESCE(w.slug, ''), COALESCE(w.plan, ''), '', ''
	FROM api_keys k LEFT JOIN workspaces w ON w.id = k.workspace_id
	WHERE k.digest = $1 AND k.kind = 'api_key'`, shared | compiled}

// KeyByDigest finds an API key by the digest of its secret.
func (s *Store) KeyByDigest(ctx context.Context, digest []byte) (KeyBearer, error) {
	var b KeyBearer
	err := s.one(ctx, b.fields(), KeyStatement, digest)
	b.share()
	return b, err
}

// PersonalTokenStatement is the statement of PersonalTokenByDigest. A workspace without the user counts as unknown.
// Without a slug, the last column is the user's lowest role in any workspace.
var PersonalTokenStatement = Statement{`SELECT ` + keyBearerColumns + `, u.disabled_at IS NOT NULL, m.role IS NOT NULL
	AND w.disabled_at IS NOT NULL,
	CASE WHEN m.role IS NULL THEN '' ELSE w.id END, CASE WHEN m.role IS NULL THEN '' ELSE w.slug END,
	CASE WHEN m.role IS NULL THEN '' ELSE w.plan END, COALESCE(m.role, ''),
	CASE WHEN $2 = '' THEN COALESCE((SELECT l.role FROM memberships l WHERE l.user_id = k.user_id
		ORDER BY CASE l.role WHEN 'viewer' THEN 0 WHEN 'member' THEN 1 WHEN 'admin' THEN 2 ELSE 3 END LIMIT 1), '')
		ELSE '' END
	FROM api_keys k JOIN users u ON u.id = k.user_id
	LEFT JOIN workspaces w ON w.slug = $2
	LEFT JOIN memberships m ON m.workspace_id = w.id AND m.user_id = k.user_id
	WHERE k.digest = $1 AND k.kind = 'personal_access_token'`, shared | compiled}

// PersonalTokenByDigest finds a personal access token by the digest of its secret, with its user's role in the
// workspace with a slug. slug is empty if the request names no workspace.
func (s *Store) PersonalTokenByDigest(ctx context.Context, digest []byte, slug string) (KeyBearer, error) {
	possible := storable(slug)
	if !possible {
		slug = "" // no workspace has it, but the token must be found
	}
	var b KeyBearer
	err := s.one(ctx, b.fields(), PersonalTokenStatement, digest, slug)
	if !possible {
		b.LowestRole = ""
	}
	b.share()
	return b, err
}
