-- +goose Up

-- As on PostgreSQL, whose policies need the column. Here each query names the workspace.
ALTER TABLE client_secrets ADD COLUMN workspace_id text;
ALTER TABLE client_origins ADD COLUMN workspace_id text;
UPDATE client_secrets SET workspace_id = (SELECT c.workspace_id FROM clients c WHERE c.id = client_id);
UPDATE client_origins SET workspace_id = (SELECT c.workspace_id FROM clients c WHERE c.id = client_id);
