-- +goose Up

-- When and from where each key was last used. Keys that were used before have it in api_keys. As on PostgreSQL, there is
-- no foreign key to api_keys; rows are deleted with the owner of the key, and when the key is.
CREATE TABLE key_uses (
    key_id       text PRIMARY KEY,
    workspace_id text REFERENCES workspaces (id) ON DELETE CASCADE, -- the key's, and so is the user
    user_id      text REFERENCES users (id) ON DELETE CASCADE,
    used_at      bigint NOT NULL,
    address      text NOT NULL
);
CREATE INDEX key_uses_workspace ON key_uses (workspace_id) WHERE workspace_id IS NOT NULL;
CREATE INDEX key_uses_user ON key_uses (user_id) WHERE user_id IS NOT NULL;
