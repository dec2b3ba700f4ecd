-- +goose Up

-- Also the last requests with access tokens of an app, so that whoever built it sees why one was refused.
ALTER TABLE recent_requests ALTER COLUMN key_id DROP NOT NULL;
ALTER TABLE recent_requests ADD COLUMN client_id text REFERENCES clients (id) ON DELETE CASCADE;
ALTER TABLE recent_requests ADD CHECK ((key_id IS NULL) <> (client_id IS NULL));
CREATE INDEX recent_requests_client ON recent_requests (client_id, id) WHERE client_id IS NOT NULL;
