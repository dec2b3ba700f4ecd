-- +goose Up

-- API keys and personal access tokens. A key belongs to its workspace, or, where it is for introspection, to none; a
-- personal access token belongs to its user. Rotating makes a new row, which counts where the old one did.
CREATE TABLE api_keys (
    id                text PRIMARY KEY,
    digest            blob NOT NULL UNIQUE, -- SHA-256 of the text
    kind              text NOT NULL,
    workspace_id      text REFERENCES workspaces (id) ON DELETE CASCADE,
    user_id           text REFERENCES users (id) ON DELETE CASCADE,
    resource          text NOT NULL,
    environment       text NOT NULL, -- live, test; empty for a personal access token
    prefix            text NOT NULL, -- what the text begins with
    tail              text NOT NULL, -- its last characters, to tell it by
    name              text NOT NULL,
    name_key          text NOT NULL, -- what a search looks in: NFC, lower case
    note              text NOT NULL,
    scopes            text NOT NULL,
    scopes_by_object  boolean NOT NULL, -- they were given as an object of lists, and are shown so
    role              text NOT NULL, -- the most that a personal access token may be; empty: what its user is
    plan              text NOT NULL,
    rate_limit        bigint NOT NULL, -- requests an hour, in place of the plan's; 0: the plan's
    addresses         text NOT NULL, -- ranges that it may come from; empty: any
    counter           text NOT NULL, -- what limits count it as
    rotated_into      text NOT NULL DEFAULT '',
    created_by        text NOT NULL, -- a user, or empty: the command
    created_at        bigint NOT NULL,
    expires_at        bigint,
    paused_at         bigint,
    revoked_at        bigint,
    last_used_at      bigint,
    last_used_address text NOT NULL DEFAULT '',
    CHECK (kind IN ('api_key', 'personal_access_token')),
    CHECK ((kind = 'personal_access_token') = (user_id IS NOT NULL)),
    CHECK (kind = 'api_key' OR workspace_id IS NULL)
);
CREATE INDEX api_keys_workspace ON api_keys (workspace_id, id);
CREATE INDEX api_keys_user ON api_keys (user_id, id) WHERE user_id IS NOT NULL;

-- How often a credential was used in a workspace, by the hour.
CREATE TABLE usage_hourly (
    workspace_id  text NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    credential_id text NOT NULL, -- a key, a personal access token or a client
    hour          bigint NOT NULL, -- when it begins
    credential    text NOT NULL, -- its kind
    allowed       bigint NOT NULL,
    limited       bigint NOT NULL, -- refused by a limit
    refused       bigint NOT NULL, -- refused by anything else
    PRIMARY KEY (workspace_id, credential_id, hour)
);
CREATE INDEX usage_hourly_hour ON usage_hourly (hour);

-- The last requests with a key or personal access token, so that its owner sees why one was refused.
CREATE TABLE recent_requests (
    id           text PRIMARY KEY,
    key_id       text NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    workspace_id text, -- the key's, and so is the user: whose request it is
    user_id      text,
    at           bigint NOT NULL,
    request_id   text NOT NULL,
    action       text NOT NULL, -- what was asked for, without anything that the caller chose
    status       bigint NOT NULL,
    reason       text NOT NULL, -- why it was refused; empty where it was not
    address      text NOT NULL,
    expires_at   bigint NOT NULL
);
CREATE INDEX recent_requests_key ON recent_requests (key_id, id);
CREATE INDEX recent_requests_expiry ON recent_requests (expires_at);

-- Who did what. No foreign keys: events outlive what they are about, and hold ids in place of names.
CREATE TABLE audit_events (
    id           text PRIMARY KEY,
    created_at   bigint NOT NULL,
    action       text NOT NULL,
    workspace_id text NOT NULL, -- empty: of the server
    user_id      text NOT NULL, -- who did it, as far as known
    client_id    text NOT NULL, -- by which app
    credential   text NOT NULL, -- by which kind of credential; session, command and password besides those of introspection
    key_id       text NOT NULL, -- by which key or personal access token
    address      text NOT NULL, -- from which network address
    request_id   text NOT NULL,
    target       text NOT NULL, -- id of what it was done to
    detail       text NOT NULL  -- JSON object of further facts; no secrets, no names
);
CREATE INDEX audit_events_workspace ON audit_events (workspace_id, id);
CREATE INDEX audit_events_age ON audit_events (created_at);

-- Answers to requests that carried an Idempotency-Key, sealed, since a key is in some.
CREATE TABLE idempotent_requests (
    digest       blob PRIMARY KEY, -- SHA-256 of who asked and their Idempotency-Key
    workspace_id text REFERENCES workspaces (id) ON DELETE CASCADE,
    user_id      text REFERENCES users (id) ON DELETE CASCADE,
    request      blob NOT NULL, -- SHA-256 of the request
    status       bigint NOT NULL,
    answer       text NOT NULL, -- sealed
    expires_at   bigint NOT NULL
);
CREATE INDEX idempotent_requests_expiry ON idempotent_requests (expires_at);
CREATE INDEX idempotent_requests_workspace ON idempotent_requests (workspace_id);
CREATE INDEX idempotent_requests_user ON idempotent_requests (user_id);
