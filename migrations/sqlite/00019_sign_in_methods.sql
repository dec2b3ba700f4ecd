-- +goose Up

-- How the user of a session or grant authenticated (amr, RFC 8176) and the level that this reached (acr). Rows from
-- before have no methods, and the first level.
ALTER TABLE sessions ADD COLUMN amr text NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN acr text NOT NULL DEFAULT 'urn:doorward:1';
ALTER TABLE grants ADD COLUMN amr text NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN acr text NOT NULL DEFAULT 'urn:doorward:1';

-- What a user has beside a password is also in their row, since each page needs to know.
ALTER TABLE users ADD COLUMN passkeys bigint NOT NULL DEFAULT 0; -- how many
ALTER TABLE users ADD COLUMN totp_since bigint; -- null: none
ALTER TABLE users ADD COLUMN passkey_offered_at bigint; -- when a page last suggested to create one

-- Passkeys (Web Authentication). A private key never leaves the authenticator.
CREATE TABLE passkeys (
    id              text PRIMARY KEY,
    credential_id   blob NOT NULL UNIQUE, -- chosen by the authenticator
    user_id         text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    domain          text NOT NULL, -- the relying party id that it was created for; it works for no other
    public_key      blob NOT NULL, -- COSE_Key
    counter         bigint NOT NULL, -- of signatures, at its last use; 0: the authenticator does not count
    backup_eligible boolean NOT NULL,
    backed_up       boolean NOT NULL, -- at its last use
    model           text NOT NULL, -- AAGUID of the authenticator
    name            text NOT NULL,
    created_at      bigint NOT NULL,
    used_at         bigint
);
CREATE INDEX passkeys_user ON passkeys (user_id);

-- One-time passwords by time (TOTP, RFC 6238).
CREATE TABLE totp (
    user_id     text PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    sealed      text NOT NULL, -- the shared secret, sealed under the master secret
    step        bigint NOT NULL, -- the last time step that was accepted
    tries       bigint NOT NULL DEFAULT 0, -- wrong codes since tries_since
    tries_since bigint NOT NULL DEFAULT 0,
    created_at  bigint NOT NULL,
    used_at     bigint
);

-- Codes to use once in place of a second factor. Each is found by its first characters, which are not secret.
CREATE TABLE recovery_codes (
    user_id    text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    selector   text NOT NULL,
    hash       text NOT NULL, -- PHC string
    created_at bigint NOT NULL,
    used_at    bigint,
    PRIMARY KEY (user_id, selector)
);

-- Accounts at other providers with which users sign in. The issuer and the subject are the key; provider is the id in
-- the configuration.
CREATE TABLE provider_accounts (
    id         text PRIMARY KEY,
    user_id    text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider   text NOT NULL,
    issuer     text NOT NULL,
    subject    text NOT NULL,
    email      text NOT NULL, -- as the provider last said; for display only
    created_at bigint NOT NULL,
    used_at    bigint,
    UNIQUE (issuer, subject)
);
CREATE INDEX provider_accounts_user ON provider_accounts (user_id);

-- Challenges that were used, until they expire anyway.
CREATE TABLE used_challenges (
    digest     blob PRIMARY KEY, -- SHA-256 of the challenge
    expires_at bigint NOT NULL
);
CREATE INDEX used_challenges_expiry ON used_challenges (expires_at);
