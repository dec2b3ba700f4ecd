-- +goose Up

-- Changes that do not come from Doorward, such as those of an administrator with psql, are announced to the servers too,
-- which answer from memory. Doorward itself announces its changes with what they concern.
-- +goose StatementBegin
CREATE FUNCTION announce_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF current_setting('application_name') <> 'doorward' THEN
		PERFORM pg_notify('doorward_changes', '');
	END IF;
	RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER announce AFTER DELETE OR TRUNCATE OR UPDATE OF id, disabled_at ON users
	EXECUTE FUNCTION announce_change();
CREATE TRIGGER announce AFTER DELETE OR TRUNCATE OR UPDATE OF id, slug, plan, disabled_at ON workspaces
	EXECUTE FUNCTION announce_change();
CREATE TRIGGER announce AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE ON memberships
	EXECUTE FUNCTION announce_change();
CREATE TRIGGER announce AFTER DELETE OR TRUNCATE OR UPDATE OF id, workspace_id, disabled_at ON clients
	EXECUTE FUNCTION announce_change();
CREATE TRIGGER announce AFTER DELETE OR TRUNCATE OR UPDATE OF id, client_id, user_id, workspace_id, resource, scopes,
	auth_time, created_at, expires_at, revoked_at ON grants
	EXECUTE FUNCTION announce_change();
CREATE TRIGGER announce AFTER DELETE OR TRUNCATE OR UPDATE OF digest, grant_id, client_id, resource, scopes, created_at,
	expires_at, revoked_at ON access_tokens
	EXECUTE FUNCTION announce_change();
CREATE TRIGGER announce AFTER DELETE OR TRUNCATE OR UPDATE OF id, digest, kind, workspace_id, user_id, resource,
	environment, scopes, scopes_by_object, role, plan, rate_limit, addresses, counter, rotated_into, created_by,
	created_at, expires_at, paused_at, revoked_at ON api_keys
	EXECUTE FUNCTION announce_change();
CREATE TRIGGER announce AFTER DELETE OR TRUNCATE OR UPDATE OF id, state, public, expires_at ON signing_keys
	EXECUTE FUNCTION announce_change();
