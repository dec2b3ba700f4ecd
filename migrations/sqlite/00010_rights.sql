-- +goose Up

-- An app whose access tokens may create what outlives them: the operator's own dashboard.
ALTER TABLE clients ADD COLUMN manages boolean NOT NULL DEFAULT false;

-- The credential that an invitation was sent with, and ends with: a key, a personal access token or an app.
ALTER TABLE invitations ADD COLUMN credential_id text NOT NULL DEFAULT ''; -- empty: sent from a page or by a command
