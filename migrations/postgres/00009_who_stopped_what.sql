-- +goose Up

-- Who stopped a thing: only as much authority starts it again. administrator is an administrator of this server or the
-- command; owner and admin are roles in the workspace; user is the user whose personal access token it is.
ALTER TABLE clients ADD COLUMN disabled_by text NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN paused_by text NOT NULL DEFAULT '';

-- A workspace is also stopped while all its owners are disabled. This is one of them; empty: an administrator disabled the
-- workspace itself, or it is enabled.
ALTER TABLE workspaces ADD COLUMN disabled_for text NOT NULL DEFAULT '';

-- Slugs of deleted workspaces, which APIs may still know their old owners by.
CREATE TABLE reserved_slugs (
    slug         text PRIMARY KEY,
    workspace_id text NOT NULL, -- of the workspace that had it
    expires_at   bigint NOT NULL
);
CREATE INDEX reserved_slugs_expiry ON reserved_slugs (expires_at);
ALTER TABLE reserved_slugs ENABLE ROW LEVEL SECURITY;
CREATE POLICY system ON reserved_slugs TO doorward_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON reserved_slugs TO doorward_system;

-- What was stopped before, by the record of it. What has none was stopped by an administrator.
UPDATE clients SET disabled_by = CASE WHEN EXISTS (
        SELECT 1 FROM audit_events e
        WHERE e.id = (SELECT max(l.id) FROM audit_events l WHERE l.action = 'app.disabled' AND l.target = clients.id) AND e.credential <> 'command'
            AND (e.user_id = '' OR EXISTS (SELECT 1 FROM memberships m WHERE m.workspace_id = clients.workspace_id AND m.user_id = e.user_id))
    ) THEN 'admin' ELSE 'administrator' END WHERE disabled_at IS NOT NULL;
UPDATE api_keys SET paused_by = CASE WHEN EXISTS (
        SELECT 1 FROM audit_events e
        WHERE e.id = (SELECT max(l.id) FROM audit_events l WHERE l.action = api_keys.kind || '.paused' AND l.target = api_keys.id) AND e.credential <> 'command'
    ) THEN CASE WHEN kind = 'personal_access_token' THEN 'user' ELSE 'admin' END ELSE 'administrator' END WHERE paused_at IS NOT NULL;

-- Who was disabled before takes along what they alone own, and what acted for them.
UPDATE workspaces SET
    disabled_at = (SELECT max(u.disabled_at) FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.workspace_id = workspaces.id AND m.role = 'owner'),
    disabled_for = (SELECT max(m.user_id) FROM memberships m WHERE m.workspace_id = workspaces.id AND m.role = 'owner')
    WHERE disabled_at IS NULL AND EXISTS (SELECT 1 FROM memberships m WHERE m.workspace_id = workspaces.id AND m.role = 'owner')
        AND NOT EXISTS (SELECT 1 FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.workspace_id = workspaces.id AND m.role = 'owner' AND u.disabled_at IS NULL);
UPDATE grants SET revoked_at = (SELECT u.disabled_at FROM users u WHERE u.id = grants.user_id), revoked_reason = 'the user was disabled'
    WHERE revoked_at IS NULL AND user_id IN (SELECT u.id FROM users u WHERE u.disabled_at IS NOT NULL);
