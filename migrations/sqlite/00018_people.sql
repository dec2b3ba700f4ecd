-- +goose Up

-- How a user reads pages and emails; empty: as their browser asks.
ALTER TABLE users ADD COLUMN language text NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN time_zone text NOT NULL DEFAULT '';
-- When the user proved their address by an email; null: an administrator entered it.
ALTER TABLE users ADD COLUMN email_proven_at bigint;
-- The terms that the user accepted when they signed up, and when; empty: none.
ALTER TABLE users ADD COLUMN terms_url text NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN terms_accepted_at bigint;
-- Since when the account waits for an administrator's approval; it is disabled until then.
ALTER TABLE users ADD COLUMN waiting_since bigint;
CREATE INDEX users_waiting ON users (waiting_since) WHERE waiting_since IS NOT NULL;

-- Emails: each is written in the transaction of the fact that causes it, and sent afterwards.
CREATE TABLE emails (
    id         text PRIMARY KEY,
    kind       text NOT NULL, -- which email it is
    recipient  text NOT NULL,
    user_id    text NOT NULL, -- no foreign key: empty without an account, and an email about a deletion outlives the user
    language   text NOT NULL,
    detail     text NOT NULL, -- the values in it, as JSON; empty once it is sent
    sealed     text NOT NULL, -- its links and codes, sealed; empty once it is sent
    created_at bigint NOT NULL,
    due_at     bigint NOT NULL, -- when to send it next; while it is being sent, when that counts as failed
    expires_at bigint NOT NULL, -- when to give up
    attempts   bigint NOT NULL DEFAULT 0,
    done_at    bigint, -- when it was sent or given up
    sent       boolean NOT NULL DEFAULT false
);
CREATE INDEX emails_due ON emails (due_at) WHERE done_at IS NULL;
CREATE INDEX emails_done ON emails (done_at) WHERE done_at IS NOT NULL;

-- How many emails an address, a network or the server has caused since a time.
CREATE TABLE email_limits (
    key        text PRIMARY KEY,
    since      bigint NOT NULL,
    count      bigint NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX email_limits_expiry ON email_limits (expires_at);

-- Links and codes that prove an email address. There is one for each kind and subject: a newer one ends the older one.
CREATE TABLE email_proofs (
    id         text PRIMARY KEY,
    kind       text NOT NULL, -- what it is for
    subject    text NOT NULL, -- an address in the form in which addresses are compared, or the id of a user
    digest     blob NOT NULL, -- SHA-256 of the token in the link
    code       text NOT NULL, -- keyed hash of the code; empty: there is none, or it was tried too often
    tries      bigint NOT NULL DEFAULT 0, -- wrong codes
    browser    blob, -- SHA-256 of the cookie of the browser that asked; null: none did
    user_id    text NOT NULL, -- no foreign key: empty without an account, and then it takes as long
    email      text NOT NULL, -- the address that it proves
    email_key  text NOT NULL,
    detail     text NOT NULL, -- of the page that asked, as JSON
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    proven_at  bigint, -- when the link or code was used
    prover     blob, -- SHA-256 of the cookie of the browser that used it
    used_at    bigint, -- when what it is for was done
    UNIQUE (kind, subject)
);
CREATE UNIQUE INDEX email_proofs_digest ON email_proofs (digest);
CREATE INDEX email_proofs_browser ON email_proofs (browser) WHERE browser IS NOT NULL;
CREATE INDEX email_proofs_prover ON email_proofs (prover) WHERE prover IS NOT NULL;
CREATE INDEX email_proofs_email ON email_proofs (email_key);
CREATE INDEX email_proofs_user ON email_proofs (user_id) WHERE user_id <> '';
CREATE INDEX email_proofs_expiry ON email_proofs (expires_at);

-- Links that an operator creates are among them.
INSERT INTO email_proofs (id, kind, subject, digest, code, user_id, email, email_key, detail, created_at, expires_at)
    SELECT 'proof_' || substr(lower(hex(l.digest)), 1, 32), 'operator', l.user_id, l.digest, '', l.user_id, u.email,
        u.email_key, '{}', l.created_at, l.expires_at
    FROM sign_in_links l JOIN users u ON u.id = l.user_id
    WHERE NOT EXISTS (SELECT 1 FROM sign_in_links n WHERE n.user_id = l.user_id AND n.created_at > l.created_at)
    ON CONFLICT DO NOTHING;
-- The table sign_in_links stays for servers of the version before, which may run until they are replaced.

