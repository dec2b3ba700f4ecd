-- +goose Up

-- Who was asked to join a workspace, by a link that holds a word; the word's digest is here.
CREATE TABLE invitations (
    id           text PRIMARY KEY,
    digest       bytea NOT NULL UNIQUE, -- SHA-256 of the word
    workspace_id text NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    email        text NOT NULL,
    email_key    text NOT NULL, -- what equality of addresses is judged by: NFC, lower case
    role         text NOT NULL,
    created_by   text NOT NULL, -- a user, or empty: the command
    created_at   bigint NOT NULL,
    expires_at   bigint NOT NULL,
    UNIQUE (workspace_id, email_key)
);
CREATE INDEX invitations_expiry ON invitations (expires_at);

ALTER TABLE invitations ENABLE ROW LEVEL SECURITY;
CREATE POLICY system ON invitations TO doorward_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON invitations TO doorward_system;
