-- +goose Up

-- How a client came to be. Empty: a user, an administrator or the operator registered it. dynamic: it registered itself
-- (RFC 7591). document: its id is the URL of its metadata document.
ALTER TABLE clients ADD COLUMN registration text NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN application_type text NOT NULL DEFAULT ''; -- web or native; empty: it did not register itself
ALTER TABLE clients ADD COLUMN logo_uri text NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN policy_uri text NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN tos_uri text NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN registration_token blob; -- SHA-256 of the token with which it changes its registration
ALTER TABLE clients ADD COLUMN document_at bigint; -- when its metadata document was last fetched
ALTER TABLE clients ADD COLUMN used_at bigint; -- when it last registered, was allowed or got a token; null: not recorded
CREATE INDEX clients_used ON clients (used_at) WHERE registration <> '';

-- What the user was told about a client that registered itself, as JSON. Empty: the client did not.
ALTER TABLE consents ADD COLUMN described text NOT NULL DEFAULT '';

-- Tokens with which clients register (initial access tokens, RFC 7591, section 3).
CREATE TABLE registration_tokens (
    id           text PRIMARY KEY,
    digest       blob NOT NULL UNIQUE, -- SHA-256 of the token
    tail         text NOT NULL,
    created_by   text NOT NULL, -- user id; empty: the CLI
    uses         bigint NOT NULL, -- how many clients have registered with it
    max_uses     bigint NOT NULL,
    created_at   bigint NOT NULL,
    last_used_at bigint,
    expires_at   bigint NOT NULL
);
CREATE INDEX registration_tokens_expiry ON registration_tokens (expires_at);
