-- +goose Up

-- What the browser was sent on with when a flow was answered, sealed, so that the same answer sent twice leads to the
-- same place. It is kept for the lifetime of a code; the row goes with the flow.
ALTER TABLE decided_flows ADD COLUMN answer text NOT NULL DEFAULT '';
ALTER TABLE decided_flows ADD COLUMN answer_until bigint NOT NULL DEFAULT 0;
