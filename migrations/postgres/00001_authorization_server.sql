-- +goose Up
CREATE TABLE settings (
    key   text PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE users (
    id                  text PRIMARY KEY,
    email               text NOT NULL,
    email_key           text NOT NULL UNIQUE, -- what equality of addresses is judged by: NFC, lower case
    name                text NOT NULL,
    name_key            text NOT NULL,        -- what a search looks in: NFC, lower case
    password_hash       text NOT NULL,        -- PHC string; empty: no password, so none fits
    password_failures   bigint NOT NULL DEFAULT 0,
    password_changed_at bigint NOT NULL,
    admin               boolean NOT NULL DEFAULT FALSE,
    disabled_at         bigint,
    seen_at             bigint,
    created_at          bigint NOT NULL
);

CREATE TABLE sessions (
    id         text PRIMARY KEY,
    digest     bytea NOT NULL UNIQUE, -- SHA-256 of the cookie's value
    user_id    text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    data       text NOT NULL,
    auth_time  bigint NOT NULL,
    user_agent text NOT NULL,
    address    text NOT NULL,
    created_at bigint NOT NULL,
    seen_at    bigint NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE workspaces (
    id               text PRIMARY KEY,
    slug             text NOT NULL UNIQUE,
    name             text NOT NULL,
    plan             text NOT NULL DEFAULT '',
    personal_user_id text UNIQUE REFERENCES users (id) ON DELETE CASCADE,
    disabled_at      bigint,
    created_at       bigint NOT NULL
);

CREATE TABLE memberships (
    workspace_id text NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    user_id      text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role         text NOT NULL,
    created_at   bigint NOT NULL,
    PRIMARY KEY (workspace_id, user_id)
);
CREATE INDEX memberships_user ON memberships (user_id);

CREATE TABLE clients (
    id              text PRIMARY KEY,
    workspace_id    text REFERENCES workspaces (id) ON DELETE CASCADE, -- null: made by the command, administrators only
    created_by      text,
    name            text NOT NULL,
    name_key        text NOT NULL, -- what a search looks in: NFC, lower case
    site            text NOT NULL,
    public          boolean NOT NULL,
    pkce_optional   boolean NOT NULL,
    first_party     boolean NOT NULL,
    resource_server boolean NOT NULL,
    verified        boolean NOT NULL,
    redirect_uris   text NOT NULL,
    grant_types     text NOT NULL,
    scopes          text NOT NULL,
    resources       text NOT NULL,
    disabled_at     bigint,
    created_at      bigint NOT NULL,
    changed_at      bigint NOT NULL,
    -- RFC 9700 section 2.1.1: only a client that can keep a secret may go without PKCE
    CHECK (NOT (public AND pkce_optional))
);
CREATE INDEX clients_workspace ON clients (workspace_id);

CREATE TABLE client_secrets (
    id           text PRIMARY KEY,
    client_id    text NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    digest       bytea NOT NULL, -- SHA-256 of the secret
    tail         text NOT NULL,
    created_at   bigint NOT NULL,
    expires_at   bigint,
    last_used_at bigint
);
CREATE INDEX client_secrets_client ON client_secrets (client_id);

-- The origins of registered redirect URIs: what a browser may call the token endpoint from.
CREATE TABLE client_origins (
    origin    text NOT NULL,
    client_id text NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    PRIMARY KEY (origin, client_id)
);
CREATE INDEX client_origins_client ON client_origins (client_id);

CREATE TABLE consents (
    user_id      text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id    text NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    resource     text NOT NULL,
    workspace_id text NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    scopes       text NOT NULL,
    created_at   bigint NOT NULL,
    changed_at   bigint NOT NULL,
    PRIMARY KEY (user_id, client_id, resource, workspace_id)
);
CREATE INDEX consents_client ON consents (client_id);
CREATE INDEX consents_workspace ON consents (workspace_id);

-- One authorization by a resource owner: the family of its code, access and refresh tokens. Revoking it is one row.
CREATE TABLE grants (
    id             text PRIMARY KEY,
    client_id      text NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    user_id        text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    workspace_id   text NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    resource       text NOT NULL,
    scopes         text NOT NULL,
    auth_time      bigint NOT NULL,
    created_at     bigint NOT NULL,
    expires_at     bigint NOT NULL, -- absolute end, however often refreshed
    last_used_at   bigint,
    revoked_at     bigint,
    revoked_reason text NOT NULL DEFAULT ''
);
CREATE INDEX grants_user_client ON grants (user_id, client_id);
CREATE INDEX grants_client ON grants (client_id);
CREATE INDEX grants_workspace ON grants (workspace_id);
CREATE INDEX grants_expiry ON grants (expires_at);

CREATE TABLE codes (
    digest       bytea PRIMARY KEY, -- SHA-256 of the code
    grant_id     text NOT NULL REFERENCES grants (id) ON DELETE CASCADE,
    redirect_uri text NOT NULL,
    challenge    text NOT NULL, -- RFC 7636 section 4.2, S256; empty only for a client that may go without
    created_at   bigint NOT NULL,
    expires_at   bigint NOT NULL,
    used_at      bigint
);
CREATE INDEX codes_grant ON codes (grant_id);
CREATE INDEX codes_expiry ON codes (expires_at);

CREATE TABLE access_tokens (
    digest     bytea PRIMARY KEY, -- SHA-256 of the token
    grant_id   text REFERENCES grants (id) ON DELETE CASCADE, -- null: client_credentials
    client_id  text NOT NULL, -- no foreign key: a lookup joins clients, and each insert would lock the client's row
    resource   text NOT NULL,
    scopes     text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    revoked_at bigint
);
CREATE INDEX access_tokens_grant ON access_tokens (grant_id) WHERE grant_id IS NOT NULL;
CREATE INDEX access_tokens_expiry ON access_tokens (expires_at);

-- Used, expired and (by the grant) revoked are three things: only a used one tells of a theft.
CREATE TABLE refresh_tokens (
    digest     bytea PRIMARY KEY, -- SHA-256 of the token
    grant_id   text NOT NULL REFERENCES grants (id) ON DELETE CASCADE,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    used_at    bigint,
    uses       bigint NOT NULL DEFAULT 0
);
CREATE INDEX refresh_tokens_grant ON refresh_tokens (grant_id);
CREATE INDEX refresh_tokens_expiry ON refresh_tokens (expires_at);

CREATE TABLE decided_flows (
    id         text PRIMARY KEY,
    decision   text NOT NULL,
    decided_at bigint NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX decided_flows_expiry ON decided_flows (expires_at);

-- What each runtime role may do, named by verb: neither owns anything, so neither may do more.
GRANT SELECT, INSERT, UPDATE, DELETE ON settings, users, sessions, workspaces, memberships, clients, client_secrets,
    client_origins, consents, grants, codes, access_tokens, refresh_tokens, decided_flows TO doorward_system;
GRANT SELECT ON goose_db_version TO doorward_system;
GRANT SELECT, DELETE ON sessions TO doorward_tenant;
GRANT SELECT, UPDATE ON grants TO doorward_tenant;
GRANT SELECT, DELETE ON consents TO doorward_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON clients, client_secrets, client_origins TO doorward_tenant;
