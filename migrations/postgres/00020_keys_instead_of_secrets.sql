-- +goose Up

-- How a client authenticates (token_endpoint_auth_method, RFC 7591). Empty: with a secret, by HTTP Basic or in the body;
-- a public client does not authenticate.
ALTER TABLE clients ADD COLUMN auth_method text NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN auth_algorithm text NOT NULL DEFAULT ''; -- of its assertions; empty: any that is supported
ALTER TABLE clients ADD COLUMN jwks text NOT NULL DEFAULT ''; -- its public keys, as a JWK set (RFC 7517); empty: none
ALTER TABLE clients ADD COLUMN jwks_uri text NOT NULL DEFAULT ''; -- where it publishes them instead
ALTER TABLE clients ADD COLUMN token_endpoint_audience boolean NOT NULL DEFAULT FALSE; -- its assertions may name that URL
ALTER TABLE clients ADD COLUMN pushed_requests_only boolean NOT NULL DEFAULT FALSE; -- RFC 9126
ALTER TABLE clients ADD COLUMN dpop_bound boolean NOT NULL DEFAULT FALSE; -- its access tokens must be bound to a key (RFC 9449)
ALTER TABLE clients ADD COLUMN fapi boolean NOT NULL DEFAULT FALSE; -- it follows the FAPI 2.0 Security Profile

-- The thumbprint (RFC 7638) of the key that must prove the possession of a code or token (RFC 9449). Empty: none.
ALTER TABLE codes ADD COLUMN dpop_key text NOT NULL DEFAULT '';
ALTER TABLE access_tokens ADD COLUMN dpop_key text NOT NULL DEFAULT '';
ALTER TABLE refresh_tokens ADD COLUMN dpop_key text NOT NULL DEFAULT '';

-- Authorization requests that a client sent directly (RFC 9126), until they are answered or too old to be.
CREATE TABLE pushed_requests (
    digest     bytea PRIMARY KEY, -- SHA-256 of the request_uri
    client_id  text NOT NULL, -- no foreign key: each insert would lock the client's row
    request    text NOT NULL, -- the validated parameters, as JSON
    expires_at bigint NOT NULL, -- of the request_uri
    used_at    bigint -- when a user answered it; null: not yet
);
CREATE INDEX pushed_requests_expiry ON pushed_requests (expires_at);

-- Ids (jti) of client assertions that were used, until they expire anyway.
CREATE TABLE used_assertions (
    name       text PRIMARY KEY, -- SHA-256 of the client and the id, in hexadecimal
    expires_at bigint NOT NULL
);
CREATE INDEX used_assertions_expiry ON used_assertions (expires_at);

-- Ids of DPoP proofs that were used, until they expire anyway. Unlogged: after a crash of the database a proof could be
-- used again, within the minute that it is valid for.
CREATE UNLOGGED TABLE used_proofs (
    name       text PRIMARY KEY, -- SHA-256 of the key and the id, in hexadecimal
    expires_at bigint NOT NULL
);
CREATE INDEX used_proofs_expiry ON used_proofs (expires_at);

ALTER TABLE pushed_requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE used_assertions ENABLE ROW LEVEL SECURITY;
ALTER TABLE used_proofs ENABLE ROW LEVEL SECURITY;
CREATE POLICY system ON pushed_requests TO doorward_system USING (true);
CREATE POLICY system ON used_assertions TO doorward_system USING (true);
CREATE POLICY system ON used_proofs TO doorward_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON pushed_requests, used_assertions, used_proofs TO doorward_system;
