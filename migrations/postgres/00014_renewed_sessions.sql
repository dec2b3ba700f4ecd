-- +goose Up
-- The cookie that a session had before its user gave their password again, and until when it opens the session.
ALTER TABLE sessions ADD COLUMN digest_before bytea;
ALTER TABLE sessions ADD COLUMN grace_end bigint NOT NULL DEFAULT 0;
CREATE INDEX sessions_digest_before ON sessions (digest_before) WHERE digest_before IS NOT NULL;
