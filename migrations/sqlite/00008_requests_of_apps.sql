-- +goose Up

-- Also the last requests with access tokens of an app, so that whoever built it sees why one was refused. SQLite changes
-- no column: the rows move to a new table.
CREATE TABLE requests_moved (
    id           text PRIMARY KEY,
    key_id       text REFERENCES api_keys (id) ON DELETE CASCADE,
    client_id    text REFERENCES clients (id) ON DELETE CASCADE,
    workspace_id text, -- the key's or app's, and so is the user: whose request it is
    user_id      text,
    at           bigint NOT NULL,
    request_id   text NOT NULL,
    action       text NOT NULL, -- what was asked for, without anything that the caller chose
    status       bigint NOT NULL,
    reason       text NOT NULL, -- why it was refused; empty where it was not
    address      text NOT NULL, -- empty for an app's, which may come from the devices of people
    expires_at   bigint NOT NULL,
    CHECK ((key_id IS NULL) <> (client_id IS NULL))
);
INSERT INTO requests_moved (id, key_id, workspace_id, user_id, at, request_id, action, status, reason, address, expires_at)
    SELECT id, key_id, workspace_id, user_id, at, request_id, action, status, reason, address, expires_at FROM recent_requests;
DROP TABLE recent_requests;
ALTER TABLE requests_moved RENAME TO recent_requests;
CREATE INDEX recent_requests_key ON recent_requests (key_id, id);
CREATE INDEX recent_requests_client ON recent_requests (client_id, id);
CREATE INDEX recent_requests_expiry ON recent_requests (expires_at);
