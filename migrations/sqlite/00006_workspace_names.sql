-- +goose Up

-- What a search for a workspace looks in: NFC, lower case. Those of before are personal and bear their user's name or, without one, address.
ALTER TABLE workspaces ADD COLUMN name_key text NOT NULL DEFAULT '';
UPDATE workspaces SET name_key = COALESCE((SELECT CASE WHEN u.name_key = '' THEN u.email_key ELSE u.name_key END FROM users u WHERE u.id = personal_user_id), lower(name));
