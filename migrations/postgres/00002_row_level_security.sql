-- +goose Up

-- Secrets and origins carry their app's workspace, so that a policy compares a column and needs no subquery. The
-- constraint keeps both the same: it looks past policies, and would else let a row of one workspace hang on an app of
-- another.
ALTER TABLE clients ADD CONSTRAINT clients_of_workspace UNIQUE (id, workspace_id);
ALTER TABLE client_secrets ADD COLUMN workspace_id text;
ALTER TABLE client_origins ADD COLUMN workspace_id text;
UPDATE client_secrets SET workspace_id = (SELECT c.workspace_id FROM clients c WHERE c.id = client_id);
UPDATE client_origins SET workspace_id = (SELECT c.workspace_id FROM clients c WHERE c.id = client_id);
ALTER TABLE client_secrets ADD CONSTRAINT client_secrets_of_workspace FOREIGN KEY (client_id, workspace_id) REFERENCES clients (id, workspace_id) ON DELETE CASCADE;
ALTER TABLE client_origins ADD CONSTRAINT client_origins_of_workspace FOREIGN KEY (client_id, workspace_id) REFERENCES clients (id, workspace_id) ON DELETE CASCADE;

-- Enabled, not forced: an owner's data migration and pg_dump must see all rows, and no runtime connection is the owner.
ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE memberships ENABLE ROW LEVEL SECURITY;
ALTER TABLE clients ENABLE ROW LEVEL SECURITY;
ALTER TABLE client_secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE client_origins ENABLE ROW LEVEL SECURITY;
ALTER TABLE consents ENABLE ROW LEVEL SECURITY;
ALTER TABLE grants ENABLE ROW LEVEL SECURITY;

CREATE POLICY system ON sessions TO doorward_system USING (true);
CREATE POLICY system ON memberships TO doorward_system USING (true);
CREATE POLICY system ON clients TO doorward_system USING (true);
CREATE POLICY system ON client_secrets TO doorward_system USING (true);
CREATE POLICY system ON client_origins TO doorward_system USING (true);
CREATE POLICY system ON consents TO doorward_system USING (true);
CREATE POLICY system ON grants TO doorward_system USING (true);

-- What a tenant's transaction sees and writes: rows of its user, or of its workspace. Unset, and set to nothing, mean no
-- row.
CREATE POLICY tenant ON sessions TO doorward_tenant USING (user_id = NULLIF(current_setting('app.user_id', true), ''));
CREATE POLICY tenant ON consents TO doorward_tenant USING (user_id = NULLIF(current_setting('app.user_id', true), ''));
CREATE POLICY tenant ON grants TO doorward_tenant USING (user_id = NULLIF(current_setting('app.user_id', true), ''));
CREATE POLICY tenant ON clients TO doorward_tenant USING (workspace_id = NULLIF(current_setting('app.workspace_id', true), ''));
CREATE POLICY tenant ON client_secrets TO doorward_tenant USING (workspace_id = NULLIF(current_setting('app.workspace_id', true), ''));
CREATE POLICY tenant ON client_origins TO doorward_tenant USING (workspace_id = NULLIF(current_setting('app.workspace_id', true), ''));
