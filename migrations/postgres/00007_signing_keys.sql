-- +goose Up

-- Keys that JWT access tokens are signed with. One is active, one is next and published before it signs; those that have
-- stopped signing stay for as long as a token under them may be shown.
CREATE TABLE signing_keys (
    id           text PRIMARY KEY, -- the kid
    state        text NOT NULL,
    public       text NOT NULL, -- JWK without private members
    sealed       text NOT NULL, -- the private half, sealed under the master secret; empty once it has stopped signing
    created_at   bigint NOT NULL,
    activated_at bigint,
    retired_at   bigint,
    expires_at   bigint, -- when the last token under it has ended
    CHECK (state IN ('next', 'active', 'retiring')),
    CHECK ((state = 'retiring') = (expires_at IS NOT NULL)),
    CHECK ((state = 'retiring') = (sealed = ''))
);
CREATE UNIQUE INDEX signing_keys_one ON signing_keys (state) WHERE state <> 'retiring';
CREATE INDEX signing_keys_expiry ON signing_keys (expires_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON signing_keys TO doorward_system;

-- So that sealed answers can be sealed anew under another master secret.
GRANT UPDATE ON idempotent_requests TO doorward_system;
