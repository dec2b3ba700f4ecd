-- +goose Up

-- When and from where each key was last used: a narrow table, so that the checks of many keys write few pages. Keys that
-- were used before have it in api_keys. There is no foreign key to api_keys, since each new row would lock, and so write,
-- the key's row; rows are deleted with the owner of the key, and when the key is.
CREATE TABLE key_uses (
    key_id       text PRIMARY KEY,
    workspace_id text REFERENCES workspaces (id) ON DELETE CASCADE, -- the key's, and so is the user
    user_id      text REFERENCES users (id) ON DELETE CASCADE,
    used_at      bigint NOT NULL,
    address      text NOT NULL
) WITH (fillfactor = 70); -- with room in its pages, so that an update of a row touches no index
CREATE INDEX key_uses_workspace ON key_uses (workspace_id) WHERE workspace_id IS NOT NULL;
CREATE INDEX key_uses_user ON key_uses (user_id) WHERE user_id IS NOT NULL;

ALTER TABLE key_uses ENABLE ROW LEVEL SECURITY;
CREATE POLICY system ON key_uses TO doorward_system USING (true);
CREATE POLICY tenant ON key_uses TO doorward_tenant
    USING (workspace_id = NULLIF(current_setting('app.workspace_id', true), '') OR user_id = NULLIF(current_setting('app.user_id', true), ''));
GRANT SELECT, INSERT, UPDATE, DELETE ON key_uses TO doorward_system;
GRANT SELECT ON key_uses TO doorward_tenant;

-- Recent requests go the same way. SQLite locks no rows, so there the foreign key stays.
ALTER TABLE recent_requests DROP CONSTRAINT recent_requests_key_id_fkey,
    ADD CONSTRAINT recent_requests_workspace FOREIGN KEY (workspace_id) REFERENCES workspaces (id) ON DELETE CASCADE,
    ADD CONSTRAINT recent_requests_user FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE;
CREATE INDEX recent_requests_workspace ON recent_requests (workspace_id) WHERE workspace_id IS NOT NULL;
CREATE INDEX recent_requests_user ON recent_requests (user_id) WHERE user_id IS NOT NULL;

-- New pages of these tables get room for updates that touch no index.
ALTER TABLE usage_hourly SET (fillfactor = 70);
ALTER TABLE grants SET (fillfactor = 80);
ALTER TABLE sessions SET (fillfactor = 80);
