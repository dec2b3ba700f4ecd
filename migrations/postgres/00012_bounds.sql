-- +goose Up

-- Tokens that a client gets for itself belong to no grant, are counted for each client, and are deleted sooner than the
-- others: each row is in one of the first two indexes, so that purging one kind does not read the other.
DROP INDEX access_tokens_expiry;
CREATE INDEX access_tokens_expiry ON access_tokens (expires_at) WHERE grant_id IS NOT NULL;
CREATE INDEX access_tokens_own_expiry ON access_tokens (expires_at) WHERE grant_id IS NULL;
CREATE INDEX access_tokens_own_live ON access_tokens (client_id, expires_at) WHERE grant_id IS NULL AND revoked_at IS NULL;

CREATE INDEX codes_unused ON codes (expires_at) WHERE used_at IS NULL;
CREATE INDEX grants_revoked ON grants (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX api_keys_revoked ON api_keys (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX api_keys_expiry ON api_keys (expires_at) WHERE expires_at IS NOT NULL;

-- How many sign-ins failed, by account and hour. The empty account stands for all that do not exist, so that guessing at
-- them adds a row an hour.
CREATE TABLE sign_in_failures (
    user_id  text NOT NULL, -- no foreign key: empty for accounts that do not exist
    hour     bigint NOT NULL, -- when it begins
    attempts bigint NOT NULL,
    address  text NOT NULL, -- of the last one
    PRIMARY KEY (user_id, hour)
);
CREATE INDEX sign_in_failures_hour ON sign_in_failures (hour);

-- Links with which an operator lets an existing user sign in once.
CREATE TABLE sign_in_links (
    digest     bytea PRIMARY KEY, -- SHA-256 of the word in the link
    user_id    text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX sign_in_links_user ON sign_in_links (user_id);
CREATE INDEX sign_in_links_expiry ON sign_in_links (expires_at);

ALTER TABLE sign_in_failures ENABLE ROW LEVEL SECURITY;
ALTER TABLE sign_in_links ENABLE ROW LEVEL SECURITY;
CREATE POLICY system ON sign_in_failures TO doorward_system USING (true);
CREATE POLICY system ON sign_in_links TO doorward_system USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON sign_in_failures, sign_in_links TO doorward_system;
