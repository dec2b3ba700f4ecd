package storage

// The statements of the paths that are called most. They have names because the benchmark gives the same ones to
// pgbench.
const (
	// AccessTokenStatement is behind AccessTokenByDigest: everything that decides about a token in one row.
	AccessTokenStatement = `SELECT t.client_id, t.resource, t.scopes, t.created_at, t.expires_at, t.revoked_at, ` + bearerColumns + `
		FROM access_tokens t LEFT JOIN grants g ON g.id = t.grant_id
		JOIN clients c ON c.id = t.client_id` + bearerJoins

	// RefreshTokenStatement is behind RefreshTokenByDigest.
	RefreshTokenStatement = `SELECT t.grant_id, t.created_at, t.expires_at, t.used_at, t.uses, ` + bearerColumns + `
		FROM refresh_tokens t JOIN grants g ON g.id = t.grant_id
		JOIN clients c ON c.id = g.client_id` + bearerJoins

	// CodeStatement is behind CodeByDigest.
	CodeStatement = `SELECT k.redirect_uri, k.challenge, k.expires_at, k.used_at, u.disabled_at IS NOT NULL OR w.disabled_at IS NOT NULL,
		COALESCE(m.role, ''), w.slug, ` + grantColumns + `
		FROM codes k JOIN grants g ON g.id = k.grant_id
		JOIN users u ON u.id = g.user_id
		JOIN workspaces w ON w.id = g.workspace_id
		LEFT JOIN memberships m ON m.workspace_id = g.workspace_id AND m.user_id = g.user_id
		WHERE k.digest = $1`

	// ClientUsableStatement is behind ClientUsable.
	ClientUsableStatement = `SELECT c.disabled_at IS NULL AND w.disabled_at IS NULL
		FROM clients c LEFT JOIN workspaces w ON w.id = c.workspace_id WHERE c.id = $1`

	// ConsumeCodeStatement is behind ConsumeCode.
	ConsumeCodeStatement = `UPDATE codes SET used_at = $2 WHERE digest = $1 AND used_at IS NULL`

	// UseRefreshTokenStatement is behind UseRefreshToken.
	UseRefreshTokenStatement = `UPDATE refresh_tokens SET used_at = COALESCE(used_at, CAST($2 AS BIGINT)), uses = uses + 1
		WHERE digest = $1 AND (used_at IS NULL OR (used_at > $3 AND uses <= $4))`

	// InsertAccessTokenStatement is behind InsertAccessToken.
	InsertAccessTokenStatement = `INSERT INTO access_tokens (digest, grant_id, client_id, resource, scopes, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`

	// InsertRefreshTokenStatement is behind InsertRefreshToken.
	InsertRefreshTokenStatement = `INSERT INTO refresh_tokens (digest, grant_id, created_at, expires_at)
		VALUES ($1, $2, $3, $4) ON CONFLICT (digest) DO NOTHING`

	// KeyStatement is behind KeyByDigest: everything that decides about an API key in one row.
	KeyStatement = `SELECT ` + keyBearerColumns + `, FALSE, w.disabled_at IS NOT NULL, COALESCE(w.id, ''), COALESCE(w.slug, ''), COALESCE(w.plan, ''), '', ''
		FROM api_keys k LEFT JOIN workspaces w ON w.id = k.workspace_id
		WHERE k.digest = $1 AND k.kind = 'api_key'`

	// PersonalTokenStatement is behind PersonalTokenByDigest. A workspace that the user is not in is none. Without a slug
	// the last column is the lowest role that the user has in any workspace.
	PersonalTokenStatement = `SELECT ` + keyBearerColumns + `, u.disabled_at IS NOT NULL, m.role IS NOT NULL AND w.disabled_at IS NOT NULL,
		CASE WHEN m.role IS NULL THEN '' ELSE w.id END, CASE WHEN m.role IS NULL THEN '' ELSE w.slug END,
		CASE WHEN m.role IS NULL THEN '' ELSE w.plan END, COALESCE(m.role, ''),
		CASE WHEN $2 = '' THEN COALESCE((SELECT l.role FROM memberships l WHERE l.user_id = k.user_id
			ORDER BY CASE l.role WHEN 'viewer' THEN 0 WHEN 'member' THEN 1 WHEN 'admin' THEN 2 ELSE 3 END LIMIT 1), '') ELSE '' END
		FROM api_keys k JOIN users u ON u.id = k.user_id
		LEFT JOIN workspaces w ON w.slug = $2
		LEFT JOIN memberships m ON m.workspace_id = w.id AND m.user_id = k.user_id
		WHERE k.digest = $1 AND k.kind = 'personal_access_token'`

	// InsertKeyStatement is behind InsertKey.
	InsertKeyStatement = `INSERT INTO api_keys (id, digest, kind, workspace_id, user_id, resource, environment, prefix, tail, name, name_key, note,
		scopes, scopes_by_object, role, plan, rate_limit, addresses, counter, created_by, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)`

	// InsertAuditEventStatement is behind Audit.
	InsertAuditEventStatement = `INSERT INTO audit_events (id, created_at, action, workspace_id, user_id, client_id, credential, key_id, address, request_id, target, detail)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`
)

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
